//! The chunking engine: period → body → pages and chunks → manifest, and proofs of single leaves.
//!
//! Plain functions over values; the store decides what is kept.

pub mod objects;
pub mod segment;

use massa_distributed_storage_exports::body::{objects_ending_by, BodyError, BodyHeader, PeriodBody};
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, PeriodHeader};
use massa_distributed_storage_exports::merkle::{root_of_hashes, MerkleProof};
use massa_distributed_storage_exports::proof::ChunkLeafProof;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::{Digest, MAX_CHUNKS_PER_PERIOD, PAGE_BYTES};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkIndex, DataChunk};

/// Threads that hash the pages of a large body. Two keep RocksDB, not BLAKE3, the slower part; more would take cores
/// from consensus.
const HASH_THREADS: usize = 2;
/// Bodies below this size are hashed on the calling thread: starting another one costs more.
const PARALLEL_BODY_BYTES: usize = 8 * PAGE_BYTES;

/// Why a period cannot be archived.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChunkingError {
    /// A record is not a block of its place.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// More chunks than a position can name.
    #[error("period {period} has {bytes} bytes, {max} fit")]
    TooManyChunks {
        /// The period.
        period: u64,
        /// Bytes of its body.
        bytes: usize,
        /// Bytes that 256 chunks hold.
        max: u64,
    },
}

/// Page roots of a chunk: the part of its tree above the pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkPages {
    /// Length and id of the chunk.
    pub entry: ChunkEntry,
    /// Root over the leaves of each page.
    pub page_roots: Vec<Digest>,
    /// For each page, the objects of the body that end before it.
    pub objects_before: Vec<u32>,
}

impl ChunkPages {
    /// Root over the page roots: the chunk id that they lead to.
    pub fn root(&self) -> ChunkId {
        ChunkId::from_bytes(root_of_hashes(self.page_roots.clone()))
    }

    /// [`ChunkPages::objects_before`] of a chunk that begins at `start` of a body with these objects.
    pub fn expected_objects_before(&self, start: u64, object_ends: &[u32]) -> Vec<u32> {
        objects_before(start, self.page_roots.len(), object_ends)
    }
}

/// A period ready to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPeriod {
    /// The body, its signatures and places.
    pub body: PeriodBody,
    /// Shape, places, chunks.
    pub manifest: Manifest,
    /// One for each chunk.
    pub chunks: Vec<ChunkPages>,
}

impl EncodedPeriod {
    /// Encodes a complete period: `places[thread]` is its block, or `None` for a miss.
    ///
    /// Costs one copy and one hash of the bytes.
    ///
    /// # Errors
    /// [`ChunkingError`].
    pub fn new(
        parameters: &ArchiveParameters,
        period: u64,
        places: &[Option<&BlockRecord>],
    ) -> Result<Self, ChunkingError> {
        let header = BodyHeader {
            chain_id: parameters.chain_id,
            period,
            threads: parameters.thread_count,
        };
        let body = PeriodBody::encode(header, places)?;
        Self::from_body(body, parameters.chunk_size)
    }

    fn from_body(body: PeriodBody, chunk_size: u32) -> Result<Self, ChunkingError> {
        let max = u64::from(MAX_CHUNKS_PER_PERIOD) * u64::from(chunk_size);
        if body.bytes.len() as u64 > max {
            return Err(ChunkingError::TooManyChunks {
                period: body.header.period,
                bytes: body.bytes.len(),
                max,
            });
        }
        let roots = page_roots(&body.bytes);
        let pages_per_chunk = chunk_size as usize / PAGE_BYTES;
        let chunks: Vec<ChunkPages> = body
            .bytes
            .chunks(chunk_size as usize)
            .zip(roots.chunks(pages_per_chunk))
            .enumerate()
            .map(|(index, (bytes, page_roots))| {
                let start = index as u64 * u64::from(chunk_size);
                chunk_pages(start, bytes.len() as u32, page_roots, &body.object_ends)
            })
            .collect();
        let manifest = Manifest {
            header: PeriodHeader {
                chain_id: body.header.chain_id,
                period: body.header.period,
                threads: body.header.threads,
                chunk_size,
                body_length: body.bytes.len() as u64,
                chunks: chunks.len() as u32,
            },
            places: body.places.clone(),
            chunks: chunks.iter().map(|chunk| chunk.entry).collect(),
        };
        Ok(Self { body, manifest, chunks })
    }

    /// Bytes of chunk `index`; `None` if there is no such chunk.
    pub fn chunk_bytes(&self, index: ChunkIndex) -> Option<&[u8]> {
        self.body
            .bytes
            .chunks(self.manifest.header.chunk_size as usize)
            .nth(index.0 as usize)
    }

    /// Chunk `index` with its proof; `None` if there is no such chunk.
    pub fn data_chunk(&self, index: ChunkIndex) -> Option<DataChunk> {
        let (_, merkle_proof) = self.manifest.prove_chunk(index)?;
        Some(DataChunk {
            chunk_id: self.manifest.chunks[index.0 as usize].id,
            period: self.manifest.header.period,
            data: self.chunk_bytes(index)?.to_vec(),
            merkle_proof,
        })
    }
}

/// The part of a chunk's tree above its pages; `start` is where the chunk begins in the body.
fn chunk_pages(start: u64, length: u32, page_roots: &[Digest], object_ends: &[u32]) -> ChunkPages {
    ChunkPages {
        entry: ChunkEntry {
            length,
            id: ChunkId::from_bytes(root_of_hashes(page_roots.to_vec())),
        },
        page_roots: page_roots.to_vec(),
        objects_before: objects_before(start, page_roots.len(), object_ends),
    }
}

/// For each of `pages` pages from `start` of the body on, the objects that end before it.
fn objects_before(start: u64, pages: usize, object_ends: &[u32]) -> Vec<u32> {
    (0..pages as u64)
        .map(|page| objects_ending_by(object_ends, start + page * PAGE_BYTES as u64) as u32)
        .collect()
}

/// Root over the leaves of one page (1 to 65 536 bytes).
pub fn page_root(page: &[u8]) -> Digest {
    root_of_hashes(leaf_hashes(page))
}

/// Root of each page of a body. Large bodies are hashed on [`HASH_THREADS`] threads.
fn page_roots(body: &[u8]) -> Vec<Digest> {
    if body.len() < PARALLEL_BODY_BYTES {
        return body.chunks(PAGE_BYTES).map(page_root).collect();
    }
    let share = body.len().div_ceil(PAGE_BYTES).div_ceil(HASH_THREADS) * PAGE_BYTES;
    std::thread::scope(|scope| {
        let workers: Vec<_> = body
            .chunks(share)
            .map(|part| scope.spawn(move || part.chunks(PAGE_BYTES).map(page_root).collect::<Vec<_>>()))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().expect("hashing does not panic"))
            .collect()
    })
}

/// Proves leaf `index` of a chunk from one of its pages and the page roots: one page is read and hashed.
///
/// `page` is the page that holds the leaf, `index / 64`. `None` if the leaf does not exist.
pub fn prove_leaf(pages: &ChunkPages, page: &[u8], index: u32) -> Option<ChunkLeafProof> {
    segment::prove_leaf(&pages.page_roots, page, index)
}

/// The path that continues `inner` with `outer`: pages are whole subtrees of the chunk's tree.
fn join_paths(mut inner: MerkleProof, outer: MerkleProof) -> MerkleProof {
    inner.directions |= outer.directions << inner.siblings.len();
    inner.siblings.extend(outer.siblings);
    inner
}
