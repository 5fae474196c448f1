//! Who holds which chunk: speed against bare BLAKE3, and what moves when the nodes change.

use super::cases::medians;
use super::report::{Row, Target};
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::types::{Digest, DEFAULT_CHUNK_BYTES};
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::replication::{holders, Placement};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// Nodes that hold each chunk.
const FACTOR: usize = 3;
/// Chunks of a period.
const PERIOD_CHUNKS: usize = 10;
/// Nodes and chunks of each measurement: a million pairs or more.
const SIZES: [(usize, usize, &str); 3] = [
    (10, 100_000, "placement of 100 000 chunks over 10 nodes"),
    (1_000, 2_000, "placement of 2 000 chunks over 1 000 nodes"),
    (10_000, 200, "placement of 200 chunks over 10 000 nodes"),
];
/// Nodes before one joins, and chunks, where it is counted what moves.
const CHURN_NODES: usize = 20;
const CHURN_CHUNKS: usize = 20_000;

/// Measures placement.
pub fn rows() -> Vec<Row> {
    let mut rows: Vec<Row> = SIZES
        .iter()
        .map(|(nodes, chunks, name)| speed(*nodes, *chunks, name))
        .collect();
    rows.extend(churn());
    rows
}

fn name_hash(name: &str, number: usize) -> Digest {
    *blake3::hash(format!("{name} {number}").as_bytes()).as_bytes()
}

fn nodes(count: usize) -> NodeSet {
    let owner = KeyPair::generate(0).expect("version 0 exists").get_public_key();
    let node = |number| StorageNode {
        node_id: Some(NodeId::new(owner)),
        address: Address::from_public_key(&owner),
        placement_key: name_hash("node", number),
        // Nobody fills up.
        allocated_storage_gb: 1_000 + number as u64 % 7 * 100,
        filled: true,
        retention_periods: 0,
        listeners: Vec::new(),
    };
    NodeSet::new((0..count).map(node).collect())
}

fn chunks(count: usize) -> Vec<ChunkEntry> {
    let chunk = |number| ChunkEntry {
        length: DEFAULT_CHUNK_BYTES,
        id: ChunkId::from_bytes(name_hash("chunk", number)),
    };
    (0..count).map(chunk).collect()
}

/// Placing chunks period by period, against one hash of chunk id and key (a single block) for each pair.
fn speed(node_count: usize, chunk_count: usize, name: &'static str) -> Row {
    let (nodes, chunks) = (nodes(node_count), chunks(chunk_count));
    let [placed, hashed] = medians([
        Box::new(|| place(&nodes, &chunks)),
        Box::new(|| hash_pairs(&nodes, &chunks)),
    ]);
    let millions = (node_count * chunk_count) as f64 / 1e6;
    Row {
        name,
        value: millions / placed,
        unit: "M pairs/s",
        limit: Some(("bare BLAKE3 calls", millions / hashed)),
        target: Target::Ratio(0.7),
    }
}

fn place(nodes: &NodeSet, chunks: &[ChunkEntry]) -> Duration {
    let begin = Instant::now();
    let mut placement = Placement::new(nodes.clone(), FACTOR);
    for (chunks, period) in chunks.chunks(PERIOD_CHUNKS).zip(0..) {
        black_box(placement.assign_period(period, chunks));
    }
    begin.elapsed()
}

fn hash_pairs(nodes: &NodeSet, chunks: &[ChunkEntry]) -> Duration {
    let begin = Instant::now();
    let mut pair = [0; 64];
    for chunk in chunks {
        pair[..32].copy_from_slice(chunk.id.as_bytes());
        for node in nodes.nodes() {
            pair[32..].copy_from_slice(&node.placement_key);
            black_box(blake3::hash(black_box(&pair)));
        }
    }
    begin.elapsed()
}

/// Holders of a chunk, by placement key.
type Assignment = fn(&ChunkId, &NodeSet) -> BTreeSet<Digest>;

fn rendezvous(chunk: &ChunkId, nodes: &NodeSet) -> BTreeSet<Digest> {
    let found = holders(chunk, nodes, FACTOR, &|_| false);
    found
        .into_iter()
        .map(|index| nodes.nodes()[index].placement_key)
        .collect()
}

/// The plan's first idea: hash modulo number of nodes, and the next ones in the list.
fn modulo(chunk: &ChunkId, nodes: &NodeSet) -> BTreeSet<Digest> {
    let nodes = nodes.nodes();
    let hash = u64::from_le_bytes(chunk.as_bytes()[..8].try_into().expect("8 of 32 bytes"));
    let first = (hash % nodes.len() as u64) as usize;
    (first..first + FACTOR)
        .map(|at| nodes[at % nodes.len()].placement_key)
        .collect()
}

/// Copies that a change of nodes makes new, as a multiple of the share that nobody can avoid.
fn moved(before: &NodeSet, after: &NodeSet, unavoidable: f64, assignment: Assignment) -> f64 {
    let chunks = chunks(CHURN_CHUNKS);
    let new: usize = chunks
        .iter()
        .map(|chunk| {
            assignment(&chunk.id, after)
                .difference(&assignment(&chunk.id, before))
                .count()
        })
        .sum();
    new as f64 / (chunks.len() * FACTOR) as f64 / unavoidable
}

fn churn() -> Vec<Row> {
    // Equal weights: a share of copies is then a share of nodes.
    let mut list = nodes(CHURN_NODES + 1).nodes().to_vec();
    list.iter_mut().for_each(|node| node.allocated_storage_gb = 1_000);
    let large = NodeSet::new(list.clone());
    list.remove(CHURN_NODES / 2);
    let small = NodeSet::new(list);
    let unavoidable = 1.0 / (CHURN_NODES + 1) as f64;
    let row = |name, value, target| Row {
        name,
        value,
        unit: "× the unavoidable share",
        limit: None,
        target,
    };
    let moved = |before, after, assignment| moved(before, after, unavoidable, assignment);
    vec![
        row(
            "copies moved when a 21st node joins",
            moved(&small, &large, rendezvous),
            Target::AtMost(1.1),
        ),
        row(
            "copies moved when one of 21 nodes leaves",
            moved(&large, &small, rendezvous),
            Target::AtMost(1.1),
        ),
        row(
            "the same join, hash modulo nodes",
            moved(&small, &large, modulo),
            Target::None,
        ),
        row(
            "the same leave, hash modulo nodes",
            moved(&large, &small, modulo),
            Target::None,
        ),
    ]
}
