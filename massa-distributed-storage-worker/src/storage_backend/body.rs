//! The bytes of a closed segment, as far as its chunks are held: every page is led to its chunk's id and that to the table.

use super::rows::{self, ChunkRow, HeldRow, Keep};
use super::{Damage, StoreError, View};
use massa_db_exports::{STORAGE_CHUNKS_PREFIX, STORAGE_PAGES_CF};
use massa_distributed_storage_exports::bytes::Reader;
use massa_distributed_storage_exports::entry::{EntryError, PeriodEntry};
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::root_of_hashes;
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::segment_table::{SegmentTable, TableChunk};
use massa_distributed_storage_exports::stored_page::{StoredPageError, StoredPageView};
use massa_distributed_storage_exports::types::{Digest, PAGE_BYTES};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use rocksdb::DBPinnableSlice;
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

/// A block and where its bytes stand in the body.
pub(crate) struct BlockAt {
    pub(crate) slot: Slot,
    pub(crate) id: BlockId,
    pub(crate) range: Range<u64>,
}

/// A part of the body and the signatures of the objects that end in it.
pub(crate) struct Piece {
    pub(crate) bytes: Vec<u8>,
    /// First byte after the object, counted from the beginning of the body, and its signature.
    pub(crate) signatures: Vec<(u64, massa_distributed_storage_exports::period::Signature)>,
}

/// A page where it lies, its root checked.
pub(crate) struct CheckedPage<'a> {
    pub(crate) stored: &'a [u8],
    pub(crate) plain: &'a [u8],
    /// As they are kept and sent.
    pub(crate) signatures: &'a [u8],
    /// Root of each page of the chunk.
    pub(crate) page_roots: &'a [Digest],
}

/// A chunk in plain: one that is about to be held, or one whose pages were read already.
#[derive(Clone)]
pub(crate) struct PlainChunk {
    pub(crate) index: u32,
    pub(crate) bytes: Rc<Vec<u8>>,
    /// The period that begins before it, and its entry.
    pub(crate) reaching: Option<(u64, PeriodEntry)>,
}

/// A chunk's row and its first page, which others may be packed after.
struct Known {
    row: ChunkRow,
    first_page: RefCell<Option<Rc<Vec<u8>>>>,
}

/// Reads the body of one segment.
pub(crate) struct Body<'a> {
    pub(crate) view: &'a View<'a>,
    pub(crate) table: &'a SegmentTable,
    pub(crate) held: &'a HeldRow,
    plain: BTreeMap<u32, PlainChunk>,
    known: RefCell<BTreeMap<u32, Rc<Known>>>,
}

/// Root over the leaves of a page.
pub(crate) fn page_root(page: &[u8]) -> Digest {
    root_of_hashes(leaf_hashes(page))
}

impl<'a> Body<'a> {
    /// The body that `table` describes; `held` says which chunks are there.
    pub(crate) fn new(view: &'a View<'a>, table: &'a SegmentTable, held: &'a HeldRow) -> Self {
        Self {
            view,
            table,
            held,
            plain: BTreeMap::new(),
            known: RefCell::default(),
        }
    }

    /// The same with a chunk in plain, whose pages are then not read; `held` counts it in. Its signatures are not known.
    pub(crate) fn with(mut self, chunk: PlainChunk) -> Self {
        self.plain.insert(chunk.index, chunk);
        self
    }

    /// The same with a held chunk read once instead of again and again.
    pub(crate) fn with_read(self, index: u32) -> Result<Self, StoreError> {
        let bytes = self.bytes(&self.table.chunk_range(index))?;
        let reaching = match self.table.period_reaching_into(index) {
            None => None,
            Some(period) => self.entry_reaching_into(index, period)?.map(|entry| (period, entry)),
        };
        Ok(self.with(PlainChunk {
            index,
            bytes: Rc::new(bytes),
            reaching,
        }))
    }

    fn position(&self, index: u32) -> ChunkPosition {
        ChunkPosition::new(self.table.header().segment, index).expect("the table was checked")
    }

    fn table_chunk(&self, index: u32) -> TableChunk {
        self.table.chunk(index).expect("callers ask for chunks of the table")
    }

    pub(crate) fn damage(&self, slot: Slot, reason: String) -> StoreError {
        Damage::new(STORAGE_PAGES_CF, reason)
            .in_segment(self.table.header().segment)
            .at(slot)
            .into()
    }

    /// Chunks that `range` touches and that are not held.
    pub(crate) fn not_held(&self, range: &Range<u64>) -> Vec<u32> {
        let touched = self.table.chunks_of(range);
        touched.filter(|index| !self.held.contains(*index)).collect()
    }

    /// Whether all of `range` is held.
    pub(crate) fn holds(&self, range: &Range<u64>) -> bool {
        self.table.chunks_of(range).all(|index| self.held.contains(index))
    }

    fn known(&self, index: u32) -> Result<Rc<Known>, StoreError> {
        if let Some(known) = self.known.borrow().get(&index) {
            return Ok(Rc::clone(known));
        }
        let row = self.view.chunk_row(self.position(index), self.table_chunk(index))?;
        let known = Rc::new(Known {
            row,
            first_page: RefCell::default(),
        });
        self.known.borrow_mut().insert(index, Rc::clone(&known));
        Ok(known)
    }

    /// Calls `action` with a page of a held chunk.
    pub(crate) fn page<T>(
        &self,
        index: u32,
        page: u32,
        action: impl FnOnce(&CheckedPage<'_>) -> T,
    ) -> Result<T, StoreError> {
        let (position, chunk) = (self.position(index), self.table_chunk(index));
        let known = self.known(index)?;
        let keep = self.held.keep_of(index).unwrap_or(Keep::Holder);
        let (key, row) = self.view.page_row(position, page, keep)?;
        let damage = |reason: String| StoreError::from(Damage::new(keep.family(), reason).in_page(position, page));
        let parsed = rows::parse_page(&key, &row);
        let (stored, signatures) = parsed.ok_or_else(|| damage("signatures do not match their checksum".into()))?;
        let length = chunk.page_length(page);
        let plain = unpack(stored, length, || self.first_page(index, &known, page)).map_err(|error| match error {
            Unpack::Malformed(reason) => damage(reason),
            Unpack::Store(error) => error,
        })?;
        if length == 0 || known.row.page_roots.get(page as usize) != Some(&page_root(&plain)) {
            return Err(damage("page does not match its root".into()));
        }
        Ok(action(&CheckedPage {
            stored,
            plain: &plain,
            signatures,
            page_roots: &known.row.page_roots,
        }))
    }

    fn first_page(&self, index: u32, known: &Known, page: u32) -> Result<Rc<Vec<u8>>, StoreError> {
        if page == 0 {
            return Ok(Rc::default());
        }
        if let Some(first) = known.first_page.borrow().as_ref() {
            return Ok(Rc::clone(first));
        }
        let first = Rc::new(self.page(index, 0, |first| first.plain.to_vec())?);
        *known.first_page.borrow_mut() = Some(Rc::clone(&first));
        Ok(first)
    }

    /// Calls `action` with each page that `range` touches: where it begins in the body, and its content.
    fn for_each_page(
        &self,
        range: &Range<u64>,
        mut action: impl FnMut(u64, &[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let pages_per_chunk = u64::from(self.table.header().chunk_size) / PAGE_BYTES as u64;
        for number in range.start / PAGE_BYTES as u64..range.end.div_ceil(PAGE_BYTES as u64) {
            let (index, page) = ((number / pages_per_chunk) as u32, (number % pages_per_chunk) as u32);
            let start = number * PAGE_BYTES as u64;
            match self.plain.get(&index) {
                Some(chunk) => {
                    let from = page as usize * PAGE_BYTES;
                    let to = (from + PAGE_BYTES).min(chunk.bytes.len());
                    action(start, &chunk.bytes[from..to], &[])?;
                }
                None => {
                    self.page(index, page, |page| action(start, page.plain, page.signatures))??;
                }
            }
        }
        Ok(())
    }

    /// Bytes of the body, all of them held.
    pub(crate) fn bytes(&self, range: &Range<u64>) -> Result<Vec<u8>, StoreError> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        self.for_each_page(range, |start, plain, _| {
            bytes.extend(inside(range, start, plain));
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Bytes of the body, all of them held, and the signatures of the objects that end in them.
    pub(crate) fn piece(&self, range: &Range<u64>) -> Result<Piece, StoreError> {
        let mut piece = Piece {
            bytes: Vec::with_capacity((range.end - range.start) as usize),
            signatures: Vec::new(),
        };
        self.for_each_page(range, |start, plain, signatures| {
            piece.bytes.extend(inside(range, start, plain));
            let tagged = TaggedSignature::read_list(signatures, plain.len());
            let segment = self.table.header().segment;
            let tagged =
                tagged.map_err(|error| Damage::new(STORAGE_PAGES_CF, error.to_string()).in_segment(segment))?;
            let ends = tagged
                .iter()
                .map(|tagged| (start + u64::from(tagged.last) + 1, tagged.signature));
            piece
                .signatures
                .extend(ends.filter(|(end, _)| *end > range.start && *end <= range.end));
            Ok(())
        })?;
        Ok(piece)
    }

    /// The entry of a period, from the bytes it begins with or from a held chunk that it reaches into; `None` if none is held.
    pub(crate) fn entry(&self, period: u64) -> Result<Option<PeriodEntry>, StoreError> {
        let Some(range) = self.table.period_range(period) else {
            return Ok(None);
        };
        if let Some(entry) = self.entry_in_bytes(period, &range)? {
            return Ok(Some(entry));
        }
        let mut later = self.table.chunks_of(&range).skip(1);
        match later.find(|index| self.held.contains(*index)) {
            Some(index) => self.entry_reaching_into(index, period),
            None => Ok(None),
        }
    }

    fn entry_in_bytes(&self, period: u64, range: &Range<u64>) -> Result<Option<PeriodEntry>, StoreError> {
        let threads = self.table.header().threads;
        let longest = u64::from(PeriodEntry::max_length(threads));
        let mut wanted = range.start..(range.start + longest).min(range.end);
        let Some(first_missing) = self.not_held(&wanted).first().copied() else {
            return self.parse_entry(period, &wanted).map(Some);
        };
        // As far as it is held: the entry may be shorter than the longest one.
        wanted.end = self.table.chunk_range(first_missing).start;
        if wanted.end <= wanted.start {
            return Ok(None);
        }
        let bytes = self.bytes(&wanted)?;
        match PeriodEntry::read(&mut Reader::new(&bytes), threads) {
            Ok(entry) => Ok(Some(entry)),
            Err(EntryError::Truncated(_)) => Ok(None),
            Err(error) => Err(self.entry_damage(period, error.to_string())),
        }
    }

    fn parse_entry(&self, period: u64, range: &Range<u64>) -> Result<PeriodEntry, StoreError> {
        let bytes = self.bytes(range)?;
        let entry = PeriodEntry::read(&mut Reader::new(&bytes), self.table.header().threads);
        entry.map_err(|error| self.entry_damage(period, error.to_string()))
    }

    fn entry_damage(&self, period: u64, reason: String) -> StoreError {
        Damage::new(STORAGE_PAGES_CF, reason)
            .in_segment(self.table.header().segment)
            .in_period(period)
            .into()
    }

    /// The entry that is kept with a held chunk of the period that reaches into it.
    pub(crate) fn entry_reaching_into(&self, index: u32, period: u64) -> Result<Option<PeriodEntry>, StoreError> {
        if let Some(chunk) = self.plain.get(&index) {
            let reaching = chunk.reaching.as_ref().filter(|(found, _)| *found == period);
            return Ok(reaching.map(|(_, entry)| entry.clone()));
        }
        let known = self.known(index)?;
        let damage = |reason: String| Damage::new(STORAGE_CHUNKS_PREFIX, reason).in_chunk(self.position(index));
        let reaching = known.row.reaching.as_ref().filter(|reaching| reaching.period == period);
        let reaching = reaching.ok_or_else(|| damage(format!("the entry of period {period} is missing")))?;
        let entry = PeriodEntry::from_bytes(&reaching.entry, self.table.header().threads);
        Ok(Some(entry.map_err(|error| damage(error.to_string()))?))
    }

    /// Blocks of which a byte lies in a held chunk, in order.
    pub(crate) fn blocks_touching(&self, index: u32) -> Result<Vec<BlockAt>, StoreError> {
        let chunk = self.table.chunk_range(index);
        let mut blocks = Vec::new();
        for period in self.table.periods_of_chunk(index).unwrap_or_default() {
            // An entry that is not held whole begins in this chunk and ends in the next: no block begins here.
            let Some(entry) = self.entry(period)? else { continue };
            for block in self.blocks_of(period, &entry) {
                let touches = block.range.start < chunk.end && block.range.end > chunk.start;
                if touches {
                    blocks.push(block);
                }
            }
        }
        Ok(blocks)
    }

    /// The blocks of a period, in thread order.
    pub(crate) fn blocks_of(&self, period: u64, entry: &PeriodEntry) -> Vec<BlockAt> {
        let Some(bytes) = self.table.period_range(period) else {
            return Vec::new();
        };
        let length = (bytes.end - bytes.start) as u32;
        let ids = entry.ids().zip(0..).filter_map(|(id, thread)| Some((id?, thread)));
        let blocks = ids.filter_map(|(id, thread)| {
            let range = entry.block_range(thread, length)?;
            Some(BlockAt {
                slot: Slot::new(period, thread),
                id,
                range: bytes.start + u64::from(range.start)..bytes.start + u64::from(range.end),
            })
        });
        blocks.collect()
    }
}

/// The part of a page, which begins at `start` of the body, that lies in `range`.
fn inside<'p>(range: &Range<u64>, start: u64, page: &'p [u8]) -> &'p [u8] {
    let from = range.start.saturating_sub(start).min(page.len() as u64);
    let to = (range.end - start).min(page.len() as u64);
    &page[from as usize..to as usize]
}

/// Why a stored page gives no plain one.
pub(crate) enum Unpack {
    Malformed(String),
    Store(StoreError),
}

/// The page of a stored form; `first_page` gives the chunk's first page where the form needs it.
pub(crate) fn unpack(
    stored: &[u8],
    length: usize,
    first_page: impl FnOnce() -> Result<Rc<Vec<u8>>, StoreError>,
) -> Result<Cow<'_, [u8]>, Unpack> {
    let malformed = |error: StoredPageError| Unpack::Malformed(error.to_string());
    let stored = StoredPageView::from_bytes(stored).map_err(malformed)?;
    let first = if stored.needs_first_page() {
        first_page().map_err(Unpack::Store)?
    } else {
        Rc::default()
    };
    stored.unpack_after(&first, length).map_err(malformed)
}

impl View<'_> {
    /// The row of a held chunk, its page roots led to the chunk id.
    pub(crate) fn chunk_row(&self, position: ChunkPosition, chunk: TableChunk) -> Result<ChunkRow, StoreError> {
        let at = |damage: Damage| damage.in_chunk(position);
        let damage = |reason: &str| StoreError::from(at(Damage::new(STORAGE_CHUNKS_PREFIX, reason)));
        let row: Option<ChunkRow> = self.row(STORAGE_CHUNKS_PREFIX, &rows::chunk_key(position), &at)?;
        let row = row.ok_or_else(|| damage("row is missing"))?;
        check_roots(&row.page_roots, row.length, chunk).map_err(|reason| damage(&reason))?;
        Ok(row)
    }

    /// Key and row of a page.
    fn page_row(
        &self,
        position: ChunkPosition,
        page: u32,
        keep: Keep,
    ) -> Result<([u8; 12], DBPinnableSlice<'_>), StoreError> {
        let damage = |reason: &str| StoreError::from(Damage::new(keep.family(), reason).in_page(position, page));
        let key = rows::page_key(position, page);
        let row = self.raw(keep.family(), &key).map_err(|error| match error {
            StoreError::Damaged(found) => found.in_page(position, page).into(),
            other => other,
        })?;
        let row = row.ok_or_else(|| damage("page is missing"))?;
        Ok((key, row))
    }
}

/// Checks that page roots are those of a chunk.
pub(crate) fn check_roots(page_roots: &[Digest], length: u32, chunk: TableChunk) -> Result<(), String> {
    if length != chunk.length || page_roots.len() != chunk.page_count() as usize {
        return Err(format!(
            "{length} bytes in {} pages, expected {}",
            page_roots.len(),
            chunk.length
        ));
    }
    let id = ChunkId::from_bytes(root_of_hashes(page_roots.to_vec()));
    if id != chunk.id {
        return Err(format!("page roots lead to chunk {id}, expected {}", chunk.id));
    }
    Ok(())
}
