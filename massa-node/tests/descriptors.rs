//! The node as a process under a low limit of descriptors.

use std::path::Path;
use std::process::{Command, Output};

/// Starts the node with at most `hard` descriptors, in a directory without a genesis file: it ends there at the latest.
fn start(hard: u64) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let node = env!("CARGO_BIN_EXE_massa-node");
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("base_config/config.toml");
    Command::new("sh")
        .args(["-c", &format!("ulimit -Sn 64; ulimit -Hn {hard}; exec \"{node}\"")])
        .current_dir(directory.path())
        .env("MASSA_CONFIG_PATH", base)
        .env("MASSA_NODE__NETWORK__GENESIS_FILE", "none.json")
        .output()
        .unwrap()
}

#[test]
fn a_limit_below_what_the_node_needs_for_itself_is_refused_with_the_number() {
    let output = start(256);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(errors.contains("the process may open 256 descriptors"), "{errors}");
    assert!(errors.contains("protocol.target_out_connections"), "{errors}");
}

#[test]
fn a_limit_below_what_is_configured_cuts_connections_and_names_the_keys() {
    let output = start(1024);
    let (log, errors) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    // The soft limit was raised: with 64 it would be refused as above.
    assert!(errors.contains("none.json"), "{errors}");
    for part in [
        "protocol.max_in_connections",
        "configured=250",
        "max_pending_connections",
        "limit=1024",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
}

#[test]
fn a_limit_that_is_high_enough_changes_nothing() {
    let log = String::from_utf8(start(4096).stdout).unwrap();
    assert!(log.contains("the limit is above what this node can open"), "{log}");
    assert!(!log.contains("configured="), "{log}");
}
