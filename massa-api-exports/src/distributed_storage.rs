//! The archive in the API: what it tells, and what a node implements to tell it.

use crate::challenge::{ChallengeHistory, ChunkOrPosition, GetChallengeHistory, IssuedChallenge, NodeOrAddress};
use crate::rounds::{RoundsInfo, StorageEarnings};
use massa_distributed_storage_exports::proof_document::{HexBytes, ProofDocument};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::{verify_block, VerifiedBlock, VerifyBlockError};
use massa_distributed_storage_exports::{ChunkId, PeriodRoot};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;

/// Entries of a list at most: one answer stays below a megabyte.
pub const MAX_LIST_LIMIT: u64 = 1_000;
/// Chunks that may be skipped: skipping costs the node about as much as listing.
pub const MAX_LIST_OFFSET: u64 = 1_000_000;
/// Entries of a list where the caller does not say.
pub const DEFAULT_LIST_LIMIT: u64 = 100;

/// What a node archives, holds and misses.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StorageStatus {
    /// Whether the node archives.
    pub enabled: bool,
    /// Who it is.
    pub node_id: NodeId,
    /// Who runs it, as configured.
    pub operator_address: Option<Address>,
    /// The chain.
    pub chain_id: u64,
    /// The first period of the archive.
    pub first_period: u64,
    /// The last period that is complete.
    pub last_archived_period: Option<u64>,
    /// Complete periods.
    pub archived_periods: u64,
    /// Those of them that are lost: their ids are known, and nobody had all of their blocks when their segment was anchored.
    #[serde(default)]
    pub lost_periods: u64,
    /// Periods below it are pruned.
    pub floor: u64,
    /// The segment that is being filled.
    pub next_segment: u64,
    /// Complete segments.
    pub segments_complete: u64,
    /// Chunks of all complete periods.
    pub chunks_total: u64,
    /// Chunks that the node holds.
    pub chunks_held: u64,
    /// Chunks that are assigned to the node.
    pub chunks_assigned: u64,
    /// Chunks that are assigned to it and not held.
    pub chunks_missing: u64,
    /// Chunks that it holds without being assigned.
    pub chunks_extra: u64,
    /// Bytes of the chunks held.
    pub bytes_held: u64,
    /// Bytes of the store's directory on disk.
    pub disk_bytes: u64,
    /// Bytes that the directory may have.
    pub allocated_bytes: u64,
    /// What is known to be missing.
    pub awaited: AwaitedPlaces,
    /// Blocks that became awaited because the worker's queue was full.
    pub queue_full_count: u64,
    /// What is being fetched.
    pub repairing: RepairCounts,
    /// Why the store does not write any more.
    pub store_error: Option<String>,
    /// Connected nodes.
    pub peers: StoragePeerCounts,
    /// Nodes that hold each chunk.
    pub replication_factor: u64,
    /// Bytes of a chunk.
    pub chunk_size: u64,
    /// Periods of a segment.
    pub segment_periods: u64,
    /// The last period that is final in every thread.
    pub last_period_final: Option<u64>,
    /// Whether the node is up to date with the chain.
    pub synced: bool,
    /// Why the node does not archive or hold more, in words for its operator.
    pub why_not_more: Vec<String>,
    /// The registry contract, and this node in it.
    #[serde(default)]
    pub registry: RegistryInfo,
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
    /// Disk space that it declared for the segment that is open, in GB.
    pub allocated_gb: u64,
    /// Its weight in that segment, in GB.
    pub weight: u64,
    /// Its weight in the second segment after it, in GB.
    pub weight_soon: u64,
    /// Whether it holds its share.
    pub filled: bool,
    /// Whether it has a placement key: without one it weighs nothing.
    pub has_placement_key: bool,
    /// From this segment on it weighs nothing, because it leaves.
    pub leave_segment: Option<u64>,
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

/// Places (period, thread) of which the block, or that there is none, is not known yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct AwaitedPlaces {
    /// How many.
    pub places: u64,
    /// Period of the oldest.
    pub oldest_period: Option<u64>,
    /// How many for each reason.
    pub reasons: BTreeMap<String, u64>,
}

/// What is being fetched from other nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct RepairCounts {
    /// Manifests.
    pub manifests: u64,
    /// Chunks.
    pub chunks: u64,
    /// Blocks.
    pub blocks: u64,
    /// Chunks that are assigned to others by now, and kept until these confirmed them. Not fetched, but also on their way.
    #[serde(default)]
    pub handing_over: u64,
    /// Chunks found damaged since the start.
    #[serde(default)]
    pub damaged: u64,
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

/// Which chunks are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListChunks {
    /// From this period on.
    pub first_period: Option<u64>,
    /// Up to this period.
    pub last_period: Option<u64>,
    /// Chunks at most: 1 to [`MAX_LIST_LIMIT`].
    pub limit: u64,
    /// Chunks to skip, at most [`MAX_LIST_OFFSET`].
    pub offset: u64,
}

impl Default for ListChunks {
    fn default() -> Self {
        Self {
            first_period: None,
            last_period: None,
            limit: DEFAULT_LIST_LIMIT,
            offset: 0,
        }
    }
}

impl ListChunks {
    /// Checks every range.
    ///
    /// # Errors
    /// [`StorageApiError::BadRequest`], naming the field.
    pub fn check(&self) -> Result<(), StorageApiError> {
        check_limit(self.limit)?;
        if self.offset > MAX_LIST_OFFSET {
            let reason = format!(
                "{} is more than {MAX_LIST_OFFSET}; begin at a later first_period",
                self.offset
            );
            return Err(StorageApiError::bad("offset", reason));
        }
        match (self.first_period, self.last_period) {
            (Some(first), Some(last)) if last < first => Err(StorageApiError::bad(
                "last_period",
                format!("{last} is before first_period, {first}"),
            )),
            _ => Ok(()),
        }
    }
}

/// Which periods are listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct ListPeriods {
    /// From this period on.
    pub first: u64,
    /// Periods at most: 1 to [`MAX_LIST_LIMIT`].
    pub limit: u64,
}

impl Default for ListPeriods {
    fn default() -> Self {
        Self {
            first: 0,
            limit: DEFAULT_LIST_LIMIT,
        }
    }
}

impl ListPeriods {
    /// Checks every range.
    ///
    /// # Errors
    /// [`StorageApiError::BadRequest`], naming the field.
    pub fn check(&self) -> Result<(), StorageApiError> {
        check_limit(self.limit)
    }
}

fn check_limit(limit: u64) -> Result<(), StorageApiError> {
    if (1..=MAX_LIST_LIMIT).contains(&limit) {
        return Ok(());
    }
    let reason = format!("{limit} is not between 1 and {MAX_LIST_LIMIT}");
    Err(StorageApiError::bad("limit", reason))
}

/// A chunk and who should hold it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StorageChunk {
    /// Its period.
    pub period: u64,
    /// Its position in the period.
    pub chunk: u32,
    /// Its id.
    pub chunk_id: ChunkId,
    /// Its bytes.
    pub length: u32,
    /// Whether the node asked holds it.
    pub held: bool,
    /// Whether it is assigned to the node asked.
    pub assigned_here: bool,
    /// The nodes that it is assigned to.
    pub holders: Vec<NodeId>,
}

/// An archived period.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StoragePeriod {
    /// The period.
    pub period: u64,
    /// Its root.
    pub root: PeriodRoot,
    /// Its blocks.
    pub blocks: u64,
    /// Its missed slots.
    pub misses: u64,
    /// Its chunks.
    pub chunks: u64,
    /// Those that the node asked holds.
    pub chunks_held: u64,
    /// Bytes of its body.
    pub bytes: u64,
    /// The segment that it is in.
    pub segment: u64,
    /// Whether it is lost: its ids are known, and nobody had all of its blocks when its segment was anchored.
    #[serde(default)]
    pub lost: bool,
}

/// A proof, or why there is none yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchiveProof {
    /// The proof.
    pub proof: Option<ProofDocument>,
    /// Why there is none: the period, or one before it in its segment, is not complete.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why_no_proof: Option<String>,
}

/// An archived period.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchivedPeriodInfo {
    /// The period.
    pub period: u64,
    /// Its root.
    pub root: PeriodRoot,
    /// The segment that it is in.
    pub segment: u64,
    /// For each chunk, whether the node asked holds it.
    pub held: Vec<bool>,
    /// The manifest: places and chunks.
    pub manifest: HexBytes,
    /// That this is what the archive has.
    #[serde(flatten)]
    pub proof: ArchiveProof,
}

/// What the archive has at a slot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ArchivedPlace {
    /// A block.
    Block(ArchivedBlockInfo),
    /// The slot was missed.
    Miss(ArchivedMissInfo),
}

/// A block of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchivedBlockInfo {
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub block_id: BlockId,
    /// The `SecureShareBlock`.
    pub block: HexBytes,
    /// Each `SecureShareOperation`, in the block's order.
    pub operations: Vec<HexBytes>,
    /// That it is in the archive.
    #[serde(flatten)]
    pub proof: ArchiveProof,
}

impl ArchivedBlockInfo {
    /// What is told of a block.
    pub fn new(block: &ArchivedBlock, proof: ArchiveProof) -> Self {
        let operations = block.record.operations().map(|bytes| HexBytes(bytes.to_vec()));
        Self {
            slot: block.slot(),
            block_id: block.id(),
            block: HexBytes(block.record.block().to_vec()),
            operations: operations.collect(),
            proof,
        }
    }
}

/// A missed slot of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchivedMissInfo {
    /// The slot.
    pub slot: Slot,
    /// That the archive has no block there.
    #[serde(flatten)]
    pub proof: ArchiveProof,
}

/// An operation of the archive.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchivedOperationInfo {
    /// Its id.
    pub operation_id: OperationId,
    /// Slot of its block.
    pub slot: Slot,
    /// Its block.
    pub block_id: BlockId,
    /// Its position in the block.
    pub index: u32,
    /// The `SecureShareOperation`.
    pub operation: HexBytes,
    /// The `SecureShareBlock`, which lists it.
    pub block: HexBytes,
    /// That it is in the archive.
    #[serde(flatten)]
    pub proof: ArchiveProof,
}

impl ArchivedOperationInfo {
    /// What is told of an operation.
    pub fn new(operation: &ArchivedOperation, proof: ArchiveProof) -> Self {
        let ArchivedOperation { block, index } = operation;
        let bytes = block.record.operations().nth(*index as usize);
        Self {
            operation_id: operation.id(),
            slot: block.slot(),
            block_id: block.id(),
            index: *index,
            operation: HexBytes(bytes.unwrap_or_default().to_vec()),
            block: HexBytes(block.record.block().to_vec()),
            proof,
        }
    }
}

/// A node that offers disk space.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct StorageNodeInfo {
    /// Who it is.
    pub node_id: NodeId,
    /// Its operator.
    pub address: Address,
    /// Where peers reach it.
    pub listeners: Vec<SocketAddr>,
    /// Disk space that it offers, in GB of 2³⁰ bytes: its weight.
    pub allocated_storage_gb: u64,
    /// Whether it is connected to the node asked, or is that node.
    pub connected: bool,
    /// What it said of itself last.
    pub capabilities: Option<NodeCapabilities>,
    /// Bytes of the chunks that are assigned to it.
    pub assigned_bytes: u64,
    /// What the registry has of it.
    #[serde(default)]
    pub registered: Option<RegisteredNode>,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NodeCapabilities {
    /// Disk space that it offers.
    pub allocated_storage_gb: u64,
    /// Periods below it are pruned.
    pub floor: u64,
    /// The last period that it archived.
    pub last_period: Option<u64>,
    /// First and last period of ranges of which it holds every chunk assigned to it.
    pub held_ranges: Vec<(u64, u64)>,
    /// It sent what is provably wrong, and is asked nothing for a while.
    pub quarantined: bool,
}

/// A block by its id or its slot: text, or `{period, thread}`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged, expecting = "expected a block id or a slot {period, thread}")]
pub enum BlockOrSlot {
    /// The block with this id.
    Id(BlockId),
    /// What is at this slot.
    Slot(Slot),
}

/// A block of the archive, verified down to its signatures.
#[derive(Clone, Debug)]
pub struct ArchivedBlock {
    record: BlockRecord,
    verified: VerifiedBlock,
}

impl ArchivedBlock {
    /// Verifies a block: ids, operation root, signatures.
    ///
    /// # Errors
    /// [`VerifyBlockError`].
    pub fn verify(record: BlockRecord, chain_id: u64, thread_count: u8) -> Result<Self, VerifyBlockError> {
        let verified = verify_block(&record, chain_id, thread_count)?;
        Ok(Self { record, verified })
    }

    /// Its bytes.
    pub fn record(&self) -> &BlockRecord {
        &self.record
    }

    /// Its content.
    pub fn verified(&self) -> &VerifiedBlock {
        &self.verified
    }

    /// Its id.
    pub fn id(&self) -> BlockId {
        self.verified.block().id
    }

    /// Its slot.
    pub fn slot(&self) -> Slot {
        self.verified.block().content.header.content.slot
    }
}

/// An operation of the archive, verified with its block.
#[derive(Clone, Debug)]
pub struct ArchivedOperation {
    block: ArchivedBlock,
    index: u32,
}

impl ArchivedOperation {
    /// Operation `index` of a block; `None` if it has none.
    pub fn new(block: ArchivedBlock, index: u32) -> Option<Self> {
        let exists = (index as usize) < block.verified.operations().len();
        exists.then_some(Self { block, index })
    }

    /// The operation with this id; `None` if the block does not have it.
    pub fn find(block: ArchivedBlock, id: &OperationId) -> Option<Self> {
        let operations = block.verified.operations();
        let index = operations.iter().position(|operation| operation.id == *id)?;
        let index = u32::try_from(index).ok()?;
        Some(Self { block, index })
    }

    /// Its block.
    pub fn block(&self) -> &ArchivedBlock {
        &self.block
    }

    /// Its position in the block.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// The operation.
    pub fn operation(&self) -> &massa_models::operation::SecureShareOperation {
        &self.block.verified.operations()[self.index as usize]
    }

    /// Its id.
    pub fn id(&self) -> OperationId {
        self.operation().id
    }
}

/// Why the archive did not answer.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageApiError {
    /// The node does not archive.
    #[error("this node does not archive: distributed_storage.enabled is false")]
    Disabled,
    /// A parameter is out of its range: the caller is at fault.
    #[error("{field}: {reason}")]
    BadRequest {
        /// The parameter.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive has no such thing.
    #[error("the archive has no {0}")]
    NotFound(String),
    /// The period is not complete yet, or before the archive.
    #[error("period {period} is not archived")]
    NotArchived {
        /// The period.
        period: u64,
    },
    /// It is known to have been final, and lost with its period: nobody has it.
    #[error("{0}")]
    Lost(String),
    /// The node let go of the period.
    #[error("period {period} is pruned here: this node keeps periods from {floor} on")]
    Pruned {
        /// The period.
        period: u64,
        /// The first period that is kept.
        floor: u64,
    },
    /// Nobody who should have it gave it in time. It may work later.
    #[error("{what} could not be read: {reason}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// What the holders did.
        reason: String,
    },
    /// As many reads wait for other nodes as may. It works later.
    #[error("too many reads are waiting for other nodes")]
    Busy,
    /// The node is being stopped.
    #[error("the node is stopping")]
    Stopping,
    /// The store failed: the node is at fault.
    #[error("the store failed: {0}")]
    Internal(String),
}

impl StorageApiError {
    /// A parameter is out of its range.
    pub fn bad(field: &'static str, reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::BadRequest { field, reason }
    }
}

/// The archive behind the API. Implemented by the node.
///
/// Calls may wait for other nodes, each with a deadline of the implementation's; they run on threads made for waiting.
/// Parameters were checked.
pub trait StorageApi: Send + Sync {
    /// What the node archives, holds and misses.
    ///
    /// # Errors
    /// [`StorageApiError::Internal`].
    fn status(&self) -> Result<StorageStatus, StorageApiError>;

    /// Chunks of the complete periods in ascending order of period and position.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn chunks(&self, request: &ListChunks) -> Result<Vec<StorageChunk>, StorageApiError>;

    /// Complete periods in ascending order.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn periods(&self, request: &ListPeriods) -> Result<Vec<StoragePeriod>, StorageApiError>;

    /// The nodes that offer disk space.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn nodes(&self) -> Result<Vec<StorageNodeInfo>, StorageApiError>;

    /// A period.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn archived_period(&self, period: u64) -> Result<ArchivedPeriodInfo, StorageApiError>;

    /// A block or a miss, from this node or another.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn archived_block(&self, block: &BlockOrSlot) -> Result<ArchivedPlace, StorageApiError>;

    /// An operation, from this node or another.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn archived_operation(&self, id: &OperationId) -> Result<ArchivedOperationInfo, StorageApiError>;

    /// A block, from this node or another; `None` if the archive does not have it.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn block(&self, id: &BlockId) -> Result<Option<ArchivedBlock>, StorageApiError>;

    /// An operation with its block, from this node or another; `None` if the archive does not have it.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn operation(&self, id: &OperationId) -> Result<Option<ArchivedOperation>, StorageApiError>;

    /// Puts a challenge to a node; its result will be in [`StorageApi::challenge_history`].
    ///
    /// # Errors
    /// [`StorageApiError`]; [`StorageApiError::Disabled`] where peers are not audited.
    fn issue_challenge(
        &self,
        node: &NodeOrAddress,
        chunk: &ChunkOrPosition,
    ) -> Result<IssuedChallenge, StorageApiError> {
        let _ = (node, chunk);
        Err(StorageApiError::Disabled)
    }

    /// What came of audits of peers.
    ///
    /// # Errors
    /// [`StorageApiError`]; [`StorageApiError::Disabled`] where peers are not audited.
    fn challenge_history(&self, request: &GetChallengeHistory) -> Result<ChallengeHistory, StorageApiError> {
        let _ = request;
        Err(StorageApiError::Disabled)
    }

    /// What the node earned: its last `count` rounds, and all of them in sum.
    ///
    /// # Errors
    /// [`StorageApiError`]; [`StorageApiError::Disabled`] where the node takes no part in the rounds.
    fn earnings(&self, count: u64) -> Result<StorageEarnings, StorageApiError> {
        let _ = count;
        Err(StorageApiError::Disabled)
    }
}

/// The archive of a node that does not archive.
#[derive(Clone, Copy, Debug)]
pub struct DisabledStorage {
    /// The node.
    pub node_id: NodeId,
    /// The chain.
    pub chain_id: u64,
}

impl StorageApi for DisabledStorage {
    fn status(&self) -> Result<StorageStatus, StorageApiError> {
        Ok(StorageStatus {
            enabled: false,
            node_id: self.node_id,
            operator_address: None,
            chain_id: self.chain_id,
            first_period: 0,
            last_archived_period: None,
            archived_periods: 0,
            lost_periods: 0,
            floor: 0,
            next_segment: 0,
            segments_complete: 0,
            chunks_total: 0,
            chunks_held: 0,
            chunks_assigned: 0,
            chunks_missing: 0,
            chunks_extra: 0,
            bytes_held: 0,
            disk_bytes: 0,
            allocated_bytes: 0,
            awaited: AwaitedPlaces::default(),
            queue_full_count: 0,
            repairing: RepairCounts::default(),
            store_error: None,
            peers: StoragePeerCounts::default(),
            replication_factor: 0,
            chunk_size: 0,
            segment_periods: 0,
            last_period_final: None,
            synced: false,
            why_not_more: vec![StorageApiError::Disabled.to_string()],
            registry: RegistryInfo::default(),
        })
    }

    fn chunks(&self, _: &ListChunks) -> Result<Vec<StorageChunk>, StorageApiError> {
        Err(StorageApiError::Disabled)
    }

    fn periods(&self, _: &ListPeriods) -> Result<Vec<StoragePeriod>, StorageApiError> {
        Err(StorageApiError::Disabled)
    }

    fn nodes(&self) -> Result<Vec<StorageNodeInfo>, StorageApiError> {
        Err(StorageApiError::Disabled)
    }

    fn archived_period(&self, _: u64) -> Result<ArchivedPeriodInfo, StorageApiError> {
        Err(StorageApiError::Disabled)
    }

    fn archived_block(&self, _: &BlockOrSlot) -> Result<ArchivedPlace, StorageApiError> {
        Err(StorageApiError::Disabled)
    }

    fn archived_operation(&self, _: &OperationId) -> Result<ArchivedOperationInfo, StorageApiError> {
        Err(StorageApiError::Disabled)
    }

    /// Nothing is archived here, which is no failure of whoever asks for any block.
    fn block(&self, _: &BlockId) -> Result<Option<ArchivedBlock>, StorageApiError> {
        Ok(None)
    }

    /// As [`DisabledStorage::block`].
    fn operation(&self, _: &OperationId) -> Result<Option<ArchivedOperation>, StorageApiError> {
        Ok(None)
    }
}
