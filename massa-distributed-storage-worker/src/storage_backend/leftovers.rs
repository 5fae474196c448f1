//! Pages in tables that nobody wants: known in memory only, so worked out again after the store was opened, some tables at a
//! time, whenever space is returned.

use super::chunks::page_range;
use super::database::{DatabaseError, KeyRange};
use super::rows::{self, Keep};
use super::{SegmentStore, StoreError, View};
use massa_db_exports::STORAGE_CHUNKS_PREFIX;
use massa_distributed_storage_exports::ChunkPosition;
use std::ops::{Range, RangeInclusive};

/// What a table takes besides its rows, at most: a share for keys and index, and so many bytes.
const TABLE_SHARE: u64 = 64;
const TABLE_BYTES: u64 = 4 << 10;

/// Tables that are looked at while writing waits.
const TABLES_AT_ONCE: usize = 256;

/// Where looking for leftovers stands.
#[derive(Debug)]
pub(crate) struct Leftovers {
    /// The family, and the key from which on tables were not looked at; `None`: all were.
    next: Option<(Keep, Vec<u8>)>,
}

impl Default for Leftovers {
    fn default() -> Self {
        Self {
            next: Some((Keep::Holder, Vec::new())),
        }
    }
}

impl Leftovers {
    /// Begins again: what is held was put right.
    pub(crate) fn begin(&mut self) {
        *self = Self::default();
    }
}

/// A table of pages.
#[derive(Clone, Debug)]
struct PagesTable {
    start: Vec<u8>,
    end: Vec<u8>,
    first: ChunkPosition,
    last: ChunkPosition,
    bytes: u64,
}

impl PagesTable {
    /// Bytes of its rows, or somewhat fewer.
    fn row_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.bytes / TABLE_SHARE + TABLE_BYTES)
    }
}

impl SegmentStore {
    /// Tells the database which tables of pages have rows that are not wanted, going on where it stopped the last time. Compares
    /// totals; only where those of neighbouring tables do not fit the held rows, chunk rows are read.
    pub(crate) fn look_for_leftovers(&self) -> Result<(), StoreError> {
        // So that what is held does not change meanwhile.
        let _writing = self.writing.lock();
        let mut leftovers = self.leftovers.lock();
        let Some((keep, from)) = leftovers.next.clone() else {
            return Ok(());
        };
        let tables = self.pages_tables(keep)?;
        let groups = groups(&tables);
        let begin = groups.partition_point(|group| group[0].start < from);
        let mut looked_at = 0;
        for group in &groups[begin..] {
            if looked_at >= TABLES_AT_ONCE {
                leftovers.next = Some((keep, group[0].start.clone()));
                return Ok(());
            }
            looked_at += group.len();
            let stored = match self.stored_in(group, keep) {
                // Repair begins again.
                Err(StoreError::Damaged(_)) => continue,
                stored => stored?,
            };
            if group.iter().map(PagesTable::row_bytes).sum::<u64>() > stored {
                self.note_group(group, keep)?;
            }
        }
        leftovers.next = match keep {
            Keep::Holder => Some((Keep::Backup, Vec::new())),
            Keep::Backup => None,
        };
        drop((leftovers, _writing));
        if keep == Keep::Holder {
            return self.look_for_leftovers();
        }
        Ok(())
    }

    /// Bytes that the held rows say are in the segments of a group.
    fn stored_in(&self, group: &[PagesTable], keep: Keep) -> Result<u64, StoreError> {
        let segments = segments_of(group);
        let held = self.view(|view| view.held_in(&segments))?;
        held.into_iter()
            .try_fold(0, |sum, segment| Ok(sum + self.held(segment)?.stored_as(keep)))
    }

    fn note_group(&self, group: &[PagesTable], keep: Keep) -> Result<(), StoreError> {
        for table in group {
            let wanted = self.view(|view| view.wanted_bytes(table, keep))?;
            let range = KeyRange {
                family: keep.family(),
                start: table.start.clone(),
                end: table.end.clone(),
            };
            let noted = self.database.dropped_bytes(&range);
            let bytes = table.row_bytes().saturating_sub(wanted).saturating_sub(noted);
            if bytes > 0 {
                self.database.note_dropped(&range, bytes);
            }
        }
        Ok(())
    }

    fn pages_tables(&self, keep: Keep) -> Result<Vec<PagesTable>, StoreError> {
        let files = self.database.read(|db| db.live_files().map_err(DatabaseError::from))?;
        let of_family = files
            .into_iter()
            .filter(|file| file.column_family_name == keep.family());
        let tables = of_family.filter_map(|file| {
            let (start, end) = (file.start_key?, file.end_key?);
            Some(PagesTable {
                first: rows::parse_page_key(&start)?.0,
                last: rows::parse_page_key(&end)?.0,
                bytes: file.size as u64,
                start,
                end,
            })
        });
        let mut tables: Vec<PagesTable> = tables.collect();
        tables.sort_by(|left, right| left.start.cmp(&right.start));
        Ok(tables)
    }

    /// Deletes the tables of pages of whole segments, once no read needs them; `bytes` of rows in them are no longer wanted.
    /// What lies in tables with other segments goes when they are written again.
    pub(crate) fn forget_pages(&self, keep: Keep, segments: Range<u64>, bytes: u64) -> Result<(), StoreError> {
        let range = segments_range(keep, segments);
        let before = self.table_bytes(keep)?;
        self.database.forget(&range)?;
        let left = bytes.saturating_sub(before.saturating_sub(self.table_bytes(keep)?));
        if left > 0 {
            self.database.note_dropped(&range, left);
        }
        Ok(())
    }

    /// Bytes of pages of a segment that were held as backup and are no longer wanted.
    pub(crate) fn dropped_backup_bytes(&self, segment: u64) -> u64 {
        self.database
            .dropped_bytes(&segments_range(Keep::Backup, segment..segment + 1))
    }

    /// Bytes of all tables of a family of pages.
    fn table_bytes(&self, keep: Keep) -> Result<u64, StoreError> {
        self.database.read(|db| {
            let handle = super::database::family(db, keep.family())?;
            let size = db.property_int_value_cf(handle, rocksdb::properties::LIVE_SST_FILES_SIZE);
            Ok(size.map_err(DatabaseError::from)?.unwrap_or(0))
        })
    }
}

impl View<'_> {
    /// Bytes of page rows of chunks that are held for `keep` and lie in a table. Of a chunk whose row is damaged nothing counts.
    fn wanted_bytes(&self, table: &PagesTable, keep: Keep) -> Result<u64, StoreError> {
        let mut bytes = 0;
        self.scan(STORAGE_CHUNKS_PREFIX, &rows::chunk_key(table.first), |key, row| {
            let Some(position) = rows::parse_chunk_key(key).filter(|position| *position <= table.last) else {
                return Ok(false);
            };
            let row = super::chunks::parse_chunk(rows::chunk_key(position).as_ref(), row);
            if let Some(row) = row.filter(|row| row.keep == keep) {
                bytes += u64::from(row.stored_bytes);
            }
            Ok(true)
        })?;
        Ok(bytes)
    }
}

/// Runs of tables, in order, that share segments among each other and none with others.
fn groups(tables: &[PagesTable]) -> Vec<&[PagesTable]> {
    let (mut groups, mut begin, mut last) = (Vec::new(), 0, 0);
    for (number, table) in tables.iter().enumerate() {
        if number > begin && table.first.segment > last {
            groups.push(&tables[begin..number]);
            begin = number;
        }
        last = table.last.segment.max(if number == begin { 0 } else { last });
    }
    if begin < tables.len() {
        groups.push(&tables[begin..]);
    }
    groups
}

/// First and last segment of a group.
fn segments_of(group: &[PagesTable]) -> RangeInclusive<u64> {
    let first = group.iter().map(|table| table.first.segment).min().unwrap_or(0);
    first..=group.iter().map(|table| table.last.segment).max().unwrap_or(0)
}

/// Pages of whole segments, for the database.
fn segments_range(keep: Keep, segments: Range<u64>) -> KeyRange {
    let key = |segment: u64| match ChunkPosition::new(segment, 0) {
        Some(position) => rows::page_key(position, 0).to_vec(),
        None => vec![u8::MAX; 12],
    };
    KeyRange {
        family: keep.family(),
        start: key(segments.start),
        end: key(segments.end),
    }
}

/// Pages of a chunk, for the database.
pub(crate) fn chunk_range(keep: Keep, position: ChunkPosition) -> KeyRange {
    let (start, end) = page_range(position);
    KeyRange {
        family: keep.family(),
        start,
        end,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(first: u64, last: u64) -> PagesTable {
        let position = |segment| ChunkPosition::new(segment, 0).unwrap();
        let key = |segment| rows::page_key(position(segment), 0).to_vec();
        PagesTable {
            start: key(first),
            end: key(last),
            first: position(first),
            last: position(last),
            bytes: 0,
        }
    }

    #[test]
    fn tables_that_share_a_segment_are_looked_at_together() {
        let tables = [(0, 0), (0, 0), (1, 5), (2, 2), (5, 6), (7, 7)].map(|(first, last)| table(first, last));
        let sizes: Vec<usize> = groups(&tables).iter().map(|group| group.len()).collect();
        assert_eq!(sizes, [2, 3, 1]);
        assert!(groups(&[]).is_empty());
        assert_eq!(segments_of(&tables[2..5]), 1..=6);
    }
}
