//! What the parts of the extension have in common, and the parts that came later: network, repair, audits, rounds.

use super::registry::{BoardRegistry, PlacedHolders};
use super::{ExtensionParts, ExtensionSettings};
use crate::audit::plan::AuditLimits;
use crate::audit::thread::{AuditHandle, AuditParts};
use crate::board::SegmentBoard;
use crate::repair::assigned::{Assigned, SharedAssigned};
use crate::repair::driver::{RepairOptions, RepairRegistry};
use crate::repair::handover_segment::{HandOverLimits, KeepClaimed};
use crate::repair::memory::FetchLimits;
use crate::repair::scrub::ScrubLimits;
use crate::repair::thread::{RepairHandle, RepairThreadParts};
use crate::replication::PlacementRules;
use crate::rounds::thread::RoundHandle;
use crate::serve::lookup::Lookup;
use crate::serve::to_peers::SegmentServer;
use crate::serve::to_readers::{ArchiveReader, OtherNodes};
use crate::storage_backend::SegmentStore;
use crate::worker::ArchiverHandle;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use parking_lot::RwLock;
use std::sync::Arc;

/// When nothing is left to hand over, that is looked at again after so many times the patience: ten minutes, as it usually is. What
/// this node kept of a segment that closed meanwhile, until the holders promised, waits as long.
const HAND_OVER_REST: u32 = 30;

/// Parts that are there once they were started. None holds the lock while it works.
struct Started {
    network: Option<Arc<dyn StorageNetwork>>,
    reader: (Arc<ArchiveReader>, Arc<Lookup>),
    repair: Option<RepairHandle>,
    audits: Option<AuditHandle>,
    rounds: Option<RoundHandle>,
}

impl Started {
    fn nothing(reader: (Arc<ArchiveReader>, Arc<Lookup>)) -> Self {
        Self {
            network: None,
            reader,
            repair: None,
            audits: None,
            rounds: None,
        }
    }
}

/// See the module.
pub(super) struct Shared {
    pub(super) own: NodeId,
    pub(super) settings: ExtensionSettings,
    pub(super) store: Arc<SegmentStore>,
    pub(super) assigned: SharedAssigned,
    pub(super) board: Arc<SegmentBoard>,
    pub(super) registry: Arc<BoardRegistry>,
    started: RwLock<Started>,
}

impl Shared {
    pub(super) fn new(parts: ExtensionParts, store: Arc<SegmentStore>) -> Self {
        let parameters = store.parameters();
        let rules = PlacementRules::new(parameters.chunk_size, parameters.segment_periods);
        let assigned = Assigned::new(rules, parts.own, parts.operator).shared();
        let board = Arc::new(SegmentBoard::default());
        let factor = parts.settings.replication_factor;
        let registry = BoardRegistry::new(parts.nodes, Arc::clone(&board), Arc::clone(&store), factor);
        let reader = reader(&store, None, &parts.settings);
        Self {
            own: parts.own,
            settings: parts.settings,
            store,
            assigned,
            board,
            registry: Arc::new(registry),
            started: RwLock::new(Started::nothing(reader)),
        }
    }

    pub(super) fn set_network(&self, network: &Arc<dyn StorageNetwork>) {
        let board = Arc::clone(&self.board);
        let others = OtherNodes {
            network: Arc::clone(network),
            own: self.own,
            placement: Arc::new(PlacedHolders(Arc::clone(&self.assigned))),
            roots: Arc::new(move |segment| board.accepted().get(&segment).copied()),
        };
        let reader = reader(&self.store, Some(others), &self.settings);
        let mut started = self.started.write();
        started.network = Some(Arc::clone(network));
        started.reader = reader;
    }

    pub(super) fn set_repair(&self, repair: RepairHandle) {
        self.started.write().repair = Some(repair);
    }

    pub(super) fn set_audits(&self, audits: AuditHandle) {
        self.started.write().audits = Some(audits);
    }

    pub(super) fn set_rounds(&self, rounds: RoundHandle) {
        self.started.write().rounds = Some(rounds);
    }

    /// Lets go of all parts: reads go to the own store only, and that is closed.
    pub(super) fn forget_parts(&self) {
        let reader = reader(&self.store, None, &self.settings);
        let forgotten = std::mem::replace(&mut *self.started.write(), Started::nothing(reader));
        // Not under the lock: whoever goes last ends its threads.
        drop(forgotten);
    }

    pub(super) fn network(&self) -> Option<Arc<dyn StorageNetwork>> {
        self.started.read().network.clone()
    }

    pub(super) fn reader(&self) -> (Arc<ArchiveReader>, Arc<Lookup>) {
        self.started.read().reader.clone()
    }

    pub(super) fn repair(&self) -> Option<RepairHandle> {
        self.started.read().repair.clone()
    }

    pub(super) fn audits(&self) -> Option<AuditHandle> {
        self.started.read().audits.clone()
    }

    pub(super) fn rounds(&self) -> Option<RoundHandle> {
        self.started.read().rounds.clone()
    }

    /// Whether a chunk must be kept although it is not assigned. While it is not known what is claimed, everything is kept;
    /// without a registry nothing is claimed.
    pub(super) fn is_claimed(&self, position: ChunkPosition) -> bool {
        match self.rounds() {
            Some(rounds) => rounds.is_claimed(position),
            None => self.registry.has_registry(),
        }
    }

    fn keep_claimed(self: &Arc<Self>) -> KeepClaimed {
        let shared = Arc::clone(self);
        Arc::new(move |position| shared.is_claimed(position))
    }

    pub(super) fn repair_parts(
        self: &Arc<Self>,
        network: &Arc<dyn StorageNetwork>,
        archiver: &ArchiverHandle,
        server: &Arc<SegmentServer>,
    ) -> RepairThreadParts {
        let settings = &self.settings;
        let patience = settings.repair_patience;
        let mut fetch = FetchLimits::default().with_memory(settings.memory_bytes);
        fetch.periods.delay = settings.repair_delay;
        fetch.periods.patience = patience;
        RepairThreadParts {
            own: self.own,
            store: Arc::clone(&self.store),
            assigned: Arc::clone(&self.assigned),
            archiver: archiver.clone(),
            network: Arc::clone(network),
            registry: Arc::clone(&self.registry) as Arc<dyn RepairRegistry>,
            server: Arc::clone(server),
            board: Arc::clone(&self.board),
            options: RepairOptions {
                fetch,
                hand_over: HandOverLimits {
                    patience,
                    rest: patience.saturating_mul(HAND_OVER_REST),
                },
                scrub: ScrubLimits {
                    pause_max: settings.scrub_interval,
                    ..ScrubLimits::default()
                },
                keep: self.keep_claimed(),
            },
        }
    }

    pub(super) fn audit_parts(
        self: &Arc<Self>,
        network: &Arc<dyn StorageNetwork>,
        archiver: &ArchiverHandle,
    ) -> AuditParts {
        let audits = &self.settings.audits;
        let archiver = archiver.clone();
        AuditParts {
            own: self.own,
            store: Arc::clone(&self.store),
            assigned: Arc::clone(&self.assigned),
            network: Arc::clone(network),
            limits: AuditLimits::new(
                self.store.parameters().segment_periods,
                audits.response_timeout,
                audits.min_challenge_interval,
            ),
            newest: Arc::new(move || archiver.with_status(|status| status.newest_joined)),
            seed: audits.seed,
        }
    }
}

fn reader(
    store: &Arc<SegmentStore>,
    others: Option<OtherNodes>,
    settings: &ExtensionSettings,
) -> (Arc<ArchiveReader>, Arc<Lookup>) {
    let reader = ArchiveReader::new(Arc::clone(store), others, settings.remote_read_timeout);
    let reader = Arc::new(reader);
    let lookup = Arc::new(Lookup::new(Arc::clone(&reader)));
    (reader, lookup)
}
