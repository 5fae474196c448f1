//! How surely a node that drops data is found: for tests, documentation and the operator guide.

/// Chance that a round fails for a node that claims everything and keeps all but `missing` (0 to 1) of it: `1 − (1 − f)^K`.
///
/// `draws` is K, [`crate::rewards::draw_count`] of the claim; draws are uniform over claimed leaves and independent.
pub fn failing_chance(missing: f64, draws: u8) -> f64 {
    1.0 - (1.0 - missing).powi(i32::from(draws))
}

/// The same after `rounds` rounds: that at least one of them failed.
pub fn found_within(missing: f64, draws: u8, rounds: f64) -> f64 {
    1.0 - (1.0 - missing).powf(f64::from(draws) * rounds)
}

/// One line of the detection table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Detection {
    /// Share of the claimed leaves that is missing.
    pub missing: f64,
    /// Chance that one round fails.
    pub in_a_round: f64,
    /// Chance that one fails within a day.
    pub in_a_day: f64,
    /// Within 30 days.
    pub in_30_days: f64,
}

/// The detection table for claims of K draws, with this many rounds in a day (13.5 on the main network: 4 segments of 100 periods of
/// 16 s).
pub fn table(draws: u8, rounds_per_day: f64) -> Vec<Detection> {
    [0.5, 0.1, 0.05, 0.01, 0.001]
        .map(|missing| Detection {
            missing,
            in_a_round: failing_chance(missing, draws),
            in_a_day: found_within(missing, draws, rounds_per_day),
            in_30_days: found_within(missing, draws, 30.0 * rounds_per_day),
        })
        .into()
}
