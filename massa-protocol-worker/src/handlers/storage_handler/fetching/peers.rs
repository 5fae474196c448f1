//! Whom to ask, as far as it does not depend on what is asked: connections, windows, scores, quarantine.

use super::window::{Stamp, Window, LEAST_WINDOW_BYTES};
use super::RetrievalLimits;
use crate::handlers::storage_handler::cache::MAX_QUARANTINED;
use crate::handlers::storage_handler::limiter::TokenBucket;
use crate::handlers::storage_handler::messages::Lane;
use massa_distributed_storage_exports::network::FetchPriority;
use massa_models::node::NodeId;
use schnellru::{ByLength, LruMap};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Peers whose timeouts are remembered, also after they are gone.
const MAX_SCORES: u32 = 4096;
/// How long a peer is avoided after its first timeout; doubled with each further one.
const AVOID_MIN: Duration = Duration::from_secs(2);
/// How long a peer is avoided at most.
const AVOID_MAX: Duration = Duration::from_secs(320);
/// Of each limit, one priority may use all but this part: a reader need not wait until repair lets it in.
const RESERVED_PART: usize = 4;
/// Requests of a peer that are over here, though it may still answer them.
const MAX_ABANDONED: usize = 64;
/// What a peer is taken to deliver in a second before it was asked.
const UNKNOWN_RATE: u64 = 1 << 20;
/// What a peer's round trip is taken to be before it was asked.
const UNKNOWN_ROUND_TRIP: Duration = Duration::from_millis(100);

/// Bytes asked and not answered, by priority.
#[derive(Clone, Copy, Debug, Default)]
struct InFlight([usize; 2]);

impl InFlight {
    fn sum(self) -> usize {
        self.0.iter().sum()
    }

    /// Bytes that may still be asked for within `limit`, for answers of `least` bytes. One may always be, when nothing is
    /// in flight.
    fn room(self, limit: usize, priority: FetchPriority, least: usize) -> usize {
        let limit = limit.max(least);
        let share = (limit - limit / RESERVED_PART).max(least);
        let left = limit.saturating_sub(self.sum());
        let left_of_share = share.saturating_sub(self.0[priority as usize]);
        left.min(left_of_share)
    }
}

/// A connected peer that speaks storage.
struct Peer {
    window: Window,
    in_flight: InFlight,
    /// Ids of open requests of each lane, in the order in which they were sent, which is the order in which they are
    /// answered.
    lanes: [VecDeque<u64>; 2],
    /// Requests that it may be sent: it drops what is beyond its limit, which is taken to be this node's.
    asks: TokenBucket,
    /// When it answered last, or was asked while nothing else was.
    heard: Instant,
    abandoned: VecDeque<u64>,
}

impl Peer {
    /// Bytes that it may be asked for at a time.
    fn limit(&self, priority: FetchPriority, now: Instant) -> usize {
        match priority {
            // Windows are small for a moment to measure what repair uses; no reader waits for that.
            FetchPriority::Reader => self.window.limit_of_readers(),
            FetchPriority::Repair => self.window.limit(now),
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Score {
    timeouts: u32,
    avoid_until: Option<Instant>,
}

/// What is known of peers.
pub(super) struct Peers {
    start: Instant,
    bytes_per_peer: usize,
    bytes: usize,
    asks_per_second: usize,
    request_timeout: Duration,
    dial_timeout: Duration,
    in_flight: InFlight,
    connected: HashMap<NodeId, Peer>,
    scores: LruMap<NodeId, Score, ByLength>,
    quarantined: LruMap<NodeId, Instant, ByLength>,
    /// When a node may be dialed again.
    dialed: HashMap<NodeId, Instant>,
}

impl Peers {
    pub fn new(limits: &RetrievalLimits, start: Instant) -> Self {
        Self {
            start,
            bytes_per_peer: limits.bytes_in_flight_per_peer,
            bytes: limits.bytes_in_flight,
            asks_per_second: limits.requests_per_second,
            request_timeout: limits.request_timeout,
            dial_timeout: limits.dial_timeout,
            in_flight: InFlight::default(),
            connected: HashMap::new(),
            scores: LruMap::new(ByLength::new(MAX_SCORES)),
            quarantined: LruMap::new(ByLength::new(MAX_QUARANTINED)),
            dialed: HashMap::new(),
        }
    }

    /// Takes over who is connected; returns the open requests of those that are gone.
    pub fn set_connected(&mut self, connected: &HashSet<NodeId>, now: Instant) -> Vec<u64> {
        for node in connected {
            self.connected.entry(*node).or_insert_with(|| Peer {
                window: Window::new(self.start, self.bytes_per_peer, now),
                in_flight: InFlight::default(),
                lanes: Default::default(),
                asks: TokenBucket::per_second(self.asks_per_second),
                heard: now,
                abandoned: VecDeque::new(),
            });
        }
        let gone = self.connected.iter().filter(|(node, _)| !connected.contains(node));
        gone.flat_map(|(_, peer)| peer.lanes.iter().flatten().copied())
            .collect()
    }

    /// Forgets those that are gone, once their requests were ended.
    pub fn drop_gone(&mut self, connected: &HashSet<NodeId>) {
        self.connected.retain(|node, _| connected.contains(node));
    }

    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.connected.contains_key(node)
    }

    pub fn is_quarantined(&self, node: &NodeId, now: Instant) -> bool {
        self.quarantined.peek(node).is_some_and(|until| now < *until)
    }

    pub fn quarantine(&mut self, node: NodeId, until: Instant) {
        self.quarantined.insert(node, until);
    }

    /// Whether somebody else is to be asked, if there is somebody else.
    pub fn is_avoided(&self, node: &NodeId, now: Instant) -> bool {
        let score = self.scores.peek(node);
        score.is_some_and(|score| score.avoid_until.is_some_and(|until| now < until))
    }

    /// A peer let a request time out.
    pub fn timed_out(&mut self, node: NodeId, now: Instant) {
        if let Some(peer) = self.connected.get_mut(&node) {
            peer.window.on_timeout();
            peer.heard = now;
        }
        let mut score = self.scores.peek(&node).copied().unwrap_or_default();
        let pause = AVOID_MIN * 2u32.saturating_pow(score.timeouts.min(16));
        score.timeouts = score.timeouts.saturating_add(1);
        score.avoid_until = Some(now + pause.min(AVOID_MAX));
        self.scores.insert(node, score);
    }

    /// Whether a peer ever answered anything since it connected.
    pub fn is_known(&self, node: &NodeId) -> bool {
        let peer = self.connected.get(node);
        peer.is_some_and(|peer| peer.window.round_trip().is_some())
    }

    /// How long a peer may be silent while it is asked something.
    pub fn patience(&self, node: &NodeId) -> Duration {
        let peer = self.connected.get(node);
        peer.map_or(self.request_timeout, |peer| peer.window.patience(self.request_timeout))
    }

    /// How long a new request of `bytes` bytes is expected to take.
    pub fn expected(&self, node: &NodeId, bytes: usize) -> Duration {
        let Some(peer) = self.connected.get(node) else {
            return Duration::MAX;
        };
        let rate = peer.window.rate().unwrap_or(UNKNOWN_RATE).max(1);
        let before = (peer.in_flight.sum() + bytes) as u64;
        let round_trip = peer.window.round_trip().unwrap_or(UNKNOWN_ROUND_TRIP);
        round_trip + Duration::from_micros(before.saturating_mul(1_000_000) / rate)
    }

    /// How many bytes may be asked of a connected peer now, in answers of `least` bytes; 0 also when there is room for
    /// less than `worth` bytes, and more will fit soon.
    pub fn room(
        &mut self,
        node: &NodeId,
        priority: FetchPriority,
        (least, worth): (usize, usize),
        now: Instant,
    ) -> usize {
        let (bytes, bytes_per_peer) = (self.bytes, self.bytes_per_peer);
        let total = self.in_flight.room(bytes, priority, least);
        let Some(peer) = self.connected.get_mut(node).filter(|peer| peer.asks.has_one(now)) else {
            return 0;
        };
        let limit = peer.limit(priority, now).min(bytes_per_peer);
        let room = peer.in_flight.room(limit, priority, least);
        let when_idle = InFlight::default().room(limit, priority, least);
        if room < worth.max(least).min((when_idle / 2).max(least)) {
            peer.window.set_full();
            return 0;
        }
        let room = room.min(total);
        if room < least {
            0
        } else {
            room
        }
    }

    /// Whether anybody may be asked for an answer of `least` bytes.
    pub fn has_room(&self, priority: FetchPriority, least: usize) -> bool {
        self.in_flight.room(self.bytes, priority, least) >= least
    }

    /// Whether there is a peer that may be asked for something. Costs a look at each connected peer.
    pub fn any_room(&self, priority: FetchPriority, now: Instant) -> bool {
        self.connected.values().any(|peer| {
            let limit = peer.limit(priority, now).min(self.bytes_per_peer);
            peer.in_flight.room(limit, priority, 1) > 0 && peer.asks.has_one(now)
        })
    }

    /// A request for `bytes` bytes is sent.
    pub fn sent(
        &mut self,
        node: &NodeId,
        (request_id, lane): (u64, Lane),
        priority: FetchPriority,
        bytes: usize,
        now: Instant,
    ) -> Stamp {
        let peer = self.connected.get_mut(node).expect("only connected peers are asked");
        peer.asks.take(now);
        let before = peer.in_flight.sum();
        if peer.lanes.iter().all(VecDeque::is_empty) {
            peer.heard = now;
        }
        peer.lanes[lane as usize].push_back(request_id);
        peer.in_flight.0[priority as usize] += bytes;
        self.in_flight.0[priority as usize] += bytes;
        peer.window.on_send(before, now)
    }

    /// `bytes` bytes are no longer in flight.
    pub fn released(&mut self, node: &NodeId, priority: FetchPriority, bytes: usize) {
        self.in_flight.0[priority as usize] -= bytes;
        if let Some(peer) = self.connected.get_mut(node) {
            peer.in_flight.0[priority as usize] -= bytes;
        }
    }

    /// A peer sent `bytes` bytes of what was asked for; `is_first` if it is the first answer to its request. Its old
    /// timeouts count less.
    pub fn answered(&mut self, node: &NodeId, stamp: &Stamp, (bytes, is_first): (usize, bool), now: Instant) {
        if let Some(score) = self.scores.get(node) {
            score.timeouts = score.timeouts.saturating_sub(1);
            score.avoid_until = None;
        }
        if let Some(peer) = self.connected.get_mut(node) {
            peer.heard = now;
            peer.window.on_answer(stamp, bytes, is_first, now);
        }
    }

    /// Something that a peer was asked for is lost.
    pub fn lost(&mut self, node: &NodeId) {
        if let Some(peer) = self.connected.get_mut(node) {
            peer.window.on_loss();
        }
    }

    /// A peer has too much to do: it is asked for half as much at a time.
    pub fn busy(&mut self, node: &NodeId, now: Instant) {
        if let Some(peer) = self.connected.get_mut(node) {
            peer.heard = now;
            let in_flight = peer.in_flight.sum();
            peer.window.on_busy(in_flight);
        }
    }

    /// A request is over. `is_abandoned` if it may still be answered.
    pub fn ended(&mut self, node: &NodeId, (request_id, lane): (u64, Lane), is_abandoned: bool) {
        let Some(peer) = self.connected.get_mut(node) else {
            return;
        };
        peer.lanes[lane as usize].retain(|id| *id != request_id);
        if is_abandoned {
            if peer.abandoned.len() >= MAX_ABANDONED {
                peer.abandoned.pop_front();
            }
            peer.abandoned.push_back(request_id);
        }
    }

    /// Whether an answer to this request may still come, though nobody waits for it.
    pub fn is_abandoned(&self, node: &NodeId, request_id: u64) -> bool {
        let peer = self.connected.get(node);
        peer.is_some_and(|peer| peer.abandoned.contains(&request_id))
    }

    /// Requests of a lane that were sent before `request_id`.
    pub fn before(&self, node: &NodeId, (request_id, lane): (u64, Lane)) -> Vec<u64> {
        let Some(peer) = self.connected.get(node) else {
            return Vec::new();
        };
        let requests = peer.lanes[lane as usize].iter().copied();
        requests.take_while(|id| *id != request_id).collect()
    }

    /// All open requests of a peer.
    pub fn requests(&self, node: &NodeId) -> Vec<u64> {
        let peer = self.connected.get(node);
        peer.map(|peer| peer.lanes.iter().flatten().copied().collect())
            .unwrap_or_default()
    }

    /// Peers that are asked something and were silent for too long.
    pub fn stalled(&self, now: Instant) -> Vec<NodeId> {
        let is_stalled = |peer: &Peer| {
            let is_asked = peer.lanes.iter().any(|lane| !lane.is_empty());
            is_asked && now >= peer.heard + peer.window.patience(self.request_timeout)
        };
        let stalled = self.connected.iter().filter(|(_, peer)| is_stalled(peer));
        stalled.map(|(node, _)| *node).collect()
    }

    /// Whether a node is to be dialed now: not when it was dialed a moment ago.
    pub fn dial(&mut self, node: NodeId, now: Instant) -> bool {
        self.dialed.retain(|_, until| now < *until);
        let is_due = !self.dialed.contains_key(&node);
        if is_due {
            self.dialed.insert(node, now + self.dial_timeout);
        }
        is_due
    }

    /// How long a dialed node is waited for.
    pub fn dial_timeout(&self) -> Duration {
        self.dial_timeout
    }

    /// Bytes asked of a peer and not answered.
    pub fn in_flight(&self, node: &NodeId) -> usize {
        self.connected.get(node).map_or(0, |peer| peer.in_flight.sum())
    }

    /// Bytes asked of all peers and not answered.
    pub fn in_flight_total(&self) -> usize {
        self.in_flight.sum()
    }

    /// Bytes that a peer may be asked for at a time.
    pub fn window(&self, node: &NodeId, now: Instant) -> usize {
        let peer = self.connected.get(node);
        peer.map_or(LEAST_WINDOW_BYTES, |peer| peer.window.limit(now))
    }
}
