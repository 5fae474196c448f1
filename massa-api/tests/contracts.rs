//! What contracts have stored and said, and executions that change nothing.

mod common;

use common::{blocks, config, first_operation, TestNode};
use massa_api_exports::execution::{ExecuteReadOnlyResponse, ReadOnlyResult};
use massa_execution_exports::{
    ExecutionError, ExecutionStackElement, ReadOnlyExecutionOutput, ReadOnlyExecutionTarget,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::datastore::{Datastore, DatastoreSerializer};
use massa_models::execution::EventFilter;
use massa_models::output_event::{EventExecutionContext, SCOutputEvent};
use massa_models::slot::Slot;
use massa_serialization::Serializer;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use serde_json::{json, Value};
use std::ops::Bound;

fn address() -> Address {
    Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key())
}

/// A refusal of the arguments that says `says`.
#[track_caller]
fn refused(node: &TestNode, method: &str, params: Value, says: &str) {
    let (code, message) = node.refusal(method, params);
    assert!(
        code == -32000 && message.contains(says),
        "{code} {message:?} does not say {says:?}"
    );
}

fn output(call_result: Result<Vec<u8>, String>) -> ReadOnlyExecutionOutput {
    ReadOnlyExecutionOutput {
        slot: Slot::new(8, 11),
        gas_cost: 2_100_000,
        call_result,
        events: vec![event()],
    }
}

fn event() -> SCOutputEvent {
    let context = EventExecutionContext {
        slot: Slot::new(8, 11),
        block: None,
        read_only: true,
        index_in_slot: 0,
        call_stack: [address(), address()].into(),
        origin_operation_id: None,
        is_final: false,
        is_error: false,
        deferred_call_id: None,
        async_msg_id: None,
    };
    SCOutputEvent {
        context,
        data: "said".to_string(),
    }
}

fn alone(address: Address) -> ExecutionStackElement {
    ExecutionStackElement {
        address,
        coins: Amount::zero(),
        owned_addresses: vec![address],
        operation_datastore: None,
    }
}

#[test]
fn entries_are_told_in_the_order_in_which_they_are_asked_for() {
    let node = TestNode::start();
    let contract = address();
    let values = [
        (vec![1], (Some(vec![10]), Some(vec![11]))),
        (vec![2], (None, Some(Vec::new()))),
    ];
    for (key, value) in values {
        node.world().datastore.insert((contract, key), value);
    }
    let asked = [2, 9, 1].map(|key| json!({"address": contract, "key": [key]}));
    let told: Value = node.call("get_datastore_entries", json!([asked])).unwrap();
    let expected = json!([
        {"final_value": null, "candidate_value": []},
        {"final_value": null, "candidate_value": null},
        {"final_value": [10], "candidate_value": [11]},
    ]);
    assert_eq!(told, expected);
}

#[test]
fn a_key_that_no_datastore_can_have_is_refused_by_name() {
    let node = TestNode::start();
    let entry = |key: &[u8]| json!([[{"address": address(), "key": [1]}, {"address": address(), "key": key}]]);
    refused(
        &node,
        "get_datastore_entries",
        entry(&[]),
        "entries[1].key: must not be empty",
    );
    let says = "entries[1].key: 256 bytes are more than 255";
    refused(&node, "get_datastore_entries", entry(&[7; 256]), says);
    node.call::<Value>("get_datastore_entries", entry(&[7; 255])).unwrap();
}

#[test]
fn keys_are_told_by_page_as_massa_web3_turns_them() {
    let node = TestNode::start();
    let contract = address();
    for number in 0..7u8 {
        let key = (contract, vec![b'n', number]);
        node.world().datastore.insert(key, (Some(vec![0]), Some(vec![0])));
    }
    node.world()
        .datastore
        .insert((contract, b"m".to_vec()), Default::default());
    let mut start = Value::Null;
    let mut keys = Vec::new();
    loop {
        let inclusive = start.is_null();
        let request = json!({
            "address": contract, "is_final": true, "prefix": [b'n'], "count": 3,
            "start_key": start, "inclusive_start_key": inclusive, "end_key": null, "inclusive_end_key": null,
        });
        let told: Value = node.call("get_addresses_datastore_keys", json!([[request]])).unwrap();
        assert_eq!(
            (&told[0]["address"], &told[0]["is_final"]),
            (&json!(contract), &json!(true))
        );
        let page = told[0]["keys"].as_array().unwrap().clone();
        keys.extend(page.iter().cloned());
        if page.len() < 3 {
            break;
        }
        start = page[2].clone();
    }
    assert_eq!(
        json!(keys),
        json!((0..7).map(|number| [b'n', number]).collect::<Vec<_>>())
    );
}

#[test]
fn ranges_of_keys_are_handed_over_as_they_are_meant() {
    let node = TestNode::start();
    let bounds = |range: Value| {
        let mut request = json!({"address": address(), "is_final": false});
        let fields = range.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(fields);
        node.call::<Value>("get_addresses_datastore_keys", json!([[request]]))
            .unwrap();
        let request = node.world().keys_requests.pop().unwrap();
        assert!(!request.is_final);
        (request.start, request.end, request.count)
    };
    assert_eq!(bounds(json!({})), (Bound::Unbounded, Bound::Unbounded, 500));
    assert_eq!(
        bounds(json!({"start_key": [1], "end_key": [2], "count": 500})),
        (Bound::Included(vec![1]), Bound::Included(vec![2]), 500)
    );
    assert_eq!(
        bounds(json!({
            "start_key": [1], "inclusive_start_key": false, "end_key": [2], "inclusive_end_key": false, "count": 1,
        })),
        (Bound::Excluded(vec![1]), Bound::Excluded(vec![2]), 1)
    );
    // A range that ends before it begins has no keys, and is no failure.
    bounds(json!({"start_key": [2], "end_key": [1]}));
}

#[test]
fn what_is_asked_of_keys_is_bounded_by_name() {
    let node = TestNode::start();
    let method = "get_addresses_datastore_keys";
    let request = |more: Value| {
        let mut request = json!({"address": address(), "is_final": true});
        let fields = more.as_object().unwrap().clone();
        request.as_object_mut().unwrap().extend(fields);
        request
    };
    let many = |count| json!([vec![request(json!({})); count]]);
    refused(&node, method, many(51), "requests: 51 entries are more than 50");
    node.call::<Value>(method, many(50)).unwrap();
    for (field, value, says) in [
        ("count", json!(501), "501 is not between 1 and 500"),
        ("count", json!(0), "0 is not between 1 and 500"),
        ("prefix", json!(vec![0; 256]), "256 bytes are more than 255"),
        ("start_key", json!(vec![0; 256]), "256 bytes are more than 255"),
        ("end_key", json!(vec![0; 256]), "256 bytes are more than 255"),
    ] {
        let bad = request([(field.to_string(), value)].into_iter().collect());
        let says = format!("requests[1].{field}: {says}");
        refused(&node, method, json!([[request(json!({})), bad]]), &says);
    }
}

#[test]
fn an_address_is_told_with_the_keys_of_its_datastore() {
    let node = TestNode::start();
    let contract = address();
    let known = massa_execution_exports::ExecutionAddressInfo {
        final_datastore_keys: vec![vec![1]],
        candidate_datastore_keys: vec![vec![1], vec![2, 3]],
        ..Default::default()
    };
    node.world().addresses.insert(contract, known);
    let told: Value = node.call("get_addresses", json!([[contract]])).unwrap();
    assert_eq!(told[0]["final_datastore_keys"], json!([[1]]));
    assert_eq!(told[0]["candidate_datastore_keys"], json!([[1], [2, 3]]));
}

#[test]
fn bytecode_is_told_as_it_is_final_or_not() {
    let node = TestNode::start();
    let contract = address();
    let code = (Some(vec![0, 97]), Some(vec![0, 98]));
    node.world().bytecodes.insert(contract, code);
    let asked = json!([
        {"address": contract, "is_final": true},
        {"address": contract, "is_final": false},
        {"address": address(), "is_final": true},
    ]);
    let told: Value = node.call("get_addresses_bytecode", json!([asked])).unwrap();
    assert_eq!(told, json!([[0, 97], [0, 98], []]));
}

#[test]
fn the_filter_of_events_is_handed_over_whole() {
    let node = TestNode::start();
    node.world().events = vec![event()];
    let operation = first_operation(&blocks()[0]).id;
    let (emitter, caller) = (address(), address());
    let asked = json!({
        "start": {"period": 1, "thread": 2}, "end": {"period": 30, "thread": 4},
        "emitter_address": emitter, "original_caller_address": caller,
        "original_operation_id": operation, "is_final": true, "is_error": false,
    });
    let told: Vec<SCOutputEvent> = node.call("get_filtered_sc_output_event", json!([asked])).unwrap();
    assert_eq!(told, node.world().events);
    let filter = EventFilter {
        start: Some(Slot::new(1, 2)),
        end: Some(Slot::new(30, 4)),
        emitter_address: Some(emitter),
        original_caller_address: Some(caller),
        original_operation_id: Some(operation),
        is_final: Some(true),
        is_error: Some(false),
    };
    node.call::<Value>("get_filtered_sc_output_event", json!([{}])).unwrap();
    assert_eq!(node.world().event_filters, [filter, EventFilter::default()]);
}

#[test]
fn a_call_is_made_by_its_caller_with_its_coins() {
    let node = TestNode::start();
    node.world().execution_output = Some(Ok(output(Ok(vec![1, 2]))));
    let (caller, contract) = (address(), address());
    let call = json!({
        "max_gas": 4_294_167_295_u64, "target_address": contract, "target_function": "register", "parameter": [3],
        "caller_address": caller, "coins": "1.5", "fee": "0.01",
    });
    let told: Vec<ExecuteReadOnlyResponse> = node.call("execute_read_only_call", json!([[call]])).unwrap();
    assert_eq!(
        (&told[0].result, told[0].gas_cost, told[0].executed_at),
        (&ReadOnlyResult::Ok(vec![1, 2]), 2_100_000, Slot::new(8, 11))
    );
    assert_eq!(told[0].output_events[0].data, "said");
    let request = node.world().executions.pop().unwrap();
    let coins: Amount = "1.5".parse().unwrap();
    let callee = ExecutionStackElement {
        coins,
        ..alone(contract)
    };
    assert_eq!(request.call_stack, [alone(caller), callee]);
    assert_eq!(
        (request.max_gas, request.coins, request.fee),
        (4_294_167_295, Some(coins), Some("0.01".parse().unwrap()))
    );
    let target = ReadOnlyExecutionTarget::FunctionCall {
        target_addr: contract,
        target_func: "register".to_string(),
        parameter: vec![3],
    };
    assert_eq!(request.target, target);
}

#[test]
fn a_module_runs_with_the_datastore_of_its_operation() {
    let node = TestNode::start();
    node.world().execution_output = Some(Ok(output(Ok(Vec::new()))));
    let datastore: Datastore = [(vec![0], vec![1, 0]), (vec![7; 255], vec![9; 70_000])].into();
    let mut bytes = Vec::new();
    DatastoreSerializer::new().serialize(&datastore, &mut bytes).unwrap();
    let creator = address();
    let execution = |operation_datastore| {
        json!([[{
            "max_gas": 3_980_167_295_u64, "bytecode": [0, 97], "address": creator,
            "operation_datastore": operation_datastore, "fee": null,
        }]])
    };
    for (sent, expected) in [(json!(bytes), datastore), (Value::Null, Datastore::new())] {
        node.call::<Value>("execute_read_only_bytecode", execution(sent))
            .unwrap();
        let request = node.world().executions.pop().unwrap();
        let creator = ExecutionStackElement {
            operation_datastore: Some(expected),
            ..alone(creator)
        };
        assert_eq!(request.call_stack, [creator]);
        assert_eq!(request.target, ReadOnlyExecutionTarget::BytecodeExecution(vec![0, 97]));
    }
}

#[test]
fn a_caller_that_is_not_named_is_somebody_new() {
    let node = TestNode::start();
    node.world().execution_output = Some(Ok(output(Ok(Vec::new()))));
    let call = json!({"max_gas": 1, "target_address": address(), "target_function": "f", "parameter": []});
    node.call::<Value>("execute_read_only_call", json!([[call, call]]))
        .unwrap();
    let callers: Vec<Address> = node
        .world()
        .executions
        .iter()
        .map(|request| request.call_stack[0].address)
        .collect();
    assert_ne!(callers[0], callers[1]);
}

#[test]
fn a_contract_that_fails_is_a_result_and_a_request_that_cannot_be_run_is_an_error() {
    let node = TestNode::start();
    let call = json!([[{"max_gas": 1, "target_address": address(), "target_function": "f", "parameter": []}]]);
    node.world().execution_output = Some(Ok(output(Err("data entry not found".to_string()))));
    let told: Value = node.call("execute_read_only_call", call.clone()).unwrap();
    assert_eq!(told[0]["result"], json!({"Error": "data entry not found"}));
    assert!(told[0]["state_changes"].is_object());

    let field = "target_address";
    let reason = "no contract".to_string();
    node.world().execution_output = Some(Err(ExecutionError::Request { field, reason }));
    let (code, message) = node.refusal("execute_read_only_call", call);
    assert_eq!(
        (code, message.contains("target_address: no contract")),
        (-32010, true),
        "{message}"
    );
}

#[test]
fn executions_out_of_range_are_refused_by_name() {
    let node = TestNode::start();
    let (max_gas, name) = (4_294_967_296_u64, "f".repeat(256));
    let call = |field: &str, value: Value| {
        let mut call = json!({"max_gas": 1, "target_address": address(), "target_function": "f", "parameter": []});
        call[field] = value;
        json!([[call]])
    };
    for (field, value, says) in [
        ("max_gas", json!(max_gas), "4294967296 is more than 4294967295"),
        ("target_function", json!(""), "must not be empty"),
        ("target_function", json!(name), "256 bytes are more than 255"),
        (
            "parameter",
            json!(vec![0; 10_000_001]),
            "10000001 bytes are more than 10000000",
        ),
    ] {
        let says = format!("calls[0].{field}: {says}");
        refused(&node, "execute_read_only_call", call(field, value), &says);
    }
    let execution = |field: &str, value: Value| {
        let mut execution = json!({"max_gas": 1, "bytecode": []});
        execution[field] = value;
        json!([[execution]])
    };
    for (field, value, says) in [
        ("max_gas", json!(max_gas), "4294967296 is more than 4294967295"),
        (
            "bytecode",
            json!(vec![0; 10_000_001]),
            "10000001 bytes are more than 10000000",
        ),
        ("operation_datastore", json!([1, 1]), ""),
        ("operation_datastore", json!([129, 1]), ""),
        ("operation_datastore", json!([0, 7]), "1 bytes follow it"),
    ] {
        let says = format!("executions[0].{field}: {says}");
        refused(&node, "execute_read_only_bytecode", execution(field, value), &says);
    }
    assert!(node.world().executions.is_empty());
}

#[test]
fn executions_that_take_too_long_end() {
    let mut config = config();
    config.read_only_deadline = MassaTime::from_millis(0);
    let node = TestNode::start_with(config);
    node.world().execution_output = Some(Ok(output(Ok(Vec::new()))));
    let call = json!({"max_gas": 1, "target_address": address(), "target_function": "f", "parameter": []});
    let (code, message) = node.refusal("execute_read_only_call", json!([[call, call]]));
    assert_eq!(code, -32051);
    assert!(
        message.contains("calls: only 0 of 2 were executed in time"),
        "{message}"
    );
}

#[test]
fn only_so_many_calls_execute_at_a_time_and_the_other_methods_go_on() {
    let mut config = config();
    (config.read_only_at_once, config.read_only_waiting) = (1, 0);
    let node = TestNode::start_with(config);
    let gate = common::gate::Gate::default();
    node.world().execution_gate = Some(gate.clone());
    node.world().execution_output = Some(Ok(output(Ok(Vec::new()))));
    let call = json!([{"max_gas": 1, "target_address": address(), "target_function": "f", "parameter": []}]);
    let client = node.public.clone();
    let params = jsonrpsee::rpc_params![call.clone()];
    let first = node.runtime.spawn(async move {
        jsonrpsee::core::client::ClientT::request::<Value, _>(&client, "execute_read_only_call", params).await
    });
    gate.wait_for(1);

    let (code, message) = node.refusal("execute_read_only_call", json!([call]));
    assert_eq!(
        (code, message.contains("too many executions")),
        (-32051, true),
        "{message}"
    );
    node.call::<Value>("get_status", json!([])).unwrap();

    gate.open();
    node.runtime.block_on(first).unwrap().unwrap();
    node.call::<Value>("execute_read_only_call", json!([call])).unwrap();
}
