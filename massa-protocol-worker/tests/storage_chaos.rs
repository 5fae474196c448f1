//! Many peers that lose, delay, lie, keep silent, refuse and come and go: every fetch ends, no limit is exceeded, and what
//! is handed over is what was asked for.

mod storage_common;

use crossbeam_channel::Receiver;
use massa_distributed_storage_exports::network::{
    Answer, FetchEvent, FetchPriority, FetchTarget, LocateId, Located, SlotContent,
};
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_protocol_worker::handlers::storage_handler::fetching::{
    Retrieval, RetrievalAction, RetrievalLimits, FETCH_TIMEOUTS,
};
use massa_protocol_worker::handlers::storage_handler::messages::{StorageMessage, TablesContent};
use massa_protocol_worker::handlers::storage_handler::serving::{Accepted, Serving, ServingLimits};
use massa_tests::generator::{Generator, GeneratorConfig};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};
use storage_common::{fetch, node, parameters, TestChunk, TestServer, CHAIN};

const PEERS: u32 = 8;
const FETCHES: u64 = 150;
const SEGMENTS: u64 = 40;
const FIRST_PERIOD: u64 = 1;
const PERIODS: u64 = 3;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(50);
const BYTES_PER_PEER: usize = 512 << 10;
const BYTES: usize = 2 << 20;

/// What a peer is like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Honest,
    /// Loses one message in ten.
    Lossy,
    /// Sends wrong bytes now and then.
    Liar,
    Silent,
    /// Loses its connection now and then.
    Flapping,
    /// Answers everything twice.
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
    parts: usize,
}

struct Chaos {
    random: ChaCha20Rng,
    retrieval: Retrieval,
    now: Instant,
    manners: BTreeMap<NodeId, Manner>,
    connected: HashSet<NodeId>,
    server: TestServer,
    serving: HashMap<NodeId, Serving>,
    /// Messages on their way to this node. Those of one peer stay in order, as on a real link.
    on_the_way: BTreeMap<(Instant, u64), (NodeId, StorageMessage)>,
    last_arrival: HashMap<NodeId, Instant>,
    messages: u64,
    open: BTreeMap<u64, Open>,
    completed: usize,
    failed: usize,
    kinds: HashSet<&'static str>,
    quarantined: HashSet<NodeId>,
}

/// Large tables, blocks of more than one piece and small ones, and their entries.
fn server() -> TestServer {
    let mut server = TestServer::new(SEGMENTS, 48 << 20, TestChunk::new(1 << 20, 3));
    let mut generator = Generator::new(GeneratorConfig {
        chain_id: CHAIN,
        operations: 0..=12,
        payload_share: 0.5,
        payload_bytes: 10_000..=60_000,
        endorsements_per_block: 1,
        first_period: FIRST_PERIOD,
        ..GeneratorConfig::default()
    });
    for period in FIRST_PERIOD..FIRST_PERIOD + PERIODS {
        let records = generator.next_period();
        let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
        let encoded = EncodedPeriod::whole(&parameters(), period, &slots).unwrap();
        server.entries.insert(period, encoded.entry.to_bytes());
        for (record, thread) in records.into_iter().zip(0..) {
            let content = record.map_or(SlotContent::Miss, |record| {
                SlotContent::Block(record.as_bytes().to_vec())
            });
            server.blocks.insert(Slot::new(period, thread), content);
        }
    }
    server.held = vec![vec![1, 2, 3]; SEGMENTS as usize];
    server.located = Some(Located {
        slot: Slot::new(2, 3),
        index: 4,
    });
    server.sum_path = Some(vec![0; 8]);
    server
}

impl Chaos {
    fn new(seed: u64) -> Self {
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        let manners = (0..PEERS).map(|peer| (node(peer), *MANNERS.choose(&mut random).unwrap()));
        let manners: BTreeMap<NodeId, Manner> = manners.collect();
        let limits = RetrievalLimits {
            parameters: parameters(),
            max_chunk_size: 1 << 20,
            max_stored_chunks_per_node: 10_000,
            requests_per_second: 100,
            request_timeout: REQUEST_TIMEOUT,
            dial_timeout: Duration::from_secs(3),
            quarantine: Duration::from_secs(60),
            bytes_in_flight_per_peer: BYTES_PER_PEER,
            bytes_in_flight: BYTES,
        };
        let now = Instant::now();
        Self {
            random,
            retrieval: Retrieval::new(limits, now),
            now,
            connected: manners.keys().copied().collect(),
            manners,
            server: server(),
            serving: HashMap::new(),
            on_the_way: BTreeMap::new(),
            last_arrival: HashMap::new(),
            messages: 0,
            open: BTreeMap::new(),
            completed: 0,
            failed: 0,
            kinds: HashSet::new(),
            quarantined: HashSet::new(),
        }
    }

    /// A fetch of anything, from anybody: some holders do not exist at all.
    fn fetch_at_random(&mut self, id: u64) {
        let first_segment = self.random.gen_range(0..SEGMENTS + 2);
        let slot = Slot::new(self.random.gen_range(0..PERIODS + 2), self.random.gen_range(0..32));
        let target = match self.random.gen_range(0..9) {
            0 => FetchTarget::Tables {
                first_segment,
                count: self.random.gen_range(1..6),
            },
            1 => FetchTarget::Entries {
                first_period: FIRST_PERIOD,
                count: PERIODS as u32,
            },
            2 | 3 => FetchTarget::Block { slot },
            4 => FetchTarget::Held {
                first_segment: 0,
                count: SEGMENTS as u32,
            },
            5 => FetchTarget::Locate {
                ids: vec![LocateId::Block(
                    massa_distributed_storage_exports::record::block_id_from_bytes(&[0; 33]).unwrap(),
                )],
            },
            6 => FetchTarget::SumPath {
                round: 3,
                position: ChunkPosition::new(first_segment, 0).unwrap(),
            },
            _ => {
                let first = self.random.gen_range(0..16);
                FetchTarget::Pages {
                    position: ChunkPosition::new(first_segment, 0).unwrap(),
                    chunk: self.server.chunk.table,
                    pages: first..16,
                }
            }
        };
        let mut holders: Vec<NodeId> = (0..PEERS + 3).map(node).collect();
        holders.shuffle(&mut self.random);
        holders.truncate(self.random.gen_range(1..=5));
        let priority = [FetchPriority::Reader, FetchPriority::Repair][usize::from(self.random.gen_bool(0.5))];
        let (fetch, answers) = fetch(id, target.clone(), &holders, priority);
        let open = Open {
            accepted: self.now,
            answers,
            target,
            parts: 0,
        };
        self.open.insert(id, open);
        let actions = self.retrieval.on_fetch(fetch, self.now);
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<RetrievalAction>) {
        for action in actions {
            match action {
                RetrievalAction::Send { to, message, .. } => self.arrives_at(to, &message),
                RetrievalAction::Reply { to, event, .. } => to.send(event).unwrap(),
                RetrievalAction::Dial { node } => {
                    if self.manners.contains_key(&node) && self.random.gen_bool(0.8) {
                        self.connected.insert(node);
                    }
                }
                RetrievalAction::Quarantine { node, reason, .. } => {
                    let manner = self.manners[&node];
                    assert_eq!(manner, Manner::Liar, "only who lies is put in quarantine: {reason}");
                    self.quarantined.insert(node);
                }
                RetrievalAction::Stray { .. } | RetrievalAction::Ended { .. } => {}
            }
        }
        assert!(self.retrieval.in_flight_total() <= BYTES);
        let peers = self.manners.keys();
        peers.for_each(|peer| assert!(self.retrieval.in_flight(peer) <= BYTES_PER_PEER));
    }

    /// A request reaches a peer, which answers at once; the answers are delayed.
    fn arrives_at(&mut self, peer: NodeId, message: &StorageMessage) {
        let manner = self.manners[&peer];
        let is_lost = manner == Manner::Silent || manner == Manner::Lossy && self.random.gen_bool(0.1);
        if is_lost {
            return;
        }
        let request_id = message.request_id().unwrap();
        if manner == Manner::Busy && self.random.gen_bool(0.5) {
            return self.send_back(peer, StorageMessage::Busy { request_id });
        }
        let serving = self.serving.entry(peer).or_insert_with(|| {
            Serving::new(ServingLimits {
                bytes_per_peer: BYTES_PER_PEER,
                max_chunk_size: 1 << 20,
            })
        });
        let mut answers = Vec::new();
        match serving.on_request(node(99), message, self.now) {
            Accepted::Refused(refusal) => answers.push(refusal),
            accepted => assert_eq!(accepted, Accepted::Waits),
        }
        while let Some((_, answer)) = serving.next(&self.server, |_| true) {
            answers.push(answer);
        }
        for answer in answers {
            if manner == Manner::Noisy {
                self.send_back(peer, answer.clone());
            }
            self.send_back(peer, answer);
        }
    }

    fn send_back(&mut self, peer: NodeId, mut message: StorageMessage) {
        let manner = self.manners[&peer];
        if manner == Manner::Lossy && self.random.gen_bool(0.1) {
            return;
        }
        if manner == Manner::Liar && self.random.gen_bool(0.2) {
            lie(&mut message);
        }
        let delay = Duration::from_millis(self.random.gen_range(5..400));
        let last = self.last_arrival.get(&peer).copied().unwrap_or(self.now);
        let arrives = (self.now + delay).max(last);
        self.last_arrival.insert(peer, arrives);
        self.messages += 1;
        self.on_the_way.insert((arrives, self.messages), (peer, message));
    }

    fn step(&mut self) {
        self.now += TICK;
        while let Some(entry) = self.on_the_way.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (from, message) = entry.remove();
            if self.connected.contains(&from) {
                let actions = self.retrieval.on_message(from, message, self.now);
                self.carry_out(actions);
            }
        }
        let flapping = self.manners.iter().filter(|(_, manner)| **manner == Manner::Flapping);
        for node in flapping.map(|(node, _)| *node).collect::<Vec<_>>() {
            if self.random.gen_bool(0.02) && !self.connected.remove(&node) {
                self.connected.insert(node);
            }
        }
        let actions = self.retrieval.on_peers(&self.connected.clone(), self.now);
        self.carry_out(actions);
        let actions = self.retrieval.on_tick(self.now);
        self.carry_out(actions);
        self.look_at_answers();
    }

    fn look_at_answers(&mut self) {
        let mut over = Vec::new();
        for (id, open) in &mut self.open {
            // A part may come just before each deadline.
            let longest = REQUEST_TIMEOUT * FETCH_TIMEOUTS * 20;
            assert!(self.now < open.accepted + longest, "{:?} does not end", open.target);
            while let Ok(event) = open.answers.try_recv() {
                assert!(!over.contains(id), "nothing comes after the end");
                match event {
                    FetchEvent::Complete { .. } => {
                        assert_eq!(open.parts, wanted(&open.target), "{:?}", open.target);
                        self.completed += 1;
                        over.push(*id);
                    }
                    FetchEvent::Failed { .. } => {
                        self.failed += 1;
                        over.push(*id);
                    }
                    event => open.parts += check(&self.server, &open.target, event, &mut self.kinds),
                }
            }
        }
        over.iter().for_each(|id| drop(self.open.remove(id)));
    }
}

fn wanted(target: &FetchTarget) -> usize {
    match target {
        FetchTarget::Tables { count, .. } | FetchTarget::Entries { count, .. } | FetchTarget::Held { count, .. } => {
            *count as usize
        }
        FetchTarget::Pages { pages, .. } => pages.len(),
        FetchTarget::Block { .. } | FetchTarget::Locate { .. } | FetchTarget::SumPath { .. } => 1,
    }
}

/// Checks an event against the archive; returns how many parts it has.
fn check(server: &TestServer, target: &FetchTarget, event: FetchEvent, kinds: &mut HashSet<&'static str>) -> usize {
    match (target, event) {
        (
            FetchTarget::Tables { .. },
            FetchEvent::Tables {
                first_segment, tables, ..
            },
        ) => {
            kinds.insert("tables");
            let expected = (first_segment..).map(|segment| server.table(segment));
            assert!(tables.iter().cloned().eq(expected.take(tables.len())));
            tables.len()
        }
        (
            FetchTarget::Entries { .. },
            FetchEvent::Entries {
                first_period, entries, ..
            },
        ) => {
            kinds.insert("entries");
            for (entry, period) in entries.iter().zip(first_period..) {
                assert_eq!(&entry.to_bytes(), &server.entries[&period]);
            }
            entries.len()
        }
        (FetchTarget::Block { slot: asked }, FetchEvent::Block { slot, content, .. }) => {
            assert_eq!(*asked, slot);
            match (content, &server.blocks[&slot]) {
                (SlotContent::Block(found), SlotContent::Block(expected)) => {
                    kinds.insert(if expected.len() > 1 << 16 {
                        "large block"
                    } else {
                        "block"
                    });
                    assert!(found.as_bytes() == expected);
                }
                (found, expected) => assert!(found == SlotContent::Miss && *expected == SlotContent::Miss),
            }
            1
        }
        (FetchTarget::Pages { pages, .. }, FetchEvent::Page { page, .. }) => {
            kinds.insert("pages");
            assert!(pages.contains(&page.page()));
            assert!(page.plain() == &server.chunk.plain_page(page.page()).stored[1..]);
            1
        }
        (FetchTarget::Held { .. }, FetchEvent::Held { held, .. }) => {
            kinds.insert("held");
            held.len()
        }
        (FetchTarget::Locate { .. }, FetchEvent::Located { located, .. }) => {
            kinds.insert("located");
            assert_eq!(located, [server.located]);
            1
        }
        (FetchTarget::SumPath { .. }, FetchEvent::SumPath { path, .. }) => {
            kinds.insert("sum path");
            assert_eq!(Some(path), server.sum_path);
            1
        }
        (target, event) => panic!("{event:?} for {target:?}"),
    }
}

/// Changes what can be seen to be wrong.
fn lie(message: &mut StorageMessage) {
    match message {
        StorageMessage::ChunkResponse {
            answer: Answer::Found(page),
            ..
        } => page.path.siblings[0][0] ^= 1,
        StorageMessage::TablesResponse {
            answer: Answer::Found(content),
            ..
        } => match content {
            TablesContent::Whole(tables) => tables[0][1] ^= 1,
            TablesContent::Piece(piece) => piece.total -= 1,
        },
        StorageMessage::EntriesResponse {
            answer: Answer::Found(entries),
            ..
        } => entries[0][0] = 9,
        StorageMessage::BlockResponse {
            answer: Answer::Found(SlotContent::Block(piece)),
            ..
        } => drop(piece.bytes.pop()),
        StorageMessage::LocateResponse { located, .. } => located.push(None),
        _ => {}
    }
}

#[test]
fn every_fetch_ends_and_no_limit_is_exceeded_whatever_peers_do() {
    let (mut completed, mut failed, mut kinds) = (0, 0, HashSet::new());
    for seed in 0..12 {
        let mut chaos = Chaos::new(seed);
        let connected = chaos.connected.clone();
        let actions = chaos.retrieval.on_peers(&connected, chaos.now);
        chaos.carry_out(actions);
        for id in 0..FETCHES {
            chaos.fetch_at_random(id);
            chaos.step();
        }
        while !chaos.open.is_empty() {
            chaos.step();
        }
        // What is still in flight is given up in the end.
        for _ in 0..(REQUEST_TIMEOUT.as_millis() * 2 / TICK.as_millis()) {
            chaos.step();
        }
        assert_eq!(
            (chaos.retrieval.in_flight_total(), chaos.retrieval.open_fetches()),
            (0, 0)
        );
        completed += chaos.completed;
        failed += chaos.failed;
        kinds.extend(chaos.kinds);
    }
    println!("{completed} fetches complete, {failed} failed, {kinds:?}");
    let expected = [
        "tables",
        "entries",
        "block",
        "large block",
        "pages",
        "held",
        "located",
        "sum path",
    ];
    assert_eq!(kinds, HashSet::from(expected));
    assert!(completed > failed, "most of what somebody has is found");
}
