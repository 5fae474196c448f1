//! The servers, asked by the unmodified massa-web3.

mod common;

use common::{config, event, TestNode};
use massa_api::ApiConfig;
use std::path::Path;
use std::process::Command;

#[test]
fn a_client_that_needs_all_events_goes_back_from_the_newest() {
    let config = ApiConfig {
        max_response_body_size: 10_000,
        ..config()
    };
    let node = TestNode::start_with(config);
    node.world().events = (0..25).map(event).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/web3");
    let packages = folder.join("../../massa-storage-sc/node_modules/@massalabs/massa-web3");
    assert!(packages.exists(), "massa-web3 is missing: scripts/setup installs it");
    let output = Command::new("node")
        .arg("events.mjs")
        .current_dir(folder)
        .env("JSON_RPC_URL", format!("http://{}", node.public_address()))
        .output()
        .unwrap_or_else(|error| panic!("node: {error}: scripts/setup installs it"));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let answers: Vec<Vec<u64>> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let periods = |range: std::ops::Range<u64>| range.collect::<Vec<_>>();
    assert_eq!(answers, [periods(15..25), periods(5..15), periods(0..5)]);
}
