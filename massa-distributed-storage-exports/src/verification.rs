//! Verification down to meaning: what a reader of the archive may rely on.
//!
//! A block is verified when its id is recomputed from its header, the header's and every endorsement's signature is
//! valid, the operations are those that the header commits to, and every operation's signature is valid. Producer
//! draws and execution are not checked: that is what the chain's consensus did before the block became final.

use crate::record::{BlockRecord, RecordError};
use massa_hash::Hash;
use massa_models::block::{BlockDeserializer, BlockDeserializerArgs, SecureShareBlock};
use massa_models::block_id::BlockId;
use massa_models::config::{
    ENDORSEMENT_COUNT, MAX_DATASTORE_VALUE_LENGTH, MAX_DENUNCIATIONS_PER_BLOCK_HEADER,
    MAX_FUNCTION_NAME_LENGTH, MAX_OPERATIONS_PER_BLOCK, MAX_OPERATION_DATASTORE_ENTRY_COUNT,
    MAX_OPERATION_DATASTORE_KEY_LENGTH, MAX_OPERATION_DATASTORE_VALUE_LENGTH, MAX_PARAMETERS_SIZE,
};
use massa_models::operation::{OperationDeserializer, OperationId, SecureShareOperation};
use massa_models::secure_share::SecureShareDeserializer;
use massa_serialization::{DeserializeError, Deserializer};
use massa_signature::{verify_signature_batch, PublicKey, Signature};

/// Why a block is not what it claims to be.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyBlockError {
    /// The bytes are not a block, or the operations are not the block's.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The block's serialization is malformed.
    #[error("block {block_id} does not parse: {reason}")]
    Block {
        /// The block.
        block_id: BlockId,
        /// What the deserializer said.
        reason: String,
    },
    /// An operation's serialization is malformed.
    #[error("operation {index} of block {block_id} does not parse: {reason}")]
    Operation {
        /// The block.
        block_id: BlockId,
        /// Position in the block.
        index: usize,
        /// What the deserializer said.
        reason: String,
    },
    /// The header's signature is not its creator's.
    #[error("block {0} has an invalid signature")]
    HeaderSignature(BlockId),
    /// An endorsement's signature is not its creator's.
    #[error("endorsement {index} of block {block_id} has an invalid signature")]
    EndorsementSignature {
        /// The block.
        block_id: BlockId,
        /// Index of the endorsement.
        index: u32,
    },
    /// An operation's signature is not its creator's.
    #[error("operation {operation_id} has an invalid signature")]
    OperationSignature {
        /// The operation.
        operation_id: OperationId,
    },
}

/// A block and its operations, verified. Only [`verify_block`] makes one.
#[derive(Clone, Debug)]
pub struct VerifiedBlock {
    block: SecureShareBlock,
    operations: Vec<SecureShareOperation>,
}

impl VerifiedBlock {
    /// The block.
    pub fn block(&self) -> &SecureShareBlock {
        &self.block
    }

    /// Its operations, in order.
    pub fn operations(&self) -> &[SecureShareOperation] {
        &self.operations
    }
}

/// Parses and verifies a block with its operations.
///
/// All signatures of the block are checked in one batch, as upstream checks operations; if the batch fails, one by one,
/// to name the invalid one.
///
/// # Errors
/// [`VerifyBlockError`].
pub fn verify_block(
    record: &BlockRecord,
    chain_id: u64,
    thread_count: u8,
) -> Result<VerifiedBlock, VerifyBlockError> {
    let verified = parse_block(record, chain_id, thread_count)?;
    verify_signatures(&verified)?;
    Ok(verified)
}

/// Parses a block with its operations and checks every id, but no signature.
fn parse_block(
    record: &BlockRecord,
    chain_id: u64,
    thread_count: u8,
) -> Result<VerifiedBlock, VerifyBlockError> {
    let block_id = record.check_ids(chain_id, thread_count)?.block_id();
    let block = whole(&block_deserializer(chain_id, thread_count), record.block())
        .map_err(|reason| VerifyBlockError::Block { block_id, reason })?;
    let deserializer = operation_deserializer(chain_id);
    let operations = record.operations().enumerate().map(|(index, bytes)| {
        whole(&deserializer, bytes).map_err(|reason| VerifyBlockError::Operation {
            block_id,
            index,
            reason,
        })
    });
    let operations = operations.collect::<Result<_, _>>()?;
    Ok(VerifiedBlock { block, operations })
}

/// Parses all of `bytes`.
fn whole<T>(deserializer: &impl Deserializer<T>, bytes: &[u8]) -> Result<T, String> {
    match deserializer.deserialize::<DeserializeError>(bytes) {
        Ok(([], value)) => Ok(value),
        Ok((rest, _)) => Err(format!("{} bytes follow it", rest.len())),
        Err(error) => Err(error.to_string()),
    }
}

/// Upstream's block deserializer with the limits of the chain.
fn block_deserializer(
    chain_id: u64,
    thread_count: u8,
) -> SecureShareDeserializer<massa_models::block::Block, BlockDeserializer> {
    let arguments = BlockDeserializerArgs {
        thread_count,
        max_operations_per_block: MAX_OPERATIONS_PER_BLOCK,
        endorsement_count: ENDORSEMENT_COUNT,
        max_denunciations_per_block_header: MAX_DENUNCIATIONS_PER_BLOCK_HEADER,
        last_start_period: None,
        chain_id,
    };
    SecureShareDeserializer::new(BlockDeserializer::new(arguments), chain_id)
}

/// Upstream's operation deserializer with the limits of the chain.
fn operation_deserializer(
    chain_id: u64,
) -> SecureShareDeserializer<massa_models::operation::Operation, OperationDeserializer> {
    let deserializer = OperationDeserializer::new(
        MAX_DATASTORE_VALUE_LENGTH,
        MAX_FUNCTION_NAME_LENGTH,
        MAX_PARAMETERS_SIZE,
        MAX_OPERATION_DATASTORE_ENTRY_COUNT,
        MAX_OPERATION_DATASTORE_KEY_LENGTH,
        MAX_OPERATION_DATASTORE_VALUE_LENGTH,
    );
    SecureShareDeserializer::new(deserializer, chain_id)
}

type SignedHash = (Hash, Signature, PublicKey);

fn verify_signatures(verified: &VerifiedBlock) -> Result<(), VerifyBlockError> {
    let batch = signed_hashes(verified);
    if verify_signature_batch(&batch).is_ok() {
        return Ok(());
    }
    let valid = |(hash, signature, key): &SignedHash| key.verify_signature(hash, signature).is_ok();
    match batch.iter().position(|signed| !valid(signed)) {
        Some(index) => Err(invalid_signature(verified, index)),
        None => Ok(()),
    }
}

/// What each signature of the block signs: the header's, the endorsements', the operations'.
fn signed_hashes(verified: &VerifiedBlock) -> Vec<SignedHash> {
    let header = &verified.block.content.header;
    let mut batch = vec![(
        header.compute_signed_hash(),
        header.signature,
        header.content_creator_pub_key,
    )];
    batch.extend(header.content.endorsements.iter().map(|endorsement| {
        (
            endorsement.compute_signed_hash(),
            endorsement.signature,
            endorsement.content_creator_pub_key,
        )
    }));
    batch.extend(verified.operations.iter().map(|operation| {
        (
            operation.compute_signed_hash(),
            operation.signature,
            operation.content_creator_pub_key,
        )
    }));
    batch
}

/// The error for signature `index` of [`signed_hashes`].
fn invalid_signature(verified: &VerifiedBlock, index: usize) -> VerifyBlockError {
    let header = &verified.block.content.header;
    let endorsements = &header.content.endorsements;
    if index == 0 {
        return VerifyBlockError::HeaderSignature(header.id);
    }
    match endorsements.get(index - 1) {
        Some(endorsement) => VerifyBlockError::EndorsementSignature {
            block_id: header.id,
            index: endorsement.content.index,
        },
        None => VerifyBlockError::OperationSignature {
            operation_id: verified.operations[index - 1 - endorsements.len()].id,
        },
    }
}
