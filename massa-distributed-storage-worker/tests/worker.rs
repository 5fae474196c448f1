//! The hook and the worker thread.

mod common;

use common::tamper::{Failure, Tamper};
use common::*;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::{verify_block, VerifiedBlock};
use massa_distributed_storage_exports::StorageArchiver;
use massa_distributed_storage_worker::storage_backend::read::Check;
use massa_distributed_storage_worker::storage_backend::writer::WriteFault;
use massa_distributed_storage_worker::{
    start_distributed_storage_worker, ArchiverHandle, DistributedStorageCommand, DistributedStorageManager, Store,
    StoreOptions, WorkerOptions,
};
use massa_models::active_block::ActiveBlock;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::secure_share::Id;
use massa_storage::Storage;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::tempdir;

fn verified(record: &BlockRecord) -> VerifiedBlock {
    verify_block(record, CHAIN_ID, THREADS).unwrap()
}

/// What consensus knows of a block when it lets go of it.
fn active_block(block: &VerifiedBlock) -> ActiveBlock {
    let header = &block.block().content.header;
    ActiveBlock {
        creator_address: header.content_creator_address,
        block_id: header.id,
        // Their periods are not looked at.
        parents: header.content.parents.iter().map(|id| (*id, 0)).collect(),
        children: vec![PreHashMap::default(); usize::from(THREADS)],
        descendants: PreHashSet::default(),
        is_final: true,
        slot: header.content.slot,
        fitness: 1,
        same_thread_parent_creator: None,
    }
}

fn archive(handle: &ArchiverHandle, root: &Storage, record: &BlockRecord, with_operations: bool) {
    let block = verified(record);
    let mut content = root.clone_without_refs();
    content.store_block(block.block().clone());
    if with_operations {
        content.store_operations(block.operations().to_vec());
    }
    let active = active_block(&block);
    handle.archive_finalized_block(active.slot.period, &active.block_id, &active, content);
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

fn start(path: &Path, first: &BlockRecord, queue: usize) -> (DistributedStorageManager, ArchiverHandle) {
    let store = open_store(path, &parameters_from(first));
    start_distributed_storage_worker(store, WorkerOptions::new(queue, keep_all())).unwrap()
}

/// Log output of a test.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn blocks_from_the_hook_are_archived_and_logged() {
    let log = Log::default();
    let writer = log.clone();
    // The worker logs from its own thread.
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let (mut manager, handle) = start(directory.path(), &blocks[0], 1024);
    let root = Storage::create_root();
    blocks.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("archiving", || manager.status().archived_periods == 4);

    let status = manager.status();
    assert_eq!(
        (status.last_period, status.blocks, status.refused_blocks),
        (Some(4), 125, 0)
    );
    blocks
        .iter()
        .for_each(|record| assert_holds(manager.store(), record, Check::Meaning));
    manager.stop();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        text.contains("INFO") && text.contains("Archived period 1: 31 blocks, "),
        "{text}"
    );
    assert!(
        text.contains("Archived period 4: 32 blocks, ") && text.contains(" operations, 1 chunks"),
        "{text}"
    );
    // What the hook handed over is let go.
    assert_eq!(
        blocks
            .iter()
            .filter(|record| root.read_blocks().contains(&id_of(record, THREADS)))
            .count(),
        0
    );
}

#[test]
fn the_directory_is_free_after_stop_and_the_worker_starts_again() {
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let root = Storage::create_root();
    for half in blocks.chunks(blocks.len() / 2) {
        let (mut manager, handle) = start(directory.path(), &blocks[0], 1024);
        half.iter().for_each(|record| archive(&handle, &root, record, true));
        // Stop comes after what is queued. Readers may still hold the store.
        let reader = Arc::clone(manager.store());
        manager.stop();
        assert!(reader.archived_periods().is_err());
    }
    let store = Store::open_read_only(directory.path()).unwrap();
    assert_eq!(store.archived_periods().unwrap(), [1, 2, 3, 4]);
    blocks
        .iter()
        .for_each(|record| assert_holds(&store, record, Check::Merkle));
}

#[test]
fn a_full_queue_neither_waits_nor_loses_count_and_the_places_are_awaited() {
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let (mut manager, handle) = start(directory.path(), &blocks[0], 1);
    let root = Storage::create_root();
    blocks.iter().for_each(|record| archive(&handle, &root, record, true));
    let let_go = handle.queue_full_count();
    wait_for("taking the rest", || manager.status().blocks + let_go == 125);
    manager.stop();
    assert!(let_go > 0, "the worker was never slower than the hook");

    let (mut manager, handle) = start(directory.path(), &blocks[0], 1024);
    assert_eq!(manager.store().awaited().unwrap().len() as u64, let_go);
    // Repair: the same blocks come again.
    blocks.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("repair", || manager.store().archived_periods().unwrap().len() == 4);
    assert_eq!(manager.store().awaited().unwrap(), []);
    manager.stop();
}

#[test]
fn a_block_whose_operations_are_missing_is_awaited_with_its_id() {
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let (mut manager, handle) = start(directory.path(), &blocks[0], 1024);
    let root = Storage::create_root();
    let bare = blocks.iter().find(|record| record.operation_count() > 0).unwrap();
    archive(&handle, &root, bare, false);
    let expected = vec![(slot_of(bare, THREADS), Some(id_of(bare, THREADS)))];
    wait_for("the awaited place", || manager.store().awaited().unwrap() == expected);

    // A peer has it: blocks and operations of a period, as fetched.
    let block = verified(bare);
    let command = DistributedStorageCommand::ArchivePeriod {
        period: slot_of(bare, THREADS).period,
        blocks: vec![block.block().clone()],
        operations: block.operations().to_vec(),
    };
    assert!(handle.send(command).is_ok());
    wait_for("repair", || manager.store().awaited().unwrap().is_empty());
    assert_holds(manager.store(), bare, Check::Meaning);
    manager.stop();
    assert!(handle.send(DistributedStorageCommand::Stop).is_err());
    assert_ne!(id_of(bare, THREADS).get_hash(), id_of(&blocks[1], THREADS).get_hash());
}

#[test]
fn a_store_that_refuses_is_reported_and_what_waited_is_archived_when_it_recovers() {
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let tamper = Tamper::default();
    let options = StoreOptions {
        writer: Box::new(tamper.clone()),
        ..StoreOptions::new(directory.path())
    };
    let store = Arc::new(Store::open(options, parameters_from(&blocks[0])).unwrap());
    let (mut manager, handle) = start_distributed_storage_worker(store, WorkerOptions::new(1024, keep_all())).unwrap();
    let root = Storage::create_root();
    let (before, after) = blocks.split_at(60);
    before.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("taking blocks", || manager.status().blocks == 60);

    tamper.fail(tamper.writes(), usize::MAX / 2, Failure::Before, WriteFault::NoSpace);
    after.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("refusing", || manager.status().refused_blocks == after.len() as u64);
    let reason = manager.status().store_error.unwrap();
    assert_eq!(reason, "the store refuses writes: no space left on the disk");
    before
        .iter()
        .for_each(|record| assert_holds(manager.store(), record, Check::Merkle));

    tamper.fail(0, 0, Failure::Before, WriteFault::NoSpace);
    wait_for("recovery", || manager.store().fault().is_none());
    after.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("archiving", || manager.status().archived_periods == 4);
    assert_eq!(manager.status().store_error, None);
    manager.stop();
}
