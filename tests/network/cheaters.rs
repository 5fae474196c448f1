//! Cheaters on a network of node processes, and what the registry's final state says of each.
//!
//! A cheater is a registered operator whose node archives and serves as all do; its part in the rounds is played here, over
//! JSON-RPC, with the library that honest nodes use and a twist. Production code has no hook for it. Nine nodes, four honest:
//!
//! | cheater | first | then, silent with the two others | then | at last |
//! |---|---|---|---|---|
//! | liar | claims bytes, has none; sends that submission again | a void round | submits another node's proof, a proof without its data, a proof of something else | claims what it was not assigned |
//! | forger | votes a foreign root, and once more; claims on it | a void round | votes a false beacon | |
//! | dropper | drops a tenth of what it claims, all the time | a void round | goes on | |
//! | idler | allocates, and claims nothing | | | |
//! | fetcher | keeps nothing of what it claims, and gets the drawn leaves from others | the same, all the time | | |
//!
//! The fetcher passes, and is paid: on chain nothing tells fetching from possession. That no registered node is served what it
//! claims while answers are taken, and that timed audits find it over a link of 50 ms, is in
//! `massa-protocol-worker/tests/{storage_serving,storage_audit}.rs`.
//!
//! Not here: that no position counts twice, grinding and floods. These are pure rules or need no
//! network: `massa-distributed-storage-worker/tests/{challenge,rounds,registry_contract}.rs`, `massa-storage-sc/tests/`. That a
//! tenth dropped is found with probability 1−(1−f)^K is in `rounds.rs`, too: here each round's misses are exactly the draws that
//! fall into what was dropped.

use crate::common::{change_settings, logs, network_with_periods_of, THREADS};
use crate::remote::{Answers, Caller, Outcome, Remote};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::manifest::{ChunkEntry, PeriodLeaf};
use massa_distributed_storage_exports::merkle::{leaf_hash, root_of_leaves, MerkleProof, MerkleTree};
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::segment::SegmentLeaf;
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, PeriodRoot, SegmentRoot};
use massa_distributed_storage_worker::challenge::prover::answer_draw;
use massa_distributed_storage_worker::challenge::{
    Answer, AnswerRules, Claim, ClaimTree, HeldChunk, Position, Reason, RoundContext,
};
use massa_distributed_storage_worker::replication::{holders, placement_score};
use massa_distributed_storage_worker::round_worker::snapshot::{read_snapshot, AcceptedRoots};
use massa_distributed_storage_worker::rounds::{
    decide, Action, ClaimPlan, Kind, Local, Outcome as Became, RoundTimes, Sent, Settings, Snapshot, SubmissionPlan,
    VotePlan,
};
use massa_distributed_storage_worker::smart_contract::node_set::{read_nodes, set_of};
use massa_distributed_storage_worker::smart_contract::state::{root_vote_key, NodeRecord, RoundRecord, LAPSE_ROUNDS};
use massa_distributed_storage_worker::smart_contract::storage_registry::{
    resolve_expired_challenges, submit_round, ClaimState, DrawAnswers, RoundResult, Submission,
};
use massa_distributed_storage_worker::Store;
use massa_localnet::genesis::{Clock, CHAIN_ID, SEGMENT_PERIODS};
use massa_localnet::registry::RegistryPlan;
use massa_localnet::wait::wait_for;
use massa_localnet::Network;
use massa_models::address::Address;
use massa_models::amount::Amount;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

const T0_MS: u64 = 1_000;
const NODES: usize = 9;
/// The first nodes; the others cheat.
const HONEST: usize = 4;
/// So many chunks that a node's share of them is near its share of the weight: else it would not be filled, and no witness.
const BYTES_PER_PERIOD: u64 = 500_000;
/// From the first slot until everything is shown, with other work on the machine: about 220 periods.
const DEADLINE: Duration = Duration::from_secs(480);
const STAKE: Amount = Amount::const_init(100, 0);
/// Periods between what is final and the execution of what is sent.
const LEAD_PERIODS: u64 = 4;
/// Nodes that hold each chunk.
const REPLICAS: usize = massa_localnet::genesis::REPLICATION_FACTOR as usize;
/// Of so many chunks the dropper drops one.
const DROPS_ONE_OF: u8 = 10;
/// Chunks of the foreign archive.
const FOREIGN_BYTES: usize = 64 * LEAF_BYTES;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Liar,
    Forger,
    Dropper,
    Idler,
    Fetcher,
}

const ROLES: [Role; NODES - HONEST] = [Role::Liar, Role::Forger, Role::Dropper, Role::Idler, Role::Fetcher];
/// Who is silent together.
const CONSPIRATORS: [Role; 3] = [Role::Liar, Role::Forger, Role::Dropper];

/// What a claim is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Trick {
    /// Nothing is behind it.
    NoBytes,
    /// Chunks of an archive that nobody else has.
    ForeignRoot,
    /// A tenth of it is dropped.
    Dropped,
    /// None of it is kept: what is drawn comes from the archives of other nodes.
    Fetched,
    /// It stays unanswered once the three are together.
    Silence,
    /// It is answered with what another node sent, with a proof whose leaf is gone, and with what would answer another draw.
    FalseProofs,
    /// Its chunks are assigned to others.
    Unassigned,
    /// It is answered under another beacon.
    FalseBeacon,
}

/// What the registry has to say of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    trick: Trick,
    reason: Reason,
    /// Where answers were looked at.
    draws: Option<Vec<u8>>,
}

/// One chunk that nobody archived, and the root over it.
struct ForeignArchive {
    segment: u64,
    bytes: Vec<u8>,
}

impl ForeignArchive {
    fn position(&self) -> Position {
        Position::of_chunk(self.segment * SEGMENT_PERIODS, ChunkIndex(0), SEGMENT_PERIODS).unwrap()
    }

    fn entry(&self) -> ChunkEntry {
        ChunkEntry {
            length: self.bytes.len() as u32,
            id: ChunkId::from_bytes(root_of_leaves(self.bytes.chunks(LEAF_BYTES))),
        }
    }

    fn root(&self) -> SegmentRoot {
        let leaf = PeriodLeaf::Chunk {
            index: ChunkIndex(0),
            entry: self.entry(),
        };
        let period = SegmentLeaf::Period {
            period: self.segment * SEGMENT_PERIODS,
            root: PeriodRoot::from_bytes(leaf.hash()),
        };
        SegmentRoot::from_bytes(period.hash())
    }

    fn tree(&self) -> ClaimTree {
        ClaimTree::new([HeldChunk {
            position: self.position(),
            leaves: self.entry().leaf_count(),
            id: self.entry().id,
        }])
    }

    /// Right in every point but that its segment root is not the accepted one.
    fn answer(&self, tree: &ClaimTree, drawn: u64) -> Answer {
        let leaves: Vec<&[u8]> = self.bytes.chunks(LEAF_BYTES).collect();
        let hashes: Vec<Digest> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let (_, index) = tree.find(drawn).unwrap();
        let alone = || MerkleProof {
            directions: 0,
            siblings: Vec::new(),
        };
        let answer = Answer {
            position: self.position(),
            chunk: self.entry(),
            sum_path: tree.path(self.position()).unwrap(),
            leaf: leaves[index as usize].to_vec(),
            leaf_path: MerkleTree::new(&hashes).path(index).unwrap(),
            period_path: alone(),
            segment_path: alone(),
        };
        let rules = AnswerRules {
            claim: tree.claim(),
            segment_periods: SEGMENT_PERIODS,
        };
        assert_eq!(answer.check(&rules, drawn, Some(&self.root())), Ok(()));
        answer
    }
}

/// What all cheaters see, and what is found out of the run.
struct World {
    registry: Address,
    remote: Remote,
    admin: Caller,
    honest: Vec<Address>,
    cheaters: BTreeMap<Role, Address>,
    store_paths: Vec<PathBuf>,
    /// The archives of all nodes as they were when the round began: opened once a round, as that takes a while.
    stores: Vec<Store>,
    stores_of: Option<u64>,
    roots_asked_in: u64,
    period: u64,
    records: Vec<NodeRecord>,
    rounds: BTreeMap<u64, RoundRecord>,
    results: BTreeMap<(Address, u64), RoundResult>,
    /// What each claim was credited.
    credits: BTreeMap<(Address, u64), Amount>,
    roots: BTreeMap<u64, SegmentRoot>,
    /// The last answers that an honest node gave in an earlier round.
    others_answers: Vec<Vec<u8>>,
    answers_read_below: u64,
    /// Who claimed a round to be silent in it.
    conspiracies: BTreeMap<u64, BTreeSet<Role>>,
    /// Whether the three were together in a round.
    verdicts: BTreeMap<u64, bool>,
    settled_in: u64,
}

impl World {
    /// Reads the registry's final state.
    fn look(&mut self) -> Result<Snapshot, String> {
        let mut accepted = AcceptedRoots::default();
        let nobody = self.admin.from;
        let snapshot = read_snapshot(&self.remote, &self.registry, nobody, THREADS, &mut accepted);
        let snapshot = snapshot.ok_or("no final state of the registry")?;
        self.period = snapshot.period;
        self.rounds.extend(snapshot.rounds.clone());
        self.records = read_nodes(&self.remote, &self.registry);
        for record in &self.records {
            let claims = record.slots.iter().flatten();
            let told = |claim: &&RoundResult| claim.state == ClaimState::Settled || claim.refuted;
            for claim in claims.filter(told) {
                let seen = self.results.insert((record.address, claim.round), claim.clone());
                // Once it has matured, it is no longer in the row of its round.
                let credit = self.credits.entry((record.address, claim.round)).or_default();
                *credit = seen
                    .into_iter()
                    .map(|seen| seen.credit)
                    .chain([claim.credit, *credit])
                    .max()
                    .unwrap_or_default();
            }
        }
        self.open_stores();
        self.read_roots();
        self.read_answers();
        self.settle_cheaters();
        Ok(snapshot)
    }

    fn record(&self, address: &Address) -> Option<&NodeRecord> {
        self.records.iter().find(|record| record.address == *address)
    }

    fn open_stores(&mut self) {
        let round = self.period / SEGMENT_PERIODS;
        if self.stores_of == Some(round) {
            return;
        }
        let opened = self.store_paths.iter().map(Store::open_read_only);
        // A file that is compacted away meanwhile: the next look finds the new one.
        if let Ok(stores) = opened.collect() {
            self.stores = stores;
            self.stores_of = Some(round);
        }
    }

    /// Roots of segments that are over, from an honest archive.
    fn read_roots(&mut self) {
        let next = self.roots.last_key_value().map_or(0, |(last, _)| last + 1);
        if (next + 1) * SEGMENT_PERIODS > self.period || self.roots_asked_in == self.period {
            return;
        }
        self.roots_asked_in = self.period;
        let Ok(store) = Store::open_read_only(&self.store_paths[0]) else {
            return;
        };
        for segment in next.. {
            let Ok(Some(root)) = store.segment_root(segment) else {
                return;
            };
            self.roots.insert(segment, root);
        }
    }

    /// What honest nodes answer, from final blocks.
    fn read_answers(&mut self) {
        let times = RoundTimes::of_period(self.period, SEGMENT_PERIODS);
        let next = self.answers_read_below.max(times.window_opens());
        if next > self.period || !times.in_window(next) {
            return;
        }
        let Some(answers) = self.remote.answers(next, &self.registry) else {
            return;
        };
        self.answers_read_below = next + 1;
        let honest = |(node, _, answers): &Answers| self.honest.contains(node) && !answers.is_empty();
        if let Some((_, _, answers)) = answers.into_iter().find(honest) {
            self.others_answers = answers;
        }
    }

    /// Who sits out sends nothing, so its rounds are settled for it.
    fn settle_cheaters(&mut self) {
        let times = RoundTimes::of_period(self.period, SEGMENT_PERIODS);
        if !times.window_over(self.period) || self.settled_in >= times.round {
            return;
        }
        let over = |claim: &RoundResult| {
            let of_claim = RoundTimes {
                round: claim.round,
                ..times
            };
            claim.state != ClaimState::Settled && of_claim.window_over(self.period)
        };
        let open = self.cheaters.values().filter(|address| {
            let record = self.record(address);
            record.is_some_and(|record| record.slots.iter().flatten().any(over))
        });
        let texts: Vec<String> = open.map(ToString::to_string).collect();
        let call = resolve_expired_challenges(&texts);
        if !texts.is_empty()
            && self
                .remote
                .send(&self.admin, &call, self.period + SEGMENT_PERIODS)
                .is_ok()
        {
            self.settled_in = times.round;
        }
    }

    /// An answer that is not one, and why.
    fn false_proof(&self, tree: &ClaimTree, leaf: u64, draw: usize) -> Option<(Option<Vec<u8>>, Reason)> {
        let find = |leaf: u64| self.stores.iter().find_map(|store| answer_draw(store, tree, leaf).ok());
        let (answer, reason) = match draw % 3 {
            0 => (self.others_answers.get(draw)?.clone(), Reason::SumPath),
            1 => {
                let mut kept = find(leaf)?;
                kept.leaf.fill(0);
                (kept.to_bytes(), Reason::LeafPath)
            }
            _ => {
                let drawn_chunk = tree.find(leaf)?.0.position;
                let leaves = (0..tree.claim().leaves).step_by(LEAF_BYTES);
                let mut others = leaves.filter(|other| {
                    tree.find(*other)
                        .is_some_and(|(chunk, _)| chunk.position != drawn_chunk)
                });
                (others.find_map(find)?.to_bytes(), Reason::NotDrawn)
            }
        };
        Some((Some(answer), reason))
    }

    /// How many nodes score lower than `address` for a chunk; all weigh the same.
    fn rank(&self, address: &Address, chunk: &ChunkId) -> Option<usize> {
        let score = |record: &NodeRecord| placement_score(chunk, record.placement_key.as_ref()?, 1);
        let own = score(self.record(address)?)?;
        Some(
            self.records
                .iter()
                .filter_map(score)
                .filter(|score| *score < own)
                .count(),
        )
    }

    /// How many honest nodes score lower.
    fn honest_before(&self, address: &Address, chunk: &ChunkId) -> Option<usize> {
        let score = |record: &NodeRecord| placement_score(chunk, record.placement_key.as_ref()?, 1);
        let own = score(self.record(address)?)?;
        let honest = self
            .records
            .iter()
            .filter(|record| self.honest.contains(&record.address));
        Some(honest.filter_map(score).filter(|score| *score < own).count())
    }

    /// Whether the three claimed this round to be silent in it together, a third of its stake. Once said, it stays.
    fn is_silent(&mut self, round: u64) -> bool {
        let void = self.void_round();
        let agreed = self
            .conspiracies
            .get(&round)
            .is_some_and(|with| with.len() == CONSPIRATORS.len());
        let claimed = CONSPIRATORS.iter().all(|role| {
            let record = self.record(&self.cheaters[role]);
            record.is_some_and(|record| record.claim_of(round).is_some())
        });
        *self
            .verdicts
            .entry(round)
            .or_insert(void.is_none() && agreed && claimed)
    }

    fn void_round(&self) -> Option<u64> {
        self.verdicts
            .iter()
            .find(|(_, silent)| **silent)
            .map(|(round, _)| *round)
    }

    /// Chunks of these segments.
    fn chunks(&self, segments: &BTreeSet<u64>) -> Vec<HeldChunk> {
        let Some(store) = self.stores.first() else {
            return Vec::new();
        };
        let mut chunks = Vec::new();
        for segment in segments {
            for period in segment * SEGMENT_PERIODS..(segment + 1) * SEGMENT_PERIODS {
                let manifest = store.manifest(period).ok().flatten();
                for (entry, index) in manifest.iter().flat_map(|manifest| &manifest.chunks).zip(0..) {
                    chunks.push(HeldChunk {
                        position: Position::of_chunk(period, ChunkIndex(index), SEGMENT_PERIODS).unwrap(),
                        leaves: entry.leaf_count(),
                        id: entry.id,
                    });
                }
            }
        }
        chunks
    }
}

fn is_dropped(chunk: &HeldChunk) -> bool {
    chunk.id.as_bytes()[0] % DROPS_ONE_OF == 0
}

/// The driver of a cheater.
struct Cheater {
    role: Role,
    caller: Caller,
    remote: Remote,
    accepted: AcceptedRoots,
    trees: Vec<(Trick, ClaimTree)>,
    sent: Vec<Sent>,
    answered: BTreeSet<Trick>,
    expected: BTreeMap<u64, Expected>,
    foreign: Option<ForeignArchive>,
    /// What is sent beside the rounds, and what becomes of it.
    beside: Vec<(&'static str, Outcome)>,
    old_submission: Option<Submission>,
}

impl Cheater {
    fn tick(&mut self, world: &mut World) {
        let (registry, node) = (world.registry, self.caller.from);
        let Some(snapshot) = read_snapshot(&self.remote, &registry, node, THREADS, &mut self.accepted) else {
            return;
        };
        let times = RoundTimes::of_period(snapshot.period, SEGMENT_PERIODS);
        self.beside(&snapshot, times);
        let settings = Settings {
            chain_id: CHAIN_ID,
            registry,
            node,
            lead_periods: LEAD_PERIODS,
            validity_periods: SEGMENT_PERIODS,
            auto_claim: false,
            claim_fee: Amount::zero(),
        };
        let local = Local {
            own_roots: world.roots.clone(),
            beacon: self.beacon(&snapshot, times),
            ..Local::default()
        };
        for (action, until) in decide(&settings, &snapshot, &local, &self.sent).actions {
            if let Action::Submit(plan) = action {
                self.submit(plan, until, world);
            }
        }
    }

    fn beacon(&self, snapshot: &Snapshot, times: RoundTimes) -> Option<Digest> {
        if snapshot.period < times.beacon_period() {
            return None;
        }
        let context = RoundContext {
            chain_id: CHAIN_ID,
            registry: self.caller.registry.to_string(),
            round: times.round,
        };
        Some(context.beacon(&self.remote.final_blocks(times.beacon_period())?))
    }

    /// What is to be refused as a whole.
    fn beside(&mut self, snapshot: &Snapshot, times: RoundTimes) {
        let segment = snapshot.state.next_segment;
        let is_over = (segment + 1) * SEGMENT_PERIODS <= snapshot.period;
        let early = snapshot.period < times.window_ends();
        if self.role == Role::Forger && self.foreign.is_none() && snapshot.node.is_some() && is_over && early {
            let foreign = ForeignArchive {
                segment,
                bytes: (0..FOREIGN_BYTES).map(|at| (at / 7) as u8).collect(),
            };
            self.vote(times.round, (segment, foreign.root()), "foreign root");
            self.foreign = Some(foreign);
        }
        let voted = snapshot.node.as_ref().and_then(|node| node.votes_round);
        if let Some(foreign) = self
            .foreign
            .as_ref()
            .filter(|_| self.beside.len() == 1 && voted == Some(times.round))
        {
            self.vote(
                times.round,
                (foreign.segment, SegmentRoot::from_bytes([7; 32])),
                "second vote",
            );
        }
        if let Some(old) = self.old_submission.take_if(|old| old.round < times.round) {
            let call = submit_round(&self.caller.from, &old);
            self.beside.push(("replay", self.remote.start(&self.caller, &call)));
        }
    }

    fn vote(&mut self, round: u64, vote: (u64, SegmentRoot), what: &'static str) {
        let submission = Submission {
            round,
            roots: vec![vote],
            ..Submission::default()
        };
        let call = submit_round(&self.caller.from, &submission);
        self.beside.push((what, self.remote.start(&self.caller, &call)));
    }

    fn submit(&mut self, mut plan: SubmissionPlan, until: u64, world: &mut World) {
        let round = plan.round;
        match self.role {
            Role::Idler => plan.claim = None,
            Role::Forger => plan.roots.clear(),
            Role::Liar | Role::Dropper | Role::Fetcher => {}
        }
        let answers = match plan.vote.clone() {
            Some(vote) => match self.answers(round, &vote, world) {
                Some(answers) => Some(answers),
                None => return,
            },
            // It is silent until the round is over.
            None if self.is_conspirator() && world.void_round() == Some(round) => return,
            None => None,
        };
        let claim = plan
            .claim
            .as_ref()
            .and_then(|claim| self.claim(round + 1, claim, world));
        let submission = Submission {
            round,
            beacon: answers,
            roots: plan.roots.clone(),
            claim: claim.map(|claim| (claim.root, claim.leaves)),
        };
        if submission.beacon.is_none() && submission.roots.is_empty() && submission.claim.is_none() {
            return;
        }
        let call = submit_round(&self.caller.from, &submission);
        if self.remote.send(&self.caller, &call, until).is_ok() {
            self.sent.push(Sent {
                kind: Kind::Submit { round },
                valid_until: until,
                outcome: Became::Pending,
            });
            let first = self
                .expected
                .get(&round)
                .is_some_and(|expected| expected.trick == Trick::NoBytes);
            if first && self.beside.is_empty() {
                self.old_submission = Some(submission);
            }
        }
    }

    fn is_conspirator(&self) -> bool {
        CONSPIRATORS.contains(&self.role)
    }

    /// Beacon and answers for a claim, as its trick has it; nothing to be silent.
    fn answers(&mut self, round: u64, vote: &VotePlan, world: &mut World) -> Option<(Digest, DrawAnswers)> {
        let (trick, tree) = self
            .trees
            .iter()
            .rev()
            .find(|(_, tree)| tree.claim() == vote.claim)?
            .clone();
        if self.is_conspirator() && world.is_silent(round) {
            let expected = Expected {
                trick,
                reason: Reason::Void,
                draws: None,
            };
            self.expected.insert(round, expected);
            return None;
        }
        let mut beacon = vote.beacon;
        let (mut draws, mut reasons) = (DrawAnswers::new(), Vec::new());
        for (leaf, draw) in vote.draws.iter().zip(0..) {
            let (answer, reason) = self.answer(trick, &tree, *leaf, usize::from(draw), world);
            reasons.push(reason.code());
            draws.extend(answer.map(|answer| (draw, answer)));
        }
        let failed = reasons.iter().any(|reason| *reason != Reason::Passed.code());
        let (reason, reasons) = match trick {
            Trick::FalseBeacon => {
                beacon[0] ^= 1;
                (Reason::Minority, None)
            }
            Trick::Unassigned => (Reason::Refuted, Some(reasons)),
            _ if failed => (Reason::SomeMissed, Some(reasons)),
            _ => (Reason::Passed, Some(reasons)),
        };
        let expected = Expected {
            trick,
            reason,
            draws: reasons,
        };
        self.expected.insert(round, expected);
        self.answered.insert(trick);
        Some((beacon, draws))
    }

    fn answer(
        &self,
        trick: Trick,
        tree: &ClaimTree,
        leaf: u64,
        draw: usize,
        world: &World,
    ) -> (Option<Vec<u8>>, Reason) {
        match trick {
            Trick::NoBytes => (None, Reason::Missing),
            Trick::ForeignRoot => {
                let foreign = self.foreign.as_ref().unwrap();
                (Some(foreign.answer(tree, leaf).to_bytes()), Reason::ArchivePath)
            }
            Trick::FalseProofs => world.false_proof(tree, leaf, draw).unwrap_or((None, Reason::Missing)),
            Trick::Dropped if tree.find(leaf).is_some_and(|(chunk, _)| is_dropped(&chunk)) => (None, Reason::Missing),
            Trick::Dropped | Trick::Silence | Trick::Unassigned | Trick::FalseBeacon | Trick::Fetched => {
                let is_own = |node: usize| ROLES.get(node.wrapping_sub(HONEST)) == Some(&self.role);
                let stores = world.stores.iter().zip(0..);
                let mut usable = stores.filter(|(_, node)| trick != Trick::Fetched || !is_own(*node));
                let found = usable.find_map(|(store, _)| answer_draw(store, tree, leaf).ok());
                match found {
                    Some(answer) => (Some(answer.to_bytes()), Reason::Passed),
                    None => (None, Reason::Missing),
                }
            }
        }
    }

    fn claim(&mut self, round: u64, plan: &ClaimPlan, world: &mut World) -> Option<Claim> {
        let trick = self.trick(round, world)?;
        let own = self.caller.from;
        let tree = match trick {
            Trick::ForeignRoot => {
                let foreign = self.foreign.as_ref()?;
                if !plan.segments.contains(&foreign.segment) {
                    return None;
                }
                foreign.tree()
            }
            _ => {
                let mut chunks = world.chunks(&plan.segments);
                let assigned = |chunk: &HeldChunk| world.rank(&own, &chunk.id).is_some_and(|rank| rank < REPLICAS);
                let share = chunks.iter().filter(|chunk| assigned(chunk)).count();
                if trick == Trick::Unassigned {
                    chunks.retain(|chunk| {
                        world
                            .honest_before(&own, &chunk.id)
                            .is_some_and(|count| count >= REPLICAS)
                    });
                    // Not more than its share: the others would no longer have theirs.
                    chunks.truncate(share);
                } else {
                    chunks.retain(assigned);
                }
                ClaimTree::new(chunks)
            }
        };
        let claim = tree.claim();
        if claim.leaves == 0 || claim.leaves > plan.max_leaves {
            return None;
        }
        if !self.trees.iter().any(|(_, known)| known.claim() == claim) {
            self.trees.push((trick, tree));
        }
        Some(claim)
    }

    /// What the claim for `round` is for.
    fn trick(&self, round: u64, world: &mut World) -> Option<Trick> {
        let first = match self.role {
            Role::Liar => Trick::NoBytes,
            Role::Forger => Trick::ForeignRoot,
            Role::Dropper => Trick::Dropped,
            Role::Idler => return None,
            Role::Fetcher => return Some(Trick::Fetched),
        };
        if !self.answered.contains(&first) {
            return Some(first);
        }
        if world.void_round().map_or(true, |void| void >= round) {
            world.conspiracies.entry(round).or_default().insert(self.role);
            return Some(if self.role == Role::Dropper {
                first
            } else {
                Trick::Silence
            });
        }
        Some(match self.role {
            Role::Liar if !self.answered.contains(&Trick::FalseProofs) => Trick::FalseProofs,
            Role::Liar => Trick::Unassigned,
            Role::Forger => Trick::FalseBeacon,
            Role::Dropper => Trick::Dropped,
            Role::Idler | Role::Fetcher => return None,
        })
    }
}

/// What has not been shown yet.
fn missing(world: &World, cheaters: &[Cheater]) -> Vec<String> {
    let mut missing = Vec::new();
    let result = |role: Role, trick: Trick| {
        let cheater = cheaters.iter().find(|cheater| cheater.role == role).unwrap();
        let mut rounds = cheater.expected.iter().filter(|(_, expected)| expected.trick == trick);
        rounds.find_map(|(round, _)| world.results.get(&(cheater.caller.from, *round)))
    };
    for (role, trick) in [
        (Role::Liar, Trick::NoBytes),
        (Role::Liar, Trick::FalseProofs),
        (Role::Forger, Trick::ForeignRoot),
        (Role::Forger, Trick::FalseBeacon),
        (Role::Dropper, Trick::Dropped),
        (Role::Fetcher, Trick::Fetched),
    ] {
        if result(role, trick).is_none() {
            missing.push(format!("{role:?}: {trick:?}"));
        }
    }
    let liar = world.cheaters[&Role::Liar];
    if !world
        .results
        .iter()
        .any(|((node, _), result)| *node == liar && result.refuted)
    {
        missing.push("the liar's claim of what it was not assigned is not refuted".into());
    }
    let next = world.void_round().and_then(|round| world.rounds.get(&(round + 1)));
    if next.and_then(|round| round.beacon).is_none() {
        missing.push("the round after the void one is not counted".into());
    }
    missing
}

fn world(network: &Network, registry: Address, clock: Clock) -> (World, Vec<Cheater>) {
    let nodes = network.nodes();
    let cheating = || nodes[HONEST..].iter().zip(ROLES);
    let cheater = |(node, role): (&massa_localnet::Node, Role)| Cheater {
        role,
        caller: Caller {
            wallet: node.wallet_path(),
            from: node.operator(),
            registry,
        },
        remote: Remote::new(node, clock),
        accepted: AcceptedRoots::default(),
        trees: Vec::new(),
        sent: Vec::new(),
        answered: BTreeSet::new(),
        expected: BTreeMap::new(),
        foreign: None,
        beside: Vec::new(),
        old_submission: None,
    };
    let world = World {
        registry,
        remote: Remote::new(&nodes[0], clock),
        admin: Caller {
            wallet: network.accounts_path(),
            from: network.accounts()[0],
            registry,
        },
        honest: nodes[..HONEST].iter().map(massa_localnet::Node::operator).collect(),
        cheaters: cheating().map(|(node, role)| (role, node.operator())).collect(),
        store_paths: nodes.iter().map(massa_localnet::Node::store_path).collect(),
        stores: Vec::new(),
        stores_of: None,
        roots_asked_in: 0,
        period: 0,
        records: Vec::new(),
        rounds: BTreeMap::new(),
        results: BTreeMap::new(),
        credits: BTreeMap::new(),
        roots: BTreeMap::new(),
        others_answers: Vec::new(),
        answers_read_below: 0,
        conspiracies: BTreeMap::new(),
        verdicts: BTreeMap::new(),
        settled_in: 0,
    };
    (world, cheating().map(cheater).collect())
}

#[test]
fn every_cheater_ends_as_the_rules_say_and_honest_nodes_lose_nothing() {
    let (_directory, mut network) = network_with_periods_of(NODES, T0_MS);
    for node in &network.nodes()[HONEST..] {
        // It works for an address that nobody registers: it archives, and takes no part in rounds.
        let operator = |address: Address| format!("operator_address = \"{address}\"");
        change_settings(node, &operator(node.operator()), &operator(node.address()));
    }
    let deadline = Instant::now() + DEADLINE;
    network.start(NODES).unwrap();
    let _load = network.start_load(HONEST, BYTES_PER_PERIOD);
    let registry = RegistryPlan::new(&network, NODES).run().unwrap();
    let clock = network.clock();
    let (mut world, mut cheaters) = world(&network, registry, clock);
    let left = deadline.saturating_duration_since(Instant::now());
    let waited = wait_for("every cheater's end", left, || {
        network.check_running().unwrap();
        world.look()?;
        cheaters.iter_mut().for_each(|cheater| cheater.tick(&mut world));
        match missing(&world, &cheaters) {
            missing if missing.is_empty() => Ok(()),
            missing => Err(missing.join("; ")),
        }
    });
    print_results(&world, &cheaters);
    waited.unwrap_or_else(|error| panic!("{error}\n{}", logs(&network)));

    honest_nodes_lost_nothing(&world);
    let void = world.void_round().unwrap();
    assert_eq!(world.rounds[&void].beacon, None, "round {void} was to be void");
    cheaters.iter().for_each(|cheater| as_expected(cheater, &world));
    the_idler_displaces_nobody(&world);
    for cheater in cheaters {
        end_of(cheater, &world);
    }
    network.stop().unwrap();
}

fn print_results(world: &World, cheaters: &[Cheater]) {
    let name = |address: &Address| {
        let role = world.cheaters.iter().find(|(_, other)| *other == address);
        role.map_or_else(|| "honest".to_string(), |(role, _)| format!("{role:?}"))
    };
    println!("period {}, void round {:?}", world.period, world.void_round());
    for (round, record) in &world.rounds {
        let beacon = record.beacon.map(|beacon| hex::encode(&beacon[..4]));
        let (claims, stake, answers) = (record.claims, record.claim_stake, record.answers);
        println!("round {round}: {claims} claims, stake {stake}, {answers} answers, beacon {beacon:?}");
    }
    for ((address, round), result) in &world.results {
        let cheater = cheaters.iter().find(|cheater| cheater.caller.from == *address);
        let expected = cheater.and_then(|cheater| cheater.expected.get(round));
        println!(
            "{}, round {round}: {} leaves, {} of {} passed {:?}, reason {}, refuted {}, credit {}, expected {expected:?}",
            name(address),
            result.leaves,
            result.passes,
            result.draws,
            result.draw_reasons,
            result.reason,
            result.refuted,
            world.credits[&(*address, *round)]
        );
    }
    for record in &world.records {
        let (stake, from, to) = (record.stake, record.filled_from, record.filled_to);
        println!("{}: stake {stake}, filled from {from} to {to}", name(&record.address));
    }
}

fn honest_nodes_lost_nothing(world: &World) {
    let void = world.void_round();
    for address in &world.honest {
        let results = world.results.iter().filter(|((node, _), _)| node == address);
        let rounds: Vec<(u64, u8)> = results.map(|((_, round), result)| (*round, result.reason)).collect();
        let first = rounds.first().expect("an honest node had no round").0;
        for ((round, reason), at) in rounds.iter().zip(first..) {
            assert_eq!(*round, at, "{address} lost round {at}: {rounds:?}");
            let expected = if Some(at) == void { Reason::Void } else { Reason::Passed };
            assert_eq!(*reason, expected.code(), "{address} in round {at}: {rounds:?}");
            let is_paid = world.credits[&(*address, at)] > Amount::zero();
            assert_eq!(is_paid, expected == Reason::Passed, "{address} in round {at}");
        }
        assert_eq!(world.record(address).unwrap().stake, STAKE, "{address}");
    }
}

/// Every claim of a cheater that is settled has the result that follows from what was sent.
fn as_expected(cheater: &Cheater, world: &World) {
    for (round, expected) in &cheater.expected {
        let Some(result) = world.results.get(&(cheater.caller.from, *round)) else {
            continue;
        };
        let what = format!("{:?}, round {round}: {expected:?}, {result:?}", cheater.role);
        let is_told = result.state == ClaimState::Settled && (expected.trick != Trick::Unassigned || result.refuted);
        // Who answers in the void round is told that it was void.
        let is_void = world.void_round() == Some(*round);
        let reason = if is_void { Reason::Void } else { expected.reason };
        if is_told {
            assert_eq!(result.reason, reason.code(), "{what}");
        }
        if let Some(draws) = &expected.draws {
            assert_eq!(result.draw_reasons, *draws, "{what}");
        }
        let credit = world.credits[&(cheater.caller.from, *round)];
        let unpaid = is_void
            || match expected.trick {
                Trick::Dropped => false,
                // Without a refutation it passed: that takes witnesses that have been filled for three rounds.
                Trick::Unassigned => result.refuted,
                _ => expected.reason != Reason::Passed,
            };
        assert!(!unpaid || credit == Amount::zero(), "{what}: credit {credit}");
        let paid = is_told && reason == Reason::Passed;
        assert!(!paid || credit > Amount::zero(), "{what}: credit {credit}");
    }
}

/// It is counted as unfilled, and who holds what is the same without it, but for the copies that it adds.
fn the_idler_displaces_nobody(world: &World) {
    let idler = world.cheaters[&Role::Idler];
    let record = world.record(&idler).unwrap();
    assert_eq!(record.matured_rewards, Amount::zero());
    assert!(record.slots.iter().all(Option::is_none), "the idler claimed something");
    // Eight rounds without a counted one have gone by, so it weighs nothing any more: seen as if it had just joined.
    let joined = record.in_segment(record.last_counted_round + LAPSE_ROUNDS).unwrap();
    assert!(!joined.filled, "the idler is filled");
    let now = set_of(&world.records, world.period / SEGMENT_PERIODS);
    let mut nodes: Vec<StorageNode> = now.nodes().to_vec();
    nodes.retain(|node| node.address != idler);
    assert!(nodes.iter().filter(|node| node.filled).count() >= REPLICAS);
    let without = NodeSet::new(nodes.clone());
    nodes.push(joined);
    let all = NodeSet::new(nodes);
    let held_by = |chunk: &ChunkId, set: &NodeSet| -> BTreeSet<Address> {
        let indexes = holders(chunk, set, REPLICAS, &|_| false);
        indexes.into_iter().map(|index| set.nodes()[index].address).collect()
    };
    let segments: BTreeSet<u64> = world.roots.keys().copied().collect();
    let chunks = world.chunks(&segments);
    assert!(!chunks.is_empty());
    for chunk in &chunks {
        let mut with = held_by(&chunk.id, &all);
        with.remove(&idler);
        assert_eq!(with, held_by(&chunk.id, &without), "{}", chunk.position);
    }
}

/// What was refused as a whole, and what is left of the stake.
fn end_of(cheater: Cheater, world: &World) {
    let record = world.record(&cheater.caller.from).unwrap();
    let tenth = Amount::const_init(10, 0);
    match cheater.role {
        // Ten times the percentage of a round is all.
        Role::Liar => assert_eq!(record.stake, Amount::zero()),
        // All draws on the foreign root were missed. Neither the void round nor the false beacon costs stake.
        Role::Forger => assert_eq!(record.stake, STAKE.saturating_sub(tenth)),
        Role::Idler | Role::Fetcher => assert_eq!(record.stake, STAKE),
        Role::Dropper => assert!(record.stake <= STAKE),
    }
    if let Some(foreign) = &cheater.foreign {
        assert_ne!(world.roots[&foreign.segment], foreign.root());
        let voted =
            (0..=world.period / SEGMENT_PERIODS).map(|round| root_vote_key(round, foreign.segment, &foreign.root()));
        let rows = world.remote.final_entries(&world.registry, &voted.collect::<Vec<_>>());
        let votes: Vec<u8> = rows.into_iter().flatten().flatten().collect();
        assert_eq!(
            votes,
            STAKE.to_raw().to_le_bytes(),
            "its vote counted, and was not enough"
        );
    }
    let mut said: BTreeMap<&str, Result<(), String>> = BTreeMap::new();
    for (what, outcome) in cheater.beside {
        said.insert(what, outcome.join().unwrap());
    }
    let refusals: &[(&str, &str)] = match cheater.role {
        Role::Liar => &[("replay", "round is not open")],
        Role::Forger => &[("second vote", "segment is voted for already, or not in order")],
        Role::Dropper | Role::Idler | Role::Fetcher => &[],
    };
    for (what, reason) in refusals {
        let refused = said[what].as_ref().expect_err(what);
        assert!(refused.contains(reason), "{what}: {refused}");
    }
    if cheater.role == Role::Forger {
        assert_eq!(said["foreign root"], Ok(()));
    }
}
