//! Proofs that a reader or a contract checks against a segment root.

use crate::manifest::{ChunkEntry, PeriodLeaf};
use crate::merkle::{leaf_hash, MerkleProof, ProofError};
use crate::segment::SegmentLeaf;
use crate::types::{PeriodRoot, SegmentRoot, LEAF_BYTES};

/// A path from a leaf of the period tree to the root of the segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivePath {
    /// The period.
    pub period: u64,
    /// From the leaf to the period root.
    pub period_path: MerkleProof,
    /// From the period to the segment root.
    pub segment_path: MerkleProof,
}

impl ArchivePath {
    /// The period root that the path gives for `leaf`.
    ///
    /// # Errors
    /// [`ProofError`] when the path is malformed.
    pub fn period_root(&self, leaf: &PeriodLeaf) -> Result<PeriodRoot, ProofError> {
        self.period_path.root(leaf.hash()).map(PeriodRoot::from_bytes)
    }

    /// Checks that `leaf` is archived in [`ArchivePath::period`] under `root`.
    ///
    /// Places and chunks name their own position, so nothing about the tree's size is needed.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, leaf: &PeriodLeaf, root: &SegmentRoot) -> Result<(), ProofError> {
        let period = SegmentLeaf::Period {
            period: self.period,
            root: self.period_root(leaf)?,
        };
        self.segment_path.verify(period.hash(), root.as_bytes())
    }
}

/// A leaf of a chunk with its path to the chunk id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkLeafProof {
    /// Position of the leaf in the chunk.
    pub index: u32,
    /// The leaf: 1 KiB, or the remainder if it is the last.
    pub bytes: Vec<u8>,
    /// From the leaf to the chunk id.
    pub path: MerkleProof,
}

impl ChunkLeafProof {
    /// Checks that the leaf is leaf [`ChunkLeafProof::index`] of `chunk`, whose length comes from a verified leaf of the
    /// period tree and never from a peer.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, chunk: &ChunkEntry) -> Result<(), ProofError> {
        let leaf_count = chunk.leaf_count();
        if self.index >= leaf_count {
            return Err(ProofError::WrongPosition {
                index: self.index,
                leaf_count,
            });
        }
        let start = self.index as usize * LEAF_BYTES;
        let expected = (chunk.length as usize - start).min(LEAF_BYTES);
        if self.bytes.len() != expected {
            return Err(ProofError::LeafLength {
                index: self.index,
                expected,
                actual: self.bytes.len(),
            });
        }
        let leaf = leaf_hash(&self.bytes);
        self.path.verify_at(leaf, self.index, leaf_count, chunk.id.as_bytes())
    }
}
