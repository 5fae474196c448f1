//! The archive extension, put together: store, worker, placement, repair, serving, reading.

use crate::genesis::Genesis;
use crate::settings::{DistributedStorageSettings, Settings};
use massa_distributed_storage_exports::network::{ArchiveServer, StorageEvents, StorageNetwork};
use massa_distributed_storage_exports::registry::FixedRegistry;
use massa_distributed_storage_worker::assignments::Assignments;
use massa_distributed_storage_worker::ingest::KeepChunks;
use massa_distributed_storage_worker::reader::ArchiveReader;
use massa_distributed_storage_worker::repair::RepairLimits;
use massa_distributed_storage_worker::repair_worker::{
    repair_news, start_repair, RepairInbox, RepairManager, RepairNews, RepairParts,
};
use massa_distributed_storage_worker::server::StoreServer;
use massa_distributed_storage_worker::storage_backend::read::Check;
use massa_distributed_storage_worker::storage_backend::ArchivedPeriod;
use massa_distributed_storage_worker::worker::AfterArchive;
use massa_distributed_storage_worker::{
    start_distributed_storage_worker, ArchiverHandle, DistributedStorageCommand, DistributedStorageManager, Store,
    StoreOptions, WorkerOptions,
};
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::SecureShareOperation;
use massa_protocol_exports::BlockArchive;
use std::sync::Arc;
use tracing::info;

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
    news: RepairNews,
    inbox: Option<RepairInbox>,
    settings: DistributedStorageSettings,
    memory_limit_mb: u64,
}

/// Compares the network's parameters with the local ones.
fn check_parameters(settings: &DistributedStorageSettings, genesis: &Genesis) -> Result<(), StorageError> {
    let network = &genesis.storage;
    let pairs = [
        (
            "chunk_size",
            settings.chunk_size.to_string(),
            network.chunk_size.to_string(),
        ),
        (
            "replication_factor",
            settings.replication_factor.to_string(),
            network.replication_factor.to_string(),
        ),
        (
            "challenge_frequency_periods",
            settings.challenge_frequency_periods.to_string(),
            network.challenge_frequency_periods.to_string(),
        ),
        (
            "reward_per_gb_per_period",
            settings.reward_per_gb_per_period.to_string(),
            network.reward_per_gb_per_period.to_string(),
        ),
    ];
    match pairs.into_iter().find(|(_, configured, network)| configured != network) {
        None => Ok(()),
        Some((key, configured, network)) => Err(StorageError::Mismatch {
            key,
            configured,
            network,
        }),
    }
}

impl StorageExtension {
    /// Opens the store and starts the worker. `own` is this node.
    ///
    /// # Errors
    /// [`StorageError`].
    pub fn start(settings: &Settings, genesis: &Genesis, own: NodeId) -> Result<Self, StorageError> {
        let storage = settings.distributed_storage.clone();
        let config = storage.to_config()?;
        check_parameters(&storage, genesis)?;
        let options = StoreOptions {
            capacity_bytes: Some(config.allocated_bytes()),
            retention_periods: config.retention_periods,
            operation_index: config.operation_index,
            ..StoreOptions::new(&config.path)
        };
        let parameters = genesis.archive_parameters();
        let store = Arc::new(Store::open(options, parameters.clone())?);
        let registry = Arc::new(FixedRegistry::new(genesis.node_set()));
        let assignments = Arc::new(Assignments::new(
            own,
            registry,
            usize::from(genesis.storage.replication_factor),
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
        Arc::new(StoreServer::new(
            Arc::clone(&self.store),
            self.settings.allocated_storage_gb,
            Arc::new(move |period, chunks: &[_]| assignments.mine(period, chunks)),
        ))
    }

    /// Where the storage handler leaves its news.
    pub fn events(&self) -> Arc<dyn StorageEvents> {
        Arc::new(self.news.clone())
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
        };
        Some(start_repair(parts, inbox))
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
        assignments.catch_up(&store);
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
