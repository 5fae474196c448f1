//! The archive extension, put together: store, worker, placement, repair, serving, reading.

use crate::contract::{claims_path, earnings_path, fees_path, registry_deployment, RegistryLocation};
use crate::genesis::Genesis;
use crate::settings::{DistributedStorageSettings, Settings};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::network::{ArchiveServer, StorageEvents, StorageNetwork};
use massa_distributed_storage_exports::registry::StorageRegistry;
use massa_distributed_storage_exports::ChunkIndex;
use massa_distributed_storage_worker::assignments::{Assignments, CATCH_UP_SLICE};
use massa_distributed_storage_worker::audit_worker::WindowOfAnswers;
use massa_distributed_storage_worker::handover::KeepClaimed;
use massa_distributed_storage_worker::ingest::KeepChunks;
use massa_distributed_storage_worker::lost::SegmentBoard;
use massa_distributed_storage_worker::reader::ArchiveReader;
use massa_distributed_storage_worker::repair::RepairLimits;
use massa_distributed_storage_worker::repair_worker::{
    repair_news, start_repair, RepairInbox, RepairManager, RepairNews, RepairParts,
};
use massa_distributed_storage_worker::round_worker::events::PeerNews;
use massa_distributed_storage_worker::round_worker::watch::FinalContent;
use massa_distributed_storage_worker::round_worker::{start_rounds, RepairsOut, RoundHandle, RoundManager, RoundParts};
use massa_distributed_storage_worker::server::StoreServer;
use massa_distributed_storage_worker::smart_contract::client::{
    start_contract_client, ClientHandle, ClientManager, ClientParts, OnNodes,
};
use massa_distributed_storage_worker::smart_contract::node_set::{NetworkValues, RegistryError, RegistryNodeSet};
use massa_distributed_storage_worker::storage_backend::read::Check;
use massa_distributed_storage_worker::storage_backend::ArchivedPeriod;
use massa_distributed_storage_worker::worker::AfterArchive;
use massa_distributed_storage_worker::{
    start_distributed_storage_worker, ArchiverHandle, DistributedStorageCommand, DistributedStorageManager, Store,
    StoreOptions, WorkerOptions,
};
use massa_execution_exports::{ExecutionController, FinalBlock};
use massa_models::address::Address;
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::SecureShareOperation;
use massa_protocol_exports::BlockArchive;
use massa_time::MassaTime;
use std::sync::{Arc, OnceLock};
use tracing::{info, warn};

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
    #[error("distributed_storage: {0}")]
    Registry(RegistryError),
    /// The settings are out of range.
    #[error(transparent)]
    Settings(#[from] crate::settings::SettingsError),
    /// The store did not open.
    #[error(transparent)]
    Store(#[from] massa_distributed_storage_worker::StoreError),
    /// The store's open periods could not be read back.
    #[error(transparent)]
    Ingest(#[from] massa_distributed_storage_worker::IngestError),
}

/// The extension before the network is there.
pub struct StorageExtension {
    /// Stops the worker.
    pub manager: DistributedStorageManager,
    /// The hook.
    pub archiver: ArchiverHandle,
    /// The store.
    pub store: Arc<Store>,
    /// Who holds what.
    pub assignments: Arc<Assignments>,
    /// The node set, from the registry or the genesis file.
    pub nodes: Arc<RegistryNodeSet>,
    location: RegistryLocation,
    host: Arc<dyn ContractHost>,
    /// This node's part in the rounds, once it is started.
    rounds: Arc<OnceLock<RoundHandle>>,
    /// Where the rounds and repair tell each other of segments.
    segments: Arc<SegmentBoard>,
    news: RepairNews,
    inbox: Option<RepairInbox>,
    settings: DistributedStorageSettings,
    memory_limit_mb: u64,
}

/// Compares the network's parameters with the local ones. What a registry may change is compared with the registry, where
/// there is one.
fn check_parameters(
    settings: &DistributedStorageSettings,
    genesis: &Genesis,
    has_registry: bool,
) -> Result<(), StorageError> {
    let network = &genesis.storage;
    let unchangeable = [
        (
            "chunk_size",
            settings.chunk_size.to_string(),
            network.chunk_size.to_string(),
        ),
        (
            "challenge_frequency_periods",
            settings.challenge_frequency_periods.to_string(),
            network.challenge_frequency_periods.to_string(),
        ),
    ];
    let changeable = [
        (
            "replication_factor",
            settings.replication_factor.to_string(),
            network.replication_factor.to_string(),
        ),
        (
            "reward_per_gb_per_period",
            settings.reward_per_gb_per_period.to_string(),
            network.reward_per_gb_per_period.to_string(),
        ),
    ];
    let changeable = changeable.into_iter().filter(|_| !has_registry);
    match unchangeable
        .into_iter()
        .chain(changeable)
        .find(|(_, configured, network)| configured != network)
    {
        None => Ok(()),
        Some((key, configured, network)) => Err(StorageError::Mismatch {
            key,
            configured,
            network,
        }),
    }
}

impl StorageExtension {
    /// Opens the store and starts the worker. `own` is this node; `host` the chain that has the registry.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn start(
        settings: &Settings,
        genesis: &Genesis,
        own: NodeId,
        host: Arc<dyn ContractHost>,
    ) -> Result<Self, StorageError> {
        let storage = settings.distributed_storage.clone();
        let config = storage.to_config()?;
        let mut location = RegistryLocation::new(storage.registry_address()?, &storage.path);
        let nodes = node_set(&storage, genesis, &host, &mut location)?;
        check_parameters(&storage, genesis, nodes.address().is_some())?;
        let options = StoreOptions {
            capacity_bytes: Some(config.allocated_bytes()),
            retention_periods: config.retention_periods,
            operation_index: config.operation_index,
            ..StoreOptions::new(&config.path)
        };
        let parameters = genesis.archive_parameters();
        let store = Arc::new(Store::open(options, parameters.clone())?);
        let assignments = Arc::new(Assignments::new(
            own,
            Arc::clone(&nodes) as Arc<dyn StorageRegistry>,
            usize::from(storage.replication_factor),
            parameters.segment_periods,
            parameters.first_period,
        ));
        assignments.catch_up(&store);
        let (news, inbox) = repair_news();
        let worker_options = WorkerOptions {
            queue_blocks: config.queue_blocks,
            keep: keep_assigned(&assignments),
            after_archive: after_archive(&assignments, &store, &news),
        };
        let (manager, archiver) = start_distributed_storage_worker(Arc::clone(&store), worker_options)?;
        Ok(Self {
            manager,
            archiver,
            store,
            assignments,
            nodes,
            location,
            host,
            rounds: Arc::default(),
            segments: Arc::default(),
            news,
            inbox: Some(inbox),
            settings: storage,
            memory_limit_mb: settings.memory.memory_limit_mb,
        })
    }

    /// Hands the genesis blocks to the worker, unless they are archived.
    pub fn archive_genesis(&self, blocks: &[SecureShareBlock]) {
        if self.store.floor() > 0 || matches!(self.store.manifest(0), Ok(Some(_))) {
            return;
        }
        let command = DistributedStorageCommand::ArchivePeriod {
            period: 0,
            blocks: blocks.to_vec(),
            operations: Vec::new(),
        };
        // A worker that has stopped says so itself.
        let _ = self.archiver.send(command);
    }

    /// What the storage handler serves.
    pub fn server(&self) -> Arc<dyn ArchiveServer> {
        let assignments = Arc::clone(&self.assignments);
        let server = StoreServer::new(
            Arc::clone(&self.store),
            self.settings.allocated_storage_gb,
            Arc::new(move |period, chunks: &[_]| assignments.mine(period, chunks)),
        );
        let rounds = Arc::clone(&self.rounds);
        let may_serve = move |to: &NodeId, period: u64, chunk: ChunkIndex, _: MassaTime| {
            rounds.get().map_or(true, |rounds| rounds.may_serve(to, period, chunk))
        };
        let server = server.serving_if(Arc::new(may_serve));
        Arc::new(server.answering_as(self.assignments.own()))
    }

    /// Where the storage handler leaves its news.
    pub fn events(&self) -> Arc<dyn StorageEvents> {
        Arc::new(PeerNews::new(self.news.clone(), Arc::clone(&self.rounds)))
    }

    /// Tells whether answers of a round are being taken: audits wait then.
    pub fn window_of_answers(&self) -> WindowOfAnswers {
        let rounds = Arc::clone(&self.rounds);
        Arc::new(move || rounds.get()?.answer_window())
    }

    /// Archived and pending blocks that this node holds, for peers that are behind.
    pub fn block_archive(&self) -> Arc<dyn BlockArchive> {
        Arc::new(LocalBlocks(Arc::clone(&self.store)))
    }

    /// A reader of the archive.
    pub fn reader(&self, network: &Arc<dyn StorageNetwork>) -> Arc<ArchiveReader> {
        Arc::new(ArchiveReader::new(
            Arc::clone(&self.store),
            Arc::clone(&self.assignments),
            Some(Arc::clone(network)),
            self.settings.remote_read_timeout.to_duration(),
        ))
    }

    /// Starts the client of the registry. `operator` signs; `on_nodes` is told the registered nodes when they were read.
    ///
    /// # Errors
    /// The system's, if there is no thread.
    pub fn start_client(
        &self,
        operator: Option<Address>,
        on_nodes: OnNodes,
    ) -> std::io::Result<(ClientManager, ClientHandle)> {
        let settings = &self.settings;
        // What came before the registry would be decided by whoever registers first.
        let parameters = self.store.parameters();
        let open_segment = self.host.current_period() / parameters.segment_periods;
        let first_segment = parameters.first_segment().max(open_segment);
        let admin = operator.as_ref().filter(|_| settings.deploy_registry);
        let deployment = admin.map(|admin| registry_deployment(settings, admin, first_segment, self.location.clone()));
        let mut location = self.location.clone();
        let max_fees = settings.max_fees_per_day;
        start_contract_client(ClientParts {
            host: Arc::clone(&self.host),
            nodes: Arc::clone(&self.nodes),
            operator,
            registry: Box::new(move || location.find()),
            on_nodes,
            max_fees_per_day: (!max_fees.is_zero()).then_some(max_fees),
            fees_path: Some(fees_path(settings)),
            deployment,
        })
    }

    /// Starts this node's part in the rounds. `execution` knows recent final blocks; `repairs` announces what is lost.
    ///
    /// # Errors
    /// The system's: no thread, or the claims that were sent cannot be read.
    pub fn start_rounds(
        &self,
        client: ClientHandle,
        execution: Box<dyn ExecutionController>,
        repairs: Option<RepairsOut>,
    ) -> std::io::Result<(RoundManager, RoundHandle)> {
        let (manager, handle) = start_rounds(RoundParts {
            store: Arc::clone(&self.store),
            assignments: Arc::clone(&self.assignments),
            client,
            final_blocks: Box::new(move |period| final_blocks(&*execution, period)),
            auto_claim: self.settings.auto_claim,
            lead_periods: LEAD_PERIODS,
            claims_path: claims_path(&self.settings),
            earnings_path: earnings_path(&self.settings),
            segments: Arc::clone(&self.segments),
            repairs,
        })?;
        // It is started once.
        let _ = self.rounds.set(handle.clone());
        Ok((manager, handle))
    }

    /// Tells what hand-over must not drop. While it is not known what is claimed, everything is kept.
    fn keep_claimed(&self) -> KeepClaimed {
        let rounds = Arc::clone(&self.rounds);
        Arc::new(move |period, chunk| rounds.get().map_or(true, |rounds| rounds.is_claimed(period, chunk)))
    }

    /// Starts repair.
    pub fn start_repair(&mut self, network: &Arc<dyn StorageNetwork>) -> Option<RepairManager> {
        let inbox = self.inbox.take()?;
        let limits = RepairLimits {
            delay: self.settings.repair_delay.to_duration(),
            patience: self.settings.repair_patience.to_duration(),
            // A sixteenth: the worker holds as much of open periods, and the database twice that.
            bytes: (self.memory_limit_mb << 20) / 16,
            ..RepairLimits::default()
        };
        let parts = RepairParts {
            store: Arc::clone(&self.store),
            worker: self.archiver.clone(),
            assignments: Arc::clone(&self.assignments),
            network: Arc::clone(network),
            limits,
            scrub_interval: self.settings.scrub_interval.to_duration(),
            keep: self.keep_claimed(),
            segments: Arc::clone(&self.segments),
        };
        Some(start_repair(parts, inbox))
    }
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
        replication_factor: u64::from(settings.replication_factor),
    };
    let nodes = Arc::new(RegistryNodeSet::new(Arc::clone(host), genesis.node_set(), local));
    match location.find().map(|address| nodes.follow(address)) {
        None | Some(Ok(()) | Err(RegistryError::Absent(_))) => Ok(nodes),
        Some(Err(error)) => Err(StorageError::Registry(error)),
    }
}

/// Keeps the chunks that are assigned to this node.
fn keep_assigned(assignments: &Arc<Assignments>) -> KeepChunks {
    let assignments = Arc::clone(assignments);
    Box::new(move |period, chunks| assignments.mine(period, chunks))
}

/// After each archived period: placement, log line, announcement.
fn after_archive(assignments: &Arc<Assignments>, store: &Arc<Store>, news: &RepairNews) -> AfterArchive {
    let (assignments, store, news) = (Arc::clone(assignments), Arc::clone(store), news.clone());
    Box::new(move |archived: &ArchivedPeriod| {
        // What does not fit is done by repair: this thread has blocks waiting.
        assignments.catch_up_for(&store, CATCH_UP_SLICE);
        if let Ok(Some(manifest)) = store.manifest(archived.period) {
            if let Some(line) = assignments.log_line(archived.period, &manifest.chunks) {
                info!("{line}");
            }
        }
        news.archived(archived.period);
    })
}

/// Blocks of this node's store, with their operations.
struct LocalBlocks(Arc<Store>);

impl BlockArchive for LocalBlocks {
    fn block(&self, id: &BlockId) -> Option<(SecureShareBlock, Vec<SecureShareOperation>)> {
        let slot = self.0.find_block(id).ok()?;
        let record = self.0.place(slot, Check::Merkle).ok()?.into_block()?;
        let parameters = self.0.parameters();
        let verified = massa_distributed_storage_exports::verification::verify_block(
            &record,
            parameters.chain_id,
            parameters.thread_count,
        );
        let verified = verified.ok().filter(|verified| verified.block().id == *id)?;
        Some((verified.block().clone(), verified.operations().to_vec()))
    }
}
