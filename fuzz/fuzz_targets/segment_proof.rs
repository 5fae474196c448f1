//! A proof document from a node, as JSON.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_distributed_storage_exports::segment_proof::check::{check, TrustedRoot};
use massa_distributed_storage_exports::segment_proof::ProofDocument;
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};

fuzz_target!(|bytes: &[u8]| {
    let Ok(document) = serde_json::from_slice::<ProofDocument>(bytes) else {
        return;
    };
    let text = serde_json::to_vec(&document).expect("a document can be written");
    let again: ProofDocument = serde_json::from_slice(&text).expect("what was written can be read");
    assert_eq!(again, document);

    // Roots that the document itself names: nothing else would lead the check beyond its first step.
    let segment = document.segment.as_ref().map(|segment| segment.root.0);
    let period = document.period.as_ref().map(|period| period.root.0);
    let roots = [
        segment.map(|root| TrustedRoot::Segment(SegmentRoot::from_bytes(root))),
        period.map(|root| TrustedRoot::Period(PeriodRoot::from_bytes(root))),
    ];
    for root in roots.iter().flatten() {
        if let Ok(proven) = check(&document, root) {
            assert!(proven.valid && proven.chain_id == document.chain_id);
        }
    }
    // A root that nobody knows a preimage of.
    let other = TrustedRoot::Segment(SegmentRoot::from_bytes([0x5a; 32]));
    assert!(segment == Some([0x5a; 32]) || check(&document, &other).is_err());
});
