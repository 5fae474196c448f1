//! How many bytes are asked of one peer at a time.
//!
//! The window follows bandwidth × delay: bytes that the peer delivers in a second, times the shortest round trip. Both are
//! measured from its answers. It starts small and doubles with each round trip while that brings more; then it is twice the
//! product, so that a link that became faster is noticed. A peer that does not answer, loses or refuses gets less at
//! once, and the part taken away only comes back with what it delivers.
//!
//! A round trip is short only while nothing waits on the way. So every [`DRAIN_INTERVAL`] one answer at a time is asked of each
//! peer for a moment, of all of them together, because they may share a link: until what waited before has passed.
//!
//! Model: bottleneck bandwidth and round-trip propagation time, Cardwell et al., ACM Queue 14-5 (2016).

use massa_distributed_storage_exports::types::PAGE_BYTES;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes that a peer is asked for at first: four pages, so that a slow link is not full for long.
pub const FIRST_WINDOW_BYTES: usize = 4 * PAGE_BYTES;
/// What a window never falls below: an answer on the way, and one behind it.
pub const LEAST_WINDOW_BYTES: usize = 2 * PAGE_BYTES;
/// The window in products of bandwidth and delay.
const GAIN: u64 = 2;
/// The same while it starts: enough to double what is delivered in each round trip, and no more, because what a full link
/// does not take waits in front of it.
const STARTING_GAIN: u64 = 3;
/// Rounds without growth by a quarter, after which the window has found the link's bandwidth.
const FLAT_ROUNDS: u32 = 3;
/// Rounds over which the largest rate counts.
const RATE_ROUNDS: u64 = 10;
/// How often windows are small for a moment.
pub const DRAIN_INTERVAL: Duration = Duration::from_secs(10);
/// How long at least: a round trip over half the world.
const DRAIN_MIN: Duration = Duration::from_millis(300);
/// How long at most.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// The window meanwhile: one answer may always be asked for.
pub const DRAINING_WINDOW_BYTES: usize = 1;
/// Least time to wait for an answer: a peer whose disk is busy for a moment is not slow.
const LEAST_PATIENCE: Duration = Duration::from_secs(1);

/// What is remembered of a request, to measure by its answers.
#[derive(Clone, Copy, Debug)]
pub struct Stamp {
    sent: Instant,
    delivered: u64,
    delivered_at: Instant,
}

/// The shortest round trip since the last but one drain.
#[derive(Clone, Copy, Debug, Default)]
struct RoundTrips {
    current: Option<Duration>,
    before: Option<Duration>,
    period: u128,
}

impl RoundTrips {
    fn add(&mut self, round_trip: Duration, period: u128) {
        if period > self.period {
            let is_next = period == self.period + 1;
            self.before = self.current.filter(|_| is_next);
            self.current = None;
            self.period = period;
        }
        self.current = Some(self.current.map_or(round_trip, |current| current.min(round_trip)));
    }

    fn shortest(&self) -> Option<Duration> {
        match (self.current, self.before) {
            (Some(current), Some(before)) => Some(current.min(before)),
            (current, before) => current.or(before),
        }
    }
}

/// The window of one peer.
#[derive(Clone, Debug)]
pub struct Window {
    start: Instant,
    most: usize,
    bytes: usize,
    /// What a peer that refused, lost or let wait may have.
    ceiling: usize,
    delivered: u64,
    delivered_at: Instant,
    /// The largest rates of the last rounds, bytes a second; newest last, each smaller than the one before.
    rates: VecDeque<(u64, u64)>,
    round_trips: RoundTrips,
    smoothed: Option<(Duration, Duration)>,
    round: u64,
    round_ends: u64,
    /// While starting: the best rate, and how many rounds did not better it.
    starting: Option<(u64, u32)>,
    was_full: bool,
    /// The round in which something was lost last.
    lost_in: Option<u64>,
}

impl Window {
    /// Of a peer that was never asked. `start` is the same for all peers; `most` bytes are never exceeded.
    pub fn new(start: Instant, most: usize, now: Instant) -> Self {
        Self {
            start,
            most,
            bytes: FIRST_WINDOW_BYTES,
            ceiling: most,
            delivered: 0,
            delivered_at: now,
            rates: VecDeque::new(),
            round_trips: RoundTrips::default(),
            smoothed: None,
            round: 0,
            round_ends: 0,
            starting: Some((0, 0)),
            was_full: false,
            lost_in: None,
        }
    }

    /// Bytes that may be asked and not answered, while a reader waits.
    pub fn limit_of_readers(&self) -> usize {
        self.bytes.min(self.ceiling).max(LEAST_WINDOW_BYTES).min(self.most)
    }

    /// Bytes that may be asked and not answered.
    pub fn limit(&self, now: Instant) -> usize {
        if self.is_draining(now) {
            DRAINING_WINDOW_BYTES
        } else {
            self.limit_of_readers()
        }
    }

    /// Whether only one answer at a time is asked for at `now`. It lasts as long as what was asked before is on the way, and
    /// a round trip more; it ends for all peers at the same time.
    fn is_draining(&self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.start).as_micros() % DRAIN_INTERVAL.as_micros();
        let smoothed = self.smoothed.map_or(Duration::ZERO, |(smoothed, _)| smoothed);
        let drain = (smoothed * 3 / 2).clamp(DRAIN_MIN, DRAIN_MAX);
        elapsed >= (DRAIN_INTERVAL - drain).as_micros()
    }

    /// More would have been asked, had the window been larger.
    pub fn set_full(&mut self) {
        self.was_full = true;
    }

    /// A request is sent; `in_flight` bytes were asked before it and are not answered.
    pub fn on_send(&mut self, in_flight: usize, now: Instant) -> Stamp {
        if in_flight == 0 {
            // The time in which nothing was asked is no time in which little came.
            self.delivered_at = now;
        }
        Stamp {
            sent: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
        }
    }

    /// An answer of `bytes` bytes came; `is_first` if it is the first one to its request.
    pub fn on_answer(&mut self, stamp: &Stamp, bytes: usize, is_first: bool, now: Instant) {
        self.delivered += bytes as u64;
        self.delivered_at = now;
        if is_first {
            self.add_round_trip(now.saturating_duration_since(stamp.sent), now);
        }
        self.ceiling = self.ceiling.saturating_add(bytes / 8).min(self.most);
        // One answer at a time says little of what the link carries.
        if !self.is_draining(now) {
            self.add_rate(stamp, now);
            self.grow(stamp, bytes);
        }
    }

    fn grow(&mut self, stamp: &Stamp, bytes: usize) {
        if self.starting.is_some() && self.was_full {
            let most = self.product(STARTING_GAIN).max(FIRST_WINDOW_BYTES as u64);
            self.bytes = (self.bytes + bytes).min(usize::try_from(most).unwrap_or(usize::MAX));
        }
        if stamp.delivered >= self.round_ends {
            self.end_round();
        }
        if self.starting.is_none() {
            self.bytes = usize::try_from(self.product(GAIN)).unwrap_or(usize::MAX);
        }
    }

    fn add_round_trip(&mut self, round_trip: Duration, now: Instant) {
        let period = now.saturating_duration_since(self.start).as_millis() / DRAIN_INTERVAL.as_millis();
        self.round_trips.add(round_trip, period);
        self.smoothed = Some(match self.smoothed {
            None => (round_trip, round_trip / 2),
            // RFC 6298, section 2.
            Some((smoothed, variation)) => {
                let error = smoothed.max(round_trip) - smoothed.min(round_trip);
                ((smoothed * 7 + round_trip) / 8, (variation * 3 + error) / 4)
            }
        });
    }

    fn add_rate(&mut self, stamp: &Stamp, now: Instant) {
        let elapsed = now.saturating_duration_since(stamp.delivered_at).as_micros().max(1);
        let bytes = u128::from(self.delivered - stamp.delivered);
        let rate = u64::try_from(bytes * 1_000_000 / elapsed).unwrap_or(u64::MAX);
        while self.rates.back().is_some_and(|(_, last)| *last <= rate) {
            self.rates.pop_back();
        }
        self.rates.push_back((self.round, rate));
        while self
            .rates
            .front()
            .is_some_and(|(round, _)| round + RATE_ROUNDS < self.round)
        {
            self.rates.pop_front();
        }
    }

    /// A round trip is over: everything that was asked when it began is answered.
    fn end_round(&mut self) {
        self.round += 1;
        self.round_ends = self.delivered;
        let rate = self.rate().unwrap_or(0);
        if let Some((best, flat)) = self.starting.as_mut().filter(|_| self.was_full) {
            if rate / 5 >= *best / 4 {
                (*best, *flat) = (rate, 0);
            } else {
                *flat += 1;
            }
        }
        if self.starting.is_some_and(|(_, flat)| flat >= FLAT_ROUNDS) {
            self.starting = None;
        }
        self.was_full = false;
    }

    /// `gain` times bandwidth and delay, and an answer more, because answers do not come in parts.
    fn product(&self, gain: u64) -> u64 {
        let round_trip = self.round_trip().unwrap_or_default().as_micros();
        let bytes = u128::from(self.rate().unwrap_or(0)) * round_trip / 1_000_000;
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        bytes.saturating_mul(gain).saturating_add(PAGE_BYTES as u64)
    }

    /// What was asked is lost, but the peer answers: an eighth less, once in a round trip.
    pub fn on_loss(&mut self) {
        if self.lost_in != Some(self.round) {
            self.lost_in = Some(self.round);
            self.lower(self.bytes.min(self.ceiling) / 8 * 7);
        }
    }

    /// The peer did not answer in time: half as much, and the search for its bandwidth begins anew.
    pub fn on_timeout(&mut self) {
        let half = self.bytes.min(self.ceiling) / 2;
        self.bytes = half.max(LEAST_WINDOW_BYTES);
        self.lower(half);
        self.starting = Some((0, 0));
        self.rates.clear();
    }

    /// The peer has too much to do: half of what it was asked.
    pub fn on_busy(&mut self, in_flight: usize) {
        self.lower(in_flight / 2);
    }

    fn lower(&mut self, ceiling: usize) {
        self.ceiling = ceiling.clamp(LEAST_WINDOW_BYTES.min(self.most), self.most);
    }

    /// Bytes a second that the peer delivers, if that is known.
    pub fn rate(&self) -> Option<u64> {
        self.rates.front().map(|(_, rate)| *rate)
    }

    /// The shortest round trip, if one is known.
    pub fn round_trip(&self) -> Option<Duration> {
        self.round_trips.shortest()
    }

    /// How long the peer may be silent while it is asked something, `most` at most.
    pub fn patience(&self, most: Duration) -> Duration {
        let Some((smoothed, variation)) = self.smoothed else {
            return most;
        };
        // Twice the round trip: serving takes turns, so a peer that got company needs longer all at once.
        (smoothed * 2 + variation * 4).max(LEAST_PATIENCE).min(most)
    }
}
