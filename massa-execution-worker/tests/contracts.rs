//! What contracts can do, and what they cannot.

mod common;

use common::contract::*;
use common::*;
use massa_execution_exports::{
    DatastoreKeysRequest, ExecutionStackElement, ReadOnlyExecutionOutput, ReadOnlyExecutionRequest,
    ReadOnlyExecutionTarget,
};
use massa_models::address::Address;
use massa_models::execution::EventFilter;
use massa_models::operation::SecureShareOperation;
use massa_models::output_event::SCOutputEvent;
use massa_signature::KeyPair;
use std::ops::Bound;
use std::slice;

const BYTE: u64 = 100_000;
const ENTRY: u64 = 4 * BYTE;
const ACCOUNT: u64 = 1_000_000;
const FEE: u64 = 10_000_000;

struct World {
    _directory: tempfile::TempDir,
    chain: Chain,
    executor: Executor,
    /// Sends in thread 0.
    alice: KeyPair,
    producer: KeyPair,
    period: u64,
}

impl World {
    fn new() -> Self {
        let (alice, producer) = (key(0, 0), key(1, 1));
        let directory = tempfile::tempdir().unwrap();
        Self {
            executor: Executor::start(config(directory.path(), &[(&alice, 1000 * COIN)])),
            _directory: directory,
            chain: Chain::new(),
            alice,
            producer,
            period: 0,
        }
    }

    /// A final block with these operations.
    fn run(&mut self, operations: &[SecureShareOperation]) {
        self.period += 1;
        let block = self.chain.block((self.period, 0), &self.producer, operations);
        let other = self.chain.block((self.period, 1), &self.producer, &[]);
        self.executor.run_to(&[&block, &other], (self.period, 1));
    }

    fn events_of(&self, operation: &SecureShareOperation) -> Vec<SCOutputEvent> {
        let filter = EventFilter {
            original_operation_id: Some(operation.id),
            ..EventFilter::default()
        };
        self.executor.controller.get_filtered_sc_output_event(filter)
    }

    /// The reason for which an operation failed.
    fn reason(&self, operation: &SecureShareOperation) -> String {
        assert_eq!(self.executor.status(operation), (Some(false), Some(false)));
        let events = self.events_of(operation);
        let last = events.last().unwrap();
        assert!(last.context.is_error && last.context.is_final);
        let json: serde_json::Value = serde_json::from_str(&last.data).unwrap();
        json["massa_execution_error"].as_str().unwrap().to_string()
    }

    fn ok(&mut self, operation: SecureShareOperation) -> Vec<SCOutputEvent> {
        self.run(slice::from_ref(&operation));
        let events = self.events_of(&operation);
        assert_eq!(self.executor.status(&operation), (Some(true), Some(true)), "{events:?}");
        events
    }

    /// Runs an operation that fails for a reason, costs its fee and changes nothing else.
    fn refuses(&mut self, operation: SecureShareOperation, reason: &str) {
        let before = self.executor.balance(&self.alice).unwrap();
        self.run(slice::from_ref(&operation));
        let told = self.reason(&operation);
        assert!(told.contains(reason), "{told}");
        let fee = operation.content.fee.to_raw();
        assert_eq!(self.executor.balance(&self.alice), Some(before - fee), "{told}");
    }

    /// Deploys a contract with [`DEPOSIT`].
    fn deploy(&mut self, bytecode: Vec<u8>) -> Address {
        let operation = deploy(&self.alice, bytecode, &[], DEPOSIT, self.period + 5);
        let events = self.ok(operation);
        deployed_address(&events)
    }

    fn call(&self, target: Address, function: &str, parameter: &[u8]) -> SecureShareOperation {
        let numbers = (0, FEE, 500_000_000);
        call_with(&self.alice, (target, function), parameter, numbers, self.period + 5)
    }

    fn execute(&self, bytecode: Vec<u8>) -> SecureShareOperation {
        execute(&self.alice, bytecode, 100 * COIN, FEE, self.period + 5)
    }

    fn balance_of(&self, address: Address) -> Option<u64> {
        let balances = self.executor.controller.get_final_and_candidate_balance(&[address]);
        balances[0].0.map(|balance| balance.to_raw())
    }

    fn entry(&self, address: Address, key: &[u8]) -> Option<Vec<u8>> {
        let input = vec![(address, key.to_vec())];
        self.executor.controller.get_final_and_active_data_entry(input)[0]
            .0
            .clone()
    }

    fn read(&self, target: Address, function: &str, parameter: &[u8]) -> ReadOnlyExecutionOutput {
        let element = |address| ExecutionStackElement {
            address,
            coins: nano(0),
            owned_addresses: vec![address],
            operation_datastore: None,
        };
        let request = ReadOnlyExecutionRequest {
            max_gas: u32::MAX.into(),
            // Someone whom nobody knows.
            call_stack: vec![element(address(&key(1, 9))), element(target)],
            target: ReadOnlyExecutionTarget::FunctionCall {
                target_addr: target,
                target_func: function.to_string(),
                parameter: parameter.to_vec(),
            },
            coins: None,
            fee: None,
        };
        self.executor.controller.execute_readonly_request(request).unwrap()
    }
}

/// A main function that does something.
fn main_of(body: &str) -> Vec<u8> {
    Wat::new().function("main", body).build()
}

/// A contract that keeps entries: `set`, `grow`, `shrink`, `delete`, `get`, `keys`, and ways to fail after a change.
fn keeper() -> Vec<u8> {
    let mut wat = Wat::new()
        .import("set_data", "(param i32 i32)")
        .import("append_data", "(param i32 i32)")
        .import("delete_data", "(param i32)")
        .import("get_data", "(param i32) (result i32)")
        .import("get_keys", "(param i32) (result i32)")
        .import("generate_event", "(param i32)")
        .import("unsafe_random", "(result i64)");
    let (name, short, long) = (wat.data(b"name"), wat.data(b"abc"), wat.data(b"abcdefgh"));
    let (text, empty, huge) = (wat.text("said"), wat.data(b""), wat.text(&"x".repeat(1025)));
    let key_256 = wat.data(&[1; 256]);
    let set = |value: usize| format!("(call $set_data (i32.const {name}) (i32.const {value}))");
    let say = |text: usize| format!("(call $generate_event (i32.const {text}))");
    wat.function("set", &set(short))
        .function("set_long", &set(long))
        .function(
            "append",
            &format!("(call $append_data (i32.const {name}) (i32.const {short}))"),
        )
        .function("delete", &format!("(call $delete_data (i32.const {name}))"))
        .function("get", &format!("(result i32) (call $get_data (i32.const {name}))"))
        .function("keys", &format!("(result i32) (call $get_keys (i32.const {empty}))"))
        .function("set_and_fail", &format!("{} {} unreachable", set(short), say(text)))
        .function("say", &say(text))
        .function("say_too_much", &say(huge))
        .function("say_often", &say(text).repeat(26))
        .function(
            "set_empty_key",
            &format!("(call $set_data (i32.const {empty}) (i32.const {short}))"),
        )
        .function(
            "set_long_key",
            &format!("(call $set_data (i32.const {key_256}) (i32.const {short}))"),
        )
        .function("null", &format!("(call $set_data (i32.const 0) (i32.const {short}))"))
        .function(
            "outside",
            &format!("(call $set_data (i32.const 0x7ffffff0) (i32.const {short}))"),
        )
        .function(
            "beyond",
            &format!("(call $set_data (i32.const -1) (i32.const {short}))"),
        )
        .function("returns_i64", "(result i64) (call $unsafe_random)")
        .function("returns_nothing_there", "(result i32) (i32.const 3)")
        .add(r#"(func (export "two") (param i32 i32))"#)
        .add(r#"(func (export "echo") (param i32) (result i32) (local.get 0))"#);
    wat.build()
}

#[test]
fn what_a_contract_cannot_do_costs_the_fee_and_changes_nothing_else() {
    let mut world = World::new();
    let recursive = {
        let mut wat = Wat::new();
        wat.add(r#"(func $deeper (export "main") (call $deeper))"#);
        wat.build()
    };
    let unknown = Wat::new()
        .import("send_message", "(param i32)")
        .function("main", "nop")
        .build();
    let grows = main_of("(loop $again (br_if $again (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) unreachable");
    let fills = main_of("(loop $again (memory.fill (i32.const 0) (i32.const 1) (i32.const 500000)) (br $again))");
    let many_pages = wat::parse_str(r#"(module (memory (export "memory") 1 65) (func (export "main")))"#).unwrap();
    let simd = wat::parse_str(r#"(module (func (export "main") (drop (v128.const i64x2 0 0))))"#).unwrap();
    let functions = format!(r#"(module {} (func (export "main")))"#, "(func)".repeat(768));
    let functions = wat::parse_str(functions).unwrap();
    let start_calls = wat::parse_str(
        r#"(module (import "massa" "assembly_script_get_balance" (func $b (result i64)))
        (memory (export "memory") 1) (func $start (drop (call $b))) (start $start) (func (export "main")))"#,
    );
    // Beyond 4 GiB after a growth that went well, and beyond what the memory itself allows.
    let beyond = main_of(
        "(drop (memory.grow (i32.const 1)))
        (if (i32.eq (memory.grow (i32.const 65535)) (i32.const -1)) (then unreachable))",
    );
    let beyond_its_own = wat::parse_str(
        r#"(module (memory (export "memory") 1 20) (func (export "main")
            (drop (memory.grow (i32.const 5)))
            (if (i32.eq (memory.grow (i32.const 15)) (i32.const -1)) (then unreachable))))"#,
    );
    let elements =
        wat::parse_str(r#"(module (table 10001 funcref) (memory (export "memory") 1) (func (export "main")))"#);
    let cases: [(Vec<u8>, &str); 16] = [
        (beyond, "unreachable"),
        (beyond_its_own.unwrap(), "unreachable"),
        (elements.unwrap(), "10001 elements of a table, above 10000"),
        (main_of("(loop $again (br $again))"), "Not enough gas"),
        (recursive, "call stack exhausted"),
        (grows, "unreachable"),
        (fills, "Not enough gas"),
        (unknown, "unknown import massa.assembly_script_send_message"),
        (many_pages, "65 pages of memory, above 64"),
        (simd, "module not valid"),
        (functions, "769 functions, above 768"),
        (start_calls.unwrap(), "not available during instantiation"),
        (Vec::new(), "not a WebAssembly module"),
        (b"\0asm\x01\0\0".to_vec(), "module not valid"),
        (wat::parse_str("(module)").unwrap(), "there is no function main"),
        (
            main_of("(drop (i32.div_u (i32.const 1) (i32.const 0)))"),
            "divide by zero",
        ),
    ];
    for (bytecode, reason) in cases {
        let operation = world.execute(bytecode);
        world.refuses(operation, reason);
    }
}

#[test]
fn what_is_stored_costs_by_the_byte_and_comes_back() {
    let mut world = World::new();
    let bytecode = keeper();
    let before = world.executor.balance(&world.alice).unwrap();
    let contract = world.deploy(bytecode.clone());
    let price = ACCOUNT + bytecode.len() as u64 * BYTE;
    let all = world.executor.balance(&world.alice).unwrap() + price + world.balance_of(contract).unwrap();
    assert_eq!(all, before);
    // A module without a constructor gets no coins, so it gets some now.
    assert_eq!(world.balance_of(contract), Some(0));
    let gift = call(&world.alice, (contract, "say"), &[], DEPOSIT, world.period + 5);
    world.ok(gift);

    let steps = [
        ("set", ENTRY + 7 * BYTE),
        ("set_long", ENTRY + 12 * BYTE),
        ("append", ENTRY + 15 * BYTE),
        ("set", ENTRY + 7 * BYTE),
        ("delete", 0),
    ];
    for (function, stored) in steps {
        let operation = world.call(contract, function, &[]);
        world.ok(operation);
        assert_eq!(world.balance_of(contract), Some(DEPOSIT - stored), "{function}");
    }
    assert_eq!(world.entry(contract, b"name"), None);
}

#[test]
fn a_contract_without_coins_cannot_store() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let operation = world.call(contract, "set", &[]);
    world.refuses(operation, "is needed");
}

#[test]
fn a_call_that_fails_leaves_its_events_marked_and_nothing_else() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let operation = call(&world.alice, (contract, "set_and_fail"), &[], DEPOSIT, world.period + 5);
    world.refuses(operation.clone(), "unreachable");
    assert_eq!(
        (world.entry(contract, b"name"), world.balance_of(contract)),
        (None, Some(0))
    );
    let events = world.events_of(&operation);
    assert_eq!(events[0].data, "said");
    assert!(events.iter().all(|event| event.context.is_error));
    assert_eq!(events[1].context.index_in_slot, 1);
}

#[test]
fn pointers_keys_events_and_results_are_checked() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    for (function, reason) in [
        ("null", "pointer 0 is not that of an object"),
        ("outside", "is not that of an object"),
        ("beyond", "is not that of an object"),
        ("set_empty_key", "a key of 0 bytes"),
        ("set_long_key", "a key of 256 bytes"),
        ("say_too_much", "event of 1025 bytes"),
        ("say_often", "more than 25 events"),
        ("get", "has no entry 6e616d65"),
        ("delete", "has no entry"),
        ("append", "has no entry"),
        ("returns_i64", "something else than a buffer"),
        ("returns_nothing_there", "pointer 3 is not that of an object"),
        ("two", "Unexpected number of parameters"),
        ("missing", "there is no function missing"),
        ("", "no function is named"),
        ("memory", "there is no function memory"),
    ] {
        let operation = world.call(contract, function, &[]);
        world.refuses(operation, reason);
    }
    let nobody = address(&world.producer);
    let operation = world.call(nobody, "f", &[]);
    world.refuses(operation, "there is no contract");
}

#[test]
fn coins_of_a_call_must_be_there_and_may_not_be_exceeded() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let operation = call(&world.alice, (contract, "say"), &[], 10_000 * COIN, world.period + 5);
    world.refuses(operation, "is needed");

    // Bytecode that gives away more of its sender's coins than the operation allows.
    let mut wat = Wat::new().import("transfer_coins", "(param i32 i64)");
    let to = wat.text(&contract.to_string());
    wat.function(
        "main",
        &format!("(call $transfer_coins (i32.const {to}) (i64.const 500))"),
    );
    let too_much = execute(&world.alice, wat.build(), 499, FEE, world.period + 5);
    world.refuses(too_much, "above the 0.000000499 that the operation allows");
    let enough = execute(&world.alice, wat.build(), 500, FEE, world.period + 5);
    world.ok(enough);
    assert_eq!(world.balance_of(contract), Some(500));
}

#[test]
fn a_new_user_address_costs_what_it_costs_and_a_new_contract_is_not_made_by_coins() {
    let mut world = World::new();
    let (nobody, no_contract) = (
        address(&key(1, 9)),
        "AS12U4TZfNK7qoLyEERBBRDMu8nm5MKoRzPXDXans4v9wdATZedz9",
    );
    let give = |to: &str, amount: i64| {
        let mut wat = Wat::new().import("transfer_coins", "(param i32 i64)");
        let to = wat.text(to);
        let body = format!("(call $transfer_coins (i32.const {to}) (i64.const {amount}))");
        wat.function("main", &body).build()
    };
    for (bytecode, reason) in [
        (
            give(&nobody.to_string(), ACCOUNT as i64 - 1),
            "does not pay for the new address",
        ),
        (give(&nobody.to_string(), -1), "-1 coins"),
        (give("AU1", 1), "address \"AU1\""),
    ] {
        let operation = world.execute(bytecode);
        world.refuses(operation, reason);
    }
    if no_contract.parse::<Address>().is_ok() {
        let operation = world.execute(give(no_contract, COIN as i64));
        world.refuses(operation, "there is no contract");
    }
    let operation = world.execute(give(&nobody.to_string(), ACCOUNT as i64 + 7));
    world.ok(operation);
    assert_eq!(world.balance_of(nobody), Some(7));
}

/// A contract that calls itself, again and again.
fn caller_of_itself() -> Vec<u8> {
    let mut wat = Wat::new()
        .import("get_call_stack", "(result i32)")
        .import("call", "(param i32 i32 i32 i64) (result i32)")
        .import("local_call", "(param i32 i32 i32) (result i32)");
    let (again, locally) = (wat.text("again"), wat.text("locally"));
    wat.add(&format!(
        r#"(func (export "again") (param i32) (result i32)
            (call $call (local.get 0) (i32.const {again}) (local.get 0) (i64.const 0)))
        (func (export "locally") (param i32) (result i32)
            (call $local_call (local.get 0) (i32.const {locally}) (local.get 0)))"#
    ));
    wat.build()
}

#[test]
fn calls_nest_to_a_depth_of_twenty_five() {
    let mut world = World::new();
    let contract = world.deploy(caller_of_itself());
    let parameter: Vec<u8> = contract.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
    for function in ["again", "locally"] {
        let operation = world.call(contract, function, &parameter);
        world.refuses(operation, "calls are nested deeper than 25");
    }
}

#[test]
fn the_stack_holds_as_many_instances_as_may_be_nested_each_as_deep_as_it_can_be() {
    let mut world = World::new();
    let mut wat = Wat::new().import("call", "(param i32 i32 i32 i64) (result i32)");
    let name = wat.text("dig");
    // Goes down for a while, then calls itself as another instance, which does the same.
    wat.add(&format!(
        r#"(func $down (param $left i32) (param $self i32) (result i32)
            (if (result i32) (i32.eqz (local.get $left))
                (then (call $call (local.get $self) (i32.const {name}) (local.get $self) (i64.const 0)))
                (else (i32.add (i32.const 1)
                    (call $down (i32.sub (local.get $left) (i32.const 1)) (local.get $self))))))
        (func (export "dig") (param i32) (result i32) (call $down (i32.const 5000) (local.get 0)))
        (func (export "dig_alone") (param i32) (result i32) (call $down (i32.const 100000) (local.get 0)))"#
    ));
    let contract = world.deploy(wat.build());
    let parameter: Vec<u8> = contract.to_string().encode_utf16().flat_map(u16::to_le_bytes).collect();
    let operation = world.call(contract, "dig", &parameter);
    world.refuses(operation, "calls are nested deeper than 25");
    let operation = world.call(contract, "dig_alone", &parameter);
    world.refuses(operation, "call stack exhausted");
}

#[test]
fn an_allocator_that_calls_the_host_ends_with_an_error() {
    let mut world = World::new();
    let bytecode = wat::parse_str(
        r#"(module (import "massa" "assembly_script_get_call_stack" (func $stack (result i32)))
        (memory (export "memory") 1)
        (func $new (export "__new") (param i32 i32) (result i32) (call $stack))
        (func (export "__pin") (param i32) (result i32) (local.get 0))
        (func (export "main") (drop (call $stack))))"#,
    );
    let operation = world.execute(bytecode.unwrap());
    world.refuses(operation, "call stack exhausted");
    for (new, reason) in [
        ("i32.const -1", "outside of the memory"),
        ("unreachable", "unreachable"),
    ] {
        let text = format!(
            r#"(module (import "massa" "assembly_script_get_call_stack" (func $stack (result i32)))
            (memory (export "memory") 1)
            (func (export "__new") (param i32 i32) (result i32) {new})
            (func (export "main") (drop (call $stack))))"#
        );
        let operation = world.execute(wat::parse_str(text).unwrap());
        world.refuses(operation, reason);
    }
    let without_runtime = wat::parse_str(
        r#"(module (import "massa" "assembly_script_get_call_stack" (func $stack (result i32)))
        (func (export "main") (drop (call $stack))))"#,
    );
    let operation = world.execute(without_runtime.unwrap());
    world.refuses(operation, "does not export __new");
}

#[test]
fn a_deployed_contract_answers_keeps_and_lists() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let gift = call(&world.alice, (contract, "set"), &[], DEPOSIT, world.period + 5);
    world.ok(gift);
    assert_eq!(world.entry(contract, b"name"), Some(b"abc".to_vec()));
    assert_eq!(world.read(contract, "get", &[]).call_result, Ok(b"abc".to_vec()));
    assert_eq!(
        world.read(contract, "keys", &[]).call_result,
        Ok(b"\x01\0\0\0\x04name".to_vec())
    );
    assert_eq!(world.read(contract, "echo", &[7; 1000]).call_result, Ok(vec![7; 1000]));
    let request = DatastoreKeysRequest {
        address: contract,
        is_final: true,
        prefix: b"na".to_vec(),
        start: Bound::Unbounded,
        end: Bound::Unbounded,
        count: 10,
    };
    assert_eq!(world.executor.controller.get_datastore_keys(&request), [b"name"]);
    let codes = world.executor.controller.get_final_and_candidate_bytecode(&[contract]);
    assert_eq!(codes[0], (Some(keeper()), Some(keeper())));
    let infos = world.executor.controller.get_addresses_infos(&[contract]);
    assert_eq!(infos[0].final_datastore_keys, [b"name"]);
}

#[test]
fn a_reader_that_has_enough_is_read_nothing_more() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let gift = call(&world.alice, (contract, "set"), &[], DEPOSIT, world.period + 5);
    world.ok(gift);
    let controller = &world.executor.controller;
    // Final and candidate value of each.
    for (enough, whole) in [(0, 0), (1, 0), (3, 1), (4, 2), (100, 3)] {
        let mut shown = Vec::new();
        let mut keep = |bytes: &[u8]| {
            shown.push(bytes.to_vec());
            shown.len() <= enough
        };
        let entries = controller.read_data_entries(&vec![(contract, b"name".to_vec()); 3], &mut keep);
        assert_eq!(entries.len(), whole);
        assert_eq!(shown.len(), 6.min(enough + 1), "one more is looked at, and refused");
        shown.clear();
        let mut keep = |bytes: &[u8]| {
            shown.push(bytes.to_vec());
            shown.len() <= enough
        };
        assert_eq!(controller.read_bytecodes(&[contract; 3], &mut keep).len(), whole);
        assert_eq!(shown.len(), 6.min(enough + 1));
    }
}

#[test]
fn what_a_block_did_that_left_the_best_clique_is_gone() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let slot = (world.period + 1, 0);
    let set = call(&world.alice, (contract, "set"), &[], DEPOSIT, world.period + 5);
    let create = deploy(&world.alice, caller_of_itself(), &[], 0, world.period + 5);
    let block = world.chain.fork(slot, &world.producer, &[set, create.clone()]);
    world.executor.set_clique(&[&block]);
    world.executor.wait_candidate(slot);
    let controller = &world.executor.controller;
    let candidate = |key: &[u8]| controller.get_final_and_active_data_entry(vec![(contract, key.to_vec())])[0].clone();
    let created = deployed_address(&world.events_of(&create));
    let bytecode = || controller.get_final_and_candidate_bytecode(&[created])[0].clone();
    assert_eq!(candidate(b"name"), (None, Some(b"abc".to_vec())));
    assert_eq!(bytecode(), (None, Some(caller_of_itself())));
    assert!(world.events_of(&create).iter().all(|event| !event.context.is_final));

    world.executor.set_clique(&[]);
    world.executor.wait_candidate((world.period, 1));
    assert_eq!((candidate(b"name"), bytecode()), ((None, None), (None, None)));
    assert_eq!(world.events_of(&create), []);

    // What becomes final leaves the candidates, and what is final afterwards is seen.
    world.executor.set_clique(&[&block]);
    world.executor.wait_candidate(slot);
    let other = world.chain.block((slot.0, 1), &world.producer, &[]);
    world.chain.tips[0] = block.id;
    world.executor.run_to(&[&block, &other], (slot.0, 1));
    assert_eq!(candidate(b"name"), (Some(b"abc".to_vec()), Some(b"abc".to_vec())));
    let delete = call(&world.alice, (contract, "delete"), &[], 0, slot.0 + 5);
    let last = world.chain.block((slot.0 + 1, 0), &world.producer, &[delete]);
    world.executor.run_to(&[&last], (slot.0 + 1, 0));
    let candidate = world
        .executor
        .controller
        .get_final_and_active_data_entry(vec![(contract, b"name".to_vec())]);
    assert_eq!(candidate[0], (None, None));
}

#[test]
fn a_read_only_execution_changes_nothing_and_reports_its_gas() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let gift = call(&world.alice, (contract, "say"), &[], DEPOSIT, world.period + 5);
    world.ok(gift);
    let hash = world.executor.hash();
    let output = world.read(contract, "set", &[]);
    assert_eq!((output.call_result, output.gas_cost), (Ok(Vec::new()), 2_100_000));
    assert_eq!(output.slot.period, world.period + 1);
    let output = world.read(contract, "set_and_fail", &[]);
    assert!(output.call_result.unwrap_err().contains("unreachable"));
    assert_eq!(output.events.len(), 2);
    assert!(output
        .events
        .iter()
        .all(|event| event.context.read_only && event.context.is_error));
    assert_eq!((world.entry(contract, b"name"), world.executor.hash()), (None, hash));
}

#[test]
fn a_block_executes_what_fits_its_gas() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let with_gas =
        |gas: u64, fee: u64| call_with(&world.alice, (contract, "say"), &[], (0, fee, gas), world.period + 5);
    let block_gas = u64::from(u32::MAX);
    let (first, too_much, fits) = (
        with_gas(block_gas - 10_000_000, 1),
        with_gas(9_200_001, 2),
        with_gas(8_400_000 - 1, 3),
    );
    let expected = [(Some(true), Some(true)), (None, None), (Some(true), Some(true))];
    // The first takes all but 9 200 000, base gas included; the second one asks for 800 001 too much.
    world.run(&[first.clone(), too_much.clone(), fits.clone()]);
    let statuses = [&first, &too_much, &fits].map(|operation| world.executor.status(operation));
    assert_eq!(statuses, expected);
    let beyond = call_with(
        &world.alice,
        (contract, "say"),
        &[],
        (0, 1, block_gas - 799_999),
        world.period + 5,
    );
    world.run(slice::from_ref(&beyond));
    assert_eq!(world.executor.status(&beyond), (None, None));
}

#[test]
fn operations_with_too_little_gas_for_a_module_fail() {
    let mut world = World::new();
    let contract = world.deploy(keeper());
    let operation = call_with(
        &world.alice,
        (contract, "say"),
        &[],
        (0, FEE, 2_099_999),
        world.period + 5,
    );
    world.refuses(operation, "Not enough gas");
    let operation = call_with(
        &world.alice,
        (contract, "say"),
        &[],
        (0, FEE, 2_100_000),
        world.period + 5,
    );
    world.ok(operation);
}

/// Arguments of massa-web3: a string or bytes with their length before them.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_le_bytes()[..], bytes].concat()
}

/// Reward, least and most GB, answer time, slash, least stake, stake per GB, replication, chunk, periods of a segment, first
/// segment, segments of a round.
const REGISTRY_CONFIG: [u64; 12] = [
    1_000_000,
    1,
    16_384,
    60_000,
    10,
    100 * COIN,
    COIN,
    3,
    1 << 20,
    100,
    0,
    4,
];

/// Constructor arguments of the registry: the administrator, then its numbers.
fn registry_arguments(admin: &Address) -> Vec<u8> {
    let mut arguments = sized(admin.to_string().as_bytes());
    for number in REGISTRY_CONFIG {
        arguments.extend(number.to_le_bytes());
    }
    arguments
}

#[test]
fn the_registry_is_deployed_called_and_read() {
    let mut world = World::new();
    let arguments = registry_arguments(&address(&world.alice));
    let operation = deploy(&world.alice, registry(), &arguments, COIN, world.period + 5);
    let registry = deployed_address(&world.ok(operation));

    let register = |key: &KeyPair| {
        call(
            key,
            (registry, "registerStorageNode"),
            &10u64.to_le_bytes(),
            400 * COIN,
            9,
        )
    };
    let operation = register(&world.alice);
    let events = world.ok(operation);
    assert!(
        events
            .iter()
            .any(|event| event.data.starts_with("STORAGE_NODE_REGISTERED")),
        "{events:?}"
    );
    let total = world.read(registry, "getTotalNodes", &[]).call_result.unwrap();
    assert_eq!(total[0], 1);
    let again = call_with(
        &world.alice,
        (registry, "registerStorageNode"),
        &10u64.to_le_bytes(),
        (400 * COIN, FEE, 500_000_000),
        9,
    );
    world.refuses(again, "error: ");
    // The pool of rewards.
    let fund = call(&world.alice, (registry, "fund"), &[], 50 * COIN, 9);
    world.ok(fund);
    let events = world.read(registry, "getConfig", &[]);
    assert!(events.call_result.is_ok(), "{events:?}");
}
