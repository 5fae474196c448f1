//! The rounds of proofs behind the API: what this node's record in the registry and its own book of earnings say.

use massa_api_exports::distributed_storage::rounds::{
    EarnedRound, EarningTotals, MissedDraw, RoundsInfo, StorageEarnings,
};
use massa_distributed_storage_worker::rounds::earnings::{matured_and_claimed, RoundEarnings, Totals, ROUNDS_MAX};
use massa_distributed_storage_worker::rounds::settlement::settled;
use massa_distributed_storage_worker::rounds::thread::RoundHandle;
use massa_distributed_storage_worker::smart_contract::client::ClientHandle;
use massa_distributed_storage_worker::smart_contract::state::{
    round_key, ConfigRecord, NodeRecord, RoundRecord, CONFIG_KEY,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_time::MassaTime;
use std::collections::BTreeMap;

/// Reads what is told of the rounds.
pub struct RoundsApi<'a> {
    /// This node's part in the rounds.
    pub rounds: &'a RoundHandle,
    /// The client of the registry.
    pub contract: &'a ClientHandle,
    /// Time from one period to the next.
    pub t0: MassaTime,
}

/// Credit of a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Credit {
    /// Can be claimed now.
    matured: Amount,
    /// Matures later.
    unmatured: Amount,
}

impl RoundsApi<'_> {
    /// The last `count` rounds and all in sum.
    pub fn earnings(&self, count: u64) -> StorageEarnings {
        let round = self.rounds.status().round;
        let credit = self.credit();
        let (seen, totals) = self.rounds.earnings(ROUNDS_MAX);
        let all = earned(&seen, round, credit.matured);
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        StorageEarnings {
            operator: self.contract.operator(),
            round,
            totals: sum(&all, totals),
            matured: credit.matured,
            unmatured: credit.unmatured,
            open_claims: all.iter().filter(|of| is_open(of)).count() as u64,
            rounds: all[all.len().saturating_sub(count)..].to_vec(),
        }
    }

    /// Where the rounds are.
    pub fn info(&self) -> RoundsInfo {
        let status = self.rounds.status();
        let round_periods = self.config().map_or(0, |(_, config)| config.round_periods());
        let earnings = self.earnings(ROUNDS_MAX as u64);
        let of = |round: Option<u64>| {
            earnings
                .rounds
                .iter()
                .find(|of| Some(of.round) == round && of.leaves > 0)
        };
        RoundsInfo {
            round: status.round,
            period: status.period,
            round_periods,
            round_ms: self.t0.as_millis().saturating_mul(round_periods),
            open: of(status.round).cloned(),
            next: of(status.round.map(|round| round + 1)).cloned(),
            last: earnings.rounds.iter().rev().find(|of| of.is_over).cloned(),
            totals: earnings.totals,
            matured: earnings.matured,
            segments_anchored: status.segments_accepted,
            differing_segment: status.differing_segment,
            rounds_left_in_pool: status.rounds_left_in_pool,
        }
    }

    fn config(&self) -> Option<(Address, ConfigRecord)> {
        let registry = self.contract.nodes().address()?;
        let rows = self.contract.host().final_entries(&registry, &[CONFIG_KEY.to_vec()]);
        let row = rows.into_iter().next()??;
        Some((registry, ConfigRecord::decode(&row).ok()?))
    }

    /// Credit as it is once the node is settled: that happens before its rewards are paid.
    fn credit(&self) -> Credit {
        let (Some(node), Some((registry, config))) = (self.contract.status().own, self.config()) else {
            return Credit::default();
        };
        let (period, periods) = (self.rounds.status().period, config.round_periods());
        let claimed: Vec<u64> = node.slots.iter().flatten().map(|claim| claim.round).collect();
        let keys: Vec<Vec<u8>> = claimed
            .iter()
            .map(|round| round_key(round.saturating_mul(periods)))
            .collect();
        let rows = self.contract.host().final_entries(&registry, &keys);
        let records = claimed.into_iter().zip(rows);
        let records = records.filter_map(|(round, row)| Some((round, RoundRecord::decode(&row?).ok()?)));
        credit_of(&node, &records.collect(), period, periods)
    }
}

fn credit_of(node: &NodeRecord, rounds: &BTreeMap<u64, RoundRecord>, period: u64, periods: u64) -> Credit {
    let node = settled(node, rounds, period, periods);
    let unmatured = node.slots.iter().flatten().map(|claim| claim.credit);
    Credit {
        matured: node.matured_rewards,
        unmatured: unmatured.fold(Amount::zero(), Amount::saturating_add),
    }
}

fn is_open(round: &EarnedRound) -> bool {
    !round.is_over && round.leaves > 0
}

/// The rounds with what became of their credit.
fn earned(seen: &[RoundEarnings], open_round: Option<u64>, to_claim: Amount) -> Vec<EarnedRound> {
    let credit = matured_and_claimed(seen, open_round, to_claim);
    let rounds = seen.iter().zip(credit).map(|(of, (matured, claimed))| EarnedRound {
        round: of.round,
        leaves: of.leaves,
        draws: of.draws,
        passes: of.passes,
        missed: of.missed.iter().map(missed).collect(),
        is_over: of.is_over,
        result: of.result.clone(),
        credited: Amount::from_raw(of.credited_nano),
        matured,
        claimed,
        fees: Amount::from_raw(of.fees_nano),
    });
    rounds.collect()
}

fn missed((draw, reason): &(u8, String)) -> MissedDraw {
    MissedDraw {
        draw: *draw,
        reason: reason.clone(),
    }
}

fn sum(rounds: &[EarnedRound], totals: Totals) -> EarningTotals {
    let amounts = |of: fn(&EarnedRound) -> Amount| rounds.iter().map(of).fold(Amount::zero(), Amount::saturating_add);
    let over = || rounds.iter().filter(|round| round.is_over);
    EarningTotals {
        rounds: rounds.iter().filter(|round| round.leaves > 0).count() as u64,
        draws: over().map(|round| u64::from(round.draws)).sum(),
        passes: over().map(|round| u64::from(round.passes)).sum(),
        credited: amounts(|round| round.credited),
        // The node's own count goes further back than its rounds, that of the rounds knows of claims by hand.
        claimed: Amount::from_raw(totals.claimed_nano).max(amounts(|round| round.claimed)),
        fees: Amount::from_raw(totals.fees_nano),
        operations: totals.operations,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(round: u64, credited_nano: u64, is_over: bool) -> RoundEarnings {
        RoundEarnings {
            round,
            leaves: 100,
            draws: 4,
            passes: 3,
            credited_nano,
            is_over,
            result: "draws missed".into(),
            missed: vec![(2, "missing".into())],
            fees_nano: 10,
        }
    }

    fn raw(amounts: impl IntoIterator<Item = Amount>) -> Vec<u64> {
        amounts.into_iter().map(|amount| amount.to_raw()).collect()
    }

    #[test]
    fn credit_matures_two_rounds_later_and_the_oldest_is_claimed_first() {
        let seen: Vec<_> = (1..=5).map(|round| seen(round, 100, round < 5)).collect();
        let rounds = earned(&seen, Some(5), Amount::from_raw(150));
        assert_eq!(raw(rounds.iter().map(|round| round.matured)), [100, 100, 100, 0, 0]);
        assert_eq!(raw(rounds.iter().map(|round| round.claimed)), [100, 50, 0, 0, 0]);
    }

    #[test]
    fn before_the_open_round_is_known_nothing_has_matured() {
        let rounds = earned(&[seen(1, 100, true)], None, Amount::zero());
        assert_eq!(
            raw([rounds[0].credited, rounds[0].matured, rounds[0].claimed]),
            [100, 0, 0]
        );
    }

    #[test]
    fn sums_count_draws_of_fixed_results_and_what_was_claimed_by_hand() {
        let rounds = earned(&[seen(1, 100, true), seen(2, 0, false)], Some(9), Amount::zero());
        let by_node = Totals {
            claimed_nano: 30,
            fees_nano: 20,
            operations: 2,
        };
        let sums = sum(&rounds, by_node);
        assert_eq!((sums.rounds, sums.draws, sums.passes, sums.operations), (2, 4, 3, 2));
        assert_eq!(raw([sums.credited, sums.claimed, sums.fees]), [100, 100, 20]);
    }
}
