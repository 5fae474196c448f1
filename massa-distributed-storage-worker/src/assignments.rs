//! Who holds which chunk, for the threads of this node: [`Placement`] behind a lock, kept in step with the archive.

use crate::replication::{log_line, Placement};
use crate::storage_backend::Store;
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::registry::{NodeSet, StorageRegistry};
use massa_models::node::NodeId;
use parking_lot::Mutex;
use std::sync::Arc;

/// Placement of all archived chunks.
#[derive(Debug)]
pub struct Assignments {
    own: NodeId,
    replication_factor: usize,
    segment_periods: u64,
    registry: Arc<dyn StorageRegistry>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    nodes: Arc<NodeSet>,
    placement: Placement,
    /// The first period that is not part of the placement yet.
    frontier: u64,
}

impl Assignments {
    /// Placement of nothing yet. `own` is this node; `first_period` the first one that is placed.
    pub fn new(
        own: NodeId,
        registry: Arc<dyn StorageRegistry>,
        replication_factor: usize,
        segment_periods: u64,
        first_period: u64,
    ) -> Self {
        let nodes = registry.node_set(first_period / segment_periods);
        let state = State {
            placement: Placement::new(NodeSet::clone(&nodes), replication_factor),
            nodes,
            frontier: first_period,
        };
        Self {
            own,
            replication_factor,
            segment_periods,
            registry,
            state: Mutex::new(state),
        }
    }

    /// This node.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// Nodes that hold each chunk.
    pub fn replication_factor(&self) -> usize {
        self.replication_factor
    }

    /// The nodes that count now.
    pub fn nodes(&self) -> Arc<NodeSet> {
        Arc::clone(&self.state.lock().nodes)
    }

    /// Bytes assigned to each node of [`Assignments::nodes`], in their order.
    pub fn assigned_bytes(&self) -> Vec<u64> {
        let state = self.state.lock();
        (0..state.nodes.nodes().len())
            .map(|node| state.placement.assigned_bytes(node))
            .collect()
    }

    /// Takes in every period that is archived without a gap. Called after the store was opened, and after each archived
    /// period.
    pub fn catch_up(&self, store: &Store) {
        let mut state = self.state.lock();
        let segment = store.last_period().ok().flatten().unwrap_or(0) / self.segment_periods;
        let nodes = self.registry.node_set(segment);
        if nodes != state.nodes {
            *state = State {
                placement: Placement::new(NodeSet::clone(&nodes), self.replication_factor),
                nodes,
                frontier: store.parameters().first_period,
            };
        }
        let floor = store.floor();
        if floor > state.frontier {
            state.frontier = floor;
        }
        state.placement.forget_below(floor);
        while let Ok(Some(manifest)) = store.manifest(state.frontier) {
            let period = state.frontier;
            state.placement.assign_period(period, &manifest.chunks);
            state.frontier += 1;
        }
    }

    /// Who holds each chunk of a period, best first.
    pub fn holders(&self, period: u64, chunks: &[ChunkEntry]) -> Vec<Vec<NodeId>> {
        let state = self.state.lock();
        let nodes = state.nodes.nodes();
        let id_of = |indexes: Vec<usize>| indexes.into_iter().map(|index| nodes[index].node_id).collect();
        state.placed(period, chunks).into_iter().map(id_of).collect()
    }

    /// Which chunks of a period are assigned to this node.
    pub fn mine(&self, period: u64, chunks: &[ChunkEntry]) -> Vec<bool> {
        self.holders(period, chunks)
            .iter()
            .map(|nodes| nodes.contains(&self.own))
            .collect()
    }

    /// `Chunks assigned to nodes: …` for a period; `None` when no node counts.
    pub fn log_line(&self, period: u64, chunks: &[ChunkEntry]) -> Option<String> {
        let state = self.state.lock();
        if state.nodes.nodes().is_empty() {
            return None;
        }
        Some(log_line(state.nodes.nodes(), &state.placed(period, chunks)))
    }
}

impl State {
    fn placed(&self, period: u64, chunks: &[ChunkEntry]) -> Vec<Vec<usize>> {
        match self.placement.holders_of_period(period) {
            Some(placed) if placed.len() == chunks.len() => placed,
            _ => self.placement.provisional(chunks),
        }
    }
}
