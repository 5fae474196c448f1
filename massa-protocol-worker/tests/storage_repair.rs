//! A node that missed most of the chain obtains it from others over real sockets: repair thread, storage handler and stores
//! are the real ones, the rest of the node is left out.

mod common;

use common::{free_address, id_of, wait_for, OneProducer, TestConsensus, TestPool};
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::registry::{FixedRegistry, NodeSet, StorageNode};
use massa_distributed_storage_exports::{ArchiveParameters, PeriodRoot};
use massa_distributed_storage_worker::assignments::Assignments;
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_distributed_storage_worker::reader::ArchiveReader;
use massa_distributed_storage_worker::repair::RepairLimits;
use massa_distributed_storage_worker::repair_worker::{repair_news, start_repair, RepairManager, RepairParts};
use massa_distributed_storage_worker::replication::genesis_placement_key;
use massa_distributed_storage_worker::server::StoreServer;
use massa_distributed_storage_worker::storage_backend::read::PlaceContent;
use massa_distributed_storage_worker::{
    start_distributed_storage_worker, DistributedStorageCommand, DistributedStorageManager, Store, StoreOptions,
    WorkerOptions,
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

const THREADS: u8 = 4;
const PERIODS: u64 = 14;
/// Periods that are surely complete: at the end of the chain it is not known yet what is a miss.
const COMPLETE: u64 = 10;
const REPLICATION_FACTOR: usize = 2;
const NODES: usize = 3;

/// A chain of several chunks a period.
struct Chain {
    parameters: ArchiveParameters,
    periods: Vec<Vec<Option<BlockRecord>>>,
}

impl Chain {
    fn new(seed: u64) -> Self {
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

    fn blocks(&self, periods: std::ops::RangeInclusive<u64>) -> impl Iterator<Item = BlockRecord> + '_ {
        periods.flat_map(|period| self.periods[period as usize - 1].iter().flatten().cloned())
    }

    fn roots(&self) -> BTreeMap<u64, PeriodRoot> {
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
    fn with_false_miss(&self, period: u64) -> Self {
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
struct Identity {
    keypair: KeyPair,
    address: SocketAddr,
}

impl Identity {
    fn new() -> Self {
        Self {
            keypair: KeyPair::generate(0).unwrap(),
            address: free_address(),
        }
    }

    fn node_id(&self) -> NodeId {
        NodeId::new(self.keypair.get_public_key())
    }
}

/// A node without consensus.
struct ArchiveNode {
    store: Arc<Store>,
    assignments: Arc<Assignments>,
    network: Arc<dyn StorageNetwork>,
    node_id: NodeId,
    protocol: Box<dyn ProtocolManager>,
    repair: RepairManager,
    worker: DistributedStorageManager,
    _directory: TempDir,
}

impl ArchiveNode {
    /// Starts node `own` of `all`, which archives `blocks`. Each chunk is on `replicas` nodes.
    fn start(
        own: usize,
        replicas: usize,
        all: &[Identity],
        parameters: &ArchiveParameters,
        blocks: impl Iterator<Item = BlockRecord>,
        faults: LinkFaults,
    ) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(StoreOptions::new(directory.path()), parameters.clone()).unwrap());
        let node_id = all[own].node_id();
        let registry = Arc::new(FixedRegistry::new(node_set(all)));
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
        for record in blocks {
            let slot = record.view(THREADS).unwrap().slot;
            handle
                .send(DistributedStorageCommand::ArchiveBlock { slot, record })
                .unwrap();
        }
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
        let parts = RepairParts {
            store: Arc::clone(&store),
            worker: handle,
            assignments: Arc::clone(&assignments),
            network: Arc::clone(&network),
            limits: RepairLimits {
                delay: Duration::from_millis(500),
                patience: Duration::from_secs(2),
                ..RepairLimits::default()
            },
            scrub_interval: Duration::from_secs(1),
        };
        Self {
            store,
            assignments,
            network,
            node_id,
            protocol,
            repair: start_repair(parts, inbox),
            worker,
            _directory: directory,
        }
    }

    fn roots(&self) -> BTreeMap<u64, PeriodRoot> {
        let root = |period| Some((period, self.store.period_root(period).unwrap()?));
        (1..=COMPLETE).filter_map(root).collect()
    }

    /// Whether every chunk of the periods up to [`COMPLETE`] that is assigned to this node is held.
    fn holds_its_share(&self) -> bool {
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

    fn has_quarantined(&self, node: &NodeId) -> bool {
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

fn node_set(all: &[Identity]) -> NodeSet {
    let node = |identity: &Identity| StorageNode {
        node_id: identity.node_id(),
        address: Address::from_public_key(&identity.keypair.get_public_key()),
        placement_key: genesis_placement_key(&identity.node_id()),
        allocated_storage_gb: 1,
        filled: false,
        listeners: vec![identity.address],
    };
    NodeSet::new(all.iter().map(node).collect())
}

fn protocol_config(own: usize, all: &[Identity], faults: LinkFaults) -> ProtocolConfig {
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

fn identities() -> Vec<Identity> {
    (0..NODES).map(|_| Identity::new()).collect()
}

#[test]
fn with_200_ms_delay_and_2_percent_loss_a_node_that_saw_only_the_end_archives_everything() {
    let (chain, all) = (Chain::new(1), identities());
    let faults = LinkFaults {
        delay: Duration::from_millis(200),
        loss_one_in: 50,
        seed: 3,
    };
    let start = |own, from| {
        ArchiveNode::start(
            own,
            REPLICATION_FACTOR,
            &all,
            &chain.parameters,
            chain.blocks(from..=PERIODS),
            faults,
        )
    };
    let whole = [start(0, 1), start(1, 1)];
    let late = start(2, PERIODS - 2);
    wait_for("the late node's archive", || late.roots() == chain.roots());
    wait_for("every assigned chunk", || {
        late.holds_its_share() && whole.iter().all(ArchiveNode::holds_its_share)
    });
    assert!(whole.iter().all(|node| node.roots() == chain.roots()));
}

#[test]
fn blocks_of_chunks_that_a_node_does_not_hold_are_read_from_the_others() {
    let (chain, all) = (Chain::new(2), identities());
    let start = |own| {
        ArchiveNode::start(
            own,
            REPLICATION_FACTOR,
            &all,
            &chain.parameters,
            chain.blocks(1..=PERIODS),
            LinkFaults::default(),
        )
    };
    let nodes = [start(0), start(1), start(2)];
    wait_for("all archives", || {
        nodes.iter().all(|node| node.roots() == chain.roots())
    });
    wait_for("connections", || {
        nodes.iter().all(|node| node.network.peers().len() == NODES - 1)
    });
    let held = |node: &ArchiveNode| {
        (1..=COMPLETE)
            .map(|period| node.store.held_chunks(period).unwrap().len())
            .sum::<usize>()
    };
    let total: usize = (1..=COMPLETE)
        .map(|period| nodes[0].store.manifest(period).unwrap().unwrap().chunks.len())
        .sum();
    assert_eq!(nodes.iter().map(held).sum::<usize>(), total * REPLICATION_FACTOR);
    for node in &nodes {
        assert!(
            held(node) < total,
            "{} holds everything: nothing is shown",
            node.node_id
        );
        let reader = ArchiveReader::new(
            Arc::clone(&node.store),
            Arc::clone(&node.assignments),
            Some(Arc::clone(&node.network)),
            Duration::from_secs(20),
        );
        for (places, period) in chain.periods.iter().zip(1..=COMPLETE) {
            for (place, thread) in places.iter().zip(0..) {
                let expected = place.clone().map_or(PlaceContent::Miss, PlaceContent::Block);
                assert_eq!(reader.place(Slot::new(period, thread)).unwrap(), expected);
            }
        }
    }
}

#[test]
fn a_false_miss_is_not_believed_and_its_author_is_put_in_quarantine() {
    let (chain, all) = (Chain::new(3), identities());
    let lie = chain.with_false_miss(COMPLETE - 2);
    let liar = ArchiveNode::start(
        0,
        NODES,
        &all,
        &chain.parameters,
        lie.blocks(1..=PERIODS),
        LinkFaults::default(),
    );
    // The lie is an archived period only if the node declares the miss: its next block names another parent.
    let store = Arc::clone(&liar.store);
    let places: Vec<_> = lie.periods[COMPLETE as usize - 3].iter().map(Option::as_ref).collect();
    let encoded = EncodedPeriod::new(&chain.parameters, COMPLETE - 2, &places).unwrap();
    let keep = vec![true; encoded.manifest.chunks.len()];
    wait_for("the rest of the liar's archive", || {
        liar.roots().len() as u64 == COMPLETE - 1
    });
    let rows = massa_distributed_storage_worker::storage_backend::PendingRows::default();
    let durability = massa_distributed_storage_worker::storage_backend::writer::Durability::Buffered;
    store.put_period(&encoded, &places, &keep, &rows, durability).unwrap();

    let late = ArchiveNode::start(
        2,
        NODES,
        &all,
        &chain.parameters,
        chain.blocks(PERIODS - 2..=PERIODS),
        LinkFaults::default(),
    );
    wait_for("the periods above the lie", || {
        let archived = late.roots();
        archived.contains_key(&COMPLETE) && archived.contains_key(&(COMPLETE - 1))
    });
    assert!(
        late.store.period_root(COMPLETE - 2).unwrap().is_none(),
        "a false miss was believed"
    );

    let honest = ArchiveNode::start(
        1,
        NODES,
        &all,
        &chain.parameters,
        chain.blocks(1..=PERIODS),
        LinkFaults::default(),
    );
    wait_for("the true archive", || late.roots() == chain.roots());
    wait_for("the liar's quarantine", || late.has_quarantined(&liar.node_id));
    assert!(!late.has_quarantined(&honest.node_id));
}
