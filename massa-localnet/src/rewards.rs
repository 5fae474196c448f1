//! What rounds have to pay, computed from the claims, the configured rate and the pool alone.
//!
//! Written from the formulas of `massa-storage-sc/README.md`, "Money", a second time on purpose: a report that compares what the
//! registry credited with what the nodes' own code expects would not notice a mistake that both share.

/// Draws of the smallest claim.
const DRAWS_MIN: u64 = 4;
/// Draws of the largest claim.
const DRAWS_MAX: u64 = 16;
/// Leaves for which a claim gets one draw more, as a power of two: 256 GB.
const LEAVES_PER_DRAW_LOG2: u32 = 28;
/// Leaves of a GB, as a power of two.
const LEAVES_PER_GB_LOG2: u32 = 20;

/// What the payment of a claim depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimTerms {
    /// Leaves claimed.
    pub leaves: u64,
    /// Draws answered correctly.
    pub passes: u64,
    /// Whether it was answered with the accepted beacon.
    pub counts: bool,
}

/// What is paid for each GB and period, at most, and the periods of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// nanoMAS.
    pub nano: u64,
    /// Periods of a round.
    pub periods: u64,
}

/// Draws of a claim.
pub fn draws(leaves: u64) -> u64 {
    (DRAWS_MIN + (leaves >> LEAVES_PER_DRAW_LOG2)).min(DRAWS_MAX)
}

/// nanoMAS for each claim of each round, in their order. `pool` is what the first round begins with; what a round does not
/// pay is there for the next one.
pub fn expected(rounds: &[Vec<ClaimTerms>], rate: Rate, pool: u64) -> Vec<Vec<u64>> {
    let mut pool = u128::from(pool);
    let of_round = |claims: &Vec<ClaimTerms>| {
        let leaves: u128 = claims.iter().map(|claim| u128::from(claim.leaves)).sum();
        let affordable = (pool << LEAVES_PER_GB_LOG2).checked_div(leaves * u128::from(rate.periods));
        let paid_rate = affordable.unwrap_or(0).min(u128::from(rate.nano));
        let credit = |claim: &ClaimTerms| {
            if !claim.counts {
                return 0;
            }
            let passed = u128::from(claim.leaves) * u128::from(rate.periods) * paid_rate * u128::from(claim.passes);
            passed / (u128::from(draws(claim.leaves)) << LEAVES_PER_GB_LOG2)
        };
        let credits: Vec<u128> = claims.iter().map(credit).collect();
        pool = pool.saturating_sub(credits.iter().sum());
        credits
            .into_iter()
            .map(|nano| u64::try_from(nano).unwrap_or(u64::MAX))
            .collect()
    };
    rounds.iter().map(of_round).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = 1_000_000_000_000_000;
    const RATE: Rate = Rate {
        nano: 1_000_000,
        periods: 100,
    };

    fn claim(leaves: u64, passes: u64) -> ClaimTerms {
        ClaimTerms {
            leaves,
            passes,
            counts: true,
        }
    }

    #[test]
    fn the_values_of_the_design_come_out() {
        assert_eq!(expected(&[vec![claim(1 << 20, 4)]], RATE, PLENTY), [[100_000_000]]);
        assert_eq!(expected(&[vec![claim(3_000, 3)]], RATE, PLENTY), [[214_576]]);
    }

    #[test]
    fn a_claim_gets_one_draw_more_for_every_256_gb_up_to_sixteen() {
        assert_eq!(
            [0, (1 << 28) - 1, 1 << 28, 3 << 28, u64::MAX].map(draws),
            [4, 4, 5, 7, 16]
        );
    }

    #[test]
    fn a_claim_that_does_not_count_gets_nothing_but_takes_part_in_the_rate() {
        let silent = ClaimTerms {
            counts: false,
            ..claim(1 << 20, 0)
        };
        // 1 000 nano for 2 GB and 100 periods are 5 for each.
        assert_eq!(expected(&[vec![claim(1 << 20, 4), silent]], RATE, 1_000), [[500, 0]]);
    }

    #[test]
    fn a_short_pool_lowers_the_rate_and_what_is_paid_is_missing_in_the_next_round() {
        let rounds = [
            vec![claim(1 << 20, 4)],
            vec![claim(1 << 20, 2)],
            vec![claim(1 << 20, 4)],
        ];
        assert_eq!(
            expected(&rounds, RATE, 150_000_000),
            [[100_000_000], [25_000_000], [25_000_000]]
        );
    }

    #[test]
    fn a_round_without_claims_pays_nothing() {
        assert_eq!(expected(&[vec![]], RATE, PLENTY), [[0; 0]]);
    }
}
