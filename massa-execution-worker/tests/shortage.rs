//! What the machine lacks is never the result of a contract. One test in a process of its own: it lowers the limits of
//! the process.

mod common;

use common::contract::*;
use common::*;
use massa_execution_exports::{
    ExecutionError, ExecutionStackElement, ReadOnlyExecutionRequest, ReadOnlyExecutionTarget,
};
use massa_models::address::Address;
use massa_models::execution::EventFilter;
use massa_models::slot::Slot;
use rustix::process::{getrlimit, setrlimit, Resource, Rlimit};

/// Less than an instance takes, and enough for the rest of the process meanwhile.
const SPARE_ADDRESS_SPACE: u64 = 3 << 20;

/// Lowers a limit until it is dropped.
struct Lowered(Resource, Rlimit);

impl Lowered {
    fn to(resource: Resource, value: u64) -> Self {
        let before = getrlimit(resource);
        let current = Some(value);
        setrlimit(resource, Rlimit { current, ..before }).unwrap();
        Self(resource, before)
    }

    fn address_space() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")).unwrap();
        let kib: u64 = size.trim().trim_end_matches(" kB").parse().unwrap();
        Self::to(Resource::As, (kib << 10) + SPARE_ADDRESS_SPACE)
    }

    /// No descriptor beyond those that are open.
    fn descriptors() -> Self {
        let open = std::fs::read_dir("/proc/self/fd").unwrap();
        let numbers = open.map(|entry| {
            entry
                .unwrap()
                .file_name()
                .into_string()
                .unwrap()
                .parse::<u64>()
                .unwrap()
        });
        Self::to(Resource::Nofile, numbers.max().unwrap())
    }
}

impl Drop for Lowered {
    fn drop(&mut self) {
        setrlimit(self.0, self.1).unwrap();
    }
}

/// Counts its calls by the length of an entry.
fn counter() -> Vec<u8> {
    let mut wat = Wat::new()
        .import("set_data", "(param i32 i32)")
        .import("append_data", "(param i32 i32)")
        .import("has_data", "(param i32) (result i32)");
    let (key, value) = (wat.data(&[1]), wat.data(&[7; 10]));
    wat.function(
        "count",
        &format!(
            "(if (call $has_data (i32.const {key}))
                (then (call $append_data (i32.const {key}) (i32.const {value})))
                (else (call $set_data (i32.const {key}) (i32.const {value}))))"
        ),
    );
    wat.build()
}

fn read(executor: &Executor, target: Address) -> Result<bool, ExecutionError> {
    let element = |address| ExecutionStackElement {
        address,
        coins: nano(0),
        owned_addresses: vec![address],
        operation_datastore: None,
    };
    let output = executor.controller.execute_readonly_request(ReadOnlyExecutionRequest {
        max_gas: 100_000_000,
        call_stack: vec![element(address(&key(0, 0))), element(target)],
        target: ReadOnlyExecutionTarget::FunctionCall {
            target_addr: target,
            target_func: "count".to_string(),
            parameter: Vec::new(),
        },
        coins: None,
        fee: None,
    })?;
    Ok(output.call_result.is_ok())
}

#[test]
fn what_the_machine_lacks_halts_execution_and_changes_no_result() {
    let (alice, producer) = (key(0, 0), key(1, 1));
    let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let start = |directory: &tempfile::TempDir| Executor::start(config(directory.path(), &[(&alice, 1000 * COIN)]));
    let [limited, unlimited] = directories.each_ref().map(start);
    let mut chain = Chain::new();
    let deployment = deploy(&alice, counter(), &[], DEPOSIT, 5);
    let first = chain.block((1, 0), &producer, std::slice::from_ref(&deployment));
    limited.run_to(&[&first], (1, 0));
    let contract = deployed_address(&limited.controller.get_filtered_sc_output_event(EventFilter::default()));
    let counting = |number: u8, period: u64| call(&alice, (contract, "count"), &[number], COIN, period + 5);
    // What is compiled and in memory now is no part of the shortage.
    let second = chain.block((1, 1), &producer, &[]);
    let third = chain.block((2, 0), &producer, &[counting(1, 2)]);
    let fourth = chain.block((2, 1), &producer, &[]);
    limited.run_to(&[&second, &third, &fourth], (2, 1));
    assert!(read(&limited, contract).unwrap());

    let fifth = chain.block((3, 0), &producer, &[counting(2, 3), counting(3, 3)]);
    let sixth = chain.block((3, 1), &producer, &[]);
    let shortage = Lowered::address_space();
    limited.set_clique(&[&fifth]);
    limited.finalize(&[&fifth, &sixth]);
    limited.wait("halt", |executor| executor.controller.get_halt_reason().is_some());
    let reason = limited.controller.get_halt_reason().unwrap();
    let answer = read(&limited, contract);
    let (stats, status) = (limited.controller.get_stats(), limited.status(&deployment));
    drop(shortage);
    assert!(reason.contains("this node lacks what it needs to execute"), "{reason}");
    assert!(reason.contains("mmap"), "{reason}");
    assert!(matches!(answer, Err(ExecutionError::Shortage(_))), "{answer:?}");
    assert_eq!(
        (stats.final_cursor, stats.active_cursor),
        (Slot::new(2, 1), Slot::new(2, 1))
    );
    assert_eq!(status, (Some(true), Some(true)));

    limited.wait_final((3, 1));
    limited.wait("going on", |executor| executor.controller.get_halt_reason().is_none());
    assert!(read(&limited, contract).unwrap());

    let seventh = chain.block((4, 0), &producer, &[counting(4, 4)]);
    {
        let _shortage = Lowered::descriptors();
        limited.run_to(&[&seventh], (4, 0));
    }
    unlimited.run_to(&[&first, &second, &third, &fourth, &fifth, &sixth, &seventh], (4, 0));
    assert_eq!(limited.hash(), unlimited.hash());
    let entry = unlimited
        .controller
        .get_final_and_active_data_entry(vec![(contract, vec![1])]);
    assert_eq!(entry[0].0.as_ref().map(Vec::len), Some(40));
}
