//! Hashes with sums: the nodes of a claim, and the path from a chunk to its root.
//!
//! ```text
//! held chunk     sum n = ⌈length / 1024⌉     hash H(02 | position u64 | n u64 | chunk id (32))
//! empty          sum 0                       hash 0³²; two empty children give empty
//! inner node     sum sL + sR                 hash H(03 | sL u64 | hL (32) | sR u64 | hR (32))
//! ```
//!
//! A position exists once, so nothing counts twice, and the sums give every claimed leaf a number from 0 to T − 1.

use massa_distributed_storage_exports::network::{is_sum_path, SUM_PATH_MASK_BYTES, SUM_PATH_SIBLING_BYTES};
use massa_distributed_storage_exports::types::{ChunkPosition, Digest};
use massa_distributed_storage_exports::ChunkId;
use serde::{Deserialize, Serialize};

/// Hash of an empty tree: nothing else has it.
pub const EMPTY: Digest = [0; 32];

/// What a node commits to: root and sum of its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Root of the tree.
    pub root: Digest,
    /// T: leaves of 1 KiB in all claimed chunks.
    pub leaves: u64,
}

impl Claim {
    /// Whether `path` shows that this claim has the chunk with this id and number of leaves at `position`. Costs 41 hashes.
    pub fn has(&self, position: ChunkPosition, (leaves, id): (u32, &ChunkId), path: &SumPath) -> bool {
        let number = position.number();
        let found = path.follow(number, SumNode::chunk(number, leaves, id));
        found.is_some_and(|(claim, _)| claim == *self)
    }
}

/// A node of the tree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SumNode {
    /// Leaves of all chunks below.
    pub sum: u64,
    /// Its hash.
    pub hash: Digest,
}

impl SumNode {
    /// Nothing.
    pub const EMPTY: Self = Self { sum: 0, hash: EMPTY };

    /// A held chunk: its position's number, its leaves (at least 1) and its id.
    pub fn chunk(position: u64, leaves: u32, id: &ChunkId) -> Self {
        let leaves = u64::from(leaves);
        let mut input = [2; 49];
        input[1..9].copy_from_slice(&position.to_le_bytes());
        input[9..17].copy_from_slice(&leaves.to_le_bytes());
        input[17..].copy_from_slice(id.as_bytes());
        Self {
            sum: leaves,
            hash: *blake3::hash(&input).as_bytes(),
        }
    }

    /// The node above two others; `None` if the sum overflows, which no tree of chunks does.
    pub fn above(left: &Self, right: &Self) -> Option<Self> {
        let sum = left.sum.checked_add(right.sum)?;
        if sum == 0 {
            return Some(Self::EMPTY);
        }
        let mut input = [3; 81];
        input[1..9].copy_from_slice(&left.sum.to_le_bytes());
        input[9..41].copy_from_slice(&left.hash);
        input[41..49].copy_from_slice(&right.sum.to_le_bytes());
        input[49..].copy_from_slice(&right.hash);
        Some(Self {
            sum,
            hash: *blake3::hash(&input).as_bytes(),
        })
    }

    /// Whether sum and hash agree on being empty.
    pub fn is_sound(&self) -> bool {
        (self.sum == 0) == (self.hash == EMPTY)
    }

    /// Whether there is nothing below.
    pub fn is_empty(&self) -> bool {
        self.sum == 0
    }

    /// As what a node with this root commits to.
    pub fn as_claim(&self) -> Claim {
        Claim {
            root: self.hash,
            leaves: self.sum,
        }
    }
}

/// The way from a held chunk to the root of a claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SumPath {
    /// Bit k: the sibling at level k, counted from the chunk, is not empty and is listed.
    pub mask: u64,
    /// The listed siblings, from the chunk up.
    pub siblings: Vec<SumNode>,
}

impl SumPath {
    /// Mask u64, then the listed siblings: sum u64 | hash (32). As in an answer.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = self.mask.to_le_bytes().to_vec();
        for sibling in &self.siblings {
            bytes.extend(sibling.sum.to_le_bytes());
            bytes.extend(sibling.hash);
        }
        bytes
    }

    /// Reads [`SumPath::to_bytes`]; `None` if the bytes have another form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        if !is_sum_path(bytes) {
            return None;
        }
        let (mask, siblings) = bytes.split_at(SUM_PATH_MASK_BYTES);
        let sibling = |bytes: &[u8]| {
            let (sum, hash) = bytes.split_at(8);
            Some(SumNode {
                sum: u64::from_le_bytes(sum.try_into().ok()?),
                hash: hash.try_into().ok()?,
            })
        };
        Some(Self {
            mask: u64::from_le_bytes(mask.try_into().ok()?),
            siblings: siblings
                .chunks_exact(SUM_PATH_SIBLING_BYTES)
                .map(sibling)
                .collect::<Option<_>>()?,
        })
    }

    /// The claim in which the path from the node of the chunk at `position` ends, and the claimed leaves before the chunk; `None`
    /// if the path lies about what is empty, or a sum overflows. Costs 40 hashes.
    pub fn follow(&self, position: u64, chunk: SumNode) -> Option<(Claim, u64)> {
        let mut node = chunk;
        let mut before = 0u64;
        let mut siblings = self.siblings.iter();
        for level in 0..ChunkPosition::BITS {
            let sibling = if self.mask >> level & 1 == 1 {
                // A sum of zero cannot hide a chunk, nor can air be counted.
                *siblings
                    .next()
                    .filter(|sibling| !sibling.is_empty() && sibling.is_sound())?
            } else {
                SumNode::EMPTY
            };
            if position >> level & 1 == 1 {
                node = SumNode::above(&sibling, &node)?;
                before += sibling.sum;
            } else {
                node = SumNode::above(&node, &sibling)?;
            }
        }
        Some((node.as_claim(), before))
    }

    /// Lists `sibling` at `level`, above all that are listed, unless it is empty.
    pub(crate) fn push(&mut self, level: u32, sibling: SumNode) {
        if !sibling.is_empty() {
            self.mask |= 1 << level;
            self.siblings.push(sibling);
        }
    }
}

/// Makes nodes and counts them: what a change of a claim costs is tested in hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SumHasher {
    /// Hashes so far.
    pub hashes: u64,
}

impl SumHasher {
    /// As [`SumNode::chunk`].
    pub fn chunk(&mut self, position: ChunkPosition, leaves: u32, id: &ChunkId) -> SumNode {
        self.hashes += 1;
        SumNode::chunk(position.number(), leaves, id)
    }

    /// As [`SumNode::above`], of nodes of chunks.
    pub fn above(&mut self, left: &SumNode, right: &SumNode) -> SumNode {
        self.hashes += u64::from(!left.is_empty() || !right.is_empty());
        SumNode::above(left, right).expect("2⁴⁰ chunks of 2¹⁶ leaves stay below 2⁶⁴")
    }
}
