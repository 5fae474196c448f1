//! What is served to whom, and when.
//!
//! Pure: no thread, no socket. Peers take turns, one answer each. Of each peer a bounded number of requests waits, and
//! their answers together are at most `bytes_per_peer` (one request is always taken); what is beyond is refused. The
//! caller says who can be sent to, so that a peer that does not read its connection makes nothing pile up here.
//! Challenges take turns with the rest, so that what an auditor times is what everybody waits; reading up to a whole chunk
//! for one answer, they are limited more narrowly. What the server may not serve to a peer now is refused, too.

use crate::handlers::storage_handler::limiter::TokenBucket;
use crate::handlers::storage_handler::messages::{
    StorageMessage, MAX_HELD_FRAME_BYTES, MAX_MANIFEST_FRAME_BYTES, MAX_PAGE_FRAME_BYTES, MAX_PROOF_FRAME_BYTES,
};
use massa_distributed_storage_exports::network::{Answer, ArchiveServer, AuditChallenge};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_models::node::NodeId;
use massa_time::MassaTime;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Requests of one peer that may wait: manifests are small, so bytes alone would let many in.
pub const MAX_WAITING_REQUESTS: usize = 64;
/// Challenges of one peer that are answered at once.
pub const CHALLENGE_BURST: u32 = 8;
/// One more of them is answered in this time. An auditor asks a node a few times in an hour.
pub const CHALLENGE_INTERVAL: Duration = Duration::from_secs(1);

/// Limits of [`Serving`].
#[derive(Clone, Copy, Debug)]
pub struct ServingLimits {
    /// Bytes of answers that may wait for one peer.
    pub bytes_per_peer: usize,
    /// Bytes of a chunk; nothing of a larger one is served.
    pub max_chunk_size: usize,
}

/// A request that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Waiting {
    Pages {
        request_id: u64,
        period: u64,
        chunk: ChunkIndex,
        chunk_id: ChunkId,
        next: u32,
        end: u32,
    },
    Challenge {
        request_id: u64,
        challenge: AuditChallenge,
    },
    Manifest {
        request_id: u64,
        period: u64,
    },
    Held {
        request_id: u64,
        first_period: u64,
        periods: u32,
    },
}

impl Waiting {
    /// Bytes of the answers that are still to be sent, at most.
    fn bytes(&self) -> usize {
        match self {
            Self::Pages { next, end, .. } => (end - next) as usize * MAX_PAGE_FRAME_BYTES,
            Self::Challenge { .. } => MAX_PROOF_FRAME_BYTES,
            Self::Manifest { .. } => MAX_MANIFEST_FRAME_BYTES,
            Self::Held { .. } => MAX_HELD_FRAME_BYTES,
        }
    }

    fn request_id(&self) -> u64 {
        match self {
            Self::Pages { request_id, .. }
            | Self::Challenge { request_id, .. }
            | Self::Manifest { request_id, .. }
            | Self::Held { request_id, .. } => *request_id,
        }
    }

    /// The chunk that the answer is made of.
    fn chunk(&self) -> Option<(u64, ChunkIndex)> {
        match self {
            Self::Pages { period, chunk, .. } => Some((*period, *chunk)),
            Self::Challenge { challenge, .. } => Some((challenge.period, challenge.chunk)),
            Self::Manifest { .. } | Self::Held { .. } => None,
        }
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
    peers: HashMap<NodeId, VecDeque<Waiting>>,
    /// Peers with waiting requests; the first one's turn is next.
    turns: VecDeque<NodeId>,
    /// How many challenges each peer may still put.
    challenges: HashMap<NodeId, TokenBucket>,
}

impl Serving {
    /// Nothing waits.
    pub fn new(limits: ServingLimits) -> Self {
        Self {
            limits,
            peers: HashMap::new(),
            turns: VecDeque::new(),
            challenges: HashMap::new(),
        }
    }

    /// Takes a request of a connected peer.
    pub fn on_request(&mut self, from: NodeId, message: &StorageMessage, now: Instant) -> Accepted {
        let waiting = match self.waiting(message) {
            Ok(Some(request)) => request,
            Ok(None) => return Accepted::NoRequest,
            Err(refusal) => return Accepted::Refused(refusal),
        };
        let request_id = waiting.request_id();
        if matches!(waiting, Waiting::Challenge { .. }) && !self.may_challenge(from, now) {
            return Accepted::Refused(StorageMessage::Busy { request_id });
        }
        let queue = self.peers.entry(from).or_default();
        let bytes: usize = queue.iter().map(Waiting::bytes).sum();
        let fits = queue.is_empty() || bytes + waiting.bytes() <= self.limits.bytes_per_peer;
        if !fits || queue.len() >= MAX_WAITING_REQUESTS {
            return Accepted::Refused(StorageMessage::Busy { request_id });
        }
        if queue.is_empty() {
            self.turns.push_back(from);
        }
        queue.push_back(waiting);
        Accepted::Waits
    }

    /// There are as many buckets as connected peers.
    fn may_challenge(&mut self, from: NodeId, now: Instant) -> bool {
        let new = || TokenBucket::new(CHALLENGE_BURST, CHALLENGE_INTERVAL);
        self.challenges.entry(from).or_insert_with(new).take(now)
    }

    fn waiting(&self, message: &StorageMessage) -> Result<Option<Waiting>, StorageMessage> {
        Ok(Some(match *message {
            StorageMessage::ChunkRequest {
                request_id,
                period,
                chunk,
                chunk_id,
                first_page,
                pages,
            } => {
                let end = first_page.saturating_add(pages);
                if end as usize > self.limits.max_chunk_size.div_ceil(PAGE_BYTES) {
                    return Err(StorageMessage::ChunkResponse {
                        request_id,
                        page: first_page,
                        answer: Answer::NotHeld,
                    });
                }
                Waiting::Pages {
                    request_id,
                    period,
                    chunk,
                    chunk_id,
                    next: first_page,
                    end,
                }
            }
            StorageMessage::Challenge { request_id, challenge } => Waiting::Challenge { request_id, challenge },
            StorageMessage::ManifestRequest { request_id, period } => Waiting::Manifest { request_id, period },
            StorageMessage::HeldRequest {
                request_id,
                first_period,
                periods,
            } => Waiting::Held {
                request_id,
                first_period,
                periods,
            },
            _ => return Ok(None),
        }))
    }

    /// The next answer, of the first peer in turn that `can_send` lets through. Reads it from `server`, which says whether
    /// it may be given at `now`.
    pub fn next(
        &mut self,
        server: &dyn ArchiveServer,
        now: MassaTime,
        can_send: impl Fn(&NodeId) -> bool,
    ) -> Option<(NodeId, StorageMessage)> {
        let position = self.turns.iter().position(can_send)?;
        let node = self.turns.remove(position)?;
        let queue = self.peers.get_mut(&node)?;
        let waiting = queue.front_mut()?;
        let chunk = waiting.chunk();
        let (message, is_over) = match chunk {
            Some((period, chunk)) if !server.may_serve(&node, period, chunk, now) => {
                let request_id = waiting.request_id();
                (StorageMessage::Busy { request_id }, true)
            }
            _ => answer(waiting, &node, server),
        };
        if is_over {
            queue.pop_front();
        }
        if queue.is_empty() {
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

    /// Bytes of answers that wait for a peer, at most.
    pub fn waiting_bytes(&self, node: &NodeId) -> usize {
        let queue = self.peers.get(node);
        queue.map_or(0, |queue| queue.iter().map(Waiting::bytes).sum())
    }

    /// Forgets peers that are gone.
    pub fn retain(&mut self, is_connected: impl Fn(&NodeId) -> bool) {
        self.peers.retain(|node, _| is_connected(node));
        self.turns.retain(|node| is_connected(node));
        self.challenges.retain(|node, _| is_connected(node));
    }
}

/// The next answer to a request, and whether it is the last. An answer without content is the last one.
fn answer(waiting: &mut Waiting, to: &NodeId, server: &dyn ArchiveServer) -> (StorageMessage, bool) {
    match waiting {
        Waiting::Pages {
            request_id,
            period,
            chunk,
            chunk_id,
            next,
            end,
        } => {
            let page = *next;
            *next += 1;
            let answer = server.page(*period, *chunk, chunk_id, page);
            let is_over = *next >= *end || !matches!(answer, Answer::Found(_));
            let message = StorageMessage::ChunkResponse {
                request_id: *request_id,
                page,
                answer,
            };
            (message, is_over)
        }
        Waiting::Challenge { request_id, challenge } => {
            let message = StorageMessage::ChallengeProof {
                request_id: *request_id,
                challenge_id: challenge.challenge_id,
                answer: server.prove(to, challenge),
            };
            (message, true)
        }
        Waiting::Manifest { request_id, period } => {
            let message = StorageMessage::ManifestResponse {
                request_id: *request_id,
                period: *period,
                answer: server.manifest(*period),
            };
            (message, true)
        }
        Waiting::Held {
            request_id,
            first_period,
            periods,
        } => {
            let message = StorageMessage::HeldResponse {
                request_id: *request_id,
                first_period: *first_period,
                held: canonical(server.held(*first_period, *periods), *periods),
            };
            (message, true)
        }
    }
}

/// The form that travels: a list for each period, without trailing zero bytes.
fn canonical(mut held: Vec<Vec<u8>>, periods: u32) -> Vec<Vec<u8>> {
    held.resize(periods as usize, Vec::new());
    for bits in &mut held {
        while bits.last() == Some(&0) {
            bits.pop();
        }
    }
    held
}
