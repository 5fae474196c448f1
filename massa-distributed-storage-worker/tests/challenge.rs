//! What the rounds' rules write down for ever: the codes of reasons, and the beacon.

use massa_distributed_storage_worker::challenge::{Reason, RoundContext};
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;

#[test]
fn reasons_have_the_contracts_codes() {
    let known: Vec<u8> = (0..=u8::MAX)
        .filter(|code| Reason::from_code(*code).is_some())
        .collect();
    assert_eq!(known, [0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 17, 18, 19, 20, 21]);
    assert!(known
        .iter()
        .all(|code| Reason::from_code(*code).unwrap().code() == *code));
}

/// Committed: a beacon is recomputed by anyone, for ever.
#[test]
fn the_beacon_is_bound_to_round_registry_chain_and_every_slot() {
    let context = RoundContext {
        chain_id: 77,
        registry: "AS1".into(),
        round: 7,
    };
    let block = |text: &str| Some(BlockId::new(massa_hash::Hash::compute_from(text.as_bytes())));
    let blocks = [block("a"), None, block("b")];
    let beacon = context.beacon(&blocks);

    // The same bytes, written down by hand.
    let mut input = b"massa distributed storage: beacon".to_vec();
    input.extend(77u64.to_le_bytes());
    input.extend(b"\x03AS1");
    input.extend(7u64.to_le_bytes());
    input.extend([3, 1, 0]);
    input.extend(blake3::hash(b"a").as_bytes());
    input.extend([0, 1, 0]);
    input.extend(blake3::hash(b"b").as_bytes());
    assert_eq!(beacon, *blake3::hash(&input).as_bytes());

    let others = [
        RoundContext {
            chain_id: 78,
            ..context.clone()
        }
        .beacon(&blocks),
        RoundContext {
            registry: "AS2".into(),
            ..context.clone()
        }
        .beacon(&blocks),
        RoundContext {
            round: 8,
            ..context.clone()
        }
        .beacon(&blocks),
        context.beacon(&[block("a"), block("b"), None]),
        context.beacon(&blocks[..2]),
    ];
    assert!(others.iter().all(|other| *other != beacon));
}
