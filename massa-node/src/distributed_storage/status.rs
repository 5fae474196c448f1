//! What a node archives, holds and misses, for its operator. Made from totals that are kept, never by walking the archive.

use super::api::NodeStorageApi;
use super::errors::store_error;
use super::nodes::registered;
use massa_api_exports::distributed_storage::{
    BlockedAt, IndexInfo, IndexKept, MissingSlots, Progress, RefusedOperation, RegistryInfo, RepairProgress,
    StorageApiError, StoragePeerCounts, StorageStatus,
};
use massa_distributed_storage_exports::network::StoragePeer;
use massa_distributed_storage_exports::registry::StorageRegistry;
use massa_distributed_storage_worker::archive::status::ArchiveStatus;
use massa_distributed_storage_worker::repair::driver::RepairStatus;
use massa_distributed_storage_worker::repair::progress;
use massa_distributed_storage_worker::storage_backend::{Counters, IndexScope, IndexScopes};
use std::sync::atomic::Ordering;

/// Damaged files that are listed.
const DAMAGES_SHOWN: usize = 16;

/// What the answer is made of, read once.
struct Seen {
    archive: ArchiveStatus,
    repair: RepairStatus,
    counters: Counters,
    disk_bytes: u64,
    peers: StoragePeerCounts,
    /// Chunks that are assigned to this node, and their bytes.
    share: (u64, u64),
    factor_in_force: u64,
    /// Whether this node counts.
    is_storage_node: bool,
    synced: bool,
}

impl NodeStorageApi {
    fn see(&self) -> Result<Seen, StorageApiError> {
        let (extension, store) = (&self.extension, self.store());
        let disk_bytes = store.database().disk_usage();
        let storage_peers = extension.network().map_or_else(Vec::new, |network| network.peers());
        let assigned = extension.assigned().read();
        let (chunks, bytes) = assigned.placement().own_share();
        let in_force = assigned.placement().nodes();
        Ok(Seen {
            archive: extension.archive_status(),
            repair: extension.repair_status(),
            counters: store.counters().map_err(store_error)?,
            disk_bytes: disk_bytes.map_err(|error| store_error(error.into()))?,
            peers: self.peer_counts(&storage_peers),
            share: (chunks as u64, bytes),
            factor_in_force: in_force.replication_factor as u64,
            is_storage_node: in_force.own.is_some(),
            synced: self.synced.load(Ordering::Acquire),
        })
    }

    pub(super) fn storage_status(&self) -> Result<StorageStatus, StorageApiError> {
        let seen = self.see()?;
        let (store, settings) = (self.store(), &self.settings);
        let (parameters, counters, archive) = (store.parameters(), &seen.counters, &seen.archive);
        let finals = self.consensus.get_latest_final_blocks_periods();
        let rounds = self
            .extension
            .rounds()
            .map(|rounds| rounds.status())
            .unwrap_or_default();
        let damages = archive.damages.iter().take(DAMAGES_SHOWN).map(ToString::to_string);
        let floor = store.floor();
        Ok(StorageStatus {
            enabled: true,
            running: true,
            problem: None,
            operator_address: self.operator,
            first_period: parameters.first_period,
            last_archived_period: archive.newest_joined,
            archived_periods: self.archived_periods(counters),
            lost_periods: counters.lost_periods,
            floor: if floor == 0 { 0 } else { parameters.segment_start(floor) },
            retention_periods: settings.retention_periods,
            segments_closed: counters.segments,
            first_open_segment: archive.first_open_segment,
            is_closing: archive.is_closing,
            segments_anchored: rounds.segments_accepted,
            differing_segment: rounds.differing_segment,
            chunks_total: counters.chunks,
            chunks_held: counters.chunks_held,
            chunks_backup: counters.chunks_passing,
            chunks_assigned: seen.share.0,
            chunks_missing: seen.chunks_missing(),
            chunks_extra: seen.repair.to_hand_over as u64,
            bytes_total: counters.body_bytes,
            bytes_held: counters.bytes_held,
            bytes_stored: counters.bytes_stored,
            bytes_assigned: seen.share.1,
            disk_bytes: seen.disk_bytes,
            allocated_bytes: settings.allocated_storage_gb << 30,
            bytes_held_back: archive.held_back_bytes,
            missing: missing_of(archive),
            queue_full_count: self.extension.archiver().queue_full_count(),
            repairing: repairing_of(&seen.repair),
            store_error: archive.store_error.clone(),
            damages: damages.collect(),
            peers: seen.peers,
            replication_factor: self.configured_factor(),
            factor_in_force: seen.factor_in_force,
            chunk_size: u64::from(parameters.chunk_size),
            segment_periods: parameters.segment_periods,
            round_segments: settings.round_segments,
            indexes: indexes_of(&store.indexes()),
            last_period_final: finals.iter().map(|(_, period)| *period).min(),
            synced: seen.synced,
            why_not_more: self.why_not_more(&seen),
            registry: self.registry(),
            ..StorageStatus::of_node(self.extension.own(), parameters.chain_id)
        })
    }

    /// Periods of all tables, and those of open segments that joined their stream.
    fn archived_periods(&self, counters: &Counters) -> u64 {
        let open = self.store().open_segments().into_iter();
        // The segment that was closed last is among them while its blocks are rows.
        let not_closed = open.filter(|open| !matches!(self.store().segment_root(open.segment), Ok(Some(_))));
        counters.periods + not_closed.map(|open| u64::from(open.joined_periods)).sum::<u64>()
    }

    /// Nodes that should hold each chunk, as the registry or the genesis file has it.
    fn configured_factor(&self) -> u64 {
        let nodes = self.contract.nodes();
        let of_registry = nodes.replication_factor(self.open_round());
        of_registry.map_or(u64::from(self.settings.replication_factor), |factor| factor as u64)
    }

    /// The round that is open in final state.
    pub(super) fn open_round(&self) -> u64 {
        self.contract.nodes().open_round().unwrap_or(0)
    }

    fn registry(&self) -> RegistryInfo {
        let status = self.contract.status();
        let round = self.open_round();
        let flags_from = self.contract.nodes().flags_from();
        RegistryInfo {
            address: status.registry,
            problem: status.problem,
            registered_nodes: status.registered_nodes,
            own: status
                .own
                .map(|own| registered(&own, round, own.filled_at(flags_from, round))),
            balance: status.balance,
            low_balance: status.low_balance,
            fees_last_day: status.fees_last_day,
            last_refusal: status.last_refusal.map(|refusal| RefusedOperation {
                purpose: refusal.purpose.to_string(),
                reason: refusal.reason,
                time_ms: refusal.time_ms,
            }),
            pending: status.pending.iter().map(ToString::to_string).collect(),
            rounds: self.with_rounds(|rounds| rounds.info()),
        }
    }

    fn peer_counts(&self, storage: &[StoragePeer]) -> StoragePeerCounts {
        let connected = self.protocol.get_stats().map_or(0, |(_, peers)| peers.len() as u64);
        StoragePeerCounts {
            connected,
            storage: storage.len() as u64,
            quarantined: storage.iter().filter(|peer| peer.quarantined).count() as u64,
        }
    }

    /// Why not more is archived or held, in words.
    fn why_not_more(&self, seen: &Seen) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some(error) = &seen.archive.store_error {
            reasons.push(format!("the store does not take blocks: {error}"));
        }
        if !seen.synced {
            reasons.push("this node is catching up with the chain".into());
        }
        if seen.disk_bytes >= self.settings.allocated_storage_gb << 30 {
            reasons.push("allocated_storage_gb is used up".into());
        }
        if seen.peers.storage == 0 {
            reasons.push("no connected peer speaks storage: nothing can be fetched".into());
        }
        if !seen.is_storage_node {
            reasons.push("this node is not among the storage nodes: no chunk is assigned to it".into());
        }
        let configured = self.configured_factor();
        if seen.factor_in_force < configured {
            let factor = seen.factor_in_force;
            reasons.push(format!(
                "the nodes offer too little room: {factor} of them hold each chunk, not {configured}"
            ));
        }
        reasons.extend(self.contract.status().low_balance);
        reasons.extend(self.repair_reasons(seen));
        let rounds = self.extension.rounds();
        reasons.extend(rounds.into_iter().flat_map(|rounds| rounds.status().notes));
        reasons.extend(missing_reasons(seen));
        reasons
    }

    fn repair_reasons(&self, seen: &Seen) -> Vec<String> {
        let mut reasons = Vec::new();
        if let Some((segment, _)) = self.extension.board().candidate() {
            reasons.push(format!(
                "nobody has all of segment {segment}: this node votes for a root that has the missing periods as lost"
            ));
        }
        if let Some(segment) = seen.repair.replacing {
            reasons.push(format!(
                "segment {segment} is not as its accepted root has it: it is fetched again"
            ));
        }
        let tables = &seen.repair.tables;
        if tables.done < tables.total {
            let (left, all) = (tables.total - tables.done, tables.total);
            reasons.push(format!(
                "{left} of {all} segment tables are fetched{}",
                time_left(tables)
            ));
        }
        reasons
    }
}

impl Seen {
    /// Chunks that are assigned and not held. Before repair has looked, the least that they can be.
    fn chunks_missing(&self) -> u64 {
        let chunks = &self.repair.chunks;
        if chunks.total > 0 {
            return chunks.total.saturating_sub(chunks.done);
        }
        let held = self.counters.chunks_held.saturating_sub(self.counters.chunks_passing);
        self.share.0.saturating_sub(held)
    }
}

fn missing_reasons(seen: &Seen) -> Vec<String> {
    let mut reasons = Vec::new();
    let chunks = seen.chunks_missing();
    if chunks > 0 {
        let left = time_left(&seen.repair.chunks);
        reasons.push(format!(
            "{chunks} chunks are assigned to this node and not held yet{left}"
        ));
    }
    let missing = &seen.archive.missing;
    if let Some(blocked) = &missing.blocked {
        let (segment, slot, waiting) = (blocked.segment, blocked.slot, blocked.waiting);
        reasons.push(format!(
            "segment {segment} is open because slot {slot} is missing; {waiting} segments wait for it"
        ));
    }
    let slots = seen.archive.missing_slots.slots;
    if slots > 0 {
        reasons.push(format!("{slots} blocks are missing and fetched from peers"));
    }
    reasons
}

/// `, for about 12 s still`, where it can be told.
fn time_left(progress: &progress::Progress) -> String {
    let left = progress.left.filter(|left| !left.is_zero());
    left.map_or_else(String::new, |left| {
        format!(", for about {} s still", left.as_secs().max(1))
    })
}

fn missing_of(archive: &ArchiveStatus) -> MissingSlots {
    let (slots, missing) = (&archive.missing_slots, &archive.missing);
    let reasons = slots.reasons.iter();
    MissingSlots {
        slots: slots.slots as u64,
        oldest_period: slots.oldest_period,
        reasons: reasons.map(|(reason, count)| ((*reason).to_string(), *count)).collect(),
        blocks: missing.wanted.len() as u64,
        periods: missing.periods.len() as u64 + missing.more_periods,
        blocked: missing.blocked.map(|blocked| BlockedAt {
            segment: blocked.segment,
            slot: blocked.slot,
            waiting: blocked.waiting,
        }),
    }
}

fn repairing_of(repair: &RepairStatus) -> RepairProgress {
    let progress = |of: &progress::Progress| Progress {
        done: of.done,
        total: of.total,
        per_minute: of.per_minute,
        seconds_left: of.left.map(|left| left.as_secs()),
    };
    RepairProgress {
        tables: progress(&repair.tables),
        chunks: progress(&repair.chunks),
        periods: repair.periods as u64,
        replacing: repair.replacing,
        handing_over: repair.to_hand_over as u64,
        damaged: repair.damaged,
    }
}

fn indexes_of(indexes: &IndexScopes) -> IndexInfo {
    let kept = |scope| match scope {
        IndexScope::None => IndexKept::None,
        IndexScope::Held => IndexKept::Held,
        IndexScope::All => IndexKept::All,
    };
    IndexInfo {
        block: kept(indexes.blocks),
        operation: kept(indexes.operations),
        address: kept(indexes.addresses),
    }
}
