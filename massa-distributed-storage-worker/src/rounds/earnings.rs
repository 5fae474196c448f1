//! What this node claimed, proved and earned, round by round: for its operator.
//!
//! Taken from the registry's final state as it comes by, because a node's record has room for three claims only, and is gone once
//! the node left. A round is booked as soon as its window is over, as the registry will settle it: when it does, it may pay and
//! forget the node at once. Kept in rows of this node's own, so that `storage earnings` can show rounds long gone.

use crate::challenge::Reason;
use crate::rewards::credit;
use crate::rounds::timing::MATURE_ROUNDS;
use crate::smart_contract::state::{NodeRecord, RoundRecord};
use crate::smart_contract::views::{reason_text, ClaimState, RoundResult};
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::{OwnChanges, OwnRow, Row, SegmentStore, StoreError};
use massa_models::amount::Amount;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use tracing::warn;

/// Rounds that are kept: two years on the main network.
pub const ROUNDS_MAX: usize = 10_000;

/// One round of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoundEarnings {
    /// The round.
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
    pub fees_nano: u64,
}

impl Row for RoundEarnings {
    const VERSION: u8 = 1;
}

impl OwnRow for RoundEarnings {
    /// Key: the round, big-endian.
    const KIND: &'static str = "earnings";
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

impl Row for Totals {
    const VERSION: u8 = 1;
}

impl OwnRow for Totals {
    /// One row, without a key.
    const KIND: &'static str = "earned in all";
}

/// The rounds of this node.
#[derive(Debug, Default)]
pub struct Earnings {
    rounds: BTreeMap<u64, RoundEarnings>,
    totals: Totals,
    /// Rounds whose rows are to be written, or deleted.
    changed: BTreeSet<u64>,
}

impl Earnings {
    /// Reads the rows of the store. Damaged ones are left out.
    ///
    /// # Errors
    /// [`StoreError::Database`].
    pub fn read(store: &SegmentStore) -> Result<Self, StoreError> {
        let mut earnings = Self::default();
        store.visit_own::<RoundEarnings>(&[], &mut |_, row| {
            match row {
                Ok(row) => drop(earnings.rounds.insert(row.round, row)),
                Err(reason) => warn!(%reason, "a row of the earnings is left out"),
            }
            true
        })?;
        earnings.totals = match store.own(&[]) {
            Ok(totals) => totals.unwrap_or_default(),
            Err(StoreError::Damaged(damage)) => {
                warn!(?damage, "what was earned in all is counted anew");
                Totals::default()
            }
            Err(error) => return Err(error),
        };
        Ok(earnings)
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
        self.changed.insert(round);
    }

    /// Takes in a node's record, as it is once it is [settled](crate::rounds::settlement::settled). Returns the rounds whose result became
    /// fixed.
    ///
    /// `rounds` are the records of its claims, `periods` those of a round. A claim whose round has no record waits.
    pub fn see(&mut self, node: &NodeRecord, rounds: &BTreeMap<u64, RoundRecord>, periods: u64) -> Vec<RoundEarnings> {
        let mut fixed = Vec::new();
        for claim in node.slots.iter().flatten() {
            let Some(record) = rounds.get(&claim.round) else {
                continue;
            };
            let known = self.rounds.get(&claim.round);
            let mut seen = seen(claim, record, periods);
            seen.fees_nano = known.map_or(0, |known| known.fees_nano);
            if known == Some(&seen) {
                continue;
            }
            if seen.is_over {
                fixed.push(seen.clone());
            }
            self.rounds.insert(claim.round, seen);
            self.changed.insert(claim.round);
        }
        while self.rounds.len() > ROUNDS_MAX {
            self.changed.extend(self.rounds.pop_first().map(|(round, _)| round));
        }
        fixed
    }

    /// Writes what changed.
    ///
    /// # Errors
    /// [`StoreError::Database`]; it is tried again the next time.
    pub fn write(&mut self, store: &SegmentStore) -> Result<(), StoreError> {
        if self.changed.is_empty() {
            return Ok(());
        }
        let mut changes = OwnChanges::default();
        for round in &self.changed {
            match self.rounds.get(round) {
                Some(row) => changes.put(&round.to_be_bytes(), row)?,
                None => changes.delete::<RoundEarnings>(&round.to_be_bytes()),
            }
        }
        changes.put(&[], &self.totals)?;
        store.change_own(changes, Durability::Buffered)?;
        self.changed.clear();
        Ok(())
    }
}

fn seen(claim: &RoundResult, record: &RoundRecord, periods: u64) -> RoundEarnings {
    let result = match claim.state {
        ClaimState::Settled => reason_text(claim.reason),
        ClaimState::Claimed => "claimed",
        ClaimState::Answered => "answered",
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

/// What a settled claim was credited, by the round's record: once that has matured the claim does not say it any more.
fn credited(claim: &RoundResult, record: &RoundRecord, periods: u64) -> u64 {
    let reason = Reason::from_code(claim.reason);
    let is_paid = matches!(reason, Some(Reason::Passed | Reason::SomeMissed)) && !claim.refuted;
    if claim.state != ClaimState::Settled || !is_paid {
        return 0;
    }
    let rate = record.rate.to_raw();
    credit(claim.leaves, periods, rate, claim.passes, claim.draws.max(1))
}

/// What of each round's credit has matured, and what of that was claimed.
///
/// `rounds` are oldest first. `to_claim` has matured and was not claimed: claiming takes all that has matured, so that is the credit
/// of the latest rounds that have. Before `open_round` is known nothing has.
pub fn matured_and_claimed(
    rounds: &[RoundEarnings],
    open_round: Option<u64>,
    to_claim: Amount,
) -> Vec<(Amount, Amount)> {
    let mut left = to_claim;
    let mut of_rounds = Vec::with_capacity(rounds.len());
    for of in rounds.iter().rev() {
        let has_matured = open_round.is_some_and(|open| open >= of.round.saturating_add(MATURE_ROUNDS));
        let matured = Amount::from_raw(if has_matured { of.credited_nano } else { 0 });
        let waiting = matured.min(left);
        left = left.saturating_sub(waiting);
        of_rounds.push((matured, matured.saturating_sub(waiting)));
    }
    of_rounds.reverse();
    of_rounds
}
