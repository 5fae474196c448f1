//! One question: what of it is missing, and what became of its holders.

use super::peers::Peers;
use crate::handlers::storage_handler::messages::{
    StorageMessage, MAX_HELD_FRAME_BYTES, MAX_MANIFEST_FRAME_BYTES, MAX_PAGE_FRAME_BYTES, MAX_REQUEST_PAGES,
};
use crossbeam_channel::Sender;
use massa_distributed_storage_exports::network::{Fetch, FetchEvent, FetchFailure, FetchPriority, FetchTarget};
use massa_models::node::NodeId;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Holders of one question that are considered.
pub const MAX_HOLDERS: usize = 32;
/// Timeouts of a holder that answered part of a question, before it counts as failed. One that answered nothing has
/// failed after the first.
const MAX_TIMEOUTS: u32 = 3;
/// Refusals of a holder, before it counts as failed.
const MAX_REFUSALS: u32 = 8;
/// How long a holder that refused is left alone, for each refusal in a row.
const REFUSAL_PAUSE: Duration = Duration::from_millis(250);

/// A holder, as one question sees it.
pub(super) struct Holder {
    pub node: NodeId,
    pub failure: Option<FetchFailure>,
    /// It answered a part of the question.
    pub answered: bool,
    timeouts: u32,
    refusals: u32,
    not_before: Option<Instant>,
    dial_ends: Option<Instant>,
}

impl Holder {
    fn new(node: NodeId) -> Self {
        Self {
            node,
            failure: None,
            answered: false,
            timeouts: 0,
            refusals: 0,
            not_before: None,
            dial_ends: None,
        }
    }

    pub fn on_answer(&mut self) {
        self.answered = true;
        self.refusals = 0;
    }

    pub fn on_timeout(&mut self) {
        self.timeouts += 1;
        if !self.answered || self.timeouts >= MAX_TIMEOUTS {
            self.failure = Some(FetchFailure::Timeout);
        }
    }

    pub fn on_refusal(&mut self, now: Instant) {
        self.refusals += 1;
        self.not_before = Some(now + REFUSAL_PAUSE * self.refusals);
        if self.refusals >= MAX_REFUSALS {
            self.failure = Some(FetchFailure::Timeout);
        }
    }
}

/// What can be done for a question now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Ask this holder for that many answers at most.
    Ask { holder: usize, room: usize },
    /// Somebody can be asked later.
    Wait,
    /// All holders have failed.
    Nobody,
}

/// A question of the worker.
pub(super) struct Question {
    pub id: u64,
    pub priority: FetchPriority,
    pub target: FetchTarget,
    pub reply: Sender<FetchEvent>,
    pub holders: Vec<Holder>,
    /// Pages that nobody is being asked for; page 0 stands for a manifest or held chunks.
    pub missing: BTreeSet<u32>,
    /// Pages that are not answered.
    pub unanswered: usize,
    /// It has failed if it is not answered by then.
    pub ends: Instant,
}

impl Question {
    pub fn new(fetch: Fetch, ends: Instant) -> Self {
        let mut known = BTreeSet::new();
        let holders = fetch.holders.into_iter().filter(|node| known.insert(*node));
        let missing: BTreeSet<u32> = match &fetch.target {
            FetchTarget::Pages { pages, .. } => pages.clone().collect(),
            FetchTarget::Manifest { .. } | FetchTarget::Held { .. } => BTreeSet::from([0]),
        };
        Self {
            id: fetch.id,
            priority: fetch.priority,
            holders: holders.take(MAX_HOLDERS).map(Holder::new).collect(),
            unanswered: missing.len(),
            missing,
            target: fetch.target,
            reply: fetch.reply,
            ends,
        }
    }

    /// Bytes that one answer counts for.
    pub fn cost(&self) -> usize {
        match &self.target {
            FetchTarget::Manifest { .. } => MAX_MANIFEST_FRAME_BYTES,
            FetchTarget::Pages { .. } => MAX_PAGE_FRAME_BYTES,
            FetchTarget::Held { .. } => MAX_HELD_FRAME_BYTES,
        }
    }

    /// Whether answers are being waited for.
    pub fn is_asking(&self) -> bool {
        self.unanswered > self.missing.len()
    }

    /// Whom to ask next: the first holder that is connected, neither in quarantine nor avoided, and has room. Holders
    /// before it that are not connected are dialed: `dial` gets their ids. Avoided ones are asked when there is no
    /// other.
    pub fn choose(
        &mut self,
        peers: &mut Peers,
        dial_timeout: Duration,
        now: Instant,
        dial: &mut Vec<NodeId>,
    ) -> Choice {
        let (cost, priority) = (self.cost(), self.priority);
        // Who waits for nothing takes what there is: small questions must not keep a large one from its turn.
        let worth_asking = if self.is_asking() { self.missing.len() } else { 1 };
        let mut order: Vec<usize> = (0..self.holders.len()).collect();
        order.retain(|index| self.holders[*index].failure.is_none());
        order.sort_by_key(|index| self.holders[*index].timeouts);
        let (mut waits, mut has_ready, mut avoided) = (false, false, None);
        for index in order {
            let holder = &mut self.holders[index];
            if peers.is_quarantined(&holder.node, now) {
                holder.failure = Some(FetchFailure::Quarantined);
            } else if !peers.is_connected(&holder.node) {
                // A connected holder that only has no room now is worth more than one to be dialed.
                waits |= has_ready || holder.wait_for_dial(peers, dial_timeout, now, dial);
            } else if holder.not_before.is_some_and(|not_before| now < not_before) {
                waits = true;
            } else {
                waits = true;
                let room = peers.room(&holder.node, priority, cost, worth_asking, now);
                let ask = (room > 0).then_some(Choice::Ask { holder: index, room });
                if peers.is_avoided(&holder.node, now) {
                    avoided = avoided.or(ask);
                } else if let Some(ask) = ask {
                    return ask;
                } else {
                    has_ready = true;
                }
            }
        }
        match avoided {
            Some(ask) if !has_ready => ask,
            _ if waits => Choice::Wait,
            _ => Choice::Nobody,
        }
    }

    /// The next pages to ask for: the first ones missing without a gap, `room` at most.
    pub fn take_missing(&mut self, room: usize) -> Vec<u32> {
        let Some(first) = self.missing.first().copied() else {
            return Vec::new();
        };
        let run = self.missing.iter().copied().zip(first..);
        let pages: Vec<u32> = run
            .take_while(|(page, expected)| page == expected)
            .map(|(page, _)| page)
            .take(room.min(MAX_REQUEST_PAGES as usize))
            .collect();
        pages.iter().for_each(|page| {
            self.missing.remove(page);
        });
        pages
    }

    /// The message that asks for `pages`, which have no gap.
    pub fn message(&self, request_id: u64, pages: &[u32]) -> StorageMessage {
        match &self.target {
            FetchTarget::Manifest { period } => StorageMessage::ManifestRequest {
                request_id,
                period: *period,
            },
            FetchTarget::Pages {
                period, chunk, entry, ..
            } => StorageMessage::ChunkRequest {
                request_id,
                period: *period,
                chunk: *chunk,
                chunk_id: entry.id,
                first_page: pages[0],
                pages: pages.len() as u32,
            },
            FetchTarget::Held { first_period, periods } => StorageMessage::HeldRequest {
                request_id,
                first_period: *first_period,
                periods: *periods,
            },
        }
    }

    /// What became of the holders that were asked or dialed.
    pub fn attempts(&self) -> Vec<(NodeId, FetchFailure)> {
        let failed = self.holders.iter();
        failed
            .filter_map(|holder| Some((holder.node, holder.failure?)))
            .collect()
    }

    /// No holder is waited for any longer.
    pub fn give_up(&mut self, is_asked: impl Fn(usize) -> bool) {
        for (index, holder) in self.holders.iter_mut().enumerate() {
            let is_open = holder.failure.is_none();
            if is_open && is_asked(index) {
                holder.failure = Some(FetchFailure::Timeout);
            } else if is_open && holder.dial_ends.is_some() {
                holder.failure = Some(FetchFailure::NotConnected);
            }
        }
    }
}

impl Holder {
    /// Dials, the first time; returns whether there is still time to wait.
    fn wait_for_dial(
        &mut self,
        peers: &mut Peers,
        dial_timeout: Duration,
        now: Instant,
        dial: &mut Vec<NodeId>,
    ) -> bool {
        let ends = *self.dial_ends.get_or_insert_with(|| {
            if peers.dial(self.node, now) {
                dial.push(self.node);
            }
            now + dial_timeout
        });
        if now >= ends {
            self.failure = Some(FetchFailure::NotConnected);
        }
        now < ends
    }
}
