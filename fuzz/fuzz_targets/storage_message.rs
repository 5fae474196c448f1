//! A message about the archive from a peer, without its outer type.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_fuzz::allocated::{peak_of, Counting};
use massa_fuzz::{decode, encode};
use massa_protocol_worker::handlers::storage_handler::messages::{
    StorageMessage, StorageMessageDeserializer, StorageMessageSerializer, StorageMessageTypeId,
};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What a message may take, whatever it says of the lengths of its lists: an empty list takes a byte of it, and 24 bytes, thrice
/// while the list around it grows.
const BYTES_PER_BYTE: usize = 128;
const BYTES_OF_ALL: usize = 4096;

fuzz_target!(|bytes: &[u8]| {
    let deserializer = StorageMessageDeserializer::new();
    let peeked = deserializer.peek(bytes);
    let (decoded, peak) = peak_of(|| decode::<StorageMessage>(&deserializer, bytes));
    assert!(
        peak <= BYTES_PER_BYTE * bytes.len() + BYTES_OF_ALL,
        "{peak} bytes for a message of {}",
        bytes.len()
    );
    let Some((message, consumed)) = decoded else {
        return;
    };
    assert_eq!(encode(&StorageMessageSerializer::new(), &message), consumed);

    let (type_id, request_id) = peeked.expect("what can be read has a type");
    assert_eq!(type_id, StorageMessageTypeId::from(&message));
    assert_eq!(request_id, message.request_id());
    assert!(!(type_id.is_answer() && type_id.is_request()));
    assert_eq!(type_id.is_answer() || type_id.is_request(), request_id.is_some());
});
