//! The writer on the store itself: whatever ends it and wherever, the same segments are on the disk, and every block is read back.

mod common;

use common::tamper::{Failure, Tamper};
use common::world::{World, NO_LIMIT, THREADS};
use common::{id_of, slot_of};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::archive::ingest::{
    keep_all, Acknowledge, Ingest, IngestError, IngestOptions, Progress,
};
use massa_distributed_storage_worker::archive::rows::Packing;
use massa_distributed_storage_worker::storage_backend::database::writer::WriteFault;
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions, SlotRead, StoreError};
use massa_models::slot::Slot;
use massa_tests::{Generator, GeneratorConfig};
use rand::seq::SliceRandom;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::path::Path;
use std::sync::Arc;
use tempfile::tempdir;

type StoreIngest = Ingest<SegmentStore>;
type Taken<T> = Result<T, IngestError<StoreError>>;

fn store(path: &Path, world: &World, tamper: Option<&Tamper>) -> Arc<SegmentStore> {
    let mut options = SegmentStoreOptions::new(path);
    if let Some(tamper) = tamper {
        options.writer = Box::new(tamper.clone());
    }
    Arc::new(SegmentStore::open_or_create(options, &world.parameters).unwrap())
}

fn try_ingest(store: &Arc<SegmentStore>, held_back_bytes_max: u64) -> Taken<StoreIngest> {
    let options = IngestOptions {
        acknowledge: Acknowledge::EachBlock,
        keep: keep_all(),
        held_back_bytes_max,
    };
    Ok(Ingest::open(Arc::clone(store), options)?.0)
}

fn ingest(store: &Arc<SegmentStore>) -> StoreIngest {
    try_ingest(store, NO_LIMIT).unwrap()
}

fn close_all(ingest: &mut StoreIngest) -> Taken<Progress> {
    let mut closed = Progress::default();
    while ingest.is_closing() {
        let progress = ingest.close_slice()?;
        closed.stalled = progress.stalled.or(closed.stalled);
        closed.closed.extend(progress.closed);
    }
    Ok(closed)
}

fn add(ingest: &mut StoreIngest, record: &BlockRecord) {
    let progress = ingest.add(record.clone()).unwrap();
    assert_eq!(progress.stalled, None);
    assert_eq!(close_all(ingest).unwrap().stalled, None);
}

/// Rows and counters agree. Blocks of the cheap chain have ids and links, but no signature that could be read.
fn assert_sound(store: &SegmentStore) {
    let mut damages = store.verify(&|_, _| {}).unwrap().damages;
    damages.retain(|damage| !damage.reason.contains("does not parse"));
    assert_eq!(damages, []);
}

/// The tables are those of the chain, every slot is read back, and counters agree with rows.
fn assert_holds(store: &SegmentStore, world: &World, segments: u64) {
    let tables = world.tables(segments);
    for table in &tables {
        let segment = table.header().segment;
        let stored = store.table(segment).unwrap().unwrap();
        assert_eq!(stored.root(), table.root(), "segment {segment}");
        let held = store.held(segment).unwrap();
        assert!(held.indexes().eq(0..table.header().chunk_count()), "segment {segment}");
    }
    assert_eq!(store.last_segment().unwrap(), segments.checked_sub(1));
    let last = tables.last().map_or(0, |table| table.header().end_period());
    for period in 0..last {
        for thread in 0..THREADS {
            let record = world.periods[period as usize][usize::from(thread)].clone();
            let expected = record.map_or(SlotRead::Miss, SlotRead::Block);
            assert_eq!(store.slot(Slot::new(period, thread)).unwrap(), expected);
        }
    }
    assert_sound(store);
}

#[test]
fn segments_are_on_the_disk_after_any_order_and_a_restart_after_every_few_blocks() {
    for seed in 0..4 {
        let world = World::new(seed, 13, 9_000);
        let directory = tempdir().unwrap();
        let mut blocks = world.blocks.clone();
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        blocks
            .chunks_mut(1 + 10 * seed as usize)
            .for_each(|part| part.shuffle(&mut random));
        for part in blocks.chunks(5) {
            let store = store(directory.path(), &world, None);
            let mut ingest = ingest(&store);
            part.iter().for_each(|record| drop(ingest.add(record.clone()).unwrap()));
            close_all(&mut ingest).unwrap();
            store.close();
        }
        assert_holds(&store(directory.path(), &world, None), &world, 3);
    }
}

/// Every write fails once, written or not: the store recovers, the block comes again.
#[test]
fn a_write_that_fails_anywhere_leaves_the_same_segments() {
    let world = World::new(7, 9, 15_000);
    let counted = Tamper::default();
    let directory = tempdir().unwrap();
    let whole = store(directory.path(), &world, Some(&counted));
    let mut writer = ingest(&whole);
    world.blocks.iter().for_each(|record| add(&mut writer, record));
    assert_holds(&whole, &world, 2);
    let writes = counted.writes();
    assert!(writes > 40);
    for failing in (0..writes).step_by(3) {
        for failure in [Failure::Before, Failure::After] {
            let tamper = Tamper::default();
            let directory = tempdir().unwrap();
            let store = store(directory.path(), &world, Some(&tamper));
            let fault = WriteFault::Failed("a test".into());
            tamper.fail(tamper.writes() + failing, 1, failure, fault);
            let mut ingest = ingest(&store);
            for record in &world.blocks {
                let failed = match ingest.add(record.clone()) {
                    Ok(progress) => progress.stalled.is_some() || close_all(&mut ingest).is_err(),
                    Err(_) => true,
                };
                if failed {
                    store.recover().unwrap();
                    ingest.recovered().unwrap();
                    add(&mut ingest, record);
                }
            }
            assert_holds(&store, &world, 2);
        }
    }
}

#[test]
fn a_gap_that_is_filled_late_closes_all_that_waited() {
    let world = World::new(3, 18, 100);
    let late = world.slot_in(5);
    let directory = tempdir().unwrap();
    let store = store(directory.path(), &world, None);
    let mut writer = ingest(&store);
    let others = world.blocks.iter().filter(|record| slot_of(record, THREADS) != late);
    others.for_each(|record| add(&mut writer, record));
    assert_eq!(store.last_segment().unwrap(), Some(0));
    let mut writer = ingest(&store);
    assert_eq!(writer.blocked().unwrap().slot, late);
    add(&mut writer, world.block(late));
    assert_holds(&store, &world, 4);
}

#[test]
fn a_joiner_goes_on_from_tables_and_entries() {
    let world = World::new(19, 18, 3_000);
    let directory = tempdir().unwrap();
    let store = store(directory.path(), &world, None);
    let mut writer = ingest(&store);
    let newest = world
        .blocks
        .iter()
        .filter(|record| slot_of(record, THREADS).period >= 14);
    newest.for_each(|record| add(&mut writer, record));
    writer.take_tables(world.tables(3).into_iter().rev().collect()).unwrap();
    let mut writer = ingest(&store);
    assert_eq!(writer.next_segment(), 3);
    while let Some(wanted) = writer.missing(100).entries {
        let entries = wanted.map(|period| (period, world.encoded(period).entry));
        writer.take_entries(entries.collect()).unwrap();
    }
    let mut writer = ingest(&store);
    assert!(!writer.looks_for_borders());
    while let Some(wanted) = writer.missing(100).wanted.first().copied() {
        let mut blocks = world.blocks.iter();
        add(
            &mut writer,
            blocks.find(|record| id_of(record, THREADS) == wanted.id).unwrap(),
        );
    }
    assert_eq!(store.table(3).unwrap().unwrap().root(), world.tables(4)[3].root());
    assert_sound(&store);
}

#[test]
fn rows_that_are_given_up_are_gone_and_come_by_their_table() {
    let world = World::new(29, 26, 5_000);
    let late = world.slot_in(1);
    let directory = tempdir().unwrap();
    let store = store(directory.path(), &world, None);
    let limit = 400_000;
    let mut writer = try_ingest(&store, limit).unwrap();
    for record in world.blocks.iter().filter(|record| slot_of(record, THREADS) != late) {
        writer.add(record.clone()).unwrap();
        assert!(store.counters().unwrap().pending_bytes <= limit);
    }
    let mut writer = try_ingest(&store, limit).unwrap();
    let given_up = writer.missing(1).by_table;
    assert!(!given_up.is_empty());
    add(&mut writer, world.block(late));
    let tables = world.tables(6);
    writer
        .take_tables(
            given_up
                .iter()
                .map(|segment| tables[*segment as usize].clone())
                .collect(),
        )
        .unwrap();
    close_all(&mut writer).unwrap();
    for table in &tables {
        let stored = store.table(table.header().segment).unwrap().unwrap();
        assert_eq!(stored.root(), table.root());
    }
    assert_sound(&store);
}

#[test]
fn a_segment_that_turned_out_other_is_replaced_with_those_after_it() {
    let world = World::new(31, 14, 3_000);
    let directory = tempdir().unwrap();
    let store = store(directory.path(), &world, None);
    let mut writer = ingest(&store);
    world.blocks.iter().for_each(|record| add(&mut writer, record));
    let accepted = world.segments(3, &[5]);
    writer.replace(accepted[1].0.clone()).unwrap();
    for (table, _) in &accepted {
        let segment = table.header().segment;
        assert_eq!(store.table(segment).unwrap().unwrap().root(), table.root());
        assert_eq!(store.segment_root(segment).unwrap(), Some(table.root()));
    }
    let whole = accepted[2].0.header().chunk_count();
    assert_eq!(store.held(2).unwrap().chunks, whole, "its chunks stay");
    assert_sound(&store);
}

#[test]
fn a_lost_period_is_on_the_disk_with_its_ids() {
    let world = World::new(17, 14, 3_000);
    let lost = 6;
    let late = world.slot_in(lost);
    let directory = tempdir().unwrap();
    let store = store(directory.path(), &world, None);
    let mut writer = ingest(&store);
    let others = world.blocks.iter().filter(|record| slot_of(record, THREADS) != late);
    others.for_each(|record| add(&mut writer, record));
    writer.enter_lost(&[(lost, world.lost_entry(lost))]).unwrap();
    let mut writer = ingest(&store);
    close_all(&mut writer).unwrap();
    let expected = world.segments(3, &[lost]);
    for (table, _) in &expected {
        assert_eq!(
            store.table(table.header().segment).unwrap().unwrap().root(),
            table.root()
        );
    }
    let id = id_of(world.block(late), THREADS);
    assert_eq!(store.slot(late).unwrap(), SlotRead::Lost(id));
    assert_eq!(store.counters().unwrap().lost_periods, 1);
    assert_sound(&store);
}

fn try_import(store: &Arc<SegmentStore>) -> Taken<StoreIngest> {
    let options = IngestOptions {
        acknowledge: Acknowledge::AtClose,
        keep: keep_all(),
        held_back_bytes_max: NO_LIMIT,
    };
    Ok(Ingest::open(Arc::clone(store), options)?.0)
}

#[test]
fn a_segment_in_memory_is_closed_like_one_of_rows_and_leaves_no_block_row() {
    let world = World::new(5, 13, 9_000);
    let directory = tempdir().unwrap();
    let store = store(directory.path(), &world, None);
    let mut import = try_import(&store).unwrap();
    for record in &world.blocks {
        add(&mut import, record);
        assert_eq!(store.counters().unwrap().pending_blocks, 0);
    }
    assert_holds(&store, &world, 3);
}

#[test]
fn blocks_are_taken_while_the_segment_before_is_written() {
    let world = World::new(5, 13, 9_000);
    let directory = tempdir().unwrap();
    let store = store(directory.path(), &world, None);
    let mut import = try_import(&store).unwrap();
    let mut taken_meanwhile = 0;
    for record in &world.blocks {
        let closing = import.is_closing();
        let progress = import.add(record.clone()).unwrap();
        assert_eq!(progress.stalled, None);
        taken_meanwhile += u32::from(closing && !progress.known);
        import.close_slice().unwrap();
    }
    assert!(taken_meanwhile > 0);
    close_all(&mut import).unwrap();
    assert_holds(&store, &world, 3);
}

/// What a segment in memory had is read again: from the first block, or from wherever the last closed segment ends.
#[test]
fn an_import_that_is_cut_off_at_any_write_ends_in_the_same_segments() {
    let world = World::new(7, 13, 15_000);
    let counted = Tamper::default();
    let directory = tempdir().unwrap();
    let whole = store(directory.path(), &world, Some(&counted));
    let mut import = try_import(&whole).unwrap();
    world.blocks.iter().for_each(|record| add(&mut import, record));
    let writes = counted.writes();
    for failing in 0..writes {
        for failure in [Failure::Before, Failure::After] {
            let tamper = Tamper::default();
            let directory = tempdir().unwrap();
            let cut = store(directory.path(), &world, Some(&tamper));
            let fault = WriteFault::Failed("a test".into());
            tamper.fail(tamper.writes() + failing, 1, failure, fault);
            let mut import = try_import(&cut).unwrap();
            // As the command does it: blocks of the next segment come while slices of this one are written.
            let failed = world.blocks.iter().any(|record| match import.add(record.clone()) {
                Ok(progress) => progress.stalled.is_some() || import.close_slice().is_err(),
                Err(_) => true,
            });
            assert!(failed || close_all(&mut import).is_err() || import.finish().is_err());
            drop(import);
            cut.close();
            let again = store(directory.path(), &world, None);
            let mut import = try_import(&again).unwrap();
            assert_eq!(close_all(&mut import).unwrap().stalled, None);
            world.blocks.iter().for_each(|record| add(&mut import, record));
            assert_holds(&again, &world, 3);
        }
    }
}

/// The blocks of a segment that is not whole become rows; a later file goes on with them, and so does a node.
#[test]
fn what_is_open_at_the_end_becomes_rows_that_the_next_import_goes_on_from() {
    let world = World::new(11, 13, 4_000);
    for blocks in [1, 9, 20, 30] {
        for node in [false, true] {
            let directory = tempdir().unwrap();
            let first = store(directory.path(), &world, None);
            let mut import = try_import(&first).unwrap();
            world.blocks[..blocks]
                .iter()
                .for_each(|record| add(&mut import, record));
            import.finish().unwrap();
            for record in &world.blocks[..blocks] {
                let read = first.slot(slot_of(record, THREADS)).unwrap();
                assert_eq!(read, SlotRead::Block(record.clone()), "after {blocks} blocks");
            }
            drop(import);
            first.close();
            let next = store(directory.path(), &world, None);
            let mut import = if node {
                ingest(&next)
            } else {
                try_import(&next).unwrap()
            };
            world.blocks[blocks..]
                .iter()
                .for_each(|record| add(&mut import, record));
            assert_holds(&next, &world, 3);
        }
    }
}

/// Segments of today's chain: near-empty blocks of all threads.
#[test]
fn pages_of_near_empty_blocks_are_packed_when_their_segment_closes_and_written_once() {
    let mut generator = Generator::new(GeneratorConfig {
        seed: 21,
        false_signatures: true,
        ..GeneratorConfig::near_empty()
    });
    let parameters = ArchiveParameters {
        segment_periods: 25,
        ..generator.parameters()
    };
    let records: Vec<BlockRecord> = (0..2 * parameters.segment_periods + 10)
        .flat_map(|_| generator.next_period())
        .flatten()
        .collect();
    let share = |packing: Packing| {
        let directory = tempdir().unwrap();
        let options = SegmentStoreOptions::new(directory.path());
        let store = Arc::new(SegmentStore::open_or_create(options, &parameters).unwrap());
        let options = IngestOptions {
            acknowledge: Acknowledge::AtFinish,
            keep: keep_all(),
            held_back_bytes_max: NO_LIMIT,
        };
        let mut ingest = Ingest::open(Arc::clone(&store), options).unwrap().0;
        ingest.set_packing(packing);
        records.iter().for_each(|record| add(&mut ingest, record));
        let counters = store.counters().unwrap();
        assert_eq!((counters.segments, counters.chunks_held), (2, counters.chunks));
        store.database().flush().unwrap();
        // Pages are in tables that were taken in, and in nothing else.
        let ingested = store.database().statistics().ingested_bytes;
        let of_record = |record: &BlockRecord| slot_of(record, parameters.thread_count).period;
        let last = parameters.first_period + 2 * parameters.segment_periods;
        for record in records.iter().filter(|record| of_record(record) < last).step_by(97) {
            let slot = slot_of(record, parameters.thread_count);
            assert_eq!(store.slot(slot).unwrap(), SlotRead::Block(record.clone()));
        }
        let plain = counters.bytes_held as f64;
        (counters.bytes_stored as f64 / plain, ingested as f64 / plain)
    };
    let (plain, packed) = (share(Packing::Plain), share(Packing::Packed));
    println!("stored and written of the plain bytes without signatures: plain {plain:?}, packed {packed:?}");
    assert!(plain.0 > 1.0 && plain.1 < 1.1, "{plain:?}");
    assert!(packed.0 / plain.0 < 0.6 && packed.1 / plain.0 < 0.61, "{packed:?}");
}
