//! What the API asks of the extension.

use super::shared::Shared;
use super::ExtensionSettings;
use crate::archive::status::ArchiveStatus;
use crate::audit::thread::AuditHandle;
use crate::board::SegmentBoard;
use crate::repair::assigned::SharedAssigned;
use crate::repair::driver::RepairStatus;
use crate::rounds::thread::RoundHandle;
use crate::serve::lookup::Lookup;
use crate::serve::to_readers::ArchiveReader;
use crate::smart_contract::node_set::RegistryNodeSet;
use crate::storage_backend::SegmentStore;
use crate::worker::ArchiverHandle;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_models::node::NodeId;
use std::sync::Arc;

/// Asks the extension. After it stopped, the store reads nothing any more and its parts are gone.
#[derive(Clone)]
pub struct ExtensionHandle {
    shared: Arc<Shared>,
    archiver: ArchiverHandle,
}

impl ExtensionHandle {
    pub(super) fn new(shared: Arc<Shared>, archiver: ArchiverHandle) -> Self {
        Self { shared, archiver }
    }

    /// This node.
    pub fn own(&self) -> NodeId {
        self.shared.own
    }

    /// What the operator set.
    pub fn settings(&self) -> &ExtensionSettings {
        &self.shared.settings
    }

    /// The store, for reading.
    pub fn store(&self) -> &Arc<SegmentStore> {
        &self.shared.store
    }

    /// Who holds what.
    pub fn assigned(&self) -> &SharedAssigned {
        &self.shared.assigned
    }

    /// Who stores: from the registry, or the genesis file.
    pub fn nodes(&self) -> &Arc<RegistryNodeSet> {
        self.shared.registry.nodes()
    }

    /// What rounds and repair tell each other.
    pub fn board(&self) -> &Arc<SegmentBoard> {
        &self.shared.board
    }

    /// The archive's thread.
    pub fn archiver(&self) -> &ArchiverHandle {
        &self.archiver
    }

    /// What the archive has and lacks, as of a moment ago.
    pub fn archive_status(&self) -> ArchiveStatus {
        self.archiver.status()
    }

    /// The network, once it is there.
    pub fn network(&self) -> Option<Arc<dyn StorageNetwork>> {
        self.shared.network()
    }

    /// Reads archived blocks: from other nodes too, once the network is there.
    pub fn reader(&self) -> Arc<ArchiveReader> {
        self.shared.reader().0
    }

    /// Looks up ids, as [`ExtensionHandle::reader`] reads.
    pub fn lookup(&self) -> Arc<Lookup> {
        self.shared.reader().1
    }

    /// What repair is doing; nothing before the network is there.
    pub fn repair_status(&self) -> RepairStatus {
        let repair = self.shared.repair();
        repair.map(|repair| repair.status()).unwrap_or_default()
    }

    /// This node's part in the rounds, once contracts run.
    pub fn rounds(&self) -> Option<RoundHandle> {
        self.shared.rounds()
    }

    /// Audits of peers, once the network is there, if their history can be read.
    pub fn audits(&self) -> Option<AuditHandle> {
        self.shared.audits()
    }
}
