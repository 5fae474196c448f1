//! What storage is paid and what a missed draw costs: plain formulas.
//!
//! Called by the round logic, by the views of the command line and by tests that check the registry. The registry contract
//! computes the same (`massa-storage-sc/assembly/internals/formulas.ts`), and shared vectors hold the two together. Products
//! are 128 bits wide, divisions round down, and a result beyond 64 bits becomes 2⁶⁴ − 1. Within the bounds that the registry
//! sets for its configuration (16 PB, 1000 MAS for a GB and period, rounds of 16 384 periods) nothing comes near these limits.
//!
//! Money is in nanoMAS, `leaves` are claimed leaves of 1 KiB (T).

/// Draws of a small claim.
pub const MIN_DRAWS: u8 = 4;
/// Draws of the largest claim.
pub const MAX_DRAWS: u8 = 16;
/// A round takes at most this part of the pool.
const POOL_SHARE: u64 = 256;
/// Chunks that a share may be short of.
const SLACK_CHUNKS: u64 = 8;
/// 256 GB in leaves, as a shift: one more draw for each.
const DRAW_STEP_BITS: u32 = 28;
/// Leaves of 1 KiB in a GB of 2³⁰ bytes.
pub const LEAVES_PER_GB: u64 = 1 << 20;
/// Slashes of a refuted claim, in shares of those for missed draws.
const REFUTATION_FACTOR: u64 = 10;
/// Who refutes a claim is paid one part in so many of what the node loses.
const REPORTER_SHARE: u64 = 10;

/// ⌊a · b / c⌋, at most 2⁶⁴ − 1. `c` must not be 0.
pub fn mul_div(a: u64, b: u64, c: u64) -> u64 {
    narrow(u128::from(a) * u128::from(b) / u128::from(c))
}

fn narrow(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// K: draws of a claim. 4, one more for each 256 GB, at most 16.
pub fn draw_count(leaves: u64) -> u8 {
    let more = u8::try_from(leaves >> DRAW_STEP_BITS).unwrap_or(MAX_DRAWS);
    MIN_DRAWS.saturating_add(more).min(MAX_DRAWS)
}

/// Rate of a round, in nanoMAS for a GB and period: `min(configured, ⌊pool · 2¹² / (leaves · periods)⌋)`; 0 without claims.
///
/// `pool` is what is free, `leaves` the sum of all claims. A round takes at most a 256th of the pool.
pub fn round_rate(configured: u64, pool: u64, leaves: u64, periods: u64) -> u64 {
    let claimed = u128::from(leaves) * u128::from(periods);
    let affordable = (u128::from(pool) * u128::from(LEAVES_PER_GB / POOL_SHARE)).checked_div(claimed);
    affordable.map_or(0, |rate| narrow(rate).min(configured))
}

/// What is set aside for a round before anyone answers: `⌊leaves · periods · rate / 2²⁰⌋`. Never more than the pool that
/// [`round_rate`] was given.
pub fn round_reserve(leaves: u64, periods: u64, rate: u64) -> u64 {
    let product = (u128::from(leaves) * u128::from(periods)).saturating_mul(u128::from(rate));
    narrow(product / u128::from(LEAVES_PER_GB))
}

/// What a claim earns in a round: `⌊leaves · periods · rate · passes / (draws · 2²⁰)⌋`.
///
/// This is the storage plan's GB × periods × rate × success rate, with the numbers of one round. `draws` is at least 1.
pub fn credit(leaves: u64, periods: u64, rate: u64, passes: u8, draws: u8) -> u64 {
    let proven = (u128::from(leaves) * u128::from(periods)).saturating_mul(u128::from(passes));
    narrow(proven.saturating_mul(u128::from(rate)) / (u128::from(draws) * u128::from(LEAVES_PER_GB)))
}

/// What a claim risks by its misses: the stake for the GB that it claimed, begun ones whole, at most all.
pub fn slash_base(stake: u64, stake_per_gb: u64, leaves: u64) -> u64 {
    stake.min(stake_per_gb.saturating_mul(leaves.div_ceil(LEAVES_PER_GB)))
}

/// Stake lost for missed draws: `⌊stake · percent · missed / (100 · draws)⌋`, at most the stake. `draws` is at least 1.
pub fn slash_amount(stake: u64, percent: u64, missed: u8, draws: u8) -> u64 {
    let product = (u128::from(stake) * u128::from(percent)).saturating_mul(u128::from(missed));
    narrow(product / (100 * u128::from(draws))).min(stake)
}

/// Stake lost for a refuted claim: ten times the percentage, at most the stake.
pub fn refutation_slash(stake: u64, percent: u64) -> u64 {
    mul_div(stake, percent.saturating_mul(REFUTATION_FACTOR), 100).min(stake)
}

/// What the reporter of a refuted claim is paid of what the node loses.
pub fn reporter_reward(lost: u64) -> u64 {
    lost / REPORTER_SHARE
}

/// What must be staked for `gb`.
pub fn required_stake(min_stake: u64, stake_per_gb: u64, gb: u64) -> u64 {
    min_stake.max(stake_per_gb.saturating_mul(gb))
}

/// Leaves that a node may claim: what it announced, and no more than its stake covers.
///
/// A stake that was slashed covers `⌊stake / stake_per_gb⌋` GB; without stake nothing may be claimed.
pub fn claimable_leaves(gb: u64, stake: u64, stake_per_gb: u64) -> u64 {
    if stake == 0 {
        return 0;
    }
    let covered = stake.checked_div(stake_per_gb).unwrap_or(gb);
    covered.min(gb).saturating_mul(LEAVES_PER_GB)
}

/// A node's share of all proven claims of a round: `⌊leaves · weight / weights⌋`; 0 while nobody passed all draws.
pub fn share_of_claims(leaves: u64, weight: u64, weights: u64) -> u64 {
    if weights == 0 {
        return 0;
    }
    mul_div(leaves, weight, weights)
}

/// Whether a node is *filled* after a counted round: when it passed all draws from 9/10 of its share less 8 chunks on, until below
/// 3/4 less 8 chunks. `chunk_bits` is the size of a chunk as a power of two.
pub fn is_filled(was_filled: bool, passed_all: bool, claimed: u64, share: u64, chunk_bits: u8) -> bool {
    let slack = SLACK_CHUNKS.checked_shl(chunk_bits.into()).unwrap_or(u64::MAX) / 1024;
    let held = u128::from(claimed) + u128::from(slack);
    let at_least = |part: u128, of: u128| held * of >= u128::from(share) * part;
    if was_filled {
        at_least(3, 4)
    } else {
        passed_all && at_least(9, 10)
    }
}

/// Whether `part` is more than two thirds of `whole`: what it takes to slash who answered under another beacon.
pub fn more_than_two_thirds(part: u64, whole: u64) -> bool {
    3 * u128::from(part) > 2 * u128::from(whole)
}
