//! A token bucket: how long to wait so that a link carries at most so many bytes per second.

use std::time::{Duration, Instant};

/// Seconds of the rate that may pass at once, after a pause. Upstream's number.
const BURST_SECONDS: f64 = 2.0;

/// Bytes per second, with bursts of two seconds' worth. Begins full.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    bytes_per_second: f64,
    /// Bytes that may pass now; below zero, bytes that passed in advance.
    level: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket. A rate of 0 counts as 1 byte per second.
    pub fn new(bytes_per_second: u64, now: Instant) -> Self {
        let bytes_per_second = bytes_per_second.max(1) as f64;
        Self {
            bytes_per_second,
            level: bytes_per_second * BURST_SECONDS,
            filled_at: now,
        }
    }

    /// Takes `bytes` out; gives how long the caller has to wait until they may pass.
    pub fn take(&mut self, bytes: usize, now: Instant) -> Duration {
        let since = now.saturating_duration_since(self.filled_at);
        let refilled = self.level + since.as_secs_f64() * self.bytes_per_second;
        self.level = refilled.min(self.bytes_per_second * BURST_SECONDS) - bytes as f64;
        self.filled_at = now;
        if self.level >= 0.0 {
            return Duration::ZERO;
        }
        Duration::try_from_secs_f64(-self.level / self.bytes_per_second).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_of_bytes_pass_at_once_and_then_the_rate_holds() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1_000, start);
        assert_eq!(bucket.take(2_000, start), Duration::ZERO);
        assert_eq!(bucket.take(500, start), Duration::from_millis(500));
        // After the wait that it asked for, the next bytes wait for themselves alone.
        let later = start + Duration::from_millis(500);
        assert_eq!(bucket.take(100, later), Duration::from_millis(100));
    }

    #[test]
    fn a_pause_saves_up_no_more_than_two_seconds() {
        let start = Instant::now();
        let mut bucket = TokenBucket::new(1_000, start);
        bucket.take(2_000, start);
        let later = start + Duration::from_secs(3_600);
        assert_eq!(bucket.take(2_000, later), Duration::ZERO);
        assert_eq!(bucket.take(1_000, later), Duration::from_secs(1));
    }

    #[test]
    fn a_rate_of_zero_and_a_huge_message_do_not_overflow() {
        let start = Instant::now();
        let wait = TokenBucket::new(0, start).take(usize::MAX, start);
        assert!(wait > Duration::from_secs(1_000_000));
    }
}
