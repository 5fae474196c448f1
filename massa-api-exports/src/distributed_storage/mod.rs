//! The archive in the API: what it tells, and what a node implements to tell it.

mod archived;
pub mod audits;
mod error;
mod lists;
pub mod rounds;
mod status;

pub use archived::{
    ArchiveProof, ArchivedBlock, ArchivedBlockInfo, ArchivedLostInfo, ArchivedMissInfo, ArchivedOperation,
    ArchivedOperationInfo, ArchivedPeriodInfo, ArchivedSlot, BlockOrSlot, PeriodChunk,
};
pub use error::{StorageApiError, UnknownId};
pub use lists::{
    ChunkAt, ChunkState, IndexInfo, IndexKept, ListChunks, ListNodes, ListPeriods, ListSegments, NodeCapabilities,
    ParseChunkAtError, PeriodState, SegmentState, StorageChunk, StorageNodeInfo, StoragePeriod, StorageSegment,
    DEFAULT_LIST_LIMIT, MAX_LIST_LIMIT,
};
pub use status::{
    BlockedAt, MissingSlots, Progress, RefusedOperation, RegisteredNode, RegistryInfo, RepairProgress, StatusPart,
    StoragePeerCounts, StorageStatus,
};

use audits::{ChallengeHistory, ChunkOrPosition, GetChallengeHistory, IssuedChallenge, NodeOrAddress};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::OperationId;
use rounds::StorageEarnings;

/// What a caller may still read. An id is looked for before it is known whether there is anything to read: what nobody knows
/// is not counted.
pub trait ReadBudget {
    /// So many ids may be asked of other nodes: those of as many objects as may be read.
    fn left(&self) -> usize;

    /// Counts an object that is read now.
    ///
    /// # Errors
    /// [`StorageApiError::OverLimit`] when there is nothing left, [`StorageApiError::Unavailable`] when the call has taken too
    /// long already.
    fn take(&self) -> Result<(), StorageApiError>;

    /// Counts bytes that were read, before more are.
    ///
    /// # Errors
    /// [`StorageApiError::TooLarge`] when an answer has no room for them, [`StorageApiError::OverLimit`] when the node's
    /// memory has none.
    fn hold(&self, bytes: usize) -> Result<(), StorageApiError>;
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

    /// Segments in ascending order, open ones too.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn segments(&self, request: &ListSegments) -> Result<Vec<StorageSegment>, StorageApiError>;

    /// Chunks in the order of the archive, of open segments too.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn chunks(&self, request: &ListChunks) -> Result<Vec<StorageChunk>, StorageApiError>;

    /// Archived periods in ascending order.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn periods(&self, request: &ListPeriods) -> Result<Vec<StoragePeriod>, StorageApiError>;

    /// The nodes that offer disk space, in the order of their ids.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn nodes(&self, request: &ListNodes) -> Result<Vec<StorageNodeInfo>, StorageApiError>;

    /// A period.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn archived_period(&self, period: u64, budget: &dyn ReadBudget) -> Result<ArchivedPeriodInfo, StorageApiError>;

    /// A block, a miss, or the id of a lost block, from this node or another.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn archived_block(&self, block: &BlockOrSlot, budget: &dyn ReadBudget) -> Result<ArchivedSlot, StorageApiError>;

    /// An operation, from this node or another.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn archived_operation(
        &self,
        id: &OperationId,
        budget: &dyn ReadBudget,
    ) -> Result<ArchivedOperationInfo, StorageApiError>;

    /// Blocks, from this node or others, one for each id; `None` for those that are not found.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn blocks(&self, ids: &[BlockId], budget: &dyn ReadBudget) -> Result<Vec<Option<ArchivedBlock>>, StorageApiError>;

    /// Operations with their blocks, from this node or others, one for each id; `None` for those that are not found.
    ///
    /// # Errors
    /// [`StorageApiError`].
    fn operations(
        &self,
        ids: &[OperationId],
        budget: &dyn ReadBudget,
    ) -> Result<Vec<Option<ArchivedOperation>>, StorageApiError>;

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

/// The archive of a node that does not archive: it is told not to, or its archive did not start.
#[derive(Clone, Debug)]
pub struct DisabledStorage {
    /// The node.
    pub node_id: NodeId,
    /// The chain.
    pub chain_id: u64,
    /// Why the archive did not start; nothing if it should not.
    pub problem: Option<String>,
}

impl DisabledStorage {
    fn error(&self) -> StorageApiError {
        let problem = self.problem.clone();
        problem.map_or(StorageApiError::Disabled, StorageApiError::NotRunning)
    }
}

impl StorageApi for DisabledStorage {
    fn status(&self) -> Result<StorageStatus, StorageApiError> {
        Ok(StorageStatus {
            enabled: self.problem.is_some(),
            problem: self.problem.clone(),
            why_not_more: vec![self.error().to_string()],
            ..StorageStatus::of_node(self.node_id, self.chain_id)
        })
    }

    fn segments(&self, _: &ListSegments) -> Result<Vec<StorageSegment>, StorageApiError> {
        Err(self.error())
    }

    fn chunks(&self, _: &ListChunks) -> Result<Vec<StorageChunk>, StorageApiError> {
        Err(self.error())
    }

    fn periods(&self, _: &ListPeriods) -> Result<Vec<StoragePeriod>, StorageApiError> {
        Err(self.error())
    }

    fn nodes(&self, _: &ListNodes) -> Result<Vec<StorageNodeInfo>, StorageApiError> {
        Err(self.error())
    }

    fn archived_period(&self, _: u64, _: &dyn ReadBudget) -> Result<ArchivedPeriodInfo, StorageApiError> {
        Err(self.error())
    }

    fn archived_block(&self, _: &BlockOrSlot, _: &dyn ReadBudget) -> Result<ArchivedSlot, StorageApiError> {
        Err(self.error())
    }

    fn archived_operation(
        &self,
        _: &OperationId,
        _: &dyn ReadBudget,
    ) -> Result<ArchivedOperationInfo, StorageApiError> {
        Err(self.error())
    }

    /// Nothing is archived here, which is no failure of whoever asks for any block.
    fn blocks(&self, ids: &[BlockId], _: &dyn ReadBudget) -> Result<Vec<Option<ArchivedBlock>>, StorageApiError> {
        Ok(vec![None; ids.len()])
    }

    /// As [`DisabledStorage::blocks`].
    fn operations(
        &self,
        ids: &[OperationId],
        _: &dyn ReadBudget,
    ) -> Result<Vec<Option<ArchivedOperation>>, StorageApiError> {
        Ok(vec![None; ids.len()])
    }

    fn issue_challenge(&self, _: &NodeOrAddress, _: &ChunkOrPosition) -> Result<IssuedChallenge, StorageApiError> {
        Err(self.error())
    }

    fn challenge_history(&self, _: &GetChallengeHistory) -> Result<ChallengeHistory, StorageApiError> {
        Err(self.error())
    }

    fn earnings(&self, _: u64) -> Result<StorageEarnings, StorageApiError> {
        Err(self.error())
    }
}
