//! Final state as repair and readers need it: who stores, and which segment roots are accepted.

use crate::board::SegmentBoard;
use crate::repair::assigned::SharedAssigned;
use crate::repair::driver::RepairRegistry;
use crate::serve::to_readers::Placement;
use crate::smart_contract::node_set::RegistryNodeSet;
use massa_distributed_storage_exports::registry::{NodeSet, StorageRegistry};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, SegmentRoot};
use massa_models::node::NodeId;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The node set of the registry, and what the rounds read of it. Without a registry: the nodes of the genesis file, and nothing
/// is accepted.
#[derive(Debug)]
pub(super) struct BoardRegistry {
    nodes: Arc<RegistryNodeSet>,
    board: Arc<SegmentBoard>,
    /// Where no registry says it.
    replication_factor: usize,
}

impl BoardRegistry {
    pub(super) fn new(nodes: Arc<RegistryNodeSet>, board: Arc<SegmentBoard>, replication_factor: usize) -> Self {
        Self {
            nodes,
            board,
            replication_factor,
        }
    }

    pub(super) fn has_registry(&self) -> bool {
        self.nodes.address().is_some()
    }

    pub(super) fn nodes(&self) -> &Arc<RegistryNodeSet> {
        &self.nodes
    }
}

impl RepairRegistry for BoardRegistry {
    fn accepted(&self) -> Arc<BTreeMap<u64, SegmentRoot>> {
        self.board.accepted()
    }

    fn in_force(&self) -> (Arc<NodeSet>, usize) {
        let open = self.nodes.open_round().unwrap_or(0);
        let factor = self.nodes.replication_factor(open);
        (self.nodes.node_set(open), factor.unwrap_or(self.replication_factor))
    }

    fn final_rounds(&self) -> Option<(u64, u64)> {
        self.board.final_rounds()
    }
}

/// Who should hold a chunk, for readers.
pub(super) struct PlacedHolders(pub(super) SharedAssigned);

impl Placement for PlacedHolders {
    fn holders(&self, position: ChunkPosition, chunk: &ChunkId) -> Vec<NodeId> {
        self.0.read().holders(position, chunk)
    }
}
