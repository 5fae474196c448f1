//! The generator makes blocks that the archive's own checks accept.

use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::verify_block;
use massa_models::block_id::BlockId;
use massa_tests::{data_path, read_mblk, write_mblk, Generator, GeneratorConfig, MblkFile};

const THREADS: u8 = 4;

fn config() -> GeneratorConfig {
    GeneratorConfig {
        thread_count: THREADS,
        miss_rate: 0.3,
        payload_share: 0.5,
        ..GeneratorConfig::default()
    }
}

fn periods(config: GeneratorConfig, count: usize) -> Vec<Vec<Option<BlockRecord>>> {
    let mut generator = Generator::new(config);
    (0..count).map(|_| generator.next_period()).collect()
}

#[test]
fn every_block_verifies() {
    let blocks = periods(config(), 5);
    let blocks: Vec<_> = blocks.iter().flatten().flatten().collect();

    assert!((5..20).contains(&blocks.len()), "some slots are missed");
    for record in blocks {
        let verified = verify_block(record, config().chain_id, THREADS).unwrap();
        let endorsements = &verified.block().content.header.content.endorsements;
        assert_eq!(endorsements.len(), 16);
        assert!(verified.invalid_endorsements().is_empty());
    }
}

#[test]
fn parents_are_the_latest_block_of_each_thread_before_the_period() {
    let mut generator = Generator::new(config());
    let mut latest: Vec<BlockId> = generator.boundary().to_vec();
    for _ in 0..5 {
        let places = generator.next_period();
        let before = latest.clone();
        for (thread, record) in places.iter().enumerate() {
            let Some(record) = record else { continue };
            let view = record.view(THREADS).unwrap();
            assert_eq!(view.parents().collect::<Vec<_>>(), before);
            latest[thread] = view.block_id();
        }
    }
}

#[test]
fn one_seed_gives_one_chain() {
    let other_seed = GeneratorConfig { seed: 1, ..config() };

    assert_eq!(periods(config(), 2), periods(config(), 2));
    assert_ne!(periods(config(), 2), periods(other_seed, 2));
}

#[test]
fn a_second_signature_verifies_and_differs_in_nothing_else() {
    let mut generator = Generator::new(GeneratorConfig {
        operations: 2..=2,
        miss_rate: 0.0,
        ..config()
    });
    let first = generator.next_period().remove(0).unwrap();

    let second = generator.sign_again(&first);

    verify_block(&second, config().chain_id, THREADS).unwrap();
    for (first, second) in first.objects().zip(second.objects()) {
        assert_ne!(first[..65], second[..65]);
        assert_eq!(first[65..], second[65..]);
    }
}

#[test]
fn a_file_is_read_as_it_was_written() {
    let mut generator = Generator::new(config());
    let mut file = MblkFile::new(config().chain_id, THREADS);
    for _ in 0..3 {
        file.push_period(generator.period(), &generator.next_period());
    }
    let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();

    write_mblk(&path, &file);

    assert_eq!(read_mblk(&path), file);
    assert_eq!(file.periods().len(), 3);
}

#[test]
fn the_committed_file_has_the_documented_content() {
    let path = data_path("upstream-blocks-4-periods.mblk");
    let file = read_mblk(&path);

    let operations: usize = file.blocks.iter().map(|(_, record)| record.operation_count()).sum();
    assert_eq!((file.blocks.len(), operations), (125, 370));
    assert_eq!(file.to_bytes(), std::fs::read(&path).unwrap());
}

#[test]
fn near_empty_blocks_verify_and_name_the_latest_block_of_every_thread() {
    let config = GeneratorConfig::near_empty();
    let mut generator = Generator::new(config.clone());
    let mut latest: Vec<BlockId> = generator.boundary().to_vec();
    for _ in 0..2 {
        for (thread, record) in generator.next_period().iter().enumerate() {
            let Some(record) = record else { continue };
            verify_block(record, config.chain_id, config.thread_count).unwrap();
            assert!(record.operation_count() <= 1);
            let view = record.view(config.thread_count).unwrap();
            assert_eq!(view.parents().collect::<Vec<_>>(), latest);
            latest[thread] = view.block_id();
        }
    }
}

#[test]
fn blocks_with_false_signatures_have_true_ids_lengths_and_links() {
    let false_ones = GeneratorConfig {
        false_signatures: true,
        ..GeneratorConfig::near_empty()
    };
    let threads = false_ones.thread_count;
    let mut generator = Generator::new(false_ones.clone());
    let mut latest: Vec<BlockId> = generator.boundary().to_vec();
    for _ in 0..3 {
        for record in generator.next_period().iter().flatten() {
            let view = record.check_ids(false_ones.chain_id, threads).unwrap();
            assert_eq!(view.parents().collect::<Vec<_>>(), latest);
            latest[usize::from(view.slot.thread)] = view.block_id();
            assert!(verify_block(record, false_ones.chain_id, threads).is_err());
        }
    }
    // Other draws, so other numbers of operations: alike on the whole.
    let bytes = |config| {
        let periods = periods(config, 12);
        let records = periods.iter().flatten().flatten();
        records.map(|record| record.as_bytes().len() as f64).sum::<f64>()
    };
    let ratio = bytes(false_ones) / bytes(GeneratorConfig::near_empty());
    assert!((0.9..1.1).contains(&ratio), "{ratio}");
}
