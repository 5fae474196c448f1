//! Placement by difference: what a change costs, counted, and that a placement fits.

mod placement_common;

use massa_distributed_storage_exports::registry::StorageNode;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::replication::{PlacementRules, SegmentPlacement};
use placement_common::*;
use std::hint::black_box;
use std::time::Instant;

#[test]
fn a_join_costs_one_hash_a_chunk_and_nothing_else() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    let cost = world.cost_of(|world| world.change_nodes(|nodes| nodes.push(node(99, 10))));
    let all = SEGMENTS * CHUNKS;
    assert_eq!(
        cost,
        Cost {
            hashes: all,
            in_full: 0,
            chunks: all,
            read: SEGMENTS
        }
    );
    world.check_settled();
}

/// A slice ends at a whole group of 16 chunks, in the middle of a segment.
#[test]
fn a_slice_costs_what_it_may_and_a_group_more_at_most() {
    const NODES: u64 = 30;
    let mut world = World::new(equal_nodes(NODES), FACTOR);
    world.push(0, 1000);
    let spent = |world: &World| {
        let costs = world.placement.costs();
        costs.hashes + costs.chunks + costs.segments_read
    };
    for budget in [0, 1, 100, 5000] {
        let before = spent(&world);
        world.step(budget);
        let more = spent(&world) - before;
        let (budget, group) = (budget as u64, 16 * (NODES + 1));
        assert!((budget..=budget + group + 1).contains(&more), "{more} of {budget}");
        assert!(!world.placement.progress().is_done());
        assert_eq!(world.placement.is_mine(at(0, 0)), None);
    }
    world.finish();
    assert_eq!(world.placement.costs().segments_read, 1);
    world.check_settled();
}

#[test]
fn more_weight_costs_one_hash_a_chunk_as_a_join_does() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    let cost = world.cost_of(|world| world.change_nodes(|nodes| nodes[4].allocated_storage_gb = 25));
    assert_eq!((cost.hashes, cost.in_full), (SEGMENTS * CHUNKS, 0));
    world.check_settled();
}

#[test]
fn a_leave_ranks_only_the_chunks_that_the_leaver_held() {
    const NODES: u64 = 30;
    let mut world = World::placed(equal_nodes(NODES), FACTOR, SEGMENTS, CHUNKS);
    let leaver = world
        .newest()
        .nodes
        .nodes()
        .iter()
        .position(|node| node.placement_key == key(7));
    let holds = |world: &World, segment: u64, index: usize| {
        world
            .holders(segment, index)
            .iter()
            .any(|holder| Some(*holder) == leaver)
    };
    let segments = 0..SEGMENTS;
    let held = segments.map(|segment| {
        (0..CHUNKS as usize)
            .filter(|index| holds(&world, segment, *index))
            .count()
    });
    let held: Vec<u64> = held.map(|count| count as u64).collect();
    let total: u64 = held.iter().sum();

    let cost = world.cost_of(|world| world.change_nodes(|nodes| drop(nodes.remove(7))));
    assert_eq!(cost.in_full, total);
    assert_eq!(cost.hashes, total * (NODES - 1));
    assert_eq!(cost.read, held.iter().filter(|count| **count > 0).count() as u64);
    // R/n of the chunks: 100 of 1000, give or take.
    assert!((60..140).contains(&total), "{total}");
    world.check_settled();
}

#[test]
fn a_further_change_in_the_middle_does_not_begin_again() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    let all = SEGMENTS * CHUNKS;
    let cost = world.cost_of(|world| {
        world.change_nodes(|nodes| nodes.push(node(98, 10)));
        world.settle(SEGMENTS as usize / 2);
        world.change_nodes(|nodes| nodes.push(node(99, 10)));
    });
    // Each chunk is hashed with each newcomer once; those that were reached before the second came are looked at twice.
    assert_eq!((cost.hashes, cost.in_full), (2 * all, 0));
    assert_eq!(cost.chunks, all * 3 / 2);
    world.check_settled();
}

#[test]
fn a_change_that_is_taken_back_costs_nothing_where_it_was_not_reached() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    let before = world.placement.costs();
    world.change_nodes(|nodes| nodes.push(node(98, 10)));
    world.settle(5);
    let cost = world.cost_of(|world| world.change_nodes(|nodes| drop(nodes.pop())));
    assert_eq!(cost.chunks, 5 * CHUNKS);
    assert_eq!(
        world.placement.costs().hashes - before.hashes,
        5 * CHUNKS + 30 * cost.in_full
    );
    world.check_settled();
}

/// Rounding a score costs hashes where two cannot be told apart, and decides nothing.
#[test]
fn scores_that_round_alike_are_ranked_in_full() {
    for (score_bits, is_certain) in [(2, false), (3, false), (6, false), (43, true)] {
        let mut world = World::with_score_bits(equal_nodes(30), FACTOR, score_bits);
        (0..5).for_each(|segment| world.push(segment, CHUNKS));
        world.finish();
        let cost = world.cost_of(|world| world.change_nodes(|nodes| nodes.push(node(99, 10))));
        assert_eq!(cost.in_full == 0, is_certain, "{score_bits} bits: {cost:?}");
        world.check_settled();
        world.change_nodes(|nodes| nodes[3].filled = false);
        world.finish();
        world.check_settled();
        world.change_nodes(|nodes| nodes[0].filled = false);
        world.finish();
        world.check_settled();
    }
}

/// With as many filled nodes as the factor no other filled node stands behind the last one; unfilled ones do.
#[test]
fn an_unfilled_node_gets_chunks_where_the_last_filled_holder_gets_worse() {
    let mut nodes = equal_nodes(4);
    nodes[0].filled = false;
    let mut world = World::placed(nodes, FACTOR, 5, CHUNKS);
    let (before, _) = world.placement.own_share();
    let cost = world.cost_of(|world| world.change_nodes(|nodes| nodes[1].allocated_storage_gb = 1));
    assert_eq!(cost.in_full, 0);
    let (after, _) = world.placement.own_share();
    assert!(after > before, "{before} before, {after} after");
    world.check_settled();
}

#[test]
fn an_unfilled_newcomer_costs_a_hash_for_each_chunk_of_this_node_only() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    let (own, _) = world.placement.own_share();
    assert!(own > 0);
    let newcomer = StorageNode {
        filled: false,
        ..node(99, 10)
    };
    let cost = world.cost_of(|world| world.change_nodes(|nodes| nodes.push(newcomer)));
    assert_eq!((cost.hashes, cost.in_full), (own as u64, 0));
    world.check_settled();
}

#[test]
fn a_lower_factor_costs_no_hash_and_where_peers_listen_nothing_at_all() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    let cost = world.cost_of(|world| {
        world.factor = 2;
        world.set_nodes();
    });
    assert_eq!((cost.hashes, cost.read), (0, 0));
    world.check_settled();
    let cost = world.cost_of(|world| {
        world.change_nodes(|nodes| nodes[3].listeners.push("127.0.0.1:1".parse().unwrap()));
    });
    assert_eq!((cost.hashes, cost.chunks), (0, 0));
    world.check_settled();
}

#[test]
fn each_new_segment_ranks_one_old_segment_again_for_each_distinct_retention() {
    let mut nodes = equal_nodes(30);
    let keep = |node: &mut StorageNode, segments: u64| node.retention_periods = segments * SEGMENT_PERIODS + 3;
    nodes[3..6].iter_mut().for_each(|node| keep(node, 4));
    nodes[6..8].iter_mut().for_each(|node| keep(node, 9));
    let mut world = World::placed(nodes, FACTOR, SEGMENTS, CHUNKS);
    world.check_settled();
    for segment in SEGMENTS..SEGMENTS + 3 {
        // Who keeps four segments leaves one with 27 candidates, who keeps nine one with 25.
        let (four, nine) = (lost(&world, segment - 4, 3..6), lost(&world, segment - 9, 6..8));
        assert!(four > 0 && nine > 0);
        let cost = world.cost_of(|world| world.push(segment, CHUNKS));
        let expected = Cost {
            hashes: CHUNKS * 30 + four * 27 + nine * 25,
            in_full: CHUNKS + four + nine,
            chunks: 3 * CHUNKS,
            read: 3,
        };
        assert_eq!(cost, expected);
        world.check_settled();
    }
}

/// Chunks of a segment that some of these nodes hold.
fn lost(world: &World, segment: u64, names: std::ops::Range<u64>) -> u64 {
    let keys: Vec<Digest> = names.map(key).collect();
    let nodes = world.newest().nodes;
    let is_held = |index: &usize| {
        let mut holders = world.holders(segment, *index).into_iter();
        holders.any(|holder| keys.contains(&nodes.nodes()[holder].placement_key))
    };
    (0..CHUNKS as usize).filter(is_held).count() as u64
}

#[test]
fn a_restart_goes_on_where_it_was_and_hashes_nothing_that_is_done() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    world.save(usize::MAX);
    world.restart();
    let cost = world.cost_of(|_| ());
    assert_eq!((cost.hashes, cost.chunks), (0, 0));
    world.check_settled();

    // In the middle of a change, which goes on.
    world.change_nodes(|nodes| nodes.push(node(99, 10)));
    world.settle(8);
    world.save(usize::MAX);
    world.restart();
    let cost = world.cost_of(|_| ());
    assert_eq!((cost.hashes, cost.in_full), (12 * CHUNKS, 0));
    world.check_settled();
}

#[test]
fn a_restart_with_other_nodes_goes_on_by_the_difference() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    world.save(usize::MAX);
    world.nodes.push(node(98, 10));
    world.nodes.push(node(99, 10));
    world.restart();
    let cost = world.cost_of(|_| ());
    assert_eq!((cost.hashes, cost.in_full), (2 * SEGMENTS * CHUNKS, 0));
    world.check_settled();
}

#[test]
fn a_million_chunks_take_less_than_40_mebibytes() {
    let mut placement = SegmentPlacement::new(
        PlacementRules::new(CHUNK_BYTES, SEGMENT_PERIODS),
        in_force(&equal_nodes(9), FACTOR),
    );
    let ids = cheap_ids(18);
    placement.end_segment(56_000);
    for segment in 0..56_000 {
        placement.put_segment(segment, 18 * u64::from(CHUNK_BYTES)).unwrap();
    }
    while !placement.step(10_000_000, &ids).is_done() {}
    let (chunks, _) = placement.own_share();
    assert!((300_000..370_000).contains(&chunks), "a third is this node's: {chunks}");
    let mebibytes = placement.memory_bytes() >> 20;
    assert!(mebibytes < 40, "{mebibytes} MiB");
}

/// Ids that cost nothing.
fn cheap_ids(chunks: u64) -> impl Fn(u64) -> Option<Vec<ChunkId>> {
    move |segment| {
        let id = |chunk: u64| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&segment.to_le_bytes());
            bytes[8..16].copy_from_slice(&chunk.to_le_bytes());
            ChunkId::from_bytes(bytes)
        };
        Some((0..chunks).map(id).collect())
    }
}

/// Processor time of this thread in seconds, where the system tells; else the time.
fn processor_seconds(work: impl FnOnce()) -> f64 {
    let read = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    let (begin, before) = (Instant::now(), read());
    work();
    match (before, read()) {
        (Some(before), Some(after)) => (after - before) / 1e9,
        _ => begin.elapsed().as_secs_f64(),
    }
}

/// So many chunks in segments of as many as a full chain has, placed over so many nodes; then one more node.
fn seconds_of_join(segments: u64, chunks: u64, nodes: u64) -> (f64, f64, f64) {
    let rules = PlacementRules::new(CHUNK_BYTES, SEGMENT_PERIODS);
    let mut list = equal_nodes(nodes);
    let mut placement = SegmentPlacement::new(rules, in_force(&list, FACTOR));
    let ids = cheap_ids(chunks);
    placement.end_segment(segments);
    (0..segments).for_each(|segment| placement.put_segment(segment, chunks * u64::from(CHUNK_BYTES)).unwrap());
    let first = processor_seconds(|| while !placement.step(1 << 22, &ids).is_done() {});
    list.push(node(nodes, 10));
    placement.set_nodes(in_force(&list, FACTOR));
    let join = processor_seconds(|| while !placement.step(1 << 16, &ids).is_done() {});
    let bare = processor_seconds(|| {
        let mut pair = [0u8; 64];
        for number in 0..segments * chunks {
            pair[..8].copy_from_slice(&number.to_le_bytes());
            black_box(blake3::hash(black_box(&pair)));
        }
    });
    (first, join, bare)
}

/// The target is 5 s for half a million chunks over 1 000 nodes; what bounds it here is the same number of bare hashes.
#[test]
fn a_join_takes_no_longer_than_three_bare_hashes_a_chunk() {
    let (first, join, bare) = seconds_of_join(100, 4_000, 50);
    eprintln!("first {first:.3} s, join {join:.4} s, bare hashes {bare:.4} s");
    assert!(join <= 3.0 * bare, "{join} s against {bare} s");
}
