//! The ceiling on disk, and retention that gives the space back.

mod common;

use common::*;
use massa_distributed_storage_worker::storage_backend::read::{Check, ReadError};
use massa_distributed_storage_worker::storage_backend::space::disk_usage;
use massa_distributed_storage_worker::{Acknowledge, Ingest, IngestError, Store, StoreError, StoreOptions};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use tempfile::tempdir;

/// About 1 MiB of random bytes a period.
const SHAPE: Shape = Shape {
    miss_one_in: 0,
    operations: 16,
    operation_bytes: 16_384,
};
const THREAD_COUNT: u8 = 4;
const PERIOD_BYTES: u64 = 1 << 20;

fn open(path: &Path, chain: &Chain, capacity_bytes: u64, retention_periods: u64) -> (Arc<Store>, Ingest) {
    let options = StoreOptions {
        capacity_bytes: Some(capacity_bytes),
        retention_periods,
        ..StoreOptions::new(path)
    };
    let store = Arc::new(Store::open(options, chain.parameters.clone()).unwrap());
    let ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, keep_all())
        .unwrap()
        .0;
    (store, ingest)
}

/// The most that the directory took on disk while `action` ran.
fn peak_usage(path: &Path, action: impl FnOnce()) -> u64 {
    let (done, peak) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                // Files come and go while the directory is read.
                peak.fetch_max(disk_usage(path).unwrap_or(0), Ordering::AcqRel);
            }
        });
        action();
        done.store(true, Ordering::Release);
    });
    peak.into_inner().max(disk_usage(path).unwrap())
}

#[test]
fn the_directory_never_outgrows_its_allocation() {
    const CAPACITY: u64 = 48 << 20;
    let mut chain = Chain::new(THREAD_COUNT, 1);
    let directory = tempdir().unwrap();
    let (store, mut ingest) = open(directory.path(), &chain, CAPACITY, 0);
    let mut refusal = None;
    let peak = peak_usage(directory.path(), || {
        while refusal.is_none() {
            let period = chain.next_period(SHAPE);
            refusal = add_all(&mut ingest, period.iter().flatten()).err();
        }
    });
    let refusal = refusal.unwrap();
    assert!(
        matches!(
            refusal,
            IngestError::Store(StoreError::AllocationUsedUp { capacity: CAPACITY, .. })
        ),
        "{refusal}"
    );
    let periods = store.archived_periods().unwrap().len() as u64;
    assert!(peak <= CAPACITY, "{peak} bytes on disk");
    // The allocation is used, not just kept: a third goes to the log, to merging and to the reserve at most.
    assert!(periods * PERIOD_BYTES > CAPACITY / 3, "{periods} periods fit");
    // Being full is not being broken: what is there is read.
    assert!(store.fault().is_none());
    assert!(store.period(periods - 1, Check::Merkle).is_ok());
    assert!(store.period(1, Check::Merkle).is_ok());
}

#[test]
fn a_larger_allocation_takes_up_where_the_smaller_one_ended() {
    let mut chain = Chain::new(THREAD_COUNT, 2);
    let blocks = chain.blocks(30, SHAPE);
    let directory = tempdir().unwrap();
    let refused = {
        let (_store, mut ingest) = open(directory.path(), &chain, 24 << 20, 0);
        add_all(&mut ingest, &blocks).unwrap_err()
    };
    assert!(
        matches!(refused, IngestError::Store(StoreError::AllocationUsedUp { .. })),
        "{refused}"
    );
    let (store, mut ingest) = open(directory.path(), &chain, 256 << 20, 0);
    add_all(&mut ingest, &blocks).unwrap();
    assert_eq!(store.archived_periods().unwrap(), (0..30).collect::<Vec<_>>());
    blocks
        .iter()
        .for_each(|record| assert_holds(&store, record, Check::Merkle));
}

#[test]
fn retention_returns_the_space() {
    const SEGMENT: u64 = 2;
    const RETENTION: u64 = 8;
    const PERIODS: u64 = 120;
    let mut chain = Chain::new(THREAD_COUNT, 3);
    chain.parameters.segment_periods = SEGMENT;
    let directory = tempdir().unwrap();
    let (store, mut ingest) = open(directory.path(), &chain, 64 << 20, RETENTION);
    let mut first_block = None;
    let mut last_block = None;
    let peak = peak_usage(directory.path(), || {
        for _ in 0..PERIODS {
            let period = chain.next_period(SHAPE);
            add_all(&mut ingest, period.iter().flatten()).unwrap();
            first_block = first_block.take().or(period[0].clone());
            last_block = period[0].clone();
        }
    });
    // 120 MiB went through a directory that may take 64 MiB.
    assert!(peak <= 64 << 20, "{peak} bytes on disk");
    let kept = store.archived_periods().unwrap();
    assert!(
        (RETENTION..=RETENTION + SEGMENT).contains(&(kept.len() as u64)),
        "{kept:?}"
    );
    assert_eq!(kept.last(), Some(&(PERIODS - 1)));
    assert_eq!(store.floor(), kept[0]);
    assert_holds(&store, &last_block.unwrap(), Check::Merkle);
    let pruned = store.period(0, Check::Merkle);
    assert!(matches!(pruned, Err(ReadError::Pruned { period: 0, .. })), "{pruned:?}");
    // Its row in the index may be gone, or still lead to a pruned period; never to a block.
    let first = store.find_block(&id_of(&first_block.unwrap(), THREAD_COUNT));
    assert!(
        matches!(first, Err(ReadError::Pruned { .. } | ReadError::NotFound(_))),
        "{first:?}"
    );
    // The chain of segment roots stays whole.
    let segments = (0..PERIODS / SEGMENT)
        .filter(|segment| store.segment_root(*segment).unwrap().is_some())
        .count();
    assert_eq!(segments as u64, PERIODS / SEGMENT);
    let damages = store.verify(1, &|_, _| {}).unwrap().damages;
    let unsigned = |reason: &str| reason.contains("does not parse");
    assert!(damages.iter().all(|damage| unsigned(&damage.reason)), "{damages:?}");
}

#[test]
fn a_retention_below_four_segments_is_refused_by_name() {
    let chain = Chain::new(THREAD_COUNT, 4);
    let directory = tempdir().unwrap();
    let options = StoreOptions {
        retention_periods: 399,
        ..StoreOptions::new(directory.path())
    };
    let refused = Store::open(options, chain.parameters.clone()).unwrap_err().to_string();
    assert!(refused.starts_with("retention_periods: 399 is neither 0"), "{refused}");
}
