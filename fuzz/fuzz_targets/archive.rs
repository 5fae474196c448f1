//! A period body, as its chunks are joined after they came from peers.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_distributed_storage_exports::body::PeriodBody;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_models::config::THREAD_COUNT;

fuzz_target!(|bytes: &[u8]| {
    let Ok(decoded) = PeriodBody::decode(bytes, THREAD_COUNT) else {
        return;
    };
    let objects: usize = decoded.entries.iter().map(|(_, _, entry)| entry.object_count()).sum();
    let signatures = signatures(objects);
    // Without the right number of signatures, or with an object too short to be one, there is no record.
    let Ok(places) = decoded.records(&signatures) else {
        return;
    };
    let records: Vec<Option<&BlockRecord>> = places.iter().map(Option::as_ref).collect();
    let body = PeriodBody::encode(decoded.header, &records).expect("its records were a body");
    assert_eq!(body.bytes, bytes);
    assert_eq!(body.signatures, signatures);
    for (_, view, _) in &decoded.entries {
        let place = body.places[usize::from(view.slot.thread)];
        assert_eq!(place.block_id(), Some(view.block_id()));
    }
    for record in records.into_iter().flatten() {
        let _ = record.check_ids(decoded.header.chain_id, THREAD_COUNT);
    }
});

/// Different for each object, so that two that change places are noticed.
fn signatures(objects: usize) -> Vec<u8> {
    (0..objects * SIGNATURE_BYTES)
        .map(|at| (at / SIGNATURE_BYTES) as u8)
        .collect()
}
