//! Closing a segment: its blocks become chunks, in slices.
//!
//! 1. [`SegmentStore::close_chunks`] for those that this node keeps, in any order and any slices. Until the table is written nobody reads
//!    them, and block rows stay.
//! 2. [`SegmentStore::finish_closing`]: the table, the segment's row, and block rows of segments closed before go. From then
//!    on the segment is closed.
//!
//! Chunks are tables of pages and then a batch of rows, the rest is one batch; each may be repeated: what is there already is not written again. A process that is killed in between
//! finds the segment open, with some chunks held, and begins again. The periods of a closing segment all joined its stream, so
//! it closes to the same chunks however often it begins.

use super::body::PlainChunk;
use super::database::KeyRange;
use super::rows::{ClosedState, SegmentRow};
use super::{ChunkToStore, Counters, CutChunk, OwnChanges, RowBatch, SegmentStore, StoreError, View};
use crate::storage_backend::database::writer::Durability;
use massa_db_exports::STORAGE_PENDING_CF;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of chunks that the writer gives at once, at most.
const SLICE_BYTES: u64 = 16 << 20;

impl SegmentStore {
    /// Holds chunks of a segment that is being closed; those that are held already are left as they are. Returns how many are
    /// new. All are in memory: a full segment is closed in several calls.
    ///
    /// The chunks were cut from this node's own stream, so their pages are not hashed again.
    ///
    /// # Errors
    /// [`StoreError::Chunk`] when one is not the chunk that `table` lists; [`StoreError::Database`].
    pub fn close_chunks(&self, table: &SegmentTable, chunks: Vec<CutChunk>) -> Result<usize, StoreError> {
        self.check_table(table)?;
        let checked = chunks.into_iter().map(|chunk| chunk.check(table));
        let (chunks, plain): (Vec<_>, Vec<_>) = checked.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        let plain: BTreeMap<u32, PlainChunk> = plain.into_iter().map(|plain| (plain.index, plain)).collect();
        let mut of_chunk = |chunk: &ChunkToStore| Ok(plain[&chunk.position.index.0].clone());
        self.hold(
            &self.writing.lock(),
            table,
            (&chunks, &mut of_chunk),
            OwnChanges::default(),
        )
    }

    /// Closes a segment: writes its table, durably with all its chunks. Block rows of segments that were closed before are
    /// deleted. A segment that is closed with this root already is left as it is.
    ///
    /// # Errors
    /// [`StoreError::NotJoined`] unless every period of the table joined the stream as it is there; [`StoreError::OtherRoot`];
    /// [`StoreError::Database`].
    pub fn finish_closing(&self, table: &SegmentTable) -> Result<SegmentRoot, StoreError> {
        self.check_table(table)?;
        let root = table.root();
        let segment = table.header().segment;
        let ended = self.change_open(
            Durability::Synced,
            |view, batch, counters| {
                if let Some(row) = view.segment_row(segment)? {
                    check_root(segment, &row, root)?;
                    if row.state == ClosedState::Derived {
                        return Ok(Vec::new());
                    }
                    // Its table came from elsewhere meanwhile: what this node derived says more.
                    counters.take_segment(&row);
                }
                let row = view.derived_row(table, root)?;
                view.put_table(batch, counters, table, &row)?;
                view.delete_older_rows(batch, counters, segment)
            },
            |open, ended| ended.iter().for_each(|periods| open.remove_periods(periods.clone())),
        )?;
        for periods in ended {
            self.note_deleted_blocks(&periods)?;
        }
        Ok(root)
    }

    /// Deletes everything that is known of a segment from its blocks: of a closed one before the next one is closed, whose table came
    /// from elsewhere, say; or of an open one that waits behind a gap and takes too much room: its blocks come again later.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn drop_open_rows(&self, segment: u64) -> Result<(), StoreError> {
        let periods = self.periods_of(segment);
        self.change_open(
            Durability::Buffered,
            |view, batch, counters| view.delete_open_rows(batch, counters, segment),
            |open, ()| open.remove_periods(periods.clone()),
        )?;
        self.note_deleted_blocks(&periods)
    }

    /// Checks that blocks of `bytes` fit under the ceiling, and what they are closed to after them: chunks are written while the
    /// rows of their blocks are still there. Otherwise blocks could fill the allocation, and nothing could ever be closed.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn check_block_space(&self, bytes: u64) -> Result<(), StoreError> {
        let open = self.counters()?.pending_bytes.saturating_add(bytes);
        let closed = open.saturating_add(open.min(SLICE_BYTES));
        // What is checked counts twice.
        Ok(self.database.check_space(bytes.saturating_add(closed / 2))?)
    }

    fn note_deleted_blocks(&self, periods: &Range<u64>) -> Result<(), StoreError> {
        let range = KeyRange {
            family: STORAGE_PENDING_CF,
            start: periods.start.to_be_bytes().to_vec(),
            end: periods.end.to_be_bytes().to_vec(),
        };
        // Compaction of this family merges deletes with what they delete soon anyway: nothing is worth a rewrite.
        self.database.note_dropped(&range, 0);
        Ok(())
    }

    /// Checks that a table is one of this network.
    pub(crate) fn check_table(&self, table: &SegmentTable) -> Result<(), StoreError> {
        let segment = table.header().segment;
        let checked = table.check_network(&self.parameters, segment);
        checked.map_err(|source| StoreError::Table { segment, source })
    }
}

/// Checks that the segment is stored with this root.
pub(crate) fn check_root(segment: u64, row: &SegmentRow, given: SegmentRoot) -> Result<(), StoreError> {
    let stored = SegmentRoot::from_bytes(row.root);
    if stored == given {
        return Ok(());
    }
    Err(StoreError::OtherRoot { segment, stored, given })
}

impl View<'_> {
    /// The row of a segment whose periods all joined its stream as the table says.
    fn derived_row(&self, table: &SegmentTable, root: SegmentRoot) -> Result<SegmentRow, StoreError> {
        let header = table.header();
        let mut row = super::tables::segment_row(table, root, ClosedState::Derived);
        let open = self.store.open.read();
        for (listed, period) in table.periods().iter().zip(header.first_period..) {
            let refuse = |reason| StoreError::NotJoined {
                segment: header.segment,
                period,
                reason,
            };
            let joined = open
                .joined
                .get(&period)
                .ok_or_else(|| refuse("did not join its stream"))?;
            if joined.length != listed.length || joined.root != listed.root.to_bytes() {
                return Err(refuse("joined its stream with other bytes"));
            }
            row.blocks += if joined.lost { 0 } else { joined.blocks };
            row.operations += u64::from(joined.operations);
            row.lost_periods += u32::from(joined.lost);
        }
        Ok(row)
    }

    /// Block rows of closed segments before `segment` go.
    fn delete_older_rows(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        segment: u64,
    ) -> Result<Vec<Range<u64>>, StoreError> {
        let open = self.store.open.read().segments(self.store.parameters.segment_periods);
        let mut ended = Vec::new();
        for older in open.range(..segment) {
            if self.segment_row(*older)?.is_some() {
                self.delete_open_rows(batch, counters, *older)?;
                ended.push(self.store.periods_of(*older));
            }
        }
        Ok(ended)
    }
}

/// Positions of a segment's chunks.
pub fn positions(table: &SegmentTable) -> impl Iterator<Item = ChunkPosition> + '_ {
    let segment = table.header().segment;
    (0..table.header().chunk_count()).filter_map(move |index| ChunkPosition::new(segment, index))
}
