//! What is served to whom, and when.
//!
//! Pure: no thread, no socket. Peers take turns, one answer each. Of each peer a bounded number of requests waits; what is
//! beyond is refused. Of one peer, requests of the quick lane go first, those of one lane in order. The caller says who can be
//! sent to, so that a peer that does not read its connection makes nothing pile up here. Challenges are quick, so that what
//! an auditor times is not what the audited peer loads otherwise; reading up to a whole chunk for one answer, they are
//! limited more narrowly; so are ways to a claim, each of which reads a table and hashes up to a thousand times. What the server may not serve to a peer now is refused, too.
//!
//! Tables and blocks larger than a frame are asked for piece by piece; the last few are kept, so that each is read once.

mod answer;

use super::limiter::TokenBucket;
use super::messages::{
    Lane, StorageMessage, StorageMessageTypeId, MAX_CONTENT_BYTES, MAX_PROOF_FRAME_BYTES, MAX_SUM_PATH_FRAME_BYTES,
};
use answer::Answering;
use massa_distributed_storage_exports::network::{Answer, ArchiveServer};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_models::node::NodeId;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Requests of one peer that may wait.
pub const MAX_WAITING_REQUESTS: usize = 64;
/// Bytes of answers that may wait, in windows of a requester: it counts packed pages, which may be a third of a page.
const WAITING_WINDOWS: usize = 4;
/// Quick answers to one peer in a row while something else waits.
const QUICK_BURST: u32 = 8;
/// Challenges of one peer that are answered at once.
pub const CHALLENGE_BURST: u32 = 8;
/// One more of them is answered in this time. An auditor asks a node a few times in an hour.
pub const CHALLENGE_INTERVAL: Duration = Duration::from_secs(1);

/// Ways to a claim that one peer is shown at once.
pub const SUM_PATH_BURST: u32 = 16;
/// One more of them is shown in this time. A peer asks for one for each false claim that it saw.
pub const SUM_PATH_INTERVAL: Duration = Duration::from_millis(500);

/// Limits of [`Serving`].
#[derive(Clone, Copy, Debug)]
pub struct ServingLimits {
    /// Bytes that a peer may ask for at a time.
    pub bytes_per_peer: usize,
    /// Bytes of a chunk; nothing of a larger one is served.
    pub max_chunk_size: usize,
}

/// A request that waits, and how far it is answered.
struct Waiting {
    request: StorageMessage,
    /// Pages that were sent.
    pages_sent: u32,
    first_page_sent: bool,
}

impl Waiting {
    /// Bytes of the answers that are still to be sent, about.
    fn bytes(&self) -> usize {
        match &self.request {
            StorageMessage::ChunkRequest { pages, .. } => (pages - self.pages_sent) as usize * PAGE_BYTES,
            StorageMessage::Challenge { .. } => MAX_PROOF_FRAME_BYTES,
            StorageMessage::SumPathRequest { .. } => MAX_SUM_PATH_FRAME_BYTES,
            _ => MAX_CONTENT_BYTES,
        }
    }
}

/// Requests of one peer.
#[derive(Default)]
struct Queue {
    lanes: [VecDeque<Waiting>; 2],
    quick_in_a_row: u32,
}

impl Queue {
    fn len(&self) -> usize {
        self.lanes.iter().map(VecDeque::len).sum()
    }

    fn bytes(&self) -> usize {
        self.lanes.iter().flatten().map(Waiting::bytes).sum()
    }

    /// The lane whose turn is next.
    fn next_lane(&mut self) -> Lane {
        let has = |lane: Lane| !self.lanes[lane as usize].is_empty();
        let is_quick = has(Lane::Quick) && (self.quick_in_a_row < QUICK_BURST || !has(Lane::Bulk));
        self.quick_in_a_row = if is_quick {
            self.quick_in_a_row.saturating_add(1)
        } else {
            0
        };
        [Lane::Bulk, Lane::Quick][usize::from(is_quick)]
    }
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accepted {
    /// It waits for its turn.
    Waits,
    /// It is refused; this is to be answered at once.
    Refused(StorageMessage),
    /// The message is no request.
    NoRequest,
}

/// Requests of all peers that wait.
pub struct Serving {
    limits: ServingLimits,
    peers: HashMap<NodeId, Queue>,
    /// Peers with waiting requests; the first one's turn is next.
    turns: VecDeque<NodeId>,
    /// How many challenges each peer may still put.
    challenges: HashMap<NodeId, TokenBucket>,
    /// How many ways to a claim each peer may still ask for.
    sum_paths: HashMap<NodeId, TokenBucket>,
    answering: Answering,
}

impl Serving {
    /// Nothing waits.
    pub fn new(limits: ServingLimits) -> Self {
        Self {
            limits,
            peers: HashMap::new(),
            turns: VecDeque::new(),
            challenges: HashMap::new(),
            sum_paths: HashMap::new(),
            answering: Answering::new(),
        }
    }

    /// Takes a request of a connected peer.
    pub fn on_request(&mut self, from: NodeId, message: &StorageMessage, now: Instant) -> Accepted {
        let Some(request_id) = message.request_id().filter(|_| is_request(message)) else {
            return Accepted::NoRequest;
        };
        if let Some(refusal) = self.refusal(message) {
            return Accepted::Refused(refusal);
        }
        let busy = Accepted::Refused(StorageMessage::Busy { request_id });
        if !self.may_ask(from, message, now) {
            return busy;
        }
        let waiting = Waiting {
            request: message.clone(),
            pages_sent: 0,
            first_page_sent: false,
        };
        let queue = self.peers.entry(from).or_default();
        let is_empty = queue.len() == 0;
        let fits = queue.bytes() + waiting.bytes() <= self.limits.bytes_per_peer.saturating_mul(WAITING_WINDOWS);
        if !is_empty && (!fits || queue.len() >= MAX_WAITING_REQUESTS) {
            return busy;
        }
        if is_empty {
            self.turns.push_back(from);
        }
        queue.lanes[message.lane() as usize].push_back(waiting);
        Accepted::Waits
    }

    /// Whether the peer may ask for what costs this node more than reading a few rows. There are at most as many buckets of a kind
    /// as connected peers.
    fn may_ask(&mut self, from: NodeId, message: &StorageMessage, now: Instant) -> bool {
        let (buckets, burst, interval) = match message {
            StorageMessage::Challenge { .. } => (&mut self.challenges, CHALLENGE_BURST, CHALLENGE_INTERVAL),
            StorageMessage::SumPathRequest { .. } => (&mut self.sum_paths, SUM_PATH_BURST, SUM_PATH_INTERVAL),
            _ => return true,
        };
        let new = || TokenBucket::new(burst, interval);
        buckets.entry(from).or_insert_with(new).take(now)
    }

    /// Pages beyond the largest chunk are not held.
    fn refusal(&self, message: &StorageMessage) -> Option<StorageMessage> {
        let StorageMessage::ChunkRequest {
            request_id,
            first_page,
            pages,
            ..
        } = message
        else {
            return None;
        };
        let end = first_page.saturating_add(*pages) as usize;
        let is_beyond = end > self.limits.max_chunk_size.div_ceil(PAGE_BYTES);
        is_beyond.then_some(StorageMessage::ChunkResponse {
            request_id: *request_id,
            page: *first_page,
            answer: Answer::NotHeld,
        })
    }

    /// The next answer, of the first peer in turn that `can_send` lets through. Reads it from `server`.
    pub fn next(
        &mut self,
        server: &dyn ArchiveServer,
        can_send: impl Fn(&NodeId) -> bool,
    ) -> Option<(NodeId, StorageMessage)> {
        let position = self.turns.iter().position(can_send)?;
        let node = self.turns.remove(position)?;
        let queue = self.peers.get_mut(&node)?;
        let lane = &mut queue.lanes[queue.next_lane() as usize];
        let waiting = lane.front_mut()?;
        let (message, is_over) = self.answering.answer(waiting, &node, server);
        if is_over {
            lane.pop_front();
        }
        if queue.len() == 0 {
            self.peers.remove(&node);
        } else {
            self.turns.push_back(node);
        }
        Some((node, message))
    }

    /// Whether requests wait.
    pub fn has_waiting(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Whether there is an answer for a peer that `can_send` lets through.
    pub fn can_serve(&self, can_send: impl Fn(&NodeId) -> bool) -> bool {
        self.turns.iter().any(can_send)
    }

    /// Bytes of answers that wait for a peer, about.
    pub fn waiting_bytes(&self, node: &NodeId) -> usize {
        self.peers.get(node).map_or(0, Queue::bytes)
    }

    /// Forgets peers that are gone.
    pub fn retain(&mut self, is_connected: impl Fn(&NodeId) -> bool) {
        self.peers.retain(|node, _| is_connected(node));
        self.turns.retain(|node| is_connected(node));
        self.challenges.retain(|node, _| is_connected(node));
        self.sum_paths.retain(|node, _| is_connected(node));
    }
}

fn is_request(message: &StorageMessage) -> bool {
    StorageMessageTypeId::from(message).is_request()
}
