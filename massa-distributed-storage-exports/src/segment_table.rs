//! The segment: one stream of bytes, one root, one table.
//!
//! The *body* of a segment is the bytes of its periods, in order; chunks are cut from it. The *table* says what the segment's
//! root commits to: its shape, length and root of each period, length and id of each chunk. Every storage node keeps the table
//! of every segment. Offsets are sums of lengths. Segments form a chain: with one trusted root, `previous` makes every older one
//! trusted.
//!
//! ```text
//! header   01 | format u8 (2) | chain id u64 | segment u64 | first period u64 | periods u32 | threads u8 | chunk_size u32 |
//!          body length u64 | bytes of all segments before u64 | previous segment root (32)
//! period   02 | period u64 | length u32 | period root (32)          one leaf for each period, in order
//! chunk    03 | index u32 | length u32 | chunk id (32)              one leaf for each chunk, in order
//! ```

use crate::bytes::{Reader, Truncated};
use crate::merkle::{leaf_hash, root_of_hashes, MerkleProof, MerkleTree};
use crate::types::{
    check_chunk_size, ArchiveParameters, ChunkId, Digest, PeriodRoot, SegmentRoot, LEAF_BYTES, MAX_SEGMENTS,
    MAX_SEGMENT_LEAVES, PAGE_BYTES,
};
use std::ops::Range;

/// Version of the archive's bytes.
pub const SEGMENT_FORMAT: u8 = 2;
/// Bytes of the header: the content of its leaf without the kind byte.
pub const HEADER_BYTES: usize = 1 + 8 + 8 + 8 + 4 + 1 + 4 + 8 + 8 + 32;
/// Bytes of a period in the table.
const PERIOD_BYTES: usize = 4 + 32;
/// Bytes of a chunk in the table: its length follows from the header.
const CHUNK_BYTES: usize = 32;

/// Shape of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The chain.
    pub chain_id: u64,
    /// Number of the segment: segment s begins at period s · `segment_periods`.
    pub segment: u64,
    /// First archived period.
    pub first_period: u64,
    /// Number of periods, at least 1.
    pub periods: u32,
    /// Slots of a period.
    pub threads: u8,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Bytes of the body, at least one for each period.
    pub body_length: u64,
    /// Bytes of the bodies of all segments before.
    pub bytes_before: u64,
    /// Root of the segment before; zeros for the first of an archive.
    pub previous: Digest,
}

impl SegmentHeader {
    /// Chunks of the body.
    pub fn chunk_count(&self) -> u32 {
        self.body_length.div_ceil(u64::from(self.chunk_size)) as u32
    }

    /// Bytes of chunk `index`; 0 beyond the last one.
    pub fn chunk_length(&self, index: u32) -> u32 {
        let start = u64::from(index) * u64::from(self.chunk_size);
        self.body_length.saturating_sub(start).min(u64::from(self.chunk_size)) as u32
    }

    /// The first period after the segment.
    pub fn end_period(&self) -> u64 {
        self.first_period + u64::from(self.periods)
    }

    /// Appends the content of the header's leaf without its kind byte.
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(SEGMENT_FORMAT);
        bytes.extend(self.chain_id.to_le_bytes());
        bytes.extend(self.segment.to_le_bytes());
        bytes.extend(self.first_period.to_le_bytes());
        bytes.extend(self.periods.to_le_bytes());
        bytes.push(self.threads);
        bytes.extend(self.chunk_size.to_le_bytes());
        bytes.extend(self.body_length.to_le_bytes());
        bytes.extend(self.bytes_before.to_le_bytes());
        bytes.extend(self.previous);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, TableError> {
        let format = reader.u8("format")?;
        if format != SEGMENT_FORMAT {
            return Err(TableError::Format(format));
        }
        let header = Self {
            chain_id: reader.u64("chain id")?,
            segment: reader.u64("segment")?,
            first_period: reader.u64("first period")?,
            periods: reader.u32("periods")?,
            threads: reader.u8("threads")?,
            chunk_size: reader.u32("chunk size")?,
            body_length: reader.u64("body length")?,
            bytes_before: reader.u64("bytes before")?,
            previous: reader.array("previous root")?,
        };
        header.check()?;
        Ok(header)
    }

    /// Every range, so that the number of leaves is bounded before anything is allocated and no sum overflows.
    fn check(&self) -> Result<(), TableError> {
        check_chunk_size(u64::from(self.chunk_size)).map_err(|_| TableError::Shape("chunk size"))?;
        if self.threads == 0 {
            return Err(TableError::Shape("threads"));
        }
        if self.segment >= MAX_SEGMENTS {
            return Err(TableError::Shape("segment"));
        }
        let chunks = self.body_length.div_ceil(u64::from(self.chunk_size));
        let leaves = chunks.saturating_add(u64::from(self.periods)).saturating_add(1);
        if self.periods == 0 || leaves > u64::from(MAX_SEGMENT_LEAVES) {
            return Err(TableError::Shape("periods"));
        }
        let end = self.first_period.checked_add(u64::from(self.periods));
        end.ok_or(TableError::Shape("first period"))?;
        let total = self.bytes_before.checked_add(self.body_length);
        total.ok_or(TableError::Shape("bytes before"))?;
        Ok(())
    }
}

/// A period of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TablePeriod {
    /// Bytes of the period, entry included.
    pub length: u32,
    /// Its root.
    pub root: PeriodRoot,
}

/// Length and id of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableChunk {
    /// Bytes, at least 1.
    pub length: u32,
    /// Root over the leaves.
    pub id: ChunkId,
}

impl TableChunk {
    /// Leaves of the chunk.
    pub fn leaf_count(&self) -> u32 {
        self.length.div_ceil(LEAF_BYTES as u32)
    }

    /// Pages of the chunk.
    pub fn page_count(&self) -> u32 {
        self.length.div_ceil(PAGE_BYTES as u32)
    }

    /// Bytes of page `page`; 0 beyond the last one.
    pub fn page_length(&self, page: u32) -> usize {
        let start = u64::from(page) * PAGE_BYTES as u64;
        u64::from(self.length).saturating_sub(start).min(PAGE_BYTES as u64) as usize
    }
}

/// A leaf of a segment's tree. Each names its own position, so following its path is enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentLeaf {
    /// The shape: the first leaf.
    Header(SegmentHeader),
    /// A period.
    Period {
        /// The period.
        period: u64,
        /// Length and root.
        row: TablePeriod,
    },
    /// A chunk.
    Chunk {
        /// Its number in the segment.
        index: u32,
        /// Length and id.
        row: TableChunk,
    },
}

impl SegmentLeaf {
    /// Content of the leaf, as the module draws it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(1 + HEADER_BYTES);
        match self {
            SegmentLeaf::Header(header) => {
                bytes.push(1);
                header.write(&mut bytes);
            }
            SegmentLeaf::Period { period, row } => {
                bytes.push(2);
                bytes.extend(period.to_le_bytes());
                bytes.extend(row.length.to_le_bytes());
                bytes.extend(row.root.as_bytes());
            }
            SegmentLeaf::Chunk { index, row } => {
                bytes.push(3);
                bytes.extend(index.to_le_bytes());
                bytes.extend(row.length.to_le_bytes());
                bytes.extend(row.id.as_bytes());
            }
        }
        bytes
    }

    /// Hash of the leaf.
    pub fn hash(&self) -> Digest {
        leaf_hash(&self.to_bytes())
    }
}

/// Why bytes are not the table of a segment.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The bytes end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A format that this version does not know.
    #[error("archive format {0} is unknown, this version reads format {SEGMENT_FORMAT}")]
    Format(u8),
    /// A field contradicts the others, or is out of its range.
    #[error("{0} of the segment contradicts the other fields or is out of its range")]
    Shape(&'static str),
    /// The lengths of the periods do not add up to the length of the body.
    #[error("the periods have {found} bytes, the body {expected}")]
    Lengths {
        /// Bytes of the body.
        expected: u64,
        /// Sum over the periods.
        found: u64,
    },
    /// The segment is not one of this network.
    #[error("{field}: {found}, in this network {expected}")]
    OtherNetwork {
        /// The field.
        field: &'static str,
        /// Value of the network.
        expected: u64,
        /// Value of the table.
        found: u64,
    },
    /// Bytes are left over.
    #[error("{0} bytes follow the last chunk")]
    TrailingBytes(usize),
}

/// The table of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentTable {
    header: SegmentHeader,
    periods: Vec<TablePeriod>,
    chunk_ids: Vec<ChunkId>,
}

impl SegmentTable {
    /// A table of these parts, which must fit each other.
    ///
    /// # Errors
    /// [`TableError::Shape`], [`TableError::Lengths`].
    pub fn new(header: SegmentHeader, periods: Vec<TablePeriod>, chunk_ids: Vec<ChunkId>) -> Result<Self, TableError> {
        header.check()?;
        if periods.len() != header.periods as usize {
            return Err(TableError::Shape("periods"));
        }
        if chunk_ids.len() != header.chunk_count() as usize {
            return Err(TableError::Shape("chunks"));
        }
        if periods.iter().any(|row| row.length == 0) {
            return Err(TableError::Shape("period length"));
        }
        let found = periods.iter().map(|row| u64::from(row.length)).sum();
        if found != header.body_length {
            return Err(TableError::Lengths {
                expected: header.body_length,
                found,
            });
        }
        Ok(Self {
            header,
            periods,
            chunk_ids,
        })
    }

    /// The shape.
    pub fn header(&self) -> &SegmentHeader {
        &self.header
    }

    /// One for each period, in order.
    pub fn periods(&self) -> &[TablePeriod] {
        &self.periods
    }

    /// Ids of the chunks, in order.
    pub fn chunk_ids(&self) -> &[ChunkId] {
        &self.chunk_ids
    }

    /// Length and id of a chunk; `None` if there is no such chunk.
    pub fn chunk(&self, index: u32) -> Option<TableChunk> {
        let id = *self.chunk_ids.get(index as usize)?;
        let length = self.header.chunk_length(index);
        Some(TableChunk { length, id })
    }

    /// Every chunk, in order.
    pub fn chunks(&self) -> impl Iterator<Item = TableChunk> + '_ {
        self.chunk_ids.iter().zip(0..).map(|(id, index)| TableChunk {
            length: self.header.chunk_length(index),
            id: *id,
        })
    }

    /// Length and root of a period; `None` if it is not in the segment.
    pub fn period(&self, period: u64) -> Option<TablePeriod> {
        let index = period.checked_sub(self.header.first_period)?;
        self.periods.get(usize::try_from(index).ok()?).copied()
    }

    /// Where the bytes of a period stand in the body; `None` if it is not in the segment. Adds up the lengths before it.
    pub fn period_range(&self, period: u64) -> Option<Range<u64>> {
        let index = usize::try_from(period.checked_sub(self.header.first_period)?).ok()?;
        let length = u64::from(self.periods.get(index)?.length);
        let start = self.periods[..index].iter().map(|row| u64::from(row.length)).sum();
        Some(start..start + length)
    }

    /// The period in which byte `offset` of the body stands, and where its bytes begin; `None` beyond the body.
    pub fn period_at(&self, offset: u64) -> Option<(u64, u64)> {
        let mut start = 0;
        for (row, period) in self.periods.iter().zip(self.header.first_period..) {
            if offset < start + u64::from(row.length) {
                return Some((period, start));
            }
            start += u64::from(row.length);
        }
        None
    }

    /// Where the bytes of a chunk stand in the body; empty beyond the last chunk.
    pub fn chunk_range(&self, index: u32) -> Range<u64> {
        let start = u64::from(index) * u64::from(self.header.chunk_size);
        start..start + u64::from(self.header.chunk_length(index))
    }

    /// Chunks that bytes of the body touch.
    pub fn chunks_of(&self, bytes: &Range<u64>) -> Range<u32> {
        let size = u64::from(self.header.chunk_size);
        if bytes.is_empty() {
            return 0..0;
        }
        (bytes.start / size) as u32..(bytes.end.div_ceil(size) as u32).min(self.header.chunk_count())
    }

    /// Periods that a chunk touches; `None` if there is no such chunk.
    pub fn periods_of_chunk(&self, index: u32) -> Option<Range<u64>> {
        let range = self.chunk_range(index);
        let (first, _) = self.period_at(range.start)?;
        let (last, _) = self.period_at(range.end.checked_sub(1)?)?;
        Some(first..last + 1)
    }

    /// The period whose bytes begin before a chunk and reach into it, if one does: its entry is kept with the chunk.
    pub fn period_reaching_into(&self, index: u32) -> Option<u64> {
        let start = self.chunk_range(index).start;
        let (period, begins) = self.period_at(start)?;
        (begins < start).then_some(period)
    }

    /// Checks that this is the table of `segment` in the archive of a network, as far as that is known without its root.
    ///
    /// # Errors
    /// [`TableError::OtherNetwork`], naming the field.
    pub fn check_network(&self, parameters: &ArchiveParameters, segment: u64) -> Result<(), TableError> {
        let header = &self.header;
        let fields = [
            ("chain_id", parameters.chain_id, header.chain_id),
            ("segment", segment, header.segment),
            ("first_period", parameters.segment_start(segment), header.first_period),
            ("periods", parameters.segment_length(segment), u64::from(header.periods)),
            (
                "thread_count",
                u64::from(parameters.thread_count),
                u64::from(header.threads),
            ),
            (
                "chunk_size",
                u64::from(parameters.chunk_size),
                u64::from(header.chunk_size),
            ),
        ];
        match fields.into_iter().find(|(_, expected, found)| expected != found) {
            None => Ok(()),
            Some((field, expected, found)) => Err(TableError::OtherNetwork { field, expected, found }),
        }
    }

    fn leaf_hashes(&self) -> Vec<Digest> {
        let periods = self.periods.iter().zip(self.header.first_period..);
        let chunks = self.chunks().zip(0..);
        std::iter::once(SegmentLeaf::Header(self.header).hash())
            .chain(periods.map(|(row, period)| SegmentLeaf::Period { period, row: *row }.hash()))
            .chain(chunks.map(|(row, index)| SegmentLeaf::Chunk { index, row }.hash()))
            .collect()
    }

    /// The segment root. Costs one hash for each leaf and each inner node.
    pub fn root(&self) -> SegmentRoot {
        SegmentRoot::from_bytes(root_of_hashes(self.leaf_hashes()))
    }

    /// The tree, for paths.
    pub fn tree(&self) -> SegmentTree {
        SegmentTree {
            first_period: self.header.first_period,
            periods: self.header.periods,
            chunks: self.header.chunk_count(),
            tree: MerkleTree::new(&self.leaf_hashes()),
        }
    }

    /// Binary form, kept and sent. Lengths of chunks follow from the header.
    ///
    /// ```text
    /// header (82), its leaf without the kind byte | each period: length u32 | period root (32) | each chunk: chunk id (32)
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let length = HEADER_BYTES + self.periods.len() * PERIOD_BYTES + self.chunk_ids.len() * CHUNK_BYTES;
        let mut bytes = Vec::with_capacity(length);
        self.header.write(&mut bytes);
        for row in &self.periods {
            bytes.extend(row.length.to_le_bytes());
            bytes.extend(row.root.as_bytes());
        }
        for id in &self.chunk_ids {
            bytes.extend(id.as_bytes());
        }
        bytes
    }

    /// Bytes of the binary form of a table with this header.
    pub fn length_of(header: &SegmentHeader) -> usize {
        HEADER_BYTES + header.periods as usize * PERIOD_BYTES + header.chunk_count() as usize * CHUNK_BYTES
    }

    /// Reads only the header of the binary form.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn header_of(bytes: &[u8]) -> Result<SegmentHeader, TableError> {
        SegmentHeader::read(&mut Reader::new(bytes))
    }

    /// Reads the binary form; every field must fit the others. That it is true, only its root tells.
    ///
    /// # Errors
    /// [`TableError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TableError> {
        let mut reader = Reader::new(bytes);
        let header = SegmentHeader::read(&mut reader)?;
        let mut periods = Vec::with_capacity(header.periods as usize);
        for _ in 0..header.periods {
            periods.push(TablePeriod {
                length: reader.u32("period length")?,
                root: PeriodRoot::from_bytes(reader.array("period root")?),
            });
        }
        let mut chunk_ids = Vec::with_capacity(header.chunk_count() as usize);
        for _ in 0..header.chunk_count() {
            chunk_ids.push(ChunkId::from_bytes(reader.array("chunk id")?));
        }
        if !reader.is_empty() {
            return Err(TableError::TrailingBytes(reader.remaining()));
        }
        Self::new(header, periods, chunk_ids)
    }
}

/// The tree of a segment.
pub struct SegmentTree {
    first_period: u64,
    periods: u32,
    chunks: u32,
    tree: MerkleTree,
}

impl SegmentTree {
    /// The segment root.
    pub fn root(&self) -> SegmentRoot {
        SegmentRoot::from_bytes(self.tree.root())
    }

    /// The path of the header.
    pub fn header_path(&self) -> MerkleProof {
        self.tree.path(0).expect("a segment has a header")
    }

    /// The path of a period; `None` if it is not in the segment.
    pub fn period_path(&self, period: u64) -> Option<MerkleProof> {
        let index = u32::try_from(period.checked_sub(self.first_period)?).ok()?;
        (index < self.periods).then(|| self.tree.path(1 + index))?
    }

    /// The path of a chunk; `None` if there is no such chunk.
    pub fn chunk_path(&self, index: u32) -> Option<MerkleProof> {
        (index < self.chunks).then(|| self.tree.path(1 + self.periods + index))?
    }
}
