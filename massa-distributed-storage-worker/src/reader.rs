//! Archived blocks from this node's chunks or, where it does not keep them, from other nodes'.
//!
//! Called by the API, on threads of its own: a read may wait for peers, until its deadline. What comes out is verified down
//! to signatures: path, block id recomputed from the header, header signature, operation root, ids and signatures of
//! operations.

use crate::assembly::PeriodPages;
use crate::assignments::Assignments;
use crate::repair::{in_order, may_have};
use crate::storage_backend::read::{Check, PlaceContent, ReadError};
use crate::storage_backend::Store;
use crossbeam_channel::{bounded, Receiver};
use massa_distributed_storage_exports::manifest::{Manifest, Place};
use massa_distributed_storage_exports::network::{
    Fetch, FetchEvent, FetchPriority, FetchTarget, StorageNetwork, StoragePeer,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::verify_block;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Questions of readers have the upper half of the numbers, those of repair the lower.
const FIRST_ID: u64 = 1 << 63;
/// Answers that may wait for a question for a manifest.
const ANSWERS_MAX: usize = 4;
/// Holders whose signatures turn out to be wrong before a reader gives up.
const ATTEMPTS: usize = 3;

/// Why a block could not be read.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ReaderError {
    /// It is not archived here, or this node's copy is damaged.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// This node does not keep it, and nobody else had it in time.
    #[error("block of slot {slot} is kept by other nodes, and none of {asked} sent it: {reason}")]
    NotObtained {
        /// The place.
        slot: Slot,
        /// How many were asked.
        asked: usize,
        /// What they did.
        reason: String,
    },
    /// Nobody had the period, or what they had was false.
    #[error("period {period} was not obtained: {reason}")]
    PeriodNotObtained {
        /// The period.
        period: u64,
        /// Why.
        reason: String,
    },
}

/// Reads archived blocks.
pub struct ArchiveReader {
    store: Arc<Store>,
    assignments: Arc<Assignments>,
    network: Option<Arc<dyn StorageNetwork>>,
    timeout: Duration,
    next_id: AtomicU64,
}

/// Pages that one attempt asked for.
struct Asked {
    /// Question → chunk.
    questions: HashMap<u64, massa_distributed_storage_exports::ChunkIndex>,
    answers: Receiver<FetchEvent>,
    holders: usize,
}

impl ArchiveReader {
    /// A reader of `store`. Without a network only what this node keeps is read. A read ends after `timeout`.
    pub fn new(
        store: Arc<Store>,
        assignments: Arc<Assignments>,
        network: Option<Arc<dyn StorageNetwork>>,
        timeout: Duration,
    ) -> Self {
        Self {
            store,
            assignments,
            network,
            timeout,
            next_id: AtomicU64::new(FIRST_ID),
        }
    }

    /// The store that is read first.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What is archived at a place, verified.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn place(&self, slot: Slot) -> Result<PlaceContent, ReaderError> {
        match self.store.place(slot, Check::Meaning) {
            // A damaged copy is as good as none: others have it.
            Err(ReadError::NotKept { .. } | ReadError::Damaged(_)) if self.network.is_some() => self.obtain(slot),
            result => Ok(result?),
        }
    }

    /// The blocks of a period, verified, wherever they are: for a node that follows the chain and takes nobody's word that
    /// they are final. Misses cannot be told from blocks that a peer left out.
    ///
    /// # Errors
    /// [`ReaderError::PeriodNotObtained`].
    pub fn period_blocks(&self, period: u64) -> Result<Vec<BlockRecord>, ReaderError> {
        if let Ok(Some(manifest)) = self.store.manifest(period) {
            if manifest.is_lost() {
                return Err(ReadError::LostPeriod { period }.into());
            }
            let places = (0..manifest.header.threads).map(|thread| self.place(Slot::new(period, thread)));
            let contents: Vec<PlaceContent> = places.collect::<Result<_, _>>()?;
            return Ok(contents.into_iter().filter_map(PlaceContent::into_block).collect());
        }
        let deadline = Instant::now() + self.timeout;
        let mut avoid = BTreeSet::new();
        let mut reason = "no peer has archived it".to_string();
        while let Some((from, manifest)) = self.ask_manifest(period, &avoid, deadline) {
            match self.whole_period(manifest, &avoid, deadline) {
                Ok(blocks) => return Ok(blocks),
                Err(error) => reason = error,
            }
            avoid.insert(from);
        }
        Err(ReaderError::PeriodNotObtained { period, reason })
    }

    /// The manifest of a period from a peer that says that it archived it.
    fn ask_manifest(&self, period: u64, avoid: &BTreeSet<NodeId>, deadline: Instant) -> Option<(NodeId, Manifest)> {
        let network = self.network.as_ref()?;
        let peers = network.peers();
        let useful = |peer: &&StoragePeer| !peer.quarantined && may_have(peer, period);
        let mut holders: Vec<NodeId> = peers.iter().filter(useful).map(|peer| peer.node).collect();
        holders.retain(|node| !avoid.contains(node) && *node != self.assignments.own());
        if holders.is_empty() {
            return None;
        }
        let start = period as usize % holders.len();
        holders.rotate_left(start);
        let (reply, answers) = bounded(ANSWERS_MAX);
        let fetch = Fetch {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            target: FetchTarget::Manifest { period },
            holders,
            priority: FetchPriority::Repair,
            reply,
        };
        network.fetch(fetch).ok()?;
        match answers.recv_deadline(deadline) {
            Ok(FetchEvent::Manifest { from, manifest, .. }) => Some((from, manifest)),
            _ => None,
        }
    }

    /// Every block that a manifest lists.
    fn whole_period(
        &self,
        manifest: Manifest,
        avoid: &BTreeSet<NodeId>,
        deadline: Instant,
    ) -> Result<Vec<BlockRecord>, String> {
        if manifest.is_lost() {
            // Whether that is true nobody can tell from it alone, and who says so is not to blame: others are asked.
            return Err("it is said to be lost".into());
        }
        let (period, threads) = (manifest.header.period, 0..manifest.header.threads);
        let mut pages = PeriodPages::new(manifest);
        let asked = self.ask(&pages, period, threads.clone(), avoid, FetchPriority::Repair);
        collect(&mut pages, &asked, deadline)?;
        let mut blocks = Vec::new();
        for thread in threads {
            match pages.record(thread).map_err(|error| error.to_string())? {
                Some(record) => blocks.push(record),
                None if pages.manifest().places[usize::from(thread)].block_id().is_none() => {}
                None => return Err("pages are missing".into()),
            }
        }
        let parameters = self.store.parameters();
        for record in &blocks {
            verify_block(record, parameters.chain_id, parameters.thread_count).map_err(|error| error.to_string())?;
        }
        Ok(blocks)
    }

    fn obtain(&self, slot: Slot) -> Result<PlaceContent, ReaderError> {
        let manifest = self.store.archived_manifest(slot.period)?;
        let place = manifest.places.get(usize::from(slot.thread));
        if let Some(Place::Lost { id }) = place.copied() {
            return Err(ReadError::LostBlock { slot, id }.into());
        }
        if place.is_some_and(|place| place.block_id().is_none()) {
            return Ok(PlaceContent::Miss);
        }
        let deadline = Instant::now() + self.timeout;
        let mut avoid = BTreeSet::new();
        let mut failure = (0, "no peer speaks storage".to_string());
        for _ in 0..ATTEMPTS {
            let (asked, result) = self.attempt(&manifest, slot, &mut avoid, deadline);
            match result {
                Ok(record) => return Ok(PlaceContent::Block(record)),
                Err(reason) => failure = (asked, reason),
            }
            if Instant::now() >= deadline {
                break;
            }
        }
        Err(ReaderError::NotObtained {
            slot,
            asked: failure.0,
            reason: failure.1,
        })
    }

    /// Asks for the pages of a block once. Holders whose answers turn out to be wrong are added to `avoid`.
    fn attempt(
        &self,
        manifest: &Manifest,
        slot: Slot,
        avoid: &mut BTreeSet<NodeId>,
        deadline: Instant,
    ) -> (usize, Result<BlockRecord, String>) {
        let mut pages = PeriodPages::new(manifest.clone());
        let asked = self.ask(&pages, slot.period, [slot.thread], avoid, FetchPriority::Reader);
        if let Err(reason) = collect(&mut pages, &asked, deadline) {
            return (asked.holders, Err(reason));
        }
        let parameters = self.store.parameters();
        let record = match pages.record(slot.thread) {
            Ok(Some(record)) => record,
            Ok(None) => return (asked.holders, Err("pages are missing".into())),
            Err(error) => {
                avoid.extend(pages.sources(slot.thread));
                return (asked.holders, Err(error.to_string()));
            }
        };
        match verify_block(&record, parameters.chain_id, parameters.thread_count) {
            Ok(_) => (asked.holders, Ok(record)),
            Err(error) => {
                avoid.extend(pages.sources(slot.thread));
                (asked.holders, Err(error.to_string()))
            }
        }
    }

    fn ask(
        &self,
        pages: &PeriodPages<NodeId>,
        period: u64,
        threads: impl IntoIterator<Item = u8>,
        avoid: &BTreeSet<NodeId>,
        priority: FetchPriority,
    ) -> Asked {
        let wanted = pages.wanted(threads);
        let answers_max: usize = wanted.iter().map(|piece| piece.pages.len() + 1).sum();
        let (reply, answers) = bounded(answers_max.max(1));
        let manifest = pages.manifest();
        let placed = self.assignments.sources(period, &manifest.chunks);
        let peers = self.network.as_ref().map(|network| network.peers()).unwrap_or_default();
        let mut asked = Asked {
            questions: HashMap::new(),
            answers,
            holders: 0,
        };
        for piece in wanted {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let assigned = placed.get(piece.chunk.0 as usize).map_or(&[][..], Vec::as_slice);
            let mut holders = in_order(assigned, &peers, avoid);
            holders.retain(|node| *node != self.assignments.own());
            asked.holders = asked.holders.max(holders.len());
            let fetch = Fetch {
                id,
                target: FetchTarget::Pages {
                    period,
                    chunk: piece.chunk,
                    entry: manifest.chunks[piece.chunk.0 as usize],
                    pages: piece.pages,
                },
                holders,
                priority,
                reply: reply.clone(),
            };
            if self
                .network
                .as_ref()
                .is_some_and(|network| network.fetch(fetch).is_ok())
            {
                asked.questions.insert(id, piece.chunk);
            }
        }
        asked
    }
}

/// Takes pages until all questions are answered.
fn collect(pages: &mut PeriodPages<NodeId>, asked: &Asked, deadline: Instant) -> Result<(), String> {
    let mut open: BTreeSet<u64> = asked.questions.keys().copied().collect();
    while !open.is_empty() {
        match asked.answers.recv_deadline(deadline) {
            Err(_) => return Err("no answer in time".into()),
            Ok(FetchEvent::Page { id, from, page }) => {
                if let Some(chunk) = asked.questions.get(&id) {
                    pages.insert(*chunk, from, page);
                }
            }
            Ok(FetchEvent::Complete { id }) => {
                open.remove(&id);
            }
            Ok(FetchEvent::Failed { attempts, .. }) => {
                let said: Vec<String> = attempts
                    .iter()
                    .map(|(node, what)| format!("{node}: {what:?}"))
                    .collect();
                return Err(said.join(", "));
            }
            Ok(FetchEvent::Manifest { .. } | FetchEvent::Held { .. }) => {}
        }
    }
    Ok(())
}
