//! Chunks of closed segments: held or not.
//!
//! A chunk is held when its row, its bit in the segment's held row, its index rows and the counters are written: one batch, after
//! its pages (`holding`). It is let go likewise; its pages stay until their table is written again, and nobody reads them.
//! Never is a page deleted by itself: a deletion is a row, too, and makes RocksDB write again every table around it. With it the entry of the period that reaches in from before it is kept, so that a block
//! that begins in it is found without the chunks before.

use super::body::{check_roots, page_root, unpack, Body, PlainChunk, Unpack};
use super::leftovers::chunk_range;
use super::rows::{self, ChunkRow, HeldRow, Keep, ReachingRow};
use super::{Counters, Damage, OwnChanges, RowBatch, SegmentStore, StoreError, View};
use crate::storage_backend::database::writer::Durability;
use massa_db_exports::{STORAGE_CHUNKS_PREFIX, STORAGE_HELD_CF};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::segment_table::{SegmentTable, TableChunk};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkPosition;
use std::borrow::Cow;
use std::rc::Rc;

/// A page as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageToStore {
    /// Its stored form.
    pub stored: Vec<u8>,
    /// Signatures of the objects that end in it, each as [`TaggedSignature`] draws it, ascending.
    pub signatures: Vec<u8>,
}

/// The entry of the period that begins before a chunk and reaches into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachingEntry {
    /// The period.
    pub period: u64,
    /// Where its bytes begin in the segment's body.
    pub start: u64,
    /// Its entry.
    pub entry: PeriodEntry,
}

/// A chunk with all that is kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkToStore {
    /// Where it stands.
    pub position: ChunkPosition,
    /// Why it is held.
    pub keep: Keep,
    /// Root of each page.
    pub page_roots: Vec<Digest>,
    /// The period that reaches in, if one does.
    pub reaching: Option<ReachingEntry>,
    /// Its pages, in order.
    pub pages: Vec<PageToStore>,
}

/// A chunk that was cut from this node's own stream: its bytes are not hashed again.
#[derive(Clone, Debug)]
pub struct CutChunk {
    /// The chunk as it is kept.
    pub chunk: ChunkToStore,
    /// All of its bytes, in plain.
    pub plain: Vec<u8>,
}

impl ChunkToStore {
    fn refuse(&self, reason: impl Into<String>) -> StoreError {
        StoreError::Chunk {
            position: self.position,
            reason: reason.into(),
        }
    }

    /// The chunk in plain, if it is the one that `table` lists. Every page is hashed.
    pub(crate) fn check(&self, table: &SegmentTable) -> Result<PlainChunk, StoreError> {
        let chunk = self.check_listed(table)?;
        let mut bytes: Vec<u8> = Vec::with_capacity(chunk.length as usize);
        let mut first = Rc::default();
        for (number, page) in self.pages.iter().enumerate() {
            let length = chunk.page_length(number as u32);
            let plain = self.check_page(number, page, length, &first)?;
            bytes.extend_from_slice(&plain);
            if number == 0 {
                first = Rc::new(plain.into_owned());
            }
        }
        Ok(self.in_plain(bytes))
    }

    fn in_plain(&self, bytes: Vec<u8>) -> PlainChunk {
        let reaching = self.reaching.as_ref();
        PlainChunk {
            index: self.position.index.0,
            bytes: Rc::new(bytes),
            reaching: reaching.map(|reaching| (reaching.period, reaching.entry.clone())),
        }
    }

    /// What `table` lists at the position, if page roots, entry and number of pages belong to it.
    fn check_listed(&self, table: &SegmentTable) -> Result<TableChunk, StoreError> {
        let index = self.position.index.0;
        let chunk = table
            .chunk(index)
            .filter(|_| table.header().segment == self.position.segment);
        let chunk = chunk.ok_or_else(|| self.refuse("the table has no such chunk"))?;
        check_roots(&self.page_roots, chunk.length, chunk).map_err(|reason| self.refuse(reason))?;
        self.check_reaching(table)?;
        if self.pages.len() != self.page_roots.len() {
            return Err(self.refuse(format!(
                "{} pages, expected {}",
                self.pages.len(),
                self.page_roots.len()
            )));
        }
        Ok(chunk)
    }

    fn check_page<'a>(
        &self,
        number: usize,
        page: &'a PageToStore,
        length: usize,
        first: &Rc<Vec<u8>>,
    ) -> Result<Cow<'a, [u8]>, StoreError> {
        let plain = unpack(&page.stored, length, || Ok(Rc::clone(first))).map_err(|error| match error {
            Unpack::Malformed(reason) => self.refuse(format!("page {number}: {reason}")),
            Unpack::Store(error) => error,
        })?;
        let signatures = TaggedSignature::read_list(&page.signatures, length);
        signatures.map_err(|error| self.refuse(format!("page {number}: {error}")))?;
        if page_root(&plain) != self.page_roots[number] {
            return Err(self.refuse(format!("page {number} does not match its root")));
        }
        Ok(plain)
    }

    /// The entry must be the one that the table's period root commits to, of the period that reaches in.
    fn check_reaching(&self, table: &SegmentTable) -> Result<(), StoreError> {
        let expected = table.period_reaching_into(self.position.index.0);
        let Some(reaching) = &self.reaching else {
            return match expected {
                None => Ok(()),
                Some(period) => Err(self.refuse(format!("the entry of period {period} is missing"))),
            };
        };
        let start = table.period_range(reaching.period).map(|range| range.start);
        let root = reaching.entry.root(table.header().chain_id, reaching.period);
        let fits = expected == Some(reaching.period)
            && start == Some(reaching.start)
            && table.period(reaching.period).is_some_and(|row| row.root == root);
        if fits {
            return Ok(());
        }
        Err(self.refuse(format!("the entry of period {} does not belong here", reaching.period)))
    }
}

impl CutChunk {
    /// The chunk in plain, if it is the one that `table` lists.
    pub(crate) fn check(self, table: &SegmentTable) -> Result<(ChunkToStore, PlainChunk), StoreError> {
        let Self { chunk, plain } = self;
        let listed = chunk.check_listed(table)?;
        if plain.len() != listed.length as usize {
            return Err(chunk.refuse(format!("{} bytes, expected {}", plain.len(), listed.length)));
        }
        let plain = chunk.in_plain(plain);
        Ok((chunk, plain))
    }
}

impl View<'_> {
    /// Which chunks of a segment are held.
    pub(crate) fn held(&self, segment: u64) -> Result<HeldRow, StoreError> {
        let at = |damage: Damage| damage.in_segment(segment);
        let row = self.row(STORAGE_HELD_CF, &rows::segment_key(segment), &at)?;
        Ok(row.unwrap_or_default())
    }

    /// Adds the pages of a chunk to the batch: where they replace others, which must stay unless the batch is written. Elsewhere they
    /// come as a table.
    pub(crate) fn add_pages(&self, batch: &mut RowBatch, chunk: &ChunkToStore) {
        for (key, row) in page_rows(chunk) {
            batch.put(chunk.keep.family(), key, row);
        }
    }

    /// Adds a checked chunk to the batch and to `held`, which does not have it yet or has it as backup. `plain` has it as its last,
    /// after others that the batch adds to the same segment.
    pub(crate) fn add_chunk_row(
        &self,
        batch: &mut RowBatch,
        table: &SegmentTable,
        held: &mut HeldRow,
        (chunk, plain): (&ChunkToStore, &[PlainChunk]),
    ) -> Result<(), StoreError> {
        let index = chunk.position.index.0;
        if held.contains(index) {
            held.take(index, &self.stored_chunk(chunk.position)?);
        }
        held.set(index, Some(chunk.keep));
        let length = plain.last().map_or(0, |plain| plain.bytes.len() as u32);
        let body = plain.iter().cloned().fold(Body::new(self, table, held), Body::with);
        let (indexed, blocks) = body.indexed_by(index, true)?;
        drop(body);
        for (slot, found) in indexed {
            found.put(batch, slot);
        }
        let stored_bytes = bytes_of(chunk) as u32;
        let row = ChunkRow {
            length,
            stored_bytes,
            blocks,
            keep: chunk.keep,
            reaching: chunk.reaching.as_ref().map(reaching_row),
            page_roots: chunk.page_roots.clone(),
        };
        batch.put_row(STORAGE_CHUNKS_PREFIX, rows::chunk_key(chunk.position).to_vec(), &row)?;
        held.add(index, &row);
        Ok(())
    }

    fn stored_chunk(&self, position: ChunkPosition) -> Result<ChunkRow, StoreError> {
        let at = |damage: Damage| damage.in_chunk(position);
        let row = self.row(STORAGE_CHUNKS_PREFIX, &rows::chunk_key(position), &at)?;
        row.ok_or_else(|| at(Damage::new(STORAGE_CHUNKS_PREFIX, "row is missing")).into())
    }

    /// Removes a chunk that is held, damaged or not, from the batch's point of view and from `held`.
    pub(crate) fn remove_chunk(
        &self,
        batch: &mut RowBatch,
        table: &SegmentTable,
        held: &mut HeldRow,
        index: u32,
    ) -> Result<(), StoreError> {
        let segment = table.header().segment;
        let position = ChunkPosition::new(segment, index).expect("the table was checked");
        match self.indexed_by_held(table, held, index) {
            Ok(indexed) => indexed.into_iter().for_each(|(slot, found)| found.delete(batch, slot)),
            // What cannot be read cannot be looked up in the index: those rows stay, and name slots that are right.
            Err(StoreError::Damaged(_)) => {}
            Err(error) => return Err(error),
        }
        let keep = held.keep_of(index).unwrap_or(Keep::Holder);
        let before = held.stored_bytes;
        self.take_totals(held, position)?;
        let bytes = before.saturating_sub(held.stored_bytes);
        batch.dropped.push((chunk_range(keep, position), bytes));
        batch.delete(STORAGE_CHUNKS_PREFIX, rows::chunk_key(position).to_vec());
        Ok(())
    }

    fn indexed_by_held(
        &self,
        table: &SegmentTable,
        held: &HeldRow,
        index: u32,
    ) -> Result<Vec<(massa_models::slot::Slot, super::index::Indexed)>, StoreError> {
        let body = Body::new(self, table, held).with_read(index)?;
        Ok(body.indexed_by(index, false)?.0)
    }

    /// Takes a chunk away: its row says what goes; if that is damaged, the others what stays.
    fn take_totals(&self, held: &mut HeldRow, gone: ChunkPosition) -> Result<(), StoreError> {
        match self.stored_chunk(gone) {
            Ok(row) => held.take(gone.index.0, &row),
            Err(StoreError::Damaged(_)) => {
                held.set(gone.index.0, None);
                *held = self.totals(gone.segment, |position| held.contains(position.index.0))?;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Totals over the chunk rows of a segment that `counted` selects. Costs a read of each. A damaged row counts as a chunk
    /// of nothing.
    pub(crate) fn totals(&self, segment: u64, counted: impl Fn(ChunkPosition) -> bool) -> Result<HeldRow, StoreError> {
        let mut totals = HeldRow::default();
        self.for_each_chunk(segment, |position, row| {
            if counted(position) {
                totals.add(position.index.0, &row.unwrap_or_else(ChunkRow::damaged));
            }
        })?;
        Ok(totals)
    }

    /// Calls `action` with each chunk row of a segment, in order; `None` for a damaged one.
    pub(crate) fn for_each_chunk(
        &self,
        segment: u64,
        mut action: impl FnMut(ChunkPosition, Option<ChunkRow>),
    ) -> Result<(), StoreError> {
        self.scan(STORAGE_CHUNKS_PREFIX, &rows::segment_key(segment), |key, row| {
            let position = rows::parse_chunk_key(key);
            let Some(position) = position.filter(|position| position.segment == segment) else {
                return Ok(false);
            };
            action(position, parse_chunk(key, row));
            Ok(true)
        })
    }

    /// Writes the held row of a segment, and what changed in the counters.
    pub(crate) fn put_held(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        (segment, before, after): (u64, &HeldRow, &HeldRow),
    ) -> Result<(), StoreError> {
        counters.take_held(before);
        counters.add_held(after);
        batch.held.push((segment, after.clone()));
        let key = rows::segment_key(segment).to_vec();
        if after.chunks > 0 {
            return batch.put_row(STORAGE_HELD_CF, key, after);
        }
        if before.chunks > 0 {
            batch.delete(STORAGE_HELD_CF, key);
        }
        Ok(())
    }
}

/// The row of a chunk; `None` if it is damaged.
pub(crate) fn parse_chunk(key: &[u8], row: &[u8]) -> Option<ChunkRow> {
    let value = crate::storage_backend::keys::unseal(key, row)?;
    super::own::decode(value).ok()
}

fn reaching_row(reaching: &ReachingEntry) -> ReachingRow {
    ReachingRow {
        period: reaching.period,
        start: reaching.start,
        entry: reaching.entry.to_bytes(),
    }
}

/// Rows of a chunk's pages, in order.
pub(crate) fn page_rows(chunk: &ChunkToStore) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> + '_ {
    chunk.pages.iter().zip(0..).map(|(page, number)| {
        let key = rows::page_key(chunk.position, number);
        let row = rows::write_page(&key, &page.stored, &page.signatures);
        (key.to_vec(), row)
    })
}

/// Bytes of a chunk's page rows.
pub(crate) fn bytes_of(chunk: &ChunkToStore) -> u64 {
    let pages = chunk.pages.iter();
    pages
        .map(|page| rows::page_row_bytes(&page.stored, &page.signatures) as u64)
        .sum()
}

impl SegmentStore {
    /// Holds a chunk of a segment whose table is here. `false`: it is held already, and nothing changes. One that is held as
    /// [`Keep::Backup`] and comes as [`Keep::Holder`] changes; the other way round does not.
    ///
    /// `own` goes into the same batch: what follows from holding it.
    ///
    /// Every page is hashed; signatures are checked by whoever assembles a block.
    ///
    /// # Errors
    /// [`StoreError::Chunk`] when it is not the chunk that the table lists: its sender is at fault. [`StoreError::NoTable`],
    /// [`StoreError::Pruned`], [`StoreError::Database`].
    pub fn put_chunk(&self, chunk: &ChunkToStore, own: OwnChanges) -> Result<bool, StoreError> {
        Ok(self.put_chunks(chunk.position.segment, std::slice::from_ref(chunk), own)? > 0)
    }

    /// The same for several chunks of one segment: they become one table instead of one each. Returns how many changed something.
    ///
    /// # Errors
    /// As [`SegmentStore::put_chunk`]; then none is held.
    pub fn put_chunks(&self, segment: u64, chunks: &[ChunkToStore], own: OwnChanges) -> Result<usize, StoreError> {
        let writing = self.writing.lock();
        self.view(|view| view.check_floor(segment))?;
        let table = self.table(segment)?.ok_or(StoreError::NoTable { segment })?;
        self.hold(&writing, &table, (chunks, &mut |chunk| chunk.check(&table)), own)
    }

    /// Lets a chunk go, damaged or not. `false`: it was not held, and nothing changes. `own` goes into the same batch.
    ///
    /// # Errors
    /// [`StoreError::NoTable`], [`StoreError::Database`].
    pub fn drop_chunk(&self, position: ChunkPosition, own: OwnChanges) -> Result<bool, StoreError> {
        let segment = position.segment;
        self.change(Durability::Buffered, |view, batch, counters| {
            let before = view.held(segment)?;
            if !before.contains(position.index.0) {
                return Ok(false);
            }
            let table = view.table(segment)?.ok_or(StoreError::NoTable { segment })?;
            let mut after = before.clone();
            view.remove_chunk(batch, &table, &mut after, position.index.0)?;
            batch.append(own);
            view.put_held(batch, counters, (segment, &before, &after))?;
            Ok(true)
        })
    }

    /// Which chunks of a segment are held. Reads one row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn held(&self, segment: u64) -> Result<HeldRow, StoreError> {
        self.view(|view| view.held(segment))
    }

    /// The first held chunk at or after a position. Reads one row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn next_held(&self, from: ChunkPosition) -> Result<Option<ChunkPosition>, StoreError> {
        self.view(|view| {
            let key = view.first_key(STORAGE_CHUNKS_PREFIX, &rows::chunk_key(from))?;
            let Some(key) = key else { return Ok(None) };
            let damage = || Damage::new(STORAGE_CHUNKS_PREFIX, "key is malformed");
            Ok(Some(rows::parse_chunk_key(&key).ok_or_else(damage)?))
        })
    }

    /// Segments from `from` on of which chunks are held, at most `limit`. Reads a row for each.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn held_segments(&self, from: u64, limit: usize) -> Result<Vec<(u64, HeldRow)>, StoreError> {
        let mut found = Vec::new();
        self.view(|view| {
            view.scan(STORAGE_HELD_CF, &rows::segment_key(from), |key, row| {
                if found.len() == limit {
                    return Ok(false);
                }
                let damage = |reason: &str| Damage::new(STORAGE_HELD_CF, reason);
                let segment = rows::parse_segment_key(key).ok_or_else(|| damage("key is malformed"))?;
                let value = crate::storage_backend::keys::unseal(key, row);
                let value = value.ok_or_else(|| damage("row does not match its checksum").in_segment(segment))?;
                let held = super::own::decode(value).map_err(|reason| damage(&reason).in_segment(segment))?;
                found.push((segment, held));
                Ok(true)
            })
        })?;
        Ok(found)
    }
}

/// Keys of a chunk's pages.
pub(crate) fn page_range(position: ChunkPosition) -> (Vec<u8>, Vec<u8>) {
    let start = rows::page_key(position, 0).to_vec();
    let next = position.number() + 1;
    let end = match ChunkPosition::from_number(next) {
        Some(next) => rows::page_key(next, 0).to_vec(),
        None => vec![u8::MAX; 12],
    };
    (start, end)
}
