//! Blocks in, closed segments out: the store's one writer.
//!
//! Driven by the worker thread, block by block as they become final, and by whatever repairs. A block is a row as soon as it is
//! taken. A period whose slots are all settled joins the stream of its segment, in order; a gap stops that segment and no other
//! one. A segment whose periods have all joined is closed, in slices ([`Ingest::close_slice`]), when every segment before it is
//! closed: its root names the one before. What the registry's accepted roots say is entered in `accepted`.
//!
//! Whatever ends the process, the rows say where to go on: a period is either pending or joined, a segment either open or closed,
//! and the roots are the same.

mod accepted;
mod closing;
mod in_memory;
mod joining;
mod report;
mod slice_writer;

pub use accepted::TablesTaken;
pub use closing::ClosedSegment;
pub use in_memory::CheckedBlock;
pub use joining::ArchivedPeriod;

pub use crate::storage_backend::Keep;

use crate::archive::rows::{OpenRows, Packing, SegmentRows};
use crate::archive::slots::{Changes, ClosedSlots, Settled, SlotError, SlotTracker};
use crate::chunking::segment::StreamError;
use crate::storage_backend::database::writer::Durability;
use closing::Closing;
use joining::OpenState;
use massa_distributed_storage_exports::period::PeriodError;
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::segment_table::{TableChunk, TableError};
use massa_distributed_storage_exports::{ChunkPosition, PeriodRoot};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use slice_writer::SliceWriter;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Blocks of open periods that are held in memory; beyond that they are read from their rows again.
pub const HELD_BYTES_MAX: usize = 64 << 20;
/// Missing slots that are kept in memory; beyond that they are found by the links of later blocks.
const MISSING_MAX: usize = 16_384;

/// Decides what a chunk is kept as when its segment is closed; `None`: others hold it.
pub type KeepChunk = Box<dyn FnMut(ChunkPosition, &TableChunk) -> Option<Keep> + Send>;

/// Holds every chunk.
pub fn keep_all() -> KeepChunk {
    Box::new(|_, _| Some(Keep::Holder))
}

/// When a block counts as taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// When its row is on the disk: for blocks that may never come again.
    EachBlock,
    /// At [`Ingest::finish`]: for blocks that can be read again.
    AtFinish,
    /// When its segment is closed, or at [`Ingest::finish`]: for blocks that can be read again, in their order. While a segment
    /// fits into memory nothing of it is written before it is closed.
    AtClose,
}

/// How the writer works.
pub struct IngestOptions {
    /// When a block counts as taken.
    pub acknowledge: Acknowledge,
    /// Which chunks are kept.
    pub keep: KeepChunk,
    /// Bytes of rows that may wait behind a gap; beyond that the newest are given up. A quarter of the allocation.
    pub held_back_bytes_max: u64,
}

/// Why something was not taken. The store's own errors are [`IngestError::Store`].
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum IngestError<E: std::error::Error + 'static> {
    /// The bytes are not a block with its operations.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The block cannot be final beside those that are known.
    #[error(transparent)]
    Slot(#[from] SlotError<E>),
    /// The blocks do not make up their period.
    #[error(transparent)]
    Period(#[from] PeriodError),
    /// The period does not join its segment: rows of the store contradict each other.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The table is none of this network.
    #[error("segment {segment}: {source}")]
    Table {
        /// The segment.
        segment: u64,
        /// What is wrong.
        source: TableError,
    },
    /// The table of the segment is not here.
    #[error("the table of segment {segment} is not here")]
    NoTable {
        /// The segment.
        segment: u64,
    },
    /// An entry does not lead to the root that the segment's table has for the period: its sender is at fault.
    #[error("period {period} has root {found}, its segment's table says {expected}")]
    OtherEntry {
        /// The period.
        period: u64,
        /// Root in the table.
        expected: PeriodRoot,
        /// Root of the entry.
        found: PeriodRoot,
    },
    /// The row of a block is gone or damaged: the block is missing now, and asked for.
    #[error("the row of the block of slot {slot} is not readable")]
    BlockRow {
        /// The slot.
        slot: Slot,
    },
    /// The store could not be read or written.
    #[error(transparent)]
    Store(E),
}

/// What happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The block was known already, or its segment is closed.
    pub known: bool,
    /// The block's segment is taken by its table: its rows were given up.
    pub refused: bool,
    /// Periods that joined their segment.
    pub archived: Vec<ArchivedPeriod>,
    /// Segments that are closed now.
    pub closed: Vec<ClosedSegment>,
    /// Segments whose rows were given up, because too much waits behind a gap.
    pub given_up: Vec<u64>,
    /// What was given was taken, but a complete period could not join, or a segment not close: why. [`Ingest::advance`] tries
    /// again.
    pub stalled: Option<String>,
}

impl Progress {
    fn known() -> Self {
        Self {
            known: true,
            ..Self::default()
        }
    }

    fn append(&mut self, other: Progress) {
        self.archived.extend(other.archived);
        self.closed.extend(other.closed);
        self.given_up.extend(other.given_up);
        self.stalled = other.stalled.or(self.stalled.take());
    }
}

type Outcome<S, T> = Result<T, IngestError<<S as SegmentRows>::Error>>;

/// The writer's state.
pub struct Ingest<S: SegmentRows> {
    store: Arc<S>,
    options: IngestOptions,
    tracker: SlotTracker,
    held: HeldBlocks,
    unwritten: Unwritten,
    /// Open segments of which something is here.
    segments: BTreeMap<u64, OpenState>,
    /// Complete periods that have not joined.
    ready: BTreeSet<u64>,
    /// The first segment without a table.
    next_segment: u64,
    /// The segment that is being closed: always `next_segment`.
    closing: Option<Closing>,
    /// Slices of it that are being written.
    slices: SliceWriter<S>,
    /// Open segments whose rows were given up.
    by_table: BTreeSet<u64>,
    /// Slots whose block was final but is not here, with its id.
    missing: BTreeMap<Slot, Option<BlockId>>,
    /// Entries below the open segments were looked at down to this period, for the borders.
    border_looked_at: u64,
    /// How pages of closing segments are stored.
    packing: Packing,
    /// Open segments whose blocks are rows, with [`Acknowledge::AtClose`]: the others are in memory.
    rows_of: BTreeSet<u64>,
}

/// Blocks of open periods in memory; the others are read from their rows.
#[derive(Default)]
struct HeldBlocks {
    records: BTreeMap<Slot, BlockRecord>,
    bytes: usize,
}

impl HeldBlocks {
    fn insert(&mut self, slot: Slot, record: BlockRecord) {
        self.bytes += record.as_bytes().len();
        if let Some(former) = self.records.insert(slot, record) {
            self.bytes -= former.as_bytes().len();
        }
    }

    fn remove_period(&mut self, period: u64) {
        let slots: Vec<Slot> = self
            .records
            .range(Slot::new(period, 0)..=Slot::new(period, u8::MAX))
            .map(|(slot, _)| *slot)
            .collect();
        for slot in slots {
            if let Some(record) = self.records.remove(&slot) {
                self.bytes -= record.as_bytes().len();
            }
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What the store does not have yet.
#[derive(Default)]
struct Unwritten {
    blocks: BTreeSet<Slot>,
    misses: BTreeSet<Slot>,
    links: BTreeMap<(u8, BlockId), u64>,
    resolved_links: BTreeSet<(u8, BlockId)>,
    missing: BTreeMap<Slot, Option<BlockId>>,
}

impl Unwritten {
    fn rows<'a>(&self, held: &'a HeldBlocks) -> OpenRows<'a> {
        let link = |(&(thread, parent), &period): (&(u8, BlockId), &u64)| (thread, parent, period);
        OpenRows {
            blocks: self.blocks.iter().map(|slot| (*slot, &held.records[slot])).collect(),
            misses: self.misses.iter().copied().collect(),
            links: self.links.iter().map(link).collect(),
            resolved_links: self.resolved_links.iter().copied().collect(),
            missing: self.missing.iter().map(|(slot, id)| (*slot, *id)).collect(),
            ..OpenRows::default()
        }
    }

    fn is_empty(&self) -> bool {
        self.blocks.is_empty()
            && self.misses.is_empty()
            && self.links.is_empty()
            && self.resolved_links.is_empty()
            && self.missing.is_empty()
    }
}

/// Closed segments as the tracker asks for them: the entries of the newest ones are still here.
struct Closed<'a, S>(&'a S);

impl<S: SegmentRows> ClosedSlots for Closed<'_, S> {
    type Error = S::Error;

    fn slot(&self, slot: Slot) -> Result<Option<Settled>, S::Error> {
        let joined = self.0.joined_period(slot.period)?;
        let slots = joined.as_ref().map(|joined| joined.entry.slots());
        let block = slots.and_then(|slots| slots.get(usize::from(slot.thread)));
        Ok(block.map(|block| block.map_or(Settled::Miss, |block| Settled::Block(block.id))))
    }
}

impl<S: SegmentRows> Ingest<S> {
    /// Takes up where the store was left: open segments are restored, complete periods join.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn open(store: Arc<S>, options: IngestOptions) -> Outcome<S, (Self, Progress)> {
        let parameters = store.parameters().clone();
        let first_segment = parameters.first_segment();
        let packing = match options.acknowledge {
            Acknowledge::EachBlock => Packing::Packed,
            Acknowledge::AtFinish | Acknowledge::AtClose => Packing::Plain,
        };
        let mut ingest = Self {
            packing,
            tracker: SlotTracker::new(parameters.first_period, parameters.first_period, Vec::new()),
            store,
            options,
            held: HeldBlocks::default(),
            unwritten: Unwritten::default(),
            segments: BTreeMap::new(),
            ready: BTreeSet::new(),
            next_segment: first_segment,
            closing: None,
            slices: SliceWriter::default(),
            by_table: BTreeSet::new(),
            missing: BTreeMap::new(),
            border_looked_at: 0,
            rows_of: BTreeSet::new(),
        };
        ingest.restore()?;
        let progress = ingest.advance()?;
        Ok((ingest, progress))
    }

    /// The store.
    pub fn store(&self) -> &Arc<S> {
        &self.store
    }

    /// Slots of the open segments.
    pub fn tracker(&self) -> &SlotTracker {
        &self.tracker
    }

    /// The first segment without a table.
    pub fn next_segment(&self) -> u64 {
        self.next_segment
    }

    /// Takes a final block. Its ids are checked, its signatures are not.
    ///
    /// # Errors
    /// [`IngestError`]: the block is not taken.
    pub fn add(&mut self, record: BlockRecord) -> Outcome<S, Progress> {
        let block = CheckedBlock::new(record, self.store.parameters())?;
        self.add_checked(block)
    }

    /// Takes a final block whose ids were checked before, on another thread say.
    ///
    /// # Errors
    /// [`IngestError`]: the block is not taken.
    pub fn add_checked(&mut self, block: CheckedBlock) -> Outcome<S, Progress> {
        let CheckedBlock {
            record,
            slot,
            id,
            parent,
        } = block;
        if self.is_given_up(slot.period) {
            return Ok(Progress {
                refused: true,
                ..Progress::default()
            });
        }
        let changes = self.tracker.add_block(slot, id, parent, &Closed(&*self.store))?;
        if changes.known {
            return Ok(Progress::known());
        }
        let bytes = record.as_bytes().len();
        self.missing.remove(&slot);
        self.unwritten.missing.remove(&slot);
        self.held.insert(slot, record);
        self.unwritten.blocks.insert(slot);
        self.note(changes);
        self.write_open()?;
        self.count_block(slot, bytes);
        self.after_writing()
    }

    /// What follows from rows that were written.
    fn after_writing(&mut self) -> Outcome<S, Progress> {
        self.limit_held()?;
        // What was given is taken, whatever becomes of its period.
        let mut progress = self.advance_or_stall();
        progress.append(self.limit_held_back()?);
        Ok(progress)
    }

    fn advance_or_stall(&mut self) -> Progress {
        let mut progress = Progress::default();
        if let Err(error) = self.advance_into(&mut progress) {
            progress.stalled = Some(error.to_string());
        }
        progress
    }

    /// Joins every period that can join: after opening, after the store recovered, after each block. Closing goes on with
    /// [`Ingest::close_slice`].
    ///
    /// # Errors
    /// [`IngestError`]; what joined before stays.
    pub fn advance(&mut self) -> Outcome<S, Progress> {
        let mut progress = Progress::default();
        self.write_open()?;
        self.advance_into(&mut progress)?;
        Ok(progress)
    }

    /// Goes on after the store recovered from a fault: the write that failed may have been carried out.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn recovered(&mut self) -> Outcome<S, Progress> {
        self.restore()?;
        self.advance()
    }

    fn is_given_up(&self, period: u64) -> bool {
        self.by_table.contains(&self.store.parameters().segment_of(period))
    }

    /// Takes the word of the caller that slots of `periods` without a block are misses.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn declare_misses(&mut self, periods: RangeInclusive<u64>) -> Outcome<S, Progress> {
        let changes = self.tracker.declare_misses(periods)?;
        self.note(changes);
        self.write_open()?;
        self.after_writing()
    }

    /// Notes that a slot needs repair: its block was final, as this node's consensus says, but is not here. Its id, and what its
    /// link to `parent` in its own thread shows, is known all the same.
    ///
    /// # Errors
    /// [`IngestError`].
    pub fn note_header(&mut self, slot: Slot, id: BlockId, parent: Option<BlockId>) -> Outcome<S, Progress> {
        if self.is_given_up(slot.period) || slot.period < self.tracker.first_open() {
            return Ok(Progress::known());
        }
        let changes = match self.tracker.add_header(slot, id, parent, &Closed(&*self.store)) {
            // Without a parent to link to, the id is known all the same.
            Err(SlotError::NoParents(_) | SlotError::Gap { .. }) => {
                self.tracker.restore_header(slot, id);
                Changes::default()
            }
            changes => changes?,
        };
        if changes.known {
            return Ok(Progress::known());
        }
        self.note_missing(slot, Some(id));
        self.note(changes);
        self.write_open()?;
        self.after_writing()
    }

    fn note_missing(&mut self, slot: Slot, id: Option<BlockId>) {
        if self.missing.len() < MISSING_MAX {
            self.missing.insert(slot, id);
            self.unwritten.missing.insert(slot, id);
        }
    }

    /// Slots whose block was final but is not here.
    pub fn missing_slots(&self) -> &BTreeMap<Slot, Option<BlockId>> {
        &self.missing
    }

    fn note(&mut self, changes: Changes) {
        self.ready.extend(changes.complete);
        self.unwritten.misses.extend(changes.misses);
        if let Some((thread, parent, period)) = changes.new_link {
            self.unwritten.resolved_links.remove(&(thread, parent));
            self.unwritten.links.insert((thread, parent), period);
        }
        self.note_resolved(changes.resolved_links);
    }

    fn note_resolved(&mut self, links: Vec<(u8, BlockId)>) {
        for link in links {
            self.unwritten.links.remove(&link);
            self.unwritten.resolved_links.insert(link);
        }
    }

    fn durability(&self) -> Durability {
        match self.options.acknowledge {
            Acknowledge::EachBlock => Durability::Synced,
            Acknowledge::AtFinish | Acknowledge::AtClose => Durability::Buffered,
        }
    }

    /// Writes what the store does not have yet. If that fails it is forgotten: it was not acknowledged.
    fn write_open(&mut self) -> Outcome<S, ()> {
        if self.unwritten.is_empty() {
            return Ok(());
        }
        if self.options.acknowledge == Acknowledge::AtClose {
            return self.write_rows();
        }
        let written = self.store.put_open(&self.unwritten.rows(&self.held), self.durability());
        if let Err(error) = written {
            return self.forget_unwritten(error);
        }
        self.unwritten = Unwritten::default();
        Ok(())
    }

    /// Goes back to what the store has after a write failed.
    fn forget_unwritten<T>(&mut self, error: S::Error) -> Outcome<S, T> {
        self.restore()?;
        Err(IngestError::Store(error))
    }

    /// Writes everything that is still only in memory and makes all of it survive a power cut.
    ///
    /// # Errors
    /// [`IngestError::Store`].
    pub fn finish(&mut self) -> Outcome<S, ()> {
        self.spill()?;
        self.write_open()?;
        self.store.sync().map_err(IngestError::Store)
    }
}
