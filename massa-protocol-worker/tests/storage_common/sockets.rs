//! Nodes with an archive in memory over real sockets, and hand-written peers beside them.
#![allow(dead_code)] // Each test file uses a part.

use crate::common::raw_peer::{RawPeer, STORAGE_CAPABILITY};
use crate::common::{self, free_address, id_of, wait_for, OneProducer, TestConsensus, TestPool};
use crate::storage_common::double::{read, right_answers, write, DoubleEvents, Told};
use crate::storage_common::{fetch, parameters, TestChunk, TestServer, CHAIN, DEADLINE};
use crossbeam_channel::{unbounded, Receiver};
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::network::{
    ArchiveServer, FetchEvent, FetchPriority, FetchTarget, Located, SlotContent, StorageNetwork,
};
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition};
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{PeerAddress, PeerId, ProtocolConfig, ProtocolController, ProtocolError, ProtocolManager};
use massa_protocol_worker::handlers::storage_handler::cache::StorageCounters;
use massa_protocol_worker::handlers::storage_handler::messages::StorageMessage;
use massa_protocol_worker::{
    create_protocol_controller, start_protocol_controller, StorageHandlerNetwork, StorageParts,
};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_tests::generator::{Generator, GeneratorConfig};
use massa_time::MassaTime;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

pub const SEGMENTS: u64 = 8;
pub const PERIODS: u64 = 3;
/// Tables of segments of such periods fit into a frame; of larger ones they travel in pieces.
pub const SMALL_PERIOD: u32 = 85_000;
pub const LARGE_PERIOD: u32 = 48 << 20;

pub fn config() -> ProtocolConfig {
    ProtocolConfig {
        storage_enabled: true,
        storage_request_timeout: MassaTime::from_millis(1_000),
        ..common::config()
    }
}

/// Segments, and the entries and blocks of a few periods; some blocks are larger than a piece.
pub fn archive_of(period_bytes: u32) -> TestServer {
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

pub fn archive() -> Arc<TestServer> {
    Arc::new(archive_of(SMALL_PERIOD))
}

pub fn no_archive() -> Arc<TestServer> {
    Arc::new(TestServer::new(0, SMALL_PERIOD, TestChunk::new(1, 1)))
}

/// A node with an archive in memory and nobody else around the protocol.
pub struct ArchiveNode {
    pub node_id: NodeId,
    pub peer_id: PeerId,
    pub address: SocketAddr,
    pub protocol: Box<dyn ProtocolController>,
    pub network: StorageHandlerNetwork,
    pub told: Receiver<Told>,
    pub counters: StorageCounters,
    pub storage: Storage,
    pub consensus: TestConsensus,
    manager: Box<dyn ProtocolManager>,
}

impl ArchiveNode {
    pub fn start(config: &ProtocolConfig, server: &Arc<TestServer>) -> Self {
        Self::serving(config, Arc::clone(server) as Arc<dyn ArchiveServer>, &parameters())
    }

    /// A node that serves what `server` gives of an archive that looks like `parameters`.
    pub fn serving(config: &ProtocolConfig, server: Arc<dyn ArchiveServer>, parameters: &ArchiveParameters) -> Self {
        loop {
            // Another test can be given the same port in the meantime.
            match Self::try_start(config.clone(), Arc::clone(&server), parameters.clone()) {
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
        let (network, counters) = (channels.network(), channels.storage_handler.cache.counters.clone());
        let (told_sender, told) = unbounded();
        let parts = StorageParts {
            server,
            events: Arc::new(DoubleEvents::new(told_sender)),
            parameters,
        };
        let (storage, consensus) = (Storage::create_root(), TestConsensus::default());
        let manager = start_protocol_controller(
            config,
            keypair.clone(),
            Box::new(OneProducer),
            consensus.clone_box(),
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
            consensus,
            manager,
        })
    }

    pub fn peer_address(&self) -> PeerAddress {
        PeerAddress {
            peer_id: self.peer_id,
            address: self.address,
        }
    }

    pub fn is_connected_to(&self, peer_id: &PeerId) -> bool {
        self.protocol.get_stats().unwrap().1.contains_key(peer_id)
    }

    pub fn speaks_storage_with(&self, node: &NodeId) -> bool {
        self.network.peers().iter().any(|peer| peer.node == *node)
    }

    pub fn has_quarantined(&self, node: &NodeId) -> bool {
        let peers = self.network.peers();
        peers.iter().any(|peer| peer.node == *node && peer.quarantined)
    }

    pub fn ask(&self, target: FetchTarget, holders: &[NodeId], priority: FetchPriority) -> Receiver<FetchEvent> {
        let (fetch, answers) = fetch(1, target, holders, priority);
        self.network.fetch(fetch).unwrap();
        answers
    }

    pub fn wait_for_told(&self, wanted: impl Fn(&Told) -> bool) -> Told {
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
pub fn asking_and_holding(config: &ProtocolConfig, server: &Arc<TestServer>) -> (ArchiveNode, ArchiveNode) {
    let holding = ArchiveNode::start(config, server);
    let asking = asking(config, &holding, &parameters());
    (asking, holding)
}

/// A node that holds nothing, connected to `holding`.
pub fn asking(config: &ProtocolConfig, holding: &ArchiveNode, parameters: &ArchiveParameters) -> ArchiveNode {
    let initial_peers = vec![holding.peer_address()];
    let config = ProtocolConfig {
        initial_peers,
        ..config.clone()
    };
    let asking = ArchiveNode::serving(&config, no_archive(), parameters);
    wait_for("both to speak storage", || {
        asking.speaks_storage_with(&holding.node_id) && holding.speaks_storage_with(&asking.node_id)
    });
    asking
}

/// All events of a fetch but its end.
pub fn events(answers: &Receiver<FetchEvent>) -> Vec<FetchEvent> {
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
pub fn check(target: &FetchTarget, events: &[FetchEvent], server: &TestServer, holder: NodeId) {
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

pub fn parts_of(target: &FetchTarget) -> usize {
    match target {
        FetchTarget::Tables { count, .. } | FetchTarget::Entries { count, .. } | FetchTarget::Held { count, .. } => {
            *count as usize
        }
        FetchTarget::Block { .. } | FetchTarget::SumPath { .. } => 1,
        FetchTarget::Pages { pages, .. } => pages.len(),
        FetchTarget::Locate { ids } => ids.len(),
    }
}

pub fn pages(server: &TestServer) -> FetchTarget {
    FetchTarget::Pages {
        position: ChunkPosition::new(3, 1).unwrap(),
        chunk: server.chunk.table,
        pages: 0..server.chunk.pages(),
    }
}

pub fn tables(count: u32) -> FetchTarget {
    FetchTarget::Tables {
        first_segment: 2,
        count,
    }
}

pub const ENTRIES: FetchTarget = FetchTarget::Entries {
    first_period: 1,
    count: PERIODS as u32,
};

/// What a rogue makes of a right answer: a frame without the outer type, or nothing.
pub type Behaviour = Box<dyn FnMut(StorageMessage) -> Option<Vec<u8>> + Send>;

pub fn changed_by(change: impl Fn(&mut StorageMessage) + Send + 'static) -> Behaviour {
    Box::new(move |mut message| {
        change(&mut message);
        Some(write(&message))
    })
}

/// A hand-written peer that speaks storage and behaves as told. Ends with its connection.
pub struct Rogue {
    pub node_id: NodeId,
    pub thread: JoinHandle<()>,
}

impl Rogue {
    pub fn start(asking: &ArchiveNode, server: Arc<TestServer>, mut behaviour: Behaviour) -> Self {
        let keypair = KeyPair::generate(0).unwrap();
        let (mut peer, _) = RawPeer::connect(asking.address, &keypair, STORAGE_CAPABILITY).unwrap();
        let node_id = NodeId::new(keypair.get_public_key());
        wait_for("the rogue to be taken in", || asking.speaks_storage_with(&node_id));
        let thread = std::thread::spawn(move || {
            while let Ok(frame) = peer.read_type(4) {
                for answer in right_answers(&*server, &read(&frame[1..])) {
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
