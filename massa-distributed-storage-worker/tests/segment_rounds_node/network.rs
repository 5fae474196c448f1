//! Whole extensions in one process that take part in rounds, and their chain.

use crate::chain::{registry, TestChain, PERIODS, SEGMENT};
use crate::common::slot_of;
use crate::common::world::{World, THREADS};
use crate::hub::{Hub, Line};
use crate::rounds::{wait_for, LEAD};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_worker::commands::DistributedStorageCommand;
use massa_distributed_storage_worker::extension::{Extension, ExtensionParts, ExtensionSettings};
use massa_distributed_storage_worker::rounds::thread::FinalBlocks;
use massa_distributed_storage_worker::rounds::watch::FinalContent;
use massa_distributed_storage_worker::smart_contract::client::{start_contract_client, ClientManager, ClientParts};
use massa_distributed_storage_worker::smart_contract::node_set::{NetworkValues, RegistryNodeSet};
use massa_models::slot::Slot;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tempfile::{tempdir, TempDir};

/// Operations in the first block of a period.
type Operations = Arc<Mutex<BTreeMap<u64, Vec<Vec<u8>>>>>;

/// See the module.
pub struct Network {
    pub world: World,
    pub chain: Arc<TestChain>,
    pub hub: Arc<Hub>,
    /// Those that run.
    pub nodes: Vec<(StorageNode, Extension)>,
    pub operations: Operations,
    factor: u64,
    fed: u64,
    _clients: Vec<ClientManager>,
    _directories: Vec<TempDir>,
}

impl Network {
    /// So many of the registered nodes run, the first ones. There are blocks until `rounds` are over.
    pub fn new(registered: &[StorageNode], running: usize, factor: u64, rounds: u64) -> Self {
        let world = World::new(4, rounds * PERIODS, 12_000);
        let chain = Arc::new(TestChain::new(&registered.iter().collect::<Vec<_>>()));
        chain.with_model(|model| {
            model.config.now.replication_factor = factor;
            model.config.next.replication_factor = factor;
        });
        let mut network = Self {
            world,
            chain,
            hub: Hub::new(THREADS),
            nodes: Vec::new(),
            operations: Operations::default(),
            factor,
            fed: 0,
            _clients: Vec::new(),
            _directories: Vec::new(),
        };
        for own in &registered[..running] {
            network.start(own, registered);
        }
        network
    }

    fn start(&mut self, own: &StorageNode, registered: &[StorageNode]) {
        let node = own.node_id.unwrap();
        let values = NetworkValues {
            chunk_size: 1 << 16,
            segment_periods: SEGMENT,
            round_segments: PERIODS / SEGMENT,
            replication_factor: self.factor,
        };
        let host = Arc::clone(&self.chain) as Arc<dyn ContractHost>;
        let genesis = NodeSet::new(registered.to_vec());
        let nodes = Arc::new(RegistryNodeSet::new(Arc::clone(&host), genesis, values));
        let (client, handle) = start_contract_client(ClientParts {
            host: Arc::clone(&host),
            nodes: Arc::clone(&nodes),
            operator: Some(own.address),
            registry: Box::new(|| Some(registry())),
            on_nodes: Box::new(|_| ()),
            max_fees_per_day: None,
            fees_path: None,
            deployment: None,
        })
        .unwrap();
        let directory = tempdir().unwrap();
        let mut settings = ExtensionSettings::new(directory.path());
        settings.replication_factor = self.factor as usize;
        let parts = ExtensionParts {
            own: node,
            operator: Some(own.address),
            settings,
            parameters: self.world.parameters.clone(),
            nodes,
            host,
        };
        let mut extension = Extension::start(parts).unwrap();
        let hub = Arc::clone(&self.hub);
        hub.connect(node, extension.server(), extension.events());
        extension.start_network(Arc::new(Line { hub, node })).unwrap();
        extension.start_rounds(handle, self.final_blocks(), LEAD).unwrap();
        self.nodes.push((own.clone(), extension));
        self._clients.push(client);
        self._directories.push(directory);
    }

    fn final_blocks(&self) -> FinalBlocks {
        let periods = self.world.periods.len() as u64;
        let ids: Vec<_> = (0..periods).map(|period| TestChain::ids(&self.world, period)).collect();
        let (chain, operations) = (Arc::clone(&self.chain), Arc::clone(&self.operations));
        Box::new(move |period| {
            if period > chain.period() {
                return None;
            }
            let mut sent = operations.lock().get(&period).cloned();
            let mut content = |id| FinalContent {
                id,
                operations: sent.take().unwrap_or_default(),
            };
            let ids = ids[period as usize].iter();
            Some(ids.map(|id| id.map(&mut content)).collect())
        })
    }

    /// The blocks up to a period become final and are archived; then the period is.
    pub fn go_to(&mut self, period: u64) {
        let is_due = |slot: Slot| (self.fed..=period).contains(&slot.period);
        let due = self.world.blocks.iter();
        let due: Vec<_> = due.filter(|record| is_due(slot_of(record, THREADS))).cloned().collect();
        for (_, node) in &self.nodes {
            let records = due.clone();
            let command = DistributedStorageCommand::Blocks { records, reply: None };
            node.archiver().send(command).unwrap();
        }
        self.fed = period + 1;
        // The last segments may wait for what settles their slots.
        let closed = (period / SEGMENT).checked_sub(2);
        wait_for("segments to close", || {
            let last = |node: &Extension| node.handle().store().last_segment().unwrap();
            self.nodes.iter().all(|(_, node)| last(node) >= closed)
        });
        self.chain.set_period(period);
        wait_for("the final period", || {
            let seen = |node: &Extension| node.handle().rounds().unwrap().status().period;
            self.nodes.iter().all(|(_, node)| seen(node) == period)
        });
    }

    pub fn all_claimed(&self, round: u64) -> bool {
        let addresses = self.nodes.iter().map(|(own, _)| own.address);
        self.chain.with_model(|model| {
            let claimed = |address| model.nodes[&address].claim_of(round).is_some();
            addresses.into_iter().all(claimed)
        })
    }
}
