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
pub use crate::challenge::sums::{Claim, SumNode, SumPath, EMPTY};
use massa_distributed_storage_exports::ChunkId;

/// Levels between two that are kept.
const GROUP_BITS: u32 = 8;
const GROUPS: u32 = POSITION_BITS / GROUP_BITS;

impl SumNode {
    /// A held chunk.
    pub fn held(chunk: &HeldChunk) -> Self {
        Self::chunk(chunk.position.number(), chunk.leaves, &chunk.id)
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

impl SumPath {
    /// As [`SumPath::follow`].
    pub fn claim(&self, chunk: &HeldChunk) -> Option<(Claim, u64)> {
        self.follow(chunk.position.number(), SumNode::held(chunk))
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
