//! What this node serves to others: manifests, pages and held bitmaps from its store.
//!
//! Called by the storage handler, on its threads. Everything is checked when it is read; what is damaged is logged once and
//! answered as not held, never served. Pages of a chunk are asked for one after the other, so the upper trees of a few
//! chunks stay in memory.

use crate::audit::{self, ChallengeParties};
use crate::chunking::ChunkPages;
use crate::period_set::PeriodSet;
use crate::storage_backend::held::HeldChange;
use crate::storage_backend::read::{Damage, ReadError};
use crate::storage_backend::Store;
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest};
use massa_distributed_storage_exports::merkle::MerkleTree;
use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, AuditChallenge, AuditLeaf, Capabilities, HeldRange, PageContent, MAX_HELD_PERIODS,
    MAX_HELD_RANGES,
};
use massa_distributed_storage_exports::types::MAX_CHUNKS_PER_PERIOD;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_models::node::NodeId;
use massa_time::MassaTime;
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use tracing::warn;

/// Chunks whose upper trees are kept in memory: 64 peers may each be in the middle of one.
const RECENT_CHUNKS: usize = 64;
/// Damages that are remembered, so that asking again and again does not fill the log.
const REPORTED_DAMAGES: usize = 64;
/// Periods that [`ArchiveServer::capabilities`] looks at when it is called: about 10 ms.
const REFRESHED_PERIODS: usize = 256;

/// Tells which chunks of a period are assigned to this node.
pub type AssignedChunks = Arc<dyn Fn(u64, &[ChunkEntry]) -> Vec<bool> + Send + Sync>;

/// Tells whether a node may be served pages of a chunk (period, position) at a time: see [`ArchiveServer::may_serve`].
pub type MayServe = Arc<dyn Fn(&NodeId, u64, ChunkIndex, MassaTime) -> bool + Send + Sync>;

/// Serves a [`Store`].
pub struct StoreServer {
    store: Arc<Store>,
    /// Who answers challenges; without it none is answered.
    own: Option<NodeId>,
    may_serve: Option<MayServe>,
    allocated_storage_gb: u64,
    assigned: AssignedChunks,
    recent: Mutex<Recent>,
    reported: Mutex<VecDeque<Damage>>,
    complete: Mutex<Complete>,
}

/// Chunks that were asked for lately, the last one at the end.
#[derive(Default)]
struct Recent {
    /// What [`Store::held_generation`] was when they were read.
    generation: u64,
    chunks: VecDeque<Arc<UpperTree>>,
}

/// The part of a chunk's tree above its pages.
struct UpperTree {
    period: u64,
    chunk: ChunkIndex,
    pages: ChunkPages,
    tree: MerkleTree,
}

/// Periods of which every assigned chunk is held.
#[derive(Default)]
struct Complete {
    periods: PeriodSet,
    /// Periods to look at again.
    changed: BTreeSet<u64>,
    /// Periods below it were not looked at since everything changed; the newest are looked at first.
    unknown_below: Option<u64>,
    started: bool,
}

impl StoreServer {
    /// Serves `store`. `assigned` tells what this node should hold; `allocated_storage_gb` is what it offers.
    pub fn new(store: Arc<Store>, allocated_storage_gb: u64, assigned: AssignedChunks) -> Self {
        Self {
            store,
            own: None,
            may_serve: None,
            allocated_storage_gb,
            assigned,
            recent: Mutex::default(),
            reported: Mutex::default(),
            complete: Mutex::default(),
        }
    }

    /// Answers challenges that were made for `own`, which is this node.
    pub fn answering_as(mut self, own: NodeId) -> Self {
        self.own = Some(own);
        self
    }

    /// Serves pages and leaves only where `may_serve` allows it. Without it, everything is served to everybody.
    pub fn serving_if(mut self, may_serve: MayServe) -> Self {
        self.may_serve = Some(may_serve);
        self
    }

    /// Other chunks are assigned to this node than before: [`ArchiveServer::capabilities`] claims no period until it was
    /// looked at again.
    pub fn assignment_changed(&self) {
        *self.complete.lock() = Complete::default();
    }

    /// Looks at up to `max` periods that changed, to see whether all is held that is assigned. Returns whether there are
    /// more. [`ArchiveServer::capabilities`] does the same for a few: who calls this from time to time makes it exact.
    pub fn refresh(&self, max: usize) -> bool {
        let mut complete = self.complete.lock();
        if let Err(error) = self.refresh_locked(&mut complete, max) {
            self.report(&error, None);
        }
        !complete.changed.is_empty() || complete.unknown_below.is_some()
    }

    fn refresh_locked(&self, complete: &mut Complete, max: usize) -> Result<(), ReadError> {
        match self.store.take_held_changes() {
            HeldChange::Periods(periods) => complete.changed.extend(periods),
            HeldChange::Any => *complete = Complete::default(),
        }
        if !std::mem::replace(&mut complete.started, true) {
            complete.unknown_below = self.store.last_period()?.map(|last| last.saturating_add(1));
            complete.changed.clear();
        }
        let floor = self.floor();
        complete.periods.remove_below(floor);
        for _ in 0..max {
            let Some(period) = complete.next(floor) else { break };
            if self.holds_all_assigned(period)? {
                complete.periods.insert(period);
            } else {
                complete.periods.remove(period);
            }
        }
        Ok(())
    }

    /// Whether the period is archived, and every chunk assigned to this node is held.
    fn holds_all_assigned(&self, period: u64) -> Result<bool, ReadError> {
        let manifest = match self.store.manifest(period) {
            Ok(Some(manifest)) => manifest,
            Ok(None) | Err(ReadError::Damaged(_) | ReadError::Pruned { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let held = match self.store.held_chunks(period) {
            Ok(held) => held,
            Err(ReadError::Damaged(_) | ReadError::Pruned { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let assigned = (self.assigned)(period, &manifest.chunks);
        let missing = |(assigned, index): (bool, u32)| assigned && held.binary_search(&index).is_err();
        Ok(!assigned.into_iter().zip(0u32..).any(missing))
    }

    /// Chunks of these periods that are assigned to this node now, whether they are held or not.
    fn assigned_chunks(&self, first_period: u64, periods: u32) -> HashSet<(u64, ChunkIndex)> {
        let mut found = HashSet::new();
        let last = self.store.last_period().ok().flatten().unwrap_or(0);
        let end = first_period
            .saturating_add(u64::from(periods))
            .min(last.saturating_add(1));
        for period in first_period.max(self.floor())..end {
            match self.store.manifest(period) {
                Ok(Some(manifest)) => {
                    let assigned = (self.assigned)(period, &manifest.chunks).into_iter().zip(0u32..);
                    found.extend(
                        assigned
                            .filter(|(mine, _)| *mine)
                            .map(|(_, index)| (period, ChunkIndex(index))),
                    );
                }
                Ok(None) | Err(ReadError::Pruned { .. }) => {}
                Err(error) => self.report(&error, Some(period)),
            }
        }
        found
    }

    fn floor(&self) -> u64 {
        self.store.floor().max(self.store.parameters().first_period)
    }

    /// What to answer when a period is not archived here.
    fn without_manifest<T>(&self, period: u64) -> Answer<T> {
        if period < self.store.floor() {
            Answer::Pruned
        } else if period < self.store.parameters().first_period {
            Answer::NotHeld
        } else {
            Answer::NotYet
        }
    }

    fn archived(&self, period: u64) -> Result<Manifest, Answer<std::convert::Infallible>> {
        match self.store.manifest(period) {
            Ok(Some(manifest)) => Ok(manifest),
            Ok(None) => Err(self.without_manifest(period)),
            Err(error) => Err(self.refusal(period, &error)),
        }
    }

    /// What to answer when something could not be read.
    fn refusal<T>(&self, period: u64, error: &ReadError) -> Answer<T> {
        match error {
            ReadError::Pruned { .. } => Answer::Pruned,
            ReadError::NotKept { .. } => Answer::NotHeld,
            ReadError::NotArchived { .. } => self.without_manifest(period),
            error => {
                self.report(error, Some(period));
                Answer::NotHeld
            }
        }
    }

    /// Logs why something is not served; damage only once.
    fn report(&self, error: &ReadError, period: Option<u64>) {
        if let ReadError::Damaged(damage) = error {
            let mut reported = self.reported.lock();
            if reported.contains(damage) {
                return;
            }
            reported.push_back(damage.clone());
            if reported.len() > REPORTED_DAMAGES {
                reported.pop_front();
            }
        }
        warn!(period, error = error as &dyn std::error::Error, "not served");
    }

    /// The upper tree of a chunk, from memory or from the store.
    fn upper_tree(
        &self,
        period: u64,
        chunk: ChunkIndex,
        chunk_id: &ChunkId,
    ) -> Result<Arc<UpperTree>, Answer<std::convert::Infallible>> {
        let generation = self.store.held_generation();
        if let Some(known) = self.recent.lock().get(generation, period, chunk) {
            let asked = known.pages.entry.id == *chunk_id;
            return if asked { Ok(known) } else { Err(Answer::NotHeld) };
        }
        let manifest = self.archived(period)?;
        let entry = manifest.chunks.get(chunk.0 as usize);
        let entry = *entry.filter(|entry| entry.id == *chunk_id).ok_or(Answer::NotHeld)?;
        let kept = self.store.chunk(period, chunk.0, entry);
        let pages = kept
            .map_err(|error| self.refusal(period, &error))?
            .ok_or(Answer::NotHeld)?;
        let upper = Arc::new(UpperTree {
            period,
            chunk,
            tree: MerkleTree::new(&pages.page_roots),
            pages,
        });
        self.recent.lock().push(generation, Arc::clone(&upper));
        Ok(upper)
    }

    fn read_page(&self, upper: &UpperTree, page: u32) -> Answer<PageContent> {
        // A page that does not exist is not held.
        let position = page as usize;
        let (Some(path), Some(objects_before)) = (upper.tree.path(page), upper.pages.objects_before.get(position))
        else {
            return Answer::NotHeld;
        };
        match self.store.page(upper.period, upper.chunk.0, &upper.pages, page) {
            Ok((bytes, signatures)) => Answer::Found(PageContent {
                bytes,
                signatures,
                objects_before: *objects_before,
                path,
            }),
            Err(error) => self.page_refusal(upper, &error),
        }
    }

    /// A page that is gone together with its chunk was dropped or pruned meanwhile: that is no damage.
    fn page_refusal(&self, upper: &UpperTree, error: &ReadError) -> Answer<PageContent> {
        if upper.period < self.store.floor() {
            return Answer::Pruned;
        }
        let kept = self.store.chunk(upper.period, upper.chunk.0, upper.pages.entry);
        match kept {
            Ok(None) => Answer::NotHeld,
            _ => self.refusal(upper.period, error),
        }
    }
}

impl Recent {
    /// A chunk, if it was asked for lately and nothing changed since.
    fn get(&mut self, generation: u64, period: u64, chunk: ChunkIndex) -> Option<Arc<UpperTree>> {
        if self.generation != generation {
            self.chunks.clear();
            self.generation = generation;
        }
        let same = |upper: &Arc<UpperTree>| upper.period == period && upper.chunk == chunk;
        let position = self.chunks.iter().position(same)?;
        let found = self.chunks.remove(position)?;
        self.chunks.push_back(Arc::clone(&found));
        Some(found)
    }

    /// Remembers a chunk that was read after the store was at `generation`.
    fn push(&mut self, generation: u64, upper: Arc<UpperTree>) {
        if self.generation == generation {
            self.chunks.push_back(upper);
        }
        if self.chunks.len() > RECENT_CHUNKS {
            self.chunks.pop_front();
        }
    }
}

impl Complete {
    /// The next period to look at: those that changed, then unknown ones, newest first.
    fn next(&mut self, floor: u64) -> Option<u64> {
        if let Some(period) = self.changed.pop_last() {
            return Some(period);
        }
        let below = self.unknown_below.take()?;
        let period = below.checked_sub(1).filter(|period| *period >= floor)?;
        self.unknown_below = Some(period);
        Some(period)
    }
}

/// An answer that is not [`Answer::Found`], as an answer for something else.
fn unfound<T>(answer: Answer<std::convert::Infallible>) -> Answer<T> {
    match answer {
        Answer::Found(never) => match never {},
        Answer::NotYet => Answer::NotYet,
        Answer::NotHeld => Answer::NotHeld,
        Answer::Pruned => Answer::Pruned,
    }
}

impl ArchiveServer for StoreServer {
    fn manifest(&self, period: u64) -> Answer<Vec<u8>> {
        match self.archived(period) {
            Ok(manifest) => Answer::Found(manifest.to_bytes()),
            Err(answer) => unfound(answer),
        }
    }

    fn page(&self, period: u64, chunk: ChunkIndex, chunk_id: &ChunkId, page: u32) -> Answer<PageContent> {
        if period < self.store.floor() {
            return Answer::Pruned;
        }
        match self.upper_tree(period, chunk, chunk_id) {
            Ok(upper) => self.read_page(&upper, page),
            Err(answer) => unfound(answer),
        }
    }

    /// Others drop their copies because of this answer: it leaves out what this node hands over itself, and looks at what
    /// is assigned before it looks at what is held. See [`crate::handover`].
    fn held(&self, first_period: u64, periods: u32) -> Vec<Vec<u8>> {
        let periods = periods.min(MAX_HELD_PERIODS);
        let mut bitmaps = vec![Vec::new(); periods as usize];
        let assigned = self.assigned_chunks(first_period, periods);
        let scan = self.store.for_each_held(first_period, |period, chunk| {
            let Some(bitmap) = bitmaps.get_mut((period - first_period) as usize) else {
                return false;
            };
            if chunk.0 < MAX_CHUNKS_PER_PERIOD && assigned.contains(&(period, chunk)) {
                set_bit(bitmap, chunk.0 as usize);
            }
            true
        });
        if let Err(error) = scan {
            self.report(&error, Some(first_period));
        }
        bitmaps
    }

    fn may_serve(&self, to: &NodeId, period: u64, chunk: ChunkIndex, now: MassaTime) -> bool {
        let rule = self.may_serve.as_ref();
        rule.map_or(true, |may_serve| may_serve(to, period, chunk, now))
    }

    fn prove(&self, challenger: &NodeId, challenge: &AuditChallenge) -> Answer<Vec<AuditLeaf>> {
        let (period, chunk, chunk_id) = (challenge.period, challenge.chunk, &challenge.chunk_id);
        let is_ours = |own| {
            let parties = ChallengeParties {
                chain_id: self.store.parameters().chain_id,
                challenger: *challenger,
                challenged: own,
            };
            parties.is_ours(challenge)
        };
        if !self.own.is_some_and(is_ours) {
            return Answer::NotHeld;
        }
        let upper = match self.upper_tree(period, chunk, chunk_id) {
            Ok(upper) => upper,
            Err(answer) => return unfound(answer),
        };
        audit::prove(challenge, &upper.pages.entry, |page| {
            self.page(period, chunk, chunk_id, page)
        })
    }

    fn capabilities(&self) -> Capabilities {
        self.refresh(REFRESHED_PERIODS);
        let complete = self.complete.lock();
        let newest = complete.periods.ranges().rev().take(MAX_HELD_RANGES);
        let mut ranges: Vec<HeldRange> = newest
            .map(|range| HeldRange {
                first_period: *range.start(),
                last_period: *range.end(),
            })
            .collect();
        ranges.reverse();
        Capabilities {
            allocated_storage_gb: self.allocated_storage_gb,
            floor: self.floor(),
            last_period: self.store.last_period().ok().flatten(),
            ranges,
        }
    }
}

fn set_bit(bitmap: &mut Vec<u8>, bit: usize) {
    if bitmap.len() <= bit / 8 {
        bitmap.resize(bit / 8 + 1, 0);
    }
    bitmap[bit / 8] |= 1 << (bit % 8);
}
