//! The exchanges recorded from upstream's node: each request is understood here, and the answer has the same fields and
//! kinds of values.

mod common;

use common::{blocks, config, first_operation, TestNode};
use jsonrpsee::core::client::Error as ClientError;
use massa_api::ApiConfig;
use massa_execution_exports::{ExecutionAddressInfo, ReadOnlyExecutionOutput};
use massa_models::address::Address;
use massa_models::clique::Clique;
use massa_models::operation::OperationId;
use massa_models::output_event::SCOutputEvent;
use massa_models::slot::Slot;
use massa_tests::mblk::data_path;
use serde_json::{json, Value};
use std::collections::BTreeMap;

/// What this node leaves out on purpose: the changes of a read-only execution, and what it does not keep.
const LEFT_OUT: [&str; 2] = ["state_changes", "cycle_infos"];
/// What only this node tells.
const ADDED: [&str; 1] = ["final_state_hash"];

struct Exchange {
    method: String,
    params: Value,
    response: Value,
}

fn exchanges() -> Vec<Exchange> {
    let text = std::fs::read_to_string(data_path("upstream-rpc-transcripts.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let exchanges = lines.filter_map(|line| {
        Some(Exchange {
            method: line["request"]["method"].as_str()?.to_string(),
            params: whole(&line["request"]["params"]),
            response: whole(&line["response"]),
        })
    });
    exchanges.collect()
}

/// Without the notes that stand where a long list was cut.
fn whole(value: &Value) -> Value {
    let is_note = |value: &Value| value.as_str().is_some_and(|text| text.starts_with('…'));
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), whole_datastore(name, whole(value))))
            .collect(),
        Value::Array(values) => values.iter().filter(|value| !is_note(value)).map(whole).collect(),
        other => other.clone(),
    }
}

/// The recorded datastores were cut; one entry of the real length is as good.
fn whole_datastore(name: &str, value: Value) -> Value {
    match (name, value) {
        ("operation_datastore", Value::Array(_)) => json!([1, 1, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0]),
        (_, value) => value,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Object(_) => "object",
        Value::Array(_) => "list",
        Value::String(_) => "text",
        Value::Number(_) => "number",
        Value::Bool(_) => "bool",
        Value::Null => "null",
    }
}

/// Says where `ours` has other fields or kinds than `theirs`. Lists are compared by their first entries, and what is null
/// on one side can be anything.
fn differences(path: &str, theirs: &Value, ours: &Value, found: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Null, _) | (_, Value::Null) => {}
        (Value::Object(theirs), Value::Object(ours)) => {
            let unknown = ours
                .keys()
                .filter(|name| !theirs.contains_key(*name) && !ADDED.contains(&name.as_str()));
            found.extend(unknown.map(|name| format!("{path}.{name}: upstream has no such field")));
            for (name, theirs) in theirs.iter().filter(|(name, _)| !LEFT_OUT.contains(&name.as_str())) {
                match ours.get(name) {
                    Some(ours) => differences(&format!("{path}.{name}"), theirs, ours, found),
                    None => found.push(format!("{path}.{name}: missing")),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            for (index, (theirs, ours)) in theirs.iter().zip(ours).enumerate() {
                differences(&format!("{path}[{index}]"), theirs, ours, found);
            }
        }
        (theirs, ours) if kind(theirs) == kind(ours) => {}
        (theirs, ours) => found.push(format!("{path}: {} instead of {}", kind(ours), kind(theirs))),
    }
}

/// A node that knows what upstream's knew, with the operations and blocks of the tests under the recorded ids.
struct Double {
    node: TestNode,
    operation: OperationId,
}

impl Double {
    fn start() -> Self {
        let staker: Address = "AU1qKDV4QB6RhCeobdQfK715twLugTFGwcfNBu45NS7xTCjBBChr".parse().unwrap();
        let config = ApiConfig {
            rolls: BTreeMap::from([(staker, 100)]),
            ..config()
        };
        let mut node = TestNode::start_with(config);
        let block = blocks().remove(3);
        node.store(&block);
        let operation = first_operation(&block).id;
        let mut world = node.world();
        world.producer = Some(staker);
        let max_cliques = vec![Clique {
            block_ids: [block.id()].into_iter().collect(),
            fitness: 1_105,
            is_blockclique: true,
        }];
        world.graph.max_cliques = max_cliques;
        world.blockclique.insert(Slot::new(7, 3), block.id());
        drop(world);
        Self { node, operation }
    }

    /// The node answers as upstream's did; gives the parameters, with ids that the node knows.
    fn prepare(&self, exchange: &Exchange) -> Value {
        let mut world = self.node.world();
        let result = &exchange.response["result"];
        match exchange.method.as_str() {
            "get_operations" => {
                let told = &result[0];
                let (is_final, status) = (&told["is_operation_final"], told["op_exec_status"].as_bool());
                let last_final = if is_final == true { status } else { None };
                world.executed.insert(self.operation, (status, last_final));
                return json!([[self.operation]]);
            }
            "get_blocks" if result[0].is_object() => {
                let id = *world.blockclique.values().next().unwrap();
                return json!([[id]]);
            }
            "get_addresses" if result[0].is_object() => {
                let keys: Vec<Vec<u8>> = serde_json::from_value(result[0]["final_datastore_keys"].clone()).unwrap();
                let info = ExecutionAddressInfo {
                    candidate_datastore_keys: keys.clone(),
                    final_datastore_keys: keys,
                    ..ExecutionAddressInfo::default()
                };
                let address = serde_json::from_value(result[0]["address"].clone()).unwrap();
                world.addresses.insert(address, info);
            }
            "get_filtered_sc_output_event" => world.events = serde_json::from_value(result.clone()).unwrap(),
            "get_datastore_entries" | "get_addresses_datastore_keys" => {
                let contract = serde_json::from_value(exchange.params[0][0]["address"].clone()).unwrap();
                let value = Some(vec![64, 66, 15, 0, 0, 0, 0, 0]);
                world
                    .datastore
                    .insert((contract, b"price".to_vec()), (value.clone(), value));
            }
            "execute_read_only_call" | "execute_read_only_bytecode" => {
                world.execution_output = Some(Ok(read_only_output(&result[0])));
            }
            _ => {}
        }
        exchange.params.clone()
    }
}

fn read_only_output(told: &Value) -> ReadOnlyExecutionOutput {
    let events: Vec<SCOutputEvent> = serde_json::from_value(told["output_events"].clone()).unwrap();
    let call_result = match told["result"]["Error"].as_str() {
        Some(reason) => Err(reason.to_string()),
        None => Ok(serde_json::from_value(told["result"]["Ok"].clone()).unwrap()),
    };
    ReadOnlyExecutionOutput {
        slot: serde_json::from_value(told["executed_at"].clone()).unwrap(),
        gas_cost: told["gas_cost"].as_u64().unwrap(),
        call_result,
        events,
    }
}

#[test]
fn every_recorded_request_is_answered_with_upstreams_fields_or_upstreams_error_code() {
    let mut compared = BTreeMap::new();
    let double = Double::start();
    for exchange in exchanges() {
        let params = double.prepare(&exchange);
        let answer = double.node.call::<Value>(&exchange.method, params);
        *compared.entry(exchange.method.clone()).or_insert(0) += 1;
        match (&exchange.response["result"], answer) {
            // The recorded operation was cut, so it is none; what an answer looks like is tested with the sending.
            (_, Err(ClientError::Call(error))) if exchange.method == "send_operations" => {
                assert_eq!(error.code(), -32013, "{error}");
            }
            (Value::Null, Err(ClientError::Call(error))) => {
                let recorded = &exchange.response["error"]["code"];
                assert_eq!(json!(error.code()), *recorded, "{}: {error}", exchange.method);
            }
            (theirs, Ok(ours)) => {
                let mut found = Vec::new();
                differences(&exchange.method, theirs, &ours, &mut found);
                // Operations of several types are told, each in its own way.
                found.retain(|difference| !difference.contains(".operation.content.op."));
                assert_eq!(found, [""; 0], "{ours:#}");
            }
            (theirs, answer) => panic!("{}: {theirs} and {answer:?}", exchange.method),
        }
    }
    let methods = [
        ("get_addresses", 4),
        ("get_operations", 1),
        ("get_filtered_sc_output_event", 3),
        ("execute_read_only_call", 3),
        ("execute_read_only_bytecode", 2),
        ("get_addresses_datastore_keys", 1),
        ("get_datastore_entries", 1),
        ("get_status", 1),
    ];
    for (method, least) in methods {
        let count = compared.get(method).copied().unwrap_or(0);
        assert!(count >= least, "{method} was compared {count} times");
    }
}

#[test]
fn the_walk_finds_what_is_missing_unknown_or_of_another_kind() {
    let theirs = json!({"a": 1, "b": {"c": "text"}, "d": [{"e": true}], "f": null});
    let same = json!({"a": 2, "b": {"c": ""}, "d": [{"e": false}, 7], "f": 1});
    let other = json!({"a": "1", "b": {}, "d": [{"e": 1}], "f": null, "g": 0});
    let walk = |ours: &Value| {
        let mut found = Vec::new();
        differences("", &theirs, ours, &mut found);
        found
    };
    assert_eq!(walk(&same), [""; 0]);
    assert_eq!(
        walk(&other),
        [
            ".g: upstream has no such field",
            ".a: text instead of number",
            ".b.c: missing",
            ".d[0].e: number instead of bool",
        ]
    );
}
