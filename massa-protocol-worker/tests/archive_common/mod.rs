//! Archive nodes over real sockets: repair thread, storage handler and stores are the real ones, the rest of a node is left
//! out.
#![allow(dead_code)] // Each test file uses some of it.

use crate::common::{self, free_address, id_of, OneProducer, TestConsensus, TestPool};
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::registry::{FixedRegistry, NodeSet, StorageNode, StorageRegistry};
use massa_distributed_storage_exports::{ArchiveParameters, PeriodRoot};
use massa_distributed_storage_worker::assignments::Assignments;
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_distributed_storage_worker::handover::keep_no_more;
use massa_distributed_storage_worker::lost::SegmentBoard;
use massa_distributed_storage_worker::reader::ArchiveReader;
use massa_distributed_storage_worker::repair::RepairLimits;
use massa_distributed_storage_worker::repair_worker::{repair_news, start_repair, RepairManager, RepairParts};
use massa_distributed_storage_worker::replication::genesis_placement_key;
use massa_distributed_storage_worker::server::StoreServer;
use massa_distributed_storage_worker::storage_backend::read::PlaceContent;
use massa_distributed_storage_worker::{
    start_distributed_storage_worker, ArchiverHandle, DistributedStorageCommand, DistributedStorageManager, Store,
    StoreOptions, WorkerOptions,
};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_pool_exports::PoolController;
use massa_protocol_exports::{LinkFaults, PeerAddress, ProtocolConfig, ProtocolManager};
use massa_protocol_worker::{create_protocol_controller, start_protocol_controller, StorageParts};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_tests::{Generator, GeneratorConfig};
use massa_time::MassaTime;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

pub const THREADS: u8 = 4;
pub const PERIODS: u64 = 14;
/// Periods that are surely complete: at the end of the chain it is not known yet what is a miss.
pub const COMPLETE: u64 = 10;

/// A chain of several chunks a period.
pub struct Chain {
    pub parameters: ArchiveParameters,
    pub periods: Vec<Vec<Option<BlockRecord>>>,
}

impl Chain {
    pub fn new(seed: u64) -> Self {
        let mut generator = Generator::new(GeneratorConfig {
            seed,
            thread_count: THREADS,
            miss_rate: 0.15,
            operations: 1..=12,
            payload_share: 0.8,
            payload_bytes: 100..=12_000,
            endorsements_per_block: 0,
            ..GeneratorConfig::default()
        });
        let parameters = ArchiveParameters {
            chunk_size: 1 << 16,
            segment_periods: 4,
            ..generator.parameters()
        };
        let periods = (0..PERIODS).map(|_| generator.next_period()).collect();
        Self { parameters, periods }
    }

    pub fn blocks(&self, periods: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = BlockRecord> + '_ {
        periods.flat_map(|period| self.periods[period as usize - 1].iter().flatten().cloned())
    }

    pub fn roots(&self) -> BTreeMap<u64, PeriodRoot> {
        let root = |(places, period): (&Vec<Option<BlockRecord>>, u64)| {
            let places: Vec<_> = places.iter().map(Option::as_ref).collect();
            (
                period,
                EncodedPeriod::new(&self.parameters, period, &places)
                    .unwrap()
                    .manifest
                    .root(),
            )
        };
        self.periods
            .iter()
            .zip(1..)
            .map(root)
            .filter(|(period, _)| *period <= COMPLETE)
            .collect()
    }

    /// The same chain with a block of `period` called a miss, and that block.
    pub fn with_false_miss(&self, period: u64) -> Self {
        let mut periods = self.periods.clone();
        let place = periods[period as usize - 1].iter_mut().find(|place| place.is_some());
        *place.expect("the period has a block") = None;
        Self {
            parameters: self.parameters.clone(),
            periods,
        }
    }
}

/// Who a node is, before it runs.
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

    /// The same keys, and so the same placement, in every run.
    pub fn numbered(number: u8) -> Self {
        let mut version_and_seed = [number.wrapping_add(1); 33];
        version_and_seed[0] = 0;
        Self {
            keypair: KeyPair::from_bytes(&version_and_seed).unwrap(),
            address: free_address(),
        }
    }

    pub fn node_id(&self) -> NodeId {
        NodeId::new(self.keypair.get_public_key())
    }
}

/// A node without consensus.
pub struct ArchiveNode {
    pub store: Arc<Store>,
    pub assignments: Arc<Assignments>,
    pub network: Arc<dyn StorageNetwork>,
    pub node_id: NodeId,
    pub repair: RepairManager,
    /// What a round worker would tell.
    pub segments: Arc<SegmentBoard>,
    archiver: ArchiverHandle,
    protocol: Box<dyn ProtocolManager>,
    worker: DistributedStorageManager,
    _directory: TempDir,
}

impl ArchiveNode {
    /// Starts node `own` of `all`, which archives `blocks`. Each chunk is on `replicas` nodes.
    pub fn start(
        own: usize,
        replicas: usize,
        all: &[Identity],
        parameters: &ArchiveParameters,
        blocks: impl Iterator<Item = BlockRecord>,
        faults: LinkFaults,
    ) -> Self {
        let registry = Arc::new(FixedRegistry::new(node_set(all)));
        let node = Self::start_with(own, replicas, all, registry, parameters, faults);
        node.archive(blocks);
        node
    }

    /// Starts node `own` of `all` with nothing archived; who counts when, `registry` says.
    pub fn start_with(
        own: usize,
        replicas: usize,
        all: &[Identity],
        registry: Arc<dyn StorageRegistry>,
        parameters: &ArchiveParameters,
        faults: LinkFaults,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(StoreOptions::new(directory.path()), parameters.clone()).unwrap());
        let node_id = all[own].node_id();
        let assignments = Arc::new(Assignments::new(
            node_id,
            registry,
            replicas,
            parameters.segment_periods,
            parameters.first_period,
        ));
        let (news, inbox) = repair_news();
        let (keep, after) = (Arc::clone(&assignments), Arc::clone(&assignments));
        let (after_store, after_news) = (Arc::clone(&store), news.clone());
        let options = WorkerOptions {
            queue_blocks: 1024,
            keep: Box::new(move |period, chunks| keep.mine(period, chunks)),
            after_archive: Box::new(move |archived| {
                after.catch_up(&after_store);
                after_news.archived(archived.period);
            }),
        };
        let (worker, handle) = start_distributed_storage_worker(Arc::clone(&store), options).unwrap();
        let served = Arc::clone(&assignments);
        let server = StoreServer::new(
            Arc::clone(&store),
            1,
            Arc::new(move |period, chunks| served.mine(period, chunks)),
        );
        let config = protocol_config(own, all, faults);
        let (_, channels) = create_protocol_controller(config.clone());
        let (protocol, network) = start_protocol_controller(
            config,
            all[own].keypair.clone(),
            Box::new(OneProducer),
            TestConsensus::default().clone_box(),
            TestPool::default().clone_box(),
            Storage::create_root(),
            channels,
            None,
            Some(StorageParts {
                server: Arc::new(server),
                events: Arc::new(news),
                parameters: parameters.clone(),
            }),
        )
        .unwrap();
        let network = network.expect("storage is enabled");
        let segments = Arc::new(SegmentBoard::default());
        let parts = RepairParts {
            store: Arc::clone(&store),
            worker: handle.clone(),
            assignments: Arc::clone(&assignments),
            network: Arc::clone(&network),
            limits: RepairLimits {
                delay: Duration::from_millis(500),
                patience: Duration::from_secs(2),
                ..RepairLimits::default()
            },
            scrub_interval: Duration::from_secs(1),
            keep: keep_no_more(),
            segments: Arc::clone(&segments),
        };
        Self {
            store,
            assignments,
            network,
            node_id,
            repair: start_repair(parts, inbox),
            segments,
            archiver: handle,
            protocol,
            worker,
            _directory: directory,
        }
    }

    /// Archives blocks that became final.
    pub fn archive(&self, blocks: impl Iterator<Item = BlockRecord>) {
        for record in blocks {
            let slot = record.view(THREADS).unwrap().slot;
            let command = DistributedStorageCommand::ArchiveBlock { slot, record };
            self.archiver.send(command).unwrap();
        }
    }

    pub fn roots(&self) -> BTreeMap<u64, PeriodRoot> {
        let root = |period| Some((period, self.store.period_root(period).unwrap()?));
        (1..=COMPLETE).filter_map(root).collect()
    }

    /// Whether every chunk of the periods up to [`COMPLETE`] that is assigned to this node is held.
    pub fn holds_its_share(&self) -> bool {
        (1..=COMPLETE).all(|period| {
            let Some(manifest) = self.store.manifest(period).unwrap() else {
                return false;
            };
            let held = self.store.held_chunks(period).unwrap();
            let mine = self.assignments.mine(period, &manifest.chunks);
            mine.iter()
                .zip(0u32..)
                .all(|(mine, index)| !mine || held.contains(&index))
        })
    }

    /// Reads every place of the periods up to [`COMPLETE`], from this node or from others.
    pub fn reads_everything_of(&self, chain: &Chain) {
        let reader = ArchiveReader::new(
            Arc::clone(&self.store),
            Arc::clone(&self.assignments),
            Some(Arc::clone(&self.network)),
            Duration::from_secs(20),
        );
        for (places, period) in chain.periods.iter().zip(1..=COMPLETE) {
            for (place, thread) in places.iter().zip(0..) {
                let expected = place.clone().map_or(PlaceContent::Miss, PlaceContent::Block);
                assert_eq!(reader.place(Slot::new(period, thread)).unwrap(), expected);
            }
        }
    }

    pub fn has_quarantined(&self, node: &NodeId) -> bool {
        let peers = self.network.peers();
        peers.iter().any(|peer| peer.node == *node && peer.quarantined)
    }
}

impl Drop for ArchiveNode {
    fn drop(&mut self) {
        self.repair.stop();
        self.protocol.stop();
        self.worker.stop();
    }
}

pub fn node_set(all: &[Identity]) -> NodeSet {
    let node = |identity: &Identity| StorageNode {
        node_id: Some(identity.node_id()),
        address: Address::from_public_key(&identity.keypair.get_public_key()),
        placement_key: genesis_placement_key(&identity.node_id()),
        allocated_storage_gb: 1,
        filled: false,
        retention_periods: 0,
        listeners: vec![identity.address],
    };
    NodeSet::new(all.iter().map(node).collect())
}

pub fn protocol_config(own: usize, all: &[Identity], faults: LinkFaults) -> ProtocolConfig {
    let others = all.iter().enumerate().filter(|(index, _)| *index != own);
    ProtocolConfig {
        listeners: vec![all[own].address],
        routable_addresses: vec![all[own].address],
        initial_peers: others
            .map(|(_, identity)| PeerAddress {
                peer_id: id_of(&identity.keypair),
                address: identity.address,
            })
            .collect(),
        storage_enabled: true,
        storage_request_timeout: MassaTime::from_millis(1_000),
        link_faults: faults,
        ..common::config()
    }
}

pub fn identities(count: usize) -> Vec<Identity> {
    (0..count).map(|_| Identity::new()).collect()
}
