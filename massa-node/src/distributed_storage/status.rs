//! What a node archives, holds and misses, for its operator. Made from totals that are kept, never by walking the archive. Each
//! part fails alone: what cannot be read is named in [`StorageStatus::errors`], and the rest is told.

use super::api::NodeStorageApi;
use super::membership::Membership;
use super::nodes::registered;
use crate::causes::with_causes;
use massa_api_exports::distributed_storage::{
    BlockedAt, IndexInfo, IndexKept, MissingSlots, Progress, RefusedOperation, RegistryInfo, RepairProgress,
    StatusPart, StoragePeerCounts, StorageStatus,
};
use massa_distributed_storage_exports::config::gb_to_bytes;
use massa_distributed_storage_exports::registry::StorageRegistry;
use massa_distributed_storage_worker::archive::status::ArchiveStatus;
use massa_distributed_storage_worker::repair::driver::RepairStatus;
use massa_distributed_storage_worker::repair::progress;
use massa_distributed_storage_worker::rounds::thread::RoundStatus;
use massa_distributed_storage_worker::smart_contract::client::ClientStatus;
use massa_distributed_storage_worker::storage_backend::{Counters, IndexScope, IndexScopes};
use massa_protocol_exports::{Alarms, ProtocolError};
use std::collections::BTreeMap;
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
    registry: ClientStatus,
    errors: BTreeMap<StatusPart, String>,
    /// Chunks that are assigned to this node, and their bytes.
    share: (u64, u64),
    factor_in_force: u64,
    /// Whether this node counts.
    is_storage_node: bool,
    /// Whether the node is in step with the network, by its own clock.
    synced: bool,
    alarms: Alarms,
}

impl NodeStorageApi {
    fn see(&self) -> Seen {
        let (extension, store) = (&self.extension, self.store());
        let storage_peers = extension.network().map_or_else(Vec::new, |network| network.peers());
        let mut errors = Errors::default();
        let counters = errors.value(StatusPart::Counters, store.counters());
        let disk_bytes = errors.value(StatusPart::Disk, store.database().disk_usage());
        let peers = errors.value(StatusPart::Peers, self.connected_peers());
        let registry = self.contract.status();
        errors.note(StatusPart::OwnRecord, registry.own_error.clone());
        errors.note(StatusPart::RegisteredNodes, registry.registered_nodes_error.clone());
        errors.note(StatusPart::Fees, registry.fees_error.clone());
        let assigned = extension.assigned().read();
        let (chunks, bytes) = assigned.placement().own_share();
        let in_force = assigned.placement().nodes();
        Seen {
            archive: extension.archive_status(),
            repair: extension.repair_status(),
            counters,
            disk_bytes,
            peers: StoragePeerCounts {
                connected: peers,
                storage: storage_peers.len() as u64,
                quarantined: storage_peers.iter().filter(|peer| peer.quarantined).count() as u64,
            },
            registry,
            errors: errors.0,
            share: (chunks as u64, bytes),
            factor_in_force: in_force.replication_factor as u64,
            is_storage_node: in_force.own.is_some(),
            synced: self.synced.load(Ordering::Acquire),
            alarms: self.protocol.get_alarms(),
        }
    }

    pub(super) fn storage_status(&self) -> StorageStatus {
        let seen = self.see();
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
        StorageStatus {
            enabled: true,
            running: true,
            problem: None,
            stopped_parts: self.stopped_parts.clone(),
            errors: seen.errors.clone(),
            alarms: seen.alarms.serious_lines(),
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
            allocated_bytes: gb_to_bytes(settings.allocated_storage_gb),
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
            synced: seen.synced && seen.alarms.clock.is_none(),
            why_not_more: self.why_not_more(&seen),
            registry: self.registry(&seen.registry),
            ..StorageStatus::of_node(self.extension.own(), parameters.chain_id)
        }
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

    fn registry(&self, status: &ClientStatus) -> RegistryInfo {
        let round = self.open_round();
        let flags_from = self.contract.nodes().flags_from();
        RegistryInfo {
            address: status.registry,
            problem: status.problem.clone(),
            registered_nodes: status.registered_nodes,
            own: status
                .own
                .as_ref()
                .map(|own| registered(own, round, own.filled_at(flags_from, round))),
            balance: status.balance,
            low_balance: status.low_balance.clone(),
            fees_last_day: status.fees_last_day,
            last_refusal: status.last_refusal.as_ref().map(|refusal| RefusedOperation {
                purpose: refusal.purpose.to_string(),
                reason: refusal.reason.clone(),
                time_ms: refusal.time_ms,
            }),
            pending: status.pending.iter().map(ToString::to_string).collect(),
            rounds: self.with_rounds(|rounds| rounds.info()),
        }
    }

    fn connected_peers(&self) -> Result<u64, ProtocolError> {
        Ok(self.protocol.get_stats()?.1.len() as u64)
    }

    /// Why not more is archived or held, in words.
    fn why_not_more(&self, seen: &Seen) -> Vec<String> {
        let mut reasons: Vec<String> = seen.alarms.clock.iter().map(ToString::to_string).collect();
        if let Some(error) = &seen.archive.store_error {
            reasons.push(format!("the store does not take blocks: {error}"));
        }
        let stopped = self.stopped_parts.iter();
        reasons.extend(stopped.map(|part| format!("a part of the archive does not run: {part}")));
        let errors = seen.errors.iter();
        reasons.extend(errors.map(|(part, error)| format!("{part} cannot be read: {error}")));
        if !seen.synced {
            reasons.push("this node is catching up with the chain".into());
        }
        if seen.disk_bytes >= gb_to_bytes(self.settings.allocated_storage_gb) {
            reasons.push("allocated_storage_gb is used up".into());
        }
        if seen.peers.storage == 0 {
            reasons.push("no connected peer speaks storage: nothing can be fetched".into());
        }
        let nodes = self.contract.nodes();
        let membership = Membership {
            registry: seen.registry.registry,
            operator: self.operator,
            record: seen.registry.own.as_ref(),
            is_unreadable: seen.errors.contains_key(&StatusPart::OwnRecord),
            round: self.open_round(),
            flags_from: nodes.flags_from(),
            is_placed: seen.is_storage_node,
        };
        reasons.extend(membership.reasons());
        let configured = self.configured_factor();
        if seen.factor_in_force < configured {
            let factor = seen.factor_in_force;
            reasons.push(format!(
                "the nodes offer too little room: {factor} of them hold each chunk, not {configured}"
            ));
        }
        reasons.extend(seen.registry.low_balance.clone());
        reasons.extend(self.repair_reasons(seen));
        if let Some(rounds) = self.extension.rounds() {
            let rounds = rounds.status();
            reasons.extend(round_reasons(rounds));
        }
        reasons.extend(missing_reasons(seen));
        told_once(reasons)
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

/// What kept this node from claiming, or keeps it.
fn round_reasons(status: RoundStatus) -> Vec<String> {
    let mut reasons = status.notes;
    if let (Some(round), Some(why)) = (status.round, status.why_unclaimed) {
        reasons.push(format!("nothing is claimed for round {round}, which is open: {why}"));
    }
    reasons
}

/// The same without what says again what was said.
fn told_once(reasons: Vec<String>) -> Vec<String> {
    let mut told: Vec<String> = Vec::new();
    for reason in reasons {
        if !told.contains(&reason) {
            told.push(reason);
        }
    }
    told
}

/// Parts that could not be read.
#[derive(Default)]
struct Errors(BTreeMap<StatusPart, String>);

impl Errors {
    /// What was read; nothing, and why, where it could not be.
    fn value<T: Default, E: std::error::Error>(&mut self, part: StatusPart, read: Result<T, E>) -> T {
        read.unwrap_or_else(|error| {
            self.note(part, Some(with_causes(&error)));
            T::default()
        })
    }

    fn note(&mut self, part: StatusPart, error: Option<String>) {
        self.0.extend(error.map(|error| (part, error)));
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
    let (blocks, periods) = (
        missing.wanted.len(),
        missing.periods.len() as u64 + missing.more_periods,
    );
    if blocks > 0 || missing.more_periods > 0 {
        let first = missing.periods.first();
        let first = first.map_or_else(String::new, |first| format!(", the first one is {}", first.period));
        reasons.push(format!(
            "{periods} periods lack slots{first}; {blocks} of their blocks are known and fetched from peers"
        ));
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
