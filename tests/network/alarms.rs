//! What nodes find out about themselves from their peers: that another process has their key, and that their ledger is not that of
//! the others. Those of whom neither is true say nothing.

use crate::common::{archived_everywhere, change_settings, logs, network, DEADLINE};
use massa_localnet::wait::wait_for;
use massa_localnet::{Network, Node};
use massa_time::MassaTime;
use rocksdb::{Options, DB};
use std::time::Instant;

const NODES: usize = 4;
/// Nodes that nothing happens to.
const WHOLE: [usize; 2] = [0, 1];
/// The node whose ledger is changed.
const CHANGED: usize = 2;
/// The node that is started a second time.
const TWICE: usize = 3;
/// Periods in which two nodes with one key are watched.
const PERIODS_WATCHED: u64 = 4;

#[test]
fn a_node_with_a_second_process_and_one_with_another_state_say_so_and_the_others_do_not() {
    let deadline = Instant::now() + DEADLINE;
    let (_directory, mut network) = network(NODES);
    log_blocks(&network.nodes()[TWICE]);
    network.start(NODES).unwrap();
    let all: Vec<usize> = (0..NODES).collect();
    archived_everywhere(&mut network, &all, 1, deadline);

    for node in [CHANGED, TWICE] {
        assert!(network.node_mut(node).stop().unwrap().success());
    }
    let mut second = network.duplicate(TWICE).unwrap();
    take_coins(&network.nodes()[CHANGED]);
    for node in [CHANGED, TWICE] {
        network.node_mut(node).start().unwrap();
    }
    for node in [CHANGED, TWICE] {
        network.node_mut(node).wait_ready().unwrap();
    }
    // The one that came back is in step with the others, and connected: then comes the second.
    let now = now_period(&network);
    archived_everywhere(&mut network, &all, now, deadline);
    assert_eq!(alarms(&network.nodes()[TWICE]), Ok(Vec::new()));
    second.start().unwrap();
    second.wait_ready().unwrap();

    let elsewhere = "the id of this node is connected from elsewhere";
    for node in [&network.nodes()[TWICE], &second] {
        says(&network, node, elsewhere, deadline);
    }
    neither_produces(&network, &second, deadline);
    says(
        &network,
        &network.nodes()[CHANGED],
        "the final state of this node",
        deadline,
    );
    // After both were compared with it at least once.
    for node in WHOLE.into_iter().chain([TWICE]) {
        let told = alarms(&network.nodes()[node]).unwrap();
        assert!(
            !told
                .iter()
                .any(|alarm| alarm.contains("final state") || alarm.contains("clock")),
            "{told:?}"
        );
        assert!(node == TWICE || told.is_empty(), "{told:?}");
    }
    assert!(second.stop().unwrap().success());
    network.stop().unwrap();
}

/// Has a node say in its log which blocks it produces.
fn log_blocks(node: &Node) {
    change_settings(node, "[network]", "[logging]\nlevel = 3\n\n[network]");
}

/// Takes all coins from the address that produces the blocks of a node that does not run, in its own ledger alone.
fn take_coins(node: &Node) {
    let options = Options::default();
    let families = DB::list_cf(&options, node.ledger_path()).unwrap();
    let ledger = DB::open_cf(&options, node.ledger_path(), families).unwrap();
    let balances = ledger.cf_handle("ledger").unwrap();
    let key = node.address().to_prefixed_bytes();
    let before = ledger.get_cf(balances, &key).unwrap().unwrap();
    assert_ne!(before, [0; 8]);
    ledger.put_cf(balances, key, [0; 8]).unwrap();
}

/// All alarms of a node; both statuses have those that have to be acted on.
fn alarms(node: &Node) -> Result<Vec<String>, String> {
    let told = node.client().status().map_err(|error| error.to_string())?.alarms;
    let storage = node.client().storage_status().map_err(|error| error.to_string())?;
    let missing = storage.alarms.iter().find(|alarm| !told.contains(alarm));
    match missing {
        None if told.is_empty() || !storage.alarms.is_empty() => Ok(told),
        _ => Err(format!("{told:?} and {:?}", storage.alarms)),
    }
}

/// Waits until a node has an alarm that begins so, in status and log.
fn says(network: &Network, node: &Node, what: &str, deadline: Instant) {
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = wait_for(format!("{what:?} of {}", node.name()), left, || {
        let told = alarms(node)?;
        let log = std::fs::read_to_string(node.log_path()).map_err(|error| error.to_string())?;
        let logged = log.lines().any(|line| line.contains("ERROR") && line.contains(what));
        let said = logged && told.iter().any(|alarm| alarm.starts_with(what));
        said.then_some(())
            .ok_or_else(|| format!("{told:?}, in the log: {logged}"))
    });
    waited.unwrap_or_else(|error| panic!("{error}\n{}\n{}", node.log_tail(), logs(network)));
}

/// The second node never produced a block, and the first one produces none any more, while the network goes on.
fn neither_produces(network: &Network, second: &Node, deadline: Instant) {
    let first = &network.nodes()[TWICE];
    // A block that was begun before the alarm is made still.
    let alarmed_in = now_period(network);
    let left = deadline.saturating_duration_since(Instant::now());
    wait_for("the next period", left, || {
        (now_period(network) > alarmed_in).then_some(()).ok_or_else(String::new)
    })
    .unwrap();
    let before = blocks_produced(first);
    assert!(before > 0, "the log of {} has no blocks", first.name());
    let until = now_period(network) + PERIODS_WATCHED;
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = wait_for(format!("period {until} to be final"), left, || {
        let status = network.nodes()[WHOLE[0]].client().status();
        let last = status.map_err(|error| error.to_string())?.execution_stats.final_cursor;
        (last.period >= until).then_some(()).ok_or_else(|| last.to_string())
    });
    waited.unwrap_or_else(|error| panic!("{error}\n{}", logs(network)));
    assert_eq!(blocks_produced(first), before);
    assert_eq!(blocks_produced(second), 0);
}

fn now_period(network: &Network) -> u64 {
    network.clock().period_at(MassaTime::now())
}

fn blocks_produced(node: &Node) -> usize {
    let log = std::fs::read_to_string(node.log_path()).unwrap();
    log.lines().filter(|line| line.contains("block produced")).count()
}
