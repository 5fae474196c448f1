//! The answer to a draw, and its check: the same as the contract's, with the same reasons.
//!
//! ```text
//! position u64 | chunk length u32 | chunk id (32)
//! mask u64: bit k set: the sibling at level k (from the leaf) is not empty and follows
//! each such sibling, from the leaf up: sum u64 | hash (32)
//! leaf length u16 | leaf
//! path from the leaf to the chunk id | path from the chunk's leaf to the period root | path from the period's leaf to the
//! segment root;   path: directions u16 (bit k: sibling k is the left one) | count u8 (at most 16) | siblings (32 each)
//! ```

use crate::challenge::claim::{Claim, HeldChunk, SumNode, SumPath};
use crate::challenge::position::{Position, POSITION_BITS};
use crate::challenge::reason::Reason;
use massa_distributed_storage_exports::bytes::{Reader, Truncated};
use massa_distributed_storage_exports::manifest::{ChunkEntry, PeriodLeaf};
use massa_distributed_storage_exports::merkle::{MerkleProof, ProofError, MAX_PATH_SIBLINGS};
use massa_distributed_storage_exports::proof::{ArchivePath, ChunkLeafProof};
use massa_distributed_storage_exports::types::{LEAF_BYTES, MAX_CHUNK_BYTES};
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};

/// Largest answer: all 40 sum siblings and three paths of 16.
pub const MAX_ANSWER_BYTES: usize =
    8 + 4 + 32 + 8 + POSITION_BITS as usize * 40 + 2 + LEAF_BYTES + 3 * (3 + MAX_PATH_SIBLINGS * 32);

/// A claimed chunk with its way to the claim and to the segment root, and one of its leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Where the chunk stands.
    pub position: Position,
    /// Length and id of the chunk.
    pub chunk: ChunkEntry,
    /// From the chunk to the claim; empty in the answer to a manual challenge.
    pub sum_path: SumPath,
    /// The leaf; empty in a refutation.
    pub leaf: Vec<u8>,
    /// From the leaf to the chunk id.
    pub leaf_path: MerkleProof,
    /// From the chunk's leaf to the period root.
    pub period_path: MerkleProof,
    /// From the period's leaf to the segment root.
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

/// What an answer is checked against.
#[derive(Clone, Copy, Debug)]
pub struct AnswerRules {
    /// What the node committed to.
    pub claim: Claim,
    /// P: periods of a segment.
    pub segment_periods: u64,
}

impl Answer {
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
        for path in [&self.leaf_path, &self.period_path, &self.segment_path] {
            write_path(path, &mut bytes);
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
        let position = Position::from_number(position).ok_or(out_of_range("position", position))?;
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
            period_path: read_path(&mut reader, "period path")?,
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

    /// Claimed leaves before the chunk, if the sum path ends in `claim`.
    pub fn before_under(&self, claim: &Claim) -> Option<u64> {
        let (found, before) = self.sum_path.claim(&self.held())?;
        (found == *claim).then_some(before)
    }

    /// Whether the chunk stands in the archive under `segment_root`.
    pub fn is_under(&self, segment_root: &SegmentRoot, segment_periods: u64) -> bool {
        if self.position.period_in_segment() >= segment_periods {
            return false;
        }
        let leaf = PeriodLeaf::Chunk {
            index: self.position.chunk(),
            entry: self.chunk,
        };
        let path = ArchivePath {
            period: self.position.period(segment_periods),
            period_path: self.period_path.clone(),
            segment_path: self.segment_path.clone(),
        };
        path.verify(&leaf, segment_root).is_ok()
    }

    /// Whether the leaf is leaf `index` of the chunk; the reason if not.
    ///
    /// # Errors
    /// [`Reason::LeafLength`], [`Reason::LeafPath`].
    pub fn check_leaf(&self, index: u32) -> Result<(), Reason> {
        let proof = ChunkLeafProof {
            index,
            bytes: self.leaf.clone(),
            path: self.leaf_path.clone(),
        };
        proof.verify(&self.chunk).map_err(|error| match error {
            ProofError::LeafLength { .. } => Reason::LeafLength,
            _ => Reason::LeafPath,
        })
    }

    /// Checks everything of an answer to the draw of claimed leaf `drawn`, given the accepted root of its segment.
    ///
    /// # Errors
    /// The reason that the contract gives.
    pub fn check(&self, rules: &AnswerRules, drawn: u64, segment_root: Option<&SegmentRoot>) -> Result<(), Reason> {
        let root = segment_root.ok_or(Reason::SegmentUnknown)?;
        let before = self.before_under(&rules.claim).ok_or(Reason::SumPath)?;
        let index = drawn.checked_sub(before).ok_or(Reason::NotDrawn)?;
        if index >= u64::from(self.chunk.leaf_count()) {
            return Err(Reason::NotDrawn);
        }
        self.check_leaf(index as u32)?;
        self.check_archive(root, rules.segment_periods)
    }

    /// Checks the answer to a manual challenge of `chunk`: no sum path, leaf `nonce` modulo the number of leaves.
    ///
    /// # Errors
    /// The reason that the contract gives.
    pub fn check_manual(
        &self,
        chunk: &ChunkId,
        nonce: u64,
        segment_root: Option<&SegmentRoot>,
        segment_periods: u64,
    ) -> Result<(), Reason> {
        if self.sum_path.mask != 0 {
            return Err(Reason::Malformed);
        }
        if self.chunk.id != *chunk {
            return Err(Reason::NotDrawn);
        }
        let root = segment_root.ok_or(Reason::SegmentUnknown)?;
        self.check_leaf(manual_leaf(nonce, &self.chunk))?;
        self.check_archive(root, segment_periods)
    }

    fn check_archive(&self, root: &SegmentRoot, segment_periods: u64) -> Result<(), Reason> {
        if self.is_under(root, segment_periods) {
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
    rules: &AnswerRules,
    drawn: u64,
    segment_root: impl Fn(u64) -> Option<SegmentRoot>,
) -> Reason {
    let Ok(answer) = Answer::from_bytes(bytes) else {
        return Reason::Malformed;
    };
    let root = segment_root(answer.position.segment());
    answer
        .check(rules, drawn, root.as_ref())
        .err()
        .unwrap_or(Reason::Passed)
}

/// The leaf that a manual challenge with this nonce asks for.
pub fn manual_leaf(nonce: u64, chunk: &ChunkEntry) -> u32 {
    (nonce % u64::from(chunk.leaf_count().max(1))) as u32
}

fn out_of_range(field: &'static str, value: u64) -> AnswerError {
    AnswerError::Range { field, value }
}

fn read_chunk(reader: &mut Reader<'_>) -> Result<ChunkEntry, AnswerError> {
    let length = reader.u32("chunk length")?;
    if length == 0 || length > MAX_CHUNK_BYTES {
        return Err(out_of_range("chunk length", u64::from(length)));
    }
    let id = ChunkId::from_bytes(reader.array("chunk id")?);
    Ok(ChunkEntry { length, id })
}

fn read_sum_path(reader: &mut Reader<'_>) -> Result<SumPath, AnswerError> {
    let mask = reader.u64("mask")?;
    if mask >> POSITION_BITS != 0 {
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

fn write_path(path: &MerkleProof, bytes: &mut Vec<u8>) {
    bytes.extend(path.directions.to_le_bytes());
    bytes.push(path.siblings.len() as u8);
    bytes.extend(path.siblings.iter().flatten());
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
