//! What the writer tells others: what is missing, and what keeps the first open segment open.

use super::Ingest;
use crate::archive::missing::{Blocked, Missing, MissingPeriod, OpenSegment, WantedBlock};
use crate::archive::rows::SegmentRows;
use std::ops::Range;

impl<S: SegmentRows> Ingest<S> {
    /// The newest period of which anything is here: a slot of an open segment, or the last one of a closed segment.
    pub fn newest(&self) -> Option<u64> {
        let closed = self.tracker.first_open().checked_sub(1);
        let closed = closed.filter(|period| *period >= self.store.parameters().first_period);
        self.tracker.newest().or(closed)
    }

    /// The last period that joined without a gap before it.
    pub fn newest_joined(&self) -> Option<u64> {
        let mut segment = self.next_segment;
        let mut next = self.tracker.first_open();
        while let Some(state) = self.segments.get(&segment) {
            next = self.segment_periods(segment).start + u64::from(state.joined);
            if !self.is_joined(segment) {
                break;
            }
            segment += 1;
        }
        let joined = next.checked_sub(1)?;
        (joined >= self.store.parameters().first_period).then_some(joined)
    }

    /// What is missing below the newest period that a block was taken of, at most `max` periods, and `max` blocks of each
    /// thread. Costs what is open, and nothing for what is closed.
    pub fn missing(&self, max: usize) -> Missing {
        let (periods, more_periods) = self.missing_periods(max);
        Missing {
            first_open_segment: self.next_segment,
            wanted: self.wanted(max),
            periods,
            more_periods,
            by_table: self.by_table.iter().copied().collect(),
            entries: self.border_entries(),
            blocked: self.blocked(),
        }
    }

    fn wanted(&self, max: usize) -> Vec<WantedBlock> {
        let linked = self.tracker.unknown_parents().map(|(thread, id, before)| WantedBlock {
            thread,
            id,
            period: None,
            before,
        });
        let named = self.missing.iter().filter_map(|(slot, id)| {
            Some(WantedBlock {
                thread: slot.thread,
                id: (*id)?,
                period: Some(slot.period),
                before: slot.period + 1,
            })
        });
        let mut wanted: Vec<_> = named.chain(linked).collect();
        // What is lowest keeps a segment open.
        wanted.sort_by_key(|block| (block.before, block.thread, block.period.is_none()));
        wanted.truncate(max * usize::from(self.store.parameters().thread_count));
        wanted
    }

    /// Incomplete periods of the first open segment, oldest first, then of the others, newest first. Costs what is open: of a
    /// joiner's millions of missing periods only the number is computed.
    fn missing_periods(&self, max: usize) -> (Vec<MissingPeriod>, u64) {
        let Some(newest) = self.tracker.newest() else {
            return Default::default();
        };
        let first = self.segment_periods(self.next_segment);
        let of_first = self.incomplete(first.start..first.end.min(newest + 1));
        let later = self.incomplete(first.end..newest + 1).rev();
        let found: Vec<_> = of_first
            .chain(later)
            .take(max)
            .map(|period| self.missing_period(period))
            .collect();
        let all = first.start..newest + 1;
        let given_up = self.by_table.iter().map(|segment| self.segment_periods(*segment));
        let by_table: u64 = given_up
            .map(|periods| periods.end.min(all.end).saturating_sub(periods.start))
            .sum();
        let complete = self.tracker.complete_count(all.clone()) + by_table;
        let more = (all.end - all.start).saturating_sub(complete + found.len() as u64);
        (found, more)
    }

    fn incomplete(&self, periods: Range<u64>) -> impl DoubleEndedIterator<Item = u64> + '_ {
        periods.filter(|period| !self.tracker.is_complete(*period) && !self.is_given_up(*period))
    }

    fn missing_period(&self, period: u64) -> MissingPeriod {
        let slots = self.tracker.slots(period).unwrap_or_default().iter().zip(0..);
        let here = slots.filter(|(settled, _)| settled.is_some()).map(|(_, thread)| thread);
        MissingPeriod {
            period,
            here: here.collect(),
        }
    }

    /// What keeps the first open segment from joining its next period, once a block of a later period is here.
    pub fn blocked(&self) -> Option<Blocked> {
        let segment = self.next_segment;
        let periods = self.segment_periods(segment);
        let joined = self.segments.get(&segment).map_or(0, |state| state.joined);
        let next = periods.start + u64::from(joined);
        if next >= periods.end || self.by_table.contains(&segment) || self.tracker.newest()? <= next {
            return None;
        }
        let waiting = self
            .segments
            .keys()
            .filter(|later| **later > segment && self.is_joined(**later));
        Some(Blocked {
            segment,
            slot: self.tracker.first_missing(next)?,
            waiting: waiting.count() as u64,
        })
    }

    /// What is known of the first open segment, for those who decide about lost periods; `None` until a block is here that is
    /// later than the segment after it begins.
    pub fn open_segment(&self) -> Option<OpenSegment> {
        let periods = self.segment_periods(self.next_segment);
        if self.tracker.newest()? <= periods.end {
            return None;
        }
        let incomplete = self.incomplete(periods);
        Some(OpenSegment {
            segment: self.next_segment,
            periods: incomplete.map(|period| (period, self.tracker.ids_of(period))).collect(),
        })
    }

    /// Whether any border is still looked for.
    pub fn looks_for_borders(&self) -> bool {
        self.border_entries().is_some()
    }
}
