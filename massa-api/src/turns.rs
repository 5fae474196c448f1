//! Turns: so many at work at a time, so many that wait, the others are refused.

use parking_lot::{Condvar, Mutex};
use std::time::Instant;

/// Turns that callers take one after the other.
#[derive(Debug)]
pub(crate) struct Turns {
    at_once_max: usize,
    waiting_max: usize,
    count: Mutex<Count>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Count {
    working: usize,
    waiting: usize,
}

/// A turn; ends with the value.
#[derive(Debug)]
pub(crate) struct Turn<'a>(&'a Turns);

impl Turns {
    /// No turns taken.
    pub fn new(at_once_max: usize, waiting_max: usize) -> Self {
        Self {
            at_once_max,
            waiting_max,
            count: Mutex::new(Count::default()),
            ended: Condvar::new(),
        }
    }

    /// Waits for a turn until `deadline`. `None`: too many wait already, or it did not come.
    pub fn take(&self, deadline: Instant) -> Option<Turn<'_>> {
        let mut count = self.count.lock();
        if count.working >= self.at_once_max {
            if count.waiting >= self.waiting_max {
                return None;
            }
            count.waiting += 1;
            let late = self
                .ended
                .wait_while_until(&mut count, |count| count.working >= self.at_once_max, deadline);
            count.waiting -= 1;
            if late.timed_out() && count.working >= self.at_once_max {
                return None;
            }
        }
        count.working += 1;
        Some(Turn(self))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.count.lock().working -= 1;
        self.0.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn soon() -> Instant {
        Instant::now() + Duration::from_millis(50)
    }

    #[test]
    fn a_turn_that_ends_is_free_for_the_next() {
        let turns = Turns::new(2, 1);
        let first = turns.take(soon()).unwrap();
        let _second = turns.take(soon()).unwrap();
        assert!(turns.take(soon()).is_none(), "nobody ended in time");
        drop(first);
        turns.take(soon()).unwrap();
    }

    #[test]
    fn who_waits_gets_the_turn_and_who_comes_when_too_many_wait_is_refused_at_once() {
        let turns = Turns::new(1, 1);
        let late = Instant::now() + Duration::from_secs(60);
        let first = turns.take(late).unwrap();
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| turns.take(late).is_some());
            while turns.count.lock().waiting == 0 {
                assert!(Instant::now() < late);
                std::thread::yield_now();
            }
            assert!(turns.take(late).is_none());
            drop(first);
            assert!(waits.join().unwrap());
        });
        let count = turns.count.lock();
        assert_eq!((count.working, count.waiting), (0, 0));
    }
}
