//! Chunks that come and go, tables that come from elsewhere, retention, replacement: index rows and totals follow exactly.

use crate::reads::{all_slots, expected};
use crate::segments::*;
use massa_db_exports::*;
use massa_distributed_storage_exports::period::UnsignedRecord;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_distributed_storage_worker::storage_backend::{
    IndexScope, IndexScopes, OwnChanges, SegmentState, SegmentStore, SegmentStoreOptions, SlotRead, StoreError,
};
use massa_models::address::Address;
use massa_models::operation::OperationType;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;
use tempfile::tempdir;

const ALL_HELD: IndexScopes = IndexScopes {
    blocks: IndexScope::Held,
    operations: IndexScope::Held,
    addresses: IndexScope::Held,
};

static SEGMENT: LazyLock<TestSegment> = LazyLock::new(|| SegmentMaker::new(large_blocks(21)).next());

fn open_indexed(path: &Path, indexes: IndexScopes) -> SegmentStore {
    let options = SegmentStoreOptions {
        indexes,
        ..SegmentStoreOptions::new(path)
    };
    SegmentStore::open_or_create(options, &parameters()).unwrap()
}

/// Keys of the three indexes that a store must have that holds these chunks, from the blocks themselves.
fn index_keys(segment: &TestSegment, held: &BTreeSet<u32>) -> [BTreeSet<Vec<u8>>; 3] {
    let [mut blocks, mut operations, mut addresses] = [const { BTreeSet::new() }; 3];
    for (slot, record) in segment.blocks() {
        let view = record.view(THREADS).unwrap();
        let period = &segment.periods[(slot.period - segment.table.header().first_period) as usize];
        let start = segment.table.period_range(slot.period).unwrap().start;
        let range = period
            .entry
            .block_range(slot.thread, period.bytes.len() as u32)
            .unwrap();
        let (from, to) = (start + u64::from(range.start), start + u64::from(range.end));
        let holds = |range: std::ops::Range<u64>| segment.table.chunks_of(&range).all(|chunk| held.contains(&chunk));
        if holds(from..from + 1) {
            blocks.insert([&[0][..], view.block_id().get_hash().to_bytes()].concat());
        }
        if holds(from..from + 4 + record.block().len() as u64 - SIGNATURE_BYTES as u64) {
            operations.extend(
                view.operation_ids()
                    .map(|id| [&[0][..], id.get_hash().to_bytes()].concat()),
            );
        }
        if holds(from..to) {
            let verified =
                massa_distributed_storage_exports::verification::verify_block(record, parameters().chain_id, THREADS);
            for operation in verified.unwrap().operations() {
                let mut of = vec![Address::from_public_key(&operation.content_creator_pub_key)];
                match operation.content.op {
                    OperationType::Transaction { recipient_address, .. } => of.push(recipient_address),
                    OperationType::CallSC { target_addr, .. } => of.push(target_addr),
                    _ => {}
                }
                let keys = of
                    .into_iter()
                    .map(|address| [&address.to_prefixed_bytes()[..], &slot.to_bytes_key()].concat());
                addresses.extend(keys);
            }
        }
        assert!(UnsignedRecord::parse(&segment.body[from as usize..to as usize]).is_ok());
    }
    [blocks, operations, addresses]
}

fn stored_keys(store: &SegmentStore) -> [BTreeSet<Vec<u8>>; 3] {
    [
        STORAGE_BLOCK_INDEX_CF,
        STORAGE_OPERATION_INDEX_CF,
        STORAGE_ADDRESS_INDEX_CF,
    ]
    .map(|family| rows_of(store, family).into_iter().map(|(key, _)| key).collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_goes_is_exactly_what_came(steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 1..24)) {
        let segment = &*SEGMENT;
        let directory = tempdir().unwrap();
        let store = open_indexed(directory.path(), ALL_HELD);
        store.put_tables(&[(segment.table.clone(), segment.root())]).unwrap();
        let mut held = BTreeSet::new();
        for (put, index) in steps {
            let index = index.index(segment.chunks.len()) as u32;
            if put {
                let new = store.put_chunk(&segment.chunks[index as usize], OwnChanges::default()).unwrap();
                prop_assert_eq!(new, held.insert(index));
            } else {
                let dropped = store.drop_chunk(segment.position(index), OwnChanges::default()).unwrap();
                prop_assert_eq!(dropped, held.remove(&index));
            }
        }
        prop_assert_eq!(stored_keys(&store), index_keys(segment, &held));
        let listed: BTreeSet<u32> = store.held(0).unwrap().indexes().collect();
        prop_assert_eq!(&listed, &held);
        prop_assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
        for slot in all_slots(segment) {
            let model = expected(segment, slot, &|chunk| held.contains(&chunk));
            prop_assert_eq!(store.slot(slot).unwrap(), model);
        }
    }
}

#[test]
fn an_index_of_all_knows_blocks_of_chunks_that_are_not_held() {
    let directory = tempdir().unwrap();
    let all = IndexScopes {
        blocks: IndexScope::All,
        operations: IndexScope::All,
        addresses: IndexScope::All,
    };
    let store = open_indexed(directory.path(), all);
    let segment = &*SEGMENT;
    segment.open_in(&store);
    segment.close_in(&store, |chunk| chunk < 2);
    store.drop_open_rows(0).unwrap();
    store.drop_chunk(segment.position(0), OwnChanges::default()).unwrap();
    let everything = (0..segment.chunks.len() as u32).collect();
    assert_eq!(stored_keys(&store), index_keys(segment, &everything));

    let (slot, record) = segment.blocks()[0];
    let verified =
        massa_distributed_storage_exports::verification::verify_block(record, parameters().chain_id, THREADS).unwrap();
    let sender = Address::from_public_key(&verified.operations()[0].content_creator_pub_key);
    let first = store.find_address(&sender, None, 1).unwrap();
    assert_eq!(first, [slot]);
    let later = store.find_address(&sender, Some(slot), 1_000).unwrap();
    assert!(later.iter().all(|found| *found > slot));
}

#[test]
fn a_chunk_that_is_not_the_one_of_its_position_is_refused() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let segment = &*SEGMENT;
    let put = |chunk| store.put_chunk(&chunk, OwnChanges::default());
    assert!(matches!(
        put(segment.chunks[1].clone()),
        Err(StoreError::NoTable { segment: 0 })
    ));
    store.put_tables(&[(segment.table.clone(), segment.root())]).unwrap();

    let mut other = segment.chunks[1].clone();
    other.position = segment.position(2);
    let mut byte = segment.chunks[1].clone();
    byte.pages[0].stored[100] ^= 1;
    let mut cut = segment.chunks[1].clone();
    cut.pages[0].stored.pop();
    let mut signatures = segment.chunks[1].clone();
    signatures.pages[0].signatures.pop();
    let mut entry = segment.chunks[1].clone();
    entry.reaching = None;
    let mut start = segment.chunks[1].clone();
    start.reaching.as_mut().unwrap().start += 1;
    for chunk in [other, byte, cut, signatures, entry, start] {
        let refused = put(chunk).unwrap_err();
        assert!(matches!(refused, StoreError::Chunk { .. }), "{refused}");
    }
    assert_eq!(store.counters().unwrap().chunks_held, 0);
    assert!(put(segment.chunks[1].clone()).unwrap());
}

#[test]
fn a_table_of_another_network_or_root_is_refused() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    let mut other = SegmentMaker::new(small_blocks(22));
    other.parameters.chain_id += 1;
    let foreign = other.next();
    let refused = store
        .put_tables(&[(foreign.table.clone(), foreign.root())])
        .unwrap_err();
    assert!(matches!(refused, StoreError::Table { segment: 0, .. }));

    let [mine, theirs] = [23, 24].map(|seed| SegmentMaker::new(small_blocks(seed)).next());
    assert_eq!(store.put_tables(&[(mine.table.clone(), mine.root())]).unwrap(), 1);
    assert_eq!(store.put_tables(&[(mine.table.clone(), mine.root())]).unwrap(), 0);
    let refused = store.put_tables(&[(theirs.table.clone(), theirs.root())]).unwrap_err();
    assert!(matches!(refused, StoreError::OtherRoot { segment: 0, .. }));
    assert_eq!(store.counters().unwrap().segments, 1);
}

/// Two versions of an archive that differ in the last period of its first segment.
fn two_versions() -> [Vec<TestSegment>; 2] {
    let mut maker = SegmentMaker::new(large_blocks(25));
    let periods: Vec<_> = (0..2 * SEGMENT_PERIODS)
        .map(|period| (period, maker.generator.next_period()))
        .collect();
    [&[][..], &[3]].map(|lost| {
        let mut maker = SegmentMaker::new(large_blocks(25));
        let (first, second) = periods.split_at(SEGMENT_PERIODS as usize);
        vec![
            maker.segment_of(first.to_vec(), lost),
            maker.segment_of(second.to_vec(), &[]),
        ]
    })
}

#[test]
fn a_replaced_segment_keeps_the_chunks_that_both_versions_have() {
    let [mine, accepted] = two_versions();
    let directory = tempdir().unwrap();
    let store = open_indexed(directory.path(), ALL_HELD);
    for segment in &mine {
        segment.open_in(&store);
        segment.close_in(&store, |_| true);
    }
    store.drop_open_rows(1).unwrap();
    let same = (0..accepted[0].chunks.len()).take_while(|index| mine[0].chunks[*index] == accepted[0].chunks[*index]);
    let same = same.count();
    assert!(same > 2 && same < accepted[0].chunks.len());
    assert_ne!(mine[1].root(), accepted[1].root(), "later roots follow");

    let tables: Vec<_> = accepted
        .iter()
        .map(|segment| (segment.table.clone(), segment.root()))
        .collect();
    let last = accepted[0].chunks.last().unwrap().clone();
    let gone = store
        .replace_segments(&tables, std::slice::from_ref(&last), OwnChanges::default())
        .unwrap();
    assert_eq!(gone as usize, mine[0].chunks.len() - same);

    let mut held: BTreeSet<u32> = (0..same as u32).collect();
    held.insert(last.position.index.0);
    for slot in all_slots(&accepted[0]) {
        assert_eq!(
            store.slot(slot).unwrap(),
            expected(&accepted[0], slot, &|chunk| held.contains(&chunk)),
            "slot {slot}"
        );
    }
    for slot in all_slots(&accepted[1]) {
        assert_eq!(
            store.slot(slot).unwrap(),
            expected(&accepted[1], slot, &|_| true),
            "slot {slot}"
        );
    }
    let everything = (0..accepted[1].chunks.len() as u32).collect();
    let [first, second] = [index_keys(&accepted[0], &held), index_keys(&accepted[1], &everything)];
    let union: Vec<BTreeSet<_>> = first.iter().zip(&second).map(|(a, b)| a | b).collect();
    assert_eq!(stored_keys(&store).to_vec(), union);
    let states: Vec<_> = store
        .segments(0, 10)
        .unwrap()
        .iter()
        .map(|info| (info.state, info.root.unwrap()))
        .collect();
    assert_eq!(
        states,
        [
            (SegmentState::TableOnly, accepted[0].root()),
            (SegmentState::Closed, accepted[1].root())
        ]
    );
    assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
}

#[test]
fn retention_takes_chunks_and_leaves_tables() {
    let directory = tempdir().unwrap();
    let mut maker = SegmentMaker::new(large_blocks(26));
    let segments: Vec<_> = (0..5).map(|_| maker.next()).collect();
    let options = SegmentStoreOptions {
        retention_periods: 4 * SEGMENT_PERIODS,
        ..SegmentStoreOptions::new(directory.path())
    };
    let store = SegmentStore::open_or_create(options, &parameters()).unwrap();
    for segment in &segments {
        segment.open_in(&store);
        segment.close_in(&store, |_| true);
    }
    assert_eq!(store.retained_from(4), Some(1));
    assert_eq!(store.prune(1).unwrap(), segments[0].chunks.len() as u64);
    assert_eq!(store.prune(1).unwrap(), 0);

    let (slot, record) = segments[0].blocks()[0];
    let id = record.view(THREADS).unwrap().block_id();
    assert_eq!(store.slot(slot).unwrap(), SlotRead::Pruned);
    assert_eq!(store.find_block(&id).unwrap(), None);
    assert_eq!(store.table(0).unwrap().as_deref(), Some(&segments[0].table));
    let refused = store
        .put_chunk(&segments[0].chunks[0], OwnChanges::default())
        .unwrap_err();
    assert!(matches!(refused, StoreError::Pruned { segment: 0, floor: 1 }));
    let kept: usize = segments[1..].iter().map(|segment| segment.chunks.len()).sum();
    assert_eq!(store.counters().unwrap().chunks_held, kept as u64);
    assert_eq!(store.verify(&|_, _| {}).unwrap().damages, []);
    drop(store);

    let store = SegmentStore::open(SegmentStoreOptions::new(directory.path())).unwrap();
    assert_eq!(store.floor(), 1);
    assert_eq!(store.slot(slot).unwrap(), SlotRead::Pruned);
    let next = store.next_held(segments[0].position(0)).unwrap();
    assert_eq!(next, Some(segments[1].position(0)));
}

#[test]
fn a_store_without_indexes_has_no_index_rows() {
    let directory = tempdir().unwrap();
    let none = IndexScopes {
        blocks: IndexScope::None,
        operations: IndexScope::None,
        addresses: IndexScope::None,
    };
    let store = open_indexed(directory.path(), none);
    SEGMENT.open_in(&store);
    SEGMENT.close_in(&store, |_| true);
    assert!(stored_keys(&store).iter().all(BTreeSet::is_empty));
    assert_eq!(store.counters().unwrap().blocks_held, SEGMENT.blocks().len() as u64);
}

#[test]
fn open_operations_are_found_after_a_restart_too() {
    let directory = tempdir().unwrap();
    let store = open(directory.path());
    SEGMENT.open_in(&store);
    let mut operations: BTreeMap<Slot, Vec<_>> = BTreeMap::new();
    for (slot, record) in SEGMENT.blocks() {
        operations.insert(slot, record.view(THREADS).unwrap().operation_ids().collect());
    }
    let check = |store: &SegmentStore| {
        for (slot, ids) in &operations {
            for (id, index) in ids.iter().zip(0..) {
                assert_eq!(store.find_operation(id).unwrap(), Some((*slot, index)));
            }
        }
    };
    check(&store);
    drop(store);
    check(&open(directory.path()));
}
