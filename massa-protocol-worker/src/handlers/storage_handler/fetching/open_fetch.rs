//! One fetch: what of it is missing, and what became of its holders.
//!
//! What is fetched has parts, numbered from 0: pages of a chunk (by their position), tables, entries and lists of held chunks
//! (counted from the first one wanted); a block, a lookup and a way to a claim are one part. A part is missing, in flight, being put together
//! from pieces, or there.

use super::assembly::Assembly;
use super::costs::Costs;
use super::peers::Peers;
use crate::handlers::storage_handler::messages::{
    Lane, StorageMessage, MAX_PAGE_FRAME_BYTES, MAX_REQUEST_PAGES, PIECE_BYTES,
};
use crossbeam_channel::Sender;
use massa_distributed_storage_exports::network::{Fetch, FetchEvent, FetchFailure, FetchPriority, FetchTarget};
use massa_models::node::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Holders of one fetch that are considered.
pub const MAX_HOLDERS: usize = 32;
/// Holders of one fetch that are dialed at a time.
const MAX_DIALS: usize = 2;
/// Timeouts of a holder that ever answered anything, before it counts as failed. One that never did has failed after the
/// first.
const MAX_TIMEOUTS: u32 = 3;
/// Losses of a holder, before it counts as failed.
const MAX_LOSSES: u32 = 16;
/// Refusals of a holder in a row, before it counts as failed.
const MAX_REFUSALS: u32 = 8;
/// How long a holder that refused is left alone, for each refusal in a row.
const REFUSAL_PAUSE: Duration = Duration::from_millis(250);
/// Pages that are asked for at once, if as many are missing and half the window has room for them: fewer, larger requests.
/// Each wakes a thread at both ends four times, which costs as much as encrypting a page. Half a window is what is on the
/// way, so the link stays full meanwhile.
const BATCH_PARTS: usize = MAX_REQUEST_PAGES as usize;

/// A holder, as one fetch sees it.
pub(super) struct Holder {
    pub node: NodeId,
    pub failure: Option<FetchFailure>,
    answered: bool,
    timeouts: u32,
    losses: u32,
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
            losses: 0,
            refusals: 0,
            not_before: None,
            dial_ends: None,
        }
    }

    pub fn on_answer(&mut self) {
        self.answered = true;
        self.refusals = 0;
    }

    /// It did not answer in time; `is_known` if it ever answered anything.
    pub fn on_timeout(&mut self, is_known: bool) {
        self.timeouts += 1;
        let has_answered = self.answered || is_known;
        if !has_answered || self.timeouts >= MAX_TIMEOUTS {
            self.failure = Some(FetchFailure::Timeout);
        }
    }

    pub fn on_loss(&mut self) {
        self.losses += 1;
        if self.losses >= MAX_LOSSES {
            self.failure = Some(FetchFailure::Timeout);
        }
    }

    pub fn on_refusal(&mut self, now: Instant) {
        self.refusals += 1;
        self.pause(now);
        if self.refusals >= MAX_REFUSALS {
            self.failure = Some(FetchFailure::Busy);
        }
    }

    /// Leaves it alone for a while.
    pub fn pause(&mut self, now: Instant) {
        self.not_before = Some(now + REFUSAL_PAUSE * self.refusals.max(1));
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.not_before.is_some_and(|not_before| now < not_before)
    }
}

/// What is asked for in one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// These parts, which have no gap.
    Parts(BTreeSet<u32>),
    /// A piece of a part.
    Piece {
        /// The part.
        part: u32,
        /// Where the piece begins.
        offset: u32,
    },
}

/// What can be done for a fetch now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// Ask this holder for that many parts at most.
    Parts { holder: usize, count: usize },
    /// Ask this holder for a piece of a part.
    Piece { holder: usize, part: u32, offset: u32 },
    /// Somebody can be asked later.
    Wait,
    /// All holders have failed.
    Nobody,
}

/// A fetch of the worker.
pub(super) struct OpenFetch {
    pub id: u64,
    pub priority: FetchPriority,
    pub target: FetchTarget,
    pub reply: Sender<FetchEvent>,
    pub holders: Vec<Holder>,
    /// Parts that nobody is being asked for.
    pub missing: BTreeSet<u32>,
    /// Parts that are not answered.
    pub unanswered: usize,
    /// It has failed if nothing comes until then.
    pub ends: Instant,
    /// The first page of the chunk in plain, once it is known.
    pub first_page: Option<Vec<u8>>,
    pub assemblies: BTreeMap<u32, Assembly>,
}

impl OpenFetch {
    pub fn new(fetch: Fetch, ends: Instant) -> Self {
        let mut known = BTreeSet::new();
        let holders = fetch.holders.into_iter().filter(|node| known.insert(*node));
        let missing: BTreeSet<u32> = match &fetch.target {
            FetchTarget::Pages { pages, .. } => pages.clone().collect(),
            FetchTarget::Tables { count, .. }
            | FetchTarget::Entries { count, .. }
            | FetchTarget::Held { count, .. } => (0..*count).collect(),
            FetchTarget::Block { .. } | FetchTarget::Locate { .. } | FetchTarget::SumPath { .. } => BTreeSet::from([0]),
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
            first_page: None,
            assemblies: BTreeMap::new(),
        }
    }

    /// Whether it is for pages, each of which is an answer.
    fn is_pages(&self) -> bool {
        matches!(self.target, FetchTarget::Pages { .. })
    }

    /// Whether there is something to be asked for.
    pub fn is_hungry(&self) -> bool {
        !self.missing.is_empty() || self.assemblies.values().any(|assembly| !assembly.missing.is_empty())
    }

    /// Whether answers are being waited for.
    fn is_asking(&self) -> bool {
        let assembling = self.assemblies.values();
        let in_flight = self.unanswered - self.missing.len() - self.assemblies.len();
        in_flight > 0 || assembling.into_iter().next().is_some()
    }

    /// The chunk's first page is wanted and on its way: what is packed after it waits for it.
    fn waits_for_first_page(&self) -> bool {
        match &self.target {
            FetchTarget::Pages { pages, .. } => {
                pages.contains(&0) && self.first_page.is_none() && !self.missing.contains(&0)
            }
            _ => false,
        }
    }

    /// Whether the first page is to be sent before the others.
    pub fn wants_first_page(&self) -> bool {
        match &self.target {
            FetchTarget::Pages { pages, .. } => pages.start > 0 && self.first_page.is_none(),
            _ => false,
        }
    }

    pub fn lane(&self) -> Lane {
        match (&self.target, self.priority) {
            (FetchTarget::Pages { .. }, FetchPriority::Reader) => Lane::Quick,
            (FetchTarget::Pages { .. } | FetchTarget::Tables { .. }, _) => Lane::Bulk,
            _ => Lane::Quick,
        }
    }

    /// Whom to ask next, and for how much: of the holders that are connected, neither in quarantine nor paused, and have
    /// room, the one that is expected to answer soonest. Those that are avoided are asked when there is no other; those that
    /// are not connected are dialed (`dial` gets their ids) when no connected one can be asked at all.
    pub fn choose(&mut self, peers: &mut Peers, costs: &Costs, now: Instant, dial: &mut Vec<NodeId>) -> Choice {
        if let Some(choice) = self.choose_piece(peers, now) {
            return choice;
        }
        if self.missing.is_empty() || self.waits_for_first_page() {
            return Choice::Wait;
        }
        let bytes = self.bytes_wanted(costs);
        let (mut best, mut can_wait, mut has_ready) = (None, self.is_asking(), false);
        for index in 0..self.holders.len() {
            let holder = &mut self.holders[index];
            if holder.failure.is_some() || !peers.is_connected(&holder.node) {
                continue;
            }
            if peers.is_quarantined(&holder.node, now) {
                holder.failure = Some(FetchFailure::Quarantined);
                continue;
            }
            can_wait = true;
            if holder.is_paused(now) {
                continue;
            }
            let is_avoided = peers.is_avoided(&holder.node, now);
            has_ready |= !is_avoided;
            let room = peers.room(&holder.node, self.priority, bytes, now);
            let rank = (is_avoided, holder.timeouts, peers.expected(&holder.node, bytes.0));
            let is_better = best.as_ref().map_or(true, |(before, _, _)| rank < *before);
            if room > 0 && is_better {
                best = Some((rank, index, room));
            }
        }
        if !has_ready {
            can_wait |= self.dial_next(peers, now, dial);
        }
        match best {
            // Somebody who is not avoided will have room soon.
            Some(((true, ..), ..)) if has_ready => Choice::Wait,
            Some((_, holder, room)) => Choice::Parts {
                holder,
                count: self.parts_in(room, costs),
            },
            None if can_wait => Choice::Wait,
            None => Choice::Nobody,
        }
    }

    /// The next piece of something that is being put together.
    fn choose_piece(&mut self, peers: &mut Peers, now: Instant) -> Option<Choice> {
        for (part, assembly) in &self.assemblies {
            let Some(offset) = assembly.missing.first() else {
                continue;
            };
            let holder = &self.holders[assembly.holder];
            let bytes = (PIECE_BYTES, PIECE_BYTES);
            if !holder.is_paused(now) && peers.room(&holder.node, self.priority, bytes, now) > 0 {
                return Some(Choice::Piece {
                    holder: assembly.holder,
                    part: *part,
                    offset: *offset,
                });
            }
        }
        None
    }

    /// Bytes of the least answer, and of what is worth a request.
    fn bytes_wanted(&self, costs: &Costs) -> (usize, usize) {
        if !self.is_pages() {
            let parts = self.missing.len().min(costs.parts_in_a_frame(&self.target));
            let bytes = costs.frame(&self.target, parts);
            return (bytes, bytes);
        }
        let (page, first) = (costs.part(&self.target), usize::from(self.wants_first_page()));
        // Who waits for nothing takes what there is: small fetches must not keep a large one from its turn.
        let parts = if self.is_asking() {
            self.missing.len().min(BATCH_PARTS)
        } else {
            1
        };
        (page * (1 + first), page * (parts + first))
    }

    fn parts_in(&self, room: usize, costs: &Costs) -> usize {
        if self.is_pages() {
            let answers = room / costs.part(&self.target).max(1);
            let pages = answers.saturating_sub(usize::from(self.wants_first_page()));
            pages.clamp(1, MAX_REQUEST_PAGES as usize)
        } else {
            costs.parts_in_a_frame(&self.target)
        }
    }

    /// Dials the next holders. Returns whether there is still one to wait for.
    fn dial_next(&mut self, peers: &mut Peers, now: Instant, dial: &mut Vec<NodeId>) -> bool {
        let mut waiting = 0;
        for holder in &mut self.holders {
            if holder.failure.is_some() || peers.is_connected(&holder.node) {
                continue;
            }
            if peers.is_quarantined(&holder.node, now) {
                holder.failure = Some(FetchFailure::Quarantined);
                continue;
            }
            let ends = match holder.dial_ends {
                Some(ends) => ends,
                None if waiting >= MAX_DIALS => continue,
                None => {
                    if peers.dial(holder.node, now) {
                        dial.push(holder.node);
                    }
                    now + peers.dial_timeout()
                }
            };
            holder.dial_ends = Some(ends);
            if now >= ends {
                holder.failure = Some(FetchFailure::NotConnected);
            } else {
                waiting += 1;
            }
        }
        waiting > 0
    }

    /// The next parts to ask for: the first ones missing without a gap, `count` at most.
    pub fn take_missing(&mut self, count: usize) -> BTreeSet<u32> {
        let Some(first) = self.missing.first().copied() else {
            return BTreeSet::new();
        };
        let run = self.missing.iter().copied().zip(first..);
        let parts: BTreeSet<u32> = run
            .take_while(|(part, expected)| part == expected)
            .map(|(part, _)| part)
            .take(count)
            .collect();
        self.missing.retain(|part| !parts.contains(part));
        parts
    }

    /// Bytes that the answers to a request are expected to have: each, and how many answers there are.
    pub fn cost(&self, asked: &Asked, costs: &Costs) -> (usize, usize) {
        match asked {
            Asked::Piece { .. } => (PIECE_BYTES, 1),
            Asked::Parts(parts) if self.is_pages() => {
                let first = usize::from(self.wants_first_page());
                (costs.part(&self.target).min(MAX_PAGE_FRAME_BYTES), parts.len() + first)
            }
            Asked::Parts(parts) => (costs.frame(&self.target, parts.len()), 1),
        }
    }

    /// The message that asks for it.
    pub fn message(&self, request_id: u64, asked: &Asked) -> StorageMessage {
        let (first, count, offset) = match asked {
            Asked::Parts(parts) => (parts.first().copied().unwrap_or(0), parts.len() as u32, 0),
            Asked::Piece { part, offset } => (*part, 1, *offset),
        };
        match &self.target {
            FetchTarget::Tables { first_segment, .. } => StorageMessage::TablesRequest {
                request_id,
                first_segment: first_segment + u64::from(first),
                count,
                offset,
            },
            FetchTarget::Entries { first_period, .. } => StorageMessage::EntriesRequest {
                request_id,
                first_period: first_period + u64::from(first),
                count,
            },
            FetchTarget::Block { slot } => StorageMessage::BlockRequest {
                request_id,
                slot: *slot,
                offset,
            },
            FetchTarget::Pages { position, chunk, .. } => StorageMessage::ChunkRequest {
                request_id,
                position: *position,
                chunk_id: chunk.id,
                first_page: first,
                pages: count,
                with_first_page: self.wants_first_page(),
                lane: self.lane(),
            },
            FetchTarget::Held { first_segment, .. } => StorageMessage::HeldRequest {
                request_id,
                first_segment: first_segment + u64::from(first),
                count,
            },
            FetchTarget::Locate { ids } => StorageMessage::LocateRequest {
                request_id,
                ids: ids.clone(),
            },
            FetchTarget::SumPath { round, position } => StorageMessage::SumPathRequest {
                request_id,
                round: *round,
                position: *position,
            },
        }
    }

    /// What was asked for is missing again.
    pub fn give_back(&mut self, asked: &Asked, holder: usize) {
        match asked {
            Asked::Parts(parts) => self.missing.extend(parts),
            Asked::Piece { part, offset } => {
                let assembly = self.assemblies.get_mut(part);
                if let Some(assembly) = assembly.filter(|assembly| assembly.holder == holder) {
                    assembly.missing.insert(*offset);
                }
            }
        }
    }

    /// What is being put together from a holder that failed is missing again. Returns how many that were.
    pub fn drop_assemblies(&mut self) -> usize {
        let failed = |assembly: &Assembly| self.holders[assembly.holder].failure.is_some();
        let parts: Vec<u32> = self
            .assemblies
            .iter()
            .filter(|(_, a)| failed(a))
            .map(|(part, _)| *part)
            .collect();
        for part in &parts {
            self.assemblies.remove(part);
            self.missing.insert(*part);
        }
        parts.len()
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
