//! The rounds of proofs in the API: what a node claimed, showed and earned.

use super::lists::MAX_LIST_LIMIT;
use super::StorageApiError;
use massa_models::address::Address;
use massa_models::amount::Amount;
use serde::{Deserialize, Serialize};

/// Checks how many rounds are asked for: 1 to [`MAX_LIST_LIMIT`].
///
/// # Errors
/// [`StorageApiError::BadRequest`], naming the field.
pub fn check_count(count: u64) -> Result<(), StorageApiError> {
    if (1..=MAX_LIST_LIMIT).contains(&count) {
        return Ok(());
    }
    let reason = format!("{count} is not between 1 and {MAX_LIST_LIMIT}");
    Err(StorageApiError::bad("count", reason))
}

/// What a node earned with the rounds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct StorageEarnings {
    /// Who earned it; nobody if the node only looks on.
    pub operator: Option<Address>,
    /// The round that is open in final state.
    pub round: Option<u64>,
    /// The last rounds, oldest first. Those whose result is not fixed are at the end.
    pub rounds: Vec<EarnedRound>,
    /// All rounds that the node remembers.
    pub totals: EarningTotals,
    /// Credit that can be claimed now: what the registry has for the node, and what its next call settles.
    pub matured: Amount,
    /// Credit that matures later.
    pub unmatured: Amount,
    /// Claims whose result is not fixed.
    pub open_claims: u64,
}

/// A round of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct EarnedRound {
    /// The round.
    pub round: u64,
    /// Leaves of 1 KiB that it claimed.
    pub leaves: u64,
    /// Draws.
    pub draws: u8,
    /// Draws that it answered correctly.
    pub passes: u8,
    /// The others, once it answered.
    pub missed: Vec<MissedDraw>,
    /// Whether the result is fixed.
    pub is_over: bool,
    /// The result, or how far it is.
    pub result: String,
    /// Credited.
    pub credited: Amount,
    /// Of that, what has matured.
    pub matured: Amount,
    /// Of that, what was claimed.
    pub claimed: Amount,
    /// Fees of operations for the round.
    pub fees: Amount,
}

/// A draw that was not passed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct MissedDraw {
    /// Its number, from 0.
    pub draw: u8,
    /// Why.
    pub reason: String,
}

/// Sums over rounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct EarningTotals {
    /// Rounds.
    pub rounds: u64,
    /// Draws of those whose result is fixed.
    pub draws: u64,
    /// Of those, the ones that were answered correctly.
    pub passes: u64,
    /// Credited.
    pub credited: Amount,
    /// Claimed, by the node or by hand.
    pub claimed: Amount,
    /// Fees of the node's operations for the rounds.
    pub fees: Amount,
    /// Those operations.
    pub operations: u64,
}

/// Where the rounds are, and the node asked in them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RoundsInfo {
    /// The round that is open in final state.
    pub round: Option<u64>,
    /// The last final period.
    pub period: u64,
    /// Periods of a round; 0 while it is not known.
    pub round_periods: u64,
    /// How long a round takes, in milliseconds; 0 while it is not known.
    pub round_ms: u64,
    /// The node's claim for the open round.
    pub open: Option<EarnedRound>,
    /// Its claim for the next one.
    pub next: Option<EarnedRound>,
    /// Its last round whose result is fixed.
    pub last: Option<EarnedRound>,
    /// All rounds that the node remembers.
    pub totals: EarningTotals,
    /// Credit that can be claimed now.
    pub matured: Amount,
    /// Segments whose root is accepted.
    pub segments_anchored: u64,
    /// The first segment whose accepted root is not the node's own.
    pub differing_segment: Option<u64>,
    /// Rounds until the pool is empty, at the size and rate of the last one whose rate is fixed; nothing if none is.
    pub rounds_left_in_pool: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_of_rounds_is_between_one_and_the_limit() {
        assert_eq!(check_count(1), Ok(()));
        assert_eq!(check_count(MAX_LIST_LIMIT), Ok(()));
        for count in [0, MAX_LIST_LIMIT + 1] {
            let error = check_count(count).unwrap_err().to_string();
            assert!(error.starts_with("count: "), "{error}");
        }
    }
}
