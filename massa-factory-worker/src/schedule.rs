//! Which slot is next: a plain function of the time.

use massa_models::error::ModelsError;
use massa_models::slot::Slot;
use massa_models::timeslots::{get_block_slot_timestamp, get_latest_block_slot_at_timestamp, time_range_to_slot_range};
use massa_time::MassaTime;

/// The network's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Schedule {
    pub(crate) genesis_timestamp: MassaTime,
    pub(crate) t0: MassaTime,
    pub(crate) thread_count: u8,
}

impl Schedule {
    /// The slot after which a node that starts at `now` begins: the one that runs, or the last genesis slot.
    pub(crate) fn start_after(&self, now: MassaTime) -> Result<Slot, ModelsError> {
        let running = get_latest_block_slot_at_timestamp(self.thread_count, self.t0, self.genesis_timestamp, now)?;
        let last_genesis = Slot::new(0, self.thread_count.saturating_sub(1));
        Ok(running.map_or(last_genesis, |running| running.max(last_genesis)))
    }

    /// The slot to look at after `previous`. Those that began more than a period before `now` are skipped: the network
    /// has gone on without them.
    pub(crate) fn next(&self, previous: Slot, now: MassaTime) -> Result<Slot, ModelsError> {
        let next = previous.get_next_slot(self.thread_count)?;
        let oldest_start = now.saturating_sub(self.t0);
        let (oldest, _) = time_range_to_slot_range(
            self.thread_count,
            self.t0,
            self.genesis_timestamp,
            Some(oldest_start),
            None,
        )?;
        Ok(oldest.map_or(next, |oldest| oldest.max(next)))
    }

    /// When a slot begins.
    pub(crate) fn start_of(&self, slot: Slot) -> Result<MassaTime, ModelsError> {
        get_block_slot_timestamp(self.thread_count, self.t0, self.genesis_timestamp, slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GENESIS_MS: u64 = 1_000_000;
    const SCHEDULE: Schedule = Schedule {
        genesis_timestamp: MassaTime::from_millis(GENESIS_MS),
        t0: MassaTime::from_millis(1_000),
        thread_count: 4,
    };

    fn at(ms_since_genesis: u64) -> MassaTime {
        MassaTime::from_millis(GENESIS_MS + ms_since_genesis)
    }

    #[test]
    fn genesis_slots_are_never_produced() {
        for now in [MassaTime::from_millis(0), at(0), at(999)] {
            let previous = SCHEDULE.start_after(now).unwrap();
            assert_eq!(previous, Slot::new(0, 3));
            assert_eq!(SCHEDULE.next(previous, now).unwrap(), Slot::new(1, 0));
        }
    }

    #[test]
    fn a_node_that_starts_takes_the_first_slot_that_has_not_begun() {
        for (now, first) in [
            (1_000, Slot::new(1, 1)),
            (1_249, Slot::new(1, 1)),
            (1_250, Slot::new(1, 2)),
        ] {
            let previous = SCHEDULE.start_after(at(now)).unwrap();
            let next = SCHEDULE.next(previous, at(now)).unwrap();
            assert_eq!(next, first);
            assert!(SCHEDULE.start_of(next).unwrap() > at(now));
        }
    }

    #[test]
    fn slots_follow_each_other_while_the_thread_is_in_time() {
        let mut slot = Slot::new(5, 0);
        for expected in [(5, 1), (5, 2), (5, 3), (6, 0)] {
            slot = SCHEDULE.next(slot, SCHEDULE.start_of(slot).unwrap()).unwrap();
            assert_eq!((slot.period, slot.thread), expected);
        }
    }

    #[test]
    fn a_slot_is_made_up_for_until_a_period_after_its_beginning() {
        let previous = Slot::new(5, 0);
        assert_eq!(SCHEDULE.next(previous, at(6_250)).unwrap(), Slot::new(5, 1));
        assert_eq!(SCHEDULE.next(previous, at(6_251)).unwrap(), Slot::new(5, 2));
        assert_eq!(SCHEDULE.next(previous, at(100_000)).unwrap(), Slot::new(99, 0));
    }

    #[test]
    fn a_clock_set_back_repeats_no_slot() {
        let previous = Slot::new(5, 0);
        assert_eq!(SCHEDULE.next(previous, at(0)).unwrap(), Slot::new(5, 1));
    }

    #[test]
    fn a_schedule_without_threads_is_an_error() {
        let broken = Schedule {
            thread_count: 0,
            ..SCHEDULE
        };
        assert!(broken.start_after(at(0)).is_err());
    }
}
