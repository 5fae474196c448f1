//! The worker thread: the hook's queue in, archived periods out.
//!
//! The hook ([`ArchiverHandle`]) moves a final block into a bounded queue and returns. When the queue is full the block is
//! let go and its place noted as awaited; so is a block whose operations this node never had, and a block that the store
//! could not take. The thread stops cleanly and can be started again in the same process.

use crate::commands::{ChunkDrop, DistributedStorageCommand};
use crate::ingest::{Acknowledge, Ingest, IngestError, KeepChunks, OpenSegment, Progress};
use crate::period_set::PeriodSet;
use crate::repair::Missing;
use crate::storage_backend::{ArchivedPeriod, Store};
use crossbeam_channel::{bounded, select, Receiver, RecvTimeoutError, Sender, TrySendError};
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::network::PageContent;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::{ChunkIndex, StorageArchiver};
use massa_models::active_block::ActiveBlock;
use massa_models::block::{BlockSerializer, SecureShareBlock};
use massa_models::block_id::BlockId;
use massa_models::operation::{OperationId, SecureShareOperation};
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use massa_serialization::Serializer;
use massa_storage::Storage;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Places that may wait to be noted as awaited; beyond that they are only counted, and found by their links.
const OVERFLOW_PLACES_MAX: usize = 16_384;
/// How often a refusing store is asked again.
const RECOVERY_INTERVAL: Duration = Duration::from_secs(5);
/// How often what is missing is told.
const REPORT_INTERVAL: Duration = Duration::from_millis(250);
/// Missing periods that are told at a time.
const MISSING_PERIODS_MAX: usize = 64;

/// Called on the worker's thread after each period that was archived.
pub type AfterArchive = Box<dyn FnMut(&ArchivedPeriod) + Send>;

/// How the worker works.
pub struct WorkerOptions {
    /// Blocks that may wait for it.
    pub queue_blocks: usize,
    /// Which chunks are kept.
    pub keep: KeepChunks,
    /// Told of each archived period.
    pub after_archive: AfterArchive,
}

impl WorkerOptions {
    /// Options without anybody to tell.
    pub fn new(queue_blocks: usize, keep: KeepChunks) -> Self {
        Self {
            queue_blocks,
            keep,
            after_archive: Box::new(|_| ()),
        }
    }
}

/// What the worker has done since it was started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkerStatus {
    /// Periods archived.
    pub archived_periods: u64,
    /// The newest of them.
    pub last_period: Option<u64>,
    /// Blocks taken.
    pub blocks: u64,
    /// Blocks that were not taken, each with a warning in the log.
    pub refused_blocks: u64,
    /// Why the store does not take blocks, if it does not.
    pub store_error: Option<String>,
    /// Chunks taken from peers.
    pub chunks_repaired: u64,
    /// Chunks dropped because others hold them now.
    pub chunks_handed_over: u64,
    /// What is missing, as of a moment ago.
    pub missing: Missing,
    /// Places whose block was final but is not here: how many, the oldest period, and how many for each reason.
    pub awaited: AwaitedPlaces,
    /// Every archived period that is not pruned, as of a moment ago.
    pub archived: PeriodSet,
    /// The first segment without a root, once the chain is well past it.
    pub open_segment: Option<OpenSegment>,
}

/// Places that are awaited because their block was let go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwaitedPlaces {
    /// How many.
    pub places: usize,
    /// Period of the oldest.
    pub oldest_period: Option<u64>,
    /// How many since the start for each reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// Counters that the hook and the thread share.
#[derive(Debug, Default)]
struct Shared {
    status: Mutex<WorkerStatus>,
    /// Blocks that found the queue full.
    queue_full: AtomicU64,
}

/// The worker thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the distributed storage worker has stopped")]
pub struct WorkerStopped;

/// What is known of a final block that was let go.
#[derive(Clone, Copy, Debug)]
struct FinalHeader {
    slot: Slot,
    block_id: BlockId,
    /// In its own thread.
    parent: Option<BlockId>,
}

/// The hook's end of the queue.
#[derive(Clone)]
pub struct ArchiverHandle {
    commands: Sender<DistributedStorageCommand>,
    overflow: Sender<FinalHeader>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for ArchiverHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArchiverHandle")
            .field("queued", &self.commands.len())
            .finish_non_exhaustive()
    }
}

impl ArchiverHandle {
    /// Queues a command, waiting for room: for callers that are not consensus.
    ///
    /// # Errors
    /// [`WorkerStopped`]: nobody will take it.
    pub fn send(&self, command: DistributedStorageCommand) -> Result<(), WorkerStopped> {
        self.commands.send(command).map_err(|_| WorkerStopped)
    }

    /// What the worker has done, and what is missing.
    pub fn status(&self) -> WorkerStatus {
        self.shared.status.lock().clone()
    }

    /// Blocks that found the queue full since the worker was started.
    pub fn queue_full_count(&self) -> u64 {
        self.shared.queue_full.load(Ordering::Relaxed)
    }

    fn let_go(&self, header: FinalHeader) {
        self.shared.queue_full.fetch_add(1, Ordering::Relaxed);
        // If even this queue is full, the next block of the thread still names this one as its parent.
        let _ = self.overflow.try_send(header);
    }
}

impl StorageArchiver for ArchiverHandle {
    fn archive_finalized_block(&self, period: u64, block_id: &BlockId, active_block: &ActiveBlock, content: Storage) {
        let slot = Slot::new(period, active_block.slot.thread);
        let parent = active_block.parents.get(usize::from(slot.thread)).map(|(id, _)| *id);
        let header = FinalHeader {
            slot,
            block_id: *block_id,
            parent,
        };
        let command = DistributedStorageCommand::ArchiveFinalizedBlock {
            slot,
            block_id: *block_id,
            parent,
            content,
        };
        match self.commands.try_send(command) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.let_go(header),
        }
    }
}

/// Stops the worker.
pub struct DistributedStorageManager {
    handle: ArchiverHandle,
    store: Arc<Store>,
    thread: Option<JoinHandle<()>>,
}

impl DistributedStorageManager {
    /// The store, for reading.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// What the worker has done.
    pub fn status(&self) -> WorkerStatus {
        self.handle.status()
    }

    /// Ends the thread after what is queued, and releases the store's directory.
    pub fn stop(&mut self) {
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The thread only ends by this command or by panicking; then there is nobody to tell.
        let _ = self.handle.send(DistributedStorageCommand::Stop);
        if thread.join().is_err() {
            warn!("distributed storage worker panicked");
        }
        self.store.close();
    }
}

impl Drop for DistributedStorageManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the worker thread on `store`.
///
/// # Errors
/// [`IngestError`] when the store's open periods cannot be read back.
pub fn start_distributed_storage_worker(
    store: Arc<Store>,
    options: WorkerOptions,
) -> Result<(DistributedStorageManager, ArchiverHandle), IngestError> {
    let (ingest, progress) = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, options.keep)?;
    let (commands, command_receiver) = bounded(options.queue_blocks);
    let (overflow, overflow_receiver) = bounded(OVERFLOW_PLACES_MAX);
    let handle = ArchiverHandle {
        commands,
        overflow,
        shared: Arc::default(),
    };
    let mut worker = Worker {
        ingest,
        shared: Arc::clone(&handle.shared),
        asked: Instant::now(),
        reported: None,
        after_archive: options.after_archive,
    };
    worker.report(&progress);
    worker.tell_missing();
    let thread = std::thread::Builder::new()
        .name("distributed-storage".into())
        .spawn(move || worker.run(&command_receiver, &overflow_receiver))
        .expect("the system can start a thread");
    let manager = DistributedStorageManager {
        handle: handle.clone(),
        store,
        thread: Some(thread),
    };
    Ok((manager, handle))
}

struct Worker {
    ingest: Ingest,
    shared: Arc<Shared>,
    /// When the store was last asked whether it takes blocks again.
    asked: Instant,
    /// When what is missing was told.
    reported: Option<Instant>,
    after_archive: AfterArchive,
}

impl Worker {
    fn run(&mut self, commands: &Receiver<DistributedStorageCommand>, overflow: &Receiver<FinalHeader>) {
        loop {
            let command = select! {
                recv(overflow) -> place => {
                    if let Ok(header) = place {
                        self.note_header(header, "queue full");
                    }
                    continue;
                }
                recv(commands) -> command => command.map_err(|_| RecvTimeoutError::Disconnected),
                default(REPORT_INTERVAL) => Err(RecvTimeoutError::Timeout),
            };
            match command {
                Ok(DistributedStorageCommand::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(command) => self.execute(command),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.recover();
            self.tell_missing();
        }
        for header in overflow.try_iter() {
            self.note_header(header, "queue full");
        }
        if let Err(error) = self.ingest.finish() {
            warn!(error = &error as &dyn std::error::Error, "store not synced");
        }
    }

    fn execute(&mut self, command: DistributedStorageCommand) {
        match command {
            DistributedStorageCommand::ArchiveFinalizedBlock {
                slot,
                block_id,
                parent,
                content,
            } => {
                let header = FinalHeader { slot, block_id, parent };
                match record_from_storage(&block_id, &content) {
                    Some(record) => self.add(header, record),
                    None => self.note_header(header, "operations missing"),
                }
            }
            DistributedStorageCommand::ArchivePeriod {
                period,
                blocks,
                operations,
            } => self.archive_period(period, &blocks, &operations),
            DistributedStorageCommand::ArchiveBlock { slot, record } => {
                if let Ok(view) = record.view(self.ingest.store().parameters().thread_count) {
                    let header = FinalHeader {
                        slot,
                        block_id: view.block_id(),
                        parent: view.same_thread_parent(),
                    };
                    self.add(header, record);
                }
            }
            DistributedStorageCommand::PutChunk {
                period,
                chunk,
                entry,
                pages,
            } => self.put_chunk(period, chunk, entry, pages),
            DistributedStorageCommand::DropChunks(drop) => self.drop_chunks(drop),
            DistributedStorageCommand::EnterLost(manifest) => {
                let entered = self.ingest.enter_lost(&manifest);
                self.report_accepted(manifest.header.period, entered);
            }
            DistributedStorageCommand::TakePeriod { period, root, records } => {
                let taken = self.ingest.take_period(period, root, &records);
                self.report_accepted(period, taken);
            }
            DistributedStorageCommand::Stop => {}
        }
    }

    fn put_chunk(&mut self, period: u64, chunk: ChunkIndex, entry: ChunkEntry, pages: Vec<PageContent>) {
        match self.ingest.store().put_chunk(period, chunk, entry, &pages) {
            Ok(()) => self.shared.status.lock().chunks_repaired += 1,
            Err(error) => warn!(period, %chunk, error = &error as &dyn std::error::Error, "chunk not stored"),
        }
    }

    /// Tells what came of a period that is as an accepted root says.
    fn report_accepted(&mut self, period: u64, result: Result<Progress, IngestError>) {
        match result {
            Ok(progress) => self.report(&progress),
            Err(error) => {
                warn!(
                    period,
                    error = &error as &dyn std::error::Error,
                    "period not taken over"
                );
                if let IngestError::Store(error) = &error {
                    self.note_store_error(error.to_string());
                }
            }
        }
    }

    fn drop_chunks(&mut self, drop: ChunkDrop) {
        match drop.execute(self.ingest.store()) {
            Ok(dropped) => self.shared.status.lock().chunks_handed_over += dropped as u64,
            Err(error) => warn!(error = &error as &dyn std::error::Error, "chunks not dropped"),
        }
    }

    /// Tells from time to time what is missing.
    fn tell_missing(&mut self) {
        if self
            .reported
            .is_some_and(|reported| reported.elapsed() < REPORT_INTERVAL)
        {
            return;
        }
        self.reported = Some(Instant::now());
        let missing = self.ingest.missing(MISSING_PERIODS_MAX);
        let archived = self.ingest.archived().clone();
        let awaited = self.ingest.awaited();
        let (places, oldest_period) = (awaited.len(), awaited.keys().next().map(|slot| slot.period));
        let open_segment = self.ingest.open_segment().unwrap_or_else(|error| {
            debug!(error = &error as &dyn std::error::Error, "open segment not read");
            None
        });
        let mut status = self.shared.status.lock();
        status.missing = missing;
        status.archived = archived;
        status.open_segment = open_segment;
        status.awaited.places = places;
        status.awaited.oldest_period = oldest_period;
    }

    fn archive_period(&mut self, period: u64, blocks: &[SecureShareBlock], operations: &[SecureShareOperation]) {
        let by_id: PreHashMap<OperationId, &SecureShareOperation> =
            operations.iter().map(|operation| (operation.id, operation)).collect();
        for block in blocks {
            let slot = block.content.header.content.slot;
            if slot.period != period {
                warn!(%slot, period, block_id = %block.id, "block is not of its period");
                continue;
            }
            let parents = &block.content.header.content.parents;
            let header = FinalHeader {
                slot,
                block_id: block.id,
                parent: parents.get(usize::from(slot.thread)).copied(),
            };
            match record_of(block, |id| by_id.get(id).copied()) {
                Some(record) => self.add(header, record),
                None => self.note_header(header, "operations missing"),
            }
        }
    }

    fn add(&mut self, header: FinalHeader, record: BlockRecord) {
        let FinalHeader { slot, block_id, .. } = header;
        match self.ingest.add(record) {
            Ok(progress) => {
                self.shared.status.lock().blocks += u64::from(!progress.known);
                self.report(&progress);
                match &progress.stalled {
                    Some(error) => self.note_store_error(error.clone()),
                    None if progress.known => {}
                    None => self.note_stored(),
                }
            }
            Err(error) => {
                self.shared.status.lock().refused_blocks += 1;
                match &error {
                    IngestError::Store(error) => self.note_store_error(error.to_string()),
                    error => warn!(%slot, %block_id, error = error as &dyn std::error::Error, "block not archived"),
                }
                self.note_header(header, "not stored");
            }
        }
    }

    fn note_header(&mut self, header: FinalHeader, reason: &'static str) {
        let FinalHeader { slot, block_id, parent } = header;
        debug!(%slot, %block_id, reason, "block awaited");
        *self.shared.status.lock().awaited.reasons.entry(reason).or_default() += 1;
        // Without the row the place is still awaited: the next block of its thread names this one as its parent.
        match self.ingest.note_header(slot, block_id, parent) {
            Ok(progress) => self.report(&progress),
            Err(error) => debug!(%slot, error = &error as &dyn std::error::Error, "awaited place not noted"),
        }
    }

    /// From time to time asks a store that did not take a block again, and archives what waited for it.
    fn recover(&mut self) {
        let waiting = self.shared.status.lock().store_error.is_some();
        if !waiting || self.asked.elapsed() < RECOVERY_INTERVAL {
            return;
        }
        self.asked = Instant::now();
        let recovered = self.ingest.store().recover().map_err(IngestError::from);
        match recovered.and_then(|()| self.ingest.archive_complete()) {
            // A store that is full says so again with the next block.
            Ok(progress) => self.report(&progress),
            Err(error) => self.note_store_error(error.to_string()),
        }
    }

    /// Says once that the store does not take blocks, and again when the reason changes.
    fn note_store_error(&self, error: String) {
        let mut status = self.shared.status.lock();
        if status.store_error.as_ref() != Some(&error) {
            warn!(error, "store does not take blocks");
            status.store_error = Some(error);
        }
    }

    fn note_stored(&self) {
        if self.shared.status.lock().store_error.take().is_some() {
            info!("store takes blocks again");
        }
    }

    fn report(&mut self, progress: &Progress) {
        for archived in &progress.archived {
            info!(
                "Archived period {}: {} blocks, {} operations, {} chunks",
                archived.period, archived.blocks, archived.operations, archived.chunks
            );
            (self.after_archive)(archived);
        }
        for period in &progress.lost {
            warn!(
                period,
                "period entered as lost: nobody had all of its blocks when its segment was anchored"
            );
        }
        for (segment, root) in &progress.segments {
            info!(segment, %root, "segment complete");
        }
        if let Some(floor) = progress.pruned_below {
            info!(floor, "periods pruned");
        }
        let mut status = self.shared.status.lock();
        status.archived_periods += progress.archived.len() as u64;
        let newest = progress.archived.iter().map(|archived| archived.period).max();
        status.last_period = status.last_period.max(newest);
    }
}

/// The record of a block whose content `storage` claims; `None` if the block or an operation is not there.
fn record_from_storage(block_id: &BlockId, storage: &Storage) -> Option<BlockRecord> {
    let blocks = storage.read_blocks();
    let operations = storage.read_operations();
    record_of(blocks.get(block_id)?, |id| operations.get(id))
}

/// The record of a block; `None` if an operation is not there.
///
/// The bytes that arrived may be one of several forms of the same block, so they are written anew.
fn record_of<'a>(
    block: &SecureShareBlock,
    operation: impl Fn(&OperationId) -> Option<&'a SecureShareOperation>,
) -> Option<BlockRecord> {
    let mut bytes = Vec::with_capacity(block.serialized_data.len());
    BlockSerializer::new().serialize(&block.content, &mut bytes).ok()?;
    let operations = block.content.operations.iter().map(|id| operation(id).map(wire_bytes));
    let operations: Vec<Vec<u8>> = operations.collect::<Option<_>>()?;
    BlockRecord::new(&bytes, &operations).ok()
}

/// Signature, creator key, content: what travels.
fn wire_bytes(operation: &SecureShareOperation) -> Vec<u8> {
    let mut bytes = operation.signature.to_bytes();
    bytes.extend(operation.content_creator_pub_key.to_bytes());
    bytes.extend(&operation.serialized_data);
    bytes
}
