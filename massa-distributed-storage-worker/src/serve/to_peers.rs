//! What this node serves to peers: tables, entries, blocks, pages, which chunks it holds, where ids are, how it claims a chunk.
//!
//! Called by the storage handler, on its threads. Each answer reads a bounded number of rows, whatever the length of the
//! archive. Everything is checked as it is read; what is damaged is logged once, told to repair, and answered as not held, never served.
//!
//! A page is sent as it is stored. One that is packed after the first page of its chunk says so
//! ([`PageContent::needs_first_page`]); the storage handler then sends page 0 first to whoever asked for it along. Such a
//! page is read and checked together with page 0, so it is never served where page 0 could not be.
//!
//! *Not yet*: of a segment or period after what is here. *Not held*: never had, damaged, or lost. *Pruned*: below the floor.
//! Tables are never pruned.

use super::complete::Complete;
use crate::storage_backend::rows;
use crate::storage_backend::{Damage, EntryRead, IndexScope, SegmentStore, SlotRead, StoreError};
use massa_db_exports::STORAGE_TABLES_CF;
use massa_distributed_storage_exports::network::{
    self as network, Answer, ArchiveServer, AuditChallenge, AuditLeaf, Capabilities, HeldRange, LocateId, Located,
    PageContent, SlotContent, MAX_FETCH_ENTRIES, MAX_FETCH_HELD, MAX_FETCH_TABLES, MAX_HELD_RANGES, MAX_LOCATE_IDS,
};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use tracing::warn;

/// Damages that are remembered, so that asking again and again does not fill the log.
const REPORTED_DAMAGES: usize = 64;
/// Segments that [`ArchiveServer::capabilities`] looks at when it is called: two rows each.
const REFRESHED_SEGMENTS: usize = 256;
/// Entries in one answer. Each may take two pages to be read and hashed; who wants more asks again.
const ENTRIES_MAX: u32 = 64;

/// Chunks of a segment that are assigned to this node and that it means to keep, whether it holds them or not.
pub type AssignedChunks = Arc<dyn Fn(u64) -> Vec<u32> + Send + Sync>;

/// Answers audits: see [`ArchiveServer::prove`].
pub type Prove = Arc<dyn Fn(&SegmentServer, &NodeId, &AuditChallenge) -> Answer<Vec<AuditLeaf>> + Send + Sync>;

/// How this node claims a chunk for a round: see [`ArchiveServer::sum_path`].
pub type WayToClaim = Arc<dyn Fn(u64, ChunkPosition) -> Answer<Vec<u8>> + Send + Sync>;

/// Serves a [`SegmentStore`].
pub struct SegmentServer {
    store: Arc<SegmentStore>,
    allocated_storage_gb: u64,
    assigned: AssignedChunks,
    prove: Option<Prove>,
    way_to_claim: Option<WayToClaim>,
    reported: Mutex<VecDeque<Damage>>,
    complete: Mutex<Complete>,
}

impl SegmentServer {
    /// Serves `store`. `assigned` tells what this node should hold; `allocated_storage_gb` is what it offers.
    pub fn new(store: Arc<SegmentStore>, allocated_storage_gb: u64, assigned: AssignedChunks) -> Self {
        Self {
            store,
            allocated_storage_gb,
            assigned,
            prove: None,
            way_to_claim: None,
            reported: Mutex::default(),
            complete: Mutex::default(),
        }
    }

    /// Answers audits with `prove`. Without it, none is answered.
    pub fn proving_with(mut self, prove: Prove) -> Self {
        self.prove = Some(prove);
        self
    }

    /// Shows with `way` what this node claims. Without it, nothing is shown.
    pub fn claiming_with(mut self, way: WayToClaim) -> Self {
        self.way_to_claim = Some(way);
        self
    }

    /// The store.
    pub fn store(&self) -> &Arc<SegmentStore> {
        &self.store
    }

    /// Other chunks are assigned to this node than before: no segment is said to be held whole until it was looked at again.
    pub fn assignment_changed(&self) {
        *self.complete.lock() = Complete::default();
    }

    /// Chunks of a segment came or went.
    pub fn held_changed(&self, segment: u64) {
        self.complete.lock().note(segment);
    }

    /// Looks at up to `max` segments that are new or changed, to see whether all is held that is assigned. Whether there are
    /// more. [`ArchiveServer::capabilities`] does the same for a few.
    pub fn refresh(&self, max: usize) -> bool {
        let last = self.unless_damaged(self.store.last_segment()).flatten();
        let end = last.map_or(0, |last| last + 1);
        let mut complete = self.complete.lock();
        complete.refresh((self.first_segment(), end), max, |segment| {
            self.holds_all_assigned(segment)
        })
    }

    fn holds_all_assigned(&self, segment: u64) -> bool {
        let assigned = (self.assigned)(segment);
        let held = self.unless_damaged(self.store.held(segment));
        held.is_some_and(|held| assigned.iter().all(|index| held.contains(*index)))
    }

    fn first_segment(&self) -> u64 {
        self.store.floor().max(self.store.parameters().first_segment())
    }

    /// What to answer for a segment whose table is not here.
    fn without_table<T>(&self, segment: u64) -> Answer<T> {
        if segment < self.store.parameters().first_segment() {
            Answer::NotHeld
        } else {
            Answer::NotYet
        }
    }

    /// What was read; `None`, and a line in the log, if it could not be.
    fn unless_damaged<T>(&self, read: Result<T, StoreError>) -> Option<T> {
        read.map_err(|error| self.report(&error)).ok()
    }

    /// Logs why something is not served; damage only once. Repair hears of a damaged chunk.
    fn report(&self, error: &StoreError) {
        if let StoreError::Damaged(damage) = error {
            if let Some(position) = damage.position() {
                self.store.note_damaged(position);
            }
            let mut reported = self.reported.lock();
            if reported.contains(damage) {
                return;
            }
            reported.push_back(damage.clone());
            if reported.len() > REPORTED_DAMAGES {
                reported.pop_front();
            }
        }
        warn!(error = error as &dyn std::error::Error, "not served");
    }

    /// The binary form of a table as it is stored: its checksum is looked at, it is not parsed.
    fn table_bytes(&self, segment: u64) -> Answer<Vec<u8>> {
        let read = self.store.view(|view| {
            let at = |damage: Damage| damage.in_segment(segment);
            view.sealed(STORAGE_TABLES_CF, &rows::segment_key(segment), &at)
        });
        match self.unless_damaged(read) {
            Some(Some(bytes)) => Answer::Found(bytes),
            Some(None) => self.without_table(segment),
            None => Answer::NotHeld,
        }
    }

    fn entry_bytes(&self, period: u64) -> Answer<Vec<u8>> {
        if period < self.store.parameters().first_period {
            return Answer::NotHeld;
        }
        match self.unless_damaged(self.store.entry(period)) {
            Some(EntryRead::Found(entry)) => Answer::Found(entry.to_bytes()),
            Some(EntryRead::Missing) => Answer::NotYet,
            Some(EntryRead::Pruned) => Answer::Pruned,
            Some(EntryRead::NotHeld { .. }) | None => Answer::NotHeld,
        }
    }

    /// A segment's chunks that are held and assigned. What is assigned is looked at first: others drop their copies because of
    /// this answer, and a chunk that stops being assigned meanwhile may be let go.
    fn held_of(&self, segment: u64) -> Vec<u8> {
        let assigned = (self.assigned)(segment);
        let read = self.store.view(|view| match view.segment_row(segment)? {
            None => Ok(None),
            Some(_) => view.held(segment).map(Some),
        });
        let mut bits = Vec::new();
        if let Some(Some(held)) = self.unless_damaged(read) {
            for index in assigned.into_iter().filter(|index| held.contains(*index)) {
                set_bit(&mut bits, index as usize);
            }
        }
        bits
    }

    fn locate_one(&self, id: &LocateId) -> Option<Located> {
        match id {
            LocateId::Block(id) => {
                let slot = self.unless_damaged(self.store.find_block(id)).flatten()?;
                Some(Located { slot, index: 0 })
            }
            LocateId::Operation(id) => {
                let (slot, index) = self.unless_damaged(self.store.find_operation(id)).flatten()?;
                Some(Located { slot, index })
            }
        }
    }

    /// The last period that joined the stream without a gap before it.
    fn newest_period(&self, newest_segment: Option<u64>) -> Option<u64> {
        let parameters = self.store.parameters();
        let end = |segment: u64| parameters.segment_start(segment) + parameters.segment_length(segment);
        let mut newest = newest_segment.map(|segment| end(segment) - 1);
        let mut next = newest_segment.map_or(parameters.first_segment(), |segment| segment + 1);
        for open in self.store.open_segments() {
            if open.segment < next || open.joined_periods == 0 {
                continue;
            }
            if open.segment > next {
                break;
            }
            let joined = parameters.segment_start(open.segment) + u64::from(open.joined_periods);
            newest = Some(joined - 1);
            if joined < end(open.segment) {
                break;
            }
            next += 1;
        }
        newest
    }
}

/// Elements from `first` on, as many as are found without a gap and fit; what the first one is answered with, if it is not
/// found. The first one is taken whatever its size.
fn as_many(first: u64, count: u32, bytes_max: usize, read: impl Fn(u64) -> Answer<Vec<u8>>) -> Answer<Vec<Vec<u8>>> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    for number in first..first.saturating_add(u64::from(count)) {
        let element = match read(number) {
            Answer::Found(element) => element,
            _ if !found.is_empty() => break,
            Answer::NotYet => return Answer::NotYet,
            Answer::NotHeld => return Answer::NotHeld,
            Answer::Pruned => return Answer::Pruned,
        };
        bytes += element.len();
        if bytes > bytes_max && !found.is_empty() {
            break;
        }
        found.push(element);
    }
    if found.is_empty() {
        return Answer::NotYet;
    }
    Answer::Found(found)
}

fn scope_of(scope: IndexScope) -> network::IndexScope {
    match scope {
        IndexScope::All => network::IndexScope::All,
        IndexScope::Held => network::IndexScope::Held,
        IndexScope::None => network::IndexScope::None,
    }
}

fn set_bit(bits: &mut Vec<u8>, bit: usize) {
    if bits.len() <= bit / 8 {
        bits.resize(bit / 8 + 1, 0);
    }
    bits[bit / 8] |= 1 << (bit % 8);
}

impl ArchiveServer for SegmentServer {
    fn tables(&self, first_segment: u64, count: u32, bytes_max: usize) -> Answer<Vec<Vec<u8>>> {
        let count = count.min(MAX_FETCH_TABLES);
        as_many(first_segment, count, bytes_max, |segment| self.table_bytes(segment))
    }

    fn entries(&self, first_period: u64, count: u32, bytes_max: usize) -> Answer<Vec<Vec<u8>>> {
        let count = count.min(MAX_FETCH_ENTRIES).min(ENTRIES_MAX);
        as_many(first_period, count, bytes_max, |period| self.entry_bytes(period))
    }

    fn block(&self, slot: &Slot) -> Answer<SlotContent<Vec<u8>>> {
        let parameters = self.store.parameters();
        if slot.thread >= parameters.thread_count || slot.period < parameters.first_period {
            return Answer::NotHeld;
        }
        match self.unless_damaged(self.store.slot(*slot)) {
            Some(SlotRead::Block(record)) => Answer::Found(SlotContent::Block(record.as_bytes().to_vec())),
            Some(SlotRead::Miss) => Answer::Found(SlotContent::Miss),
            Some(SlotRead::Missing) => Answer::NotYet,
            Some(SlotRead::Pruned) => Answer::Pruned,
            Some(SlotRead::NotHeld { .. } | SlotRead::Lost(_)) | None => Answer::NotHeld,
        }
    }

    fn page(&self, position: ChunkPosition, chunk_id: &ChunkId, page: u32) -> Answer<PageContent> {
        if position.segment < self.store.floor() {
            return Answer::Pruned;
        }
        let read = match self.unless_damaged(self.store.stored_page(position, page)) {
            Some(Some(read)) => read,
            Some(None) => {
                let root = self.unless_damaged(self.store.segment_root(position.segment));
                return match root {
                    Some(None) => self.without_table(position.segment),
                    _ => Answer::NotHeld,
                };
            }
            None => return Answer::NotHeld,
        };
        if read.chunk_id != *chunk_id {
            return Answer::NotHeld;
        }
        Answer::Found(PageContent {
            stored: read.stored,
            signatures: read.signatures,
            path: read.path,
        })
    }

    fn held(&self, first_segment: u64, count: u32, bytes_max: usize) -> Vec<Vec<u8>> {
        let last = self.unless_damaged(self.store.last_segment()).flatten();
        let end = last.map_or(0, |last| last + 1);
        let end = first_segment
            .saturating_add(u64::from(count.min(MAX_FETCH_HELD)))
            .min(end);
        let (mut lists, mut bytes) = (Vec::new(), 0);
        for segment in first_segment..end {
            let bits = self.held_of(segment);
            bytes += bits.len();
            if bytes > bytes_max && !lists.is_empty() {
                break;
            }
            lists.push(bits);
        }
        if lists.is_empty() {
            lists.push(Vec::new());
        }
        lists
    }

    fn locate(&self, ids: &[LocateId]) -> Vec<Option<Located>> {
        let looked_up = ids.iter().take(MAX_LOCATE_IDS).map(|id| self.locate_one(id));
        let mut located: Vec<_> = looked_up.collect();
        located.resize(ids.len(), None);
        located
    }

    fn capabilities(&self) -> Capabilities {
        self.refresh(REFRESHED_SEGMENTS);
        let newest_segment = self.unless_damaged(self.store.last_segment()).flatten();
        let indexes = self.store.indexes();
        let ranges = self.complete.lock().ranges(MAX_HELD_RANGES);
        Capabilities {
            allocated_storage_gb: self.allocated_storage_gb,
            floor: self.store.parameters().segment_start(self.first_segment()),
            newest_segment,
            newest_period: self.newest_period(newest_segment),
            indexes: network::IndexScopes {
                block: scope_of(indexes.blocks),
                operation: scope_of(indexes.operations),
                address: scope_of(indexes.addresses),
            },
            ranges: ranges
                .into_iter()
                .map(|range| HeldRange {
                    first_segment: *range.start(),
                    last_segment: *range.end(),
                })
                .collect(),
        }
    }

    fn sum_path(&self, round: u64, position: ChunkPosition) -> Answer<Vec<u8>> {
        let way = self.way_to_claim.as_ref();
        way.map_or(Answer::NotHeld, |way| way(round, position))
    }

    fn prove(&self, challenger: &NodeId, challenge: &AuditChallenge) -> Answer<Vec<AuditLeaf>> {
        let prove = self.prove.as_ref();
        prove.map_or(Answer::NotHeld, |prove| prove(self, challenger, challenge))
    }
}
