//! Things of the archive: periods, blocks, operations, with proofs that they are in it.

use super::lists::PeriodState;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_proof::HexBytes;
use massa_distributed_storage_exports::segment_proof::ProofDocument;
use massa_distributed_storage_exports::verification::{verify_block, VerifiedBlock, VerifyBlockError};
use massa_distributed_storage_exports::PeriodRoot;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use serde::{Deserialize, Serialize};

/// A proof, or why there is none yet. While the segment is open a proof ends at the period root, and says so by having no
/// segment.
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
    /// The segment that it is in.
    pub segment: u64,
    /// Where it stands.
    pub state: PeriodState,
    /// Its root.
    pub root: PeriodRoot,
    /// Its bytes.
    pub bytes: u32,
    /// For each thread the block of its slot; nothing where it was missed.
    pub slots: Vec<Option<BlockId>>,
    /// The chunks of the segment that have bytes of it; none of a lost period is needed to read it.
    pub chunks: Vec<PeriodChunk>,
    /// That this is what the archive has.
    #[serde(flatten)]
    pub proof: ArchiveProof,
}

/// A chunk with bytes of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PeriodChunk {
    /// Its number in the segment.
    pub chunk: u32,
    /// Whether the node asked holds it.
    pub held: bool,
}

/// What the archive has at a slot.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ArchivedSlot {
    /// A block.
    Block(ArchivedBlockInfo),
    /// The slot was missed.
    Miss(ArchivedMissInfo),
    /// A block of a lost period: nobody has it.
    Lost(ArchivedLostInfo),
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

/// A block that is known to have been final, and lost with its period.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ArchivedLostInfo {
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub block_id: BlockId,
    /// That it was lost.
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
        Ok(Self::new(record, verified))
    }

    /// A block that was verified already: `verified` is what became of `record` then.
    pub fn new(record: BlockRecord, verified: VerifiedBlock) -> Self {
        Self { record, verified }
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
