//! What blocks do to balances.

mod common;

use common::*;
use massa_models::address::Address;
use massa_models::operation::OperationType;
use massa_signature::KeyPair;
use std::slice;

const COIN: u64 = 1_000_000_000;

struct Setup {
    _directory: tempfile::TempDir,
    chain: Chain,
    executor: Executor,
    /// Sends in thread 0.
    alice: KeyPair,
    /// Sends in thread 1.
    bob: KeyPair,
    producer: KeyPair,
}

/// Alice has 100 coins, Bob 50; nobody else has any.
fn setup() -> Setup {
    let (alice, bob, producer) = (key(0, 0), key(1, 0), key(1, 1));
    let directory = tempfile::tempdir().unwrap();
    let executor = Executor::start(config(directory.path(), &[(&alice, 100 * COIN), (&bob, 50 * COIN)]));
    Setup {
        _directory: directory,
        chain: Chain::new(),
        executor,
        alice,
        bob,
        producer,
    }
}

#[test]
fn a_transaction_moves_coins_and_the_producer_gets_fee_and_reward() {
    let mut s = setup();
    let operation = transfer(&s.alice, &s.bob, 7 * COIN, 11, 5);
    let block = s.chain.block((1, 0), &s.producer, slice::from_ref(&operation));
    s.executor.run_to(&[&block], (1, 0));

    assert_eq!(s.executor.balance(&s.alice), Some(93 * COIN - 11));
    assert_eq!(s.executor.balance(&s.bob), Some(57 * COIN));
    assert_eq!(s.executor.balance(&s.producer), Some(REWARD.to_raw() + 11));
    assert_eq!(s.executor.status(&operation), (Some(true), Some(true)));
}

#[test]
fn an_address_comes_to_be_when_it_is_paid() {
    let mut s = setup();
    let carol = key(0, 5);
    let dave = key(0, 6);
    let operations = [transfer(&s.alice, &carol, 1, 0, 5), transfer(&s.alice, &dave, 0, 0, 5)];
    let block = s.chain.block((1, 0), &s.producer, &operations);
    assert_eq!(s.executor.balance(&carol), None);
    s.executor.run_to(&[&block], (1, 0));
    assert_eq!(s.executor.balance(&carol), Some(1));
    assert_eq!(s.executor.balance(&dave), None);
}

#[test]
fn an_operation_is_executed_once_in_a_block_and_once_in_all_blocks() {
    let mut s = setup();
    let operation = transfer(&s.alice, &s.bob, COIN, 1, 9);
    let twice = [operation.clone(), operation.clone()];
    let first = s.chain.block((1, 0), &s.producer, &twice);
    let filler = s.chain.block((1, 1), &s.producer, &[]);
    let second = s.chain.block((2, 0), &s.producer, &[operation]);
    s.executor.run_to(&[&first, &filler, &second], (2, 0));
    assert_eq!(s.executor.balance(&s.alice), Some(99 * COIN - 1));
    assert_eq!(s.executor.balance(&s.bob), Some(51 * COIN));
}

#[test]
fn an_operation_executed_before_a_restart_is_not_executed_again() {
    let mut s = setup();
    let operation = transfer(&s.alice, &s.bob, COIN, 1, 9);
    let first = s.chain.block((1, 0), &s.producer, slice::from_ref(&operation));
    let filler = s.chain.block((1, 1), &s.producer, &[]);
    let second = s.chain.block((2, 0), &s.producer, slice::from_ref(&operation));
    s.executor.run_to(&[&first, &filler], (1, 1));
    s.executor.manager.stop();
    let again = Executor::start(config(
        s._directory.path(),
        &[(&s.alice, 100 * COIN), (&s.bob, 50 * COIN)],
    ));
    assert_eq!(again.status(&operation), (Some(true), Some(true)));
    again.run_to(&[&second], (2, 0));
    assert_eq!(again.balance(&s.alice), Some(99 * COIN - 1));
}

#[test]
fn a_transaction_that_cannot_be_covered_costs_its_fee_and_fails() {
    let mut s = setup();
    let operation = transfer(&s.alice, &s.bob, 100 * COIN, 3, 5);
    let block = s.chain.block((1, 0), &s.producer, slice::from_ref(&operation));
    s.executor.run_to(&[&block], (1, 0));
    assert_eq!(s.executor.balance(&s.alice), Some(100 * COIN - 3));
    assert_eq!(s.executor.balance(&s.bob), Some(50 * COIN));
    assert_eq!(s.executor.balance(&s.producer), Some(REWARD.to_raw() + 3));
    assert_eq!(s.executor.status(&operation), (Some(false), Some(false)));
}

#[test]
fn an_operation_whose_fee_cannot_be_paid_is_as_if_it_were_not_there() {
    let mut s = setup();
    let poor = key(0, 5);
    let operation = transfer(&poor, &s.bob, 1, 10, 9);
    let first = s.chain.block((1, 0), &s.producer, slice::from_ref(&operation));
    let pays = transfer(&s.bob, &poor, 11, 0, 9);
    let other = s.chain.block((1, 1), &s.producer, &[pays]);
    let later = s.chain.block((2, 0), &s.producer, slice::from_ref(&operation));

    s.executor.run_to(&[&first, &other], (1, 1));
    assert_eq!(s.executor.status(&operation), (None, None));
    assert_eq!(s.executor.balance(&poor), Some(11));
    s.executor.run_to(&[&later], (2, 0));
    assert_eq!(s.executor.status(&operation), (Some(true), Some(true)));
    assert_eq!(s.executor.balance(&poor), Some(0));
    assert_eq!(s.executor.balance(&s.bob), Some(50 * COIN - 10));
}

#[test]
fn a_transaction_to_oneself_costs_its_fee_only() {
    let mut s = setup();
    let operation = transfer(&s.alice, &s.alice, 5 * COIN, 2, 5);
    let block = s.chain.block((1, 0), &s.producer, &[operation]);
    s.executor.run_to(&[&block], (1, 0));
    assert_eq!(s.executor.balance(&s.alice), Some(100 * COIN - 2));
}

#[test]
fn a_producer_cannot_spend_in_its_block_what_the_block_earns() {
    let mut s = setup();
    let producer = key(0, 7);
    let operation = transfer(&producer, &s.bob, 1, 0, 9);
    let first = s.chain.block((1, 0), &producer, slice::from_ref(&operation));
    s.executor.run_to(&[&first], (1, 0));
    assert_eq!(s.executor.status(&operation), (None, None));
    assert_eq!(s.executor.balance(&producer), Some(REWARD.to_raw()));
}

#[test]
fn what_is_not_supported_costs_its_fee_and_fails() {
    let mut s = setup();
    let types = [
        OperationType::RollBuy { roll_count: 1 },
        OperationType::RollSell { roll_count: 1 },
    ];
    let operations = types.map(|op| operation(&s.alice, 5, 5, op));
    let block = s.chain.block((1, 0), &s.producer, &operations);
    s.executor.run_to(&[&block], (1, 0));
    assert_eq!(s.executor.balance(&s.alice), Some(100 * COIN - 10));
    for operation in &operations {
        assert_eq!(s.executor.status(operation), (Some(false), Some(false)));
    }
}

#[test]
fn operations_of_another_thread_or_outside_their_validity_are_skipped() {
    let mut s = setup();
    let wrong_thread = transfer(&s.bob, &s.alice, 1, 1, 25);
    let expired = transfer(&s.alice, &s.bob, 1, 1, 19);
    let too_early = transfer(&s.alice, &s.bob, 1, 1, 20 + VALIDITY + 1);
    let first_period = transfer(&s.alice, &s.bob, 1, 1, 20 + VALIDITY);
    let last_period = transfer(&s.alice, &s.bob, 1, 1, 20);
    let operations = [&wrong_thread, &expired, &too_early, &first_period, &last_period].map(Clone::clone);
    let block = s.chain.block((20, 0), &s.producer, &operations);
    let other = s.chain.block((20, 1), &s.producer, &[]);
    s.executor.run_to(&[&block, &other], (20, 1));
    for skipped in [&wrong_thread, &expired, &too_early] {
        assert_eq!(s.executor.status(skipped), (None, None));
    }
    for executed in [&first_period, &last_period] {
        assert_eq!(s.executor.status(executed), (Some(true), Some(true)));
    }
    assert_eq!(s.executor.balance(&s.alice), Some(100 * COIN - 4));
}

#[test]
fn status_is_remembered_for_ten_periods_beyond_the_validity() {
    let mut s = setup();
    let operation = transfer(&s.alice, &s.bob, 1, 1, 3);
    let first = s.chain.block((1, 0), &s.producer, slice::from_ref(&operation));
    let other = s.chain.block((1, 1), &s.producer, &[]);
    let last_remembered = s.chain.block((13, 0), &s.producer, &[]);
    let also = s.chain.block((13, 1), &s.producer, &[]);
    let forgotten = s.chain.block((14, 0), &s.producer, &[]);
    s.executor.run_to(&[&first, &other, &last_remembered, &also], (13, 1));
    assert_eq!(s.executor.status(&operation), (Some(true), Some(true)));
    s.executor.run_to(&[&forgotten], (14, 0));
    assert_eq!(s.executor.status(&operation), (None, None));
}

#[test]
fn no_reward_is_created_beyond_what_an_amount_can_hold() {
    let (alice, producer) = (key(0, 0), key(1, 1));
    let directory = tempfile::tempdir().unwrap();
    let executor = Executor::start(config(directory.path(), &[(&alice, u64::MAX - 5)]));
    let mut chain = Chain::new();
    let fee = transfer(&alice, &alice, u64::MAX - 105, 100, 5);
    let first = chain.block((1, 0), &producer, slice::from_ref(&fee));
    let second = chain.block((1, 1), &producer, &[]);
    executor.run_to(&[&first, &second], (1, 1));
    assert_eq!(executor.status(&fee), (Some(true), Some(true)));
    assert_eq!(executor.balance(&alice), Some(u64::MAX - 105));
    assert_eq!(executor.balance(&producer), Some(105));
}

#[test]
fn rolls_are_those_of_the_genesis_file() {
    let (alice, bob) = (key(0, 0), key(1, 0));
    let directory = tempfile::tempdir().unwrap();
    let mut config = config(directory.path(), &[(&alice, COIN)]);
    config.rolls.insert(address(&alice), 12);
    let executor = Executor::start(config);
    let addresses: [Address; 2] = [address(&alice), address(&bob)];
    let infos = executor.controller.get_addresses_infos(&addresses);
    assert_eq!((infos[0].final_roll_count, infos[0].candidate_roll_count), (12, 12));
    assert_eq!(
        (infos[0].final_balance, infos[0].candidate_balance),
        (nano(COIN), nano(COIN))
    );
    assert_eq!(infos[1].final_roll_count, 0);
}
