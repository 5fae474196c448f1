//! The upper 24 levels of a claim, above the segments: in memory, and shared between claims.
//!
//! A change makes new nodes on the way from each changed segment to the root, and shares all others with what was there before. So
//! a claim that was sent is kept by keeping its root: it costs what changed since.

use crate::challenge::segment_claim::row::SEGMENT_LEVELS;
use crate::challenge::sums::{Claim, SumHasher, SumNode, SumPath};
use massa_distributed_storage_exports::types::{ChunkPosition, MAX_SEGMENTS};
use std::sync::Arc;

/// Levels above the segments.
const LEVELS: u32 = ChunkPosition::BITS - SEGMENT_LEVELS;

type Branch = Option<Arc<Node>>;

/// A node under which something is claimed. At level 0 it is a segment, and has nothing below.
#[derive(Debug)]
struct Node {
    node: SumNode,
    left: Branch,
    right: Branch,
}

/// The tree over segments. About 150 bytes for each segment of which something is claimed.
#[derive(Clone, Debug, Default)]
pub struct UpperTree {
    root: Branch,
}

impl UpperTree {
    /// What this tree commits to.
    pub fn claim(&self) -> Claim {
        node_of(&self.root).as_claim()
    }

    /// The node of a segment; empty if nothing of it is claimed.
    pub fn segment(&self, segment: u64) -> SumNode {
        let mut branch = &self.root;
        for level in (0..LEVELS).rev() {
            let Some(node) = branch else { return SumNode::EMPTY };
            branch = node.side(segment >> level & 1 == 1);
        }
        node_of(branch)
    }

    /// This tree with other nodes for some segments, ascending by segment, each once and below [`MAX_SEGMENTS`]; an empty node
    /// removes one.
    ///
    /// Costs at most 24 hashes for each, fewer where they lie together.
    pub fn with(&self, changes: &[(u64, SumNode)], hasher: &mut SumHasher) -> Self {
        debug_assert!(changes.windows(2).all(|pair| pair[0].0 < pair[1].0));
        debug_assert!(changes.iter().all(|(segment, _)| *segment < MAX_SEGMENTS));
        Self {
            root: changed(&self.root, LEVELS, changes, hasher),
        }
    }

    /// The segment in which claimed leaf `leaf` is, and which of the segment's claimed leaves that is; `None` beyond the claim.
    pub fn find(&self, leaf: u64) -> Option<(u64, u64)> {
        let (mut branch, mut segment, mut rest) = (&self.root, 0, leaf);
        if leaf >= node_of(branch).sum {
            return None;
        }
        for _ in 0..LEVELS {
            let node = branch.as_ref()?;
            let left = node_of(&node.left).sum;
            let right = rest >= left;
            if right {
                rest -= left;
            }
            segment = segment << 1 | u64::from(right);
            branch = node.side(right);
        }
        Some((segment, rest))
    }

    /// Continues a path from a segment's node to the root; false if nothing of the segment is claimed. Hashes nothing.
    pub fn continue_path(&self, segment: u64, path: &mut SumPath) -> bool {
        let mut siblings = [SumNode::EMPTY; LEVELS as usize];
        let mut branch = &self.root;
        for level in (0..LEVELS).rev() {
            let Some(node) = branch else { return false };
            let right = segment >> level & 1 == 1;
            siblings[level as usize] = node_of(node.side(!right));
            branch = node.side(right);
        }
        for (sibling, level) in siblings.into_iter().zip(SEGMENT_LEVELS..) {
            path.push(level, sibling);
        }
        branch.is_some()
    }
}

impl Node {
    fn side(&self, right: bool) -> &Branch {
        if right {
            &self.right
        } else {
            &self.left
        }
    }
}

fn node_of(branch: &Branch) -> SumNode {
    branch.as_ref().map_or(SumNode::EMPTY, |node| node.node)
}

fn changed(branch: &Branch, level: u32, changes: &[(u64, SumNode)], hasher: &mut SumHasher) -> Branch {
    let Some((_, last)) = changes.last() else {
        return branch.clone();
    };
    let leaf = |node: SumNode| Node {
        node,
        left: None,
        right: None,
    };
    let Some(below) = level.checked_sub(1) else {
        return (!last.is_empty()).then(|| Arc::new(leaf(*last)));
    };
    let (to_left, to_right) = changes.split_at(changes.partition_point(|(segment, _)| segment >> below & 1 == 0));
    let side = |right: bool| branch.as_ref().and_then(|node| node.side(right).clone());
    let left = changed(&side(false), below, to_left, hasher);
    let right = changed(&side(true), below, to_right, hasher);
    if left.is_none() && right.is_none() {
        return None;
    }
    Some(Arc::new(Node {
        node: hasher.above(&node_of(&left), &node_of(&right)),
        left,
        right,
    }))
}
