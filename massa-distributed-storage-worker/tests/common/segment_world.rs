//! A network of simulated nodes that follow the engine, against [`super::registry_model`]: blocks are final some periods late,
//! operations come late, out of order, or never.

use super::claims::{id_of, table, MemoryClaims};
use super::registry_model::Model;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::challenge::segment_claim::{ChunkSet, ClaimBook, HeldChunk};
use massa_distributed_storage_worker::challenge::sums::{Claim, SumHasher};
use massa_distributed_storage_worker::repair::lost_segment::{BlockedSegment, FinalRounds, LossPlan, LossView};
use massa_distributed_storage_worker::rounds::claims::keeper::Differing;
use massa_distributed_storage_worker::rounds::decide::{
    decide, Action, Claimable, Decision, Kind, Local, Note, Outcome, Sent, Settings, Snapshot, SubmissionPlan,
};
use massa_distributed_storage_worker::rounds::timing::closing_rank;
use massa_distributed_storage_worker::smart_contract::state::NodeRecord;
use massa_distributed_storage_worker::smart_contract::storage_registry::{StorageConfig, Submission};
use massa_hash::Hash;
use massa_models::address::{Address, SCAddress, SCAddressV0, UserAddress, UserAddressV0};
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

pub const CHAIN_ID: u64 = 77;
pub const KEY_DOMAIN: &[u8] = b"";
/// Periods of a segment, segments of a round, and P.
pub const SEGMENT: u64 = 20;
pub const SEGMENTS: u64 = 3;
pub const PERIODS: u64 = SEGMENT * SEGMENTS;
/// Blocks of a period are final so many periods later.
pub const LAG: u64 = 2;
/// Operations are executed at most so many periods after they were sent.
const DELAY_MAX: u64 = 2;
pub const STAKE: u64 = 100_000_000_000;
pub const GB: u64 = 10;
/// Segments that are held: older ones are pruned.
const RETAINED: u64 = 24;
const CHUNKS_PER_SEGMENT: u32 = 4;
/// Bytes of the last chunk of a segment.
const LAST_CHUNK: u32 = 700;
/// Rounds whose records a node reads.
const READ_ROUNDS: u64 = 8;

pub fn config(periods: u64) -> StorageConfig {
    StorageConfig {
        reward_per_gb_per_period: Amount::from_raw(1_000_000_000),
        min_allocated_gb: 1,
        max_allocated_gb: 16_384,
        challenge_response_timeout_ms: 60_000,
        slash_percentage: 10,
        min_stake: Amount::from_raw(STAKE),
        stake_per_gb: Amount::from_raw(1_000_000_000),
        replication_factor: 3,
        chunk_size_bytes: 1 << 20,
        challenge_frequency_periods: periods / SEGMENTS,
        first_segment: 0,
        round_segments: SEGMENTS,
    }
}

pub fn address(number: usize) -> Address {
    let hash = Hash::compute_from(&number.to_le_bytes());
    Address::User(UserAddress::UserAddressV0(UserAddressV0(hash)))
}

pub fn registry() -> Address {
    Address::SC(SCAddress::SCAddressV0(SCAddressV0(Hash::compute_from(b"registry"))))
}

pub fn node_record(address: Address) -> NodeRecord {
    NodeRecord {
        address,
        placement_key: None,
        index: 0,
        registered_period: 0,
        stake: Amount::from_raw(STAKE),
        weight_now: 0,
        weight_next: GB,
        weight_from_round: 0,
        leave_round: None,
        last_counted_round: 0,
        lapsed_from: 0,
        lapsed_until: 0,
        filled_from: u64::MAX,
        filled_to: u64::MAX,
        entry_round: Some(0),
        entry_stake: Amount::from_raw(STAKE),
        no_claim_before_round: 0,
        total_draws: 0,
        passed_draws: 0,
        last_challenged_period: 0,
        matured_rewards: Amount::from_raw(0),
        retention_periods: 0,
        votes_round: None,
        voted_below_segment: 0,
        slots: [None, None, None],
        node_id: String::new(),
        listeners: Vec::new(),
    }
}

pub fn settings(node: Address) -> Settings {
    Settings {
        chain_id: CHAIN_ID,
        registry: registry(),
        node,
        lead_periods: LAG + DELAY_MAX + 1,
        validity_periods: 10,
        auto_claim_fees: Some(5),
        fee: Amount::from_raw(10_000_000),
    }
}

pub fn root_of(segment: u64) -> SegmentRoot {
    SegmentRoot::from_bytes(*blake3::hash(&segment.to_le_bytes()).as_bytes())
}

/// Of a segment with lost periods.
pub fn lost_root_of(segment: u64) -> SegmentRoot {
    root_of(segment + 2_000_000)
}

pub fn beacon_of(round: u64) -> Digest {
    *blake3::hash(format!("beacon {round}").as_bytes()).as_bytes()
}

/// Chunks of a claim, ascending.
type Claimed = Vec<HeldChunk>;

fn chunks_of(claims: &MemoryClaims, set: &BTreeMap<u64, ChunkSet>) -> Claimed {
    let chunks = set.iter().flat_map(|(segment, chunks)| {
        chunks.iter().map(|index| HeldChunk {
            position: ChunkPosition::new(*segment, index).unwrap(),
            leaves: claims.tables[segment].chunk(index).unwrap().leaf_count(),
            id: id_of(*segment, index),
        })
    });
    chunks.collect()
}

/// The chunk of a claimed leaf, and which of its leaves it is.
fn find(claimed: &Claimed, mut leaf: u64) -> Option<(HeldChunk, u32)> {
    for chunk in claimed {
        match leaf.checked_sub(u64::from(chunk.leaves)) {
            Some(rest) => leaf = rest,
            None => return Some((*chunk, leaf as u32)),
        }
    }
    None
}

/// What only a holder of the chunk can say.
fn content(chunk: &HeldChunk, leaf: u32) -> Vec<u8> {
    let mut bytes = chunk.id.as_bytes().to_vec();
    bytes.extend(leaf.to_le_bytes());
    blake3::hash(&bytes).as_bytes().to_vec()
}

/// When a node is switched off, or lies.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// It registers in this period.
    pub joins: u64,
    /// Rounds in which it does nothing.
    pub silent: BTreeSet<u64>,
    /// Rounds in which it votes for a beacon of its own.
    pub lies: BTreeSet<u64>,
    /// In the middle of this round's first half it loses half of its chunks, after it claimed them.
    pub loses: Option<u64>,
    /// It derived another root than the others from this segment on.
    pub differs_from: Option<u64>,
}

impl Behaviour {
    fn is_honest(&self) -> bool {
        self.silent.is_empty() && self.lies.is_empty() && self.loses.is_none() && self.differs_from.is_none()
    }
}

pub struct SimNode {
    pub address: Address,
    pub behaviour: Behaviour,
    pub sent: Vec<Sent>,
    /// Last decision's notes.
    pub notes: Vec<Note>,
    pub executed: BTreeMap<Kind, usize>,
    pub refused: Vec<(Kind, String)>,
    lost: BTreeSet<ChunkPosition>,
    store: MemoryClaims,
    book: ClaimBook,
}

struct Queued {
    node: usize,
    action: Action,
    submission: Option<Submission>,
    at: u64,
}

pub struct World {
    pub model: Model,
    pub nodes: Vec<SimNode>,
    pub period: u64,
    /// Share of operations that never arrive, in percent.
    pub loss_percent: u32,
    /// A segment with a block that no node has.
    pub lost_segment: Option<u64>,
    /// Submissions executed in each period of a round, over all rounds.
    pub load: BTreeMap<u64, usize>,
    money: u64,
    history: VecDeque<Model>,
    /// Accepted roots of the state that is final.
    roots: Arc<BTreeMap<u64, SegmentRoot>>,
    queue: Vec<Queued>,
    /// What each claim that was sent covers.
    claims: BTreeMap<Digest, Claimed>,
    random: ChaCha20Rng,
}

impl World {
    pub fn new(behaviours: Vec<Behaviour>, pool: u64, seed: u64) -> Self {
        let nodes = behaviours.into_iter().enumerate().map(|(number, behaviour)| SimNode {
            address: address(number),
            behaviour,
            sent: Vec::new(),
            notes: Vec::new(),
            executed: BTreeMap::new(),
            refused: Vec::new(),
            lost: BTreeSet::new(),
            store: MemoryClaims::default(),
            book: ClaimBook::default(),
        });
        Self {
            model: Model::new(CHAIN_ID, registry(), PERIODS, pool),
            nodes: nodes.collect(),
            period: 0,
            loss_percent: 3,
            lost_segment: None,
            load: BTreeMap::new(),
            money: pool,
            history: VecDeque::new(),
            roots: Arc::default(),
            queue: Vec::new(),
            claims: BTreeMap::new(),
            random: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    pub fn honest(&self) -> impl Iterator<Item = &SimNode> {
        self.nodes.iter().filter(|node| node.behaviour.is_honest())
    }

    pub fn run_rounds(&mut self, rounds: u64) {
        for _ in 0..rounds * PERIODS {
            self.step();
        }
    }

    pub fn step(&mut self) {
        self.join();
        self.execute();
        assert_eq!(
            self.model.money(),
            self.money,
            "money is conserved in period {}",
            self.period
        );
        self.history.push_back(self.model.clone());
        if self.history.len() > LAG as usize {
            let state = self.history.pop_front().expect("not empty");
            if state.roots.len() != self.roots.len() {
                self.roots = Arc::new(state.roots.clone());
            }
            for node in 0..self.nodes.len() {
                self.lose_chunks(node);
                self.act(node, &state, self.period - LAG);
            }
        }
        self.period += 1;
    }

    fn join(&mut self) {
        for node in &self.nodes {
            if node.behaviour.joins == self.period {
                self.model.register(node_record(node.address), self.period);
                self.money += STAKE;
            }
        }
    }

    fn lose_chunks(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        if node.behaviour.loses.map(|round| round * PERIODS + 1) != Some(self.period) {
            return;
        }
        let held = &self.claims[&node.book.current().root];
        node.lost.extend(held.iter().map(|chunk| chunk.position).step_by(2));
    }

    /// Executes what is due, in another order than it was sent.
    fn execute(&mut self) {
        let period = self.period;
        let (mut due, later): (Vec<Queued>, Vec<Queued>) = std::mem::take(&mut self.queue)
            .into_iter()
            .partition(|queued| queued.at <= period);
        self.queue = later;
        while !due.is_empty() {
            let queued = due.swap_remove(self.random.gen_range(0..due.len()));
            let kind = queued.action.kind();
            let result = self.execute_one(&queued);
            if let Kind::Submit { .. } = kind {
                *self.load.entry(period % PERIODS).or_default() += 1;
            }
            let node = &mut self.nodes[queued.node];
            let sent = node
                .sent
                .iter_mut()
                .rev()
                .find(|sent| sent.kind == kind)
                .expect("it was sent");
            sent.outcome = if result.is_ok() {
                Outcome::Executed
            } else {
                Outcome::Refused
            };
            match result {
                Ok(()) => *node.executed.entry(kind).or_default() += 1,
                Err(reason) => node.refused.push((kind, reason)),
            }
        }
    }

    fn execute_one(&mut self, queued: &Queued) -> Result<(), String> {
        let address = self.nodes[queued.node].address;
        let period = self.period;
        let claims = &self.claims;
        let check = |root: &Digest, leaf: u64, answer: &[u8]| {
            let found = claims.get(root).and_then(|claimed| find(claimed, leaf));
            found.is_some_and(|(chunk, leaf)| content(&chunk, leaf) == answer)
        };
        match &queued.action {
            Action::Submit(_) => {
                let submission = queued.submission.as_ref().expect("completed");
                self.model.submit(&address, submission, &check, period)
            }
            Action::Close { round, .. } => self.model.distribute(*round, period),
            Action::SetPlacementKey { round } => self.model.set_key(&address, *round, period),
            Action::ClaimRewards { .. } => self.model.claim_rewards(&address, period).map(|_| ()),
            Action::Refute(_) | Action::AnchorEarlier { .. } => Err("not simulated".into()),
        }
    }

    fn act(&mut self, number: usize, state: &Model, period: u64) {
        let round = self.period / PERIODS;
        let node = &self.nodes[number];
        if self.period < node.behaviour.joins || node.behaviour.silent.contains(&round) {
            return;
        }
        let snapshot = snapshot(state, &node.address, period, &self.roots);
        let local = self.local(number, &snapshot);
        let decision = decide(&settings(node.address), &snapshot, &local, &node.sent);
        let Decision { actions, notes } = decision;
        self.nodes[number].notes = notes;
        for (action, valid_until) in actions {
            self.send(number, action, valid_until, &snapshot);
        }
        let node = &mut self.nodes[number];
        node.sent.retain(|sent| sent.valid_until + 2 * PERIODS > period);
    }

    /// The node's root of a segment that is closed here.
    fn own_root(&self, number: usize, segment: u64, snapshot: &Snapshot) -> SegmentRoot {
        let behaviour = &self.nodes[number].behaviour;
        if behaviour.differs_from.is_some_and(|from| segment >= from) {
            return root_of(segment + 1_000_000);
        }
        let is_lost = self.lost_segment == Some(segment) && snapshot.accepted_roots.contains_key(&segment);
        if is_lost {
            lost_root_of(segment)
        } else {
            root_of(segment)
        }
    }

    /// Segments that are closed and held: none from the lost one on before its root is accepted.
    fn closed(&self, snapshot: &Snapshot) -> std::ops::Range<u64> {
        let complete = (snapshot.period + 1) / SEGMENT;
        let open = self
            .lost_segment
            .filter(|lost| !snapshot.accepted_roots.contains_key(lost));
        complete.saturating_sub(RETAINED)..open.map_or(complete, |open| open.min(complete))
    }

    fn local(&self, number: usize, snapshot: &Snapshot) -> Local {
        let node = &self.nodes[number];
        let round = snapshot.period / PERIODS;
        let closed = self.closed(snapshot);
        let own = |segment: u64| self.own_root(number, segment, snapshot);
        let anchored = |segment: &u64| snapshot.accepted_roots.get(segment) == Some(&own(*segment));
        let differing = closed.clone().find_map(|segment| {
            let accepted = *snapshot.accepted_roots.get(&segment)?;
            (accepted != own(segment)).then_some(Differing {
                segment,
                own: own(segment),
                accepted,
            })
        });
        let lies = node.behaviour.lies.contains(&round);
        let beacon = beacon_of(if lies { round + 1_000_000 } else { round });
        let claimants = |round: u64| -> Vec<Address> {
            let nodes = self.model.nodes.values();
            let claimed = nodes.filter(|node| node.claim_of(round).is_some());
            claimed.map(|node| node.address).collect()
        };
        let ranks = (round.saturating_sub(1)..=round)
            .map(|round| (round, closing_rank(&node.address, round, &claimants(round))));
        let pending = closed.clone().filter(|segment| *segment >= snapshot.state.next_segment);
        Local {
            own_roots: pending.map(|segment| (segment, own(segment))).collect(),
            candidate: self.candidate(snapshot),
            last_closed: closed.clone().last(),
            claimable: Claimable {
                leaves: closed.clone().filter(anchored).count() as u64,
                is_settled: true,
            },
            differing,
            beacon: (snapshot.period % PERIODS >= 2).then_some(beacon),
            closing_ranks: ranks.collect(),
            refutations: Vec::new(),
            earlier: None,
        }
    }

    /// The lost segment as its [`LossPlan`] has it, once its time is over.
    fn candidate(&self, snapshot: &Snapshot) -> Option<(u64, SegmentRoot)> {
        let segment = self.lost_segment?;
        if snapshot.period < (segment + 1) * SEGMENT {
            return None;
        }
        let ids = vec![Some(BlockId::new(Hash::compute_from(b"lost")))];
        assert!(PeriodEntry::lost(&ids).is_some());
        let blocked = BlockedSegment {
            segment,
            periods: vec![(segment * SEGMENT + 1, Some(ids))],
        };
        let parameters = ArchiveParameters {
            segment_periods: SEGMENT,
            ..ArchiveParameters::new(CHAIN_ID, 1)
        };
        let decided = LossPlan::new(&parameters).decide(&LossView {
            now: Instant::now(),
            rounds: FinalRounds {
                period: snapshot.period,
                round_periods: PERIODS,
                accepted: &snapshot.accepted_roots,
            },
            blocked: Some(&blocked),
            no_holder_since: &|_, _, _| true,
        });
        decided.is_ok().then(|| (segment, lost_root_of(segment)))
    }

    fn send(&mut self, number: usize, action: Action, valid_until: u64, state: &Snapshot) {
        let submission = match &action {
            Action::Submit(plan) => match self.complete(number, plan, state) {
                Some(submission) => Some(submission),
                None => return,
            },
            _ => None,
        };
        self.nodes[number].sent.push(Sent {
            kind: action.kind(),
            valid_until,
            outcome: Outcome::Pending,
        });
        let at = self.period + 1 + self.random.gen_range(0..=DELAY_MAX);
        let lost = self.random.gen_ratio(self.loss_percent, 100);
        if at <= valid_until && !lost {
            self.queue.push(Queued {
                node: number,
                action,
                submission,
                at,
            });
        }
    }

    fn complete(&mut self, number: usize, plan: &SubmissionPlan, snapshot: &Snapshot) -> Option<Submission> {
        let claim = plan.claim.map(|_| self.build_claim(number, plan.round + 1, snapshot));
        let node = &self.nodes[number];
        let root = plan.vote.as_ref().map(|vote| vote.claim.root);
        let answer = |leaf: u64| {
            let drawn = node.book.draw(&node.store, &root?, leaf, &mut SumHasher::default());
            let drawn = drawn.expect("a claim that was sent is provable");
            (!node.lost.contains(&drawn.chunk.position)).then(|| content(&drawn.chunk, drawn.leaf))
        };
        plan.complete(answer, claim)
    }

    /// Two thirds of the chunks are this node's, by a hash.
    fn build_claim(&mut self, number: usize, round: u64, snapshot: &Snapshot) -> Claim {
        let own = |segment: u64| self.own_root(number, segment, snapshot);
        let closed = self.closed(snapshot);
        let anchored: Vec<u64> = closed
            .filter(|segment| snapshot.accepted_roots.get(segment) == Some(&own(*segment)))
            .collect();
        let node = &mut self.nodes[number];
        let mine = |position: ChunkPosition| {
            let hash = blake3::hash(format!("{position} {}", node.address).as_bytes());
            hash.as_bytes()[0] % 3 != 0 && !node.lost.contains(&position)
        };
        let mut wanted: BTreeMap<u64, ChunkSet> = BTreeMap::new();
        for segment in anchored {
            let indexes = (0..CHUNKS_PER_SEGMENT).filter(|index| mine(ChunkPosition::new(segment, *index).unwrap()));
            wanted.insert(segment, indexes.collect());
        }
        let claimed = wanted.clone();
        for segment in wanted.keys() {
            let made = || Arc::new(table(*segment, CHUNKS_PER_SEGMENT, LAST_CHUNK));
            node.store.tables.entry(*segment).or_insert_with(made);
        }
        for segment in node.store.rows.keys() {
            wanted.entry(*segment).or_default();
        }
        if let Some(change) = node.book.forget_before(round.saturating_sub(2)) {
            node.store.commit(&mut node.book, change);
        }
        node.store.claim(&mut node.book, &wanted);
        let claim = node.store.seal(&mut node.book, round);
        self.claims.insert(claim.root, chunks_of(&node.store, &claimed));
        claim
    }
}

pub fn snapshot(state: &Model, node: &Address, period: u64, roots: &Arc<BTreeMap<u64, SegmentRoot>>) -> Snapshot {
    let round = period / PERIODS;
    let rounds = state.rounds.range(round.saturating_sub(READ_ROUNDS)..=round + 1);
    Snapshot {
        period,
        config: state.config.clone(),
        state: state.state(),
        node: state.nodes.get(node).cloned(),
        rounds: rounds.map(|(round, record)| (*round, record.clone())).collect(),
        key_round: key_round(state, node),
        accepted_roots: Arc::clone(roots),
    }
}

/// The first accepted round that opened after a node without a placement key registered.
fn key_round(state: &Model, node: &Address) -> Option<u64> {
    let node = state.nodes.get(node).filter(|node| node.placement_key.is_none())?;
    let mut accepted = state.rounds.iter().filter(|(_, record)| record.beacon.is_some());
    let first = accepted.find(|(round, _)| **round * PERIODS > node.registered_period);
    first.map(|(round, _)| *round)
}
