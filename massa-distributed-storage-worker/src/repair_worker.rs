//! The thread that repairs: it carries out what [`RepairPlan`] decides, fetches chunks that are assigned to this node and
//! not held, hands over what is assigned to others by now, looks for damage in what is held, and announces what was
//! archived. Whenever it has time it places chunks anew for a node set that changed.
//!
//! It reads the store and asks the network; what it obtained it hands to the worker thread, the store's only writer.

use crate::assignments::{Assignments, CATCH_UP_SLICE};
use crate::chunk_repair::{ChunkRepair, ObtainedChunk};
use crate::commands::{ChunkDrop, DistributedStorageCommand};
use crate::handover::{HandOver, HandOverAction, HandOverLimits, HandOverView, KeepClaimed};
use crate::ingest::OpenSegment;
use crate::lost::SegmentBoard;
use crate::refetch::RefetchAction;
use crate::repair::{in_order, RepairAction, RepairLimits, RepairPlan, RepairView};
use crate::round_worker::Lacking;
use crate::segment_repair::{self, SegmentRepair, SegmentView};
use crate::storage_backend::held::PutChunkError;
use crate::storage_backend::Store;
use crate::worker::{ArchiverHandle, WorkerStatus};
use crossbeam_channel::{bounded, never, select, Receiver, Sender};
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::network::{
    Capabilities, Fetch, FetchEvent, FetchPriority, FetchTarget, StorageEvents, StorageNetwork, StoragePeer,
};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, PeriodRoot};
use massa_models::node::NodeId;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// Answers of the network that may wait; what does not fit is asked again.
const ANSWERS_MAX: usize = 1024;
/// News of peers and of the worker that may wait; each is only a hint to look.
const NEWS_MAX: usize = 1024;
/// How often the plan is looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often to look whether the node set changed.
const NODE_SET_INTERVAL: Duration = Duration::from_secs(1);

/// What happened elsewhere.
enum News {
    /// A period was archived here.
    Archived(u64),
    /// A peer says that it holds chunks of a period.
    Announced(u64),
}

/// Where the worker and the storage handler leave their news. Never waits.
#[derive(Clone)]
pub struct RepairNews {
    news: Sender<News>,
}

impl RepairNews {
    /// A period was archived here.
    pub fn archived(&self, period: u64) {
        // Full: the next scan finds what is missing, and peers learn of the period when they ask.
        let _ = self.news.try_send(News::Archived(period));
    }
}

impl StorageEvents for RepairNews {
    fn chunks_announced(&self, from: NodeId, period: u64, root: PeriodRoot, chunk_ids: Vec<ChunkId>) {
        debug!(peer = %from, period, %root, chunks = chunk_ids.len(), "chunks announced");
        let _ = self.news.try_send(News::Announced(period));
    }

    fn peer_changed(&self, node: NodeId, capabilities: Option<Capabilities>) {
        debug!(peer = %node, last_period = ?capabilities.and_then(|said| said.last_period), "storage peer");
    }

    fn peer_gone(&self, node: NodeId) {
        debug!(peer = %node, "storage peer gone");
    }
}

/// The receiving end of [`RepairNews`], for [`start_repair`].
pub struct RepairInbox(Receiver<News>);

/// A queue for news; it exists before the network does.
pub fn repair_news() -> (RepairNews, RepairInbox) {
    let (sender, receiver) = bounded(NEWS_MAX);
    (RepairNews { news: sender }, RepairInbox(receiver))
}

/// What repair is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairStatus {
    /// Periods that are being fetched.
    pub periods: usize,
    /// Questions under way for them.
    pub questions: usize,
    /// Chunks that are being fetched.
    pub chunks_fetching: usize,
    /// Chunks that are assigned to this node and not held.
    pub chunks_wanted: usize,
    /// Chunks found damaged since the start.
    pub chunks_damaged: u64,
    /// Chunks that are held and assigned to others, who did not all confirm yet, as of the last look at all chunks.
    pub chunks_to_hand_over: usize,
    /// Periods that nobody has whole: this node votes for a segment root that has them as lost.
    pub lost_candidates: u64,
    /// The segment that is fetched again because its accepted root is not this node's.
    pub refetching_segment: Option<u64>,
}

/// What repair works with.
pub struct RepairParts {
    /// Read, never written.
    pub store: Arc<Store>,
    /// The worker thread.
    pub worker: ArchiverHandle,
    /// Who holds what.
    pub assignments: Arc<Assignments>,
    /// The storage handler.
    pub network: Arc<dyn StorageNetwork>,
    /// Limits.
    pub limits: RepairLimits,
    /// How long to wait between two chunks that are looked at for damage.
    pub scrub_interval: Duration,
    /// What is kept although it is assigned to others. Whoever makes a claim makes this say so before looking at what is
    /// held.
    pub keep: KeepClaimed,
    /// Where the rounds tell which segment roots are accepted.
    pub segments: Arc<SegmentBoard>,
}

/// Stops repair.
pub struct RepairManager {
    stop: Sender<()>,
    status: Arc<Mutex<RepairStatus>>,
    lacking: Lacking,
    thread: Option<JoinHandle<()>>,
}

impl RepairManager {
    /// What repair is doing.
    pub fn status(&self) -> RepairStatus {
        *self.status.lock()
    }

    /// A way to look at it from elsewhere.
    pub fn status_handle(&self) -> Arc<Mutex<RepairStatus>> {
        Arc::clone(&self.status)
    }

    /// Chunks that this node lacks, kept up to date.
    pub fn lacking(&self) -> Lacking {
        Arc::clone(&self.lacking)
    }

    /// Ends the thread.
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
pub fn start_repair(parts: RepairParts, inbox: RepairInbox) -> RepairManager {
    let (stop, stopped) = bounded(1);
    let (reply, answers) = bounded(ANSWERS_MAX);
    let (dropped, drops) = bounded(1);
    let hand_over = HandOverLimits {
        patience: parts.limits.patience,
        ..HandOverLimits::default()
    };
    let status = Arc::new(Mutex::new(RepairStatus::default()));
    let lacking = Lacking::default();
    let mut repair = Repair {
        plan: RepairPlan::new(parts.store.parameters().clone(), parts.limits),
        chunks: ChunkRepair::new(parts.limits.patience),
        hand_over: HandOver::new(hand_over),
        segments: SegmentRepair::new(Arc::clone(&parts.segments), &parts.store, parts.limits.patience),
        dropped,
        epoch: parts.assignments.epoch(),
        node_set_looked_at: None,
        reply,
        status: Arc::clone(&status),
        lacking: Arc::clone(&lacking),
        scrubbed: Instant::now(),
        peers: Vec::new(),
        open_segment: None,
        parts,
    };
    let thread = std::thread::Builder::new()
        .name("storage-repair".into())
        .spawn(move || repair.run(&stopped, &inbox.0, &answers, &drops))
        .expect("the system can start a thread");
    RepairManager {
        stop,
        status,
        lacking,
        thread: Some(thread),
    }
}

struct Repair {
    parts: RepairParts,
    plan: RepairPlan,
    chunks: ChunkRepair,
    hand_over: HandOver,
    segments: SegmentRepair,
    /// Where the worker tells which chunks it dropped.
    dropped: Sender<Vec<(u64, ChunkIndex)>>,
    /// The placement that chunk repair knows of.
    epoch: u64,
    /// When the node set was looked at and all was placed.
    node_set_looked_at: Option<Instant>,
    reply: Sender<FetchEvent>,
    status: Arc<Mutex<RepairStatus>>,
    lacking: Lacking,
    scrubbed: Instant,
    /// Peers as of the last tick.
    peers: Vec<StoragePeer>,
    /// What the worker told then.
    open_segment: Option<OpenSegment>,
}

impl Repair {
    fn run(
        &mut self,
        stopped: &Receiver<()>,
        news: &Receiver<News>,
        answers: &Receiver<FetchEvent>,
        drops: &Receiver<Vec<(u64, ChunkIndex)>>,
    ) {
        let mut next_tick = Instant::now();
        let mut news = news.clone();
        loop {
            select! {
                recv(stopped) -> _ => return,
                recv(news) -> item => match item {
                    Ok(News::Archived(period)) => self.announce(period),
                    Ok(News::Announced(period)) => self.chunks.look_at(period),
                    // Nobody is left to tell anything.
                    Err(_) => news = never(),
                },
                recv(answers) -> answer => if let Ok(answer) = answer { self.on_answer(answer) },
                recv(drops) -> chunks => if let Ok(chunks) = chunks { self.on_dropped(&chunks) },
                default(TICK) => {}
            }
            if Instant::now() >= next_tick {
                self.tick();
                next_tick = Instant::now() + TICK;
            }
        }
    }

    fn tick(&mut self) {
        self.peers = self.parts.network.peers();
        self.peers.retain(|peer| peer.node != self.parts.assignments.own());
        let now = Instant::now();
        let WorkerStatus {
            missing, open_segment, ..
        } = self.parts.worker.status();
        self.open_segment = open_segment;
        let store = Arc::clone(&self.parts.store);
        // Who had a period whole that is entered as lost told the truth.
        let root_of = move |period| {
            let manifest = store.manifest(period).ok().flatten();
            manifest
                .filter(|manifest| !manifest.is_lost())
                .map(|manifest| manifest.root())
        };
        let actions = self.with_view(now, |plan, view| plan.on_missing(&missing, &root_of, view));
        self.carry_out(actions);
        self.repair_segments(now);
        self.place(now);
        self.repair_chunks(now);
        self.hand_over(now);
        self.scrub(now);
        *self.lacking.lock() = self.chunks.lacking().collect();
        let (periods, questions) = self.plan.under_way();
        let mut status = self.status.lock();
        (status.periods, status.questions) = (periods, questions);
        (status.chunks_fetching, status.chunks_wanted) = self.chunks.counts();
        status.chunks_to_hand_over = self.hand_over.counts().waiting;
        (status.lost_candidates, status.refetching_segment) = self.segments.status();
    }

    /// Segments with lost periods, and those whose accepted root is not this node's.
    fn repair_segments(&mut self, now: Instant) {
        let store = Arc::clone(&self.parts.store);
        if self.segments.take_replaced(&store) {
            self.parts.assignments.place_again();
        }
        let assignments = Arc::clone(&self.parts.assignments);
        let own = assignments.own();
        let holders_of = move |period: u64, chunks: &[_]| other_sources(&assignments, own, period, chunks);
        let actions = self.segments.on_tick(&SegmentView {
            now,
            store: &store,
            open: self.open_segment.as_ref(),
            repair: &self.plan,
            peers: &self.peers,
            holders_of: &holders_of,
        });
        actions.into_iter().for_each(|action| self.carry_out_refetch(action));
    }

    fn carry_out_refetch(&mut self, action: RefetchAction) {
        segment_repair::tell(&action);
        let command = match action {
            RefetchAction::Fetch { id, target, holders } => {
                if !self.ask(id, target, holders) {
                    self.segments.refetch.on_failed(id, Instant::now());
                }
                return;
            }
            RefetchAction::Quarantine { node, reason } => {
                warn!(peer = %node, reason, "peer sent what is false");
                return self.parts.network.quarantine(node, &reason);
            }
            RefetchAction::Found { .. } | RefetchAction::NobodyHas { .. } => return,
            RefetchAction::EnterLost(manifest) => DistributedStorageCommand::EnterLost(manifest),
            RefetchAction::Take { period, root, records } => {
                DistributedStorageCommand::TakePeriod { period, root, records }
            }
        };
        // The worker has stopped: so will this thread.
        let _ = self.parts.worker.send(command);
    }

    fn on_refetch_answer(&mut self, answer: FetchEvent, now: Instant) {
        let refetch = &mut self.segments.refetch;
        match answer {
            FetchEvent::Manifest { id, manifest, .. } => refetch.on_manifest(id, manifest, now),
            FetchEvent::Page { id, from, page } => refetch.on_page(id, from, page, now),
            FetchEvent::Complete { id } => refetch.on_complete(id),
            FetchEvent::Failed { id, attempts } => {
                debug!(id, ?attempts, "not obtained");
                refetch.on_failed(id, now);
            }
            FetchEvent::Held { .. } => {}
        }
    }

    /// Goes on with placing chunks anew if the node set changed.
    fn place(&mut self, now: Instant) {
        let rests = |looked_at| now.duration_since(looked_at) < NODE_SET_INTERVAL;
        if self.node_set_looked_at.is_some_and(rests) {
            return;
        }
        let assignments = &self.parts.assignments;
        let is_done = assignments.catch_up_for(&self.parts.store, CATCH_UP_SLICE);
        self.node_set_looked_at = is_done.then_some(now);
        let epoch = assignments.epoch();
        if epoch != self.epoch {
            info!(
                nodes = assignments.nodes().nodes().len(),
                "node set changed, chunks are placed anew"
            );
            self.epoch = epoch;
            self.chunks.assignments_changed();
        }
    }

    fn hand_over(&mut self, now: Instant) {
        let parts = &self.parts;
        let held = |from, max| {
            let mut found = Vec::new();
            let scan = parts.store.for_each_held(from, |period, chunk| {
                found.push((period, chunk));
                found.len() < max
            });
            if let Err(error) = scan {
                // Found again by the scrub, which has it replaced.
                debug!(error = &error as &dyn std::error::Error, "held chunks not listed");
            }
            found
        };
        let view = HandOverView {
            now,
            epoch: parts.assignments.epoch(),
            peers: &self.peers,
            held: &held,
            assigned: &|period| parts.assignments.settled(period),
            keep: &*parts.keep,
        };
        for action in self.hand_over.on_tick(&view) {
            self.carry_out_hand_over(action);
        }
    }

    fn carry_out_hand_over(&mut self, action: HandOverAction) {
        match action {
            HandOverAction::Ask {
                id,
                node,
                first_period,
                periods,
            } => {
                let fetch = Fetch {
                    id,
                    target: FetchTarget::Held { first_period, periods },
                    holders: vec![node],
                    priority: FetchPriority::Repair,
                    reply: self.reply.clone(),
                };
                if self.parts.network.fetch(fetch).is_err() {
                    self.hand_over.on_failed(id);
                }
            }
            HandOverAction::Drop { chunks, epoch } => {
                let drop = ChunkDrop {
                    chunks,
                    epoch,
                    assignments: Arc::clone(&self.parts.assignments),
                    keep: Arc::clone(&self.parts.keep),
                    done: self.dropped.clone(),
                };
                // The worker has stopped: so will this thread.
                let _ = self.parts.worker.send(DistributedStorageCommand::DropChunks(drop));
            }
        }
    }

    /// The worker dropped chunks that were handed over: gives their space back.
    fn on_dropped(&mut self, chunks: &[(u64, ChunkIndex)]) {
        if let (Some((first, _)), Some((last, _))) = (chunks.first(), chunks.last()) {
            info!(
                chunks = chunks.len(),
                first_period = first,
                last_period = last,
                "chunks handed over"
            );
            if let Err(error) = self.parts.store.return_space_of(*first..=*last) {
                warn!(error = &error as &dyn std::error::Error, "space not returned");
            }
        }
        self.hand_over.on_dropped();
    }

    fn with_view<T>(&mut self, now: Instant, decide: impl FnOnce(&mut RepairPlan, &RepairView<'_>) -> T) -> T {
        let assignments = Arc::clone(&self.parts.assignments);
        let own = assignments.own();
        let holders_of = move |period: u64, chunks: &[_]| other_sources(&assignments, own, period, chunks);
        let view = RepairView {
            now,
            peers: &self.peers,
            holders_of: &holders_of,
        };
        decide(&mut self.plan, &view)
    }

    fn on_answer(&mut self, answer: FetchEvent) {
        let now = Instant::now();
        if self.hand_over.is_asking(event_id(&answer)) {
            match answer {
                FetchEvent::Held { id, from, held } => self.hand_over.on_held(id, from, &held),
                answer => self.hand_over.on_failed(event_id(&answer)),
            }
            return;
        }
        if self.segments.refetch.is_asking(event_id(&answer)) {
            self.on_refetch_answer(answer, now);
            return;
        }
        if self.chunks.is_asking(event_id(&answer)) {
            self.on_chunk_answer(answer, now);
            return;
        }
        let actions = match answer {
            FetchEvent::Manifest { id, from, manifest } => {
                self.with_view(now, |plan, view| plan.on_manifest(id, from, manifest, view))
            }
            FetchEvent::Page { id, from, page } => {
                self.plan.on_page(id, from, page, now);
                Vec::new()
            }
            FetchEvent::Complete { id } => self.with_view(now, |plan, view| plan.on_complete(id, view)),
            FetchEvent::Failed { id, attempts } => {
                debug!(id, ?attempts, "fetch failed");
                let asked: Vec<NodeId> = attempts.into_iter().map(|(node, _)| node).collect();
                self.plan.on_failed(id, &asked, now);
                Vec::new()
            }
            FetchEvent::Held { .. } => Vec::new(),
        };
        self.carry_out(actions);
    }

    fn carry_out(&mut self, actions: Vec<RepairAction>) {
        for action in actions {
            match action {
                RepairAction::Fetch {
                    id,
                    target,
                    holders,
                    priority,
                } => {
                    let fetch = Fetch {
                        id,
                        target,
                        holders,
                        priority,
                        reply: self.reply.clone(),
                    };
                    if self.parts.network.fetch(fetch).is_err() {
                        self.plan.on_not_asked(id, Instant::now());
                    }
                }
                RepairAction::Accept { slot, record } => {
                    debug!(%slot, "block repaired");
                    // The worker has stopped: so will this thread.
                    let _ = self
                        .parts
                        .worker
                        .send(DistributedStorageCommand::ArchiveBlock { slot, record });
                }
                RepairAction::Quarantine { node, reason } => {
                    warn!(peer = %node, reason, "peer sent what is false");
                    self.parts.network.quarantine(node, &reason);
                }
            }
        }
    }

    /// Tells peers which chunks of a period this node holds.
    fn announce(&mut self, period: u64) {
        let held = || -> Option<(PeriodRoot, Vec<ChunkId>)> {
            let manifest = self.parts.store.manifest(period).ok()??;
            let held = self.parts.store.held_chunks(period).ok()?;
            let ids = held.iter().filter_map(|index| manifest.chunks.get(*index as usize));
            Some((manifest.root(), ids.map(|entry| entry.id).collect()))
        };
        if let Some((root, chunk_ids)) = held().filter(|(_, ids)| !ids.is_empty()) {
            // Peers also learn of it when they ask.
            let _ = self.parts.network.announce(period, root, chunk_ids);
        }
        self.chunks.look_at(period);
    }

    fn repair_chunks(&mut self, now: Instant) {
        let assignments = &self.parts.assignments;
        self.chunks.scan(&self.parts.store, assignments, &self.peers, now);
        for (id, target, mut assigned) in self.chunks.due(now) {
            if let FetchTarget::Pages { entry, .. } = &target {
                assigned.extend(assignments.former_holders(&entry.id));
            }
            let mut holders = in_order(&assigned, &self.peers, &BTreeSet::new());
            holders.retain(|node| *node != assignments.own());
            if !self.ask(id, target, holders) {
                self.chunks.on_failed(id, now);
            }
        }
    }

    /// Puts a question to `holders`, in this order. Tells whether the network takes it.
    fn ask(&self, id: u64, target: FetchTarget, holders: Vec<NodeId>) -> bool {
        let fetch = Fetch {
            id,
            target,
            holders,
            priority: FetchPriority::Repair,
            reply: self.reply.clone(),
        };
        self.parts.network.fetch(fetch).is_ok()
    }

    fn on_chunk_answer(&mut self, answer: FetchEvent, now: Instant) {
        match answer {
            FetchEvent::Page { id, from, page } => self.chunks.on_page(id, from, page),
            FetchEvent::Complete { id } => {
                if let Some(chunk) = self.chunks.on_complete(id) {
                    self.store_chunk(chunk, now);
                }
            }
            FetchEvent::Failed { id, attempts } => {
                debug!(id, ?attempts, "chunk not obtained");
                self.chunks.on_failed(id, now);
            }
            FetchEvent::Manifest { .. } | FetchEvent::Held { .. } => {}
        }
    }

    /// Hands a chunk to the worker, unless signatures beside it are false: no tree covers those.
    fn store_chunk(&mut self, obtained: ObtainedChunk, now: Instant) {
        let (period, chunk) = (obtained.period, obtained.chunk);
        match self.parts.store.check_chunk_signatures(period, chunk, &obtained.pages) {
            Ok(_) => {
                // The worker has stopped: so will this thread.
                let _ = self.parts.worker.send(DistributedStorageCommand::PutChunk {
                    period,
                    chunk,
                    entry: obtained.entry,
                    pages: obtained.pages,
                });
            }
            Err(error) => {
                warn!(period, %chunk, error = &error as &dyn std::error::Error, "chunk from peers not stored");
                // Of several senders nobody knows which one lied.
                if let (PutChunkError::Pages { .. }, 1) = (&error, obtained.sources.len()) {
                    for node in obtained.sources {
                        self.parts.network.quarantine(node, &error.to_string());
                    }
                }
                self.chunks.want_again(period, chunk, obtained.entry, now);
            }
        }
    }

    /// Looks at the next held chunk for damage.
    fn scrub(&mut self, now: Instant) {
        if now.duration_since(self.scrubbed) < self.parts.scrub_interval {
            return;
        }
        self.scrubbed = now;
        let Some((period, chunk, entry)) = self.chunks.next_to_scrub(&self.parts.store) else {
            return;
        };
        match self.parts.store.check_chunk(period, chunk) {
            Ok(()) => {}
            Err(crate::storage_backend::read::ReadError::Damaged(damage)) => {
                warn!(period, %chunk, %damage, "damaged chunk is fetched again");
                self.status.lock().chunks_damaged += 1;
                // Storing it again replaces the damaged rows; until then reads refuse them.
                self.chunks.want(period, chunk, entry, now);
            }
            Err(error) => info!(period, %chunk, error = &error as &dyn std::error::Error, "chunk not checked"),
        }
    }
}

/// Whom to ask for each chunk of a period, without this node.
fn other_sources(assignments: &Assignments, own: NodeId, period: u64, chunks: &[ChunkEntry]) -> Vec<Vec<NodeId>> {
    let mut holders = assignments.sources(period, chunks);
    holders.iter_mut().for_each(|nodes| nodes.retain(|node| *node != own));
    holders
}

fn event_id(event: &FetchEvent) -> u64 {
    match event {
        FetchEvent::Manifest { id, .. }
        | FetchEvent::Page { id, .. }
        | FetchEvent::Held { id, .. }
        | FetchEvent::Complete { id }
        | FetchEvent::Failed { id, .. } => *id,
    }
}
