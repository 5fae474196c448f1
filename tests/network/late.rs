//! A network that a node joins when the others have gone on for a while, in the middle of a segment.

use crate::common::{archived_everywhere, inside_a_segment, network, read_everything, settled, DEADLINE};
use massa_localnet::genesis::account_balance;
use massa_localnet::readback::Readers;
use massa_localnet::wait::wait_for;
use massa_localnet::Network;
use massa_models::amount::Amount;
use massa_time::MassaTime;
use std::time::Instant;

const NODES: usize = 5;
/// The node that starts late: the last one.
const LATE: usize = 4;

#[test]
fn a_fifth_node_starts_late() {
    let deadline = Instant::now() + DEADLINE;
    let (_directory, mut network) = network(NODES);
    network.start(LATE).unwrap();
    let mut load = network.start_load(LATE, 200_000);
    let early: Vec<usize> = (0..LATE).collect();
    archived_everywhere(&mut network, &early, 5, deadline);

    inside_a_segment(&network, 0, deadline);
    network.node_mut(LATE).start().unwrap();
    network.node_mut(LATE).wait_ready().unwrap();
    let last = network.clock().period_at(MassaTime::now()) + 2;
    let all: Vec<usize> = (0..NODES).collect();
    let survey = settled(&mut network, &all, last, deadline);
    load.stop();

    assert!(survey.roots_agree());
    let held = survey.chunks_per_node()[network.nodes()[LATE].name()];
    assert!(held > 0, "the late node holds nothing");
    let read = read_everything(&network, &survey, Readers::One, deadline);
    assert_eq!(read.failures, []);
    assert_eq!(read.blocks, read.blocks_proven);
    let balances = balances_agree(&network, deadline);
    assert!(
        balances.iter().any(|balance| *balance != account_balance()),
        "the load moved no coins"
    );
    network.stop().unwrap();
}

/// Waits until all nodes tell the same final balance of each account of the load, which has stopped.
fn balances_agree(network: &Network, deadline: Instant) -> Vec<Amount> {
    let left = deadline.saturating_duration_since(Instant::now());
    let agreed = wait_for("equal balances", left, || {
        let told = network.nodes().iter().map(|node| {
            let infos = node
                .client()
                .addresses(network.accounts())
                .map_err(|error| error.to_string())?;
            Ok(infos.iter().map(|info| info.final_balance).collect::<Vec<_>>())
        });
        let told = told.collect::<Result<Vec<_>, String>>()?;
        match told.iter().all(|balances| *balances == told[0]) {
            true => Ok(told[0].clone()),
            false => Err(format!("{told:?}")),
        }
    });
    agreed.unwrap()
}
