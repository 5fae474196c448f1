//! A node set as the incremental placement remembers it: what decides who holds, and nothing else.
//!
//! Retention is counted in whole segments here. A node that keeps `k` segments is a candidate for segment s while
//! s + k > e, e being the last segment that ended; so which nodes are candidates depends on e − s alone, and only on which of
//! the distinct `k` are above it. The smallest of them is the *reach* of a segment: candidates are the nodes that keep at least
//! so many.

use super::{Contender, HolderSearch, MAX_PLACEMENT_NODES};
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::types::Digest;
use massa_models::address::Address;
use massa_models::node::NodeId;
use std::fmt;
use std::sync::Arc;

const SET_DOMAIN: &[u8] = b"massa distributed storage: node set of a placement";
/// What a node keeps that keeps all.
const ALL: u64 = u64::MAX;

/// The nodes of a time, and the factor in force then.
#[derive(Clone, Debug)]
pub struct NodesInForce {
    /// Who stores.
    pub nodes: Arc<NodeSet>,
    /// Index of this node among them: see [`own_index`].
    pub own: Option<usize>,
    /// Holders of each chunk; 0 counts as 1.
    pub replication_factor: usize,
}

/// Index of this node: of the record under its node id that its operator registered. Without an operator (no registry, or none
/// is configured) the first under its node id.
pub fn own_index(nodes: &NodeSet, node_id: &NodeId, operator: Option<&Address>) -> Option<usize> {
    let is_own = |node: &StorageNode| {
        let is_operator = operator.map_or(true, |operator| node.address == *operator);
        node.node_id == Some(*node_id) && is_operator
    };
    nodes.nodes().iter().position(is_own)
}

/// Names a node set with its factor, and which of the nodes is this one: the first 16 bytes of a hash over what decides.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SetName(pub(super) [u8; 16]);

impl fmt::Debug for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What decides of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeRow {
    pub(super) key: Digest,
    pub(super) weight: u64,
    /// Segments; [`ALL`] without a limit.
    pub(super) kept_segments: u64,
    pub(super) filled: bool,
}

impl NodeRow {
    fn new(node: &StorageNode, segment_periods: u64) -> Self {
        Self {
            key: node.placement_key,
            weight: node.allocated_storage_gb,
            kept_segments: kept_segments(node, segment_periods),
            filled: node.filled,
        }
    }
}

fn kept_segments(node: &StorageNode, segment_periods: u64) -> u64 {
    match node.retention_periods {
        0 => ALL,
        periods => periods / segment_periods.max(1),
    }
}

/// Candidates that keep so many segments or more.
#[derive(Clone, Copy, Debug, Default)]
struct Keeping {
    at_least: u64,
    all: usize,
    filled: usize,
}

/// What a node is for the chunks of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// No candidate.
    None,
    /// One of those whose best hold: filled, or nobody asks.
    Counts,
    /// Unfilled while enough others are filled: an extra copy, where it ranks above the last of them.
    Extra,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct PlacedSet {
    pub(super) name: SetName,
    /// From 1 to 65 535.
    pub(super) factor: usize,
    pub(super) own: Option<u16>,
    /// In the order of their keys.
    pub(super) rows: Vec<NodeRow>,
    /// For each distinct number of kept segments, ascending.
    keeping: Vec<Keeping>,
}

impl PlacedSet {
    pub(super) fn new(in_force: &NodesInForce, segment_periods: u64) -> Self {
        let nodes = in_force.nodes.nodes().iter().take(MAX_PLACEMENT_NODES);
        let rows = nodes.map(|node| NodeRow::new(node, segment_periods)).collect();
        let own = in_force.own.and_then(|own| u16::try_from(own).ok());
        Self::of_rows(rows, own, in_force.replication_factor)
    }

    /// Rows are in the order of their keys, at most [`MAX_PLACEMENT_NODES`].
    pub(super) fn of_rows(rows: Vec<NodeRow>, own: Option<u16>, factor: usize) -> Self {
        let factor = factor.clamp(1, MAX_PLACEMENT_NODES);
        let own = own.filter(|own| usize::from(*own) < rows.len());
        Self {
            name: name_of(&rows, own, factor),
            keeping: keeping(&rows),
            factor,
            own,
            rows,
        }
    }

    /// The reach of a segment when `ended` is the last one that ended.
    pub(super) fn reach(&self, segment: u64, ended: Option<u64>) -> u64 {
        let age = ended.and_then(|ended| ended.checked_sub(segment));
        let out = self
            .keeping
            .partition_point(|keeping| age.is_some_and(|age| keeping.at_least <= age));
        self.keeping.get(out).map_or(ALL, |keeping| keeping.at_least)
    }

    /// Distinct numbers of segments that nodes with retention keep.
    pub(super) fn retentions(&self) -> impl Iterator<Item = u64> + '_ {
        let kept = self.keeping.iter().map(|keeping| keeping.at_least);
        kept.filter(|kept| *kept != ALL)
    }

    fn keeping(&self, reach: u64) -> Keeping {
        let at = self.keeping.partition_point(|keeping| keeping.at_least < reach);
        self.keeping.get(at).copied().unwrap_or_default()
    }

    /// Whether fewer than the factor are filled, so that all candidates count.
    pub(super) fn everybody_counts(&self, reach: u64) -> bool {
        self.keeping(reach).filled < self.factor
    }

    /// Whether some candidates are unfilled and count as extras.
    pub(super) fn has_extras(&self, reach: u64) -> bool {
        !self.everybody_counts(reach) && self.keeping(reach).filled < self.keeping(reach).all
    }

    /// Nodes that count for a segment.
    pub(super) fn counting(&self, reach: u64) -> usize {
        let keeping = self.keeping(reach);
        if keeping.filled < self.factor {
            keeping.all
        } else {
            keeping.filled
        }
    }

    /// Nodes that are remembered for each chunk of a segment: the best of those that count.
    pub(super) fn stride(&self, reach: u64) -> usize {
        self.counting(reach).min(self.factor)
    }

    pub(super) fn role(&self, row: &NodeRow, reach: u64) -> Role {
        if row.weight == 0 || row.kept_segments < reach {
            Role::None
        } else if row.filled || self.everybody_counts(reach) {
            Role::Counts
        } else {
            Role::Extra
        }
    }

    pub(super) fn contender(&self, index: usize) -> Contender {
        let row = &self.rows[index];
        Contender {
            key: row.key,
            weight: row.weight,
            index: index as u16,
        }
    }

    /// The candidates for a segment, prepared.
    pub(super) fn search(&self, reach: u64) -> HolderSearch {
        let mut search = HolderSearch {
            replication_factor: self.factor,
            filled: Vec::new(),
            unfilled: Vec::new(),
        };
        for (index, row) in self.rows.iter().enumerate() {
            match (self.role(row, reach), row.filled) {
                (Role::None, _) => {}
                (_, true) => search.filled.push(self.contender(index)),
                (_, false) => search.unfilled.push(self.contender(index)),
            }
        }
        search
    }
}

/// The nodes that may hold chunks of `segment` when `ended` is the last segment that ended, prepared for finding holders. For
/// a set that is not the newest: that of a round that is still in use.
///
/// Costs a pass over the set; [`HolderSearch::find`] with nobody skipped then costs a hash for each candidate.
pub fn search_of_segment(in_force: &NodesInForce, segment_periods: u64, segment: u64, ended: u64) -> HolderSearch {
    let set = PlacedSet::new(in_force, segment_periods);
    set.search(set.reach(segment, Some(ended)))
}

fn keeping(rows: &[NodeRow]) -> Vec<Keeping> {
    let candidates = rows.iter().filter(|row| row.weight > 0);
    let mut kept: Vec<(u64, bool)> = candidates.map(|row| (row.kept_segments, row.filled)).collect();
    kept.sort_unstable_by(|left, right| right.cmp(left));
    let mut list: Vec<Keeping> = Vec::new();
    let mut sum = Keeping::default();
    for (at_least, filled) in kept {
        sum = Keeping {
            at_least,
            all: sum.all + 1,
            filled: sum.filled + usize::from(filled),
        };
        match list.last_mut() {
            Some(last) if last.at_least == at_least => *last = sum,
            _ => list.push(sum),
        }
    }
    list.reverse();
    list
}

/// `H(domain | factor u32 | own u32 | for each node: key (32) | weight u64 | kept segments u64 | filled u8)`, little-endian.
fn name_of(rows: &[NodeRow], own: Option<u16>, factor: usize) -> SetName {
    let mut hasher = blake3::Hasher::new();
    hasher.update(SET_DOMAIN);
    hasher.update(&(factor as u32).to_le_bytes());
    hasher.update(&own.map_or(u32::MAX, u32::from).to_le_bytes());
    for row in rows {
        hasher.update(&row.key);
        hasher.update(&row.weight.to_le_bytes());
        hasher.update(&row.kept_segments.to_le_bytes());
        hasher.update(&[u8::from(row.filled)]);
    }
    let mut name = [0; 16];
    name.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    SetName(name)
}
