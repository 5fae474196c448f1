//! Drives the planners of repair: gives them what they look at, carries out what they say, and tells them what came of it.
//!
//! No thread and no clock of its own: whoever owns it calls [`RepairDriver::on_tick`] about every 100 ms, and the other methods
//! as events come. Written to is only through [`RepairWriter`], asked only through [`StorageNetwork`]; the store is read.

mod answers;
mod look;
mod obtained;

use self::look::{unless_damaged, Look};
use self::obtained::blamed;
use super::assigned::SharedAssigned;
use super::chunk_check::check_chunk;
use super::chunks::download::ChunkFetch;
use super::chunks::{ChunkAction, ChunksPlan, ChunksView};
use super::handover_segment::{HandOver, HandOverAction, HandOverLimits, HandOverView, KeepClaimed};
use super::lost_segment::{BlockedSegment, FinalRounds, LossCandidate, LossPlan, LossView};
use super::memory::FetchLimits;
use super::periods::{PeriodAction, PeriodsPlan};
use super::progress::Progress;
use super::refetch_segment::{RefetchAction, RefetchPlan, RefetchView};
use super::scrub::{ScrubLimits, ScrubPlan};
use super::tables::{TableAction, TablesPlan, TablesView};
use super::writing::{NotWritten, RepairWriter, WriteJob, Written};
use crate::archive::missing::Missing;
use crate::fetch::Asker;
use crate::storage_backend::{SegmentStore, StoreError};
use crossbeam_channel::Sender;
use massa_distributed_storage_exports::network::{Fetch, FetchEvent, FetchPriority, FetchTarget, StorageNetwork};
use massa_distributed_storage_exports::registry::NodeSet;
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_models::node::NodeId;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;
use tracing::{debug, info, warn};

/// Hashes, chunks and reads of ids that placing may cost in a tick.
const PLACING_BUDGET: usize = 50_000;
/// Segments whose placement is entered in a tick after the start.
const ENTER_SEGMENTS: usize = 4096;
/// Segments whose chunks are looked at because placing changed them.
const CHANGED_MAX: usize = 1024;

/// Final state, as repair needs it. Cheap: asked every tick.
pub trait RepairRegistry: Send + Sync {
    /// Accepted segment roots.
    fn accepted(&self) -> Arc<BTreeMap<u64, SegmentRoot>>;

    /// The nodes that count now, and how many hold each chunk. The same `Arc` while they are the same.
    fn in_force(&self) -> (Arc<NodeSet>, usize);

    /// The last final period, and the periods of a round; `None` where nothing is voted on.
    fn final_rounds(&self) -> Option<(u64, u64)> {
        None
    }
}

/// Who must know which chunks are held and assigned: the server of peers.
pub trait HeldWatch: Send + Sync {
    /// Other chunks are assigned to this node than before.
    fn assignment_changed(&self);

    /// Chunks of a segment came or went, or others of it are assigned.
    fn held_changed(&self, segment: u64);
}

impl HeldWatch for crate::serve::to_peers::SegmentServer {
    fn assignment_changed(&self) {
        Self::assignment_changed(self);
    }

    fn held_changed(&self, segment: u64) {
        Self::held_changed(self, segment);
    }
}

/// How repair works.
#[derive(Clone)]
pub struct RepairOptions {
    /// Memory and pace of what is fetched.
    pub fetch: FetchLimits,
    /// Pace of hand-over.
    pub hand_over: HandOverLimits,
    /// Pace of looking for damage.
    pub scrub: ScrubLimits,
    /// What is kept although it is not assigned.
    pub keep: KeepClaimed,
}

/// Whom repair works with.
pub struct RepairParts {
    /// This node.
    pub own: NodeId,
    /// What is here.
    pub store: Arc<SegmentStore>,
    /// What is assigned to this node.
    pub assigned: SharedAssigned,
    /// The archive's writer.
    pub writer: Box<dyn RepairWriter>,
    /// The storage handler.
    pub network: Arc<dyn StorageNetwork>,
    /// Final state.
    pub registry: Arc<dyn RepairRegistry>,
    /// The server of peers.
    pub watch: Arc<dyn HeldWatch>,
    /// Where answers go; whoever receives them calls [`RepairDriver::on_event`].
    pub replies: Sender<FetchEvent>,
}

/// What repair is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RepairStatus {
    /// Of segments' tables.
    pub tables: Progress,
    /// Of chunks that are assigned to this node.
    pub chunks: Progress,
    /// Open periods that are being fetched.
    pub periods: usize,
    /// The segment that is being replaced.
    pub replacing: Option<u64>,
    /// Chunks that are held and not assigned.
    pub to_hand_over: usize,
    /// Held chunks that were found damaged since the start.
    pub damaged: u64,
}

/// What a planner wants done.
enum Action {
    Table(TableAction),
    Period(PeriodAction),
    Chunk(ChunkAction),
    Refetch(RefetchAction),
    HandOver(HandOverAction),
}

/// See the module.
pub struct RepairDriver {
    look: Look,
    tables: TablesPlan,
    periods: PeriodsPlan,
    chunks: ChunksPlan,
    refetch: RefetchPlan,
    hand_over: HandOver,
    scrub: ScrubPlan,
    loss: LossPlan,
    candidate: Option<LossCandidate>,
    /// The segment whose candidate's root was asked of the writer, and the root.
    candidate_root: Option<(u64, Option<SegmentRoot>)>,
    /// The first segment that placing was not told of.
    entered: u64,
    /// Tables are missing, as of the last tick.
    is_behind: bool,
    /// Held chunks that were found damaged.
    damaged: u64,
    keep: KeepClaimed,
    writer: Box<dyn RepairWriter>,
    network: Arc<dyn StorageNetwork>,
    registry: Arc<dyn RepairRegistry>,
    watch: Arc<dyn HeldWatch>,
    replies: Sender<FetchEvent>,
    actions: VecDeque<Action>,
}

impl RepairDriver {
    /// Nothing looked at yet.
    pub fn new(parts: RepairParts, options: RepairOptions, now: Instant) -> Self {
        let parameters = parts.store.parameters().clone();
        Self {
            tables: TablesPlan::new(parameters.clone(), options.fetch.tables),
            periods: PeriodsPlan::new(parameters.clone(), options.fetch.periods),
            chunks: ChunksPlan::new(&parameters, options.fetch.chunks),
            refetch: RefetchPlan::new(parameters.clone(), options.fetch.refetch),
            hand_over: HandOver::new(options.hand_over),
            scrub: ScrubPlan::new(options.scrub, now),
            loss: LossPlan::new(&parameters),
            candidate: None,
            candidate_root: None,
            entered: parameters.first_segment(),
            is_behind: true,
            damaged: 0,
            keep: options.keep,
            look: Look {
                store: parts.store,
                assigned: parts.assigned,
                own: parts.own,
                accepted: Arc::default(),
                peers: Vec::new(),
                missing: Arc::new(Missing::default()),
                open: BTreeSet::new(),
            },
            writer: parts.writer,
            network: parts.network,
            registry: parts.registry,
            watch: parts.watch,
            replies: parts.replies,
            actions: VecDeque::new(),
        }
    }

    /// Goes on with everything. Called about every 100 ms.
    pub fn on_tick(&mut self, now: Instant) {
        self.look_around();
        self.place();
        self.tick_tables(now);
        self.tick_periods(now);
        self.tick_loss(now);
        self.tick_refetch(now);
        self.tick_chunks(now);
        self.tick_hand_over(now);
        self.tick_scrub(now);
        self.act(now);
    }

    fn look_around(&mut self) {
        let own = self.look.own;
        self.look.peers = self.network.peers();
        self.look.peers.retain(|peer| peer.node != own);
        self.look.accepted = self.registry.accepted();
        self.look.missing = self.writer.missing();
        let open = self.look.store.open_segments();
        self.look.open = open.into_iter().map(|open| open.segment).collect();
    }

    /// Brings placement on, and tells of segments where other chunks are this node's now.
    fn place(&mut self) {
        self.enter_segments();
        let (nodes, factor) = self.registry.in_force();
        let store = &self.look.store;
        let ids = |segment| unless_damaged(store.table(segment)).map(|table| table.chunk_ids().to_vec());
        let mut assigned = self.look.assigned.write();
        let before = assigned.epoch();
        if !assigned.has_nodes(&nodes, factor) {
            assigned.set_nodes(nodes, factor);
        }
        let has_other_nodes = assigned.epoch() != before;
        assigned.placement_mut().step(PLACING_BUDGET, &ids);
        let changed = assigned.placement_mut().take_changed(CHANGED_MAX);
        // The server asks what is assigned while it is locked itself: it is told without this lock.
        drop(assigned);
        if has_other_nodes {
            self.chunks.assignments_changed();
            self.watch.assignment_changed();
        }
        for segment in changed {
            self.chunks.look_at(segment);
            self.watch.held_changed(segment);
        }
    }

    /// After the start: tells placement of the segments that are here.
    fn enter_segments(&mut self) {
        let segments = unless_damaged(self.look.store.segments(self.entered, ENTER_SEGMENTS));
        let mut assigned = self.look.assigned.write();
        if let Some(last) = segments.iter().rev().find(|info| info.root.is_some()) {
            assigned.placement_mut().end_segment(last.segment);
        }
        for info in segments.iter().filter(|info| info.root.is_some()) {
            self.entered = info.segment + 1;
            // What was restored from disk stays as it is placed.
            if assigned.placement().body_bytes(info.segment) != Some(info.body_bytes) {
                put_segment(&mut assigned, info.segment, info.body_bytes);
            }
        }
    }

    fn tick_tables(&mut self, now: Instant) {
        let actions = self.with_tables(now, TablesPlan::on_tick);
        self.push(actions, Action::Table);
        let progress = self.with_tables(now, |tables, view| tables.progress(view));
        let is_behind = progress.done < progress.total;
        if self.is_behind && !is_behind {
            self.chunks.assignments_changed();
        }
        self.is_behind = is_behind;
    }

    fn with_tables<T>(&mut self, now: Instant, act: impl FnOnce(&mut TablesPlan, &TablesView<'_>) -> T) -> T {
        let look = &self.look;
        let here = |segment| look.here(segment);
        let view = TablesView {
            now,
            peers: &look.peers,
            accepted: &look.accepted,
            first_segment: look.first_segment(),
            here: &here,
        };
        act(&mut self.tables, &view)
    }

    fn tick_periods(&mut self, now: Instant) {
        let missing = self.look.open_periods();
        let periods = &mut self.periods;
        let actions = self
            .look
            .with_periods_view(now, |view| periods.on_missing(&missing, view));
        self.push(actions, Action::Period);
    }

    /// Decides whether the segment that keeps others waiting has lost periods.
    fn tick_loss(&mut self, now: Instant) {
        let Some((period, round_periods)) = self.registry.final_rounds() else {
            return;
        };
        let blocked = self.writer.open_segment().map(|open| BlockedSegment {
            segment: open.segment,
            periods: open.periods,
        });
        let (periods, peers) = (&self.periods, &self.look.peers);
        let no_holder_since = |period: u64, ids: &[_], since| periods.no_holder_since(period, ids, since, peers);
        let decided = self.loss.decide(&LossView {
            now,
            rounds: FinalRounds {
                period,
                round_periods,
                accepted: &self.look.accepted,
            },
            blocked: blocked.as_ref(),
            no_holder_since: &no_holder_since,
        });
        let Ok(candidate) = decided else { return };
        if self.candidate.as_ref() != Some(&candidate) {
            let (segment, lost) = (candidate.segment, candidate.lost.clone());
            info!(segment, periods = lost.len(), "nobody has what is missing of a segment");
            self.candidate_root = Some((segment, None));
            self.candidate = Some(candidate);
            self.write(WriteJob::RootWithLost { segment, lost }, now);
        }
    }

    /// What this node would vote for a segment that nobody can complete, and its root.
    pub fn candidate(&self) -> Option<(&LossCandidate, SegmentRoot)> {
        let candidate = self.candidate.as_ref()?;
        let (segment, root) = self.candidate_root?;
        Some((candidate, root.filter(|_| segment == candidate.segment)?))
    }

    fn tick_refetch(&mut self, now: Instant) {
        let actions = self.with_refetch(now, RefetchPlan::on_tick);
        self.push(actions, Action::Refetch);
    }

    fn with_refetch<T>(&mut self, now: Instant, act: impl FnOnce(&mut RefetchPlan, &RefetchView<'_>) -> T) -> T {
        let look = &self.look;
        let first = self.tables.differing().first_key_value();
        let candidate_root = self.candidate_root;
        let here = |segment| look.here(segment);
        let is_candidate = |segment, root| candidate_root == Some((segment, Some(root)));
        let lacking = |table: &_| look.lacking_in(table);
        let view = RefetchView {
            now,
            peers: &look.peers,
            wanted: first.map(|(segment, root)| (*segment, *root)),
            here: &here,
            is_candidate: &is_candidate,
            lacking: &lacking,
        };
        act(&mut self.refetch, &view)
    }

    fn tick_chunks(&mut self, now: Instant) {
        let actions = self.with_chunks(now, ChunksPlan::on_tick);
        self.push(actions, Action::Chunk);
    }

    fn with_chunks<T>(&mut self, now: Instant, act: impl FnOnce(&mut ChunksPlan, &ChunksView<'_>) -> T) -> T {
        let look = &self.look;
        let assigned = look.assigned.read().placement().own_share().0 as u64;
        let lacks = self.chunks.lacking().count() as u64;
        let lacking = |below| look.lacking(below);
        let lacking_of = |segment| look.lacking_of(segment);
        let view = ChunksView {
            now,
            peers: &look.peers,
            lacking: &lacking,
            lacking_of: &lacking_of,
            assigned,
            held: assigned.saturating_sub(lacks),
        };
        act(&mut self.chunks, &view)
    }

    fn tick_hand_over(&mut self, now: Instant) {
        let look = &self.look;
        let assigned = look.assigned.read();
        let held = |from, max| look.held_from(from, max);
        let assigned_to = |position| assigned.of(position);
        let keep = |position| (self.keep)(position);
        let actions = self.hand_over.on_tick(&HandOverView {
            now,
            epoch: assigned.epoch(),
            peers: &look.peers,
            held: &held,
            assigned: &assigned_to,
            keep: &keep,
            newest_closed: unless_damaged(look.store.last_segment()).unwrap_or(0),
        });
        drop(assigned);
        self.push(actions, Action::HandOver);
    }

    /// Looks at the next held chunk, if it is time for one.
    fn tick_scrub(&mut self, now: Instant) {
        let store = &self.look.store;
        let held = unless_damaged(store.counters()).chunks_held;
        let is_fetching = self.chunks.counts().0 > 0;
        let pause = self.scrub.pause(held, store.parameters().chunk_size, is_fetching);
        let next_held = |after: Option<ChunkPosition>| {
            let from = match after {
                Some(after) => ChunkPosition::from_number(after.number() + 1)?,
                None => ChunkPosition::from_number(0)?,
            };
            unless_damaged(store.next_held(from))
        };
        let Some(position) = self.scrub.due(now, pause, &next_held) else {
            return;
        };
        self.on_damaged(position, now);
    }

    /// Something of a segment may be had now, or is missing: it is looked at again.
    pub fn look_at(&mut self, segment: u64) {
        self.chunks.look_at(segment);
    }

    /// Everything is looked at again: some of what happened was not told.
    pub fn look_at_all(&mut self) {
        self.chunks.assignments_changed();
        self.watch.assignment_changed();
    }

    /// Chunks that somebody found damaged since the last call.
    pub fn take_damaged(&self) -> BTreeSet<ChunkPosition> {
        self.look.store.take_damaged()
    }

    /// A held chunk was found damaged when it was read: it is dropped, and fetched again.
    pub fn on_damaged(&mut self, position: ChunkPosition, now: Instant) {
        if let Err(StoreError::Damaged(damage)) = self.look.store.check_chunk(position) {
            warn!(%position, ?damage, "a held chunk is damaged: it is fetched again");
            self.damaged += 1;
            self.write(WriteJob::DropDamaged(position), now);
        }
    }

    /// What repair is doing.
    pub fn status(&mut self, now: Instant) -> RepairStatus {
        RepairStatus {
            tables: self.with_tables(now, |tables, view| tables.progress(view)),
            chunks: self.with_chunks(now, |chunks, view| chunks.progress(view)),
            periods: self.periods.under_way().0,
            replacing: self.refetch.segment(),
            to_hand_over: self.hand_over.counts().waiting,
            damaged: self.damaged,
        }
    }

    fn push<T>(&mut self, actions: Vec<T>, action: impl Fn(T) -> Action) {
        self.actions.extend(actions.into_iter().map(action));
    }

    /// Carries out what planners said, and what follows from it.
    fn act(&mut self, now: Instant) {
        while let Some(action) = self.actions.pop_front() {
            match action {
                Action::Table(action) => self.act_table(action, now),
                Action::Period(action) => self.act_period(action, now),
                Action::Chunk(action) => self.act_chunk(action, now),
                Action::Refetch(action) => self.act_refetch(action, now),
                Action::HandOver(action) => self.act_hand_over(action, now),
            }
        }
    }

    fn act_table(&mut self, action: TableAction, now: Instant) {
        match action {
            TableAction::Fetch { id, target, holders } => self.fetch(ChunkFetch { id, target, holders }, now),
            TableAction::Put(tables) => self.write(WriteJob::Tables(tables), now),
            TableAction::Quarantine { node, reason } => self.quarantine(node, &reason),
        }
    }

    fn act_period(&mut self, action: PeriodAction, now: Instant) {
        match action {
            PeriodAction::Fetch { id, target, holders } => self.fetch(ChunkFetch { id, target, holders }, now),
            PeriodAction::Accept { record, .. } => self.write(WriteJob::Block(record), now),
            PeriodAction::TakeEntries { from, entries } => self.write(WriteJob::Entries { from, entries }, now),
            PeriodAction::Quarantine { node, reason } => self.quarantine(node, &reason),
        }
    }

    fn act_chunk(&mut self, action: ChunkAction, now: Instant) {
        match action {
            ChunkAction::Fetch(fetch) => self.fetch(fetch, now),
            ChunkAction::Store(chunk) => self.store_chunk(&chunk, now),
            ChunkAction::Quarantine { node, reason } => self.quarantine(node, &reason),
        }
    }

    fn act_refetch(&mut self, action: RefetchAction, now: Instant) {
        match action {
            RefetchAction::Fetch(fetch) => self.fetch(fetch, now),
            RefetchAction::EnterCandidate { segment, .. } => {
                let candidate = self.candidate.as_ref().filter(|candidate| candidate.segment == segment);
                let entries = candidate.map(|candidate| candidate.lost.clone()).unwrap_or_default();
                self.write(WriteJob::Lost { segment, entries }, now);
            }
            RefetchAction::Replace { table, chunks } => {
                let checked = chunks.iter().filter_map(|chunk| match check_chunk(&table, chunk) {
                    Ok(checked) => Some(checked),
                    Err(found) => {
                        self.blame(&blamed(chunk, found));
                        None
                    }
                });
                let chunks = checked.collect();
                self.write(WriteJob::Replace { table, chunks }, now);
            }
            RefetchAction::Quarantine { node, reason } => self.quarantine(node, &reason),
            RefetchAction::NobodyHas { segment, wait } => {
                debug!(segment, ?wait, "nobody sent the accepted table of a segment");
            }
        }
    }

    fn act_hand_over(&mut self, action: HandOverAction, now: Instant) {
        match action {
            HandOverAction::Ask {
                id,
                node,
                first_segment,
                count,
            } => {
                let (target, holders) = (FetchTarget::Held { first_segment, count }, vec![node]);
                self.fetch(ChunkFetch { id, target, holders }, now);
            }
            HandOverAction::Drop { chunks, epoch } => self.write(WriteJob::Drop { chunks, epoch }, now),
        }
    }

    fn quarantine(&mut self, node: NodeId, reason: &str) {
        warn!(%node, reason, "a peer sent what is false");
        self.network.quarantine(node, reason);
        for peer in &mut self.look.peers {
            peer.quarantined |= peer.node == node;
        }
    }

    fn fetch(&mut self, fetch: ChunkFetch, now: Instant) {
        let id = fetch.id;
        let asked = self.network.fetch(Fetch {
            id,
            target: fetch.target,
            holders: fetch.holders,
            priority: FetchPriority::Repair,
            reply: self.replies.clone(),
        });
        if asked.is_err() {
            self.not_asked(id, now);
        }
    }

    /// The network has too much to do: later again.
    fn not_asked(&mut self, id: u64, now: Instant) {
        match Asker::of(id) {
            Some(Asker::Periods) => self.periods.on_not_asked(id, now),
            Some(Asker::Tables) => self.tables.on_failed(id, now),
            Some(Asker::Chunks) => {
                let actions = self.chunks.on_failed(id, &[], now);
                self.push(actions, Action::Chunk);
            }
            Some(Asker::Refetch | Asker::RefetchChunks) => {
                let actions = self.refetch.on_failed(id, &[], now);
                self.push(actions, Action::Refetch);
            }
            Some(Asker::HandOver) => self.hand_over.on_done(id),
            None => {}
        }
    }

    fn write(&mut self, job: WriteJob, now: Instant) {
        if let Err(job) = self.writer.write(job) {
            self.note_written(job.refused("the writer has too much to do"), now);
        }
    }
}

fn put_segment(assigned: &mut super::assigned::Assigned, segment: u64, body_bytes: u64) {
    if let Err(error) = assigned.placement_mut().put_segment(segment, body_bytes) {
        warn!(
            segment,
            error = &error as &dyn std::error::Error,
            "a segment cannot be placed"
        );
    }
}
