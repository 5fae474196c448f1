//! A network of which every node stops, and which goes on later: nothing that was final is lost.

use crate::common::{archived_everywhere, network, DEADLINE};
use massa_localnet::node::STOP_TIMEOUT;
use rustix::process::Signal;
use std::time::Instant;

const NODES: usize = 3;

#[test]
fn a_network_that_stops_as_a_whole_goes_on_later_and_loses_nothing() {
    let deadline = Instant::now() + DEADLINE;
    let (_directory, mut network) = network(NODES);
    network.start(NODES).unwrap();
    let all: Vec<usize> = (0..NODES).collect();
    archived_everywhere(&mut network, &all, 1, deadline);

    network.nodes()[0].signal(Signal::INT).unwrap();
    network.nodes()[1].signal(Signal::TERM).unwrap();
    // As if whoever started it had died.
    network.node_mut(2).close_stdin().unwrap();
    for node in 0..NODES {
        let status = network.node_mut(node).wait_stopped(STOP_TIMEOUT).unwrap();
        assert!(status.success(), "node {node}: {status}");
    }

    network.start(NODES).unwrap();
    let last = network.clock().period_at(massa_time::MassaTime::now());
    archived_everywhere(&mut network, &all, last, deadline);
    network.stop().unwrap();
}
