//! The hook and the thread that writes the archive of segments.

mod common;

use common::tamper::{Failure, Tamper};
use common::world::World;
use common::*;
use crossbeam_channel::bounded;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::verification::{verify_block, VerifiedBlock};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition, StorageArchiver};
use massa_distributed_storage_worker::archive::ingest::Keep;
use massa_distributed_storage_worker::archive::upkeep::Intervals;
use massa_distributed_storage_worker::chunking::segment::FinishedChunk;
use massa_distributed_storage_worker::commands::{ArchiveError, BlocksTaken, ChunkDrop, DistributedStorageCommand};
use massa_distributed_storage_worker::storage_backend::database::writer::{BatchWriter, Durability, WriteFault};
use massa_distributed_storage_worker::storage_backend::{
    ChunkToStore, PageToStore, ReachingEntry, SegmentStore, SegmentStoreOptions, SlotRead,
};
use massa_distributed_storage_worker::worker::{
    start_distributed_storage_worker, ArchiveOptions, ArchiveStopped, ArchiverHandle, DistributedStorageManager,
    PlacedChunks,
};
use massa_models::active_block::ActiveBlock;
use massa_models::address::Address;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_signature::KeyPair;
use massa_storage::Storage;
use rocksdb::{WriteBatch, DB};
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// Upstream's four periods are of three segments: period 1, periods 2 and 3, and period 4, which stays open.
fn upstream_parameters(first: &BlockRecord) -> ArchiveParameters {
    ArchiveParameters {
        segment_periods: 2,
        chunk_size: 1 << 16,
        ..parameters_from(first)
    }
}

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
    let deadline = Instant::now() + Duration::from_secs(60);
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

fn open(path: &Path, parameters: &ArchiveParameters, writer: Option<Box<dyn BatchWriter>>) -> Arc<SegmentStore> {
    let mut options = SegmentStoreOptions::new(path);
    if let Some(writer) = writer {
        options.writer = writer;
    }
    Arc::new(SegmentStore::open_or_create(options, parameters).unwrap())
}

fn some_node() -> StorageNode {
    StorageNode {
        node_id: None,
        address: Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key()),
        placement_key: [1; 32],
        allocated_storage_gb: 1,
        filled: true,
        retention_periods: 0,
        listeners: Vec::new(),
    }
}

fn impatient(queue: usize) -> ArchiveOptions {
    ArchiveOptions {
        intervals: Intervals {
            retry: Duration::from_millis(20),
            upkeep: Duration::from_millis(50),
            report: Duration::from_millis(5),
            tidy: Duration::from_millis(50),
        },
        ..ArchiveOptions::new(queue)
    }
}

fn start(path: &Path, parameters: &ArchiveParameters) -> (DistributedStorageManager, ArchiverHandle) {
    start_distributed_storage_worker(open(path, parameters, None), impatient(1024)).unwrap()
}

fn assert_reads(store: &SegmentStore, blocks: &[BlockRecord]) {
    for record in blocks {
        let threads = store.parameters().thread_count;
        let read = store.slot(slot_of(record, threads)).unwrap();
        assert_eq!(read, SlotRead::Block(record.clone()));
    }
}

/// Sends blocks as repair does, and waits for what became of them.
fn send_blocks(handle: &ArchiverHandle, records: &[BlockRecord]) -> BlocksTaken {
    let (reply, taken) = bounded(1);
    let command = DistributedStorageCommand::Blocks {
        records: records.to_vec(),
        reply: Some(reply),
    };
    handle.send(command).unwrap();
    taken.recv().unwrap().unwrap()
}

/// A writer that stops at a write until it is let go on.
#[derive(Clone, Default)]
struct Gate(Arc<GateState>);

#[derive(Default)]
struct GateState {
    writer: Tamper,
    is_armed: AtomicBool,
    is_reached: AtomicBool,
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// The next write stops.
    fn arm(&self) {
        self.0.is_armed.store(true, Ordering::SeqCst);
    }

    fn wait_until_reached(&self) {
        wait_for("a write", || self.0.is_reached.load(Ordering::SeqCst));
    }

    fn open(&self) {
        *self.0.is_open.lock().unwrap() = true;
        self.0.opened.notify_all();
    }
}

impl BatchWriter for Gate {
    fn write(&self, db: &DB, batch: WriteBatch, durability: Durability) -> Result<(), WriteFault> {
        if self.0.is_armed.swap(false, Ordering::SeqCst) {
            self.0.is_reached.store(true, Ordering::SeqCst);
            let is_open = self.0.is_open.lock().unwrap();
            drop(self.0.opened.wait_while(is_open, |is_open| !*is_open).unwrap());
        }
        self.0.writer.write(db, batch, durability)
    }
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
    // The thread logs by itself.
    tracing_subscriber::fmt()
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .init();
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let parameters = ArchiveParameters {
        chunk_size: 1 << 18,
        ..upstream_parameters(&blocks[0])
    };
    let nodes = Arc::new(NodeSet::new(vec![some_node()]));
    let options = ArchiveOptions {
        place: Box::new(move |period| PlacedChunks {
            nodes: Arc::clone(&nodes),
            holders: vec![vec![0]; period.finished.len()],
        }),
        ..impatient(1024)
    };
    let store = open(directory.path(), &parameters, None);
    let (mut manager, handle) = start_distributed_storage_worker(store, options).unwrap();
    let root = Storage::create_root();
    blocks.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("archiving", || {
        let status = manager.status();
        status.archived_periods == 4 && status.closed_segments == 2 && status.first_open_segment == 2
    });
    let status = manager.status();
    assert_eq!((status.last_period, status.newest_joined), (Some(4), Some(4)));
    assert_eq!((status.blocks, status.refused_blocks), (125, 0));
    assert_eq!((status.counters.segments, status.counters.derived_segments), (2, 2));
    assert_eq!(status.counters.chunks_held, status.counters.chunks);
    assert_reads(manager.store(), &blocks);
    manager.stop();
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for line in [
        "Archived period 1: 31 blocks, ",
        "Archived period 4: 32 blocks, ",
        "Chunks assigned to nodes: none (chunk 0 is filling)",
        "Chunks assigned to nodes: A",
        "[2]",
        "segment closed segment=1",
    ] {
        assert!(text.contains("INFO") && text.contains(line), "{line}: {text}");
    }
    // Every chunk is told of once, the last one of each segment when that is closed.
    let counted = text.lines().filter(|line| line.contains("Chunks assigned to nodes: A"));
    let counted = counted.map(|line| line[line.find('[').unwrap() + 1..line.rfind(']').unwrap()].parse::<u64>());
    let counted: u64 = counted.map(Result::unwrap).sum();
    assert_eq!(counted, status.counters.chunks, "{text}");
    // What the hook handed over is let go.
    let left = |record: &&BlockRecord| root.read_blocks().contains(&id_of(record, THREADS));
    assert_eq!(blocks.iter().filter(left).count(), 0);
}

#[test]
fn the_directory_is_free_after_stop_and_the_thread_starts_again() {
    let blocks = upstream_blocks();
    let parameters = upstream_parameters(&blocks[0]);
    let directory = tempdir().unwrap();
    let root = Storage::create_root();
    for half in blocks.chunks(blocks.len() / 2 + 1) {
        let (mut manager, handle) = start(directory.path(), &parameters);
        half.iter().for_each(|record| archive(&handle, &root, record, true));
        // Stop comes after what is queued. Readers may still hold the store.
        let reader = Arc::clone(manager.store());
        manager.stop();
        assert!(reader.counters().is_err());
        let stop = handle.send(DistributedStorageCommand::Stop);
        assert_eq!(stop, Err(ArchiveStopped));
        // The hook never fails, whoever is there.
        archive(&handle, &root, &half[0], true);
        assert_eq!(handle.queue_full_count(), 1);
    }
    let (mut manager, _) = start(directory.path(), &parameters);
    wait_for("closing", || manager.store().last_segment().unwrap() == Some(1));
    assert_reads(manager.store(), &blocks);
    manager.stop();
}

#[test]
fn a_full_queue_neither_waits_nor_loses_count_and_the_slots_are_missing() {
    let blocks = upstream_blocks();
    let parameters = upstream_parameters(&blocks[0]);
    let directory = tempdir().unwrap();
    let gate = Gate::default();
    let store = open(directory.path(), &parameters, Some(Box::new(gate.clone())));
    let (mut manager, handle) = start_distributed_storage_worker(store, impatient(1)).unwrap();
    let root = Storage::create_root();
    gate.arm();
    archive(&handle, &root, &blocks[0], true);
    gate.wait_until_reached();
    // The thread is at the first block, the queue takes the second.
    blocks[1..]
        .iter()
        .for_each(|record| archive(&handle, &root, record, true));
    assert_eq!(handle.queue_full_count(), 123);
    gate.open();
    wait_for("noting", || manager.status().missing_slots.slots == 123);
    let status = manager.status();
    assert_eq!((status.blocks, status.refused_blocks), (2, 0));
    assert_eq!(status.missing_slots.reasons["queue full"], 123);
    assert_eq!(status.missing_slots.oldest_period, Some(1));
    manager.stop();

    let (mut manager, handle) = start(directory.path(), &parameters);
    let mut expected: Vec<_> = blocks[2..]
        .iter()
        .map(|record| (slot_of(record, THREADS), Some(id_of(record, THREADS))))
        .collect();
    expected.sort();
    assert_eq!(manager.store().missing_slots().unwrap(), expected);
    // Repair: the same blocks come again.
    let taken = send_blocks(&handle, &blocks);
    assert_eq!((taken.new, taken.known, taken.failed.len()), (123, 2, 0));
    wait_for("repair", || manager.status().closed_segments == 2);
    assert_eq!(manager.store().missing_slots().unwrap(), []);
    manager.stop();
}

#[test]
fn a_block_whose_operations_are_missing_is_missing_with_its_id() {
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let (mut manager, handle) = start(directory.path(), &upstream_parameters(&blocks[0]));
    let root = Storage::create_root();
    let bare = blocks.iter().find(|record| record.operation_count() > 0).unwrap();
    archive(&handle, &root, bare, false);
    let expected = vec![(slot_of(bare, THREADS), Some(id_of(bare, THREADS)))];
    wait_for("the missing slot", || {
        manager.store().missing_slots().unwrap() == expected
    });
    wait_for("the status", || manager.status().missing_slots.slots == 1);
    let status = manager.status();
    assert_eq!(status.missing_slots.reasons["operations missing"], 1);
    assert!(status
        .missing
        .wanted
        .iter()
        .any(|wanted| wanted.id == id_of(bare, THREADS)));

    assert_eq!(send_blocks(&handle, std::slice::from_ref(bare)).new, 1);
    assert_eq!(manager.store().missing_slots().unwrap(), []);
    assert_reads(manager.store(), std::slice::from_ref(bare));
    manager.stop();
}

#[test]
fn a_store_that_refuses_is_reported_reads_go_on_and_so_does_the_archive_when_it_recovers() {
    let blocks = upstream_blocks();
    let parameters = upstream_parameters(&blocks[0]);
    let directory = tempdir().unwrap();
    let tamper = Tamper::default();
    let store = open(directory.path(), &parameters, Some(Box::new(tamper.clone())));
    let (mut manager, handle) = start_distributed_storage_worker(store, impatient(1024)).unwrap();
    let root = Storage::create_root();
    let (before, after) = blocks.split_at(60);
    before.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("closing", || {
        manager.status().blocks == 60 && manager.status().closed_segments == 1
    });

    tamper.fail(tamper.writes(), usize::MAX / 2, Failure::Before, WriteFault::NoSpace);
    after.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("refusing", || {
        let status = manager.status();
        status.refused_blocks == after.len() as u64 && status.missing_slots.slots == after.len()
    });
    let reason = manager.status().store_error.unwrap();
    assert_eq!(reason, "the store refuses writes: no space left on the disk");
    assert_reads(manager.store(), before);

    tamper.fail(0, 0, Failure::Before, WriteFault::NoSpace);
    wait_for("recovery", || manager.status().store_error.is_none());
    wait_for("noting", || {
        manager.store().missing_slots().unwrap().len() == after.len()
    });
    after.iter().for_each(|record| archive(&handle, &root, record, true));
    wait_for("archiving", || manager.status().closed_segments == 2);
    wait_for("status", || manager.status().missing_slots.slots == 0);
    assert_reads(manager.store(), &blocks);
    manager.stop();
}

/// A chain whose first segment is closed in two slices: 18 MB in blocks of the largest size.
fn large_world() -> World {
    let mut chain = Chain::new(common::world::THREADS, 5);
    let shape = Shape {
        miss_one_in: 0,
        operations: 2,
        operation_bytes: 1_040_000,
    };
    let periods: Vec<_> = (0..4).map(|_| chain.next_period(shape)).collect();
    World {
        parameters: ArchiveParameters {
            segment_periods: common::world::SEGMENT_PERIODS,
            chunk_size: 1 << 16,
            ..chain.parameters.clone()
        },
        blocks: periods.iter().flatten().flatten().cloned().collect(),
        periods,
    }
}

/// Two slices: the thread is stopped after the first.
#[test]
fn a_segment_that_was_being_closed_when_the_thread_was_stopped_is_closed_after_the_next_start() {
    let world = large_world();
    let directory = tempdir().unwrap();
    let gate = Gate::default();
    let store = open(directory.path(), &world.parameters, Some(Box::new(gate.clone())));
    let (closing, armed) = (Arc::new(AtomicBool::new(false)), gate.clone());
    let begun = Arc::clone(&closing);
    let options = ArchiveOptions {
        keep: Box::new(move |_, _| {
            if !begun.swap(true, Ordering::SeqCst) {
                armed.arm();
            }
            Some(Keep::Holder)
        }),
        ..impatient(1024)
    };
    let (mut manager, handle) = start_distributed_storage_worker(store, options).unwrap();
    let mut records = world.blocks.iter();
    while !closing.load(Ordering::SeqCst) {
        send_blocks(&handle, std::slice::from_ref(records.next().unwrap()));
    }
    // The thread is writing the first slice.
    gate.wait_until_reached();
    let stopping = std::thread::spawn(move || manager.stop());
    wait_for("asking to stop", || handle.queued() == 1);
    gate.open();
    stopping.join().unwrap();

    let table = world.tables(1).remove(0);
    let store = SegmentStore::open_read_only(directory.path()).unwrap();
    let held = store.held(0).unwrap().chunks;
    assert!(0 < held && held < table.header().chunk_count(), "{held} chunks");
    assert_eq!(store.last_segment().unwrap(), None);
    store.close();
    let (mut manager, _) = start(directory.path(), &world.parameters);
    wait_for("closing", || manager.status().closed_segments == 1);
    assert_eq!(manager.store().segment_root(0).unwrap(), Some(table.root()));
    assert_eq!(manager.store().held(0).unwrap().chunks, table.header().chunk_count());
    manager.stop();
}

fn to_store(segment: u64, chunk: &FinishedChunk) -> ChunkToStore {
    let pages = chunk.pages.iter().zip(&chunk.signatures).map(|(page, tagged)| {
        let mut signatures = Vec::new();
        tagged.iter().for_each(|tagged| tagged.write(&mut signatures));
        PageToStore {
            stored: StoredPage::plain(page).into_bytes(),
            signatures,
        }
    });
    ChunkToStore {
        keep: massa_distributed_storage_worker::storage_backend::Keep::Holder,
        position: ChunkPosition::new(segment, chunk.index).unwrap(),
        pages: pages.collect(),
        page_roots: chunk.page_roots.clone(),
        reaching: chunk.reaching_in.as_ref().map(|into| ReachingEntry {
            period: into.period,
            start: into.start,
            entry: into.entry.clone(),
        }),
    }
}

fn ask<T>(
    handle: &ArchiverHandle,
    command: impl FnOnce(crossbeam_channel::Sender<T>) -> DistributedStorageCommand,
) -> T {
    let (reply, answered) = bounded(1);
    handle.send(command(reply)).unwrap();
    answered.recv().unwrap()
}

fn drop_chunks(
    handle: &ArchiverHandle,
    chunks: &[ChunkPosition],
    keep: ChunkPosition,
    is_placed: bool,
) -> Vec<ChunkPosition> {
    let dropped: Result<_, ArchiveError> = ask(handle, |reply| {
        DistributedStorageCommand::Drop(ChunkDrop {
            chunks: chunks.to_vec(),
            while_placed: Arc::new(move |action| {
                if is_placed {
                    action();
                }
                is_placed
            }),
            keep: Arc::new(move |position| position == keep),
            reply: Some(reply),
        })
    });
    dropped.unwrap()
}

#[test]
fn what_repair_obtained_is_taken_and_what_others_hold_is_dropped() {
    let world = World::new(11, 10, 9_000);
    let directory = tempdir().unwrap();
    let (mut manager, handle) = start(directory.path(), &world.parameters);
    let segments = world.segments(2, &[]);
    let tables = segments.iter().map(|(table, _)| table.clone()).collect();
    let taken = ask(&handle, |reply| DistributedStorageCommand::Tables {
        tables,
        reply: Some(reply),
    });
    assert_eq!(taken.unwrap().taken, [0, 1]);

    let chunks: Vec<ChunkToStore> = segments[1].1.iter().map(|chunk| to_store(1, chunk)).collect();
    let put = |chunk: &ChunkToStore| {
        ask(&handle, |reply| DistributedStorageCommand::Chunk {
            chunk: Box::new(chunk.clone()),
            reply: Some(reply),
        })
    };
    assert!(chunks.iter().all(|chunk| put(chunk).unwrap()));
    assert!(!put(&chunks[0]).unwrap(), "it is held already");
    let mut other = chunks[0].clone();
    other.position = ChunkPosition::new(0, 0).unwrap();
    assert!(put(&other).is_err(), "it is not the chunk of its position");
    assert_eq!(handle.status().chunks_repaired, chunks.len() as u64);

    let positions: Vec<_> = chunks.iter().map(|chunk| chunk.position).collect();
    assert!(positions.len() > 2);
    assert_eq!(drop_chunks(&handle, &positions, positions[1], false), [], "placed anew");
    let dropped = drop_chunks(&handle, &positions, positions[1], true);
    assert_eq!(dropped.len(), positions.len() - 1);
    assert!(!dropped.contains(&positions[1]), "a claim covers it");
    assert!(manager.store().held(1).unwrap().indexes().eq([positions[1].index.0]));
    assert_eq!(handle.status().chunks_handed_over, dropped.len() as u64);
    manager.stop();
}

/// Neither blocks nor chunks make the directory larger than the allocation. Closing waits for space, and dropping chunks, which
/// gives it, does not wait for closing.
#[test]
fn when_the_allocation_is_used_up_chunks_can_be_handed_over_and_the_archive_goes_on() {
    const CAPACITY: u64 = 16 << 20;
    let world = World::new(17, 4 * 80 + 2, 20_000);
    let directory = tempdir().unwrap();
    let store = SegmentStoreOptions {
        capacity_bytes: Some(CAPACITY),
        ..SegmentStoreOptions::new(directory.path())
    };
    let store = Arc::new(SegmentStore::open_or_create(store, &world.parameters).unwrap());
    let options = ArchiveOptions {
        held_back_bytes_max: CAPACITY / 4,
        ..impatient(1024)
    };
    let (mut manager, handle) = start_distributed_storage_worker(store, options).unwrap();
    let is_full = || manager.status().store_error.is_some();
    let mut sent = 0;
    for record in &world.blocks {
        if is_full() {
            break;
        }
        send_blocks(&handle, std::slice::from_ref(record));
        sent += 1;
        assert!(manager.store().database().disk_usage().unwrap() <= CAPACITY);
    }
    wait_for("using up the allocation", is_full);
    assert!(sent < world.blocks.len());
    let closed = manager.status().closed_segments;
    assert!(closed > 4, "{closed} segments closed");

    let held: Vec<ChunkPosition> = (0..closed)
        .flat_map(|segment| {
            let held = manager.store().held(segment).unwrap();
            let positions = held.indexes().map(|index| ChunkPosition::new(segment, index).unwrap());
            positions.collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(drop_chunks(&handle, &held, held[0], true).len(), held.len() - 1);
    wait_for("space", || !is_full());
    // Space comes back table by table: what is refused meanwhile repair sends again.
    wait_for("closing", || {
        send_blocks(&handle, &world.blocks[sent - 40..sent + 40]);
        manager.status().closed_segments > closed
    });
    assert!(manager.store().database().disk_usage().unwrap() <= CAPACITY);
    manager.stop();
}

#[test]
fn what_retention_no_longer_keeps_goes_when_others_hold_it() {
    let world = World::new(13, 26, 500);
    let directory = tempdir().unwrap();
    let store = SegmentStoreOptions {
        retention_periods: 16,
        ..SegmentStoreOptions::new(directory.path())
    };
    let store = Arc::new(SegmentStore::open_or_create(store, &world.parameters).unwrap());
    let handed_over = Arc::new(AtomicBool::new(false));
    let is_handed_over = Arc::clone(&handed_over);
    let options = ArchiveOptions {
        may_prune: Box::new(move |segment| segment == 0 || is_handed_over.load(Ordering::SeqCst)),
        ..impatient(1024)
    };
    let (mut manager, handle) = start_distributed_storage_worker(store, options).unwrap();
    send_blocks(&handle, &world.blocks);
    wait_for("closing", || manager.status().closed_segments == 6);
    wait_for("pruning", || manager.status().floor == 1);
    handed_over.store(true, Ordering::SeqCst);
    wait_for("pruning", || manager.status().floor == 2);
    assert_eq!(
        manager.store().held(2).unwrap().chunks,
        manager.store().table(2).unwrap().unwrap().header().chunk_count()
    );
    manager.stop();
}
