//! Totals, as a row: changed in the batch that changes what they count, so that no request walks the archive.

use super::own::Row;
use super::{rows, RowBatch, SegmentStore, StoreError, View};
use massa_db_exports::STORAGE_METADATA_CF;
use serde::{Deserialize, Serialize};

/// What the store has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Segments whose table is here.
    pub segments: u64,
    /// Those of them that this node derived from their blocks.
    pub derived_segments: u64,
    /// Periods of all tables.
    pub periods: u64,
    /// Lost periods of derived segments.
    pub lost_periods: u64,
    /// Blocks of derived segments.
    pub blocks: u64,
    /// Operations of derived segments.
    pub operations: u64,
    /// Bytes of the bodies of all tables.
    pub body_bytes: u64,
    /// Chunks of all tables.
    pub chunks: u64,
    /// Chunks held.
    pub chunks_held: u64,
    /// Their bytes in plain.
    pub bytes_held: u64,
    /// Bytes of their page rows.
    pub bytes_stored: u64,
    /// Those of the chunks that are held as backup.
    pub chunks_passing: u64,
    /// Bytes of their page rows.
    pub bytes_passing: u64,
    /// Blocks whose first byte is in a held chunk.
    pub blocks_held: u64,
    /// Blocks that are rows.
    pub pending_blocks: u64,
    /// Bytes of their records.
    pub pending_bytes: u64,
    /// Periods in the stream of a segment whose block rows are still here.
    pub joined_periods: u64,
    /// Slots whose block is known to be missing.
    pub missing_slots: u64,
}

impl Row for Counters {
    const VERSION: u8 = 1;
}

/// Takes `count` away; the rows say what there is, so it is there.
pub(crate) fn take(counter: &mut u64, count: u64) {
    debug_assert!(*counter >= count, "a counter fell behind its rows");
    *counter = counter.saturating_sub(count);
}

impl Counters {
    pub(crate) fn add_segment(&mut self, row: &rows::SegmentRow) {
        self.segments += 1;
        self.derived_segments += u64::from(row.state == rows::ClosedState::Derived);
        self.periods += u64::from(row.periods);
        self.lost_periods += u64::from(row.lost_periods);
        self.blocks += u64::from(row.blocks);
        self.operations += row.operations;
        self.body_bytes += row.body_bytes;
        self.chunks += u64::from(row.chunks);
    }

    pub(crate) fn take_segment(&mut self, row: &rows::SegmentRow) {
        take(&mut self.segments, 1);
        let derived = u64::from(row.state == rows::ClosedState::Derived);
        take(&mut self.derived_segments, derived);
        take(&mut self.periods, u64::from(row.periods));
        take(&mut self.lost_periods, u64::from(row.lost_periods));
        take(&mut self.blocks, u64::from(row.blocks));
        take(&mut self.operations, row.operations);
        take(&mut self.body_bytes, row.body_bytes);
        take(&mut self.chunks, u64::from(row.chunks));
    }

    pub(crate) fn add_held(&mut self, row: &rows::HeldRow) {
        self.chunks_held += u64::from(row.chunks);
        self.bytes_held += row.bytes;
        self.bytes_stored += row.stored_bytes;
        self.chunks_passing += u64::from(row.passing_chunks);
        self.bytes_passing += row.passing_bytes;
        self.blocks_held += u64::from(row.blocks);
    }

    pub(crate) fn take_held(&mut self, row: &rows::HeldRow) {
        take(&mut self.chunks_held, u64::from(row.chunks));
        take(&mut self.bytes_held, row.bytes);
        take(&mut self.bytes_stored, row.stored_bytes);
        take(&mut self.chunks_passing, u64::from(row.passing_chunks));
        take(&mut self.bytes_passing, row.passing_bytes);
        take(&mut self.blocks_held, u64::from(row.blocks));
    }

    pub(crate) fn put(&self, batch: &mut RowBatch) -> Result<(), StoreError> {
        batch.put_row(STORAGE_METADATA_CF, rows::COUNTERS_KEY.to_vec(), self)
    }
}

impl View<'_> {
    pub(crate) fn counters(&self) -> Result<Counters, StoreError> {
        self.required(STORAGE_METADATA_CF, rows::COUNTERS_KEY, "counters")
    }
}

impl SegmentStore {
    /// What the store has. Reads one row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn counters(&self) -> Result<Counters, StoreError> {
        self.view(|view| view.counters())
    }
}
