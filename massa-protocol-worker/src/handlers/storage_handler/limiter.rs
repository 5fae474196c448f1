//! How many messages a peer may send.

use super::cache::StorageCounters;
use massa_models::node::NodeId;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Refusals told to one peer in a second; more would answer a flood with a flood.
const REFUSALS_PER_SECOND: u32 = 10;
/// Messages that answer nothing or cannot be read, which a peer may send at once: late answers arrive in bursts.
const STRAY_BURST: u32 = 64;
/// One more of them is forgiven in this time.
const STRAY_INTERVAL: Duration = Duration::from_secs(1);
/// How long a peer that sent too many of them is not listened to.
const MUTE: Duration = Duration::from_secs(10);

/// Lets `burst` things happen at once, and one more in each `interval`.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    interval: Duration,
    burst: u32,
    /// When the bucket will be full: the later, the emptier it is.
    full_at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket. At least one thing may happen at once.
    pub fn new(burst: u32, interval: Duration) -> Self {
        Self {
            interval,
            burst: burst.max(1),
            full_at: None,
        }
    }

    /// A bucket of `count` things a second, and as many at once.
    pub fn per_second(count: usize) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX).max(1);
        Self::new(count, Duration::from_secs(1) / count)
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let has_one = self.has_one(now);
        if has_one {
            self.full_at = Some(self.full_at.map_or(now, |full_at| full_at.max(now)) + self.interval);
        }
        has_one
    }

    /// Whether there is one.
    pub fn has_one(&self, now: Instant) -> bool {
        let missing = self
            .full_at
            .map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now));
        missing <= self.interval * (self.burst - 1)
    }
}

/// What is done with a message, before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is read.
    Accept,
    /// It is dropped.
    Drop,
    /// It is dropped, and the peer may be told so.
    Refuse,
}

struct PeerLimits {
    messages: TokenBucket,
    refusals: TokenBucket,
    strays: TokenBucket,
    muted_until: Option<Instant>,
}

/// Limits of all connected peers. Answers to open requests do not count: they are bounded by what is in flight.
pub struct MessageLimiter {
    messages_per_second: usize,
    counters: StorageCounters,
    peers: HashMap<NodeId, PeerLimits>,
}

impl MessageLimiter {
    /// `messages_per_second` of each peer are accepted.
    pub fn new(messages_per_second: usize, counters: StorageCounters) -> Self {
        Self {
            messages_per_second,
            counters,
            peers: HashMap::new(),
        }
    }

    /// Whether a message of `peer` is read; `is_answer` tells that it names an open request. Called for connected peers
    /// only: there are as many entries as peers.
    pub fn judge(&mut self, peer: NodeId, is_answer: bool, now: Instant) -> Verdict {
        let limits = self.limits(peer);
        if limits.muted_until.is_some_and(|until| now < until) {
            self.counters.dropped.fetch_add(1, Ordering::Relaxed);
            return Verdict::Drop;
        }
        if is_answer || limits.messages.take(now) {
            return Verdict::Accept;
        }
        let refuse = limits.refusals.take(now);
        self.counters.dropped.fetch_add(1, Ordering::Relaxed);
        if refuse {
            Verdict::Refuse
        } else {
            Verdict::Drop
        }
    }

    /// `peer` sent a message that answers nothing that was asked, or that cannot be read. Returns whether that was one
    /// too many, so that the peer is not listened to for a while.
    pub fn stray(&mut self, peer: NodeId, now: Instant) -> bool {
        self.counters.stray.fetch_add(1, Ordering::Relaxed);
        let limits = self.limits(peer);
        let floods = !limits.strays.take(now);
        if floods {
            limits.muted_until = Some(now + MUTE);
        }
        floods
    }

    /// The peer is gone. A peer that comes back at once is not forgiven what it did.
    pub fn forget_idle(&mut self, connected: impl Fn(&NodeId) -> bool, now: Instant) {
        self.peers
            .retain(|node, limits| connected(node) || limits.muted_until.is_some_and(|until| now < until));
    }

    fn limits(&mut self, peer: NodeId) -> &mut PeerLimits {
        let messages_per_second = self.messages_per_second;
        self.peers.entry(peer).or_insert_with(|| PeerLimits {
            messages: TokenBucket::per_second(messages_per_second),
            refusals: TokenBucket::per_second(REFUSALS_PER_SECOND as usize),
            strays: TokenBucket::new(STRAY_BURST, STRAY_INTERVAL),
            muted_until: None,
        })
    }
}
