//! The archive over real sockets: announcement, request, pages; and peers that break every rule.

mod common;
mod storage_common;

use common::raw_peer::{RawPeer, STORAGE_CAPABILITY};
use common::{block, free_address, id_of, wait_for, OneProducer, TestConsensus, TestPool};
use crossbeam_channel::{unbounded, Receiver};
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, FetchEvent, FetchPriority, FetchTarget, PageContent, StorageNetwork,
};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkIndex, PeriodRoot};
use massa_distributed_storage_worker::ingest::keep_all;
use massa_distributed_storage_worker::server::StoreServer;
use massa_distributed_storage_worker::{Acknowledge, Ingest, Store, StoreOptions};
use massa_models::block::SecureShareBlock;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{
    LinkFaults, PeerAddress, PeerId, ProtocolConfig, ProtocolController, ProtocolError, ProtocolManager,
};
use massa_protocol_worker::handlers::storage_handler::cache::StorageCounters;
use massa_protocol_worker::handlers::storage_handler::messages::StorageMessage;
use massa_protocol_worker::{create_protocol_controller, start_protocol_controller, StorageParts};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_tests::{Generator, GeneratorConfig};
use massa_time::MassaTime;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use storage_common::double::{read, write, DoubleEvents, Told};
use storage_common::{manifest, pages_of, parameters, question, TestChunk, TestServer, DEADLINE, PERIOD};

fn config() -> ProtocolConfig {
    ProtocolConfig {
        storage_enabled: true,
        storage_request_timeout: MassaTime::from_millis(1_000),
        ..common::config()
    }
}

/// A node with an archive in memory and nobody else around the protocol.
struct ArchiveNode {
    node_id: NodeId,
    peer_id: PeerId,
    address: SocketAddr,
    protocol: Box<dyn ProtocolController>,
    network: Arc<dyn StorageNetwork>,
    told: Receiver<Told>,
    counters: StorageCounters,
    storage: Storage,
    manager: Box<dyn ProtocolManager>,
}

impl ArchiveNode {
    fn start(config: ProtocolConfig, server: Arc<TestServer>) -> Self {
        Self::start_with(config, server, parameters())
    }

    fn start_with(config: ProtocolConfig, server: Arc<dyn ArchiveServer>, parameters: ArchiveParameters) -> Self {
        loop {
            // Another test can be given the same port in the meantime.
            match Self::try_start(config.clone(), server.clone(), parameters.clone()) {
                Ok(node) => return node,
                Err(ProtocolError::Io(error)) if error.kind() == std::io::ErrorKind::AddrInUse => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn try_start(
        mut config: ProtocolConfig,
        server: Arc<dyn ArchiveServer>,
        parameters: ArchiveParameters,
    ) -> Result<Self, ProtocolError> {
        let (keypair, address) = (KeyPair::generate(0).unwrap(), free_address());
        config.listeners = vec![address];
        config.routable_addresses = vec![address];
        let (protocol, channels) = create_protocol_controller(config.clone());
        let counters = channels.storage_handler.cache.counters.clone();
        let (told_sender, told) = unbounded();
        let storage_parts = StorageParts {
            server,
            events: Arc::new(DoubleEvents::new(told_sender)),
            parameters,
        };
        let storage = Storage::create_root();
        let (manager, network) = start_protocol_controller(
            config,
            keypair.clone(),
            Box::new(OneProducer),
            TestConsensus::default().clone_box(),
            TestPool::default().clone_box(),
            storage.clone_without_refs(),
            channels,
            None,
            Some(storage_parts),
        )?;
        Ok(Self {
            node_id: NodeId::new(keypair.get_public_key()),
            peer_id: id_of(&keypair),
            address,
            protocol,
            network: network.expect("storage is enabled"),
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

    fn produce(&self, block: &SecureShareBlock) {
        let mut storage = self.storage.clone_without_refs();
        storage.store_block(block.clone());
        self.protocol.integrated_block(block.id, storage).unwrap();
    }
}

impl Drop for ArchiveNode {
    fn drop(&mut self) {
        self.manager.stop();
    }
}

fn chunks() -> Vec<TestChunk> {
    vec![TestChunk::full(1), TestChunk::new(PAGE_BYTES as u32 + 9, 2)]
}

fn archive() -> Arc<TestServer> {
    Arc::new(TestServer::new([(PERIOD, chunks())]))
}

fn no_archive() -> Arc<TestServer> {
    Arc::new(TestServer::default())
}

/// A node that asks, connected to a node that holds `server`.
fn asking_and_holding(config: ProtocolConfig, server: Arc<TestServer>) -> (ArchiveNode, ArchiveNode) {
    asking_and_holding_with(config, server, parameters())
}

fn asking_and_holding_with(
    config: ProtocolConfig,
    server: Arc<dyn ArchiveServer>,
    parameters: ArchiveParameters,
) -> (ArchiveNode, ArchiveNode) {
    let holding = ArchiveNode::start_with(config.clone(), server, parameters.clone());
    let initial_peers = vec![holding.peer_address()];
    let config = ProtocolConfig {
        initial_peers,
        ..config
    };
    let asking = ArchiveNode::start_with(config, no_archive(), parameters);
    wait_for("both to speak storage", || {
        asking.speaks_storage_with(&holding.node_id) && holding.speaks_storage_with(&asking.node_id)
    });
    (asking, holding)
}

fn expect_chunk(answers: &Receiver<FetchEvent>, chunk: &TestChunk, id: u64) -> Vec<NodeId> {
    let mut missing: Vec<u32> = (0..chunk.pages()).collect();
    let mut holders = Vec::new();
    loop {
        match answers.recv_timeout(DEADLINE).expect("no answer in time") {
            FetchEvent::Page { page, from, .. } => {
                assert_eq!(page, chunk.verified(page.page()));
                missing.retain(|missing| *missing != page.page());
                holders.push(from);
            }
            FetchEvent::Complete { id: complete } => {
                assert_eq!((complete, missing), (id, Vec::new()));
                return holders;
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn an_announcement_leads_to_a_request_and_pages_that_are_checked() {
    let (asking, holding) = asking_and_holding(config(), archive());
    let root = PeriodRoot::from_bytes([3; 32]);
    let ids: Vec<ChunkId> = chunks().iter().map(|chunk| chunk.entry.id).collect();
    holding.network.announce(PERIOD, root, ids.clone()).unwrap();
    let announced = loop {
        let told = asking.told.recv_timeout(DEADLINE).expect("nothing was announced");
        if let Told::Announced(from, period, root, chunk_ids) = told {
            break (from, period, root, chunk_ids);
        }
    };
    assert_eq!(announced, (holding.node_id, PERIOD, root, ids));

    let target = FetchTarget::Manifest { period: PERIOD };
    let (fetch, answers) = question(1, target, &[announced.0], FetchPriority::Repair);
    asking.network.fetch(fetch).unwrap();
    let Ok(FetchEvent::Manifest { manifest: fetched, .. }) = answers.recv_timeout(DEADLINE) else {
        panic!("no manifest");
    };
    assert_eq!(fetched, manifest(PERIOD, &chunks()));

    for (index, chunk) in chunks().iter().enumerate() {
        let target = FetchTarget::Pages {
            period: PERIOD,
            chunk: ChunkIndex(index as u32),
            entry: fetched.chunks[index],
            pages: 0..chunk.pages(),
        };
        let (fetch, answers) = question(2, target, &[announced.0], FetchPriority::Repair);
        asking.network.fetch(fetch).unwrap();
        expect_chunk(&answers, chunk, 2);
    }
    let target = FetchTarget::Held {
        first_period: PERIOD,
        periods: 2,
    };
    let (fetch, answers) = question(3, target, &[holding.node_id], FetchPriority::Repair);
    asking.network.fetch(fetch).unwrap();
    let from = holding.node_id;
    let held = vec![vec![0b11], vec![]];
    assert_eq!(
        answers.recv_timeout(DEADLINE),
        Ok(FetchEvent::Held { id: 3, from, held })
    );
}

#[test]
fn peers_learn_what_each_other_offers() {
    let (asking, holding) = asking_and_holding(config(), archive());
    let offered = holding_capabilities();
    wait_for("capabilities", || {
        let peers = asking.network.peers();
        peers
            .iter()
            .any(|peer| peer.node == holding.node_id && peer.capabilities == Some(offered.clone()))
    });
}

fn holding_capabilities() -> massa_distributed_storage_exports::network::Capabilities {
    archive().capabilities.lock().clone()
}

#[test]
fn a_holder_that_is_not_connected_is_dialed_and_asked() {
    let holding = ArchiveNode::start(config(), archive());
    let dials_nobody_by_itself = ProtocolConfig {
        target_out_connections: 0,
        ..config()
    };
    let asking = ArchiveNode::start(dials_nobody_by_itself, no_archive());
    asking
        .protocol
        .add_peer_addresses(vec![holding.peer_address()])
        .unwrap();
    assert!(!asking.is_connected_to(&holding.peer_id));
    let chunk = &chunks()[0];
    // The address may be taken in after the question: then the next question finds it.
    wait_for("the holder to be dialed", || {
        let (fetch, _answers) = pages_of(1, chunk, 0..1, &[holding.node_id], FetchPriority::Reader);
        asking.network.fetch(fetch).unwrap();
        std::thread::sleep(Duration::from_millis(50));
        asking.speaks_storage_with(&holding.node_id)
    });
    let (fetch, answers) = pages_of(2, chunk, 0..4, &[holding.node_id], FetchPriority::Reader);
    asking.network.fetch(fetch).unwrap();
    expect_chunk(&answers, chunk, 2);
}

/// What a hand-written peer answers to a request: any number of frames, without the outer type.
type Behaviour = Box<dyn FnMut(&StorageMessage) -> Vec<Vec<u8>> + Send>;

/// A hand-written peer that speaks storage and behaves as told. Ends with its connection.
struct Rogue {
    node_id: NodeId,
    thread: JoinHandle<()>,
}

impl Rogue {
    fn start(asking: &ArchiveNode, mut behaviour: Behaviour) -> Self {
        let keypair = KeyPair::generate(0).unwrap();
        let (mut peer, _) = RawPeer::connect(asking.address, &keypair, STORAGE_CAPABILITY).unwrap();
        let node_id = NodeId::new(keypair.get_public_key());
        wait_for("the rogue to be taken in", || asking.speaks_storage_with(&node_id));
        let thread = std::thread::spawn(move || {
            while let Ok(frame) = peer.read_type(4) {
                for answer in behaviour(&read(&frame[1..])) {
                    if peer.write(&[&[4], &answer[..]].concat()).is_err() {
                        return;
                    }
                }
            }
        });
        Self { node_id, thread }
    }
}

/// Answers page requests with what `change` makes of the right answers.
fn pages_changed_by(change: impl Fn(&mut PageContent) + Send + 'static) -> Behaviour {
    Box::new(move |message| match message {
        StorageMessage::ChunkRequest {
            request_id,
            first_page,
            pages,
            ..
        } => {
            let pages = *first_page..first_page + pages;
            pages
                .map(|page| {
                    let mut content = chunks()[0].page(page);
                    change(&mut content);
                    write(&StorageMessage::ChunkResponse {
                        request_id: *request_id,
                        page,
                        answer: Answer::Found(content),
                    })
                })
                .collect()
        }
        _ => Vec::new(),
    })
}

#[test]
fn who_sends_wrong_pages_is_put_in_quarantine_keeps_its_connection_and_another_holder_is_asked() {
    let cases: Vec<(&str, Behaviour)> = vec![
        ("wrong bytes", pages_changed_by(|page| page.bytes[7] ^= 1)),
        ("wrong path", pages_changed_by(|page| page.path.siblings[1][0] ^= 1)),
        ("wrong length", pages_changed_by(|page| page.bytes.truncate(1000))),
        (
            "a page of another chunk",
            pages_changed_by(|page| *page = chunks()[1].page(0)),
        ),
        ("a truncated frame", {
            let mut right = pages_changed_by(|_| {});
            Box::new(move |message| {
                let mut frames = right(message);
                frames.iter_mut().for_each(|frame| frame.truncate(2000));
                frames
            })
        }),
    ];
    let (asking, holding) = asking_and_holding(config(), archive());
    for (what, behaviour) in cases {
        let rogue = Rogue::start(&asking, behaviour);
        let chunk = &chunks()[0];
        let holders = [rogue.node_id, holding.node_id];
        let (fetch, answers) = pages_of(1, chunk, 0..4, &holders, FetchPriority::Reader);
        asking.network.fetch(fetch).unwrap();
        let from = expect_chunk(&answers, chunk, 1);
        assert_eq!(from, [holding.node_id; 4], "{what}");
        assert!(asking.has_quarantined(&rogue.node_id), "{what}");
        assert!(!rogue.thread.is_finished(), "{what}: the connection was ended");
    }
}

#[test]
fn who_sends_a_truncated_manifest_or_one_of_another_chain_is_put_in_quarantine() {
    let (asking, holding) = asking_and_holding(config(), archive());
    let mut foreign = manifest(PERIOD, &chunks());
    foreign.header.chain_id += 1;
    let mut truncated = manifest(PERIOD, &chunks()).to_bytes();
    truncated.pop();
    for bytes in [truncated, foreign.to_bytes()] {
        let behaviour: Behaviour = Box::new(move |message| match message {
            StorageMessage::ManifestRequest { request_id, period } => vec![write(&StorageMessage::ManifestResponse {
                request_id: *request_id,
                period: *period,
                answer: Answer::Found(bytes.clone()),
            })],
            _ => Vec::new(),
        });
        let rogue = Rogue::start(&asking, behaviour);
        let target = FetchTarget::Manifest { period: PERIOD };
        let holders = [rogue.node_id, holding.node_id];
        let (fetch, answers) = question(1, target, &holders, FetchPriority::Reader);
        asking.network.fetch(fetch).unwrap();
        let event = FetchEvent::Manifest {
            id: 1,
            from: holding.node_id,
            manifest: manifest(PERIOD, &chunks()),
        };
        assert_eq!(answers.recv_timeout(DEADLINE), Ok(event));
        assert!(asking.has_quarantined(&rogue.node_id));
    }
}

#[test]
fn answers_with_foreign_ids_are_ignored() {
    let (asking, holding) = asking_and_holding(config(), archive());
    let mut right = pages_changed_by(|_| {});
    let behaviour: Behaviour = Box::new(move |message| match message {
        StorageMessage::ChunkRequest {
            request_id,
            period,
            chunk,
            chunk_id,
            first_page,
            pages,
        } => right(&StorageMessage::ChunkRequest {
            request_id: request_id + 1000,
            period: *period,
            chunk: *chunk,
            chunk_id: *chunk_id,
            first_page: *first_page,
            pages: *pages,
        }),
        _ => Vec::new(),
    });
    let rogue = Rogue::start(&asking, behaviour);
    let chunk = &chunks()[0];
    let holders = [rogue.node_id, holding.node_id];
    let (fetch, answers) = pages_of(1, chunk, 0..4, &holders, FetchPriority::Reader);
    asking.network.fetch(fetch).unwrap();
    assert_eq!(expect_chunk(&answers, chunk, 1), [holding.node_id; 4]);
    assert_eq!(asking.counters.stray.load(Relaxed), 4);
    assert!(!asking.has_quarantined(&rogue.node_id));
}

#[test]
fn a_silent_holder_costs_a_timeout_and_no_more() {
    let (asking, holding) = asking_and_holding(config(), archive());
    let rogue = Rogue::start(&asking, Box::new(|_| Vec::new()));
    let chunk = &chunks()[0];
    let holders = [rogue.node_id, holding.node_id];
    for id in 1..3 {
        let (fetch, answers) = pages_of(id, chunk, 0..4, &holders, FetchPriority::Reader);
        asking.network.fetch(fetch).unwrap();
        assert_eq!(expect_chunk(&answers, chunk, id), [holding.node_id; 4]);
    }
}

#[test]
fn a_holder_that_stops_in_the_middle_is_replaced_for_the_missing_pages() {
    let (asking, holding) = asking_and_holding(config(), archive());
    let mut right = pages_changed_by(|_| {});
    let behaviour: Behaviour = Box::new(move |message| right(message).into_iter().take(2).collect());
    let rogue = Rogue::start(&asking, behaviour);
    let chunk = &chunks()[0];
    let holders = [rogue.node_id, holding.node_id];
    let (fetch, answers) = pages_of(1, chunk, 0..4, &holders, FetchPriority::Reader);
    asking.network.fetch(fetch).unwrap();
    let from = expect_chunk(&answers, chunk, 1);
    assert_eq!(from, [rogue.node_id, rogue.node_id, holding.node_id, holding.node_id]);
}

#[test]
fn a_flood_of_requests_and_answers_does_not_keep_others_from_being_served() {
    let limited = ProtocolConfig {
        max_storage_messages_per_second: 50,
        ..config()
    };
    let (asking, holding) = asking_and_holding(limited, archive());
    let keypair = KeyPair::generate(0).unwrap();
    let (mut flooding, _) = RawPeer::connect(holding.address, &keypair, STORAGE_CAPABILITY).unwrap();
    for request_id in 0..2_000u64 {
        let message = if request_id % 2 == 0 {
            StorageMessage::ManifestRequest {
                request_id,
                period: PERIOD,
            }
        } else {
            StorageMessage::Busy { request_id }
        };
        flooding.write(&[&[4], &write(&message)[..]].concat()).unwrap();
    }
    let chunk = &chunks()[0];
    let (fetch, answers) = pages_of(1, chunk, 0..4, &[holding.node_id], FetchPriority::Reader);
    asking.network.fetch(fetch).unwrap();
    expect_chunk(&answers, chunk, 1);
    wait_for("the flood to be dropped", || {
        holding.counters.dropped.load(Relaxed) >= 1_500
    });
    assert!(holding.is_connected_to(&id_of(&keypair)), "its connection stays");
}

#[test]
fn a_peer_without_the_capability_stays_connected_and_never_receives_a_storage_message() {
    let (asking, holding) = asking_and_holding(config(), archive());
    let keypair = KeyPair::generate(0).unwrap();
    let (mut old, _) = RawPeer::connect(holding.address, &keypair, b"").unwrap();
    wait_for("the old peer to be taken in", || {
        holding.is_connected_to(&id_of(&keypair))
    });
    let request = StorageMessage::ManifestRequest {
        request_id: 1,
        period: PERIOD,
    };
    old.write(&[&[4], &write(&request)[..]].concat()).unwrap();
    let root = PeriodRoot::from_bytes([3; 32]);
    let ids = vec![chunks()[0].entry.id];
    holding.network.announce(PERIOD, root, ids).unwrap();
    loop {
        let told = asking.told.recv_timeout(DEADLINE).expect("nothing was announced");
        if matches!(told, Told::Announced(..)) {
            break;
        }
    }
    // What was sent before this header would have arrived before it or wait with low priority: so a second one, after
    // more than the storage handler's longest interval, shows that there is nothing.
    let old_node = NodeId::new(keypair.get_public_key());
    let (fetch, answers) = pages_of(1, &chunks()[0], 0..1, &[old_node], FetchPriority::Reader);
    holding.network.fetch(fetch).unwrap();
    assert!(matches!(answers.recv_timeout(DEADLINE), Ok(FetchEvent::Failed { .. })));
    holding.produce(&block(Slot::new(3, 0), &[]));
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

/// So a message type can be added: who does not know it yet takes it for one of the few stray messages that it forgives.
#[test]
fn a_peer_that_sends_a_storage_message_of_an_unknown_type_stays_connected_and_is_served() {
    let holding = ArchiveNode::start(config(), archive());
    let keypair = KeyPair::generate(0).unwrap();
    let (mut newer, _) = RawPeer::connect(holding.address, &keypair, STORAGE_CAPABILITY).unwrap();
    newer.write(&[4, 12, 1, 2, 3]).unwrap();
    let request = StorageMessage::ManifestRequest {
        request_id: 1,
        period: PERIOD,
    };
    newer.write(&[&[4], &write(&request)[..]].concat()).unwrap();
    let is_answer = |frame: &[u8]| {
        matches!(
            read(&frame[1..]),
            StorageMessage::ManifestResponse { request_id: 1, .. }
        )
    };
    while !is_answer(&newer.read_type(4).unwrap()) {}
    assert!(holding.is_connected_to(&id_of(&keypair)));
    assert_eq!(holding.counters.stray.load(Relaxed), 1);
    assert_eq!(holding.counters.quarantined.load(Relaxed), 0);
}

#[test]
fn with_200_ms_delay_and_2_percent_loss_every_chunk_arrives() {
    const PERIODS: u64 = 10;
    let chunks_of = |period: u64| vec![TestChunk::full(period), TestChunk::full(period + 100)];
    let periods = || (0..PERIODS).map(|period| (period, chunks_of(period)));
    let faulty = |seed| ProtocolConfig {
        link_faults: LinkFaults {
            delay: Duration::from_millis(200),
            loss_one_in: 50,
            seed,
        },
        ..config()
    };
    let holding: Vec<ArchiveNode> = (0..3)
        .map(|seed| ArchiveNode::start(faulty(seed), Arc::new(TestServer::new(periods()))))
        .collect();
    let initial_peers = holding.iter().map(ArchiveNode::peer_address).collect();
    let asking = ArchiveNode::start(
        ProtocolConfig {
            initial_peers,
            ..faulty(3)
        },
        no_archive(),
    );
    let holders: Vec<NodeId> = holding.iter().map(|node| node.node_id).collect();
    wait_for("all to speak storage", || {
        holders.iter().all(|holder| asking.speaks_storage_with(holder))
    });
    let mut asked = Vec::new();
    for (period, chunks) in periods() {
        for (index, chunk) in chunks.into_iter().enumerate() {
            let target = FetchTarget::Pages {
                period,
                chunk: ChunkIndex(index as u32),
                entry: chunk.entry,
                pages: 0..chunk.pages(),
            };
            let (fetch, answers) = question(period, target, &holders, FetchPriority::Repair);
            asking.network.fetch(fetch).unwrap();
            asked.push((period, chunk, answers));
        }
    }
    for (period, chunk, answers) in asked {
        expect_chunk(&answers, &chunk, period);
    }
}

/// A store with some periods of real blocks, several chunks each.
fn store(directory: &std::path::Path, generator: &mut Generator, periods: u64) -> Arc<Store> {
    let parameters = ArchiveParameters {
        chunk_size: PAGE_BYTES as u32,
        ..generator.parameters()
    };
    let store = Arc::new(Store::open(StoreOptions::new(directory), parameters).unwrap());
    let (mut ingest, _) = Ingest::open(Arc::clone(&store), Acknowledge::EachPeriod, keep_all()).unwrap();
    for _ in 0..periods {
        for record in generator.next_period().into_iter().flatten() {
            ingest.add(record).unwrap();
        }
    }
    ingest.finish().unwrap();
    store
}

#[test]
fn what_a_real_store_serves_is_the_archive() {
    let mut generator = Generator::new(GeneratorConfig {
        chain_id: common::CHAIN_ID,
        thread_count: common::THREADS,
        miss_rate: 0.0,
        operations: 80..=100,
        payload_share: 1.0,
        ..GeneratorConfig::default()
    });
    let directory = tempfile::tempdir().unwrap();
    let first_period = generator.period();
    let store = store(directory.path(), &mut generator, 3);
    let server = StoreServer::new(
        Arc::clone(&store),
        1,
        Arc::new(|_, chunks: &[ChunkEntry]| vec![true; chunks.len()]),
    );
    let (asking, holding) = asking_and_holding_with(config(), Arc::new(server), store.parameters().clone());
    for period in first_period..first_period + 3 {
        let target = FetchTarget::Manifest { period };
        let (fetch, answers) = question(period, target, &[holding.node_id], FetchPriority::Reader);
        asking.network.fetch(fetch).unwrap();
        let Ok(FetchEvent::Manifest { manifest, .. }) = answers.recv_timeout(DEADLINE) else {
            panic!("no manifest of period {period}");
        };
        assert_eq!(Some(&manifest), store.manifest(period).unwrap().as_ref());
        assert!(manifest.chunks.len() > 1);
        for (index, entry) in manifest.chunks.iter().enumerate() {
            let target = FetchTarget::Pages {
                period,
                chunk: ChunkIndex(index as u32),
                entry: *entry,
                pages: 0..entry.page_count(),
            };
            let (fetch, answers) = question(1, target, &[holding.node_id], FetchPriority::Reader);
            asking.network.fetch(fetch).unwrap();
            let pages: Vec<FetchEvent> = (0..entry.page_count())
                .map(|_| answers.recv_timeout(DEADLINE).unwrap())
                .collect();
            assert!(pages.iter().all(|event| matches!(event, FetchEvent::Page { .. })));
            assert_eq!(answers.recv_timeout(DEADLINE), Ok(FetchEvent::Complete { id: 1 }));
        }
    }
}
