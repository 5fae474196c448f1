//! What other threads ask of this node's part in the rounds.

use crate::repair::assigned::SharedAssigned;
use crate::rounds::claims::Claims;
use crate::rounds::earnings::{Earnings, RoundEarnings, Totals};
use crate::rounds::guard::Guard;
use crate::rounds::repairs::Announced;
use crate::rounds::timing::AnswerWindow;
use crate::storage_backend::SegmentStore;
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::types::LEAF_BYTES;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use parking_lot::Mutex;
use std::sync::Arc;
use tracing::{debug, info};

/// What is known of this node's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundStatus {
    /// The round that is open in final state.
    pub round: Option<u64>,
    /// The last final period.
    pub period: u64,
    /// Why not more: what the operator should know, in plain words.
    pub notes: Vec<String>,
    /// Segments whose root is accepted.
    pub segments_accepted: u64,
    /// The first segment whose accepted root is not this node's own.
    pub differing_segment: Option<u64>,
    /// Rounds until the pool is empty at the rate of the last one that was paid; `None` if nothing was.
    pub rounds_left_in_pool: Option<u64>,
}

/// What this node claims.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClaimedNow {
    /// The newest round for which a claim was sent, or is about to be.
    pub round: Option<u64>,
    /// Leaves of that claim.
    pub leaves: u64,
    /// About as many bytes: each chunk is rounded up to whole leaves.
    pub bytes: u64,
    /// Leaves that the claim for the next round has so far.
    pub next_leaves: u64,
}

pub(super) struct Shared {
    pub(super) store: Arc<SegmentStore>,
    pub(super) assigned: SharedAssigned,
    pub(super) host: Arc<dyn ContractHost>,
    pub(super) claims: Arc<Claims>,
    /// `None` until the registry told how long a round is.
    pub(super) guard: Mutex<Option<Guard>>,
    pub(super) status: Mutex<RoundStatus>,
    pub(super) earnings: Mutex<Earnings>,
}

/// Asks for this node's part in the rounds.
#[derive(Clone)]
pub struct RoundHandle(pub(super) Arc<Shared>);

impl RoundHandle {
    /// What is known.
    pub fn status(&self) -> RoundStatus {
        self.0.status.lock().clone()
    }

    /// What was earned: the last `count` rounds, oldest first, and the totals.
    pub fn earnings(&self, count: usize) -> (Vec<RoundEarnings>, Totals) {
        let earnings = self.0.earnings.lock();
        let mut rounds: Vec<RoundEarnings> = earnings.rounds().rev().take(count).cloned().collect();
        rounds.reverse();
        (rounds, earnings.totals())
    }

    /// What is claimed now.
    pub fn claim(&self) -> ClaimedNow {
        let newest = self.0.claims.newest();
        let leaves = newest.map_or(0, |sent| sent.claim.leaves);
        ClaimedNow {
            round: newest.map(|sent| sent.round),
            leaves,
            bytes: leaves.saturating_mul(LEAF_BYTES as u64),
            next_leaves: self.0.claims.current().leaves,
        }
    }

    /// Whether a chunk is in a claim that is not over, or in the one that is sent next: then it must be kept.
    pub fn is_claimed(&self, position: ChunkPosition) -> bool {
        self.0.claims.is_claimed(position)
    }

    /// Whether pages of a chunk may be served to a node. While answers to draws are taken, a node that claimed the round gets
    /// none of what is assigned to it and anchored: it would pass with what it does not keep. What it announced before the
    /// beacon it gets; the rest of what it lost it can fetch once the window is over, half a round later at most.
    pub fn may_serve(&self, to: &NodeId, position: ChunkPosition) -> bool {
        let guard = self.0.guard.lock();
        if guard.as_ref().map_or(true, |guard| guard.lets_through(to, position)) {
            return true;
        }
        drop(guard);
        let table = self.0.store.table(position.segment).ok().flatten();
        let Some(chunk) = table.and_then(|table| table.chunk(position.index.0)) else {
            return true;
        };
        !self.0.assigned.read().holders(position, &chunk.id).contains(to)
    }

    /// The window of answers, if some peer may see it open: audits wait for its end.
    pub fn answer_window(&self) -> Option<AnswerWindow> {
        self.0.guard.lock().as_ref()?.answer_window()
    }

    /// A node says which of its chunks it repairs for a round. It must be `from` itself that says so.
    pub fn repairs_announced(&self, from: NodeId, round: u64, chunks: &[ChunkPosition]) {
        if !self.is_storage_node(&from) {
            debug!(peer = %from, round, "repairs announced by no storage node: ignored");
            return;
        }
        let period = self.0.host.current_period();
        // Before the registry is read nothing is guarded: who announces again when it connects, or in the next round, is heard.
        let mut guard = self.0.guard.lock();
        let Some(guard) = guard.as_mut() else { return };
        match guard.repairs().on_announced(from, round, chunks, period) {
            Announced::Taken { new: 0 } => {}
            Announced::Taken { new } => {
                // It says itself that it claimed what it does not have: others should see that.
                info!(peer = %from, round, chunks = new, "storage node announces chunks of its claim that it lacks and repairs");
            }
            refused => info!(peer = %from, round, ?refused, "announced repairs do not count"),
        }
    }

    fn is_storage_node(&self, node: &NodeId) -> bool {
        let assigned = self.0.assigned.read();
        let nodes = assigned.placement().nodes().nodes.nodes();
        nodes.iter().any(|storing| storing.node_id == Some(*node))
    }
}
