//! Five whole nodes in one process, on virtual time: real stores, writers, servers and repair, and a network that is slow, loses
//! requests, and in which one may lie.

#[path = "../common/chain.rs"]
mod chain;
mod hub;
mod nodes;

use massa_distributed_storage_exports::record::BlockRecord;
use massa_models::slot::Slot;
use nodes::{World, SEGMENT_PERIODS};
use std::time::Duration;

const SEGMENTS: u64 = 4;

/// Of three periods of one segment every block is at one of `nodes` only, of the others at all.
fn is_at(number: usize, record: &BlockRecord, nodes: usize) -> bool {
    let Slot { period, thread } = chain::slot_of(record);
    let spread = SEGMENT_PERIODS + 1..SEGMENT_PERIODS + 4;
    !spread.contains(&period) || (period as usize + usize::from(thread)) % nodes == number
}

/// Nobody was put in quarantine but who lied.
fn assert_nobody_is_blamed(world: &World) {
    assert_eq!(world.hub.quarantined(), Default::default());
}

#[test]
fn chunks_of_closed_segments_are_on_their_holders_and_nowhere_else() {
    let mut world = World::new(1, SEGMENTS, 5, 0.0);
    world.feed(1.., |_, _| true);
    // The newest closed segment is left alone; all before it are handed over.
    world.run_until(Duration::from_secs(60), |world| {
        let mut wrong = world.wrong(SEGMENTS - 1, false);
        wrong.extend(world.wrong(SEGMENTS, true));
        wrong
    });
    for node in &world.nodes {
        assert_eq!(
            world.hub.pages_received(&node.id),
            0,
            "everybody cut its chunks from its own blocks"
        );
    }
    assert_nobody_is_blamed(&world);
    world.assert_sound();
}

#[test]
fn a_node_that_joins_late_gets_tables_then_its_chunks_only() {
    let mut world = World::new(2, SEGMENTS, 4, 0.0);
    world.feed(1..SEGMENT_PERIODS * 3, |_, _| true);
    world.register(5);
    world.start_node(4);
    world.feed(SEGMENT_PERIODS * 3.., |_, _| true);
    world.run_until(Duration::from_secs(120), |world| world.wrong(SEGMENTS - 1, false));
    let joined = &world.nodes[4];
    let held: u64 = (0..SEGMENTS)
        .map(|segment| u64::from(joined.store.held(segment).unwrap().chunks))
        .sum();
    let received = world.hub.pages_received(&joined.id);
    assert!(
        received > 0 && received <= held,
        "{received} pages of one page each for {held} chunks"
    );
    assert_nobody_is_blamed(&world);
    world.assert_sound();
}

#[test]
fn blocks_that_are_spread_over_the_nodes_come_together() {
    for seed in [3, 13, 23] {
        let mut world = World::new(seed, SEGMENTS, 5, 0.0);
        world.feed(1.., |number, record| is_at(number, record, 5));
        // Nobody has to wait until the table is asked for, though the others' root may be accepted first.
        world.run_until(Duration::from_secs(45), |world| world.wrong(SEGMENTS - 1, false));
        assert_nobody_is_blamed(&world);
        world.assert_sound();
    }
}

#[test]
fn a_node_that_lost_its_store_is_filled_again() {
    let mut world = World::new(4, SEGMENTS, 5, 0.0);
    world.feed(1..SEGMENT_PERIODS * 3 + 1, |_, _| true);
    world.start_node(2);
    world.feed(SEGMENT_PERIODS * 3 + 1.., |_, _| true);
    world.run_until(Duration::from_secs(180), |world| world.wrong(SEGMENTS - 1, false));
    assert_nobody_is_blamed(&world);
    world.assert_sound();
}

#[test]
fn loss_and_a_liar_keep_nobody_from_its_chunks() {
    for seed in [5, 15, 25] {
        let mut world = World::new(seed, SEGMENTS, 5, 0.1);
        let liar = world.nodes[4].id;
        *world.hub.liar.lock() = Some(liar);
        // Honest nodes have all of it between them.
        let sees = |number: usize, record: &BlockRecord| number == 4 || is_at(number, record, 4);
        world.feed(1..SEGMENT_PERIODS * 3 + 1, sees);
        // What only that node had is at the others before it is lost.
        world.run(Duration::from_secs(90));
        world.lost = [liar, world.nodes[2].id].into();
        world.start_node(2);
        world.feed(SEGMENT_PERIODS * 3 + 1.., sees);
        world.run_until(Duration::from_secs(300), |world| world.wrong(SEGMENTS, true));
        let blamed = world.hub.quarantined();
        assert!(!blamed.is_empty());
        assert!(blamed.keys().all(|(_, node)| *node == liar), "{blamed:#?}");
        world.assert_sound();
    }
}
