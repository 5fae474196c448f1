//! Answers of the real node, recorded: read into the types of this crate and written again, nothing is lost, added or
//! changed.

use massa_api_exports::address::AddressInfo;
use massa_api_exports::block::{BlockInfo, BlockSummary};
use massa_api_exports::datastore::{DatastoreEntryInput, DatastoreEntryOutput};
use massa_api_exports::execution::{EventFilter, SCOutputEvent};
use massa_api_exports::node::NodeStatus;
use massa_api_exports::operation::{OperationInfo, OperationInput};
use massa_api_exports::page::{PageRequest, TimeInterval};
use massa_models::address::Address;
use massa_models::block::Block;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use massa_tests::mblk::data_path;
use serde::de::DeserializeOwned;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;

/// Recorded methods that this node does not offer.
const NOT_OFFERED: [&str; 4] = [
    "execute_read_only_bytecode",
    "execute_read_only_call",
    "get_addresses_datastore_keys",
    "no_such_method",
];

struct Exchange {
    method: String,
    params: Value,
    response: Value,
}

/// The recorded exchanges. Long arrays end in a text such as `… 321 items`, which is taken away.
fn exchanges() -> Vec<Exchange> {
    let text = std::fs::read_to_string(data_path("upstream-rpc-transcripts.jsonl")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let with_request = lines.filter(|line| line["request"].is_object());
    let exchanges = with_request.map(|line| {
        let line = whole(line);
        Exchange {
            method: line["request"]["method"].as_str().unwrap().to_string(),
            params: line["request"]["params"].clone(),
            response: line["response"].clone(),
        }
    });
    exchanges.collect()
}

fn whole(value: Value) -> Value {
    let is_cut = |value: &Value| value.as_str().is_some_and(|text| text.starts_with('…'));
    match value {
        Value::Array(values) => values.into_iter().filter(|value| !is_cut(value)).map(whole).collect(),
        Value::Object(fields) => fields.into_iter().map(|(name, value)| (name, whole(value))).collect(),
        value => value,
    }
}

/// `value` as a `T`, and what is written of that.
#[track_caller]
fn written_again<T: DeserializeOwned + Serialize>(value: &Value) -> Value {
    let read: T = serde_json::from_value(value.clone()).unwrap_or_else(|error| panic!("{error}: {value}"));
    sorted(serde_json::to_value(read).unwrap())
}

/// The ids of a clique have no order.
fn sorted(mut value: Value) -> Value {
    for clique in value.as_array_mut().into_iter().flatten() {
        if let Some(ids) = clique.get_mut("block_ids").and_then(Value::as_array_mut) {
            ids.sort_by_key(Value::to_string);
        }
    }
    value
}

fn result_written_again(method: &str, result: &Value) -> Value {
    match method {
        "get_addresses" => written_again::<Vec<AddressInfo>>(result),
        "get_status" => written_again::<NodeStatus>(result),
        "send_operations" => written_again::<Vec<OperationId>>(result),
        "get_operations" => written_again::<Vec<OperationInfo>>(result),
        "get_blocks" => written_again::<Vec<BlockInfo>>(result),
        "get_blockclique_block_by_slot" => written_again::<Option<Block>>(result),
        "get_cliques" => written_again::<Vec<Clique>>(result),
        "get_stakers" => written_again::<Vec<(Address, u64)>>(result),
        "get_graph_interval" => written_again::<Vec<BlockSummary>>(result),
        "get_datastore_entries" => written_again::<Vec<DatastoreEntryOutput>>(result),
        "get_filtered_sc_output_event" => written_again::<Vec<SCOutputEvent>>(result),
        method => panic!("{method} has no type here"),
    }
}

#[test]
fn every_recorded_answer_is_written_as_it_was_read() {
    let mut methods = BTreeSet::new();
    for exchange in exchanges() {
        let method = exchange.method.as_str();
        let Some(result) = exchange
            .response
            .get("result")
            .filter(|_| !NOT_OFFERED.contains(&method))
        else {
            continue;
        };
        assert_eq!(result_written_again(method, result), sorted(result.clone()), "{method}");
        methods.insert(exchange.method);
    }
    assert_eq!(methods.len(), 11, "{methods:?}");
}

#[test]
fn every_recorded_parameter_is_understood() {
    for Exchange { method, params, .. } in exchanges() {
        let Some(first) = params.get(0) else { continue };
        let invalid = params.to_string().contains("notablock") || params.to_string().contains("AUxyz");
        let read = match method.as_str() {
            "get_addresses" => serde_json::from_value::<Vec<Address>>(first.clone()).is_ok(),
            "get_operations" => serde_json::from_value::<Vec<OperationId>>(first.clone()).is_ok(),
            "get_blocks" => serde_json::from_value::<Vec<BlockId>>(first.clone()).is_ok(),
            "get_blockclique_block_by_slot" => serde_json::from_value::<Slot>(first.clone()).is_ok(),
            "get_stakers" => serde_json::from_value::<PageRequest>(first.clone()).is_ok(),
            "get_graph_interval" => serde_json::from_value::<TimeInterval>(first.clone()).is_ok(),
            "get_datastore_entries" => serde_json::from_value::<Vec<DatastoreEntryInput>>(first.clone()).is_ok(),
            "send_operations" => serde_json::from_value::<Vec<OperationInput>>(first.clone()).is_ok(),
            "get_filtered_sc_output_event" => serde_json::from_value::<EventFilter>(first.clone()).is_ok(),
            _ => continue,
        };
        assert_eq!(read, !invalid, "{method} {params}");
    }
}
