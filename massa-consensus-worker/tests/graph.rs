//! Which blocks contradict each other, what the cliques are, and what becomes final or stale.

mod common;

use common::chain::with_parent;
use common::{config, Maker, Node, TestBlock};
use massa_models::block::BlockGraphStatus;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::collections::BTreeSet;

/// Never reached.
const FAR: u64 = 1_000_000;

fn ids(blocks: &[&TestBlock]) -> BTreeSet<BlockId> {
    blocks.iter().map(|block| block.id).collect()
}

fn two_threads(delta_f0: u64) -> (Node, Maker, Vec<BlockId>) {
    let node = Node::new(config(2, delta_f0));
    let genesis = node.genesis();
    (node, Maker::new(2), genesis)
}

#[test]
fn genesis_blocks_are_final_and_the_best_parents() {
    let (node, _, genesis) = two_threads(FAR);
    assert_eq!(node.state.best_parents, [(genesis[0], 0), (genesis[1], 0)]);
    assert_eq!(node.state.latest_final_blocks_periods, node.state.best_parents);
    assert_eq!(node.finals(), genesis.iter().copied().collect());
    assert_eq!(node.state.get_block_status(&genesis[0]), BlockGraphStatus::Final);
    assert_eq!(node.doubles.record.lock().final_periods, [vec![0, 0]]);
}

#[test]
fn two_blocks_that_continue_one_block_of_their_thread_contradict_each_other() {
    let (mut node, mut maker, genesis) = two_threads(FAR);
    let a = maker.block(1, 0, &genesis);
    let b = maker.block(2, 0, &genesis);
    let twin = maker.block(1, 0, &genesis);
    let other = maker.block(1, 1, &genesis);
    node.register([&a, &b, &twin, &other]);

    assert!(node.are_incompatible(&a, &b) && node.are_incompatible(&a, &twin) && node.are_incompatible(&b, &twin));
    assert!(!node.are_incompatible(&a, &other) && !node.are_incompatible(&b, &other));
    let cliques = [ids(&[&a, &other]), ids(&[&b, &other]), ids(&[&twin, &other])];
    assert_eq!(node.cliques(), cliques.into());
    node.check_invariants();
}

#[test]
fn two_blocks_unaware_of_what_the_other_continues_contradict_each_other() {
    let (mut node, mut maker, genesis) = two_threads(FAR);
    let a1 = maker.block(1, 0, &genesis);
    let b1 = maker.block(1, 1, &genesis);
    // Each continues its own thread, with the other thread's genesis as parent.
    let a2 = maker.block(2, 0, &with_parent(&genesis, 0, &a1));
    let b2 = maker.block(2, 1, &with_parent(&genesis, 1, &b1));
    node.register([&a1, &b1, &a2, &b2]);

    assert!(!node.are_incompatible(&a1, &b1), "neither could know the other");
    assert!(
        !node.are_incompatible(&a2, &b1) && !node.are_incompatible(&a1, &b2),
        "one generation is no matter"
    );
    assert!(node.are_incompatible(&a2, &b2));
    assert_eq!(node.cliques(), [ids(&[&a1, &b1, &a2]), ids(&[&a1, &b1, &b2])].into());
    node.check_invariants();
}

#[test]
fn one_of_two_blocks_that_is_aware_is_enough_for_them_to_be_compatible() {
    let (mut node, mut maker, genesis) = two_threads(FAR);
    let a1 = maker.block(1, 0, &genesis);
    let b1 = maker.block(1, 1, &with_parent(&genesis, 0, &a1));
    let a2 = maker.block(2, 0, &with_parent(&genesis, 0, &a1));
    let b2 = maker.block(2, 1, &[a1.id, b1.id]);
    node.register([&a1, &b1, &a2, &b2]);
    assert!(!node.are_incompatible(&a2, &b2), "b2 knows a1, which a2 continues");
    assert_eq!(node.cliques().len(), 1);
}

#[test]
fn incompatibility_is_inherited() {
    let (mut node, mut maker, genesis) = two_threads(FAR);
    let a = maker.block(1, 0, &genesis);
    let twin = maker.block(1, 0, &genesis);
    let on_a = maker.block(1, 1, &with_parent(&genesis, 0, &a));
    let on_twin = maker.block(2, 0, &with_parent(&genesis, 0, &twin));
    let far = maker.block(2, 1, &[a.id, on_a.id]);
    node.register([&a, &twin, &on_twin, &on_a, &far]);

    for (left, right) in [
        (&a, &on_twin),
        (&on_a, &twin),
        (&on_a, &on_twin),
        (&far, &twin),
        (&far, &on_twin),
    ] {
        assert!(node.are_incompatible(left, right));
    }
    assert_eq!(
        node.cliques(),
        [ids(&[&a, &on_a, &far]), ids(&[&twin, &on_twin])].into()
    );
    assert_eq!(node.state.blockclique().fitness, 3);
    assert_eq!(node.state.best_parents, [(a.id, 1), (far.id, 2)]);
    assert_eq!(node.status(&far), BlockGraphStatus::ActiveInBlockclique);
    assert_eq!(node.status(&twin), BlockGraphStatus::ActiveInAlternativeCliques);
}

#[test]
fn a_block_counts_one_and_one_for_each_endorsement() {
    let (mut node, mut maker, genesis) = two_threads(FAR);
    let light = maker.block(1, 0, &genesis);
    let next = maker.block(1, 1, &with_parent(&genesis, 0, &light));
    maker.endorsements = 3;
    let heavy = maker.block(1, 0, &genesis);
    node.register([&light, &next]);
    assert_eq!(node.state.blockclique().fitness, 2);
    node.register([&heavy]);
    assert_eq!(node.state.blockclique().fitness, 4);
    assert_eq!(node.state.best_parents[0], (heavy.id, 1));
    let told: BTreeSet<BlockId> = node.doubles.record.lock().blockclique.values().copied().collect();
    assert_eq!(told, ids(&[&heavy]));
}

#[test]
fn of_two_cliques_of_one_weight_every_node_prefers_the_same() {
    let (_, mut maker, genesis) = two_threads(FAR);
    for _ in 0..8 {
        let (a, b) = (maker.block(1, 0, &genesis), maker.block(1, 0, &genesis));
        let best = |first: &TestBlock, second: &TestBlock| {
            let mut node = Node::new(config(2, FAR));
            node.register([first, second]);
            node.state.best_parents[0].0
        };
        assert_eq!(best(&a, &b), a.id.min(b.id));
        assert_eq!(best(&b, &a), a.id.min(b.id));
    }
}

/// A chain of blocks in one thread after `first`, of which there are `count`.
fn chain(maker: &mut Maker, first: &TestBlock, count: u64) -> Vec<TestBlock> {
    let mut parents = first.block.content.header.content.parents.clone();
    let mut last = first.clone();
    let mut blocks = Vec::new();
    for period in 1..=count {
        parents[usize::from(first.slot.thread)] = last.id;
        last = maker.block(first.slot.period + period, first.slot.thread, &parents);
        blocks.push(last.clone());
    }
    blocks
}

#[test]
fn a_block_is_final_when_its_descendants_weigh_more_than_delta_f0_and_not_before() {
    let (mut node, mut maker, genesis) = two_threads(5);
    let block = maker.block(1, 0, &genesis);
    let descendants = chain(&mut maker, &block, 6);
    node.register([&block]);
    node.register(&descendants[..5]);
    assert_eq!(
        node.status(&block),
        BlockGraphStatus::ActiveInBlockclique,
        "5 is not more than 5"
    );
    assert_eq!(node.state.latest_final_blocks_periods[0].1, 0);

    node.register(&descendants[5..]);
    assert_eq!(node.status(&block), BlockGraphStatus::Final);
    assert_eq!(node.status(&descendants[0]), BlockGraphStatus::ActiveInBlockclique);
    assert_eq!(node.state.latest_final_blocks_periods[0], (block.id, 1));
    assert_eq!(node.state.blockclique().fitness, 6);
    assert_eq!(node.doubles.record.lock().final_periods.last(), Some(&vec![1, 0]));
    assert_eq!(node.state.get_stats().final_block_count, 1);
    node.check_invariants();
}

#[test]
fn a_block_without_descendants_is_not_final_however_heavy_its_clique() {
    let (mut node, mut maker, genesis) = two_threads(5);
    let lonely = maker.block(1, 1, &genesis);
    let first = maker.block(1, 0, &genesis);
    let others = chain(&mut maker, &first, 20);
    node.register([&lonely, &first]);
    node.register(&others);
    assert_eq!(node.status(&lonely), BlockGraphStatus::ActiveInBlockclique);
    assert_eq!(node.status(&first), BlockGraphStatus::Final);
}

#[test]
fn a_block_is_not_final_while_a_clique_within_delta_f0_goes_without_it() {
    let (mut node, mut maker, genesis) = two_threads(5);
    let block = maker.block(1, 0, &genesis);
    let twin = maker.block(1, 0, &genesis);
    let descendants = chain(&mut maker, &block, 6);
    node.register([&block, &twin]);
    node.register(&descendants[..5]);
    // The twin's clique weighs 1, the best one 6: exactly delta_f0 more.
    assert_eq!(node.status(&twin), BlockGraphStatus::ActiveInAlternativeCliques);
    assert_eq!(node.status(&block), BlockGraphStatus::ActiveInBlockclique);

    node.register(&descendants[5..]);
    assert_eq!(
        node.status(&twin),
        BlockGraphStatus::Discarded,
        "more than delta_f0 lighter"
    );
    assert_eq!(node.status(&block), BlockGraphStatus::Final);
    assert_eq!(node.state.get_stats().stale_block_count, 1);
    assert_eq!(node.state.max_cliques.len(), 1);
    node.check_invariants();
}

#[test]
fn what_follows_a_stale_block_is_stale_too() {
    let (mut node, mut maker, genesis) = two_threads(5);
    let block = maker.block(1, 0, &genesis);
    let twin = maker.block(1, 0, &genesis);
    let on_twin = maker.block(1, 1, &with_parent(&genesis, 0, &twin));
    let later = maker.block(2, 1, &[twin.id, on_twin.id]);
    node.register([&block, &twin, &on_twin]);
    node.register(&chain(&mut maker, &block, 12));
    assert_eq!(node.status(&on_twin), BlockGraphStatus::Discarded);
    node.register([&later]);
    assert_eq!(node.status(&later), BlockGraphStatus::Discarded);
    // Stale is no attack: honest peers send such blocks.
    assert_eq!(node.doubles.record.lock().attacks, []);
    node.check_invariants();
}

#[test]
fn a_block_at_or_before_the_last_final_block_of_its_thread_is_stale() {
    let (mut node, mut maker, genesis) = two_threads(3);
    let first = maker.block(2, 0, &genesis);
    node.register([&first]);
    node.register(&chain(&mut maker, &first, 4));
    assert_eq!(node.state.latest_final_blocks_periods[0].1, 2);
    for period in [1, 2] {
        let late = maker.block(period, 0, &genesis);
        node.register([&late]);
        assert_eq!(node.status(&late), BlockGraphStatus::Discarded);
    }
    // Nothing is asked from peers for its sake.
    let unknown = maker.block(1, 1, &genesis);
    let orphan = maker.block(2, 0, &with_parent(&genesis, 1, &unknown));
    node.register([&orphan]);
    assert_eq!(node.status(&orphan), BlockGraphStatus::Discarded);
    // The same slot in another thread is still open.
    let open = maker.block(1, 1, &genesis);
    node.register([&open]);
    assert_eq!(node.status(&open), BlockGraphStatus::ActiveInBlockclique);
}

#[test]
fn a_block_that_contradicts_a_final_block_is_stale() {
    let (mut node, mut maker, genesis) = two_threads(3);
    let first = maker.block(1, 0, &genesis);
    node.register([&first]);
    let rest = chain(&mut maker, &first, 8);
    node.register(&rest);
    let last_final = node.state.latest_final_blocks_periods[0];
    assert_eq!(last_final.1, 5);
    // Continues genesis beside the final block of period 1.
    let beside = maker.block(20, 0, &genesis);
    // Knows nothing of thread 0, whose blocks know nothing of what it continues: grandpa incompatible with final blocks.
    let b1 = maker.block(1, 1, &genesis);
    let b2 = maker.block(2, 1, &[genesis[0], b1.id]);
    // Knows the last final block: contradicts only blocks after that.
    let b2_aware = maker.block(7, 1, &[last_final.0, b1.id]);
    node.register([&beside, &b1, &b2, &b2_aware]);
    assert_eq!(node.status(&beside), BlockGraphStatus::Discarded);
    assert_eq!(node.status(&b1), BlockGraphStatus::ActiveInBlockclique);
    assert_eq!(node.status(&b2), BlockGraphStatus::Discarded);
    assert_eq!(node.status(&b2_aware), BlockGraphStatus::ActiveInAlternativeCliques);
    node.check_invariants();
}

#[test]
fn the_number_of_cliques_is_bounded_and_a_heavy_block_on_a_dropped_one_brings_it_back() {
    let mut node = Node::new(config(12, FAR));
    let genesis = node.genesis();
    let mut maker = Maker::new(12);
    // 2^12 combinations of a light and a heavy block in each thread.
    let mut light = Vec::new();
    for thread in 0..12 {
        for endorsements in [0, 1] {
            maker.endorsements = endorsements;
            let block = maker.block(1, thread, &genesis);
            node.register([&block]);
            light.extend((endorsements == 0).then_some(block.id));
        }
    }
    assert_eq!(node.state.max_cliques.len(), 256);
    assert_eq!(node.state.blockclique().fitness, 24);
    assert!(light.iter().all(|id| node.state.gi_head.contains_key(id)));
    assert!(!node.cliques().contains(&light.iter().copied().collect()));
    node.check_invariants();

    maker.endorsements = 16;
    let child = maker.block(2, 0, &light);
    node.register([&child]);
    light.push(child.id);
    let best: BTreeSet<BlockId> = node.state.blockclique().block_ids.iter().copied().collect();
    assert_eq!(best, light.into_iter().collect());
    assert_eq!(node.state.max_cliques.len(), 256);
    node.check_invariants();
}

#[test]
fn the_chain_can_be_read_by_slot() {
    let (mut node, mut maker, genesis) = two_threads(3);
    let first = maker.block(2, 0, &genesis);
    let rest = chain(&mut maker, &first, 6);
    node.register([&first]);
    node.register(&rest);
    let at = |period| node.state.get_blockclique_block_at_slot(&Slot::new(period, 0));
    let latest = |period| node.state.get_latest_blockclique_block_at_slot(&Slot::new(period, 0));
    assert_eq!((at(0), at(1), at(2)), (Some(genesis[0]), None, Some(first.id)));
    assert_eq!((at(8), at(9)), (Some(rest[5].id), None));
    assert_eq!((latest(1), latest(2), latest(99)), (genesis[0], first.id, rest[5].id));

    let graph = node
        .state
        .extract_block_graph_part(Some(Slot::new(2, 0)), Some(Slot::new(3, 0)));
    assert_eq!(graph.active_blocks.keys().collect::<Vec<_>>(), [&first.id]);
    assert_eq!(graph.active_blocks[&first.id].children, [vec![rest[0].id], vec![]]);
    assert_eq!(graph.best_parents, [(rest[5].id, 8), (genesis[1], 0)]);
}
