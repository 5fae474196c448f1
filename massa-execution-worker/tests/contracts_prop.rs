//! Whatever contracts do, no coin comes from nowhere and none is lost, and all instances agree.

mod common;

use common::contract::*;
use common::*;
use massa_execution_exports::DatastoreKeysRequest;
use massa_models::address::Address;
use massa_models::execution::EventFilter;
use massa_models::operation::SecureShareOperation;
use massa_signature::KeyPair;
use proptest::prelude::*;
use std::ops::Bound;
use std::slice;

const PERIODS: u64 = 5;
const BYTE: u64 = 100_000;
const ENTRY_BYTES: u64 = 4;
const ACCOUNT: u64 = 1_000_000;
const GENESIS: u64 = 1000 * COIN;
const SHORT: usize = 3;
const LONG: usize = 300;

/// What a call does: function, key or amount, coins.
type Draft = (&'static str, u64, u64);

fn draft() -> impl Strategy<Value = Draft> {
    let function = prop::sample::select(vec!["put", "put_long", "remove", "give", "fail", "nest", "missing"]);
    let number = prop_oneof![0u64..4, Just(ACCOUNT + 5), Just(u64::MAX)];
    let coins = prop_oneof![Just(0), 0..COIN, Just(u64::MAX)];
    (function, number, coins)
}

/// For each slot whether there is a block, and what is in it.
fn slots() -> impl Strategy<Value = Vec<Option<Vec<Draft>>>> {
    let block = prop::collection::vec(draft(), 0..6);
    prop::collection::vec(prop::option::weighted(0.8, block), 2 * PERIODS as usize)
}

/// Nobody else pays this address.
fn newcomer() -> Address {
    address(&key(1, 8))
}

fn purse() -> Vec<u8> {
    let mut wat = Wat::new()
        .import("set_data", "(param i32 i32)")
        .import("delete_data", "(param i32)")
        .import("transfer_coins", "(param i32 i64)")
        .import("get_call_stack", "(result i32)")
        .import("generate_event", "(param i32)")
        .import("local_execution", "(param i32 i32 i32) (result i32)");
    let (short, long) = (wat.data(&[7; SHORT]), wat.data(&[7; LONG]));
    let (newcomer, said, main) = (wat.text(&newcomer().to_string()), wat.text("said"), wat.text("main"));
    // Code that runs as the contract: it puts an entry and says something.
    let mut inner = Wat::new()
        .import("set_data", "(param i32 i32)")
        .import("generate_event", "(param i32)");
    let (key, text) = (inner.data(b"inner"), inner.text("inner"));
    inner.function(
        "main",
        &format!("(call $set_data (i32.const {key}) (i32.const {key})) (call $generate_event (i32.const {text}))"),
    );
    let inner = wat.data(&inner.build());
    wat.add(&format!(
        r#"(func $put (export "put") (param i32) (call $set_data (local.get 0) (i32.const {short})))
        (func (export "put_long") (param i32)
            (call $set_data (local.get 0) (i32.const {long})) (call $generate_event (i32.const {said})))
        (func (export "remove") (param i32) (call $delete_data (local.get 0)))
        (func (export "give") (param i32) (call $transfer_coins (i32.const {newcomer}) (i64.load (local.get 0))))
        (func (export "fail") (param i32)
            (call $put (local.get 0)) (call $generate_event (i32.const {said})) unreachable)
        (func (export "nest") (param i32)
            (drop (call $local_execution (i32.const {inner}) (i32.const {main}) (local.get 0))))"#
    ));
    wat.build()
}

fn senders() -> [KeyPair; 2] {
    [key(0, 0), key(1, 0)]
}

fn start(path: &std::path::Path) -> Executor {
    let senders = senders();
    Executor::start(config(path, &[(&senders[0], GENESIS), (&senders[1], GENESIS)]))
}

/// The address that a deployment gives, whatever block it is in.
fn address_of(deployment: &SecureShareOperation) -> Address {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let block = Chain::new().block((1, 0), &key(1, 1), slice::from_ref(deployment));
    executor.run_to(&[&block], (1, 0));
    let events = executor.controller.get_filtered_sc_output_event(EventFilter::default());
    deployed_address(&events)
}

/// A block with the deployment, the drafted ones, and one at the end of each thread.
fn blocks(deployment: &SecureShareOperation, contract: Address, slots: &[Option<Vec<Draft>>]) -> Vec<Made> {
    let (senders, producer) = (senders(), key(1, 1));
    let mut chain = Chain::new();
    let mut blocks = vec![chain.block((1, 0), &producer, slice::from_ref(deployment))];
    for (index, drafts) in slots.iter().enumerate() {
        let (period, thread) = (2 + index as u64 / 2, (index % 2) as u8);
        let Some(drafts) = drafts else { continue };
        let call = |(number, (function, parameter, coins)): (usize, &Draft)| {
            // The fee makes every operation another one.
            let numbers = (*coins, 1 + index as u64 * 10 + number as u64, 100_000_000);
            let target = (contract, *function);
            call_with(
                &senders[usize::from(thread)],
                target,
                &parameter.to_le_bytes(),
                numbers,
                period + 1,
            )
        };
        let operations: Vec<_> = drafts.iter().enumerate().map(call).collect();
        blocks.push(chain.block((period, thread), &producer, &operations));
    }
    for thread in 0..THREADS {
        blocks.push(chain.block((PERIODS + 2, thread), &producer, &[]));
    }
    blocks
}

/// Everything that coins are in: balances of all addresses, and what storage and accounts took.
fn all_coins(executor: &Executor, contract: Address) -> u64 {
    let [first, second] = senders();
    let addresses = [
        address(&first),
        address(&second),
        address(&key(1, 1)),
        newcomer(),
        contract,
    ];
    let balances = executor.controller.get_final_and_candidate_balance(&addresses);
    let held: u64 = balances
        .iter()
        .filter_map(|(last_final, _)| *last_final)
        .map(|held| held.to_raw())
        .sum();
    let accounts = 1 + u64::from(balances[3].0.is_some());
    let request = DatastoreKeysRequest {
        address: contract,
        is_final: true,
        prefix: Vec::new(),
        start: Bound::Unbounded,
        end: Bound::Unbounded,
        count: 100,
    };
    let keys = executor.controller.get_datastore_keys(&request);
    let input = keys.iter().map(|key| (contract, key.clone())).collect();
    let entries = executor.controller.get_final_and_active_data_entry(input);
    let values: u64 = entries
        .iter()
        .map(|(value, _)| value.as_ref().unwrap().len() as u64)
        .sum();
    let key_bytes: u64 = keys.iter().map(|key| key.len() as u64 + ENTRY_BYTES).sum();
    held + accounts * ACCOUNT + (purse().len() as u64 + key_bytes + values) * BYTE
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn coins_are_conserved_and_final_after_candidate_is_the_same_as_final_at_once(
        slots in slots(),
        split in 0usize..12,
    ) {
        let deployment = deploy(&senders()[0], purse(), &[], 0, 3);
        let contract = address_of(&deployment);
        let blocks = blocks(&deployment, contract, &slots);
        let all: Vec<&Made> = blocks.iter().collect();
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [plain, speculative] = directories.each_ref().map(|directory| start(directory.path()));
        let end = (PERIODS + 2, 1);
        plain.run_to(&all, end);

        let split = split.min(all.len());
        speculative.set_clique(&all);
        speculative.finalize(&all[..split]);
        speculative.wait_candidate(end);
        // Another best clique for a while, then the old one again: what was executed is executed anew.
        speculative.set_clique(&all[..(split + 2).min(all.len())]);
        speculative.set_clique(&all);
        speculative.run_to(&all[split..], end);
        prop_assert_eq!(plain.hash(), speculative.hash());
        let events = |executor: &Executor| executor.controller.get_filtered_sc_output_event(EventFilter::default());
        prop_assert_eq!(events(&plain), events(&speculative));

        let expected = 2 * GENESIS + REWARD.to_raw() * blocks.len() as u64;
        prop_assert_eq!(all_coins(&plain, contract), expected);
        prop_assert_eq!(all_coins(&speculative, contract), expected);
    }
}
