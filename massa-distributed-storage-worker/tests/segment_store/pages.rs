//! Pages on the disk: written once, never deleted one by one, gone when nobody wants them, there as long as somebody does.

use crate::cut::cut;
use crate::reads::{all_slots, expected};
use crate::segments::*;
use massa_db_exports::*;
use massa_distributed_storage_worker::storage_backend::database::DatabaseError;
use massa_distributed_storage_worker::storage_backend::{
    ChunkToStore, Keep, OwnChanges, SegmentStore, SegmentStoreOptions, SlotRead,
};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use tempfile::tempdir;

static SEGMENT: LazyLock<TestSegment> = LazyLock::new(|| SegmentMaker::new(large_blocks(81)).next());

fn as_backup(chunk: &ChunkToStore) -> ChunkToStore {
    ChunkToStore {
        keep: Keep::Backup,
        ..chunk.clone()
    }
}

fn with_table(path: &Path, segment: &TestSegment) -> SegmentStore {
    let store = open(path);
    store.put_tables(&[(segment.table.clone(), segment.root())]).unwrap();
    store
}

fn drop_chunks(store: &SegmentStore, segment: &TestSegment, dropped: impl Fn(u32) -> bool) {
    for chunk in segment.chunks_where(&dropped) {
        assert!(store.drop_chunk(chunk.position, OwnChanges::default()).unwrap());
    }
}

fn put(store: &SegmentStore, segment: &TestSegment, chunks: &[ChunkToStore]) -> usize {
    store.put_chunks(segment.number, chunks, OwnChanges::default()).unwrap()
}

/// Chunks of which a family has pages.
fn chunks_in(store: &SegmentStore, family: &'static str) -> BTreeSet<u32> {
    let rows = rows_of(store, family);
    let index = |key: &[u8]| u32::from(u16::from_be_bytes([key[8], key[9]]));
    rows.iter().map(|(key, _)| index(key)).collect()
}

fn assert_sound(store: &SegmentStore, segment: &TestSegment, held: impl Fn(u32) -> bool) {
    for slot in all_slots(segment) {
        assert_eq!(store.slot(slot).unwrap(), expected(segment, slot, &held), "slot {slot}");
    }
    let indexes = (0..segment.chunks.len() as u32).filter(|index| held(*index));
    assert!(store.held(segment.number).unwrap().indexes().eq(indexes));
    assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
}

fn property(store: &SegmentStore, family: &'static str, name: &str) -> u64 {
    let read = store.database().read(|db| -> Result<_, DatabaseError> {
        Ok(db.property_int_value_cf(db.cf_handle(family).unwrap(), name).unwrap())
    });
    read.unwrap().unwrap()
}

fn table_bytes(store: &SegmentStore, family: &'static str) -> u64 {
    property(store, family, "rocksdb.live-sst-files-size")
}

#[test]
fn pages_of_dropped_chunks_go_when_their_table_is_written_again_and_are_not_read_before() {
    let directory = tempdir().unwrap();
    let segment = &*SEGMENT;
    let store = with_table(directory.path(), segment);
    let all: BTreeSet<u32> = (0..segment.chunks.len() as u32).collect();
    assert_eq!(put(&store, segment, &segment.chunks), all.len());
    let kept = |index| index % 2 == 1;
    drop_chunks(&store, segment, |index| !kept(index));
    assert_eq!(chunks_in(&store, STORAGE_PAGES_CF), all);
    assert_eq!(store.page(segment.position(0), 0).unwrap(), None);
    assert_sound(&store, segment, kept);

    assert_eq!(store.return_space().unwrap(), 1);
    assert!(chunks_in(&store, STORAGE_PAGES_CF)
        .into_iter()
        .eq(all.into_iter().filter(|index| kept(*index))));
    assert_sound(&store, segment, kept);
    assert_eq!(store.return_space().unwrap(), 0);
}

#[test]
fn a_chunk_that_comes_again_after_it_was_dropped_stays() {
    let directory = tempdir().unwrap();
    let segment = &*SEGMENT;
    let store = with_table(directory.path(), segment);
    put(&store, segment, &segment.chunks);
    drop_chunks(&store, segment, |index| index != 1);
    // Some before the table is written again, some after.
    assert!(store.put_chunk(&segment.chunks[2], OwnChanges::default()).unwrap());
    assert_eq!(store.return_space().unwrap(), 1);
    assert_eq!(chunks_in(&store, STORAGE_PAGES_CF), BTreeSet::from([1, 2]));
    assert!(store.put_chunk(&segment.chunks[0], OwnChanges::default()).unwrap());
    store.return_space().unwrap();
    assert_eq!(chunks_in(&store, STORAGE_PAGES_CF), BTreeSet::from([0, 1, 2]));
    assert_sound(&store, segment, |index| index < 3);
}

#[test]
fn what_was_dropped_before_a_stop_is_given_back_after_the_next_start() {
    let directory = tempdir().unwrap();
    let segment = &*SEGMENT;
    let store = with_table(directory.path(), segment);
    put(&store, segment, &segment.chunks);
    store.close();
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.return_space().unwrap(), 0, "everything is wanted");
    drop_chunks(&store, segment, |index| index > 0);
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.return_space().unwrap(), 1);
    assert_eq!(chunks_in(&store, STORAGE_PAGES_CF), BTreeSet::from([0]));
    assert_sound(&store, segment, |index| index == 0);
}

#[test]
fn chunks_held_as_backup_are_read_like_others_and_counted_apart() {
    let directory = tempdir().unwrap();
    let segment = &*SEGMENT;
    let store = open(directory.path());
    segment.open_in(&store);
    let backup = |index| index % 2 == 0;
    let chunks: Vec<_> = segment
        .chunks
        .iter()
        .map(|chunk| {
            if backup(chunk.position.index.0) {
                as_backup(chunk)
            } else {
                chunk.clone()
            }
        })
        .collect();
    store
        .close_chunks(&segment.table, cut(&segment.table, &chunks))
        .unwrap();
    store.finish_closing(&segment.table).unwrap();
    store.drop_open_rows(0).unwrap();
    let counters = store.counters().unwrap();
    let stored = |wanted: &dyn Fn(u32) -> bool| -> u64 {
        let rows = [STORAGE_PAGES_CF, STORAGE_PAGES_PASSING_CF].map(|family| rows_of(&store, family));
        let rows = rows.iter().flatten();
        let wanted = rows.filter(|(key, _)| wanted(u32::from(u16::from_be_bytes([key[8], key[9]]))));
        wanted.map(|(_, value)| value.len() as u64).sum()
    };
    assert_eq!(counters.chunks_held, chunks.len() as u64);
    assert_eq!(counters.chunks_passing, chunks.len().div_ceil(2) as u64);
    assert_eq!(
        (counters.bytes_stored, counters.bytes_passing),
        (stored(&|_| true), stored(&backup))
    );
    assert!(chunks_in(&store, STORAGE_PAGES_CF)
        .into_iter()
        .all(|index| !backup(index)));
    assert_sound(&store, segment, |_| true);
    assert_eq!(store.held(0).unwrap().keep_of(0), Some(Keep::Backup));
    // Held is held: coming again as backup changes nothing.
    assert!(!store
        .put_chunk(&as_backup(&segment.chunks[1]), OwnChanges::default())
        .unwrap());
    assert_eq!(store.counters().unwrap(), counters);
}

#[test]
fn backups_become_chunks_of_a_holder_or_go_with_their_tables() {
    let directory = tempdir().unwrap();
    let segment = &*SEGMENT;
    let store = with_table(directory.path(), segment);
    let chunks: Vec<_> = segment.chunks.iter().map(as_backup).collect();
    put(&store, segment, &chunks);
    assert_eq!(store.promote_chunks(0, &[1, 3, 1], OwnChanges::default()).unwrap(), 2);
    assert_eq!(store.promote_chunks(0, &[1], OwnChanges::default()).unwrap(), 0);
    // From a peer rather than from its own pages.
    assert!(store.put_chunk(&segment.chunks[2], OwnChanges::default()).unwrap());
    assert_eq!(chunks_in(&store, STORAGE_PAGES_CF), BTreeSet::from([1, 2, 3]));
    assert_sound(&store, segment, |_| true);
    store.return_space().unwrap();
    assert_sound(&store, segment, |_| true);

    let released = store.release_backups(0, OwnChanges::default()).unwrap();
    assert_eq!(released as usize, chunks.len() - 3);
    assert_eq!(table_bytes(&store, STORAGE_PAGES_PASSING_CF), 0, "deleted at once");
    let held = |index| (1..4).contains(&index);
    assert_sound(&store, segment, held);
    let counters = store.counters().unwrap();
    assert_eq!(
        (counters.chunks_held, counters.chunks_passing, counters.bytes_passing),
        (3, 0, 0)
    );
    assert_eq!(store.release_backups(0, OwnChanges::default()).unwrap(), 0);
    drop(store);
    let store = open(directory.path());
    assert_eq!(store.return_space().unwrap(), 0, "what is held stays");
    assert_sound(&store, segment, held);
}

/// Hand-over drops chunk by chunk, as their holders promise.
#[test]
fn tables_of_backups_are_deleted_with_the_last_of_them() {
    let directory = tempdir().unwrap();
    let segment = &*SEGMENT;
    let store = with_table(directory.path(), segment);
    let (held, backups) = segment.chunks.split_at(2);
    let backups: Vec<_> = backups.iter().map(as_backup).collect();
    let all: Vec<_> = held.iter().chain(&backups).cloned().collect();
    put(&store, segment, &all);
    let bytes = table_bytes(&store, STORAGE_PAGES_PASSING_CF);
    let written = store.database().statistics().compaction_bytes;
    drop_chunks(&store, segment, |index| index == 2);
    assert!(!store.forget_backups(0).unwrap());
    assert_eq!(table_bytes(&store, STORAGE_PAGES_PASSING_CF), bytes);
    assert_sound(&store, segment, |index| index != 2);
    drop_chunks(&store, segment, |index| index > 2);
    assert!(store.forget_backups(0).unwrap());
    assert_eq!(table_bytes(&store, STORAGE_PAGES_PASSING_CF), 0);
    assert!(store.forget_backups(0).unwrap(), "nothing is left to be done");
    assert_eq!(store.database().statistics().compaction_bytes, written);
    assert_sound(&store, segment, |index| index < 2);
    drop(store);
    assert_sound(&open(directory.path()), segment, |index| index < 2);
}

#[test]
fn a_pruned_segment_takes_its_tables_along_and_leaves_the_others() {
    let directory = tempdir().unwrap();
    let mut maker = SegmentMaker::new(large_blocks(82));
    let segments: Vec<_> = (0..3).map(|_| maker.next()).collect();
    let options = SegmentStoreOptions {
        retention_periods: 4 * SEGMENT_PERIODS,
        ..SegmentStoreOptions::new(directory.path())
    };
    let store = SegmentStore::open_or_create(options, &parameters()).unwrap();
    for segment in &segments {
        store.put_tables(&[(segment.table.clone(), segment.root())]).unwrap();
        put(&store, segment, &segment.chunks[..3]);
        put(
            &store,
            segment,
            &segment.chunks[3..].iter().map(as_backup).collect::<Vec<_>>(),
        );
    }
    // Of the first, even what is no longer held.
    store
        .drop_chunk(segments[0].position(0), OwnChanges::default())
        .unwrap();
    assert_eq!(
        store.prune(2).unwrap() as usize,
        segments[0].chunks.len() + segments[1].chunks.len() - 1
    );
    for family in [STORAGE_PAGES_CF, STORAGE_PAGES_PASSING_CF] {
        let rows = rows_of(&store, family);
        assert!(!rows.is_empty());
        assert!(rows.iter().all(|(key, _)| key[..8] == 2u64.to_be_bytes()), "{family}");
    }
    assert_eq!(store.return_space().unwrap(), 0);
    assert_sound(&store, &segments[2], |_| true);
}

#[test]
fn rows_of_an_open_segment_go_and_come_again() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let segment = &*SEGMENT;
    let before = store.counters().unwrap();
    segment.open_in(&store);
    let open_counters = store.counters().unwrap();
    store.drop_open_rows(0).unwrap();
    assert_eq!(store.counters().unwrap(), before);
    assert!(store.open_segments().is_empty());
    let (slot, record) = segment.blocks()[0];
    assert_eq!(store.open_block(slot).unwrap(), None);
    segment.open_in(&store);
    assert_eq!(store.counters().unwrap(), open_counters);
    assert_eq!(store.slot(slot).unwrap(), SlotRead::Block(record.clone()));
    assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
}

/// Segments of more than 16 MB.
fn large_segments(seed: u64, count: usize) -> (SegmentMaker, Vec<TestSegment>) {
    let mut maker = SegmentMaker::new(large_blocks(seed));
    maker.parameters.segment_periods = 200;
    let segments = (0..count).map(|_| maker.next()).collect();
    (maker, segments)
}

#[test]
fn a_page_is_written_at_most_one_and_a_half_times_in_its_life() {
    let (maker, segments) = large_segments(83, 2);
    let directory = tempdir().unwrap();
    let options = SegmentStoreOptions::new(directory.path());
    let store = SegmentStore::open_or_create(options, &maker.parameters).unwrap();
    let before = store.database().statistics();
    for segment in &segments {
        // As when it is closed, in slices of 4 MB; without block rows, whose merging would be counted, too.
        store.put_tables(&[(segment.table.clone(), segment.root())]).unwrap();
        for slice in segment.chunks.chunks(64) {
            put(&store, segment, slice);
        }
    }
    store.database().flush().unwrap();
    let stored = store.counters().unwrap().bytes_stored;
    assert!(stored > 32 << 20, "{stored} bytes");
    let amplification = || {
        let now = store.database().statistics();
        let bytes = |of: fn(&massa_distributed_storage_worker::storage_backend::database::Statistics) -> u64| {
            of(&now) - of(&before)
        };
        let written = bytes(|s| s.log_bytes)
            + bytes(|s| s.flush_bytes)
            + bytes(|s| s.compaction_bytes)
            + bytes(|s| s.ingested_bytes);
        written as f64 / stored as f64
    };
    let closed = amplification();
    // A quarter, where it hurts: half of every other slice.
    let mut dropped = 0;
    for segment in &segments {
        for slice in segment.chunks.chunks(64).step_by(2) {
            for chunk in slice.iter().step_by(2) {
                store.drop_chunk(chunk.position, OwnChanges::default()).unwrap();
                dropped += 1;
            }
        }
    }
    let size = table_bytes(&store, STORAGE_PAGES_CF);
    let rewritten = store.return_space().unwrap();
    let returned = size - table_bytes(&store, STORAGE_PAGES_CF);
    store.database().flush().unwrap();
    let tidied = amplification();
    store.prune(2).unwrap();
    store.return_space().unwrap();
    store.database().flush().unwrap();
    let pruned = amplification();
    println!("{stored} bytes: closed {closed:.3}, {dropped} chunks dropped, {rewritten} rewritten, {returned} bytes returned {tidied:.3}, pruned {pruned:.3}");
    assert_eq!(table_bytes(&store, STORAGE_PAGES_CF), 0);
    assert!(returned > stored / 5, "{returned} bytes");
    assert!(
        closed < 1.1 && tidied < 1.5 && pruned < 1.5,
        "{closed} {tidied} {pruned}"
    );
}

#[test]
fn chunks_that_come_one_by_one_between_others_do_not_pile_up_as_tables() {
    let (maker, segments) = large_segments(84, 1);
    let segment = &segments[0];
    let directory = tempdir().unwrap();
    let store = SegmentStore::open_or_create(SegmentStoreOptions::new(directory.path()), &maker.parameters).unwrap();
    store.put_tables(&[(segment.table.clone(), segment.root())]).unwrap();
    let even: Vec<_> = segment.chunks.iter().step_by(2).take(45).cloned().collect();
    put(&store, segment, &even);
    let upper = || property(&store, STORAGE_PAGES_CF, "rocksdb.num-files-at-level0");
    for index in (0..80).step_by(2) {
        store
            .put_chunk(&segment.chunks[index + 1], OwnChanges::default())
            .unwrap();
    }
    assert_eq!(upper(), 40);
    store.return_space().unwrap();
    assert_eq!(upper(), 0);
    for index in 0..80 {
        assert!(store.check_chunk(segment.position(index)).unwrap());
    }
}
