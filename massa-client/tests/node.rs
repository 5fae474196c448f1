//! Commands that ask a node, against a real server: what they print, what they check, how they fail.

mod common;
#[path = "common/node.rs"]
mod node;

use common::{assert_says, run, TestDir, ROOTS, STORE, TOKEN_FILE, UPSTREAM};
use jsonrpsee::types::ErrorObjectOwned;
use massa_distributed_storage_exports::record::operation_id;
use massa_distributed_storage_exports::segment_proof::ProofDocument;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::OperationType;
use massa_models::secure_share::Id;
use node::{earned_round, status, storage_earnings, storage_status, TestNode, KEY};
use serde_json::{json, Value};
use std::io::{Read, Write};
use std::net::TcpListener;

const BLOCK: &str = "B12aTuyUm2QdMDi37wCu8SatL7Yofygkvetiz9qM66T8Mo8aJ8Qw";
const OPERATION: &str = "O1XrnGqDtMHALkaZdLppKHDsUSmfvmpcQFPyp32SRQdzGr8siCw";
const MISSED: &str = "3:8";
const OTHER_ROOT: &str = "1f6414367a038b380a8ac1fe7aaba90e655b8cea6e62936d023d01a660bca17f";

/// The root of the segment of periods 2 and 3.
fn root() -> &'static str {
    &ROOTS[1]
}

fn address() -> String {
    Address::from_public_key(&KEY.get_public_key()).to_string()
}

/// Every command that asks a node.
fn commands() -> Vec<Vec<String>> {
    let (address, node) = (address(), NodeId::new(KEY.get_public_key()).to_string());
    let lines = [
        "status".to_string(),
        "storage status".to_string(),
        "storage list-segments".to_string(),
        "storage list-chunks".to_string(),
        "storage list-periods".to_string(),
        "storage get-period 2".to_string(),
        format!("storage get-block {BLOCK}"),
        "storage get-block --slot 2:3".to_string(),
        format!("storage get-operation {OPERATION}"),
        "storage nodes".to_string(),
        "storage earnings".to_string(),
        format!("wallet balance {address}"),
        format!("send {address} {address} 1"),
        "sc call storage_registry get_config".to_string(),
        format!("sc deploy {address}"),
        format!("storage register {address} --gb 1"),
        format!("storage update {address} --gb 1"),
        format!("storage unregister {address}"),
        format!("storage claim-rewards {address}"),
        format!("storage fund {address} --amount 1"),
        "node stop".to_string(),
        format!("node ban {node}"),
        format!("node unban {node}"),
    ];
    lines
        .iter()
        .map(|line| line.split(' ').map(str::to_string).collect())
        .collect()
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn help_lists_every_command() {
    let help = run(&["--help"]).text();
    assert_says(&help, &["archive", "storage", "sc", "wallet", "send", "status", "node"]);
    assert_says(
        &help,
        &[
            "--ip",
            "--public-port",
            "--private-port",
            "--token-file",
            "MASSA_API_TOKEN_FILE",
            "config/api_token",
            "--json",
            "--wallet",
            "33035",
            "33034",
            "wallets",
        ],
    );
    let storage = run(&["storage", "--help"]).text();
    assert_says(
        &storage,
        &[
            "status",
            "list-segments",
            "list-chunks",
            "list-periods",
            "get-period",
            "get-block",
            "get-operation",
            "nodes",
            "issue-challenge",
            "challenge-history",
            "challenges",
            "earnings",
            "register",
            "update",
            "unregister",
            "claim-rewards",
            "fund",
        ],
    );
    assert_says(&run(&["sc", "--help"]).text(), &["call", "deploy"]);
    assert_says(&run(&["wallet", "--help"]).text(), &["generate", "balance"]);
    assert_says(&run(&["archive", "--help"]).text(), &["import", "check-proof"]);
}

#[test]
fn without_a_node_every_command_names_address_and_port() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
        .to_string();
    for command in commands() {
        let ports = ["--public-port", port.as_str(), "--private-port", port.as_str()];
        let error = run(&[&words(&command)[..], &ports].concat()).failure();
        let server = if command[0] == "node" {
            "--private-port"
        } else {
            "--public-port"
        };
        assert_says(&error, &["127.0.0.1", &port, "massa-node", server]);
    }
}

/// A server that answers one request with this status; returns what it was sent.
fn answer_once(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let served = std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = [0; 4096];
        let length = std::io::Read::read(&mut socket, &mut request).unwrap();
        let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        std::io::Write::write_all(&mut socket, answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request[..length]).into_owned()
    });
    (port, served)
}

#[test]
fn the_token_is_sent_to_the_private_api_and_what_is_wrong_with_it_is_told() {
    for (status, words) in [
        ("401 Unauthorized", "does not accept the token in"),
        ("403 Forbidden", "allow_hosts"),
        ("429 Too Many Requests", "is busy"),
        ("503 Service Unavailable", "is busy"),
        ("502 Bad Gateway", "HTTP status 502"),
    ] {
        let (port, served) = answer_once(status);
        let error = run(&["node", "stop", "--private-port", &port]).failure();
        assert_says(&error, &["127.0.0.1", &port, words]);
        let sent = served.join().unwrap();
        let bearer = format!("authorization: Bearer {}", TOKEN_FILE.1.secret());
        assert!(sent.contains(&bearer), "{sent}");
        assert!(!error.contains(TOKEN_FILE.1.secret()), "{error}");
    }
}

#[test]
fn without_a_token_the_private_api_is_not_asked() {
    let error = run(&["node", "stop", "--token-file", "/nonexistent/token"]).failure();
    assert_says(&error, &["/nonexistent/token", "--token-file", "MASSA_API_TOKEN_FILE"]);
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("token");
    std::fs::write(&path, "0".repeat(64)).unwrap();
    let error = run(&["node", "stop", "--token-file", path.to_str().unwrap()]).failure();
    assert_says(&error, &["token", "mode must be 600"]);
    // The public API needs none.
    let node = TestNode::start();
    node.cli(&["status", "--token-file", "/nonexistent/token"]).text();
}

#[test]
fn every_command_prints_one_json_document() {
    let node = TestNode::start();
    let needs_a_key = |command: &Vec<String>| command.contains(&address());
    let needs_more = |command: &&Vec<String>| command[0] == "sc" || (command[0] != "wallet" && needs_a_key(command));
    for command in commands().iter().filter(|command| !needs_more(command)) {
        assert!(
            node.cli(&[&words(command)[..], &["--json"]].concat())
                .json()
                .is_object(),
            "{command:?}"
        );
    }
}

#[test]
fn what_the_node_refuses_is_told_with_its_code() {
    let node = TestNode::start();
    node.world.lock().unwrap().error = Some(ErrorObjectOwned::owned(-32051, "too many requests", Some("later")));
    let error = node.cli(&["storage", "status"]).failure();
    assert_eq!(error, "the node says: too many requests: later (code -32051)");
    let json = node.cli(&["storage", "status", "--json"]).json_failure(1);
    assert_eq!(
        json,
        json!({"error": "the node says: too many requests: later", "code": -32051})
    );
}

#[test]
fn a_node_that_talks_much_is_quoted_briefly() {
    let node = TestNode::start();
    for long in ["x".repeat(1_000_000), "x ".repeat(500_000)] {
        node.world.lock().unwrap().error = Some(ErrorObjectOwned::owned(-32000, &long, Some(&long)));
        let error = node.cli(&["storage", "status"]).failure();
        assert!(error.starts_with("the node says: x") && error.len() < 2_100, "{error}");
        assert!(!error.contains(&"x".repeat(201)), "{error}");
    }
}

#[test]
fn what_is_not_a_node_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let answers = std::thread::spawn(move || {
        for text in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
            "SSH-2.0-x\r\n",
        ] {
            let (mut socket, _) = listener.accept().unwrap();
            let _ = socket.read(&mut [0; 4096]);
            socket.write_all(text.as_bytes()).unwrap();
        }
    });
    for _ in 0..2 {
        let error = run(&["status", "--public-port", &port]).failure();
        assert_says(&error, &["127.0.0.1", &port]);
    }
    answers.join().unwrap();
}

#[test]
fn wrong_arguments_have_their_own_status() {
    let address = address();
    let cases: [(&[&str], &str); 15] = [
        (&["storage"], "subcommand"),
        (&["storage", "get-block"], "<ID|--slot"),
        (&["storage", "get-block", BLOCK, "--slot", "2:3"], "cannot be used with"),
        (&["storage", "get-block", "Bxyz"], "Bxyz"),
        (
            &["storage", "get-block", BLOCK, "--raw", "--proof"],
            "cannot be used with",
        ),
        (
            &["storage", "get-block", BLOCK, "--registry-proof", "--proof"],
            "cannot be used with",
        ),
        (&["storage", "list-chunks", "--limit", "1001"], "1001"),
        (&["storage", "list-chunks", "--after", "3"], "SEGMENT:CHUNK"),
        (&["storage", "list-segments", "--limit", "0"], "0"),
        (&["storage", "nodes", "--after", "nobody"], "nobody"),
        (
            &[
                "storage",
                "get-period",
                "2",
                "--root",
                OTHER_ROOT,
                "--period-root",
                OTHER_ROOT,
            ],
            "cannot be used with",
        ),
        (&["storage", "get-period", "two"], "two"),
        (&["send", &address, "AUxyz", "1"], "AUxyz"),
        (&["send", &address, &address, "-1"], "-1"),
        (&["status", "--ip", "somewhere"], "somewhere"),
    ];
    for (arguments, says) in cases {
        assert_says(&run(arguments).error(2), &[says]);
    }
}

#[test]
fn status_tells_the_node_and_its_chain() {
    let node = TestNode::start();
    let text = node.cli(&["status"]).text();
    assert_says(
        &text,
        &[
            "SAND.5.0",
            "7:3",
            "32 threads",
            "0.01",
            "3 connected",
            "50 final",
            "7:1, final at slot 5:9 with state 0123456789ab…",
        ],
    );
    assert_eq!(
        node.cli(&["status", "--json"]).json(),
        serde_json::to_value(status()).unwrap()
    );
}

#[test]
fn status_tells_first_what_peers_show_to_be_wrong() {
    let node = TestNode::start();
    node.lie(|mut status| {
        status["alarms"] = json!(["this machine's clock is 30.0 s behind 3 peers", "and\nmore"]);
        status
    });
    let text = node.cli(&["status"]).text();
    let lines: Vec<&str> = text.lines().skip(1).take(2).collect();
    assert_eq!(
        lines,
        [
            "ALARM        this machine's clock is 30.0 s behind 3 peers",
            "ALARM        and more"
        ]
    );
}

#[test]
fn storage_status_tells_stored_assigned_missing_disk_peers_and_why() {
    let node = TestNode::start();
    let text = node.cli(&["storage", "status"]).text();
    assert_says(
        &text,
        &[
            "221 periods, the last one is 222",
            "2 closed, filling 2",
            "897 held of 1200, 488.6 MiB stored as 286.1 MiB",
            "900 chunks to this node, 5 missing, 1 as next holder, 2 beyond",
            "505.4 MiB of 10.0 GiB (4.9 %)",
            "missing       2 periods lack slots; 3 slots were let go, the oldest in period",
            "221; the queue was full 2 times",
            "segment 2 waits for slot 221:7, 1 whole segment behind it",
            "2: the queue was full",
            "1: operations are missing",
            "repairing     blocks of 2 open periods; handing over 2 chunks",
            "fetching      895 of 900 chunks, 2 a minute, 2 minutes left",
            "4 connected, 3 archive, 0 quarantined",
            "chunks of 1.0 MiB on 3 nodes; segments of 100 periods, rounds of 4",
            "copies        2 of each chunk for now: too little room for 3",
            "why not more  3 slots of 2 periods are missing, and asked for",
        ],
    );
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let json = node.cli(&["storage", "status", "--json"]).json();
    assert_eq!(json, serde_json::to_value(storage_status()).unwrap());
}

#[test]
fn storage_status_tells_the_registry_and_the_node_in_it() {
    let node = TestNode::start();
    node.lie(|mut status| {
        status["registry"]["address"] = json!("AS12GP598CrdcxTUoXZxfmZqavkx9skqH1TN1kYpSP43SChUnjQ8L");
        status["registry"]["registered_nodes"] = json!(4);
        status["registry"]["low_balance"] = json!("1 MAS last for about 2 days of fees");
        status
    });
    let text = node.cli(&["storage", "status"]).text();
    let says = [
        "AS12GP598CrdcxTUoXZxfmZqavkx9skqH1TN1kYpSP43SChUnjQ8L, 4 nodes",
        "this node is not",
        "2 days of fees",
    ];
    assert_says(&text, &says);
    node.lie(|mut status| {
        status["registry"]["address"] = json!("AS12GP598CrdcxTUoXZxfmZqavkx9skqH1TN1kYpSP43SChUnjQ8L");
        status["registry"]["own"] = json!({
            "stake": "100", "allocated_gb": 10, "weight": 0, "weight_soon": 10, "filled": false, "has_placement_key": true,
            "leave_round": null, "last_counted_round": 3, "total_draws": 8, "passed_draws": 7, "matured_rewards": "2",
        });
        status
    });
    let text = node.cli(&["storage", "status"]).text();
    assert_says(
        &text,
        &["weight 0 GB, soon 10 GB, stake 100 MAS, draws 7/8, 2 MAS to claim"],
    );
}

fn with_rounds(mut status: Value) -> Value {
    status["registry"]["address"] = json!("AS12GP598CrdcxTUoXZxfmZqavkx9skqH1TN1kYpSP43SChUnjQ8L");
    status["segments_anchored"] = json!(8);
    status["registry"]["rounds"] = json!({
        "round": 9, "period": 3850, "round_periods": 400, "round_ms": 6_400_000, "open": earned_round(9),
        "next": earned_round(10), "last": earned_round(7), "totals": storage_earnings().totals, "matured": "1.5",
        "segments_anchored": 8, "differing_segment": null, "rounds_left_in_pool": 216,
    });
    status
}

#[test]
fn storage_status_tells_claims_results_earnings_anchoring_and_the_pool() {
    let node = TestNode::start();
    node.lie(with_rounds);
    let text = node.cli(&["storage", "status"]).text();
    assert_says(
        &text,
        &[
            "2 closed, 8 anchored, filling 2",
            "next round    opens in 40 minutes, with period 4000",
            "round         9: 2.9 MiB claimed, 2.9 MiB for the next; 4 draws, draws missed; …",
            "last result   round 7: 3/4 draws, 0.50 MAS: draws missed; draw 2: missing",
            "earned        1.50 MAS credited, 1.50 matured, 0 claimed, 0.03 of fees",
            "pool          runs out in 16 days (216 rounds)",
        ],
    );
    assert!(!text.contains("DIFFERS"), "{text}");
    assert!(text.lines().count() <= 23, "{text}");
}

#[test]
fn a_segment_that_differs_stands_right_below_the_node() {
    let node = TestNode::start();
    node.lie(|status| {
        let mut status = with_rounds(status);
        status["differing_segment"] = json!(3);
        status
    });
    let text = node.cli(&["storage", "status"]).text();
    assert_says(&text, &["DIFFERS       THE ROOT OF SEGMENT 3 IS NOT THE ACCEPTED ONE"]);
}

#[test]
fn earnings_are_a_table_and_one_line() {
    let node = TestNode::start();
    let text = node.cli(&["storage", "earnings"]).text();
    assert_says(
        &text,
        &[
            "3000 leaves, 2.9 MiB",
            "draws missed; draw 2: missing",
            "round 9 is open; in 3 rounds: 9 of 12 draws passed, 1.50 MAS credited, 1.50 to claim now, 0 later, 0 claimed, \
             0.03 MAS of fees for 3 operations; 1 claim open",
        ],
    );
    let one = node.cli(&["storage", "earnings", "--count", "1", "--json"]).json();
    assert_eq!(one["rounds"].as_array().unwrap().len(), 1);
    assert_eq!(one["rounds"][0]["round"], 7);
    assert_says(&run(&["storage", "earnings", "--count", "0"]).error(2), &["0"]);
}

#[test]
fn storage_status_fits_a_screen_whatever_the_node_says() {
    let node = TestNode::start();
    node.lie(|mut status| {
        let long = "a word and \u{1b}[2J another ".repeat(20);
        status["store_error"] = json!(long);
        status["why_not_more"] = json!(vec![&long; 9]);
        status = with_rounds(status);
        status["differing_segment"] = json!(3);
        status["registry"]["rounds"]["last"]["result"] = json!(&long);
        status["registry"]["problem"] = json!(&long);
        status["registry"]["low_balance"] = json!(&long);
        status["registry"]["last_refusal"] = json!({"purpose": &long, "reason": &long, "time_ms": 1});
        status["damages"] = json!([&long]);
        status["missing"]["reasons"] = (0..30).map(|n| (format!("{n} {long}"), json!(n))).collect();
        for field in [
            "chunks_total",
            "chunks_held",
            "chunks_assigned",
            "disk_bytes",
            "allocated_bytes",
            "floor",
        ] {
            status[field] = json!(u64::MAX);
        }
        status
    });
    let text = node.cli(&["storage", "status"]).text();
    assert!(text.lines().count() <= 23, "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert_says(
        &text,
        &[
            "STOPPED",
            "DAMAGED",
            "DIFFERS",
            "and 27 more reasons",
            "(--json says all)",
        ],
    );
}

#[test]
fn a_node_that_does_not_archive_says_so_in_two_lines() {
    let node = TestNode::start();
    node.lie(|mut status| {
        (status["enabled"], status["running"]) = (json!(false), json!(false));
        status
    });
    assert_eq!(node.cli(&["storage", "status"]).text().lines().count(), 2);
    node.lie(|mut status| {
        (status["running"], status["problem"]) = (json!(false), json!("path: the disk is read-only"));
        status
    });
    let finished = node.cli(&["storage", "status"]);
    let text = String::from_utf8_lossy(&finished.0.stdout).into_owned();
    assert_says(&text, &["NOT RUNNING: path: the disk is read-only"]);
    assert_eq!(text.lines().count(), 2);
    assert_says(
        &finished.error(1),
        &["the archive of the node does not run: path: the disk is read-only"],
    );
}

#[test]
fn segments_chunks_periods_and_nodes_are_listed() {
    let node = TestNode::start();
    let segments = node.cli(&["storage", "list-segments", "--json"]).json();
    let states = segments["segments"].as_array().unwrap().iter();
    let states: Vec<&str> = states.map(|segment| segment["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["anchored", "closed", "open"]);
    let text = node
        .cli(&["storage", "list-segments", "--first", "1", "--limit", "1"])
        .text();
    assert_says(&text, &["closed", root(), "534887"]);
    assert!(!text.contains(ROOTS[0].as_str()));

    let chunks = node.cli(&["storage", "list-chunks", "--json"]).json();
    assert_eq!(chunks["chunks"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&chunks["chunks"][2]["state"], &chunks["chunks"][2]["chunk_id"]),
        (&json!("filling"), &Value::Null)
    );
    assert_says(
        &node.cli(&["storage", "list-chunks"]).text(),
        &["2:0", "filling", "none yet"],
    );
    let page = [
        "storage",
        "list-chunks",
        "--first-segment",
        "0",
        "--last-segment",
        "1",
        "--limit",
        "1",
        "--after",
        "0:0",
    ];
    let text = node.cli(&page).text();
    let id = chunks["chunks"][1]["chunk_id"].as_str().unwrap();
    let holder = &KEY.get_public_key().to_string()[1..7];
    assert_says(&text, &[id, "1:0", "2-3", "anchored", "holders", holder]);
    assert!(!text.contains(chunks["chunks"][0]["chunk_id"].as_str().unwrap()));
    let of_period = node.cli(&["storage", "list-chunks", "--period", "3", "--json"]).json();
    assert_eq!(of_period["chunks"], json!([chunks["chunks"][1]]));

    let periods = node.cli(&["storage", "list-periods", "--first", "2", "--json"]).json();
    assert_eq!(periods["periods"][0]["period"], 2);
    assert_eq!(periods["periods"].as_array().unwrap().len(), 2);
    let roots = STORE.period_roots();
    assert_says(
        &node.cli(&["storage", "list-periods"]).text(),
        &["missed", "?", &roots[2]],
    );

    let id = NodeId::new(KEY.get_public_key()).to_string();
    let text = node.cli(&["storage", "nodes"]).text();
    assert_says(&text, &[&id, "1234567", "222", &address()]);
    let after = node
        .cli(&["storage", "nodes", "--after", &id, "--limit", "1", "--json"])
        .json();
    assert_eq!(after["nodes"], json!([]));
}

#[test]
fn a_root_that_differs_from_the_accepted_one_stands_in_the_list() {
    let node = TestNode::start();
    node.lie(|mut answer| {
        if answer.is_array() {
            answer[1]["accepted_root"] = json!(OTHER_ROOT);
        }
        answer
    });
    let text = node.cli(&["storage", "list-segments"]).text();
    assert_says(&text, &["closed; DIFFERS: ", OTHER_ROOT]);
}

#[test]
fn a_block_comes_with_the_bytes_of_the_store_and_a_proof_that_check_proof_accepts() {
    let node = TestNode::start();
    let directory = TestDir::new();
    for (slot, record) in UPSTREAM.blocks.iter().step_by(25) {
        let at = format!("{}:{}", slot.period, slot.thread);
        let id = record.view(32).unwrap().block_id().to_string();
        let raw = node
            .cli(&["storage", "get-block", "--slot", &at, "--raw"])
            .expect_success();
        assert_eq!(raw, record.block());
        let raw = node
            .cli(&["storage", "get-block", &id, "--raw", "--with-operations"])
            .expect_success();
        assert_eq!(raw, record.objects().collect::<Vec<_>>().concat());
        let (option, root) = match slot.period {
            4 => ("--period-root", STORE.period_roots().remove(3)),
            period => ("--root", ROOTS[period as usize / 2].clone()),
        };
        let proof = node
            .cli(&["storage", "get-block", &id, "--proof", option, &root])
            .expect_success();
        let file = directory.file("proof.json", &proof);
        let proven = run(&[
            "archive",
            "check-proof",
            file.to_str().unwrap(),
            option,
            &root,
            "--json",
        ])
        .json();
        assert_eq!(proven["block_id"], id);
    }
}

/// While the segment is open a proof ends at the period root, which is said, and can be trusted by itself.
#[test]
fn a_proof_of_an_open_segment_ends_at_the_period_root() {
    let node = TestNode::start();
    let period_root = STORE.period_roots().remove(3);
    let command = ["storage", "get-block", "--slot", "4:2"];
    let text = node.cli(&command).text();
    assert_says(
        &text,
        &["the period: its segment is open", &period_root, "the node's word"],
    );
    let trusted = node
        .cli(&[&command[..], &["--period-root", &period_root, "--json"]].concat())
        .json();
    assert_eq!(
        (&trusted["root_trusted"], &trusted["period_root"], &trusted["checked"]),
        (&json!(true), &json!(period_root), &json!("ids"))
    );
    assert!(trusted["proven_segment"].is_null());
    let error = node.cli(&[&command[..], &["--root", root()]].concat()).failure();
    assert_says(
        &error,
        &["the node's proof was refused", "ends at the root of period 4"],
    );
    let period = node.cli(&["storage", "get-period", "4", "--json"]).json();
    assert_eq!((&period["state"], &period["anchored"]), (&json!("open"), &json!(false)));
}

#[test]
fn a_block_is_shown_with_what_was_checked() {
    let node = TestNode::start();
    let text = node.cli(&["storage", "get-block", BLOCK, "--with-operations"]).text();
    assert_says(
        &text,
        &[
            BLOCK,
            "archived",
            "signatures of header and operations",
            root(),
            "the node's word",
            "creator",
        ],
    );
    let trusted = node
        .cli(&["storage", "get-block", BLOCK, "--root", root(), "--json"])
        .json();
    assert_eq!(
        (&trusted["kind"], &trusted["block_id"]),
        (&json!("block"), &json!(BLOCK))
    );
    assert_eq!(
        (&trusted["root_trusted"], &trusted["checked"]),
        (&json!(true), &json!("meaning"))
    );
    assert_eq!(trusted["segment_root"], root());
    assert!(trusted["block"]["header"].is_null() && trusted["block"]["content"]["header"].is_object());
    assert!(trusted.get("operations").is_none());
}

#[test]
fn a_missed_slot_is_an_answer_with_a_proof() {
    let node = TestNode::start();
    assert_says(
        &node.cli(&["storage", "get-block", "--slot", MISSED]).text(),
        &["slot 3:8 was missed", root()],
    );
    let proof = node
        .cli(&["storage", "get-block", "--slot", MISSED, "--proof"])
        .expect_success();
    assert_eq!(
        serde_json::from_slice::<Value>(&proof).unwrap()["subject"]["kind"],
        "miss"
    );
    let error = node.cli(&["storage", "get-block", "--slot", MISSED, "--raw"]).failure();
    assert_eq!(error, "slot 3:8 was missed: there is no block");
}

/// What the registry takes is a rewriting of the proof; while the segment is open there is none.
#[test]
fn the_proof_of_a_slot_is_written_as_the_registry_takes_it() {
    let node = TestNode::start();
    for slot in [["--slot", "2:3"], ["--slot", MISSED]] {
        let command = [&["storage", "get-block"][..], &slot].concat();
        let document = node.cli(&[&command[..], &["--proof"]].concat()).expect_success();
        let document: ProofDocument = serde_json::from_slice(&document).unwrap();
        let written = node
            .cli(&[&command[..], &["--registry-proof"]].concat())
            .expect_success();
        let expected = hex::encode(document.registry_proof().unwrap()) + "\n";
        assert_eq!(String::from_utf8(written).unwrap(), expected);
    }
    let open = ["storage", "get-block", "--slot", "4:2", "--registry-proof"];
    let error = node.cli(&open).failure();
    assert_says(&error, &["the node has no proof", "its segment is open"]);
}

#[test]
fn an_operation_comes_with_its_bytes_and_a_proof() {
    let node = TestNode::start();
    let bytes = UPSTREAM.blocks.iter().flat_map(|(_, record)| record.operations());
    let id = |bytes: &&[u8]| operation_id(&bytes[SIGNATURE_BYTES..], UPSTREAM.chain_id).to_string();
    let bytes = bytes.into_iter().find(|bytes| id(bytes) == OPERATION).unwrap();
    assert_eq!(
        node.cli(&["storage", "get-operation", OPERATION, "--raw"])
            .expect_success(),
        bytes
    );
    let shown = node
        .cli(&["storage", "get-operation", OPERATION, "--json", "--root", root()])
        .json();
    assert_eq!(
        (&shown["operation_id"], &shown["operation_hex"]),
        (&json!(OPERATION), &json!(hex::encode(bytes)))
    );
    assert_says(
        &node.cli(&["storage", "get-operation", OPERATION]).text(),
        &[OPERATION, "expires", root()],
    );
    let proof = node
        .cli(&["storage", "get-operation", OPERATION, "--proof"])
        .expect_success();
    assert_eq!(
        serde_json::from_slice::<Value>(&proof).unwrap()["subject"]["operation_id"],
        OPERATION
    );
}

#[test]
fn a_period_is_shown_with_slots_and_chunks() {
    let node = TestNode::start();
    assert_says(
        &node.cli(&["storage", "get-period", "3"]).text(),
        &["missed", "chunk", "yes", root()],
    );
    let shown = node
        .cli(&["storage", "get-period", "3", "--json", "--root", root()])
        .json();
    assert_eq!((&shown["period"], &shown["root_trusted"]), (&json!(3), &json!(true)));
    assert_eq!(shown["slots"].as_array().unwrap().len(), 32);
    assert_eq!((&shown["state"], &shown["segment"]), (&json!("closed"), &json!(1)));
    let proof = node.cli(&["storage", "get-period", "3", "--proof"]).expect_success();
    assert_eq!(
        serde_json::from_slice::<Value>(&proof).unwrap()["subject"]["kind"],
        "period"
    );
    assert_eq!(shown["root"], STORE.period_roots()[2]);
}

#[test]
fn a_root_that_is_trusted_is_not_replaced_by_the_nodes() {
    let node = TestNode::start();
    for command in [["get-block", BLOCK], ["get-operation", OPERATION], ["get-period", "2"]] {
        let error = node
            .cli(&["storage", command[0], command[1], "--root", OTHER_ROOT])
            .failure();
        assert_says(&error, &["the node's proof was refused", root(), OTHER_ROOT]);
    }
}

#[test]
fn without_a_proof_the_rest_is_checked_and_said() {
    let node = TestNode::start();
    node.world.lock().unwrap().without_proofs = true;
    let text = node.cli(&["storage", "get-block", BLOCK]).text();
    assert_says(
        &text,
        &[
            "pending",
            "there is no path before the segment is closed",
            "none: period 2 is not complete",
        ],
    );
    assert_eq!(
        node.cli(&["storage", "get-operation", OPERATION, "--json"]).json()["checked"],
        "ids"
    );
    for option in [["--root", root()].as_slice(), &["--proof"]] {
        let error = node
            .cli(&[&["storage", "get-block", BLOCK][..], option].concat())
            .failure();
        assert_eq!(error, "the node has no proof: period 2 is not complete");
    }
}

#[test]
fn what_the_node_does_not_have_is_named() {
    let node = TestNode::start();
    let unknown = BlockId::new(Hash::compute_from(b"nobody made it")).to_string();
    assert_says(
        &node.cli(&["storage", "get-block", &unknown]).failure(),
        &["the node says", "-32004"],
    );
    assert_says(
        &node.cli(&["storage", "get-period", "9"]).failure(),
        &["period 9 is not archived", "-32004"],
    );
}

/// Each lie about an answer is found out.
#[test]
fn a_node_that_lies_is_refused() {
    let node = TestNode::start();
    type Lie = fn(&mut Value);
    let cases: [(&[&str], Lie, &str); 15] = [
        (
            &["get-block", BLOCK],
            |answer| flip(&mut answer["block"], 70),
            "refused",
        ),
        (
            &["get-block", BLOCK],
            |answer| flip(&mut answer["block"], 10),
            "invalid signature",
        ),
        (
            &["get-block", BLOCK],
            |answer| flip(&mut answer["proof"]["period"]["root"], 3),
            "proof was refused",
        ),
        (
            &["get-block", BLOCK],
            |answer| drop_last(&mut answer["operations"]),
            "refused",
        ),
        (
            &["get-block", BLOCK],
            |answer| answer["proof"]["chain_id"] = json!(1),
            "proof was refused",
        ),
        (
            &["get-operation", OPERATION],
            |answer| flip(&mut answer["operation"], 10),
            "invalid signature",
        ),
        (
            &["get-operation", OPERATION],
            |answer| flip(&mut answer["operation"], 101),
            "refused",
        ),
        (
            &["get-operation", OPERATION],
            |answer| answer["index"] = json!(4000),
            "index",
        ),
        (
            &["get-operation", OPERATION],
            |answer| answer["slot"]["thread"] = json!(31),
            "slot",
        ),
        (&["get-period", "2"], |answer| drop_last(&mut answer["slots"]), "slots"),
        (
            &["get-period", "2"],
            |answer| answer["slots"][0] = answer["slots"][1].clone(),
            "slots",
        ),
        (
            &["get-period", "2"],
            |answer| answer["root"] = json!(OTHER_ROOT),
            "proof.period.root",
        ),
        (
            &["get-period", "2"],
            |answer| answer["segment"] = json!(7),
            "proof.segment",
        ),
        (&["get-period", "2"], |answer| answer["state"] = json!("lost"), "state"),
        (
            &["get-block", BLOCK],
            |answer| {
                answer["kind"] = json!("lost");
            },
            "proof.kind",
        ),
    ];
    for (command, lie, says) in cases {
        node.lie(move |mut answer| {
            // The status, which is asked first, has no proof.
            if answer.get("proof").is_some() {
                lie(&mut answer);
            }
            answer
        });
        let error = node.cli(&[&["storage"][..], command].concat()).failure();
        assert_says(&error, &[says]);
    }
}

#[test]
fn another_block_period_or_proof_than_asked_for_is_refused() {
    let honest = TestNode::start();
    let answer = |command: &[&str]| -> Value {
        // What the node would answer to another question.
        let asked = match command[0] {
            "get-block" => json!([command[1]]),
            _ => json!([command[1].parse::<u64>().unwrap()]),
        };
        let method = command[0].replace("get-", "get_archived_");
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": asked}).to_string();
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", honest.port)).unwrap();
        let length = body.len();
        write!(socket, "POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        let answer: Value = serde_json::from_str(text.split_once("\r\n\r\n").unwrap().1).unwrap();
        answer["result"].clone()
    };
    let (_, record) = &UPSTREAM.blocks[3];
    let other_block = answer(&["get-block", &record.view(32).unwrap().block_id().to_string()]);
    let other_period = answer(&["get-period", "3"]);

    let liar = TestNode::start();
    let replaced = |answer: &Value, field: &'static str| {
        let (whole, part) = (answer.clone(), answer[field].clone());
        move |mut told: Value| {
            match told.get("proof") {
                None => {}
                Some(_) if field.is_empty() => told = whole.clone(),
                Some(_) => told[field] = part.clone(),
            }
            told
        }
    };
    liar.lie(replaced(&other_block, ""));
    assert_says(
        &liar.cli(&["storage", "get-block", BLOCK]).failure(),
        &["block_id", BLOCK],
    );
    assert_says(
        &liar.cli(&["storage", "get-block", "--slot", "4:4"]).failure(),
        &["slot", "4:4"],
    );
    liar.lie(replaced(&other_block, "proof"));
    assert_says(&liar.cli(&["storage", "get-block", BLOCK]).failure(), &["proof."]);
    liar.lie(replaced(&other_period, ""));
    assert_says(
        &liar.cli(&["storage", "get-period", "2"]).failure(),
        &["period", "2", "3"],
    );
    liar.lie(replaced(&other_period, "proof"));
    assert_says(&liar.cli(&["storage", "get-period", "2"]).failure(), &["proof.period"]);
}

/// Changes one byte of a hexadecimal text.
fn flip(text: &mut Value, byte: usize) {
    let mut bytes = hex::decode(text.as_str().unwrap()).unwrap();
    bytes[byte] ^= 1;
    *text = json!(hex::encode(bytes));
}

fn drop_last(list: &mut Value) {
    assert!(list.as_array_mut().unwrap().pop().is_some());
}

#[test]
fn a_wallet_has_keys_with_coins_and_sends_them() {
    let node = TestNode::start();
    let directory = TestDir::new();
    let wallet = directory.path("keys");
    let wallet = wallet.to_str().unwrap();

    let from = run(&["wallet", "generate", "--wallet", wallet])
        .text()
        .trim()
        .to_string();
    let to = run(&["wallet", "generate", "--wallet", wallet, "--json"]).json()["address"].clone();
    let to = to.as_str().unwrap();
    let balances = node.cli(&["wallet", "balance", "--wallet", wallet, "--json"]).json();
    let listed: Vec<&Value> = balances["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| &entry["address"])
        .collect();
    assert!(listed.len() == 2 && listed.contains(&&json!(from)) && listed.contains(&&json!(to)));
    assert_says(&node.cli(&["wallet", "balance", to]).text(), &[to, "12.5", "13"]);

    let sent = node
        .cli(&["send", &from, to, "1.5", "--wallet", wallet, "--json"])
        .json();

    let operation = node.sent().remove(0);
    operation.verify_signature().unwrap();
    assert_eq!(sent["operation_id"], operation.id.to_string());
    let content = &operation.content;
    assert_eq!(
        (content.fee.to_string(), content.expire_period),
        ("0.01".to_string(), 7 + 9)
    );
    let OperationType::Transaction {
        recipient_address,
        amount,
    } = &content.op
    else {
        panic!()
    };
    assert_eq!(
        (recipient_address.to_string(), *amount),
        (to.to_string(), "1.5".parse().unwrap())
    );
    let text = node
        .cli(&["send", &from, to, "2", "--fee", "0.5", "--wallet", wallet])
        .text();
    assert_says(&text, &[&from, to, "0.5", "period 16"]);
}

#[test]
fn what_cannot_be_sent_is_named_and_nothing_is_sent_or_made() {
    let node = TestNode::start();
    let directory = TestDir::new();
    let wallet = directory.path("keys");
    let text = wallet.to_str().unwrap();
    let to = address();

    let error = node.cli(&["send", &to, &to, "1", "--wallet", text]).failure();
    assert_says(&error, &["has no keys", "wallet generate"]);
    assert_says(
        &run(&["wallet", "balance", "--wallet", text]).failure(),
        &["has no keys"],
    );
    assert!(!wallet.exists());

    let from = run(&["wallet", "generate", "--wallet", text]).text().trim().to_string();
    assert_says(
        &node.cli(&["send", &to, &from, "1", "--wallet", text]).failure(),
        &["no key of", &to],
    );
    let zero = node.cli(&["send", &from, &to, "0", "--wallet", text]).failure();
    assert_eq!(zero, "AMOUNT: must be more than 0");
    let error = node
        .cli(&["send", &from, &to, "1", "--fee", "0.001", "--wallet", text])
        .failure();
    assert_says(&error, &["--fee: 0.001 is less than", "0.01"]);
    assert!(node.world.lock().unwrap().sent.is_empty());
}

#[test]
fn the_operator_bans_unbans_and_stops() {
    let node = TestNode::start();
    let id = NodeId::new(KEY.get_public_key());
    assert_says(&node.cli(&["node", "ban", &id.to_string()]).text(), &["1 node banned"]);
    assert_eq!(node.world.lock().unwrap().banned, [id]);
    node.cli(&["node", "unban", &id.to_string()]).expect_success();
    assert!(node.world.lock().unwrap().banned.is_empty());
    node.cli(&["node", "stop"]).expect_success();
    assert!(node.world.lock().unwrap().stopped);
}

#[test]
fn a_challenge_by_hand_prints_its_result_and_fails_if_the_node_did() {
    let node = TestNode::start();
    let challenged = NodeId::new(KEY.get_public_key()).to_string();
    let command = ["storage", "issue-challenge", "--node", &challenged, "--chunk", "3:0"];
    let text = node.cli(&command).text();
    assert_says(
        &text,
        &[&challenged, "VALID", "12 ms", "75% of 4 audits", "chunk 0 of segment 3"],
    );
    let json = node.cli(&[&["--json"][..], &command].concat()).json();
    assert_eq!((&json["outcome"], &json["failed"]), (&json!("passed"), &json!(false)));

    node.lie(|mut answer| {
        if let Some(result) = answer.get_mut("results").map(|results| &mut results[0]) {
            (result["outcome"], result["failed"]) = (json!("not_held"), json!(true));
        }
        answer
    });
    assert_says(&node.cli(&command).error(1), &["failed the challenge"]);

    let by_address = ["storage", "issue-challenge", "--node", &address(), "--chunk", "3:0"];
    node.cli(&by_address).error(1);
    for (field, value) in [("--node", "nobody"), ("--chunk", "3:x"), ("--chunk", "abc")] {
        let at = command.iter().position(|argument| *argument == field).unwrap();
        let mut wrong = command;
        wrong[at + 1] = value;
        assert_says(&node.cli(&wrong).error(2), &[field]);
    }
}

#[test]
fn the_challenge_history_shows_rates_and_results() {
    let node = TestNode::start();
    let text = node.cli(&["storage", "challenge-history"]).text();
    assert_says(&text, &["75%", "3:0", "VALID", "alarm"]);
}
