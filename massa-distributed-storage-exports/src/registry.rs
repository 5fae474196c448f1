//! Who stores: the node set, and where it comes from.

use crate::types::Digest;
use massa_models::address::Address;
use massa_models::node::NodeId;
use std::fmt::Debug;
use std::net::SocketAddr;
use std::sync::Arc;

/// A node that offers disk space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageNode {
    /// Who it is in the network of peers. One that did not say so is placed like any other, since the registry counts it too,
    /// and can be asked nothing.
    pub node_id: Option<NodeId>,
    /// Its operator.
    pub address: Address,
    /// What its scores are computed from.
    pub placement_key: Digest,
    /// Disk space it offers, in GB of 2³⁰ bytes: its weight. 0 is assigned nothing.
    pub allocated_storage_gb: u64,
    /// Whether it holds its share, so that others may rely on it (design, section 6).
    pub filled: bool,
    /// How many of the newest periods it keeps; 0: all. Announced when it registers (design, section 6, retention).
    pub retention_periods: u64,
    /// Where peers reach it.
    pub listeners: Vec<SocketAddr>,
}

/// The storage nodes that count in a round, in ascending order of their placement keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeSet {
    nodes: Vec<StorageNode>,
}

impl NodeSet {
    /// A set of nodes, in any order; of nodes with one placement key only the first counts.
    pub fn new(mut nodes: Vec<StorageNode>) -> Self {
        nodes.sort_by_key(|node| node.placement_key);
        nodes.dedup_by_key(|node| node.placement_key);
        Self { nodes }
    }

    /// The nodes, in ascending order of their placement keys.
    pub fn nodes(&self) -> &[StorageNode] {
        &self.nodes
    }
}

/// Where the node set comes from: the genesis file, or the registry contract.
///
/// A set belongs to a round: while that is open, its set places *every* chunk, those of the oldest segments too, so that a
/// node that joins takes over its share of the whole history (design, section 6, hand-over). A set is remembered for the
/// few rounds that a claim or a refutation can still be about, not for ever.
pub trait StorageRegistry: Send + Sync + Debug {
    /// The nodes that count in `round`. The same on every node. Of a round that is forgotten, or not known yet: the
    /// nearest one that is known.
    fn node_set(&self, round: u64) -> Arc<NodeSet>;

    /// The round that is open in final state, where that is known: the archive may be behind it.
    fn open_round(&self) -> Option<u64> {
        None
    }

    /// Nodes that hold each chunk in `round`, where the registry decides that.
    fn replication_factor(&self, _round: u64) -> Option<usize> {
        None
    }
}

/// A node set that never changes: from the genesis file.
#[derive(Clone, Debug)]
pub struct FixedRegistry {
    nodes: Arc<NodeSet>,
}

impl FixedRegistry {
    /// A registry of these nodes.
    pub fn new(nodes: NodeSet) -> Self {
        Self { nodes: Arc::new(nodes) }
    }
}

impl StorageRegistry for FixedRegistry {
    fn node_set(&self, _round: u64) -> Arc<NodeSet> {
        Arc::clone(&self.nodes)
    }
}
