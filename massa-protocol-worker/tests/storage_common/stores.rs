//! Nodes over real sockets whose stores, storage handlers and audits are the real ones; how a node answers is for each test to
//! say.
#![allow(dead_code)] // Each test file uses a part.

use crate::common::{self, free_address, id_of, wait_for, OneProducer, TestConsensus, TestPool};
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, ArchiveServer, AuditChallenge, AuditLeaf, Capabilities, LocateId, Located, PageContent,
    SlotContent, StorageEvents, StorageNetwork,
};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::archive::ingest::{keep_all, Acknowledge, Ingest, IngestOptions};
use massa_distributed_storage_worker::audit::challenge::prove_as;
use massa_distributed_storage_worker::audit::history::AuditResult;
use massa_distributed_storage_worker::audit::plan::AuditLimits;
use massa_distributed_storage_worker::audit::thread::{start_audits, AuditHandle, AuditManager, AuditParts};
use massa_distributed_storage_worker::repair::assigned::{Assigned, SharedAssigned};
use massa_distributed_storage_worker::replication::{genesis_placement_key, PlacementRules};
use massa_distributed_storage_worker::serve::to_peers::SegmentServer;
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{LinkFaults, PeerAddress, ProtocolConfig, ProtocolManager};
use massa_protocol_worker::{
    create_protocol_controller, start_protocol_controller, StorageHandlerNetwork, StorageParts,
};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_tests::{Generator, GeneratorConfig};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub const THREADS: u8 = 4;
pub const SEGMENT_PERIODS: u64 = 4;
/// Whole segments; period 0 is not archived.
pub const SEGMENTS: u64 = 4;

/// A chain with chunks of several pages.
pub struct Chain {
    pub parameters: ArchiveParameters,
    pub records: Vec<BlockRecord>,
}

impl Chain {
    pub fn new() -> Self {
        let mut generator = Generator::new(GeneratorConfig {
            seed: 7,
            thread_count: THREADS,
            miss_rate: 0.0,
            operations: 8..=12,
            payload_share: 1.0,
            payload_bytes: 4_000..=12_000,
            endorsements_per_block: 0,
            ..GeneratorConfig::default()
        });
        let parameters = ArchiveParameters {
            chunk_size: 1 << 18,
            segment_periods: SEGMENT_PERIODS,
            ..generator.parameters()
        };
        let mut records = Vec::new();
        while generator.period() < SEGMENTS * SEGMENT_PERIODS {
            records.extend(generator.next_period().into_iter().flatten());
        }
        Self { parameters, records }
    }

    /// A store with all segments closed.
    pub fn store(&self) -> (Arc<SegmentStore>, TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let options = SegmentStoreOptions::new(directory.path().join("store"));
        let store = Arc::new(SegmentStore::open_or_create(options, &self.parameters).unwrap());
        let options = IngestOptions {
            acknowledge: Acknowledge::AtClose,
            keep: keep_all(),
            held_back_bytes_max: u64::MAX,
        };
        let (mut ingest, _) = Ingest::open(Arc::clone(&store), options).unwrap();
        for record in &self.records {
            assert_eq!(ingest.add(record.clone()).unwrap().stalled, None);
            while ingest.is_closing() {
                assert_eq!(ingest.close_slice().unwrap().stalled, None);
            }
        }
        ingest.finish().unwrap();
        assert_eq!(store.counters().unwrap().segments, SEGMENTS);
        (store, directory)
    }
}

/// The chunk that most tests are about.
pub fn first() -> ChunkPosition {
    ChunkPosition::new(0, 0).unwrap()
}

pub fn chunk(store: &SegmentStore, position: ChunkPosition) -> TableChunk {
    let table = store.table(position.segment).unwrap().unwrap();
    table.chunk(position.index.0).unwrap()
}

pub struct Identity {
    pub keypair: KeyPair,
    pub address: SocketAddr,
}

impl Identity {
    pub fn new() -> Self {
        Self {
            keypair: KeyPair::generate(0).unwrap(),
            address: free_address(),
        }
    }

    pub fn node_id(&self) -> NodeId {
        NodeId::new(self.keypair.get_public_key())
    }
}

/// How a node answers challenges: challenger, challenge, the chunk, and what an honest node would use.
pub type Prove =
    Box<dyn Fn(&NodeId, &AuditChallenge, &TableChunk, &SegmentServer) -> Answer<Vec<AuditLeaf>> + Send + Sync>;

/// What peers tell is not what these tests are about.
struct Deaf;

impl StorageEvents for Deaf {
    fn chunks_announced(&self, _: NodeId, _: u64, _: Option<SegmentRoot>, _: Vec<AnnouncedChunk>) {}

    fn peer_changed(&self, _: NodeId, _: Option<Capabilities>) {}

    fn peer_gone(&self, _: NodeId) {}
}

/// A node that has everything, and answers challenges in its own manner.
pub struct Manner {
    pub server: SegmentServer,
    pub prove: Prove,
}

impl Manner {
    pub fn honest() -> Prove {
        Box::new(|challenger, challenge, _, server| server.prove(challenger, challenge))
    }
}

impl ArchiveServer for Manner {
    fn tables(&self, first_segment: u64, count: u32, bytes_max: usize) -> Answer<Vec<Vec<u8>>> {
        self.server.tables(first_segment, count, bytes_max)
    }

    fn entries(&self, first_period: u64, count: u32, bytes_max: usize) -> Answer<Vec<Vec<u8>>> {
        self.server.entries(first_period, count, bytes_max)
    }

    fn block(&self, slot: &Slot) -> Answer<SlotContent<Vec<u8>>> {
        self.server.block(slot)
    }

    fn page(&self, position: ChunkPosition, chunk_id: &ChunkId, page: u32) -> Answer<PageContent> {
        self.server.page(position, chunk_id, page)
    }

    fn held(&self, first_segment: u64, count: u32, bytes_max: usize) -> Vec<Vec<u8>> {
        self.server.held(first_segment, count, bytes_max)
    }

    fn locate(&self, ids: &[LocateId]) -> Vec<Option<Located>> {
        self.server.locate(ids)
    }

    fn capabilities(&self) -> Capabilities {
        self.server.capabilities()
    }

    fn sum_path(&self, round: u64, position: ChunkPosition) -> Answer<Vec<u8>> {
        self.server.sum_path(round, position)
    }

    fn prove(&self, challenger: &NodeId, challenge: &AuditChallenge) -> Answer<Vec<AuditLeaf>> {
        let chunk = chunk(self.server.store(), challenge.position);
        (self.prove)(challenger, challenge, &chunk, &self.server)
    }
}

/// A node with its sockets.
pub struct RunningNode {
    pub store: Arc<SegmentStore>,
    pub network: StorageHandlerNetwork,
    pub protocol: Box<dyn ProtocolManager>,
    _directory: TempDir,
}

impl RunningNode {
    pub fn start(chain: &Chain, own: &Identity, peers: &[&Identity], prove: Prove, delay: Duration) -> Self {
        let (store, directory) = chain.store();
        let server = SegmentServer::new(Arc::clone(&store), 1, Arc::new(|_| (0..64).collect()));
        server.refresh(usize::MAX);
        let server = Manner {
            server: server.proving_with(prove_as(own.node_id())),
            prove,
        };
        let peer = |identity: &&Identity| PeerAddress {
            peer_id: id_of(&identity.keypair),
            address: identity.address,
        };
        let config = ProtocolConfig {
            listeners: vec![own.address],
            routable_addresses: vec![own.address],
            initial_peers: peers.iter().map(peer).collect(),
            storage_enabled: true,
            link_faults: LinkFaults {
                delay,
                ..LinkFaults::default()
            },
            ..common::config()
        };
        let (_, channels) = create_protocol_controller(config.clone());
        let network = channels.network();
        let protocol = start_protocol_controller(
            config,
            own.keypair.clone(),
            Box::new(OneProducer),
            TestConsensus::default().clone_box(),
            TestPool::default().clone_box(),
            Storage::create_root(),
            channels,
            None,
            Some(StorageParts {
                server: Arc::new(server),
                events: Arc::new(Deaf),
                parameters: chain.parameters.clone(),
            }),
        )
        .unwrap();
        Self {
            store,
            network,
            protocol,
            _directory: directory,
        }
    }
}

impl Drop for RunningNode {
    fn drop(&mut self) {
        self.protocol.stop();
    }
}

/// A node that audits others, which are all assigned everything.
pub struct Auditor {
    pub node: RunningNode,
    pub handle: AuditHandle,
    /// The last period that is archived, as audits are told.
    pub newest: Arc<AtomicU64>,
    _audits: AuditManager,
}

impl Auditor {
    pub fn start(chain: &Chain, own: &Identity, others: &[&Identity], time_allowance: Duration) -> Self {
        let node = RunningNode::start(chain, own, others, Manner::honest(), Duration::ZERO);
        let storage_node = |identity: &&Identity| StorageNode {
            node_id: Some(identity.node_id()),
            address: Address::from_public_key(&identity.keypair.get_public_key()),
            placement_key: genesis_placement_key(&identity.node_id()),
            allocated_storage_gb: 1,
            filled: false,
            retention_periods: 0,
            listeners: vec![identity.address],
        };
        let nodes = NodeSet::new(others.iter().map(storage_node).collect());
        let newest = Arc::new(AtomicU64::new(SEGMENTS * SEGMENT_PERIODS - 1));
        let parts = AuditParts {
            own: own.node_id(),
            store: Arc::clone(&node.store),
            assigned: assigned(own.node_id(), nodes, &node.store),
            network: Arc::new(node.network.clone()),
            limits: AuditLimits {
                every_periods: 1,
                response_timeout: Duration::from_secs(40),
                min_challenge_interval: Duration::ZERO,
                time_allowance,
            },
            newest: {
                let newest = Arc::clone(&newest);
                Arc::new(move || Some(newest.load(Relaxed)))
            },
            seed: [5; 32],
        };
        let (audits, handle) = start_audits(parts).unwrap();
        let connected = || node.network.peers().len() == others.len();
        wait_for("connections of the auditor", connected);
        Self {
            node,
            handle,
            newest,
            _audits: audits,
        }
    }

    /// Challenges a node about the first chunk.
    pub fn challenge(&self, node: &Identity) -> AuditResult {
        let chunk = chunk(&self.node.store, first());
        assert!(chunk.page_count() >= 3, "a chunk of several pages");
        let id = self.handle.issue(node.node_id(), first(), chunk).unwrap();
        let result = || {
            self.handle
                .with_history(|history| history.newest().find(|result| result.challenge_id == id).cloned())
        };
        wait_for("a result", || result().is_some());
        result().unwrap()
    }

    pub fn success_percent(&self, node: &Identity) -> u64 {
        let audits = self.handle.with_history(|history| history.node(&node.node_id()));
        audits.unwrap().success_percent()
    }
}

/// Every chunk is assigned to all of `nodes`.
pub fn assigned(own: NodeId, nodes: NodeSet, store: &SegmentStore) -> SharedAssigned {
    let parameters = store.parameters();
    let rules = PlacementRules::new(parameters.chunk_size, parameters.segment_periods);
    let mut assigned = Assigned::new(rules, own, None);
    let factor = nodes.nodes().len();
    assigned.set_nodes(Arc::new(nodes), factor);
    let placement = assigned.placement_mut();
    for info in store.segments(0, SEGMENTS as usize).unwrap() {
        placement.put_segment(info.segment, info.body_bytes).unwrap();
    }
    let ids = |segment| Some(store.table(segment).unwrap()?.chunk_ids().to_vec());
    while !placement.step(1 << 16, &ids).is_done() {}
    assigned.shared()
}
