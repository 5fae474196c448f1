//! How fast held chunks are looked at for damage, and which is next.
//!
//! Pure. Every chunk is to be looked at once in a given time, however many are held; but never faster than the disk can spare,
//! and slower while chunks are fetched: a scrub that finds damage only adds to what there is to fetch.

use massa_distributed_storage_exports::ChunkPosition;
use std::time::{Duration, Instant};

/// Limits of scrubbing.
#[derive(Clone, Copy, Debug)]
pub struct ScrubLimits {
    /// Every chunk is looked at once in this time, if `bytes_per_second` allows it.
    pub round: Duration,
    /// What is read at most.
    pub bytes_per_second: u64,
    /// Few chunks are looked at so often: never a longer pause than this.
    pub pause_max: Duration,
}

impl Default for ScrubLimits {
    fn default() -> Self {
        Self {
            // A month: as long as detection of one missing percent by draws takes (design, section 8.14).
            round: Duration::from_secs(30 * 24 * 3600),
            bytes_per_second: 4 << 20,
            pause_max: Duration::from_secs(60),
        }
    }
}

/// While chunks are fetched, pauses are so many times longer.
const BUSY_FACTOR: u32 = 4;

/// Which chunk is looked at next.
#[derive(Debug)]
pub struct ScrubPlan {
    limits: ScrubLimits,
    /// The chunk that was looked at last.
    after: Option<ChunkPosition>,
    looked: Instant,
}

impl ScrubPlan {
    /// Begins with the first held chunk, after a pause.
    pub fn new(limits: ScrubLimits, now: Instant) -> Self {
        Self {
            limits,
            after: None,
            looked: now,
        }
    }

    /// The pause between two chunks while `held` of `chunk_bytes` are held.
    pub fn pause(&self, held: u64, chunk_bytes: u32, is_fetching: bool) -> Duration {
        let even = self.limits.round.as_millis() as u64 / held.max(1);
        let shortest = u64::from(chunk_bytes) * 1000 / self.limits.bytes_per_second.max(1);
        let pause = Duration::from_millis(even.max(shortest)).min(self.limits.pause_max);
        if is_fetching {
            pause * BUSY_FACTOR
        } else {
            pause
        }
    }

    /// The chunk to be looked at now, if it is time for one; begins again after the last. `next_held` tells the first held chunk
    /// after a position.
    pub fn due(
        &mut self,
        now: Instant,
        pause: Duration,
        next_held: &dyn Fn(Option<ChunkPosition>) -> Option<ChunkPosition>,
    ) -> Option<ChunkPosition> {
        if now.duration_since(self.looked) < pause {
            return None;
        }
        self.looked = now;
        let found = next_held(self.after).or_else(|| next_held(None));
        self.after = found;
        found
    }
}
