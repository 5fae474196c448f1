//! Blocks of periods above the anchor: which slots are asked for, from whom, and which blocks are believed.
//!
//! Pure: state, input and time in, actions out. A block is believed when a block that is believed already names it as the
//! parent in its thread, beginning with final blocks that consensus handed over; then its own parent is believed. So a thread
//! is filled from above, and a miss settles by itself when the block below it is found. A peer's word for a miss means
//! nothing until then; entries are hints which slots have blocks. Every slot is asked of one peer after another, so that blocks
//! which are spread over several nodes come together though none has all of them.
//!
//! A block comes from one peer, so whatever is wrong with one is that peer's fault: ids, operations, signatures, or a block
//! where a believed one, or a believed miss, is.
//!
//! Who sent a false block is asked no more, and nothing that it sent is waited for: every slot of which a block of its was kept is
//! asked of the others at once. A false block has the true id where only its signature is false, so that the true one, when it
//! came too, was taken for the same.
//!
//! Left out: periods of segments whose root is accepted and of which no block is here. These are taken by their table.

mod asking;
mod job;

use self::job::{Candidate, Job};
use crate::fetch::sources::may_have_block;
use crate::fetch::window::{WindowLimits, Windows};
use crate::fetch::{Asker, RequestIds};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{FetchFailure, FetchTarget, SlotContent, StoragePeer};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

/// Ids that are believed and not found yet; beyond that the store's own links are asked again.
const TRUSTED_MAX: usize = 1 << 16;
/// Periods fetched at a time, those included that are stuck: more than a segment has.
const JOBS_MAX: usize = 1024;

/// Limits of fetching blocks.
#[derive(Clone, Copy, Debug)]
pub struct PeriodLimits {
    /// Periods fetched at a time.
    pub periods: usize,
    /// Bytes of blocks that are in flight, not believed yet, or handed over and not written yet.
    pub bytes: u64,
    /// How long a period may stay open before it is fetched.
    pub delay: Duration,
    /// How long to wait before a slot that nobody had is asked for again.
    pub patience: Duration,
    /// Windows of peers.
    pub windows: WindowLimits,
}

impl Default for PeriodLimits {
    fn default() -> Self {
        Self {
            periods: 32,
            bytes: 64 << 20,
            delay: Duration::from_secs(15),
            patience: Duration::from_secs(20),
            windows: WindowLimits::default(),
        }
    }
}

/// A block that is believed to be final, because a believed one names it as its parent, or consensus told its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedBlock {
    /// Its thread.
    pub thread: u8,
    /// Its id.
    pub id: BlockId,
    /// It stands below this period: that of the block which names it, or one after its own.
    pub before: u64,
}

/// What the store lacks above the anchor, as its writer tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OpenPeriods {
    /// Final blocks that are not here.
    pub wanted: Vec<WantedBlock>,
    /// Periods with slots that are not settled, the most urgent first, with the threads whose slot is.
    pub periods: Vec<(u64, BTreeSet<u8>)>,
    /// Closed periods whose entries tell which block of each thread is the last one there. Without them the first open segment
    /// cannot be completed by links. The writer checks them against the table.
    pub entries: Option<RangeInclusive<u64>>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum PeriodAction {
    /// Ask for something; answers come back with `id`.
    Fetch {
        /// Of the request.
        id: u64,
        /// What to ask for.
        target: FetchTarget,
        /// Whom, in this order.
        holders: Vec<NodeId>,
    },
    /// A block is believed and verified: archive it.
    Accept {
        /// Its slot.
        slot: Slot,
        /// The block.
        record: BlockRecord,
    },
    /// Entries that [`OpenPeriods::entries`] asked for: for the writer, who checks them. If one is false, `from` is at fault.
    TakeEntries {
        /// Who sent them.
        from: NodeId,
        /// With their periods.
        entries: Vec<(u64, PeriodEntry)>,
    },
    /// This node sent what is proven wrong.
    Quarantine {
        /// Who.
        node: NodeId,
        /// What was wrong.
        reason: String,
    },
}

/// What the plan can look at.
pub struct PeriodsView<'a> {
    /// Now.
    pub now: Instant,
    /// Connected peers that speak storage.
    pub peers: &'a [StoragePeer],
    /// Whether a period's segment is taken by its table.
    pub is_anchored: &'a dyn Fn(u64) -> bool,
    /// What a slot has, if it is settled here.
    pub settled: &'a dyn Fn(Slot) -> Option<SettledSlot>,
}

/// What a settled slot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledSlot {
    /// The block with this id.
    Block(BlockId),
    /// None.
    Miss,
}

/// What a request asked for.
enum Asked {
    Block(Slot),
    Entries { first: u64, count: u32 },
    Border(Vec<NodeId>),
}

/// The state of fetching blocks.
pub struct PeriodsPlan {
    parameters: ArchiveParameters,
    limits: PeriodLimits,
    windows: Windows,
    ids: RequestIds,
    jobs: BTreeMap<u64, Job>,
    /// When a period was first seen to be open.
    open_since: HashMap<u64, Instant>,
    /// Final blocks that are not here, thread and id, and below which period.
    trusted: HashMap<(u8, BlockId), u64>,
    /// Peers that were asked for the entries of the border, and until when nobody is.
    border_asked: Vec<NodeId>,
    border_not_before: Option<Instant>,
    /// Where a block that is not believed yet is said to stand.
    found: HashMap<(u8, BlockId), Slot>,
    requests: HashMap<u64, Asked>,
    /// Bytes of a block, on average over the last ones.
    average: u64,
}

impl PeriodsPlan {
    /// Nothing to fetch yet.
    pub fn new(parameters: ArchiveParameters, limits: PeriodLimits) -> Self {
        Self {
            parameters,
            limits,
            windows: Windows::new(limits.windows),
            ids: RequestIds::new(Asker::Periods),
            jobs: BTreeMap::new(),
            open_since: HashMap::new(),
            trusted: HashMap::new(),
            border_asked: Vec::new(),
            border_not_before: None,
            found: HashMap::new(),
            requests: HashMap::new(),
            average: 16 << 10,
        }
    }

    /// Periods that are being fetched, and requests under way.
    pub fn under_way(&self) -> (usize, usize) {
        (self.jobs.len(), self.requests.len())
    }

    /// Bytes in flight, not believed yet, or not written yet.
    pub fn bytes(&self) -> u64 {
        self.windows.in_flight() + self.jobs.values().map(Job::bytes).sum::<u64>()
    }

    /// Whether every connected peer that may have a period was asked since a moment for each of its blocks that is not here, at
    /// least one peer, and none has it. The slots of the period are known to be `ids`.
    pub fn no_holder_since(&self, period: u64, ids: &[Option<BlockId>], since: Instant, peers: &[StoragePeer]) -> bool {
        let Some(job) = self.jobs.get(&period) else {
            return false;
        };
        let mut useful = peers.iter().filter(|peer| may_have_block(peer, period)).peekable();
        if useful.peek().is_none() {
            return false;
        }
        let missing: Vec<(&BlockId, u8)> = ids
            .iter()
            .zip(0..)
            .filter_map(|(id, thread)| Some((id.as_ref()?, thread)))
            .filter(|(_, thread)| !job.is_settled(*thread))
            .collect();
        let nowhere = |node: &NodeId| {
            let denied = |(id, thread): &(&BlockId, u8)| job.was_denied(*thread, id, node, since);
            missing.iter().all(denied)
        };
        !missing.is_empty() && useful.all(|peer| nowhere(&peer.node))
    }

    /// Takes in what the store lacks now, and says what to do.
    pub fn on_missing(&mut self, missing: &OpenPeriods, view: &PeriodsView<'_>) -> Vec<PeriodAction> {
        for id in self.windows.overdue(view.now) {
            self.on_unanswered(id, view.now);
        }
        if self.trusted.len() + missing.wanted.len() > TRUSTED_MAX {
            self.trusted.clear();
        }
        self.trust(missing);
        let quarantined = view.peers.iter().filter(|peer| peer.quarantined);
        quarantined.for_each(|peer| self.forget_blocks_of(&peer.node, view.now));
        let mut actions = self.note_open(missing, view);
        self.open_jobs(missing, view);
        let known = self.found.keys().copied().collect();
        actions.extend(self.believe(known, view));
        actions.extend(self.ask_border(missing, view));
        actions.extend(self.ask(view));
        actions
    }

    fn trust(&mut self, missing: &OpenPeriods) {
        let wanted = missing.wanted.iter();
        self.trusted
            .extend(wanted.map(|wanted| ((wanted.thread, wanted.id), wanted.before)));
    }

    /// Ends the jobs of periods that are whole or anchored by now, and compares settled slots with what peers said.
    fn note_open(&mut self, missing: &OpenPeriods, view: &PeriodsView<'_>) -> Vec<PeriodAction> {
        let is_open = |period: &u64| !(view.is_anchored)(*period);
        let open: BTreeMap<u64, &BTreeSet<u8>> = missing
            .periods
            .iter()
            .filter(|(period, _)| is_open(period))
            .map(|(period, settled)| (*period, settled))
            .collect();
        self.open_since.retain(|period, _| open.contains_key(period));
        for period in open.keys() {
            self.open_since.entry(*period).or_insert(view.now);
        }
        let threads: BTreeSet<u8> = (0..self.parameters.thread_count).collect();
        let mut actions = Vec::new();
        let periods: Vec<u64> = self.jobs.keys().copied().collect();
        for period in periods {
            let settled = open.get(&period).copied().unwrap_or(&threads);
            for thread in settled {
                actions.extend(self.settle_slot(Slot::new(period, *thread), view));
            }
            if !open.contains_key(&period) {
                self.close_job(period);
            }
        }
        if self.jobs.is_empty() {
            self.trusted.clear();
            self.trust(missing);
        }
        actions
    }

    /// A slot is settled here: whoever said something else lied.
    fn settle_slot(&mut self, slot: Slot, view: &PeriodsView<'_>) -> Vec<PeriodAction> {
        let is_awaited = self
            .jobs
            .get(&slot.period)
            .is_some_and(|job| !job.is_settled(slot.thread));
        if !is_awaited {
            return Vec::new();
        }
        let actions = match (view.settled)(slot) {
            Some(truth) => self.refute(slot, truth),
            None => Vec::new(),
        };
        if let Some(job) = self.jobs.get_mut(&slot.period) {
            let of_slot = job.settle(slot.thread, view.now);
            for id in of_slot.iter().flat_map(|of_slot| of_slot.candidate_ids()) {
                self.found.remove(&(slot.thread, id));
            }
        }
        actions
    }

    fn close_job(&mut self, period: u64) {
        for candidate in self.jobs.remove(&period).iter().flat_map(Job::candidates) {
            self.found.remove(&candidate);
        }
        let of_period = |asked: &Asked| matches!(asked, Asked::Block(slot) if slot.period == period);
        let requests = self.requests.iter().filter(|(_, asked)| of_period(asked));
        let ids: Vec<u64> = requests.map(|(id, _)| *id).collect();
        for id in ids {
            self.requests.remove(&id);
            self.windows.on_done(id);
        }
    }

    /// Takes on the newest periods that have been open for long enough. One that is stuck does not keep older ones waiting.
    fn open_jobs(&mut self, missing: &OpenPeriods, view: &PeriodsView<'_>) {
        let is_stuck = |job: &&Job| view.now.duration_since(job.last_progress()) >= self.limits.patience / 2;
        let stuck = self.jobs.values().filter(is_stuck).count();
        for (period, settled) in &missing.periods {
            if self.jobs.len() >= (self.limits.periods + stuck).min(JOBS_MAX) {
                break;
            }
            let since = self.open_since.get(period);
            let due = since.is_some_and(|since| view.now.duration_since(*since) >= self.limits.delay);
            if due && !self.jobs.contains_key(period) {
                let awaited = (0..self.parameters.thread_count).filter(|thread| !settled.contains(thread));
                self.jobs.insert(*period, Job::new(awaited, view.now));
            }
        }
    }

    /// Entries arrived: hints which slots have blocks, or what the writer asked for.
    pub fn on_entries(
        &mut self,
        id: u64,
        from: NodeId,
        (first_period, entries): (u64, Vec<PeriodEntry>),
        now: Instant,
    ) -> Vec<PeriodAction> {
        let bytes = entries.iter().map(|entry| u64::from(entry.length())).sum();
        let entries = (first_period..).zip(entries);
        match self.requests.get(&id) {
            Some(Asked::Border(_)) => {
                self.windows.on_bytes(id, from, bytes, now);
                let entries = entries.collect();
                return vec![PeriodAction::TakeEntries { from, entries }];
            }
            Some(Asked::Entries { first, count }) => {
                let asked = *first..*first + u64::from(*count);
                self.windows.on_bytes(id, from, bytes, now);
                for (period, entry) in entries.filter(|(period, _)| asked.contains(period)) {
                    if let Some(job) = self.jobs.get_mut(&period) {
                        job.hint(from, &entry, now + self.limits.patience);
                    }
                }
            }
            Some(Asked::Block(_)) | None => {}
        }
        Vec::new()
    }

    /// What a peer has in a slot arrived.
    pub fn on_block(
        &mut self,
        id: u64,
        from: NodeId,
        content: SlotContent<BlockRecord>,
        view: &PeriodsView<'_>,
    ) -> Vec<PeriodAction> {
        let Some(Asked::Block(slot)) = self.requests.get(&id) else {
            return Vec::new();
        };
        let slot = *slot;
        let bytes = match &content {
            SlotContent::Block(record) => record.as_bytes().len() as u64,
            SlotContent::Miss => 1,
        };
        self.windows.on_bytes(id, from, bytes, view.now);
        let Some(job) = self.jobs.get_mut(&slot.period) else {
            return Vec::new();
        };
        let record = match content {
            SlotContent::Miss => {
                job.said_miss(slot.thread, from, view.now);
                return Vec::new();
            }
            SlotContent::Block(record) => record,
        };
        self.average = (self.average * 15 + bytes) / 16;
        match record.view(self.parameters.thread_count) {
            Ok(seen) if seen.slot == slot => {
                let id = seen.block_id();
                let candidate = Candidate { id, from, record };
                if job.keep(slot.thread, candidate, view.now, self.limits.patience) {
                    self.found.insert((slot.thread, id), slot);
                }
                self.shrink();
                self.believe(vec![(slot.thread, id)], view)
            }
            _ => vec![quarantine(from, format!("what it sent is not a block of slot {slot}"))],
        }
    }

    /// The oldest blocks make room: they are believed last.
    fn shrink(&mut self) {
        while self.jobs.values().map(Job::bytes).sum::<u64>() > self.limits.bytes {
            let holding = self.jobs.iter_mut().find(|(_, job)| job.has_candidates());
            let Some((_, job)) = holding else { return };
            for candidate in job.candidates() {
                self.found.remove(&candidate);
            }
            job.forget_candidates();
        }
    }

    /// A request is over: what it did not bring is asked of others.
    pub fn on_complete(&mut self, id: u64, view: &PeriodsView<'_>) -> Vec<PeriodAction> {
        self.windows.on_done(id);
        self.end_request(id);
        self.ask(view)
    }

    /// A request could not be sent: later again.
    pub fn on_not_asked(&mut self, id: u64, now: Instant) {
        self.windows.on_failed(id, now);
        self.end_request(id);
    }

    /// An answer was lost: those who were asked count as asked.
    fn on_unanswered(&mut self, id: u64, now: Instant) {
        let of_slot = match self.requests.get(&id) {
            Some(Asked::Block(slot)) => self.jobs.get_mut(&slot.period).map(|job| (job, slot.thread)),
            _ => None,
        };
        let asked = of_slot
            .and_then(|(job, thread)| job.slot_mut(thread))
            .map(|slot| slot.asking());
        let attempts = asked
            .unwrap_or_default()
            .into_iter()
            .map(|node| (node, FetchFailure::Timeout));
        let attempts: Vec<_> = attempts.collect();
        self.on_failed(id, &attempts, now);
    }

    /// A request failed: what each of those asked did.
    pub fn on_failed(&mut self, id: u64, attempts: &[(NodeId, FetchFailure)], now: Instant) {
        match self.requests.get(&id) {
            Some(Asked::Block(slot)) => {
                if let Some(job) = self.jobs.get_mut(&slot.period) {
                    job.failed(slot.thread, attempts, now);
                }
            }
            Some(Asked::Entries { .. } | Asked::Border(_)) => {}
            None => return,
        }
        let answered = |(_, failure): &(NodeId, FetchFailure)| *failure != FetchFailure::Timeout;
        if !attempts.is_empty() && attempts.iter().all(answered) {
            self.windows.on_done(id);
        } else {
            self.windows.on_failed(id, now);
        }
        self.end_request(id);
    }

    fn end_request(&mut self, id: u64) {
        match self.requests.remove(&id) {
            Some(Asked::Block(slot)) => {
                if let Some(of_slot) = self
                    .jobs
                    .get_mut(&slot.period)
                    .and_then(|job| job.slot_mut(slot.thread))
                {
                    of_slot.end(id);
                }
            }
            Some(Asked::Entries { first, count }) => {
                for (_, job) in self.jobs.range_mut(first..first + u64::from(count)) {
                    job.hint_over();
                }
            }
            Some(Asked::Border(holders)) => self.border_asked.extend(holders),
            None => {}
        }
    }

    /// Takes those of these blocks that are here and believed. Each makes its parent believed.
    fn believe(&mut self, mut ids: Vec<(u8, BlockId)>, view: &PeriodsView<'_>) -> Vec<PeriodAction> {
        ids.retain(|id| self.trusted.contains_key(id));
        let mut actions = Vec::new();
        while let Some((thread, id)) = ids.pop() {
            if let Some(slot) = self.found.remove(&(thread, id)) {
                let (parent, of_block) = self.believe_block(slot, id, view);
                actions.extend(of_block);
                ids.extend(parent.map(|parent| (thread, parent)));
            }
        }
        actions
    }

    /// Takes a block whose id is believed, unless its bytes are not what they should be; its parent is believed then.
    fn believe_block(
        &mut self,
        slot: Slot,
        id: BlockId,
        view: &PeriodsView<'_>,
    ) -> (Option<BlockId>, Vec<PeriodAction>) {
        let thread = slot.thread;
        let before = self.trusted.get(&(thread, id)).copied();
        let job = self.jobs.get_mut(&slot.period);
        let Some((job, candidate)) = job.and_then(|job| {
            let candidate = job.take(thread, &id)?;
            Some((job, candidate))
        }) else {
            return (None, Vec::new());
        };
        let threads = self.parameters.thread_count;
        if let Err(error) = verify_block(&candidate.record, self.parameters.chain_id, threads) {
            let reason = format!("block {id} of slot {slot}: {error}");
            job.ask_all_again(thread, view.now);
            self.forget_blocks_of(&candidate.from, view.now);
            return (None, vec![quarantine(candidate.from, reason)]);
        }
        let bytes = candidate.record.as_bytes().len() as u64;
        job.accept(thread, bytes, view.now + self.limits.patience);
        let seen = candidate.record.view(threads);
        let parent = seen.ok().and_then(|seen| seen.same_thread_parent());
        self.trusted.remove(&(thread, id));
        if let Some(parent) = parent {
            self.trusted.insert((thread, parent), slot.period);
        }
        let mut actions = self.refute(slot, SettledSlot::Block(id));
        let below = before.unwrap_or(0).max(slot.period + 1);
        let between: Vec<u64> = self
            .jobs
            .range(slot.period + 1..below)
            .map(|(period, _)| *period)
            .collect();
        for period in between {
            // Nothing stands between a believed block and the one that names it.
            actions.extend(self.refute(Slot::new(period, thread), SettledSlot::Miss));
        }
        let record = candidate.record;
        actions.push(PeriodAction::Accept { slot, record });
        (parent, actions)
    }

    /// Nothing that this peer sent is believed any more: others are asked for it at once.
    fn forget_blocks_of(&mut self, node: &NodeId, now: Instant) {
        for job in self.jobs.values_mut() {
            for candidate in job.forget_candidates_of(node, now) {
                self.found.remove(&candidate);
            }
        }
    }

    /// What a slot has is known: whoever said something else lied.
    fn refute(&mut self, slot: Slot, truth: SettledSlot) -> Vec<PeriodAction> {
        let Some(job) = self.jobs.get_mut(&slot.period) else {
            return Vec::new();
        };
        let (liars, ids) = job.refute(slot.thread, truth);
        for id in ids {
            self.found.remove(&(slot.thread, id));
        }
        let lied = |node| quarantine(node, format!("it has something else in slot {slot} than what is final"));
        liars.into_iter().map(lied).collect()
    }
}

fn quarantine(node: NodeId, reason: String) -> PeriodAction {
    PeriodAction::Quarantine { node, reason }
}
