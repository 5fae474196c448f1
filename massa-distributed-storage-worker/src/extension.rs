//! The archive extension of a node, put together: store, archive, placement, repair, serving, reading, audits, rounds.
//!
//! The one door for the host: it starts the extension ([`Extension::start`]), gives consensus the hook, the storage handler what
//! it serves and where it leaves its news, then the network ([`Extension::start_network`]) and, where contracts run, the rounds
//! ([`Extension::start_rounds`]). Everything else is asked through [`ExtensionHandle`].
//!
//! ```text
//! hook ──► archive thread ──► store ◄── repair thread ──► network
//!                │ hooks                    │ board
//!                └─► placement ◄────────────┘──► rounds, audits, server, reader
//! ```

mod events;
mod handle;
mod hooks;
mod registry;
mod room;
pub mod settings;
mod shared;

pub use handle::ExtensionHandle;
pub use settings::{AuditSettings, ExtensionSettings};

use crate::audit::thread::{start_audits, AuditManager};
use crate::commands::DistributedStorageCommand;
use crate::repair::assigned::assigned_chunks;
use crate::repair::checkpoint;
use crate::repair::driver::RepairRegistry;
use crate::repair::thread::{repair_news, start_repair, RepairInbox, RepairManager, RepairNews};
use crate::rounds::thread::{start_rounds, FinalBlocks, RoundManager, RoundParts, StartRoundsError};
use crate::serve::to_peers::SegmentServer;
use crate::smart_contract::client::ClientHandle;
use crate::smart_contract::node_set::RegistryNodeSet;
use crate::storage_backend::database::OnDamage;
use crate::storage_backend::{SegmentStore, SegmentStoreOptions, SlotRead, StoreError};
use crate::worker::{start_distributed_storage_worker, ArchiverHandle, DistributedStorageManager, StartWorkerError};
use massa_distributed_storage_exports::config::ConfigError;
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::network::{Answer, ArchiveServer, StorageEvents, StorageNetwork};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use shared::Shared;
use std::io;
use std::sync::Arc;
use tracing::warn;

/// What the extension is made of.
pub struct ExtensionParts {
    /// This node.
    pub own: NodeId,
    /// Who signs for it in the registry, if anybody.
    pub operator: Option<Address>,
    /// What the operator set.
    pub settings: ExtensionSettings,
    /// What the network's archives have in common.
    pub parameters: ArchiveParameters,
    /// Who stores: from the registry, or the genesis file.
    pub nodes: Arc<RegistryNodeSet>,
    /// The chain that has the registry.
    pub host: Arc<dyn ContractHost>,
}

/// Why the extension does not start.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ExtensionError {
    /// A setting is out of its range.
    #[error(transparent)]
    Settings(#[from] ConfigError),
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Its open segments cannot be read back, or its thread does not start.
    #[error(transparent)]
    Worker(#[from] StartWorkerError),
    /// The part in the rounds does not start.
    #[error(transparent)]
    Rounds(#[from] StartRoundsError),
    /// The system starts no thread.
    #[error("thread {name}: {source}")]
    Thread {
        /// Which.
        name: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// The extension of a node that runs. Stops when it is dropped.
pub struct Extension {
    shared: Arc<Shared>,
    server: Arc<SegmentServer>,
    news: RepairNews,
    inbox: Option<RepairInbox>,
    archive: DistributedStorageManager,
    archiver: ArchiverHandle,
    repair: Option<RepairManager>,
    audits: Option<AuditManager>,
    rounds: Option<RoundManager>,
}

impl Extension {
    /// Opens the store, restores placement and starts the archive's thread.
    ///
    /// # Errors
    /// [`ExtensionError`]; nothing runs then.
    pub fn start(parts: ExtensionParts) -> Result<Self, ExtensionError> {
        parts.settings.check(parts.parameters.segment_periods)?;
        let settings = &parts.settings;
        let options = SegmentStoreOptions {
            capacity_bytes: Some(settings.allocated_bytes()),
            retention_periods: settings.retention_periods,
            indexes: settings.indexes,
            // What is lost with it is fetched from peers again.
            on_damage: OnDamage::SetAside,
            ..SegmentStoreOptions::new(&settings.path)
        };
        let store = Arc::new(SegmentStore::open_or_create(options, &parts.parameters)?);
        let shared = Arc::new(Shared::new(parts, store));
        let (nodes, factor) = shared.registry.in_force();
        shared.assigned.write().set_nodes(nodes, factor);
        checkpoint::restore(&shared.store, &shared.assigned);
        let (news, inbox) = repair_news();
        let server = Arc::new(server(&shared));
        let (archive, archiver) =
            start_distributed_storage_worker(Arc::clone(&shared.store), hooks::archive_options(&shared, &news))?;
        Ok(Self {
            shared,
            server,
            news,
            inbox: Some(inbox),
            archive,
            archiver,
            repair: None,
            audits: None,
            rounds: None,
        })
    }

    /// The hook that consensus calls.
    pub fn archiver(&self) -> ArchiverHandle {
        self.archiver.clone()
    }

    /// Hands the genesis blocks to the archive, unless they are there.
    pub fn archive_genesis(&self, records: Vec<BlockRecord>) {
        let first = Slot::new(self.shared.store.parameters().first_period, 0);
        let is_here = !matches!(self.shared.store.slot(first), Ok(SlotRead::Missing));
        if is_here || records.is_empty() {
            return;
        }
        let command = DistributedStorageCommand::Blocks { records, reply: None };
        if let Err(error) = self.archiver.send(command) {
            warn!(%error, "genesis blocks are not archived");
        }
    }

    /// What the storage handler serves.
    pub fn server(&self) -> Arc<dyn ArchiveServer> {
        Arc::clone(&self.server) as Arc<dyn ArchiveServer>
    }

    /// Where the storage handler leaves its news.
    pub fn events(&self) -> Arc<dyn StorageEvents> {
        Arc::new(events::PeerNews(self.news.clone()))
    }

    /// Asks the extension.
    pub fn handle(&self) -> ExtensionHandle {
        ExtensionHandle::new(Arc::clone(&self.shared), self.archiver.clone())
    }

    /// The network is there: starts repair and audits; reads ask other nodes from now on. Does nothing the second time.
    ///
    /// # Errors
    /// [`ExtensionError::Thread`]. That the history of audits cannot be read is a line in the log: nobody is audited then.
    pub fn start_network(&mut self, network: Arc<dyn StorageNetwork>) -> Result<(), ExtensionError> {
        let Some(inbox) = self.inbox.take() else {
            return Ok(());
        };
        self.shared.set_network(&network);
        let parts = self.shared.repair_parts(&network, &self.archiver, &self.server);
        let (repair, handle) = start_repair(parts, inbox).map_err(|source| ExtensionError::Thread {
            name: "storage-repair",
            source,
        })?;
        self.repair = Some(repair);
        self.shared.set_repair(handle);
        match start_audits(self.shared.audit_parts(&network, &self.archiver)) {
            Ok((audits, handle)) => {
                self.audits = Some(audits);
                self.shared.set_audits(handle);
            }
            Err(error) => warn!(error = &error as &dyn std::error::Error, "peers are not audited"),
        }
        Ok(())
    }

    /// Contracts run: starts this node's part in the rounds. `lead_periods` pass between final state and the execution of what
    /// is sent. Does nothing the second time.
    ///
    /// # Errors
    /// [`ExtensionError::Rounds`]; archiving, serving and repair go on without.
    pub fn start_rounds(
        &mut self,
        client: ClientHandle,
        final_blocks: FinalBlocks,
        lead_periods: u64,
    ) -> Result<(), ExtensionError> {
        if self.rounds.is_some() {
            return Ok(());
        }
        let shared = &self.shared;
        let for_network = Arc::clone(shared);
        let (rounds, handle) = start_rounds(RoundParts {
            store: Arc::clone(&shared.store),
            assigned: Arc::clone(&shared.assigned),
            client,
            network: Box::new(move || for_network.network()),
            final_blocks,
            auto_claim_fees: shared.settings.auto_claim_fees,
            lead_periods,
            board: Arc::clone(&shared.board),
        })?;
        self.rounds = Some(rounds);
        self.shared.set_rounds(handle);
        Ok(())
    }

    /// The network is about to go: ends what asks others, the rounds included. Archiving goes on.
    pub fn stop_network(&mut self) {
        if let Some(mut rounds) = self.rounds.take() {
            rounds.stop();
        }
        if let Some(mut audits) = self.audits.take() {
            audits.stop();
        }
        if let Some(mut repair) = self.repair.take() {
            repair.stop();
        }
    }

    /// Ends all threads, and releases the store's directory.
    pub fn stop(&mut self) {
        self.stop_network();
        self.archive.stop();
        // The network and who serves it know each other: without this neither would ever go.
        self.shared.forget_parts();
    }
}

impl Drop for Extension {
    fn drop(&mut self) {
        self.stop();
    }
}

fn server(shared: &Arc<Shared>) -> SegmentServer {
    let server = SegmentServer::new(
        Arc::clone(&shared.store),
        shared.settings.allocated_storage_gb,
        assigned_chunks(&shared.assigned),
    );
    // The rounds come later, and whoever has the server does not keep them.
    let of_rounds = Arc::downgrade(shared);
    server
        .proving_with(crate::audit::challenge::prove_as(shared.own))
        .claiming_with(Arc::new(move |round, position| {
            let rounds = of_rounds.upgrade().and_then(|shared| shared.rounds());
            match rounds.map(|rounds| rounds.sum_path(round, position)) {
                None | Some(Answer::NotYet) => Answer::NotYet,
                Some(Answer::Found(path)) => Answer::Found(path.to_bytes()),
                Some(Answer::NotHeld | Answer::Pruned) => Answer::NotHeld,
            }
        }))
}
