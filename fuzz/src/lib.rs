//! What the fuzz targets share: decoders with the main network's limits, and the rules that decoded bytes obey.

pub mod allocated;

use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_models::block::{Block, BlockDeserializer, BlockDeserializerArgs};
use massa_models::config::{
    ENDORSEMENT_COUNT, MAX_DATASTORE_VALUE_LENGTH, MAX_DENUNCIATIONS_PER_BLOCK_HEADER, MAX_FUNCTION_NAME_LENGTH,
    MAX_OPERATIONS_PER_BLOCK, MAX_OPERATION_DATASTORE_ENTRY_COUNT, MAX_OPERATION_DATASTORE_KEY_LENGTH,
    MAX_OPERATION_DATASTORE_VALUE_LENGTH, MAX_PARAMETERS_SIZE, THREAD_COUNT,
};
use massa_models::operation::{Operation, OperationDeserializer};
use massa_models::secure_share::SecureShareDeserializer;
use massa_serialization::{DeserializeError, Deserializer, Serializer};

/// The main network's. Ids of operations depend on it.
pub const CHAIN_ID: u64 = 77_658_377;

/// Reads blocks as a node of the main network does, whatever period the network was last restarted at.
pub fn block_deserializer() -> SecureShareDeserializer<Block, BlockDeserializer> {
    let content = BlockDeserializer::new(BlockDeserializerArgs {
        thread_count: THREAD_COUNT,
        max_operations_per_block: MAX_OPERATIONS_PER_BLOCK,
        endorsement_count: ENDORSEMENT_COUNT,
        max_denunciations_per_block_header: MAX_DENUNCIATIONS_PER_BLOCK_HEADER,
        last_start_period: None,
        chain_id: CHAIN_ID,
    });
    SecureShareDeserializer::new(content, CHAIN_ID)
}

/// Reads operations as a node of the main network does.
pub fn operation_deserializer() -> SecureShareDeserializer<Operation, OperationDeserializer> {
    let content = OperationDeserializer::new(
        MAX_DATASTORE_VALUE_LENGTH,
        MAX_FUNCTION_NAME_LENGTH,
        MAX_PARAMETERS_SIZE,
        MAX_OPERATION_DATASTORE_ENTRY_COUNT,
        MAX_OPERATION_DATASTORE_KEY_LENGTH,
        MAX_OPERATION_DATASTORE_VALUE_LENGTH,
    );
    SecureShareDeserializer::new(content, CHAIN_ID)
}

/// Decodes the beginning of `bytes`: the value, and the bytes it was made of. `None` if they are refused.
pub fn decode<'a, T>(deserializer: &impl Deserializer<T>, bytes: &'a [u8]) -> Option<(T, &'a [u8])> {
    let (rest, value) = deserializer.deserialize::<DeserializeError>(bytes).ok()?;
    Some((value, &bytes[..bytes.len() - rest.len()]))
}

/// Encodes a value that was decoded, which always has an encoding.
pub fn encode<T>(serializer: &impl Serializer<T>, value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    serializer
        .serialize(value, &mut bytes)
        .expect("what was decoded can be encoded");
    bytes
}

/// Whether the versions of the leading signature and key of a signed object are the one byte 0.
///
/// A version whose varint overflows is read as 0 too, as upstream does; it is written as the one byte 0.
pub fn has_plain_versions(signed: &[u8]) -> bool {
    signed[0] == 0 && signed[SIGNATURE_BYTES] == 0
}
