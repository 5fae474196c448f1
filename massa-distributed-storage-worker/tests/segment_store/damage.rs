//! Whatever is damaged is named and never served, and what can be fetched again can be put in its place.

use crate::segments::*;
use massa_db_exports::*;
use massa_distributed_storage_worker::storage_backend::{
    Damage, OwnChanges, SegmentStore, SegmentStoreOptions, SlotRead, StoreError,
};
use massa_models::slot::Slot;
use tempfile::{tempdir, TempDir};

struct Closed {
    directory: TempDir,
    store: SegmentStore,
    segment: TestSegment,
}

/// A closed segment, all of it held, without block rows; and an open one.
fn closed() -> Closed {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let mut maker = SegmentMaker::new(large_blocks(41));
    let (segment, next) = (maker.next(), maker.next());
    segment.open_in(&store);
    segment.close_in(&store, |_| true);
    store.drop_open_rows(0).unwrap();
    next.open_in(&store);
    Closed {
        directory,
        store,
        segment,
    }
}

fn damage<T: std::fmt::Debug>(result: Result<T, StoreError>) -> Damage {
    match result.unwrap_err() {
        StoreError::Damaged(damage) => damage,
        other => panic!("{other}"),
    }
}

fn position_key(segment: u64, index: u16) -> Vec<u8> {
    [&segment.to_be_bytes()[..], &index.to_be_bytes()].concat()
}

/// A slot whose block lies in this chunk alone.
fn slot_in(segment: &TestSegment, chunk: u32) -> Slot {
    let slots = segment.blocks().into_iter().map(|(slot, _)| slot);
    slots
        .into_iter()
        .find(|slot| segment.chunks_of(*slot) == [chunk])
        .unwrap()
}

#[test]
fn a_damaged_page_is_found_by_its_root_and_healed_by_another_copy() {
    let Closed {
        store,
        segment,
        directory: _kept,
    } = closed();
    let key = [position_key(0, 2), vec![0, 0]].concat();
    for change in [
        flip as fn(Vec<u8>) -> Option<Vec<u8>>,
        |_| None,
        |row| Some(row[..row.len() / 3].to_vec()),
    ] {
        let before = store.counters().unwrap();
        tamper(&store, STORAGE_PAGES_CF, &key, change);
        let slot = slot_in(&segment, 2);
        let found = damage(store.slot(slot));
        assert_eq!(
            (found.family, found.segment, found.chunk, found.page),
            (STORAGE_PAGES_CF, Some(0), Some(2), Some(0))
        );
        assert_eq!(damage(store.check_chunk(segment.position(2))), found);
        damage(store.page(segment.position(2), 0));
        assert!(!store.verify(&|_, _| {}).unwrap().is_clean());
        // What does not need it is served.
        assert!(matches!(store.slot(slot_in(&segment, 0)).unwrap(), SlotRead::Block(_)));

        assert!(store.drop_chunk(segment.position(2), OwnChanges::default()).unwrap());
        assert!(matches!(store.slot(slot).unwrap(), SlotRead::NotHeld { chunks } if chunks == [2]));
        assert!(store.put_chunk(&segment.chunks[2], OwnChanges::default()).unwrap());
        assert_eq!(store.counters().unwrap(), before);
        assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
    }
}

#[test]
fn a_damaged_chunk_row_is_named_and_the_chunk_let_go_with_exact_totals() {
    let Closed {
        store,
        segment,
        directory: _kept,
    } = closed();
    let before = store.counters().unwrap();
    for change in [flip as fn(Vec<u8>) -> Option<Vec<u8>>, |_| None] {
        tamper(&store, STORAGE_CHUNKS_PREFIX, &position_key(0, 1), change);
        let found = damage(store.slot(slot_in(&segment, 1)));
        assert_eq!(
            (found.family, found.segment, found.chunk),
            (STORAGE_CHUNKS_PREFIX, Some(0), Some(1))
        );
        store.drop_chunk(segment.position(1), OwnChanges::default()).unwrap();
        store.put_chunk(&segment.chunks[1], OwnChanges::default()).unwrap();
        assert_eq!(store.counters().unwrap(), before);
        assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
    }
}

#[test]
fn damaged_signatures_of_a_page_are_found() {
    let Closed {
        store,
        segment,
        directory: _kept,
    } = closed();
    let key = [position_key(0, 2), vec![0, 0]].concat();
    tamper(&store, STORAGE_PAGES_CF, &key, |mut row| {
        let at = row.len() - 30;
        row[at] ^= 1;
        Some(row)
    });
    let found = damage(store.slot(slot_in(&segment, 2)));
    assert_eq!(found.page, Some(0));
    assert!(found.reason.contains("signatures"), "{found}");
}

#[test]
fn a_page_of_another_place_is_not_taken_for_this_one() {
    let Closed {
        store,
        segment,
        directory: _kept,
    } = closed();
    let other = [position_key(0, 3), vec![0, 0]].concat();
    let row = rows_of(&store, STORAGE_PAGES_CF)
        .into_iter()
        .find(|(key, _)| *key == other)
        .unwrap()
        .1;
    tamper(
        &store,
        STORAGE_PAGES_CF,
        &[position_key(0, 2), vec![0, 0]].concat(),
        |_| Some(row),
    );
    damage(store.slot(slot_in(&segment, 2)));
}

#[test]
fn every_damaged_row_of_a_segment_is_named() {
    let families = [STORAGE_TABLES_CF, STORAGE_HELD_CF, STORAGE_MERKLE_ROOTS_PREFIX];
    for family in families {
        let Closed {
            directory,
            store,
            segment,
        } = closed();
        tamper(&store, family, &0u64.to_be_bytes(), flip);
        drop(store);
        let store = open(directory.path());
        let found = damage(store.slot(slot_in(&segment, 0)));
        assert_eq!((found.family, found.segment), (family, Some(0)));
        let report = store.verify(&|_, _| {}).unwrap();
        assert!(
            report.damages.iter().any(|damage| damage.family == family),
            "{family}: {:?}",
            report.damages
        );
    }
}

#[test]
fn damaged_rows_of_an_open_segment_are_named() {
    let Closed { store, .. } = closed();
    let key = rows_of(&store, STORAGE_PENDING_CF)[0].0.clone();
    let slot = Slot::from_bytes_key(key[..].try_into().unwrap());
    tamper(&store, STORAGE_PENDING_CF, &key, flip);
    let found = damage(store.slot(slot));
    assert_eq!(
        (found.family, found.period, found.thread),
        (STORAGE_PENDING_CF, Some(slot.period), Some(slot.thread))
    );
    tamper(&store, STORAGE_PENDING_CF, &key, |_| None);
    assert!(damage(store.slot(slot)).reason.contains("missing"));
    assert!(!store.verify(&|_, _| {}).unwrap().is_clean());
}

#[test]
fn totals_that_do_not_agree_with_the_rows_are_found() {
    let Closed { store, .. } = closed();
    // A chunk's row and bit that vanish with the checksums right: as after a table of rows was lost.
    tamper(&store, STORAGE_HELD_CF, &0u64.to_be_bytes(), |_| None);
    let report = store.verify(&|_, _| {}).unwrap();
    let families: Vec<_> = report.damages.iter().map(|damage| damage.family).collect();
    assert!(families.contains(&STORAGE_HELD_CF), "{families:?}");
    assert!(families.contains(&STORAGE_METADATA_CF), "{families:?}");
}

#[test]
fn a_store_that_lacks_metadata_is_damaged_and_never_new() {
    for name in ["format", "parameters", "indexes", "floor", "counters"] {
        for change in [flip as fn(Vec<u8>) -> Option<Vec<u8>>, |_| None] {
            let Closed { directory, store, .. } = closed();
            tamper(&store, STORAGE_METADATA_CF, name.as_bytes(), change);
            drop(store);
            let reopened = SegmentStore::open_or_create(SegmentStoreOptions::new(directory.path()), &parameters());
            let found = damage(reopened.and_then(|store| store.counters()));
            assert_eq!(found.family, STORAGE_METADATA_CF);
            assert!(found.reason.contains(name), "{found}");
        }
    }
}
