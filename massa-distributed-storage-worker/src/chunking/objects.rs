//! Blocks and operations of a period, with where they begin: what the indexes are made of.
//!
//! Ids come from the entry and from the ids that a block lists, which were recomputed when the block was taken: nothing is hashed.

use massa_distributed_storage_exports::period::{EncodedPeriod, UnsignedRecord};
use massa_distributed_storage_exports::record::RecordError;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;

/// Bytes of a public key: version and compressed point.
const PUBLIC_KEY_BYTES: usize = 33;

/// Which objects a stream names beside its chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum IndexedObjects {
    /// None: chunk ids are all that is wanted.
    #[default]
    None,
    /// Blocks.
    Blocks,
    /// Blocks and operations.
    All,
}

/// A block or an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkObject {
    /// Where it begins, its length field included, in the segment's body.
    pub start: u64,
    /// Slot of the block, or of the block that has the operation.
    pub slot: Slot,
    /// What it is.
    pub id: ObjectId,
    /// Who made it: the public key of block or operation as it is on the wire. Its address is the key's hash.
    pub creator: [u8; PUBLIC_KEY_BYTES],
}

/// Id of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObjectId {
    /// A block.
    Block(BlockId),
    /// An operation.
    Operation {
        /// Its id.
        id: OperationId,
        /// Its number in the block, counted from 0.
        index: u32,
    },
}

/// The objects of a period that begins at `period_start` of the segment's body, in the order of its bytes.
///
/// # Errors
/// [`RecordError`] when the bytes are not blocks.
pub(super) fn objects_of(
    indexed: IndexedObjects,
    period: &EncodedPeriod,
    period_start: u64,
) -> Result<Vec<ChunkObject>, RecordError> {
    let mut objects = Vec::new();
    if indexed == IndexedObjects::None {
        return Ok(objects);
    }
    let threads = period.entry.slots().len() as u8;
    for (slot, thread) in period.entry.slots().iter().zip(0..) {
        let range = period.entry.block_range(thread, period.bytes.len() as u32);
        let (Some(block), Some(range)) = (slot, range) else {
            continue;
        };
        let record = UnsignedRecord::parse(&period.bytes[range.start as usize..range.end as usize])?;
        let slot = Slot::new(period.period, thread);
        let start = period_start + u64::from(range.start);
        objects.push(ChunkObject {
            start,
            slot,
            id: ObjectId::Block(block.id),
            creator: creator_of(record.objects()[0])?,
        });
        if indexed == IndexedObjects::All {
            push_operations(&record, start, (slot, threads), &mut objects)?;
        }
    }
    Ok(objects)
}

/// The operations of a block that begins at `start`.
fn push_operations(
    record: &UnsignedRecord<'_>,
    start: u64,
    (slot, threads): (Slot, u8),
    objects: &mut Vec<ChunkObject>,
) -> Result<(), RecordError> {
    // Operations follow the block and their count, without gaps.
    let mut begins = start + u64::from(record.object_ends()[0]) + 4;
    let ids = record.view(threads)?.operation_ids();
    let operations = record.objects()[1..].iter().zip(&record.object_ends()[1..]);
    for (((operation, end), id), index) in operations.zip(ids).zip(0..) {
        objects.push(ChunkObject {
            start: begins,
            slot,
            id: ObjectId::Operation { id, index },
            creator: creator_of(operation)?,
        });
        begins = start + u64::from(*end);
    }
    Ok(())
}

/// The creator's key: what an object begins with once its signature is taken off.
fn creator_of(unsigned: &[u8]) -> Result<[u8; PUBLIC_KEY_BYTES], RecordError> {
    let key = unsigned.get(..PUBLIC_KEY_BYTES).and_then(|key| key.try_into().ok());
    key.ok_or(RecordError::Malformed { field: "creator key" })
}
