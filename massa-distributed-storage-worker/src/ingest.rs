//! Blocks in, archived periods out: the store's one writer.
//!
//! Driven by the worker thread, block by block as they become final, and by the import command, file after file. Holds what is
//! known of open periods; encodes and stores a period as soon as nothing in it is awaited.

use crate::chunking::{ChunkingError, EncodedPeriod};
use crate::period_set::PeriodSet;
use crate::places::{ArchivedPeriods, Changes, PlaceError, PlaceTracker, Settled};
use crate::repair::Missing;
use crate::storage_backend::read::{PlaceContent, ReadError};
use crate::storage_backend::writer::Durability;
use crate::storage_backend::{ArchivedPeriod, PendingRows, Store, StoreError};
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest};
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Blocks of open periods that are held in memory; beyond that they wait in the store.
pub const HELD_BYTES_MAX: usize = 64 << 20;

/// Awaited places that are kept in memory; beyond that they are found by the links of later blocks.
const AWAITED_MAX: usize = 16_384;

/// Decides which chunks of a period this node keeps: one answer for each chunk, in order.
pub type KeepChunks = Box<dyn FnMut(u64, &[ChunkEntry]) -> Vec<bool> + Send>;

/// Keeps every chunk.
pub fn keep_all() -> KeepChunks {
    Box::new(|_, chunks| vec![true; chunks.len()])
}

/// Why a block was not taken.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum IngestError {
    /// The bytes are not a block with its operations.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The block cannot be final beside those that are known.
    #[error(transparent)]
    Place(#[from] PlaceError<ReadError>),
    /// The period cannot be encoded.
    #[error(transparent)]
    Chunking(#[from] ChunkingError),
    /// The blocks of a period do not lead to the root that was accepted for it.
    #[error("period {period} has root {found}, not {expected}")]
    OtherRoot {
        /// The period.
        period: u64,
        /// The accepted root.
        expected: PeriodRoot,
        /// The root of the blocks.
        found: PeriodRoot,
    },
    /// The store could not be read.
    #[error(transparent)]
    Read(ReadError),
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ReadError> for IngestError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Store(error) => IngestError::Store(error),
            error => IngestError::Read(error),
        }
    }
}

/// What taking a block led to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The block was known already.
    pub known: bool,
    /// Periods that are now archived.
    pub archived: Vec<ArchivedPeriod>,
    /// Segments that are now complete.
    pub segments: Vec<(u64, SegmentRoot)>,
    /// Periods that are now entered as lost.
    pub lost: Vec<u64>,
    /// Periods below it were pruned.
    pub pruned_below: Option<u64>,
    /// The block was taken, but a complete period could not be stored: why. [`Ingest::archive_complete`] tries again.
    pub stalled: Option<String>,
}

/// The first segment without a root, once the chain is well past it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSegment {
    /// The segment.
    pub segment: u64,
    /// Its periods that are not archived, in order; for each the ids of its places (`None` for a miss), unless one is not
    /// known.
    pub periods: Vec<(u64, Option<Vec<Option<BlockId>>>)>,
}

/// When a block counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// When its pending row is on the disk: for blocks that may never come again.
    EachBlock,
    /// When its period is archived, or at [`Ingest::finish`]: for blocks that can be read again.
    EachPeriod,
}

/// The writer's state.
pub struct Ingest {
    store: Arc<Store>,
    acknowledge: Acknowledge,
    keep: KeepChunks,
    tracker: PlaceTracker,
    /// Blocks of open periods in memory; the others are in pending rows.
    held: BTreeMap<Slot, BlockRecord>,
    held_bytes: usize,
    unwritten: Unwritten,
    /// Open periods without awaited places.
    complete: BTreeSet<u64>,
    /// Why complete periods could not be stored, if so; they wait for [`Ingest::archive_complete`].
    stalled: Option<String>,
    /// The first segment without a root.
    next_segment: u64,
    /// Every archived period that is not pruned.
    archived: PeriodSet,
    /// Places whose block was final but is not here, with its id.
    awaited: BTreeMap<Slot, Option<BlockId>>,
    /// The newest period archived since segments and retention were last looked at.
    newest_unsettled: Option<u64>,
}

/// What the store does not have yet.
#[derive(Default)]
struct Unwritten {
    blocks: BTreeSet<Slot>,
    misses: BTreeSet<Slot>,
    links: BTreeMap<(u8, BlockId), u64>,
    resolved_links: BTreeSet<(u8, BlockId)>,
    headers: BTreeMap<Slot, BlockId>,
}

impl Ingest {
    /// Takes up where the store was left: open periods are restored, complete ones archived.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn open(
        store: Arc<Store>,
        acknowledge: Acknowledge,
        keep: KeepChunks,
    ) -> Result<(Self, Progress), IngestError> {
        let tracker = restore(&store)?;
        let next_segment = first_open_segment(&store)?;
        let newest_unsettled = store.last_period()?;
        let archived = store.archived_periods()?.into_iter().collect();
        let awaited = store.awaited()?.into_iter().take(AWAITED_MAX).collect();
        let mut ingest = Self {
            store,
            acknowledge,
            keep,
            complete: tracker.complete_periods().into_iter().collect(),
            stalled: None,
            tracker,
            held: BTreeMap::new(),
            held_bytes: 0,
            unwritten: Unwritten::default(),
            next_segment,
            archived,
            awaited,
            // The process may have ended between a period and what follows from it.
            newest_unsettled,
        };
        let progress = ingest.archive_complete()?;
        Ok((ingest, progress))
    }

    /// The store.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Places of the open periods.
    pub fn tracker(&self) -> &PlaceTracker {
        &self.tracker
    }

    /// Takes a final block. Its ids are checked, its signatures are not.
    ///
    /// # Errors
    /// [`IngestError`]: the block is not taken. (With [`Acknowledge::EachPeriod`] it may be, but its period was not
    /// stored.)
    pub fn add(&mut self, record: BlockRecord) -> Result<Progress, IngestError> {
        let parameters = self.store.parameters();
        let view = record.check_ids(parameters.chain_id, parameters.thread_count)?;
        let (slot, id, parent) = (view.slot, view.block_id(), view.same_thread_parent());
        if slot.period < self.store.floor() {
            return Ok(Progress {
                known: true,
                ..Progress::default()
            });
        }
        let changes = self.tracker.add_block(slot, id, parent, &Archived(&self.store))?;
        if changes.known {
            return Ok(Progress {
                known: true,
                ..Progress::default()
            });
        }
        self.awaited.remove(&slot);
        self.held_bytes += record.as_bytes().len();
        self.held.insert(slot, record);
        self.unwritten.blocks.insert(slot);
        self.note(changes);
        if self.acknowledge == Acknowledge::EachPeriod {
            let progress = self.archive_complete()?;
            self.limit_held()?;
            return Ok(progress);
        }
        self.write_pending()?;
        self.limit_held()?;
        let archived = match self.stalled {
            None => self.archive_complete(),
            Some(_) => Ok(Progress::default()),
        };
        // The block is taken, whatever becomes of its period.
        match archived {
            Err(IngestError::Store(_)) => Ok(self.stalled_progress()),
            Ok(_) if self.stalled.is_some() => Ok(self.stalled_progress()),
            archived => archived,
        }
    }

    fn stalled_progress(&self) -> Progress {
        Progress {
            stalled: self.stalled.clone(),
            ..Progress::default()
        }
    }

    /// Takes the word of the caller that slots of `periods` without a block are misses.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn declare_misses(&mut self, periods: RangeInclusive<u64>) -> Result<Progress, IngestError> {
        let changes = self.tracker.declare_misses(periods, &Archived(&self.store))?;
        self.note(changes);
        self.archive_complete()
    }

    /// Notes that a place needs repair: its block was final, but is not here.
    ///
    /// # Errors
    /// [`IngestError::Store`].
    pub fn note_awaited(&mut self, slot: Slot, id: Option<BlockId>) -> Result<(), IngestError> {
        let rows = PendingRows {
            awaited: vec![(slot, id)],
            ..PendingRows::default()
        };
        if self.awaited.len() < AWAITED_MAX && !self.archived.contains(slot.period) {
            self.awaited.insert(slot, id);
        }
        Ok(self.store.put_pending(&rows, Durability::Buffered)?)
    }

    /// Notes that a place needs repair: its block was final, as this node's consensus says, but is not here. Its id, and what
    /// its link to `parent` in its own thread shows, is known all the same.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn note_header(&mut self, slot: Slot, id: BlockId, parent: Option<BlockId>) -> Result<Progress, IngestError> {
        if self.awaited.len() >= AWAITED_MAX || slot.period < self.store.floor() {
            self.note_awaited(slot, Some(id))?;
            return Ok(Progress::default());
        }
        let changes = match self.tracker.add_header(slot, id, parent, &Archived(&self.store)) {
            // Without a parent to link to, the id is known all the same.
            Err(PlaceError::NoParents(_) | PlaceError::Gap { .. }) => {
                self.tracker.restore_header(slot, id);
                Changes::default()
            }
            changes => changes?,
        };
        if changes.known {
            return Ok(Progress::default());
        }
        self.awaited.insert(slot, Some(id));
        self.unwritten.headers.insert(slot, id);
        self.note(changes);
        self.write_pending()?;
        match self.stalled {
            None => self.archive_complete(),
            Some(_) => Ok(Progress::default()),
        }
    }

    /// What is known of the first segment without a root; `None` until a block is here that is later than the segment after
    /// it begins.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn open_segment(&self) -> Result<Option<OpenSegment>, IngestError> {
        let parameters = self.store.parameters();
        let segment = self.next_segment;
        let start = parameters.segment_start(segment);
        let end = start.saturating_add(parameters.segment_length(segment));
        if self.newest().map_or(true, |newest| newest <= end) {
            return Ok(None);
        }
        let mut periods = Vec::new();
        for period in start.max(self.store.floor())..end {
            if !self.archived.contains(period) {
                periods.push((period, self.tracker.ids_of(period, &Archived(&self.store))?));
            }
        }
        Ok(Some(OpenSegment { segment, periods }))
    }

    /// The newest period of which anything is known.
    fn newest(&self) -> Option<u64> {
        let open = self.tracker.open_periods().last().map(|(period, _)| period);
        open.max(self.archived.last())
    }

    /// Enters a period as lost, whatever was known of it: `manifest` leads to an accepted segment root.
    ///
    /// # Errors
    /// [`IngestError`]; the period is then as it was, unless the disk failed while writing.
    pub fn enter_lost(&mut self, manifest: &Manifest) -> Result<Progress, IngestError> {
        let (period, root) = (manifest.header.period, manifest.root());
        if !manifest.is_lost() || self.has_root(period, root)? {
            return Ok(Progress::default());
        }
        let ids: Vec<Option<BlockId>> = manifest.places.iter().map(|place| place.block_id()).collect();
        let durability = self.durability();
        self.put_true(period, &ids, |store, rows| store.enter_lost(manifest, rows, durability))?;
        let progress = self.archive_complete()?;
        Ok(Progress {
            lost: vec![period],
            ..progress
        })
    }

    /// Archives a period in place of what was known of it: its root leads to an accepted segment root. `records` are its
    /// blocks, verified; index = thread.
    ///
    /// # Errors
    /// [`IngestError`]; the period is then as it was, unless the disk failed while writing.
    pub fn take_period(
        &mut self,
        period: u64,
        root: PeriodRoot,
        records: &[Option<BlockRecord>],
    ) -> Result<Progress, IngestError> {
        if self.has_root(period, root)? {
            return Ok(Progress::default());
        }
        let places: Vec<Option<&BlockRecord>> = records.iter().map(Option::as_ref).collect();
        let encoded = EncodedPeriod::new(self.store.parameters(), period, &places)?;
        let found = encoded.manifest.root();
        if found != root {
            return Err(IngestError::OtherRoot {
                period,
                expected: root,
                found,
            });
        }
        let keep = (self.keep)(period, &encoded.manifest.chunks);
        let ids: Vec<Option<BlockId>> = encoded.manifest.places.iter().map(|place| place.block_id()).collect();
        let durability = self.durability();
        let archived = self.put_true(period, &ids, |store, rows| {
            store.replace_period(&encoded, &places, &keep, rows, durability)
        })?;
        let mut progress = self.archive_complete()?;
        progress.archived.push(archived);
        Ok(progress)
    }

    fn has_root(&self, period: u64, root: PeriodRoot) -> Result<bool, IngestError> {
        // What is damaged here has no root that could be trusted.
        match self.store.manifest(period) {
            Ok(manifest) => Ok(manifest.is_some_and(|manifest| manifest.root() == root)),
            Err(ReadError::Damaged(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Stores a period on the word of an accepted root, with the rows of other periods that follow from it.
    fn put_true<T>(
        &mut self,
        period: u64,
        ids: &[Option<BlockId>],
        put: impl FnOnce(&Store, &PendingRows<'_>) -> Result<T, StoreError>,
    ) -> Result<T, IngestError> {
        self.forget(period);
        let settled = self.tracker.settle_period(period, ids, &Archived(&self.store));
        settled?.into_iter().for_each(|changes| self.note(changes));
        let stored = put(&self.store, &self.unwritten.rows(&self.held));
        match stored {
            Ok(stored) => {
                self.unwritten = Unwritten::default();
                self.archived.insert(period);
                self.next_segment = self.next_segment.min(self.store.parameters().segment_of(period));
                self.newest_unsettled = self.newest_unsettled.max(self.archived.last());
                Ok(stored)
            }
            Err(error) => {
                self.forget_unwritten()?;
                Err(error.into())
            }
        }
    }

    /// Every archived period that is not pruned.
    pub fn archived(&self) -> &PeriodSet {
        &self.archived
    }

    /// Places whose block was final but is not here.
    pub fn awaited(&self) -> &BTreeMap<Slot, Option<BlockId>> {
        &self.awaited
    }

    /// What is missing below the newest period that a block was taken of, at most `max` periods and `max` blocks of
    /// each thread.
    pub fn missing(&self, max: usize) -> Missing {
        let parents = self.tracker.unknown_parents();
        let named = self.awaited.iter().filter_map(|(slot, id)| Some((slot.thread, (*id)?)));
        let limit = max * usize::from(self.store.parameters().thread_count);
        let newest = self.newest();
        let oldest = self.store.floor().max(self.store.parameters().first_period);
        let (mut periods, mut more_periods) = match newest {
            Some(newest) if newest >= oldest => self.archived.missing(oldest..=newest, max),
            _ => Default::default(),
        };
        // However many are newer: without these, no later segment has a root.
        let last = periods.last().copied().unwrap_or(u64::MAX);
        for period in self.open_of_first_segment(oldest).into_iter().rev() {
            if period < last && more_periods > 0 {
                periods.push(period);
                more_periods -= 1;
            }
        }
        Missing {
            wanted: parents.chain(named).take(limit).collect(),
            periods: periods
                .into_iter()
                .map(|period| (period, self.threads_here(period)))
                .collect(),
            more_periods,
        }
    }

    /// Periods of the first segment without a root that are not archived, in order.
    fn open_of_first_segment(&self, oldest: u64) -> Vec<u64> {
        let parameters = self.store.parameters();
        let start = parameters.segment_start(self.next_segment);
        let end = start.saturating_add(parameters.segment_length(self.next_segment));
        (start.max(oldest)..end)
            .filter(|period| !self.archived.contains(*period))
            .collect()
    }

    /// Threads of an open period whose place is settled.
    fn threads_here(&self, period: u64) -> BTreeSet<u8> {
        let places = self.tracker.places(period).unwrap_or_default().iter().zip(0..);
        places
            .filter(|(settled, _)| settled.is_some())
            .map(|(_, thread)| thread)
            .collect()
    }

    /// Archives every open period that is complete: after opening, after the store recovered, after each block.
    ///
    /// # Errors
    /// [`IngestError`]; what was archived before stays archived.
    pub fn archive_complete(&mut self) -> Result<Progress, IngestError> {
        let archived = self.try_archive_complete();
        self.stalled = archived.as_ref().err().map(ToString::to_string);
        archived
    }

    fn try_archive_complete(&mut self) -> Result<Progress, IngestError> {
        let mut progress = Progress::default();
        while let Some(period) = self.complete.first().copied() {
            // A write that was reported as failed may have been carried out.
            if self.store.manifest(period)?.is_none() {
                progress.archived.push(self.archive(period)?);
            }
            self.archived.insert(period);
            self.forget(period);
            self.newest_unsettled = self.newest_unsettled.max(Some(period));
        }
        if let Some(last) = self.newest_unsettled {
            progress.segments = self.store.update_segments(self.next_segment)?;
            self.next_segment += progress.segments.len() as u64;
            progress.pruned_below = self.store.prune(last)?;
            self.forget_pruned();
            self.newest_unsettled = None;
        }
        Ok(progress)
    }

    /// Writes everything that is still only in memory and makes all of it survive a power cut.
    ///
    /// # Errors
    /// [`IngestError::Store`].
    pub fn finish(&mut self) -> Result<(), IngestError> {
        self.write_pending()?;
        Ok(self.store.sync()?)
    }

    fn note(&mut self, changes: Changes) {
        self.complete.extend(changes.complete);
        self.unwritten.misses.extend(changes.misses);
        if let Some((thread, parent, period)) = changes.new_link {
            self.unwritten.links.insert((thread, parent), period);
        }
        if let Some(link) = changes.resolved_link {
            self.unwritten.links.remove(&link);
            self.unwritten.resolved_links.insert(link);
        }
    }

    /// Encodes and stores a complete period.
    fn archive(&mut self, period: u64) -> Result<ArchivedPeriod, IngestError> {
        let records = self.take_records(period)?;
        let archived = self.store_period(period, &records);
        if archived.is_ok() {
            self.unwritten.links.clear();
            self.unwritten.resolved_links.clear();
        } else {
            self.hold(period, records);
        }
        archived
    }

    fn store_period(&mut self, period: u64, records: &[Option<BlockRecord>]) -> Result<ArchivedPeriod, IngestError> {
        let places: Vec<Option<&BlockRecord>> = records.iter().map(Option::as_ref).collect();
        let encoded = EncodedPeriod::new(self.store.parameters(), period, &places)?;
        let keep = (self.keep)(period, &encoded.manifest.chunks);
        let rows = PendingRows {
            links: self.unwritten.links(),
            resolved_links: self.unwritten.resolved_links.iter().copied().collect(),
            ..PendingRows::default()
        };
        let durability = self.durability();
        Ok(self.store.put_period(&encoded, &places, &keep, &rows, durability)?)
    }

    /// Forgets an open period: it is archived, or pruned.
    fn forget(&mut self, period: u64) {
        self.awaited.retain(|slot, _| slot.period != period);
        self.complete.remove(&period);
        self.tracker.forget(period);
        for thread in 0..self.store.parameters().thread_count {
            let slot = Slot::new(period, thread);
            self.unwritten.blocks.remove(&slot);
            self.unwritten.misses.remove(&slot);
            self.unwritten.headers.remove(&slot);
            if let Some(record) = self.held.remove(&slot) {
                self.held_bytes -= record.as_bytes().len();
            }
        }
    }

    /// Forgets open periods that were pruned: nobody can complete them any more.
    fn forget_pruned(&mut self) {
        let floor = self.store.floor();
        self.archived.remove_below(floor);
        let open: Vec<u64> = self.tracker.open_periods().map(|(period, _)| period).collect();
        open.into_iter()
            .filter(|period| *period < floor)
            .for_each(|period| self.forget(period));
    }

    /// The blocks of a complete period, from memory or from their pending rows; index = thread.
    fn take_records(&mut self, period: u64) -> Result<Vec<Option<BlockRecord>>, IngestError> {
        let places = self.tracker.places(period).expect("the period is open").to_vec();
        let mut records = Vec::with_capacity(places.len());
        for (settled, thread) in places.into_iter().zip(0..) {
            let slot = Slot::new(period, thread);
            let record = match settled {
                Some(Settled::Block(_)) => self.take_record(slot).map(Some),
                Some(Settled::Miss) | None => Ok(None),
            };
            match record {
                Ok(record) => records.push(record),
                Err(error) => {
                    self.hold(period, records);
                    return Err(error);
                }
            }
        }
        Ok(records)
    }

    fn take_record(&mut self, slot: Slot) -> Result<BlockRecord, IngestError> {
        if let Some(record) = self.held.remove(&slot) {
            self.held_bytes -= record.as_bytes().len();
            return Ok(record);
        }
        match self.store.pending_row(slot)? {
            Some(PlaceContent::Block(record)) => Ok(record),
            _ => Err(ReadError::NotFound(format!("pending block of slot {slot}")).into()),
        }
    }

    /// Holds the blocks of a period again; index = thread.
    fn hold(&mut self, period: u64, records: Vec<Option<BlockRecord>>) {
        for (record, thread) in records.into_iter().zip(0..) {
            if let Some(record) = record {
                self.held_bytes += record.as_bytes().len();
                self.held.insert(Slot::new(period, thread), record);
            }
        }
    }

    fn durability(&self) -> Durability {
        match self.acknowledge {
            Acknowledge::EachBlock => Durability::Synced,
            Acknowledge::EachPeriod => Durability::Buffered,
        }
    }

    /// Writes what the store does not have yet. If that fails, it is forgotten: it was not acknowledged.
    fn write_pending(&mut self) -> Result<(), IngestError> {
        let rows = self.unwritten.rows(&self.held);
        if let Err(error) = self.store.put_pending(&rows, self.durability()) {
            self.forget_unwritten()?;
            return Err(error.into());
        }
        self.unwritten = Unwritten::default();
        Ok(())
    }

    /// Goes back to what the store has.
    fn forget_unwritten(&mut self) -> Result<(), IngestError> {
        self.unwritten = Unwritten::default();
        self.held.clear();
        self.held_bytes = 0;
        self.tracker = restore(&self.store)?;
        self.complete = self.tracker.complete_periods().into_iter().collect();
        Ok(())
    }

    /// Moves blocks out of memory when too many are held.
    fn limit_held(&mut self) -> Result<(), IngestError> {
        if self.held_bytes > HELD_BYTES_MAX {
            self.write_pending()?;
            self.held.clear();
            self.held_bytes = 0;
        }
        Ok(())
    }
}

impl Unwritten {
    fn links(&self) -> Vec<(u8, BlockId, u64)> {
        let link = |(&(thread, parent), &period): (&(u8, BlockId), &u64)| (thread, parent, period);
        self.links.iter().map(link).collect()
    }

    fn rows<'a>(&self, held: &'a BTreeMap<Slot, BlockRecord>) -> PendingRows<'a> {
        PendingRows {
            blocks: self.blocks.iter().map(|slot| (*slot, &held[slot])).collect(),
            misses: self.misses.iter().copied().collect(),
            links: self.links(),
            resolved_links: self.resolved_links.iter().copied().collect(),
            awaited: self.headers.iter().map(|(slot, id)| (*slot, Some(*id))).collect(),
        }
    }
}

/// The archive as the tracker asks it.
struct Archived<'a>(&'a Store);

impl ArchivedPeriods for Archived<'_> {
    type Error = ReadError;

    fn period_of(&self, id: &BlockId) -> Result<Option<u64>, ReadError> {
        match self.0.indexed_block(id) {
            Ok(slot) => Ok(slot.map(|slot| slot.period)),
            Err(ReadError::Pruned { period, .. }) => Ok(Some(period)),
            Err(error) => Err(error),
        }
    }

    fn place(&self, slot: Slot) -> Result<Option<Settled>, ReadError> {
        let manifest = match self.0.manifest(slot.period) {
            // What was pruned was settled; nothing is known of it any more.
            Err(ReadError::Pruned { .. }) => return Ok(Some(Settled::Miss)),
            result => result?,
        };
        Ok(manifest.map(|manifest| {
            let place = manifest.places[usize::from(slot.thread)];
            place.block_id().map_or(Settled::Miss, Settled::Block)
        }))
    }
}

/// Reads the open periods back.
///
/// # Errors
/// [`ReadError`].
pub fn restore(store: &Store) -> Result<PlaceTracker, ReadError> {
    let parameters = store.parameters();
    let mut tracker = PlaceTracker::new(
        parameters.thread_count,
        parameters.first_period,
        parameters.boundary.clone(),
    );
    store.for_each_pending(|slot, content| {
        let settled = match content {
            PlaceContent::Miss => Settled::Miss,
            PlaceContent::Block(record) => {
                let view = record.view(parameters.thread_count).map_err(StoreError::from)?;
                Settled::Block(view.block_id())
            }
        };
        tracker.restore_place(slot, settled);
        Ok(true)
    })?;
    for (thread, parent, period) in store.links()? {
        tracker.restore_link(thread, parent, period);
    }
    for (slot, id) in store.awaited()?.into_iter().take(AWAITED_MAX) {
        if let Some(id) = id.filter(|_| slot.period >= store.floor().max(parameters.first_period)) {
            tracker.restore_header(slot, id);
        }
    }
    Ok(tracker)
}

fn first_open_segment(store: &Store) -> Result<u64, ReadError> {
    let mut segment = store.parameters().first_segment();
    while store.segment_root(segment)?.is_some() {
        segment += 1;
    }
    Ok(segment)
}
