//! A process killed without warning leaves a ledger that reopens at the border of a slot.

mod common;

use common::contract::*;
use common::*;
use massa_models::address::Address;
use massa_models::execution::EventFilter;
use massa_models::operation::SecureShareOperation;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

const PERIODS: u64 = 200;
const SEEDS: u64 = 10;
const DIRECTORY: &str = "KILLED_LEDGER_DIRECTORY";

fn start(path: &Path) -> Executor {
    Executor::start(config(path, &[(&key(0, 0), 1 << 60), (&key(1, 0), 1 << 50)]))
}

/// A contract that keeps one entry for each parameter it is called with.
fn keeper() -> Vec<u8> {
    let mut wat = Wat::new()
        .import("set_data", "(param i32 i32)")
        .import("delete_data", "(param i32)");
    let value = wat.data(&[7; 100]);
    wat.add(&format!(
        r#"(func (export "set") (param i32) (call $set_data (local.get 0) (i32.const {value})))
        (func (export "delete") (param i32) (call $delete_data (local.get 0)))"#
    ));
    wat.build()
}

/// The address that a deployment gives, whatever block it is in.
fn address_of(deployment: &SecureShareOperation) -> Address {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let block = Chain::new().block((1, 0), &key(1, 1), std::slice::from_ref(deployment));
    executor.run_to(&[&block], (1, 0));
    deployed_address(&executor.controller.get_filtered_sc_output_event(EventFilter::default()))
}

/// Writes an entry that a later call deletes.
fn calls(contract: Address, period: u64, thread: u8) -> Vec<SecureShareOperation> {
    let sender = &key(thread, 0);
    let call = |function, of: u64, coins| {
        let parameter = [thread, of as u8];
        call(sender, (contract, function), &parameter, coins, period + 3)
    };
    let mut calls = vec![call("set", period, COIN)];
    if period > 3 {
        calls.push(call("delete", period - 3, period));
    }
    calls
}

/// A block in most slots, each with a few operations, and with calls of a contract in many. Always the same ones.
fn blocks() -> Vec<Made> {
    let deployment = deploy(&key(0, 0), keeper(), &[], 0, 1);
    let contract = address_of(&deployment);
    let (senders, producer) = ([key(0, 0), key(1, 0)], key(1, 1));
    let mut chain = Chain::new();
    let mut blocks = Vec::new();
    for period in 1..=PERIODS {
        for thread in 0..THREADS {
            let is_miss = (period * 7 + u64::from(thread)) % 5 == 0;
            if is_miss && period != PERIODS {
                continue;
            }
            let [sender, recipient] = [thread, 1 - thread].map(|thread| &senders[usize::from(thread)]);
            let transfers = [1, 2].map(|amount| transfer(sender, recipient, amount, period, period + amount));
            let mut operations = transfers.to_vec();
            match period {
                1 if thread == 0 => operations.push(deployment.clone()),
                2..=100 => operations.extend(calls(contract, period, thread)),
                _ => {}
            }
            blocks.push(chain.block((period, thread), &producer, &operations));
        }
    }
    blocks
}

/// Announces blocks one after the other, each once everything that the ones before settle is executed.
fn announce_in_order(executor: &Executor, blocks: &[Made], mut after_each: impl FnMut()) {
    let mut last = [0; THREADS as usize];
    for block in blocks {
        executor.finalize(&[block]);
        after_each();
        last[usize::from(block.slot.thread)] = block.slot.period;
        // A slot is settled once its thread has a final block there or later.
        let settled = if last[0] > last[1] {
            (last[1] + 1, 0)
        } else {
            (last[0], 1)
        };
        executor.wait("settled slots", |executor| {
            executor.controller.get_stats().final_cursor >= Slot::new(settled.0, settled.1)
        });
    }
}

/// Hashes after slots, of a run that nobody disturbs.
fn reference(blocks: &[Made]) -> BTreeMap<Slot, [u8; 32]> {
    let directory = tempfile::tempdir().unwrap();
    let executor = start(directory.path());
    let mut hashes = BTreeMap::new();
    announce_in_order(&executor, blocks, || hashes.extend([executor.hash()]));
    hashes.extend([executor.hash()]);
    hashes
}

/// Not a test of its own: what the killed process does.
#[test]
fn process_to_be_killed() {
    let Some(directory) = std::env::var_os(DIRECTORY) else {
        return;
    };
    let executor = start(Path::new(&directory));
    let mut announced = 0;
    announce_in_order(&executor, &blocks(), || {
        announced += 1;
        println!("announced {announced}");
    });
}

/// Starts the process on a ledger and kills it after it announced `count` blocks.
fn kill_after(directory: &Path, count: u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "process_to_be_killed", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let announced = lines
        .map_while(Result::ok)
        .find(|line| *line == format!("announced {count}"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(announced.is_some(), "the process ended by itself");
}

#[test]
fn a_killed_ledger_reopens_at_the_border_of_a_slot_and_replays_to_the_same_hash() {
    let blocks = blocks();
    let hashes = reference(&blocks);
    let (end, end_hash) = hashes.last_key_value().unwrap();
    let mut compared = 0;
    for seed in 0..SEEDS {
        let directory = tempfile::tempdir().unwrap();
        // Spread over the run: a different block of each tenth of it.
        let count = 1 + seed * blocks.len() as u64 / SEEDS + seed * 31 % 17;
        kill_after(directory.path(), count);

        let executor = start(directory.path());
        let (cursor, hash) = executor.hash();
        if let Some(expected) = hashes.get(&cursor) {
            assert_eq!(hash, *expected, "seed {seed}, after slot {cursor}");
            compared += 1;
        }
        let kept = executor.controller.get_final_blocks().unwrap();
        assert!(kept.iter().all(|block| block.slot <= cursor), "seed {seed}");
        announce_in_order(&executor, &blocks, || {});
        assert_eq!(
            executor.hash(),
            (*end, *end_hash),
            "seed {seed}, killed after slot {cursor}"
        );
    }
    assert!(compared >= SEEDS / 2, "only {compared} hashes were compared");
}
