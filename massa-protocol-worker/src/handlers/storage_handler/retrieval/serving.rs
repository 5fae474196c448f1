//! What is served to whom, and when.
//!
//! Pure: no thread, no socket. Peers take turns, one answer each. Of each peer a bounded number of requests waits, and
//! their answers together are at most `bytes_per_peer` (one request is always taken); what is beyond is refused. The
//! caller says who can be sent to, so that a peer that does not read its connection makes nothing pile up here.

use crate::handlers::storage_handler::messages::{
    StorageMessage, MAX_HELD_FRAME_BYTES, MAX_MANIFEST_FRAME_BYTES, MAX_PAGE_FRAME_BYTES,
};
use massa_distributed_storage_exports::network::{Answer, ArchiveServer};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use massa_models::node::NodeId;
use std::collections::{HashMap, VecDeque};

/// Requests of one peer that may wait: manifests are small, so bytes alone would let many in.
pub const MAX_WAITING_REQUESTS: usize = 64;

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
            Self::Manifest { .. } => MAX_MANIFEST_FRAME_BYTES,
            Self::Held { .. } => MAX_HELD_FRAME_BYTES,
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
}

impl Serving {
    /// Nothing waits.
    pub fn new(limits: ServingLimits) -> Self {
        Self {
            limits,
            peers: HashMap::new(),
            turns: VecDeque::new(),
        }
    }

    /// Takes a request of a connected peer.
    pub fn on_request(&mut self, from: NodeId, message: &StorageMessage) -> Accepted {
        let (request_id, waiting) = match self.waiting(message) {
            Ok(Some(request)) => request,
            Ok(None) => return Accepted::NoRequest,
            Err(refusal) => return Accepted::Refused(refusal),
        };
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

    fn waiting(&self, message: &StorageMessage) -> Result<Option<(u64, Waiting)>, StorageMessage> {
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
                let pages = Waiting::Pages {
                    request_id,
                    period,
                    chunk,
                    chunk_id,
                    next: first_page,
                    end,
                };
                (request_id, pages)
            }
            StorageMessage::ManifestRequest { request_id, period } => {
                (request_id, Waiting::Manifest { request_id, period })
            }
            StorageMessage::HeldRequest {
                request_id,
                first_period,
                periods,
            } => {
                let held = Waiting::Held {
                    request_id,
                    first_period,
                    periods,
                };
                (request_id, held)
            }
            _ => return Ok(None),
        }))
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
        let waiting = queue.front_mut()?;
        let (message, is_over) = answer(waiting, server);
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
    }
}

/// The next answer to a request, and whether it is the last. An answer without content is the last one.
fn answer(waiting: &mut Waiting, server: &dyn ArchiveServer) -> (StorageMessage, bool) {
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
