//! The archive in a node: the extension, adapted to what the node has. Settings and genesis file become its parameters,
//! execution its view of final state, the registry client its hand in the chain; the API asks it.

pub mod api;
mod audits_api;
pub mod contract_host;
mod errors;
mod lists;
mod membership;
mod nodes;
pub(crate) mod peers;
mod rounds_api;
mod status;

use crate::genesis::Genesis;
use crate::memory::MemoryShares;
use crate::settings::{DistributedStorageSettings, Settings, SettingsError};
use contract_host::{fees_path, registry_deployment, RegistryLocation};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_exports::DistributedStorageConfig;
use massa_distributed_storage_worker::extension::{
    AuditSettings, Extension, ExtensionError, ExtensionHandle, ExtensionParts, ExtensionSettings,
};
use massa_distributed_storage_worker::rounds::watch::FinalContent;
use massa_distributed_storage_worker::smart_contract::client::{
    start_contract_client, ClientHandle, ClientManager, ClientParts, OnNodes,
};
use massa_distributed_storage_worker::smart_contract::node_set::{NetworkValues, RegistryError, RegistryNodeSet};
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SlotRead};
use massa_distributed_storage_worker::worker::ArchiverHandle;
use massa_execution_exports::{ExecutionController, FinalBlock};
use massa_models::address::Address;
use massa_models::block::{BlockSerializer, SecureShareBlock};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::SecureShareOperation;
use massa_protocol_exports::BlockArchive;
use massa_protocol_worker::StorageParts;
use massa_serialization::Serializer;
use std::sync::Arc;
use tracing::warn;

/// Periods between final state and the execution of an operation that is sent on it: three until a block is final, one until
/// the operation's thread has its turn, one to spare.
const LEAD_PERIODS: u64 = 5;

/// Why the extension did not start.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// A local value differs from the network's.
    #[error("distributed_storage.{key}: {configured} in the settings, {network} in the genesis file of the network")]
    Mismatch {
        /// The key.
        key: &'static str,
        /// Local value.
        configured: String,
        /// Value of the network.
        network: String,
    },
    /// A local value differs from the registry's.
    #[error("distributed_storage.{0}")]
    Mismatched(RegistryError),
    /// The registry is none.
    #[error("distributed_storage.storage_registry_address: {0}")]
    Registry(RegistryError),
    /// The settings are out of range.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The extension's own reason: a file, a directory, a thread.
    #[error("distributed_storage: {0}")]
    Extension(#[from] ExtensionError),
    /// The registry client has no thread.
    #[error("thread of the registry client: {0}")]
    Client(std::io::Error),
}

/// The archive of a node that archives. Stops when it is dropped.
pub struct NodeStorage {
    extension: Extension,
    nodes: Arc<RegistryNodeSet>,
    location: RegistryLocation,
    host: Arc<dyn ContractHost>,
    operator: Option<Address>,
    settings: DistributedStorageSettings,
    client: Option<ClientManager>,
}

/// Compares the network's parameters with the local ones. What a registry may change is compared with the registry, where
/// there is one.
fn check_parameters(
    settings: &DistributedStorageSettings,
    genesis: &Genesis,
    has_registry: bool,
) -> Result<(), StorageError> {
    let network = &genesis.storage;
    let number = |key, configured: u64, network: u64| (key, configured, network);
    let unchangeable = [
        number("chunk_size", settings.chunk_size as u64, network.chunk_size.into()),
        number(
            "challenge_frequency_periods",
            settings.challenge_frequency_periods,
            network.challenge_frequency_periods,
        ),
        number("round_segments", settings.round_segments, network.round_segments),
    ];
    let changeable = [
        number(
            "replication_factor",
            settings.replication_factor.into(),
            network.replication_factor.into(),
        ),
        number(
            "reward_per_gb_per_period",
            settings.reward_per_gb_per_period,
            network.reward_per_gb_per_period,
        ),
    ];
    let changeable = changeable.into_iter().filter(|_| !has_registry);
    let differs = |(_, configured, network): &(&str, u64, u64)| configured != network;
    match unchangeable.into_iter().chain(changeable).find(differs) {
        None => Ok(()),
        Some((key, configured, network)) => Err(StorageError::Mismatch {
            key,
            configured: configured.to_string(),
            network: network.to_string(),
        }),
    }
}

/// The settings as the extension has them.
fn extension_settings(settings: &Settings, config: &DistributedStorageConfig) -> ExtensionSettings {
    let storage = &settings.distributed_storage;
    ExtensionSettings {
        path: config.path.clone(),
        allocated_storage_gb: config.allocated_storage_gb,
        retention_periods: config.retention_periods,
        replication_factor: usize::from(config.replication_factor),
        indexes: storage.indexes(),
        queue_blocks: config.queue_blocks,
        scrub_interval: storage.scrub_interval.to_duration(),
        repair_delay: storage.repair_delay.to_duration(),
        repair_patience: storage.repair_patience.to_duration(),
        remote_read_timeout: storage.remote_read_timeout.to_duration(),
        memory_bytes: MemoryShares::of(settings.memory.memory_limit_mb).repair,
        auto_claim_fees: storage.auto_claim.then_some(storage.auto_claim_fees),
        audits: AuditSettings {
            response_timeout: config.challenge_response_timeout.to_duration(),
            min_challenge_interval: config.min_challenge_interval.to_duration(),
            seed: rand::random(),
        },
    }
}

impl NodeStorage {
    /// Opens the store and starts archiving. `own` is this node, `operator` who signs for it if the settings name nobody, `host`
    /// the chain that has the registry.
    ///
    /// # Errors
    /// [`StorageError`]; nothing runs then.
    pub fn start(
        settings: &Settings,
        genesis: &Genesis,
        (own, operator): (NodeId, Option<Address>),
        host: Arc<dyn ContractHost>,
    ) -> Result<Self, StorageError> {
        let storage = &settings.distributed_storage;
        let config = storage.to_config()?;
        let operator = storage.operator()?.or(operator);
        let mut location = RegistryLocation::new(storage.registry_address()?, &storage.path);
        let nodes = node_set(storage, genesis, &host, &mut location)?;
        check_parameters(storage, genesis, nodes.address().is_some())?;
        let extension = Extension::start(ExtensionParts {
            own,
            operator,
            settings: extension_settings(settings, &config),
            parameters: genesis.archive_parameters(),
            nodes: Arc::clone(&nodes),
            host: Arc::clone(&host),
        })?;
        Ok(Self {
            extension,
            nodes,
            location,
            host,
            operator,
            settings: storage.clone(),
            client: None,
        })
    }

    /// The hook that consensus calls.
    pub fn archiver(&self) -> ArchiverHandle {
        self.extension.archiver()
    }

    /// Asks the extension.
    pub fn handle(&self) -> ExtensionHandle {
        self.extension.handle()
    }

    /// Who signs for this node.
    pub fn operator(&self) -> Option<Address> {
        self.operator
    }

    /// Hands the genesis blocks to the archive, unless they are there.
    pub fn archive_genesis(&self, blocks: &[SecureShareBlock]) {
        let record = |block: &SecureShareBlock| {
            let mut bytes = Vec::new();
            BlockSerializer::new().serialize(&block.content, &mut bytes).ok()?;
            BlockRecord::new(&bytes, &Vec::<Vec<u8>>::new()).ok()
        };
        match blocks.iter().map(record).collect::<Option<Vec<BlockRecord>>>() {
            Some(records) => self.extension.archive_genesis(records),
            None => warn!("genesis blocks have no form in which they are archived"),
        }
    }

    /// What the storage handler serves, and where it leaves its news.
    pub fn protocol_parts(&self) -> StorageParts {
        StorageParts {
            server: self.extension.server(),
            events: self.extension.events(),
            parameters: self.extension.handle().store().parameters().clone(),
        }
    }

    /// Blocks that this node holds, for peers that are behind.
    pub fn block_archive(&self) -> Arc<dyn BlockArchive> {
        Arc::new(LocalBlocks(Arc::clone(self.extension.handle().store())))
    }

    /// The network is there: starts repair and audits.
    ///
    /// # Errors
    /// [`StorageError::Extension`].
    pub fn start_network(&mut self, network: Arc<dyn StorageNetwork>) -> Result<(), StorageError> {
        Ok(self.extension.start_network(network)?)
    }

    /// Contracts run: starts the client of the registry. `on_nodes` is told the registered nodes when they were read.
    ///
    /// # Errors
    /// [`StorageError::Client`].
    pub fn start_contract(&mut self, on_nodes: OnNodes) -> Result<ClientHandle, StorageError> {
        let (manager, client) = self.start_client(on_nodes).map_err(StorageError::Client)?;
        self.client = Some(manager);
        Ok(client)
    }

    /// Starts this node's part in the rounds. `execution` knows recent final blocks.
    ///
    /// # Errors
    /// [`StorageError::Extension`]; everything else goes on.
    pub fn start_rounds(
        &mut self,
        client: ClientHandle,
        execution: Box<dyn ExecutionController>,
    ) -> Result<(), StorageError> {
        let final_blocks = Box::new(move |period| final_blocks(&*execution, period));
        Ok(self.extension.start_rounds(client, final_blocks, LEAD_PERIODS)?)
    }

    fn start_client(&self, on_nodes: OnNodes) -> std::io::Result<(ClientManager, ClientHandle)> {
        let settings = &self.settings;
        let admin = self.operator.as_ref().filter(|_| settings.deploy_registry);
        let first_segment = self.first_anchored_segment();
        let deployment = admin.map(|admin| registry_deployment(settings, admin, first_segment, self.location.clone()));
        let mut location = self.location.clone();
        let max_fees = settings.max_fees_per_day;
        start_contract_client(ClientParts {
            host: Arc::clone(&self.host),
            nodes: Arc::clone(&self.nodes),
            operator: self.operator,
            registry: Box::new(move || location.find()),
            on_nodes,
            max_fees_per_day: (!max_fees.is_zero()).then_some(max_fees),
            fees_path: Some(fees_path(settings)),
            deployment,
        })
    }

    /// The first segment that a new registry anchors: the first of the round that is open. What came before the registry would
    /// be decided by whoever registers first.
    fn first_anchored_segment(&self) -> u64 {
        let handle = self.extension.handle();
        let parameters = handle.store().parameters();
        let open_segment = self.host.current_period() / parameters.segment_periods;
        first_of_round(
            parameters.first_segment().max(open_segment),
            self.settings.round_segments,
        )
    }

    /// Ends everything that asks others: the network is about to go. Archiving goes on.
    pub fn stop_network(&mut self) {
        self.extension.stop_network();
        if let Some(mut client) = self.client.take() {
            client.stop();
        }
    }

    /// Ends all threads, and releases the store's directory.
    pub fn stop(&mut self) {
        self.stop_network();
        self.extension.stop();
    }
}

/// The first segment of the round that a segment is in.
fn first_of_round(segment: u64, round_segments: u64) -> u64 {
    segment - segment % round_segments.max(1)
}

/// Final blocks as the rounds need them.
fn final_blocks(execution: &dyn ExecutionController, period: u64) -> Option<Vec<Option<FinalContent>>> {
    let blocks = match execution.get_final_period(period) {
        Ok(blocks) => blocks?,
        Err(error) => {
            warn!(period, %error, "final blocks are not read");
            return None;
        }
    };
    let content = |(id, block): (BlockId, FinalBlock)| FinalContent {
        id,
        operations: block.operations,
    };
    Some(blocks.into_iter().map(|block| block.map(content)).collect())
}

/// The node set: that of the registry, if it is in final state already. One that comes later is followed then.
fn node_set(
    settings: &DistributedStorageSettings,
    genesis: &Genesis,
    host: &Arc<dyn ContractHost>,
    location: &mut RegistryLocation,
) -> Result<Arc<RegistryNodeSet>, StorageError> {
    let local = NetworkValues {
        chunk_size: settings.chunk_size as u64,
        segment_periods: settings.challenge_frequency_periods,
        round_segments: settings.round_segments,
        replication_factor: u64::from(settings.replication_factor),
    };
    let nodes = Arc::new(RegistryNodeSet::new(Arc::clone(host), genesis.node_set(), local));
    match location.find().map(|address| nodes.follow(address)) {
        None | Some(Ok(()) | Err(RegistryError::Absent(_))) => Ok(nodes),
        Some(Err(error @ RegistryError::Mismatch { .. })) => Err(StorageError::Mismatched(error)),
        Some(Err(error)) => Err(StorageError::Registry(error)),
    }
}

/// Blocks of this node's store, with their operations: those of open segments and of the one that was closed last, and those
/// whose chunks it holds.
struct LocalBlocks(Arc<SegmentStore>);

impl BlockArchive for LocalBlocks {
    fn block(&self, id: &BlockId) -> Option<(SecureShareBlock, Vec<SecureShareOperation>)> {
        let store = &self.0;
        let slot = store
            .find_open_block(id)
            .or_else(|| store.find_block(id).ok().flatten())?;
        let Ok(SlotRead::Block(record)) = store.slot(slot) else {
            return None;
        };
        let parameters = store.parameters();
        let verified = verify_block(&record, parameters.chain_id, parameters.thread_count);
        let verified = verified.ok().filter(|verified| verified.block().id == *id)?;
        Some((verified.block().clone(), verified.operations().to_vec()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::genesis::tests::genesis;

    #[test]
    fn a_value_that_differs_from_the_networks_is_named() {
        let genesis = genesis();
        let settings = DistributedStorageSettings {
            reward_per_gb_per_period: genesis.storage.reward_per_gb_per_period,
            ..DistributedStorageSettings::default()
        };
        check_parameters(&settings, &genesis, false).unwrap();
        type Change = fn(&mut DistributedStorageSettings);
        let differing: [(&str, Change); 4] = [
            ("round_segments", |of| of.round_segments = 5),
            ("chunk_size", |of| of.chunk_size = 1 << 16),
            ("challenge_frequency_periods", |of| of.challenge_frequency_periods = 4),
            ("replication_factor", |of| of.replication_factor = 2),
        ];
        for (key, change) in differing {
            let mut changed = settings.clone();
            change(&mut changed);
            let error = check_parameters(&changed, &genesis, false).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        let registrys = DistributedStorageSettings {
            replication_factor: 2,
            ..settings
        };
        check_parameters(&registrys, &genesis, true).unwrap();
    }

    #[test]
    fn a_new_registry_anchors_from_the_open_round_on() {
        assert_eq!(
            [0, 4, 5, 9, 10].map(|segment| first_of_round(segment, 5)),
            [0, 0, 5, 5, 10]
        );
        assert_eq!(first_of_round(7, 1), 7);
    }
}
