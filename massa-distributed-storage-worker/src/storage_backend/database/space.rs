//! How much of the disk the directory takes, and how it is given back.

use crate::storage_backend::database::error::{io_error, DatabaseError};
use crate::storage_backend::database::gauge::{disk_usage, SpaceGauge};
use crate::storage_backend::database::repair::delete_oldest_set_aside;
use crate::storage_backend::database::writer::{Durability, WriteFault};
use crate::storage_backend::database::{family, Database, FamilyKind};
use rocksdb::{BottommostLevelCompaction, CompactOptions, DB};
use std::collections::BTreeMap;

/// A table of pages is written again without those that are no longer wanted when they are a third of it: then each byte
/// that is given back costs two that are written again, at most.
const DROPPED_SHARE: u64 = 3;
/// Deleted rows of other families are merged away when they are an eighth of the family, or so many bytes.
const DELETED_SHARE: u64 = 8;
const DELETED_BYTES: u64 = 256 << 20;
/// Tables of pages below it are merged with their neighbours once there are so many in a row: near-empty segments.
const SMALL_TABLE_BYTES: u64 = 1 << 20;
const SMALL_TABLES: usize = 64;
/// Tables of pages that came later than others around them stay above those, each a table more for reads to look at; so
/// many of them are merged with what is below.
const UPPER_TABLES: usize = 32;

/// A range of keys of a family, its end not included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The family.
    pub family: &'static str,
    /// First key.
    pub start: Vec<u8>,
    /// Key after the last.
    pub end: Vec<u8>,
}

/// What is known about space.
pub(crate) struct Space {
    gauge: Option<SpaceGauge>,
    /// By family and first key.
    dropped: BTreeMap<(&'static str, Vec<u8>), Dropped>,
}

/// The end of a range, and about how many bytes of its rows are no longer wanted.
#[derive(Default)]
struct Dropped {
    end: Vec<u8>,
    bytes: u64,
}

impl Space {
    pub(crate) fn new(capacity_bytes: Option<u64>) -> Self {
        Self {
            gauge: capacity_bytes.map(SpaceGauge::new),
            dropped: BTreeMap::new(),
        }
    }

    pub(crate) fn wrote(&mut self, bytes: u64) {
        if let Some(gauge) = &mut self.gauge {
            gauge.wrote(bytes);
        }
    }

    fn note(&mut self, range: &KeyRange, bytes: u64) {
        let noted = self.dropped.entry((range.family, range.start.clone())).or_default();
        noted.end = std::mem::take(&mut noted.end).max(range.end.clone());
        noted.bytes += bytes;
    }

    /// Bytes dropped in ranges that begin in a table of `family`.
    fn dropped_in(&self, family: &'static str, table: &LiveTable) -> u64 {
        let span = (family, table.start.clone())..=(family, table.end.clone());
        self.dropped.range(span).map(|(_, dropped)| dropped.bytes).sum()
    }

    fn forget(&mut self, family: &'static str, start: &[u8], end: &[u8]) {
        self.dropped
            .retain(|(of, from), _| *of != family || from.as_slice() < start || from.as_slice() > end);
    }
}

/// A table of a family and its first and last key.
#[derive(Clone, Debug)]
struct LiveTable {
    /// It lies above others: a later table of keys among theirs.
    upper: bool,
    start: Vec<u8>,
    end: Vec<u8>,
    bytes: u64,
}

/// First and last key.
pub type Span = (Vec<u8>, Vec<u8>);

impl LiveTable {
    fn span(&self) -> Span {
        (self.start.clone(), self.end.clone())
    }

    /// The span of the table and of those of `tables` that it overlaps.
    fn span_with(&self, tables: &[LiveTable]) -> Span {
        let overlaps = tables
            .iter()
            .filter(|other| other.start <= self.end && other.end >= self.start);
        overlaps.fold(self.span(), |(start, end), other| {
            (start.min(other.start.clone()), end.max(other.end.clone()))
        })
    }
}

/// Spans that overlap become one, so that no table is written again twice.
fn merged(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort();
    let mut merged: Vec<Span> = Vec::new();
    for (start, end) in spans {
        match merged.last_mut() {
            Some(last) if start <= last.1 => last.1 = std::mem::take(&mut last.1).max(end),
            _ => merged.push((start, end)),
        }
    }
    merged
}

impl Database {
    /// Bytes that the directory takes on disk: logs, tables that are being written, and what was set aside included.
    ///
    /// # Errors
    /// [`DatabaseError::Io`].
    pub fn disk_usage(&self) -> Result<u64, DatabaseError> {
        disk_usage(&self.path).map_err(io_error("measure", &self.path))
    }

    /// Checks that `incoming` bytes fit under the ceiling. What was set aside is deleted, oldest first, before anything is
    /// refused. Measures the disk only when the estimate cannot tell.
    ///
    /// # Errors
    /// [`DatabaseError::AllocationUsedUp`].
    pub fn check_space(&self, incoming: u64) -> Result<(), DatabaseError> {
        let mut space = self.space.lock();
        let Some(gauge) = space.gauge.as_mut() else {
            return Ok(());
        };
        if gauge.surely_fits(incoming) {
            return Ok(());
        }
        loop {
            let in_memory = self.read(|db| self.unwritten_bytes(db))?;
            gauge.measured(self.disk_usage()?, in_memory);
            if gauge.fits(incoming) {
                return Ok(());
            }
            if self.read_only || !delete_oldest_set_aside(&self.path)? {
                break;
            }
        }
        Err(DatabaseError::AllocationUsedUp {
            used: gauge.measured_bytes(),
            needed: gauge.needed(gauge.measured_bytes(), incoming),
            capacity: gauge.capacity_bytes(),
        })
    }

    /// Bytes that are in memory and will be written as tables.
    fn unwritten_bytes(&self, db: &DB) -> Result<u64, DatabaseError> {
        let mut bytes = 0;
        for described in self.setup.families() {
            let handle = family(db, described.name)?;
            let property = rocksdb::properties::CUR_SIZE_ALL_MEM_TABLES;
            bytes += db.property_int_value_cf(handle, property)?.unwrap_or(0);
        }
        Ok(bytes)
    }

    /// Deletes the tables of `range.family` that lie in `range` as a whole, at once and durably, without reading them. Rows
    /// of other tables in `range` stay: where that matters they are deleted by a batch before.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`] when the disk refuses.
    pub fn forget(&self, range: &KeyRange) -> Result<(), DatabaseError> {
        self.space.lock().forget(range.family, &range.start, &range.end);
        let Some(last) = key_before(&range.end) else {
            return Ok(());
        };
        self.change(Durability::Synced, |db, _| {
            let handle = db.cf_handle(range.family);
            let handle = handle.ok_or_else(|| WriteFault::Failed(format!("no column family {}", range.family)))?;
            db.delete_file_in_range_cf(handle, &range.start, &last)?;
            Ok(0)
        })
    }

    /// Says that about `bytes` of rows in `range` are no longer wanted: for [`Database::tidy`].
    ///
    /// Pages are not deleted one by one. A deletion is a row too, and where it is merged with the tables below, all tables
    /// between the first and the last of them are written again. What is no longer wanted is told by the rows of the
    /// chunk, and by the family's filter when a table is written again. In other families the caller deletes them.
    pub fn note_dropped(&self, range: &KeyRange, bytes: u64) {
        self.space.lock().note(range, bytes);
    }

    /// Bytes of rows in `range` that were noted as no longer wanted, and whose tables are still there.
    pub fn dropped_bytes(&self, range: &KeyRange) -> u64 {
        let space = self.space.lock();
        let span = (range.family, range.start.clone())..(range.family, range.end.clone());
        space.dropped.range(span).map(|(_, dropped)| dropped.bytes).sum()
    }

    /// Gives space back where it is worth it, and merges small tables; returns how many times tables were written again.
    /// `before` hears the first and last key of pages that are about to be written again, for their filter.
    /// To be called from time to time by a thread that may take long. Reads and writes go on meanwhile.
    ///
    /// # Errors
    /// [`DatabaseError::Read`]; those of `before`.
    pub fn tidy<E: From<DatabaseError>>(&self, before: &mut dyn FnMut(&Span) -> Result<(), E>) -> Result<usize, E> {
        let mut rewritten = 0;
        for described in self.setup.families() {
            rewritten += match described.kind {
                FamilyKind::Pages => self.tidy_pages(described.name, before)?,
                _ => self.tidy_rows(described.name)?,
            };
        }
        Ok(rewritten)
    }

    fn tidy_pages<E: From<DatabaseError>>(
        &self,
        name: &'static str,
        before: &mut dyn FnMut(&Span) -> Result<(), E>,
    ) -> Result<usize, E> {
        let (upper, tables): (Vec<_>, Vec<_>) = self
            .read(|db| live_tables(db, name))?
            .into_iter()
            .partition(|table| table.upper);
        let mut ranges: Vec<Span> = Vec::new();
        {
            let space = self.space.lock();
            let sparse = tables.iter().filter(|table| {
                let dropped = space.dropped_in(name, table);
                dropped > 0 && dropped >= table.bytes / DROPPED_SHARE
            });
            ranges.extend(sparse.map(LiveTable::span));
        }
        ranges.extend(runs_of_small_tables(&tables));
        if upper.len() >= UPPER_TABLES {
            ranges.extend(upper.iter().map(|table| table.span_with(&tables)));
        }
        let ranges = merged(ranges);
        for range in &ranges {
            before(range)?;
            let (start, end) = range;
            self.read(|db| -> Result<(), DatabaseError> {
                let mut options = CompactOptions::default();
                options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
                db.compact_range_cf_opt(family(db, name)?, Some(start), Some(end), &options);
                Ok(())
            })?;
            self.space.lock().forget(name, start, end);
        }
        Ok(ranges.len())
    }

    fn tidy_rows(&self, name: &'static str) -> Result<usize, DatabaseError> {
        let all = self.read(|db| {
            let property = rocksdb::properties::TOTAL_SST_FILES_SIZE;
            Ok::<_, DatabaseError>(db.property_int_value_cf(family(db, name)?, property)?.unwrap_or(0))
        })?;
        let (bytes, start, end) = {
            let space = self.space.lock();
            let dropped = space.dropped.iter().filter(|((of, _), _)| *of == name);
            let bytes: u64 = dropped.clone().map(|(_, dropped)| dropped.bytes).sum();
            let start = dropped.clone().map(|((_, start), _)| start.clone()).min();
            (bytes, start, dropped.map(|(_, dropped)| dropped.end.clone()).max())
        };
        if bytes == 0 || bytes < (all / DELETED_SHARE).min(DELETED_BYTES) {
            return Ok(0);
        }
        // What is noted from now on is not covered.
        let (start, end) = (start.unwrap_or_default(), end.unwrap_or_default());
        self.space.lock().forget(name, &start, &end);
        // Rows and what deletes them meet only in tables.
        self.flush()?;
        self.read(|db| -> Result<(), DatabaseError> {
            db.compact_range_cf(family(db, name)?, Some(start), Some(end));
            Ok(())
        })?;
        Ok(1)
    }
}

/// Tables of a family, in the order of their keys.
fn live_tables(db: &DB, name: &'static str) -> Result<Vec<LiveTable>, DatabaseError> {
    let mut tables = Vec::new();
    for file in db.live_files()? {
        if let (true, Some(start), Some(end)) = (file.column_family_name == name, file.start_key, file.end_key) {
            tables.push(LiveTable {
                upper: file.level == 0,
                start,
                end,
                bytes: file.size as u64,
            });
        }
    }
    tables.sort_by(|left, right| left.start.cmp(&right.start));
    Ok(tables)
}

/// First and last keys of neighbouring small tables that are worth being one.
fn runs_of_small_tables(tables: &[LiveTable]) -> Vec<Span> {
    let runs = tables.split(|table| table.bytes >= SMALL_TABLE_BYTES);
    let runs = runs.flat_map(|run| run.chunks_exact(SMALL_TABLES));
    let ends = runs.filter_map(|run| Some((run.first()?.start.clone(), run.last()?.end.clone())));
    ends.collect()
}

/// The last key of the same length that is smaller; keys of one family have one length.
fn key_before(key: &[u8]) -> Option<Vec<u8>> {
    let mut before = key.to_vec();
    for byte in before.iter_mut().rev() {
        *byte = byte.wrapping_sub(1);
        if *byte != u8::MAX {
            return Some(before);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(bytes: &[u64]) -> Vec<LiveTable> {
        let table = |(number, bytes): (u8, &u64)| LiveTable {
            upper: false,
            start: vec![number],
            end: vec![number],
            bytes: *bytes,
        };
        (0..).zip(bytes).map(table).collect()
    }

    #[test]
    fn the_key_before_is_the_last_smaller_one() {
        let cases: [(&[u8], Option<&[u8]>); 4] = [
            (&[1, 0, 0], Some(&[0, 255, 255])),
            (&[0, 7], Some(&[0, 6])),
            (&[0, 0], None),
            (&[], None),
        ];
        for (key, before) in cases {
            assert_eq!(key_before(key).as_deref(), before);
        }
    }

    #[test]
    fn a_late_table_is_written_again_with_those_below_it_and_each_once() {
        let below = tables(&[1; 6]);
        let late = |start, end| LiveTable {
            upper: true,
            start: vec![start, 1],
            end: vec![end, 0],
            bytes: 1,
        };
        // Table 1 ends with key [1], before [1, 1].
        assert_eq!(late(1, 3).span_with(&below), (vec![1, 1], vec![3, 0]));
        let key = |byte: u8| vec![byte];
        let spans = vec![(key(4), key(5)), (key(1), key(2)), (key(2), key(3)), (key(1), key(1))];
        assert_eq!(merged(spans), [(key(1), key(3)), (key(4), key(5))]);
        assert!(merged(Vec::new()).is_empty());
    }

    #[test]
    fn only_whole_runs_of_small_tables_are_merged() {
        let (small, large) = (SMALL_TABLE_BYTES - 1, SMALL_TABLE_BYTES);
        assert!(runs_of_small_tables(&tables(&[small; SMALL_TABLES - 1])).is_empty());
        let run = runs_of_small_tables(&tables(&[small; SMALL_TABLES + 5]));
        assert_eq!(run, [(vec![0], vec![SMALL_TABLES as u8 - 1])]);
        let mut interrupted = vec![small; SMALL_TABLES + 5];
        interrupted[10] = large;
        assert!(runs_of_small_tables(&tables(&interrupted)).is_empty());
    }
}
