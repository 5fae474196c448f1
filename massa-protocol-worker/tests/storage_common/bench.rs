//! The state machine of retrieval, its clock, and what it did last.

use super::{fetch, node, parameters, table, TestChunk};
use crossbeam_channel::Receiver;
use massa_distributed_storage_exports::network::{Answer, FetchEvent, FetchFailure, FetchPriority, FetchTarget};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::node::NodeId;
use massa_protocol_worker::handlers::storage_handler::fetching::{Retrieval, RetrievalAction, RetrievalLimits};
use massa_protocol_worker::handlers::storage_handler::messages::{StorageMessage, TablesContent};
use std::collections::HashSet;
use std::ops::Range;
use std::time::{Duration, Instant};

pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(3);
pub const QUARANTINE: Duration = Duration::from_secs(600);
pub const SECOND: Duration = Duration::from_secs(1);
pub const ROUND_TRIP: Duration = Duration::from_millis(100);
pub const PER_PEER: usize = 1 << 20;

pub fn limits() -> RetrievalLimits {
    RetrievalLimits {
        parameters: parameters(),
        max_chunk_size: 1 << 20,
        max_stored_chunks_per_node: 10,
        requests_per_second: 500,
        request_timeout: REQUEST_TIMEOUT,
        dial_timeout: DIAL_TIMEOUT,
        quarantine: QUARANTINE,
        bytes_in_flight_per_peer: PER_PEER,
        bytes_in_flight: 16 << 20,
    }
}

pub fn alice() -> NodeId {
    node(0)
}

pub fn bob() -> NodeId {
    node(1)
}

/// A request as it was sent.
#[derive(Clone, Debug)]
pub struct Sent {
    pub to: NodeId,
    pub id: u64,
    pub message: StorageMessage,
}

impl Sent {
    pub fn pages(&self) -> Range<u32> {
        match &self.message {
            StorageMessage::ChunkRequest { first_page, pages, .. } => *first_page..first_page + pages,
            other => panic!("{other:?}"),
        }
    }
}

/// The state machine, its clock, and what it did last.
pub struct Bench {
    pub retrieval: Retrieval,
    pub now: Instant,
    pub connected: HashSet<NodeId>,
    pub sent: Vec<Sent>,
    pub dialed: Vec<NodeId>,
    pub quarantined: Vec<NodeId>,
    pub strays: Vec<NodeId>,
    pub ended: usize,
}

impl Bench {
    pub fn new(connected: &[NodeId]) -> Self {
        Self::with(limits(), connected)
    }

    pub fn with(limits: RetrievalLimits, connected: &[NodeId]) -> Self {
        let now = Instant::now();
        let mut bench = Self {
            retrieval: Retrieval::new(limits, now),
            now,
            connected: HashSet::new(),
            sent: Vec::new(),
            dialed: Vec::new(),
            quarantined: Vec::new(),
            strays: Vec::new(),
            ended: 0,
        };
        bench.connect(connected);
        bench
    }

    pub fn connect(&mut self, nodes: &[NodeId]) {
        self.connected.extend(nodes);
        let actions = self.retrieval.on_peers(&self.connected.clone(), self.now);
        self.note(actions);
    }

    pub fn disconnect(&mut self, node: NodeId) {
        self.connected.remove(&node);
        let actions = self.retrieval.on_peers(&self.connected.clone(), self.now);
        self.note(actions);
    }

    pub fn note(&mut self, actions: Vec<RetrievalAction>) {
        for action in actions {
            match action {
                RetrievalAction::Send {
                    to,
                    request_id,
                    message,
                } => self.sent.push(Sent {
                    to,
                    id: request_id,
                    message,
                }),
                RetrievalAction::Dial { node } => self.dialed.push(node),
                RetrievalAction::Reply { to, event, .. } => to.send(event).unwrap_or(()),
                RetrievalAction::Quarantine { node, .. } => self.quarantined.push(node),
                RetrievalAction::Stray { node } => self.strays.push(node),
                RetrievalAction::Ended { .. } => self.ended += 1,
            }
        }
    }

    pub fn fetch(&mut self, target: FetchTarget, holders: &[NodeId], priority: FetchPriority) -> Receiver<FetchEvent> {
        let (fetch, answers) = fetch(1, target, holders, priority);
        let actions = self.retrieval.on_fetch(fetch, self.now);
        self.note(actions);
        answers
    }

    pub fn answer(&mut self, from: NodeId, message: StorageMessage) {
        let actions = self.retrieval.on_message(from, message, self.now);
        self.note(actions);
    }

    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        let actions = self.retrieval.on_tick(self.now);
        self.note(actions);
    }

    pub fn sent(&mut self) -> Vec<Sent> {
        std::mem::take(&mut self.sent)
    }

    /// The only request that was sent.
    pub fn one(&mut self) -> Sent {
        let sent = self.sent();
        assert_eq!(sent.len(), 1, "{sent:?}");
        sent.into_iter().next().unwrap()
    }

    pub fn send_page(&mut self, request: &Sent, chunk: &TestChunk, page: u32) {
        let message = StorageMessage::ChunkResponse {
            request_id: request.id,
            page,
            answer: Answer::Found(chunk.page(page)),
        };
        self.answer(request.to, message);
    }
}

pub fn chunk() -> TestChunk {
    TestChunk::new(1 << 20, 3)
}

pub fn pages(chunk: &TestChunk, pages: Range<u32>) -> FetchTarget {
    FetchTarget::Pages {
        position: ChunkPosition::new(7, 1).unwrap(),
        chunk: chunk.table,
        pages,
    }
}

pub const TABLES: FetchTarget = FetchTarget::Tables {
    first_segment: 5,
    count: 3,
};

pub fn tables_response(request: &Sent, first_segment: u64, tables: &[Vec<u8>]) -> StorageMessage {
    StorageMessage::TablesResponse {
        request_id: request.id,
        first_segment,
        answer: Answer::Found(TablesContent::Whole(tables.to_vec())),
    }
}

pub fn table_bytes(segment: u64) -> Vec<u8> {
    table(segment, 85_000, ChunkId::from_bytes([9; 32])).to_bytes()
}

pub fn events(answers: &Receiver<FetchEvent>) -> Vec<FetchEvent> {
    answers.try_iter().collect()
}

pub fn failure(attempts: &[(NodeId, FetchFailure)]) -> FetchEvent {
    FetchEvent::Failed {
        id: 1,
        attempts: attempts.to_vec(),
    }
}

pub const ONE_TABLE: FetchTarget = FetchTarget::Tables {
    first_segment: 5,
    count: 1,
};
