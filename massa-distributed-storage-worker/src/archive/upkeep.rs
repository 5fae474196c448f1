//! What the thread that writes the archive does next, and when. Pure: what there is to do and the time in, a decision out.

use crate::archive::rows::Packing;
use std::time::{Duration, Instant};

/// Commands between two slices of other work: so that a queue that is never empty does not keep segments open.
const COMMANDS_BETWEEN_SLICES: u32 = 64;

/// Commands that wait for a writer that is behind: two minutes of blocks of a chain of 32 threads.
const COMMANDS_BEHIND: usize = 256;

/// How a segment is closed while so many commands wait: pages are packed unless the writer is behind.
pub fn packing(queued: usize) -> Packing {
    if queued > COMMANDS_BEHIND {
        Packing::Plain
    } else {
        Packing::Packed
    }
}

/// How often something is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// Going on is tried again while something is in the way.
    pub retry: Duration,
    /// The store is asked to look after itself while nothing is in the way; retention is looked at.
    pub upkeep: Duration,
    /// The status is told.
    pub report: Duration,
    /// Space is returned, if there is nothing else to do.
    pub tidy: Duration,
}

impl Default for Intervals {
    fn default() -> Self {
        Self {
            retry: Duration::from_secs(5),
            upkeep: Duration::from_secs(60),
            report: Duration::from_millis(250),
            tidy: Duration::from_secs(120),
        }
    }
}

/// What is done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Take a command.
    Command,
    /// Do a slice of work that may wait: of closing a segment, or of dropping chunks.
    Slice,
    /// Wait for a command.
    Wait,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    commands: u32,
}

impl Turn {
    /// Commands go first: one that arrives waits for one slice at most. Slices are done in between.
    pub fn next(&mut self, is_queued: bool, has_slices: bool) -> Step {
        if is_queued && !(has_slices && self.commands >= COMMANDS_BETWEEN_SLICES) {
            self.commands += 1;
            return Step::Command;
        }
        self.commands = 0;
        if has_slices {
            Step::Slice
        } else {
            Step::Wait
        }
    }
}

/// When what is done from time to time was done last.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    intervals: Intervals,
    tried: Instant,
    looked_after: Instant,
    reported: Option<Instant>,
    tidied: Instant,
}

impl Clock {
    /// Nothing but telling the status is due at the start.
    pub fn new(intervals: Intervals, now: Instant) -> Self {
        Self {
            intervals,
            tried: now,
            looked_after: now,
            reported: None,
            tidied: now,
        }
    }

    /// How long to wait for a command at most.
    pub fn patience(&self) -> Duration {
        self.intervals.report.min(self.intervals.retry)
    }

    /// Whether going on is tried again now, something being in the way. The first attempt waits as long as any other.
    pub fn retry(&mut self, is_stalled: bool, now: Instant) -> bool {
        if !is_stalled {
            self.tried = now;
            return false;
        }
        is_due(&mut self.tried, self.intervals.retry, now)
    }

    /// Whether the store looks after itself now.
    pub fn upkeep(&mut self, now: Instant) -> bool {
        is_due(&mut self.looked_after, self.intervals.upkeep, now)
    }

    /// Whether the status is told now.
    pub fn report(&mut self, now: Instant) -> bool {
        match &mut self.reported {
            Some(reported) => is_due(reported, self.intervals.report, now),
            None => {
                self.reported = Some(now);
                true
            }
        }
    }

    /// Whether space is returned now, there being nothing else to do.
    pub fn tidy(&mut self, now: Instant) -> bool {
        is_due(&mut self.tidied, self.intervals.tidy, now)
    }
}

fn is_due(last: &mut Instant, interval: Duration, now: Instant) -> bool {
    let is_due = now.saturating_duration_since(*last) >= interval;
    if is_due {
        *last = now;
    }
    is_due
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds_when(mut is_due: impl FnMut(Instant) -> bool) -> Vec<u64> {
        let start = Instant::now();
        let at = |seconds: &u64| is_due(start + Duration::from_secs(*seconds));
        (0..20).filter(at).collect()
    }

    #[test]
    fn a_command_waits_for_one_slice_at_most_and_slices_get_their_turn() {
        let mut turn = Turn::default();
        let steps: Vec<Step> = (0..200).map(|_| turn.next(true, true)).collect();
        let slices: Vec<usize> = (0..200).filter(|at| steps[*at] == Step::Slice).collect();
        assert_eq!(slices, [64, 129, 194]);
        assert_eq!(turn.next(false, true), Step::Slice);
        assert_eq!(turn.next(false, false), Step::Wait);
        assert!((0..200).all(|_| turn.next(true, false) == Step::Command));
    }

    #[test]
    fn going_on_is_tried_again_every_five_seconds_while_something_is_in_the_way() {
        let start = Instant::now();
        let mut clock = Clock::new(Intervals::default(), start);
        let stalled_from_second_4 = |now: Instant| now >= start + Duration::from_secs(4);
        let tried = seconds_when(|now| clock.retry(stalled_from_second_4(now), now));
        assert_eq!(tried.len(), 3, "{tried:?}");
        assert!(tried.windows(2).all(|two| two[1] - two[0] == 5), "{tried:?}");
    }

    #[test]
    fn the_status_is_told_at_once_and_space_is_not_returned_at_once() {
        let intervals = Intervals {
            report: Duration::from_secs(6),
            tidy: Duration::from_secs(8),
            ..Intervals::default()
        };
        let mut clock = Clock::new(intervals, Instant::now());
        let told = seconds_when(|now| clock.report(now));
        assert_eq!(told, [0, 6, 12, 18]);
        let mut clock = Clock::new(intervals, Instant::now());
        assert_eq!(seconds_when(|now| clock.tidy(now)), [8, 16]);
    }
}
