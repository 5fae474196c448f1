//! The answer to a draw of a segment's chunk, and its check: the same as the contract's, with the same reasons.
//!
//! ```text
//! position u64 (segment 24 bits, chunk 16) | chunk length u32 | chunk id (32)
//! mask u64: bit k set: the sibling at level k (from the chunk) is not empty and follows
//! each such sibling, from the chunk up: sum u64 | hash (32)
//! leaf length u16 | leaf
//! path from the leaf to the chunk id | path from the chunk's leaf to the segment root
//! path: directions u16 (bit k: sibling k is the left one) | count u8 (at most 16) | siblings (32 each)
//! ```
//!
//! The contract's side is `massa-storage-sc/assembly/internals/answer.ts`; `tests/data/segment-answer-vectors.json` holds
//! the two together.

use crate::challenge::reason::Reason;
use crate::challenge::segment_claim::{Drawn, HeldChunk};
use crate::challenge::sums::{Claim, SumNode, SumPath};
use massa_distributed_storage_exports::bytes::{Reader, Truncated};
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::{leaf_hash, MerkleProof, MerkleTree, ProofError, MAX_PATH_SIBLINGS};
use massa_distributed_storage_exports::segment_table::{SegmentLeaf, SegmentTable, SegmentTree, TableChunk};
use massa_distributed_storage_exports::types::{ChunkPosition, Digest, LEAF_BYTES, MAX_CHUNK_BYTES, PAGE_LEAVES};
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};

/// Largest answer: all 40 sum siblings and two paths of 16.
pub const MAX_ANSWER_BYTES: usize =
    8 + 4 + 32 + 8 + ChunkPosition::BITS as usize * SUM_BYTES + 2 + LEAF_BYTES + 2 * (3 + MAX_PATH_SIBLINGS * 32);
/// A sum and a hash.
const SUM_BYTES: usize = 40;

/// A claimed chunk with its way to the claim and to the segment root, and one of its leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentAnswer {
    /// Where the chunk stands.
    pub position: ChunkPosition,
    /// Length and id of the chunk.
    pub chunk: TableChunk,
    /// From the chunk to the claim; empty in the answer to a manual challenge.
    pub sum_path: SumPath,
    /// The leaf; empty in a refutation.
    pub leaf: Vec<u8>,
    /// From the leaf to the chunk id.
    pub leaf_path: MerkleProof,
    /// From the chunk's leaf to the segment root.
    pub segment_path: MerkleProof,
}

/// Bytes that are not an answer.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It ends too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A field is out of its range.
    #[error("{field}: {value} is out of range")]
    Range {
        /// The field.
        field: &'static str,
        /// What it is.
        value: u64,
    },
    /// Something follows.
    #[error("{0} bytes too many")]
    TrailingBytes(usize),
}

/// Why an answer cannot be made: what this node has does not fit together.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError {
    /// The table is of another segment, or has no such chunk.
    #[error("chunk {0} is not in the segment's table")]
    NoSuchChunk(ChunkPosition),
    /// The chunk has no such leaf.
    #[error("chunk {position} has no leaf {leaf}")]
    NoSuchLeaf {
        /// The chunk.
        position: ChunkPosition,
        /// The leaf.
        leaf: u32,
    },
    /// Page or page roots are damaged.
    #[error("page {page} of chunk {position} is damaged")]
    Damaged {
        /// The chunk.
        position: ChunkPosition,
        /// The page.
        page: u32,
    },
}

/// What a leaf is shown from: the page that it is in, and the roots of all pages of the chunk.
#[derive(Clone, Copy, Debug)]
pub struct ShownPage<'a> {
    /// Number of the page in its chunk.
    pub number: u32,
    /// Its plain bytes.
    pub bytes: &'a [u8],
    /// One for each page of the chunk.
    pub roots: &'a [Digest],
}

/// The segment of a chunk: its table, and the tree over it, which costs one hash for each leaf and node to make.
#[derive(Clone, Copy)]
pub struct Archived<'a> {
    /// The table.
    pub table: &'a SegmentTable,
    /// Its tree.
    pub tree: &'a SegmentTree,
}

impl SegmentAnswer {
    /// Answers a draw. Costs the hashes of one page and of the page roots.
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn to_draw(drawn: &Drawn, archived: Archived<'_>, page: ShownPage<'_>) -> Result<Self, ProveError> {
        let exhibit = Self::exhibit(drawn.chunk.position, drawn.path.clone(), archived)?;
        exhibit.with_leaf(drawn.leaf, page)
    }

    /// Answers a manual challenge: no sum path, leaf [`manual_leaf`].
    ///
    /// # Errors
    /// [`ProveError`].
    pub fn to_manual(
        position: ChunkPosition,
        nonce: u64,
        archived: Archived<'_>,
        page: ShownPage<'_>,
    ) -> Result<Self, ProveError> {
        let exhibit = Self::exhibit(position, SumPath::default(), archived)?;
        let leaf = manual_leaf(nonce, &exhibit.chunk);
        exhibit.with_leaf(leaf, page)
    }

    /// Shows a claimed chunk without a leaf: what a refutation needs. The chunk itself need not be held here.
    ///
    /// # Errors
    /// [`ProveError::NoSuchChunk`].
    pub fn exhibit(position: ChunkPosition, sum_path: SumPath, archived: Archived<'_>) -> Result<Self, ProveError> {
        let missing = ProveError::NoSuchChunk(position);
        if archived.table.header().segment != position.segment {
            return Err(missing);
        }
        let index = position.index.0;
        let found = archived.table.chunk(index).zip(archived.tree.chunk_path(index));
        let (chunk, segment_path) = found.ok_or(missing)?;
        Ok(Self {
            position,
            chunk,
            sum_path,
            leaf: Vec::new(),
            leaf_path: no_path(),
            segment_path,
        })
    }

    /// The same without its leaf.
    pub fn without_leaf(&self) -> Self {
        Self {
            leaf: Vec::new(),
            leaf_path: no_path(),
            ..self.clone()
        }
    }

    /// Whether it shows a leaf, or a path to one.
    pub fn shows_leaf(&self) -> bool {
        !self.leaf.is_empty() || !self.leaf_path.siblings.is_empty()
    }

    fn with_leaf(self, leaf: u32, page: ShownPage<'_>) -> Result<Self, ProveError> {
        let position = self.position;
        let number = page_of(leaf);
        let in_page = leaf as usize % PAGE_LEAVES;
        let start = in_page * LEAF_BYTES;
        let missing = ProveError::NoSuchLeaf { position, leaf };
        let fits = number == page.number && page.bytes.len() == self.chunk.page_length(number);
        if !fits || start >= page.bytes.len() {
            return Err(missing);
        }
        let damaged = ProveError::Damaged { position, page: number };
        let of_page = MerkleTree::new(&leaf_hashes(page.bytes));
        let stored = page.roots.get(number as usize).ok_or(damaged.clone())?;
        let of_chunk = MerkleTree::new(page.roots);
        if of_page.root() != *stored || of_chunk.root() != *self.chunk.id.as_bytes() {
            return Err(damaged);
        }
        let paths = of_page.path(in_page as u32).zip(of_chunk.path(number));
        let (lower, upper) = paths.ok_or(missing)?;
        let end = (start + LEAF_BYTES).min(page.bytes.len());
        Ok(Self {
            leaf: page.bytes[start..end].to_vec(),
            leaf_path: joined(lower, upper),
            ..self
        })
    }

    /// The binary form.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(3000);
        bytes.extend(self.position.number().to_le_bytes());
        bytes.extend(self.chunk.length.to_le_bytes());
        bytes.extend(self.chunk.id.as_bytes());
        bytes.extend(self.sum_path.mask.to_le_bytes());
        for sibling in &self.sum_path.siblings {
            bytes.extend(sibling.sum.to_le_bytes());
            bytes.extend(sibling.hash);
        }
        bytes.extend((self.leaf.len() as u16).to_le_bytes());
        bytes.extend(&self.leaf);
        for path in [&self.leaf_path, &self.segment_path] {
            bytes.extend(path_bytes(path));
        }
        bytes
    }

    /// Reads the binary form. One answer has one form.
    ///
    /// # Errors
    /// [`AnswerError`]: the contract's [`Reason::Malformed`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, AnswerError> {
        let mut reader = Reader::new(bytes);
        let position = reader.u64("position")?;
        let position = ChunkPosition::from_number(position).ok_or(out_of_range("position", position))?;
        let chunk = read_chunk(&mut reader)?;
        let sum_path = read_sum_path(&mut reader)?;
        let leaf_length = usize::from(reader.u16("leaf length")?);
        if leaf_length > LEAF_BYTES {
            return Err(out_of_range("leaf length", leaf_length as u64));
        }
        let answer = Self {
            position,
            chunk,
            sum_path,
            leaf: reader.bytes(leaf_length, "leaf")?.to_vec(),
            leaf_path: read_path(&mut reader, "leaf path")?,
            segment_path: read_path(&mut reader, "segment path")?,
        };
        match reader.remaining() {
            0 => Ok(answer),
            more => Err(AnswerError::TrailingBytes(more)),
        }
    }

    /// The chunk as it stands in a claim.
    pub fn held(&self) -> HeldChunk {
        HeldChunk {
            position: self.position,
            leaves: self.chunk.leaf_count(),
            id: self.chunk.id,
        }
    }

    /// Claimed leaves before the chunk, if the sum path ends in `claim`. Costs 41 hashes.
    pub fn before_under(&self, claim: &Claim) -> Option<u64> {
        let held = self.held();
        let number = self.position.number();
        let (found, before) = self
            .sum_path
            .follow(number, SumNode::chunk(number, held.leaves, &held.id))?;
        (found == *claim).then_some(before)
    }

    /// Whether the chunk stands in the archive under `segment_root`.
    pub fn is_under(&self, segment_root: &SegmentRoot) -> bool {
        let leaf = SegmentLeaf::Chunk {
            index: self.position.index.0,
            row: self.chunk,
        };
        self.segment_path.verify(leaf.hash(), segment_root.as_bytes()).is_ok()
    }

    /// Whether the leaf is leaf `index` of the chunk; the reason if not.
    ///
    /// # Errors
    /// [`Reason::LeafLength`], [`Reason::LeafPath`].
    pub fn check_leaf(&self, index: u32) -> Result<(), Reason> {
        let start = u64::from(index) * LEAF_BYTES as u64;
        let expected = u64::from(self.chunk.length)
            .saturating_sub(start)
            .min(LEAF_BYTES as u64);
        if self.leaf.len() as u64 != expected {
            return Err(Reason::LeafLength);
        }
        let leaf = leaf_hash(&self.leaf);
        let found: Result<(), ProofError> =
            self.leaf_path
                .verify_at(leaf, index, self.chunk.leaf_count(), self.chunk.id.as_bytes());
        found.map_err(|_| Reason::LeafPath)
    }

    /// Checks everything of an answer to the draw of claimed leaf `drawn`, given the accepted root of its segment.
    ///
    /// # Errors
    /// The reason that the contract gives.
    pub fn check(&self, claim: &Claim, drawn: u64, segment_root: Option<&SegmentRoot>) -> Result<(), Reason> {
        let root = segment_root.ok_or(Reason::SegmentUnknown)?;
        let before = self.before_under(claim).ok_or(Reason::SumPath)?;
        let index = drawn.checked_sub(before).ok_or(Reason::NotDrawn)?;
        if index >= u64::from(self.chunk.leaf_count()) {
            return Err(Reason::NotDrawn);
        }
        self.check_leaf(index as u32)?;
        self.check_archive(root)
    }

    /// Checks the answer to a manual challenge of `chunk`: no sum path, leaf `nonce` modulo the number of leaves.
    ///
    /// # Errors
    /// The reason that the contract gives.
    pub fn check_manual(&self, chunk: &ChunkId, nonce: u64, segment_root: Option<&SegmentRoot>) -> Result<(), Reason> {
        if self.sum_path.mask != 0 {
            return Err(Reason::Malformed);
        }
        if self.chunk.id != *chunk {
            return Err(Reason::NotDrawn);
        }
        let root = segment_root.ok_or(Reason::SegmentUnknown)?;
        self.check_leaf(manual_leaf(nonce, &self.chunk))?;
        self.check_archive(root)
    }

    fn check_archive(&self, root: &SegmentRoot) -> Result<(), Reason> {
        if self.is_under(root) {
            Ok(())
        } else {
            Err(Reason::ArchivePath)
        }
    }
}

/// Checks the bytes of an answer to the draw of claimed leaf `drawn`, as the contract does. `segment_root` gives the accepted
/// roots.
pub fn check_answer(
    bytes: &[u8],
    claim: &Claim,
    drawn: u64,
    segment_root: impl Fn(u64) -> Option<SegmentRoot>,
) -> Reason {
    let Ok(answer) = SegmentAnswer::from_bytes(bytes) else {
        return Reason::Malformed;
    };
    let root = segment_root(answer.position.segment);
    let checked = answer.check(claim, drawn, root.as_ref());
    checked.err().unwrap_or(Reason::Passed)
}

/// The leaf that a manual challenge with this nonce asks for.
pub fn manual_leaf(nonce: u64, chunk: &TableChunk) -> u32 {
    (nonce % u64::from(chunk.leaf_count().max(1))) as u32
}

/// The page of a chunk that a leaf is in.
pub fn page_of(leaf: u32) -> u32 {
    leaf / PAGE_LEAVES as u32
}

/// `directions u16 | siblings u8 | each (32)`: a path as the registry reads it.
pub fn path_bytes(path: &MerkleProof) -> Vec<u8> {
    let mut bytes = path.directions.to_le_bytes().to_vec();
    bytes.push(path.siblings.len() as u8);
    bytes.extend(path.siblings.iter().flatten());
    bytes
}

fn no_path() -> MerkleProof {
    MerkleProof {
        directions: 0,
        siblings: Vec::new(),
    }
}

/// One path from two: from a leaf to its page's root, and from there to the chunk id.
fn joined(mut lower: MerkleProof, upper: MerkleProof) -> MerkleProof {
    lower.directions |= upper.directions << lower.siblings.len();
    lower.siblings.extend(upper.siblings);
    lower
}

fn out_of_range(field: &'static str, value: u64) -> AnswerError {
    AnswerError::Range { field, value }
}

fn read_chunk(reader: &mut Reader<'_>) -> Result<TableChunk, AnswerError> {
    let length = reader.u32("chunk length")?;
    if length == 0 || length > MAX_CHUNK_BYTES {
        return Err(out_of_range("chunk length", u64::from(length)));
    }
    let id = ChunkId::from_bytes(reader.array("chunk id")?);
    Ok(TableChunk { length, id })
}

fn read_sum_path(reader: &mut Reader<'_>) -> Result<SumPath, AnswerError> {
    let mask = reader.u64("mask")?;
    if mask >> ChunkPosition::BITS != 0 {
        return Err(out_of_range("mask", mask));
    }
    let siblings = (0..mask.count_ones()).map(|_| {
        Ok(SumNode {
            sum: reader.u64("sum of a sibling")?,
            hash: reader.array("hash of a sibling")?,
        })
    });
    let siblings = siblings.collect::<Result<_, Truncated>>()?;
    Ok(SumPath { mask, siblings })
}

fn read_path(reader: &mut Reader<'_>, field: &'static str) -> Result<MerkleProof, AnswerError> {
    let directions = reader.u16(field)?;
    let count = reader.u8(field)?;
    if usize::from(count) > MAX_PATH_SIBLINGS || u32::from(directions) >> count != 0 {
        return Err(out_of_range(field, u64::from(directions) << 8 | u64::from(count)));
    }
    let siblings = (0..count).map(|_| reader.array(field));
    let siblings = siblings.collect::<Result<_, Truncated>>()?;
    Ok(MerkleProof { directions, siblings })
}
