//! The store of segments: what it says of each slot, id and total, compared with a plain model.

use crate::segments::*;
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::storage_backend::database::writer::Durability;
use massa_distributed_storage_worker::storage_backend::{
    EntryRead, SegmentState, SegmentStore, SegmentStoreOptions, SlotRead, StoreError,
};
use massa_models::slot::Slot;
use massa_tests::generator::GeneratorConfig;
use std::collections::BTreeSet;

use tempfile::tempdir;

/// What the store must say of a slot when these chunks are held and block rows are gone.
pub fn expected(segment: &TestSegment, slot: Slot, held: &dyn Fn(u32) -> bool) -> SlotRead {
    let period = &segment.periods[(slot.period - segment.table.header().first_period) as usize];
    let range = segment.table.period_range(slot.period).unwrap();
    let period_chunks: Vec<u32> = segment.table.chunks_of(&range).collect();
    let entry_bytes = range.start..range.start + u64::from(period.entry.length());
    let entry_known = segment.table.chunks_of(&entry_bytes).all(held) || period_chunks.iter().skip(1).any(|c| held(*c));
    let missing = |chunks: Vec<u32>| SlotRead::NotHeld {
        chunks: chunks.into_iter().filter(|chunk| !held(*chunk)).collect(),
    };
    if !entry_known {
        return missing(period_chunks);
    }
    let Some(block) = period.entry.slots()[usize::from(slot.thread)] else {
        return SlotRead::Miss;
    };
    if period.entry.is_lost() {
        return SlotRead::Lost(block.id);
    }
    let chunks = segment.chunks_of(slot);
    if chunks.iter().all(|chunk| held(*chunk)) {
        let record = segment.slots[&slot].clone().unwrap();
        return SlotRead::Block(record);
    }
    missing(chunks)
}

pub fn all_slots(segment: &TestSegment) -> impl Iterator<Item = Slot> {
    let first = segment.table.header().first_period;
    let end = segment.table.header().end_period();
    (first..end).flat_map(|period| (0..THREADS).map(move |thread| Slot::new(period, thread)))
}

#[test]
fn blocks_of_an_open_segment_are_read_from_their_rows() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let segment = SegmentMaker::new(small_blocks(1)).next();
    segment.open_in(&store);

    for (slot, block) in &segment.slots {
        let expected = block.clone().map_or(SlotRead::Miss, SlotRead::Block);
        assert_eq!(store.slot(*slot).unwrap(), expected, "slot {slot}");
    }
    assert_eq!(store.slot(Slot::new(1_000, 0)).unwrap(), SlotRead::Missing);
    let (slot, record) = segment.blocks()[0];
    let id = record.view(THREADS).unwrap().block_id();
    assert_eq!(store.find_block(&id).unwrap(), Some(slot));
}

#[test]
fn a_closed_segment_gives_back_every_block_when_all_chunks_are_held() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let mut maker = SegmentMaker::new(large_blocks(2));
    let segments = [maker.next(), maker.next(), maker.next()];
    for segment in &segments {
        segment.open_in(&store);
        segment.close_in(&store, |_| true);
    }
    for segment in &segments {
        for slot in all_slots(segment) {
            assert_eq!(
                store.slot(slot).unwrap(),
                expected(segment, slot, &|_| true),
                "slot {slot}"
            );
        }
        for (slot, record) in segment.blocks() {
            verify_block(record, maker.parameters.chain_id, THREADS).unwrap();
            let view = record.view(THREADS).unwrap();
            assert_eq!(store.find_block(&view.block_id()).unwrap(), Some(slot));
            for (id, index) in view.operation_ids().zip(0..) {
                assert_eq!(store.find_operation(&id).unwrap(), Some((slot, index)));
            }
        }
    }
    let report = store.verify(&|_, _| {}).unwrap();
    assert_eq!(report.damages, []);
    assert_eq!(report.segments, 3);
}

#[test]
fn a_segment_held_in_part_names_the_chunks_that_are_missing() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let mut maker = SegmentMaker::new(large_blocks(3));
    let (segment, next) = (maker.next(), maker.next());
    let held = |chunk: u32| chunk % 3 != 1;
    segment.open_in(&store);
    segment.close_in(&store, held);
    next.open_in(&store);
    next.close_in(&store, |_| false);
    assert!(segment.chunks.len() > 6, "several chunks are held and several are not");

    let mut not_held = 0;
    for slot in all_slots(&segment) {
        let read = store.slot(slot).unwrap();
        not_held += u32::from(matches!(read, SlotRead::NotHeld { .. }));
        assert_eq!(read, expected(&segment, slot, &held), "slot {slot}");
    }
    assert!(not_held > 0);
    assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
}

#[test]
fn block_rows_go_one_segment_later() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let mut maker = SegmentMaker::new(small_blocks(4));
    let (first, second) = (maker.next(), maker.next());
    first.open_in(&store);
    first.close_in(&store, |_| false);
    let (slot, record) = first.blocks()[0];
    assert_eq!(store.slot(slot).unwrap(), SlotRead::Block(record.clone()));
    assert!(matches!(store.entry(slot.period).unwrap(), EntryRead::Found(_)));

    second.open_in(&store);
    second.close_in(&store, |_| false);
    assert!(matches!(store.slot(slot).unwrap(), SlotRead::NotHeld { .. }));
    assert_eq!(store.open_block(slot).unwrap(), None);
    let open: Vec<u64> = store.open_segments().iter().map(|open| open.segment).collect();
    assert_eq!(open, [1]);
}

#[test]
fn a_segment_with_a_period_that_did_not_join_cannot_be_closed() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let segment = SegmentMaker::new(small_blocks(5)).next();
    let mut rows = segment.open_rows();
    let last = rows.joined.pop().unwrap();
    store.put_open(&rows, Durability::Buffered).unwrap();

    let refused = store.finish_closing(&segment.table).unwrap_err();
    assert!(matches!(refused, StoreError::NotJoined { period, .. } if period == last.period));
    assert_eq!(store.segments(0, 10).unwrap()[0].state, SegmentState::Open);
}

#[test]
fn blocks_of_upstream_come_back_byte_for_byte() {
    let file = massa_tests::mblk::read_mblk(&massa_tests::mblk::data_path("upstream-blocks-4-periods.mblk"));
    let periods: Vec<_> = file.periods().into_iter().collect();
    // One period is one segment.
    let parameters = ArchiveParameters {
        first_period: periods[0].0,
        segment_periods: 1,
        chunk_size: CHUNK_BYTES,
        ..ArchiveParameters::new(file.chain_id, file.thread_count)
    };
    let directory = tempdir().unwrap();
    let store = SegmentStore::open_or_create(SegmentStoreOptions::new(directory.path()), &parameters).unwrap();
    let mut maker = SegmentMaker::of_blocks(parameters);
    for period in periods {
        let segment = maker.segment_of(vec![period], &[]);
        segment.open_in(&store);
        segment.close_in(&store, |_| true);
        store.drop_open_rows(segment.number).unwrap();
        for (slot, block) in &segment.slots {
            let expected = block.clone().map_or(SlotRead::Miss, SlotRead::Block);
            assert_eq!(store.slot(*slot).unwrap(), expected, "slot {slot}");
        }
    }
    let report = store.verify(&|_, _| {}).unwrap();
    assert_eq!(report.damages, []);
    assert_eq!(report.blocks, file.blocks.len() as u64);
}

#[test]
fn a_lost_period_in_the_middle_gives_ids_without_blocks() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let mut maker = SegmentMaker::new(small_blocks(6));
    let blocks = (0..SEGMENT_PERIODS)
        .map(|period| (period, maker.generator.next_period()))
        .collect();
    let segment = maker.segment_of(blocks, &[2]);
    let next = maker.next();
    for segment in [&segment, &next] {
        segment.open_in(&store);
        segment.close_in(&store, |_| true);
    }
    for slot in all_slots(&segment) {
        assert_eq!(
            store.slot(slot).unwrap(),
            expected(&segment, slot, &|_| true),
            "slot {slot}"
        );
    }
    let counters = store.counters().unwrap();
    assert_eq!(counters.lost_periods, 1);
    let blocks = segment.blocks().len() + next.blocks().len();
    assert_eq!(counters.blocks, blocks as u64);
    assert_eq!(counters.blocks_held, counters.blocks);
}

#[test]
fn a_chunk_packed_by_every_method_is_read_back() {
    let directory = tempdir().unwrap();
    let mut maker = SegmentMaker::new(GeneratorConfig {
        endorsements_per_block: 16,
        ..small_blocks(7)
    });
    maker.parameters.chunk_size = 4 * CHUNK_BYTES;
    maker.parameters.segment_periods = 64;
    let options = SegmentStoreOptions::new(directory.path());
    let store = SegmentStore::open_or_create(options, &maker.parameters).unwrap();
    let mut segment = maker.next();
    for chunk in &mut segment.chunks {
        let plain: Vec<u8> = chunk.pages.iter().flat_map(|page| page.stored[1..].to_vec()).collect();
        for (page, packed) in chunk.pages.iter_mut().zip(StoredPage::pack_chunk(&plain)) {
            page.stored = packed.into_bytes();
        }
    }
    let pages = segment.chunks.iter().flat_map(|chunk| &chunk.pages);
    let methods: BTreeSet<u8> = pages.map(|page| page.stored[0]).collect();
    assert!(
        methods.contains(&2),
        "some page is packed after the first one: {methods:?}"
    );
    segment.open_in(&store);
    segment.close_in(&store, |_| true);
    store.drop_open_rows(0).unwrap();
    for slot in all_slots(&segment) {
        assert_eq!(
            store.slot(slot).unwrap(),
            expected(&segment, slot, &|_| true),
            "slot {slot}"
        );
    }
    let counters = store.counters().unwrap();
    assert!(counters.bytes_stored < counters.bytes_held, "it is packed");
    assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
}
