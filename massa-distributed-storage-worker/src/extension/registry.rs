//! Final state as repair and readers need it: who stores, and which segment roots are accepted.

use super::room::FactorInForce;
use crate::board::SegmentBoard;
use crate::repair::assigned::SharedAssigned;
use crate::repair::driver::RepairRegistry;
use crate::serve::to_readers::Placement;
use crate::smart_contract::node_set::RegistryNodeSet;
use crate::storage_backend::SegmentStore;
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
    store: Arc<SegmentStore>,
    /// Where no registry says it.
    replication_factor: usize,
    factor: FactorInForce,
}

impl BoardRegistry {
    pub(super) fn new(
        nodes: Arc<RegistryNodeSet>,
        board: Arc<SegmentBoard>,
        store: Arc<SegmentStore>,
        replication_factor: usize,
    ) -> Self {
        Self {
            nodes,
            board,
            store,
            replication_factor,
            factor: FactorInForce::default(),
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
        let rooms = self.nodes.rooms();
        let open = rooms.0;
        let configured = self.nodes.replication_factor(open).unwrap_or(self.replication_factor);
        let bytes_until = |segment| {
            let table = self.store.table(segment).ok()??;
            Some(table.header().bytes_before.saturating_add(table.header().body_length))
        };
        let factor = self.factor.of(configured, rooms, &bytes_until);
        (self.nodes.node_set(open), factor)
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
