//! When things happen in a round.

use crate::challenge::draw::BEACON_PERIOD;
use crate::rounds::decide::FoundRefutation;
use massa_distributed_storage_exports::types::Digest;
use massa_models::address::Address;

/// Answers are taken from this period of a round on: the blocks of the one before give the beacon.
pub const OPENING_PERIODS: u64 = BEACON_PERIOD + 1;
/// Rounds that a silent or minority node sits out.
pub const SIT_OUT_ROUNDS: u64 = 3;
/// Rounds without a counted one after which a node weighs nothing.
pub const LAPSE_ROUNDS: u64 = 8;
/// Rounds after which credit matures, and after which a claim can no longer be refuted.
pub const MATURE_ROUNDS: u64 = 2;

const SPREAD_DOMAIN: &[u8] = b"massa distributed storage: turn of a node";
const EARLIER_DOMAIN: &[u8] = b"massa distributed storage: turn for an earlier root";

/// The periods of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundTimes {
    /// The round.
    pub round: u64,
    /// P: periods of a round.
    pub periods: u64,
}

impl RoundTimes {
    /// The round that is open in `period`. `periods` is at least 1.
    pub fn of_period(period: u64, periods: u64) -> Self {
        Self {
            round: period / periods,
            periods,
        }
    }

    /// The round after this one.
    pub fn next(self) -> Self {
        Self {
            round: self.round + 1,
            ..self
        }
    }

    /// O: its first period.
    pub fn opens(self) -> u64 {
        self.round.saturating_mul(self.periods)
    }

    /// Its last period.
    pub fn last_period(self) -> u64 {
        self.opens().saturating_add(self.periods - 1)
    }

    /// The period whose blocks give its beacon.
    pub fn beacon_period(self) -> u64 {
        self.opens().saturating_add(BEACON_PERIOD)
    }

    /// The first period in which answers are taken.
    pub fn window_opens(self) -> u64 {
        self.opens().saturating_add(OPENING_PERIODS)
    }

    /// The last period in which answers are taken.
    pub fn window_ends(self) -> u64 {
        self.opens().saturating_add(self.periods / 2)
    }

    /// Whether answers are taken in `period`.
    pub fn in_window(self, period: u64) -> bool {
        (self.window_opens()..=self.window_ends()).contains(&period)
    }

    /// Whether answers can no longer come in `period`.
    pub fn window_over(self, period: u64) -> bool {
        period > self.window_ends()
    }

    /// The final period from which on a node sends its operation of the round.
    ///
    /// Nodes spread over the first half of the window, so that not all operations come in one period, and the second half is
    /// left for those that have to be sent again. `lead` is how many periods pass between sending and execution.
    pub fn turn(self, node: &Address, lead: u64) -> u64 {
        let spread = self.last_turn(lead) - self.beacon_period();
        let mut hasher = blake3::Hasher::new();
        hasher.update(SPREAD_DOMAIN).update(&self.round.to_le_bytes());
        hasher.update(&node.to_prefixed_bytes());
        let hash: Digest = *hasher.finalize().as_bytes();
        let x = u64::from_le_bytes(hash[..8].try_into().expect("8 of 32 bytes"));
        self.beacon_period() + x % (spread + 1)
    }

    /// The final period from which on every node sends its operation of the round: what it waits for in its turn it does not wait
    /// for any longer.
    pub fn last_turn(self, lead: u64) -> u64 {
        let last_moment = self.window_ends().saturating_sub(lead);
        self.beacon_period() + last_moment.saturating_sub(self.beacon_period()) / 2
    }

    /// The final period from which on the claimant that is `rank`-th in line closes the round, if nothing did until the window of the
    /// next one was over: each waits until it would have seen the one before.
    pub fn closing_turn(self, rank: u64, lead: u64) -> u64 {
        let wait = rank.saturating_mul(lead.saturating_mul(2).saturating_add(1));
        self.next().window_ends().saturating_add(1).saturating_add(wait)
    }
}

/// How many of `claimants` come before `node` in closing `round`: another one is first in each round.
pub fn closing_rank(node: &Address, round: u64, claimants: &[Address]) -> u64 {
    rank(node, round, None, claimants)
}

/// How many of `claimants` come before `node` in showing that `accused` claimed falsely for `round`.
pub fn refuting_rank(node: &Address, round: u64, accused: &Address, claimants: &[Address]) -> u64 {
    rank(node, round, Some(accused), claimants)
}

fn rank(node: &Address, round: u64, about: Option<&Address>, claimants: &[Address]) -> u64 {
    let order = |address: &Address| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(SPREAD_DOMAIN).update(&round.to_le_bytes());
        for address in about.into_iter().chain([address]) {
            hasher.update(&address.to_prefixed_bytes());
        }
        *hasher.finalize().as_bytes()
    };
    let own = order(node);
    let others = claimants.iter().filter(|claimant| about != Some(*claimant));
    others.filter(|claimant| order(claimant) < own).count() as u64
}

/// The final period from which on a node shows a false claim: each waits until it would have seen what the one before it in line sent,
/// and all together no more than half of the time that is left until `deadline`, so that many silent ones save nobody.
pub fn refuting_turn(found: &FoundRefutation, deadline: u64, lead: u64) -> u64 {
    let left = deadline.saturating_sub(lead).saturating_sub(found.since);
    let wait = found.rank.saturating_mul(lead.saturating_add(1));
    found.since.saturating_add(wait.min(left / 2))
}

/// Which of `nodes` may have the root before that of `segment` accepted in `period`, and until which one: so that not all send the same,
/// and the one after would have seen what was sent.
pub fn earlier_turn(segment: u64, period: u64, lead: u64, nodes: usize) -> Option<(usize, u64)> {
    let length = lead.saturating_mul(2).saturating_add(1);
    let turn = period / length;
    let mut hasher = blake3::Hasher::new();
    hasher.update(EARLIER_DOMAIN);
    hasher.update(&segment.to_le_bytes()).update(&turn.to_le_bytes());
    let hash: Digest = *hasher.finalize().as_bytes();
    let x = u64::from_le_bytes(hash[..8].try_into().expect("8 of 32 bytes"));
    let index = x.checked_rem(nodes as u64)?;
    Some((index as usize, (turn + 1).saturating_mul(length) - 1))
}
