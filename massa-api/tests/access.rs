//! Who may ask: origins, hosts, the token, proxies.

mod common;

use common::{call, config, gate::Gate, head, post, status_of, Raw, TestNode, TOKEN};
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use serde_json::{json, Value};

fn bearer() -> String {
    format!("Bearer {}", TOKEN.secret())
}

/// Calls that change something, each as the operator makes it.
fn private_calls() -> [String; 3] {
    let id = NodeId::new(KeyPair::generate(0).unwrap().get_public_key()).to_string();
    [
        call("node_sign_message", &json!([[1, 2, 3]])),
        call("node_ban_by_id", &json!([[id]])),
        call("stop_node", &json!([])),
    ]
}

#[track_caller]
fn assert_nothing_happened(node: &TestNode) {
    let world = node.world();
    assert!(!world.stopped && world.banned.is_empty());
}

#[test]
fn a_foreign_origin_or_host_is_refused_even_with_the_token() {
    let node = TestNode::start();
    let bearer = bearer();
    let refused: [&[(&str, &str)]; 4] = [
        &[("Host", "127.0.0.1"), ("Origin", "http://evil.example")],
        &[("Host", "127.0.0.1"), ("Origin", "null")],
        &[("Host", "evil.example")],
        &[("Host", "evil.example"), ("Origin", "http://evil.example")],
    ];
    for headers in refused {
        for body in private_calls() {
            let headers = [headers, &[("Authorization", bearer.as_str())]].concat();
            let answer = post(node.private_address(), &headers, &body);
            assert_eq!(status_of(&answer), 403, "{headers:?}: {answer}");
            assert!(
                answer.contains("allow_hosts") && !answer.contains("signature"),
                "{answer}"
            );
        }
    }
    assert_nothing_happened(&node);
}

#[test]
fn without_the_token_nothing_is_signed_banned_or_stopped() {
    let node = TestNode::start();
    let wrong = format!("Bearer {}", "0".repeat(64));
    let without: [&[(&str, &str)]; 2] = [
        &[("Host", "localhost")],
        &[("Host", "localhost"), ("Authorization", &wrong)],
    ];
    for headers in without {
        for body in private_calls() {
            let answer = post(node.private_address(), headers, &body);
            assert_eq!(status_of(&answer), 401, "{answer}");
        }
    }
    assert_nothing_happened(&node);
    let [sign, ..] = private_calls();
    let with: &[(&str, &str)] = &[("Host", "localhost"), ("Authorization", &bearer())];
    let answer = post(node.private_address(), with, &sign);
    assert!(answer.contains("signature"), "{answer}");
}

#[test]
fn the_private_server_tells_browsers_nothing() {
    let node = TestNode::start();
    let bearer = bearer();
    let preflight = "OPTIONS / HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost:5173\r\nAccess-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: authorization\r\nConnection: close\r\n\r\n";
    let mut raw = Raw::connect(node.private_address());
    raw.send(preflight);
    let [sign, ..] = private_calls();
    let headers = [
        ("Host", "localhost"),
        ("Origin", "http://localhost:5173"),
        ("Authorization", &bearer),
    ];
    let signed = post(node.private_address(), &headers, &sign);
    assert!(signed.contains("signature"), "{signed}");
    for answer in [raw.rest(), signed] {
        assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
    }
}

#[test]
fn hosts_that_are_configured_are_served() {
    let mut config = config();
    config.allow_hosts = vec!["node.example".into()];
    let node = TestNode::start_with(config);
    let (bearer, cliques) = (bearer(), call("get_cliques", &json!([])));
    let asked =
        |address, host: &str| status_of(&post(address, &[("Host", host), ("Authorization", &bearer)], &cliques));
    assert_eq!(asked(node.private_address(), "node.example:33034"), 200);
    assert_eq!(asked(node.private_address(), "localhost"), 200);
    assert_eq!(asked(node.public_address(), "node.example"), 200);
    assert_eq!(asked(node.public_address(), "other.example"), 403);
}

/// How long requests wait for a place where a test sees that they do not get one.
const IMPATIENT: MassaTime = MassaTime::from_millis(1_000);

/// Status of a call of a client behind a proxy on this machine.
fn ask_for(node: &TestNode, client: &str, headers: &[(&str, &str)]) -> u16 {
    let headers = [headers, &[("Host", "x"), ("X-Forwarded-For", client)]].concat();
    status_of(&post(node.public_address(), &headers, &call("get_cliques", &json!([]))))
}

/// A call that runs until the gate opens.
fn occupy(node: &TestNode, client: &str, gate: &Gate, count: usize) -> Vec<Raw> {
    let body = call("get_archived_period", &json!([1]));
    node.world().archive_gate = Some(gate.clone());
    let head = head(&[("Host", "x"), ("X-Forwarded-For", client)], body.len());
    let send = |_| {
        let mut raw = Raw::connect(node.public_address());
        raw.send(&format!("{head}{body}"));
        raw
    };
    (0..count).map(send).collect()
}

/// A call of each of two clients, until the gate opens.
fn occupied_by_two(node: &TestNode) -> (Gate, Vec<Raw>) {
    let gate = Gate::default();
    let clients = ["203.0.113.1", "203.0.113.2"].into_iter();
    let running = clients.flat_map(|client| occupy(node, client, &gate, 1)).collect();
    gate.wait_for(2);
    (gate, running)
}

#[test]
fn each_client_behind_a_named_proxy_has_its_own_share() {
    let mut config = config();
    config.max_connections_per_ip = 2;
    config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    config.request_timeout = IMPATIENT;
    let node = TestNode::start_with(config);
    let gate = Gate::default();
    let running = occupy(&node, "203.0.113.1", &gate, 2);
    gate.wait_for(2);

    assert_eq!(ask_for(&node, "203.0.113.1", &[]), 429);
    assert_eq!(
        ask_for(&node, "9.9.9.9, 203.0.113.1", &[]),
        429,
        "what it says of itself does not count"
    );
    assert_eq!(ask_for(&node, "203.0.113.2", &[]), 200);
    assert_eq!(
        ask_for(&node, "203.0.113.1", &[("Authorization", &bearer())]),
        200,
        "the operator"
    );

    gate.open();
    for mut raw in running {
        assert_eq!(status_of(&raw.rest()), 200);
    }
    assert_eq!(ask_for(&node, "203.0.113.1", &[]), 200);
}

#[test]
fn nobody_else_is_believed_for_whom_he_asks() {
    let mut config = config();
    config.max_connections_per_ip = 2;
    config.request_timeout = IMPATIENT;
    let node = TestNode::start_with(config);
    let (gate, _running) = occupied_by_two(&node);
    assert_eq!(ask_for(&node, "203.0.113.3", &[]), 429);
    gate.open();
}

#[test]
fn when_others_have_taken_all_places_this_machine_and_the_operator_have_theirs() {
    let mut config = config();
    config.max_connections = 2;
    config.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    config.request_timeout = IMPATIENT;
    let node = TestNode::start_with(config);
    let (gate, _running) = occupied_by_two(&node);

    assert_eq!(ask_for(&node, "203.0.113.3", &[]), 429);
    assert_eq!(ask_for(&node, "203.0.113.3", &[("Authorization", &bearer())]), 200);
    node.call::<Value>("get_cliques", json!([])).unwrap();
    node.call_private::<Value>("node_sign_message", json!([[1]])).unwrap();
    gate.open();
}
