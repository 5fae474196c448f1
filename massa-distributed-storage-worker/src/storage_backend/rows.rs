//! Keys and values of every family, drawn in `docs/formats.md`.
//!
//! Integers in keys are big-endian, so that iteration follows archive order. A value is a version byte and the postcard form
//! of a type of this module, unless drawn otherwise: none is hashed into a root or sent. Every row but pages ends in a
//! checksum over key and value (`keys.rs`, `seal`); the bytes of a page are covered by its root.
//!
//! | family | key | value |
//! |---|---|---|
//! | `merkle_roots` | segment u64 | [`SegmentRow`] |
//! | `storage_tables` | segment u64 | table, as `SegmentTable::to_bytes` draws it |
//! | `storage_held` | segment u64 | [`HeldRow`]; none where nothing is held |
//! | `storage_chunks` | segment u64, chunk u16 | [`ChunkRow`] of a chunk that is held |
//! | `storage_pages` | segment u64, chunk u16, page u16 | stored form, signatures: [`write_page`]; of chunks that are held; others are left over and nobody reads them |
//! | `storage_pages_passing` | the same | the same of chunks that are held as [`Keep::Backup`] |
//! | `storage_pending` | slot: period u64, thread u8 | record of a block whose segment is open or was closed last |
//! | `storage_stream` | 00, period u64 | [`JoinedRow`] |
//! | | 01, slot (9) | [`SlotRow`] |
//! | | 02, segment u64, chunk u16 | [`StreamChunkRow`] of a chunk that the stream has filled |
//! | `storage_missing` | 00, slot (9) | id (33) of the missing block, or nothing where it is unknown |
//! | | 01, thread u8, parent id (33) | period of the child u64, little-endian |
//! | `storage_block_index` | block id (33) | slot (9) |
//! | `storage_operation_index` | operation id (33) | slot (9), index in the block u32, little-endian |
//! | `storage_address_index` | address (34), slot (9) | nothing |
//! | `storage_metadata` | name | see the constants |
//! | `storage_own`, `storage_nodes`, `challenge_history` | kind, zero, rest | a type of another module, see [`super::own`] |

use crate::storage_backend::keys::{seal, unseal, CHECKSUM_BYTES};
use crate::storage_backend::own::Row;
use massa_db_exports::{STORAGE_PAGES_CF, STORAGE_PAGES_PASSING_CF};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::slot::Slot;
use serde::{Deserialize, Serialize};

pub use crate::storage_backend::keys::{
    block_index_key, block_index_value, link_key, missing_key, operation_index_key, operation_index_value,
    parameters_value, parse_block_id, parse_block_index, parse_link_key, parse_operation_index, parse_parameters,
};

/// Version of the layout of the store's rows. 1 and 2 were of archive format 1.
pub const STORE_FORMAT: u32 = 3;
/// Metadata: [`STORE_FORMAT`], u32, little-endian.
pub const FORMAT_KEY: &[u8] = b"format";
/// Metadata: the archive's parameters.
pub const PARAMETERS_KEY: &[u8] = b"parameters";
/// Metadata: [`super::index::IndexScopes`].
pub const INDEXES_KEY: &[u8] = b"indexes";
/// Metadata: u64, little-endian: chunks and indexes of segments below it are pruned.
pub const FLOOR_KEY: &[u8] = b"floor";
/// Metadata: [`super::counters::Counters`].
pub const COUNTERS_KEY: &[u8] = b"counters";

/// First byte of the key of a [`JoinedRow`].
pub const JOINED: u8 = 0;
/// First byte of the key of a [`SlotRow`].
pub const SLOT: u8 = 1;
/// First byte of the key of a [`StreamChunkRow`].
pub const STREAM_CHUNK: u8 = 2;
/// Bytes of an address in the index: type, version, hash.
pub const ADDRESS_BYTES: usize = 34;

/// Where the content of a segment comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClosedState {
    /// Its blocks were all here: this node derived the root itself.
    Derived,
    /// Only its table came here, and the chunks of it that were fetched.
    TableOnly,
}

/// What lists show of a segment without reading its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentRow {
    /// Where it comes from.
    pub state: ClosedState,
    /// Its root.
    pub root: Digest,
    /// First period.
    pub first_period: u64,
    /// Number of periods.
    pub periods: u32,
    /// Bytes of the body.
    pub body_bytes: u64,
    /// Bytes of the bodies of all segments before.
    pub bytes_before: u64,
    /// Number of chunks.
    pub chunks: u32,
    /// Number of blocks; 0 where only the table came here, which does not tell.
    pub blocks: u32,
    /// Number of operations; 0 likewise.
    pub operations: u64,
    /// Periods that are lost; 0 likewise.
    pub lost_periods: u32,
}

/// Why a chunk is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// This node is one of its holders.
    Holder,
    /// This node keeps it until the holders promised.
    Backup,
}

impl Keep {
    /// Both.
    pub(crate) const ALL: [Self; 2] = [Self::Holder, Self::Backup];

    /// The family of its pages.
    pub(crate) fn family(self) -> &'static str {
        match self {
            Self::Holder => STORAGE_PAGES_CF,
            Self::Backup => STORAGE_PAGES_PASSING_CF,
        }
    }
}

/// Which chunks of a segment are held. It changes in the batch that changes a chunk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow {
    /// Number of chunks held.
    pub chunks: u32,
    /// Their bytes in plain.
    pub bytes: u64,
    /// Bytes of their page rows.
    pub stored_bytes: u64,
    /// Blocks whose first byte they hold.
    pub blocks: u32,
    /// Bit c of byte c/8, from the lowest: chunk c is held.
    pub bits: Vec<u8>,
    /// Those of them that are held as [`Keep::Backup`].
    pub passing_chunks: u32,
    /// Bytes of their page rows.
    pub passing_bytes: u64,
    /// A bit for each, as in `bits`.
    pub passing: Vec<u8>,
}

/// Whether a bit is set.
pub(crate) fn bit(bits: &[u8], index: u32) -> bool {
    let byte = bits.get(index as usize / 8).copied().unwrap_or(0);
    byte >> (index % 8) & 1 == 1
}

/// Sets or clears a bit. No byte at the end is empty.
fn set_bit(bits: &mut Vec<u8>, index: u32, value: bool) {
    let byte = index as usize / 8;
    if bits.len() <= byte {
        bits.resize(byte + 1, 0);
    }
    bits[byte] &= !(1 << (index % 8));
    bits[byte] |= u8::from(value) << (index % 8);
    while bits.last() == Some(&0) {
        bits.pop();
    }
}

impl HeldRow {
    /// Whether chunk `index` is held.
    pub fn contains(&self, index: u32) -> bool {
        bit(&self.bits, index)
    }

    /// Why it is held, if it is.
    pub fn keep_of(&self, index: u32) -> Option<Keep> {
        let keep = if bit(&self.passing, index) {
            Keep::Backup
        } else {
            Keep::Holder
        };
        self.contains(index).then_some(keep)
    }

    /// The chunks held, in order.
    pub fn indexes(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.bits.len() as u32 * 8).filter(|index| self.contains(*index))
    }

    /// Bytes of the page rows in a family.
    pub fn stored_as(&self, keep: Keep) -> u64 {
        match keep {
            Keep::Holder => self.stored_bytes.saturating_sub(self.passing_bytes),
            Keep::Backup => self.passing_bytes,
        }
    }

    /// Sets or clears the bits of a chunk; the totals stay.
    pub(crate) fn set(&mut self, index: u32, keep: Option<Keep>) {
        set_bit(&mut self.bits, index, keep.is_some());
        set_bit(&mut self.passing, index, keep == Some(Keep::Backup));
    }

    /// Adds a chunk that is not held yet.
    pub(crate) fn add(&mut self, index: u32, row: &ChunkRow) {
        self.set(index, Some(row.keep));
        self.chunks += 1;
        self.bytes += u64::from(row.length);
        self.stored_bytes += u64::from(row.stored_bytes);
        self.blocks += row.blocks;
        if row.keep == Keep::Backup {
            self.passing_chunks += 1;
            self.passing_bytes += u64::from(row.stored_bytes);
        }
    }

    /// Takes away a chunk that is held.
    pub(crate) fn take(&mut self, index: u32, row: &ChunkRow) {
        if self.keep_of(index) == Some(Keep::Backup) {
            self.passing_chunks = self.passing_chunks.saturating_sub(1);
            self.passing_bytes = self.passing_bytes.saturating_sub(u64::from(row.stored_bytes));
        }
        self.set(index, None);
        self.chunks = self.chunks.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(u64::from(row.length));
        self.stored_bytes = self.stored_bytes.saturating_sub(u64::from(row.stored_bytes));
        self.blocks = self.blocks.saturating_sub(row.blocks);
    }
}

/// A chunk that is held, without its pages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChunkRow {
    /// Bytes of the chunk.
    pub length: u32,
    /// Bytes of its page rows.
    pub stored_bytes: u32,
    /// Blocks whose first byte is in it.
    pub blocks: u32,
    /// Why it is held: tells the family of its pages.
    pub keep: Keep,
    /// The period that begins before the chunk and reaches into it.
    pub reaching: Option<ReachingRow>,
    /// Root of each page.
    pub page_roots: Vec<Digest>,
}

impl ChunkRow {
    /// What counts for a chunk whose row is damaged: nothing.
    pub(crate) fn damaged() -> Self {
        Self {
            length: 0,
            stored_bytes: 0,
            blocks: 0,
            keep: Keep::Holder,
            reaching: None,
            page_roots: Vec::new(),
        }
    }
}

/// Entry of a period whose bytes begin before the chunk it is kept with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReachingRow {
    /// The period.
    pub period: u64,
    /// Where its bytes begin in the segment's body.
    pub start: u64,
    /// Its entry, as `PeriodEntry::to_bytes` draws it.
    pub entry: Vec<u8>,
}

/// A period whose bytes are in the stream of its segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinedRow {
    /// Bytes of the period.
    pub length: u32,
    /// Its root.
    pub root: Digest,
    /// Operations of its blocks.
    pub operations: u32,
    /// Its entry, as `PeriodEntry::to_bytes` draws it.
    pub entry: Vec<u8>,
}

/// What is known of a slot of an open segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SlotRow {
    /// There is no block.
    Miss,
    /// Its record is a row.
    Block {
        /// Hash of its id.
        id: Digest,
        /// Bytes of the record.
        length: u32,
        /// Its operations.
        operations: u32,
    },
}

/// A chunk that the stream of an open segment has filled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamChunkRow {
    /// Content address.
    pub id: Digest,
    /// Root of each page.
    pub page_roots: Vec<Digest>,
}

macro_rules! versioned {
    ($($row:ty),*) => { $(impl Row for $row { const VERSION: u8 = 1; })* };
}
versioned!(SegmentRow, HeldRow, ChunkRow, JoinedRow, SlotRow, StreamChunkRow);

/// `segment u64`.
pub fn segment_key(segment: u64) -> [u8; 8] {
    segment.to_be_bytes()
}

/// Reads [`segment_key`].
pub fn parse_segment_key(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// `segment u64 | chunk u16`.
pub fn chunk_key(position: ChunkPosition) -> [u8; 10] {
    let mut key = [0; 10];
    key[..8].copy_from_slice(&position.segment.to_be_bytes());
    key[8..].copy_from_slice(&(position.index.0 as u16).to_be_bytes());
    key
}

/// Reads [`chunk_key`].
pub fn parse_chunk_key(key: &[u8]) -> Option<ChunkPosition> {
    let (segment, index) = key.split_at_checked(8)?;
    let index = u16::from_be_bytes(index.try_into().ok()?);
    ChunkPosition::new(parse_segment_key(segment)?, u32::from(index))
}

/// `segment u64 | chunk u16 | page u16`.
pub fn page_key(position: ChunkPosition, page: u32) -> [u8; 12] {
    let mut key = [0; 12];
    key[..10].copy_from_slice(&chunk_key(position));
    key[10..].copy_from_slice(&(page as u16).to_be_bytes());
    key
}

/// Reads [`page_key`].
pub fn parse_page_key(key: &[u8]) -> Option<(ChunkPosition, u32)> {
    let (position, page) = key.split_at_checked(10)?;
    let page = u16::from_be_bytes(page.try_into().ok()?);
    Some((parse_chunk_key(position)?, u32::from(page)))
}

/// `00 | period u64`.
pub fn joined_key(period: u64) -> [u8; 9] {
    let mut key = [JOINED; 9];
    key[1..].copy_from_slice(&period.to_be_bytes());
    key
}

/// `01 | slot (9)`.
pub fn slot_key(slot: Slot) -> [u8; 10] {
    let mut key = [SLOT; 10];
    key[1..].copy_from_slice(&slot.to_bytes_key());
    key
}

/// Reads [`slot_key`].
pub fn parse_slot_key(key: &[u8]) -> Option<Slot> {
    let [SLOT, slot @ ..] = key else { return None };
    Some(Slot::from_bytes_key(slot.try_into().ok()?))
}

/// `02 | segment u64 | chunk u16`.
pub fn stream_chunk_key(position: ChunkPosition) -> [u8; 11] {
    let mut key = [STREAM_CHUNK; 11];
    key[1..].copy_from_slice(&chunk_key(position));
    key
}

/// `address (34) | slot (9)`.
pub fn address_key(address: &[u8; ADDRESS_BYTES], slot: Slot) -> Vec<u8> {
    let mut key = address.to_vec();
    key.extend(slot.to_bytes_key());
    key
}

/// The slot of an [`address_key`].
pub fn parse_address_slot(key: &[u8]) -> Option<Slot> {
    Some(Slot::from_bytes_key(key.get(ADDRESS_BYTES..)?.try_into().ok()?))
}

/// Bytes of a page row besides the stored form and the signatures.
const PAGE_ROW_BYTES: usize = 2 + CHECKSUM_BYTES;

/// Value of a page: `stored form | signatures, each as TaggedSignature draws it | their number u16 | checksum`. The checksum
/// is over key, signatures and number.
pub fn write_page(key: &[u8], stored: &[u8], signatures: &[u8]) -> Vec<u8> {
    let count = (signatures.len() / TaggedSignature::SIZE_BYTES) as u16;
    let mut sealed = Vec::with_capacity(signatures.len() + PAGE_ROW_BYTES);
    sealed.extend(signatures);
    sealed.extend(count.to_le_bytes());
    let mut row = Vec::with_capacity(stored.len() + sealed.len() + CHECKSUM_BYTES);
    row.extend(stored);
    row.extend(seal(key, sealed));
    row
}

/// Bytes of [`write_page`].
pub fn page_row_bytes(stored: &[u8], signatures: &[u8]) -> usize {
    stored.len() + signatures.len() + PAGE_ROW_BYTES
}

/// Stored form and signatures of a page row; `None` if the signatures are damaged. The page is checked by its root.
pub fn parse_page<'a>(key: &[u8], row: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (_, tail) = row.split_at_checked(row.len().checked_sub(PAGE_ROW_BYTES)?)?;
    let count = usize::from(u16::from_le_bytes([tail[0], tail[1]]));
    let sealed_bytes = count * TaggedSignature::SIZE_BYTES + PAGE_ROW_BYTES;
    let (stored, sealed) = row.split_at_checked(row.len().checked_sub(sealed_bytes)?)?;
    let value = unseal(key, sealed)?;
    Some((stored, &value[..value.len() - 2]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage_backend::own::encode;

    #[test]
    fn rows_of_the_archive_have_one_frozen_form() {
        let segment = SegmentRow {
            state: ClosedState::TableOnly,
            root: [1; 32],
            first_period: 300,
            periods: 100,
            body_bytes: 8_500_000,
            bytes_before: 1,
            chunks: 9,
            blocks: 0,
            operations: 0,
            lost_periods: 2,
        };
        let held = HeldRow {
            chunks: 2,
            bytes: 70_000,
            stored_bytes: 128,
            blocks: 3,
            bits: vec![0b101],
            passing_chunks: 1,
            passing_bytes: 28,
            passing: vec![0b100],
        };
        let chunk = ChunkRow {
            length: 5,
            stored_bytes: 6,
            blocks: 1,
            keep: Keep::Backup,
            reaching: Some(ReachingRow {
                period: 8,
                start: 9,
                entry: vec![0, 0],
            }),
            page_roots: vec![[2; 32]],
        };
        let slot = SlotRow::Block {
            id: [3; 32],
            length: 1,
            operations: 2,
        };
        let frozen = [
            (
                encode(&segment),
                format!("0101{}ac0264a0e686040109000002", "01".repeat(32)),
            ),
            (encode(&held), "0102f0a2048001030105011c0104".into()),
            (encode(&chunk), format!("010506010101080902000001{}", "02".repeat(32))),
            (encode(&slot), format!("0101{}0102", "03".repeat(32))),
            (encode(&SlotRow::Miss), "0100".into()),
        ];
        for (row, expected) in frozen {
            assert_eq!(hex::encode(row.unwrap()), expected);
        }
    }

    #[test]
    fn keys_follow_the_order_of_the_archive() {
        let position = |segment, index| ChunkPosition::new(segment, index).unwrap();
        let ascending = [position(0, 1), position(0, 256), position(1, 0), position(256, 0)];
        let keys = ascending.map(|position| page_key(position, 15));
        assert!(keys.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(hex::encode(page_key(position(1, 2), 3)), "000000000000000100020003");
        assert_eq!(parse_page_key(&keys[1]), Some((position(0, 256), 15)));
        assert_eq!(hex::encode(joined_key(1)), "000000000000000001");
        assert_eq!(hex::encode(slot_key(Slot::new(1, 2))), "01000000000000000102");
        assert_eq!(hex::encode(stream_chunk_key(position(1, 2))), "0200000000000000010002");
    }

    #[test]
    fn a_page_row_whose_signatures_or_number_are_damaged_is_no_page() {
        let key = page_key(ChunkPosition::new(1, 2).unwrap(), 3);
        let signatures = [7; 2 * TaggedSignature::SIZE_BYTES];
        let row = write_page(&key, &[0, 1, 2], &signatures);
        assert_eq!(row.len(), page_row_bytes(&[0, 1, 2], &signatures));
        assert_eq!(parse_page(&key, &row), Some((&[0, 1, 2][..], &signatures[..])));
        for byte in 3..row.len() {
            let mut damaged = row.clone();
            damaged[byte] ^= 1;
            assert_eq!(parse_page(&key, &damaged), None, "byte {byte}");
        }
        for length in 0..row.len() {
            assert_eq!(parse_page(&key, &row[..length]), None, "{length} bytes");
        }
    }
}
