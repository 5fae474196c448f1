//! In which order slots are executed, what is final and what is candidate, and what outlives a restart.

mod common;

use common::*;
use massa_execution_exports::{ExecutionBlockMetadata, ExecutionError};
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use std::collections::HashMap;
use std::path::Path;
use std::slice;

const COIN: u64 = 1_000_000_000;

fn alice() -> KeyPair {
    key(0, 0)
}

fn bob() -> KeyPair {
    key(1, 0)
}

fn producer() -> KeyPair {
    key(1, 1)
}

fn start(path: &Path) -> Executor {
    Executor::start(config(path, &[(&alice(), 100 * COIN), (&bob(), 50 * COIN)]))
}

/// A block in which Alice (thread 0) or Bob (thread 1) sends `amount` to the other one.
fn paying(chain: &mut Chain, slot: (u64, u8), amount: u64) -> Made {
    let operation = if slot.1 == 0 {
        transfer(&alice(), &bob(), amount, 1, slot.0 + 5)
    } else {
        transfer(&bob(), &alice(), amount, 1, slot.0 + 5)
    };
    chain.block(slot, &producer(), &[operation])
}

#[test]
fn final_slots_are_executed_in_slot_order_however_they_become_final() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut chain = Chain::new();
    let first = paying(&mut chain, (1, 0), 1);
    let second = paying(&mut chain, (1, 1), 2);
    let third = paying(&mut chain, (2, 0), 4);

    executor.finalize(&[&second]);
    executor.wait_candidate((1, 1));
    assert_eq!(executor.controller.get_stats().final_cursor, Slot::new(0, 1));
    assert_eq!(executor.balance(&bob()), Some(50 * COIN));

    executor.finalize(&[&third, &first]);
    executor.wait_final((2, 0));
    assert_eq!(executor.balance(&bob()), Some(50 * COIN + 1 - 2 - 1 + 4));
}

#[test]
fn a_slot_is_a_miss_once_a_later_block_of_its_thread_is_final() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut chain = Chain::new();
    let in_thread_0 = paying(&mut chain, (4, 0), 1);
    let in_thread_1 = paying(&mut chain, (3, 1), 2);

    executor.finalize(&[&in_thread_0]);
    executor.wait_final((1, 0));
    executor.finalize(&[&in_thread_1]);
    executor.wait_final((4, 0));
    assert_eq!(executor.balance(&bob()), Some(50 * COIN - 2 - 1 + 1));
}

#[test]
fn a_slot_is_no_miss_while_the_parent_of_the_later_block_is_not_announced() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut chain = Chain::new();
    executor.announce_genesis(&chain);
    let parent = paying(&mut chain, (1, 0), 1);
    let child = paying(&mut chain, (2, 0), 2);
    let other = paying(&mut chain, (1, 1), 4);

    executor.finalize(&[&child, &other]);
    executor.wait("halt", |executor| executor.controller.get_halt_reason().is_some());
    let reason = executor.controller.get_halt_reason().unwrap();
    assert!(reason.contains("was not announced as final"), "{reason}");
    assert_eq!(executor.controller.get_stats().final_cursor, Slot::new(0, 1));

    executor.run_to(&[&parent], (2, 0));
    executor.wait("going on", |executor| executor.controller.get_halt_reason().is_none());
    assert_eq!(executor.balance(&bob()), Some(50 * COIN + 1 - 4 - 1 + 2));
}

#[test]
fn two_executors_told_in_different_orders_agree_after_every_common_slot() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [one, two] = directories.each_ref().map(|directory| start(directory.path()));
    let mut chain = Chain::new();
    let slots = [(1, 0), (1, 1), (2, 1), (4, 0), (5, 0), (5, 1)];
    let blocks: Vec<Made> = slots.map(|slot| paying(&mut chain, slot, slot.0)).to_vec();
    one.announce_genesis(&chain);
    two.announce_genesis(&chain);

    blocks.iter().for_each(|block| one.finalize(&[block]));
    blocks.iter().rev().for_each(|block| two.finalize(&[block]));
    one.wait_final((5, 1));
    two.wait_final((5, 1));
    assert_eq!(one.hash(), two.hash());
    assert_eq!(one.balance(&alice()), two.balance(&alice()));
}

#[test]
fn the_hash_depends_on_what_was_executed() {
    let hashes = [1, 2].map(|amount| {
        let directory = tempfile::tempdir().unwrap();
        let executor = start(directory.path());
        let mut chain = Chain::new();
        let block = paying(&mut chain, (1, 0), amount);
        executor.run_to(&[&block], (1, 0));
        executor.hash()
    });
    assert_ne!(hashes[0], hashes[1]);
}

#[test]
fn candidates_change_candidate_balances_only() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut chain = Chain::new();
    let operation = transfer(&alice(), &bob(), COIN, 1, 5);
    let block = chain.block((1, 0), &producer(), slice::from_ref(&operation));
    let hash = executor.hash();
    executor.set_clique(&[&block]);
    executor.wait_candidate((1, 0));

    assert_eq!(executor.balance(&bob()), Some(50 * COIN));
    assert_eq!(executor.candidate_balance(&bob()), Some(51 * COIN));
    assert_eq!(executor.balance(&producer()), None);
    assert_eq!(executor.candidate_balance(&producer()), Some(REWARD.to_raw() + 1));
    assert_eq!(executor.status(&operation), (Some(true), None));
    assert_eq!(executor.hash(), hash);

    executor.run_to(&[&block], (1, 0));
    assert_eq!(executor.status(&operation), (Some(true), Some(true)));
    assert_eq!(executor.balance(&bob()), Some(51 * COIN));
}

#[test]
fn another_best_clique_replaces_the_candidates_and_may_come_back() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut chain = Chain::new();
    let common = paying(&mut chain, (1, 0), 1);
    let branch_a = chain.fork((1, 1), &producer(), &[transfer(&bob(), &alice(), 10, 1, 5)]);
    let branch_b = chain.fork((2, 1), &producer(), &[transfer(&bob(), &alice(), 20, 1, 5)]);

    for (clique, end, bobs) in [
        ([&common, &branch_a], (1, 1), 50 * COIN + 1 - 11),
        ([&common, &branch_b], (2, 1), 50 * COIN + 1 - 21),
    ] {
        executor.set_clique(&clique);
        executor.wait_candidate(end);
        assert_eq!(executor.candidate_balance(&bob()), Some(bobs));
    }
    // Consensus gives the content of a block once only.
    let back = [&common, &branch_a].map(|block| (block.slot, block.id));
    executor
        .controller
        .update_blockclique_status(HashMap::new(), Some(back.into()), PreHashMap::default());
    executor.wait_candidate((1, 1));
    assert_eq!(executor.candidate_balance(&bob()), Some(50 * COIN + 1 - 11));
    assert_eq!(executor.balance(&bob()), Some(50 * COIN));
}

#[test]
fn what_was_candidate_first_gives_the_same_final_state() {
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [plain, speculative] = directories.each_ref().map(|directory| start(directory.path()));
    let mut chain = Chain::new();
    let stale = chain.fork((1, 0), &producer(), &[transfer(&alice(), &bob(), 77, 1, 5)]);
    let blocks: Vec<Made> = [(1, 1), (2, 0), (2, 1), (3, 0)]
        .map(|slot| paying(&mut chain, slot, 3))
        .to_vec();
    let all: Vec<&Made> = blocks.iter().collect();
    plain.run_to(&all, (3, 0));

    speculative.set_clique(&[&[&stale], &all[..]].concat());
    speculative.wait_candidate((3, 0));
    speculative.run_to(&all[..2], (2, 0));
    speculative.run_to(&all[2..], (3, 0));
    assert_eq!(plain.hash(), speculative.hash());
    assert_eq!(speculative.candidate_balance(&bob()), speculative.balance(&bob()));
}

#[test]
fn a_ledger_reopens_where_it_was_and_ignores_blocks_executed_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut executor = start(directory.path());
    let mut chain = Chain::new();
    let first = paying(&mut chain, (1, 0), 1);
    let second = paying(&mut chain, (1, 1), 2);
    let third = paying(&mut chain, (2, 0), 4);
    executor.run_to(&[&first, &second], (1, 1));
    let (hash, alices) = (executor.hash(), executor.balance(&alice()));
    executor.manager.stop();

    let again = start(directory.path());
    assert_eq!(again.hash(), hash);
    assert_eq!(again.balance(&alice()), alices);
    again.finalize(&[&first, &second]);
    again.run_to(&[&third], (2, 0));
    assert_eq!(again.balance(&alice()), Some(100 * COIN - 1 - 1 + 2 - 4 - 1));
}

#[test]
fn a_stopped_executor_gives_its_directory_back_while_controllers_live() {
    let directory = tempfile::tempdir().unwrap();
    let mut executor = start(directory.path());
    let controller = executor.controller.clone();
    executor.manager.stop();
    let again = start(directory.path());
    assert_eq!(again.balance(&alice()), Some(100 * COIN));
    assert_eq!(
        controller.get_final_and_candidate_balance(&[address(&alice())]),
        [(None, None)]
    );
    assert!(controller.get_final_blocks().is_err());
    controller.update_blockclique_status(HashMap::new(), None, PreHashMap::default());
    assert_eq!(controller.get_stats().final_cursor, Slot::new(0, 1));
}

#[test]
fn two_executors_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let _executor = start(directory.path());
    let error = Executor::try_start(config(directory.path(), &[])).err().unwrap();
    assert!(matches!(error, ExecutionError::Ledger(_)), "{error}");
}

#[test]
fn a_ledger_of_another_network_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    drop(start(directory.path()));
    let mut other_genesis = config(directory.path(), &[]);
    other_genesis.genesis_id = [8; 32];
    let mut other_chain = config(directory.path(), &[]);
    other_chain.chain_id = 78;
    let mut other_threads = config(directory.path(), &[]);
    other_threads.thread_count = 4;
    for (config, expected) in [
        (other_genesis, "genesis_id"),
        (other_chain, "chain_id"),
        (other_threads, "thread_count"),
    ] {
        match Executor::try_start(config).err().unwrap() {
            ExecutionError::Mismatch { name, .. } => assert_eq!(name, expected),
            error => panic!("{error}"),
        }
    }
}

#[test]
fn settings_that_make_no_sense_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let mut threads = config(directory.path(), &[]);
    threads.thread_count = 3;
    let supply = config(directory.path(), &[(&alice(), u64::MAX), (&bob(), 1)]);
    for (config, expected) in [(threads, "thread_count"), (supply, "genesis_ledger")] {
        match Executor::try_start(config).err().unwrap() {
            ExecutionError::Config { field, .. } => assert_eq!(field, expected),
            error => panic!("{error}"),
        }
    }
}

#[test]
fn a_final_block_without_content_halts_final_execution_until_it_comes() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut chain = Chain::new();
    let block = paying(&mut chain, (1, 0), 1);
    let finalized = HashMap::from([(block.slot, block.id)]);
    let empty = ExecutionBlockMetadata {
        same_thread_parent_creator: None,
        storage: None,
    };
    let metadata = std::iter::once((block.id, empty)).collect();
    executor.controller.update_blockclique_status(finalized, None, metadata);
    executor.wait("halt", |executor| executor.controller.get_halt_reason().is_some());
    let reason = executor.controller.get_halt_reason().unwrap();
    assert!(reason.contains(&block.id.to_string()), "{reason}");

    executor.run_to(&[&block], (1, 0));
    executor.wait("going on", |executor| executor.controller.get_halt_reason().is_none());
}

#[test]
fn a_final_block_without_one_of_its_operations_halts_final_execution() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let chain = Chain::new();
    let operation = transfer(&alice(), &bob(), 1, 1, 5);
    let mut block = chain.fork((1, 0), &producer(), slice::from_ref(&operation));
    block
        .storage
        .drop_operation_refs(&std::iter::once(operation.id).collect());
    executor.finalize(&[&block]);
    executor.wait("halt", |executor| executor.controller.get_halt_reason().is_some());
    let reason = executor.controller.get_halt_reason().unwrap();
    assert!(reason.contains(&operation.id.to_string()), "{reason}");
    assert_eq!(executor.controller.get_stats().final_cursor, Slot::new(0, 1));
}

#[test]
fn content_is_let_go_of_once_its_slot_is_final() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut chain = Chain::new();
    let stale = chain.fork((1, 0), &producer(), &[transfer(&alice(), &bob(), 77, 1, 5)]);
    let block = paying(&mut chain, (1, 0), 1);
    executor.set_clique(&[&stale]);
    executor.wait_candidate((1, 0));
    executor.run_to(&[&block], (1, 0));
    let root = chain.root.clone_without_refs();
    let ids = [stale.id, block.id];
    drop((stale, block));
    executor.wait("release of the blocks", |_| {
        ids.iter().all(|id| !root.read_blocks().contains(id))
    });
}

#[test]
fn final_blocks_of_the_last_periods_and_the_last_of_each_thread_are_kept() {
    let directory = tempfile::tempdir().unwrap();
    let mut executor = start(directory.path());
    let mut chain = Chain::new();
    // Thread 1 has one block and then none for long; three periods are kept.
    let mut blocks = vec![paying(&mut chain, (1, 0), 1), paying(&mut chain, (1, 1), 1)];
    blocks.extend((2..=9).map(|period| paying(&mut chain, (period, 0), 1)));
    let last = paying(&mut chain, (9, 1), 1);
    let all: Vec<&Made> = blocks.iter().collect();
    executor.run_to(&all, (2, 0));
    executor.run_to(&[&last], (9, 1));
    let slots = |executor: &Executor| -> Vec<(u64, u8)> {
        let blocks = executor.controller.get_final_blocks().unwrap();
        blocks
            .iter()
            .map(|block| (block.slot.period, block.slot.thread))
            .collect()
    };
    assert_eq!(slots(&executor), [(6, 0), (7, 0), (8, 0), (9, 0), (9, 1)]);

    let found = &executor.controller.get_final_blocks().unwrap()[4];
    let stored = last.storage.read_blocks();
    let block = stored.get(&last.id).unwrap();
    assert_eq!(found.block, block.serialized_data);
    assert_eq!(found.operations.len(), block.content.operations.len());
    assert!(!found.operations.is_empty());
    drop(stored);

    executor.manager.stop();
    assert_eq!(
        slots(&start(directory.path())),
        [(6, 0), (7, 0), (8, 0), (9, 0), (9, 1)]
    );
}

#[test]
fn a_thread_without_recent_blocks_keeps_its_last_one() {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut chain = Chain::new();
    let old = paying(&mut chain, (1, 1), 1);
    let in_thread_0: Vec<Made> = (1..=20).map(|period| paying(&mut chain, (period, 0), 1)).collect();
    let next = paying(&mut chain, (21, 1), 1);
    let all: Vec<&Made> = in_thread_0.iter().chain([&old]).collect();
    let kept_in_thread_1 = || -> Vec<u64> {
        let blocks = executor.controller.get_final_blocks().unwrap();
        let of_thread = blocks.iter().filter(|block| block.slot.thread == 1);
        of_thread.map(|block| block.slot.period).collect()
    };
    executor.finalize(&[&next]);
    executor.run_to(&all, (20, 1));
    assert_eq!(kept_in_thread_1(), [1]);
    let filler = paying(&mut chain, (21, 0), 1);
    executor.run_to(&[&filler], (21, 1));
    assert_eq!(kept_in_thread_1(), [21]);
}
