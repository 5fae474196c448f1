//! Whole extensions in one process: store, threads, placement, repair, reads, audits; and what is left when they stop.

#[path = "../common/chain.rs"]
mod chain;
mod hub;
#[path = "../common/tamper.rs"]
mod tamper;
mod world;

use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::audit::history::AuditOutcome;
use massa_distributed_storage_worker::serve::lookup::ById;
use massa_distributed_storage_worker::serve::period_read::ReadCheck;
use massa_distributed_storage_worker::serve::to_readers::ReadContent;
use std::time::Instant;
use world::{wait_for, World};

const SEGMENTS: u64 = 4;

/// A chunk that `node` holds and `other` does not.
fn held_by(world: &World, node: usize, other: usize) -> ChunkPosition {
    let (here, there) = (world.node(node).handle(), world.node(other).handle());
    for segment in 0..SEGMENTS - 1 {
        let held = here.store().held(segment).unwrap();
        let elsewhere = there.store().held(segment).unwrap();
        let found = held.indexes().find(|index| !elsewhere.contains(*index));
        if let Some(index) = found {
            return ChunkPosition::new(segment, index).unwrap();
        }
    }
    panic!("node {node} holds nothing that node {other} does not");
}

#[test]
fn three_nodes_share_an_archive_and_each_reads_all_of_it() {
    let world = World::new(1, SEGMENTS);
    world.feed(1.., |_, _| true);
    wait_for("chunks on their holders", || world.wrong(SEGMENTS));
    assert!(world.hub.announced() > 0);
    for number in 0..3 {
        let handle = world.node(number).handle();
        let (mut fetched, mut read) = (0, 0);
        for record in world.chain.periods.values().flatten() {
            let slot = chain::slot_of(record);
            if slot.period >= SEGMENTS * world::SEGMENT_PERIODS {
                continue;
            }
            let reading = handle.reader().slot(slot, ReadCheck::Meaning).unwrap();
            assert_eq!(reading.content, ReadContent::Block(record.clone()), "slot {slot}");
            fetched += usize::from(reading.is_fetched());
            read += 1;
        }
        assert!(fetched > 0 && fetched < read, "node {number}: {fetched} of {read}");
        let record = &world.chain.periods[&2][0];
        let id = record.view(world::THREADS).unwrap().block_id();
        let found = handle
            .lookup()
            .block(id, ReadCheck::Meaning, 1, Instant::now())
            .unwrap();
        assert!(matches!(found, ById::Read(_)), "{found:?}");
    }
    world.assert_sound();
}

#[test]
fn a_node_that_missed_blocks_gets_them_from_the_others() {
    let world = World::new(2, SEGMENTS);
    world.feed(1.., |node, slot| node != 2 || slot.period % 3 != 1 || slot.thread != 1);
    wait_for("all segments are whole", || world.wrong(SEGMENTS));
    let status = world.node(2).handle().archive_status();
    assert!(status.closed_segments >= SEGMENTS, "{status:?}");
    world.assert_sound();
}

#[test]
fn a_damaged_chunk_that_somebody_reads_is_fetched_again() {
    let mut world = World::new(7, SEGMENTS);
    world.feed(1.., |_, _| true);
    wait_for("chunks on their holders", || world.wrong(SEGMENTS));
    let position = held_by(&world, 0, 1);
    world.stop(0);
    world.damage_page(0, position);
    world.start(0);
    world.connect(0);
    let handle = world.node(0).handle();
    assert!(handle.store().check_chunk(position).is_err());
    let (first, end) = (
        position.segment * world::SEGMENT_PERIODS,
        (position.segment + 1) * world::SEGMENT_PERIODS,
    );
    for record in world.chain.periods.range(first..end).flat_map(|(_, records)| records) {
        let reading = handle.reader().slot(chain::slot_of(record), ReadCheck::Meaning);
        assert_eq!(reading.unwrap().content, ReadContent::Block(record.clone()));
    }
    wait_for("the chunk again", || {
        let checked = handle.store().check_chunk(position);
        let wrong = (!matches!(checked, Ok(true))).then(|| format!("{checked:?}"));
        wrong.into_iter().chain(world.wrong(SEGMENTS)).collect()
    });
    world.assert_sound();
}

#[test]
fn a_stopped_extension_leaves_no_lock_and_restarts_without_hashing() {
    let mut world = World::new(3, SEGMENTS);
    world.feed(1.., |_, _| true);
    wait_for("chunks on their holders", || world.wrong(SEGMENTS));
    let closed = world.node(0).handle().store().last_segment().unwrap().unwrap() + 1;
    let hashes = |world: &World| world.node(0).handle().assigned().read().placement().costs();
    assert!(hashes(&world).hashes > 0, "it was placed once");
    let old = world.node(0).handle();
    world.stop(0);
    assert!(old.rounds().is_none() && old.audits().is_none() && old.network().is_none());
    assert!(old.store().segment_root(0).is_err(), "the store is closed");

    world.start(0);
    world.connect(0);
    let is_settled = |world: &World| {
        let handle = world.node(0).handle();
        let assigned = handle.assigned().read();
        let unsettled = (0..closed).filter(|segment| !assigned.placement().is_settled(*segment));
        unsettled
            .map(|segment| format!("segment {segment} is not settled"))
            .collect()
    };
    wait_for("placement is restored", || is_settled(&world));
    wait_for("repair looked at what is assigned", || {
        let chunks = world.node(0).handle().repair_status().chunks;
        let is_known = chunks.total > 0;
        (!is_known).then(|| format!("{chunks:?}")).into_iter().collect()
    });
    let costs = hashes(&world);
    assert_eq!((costs.hashes, costs.segments_read), (0, 0), "{costs:?}");
    wait_for("chunks on their holders", || world.wrong(SEGMENTS));
    world.assert_sound();
}

#[test]
fn an_audit_by_hand_is_answered_by_who_holds_the_chunk_and_remembered() {
    let mut world = World::new(4, SEGMENTS);
    world.feed(1.., |_, _| true);
    wait_for("chunks on their holders", || world.wrong(SEGMENTS));
    let handle = world.node(0).handle();
    let issue = |position: ChunkPosition, node: usize| {
        let table = handle.store().table(position.segment).unwrap().unwrap();
        let chunk = table.chunk(position.index.0).unwrap();
        let audits = handle.audits().unwrap();
        audits.issue(world.ids[node], position, chunk).unwrap()
    };
    let holding = issue(held_by(&world, 1, 2), 1);
    let lacking = issue(held_by(&world, 1, 2), 2);
    let outcome = |id| {
        let audits = handle.audits().unwrap();
        audits.with_history(|history| {
            let found = history.newest().find(|result| result.challenge_id == id);
            found.map(|result| (result.outcome.clone(), result.assigned))
        })
    };
    wait_for("audits are over", || {
        let open = [holding, lacking].into_iter().filter(|id| outcome(*id).is_none());
        open.map(|id| id.to_string()).collect()
    });
    assert_eq!(outcome(holding), Some((AuditOutcome::Passed, true)));
    assert_eq!(outcome(lacking), Some((AuditOutcome::NotHeld, false)));
    drop(handle);
    world.stop(0);
    world.start(0);
    world.connect(0);
    let audits = world.node(0).handle().audits().unwrap();
    assert!(audits.with_history(|history| history.newest().any(|result| result.challenge_id == holding)));
}

#[test]
fn what_leaves_retention_is_handed_over_before_it_is_pruned() {
    let (segments, kept) = (8, 4);
    let world = World::with_retention(5, segments, &[0, 0, kept * world::SEGMENT_PERIODS]);
    let last = (segments - 1) * world::SEGMENT_PERIODS;
    world.feed(1..=last, |_, _| true);
    // The last segment is not whole yet: it takes a block after it to settle its last period.
    wait_for("chunks on their holders", || world.wrong(segments - 2));
    world.feed(last + 1.., |_, _| true);
    let floor = || world.node(2).handle().store().floor();
    wait_for("what left retention is pruned", || {
        if floor() == 0 {
            vec!["nothing is pruned".to_string()]
        } else {
            Vec::new()
        }
    });
    assert!(floor() <= segments - kept);
    for number in 0..2 {
        let handle = world.node(number).handle();
        for segment in 0..floor() {
            let (table, held) = handle.store().table_and_held(segment).unwrap().unwrap();
            let lacking = (0..table.header().chunk_count()).filter(|index| !held.contains(*index));
            assert_eq!(lacking.count(), 0, "node {number} keeps all of segment {segment}");
        }
    }
}
