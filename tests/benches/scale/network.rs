//! What a larger network and a longer history cost without any store: placement and claims.

use super::claims::{table, MemoryClaims};
use super::growth::Costs;
use super::report::Row;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::challenge::segment_claim::{ChunkSet, ClaimBook};
use massa_distributed_storage_worker::challenge::sums::SumHasher;
use massa_distributed_storage_worker::replication::{NodesInForce, PlacementRules, SegmentPlacement};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_signature::{KeyPair, PublicKey};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

const CHUNK_BYTES: u32 = 1 << 20;
const SEGMENT_PERIODS: u64 = 100;
const FACTOR: usize = 3;
/// Chunks of a quiet segment.
const SEGMENT_CHUNKS: u64 = 9;
/// What a slice may cost: about as many hashes.
const SLICE: usize = 1 << 16;
/// Segments of which chunks change between two claims.
const CHANGED_SEGMENTS: u64 = 500;

pub static OWNER: LazyLock<PublicKey> =
    LazyLock::new(|| KeyPair::generate(0).expect("version 0 exists").get_public_key());

/// Nodes, chunks and held chunks of the figures: those of the design, or few where only counts matter.
pub fn rows(in_full: bool, costs: &mut Costs) -> Vec<Row> {
    let chunks = if in_full { 56_000 } else { 2_000 };
    for segments in [chunks / 4, chunks / 2, chunks] {
        count_placement(segments, costs);
    }
    let segments = if in_full { 50_000 } else { 4_000 };
    for held in [segments / 4, segments / 2, segments] {
        // The same segments change, whatever there is besides.
        let cost = next_claim(held, segments / 4);
        costs.count("next claim, 500 segments changed: hashes", cost.hashes);
        costs.count("next claim, 500 segments changed: rows read", cost.rows);
    }
    if !in_full {
        return Vec::new();
    }
    let claimed = next_claim(segments, segments).seconds;
    let (first, join, slices) = join(1_000, 56_000);
    vec![
        Row::at_most(
            "one node joins 1 000: 504 000 chunks placed again, processor time",
            5.0,
            "s",
            join,
        )
        .noting(format!("{slices} slices")),
        Row::only("s", "the same chunks placed for the first time, processor time", first),
        Row::at_most(
            "claim for the next round, 200 000 held chunks, 1 % changed",
            100.0,
            "ms",
            1e3 * claimed,
        )
        .noting("rows in memory"),
    ]
}

/// Processor time of this thread in seconds, where the system tells; else the time.
pub fn processor_seconds(work: impl FnOnce()) -> f64 {
    let read = || {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
        text.split(' ').next()?.parse::<f64>().ok()
    };
    let (begin, before) = (Instant::now(), read());
    work();
    match (before, read()) {
        (Some(before), Some(after)) => (after - before) / 1e9,
        _ => begin.elapsed().as_secs_f64(),
    }
}

fn node(name: u64) -> StorageNode {
    StorageNode {
        node_id: Some(NodeId::new(*OWNER)),
        address: Address::from_public_key(&OWNER),
        placement_key: *blake3::hash(&name.to_le_bytes()).as_bytes(),
        allocated_storage_gb: 100,
        filled: true,
        retention_periods: 0,
        listeners: Vec::new(),
    }
}

fn in_force(nodes: u64) -> NodesInForce {
    let own = node(0).placement_key;
    let nodes = Arc::new(NodeSet::new((0..nodes).map(node).collect()));
    NodesInForce {
        own: nodes.nodes().iter().position(|node| node.placement_key == own),
        nodes,
        replication_factor: FACTOR,
    }
}

/// Ids that cost nothing.
fn cheap_ids(segment: u64) -> Option<Vec<ChunkId>> {
    let id = |chunk: u64| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&segment.to_le_bytes());
        bytes[8..16].copy_from_slice(&chunk.to_le_bytes());
        ChunkId::from_bytes(bytes)
    };
    Some((0..SEGMENT_CHUNKS).map(id).collect())
}

/// So many segments of nine chunks, placed.
fn placed(nodes: u64, segments: u64) -> SegmentPlacement {
    let mut placement = SegmentPlacement::new(PlacementRules::new(CHUNK_BYTES, SEGMENT_PERIODS), in_force(nodes));
    for segment in 0..segments {
        put_segment(&mut placement, segment);
    }
    settle(&mut placement);
    placement
}

fn put_segment(placement: &mut SegmentPlacement, segment: u64) {
    let bytes = SEGMENT_CHUNKS * u64::from(CHUNK_BYTES);
    placement
        .put_segment(segment, bytes)
        .expect("segments are small and few");
}

/// Places what is to be placed. Returns the number of slices.
fn settle(placement: &mut SegmentPlacement) -> usize {
    let mut slices = 1;
    while !placement.step(SLICE, &cheap_ids).is_done() {
        slices += 1;
    }
    slices
}

fn spent(placement: &SegmentPlacement) -> u64 {
    let costs = placement.costs();
    costs.hashes + costs.chunks + costs.segments_read
}

/// What a closed segment more, and a node more, cost beside so many segments.
fn count_placement(segments: u64, costs: &mut Costs) {
    const NODES: u64 = 20;
    let mut placement = placed(NODES, segments);
    let before = spent(&placement);
    put_segment(&mut placement, segments);
    settle(&mut placement);
    costs.count(
        "one more segment placed: hashes, chunks, segments read",
        spent(&placement) - before,
    );
    let before = spent(&placement);
    placement.set_nodes(in_force(NODES + 1));
    settle(&mut placement);
    let chunks = (segments + 1) * SEGMENT_CHUNKS;
    let cost = 1_000 * (spent(&placement) - before) / chunks;
    costs.count(
        "one more node: hashes, chunks, segments read for each thousand chunks",
        cost,
    );
}

/// Processor seconds of placing all chunks, and of placing them again when a node joins; and the slices of that.
fn join(nodes: u64, segments: u64) -> (f64, f64, usize) {
    let (mut placement, mut slices) = (None, 0);
    let first = processor_seconds(|| placement = Some(placed(nodes, segments)));
    let mut placement = placement.expect("it was placed");
    placement.set_nodes(in_force(nodes + 1));
    let join = processor_seconds(|| slices = settle(&mut placement));
    (first, join, slices)
}

/// What a claim costs.
struct ClaimCost {
    hashes: u64,
    rows: u64,
    seconds: f64,
}

/// The next claim where four chunks of each of so many segments are held, and those of 500 change, spread over the first
/// `among`.
fn next_claim(segments: u64, among: u64) -> ClaimCost {
    let mut store = MemoryClaims::with_tables((0..segments).map(|segment| table(segment, 10, 1_000)));
    let mut book = ClaimBook::default();
    let odd = |segment: u64| (segment % 2) as u32;
    let held = (0..segments).map(|segment| (segment, (0..4).map(|chunk| 2 * chunk + odd(segment)).collect()));
    store.claim(&mut book, &held.collect());
    store.seal(&mut book, 100);
    // Even ones: what they hold is not what they shall hold.
    let step = (among / CHANGED_SEGMENTS) as usize & !1;
    let changed: BTreeMap<u64, ChunkSet> = (0..among)
        .step_by(step)
        .take(CHANGED_SEGMENTS as usize)
        .map(|segment| (segment, (0..4).map(|chunk| 2 * chunk + 1).collect()))
        .collect();
    store.reads.set(0);
    let mut hasher = SumHasher::default();
    let begin = Instant::now();
    let change = book.prepare(&store, &changed, &mut hasher).expect("rows are in memory");
    store.commit(&mut book, change);
    store.seal(&mut book, 101);
    ClaimCost {
        hashes: hasher.hashes,
        rows: store.reads.get(),
        seconds: begin.elapsed().as_secs_f64(),
    }
}
