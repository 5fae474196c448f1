//! Pages between two nodes on loopback, against the same encrypted transport moving the same bytes in plain.
//!
//! Both nodes run in this process and share its cores. The rate is what the design asks for; the processor time of a megabyte
//! says the same on a machine that has something else to do, and where both sides keep all cores busy their ratios are equal.

#[path = "../../../massa-protocol-worker/tests/common/mod.rs"]
mod common;

use crate::closing::stored_packed;
use crate::data::{near_empty, Data, Periods};
use crate::report::{Row, Target};
use crate::timing::{medians, processor_time, MEGA};
use common::{free_address, id_of, OneProducer, TestConsensus, TestPool};
use crossbeam_channel::unbounded;
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Capabilities, Fetch, FetchEvent, FetchPriority, FetchTarget, StorageEvents, StorageNetwork,
};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::{ChunkPosition, PAGE_BYTES};
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::serve::to_peers::SegmentServer;
use massa_distributed_storage_worker::storage_backend::SegmentStore;
use massa_models::node::NodeId;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{PeerAddress, ProtocolConfig, ProtocolManager};
use massa_protocol_worker::{
    create_protocol_controller, start_protocol_controller, StorageHandlerNetwork, StorageParts,
};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_time::MassaTime;
use snow::{Builder, StatelessTransportState};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
/// Most bytes of a Noise message, its tag included.
const SEGMENT_BYTES: usize = 65_535;
const TAG_BYTES: usize = 16;
const DEADLINE: Duration = Duration::from_secs(60);

/// Periods of near-empty blocks: 50 MB, of which 28 MB are sent.
const NEAR_EMPTY_PERIODS: usize = 600;

/// Full blocks, whose pages are stored as they are, and near-empty ones, whose pages are packed.
pub fn rows(data: &Data) -> Vec<Row> {
    let full = [
        "pages between two nodes on loopback, each checked",
        "the same: processor time of both nodes",
    ];
    let packed = [
        "packed pages of near-empty blocks between two nodes, each checked",
        "the same: processor time of both nodes for each MB of plain pages",
    ];
    let mut rows = Vec::from(transfer(&data.full, full));
    rows.extend(transfer(&near_empty(NEAR_EMPTY_PERIODS), packed));
    rows
}

/// Fetching every chunk of the data from a node that holds it: the rate, and what it costs.
fn transfer(periods: &Periods, names: [&'static str; 2]) -> [Row; 2] {
    let (_directory, store) = stored_packed(periods);
    let keys = [(); 2].map(|()| (KeyPair::generate(0).expect("keys can be made"), free_address()));
    let holder = Node::start(&keys, 0, &store);
    let asker = Node::start(&keys, 1, &store);
    let begin = Instant::now();
    while asker.network.peers().is_empty() {
        assert!(begin.elapsed() < DEADLINE, "the nodes did not connect");
        std::thread::sleep(Duration::from_millis(5));
    }
    let chunks = chunks_of(&store);
    let bytes: u64 = chunks.iter().map(|(_, chunk)| u64::from(chunk.length)).sum();
    let node_id = NodeId::new(keys[0].0.get_public_key());
    let (mut pages_cost, mut plain_cost) = (Vec::new(), Vec::new());
    let [pages, plain] = medians([
        Box::new(|| with_cost(&mut pages_cost, || fetch_all(&asker.network, node_id, &chunks))),
        Box::new(|| with_cost(&mut plain_cost, || plain_bytes(bytes))),
    ]);
    drop(holder);
    let limit = "plain bytes over the same transport";
    let rate = |seconds: f64| bytes as f64 / seconds / MEGA;
    let cost = |times: Vec<Duration>| {
        let rounds = times.len() as f64;
        times.iter().sum::<Duration>().as_secs_f64() * 1e3 / (bytes as f64 * rounds / MEGA)
    };
    [
        Row {
            name: names[0],
            value: rate(pages),
            unit: "MB/s",
            limit: Some((limit, rate(plain))),
            target: Target::Ratio(0.8),
        },
        Row {
            name: names[1],
            value: cost(pages_cost),
            unit: "ms/MB",
            limit: Some((limit, cost(plain_cost))),
            target: Target::None,
        },
    ]
}

/// Notes the processor time that `action` took.
fn with_cost(costs: &mut Vec<Duration>, action: impl FnOnce() -> Duration) -> Duration {
    let before = processor_time();
    let time = action();
    costs.push(processor_time() - before);
    time
}

/// Every chunk, of every closed segment.
fn chunks_of(store: &SegmentStore) -> Vec<(ChunkPosition, TableChunk)> {
    let mut chunks = Vec::new();
    for info in store.segments(0, usize::MAX).expect("the store reads") {
        let table = store.table(info.segment).expect("the store reads");
        let table = table.expect("every segment is closed");
        for (chunk, index) in table.chunks().zip(0..) {
            let position = ChunkPosition::new(info.segment, index).expect("the position was stored");
            chunks.push((position, chunk));
        }
    }
    chunks
}

/// A protocol with an archive, and nobody else.
struct Node {
    network: StorageHandlerNetwork,
    protocol: Box<dyn ProtocolManager>,
}

impl Node {
    fn start(keys: &[(KeyPair, SocketAddr); 2], own: usize, store: &Arc<SegmentStore>) -> Self {
        let (peer, peer_address) = &keys[1 - own];
        let config = ProtocolConfig {
            listeners: vec![keys[own].1],
            routable_addresses: vec![keys[own].1],
            initial_peers: vec![PeerAddress {
                peer_id: id_of(peer),
                address: *peer_address,
            }],
            storage_enabled: true,
            // What is measured is not the limit that keeps peers from being flooded.
            rate_limit: 10 << 30,
            max_storage_messages_per_second: 1_000_000,
            max_storage_bytes_in_flight_per_peer: 16 << 20,
            max_storage_bytes_in_flight: 32 << 20,
            storage_request_timeout: MassaTime::from_millis(10_000),
            ..common::config()
        };
        let (_, channels) = create_protocol_controller(config.clone());
        let network = channels.network();
        let server = SegmentServer::new(Arc::clone(store), 1, Arc::new(|_| Vec::new()));
        let protocol = start_protocol_controller(
            config,
            keys[own].0.clone(),
            Box::new(OneProducer),
            TestConsensus::default().clone_box(),
            TestPool::default().clone_box(),
            Storage::create_root(),
            channels,
            None,
            Some(StorageParts {
                server: Arc::new(server),
                events: Arc::new(Nobody),
                parameters: store.parameters().clone(),
            }),
        )
        .expect("the protocol starts");
        Self { network, protocol }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.protocol.stop();
    }
}

/// Nobody is told anything.
struct Nobody;

impl StorageEvents for Nobody {
    fn chunks_announced(&self, _: NodeId, _: u64, _: Option<SegmentRoot>, _: Vec<AnnouncedChunk>) {}
    fn peer_changed(&self, _: NodeId, _: Option<Capabilities>) {}
    fn peer_gone(&self, _: NodeId) {}
}

fn fetch_all(network: &dyn StorageNetwork, holder: NodeId, chunks: &[(ChunkPosition, TableChunk)]) -> Duration {
    let (reply, answers) = unbounded();
    let begin = Instant::now();
    let mut waiting = chunks.iter().zip(0u64..);
    let mut under_way = 0;
    let mut complete = 0;
    while complete < chunks.len() {
        while under_way < 16 {
            let Some(((position, chunk), id)) = waiting.next() else {
                break;
            };
            let fetch = Fetch {
                id,
                target: FetchTarget::Pages {
                    position: *position,
                    chunk: *chunk,
                    pages: 0..chunk.page_count(),
                },
                holders: vec![holder],
                priority: FetchPriority::Repair,
                reply: reply.clone(),
            };
            network.fetch(fetch).expect("the handler takes fetches");
            under_way += 1;
        }
        match answers.recv_timeout(DEADLINE).expect("the holder answers") {
            FetchEvent::Complete { .. } => {
                complete += 1;
                under_way -= 1;
            }
            FetchEvent::Failed { id, attempts } => panic!("fetch {id} failed: {attempts:?}"),
            _ => {}
        }
    }
    begin.elapsed()
}

/// `bytes` in frames of a page through the same channel: Noise over TCP, one thread at each end.
fn plain_bytes(bytes: u64) -> Duration {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("the listener has an address");
    let reader = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the writer connects");
        let state = channel(&stream, false);
        receive(stream, &state, bytes)
    });
    let stream = TcpStream::connect(address).expect("the reader listens");
    let state = channel(&stream, true);
    let begin = Instant::now();
    send(stream, &state, bytes);
    reader.join().expect("the reader does not panic");
    begin.elapsed()
}

fn channel(mut stream: &TcpStream, initiator: bool) -> StatelessTransportState {
    stream.set_nodelay(true).expect("the socket takes options");
    let builder = || Builder::new(PATTERN.parse().expect("the pattern is valid"));
    let key = builder().generate_keypair().expect("keys can be made");
    let builder = builder().local_private_key(&key.private);
    let state = if initiator {
        builder.build_initiator()
    } else {
        builder.build_responder()
    };
    let mut state = state.expect("the state can be built");
    let (mut message, mut payload) = (vec![0; SEGMENT_BYTES], vec![0; SEGMENT_BYTES]);
    while !state.is_handshake_finished() {
        if state.is_my_turn() {
            let length = state.write_message(&[], &mut message).expect("it is our turn");
            stream
                .write_all(&(length as u16).to_be_bytes())
                .expect("the socket takes it");
            stream.write_all(&message[..length]).expect("the socket takes it");
        } else {
            let mut length = [0; 2];
            stream.read_exact(&mut length).expect("the peer sends");
            let length = usize::from(u16::from_be_bytes(length));
            stream.read_exact(&mut message[..length]).expect("the peer sends");
            state
                .read_message(&message[..length], &mut payload)
                .expect("the peer is honest");
        }
    }
    state
        .into_stateless_transport_mode()
        .expect("the handshake is finished")
}

/// Segments of a frame of one page.
fn segments() -> impl Iterator<Item = usize> {
    let whole = SEGMENT_BYTES - TAG_BYTES;
    [whole, PAGE_BYTES - whole].into_iter()
}

fn send(mut stream: TcpStream, state: &StatelessTransportState, bytes: u64) {
    let plain = vec![7; PAGE_BYTES];
    let mut sealed = vec![0; SEGMENT_BYTES];
    let mut nonce = 0;
    for _ in 0..bytes.div_ceil(PAGE_BYTES as u64) {
        for length in segments() {
            let length = state
                .write_message(nonce, &plain[..length], &mut sealed)
                .expect("it fits");
            nonce += 1;
            stream.write_all(&sealed[..length]).expect("the socket takes it");
        }
    }
}

fn receive(mut stream: TcpStream, state: &StatelessTransportState, bytes: u64) {
    let (mut sealed, mut plain) = (vec![0; SEGMENT_BYTES], vec![0; SEGMENT_BYTES]);
    let mut nonce = 0;
    for _ in 0..bytes.div_ceil(PAGE_BYTES as u64) {
        for length in segments() {
            let length = length + TAG_BYTES;
            stream.read_exact(&mut sealed[..length]).expect("the peer sends");
            state
                .read_message(nonce, &sealed[..length], &mut plain)
                .expect("the peer is honest");
            nonce += 1;
        }
    }
}
