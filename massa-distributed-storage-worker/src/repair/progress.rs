//! How fast something goes, and how long the rest takes: for status and log.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The rate is that of so many of these steps.
const STEPS: usize = 30;
const STEP: Duration = Duration::from_secs(1);

/// How far work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Done, of `total`.
    pub done: u64,
    /// What there is to do, as far as it is known.
    pub total: u64,
    /// Done a minute, over the last half minute.
    pub per_minute: u64,
    /// What is left takes so long at this rate; `None` while nothing gets done.
    pub left: Option<Duration>,
}

/// Counts what gets done.
#[derive(Debug, Default)]
pub struct Pace {
    /// Begin of a step, and what was done before.
    steps: VecDeque<(Instant, u64)>,
    done: u64,
}

impl Pace {
    /// `count` more are done.
    pub fn add(&mut self, count: u64) {
        self.done += count;
    }

    /// Done since the start.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Called now and then.
    pub fn tick(&mut self, now: Instant) {
        let is_over = |(began, _): &(Instant, u64)| now.duration_since(*began) >= STEP;
        if self.steps.back().map_or(true, is_over) {
            self.steps.push_back((now, self.done));
            if self.steps.len() > STEPS {
                self.steps.pop_front();
            }
        }
    }

    /// How far work is of which `left` of `total` are left.
    pub fn progress(&self, left: u64, total: u64, now: Instant) -> Progress {
        let (per_minute, rest) = match self.steps.front() {
            Some((since, before)) => {
                let millis = now.duration_since(*since).as_millis() as u64;
                let done = self.done - before;
                let rest = (done > 0).then(|| Duration::from_millis(millis.saturating_mul(left) / done));
                (done.saturating_mul(60_000) / millis.max(1), rest)
            }
            None => (0, None),
        };
        Progress {
            done: total.saturating_sub(left),
            total,
            per_minute,
            left: if left == 0 { Some(Duration::ZERO) } else { rest },
        }
    }
}
