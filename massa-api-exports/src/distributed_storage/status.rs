//! What a node archives, holds and misses, and what the registry has of it.

use super::lists::IndexInfo;
use super::rounds::RoundsInfo;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a node archives, holds and misses. Totals are of what is closed here: they are kept by the store, not counted for the
/// answer.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StorageStatus {
    /// Whether the node is told to archive.
    pub enabled: bool,
    /// Whether it does.
    pub running: bool,
    /// Why it does not although it should.
    #[serde(default)]
    pub problem: Option<String>,
    /// Parts of the archive that did not start, and why. The others run.
    #[serde(default)]
    pub stopped_parts: Vec<String>,
    /// Parts of this status that could not be read, and why: their values are 0 or absent.
    #[serde(default)]
    pub errors: BTreeMap<StatusPart, String>,
    /// What peers show to be wrong with this node and has to be acted on: its key is used elsewhere, its final state is not theirs.
    #[serde(default)]
    pub alarms: Vec<String>,
    /// Who it is.
    pub node_id: NodeId,
    /// Who runs it, as configured.
    pub operator_address: Option<Address>,
    /// The chain.
    pub chain_id: u64,
    /// The first period of the archive.
    pub first_period: u64,
    /// The newest period that is complete with all before it.
    pub last_archived_period: Option<u64>,
    /// Periods of closed segments, and those of open ones that are complete with all before them.
    pub archived_periods: u64,
    /// Those of them that are lost: their ids are known, and nobody had all of their blocks when their segment was anchored.
    pub lost_periods: u64,
    /// Periods below it are pruned.
    pub floor: u64,
    /// Periods kept, as configured; 0 keeps all.
    pub retention_periods: u64,
    /// Segments that are closed here.
    pub segments_closed: u64,
    /// The first segment that is not.
    pub first_open_segment: u64,
    /// Whether it is being closed at this moment.
    pub is_closing: bool,
    /// Segments whose root the registry accepted.
    pub segments_anchored: u64,
    /// The first segment whose accepted root is not the node's own; it is fetched again.
    pub differing_segment: Option<u64>,
    /// Chunks of all closed segments.
    pub chunks_total: u64,
    /// Chunks that the node holds.
    pub chunks_held: u64,
    /// Those of them that it keeps as one of the nodes ranked next, until the holders have them.
    pub chunks_backup: u64,
    /// Chunks that are assigned to the node.
    pub chunks_assigned: u64,
    /// Chunks that are assigned to it and not held.
    pub chunks_missing: u64,
    /// Chunks that it holds without being assigned, and without being ranked next: they are handed over.
    pub chunks_extra: u64,
    /// Bytes of the bodies of all closed segments.
    pub bytes_total: u64,
    /// Bytes of the chunks held, in plain.
    pub bytes_held: u64,
    /// Bytes that they take as they are stored.
    pub bytes_stored: u64,
    /// Bytes of the chunks that are assigned to the node, in plain.
    pub bytes_assigned: u64,
    /// Bytes of the store's directory on disk.
    pub disk_bytes: u64,
    /// Bytes that the directory may have.
    pub allocated_bytes: u64,
    /// Bytes of blocks that wait behind a gap.
    pub bytes_held_back: u64,
    /// What is known to be missing.
    pub missing: MissingSlots,
    /// Blocks that became missing because the archive's queue was full.
    pub queue_full_count: u64,
    /// What is being fetched.
    pub repairing: RepairProgress,
    /// Why the store does not write any more.
    pub store_error: Option<String>,
    /// Files of the store that were found damaged, and what was done.
    #[serde(default)]
    pub damages: Vec<String>,
    /// Connected nodes.
    pub peers: StoragePeerCounts,
    /// Nodes that should hold each chunk.
    pub replication_factor: u64,
    /// Nodes that hold each chunk: fewer while the nodes offer too little room.
    pub factor_in_force: u64,
    /// Bytes of a chunk.
    pub chunk_size: u64,
    /// Periods of a segment.
    pub segment_periods: u64,
    /// Segments of a round.
    pub round_segments: u64,
    /// The indexes that the node keeps.
    pub indexes: IndexInfo,
    /// The last period that is final in every thread.
    pub last_period_final: Option<u64>,
    /// Whether the node is up to date with the chain; not while its clock is wrong, as it would not know.
    pub synced: bool,
    /// Why the node does not archive or hold more, in words for its operator.
    pub why_not_more: Vec<String>,
    /// The registry contract, and this node in it.
    #[serde(default)]
    pub registry: RegistryInfo,
}

impl StorageStatus {
    /// Of a node that does not archive: nothing.
    pub fn of_node(node_id: NodeId, chain_id: u64) -> Self {
        Self {
            enabled: false,
            running: false,
            problem: None,
            stopped_parts: Vec::new(),
            errors: BTreeMap::new(),
            alarms: Vec::new(),
            node_id,
            operator_address: None,
            chain_id,
            first_period: 0,
            last_archived_period: None,
            archived_periods: 0,
            lost_periods: 0,
            floor: 0,
            retention_periods: 0,
            segments_closed: 0,
            first_open_segment: 0,
            is_closing: false,
            segments_anchored: 0,
            differing_segment: None,
            chunks_total: 0,
            chunks_held: 0,
            chunks_backup: 0,
            chunks_assigned: 0,
            chunks_missing: 0,
            chunks_extra: 0,
            bytes_total: 0,
            bytes_held: 0,
            bytes_stored: 0,
            bytes_assigned: 0,
            disk_bytes: 0,
            allocated_bytes: 0,
            bytes_held_back: 0,
            missing: MissingSlots::default(),
            queue_full_count: 0,
            repairing: RepairProgress::default(),
            store_error: None,
            damages: Vec::new(),
            peers: StoragePeerCounts::default(),
            replication_factor: 0,
            factor_in_force: 0,
            chunk_size: 0,
            segment_periods: 0,
            round_segments: 0,
            indexes: IndexInfo::default(),
            last_period_final: None,
            synced: false,
            why_not_more: Vec::new(),
            registry: RegistryInfo::default(),
        }
    }
}

/// A part of the status that is read on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusPart {
    /// Totals of the store: segments, chunks, bytes, periods.
    Counters,
    /// [`StorageStatus::disk_bytes`].
    Disk,
    /// [`StoragePeerCounts::connected`].
    Peers,
    /// [`RegistryInfo::own`].
    OwnRecord,
    /// [`RegistryInfo::registered_nodes`].
    RegisteredNodes,
    /// [`RegistryInfo::fees_last_day`]: fees paid that are not kept over a restart.
    Fees,
}

impl std::fmt::Display for StatusPart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Counters => "the totals of the store",
            Self::Disk => "the size of the store",
            Self::Peers => "the connected peers",
            Self::OwnRecord => "the registry's record of this node",
            Self::RegisteredNodes => "the number of registered nodes",
            Self::Fees => "the file of fees paid",
        })
    }
}

/// Slots (period, thread) of which the block, or that there is none, is not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct MissingSlots {
    /// How many were final here and are missing because their block was let go.
    pub slots: u64,
    /// Period of the oldest of them.
    pub oldest_period: Option<u64>,
    /// How many were let go since the start, for each reason.
    pub reasons: BTreeMap<String, u64>,
    /// Blocks known to be final that are to be fetched.
    pub blocks: u64,
    /// Periods of which a slot is missing.
    pub periods: u64,
    /// What keeps the first open segment from going on.
    pub blocked: Option<BlockedAt>,
}

/// What keeps a segment open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct BlockedAt {
    /// The segment.
    pub segment: u64,
    /// The first slot that is missing.
    pub slot: Slot,
    /// Segments that are complete and wait for it.
    pub waiting: u64,
}

/// What is being fetched from other nodes, and for how long still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RepairProgress {
    /// Tables of segments.
    pub tables: Progress,
    /// Chunks that are assigned to the node.
    pub chunks: Progress,
    /// Open periods whose blocks are asked for.
    pub periods: u64,
    /// The segment that is fetched again because its accepted root is another one.
    pub replacing: Option<u64>,
    /// Chunks that are assigned to others by now, and kept until these confirmed them. Not fetched, but also on their way.
    pub handing_over: u64,
    /// Chunks found damaged since the start.
    pub damaged: u64,
}

/// How far work is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct Progress {
    /// Done, of `total`.
    pub done: u64,
    /// What there is to do, as far as it is known.
    pub total: u64,
    /// Done a minute, over the last half minute.
    pub per_minute: u64,
    /// What is left takes so many seconds at this rate; nothing while it cannot be told.
    pub seconds_left: Option<u64>,
}

/// The registry contract as the node asked sees it in final state, and that node in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct RegistryInfo {
    /// The registry that the node follows; without one the nodes of the genesis file count.
    pub address: Option<Address>,
    /// Why none is followed, or why another one is not.
    pub problem: Option<String>,
    /// Nodes that are registered.
    pub registered_nodes: u64,
    /// The node asked, if its operator is registered.
    pub own: Option<RegisteredNode>,
    /// Coins of the operator.
    pub balance: Option<Amount>,
    /// Why the operator should see to its coins.
    pub low_balance: Option<String>,
    /// Fees that the node paid in the last 24 hours.
    pub fees_last_day: Amount,
    /// The last operation that the contract, or the node itself, refused.
    pub last_refusal: Option<RefusedOperation>,
    /// What operations are to be sent, or under way, for.
    pub pending: Vec<String>,
    /// The rounds of proofs; nothing if the node takes no part in them.
    pub rounds: Option<RoundsInfo>,
}

/// What the registry has of a node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RegisteredNode {
    /// Its stake.
    pub stake: Amount,
    /// Disk space that it declared for the round that is open, in GB.
    pub allocated_gb: u64,
    /// Its weight in that round, in GB.
    pub weight: u64,
    /// Its weight in the second round after it, in GB.
    pub weight_soon: u64,
    /// Whether it holds its share.
    pub filled: bool,
    /// Whether it has a placement key: without one it weighs nothing.
    pub has_placement_key: bool,
    /// From this round on it weighs nothing, because it leaves.
    pub leave_round: Option<u64>,
    /// Its last counted round, at first the one in which it registered.
    pub last_counted_round: u64,
    /// Draws of its rounds that are over.
    pub total_draws: u64,
    /// Those it answered correctly.
    pub passed_draws: u64,
    /// Credit that can be claimed.
    pub matured_rewards: Amount,
}

/// An operation that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct RefusedOperation {
    /// What it was for.
    pub purpose: String,
    /// The contract's own words, or the node's.
    pub reason: String,
    /// When, in milliseconds since 1970.
    pub time_ms: u64,
}

/// Connected nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct StoragePeerCounts {
    /// All of them.
    pub connected: u64,
    /// Those that archive.
    pub storage: u64,
    /// Those that sent what is provably wrong, and are asked nothing for a while.
    pub quarantined: u64,
}
