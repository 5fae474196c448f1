//! Which node is audited when, on which chunk, and what comes of it.
//!
//! Pure: state, input and time in, actions out; [`super::thread`] does what they say. Every audit ends with one result,
//! [`AuditLimits::response_timeout`] after it began at the latest. What may be bad luck is asked again before it counts: a
//! challenge that is not answered a second time, half of the time later, since a link may be down for a moment; one that is
//! answered late up to three times in all, about other chunks, since load only ever adds to the time.
//!
//! Who is audited follows from a seed that nobody else knows: a node that knew when its turn is could prepare for it.

use super::challenge::{verify, with_source, ChallengeParties};
use super::history::{AuditOutcome, AuditResult, MAX_REASON_CHARS};
use massa_distributed_storage_exports::network::{
    AuditChallenge, ChallengeAnswer, ChallengeEvent, ChallengeFailure, HeldRange,
};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use massa_time::MassaTime;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Audits by schedule in a segment, if it has as many periods.
pub const AUDITS_PER_SEGMENT: u64 = 4;
/// Audits under way.
pub const MAX_OPEN_AUDITS: usize = 8;
/// How often a node is asked that does not answer.
const TRIES: u32 = 2;
/// How often a node is asked that answers late.
const SLOW_TRIES: u32 = 3;
/// And never more often than that: segments of a few periods are not audited four times each.
const MIN_EVERY_PERIODS: u64 = 5;
/// Segments that are looked at for a chunk of a node.
const SEGMENTS_TRIED: usize = 64;
/// How long to wait before asking again when the storage handler took no challenge.
const BUSY_PAUSE: Duration = Duration::from_secs(1);
/// How much longer than a challenge's time its event is waited for.
const EVENT_GRACE: Duration = Duration::from_secs(1);

/// Limits of [`AuditPlan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditLimits {
    /// Periods from one audit by schedule to the next.
    pub every_periods: u64,
    /// Time that a challenged node has, asking again included.
    pub response_timeout: Duration,
    /// Least time between two challenges by hand to one node.
    pub min_challenge_interval: Duration,
    /// How much longer than a small question a challenge may take: what a disk with moving parts needs for the pages of a
    /// chunk, which lie together, and less than two ways of 50 ms.
    pub time_allowance: Duration,
}

impl AuditLimits {
    /// [`AuditLimits::time_allowance`] where nobody says otherwise.
    pub const TIME_ALLOWANCE: Duration = Duration::from_millis(80);

    /// Audits of a network with segments of `segment_periods`.
    pub fn new(segment_periods: u64, response_timeout: Duration, min_challenge_interval: Duration) -> Self {
        Self {
            every_periods: (segment_periods / AUDITS_PER_SEGMENT).max(MIN_EVERY_PERIODS),
            response_timeout,
            min_challenge_interval,
            time_allowance: Self::TIME_ALLOWANCE,
        }
    }
}

/// A node and a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditTarget {
    /// Who is challenged.
    pub node: NodeId,
    /// Position of the chunk.
    pub position: ChunkPosition,
    /// Length and id of the chunk, from the segment's table.
    pub chunk: TableChunk,
    /// Whether the chunk is assigned to the node.
    pub assigned: bool,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditAction {
    /// Put a challenge to a node. If that cannot be done, [`AuditPlan::on_not_asked`] is to be told.
    Ask {
        /// Comes back with the answer.
        id: u64,
        /// To whom.
        node: NodeId,
        /// The challenge.
        challenge: AuditChallenge,
        /// How long to wait.
        timeout: Duration,
    },
    /// An audit is over.
    Done(AuditResult),
}

/// Why a challenge by hand is not put.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// A node does not challenge itself.
    #[error("{0} is this node, which cannot challenge itself")]
    Own(NodeId),
    /// The node was challenged by hand a short while ago.
    #[error("{node} may be challenged by hand again in {wait_s} s: min_challenge_interval is {interval_s} s")]
    TooSoon {
        /// The node.
        node: NodeId,
        /// How long to wait.
        wait_s: u64,
        /// The setting.
        interval_s: u64,
    },
    /// As many audits are under way as may.
    #[error("{MAX_OPEN_AUDITS} audits are under way, try again in a minute")]
    Busy,
    /// Audits have stopped.
    #[error("audits have stopped")]
    Stopped,
}

/// What the plan is told of its surroundings.
pub struct AuditView<'a> {
    /// Now.
    pub now: Instant,
    /// Now, for the history.
    pub at: MassaTime,
    /// A chunk that a node should hold, drawn with this generator; `None` if there is none.
    pub choose: &'a dyn Fn(&NodeId, &mut ChaCha20Rng) -> Option<AuditTarget>,
    /// Where objects end in a page of a chunk, if that is known: see [`super::challenge::ObjectEnds`].
    pub ends: &'a dyn Fn(ChunkPosition, u32) -> Option<Vec<u16>>,
}

/// An audit under way.
struct Open {
    target: AuditTarget,
    by_hand: bool,
    first: ChallengeId,
    challenge: AuditChallenge,
    began: Instant,
    /// While an answer is waited for: until when.
    answer_ends: Option<Instant>,
    /// While none is: when to ask.
    ask_at: Option<Instant>,
    unanswered: u32,
    slow: u32,
    timing: Option<(Duration, Duration)>,
}

/// See the module.
pub struct AuditPlan {
    limits: AuditLimits,
    chain_id: u64,
    own: NodeId,
    random: ChaCha20Rng,
    open: BTreeMap<u64, Open>,
    next_id: u64,
    /// Of the schedule: the last turn that was taken.
    turn: Option<u64>,
}

impl AuditPlan {
    /// No audit is under way. All that is drawn follows from `seed`, which nobody else may know.
    pub fn new(limits: AuditLimits, chain_id: u64, own: NodeId, seed: [u8; 32]) -> Self {
        Self {
            limits,
            chain_id,
            own,
            random: ChaCha20Rng::from_seed(seed),
            open: BTreeMap::new(),
            next_id: 0,
            turn: None,
        }
    }

    /// Whether it is time for an audit when `last_period` is the newest archived one; true once for each turn. The turn in
    /// which the node starts is left out: it has other things to do.
    pub fn is_due(&mut self, last_period: u64) -> bool {
        let turn = last_period / self.limits.every_periods;
        let before = self.turn.replace(turn.max(self.turn.unwrap_or(0)));
        before.is_some_and(|before| turn > before) && self.open.len() < MAX_OPEN_AUDITS
    }

    /// Begins an audit of one of these nodes, each equally often; nothing if there is no chunk for it.
    pub fn begin_one(&mut self, nodes: &[NodeId], view: &AuditView<'_>) -> Vec<AuditAction> {
        let under_way = |node: &&NodeId| self.open.values().any(|open| open.target.node == **node);
        let idle: Vec<NodeId> = nodes
            .iter()
            .filter(|node| **node != self.own && !under_way(node))
            .copied()
            .collect();
        if idle.is_empty() || self.open.len() >= MAX_OPEN_AUDITS {
            return Vec::new();
        }
        let node = idle[below(&mut self.random, idle.len() as u64) as usize];
        match (view.choose)(&node, &mut self.random) {
            Some(target) => vec![self.begin(target, false, view).1],
            None => Vec::new(),
        }
    }

    /// Begins an audit that an operator asks for. `last_by_hand` is when the last one of this node ended.
    ///
    /// # Errors
    /// [`IssueError`].
    pub fn begin_by_hand(
        &mut self,
        target: AuditTarget,
        last_by_hand: Option<MassaTime>,
        view: &AuditView<'_>,
    ) -> Result<(ChallengeId, AuditAction), IssueError> {
        let node = target.node;
        if node == self.own {
            return Err(IssueError::Own(node));
        }
        let interval = self.limits.min_challenge_interval;
        let too_soon = |wait: Duration| IssueError::TooSoon {
            node,
            wait_s: seconds_above(wait),
            interval_s: interval.as_secs(),
        };
        if self.open.values().any(|open| open.by_hand && open.target.node == node) {
            return Err(too_soon(interval));
        }
        if let Some(last) = last_by_hand {
            let wait = interval.saturating_sub(view.at.saturating_sub(last).to_duration());
            if !wait.is_zero() {
                return Err(too_soon(wait));
            }
        }
        if self.open.len() >= MAX_OPEN_AUDITS {
            return Err(IssueError::Busy);
        }
        Ok(self.begin(target, true, view))
    }

    fn begin(&mut self, target: AuditTarget, by_hand: bool, view: &AuditView<'_>) -> (ChallengeId, AuditAction) {
        let challenge = self.challenge(&target);
        let open = Open {
            target,
            by_hand,
            first: challenge.challenge_id,
            challenge,
            began: view.now,
            answer_ends: None,
            ask_at: None,
            unanswered: 0,
            slow: 0,
            timing: None,
        };
        (challenge.challenge_id, self.ask(open, view.now))
    }

    /// A challenge for a target, with a new nonce.
    fn challenge(&mut self, target: &AuditTarget) -> AuditChallenge {
        let parties = ChallengeParties {
            chain_id: self.chain_id,
            challenger: self.own,
            challenged: target.node,
        };
        parties.challenge(target.position, target.chunk.id, self.random.next_u64())
    }

    fn ask(&mut self, mut open: Open, now: Instant) -> AuditAction {
        let id = self.next_id;
        self.next_id += 1;
        let half = self.limits.response_timeout / 2;
        let left = (open.began + self.limits.response_timeout).saturating_duration_since(now);
        // The first time, the second half is left for asking again.
        let timeout = if open.unanswered == 0 { left.min(half) } else { left };
        open.answer_ends = Some(now + timeout);
        open.ask_at = None;
        let action = AuditAction::Ask {
            id,
            node: open.target.node,
            challenge: open.challenge,
            timeout,
        };
        self.open.insert(id, open);
        action
    }

    /// Takes what came of a challenge.
    pub fn on_event(&mut self, event: ChallengeEvent, view: &AuditView<'_>) -> Vec<AuditAction> {
        let waits = |open: &Open| open.answer_ends.is_some() && open.target.node == event.node;
        if !self.open.get(&event.id).is_some_and(waits) {
            return Vec::new();
        }
        let Some(open) = self.open.remove(&event.id) else {
            return Vec::new();
        };
        match event.answer {
            Ok(answer) => self.on_answer(open, &answer, view),
            Err(ChallengeFailure::NotHeld) => vec![done(open, AuditOutcome::NotHeld, view.at)],
            Err(ChallengeFailure::Malformed) => {
                let reason = "the answer cannot be read".to_string();
                vec![done(open, AuditOutcome::Wrong(reason), view.at)]
            }
            Err(failure) => self.on_unanswered(event.id, open, failure, view),
        }
    }

    fn on_answer(&mut self, mut open: Open, answer: &ChallengeAnswer, view: &AuditView<'_>) -> Vec<AuditAction> {
        let ends = |page| (view.ends)(open.target.position, page);
        let shown = (answer.challenge_id, &answer.leaves[..]);
        if let Err(error) = verify(&open.challenge, &open.target.chunk, shown, &ends) {
            let reason = with_source(&error).chars().take(MAX_REASON_CHARS).collect();
            return vec![done(open, AuditOutcome::Wrong(reason), view.at)];
        }
        open.timing = Some((answer.elapsed, answer.round_trip));
        let in_time = answer.round_trip.saturating_add(self.limits.time_allowance);
        if answer.elapsed <= in_time {
            return vec![done(open, AuditOutcome::Passed, view.at)];
        }
        open.slow += 1;
        if open.slow >= SLOW_TRIES || view.now >= open.began + self.limits.response_timeout {
            return vec![done(open, AuditOutcome::Slow, view.at)];
        }
        // Another chunk: who fetched this one may have kept it. What an operator asked about stays what he asked about.
        if !open.by_hand {
            let node = open.target.node;
            open.target = (view.choose)(&node, &mut self.random).unwrap_or(open.target);
        }
        open.challenge = self.challenge(&open.target);
        vec![self.ask(open, view.now)]
    }

    fn on_unanswered(
        &mut self,
        id: u64,
        mut open: Open,
        failure: ChallengeFailure,
        view: &AuditView<'_>,
    ) -> Vec<AuditAction> {
        open.unanswered += 1;
        let ends = open.began + self.limits.response_timeout;
        if open.unanswered >= TRIES || view.now >= ends {
            let reason = match failure {
                ChallengeFailure::Refused => "it says that it has too much to do",
                ChallengeFailure::NotConnected => "it is not connected",
                _ => "it did not answer in time",
            };
            return vec![done(open, AuditOutcome::Unanswered(reason.to_string()), view.at)];
        }
        open.answer_ends = None;
        open.ask_at = Some(view.now.max(open.began + self.limits.response_timeout / 2));
        self.open.insert(id, open);
        Vec::new()
    }

    /// The storage handler took no challenge: it is asked later. Nobody is blamed for it.
    pub fn on_not_asked(&mut self, id: u64, now: Instant) {
        if let Some(open) = self.open.get_mut(&id) {
            open.answer_ends = None;
            open.ask_at = Some(now + BUSY_PAUSE);
        }
    }

    /// Asks again what is due, and ends what took too long.
    pub fn on_tick(&mut self, view: &AuditView<'_>) -> Vec<AuditAction> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| view.now >= at);
        let due: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| is_due(open.ask_at))
            .map(|(id, _)| *id)
            .collect();
        let mut actions = Vec::new();
        for id in due {
            let Some(mut open) = self.open.remove(&id) else {
                continue;
            };
            if view.now >= open.began + self.limits.response_timeout {
                // It could never be put: there is nothing to tell about the node.
                continue;
            }
            // A new nonce: the leaves of the first challenge may be known by now.
            open.challenge = self.challenge(&open.target);
            actions.push(self.ask(open, view.now));
        }
        let is_lost = |open: &Open| is_due(open.answer_ends.map(|ends| ends + EVENT_GRACE));
        let lost: Vec<u64> = self
            .open
            .iter()
            .filter(|(_, open)| is_lost(open))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            if let Some(open) = self.open.remove(&id) {
                actions.extend(self.on_unanswered(id, open, ChallengeFailure::Timeout, view));
            }
        }
        actions
    }

    /// Audits under way.
    pub fn open_audits(&self) -> usize {
        self.open.len()
    }
}

fn done(open: Open, outcome: AuditOutcome, at: MassaTime) -> AuditAction {
    let ms = |time: Duration| u32::try_from(time.as_millis()).unwrap_or(u32::MAX);
    AuditAction::Done(AuditResult {
        challenge_id: open.first,
        at,
        node: open.target.node,
        position: open.target.position,
        chunk_id: open.target.chunk.id,
        by_hand: open.by_hand,
        assigned: open.target.assigned,
        outcome,
        elapsed_ms: open.timing.map(|(elapsed, _)| ms(elapsed)),
        round_trip_ms: open.timing.map(|(_, round_trip)| ms(round_trip)),
    })
}

/// Seconds, rounded up.
fn seconds_above(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(1000)).unwrap_or(u64::MAX)
}

/// A number below `count`, each equally often but for 2⁻⁶⁴ of `count`.
fn below(random: &mut ChaCha20Rng, count: u64) -> u64 {
    ((u128::from(random.next_u64()) * u128::from(count)) >> 64) as u64
}

/// A chunk of one of these segments that is for `node` to hold: its position. Looks at a few segments; `None` if none of them
/// has one.
///
/// `chunks_of` tells the chunks of a segment that the node should hold.
pub fn choose_chunk(
    random: &mut ChaCha20Rng,
    segments: &[HeldRange],
    chunks_of: &dyn Fn(u64) -> Vec<u32>,
) -> Option<ChunkPosition> {
    let length = |range: &HeldRange| match range.last_segment.checked_sub(range.first_segment) {
        Some(more) => more.saturating_add(1),
        None => 0,
    };
    let total = segments.iter().map(length).fold(0, u64::saturating_add);
    for _ in 0..SEGMENTS_TRIED {
        let mut offset = below(random, total);
        let range = segments.iter().find(|range| {
            let is_inside = offset < length(range);
            offset -= if is_inside { 0 } else { length(range) };
            is_inside
        })?;
        let segment = range.first_segment + offset;
        let held = chunks_of(segment);
        let chosen = held.get(below(random, held.len() as u64) as usize);
        if let Some(position) = chosen.and_then(|index| ChunkPosition::new(segment, *index)) {
            return Some(position);
        }
    }
    None
}
