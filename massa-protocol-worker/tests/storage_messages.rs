//! The bytes of messages about the segment archive.

use massa_distributed_storage_exports::merkle::MAX_PATH_SIBLINGS;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, Answer, AuditChallenge, AuditLeaf, Capabilities, HeldRange, IndexScope, IndexScopes, LocateId,
    Located, PageContent, SlotContent, CHALLENGE_LEAVES, MAX_ANNOUNCED_CHUNKS, MAX_FETCH_HELD, MAX_LEAF_SIGNATURES,
    MAX_LOCATE_IDS, MAX_PAGE_SIGNATURES, MAX_SUM_PATH_BYTES,
};
use massa_distributed_storage_exports::period::TaggedSignature;
use massa_distributed_storage_exports::record::{block_id_from_bytes, operation_id_from_bytes};
use massa_distributed_storage_exports::types::{ChallengeId, LEAF_BYTES, PAGE_BYTES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, ChunkPosition, MerkleProof, SegmentRoot};
use massa_models::slot::Slot;
use massa_protocol_worker::handlers::storage_handler::messages::{
    Lane, Piece, StorageMessage, StorageMessageDeserializer, StorageMessageSerializer, StorageMessageTypeId,
    TablesContent, MAX_ANNOUNCEMENT_FRAME_BYTES, MAX_CONTENT_BYTES, MAX_CONTENT_FRAME_BYTES, MAX_LOCATE_FRAME_BYTES,
    MAX_PAGE_FRAME_BYTES, MAX_PROOF_FRAME_BYTES, MAX_STORED_PAGE_BYTES, MAX_SUM_PATH_FRAME_BYTES, MAX_TABLE_BYTES,
    PIECE_BYTES,
};
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn try_write(message: &StorageMessage) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let written = StorageMessageSerializer::new().serialize(message, &mut bytes);
    written.ok().map(|()| bytes)
}

fn write(message: &StorageMessage) -> Vec<u8> {
    try_write(message).unwrap()
}

fn read(bytes: &[u8]) -> Option<StorageMessage> {
    match StorageMessageDeserializer::new().deserialize::<DeserializeError>(bytes) {
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

fn x(byte: &str, count: usize) -> String {
    byte.repeat(count)
}

fn position(segment: u64, index: u32) -> ChunkPosition {
    ChunkPosition::new(segment, index).unwrap()
}

fn path() -> MerkleProof {
    MerkleProof {
        directions: 2,
        siblings: vec![[0x11; 32], [0x22; 32]],
    }
}

const PATH: &str = "02 02 1111111111111111111111111111111111111111111111111111111111111111 2222222222222222222222222222222222222222222222222222222222222222";

fn signature(last: u16) -> TaggedSignature {
    TaggedSignature {
        last,
        signature: [0xcd; 65],
    }
}

fn page() -> PageContent {
    let mut signatures = Vec::new();
    signature(300).write(&mut signatures);
    PageContent {
        stored: vec![0, 0xab, 0xab],
        signatures,
        path: path(),
    }
}

fn leaf() -> AuditLeaf {
    AuditLeaf {
        bytes: vec![0xab; 3],
        path: path(),
        signatures: vec![signature(2)],
    }
}

fn piece() -> Piece {
    Piece {
        offset: 65_536,
        total: 70_000,
        bytes: vec![0xef; 2],
    }
}

fn capabilities() -> Capabilities {
    Capabilities {
        allocated_storage_gb: 300,
        floor: 7,
        newest_segment: Some(299),
        newest_period: None,
        indexes: IndexScopes {
            block: IndexScope::All,
            operation: IndexScope::Held,
            address: IndexScope::None,
        },
        ranges: vec![
            HeldRange {
                first_segment: 1,
                last_segment: 1,
            },
            HeldRange {
                first_segment: 3,
                last_segment: 300,
            },
        ],
    }
}

fn ids() -> Vec<LocateId> {
    let mut bytes = [0x44; 33];
    bytes[0] = 0;
    vec![
        LocateId::Block(block_id_from_bytes(&bytes).unwrap()),
        LocateId::Operation(operation_id_from_bytes(&bytes).unwrap()),
    ]
}

/// One sibling for each set bit of `mask`.
fn sum_path(mask: u64) -> Vec<u8> {
    let mut path = mask.to_le_bytes().to_vec();
    for _ in 0..mask.count_ones() {
        path.extend(7u64.to_le_bytes());
        path.extend([0x88; 32]);
    }
    path
}

/// What is told without being asked, with its bytes, written out by hand from the drawings.
fn told() -> Vec<(StorageMessage, String)> {
    let announcement = |root: Option<SegmentRoot>| StorageMessage::ChunkAnnouncement {
        segment: 300,
        root,
        chunks: vec![AnnouncedChunk {
            index: ChunkIndex(65_535),
            id: ChunkId::from_bytes([0x66; 32]),
        }],
    };
    vec![
        (
            announcement(Some(SegmentRoot::from_bytes([0x55; 32]))),
            format!("00 ac02 01 {} 01 ffff03 {}", x("55", 32), x("66", 32)),
        ),
        (announcement(None), format!("00 ac02 00 01 ffff03 {}", x("66", 32))),
        (
            StorageMessage::StorageCapabilities {
                capabilities: capabilities(),
            },
            "05 ac02 07 01 ab02 00 02 01 00 02 01 01 03 ac02".into(),
        ),
        (StorageMessage::Busy { request_id: 300 }, "0a ac02".into()),
    ]
}

/// Requests, likewise.
fn requests() -> Vec<(StorageMessage, String)> {
    let chunk_request = |with_first_page, lane| StorageMessage::ChunkRequest {
        request_id: 1,
        position: position(2, 300),
        chunk_id: ChunkId::from_bytes([0x66; 32]),
        first_page: 1023,
        pages: 16,
        with_first_page,
        lane,
    };
    let bytes = |flags: &str| format!("01 01 02 ac02 {} ff07 10 {flags}", x("66", 32));
    vec![
        (chunk_request(false, Lane::Bulk), bytes("00")),
        (chunk_request(true, Lane::Bulk), bytes("01")),
        (chunk_request(false, Lane::Quick), bytes("02")),
        (chunk_request(true, Lane::Quick), bytes("03")),
        (
            StorageMessage::Challenge {
                request_id: 1,
                challenge: AuditChallenge {
                    challenge_id: ChallengeId::from_bytes([0x99; 32]),
                    position: position(2, 300),
                    chunk_id: ChunkId::from_bytes([0x66; 32]),
                    nonce: 300,
                },
            },
            format!("03 01 {} 02 ac02 {} ac02", x("99", 32), x("66", 32)),
        ),
        (
            StorageMessage::TablesRequest {
                request_id: 1,
                first_segment: 300,
                count: 64,
                offset: 0,
            },
            "06 01 ac02 40 00".into(),
        ),
        (
            StorageMessage::TablesRequest {
                request_id: 1,
                first_segment: 300,
                count: 1,
                offset: 65_536,
            },
            "06 01 ac02 01 808004".into(),
        ),
        (
            StorageMessage::EntriesRequest {
                request_id: 1,
                first_period: 300,
                count: 256,
            },
            "0c 01 ac02 8002".into(),
        ),
        (
            StorageMessage::BlockRequest {
                request_id: 1,
                slot: Slot::new(300, 31),
                offset: 65_536,
            },
            "0e 01 ac02 1f 808004".into(),
        ),
        (
            StorageMessage::HeldRequest {
                request_id: 1,
                first_segment: 300,
                count: 1024,
            },
            "08 01 ac02 8008".into(),
        ),
        (
            StorageMessage::LocateRequest {
                request_id: 1,
                ids: ids(),
            },
            format!("10 01 02 00 00 {} 01 00 {}", x("44", 32), x("44", 32)),
        ),
        (
            StorageMessage::SumPathRequest {
                request_id: 1,
                round: 300,
                position: position(2, 300),
            },
            "12 01 ac02 02 ac02".into(),
        ),
    ]
}

/// Answers, likewise.
fn answers() -> Vec<(StorageMessage, String)> {
    let nothing = |answer| StorageMessage::ChunkResponse {
        request_id: 9,
        page: 4,
        answer,
    };
    let proof = |answer| StorageMessage::ChallengeProof {
        request_id: 1,
        challenge_id: ChallengeId::from_bytes([0x99; 32]),
        answer,
    };
    let tables = |answer| StorageMessage::TablesResponse {
        request_id: 1,
        first_segment: 300,
        answer,
    };
    let path_answer = |answer| StorageMessage::SumPathResponse { request_id: 1, answer };
    let block = |answer| StorageMessage::BlockResponse {
        request_id: 1,
        slot: Slot::new(300, 31),
        answer,
    };
    vec![
        (
            StorageMessage::ChunkResponse {
                request_id: 128,
                page: 3,
                answer: Answer::Found(page()),
            },
            format!("02 8001 03 00 03 00abab 01 2c01 {} {PATH}", x("cd", 65)),
        ),
        (nothing(Answer::NotYet), "02 09 04 01".into()),
        (nothing(Answer::NotHeld), "02 09 04 02".into()),
        (nothing(Answer::Pruned), "02 09 04 03".into()),
        (
            proof(Answer::Found(vec![leaf()])),
            format!("04 01 {} 00 01 03 ababab {PATH} 01 0200 {}", x("99", 32), x("cd", 65)),
        ),
        (proof(Answer::NotHeld), format!("04 01 {} 02", x("99", 32))),
        (
            tables(Answer::Found(TablesContent::Whole(vec![vec![0xaa; 2], vec![0xbb]]))),
            "07 01 ac02 00 00 02 02 aaaa 01 bb".into(),
        ),
        (
            tables(Answer::Found(TablesContent::Piece(piece()))),
            "07 01 ac02 00 01 808004 f0a204 02 efef".into(),
        ),
        (tables(Answer::NotYet), "07 01 ac02 01".into()),
        (
            StorageMessage::EntriesResponse {
                request_id: 1,
                first_period: 300,
                answer: Answer::Found(vec![vec![0xaa; 2], vec![0xbb]]),
            },
            "0d 01 ac02 00 02 02 aaaa 01 bb".into(),
        ),
        (block(Answer::Found(SlotContent::Miss)), "0f 01 ac02 1f 00 00".into()),
        (
            block(Answer::Found(SlotContent::Block(piece()))),
            "0f 01 ac02 1f 00 01 808004 f0a204 02 efef".into(),
        ),
        (block(Answer::Pruned), "0f 01 ac02 1f 03".into()),
        (
            StorageMessage::HeldResponse {
                request_id: 1,
                first_segment: 300,
                held: vec![vec![0xff, 0x01], Vec::new()],
            },
            "09 01 ac02 02 02 ff01 00".into(),
        ),
        (
            StorageMessage::LocateResponse {
                request_id: 1,
                located: vec![
                    None,
                    Some(Located {
                        slot: Slot::new(300, 31),
                        index: 128,
                    }),
                ],
            },
            "11 01 02 00 01 ac02 1f 8001".into(),
        ),
        (
            path_answer(Answer::Found(sum_path(0b100))),
            format!("13 01 00 30 0400000000000000 0700000000000000 {}", x("88", 32)),
        ),
        (path_answer(Answer::NotHeld), "13 01 02".into()),
    ]
}

fn vectors() -> Vec<(StorageMessage, String)> {
    told().into_iter().chain(requests()).chain(answers()).collect()
}

#[test]
fn bytes_are_frozen() {
    for (message, hex) in vectors() {
        assert_eq!(write(&message), unhex(&hex), "{message:?}");
        assert_eq!(read(&unhex(&hex)), Some(message));
    }
}

#[test]
fn every_type_has_a_vector_and_a_direction() {
    let mut known: Vec<u64> = vectors()
        .iter()
        .map(|(message, _)| StorageMessageTypeId::from(message) as u64)
        .collect();
    known.sort_unstable();
    known.dedup();
    // 11 was a message that is gone.
    assert_eq!(known, (0..20).filter(|id| *id != 11).collect::<Vec<u64>>());
    for id in [11, 20] {
        assert_eq!(StorageMessageTypeId::try_from(id), Err(id));
    }
    for (message, _) in requests() {
        let id = StorageMessageTypeId::from(&message);
        assert!(id.is_request() && !id.is_answer());
    }
    for (message, _) in answers() {
        let id = StorageMessageTypeId::from(&message);
        assert!(id.is_answer() && !id.is_request());
    }
}

#[test]
fn truncated_input_is_always_an_error_and_so_is_what_follows() {
    for (message, _) in vectors() {
        let mut bytes = write(&message);
        for length in 0..bytes.len() {
            assert_eq!(read(&bytes[..length]), None, "{message:?} cut after {length} bytes");
        }
        bytes.push(0);
        assert_eq!(read(&bytes), None);
    }
}

#[test]
fn a_peek_tells_type_and_request_without_reading() {
    let deserializer = StorageMessageDeserializer::new();
    for (message, _) in vectors() {
        let bytes = write(&message);
        let expected = (StorageMessageTypeId::from(&message), message.request_id());
        assert_eq!(deserializer.peek(&bytes), Some(expected));
    }
    assert_eq!(deserializer.peek(&[]), None);
    assert_eq!(deserializer.peek(&[1]), None, "a request without an id");
    assert_eq!(deserializer.peek(&[20, 0]), None, "an unknown type");
}

#[test]
fn what_is_out_of_its_range_is_refused() {
    let refused = [
        (
            "a chunk beyond 65535",
            format!("01 01 02 808004 {} 00 01 00", x("66", 32)),
        ),
        ("a segment beyond 24 bits", "06 01 80808008 01 00".into()),
        ("no page", format!("01 01 02 00 {} 00 00 00", x("66", 32))),
        ("17 pages", format!("01 01 02 00 {} 00 11 00", x("66", 32))),
        ("an unknown flag", format!("01 01 02 00 {} 00 01 04", x("66", 32))),
        ("no table", "06 01 01 00 00".into()),
        ("65 tables", "06 01 01 41 00".into()),
        ("a piece of two tables", "06 01 01 02 01".into()),
        ("an empty list of tables", "07 01 01 00 00 00".into()),
        ("an empty table", "07 01 01 00 00 01 00".into()),
        ("an unknown kind of tables", "07 01 01 00 02 01 01 aa".into()),
        ("a piece beyond its end", "07 01 01 00 01 02 02 01 aa".into()),
        ("an empty piece", "07 01 01 00 01 00 02 00".into()),
        ("a piece of nothing", "07 01 01 00 01 00 00 01 aa".into()),
        ("no entry", "0c 01 01 00".into()),
        ("257 entries", "0c 01 01 8102".into()),
        ("an unknown answer", "0d 01 01 04".into()),
        ("an unknown content of a slot", "0f 01 01 00 00 02".into()),
        ("a block from beyond its largest size", "0e 01 01 00 81808001".into()),
        ("held bits with a trailing zero byte", "09 01 01 01 02 ff00".into()),
        ("1025 segments", "08 01 01 8108".into()),
        ("no id to look up", "10 01 00".into()),
        ("an id of an unknown kind", format!("10 01 01 02 00 {}", x("44", 32))),
        ("an id of an unknown version", format!("10 01 01 00 01 {}", x("44", 32))),
        ("repairs that do not ascend", "0b 09 02 01 02 01 02".into()),
        ("ranges that overlap", "05 00 00 00 00 00 00 00 02 01 03 03 04".into()),
        (
            "a range that ends before it begins",
            "05 00 00 00 00 00 00 00 01 03 02".into(),
        ),
        ("an unknown index scope", "05 00 00 00 00 03 00 00 00".into()),
        ("an unknown type", "14 01".into()),
        (
            "a way to the claim of a chunk beyond a segment",
            "12 01 00 00 808004".into(),
        ),
        ("a way to a claim without a mask", "13 01 00 07 00000000000000".into()),
        (
            "a way to a claim with a sibling too few",
            "13 01 00 08 0100000000000000".into(),
        ),
        (
            "a way to a claim with a sibling too many",
            format!("13 01 00 30 0000000000000000 {}", x("88", 40)),
        ),
        (
            "a way to a claim beyond its root",
            format!("13 01 00 30 0000000000010000 {}", x("88", 40)),
        ),
        ("an unknown answer about a claim", "13 01 04".into()),
        (
            "signatures of a leaf that do not ascend",
            format!(
                "04 01 {} 00 01 01 ab 00 00 02 0200 {} 0200 {}",
                x("99", 32),
                x("cd", 65),
                x("cd", 65)
            ),
        ),
    ];
    for (reason, hex) in refused {
        assert_eq!(read(&unhex(&hex)), None, "{reason}");
    }
}

#[test]
fn a_count_of_more_than_there_is_allocates_nothing() {
    // 64 ids are looked up, two bytes follow: refused before a list of that size is made. Likewise elsewhere.
    for hex in ["10 01 40 00 00", "09 01 01 8008 00", "07 01 01 00 00 40 01 aa"] {
        assert_eq!(read(&unhex(hex)), None);
    }
}

#[test]
fn lists_are_together_no_larger_than_a_frame() {
    let list = |lengths: [usize; 2]| {
        let mut bytes = unhex("07 01 01 00 00 02");
        for length in lengths {
            let length_bytes = [length as u8 | 0x80, (length >> 7) as u8 | 0x80, (length >> 14) as u8];
            bytes.extend(length_bytes);
            bytes.extend(vec![1; length]);
        }
        bytes
    };
    let half = MAX_CONTENT_BYTES / 2;
    assert!(read(&list([half, half])).is_some());
    assert!(read(&list([half, half + 1])).is_none());
}

#[test]
fn what_would_be_refused_is_not_written() {
    let tables = |content| StorageMessage::TablesResponse {
        request_id: 1,
        first_segment: 1,
        answer: Answer::Found(content),
    };
    let held = |held| StorageMessage::HeldResponse {
        request_id: 1,
        first_segment: 1,
        held,
    };
    let path_answer = |path| StorageMessage::SumPathResponse {
        request_id: 1,
        answer: Answer::Found(path),
    };
    let mut large_page = page();
    large_page.stored = vec![0; MAX_STORED_PAGE_BYTES + 1];
    let mut half_a_signature = page();
    half_a_signature.signatures.pop();
    let page = |content| StorageMessage::ChunkResponse {
        request_id: 1,
        page: 0,
        answer: Answer::Found(content),
    };
    let refused = [
        tables(TablesContent::Whole(vec![vec![1; MAX_CONTENT_BYTES / 2 + 1]; 2])),
        tables(TablesContent::Whole(vec![vec![1]; 65])),
        tables(TablesContent::Piece(Piece {
            offset: 0,
            total: 1 << 20,
            bytes: vec![1; PIECE_BYTES + 1],
        })),
        held(vec![vec![1]; MAX_FETCH_HELD as usize + 1]),
        page(large_page),
        page(half_a_signature),
        path_answer(sum_path(1 << 40)),
        path_answer(sum_path(3)[..48].to_vec()),
        path_answer(Vec::new()),
    ];
    for message in refused {
        assert_eq!(try_write(&message), None);
    }
}

fn largest() -> Vec<(StorageMessage, usize)> {
    let path = MerkleProof {
        directions: u16::MAX,
        siblings: vec![[1; 32]; MAX_PATH_SIBLINGS],
    };
    let leaf = AuditLeaf {
        bytes: vec![1; LEAF_BYTES],
        path: path.clone(),
        signatures: (0..MAX_LEAF_SIGNATURES as u16).map(signature).collect(),
    };
    let page = PageContent {
        stored: vec![0; MAX_STORED_PAGE_BYTES],
        signatures: vec![1; MAX_PAGE_SIGNATURES * TaggedSignature::SIZE_BYTES],
        path,
    };
    let most = position((1 << 24) - 1, 65_535);
    let chunk = AnnouncedChunk {
        index: ChunkIndex(65_535),
        id: ChunkId::from_bytes([1; 32]),
    };
    let held = vec![vec![1; MAX_CONTENT_BYTES / MAX_FETCH_HELD as usize]; MAX_FETCH_HELD as usize];
    vec![
        (
            StorageMessage::ChunkResponse {
                request_id: u64::MAX,
                page: 1023,
                answer: Answer::Found(page),
            },
            MAX_PAGE_FRAME_BYTES,
        ),
        (
            StorageMessage::ChallengeProof {
                request_id: u64::MAX,
                challenge_id: ChallengeId::from_bytes([1; 32]),
                answer: Answer::Found(vec![leaf; CHALLENGE_LEAVES]),
            },
            MAX_PROOF_FRAME_BYTES,
        ),
        (
            StorageMessage::HeldResponse {
                request_id: u64::MAX,
                first_segment: most.segment,
                held,
            },
            MAX_CONTENT_FRAME_BYTES,
        ),
        (
            StorageMessage::TablesResponse {
                request_id: u64::MAX,
                first_segment: most.segment,
                answer: Answer::Found(TablesContent::Piece(Piece {
                    offset: 65_536,
                    total: MAX_TABLE_BYTES as u32,
                    bytes: vec![1; PIECE_BYTES],
                })),
            },
            MAX_CONTENT_FRAME_BYTES,
        ),
        (
            StorageMessage::ChunkAnnouncement {
                segment: most.segment,
                root: Some(SegmentRoot::from_bytes([1; 32])),
                chunks: vec![chunk; MAX_ANNOUNCED_CHUNKS],
            },
            MAX_ANNOUNCEMENT_FRAME_BYTES,
        ),
        (
            StorageMessage::LocateRequest {
                request_id: u64::MAX,
                ids: vec![ids()[0]; MAX_LOCATE_IDS],
            },
            MAX_LOCATE_FRAME_BYTES,
        ),
        (
            StorageMessage::SumPathResponse {
                request_id: u64::MAX,
                answer: Answer::Found(sum_path((1 << 40) - 1)),
            },
            MAX_SUM_PATH_FRAME_BYTES,
        ),
    ]
}

#[test]
fn no_frame_is_larger_than_it_is_said_to_be() {
    for (message, bytes) in largest() {
        let written = write(&message).len();
        assert!(written < bytes, "{written} bytes, at most {bytes}");
        assert!(read(&write(&message)) == Some(message));
    }
}

#[test]
fn the_longest_way_to_a_claim_has_a_sibling_at_each_level() {
    assert_eq!(sum_path((1 << 40) - 1).len(), MAX_SUM_PATH_BYTES);
}

const _: () = assert!(MAX_PAGE_FRAME_BYTES < 3 * PAGE_BYTES && MAX_PROOF_FRAME_BYTES < 2 * PAGE_BYTES);

fn any_path() -> impl Strategy<Value = MerkleProof> {
    let siblings = vec(any::<[u8; 32]>(), 0..=MAX_PATH_SIBLINGS);
    (any::<u16>(), siblings).prop_map(|(directions, siblings)| MerkleProof { directions, siblings })
}

fn any_answer<T: std::fmt::Debug + Clone>(found: impl Strategy<Value = T>) -> impl Strategy<Value = Answer<T>> {
    prop_oneof![
        found.prop_map(Answer::Found),
        Just(Answer::NotYet),
        Just(Answer::NotHeld),
        Just(Answer::Pruned)
    ]
}

fn any_position() -> impl Strategy<Value = ChunkPosition> {
    (0u64..1 << 24, 0u32..1 << 16).prop_map(|(segment, index)| position(segment, index))
}

fn any_page() -> impl Strategy<Value = PageContent> {
    let signatures = vec(any::<u8>(), 0..10).prop_map(|ends| {
        let mut bytes = Vec::new();
        ends.iter().for_each(|end| signature(u16::from(*end)).write(&mut bytes));
        bytes
    });
    let parts = (vec(any::<u8>(), 1..1000), signatures, any_path());
    parts.prop_map(|(stored, signatures, path)| PageContent {
        stored,
        signatures,
        path,
    })
}

fn any_piece() -> impl Strategy<Value = Piece> {
    (vec(any::<u8>(), 1..1000), 0u32..1 << 20, 0u32..1 << 20).prop_map(|(bytes, offset, after)| Piece {
        offset,
        total: offset + bytes.len() as u32 + after,
        bytes,
    })
}

fn any_response() -> impl Strategy<Value = StorageMessage> {
    let list = vec(vec(any::<u8>(), 1..100), 1..60);
    let content = prop_oneof![
        list.clone().prop_map(TablesContent::Whole),
        any_piece().prop_map(TablesContent::Piece)
    ];
    let slot_content = prop_oneof![Just(SlotContent::Miss), any_piece().prop_map(SlotContent::Block)];
    let located = option::of((any::<u64>(), any::<u8>(), any::<u32>())).prop_map(|located| {
        located.map(|(period, thread, index)| Located {
            slot: Slot::new(period, thread),
            index,
        })
    });
    prop_oneof![
        (any::<u64>(), 0u32..1024, any_answer(any_page())).prop_map(|(request_id, page, answer)| {
            StorageMessage::ChunkResponse {
                request_id,
                page,
                answer,
            }
        }),
        (any::<u64>(), 0u64..1 << 24, any_answer(content)).prop_map(|(request_id, first_segment, answer)| {
            StorageMessage::TablesResponse {
                request_id,
                first_segment,
                answer,
            }
        }),
        (any::<u64>(), any::<u64>(), any_answer(list)).prop_map(|(request_id, first_period, answer)| {
            StorageMessage::EntriesResponse {
                request_id,
                first_period,
                answer,
            }
        }),
        (any::<u64>(), any::<(u64, u8)>(), any_answer(slot_content)).prop_map(
            |(request_id, (period, thread), answer)| {
                StorageMessage::BlockResponse {
                    request_id,
                    slot: Slot::new(period, thread),
                    answer,
                }
            }
        ),
        (any::<u64>(), vec(located, 1..64))
            .prop_map(|(request_id, located)| StorageMessage::LocateResponse { request_id, located }),
        (any::<u64>(), any_answer((0u64..1 << 40).prop_map(sum_path)))
            .prop_map(|(request_id, answer)| StorageMessage::SumPathResponse { request_id, answer }),
        (any::<u64>(), any::<u64>(), any_position()).prop_map(|(request_id, round, position)| {
            StorageMessage::SumPathRequest {
                request_id,
                round,
                position,
            }
        }),
    ]
}

fn any_told() -> impl Strategy<Value = StorageMessage> {
    let chunk = (0u32..1 << 16, any::<[u8; 32]>()).prop_map(|(index, id)| AnnouncedChunk {
        index: ChunkIndex(index),
        id: ChunkId::from_bytes(id),
    });
    let root = option::of(any::<[u8; 32]>().prop_map(SegmentRoot::from_bytes));
    let request = (
        any::<u64>(),
        any_position(),
        any::<[u8; 32]>(),
        0u32..1024,
        1u32..=16,
        any::<bool>(),
    );
    prop_oneof![
        (0u64..1 << 24, root, vec(chunk, 0..50))
            .prop_map(|(segment, root, chunks)| StorageMessage::ChunkAnnouncement { segment, root, chunks }),
        request.prop_map(|(request_id, position, chunk_id, first_page, pages, flag)| {
            StorageMessage::ChunkRequest {
                request_id,
                position,
                chunk_id: ChunkId::from_bytes(chunk_id),
                first_page,
                pages,
                with_first_page: flag,
                lane: if flag { Lane::Quick } else { Lane::Bulk },
            }
        }),
    ]
}

#[test]
fn a_number_with_bits_above_the_64th_is_refused() {
    let busy = StorageMessage::Busy { request_id: u64::MAX };
    let mut bytes = write(&busy);
    assert_eq!(read(&bytes), Some(busy));
    *bytes.last_mut().unwrap() = 0b11;
    assert_eq!(read(&bytes), None);
}

proptest! {
    #[test]
    fn reading_undoes_writing(message in prop_oneof![any_response(), any_told()]) {
        prop_assert_eq!(read(&write(&message)), Some(message));
    }

    #[test]
    fn what_is_cut_is_an_error(message in prop_oneof![any_response(), any_told()], cut in any::<prop::sample::Index>()) {
        let bytes = write(&message);
        prop_assert_eq!(read(&bytes[..cut.index(bytes.len())]), None);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..300)) {
        // A message has one form.
        if let Some(message) = read(&bytes) {
            prop_assert_eq!(write(&message), bytes);
        }
    }
}
