//! What other threads ask of this node's part in the rounds.

use crate::challenge::sums::SumPath;
use crate::rounds::claims::Claims;
use crate::rounds::earnings::{Earnings, RoundEarnings, Totals};
use crate::smart_contract::state::NodeRecord;
use massa_distributed_storage_exports::network::Answer;
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::ChunkPosition;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tracing::debug;

/// What is known of this node's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundStatus {
    /// The round that is open in final state.
    pub round: Option<u64>,
    /// The last final period.
    pub period: u64,
    /// Why not more: what the operator should know, in plain words.
    pub notes: Vec<String>,
    /// Why nothing is claimed for the open round, if nothing is.
    pub why_unclaimed: Option<String>,
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
    pub(super) claims: Arc<Claims>,
    pub(super) status: Mutex<RoundStatus>,
    pub(super) earnings: Mutex<Earnings>,
    /// Roots of this node's claims that the registry has, by round; `None` while that is not read.
    pub(super) committed: Mutex<Option<BTreeMap<u64, Digest>>>,
}

impl Shared {
    /// Takes in this node's record: of several claims that were built for a round, the registry has one.
    pub(super) fn set_committed(&self, node: Option<&NodeRecord>) {
        let claims = node.into_iter().flat_map(|node| node.slots.iter().flatten());
        *self.committed.lock() = Some(claims.map(|claim| (claim.round, claim.root)).collect());
    }

    /// The way from a chunk to this node's claim for a round.
    pub(super) fn sum_path(&self, round: u64, position: ChunkPosition) -> Answer<SumPath> {
        let root = match &*self.committed.lock() {
            None => return Answer::NotYet,
            Some(committed) => committed.get(&round).copied(),
        };
        let Some(root) = root else { return Answer::NotHeld };
        match self.claims.path(&root, position) {
            Ok(path) => path.map_or(Answer::NotHeld, Answer::Found),
            // Its round is over, or rows are damaged, which is told where they are built anew.
            Err(error) => {
                debug!(round, %position, %error, "the way to a claim is not shown");
                Answer::NotHeld
            }
        }
    }
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

    /// The way from a chunk to this node's claim for a round, to be shown to others. Claims are kept until the end of the round after
    /// their own.
    pub fn sum_path(&self, round: u64, position: ChunkPosition) -> Answer<SumPath> {
        self.0.sum_path(round, position)
    }

    /// Whether a chunk is in a claim that is not over, or in the one that is sent next: then it must be kept.
    pub fn is_claimed(&self, position: ChunkPosition) -> bool {
        self.0.claims.is_claimed(position)
    }
}
