//! A segment whose true root is not this node's: its table and the chunks assigned here are fetched, then it is replaced at
//! once.
//!
//! Pure: state, input and time in, actions out. The true root is an accepted one, or follows from one ([`super::tables`]). What
//! this node would give the segment itself, with lost periods, is compared first: then nothing is fetched. Else the table is
//! asked of one peer after another; who sends one with another root is to blame, as the root was known before. Chunks that this
//! node holds with the same id are kept, the others are fetched, as many as memory takes; whatever is left is missing after the
//! replacement like any other chunk. One segment at a time: later ones name its root.
//!
//! A segment that is merely open here is waited for first: blocks go on being fetched, and with the last of them it needs no
//! table, and no chunk of others.

use super::chunks::download::{ChunkFetch, Downloads, ObtainedChunk, Outcome, WantedChunk};
use super::tables::Here;
use crate::fetch::sources::may_have_table;
use crate::fetch::window::WindowLimits;
use crate::fetch::{Asker, RequestIds};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{FetchFailure, FetchTarget, StoragePeer, VerifiedPage};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition, SegmentRoot};
use massa_models::node::NodeId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// A segment that is open here is asked for after so many times the patience: until then its blocks may complete it. A block that
/// somebody has comes within one; a second is for what was lost on the way, the third for peers that connect.
const OPEN_PATIENCE: u32 = 3;
/// The wait after nobody had the table doubles so often at most.
const DOUBLINGS_MAX: u32 = 6;

/// Limits of fetching a segment again.
#[derive(Clone, Copy, Debug)]
pub struct RefetchLimits {
    /// Memory of the chunks that are replaced at once, in bytes.
    pub bytes: u64,
    /// Who does not answer in this time is passed over.
    pub patience: Duration,
    /// Windows of peers.
    pub windows: WindowLimits,
}

impl Default for RefetchLimits {
    fn default() -> Self {
        Self {
            bytes: 64 << 20,
            patience: Duration::from_secs(20),
            windows: WindowLimits::default(),
        }
    }
}

/// What the plan can look at.
pub struct RefetchView<'a> {
    /// Now.
    pub now: Instant,
    /// Connected peers that speak storage.
    pub peers: &'a [StoragePeer],
    /// The first segment that is not as it should be, and its true root ([`super::tables::TablesPlan::differing`]).
    pub wanted: Option<(u64, SegmentRoot)>,
    /// What is here of a segment.
    pub here: &'a dyn Fn(u64) -> Here,
    /// Whether this node's candidate for a segment, with lost periods, has this root.
    pub is_candidate: &'a dyn Fn(u64, SegmentRoot) -> bool,
    /// Chunks of a table that are assigned to this node and not held with the same id.
    pub lacking: &'a dyn Fn(&SegmentTable) -> Vec<WantedChunk>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum RefetchAction {
    /// Ask for something.
    Fetch(ChunkFetch),
    /// This node's candidate is the accepted one: close the segment with its lost periods, then call
    /// [`RefetchPlan::on_replaced`].
    EnterCandidate {
        /// The segment.
        segment: u64,
        /// Its root.
        root: SegmentRoot,
    },
    /// Check signatures and entries of the chunks, leaving out those that are false; make table and chunks current in one batch
    /// and delete what was here otherwise; then call [`RefetchPlan::on_replaced`].
    Replace {
        /// The true table.
        table: Box<SegmentTable>,
        /// Chunks that are assigned to this node.
        chunks: Vec<ObtainedChunk>,
    },
    /// This node sent what is proven wrong.
    Quarantine {
        /// Who.
        node: NodeId,
        /// What was wrong.
        reason: String,
    },
    /// No peer sent the table; it is asked for again after a while.
    NobodyHas {
        /// The segment.
        segment: u64,
        /// How long the wait is.
        wait: Duration,
    },
}

/// Where the work is.
enum Stage {
    /// Until then the segment may become what it should be by itself.
    Waiting(Instant),
    /// The table is asked of a peer, until then.
    Asking { id: u64, until: Instant },
    /// The table is here.
    Chunks(Box<Chunks>),
    /// It was handed over then.
    Replacing(Instant),
}

struct Chunks {
    table: SegmentTable,
    wanted: Vec<WantedChunk>,
    obtained: Vec<ObtainedChunk>,
    /// When something of them arrived last.
    last_progress: Instant,
}

struct Job {
    segment: u64,
    root: SegmentRoot,
    stage: Stage,
    asked: BTreeSet<NodeId>,
    /// How often nobody had the table.
    failures: u32,
}

/// The state of fetching a segment again.
pub struct RefetchPlan {
    parameters: ArchiveParameters,
    limits: RefetchLimits,
    ids: RequestIds,
    downloads: Downloads,
    job: Option<Job>,
}

impl RefetchPlan {
    /// Nothing to fetch.
    pub fn new(parameters: ArchiveParameters, limits: RefetchLimits) -> Self {
        Self {
            downloads: Downloads::new(Asker::RefetchChunks, parameters.chain_id, limits.bytes, limits.windows),
            ids: RequestIds::new(Asker::Refetch),
            parameters,
            limits,
            job: None,
        }
    }

    /// The segment that is fetched.
    pub fn segment(&self) -> Option<u64> {
        self.job.as_ref().map(|job| job.segment)
    }

    /// Memory of its chunks, in bytes.
    pub fn memory(&self) -> u64 {
        self.downloads.reserved()
    }

    /// Goes on.
    pub fn on_tick(&mut self, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let same = |job: &Job| view.wanted == Some((job.segment, job.root));
        if !self.job.as_ref().is_some_and(same) {
            self.downloads.clear();
            self.job = view.wanted.map(|(segment, root)| self.new_job(segment, root, view));
        }
        let Some(mut job) = self.job.take() else {
            return Vec::new();
        };
        let actions = self.advance(&mut job, view);
        self.job = Some(job);
        actions
    }

    fn new_job(&self, segment: u64, root: SegmentRoot, view: &RefetchView<'_>) -> Job {
        let wait = match (view.here)(segment) {
            Here::Open => self.limits.patience * OPEN_PATIENCE,
            Here::Nothing | Here::Table { .. } => Duration::ZERO,
        };
        Job {
            segment,
            root,
            stage: Stage::Waiting(view.now + wait),
            asked: BTreeSet::new(),
            failures: 0,
        }
    }

    fn advance(&mut self, job: &mut Job, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let (segment, root) = (job.segment, job.root);
        let expired = |since: Instant| view.now.duration_since(since) > self.limits.patience * 2;
        match &mut job.stage {
            Stage::Waiting(_) | Stage::Asking { .. } if (view.is_candidate)(segment, root) => {
                job.stage = Stage::Replacing(view.now);
                vec![RefetchAction::EnterCandidate { segment, root }]
            }
            Stage::Waiting(until) if view.now >= *until => self.next_peer(job, view),
            Stage::Asking { until, .. } if view.now >= *until => self.next_peer(job, view),
            Stage::Chunks(_) => self.fetch_chunks(job, view),
            Stage::Replacing(since) if expired(*since) => {
                // It was not written.
                self.downloads.clear();
                job.stage = Stage::Waiting(view.now);
                Vec::new()
            }
            Stage::Waiting(_) | Stage::Asking { .. } | Stage::Replacing(_) => Vec::new(),
        }
    }

    /// Asks the next peer for the table, or waits if all were asked.
    fn next_peer(&mut self, job: &mut Job, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let segment = job.segment;
        let may_have = |peer: &&StoragePeer| may_have_table(peer, &self.parameters, segment);
        let mut peers = view.peers.iter().filter(may_have).map(|peer| peer.node);
        let Some(peer) = peers.find(|node| !job.asked.contains(node)) else {
            let wait = self.limits.patience * 2u32.pow(job.failures.min(DOUBLINGS_MAX));
            job.failures = job.failures.saturating_add(1);
            job.asked.clear();
            job.stage = Stage::Waiting(view.now + wait);
            return vec![RefetchAction::NobodyHas { segment, wait }];
        };
        job.asked.insert(peer);
        let id = self.ids.next_id();
        let until = view.now + self.limits.patience * 2;
        job.stage = Stage::Asking { id, until };
        let target = FetchTarget::Tables {
            first_segment: segment,
            count: 1,
        };
        let holders = vec![peer];
        vec![RefetchAction::Fetch(ChunkFetch { id, target, holders })]
    }

    /// A table arrived.
    pub fn on_tables(
        &mut self,
        id: u64,
        from: NodeId,
        tables: Vec<SegmentTable>,
        view: &RefetchView<'_>,
    ) -> Vec<RefetchAction> {
        let Some(mut job) = self.job.take() else {
            return Vec::new();
        };
        let is_asked = matches!(&job.stage, Stage::Asking { id: asked, .. } if *asked == id);
        let table = tables.into_iter().next().filter(|_| is_asked);
        let actions = table.map_or_else(Vec::new, |table| self.look_at(&mut job, from, table, view));
        self.job = Some(job);
        actions
    }

    fn look_at(
        &mut self,
        job: &mut Job,
        from: NodeId,
        table: SegmentTable,
        view: &RefetchView<'_>,
    ) -> Vec<RefetchAction> {
        let found = table.root();
        if found != job.root || table.check_network(&self.parameters, job.segment).is_err() {
            let (segment, root) = (job.segment, job.root);
            let reason = format!("table of segment {segment} has root {found}, not {root}");
            let mut actions = vec![RefetchAction::Quarantine { node: from, reason }];
            actions.extend(self.next_peer(job, view));
            return actions;
        }
        let wanted = (view.lacking)(&table);
        job.stage = Stage::Chunks(Box::new(Chunks {
            table,
            wanted,
            obtained: Vec::new(),
            last_progress: view.now,
        }));
        self.fetch_chunks(job, view)
    }

    /// Fetches what memory takes, then replaces.
    fn fetch_chunks(&mut self, job: &mut Job, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let outcome = self.downloads.on_tick(view.now);
        let mut actions = self.take_in(job, outcome, view.now);
        let Stage::Chunks(chunks) = &mut job.stage else {
            return actions;
        };
        let fetches = self.downloads.ask(view.peers, view.now);
        actions.extend(fetches.into_iter().map(RefetchAction::Fetch));
        let mut waiting = Vec::new();
        for wanted in std::mem::take(&mut chunks.wanted) {
            if !self.downloads.has_memory(&wanted.chunk) {
                // It is fetched after the replacement.
                continue;
            }
            let started = self.downloads.start(wanted.clone(), view.peers, view.now);
            if started.is_empty() {
                waiting.push(wanted);
            }
            actions.extend(started.into_iter().map(RefetchAction::Fetch));
        }
        chunks.wanted = waiting;
        // What nobody sends keeps nothing waiting for ever.
        let stuck = view.now.duration_since(chunks.last_progress) > self.limits.patience * 2;
        if (chunks.wanted.is_empty() && self.downloads.len() == 0) || stuck {
            let table = Box::new(chunks.table.clone());
            let chunks = std::mem::take(&mut chunks.obtained);
            job.stage = Stage::Replacing(view.now);
            self.downloads.stop();
            actions.push(RefetchAction::Replace { table, chunks });
        }
        actions
    }

    fn take_in(&mut self, job: &mut Job, outcome: Outcome, now: Instant) -> Vec<RefetchAction> {
        if let Stage::Chunks(chunks) = &mut job.stage {
            if !outcome.obtained.is_empty() {
                chunks.last_progress = now;
            }
            chunks.obtained.extend(outcome.obtained);
            // Those that nobody sent are missing afterwards.
        }
        let quarantine = |(node, reason)| RefetchAction::Quarantine { node, reason };
        outcome.liars.into_iter().map(quarantine).collect()
    }

    fn take_outcome(&mut self, outcome: Outcome, now: Instant) -> Vec<RefetchAction> {
        let Some(mut job) = self.job.take() else {
            return Vec::new();
        };
        let actions = self.take_in(&mut job, outcome, now);
        self.job = Some(job);
        actions
    }

    /// A page of a chunk arrived.
    pub fn on_page(&mut self, id: u64, from: NodeId, page: VerifiedPage, now: Instant) {
        self.downloads.on_page(id, from, page, now);
        if let Some(Job {
            stage: Stage::Chunks(chunks),
            ..
        }) = &mut self.job
        {
            chunks.last_progress = now;
        }
    }

    /// Entries arrived.
    pub fn on_entries(&mut self, id: u64, from: NodeId, entries: Vec<PeriodEntry>, now: Instant) -> Vec<RefetchAction> {
        let outcome = self.downloads.on_entries(id, from, entries, now);
        self.take_outcome(outcome, now)
    }

    /// Everything of a request was answered. What follows from it the next tick does.
    pub fn on_complete(&mut self, id: u64, now: Instant) -> Vec<RefetchAction> {
        let outcome = self.downloads.on_complete(id);
        self.take_outcome(outcome, now)
    }

    /// A request failed, or could not be sent.
    pub fn on_failed(&mut self, id: u64, attempts: &[(NodeId, FetchFailure)], now: Instant) -> Vec<RefetchAction> {
        if let Some(Job {
            stage: Stage::Asking { id: asked, until },
            ..
        }) = &mut self.job
        {
            if *asked == id {
                // Not before the next tick, so that a busy network is not asked in a circle.
                *until = now;
            }
        }
        let outcome = self.downloads.on_failed(id, attempts, now);
        self.take_outcome(outcome, now)
    }

    /// The segment is as it should be, or could not be written.
    pub fn on_replaced(&mut self, segment: u64) {
        if self.segment() == Some(segment) {
            self.job = None;
            self.downloads.clear();
        }
    }

    /// Chunks whose memory is held until the segment is replaced.
    pub fn positions(&self) -> impl Iterator<Item = ChunkPosition> + '_ {
        self.downloads.positions()
    }
}
