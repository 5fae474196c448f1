//! Handing a final block over, on the caller's thread.

use super::closing::open;
use super::data::Periods;
use super::report::{Row, Target};
use super::timing::microseconds;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_exports::StorageArchiver;
use massa_distributed_storage_worker::storage_backend::IndexScopes;
use massa_distributed_storage_worker::worker::{start_distributed_storage_worker, ArchiveOptions};
use massa_models::active_block::ActiveBlock;
use massa_models::prehash::PreHashSet;
use massa_storage::Storage;
use std::time::Instant;
use tempfile::tempdir;

/// Blocks that are handed over.
const BLOCKS: usize = 1024;

/// Measures the hook against a move and a channel send.
pub fn row(periods: &Periods) -> Row {
    let directory = tempdir().expect("a directory can be made");
    let store = open(
        &directory.path().join("store"),
        &periods.parameters,
        IndexScopes::default(),
    );
    let root = Storage::create_root();
    let blocks: Vec<(ActiveBlock, Storage)> = periods
        .records()
        .take(BLOCKS)
        .map(|record| handed_over(periods, &root, record))
        .collect();
    let count = blocks.len();
    let (mut manager, handle) =
        start_distributed_storage_worker(store, ArchiveOptions::new(count)).expect("the worker starts");
    let times = blocks.into_iter().map(|(active, content)| {
        let begin = Instant::now();
        handle.archive_finalized_block(active.slot.period, &active.block_id, &active, content);
        begin.elapsed()
    });
    let value = microseconds(times.collect());
    assert_eq!(
        handle.queue_full_count(),
        0,
        "the queue was too short to measure anything"
    );
    manager.stop();
    Row {
        name: "hook, for each final block",
        value,
        unit: "µs",
        limit: Some(("a move and a channel send", channel_send(&root, count))),
        target: Target::AtMost(2.0),
    }
}

/// Median time of sending a storage through a bounded channel, in microseconds.
fn channel_send(root: &Storage, count: usize) -> f64 {
    let (sender, receiver) = crossbeam_channel::bounded(count);
    let contents: Vec<Storage> = (0..count).map(|_| root.clone_without_refs()).collect();
    let times = contents.into_iter().map(|content| {
        let begin = Instant::now();
        assert!(sender.try_send(content).is_ok());
        begin.elapsed()
    });
    let value = microseconds(times.collect());
    drop(receiver);
    value
}

/// A block as consensus lets go of it.
fn handed_over(periods: &Periods, root: &Storage, record: &BlockRecord) -> (ActiveBlock, Storage) {
    let parameters = &periods.parameters;
    let block = verify_block(record, parameters.chain_id, parameters.thread_count).expect("the block is valid");
    let mut content = root.clone_without_refs();
    content.store_block(block.block().clone());
    content.store_operations(block.operations().to_vec());
    let header = &block.block().content.header;
    let active = ActiveBlock {
        creator_address: header.content_creator_address,
        block_id: header.id,
        parents: Vec::new(),
        children: Vec::new(),
        descendants: PreHashSet::default(),
        is_final: true,
        slot: header.content.slot,
        fitness: 1,
        same_thread_parent_creator: None,
    };
    (active, content)
}
