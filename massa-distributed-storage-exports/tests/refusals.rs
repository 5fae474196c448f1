//! Every refusal, and the words and values it comes with.

mod common;

use common::*;
use massa_distributed_storage_exports::body::{BodyEntry, BodyError, PeriodBody};
use massa_distributed_storage_exports::bytes::Truncated;
use massa_distributed_storage_exports::config::{ConfigError, DistributedStorageConfig};
use massa_distributed_storage_exports::manifest::{Manifest, ManifestError, Place, ARCHIVE_FORMAT, LOST_FORMAT};
use massa_distributed_storage_exports::merkle::{leaf_hash, MerkleTree, MAX_PATH_SIBLINGS};
use massa_distributed_storage_exports::proof::ChunkLeafProof;
use massa_distributed_storage_exports::record::{BlockRecord, BlockView, RecordError, MAX_RECORD_BYTES};
use massa_distributed_storage_exports::types::{
    check_chunk_size, Digest, ParameterError, LEAF_BYTES, MAX_CHUNK_BYTES, PAGE_BYTES, SIGNATURE_BYTES,
};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, MerkleProof, ProofError};
use massa_models::block_id::BlockId;
use massa_models::config::MAX_OPERATIONS_PER_BLOCK;
use massa_models::slot::Slot;

const KEY_BYTES: usize = 33;

// Records.

fn record_refusal(bytes: &[u8]) -> RecordError {
    BlockRecord::from_bytes(bytes.to_vec()).unwrap_err()
}

/// Length and content of the shortest object there can be.
fn shortest_object() -> Vec<u8> {
    let length = SIGNATURE_BYTES + KEY_BYTES;
    [&(length as u32).to_le_bytes(), vec![0; length].as_slice()].concat()
}

fn truncated(field: &'static str) -> Truncated {
    Truncated { field }
}

#[test]
fn a_record_that_ends_early_is_refused() {
    let block = shortest_object();

    assert_eq!(record_refusal(&[]), truncated("block").into());
    assert_eq!(record_refusal(&block), truncated("operation count").into());
    let one_missing = [block.as_slice(), &[1, 0, 0, 0]].concat();
    assert_eq!(record_refusal(&one_missing), truncated("operation").into());
}

#[test]
fn a_record_with_bytes_left_over_is_refused() {
    let bytes = [shortest_object().as_slice(), &[0, 0, 0, 0], &[1, 2, 3]].concat();

    assert_eq!(record_refusal(&bytes), RecordError::TrailingBytes(3));
}

#[test]
fn a_record_beyond_the_size_limit_is_refused() {
    let error = RecordError::TooLarge {
        field: "record",
        value: MAX_RECORD_BYTES as u64 + 1,
        max: MAX_RECORD_BYTES as u64,
    };

    assert_eq!(record_refusal(&vec![0; MAX_RECORD_BYTES + 1]), error);
}

#[test]
fn a_record_of_more_operations_than_a_block_has_is_refused_before_they_are_read() {
    for count in [MAX_OPERATIONS_PER_BLOCK + 1, u32::MAX] {
        let bytes = [shortest_object().as_slice(), &count.to_le_bytes()].concat();
        let error = RecordError::TooLarge {
            field: "operation count",
            value: u64::from(count),
            max: u64::from(MAX_OPERATIONS_PER_BLOCK),
        };

        assert_eq!(record_refusal(&bytes), error);
    }
}

#[test]
fn an_object_without_room_for_signature_and_key_is_refused() {
    let short = vec![0; SIGNATURE_BYTES + KEY_BYTES - 1];
    let long = vec![0; SIGNATURE_BYTES + KEY_BYTES];

    let malformed = |field| Err(RecordError::Malformed { field });
    assert_eq!(BlockRecord::new(&short, &[]), malformed("block"));
    assert_eq!(BlockRecord::new(&long, &[short]), malformed("operation"));
}

// The fields of a block.

fn unsigned_block() -> &'static [u8] {
    &block_with_operations().block()[SIGNATURE_BYTES..]
}

fn view_refusal(unsigned: &[u8]) -> RecordError {
    BlockView::parse(unsigned, THREADS).map(|view| view.slot).unwrap_err()
}

#[test]
fn a_truncated_block_is_refused() {
    let block = unsigned_block();
    for length in 0..block.len() {
        assert!(BlockView::parse(&block[..length], THREADS).is_err(), "{length} bytes");
    }
    assert_eq!(view_refusal(&[]), truncated("creator key").into());
}

#[test]
fn a_block_with_bytes_left_over_is_refused() {
    let block = [unsigned_block(), &[0]].concat();

    assert_eq!(view_refusal(&block), RecordError::TrailingBytes(1));
}

#[test]
fn a_block_of_a_thread_that_does_not_exist_is_refused() {
    let slot = block_with_operations().view(THREADS).unwrap().slot;
    let record = upstream().blocks.iter().find(|(slot, _)| slot.thread == THREADS - 1);
    let (_, last) = record.unwrap();

    let error = RecordError::Thread {
        thread: THREADS - 1,
        thread_count: THREADS - 1,
    };
    assert!(slot.thread < THREADS - 1);
    assert_eq!(last.view(THREADS - 1).map(|view| view.slot), Err(error));
}

/// Offsets in a block without announced version, in a period below 128.
const ANNOUNCED_VERSION: usize = KEY_BYTES + 1;
const PARENTS: usize = ANNOUNCED_VERSION + 3;
const ENDORSEMENT_COUNT: usize = PARENTS + 1 + THREADS as usize * 33 + 32;

#[test]
fn a_field_that_no_serializer_writes_is_refused_by_name() {
    let cases = [
        (ANNOUNCED_VERSION, b'2', "announced version"),
        (PARENTS, 2, "parents"),
        (PARENTS + 1, 1, "parents"),
        (ENDORSEMENT_COUNT, 17, "endorsement count"),
    ];
    for (offset, value, field) in cases {
        let mut block = unsigned_block().to_vec();
        block[offset] = value;

        assert_eq!(view_refusal(&block), RecordError::Malformed { field });
    }
}

#[test]
fn operation_ids_of_another_version_are_refused() {
    let mut block = unsigned_block().to_vec();
    let last_id = block.len() - 33;
    block[last_id] = 1;

    let field = "operation ids";
    assert_eq!(view_refusal(&block), RecordError::Malformed { field });
}

#[test]
fn more_operation_ids_than_a_block_has_are_refused() {
    let count = block_with_operations().operation_count();
    let before = &unsigned_block()[..unsigned_block().len() - count * 33 - 1];
    // 5001 as a varint.
    let block = [before, &[0x89, 0x27], &vec![0; 5001 * 33]].concat();

    let field = "operation count";
    assert_eq!(view_refusal(&block), RecordError::Malformed { field });
}

// Bodies.

/// A body of the first two blocks of a period, and where they stand.
fn two_blocks() -> (PeriodBody, [usize; 2], [u8; 2]) {
    let period = periods()[0];
    let (mut places, mut threads) = (vec![None; usize::from(THREADS)], Vec::new());
    let blocks = places_of(period).into_iter().enumerate();
    for (thread, block) in blocks.filter(|(_, place)| place.is_some()).take(2) {
        places[thread] = block;
        threads.push(thread as u8);
    }
    let body = encode(period, &places);
    let offset = |thread: u8| match body.places[usize::from(thread)] {
        Place::Block { offset, .. } => offset as usize,
        Place::Miss | Place::Lost { .. } => panic!("thread {thread} has a block"),
    };
    let offsets = [offset(threads[0]), offset(threads[1])];
    (body, offsets, [threads[0], threads[1]])
}

fn body_refusal(bytes: &[u8]) -> BodyError {
    PeriodBody::decode(bytes, THREADS).map(|body| body.header).unwrap_err()
}

#[test]
fn a_body_of_an_unknown_format_is_refused() {
    let (mut body, ..) = two_blocks();
    body.bytes[0] = 2;

    let error = body_refusal(&body.bytes);
    assert_eq!(error, BodyError::Format(2));
    assert_eq!(
        error.to_string(),
        "archive format 2 is unknown, this version reads format 1"
    );
}

#[test]
fn a_body_without_a_whole_header_is_refused() {
    assert_eq!(body_refusal(&[]), truncated("format").into());
    let (body, ..) = two_blocks();
    assert_eq!(body_refusal(&body.bytes[..18]), truncated("blocks").into());
}

#[test]
fn a_body_of_another_number_of_threads_is_refused() {
    let (body, ..) = two_blocks();

    let error = BodyError::Header {
        field: "threads",
        expected: u64::from(THREADS) + 1,
        found: u64::from(THREADS),
    };
    assert_eq!(PeriodBody::decode(&body.bytes, THREADS + 1).map(|_| ()), Err(error));
}

#[test]
fn a_body_is_encoded_from_one_place_for_each_thread() {
    let error = BodyError::Header {
        field: "threads",
        expected: u64::from(THREADS),
        found: 2,
    };

    assert_eq!(PeriodBody::encode(header_of(1), &[None, None]), Err(error));
}

#[test]
fn a_body_with_a_malformed_block_is_refused_by_position() {
    let (mut body, [_, second], _) = two_blocks();
    body.bytes[second + 4] = 1;

    let source = RecordError::Malformed { field: "creator key" };
    assert_eq!(body_refusal(&body.bytes), BodyError::Block { index: 1, source });
}

#[test]
fn a_body_whose_blocks_ends_early_is_refused_by_position() {
    let (body, [_, second], _) = two_blocks();

    let source = truncated("block").into();
    assert_eq!(
        body_refusal(&body.bytes[..second]),
        BodyError::Block { index: 1, source }
    );
}

#[test]
fn a_body_with_more_operations_than_a_block_has_is_refused_before_they_are_read() {
    let block = [&1u32.to_le_bytes()[..], &[0], &u32::MAX.to_le_bytes()].concat();

    let error = RecordError::TooLarge {
        field: "operation count",
        value: u64::from(u32::MAX),
        max: u64::from(MAX_OPERATIONS_PER_BLOCK),
    };
    assert_eq!(BodyEntry::parse(&block), Err(error));
}

#[test]
fn a_body_whose_blocks_are_not_in_the_order_of_threads_is_refused() {
    let (body, [first, second], threads) = two_blocks();
    let (header, blocks) = body.bytes.split_at(first);
    let (one, two) = blocks.split_at(second - first);

    let refusal = |blocks: [&[u8]; 2], found: u8, last: u8| {
        let error = BodyError::Slot {
            index: 1,
            slot: Slot::new(body.header.period, found),
            period: body.header.period,
            last_thread: Some(last),
        };
        assert_eq!(body_refusal(&[header, &blocks.concat()].concat()), error);
    };
    refusal([two, one], threads[0], threads[1]);
    refusal([one, one], threads[0], threads[0]);
}

#[test]
fn a_body_with_a_block_of_another_period_is_refused() {
    let (mut body, _, [thread, _]) = two_blocks();
    let period = body.header.period;
    body.bytes[9..17].copy_from_slice(&(period + 1).to_le_bytes());

    let error = BodyError::Slot {
        index: 0,
        slot: Slot::new(period, thread),
        period: period + 1,
        last_thread: None,
    };
    assert_eq!(body_refusal(&body.bytes), error);
}

#[test]
fn a_body_is_encoded_from_blocks_of_its_period_and_places() {
    let period = periods()[0];
    let mut places = places_of(period);
    let records: Vec<_> = places.iter().map(Option::as_ref).collect();
    let error = PeriodBody::encode(header_of(period + 1), &records).unwrap_err();
    assert!(matches!(error, BodyError::Slot { index: 0, .. }), "{error}");

    places.rotate_left(1);
    let records: Vec<_> = places.iter().map(Option::as_ref).collect();
    let error = PeriodBody::encode(header_of(period), &records).unwrap_err();
    assert!(matches!(error, BodyError::Slot { index: 0, .. }), "{error}");
}

#[test]
fn a_body_is_not_encoded_from_what_is_no_block() {
    let no_block = BlockRecord::new(&[1; SIGNATURE_BYTES + KEY_BYTES], &[]).unwrap();
    let mut places = vec![None; usize::from(THREADS)];
    places[5] = Some(&no_block);

    let source = RecordError::Malformed { field: "creator key" };
    let error = BodyError::Block { index: 0, source };
    assert_eq!(PeriodBody::encode(header_of(1), &places), Err(error));
}

#[test]
fn a_body_with_bytes_left_over_is_refused() {
    let (mut body, ..) = two_blocks();
    body.bytes.extend([0, 0]);

    assert_eq!(body_refusal(&body.bytes), BodyError::TrailingBytes(2));
}

#[test]
fn a_body_without_one_signature_for_each_object_is_refused() {
    let (body, ..) = two_blocks();
    let decoded = PeriodBody::decode(&body.bytes, THREADS).unwrap();
    for found in [0, body.signatures.len() - SIGNATURE_BYTES, body.signatures.len() - 1] {
        let objects = body.object_ends.len();

        let error = BodyError::Signatures { objects, found };
        assert_eq!(decoded.records(&body.signatures[..found]), Err(error));
    }
}

#[test]
fn a_block_of_a_body_without_one_signature_for_each_object_is_refused() {
    let (body, [first, _], _) = two_blocks();
    let entry = BodyEntry::parse(&body.bytes[first..]).unwrap();
    let signatures = vec![0; (entry.object_count() + 1) * SIGNATURE_BYTES];

    let field = "signatures";
    assert_eq!(entry.record(&signatures), Err(RecordError::Malformed { field }));
}

// Manifests.

const CHUNK_BYTES: u32 = PAGE_BYTES as u32;

/// The manifest of [`two_blocks`], cut into pages.
fn manifest_of_two_blocks() -> Manifest {
    manifest_of(&two_blocks().0, CHUNK_BYTES)
}

fn manifest_refusal(change: impl FnOnce(&mut Manifest)) -> ManifestError {
    let mut manifest = manifest_of_two_blocks();
    change(&mut manifest);
    Manifest::from_bytes(&manifest.to_bytes()).unwrap_err()
}

#[test]
fn a_manifest_that_ends_early_is_refused() {
    assert_eq!(Manifest::from_bytes(&[]), Err(truncated("format").into()));
    let bytes = manifest_of_two_blocks().to_bytes();
    let error = truncated("chunk id").into();
    assert_eq!(Manifest::from_bytes(&bytes[..bytes.len() - 1]), Err(error));
}

#[test]
fn a_manifest_of_an_unknown_format_is_refused() {
    let mut bytes = manifest_of_two_blocks().to_bytes();
    bytes[0] = 0;

    assert_eq!(Manifest::from_bytes(&bytes), Err(ManifestError::Format(0)));
}

#[test]
fn a_manifest_with_bytes_left_over_is_refused() {
    let bytes = [manifest_of_two_blocks().to_bytes(), vec![0; 4]].concat();

    assert_eq!(Manifest::from_bytes(&bytes), Err(ManifestError::TrailingBytes(4)));
}

#[test]
fn a_manifest_with_a_shape_that_contradicts_itself_is_refused() {
    let refused = ManifestError::Shape;
    assert_eq!(
        manifest_refusal(|it| it.header.chunk_size = 3 << 16),
        refused("chunk size")
    );
    assert_eq!(manifest_refusal(|it| it.header.chunks += 1), refused("chunks"));
    assert_eq!(manifest_refusal(|it| it.header.body_length = 0), refused("chunks"));
    assert_eq!(manifest_refusal(|it| it.header.threads = 0), refused("threads"));
    assert_eq!(manifest_refusal(|it| it.chunks[0].length -= 1), refused("chunk length"));
    assert_eq!(
        manifest_refusal(|it| it.header.body_length += 1),
        refused("chunk length")
    );
}

#[test]
fn a_manifest_of_more_chunks_than_a_position_can_name_is_refused_before_they_are_read() {
    let of_chunks = |chunks: u32| {
        move |it: &mut Manifest| {
            it.header.chunks = chunks;
            it.header.body_length = u64::from(chunks) * u64::from(CHUNK_BYTES);
        }
    };

    assert_eq!(manifest_refusal(of_chunks(257)), ManifestError::Shape("chunks"));
    assert_eq!(manifest_refusal(of_chunks(u32::MAX)), ManifestError::Shape("chunks"));
    assert_eq!(manifest_refusal(of_chunks(256)), truncated("chunk length").into());
}

#[test]
fn an_ordinary_period_is_never_read_as_a_lost_one_nor_the_reverse() {
    let ordinary = manifest_of_two_blocks();
    let ids: Vec<_> = ordinary.places.iter().map(Place::block_id).collect();
    let parameters = ArchiveParameters {
        chunk_size: ordinary.header.chunk_size,
        ..ArchiveParameters::new(ordinary.header.chain_id, ordinary.header.threads)
    };
    let lost = Manifest::lost(&parameters, ordinary.header.period, &ids);
    assert_ne!(lost.root(), ordinary.root());

    let with_format = |manifest: &Manifest, format: u8| {
        let mut bytes = manifest.to_bytes();
        bytes[0] = format;
        Manifest::from_bytes(&bytes).unwrap_err()
    };
    assert_eq!(with_format(&ordinary, LOST_FORMAT), ManifestError::Shape("chunks"));
    assert_eq!(with_format(&lost, ARCHIVE_FORMAT), ManifestError::Shape("chunks"));
    assert_eq!(with_format(&lost, 0x80), ManifestError::Format(0x80));
}

#[test]
fn a_lost_period_without_a_block_or_with_a_body_is_refused() {
    let parameters = ArchiveParameters::new(77, 2);
    let nothing = Manifest::lost(&parameters, 3, &[None, None]);
    assert_eq!(
        Manifest::from_bytes(&nothing.to_bytes()),
        Err(ManifestError::Shape("places"))
    );

    let ids = [None, manifest_of_two_blocks().places.iter().find_map(Place::block_id)];
    let mut with_body = Manifest::lost(&parameters, 3, &ids);
    with_body.header.body_length = 1;
    assert_eq!(
        Manifest::from_bytes(&with_body.to_bytes()),
        Err(ManifestError::Shape("chunks"))
    );
    let mut trailing = Manifest::lost(&parameters, 3, &ids).to_bytes();
    trailing.push(0);
    assert_eq!(Manifest::from_bytes(&trailing), Err(ManifestError::TrailingBytes(1)));
}

#[test]
fn a_place_that_is_neither_miss_nor_block_is_refused() {
    let mut bytes = manifest_of_two_blocks().to_bytes();
    let first_place = 34;
    bytes[first_place] = 2;

    assert_eq!(Manifest::from_bytes(&bytes), Err(ManifestError::Shape("place")));
}

#[test]
fn a_block_id_of_another_version_is_refused() {
    let (_, _, [thread, _]) = two_blocks();
    let mut bytes = manifest_of_two_blocks().to_bytes();
    let first_block = 34 + usize::from(thread);
    bytes[first_block + 1] = 1;

    assert_eq!(Manifest::from_bytes(&bytes), Err(ManifestError::Shape("block id")));
}

#[test]
fn blocks_that_do_not_follow_each_other_in_the_body_are_refused() {
    let (body, [first, second], threads) = two_blocks();
    let end = body.bytes.len() as u32;
    let refusal = |block: usize, at: usize, before: u32| {
        manifest_refusal(|it| {
            let Place::Block {
                offset, objects_before, ..
            } = &mut it.places[usize::from(threads[block])]
            else {
                panic!("there is a block")
            };
            (*offset, *objects_before) = (at as u32, before);
        })
    };

    let refused = ManifestError::Shape("block offset");
    assert_eq!(refusal(0, first, 1), refused);
    assert_eq!(refusal(1, second, 0), refused);
    assert_eq!(refusal(1, first, 1), refused);
    assert_eq!(refusal(1, end as usize, 1), refused);
}

// Proofs.

fn path(directions: u16, siblings: usize) -> MerkleProof {
    MerkleProof {
        directions,
        siblings: vec![digest(1); siblings],
    }
}

#[test]
fn a_path_of_more_siblings_than_any_tree_has_is_refused() {
    let error = ProofError::TooLong {
        siblings: MAX_PATH_SIBLINGS + 1,
    };

    assert_eq!(path(0, MAX_PATH_SIBLINGS + 1).root(digest(0)), Err(error));
    assert!(path(0xffff, MAX_PATH_SIBLINGS).root(digest(0)).is_ok());
}

#[test]
fn a_path_with_directions_beyond_its_siblings_is_refused() {
    let error = ProofError::StrayDirections {
        directions: 0b100,
        siblings: 2,
    };

    assert_eq!(path(0b100, 2).root(digest(0)), Err(error));
    assert!(path(0b11, 2).root(digest(0)).is_ok());
}

#[test]
fn a_path_of_another_position_is_refused() {
    let leaves: Vec<Digest> = (0..5).map(digest).collect();
    let tree = MerkleTree::new(&leaves);
    let path = tree.path(1).unwrap();

    for (index, leaf_count) in [(0, 5), (4, 5), (5, 5), (1, 1)] {
        let error = ProofError::WrongPosition { index, leaf_count };
        assert_eq!(path.verify_at(leaves[1], index, leaf_count, &tree.root()), Err(error));
    }
}

#[test]
fn a_path_to_another_root_is_refused_with_both() {
    let leaves: Vec<Digest> = (0..5).map(digest).collect();
    let tree = MerkleTree::new(&leaves);
    let expected = digest(9);

    let error = ProofError::RootMismatch {
        expected,
        computed: tree.root(),
    };
    assert!(error.to_string().contains(&hex::encode(tree.root())));
    assert_eq!(tree.path(1).unwrap().verify(leaves[1], &expected), Err(error));
}

#[test]
fn a_leaf_of_the_wrong_length_is_refused() {
    let chunk = vec![5; 2 * LEAF_BYTES + 10];
    let hashes: Vec<Digest> = chunk.chunks(LEAF_BYTES).map(leaf_hash).collect();
    let tree = MerkleTree::new(&hashes);
    let refusal = |index: u32, bytes: usize| {
        let proof = ChunkLeafProof {
            index,
            bytes: vec![5; bytes],
            path: tree.path(index).unwrap(),
        };
        proof.verify(&chunk_entry(&chunk)).unwrap_err()
    };

    for (index, expected, actual) in [(0, LEAF_BYTES, 10), (2, 10, 11), (2, 10, LEAF_BYTES), (2, 10, 0)] {
        let error = ProofError::LeafLength {
            index,
            expected,
            actual,
        };
        assert_eq!(refusal(index, actual), error);
    }
}

#[test]
fn a_leaf_beyond_the_chunk_is_refused() {
    let proof = ChunkLeafProof {
        index: 1,
        bytes: vec![0; LEAF_BYTES],
        path: path(0, 0),
    };

    let error = ProofError::WrongPosition {
        index: 1,
        leaf_count: 1,
    };
    assert_eq!(proof.verify(&chunk_entry(&[0; LEAF_BYTES])), Err(error));
}

// Parameters and settings.

fn parameter_refusal(change: impl FnOnce(&mut ArchiveParameters)) -> ParameterError {
    let mut parameters = ArchiveParameters::new(CHAIN_ID, THREADS);
    assert_eq!(parameters.check(), Ok(()));
    change(&mut parameters);
    parameters.check().unwrap_err()
}

#[test]
fn a_chain_without_threads_is_refused() {
    assert_eq!(parameter_refusal(|it| it.thread_count = 0), ParameterError::ThreadCount);
}

#[test]
fn a_chunk_size_that_is_no_power_of_two_of_pages_is_refused() {
    for size in [0, 1024, 1 << 15, 3 << 16, (1 << 20) + 1, u32::MAX] {
        let error = ParameterError::ChunkSize(u64::from(size));
        assert_eq!(parameter_refusal(|it| it.chunk_size = size), error);
    }
}

/// A larger chunk would have leaves whose path no verifier accepts.
#[test]
fn a_chunk_size_with_longer_paths_than_are_allowed_is_refused() {
    let leaves = vec![digest(0); MAX_CHUNK_BYTES as usize / LEAF_BYTES];
    let longest = MerkleTree::new(&leaves).path(0).unwrap();

    assert_eq!(longest.siblings.len(), MAX_PATH_SIBLINGS);
    let too_large = u64::from(MAX_CHUNK_BYTES) * 2;
    assert_eq!(check_chunk_size(u64::from(MAX_CHUNK_BYTES)), Ok(()));
    assert_eq!(check_chunk_size(too_large), Err(ParameterError::ChunkSize(too_large)));
}

#[test]
fn a_segment_of_no_period_or_of_more_than_a_position_can_name_is_refused() {
    for periods in [0, 257] {
        let error = ParameterError::SegmentPeriods(periods);
        assert_eq!(parameter_refusal(|it| it.segment_periods = periods), error);
    }
}

#[test]
fn a_boundary_of_some_threads_only_is_refused() {
    let id: BlockId = block_with_operations().view(THREADS).unwrap().block_id();

    let error = ParameterError::Boundary {
        found: 2,
        thread_count: THREADS,
    };
    assert_eq!(parameter_refusal(|it| it.boundary = vec![id; 2]), error);
}

#[test]
fn segments_are_counted_from_period_0_and_the_first_may_be_shorter() {
    let parameters = ArchiveParameters {
        first_period: 250,
        ..ArchiveParameters::new(CHAIN_ID, THREADS)
    };

    assert_eq!(
        [249, 250, 299, 300].map(|period| parameters.segment_of(period)),
        [2, 2, 2, 3]
    );
    assert_eq!(parameters.first_segment(), 2);
    assert_eq!([2, 3].map(|segment| parameters.segment_start(segment)), [250, 300]);
    assert_eq!(
        [1, 2, 3].map(|segment| parameters.segment_length(segment)),
        [0, 50, 100]
    );
    assert_eq!(parameters.segment_length(u64::MAX), 0);
}

#[test]
fn a_text_that_is_no_hash_is_refused_and_quoted_shortened() {
    let long = "g".repeat(1000);
    let error = long.parse::<ChunkId>().unwrap_err();

    assert_eq!(error.found, "g".repeat(80));
    assert!("00".repeat(31).parse::<ChunkId>().is_err());
    let id = ChunkId::from_bytes(digest(0xab));
    assert_eq!("ab".repeat(32).parse(), Ok(id));
    assert_eq!(id.to_string(), "ab".repeat(32));
}

fn config_refusal(change: impl FnOnce(&mut DistributedStorageConfig)) -> ConfigError {
    let mut config = DistributedStorageConfig::default();
    assert_eq!(config.check(), Ok(()));
    change(&mut config);
    config.check().unwrap_err()
}

#[test]
fn settings_out_of_their_range_are_refused() {
    let chunk_size = ParameterError::ChunkSize(1000).into();
    assert_eq!(config_refusal(|it| it.chunk_size = 1000), chunk_size);
    let segment_periods = ParameterError::SegmentPeriods(0).into();
    assert_eq!(config_refusal(|it| it.challenge_frequency_periods = 0), segment_periods);
    assert_eq!(
        config_refusal(|it| it.allocated_storage_gb = 0),
        ConfigError::AllocatedStorage
    );
    assert_eq!(
        config_refusal(|it| it.replication_factor = 0),
        ConfigError::ReplicationFactor
    );
    assert_eq!(config_refusal(|it| it.queue_blocks = 0), ConfigError::Queue(0));
    assert_eq!(
        config_refusal(|it| it.queue_blocks = 65_537),
        ConfigError::Queue(65_537)
    );
}

#[test]
fn a_retention_shorter_than_four_segments_is_refused() {
    let error = ConfigError::Retention { periods: 399, min: 400 };
    assert_eq!(config_refusal(|it| it.retention_periods = 399), error);

    for retention_periods in [0, 400] {
        let config = DistributedStorageConfig {
            retention_periods,
            ..DistributedStorageConfig::default()
        };
        assert_eq!(config.check(), Ok(()));
    }
}

#[test]
fn a_refused_setting_is_named_as_in_the_file() {
    let names = [
        (config_refusal(|it| it.chunk_size = 1), "chunk_size: "),
        (
            config_refusal(|it| it.challenge_frequency_periods = 0),
            "challenge_frequency_periods: ",
        ),
        (
            config_refusal(|it| it.allocated_storage_gb = 0),
            "allocated_storage_gb: ",
        ),
        (config_refusal(|it| it.retention_periods = 1), "retention_periods: "),
        (config_refusal(|it| it.replication_factor = 0), "replication_factor: "),
        (config_refusal(|it| it.queue_blocks = 0), "queue_blocks: "),
    ];
    for (error, name) in names {
        assert!(error.to_string().starts_with(name), "{error}");
    }
}
