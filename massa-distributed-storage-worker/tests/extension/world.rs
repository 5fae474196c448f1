//! Whole extensions in one process, on directories of their own, connected by the hub; a chain without contracts, whose genesis
//! file names the nodes.

use crate::chain::{slot_of, Chain};
pub use crate::chain::{SEGMENT_PERIODS, THREADS};
use crate::hub::{Hub, Line};
use crate::tamper::Tamper;
use massa_db_exports::STORAGE_PAGES_CF;
use massa_distributed_storage_exports::contract::{
    ContractError, ContractHost, OperationEvent, OperationLimits, OperationStatus,
};
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::commands::DistributedStorageCommand;
use massa_distributed_storage_worker::extension::{Extension, ExtensionParts, ExtensionSettings};
use massa_distributed_storage_worker::smart_contract::node_set::{NetworkValues, RegistryNodeSet};
use massa_distributed_storage_worker::storage_backend::rows::page_key;
use massa_distributed_storage_worker::storage_backend::{IndexScope, SegmentStore, SegmentStoreOptions};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use massa_models::operation::{Operation, OperationId, OperationType};
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::{tempdir, TempDir};

pub const COPIES: usize = 2;

/// A chain without contracts.
#[derive(Debug)]
struct NoContracts;

impl ContractHost for NoContracts {
    fn final_slot(&self) -> Slot {
        Slot::new(0, 0)
    }
    fn current_period(&self) -> u64 {
        0
    }
    fn limits(&self) -> OperationLimits {
        OperationLimits {
            chain_id: 77,
            validity_periods: 10,
            minimal_fee: Amount::from_raw(0),
            max_gas: 0,
        }
    }
    fn final_entries(&self, _: &Address, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        vec![None; keys.len()]
    }
    fn final_keys(&self, _: &Address, _: &[u8], _: Option<&[u8]>, _: usize) -> Vec<Vec<u8>> {
        Vec::new()
    }
    fn final_balance(&self, _: &Address) -> Option<Amount> {
        None
    }
    fn operation_status(&self, _: &OperationId) -> OperationStatus {
        OperationStatus::default()
    }
    fn operation_events(&self, _: &OperationId) -> Vec<OperationEvent> {
        Vec::new()
    }
    fn estimate_gas(&self, _: &Address, _: &OperationType) -> Result<u64, ContractError> {
        Err(ContractError::Unavailable("no contracts".into()))
    }
    fn send(&self, _: &Address, _: Operation) -> Result<OperationId, ContractError> {
        Err(ContractError::Unavailable("no contracts".into()))
    }
}

pub struct World {
    pub chain: Chain,
    pub hub: Arc<Hub>,
    pub nodes: Vec<Option<Extension>>,
    pub ids: Vec<NodeId>,
    directories: Vec<TempDir>,
    retention: Vec<u64>,
    /// Who stores, from the genesis file.
    genesis: NodeSet,
}

pub fn wait_for(what: &str, wrong: impl Fn() -> Vec<String>) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let found = wrong();
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: {found:#?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

impl World {
    /// Three nodes that store everything, all running.
    pub fn new(seed: u64, segments: u64) -> Self {
        Self::with_retention(seed, segments, &[0, 0, 0])
    }

    /// A node for each of these numbers of periods that it keeps; 0 keeps all.
    pub fn with_retention(seed: u64, segments: u64, retention: &[u64]) -> Self {
        let count = retention.len() as u8;
        let key = |number: u8| {
            let mut bytes = vec![0];
            bytes.extend([number + 1; 32]);
            KeyPair::from_bytes(&bytes).unwrap().get_public_key()
        };
        let ids: Vec<NodeId> = (0..count).map(|number| NodeId::new(key(number))).collect();
        let node = |number: u8| StorageNode {
            node_id: Some(ids[usize::from(number)]),
            address: Address::from_public_key(&key(number)),
            placement_key: *blake3::hash(&[number]).as_bytes(),
            allocated_storage_gb: 100,
            filled: false,
            retention_periods: retention[usize::from(number)],
            listeners: Vec::new(),
        };
        let mut world = Self {
            chain: Chain::new(seed, segments),
            hub: Hub::new(THREADS),
            nodes: (0..count).map(|_| None).collect(),
            genesis: NodeSet::new((0..count).map(node).collect()),
            ids: ids.clone(),
            retention: retention.to_vec(),
            directories: (0..count).map(|_| tempdir().unwrap()).collect(),
        };
        for number in 0..usize::from(count) {
            world.start(number);
            world.connect(number);
        }
        world
    }

    /// Starts a node, without the network.
    pub fn start(&mut self, number: usize) {
        let values = NetworkValues {
            chunk_size: u64::from(self.chain.parameters.chunk_size),
            segment_periods: SEGMENT_PERIODS,
            round_segments: 4,
            replication_factor: COPIES as u64,
        };
        let host: Arc<dyn ContractHost> = Arc::new(NoContracts);
        let mut settings = ExtensionSettings::new(self.directories[number].path());
        settings.replication_factor = COPIES;
        settings.retention_periods = self.retention[number];
        settings.repair_patience = Duration::from_millis(200);
        settings.repair_delay = Duration::from_millis(100);
        settings.indexes.blocks = IndexScope::All;
        // Damage is found by who reads.
        settings.scrub_interval = Duration::from_secs(3_600);
        let extension = Extension::start(ExtensionParts {
            own: self.ids[number],
            operator: None,
            settings,
            parameters: self.chain.parameters.clone(),
            nodes: Arc::new(RegistryNodeSet::new(Arc::clone(&host), self.genesis.clone(), values)),
            host,
        });
        self.nodes[number] = Some(extension.unwrap());
    }

    /// The network is there.
    pub fn connect(&mut self, number: usize) {
        let (hub, node) = (Arc::clone(&self.hub), self.ids[number]);
        let extension = self.nodes[number].as_mut().unwrap();
        hub.connect(node, extension.server(), extension.events());
        extension.start_network(Arc::new(Line { hub, node })).unwrap();
    }

    pub fn stop(&mut self, number: usize) {
        self.hub.disconnect(&self.ids[number]);
        self.nodes[number].take().unwrap().stop();
    }

    /// Changes a byte of the first page of a chunk of a node that does not run.
    pub fn damage_page(&self, number: usize, position: ChunkPosition) {
        let tamper = Tamper::default();
        let mut options = SegmentStoreOptions::new(self.directories[number].path());
        options.indexes.blocks = IndexScope::All;
        options.writer = Box::new(tamper.clone());
        let store = SegmentStore::open(options).unwrap();
        tamper.damage(&store, STORAGE_PAGES_CF, &page_key(position, 0), 20);
    }

    pub fn node(&self, number: usize) -> &Extension {
        self.nodes[number].as_ref().unwrap()
    }

    /// Every block of these periods becomes final at those nodes that `sees` names.
    pub fn feed(&self, periods: impl Iterator<Item = u64>, sees: impl Fn(usize, &Slot) -> bool) {
        for period in periods {
            let Some(blocks) = self.chain.periods.get(&period) else {
                return;
            };
            for (number, node) in self.nodes.iter().enumerate() {
                let Some(node) = node else { continue };
                let seen = blocks.iter().filter(|record| sees(number, &slot_of(record)));
                let records = seen.cloned().collect();
                let command = DistributedStorageCommand::Blocks { records, reply: None };
                node.archiver().send(command).unwrap();
            }
        }
    }

    /// What is not as it should be: roots of the first `segments` segments, and, of those before the newest, chunks that are not
    /// on their holders, or elsewhere.
    pub fn wrong(&self, segments: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for segment in 0..segments {
            let is_newest = segment + 1 == segments;
            let roots = self.nodes.iter().flatten().map(|node| {
                let root = node.handle().store().segment_root(segment);
                root.unwrap()
            });
            let roots: BTreeSet<_> = roots.collect();
            if roots.len() > 1 || roots.contains(&None) {
                wrong.push(format!("segment {segment}: {roots:?}"));
            } else if !is_newest {
                wrong.extend(self.misplaced(segment));
            }
        }
        wrong
    }

    fn misplaced(&self, segment: u64) -> Vec<String> {
        let mut wrong = Vec::new();
        for (number, node) in self.nodes.iter().enumerate() {
            let Some(node) = node else { continue };
            let handle = node.handle();
            let (table, held) = handle.store().table_and_held(segment).unwrap().unwrap();
            let assigned = handle.assigned().read();
            let placement = assigned.placement();
            for (chunk, index) in table.chunks().zip(0..) {
                let position = ChunkPosition::new(segment, index).unwrap();
                let holders = placement.holders(position, &chunk.id);
                assert_eq!(holders.len(), COPIES);
                let nodes = placement.nodes().nodes.nodes();
                let should = holders
                    .iter()
                    .any(|holder| nodes[*holder].node_id == Some(self.ids[number]));
                if held.contains(index) != should {
                    wrong.push(format!("chunk {position}: node {number} should hold it {should}"));
                }
            }
        }
        wrong
    }

    pub fn assert_sound(&self) {
        for node in self.nodes.iter().flatten() {
            let report = node.handle().store().verify(&|_, _| {}).unwrap();
            assert_eq!(report.damages, []);
        }
        assert_eq!(self.hub.quarantined(), BTreeSet::new());
    }
}
