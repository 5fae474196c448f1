//! A signed operation from a peer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_distributed_storage_exports::record::operation_id;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_fuzz::{decode, encode, has_plain_versions, operation_deserializer, CHAIN_ID};
use massa_models::operation::{OperationSerializer, SecureShareOperation};
use massa_models::secure_share::SecureShareSerializer;

fuzz_target!(|bytes: &[u8]| {
    let deserializer = operation_deserializer();
    let Some((operation, consumed)) = decode::<SecureShareOperation>(&deserializer, bytes) else {
        return;
    };
    let encoded = encode(&SecureShareSerializer::new(), &operation);
    if has_plain_versions(consumed) {
        assert_eq!(encoded, consumed);
        assert_eq!(operation_id(&consumed[SIGNATURE_BYTES..], CHAIN_ID), operation.id);
    }
    let (again, _) = decode::<SecureShareOperation>(&deserializer, &encoded).expect("what was encoded can be decoded");
    assert_eq!(again, operation);
    let _ = operation.verify_signature();

    // The content in its one canonical form: another id if the numbers came in another form, but the same meaning.
    let mut canonical = Vec::new();
    SecureShareSerializer::new()
        .serialize_with(&OperationSerializer::new(), &operation, &mut canonical)
        .expect("what was decoded can be encoded");
    let (again, consumed) =
        decode::<SecureShareOperation>(&deserializer, &canonical).expect("what was encoded can be decoded");
    assert_eq!(consumed, canonical);
    assert_eq!(again.content, operation.content);
});
