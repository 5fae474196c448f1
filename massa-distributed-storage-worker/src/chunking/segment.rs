//! From periods to a segment: one stream of bytes, cut into chunks as it grows.
//!
//! Periods join in order ([`SegmentStream::push`]). A page is hashed as soon as it is whole, a chunk gets its id as soon as it is
//! full and is handed out ([`SegmentStream::take_finished`]); only the bytes of the unfinished chunk stay. When every period has
//! joined, [`SegmentStream::finish`] gives the table, and with it the root. A node that starts again takes the stream up from the
//! rows of the joined periods and the periods of the unfinished chunk ([`SegmentStream::resume`]).
//!
//! The same stream is used twice: while a segment is open, to know its chunk ids as early as possible, and when it is closed, to
//! write its chunks. Plain values; the store decides what is kept.

use super::objects::{objects_of, ChunkObject, IndexedObjects};
use super::page_root;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::leaf_proof::ChunkLeafProof;
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::{root_of_hashes, MerkleTree};
use massa_distributed_storage_exports::period::{EncodedPeriod, TaggedSignature};
use massa_distributed_storage_exports::record::RecordError;
use massa_distributed_storage_exports::segment_table::{
    SegmentHeader, SegmentTable, TableChunk, TableError, TablePeriod,
};
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES, PAGE_BYTES, PAGE_LEAVES};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, PeriodRoot};
use std::ops::Range;

/// Threads that hash the pages of a large period. Two keep RocksDB, not BLAKE3, the slower part; more would take cores from
/// consensus.
const HASH_THREADS: usize = 2;
/// Below this number of pages they are hashed on the calling thread: starting another one costs more.
const PARALLEL_PAGES: usize = 8;

/// Why a period does not join, or a segment does not close. The caller is at fault, or rows that were read back.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Periods join in order, each once.
    #[error("period {found} cannot join segment {segment}: period {expected} is next")]
    Order {
        /// The segment.
        segment: u64,
        /// The period that is next.
        expected: u64,
        /// The period given.
        found: u64,
    },
    /// Every period of the segment has joined.
    #[error("period {found} cannot join segment {segment}: its periods end before {end}")]
    Full {
        /// The segment.
        segment: u64,
        /// The first period after it.
        end: u64,
        /// The period given.
        found: u64,
    },
    /// Periods are missing.
    #[error("segment {segment} cannot be closed: period {next} has not joined")]
    Unfinished {
        /// The segment.
        segment: u64,
        /// The period that is next.
        next: u64,
    },
    /// The bytes of a period do not have the length or the root that its row tells.
    #[error("period {period} has {found_length} bytes and root {found}, its row says {length} bytes and root {root}")]
    OtherPeriod {
        /// The period.
        period: u64,
        /// Length in its row.
        length: u32,
        /// Root in its row.
        root: PeriodRoot,
        /// Length found.
        found_length: usize,
        /// Root found.
        found: PeriodRoot,
    },
    /// Not as many chunk ids as the joined periods fill.
    #[error("segment {segment}: {found} chunk ids for {expected} full chunks")]
    ChunkIds {
        /// The segment.
        segment: u64,
        /// Chunks that the joined periods fill.
        expected: u64,
        /// Ids given.
        found: usize,
    },
    /// The bytes of a period cannot be read as blocks.
    #[error("period {period} cannot be read")]
    Record {
        /// The period.
        period: u64,
        /// What is wrong.
        #[source]
        source: RecordError,
    },
    /// The segment is out of the range of its format.
    #[error(transparent)]
    Table(#[from] TableError),
}

/// The period that begins before a chunk and reaches into it: its entry is kept with the chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReachingIn {
    /// The period.
    pub period: u64,
    /// Where its bytes begin in the segment's body.
    pub start: u64,
    /// Its entry.
    pub entry: PeriodEntry,
}

/// A whole chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedChunk {
    /// Its number in the segment.
    pub index: u32,
    /// Length and id.
    pub row: TableChunk,
    /// Its bytes: each page but the last has 64 KiB.
    pub pages: Vec<Vec<u8>>,
    /// Root over the leaves of each page.
    pub page_roots: Vec<Digest>,
    /// For each page the signatures of the objects that end in it, ascending.
    pub signatures: Vec<Vec<TaggedSignature>>,
    /// The period that reaches in from before, if one does.
    pub reaching_in: Option<ReachingIn>,
    /// Blocks and operations whose first byte lies in the chunk, in the order of the bytes.
    pub objects: Vec<ChunkObject>,
}

/// What joining a period led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Joined {
    /// The period.
    pub period: u64,
    /// Its length and root.
    pub row: TablePeriod,
    /// Chunks that its bytes touch.
    pub chunks: Range<u32>,
    /// Ids of the chunks that it finished: the first of them is number [`Joined::first_finished`].
    pub finished: Vec<ChunkId>,
    /// Number of the first chunk that it finished, if it finished one; in any case the number of full chunks before it.
    pub first_finished: u32,
}

impl Joined {
    /// The chunk that the period's bytes end in and that is not full yet.
    pub fn filling(&self) -> Option<u32> {
        let next = self.first_finished + self.finished.len() as u32;
        self.chunks.contains(&next).then_some(next)
    }
}

/// The stream of one segment.
pub struct SegmentStream {
    /// Everything of the header but what is known at the end: body length, bytes before, previous root.
    shape: SegmentHeader,
    indexed: IndexedObjects,
    rows: Vec<TablePeriod>,
    chunk_ids: Vec<ChunkId>,
    length: u64,
    filling: Filling,
    finished: Vec<FinishedChunk>,
}

/// The unfinished chunk, and during a push the chunks after it.
#[derive(Default)]
struct Filling {
    /// The last one may be unfinished.
    pages: Vec<Vec<u8>>,
    /// Of the full pages.
    roots: Vec<Digest>,
    /// For each page.
    signatures: Vec<Vec<TaggedSignature>>,
    objects: Vec<ChunkObject>,
    reaching_in: Option<ReachingIn>,
}

impl SegmentStream {
    /// The empty stream of a segment; `indexed` says which objects [`FinishedChunk::objects`] names.
    pub fn new(parameters: &ArchiveParameters, segment: u64, indexed: IndexedObjects) -> Self {
        Self {
            shape: SegmentHeader {
                chain_id: parameters.chain_id,
                segment,
                first_period: parameters.segment_start(segment),
                // At most 256, as parameters are checked.
                periods: parameters.segment_length(segment) as u32,
                threads: parameters.thread_count,
                chunk_size: parameters.chunk_size,
                body_length: 0,
                bytes_before: 0,
                previous: [0; 32],
            },
            indexed,
            rows: Vec::new(),
            chunk_ids: Vec::new(),
            length: 0,
            filling: Filling::default(),
            finished: Vec::new(),
        }
    }

    /// Takes the stream up: `rows` are the joined periods, `chunk_ids` the ids of the chunks that they fill, `unfinished` the
    /// periods from [`first_unfinished`] on. Costs nothing that grows with the bytes before the unfinished chunk.
    ///
    /// # Errors
    /// [`StreamError::ChunkIds`], [`StreamError::Unfinished`], [`StreamError::OtherPeriod`]: rows and periods do not belong
    /// together. [`StreamError::Full`]: more rows than periods.
    pub fn resume(
        mut self,
        rows: Vec<TablePeriod>,
        chunk_ids: Vec<ChunkId>,
        unfinished: &[EncodedPeriod],
    ) -> Result<Self, StreamError> {
        let segment = self.shape.segment;
        if rows.len() > self.shape.periods as usize {
            let end = self.shape.end_period();
            return Err(StreamError::Full {
                segment,
                end,
                found: end,
            });
        }
        let total: u64 = rows.iter().map(|row| u64::from(row.length)).sum();
        let expected = total / self.chunk_size();
        if chunk_ids.len() as u64 != expected {
            let found = chunk_ids.len();
            return Err(StreamError::ChunkIds {
                segment,
                expected,
                found,
            });
        }
        let (first, start) = first_unfinished(self.shape.chunk_size, &rows);
        if rows.len() - first != unfinished.len() {
            let next = self.shape.first_period + (first + unfinished.len()) as u64;
            return Err(StreamError::Unfinished { segment, next });
        }
        self.chunk_ids = chunk_ids;
        self.length = start;
        self.rows.extend(&rows[..first]);
        for (period, row) in unfinished.iter().zip(&rows[first..]) {
            self.check_row(period, row)?;
            self.push(period)?;
        }
        Ok(self)
    }

    /// Begins with a chunk of a segment whose table is known: the period that is next is the first one that reaches into it. For
    /// cutting some chunks without reading what comes before.
    ///
    /// # Errors
    /// [`StreamError::Unfinished`]: the table has no such chunk.
    pub fn begin_at(mut self, table: &SegmentTable, chunk: u32) -> Result<Self, StreamError> {
        let Some(periods) = table.periods_of_chunk(chunk) else {
            return Err(StreamError::Unfinished {
                segment: self.shape.segment,
                next: table.header().end_period(),
            });
        };
        let before = (periods.start - table.header().first_period) as usize;
        self.rows = table.periods()[..before].to_vec();
        self.length = self.rows.iter().map(|row| u64::from(row.length)).sum();
        self.chunk_ids = table.chunk_ids()[..chunk as usize].to_vec();
        Ok(self)
    }

    fn check_row(&self, period: &EncodedPeriod, row: &TablePeriod) -> Result<(), StreamError> {
        let found = period.entry.root(self.shape.chain_id, period.period);
        if period.bytes.len() == row.length as usize && found == row.root {
            return Ok(());
        }
        Err(StreamError::OtherPeriod {
            period: period.period,
            length: row.length,
            root: row.root,
            found_length: period.bytes.len(),
            found,
        })
    }

    /// Joins the next period. Costs one copy and one hash of its bytes.
    ///
    /// # Errors
    /// [`StreamError::Order`], [`StreamError::Full`], [`StreamError::Record`]; nothing changes then.
    pub fn push(&mut self, period: &EncodedPeriod) -> Result<Joined, StreamError> {
        self.check_next(period.period)?;
        let (size, start) = (self.chunk_size(), self.length);
        // Only the first period of a resumed stream has bytes before the unfinished chunk.
        let from = self.filling_start().max(start);
        let objects = objects_of(self.indexed, period, start).map_err(|source| StreamError::Record {
            period: period.period,
            source,
        })?;
        let row = TablePeriod {
            length: period.bytes.len() as u32,
            root: period.entry.root(self.shape.chain_id, period.period),
        };
        let first_finished = self.chunk_ids.len() as u32;
        self.rows.push(row);
        self.length += u64::from(row.length);
        let filling_start = self.filling_start();
        if start < filling_start {
            self.filling.reaching_in = Some(reaching_in(period, start));
        }
        self.filling.append(&period.bytes[(from - start) as usize..]);
        self.filling.add_signatures(filling_start, start, period);
        let objects = objects.into_iter().filter(|object| object.start >= filling_start);
        self.filling.objects.extend(objects);
        self.cut(period, start);
        Ok(Joined {
            period: period.period,
            row,
            chunks: (start / size) as u32..self.length.div_ceil(size) as u32,
            finished: self.chunk_ids[first_finished as usize..].to_vec(),
            first_finished,
        })
    }

    fn check_next(&self, found: u64) -> Result<(), StreamError> {
        let (segment, expected) = (self.shape.segment, self.next_period());
        if self.is_complete() {
            let end = expected;
            return Err(StreamError::Full { segment, end, found });
        }
        if found != expected {
            return Err(StreamError::Order {
                segment,
                expected,
                found,
            });
        }
        Ok(())
    }

    /// Takes the full chunks out of the unfinished one, in which `period` stands from `start` of the body on.
    fn cut(&mut self, period: &EncodedPeriod, start: u64) {
        let pages = self.shape.chunk_size as usize / PAGE_BYTES;
        while self.filling.roots.len() >= pages {
            let border = self.filling_start() + self.chunk_size();
            let rest = self.filling.split_off(pages, border);
            let full = std::mem::replace(&mut self.filling, rest);
            if start < border && border < self.length {
                self.filling.reaching_in = Some(reaching_in(period, start));
            }
            self.hand_out(full);
        }
    }

    fn hand_out(&mut self, full: Filling) {
        let chunk = full.finish(self.chunk_ids.len() as u32);
        self.chunk_ids.push(chunk.row.id);
        self.finished.push(chunk);
    }

    fn chunk_size(&self) -> u64 {
        u64::from(self.shape.chunk_size)
    }

    /// Where the unfinished chunk begins in the body.
    fn filling_start(&self) -> u64 {
        self.chunk_ids.len() as u64 * self.chunk_size()
    }

    /// The segment.
    pub fn segment(&self) -> u64 {
        self.shape.segment
    }

    /// The period that joins next; the first period after the segment when all have joined.
    pub fn next_period(&self) -> u64 {
        self.shape.first_period + self.rows.len() as u64
    }

    /// Whether every period has joined.
    pub fn is_complete(&self) -> bool {
        self.rows.len() == self.shape.periods as usize
    }

    /// Bytes of the joined periods.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The joined periods.
    pub fn rows(&self) -> &[TablePeriod] {
        &self.rows
    }

    /// Ids of the full chunks.
    pub fn chunk_ids(&self) -> &[ChunkId] {
        &self.chunk_ids
    }

    /// The full chunks that were not taken yet, in order.
    pub fn take_finished(&mut self) -> Vec<FinishedChunk> {
        std::mem::take(&mut self.finished)
    }

    /// Closes the segment: its table, and every chunk that was not taken, the last one included, which may be shorter.
    ///
    /// `previous` is the root of the segment before, zeros for the first; `bytes_before` counts the bodies of all segments
    /// before. Costs one hash for each leaf of the table.
    ///
    /// # Errors
    /// [`StreamError::Unfinished`], [`StreamError::Table`].
    pub fn finish(
        mut self,
        previous: Digest,
        bytes_before: u64,
    ) -> Result<(SegmentTable, Vec<FinishedChunk>), StreamError> {
        if !self.is_complete() {
            return Err(StreamError::Unfinished {
                segment: self.shape.segment,
                next: self.next_period(),
            });
        }
        let last = std::mem::take(&mut self.filling);
        if !last.pages.is_empty() {
            self.hand_out(last);
        }
        let header = SegmentHeader {
            body_length: self.length,
            bytes_before,
            previous,
            ..self.shape
        };
        let table = SegmentTable::new(header, self.rows, self.chunk_ids)?;
        Ok((table, self.finished))
    }
}

/// The first of the joined periods whose bytes reach into the unfinished chunk, as an index into `rows`, and where it begins in
/// the body; the number of rows and their length if none does.
pub fn first_unfinished(chunk_size: u32, rows: &[TablePeriod]) -> (usize, u64) {
    let mut start: u64 = rows.iter().map(|row| u64::from(row.length)).sum();
    let filling_start = start - start % u64::from(chunk_size);
    let mut first = rows.len();
    while start > filling_start {
        first -= 1;
        start -= u64::from(rows[first].length);
    }
    (first, start)
}

fn reaching_in(period: &EncodedPeriod, start: u64) -> ReachingIn {
    ReachingIn {
        period: period.period,
        start,
        entry: period.entry.clone(),
    }
}

impl Filling {
    /// Appends bytes and hashes the pages that they fill.
    fn append(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.pages.last().map_or(true, |page| page.len() == PAGE_BYTES) {
                self.pages.push(Vec::with_capacity(PAGE_BYTES));
                self.signatures.push(Vec::new());
            }
            let page = self.pages.last_mut().expect("a page was pushed");
            let (now, later) = bytes.split_at(bytes.len().min(PAGE_BYTES - page.len()));
            page.extend(now);
            bytes = later;
        }
        let whole = |page: &&Vec<u8>| page.len() == PAGE_BYTES;
        let full = self.pages.iter().filter(whole).count();
        self.roots.extend(page_roots(&self.pages[self.roots.len()..full]));
    }

    /// Puts the signatures of a period that begins at `start` of the body beside the pages in which their objects end.
    fn add_signatures(&mut self, filling_start: u64, start: u64, period: &EncodedPeriod) {
        for signature in &period.signatures {
            let end = start + u64::from(signature.end);
            if end <= filling_start {
                continue;
            }
            let page = (end - 1 - filling_start) / PAGE_BYTES as u64;
            self.signatures[page as usize].push(TaggedSignature::of_object(end, signature.signature));
        }
    }

    /// What comes after the first `pages` pages, which end at `border` of the body.
    fn split_off(&mut self, pages: usize, border: u64) -> Self {
        let objects = self.objects.partition_point(|object| object.start < border);
        Self {
            pages: self.pages.split_off(pages),
            roots: self.roots.split_off(pages),
            signatures: self.signatures.split_off(pages),
            objects: self.objects.split_off(objects),
            reaching_in: None,
        }
    }

    fn finish(mut self, index: u32) -> FinishedChunk {
        self.roots.extend(page_roots(&self.pages[self.roots.len()..]));
        let row = TableChunk {
            length: self.pages.iter().map(|page| page.len() as u32).sum(),
            id: ChunkId::from_bytes(root_of_hashes(self.roots.clone())),
        };
        FinishedChunk {
            index,
            row,
            pages: self.pages,
            page_roots: self.roots,
            signatures: self.signatures,
            reaching_in: self.reaching_in,
            objects: self.objects,
        }
    }
}

/// Root of each page; many are hashed on [`HASH_THREADS`] threads.
fn page_roots(pages: &[Vec<u8>]) -> Vec<Digest> {
    if pages.len() < PARALLEL_PAGES {
        return pages.iter().map(|page| page_root(page)).collect();
    }
    let roots_of = |pages: &[Vec<u8>]| pages.iter().map(|page| page_root(page)).collect::<Vec<_>>();
    let (own, other) = pages.split_at(pages.len().div_ceil(HASH_THREADS));
    std::thread::scope(|scope| {
        let other = scope.spawn(move || roots_of(other));
        let mut roots = roots_of(own);
        roots.extend(other.join().expect("hashing does not panic"));
        roots
    })
}

/// Proves leaf `index` of a chunk from the page that holds it, `index / 64`, and the roots of all its pages: one page is read and
/// hashed. The proof leads to the chunk id. `None` if the leaf does not exist.
pub fn prove_leaf(page_roots: &[Digest], page: &[u8], index: u32) -> Option<ChunkLeafProof> {
    let bytes = page.chunks(LEAF_BYTES).nth(index as usize % PAGE_LEAVES)?.to_vec();
    let inner = MerkleTree::new(&leaf_hashes(page)).path(index % PAGE_LEAVES as u32)?;
    let outer = MerkleTree::new(page_roots).path(index / PAGE_LEAVES as u32)?;
    Some(ChunkLeafProof {
        index,
        bytes,
        path: super::join_paths(inner, outer),
    })
}
