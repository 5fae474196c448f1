//! Genesis blocks.

use massa_consensus_exports::{ConsensusConfig, ConsensusError};
use massa_models::block::{Block, BlockSerializer, SecureShareBlock};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer, SecuredHeader};
use massa_models::operation::{compute_operations_hash, OperationIdSerializer};
use massa_models::secure_share::SecureShareContent;
use massa_models::slot::Slot;

/// The first block of `thread`: no parents, no operations, signed with the genesis key.
///
/// # Errors
/// [`ConsensusError::Models`]: the key cannot sign.
pub fn create_genesis_block(config: &ConsensusConfig, thread: u8) -> Result<SecureShareBlock, ConsensusError> {
    let header = BlockHeader {
        current_version: 0,
        announced_version: None,
        slot: Slot::new(0, thread),
        parents: Vec::new(),
        operation_merkle_root: compute_operations_hash(&[], &OperationIdSerializer::new()),
        endorsements: Vec::new(),
        denunciations: Vec::new(),
    };
    let (key, chain_id) = (&config.genesis_key, config.chain_id);
    let header: SecuredHeader = header.new_verifiable(BlockHeaderSerializer::new(), key, chain_id)?;
    let block = Block {
        header,
        operations: Vec::new(),
    };
    Ok(block.new_verifiable(BlockSerializer::new(), key, chain_id)?)
}
