//! Keys and values of every column family, drawn in `docs/formats.md`.
//!
//! Keys are big-endian, so that iteration follows archive order; values are little-endian. A row whose content no Merkle
//! root covers ends in a checksum over its key and value, so that a damaged row is found before it is believed.

use crate::chunking::ChunkPages;
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::record::block_id_bytes;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;

/// Version of the layout of the store's rows.
pub const STORE_FORMAT: u32 = 1;
/// Bytes of the checksum at the end of a row: the first of BLAKE3 over key and value.
pub const CHECKSUM_BYTES: usize = 8;

/// Metadata: [`STORE_FORMAT`], u32.
pub const FORMAT_KEY: &[u8] = b"format";
/// Metadata: the archive's parameters, see [`parameters_value`].
pub const PARAMETERS_KEY: &[u8] = b"parameters";
/// Metadata: u64, periods below it are pruned.
pub const FLOOR_KEY: &[u8] = b"floor";
/// Metadata: u8, 1 if the operation index is kept.
pub const OPERATION_INDEX_KEY: &[u8] = b"operation_index";

/// Checksum of a row.
fn checksum(key: &[u8], value: &[u8]) -> [u8; CHECKSUM_BYTES] {
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

/// Manifests, and the prefix of pages and chunks: `period u64`.
pub fn period_key(period: u64) -> [u8; 8] {
    period.to_be_bytes()
}

/// Chunks: `period u64 | chunk u32`.
pub fn chunk_key(period: u64, chunk: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&period.to_be_bytes());
    key[8..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Pages: `period u64 | chunk u32 | page u16`.
pub fn page_key(period: u64, chunk: u32, page: u32) -> [u8; 14] {
    let mut key = [0; 14];
    key[..12].copy_from_slice(&chunk_key(period, chunk));
    key[12..].copy_from_slice(&(page as u16).to_be_bytes());
    key
}

/// Position of a page key; `None` if it is none.
pub fn parse_page_key(key: &[u8]) -> Option<(u64, u32, u32)> {
    let (chunk, page) = key.split_at_checked(12)?;
    let (period, chunk) = parse_chunk_key(chunk)?;
    Some((period, chunk, u32::from(u16::from_be_bytes(page.try_into().ok()?))))
}

/// Position of a chunk key; `None` if it is none.
pub fn parse_chunk_key(key: &[u8]) -> Option<(u64, u32)> {
    let (period, chunk) = key.split_at_checked(8)?;
    Some((parse_u64(period)?, u32::from_be_bytes(chunk.try_into().ok()?)))
}

/// A big-endian u64.
pub fn parse_u64(bytes: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Merkle roots: `00 | period u64`, the period root.
pub fn period_root_key(period: u64) -> [u8; 9] {
    tagged(0, period)
}

/// Merkle roots: `01 | segment u64`, the segment root.
pub fn segment_root_key(segment: u64) -> [u8; 9] {
    tagged(1, segment)
}

fn tagged(tag: u8, number: u64) -> [u8; 9] {
    let mut key = [tag; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
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

/// Awaited: `00 | slot (9)`.
pub fn awaited_key(slot: Slot) -> [u8; 10] {
    let mut key = [0; 10];
    key[1..].copy_from_slice(&slot.to_bytes_key());
    key
}

/// Awaited: `01 | thread u8 | parent block id (33)`, a parent that no known block has.
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

/// Pending: `00` for a miss, or `01 | record`.
pub const PENDING_MISS: u8 = 0;
/// See [`PENDING_MISS`].
pub const PENDING_BLOCK: u8 = 1;

/// Pages: `page | 65 bytes of signature for each object that ends in it | checksum of key and signatures`, written over
/// `row`: one buffer serves all pages of a period.
pub fn write_page(row: &mut Vec<u8>, key: &[u8], page: &[u8], signatures: &[u8]) {
    row.clear();
    row.extend(page);
    row.extend(signatures);
    row.extend(checksum(key, signatures));
}

/// Page and signatures of a page row; `page_length` comes from the manifest. `None` if the signatures are damaged; the
/// page itself is checked against its root.
pub fn parse_page<'a>(key: &[u8], row: &'a [u8], page_length: usize) -> Option<(&'a [u8], &'a [u8])> {
    let (page, sealed) = row.split_at_checked(page_length)?;
    Some((page, unseal(key, sealed)?))
}

/// Chunks: `length u32 | page root (32) … | objects before u32 …`, one of each for every page.
pub fn chunk_value(pages: &ChunkPages) -> Vec<u8> {
    let mut value = pages.entry.length.to_le_bytes().to_vec();
    value.extend(pages.page_roots.iter().flatten());
    value.extend(pages.objects_before.iter().flat_map(|count| count.to_le_bytes()));
    value
}

/// Reads [`chunk_value`] for a chunk that the manifest describes as `entry`; `None` unless the page roots lead to the
/// chunk id.
pub fn parse_chunk(value: &[u8], entry: ChunkEntry) -> Option<ChunkPages> {
    let pages = entry.page_count() as usize;
    let (length, rest) = value.split_at_checked(4)?;
    if length != entry.length.to_le_bytes() || rest.len() != pages * 36 {
        return None;
    }
    let (roots, counts) = rest.split_at(pages * 32);
    let array = |bytes: &[u8]| bytes.try_into().expect("chunks_exact gives the size");
    let chunk = ChunkPages {
        entry,
        page_roots: roots.chunks_exact(32).map(array).collect(),
        objects_before: counts
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes(bytes.try_into().expect("chunks_exact gives the size")))
            .collect(),
    };
    (chunk.root() == entry.id).then_some(chunk)
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
