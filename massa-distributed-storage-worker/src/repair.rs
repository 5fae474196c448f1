//! Which missing blocks are fetched, from whom, and which of the answers are believed.
//!
//! Pure: state, input and time in, actions out; [`crate::repair_worker`] does what they say. A period that was not seen whole is
//! fetched whole: its manifest from any peer, then the pages of the blocks that are missing here. A manifest proves
//! nothing. A block is believed when a block that is believed already names it as the parent in its thread, beginning
//! with final blocks that consensus handed over; then its own parent is believed. So a period is filled from above, and
//! misses settle by themselves when the block below is found. Whoever sent a manifest or pages that turn out to be
//! false is put in quarantine.

pub mod assigned;
pub mod chunk_check;
pub mod chunks;
pub mod driver;
pub mod handover_segment;
pub mod lost_segment;
pub mod memory;
pub mod periods;
pub mod progress;
pub mod refetch_segment;
pub mod scrub;
pub mod tables;
pub mod writing;

use crate::assembly::PeriodPages;
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest};
use massa_distributed_storage_exports::network::{FetchPriority, FetchTarget, StoragePeer, VerifiedPage};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::verification::{verify_block, VerifyBlockError};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkIndex, PeriodRoot};
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::{Duration, Instant};

/// Ids that are believed and not found yet; beyond that the store's own links are asked again.
const TRUSTED_MAX: usize = 1 << 16;
/// Manifests of one period with different roots that are kept.
const MANIFESTS_MAX: usize = 4;

/// Limits of repair.
#[derive(Clone, Copy, Debug)]
pub struct RepairLimits {
    /// Periods fetched at a time.
    pub periods: usize,
    /// Bytes of their bodies, taken together.
    pub bytes: u64,
    /// How long a period may stay open before it is fetched.
    pub delay: Duration,
    /// How long to wait for progress in a period before another peer is asked.
    pub patience: Duration,
}

impl Default for RepairLimits {
    fn default() -> Self {
        Self {
            periods: 8,
            bytes: 64 << 20,
            delay: Duration::from_secs(15),
            patience: Duration::from_secs(20),
        }
    }
}

/// What the store lacks, as its writer tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Blocks known to be final and not here: thread and id.
    pub wanted: Vec<(u8, BlockId)>,
    /// Periods that are not archived, newest first, with the threads whose block is here.
    pub periods: Vec<(u64, BTreeSet<u8>)>,
    /// The rest of the periods that are not archived: how many.
    pub more_periods: u64,
}

/// What repair asks to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum RepairAction {
    /// Ask for something; answers come back with `id`.
    Fetch {
        /// Of the question.
        id: u64,
        /// What to ask for.
        target: FetchTarget,
        /// Whom, in this order.
        holders: Vec<NodeId>,
        /// How soon.
        priority: FetchPriority,
    },
    /// A block is believed and verified: archive it.
    Accept {
        /// Its place.
        slot: Slot,
        /// The block.
        record: BlockRecord,
    },
    /// This node sent what is proven wrong.
    Quarantine {
        /// Who.
        node: NodeId,
        /// What was wrong.
        reason: String,
    },
}

/// Tells who should hold each chunk of a period, best first.
pub type HoldersOf<'a> = dyn Fn(u64, &[ChunkEntry]) -> Vec<Vec<NodeId>> + 'a;

/// What the plan can look at.
pub struct RepairView<'a> {
    /// Now.
    pub now: Instant,
    /// Connected peers that speak storage.
    pub peers: &'a [StoragePeer],
    /// Placement.
    pub holders_of: &'a HoldersOf<'a>,
}

/// A manifest with its pages.
struct Candidate {
    root: PeriodRoot,
    /// Who sent it.
    from: BTreeSet<NodeId>,
    pages: PeriodPages<NodeId>,
    /// Questions for pages that are under way.
    asked: HashMap<u64, ChunkIndex>,
    /// When its pages were asked for.
    asked_at: Instant,
    /// When those questions for pages were asked that nobody answered, the last of them.
    unanswered: Option<Instant>,
    /// Not before then are pages asked for again.
    not_before: Instant,
    /// Holders whose pages had wrong signatures.
    avoid: BTreeSet<NodeId>,
}

/// A period that is fetched.
struct PeriodJob {
    candidates: Vec<Candidate>,
    /// Peers whose manifest was asked for.
    asked_peers: BTreeSet<NodeId>,
    /// The question for a manifest that is under way, and when it was asked.
    asking: Option<(u64, Instant)>,
    /// Connected peers that have no manifest of the period, or call it lost, and when they were asked.
    denied: BTreeMap<NodeId, Instant>,
    /// Threads whose block is here or on its way.
    settled: BTreeSet<u8>,
    last_progress: Instant,
}

impl PeriodJob {
    fn new(settled: BTreeSet<u8>, now: Instant) -> Self {
        Self {
            candidates: Vec::new(),
            asked_peers: BTreeSet::new(),
            asking: None,
            denied: BTreeMap::new(),
            settled,
            last_progress: now,
        }
    }

    /// Whether nothing has come of it for a while. Such a period does not keep older ones waiting.
    fn is_stuck(&self, now: Instant, patience: Duration) -> bool {
        now.duration_since(self.last_progress) >= patience / 2
    }

    /// Bytes that it holds, or will hold soon.
    fn bytes(&self, stuck: bool) -> u64 {
        let whole = |candidate: &Candidate| candidate.pages.manifest().header.body_length;
        let held = |candidate: &Candidate| candidate.pages.bytes() as u64;
        let bodies = self.candidates.iter();
        bodies
            .map(|candidate| if stuck { held(candidate) } else { whole(candidate) })
            .sum()
    }

    /// Whether another manifest can be kept; one whose pages nobody has gives way.
    fn has_room(&mut self) -> bool {
        if self.candidates.len() >= MANIFESTS_MAX {
            let gives_way = |candidate: &Candidate| candidate.unanswered.is_some() && candidate.asked.is_empty();
            if let Some(index) = self.candidates.iter().position(gives_way) {
                self.candidates.remove(index);
            }
        }
        self.candidates.len() < MANIFESTS_MAX
    }

    /// Lets go of the pages that only settled places need.
    fn shrink(&mut self) {
        for candidate in &mut self.candidates {
            let settled = &self.settled;
            let threads = 0..candidate.pages.manifest().header.threads;
            candidate
                .pages
                .keep_only(threads.filter(|thread| !settled.contains(thread)));
        }
    }
}

/// The state of repair.
pub struct RepairPlan {
    parameters: ArchiveParameters,
    limits: RepairLimits,
    jobs: BTreeMap<u64, PeriodJob>,
    /// When a period was first seen to be open.
    open_since: HashMap<u64, Instant>,
    /// Final blocks that are not here: thread and id.
    trusted: HashSet<(u8, BlockId)>,
    next_id: u64,
    /// Which period a question belongs to.
    questions: HashMap<u64, u64>,
}

impl RepairPlan {
    /// Nothing to repair yet.
    pub fn new(parameters: ArchiveParameters, limits: RepairLimits) -> Self {
        Self {
            parameters,
            limits,
            jobs: BTreeMap::new(),
            open_since: HashMap::new(),
            trusted: HashSet::new(),
            next_id: 0,
            questions: HashMap::new(),
        }
    }

    /// Periods that are being fetched, and questions under way.
    pub fn under_way(&self) -> (usize, usize) {
        (self.jobs.len(), self.questions.len())
    }

    /// Whether every connected peer that may have a period was asked for it since a moment, at least one, and none has what
    /// is missing: the places of the period are known to be `ids`. Who offers a manifest with these ids, and whose pages
    /// nobody has, does not have it either.
    pub fn no_holder_since(&self, period: u64, ids: &[Option<BlockId>], since: Instant, peers: &[StoragePeer]) -> bool {
        let Some(job) = self.jobs.get(&period) else {
            return false;
        };
        let is_true = |candidate: &&Candidate| {
            let places = &candidate.pages.manifest().places;
            places.iter().map(|place| place.block_id()).eq(ids.iter().copied())
        };
        let unanswered = |candidate: &Candidate| candidate.unanswered.is_some_and(|asked| asked >= since);
        if !job.candidates.iter().filter(is_true).all(unanswered) {
            return false;
        }
        let denied = |peer: &StoragePeer| {
            let offered = job
                .candidates
                .iter()
                .any(|candidate| candidate.from.contains(&peer.node));
            offered || job.denied.get(&peer.node).is_some_and(|asked| *asked >= since)
        };
        let mut useful = peers.iter().filter(|peer| is_useful(peer, period)).peekable();
        useful.peek().is_some() && useful.all(denied)
    }

    /// Takes in what the store lacks now, and says what to do.
    ///
    /// `archived_root` tells the root of a period that is archived by now.
    pub fn on_missing(
        &mut self,
        missing: &Missing,
        archived_root: &dyn Fn(u64) -> Option<PeriodRoot>,
        view: &RepairView<'_>,
    ) -> Vec<RepairAction> {
        if self.trusted.len() + missing.wanted.len() > TRUSTED_MAX {
            self.trusted.clear();
        }
        self.trusted.extend(missing.wanted.iter().copied());
        let mut actions = self.close_jobs(missing, archived_root);
        self.note_open(missing, view.now);
        self.open_jobs(missing, view.now);
        actions.extend(self.believe(view));
        actions.extend(self.ask(view));
        actions
    }

    /// Ends the jobs of periods that are archived. Whoever sent another manifest than the true one lied.
    fn close_jobs(
        &mut self,
        missing: &Missing,
        archived_root: &dyn Fn(u64) -> Option<PeriodRoot>,
    ) -> Vec<RepairAction> {
        let open: HashSet<u64> = missing.periods.iter().map(|(period, _)| *period).collect();
        let closed: Vec<u64> = self
            .jobs
            .keys()
            .copied()
            .filter(|period| !open.contains(period))
            .collect();
        let mut actions = Vec::new();
        for period in closed {
            let job = self.jobs.remove(&period).into_iter();
            self.questions.retain(|_, of| *of != period);
            let Some(root) = archived_root(period) else { continue };
            for candidate in job
                .flat_map(|job| job.candidates)
                .filter(|candidate| candidate.root != root)
            {
                actions.extend(candidate.from.into_iter().map(|node| RepairAction::Quarantine {
                    node,
                    reason: format!("manifest of period {period} has root {}, not {root}", candidate.root),
                }));
            }
        }
        if self.jobs.is_empty() {
            self.trusted.clear();
            self.trusted.extend(missing.wanted.iter().copied());
        }
        actions
    }

    fn note_open(&mut self, missing: &Missing, now: Instant) {
        let open: HashSet<u64> = missing.periods.iter().map(|(period, _)| *period).collect();
        self.open_since.retain(|period, _| open.contains(period));
        for period in open {
            self.open_since.entry(period).or_insert(now);
        }
        for (period, here) in &missing.periods {
            if let Some(job) = self.jobs.get_mut(period) {
                if !here.is_subset(&job.settled) {
                    job.settled.extend(here);
                    job.last_progress = now;
                }
            }
        }
    }

    /// Takes on the newest periods that have been open for long enough.
    fn open_jobs(&mut self, missing: &Missing, now: Instant) {
        for (period, here) in &missing.periods {
            let (mut active, mut bytes) = (0, 0);
            for job in self.jobs.values_mut() {
                let stuck = job.is_stuck(now, self.limits.patience);
                if stuck {
                    job.shrink();
                }
                active += usize::from(!stuck);
                bytes += job.bytes(stuck);
            }
            if active >= self.limits.periods || bytes > self.limits.bytes {
                break;
            }
            let due = now.duration_since(self.open_since[period]) >= self.limits.delay;
            if due && !self.jobs.contains_key(period) {
                self.jobs.insert(*period, PeriodJob::new(here.clone(), now));
            }
        }
    }

    /// Asks for the manifests and pages that are due.
    fn ask(&mut self, view: &RepairView<'_>) -> Vec<RepairAction> {
        let periods: Vec<u64> = self.jobs.keys().rev().copied().collect();
        let mut actions = Vec::new();
        for period in periods {
            actions.extend(self.ask_manifest(period, view));
            actions.extend(self.ask_pages(period, view));
        }
        actions
    }

    fn ask_manifest(&mut self, period: u64, view: &RepairView<'_>) -> Option<RepairAction> {
        let patience = self.limits.patience;
        let job = self.jobs.get_mut(&period)?;
        let idle = view.now.duration_since(job.last_progress) >= patience;
        if job.asking.is_some() || (!job.candidates.is_empty() && !idle) {
            return None;
        }
        let asked = &job.asked_peers;
        let useful = view.peers.iter().filter(|peer| is_useful(peer, period));
        let mut holders: Vec<NodeId> = useful.map(|peer| peer.node).collect();
        holders.retain(|node| !asked.contains(node));
        if holders.is_empty() {
            if idle {
                // Everybody was asked: begin again.
                job.asked_peers.clear();
                job.denied
                    .retain(|node, _| view.peers.iter().any(|peer| peer.node == *node));
                job.last_progress = view.now;
            }
            return None;
        }
        // Different periods from different peers.
        let start = period as usize % holders.len();
        holders.rotate_left(start);
        let id = self.next_id;
        self.next_id += 1;
        job.asking = Some((id, view.now));
        job.last_progress = view.now;
        self.questions.insert(id, period);
        Some(RepairAction::Fetch {
            id,
            target: FetchTarget::Manifest { period },
            holders,
            priority: FetchPriority::Repair,
        })
    }

    fn ask_pages(&mut self, period: u64, view: &RepairView<'_>) -> Vec<RepairAction> {
        let Some(job) = self.jobs.get_mut(&period) else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        for (index, candidate) in job.candidates.iter_mut().enumerate() {
            let manifest = candidate.pages.manifest();
            // What is only said by a later, different manifest is fetched when something shows that it may be true.
            let threads: Vec<u8> = (0..manifest.header.threads)
                .filter(|thread| !job.settled.contains(thread))
                .filter(|thread| {
                    let id = manifest.places[usize::from(*thread)].block_id();
                    index == 0 || id.is_some_and(|id| self.trusted.contains(&(*thread, id)))
                })
                .collect();
            if !candidate.asked.is_empty() || view.now < candidate.not_before {
                continue;
            }
            let wanted = candidate.pages.wanted(threads);
            if view.peers.iter().all(|peer| candidate.avoid.contains(&peer.node)) {
                candidate.avoid.clear();
            }
            let placed = (view.holders_of)(period, &candidate.pages.manifest().chunks);
            if !wanted.is_empty() {
                candidate.asked_at = view.now;
            }
            for piece in wanted {
                let entry = candidate.pages.manifest().chunks[piece.chunk.0 as usize];
                let assigned = placed.get(piece.chunk.0 as usize).map_or(&[][..], Vec::as_slice);
                let id = self.next_id;
                self.next_id += 1;
                candidate.asked.insert(id, piece.chunk);
                self.questions.insert(id, period);
                actions.push(RepairAction::Fetch {
                    id,
                    target: FetchTarget::Pages {
                        period,
                        chunk: piece.chunk,
                        entry,
                        pages: piece.pages,
                    },
                    holders: in_order(assigned, view.peers, &candidate.avoid),
                    priority: FetchPriority::Repair,
                });
            }
        }
        actions
    }

    /// A manifest arrived.
    pub fn on_manifest(
        &mut self,
        id: u64,
        from: NodeId,
        manifest: Manifest,
        view: &RepairView<'_>,
    ) -> Vec<RepairAction> {
        let Some(job) = self.job_of(id) else {
            return Vec::new();
        };
        let period = manifest.header.period;
        let asked_at = job.asking.take().map_or(view.now, |(_, asked_at)| asked_at);
        job.asked_peers.insert(from);
        if manifest.is_lost() {
            // Only an accepted segment root shows whether that is true; who says so is not to blame.
            job.denied.insert(from, asked_at);
            self.questions.remove(&id);
            return Vec::new();
        }
        let root = manifest.root();
        if let Some(known) = job.candidates.iter_mut().find(|candidate| candidate.root == root) {
            known.from.insert(from);
        } else if job.has_room() {
            job.last_progress = view.now;
            job.candidates.push(Candidate {
                root,
                from: BTreeSet::from([from]),
                pages: PeriodPages::new(manifest),
                asked: HashMap::new(),
                asked_at: view.now,
                unanswered: None,
                not_before: view.now,
                avoid: BTreeSet::new(),
            });
        }
        self.questions.remove(&id);
        self.ask_pages(period, view)
    }

    /// A page arrived.
    pub fn on_page(&mut self, id: u64, from: NodeId, page: VerifiedPage, now: Instant) {
        let Some(job) = self.job_of(id) else { return };
        let candidate = job
            .candidates
            .iter_mut()
            .find(|candidate| candidate.asked.contains_key(&id));
        if let Some(candidate) = candidate {
            let chunk = candidate.asked[&id];
            candidate.pages.insert(chunk, from, page);
            job.last_progress = now;
        }
    }

    /// Every page of a question arrived.
    pub fn on_complete(&mut self, id: u64, view: &RepairView<'_>) -> Vec<RepairAction> {
        if let Some(job) = self.job_of(id) {
            for candidate in &mut job.candidates {
                candidate.asked.remove(&id);
            }
        }
        self.questions.remove(&id);
        self.believe(view)
    }

    /// Nobody answered a question.
    pub fn on_failed(&mut self, id: u64, asked: &[NodeId], now: Instant) {
        let patience = self.limits.patience;
        if let Some(job) = self.job_of(id) {
            if let Some((_, asked_at)) = job.asking.filter(|(asking, _)| *asking == id) {
                job.asking = None;
                job.asked_peers.extend(asked);
                job.denied.extend(asked.iter().map(|node| (*node, asked_at)));
            }
            for candidate in &mut job.candidates {
                if candidate.asked.remove(&id).is_some() {
                    candidate.not_before = now + patience / 4;
                    if !asked.is_empty() {
                        candidate.unanswered = Some(candidate.asked_at);
                    }
                }
            }
        }
        self.questions.remove(&id);
    }

    /// A question could not be asked at all: later again.
    pub fn on_not_asked(&mut self, id: u64, now: Instant) {
        self.on_failed(id, &[], now);
    }

    fn job_of(&mut self, id: u64) -> Option<&mut PeriodJob> {
        self.jobs.get_mut(self.questions.get(&id)?)
    }

    /// Takes every block that is here whole and believed. Each may make its parent believed, so from the top down.
    fn believe(&mut self, view: &RepairView<'_>) -> Vec<RepairAction> {
        let mut actions = Vec::new();
        let periods: Vec<u64> = self.jobs.keys().rev().copied().collect();
        for period in periods {
            let mut job = self.jobs.remove(&period).expect("the key was just read");
            for index in 0..job.candidates.len() {
                for thread in 0..self.parameters.thread_count {
                    if !job.settled.contains(&thread) {
                        actions.extend(self.believe_place(&mut job, index, Slot::new(period, thread), view));
                    }
                }
            }
            // What cannot be true is forgotten.
            job.candidates.retain(|candidate| !candidate.from.is_empty());
            self.jobs.insert(period, job);
        }
        actions
    }

    fn believe_place(
        &mut self,
        job: &mut PeriodJob,
        index: usize,
        slot: Slot,
        view: &RepairView<'_>,
    ) -> Vec<RepairAction> {
        let candidate = &mut job.candidates[index];
        let id = candidate.pages.manifest().places[usize::from(slot.thread)].block_id();
        let Some(id) = id.filter(|id| self.trusted.contains(&(slot.thread, *id))) else {
            return Vec::new();
        };
        let record = match candidate.pages.record(slot.thread) {
            Ok(None) => return Vec::new(),
            Ok(Some(record)) => record,
            Err(error) => return refute(candidate, &format!("manifest of period {}: {error}", slot.period)),
        };
        let parameters = &self.parameters;
        let threads = parameters.thread_count;
        match verify_block(&record, parameters.chain_id, threads) {
            Ok(_) => {}
            // No tree covers signatures: they are the word of whoever sent the page.
            Err(error @ (VerifyBlockError::HeaderSignature(_) | VerifyBlockError::OperationSignature { .. })) => {
                return blame(candidate, slot, &error.to_string(), view.now);
            }
            Err(error) => return refute(candidate, &format!("manifest of period {}: {error}", slot.period)),
        }
        let view_of_block = record.view(threads).expect("a verified block can be read");
        if view_of_block.slot != slot {
            return refute(candidate, &format!("block {id} is not of slot {slot}"));
        }
        self.trusted.remove(&(slot.thread, id));
        if let Some(parent) = view_of_block.same_thread_parent() {
            self.trusted.insert((slot.thread, parent));
        }
        job.settled.insert(slot.thread);
        job.last_progress = view.now;
        vec![RepairAction::Accept { slot, record }]
    }
}

fn is_useful(peer: &StoragePeer, period: u64) -> bool {
    !peer.quarantined && may_have(peer, period)
}

/// Whether a peer may have archived `period`, as far as it said.
pub(crate) fn may_have(peer: &StoragePeer, period: u64) -> bool {
    match &peer.capabilities {
        None => true,
        Some(said) => said.floor <= period && said.last_period.is_some_and(|last| last >= period),
    }
}

/// Those who should hold a chunk, then every other connected peer, without those to avoid.
pub(crate) fn in_order(assigned: &[NodeId], peers: &[StoragePeer], avoid: &BTreeSet<NodeId>) -> Vec<NodeId> {
    let others = peers.iter().filter(|peer| !peer.quarantined).map(|peer| peer.node);
    let mut order: Vec<NodeId> = Vec::new();
    for node in assigned.iter().copied().chain(others) {
        if !avoid.contains(&node) && !order.contains(&node) {
            order.push(node);
        }
    }
    order
}

/// The manifest is false: its senders are put in quarantine, and it is forgotten.
fn refute(candidate: &mut Candidate, reason: &str) -> Vec<RepairAction> {
    let senders = std::mem::take(&mut candidate.from).into_iter();
    let reason = reason.to_string();
    let quarantine = |node| RepairAction::Quarantine {
        node,
        reason: reason.clone(),
    };
    senders.map(quarantine).collect()
}

/// A block's signatures are false, and nothing tells which of its pages brought them: if all came from one node, it is
/// put in quarantine. The pages are fetched again from others.
fn blame(candidate: &mut Candidate, slot: Slot, reason: &str, now: Instant) -> Vec<RepairAction> {
    let sources: BTreeSet<NodeId> = candidate.pages.sources(slot.thread).into_iter().collect();
    candidate.pages.forget(slot.thread);
    candidate.avoid.extend(&sources);
    candidate.not_before = now;
    match sources.first() {
        Some(node) if sources.len() == 1 => vec![RepairAction::Quarantine {
            node: *node,
            reason: format!("block of slot {slot}: {reason}"),
        }],
        _ => Vec::new(),
    }
}
