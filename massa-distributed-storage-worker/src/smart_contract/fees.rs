//! What this node's operator pays in fees: the limit of a day, and how long the coins last.

use massa_models::amount::Amount;
use std::collections::BTreeMap;

const HOUR_MS: u64 = 3_600_000;
/// Hours that count as the last day.
const DAY_HOURS: u64 = 24;
/// Below this many days the operator is told.
const ENOUGH_DAYS: u64 = 7;
/// While nothing was paid yet, the operator is told below this many of the least fees.
const ENOUGH_FEES: u64 = 100;

/// Fees by the hour in which they were paid: at most 25 entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeeLedger {
    by_hour: BTreeMap<u64, u64>,
}

impl FeeLedger {
    /// Adds a fee. Times are milliseconds since 1970.
    pub fn add(&mut self, time_ms: u64, fee: Amount) {
        let hour = time_ms / HOUR_MS;
        let paid = self.by_hour.entry(hour).or_default();
        *paid = paid.saturating_add(fee.to_raw());
        self.by_hour.retain(|paid_in, _| paid_in + DAY_HOURS >= hour);
    }

    /// Takes back a fee that was added at `time_ms` and never paid.
    pub fn take_back(&mut self, time_ms: u64, fee: Amount) {
        if let Some(paid) = self.by_hour.get_mut(&(time_ms / HOUR_MS)) {
            *paid = paid.saturating_sub(fee.to_raw());
        }
    }

    /// Fees of the last 24 hours.
    pub fn last_day(&self, now_ms: u64) -> Amount {
        let first = (now_ms / HOUR_MS + 1).saturating_sub(DAY_HOURS);
        let paid = self.by_hour.range(first..).map(|(_, paid)| *paid);
        Amount::from_raw(paid.fold(0, u64::saturating_add))
    }

    /// What a day costs at the rate of the last hours; `None` while nothing was paid.
    fn daily(&self, now_ms: u64) -> Option<u64> {
        let paid = self.last_day(now_ms).to_raw();
        let first = (now_ms / HOUR_MS + 1).saturating_sub(DAY_HOURS);
        let since = *self.by_hour.range(first..).find(|(_, paid)| **paid > 0)?.0;
        let hours = (now_ms / HOUR_MS).saturating_sub(since) + 1;
        let daily = u128::from(paid) * u128::from(DAY_HOURS) / u128::from(hours);
        u64::try_from(daily).ok().filter(|daily| *daily > 0)
    }

    /// Why the operator should see to its coins; `None` while they last.
    pub fn low_balance(&self, now_ms: u64, balance: Amount, least_fee: Amount) -> Option<String> {
        if balance < least_fee {
            return Some(format!(
                "{balance} MAS do not pay the fee of an operation, {least_fee} MAS"
            ));
        }
        let Some(daily) = self.daily(now_ms) else {
            let enough = least_fee.to_raw().saturating_mul(ENOUGH_FEES);
            let is_low = balance.to_raw() < enough;
            return is_low.then(|| format!("{balance} MAS are fewer than {ENOUGH_FEES} fees of {least_fee} MAS"));
        };
        let days = balance.to_raw() / daily;
        (days < ENOUGH_DAYS).then(|| format!("{balance} MAS last for about {days} days of fees"))
    }

    /// One line for each hour: `hour fee`.
    pub fn to_text(&self) -> String {
        let lines = self.by_hour.iter().map(|(hour, paid)| format!("{hour} {paid}\n"));
        lines.collect()
    }

    /// Reads [`FeeLedger::to_text`]. Lines that are none are left out: a damaged file must not stop the node.
    pub fn from_text(text: &str) -> Self {
        let entry = |line: &str| {
            let (hour, paid) = line.split_once(' ')?;
            Some((hour.parse().ok()?, paid.parse().ok()?))
        };
        Self {
            by_hour: text.lines().take(1_000).filter_map(entry).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAS: u64 = 1_000_000_000;

    fn raw(raw: u64) -> Amount {
        Amount::from_raw(raw)
    }

    #[test]
    fn fees_count_for_a_day() {
        let mut ledger = FeeLedger::default();
        ledger.add(0, raw(5));
        ledger.add(23 * HOUR_MS, raw(7));
        assert_eq!(ledger.last_day(23 * HOUR_MS + 1), raw(12));
        assert_eq!(ledger.last_day(24 * HOUR_MS), raw(7));
        ledger.add(100 * HOUR_MS, raw(1));
        assert_eq!(ledger.to_text(), "100 1\n");
    }

    #[test]
    fn a_fee_that_was_not_paid_is_taken_back() {
        let mut ledger = FeeLedger::default();
        ledger.add(0, raw(5));
        ledger.take_back(1, raw(5));
        ledger.take_back(1, raw(5));
        assert_eq!(ledger.last_day(2), raw(0));
    }

    #[test]
    fn fees_outlive_a_restart() {
        let mut ledger = FeeLedger::default();
        ledger.add(0, raw(5));
        ledger.add(HOUR_MS, raw(6));
        assert_eq!(FeeLedger::from_text(&ledger.to_text()), ledger);
        assert_eq!(
            FeeLedger::from_text("x\n1\n7 8 9\n1 2\n"),
            FeeLedger::from_text("1 2\n")
        );
    }

    #[test]
    fn low_coins_are_told_days_before_they_end() {
        let fee = raw(MAS / 100);
        let mut ledger = FeeLedger::default();
        let told = |ledger: &FeeLedger, balance| ledger.low_balance(HOUR_MS, raw(balance), fee);
        assert_eq!(
            told(&ledger, 0).unwrap(),
            "0 MAS do not pay the fee of an operation, 0.01 MAS"
        );
        assert_eq!(
            told(&ledger, MAS / 2).unwrap(),
            "0.50 MAS are fewer than 100 fees of 0.01 MAS"
        );
        assert_eq!(told(&ledger, MAS), None);
        // A tenth in two hours: 1.2 MAS a day.
        ledger.add(0, raw(MAS / 10));
        assert_eq!(told(&ledger, 12 * MAS / 10 * 7), None);
        assert_eq!(
            told(&ledger, 12 * MAS / 10 * 7 - 1).unwrap(),
            "8.399999999 MAS last for about 6 days of fees"
        );
    }
}
