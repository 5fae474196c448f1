//! Writes that fail: the store refuses, says so, recovers; nothing acknowledged is lost, nothing is half stored.

mod common;

use common::tamper::{Failure, Tamper};
use common::*;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_worker::storage_backend::read::Check;
use massa_distributed_storage_worker::storage_backend::writer::WriteFault;
use massa_distributed_storage_worker::{Acknowledge, Ingest, IngestError, Store, StoreError, StoreOptions};
use std::path::Path;
use std::sync::Arc;
use tempfile::tempdir;

const SHAPE: Shape = Shape {
    miss_one_in: 5,
    operations: 2,
    operation_bytes: 300,
};

fn open(path: &Path, chain: &Chain, tamper: &Tamper) -> Arc<Store> {
    let options = StoreOptions {
        writer: Box::new(tamper.clone()),
        ..StoreOptions::new(path)
    };
    Arc::new(Store::open(options, chain.parameters.clone()).unwrap())
}

fn root_of_everything(store: &Store) -> Vec<String> {
    let periods = store.archived_periods().unwrap();
    periods
        .iter()
        .map(|period| store.period_root(*period).unwrap().unwrap().to_string())
        .collect()
}

/// Adds `blocks`; after a failed write lets the store recover and goes on with the same block.
fn add_through_faults(ingest: &mut Ingest, blocks: &[BlockRecord]) -> usize {
    let mut failures = 0;
    for (number, record) in blocks.iter().enumerate() {
        loop {
            let refused = match ingest.add(record.clone()) {
                Ok(progress) => progress.stalled.is_some(),
                Err(IngestError::Store(StoreError::Refusing(fault))) => {
                    assert_eq!(ingest.store().fault(), Some(fault));
                    true
                }
                Err(error) => panic!("unexpected {error}"),
            };
            if !refused {
                break;
            }
            failures += 1;
            assert!(failures < 20, "the store never recovers");
            // Refusing means refusing: the writer is not even asked.
            assert!(ingest.store().put_pending(&awaited_row(), SYNCED).is_err());
            if ingest.store().recover().is_ok() {
                // May fail again.
                let _ = ingest.archive_complete();
            }
            let acknowledged = &blocks[..number];
            acknowledged
                .iter()
                .for_each(|record| assert_holds(ingest.store(), record, Check::Merkle));
        }
    }
    failures
}

const SYNCED: massa_distributed_storage_worker::storage_backend::writer::Durability =
    massa_distributed_storage_worker::storage_backend::writer::Durability::Synced;

fn awaited_row() -> massa_distributed_storage_worker::storage_backend::PendingRows<'static> {
    massa_distributed_storage_worker::storage_backend::PendingRows {
        awaited: vec![(massa_models::slot::Slot::new(1, 0), None)],
        ..Default::default()
    }
}

#[test]
fn every_single_write_may_fail() {
    let mut chain = Chain::new(3, 1);
    chain.parameters.segment_periods = 3;
    let blocks = chain.blocks(8, SHAPE);
    let (undisturbed, writes) = {
        let (directory, tamper) = (tempdir().unwrap(), Tamper::default());
        let store = open(directory.path(), &chain, &tamper);
        let mut ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, keep_all())
            .unwrap()
            .0;
        assert_eq!(add_through_faults(&mut ingest, &blocks), 0);
        (root_of_everything(&store), tamper.writes())
    };
    assert!(undisturbed.len() >= 6, "{undisturbed:?}");
    // The first write makes the store.
    for failing in 1..writes {
        for (failure, fault) in [
            (Failure::Before, WriteFault::NoSpace),
            (Failure::After, WriteFault::Failed("input/output error".into())),
        ] {
            let (directory, tamper) = (tempdir().unwrap(), Tamper::default());
            let store = open(directory.path(), &chain, &tamper);
            // Also while the store tries to recover.
            tamper.fail(failing, 1 + failing % 3, failure, fault);
            let mut ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, keep_all())
                .unwrap()
                .0;
            // The very last writes may be of a segment root, after all blocks were taken.
            add_through_faults(&mut ingest, &blocks);
            while store.fault().is_some() {
                let _ = store.recover();
            }
            ingest.archive_complete().unwrap();
            assert_eq!(root_of_everything(&store), undisturbed, "write {failing} {failure:?}");
            blocks
                .iter()
                .for_each(|record| assert_holds(&store, record, Check::Merkle));
        }
    }
}

#[test]
fn a_refusing_store_still_reads() {
    let mut chain = Chain::new(3, 2);
    let blocks = chain.blocks(4, SHAPE);
    let (directory, tamper) = (tempdir().unwrap(), Tamper::default());
    let store = open(directory.path(), &chain, &tamper);
    let mut ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, keep_all())
        .unwrap()
        .0;
    add_all(&mut ingest, &blocks).unwrap();
    tamper.fail(tamper.writes(), 1000, Failure::Before, WriteFault::NoSpace);
    let next = chain.next_period(SHAPE).into_iter().flatten().next().unwrap();
    let refused = ingest.add(next).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "the store refuses writes: no space left on the disk"
    );
    assert!(store.recover().is_err());
    assert_eq!(store.fault(), Some(WriteFault::NoSpace));
    blocks
        .iter()
        .for_each(|record| assert_holds(&store, record, Check::Merkle));
}
