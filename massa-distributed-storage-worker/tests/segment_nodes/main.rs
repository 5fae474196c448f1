//! Five whole nodes in one process, on virtual time: real stores, writers, servers and repair, and a network that is slow.

mod hub;
mod nodes;

use nodes::{World, SEGMENT_PERIODS};
use std::time::Duration;

const SEGMENTS: u64 = 4;

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
fn a_node_that_lost_its_store_is_filled_again() {
    let mut world = World::new(4, SEGMENTS, 5, 0.0);
    world.feed(1..SEGMENT_PERIODS * 3 + 1, |_, _| true);
    world.start_node(2);
    world.feed(SEGMENT_PERIODS * 3 + 1.., |_, _| true);
    world.run_until(Duration::from_secs(180), |world| world.wrong(SEGMENTS - 1, false));
    assert_nobody_is_blamed(&world);
    world.assert_sound();
}
