//! What becomes of a node's claims when the registry settles it: the registry does so at the node's next operation, before it
//! looks at what the operation brings. A submission that asks for something which settling forbids would be refused as a
//! whole, answers included; so it is predicted here.
//!
//! Same rules as `settle` in `massa-storage-sc/assembly/internals/rounds.ts`, as far as they decide what may be sent. What is
//! filled, and how long a weight lasts, is left out.

use crate::challenge::Reason;
use crate::rewards::{credit, slash_amount};
use crate::rounds::timing::{RoundTimes, MATURE_ROUNDS, SIT_OUT_ROUNDS};
use crate::smart_contract::state::{NodeRecord, RoundRecord};
use crate::smart_contract::views::{ClaimState, RoundResult};
use massa_models::amount::Amount;
use std::collections::BTreeMap;

/// The node as it will be after it is settled in `period`.
///
/// `rounds` are the records of its open claims; one that is missing counts as a round in which nobody answered.
/// `slash_percentage` is that of rounds whose own is not fixed yet.
pub fn settled(
    node: &NodeRecord,
    rounds: &BTreeMap<u64, RoundRecord>,
    period: u64,
    periods: u64,
    slash_percentage: u64,
) -> NodeRecord {
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
            settle_claim(&mut node, &mut claim, record, periods, slash_percentage);
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

fn settle_claim(
    node: &mut NodeRecord,
    claim: &mut RoundResult,
    record: Option<&RoundRecord>,
    periods: u64,
    slash_percentage: u64,
) {
    let reason = result_of(claim, record);
    let answered = claim.state == ClaimState::Answered;
    claim.state = ClaimState::Settled;
    claim.reason = reason.code();
    let missed = match reason {
        Reason::Passed | Reason::SomeMissed | Reason::Refuted => {
            let rate = record.map_or(0, |record| record.rate.to_raw());
            let earned = credit(claim.leaves, periods, rate, claim.passes, claim.draws.max(1));
            if reason != Reason::Refuted {
                claim.credit = Amount::from_raw(earned);
            }
            claim.draws - claim.passes.min(claim.draws)
        }
        Reason::Silent => claim.draws,
        _ => 0,
    };
    let sits_out = reason == Reason::Minority || (!answered && reason != Reason::Paused);
    if sits_out {
        let until = claim.round + SIT_OUT_ROUNDS + 1;
        node.no_claim_before_round = node.no_claim_before_round.max(until);
    }
    if missed == 0 || record.is_some_and(|record| record.paused) {
        return;
    }
    let fixed = record
        .filter(|record| record.frozen)
        .map(|record| record.slash_percentage);
    let stake = claim.stake.min(node.stake).to_raw();
    let slash = slash_amount(stake, fixed.unwrap_or(slash_percentage), missed, claim.draws.max(1));
    node.stake = node.stake.saturating_sub(Amount::from_raw(slash));
}
