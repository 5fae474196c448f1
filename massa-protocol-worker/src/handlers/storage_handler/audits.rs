//! Challenges that this node puts to others: challenges of the worker and messages of peers in, messages and events out.
//!
//! Pure: no thread, no socket, no clock. Each challenged node is first asked something small, twice, and the quicker answer
//! is the round trip: what of the time to the proof is the way, and what waits on it. Then it gets the challenge, once and
//! never again: who is asked a second time had the first time to look for the answer. Every challenge ends with exactly one
//! event, at its deadline at the latest. Whether an answer is right is for the worker to find out.

use super::messages::StorageMessage;
use crossbeam_channel::Sender;
use massa_distributed_storage_exports::network::{
    Answer, AuditLeaf, Challenge, ChallengeAnswer, ChallengeEvent, ChallengeFailure,
};
use massa_distributed_storage_exports::types::ChallengeId;
use massa_models::node::NodeId;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Challenges under way.
pub const MAX_OPEN_CHALLENGES: usize = 16;
/// Small requests before a challenge.
pub const SMALL_REQUESTS: u32 = 2;
/// Ids of requests for challenges have these numbers and those above; other requests count from 0.
const FIRST_REQUEST_ID: u64 = 1 << 63;

/// What is to be done.
#[derive(Clone, Debug)]
pub enum ChallengeAction {
    /// Send a request. If that cannot be done, [`Challenges::on_not_sent`] is to be told.
    Send {
        /// To whom.
        to: NodeId,
        /// Its id.
        request_id: u64,
        /// The request.
        message: StorageMessage,
    },
    /// Open a connection.
    Dial {
        /// To whom.
        node: NodeId,
    },
    /// Tell the worker.
    Reply {
        /// Where to.
        to: Sender<ChallengeEvent>,
        /// What.
        event: ChallengeEvent,
    },
}

/// What was sent last.
struct Request {
    id: u64,
    sent: Instant,
    /// Small requests that follow; `None` if it is the challenge itself.
    small_left: Option<u32>,
}

struct Open {
    challenge: Challenge,
    ends: Instant,
    /// `None` until the node is connected.
    request: Option<Request>,
    round_trip: Duration,
}

/// See the module.
#[derive(Default)]
pub struct Challenges {
    open: Vec<Open>,
    requests: u64,
    actions: Vec<ChallengeAction>,
}

impl Challenges {
    /// Nobody is challenged yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a challenge. One too many is not put: its node counts as not connected.
    pub fn on_challenge(&mut self, challenge: Challenge, is_connected: bool, now: Instant) -> Vec<ChallengeAction> {
        let node = challenge.node;
        let open = Open {
            ends: now + challenge.timeout,
            challenge,
            request: None,
            round_trip: Duration::MAX,
        };
        if self.open.len() >= MAX_OPEN_CHALLENGES {
            self.actions.push(open.reply(Err(ChallengeFailure::NotConnected)));
            return std::mem::take(&mut self.actions);
        }
        self.open.push(open);
        if is_connected {
            self.ask(self.open.len() - 1, Some(SMALL_REQUESTS - 1), now);
        } else {
            self.actions.push(ChallengeAction::Dial { node });
        }
        std::mem::take(&mut self.actions)
    }

    /// Takes over which peers that speak storage are connected.
    pub fn on_peers(&mut self, connected: &HashSet<NodeId>, now: Instant) -> Vec<ChallengeAction> {
        for index in (0..self.open.len()).rev() {
            let open = &self.open[index];
            match (connected.contains(&open.challenge.node), &open.request) {
                (true, None) => self.ask(index, Some(SMALL_REQUESTS - 1), now),
                (false, Some(_)) => self.end(index, Err(ChallengeFailure::NotConnected)),
                _ => {}
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Takes an answer of a peer to an open request.
    pub fn on_message(&mut self, from: NodeId, message: StorageMessage, now: Instant) -> Vec<ChallengeAction> {
        let (request_id, proof) = match message {
            StorageMessage::HeldResponse { request_id, .. } => (request_id, None),
            StorageMessage::Busy { request_id } => return self.fail(&from, request_id, ChallengeFailure::Refused),
            StorageMessage::ChallengeProof {
                request_id,
                challenge_id,
                answer,
            } => (request_id, Some((challenge_id, answer))),
            _ => return Vec::new(),
        };
        let Some(index) = self.position(&from, request_id) else {
            return Vec::new();
        };
        let open = &mut self.open[index];
        let request = open.request.as_ref().expect("its request is open");
        let elapsed = now.saturating_duration_since(request.sent);
        match (request.small_left, proof) {
            (Some(left), None) => {
                open.round_trip = open.round_trip.min(elapsed);
                self.ask(index, left.checked_sub(1), now);
            }
            (None, Some((challenge_id, answer))) => self.on_proof(index, challenge_id, answer, elapsed),
            // An answer to another request than the one that was asked.
            _ => self.end(index, Err(ChallengeFailure::Malformed)),
        }
        std::mem::take(&mut self.actions)
    }

    fn on_proof(&mut self, index: usize, challenge_id: ChallengeId, answer: Answer<Vec<AuditLeaf>>, elapsed: Duration) {
        let round_trip = self.open[index].round_trip;
        let answer = match answer {
            Answer::Found(leaves) => Ok(ChallengeAnswer {
                challenge_id,
                leaves,
                elapsed,
                round_trip,
            }),
            Answer::NotYet | Answer::NotHeld | Answer::Pruned => Err(ChallengeFailure::NotHeld),
        };
        self.end(index, answer);
    }

    /// An answer to an open request cannot be read.
    pub fn on_malformed(&mut self, from: &NodeId, request_id: u64) -> Vec<ChallengeAction> {
        self.fail(from, request_id, ChallengeFailure::Malformed)
    }

    /// A request could not be sent: the queue to the peer is full, or it is gone.
    pub fn on_not_sent(&mut self, to: &NodeId, request_id: u64) -> Vec<ChallengeAction> {
        self.fail(to, request_id, ChallengeFailure::NotConnected)
    }

    fn fail(&mut self, node: &NodeId, request_id: u64, failure: ChallengeFailure) -> Vec<ChallengeAction> {
        if let Some(index) = self.position(node, request_id) {
            self.end(index, Err(failure));
        }
        std::mem::take(&mut self.actions)
    }

    /// Ends what took too long.
    pub fn on_tick(&mut self, now: Instant) -> Vec<ChallengeAction> {
        for index in (0..self.open.len()).rev() {
            let open = &self.open[index];
            if now >= open.ends {
                let was_asked = open.request.is_some();
                let failure = [ChallengeFailure::NotConnected, ChallengeFailure::Timeout][usize::from(was_asked)];
                self.end(index, Err(failure));
            }
        }
        std::mem::take(&mut self.actions)
    }

    /// Whether this request was sent to this peer and is not answered yet.
    pub fn is_open(&self, node: &NodeId, request_id: u64) -> bool {
        self.position(node, request_id).is_some()
    }

    /// Whether a node is asked something and did not answer yet.
    pub fn is_asked(&self, node: &NodeId) -> bool {
        let is_it = |open: &Open| open.challenge.node == *node && open.request.is_some();
        self.open.iter().any(is_it)
    }

    /// Challenges under way.
    pub fn open_challenges(&self) -> usize {
        self.open.len()
    }

    fn position(&self, node: &NodeId, request_id: u64) -> Option<usize> {
        let is_it = |open: &Open| {
            let request = open.request.as_ref();
            open.challenge.node == *node && request.is_some_and(|request| request.id == request_id)
        };
        self.open.iter().position(is_it)
    }

    /// Sends the next request: a small request, or the challenge.
    fn ask(&mut self, index: usize, small_left: Option<u32>, now: Instant) {
        let request_id = FIRST_REQUEST_ID + self.requests;
        self.requests += 1;
        let open = &mut self.open[index];
        open.request = Some(Request {
            id: request_id,
            sent: now,
            small_left,
        });
        let challenge = open.challenge.challenge;
        let message = match small_left {
            Some(_) => StorageMessage::HeldRequest {
                request_id,
                first_segment: challenge.position.segment,
                count: 1,
            },
            None => StorageMessage::Challenge { request_id, challenge },
        };
        self.actions.push(ChallengeAction::Send {
            to: open.challenge.node,
            request_id,
            message,
        });
    }

    fn end(&mut self, index: usize, answer: Result<ChallengeAnswer, ChallengeFailure>) {
        let open = self.open.remove(index);
        self.actions.push(open.reply(answer));
    }
}

impl Open {
    fn reply(&self, answer: Result<ChallengeAnswer, ChallengeFailure>) -> ChallengeAction {
        ChallengeAction::Reply {
            to: self.challenge.reply.clone(),
            event: ChallengeEvent {
                id: self.challenge.id,
                node: self.challenge.node,
                answer,
            },
        }
    }
}
