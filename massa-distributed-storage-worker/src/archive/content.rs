//! From what consensus keeps of a block to its record.

use massa_distributed_storage_exports::record::BlockRecord;
use massa_models::block::BlockSerializer;
use massa_models::block_id::BlockId;
use massa_models::operation::SecureShareOperation;
use massa_serialization::Serializer;
use massa_storage::Storage;

/// The record of a block whose content `storage` claims; `None` if the block or one of its operations is not there.
///
/// The bytes that arrived may be one of several forms of the same block, so they are written anew.
pub fn record_from_storage(block_id: &BlockId, storage: &Storage) -> Option<BlockRecord> {
    let blocks = storage.read_blocks();
    let block = blocks.get(block_id)?;
    let all = storage.read_operations();
    let mut bytes = Vec::with_capacity(block.serialized_data.len());
    BlockSerializer::new().serialize(&block.content, &mut bytes).ok()?;
    let operations = block.content.operations.iter().map(|id| all.get(id).map(wire_bytes));
    let operations: Vec<Vec<u8>> = operations.collect::<Option<_>>()?;
    BlockRecord::new(&bytes, &operations).ok()
}

/// Signature, creator key, content: what travels.
fn wire_bytes(operation: &SecureShareOperation) -> Vec<u8> {
    let mut bytes = operation.signature.to_bytes();
    bytes.extend(operation.content_creator_pub_key.to_bytes());
    bytes.extend(&operation.serialized_data);
    bytes
}
