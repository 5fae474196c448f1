//! What this node claimed, proved and earned, round by round: for its operator.
//!
//! Taken from the registry's final state as it comes by, because a node's record has room for three claims only. Kept in a
//! file of JSON lines, one for each round, so that `storage earnings` can show rounds long gone.

use crate::challenge::Reason;
use crate::rewards::credit;
use crate::rounds::settlement::result_of;
use crate::smart_contract::state::{NodeRecord, RoundRecord};
use crate::smart_contract::storage_registry::{reason_text, ClaimState, RoundResult};
use massa_models::amount::Amount;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use tracing::warn;

/// Rounds that are kept: half a year on the main network.
pub const ROUNDS_MAX: usize = 10_000;

/// One round of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundEarnings {
    /// The round; the segment of the same number has its periods.
    pub round: u64,
    /// Leaves of 1 KiB claimed.
    pub leaves: u64,
    /// Draws.
    pub draws: u8,
    /// Draws answered correctly.
    pub passes: u8,
    /// What was credited, in nanoMAS.
    pub credited_nano: u64,
    /// Whether the round is over and its result fixed.
    pub is_over: bool,
    /// Its result, or how far it is.
    pub result: String,
    /// Of each draw that was not passed: its number and why.
    pub missed: Vec<(u8, String)>,
    /// Fees of operations for the round, in nanoMAS.
    #[serde(default)]
    pub fees_nano: u64,
}

/// Money that moved on this node's behalf.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Rewards claimed, in nanoMAS.
    pub claimed_nano: u64,
    /// Fees of operations executed for the rounds, in nanoMAS.
    pub fees_nano: u64,
    /// Those operations.
    pub operations: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Round(RoundEarnings),
    Totals(Totals),
}

/// The rounds of this node.
#[derive(Debug, Default)]
pub struct Earnings {
    path: Option<PathBuf>,
    rounds: BTreeMap<u64, RoundEarnings>,
    totals: Totals,
    changed: bool,
}

impl Earnings {
    /// Reads the file, if there is one. Lines that are not understood are left out.
    pub fn open(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut earnings = Self {
            path: Some(path),
            ..Self::default()
        };
        for line in text.lines().take(ROUNDS_MAX + 1) {
            match serde_json::from_str(line) {
                Ok(Line::Round(round)) => {
                    earnings.rounds.insert(round.round, round);
                }
                Ok(Line::Totals(totals)) => earnings.totals = totals,
                Err(error) => warn!(%error, "line of the earnings file left out"),
            }
        }
        earnings
    }

    /// The rounds, oldest first.
    pub fn rounds(&self) -> impl DoubleEndedIterator<Item = &RoundEarnings> {
        self.rounds.values()
    }

    /// Money that moved.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// An operation for a round was executed.
    pub fn paid(&mut self, round: u64, fee: Amount, claimed: Amount) {
        let of_round = self.rounds.entry(round).or_insert_with(|| not_claimed(round));
        of_round.fees_nano = of_round.fees_nano.saturating_add(fee.to_raw());
        self.totals.fees_nano = self.totals.fees_nano.saturating_add(fee.to_raw());
        self.totals.claimed_nano = self.totals.claimed_nano.saturating_add(claimed.to_raw());
        self.totals.operations = self.totals.operations.saturating_add(1);
        self.changed = true;
    }

    /// Takes in a node's record. Returns the rounds whose result became fixed.
    ///
    /// `rounds` are the records of its claims, `periods` those of a round, `is_over` tells whether the window of a round is.
    pub fn see(
        &mut self,
        node: &NodeRecord,
        rounds: &BTreeMap<u64, RoundRecord>,
        periods: u64,
        is_over: impl Fn(u64) -> bool,
    ) -> Vec<RoundEarnings> {
        let mut fixed = Vec::new();
        for claim in node.slots.iter().flatten() {
            let known = self.rounds.get(&claim.round);
            if known.is_some_and(|known| known.is_over && !claim.refuted) {
                continue;
            }
            let mut seen = seen(claim, rounds.get(&claim.round), periods, is_over(claim.round));
            seen.fees_nano = known.map_or(0, |known| known.fees_nano);
            if known == Some(&seen) {
                continue;
            }
            if seen.is_over {
                fixed.push(seen.clone());
            }
            self.rounds.insert(claim.round, seen);
            self.changed = true;
        }
        while self.rounds.len() > ROUNDS_MAX {
            self.rounds.pop_first();
        }
        fixed
    }

    /// Writes the file if something changed.
    pub fn write(&mut self) {
        let Some(path) = self.path.as_ref().filter(|_| self.changed) else {
            return;
        };
        let lines = std::iter::once(Line::Totals(self.totals)).chain(self.rounds.values().cloned().map(Line::Round));
        let mut text = String::new();
        for line in lines {
            text.push_str(&serde_json::to_string(&line).expect("numbers and texts are JSON"));
            text.push('\n');
        }
        let new = path.with_extension("new");
        match std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, path)) {
            Ok(()) => self.changed = false,
            Err(error) => warn!(path = %path.display(), %error, "earnings not written"),
        }
    }
}

fn seen(claim: &RoundResult, record: Option<&RoundRecord>, periods: u64, window_over: bool) -> RoundEarnings {
    let result = match claim.state {
        ClaimState::Settled => reason_text(claim.reason),
        ClaimState::Claimed if !window_over => "claimed",
        ClaimState::Answered if !window_over => "answered",
        ClaimState::Claimed | ClaimState::Answered => reason_text(result_of(claim, record).code()),
    };
    let missed = claim.draw_reasons.iter().zip(0u8..);
    let missed = missed.filter(|(reason, _)| claim.state != ClaimState::Claimed && **reason != 0);
    RoundEarnings {
        round: claim.round,
        leaves: claim.leaves,
        draws: claim.draws,
        passes: claim.passes,
        credited_nano: credited(claim, record, periods),
        is_over: claim.state == ClaimState::Settled,
        result: result.to_string(),
        missed: missed
            .map(|(reason, draw)| (draw, reason_text(*reason).to_string()))
            .collect(),
        fees_nano: 0,
    }
}

/// A round for which something was sent without a claim in it: votes, or the first claim of the next.
fn not_claimed(round: u64) -> RoundEarnings {
    RoundEarnings {
        round,
        leaves: 0,
        draws: 0,
        passes: 0,
        credited_nano: 0,
        is_over: false,
        result: "not claimed".to_string(),
        missed: Vec::new(),
        fees_nano: 0,
    }
}

/// What a settled claim was credited. Once that has matured the claim does not say it any more.
fn credited(claim: &RoundResult, record: Option<&RoundRecord>, periods: u64) -> u64 {
    let reason = Reason::from_code(claim.reason);
    let is_paid = matches!(reason, Some(Reason::Passed | Reason::SomeMissed)) && !claim.refuted;
    match record {
        _ if claim.state != ClaimState::Settled || !is_paid => 0,
        Some(record) => credit(
            claim.leaves,
            periods,
            record.rate.to_raw(),
            claim.passes,
            claim.draws.max(1),
        ),
        None => claim.credit.to_raw(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fees_stay_with_their_round_when_the_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("earnings");
        let mut earnings = Earnings::open(path.clone());
        earnings.paid(7, Amount::from_raw(10), Amount::from_raw(0));
        earnings.paid(7, Amount::from_raw(11), Amount::from_raw(500));
        earnings.write();

        let earnings = Earnings::open(path);
        let rounds: Vec<&RoundEarnings> = earnings.rounds().collect();
        assert_eq!((rounds.len(), rounds[0].round, rounds[0].fees_nano), (1, 7, 21));
        assert_eq!((rounds[0].leaves, rounds[0].result.as_str()), (0, "not claimed"));
        let totals = Totals {
            claimed_nano: 500,
            fees_nano: 21,
            operations: 2,
        };
        assert_eq!(earnings.totals(), totals);
    }

    #[test]
    fn lines_of_before_fees_were_kept_by_round_are_read() {
        let line = r#"{"round":3,"leaves":9,"draws":4,"passes":4,"credited_nano":5,"is_over":true,"result":"passed","missed":[]}"#;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("earnings");
        std::fs::write(&path, line).unwrap();
        let earnings = Earnings::open(path);
        assert_eq!(
            earnings
                .rounds()
                .next()
                .map(|round| (round.credited_nano, round.fees_nano)),
            Some((5, 0))
        );
    }
}
