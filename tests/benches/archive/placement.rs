//! Who holds which chunk: speed against bare BLAKE3, and what moves when the nodes change.

use super::report::{Row, Target};
use super::timing::medians;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::types::{ChunkPosition, Digest, DEFAULT_CHUNK_BYTES};
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::replication::{NodesInForce, PlacementRules, SegmentPlacement};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use std::collections::BTreeSet;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Nodes that hold each chunk.
const FACTOR: usize = 3;
/// Chunks of a segment.
const SEGMENT_CHUNKS: usize = 10;
const SEGMENT_PERIODS: u64 = 100;
/// Hashes of a slice, about.
const SLICE: usize = 1 << 16;
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
        allocated_storage_gb: 1_000 + number as u64 % 7 * 100,
        filled: true,
        retention_periods: 0,
        listeners: Vec::new(),
    };
    NodeSet::new((0..count).map(node).collect())
}

fn chunks(count: usize) -> Vec<ChunkId> {
    (0..count)
        .map(|number| ChunkId::from_bytes(name_hash("chunk", number)))
        .collect()
}

fn in_force(nodes: &NodeSet) -> NodesInForce {
    NodesInForce {
        nodes: Arc::new(nodes.clone()),
        own: Some(0),
        replication_factor: FACTOR,
    }
}

/// Placing chunks segment by segment, against one hash of chunk id and key (a single block) for each pair.
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

fn place(nodes: &NodeSet, chunks: &[ChunkId]) -> Duration {
    let begin = Instant::now();
    black_box(placed(nodes, chunks));
    begin.elapsed()
}

/// The chunks in segments of ten, placed.
fn placed(nodes: &NodeSet, chunks: &[ChunkId]) -> SegmentPlacement {
    let rules = PlacementRules::new(DEFAULT_CHUNK_BYTES, SEGMENT_PERIODS);
    let mut placement = SegmentPlacement::new(rules, in_force(nodes));
    for (chunks, segment) in chunks.chunks(SEGMENT_CHUNKS).zip(0..) {
        let bytes = chunks.len() as u64 * u64::from(DEFAULT_CHUNK_BYTES);
        placement
            .put_segment(segment, bytes)
            .expect("segments are small and few");
    }
    settle(&mut placement, chunks);
    placement
}

fn settle(placement: &mut SegmentPlacement, chunks: &[ChunkId]) {
    let ids = |segment: u64| {
        let segment = chunks.chunks(SEGMENT_CHUNKS).nth(segment as usize)?;
        Some(segment.to_vec())
    };
    while !placement.step(SLICE, &ids).is_done() {}
    assert_eq!(placement.progress().segments_left, 0, "all ids are known");
}

fn hash_pairs(nodes: &NodeSet, chunks: &[ChunkId]) -> Duration {
    let begin = Instant::now();
    let mut pair = [0; 64];
    for chunk in chunks {
        pair[..32].copy_from_slice(chunk.as_bytes());
        for node in nodes.nodes() {
            pair[32..].copy_from_slice(&node.placement_key);
            black_box(blake3::hash(black_box(&pair)));
        }
    }
    begin.elapsed()
}

/// Holders of each chunk, by placement key.
type Assignment = fn(&[ChunkId], &NodeSet) -> Vec<BTreeSet<Digest>>;

fn rendezvous(chunks: &[ChunkId], nodes: &NodeSet) -> Vec<BTreeSet<Digest>> {
    let placement = placed(nodes, chunks);
    let of_chunk = |(number, chunk): (usize, &ChunkId)| {
        let (segment, index) = (number / SEGMENT_CHUNKS, number % SEGMENT_CHUNKS);
        let position = ChunkPosition::new(segment as u64, index as u32).expect("segments are small and few");
        let holders = placement.holders(position, chunk).into_iter();
        holders.map(|index| nodes.nodes()[index].placement_key).collect()
    };
    chunks.iter().enumerate().map(of_chunk).collect()
}

/// The plan's first idea: hash modulo number of nodes, and the next ones in the list.
fn modulo(chunks: &[ChunkId], nodes: &NodeSet) -> Vec<BTreeSet<Digest>> {
    let nodes = nodes.nodes();
    let of_chunk = |chunk: &ChunkId| {
        let hash = u64::from_le_bytes(chunk.as_bytes()[..8].try_into().expect("8 of 32 bytes"));
        let first = (hash % nodes.len() as u64) as usize;
        let holders = (first..first + FACTOR).map(|at| nodes[at % nodes.len()].placement_key);
        holders.collect()
    };
    chunks.iter().map(of_chunk).collect()
}

/// Copies that a change of nodes makes new, as a multiple of the share that nobody can avoid.
fn moved(before: &NodeSet, after: &NodeSet, unavoidable: f64, assignment: Assignment) -> f64 {
    let chunks = chunks(CHURN_CHUNKS);
    let (before, after) = (assignment(&chunks, before), assignment(&chunks, after));
    let pairs = before.iter().zip(&after);
    let new: usize = pairs.map(|(before, after)| after.difference(before).count()).sum();
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
