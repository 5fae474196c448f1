//! From an id to its slot: memory, the own index, then two peers that index everything.
//!
//! No id is stored under its slot on the chain, so that whoever does not index it has to ask. What a peer names is compared
//! with the period's entry, whose root is in the segment's table, before any page is read; who names a slot that does not
//! have the block lied. An operation is not in the entry: its block is read, and then who named it lied or did not
//! ([`Lookup::operation`]).
//!
//! An id that nobody knows costs a look at memory, one row of the index and one request; a short while later the first of
//! these alone. It is told apart ([`Found::read_archive`]), so that it need not use up a client's limit. That nobody knows an
//! id does not mean that it does not exist, and no answer says so.

mod unknown;
mod votes;

pub use unknown::UnknownIds;
pub use votes::Votes;

use super::asking::{Asking, Outcome, Request};
use super::period_read::ReadCheck;
use super::proofs::Evidence;
use super::to_readers::{ArchiveReader, ReadContent, ReaderError, SlotReading};
use crate::storage_backend::StoreError;
use massa_distributed_storage_exports::network::{
    FetchEvent, FetchPriority, FetchTarget, IndexScope, LocateId, Located, StoragePeer, MAX_LOCATE_IDS,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::OperationId;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Providers that are asked at the same time.
const PROVIDERS: usize = 2;
/// Providers that stand by for each of them, should it not answer.
const STAND_BY: usize = 3;

/// What is known of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// It is in this slot.
    At {
        /// Where.
        located: Located,
        /// Who says so; `None`: this node.
        by: Option<Box<NodeId>>,
    },
    /// So many providers answered that they do not know it. A short while ago, perhaps.
    UnknownTo(usize),
    /// This node does not know it, and no provider is connected.
    NoProvider,
    /// So many providers were asked, and none answered in time, or none truly.
    Unanswered(usize),
    /// This node does not know it, and the client's limit is used up.
    OverLimit,
}

impl Found {
    /// Whether finding it out took more than memory, an index row and a request: whether it is worth counting against a
    /// client's limit.
    pub fn read_archive(&self) -> bool {
        matches!(self, Found::At { .. })
    }
}

/// What is known of an id, with what was obtained while it was looked for: [`Lookup::read_block`] and
/// [`Lookup::read_operation`] go on from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lead {
    found: Found,
    evidence: Option<Evidence>,
}

impl Lead {
    /// What is known.
    pub fn found(&self) -> &Found {
        &self.found
    }
}

impl From<Found> for Lead {
    fn from(found: Found) -> Self {
        Self { found, evidence: None }
    }
}

/// Looks up ids.
pub struct Lookup {
    reader: Arc<ArchiveReader>,
    unknown: Mutex<UnknownIds>,
    turn: AtomicUsize,
}

/// An object that was looked for by its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ById<T> {
    /// Here it is.
    Read(T),
    /// It is not found: everything but [`Found::At`].
    NotFound(Found),
}

/// An operation, with its block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationReading {
    /// Its block.
    pub block: SlotReading,
    /// Its position in the block.
    pub index: u32,
}

impl Lookup {
    /// Looks up through `reader`.
    pub fn new(reader: Arc<ArchiveReader>) -> Self {
        Self {
            reader,
            unknown: Mutex::default(),
            turn: AtomicUsize::new(0),
        }
    }

    /// The reader.
    pub fn reader(&self) -> &Arc<ArchiveReader> {
        &self.reader
    }

    /// Where these objects are, one for each id, in order. At most `ask_max` ids are asked of other nodes: the client's limit.
    ///
    /// # Errors
    /// [`StoreError`] when the store cannot be read; damage of an index is as good as none.
    pub fn find(&self, ids: &[LocateId], ask_max: usize, now: Instant) -> Result<Vec<Found>, StoreError> {
        let leads = self.leads(ids, ask_max, now)?;
        Ok(leads.into_iter().map(|lead| lead.found).collect())
    }

    /// As [`Lookup::find`], for whoever reads what is found.
    ///
    /// # Errors
    /// As [`Lookup::find`].
    pub fn leads(&self, ids: &[LocateId], ask_max: usize, now: Instant) -> Result<Vec<Lead>, StoreError> {
        self.leads_before(ids, ask_max, (now, self.reader.deadline()))
    }

    fn leads_before(
        &self,
        ids: &[LocateId],
        ask_max: usize,
        (now, deadline): (Instant, Instant),
    ) -> Result<Vec<Lead>, StoreError> {
        let mut found: Vec<Option<Lead>> = Vec::with_capacity(ids.len());
        for id in ids {
            found.push(self.find_here(id, now)?.map(Lead::from));
        }
        let open: Vec<usize> = (0..ids.len()).filter(|index| found[*index].is_none()).collect();
        let (asked, over) = open.split_at(open.len().min(ask_max));
        over.iter()
            .for_each(|index| found[*index] = Some(Found::OverLimit.into()));
        for batch in asked.chunks(MAX_LOCATE_IDS) {
            let of_batch: Vec<LocateId> = batch.iter().map(|index| ids[*index]).collect();
            let answers = self.ask_providers(&of_batch, (now, deadline));
            for (index, answer) in batch.iter().zip(answers) {
                found[*index] = Some(answer);
            }
        }
        Ok(found.into_iter().flatten().collect())
    }

    /// Memory of open segments, memory of unknown ids, own index.
    fn find_here(&self, id: &LocateId, now: Instant) -> Result<Option<Found>, StoreError> {
        let store = self.reader.store();
        let in_memory = match id {
            LocateId::Block(id) => store.find_open_block(id).is_some(),
            LocateId::Operation(id) => store.find_open_operation(id).is_some(),
        };
        if !in_memory {
            if let Some(providers) = self.unknown.lock().get(id, now) {
                return Ok(Some(Found::UnknownTo(providers)));
            }
        }
        let located = match id {
            LocateId::Block(id) => store.find_block(id).map(|slot| slot.map(|slot| (slot, 0))),
            LocateId::Operation(id) => store.find_operation(id),
        };
        match located {
            Ok(located) => Ok(located.map(|(slot, index)| Found::At {
                located: Located { slot, index },
                by: None,
            })),
            Err(StoreError::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Asks two providers for the same ids at once; each has others that stand by. One for each id.
    fn ask_providers(&self, ids: &[LocateId], (now, deadline): (Instant, Instant)) -> Vec<Lead> {
        let Some(asking) = self.reader.asking() else {
            return vec![Found::NoProvider.into(); ids.len()];
        };
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let lists = provider_lists(&asking.peers(), ids, turn);
        if lists.is_empty() {
            return vec![Found::NoProvider.into(); ids.len()];
        }
        let votes = self.collect_votes(asking, ids, &lists, deadline);
        let evidence = self
            .reader
            .entries(&votes.periods(self.reader.store().parameters()), deadline);
        let judged = votes.judge(&evidence);
        for (node, reason) in &judged.liars {
            asking.quarantine(*node, reason);
        }
        let mut unknown = self.unknown.lock();
        let found = ids.iter().zip(judged.found).map(|(id, found)| {
            if let Found::UnknownTo(providers) = found {
                unknown.note(*id, providers, now);
            }
            let evidence = match &found {
                Found::At { located, .. } => evidence.get(&located.slot.period).cloned(),
                _ => None,
            };
            Lead { found, evidence }
        });
        found.collect()
    }

    fn collect_votes(&self, asking: &Asking, ids: &[LocateId], lists: &[Vec<NodeId>], deadline: Instant) -> Votes {
        let requests: Vec<Request> = lists
            .iter()
            .map(|holders| Request {
                target: FetchTarget::Locate { ids: ids.to_vec() },
                holders: holders.clone(),
            })
            .collect();
        let mut votes = Votes::new(ids.to_vec());
        let outcomes = asking.ask(&requests, FetchPriority::Reader, deadline, |_, event| {
            if let FetchEvent::Located { from, located, .. } = event {
                votes.add(from, &located);
            }
        });
        let asked = outcomes.iter().filter(|outcome| **outcome != Outcome::NotAsked).count();
        votes.set_asked(asked);
        votes
    }

    /// The block with this id, wherever it is.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn block(
        &self,
        id: BlockId,
        check: ReadCheck,
        ask_max: usize,
        now: Instant,
    ) -> Result<ById<SlotReading>, ReaderError> {
        let times = (now, self.reader.deadline());
        let lead = self.find_one(LocateId::Block(id), ask_max, times)?;
        self.block_of(id, lead, check, (ask_max > 0).then_some(times))
    }

    /// The block with this id, from what is known of it. `may_ask`: whether others may be asked where the own index leads
    /// nowhere.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn read_block(
        &self,
        id: BlockId,
        lead: Lead,
        check: ReadCheck,
        may_ask: bool,
    ) -> Result<ById<SlotReading>, ReaderError> {
        let times = (Instant::now(), self.reader.deadline());
        self.block_of(id, lead, check, may_ask.then_some(times))
    }

    fn block_of(
        &self,
        id: BlockId,
        lead: Lead,
        check: ReadCheck,
        ask: Option<(Instant, Instant)>,
    ) -> Result<ById<SlotReading>, ReaderError> {
        let deadline = ask.map_or_else(|| self.reader.deadline(), |(_, deadline)| deadline);
        let by_index = matches!(lead.found, Found::At { by: None, .. });
        let read = self.block_at(id, lead, (check, deadline))?;
        match ask {
            Some(times) if by_index && matches!(read, ById::NotFound(_)) => {
                // A row of the own index may outlive what it names.
                let others = self.ask_providers(&[LocateId::Block(id)], times).pop();
                let others = others.unwrap_or_else(|| Found::NoProvider.into());
                self.block_at(id, others, (check, deadline))
            }
            _ => Ok(read),
        }
    }

    fn block_at(
        &self,
        id: BlockId,
        Lead { found, evidence }: Lead,
        (check, deadline): (ReadCheck, Instant),
    ) -> Result<ById<SlotReading>, ReaderError> {
        let Found::At { located, .. } = found else {
            return Ok(ById::NotFound(found));
        };
        let reading = self.reader.slot_before(located.slot, check, evidence, deadline)?;
        let is_it = match &reading.content {
            ReadContent::Block(record) => self.block_id(record) == Some(id),
            ReadContent::Lost(lost) => *lost == id,
            ReadContent::Miss => false,
        };
        Ok(if is_it {
            ById::Read(reading)
        } else {
            ById::NotFound(Found::Unanswered(0))
        })
    }

    /// The operation with this id, with its block. A provider that named a block which does not have it lied.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn operation(
        &self,
        id: OperationId,
        check: ReadCheck,
        ask_max: usize,
        now: Instant,
    ) -> Result<ById<OperationReading>, ReaderError> {
        let deadline = self.reader.deadline();
        let lead = self.find_one(LocateId::Operation(id), ask_max, (now, deadline))?;
        self.operation_at(id, lead, (check, deadline))
    }

    /// The operation with this id, from what is known of it.
    ///
    /// # Errors
    /// [`ReaderError`].
    pub fn read_operation(
        &self,
        id: OperationId,
        lead: Lead,
        check: ReadCheck,
    ) -> Result<ById<OperationReading>, ReaderError> {
        self.operation_at(id, lead, (check, self.reader.deadline()))
    }

    fn operation_at(
        &self,
        id: OperationId,
        Lead { found, evidence }: Lead,
        (check, deadline): (ReadCheck, Instant),
    ) -> Result<ById<OperationReading>, ReaderError> {
        let Found::At { located, by } = found else {
            return Ok(ById::NotFound(found));
        };
        let block = self.reader.slot_before(located.slot, check, evidence, deadline)?;
        let index = match &block.content {
            ReadContent::Block(record) => self.index_of(record, &id),
            _ => None,
        };
        if let Some(index) = index {
            return Ok(ById::Read(OperationReading { block, index }));
        }
        if let (Some(by), Some(asking)) = (&by, self.reader.asking()) {
            let reason = format!("operation {id} is not in slot {}", located.slot);
            asking.quarantine(**by, &reason);
        }
        Ok(ById::NotFound(Found::Unanswered(usize::from(by.is_some()))))
    }

    fn find_one(&self, id: LocateId, ask_max: usize, times: (Instant, Instant)) -> Result<Lead, ReaderError> {
        let found = self.leads_before(&[id], ask_max, times)?.pop();
        Ok(found.unwrap_or_else(|| Found::NoProvider.into()))
    }

    fn block_id(&self, record: &BlockRecord) -> Option<BlockId> {
        let threads = self.reader.store().parameters().thread_count;
        Some(record.view(threads).ok()?.block_id())
    }

    fn index_of(&self, record: &BlockRecord, id: &OperationId) -> Option<u32> {
        let threads = self.reader.store().parameters().thread_count;
        let view = record.view(threads).ok()?;
        let index = view.operation_ids().position(|listed| listed == *id)?;
        u32::try_from(index).ok()
    }
}

/// Whom to ask: two lists without a node in common, of nodes that index everything that is asked for.
fn provider_lists(peers: &[StoragePeer], ids: &[LocateId], turn: usize) -> Vec<Vec<NodeId>> {
    let wants_blocks = ids.iter().any(|id| matches!(id, LocateId::Block(_)));
    let wants_operations = ids.iter().any(|id| matches!(id, LocateId::Operation(_)));
    let is_provider = |peer: &&StoragePeer| {
        let scopes = peer.capabilities.as_ref().map(|said| said.indexes);
        !peer.quarantined
            && scopes.is_some_and(|scopes| {
                (!wants_blocks || scopes.block == IndexScope::All)
                    && (!wants_operations || scopes.operation == IndexScope::All)
            })
    };
    let mut providers: Vec<NodeId> = peers.iter().filter(is_provider).map(|peer| peer.node).collect();
    let begin = turn % providers.len().max(1);
    providers.rotate_left(begin);
    let mut lists = vec![Vec::new(); PROVIDERS.min(providers.len())];
    for (index, node) in providers.into_iter().take(PROVIDERS * (1 + STAND_BY)).enumerate() {
        lists[index % PROVIDERS].push(node);
    }
    lists
}
