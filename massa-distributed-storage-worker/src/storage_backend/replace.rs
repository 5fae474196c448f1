//! A segment that turned out other than the network accepted: its table and chunks are replaced in one batch.

use super::chunks::bytes_of;
use super::leftovers::chunk_range;
use super::rows::{self, ClosedState, HeldRow, SegmentRow};
use super::tables::segment_row;
use super::view::after;
use super::{ChunkToStore, Counters, OwnChanges, RowBatch, SegmentStore, StoreError, View};
use crate::storage_backend::database::writer::Durability;
use massa_db_exports::STORAGE_CHUNKS_PREFIX;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};

impl SegmentStore {
    /// Makes `tables` the tables of their segments, in one batch: a segment that turned out other than accepted, and those after
    /// it, whose roots follow from it. Of each, chunks of the old version that the new one does not list likewise go; those that
    /// both have stay. `chunks`, which the caller fetched, are held; `own` goes into the batch. Returns how many chunks went.
    ///
    /// The caller has led the tables to accepted roots. All of `chunks` is in memory and in the batch: further ones can follow
    /// by [`SegmentStore::put_chunk`].
    ///
    /// # Errors
    /// [`StoreError::Chunk`], [`StoreError::Table`], [`StoreError::Database`]; then nothing changed.
    pub fn replace_segments(
        &self,
        tables: &[(SegmentTable, SegmentRoot)],
        chunks: &[ChunkToStore],
        own: OwnChanges,
    ) -> Result<u64, StoreError> {
        tables.iter().try_for_each(|(table, _)| self.check_table(table))?;
        self.database.check_space(chunks.iter().map(bytes_of).sum())?;
        self.change(Durability::Synced, |view, batch, counters| {
            let mut gone = 0;
            for new in tables {
                gone += view.replace_segment(batch, counters, new, chunks)?;
            }
            batch.append(own);
            Ok(gone)
        })
    }
}

impl View<'_> {
    fn replace_segment(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        (table, root): &(SegmentTable, SegmentRoot),
        chunks: &[ChunkToStore],
    ) -> Result<u64, StoreError> {
        let segment = table.header().segment;
        let before = self.held(segment)?;
        let mut held = before.clone();
        let mut row = segment_row(table, *root, ClosedState::TableOnly);
        let mut gone = 0;
        if let Some(old) = self.segment_row(segment)? {
            counters.take_segment(&old);
            gone = u64::from(self.remove_other_chunks(batch, table, &mut held)?);
            self.keep_totals(&old, table, &mut row);
        }
        self.put_table(batch, counters, table, &row)?;
        let mut plain = Vec::new();
        for chunk in chunks.iter().filter(|chunk| chunk.position.segment == segment) {
            if !held.contains(chunk.position.index.0) {
                plain.push(chunk.check(table)?);
                self.add_pages(batch, chunk);
                self.add_chunk_row(batch, table, &mut held, (chunk, &plain))?;
            }
        }
        self.put_held(batch, counters, (segment, &before, &held))?;
        Ok(gone)
    }

    /// A segment whose periods stay what they are, only its root following from another one before it, is still one that this
    /// node derived.
    fn keep_totals(&self, old: &SegmentRow, table: &SegmentTable, row: &mut SegmentRow) {
        let same =
            matches!(self.table(table.header().segment), Ok(Some(before)) if before.periods() == table.periods());
        if same {
            row.state = old.state;
            row.blocks = old.blocks;
            row.operations = old.operations;
            row.lost_periods = old.lost_periods;
        }
    }

    /// Removes held chunks of the old version of a segment that `table` does not list likewise.
    fn remove_other_chunks(
        &self,
        batch: &mut RowBatch,
        table: &SegmentTable,
        held: &mut HeldRow,
    ) -> Result<u32, StoreError> {
        let segment = table.header().segment;
        let old = match self.table(segment) {
            Ok(Some(old)) => old,
            Ok(None) | Err(StoreError::Damaged(_)) => return Ok(remove_all(batch, segment, held)),
            Err(error) => return Err(error),
        };
        let gone: Vec<u32> = held.indexes().filter(|index| !is_same(&old, table, *index)).collect();
        for index in &gone {
            self.remove_chunk(batch, &old, held, *index)?;
        }
        Ok(gone.len() as u32)
    }
}

/// Without the old table nothing of it can be read: all goes, and what the index says of it stays.
fn remove_all(batch: &mut RowBatch, segment: u64, held: &mut HeldRow) -> u32 {
    let (from, to) = (rows::segment_key(segment).to_vec(), after(segment));
    batch.delete_range(STORAGE_CHUNKS_PREFIX, from, to);
    let position = |index| ChunkPosition::new(segment, index).expect("it was held");
    let gone = held.indexes().filter_map(|index| Some((index, held.keep_of(index)?)));
    // About: only the table says how long each chunk is.
    let share = held.stored_bytes / u64::from(held.chunks.max(1));
    batch
        .dropped
        .extend(gone.map(|(index, keep)| (chunk_range(keep, position(index)), share)));
    std::mem::take(held).chunks
}

/// Whether a chunk and the periods that it touches are the same in two versions of a segment.
fn is_same(old: &SegmentTable, new: &SegmentTable, index: u32) -> bool {
    let periods = old.periods_of_chunk(index);
    let same_period =
        |period| old.period(period) == new.period(period) && old.period_range(period) == new.period_range(period);
    old.chunk(index) == new.chunk(index)
        && periods == new.periods_of_chunk(index)
        && periods.unwrap_or_default().all(same_period)
}
