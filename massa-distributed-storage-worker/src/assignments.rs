//! Who holds which chunk, for the threads of this node: [`Placement`] behind a lock, kept in step with the archive.
//!
//! When the node set changes, every chunk is placed anew beside the placement that is in force, which goes on answering
//! until the new one is whole; then they change places. So answers are always those of one node set, and nobody waits for
//! more than the placing of one period.

use crate::handover::Assignment;
use crate::replication::{self, log_line, Placement};
use crate::storage_backend::Store;
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode, StorageRegistry};
use massa_distributed_storage_exports::ChunkId;
use massa_models::node::NodeId;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Node sets before the one in force that are remembered: whose chunks may not all have been handed over yet.
const FORMER_SETS: usize = 3;
/// A good budget for [`Assignments::catch_up_for`]: what a thread with other work can spare.
pub const CATCH_UP_SLICE: Duration = Duration::from_millis(50);

/// Placement of all archived chunks.
#[derive(Debug)]
pub struct Assignments {
    own: NodeId,
    /// Where the registry does not say.
    replication_factor: usize,
    segment_periods: u64,
    registry: Arc<dyn StorageRegistry>,
    state: Mutex<State>,
    /// What will replace the placement in force. Whoever holds this lock may place, or keep others from doing so; taken
    /// before that of `state`.
    next: Mutex<Option<Placed>>,
}

#[derive(Debug)]
struct State {
    current: Placed,
    /// The newest first.
    former: VecDeque<Arc<NodeSet>>,
    /// How often the placement was replaced.
    epoch: u64,
    /// Periods were replaced that are placed: all is placed anew, as if the node set had changed.
    is_stale: bool,
}

/// A node set with what it places.
#[derive(Debug)]
struct Placed {
    nodes: Arc<NodeSet>,
    replication_factor: usize,
    placement: Placement,
    /// The first period that is not part of the placement yet.
    frontier: u64,
}

impl Placed {
    fn new(nodes: Arc<NodeSet>, replication_factor: usize, first_period: u64) -> Self {
        Self {
            placement: Placement::new(NodeSet::clone(&nodes), replication_factor),
            nodes,
            replication_factor,
            frontier: first_period,
        }
    }

    fn forget_below(&mut self, floor: u64) {
        self.frontier = self.frontier.max(floor);
        self.placement.forget_below(floor);
    }

    fn add(&mut self, period: u64, chunks: &[ChunkEntry]) {
        self.placement.assign_period(period, chunks);
        self.frontier = period + 1;
    }

    fn holders(&self, period: u64, chunks: &[ChunkEntry]) -> Vec<Vec<usize>> {
        match self.placement.holders_of_period(period) {
            Some(placed) if placed.len() == chunks.len() => placed,
            _ => self.placement.provisional(chunks),
        }
    }
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
        let segment = registry.open_segment().unwrap_or(first_period / segment_periods);
        let nodes = registry.node_set(segment);
        let factor = registry.replication_factor(segment).unwrap_or(replication_factor);
        let state = State {
            current: Placed::new(nodes, factor, first_period),
            former: VecDeque::new(),
            epoch: 0,
            is_stale: false,
        };
        Self {
            own,
            replication_factor,
            segment_periods,
            registry,
            state: Mutex::new(state),
            next: Mutex::new(None),
        }
    }

    /// This node.
    pub fn own(&self) -> NodeId {
        self.own
    }

    /// Nodes that hold each chunk.
    pub fn replication_factor(&self) -> usize {
        self.state.lock().current.replication_factor
    }

    /// The nodes that count now.
    pub fn nodes(&self) -> Arc<NodeSet> {
        Arc::clone(&self.state.lock().current.nodes)
    }

    /// How often all chunks were placed anew because the node set changed.
    pub fn epoch(&self) -> u64 {
        self.state.lock().epoch
    }

    /// Bytes assigned to each node of [`Assignments::nodes`], in their order.
    pub fn assigned_bytes(&self) -> Vec<u64> {
        let state = self.state.lock();
        (0..state.current.nodes.nodes().len())
            .map(|node| state.current.placement.assigned_bytes(node))
            .collect()
    }

    /// Takes in every period that is archived without a gap, and places all of them anew if the node set changed. For the
    /// start of a node, which waits for it.
    pub fn catch_up(&self, store: &Store) {
        while !self.catch_up_for(store, Duration::MAX) {}
    }

    /// As [`Assignments::catch_up`], ending after about `budget`; returns whether nothing is left to do. Called after each
    /// archived period, and from time to time. Answers are those of the former node set until all is placed.
    pub fn catch_up_for(&self, store: &Store, budget: Duration) -> bool {
        let until = Instant::now().checked_add(budget);
        let is_over = || until.is_some_and(|until| Instant::now() >= until);
        let mut next = self.next.lock();
        self.begin_next(store, &mut next);
        let floor = store.floor();
        self.state.lock().current.forget_below(floor);
        loop {
            let frontier = self.state.lock().current.frontier;
            let Ok(Some(manifest)) = store.manifest(frontier) else {
                break;
            };
            self.state.lock().current.add(frontier, &manifest.chunks);
            if is_over() {
                return false;
            }
        }
        let Some(mut placed) = next.take() else { return true };
        placed.forget_below(floor);
        while let Ok(Some(manifest)) = store.manifest(placed.frontier) {
            placed.add(placed.frontier, &manifest.chunks);
            if is_over() {
                *next = Some(placed);
                return false;
            }
        }
        self.replace(placed, store);
        true
    }

    /// Chunks of archived periods are others than they were: everything is placed anew.
    pub fn place_again(&self) {
        let mut next = self.next.lock();
        *next = None;
        self.state.lock().is_stale = true;
    }

    /// Begins to place anew if the node set is not the one in force, nor the one that is being placed.
    fn begin_next(&self, store: &Store, next: &mut Option<Placed>) {
        let archived = store.last_period().ok().flatten().unwrap_or(0) / self.segment_periods;
        // An archive that is behind is placed by what counts now, not by what counted then.
        let segment = self.registry.open_segment().unwrap_or(0).max(archived);
        let nodes = self.registry.node_set(segment);
        let factor = self.registry.replication_factor(segment);
        let factor = factor.unwrap_or(self.replication_factor);
        let new = || Placed::new(Arc::clone(&nodes), factor, store.parameters().first_period);
        let is_wanted = |placed: &Placed| places_alike(&placed.nodes, &nodes) && placed.replication_factor == factor;
        let mut state = self.state.lock();
        if is_wanted(&state.current) && !state.is_stale {
            state.current.nodes = nodes;
            *next = None;
        } else if state.current.placement.last_period().is_none() {
            // Nothing was placed yet, so nothing has to be handed over.
            state.current = new();
            state.is_stale = false;
            *next = None;
        } else if !next.as_ref().is_some_and(is_wanted) {
            *next = Some(new());
        }
    }

    fn replace(&self, placed: Placed, store: &Store) {
        let mut state = self.state.lock();
        let former = std::mem::replace(&mut state.current, placed);
        state.former.push_front(Arc::clone(&former.nodes));
        state.former.truncate(FORMER_SETS);
        state.epoch += 1;
        state.is_stale = false;
        drop(state);
        store.note_assignments_changed();
    }

    /// Runs `action` while the placement in force cannot be replaced; `None` if it is no longer the one of `epoch`.
    pub fn while_in_force<T>(&self, epoch: u64, action: impl FnOnce() -> T) -> Option<T> {
        let _still = self.next.lock();
        (self.epoch() == epoch).then(action)
    }

    /// Who holds each chunk of a period, best first. Holders that cannot be asked are left out.
    pub fn holders(&self, period: u64, chunks: &[ChunkEntry]) -> Vec<Vec<NodeId>> {
        let state = self.state.lock();
        let nodes = state.current.nodes.nodes();
        let id_of = |indexes: Vec<usize>| indexes.into_iter().filter_map(|index| nodes[index].node_id).collect();
        state.current.holders(period, chunks).into_iter().map(id_of).collect()
    }

    /// Whom to ask for each chunk of a period: who holds it, then who held it before.
    pub fn sources(&self, period: u64, chunks: &[ChunkEntry]) -> Vec<Vec<NodeId>> {
        let mut sources = self.holders(period, chunks);
        for (nodes, chunk) in sources.iter_mut().zip(chunks) {
            let former = self.former_holders(&chunk.id).into_iter();
            let former: Vec<NodeId> = former.filter(|node| !nodes.contains(node)).collect();
            nodes.extend(former);
        }
        sources
    }

    /// Which chunks of a period are assigned to this node.
    pub fn mine(&self, period: u64, chunks: &[ChunkEntry]) -> Vec<bool> {
        self.holders(period, chunks)
            .iter()
            .map(|nodes| nodes.contains(&self.own))
            .collect()
    }

    /// Who should hold each chunk of a period, for hand-over: `None` unless the period is placed for good.
    pub fn settled(&self, period: u64) -> Option<Vec<Assignment>> {
        let state = self.state.lock();
        let holders = state.current.placement.holders_of_period(period)?;
        let nodes = state.current.nodes.nodes();
        let of_chunk =
            |holders: &Vec<usize>| Assignment::new(holders, nodes, &self.own, state.current.replication_factor);
        Some(holders.iter().map(of_chunk).collect())
    }

    /// Who held a chunk under the node sets before, the latest first: whom to ask while it is handed over.
    ///
    /// Costs a hash for each node of each set. Whether one of them was full then is not looked at.
    pub fn former_holders(&self, chunk_id: &ChunkId) -> Vec<NodeId> {
        let state = self.state.lock();
        let former: Vec<Arc<NodeSet>> = state.former.iter().cloned().collect();
        let factor = state.current.replication_factor;
        drop(state);
        let mut ids = Vec::new();
        for nodes in former {
            let holders = replication::holders(chunk_id, &nodes, factor, &|_| false);
            for id in holders.into_iter().filter_map(|index| nodes.nodes()[index].node_id) {
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
        }
        ids
    }

    /// `Chunks assigned to nodes: …` for a period; `None` when no node counts.
    pub fn log_line(&self, period: u64, chunks: &[ChunkEntry]) -> Option<String> {
        let state = self.state.lock();
        if state.current.nodes.nodes().is_empty() {
            return None;
        }
        Some(log_line(
            state.current.nodes.nodes(),
            &state.current.holders(period, chunks),
        ))
    }
}

/// Whether two sets place every chunk on the same nodes: where these listen is another matter.
fn places_alike(left: &NodeSet, right: &NodeSet) -> bool {
    let places = |nodes: &NodeSet| -> Vec<_> {
        let of_node = |node: &StorageNode| {
            let weight = (node.allocated_storage_gb, node.filled);
            (node.placement_key, node.node_id, weight)
        };
        nodes.nodes().iter().map(of_node).collect()
    };
    places(left) == places(right)
}
