//! A leaf of a chunk, shown with its path to the chunk id.

use crate::merkle::{leaf_hash, MerkleProof, ProofError};
use crate::segment_table::TableChunk;
use crate::types::LEAF_BYTES;

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
    /// segment tree and never from a peer.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, chunk: &TableChunk) -> Result<(), ProofError> {
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
