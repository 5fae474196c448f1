//! A network of peers under a virtual clock: round trip, bandwidth of each peer and of this node's own link, lost messages.
//!
//! It does what the storage handler does: asks the holders of a request one after the other, each for what the one before did
//! not send, and ends with one `Complete` or `Failed`. Deterministic: randomness is seeded.

use massa_distributed_storage_exports::network::{Capabilities, FetchEvent, FetchFailure, FetchTarget, StoragePeer};
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::time::{Duration, Instant};

/// The handler waits so long for something of an answer.
const TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes around a message.
const FRAME: u64 = 64;

pub fn some_node() -> NodeId {
    NodeId::new(KeyPair::generate(0).unwrap().get_public_key())
}

/// A part of an answer, and its size on the wire.
pub struct Piece {
    pub bytes: u64,
    pub event: FetchEvent,
}

/// What a peer answers.
pub enum Answer {
    /// All that was asked for.
    Whole(Vec<Piece>),
    /// Something, and then this.
    Part(Vec<Piece>, FetchFailure),
    /// Nothing, not even that it has nothing.
    Silence,
}

impl Answer {
    pub fn refusal(failure: FetchFailure) -> Self {
        Answer::Part(Vec::new(), failure)
    }
}

/// How a peer answers a request: its number and target, its own id.
pub type Serve = Box<dyn FnMut(u64, &FetchTarget, NodeId) -> Answer>;

pub struct Peer {
    pub node: NodeId,
    pub serve: Serve,
    pub capabilities: Option<Capabilities>,
    pub connected: bool,
}

/// What the links do.
#[derive(Clone, Copy)]
pub struct Links {
    pub round_trip: Duration,
    /// Bytes a second that each peer sends.
    pub peer_rate: u64,
    /// Bytes a second that this node receives.
    pub own_rate: u64,
    /// Share of messages that are lost on the way.
    pub loss: f64,
    /// Share of events that are lost because the queue of answers is full.
    pub event_loss: f64,
}

impl Links {
    pub fn new(round_trip_ms: u64, peer_rate: u64, own_rate: u64) -> Self {
        Self {
            round_trip: Duration::from_millis(round_trip_ms),
            peer_rate,
            own_rate,
            loss: 0.0,
            event_loss: 0.0,
        }
    }
}

enum Happening {
    /// A request reaches the holder it is at.
    Asked(u64),
    /// A part of an answer reaches this node's link.
    AtOwnLink(u64, Box<Piece>),
    /// A part of an answer is received.
    Received(u64, Box<FetchEvent>),
    /// The holder of the attempt with this number is done.
    Ended(u64, u32, Option<FetchFailure>),
    /// The holder was waited for long enough.
    TimedOut(u64, u32),
}

struct Request {
    target: FetchTarget,
    holders: Vec<NodeId>,
    attempt: u32,
    attempts: Vec<(NodeId, FetchFailure)>,
    pages: BTreeSet<u32>,
}

pub struct Network {
    pub links: Links,
    pub peers: Vec<Peer>,
    pub quarantined: BTreeMap<NodeId, String>,
    /// Bytes that this node's link carried.
    pub received: u64,
    /// Requests that each peer got.
    pub asked: HashMap<NodeId, u64>,
    start: Instant,
    now: Duration,
    queue: BinaryHeap<Reverse<(Duration, u64)>>,
    happenings: HashMap<u64, Happening>,
    next: u64,
    requests: HashMap<u64, Request>,
    peer_free: HashMap<NodeId, Duration>,
    own_free: Duration,
    random: ChaCha20Rng,
}

impl Network {
    pub fn new(links: Links, seed: u64) -> Self {
        Self {
            links,
            peers: Vec::new(),
            quarantined: BTreeMap::new(),
            received: 0,
            asked: HashMap::new(),
            start: Instant::now(),
            now: Duration::ZERO,
            queue: BinaryHeap::new(),
            happenings: HashMap::new(),
            next: 0,
            requests: HashMap::new(),
            peer_free: HashMap::new(),
            own_free: Duration::ZERO,
            random: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    pub fn add(&mut self, capabilities: Capabilities, serve: Serve) -> NodeId {
        let node = some_node();
        self.peers.push(Peer {
            node,
            serve,
            capabilities: Some(capabilities),
            connected: true,
        });
        node
    }

    pub fn now(&self) -> Instant {
        self.start + self.now
    }

    pub fn elapsed(&self) -> Duration {
        self.now
    }

    pub fn storage_peers(&self) -> Vec<StoragePeer> {
        let connected = self.peers.iter().filter(|peer| peer.connected);
        let said = connected.map(|peer| StoragePeer {
            node: peer.node,
            capabilities: peer.capabilities.clone(),
            quarantined: self.quarantined.contains_key(&peer.node),
        });
        said.collect()
    }

    pub fn quarantine(&mut self, node: NodeId, reason: String) {
        self.quarantined.entry(node).or_insert(reason);
    }

    pub fn fetch(&mut self, id: u64, target: FetchTarget, holders: Vec<NodeId>) {
        assert!(!holders.is_empty(), "a request names somebody");
        let request = Request {
            target,
            holders,
            attempt: 0,
            attempts: Vec::new(),
            pages: BTreeSet::new(),
        };
        assert!(self.requests.insert(id, request).is_none(), "no number is given twice");
        self.at(self.links.round_trip / 2, Happening::Asked(id));
    }

    /// All requests are forgotten: the node is started again.
    pub fn restart(&mut self) {
        self.requests.clear();
    }

    fn at(&mut self, after: Duration, happening: Happening) {
        self.next += 1;
        self.queue.push(Reverse((self.now + after, self.next)));
        self.happenings.insert(self.next, happening);
    }

    /// What happens next before `until`; then the clock stands there.
    pub fn next_event(&mut self, until: Duration) -> Option<FetchEvent> {
        while let Some(Reverse((at, number))) = self.queue.peek().copied() {
            if at > until {
                break;
            }
            self.queue.pop();
            self.now = at;
            let happening = self.happenings.remove(&number).unwrap();
            let event = self.happen(happening);
            if event.is_some() && !self.is_lost(self.links.event_loss) {
                return event;
            }
        }
        self.now = self.now.max(until);
        None
    }

    fn is_lost(&mut self, share: f64) -> bool {
        share > 0.0 && self.random.gen_bool(share)
    }

    fn happen(&mut self, happening: Happening) -> Option<FetchEvent> {
        match happening {
            Happening::Asked(id) => {
                self.serve(id);
                None
            }
            Happening::AtOwnLink(id, piece) => {
                let bytes = piece.bytes + FRAME;
                self.received += bytes;
                self.own_free = self.own_free.max(self.now) + transfer(bytes, self.links.own_rate);
                let after = self.own_free - self.now;
                self.at(after, Happening::Received(id, Box::new(piece.event)));
                None
            }
            Happening::Received(id, event) => {
                let request = self.requests.get_mut(&id)?;
                if let FetchEvent::Page { page, .. } = &*event {
                    request.pages.insert(page.page());
                }
                Some(*event)
            }
            Happening::Ended(id, attempt, failure) => self.end(id, attempt, failure),
            Happening::TimedOut(id, attempt) => self.end(id, attempt, Some(FetchFailure::Timeout)),
        }
    }

    /// The holder that a request is at answers.
    fn serve(&mut self, id: u64) {
        let Some(request) = self.requests.get(&id) else { return };
        let (attempt, node) = (request.attempt, request.holders[request.attempt as usize]);
        let mut target = request.target.clone();
        if let FetchTarget::Pages { pages, .. } = &mut target {
            let first = pages.clone().find(|page| !request.pages.contains(page));
            pages.start = first.unwrap_or(pages.end);
        }
        *self.asked.entry(node).or_default() += 1;
        let is_lost = self.is_lost(self.links.loss);
        let answer = match self.peers.iter_mut().find(|peer| peer.node == node && peer.connected) {
            Some(_) if self.quarantined.contains_key(&node) => Answer::refusal(FetchFailure::Quarantined),
            Some(peer) => (peer.serve)(id, &target, node),
            None => Answer::refusal(FetchFailure::NotConnected),
        };
        let (pieces, failure) = match answer {
            _ if is_lost => return self.at(TIMEOUT, Happening::TimedOut(id, attempt)),
            Answer::Silence => return self.at(TIMEOUT, Happening::TimedOut(id, attempt)),
            Answer::Whole(pieces) => (pieces, None),
            Answer::Part(pieces, failure) => (pieces, Some(failure)),
        };
        let mut all_arrive = true;
        for piece in pieces {
            let sent = self.peer_sends(node, piece.bytes);
            if self.is_lost(self.links.loss) {
                all_arrive = false;
            } else {
                self.at(sent, Happening::AtOwnLink(id, Box::new(piece)));
            }
        }
        let sent = self.peer_sends(node, 0);
        // Behind the last part on this node's link: what is queued there is at most so long.
        let behind = self.own_free.saturating_sub(self.now) + Duration::from_micros(1);
        match all_arrive {
            true => self.at(sent + behind, Happening::Ended(id, attempt, failure)),
            false => self.at(sent + TIMEOUT, Happening::TimedOut(id, attempt)),
        }
    }

    /// When what a peer sends now reaches this node's link.
    fn peer_sends(&mut self, node: NodeId, bytes: u64) -> Duration {
        let free = self.peer_free.entry(node).or_default();
        *free = (*free).max(self.now) + transfer(bytes + FRAME, self.links.peer_rate);
        *free - self.now + self.links.round_trip / 2
    }

    fn end(&mut self, id: u64, attempt: u32, failure: Option<FetchFailure>) -> Option<FetchEvent> {
        // What is still in this node's queue arrives first.
        let queued = self.own_free.saturating_sub(self.now);
        if !queued.is_zero() && failure != Some(FetchFailure::Timeout) {
            self.at(queued, Happening::Ended(id, attempt, failure));
            return None;
        }
        let request = self
            .requests
            .get_mut(&id)
            .filter(|request| request.attempt == attempt)?;
        let Some(failure) = failure else {
            self.requests.remove(&id);
            return Some(FetchEvent::Complete { id });
        };
        request.attempts.push((request.holders[attempt as usize], failure));
        request.attempt += 1;
        if request.attempt as usize == request.holders.len() {
            let attempts = self.requests.remove(&id).unwrap().attempts;
            return Some(FetchEvent::Failed { id, attempts });
        }
        self.at(self.links.round_trip / 2, Happening::Asked(id));
        None
    }
}

fn transfer(bytes: u64, rate: u64) -> Duration {
    Duration::from_nanos(bytes * 1_000_000_000 / rate)
}
