//! The servers: what they accept, what they refuse, how they stop.

mod common;

use common::{config, context, refusal, Parts, TestNode};
use massa_api::{start_api, StartApiError};
use massa_api_exports::node::{NodeStatus, PubkeySig};
use massa_hash::Hash;
use massa_models::node::NodeId;
use massa_protocol_exports::{PeerConnectionType, PeerId};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_tests::mblk::data_path;
use massa_time::MassaTime;
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Sends text as it is and reads until the server closes the connection.
fn send_raw(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn post(address: SocketAddr, body: &str) -> Value {
    let length = body.len();
    let head = format!("POST / HTTP/1.1\r\nHost: anything.example\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    let answer = send_raw(address, &format!("{head}{body}"));
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).unwrap()
}

/// Names of fields and kinds of values, to any depth.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.clone(), shape(value)))
            .collect(),
        Value::Array(values) => values.iter().take(1).map(shape).collect(),
        Value::String(_) => json!("text"),
        Value::Number(_) => json!("number"),
        Value::Bool(_) => json!("bool"),
        Value::Null => Value::Null,
    }
}

#[test]
fn the_status_has_the_shape_of_the_real_nodes() {
    let node = TestNode::start();
    let transcripts = std::fs::read_to_string(data_path("upstream-rpc-transcripts.jsonl")).unwrap();
    let mut lines = transcripts
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap());
    let recorded = lines.find(|line| line["request"]["method"] == "get_status").unwrap();

    let mut status: Value = node.call("get_status", json!([{}])).unwrap();

    let execution = status["execution_stats"].as_object_mut().unwrap();
    assert_eq!(
        execution.remove("final_state_hash"),
        Some(json!("0".repeat(64))),
        "this node's own"
    );
    assert_eq!(shape(&status), shape(&recorded["response"]["result"]));
}

#[test]
fn the_status_tells_slots_cycles_and_peers() {
    let node = TestNode::start();
    let peer = KeyPair::generate(0).unwrap().get_public_key();
    let address: SocketAddr = "192.0.2.7:31244".parse().unwrap();
    node.world().peers = vec![(PeerId::from_public_key(peer), address, PeerConnectionType::OUT)];

    let status: NodeStatus = node.call("get_status", json!([])).unwrap();

    assert_eq!(status.last_slot.unwrap().period, 5);
    assert!(status.next_slot > status.last_slot.unwrap());
    assert_eq!(status.current_cycle, 0);
    let cycle_ms = status.next_cycle_time.as_millis() - status.current_cycle_time.as_millis();
    assert_eq!(cycle_ms, 128 * 16_000);
    assert_eq!(status.connected_nodes[&NodeId::new(peer)], (address.ip(), true));
    assert_eq!(status.node_id.get_public_key(), node.keypair.get_public_key());
}

#[test]
fn before_the_first_slot_there_is_no_last_one() {
    let mut config = config();
    config.genesis_timestamp = MassaTime::now().saturating_add(MassaTime::from_millis(60_000));
    let status: NodeStatus = TestNode::start_with(config).call("get_status", json!([])).unwrap();
    assert_eq!(
        (status.last_slot, status.next_slot.period, status.next_slot.thread),
        (None, 0, 0)
    );
}

#[test]
fn a_method_of_the_other_server_is_refused() {
    let node = TestNode::start();
    assert_eq!(node.refusal("node_sign_message", json!([[1, 2, 3]])).0, -32019);
    assert_eq!(node.refusal("stop_node", json!([])).0, -32019);
    assert_eq!(node.refusal("node_ban_by_id", json!([[]])).0, -32019);
    assert_eq!(node.refusal("node_unban_by_id", json!([[]])).0, -32019);
    assert!(!node.world().stopped);
    let id = NodeId::new(node.keypair.get_public_key()).to_string();
    for (method, params) in [
        ("get_status", json!([])),
        ("get_blocks", json!([[]])),
        ("send_operations", json!([[]])),
        ("get_storage_status", json!([])),
        ("get_archived_period", json!([1])),
        ("get_filtered_sc_output_event", json!([{}])),
        ("get_addresses_bytecode", json!([[]])),
        ("get_addresses_datastore_keys", json!([[]])),
        ("execute_read_only_bytecode", json!([[]])),
        ("execute_read_only_call", json!([[]])),
    ] {
        let (code, message) = refusal(node.call_private(method, params));
        assert_eq!(code, -32019, "{method} {id}");
        assert!(message.contains("public API"), "{message}");
    }
}

#[test]
fn what_is_not_offered_or_not_json_is_refused_as_upstream_refuses_it() {
    let node = TestNode::start();
    let address = node.public_address();
    assert_eq!(
        node.refusal("no_such_method", json!([])),
        (-32601, "Method not found".to_string())
    );
    assert_eq!(node.refusal("get_slots_transfers", json!([[]])).0, -32601);
    assert_eq!(node.refusal("get_blocks", json!([["notablock"]])).0, -32602);
    assert_eq!(node.refusal("get_addresses", json!([["AUxyz"]])).0, -32602);
    assert_eq!(node.refusal("get_archived_block", json!([{"period": 3}])).0, -32602);
    assert_eq!(post(address, "{not json")["error"]["code"], -32700);
}

#[test]
fn the_operator_signs_bans_and_stops() {
    let node = TestNode::start();
    let signed: PubkeySig = node.call_private("node_sign_message", json!([[1, 2, 3]])).unwrap();
    assert_eq!(signed.public_key, node.keypair.get_public_key());
    let hash = Hash::compute_from(&[1, 2, 3]);
    signed.public_key.verify_signature(&hash, &signed.signature).unwrap();

    let peer = KeyPair::generate(0).unwrap().get_public_key();
    let id = NodeId::new(peer).to_string();
    node.call_private::<Value>("node_ban_by_id", json!([[id]])).unwrap();
    assert_eq!(node.world().banned, [PeerId::from_public_key(peer)]);
    node.call_private::<Value>("node_unban_by_id", json!([[id]])).unwrap();
    assert!(node.world().banned.is_empty());

    node.call_private::<Value>("stop_node", json!([])).unwrap();
    assert!(node.world().stopped);
}

#[test]
fn browsers_of_any_origin_may_post() {
    let node = TestNode::start();
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: x\r\nOrigin: https://wallet.example\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\nConnection: close\r\n\r\n";
    let answer = send_raw(node.public_address(), preflight).to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200"), "{answer}");
    assert!(answer.contains("access-control-allow-origin: *"), "{answer}");
    assert!(
        answer.contains("access-control-allow-methods: post,options"),
        "{answer}"
    );
    assert!(
        answer.contains("access-control-allow-headers: content-type"),
        "{answer}"
    );
}

#[test]
fn a_batch_is_bounded() {
    let node = TestNode::start();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"get_cliques","params":[]}"#;
    let batch = |count| format!("[{}]", vec![call; count].join(","));
    assert_eq!(post(node.public_address(), &batch(16)).as_array().unwrap().len(), 16);
    let refused = post(node.public_address(), &batch(17));
    assert!(
        refused["error"]["message"].as_str().unwrap().contains("batch"),
        "{refused}"
    );
}

#[test]
fn a_request_is_bounded() {
    let mut config = config();
    config.max_request_body_size = 1_000;
    let node = TestNode::start_with(config);
    let (id, head) = ("x".repeat(2_000), "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 2000\r\n\r\n");
    let answer = send_raw(node.public_address(), &format!("{head}{id}"));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let status: NodeStatus = node.call("get_status", json!([])).unwrap();
    assert_eq!(status.pool_stats, (0, 0));
}

#[test]
fn only_so_many_requests_run_at_a_time_and_the_others_are_told() {
    let mut config = config();
    config.max_connections_per_ip = 1;
    config.request_timeout = MassaTime::from_millis(1_000);
    let node = TestNode::start_with(config);
    let gate = common::gate::Gate::default();
    node.world().archive_gate = Some(gate.clone());
    let client = node.public.clone();
    let first = node.runtime.spawn(async move {
        let params = jsonrpsee::rpc_params![1];
        jsonrpsee::core::client::ClientT::request::<Value, _>(&client, "get_archived_period", params).await
    });
    gate.wait_for(1);

    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";
    let answer = send_raw(node.public_address(), head);

    assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
    gate.open();
    assert_eq!(refusal(node.runtime.block_on(first).unwrap()).0, -32004);
}

#[test]
fn silent_connections_do_not_keep_others_out_and_are_closed() {
    let mut config = config();
    config.max_connections = 2;
    config.request_timeout = MassaTime::from_millis(300);
    let node = TestNode::start_with(config);
    let silent: Vec<TcpStream> = (0..7)
        .map(|_| TcpStream::connect(node.public_address()).unwrap())
        .collect();

    node.call::<NodeStatus>("get_status", json!([])).unwrap();

    for mut socket in silent {
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        assert_eq!(socket.read(&mut [0; 1]).unwrap_or(0), 0, "closed by the server");
    }
}

#[test]
fn after_stop_the_ports_are_free_and_running_calls_do_not_hold_it_up() {
    let mut node = TestNode::start();
    let gate = common::gate::Gate::default();
    node.world().archive_gate = Some(gate.clone());
    let handle = node.handle.take().unwrap();
    let (public, private) = (handle.public_address(), handle.private_address());
    let client = node.public.clone();
    let running = node.runtime.spawn(async move {
        let params = jsonrpsee::rpc_params![1];
        jsonrpsee::core::client::ClientT::request::<Value, _>(&client, "get_archived_period", params).await
    });
    gate.wait_for(1);

    let begin = Instant::now();
    handle.stop();

    assert!(begin.elapsed() < Duration::from_secs(5));
    TcpListener::bind(public).unwrap();
    TcpListener::bind(private).unwrap();
    gate.open();
    node.runtime.block_on(running).unwrap().unwrap_err();
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config();
    config.bind_private = taken.local_addr().unwrap();
    let context = context(
        &Parts::default(),
        &Storage::create_root(),
        &KeyPair::generate(0).unwrap(),
    );
    let error = start_api(config, context).err().unwrap();
    assert!(matches!(error, StartApiError::Bind { server: "private", .. }));
    let address = taken.local_addr().unwrap().to_string();
    assert!(error.to_string().contains(&address), "{error}");
}

#[test]
fn settings_out_of_range_are_named() {
    let refused = |change: fn(&mut massa_api::ApiConfig)| {
        let mut config = config();
        change(&mut config);
        config.check().unwrap_err().to_string()
    };
    config().check().unwrap();
    assert_eq!(
        refused(|config| config.max_connections = 0),
        "max_connections: must be at least 1"
    );
    assert_eq!(
        refused(|config| config.batch_request_limit = 0),
        "batch_request_limit: must be at least 1"
    );
    assert!(refused(|config| config.archive_limits.burst = 127).starts_with("archive_limits.burst: 127 is less than"));
    assert!(refused(|config| config.idle_timeout = MassaTime::from_millis(0)).starts_with("idle_timeout: "));
    assert!(refused(|config| config.request_timeout = MassaTime::from_millis(0)).starts_with("request_timeout: "));
    assert!(refused(|config| config.max_connections_per_ip = 0).starts_with("max_connections_per_ip: "));
    assert!(refused(|config| config.max_connections = 20_000).starts_with("max_connections: "));
    let buffers = refused(|config| config.max_memory_size = 32 << 20);
    assert!(
        buffers.starts_with("max_connections: 100 take 20 MiB") && buffers.contains("memory_limit_mb"),
        "{buffers}"
    );
    assert!(refused(|config| config.allow_hosts = vec!["http://a".into()]).starts_with("allow_hosts: \"http://a\""));
    assert!(refused(|config| config.thread_count = 0).starts_with("thread_count: "));
}
