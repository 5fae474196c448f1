//! Hand-over: chunks that this node holds and that are no longer assigned to it.
//!
//! Pure: state, input and time in, actions out; [`crate::repair_worker`] does what they say. Such a chunk is served as
//! before until every node in [`Assignment::Others`] has said that it holds it; only then it is dropped. Held chunks are
//! gone through in archive order, a window at a time, so that what is dropped together lies together on disk.
//!
//! # Why no copy is lost while nodes see the node set change at different times
//!
//! An answer to a question for held chunks is a promise: [`crate::server`] lists a chunk only if it is held *and* assigned to
//! the node that answers, in the order "assigned, then held". A node counts only promises that it asked for since its own
//! view last changed (`epoch`), and drops while its view cannot change. So a node that made a promise collects its own
//! promises for that chunk later than that. Of all nodes that dropped a chunk look at the one whose oldest promise is the
//! newest: none of those who gave it its promises can have dropped the chunk since. They are `replication_factor` copies.
//! This needs no common clock, and holds whatever messages are late or lost.
//!
//! Not found out here: a node that says it holds what it does not. Storage proofs and audits do (design, section 8); until
//! then a chunk is one copy short for each such node among its holders.
//!
//! Left out: fetching what is newly assigned, see [`crate::chunk_repair`]; what a claim of this node covers, which the
//! caller tells ([`KeepClaimed`]).

use massa_distributed_storage_exports::network::{StoragePeer, MAX_HELD_PERIODS, MAX_HELD_RANGES};
use massa_distributed_storage_exports::registry::StorageNode;
use massa_distributed_storage_exports::ChunkIndex;
use massa_models::node::NodeId;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Questions of hand-over have these numbers and those above.
const FIRST_ID: u64 = 1 << 63;
/// Questions under way at a time.
const QUESTIONS_MAX: usize = 4;
/// Held chunks in a window, unless one period has more: bounds what is dropped and merged on disk at a time.
const WINDOW_CHUNKS: usize = 256;
/// Held chunks that are looked at in one tick, looking for a window with something to hand over.
const SCAN_CHUNKS: usize = 4 * WINDOW_CHUNKS;
/// Every so many passes those are asked, too, that seem not to hold all that is assigned to them.
const THOROUGH_PASS: u32 = 4;

/// Tells whether a chunk must be kept although it is not assigned: a claim of this node in an open round covers it, and
/// without it a draw would be missed.
pub type KeepClaimed = Arc<dyn Fn(u64, ChunkIndex) -> bool + Send + Sync>;

/// Keeps nothing that is not assigned.
pub fn keep_no_more() -> KeepClaimed {
    Arc::new(|_, _| false)
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
    /// Held chunks from a period on, in archive order, at most so many.
    pub held: &'a dyn Fn(u64, usize) -> Vec<(u64, ChunkIndex)>,
    /// Who should hold each chunk of a period; `None` while that is not settled.
    pub assigned: &'a dyn Fn(u64) -> Option<Vec<Assignment>>,
    /// What is kept although it is not assigned.
    pub keep: &'a dyn Fn(u64, ChunkIndex) -> bool,
}

/// What hand-over asks to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandOverAction {
    /// Ask a node which chunks it holds.
    Ask {
        /// Of the question.
        id: u64,
        /// Whom.
        node: NodeId,
        /// The first period.
        first_period: u64,
        /// How many.
        periods: u32,
    },
    /// Drop these chunks, if [`HandOverView::epoch`] is still `epoch` and no claim covers them; then call
    /// [`HandOver::on_dropped`].
    Drop {
        /// In archive order.
        chunks: Vec<(u64, ChunkIndex)>,
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
    chunks: BTreeMap<(u64, ChunkIndex), Vec<NodeId>>,
    to_ask: VecDeque<NodeId>,
    asked: HashMap<u64, Question>,
    deadline: Instant,
}

struct Question {
    node: NodeId,
    first_period: u64,
}

/// What happens next.
enum Step {
    /// Look for a window from this period on.
    Scan(u64),
    /// Ask; the scan goes on at this period.
    Confirm(Window, u64),
    /// Until a drop is done, or this instant; the scan goes on at this period.
    Dropping(Instant, u64),
    /// A pass is over; until this instant.
    Rest(Instant),
}

/// The state of hand-over.
pub struct HandOver {
    limits: HandOverLimits,
    epoch: u64,
    step: Step,
    next_id: u64,
    passes: u32,
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
            step: Step::Scan(0),
            next_id: FIRST_ID,
            passes: 0,
            counting: HandOverCounts::default(),
            counted: HandOverCounts::default(),
        }
    }

    /// Whether a question is one of hand-over.
    pub fn is_asking(&self, id: u64) -> bool {
        id >= FIRST_ID
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
            Step::Dropping(until, next) if view.now >= *until => self.step = Step::Scan(*next),
            Step::Confirm(window, _) if window.is_over(view.now) => return self.close_window(view),
            _ => {}
        }
        if let Step::Scan(from) = self.step {
            self.step = self.scan(from, view);
        }
        match &mut self.step {
            Step::Confirm(window, _) => window.ask(&mut self.next_id),
            _ => Vec::new(),
        }
    }

    /// A node says which chunks it holds, and will keep.
    pub fn on_held(&mut self, id: u64, from: NodeId, held: &[Vec<u8>]) {
        let Step::Confirm(window, _) = &mut self.step else {
            return;
        };
        let Some(question) = window.asked.remove(&id).filter(|question| question.node == from) else {
            return;
        };
        for ((period, chunk), missing) in &mut window.chunks {
            let bitmap = period
                .checked_sub(question.first_period)
                .and_then(|at| held.get(at as usize));
            if bitmap.is_some_and(|bitmap| has_bit(bitmap, chunk.0)) {
                missing.retain(|node| *node != from);
            }
        }
    }

    /// A question was not answered, or could not be asked.
    pub fn on_failed(&mut self, id: u64) {
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

    fn begin_pass(&mut self) {
        self.step = Step::Scan(0);
        self.counting = HandOverCounts::default();
    }

    /// Looks for the next window with something to hand over.
    fn scan(&mut self, mut from: u64, view: &HandOverView<'_>) -> Step {
        let mut looked_at = 0;
        while looked_at < SCAN_CHUNKS {
            // One more period than fits, so that the last one that is looked at is whole.
            let mut held = (view.held)(from, 2 * WINDOW_CHUNKS);
            let Some((first, _)) = held.first().copied() else {
                return self.end_pass(view.now);
            };
            let next = end_of_window(first, &held);
            held.retain(|(period, _)| *period < next);
            looked_at += held.len();
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
    fn left_over(
        &mut self,
        held: &[(u64, ChunkIndex)],
        view: &HandOverView<'_>,
    ) -> BTreeMap<(u64, ChunkIndex), Vec<NodeId>> {
        let mut found = BTreeMap::new();
        for of_period in held.chunk_by(|left, right| left.0 == right.0) {
            let period = of_period[0].0;
            let Some(mut assigned) = (view.assigned)(period) else {
                continue;
            };
            for (_, chunk) in of_period {
                match assigned.get_mut(chunk.0 as usize) {
                    Some(Assignment::Others(_)) if (view.keep)(period, *chunk) => {
                        self.counting.claimed += 1;
                        self.counting.waiting += 1;
                    }
                    Some(Assignment::Others(nodes)) => {
                        found.insert((period, *chunk), std::mem::take(nodes));
                    }
                    Some(Assignment::Own | Assignment::TooFew) | None => {}
                }
            }
        }
        found
    }

    fn open_window(&self, chunks: BTreeMap<(u64, ChunkIndex), Vec<NodeId>>, view: &HandOverView<'_>) -> Window {
        let mut periods: BTreeMap<NodeId, Vec<u64>> = BTreeMap::new();
        for ((period, _), nodes) in &chunks {
            for node in nodes {
                periods.entry(*node).or_default().push(*period);
            }
        }
        let thorough = self.passes % THOROUGH_PASS == THOROUGH_PASS - 1;
        let useful = |(node, periods): &(NodeId, Vec<u64>)| thorough || may_hold(view.peers, node, periods);
        let to_ask = periods.into_iter().filter(useful).map(|(node, _)| node);
        Window {
            to_ask: to_ask.collect(),
            chunks,
            asked: HashMap::new(),
            deadline: view.now + self.limits.patience,
        }
    }

    /// Everybody answered, or the time is over: drops what all confirmed.
    fn close_window(&mut self, view: &HandOverView<'_>) -> Vec<HandOverAction> {
        let Step::Confirm(window, next) = std::mem::replace(&mut self.step, Step::Scan(0)) else {
            return Vec::new();
        };
        let confirmed = window.chunks.iter().filter(|(_, missing)| missing.is_empty());
        let chunks: Vec<(u64, ChunkIndex)> = confirmed.map(|(position, _)| *position).collect();
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

    fn ask(&mut self, next_id: &mut u64) -> Vec<HandOverAction> {
        let mut actions = Vec::new();
        while self.asked.len() < QUESTIONS_MAX {
            let Some(node) = self.to_ask.pop_front() else { break };
            let of_node = || self.chunks.iter().filter(|(_, missing)| missing.contains(&node));
            let (Some(first), Some(last)) = (of_node().next(), of_node().next_back()) else {
                continue;
            };
            let (first_period, last_period) = (first.0 .0, last.0 .0);
            let id = *next_id;
            *next_id += 1;
            self.asked.insert(id, Question { node, first_period });
            actions.push(HandOverAction::Ask {
                id,
                node,
                first_period,
                // A window is not longer.
                periods: (last_period - first_period + 1) as u32,
            });
        }
        actions
    }
}

/// First period after the window that begins with the first of these chunks.
fn end_of_window(first: u64, held: &[(u64, ChunkIndex)]) -> u64 {
    let longest = first.saturating_add(u64::from(MAX_HELD_PERIODS));
    // The period of the first chunk that is too many; unless it is the first period, which then is a window by itself.
    match held.get(WINDOW_CHUNKS) {
        Some((period, _)) => longest.min(*period).max(first + 1),
        None => longest,
    }
}

/// A cheap first look: whether what a peer said of itself leaves room for it to hold all that is assigned to it in one of
/// these periods. Who is not connected, or said nothing, may.
fn may_hold(peers: &[StoragePeer], node: &NodeId, periods: &[u64]) -> bool {
    let said = peers.iter().find(|peer| peer.node == *node);
    let Some(said) = said.and_then(|peer| peer.capabilities.as_ref()) else {
        return true;
    };
    // It tells only the newest ranges.
    let told_from = if said.ranges.len() < MAX_HELD_RANGES {
        0
    } else {
        said.ranges.first().map_or(0, |range| range.first_period)
    };
    let covered = |period: &u64| {
        let mut ranges = said.ranges.iter();
        *period < told_from || ranges.any(|range| (range.first_period..=range.last_period).contains(period))
    };
    periods.iter().any(covered)
}

fn has_bit(bitmap: &[u8], bit: u32) -> bool {
    let byte = bitmap.get(bit as usize / 8);
    byte.is_some_and(|byte| byte >> (bit % 8) & 1 == 1)
}
