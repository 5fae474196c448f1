//! Blocks in, periods out: the store over its whole life.

mod common;

use common::*;
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::proof::ArchivePath;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkIndex};
use massa_distributed_storage_worker::places::PlaceError;
use massa_distributed_storage_worker::storage_backend::read::{Check, PlaceContent, ReadError};
use massa_distributed_storage_worker::{Acknowledge, Ingest, IngestError, Store, StoreError, StoreOptions};
use massa_models::slot::Slot;
use rand::seq::SliceRandom;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::sync::Arc;
use tempfile::tempdir;

const SHAPE: Shape = Shape {
    miss_one_in: 6,
    operations: 3,
    operation_bytes: 700,
};

#[test]
fn upstream_blocks_come_back_byte_for_byte() {
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &parameters_from(&blocks[0]));
    let mut ingest = ingest(&store);
    add_all(&mut ingest, &blocks).unwrap();
    ingest.finish().unwrap();

    assert_eq!(store.archived_periods().unwrap(), [1, 2, 3, 4]);
    let report = store.verify(2, &|_, _| {}).unwrap();
    assert_eq!(report.damages, []);
    assert_eq!((report.periods, report.blocks, report.operations), (4, 125, 370));
    for record in &blocks {
        assert_holds(&store, record, Check::Meaning);
        let view = record.view(THREADS).unwrap();
        for (id, index) in view.operation_ids().zip(0..) {
            assert_eq!(store.find_operation(&id).unwrap(), (view.slot, index));
        }
    }
    for (period, thread) in [(1, 3), (3, 8), (3, 10)] {
        let slot = Slot::new(period, thread);
        assert_eq!(store.place(slot, Check::Meaning).unwrap(), PlaceContent::Miss);
    }
}

#[test]
fn a_reopened_store_reads_the_same_without_writing() {
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let parameters = parameters_from(&blocks[0]);
    {
        let store = open_store(directory.path(), &parameters);
        let mut ingest = ingest(&store);
        add_all(&mut ingest, &blocks).unwrap();
        ingest.finish().unwrap();
    }
    let store = Store::open_read_only(directory.path()).unwrap();
    assert_eq!(store.parameters(), &parameters);
    blocks
        .iter()
        .for_each(|record| assert_holds(&store, record, Check::Merkle));
    assert!(store.verify(1, &|_, _| {}).unwrap().is_clean());
}

/// Period roots of a store, and its segment roots.
fn roots(store: &Store) -> Vec<String> {
    let periods = store.archived_periods().unwrap();
    let parameters = store.parameters();
    let period_roots = periods
        .iter()
        .map(|period| store.period_root(*period).unwrap().unwrap().to_string());
    let last = parameters.segment_of(*periods.last().unwrap());
    let segments = (0..=last).filter_map(|segment| store.segment_root(segment).unwrap());
    period_roots.chain(segments.map(|root| root.to_string())).collect()
}

#[test]
fn every_order_of_arrival_gives_the_same_roots() {
    let mut chain = Chain::new(4, 1);
    chain.parameters.segment_periods = 5;
    let mut blocks = chain.blocks(24, SHAPE);
    let archived = |blocks: &[BlockRecord], acknowledge| {
        let directory = tempdir().unwrap();
        let store = open_store(directory.path(), &chain.parameters);
        let mut ingest = Ingest::open(Arc::clone(&store), acknowledge, keep_all()).unwrap().0;
        add_all(&mut ingest, blocks).unwrap();
        ingest.declare_misses(0..=23).unwrap();
        blocks
            .iter()
            .for_each(|record| assert_holds(&store, record, Check::Merkle));
        roots(&store)
    };
    let in_order = archived(&blocks, Acknowledge::EachPeriod);
    assert_eq!(in_order.len(), 24 + 4);
    let mut rng = ChaCha20Rng::seed_from_u64(2);
    for acknowledge in [Acknowledge::EachBlock, Acknowledge::EachPeriod]
        .into_iter()
        .cycle()
        .take(6)
    {
        blocks.shuffle(&mut rng);
        assert_eq!(archived(&blocks, acknowledge), in_order);
    }
}

#[test]
fn open_periods_survive_reopening_at_every_block() {
    let mut chain = Chain::new(3, 3);
    let mut blocks = chain.blocks(12, SHAPE);
    blocks.shuffle(&mut ChaCha20Rng::seed_from_u64(4));
    let directory = tempdir().unwrap();
    for record in &blocks {
        let store = open_store(directory.path(), &chain.parameters);
        let mut ingest = Ingest::open(store, Acknowledge::EachBlock, keep_all()).unwrap().0;
        ingest.add(record.clone()).unwrap();
    }
    let store = open_store(directory.path(), &chain.parameters);
    let mut ingest = ingest(&store);
    ingest.declare_misses(0..=11).unwrap();
    assert_eq!(store.archived_periods().unwrap(), (0..12).collect::<Vec<_>>());
    blocks
        .iter()
        .for_each(|record| assert_holds(&store, record, Check::Merkle));
}

#[test]
fn a_known_block_changes_nothing() {
    let mut chain = Chain::new(3, 5);
    let blocks = chain.blocks(6, SHAPE);
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &chain.parameters);
    let mut ingest = ingest(&store);
    add_all(&mut ingest, &blocks).unwrap();
    let before = roots(&store);
    for progress in add_all(&mut ingest, &blocks).unwrap() {
        assert!(progress.known && progress.archived.is_empty());
    }
    assert_eq!(roots(&store), before);
}

#[test]
fn a_second_block_of_a_place_is_refused_before_and_after_archiving() {
    let (mut chain, mut fork) = (Chain::new(3, 6), Chain::new(3, 7));
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &chain.parameters);
    let mut ingest = ingest(&store);
    let genesis = chain.next_period(SHAPE);
    let other = fork.next_period(SHAPE)[0].clone().unwrap();
    ingest.add(genesis[0].clone().unwrap()).unwrap();
    for _ in 0..2 {
        let refused = ingest.add(other.clone());
        assert!(
            matches!(refused, Err(IngestError::Place(PlaceError::Conflict { .. }))),
            "{refused:?}"
        );
        add_all(&mut ingest, genesis.iter().flatten()).unwrap();
    }
    assert_eq!(store.archived_periods().unwrap(), [0]);
}

#[test]
fn a_period_with_an_awaited_place_is_not_archived_but_readable() {
    let mut chain = Chain::new(3, 8);
    let no_misses = Shape {
        miss_one_in: 0,
        ..SHAPE
    };
    let blocks = chain.blocks(3, no_misses);
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &chain.parameters);
    let mut ingest = ingest(&store);
    let late = blocks[4].clone();
    add_all(&mut ingest, blocks.iter().filter(|record| **record != late)).unwrap();
    ingest.finish().unwrap();

    assert_eq!(store.archived_periods().unwrap(), [0, 2]);
    let place = store.place(Slot::new(1, 1), Check::Merkle);
    assert!(
        matches!(
            place,
            Err(ReadError::NotArchived {
                period: 1,
                awaited: 1,
                threads: 3
            })
        ),
        "{place:?}"
    );
    assert_holds(&store, &blocks[3], Check::Merkle);
    let proof = store.prove_place(Slot::new(1, 0));
    assert!(matches!(proof, Err(ReadError::NotArchived { .. })), "{proof:?}");
    let proof = store.prove_place(Slot::new(2, 0));
    assert!(
        matches!(proof, Err(ReadError::NoSegmentRoot { period: 2, missing: 1 })),
        "{proof:?}"
    );

    let progress = ingest.add(late).unwrap();
    assert_eq!(progress.archived.len(), 1);
    assert!(store.prove_place(Slot::new(2, 0)).is_ok());
}

#[test]
fn places_misses_and_chunks_are_proven_to_the_segment_root() {
    let mut chain = Chain::new(3, 9);
    chain.parameters.segment_periods = 4;
    chain.parameters.chunk_size = 65_536;
    let big = Shape {
        miss_one_in: 4,
        operations: 40,
        operation_bytes: 2000,
    };
    let blocks = chain.blocks(10, big);
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &chain.parameters);
    let mut ingest = ingest(&store);
    add_all(&mut ingest, &blocks).unwrap();
    ingest.declare_misses(0..=9).unwrap();

    for period in 0..10 {
        let manifest = store.archived_manifest(period).unwrap();
        let places = (0..3).map(|thread| store.prove_place(Slot::new(period, thread)).unwrap());
        let chunks = (0..manifest.header.chunks).map(|chunk| store.prove_chunk(period, ChunkIndex(chunk)).unwrap());
        for proven in places.chain(chunks) {
            assert_eq!(proven.segment_complete, period < 8);
            proven.path.verify(&proven.leaf, &proven.segment_root).unwrap();
            let elsewhere = ArchivePath {
                period: period + 1,
                ..proven.path.clone()
            };
            elsewhere.verify(&proven.leaf, &proven.segment_root).unwrap_err();
        }
        for (entry, chunk) in manifest.chunks.iter().zip(0..) {
            for leaf in [0, entry.leaf_count() / 2, entry.leaf_count() - 1] {
                let (entry, proof) = store.prove_leaf(period, ChunkIndex(chunk), leaf).unwrap();
                proof.verify(&entry).unwrap();
            }
            assert!(store.prove_leaf(period, ChunkIndex(chunk), entry.leaf_count()).is_err());
        }
    }
}

#[test]
fn chunks_that_are_not_kept_are_missing_and_named() {
    let mut chain = Chain::new(3, 10);
    chain.parameters.chunk_size = 65_536;
    let big = Shape {
        miss_one_in: 0,
        operations: 60,
        operation_bytes: 2000,
    };
    let blocks = chain.blocks(2, big);
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &chain.parameters);
    let keep_half =
        Box::new(|_, chunks: &[ChunkEntry]| chunks.iter().map(|chunk| chunk.id.as_bytes()[0] % 2 == 0).collect());
    let mut ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachPeriod, keep_half)
        .unwrap()
        .0;
    let archived: Vec<_> = add_all(&mut ingest, &blocks)
        .unwrap()
        .into_iter()
        .flat_map(|progress| progress.archived)
        .collect();
    assert!(archived[1].chunks_kept < archived[1].chunks, "{archived:?}");

    let results = blocks
        .iter()
        .map(|record| store.place(slot_of(record, 3), Check::Merkle));
    let (found, missing): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
    assert!(!missing.is_empty(), "{} found", found.len());
    assert!(missing
        .iter()
        .all(|result| matches!(result, Err(ReadError::NotKept { .. }))));
}

#[test]
fn a_store_of_another_network_is_refused_by_name() {
    let directory = tempdir().unwrap();
    let parameters = ArchiveParameters::new(CHAIN_ID, 32);
    drop(open_store(directory.path(), &parameters));
    let changed: [(&str, ArchiveParameters); 5] = [
        (
            "chain_id",
            ArchiveParameters {
                chain_id: 77,
                ..parameters.clone()
            },
        ),
        (
            "thread_count",
            ArchiveParameters {
                thread_count: 4,
                ..parameters.clone()
            },
        ),
        (
            "chunk_size",
            ArchiveParameters {
                chunk_size: 65_536,
                ..parameters.clone()
            },
        ),
        (
            "challenge_frequency_periods",
            ArchiveParameters {
                segment_periods: 4,
                ..parameters.clone()
            },
        ),
        (
            "first_period",
            ArchiveParameters {
                first_period: 9,
                ..parameters.clone()
            },
        ),
    ];
    for (expected, parameters) in changed {
        match Store::open(StoreOptions::new(directory.path()), parameters) {
            Err(StoreError::ParameterMismatch { name, .. }) => assert_eq!(name, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
    assert!(Store::open(StoreOptions::new(directory.path()), parameters).is_ok());
}

#[test]
fn a_directory_without_a_store_is_not_opened() {
    let directory = tempdir().unwrap();
    for result in [
        Store::open_read_only(directory.path()),
        Store::open_existing(StoreOptions::new(directory.path())),
    ] {
        assert!(matches!(result, Err(StoreError::NotAStore { .. })), "{result:?}");
    }
}

#[test]
fn a_closed_store_releases_its_directory() {
    let mut chain = Chain::new(2, 11);
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &chain.parameters);
    let second = Store::open(StoreOptions::new(directory.path()), chain.parameters.clone());
    assert!(matches!(second, Err(StoreError::Open { .. })), "{second:?}");
    store.close();
    let genesis = chain.next_period(SHAPE)[0].clone().unwrap();
    let read = store.find_block(&id_of(&genesis, 2));
    assert!(matches!(read, Err(ReadError::Store(StoreError::Closed))), "{read:?}");
    drop(open_store(directory.path(), &chain.parameters));
}

#[test]
fn a_place_that_may_hold_a_named_parent_is_not_declared_a_miss() {
    let mut chain = Chain::new(2, 12);
    let no_misses = Shape {
        miss_one_in: 0,
        ..SHAPE
    };
    let blocks = chain.blocks(5, no_misses);
    let directory = tempdir().unwrap();
    let store = open_store(directory.path(), &chain.parameters);
    let mut ingest = ingest(&store);
    // A hole: (2, 1) is named by (3, 1), and (4, 1) is missing at the end.
    let (hole, end) = (blocks[5].clone(), blocks[9].clone());
    add_all(
        &mut ingest,
        blocks.iter().filter(|record| **record != hole && **record != end),
    )
    .unwrap();
    ingest.declare_misses(0..=4).unwrap();
    assert_eq!(store.archived_periods().unwrap(), [0, 1, 3, 4]);
    let place = store.place(Slot::new(4, 1), Check::Merkle).unwrap();
    assert_eq!(place, PlaceContent::Miss);
    ingest.add(hole.clone()).unwrap();
    assert_holds(&store, &hole, Check::Merkle);
    assert_eq!(store.archived_periods().unwrap(), [0, 1, 2, 3, 4]);
}

#[test]
fn a_late_parent_settles_the_misses_above_it_even_after_reopening() {
    for acknowledge in [Acknowledge::EachBlock, Acknowledge::EachPeriod] {
        let mut chain = Chain::new(2, 13);
        let no_misses = Shape {
            miss_one_in: 0,
            ..SHAPE
        };
        // Thread 1: a block in period 1, none in period 2, its child in period 3.
        let early = [chain.next_period(no_misses), chain.next_period(no_misses)].concat();
        let late = early[3].clone().unwrap();
        let mut blocks: Vec<BlockRecord> = early.into_iter().flatten().filter(|record| *record != late).collect();
        let gap = chain.next_period_missing(&[false, true], SHAPE);
        blocks.extend(gap.into_iter().flatten());
        blocks.extend(chain.next_period(no_misses).into_iter().flatten());

        let directory = tempdir().unwrap();
        {
            let store = open_store(directory.path(), &chain.parameters);
            let mut ingest = Ingest::open(Arc::clone(&store), acknowledge, keep_all()).unwrap().0;
            add_all(&mut ingest, &blocks).unwrap();
            ingest.finish().unwrap();
            assert_eq!(store.archived_periods().unwrap(), [0, 3]);
        }
        let store = open_store(directory.path(), &chain.parameters);
        ingest(&store).add(late).unwrap();
        assert_eq!(store.archived_periods().unwrap(), [0, 1, 2, 3]);
        let place = store.place(Slot::new(2, 1), Check::Merkle).unwrap();
        assert_eq!(place, PlaceContent::Miss);
    }
}
