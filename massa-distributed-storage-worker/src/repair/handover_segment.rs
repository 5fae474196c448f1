//! Hand-over: chunks that this node holds and that are not, or no longer, assigned to it.
//!
//! Pure: state, input and time in, actions out. Such a chunk is served as before until every node in [`Assignment::Others`] has
//! said that it holds it; only then it is dropped. That is how a *backup* lets go, too: one of the nodes ranked next behind the
//! holders, which writes a chunk when its segment closes. Held chunks are gone through in archive order, a window at a time, so
//! that what is dropped together lies together on disk. The newest closed segment is left alone: its holders may be writing it
//! just now, and its blocks are still here as rows.
//!
//! # Why no copy is lost while nodes see the node set change at different times
//!
//! An answer to a request for held chunks is a promise: the server lists a chunk only if it is held *and* assigned to
//! the node that answers, in the order "assigned, then held". A node counts only promises that it asked for since its own
//! view last changed (`epoch`), and drops while its view cannot change. So a node that made a promise collects its own
//! promises for that chunk later than that. Of all nodes that dropped a chunk look at the one whose oldest promise is the
//! newest: none of those who gave it its promises can have dropped the chunk since. They are `replication_factor` copies.
//! This needs no common clock, and holds whatever messages are late or lost.
//!
//! Not found out here: a node that says it holds what it does not. Storage proofs and audits do (design, section 8); until
//! then a chunk is one copy short for each such node among its holders.
//!
//! Left out: fetching what is newly assigned, see [`super::chunks`]; what a claim of this node covers, which the
//! caller tells ([`KeepClaimed`]).

use crate::fetch::sources::may_hold;
use crate::fetch::{Asker, RequestIds};
use massa_distributed_storage_exports::network::{StoragePeer, MAX_FETCH_HELD};
use massa_distributed_storage_exports::registry::StorageNode;
use massa_distributed_storage_exports::{ChunkIndex, ChunkPosition};
use massa_models::node::NodeId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Requests under way at a time: each is a few bytes for hundreds of chunks.
const REQUESTS_MAX: usize = 16;
/// Held chunks in a window: bounds what is dropped and merged on disk at a time.
const WINDOW_CHUNKS: usize = 1024;
/// Where a pass begins.
const BEGIN: ChunkPosition = ChunkPosition {
    segment: 0,
    index: ChunkIndex(0),
};
/// Held chunks that are looked at in one tick, looking for a window with something to hand over.
const SCAN_CHUNKS: usize = 4 * WINDOW_CHUNKS;
/// Every so many passes those are asked, too, that seem not to hold all that is assigned to them.
const THOROUGH_PASS: u32 = 4;

/// Tells whether a chunk must be kept although it is not assigned: a claim of this node in an open round covers it, and
/// without it a draw would be missed.
pub type KeepClaimed = Arc<dyn Fn(ChunkPosition) -> bool + Send + Sync>;

/// Keeps nothing that is not assigned.
pub fn keep_no_more() -> KeepClaimed {
    Arc::new(|_| false)
}

/// Who should hold a chunk, as seen by one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Assignment {
    /// This node.
    Own,
    /// Others: each of these has to confirm before this node may drop it. At least `replication_factor` nodes.
    Others(Vec<NodeId>),
    /// Others, but fewer than `replication_factor`: this node keeps what it holds.
    TooFew,
}

impl Assignment {
    /// From the holders that placement found, best first.
    ///
    /// An unfilled holder need not confirm, as long as there are `replication_factor` filled ones: it adds copies and
    /// displaces nobody, so one that never fetches anything must not keep others from dropping. A holder that cannot be asked
    /// confirms nothing: what it may hold is kept here, too.
    pub fn new(holders: &[usize], nodes: &[StorageNode], own: &NodeId, replication_factor: usize) -> Self {
        let holders = || holders.iter().filter_map(|index| nodes.get(*index));
        if holders().any(|node| node.node_id == Some(*own)) {
            return Self::Own;
        }
        let needed = replication_factor.max(1);
        let filled = distinct(holders().filter(|node| node.filled));
        if filled.len() >= needed {
            return Self::Others(filled);
        }
        let all = distinct(holders());
        if all.len() >= needed {
            return Self::Others(all);
        }
        Self::TooFew
    }
}

/// Nodes that can be asked. Two registrations of one node are one copy.
fn distinct<'a>(nodes: impl Iterator<Item = &'a StorageNode>) -> Vec<NodeId> {
    let mut ids: Vec<NodeId> = Vec::new();
    for id in nodes.filter_map(|node| node.node_id) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// How long hand-over waits.
#[derive(Clone, Copy, Debug)]
pub struct HandOverLimits {
    /// For the answers of a window, for a drop, and before chunks that nobody confirmed are looked at again.
    pub patience: Duration,
    /// Between two passes when nothing is left to hand over and the node set did not change.
    pub rest: Duration,
}

impl Default for HandOverLimits {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            rest: Duration::from_secs(600),
        }
    }
}

/// What hand-over can look at.
pub struct HandOverView<'a> {
    /// Now.
    pub now: Instant,
    /// Another number whenever assignments changed.
    pub epoch: u64,
    /// Connected peers that speak storage.
    pub peers: &'a [StoragePeer],
    /// Held chunks from a position on, in archive order, at most so many.
    pub held: &'a dyn Fn(ChunkPosition, usize) -> Vec<ChunkPosition>,
    /// Who should hold a chunk; `None` while that is not settled.
    pub assigned: &'a dyn Fn(ChunkPosition) -> Option<Assignment>,
    /// What is kept although it is not assigned.
    pub keep: &'a dyn Fn(ChunkPosition) -> bool,
    /// The newest closed segment: nothing of it, and of later ones, is dropped.
    pub newest_closed: u64,
}

/// What hand-over asks to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOverAction {
    /// Ask a node which chunks it holds.
    Ask {
        /// Of the request.
        id: u64,
        /// Whom.
        node: NodeId,
        /// The first segment.
        first_segment: u64,
        /// How many.
        count: u32,
    },
    /// Drop these chunks, if [`HandOverView::epoch`] is still `epoch` and no claim covers them; then call
    /// [`HandOver::on_dropped`].
    Drop {
        /// In archive order.
        chunks: Vec<ChunkPosition>,
        /// When they were confirmed.
        epoch: u64,
    },
}

/// What hand-over is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HandOverCounts {
    /// Chunks that are held and not assigned, as of the last whole pass.
    pub waiting: usize,
    /// Of them, chunks that are kept because a claim covers them.
    pub claimed: usize,
}

/// Chunks that are handed over together.
struct Window {
    /// Who did not confirm yet.
    chunks: BTreeMap<ChunkPosition, Vec<NodeId>>,
    /// Of each node that has to confirm, the segments it is asked for.
    to_ask: VecDeque<(NodeId, Range<u64>)>,
    asked: HashMap<u64, NodeId>,
    deadline: Instant,
}

/// What happens next.
enum Step {
    /// Look for a window from this position on.
    Scan(ChunkPosition),
    /// Ask; the scan goes on at this position.
    Confirm(Window, ChunkPosition),
    /// Until a drop is done, or this instant; the scan goes on at this position.
    Dropping(Instant, ChunkPosition),
    /// A pass is over; until this instant.
    Rest(Instant),
}

/// The state of hand-over.
pub struct HandOver {
    limits: HandOverLimits,
    epoch: u64,
    step: Step,
    ids: RequestIds,
    passes: u32,
    /// When a short pass interrupts the rest, and from which segment on: closing left backups there.
    woken: Option<(Instant, u64)>,
    /// Of a short pass: until when the rest lasts that it interrupts.
    rest_after: Option<Instant>,
    /// Of the pass under way, and of the last one.
    counting: HandOverCounts,
    counted: HandOverCounts,
}

impl HandOver {
    /// Nothing looked at yet.
    pub fn new(limits: HandOverLimits) -> Self {
        Self {
            limits,
            epoch: 0,
            step: Step::Scan(BEGIN),
            ids: RequestIds::new(Asker::HandOver),
            passes: 0,
            woken: None,
            rest_after: None,
            counting: HandOverCounts::default(),
            counted: HandOverCounts::default(),
        }
    }

    /// What hand-over is doing.
    pub fn counts(&self) -> HandOverCounts {
        self.counted
    }

    /// Whether a pass is over and nothing is left to hand over but what a claim covers.
    pub fn is_done(&self) -> bool {
        matches!(self.step, Step::Rest(_)) && self.counted.waiting == self.counted.claimed
    }

    /// Goes on: what to do now.
    pub fn on_tick(&mut self, view: &HandOverView<'_>) -> Vec<HandOverAction> {
        if self.epoch != view.epoch {
            // What was promised to an older view counts no longer: see the module.
            self.epoch = view.epoch;
            self.begin_pass();
            self.passes = 0;
        }
        match &mut self.step {
            Step::Rest(until) if view.now >= *until => self.begin_pass(),
            Step::Rest(until) => {
                let until = *until;
                self.wake(view.now, until);
            }
            Step::Dropping(until, next) if view.now >= *until => self.step = Step::Scan(*next),
            Step::Confirm(window, _) if window.is_over(view.now) => return self.close_window(view),
            _ => {}
        }
        if let Step::Scan(from) = self.step {
            self.step = self.scan(from, view);
        }
        match &mut self.step {
            Step::Confirm(window, _) => window.ask(&mut self.ids),
            _ => Vec::new(),
        }
    }

    /// A node says which chunks it holds, and will keep: a bitmap for each segment from `first_segment` on. An answer may come in
    /// parts.
    pub fn on_held(&mut self, id: u64, from: NodeId, first_segment: u64, held: &[Vec<u8>]) {
        let Step::Confirm(window, _) = &mut self.step else {
            return;
        };
        if window.asked.get(&id) != Some(&from) {
            return;
        }
        for (position, missing) in &mut window.chunks {
            let at = position.segment.checked_sub(first_segment);
            let bitmap = at.and_then(|at| held.get(usize::try_from(at).ok()?));
            if bitmap.is_some_and(|bitmap| has_bit(bitmap, position.index.0)) {
                missing.retain(|node| *node != from);
            }
        }
    }

    /// A request is over: answered, not answered, or it could not be sent.
    pub fn on_done(&mut self, id: u64) {
        if let Step::Confirm(window, _) = &mut self.step {
            window.asked.remove(&id);
        }
    }

    /// What [`HandOverAction::Drop`] asked for was done, as far as it could be.
    pub fn on_dropped(&mut self) {
        if let Step::Dropping(_, next) = self.step {
            self.step = Step::Scan(next);
        }
    }

    /// A segment was closed here: what is kept of the one before it until its holders have it may go by now, so it is looked at
    /// soon, and nothing older.
    pub fn on_closed(&mut self, segment: u64, now: Instant) {
        let (at, from) = self.woken.unwrap_or((now + self.limits.patience, segment));
        self.woken = Some((at, from.min(segment.saturating_sub(1))));
    }

    /// Begins a short pass, if it is time.
    fn wake(&mut self, now: Instant, until: Instant) {
        let Some((_, from)) = self.woken.filter(|(at, _)| now >= *at) else {
            return;
        };
        self.begin_pass();
        self.rest_after = Some(until);
        self.step = ChunkPosition::new(from, 0).map_or(Step::Rest(until), Step::Scan);
    }

    fn begin_pass(&mut self) {
        self.woken = None;
        self.rest_after = None;
        self.step = Step::Scan(BEGIN);
        self.counting = HandOverCounts::default();
    }

    /// Looks for the next window with something to hand over.
    fn scan(&mut self, mut from: ChunkPosition, view: &HandOverView<'_>) -> Step {
        for _ in 0..SCAN_CHUNKS / WINDOW_CHUNKS {
            let mut held = (view.held)(from, WINDOW_CHUNKS);
            held.retain(|position| position.segment < view.newest_closed);
            if let Some(first) = held.first().map(|position| position.segment) {
                // What one request can ask for.
                held.retain(|position| position.segment - first < u64::from(MAX_FETCH_HELD));
            }
            let last = held.last().map(|position| position.number());
            let Some(next) = last.and_then(|last| ChunkPosition::from_number(last + 1)) else {
                return self.end_pass(view.now);
            };
            let chunks = self.left_over(&held, view);
            if !chunks.is_empty() {
                let window = self.open_window(chunks, view);
                return Step::Confirm(window, next);
            }
            from = next;
        }
        Step::Scan(from)
    }

    /// Of these held chunks those that others should hold, and that nothing else keeps here.
    fn left_over(&mut self, held: &[ChunkPosition], view: &HandOverView<'_>) -> BTreeMap<ChunkPosition, Vec<NodeId>> {
        let mut found = BTreeMap::new();
        for position in held {
            match (view.assigned)(*position) {
                Some(Assignment::Others(_)) if (view.keep)(*position) => {
                    self.counting.claimed += 1;
                    self.counting.waiting += 1;
                }
                Some(Assignment::Others(nodes)) => {
                    found.insert(*position, nodes);
                }
                Some(Assignment::Own | Assignment::TooFew) | None => {}
            }
        }
        found
    }

    fn open_window(&self, chunks: BTreeMap<ChunkPosition, Vec<NodeId>>, view: &HandOverView<'_>) -> Window {
        let mut segments: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for (position, nodes) in &chunks {
            for node in nodes {
                let of_node = segments.entry(*node).or_default();
                if of_node.last() != Some(&position.segment) {
                    of_node.push(position.segment);
                }
            }
        }
        let thorough = self.passes % THOROUGH_PASS == THOROUGH_PASS - 1;
        let useful = |(node, segments): &(NodeId, Vec<u64>)| thorough || may_hold(view.peers, node, segments);
        let range = |segments: &[u64]| Some(*segments.first()?..*segments.last()? + 1);
        let to_ask = segments.into_iter().filter(useful);
        let to_ask = to_ask.filter_map(|(node, segments)| Some((node, range(&segments)?)));
        Window {
            to_ask: to_ask.collect(),
            chunks,
            asked: HashMap::new(),
            deadline: view.now + self.limits.patience,
        }
    }

    /// Everybody answered, or the time is over: drops what all confirmed.
    fn close_window(&mut self, view: &HandOverView<'_>) -> Vec<HandOverAction> {
        let Step::Confirm(window, next) = std::mem::replace(&mut self.step, Step::Scan(BEGIN)) else {
            return Vec::new();
        };
        let confirmed = window.chunks.iter().filter(|(_, missing)| missing.is_empty());
        let chunks: Vec<ChunkPosition> = confirmed.map(|(position, _)| *position).collect();
        self.counting.waiting += window.chunks.len() - chunks.len();
        if chunks.is_empty() {
            self.step = Step::Scan(next);
            return Vec::new();
        }
        self.step = Step::Dropping(view.now + self.limits.patience, next);
        let epoch = self.epoch;
        vec![HandOverAction::Drop { chunks, epoch }]
    }

    fn end_pass(&mut self, now: Instant) -> Step {
        let rest_after = self.rest_after.take();
        if let Some(until) = rest_after.filter(|_| self.counting.waiting == self.counting.claimed) {
            // What waits elsewhere was counted by the pass before.
            return Step::Rest(until);
        }
        self.counted = self.counting;
        self.passes = self.passes.wrapping_add(1);
        let done = self.counted.waiting == self.counted.claimed;
        let pause = if done { self.limits.rest } else { self.limits.patience };
        Step::Rest(now + pause)
    }
}

impl Window {
    fn is_over(&self, now: Instant) -> bool {
        (self.to_ask.is_empty() && self.asked.is_empty()) || now >= self.deadline
    }

    fn ask(&mut self, ids: &mut RequestIds) -> Vec<HandOverAction> {
        let mut actions = Vec::new();
        while self.asked.len() < REQUESTS_MAX {
            let Some((node, segments)) = self.to_ask.pop_front() else {
                break;
            };
            let id = ids.next_id();
            self.asked.insert(id, node);
            actions.push(HandOverAction::Ask {
                id,
                node,
                first_segment: segments.start,
                // A window is not longer.
                count: (segments.end - segments.start) as u32,
            });
        }
        actions
    }
}

fn has_bit(bitmap: &[u8], bit: u32) -> bool {
    let byte = bitmap.get(bit as usize / 8);
    byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
}
