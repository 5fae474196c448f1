//! Whom nothing claimable is served to, and when: pure.
//!
//! From the first block of the beacon's period until the window of answers is over, a node that claimed the round gets no
//! pages of what it claims: it would pass with what it does not keep. What it announced before the beacon as under repair it
//! gets ([`super::repairs`]). Who holds what is for the caller to find out.

use super::repairs::{repairs_max, Repairs};
use crate::rounds::timing::AnswerWindow;
use crate::rounds::RoundTimes;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use std::collections::BTreeMap;

/// What the guard looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The last final period.
    pub final_period: u64,
    /// The period that is on by the clock.
    pub current_period: u64,
    /// Segments below it can be claimed.
    pub anchored_below: u64,
}

/// The round whose answers are taken.
#[derive(Clone, Debug)]
struct Guarded {
    round: u64,
    /// Who claimed it, and how many leaves.
    claims: BTreeMap<NodeId, u64>,
    /// No claim can be added any more.
    is_whole: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Guard {
    /// Periods of a round.
    periods: u64,
    chunk_leaves: u64,
    seen: Option<Seen>,
    guarded: Option<Guarded>,
    repairs: Repairs,
}

impl Guard {
    /// Nothing is guarded. Rounds have `periods` periods, full chunks `chunk_leaves` leaves.
    pub fn new(periods: u64, chunk_leaves: u64) -> Self {
        Self {
            periods: periods.max(1),
            chunk_leaves,
            seen: None,
            guarded: None,
            repairs: Repairs::new(periods.max(1)),
        }
    }

    /// Looks what time it is. `claims` reads who claimed a round, and how much; it is asked until that is final.
    pub fn look(&mut self, seen: Seen, claims: impl FnOnce(u64) -> BTreeMap<NodeId, u64>) {
        self.seen = Some(seen);
        self.repairs.forget_before(self.open_round(&seen), seen.current_period);
        let Some(times) = self.open_round(&seen) else {
            self.guarded = None;
            return;
        };
        let is_known = |guarded: &Guarded| guarded.round == times.round && guarded.is_whole;
        if !self.guarded.as_ref().is_some_and(is_known) {
            self.guarded = Some(Guarded {
                round: times.round,
                claims: claims(times.round),
                is_whole: seen.final_period.saturating_add(1) >= times.opens(),
            });
        }
    }

    /// The round whose answers are taken, or whose beacon may be known already. The clock decides when it begins, as the
    /// beacon's blocks are known before they are final; final state decides when it is over.
    fn open_round(&self, seen: &Seen) -> Option<RoundTimes> {
        let mut rounds = [seen.final_period, seen.current_period]
            .into_iter()
            .map(|period| RoundTimes::of_period(period, self.periods));
        rounds.find(|times| seen.current_period >= times.beacon_period() && !times.window_over(seen.final_period))
    }

    /// Whether pages of a chunk may be served to a node whoever holds it. If not, they may not if it is assigned to the node.
    pub fn lets_through(&self, to: &NodeId, position: ChunkPosition) -> bool {
        let Some((guarded, seen)) = self.guarded.as_ref().zip(self.seen) else {
            return true;
        };
        let Some(leaves) = guarded.claims.get(to) else {
            return true;
        };
        if position.segment >= seen.anchored_below {
            return true;
        }
        let most = repairs_max(*leaves, self.chunk_leaves);
        self.repairs.covers(to, guarded.round, position, most)
    }

    /// The window of answers that some peer may see open. `None` while nothing was looked at.
    pub fn answer_window(&self) -> Option<AnswerWindow> {
        let seen = self.seen?;
        AnswerWindow::around(seen.final_period, seen.current_period, self.periods)
    }

    /// What nodes announced.
    pub fn repairs(&mut self) -> &mut Repairs {
        &mut self.repairs
    }
}
