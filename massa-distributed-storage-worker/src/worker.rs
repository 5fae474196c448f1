//! The thread that writes the archive: the hook's queue in, archived periods and closed segments out.
//!
//! The hook ([`ArchiverHandle`]) moves a final block into a bounded queue and returns. When the queue is full the block is let go
//! and its slot noted as missing; so is a block whose operations this node never had, and one that the store refused. A segment
//! is closed in slices between commands, and space is returned by a second thread, so neither keeps blocks waiting. Both threads
//! stop cleanly and can be started again in the same process.

use crate::archive::ingest::{keep_all, Acknowledge, ArchivedPeriod, ClosedSegment, Ingest, IngestOptions, KeepChunk};
use crate::archive::status::ArchiveStatus;
use crate::archive::upkeep::Intervals;
use crate::archive::writing::{Told, Writing};
use crate::commands::{ArchiveError, DistributedStorageCommand, FinalHeader};
use crate::storage_backend::SegmentStore;
use crossbeam_channel::{bounded, Receiver, Sender, TrySendError};
use massa_distributed_storage_exports::registry::NodeSet;
use massa_distributed_storage_exports::{ChunkId, StorageArchiver};
use massa_models::active_block::ActiveBlock;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_storage::Storage;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use tracing::{debug, info, warn};

/// Slots that may wait to be noted as missing; beyond that they are only counted, and found by their links.
pub(crate) const OVERFLOW_SLOTS_MAX: usize = 16_384;

/// Chunks that are finished, so that their ids are known and with them who holds them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinishedChunks {
    /// Their segment.
    pub segment: u64,
    /// Number and id of each.
    pub finished: Vec<(u32, ChunkId)>,
}

/// Holders of chunks that are finished.
#[derive(Clone, Debug, Default)]
pub struct PlacedChunks {
    /// The nodes.
    pub nodes: Arc<NodeSet>,
    /// For each of [`FinishedChunks::finished`] its holders, as indexes into the nodes.
    pub holders: Vec<Vec<usize>>,
}

/// Says who holds the chunks that a period filled, or the end of a segment.
pub type PlaceChunks = Box<dyn FnMut(&FinishedChunks) -> PlacedChunks + Send>;
/// Called on the thread after each period that joined its segment.
pub type AfterArchive = Box<dyn FnMut(&ArchivedPeriod) + Send>;
/// Called on the thread after each segment that was closed.
pub type AfterClose = Box<dyn FnMut(&ClosedSegment) + Send>;
/// Whether a segment that retention no longer keeps may go: whether others hold its chunks by now.
pub type MayPrune = Box<dyn FnMut(u64) -> bool + Send>;

/// How the thread works.
pub struct ArchiveOptions {
    /// Blocks that may wait for it.
    pub queue_blocks: usize,
    /// Which chunks are kept.
    pub keep: KeepChunk,
    /// Bytes of rows that may wait behind a gap ([`IngestOptions::held_back_bytes_max`]).
    pub held_back_bytes_max: u64,
    /// Who holds the chunks that are finished: for the log.
    pub place: PlaceChunks,
    /// Told of each period that joined.
    pub after_archive: AfterArchive,
    /// Told of each segment that was closed.
    pub after_close: AfterClose,
    /// Asked before a segment is pruned.
    pub may_prune: MayPrune,
    /// How often what is done.
    pub intervals: Intervals,
}

impl ArchiveOptions {
    /// A node by itself, that keeps every chunk.
    pub fn new(queue_blocks: usize) -> Self {
        Self {
            queue_blocks,
            keep: keep_all(),
            held_back_bytes_max: u64::MAX,
            place: Box::new(|_| PlacedChunks::default()),
            after_archive: Box::new(|_| ()),
            after_close: Box::new(|_| ()),
            may_prune: Box::new(|_| true),
            intervals: Intervals::default(),
        }
    }
}

/// What the hook and the thread share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) status: Mutex<ArchiveStatus>,
    /// Blocks that found the queue full.
    queue_full: AtomicU64,
    /// Work that may wait is left to the next start.
    pub(crate) is_stopping: AtomicBool,
}

/// The thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the thread that writes the archive has stopped")]
pub struct ArchiveStopped;

/// Why the threads do not start.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum StartWorkerError {
    /// The open segments cannot be read back.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The system starts no thread.
    #[error("thread {name}: {source}")]
    Thread {
        /// Which.
        name: &'static str,
        /// Why.
        source: std::io::Error,
    },
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
    /// [`ArchiveStopped`]: nobody will take it.
    pub fn send(&self, command: DistributedStorageCommand) -> Result<(), ArchiveStopped> {
        self.commands.send(command).map_err(|_| ArchiveStopped)
    }

    /// Queues a command while at least half of the queue is free: consensus does not wait for what repair has to write.
    ///
    /// # Errors
    /// The command itself, if there is no room, or nobody will take it.
    pub fn try_send(&self, command: DistributedStorageCommand) -> Result<(), Box<DistributedStorageCommand>> {
        let has_room = self
            .commands
            .capacity()
            .map_or(true, |capacity| self.commands.len() * 2 <= capacity);
        if !has_room {
            return Err(Box::new(command));
        }
        let sent = self.commands.try_send(command);
        sent.map_err(|error| Box::new(error.into_inner()))
    }

    /// What the thread has done, and what is missing.
    pub fn status(&self) -> ArchiveStatus {
        self.shared.status.lock().clone()
    }

    /// Looks at the same without a copy of it. The thread waits meanwhile.
    pub fn with_status<T>(&self, look: impl FnOnce(&ArchiveStatus) -> T) -> T {
        look(&self.shared.status.lock())
    }

    /// Blocks that found the queue full since the thread was started.
    pub fn queue_full_count(&self) -> u64 {
        self.shared.queue_full.load(Ordering::Relaxed)
    }

    /// Commands that wait for the thread.
    pub fn queued(&self) -> usize {
        self.commands.len()
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
        let header = FinalHeader {
            slot,
            block_id: *block_id,
            parent: active_block.parents.get(usize::from(slot.thread)).map(|(id, _)| *id),
        };
        match self
            .commands
            .try_send(DistributedStorageCommand::FinalBlock { header, content })
        {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => self.let_go(header),
        }
    }
}

/// Stops the threads.
pub struct DistributedStorageManager {
    handle: ArchiverHandle,
    store: Arc<SegmentStore>,
    writer: Option<JoinHandle<()>>,
    tidier: Option<JoinHandle<()>>,
}

impl DistributedStorageManager {
    /// The store, for reading.
    pub fn store(&self) -> &Arc<SegmentStore> {
        &self.store
    }

    /// What the thread has done, and what is missing.
    pub fn status(&self) -> ArchiveStatus {
        self.handle.status()
    }

    /// Ends the threads after what is queued, and releases the store's directory. A segment that is being closed is left as it is:
    /// the next start goes on with it.
    pub fn stop(&mut self) {
        let Some(writer) = self.writer.take() else {
            return;
        };
        self.handle.shared.is_stopping.store(true, Ordering::Release);
        // The thread only ends by this command or by panicking; then there is nobody to tell.
        let _ = self.handle.send(DistributedStorageCommand::Stop);
        if writer.join().is_err() {
            warn!("the thread that writes the archive panicked");
        }
        // Whoever returns space ends when the table that it writes again is done.
        self.store.close();
        if self.tidier.take().is_some_and(|tidier| tidier.join().is_err()) {
            warn!("the thread that returns space panicked");
        }
    }
}

impl Drop for DistributedStorageManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the threads on `store`.
///
/// # Errors
/// [`StartWorkerError`]; no thread runs then.
pub fn start_distributed_storage_worker(
    store: Arc<SegmentStore>,
    options: ArchiveOptions,
) -> Result<(DistributedStorageManager, ArchiverHandle), StartWorkerError> {
    let ingest_options = IngestOptions {
        acknowledge: Acknowledge::EachBlock,
        keep: options.keep,
        held_back_bytes_max: options.held_back_bytes_max,
    };
    let (ingest, progress) = Ingest::open(Arc::clone(&store), ingest_options)?;
    let (commands, command_receiver) = bounded(options.queue_blocks);
    let (overflow, overflow_receiver) = bounded(OVERFLOW_SLOTS_MAX);
    let (tidy, tidy_receiver) = bounded(1);
    let handle = ArchiverHandle {
        commands,
        overflow,
        shared: Arc::default(),
    };
    let told = Told {
        place: options.place,
        after_archive: options.after_archive,
        after_close: options.after_close,
        may_prune: options.may_prune,
    };
    let mut writing = Writing::new(ingest, Arc::clone(&handle.shared), (told, tidy), options.intervals);
    writing.begin(&progress);
    let tidied = Arc::clone(&store);
    let tidier = spawn("storage-space", move || return_space(&tidied, &tidy_receiver))?;
    let writer = spawn("distributed-storage", move || {
        writing.run(&command_receiver, &overflow_receiver);
    })?;
    let manager = DistributedStorageManager {
        handle: handle.clone(),
        store,
        writer: Some(writer),
        tidier: Some(tidier),
    };
    Ok((manager, handle))
}

/// Starts a thread. One that is started before another one fails ends with the queue between them.
fn spawn(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartWorkerError> {
    let thread = std::thread::Builder::new().name(name.into()).spawn(run);
    thread.map_err(|source| StartWorkerError::Thread { name, source })
}

/// Returns space whenever it is told to, until nobody can tell it any more.
fn return_space(store: &SegmentStore, due: &Receiver<()>) {
    for () in due {
        match store.return_space() {
            Ok(0) => {}
            Ok(rewritten) => info!(rewritten, "space returned"),
            Err(error) => debug!(error = &error as &dyn std::error::Error, "space not returned"),
        }
    }
}
