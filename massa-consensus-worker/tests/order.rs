//! Whatever the order in which blocks arrive, the same ones become final.

mod common;

use common::simulation::{Simulation, QUIET, ROUGH};
use common::{config, Node, TestBlock};
use massa_models::slot::Slot;
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;

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
            let missing: Vec<_> = expected.difference(&node.finals()).copied().collect();
            let surplus: Vec<_> = node.finals().difference(&expected).copied().collect();
            // The producers have not seen the very last block.
            prop_assert!(missing.is_empty() && surplus.len() <= 1, "missing {missing:?}, surplus {surplus:?}");
        }
    }
}

#[test]
fn the_blocks_of_a_network_have_forks_misses_and_late_blocks() {
    let mut network = Simulation::new(1, THREADS, DELTA_F0);
    network.run(60, ROUGH);
    let made = network.blocks.len();
    network.run(30, QUIET);
    let finals = network.node.finals();
    let lost = network.blocks[..made].iter().filter(|block| !finals.contains(&block.id)).count();
    assert!(lost > 20, "{lost} of {made} blocks are not final");
    assert!(!network.node.doubles.record.lock().attacks.is_empty(), "no block was invalid");
    assert!(network.node.state.get_stats().stale_block_count > 5);
}
