//! What becomes of a node's claims when the registry settles it: the registry does so at the node's next operation, before it
//! looks at what the operation brings. What settling forbids would be skipped; so it is predicted here.
//!
//! Same rules as `settle` in `massa-storage-sc/assembly/internals/rounds.ts`, as far as they decide what may be sent. What is
//! filled, and how long a weight lasts, is left out.

use crate::challenge::Reason;
use crate::rewards::{credit, more_than_two_thirds, slash_amount, slash_base};
use crate::rounds::timing::{RoundTimes, MATURE_ROUNDS, SIT_OUT_ROUNDS};
use crate::smart_contract::state::{NodeRecord, RoundRecord};
use crate::smart_contract::views::{ClaimState, RoundResult};
use massa_models::amount::Amount;
use std::collections::BTreeMap;

/// The node as it will be after it is settled in `period`.
///
/// `rounds` are the records of its open claims; one that is missing counts as a round in which nobody answered.
pub fn settled(node: &NodeRecord, rounds: &BTreeMap<u64, RoundRecord>, period: u64, periods: u64) -> NodeRecord {
    let mut node = node.clone();
    let now = period / periods;
    let mut claims: Vec<RoundResult> = node.slots.iter().flatten().cloned().collect();
    claims.sort_by_key(|claim| claim.round);
    for mut claim in claims.into_iter().filter(|claim| claim.round <= now) {
        let times = RoundTimes {
            round: claim.round,
            periods,
        };
        if claim.state != ClaimState::Settled && times.window_over(period) {
            let record = rounds.get(&claim.round);
            settle_claim(&mut node, &mut claim, record, periods);
        }
        if claim.state == ClaimState::Settled && now >= claim.round + MATURE_ROUNDS {
            node.matured_rewards = node.matured_rewards.saturating_add(claim.credit);
            claim.credit = Amount::from_raw(0);
        }
        let slot = claim.round % node.slots.len() as u64;
        node.slots[slot as usize] = Some(claim);
    }
    node
}

/// What a round comes to for a claim.
///
/// `record` is the round's, after its window. A refuted claim is slashed when it is refuted, not here.
pub fn result_of(claim: &RoundResult, record: Option<&RoundRecord>) -> Reason {
    let answered = claim.state == ClaimState::Answered;
    let accepted = record.and_then(|record| record.beacon);
    let counted = answered && accepted == Some(claim.beacon);
    match (counted, answered, accepted) {
        (true, ..) if claim.refuted => Reason::Refuted,
        (true, ..) if claim.passes < claim.draws => Reason::SomeMissed,
        (true, ..) => Reason::Passed,
        _ if record.is_some_and(|record| record.paused) => Reason::Paused,
        (_, true, None) => Reason::Void,
        (_, true, Some(_)) => Reason::Minority,
        (_, false, Some(_)) => Reason::Silent,
        (_, false, None) => Reason::Void,
    }
}

fn settle_claim(node: &mut NodeRecord, claim: &mut RoundResult, record: Option<&RoundRecord>, periods: u64) {
    let reason = result_of(claim, record);
    claim.state = ClaimState::Settled;
    claim.reason = reason.code();
    if matches!(reason, Reason::Passed | Reason::SomeMissed) {
        let rate = record.map_or(0, |record| record.rate.to_raw());
        let earned = credit(claim.leaves, periods, rate, claim.passes, claim.draws.max(1));
        claim.credit = Amount::from_raw(earned);
    }
    if matches!(reason, Reason::Minority | Reason::Silent) {
        let until = claim.round + SIT_OUT_ROUNDS + 1;
        node.no_claim_before_round = node.no_claim_before_round.max(until);
    }
    let slash = record.map_or(Amount::zero(), |record| slash_of(claim, reason, record));
    node.stake = node.stake.saturating_sub(slash);
}

/// What a claim with this result costs of the stake, besides what a refutation took. A round that pays nobody slashes nobody.
pub fn slash_of(claim: &RoundResult, reason: Reason, record: &RoundRecord) -> Amount {
    if record.paused || record.rate == Amount::zero() {
        return Amount::zero();
    }
    let stake = claim.stake.to_raw();
    let missed_base = slash_base(stake, record.stake_per_gb.to_raw(), claim.leaves);
    let surely_false = || more_than_two_thirds(record.beacon_stake.to_raw(), record.electorate.to_raw());
    let (base, missed) = match reason {
        Reason::Passed | Reason::SomeMissed | Reason::Refuted => {
            (missed_base, claim.draws - claim.passes.min(claim.draws))
        }
        Reason::Silent => (missed_base, claim.draws),
        // Whose beacon lost narrowly may have told the truth.
        Reason::Minority if surely_false() => (stake, claim.draws),
        _ => (0, 0),
    };
    Amount::from_raw(slash_amount(base, record.slash_percentage, missed, claim.draws.max(1)))
}
