//! Every refusal, and the words and values it comes with.

mod common;

use common::*;
use massa_distributed_storage_exports::bytes::Truncated;
use massa_distributed_storage_exports::config::{ConfigError, DistributedStorageConfig, MAX_ALLOCATED_GB};
use massa_distributed_storage_exports::leaf_proof::ChunkLeafProof;
use massa_distributed_storage_exports::merkle::{leaf_hash, MerkleTree, MAX_PATH_SIBLINGS};
use massa_distributed_storage_exports::record::{BlockRecord, BlockView, RecordError, MAX_RECORD_BYTES};
use massa_distributed_storage_exports::types::{
    check_chunk_size, Digest, ParameterError, LEAF_BYTES, MAX_CHUNK_BYTES, SIGNATURE_BYTES,
};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, MerkleProof, ProofError};
use massa_models::block_id::BlockId;
use massa_models::config::MAX_OPERATIONS_PER_BLOCK;

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
    for gb in [0, MAX_ALLOCATED_GB + 1, u64::MAX >> 30, 1 << 34] {
        let error = config_refusal(|it| it.allocated_storage_gb = gb);
        assert_eq!(error, ConfigError::AllocatedStorage(gb));
    }
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
fn a_retention_shorter_than_four_rounds_is_refused() {
    let error = ConfigError::Retention {
        periods: 1599,
        min: 1600,
    };
    assert_eq!(config_refusal(|it| it.retention_periods = 1599), error);
    assert!(matches!(
        config_refusal(|it| it.retention_periods = u64::MAX),
        ConfigError::Retention { .. }
    ));

    for retention_periods in [0, 1600] {
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
