//! The thread around [`RepairDriver`]: the clock, the queues, and the archive's thread behind [`RepairWriter`].
//!
//! The driver decides; here it is called every 100 ms and whenever an answer, a written job or news comes. Between, in slices, the
//! server looks which segments are held whole, and placement is written to disk. What happens elsewhere is left in [`RepairNews`],
//! which never waits.

use super::assigned::SharedAssigned;
use super::checkpoint;
use super::driver::{RepairDriver, RepairOptions, RepairParts, RepairRegistry, RepairStatus};
use super::progress::Progress;
use super::writing::{RepairWriter, WriteJob, WriteRules, Written};
use crate::archive::missing::{Missing, OpenSegment};
use crate::board::{HeldWatches, SegmentBoard};
use crate::commands::{ArchiveError, ChunkDrop, DistributedStorageCommand, RepairJob, WhilePlaced};
use crate::serve::to_peers::SegmentServer;
use crate::storage_backend::{SegmentStore, StoreError};
use crate::worker::ArchiverHandle;
use crossbeam_channel::{bounded, select, unbounded, Receiver, Sender};
use massa_distributed_storage_exports::network::{FetchEvent, StorageNetwork};
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use parking_lot::Mutex;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Answers of the network that may wait; what does not fit is asked again.
const ANSWERS_MAX: usize = 1024;
/// News that may wait. When there are more, everything is looked at.
const NEWS_MAX: usize = 4096;
/// How often the driver is called.
const TICK: Duration = Duration::from_millis(100);
/// How often what may wait is done: status, placement to disk, what is pruned.
const UPKEEP: Duration = Duration::from_secs(1);
/// How often the log tells how far repair is, while there is something to do.
const LOG: Duration = Duration::from_secs(10);
/// Segments that the server looks at in a tick: two rows each.
const REFRESHED_SEGMENTS: usize = 256;

/// What happened elsewhere.
enum News {
    /// A segment closed here, or has another table.
    Closed(u64),
    /// A peer says that it holds chunks of a segment.
    Announced(u64),
}

/// Where the archive's thread and the storage handler leave their news. Never waits.
#[derive(Clone)]
pub struct RepairNews {
    news: Sender<News>,
    missed: Arc<AtomicBool>,
}

impl RepairNews {
    /// A segment closed here, or has another table.
    pub fn closed(&self, segment: u64) {
        if self.news.try_send(News::Closed(segment)).is_err() {
            self.missed.store(true, Ordering::Release);
        }
    }

    /// A peer says that it holds chunks of a segment: a hint, and nothing more.
    pub fn announced(&self, segment: u64) {
        let _ = self.news.try_send(News::Announced(segment));
    }
}

/// The receiving end of [`RepairNews`], for [`start_repair`].
pub struct RepairInbox {
    news: Receiver<News>,
    missed: Arc<AtomicBool>,
}

/// A queue for news; it exists before the network does.
pub fn repair_news() -> (RepairNews, RepairInbox) {
    let (sender, receiver) = bounded(NEWS_MAX);
    let missed = Arc::new(AtomicBool::new(false));
    let news = RepairNews {
        news: sender,
        missed: Arc::clone(&missed),
    };
    let inbox = RepairInbox { news: receiver, missed };
    (news, inbox)
}

/// What the thread works with.
pub struct RepairThreadParts {
    /// This node.
    pub own: NodeId,
    /// Read; of placement, written.
    pub store: Arc<SegmentStore>,
    /// What is assigned to this node.
    pub assigned: SharedAssigned,
    /// The archive's thread.
    pub archiver: ArchiverHandle,
    /// The storage handler.
    pub network: Arc<dyn StorageNetwork>,
    /// Final state.
    pub registry: Arc<dyn RepairRegistry>,
    /// The server of peers.
    pub server: Arc<SegmentServer>,
    /// What the rounds are told.
    pub board: Arc<SegmentBoard>,
    /// Limits, and what is kept although it is not assigned.
    pub options: RepairOptions,
}

/// Looks at repair from elsewhere.
#[derive(Clone, Debug, Default)]
pub struct RepairHandle(Arc<Mutex<RepairStatus>>);

impl RepairHandle {
    /// What repair is doing, as of a second ago.
    pub fn status(&self) -> RepairStatus {
        *self.0.lock()
    }
}

/// Stops repair.
pub struct RepairManager {
    stop: Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl RepairManager {
    /// Ends the thread, after placement is on disk.
    pub fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = self.stop.try_send(());
            if thread.join().is_err() {
                warn!("storage repair panicked");
            }
        }
    }
}

impl Drop for RepairManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts the thread.
///
/// # Errors
/// The system's, if it starts no thread.
pub fn start_repair(parts: RepairThreadParts, inbox: RepairInbox) -> io::Result<(RepairManager, RepairHandle)> {
    let (stop, stopped) = bounded(1);
    let handle = RepairHandle::default();
    let (mut repair, queues) = Repair::new(parts, inbox.missed, handle.clone());
    let news = inbox.news;
    let thread = std::thread::Builder::new()
        .name("storage-repair".into())
        .spawn(move || repair.run(&stopped, &news, &queues))?;
    let manager = RepairManager {
        stop,
        thread: Some(thread),
    };
    Ok((manager, handle))
}

/// What comes back.
struct Queues {
    events: Receiver<FetchEvent>,
    written: Receiver<Vec<Written>>,
    dropped: Receiver<Result<Vec<ChunkPosition>, ArchiveError>>,
}

/// The archive's thread, as repair writes through it.
struct ThreadWriter {
    archiver: ArchiverHandle,
    rules: WriteRules,
    told: Sender<Vec<Written>>,
    dropped: Sender<Result<Vec<ChunkPosition>, ArchiveError>>,
}

impl ThreadWriter {
    fn drop_command(&self, chunks: Vec<ChunkPosition>, epoch: u64) -> DistributedStorageCommand {
        let assigned = Arc::clone(&self.rules.assigned);
        // Assignments cannot change while chunks are dropped under the lock.
        let while_placed: WhilePlaced = Arc::new(move |act: &mut dyn FnMut()| {
            let assigned = assigned.read();
            let is_same = assigned.epoch() == epoch;
            if is_same {
                act();
            }
            is_same
        });
        DistributedStorageCommand::Drop(ChunkDrop {
            chunks,
            while_placed,
            keep: Arc::clone(&self.rules.keep),
            reply: Some(self.dropped.clone()),
        })
    }
}

impl RepairWriter for ThreadWriter {
    fn missing(&self) -> Arc<Missing> {
        Arc::new(self.archiver.with_status(|status| status.missing.clone()))
    }

    fn open_segment(&self) -> Option<OpenSegment> {
        self.archiver.with_status(|status| status.open_segment.clone())
    }

    fn write(&mut self, job: WriteJob) -> Result<(), Box<WriteJob>> {
        let command = match job {
            WriteJob::Drop { chunks, epoch } => self.drop_command(chunks, epoch),
            job => DistributedStorageCommand::Repair(Box::new(RepairJob {
                job,
                rules: self.rules.clone(),
                told: self.told.clone(),
            })),
        };
        match self.archiver.try_send(command).map_err(|command| *command) {
            Ok(()) => Ok(()),
            Err(DistributedStorageCommand::Repair(refused)) => Err(Box::new(refused.job)),
            // Of chunks that are not dropped now nothing is told: hand-over looks at them again.
            Err(_) => {
                let _ = self.dropped.send(Ok(Vec::new()));
                Ok(())
            }
        }
    }
}

struct Repair {
    driver: RepairDriver,
    store: Arc<SegmentStore>,
    assigned: SharedAssigned,
    server: Arc<SegmentServer>,
    board: Arc<SegmentBoard>,
    missed: Arc<AtomicBool>,
    handle: RepairHandle,
    /// What is pruned is forgotten up to here.
    floor: u64,
    upkept: Instant,
    logged: Option<Instant>,
}

impl Repair {
    fn new(parts: RepairThreadParts, missed: Arc<AtomicBool>, handle: RepairHandle) -> (Self, Queues) {
        let (replies, events) = bounded(ANSWERS_MAX);
        // As many as there are jobs with the archive's thread, whose queue is bounded: it never waits.
        let (told, written) = unbounded();
        let (drops, dropped) = unbounded();
        let writer = ThreadWriter {
            archiver: parts.archiver,
            rules: WriteRules {
                assigned: Arc::clone(&parts.assigned),
                keep: Arc::clone(&parts.options.keep),
            },
            told,
            dropped: drops,
        };
        let watch = HeldWatches(vec![Arc::clone(&parts.server) as _, Arc::clone(&parts.board) as _]);
        let now = Instant::now();
        let driver_parts = RepairParts {
            own: parts.own,
            store: Arc::clone(&parts.store),
            assigned: Arc::clone(&parts.assigned),
            writer: Box::new(writer),
            network: parts.network,
            registry: parts.registry,
            watch: Arc::new(watch),
            replies,
        };
        let repair = Self {
            driver: RepairDriver::new(driver_parts, parts.options, now),
            floor: parts.store.floor(),
            store: parts.store,
            assigned: parts.assigned,
            server: parts.server,
            board: parts.board,
            missed,
            handle,
            upkept: now,
            logged: None,
        };
        let queues = Queues {
            events,
            written,
            dropped,
        };
        (repair, queues)
    }

    fn run(&mut self, stopped: &Receiver<()>, news: &Receiver<News>, queues: &Queues) {
        let mut next_tick = Instant::now();
        let mut news = news.clone();
        loop {
            let patience = next_tick.saturating_duration_since(Instant::now());
            select! {
                recv(stopped) -> _ => break,
                recv(news) -> item => match item {
                    Ok(item) => self.on_news(&item),
                    // Nobody is left to tell anything.
                    Err(_) => news = crossbeam_channel::never(),
                },
                recv(queues.events) -> event => if let Ok(event) = event {
                    self.driver.on_event(event, Instant::now());
                },
                recv(queues.written) -> written => if let Ok(written) = written {
                    let now = Instant::now();
                    written.into_iter().for_each(|written| self.driver.on_written(written, now));
                },
                recv(queues.dropped) -> dropped => if let Ok(dropped) = dropped { self.on_dropped(dropped) },
                default(patience) => {}
            }
            let now = Instant::now();
            if now >= next_tick {
                self.tick(now);
                next_tick = now + TICK;
            }
        }
        self.save(true);
    }

    fn on_news(&mut self, news: &News) {
        match *news {
            News::Closed(segment) => self.driver.on_written(Written::Closed(vec![segment]), Instant::now()),
            News::Announced(segment) => self.driver.look_at(segment),
        }
    }

    fn on_dropped(&mut self, dropped: Result<Vec<ChunkPosition>, ArchiveError>) {
        let chunks = dropped.unwrap_or_else(|error| {
            warn!(error = &error as &dyn std::error::Error, "chunks not dropped");
            Vec::new()
        });
        self.driver.on_written(Written::Dropped(chunks), Instant::now());
    }

    fn tick(&mut self, now: Instant) {
        if self.missed.swap(false, Ordering::AcqRel) {
            self.driver.look_at_all();
        }
        for position in self.driver.take_damaged() {
            self.driver.on_damaged(position, now);
        }
        self.driver.on_tick(now);
        self.server.refresh(REFRESHED_SEGMENTS);
        let candidate = self.driver.candidate().map(|(loss, root)| (loss.segment, root));
        self.board.set_candidate(candidate);
        if now.duration_since(self.upkept) >= UPKEEP {
            self.upkept = now;
            self.upkeep(now);
        }
    }

    /// What may wait.
    fn upkeep(&mut self, now: Instant) {
        let status = self.driver.status(now);
        *self.handle.0.lock() = status;
        self.log(&status, now);
        let floor = self.store.floor();
        if floor > self.floor {
            let pruned = self.floor..floor;
            self.board_changed(pruned.clone());
            match checkpoint::forget_below(&self.store, &self.assigned, pruned) {
                Ok(()) => self.floor = floor,
                Err(error) => not_saved(&error),
            }
        }
        self.save(false);
    }

    /// What is pruned is not held any more.
    fn board_changed(&self, segments: std::ops::Range<u64>) {
        segments.for_each(|segment| self.board.note_changed(segment));
    }

    /// Writes placement to disk: some of it, or all.
    fn save(&self, all: bool) {
        loop {
            match checkpoint::save(&self.store, &self.assigned) {
                Ok(true) if all => {}
                Ok(_) => return,
                Err(error) => return not_saved(&error),
            }
        }
    }

    fn log(&mut self, status: &RepairStatus, now: Instant) {
        let has_work = |progress: &Progress| progress.done < progress.total;
        if !has_work(&status.tables) && !has_work(&status.chunks) {
            self.logged = None;
            return;
        }
        let is_due = self.logged.map_or(true, |logged| now.duration_since(logged) >= LOG);
        if is_due {
            self.logged = Some(now);
            info!("{}", progress_line(status));
        }
    }
}

fn not_saved(error: &StoreError) {
    debug!(
        error = error as &dyn std::error::Error,
        "placement is not written to disk"
    );
}

/// How far repair is, for the log.
pub fn progress_line(status: &RepairStatus) -> String {
    let part = |name: &str, progress: &Progress| {
        let left = match progress.left {
            Some(left) => format!("{} s left", left.as_secs()),
            None => "time left unknown".to_string(),
        };
        let Progress {
            done,
            total,
            per_minute,
            ..
        } = progress;
        format!("{name} {done} of {total} ({per_minute} a minute, {left})")
    };
    format!(
        "Storage repair: {}, {}",
        part("tables", &status.tables),
        part("chunks", &status.chunks)
    )
}
