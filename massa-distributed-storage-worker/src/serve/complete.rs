//! Segments of which every chunk that is assigned to this node is held, kept up to date without going through all of them.

use crate::period_set::PeriodSet;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Changed segments that are remembered; when there are more, all are looked at again.
const CHANGED_MAX: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct Complete {
    segments: PeriodSet,
    /// To be looked at again.
    changed: BTreeSet<u64>,
    /// Segments below it were not looked at since everything changed; the newest are looked at first.
    unknown_below: u64,
    /// The first segment that was not there when this was called last; `None` before the first time.
    end: Option<u64>,
}

impl Complete {
    /// Chunks of a segment came or went.
    pub(super) fn note(&mut self, segment: u64) {
        self.changed.insert(segment);
        if self.changed.len() > CHANGED_MAX {
            *self = Self::default();
        }
    }

    /// Segments from `floor` to before `end` are there: looks at up to `max` of those that are new, changed or were never
    /// looked at. Whether more are left.
    pub(super) fn refresh(&mut self, (floor, end): (u64, u64), max: usize, holds_all: impl Fn(u64) -> bool) -> bool {
        match self.end.replace(end) {
            None => self.unknown_below = end,
            Some(before) => self.changed.extend((before..end).take(CHANGED_MAX)),
        }
        self.segments.remove_below(floor);
        for _ in 0..max {
            let Some(segment) = self.next(floor, end) else {
                return false;
            };
            if holds_all(segment) {
                self.segments.insert(segment);
            } else {
                self.segments.remove(segment);
            }
        }
        !self.changed.is_empty() || self.unknown_below > floor
    }

    fn next(&mut self, floor: u64, end: u64) -> Option<u64> {
        while let Some(segment) = self.changed.pop_last() {
            if (floor..end).contains(&segment) {
                return Some(segment);
            }
        }
        if self.unknown_below <= floor {
            return None;
        }
        self.unknown_below -= 1;
        Some(self.unknown_below)
    }

    /// The newest ranges, ascending.
    pub(super) fn ranges(&self, max: usize) -> Vec<RangeInclusive<u64>> {
        let mut newest: Vec<_> = self.segments.ranges().rev().take(max).collect();
        newest.reverse();
        newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    #[test]
    fn each_segment_is_looked_at_once_newest_first_and_changed_ones_again() {
        let looked = RefCell::new(Vec::new());
        let held = RefCell::new(BTreeSet::from([0, 1, 3]));
        let look = |segment| {
            looked.borrow_mut().push(segment);
            held.borrow().contains(&segment)
        };
        let mut complete = Complete::default();
        assert!(complete.refresh((0, 4), 3, look), "one is left");
        assert!(!complete.refresh((0, 4), 3, look));
        assert_eq!(looked.take(), [3, 2, 1, 0]);
        assert_eq!(complete.ranges(9), [0..=1, 3..=3]);
        assert_eq!(complete.ranges(1), [3..=3], "the newest are told");

        held.borrow_mut().insert(2);
        assert!(!complete.refresh((0, 4), 3, look));
        assert!(looked.take().is_empty(), "nothing changed as far as is known");
        complete.note(2);
        assert!(!complete.refresh((0, 5), 3, look));
        assert_eq!(looked.take(), [4, 2], "what is new, and what changed");
        assert_eq!(complete.ranges(9), [0..=3]);

        assert!(!complete.refresh((2, 5), 3, look));
        assert_eq!(complete.ranges(9), [2..=3], "pruned ones are not told");
    }
}
