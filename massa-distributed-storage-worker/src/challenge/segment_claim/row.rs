//! The part of a claim that is inside one segment: the lower 16 of its 40 levels.
//!
//! Kept are the claimed chunks, one bit each, and the nodes at level 8, one for each group of 256 chunks of which one is claimed:
//! a near-empty segment has one, a full one that is spread over twenty nodes about 25. So a path costs the hashes of one group, and
//! a change those of the groups that it touches, however large the segment is.

use crate::challenge::segment_claim::{ChunkSet, HeldChunk};
use crate::challenge::sums::{SumHasher, SumNode, SumPath};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::ChunkPosition;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Levels inside a group, and of the groups of a segment.
const GROUP_LEVELS: u32 = 8;
/// Levels inside a segment.
pub(super) const SEGMENT_LEVELS: u32 = 2 * GROUP_LEVELS;

/// A node and its number at its level, ascending.
type Numbered = (u32, SumNode);

/// Why a row cannot be used.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// A claimed chunk is not in the table: the row is of another segment, or damaged.
    #[error("claimed chunk {0} is not in the segment's table")]
    NoSuchChunk(ChunkPosition),
    /// The hashes do not fit each other, or the table.
    #[error("the claim row of segment {0} is damaged")]
    Damaged(u64),
}

/// What is claimed of one segment. Serde form of this node's own store; [`SegmentRow::VERSION`] goes before it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRow {
    claimed: ChunkSet,
    groups: Vec<Group>,
    total: SumNode,
}

/// The node over 256 chunks of which at least one is claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Group {
    number: u8,
    node: SumNode,
}

impl SegmentRow {
    /// Version of the serde form.
    pub const VERSION: u8 = 1;

    /// The row of these chunks of a segment. Costs a hash for each chunk and each node above it.
    ///
    /// # Errors
    /// [`RowError::NoSuchChunk`].
    pub fn build(claimed: ChunkSet, table: &SegmentTable, hasher: &mut SumHasher) -> Result<Self, RowError> {
        Self::default().changed(claimed, table, hasher)
    }

    /// This row with other chunks. Costs the hashes of the groups that differ, and of the levels above the groups.
    ///
    /// # Errors
    /// [`RowError::NoSuchChunk`].
    pub fn changed(&self, claimed: ChunkSet, table: &SegmentTable, hasher: &mut SumHasher) -> Result<Self, RowError> {
        let mut groups = Vec::with_capacity(self.groups.len() + 1);
        for number in 0..=u8::MAX {
            let range = chunks_of_group(number);
            let bits = claimed.bytes_within(&range);
            let known = self.group(number).filter(|_| bits == self.claimed.bytes_within(&range));
            match known {
                Some(node) => groups.push(Group { number, node }),
                None if bits.is_empty() => {}
                None => {
                    let nodes = nodes_of(&claimed, range, table, hasher)?;
                    let node = top(nodes, GROUP_LEVELS, hasher);
                    groups.push(Group { number, node });
                }
            }
        }
        let mut row = Self {
            claimed,
            groups,
            total: SumNode::EMPTY,
        };
        row.total = top(row.group_nodes(), GROUP_LEVELS, hasher);
        Ok(row)
    }

    /// The node of the segment in the tree.
    pub fn total(&self) -> SumNode {
        self.total
    }

    /// The claimed chunks.
    pub fn claimed(&self) -> &ChunkSet {
        &self.claimed
    }

    /// Whether nothing is claimed: such a row need not be kept.
    pub fn is_empty(&self) -> bool {
        self.claimed.is_empty()
    }

    /// Whether the hashes fit each other. That they fit chunks and table is found when a path is made.
    pub fn is_sound(&self, hasher: &mut SumHasher) -> bool {
        let ascending = self.groups.windows(2).all(|pair| pair[0].number < pair[1].number);
        let of_bits = self.groups.iter().all(|group| {
            let bits = self.claimed.bytes_within(&chunks_of_group(group.number));
            !bits.is_empty() && !group.node.is_empty() && group.node.is_sound()
        });
        let sum = self
            .groups
            .iter()
            .try_fold(0u64, |sum, group| sum.checked_add(group.node.sum));
        ascending
            && of_bits
            && sum == Some(self.total.sum)
            && top(self.group_nodes(), GROUP_LEVELS, hasher) == self.total
    }

    /// The claimed chunk in which leaf `leaf` of this segment's claimed leaves is, which of its leaves that is, and the path from
    /// the chunk to the segment's node. Costs at most 1 022 hashes.
    ///
    /// # Errors
    /// [`RowError`]: the row is damaged, also when it has no such leaf.
    pub fn find(
        &self,
        leaf: u64,
        table: &SegmentTable,
        hasher: &mut SumHasher,
    ) -> Result<(HeldChunk, u32, SumPath), RowError> {
        let damaged = RowError::Damaged(table.header().segment);
        let mut rest = leaf;
        for group in &self.groups {
            if rest >= group.node.sum {
                rest -= group.node.sum;
                continue;
            }
            for index in self.claimed.within(chunks_of_group(group.number)) {
                let chunk = held_chunk(index, table)?;
                if rest < u64::from(chunk.leaves) {
                    let path = self.path(index, table, hasher)?;
                    return Ok((chunk, rest as u32, path));
                }
                rest -= u64::from(chunk.leaves);
            }
            return Err(damaged);
        }
        Err(damaged)
    }

    /// The path from claimed chunk `index` to the segment's node: the lower 16 levels of a claim's path.
    ///
    /// # Errors
    /// [`RowError`]: the chunk is not claimed, or the row is damaged.
    pub fn path(&self, index: u32, table: &SegmentTable, hasher: &mut SumHasher) -> Result<SumPath, RowError> {
        let damaged = RowError::Damaged(table.header().segment);
        let number = (index >> GROUP_LEVELS) as u8;
        let group = self.group(number).filter(|_| self.claimed.contains(index));
        let group = group.ok_or(damaged)?;
        let mut path = SumPath::default();
        let chunks = nodes_of(&self.claimed, chunks_of_group(number), table, hasher)?;
        let found = climb(chunks, index, 0, &mut path, hasher);
        let total = climb(self.group_nodes(), u32::from(number), GROUP_LEVELS, &mut path, hasher);
        if found == group && total == self.total {
            Ok(path)
        } else {
            Err(damaged)
        }
    }

    fn group(&self, number: u8) -> Option<SumNode> {
        let at = self.groups.binary_search_by_key(&number, |group| group.number).ok()?;
        Some(self.groups[at].node)
    }

    fn group_nodes(&self) -> Vec<Numbered> {
        let numbered = |group: &Group| (u32::from(group.number), group.node);
        self.groups.iter().map(numbered).collect()
    }
}

fn chunks_of_group(number: u8) -> Range<u32> {
    let first = u32::from(number) << GROUP_LEVELS;
    first..first + (1 << GROUP_LEVELS)
}

fn held_chunk(index: u32, table: &SegmentTable) -> Result<HeldChunk, RowError> {
    let segment = table.header().segment;
    let position = ChunkPosition::new(segment, index).ok_or(RowError::Damaged(segment))?;
    let row = table.chunk(index).ok_or(RowError::NoSuchChunk(position))?;
    Ok(HeldChunk {
        position,
        leaves: row.leaf_count(),
        id: row.id,
    })
}

fn nodes_of(
    claimed: &ChunkSet,
    range: Range<u32>,
    table: &SegmentTable,
    hasher: &mut SumHasher,
) -> Result<Vec<Numbered>, RowError> {
    let nodes = claimed.within(range).map(|index| {
        let chunk = held_chunk(index, table)?;
        Ok((index, hasher.chunk(chunk.position, chunk.leaves, &chunk.id)))
    });
    nodes.collect()
}

/// The node `levels` above `nodes`, which all lie under it; empty if there are none.
fn top(mut nodes: Vec<Numbered>, levels: u32, hasher: &mut SumHasher) -> SumNode {
    for _ in 0..levels {
        nodes = level_above(&nodes, hasher);
    }
    nodes.first().map_or(SumNode::EMPTY, |(_, node)| *node)
}

/// As [`top`] over eight levels that begin at level `first` of the claim, listing the siblings of `number` and of what is above it.
fn climb(mut nodes: Vec<Numbered>, number: u32, first: u32, path: &mut SumPath, hasher: &mut SumHasher) -> SumNode {
    for level in 0..GROUP_LEVELS {
        let sibling = (number >> level) ^ 1;
        if let Ok(at) = nodes.binary_search_by_key(&sibling, |(number, _)| *number) {
            path.push(first + level, nodes[at].1);
        }
        nodes = level_above(&nodes, hasher);
    }
    nodes.first().map_or(SumNode::EMPTY, |(_, node)| *node)
}

/// The nodes above `level`, whose nodes are ascending and not empty.
fn level_above(level: &[Numbered], hasher: &mut SumHasher) -> Vec<Numbered> {
    let mut above = Vec::with_capacity(level.len() / 2 + 1);
    let mut rest = level;
    while let [(number, node), after @ ..] = rest {
        let sibling = after.first().filter(|(other, _)| *other == number ^ 1);
        let (left, right) = match sibling {
            Some((_, right)) => (*node, *right),
            None if number & 1 == 1 => (SumNode::EMPTY, *node),
            None => (*node, SumNode::EMPTY),
        };
        above.push((number >> 1, hasher.above(&left, &right)));
        rest = &after[usize::from(sibling.is_some())..];
    }
    above
}
