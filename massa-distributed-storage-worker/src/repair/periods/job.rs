//! A period whose blocks are fetched, slot by slot.

use super::SettledSlot;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::FetchFailure;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Different blocks of one slot that are kept until one of them is believed.
const CANDIDATES_MAX: usize = 3;

/// A block that is not believed yet.
pub(super) struct Candidate {
    pub(super) id: BlockId,
    pub(super) from: NodeId,
    pub(super) record: BlockRecord,
}

/// A request for a slot: its number, when and whom.
struct Asking {
    id: u64,
    at: Instant,
    holders: Vec<NodeId>,
}

/// A slot that is not settled.
pub(super) struct SlotJob {
    /// The request under way.
    asked: Option<Asking>,
    /// Peers asked since everybody was asked last, whatever they said.
    asked_peers: BTreeSet<NodeId>,
    /// Peers that do not have it, and when they were asked.
    denied: BTreeMap<NodeId, Instant>,
    /// Peers that say it was missed.
    said_miss: BTreeSet<NodeId>,
    candidates: Vec<Candidate>,
    /// It was handed over, with so many bytes; if it is not settled by then, it was lost on the way.
    accepted: Option<(u64, Instant)>,
    not_before: Instant,
}

impl SlotJob {
    fn new(now: Instant) -> Self {
        Self {
            asked: None,
            asked_peers: BTreeSet::new(),
            denied: BTreeMap::new(),
            said_miss: BTreeSet::new(),
            candidates: Vec::new(),
            accepted: None,
            not_before: now,
        }
    }

    /// Whether a peer was asked since everybody was asked last.
    pub(super) fn was_asked(&self, node: &NodeId) -> bool {
        self.asked_peers.contains(node)
    }

    pub(super) fn ask(&mut self, id: u64, holders: Vec<NodeId>, at: Instant) {
        self.asked = Some(Asking { id, at, holders });
        self.accepted = None;
    }

    /// Whom the request under way asks.
    pub(super) fn asking(&self) -> Vec<NodeId> {
        self.asked.as_ref().map_or(Vec::new(), |asked| asked.holders.clone())
    }

    fn asked_at(&self, now: Instant) -> Instant {
        self.asked.as_ref().map_or(now, |asked| asked.at)
    }

    /// Request `id` is over.
    pub(super) fn end(&mut self, id: u64) {
        if self.asked.as_ref().is_some_and(|asked| asked.id == id) {
            self.asked = None;
        }
    }

    /// Everybody was asked: from `not_before` on all are asked again. Who is gone is forgotten.
    pub(super) fn begin_again(&mut self, not_before: Instant, is_here: impl Fn(&NodeId) -> bool) {
        self.asked_peers.clear();
        self.denied.retain(|node, _| is_here(node));
        self.said_miss.retain(is_here);
        self.not_before = not_before;
    }

    /// Who said something else than the truth.
    pub(super) fn liars(&self, truth: SettledSlot) -> BTreeSet<NodeId> {
        let is_other = |candidate: &&Candidate| SettledSlot::Block(candidate.id) != truth;
        let others = self.candidates.iter().filter(is_other);
        let mut liars: BTreeSet<NodeId> = others.map(|candidate| candidate.from).collect();
        if truth != SettledSlot::Miss {
            liars.extend(&self.said_miss);
        }
        liars
    }

    /// Ids of the blocks that are not believed yet.
    pub(super) fn candidate_ids(&self) -> impl Iterator<Item = BlockId> + '_ {
        self.candidates.iter().map(|candidate| candidate.id)
    }

    fn bytes(&self) -> u64 {
        let records = self
            .candidates
            .iter()
            .map(|candidate| candidate.record.as_bytes().len() as u64);
        records.sum::<u64>() + self.accepted.map_or(0, |(bytes, _)| bytes)
    }

    fn is_due(&self, now: Instant) -> bool {
        let accepted = self.accepted.is_some_and(|(_, until)| now < until);
        self.asked.is_none() && !accepted && now >= self.not_before
    }
}

/// A period that is fetched.
pub(super) struct Job {
    slots: BTreeMap<u8, SlotJob>,
    /// Whose entry is the hint.
    hinted_by: Option<NodeId>,
    hint_was_asked: bool,
    /// Until then an entry is waited for.
    hint_until: Option<Instant>,
    last_progress: Instant,
}

impl Job {
    pub(super) fn new(awaited: impl Iterator<Item = u8>, now: Instant) -> Self {
        Self {
            slots: awaited.map(|thread| (thread, SlotJob::new(now))).collect(),
            hinted_by: None,
            hint_was_asked: false,
            hint_until: None,
            last_progress: now,
        }
    }

    pub(super) fn last_progress(&self) -> Instant {
        self.last_progress
    }

    pub(super) fn bytes(&self) -> u64 {
        self.slots.values().map(SlotJob::bytes).sum()
    }

    pub(super) fn slot_mut(&mut self, thread: u8) -> Option<&mut SlotJob> {
        self.slots.get_mut(&thread)
    }

    pub(super) fn is_settled(&self, thread: u8) -> bool {
        !self.slots.contains_key(&thread)
    }

    /// A slot is settled; what was known of it, if that is news.
    pub(super) fn settle(&mut self, thread: u8, now: Instant) -> Option<SlotJob> {
        let slot = self.slots.remove(&thread)?;
        self.last_progress = now;
        Some(slot)
    }

    pub(super) fn wants_hint(&self) -> bool {
        !self.hint_was_asked
    }

    pub(super) fn hint_asked(&mut self, until: Instant) {
        self.hint_was_asked = true;
        self.hint_until = Some(until);
    }

    pub(super) fn hint_over(&mut self) {
        self.hint_until = None;
    }

    pub(super) fn hinted_by(&self) -> Option<NodeId> {
        self.hinted_by
    }

    /// An entry arrived: slots that it says were missed are asked for later than the others.
    pub(super) fn hint(&mut self, from: NodeId, entry: &PeriodEntry, misses_not_before: Instant) {
        self.hint_until = None;
        if entry.is_lost() {
            return;
        }
        self.hinted_by = Some(from);
        for (id, thread) in entry.ids().zip(0..) {
            if let (None, Some(slot)) = (id, self.slots.get_mut(&thread)) {
                slot.not_before = misses_not_before;
            }
        }
    }

    /// Threads whose slot is to be asked for now.
    pub(super) fn due(&self, now: Instant) -> impl Iterator<Item = u8> + '_ {
        let waits = self.hint_until.is_some_and(|until| now < until);
        let due = self.slots.iter().filter(move |(_, slot)| !waits && slot.is_due(now));
        due.map(|(thread, _)| *thread)
    }

    pub(super) fn said_miss(&mut self, thread: u8, from: NodeId, now: Instant) {
        if let Some(slot) = self.slots.get_mut(&thread) {
            let asked_at = slot.asked_at(now);
            slot.said_miss.insert(from);
            slot.asked_peers.insert(from);
            slot.denied.insert(from, asked_at);
        }
    }

    /// Keeps a block until it is believed; tells whether it is news. Others are asked for the slot later: it may be false.
    pub(super) fn keep(&mut self, thread: u8, candidate: Candidate, now: Instant, patience: Duration) -> bool {
        let Some(slot) = self.slots.get_mut(&thread) else {
            return false;
        };
        slot.asked_peers.insert(candidate.from);
        slot.denied.remove(&candidate.from);
        let known = slot.candidates.iter().any(|known| known.id == candidate.id);
        if known || slot.candidates.len() >= CANDIDATES_MAX {
            return false;
        }
        slot.candidates.push(candidate);
        slot.not_before = now + patience;
        self.last_progress = now;
        true
    }

    /// Takes out a block to be looked at.
    pub(super) fn take(&mut self, thread: u8, id: &BlockId) -> Option<Candidate> {
        let slot = self.slots.get_mut(&thread)?;
        let index = slot.candidates.iter().position(|candidate| candidate.id == *id)?;
        Some(slot.candidates.swap_remove(index))
    }

    /// What was sent for a slot was no good: everybody is asked for it, from now on.
    pub(super) fn ask_all_again(&mut self, thread: u8, now: Instant) {
        if let Some(slot) = self.slots.get_mut(&thread) {
            slot.begin_again(now, |_| true);
        }
    }

    /// Forgets the blocks that a peer sent; returns thread and id of each. Their slots are asked for again at once.
    pub(super) fn forget_candidates_of(&mut self, node: &NodeId, now: Instant) -> Vec<(u8, BlockId)> {
        let mut forgotten = Vec::new();
        for (thread, slot) in &mut self.slots {
            let (gone, kept) = std::mem::take(&mut slot.candidates)
                .into_iter()
                .partition(|candidate: &Candidate| candidate.from == *node);
            slot.candidates = kept;
            if !gone.is_empty() {
                slot.begin_again(now, |_| true);
            }
            forgotten.extend(gone.into_iter().map(|candidate| (*thread, candidate.id)));
        }
        forgotten
    }

    /// A block is handed over, with so many bytes; if the slot is not settled by then, it was lost on the way.
    pub(super) fn accept(&mut self, thread: u8, bytes: u64, until: Instant) {
        if let Some(slot) = self.slots.get_mut(&thread) {
            slot.accepted = Some((bytes, until));
        }
    }

    /// What a slot has is known: who said something else, and the ids of what they sent, which is forgotten.
    pub(super) fn refute(&mut self, thread: u8, truth: SettledSlot) -> (BTreeSet<NodeId>, Vec<BlockId>) {
        let Some(slot) = self.slots.get_mut(&thread) else {
            return Default::default();
        };
        let liars = slot.liars(truth);
        slot.said_miss.clear();
        (liars, slot.candidates.drain(..).map(|candidate| candidate.id).collect())
    }

    /// Blocks that are not believed yet: thread and id.
    pub(super) fn candidates(&self) -> Vec<(u8, BlockId)> {
        let of_slot = |(thread, slot): (&u8, &SlotJob)| {
            let thread = *thread;
            slot.candidate_ids().map(move |id| (thread, id)).collect::<Vec<_>>()
        };
        self.slots.iter().flat_map(of_slot).collect()
    }

    pub(super) fn has_candidates(&self) -> bool {
        self.slots.values().any(|slot| !slot.candidates.is_empty())
    }

    pub(super) fn forget_candidates(&mut self) {
        for slot in self.slots.values_mut() {
            for candidate in slot.candidates.drain(..) {
                slot.asked_peers.remove(&candidate.from);
            }
        }
    }

    /// A request for a slot was not answered with a block.
    pub(super) fn failed(&mut self, thread: u8, attempts: &[(NodeId, FetchFailure)], now: Instant) {
        let Some(slot) = self.slots.get_mut(&thread) else {
            return;
        };
        let asked_at = slot.asked_at(now);
        for (node, failure) in attempts {
            slot.asked_peers.insert(*node);
            match failure {
                // It may have it all the same.
                FetchFailure::Busy | FetchFailure::NotConnected => {}
                FetchFailure::NotYet
                | FetchFailure::NotHeld
                | FetchFailure::Pruned
                | FetchFailure::Timeout
                | FetchFailure::Quarantined => {
                    slot.denied.insert(*node, asked_at);
                }
            }
        }
    }

    /// Whether a peer was asked for the block of a slot since a moment and does not have it.
    pub(super) fn was_denied(&self, thread: u8, id: &BlockId, node: &NodeId, since: Instant) -> bool {
        let Some(slot) = self.slots.get(&thread) else {
            return false;
        };
        let is_here = slot.candidates.iter().any(|candidate| candidate.id == *id);
        let denied = slot.denied.get(node).is_some_and(|asked| *asked >= since);
        // Who has another block in the slot does not have this one.
        let other = slot.candidates.iter().any(|candidate| candidate.from == *node);
        !is_here && slot.accepted.is_none() && (denied || other)
    }
}
