//! A block from a peer: the signed header and the ids of its operations.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_distributed_storage_exports::record::BlockView;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_fuzz::{block_deserializer, decode, encode};
use massa_models::block::{BlockSerializer, SecureShareBlock};
use massa_models::config::THREAD_COUNT;
use massa_models::secure_share::SecureShareSerializer;

fuzz_target!(|bytes: &[u8]| {
    let deserializer = block_deserializer();
    let Some((block, consumed)) = decode::<SecureShareBlock>(&deserializer, bytes) else {
        return;
    };
    let consumed_bytes = consumed.len();
    assert_eq!(encode(&SecureShareSerializer::new(), &block), consumed);
    assert_eq!(block.bytes_count(), consumed.len() as u64);
    assert_eq!(block.id, block.content.header.id);
    let _ = block.content.header.verify_signature();

    // Numbers can be written in more than one way, so the content may be encoded in other bytes than it came in; those
    // are read as the same block, and are encoded as themselves.
    let canonical = encode(&BlockSerializer::new(), &block.content);
    let (again, consumed) =
        decode::<SecureShareBlock>(&deserializer, &canonical).expect("what was encoded can be decoded");
    assert_eq!(consumed, canonical);
    assert_eq!(again.id, block.id);
    assert_eq!(again.content.operations, block.content.operations);
    assert_eq!(encode(&BlockSerializer::new(), &again.content), canonical);
    check_view(&again, &canonical[SIGNATURE_BYTES..]);

    // The archive takes the encoder's form only, so that a block has one place in it.
    let unsigned = &bytes[SIGNATURE_BYTES..consumed_bytes];
    let view = BlockView::parse(unsigned, THREAD_COUNT);
    assert_eq!(view.is_ok(), unsigned == &canonical[SIGNATURE_BYTES..]);
});

/// The archive finds the fields it needs without the decoder; what it finds has to be the same.
fn check_view(block: &SecureShareBlock, unsigned: &[u8]) {
    let view = BlockView::parse(unsigned, THREAD_COUNT).expect("the encoder wrote these bytes");
    let header = &block.content.header.content;
    assert_eq!(view.block_id(), block.id);
    assert_eq!(view.slot, header.slot);
    assert_eq!(view.operation_root, *header.operation_merkle_root.to_bytes());
    assert!(view.parents().eq(header.parents.iter().copied()));
    assert!(view.operation_ids().eq(block.content.operations.iter().copied()));
}
