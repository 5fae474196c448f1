//! A store that lost rows puts right what follows from others, and takes the rest from elsewhere again.

use crate::reads::{all_slots, expected};
use crate::segments::*;
use massa_db_exports::*;
use massa_distributed_storage_worker::storage_backend::database::writer::Durability;
use massa_distributed_storage_worker::storage_backend::database::OnDamage;
use massa_distributed_storage_worker::storage_backend::{OwnChanges, SegmentStore, SegmentStoreOptions, SlotRead};
use std::path::Path;
use tempfile::tempdir;

fn segments() -> (Vec<TestSegment>, TestSegment) {
    let mut maker = SegmentMaker::new(large_blocks(61));
    let closed = vec![maker.next(), maker.next()];
    (closed, maker.next())
}

/// Two closed segments, all of them held, and an open one.
fn fill(store: &SegmentStore, closed: &[TestSegment], open: &TestSegment) {
    for segment in closed {
        segment.open_in(store);
        segment.close_in(store, |_| true);
        store.drop_open_rows(segment.number).unwrap();
    }
    open.open_in(store);
}

/// What repair does with peers that have everything.
fn refill(store: &SegmentStore, closed: &[TestSegment], open: &TestSegment) {
    for segment in closed {
        store.put_tables(&[(segment.table.clone(), segment.root())]).unwrap();
        for chunk in &segment.chunks {
            if store.check_chunk(chunk.position).is_err() {
                store.drop_chunk(chunk.position, OwnChanges::default()).unwrap();
            }
            store.put_chunk(chunk, OwnChanges::default()).unwrap();
        }
    }
    store.put_open(&open.open_rows(), Durability::Synced).unwrap();
}

fn assert_whole(store: &SegmentStore, closed: &[TestSegment], open: &TestSegment, what: &str) {
    for segment in closed {
        for slot in all_slots(segment) {
            assert_eq!(
                store.slot(slot).unwrap(),
                expected(segment, slot, &|_| true),
                "{what}: slot {slot}"
            );
        }
    }
    for (slot, record) in open.blocks() {
        assert_eq!(
            store.slot(slot).unwrap(),
            SlotRead::Block(record.clone()),
            "{what}: slot {slot}"
        );
    }
    assert_eq!(store.verify(&|_, _| {}).unwrap().damages, [], "{what}");
}

#[test]
fn rows_that_follow_from_others_are_made_again() {
    let (closed, open_segment) = segments();
    let first = 0u64.to_be_bytes();
    let damaged: [(&str, &[u8]); 4] = [
        (STORAGE_METADATA_CF, b"counters"),
        (STORAGE_HELD_CF, &first),
        (STORAGE_MERKLE_ROOTS_PREFIX, &first),
        (STORAGE_TABLES_CF, &first),
    ];
    for (family, key) in damaged {
        for change in [flip as fn(Vec<u8>) -> Option<Vec<u8>>, |_| None] {
            let directory = tempdir().unwrap();
            let store = open(directory.path());
            fill(&store, &closed, &open_segment);
            tamper(&store, family, key, change);
            drop(store);
            let store = open(directory.path());
            store.repair_rows().unwrap();
            refill(&store, &closed, &open_segment);
            assert_whole(&store, &closed, &open_segment, family);
            let report = store.repair_rows().unwrap();
            assert_eq!(report, Default::default(), "nothing is left to put right");
        }
    }
}

#[test]
fn a_store_opens_over_damaged_rows_of_an_open_segment_and_asks_for_them_again() {
    let (closed, open_segment) = segments();
    for family in [STORAGE_STREAM_CF, STORAGE_PENDING_CF] {
        let directory = tempdir().unwrap();
        let store = open(directory.path());
        fill(&store, &closed, &open_segment);
        let before = store.counters().unwrap();
        for (key, _) in rows_of(&store, family).into_iter().step_by(3) {
            tamper(&store, family, &key, flip);
        }
        drop(store);
        let store = open(directory.path());
        store.repair_rows().unwrap();
        assert!(
            store.counters().unwrap().pending_blocks < before.pending_blocks,
            "{family}"
        );
        refill(&store, &closed, &open_segment);
        assert_whole(&store, &closed, &open_segment, family);
        assert_eq!(store.counters().unwrap(), before, "{family}");
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn any_table_of_the_database_may_be_lost_and_is_filled_again() {
    let (closed, open_segment) = segments();
    let directory = tempdir().unwrap();
    let original = directory.path().join("original");
    let store = open(&original);
    fill(&store, &closed, &open_segment);
    store.database().flush().unwrap();
    store.close();
    drop(store);
    let files = std::fs::read_dir(&original)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    let tables: Vec<_> = files.filter(|name| name.to_string_lossy().ends_with(".sst")).collect();
    assert!(tables.len() > 5, "{tables:?}");

    for table in tables {
        let path = directory.path().join(&table).with_extension("copy");
        copy(&original, &path);
        let damaged = path.join(&table);
        let bytes = std::fs::read(&damaged).unwrap();
        std::fs::write(&damaged, &bytes[..bytes.len() / 2]).unwrap();
        let options = SegmentStoreOptions {
            on_damage: OnDamage::SetAside,
            ..SegmentStoreOptions::new(&path)
        };
        let what = table.to_string_lossy();
        let store = SegmentStore::open_or_create(options, &parameters()).unwrap();
        assert!(!store.database().damages().is_empty(), "{what}");
        refill(&store, &closed, &open_segment);
        // An index whose table is gone is made again as chunks are put again.
        let lost_index = store.verify(&|_, _| {}).unwrap();
        if !lost_index.is_clean() {
            for chunk in closed.iter().flat_map(|segment| &segment.chunks) {
                store.drop_chunk(chunk.position, OwnChanges::default()).unwrap();
                store.put_chunk(chunk, OwnChanges::default()).unwrap();
            }
        }
        assert_whole(&store, &closed, &open_segment, &what);
    }
}
