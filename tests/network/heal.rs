//! A network in which one node is killed without warning and another loses its archive.

use crate::common::{archived_everywhere, inside_a_segment, network, read_everything, settled, DEADLINE};
use massa_localnet::readback::Readers;
use std::time::Instant;

const NODES: usize = 4;
/// Nodes of the scenario.
const KILLED: usize = 1;
const WIPED: usize = 2;

#[test]
fn a_killed_node_and_a_wiped_store_heal() {
    let deadline = Instant::now() + DEADLINE;
    let (_directory, mut network) = network(NODES);
    network.start(NODES).unwrap();
    let mut load = network.start_load(NODES, 200_000);
    let all: Vec<usize> = (0..NODES).collect();
    archived_everywhere(&mut network, &all, 3, deadline);

    // Its open segment is in rows, its closed ones are chunks.
    inside_a_segment(&network, KILLED, deadline);
    network.node_mut(KILLED).kill();
    assert!(network.node_mut(WIPED).stop().unwrap().success());
    network.nodes()[WIPED].wipe_store().unwrap();
    let others: Vec<usize> = all
        .iter()
        .copied()
        .filter(|node| ![KILLED, WIPED].contains(node))
        .collect();
    let missed = network.clock().period_at(massa_time::MassaTime::now()) + 1;
    archived_everywhere(&mut network, &others, missed, deadline);

    for node in [KILLED, WIPED] {
        network.node_mut(node).start().unwrap();
        network.node_mut(node).wait_ready().unwrap();
    }
    let last = network.clock().period_at(massa_time::MassaTime::now()) + 1;
    archived_everywhere(&mut network, &all, last, deadline);
    load.stop();

    let survey = settled(&mut network, &all, last, deadline);
    assert!(survey.roots_agree() && survey.closed().count() > 0);
    let read = read_everything(&network, &survey, Readers::All, deadline);
    assert_eq!(read.failures, []);
    assert!(read.misses_proven > 0, "slots of the nodes that were down are misses");
    let nodes = NODES as u64;
    assert_eq!(read.blocks, read.blocks_proven * nodes);
    assert_eq!(read.misses, read.misses_proven * nodes);
    assert!(read.operations > 0, "the load reached no block");
    network.stop().unwrap();
}
