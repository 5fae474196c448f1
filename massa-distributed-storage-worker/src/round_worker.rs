//! This node's part in the rounds of proofs, on a thread: reads the registry's final state, asks [`crate::rounds::decide`] what to
//! send, completes it from the store, and orders it from the registry client.
//!
//! Started by the node once a registry may be followed. What was claimed is kept on disk ([`claims`]), so that a restarted node
//! answers its draws; what was earned, too ([`earnings`]).

pub mod claims;
pub mod earnings;
pub mod events;
pub mod guard;
pub mod repairs;
pub mod snapshot;
pub mod watch;

use crate::assignments::Assignments;
use crate::challenge::draw::RoundContext;
use crate::challenge::prover::{answer_draw, held_chunks};
use crate::challenge::{ClaimTree, HeldChunk, Position};
use crate::lost::{FinalSegments, SegmentBoard};
use crate::rounds::engine::Kind;
use crate::rounds::timing::{closing_rank, next_beacon, AnswerWindow};
use crate::rounds::{
    decide, Action, ClaimPlan, Decision, Local, Note, RoundTimes, Sent, Settings, Snapshot, SubmissionPlan,
};
use crate::smart_contract::client::ClientHandle;
use crate::smart_contract::outbox::{Outcome as Ended, Purpose};
use crate::smart_contract::storage_registry::{self as registry, Call};
use crate::storage_backend::Store;
use claims::{ClaimBook, SentClaim};
use crossbeam_channel::{bounded, Receiver, RecvTimeoutError, Sender};
use earnings::{Earnings, RoundEarnings, Totals};
use guard::{Guard, Seen};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::{ChunkIndex, SegmentRoot};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use parking_lot::Mutex;
use repairs::{to_announce, Announced, ChunkPosition};
use snapshot::{read_snapshot, AcceptedRoots};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tracing::{debug, info, warn};
use watch::{FinalContent, Watch};

/// How often the registry is looked at.
const TICK: Duration = Duration::from_millis(500);
/// Coins that go along with an operation, for the rows it may add to the registry; what is left comes back.
const STORAGE_COINS: Amount = Amount::from_raw(200_000_000);
/// Rounds of operations that are remembered.
const SENT_ROUNDS: u64 = 2;

/// Final blocks of a period, one for each thread, `None` for a miss; nothing while one of the slots is not final, or once the
/// period is forgotten.
pub type FinalBlocks = Box<dyn Fn(u64) -> Option<Vec<Option<FinalContent>>> + Send>;

/// What the part in the rounds is made of.
pub struct RoundParts {
    /// Read, never written.
    pub store: Arc<Store>,
    /// Who holds what.
    pub assignments: Arc<Assignments>,
    /// The client of the registry.
    pub client: ClientHandle,
    /// Recent final blocks. Older ones are taken from the archive.
    pub final_blocks: FinalBlocks,
    /// Whether matured rewards are claimed on their own.
    pub auto_claim: bool,
    /// Periods between final state and the execution of what is sent: [`Settings::lead_periods`].
    pub lead_periods: u64,
    /// Directory of the claims that were sent.
    pub claims_path: PathBuf,
    /// File of what was earned.
    pub earnings_path: PathBuf,
    /// Where accepted segment roots are told, and repair tells the root of a segment with lost periods.
    pub segments: Arc<SegmentBoard>,
    /// Announces what is repaired; without it nothing is announced.
    pub repairs: Option<RepairsOut>,
}

/// Chunks that a node lacks: period and position of each.
pub type Lacking = Arc<Mutex<Vec<ChunkPosition>>>;

/// What it takes to announce repairs.
#[derive(Clone)]
pub struct RepairsOut {
    /// The storage handler.
    pub network: Arc<dyn StorageNetwork>,
    /// Chunks that are assigned to this node and missing, or damaged.
    pub lacking: Lacking,
}

/// What is known of this node's part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundStatus {
    /// The round that is open in final state.
    pub round: Option<u64>,
    /// The last final period.
    pub period: u64,
    /// Why not more: what the operator should know, in plain words.
    pub notes: Vec<String>,
    /// Segments whose root is accepted.
    pub segments_accepted: u64,
    /// The first segment whose accepted root is not this node's own.
    pub differing_segment: Option<u64>,
    /// Rounds until the pool is empty at the rate of the last one that was paid; `None` if nothing was.
    pub rounds_left_in_pool: Option<u64>,
}

struct Shared {
    assignments: Arc<Assignments>,
    store: Arc<Store>,
    host: Arc<dyn ContractHost>,
    guard: Mutex<Guard>,
    status: Mutex<RoundStatus>,
    earnings: Mutex<Earnings>,
    claims: Mutex<ClaimBook>,
}

/// Asks for this node's part in the rounds.
#[derive(Clone)]
pub struct RoundHandle(Arc<Shared>);

impl RoundHandle {
    /// What is known.
    pub fn status(&self) -> RoundStatus {
        self.0.status.lock().clone()
    }

    /// What was earned: the last `count` rounds, oldest first, and the totals.
    pub fn earnings(&self, count: usize) -> (Vec<RoundEarnings>, Totals) {
        let earnings = self.0.earnings.lock();
        let mut rounds: Vec<RoundEarnings> = earnings.rounds().rev().take(count).cloned().collect();
        rounds.reverse();
        (rounds, earnings.totals())
    }

    /// Whether a claim that is not over covers a chunk: then it must be kept.
    pub fn is_claimed(&self, period: u64, chunk: ChunkIndex) -> bool {
        self.0.claims.lock().covers(period, chunk)
    }

    /// Whether pages of a chunk may be served to a node. While answers to draws are taken, a node that claimed the round gets
    /// none of what is assigned to it and anchored: it would pass with what it does not keep. What it announced before the
    /// beacon it gets; the rest of what it lost it can fetch once the window is over, half a round later at most.
    pub fn may_serve(&self, to: &NodeId, period: u64, chunk: ChunkIndex) -> bool {
        if self.0.guard.lock().lets_through(to, period, chunk) {
            return true;
        }
        let Ok(Some(manifest)) = self.0.store.manifest(period) else {
            return true;
        };
        let holders = self.0.assignments.holders(period, &manifest.chunks);
        let of_chunk = holders.get(chunk.0 as usize);
        !of_chunk.is_some_and(|holders| holders.contains(to))
    }

    /// The window of answers, if some peer may see it open: audits wait for its end.
    pub fn answer_window(&self) -> Option<AnswerWindow> {
        self.0.guard.lock().answer_window()
    }

    /// A node says which of its chunks it repairs. It must be `from` itself that says so.
    pub fn repairs_announced(&self, from: NodeId, round: u64, chunks: &[ChunkPosition]) {
        let nodes = self.0.assignments.nodes();
        if !nodes.nodes().iter().any(|node| node.node_id == Some(from)) {
            debug!(peer = %from, round, "repairs announced by no storage node: ignored");
            return;
        }
        let period = self.0.host.current_period();
        let announced = self.0.guard.lock().repairs().on_announced(from, round, chunks, period);
        match announced {
            Announced::Taken { new: 0 } => {}
            Announced::Taken { new } => {
                // It says itself that it claimed what it does not have: others should see that.
                info!(peer = %from, round, chunks = new, "storage node announces chunks of its claim that it lacks and repairs");
            }
            refused => info!(peer = %from, round, ?refused, "announced repairs do not count"),
        }
    }
}

/// Stops this node's part.
pub struct RoundManager {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl RoundManager {
    /// Ends the thread.
    pub fn stop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            if thread.join().is_err() {
                warn!("the thread of the rounds ended in a panic");
            }
        }
    }
}

impl Drop for RoundManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Starts this node's part in the rounds. Without an operator in the client it only looks on.
///
/// # Errors
/// The system's: no thread, or the directory of the claims cannot be used.
pub fn start_rounds(parts: RoundParts) -> std::io::Result<(RoundManager, RoundHandle)> {
    let segment_periods = parts.store.parameters().segment_periods;
    let shared = Arc::new(Shared {
        assignments: Arc::clone(&parts.assignments),
        store: Arc::clone(&parts.store),
        host: Arc::clone(parts.client.host()),
        guard: Mutex::new(Guard::new(segment_periods, chunk_leaves(&parts.store))),
        status: Mutex::default(),
        earnings: Mutex::new(Earnings::open(parts.earnings_path.clone())),
        claims: Mutex::new(ClaimBook::open(parts.claims_path.clone(), segment_periods)?),
    });
    let worker = Worker {
        shared: Arc::clone(&shared),
        parts,
        accepted: AcceptedRoots::default(),
        own_roots: BTreeMap::new(),
        replaced: 0,
        beacon: None,
        watch: Watch::default(),
        sent: Vec::new(),
        said: Vec::new(),
        announced: (0, Vec::new()),
    };
    let (stop, stopped) = bounded(0);
    let thread = std::thread::Builder::new()
        .name("storage-rounds".into())
        .spawn(move || worker.run(&stopped))?;
    let manager = RoundManager {
        stop: Some(stop),
        thread: Some(thread),
    };
    Ok((manager, RoundHandle(shared)))
}

struct SentNow {
    sent: Sent,
    /// What is claimed with it.
    claimed: Amount,
}

struct Worker {
    shared: Arc<Shared>,
    parts: RoundParts,
    accepted: AcceptedRoots,
    /// Roots of complete segments of the store.
    own_roots: BTreeMap<u64, SegmentRoot>,
    /// What [`Store::replaced_count`] was when they were read.
    replaced: u64,
    /// Of the round beside it.
    beacon: Option<(u64, Digest)>,
    watch: Watch,
    sent: Vec<SentNow>,
    /// Notes of the last decision that were logged.
    said: Vec<String>,
    /// Repairs that peers are told: round and chunks.
    announced: (u64, Vec<ChunkPosition>),
}

impl Worker {
    fn run(mut self, stopped: &Receiver<()>) {
        loop {
            self.tick();
            match stopped.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
    }

    fn tick(&mut self) {
        let Some(registry) = self.parts.client.nodes().address() else {
            return;
        };
        // Who only looks on has nobody's record, and decides nothing.
        let node = self.parts.client.operator().unwrap_or(registry);
        let host = Arc::clone(self.parts.client.host());
        let threads = self.parts.store.parameters().thread_count;
        let Some(snapshot) = read_snapshot(&*host, &registry, node, threads, &mut self.accepted) else {
            return;
        };
        let periods = snapshot.config.next.challenge_frequency_periods.max(1);
        let times = RoundTimes::of_period(snapshot.period, periods);
        self.take_outcomes(host.limits().minimal_fee);
        self.see_earnings(&snapshot, periods);
        self.shared.claims.lock().forget_before(times.round.saturating_sub(1));
        self.forget_sent(times.round);
        self.set_guard(&snapshot, host.current_period());
        self.announce_repairs(host.current_period());
        let settings = Settings {
            chain_id: host.limits().chain_id,
            registry,
            node,
            lead_periods: self.parts.lead_periods,
            validity_periods: host.limits().validity_periods,
            auto_claim: self.parts.auto_claim,
            claim_fee: host.limits().minimal_fee,
        };
        self.tell_segments(&snapshot, times);
        let local = self.local(&settings, &snapshot, times);
        let sent: Vec<Sent> = self.sent.iter().map(|sent| sent.sent.clone()).collect();
        let decision = decide(&settings, &snapshot, &local, &sent);
        self.tell(&snapshot, times, &decision);
        for (action, until) in decision.actions {
            self.order(&node, action, until);
        }
    }

    /// What this node knows itself.
    fn local(&mut self, settings: &Settings, snapshot: &Snapshot, times: RoundTimes) -> Local {
        self.read_own_roots();
        let mut closing_ranks = BTreeMap::new();
        for round in times.round.saturating_sub(1)..=times.round {
            let of_round = RoundTimes { round, ..times };
            let record = snapshot.rounds.get(&round);
            let is_due = of_round.window_over(snapshot.period)
                && record.is_some_and(|record| !record.closed && record.claims > 0);
            if is_due {
                let nodes = self.parts.client.nodes().records();
                let claimants = nodes.iter().filter(|node| node.claim_of(round).is_some());
                let claimants: Vec<Address> = claimants.map(|node| node.address).collect();
                closing_ranks.insert(round, closing_rank(&settings.node, round, &claimants));
            }
        }
        self.watch_others(settings, snapshot, times);
        let refutations = if self.watch.is_empty() {
            Vec::new()
        } else {
            let nodes = self.parts.client.nodes().records();
            self.watch.refutations(snapshot, &nodes, times)
        };
        Local {
            own_roots: self.roots_to_vote(snapshot),
            beacon: self.beacon_of(settings, times),
            closing_ranks,
            refutations,
        }
    }

    fn watch_others(&mut self, settings: &Settings, snapshot: &Snapshot, times: RoundTimes) {
        while let Some(period) = self.watch.wants(snapshot.period, times) {
            let blocks = (self.parts.final_blocks)(period);
            let (chain_id, registry, own) = (settings.chain_id, &settings.registry, &settings.node);
            self.watch.read(blocks.as_deref(), chain_id, registry, own);
        }
    }

    /// Looks whether answers are taken, and of whom.
    fn set_guard(&mut self, snapshot: &Snapshot, current_period: u64) {
        let seen = Seen {
            final_period: snapshot.period,
            current_period,
            anchored_below: snapshot.state.next_segment,
        };
        let client = &self.parts.client;
        self.shared.guard.lock().look(seen, |round| {
            let records = client.nodes().records();
            let claims = records.iter().filter_map(|record| {
                let claim = record.claim_of(round)?;
                Some((record.peer()?, claim.leaves))
            });
            claims.collect()
        });
    }

    /// Tells peers, before the next beacon, which chunks of the claim for its round this node lacks.
    fn announce_repairs(&mut self, current_period: u64) {
        let Some(out) = &self.parts.repairs else { return };
        let round = next_beacon(current_period, self.parts.store.parameters().segment_periods).round;
        let claims = self.shared.claims.lock().of_round(round);
        // An operation that was given up leaves its claim behind: of several the smallest says how much is allowed.
        let leaves = claims.iter().map(|claim| claim.tree.claim().leaves).min();
        let lacking = if claims.is_empty() {
            Vec::new()
        } else {
            out.lacking.lock().clone()
        };
        let periods = self.parts.store.parameters().segment_periods;
        let covers = |(period, chunk): &ChunkPosition| {
            let position = Position::of_chunk(*period, *chunk, periods);
            position.is_some_and(|position| claims.iter().any(|claim| claim.tree.chunk(position).is_some()))
        };
        let leaves = leaves.unwrap_or(0);
        let now = (
            round,
            to_announce(&lacking, leaves, chunk_leaves(&self.parts.store), covers),
        );
        let is_told = now == self.announced || (now.1.is_empty() && self.announced.1.is_empty());
        if !is_told && out.network.announce_repairs(now.0, now.1.clone()).is_ok() {
            if !now.1.is_empty() {
                warn!(
                    round,
                    chunks = now.1.len(),
                    "chunks that are claimed and missing are announced as under repair"
                );
            }
            self.announced = now;
        }
    }

    /// Tells repair what is accepted.
    fn tell_segments(&mut self, snapshot: &Snapshot, times: RoundTimes) {
        let told = self.parts.segments.final_segments().map(|told| told.accepted);
        // Roots are only ever added.
        let accepted = match told.filter(|told| told.len() == snapshot.accepted_roots.len()) {
            Some(told) => told,
            None => Arc::new(snapshot.accepted_roots.clone()),
        };
        self.parts.segments.tell(FinalSegments {
            period: snapshot.period,
            round_periods: times.periods,
            accepted,
        });
    }

    /// This node's roots; and one for a segment with lost periods, as long as none is accepted for it. It is voted for, and
    /// nothing is claimed on it before it is accepted and entered.
    fn roots_to_vote(&self, snapshot: &Snapshot) -> BTreeMap<u64, SegmentRoot> {
        let mut roots = self.own_roots.clone();
        if let Some((segment, root)) = self.parts.segments.candidate() {
            if !snapshot.accepted_roots.contains_key(&segment) {
                roots.entry(segment).or_insert(root);
            }
        }
        roots
    }

    fn read_own_roots(&mut self) {
        let replaced = self.parts.store.replaced_count();
        if replaced != self.replaced {
            self.replaced = replaced;
            self.own_roots.clear();
        }
        let first = self.parts.store.parameters().first_segment();
        let mut next = self.own_roots.last_key_value().map_or(first, |(last, _)| last + 1);
        while let Ok(Some(root)) = self.parts.store.segment_root(next) {
            self.own_roots.insert(next, root);
            next += 1;
        }
    }

    fn beacon_of(&mut self, settings: &Settings, times: RoundTimes) -> Option<Digest> {
        if let Some((_, beacon)) = self.beacon.filter(|(round, _)| *round == times.round) {
            return Some(beacon);
        }
        let period = times.beacon_period();
        let recent = (self.parts.final_blocks)(period);
        let recent = recent.map(|blocks| blocks.into_iter().map(|block| Some(block?.id)).collect());
        let blocks: Vec<Option<BlockId>> = recent.or_else(|| self.archived_blocks(period))?;
        let context = RoundContext {
            chain_id: settings.chain_id,
            registry: settings.registry.to_string(),
            round: times.round,
        };
        let beacon = context.beacon(&blocks);
        self.beacon = Some((times.round, beacon));
        Some(beacon)
    }

    fn archived_blocks(&self, period: u64) -> Option<Vec<Option<BlockId>>> {
        let manifest = self.parts.store.manifest(period).ok()??;
        Some(manifest.places.iter().map(|place| place.block_id()).collect())
    }

    /// What became of the operations that were ordered.
    fn take_outcomes(&mut self, fee: Amount) {
        for sent in &mut self.sent {
            if sent.sent.outcome != crate::rounds::Outcome::Pending {
                continue;
            }
            match self.parts.client.take_outcome(purpose(&sent.sent.kind)) {
                Some(Ended::Done(id)) => {
                    sent.sent.outcome = crate::rounds::Outcome::Executed;
                    let round = round_of(&sent.sent.kind);
                    self.shared.earnings.lock().paid(round, fee, sent.claimed);
                    info!(operation_id = %id, "{} is final", describe(&sent.sent.kind));
                }
                // It was estimated before it was sent, so no fee was paid for a refusal: it may be ordered again.
                Some(Ended::GivenUp(reason)) => {
                    sent.sent.valid_until = 0;
                    warn!(%reason, "{} was given up", describe(&sent.sent.kind));
                }
                None => {}
            }
        }
    }

    fn forget_sent(&mut self, round: u64) {
        let oldest = round.saturating_sub(SENT_ROUNDS);
        self.sent.retain(|sent| round_of(&sent.sent.kind) >= oldest);
    }

    fn see_earnings(&mut self, snapshot: &Snapshot, periods: u64) {
        let Some(node) = &snapshot.node else { return };
        let over = |round: u64| RoundTimes { round, periods }.window_over(snapshot.period);
        let mut earnings = self.shared.earnings.lock();
        for round in earnings.see(node, &snapshot.rounds, periods, over) {
            info!(
                "Round {}: {} of {} draws passed, {} MAS credited ({})",
                round.round,
                round.passes,
                round.draws,
                Amount::from_raw(round.credited_nano),
                round.result
            );
        }
        earnings.write();
    }

    fn tell(&mut self, snapshot: &Snapshot, times: RoundTimes, decision: &Decision) {
        let notes: Vec<String> = decision.notes.iter().filter_map(note_text).collect();
        for note in notes.iter().filter(|note| !self.said.contains(note)) {
            warn!("storage round {}: {note}", times.round);
        }
        self.said.clone_from(&notes);
        let differing_segment = decision.notes.iter().find_map(|note| match note {
            Note::RootDiffers { segment, .. } => Some(*segment),
            _ => None,
        });
        *self.shared.status.lock() = RoundStatus {
            round: Some(times.round),
            period: snapshot.period,
            notes,
            segments_accepted: self.accepted.roots().len() as u64,
            differing_segment,
            rounds_left_in_pool: rounds_left(snapshot),
        };
    }

    /// Completes an action and orders it.
    fn order(&mut self, node: &Address, action: Action, until: u64) {
        let kind = action.kind();
        let mut claimed = Amount::zero();
        let call = match action {
            Action::Submit(plan) => match self.submission(node, &plan) {
                Some(call) => call,
                None => return,
            },
            Action::Close { period, .. } => registry::distribute_rewards(period),
            // The registry client sets the key on its own: before the first round there is nothing else to decide.
            Action::SetPlacementKey { .. } => return,
            Action::ClaimRewards { amount, .. } => {
                claimed = amount;
                registry::claim_rewards()
            }
            Action::Refute(refutation) => {
                let exhibit = refutation.exhibit.to_bytes();
                registry::refute_claim(&refutation.node, refutation.round, &exhibit, &refutation.witnesses)
            }
        };
        if self
            .parts
            .client
            .call(purpose(&kind), call, STORAGE_COINS, until)
            .is_ok()
        {
            self.sent.push(SentNow {
                sent: Sent {
                    kind,
                    valid_until: until,
                    outcome: crate::rounds::Outcome::Pending,
                },
                claimed,
            });
        }
    }

    fn submission(&mut self, node: &Address, plan: &SubmissionPlan) -> Option<Call> {
        let claim = plan
            .claim
            .as_ref()
            .and_then(|claim| self.new_claim(plan.round + 1, claim));
        let answering = plan
            .vote
            .as_ref()
            .and_then(|vote| self.shared.claims.lock().find(&vote.claim.root).cloned());
        if plan.vote.is_some() && answering.is_none() {
            warn!(
                "the claim of round {} is not known any more: its draws are missed",
                plan.round
            );
        }
        let store = &self.parts.store;
        let answer = |leaf: u64| match answer_draw(store, &answering.as_ref()?.tree, leaf) {
            Ok(answer) => Some(answer.to_bytes()),
            Err(error) => {
                warn!(round = plan.round, leaf, %error, "a drawn leaf cannot be read: the draw is missed");
                None
            }
        };
        let submission = plan.complete(answer, claim)?;
        let answers = submission.beacon.as_ref().map_or(0, |(_, answers)| answers.len());
        info!(
            "Round {}: {answers} answers, {} root votes, {} leaves claimed for the next round",
            plan.round,
            submission.roots.len(),
            submission.claim.map_or(0, |(_, leaves)| leaves)
        );
        Some(registry::submit_round(node, &submission))
    }

    /// Builds and keeps a claim of every chunk that is assigned to this node and held, in segments that may be claimed.
    fn new_claim(&mut self, round: u64, plan: &ClaimPlan) -> Option<crate::challenge::Claim> {
        let held = held_chunks(&self.parts.store, |segment| plan.segments.contains(&segment));
        let held = match held {
            Ok(held) => held,
            Err(error) => {
                warn!(%error, "what is held cannot be read: nothing is claimed");
                return None;
            }
        };
        let tree = ClaimTree::new(within(self.assigned(held), plan.max_leaves));
        let claim = tree.claim();
        if claim.leaves == 0 {
            return None;
        }
        match self.shared.claims.lock().keep(SentClaim { round, tree }) {
            Ok(()) => Some(claim),
            Err(error) => {
                warn!(%error, "the claim cannot be kept, so it is not sent");
                None
            }
        }
    }

    /// Those that are assigned to this node: others would be refuted.
    fn assigned(&self, held: Vec<HeldChunk>) -> Vec<HeldChunk> {
        let segment_periods = self.parts.store.parameters().segment_periods;
        let mut mine: Option<(u64, Vec<bool>)> = None;
        let mut is_mine = |chunk: &HeldChunk| {
            let period = chunk.position.period(segment_periods);
            if mine.as_ref().map(|(of, _)| *of) != Some(period) {
                let manifest = self.parts.store.manifest(period).ok().flatten();
                let chunks = manifest.map_or_else(Vec::new, |manifest| manifest.chunks);
                mine = Some((period, self.parts.assignments.mine(period, &chunks)));
            }
            let chunks = mine.as_ref().map(|(_, mine)| mine.as_slice()).unwrap_or_default();
            chunks.get(chunk.position.chunk().0 as usize).copied().unwrap_or(false)
        };
        let mut held = held;
        held.retain(|chunk| is_mine(chunk));
        held
    }
}

/// Leaves of a full chunk.
fn chunk_leaves(store: &Store) -> u64 {
    u64::from(store.parameters().chunk_size) / LEAF_BYTES as u64
}

/// The first chunks that stay within `max_leaves`.
fn within(chunks: Vec<HeldChunk>, max_leaves: u64) -> Vec<HeldChunk> {
    let mut left = max_leaves;
    let fits = |chunk: &HeldChunk| {
        let leaves = u64::from(chunk.leaves);
        let fits = leaves <= left;
        left = left.saturating_sub(leaves);
        fits
    };
    chunks.into_iter().take_while(fits).collect()
}

fn purpose(kind: &Kind) -> Purpose {
    match kind {
        Kind::Submit { .. } => Purpose::Submission,
        Kind::Close { .. } => Purpose::CloseRound,
        Kind::SetPlacementKey { .. } => Purpose::PlacementKey,
        Kind::ClaimRewards { .. } => Purpose::ClaimRewards,
        Kind::Refute { .. } => Purpose::Refutation,
    }
}

fn round_of(kind: &Kind) -> u64 {
    match kind {
        Kind::Submit { round }
        | Kind::Close { round }
        | Kind::SetPlacementKey { round }
        | Kind::ClaimRewards { round }
        | Kind::Refute { round, .. } => *round,
    }
}

fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Submit { round } => format!("the operation of round {round}"),
        Kind::Close { round } => format!("closing round {round}"),
        Kind::SetPlacementKey { round } => format!("the placement key of round {round}"),
        Kind::ClaimRewards { round } => format!("the claim of rewards in round {round}"),
        Kind::Refute { node, round } => format!("the refutation of {node} in round {round}"),
    }
}

/// Rounds that the pool pays at the rate and size of the last one whose rate is fixed.
fn rounds_left(snapshot: &Snapshot) -> Option<u64> {
    let last = snapshot.rounds.values().rev().find(|round| round.frozen)?;
    snapshot.state.pool.to_raw().checked_div(last.reserve.to_raw())
}

/// What the operator should know; nothing for what is in order.
fn note_text(note: &Note) -> Option<String> {
    Some(match note {
        Note::InFlight(_) | Note::NotItsTurn { .. } | Note::NoBeacon { .. } | Note::RoundDone | Note::NeedsRound(_) => {
            return None;
        }
        Note::RoundEnding => return None,
        Note::NotRegistered => "the operator is not registered: massa-cli storage register".into(),
        Note::Paused => "the registry is paused".into(),
        Note::GaveUp(kind) => format!("{} was refused too often", describe(kind)),
        Note::WindowMissed { round } => format!("round {round} was claimed and not answered in time"),
        Note::NoPlacementKey => "no placement key yet: it comes with the first accepted round after registration".into(),
        Note::Leaving => "nothing is claimed: the node is leaving".into(),
        Note::SitsOut { until } => format!("nothing is claimed before round {until}: silent, or in the minority"),
        Note::NothingAllowed => "nothing is claimed: the allocation does not count yet, or the stake is gone".into(),
        Note::NothingAnchored => "nothing is claimed: no segment is anchored that this node has".into(),
        Note::RootDiffers { segment, own, accepted } => format!(
            "the root of segment {segment} is {own} here and {accepted} in the registry: the segment is not claimed, and is \
             fetched again"
        ),
        Note::RewardsBelowFee(amount) => format!("{amount} MAS have matured: claiming them costs more"),
    })
}
