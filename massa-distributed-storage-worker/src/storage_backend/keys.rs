//! Keys and values that are drawn byte by byte, and the checksum that ends a row.
//!
//! Keys are big-endian, so that iteration follows archive order; values are little-endian.

use massa_distributed_storage_exports::record::block_id_bytes;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;

/// Bytes of the checksum at the end of a row: the first of BLAKE3 over key and value.
pub const CHECKSUM_BYTES: usize = 8;

/// Checksum of a row.
pub(crate) fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECKSUM_BYTES]);
    sum
}

/// Appends the checksum to a value.
pub fn seal(key: &[u8], mut value: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &value);
    value.extend(sum);
    value
}

/// The value of a sealed row, or `None` if the checksum does not fit.
pub fn unseal<'a>(key: &[u8], row: &'a [u8]) -> Option<&'a [u8]> {
    let (value, sum) = row.split_at_checked(row.len().checked_sub(CHECKSUM_BYTES)?)?;
    (checksum(key, value) == sum).then_some(value)
}

/// Block index: block id (33).
pub fn block_index_key(id: &BlockId) -> [u8; 33] {
    block_id_bytes(id)
}

/// Reads [`block_index_key`]; version 0 is the only one there is.
pub fn parse_block_id(bytes: &[u8]) -> Option<BlockId> {
    let (version, hash) = bytes.split_first()?;
    let hash = Hash::from_bytes(hash.try_into().ok()?);
    (*version == 0).then(|| BlockId::new(hash))
}

/// Operation index: operation id (33).
pub fn operation_index_key(id: &OperationId) -> [u8; 33] {
    let mut key = [0; 33];
    key[1..].copy_from_slice(id.get_hash().to_bytes());
    key
}

/// Where a block is archived: `period u64 (big-endian) | thread u8`.
pub fn block_index_value(slot: Slot) -> Vec<u8> {
    slot.to_bytes_key().to_vec()
}

/// Reads [`block_index_value`].
pub fn parse_block_index(value: &[u8]) -> Option<Slot> {
    Some(Slot::from_bytes_key(value.try_into().ok()?))
}

/// Where an operation is archived: `period u64 (big-endian) | thread u8 | index u32`.
pub fn operation_index_value(slot: Slot, index: u32) -> Vec<u8> {
    let mut value = slot.to_bytes_key().to_vec();
    value.extend(index.to_le_bytes());
    value
}

/// Reads [`operation_index_value`].
pub fn parse_operation_index(value: &[u8]) -> Option<(Slot, u32)> {
    let (slot, index) = value.split_at_checked(9)?;
    Some((parse_block_index(slot)?, u32::from_le_bytes(index.try_into().ok()?)))
}

/// Missing: `00 | slot (9)`.
pub fn missing_key(slot: Slot) -> [u8; 10] {
    let mut key = [0; 10];
    key[1..].copy_from_slice(&slot.to_bytes_key());
    key
}

/// Missing: `01 | thread u8 | parent block id (33)`, a parent that no known block has.
pub fn link_key(thread: u8, parent: &BlockId) -> [u8; 35] {
    let mut key = [1; 35];
    key[1] = thread;
    key[2..].copy_from_slice(&block_id_bytes(parent));
    key
}

/// Reads [`link_key`].
pub fn parse_link_key(key: &[u8]) -> Option<(u8, BlockId)> {
    let (head, id) = key.split_at_checked(2)?;
    let [1, thread] = *head else { return None };
    Some((thread, parse_block_id(id)?))
}

/// `chain id u64 | threads u8 | chunk_size u32 | segment periods u64 | first period u64 | boundary block id (33) …`
pub fn parameters_value(parameters: &ArchiveParameters) -> Vec<u8> {
    let mut value = parameters.chain_id.to_le_bytes().to_vec();
    value.push(parameters.thread_count);
    value.extend(parameters.chunk_size.to_le_bytes());
    value.extend(parameters.segment_periods.to_le_bytes());
    value.extend(parameters.first_period.to_le_bytes());
    value.extend(parameters.boundary.iter().flat_map(block_id_bytes));
    value
}

/// Reads [`parameters_value`].
pub fn parse_parameters(value: &[u8]) -> Option<ArchiveParameters> {
    let (head, boundary) = value.split_at_checked(29)?;
    let u64_at = |start: usize| Some(u64::from_le_bytes(head[start..start + 8].try_into().ok()?));
    let parameters = ArchiveParameters {
        chain_id: u64_at(0)?,
        thread_count: head[8],
        chunk_size: u32::from_le_bytes(head[9..13].try_into().ok()?),
        segment_periods: u64_at(13)?,
        first_period: u64_at(21)?,
        boundary: boundary.chunks_exact(33).map(parse_block_id).collect::<Option<_>>()?,
    };
    let whole = boundary.len() % 33 == 0 && parameters.check().is_ok();
    whole.then_some(parameters)
}
