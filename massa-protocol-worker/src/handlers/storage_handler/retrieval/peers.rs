//! Whom to ask, as far as it does not depend on what is asked: connections, bytes in flight, scores, quarantine.

use super::chunk_retrieval::RetrievalLimits;
use crate::handlers::storage_handler::cache::MAX_QUARANTINED;
use crate::handlers::storage_handler::limiter::TokenBucket;
use crate::handlers::storage_handler::messages::MAX_PAGE_FRAME_BYTES;
use massa_distributed_storage_exports::network::FetchPriority;
use massa_models::node::NodeId;
use schnellru::{ByLength, LruMap};
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Peers whose timeouts are remembered, also after they are gone.
const MAX_SCORES: u32 = 1024;
/// How long a peer is avoided after its first timeout; doubled with each further one.
const AVOID_MIN: Duration = Duration::from_secs(5);
/// How long a peer is avoided at most.
const AVOID_MAX: Duration = Duration::from_secs(320);
/// Least number of pages asked at once, if more are wanted and the limits allow it: fewer, larger requests.
const BATCH_PAGES: usize = 4;
/// Of each limit, one priority may use all but this part: a reader need not wait until repair lets it in.
const RESERVED_PART: usize = 4;

/// Bytes asked and not answered, by priority, and their limit.
#[derive(Clone, Debug)]
struct Budget {
    limit: usize,
    in_flight: [usize; 2],
}

impl Budget {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            in_flight: [0; 2],
        }
    }

    fn sum(&self) -> usize {
        self.in_flight.iter().sum()
    }

    /// How many answers of `cost` bytes may be asked for. One may always be, when nothing is in flight.
    fn room(&self, priority: FetchPriority, cost: usize) -> usize {
        let limit = self.limit.max(cost);
        let share = (limit - limit / RESERVED_PART).max(cost);
        let left = limit.saturating_sub(self.sum());
        let left_of_share = share.saturating_sub(self.in_flight[priority as usize]);
        left.min(left_of_share) / cost
    }
}

/// A connected peer that speaks storage.
struct Peer {
    budget: Budget,
    /// Ids of open requests, in the order in which they were sent, which is the order in which they are answered.
    requests: VecDeque<u64>,
    /// Requests that it may be sent: it drops what is beyond its limit, which is taken to be this node's.
    asks: TokenBucket,
}

#[derive(Clone, Copy, Default)]
struct Score {
    timeouts: u32,
    avoid_until: Option<Instant>,
}

/// What is known of peers.
pub(super) struct Peers {
    bytes_per_peer: usize,
    asks_per_second: usize,
    dial_timeout: Duration,
    total: Budget,
    connected: HashMap<NodeId, Peer>,
    scores: LruMap<NodeId, Score, ByLength>,
    quarantined: LruMap<NodeId, Instant, ByLength>,
    /// When a node may be dialed again.
    dialed: HashMap<NodeId, Instant>,
}

impl Peers {
    pub fn new(limits: &RetrievalLimits) -> Self {
        Self {
            bytes_per_peer: limits.bytes_in_flight_per_peer,
            asks_per_second: limits.requests_per_second,
            dial_timeout: limits.dial_timeout,
            total: Budget::new(limits.bytes_in_flight),
            connected: HashMap::new(),
            scores: LruMap::new(ByLength::new(MAX_SCORES)),
            quarantined: LruMap::new(ByLength::new(MAX_QUARANTINED)),
            dialed: HashMap::new(),
        }
    }

    /// Takes over who is connected; returns the open requests of those that are gone.
    pub fn set_connected(&mut self, connected: &HashSet<NodeId>) -> Vec<u64> {
        for node in connected {
            self.connected.entry(*node).or_insert_with(|| Peer {
                budget: Budget::new(self.bytes_per_peer),
                requests: VecDeque::new(),
                asks: TokenBucket::per_second(self.asks_per_second),
            });
        }
        let gone = self.connected.iter().filter(|(node, _)| !connected.contains(node));
        gone.flat_map(|(_, peer)| peer.requests.iter().copied()).collect()
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
        let mut score = self.scores.peek(&node).copied().unwrap_or_default();
        let pause = AVOID_MIN * 2u32.saturating_pow(score.timeouts.min(16));
        score.timeouts = score.timeouts.saturating_add(1);
        score.avoid_until = Some(now + pause.min(AVOID_MAX));
        self.scores.insert(node, score);
    }

    /// How many answers of `cost` bytes may be asked of a connected peer now; 0 also when there is room for fewer than
    /// `worth_asking`, and more will fit soon.
    pub fn room(
        &self,
        node: &NodeId,
        priority: FetchPriority,
        cost: usize,
        worth_asking: usize,
        now: Instant,
    ) -> usize {
        let Some(peer) = self.connected.get(node).filter(|peer| peer.asks.has_one(now)) else {
            return 0;
        };
        let room = peer.budget.room(priority, cost);
        let when_idle = Budget::new(peer.budget.limit).room(priority, cost);
        if room < worth_asking.min((when_idle / 2).clamp(1, BATCH_PAGES)) {
            return 0;
        }
        room.min(self.total.room(priority, cost))
    }

    /// Whether a page may be asked of anybody.
    pub fn has_room(&self, priority: FetchPriority) -> bool {
        self.total.room(priority, MAX_PAGE_FRAME_BYTES) > 0
    }

    /// A request for `bytes` bytes was sent.
    pub fn sent(&mut self, node: &NodeId, request_id: u64, priority: FetchPriority, bytes: usize, now: Instant) {
        let peer = self.connected.get_mut(node).expect("only connected peers are asked");
        peer.asks.take(now);
        peer.requests.push_back(request_id);
        peer.budget.in_flight[priority as usize] += bytes;
        self.total.in_flight[priority as usize] += bytes;
    }

    /// `bytes` bytes are no longer in flight.
    pub fn released(&mut self, node: &NodeId, priority: FetchPriority, bytes: usize) {
        self.total.in_flight[priority as usize] -= bytes;
        if let Some(peer) = self.connected.get_mut(node) {
            peer.budget.in_flight[priority as usize] -= bytes;
        }
    }

    /// A peer sent what was asked for: its old timeouts count less, and it may be asked for a little more.
    pub fn answered(&mut self, node: &NodeId, bytes: usize) {
        if let Some(score) = self.scores.get(node) {
            score.timeouts = score.timeouts.saturating_sub(1);
            score.avoid_until = None;
        }
        if let Some(peer) = self.connected.get_mut(node) {
            peer.budget.limit = (peer.budget.limit + bytes / 16).min(self.bytes_per_peer);
        }
    }

    /// A peer has too much to do: it is asked for half as much at a time.
    pub fn busy(&mut self, node: &NodeId) {
        if let Some(peer) = self.connected.get_mut(node) {
            peer.budget.limit = (peer.budget.sum() / 2).max(MAX_PAGE_FRAME_BYTES.min(peer.budget.limit));
        }
    }

    /// A request is over.
    pub fn ended(&mut self, node: &NodeId, request_id: u64) {
        if let Some(peer) = self.connected.get_mut(node) {
            peer.requests.retain(|id| *id != request_id);
        }
    }

    /// The request of a peer that is to be answered next.
    pub fn oldest_request(&self, node: &NodeId) -> Option<u64> {
        self.connected.get(node)?.requests.front().copied()
    }

    /// All open requests of a peer.
    pub fn requests(&self, node: &NodeId) -> Vec<u64> {
        let peer = self.connected.get(node);
        peer.map(|peer| peer.requests.iter().copied().collect())
            .unwrap_or_default()
    }

    /// Of each peer, the request that is to be answered next.
    pub fn oldest_requests(&self) -> impl Iterator<Item = (NodeId, u64)> + '_ {
        let peers = self.connected.iter();
        peers.filter_map(|(node, peer)| Some((*node, *peer.requests.front()?)))
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

    /// Bytes asked of a peer and not answered.
    pub fn in_flight(&self, node: &NodeId) -> usize {
        self.connected.get(node).map_or(0, |peer| peer.budget.sum())
    }

    /// Bytes asked of all peers and not answered.
    pub fn in_flight_total(&self) -> usize {
        self.total.sum()
    }
}
