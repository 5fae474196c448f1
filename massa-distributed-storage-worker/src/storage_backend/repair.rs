//! Putting rows right after some were lost or damaged: what follows from other rows is computed again, what does not is let
//! go of, so that it is fetched again like anything else that is missing.
//!
//! Costs a walk over the rows of all segments, chunks and open slots, not over pages: seconds for a long archive. It is done
//! when the store is opened with damage set aside, and when the caller found damage that only this puts right: of a held
//! row, of the counters, of rows of open segments.

use super::own::decode;
use super::rows::{self, ClosedState, SegmentRow, SlotRow};
use super::tables::segment_row;
use super::view::after;
use super::{Counters, RowBatch, SegmentStore, StoreError, View};
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::keys::unseal;
use massa_db_exports::{
    STORAGE_CHUNKS_PREFIX, STORAGE_HELD_CF, STORAGE_MERKLE_ROOTS_PREFIX, STORAGE_MISSING_CF, STORAGE_PENDING_CF,
    STORAGE_STREAM_CF, STORAGE_TABLES_CF,
};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_models::slot::Slot;
use std::collections::BTreeSet;

/// What was put right.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Segments that were let go of: their tables are to be fetched again.
    pub lost_segments: Vec<u64>,
    /// Segments whose row was made again from their table.
    pub restored_segments: Vec<u64>,
    /// Segments whose held row did not say what is there.
    pub corrected_held: Vec<u64>,
    /// Rows of open segments that were damaged and are gone.
    pub lost_open_rows: u64,
    /// Whether the counters said something else than the rows.
    pub corrected_counters: bool,
}

impl SegmentStore {
    /// Makes rows agree again that follow from others, and lets go of what is damaged beyond that.
    ///
    /// Damaged pages and chunk rows are left to [`SegmentStore::check_chunk`] and [`SegmentStore::drop_chunk`]. Killed at any
    /// instant, it can begin again.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn repair_rows(&self) -> Result<RepairReport, StoreError> {
        let _writing = self.writing.lock();
        let mut report = RepairReport::default();
        let mut counters = Counters::default();
        for segment in self.view(|view| view.known_segments())? {
            let mut batch = RowBatch::default();
            self.view(|view| view.repair_segment(segment, &mut batch, (&mut counters, &mut report)))?;
            self.commit(&batch, Durability::Buffered)?;
        }
        let mut batch = RowBatch::default();
        self.view(|view| {
            view.repair_open(&mut batch, &mut counters, &mut report)?;
            report.corrected_counters = !matches!(view.counters(), Ok(stored) if stored == counters);
            counters.put(&mut batch)
        })?;
        self.commit(&batch, Durability::Synced)?;
        self.recent.lock().clear();
        self.load_open()?;
        self.leftovers.lock().begin();
        Ok(report)
    }
}

impl View<'_> {
    /// Segments that any row of closed segments belongs to.
    pub(crate) fn known_segments(&self) -> Result<BTreeSet<u64>, StoreError> {
        let mut segments = BTreeSet::new();
        for family in [
            STORAGE_MERKLE_ROOTS_PREFIX,
            STORAGE_TABLES_CF,
            STORAGE_HELD_CF,
            STORAGE_CHUNKS_PREFIX,
        ] {
            self.segments_in(family, &mut segments)?;
        }
        Ok(segments)
    }

    fn repair_segment(
        &self,
        segment: u64,
        batch: &mut RowBatch,
        (counters, report): (&mut Counters, &mut RepairReport),
    ) -> Result<(), StoreError> {
        let Some(row) = self.restored_row(segment, batch, report)? else {
            // Without table, and not one that is being closed: nothing of it can be read.
            if self.is_lost(segment)? {
                delete_segment(batch, segment);
                report.lost_segments.push(segment);
                return Ok(());
            }
            return self.repair_held(segment, batch, (counters, report));
        };
        counters.add_segment(&row);
        self.repair_held(segment, batch, (counters, report))
    }

    /// The row of a segment, made again from its table where it is damaged.
    fn restored_row(
        &self,
        segment: u64,
        batch: &mut RowBatch,
        report: &mut RepairReport,
    ) -> Result<Option<SegmentRow>, StoreError> {
        match undamaged(self.segment_row(segment))? {
            Some(Some(row)) => return Ok(Some(row)),
            Some(None)
                if undamaged(self.raw(STORAGE_TABLES_CF, &rows::segment_key(segment)))?
                    .flatten()
                    .is_none() =>
            {
                return Ok(None);
            }
            _ => {}
        }
        let key = rows::segment_key(segment);
        let value = undamaged(self.sealed(STORAGE_TABLES_CF, &key, &|damage| damage))?.flatten();
        let Some(table) = value.and_then(|value| SegmentTable::from_bytes(&value).ok()) else {
            return Ok(None);
        };
        let row = segment_row(&table, table.root(), ClosedState::TableOnly);
        batch.put_row(STORAGE_MERKLE_ROOTS_PREFIX, key.to_vec(), &row)?;
        report.restored_segments.push(segment);
        Ok(Some(row))
    }

    /// Whether a segment without a readable row is lost, rather than being closed.
    fn is_lost(&self, segment: u64) -> Result<bool, StoreError> {
        let key = rows::segment_key(segment);
        let was_closed = !matches!(self.raw(STORAGE_MERKLE_ROOTS_PREFIX, &key), Ok(None))
            || !matches!(self.raw(STORAGE_TABLES_CF, &key), Ok(None));
        let open = self.store.open.read().segments(self.store.parameters.segment_periods);
        Ok(was_closed || !open.contains(&segment))
    }

    fn repair_held(
        &self,
        segment: u64,
        batch: &mut RowBatch,
        (counters, report): (&mut Counters, &mut RepairReport),
    ) -> Result<(), StoreError> {
        let totals = self.totals(segment, |_| true)?;
        counters.add_held(&totals);
        let stored = undamaged(self.held(segment))?;
        if stored.as_ref() == Some(&totals) {
            return Ok(());
        }
        let key = rows::segment_key(segment).to_vec();
        if totals.chunks == 0 {
            batch.delete(STORAGE_HELD_CF, key);
        } else {
            batch.put_row(STORAGE_HELD_CF, key, &totals)?;
        }
        report.corrected_held.push(segment);
        Ok(())
    }

    /// Rows of open segments: damaged ones go, the others are counted.
    fn repair_open(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        report: &mut RepairReport,
    ) -> Result<(), StoreError> {
        let mut slots = Vec::new();
        self.scan(STORAGE_STREAM_CF, &[], |key, row| {
            match self.open_row(key, row) {
                Some(OpenRow::Joined) => counters.joined_periods += 1,
                Some(OpenRow::Slot(slot, row)) => slots.push((slot, row)),
                Some(OpenRow::Chunk) => {}
                None => {
                    batch.delete(STORAGE_STREAM_CF, key.to_vec());
                    report.lost_open_rows += 1;
                }
            }
            Ok(true)
        })?;
        let mut known = BTreeSet::new();
        for (slot, row) in slots {
            let SlotRow::Block { length, .. } = row else { continue };
            if matches!(self.open_block(slot), Ok(Some(_))) {
                known.insert(slot);
                counters.pending_blocks += 1;
                counters.pending_bytes += u64::from(length);
            } else {
                batch.delete(STORAGE_STREAM_CF, rows::slot_key(slot).to_vec());
                report.lost_open_rows += 1;
            }
        }
        self.scan(STORAGE_PENDING_CF, &[], |key, _| {
            let slot = key.try_into().ok().map(Slot::from_bytes_key);
            if slot.map_or(true, |slot| !known.contains(&slot)) {
                batch.delete(STORAGE_PENDING_CF, key.to_vec());
                report.lost_open_rows += 1;
            }
            Ok(true)
        })?;
        self.scan(STORAGE_MISSING_CF, &[0], |key, _| {
            let is_slot = key.first() == Some(&0);
            counters.missing_slots += u64::from(is_slot);
            Ok(is_slot)
        })
    }

    /// What a row of an open segment says; `None` if it is damaged.
    fn open_row(&self, key: &[u8], row: &[u8]) -> Option<OpenRow> {
        let value = unseal(key, row)?;
        match *key.first()? {
            rows::JOINED => {
                let joined: rows::JoinedRow = decode(value).ok()?;
                PeriodEntry::from_bytes(&joined.entry, self.store.parameters.thread_count).ok()?;
                Some(OpenRow::Joined)
            }
            rows::SLOT => Some(OpenRow::Slot(rows::parse_slot_key(key)?, decode(value).ok()?)),
            rows::STREAM_CHUNK => decode::<rows::StreamChunkRow>(value).ok().map(|_| OpenRow::Chunk),
            _ => None,
        }
    }
}

enum OpenRow {
    Joined,
    Slot(Slot, SlotRow),
    Chunk,
}

/// `None` for what is damaged.
fn undamaged<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn delete_segment(batch: &mut RowBatch, segment: u64) {
    for family in [
        STORAGE_MERKLE_ROOTS_PREFIX,
        STORAGE_TABLES_CF,
        STORAGE_HELD_CF,
        STORAGE_CHUNKS_PREFIX,
    ] {
        batch.delete_range(family, rows::segment_key(segment).to_vec(), after(segment));
    }
}
