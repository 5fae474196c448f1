//! The segment archive over real sockets: everything that can be asked for, and peers that break every rule.

mod common;
mod segment_common;

use common::raw_peer::{RawPeer, STORAGE_CAPABILITY};
use common::{block, free_address, id_of, wait_for, OneProducer, TestConsensus, TestPool};
use crossbeam_channel::{unbounded, Receiver, Sender};
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::segment_network::{
    AnnouncedChunk, Answer, Capabilities, FetchEvent, FetchFailure, FetchPriority, FetchTarget, LocateId, Located,
    SlotContent, StorageEvents, StorageNetwork, MAX_ANNOUNCED_CHUNKS,
};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, ChunkPosition, SegmentRoot};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{PeerAddress, PeerId, ProtocolConfig, ProtocolController, ProtocolError, ProtocolManager};
use massa_protocol_worker::handlers::storage_handler::segments::cache::StorageCounters;
use massa_protocol_worker::handlers::storage_handler::segments::handler::{
    StorageHandlerChannels, StorageHandlerNetwork,
};
use massa_protocol_worker::handlers::storage_handler::segments::messages::{
    StorageMessage, StorageMessageDeserializer, StorageMessageSerializer, TablesContent, PIECE_BYTES,
};
use massa_protocol_worker::handlers::storage_handler::segments::serving::{Accepted, Serving, ServingLimits};
use massa_protocol_worker::{create_protocol_controller, start_segment_protocol_controller, SegmentStorageParts};
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_tests::generator::{Generator, GeneratorConfig};
use massa_time::MassaTime;
use segment_common::{fetch, parameters, TestChunk, TestServer, CHAIN};
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Longer than any healthy machine needs; reached only when a test fails.
const DEADLINE: Duration = Duration::from_secs(60);
const SEGMENTS: u64 = 8;
const PERIODS: u64 = 3;
/// Tables of segments of such periods fit into a frame; of larger ones they travel in pieces.
const SMALL_PERIOD: u32 = 85_000;
const LARGE_PERIOD: u32 = 48 << 20;

fn config() -> ProtocolConfig {
    ProtocolConfig {
        storage_enabled: true,
        storage_request_timeout: MassaTime::from_millis(1_000),
        ..common::config()
    }
}

/// Segments, and the entries and blocks of a few periods; some blocks are larger than a piece.
fn archive_of(period_bytes: u32) -> TestServer {
    let mut server = TestServer::new(SEGMENTS, period_bytes, TestChunk::new(1 << 20, 3));
    let mut generator = Generator::new(GeneratorConfig {
        chain_id: CHAIN,
        operations: 0..=12,
        payload_share: 0.5,
        payload_bytes: 10_000..=60_000,
        endorsements_per_block: 1,
        ..GeneratorConfig::default()
    });
    for period in 1..=PERIODS {
        let records = generator.next_period();
        let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
        let encoded = EncodedPeriod::whole(&parameters(), period, &slots).unwrap();
        server.entries.insert(period, encoded.entry.to_bytes());
        for (record, thread) in records.into_iter().zip(0..) {
            let content = record.map(|record| SlotContent::Block(record.as_bytes().to_vec()));
            server
                .blocks
                .insert(Slot::new(period, thread), content.unwrap_or(SlotContent::Miss));
        }
    }
    server.held = vec![vec![0b101]; SEGMENTS as usize];
    server.located = Some(Located {
        slot: Slot::new(2, 3),
        index: 4,
    });
    server
}

fn archive() -> Arc<TestServer> {
    Arc::new(archive_of(SMALL_PERIOD))
}

fn no_archive() -> Arc<TestServer> {
    Arc::new(TestServer::new(0, SMALL_PERIOD, TestChunk::new(1, 1)))
}

/// What the worker was told.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Announced(NodeId, u64, Option<SegmentRoot>, Vec<AnnouncedChunk>),
    Repairs(NodeId, u64, Vec<ChunkPosition>),
    Changed(NodeId, Option<Capabilities>),
    Gone(NodeId),
}

struct DoubleEvents(Sender<Told>);

impl StorageEvents for DoubleEvents {
    fn chunks_announced(&self, from: NodeId, segment: u64, root: Option<SegmentRoot>, chunks: Vec<AnnouncedChunk>) {
        self.0.send(Told::Announced(from, segment, root, chunks)).unwrap();
    }

    fn repairs_announced(&self, from: NodeId, round: u64, chunks: Vec<ChunkPosition>) {
        self.0.send(Told::Repairs(from, round, chunks)).unwrap();
    }

    fn peer_changed(&self, node: NodeId, capabilities: Option<Capabilities>) {
        self.0.send(Told::Changed(node, capabilities)).unwrap();
    }

    fn peer_gone(&self, node: NodeId) {
        self.0.send(Told::Gone(node)).unwrap();
    }
}

/// A node with an archive in memory and nobody else around the protocol.
struct ArchiveNode {
    node_id: NodeId,
    peer_id: PeerId,
    address: SocketAddr,
    protocol: Box<dyn ProtocolController>,
    network: StorageHandlerNetwork,
    told: Receiver<Told>,
    counters: StorageCounters,
    storage: Storage,
    manager: Box<dyn ProtocolManager>,
}

impl ArchiveNode {
    fn start(config: &ProtocolConfig, server: &Arc<TestServer>) -> Self {
        loop {
            // Another test can be given the same port in the meantime.
            match Self::try_start(config.clone(), Arc::clone(server)) {
                Ok(node) => return node,
                Err(ProtocolError::Io(error)) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn try_start(mut config: ProtocolConfig, server: Arc<TestServer>) -> Result<Self, ProtocolError> {
        let (keypair, address) = (KeyPair::generate(0).unwrap(), free_address());
        config.listeners = vec![address];
        config.routable_addresses = vec![address];
        let (protocol, channels) = create_protocol_controller(config.clone());
        let storage_channels = StorageHandlerChannels::new(&config);
        let (network, counters) = (storage_channels.network(), storage_channels.cache.counters.clone());
        let (told_sender, told) = unbounded();
        let parts = SegmentStorageParts {
            server,
            events: Arc::new(DoubleEvents(told_sender)),
            parameters: parameters(),
            channels: storage_channels,
        };
        let storage = Storage::create_root();
        let manager = start_segment_protocol_controller(
            config,
            keypair.clone(),
            Box::new(OneProducer),
            TestConsensus::default().clone_box(),
            TestPool::default().clone_box(),
            storage.clone_without_refs(),
            channels,
            None,
            Some(parts),
        )?;
        Ok(Self {
            node_id: NodeId::new(keypair.get_public_key()),
            peer_id: id_of(&keypair),
            address,
            protocol,
            network,
            told,
            counters,
            storage,
            manager,
        })
    }

    fn peer_address(&self) -> PeerAddress {
        PeerAddress {
            peer_id: self.peer_id,
            address: self.address,
        }
    }

    fn is_connected_to(&self, peer_id: &PeerId) -> bool {
        self.protocol.get_stats().unwrap().1.contains_key(peer_id)
    }

    fn speaks_storage_with(&self, node: &NodeId) -> bool {
        self.network.peers().iter().any(|peer| peer.node == *node)
    }

    fn has_quarantined(&self, node: &NodeId) -> bool {
        let peers = self.network.peers();
        peers.iter().any(|peer| peer.node == *node && peer.quarantined)
    }

    fn ask(&self, target: FetchTarget, holders: &[NodeId], priority: FetchPriority) -> Receiver<FetchEvent> {
        let (fetch, answers) = fetch(1, target, holders, priority);
        self.network.fetch(fetch).unwrap();
        answers
    }

    fn wait_for_told(&self, wanted: impl Fn(&Told) -> bool) -> Told {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let told = self.told.recv_deadline(deadline).expect("it was not told in time");
            if wanted(&told) {
                return told;
            }
        }
    }
}

impl Drop for ArchiveNode {
    fn drop(&mut self) {
        self.manager.stop();
    }
}

/// A node that asks, connected to a node that holds `server`.
fn asking_and_holding(config: &ProtocolConfig, server: &Arc<TestServer>) -> (ArchiveNode, ArchiveNode) {
    let holding = ArchiveNode::start(config, server);
    let initial_peers = vec![holding.peer_address()];
    let config = ProtocolConfig {
        initial_peers,
        ..config.clone()
    };
    let asking = ArchiveNode::start(&config, &no_archive());
    wait_for("both to speak storage", || {
        asking.speaks_storage_with(&holding.node_id) && holding.speaks_storage_with(&asking.node_id)
    });
    (asking, holding)
}

/// All events of a fetch but its end.
fn events(answers: &Receiver<FetchEvent>) -> Vec<FetchEvent> {
    let mut events = Vec::new();
    loop {
        match answers.recv_timeout(DEADLINE).expect("no answer in time") {
            FetchEvent::Complete { .. } => return events,
            FetchEvent::Failed { attempts, .. } => panic!("{attempts:?}"),
            event => events.push(event),
        }
    }
}

/// Checks that these events are the answer to `target`, all of it and nothing else, from `holder`.
fn check(target: &FetchTarget, events: &[FetchEvent], server: &TestServer, holder: NodeId) {
    let mut parts = 0;
    for event in events {
        let (from, count) = match event {
            FetchEvent::Tables {
                from,
                first_segment,
                tables,
                ..
            } => {
                for (table, segment) in tables.iter().zip(*first_segment..) {
                    assert_eq!(*table, server.table(segment));
                }
                (from, tables.len())
            }
            FetchEvent::Entries {
                from,
                first_period,
                entries,
                ..
            } => {
                for (entry, period) in entries.iter().zip(*first_period..) {
                    assert_eq!(entry.to_bytes(), server.entries[&period]);
                }
                (from, entries.len())
            }
            FetchEvent::Block {
                from, slot, content, ..
            } => {
                let content = match content {
                    SlotContent::Block(record) => SlotContent::Block(record.as_bytes().to_vec()),
                    SlotContent::Miss => SlotContent::Miss,
                };
                assert_eq!(content, server.blocks[slot]);
                (from, 1)
            }
            FetchEvent::Page { from, page, .. } => {
                let plain = server.chunk.bytes.chunks(1 << 16).nth(page.page() as usize).unwrap();
                assert_eq!(page.plain(), plain);
                (from, 1)
            }
            FetchEvent::Held { from, held, .. } => {
                assert!(server.held.starts_with(held));
                (from, held.len())
            }
            FetchEvent::Located { from, located, .. } => {
                assert!(located.iter().all(|located| *located == server.located));
                (from, located.len())
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(*from, holder, "{target:?}");
        parts += count;
    }
    assert_eq!(parts, parts_of(target), "{target:?}");
}

fn parts_of(target: &FetchTarget) -> usize {
    match target {
        FetchTarget::Tables { count, .. } | FetchTarget::Entries { count, .. } | FetchTarget::Held { count, .. } => {
            *count as usize
        }
        FetchTarget::Block { .. } => 1,
        FetchTarget::Pages { pages, .. } => pages.len(),
        FetchTarget::Locate { ids } => ids.len(),
    }
}

fn pages(server: &TestServer) -> FetchTarget {
    FetchTarget::Pages {
        position: ChunkPosition::new(3, 1).unwrap(),
        chunk: server.chunk.table,
        pages: 0..server.chunk.pages(),
    }
}

fn tables(count: u32) -> FetchTarget {
    FetchTarget::Tables {
        first_segment: 2,
        count,
    }
}

const ENTRIES: FetchTarget = FetchTarget::Entries {
    first_period: 1,
    count: PERIODS as u32,
};

fn block_bytes(content: &SlotContent<Vec<u8>>) -> usize {
    match content {
        SlotContent::Block(bytes) => bytes.len(),
        SlotContent::Miss => 0,
    }
}

#[test]
fn everything_that_can_be_asked_for_arrives() {
    for period_bytes in [SMALL_PERIOD, LARGE_PERIOD] {
        let server = Arc::new(archive_of(period_bytes));
        let is_large = server.table(2).to_bytes().len() > PIECE_BYTES;
        assert_eq!(is_large, period_bytes == LARGE_PERIOD);
        let (asking, holding) = asking_and_holding(&config(), &server);
        let by_size = |(_, content): &(&Slot, &SlotContent<Vec<u8>>)| block_bytes(content);
        let (largest, content) = server.blocks.iter().max_by_key(by_size).unwrap();
        assert!(block_bytes(content) > 2 * PIECE_BYTES, "it travels in pieces");
        let (miss, _) = server.blocks.iter().min_by_key(by_size).unwrap();
        let id = LocateId::Block(block(Slot::new(1, 0), &[]).id);
        let targets = [
            tables(4),
            ENTRIES,
            FetchTarget::Block { slot: *largest },
            FetchTarget::Block { slot: *miss },
            pages(&server),
            FetchTarget::Held {
                first_segment: 0,
                count: SEGMENTS as u32,
            },
            FetchTarget::Locate { ids: vec![id; 3] },
        ];
        for target in targets {
            for priority in [FetchPriority::Reader, FetchPriority::Repair] {
                let answers = asking.ask(target.clone(), &[holding.node_id], priority);
                check(&target, &events(&answers), &server, holding.node_id);
            }
        }
        assert_eq!(holding.counters.pages_sent.load(Relaxed), 32);
        assert_eq!(asking.counters.pages_received.load(Relaxed), 32);
    }
}

#[test]
fn what_is_announced_arrives_in_messages_of_at_most_256_chunks() {
    let (asking, holding) = asking_and_holding(&config(), &archive());
    let chunk = |index: u32| AnnouncedChunk {
        index: ChunkIndex(index),
        id: ChunkId::from_bytes([index as u8; 32]),
    };
    let chunks: Vec<AnnouncedChunk> = (0..600).map(chunk).collect();
    let root = Some(SegmentRoot::from_bytes([3; 32]));
    holding.network.announce(5, root, chunks.clone()).unwrap();
    for part in chunks.chunks(MAX_ANNOUNCED_CHUNKS) {
        let told = asking.wait_for_told(|told| matches!(told, Told::Announced(..)));
        assert_eq!(told, Told::Announced(holding.node_id, 5, root, part.to_vec()));
    }
    let repaired = vec![ChunkPosition::new(5, 1).unwrap()];
    holding.network.announce_repairs(7, repaired.clone()).unwrap();
    let told = asking.wait_for_told(|told| matches!(told, Told::Repairs(..)));
    assert_eq!(told, Told::Repairs(holding.node_id, 7, repaired));
    let offered = Told::Changed(asking.node_id, Some(Capabilities::default()));
    holding.wait_for_told(|told| *told == offered);
}

#[test]
fn a_holder_that_is_not_connected_is_dialed_where_the_registry_says_and_asked() {
    let server = archive();
    let dials_nobody_by_itself = ProtocolConfig {
        target_out_connections: 0,
        ..config()
    };
    let holding = ArchiveNode::start(&config(), &server);
    let asking = ArchiveNode::start(&dials_nobody_by_itself, &no_archive());
    let registered = vec![(holding.node_id, vec![holding.address])];
    asking.network.set_registered(registered).unwrap();
    let answers = asking.ask(tables(2), &[holding.node_id], FetchPriority::Reader);
    check(&tables(2), &events(&answers), &server, holding.node_id);
    assert!(asking.is_connected_to(&holding.peer_id));
}

fn read(bytes: &[u8]) -> StorageMessage {
    let (rest, message) = StorageMessageDeserializer::new()
        .deserialize::<DeserializeError>(bytes)
        .unwrap();
    assert_eq!(rest, b"");
    message
}

fn write(message: &StorageMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    StorageMessageSerializer::new().serialize(message, &mut bytes).unwrap();
    bytes
}

/// The right answers to a request.
fn right_answers(server: &TestServer, request: &StorageMessage) -> Vec<StorageMessage> {
    let mut serving = Serving::new(ServingLimits {
        bytes_per_peer: 1 << 20,
        max_chunk_size: 1 << 20,
    });
    let asker = segment_common::node(1);
    if serving.on_request(asker, request, Instant::now()) != Accepted::Waits {
        return Vec::new();
    }
    std::iter::from_fn(|| serving.next(server, MassaTime::now(), |_| true))
        .map(|(_, answer)| answer)
        .collect()
}

/// What a rogue makes of a right answer: a frame without the outer type, or nothing.
type Behaviour = Box<dyn Fn(StorageMessage) -> Option<Vec<u8>> + Send>;

fn changed_by(change: impl Fn(&mut StorageMessage) + Send + 'static) -> Behaviour {
    Box::new(move |mut message| {
        change(&mut message);
        Some(write(&message))
    })
}

/// A hand-written peer that speaks storage and behaves as told. Ends with its connection.
struct Rogue {
    node_id: NodeId,
    thread: JoinHandle<()>,
}

impl Rogue {
    fn start(asking: &ArchiveNode, server: Arc<TestServer>, behaviour: Behaviour) -> Self {
        let keypair = KeyPair::generate(0).unwrap();
        let (mut peer, _) = RawPeer::connect(asking.address, &keypair, STORAGE_CAPABILITY).unwrap();
        let node_id = NodeId::new(keypair.get_public_key());
        wait_for("the rogue to be taken in", || asking.speaks_storage_with(&node_id));
        let thread = std::thread::spawn(move || {
            while let Ok(frame) = peer.read_type(4) {
                for answer in right_answers(&server, &read(&frame[1..])) {
                    let Some(bytes) = behaviour(answer) else { continue };
                    if peer.write(&[&[4], &bytes[..]].concat()).is_err() {
                        return;
                    }
                }
            }
        });
        Self { node_id, thread }
    }
}

fn wrong_page(message: &mut StorageMessage) {
    if let StorageMessage::ChunkResponse {
        answer: Answer::Found(page),
        ..
    } = message
    {
        page.stored[70] ^= 1;
    }
}

/// The first bytes of a table name the network.
fn foreign_table(message: &mut StorageMessage) {
    let StorageMessage::TablesResponse {
        answer: Answer::Found(content),
        ..
    } = message
    else {
        return;
    };
    match content {
        TablesContent::Whole(tables) => tables[0][2] ^= 1,
        TablesContent::Piece(piece) if piece.offset == 0 => piece.bytes[2] ^= 1,
        TablesContent::Piece(_) => {}
    }
}

fn malformed_entry(message: &mut StorageMessage) {
    if let StorageMessage::EntriesResponse {
        answer: Answer::Found(entries),
        ..
    } = message
    {
        entries[0][0] = 9;
    }
}

#[test]
fn who_sends_what_is_wrong_is_put_in_quarantine_keeps_its_connection_and_the_next_holder_is_asked() {
    let (small, large) = (archive(), Arc::new(archive_of(LARGE_PERIOD)));
    let cut = |message: StorageMessage| Some(write(&message)[..20].to_vec());
    let cases: Vec<(&str, &Arc<TestServer>, FetchTarget, Behaviour)> = vec![
        ("a wrong page", &small, pages(&small), changed_by(wrong_page)),
        (
            "a table of another network",
            &small,
            tables(2),
            changed_by(foreign_table),
        ),
        ("a wrong piece of a table", &large, tables(1), changed_by(foreign_table)),
        ("a malformed entry", &small, ENTRIES, changed_by(malformed_entry)),
        ("a truncated frame", &small, pages(&small), Box::new(cut)),
    ];
    for (what, server, target, behaviour) in cases {
        let (asking, holding) = asking_and_holding(&config(), server);
        let rogue = Rogue::start(&asking, Arc::clone(server), behaviour);
        let holders = [rogue.node_id, holding.node_id];
        let answers = asking.ask(target.clone(), &holders, FetchPriority::Reader);
        check(&target, &events(&answers), server, holding.node_id);
        assert!(asking.has_quarantined(&rogue.node_id), "{what}");
        assert!(!rogue.thread.is_finished(), "{what}: the connection was ended");
    }
}

#[test]
fn what_the_worker_proves_wrong_later_puts_its_sender_in_quarantine() {
    let (asking, holding) = asking_and_holding(&config(), &archive());
    asking.network.quarantine(holding.node_id, "its table has another root");
    wait_for("the quarantine", || asking.has_quarantined(&holding.node_id));
    let answers = asking.ask(tables(1), &[holding.node_id], FetchPriority::Reader);
    let attempts = vec![(holding.node_id, FetchFailure::Quarantined)];
    let failed = FetchEvent::Failed { id: 1, attempts };
    assert_eq!(answers.recv_timeout(DEADLINE), Ok(failed));
}

#[test]
fn a_silent_holder_costs_a_timeout_and_no_more() {
    let server = archive();
    let (asking, holding) = asking_and_holding(&config(), &server);
    let silent = Rogue::start(&asking, Arc::clone(&server), Box::new(|_| None));
    let holders = [silent.node_id, holding.node_id];
    for target in [tables(2), pages(&server)] {
        let answers = asking.ask(target.clone(), &holders, FetchPriority::Reader);
        check(&target, &events(&answers), &server, holding.node_id);
    }
    assert!(!asking.has_quarantined(&silent.node_id));
    assert!(!silent.thread.is_finished());
}

#[test]
fn a_peer_without_the_capability_stays_connected_and_never_receives_a_storage_message() {
    let (asking, holding) = asking_and_holding(&config(), &archive());
    let keypair = KeyPair::generate(0).unwrap();
    let (mut old, _) = RawPeer::connect(holding.address, &keypair, b"").unwrap();
    wait_for("the old peer to be taken in", || {
        holding.is_connected_to(&id_of(&keypair))
    });
    let request = StorageMessage::HeldRequest {
        request_id: 1,
        first_segment: 0,
        count: 1,
    };
    old.write(&[&[4], &write(&request)[..]].concat()).unwrap();
    let chunk = AnnouncedChunk {
        index: ChunkIndex(0),
        id: ChunkId::from_bytes([1; 32]),
    };
    holding.network.announce(5, None, vec![chunk]).unwrap();
    asking.wait_for_told(|told| matches!(told, Told::Announced(..)));
    // More than the storage handler's longest interval: then a header shows that nothing came before it.
    let old_node = NodeId::new(keypair.get_public_key());
    let answers = holding.ask(tables(1), &[old_node], FetchPriority::Reader);
    assert!(matches!(answers.recv_timeout(DEADLINE), Ok(FetchEvent::Failed { .. })));
    let block = block(Slot::new(3, 0), &[]);
    let mut storage = holding.storage.clone_without_refs();
    storage.store_block(block.clone());
    holding.protocol.integrated_block(block.id, storage).unwrap();
    loop {
        let frame = old.read().unwrap();
        assert_ne!(frame[0], 4);
        if frame[0] == 0 {
            break;
        }
    }
    assert!(holding.is_connected_to(&id_of(&keypair)));
    assert!(!holding.speaks_storage_with(&old_node));
    assert_eq!(holding.counters.not_spoken.load(Relaxed), 1);
}

#[test]
fn a_node_that_is_full_closes_the_least_useful_storage_connection_for_one_more() {
    // One of eight stays free, so seven connections of others are kept.
    let full = ProtocolConfig {
        target_out_connections: 0,
        max_in_connections: 8,
        ..config()
    };
    let holding = ArchiveNode::start(&full, &archive());
    let request = StorageMessage::HeldRequest {
        request_id: 1,
        first_segment: 0,
        count: 1,
    };
    let connect = || {
        let keypair = KeyPair::generate(0).unwrap();
        let connected = RawPeer::connect(holding.address, &keypair, STORAGE_CAPABILITY);
        connected.map(|(peer, _)| (peer, NodeId::new(keypair.get_public_key())))
    };
    let mut peers = Vec::new();
    for _ in 0..7 {
        let (mut peer, node) = connect().unwrap();
        peer.write(&[&[4], &write(&request)[..]].concat()).unwrap();
        let is_answer = |frame: &[u8]| matches!(read(&frame[1..]), StorageMessage::HeldResponse { .. });
        while !is_answer(&peer.read_type(4).unwrap()) {}
        peers.push((peer, node));
    }
    let is_there = |node: &NodeId| holding.speaks_storage_with(node);
    let deadline = Instant::now() + DEADLINE;
    // The handler looks now and then who is busy; until it did, the newcomer is the one that goes.
    while peers.iter().all(|(_, node)| is_there(node)) {
        assert!(Instant::now() < deadline, "nobody made place");
        if let Ok((peer, node)) = connect() {
            let in_time = || holding.told.try_iter().any(|told| told == Told::Changed(node, None));
            wait_for("the newcomer to be seen", in_time);
            wait_for("one to be closed", || holding.network.peers().len() == 7);
            drop(peer);
        }
    }
    let left = peers.iter().filter(|(_, node)| is_there(node)).count();
    assert!(left >= 5, "one goes for each newcomer: {left}");
}
