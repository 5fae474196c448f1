//! Verification down to meaning: what a reader of the archive may rely on.
//!
//! A block is verified when its id is recomputed from its header, the header's signature is valid, the operations are
//! those that the header commits to, and every operation's signature is valid. What consensus judged before the block
//! became final is not judged again: producer draws, execution, endorsements. The block id commits to the endorsements,
//! so they cannot be changed; whether they are valid is told apart ([`VerifiedBlock::invalid_endorsements`]).

use crate::record::{BlockRecord, RecordError};
use massa_hash::Hash;
use massa_models::block::{BlockDeserializer, BlockDeserializerArgs, SecureShareBlock};
use massa_models::block_id::BlockId;
use massa_models::config::{
    ENDORSEMENT_COUNT, MAX_DATASTORE_VALUE_LENGTH, MAX_DENUNCIATIONS_PER_BLOCK_HEADER, MAX_FUNCTION_NAME_LENGTH,
    MAX_OPERATIONS_PER_BLOCK, MAX_OPERATION_DATASTORE_ENTRY_COUNT, MAX_OPERATION_DATASTORE_KEY_LENGTH,
    MAX_OPERATION_DATASTORE_VALUE_LENGTH, MAX_PARAMETERS_SIZE,
};
use massa_models::operation::{OperationDeserializer, OperationId, SecureShareOperation};
use massa_models::secure_share::{Id, SecureShare, SecureShareContent, SecureShareDeserializer};
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
    /// An operation's signature is not its creator's.
    #[error("operation {operation_id} has an invalid signature")]
    OperationSignature {
        /// The operation.
        operation_id: OperationId,
    },
}

/// A block and its operations, verified. Only [`verify_block`] and [`verify_blocks`] make one.
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

    /// Indexes of the endorsements whose signature is not valid for the block's slot. Costs a check of each.
    pub fn invalid_endorsements(&self) -> Vec<u32> {
        let endorsements = &self.block.content.header.content.endorsements;
        let batch: Vec<SignedHash> = endorsements.iter().map(signed_hash).collect();
        if verify_signature_batch(&batch).is_ok() {
            return Vec::new();
        }
        let checked = endorsements.iter().zip(&batch);
        let invalid = checked.filter(|(_, signed)| !is_valid(signed));
        invalid.map(|(endorsement, _)| endorsement.content.index).collect()
    }
}

/// Parses and verifies a block with its operations.
///
/// # Errors
/// [`VerifyBlockError`].
pub fn verify_block(record: &BlockRecord, chain_id: u64, thread_count: u8) -> Result<VerifiedBlock, VerifyBlockError> {
    let verified = parse_block(record, chain_id, thread_count)?;
    verify_signatures(std::slice::from_ref(&verified)).map_err(|(_, error)| error)?;
    Ok(verified)
}

/// Parses and verifies blocks with their operations.
///
/// All signatures are checked in one batch, as upstream checks operations: for a hundred of them that is more than twice
/// as fast as one by one. If the batch fails, they are checked one by one, to name the first invalid one.
///
/// # Errors
/// The position of the first block that is not valid, and why.
pub fn verify_blocks<'a>(
    records: impl IntoIterator<Item = &'a BlockRecord>,
    chain_id: u64,
    thread_count: u8,
) -> Result<Vec<VerifiedBlock>, (usize, VerifyBlockError)> {
    let mut verified = Vec::new();
    let mut malformed = None;
    for record in records {
        match parse_block(record, chain_id, thread_count) {
            Ok(block) => verified.push(block),
            Err(error) => {
                malformed = Some((verified.len(), error));
                break;
            }
        }
    }
    verify_signatures(&verified)?;
    malformed.map_or(Ok(verified), Err)
}

/// Parses a block with its operations and checks every id, but no signature.
fn parse_block(record: &BlockRecord, chain_id: u64, thread_count: u8) -> Result<VerifiedBlock, VerifyBlockError> {
    parse_with_ids(record, chain_id, thread_count).map_err(|fault| {
        // A wrong id is told before anything else, as by whoever checks ids alone.
        record
            .check_ids(chain_id, thread_count)
            .map_or_else(VerifyBlockError::from, |_| fault)
    })
}

/// The same, with the ids that the deserializers compute anyway.
fn parse_with_ids(record: &BlockRecord, chain_id: u64, thread_count: u8) -> Result<VerifiedBlock, VerifyBlockError> {
    let view = record.view(thread_count)?;
    let block_id = view.block_id();
    let block = whole(&block_deserializer(chain_id, thread_count), record.block())
        .map_err(|reason| VerifyBlockError::Block { block_id, reason })?;
    if block.content.header.id != block_id {
        let (expected, found) = (block_id, block.content.header.id);
        return Err(RecordError::WrongBlock { expected, found }.into());
    }
    let deserializer = operation_deserializer(chain_id);
    let operations = record.operations().enumerate().map(|(index, bytes)| {
        whole(&deserializer, bytes).map_err(|reason| VerifyBlockError::Operation {
            block_id,
            index,
            reason,
        })
    });
    let operations = operations.collect::<Result<Vec<_>, _>>()?;
    view.check_operations(operations.iter().map(|operation| operation.id))?;
    Ok(VerifiedBlock { block, operations })
}

/// Parses a `SecureShareBlock` without its operations. Its id is recomputed; neither signatures nor the list of
/// operations are checked.
///
/// # Errors
/// What the deserializer said.
pub fn parse_secure_share_block(bytes: &[u8], chain_id: u64, thread_count: u8) -> Result<SecureShareBlock, String> {
    whole(&block_deserializer(chain_id, thread_count), bytes)
}

/// Parses a `SecureShareOperation`. Its id is recomputed; its signature is not checked.
///
/// # Errors
/// What the deserializer said.
pub fn parse_secure_share_operation(bytes: &[u8], chain_id: u64) -> Result<SecureShareOperation, String> {
    whole(&operation_deserializer(chain_id), bytes)
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

/// What the signature of an object signs.
fn signed_hash<T: SecureShareContent, I: Id>(share: &SecureShare<T, I>) -> SignedHash {
    (
        share.compute_signed_hash(),
        share.signature,
        share.content_creator_pub_key,
    )
}

/// Signatures of single objects, collected to be checked in one batch: for whoever has parts of a block.
#[derive(Debug, Default)]
pub struct LooseSignatures {
    batch: Vec<SignedHash>,
}

impl LooseSignatures {
    /// Adds the signature of a `SecureShareBlock` whose other bytes are `unsigned`.
    ///
    /// # Errors
    /// What the deserializer said.
    pub fn add_block(
        &mut self,
        (signature, unsigned): (&[u8], &[u8]),
        chain_id: u64,
        thread_count: u8,
    ) -> Result<(), String> {
        let block = parse_secure_share_block(&[signature, unsigned].concat(), chain_id, thread_count)?;
        self.batch.push(signed_hash(&block.content.header));
        Ok(())
    }

    /// Adds the signature of a `SecureShareOperation` whose other bytes are `unsigned`.
    ///
    /// # Errors
    /// What the deserializer said.
    pub fn add_operation(&mut self, (signature, unsigned): (&[u8], &[u8]), chain_id: u64) -> Result<(), String> {
        let operation = parse_secure_share_operation(&[signature, unsigned].concat(), chain_id)?;
        self.batch.push(signed_hash(&operation));
        Ok(())
    }

    /// Whether all of them are valid.
    pub fn verify(&self) -> bool {
        self.batch.is_empty() || verify_signature_batch(&self.batch).is_ok()
    }
}

fn is_valid((hash, signature, key): &SignedHash) -> bool {
    key.verify_signature(hash, signature).is_ok()
}

/// Checks the signatures of headers and operations; names the first block with an invalid one.
fn verify_signatures(blocks: &[VerifiedBlock]) -> Result<(), (usize, VerifyBlockError)> {
    let batch: Vec<SignedHash> = blocks.iter().flat_map(signed_hashes).collect();
    if verify_signature_batch(&batch).is_ok() {
        return Ok(());
    }
    for (position, verified) in blocks.iter().enumerate() {
        let header = &verified.block.content.header;
        match signed_hashes(verified).position(|signed| !is_valid(&signed)) {
            None => {}
            Some(0) => return Err((position, VerifyBlockError::HeaderSignature(header.id))),
            Some(index) => {
                let operation_id = verified.operations[index - 1].id;
                return Err((position, VerifyBlockError::OperationSignature { operation_id }));
            }
        }
    }
    Ok(())
}

/// What the signatures of a block sign: the header's, then the operations'.
fn signed_hashes(verified: &VerifiedBlock) -> impl Iterator<Item = SignedHash> + '_ {
    let header = signed_hash(&verified.block.content.header);
    std::iter::once(header).chain(verified.operations.iter().map(signed_hash))
}
