//! `massa-cli storage earnings`: what the node claimed, showed and earned, round by round.

use crate::node::{Node, NodeCommandError};
use crate::output::{count, table, unbroken, Report};
use crate::storage::status::bytes;
use clap::Args;
use massa_api_exports::distributed_storage::rounds::{EarnedRound, MissedDraw, StorageEarnings};
use massa_api_exports::distributed_storage::MAX_LIST_LIMIT;
use massa_api_exports::rpc::MassaRpcClient;
use massa_distributed_storage_exports::types::LEAF_BYTES;
use serde::Serialize;

/// Rounds that are shown where nobody says how many.
const DEFAULT_COUNT: u64 = 20;

/// Arguments of `storage earnings`.
#[derive(Debug, Args)]
pub struct EarningsArguments {
    /// Rounds at most, the last ones.
    #[arg(long, value_name = "N", default_value_t = DEFAULT_COUNT, value_parser = clap::value_parser!(u64).range(1..=MAX_LIST_LIMIT))]
    pub count: u64,
}

/// What a node earned.
#[derive(Clone, Debug, Serialize)]
pub struct EarningsReport(pub StorageEarnings);

impl Report for EarningsReport {
    fn text(&self) -> String {
        let headings = [
            "round", "claim", "draws", "passed", "result", "credited", "matured", "claimed", "fees",
        ];
        let rows = table(headings, self.0.rounds.iter().map(row));
        format!("{rows}\n{}", summary(&self.0))
    }
}

fn row(round: &EarnedRound) -> Vec<String> {
    vec![
        round.round.to_string(),
        claim(round.leaves),
        round.draws.to_string(),
        round.passes.to_string(),
        result(round),
        round.credited.to_string(),
        round.matured.to_string(),
        round.claimed.to_string(),
        round.fees.to_string(),
    ]
}

/// Leaves and bytes of a claim; the last leaf of a chunk may be shorter, so the bytes are an upper bound.
fn claim(leaves: u64) -> String {
    let size = bytes(leaves.saturating_mul(LEAF_BYTES as u64));
    format!("{leaves} leaves, {size}")
}

/// The result, and why draws were missed: equal reasons are told once.
pub(super) fn result(round: &EarnedRound) -> String {
    let mut reasons: Vec<(&str, Vec<u8>)> = Vec::new();
    for MissedDraw { draw, reason } in &round.missed {
        match reasons.iter_mut().find(|(known, _)| known == reason) {
            Some((_, draws)) => draws.push(*draw),
            None => reasons.push((reason, vec![*draw])),
        }
    }
    let mut text = round.result.clone();
    for (reason, draws) in reasons {
        let draws: Vec<String> = draws.iter().map(u8::to_string).collect();
        let word = if draws.len() == 1 { "draw" } else { "draws" };
        text.push_str(&format!("; {word} {}: {reason}", draws.join(", ")));
    }
    unbroken(&text)
}

fn summary(earnings: &StorageEarnings) -> String {
    let totals = &earnings.totals;
    let round = earnings
        .round
        .map_or_else(String::new, |round| format!("round {round} is open; "));
    format!(
        "{round}in {}: {} of {} passed, {} MAS credited, {} to claim now, {} later, {} claimed, {} MAS of fees for {}; {} open",
        count(totals.rounds, "round", "rounds"),
        totals.passes,
        count(totals.draws, "draw", "draws"),
        totals.credited,
        earnings.matured,
        earnings.unmatured,
        totals.claimed,
        totals.fees,
        count(totals.operations, "operation", "operations"),
        count(earnings.open_claims, "claim", "claims"),
    )
}

pub(super) fn earnings(arguments: &EarningsArguments, node: &Node) -> Result<EarningsReport, NodeCommandError> {
    let count = arguments.count;
    Ok(EarningsReport(node.call(|client| client.get_storage_earnings(count))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::amount::Amount;

    fn round(missed: &[(u8, &str)]) -> EarnedRound {
        let missed = missed.iter().map(|(draw, reason)| MissedDraw {
            draw: *draw,
            reason: (*reason).to_string(),
        });
        EarnedRound {
            round: 7,
            leaves: 3000,
            draws: 4,
            passes: 1,
            missed: missed.collect(),
            is_over: true,
            result: "draws missed".into(),
            credited: Amount::from_raw(214_576),
            matured: Amount::zero(),
            claimed: Amount::zero(),
            fees: Amount::zero(),
        }
    }

    #[test]
    fn misses_with_the_same_reason_are_told_together() {
        let text = result(&round(&[(0, "missing"), (2, "not the drawn leaf"), (3, "missing")]));
        assert_eq!(text, "draws missed; draws 0, 3: missing; draw 2: not the drawn leaf");
    }

    #[test]
    fn a_claim_is_told_in_leaves_and_in_bytes() {
        assert_eq!(claim(3000), "3000 leaves, 2.9 MiB");
        assert!(claim(u64::MAX).ends_with("16.0 EiB") || claim(u64::MAX).ends_with("15.9 EiB"));
    }

    #[test]
    fn without_rounds_there_is_still_a_summary() {
        let text = EarningsReport(StorageEarnings::default()).text();
        let line = text.lines().last().unwrap();
        assert!(
            line.starts_with("in 0 rounds: 0 of 0 draws passed, 0 MAS credited"),
            "{line}"
        );
    }
}
