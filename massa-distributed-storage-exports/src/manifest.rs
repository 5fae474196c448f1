//! The manifest of a period: its shape, its places, its chunks.
//!
//! It is small and kept by every storage node for every retained period. The period root commits to all of it except
//! where each block begins, which whoever has the body can recompute.
//!
//! A period that nobody could complete before its segment was anchored is *lost*: its manifest has the ids and misses of its
//! places, no body and no chunks, and says so in its first byte, which is part of the period root.

use crate::bytes::{Reader, Truncated};
use crate::merkle::{leaf_hash, MerkleProof, MerkleTree};
use crate::record::{block_id_bytes, block_id_from_bytes};
use crate::types::{
    check_chunk_size, ArchiveParameters, ChunkId, ChunkIndex, Digest, PeriodRoot, LEAF_BYTES, MAX_CHUNKS_PER_PERIOD,
    PAGE_BYTES,
};
use massa_models::block_id::BlockId;

/// Version of the period body and of the manifest.
pub const ARCHIVE_FORMAT: u8 = 1;
/// The same of a lost period: the top bit says that it has no body.
pub const LOST_FORMAT: u8 = 0x80 | ARCHIVE_FORMAT;

/// A place (period, thread) of an archived period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The slot was missed.
    Miss,
    /// The final block of the slot.
    Block {
        /// Its id.
        id: BlockId,
        /// Where its entry begins in the period body.
        offset: u32,
        /// Blocks and operations that stand before it in the body: the number of its signature.
        objects_before: u32,
    },
    /// The final block of the slot, of which only the id is known: the period is lost.
    Lost {
        /// Its id.
        id: BlockId,
    },
}

impl Place {
    /// The block id, or `None` for a miss.
    pub fn block_id(&self) -> Option<BlockId> {
        match self {
            Place::Miss => None,
            Place::Block { id, .. } | Place::Lost { id } => Some(*id),
        }
    }
}

/// A chunk of an archived period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkEntry {
    /// Bytes, at least 1.
    pub length: u32,
    /// Root over the leaves.
    pub id: ChunkId,
}

impl ChunkEntry {
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

/// A leaf of the period tree. Each names its own position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeriodLeaf {
    /// The shape: the first leaf.
    Header(PeriodHeader),
    /// A place, in thread order.
    Place {
        /// Thread of the slot.
        thread: u8,
        /// The block, or `None` for a miss.
        block: Option<BlockId>,
    },
    /// A chunk, in body order.
    Chunk {
        /// Position in the body.
        index: ChunkIndex,
        /// Length and id.
        entry: ChunkEntry,
    },
}

/// Shape of a period archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeriodHeader {
    /// The chain.
    pub chain_id: u64,
    /// The period.
    pub period: u64,
    /// Places of the period.
    pub threads: u8,
    /// Bytes of each chunk but the last.
    pub chunk_size: u32,
    /// Bytes of the period body; 0 for a lost period.
    pub body_length: u64,
    /// Number of chunks; 0 for a lost period, and for no other.
    pub chunks: u32,
}

impl PeriodHeader {
    /// Whether the period is lost: its ids are known, and nobody had all of its blocks.
    pub fn is_lost(&self) -> bool {
        self.chunks == 0
    }

    fn format(&self) -> u8 {
        if self.is_lost() {
            LOST_FORMAT
        } else {
            ARCHIVE_FORMAT
        }
    }

    /// `format u8 | chain id u64 | period u64 | threads u8 | chunk_size u32 | body length u64 | chunks u32`
    fn write(&self, buffer: &mut Vec<u8>) {
        buffer.push(self.format());
        buffer.extend(self.chain_id.to_le_bytes());
        buffer.extend(self.period.to_le_bytes());
        buffer.push(self.threads);
        buffer.extend(self.chunk_size.to_le_bytes());
        buffer.extend(self.body_length.to_le_bytes());
        buffer.extend(self.chunks.to_le_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, ManifestError> {
        let format = reader.u8("format")?;
        if format != ARCHIVE_FORMAT && format != LOST_FORMAT {
            return Err(ManifestError::Format(format));
        }
        let header = Self {
            chain_id: reader.u64("chain id")?,
            period: reader.u64("period")?,
            threads: reader.u8("threads")?,
            chunk_size: reader.u32("chunk size")?,
            body_length: reader.u64("body length")?,
            chunks: reader.u32("chunks")?,
        };
        header.check(format == LOST_FORMAT)?;
        Ok(header)
    }

    /// The number of chunks follows from the body length, and is bounded before anything is allocated.
    fn check(&self, is_lost: bool) -> Result<(), ManifestError> {
        check_chunk_size(u64::from(self.chunk_size)).map_err(|_| ManifestError::Shape("chunk size"))?;
        let chunks = self.body_length.div_ceil(u64::from(self.chunk_size));
        if (chunks == 0) != is_lost || chunks > u64::from(MAX_CHUNKS_PER_PERIOD) || chunks != u64::from(self.chunks) {
            return Err(ManifestError::Shape("chunks"));
        }
        if self.threads == 0 {
            return Err(ManifestError::Shape("threads"));
        }
        Ok(())
    }
}

impl PeriodLeaf {
    /// Content of the leaf.
    ///
    /// ```text
    /// 01 | format u8 | chain id u64 | period u64 | threads u8 | chunk_size u32 | body length u64 | chunks u32
    /// 02 | thread u8 | 00                 a miss
    /// 02 | thread u8 | 01 | block id (33) a block
    /// 03 | index u32 | length u32 | chunk id (32)
    /// ```
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(48);
        match self {
            PeriodLeaf::Header(header) => {
                bytes.push(1);
                header.write(&mut bytes);
            }
            PeriodLeaf::Place { thread, block } => {
                bytes.extend([2, *thread, u8::from(block.is_some())]);
                if let Some(id) = block {
                    bytes.extend(block_id_bytes(id));
                }
            }
            PeriodLeaf::Chunk { index, entry } => {
                bytes.push(3);
                bytes.extend(index.0.to_le_bytes());
                bytes.extend(entry.length.to_le_bytes());
                bytes.extend(entry.id.as_bytes());
            }
        }
        bytes
    }

    /// Hash of the leaf.
    pub fn hash(&self) -> Digest {
        leaf_hash(&self.to_bytes())
    }
}

/// Why bytes are not a manifest.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// The bytes end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A format that this version does not know.
    #[error("archive format {0} is unknown, this version reads formats {ARCHIVE_FORMAT} and {LOST_FORMAT}")]
    Format(u8),
    /// A field contradicts the others.
    #[error("{0} contradicts the other fields")]
    Shape(&'static str),
    /// Bytes are left over.
    #[error("{0} bytes follow the last chunk")]
    TrailingBytes(usize),
}

/// The manifest of a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The shape.
    pub header: PeriodHeader,
    /// One for each thread, in order.
    pub places: Vec<Place>,
    /// In body order, at least one; none for a lost period.
    pub chunks: Vec<ChunkEntry>,
}

impl Manifest {
    /// The manifest of a lost period: `ids[thread]` is its block, or `None` for a miss.
    pub fn lost(parameters: &ArchiveParameters, period: u64, ids: &[Option<BlockId>]) -> Self {
        let place = |id: &Option<BlockId>| id.map_or(Place::Miss, |id| Place::Lost { id });
        Self {
            header: PeriodHeader {
                chain_id: parameters.chain_id,
                period,
                threads: parameters.thread_count,
                chunk_size: parameters.chunk_size,
                body_length: 0,
                chunks: 0,
            },
            places: ids.iter().map(place).collect(),
            chunks: Vec::new(),
        }
    }

    /// Whether the period is lost: [`PeriodHeader::is_lost`].
    pub fn is_lost(&self) -> bool {
        self.header.is_lost()
    }

    /// Binary form.
    ///
    /// ```text
    /// format u8 | chain id u64 | period u64 | threads u8 | chunk_size u32 | body length u64 | chunks u32
    /// each place: 00, or 01 | block id (33) | offset u32 | objects before u32
    /// each chunk: length u32 | chunk id (32)
    /// ```
    ///
    /// A lost period has format 81 (hexadecimal), body length and chunks 0, and places `00` or `01 | block id (33)`.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(34 + self.places.len() * 42 + self.chunks.len() * 36);
        self.header.write(&mut bytes);
        for place in &self.places {
            match place {
                Place::Miss => bytes.push(0),
                Place::Block {
                    id,
                    offset,
                    objects_before,
                } => {
                    bytes.push(1);
                    bytes.extend(block_id_bytes(id));
                    bytes.extend(offset.to_le_bytes());
                    bytes.extend(objects_before.to_le_bytes());
                }
                Place::Lost { id } => {
                    bytes.push(1);
                    bytes.extend(block_id_bytes(id));
                }
            }
        }
        for chunk in &self.chunks {
            bytes.extend(chunk.length.to_le_bytes());
            bytes.extend(chunk.id.as_bytes());
        }
        bytes
    }

    /// Reads the binary form; every field must fit the others.
    ///
    /// # Errors
    /// [`ManifestError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut reader = Reader::new(bytes);
        let header = PeriodHeader::read(&mut reader)?;
        let mut places = Vec::with_capacity(usize::from(header.threads));
        for _ in 0..header.threads {
            places.push(read_place(&mut reader, header.is_lost())?);
        }
        let mut chunks = Vec::with_capacity(header.chunks as usize);
        for _ in 0..header.chunks {
            let length = reader.u32("chunk length")?;
            let id = ChunkId::from_bytes(reader.array("chunk id")?);
            chunks.push(ChunkEntry { length, id });
        }
        if !reader.is_empty() {
            return Err(ManifestError::TrailingBytes(reader.remaining()));
        }
        let manifest = Self { header, places, chunks };
        manifest.check()?;
        Ok(manifest)
    }

    /// Checks chunk lengths and block offsets against the body length.
    fn check(&self) -> Result<(), ManifestError> {
        for (index, chunk) in self.chunks.iter().enumerate() {
            let start = index as u64 * u64::from(self.header.chunk_size);
            let expected = (self.header.body_length - start).min(u64::from(self.header.chunk_size));
            if u64::from(chunk.length) != expected {
                return Err(ManifestError::Shape("chunk length"));
            }
        }
        if self.is_lost() && self.places.iter().all(|place| *place == Place::Miss) {
            // A period without blocks has nothing that could be lost.
            return Err(ManifestError::Shape("places"));
        }
        let mut before: Option<(u32, u32)> = None;
        for place in &self.places {
            let Place::Block {
                offset, objects_before, ..
            } = *place
            else {
                continue;
            };
            let in_order = match before {
                None => objects_before == 0,
                Some((last_offset, last_objects)) => last_offset < offset && last_objects < objects_before,
            };
            if !in_order || u64::from(offset) >= self.header.body_length {
                return Err(ManifestError::Shape("block offset"));
            }
            before = Some((offset, objects_before));
        }
        Ok(())
    }

    /// The leaves of the period tree, in order.
    pub fn leaves(&self) -> impl Iterator<Item = PeriodLeaf> + '_ {
        let places = self.places.iter().zip(0..).map(|(place, thread)| PeriodLeaf::Place {
            thread,
            block: place.block_id(),
        });
        let chunks = self.chunks.iter().zip(0..).map(|(entry, index)| PeriodLeaf::Chunk {
            index: ChunkIndex(index),
            entry: *entry,
        });
        std::iter::once(PeriodLeaf::Header(self.header))
            .chain(places)
            .chain(chunks)
    }

    /// The period tree.
    pub fn tree(&self) -> MerkleTree {
        let hashes: Vec<Digest> = self.leaves().map(|leaf| leaf.hash()).collect();
        MerkleTree::new(&hashes)
    }

    /// The period root.
    pub fn root(&self) -> PeriodRoot {
        let hashes = self.leaves().map(|leaf| leaf.hash()).collect();
        PeriodRoot::from_bytes(crate::merkle::root_of_hashes(hashes))
    }

    /// The leaf of a place and its path to the period root; `None` if there is no such thread.
    pub fn prove_place(&self, thread: u8) -> Option<(PeriodLeaf, MerkleProof)> {
        let block = self.places.get(usize::from(thread))?.block_id();
        let path = self.tree().path(1 + u32::from(thread))?;
        Some((PeriodLeaf::Place { thread, block }, path))
    }

    /// The leaf of a chunk and its path to the period root; `None` if there is no such chunk.
    pub fn prove_chunk(&self, index: ChunkIndex) -> Option<(PeriodLeaf, MerkleProof)> {
        let entry = *self.chunks.get(index.0 as usize)?;
        let position = 1 + u32::from(self.header.threads) + index.0;
        let path = self.tree().path(position)?;
        Some((PeriodLeaf::Chunk { index, entry }, path))
    }

    /// Bytes of the body from which place `thread` is read: from its offset to the next block's, or to the end.
    /// `None` for a miss and for what is lost.
    pub fn block_range(&self, thread: u8) -> Option<std::ops::Range<u64>> {
        let offset = |place: &Place| match place {
            Place::Miss | Place::Lost { .. } => None,
            Place::Block { offset, .. } => Some(u64::from(*offset)),
        };
        let start = offset(self.places.get(usize::from(thread))?)?;
        let next = self.places[usize::from(thread) + 1..].iter().find_map(offset);
        Some(start..next.unwrap_or(self.header.body_length))
    }
}

fn read_place(reader: &mut Reader<'_>, is_lost: bool) -> Result<Place, ManifestError> {
    match reader.u8("place")? {
        0 => return Ok(Place::Miss),
        1 => {}
        _ => return Err(ManifestError::Shape("place")),
    }
    let id = block_id_from_bytes(&reader.array("block id")?).ok_or(ManifestError::Shape("block id"))?;
    if is_lost {
        return Ok(Place::Lost { id });
    }
    Ok(Place::Block {
        id,
        offset: reader.u32("block offset")?,
        objects_before: reader.u32("objects before")?,
    })
}
