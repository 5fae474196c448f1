//! Pages of chunks that come: as tables, before the rows that make them count.
//!
//! All chunks of a call become one table for each family, which no merge moves again as long as their keys come in order:
//! whoever has several chunks of a segment gives them at once. What a killed process leaves is written over, or goes as not wanted.

use super::body::Body;
use super::body::PlainChunk;
use super::chunks::{bytes_of, page_rows};
use super::leftovers::chunk_range;
use super::rows::{self, HeldRow, Keep};
use super::{ChunkToStore, OwnChanges, SegmentStore, StoreError};
use crate::storage_backend::database::writer::Durability;
use massa_db_exports::{STORAGE_CHUNKS_PREFIX, STORAGE_PAGES_CF};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::ChunkPosition;
use parking_lot::MutexGuard;
use std::collections::BTreeMap;

/// Checks a chunk and gives it in plain.
pub(crate) type InPlain<'p> = dyn FnMut(&ChunkToStore) -> Result<PlainChunk, StoreError> + 'p;

/// Those chunks that change something: not held yet, or held as backup and wanted as holder from now on.
fn new_chunks<'c>(chunks: &'c [ChunkToStore], held: &HeldRow) -> BTreeMap<u32, &'c ChunkToStore> {
    let by_index = chunks.iter().map(|chunk| (chunk.position.index.0, chunk));
    let new = by_index.filter(|(index, chunk)| match held.keep_of(*index) {
        None => true,
        Some(keep) => keep == Keep::Backup && chunk.keep == Keep::Holder,
    });
    new.collect()
}

impl SegmentStore {
    /// Holds chunks of the segment of `table`; returns how many changed something. `plain` checks each of these and gives it in
    /// plain. `own` goes into the batch, if any did.
    pub(crate) fn hold(
        &self,
        writing: &MutexGuard<'_, ()>,
        table: &SegmentTable,
        (chunks, plain): (&[ChunkToStore], &mut InPlain<'_>),
        own: OwnChanges,
    ) -> Result<usize, StoreError> {
        let segment = table.header().segment;
        let before = self.view(|view| {
            view.check_floor(segment)?;
            view.held(segment)
        })?;
        let new = new_chunks(chunks, &before);
        if new.is_empty() {
            return Ok(0);
        }
        self.database
            .check_space(new.values().map(|chunk| bytes_of(chunk)).sum())?;
        let plain = new.values().map(|chunk| plain(chunk)).collect::<Result<Vec<_>, _>>()?;
        self.ingest_chunks(segment, &before, &new)?;
        self.change_while(writing, Durability::Buffered, |view, batch, counters| {
            let mut after = before.clone();
            for (chunk, number) in new.values().zip(1..) {
                view.add_chunk_row(batch, table, &mut after, (chunk, &plain[..number]))?;
                if before.contains(chunk.position.index.0) {
                    let gone = chunk_range(Keep::Backup, chunk.position);
                    batch.dropped.push((gone, bytes_of(chunk)));
                }
            }
            batch.append(own);
            view.put_held(batch, counters, (segment, &before, &after))
        })?;
        Ok(new.len())
    }

    fn ingest_chunks(
        &self,
        segment: u64,
        before: &HeldRow,
        chunks: &BTreeMap<u32, &ChunkToStore>,
    ) -> Result<(), StoreError> {
        let mut after = before.clone();
        let mut tables = Vec::new();
        for keep in Keep::ALL {
            let mut of_family = chunks.values().filter(|chunk| chunk.keep == keep).peekable();
            if of_family.peek().is_none() {
                continue;
            }
            let table = self.database.write_table(keep.family(), |rows| {
                for chunk in of_family {
                    after.set(chunk.position.index.0, Some(keep));
                    for (key, row) in page_rows(chunk) {
                        rows.put(&key, &row)?;
                    }
                }
                Ok::<(), StoreError>(())
            })?;
            tables.push(table);
        }
        self.wanted.want(segment, &after);
        Ok(self.database.ingest(tables)?)
    }

    /// Makes chunks that are held as backup chunks that this node holds: their pages are written once more. Those that are not
    /// held as backup are left as they are. Returns how many there were. `own` goes into the batch, if there were any.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] when one is: it is to be dropped and fetched again. [`StoreError::NoTable`], [`StoreError::Database`].
    pub fn promote_chunks(&self, segment: u64, chunks: &[u32], own: OwnChanges) -> Result<usize, StoreError> {
        let writing = self.writing.lock();
        let before = self.held(segment)?;
        let mut indexes = chunks.to_vec();
        indexes.retain(|index| before.keep_of(*index) == Some(Keep::Backup));
        indexes.sort_unstable();
        indexes.dedup();
        if indexes.is_empty() {
            return Ok(0);
        }
        let table = self.table(segment)?.ok_or(StoreError::NoTable { segment })?;
        self.database.check_space(before.passing_bytes)?;
        let pages = self.view(|view| {
            let body = Body::new(view, &table, &before);
            self.database.write_table(STORAGE_PAGES_CF, |rows| {
                indexes
                    .iter()
                    .try_for_each(|index| copy_pages(&body, *index, |key, row| Ok(rows.put(key, row)?)))
            })
        })?;
        let mut after = before.clone();
        indexes.iter().for_each(|index| after.set(*index, Some(Keep::Holder)));
        self.wanted.want(segment, &after);
        self.database.ingest(vec![pages])?;
        self.change_while(&writing, Durability::Buffered, |view, batch, counters| {
            let mut after = before.clone();
            for index in &indexes {
                let position = ChunkPosition::new(segment, *index).expect("the table was checked");
                let chunk = table.chunk(*index).expect("its pages were read");
                let mut row = view.chunk_row(position, chunk)?;
                after.take(*index, &row);
                row.keep = Keep::Holder;
                after.add(*index, &row);
                batch.put_row(STORAGE_CHUNKS_PREFIX, rows::chunk_key(position).to_vec(), &row)?;
                batch
                    .dropped
                    .push((chunk_range(Keep::Backup, position), u64::from(row.stored_bytes)));
            }
            batch.append(own);
            view.put_held(batch, counters, (segment, &before, &after))
        })?;
        Ok(indexes.len())
    }

    /// Deletes the tables of pages that a segment had as backup, once none of its chunks is held so any more: nothing is written
    /// again for it. To be called when chunks were dropped. `false`: some are still held.
    ///
    /// Waits for reads that still see them.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Database`].
    pub fn forget_backups(&self, segment: u64) -> Result<bool, StoreError> {
        let _writing = self.writing.lock();
        if self.held(segment)?.passing_chunks > 0 {
            return Ok(false);
        }
        let bytes = self.dropped_backup_bytes(segment);
        if bytes == 0 {
            return Ok(true);
        }
        // Without their pages the chunks must not come back.
        self.database.sync()?;
        self.readers.wait_for_earlier();
        self.forget_pages(Keep::Backup, segment..segment + 1, bytes)?;
        Ok(true)
    }

    /// Lets go of all chunks of a segment that are held as backup: their tables are deleted. Returns how many there were. `own`
    /// goes into the batch, if there were any.
    ///
    /// Waits for reads that still see them.
    ///
    /// # Errors
    /// [`StoreError::NoTable`], [`StoreError::Database`].
    pub fn release_backups(&self, segment: u64, own: OwnChanges) -> Result<u32, StoreError> {
        let writing = self.writing.lock();
        let before = self.held(segment)?;
        if before.passing_chunks == 0 {
            return Ok(0);
        }
        let table = self.table(segment)?.ok_or(StoreError::NoTable { segment })?;
        self.change_while(&writing, Durability::Synced, |view, batch, counters| {
            let mut after = before.clone();
            let passing = before
                .indexes()
                .filter(|index| before.keep_of(*index) == Some(Keep::Backup));
            for index in passing {
                view.remove_chunk(batch, &table, &mut after, index)?;
            }
            // Noted as a whole below.
            batch.dropped.clear();
            batch.append(own);
            view.put_held(batch, counters, (segment, &before, &after))
        })?;
        self.readers.wait_for_earlier();
        self.forget_pages(Keep::Backup, segment..segment + 1, before.passing_bytes)?;
        Ok(before.passing_chunks)
    }
}

/// Reads and checks the pages of a held chunk.
fn copy_pages(
    body: &Body<'_>,
    index: u32,
    mut put: impl FnMut(&[u8], &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let segment = body.table.header().segment;
    let pages = body.table.chunk(index).map_or(0, |chunk| chunk.page_count());
    for number in 0..pages {
        let position = ChunkPosition::new(segment, index).expect("the table was checked");
        let key = rows::page_key(position, number);
        let row = body.page(index, number, |page| {
            rows::write_page(&key, page.stored, page.signatures)
        })?;
        put(&key, &row)?;
    }
    Ok(())
}
