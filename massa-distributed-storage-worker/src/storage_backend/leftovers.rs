//! Pages in tables that nobody wants: known in memory only, so worked out again when the store is opened.

use super::chunks::page_range;
use super::database::{DatabaseError, KeyRange};
use super::rows::{self, HeldRow, Keep};
use super::{SegmentStore, StoreError, View};
use massa_db_exports::STORAGE_CHUNKS_PREFIX;
use massa_distributed_storage_exports::ChunkPosition;
use std::ops::Range;

/// What a table takes besides its rows, at most: a share for keys and index, and so many bytes.
const TABLE_SHARE: u64 = 64;
const TABLE_BYTES: u64 = 4 << 10;

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
    /// Tells the database which tables of pages have rows that are not wanted. Compares totals; only where those of neighbouring
    /// tables do not fit the held rows, chunk rows are read.
    pub(crate) fn note_leftovers(&self) -> Result<(), StoreError> {
        let held = match self.held_segments(0, usize::MAX) {
            // Repair comes here again.
            Err(StoreError::Damaged(_)) => return Ok(()),
            held => held?,
        };
        for keep in Keep::ALL {
            let tables = self.pages_tables(keep)?;
            for group in groups(&tables) {
                let stored: u64 = stored_in(&held, group, keep);
                if group.iter().map(PagesTable::row_bytes).sum::<u64>() > stored {
                    self.note_group(group, keep)?;
                }
            }
        }
        Ok(())
    }

    fn note_group(&self, group: &[PagesTable], keep: Keep) -> Result<(), StoreError> {
        for table in group {
            let wanted = self.view(|view| view.wanted_bytes(table, keep))?;
            let bytes = table.row_bytes().saturating_sub(wanted);
            if bytes > 0 {
                let range = KeyRange {
                    family: keep.family(),
                    start: table.start.clone(),
                    end: table.end.clone(),
                };
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

/// Bytes that the held rows say are in the segments of a group.
fn stored_in(held: &[(u64, HeldRow)], group: &[PagesTable], keep: Keep) -> u64 {
    let first = group.iter().map(|table| table.first.segment).min().unwrap_or(0);
    let last = group.iter().map(|table| table.last.segment).max().unwrap_or(0);
    let from = held.partition_point(|(segment, _)| *segment < first);
    let to = held.partition_point(|(segment, _)| *segment <= last);
    held[from..to].iter().map(|(_, row)| row.stored_as(keep)).sum()
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
        let held: Vec<_> = (0..8)
            .map(|segment| {
                let stored_bytes = 1 << segment;
                let row = HeldRow {
                    stored_bytes,
                    ..HeldRow::default()
                };
                (segment, row)
            })
            .collect();
        assert_eq!(stored_in(&held, &tables[2..5], Keep::Holder), 0b111_1110);
        assert_eq!(stored_in(&held, &tables[2..5], Keep::Backup), 0);
    }
}
