//! The registry contract on a network of nodes, through the unmodified massa-web3: see `tests/web3/registry.mjs`, and
//! `npm run deploy` of the contract's folder.

use crate::common::{change_settings, logs, network, network_with_periods_of};
use massa_api_exports::node::NodeStatus;
use massa_localnet::genesis::CHAIN_ID;
use massa_localnet::wait::wait_for;
use massa_localnet::{Network, NodeClient};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_wallet::Wallet;
use rustix::process::{kill_process_group, Pid, Signal};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

const NODES: usize = 3;
/// How long the programs may take, with other work on the machine: an operation is final after some seconds.
const STEPS_DEADLINE: Duration = Duration::from_secs(300);
const INSTALL_DEADLINE: Duration = Duration::from_secs(300);
const DEPLOY_DEADLINE: Duration = Duration::from_secs(120);
/// Fourteen rounds of 16 periods take three minutes; with other work on the machine, and a round that is tried again, longer.
const EXAMPLE_DEADLINE: Duration = Duration::from_secs(480);
/// The waits themselves have 60 s.
const WAITS_DEADLINE: Duration = Duration::from_secs(150);
/// An operation is final long before the ten periods of its validity are over, with other work on the machine.
const WAITS_T0_MS: u64 = 2_000;
/// How long the network may take until its first blocks are executed, and to agree on a final state.
const NETWORK_DEADLINE: Duration = Duration::from_secs(60);

/// What `tests/web3/registry.mjs` reports, in its order.
const STEPS: [&str; 11] = [
    "the node tells its state",
    "deploy",
    "read",
    "register",
    "update",
    "fund, twice at once",
    "events by their filters",
    "keys and entries of the datastore, alike on every node",
    "a call that fails",
    "another account",
    "unregister",
];

#[test]
fn massa_web3_deploys_the_registry_calls_it_and_reads_it_back() {
    install_packages();
    let (directory, mut network) = network(NODES);
    network.start(NODES).unwrap();
    wait_for_blocks(&network);
    let keys = account_keys(&directory.path().join("network/accounts"));

    let urls: Vec<String> = network.nodes().iter().map(|node| url(node.ports().public)).collect();
    let mut steps = Command::new("node");
    steps
        .args(["--test-reporter=tap", "registry.mjs"])
        .current_dir(source("tests/web3"))
        .env("JSON_RPC_URLS", urls.join(","))
        .env("OPERATOR_KEY", &keys[0])
        .env("OTHER_KEY", &keys[1]);
    let output =
        run(steps, STEPS_DEADLINE, directory.path()).unwrap_or_else(|failure| panic!("{failure}\n{}", logs(&network)));
    for step in STEPS {
        assert!(reports(&output, step), "{step:?} is not reported in\n{output}");
    }

    let mut deploy = Command::new("npm");
    deploy
        .args(["run", "--silent", "deploy"])
        .current_dir(source("massa-storage-sc"))
        .env("JSON_RPC_URL", &urls[1])
        .env("PRIVATE_KEY", &keys[2])
        .env("COINS", "2.5");
    let output = run(deploy, DEPLOY_DEADLINE, directory.path())
        .unwrap_or_else(|failure| panic!("{failure}\n{}", logs(&network)));
    let address: Address = output.lines().last().unwrap().parse().unwrap();
    for node in network.nodes() {
        wait_for_coins(node.client(), address);
    }
    run_example(&urls[0], &keys[3], directory.path()).unwrap_or_else(|failure| panic!("{failure}\n{}", logs(&network)));
    network.check_running().unwrap();
    network.stop().unwrap();
}

#[test]
fn massa_web3_waits_with_its_defaults_on_a_node_that_makes_no_block() {
    install_packages();
    let (directory, mut network) = network_with_periods_of(NODES, WAITS_T0_MS);
    let (idle, url) = (NODES - 1, url(network.nodes()[NODES - 1].ports().public));
    change_settings(
        &network.nodes()[idle],
        "[factory]\nstaking_wallet_path = \"",
        "[factory]\nstaking_wallet_path = \"no_",
    );
    network.start(NODES).unwrap();
    wait_for_blocks(&network);
    let keys = account_keys(&directory.path().join("network/accounts"));
    let mut waits = Command::new("node");
    waits
        .arg("waits.mjs")
        .current_dir(source("tests/web3"))
        .env("JSON_RPC_URL", url)
        .env("OPERATOR_KEY", &keys[0]);
    let output =
        run(waits, WAITS_DEADLINE, directory.path()).unwrap_or_else(|failure| panic!("{failure}\n{}", logs(&network)));
    assert!(output.contains("100 unknown operations, 2 transfers"), "{output}");
    network.stop().unwrap();
}

/// `npm run example` checks what it does; here that it came to its end, and was paid by the bounty and by the registry.
fn run_example(url: &str, key: &str, directory: &Path) -> Result<(), String> {
    let mut example = Command::new("npm");
    example
        .args(["run", "--silent", "example"])
        .current_dir(source("massa-storage-sc"))
        .env("JSON_RPC_URL", url)
        .env("PRIVATE_KEY", key);
    let output = run(example, EXAMPLE_DEADLINE, directory)?;
    for event in [
        "ROUND_SUBMITTED:",
        "BOUNTY_PAID:",
        "REWARDS_CLAIMED:",
        "STORAGE_NODE_UNREGISTERED:",
    ] {
        if !output.contains(event) {
            return Err(format!("no {event} in\n{output}"));
        }
    }
    Ok(())
}

/// A line `ok 3 - name` of the protocol in which Node reports tests; with a remark behind it, the test was left out.
fn reports(output: &str, step: &str) -> bool {
    let mut passed = output.lines().filter(|line| line.starts_with("ok "));
    passed.any(|line| line.split_once(" - ").is_some_and(|(_, name)| name == step))
}

#[test]
fn a_step_that_failed_or_was_left_out_is_not_reported() {
    let output =
        "TAP version 13\n# Subtest: read\nok 1 - read\nnot ok 2 - fund\nok 3 - update # SKIP an earlier step failed\n";
    let steps = ["read", "fund", "update", "deploy"];
    assert_eq!(steps.map(|step| reports(output, step)), [true, false, false, false]);
}

/// `scripts/setup` installs them; without it, as it would.
pub fn install_packages() {
    let folder = source("massa-storage-sc");
    if folder.join("node_modules/@massalabs/massa-web3/package.json").exists() {
        return;
    }
    let mut install = Command::new("npm");
    install.args(["ci", "--ignore-scripts"]).current_dir(&folder);
    run(install, INSTALL_DEADLINE, &std::env::temp_dir()).unwrap_or_else(|failure| panic!("{failure}"));
}

fn wait_for_blocks(network: &Network) {
    let executed = |status: NodeStatus| match status.execution_stats.final_cursor.period {
        0 => Err(format!("{:?}", status.execution_stats)),
        _ => Ok(()),
    };
    for node in network.nodes() {
        let status = || node.client().status().map_err(|error| error.to_string());
        wait_for("executed final blocks", NETWORK_DEADLINE, || executed(status()?)).unwrap();
    }
}

fn wait_for_coins(client: &NodeClient, address: Address) {
    let coins = wait_for("the registry's coins", NETWORK_DEADLINE, || {
        let infos = client.addresses(vec![address]).map_err(|error| error.to_string())?;
        match infos[0].final_balance {
            coins if coins > Amount::zero() => Ok(coins),
            _ => Err(format!("{infos:?}")),
        }
    });
    assert!(
        coins.unwrap() < "2.5".parse().unwrap(),
        "storage is paid from the coins"
    );
}

/// The keys of the network's accounts, as text.
pub fn account_keys(wallet: &Path) -> Vec<String> {
    let wallet = Wallet::new(wallet.to_path_buf(), CHAIN_ID).unwrap();
    let key = |address: &Address| wallet.find_associated_keypair(address).unwrap().to_string();
    wallet.get_addresses().iter().map(key).collect()
}

pub fn url(address: std::net::SocketAddr) -> String {
    format!("http://{address}")
}

/// A path of the source tree.
pub fn source(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

/// Runs a program to its end, and gives what it wrote. Its failure, and being late, are told with that.
pub fn run(mut command: Command, deadline: Duration, directory: &Path) -> Result<String, String> {
    let name = format!(
        "{:?} {:?}",
        command.get_program(),
        command.get_args().collect::<Vec<_>>()
    );
    let log = tempfile::NamedTempFile::new_in(directory).unwrap();
    let out = log.reopen().unwrap();
    let errors = out.try_clone().unwrap();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(out)
        .stderr(errors)
        .process_group(0)
        .spawn()
        .map_err(|error| format!("{name}: {error}. It is needed here: scripts/setup installs what is missing"))?;
    let ended = wait_for("its end", deadline, || match child.try_wait() {
        Ok(None) => Err("it still runs".to_owned()),
        ended => Ok(ended.unwrap().unwrap()),
    });
    let written = || std::fs::read_to_string(log.path()).unwrap();
    match ended {
        Ok(status) if status.success() => Ok(written()),
        Ok(status) => Err(format!("{name}: {status}\n{}", written())),
        Err(late) => {
            let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
            let _ = child.wait();
            Err(format!("{name}: {late}\n{}", written()))
        }
    }
}
