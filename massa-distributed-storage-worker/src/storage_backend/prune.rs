//! Retention: whole segments, oldest first.
//!
//! What goes are the chunks, at once, and their index rows, when tables are merged. The segments' tables and rows stay: every
//! node keeps those of the whole archive. Tables that have pages of pruned segments only are deleted at once; the few others, of tiny
//! segments, are written again when that is worth it.

use super::rows::{self, HeldRow, Keep};
use super::{Damage, SegmentStore, StoreError, View};
use crate::storage_backend::database::writer::Durability;
use massa_db_exports::{STORAGE_CHUNKS_PREFIX, STORAGE_HELD_CF, STORAGE_METADATA_CF};
use std::ops::Range;

impl SegmentStore {
    /// The first segment that is not pruned.
    pub fn floor(&self) -> u64 {
        self.floor.segment()
    }

    /// The first period that is not pruned; 0 if none is.
    pub(crate) fn floor_period(&self) -> u64 {
        match self.floor() {
            0 => 0,
            segment => self.parameters.segment_start(segment),
        }
    }

    /// The first segment that retention keeps while `newest` is the newest that ended; `None` if all are kept.
    pub fn retained_from(&self, newest: u64) -> Option<u64> {
        let segments = self.retention_periods / self.parameters.segment_periods;
        (segments > 0).then(|| (newest + 1).saturating_sub(segments))
    }

    /// Lets go of all chunks below segment `floor`, in one batch, waits for reads that still see them, and deletes their tables. Returns how many there were. Costs a row for each pruned
    /// segment. A lower floor than the present one changes nothing.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn prune(&self, floor: u64) -> Result<u64, StoreError> {
        let pruned = self.floor()..floor;
        if pruned.is_empty() {
            return Ok(0);
        }
        let writing = self.writing.lock();
        let (chunks, bytes) = self.change_while(&writing, Durability::Synced, |view, batch, counters| {
            let held = view.held_rows(&pruned)?;
            let (mut chunks, mut bytes) = (0, [0; 2]);
            for (segment, row) in &held {
                counters.take_held(row);
                batch.touched.push(*segment);
                batch.delete(STORAGE_HELD_CF, rows::segment_key(*segment).to_vec());
                chunks += u64::from(row.chunks);
                for (bytes, keep) in bytes.iter_mut().zip(Keep::ALL) {
                    *bytes += row.stored_as(keep);
                }
            }
            if chunks > 0 {
                let (from, to) = (rows::segment_key(pruned.start), rows::segment_key(pruned.end));
                batch.delete_range(STORAGE_CHUNKS_PREFIX, from.to_vec(), to.to_vec());
            }
            let value = floor.to_le_bytes().to_vec();
            batch.put_sealed(STORAGE_METADATA_CF, rows::FLOOR_KEY.to_vec(), value);
            Ok((chunks, bytes))
        })?;
        self.floor.set(floor, &self.parameters);
        // They may still see what goes now.
        self.readers.wait_for_earlier();
        for (keep, bytes) in Keep::ALL.into_iter().zip(bytes) {
            if bytes > 0 {
                // From the beginning: what chunks of pruned segments left there goes, too.
                self.forget_pages(keep, 0..floor, bytes)?;
            }
        }
        Ok(chunks)
    }

    /// Gives the space of deleted rows back where that is worth it. May take long.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn return_space(&self) -> Result<usize, StoreError> {
        self.look_for_leftovers()?;
        let known = self.wanted_known();
        self.database.tidy(&mut |(start, end)| {
            let segment = |key: &[u8]| rows::parse_page_key(key).map(|(position, _)| position.segment);
            match (segment(start), segment(end)) {
                (Some(first), Some(last)) => self.know_wanted(&known, first..=last),
                _ => Ok(()),
            }
        })
    }
}

impl View<'_> {
    /// Held rows of a range of segments.
    pub(crate) fn held_rows(&self, segments: &Range<u64>) -> Result<Vec<(u64, HeldRow)>, StoreError> {
        let mut found = Vec::new();
        self.scan(STORAGE_HELD_CF, &rows::segment_key(segments.start), |key, _| {
            let segment = rows::parse_segment_key(key);
            let segment = segment.ok_or_else(|| Damage::new(STORAGE_HELD_CF, "key is malformed"))?;
            if segment >= segments.end {
                return Ok(false);
            }
            found.push(segment);
            Ok(true)
        })?;
        found
            .into_iter()
            .map(|segment| Ok((segment, self.held(segment)?)))
            .collect()
    }
}
