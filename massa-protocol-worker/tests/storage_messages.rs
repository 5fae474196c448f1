//! The bytes of storage messages.

use massa_distributed_storage_exports::network::{
    Answer, AuditChallenge, AuditLeaf, Capabilities, HeldRange, PageContent, CHALLENGE_LEAVES, MAX_ANNOUNCED_REPAIRS,
};
use massa_distributed_storage_exports::types::{ChallengeId, LEAF_BYTES, PAGE_BYTES, SIGNATURE_BYTES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, MerkleProof, PeriodRoot};
use massa_protocol_worker::handlers::storage_handler::messages::{
    StorageMessage, StorageMessageDeserializer, StorageMessageDeserializerArgs, StorageMessageSerializer,
    StorageMessageTypeId, MAX_ANNOUNCED_CHUNKS, MAX_HELD_FRAME_BYTES, MAX_MANIFEST_BYTES, MAX_MANIFEST_FRAME_BYTES,
    MAX_PAGE_FRAME_BYTES, MAX_PROOF_FRAME_BYTES, MAX_REPAIRS_FRAME_BYTES,
};
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use proptest::collection::vec;
use proptest::prelude::*;

fn write(message: &StorageMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    StorageMessageSerializer::new().serialize(message, &mut bytes).unwrap();
    bytes
}

fn read(bytes: &[u8]) -> Option<StorageMessage> {
    let deserializer = StorageMessageDeserializer::new(StorageMessageDeserializerArgs::default());
    match deserializer.deserialize::<DeserializeError>(bytes) {
        Ok((rest, message)) => rest.is_empty().then_some(message),
        Err(nom::Err::Incomplete(_)) => panic!("a truncated message is an error, not incomplete"),
        Err(_) => None,
    }
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let digit = |byte: u8| (byte as char).to_digit(16).unwrap() as u8;
    digits
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn repeated(byte: &str, count: usize) -> String {
    byte.repeat(count)
}

fn page() -> PageContent {
    PageContent {
        bytes: vec![0xab; 3],
        signatures: vec![0xcd; SIGNATURE_BYTES],
        objects_before: 300,
        path: MerkleProof {
            directions: 2,
            siblings: vec![[0x11; 32], [0x22; 32]],
        },
    }
}

fn leaf() -> AuditLeaf {
    AuditLeaf {
        bytes: vec![0xab; 3],
        path: page().path,
    }
}

/// Every message with its bytes, written out by hand from the drawings.
fn vectors() -> Vec<(StorageMessage, String)> {
    vec![
        (
            StorageMessage::ChunkAnnouncement {
                period: 300,
                root: PeriodRoot::from_bytes([0x55; 32]),
                chunk_ids: vec![ChunkId::from_bytes([0x66; 32]), ChunkId::from_bytes([0x77; 32])],
            },
            format!(
                "00 ac02 {} 02 {} {}",
                repeated("55", 32),
                repeated("66", 32),
                repeated("77", 32)
            ),
        ),
        (
            StorageMessage::ChunkRequest {
                request_id: 1,
                period: 2,
                chunk: ChunkIndex(255),
                chunk_id: ChunkId::from_bytes([0x66; 32]),
                first_page: 1023,
                pages: 16,
            },
            format!("01 01 02 ff01 {} ff07 10", repeated("66", 32)),
        ),
        (
            StorageMessage::ChunkResponse {
                request_id: 128,
                page: 3,
                answer: Answer::Found(page()),
            },
            format!(
                "02 8001 03 00 03 ababab 01 {} ac02 02 02 {} {}",
                repeated("cd", 65),
                repeated("11", 32),
                repeated("22", 32)
            ),
        ),
        (chunk_response(Answer::NotYet), "02 09 04 01".into()),
        (chunk_response(Answer::NotHeld), "02 09 04 02".into()),
        (chunk_response(Answer::Pruned), "02 09 04 03".into()),
        (
            StorageMessage::Challenge {
                request_id: 1,
                challenge: AuditChallenge {
                    challenge_id: ChallengeId::from_bytes([0x99; 32]),
                    period: 2,
                    chunk: ChunkIndex(255),
                    chunk_id: ChunkId::from_bytes([0x66; 32]),
                    nonce: 300,
                },
            },
            format!("03 01 {} 02 ff01 {} ac02", repeated("99", 32), repeated("66", 32)),
        ),
        (
            challenge_proof(Answer::Found(vec![leaf(), leaf()])),
            format!(
                "04 07 {} 00 02 {leaf} {leaf}",
                repeated("99", 32),
                leaf = format!("03 ababab 02 02 {} {}", repeated("11", 32), repeated("22", 32))
            ),
        ),
        (
            challenge_proof(Answer::NotHeld),
            format!("04 07 {} 02", repeated("99", 32)),
        ),
        (
            StorageMessage::StorageCapabilities {
                capabilities: Capabilities {
                    allocated_storage_gb: 10,
                    floor: 1,
                    last_period: Some(9),
                    ranges: vec![held_range(1, 3), held_range(5, 9)],
                },
            },
            "05 0a 01 01 09 02 01 03 05 09".into(),
        ),
        (
            StorageMessage::StorageCapabilities {
                capabilities: Capabilities::default(),
            },
            "05 00 00 00 00".into(),
        ),
        (
            StorageMessage::ManifestRequest {
                request_id: 7,
                period: 8,
            },
            "06 07 08".into(),
        ),
        (
            StorageMessage::ManifestResponse {
                request_id: 7,
                period: 8,
                answer: Answer::Found(vec![1, 2, 3]),
            },
            "07 07 08 00 03 010203".into(),
        ),
        (
            StorageMessage::ManifestResponse {
                request_id: 7,
                period: 8,
                answer: Answer::Pruned,
            },
            "07 07 08 03".into(),
        ),
        (
            StorageMessage::HeldRequest {
                request_id: 7,
                first_period: 8,
                periods: 128,
            },
            "08 07 08 8001".into(),
        ),
        (
            StorageMessage::HeldResponse {
                request_id: 7,
                first_period: 8,
                held: vec![vec![0x00, 0x80], vec![]],
            },
            "09 07 08 02 02 0080 00".into(),
        ),
        (StorageMessage::Busy { request_id: 7 }, "0a 07".into()),
        (
            StorageMessage::RepairAnnouncement {
                round: 300,
                chunks: vec![(8, ChunkIndex(2)), (8, ChunkIndex(3)), (129, ChunkIndex(0))],
            },
            "0b ac02 03 08 02 08 03 8101 00".into(),
        ),
    ]
}

fn chunk_response(answer: Answer<PageContent>) -> StorageMessage {
    StorageMessage::ChunkResponse {
        request_id: 9,
        page: 4,
        answer,
    }
}

fn challenge_proof(answer: Answer<Vec<AuditLeaf>>) -> StorageMessage {
    StorageMessage::ChallengeProof {
        request_id: 7,
        challenge_id: ChallengeId::from_bytes([0x99; 32]),
        answer,
    }
}

fn held_range(first_period: u64, last_period: u64) -> HeldRange {
    HeldRange {
        first_period,
        last_period,
    }
}

#[test]
fn every_message_has_exactly_these_bytes() {
    for (message, bytes) in vectors() {
        assert_eq!(write(&message), unhex(&bytes), "{message:?}");
        assert_eq!(read(&unhex(&bytes)), Some(message));
    }
}

#[test]
fn the_vectors_name_every_inner_type() {
    let mut types: Vec<u64> = vectors()
        .iter()
        .map(|(message, _)| StorageMessageTypeId::from(message) as u64)
        .collect();
    types.dedup();
    assert_eq!(types, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
}

#[test]
fn a_truncated_message_is_an_error_at_every_offset() {
    for (message, _) in vectors() {
        let bytes = write(&message);
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "{message:?} cut to {length}");
        }
    }
}

#[test]
fn bytes_after_a_message_are_left_for_the_caller_to_refuse() {
    for (message, _) in vectors() {
        let mut bytes = write(&message);
        bytes.push(0);
        assert_eq!(read(&bytes), None, "{message:?}");
    }
}

#[test]
fn what_is_out_of_its_limits_is_not_read() {
    let id = repeated("66", 32);
    let cases = [
        ("an unknown type", "0c 07".to_string()),
        ("a challenge without anything", "03 07".to_string()),
        ("a challenge for chunk 256", format!("03 01 {id} 02 8002 {id} 00")),
        ("a proof without leaves", format!("04 07 {id} 00 00")),
        (
            "a proof of 33 leaves",
            format!("04 07 {id} 00 21 {}", "01 00 00 00".repeat(33)),
        ),
        ("an empty leaf", format!("04 07 {id} 00 01 00 00 00")),
        (
            "a leaf of 1025 bytes",
            format!("04 07 {id} 00 01 8108 {} 00 00", repeated("00", 1025)),
        ),
        (
            "a leaf with 17 siblings",
            format!("04 07 {id} 00 01 01 00 00 11 {}", repeated("00", 32 * 17)),
        ),
        ("a proof with an unknown answer", format!("04 07 {id} 04")),
        ("257 announced chunks", format!("00 01 {id} 8102 {}", id.repeat(257))),
        ("chunk 256", format!("01 01 02 8002 {id} 00 01")),
        ("page 1024", format!("01 01 02 00 {id} 8008 01")),
        ("no pages", format!("01 01 02 00 {id} 00 00")),
        ("17 pages", format!("01 01 02 00 {id} 00 11")),
        ("an unknown answer", "02 09 04 04".to_string()),
        ("an empty page", "02 09 04 00 00 00 00 00 00".to_string()),
        (
            "a page of 65537 bytes",
            format!("02 09 04 00 818004 {} 00 00 00 00", repeated("00", 65537)),
        ),
        (
            "1025 signatures",
            format!("02 09 04 00 01 00 8108 {} 00 00 00", repeated("00", 65 * 1025)),
        ),
        (
            "17 siblings",
            format!("02 09 04 00 01 00 00 00 00 11 {}", repeated("00", 32 * 17)),
        ),
        (
            "a manifest of 20003 bytes",
            format!("07 07 08 00 a39c01 {}", repeated("00", 20003)),
        ),
        ("65 ranges", format!("05 00 00 00 41 {}", ranges(65))),
        ("a range that ends before it begins", "05 00 00 00 01 05 04".to_string()),
        ("ranges that overlap", "05 00 00 00 02 01 03 03 04".to_string()),
        ("an option that is neither", "05 00 00 02 00".to_string()),
        ("a question for no periods", "08 07 08 00".to_string()),
        ("a question for 129 periods", "08 07 08 8101".to_string()),
        (
            "an answer of 129 periods",
            format!("09 07 08 8101 {}", repeated("00", 129)),
        ),
        ("33 bytes of bits", format!("09 07 08 01 21 {}", repeated("01", 33))),
        ("bits with a trailing zero byte", "09 07 08 01 02 0100".to_string()),
        (
            "1025 repairs",
            format!("0b 05 8108 {}", (0..1025u16).map(repair).collect::<String>()),
        ),
        ("a repair of chunk 256", "0b 05 01 07 8002".to_string()),
        ("repairs that are not ascending", "0b 05 02 07 01 06 02".to_string()),
        ("the same repair twice", "0b 05 02 07 01 07 01".to_string()),
        ("nothing", String::new()),
    ];
    for (what, bytes) in cases {
        assert_eq!(read(&unhex(&bytes)), None, "{what}");
    }
    assert!(read(&unhex(&format!("05 00 00 00 40 {}", ranges(64)))).is_some());
    let repairs: String = (0..1024u16).map(repair).collect();
    assert!(read(&unhex(&format!("0b 05 8008 {repairs}"))).is_some());
}

/// The n-th of ascending repairs: two bytes of period, one of chunk.
fn repair(number: u16) -> String {
    format!("{:02x}{:02x}01", 0x80 | (number & 0x7f), 1 + (number >> 7))
}

fn ranges(count: u8) -> String {
    (0..count).map(|period| format!("{period:02x}{period:02x}")).collect()
}

#[test]
fn what_would_not_be_read_is_not_written() {
    let too_long = |change: fn(&mut PageContent)| {
        let mut content = page();
        change(&mut content);
        chunk_response(Answer::Found(content))
    };
    let refused = [
        too_long(|page| page.bytes = vec![0; PAGE_BYTES + 1]),
        too_long(|page| page.signatures = vec![0; SIGNATURE_BYTES + 1]),
        too_long(|page| page.signatures = vec![0; SIGNATURE_BYTES * 1025]),
        too_long(|page| page.path.siblings = vec![[0; 32]; 17]),
        challenge_proof(Answer::Found(vec![leaf(); CHALLENGE_LEAVES + 1])),
        challenge_proof(Answer::Found(vec![AuditLeaf {
            bytes: vec![0; LEAF_BYTES + 1],
            ..leaf()
        }])),
        StorageMessage::ChunkAnnouncement {
            period: 0,
            root: PeriodRoot::from_bytes([0; 32]),
            chunk_ids: vec![ChunkId::from_bytes([0; 32]); MAX_ANNOUNCED_CHUNKS + 1],
        },
        StorageMessage::ManifestResponse {
            request_id: 0,
            period: 0,
            answer: Answer::Found(vec![0; MAX_MANIFEST_BYTES + 1]),
        },
        StorageMessage::HeldResponse {
            request_id: 0,
            first_period: 0,
            held: vec![vec![1]; 129],
        },
        StorageMessage::HeldResponse {
            request_id: 0,
            first_period: 0,
            held: vec![vec![1; 33]],
        },
        StorageMessage::RepairAnnouncement {
            round: 0,
            chunks: (0..=MAX_ANNOUNCED_REPAIRS as u64)
                .map(|period| (period, ChunkIndex(0)))
                .collect(),
        },
        StorageMessage::RepairAnnouncement {
            round: 0,
            chunks: vec![(1, ChunkIndex(0)), (0, ChunkIndex(0))],
        },
        StorageMessage::StorageCapabilities {
            capabilities: Capabilities {
                ranges: vec![held_range(0, 0); 65],
                ..Capabilities::default()
            },
        },
    ];
    for message in refused {
        StorageMessageSerializer::new()
            .serialize(&message, &mut Vec::new())
            .unwrap_err();
    }
}

#[test]
fn the_largest_messages_fit_what_they_count_for_in_flight() {
    let largest_page = StorageMessage::ChunkResponse {
        request_id: u64::MAX,
        page: 1023,
        answer: Answer::Found(PageContent {
            bytes: vec![1; PAGE_BYTES],
            signatures: vec![1; SIGNATURE_BYTES * 1024],
            objects_before: u32::MAX,
            path: MerkleProof {
                directions: u16::MAX,
                siblings: vec![[1; 32]; 16],
            },
        }),
    };
    let largest_manifest = StorageMessage::ManifestResponse {
        request_id: u64::MAX,
        period: u64::MAX,
        answer: Answer::Found(vec![1; MAX_MANIFEST_BYTES]),
    };
    let largest_held = StorageMessage::HeldResponse {
        request_id: u64::MAX,
        first_period: u64::MAX,
        held: vec![vec![1; 32]; 128],
    };
    let largest_leaf = AuditLeaf {
        bytes: vec![1; LEAF_BYTES],
        path: MerkleProof {
            directions: u16::MAX,
            siblings: vec![[1; 32]; 16],
        },
    };
    let largest_proof = StorageMessage::ChallengeProof {
        request_id: u64::MAX,
        challenge_id: ChallengeId::from_bytes([1; 32]),
        answer: Answer::Found(vec![largest_leaf; CHALLENGE_LEAVES]),
    };
    assert!(write(&largest_proof).len() < MAX_PROOF_FRAME_BYTES);
    // One frame, no larger than one with a page without signatures.
    const { assert!(MAX_PROOF_FRAME_BYTES <= PAGE_BYTES) };
    // The outer type takes one byte.
    assert!(write(&largest_page).len() < MAX_PAGE_FRAME_BYTES);
    assert!(write(&largest_manifest).len() < MAX_MANIFEST_FRAME_BYTES);
    assert!(write(&largest_held).len() < MAX_HELD_FRAME_BYTES);
    let periods = u64::MAX - MAX_ANNOUNCED_REPAIRS as u64..u64::MAX;
    let largest_repairs = StorageMessage::RepairAnnouncement {
        round: u64::MAX,
        chunks: periods.map(|period| (period, ChunkIndex(255))).collect(),
    };
    assert!(write(&largest_repairs).len() < MAX_REPAIRS_FRAME_BYTES);
}

#[test]
fn type_and_request_id_are_seen_without_reading_the_message() {
    let deserializer = StorageMessageDeserializer::new(StorageMessageDeserializerArgs::default());
    let peek = |bytes: &str| deserializer.peek(&unhex(bytes));
    assert_eq!(
        peek("02 8001 ff"),
        Some((StorageMessageTypeId::ChunkResponse, Some(128)))
    );
    assert_eq!(peek("08 07"), Some((StorageMessageTypeId::HeldRequest, Some(7))));
    assert_eq!(peek("05"), Some((StorageMessageTypeId::StorageCapabilities, None)));
    assert_eq!(peek("0a"), None);
    assert_eq!(peek("0b 07"), Some((StorageMessageTypeId::RepairAnnouncement, None)));
    assert_eq!(peek("0c 07"), None);
    assert_eq!(peek(""), None);
}

fn any_answer<T: Clone + std::fmt::Debug>(
    found: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = Answer<T>> {
    prop_oneof![
        found.prop_map(Answer::Found),
        Just(Answer::NotYet),
        Just(Answer::NotHeld),
        Just(Answer::Pruned),
    ]
}

fn any_page() -> impl Strategy<Value = PageContent> {
    let signatures = (0usize..5).prop_map(|count| vec![9; count * SIGNATURE_BYTES]);
    let siblings = vec(any::<[u8; 32]>(), 0..=16);
    let parts = (
        vec(any::<u8>(), 1..300),
        signatures,
        any::<u32>(),
        any::<u16>(),
        siblings,
    );
    parts.prop_map(
        |(bytes, signatures, objects_before, directions, siblings)| PageContent {
            bytes,
            signatures,
            objects_before,
            path: MerkleProof { directions, siblings },
        },
    )
}

fn any_message() -> impl Strategy<Value = StorageMessage> {
    let digest = any::<[u8; 32]>;
    let bits = vec(any::<u8>(), 0..32).prop_map(|mut bits| {
        bits.push(1);
        bits
    });
    let ids = vec(digest().prop_map(ChunkId::from_bytes), 0..20);
    let announcement =
        (any::<u64>(), digest(), ids).prop_map(|(period, root, chunk_ids)| StorageMessage::ChunkAnnouncement {
            period,
            root: PeriodRoot::from_bytes(root),
            chunk_ids,
        });
    let request = (any::<u64>(), any::<u64>(), 0u32..256, digest(), 0u32..1024, 1u32..=16).prop_map(
        |(request_id, period, chunk, id, first_page, pages)| StorageMessage::ChunkRequest {
            request_id,
            period,
            chunk: ChunkIndex(chunk),
            chunk_id: ChunkId::from_bytes(id),
            first_page,
            pages,
        },
    );
    let response = (any::<u64>(), 0u32..1024, any_answer(any_page())).prop_map(|(request_id, page, answer)| {
        StorageMessage::ChunkResponse {
            request_id,
            page,
            answer,
        }
    });
    let manifest =
        (any::<u64>(), any::<u64>(), any_answer(vec(any::<u8>(), 0..300))).prop_map(|(request_id, period, answer)| {
            StorageMessage::ManifestResponse {
                request_id,
                period,
                answer,
            }
        });
    let held = (any::<u64>(), any::<u64>(), vec(bits, 1..128)).prop_map(|(request_id, first_period, held)| {
        StorageMessage::HeldResponse {
            request_id,
            first_period,
            held,
        }
    });
    let capabilities = (any::<u64>(), any::<u64>(), any::<Option<u64>>(), vec(1u64..1000, 0..64)).prop_map(
        |(allocated_storage_gb, floor, last_period, gaps)| {
            let mut start = 0;
            let ranges = gaps.into_iter().map(|gap| {
                start += gap;
                held_range(start, start)
            });
            StorageMessage::StorageCapabilities {
                capabilities: Capabilities {
                    allocated_storage_gb,
                    floor,
                    last_period,
                    ranges: ranges.collect(),
                },
            }
        },
    );
    let challenge = (any::<u64>(), digest(), any::<u64>(), 0u32..256, digest(), any::<u64>()).prop_map(
        |(request_id, challenge_id, period, chunk, chunk_id, nonce)| StorageMessage::Challenge {
            request_id,
            challenge: AuditChallenge {
                challenge_id: ChallengeId::from_bytes(challenge_id),
                period,
                chunk: ChunkIndex(chunk),
                chunk_id: ChunkId::from_bytes(chunk_id),
                nonce,
            },
        },
    );
    let leaf = any_page().prop_map(|page| AuditLeaf {
        bytes: page.bytes,
        path: page.path,
    });
    let proof =
        (any::<u64>(), digest(), any_answer(vec(leaf, 1..=32))).prop_map(|(request_id, challenge_id, answer)| {
            StorageMessage::ChallengeProof {
                request_id,
                challenge_id: ChallengeId::from_bytes(challenge_id),
                answer,
            }
        });
    let repairs = (
        any::<u64>(),
        proptest::collection::btree_set((any::<u64>(), 0u32..256), 0..40),
    )
        .prop_map(|(round, chunks)| StorageMessage::RepairAnnouncement {
            round,
            chunks: chunks
                .into_iter()
                .map(|(period, chunk)| (period, ChunkIndex(chunk)))
                .collect(),
        });
    prop_oneof![
        announcement,
        repairs,
        request,
        response,
        challenge,
        proof,
        manifest,
        held,
        capabilities
    ]
}

proptest! {
    #[test]
    fn reading_undoes_writing(message in any_message()) {
        prop_assert_eq!(read(&write(&message)), Some(message));
    }

    #[test]
    fn a_truncated_message_is_an_error(message in any_message(), cut in any::<prop::sample::Index>()) {
        let bytes = write(&message);
        prop_assert_eq!(read(&bytes[..cut.index(bytes.len())]), None);
    }

    #[test]
    fn arbitrary_bytes_never_panic(first in 0u8..13, bytes in vec(any::<u8>(), 0..400)) {
        let bytes = [vec![first], bytes].concat();
        if let Some(message) = read(&bytes) {
            prop_assert_eq!(read(&write(&message)), Some(message));
        }
    }
}
