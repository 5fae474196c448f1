//! Closing in slices, cut off at every write: nothing is lost, nothing stays double, totals agree.

use crate::cut::cut;
use crate::segments::*;
use massa_distributed_storage_worker::storage_backend::database::writer::{
    BatchWriter, Durability, RocksWriter, WriteFault,
};
use massa_distributed_storage_worker::storage_backend::{OwnChanges, SegmentStore, SegmentStoreOptions, StoreError};
use rocksdb::{WriteBatch, DB};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use tempfile::tempdir;

/// Fails one write, which reached the disk or not.
struct FailsOnce {
    written: Arc<AtomicU64>,
    fails_at: u64,
    reaches_disk: bool,
}

impl BatchWriter for FailsOnce {
    fn write(&self, db: &DB, batch: WriteBatch, durability: Durability) -> Result<(), WriteFault> {
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        if number != self.fails_at {
            return RocksWriter.write(db, batch, durability);
        }
        if self.reaches_disk {
            RocksWriter.write(db, batch, durability)?;
        }
        Err(WriteFault::Failed("a fault of the test".into()))
    }
}

fn held(chunk: u32) -> bool {
    chunk % 2 == 0
}

/// What a node does over three segments; each step may be repeated.
pub fn live(store: &SegmentStore, segments: &[TestSegment]) -> Result<(), StoreError> {
    for segment in segments {
        if store.table(segment.number)?.is_none() {
            for period in segment.joined() {
                let mut rows = segment.open_rows();
                rows.blocks.retain(|(slot, _)| slot.period == period.period);
                rows.misses.retain(|slot| slot.period == period.period);
                rows.joined = vec![period];
                store.put_open(&rows, Durability::Synced)?;
            }
            for chunk in segment.chunks_where(&held) {
                store.close_chunks(&segment.table, cut(&segment.table, [chunk]))?;
            }
            store.finish_closing(&segment.table)?;
        }
        // Another node takes over the first chunk, and this one the second.
        store.drop_chunk(segment.position(0), OwnChanges::default())?;
        store.put_chunk(&segment.chunks[1], OwnChanges::default())?;
    }
    Ok(())
}

pub fn segments() -> Vec<TestSegment> {
    let mut maker = SegmentMaker::new(large_blocks(11));
    (0..3).map(|_| maker.next()).collect()
}

fn open_with(path: &Path, fails_at: u64, reaches_disk: bool) -> (SegmentStore, Arc<AtomicU64>) {
    let written = Arc::new(AtomicU64::new(0));
    let options = SegmentStoreOptions {
        writer: Box::new(FailsOnce {
            written: Arc::clone(&written),
            fails_at,
            reaches_disk,
        }),
        ..SegmentStoreOptions::new(path)
    };
    (SegmentStore::open_or_create(options, &parameters()).unwrap(), written)
}

/// Opening writes, too: a probe of a new store, say.
fn writes_of_opening() -> u64 {
    let directory = tempdir().unwrap();
    let (_, written) = open_with(directory.path(), u64::MAX, false);
    written.load(Ordering::Relaxed)
}

#[test]
fn a_writer_that_is_cut_off_anywhere_goes_on_to_the_same_rows() {
    let segments = segments();
    let undisturbed = tempdir().unwrap();
    let (store, written) = open_with(undisturbed.path(), u64::MAX, false);
    live(&store, &segments).unwrap();
    let (expected, writes) = (all_rows(&store), written.load(Ordering::Relaxed));
    assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
    let first = writes_of_opening();
    assert!(writes > first + 20, "{writes} writes");

    for fails_at in first..writes {
        for reaches_disk in [false, true] {
            let directory = tempdir().unwrap();
            let (store, _) = open_with(directory.path(), fails_at, reaches_disk);
            let refused = live(&store, &segments).unwrap_err();
            assert!(matches!(refused, StoreError::Database(_)), "{refused}");
            drop(store);
            let store = open(directory.path());
            live(&store, &segments).unwrap();
            assert!(
                all_rows(&store) == expected,
                "cut off at write {fails_at}, on disk: {reaches_disk}"
            );
        }
    }
}

#[test]
fn a_store_that_recovers_without_a_restart_goes_on_to_the_same_rows() {
    let segments = segments();
    let undisturbed = tempdir().unwrap();
    let store = open(undisturbed.path());
    live(&store, &segments).unwrap();
    let expected = all_rows(&store);

    let first = writes_of_opening();
    for fails_at in [first, first + 3, first + 8, first + 15] {
        let directory = tempdir().unwrap();
        let (store, _) = open_with(directory.path(), fails_at, true);
        live(&store, &segments).unwrap_err();
        assert!(
            matches!(live(&store, &segments), Err(StoreError::Database(_))),
            "writes are refused"
        );
        store.recover().unwrap();
        live(&store, &segments).unwrap();
        assert!(all_rows(&store) == expected, "cut off at write {fails_at}");
    }
}

#[test]
fn pages_of_a_closing_that_was_cut_off_do_not_stay() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let segment = SegmentMaker::new(large_blocks(12)).next();
    segment.open_in(&store);
    store
        .close_chunks(&segment.table, cut(&segment.table, &segment.chunks))
        .unwrap();
    // As if only the pages had been taken in when the process was killed.
    let families = [
        massa_db_exports::STORAGE_CHUNKS_PREFIX,
        massa_db_exports::STORAGE_HELD_CF,
    ];
    for (family, (key, _)) in families
        .into_iter()
        .flat_map(|name| rows_of(&store, name).into_iter().map(move |row| (name, row)))
    {
        tamper(&store, family, &key, |_| None);
    }
    drop(store);
    let store = open(directory.path());
    store
        .close_chunks(&segment.table, cut(&segment.table, &segment.chunks[..1]))
        .unwrap();
    store.finish_closing(&segment.table).unwrap();
    assert!(store.return_space().unwrap() > 0);
    assert_eq!(
        rows_of(&store, massa_db_exports::STORAGE_PAGES_CF).len(),
        segment.chunks[0].pages.len()
    );
    assert!(store.check_chunk(segment.position(0)).unwrap());
}

#[test]
fn a_large_slice_goes_to_the_disk_as_a_table_and_reads_the_same() {
    let mut maker = SegmentMaker::new(large_blocks(13));
    maker.parameters.segment_periods = 200;
    let directory = tempdir().unwrap();
    let options = SegmentStoreOptions::new(directory.path());
    let store = SegmentStore::open_or_create(options, &maker.parameters).unwrap();
    let segment = maker.next();
    assert!(segment.body.len() > 16 << 20, "{} bytes", segment.body.len());
    segment.open_in(&store);
    assert_eq!(
        store
            .close_chunks(&segment.table, cut(&segment.table, &segment.chunks))
            .unwrap(),
        segment.chunks.len()
    );
    assert_eq!(
        store
            .close_chunks(&segment.table, cut(&segment.table, &segment.chunks))
            .unwrap(),
        0
    );
    store.finish_closing(&segment.table).unwrap();
    store.drop_open_rows(0).unwrap();
    assert_eq!(store.counters().unwrap().chunks_held, segment.chunks.len() as u64);
    for (slot, record) in segment.blocks().into_iter().step_by(7) {
        let read = store.slot(slot).unwrap();
        assert_eq!(
            read,
            massa_distributed_storage_worker::storage_backend::SlotRead::Block(record.clone())
        );
    }
    for index in 0..segment.chunks.len() as u32 {
        assert!(store.check_chunk(segment.position(index)).unwrap());
    }
}
