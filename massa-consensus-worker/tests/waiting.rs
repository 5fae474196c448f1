//! Blocks that come before their time or before their parents, refused blocks, and limits.

mod common;

use common::chain::{producer_key, with_parent};
use common::{config, Maker, Node, TestBlock, LATE};
use massa_consensus_exports::{ConsensusConfig, ConsensusError};
use massa_models::block::BlockGraphStatus::{self, *};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::collections::BTreeMap;

const FAR: u64 = 1_000_000;

fn two_threads() -> (Node, Maker, Vec<BlockId>) {
    limited(|_| ())
}

fn limited(set: impl FnOnce(&mut ConsensusConfig)) -> (Node, Maker, Vec<BlockId>) {
    let mut config = config(2, FAR);
    set(&mut config);
    let node = Node::new(config);
    let genesis = node.genesis();
    (node, Maker::new(2), genesis)
}

/// A chain in thread 0.
fn chain(maker: &mut Maker, genesis: &[BlockId], length: u64) -> Vec<TestBlock> {
    let mut parents = genesis.to_vec();
    let mut blocks = Vec::new();
    for period in 1..=length {
        let block = maker.block(period, 0, &parents);
        parents[0] = block.id;
        blocks.push(block);
    }
    blocks
}

fn statuses(node: &Node, blocks: &[TestBlock]) -> Vec<BlockGraphStatus> {
    blocks.iter().map(|block| node.status(block)).collect()
}

fn wishlist(node: &Node) -> BTreeMap<BlockId, bool> {
    node.doubles.record.lock().wishlist.clone()
}

#[test]
fn a_block_waits_until_its_slot_begins() {
    let (mut node, mut maker, genesis) = two_threads();
    let block = maker.block(3, 1, &genesis);
    node.register_at(&block, None);
    assert_eq!(node.status(&block), WaitingForSlot, "the chain has not begun");
    node.state.slot_tick(Some(Slot::new(3, 0))).unwrap();
    assert_eq!(node.status(&block), WaitingForSlot);
    node.state.slot_tick(Some(Slot::new(3, 1))).unwrap();
    assert_eq!(node.status(&block), ActiveInBlockclique);
    assert_eq!(node.doubles.record.lock().integrated, [block.id]);
}

#[test]
fn a_block_waits_for_all_of_its_parents_which_are_wanted_from_peers() {
    let (mut node, mut maker, genesis) = two_threads();
    let a = maker.block(1, 0, &genesis);
    let b = maker.block(1, 1, &with_parent(&genesis, 0, &a));
    let c = maker.block(2, 0, &[a.id, b.id]);
    node.register([&c]);
    assert_eq!(node.status(&c), WaitingForDependencies);
    assert_eq!(wishlist(&node), [(a.id, false), (b.id, false)].into());

    node.register([&b]);
    assert_eq!(statuses(&node, &[b.clone(), c.clone()]), [WaitingForDependencies; 2]);
    assert_eq!(
        wishlist(&node),
        [(a.id, false)].into(),
        "b is here: only what it waits for is wanted"
    );

    node.register([&a]);
    assert_eq!(statuses(&node, &[a, b, c]), [ActiveInBlockclique; 3]);
    assert!(wishlist(&node).is_empty());
    node.check_invariants();
}

#[test]
fn a_header_waits_for_its_block_which_is_wanted_with_the_header() {
    let (mut node, mut maker, genesis) = two_threads();
    let a = maker.block(1, 0, &genesis);
    let b = maker.block(1, 1, &with_parent(&genesis, 0, &a));
    node.register_header(&b);
    assert_eq!(wishlist(&node), [(a.id, false), (b.id, true)].into());
    node.register_header(&a);
    assert_eq!(wishlist(&node), [(a.id, true), (b.id, true)].into());
    node.register([&a]);
    assert_eq!(
        statuses(&node, &[a, b.clone()]),
        [ActiveInBlockclique, WaitingForDependencies]
    );
    assert_eq!(wishlist(&node), [(b.id, true)].into());
    node.register([&b]);
    assert_eq!(node.status(&b), ActiveInBlockclique);
    assert!(wishlist(&node).is_empty());
}

#[test]
fn a_header_that_breaks_a_rule_is_refused_before_its_block_is_asked_for() {
    let (mut node, mut maker, genesis) = two_threads();
    let slot = Slot::new(1, 0);
    let foreign = maker.block_by(&producer_key(Slot::new(1, 1), 2), slot, &genesis);
    node.register_header(&foreign);
    assert_eq!(node.status(&foreign), Discarded);
    assert!(wishlist(&node).is_empty());
    assert_eq!(node.doubles.record.lock().attacks, [foreign.id]);
}

/// Asserts that a block is invalid, which is told to the protocol.
fn assert_invalid(node: &mut Node, block: &TestBlock) {
    node.register([block]);
    assert_eq!(node.status(block), Discarded);
    assert_eq!(node.doubles.record.lock().attacks.last(), Some(&block.id));
}

#[test]
fn blocks_that_break_a_rule_are_invalid() {
    let (mut node, mut maker, genesis) = two_threads();
    let a = maker.block(1, 0, &genesis);
    let twin = maker.block(1, 0, &genesis);
    let on_a = maker.block(1, 1, &with_parent(&genesis, 0, &a));
    node.register([&a, &twin, &on_a]);
    let swapped = [genesis[1], genesis[0]];
    let cases = [
        ("too few parents", maker.block(3, 0, &genesis[..1])),
        ("genesis slot", maker.block(0, 1, &genesis)),
        ("thread that does not exist", maker.block(1, 2, &genesis)),
        ("parents not in the order of threads", maker.block(3, 0, &swapped)),
        (
            "parent of the same slot",
            maker.block(1, 0, &with_parent(&genesis, 0, &a)),
        ),
        (
            "parent of a later slot",
            maker.block(1, 0, &with_parent(&genesis, 1, &on_a)),
        ),
        ("parents contradict each other", maker.block(3, 0, &[twin.id, on_a.id])),
        (
            "parent older than what another parent knows",
            maker.block(3, 1, &[genesis[0], on_a.id]),
        ),
    ];
    for (rule, block) in cases {
        assert!(node.state.blocks_state.get(&block.id).is_none(), "{rule}");
        assert_invalid(&mut node, &block);
        let child = maker.block(9, 0, &with_parent(&genesis, 0, &block));
        assert_invalid(&mut node, &child);
    }
    node.check_invariants();
}

#[test]
fn what_waits_for_an_invalid_block_is_invalid() {
    let (mut node, mut maker, genesis) = two_threads();
    let blocks = chain(&mut maker, &genesis, 3);
    node.register(&blocks[1..]);
    assert_eq!(statuses(&node, &blocks[1..]), [WaitingForDependencies; 2]);
    let header = &blocks[0].block.content.header;
    node.state.mark_invalid_block(&blocks[0].id, header).unwrap();
    assert_eq!(statuses(&node, &blocks), [Discarded; 3]);
    assert!(wishlist(&node).is_empty());
    assert_eq!(node.doubles.record.lock().attacks.len(), 3);
    // And stays so.
    node.register([&blocks[0]]);
    assert_eq!(node.status(&blocks[0]), Discarded);
}

#[test]
fn a_block_of_the_graph_cannot_become_invalid() {
    let (mut node, mut maker, genesis) = two_threads();
    let block = maker.block(1, 0, &genesis);
    node.register([&block]);
    let header = &block.block.content.header;
    node.state.mark_invalid_block(&block.id, header).unwrap();
    assert_eq!(node.status(&block), ActiveInBlockclique);
}

#[test]
fn a_block_for_which_nobody_can_be_drawn_is_forgotten_and_no_attack() {
    let (mut node, mut maker, genesis) = two_threads();
    let block = maker.block(1, 0, &genesis);
    node.doubles.record.lock().undrawn.insert(block.slot);
    node.register([&block]);
    assert_eq!(node.status(&block), NotFound);
    assert!(node.doubles.record.lock().attacks.is_empty());
    node.doubles.record.lock().undrawn.clear();
    node.register([&block]);
    assert_eq!(node.status(&block), ActiveInBlockclique);
}

#[test]
fn a_storage_without_the_block_is_an_error_and_changes_nothing() {
    let (mut node, mut maker, genesis) = two_threads();
    let block = maker.block(1, 0, &genesis);
    let empty = node.root.clone_without_refs();
    let result = node.state.register_block(block.id, block.slot, LATE, empty, false);
    assert!(matches!(result, Err(ConsensusError::MissingBlock(id)) if id == block.id));
    assert_eq!(node.status(&block), NotFound);
}

#[test]
fn a_block_that_comes_twice_counts_once() {
    let (mut node, mut maker, genesis) = two_threads();
    let block = maker.block(1, 0, &genesis);
    node.register([&block, &block]);
    node.register_header(&block);
    assert_eq!(node.doubles.record.lock().integrated, [block.id]);
    assert_eq!(node.state.blockclique().fitness, 1);
}

#[test]
fn of_blocks_before_their_slot_the_earliest_are_kept() {
    let (mut node, mut maker, genesis) = limited(|config| config.max_future_processing_blocks = 2);
    let periods = [5, 3, 9, 1];
    let blocks: Vec<_> = periods.map(|period| maker.block(period, 0, &genesis)).into();
    for block in &blocks {
        node.register_at(block, None);
    }
    assert_eq!(
        statuses(&node, &blocks),
        [NotFound, WaitingForSlot, NotFound, WaitingForSlot]
    );
    assert_eq!(node.state.blocks_state.waiting_for_slot_count(), 2);
}

#[test]
fn of_blocks_that_wait_for_others_the_newest_are_kept() {
    let (mut node, mut maker, genesis) = limited(|config| config.max_dependency_blocks = 2);
    let blocks = chain(&mut maker, &genesis, 5);
    node.register(&blocks[1..]);
    assert_eq!(node.state.blocks_state.waiting_for_dependencies_count(), 2);
    let (waits, gone) = (WaitingForDependencies, NotFound);
    assert_eq!(statuses(&node, &blocks), [gone, gone, gone, waits, waits]);
    assert_eq!(wishlist(&node), [(blocks[2].id, false)].into());
    // What was dropped can come again.
    node.register(&blocks[..3]);
    assert_eq!(statuses(&node, &blocks), [ActiveInBlockclique; 5]);
}

#[test]
fn of_discarded_blocks_the_newest_are_remembered() {
    let (mut node, mut maker, genesis) = limited(|config| config.max_discarded_blocks = 2);
    let invalid: Vec<_> = (1..=4).map(|period| maker.block(period, 0, &genesis[..1])).collect();
    node.register(&invalid[..2]);
    // One that comes up again counts as new.
    node.register(&invalid[..1]);
    node.register(&invalid[2..3]);
    assert_eq!(statuses(&node, &invalid), [Discarded, NotFound, Discarded, NotFound]);
    node.register(&invalid[3..]);
    assert_eq!(node.state.blocks_state.discarded_count(), 2);
}

#[test]
fn a_block_that_waits_while_its_place_is_decided_is_dropped_at_the_next_prune() {
    let (mut node, mut maker, genesis) = limited(|config| config.delta_f0 = 2);
    let blocks = chain(&mut maker, &genesis, 6);
    let unknown = maker.block(1, 1, &genesis);
    let waiting = maker.block(3, 0, &with_parent(&genesis, 1, &unknown));
    let on_waiting = maker.block(9, 0, &with_parent(&genesis, 0, &waiting));
    node.register([&waiting, &on_waiting]);
    node.register(&blocks);
    assert_eq!(node.status(&waiting), WaitingForDependencies);
    node.state.prune().unwrap();
    assert_eq!(statuses(&node, &[waiting, on_waiting]), [Discarded; 2]);
    node.state.block_db_changed().unwrap();
    assert!(wishlist(&node).is_empty());
}
