//! Nodes stop when they are asked to, one after the other, and miss nothing when they are started again.

use crate::common::{archived_everywhere, network, DEADLINE};
use massa_localnet::node::STOP_TIMEOUT;
use massa_localnet::Node;
use massa_time::MassaTime;
use rustix::process::Signal;
use std::time::Instant;

const NODES: usize = 3;

/// A way to ask a node to stop.
type Ask = fn(&mut Node);

#[test]
fn a_node_stops_cleanly_within_five_seconds_and_goes_on_later() {
    let deadline = Instant::now() + DEADLINE;
    let (_directory, mut network) = network(NODES);
    network.start(NODES).unwrap();
    let all: Vec<usize> = (0..NODES).collect();
    archived_everywhere(&mut network, &all, 1, deadline);

    let ways: [(&str, Ask); NODES] = [
        ("SIGINT", |node| node.signal(Signal::INT).unwrap()),
        ("SIGTERM", |node| node.signal(Signal::TERM).unwrap()),
        // As if whoever started it had died.
        ("end of standard input", |node| node.close_stdin().unwrap()),
    ];
    for (index, (way, ask)) in ways.into_iter().enumerate() {
        let node = network.node_mut(index);
        ask(node);
        let status = node.wait_stopped(STOP_TIMEOUT).unwrap();
        assert!(status.success(), "{way}: {status}");

        node.start().unwrap();
        node.wait_ready().unwrap();
        let now = network.clock().period_at(MassaTime::now());
        archived_everywhere(&mut network, &all, now, deadline);
    }
    network.stop().unwrap();
}
