//! A node that joins, under a virtual clock: tables of the whole history from eight peers, then its chunks. Links have a
//! bandwidth and a delay, messages are lost, peers lie or keep silent. Nothing waits in real time.

mod storage_common;

use crossbeam_channel::Receiver;
use massa_distributed_storage_exports::network::{
    Answer, FetchEvent, FetchPriority, FetchTarget, PageContent, SlotContent,
};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use massa_protocol_worker::handlers::storage_handler::fetching::window::FIRST_WINDOW_BYTES;
use massa_protocol_worker::handlers::storage_handler::fetching::{Retrieval, RetrievalAction, RetrievalLimits};
use massa_protocol_worker::handlers::storage_handler::messages::{StorageMessage, TablesContent};
use massa_protocol_worker::handlers::storage_handler::serving::{Accepted, Serving, ServingLimits};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::time::{Duration, Instant};
use storage_common::{fetch, node, parameters, TestChunk, TestServer};

const PEERS: u32 = 8;
const REPLICAS: u64 = 3;
const MB: u64 = 1_000_000;
const TICK: Duration = Duration::from_millis(50);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a frame besides its content: numbers, noise, TCP and IP headers.
const FRAME_OVERHEAD: usize = 120;
/// Fetches that the worker has under way.
const FETCHES: usize = 128;

/// What a peer is like.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Manner {
    Honest,
    /// Sends wrong bytes in one answer of twenty.
    Liar,
    /// Tables that are well formed, and of another history.
    Forger,
    Silent,
}

/// What the links are like.
#[derive(Clone, Copy)]
struct Links {
    round_trip: Duration,
    /// Bytes a second that the joiner's own link takes.
    down: u64,
    /// Bytes a second that each peer sends.
    up: u64,
    /// One message in so many is lost; 0: none.
    loss: u32,
}

struct Peer {
    manner: Manner,
    serving: Serving,
    link_free: Instant,
}

enum Arrival {
    /// A request at a peer.
    Request(NodeId, StorageMessage),
    /// A peer's link is free for the next answer.
    Free(NodeId),
    /// An answer reaches the joiner's link.
    AtLink(NodeId, StorageMessage),
    /// An answer is received.
    Answer(NodeId, StorageMessage),
    Tick,
}

struct Simulation {
    links: Links,
    random: ChaCha20Rng,
    server: TestServer,
    peers: BTreeMap<NodeId, Peer>,
    retrieval: Retrieval,
    now: Instant,
    down_free: Instant,
    arrivals: BTreeMap<(Instant, u64), Arrival>,
    events: u64,
    /// What is wanted and not under way.
    wanted: VecDeque<FetchTarget>,
    open: BTreeMap<u64, (FetchTarget, Receiver<FetchEvent>)>,
    next_fetch: u64,
    tables: Vec<bool>,
    pages: u64,
    page_bytes: u64,
    quarantined: HashSet<NodeId>,
    most_in_flight: usize,
    failures: usize,
}

fn limits() -> RetrievalLimits {
    RetrievalLimits {
        parameters: parameters(),
        max_chunk_size: 1 << 20,
        max_stored_chunks_per_node: 1000,
        requests_per_second: 500,
        request_timeout: REQUEST_TIMEOUT,
        dial_timeout: Duration::from_secs(3),
        quarantine: Duration::from_secs(600),
        bytes_in_flight_per_peer: 1 << 20,
        bytes_in_flight: 16 << 20,
    }
}

impl Simulation {
    fn new(links: Links, server: TestServer, manners: &[Manner]) -> Self {
        let start = Instant::now();
        let serving = ServingLimits {
            bytes_per_peer: 1 << 20,
            max_chunk_size: 1 << 20,
        };
        let peer = |number: u32| Peer {
            manner: manners.get(number as usize).copied().unwrap_or(Manner::Honest),
            serving: Serving::new(serving),
            link_free: start,
        };
        let peers: BTreeMap<NodeId, Peer> = (0..PEERS).map(|number| (node(number), peer(number))).collect();
        let mut simulation = Self {
            links,
            random: ChaCha20Rng::seed_from_u64(11),
            tables: vec![false; server.segments as usize],
            server,
            retrieval: Retrieval::new(limits(), start),
            now: start,
            down_free: start,
            arrivals: BTreeMap::new(),
            events: 0,
            wanted: VecDeque::new(),
            open: BTreeMap::new(),
            next_fetch: 0,
            pages: 0,
            page_bytes: 0,
            quarantined: HashSet::new(),
            most_in_flight: 0,
            failures: 0,
            peers,
        };
        let connected = simulation.peers.keys().copied().collect();
        let actions = simulation.retrieval.on_peers(&connected, start);
        simulation.carry_out(actions);
        simulation.at(start + TICK, Arrival::Tick);
        simulation
    }

    fn at(&mut self, when: Instant, arrival: Arrival) {
        self.events += 1;
        self.arrivals.insert((when, self.events), arrival);
    }

    /// Runs until nothing is wanted any more; returns how long that took on the virtual clock.
    fn run(&mut self, most: Duration) -> Duration {
        let begin = self.now;
        self.ask();
        while !self.open.is_empty() || !self.wanted.is_empty() {
            let ((when, _), arrival) = self.arrivals.pop_first().expect("there is always a tick");
            self.now = when;
            self.on_arrival(arrival);
            assert!(
                self.now - begin < most,
                "not done after {most:?}: {} left",
                self.wanted.len()
            );
        }
        self.now - begin
    }

    fn on_arrival(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Tick => {
                self.at(self.now + TICK, Arrival::Tick);
                let actions = self.retrieval.on_tick(self.now);
                self.carry_out(actions);
                self.ask();
            }
            Arrival::Request(to, message) => self.on_request(to, message),
            Arrival::Free(node) => self.serve(node),
            Arrival::AtLink(from, message) => {
                let done = self.down_free.max(self.now) + sending(&message, self.links.down);
                self.down_free = done;
                self.at(done, Arrival::Answer(from, message));
            }
            Arrival::Answer(from, message) => {
                let actions = self.retrieval.on_message(from, message, self.now);
                self.carry_out(actions);
                self.ask();
            }
        }
    }

    fn on_request(&mut self, to: NodeId, message: StorageMessage) {
        let now = self.now;
        let peer = self.peers.get_mut(&to).unwrap();
        if peer.manner == Manner::Silent {
            return;
        }
        match peer.serving.on_request(node(1000), &message, now) {
            Accepted::Waits => self.serve(to),
            Accepted::Refused(refusal) => self.send_back(to, refusal),
            Accepted::NoRequest => unreachable!("only requests are sent"),
        }
    }

    /// The next answer of a peer, if its link is free.
    fn serve(&mut self, from: NodeId) {
        let peer = self.peers.get_mut(&from).unwrap();
        if peer.link_free > self.now {
            return;
        }
        let next = peer.serving.next(&self.server, |_| true);
        let Some((_, message)) = next else {
            return;
        };
        self.send_back(from, message);
    }

    fn send_back(&mut self, from: NodeId, message: StorageMessage) {
        let message = self.falsified(from, message);
        let sent = sending(&message, self.links.up);
        let peer = self.peers.get_mut(&from).unwrap();
        peer.link_free = peer.link_free.max(self.now) + sent;
        let free = peer.link_free;
        self.at(free, Arrival::Free(from));
        if !self.is_lost() {
            self.at(free + self.links.round_trip / 2, Arrival::AtLink(from, message));
        }
    }

    fn is_lost(&mut self) -> bool {
        self.links.loss > 0 && self.random.gen_ratio(1, self.links.loss)
    }

    fn falsified(&mut self, from: NodeId, mut message: StorageMessage) -> StorageMessage {
        match self.peers[&from].manner {
            Manner::Liar if self.random.gen_ratio(1, 20) => lie(&mut message),
            Manner::Forger => forge(&mut message),
            _ => {}
        }
        message
    }

    fn carry_out(&mut self, actions: Vec<RetrievalAction>) {
        for action in actions {
            match action {
                RetrievalAction::Send { to, message, .. } => {
                    if !self.is_lost() {
                        self.at(self.now + self.links.round_trip / 2, Arrival::Request(to, message));
                    }
                }
                RetrievalAction::Reply { to, event, .. } => to.send(event).unwrap(),
                RetrievalAction::Quarantine { node, .. } => {
                    let manner = self.peers[&node].manner;
                    assert!(
                        matches!(manner, Manner::Liar | Manner::Forger),
                        "{manner:?} in quarantine"
                    );
                    self.quarantined.insert(node);
                }
                RetrievalAction::Stray { node } => panic!("{node} answered what it was not asked"),
                RetrievalAction::Dial { .. } => panic!("everybody is connected"),
                RetrievalAction::Ended { .. } => {}
            }
        }
        self.most_in_flight = self.most_in_flight.max(self.retrieval.in_flight_total());
        assert!(self.retrieval.in_flight_total() <= 16 << 20);
    }

    /// The worker: takes what came, and keeps [`FETCHES`] fetches under way.
    fn ask(&mut self) {
        let answered = self.open.iter().filter(|(_, (_, answers))| !answers.is_empty());
        let keys: Vec<u64> = answered.map(|(key, _)| *key).collect();
        for key in keys {
            self.look_at(key);
        }
        while self.open.len() < FETCHES {
            let Some(target) = self.wanted.pop_front() else {
                return;
            };
            let holders = self.holders(&target);
            let (fetch, answers) = fetch(self.next_fetch, target.clone(), &holders, FetchPriority::Repair);
            self.open.insert(self.next_fetch, (target, answers));
            self.next_fetch += 1;
            let actions = self.retrieval.on_fetch(fetch, self.now);
            self.carry_out(actions);
        }
    }

    fn holders(&self, target: &FetchTarget) -> Vec<NodeId> {
        match target {
            FetchTarget::Pages { position, .. } => {
                let first = position.segment * 31 + u64::from(position.index.0);
                let number = |replica| ((first + replica) % u64::from(PEERS)) as u32;
                (0..REPLICAS).map(|replica| node(number(replica))).collect()
            }
            _ => self.peers.keys().copied().collect(),
        }
    }

    fn look_at(&mut self, key: u64) {
        let (target, answers) = self.open.get(&key).cloned().unwrap();
        while let Ok(event) = answers.try_recv() {
            match event {
                FetchEvent::Tables {
                    from,
                    first_segment,
                    tables,
                    ..
                } => self.on_tables(from, first_segment, &tables),
                FetchEvent::Page { page, .. } => {
                    let start = page.page() as usize * PAGE_BYTES;
                    let expected = &self.server.chunk.bytes[start..start + PAGE_BYTES];
                    assert!(page.plain() == expected, "what is handed over is true");
                    self.pages += 1;
                    self.page_bytes += page.stored().len() as u64;
                }
                FetchEvent::Complete { .. } => {
                    self.open.remove(&key);
                }
                FetchEvent::Failed { .. } => {
                    self.failures += 1;
                    self.open.remove(&key);
                    self.wanted.push_back(target.clone());
                }
                other => panic!("{other:?}"),
            }
        }
    }

    /// The worker knows the roots: who sends another history is named.
    fn on_tables(&mut self, from: NodeId, first_segment: u64, tables: &[SegmentTable]) {
        for (table, segment) in tables.iter().zip(first_segment..) {
            if table.header().previous == [segment as u8; 32] {
                self.tables[segment as usize] = true;
                continue;
            }
            self.wanted.push_back(FetchTarget::Tables {
                first_segment: segment,
                count: 1,
            });
            let reason = "false table".to_string();
            let actions = self.retrieval.on_quarantine(from, reason, self.now);
            self.carry_out(actions);
        }
    }

    fn want_tables(&mut self) {
        let count = 64;
        let firsts = (0..self.server.segments).step_by(count as usize);
        self.wanted = firsts
            .map(|first_segment| FetchTarget::Tables {
                first_segment,
                count: count.min((self.server.segments - first_segment) as u32),
            })
            .collect();
    }

    fn want_chunks(&mut self, chunks: u64) {
        let table = self.server.chunk.table;
        let target = |number: u64| FetchTarget::Pages {
            position: ChunkPosition::new(number / 8, (number % 8) as u32).unwrap(),
            chunk: table,
            pages: 0..table.page_count(),
        };
        self.wanted = (0..chunks).map(target).collect();
    }
}

fn sending(message: &StorageMessage, bytes_a_second: u64) -> Duration {
    let bytes = (content_bytes(message) + FRAME_OVERHEAD) as u64;
    Duration::from_nanos(bytes * 1_000_000_000 / bytes_a_second)
}

fn content_bytes(message: &StorageMessage) -> usize {
    let piece = |bytes: &Vec<u8>| bytes.len();
    match message {
        StorageMessage::ChunkResponse {
            answer: Answer::Found(page),
            ..
        } => page.stored.len() + page.signatures.len() + page.path.siblings.len() * 32,
        StorageMessage::TablesResponse {
            answer: Answer::Found(content),
            ..
        } => match content {
            TablesContent::Whole(tables) => tables.iter().map(|table| table.len() + 3).sum(),
            TablesContent::Piece(part) => piece(&part.bytes),
        },
        StorageMessage::BlockResponse {
            answer: Answer::Found(SlotContent::Block(part)),
            ..
        } => piece(&part.bytes),
        _ => 0,
    }
}

/// Changes a byte that is checked.
fn lie(message: &mut StorageMessage) {
    let flip = |content: &mut PageContent| content.path.siblings[0][0] ^= 1;
    match message {
        StorageMessage::ChunkResponse {
            answer: Answer::Found(page),
            ..
        } => flip(page),
        StorageMessage::TablesResponse {
            answer: Answer::Found(TablesContent::Whole(tables)),
            ..
        } => tables[0][1] ^= 1,
        _ => {}
    }
}

/// Another history, well formed.
fn forge(message: &mut StorageMessage) {
    if let StorageMessage::TablesResponse {
        answer: Answer::Found(TablesContent::Whole(tables)),
        ..
    } = message
    {
        tables.iter_mut().for_each(|table| table[81] ^= 0x80);
    }
}

/// 57 000 segments of near-empty periods: 5.7 million periods.
fn history() -> TestServer {
    let segments = 57_000;
    assert_eq!(segments * parameters().segment_periods, 5_700_000);
    TestServer::new(segments, 85_000, TestChunk::new(1 << 20, 7))
}

fn links(milliseconds: u64) -> Links {
    Links {
        round_trip: Duration::from_millis(milliseconds),
        down: 12 * MB,
        up: 5 * MB,
        loss: 0,
    }
}

/// Tables within three minutes, then chunks at 0.8 of what the link can carry.
fn joins(links: Links, manners: &[Manner]) -> Simulation {
    let mut simulation = Simulation::new(links, history(), manners);
    simulation.want_tables();
    let tables = simulation.run(Duration::from_secs(180));
    assert!(simulation.tables.iter().all(|is_there| *is_there));
    let chunks = 300;
    simulation.want_chunks(chunks);
    let elapsed = simulation.run(Duration::from_secs(600));
    assert_eq!(simulation.pages, chunks * 16);
    let rate = simulation.page_bytes as f64 / elapsed.as_secs_f64();
    let share = rate / (links.down.min(links.up * u64::from(PEERS)) as f64);
    println!(
        "round trip {:?}, loss 1/{}: tables {:.1} s, chunks {:.2} MB/s, {share:.2} of the link, most in flight {} kB, failed fetches {}",
        links.round_trip,
        links.loss,
        tables.as_secs_f64(),
        rate / 1e6,
        simulation.most_in_flight / 1000,
        simulation.failures
    );
    assert!(share >= 0.8, "{share:.2} of the link");
    simulation
}

#[test]
fn a_joiner_has_all_tables_in_three_minutes_and_fills_its_link_at_100_ms() {
    joins(links(100), &[]);
}

#[test]
fn a_joiner_has_all_tables_in_three_minutes_and_fills_its_link_at_10_ms() {
    joins(links(10), &[]);
}

#[test]
fn slow_peers_together_fill_the_link() {
    let links = Links { up: MB, ..links(100) };
    joins(links, &[]);
}

#[test]
fn two_in_a_hundred_messages_lost_do_not_stop_a_joiner() {
    let links = Links { loss: 50, ..links(100) };
    joins(links, &[]);
}

#[test]
fn liars_are_put_in_quarantine_and_the_others_suffice() {
    let simulation = joins(links(100), &[Manner::Liar, Manner::Forger]);
    assert_eq!(simulation.quarantined, HashSet::from([node(0), node(1)]));
}

#[test]
fn a_silent_peer_costs_little() {
    let simulation = joins(links(100), &[Manner::Silent]);
    assert!(simulation.quarantined.is_empty(), "silence is no lie");
}

#[test]
fn what_is_in_flight_follows_the_link_and_not_the_limit() {
    // A link of 1 MB/s at 10 ms holds 10 kB: pages do not queue for seconds, though 1 MiB may be asked of each peer.
    let links = Links {
        down: MB,
        up: 5 * MB,
        ..links(10)
    };
    let server = TestServer::new(1000, 85_000, TestChunk::new(1 << 20, 7));
    let mut simulation = Simulation::new(links, server, &[]);
    simulation.want_chunks(100);
    simulation.run(Duration::from_secs(200));
    let most = simulation.most_in_flight;
    println!("most in flight on a slow link: {} kB", most / 1000);
    assert!(most <= PEERS as usize * FIRST_WINDOW_BYTES, "{most} bytes in flight");
}
