//! The one tree of the archive: RFC 6962 with BLAKE3.
//!
//! Leaf: `H(00 ‖ bytes)`. Inner node: `H(01 ‖ left ‖ right)`. An odd last node goes up unchanged, which gives the same
//! roots as RFC 6962, section 2.1. Trees are built with `rs_merkle`; paths are checked here, because the registry
//! contract checks them the same way from the same vectors.
//!
//! Two kinds of leaves use the tree. Leaves of a chunk are bare data, so their position must be checked against the
//! leaf count ([`MerkleProof::verify_at`]). Leaves of periods and segments name their own position, so following the
//! path is enough ([`MerkleProof::root`]).

use crate::leaves::hash_pairs;
use crate::types::Digest;
use serde::{Deserialize, Serialize};

/// Siblings a path may have: enough for 2¹⁶ leaves, more than any tree of the archive has.
pub const MAX_PATH_SIBLINGS: usize = 16;

/// Hash of a leaf with content `bytes`.
pub fn leaf_hash(bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[0]);
    hasher.update(bytes);
    *hasher.finalize().as_bytes()
}

/// Hash of an inner node.
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let mut input = [1u8; 65];
    input[1..33].copy_from_slice(left);
    input[33..].copy_from_slice(right);
    *blake3::hash(&input).as_bytes()
}

/// The tree's hash functions, for `rs_merkle`.
#[derive(Clone)]
struct ArchiveHasher;

impl rs_merkle::Hasher for ArchiveHasher {
    type Hash = Digest;

    fn hash(data: &[u8]) -> Digest {
        leaf_hash(data)
    }

    fn concat_and_hash(left: &Digest, right: Option<&Digest>) -> Digest {
        right.map_or(*left, |right| node_hash(left, right))
    }
}

/// A tree over leaf hashes.
pub struct MerkleTree {
    tree: rs_merkle::MerkleTree<ArchiveHasher>,
    root: Digest,
    leaf_count: u32,
}

impl MerkleTree {
    /// Builds the tree over `leaf_hashes` (at least one, at most 2³² − 1).
    pub fn new(leaf_hashes: &[Digest]) -> Self {
        let leaf_count = u32::try_from(leaf_hashes.len()).expect("trees of the archive are small");
        let tree = rs_merkle::MerkleTree::from_leaves(leaf_hashes);
        let root = tree.root().expect("a tree of the archive has a leaf");
        Self { tree, root, leaf_count }
    }

    /// The Merkle root.
    pub fn root(&self) -> Digest {
        self.root
    }

    /// The path of leaf `index`, or `None` if there is no such leaf.
    pub fn path(&self, index: u32) -> Option<MerkleProof> {
        if index >= self.leaf_count {
            return None;
        }
        let (directions, sibling_count) = directions(index, self.leaf_count);
        let proof = self.tree.proof(&[index as usize]);
        let siblings = proof.proof_hashes().to_vec();
        debug_assert_eq!(siblings.len(), sibling_count);
        Some(MerkleProof { directions, siblings })
    }
}

/// Root over leaf contents, for callers that need no path.
pub fn root_of_leaves<'a>(leaves: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    root_of_hashes(leaves.into_iter().map(leaf_hash).collect())
}

/// Root over leaf hashes (at least one), in place: the hot path of archiving and of reading a page.
///
/// Same result as [`MerkleTree::root`], without the tree.
pub fn root_of_hashes(mut hashes: Vec<Digest>) -> Digest {
    assert!(!hashes.is_empty(), "a tree of the archive has a leaf");
    while hashes.len() > 1 {
        hash_level(&mut hashes);
    }
    hashes[0]
}

/// Path of leaf `index` in the tree over leaf hashes; `None` if there is no such leaf. For callers that need one path.
///
/// Same result as [`MerkleTree::path`], without the tree.
pub fn path_in_hashes(mut hashes: Vec<Digest>, index: u32) -> Option<MerkleProof> {
    let leaf_count = u32::try_from(hashes.len()).ok().filter(|count| index < *count)?;
    let (directions, sibling_count) = directions(index, leaf_count);
    let mut siblings = Vec::with_capacity(sibling_count);
    let mut position = index as usize;
    while hashes.len() > 1 {
        siblings.extend(hashes.get(position ^ 1));
        hash_level(&mut hashes);
        position /= 2;
    }
    Some(MerkleProof { directions, siblings })
}

/// The next level of a tree, in place of this one.
fn hash_level(hashes: &mut Vec<Digest>) {
    let (pairs, odd) = (hashes.len() / 2, hashes.len() % 2);
    hash_pairs(hashes);
    if odd == 1 {
        hashes[pairs] = hashes[2 * pairs];
    }
    hashes.truncate(pairs + odd);
}

/// Path from a leaf to a root.
///
/// `siblings` are listed from the leaf up. Bit k of `directions` is set when sibling k stands on the left.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MerkleProof {
    /// Bit k: sibling k is the left one. Bits above the last sibling are zero.
    pub directions: u16,
    /// At most [`MAX_PATH_SIBLINGS`], from the leaf up.
    #[serde(with = "crate::types::hex_digests")]
    pub siblings: Vec<Digest>,
}

/// Why a path or a proof was refused.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// More siblings than any tree has.
    #[error("path has {siblings} siblings, at most {MAX_PATH_SIBLINGS} are allowed")]
    TooLong {
        /// Siblings in the path.
        siblings: usize,
    },
    /// Direction bits beyond the last sibling are set, so one proof would have several encodings.
    #[error("path sets direction bits {directions:#06x} beyond its {siblings} siblings")]
    StrayDirections {
        /// The direction bits.
        directions: u16,
        /// Siblings in the path.
        siblings: usize,
    },
    /// The path is not the path of this position in a tree of this size.
    #[error("path does not fit leaf {index} of {leaf_count}")]
    WrongPosition {
        /// Position of the leaf.
        index: u32,
        /// Leaves of the tree.
        leaf_count: u32,
    },
    /// A leaf has the wrong number of bytes for its position.
    #[error("leaf {index} has {actual} bytes, expected {expected}")]
    LeafLength {
        /// Position of the leaf.
        index: u32,
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        actual: usize,
    },
    /// The path ends in another root: the leaf, its position or a sibling is wrong.
    #[error("root mismatch: expected {}, computed {}", hex::encode(.expected), hex::encode(.computed))]
    RootMismatch {
        /// The trusted root.
        expected: Digest,
        /// What the path gives.
        computed: Digest,
    },
    /// The proof speaks of something else than what was asked.
    #[error("the proof is for {proven}, not for {asked}")]
    WrongSubject {
        /// What the proof shows.
        proven: String,
        /// What was asked.
        asked: String,
    },
}

impl MerkleProof {
    /// Follows the path from `leaf` (a leaf hash) and returns the root it ends in.
    ///
    /// # Errors
    /// [`ProofError::TooLong`], [`ProofError::StrayDirections`].
    pub fn root(&self, leaf: Digest) -> Result<Digest, ProofError> {
        let siblings = self.siblings.len();
        if siblings > MAX_PATH_SIBLINGS {
            return Err(ProofError::TooLong { siblings });
        }
        if u32::from(self.directions) >> siblings != 0 {
            return Err(ProofError::StrayDirections {
                directions: self.directions,
                siblings,
            });
        }
        let root = self.siblings.iter().enumerate().fold(leaf, |node, (level, sibling)| {
            if self.directions >> level & 1 == 1 {
                node_hash(sibling, &node)
            } else {
                node_hash(&node, sibling)
            }
        });
        Ok(root)
    }

    /// Checks that `leaf` (a leaf hash) stands under `root`, at the place that the path describes.
    ///
    /// # Errors
    /// Those of [`MerkleProof::root`], and [`ProofError::RootMismatch`].
    pub fn verify(&self, leaf: Digest, root: &Digest) -> Result<(), ProofError> {
        let computed = self.root(leaf)?;
        if computed != *root {
            return Err(ProofError::RootMismatch {
                expected: *root,
                computed,
            });
        }
        Ok(())
    }

    /// Checks that `leaf` (a leaf hash) is leaf `index` of a tree of `leaf_count` leaves with root `root`.
    ///
    /// # Errors
    /// Those of [`MerkleProof::verify`], and [`ProofError::WrongPosition`] when the path belongs to another position
    /// or has too many or too few siblings.
    pub fn verify_at(&self, leaf: Digest, index: u32, leaf_count: u32, root: &Digest) -> Result<(), ProofError> {
        let fits = index < leaf_count && (self.directions, self.siblings.len()) == directions(index, leaf_count);
        if !fits {
            return Err(ProofError::WrongPosition { index, leaf_count });
        }
        self.verify(leaf, root)
    }
}

/// Direction bits and sibling count of the path of leaf `index` in a tree of `leaf_count` leaves.
///
/// Source: RFC 9162, section 2.1.3.2, with the odd last node of each level going up unchanged.
fn directions(index: u32, leaf_count: u32) -> (u16, usize) {
    let (mut bits, mut siblings) = (0u16, 0usize);
    let (mut position, mut width) = (index, leaf_count);
    while width > 1 && siblings < MAX_PATH_SIBLINGS {
        if position ^ 1 < width {
            bits |= ((position & 1) as u16) << siblings;
            siblings += 1;
        }
        position >>= 1;
        width = width.div_ceil(2);
    }
    (bits, siblings)
}
