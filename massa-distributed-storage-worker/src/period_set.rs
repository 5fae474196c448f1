//! A set of periods, as ranges.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// A set of periods. Memory grows with the gaps in it, not with its size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeriodSet {
    /// First period of a range → last one. Ranges neither touch nor overlap.
    ranges: BTreeMap<u64, u64>,
}

impl PeriodSet {
    /// Adds a period.
    pub fn insert(&mut self, period: u64) {
        if self.contains(period) {
            return;
        }
        let before = self
            .ranges
            .range(..period)
            .next_back()
            .map(|(start, end)| (*start, *end));
        let start = match before {
            Some((start, end)) if end + 1 == period => start,
            _ => period,
        };
        let end = period
            .checked_add(1)
            .and_then(|next| self.ranges.remove(&next))
            .unwrap_or(period);
        self.ranges.insert(start, end);
    }

    /// Removes a period.
    pub fn remove(&mut self, period: u64) {
        let found = self
            .ranges
            .range(..=period)
            .next_back()
            .map(|(start, end)| (*start, *end));
        let Some((start, end)) = found.filter(|(_, end)| *end >= period) else {
            return;
        };
        self.ranges.remove(&start);
        if start < period {
            self.ranges.insert(start, period - 1);
        }
        if period < end {
            self.ranges.insert(period + 1, end);
        }
    }

    /// Removes every period below `floor`.
    pub fn remove_below(&mut self, floor: u64) {
        let kept = self.ranges.split_off(&floor);
        let cut = self
            .ranges
            .last_key_value()
            .filter(|(_, end)| **end >= floor)
            .map(|(_, end)| *end);
        self.ranges = kept;
        if let Some(end) = cut {
            self.ranges.insert(floor, end);
        }
    }

    /// Whether the period is in the set.
    pub fn contains(&self, period: u64) -> bool {
        self.ranges
            .range(..=period)
            .next_back()
            .is_some_and(|(_, end)| *end >= period)
    }

    /// The greatest period.
    pub fn last(&self) -> Option<u64> {
        self.ranges.last_key_value().map(|(_, end)| *end)
    }

    /// How many periods.
    pub fn len(&self) -> u64 {
        self.ranges.iter().map(|(start, end)| end - start + 1).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Ranges, ascending.
    pub fn ranges(&self) -> impl DoubleEndedIterator<Item = RangeInclusive<u64>> + '_ {
        self.ranges.iter().map(|(start, end)| *start..=*end)
    }

    /// Periods of `window` that are not in the set, greatest first, at most `max`; and how many more there are.
    pub fn missing(&self, window: RangeInclusive<u64>, max: usize) -> (Vec<u64>, u64) {
        let (mut found, mut more) = (Vec::new(), 0);
        let mut upper = *window.end();
        let inside = self.ranges.range(..=upper).rev().map(|(start, end)| (*start, *end));
        for (start, end) in inside.take_while(|(_, end)| *end >= *window.start()) {
            if end < upper {
                more += take_down(end + 1..=upper, max, &mut found);
            }
            match start.checked_sub(1) {
                Some(below) if start > *window.start() => upper = below,
                _ => return (found, more),
            }
        }
        if upper >= *window.start() {
            more += take_down(*window.start()..=upper, max, &mut found);
        }
        (found, more)
    }
}

impl FromIterator<u64> for PeriodSet {
    fn from_iter<I: IntoIterator<Item = u64>>(periods: I) -> Self {
        let mut set = Self::default();
        periods.into_iter().for_each(|period| set.insert(period));
        set
    }
}

/// Appends `gap` to `found`, greatest first, up to `max`; returns how many did not fit.
fn take_down(gap: RangeInclusive<u64>, max: usize, found: &mut Vec<u64>) -> u64 {
    let length = gap.end() - gap.start() + 1;
    let room = (max - found.len()) as u64;
    found.extend(gap.rev().take(room as usize));
    length.saturating_sub(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::btree_set;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(
            periods in btree_set(0u64..60, 0..40),
            removed in btree_set(0u64..60, 0..10),
            floor in 0u64..60,
            start in 0u64..60,
            length in 0u64..30,
            max in 0usize..20,
        ) {
            let mut set: PeriodSet = periods.iter().copied().collect();
            set.remove_below(floor);
            removed.iter().for_each(|period| set.remove(*period));
            let mut plain: BTreeSet<u64> = periods.into_iter().filter(|period| *period >= floor).collect();
            plain.retain(|period| !removed.contains(period));

            prop_assert_eq!(set.len(), plain.len() as u64);
            prop_assert_eq!(set.last(), plain.last().copied());
            let listed: BTreeSet<u64> = set.ranges().flatten().collect();
            prop_assert_eq!(&listed, &plain);
            let gaps: Vec<u64> = (start..=start + length).rev().filter(|period| !plain.contains(period)).collect();
            let (found, more) = set.missing(start..=start + length, max);
            prop_assert_eq!(found.len() as u64 + more, gaps.len() as u64);
            prop_assert_eq!(&found[..], &gaps[..gaps.len().min(max)]);
        }
    }

    #[test]
    fn neighbouring_periods_share_a_range() {
        let set: PeriodSet = [5, 3, 4, 9, 7, 8].into_iter().collect();
        assert_eq!(set.ranges().collect::<Vec<_>>(), [3..=5, 7..=9]);
        assert!(set.contains(4) && !set.contains(6) && !set.is_empty());
    }
}
