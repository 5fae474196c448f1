//! What the hook costs consensus: pruning the graph with the archiver on and off.

#[path = "../../../massa-consensus-worker/tests/common/mod.rs"]
mod common;

use crate::report::{Row, Target};
use common::simulation::{Simulation, QUIET};
use common::{config, Node, TestBlock};
use massa_distributed_storage_exports::{ArchiveParameters, StorageArchiver};
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions};
use massa_distributed_storage_worker::worker::{start_distributed_storage_worker, ArchiveOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};

const THREADS: u8 = 32;
const DELTA_F0: u64 = 64;
const PERIODS: u64 = 100;
/// Blocks between two prunes: seven periods.
const BLOCKS_PER_PRUNE: usize = 7 * THREADS as usize;
const ROUNDS: usize = 9;

/// Pruning, for each final block that leaves the graph or loses its operations.
pub fn rows() -> Vec<Row> {
    let mut chain = Simulation::new(1, THREADS, DELTA_F0);
    chain.run(PERIODS, QUIET);
    let blocks = chain.blocks;
    let (mut on, mut off) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        // Neither side is always the first one.
        for side in [round % 2, 1 - round % 2] {
            match side {
                0 => on.push(with_archiver(&blocks)),
                _ => off.push(pruning(&blocks, None)),
            }
        }
    }
    let (on, off) = (median(on), median(off));
    vec![Row {
        name: "pruning the graph with the archiver, for each block",
        value: on,
        unit: "µs",
        limit: Some(("without", off)),
        target: Target::AtMost(off + 2.0),
    }]
}

fn with_archiver(blocks: &[TestBlock]) -> f64 {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let parameters = ArchiveParameters::new(common::CHAIN_ID, THREADS);
    let options = SegmentStoreOptions::new(directory.path().join("store"));
    let store = SegmentStore::open_or_create(options, &parameters).expect("the store opens");
    let options = ArchiveOptions::new(blocks.len() + usize::from(THREADS));
    let (mut manager, archiver) =
        start_distributed_storage_worker(Arc::new(store), options).expect("the worker starts");
    let cost = pruning(blocks, Some(Arc::new(archiver.clone())));
    assert_eq!(
        archiver.queue_full_count(),
        0,
        "the queue was too short to measure anything"
    );
    manager.stop();
    cost
}

/// Microseconds of pruning for each block of the chain.
fn pruning(blocks: &[TestBlock], archiver: Option<Arc<dyn StorageArchiver>>) -> f64 {
    let mut config = config(THREADS, DELTA_F0);
    config.storage_archiver = archiver;
    let mut node = Node::new(config);
    let mut spent = Duration::ZERO;
    for blocks in blocks.chunks(BLOCKS_PER_PRUNE) {
        node.register(blocks);
        let begin = Instant::now();
        node.state.prune().expect("the graph is consistent");
        spent += begin.elapsed();
    }
    spent.as_secs_f64() * 1e6 / blocks.len() as f64
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
