//! Whatever the order in which blocks arrive, the same ones become final.

mod common;

use common::simulation::{Simulation, QUIET, ROUGH};
use common::{config, Node, TestBlock};
use massa_models::active_block::ActiveBlock;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;

const THREADS: u8 = 4;
const DELTA_F0: u64 = 32;

/// Feeds blocks while time passes: some come before their slot, some headers before their block; now and then the graph
/// is pruned.
fn feed(node: &mut Node, blocks: &[TestBlock], seed: u64) {
    let mut random = ChaCha20Rng::seed_from_u64(seed);
    let mut now = Slot::min();
    for block in blocks {
        let behind = block.slot > now && random.gen_bool(0.9);
        if behind {
            now = block.slot;
            node.state.slot_tick(Some(now)).unwrap();
        }
        if random.gen_bool(0.3) {
            node.register_header(block);
        }
        node.register_at(block, Some(now));
        if random.gen_bool(0.2) {
            node.register_at(block, Some(now));
        }
        if random.gen_bool(0.02) {
            node.state.prune().unwrap();
        }
    }
    node.state.slot_tick(common::LATE).unwrap();
    node.state.prune().unwrap();
    node.check_invariants();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn nodes_given_the_same_blocks_in_any_order_finalise_the_same_ones(
        seed: u64,
        orders in proptest::collection::vec((any::<u64>(), 1usize..400), 2),
    ) {
        let mut network = Simulation::new(seed, THREADS, DELTA_F0);
        network.run(30, ROUGH);
        // Long enough for the last fork to be decided.
        network.run(30, QUIET);
        let expected = network.node.finals();
        prop_assert!(expected.len() > 100, "{} final blocks", expected.len());
        for (order, jitter) in orders {
            let mut node = Node::new(config(THREADS, DELTA_F0));
            feed(&mut node, &network.shuffled(order, jitter), order);
            let finals = node.finals();
            let differing: Vec<_> = expected.symmetric_difference(&finals).collect();
            prop_assert!(differing.is_empty(), "final for one and not for the other: {differing:?}");
        }
    }
}

/// Whether two blocks contradict each other by themselves.
fn contradict(a: &ActiveBlock, b: &ActiveBlock) -> bool {
    let (s, t) = (usize::from(a.slot.thread), usize::from(b.slot.thread));
    if s == t {
        return a.block_id != b.block_id && a.parents[s].0 == b.parents[s].0;
    }
    // Each one's parent in the other's thread is older than what the other continues.
    a.parents[t].1 < b.parents[t].1 && b.parents[s].1 < a.parents[s].1
}

#[test]
fn incompatibility_follows_from_its_definition_alone() {
    let mut across_threads = 0;
    for seed in 0..10 {
        // Nothing is ever final, so every block stays.
        let mut network = Simulation::new(seed, THREADS, 1_000_000);
        network.run(12, ROUGH);
        let state = &network.node.state;
        let active = |id: &BlockId| state.blocks_state.active_block(id).unwrap();
        // A block and its ancestors after genesis.
        let line = |block: &BlockId| {
            let line = state.gi_head.keys().map(active);
            let line = line.filter(|other| other.block_id == *block || other.descendants.contains(block));
            line.collect::<Vec<_>>()
        };
        let lines: BTreeMap<BlockId, Vec<&ActiveBlock>> = state.gi_head.keys().map(|id| (*id, line(id))).collect();
        for (a, line_a) in &lines {
            for (b, line_b) in &lines {
                let expected = line_a.iter().any(|a| line_b.iter().any(|b| contradict(a, b)));
                assert_eq!(state.gi_head[a].contains(b), expected && a != b, "{a} and {b}");
            }
        }
        let blocks: Vec<_> = state.gi_head.keys().map(active).collect();
        let pairs = blocks.iter().flat_map(|a| blocks.iter().map(move |b| (a, b)));
        across_threads += pairs
            .filter(|(a, b)| a.slot.thread != b.slot.thread && contradict(a, b))
            .count();
    }
    assert!(
        across_threads > 20,
        "{across_threads} pairs of grandpa incompatible blocks"
    );
}

#[test]
fn the_blocks_of_a_network_have_forks_misses_and_late_blocks() {
    let mut network = Simulation::new(1, THREADS, DELTA_F0);
    network.run(60, ROUGH);
    let made = network.blocks.len();
    network.run(30, QUIET);
    let finals = network.node.finals();
    let lost = network.blocks[..made]
        .iter()
        .filter(|block| !finals.contains(&block.id))
        .count();
    assert!(lost > 20, "{lost} of {made} blocks are not final");
    assert!(
        !network.node.doubles.record.lock().attacks.is_empty(),
        "no block was invalid"
    );
    assert!(network.node.state.get_stats().stale_block_count > 5);
}
