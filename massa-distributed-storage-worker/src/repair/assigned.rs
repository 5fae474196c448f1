//! What is assigned to this node, as the threads of the worker share it.
//!
//! The repair thread changes it; the writer asks it when a segment closes and before it drops chunks; the server asks it which
//! chunks this node promises to keep. Whoever drops chunks holds the lock meanwhile, so that assignments cannot change under it:
//! that is what hand-over relies on ([`super::handover_segment`]).

use super::handover_segment::Assignment;
use crate::archive::ingest::{Keep, KeepChunk};
use crate::replication::{own_index, NodesInForce, PlacementRules, SegmentPlacement, Standing, Standings};
use crate::serve::to_peers::AssignedChunks;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::address::Address;
use massa_models::node::NodeId;
use parking_lot::RwLock;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct Assigned {
    placement: SegmentPlacement,
    own: NodeId,
    operator: Option<Address>,
    epoch: u64,
}

/// Shared by threads.
pub type SharedAssigned = Arc<RwLock<Assigned>>;

impl Assigned {
    /// Nobody is assigned anything until [`Assigned::set_nodes`]. `operator`: see [`own_index`].
    pub fn new(rules: PlacementRules, own: NodeId, operator: Option<Address>) -> Self {
        let nobody = NodesInForce {
            nodes: Arc::default(),
            own: None,
            replication_factor: 1,
        };
        Self {
            placement: SegmentPlacement::new(rules, nobody),
            own,
            operator,
            epoch: 0,
        }
    }

    /// To be shared.
    pub fn shared(self) -> SharedAssigned {
        Arc::new(RwLock::new(self))
    }

    /// Where chunks are placed.
    pub fn placement(&self) -> &SegmentPlacement {
        &self.placement
    }

    /// The same, to be brought on.
    pub fn placement_mut(&mut self) -> &mut SegmentPlacement {
        &mut self.placement
    }

    /// Another number whenever assignments changed.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whether these are the nodes in force already. Compares addresses, not contents.
    pub fn has_nodes(&self, nodes: &Arc<NodeSet>, replication_factor: usize) -> bool {
        let known = self.placement.nodes();
        Arc::ptr_eq(&known.nodes, nodes) && known.replication_factor == replication_factor
    }

    /// Other nodes count from now on.
    pub fn set_nodes(&mut self, nodes: Arc<NodeSet>, replication_factor: usize) {
        let known = self.placement.nodes();
        let changed = *known.nodes != *nodes || known.replication_factor != replication_factor;
        let own_of = |operator| own_index(&nodes, &self.own, operator);
        // What its operator did not register, or the genesis file names under another address, is this node all the same.
        let own = own_of(self.operator.as_ref()).or_else(|| own_of(None));
        self.placement.set_nodes(NodesInForce {
            nodes,
            own,
            replication_factor,
        });
        self.epoch += u64::from(changed);
    }

    /// Who may drop a segment's chunks changed, because nodes keep newer ones only.
    pub fn note_retention(&mut self) {
        let limited = |node: &StorageNode| node.retention_periods > 0;
        self.epoch += u64::from(self.placement.nodes().nodes.nodes().iter().any(limited));
    }

    /// Who should hold a chunk; `None` while that is not settled.
    pub fn of(&self, position: ChunkPosition) -> Option<Assignment> {
        let counting = self.placement.counting_holders(position)?;
        if self.placement.is_mine(position)? {
            return Some(Assignment::Own);
        }
        let in_force = self.placement.nodes();
        let nodes = in_force.nodes.nodes();
        Some(Assignment::new(
            &counting,
            nodes,
            &self.own,
            in_force.replication_factor,
        ))
    }

    /// The other nodes that should hold a chunk, best first.
    pub fn holders(&self, position: ChunkPosition, chunk: &ChunkId) -> Vec<NodeId> {
        let nodes = self.placement.nodes().nodes.nodes();
        let holders = self.placement.holders(position, chunk);
        let ids = holders.into_iter().filter_map(|index| nodes.get(index)?.node_id);
        ids.filter(|id| *id != self.own).collect()
    }
}

/// For the server: what is assigned to this node.
pub fn assigned_chunks(assigned: &SharedAssigned) -> AssignedChunks {
    let assigned = Arc::clone(assigned);
    Arc::new(move |segment| {
        let assigned = assigned.read();
        let mine = assigned.placement.mine_of(segment);
        mine.map(|own| own.position.index.0).collect()
    })
}

/// For the writer: what is kept of a segment that closes.
pub fn keep_assigned(assigned: &SharedAssigned) -> KeepChunk {
    let assigned = Arc::clone(assigned);
    let mut prepared: Option<(u64, u64, Standings)> = None;
    Box::new(move |position: ChunkPosition, chunk: &TableChunk| {
        let assigned = assigned.read();
        let segment = position.segment;
        let is_current = |(of, epoch, _): &(u64, u64, Standings)| *of == segment && *epoch == assigned.epoch;
        if !prepared.as_ref().is_some_and(is_current) {
            prepared = Some((segment, assigned.epoch, assigned.placement.standings(segment)));
        }
        let standing = prepared.as_mut().map(|(.., standings)| standings.own(&chunk.id));
        match standing {
            Some(Standing::Holder) => Some(Keep::Holder),
            Some(Standing::Backup) => Some(Keep::Backup),
            Some(Standing::Neither) | None => None,
        }
    })
}
