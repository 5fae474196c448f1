//! Placement by difference: the same holders as ranking every node for every chunk.

mod placement_common;

use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::types::{ChunkPosition, Digest};
use massa_distributed_storage_worker::replication::checkpoint::PlacementRows;
use massa_distributed_storage_worker::replication::{own_index, search_of_segment, PutSegmentError, Standing};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use placement_common::*;
use proptest::prelude::*;
use proptest::sample::Index;
use std::collections::BTreeSet;

#[derive(Clone, Debug)]
enum Event {
    Join { weight: u64, filled: bool, retention: u64 },
    OwnJoins { filled: bool, retention: u64 },
    Leave(Index),
    Weight(Index, u64),
    Key(Index),
    Flip(Index),
    FlipAll(bool),
    Retention(Index, u64),
    Factor(usize),
    Push { chunks: u64, gap: u64 },
    PushOld { chunks: u64, back: u64 },
    End(u64),
    Replace(Index, u64),
    Forget(Index),
    Unreadable(Index),
    Readable,
    Step(usize),
    Save(usize),
    Restart,
    TakeChanged,
}

/// Small ones, and ones so large that scores are small and often equal.
fn weights() -> impl Strategy<Value = u64> {
    prop_oneof![1 => Just(0u64), 8 => 1u64..5, 2 => Just(100), 1 => Just(1 << 56), 1 => Just(1 << 62)]
}

/// None, less than a segment, and a few segments.
fn retentions() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(0u64), 1 => Just(3), 3 => 10u64..80]
}

fn events() -> impl Strategy<Value = Event> {
    let index = any::<Index>;
    prop_oneof![
        4 => (weights(), any::<bool>(), retentions())
            .prop_map(|(weight, filled, retention)| Event::Join { weight, filled, retention }),
        1 => (any::<bool>(), retentions()).prop_map(|(filled, retention)| Event::OwnJoins { filled, retention }),
        2 => index().prop_map(Event::Leave),
        2 => (index(), weights()).prop_map(|(at, weight)| Event::Weight(at, weight)),
        1 => index().prop_map(Event::Key),
        3 => index().prop_map(Event::Flip),
        1 => any::<bool>().prop_map(Event::FlipAll),
        2 => (index(), retentions()).prop_map(|(at, retention)| Event::Retention(at, retention)),
        1 => (0usize..5).prop_map(Event::Factor),
        4 => (0u64..40, 1u64..3).prop_map(|(chunks, gap)| Event::Push { chunks, gap }),
        1 => (0u64..20, 1u64..9).prop_map(|(chunks, back)| Event::PushOld { chunks, back }),
        1 => (1u64..100).prop_map(Event::End),
        1 => (index(), 0u64..20).prop_map(|(at, chunks)| Event::Replace(at, chunks)),
        1 => index().prop_map(Event::Forget),
        1 => index().prop_map(Event::Unreadable),
        1 => Just(Event::Readable),
        9 => (0usize..300).prop_map(Event::Step),
        3 => (0usize..4).prop_map(Event::Save),
        1 => Just(Event::Restart),
        1 => Just(Event::TakeChanged),
    ]
}

impl World {
    fn apply(&mut self, event: Event, fresh: u64) {
        let count = self.nodes.len();
        let pick = |at: Index| (count > 0).then(|| at.index(count));
        match event {
            Event::Join {
                weight,
                filled,
                retention,
            } => self.change_nodes(|nodes| {
                nodes.push(StorageNode {
                    filled,
                    retention_periods: retention,
                    ..node(fresh, weight)
                });
            }),
            Event::OwnJoins { filled, retention } => self.change_nodes(|nodes| {
                nodes.retain(|node| node.placement_key != key(0));
                nodes.push(StorageNode {
                    filled,
                    retention_periods: retention,
                    ..node(0, 5)
                });
            }),
            Event::Leave(at) => self.change_nodes(|nodes| drop(pick(at).map(|at| nodes.remove(at)))),
            Event::Weight(at, weight) => self.change_one(pick(at), |node| node.allocated_storage_gb = weight),
            Event::Key(at) => self.change_one(pick(at), |node| node.placement_key = key(fresh)),
            Event::Flip(at) => self.change_one(pick(at), |node| node.filled = !node.filled),
            Event::FlipAll(filled) => self.change_nodes(|nodes| nodes.iter_mut().for_each(|node| node.filled = filled)),
            Event::Retention(at, periods) => self.change_one(pick(at), |node| node.retention_periods = periods),
            Event::Factor(factor) => {
                self.factor = factor;
                self.set_nodes();
            }
            Event::Push { chunks, gap } => self.push(self.ended + gap, chunks),
            Event::PushOld { chunks, back } => {
                let segment = self.ended.saturating_sub(back);
                self.push(segment, chunks);
            }
            Event::End(more) => self.end(self.ended + more),
            other => self.apply_to_store(other),
        }
    }

    fn apply_to_store(&mut self, event: Event) {
        let numbers: Vec<u64> = self.segments.keys().copied().collect();
        let pick = |at: Index| (!numbers.is_empty()).then(|| numbers[at.index(numbers.len())]);
        match event {
            Event::Replace(at, chunks) => {
                self.replaced += 1;
                pick(at).into_iter().for_each(|segment| self.push(segment, chunks));
            }
            Event::Forget(at) => {
                let floor = pick(at).unwrap_or(0);
                self.segments = self.segments.split_off(&floor);
                self.saved = self.saved.split_off(&floor);
                self.placement.forget_below(floor);
            }
            Event::Unreadable(at) => self.unreadable.extend(pick(at)),
            Event::Readable => {
                self.unreadable.clear();
                self.placement.try_again();
            }
            Event::Step(budget) => self.step(budget),
            Event::Save(max) => self.save(max),
            Event::Restart => self.restart(),
            Event::TakeChanged => drop(self.placement.take_changed(3)),
            _ => unreachable!("of nodes"),
        }
    }

    fn change_one(&mut self, at: Option<usize>, change: impl FnOnce(&mut StorageNode)) {
        self.change_nodes(|nodes| {
            if let Some(at) = at {
                change(&mut nodes[at]);
            }
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happened in whatever order, in whatever slices, across restarts: who holds is what the rule says of the newest
    /// set, and no segment is ever placed for half of a set.
    #[test]
    fn placement_by_difference_is_placement_from_nothing(
        first in proptest::collection::vec((weights(), any::<bool>(), retentions()), 0..8),
        events in proptest::collection::vec(events(), 1..40),
        factor in 1usize..5,
        score_bits in prop_oneof![Just(43u32), 2u32..8],
    ) {
        let of_first = |((weight, filled, retention), name): ((u64, bool, u64), u64)| StorageNode {
            filled, retention_periods: retention, ..node(name, weight)
        };
        let nodes = first.into_iter().zip(0..).map(of_first).collect();
        let mut world = World::with_score_bits(nodes, factor, score_bits);
        for (event, fresh) in events.into_iter().zip(1000..) {
            world.apply(event, fresh);
            world.check();
        }
        world.unreadable.clear();
        world.placement.try_again();
        world.finish();
        world.check();
        world.check_settled();
    }
}

/// Allocations so large that every score is 0 or 1.
#[test]
fn equal_scores_are_ordered_by_key() {
    let nodes = (0..12).map(|name| node(name, 1 << 62)).collect();
    let mut world = World::placed(nodes, FACTOR, 3, CHUNKS);
    for name in 20..60 {
        // Out of the holders, most of the time.
        let first = world.newest().nodes.nodes()[name as usize % FACTOR].placement_key;
        world.change_nodes(|nodes| {
            nodes.retain(|node| node.placement_key != first);
            nodes.push(node(name, 1 << 62));
        });
        world.finish();
        world.check_settled();
    }
}

#[test]
fn rows_that_were_not_written_are_taken_again() {
    let mut world = World::placed(equal_nodes(5), FACTOR, 4, 3);
    let rows = world.placement.take_rows(3);
    assert_eq!((rows.header.is_some(), rows.segments.len()), (true, 3));
    world.placement.not_written(&rows);
    let again = world.placement.take_rows(10);
    assert_eq!((again.header, again.segments.len()), (rows.header, 4));
    assert_eq!(world.placement.take_rows(10), PlacementRows::default());
}

#[test]
fn the_change_feed_names_segments_where_other_chunks_are_this_nodes() {
    let mut world = World::placed(equal_nodes(30), FACTOR, SEGMENTS, CHUNKS);
    let mine = |world: &World| -> Vec<BTreeSet<ChunkPosition>> {
        let positions = |segment| world.placement.mine_of(segment).map(|own| own.position).collect();
        (0..SEGMENTS).map(positions).collect()
    };
    let taken = world.placement.take_changed(usize::MAX);
    assert_eq!(
        taken,
        (0..SEGMENTS)
            .filter(|at| !mine(&world)[*at as usize].is_empty())
            .collect::<Vec<_>>()
    );
    let before = mine(&world);
    world.change_nodes(|nodes| nodes.push(node(99, 10)));
    world.finish();
    let after = mine(&world);
    let expected = (0..SEGMENTS).filter(|at| before[*at as usize] != after[*at as usize]);
    let expected: Vec<u64> = expected.collect();
    assert!(!expected.is_empty() && expected.len() < SEGMENTS as usize);
    assert_eq!(world.placement.take_changed(1), expected[..1]);
    assert_eq!(world.placement.take_changed(usize::MAX), expected[1..]);
}

#[test]
fn a_segment_whose_ids_cannot_be_read_stays_as_it_was_and_holds_up_nothing() {
    let mut world = World::placed(equal_nodes(30), FACTOR, 5, CHUNKS);
    let before = world.mine_of(2);
    world.unreadable.insert(2);
    world.change_nodes(|nodes| nodes.push(node(99, 10)));
    world.finish();
    let progress = world.placement.progress();
    assert_eq!(
        (progress.segments_left, progress.unreadable, progress.is_done()),
        (1, 1, true)
    );
    assert_eq!(world.mine_of(2), before);
    assert!(!world.placement.is_settled(2) && world.placement.is_settled(1));

    world.unreadable.clear();
    world.placement.try_again();
    assert!(!world.placement.progress().is_done());
    world.finish();
    world.check_settled();
}

/// Otherwise a node that changes its allocation before every slice would make others remember sets without limit.
#[test]
fn nodes_that_change_faster_than_placing_goes_round_are_followed_all_the_same() {
    let mut world = World::placed(equal_nodes(10), FACTOR, 40, 3);
    for weight in 11..60 {
        world.change_nodes(|nodes| nodes[1].allocated_storage_gb = weight);
        // A segment at a time.
        world.step(1);
        let bases = (0..40).filter_map(|segment| world.placement.placed_for(segment));
        assert!(bases.collect::<BTreeSet<_>>().len() <= 8);
        let positions = (0..40).map(|segment| at(segment, 0));
        positions.for_each(|position| {
            drop(
                world
                    .placement
                    .holders(position, &world.segments[&position.segment].1[0]),
            )
        });
    }
    world.finish();
    world.check_settled();
}

#[test]
fn the_set_of_an_older_round_answers_too() {
    let world = World::placed(equal_nodes(30), FACTOR, 2, CHUNKS);
    let mut nodes = equal_nodes(20);
    nodes[2].retention_periods = SEGMENT_PERIODS;
    let older = in_force(&nodes, 2);
    for segment in 0..2 {
        let search = search_of_segment(&older, SEGMENT_PERIODS, segment, 1);
        for id in &world.segments[&segment].1 {
            let mut best = Vec::new();
            search.find(id, |_| false, &mut best);
            let found: Vec<usize> = best.iter().map(|candidate| candidate.index()).collect();
            assert_eq!(found, holders_of_model(&older, segment, 1, id));
        }
    }
}

#[test]
fn as_many_nodes_as_the_factor_ranked_behind_the_holders_keep_what_closes() {
    let mut nodes = equal_nodes(30);
    nodes[..15].iter_mut().for_each(|node| node.filled = false);
    nodes[20].retention_periods = 4 * SEGMENT_PERIODS;
    let world = World::placed(nodes, FACTOR, SEGMENTS, CHUNKS);
    let own = world.newest().own.unwrap();
    let mut seen = [0, 0, 0];
    for segment in [2, SEGMENTS - 1] {
        let mut standings = world.placement.standings(segment);
        for (index, id) in world.segments[&segment].1.iter().enumerate() {
            let holders = world.holders(segment, index);
            // Everybody in the order of ranks: as if they all counted.
            let mut everybody = world.newest();
            everybody.replication_factor = 30;
            let order = holders_of_model(&everybody, segment, world.ended, id);
            let (found, backups) = standings.holders_and_backups(id);
            assert_eq!(found, holders);
            assert_eq!(backups, order[holders.len()..holders.len() + FACTOR]);
            let expected = match (holders.contains(&own), backups.contains(&own)) {
                (true, _) => Standing::Holder,
                (_, true) => Standing::Backup,
                _ => Standing::Neither,
            };
            assert_eq!(standings.own(id), expected);
            seen[expected as usize] += 1;
        }
    }
    assert!(seen.iter().all(|count| *count > 0), "{seen:?}");
}

#[test]
fn what_is_no_segment_is_refused() {
    let mut world = World::new(equal_nodes(3), FACTOR);
    let number = 1 << 24;
    assert_eq!(
        world.placement.put_segment(number, 5),
        Err(PutSegmentError::Number(number))
    );
    let body_bytes = (1 << 16) * u64::from(CHUNK_BYTES) + 1;
    let refused = PutSegmentError::Chunks {
        segment: 7,
        body_bytes,
        chunk_bytes: CHUNK_BYTES,
    };
    assert_eq!(world.placement.put_segment(7, body_bytes), Err(refused));
    assert_eq!(world.placement.put_segment(7, body_bytes - 1), Ok(()));
    assert_eq!(world.placement.is_mine(at(7, 0)), None);
    assert!(world.placement.counting_holders(at(7, 0)).is_none());
}

/// Copies that get another holder, in multiples of the share that nobody can avoid.
#[test]
fn a_join_and_a_leave_move_hardly_more_than_the_unavoidable_share() {
    const NODES: u64 = 21;
    let mut world = World::placed(equal_nodes(NODES - 1), FACTOR, 100, 100);
    let held = |world: &World| -> BTreeSet<(ChunkPosition, Digest)> {
        let nodes = world.newest().nodes;
        let positions = (0..100).flat_map(|segment| (0..100).map(move |index| at(segment, index)));
        let of_chunk = |position| {
            let holders = world.placement.counting_holders(position).unwrap().into_iter();
            holders
                .map(|holder| (position, nodes.nodes()[holder].placement_key))
                .collect::<Vec<_>>()
        };
        positions.flat_map(of_chunk).collect()
    };
    let copies = (100 * 100 * FACTOR) as f64;
    let before = held(&world);
    world.change_nodes(|nodes| nodes.push(node(NODES, 10)));
    world.finish();
    let large = held(&world);
    let moved = large.difference(&before).count() as f64 / copies * NODES as f64;
    assert!((0.9..=1.1).contains(&moved), "{moved}");
    world.change_nodes(|nodes| drop(nodes.remove(0)));
    world.finish();
    let moved = held(&world).difference(&large).count() as f64 / copies * NODES as f64;
    assert!((0.9..=1.1).contains(&moved), "{moved}");
}

/// Otherwise whoever registers under another's node id takes its chunks away.
#[test]
fn this_node_is_the_record_that_its_own_operator_registered() {
    let own = KeyPair::generate(0).unwrap().get_public_key();
    let (own_id, operator) = (NodeId::new(own), Address::from_public_key(&own));
    let record = |name, node_id, address| StorageNode {
        node_id,
        address,
        ..node(name, 1)
    };
    let other = node(9, 1);
    let nodes = NodeSet::new(vec![
        record(1, Some(own_id), other.address),
        record(2, Some(own_id), operator),
        record(3, other.node_id, operator),
        record(4, None, operator),
    ]);
    let index_of = |name| nodes.nodes().iter().position(|node| node.placement_key == key(name));
    assert_eq!(own_index(&nodes, &own_id, Some(&operator)), index_of(2));
    assert_eq!(own_index(&nodes, &own_id, None), index_of(1).min(index_of(2)));
    assert_eq!(own_index(&nodes, &NodeId::new(*OWNER), Some(&operator)), index_of(3));
    assert_eq!(own_index(&NodeSet::default(), &own_id, None), None);
}
