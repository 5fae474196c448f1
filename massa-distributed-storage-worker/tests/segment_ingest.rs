//! The writer: whatever the order of blocks, whatever ends the process and whenever, the same segments come out.

mod common;

use common::memory_rows::{Failing, MemoryError, MemoryRows};
use common::world::{World, NO_LIMIT, SEGMENT_PERIODS, THREADS};
use common::{id_of, slot_of};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable};
use massa_distributed_storage_worker::archive::ingest::{
    keep_all, Acknowledge, Ingest, IngestError, IngestOptions, Keep, KeepChunk, Progress,
};
use massa_distributed_storage_worker::archive::slots::Border;
use massa_distributed_storage_worker::chunking::segment::FinishedChunk;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::Arc;

fn rows_of(world: &World) -> Arc<MemoryRows> {
    Arc::new(MemoryRows::new(&world.parameters))
}

type TestIngest = Ingest<MemoryRows>;
type Taken = Result<Progress, IngestError<MemoryError>>;

fn options(keep: KeepChunk, held_back_bytes_max: u64) -> IngestOptions {
    IngestOptions {
        acknowledge: Acknowledge::EachBlock,
        keep,
        held_back_bytes_max,
    }
}

fn try_open(rows: &Arc<MemoryRows>) -> Result<TestIngest, IngestError<MemoryError>> {
    let (ingest, _) = Ingest::open(Arc::clone(rows), options(keep_all(), NO_LIMIT))?;
    Ok(ingest)
}

fn open(rows: &Arc<MemoryRows>) -> TestIngest {
    try_open(rows).unwrap()
}

/// Closes what can be closed.
fn close_all(ingest: &mut TestIngest) -> Taken {
    let mut closed = Progress::default();
    while ingest.is_closing() {
        let progress = ingest.close_slice()?;
        closed.stalled = progress.stalled.or(closed.stalled);
        closed.closed.extend(progress.closed);
        closed.archived.extend(progress.archived);
    }
    Ok(closed)
}

fn add(ingest: &mut TestIngest, record: &BlockRecord) -> Progress {
    let mut progress = ingest.add(record.clone()).unwrap();
    assert_eq!(progress.stalled, None);
    let closed = close_all(ingest).unwrap();
    assert_eq!(closed.stalled, None);
    progress.closed.extend(closed.closed);
    progress.archived.extend(closed.archived);
    progress
}

fn add_all<'a>(ingest: &mut TestIngest, records: impl IntoIterator<Item = &'a BlockRecord>) -> Vec<Progress> {
    records.into_iter().map(|record| add(ingest, record)).collect()
}

fn assert_segments(rows: &MemoryRows, expected: &[(SegmentTable, Vec<FinishedChunk>)]) {
    let state = rows.state();
    let tables: Vec<_> = state.tables.values().collect();
    let roots: Vec<_> = tables.iter().map(|table| table.root()).collect();
    assert_eq!(
        roots,
        expected.iter().map(|(table, _)| table.root()).collect::<Vec<_>>()
    );
    let chunks = expected.iter().flat_map(|(_, chunks)| chunks);
    assert!(state.chunks.values().eq(chunks));
}

#[test]
fn blocks_in_order_give_the_segments_of_the_chain() {
    let world = World::new(1, 14, 9_000);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let progress = add_all(&mut ingest, &world.blocks);
    assert_segments(&rows, &world.segments(3, &[]));
    let closed: Vec<_> = progress.iter().flat_map(|progress| &progress.closed).collect();
    let tables = world.tables(3);
    for (closed, table) in closed.iter().zip(&tables) {
        assert_eq!((closed.segment, closed.root), (table.header().segment, table.root()));
        assert_eq!(
            (closed.kept, closed.chunks),
            (table.header().chunk_count(), table.header().chunk_count())
        );
        assert!(closed.derived);
    }
    assert_eq!(closed.len(), 3);
    let archived: Vec<_> = progress.iter().flat_map(|progress| &progress.archived).collect();
    assert!(
        archived.iter().map(|archived| archived.period).eq(0..14),
        "each period joins once, in order"
    );
    for archived in archived {
        let records = world.periods[archived.period as usize].iter().flatten();
        assert_eq!(archived.blocks, records.clone().count());
        assert_eq!(
            archived.operations,
            records.map(BlockRecord::operation_count).sum::<usize>()
        );
    }
    assert_eq!(ingest.newest_joined(), Some(13));
}

/// Block rows of a closed segment stay until the next one is closed, and no longer.
#[test]
fn rows_end_one_segment_later() {
    let world = World::new(1, 14, 100);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    for record in &world.blocks {
        add(&mut ingest, record);
        let state = rows.state();
        let closed = state.tables.len() as u64;
        let oldest = state.blocks.keys().next().unwrap().period;
        assert_eq!(oldest / SEGMENT_PERIODS, closed.saturating_sub(1));
    }
}

#[test]
fn a_period_tells_its_chunks_and_which_one_is_filling() {
    use massa_distributed_storage_worker::archive::lines::{archived_line, assigned_line};
    let world = World::new(5, 9, 12_000);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let progress = add_all(&mut ingest, &world.blocks);
    let archived: Vec<_> = progress.into_iter().flat_map(|progress| progress.archived).collect();
    let mut finished = 0;
    for period in &archived {
        let first = period.chunks.clone().next().unwrap();
        assert!(period.finished.iter().all(|(index, _)| period.chunks.contains(index)));
        assert_eq!(
            archived_line(period),
            format!(
                "Archived period {}: {} blocks, {} operations, {} chunks",
                period.period,
                period.blocks,
                period.operations,
                period.chunks.end - first
            )
        );
        let line = assigned_line(period, &[], &[]);
        match (period.finished.is_empty(), period.filling) {
            (true, Some(filling)) => {
                assert_eq!(
                    line,
                    format!("Chunks assigned to nodes: none (chunk {filling} is filling)")
                );
            }
            _ => assert_eq!(line, "Chunks assigned to nodes: none"),
        }
        finished += period.finished.len();
    }
    assert!(finished > 2, "the example fills chunks");
    let ids: BTreeSet<_> = world
        .tables(2)
        .iter()
        .flat_map(|table| table.chunk_ids().to_vec())
        .collect();
    let told = archived
        .iter()
        .flat_map(|period| period.finished.iter().map(|(_, id)| *id));
    assert!(
        told.filter(|id| !ids.contains(id)).count() <= 1,
        "of the last, open segment at most"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_order_and_a_restart_after_every_block_give_the_same_segments(
        seed in any::<u64>(),
        window in 1usize..40,
        operation_bytes in prop_oneof![100usize..500, 8_000usize..20_000],
        restart_one_in in 1usize..4,
    ) {
        let world = World::new(seed, 13, operation_bytes);
        let rows = rows_of(&world);
        let mut blocks = world.blocks.clone();
        let mut random = ChaCha20Rng::seed_from_u64(seed);
        blocks.chunks_mut(window).for_each(|part| part.shuffle(&mut random));
        let mut ingest = open(&rows);
        for (number, record) in blocks.iter().enumerate() {
            ingest.add(record.clone()).unwrap();
            if number % restart_one_in == 0 {
                ingest = open(&rows);
            }
            if number % 5 == 0 {
                prop_assert_eq!(close_all(&mut ingest).unwrap().stalled, None);
            }
        }
        prop_assert_eq!(close_all(&mut ingest).unwrap().stalled, None);
        prop_assert_eq!(ingest.missing(100).wanted, vec![]);
        prop_assert_eq!(ingest.blocked(), None);
        assert_segments(&rows, &world.segments(3, &[]));
        let state = rows.state();
        prop_assert!(state.links.is_empty());
    }
}

/// Every write of a run fails once, written or not; the process is started again, and the block that was not acknowledged comes
/// again.
#[test]
fn a_write_that_fails_anywhere_changes_no_root() {
    let world = World::new(7, 9, 15_000);
    let expected = world.segments(2, &[]);
    let rows = rows_of(&world);
    add_all(&mut open(&rows), &world.blocks);
    let writes = rows.writes.load(Ordering::Relaxed);
    assert!(writes > 40);
    for failing in 0..writes {
        for how in [Failing::NotWritten, Failing::Written] {
            for restart in [false, true] {
                let rows = rows_of(&world);
                rows.fail_after(failing, how);
                run_with_a_failure(&world, &rows, restart);
                assert_segments(&rows, &expected);
            }
        }
    }
}

fn run_with_a_failure(world: &World, rows: &Arc<MemoryRows>, restart: bool) {
    let mut ingest = try_open(rows).unwrap_or_else(|_| open(rows));
    for record in &world.blocks {
        let failed = match ingest.add(record.clone()) {
            Ok(progress) => progress.stalled.is_some() || close_all(&mut ingest).is_err(),
            Err(_) => true,
        };
        if failed && restart {
            ingest = try_open(rows).unwrap_or_else(|_| open(rows));
        }
        if failed {
            ingest.add(record.clone()).unwrap();
            ingest.advance().unwrap();
            close_all(&mut ingest).unwrap();
        }
    }
}

/// As [`assert_segments`]; which objects begin in a chunk is not asked: an import cuts its chunks once, without them.
fn assert_closed(rows: &MemoryRows, expected: &[(SegmentTable, Vec<FinishedChunk>)]) {
    let state = rows.state();
    let roots: Vec<_> = state.tables.values().map(SegmentTable::root).collect();
    assert_eq!(
        roots,
        expected.iter().map(|(table, _)| table.root()).collect::<Vec<_>>()
    );
    let stored = |chunk: &FinishedChunk| (chunk.index, chunk.row, chunk.pages.clone(), chunk.signatures.clone());
    let chunks = expected.iter().flat_map(|(_, chunks)| chunks);
    assert!(state.chunks.values().map(stored).eq(chunks.map(stored)));
}

/// An import writes slices on a thread of its own: a write that fails there is told, and nothing is closed without its chunks.
#[test]
fn an_import_hears_of_a_write_that_fails_behind_it() {
    let world = World::new(7, 9, 15_000);
    let expected = world.segments(2, &[]);
    let import = |rows: &Arc<MemoryRows>| -> Taken {
        let mut options = options(keep_all(), NO_LIMIT);
        options.acknowledge = Acknowledge::AtClose;
        let (mut ingest, mut all) = Ingest::open(Arc::clone(rows), options)?;
        for record in &world.blocks {
            let progress = ingest.add(record.clone())?;
            all.stalled = progress.stalled.or(all.stalled);
            ingest.close_slice()?;
        }
        close_all(&mut ingest)?;
        ingest.finish()?;
        Ok(all)
    };
    let whole = rows_of(&world);
    assert_eq!(import(&whole).unwrap().stalled, None);
    assert_closed(&whole, &expected);
    for failing in 0..whole.writes.load(Ordering::Relaxed) {
        for how in [Failing::NotWritten, Failing::Written] {
            let rows = rows_of(&world);
            rows.fail_after(failing, how);
            let told = import(&rows).map_or(true, |all| all.stalled.is_some());
            assert!(told, "write {failing}");
            import(&rows).unwrap();
            assert_closed(&rows, &expected);
        }
    }
}

/// A closed segment waits for nothing but the ones before it: one gap does not stop later segments from joining.
#[test]
fn segments_behind_a_gap_join_and_are_closed_in_order_when_it_is_filled() {
    let world = World::new(3, 18, 100);
    let late = world.slot_in(5);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let others = world.blocks.iter().filter(|record| slot_of(record, THREADS) != late);
    add_all(&mut ingest, others);
    assert_eq!(rows.state().tables.len(), 1);
    let blocked = ingest.blocked().unwrap();
    assert_eq!((blocked.segment, blocked.slot, blocked.waiting), (1, late, 2));
    assert_eq!(ingest.newest_joined(), Some(4));
    let missing = ingest.missing(100);
    assert_eq!(missing.first_open_segment, 1);
    assert_eq!(missing.blocked, Some(blocked));
    assert_eq!(missing.periods[0].period, 5);
    assert!(!missing.periods[0].here.contains(&late.thread));
    let wanted = id_of(world.block(late), THREADS);
    assert!(missing
        .wanted
        .iter()
        .any(|block| block.id == wanted && block.before > 5));

    let mut ingest = open(&rows);
    let progress = add(&mut ingest, world.block(late));
    let closed: Vec<u64> = progress.closed.iter().map(|closed| closed.segment).collect();
    assert_eq!(closed, [1, 2, 3]);
    assert_segments(&rows, &world.segments(4, &[]));
    assert_eq!(ingest.blocked(), None);
}

/// Holders hold, those ranked next keep, others never write a chunk.
#[test]
fn only_chunks_that_are_kept_are_cut() {
    let world = World::new(11, 9, 20_000);
    let keep = |position: massa_distributed_storage_exports::ChunkPosition| match position.index.0 % 3 {
        0 => Some(Keep::Holder),
        1 => Some(Keep::Backup),
        _ => None,
    };
    let rows = rows_of(&world);
    let keep_some: KeepChunk = Box::new(move |position, _| keep(position));
    let (mut ingest, _) = Ingest::open(Arc::clone(&rows), options(keep_some, NO_LIMIT)).unwrap();
    add_all(&mut ingest, &world.blocks);
    let expected = world.segments(2, &[]);
    let kept: Vec<_> = expected
        .iter()
        .flat_map(|(_, chunks)| chunks)
        .filter(|chunk| chunk.index % 3 != 2)
        .collect();
    let state = rows.state();
    assert!(kept.len() > 4);
    assert_eq!(state.chunks.values().collect::<Vec<_>>(), kept);
    for ((segment, index), kept_as) in &state.keeps {
        let position = massa_distributed_storage_exports::ChunkPosition::new(*segment, *index).unwrap();
        assert_eq!(Some(*kept_as), keep(position), "chunk {position}");
    }
}

#[test]
fn a_header_makes_its_slot_missing_until_the_block_comes() {
    let world = World::new(13, 9, 100);
    let late = world.slot_in(2);
    let record = world.block(late);
    let view = record.view(THREADS).unwrap();
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    for other in &world.blocks {
        if slot_of(other, THREADS) == late {
            ingest
                .note_header(late, view.block_id(), view.same_thread_parent())
                .unwrap();
            ingest = open(&rows);
        } else {
            add(&mut ingest, other);
        }
    }
    assert_eq!(ingest.missing_slots().get(&late), Some(&Some(view.block_id())));
    let wanted = ingest.missing(10).wanted;
    assert_eq!((wanted[0].id, wanted[0].period), (view.block_id(), Some(2)));
    add(&mut ingest, record);
    assert!(ingest.missing_slots().is_empty() && rows.state().missing.is_empty());
    assert_segments(&rows, &world.segments(2, &[]));
}

#[test]
fn a_lost_period_joins_by_its_accepted_entry() {
    for lost in [4u64, 5, 7] {
        // The id of the block can be derived: the next slot of its thread has a block, which names it, and so has the one before.
        let has_block = |world: &World, period: u64| world.periods[period as usize][0].is_some();
        let mut worlds = (0..).map(|seed| World::new(seed, 13, 3_000));
        let world = worlds
            .find(|world| (lost - 1..=lost + 1).all(|period| has_block(world, period)))
            .unwrap();
        let rows = rows_of(&world);
        let mut ingest = open(&rows);
        let late = Slot::new(lost, 0);
        let others = world.blocks.iter().filter(|record| slot_of(record, THREADS) != late);
        add_all(&mut ingest, others);
        let expected = world.segments(3, &[lost]);
        assert_eq!(rows.state().tables.len(), 1);

        let open_segment = ingest.open_segment().unwrap();
        assert_eq!(open_segment.segment, 1);
        let (period, ids) = &open_segment.periods[0];
        let entry = world.lost_entry(lost);
        assert_eq!((*period, ids.clone()), (lost, Some(entry.ids().collect())));
        let proposal = BTreeMap::from([(lost, entry.clone())]);
        assert_eq!(
            ingest.table_with_lost(&proposal).unwrap().as_ref(),
            Some(&expected[1].0)
        );
        assert_eq!(ingest.table_with_lost(&BTreeMap::new()).unwrap(), None);

        let mut ingest = open(&rows);
        let progress = ingest.enter_lost(&[(lost, entry.clone())]).unwrap();
        assert!(progress
            .archived
            .iter()
            .any(|archived| archived.period == lost && archived.lost));
        let mut ingest = open(&rows);
        close_all(&mut ingest).unwrap();
        assert_segments(&rows, &expected);
        // Too late.
        assert!(ingest.add(world.block(late).clone()).unwrap().known);
    }
}

/// A joiner keeps the blocks of the segment in which it began; what is before comes by tables, and the border by entries.
#[test]
fn a_joiner_in_the_middle_of_a_segment_goes_on_from_tables() {
    let world = World::new(19, 18, 3_000);
    let tables = world.tables(3);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let from = 14;
    let newest = world
        .blocks
        .iter()
        .filter(|record| slot_of(record, THREADS).period >= from);
    add_all(&mut ingest, newest);
    assert!(
        ingest.missing(100).entries.is_none(),
        "the archive's first blocks are linked to by links"
    );

    // Tables come in any order, from several peers.
    let taken = ingest.take_tables(vec![tables[2].clone()]).unwrap();
    assert_eq!(taken.taken, [2]);
    assert_eq!(ingest.next_segment(), 0);
    let taken = ingest
        .take_tables(vec![tables[0].clone(), tables[1].clone(), tables[2].clone()])
        .unwrap();
    assert_eq!((taken.taken, taken.known), (vec![0, 1], vec![2]));
    assert_eq!(ingest.next_segment(), 3);
    let mut ingest = open(&rows);
    assert!(ingest
        .tracker()
        .borders()
        .iter()
        .all(|border| *border == Border::Unknown));

    let entries = ingest.missing(100).entries.unwrap();
    assert_eq!(entries, 0..=11);
    let of = |period: u64| (period, world.encoded(period).entry);
    let other = (11, world.encoded(10).entry);
    let refused = ingest.take_entries(vec![other]).unwrap_err();
    assert!(matches!(refused, IngestError::OtherEntry { period: 11, .. }));
    ingest.take_entries(vec![of(11)]).unwrap();
    let mut periods = entries.rev().skip(1);
    while let Some(wanted) = ingest.missing(100).entries {
        let period = periods.next().unwrap();
        assert_eq!(*wanted.end(), period);
        ingest.take_entries(vec![of(period)]).unwrap();
    }
    let mut ingest = open(&rows);
    assert!(!ingest.looks_for_borders(), "what was found is kept");
    // The first blocks of the segment come by links: each is asked for by its id.
    for _ in 0..100 {
        let Some(wanted) = ingest.missing(100).wanted.first().copied() else {
            break;
        };
        let found = world
            .blocks
            .iter()
            .find(|record| id_of(record, THREADS) == wanted.id)
            .unwrap();
        assert!(slot_of(found, THREADS).period < wanted.before);
        add(&mut ingest, found);
    }
    let expected = world.segments(4, &[]);
    let state = rows.state();
    assert_eq!(state.tables[&3], expected[3].0);
    assert!(state.chunks.values().eq(expected[3].1.iter()));
}

#[test]
fn a_segment_whose_blocks_are_all_here_is_closed_from_them_and_not_by_its_table() {
    let world = World::new(23, 14, 3_000);
    let late = world.slot_in(1);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let others = world.blocks.iter().filter(|record| slot_of(record, THREADS) != late);
    add_all(&mut ingest, others);
    let tables = world.tables(3);
    let taken = ingest.take_tables(tables).unwrap();
    assert_eq!((taken.taken, taken.own), (vec![0], vec![1, 2]));
    // The entries of the segment's rows are gone with it: the border is asked for.
    let entries = ingest.missing(10).entries;
    assert_eq!(entries, Some(0..=3));
    close_all(&mut ingest).unwrap();
    let state = rows.state();
    let expected = world.segments(3, &[]);
    assert!(state.tables.values().eq(expected.iter().map(|(table, _)| table)));
    assert!(state
        .chunks
        .values()
        .eq(expected[1..].iter().flat_map(|(_, chunks)| chunks)));
    assert!(
        !ingest.looks_for_borders(),
        "the segments that were closed here tell it"
    );
}

/// Above its limit, the newest of what waits behind a gap is given up, and comes by its table.
#[test]
fn what_waits_behind_a_gap_is_bounded() {
    let world = World::new(29, 26, 5_000);
    let late = world.slot_in(1);
    let rows = rows_of(&world);
    let limit = 400_000;
    let (mut ingest, _) = Ingest::open(Arc::clone(&rows), options(keep_all(), limit)).unwrap();
    let mut given_up = BTreeSet::new();
    for record in world.blocks.iter().filter(|record| slot_of(record, THREADS) != late) {
        let progress = ingest.add(record.clone()).unwrap();
        given_up.extend(progress.given_up);
        let segment = slot_of(record, THREADS).period / SEGMENT_PERIODS;
        assert!(progress.refused || !given_up.contains(&segment) || ingest.missing(1).by_table.contains(&segment));
        assert!(ingest.held_back_bytes() <= limit);
        let bytes: usize = rows.state().blocks.values().map(|record| record.as_bytes().len()).sum();
        assert!(bytes as u64 <= limit);
    }
    assert!(!given_up.is_empty() && !given_up.contains(&0), "{given_up:?}");
    let kept = given_up.iter().next().copied().unwrap();
    assert!(kept > 1, "{given_up:?}");

    let (mut ingest, _) = Ingest::open(Arc::clone(&rows), options(keep_all(), limit)).unwrap();
    assert_eq!(ingest.missing(1).by_table, given_up.iter().copied().collect::<Vec<_>>());
    let progress = add(&mut ingest, world.block(late));
    assert_eq!(progress.closed.len() as u64, kept);
    assert_eq!(ingest.next_segment(), kept);
    let tables = world.tables(6);
    let wanted: Vec<_> = given_up
        .iter()
        .map(|segment| tables[*segment as usize].clone())
        .collect();
    ingest.take_tables(wanted).unwrap();
    assert_eq!(ingest.missing(1).by_table, [0; 0]);
    close_all(&mut ingest).unwrap();
    assert!(rows.state().tables.values().eq(tables.iter()));
}

#[test]
fn a_segment_that_turned_out_other_is_replaced_and_later_ones_are_chained_anew() {
    let world = World::new(31, 14, 3_000);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    add_all(&mut ingest, &world.blocks);
    let expected = world.segments(3, &[5]);
    let before = rows.state();
    let borders = ingest.tracker().borders().to_vec();
    let progress = ingest.replace(expected[1].0.clone()).unwrap();
    let closed: Vec<_> = progress
        .closed
        .iter()
        .map(|closed| (closed.segment, closed.root))
        .collect();
    assert_eq!(closed, [(1, expected[1].0.root()), (2, expected[2].0.root())]);
    let state = rows.state();
    assert!(state.tables.values().eq(expected.iter().map(|(table, _)| table)));
    let of_segment = |segment: u64| move |((of, _), _): &(&(u64, u32), &FinishedChunk)| *of == segment;
    assert!(state
        .chunks
        .iter()
        .filter(of_segment(2))
        .eq(before.chunks.iter().filter(of_segment(2))));
    let stay = expected[1]
        .1
        .iter()
        .filter(|chunk| before.chunks[&(1, chunk.index)].row == chunk.row);
    assert_eq!(state.chunks.iter().filter(of_segment(1)).count(), stay.count());
    // The next segment follows on the new root.
    let mut ingest = open(&rows);
    // The entries of the newest closed segment are still here; a thread without a block there is asked for.
    let found = ingest.tracker().borders().to_vec();
    let unknown = found.iter().filter(|border| **border == Border::Unknown).count();
    assert!(unknown < usize::from(THREADS));
    assert!(found
        .iter()
        .zip(&borders)
        .all(|(found, before)| *found == Border::Unknown || found == before));
    assert_eq!(ingest.missing(1).entries, (unknown > 0).then_some(0..=7));
    let unknown = ingest.replace(
        SegmentTable::new(
            SegmentHeader {
                segment: 3,
                first_period: 12,
                ..*expected[1].0.header()
            },
            expected[1].0.periods().to_vec(),
            expected[1].0.chunk_ids().to_vec(),
        )
        .unwrap(),
    );
    assert!(matches!(unknown, Err(IngestError::NoTable { segment: 3 })));
}

/// Whoever joins a chain of millions of periods is told what to ask for at the cost of what is open.
#[test]
fn what_a_joiner_lacks_is_counted_without_walking_it() {
    let world = World::new(2, 9, 100);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let far = 1 << 50;
    let id = |number: u8| massa_models::block_id::BlockId::new(massa_hash::Hash::compute_from(&[number]));
    ingest.note_header(Slot::new(far, 0), id(1), Some(id(2))).unwrap();
    let missing = ingest.missing(64);
    let periods: Vec<u64> = missing.periods.iter().map(|missing| missing.period).collect();
    assert_eq!(periods[..5], [0, 1, 2, 3, far]);
    assert_eq!((periods.len(), missing.more_periods), (64, far + 1 - 64));
    assert_eq!(missing.wanted.len(), 2);
}

/// A block whose row is damaged cannot be had any more: then the segment is closed by its table all the same.
#[test]
fn a_segment_with_a_damaged_row_takes_its_table() {
    let world = World::new(37, 9, 20_000);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let until = |record: &&BlockRecord| slot_of(record, THREADS).period < SEGMENT_PERIODS - 1;
    add_all(&mut ingest, world.blocks.iter().filter(until));
    rows.damaged.lock().unwrap().insert(world.slot_in(0));
    let mut ingest = open(&rows);
    for record in world.blocks.iter().filter(|record| !until(record)) {
        ingest.add(record.clone()).unwrap();
        let _ = close_all(&mut ingest);
    }
    assert_eq!(rows.state().tables.len(), 0);
    let taken = ingest.take_tables(world.tables(1)).unwrap();
    assert_eq!(taken.taken, [0]);
    let entries = (0..SEGMENT_PERIODS).map(|period| (period, world.encoded(period).entry));
    ingest.take_entries(entries.collect()).unwrap();
    close_all(&mut ingest).unwrap();
    assert!(rows.state().tables.values().eq(world.tables(2).iter()));
}

/// The row of a block that joined is damaged when its segment is closed: the block is asked for, and closing goes on with it.
#[test]
fn a_damaged_block_row_is_asked_for_again() {
    let world = World::new(37, 9, 20_000);
    for slot in [world.slot_in(0), world.slot_in(2)] {
        let rows = rows_of(&world);
        let mut ingest = open(&rows);
        let (before, after): (Vec<_>, Vec<_>) = world
            .blocks
            .iter()
            .partition(|record| slot_of(record, THREADS).period < SEGMENT_PERIODS - 1);
        add_all(&mut ingest, before);
        rows.damaged.lock().unwrap().insert(slot);
        let mut ingest = open(&rows);
        let mut faults = 0;
        for record in after {
            let progress = ingest.add(record.clone()).unwrap();
            faults += usize::from(progress.stalled.is_some()) + usize::from(close_all(&mut ingest).is_err());
        }
        assert!(faults > 0);
        let id = id_of(world.block(slot), THREADS);
        assert!(ingest.missing(10).wanted.iter().any(|wanted| wanted.id == id), "{slot}");
        add(&mut ingest, world.block(slot));
        ingest.advance().unwrap();
        close_all(&mut ingest).unwrap();
        assert_segments(&rows, &world.segments(2, &[]));
    }
}

#[test]
fn blocks_that_contradict_are_refused_and_known_ones_change_nothing() {
    let world = World::new(41, 9, 100);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    add_all(&mut ingest, &world.blocks);
    let before = rows.state();
    for record in &world.blocks {
        assert!(add(&mut ingest, record).known);
    }
    let other = World::new(42, 9, 100);
    for record in &other.blocks {
        assert!(matches!(
            ingest.add(record.clone()),
            Ok(Progress { known: true, .. }) | Err(IngestError::Slot(_))
        ));
    }
    assert_eq!(rows.state(), before);
    let mut foreign = world.tables(1).remove(0);
    foreign = SegmentTable::new(
        SegmentHeader {
            chain_id: 1,
            ..*foreign.header()
        },
        foreign.periods().to_vec(),
        foreign.chunk_ids().to_vec(),
    )
    .unwrap();
    let refused = ingest.take_tables(vec![foreign]).unwrap_err();
    assert!(matches!(refused, IngestError::Table { segment: 0, .. }));
}

/// What a block costs does not grow with what is closed.
#[test]
fn a_block_costs_the_same_after_many_segments() {
    let world = World::new(43, 201, 100);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let mut costs = Vec::new();
    for part in world.periods.chunks(40) {
        let reads = rows.reads.load(Ordering::Relaxed);
        let writes = rows.writes.load(Ordering::Relaxed);
        let blocks: Vec<_> = part.iter().flatten().flatten().collect();
        let count = blocks.len() as u64;
        add_all(&mut ingest, blocks);
        let per_block = |now: u64, before: u64| (now - before) * 100 / count;
        costs.push((
            per_block(rows.reads.load(Ordering::Relaxed), reads),
            per_block(rows.writes.load(Ordering::Relaxed), writes),
        ));
    }
    let (first, last) = (costs[0], costs[4]);
    assert!(
        last.0 <= first.0 * 11 / 10 + 1 && last.1 <= first.1 * 11 / 10 + 1,
        "{costs:?}"
    );
    let before = rows.reads.load(Ordering::Relaxed);
    ingest.missing(64);
    assert_eq!(
        rows.reads.load(Ordering::Relaxed),
        before,
        "what is missing is known from memory"
    );
}

#[test]
fn a_file_that_ends_with_whole_periods_needs_the_callers_word() {
    let world = World::new(47, 8, 100);
    let rows = rows_of(&world);
    let mut ingest = open(&rows);
    let but_the_last = world
        .blocks
        .iter()
        .filter(|record| slot_of(record, THREADS) < Slot::new(7, 1));
    add_all(&mut ingest, but_the_last);
    assert_eq!(rows.state().tables.len(), 1);
    ingest.declare_misses(0..=7).unwrap();
    close_all(&mut ingest).unwrap();
    assert_eq!(rows.state().tables.len(), 2);
    ingest.finish().unwrap();
}
