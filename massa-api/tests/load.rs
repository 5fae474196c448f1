//! Slow clients, large requests and large answers: nobody else notices.

mod common;

use common::{call, config, event, gate::Gate, head, post, status_of, Raw, TestNode};
use massa_api::ApiConfig;
use massa_models::address::Address;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use serde_json::{json, Value};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(20);

fn slow_config() -> ApiConfig {
    ApiConfig {
        request_timeout: MassaTime::from_millis(1_500),
        max_connections: 8,
        max_connections_per_ip: 8,
        ..config()
    }
}

fn address() -> Address {
    Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key())
}

#[test]
fn a_hundred_slow_clients_keep_nobody_out() {
    let node = TestNode::start_with(slow_config());
    let head = head(&[("Host", "x")], 1_000);
    let mut slow: Vec<Raw> = (0..100).map(|_| Raw::connect(node.public_address())).collect();
    slow.iter_mut().for_each(|raw| {
        raw.send(&head);
    });
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends_with_the_test = Raise(&stop);
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                slow.iter_mut().for_each(|raw| {
                    raw.send("{");
                });
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        // Beyond the deadline of the first of them.
        for _ in 0..30 {
            let begin = Instant::now();
            node.call::<Value>("get_storage_status", json!([])).unwrap();
            node.call_private::<Value>("node_sign_message", json!([[1]])).unwrap();
            assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// Raises a flag in the end, also when an assertion fails.
struct Raise<'a>(&'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Sends a byte now and then until the server has enough of it; returns what it says and after how long.
fn trickle(node: &TestNode, first: &str, byte: &str) -> (String, Duration) {
    let begin = Instant::now();
    let mut raw = Raw::connect(node.public_address());
    raw.send(first);
    while raw.send(byte) && begin.elapsed() < DEADLINE {
        let mut peeked = [0; 1];
        raw.0.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        if raw.0.peek(&mut peeked).is_ok() {
            break;
        }
    }
    raw.0.set_read_timeout(Some(DEADLINE)).unwrap();
    (raw.rest(), begin.elapsed())
}

#[test]
fn a_request_has_a_deadline_that_its_bytes_do_not_renew() {
    let node = TestNode::start_with(slow_config());
    let expected = Duration::from_millis(1_400)..Duration::from_secs(6);
    let (answer, after) = trickle(&node, &head(&[("Host", "x")], 1_000), "{");
    assert_eq!(status_of(&answer), 408, "{answer}");
    assert!(expected.contains(&after), "{after:?}");
    let (answer, after) = trickle(&node, "POST / HTTP/1.1\r\nHost: x\r\nX-A: ", "a");
    assert_eq!(answer, "", "there is no request to be answered");
    assert!(expected.contains(&after), "{after:?}");
}

#[test]
fn the_deadline_begins_with_the_first_byte_of_each_request() {
    let node = TestNode::start_with(slow_config());
    let body = call("get_cliques", &json!([]));
    let head = head(&[("Host", "x")], body.len()).replace("Connection: close\r\n", "");
    let mut raw = Raw::connect(node.public_address());
    for _ in 0..3 {
        raw.send(&head);
        raw.send(&body);
        let mut answer = [0; 4096];
        let length = std::io::Read::read(&mut raw.0, &mut answer).unwrap();
        assert_eq!(status_of(&String::from_utf8_lossy(&answer[..length])), 200);
        // Longer than a request may take: waiting between two requests is not a part of either.
        std::thread::sleep(Duration::from_millis(1_700));
    }
    raw.send(&head);
    assert_eq!(status_of(&raw.rest()), 408, "the body did not come");
}

#[test]
fn large_requests_whose_end_is_withheld_stay_within_the_memory_for_them() {
    let config = ApiConfig {
        max_memory_size: 16 << 20,
        max_connections: 20,
        max_connections_per_ip: 20,
        request_timeout: MassaTime::from_millis(6_000),
        ..config()
    };
    let node = TestNode::start_with(config);
    let (head, most) = (head(&[("Host", "x")], 1_100_000), "1".repeat(1_000_000));
    let mut large: Vec<Raw> = (0..20).map(|_| Raw::connect(node.public_address())).collect();
    for raw in &mut large {
        raw.send(&head);
        raw.send(&most);
    }
    // A client may have half of the 10.75 MiB that connections leave; each of these takes three bytes for one of its own.
    node.call::<Value>("get_cliques", json!([])).unwrap();
    let answers: Vec<String> = large.iter_mut().map(Raw::rest).collect();
    let refused = answers
        .iter()
        .filter(|answer| answer.is_empty() || status_of(answer) == 503);
    assert_eq!(refused.count(), 19, "{answers:?}");
    let rest = answers
        .iter()
        .filter(|answer| !answer.is_empty() && status_of(answer) == 408);
    assert_eq!(rest.count(), 1, "{answers:?}");
    let params = json!([["A".repeat(1_000_000)]]);
    assert_eq!(
        node.refusal("get_addresses", params).0,
        -32602,
        "what was taken is given back"
    );
}

#[test]
fn a_request_of_many_lists_counts_for_what_they_take_when_they_are_parsed() {
    let config = ApiConfig {
        max_memory_size: 32 << 20,
        max_connections: 8,
        ..config()
    };
    let node = TestNode::start_with(config);
    let ask = |params: Value| {
        let answer = post(
            node.public_address(),
            &[("Host", "x")],
            &call("execute_read_only_bytecode", &params),
        );
        status_of(&answer)
    };
    assert_eq!(ask(json!([vec![7; 500_000]])), 200, "a megabyte of numbers");
    assert_eq!(ask(json!([vec![json!([]); 330_000]])), 503, "a megabyte of lists");
}

#[test]
fn a_client_that_asks_for_much_at_once_is_answered_a_share_at_a_time() {
    let config = ApiConfig {
        max_connections_per_ip: 4,
        ..config()
    };
    let node = TestNode::start_with(config);
    let gate = Gate::default();
    node.world().archive_gate = Some(gate.clone());
    let body = call("get_archived_period", &json!([1]));
    let request = format!("{}{body}", head(&[("Host", "x")], body.len()));
    let mut asked: Vec<Raw> = (0..12).map(|_| Raw::connect(node.public_address())).collect();
    asked.iter_mut().for_each(|raw| {
        raw.send(&request);
    });
    gate.wait_for(4);
    gate.open();
    for raw in &mut asked {
        assert_eq!(status_of(&raw.rest()), 200);
    }
}

/// A node with an entry of 300 kB, and a question for it, many times over.
fn entries(config: ApiConfig, count: usize) -> (TestNode, Value) {
    let node = TestNode::start_with(config);
    let (address, key) = (address(), b"key".to_vec());
    let value = vec![200; 300_000];
    node.world()
        .datastore
        .insert((address, key.clone()), (Some(value), None));
    (node, json!([vec![json!({"address": address, "key": key}); count]]))
}

#[test]
fn an_answer_stops_being_collected_at_its_size() {
    let config = ApiConfig {
        max_response_body_size: 4 << 20,
        ..config()
    };
    let (node, entries) = entries(config, 128);
    let (code, message) = node.refusal("get_datastore_entries", entries);
    assert_eq!((code, message.contains("too big")), (-32008, true), "{message}");
    assert_eq!(node.world().values_read, 4, "1.2 MB of text each");
}

#[test]
fn bytecodes_stop_being_collected_at_the_size_of_an_answer() {
    let config = ApiConfig {
        max_response_body_size: 4 << 20,
        ..config()
    };
    let node = TestNode::start_with(config);
    let address = address();
    node.world().bytecodes.insert(address, (Some(vec![200; 300_000]), None));
    let filters = |count: usize| json!([vec![json!({"address": address, "is_final": true}); count]]);
    let (code, message) = node.refusal("get_addresses_bytecode", filters(128));
    assert_eq!((code, message.contains("too big")), (-32008, true), "{message}");
    assert_eq!(node.world().values_read, 4, "1.2 MB of text each");
    node.call::<Value>("get_addresses_bytecode", filters(3)).unwrap();
}

#[test]
fn an_answer_that_is_not_taken_is_dropped_with_its_connection() {
    let config = ApiConfig {
        max_memory_size: 28 << 20,
        max_connections: 12,
        idle_timeout: MassaTime::from_millis(1_500),
        ..config()
    };
    let (node, entries) = entries(config, 6);
    let body = call("get_datastore_entries", &entries);
    let mut silent = Raw::connect(node.public_address());
    silent.send(&format!("{}{body}", head(&[("Host", "x")], body.len())));
    let begin = Instant::now();
    // 9 MB while the first is there, of 12 for a client: connections have taken 4 MiB.
    let refused = || node.call::<Value>("get_datastore_entries", entries.clone()).is_err();
    let wait_for = |wanted: bool| {
        while refused() != wanted {
            assert!(begin.elapsed() < DEADLINE, "refused: {}", !wanted);
        }
    };
    wait_for(true);
    wait_for(false);
    assert!(begin.elapsed() > Duration::from_millis(1_000), "{:?}", begin.elapsed());
}

#[test]
fn of_too_many_events_the_newest_are_told_and_the_header_says_so() {
    let config = ApiConfig {
        max_response_body_size: 10_000,
        ..config()
    };
    let node = TestNode::start_with(config);
    node.world().events = (0..20).map(event).collect();
    let ask = || {
        post(
            node.public_address(),
            &[("Host", "x"), ("Origin", "http://a")],
            &call("get_filtered_sc_output_event", &json!([{}])),
        )
    };

    let answer = ask();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("massa-answer-cut: oldest"), "{head}");
    assert!(
        head.contains("access-control-expose-headers: massa-answer-cut"),
        "{head}"
    );
    let body: Value = serde_json::from_str(body).unwrap();
    let periods = body["result"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["context"]["slot"]["period"].as_u64().unwrap());
    assert_eq!(periods.collect::<Vec<_>>(), (10..20).collect::<Vec<_>>());

    node.world().events.truncate(10);
    assert!(!ask().contains("massa-answer-cut: "), "all are told");
}

#[test]
fn answers_repeat_little_of_what_was_asked() {
    let node = TestNode::start();
    let long = "x".repeat(1_000_000);
    let (method, params) = (format!(r#""method":"{long}""#), format!(r#""params":[["{long}"]]"#));
    for body in [
        call("get_blocks", &json!([[long]])),
        call("get_datastore_entries", &json!([[{"address": long, "key": []}]])),
        call("get_addresses", &json!({long.as_str(): 1})),
        call("get_blocks", &json!([{"a": long}])),
        call(&long, &json!([])),
        format!(r#"{{"jsonrpc":"2.0","id":"{long}","method":"get_cliques"}}"#),
        format!(r#"{{"id":"{long}"}}"#),
        format!(r#"[{{"id":"{long}"}}]"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,{method},{params}}}"#),
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"get_cliques","{long}":1}}"#),
        format!("{{{long}"),
    ] {
        let answer = post(node.public_address(), &[("Host", "x")], &body);
        assert!(answer.len() < 1_500, "{} bytes for {}", answer.len(), &body[..100]);
        assert!(!answer.contains(&"x".repeat(201)), "{answer}");
    }
    let (_, message) = node.refusal("get_blocks", json!([["short"]]));
    assert!(!message.is_empty());
}
