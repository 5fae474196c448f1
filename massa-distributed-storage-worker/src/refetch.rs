//! A segment whose accepted root is not this node's: what is true of it, and fetching that.
//!
//! Pure: state, input and time in, actions out; `segment_repair` does what they say. The manifests of the segment are
//! asked from one peer after another. Nothing of such a list is believed, and nobody is blamed for one, until the root of all
//! of them is the accepted one: then that list is the truth. Its lost periods are entered as lost; other periods that this
//! node has otherwise, or not at all, are fetched whole, verified down to signatures, and replaced in one write batch each.

use crate::assembly::PeriodPages;
use crate::lost::segment_root_of;
use crate::repair::{in_order, may_have, HoldersOf};
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::network::{FetchTarget, StoragePeer, VerifiedPage};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment::SegmentHeader;
use massa_distributed_storage_exports::verification::verify_blocks;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkIndex, PeriodRoot, SegmentRoot};
use massa_models::node::NodeId;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Questions have these numbers, so that they are told from those of repair.
const FIRST_ID: u64 = 1 << 61;
/// Manifests asked for at a time.
const MANIFESTS_AT_A_TIME: usize = 8;
/// How often what is here is compared with the accepted root.
const GUESS_INTERVAL: Duration = Duration::from_secs(1);
/// A segment without a root here is asked for after so many times the patience: until then repair may complete it.
const MISSING_PATIENCE: u32 = 6;
/// The wait after nobody had the accepted list doubles so often at most.
const DOUBLINGS_MAX: u32 = 6;

/// A segment to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its shape.
    pub header: SegmentHeader,
    /// The accepted root.
    pub accepted: SegmentRoot,
    /// This node's root, if it has one.
    pub own: Option<SegmentRoot>,
}

impl Wanted {
    fn periods(&self) -> std::ops::Range<u64> {
        self.header.first_period..self.header.first_period + u64::from(self.header.periods)
    }

    /// Whether this list leads to the accepted root.
    fn is_root_of(&self, manifests: &[Manifest]) -> bool {
        let roots: Vec<PeriodRoot> = manifests.iter().map(Manifest::root).collect();
        roots.len() == self.header.periods as usize && segment_root_of(self.header, &roots) == self.accepted
    }
}

/// What the plan can look at.
pub struct RefetchView<'a> {
    /// Now.
    pub now: Instant,
    /// Connected peers that speak storage.
    pub peers: &'a [StoragePeer],
    /// Placement.
    pub holders_of: &'a HoldersOf<'a>,
    /// The root of a period that is archived here.
    pub own_root: &'a dyn Fn(u64) -> Option<PeriodRoot>,
    /// The manifest of a period as this node would have it: as archived, or in its lost form.
    pub own_manifest: &'a dyn Fn(u64) -> Option<Manifest>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum RefetchAction {
    /// Ask for something; answers come back with `id`.
    Fetch {
        /// Of the question.
        id: u64,
        /// What to ask for.
        target: FetchTarget,
        /// Whom, in this order.
        holders: Vec<NodeId>,
    },
    /// A period is lost: the accepted root covers this manifest.
    EnterLost(Manifest),
    /// A period is to be archived in place of what is known of it.
    Take {
        /// The period.
        period: u64,
        /// Its root, which the accepted one covers.
        root: PeriodRoot,
        /// Its blocks, verified; index = thread.
        records: Vec<Option<BlockRecord>>,
    },
    /// A node sent signatures that are false.
    Quarantine {
        /// Who.
        node: NodeId,
        /// What was wrong.
        reason: String,
    },
    /// The accepted list is known: these periods of it are not as they are here.
    Found {
        /// The segment.
        segment: u64,
        /// Periods that are lost.
        lost: Vec<u64>,
        /// Periods to be fetched.
        others: Vec<u64>,
    },
    /// No peer has the accepted list; it is asked for again after a while.
    NobodyHas {
        /// The segment.
        segment: u64,
        /// How long the wait is.
        wait: Duration,
    },
}

/// Where the work on a segment is.
enum Stage {
    /// Comparing what is here; peers are asked from this moment on.
    Guessing {
        ask_from: Instant,
        next_guess: Option<Instant>,
    },
    /// Asking one peer for its list.
    Asking(Asking),
    /// The list is known.
    Truth(Truth),
}

struct Asking {
    peer: NodeId,
    left: VecDeque<u64>,
    questions: HashMap<u64, u64>,
    manifests: BTreeMap<u64, Manifest>,
    last_progress: Instant,
}

struct Truth {
    manifests: Vec<Manifest>,
    /// What was handed over to be written, and when.
    sent: HashMap<u64, Instant>,
    taking: Option<Taking>,
}

/// A period whose pages are fetched.
struct Taking {
    pages: PeriodPages<NodeId>,
    questions: HashMap<u64, ChunkIndex>,
    avoid: BTreeSet<NodeId>,
    not_before: Instant,
    last_progress: Instant,
}

struct Job {
    wanted: Wanted,
    stage: Stage,
    asked: BTreeSet<NodeId>,
    /// How often nobody had the list.
    failures: u32,
}

/// The state of fetching a segment again. One at a time: later ones name its root.
pub struct RefetchPlan {
    parameters: ArchiveParameters,
    patience: Duration,
    job: Option<Job>,
    next_id: u64,
}

impl RefetchPlan {
    /// Nothing to fetch. Who does not answer in `patience` is passed over.
    pub fn new(parameters: ArchiveParameters, patience: Duration) -> Self {
        Self {
            parameters,
            patience,
            job: None,
            next_id: FIRST_ID,
        }
    }

    /// Whether a question is one of this plan.
    pub fn is_asking(&self, id: u64) -> bool {
        (FIRST_ID..2 * FIRST_ID).contains(&id)
    }

    /// The segment that is fetched.
    pub fn segment(&self) -> Option<u64> {
        self.job.as_ref().map(|job| job.wanted.header.segment)
    }

    /// Goes on with `wanted`, the first segment that is not as it is accepted.
    pub fn on_tick(&mut self, wanted: Option<&Wanted>, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let same = |job: &Job| {
            wanted.is_some_and(|wanted| (job.wanted.header, job.wanted.accepted) == (wanted.header, wanted.accepted))
        };
        if !self.job.as_ref().is_some_and(same) {
            // What repair could not complete in one segment it can hardly complete in the next.
            let goes_on = |job: &Job| matches!(job.stage, Stage::Truth(_));
            let at_once = self.job.as_ref().is_some_and(goes_on);
            self.job = wanted.map(|wanted| Job {
                wanted: *wanted,
                stage: Stage::Guessing {
                    ask_from: match wanted.own {
                        None if !at_once => view.now + self.patience * MISSING_PATIENCE,
                        _ => view.now,
                    },
                    next_guess: None,
                },
                asked: BTreeSet::new(),
                failures: 0,
            });
        }
        let Some(mut job) = self.job.take() else {
            return Vec::new();
        };
        let actions = self.advance(&mut job, view);
        self.job = Some(job);
        actions
    }

    fn advance(&mut self, job: &mut Job, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        match &mut job.stage {
            Stage::Guessing { ask_from, next_guess } => {
                let mut actions = Vec::new();
                if next_guess.map_or(true, |next| view.now >= next) {
                    *next_guess = Some(view.now + GUESS_INTERVAL);
                    let ask = view.now >= *ask_from;
                    let here: Option<Vec<Manifest>> = job.wanted.periods().map(view.own_manifest).collect();
                    match here.filter(|manifests| job.wanted.is_root_of(manifests)) {
                        Some(manifests) => actions.extend(found(job, manifests, view)),
                        None if ask => actions.extend(self.next_peer(job, view)),
                        None => {}
                    }
                }
                actions
            }
            Stage::Asking(asking) => {
                if view.now.duration_since(asking.last_progress) > self.patience * 2 {
                    // An answer was lost, or nobody could be asked.
                    return self.next_peer(job, view);
                }
                if asking.left.is_empty() && asking.questions.is_empty() {
                    return self.look_at_list(job, view);
                }
                ask_manifests(asking, &mut self.next_id, view.now)
            }
            Stage::Truth(_) => self.follow(job, view),
        }
    }

    /// Asks the next peer for its list, or waits if all were asked.
    fn next_peer(&mut self, job: &mut Job, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let last = job.wanted.periods().end - 1;
        let is_useful = |peer: &&StoragePeer| {
            !peer.quarantined && may_have(peer, last) && may_have(peer, job.wanted.header.first_period)
        };
        let peers = view.peers.iter().filter(is_useful).map(|peer| peer.node);
        let next = peers.into_iter().find(|node| !job.asked.contains(node));
        let Some(peer) = next else {
            let wait = self.patience * 2u32.pow(job.failures.min(DOUBLINGS_MAX));
            job.failures = job.failures.saturating_add(1);
            job.asked.clear();
            job.stage = Stage::Guessing {
                ask_from: view.now + wait,
                next_guess: None,
            };
            let segment = job.wanted.header.segment;
            return vec![RefetchAction::NobodyHas { segment, wait }];
        };
        job.asked.insert(peer);
        let mut asking = Asking {
            peer,
            left: job.wanted.periods().collect(),
            questions: HashMap::new(),
            manifests: BTreeMap::new(),
            last_progress: view.now,
        };
        let actions = ask_manifests(&mut asking, &mut self.next_id, view.now);
        job.stage = Stage::Asking(asking);
        actions
    }

    /// Every question was answered: what the peer does not have is taken as it is here.
    fn look_at_list(&mut self, job: &mut Job, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let Stage::Asking(asking) = &mut job.stage else {
            return Vec::new();
        };
        let mut manifests = std::mem::take(&mut asking.manifests);
        let list = job
            .wanted
            .periods()
            .map(|period| manifests.remove(&period).or_else(|| (view.own_manifest)(period)));
        let list: Option<Vec<Manifest>> = list.collect();
        match list.filter(|list| job.wanted.is_root_of(list)) {
            Some(list) => found(job, list, view),
            None => self.next_peer(job, view),
        }
    }

    /// Makes the archive be as the list has it.
    fn follow(&mut self, job: &mut Job, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let Stage::Truth(truth) = &mut job.stage else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        for manifest in &truth.manifests {
            let (period, root) = (manifest.header.period, manifest.root());
            let rests = |sent: &Instant| view.now.duration_since(*sent) < self.patience;
            if (view.own_root)(period) == Some(root) || truth.sent.get(&period).is_some_and(rests) {
                continue;
            }
            if manifest.is_lost() {
                truth.sent.insert(period, view.now);
                actions.push(RefetchAction::EnterLost(manifest.clone()));
            } else if truth.taking.is_none() {
                truth.taking = Some(Taking::new(manifest.clone(), view.now));
            }
        }
        if let Some(taking) = &mut truth.taking {
            let period = taking.pages.manifest().header.period;
            if (view.own_root)(period) == Some(taking.pages.manifest().root()) {
                // Repair was faster.
                truth.taking = None;
            } else {
                actions.extend(taking.advance(&mut self.next_id, self.patience, view));
                if taking.is_whole() {
                    actions.extend(self.finish(job, view));
                }
            }
        }
        actions
    }

    /// Hands over a period of which every page is here, if it is what it should be.
    fn finish(&self, job: &mut Job, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        let Stage::Truth(truth) = &mut job.stage else {
            return Vec::new();
        };
        let Some(taking) = &mut truth.taking else {
            return Vec::new();
        };
        let manifest = taking.pages.manifest();
        let (period, root) = (manifest.header.period, manifest.root());
        match taking.records(&self.parameters) {
            Ok(records) => {
                truth.taking = None;
                truth.sent.insert(period, view.now);
                vec![RefetchAction::Take { period, root, records }]
            }
            Err((thread, reason)) => taking.blame(thread, &reason, view.now + self.patience / 4),
        }
    }

    /// A manifest arrived.
    pub fn on_manifest(&mut self, id: u64, manifest: Manifest, now: Instant) {
        let (parameters, Some(job)) = (&self.parameters, self.job.as_mut()) else {
            return;
        };
        let Stage::Asking(asking) = &mut job.stage else { return };
        let Some(period) = asking.questions.remove(&id) else {
            return;
        };
        asking.last_progress = now;
        let header = &manifest.header;
        let shape = (header.chain_id, header.threads, header.chunk_size, header.period);
        if shape
            == (
                parameters.chain_id,
                parameters.thread_count,
                parameters.chunk_size,
                period,
            )
        {
            asking.manifests.insert(period, manifest);
        }
    }

    /// A page arrived.
    pub fn on_page(&mut self, id: u64, from: NodeId, page: VerifiedPage, now: Instant) {
        if let Some(taking) = self.taking() {
            if let Some(chunk) = taking.questions.get(&id).copied() {
                taking.pages.insert(chunk, from, page);
                taking.last_progress = now;
            }
        }
    }

    /// Every page of a question arrived. What follows from it the next tick does.
    pub fn on_complete(&mut self, id: u64) {
        if let Some(taking) = self.taking() {
            taking.questions.remove(&id);
        }
    }

    /// Nobody answered a question, or it could not be asked.
    pub fn on_failed(&mut self, id: u64, now: Instant) {
        let patience = self.patience;
        if let Some(taking) = self.taking() {
            if taking.questions.remove(&id).is_some() {
                taking.not_before = now + patience / 4;
            }
        }
        if let Some(Job {
            stage: Stage::Asking(asking),
            ..
        }) = &mut self.job
        {
            if asking.questions.remove(&id).is_some() {
                asking.last_progress = now;
            }
        }
    }

    fn taking(&mut self) -> Option<&mut Taking> {
        match &mut self.job.as_mut()?.stage {
            Stage::Truth(truth) => truth.taking.as_mut(),
            _ => None,
        }
    }
}

impl Taking {
    fn new(manifest: Manifest, now: Instant) -> Self {
        Self {
            pages: PeriodPages::new(manifest),
            questions: HashMap::new(),
            avoid: BTreeSet::new(),
            not_before: now,
            last_progress: now,
        }
    }

    fn wanted(&self) -> Vec<crate::assembly::ChunkPagesWanted> {
        self.pages.wanted(0..self.pages.manifest().header.threads)
    }

    fn is_whole(&self) -> bool {
        self.questions.is_empty() && self.wanted().is_empty()
    }

    /// Asks for the pages that are missing.
    fn advance(&mut self, next_id: &mut u64, patience: Duration, view: &RefetchView<'_>) -> Vec<RefetchAction> {
        if !self.questions.is_empty() && view.now.duration_since(self.last_progress) > patience * 4 {
            // An answer was lost.
            self.questions.clear();
        }
        if !self.questions.is_empty() || view.now < self.not_before {
            return Vec::new();
        }
        if view.peers.iter().all(|peer| self.avoid.contains(&peer.node)) {
            self.avoid.clear();
        }
        self.last_progress = view.now;
        let manifest = self.pages.manifest();
        let period = manifest.header.period;
        let placed = (view.holders_of)(period, &manifest.chunks);
        let mut actions = Vec::new();
        for piece in self.wanted() {
            let assigned = placed.get(piece.chunk.0 as usize).map_or(&[][..], Vec::as_slice);
            let id = *next_id;
            *next_id += 1;
            let entry = self.pages.manifest().chunks[piece.chunk.0 as usize];
            self.questions.insert(id, piece.chunk);
            actions.push(RefetchAction::Fetch {
                id,
                target: FetchTarget::Pages {
                    period,
                    chunk: piece.chunk,
                    entry,
                    pages: piece.pages,
                },
                holders: in_order(assigned, view.peers, &self.avoid),
            });
        }
        actions
    }

    /// The blocks of the period, verified; index = thread. Or the thread whose block is not what it should be.
    fn records(&self, parameters: &ArchiveParameters) -> Result<Vec<Option<BlockRecord>>, (u8, String)> {
        let threads = 0..self.pages.manifest().header.threads;
        let mut records = Vec::with_capacity(threads.len());
        for thread in threads {
            let record = self.pages.record(thread);
            records.push(record.map_err(|error| (thread, error.to_string()))?);
        }
        let (blocks, of_thread): (Vec<BlockRecord>, Vec<u8>) = records
            .iter()
            .zip(0..)
            .filter_map(|(record, thread)| Some((record.clone()?, thread)))
            .unzip();
        match verify_blocks(&blocks, parameters.chain_id, parameters.thread_count) {
            Ok(_) => Ok(records),
            Err((index, error)) => Err((of_thread[index], error.to_string())),
        }
    }

    /// The bytes of a block are as its chunk has them, so what is beside them is false: it is fetched again from others.
    fn blame(&mut self, thread: u8, reason: &str, not_before: Instant) -> Vec<RefetchAction> {
        let sources: BTreeSet<NodeId> = self.pages.sources(thread).into_iter().collect();
        self.pages.forget(thread);
        self.avoid.extend(&sources);
        self.not_before = not_before;
        let period = self.pages.manifest().header.period;
        // Of several senders nobody knows which one lied.
        match sources.first() {
            Some(node) if sources.len() == 1 => vec![RefetchAction::Quarantine {
                node: *node,
                reason: format!("block of thread {thread} of period {period}: {reason}"),
            }],
            _ => Vec::new(),
        }
    }
}

/// The list is the truth.
fn found(job: &mut Job, manifests: Vec<Manifest>, view: &RefetchView<'_>) -> Vec<RefetchAction> {
    let differs = |manifest: &&Manifest| (view.own_root)(manifest.header.period) != Some(manifest.root());
    let (lost, others): (Vec<&Manifest>, Vec<&Manifest>) = manifests
        .iter()
        .filter(differs)
        .partition(|manifest| manifest.is_lost());
    let periods = |manifests: Vec<&Manifest>| manifests.into_iter().map(|manifest| manifest.header.period).collect();
    let action = RefetchAction::Found {
        segment: job.wanted.header.segment,
        lost: periods(lost),
        others: periods(others),
    };
    job.stage = Stage::Truth(Truth {
        manifests,
        sent: HashMap::new(),
        taking: None,
    });
    vec![action]
}

/// Asks for the next manifests of a list.
fn ask_manifests(asking: &mut Asking, next_id: &mut u64, now: Instant) -> Vec<RefetchAction> {
    let mut actions = Vec::new();
    while asking.questions.len() < MANIFESTS_AT_A_TIME {
        let Some(period) = asking.left.pop_front() else { break };
        let id = *next_id;
        *next_id += 1;
        asking.questions.insert(id, period);
        asking.last_progress = now;
        actions.push(RefetchAction::Fetch {
            id,
            target: FetchTarget::Manifest { period },
            holders: vec![asking.peer],
        });
    }
    actions
}
