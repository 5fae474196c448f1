//! What the writer asks of the store: rows of open segments, and the ways in which a segment is closed.
//!
//! A trait, because the store has a second implementation in the tests: one in memory that fails at any write. Every write is whole
//! or not at all, and writes reach the disk in their order.

use crate::chunking::segment::FinishedChunk;
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::Keep;
pub use crate::storage_backend::{JoinedPeriod, OpenRows, StreamChunk};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::ops::Range;

/// A settled slot of an open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenSlot {
    /// The slot.
    pub slot: Slot,
    /// Its block and the bytes of its record; `None` for a miss.
    pub block: Option<(BlockId, u32)>,
}

/// What the next segment's root depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainEnd {
    /// Root of the segment before; zeros for the first.
    pub previous: Digest,
    /// Bytes of the bodies of all segments before.
    pub bytes_before: u64,
}

/// How the pages of a closing segment are stored. They are written once, so what is stored plain stays plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Packed: costs a core about as much as reading them from a slow disk, and saves two fifths of near-empty blocks.
    Packed,
    /// As they are: for whoever is behind, or imports.
    Plain,
}

/// What the writer keeps of its own: one row, replaced as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriterRow {
    /// The segment above the borders, and the last block of each thread below it, `None` where there is none. Nothing is said of
    /// another segment's borders.
    pub borders: Option<(u64, Vec<Option<BlockId>>)>,
    /// Open segments whose rows were given up.
    pub by_table: Vec<u64>,
}

/// The store, as its one writer uses it.
pub trait SegmentRows: Send + Sync + 'static {
    /// Why it could not be read or written.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What all nodes of the network agree on.
    fn parameters(&self) -> &ArchiveParameters;

    /// Whether the error says that a row is damaged, so that what it held is to be asked for again.
    fn is_damage(&self, error: &Self::Error) -> bool;

    /// The first segment from `from` on whose table is not here; those before have theirs.
    ///
    /// # Errors
    /// The store's.
    fn first_without_table(&self, from: u64) -> Result<u64, Self::Error>;

    /// The table of a closed segment; `None` if it is not here.
    ///
    /// # Errors
    /// The store's.
    fn table(&self, segment: u64) -> Result<Option<SegmentTable>, Self::Error>;

    /// Root and body bytes up to the end of the segment before `segment`; `None` if that is not closed here.
    ///
    /// # Errors
    /// The store's.
    fn chain_end(&self, segment: u64) -> Result<Option<ChainEnd>, Self::Error>;

    /// Segments of which there are rows, in order.
    fn open_segments(&self) -> Vec<u64>;

    /// Settled slots of `periods`, from memory.
    fn open_slots(&self, periods: Range<u64>) -> Vec<OpenSlot>;

    /// The record of a block that is a row.
    ///
    /// # Errors
    /// The store's.
    fn open_block(&self, slot: Slot) -> Result<Option<BlockRecord>, Self::Error>;

    /// A joined period whose segment is open, or was closed last.
    ///
    /// # Errors
    /// The store's.
    fn joined_period(&self, period: u64) -> Result<Option<JoinedPeriod>, Self::Error>;

    /// Chunks that the stream of an open segment has filled, in order.
    ///
    /// # Errors
    /// The store's.
    fn stream_chunks(&self, segment: u64) -> Result<Vec<StreamChunk>, Self::Error>;

    /// Links that wait for a parent: (thread, parent, period of the child).
    ///
    /// # Errors
    /// The store's.
    fn links(&self) -> Result<Vec<(u8, BlockId, u64)>, Self::Error>;

    /// Slots whose block is missing, with its id where that is known.
    ///
    /// # Errors
    /// The store's.
    fn missing_slots(&self) -> Result<Vec<(Slot, Option<BlockId>)>, Self::Error>;

    /// What the writer keeps of its own.
    ///
    /// # Errors
    /// The store's.
    fn writer_row(&self) -> Result<WriterRow, Self::Error>;

    /// Replaces what the writer keeps of its own. Not synced: it is before every later write.
    ///
    /// # Errors
    /// The store's.
    fn put_writer_row(&self, row: &WriterRow) -> Result<(), Self::Error>;

    /// Writes rows of open segments in one batch; a row that is there is written again.
    ///
    /// # Errors
    /// The store's.
    fn put_open(&self, rows: &OpenRows<'_>, durability: Durability) -> Result<(), Self::Error>;

    /// Writes chunks of a segment that is being closed, each with what it is kept as; `table` is what it will be closed with.
    /// Safe to repeat.
    ///
    /// # Errors
    /// The store's.
    fn put_closing(
        &self,
        table: &SegmentTable,
        chunks: Vec<(FinishedChunk, Keep)>,
        packing: Packing,
    ) -> Result<(), Self::Error>;

    /// Closes a segment: its table, and the end of the block rows of the segment before it. Returns how many of its chunks are
    /// held.
    ///
    /// # Errors
    /// The store's.
    fn close(&self, table: &SegmentTable) -> Result<u32, Self::Error>;

    /// Enters tables that accepted roots lead to, of segments that have none here. The rows of these segments end.
    ///
    /// # Errors
    /// The store's.
    fn put_tables(&self, tables: &[SegmentTable]) -> Result<(), Self::Error>;

    /// Puts a table in the place of the one that is here, and `chained` in the place of those of the segments after it, in one
    /// batch. What is held of a chunk that stays the same is kept; `chained` differ in what is before them only.
    ///
    /// # Errors
    /// The store's.
    fn replace_tables(&self, table: &SegmentTable, chained: &[SegmentTable]) -> Result<(), Self::Error>;

    /// Ends the rows of an open segment.
    ///
    /// # Errors
    /// The store's.
    fn drop_open(&self, segment: u64) -> Result<(), Self::Error>;

    /// Makes everything that was written survive a power cut.
    ///
    /// # Errors
    /// The store's.
    fn sync(&self) -> Result<(), Self::Error>;
}
