//! Single chunks: which are held, storing one that was fetched from peers, dropping one, looking at one for damage.
//!
//! Storing and dropping are the writer's, as everything that writes; looking is anybody's. Left out: which chunks should be
//! held, see [`crate::replication`]. No tree covers the signatures beside the pages: [`Store::check_chunk_signatures`].

use super::read::{Damage, ReadError};
use super::writer::Durability;
use super::{family_of, put_sealed, rows, Store, StoreError};
use crate::assembly::PeriodPages;
use crate::chunking::{page_root, ChunkPages};
use massa_db_exports::{STORAGE_CHUNKS_PREFIX, STORAGE_PAGES_CF};
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, Place};
use massa_distributed_storage_exports::network::{PageContent, VerifiedPage, MAX_PAGE_SIGNATURES};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::{PAGE_BYTES, SIGNATURE_BYTES};
use massa_distributed_storage_exports::verification::verify_blocks;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkIndex};
use parking_lot::Mutex;
use rocksdb::WriteBatch;
use std::collections::BTreeSet;

/// Changed periods that are remembered; beyond that all count as changed.
const CHANGES_MAX: usize = 4096;

/// Why a chunk was not stored.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum PutChunkError {
    /// The period is not archived here, or its manifest cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The archived period has another chunk there, or none: what was asked for was wrong.
    #[error("chunk {chunk} of period {period} is not the one given: expected {expected:?}, given {given:?}")]
    OtherChunk {
        /// The period.
        period: u64,
        /// Position of the chunk.
        chunk: u32,
        /// What the manifest says.
        expected: Option<ChunkEntry>,
        /// What was given.
        given: ChunkEntry,
    },
    /// The pages are not those of the chunk: whoever sent them is at fault.
    #[error("chunk {chunk} of period {period}: {reason}")]
    Pages {
        /// The period.
        period: u64,
        /// Position of the chunk.
        chunk: u32,
        /// What is wrong.
        reason: String,
    },
    /// The store could not be written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Periods whose held chunks changed since somebody looked.
#[derive(Debug, Default)]
pub(crate) struct HeldChanges(Mutex<Changes>);

#[derive(Debug, Default)]
struct Changes {
    periods: BTreeSet<u64>,
    /// More changed than is remembered.
    all: bool,
    /// Grows with each change.
    generation: u64,
}

impl HeldChanges {
    /// Chunks of a period were stored or dropped.
    pub(crate) fn note(&self, period: u64) {
        let mut changes = self.0.lock();
        changes.generation += 1;
        if changes.periods.len() < CHANGES_MAX {
            changes.periods.insert(period);
        } else {
            changes.all = true;
        }
    }

    /// Other chunks are assigned than before: every period has to be looked at again.
    fn note_all(&self) {
        self.0.lock().all = true;
    }

    /// Old periods were pruned.
    pub(crate) fn note_pruned(&self) {
        self.0.lock().generation += 1;
    }
}

/// What [`Store::take_held_changes`] returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeldChange {
    /// Chunks of these periods were stored or dropped.
    Periods(BTreeSet<u64>),
    /// Of any periods; or other chunks are assigned to this node.
    Any,
}

impl Store {
    /// Positions of the chunks of a period that are held here, ascending.
    ///
    /// # Errors
    /// [`ReadError::Pruned`], [`ReadError::Damaged`].
    pub fn held_chunks(&self, period: u64) -> Result<Vec<u32>, ReadError> {
        self.check_floor(period)?;
        let mut held = Vec::new();
        self.for_each_held(period, |found, chunk| {
            let inside = found == period;
            if inside {
                held.push(chunk.0);
            }
            inside
        })?;
        Ok(held)
    }

    /// Calls `action` with each held chunk from `from_period` on, in archive order, until it returns false. What is pruned
    /// is left out.
    ///
    /// # Errors
    /// [`ReadError::Damaged`].
    pub fn for_each_held(
        &self,
        from_period: u64,
        action: impl FnMut(u64, ChunkIndex) -> bool,
    ) -> Result<(), ReadError> {
        self.for_each_held_from(from_period, ChunkIndex(0), action)
    }

    /// The first held chunk at or after a position.
    ///
    /// # Errors
    /// [`ReadError::Damaged`].
    pub fn next_held_chunk(&self, period: u64, chunk: ChunkIndex) -> Result<Option<(u64, ChunkIndex)>, ReadError> {
        let mut found = None;
        self.for_each_held_from(period, chunk, |period, chunk| {
            found = Some((period, chunk));
            false
        })?;
        Ok(found)
    }

    fn for_each_held_from(
        &self,
        period: u64,
        chunk: ChunkIndex,
        mut action: impl FnMut(u64, ChunkIndex) -> bool,
    ) -> Result<(), ReadError> {
        let start = rows::chunk_key(period, chunk.0).max(rows::chunk_key(self.floor(), 0));
        self.for_each_row(STORAGE_CHUNKS_PREFIX, &start, |key, _| {
            let malformed = || Damage::new(STORAGE_CHUNKS_PREFIX, "key is malformed");
            let (period, chunk) = rows::parse_chunk_key(key).ok_or_else(malformed)?;
            Ok(action(period, ChunkIndex(chunk)))
        })
    }

    /// Stores a chunk of an archived period that was fetched from peers: all of its `pages`, in order.
    ///
    /// Rows that are there already, damaged or not, are replaced. One write batch; it survives a killed process, not a
    /// power cut: what comes from peers can be fetched again.
    ///
    /// # Errors
    /// [`PutChunkError`]; nothing is stored then, unless the disk failed while writing.
    pub fn put_chunk(
        &self,
        period: u64,
        chunk: ChunkIndex,
        entry: ChunkEntry,
        pages: &[PageContent],
    ) -> Result<(), PutChunkError> {
        let manifest = self.archived_manifest(period)?;
        let expected = manifest.chunks.get(chunk.0 as usize).copied();
        if expected != Some(entry) {
            return Err(PutChunkError::OtherChunk {
                period,
                chunk: chunk.0,
                expected,
                given: entry,
            });
        }
        let upper = check_pages(&manifest, chunk.0, pages).map_err(|reason| PutChunkError::Pages {
            period,
            chunk: chunk.0,
            reason,
        })?;
        let bytes: usize = pages.iter().map(|page| page.bytes.len() + page.signatures.len()).sum();
        self.check_space(bytes as u64)?;
        self.with_db(|db| -> Result<(), StoreError> {
            let mut batch = WriteBatch::with_capacity_bytes(bytes + bytes / 16 + super::BATCH_ROWS_BYTES);
            let key = rows::chunk_key(period, chunk.0);
            put_sealed(db, &mut batch, STORAGE_CHUNKS_PREFIX, &key, rows::chunk_value(&upper))?;
            let family = family_of(db, STORAGE_PAGES_CF)?;
            let mut row = Vec::new();
            for (page, number) in pages.iter().zip(0..) {
                let key = rows::page_key(period, chunk.0, number);
                rows::write_page(&mut row, &key, &page.bytes, &page.signatures);
                batch.put_cf(family, key, &row);
            }
            self.write(db, batch, Durability::Buffered)
        })?;
        self.held_changes.note(period);
        Ok(())
    }

    /// Checks, down to signatures, the blocks that lie wholly in a chunk that was fetched from peers: no tree covers the
    /// signatures beside its pages, so whoever sent it could have made them up. Returns how many blocks were checked; those
    /// that reach into another chunk are not.
    ///
    /// Reads only, so that it can be done outside the writer's thread, before [`Store::put_chunk`]. Costs a hash of the
    /// pages and a check of each signature.
    ///
    /// # Errors
    /// [`PutChunkError::Pages`]: who sent the chunk is at fault; otherwise as [`Store::put_chunk`].
    pub fn check_chunk_signatures(
        &self,
        period: u64,
        chunk: ChunkIndex,
        pages: &[PageContent],
    ) -> Result<usize, PutChunkError> {
        let manifest = self.archived_manifest(period)?;
        let no_chunk = || ReadError::NotFound(format!("chunk {chunk} of period {period}"));
        let entry = *manifest.chunks.get(chunk.0 as usize).ok_or_else(no_chunk)?;
        let fault = |reason: String| PutChunkError::Pages {
            period,
            chunk: chunk.0,
            reason,
        };
        let mut known = PeriodPages::new(manifest);
        for (page, number) in pages.iter().zip(0..) {
            let page = VerifiedPage::check(&entry, number, page.clone());
            known.insert(chunk, (), page.map_err(|error| fault(error.to_string()))?);
        }
        let ArchiveParameters {
            chain_id, thread_count, ..
        } = *self.parameters();
        let blocks = (0..thread_count).filter_map(|thread| known.record(thread).transpose());
        let blocks: Vec<BlockRecord> = blocks
            .collect::<Result<_, _>>()
            .map_err(|error| fault(error.to_string()))?;
        match verify_blocks(&blocks, chain_id, thread_count) {
            Ok(verified) => Ok(verified.len()),
            Err((_, error)) => Err(fault(error.to_string())),
        }
    }

    /// Drops a chunk, if it is held. Its space is returned before this returns.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_chunk(&self, period: u64, chunk: ChunkIndex) -> Result<(), StoreError> {
        self.drop_chunks(&[(period, chunk)])
    }

    /// Drops chunks in one write batch; those that are not held are passed over. Space is returned before this returns, by
    /// merging every table between the first and the last of them: cheaper for many chunks at once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn drop_chunks(&self, chunks: &[(u64, ChunkIndex)]) -> Result<(), StoreError> {
        let (Some((first, _)), Some((last, _))) = (chunks.iter().min(), chunks.iter().max()) else {
            return Ok(());
        };
        self.delete_chunks(chunks)?;
        self.return_space_of(*first..=*last)
    }

    /// As [`Store::drop_chunks`], leaving the space to [`Store::return_space_of`]: takes no longer than any small write.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is deleted then.
    pub fn delete_chunks(&self, chunks: &[(u64, ChunkIndex)]) -> Result<(), StoreError> {
        self.with_db(|db| {
            let mut batch = WriteBatch::default();
            let (chunk_rows, page_rows) = (family_of(db, STORAGE_CHUNKS_PREFIX)?, family_of(db, STORAGE_PAGES_CF)?);
            for (period, chunk) in chunks {
                batch.delete_cf(chunk_rows, rows::chunk_key(*period, chunk.0));
                // Keys of a chunk's pages are longer than the chunk's key and shorter than the next one's.
                let end = rows::chunk_key(*period, chunk.0.saturating_add(1));
                batch.delete_range_cf(page_rows, rows::chunk_key(*period, chunk.0), end);
            }
            self.write(db, batch, Durability::Buffered)?;
            chunks.iter().for_each(|(period, _)| self.held_changes.note(*period));
            Ok(())
        })
    }

    /// Gives the space of deleted chunks of these periods back to the disk, by merging every table that has rows of them.
    ///
    /// Takes as long as it takes to write them again. Changes no row, so any thread may do it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn return_space_of(&self, periods: std::ops::RangeInclusive<u64>) -> Result<(), StoreError> {
        let (start, end) = periods.into_inner();
        let (start, end) = (rows::period_key(start), rows::period_key(end.saturating_add(1)));
        self.with_db(|db| {
            for name in [STORAGE_CHUNKS_PREFIX, STORAGE_PAGES_CF] {
                let family = family_of(db, name)?;
                // Tables are only merged once their rows have left memory.
                db.flush_cf(family)?;
                db.compact_range_cf(family, Some(start), Some(end));
            }
            Ok(())
        })
    }

    /// Checks every byte of a held chunk: its row, its pages, the counts beside them.
    ///
    /// # Errors
    /// [`ReadError::Damaged`]: [`Store::put_chunk`] replaces it; [`ReadError::NotKept`].
    pub fn check_chunk(&self, period: u64, chunk: ChunkIndex) -> Result<(), ReadError> {
        let manifest = self.archived_manifest(period)?;
        let no_chunk = || ReadError::NotFound(format!("chunk {chunk} of period {period}"));
        let entry = *manifest.chunks.get(chunk.0 as usize).ok_or_else(no_chunk)?;
        let kept = self.chunk(period, chunk.0, entry)?;
        let pages = kept.ok_or(ReadError::NotKept { period, chunk: chunk.0 })?;
        let mut ends = Vec::with_capacity(pages.page_roots.len());
        for (page, before) in (0..entry.page_count()).zip(&pages.objects_before) {
            let (_, signatures) = self.page(period, chunk.0, &pages, page)?;
            ends.push((*before, signatures.len()));
        }
        check_counts(&manifest, chunk.0, &ends).map_err(|reason| {
            let damage = Damage::new(STORAGE_CHUNKS_PREFIX, reason);
            damage.in_period(period).in_chunk(chunk.0).into()
        })
    }

    /// Other chunks are assigned to this node than before: [`Store::take_held_changes`] tells.
    pub fn note_assignments_changed(&self) {
        self.held_changes.note_all();
    }

    /// A number that grows whenever a chunk is stored, dropped or pruned: for whoever remembers something of chunks.
    pub fn held_generation(&self) -> u64 {
        self.held_changes.0.lock().generation
    }

    /// Which periods' held chunks changed since this was last called. For one caller.
    pub fn take_held_changes(&self) -> HeldChange {
        let mut changes = self.held_changes.0.lock();
        let periods = std::mem::take(&mut changes.periods);
        if std::mem::take(&mut changes.all) {
            HeldChange::Any
        } else {
            HeldChange::Periods(periods)
        }
    }
}

/// The upper tree of a chunk whose pages these are, or why they are not.
fn check_pages(manifest: &Manifest, chunk: u32, pages: &[PageContent]) -> Result<ChunkPages, String> {
    let entry = manifest.chunks[chunk as usize];
    if pages.len() != entry.page_count() as usize {
        return Err(format!("{} pages, expected {}", pages.len(), entry.page_count()));
    }
    for (page, number) in pages.iter().zip(0..) {
        let (found, expected) = (page.bytes.len(), entry.page_length(number));
        if found != expected {
            return Err(format!("page {number} has {found} bytes, expected {expected}"));
        }
    }
    let upper = ChunkPages {
        entry,
        page_roots: pages.iter().map(|page| page_root(&page.bytes)).collect(),
        objects_before: pages.iter().map(|page| page.objects_before).collect(),
    };
    if upper.root() != entry.id {
        return Err(format!("pages lead to {}, expected {}", upper.root(), entry.id));
    }
    let counts: Vec<(u32, usize)> = pages
        .iter()
        .map(|page| (page.objects_before, page.signatures.len()))
        .collect();
    check_counts(manifest, chunk, &counts)?;
    Ok(upper)
}

/// Checks, for each page of a chunk, the objects that end before it and the bytes of signatures beside it: against each
/// other, and against the places of the manifest.
fn check_counts(manifest: &Manifest, chunk: u32, pages: &[(u32, usize)]) -> Result<(), String> {
    let start = u64::from(chunk) * u64::from(manifest.header.chunk_size);
    let mut expected = (chunk == 0).then_some(0);
    for ((before, bytes), page) in pages.iter().zip(0u64..) {
        if expected.is_some_and(|expected| expected != *before) {
            return Err(format!(
                "page {page} counts {before} objects before it, expected {expected:?}"
            ));
        }
        if bytes % SIGNATURE_BYTES != 0 || bytes / SIGNATURE_BYTES > MAX_PAGE_SIGNATURES {
            return Err(format!("page {page} has {bytes} bytes of signatures"));
        }
        let end = before.checked_add((bytes / SIGNATURE_BYTES) as u32);
        let end = end.ok_or_else(|| format!("page {page} counts {before} objects before it"))?;
        check_places(manifest, start, page, *before..=end)?;
        expected = Some(end);
    }
    Ok(())
}

/// A block that begins in a page has as many objects before it as end before the page, or more, by those that end in it.
fn check_places(
    manifest: &Manifest,
    start: u64,
    page: u64,
    counts: std::ops::RangeInclusive<u32>,
) -> Result<(), String> {
    let page_bytes = PAGE_BYTES as u64;
    let from = start + page * page_bytes;
    for place in &manifest.places {
        let Place::Block {
            offset, objects_before, ..
        } = *place
        else {
            continue;
        };
        let inside = (from..from + page_bytes).contains(&u64::from(offset));
        if inside && !counts.contains(&objects_before) {
            return Err(format!(
                "page {page} counts {counts:?} objects, a block in it begins after {objects_before}"
            ));
        }
    }
    Ok(())
}
