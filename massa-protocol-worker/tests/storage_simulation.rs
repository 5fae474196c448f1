//! Many peers that lose, delay, lie, keep silent and come and go: every question ends, and no limit is ever exceeded.

mod storage_common;

use crossbeam_channel::Receiver;
use massa_distributed_storage_exports::network::{Answer, FetchEvent, FetchPriority, FetchTarget};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::ChunkIndex;
use massa_models::node::NodeId;
use massa_protocol_worker::handlers::storage_handler::messages::{StorageMessage, MAX_PAGE_FRAME_BYTES};
use massa_protocol_worker::handlers::storage_handler::retrieval::chunk_retrieval::{
    ChunkRetrieval, RetrievalAction, RetrievalLimits, QUESTION_TIMEOUTS,
};
use massa_protocol_worker::handlers::storage_handler::retrieval::serving::{Accepted, Serving, ServingLimits};
use massa_time::MassaTime;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};
use storage_common::{node, parameters, question, TestChunk, TestServer};

const PEERS: u8 = 8;
const QUESTIONS: u64 = 120;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(50);
const BYTES_PER_PEER: usize = 6 * MAX_PAGE_FRAME_BYTES;
const BYTES: usize = 20 * MAX_PAGE_FRAME_BYTES;
const PERIODS: u64 = 4;

/// What a peer is like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    /// Answers, after a delay.
    Honest,
    /// Loses one message in ten.
    Lossy,
    /// Sends wrong bytes now and then.
    Liar,
    /// Never answers.
    Silent,
    /// Loses its connection now and then.
    Flapping,
    /// Answers everything twice, and what nobody asked.
    Noisy,
    /// Refuses half of all requests.
    Busy,
}

const MANNERS: [Manner; 7] = [
    Manner::Honest,
    Manner::Lossy,
    Manner::Liar,
    Manner::Silent,
    Manner::Flapping,
    Manner::Noisy,
    Manner::Busy,
];

struct Open {
    accepted: Instant,
    answers: Receiver<FetchEvent>,
    target: FetchTarget,
    received: usize,
}

struct Simulation {
    random: ChaCha20Rng,
    retrieval: ChunkRetrieval,
    now: Instant,
    manners: BTreeMap<NodeId, Manner>,
    connected: HashSet<NodeId>,
    server: TestServer,
    serving: HashMap<NodeId, Serving>,
    /// Messages on their way to this node, by the time at which they arrive and a number that keeps them in order.
    on_the_way: BTreeMap<(Instant, u64), (NodeId, StorageMessage)>,
    messages: u64,
    open: BTreeMap<u64, Open>,
    completed: usize,
    failed: usize,
    quarantined: HashSet<NodeId>,
}

fn limits() -> RetrievalLimits {
    RetrievalLimits {
        parameters: parameters(),
        max_chunk_size: 1 << 20,
        max_stored_chunks_per_node: 1000,
        requests_per_second: 100,
        request_timeout: REQUEST_TIMEOUT,
        dial_timeout: Duration::from_secs(3),
        quarantine: Duration::from_secs(60),
        bytes_in_flight_per_peer: BYTES_PER_PEER,
        bytes_in_flight: BYTES,
    }
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let manners = (0..PEERS).map(|peer| (node(peer), *MANNERS.choose(&mut random).unwrap()));
        let manners: BTreeMap<NodeId, Manner> = manners.collect();
        let chunks = |period| {
            let lengths = [4 * PAGE_BYTES as u32, 4 * PAGE_BYTES as u32, 3 * PAGE_BYTES as u32 + 7];
            let chunks = lengths.iter().zip(period * 10..);
            chunks.map(|(length, seed)| TestChunk::new(*length, seed)).collect()
        };
        Self {
            random,
            retrieval: ChunkRetrieval::new(limits()),
            now: Instant::now(),
            connected: manners.keys().copied().collect(),
            manners,
            server: TestServer::new((0..PERIODS).map(|period| (period, chunks(period)))),
            serving: HashMap::new(),
            on_the_way: BTreeMap::new(),
            messages: 0,
            open: BTreeMap::new(),
            completed: 0,
            failed: 0,
            quarantined: HashSet::new(),
        }
    }

    /// A question about anything, to anybody: some holders do not exist at all.
    fn ask_at_random(&mut self, id: u64) {
        let period = self.random.gen_range(0..PERIODS);
        let target = match self.random.gen_range(0..10) {
            0 => FetchTarget::Manifest { period },
            1 => FetchTarget::Held {
                first_period: 0,
                periods: 10,
            },
            2 => FetchTarget::Manifest { period: PERIODS + 1 },
            _ => self.pages_at_random(period),
        };
        let count = self.random.gen_range(1..=5);
        let mut holders: Vec<NodeId> = (0..PEERS + 3).map(node).collect();
        holders.shuffle(&mut self.random);
        let priority = *[FetchPriority::Reader, FetchPriority::Repair]
            .choose(&mut self.random)
            .unwrap();
        self.ask(id, target, &holders[..count], priority);
    }

    fn pages_at_random(&mut self, period: u64) -> FetchTarget {
        let chunk = self.random.gen_range(0..3);
        let entry = self.server.periods[&period][chunk].entry;
        let first = self.random.gen_range(0..entry.page_count());
        FetchTarget::Pages {
            period,
            chunk: ChunkIndex(chunk as u32),
            entry,
            pages: first..entry.page_count(),
        }
    }

    fn ask(&mut self, id: u64, target: FetchTarget, holders: &[NodeId], priority: FetchPriority) {
        let (fetch, answers) = question(id, target.clone(), holders, priority);
        let open = Open {
            accepted: self.now,
            answers,
            target,
            received: 0,
        };
        self.open.insert(id, open);
        let actions = self.retrieval.on_fetch(fetch, self.now);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<RetrievalAction>) {
        for action in actions {
            match action {
                RetrievalAction::Send { to, message, .. } => self.arrives_at(to, &message),
                RetrievalAction::Reply { to, event, .. } => to.try_send(event).unwrap(),
                RetrievalAction::Dial { node } => {
                    if self.manners.contains_key(&node) && self.random.gen_bool(0.8) {
                        self.connected.insert(node);
                    }
                }
                RetrievalAction::Quarantine { node, .. } => {
                    assert_eq!(self.manners[&node], Manner::Liar, "only who lies is put in quarantine");
                    self.quarantined.insert(node);
                }
                RetrievalAction::Stray { .. } | RetrievalAction::Ended { .. } => {}
            }
        }
        self.check_limits();
    }

    fn check_limits(&self) {
        assert!(self.retrieval.in_flight_total() <= BYTES);
        let peers = self.manners.keys();
        peers.for_each(|peer| assert!(self.retrieval.in_flight(peer) <= BYTES_PER_PEER));
        // The same, counted on the way: an honest peer answers all that it is asked.
        let mut pages_on_the_way: HashMap<NodeId, usize> = HashMap::new();
        for (from, message) in self.on_the_way.values() {
            let is_page = matches!(message, StorageMessage::ChunkResponse { .. });
            if is_page && self.manners[from] == Manner::Honest {
                *pages_on_the_way.entry(*from).or_default() += 1;
            }
        }
        let most = pages_on_the_way.values().max().copied().unwrap_or_default();
        assert!(
            most * MAX_PAGE_FRAME_BYTES <= BYTES_PER_PEER,
            "{most} pages of one peer"
        );
    }

    /// A request reaches a peer, which answers in its manner.
    fn arrives_at(&mut self, peer: NodeId, message: &StorageMessage) {
        let manner = self.manners[&peer];
        let is_lost = manner == Manner::Silent || manner == Manner::Lossy && self.random.gen_bool(0.1);
        if is_lost || !self.connected.contains(&peer) {
            return;
        }
        let limits = ServingLimits {
            bytes_per_peer: BYTES_PER_PEER,
            max_chunk_size: 1 << 20,
        };
        let me = node(200);
        let serving = self.serving.entry(peer).or_insert_with(|| Serving::new(limits));
        let refuses = manner == Manner::Busy && self.random.gen_bool(0.5);
        if refuses {
            let request_id = request_id(message);
            return self.send(peer, StorageMessage::Busy { request_id });
        }
        assert_eq!(serving.on_request(me, message, Instant::now()), Accepted::Waits);
        let mut answers = Vec::new();
        while let Some((_, answer)) = serving.next(&self.server, MassaTime::now(), |_| true) {
            answers.push(answer);
        }
        for answer in answers {
            self.answer(peer, manner, answer);
        }
    }

    fn answer(&mut self, peer: NodeId, manner: Manner, mut answer: StorageMessage) {
        if manner == Manner::Lossy && self.random.gen_bool(0.1) {
            return;
        }
        if manner == Manner::Liar && self.random.gen_bool(0.2) {
            lie(&mut answer);
        }
        if manner == Manner::Noisy {
            self.send(peer, answer.clone());
            let request_id = self.random.gen_range(0..1000);
            self.send(
                peer,
                StorageMessage::Busy {
                    request_id: request_id + 1_000_000,
                },
            );
        }
        self.send(peer, answer);
    }

    fn send(&mut self, from: NodeId, message: StorageMessage) {
        let delay = Duration::from_millis(self.random.gen_range(1..400));
        self.messages += 1;
        let key = (self.now + delay, self.messages);
        self.on_the_way.insert(key, (from, message));
    }

    fn step(&mut self) {
        let until = self.now + TICK;
        while let Some(entry) = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= until) {
            let ((arrives, _), (from, message)) = entry.remove_entry();
            self.now = arrives;
            if self.connected.contains(&from) {
                let actions = self.retrieval.on_message(from, message, self.now);
                self.carry_out(actions);
            }
        }
        self.now = until;
        self.flap();
        let connected = self.connected.clone();
        let actions = self.retrieval.on_peers(&connected, self.now);
        self.carry_out(actions);
        let actions = self.retrieval.on_tick(self.now);
        self.carry_out(actions);
        self.take_answers();
    }

    fn flap(&mut self) {
        let flapping: Vec<NodeId> = self
            .manners
            .iter()
            .filter(|(_, manner)| **manner == Manner::Flapping)
            .map(|(node, _)| *node)
            .collect();
        for node in flapping {
            if self.random.gen_bool(0.02) && !self.connected.remove(&node) {
                self.connected.insert(node);
            }
        }
    }

    fn take_answers(&mut self) {
        let mut over = Vec::new();
        for (id, open) in &mut self.open {
            while let Ok(event) = open.answers.try_recv() {
                match event {
                    FetchEvent::Page { page, .. } => {
                        let FetchTarget::Pages { period, chunk, .. } = &open.target else {
                            panic!("a page for {:?}", open.target);
                        };
                        let chunk = &self.server.periods[period][chunk.0 as usize];
                        assert_eq!(*page.content(), chunk.page(page.page()), "what is handed over is right");
                        open.received += 1;
                    }
                    FetchEvent::Failed { attempts, .. } => {
                        assert!(!attempts.is_empty());
                        self.failed += 1;
                        over.push(*id);
                    }
                    FetchEvent::Complete { .. } => {
                        let FetchTarget::Pages { pages, .. } = &open.target else {
                            panic!("complete: {:?}", open.target);
                        };
                        assert_eq!(open.received, pages.len(), "each page once");
                        self.completed += 1;
                        over.push(*id);
                    }
                    FetchEvent::Manifest { .. } | FetchEvent::Held { .. } => {
                        self.completed += 1;
                        over.push(*id);
                    }
                }
            }
            let age = self.now - open.accepted;
            let is_over = over.last() == Some(id);
            assert!(
                is_over || age <= REQUEST_TIMEOUT * QUESTION_TIMEOUTS + TICK,
                "question {id} is open for {age:?}"
            );
        }
        over.iter().for_each(|id| {
            self.open.remove(id);
        });
    }

    fn run(&mut self) {
        let mut next = 0;
        while next < QUESTIONS || !self.open.is_empty() {
            for _ in 0..self.random.gen_range(0..3) {
                if next < QUESTIONS {
                    self.ask_at_random(next);
                    next += 1;
                }
            }
            self.step();
        }
        // Bytes of questions that are over are in flight until their requests time out.
        for _ in 0..(REQUEST_TIMEOUT.as_millis() / TICK.as_millis() * u128::from(PEERS) * 2) {
            self.step();
        }
    }
}

fn request_id(message: &StorageMessage) -> u64 {
    match message {
        StorageMessage::ChunkRequest { request_id, .. }
        | StorageMessage::ManifestRequest { request_id, .. }
        | StorageMessage::HeldRequest { request_id, .. } => *request_id,
        other => panic!("not a request: {other:?}"),
    }
}

fn lie(message: &mut StorageMessage) {
    match message {
        StorageMessage::ChunkResponse {
            answer: Answer::Found(page),
            ..
        } => page.bytes[0] ^= 1,
        StorageMessage::ManifestResponse {
            answer: Answer::Found(bytes),
            ..
        } => {
            bytes.pop();
        }
        StorageMessage::HeldResponse { held, .. } => {
            held.pop();
        }
        _ => {}
    }
}

#[test]
fn every_question_ends_in_time_and_within_the_limits() {
    let (mut completed, mut failed) = (0, 0);
    for seed in 0..40 {
        let mut simulation = Simulation::new(seed);
        simulation.run();
        let ended = simulation.completed + simulation.failed;
        assert_eq!(ended, QUESTIONS as usize, "seed {seed}");
        assert_eq!(simulation.retrieval.open_questions(), 0, "seed {seed}");
        assert_eq!(simulation.retrieval.in_flight_total(), 0, "seed {seed}");
        completed += simulation.completed;
        failed += simulation.failed;
    }
    assert!(completed > failed && failed > 0, "{completed} answered, {failed} not");
}

#[test]
fn with_one_honest_holder_among_all_others_every_question_is_answered() {
    const ASKED: u64 = 60;
    for seed in 0..40 {
        let mut simulation = Simulation::new(seed);
        simulation.manners.insert(node(0), Manner::Honest);
        let mut next = 0;
        while next < ASKED || !simulation.open.is_empty() {
            if next < ASKED {
                let mut holders: Vec<NodeId> = (0..PEERS).map(node).collect();
                holders.shuffle(&mut simulation.random);
                let target = simulation.pages_at_random(next % PERIODS);
                simulation.ask(next, target, &holders, FetchPriority::Reader);
                next += 1;
            }
            simulation.step();
        }
        let ended = (simulation.completed, simulation.failed);
        assert_eq!(ended, (ASKED as usize, 0), "seed {seed}");
    }
}
