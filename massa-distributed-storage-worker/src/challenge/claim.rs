//! The claim: a Merkle-sum tree of depth 40 over positions, almost all of them empty.
//!
//! ```text
//! held chunk     sum n = ⌈length / 1024⌉     hash H(02 | position u64 | n u64 | chunk id (32))
//! empty          sum 0                       hash 0³²; two empty children give empty
//! inner node     sum sL + sR                 hash H(03 | sL u64 | hL (32) | sR u64 | hR (32))
//! ```
//!
//! A position exists once, so nothing counts twice, and the sums give every claimed leaf a number from 0 to T − 1.
//!
//! Only every eighth level is kept, without its empty nodes: about 60 bytes for each held chunk. The seven levels between
//! two of them are hashed again for each path: at most 255 nodes for each of five groups.

use crate::challenge::position::{Position, POSITION_BITS};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;

/// Hash of an empty tree: nothing else has it.
pub const EMPTY: Digest = [0; 32];
/// Levels between two that are kept.
const GROUP_BITS: u32 = 8;
const GROUPS: u32 = POSITION_BITS / GROUP_BITS;

/// What a node commits to: root and sum of its tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Root of the tree.
    pub root: Digest,
    /// T: leaves of 1 KiB in all claimed chunks.
    pub leaves: u64,
}

/// A node of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SumNode {
    /// Leaves of all chunks below.
    pub sum: u64,
    /// Its hash.
    pub hash: Digest,
}

impl SumNode {
    /// Nothing.
    pub const EMPTY: Self = Self { sum: 0, hash: EMPTY };

    /// A held chunk.
    pub fn held(chunk: &HeldChunk) -> Self {
        let leaves = u64::from(chunk.leaves);
        let mut input = [2; 49];
        input[1..9].copy_from_slice(&chunk.position.number().to_le_bytes());
        input[9..17].copy_from_slice(&leaves.to_le_bytes());
        input[17..].copy_from_slice(chunk.id.as_bytes());
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
}

/// A chunk that is held, where it stands in a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldChunk {
    /// Where it stands.
    pub position: Position,
    /// Its leaves, at least 1.
    pub leaves: u32,
    /// Its content address.
    pub id: ChunkId,
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
    /// The claim in which the path from `chunk` ends, and the claimed leaves before the chunk; `None` if the path lies about
    /// what is empty, or a sum overflows.
    pub fn claim(&self, chunk: &HeldChunk) -> Option<(Claim, u64)> {
        let mut node = SumNode::held(chunk);
        let mut before = 0u64;
        let mut siblings = self.siblings.iter();
        for level in 0..POSITION_BITS {
            let sibling = if self.mask >> level & 1 == 1 {
                // A sum of zero cannot hide a chunk, nor can air be counted.
                *siblings
                    .next()
                    .filter(|sibling| !sibling.is_empty() && sibling.is_sound())?
            } else {
                SumNode::EMPTY
            };
            if chunk.position.number() >> level & 1 == 1 {
                node = SumNode::above(&sibling, &node)?;
                before += sibling.sum;
            } else {
                node = SumNode::above(&node, &sibling)?;
            }
        }
        let claim = Claim {
            root: node.hash,
            leaves: node.sum,
        };
        Some((claim, before))
    }
}

/// A node and its number at its level.
type Numbered = (u64, SumNode);

/// The tree over what a node holds.
#[derive(Clone, Debug)]
pub struct ClaimTree {
    chunks: Vec<HeldChunk>,
    /// For each chunk, the claimed leaves before it.
    before: Vec<u64>,
    /// Levels 8, 16, 24, 32, without empty nodes, ascending.
    kept: Vec<Vec<Numbered>>,
    claim: Claim,
}

impl ClaimTree {
    /// Builds the tree over `chunks`, in any order; of two at one position the first counts.
    ///
    /// Costs one hash for each held chunk and for each non-empty node above it: a million chunks take about two seconds.
    pub fn new(chunks: impl IntoIterator<Item = HeldChunk>) -> Self {
        let mut chunks: Vec<HeldChunk> = chunks.into_iter().filter(|chunk| chunk.leaves > 0).collect();
        chunks.sort_by_key(|chunk| chunk.position);
        chunks.dedup_by_key(|chunk| chunk.position);
        let mut total = 0;
        let before = chunks.iter().map(|chunk| {
            total += u64::from(chunk.leaves);
            total - u64::from(chunk.leaves)
        });
        let before = before.collect();
        let mut level: Vec<Numbered> = chunks.iter().map(numbered).collect();
        let mut kept = Vec::new();
        for _ in 0..GROUPS {
            for _ in 0..GROUP_BITS {
                level = level_above(&level);
            }
            kept.push(level.clone());
        }
        kept.pop();
        let root = level.first().map_or(SumNode::EMPTY, |(_, root)| *root);
        Self {
            chunks,
            before,
            kept,
            claim: Claim {
                root: root.hash,
                leaves: root.sum,
            },
        }
    }

    /// Root and sum.
    pub fn claim(&self) -> Claim {
        self.claim
    }

    /// The claimed chunks, in ascending order of their positions.
    pub fn chunks(&self) -> &[HeldChunk] {
        &self.chunks
    }

    /// The claimed chunk in which claimed leaf `leaf` is, and which of its leaves that is; `None` beyond the claim.
    pub fn find(&self, leaf: u64) -> Option<(HeldChunk, u32)> {
        if leaf >= self.claim.leaves {
            return None;
        }
        let at = self.before.partition_point(|before| *before <= leaf) - 1;
        Some((self.chunks[at], (leaf - self.before[at]) as u32))
    }

    /// The claimed chunk at a position.
    pub fn chunk(&self, position: Position) -> Option<HeldChunk> {
        let at = self
            .chunks
            .binary_search_by_key(&position, |chunk| chunk.position)
            .ok()?;
        Some(self.chunks[at])
    }

    /// The path from a claimed chunk to the root; `None` if the position is not claimed. Costs at most 1 280 hashes.
    pub fn path(&self, position: Position) -> Option<SumPath> {
        self.chunk(position)?;
        let mut path = SumPath::default();
        for group in 0..GROUPS {
            let mut level = self.group(group, position);
            for in_group in 0..GROUP_BITS {
                let bit = group * GROUP_BITS + in_group;
                let sibling = (position.number() >> bit) ^ 1;
                if let Ok(at) = level.binary_search_by_key(&sibling, |(number, _)| *number) {
                    path.mask |= 1 << bit;
                    path.siblings.push(level[at].1);
                }
                level = level_above(&level);
            }
        }
        Some(path)
    }

    /// The nodes at level 8 · `group` that have the same ancestor eight levels up as `position`.
    fn group(&self, group: u32, position: Position) -> Vec<Numbered> {
        let shift = group * GROUP_BITS;
        let parent = position.number() >> shift >> GROUP_BITS;
        let first = parent << GROUP_BITS;
        let end = first + (1 << GROUP_BITS);
        let Some(level) = group.checked_sub(1).map(|above| &self.kept[above as usize]) else {
            let from = self.chunks.partition_point(|chunk| chunk.position.number() < first);
            let inside = self.chunks[from..].iter();
            let inside = inside.take_while(|chunk| chunk.position.number() < end);
            return inside.map(numbered).collect();
        };
        let from = level.partition_point(|(number, _)| *number < first);
        let inside = level[from..].iter().take_while(|(number, _)| *number < end);
        inside.copied().collect()
    }
}

fn numbered(chunk: &HeldChunk) -> Numbered {
    (chunk.position.number(), SumNode::held(chunk))
}

/// The nodes above `level`, whose nodes are ascending and not empty.
fn level_above(level: &[Numbered]) -> Vec<Numbered> {
    let mut above = Vec::with_capacity(level.len() / 2 + 1);
    let mut rest = level;
    while let [(number, node), after @ ..] = rest {
        let sibling = after.first().filter(|(other, _)| *other == number ^ 1);
        let (left, right) = match sibling {
            Some((_, right)) => (*node, *right),
            None if number & 1 == 1 => (SumNode::EMPTY, *node),
            None => (*node, SumNode::EMPTY),
        };
        let parent = SumNode::above(&left, &right).expect("2⁴⁰ chunks of 2¹⁶ leaves stay below 2⁶⁴");
        above.push((number >> 1, parent));
        rest = &after[usize::from(sibling.is_some())..];
    }
    above
}
