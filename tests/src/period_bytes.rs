//! The bytes of a period in archive format 2, for measurements and tests of what stands on them.
//!
//! ```text
//! state u8 (0: whole) | each thread: 00, or 01 | block id | offset u32 of its block
//! each block: length u32 | block without its first signature | operation count u32
//!     each operation: length u32 | operation without its first signature
//! ```

use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;

const WHOLE: u8 = 0;
const MISS: u8 = 0;
const BLOCK: u8 = 1;
/// Block, version byte and hash of its id, offset.
const BLOCK_SLOT_BYTES: usize = 1 + 33 + 4;

/// Entry and blocks of a whole period: `slots[thread]` is its block, or `None` for a miss.
///
/// # Panics
/// When a record is not a block.
pub fn period_bytes(slots: &[Option<BlockRecord>]) -> Vec<u8> {
    let threads = u8::try_from(slots.len()).expect("a chain has at most 255 threads");
    let blocks = slots.iter().flatten().count();
    let entry_length = 1 + slots.len() - blocks + blocks * BLOCK_SLOT_BYTES;
    let mut entry = vec![WHOLE];
    let mut bodies = Vec::new();
    for slot in slots {
        let Some(record) = slot else {
            entry.push(MISS);
            continue;
        };
        let id = record.view(threads).expect("the record is a block").block_id();
        entry.push(BLOCK);
        push_id(&mut entry, id);
        entry.extend(((entry_length + bodies.len()) as u32).to_le_bytes());
        push_block(&mut bodies, record);
    }
    assert_eq!(entry.len(), entry_length);
    [entry, bodies].concat()
}

/// Leading signatures of blocks and operations, which are kept beside the pages.
pub fn signature_bytes(slots: &[Option<BlockRecord>]) -> usize {
    let objects = slots.iter().flatten().map(|record| 1 + record.operation_count());
    objects.sum::<usize>() * SIGNATURE_BYTES
}

fn push_id(bytes: &mut Vec<u8>, id: BlockId) {
    bytes.push(0);
    bytes.extend(id.get_hash().to_bytes());
}

fn push_block(bytes: &mut Vec<u8>, record: &BlockRecord) {
    push_object(bytes, record.block());
    bytes.extend((record.operation_count() as u32).to_le_bytes());
    record.operations().for_each(|operation| push_object(bytes, operation));
}

fn push_object(bytes: &mut Vec<u8>, object: &[u8]) {
    let content = &object[SIGNATURE_BYTES..];
    bytes.extend((content.len() as u32).to_le_bytes());
    bytes.extend(content);
}
