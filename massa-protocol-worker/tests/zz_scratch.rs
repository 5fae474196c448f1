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


struct Fast { pages: Vec<PageContent> , entry: massa_distributed_storage_exports::manifest::ChunkEntry }
impl ArchiveServer for Fast {
    fn manifest(&self, _: u64) -> Answer<Vec<u8>> { Answer::NotHeld }
    fn page(&self, _: u64, _: ChunkIndex, _: &ChunkId, page: u32) -> Answer<PageContent> { Answer::Found(self.pages[page as usize].clone()) }
    fn held(&self, _: u64, periods: u32) -> Vec<Vec<u8>> { vec![Vec::new(); periods as usize] }
    fn capabilities(&self) -> massa_distributed_storage_exports::network::Capabilities { Default::default() }
}
#[test]
fn throughput() {
    let chunk = TestChunk::new(1 << 20, 1);
    let server = Fast { pages: (0..16).map(|page| chunk.page(page)).collect(), entry: chunk.entry };
    let config = ProtocolConfig { rate_limit: 1 << 40, max_storage_messages_per_second: 1_000_000, storage_request_timeout: MassaTime::from_millis(10_000), ..config() };
    let (asking, holding) = asking_and_holding_with(config, Arc::new(server), parameters());
    let n = 1000u64;
    let start = std::time::Instant::now();
    let mut open = std::collections::VecDeque::new();
    for id in 0..n {
        let (fetch, answers) = pages_of(id, &chunk, 0..16, &[holding.node_id], FetchPriority::Repair);
        asking.network.fetch(fetch).unwrap();
        open.push_back(answers);
        if open.len() > 8 {
            let answers = open.pop_front().unwrap();
            loop { match answers.recv_timeout(DEADLINE).unwrap() { FetchEvent::Complete { .. } => break, FetchEvent::Page { .. } => {}, other => panic!("{other:?}") } }
        }
    }
    for answers in open {
        loop { match answers.recv_timeout(DEADLINE).unwrap() { FetchEvent::Complete { .. } => break, FetchEvent::Page { .. } => {}, other => panic!("{other:?}") } }
    }
    let t = start.elapsed();
    println!("{} MiB in {:?}: {:.0} MiB/s", n, t, n as f64 / t.as_secs_f64());
}
