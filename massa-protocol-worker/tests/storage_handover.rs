//! Five nodes with an archive, and a sixth that counts from a segment on: it obtains its share, and the others let go of
//! theirs, over real sockets.

mod archive_common;
mod common;

use archive_common::{node_set, ArchiveNode, Chain, Identity, COMPLETE, PERIODS};
use common::wait_for;
use massa_distributed_storage_exports::registry::{NodeSet, StorageRegistry};
use massa_protocol_exports::LinkFaults;
use std::sync::Arc;
use std::time::Duration;

const REPLICATION_FACTOR: usize = 2;
const NODES: usize = 6;
/// The node that joins: the last one.
const JOINING: usize = 5;
/// The segment from which it counts, and the last period that is archived before.
const JOIN_SEGMENT: u64 = 2;
const BEFORE_JOIN: u64 = 7;
/// Periods that are surely archived before it counts.
const COMPLETE_BEFORE: u64 = 4;

/// Node sets of segments, as the registry contract has them.
#[derive(Debug)]
struct Segments {
    before: Arc<NodeSet>,
    after: Arc<NodeSet>,
}

impl StorageRegistry for Segments {
    fn node_set(&self, segment: u64) -> Arc<NodeSet> {
        Arc::clone(if segment < JOIN_SEGMENT {
            &self.before
        } else {
            &self.after
        })
    }
}

/// Held chunks of a period.
fn held(node: &ArchiveNode, period: u64) -> Vec<u32> {
    node.store.held_chunks(period).unwrap()
}

/// Whether each node holds the chunks of the periods up to `last` that are assigned to it, and no others.
fn settled(nodes: &[ArchiveNode], last: u64) -> bool {
    nodes.iter().all(|node| {
        (1..=last).all(|period| {
            let Ok(Some(manifest)) = node.store.manifest(period) else {
                return false;
            };
            let mine = node.assignments.mine(period, &manifest.chunks).into_iter().zip(0u32..);
            let mine: Vec<u32> = mine.filter(|(mine, _)| *mine).map(|(_, chunk)| chunk).collect();
            held(node, period) == mine
        })
    })
}

/// Fewest copies of any chunk that was archived before the join. Only the joining node gains copies and it is looked at
/// last, so what moves meanwhile is counted at least once.
fn fewest_copies(nodes: &[ArchiveNode]) -> usize {
    let copies = |period: u64| {
        let chunks = nodes[0].store.manifest(period).unwrap().unwrap().chunks.len();
        let mut copies = vec![0; chunks];
        for node in nodes {
            held(node, period).iter().for_each(|chunk| copies[*chunk as usize] += 1);
        }
        copies.into_iter().min().unwrap()
    };
    (1..=COMPLETE_BEFORE).map(copies).min().unwrap()
}

#[test]
fn a_sixth_node_takes_over_its_share_of_the_whole_history_and_no_copy_is_missed() {
    let chain = Chain::new(4);
    let all: Vec<Identity> = (0..NODES as u8).map(Identity::numbered).collect();
    let faults = LinkFaults {
        delay: Duration::from_millis(30),
        loss_one_in: 100,
        seed: 5,
    };
    let registry: Arc<dyn StorageRegistry> = Arc::new(Segments {
        before: Arc::new(node_set(&all[..JOINING])),
        after: Arc::new(node_set(&all)),
    });
    let start = |own| {
        let registry = Arc::clone(&registry);
        ArchiveNode::start_with(own, REPLICATION_FACTOR, &all, registry, &chain.parameters, faults)
    };
    let nodes: Vec<ArchiveNode> = (0..NODES).map(start).collect();
    nodes
        .iter()
        .for_each(|node| node.archive(chain.blocks(1..=BEFORE_JOIN)));
    wait_for("the archives of five", || settled(&nodes, COMPLETE_BEFORE));
    assert!((1..=COMPLETE_BEFORE).all(|period| held(&nodes[JOINING], period).is_empty()));
    assert_eq!(fewest_copies(&nodes), REPLICATION_FACTOR);

    nodes
        .iter()
        .for_each(|node| node.archive(chain.blocks(BEFORE_JOIN + 1..=PERIODS)));
    wait_for("the archives of six", || {
        assert!(fewest_copies(&nodes) >= REPLICATION_FACTOR, "a copy is missing");
        nodes.iter().all(|node| node.assignments.epoch() == 1) && settled(&nodes, COMPLETE)
    });
    let old: usize = (1..=COMPLETE_BEFORE)
        .map(|period| held(&nodes[JOINING], period).len())
        .sum();
    println!("the sixth node took over {old} chunks of the time before it counted");
    assert!(old > 0, "the sixth node holds nothing of the time before it counted");
    assert_eq!(fewest_copies(&nodes), REPLICATION_FACTOR);
    nodes[JOINING].reads_everything_of(&chain);
    nodes[0].reads_everything_of(&chain);
}
