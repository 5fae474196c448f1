//! The five invariants of the registry's electorate, over random operations: entries, sums and votes against a count by brute force, which
//! goes through the whole history after each operation.

#[path = "common/registry_model.rs"]
mod registry_model;

/// What the model is told of this network.
mod rounds_world {
    use massa_distributed_storage_worker::smart_contract::storage_registry::StorageConfig;
    use massa_models::amount::Amount;

    pub const KEY_DOMAIN: &[u8] = b"";
    pub const SEGMENTS: u64 = 3;

    /// `periods` are those of a round.
    pub fn config(periods: u64) -> StorageConfig {
        StorageConfig {
            reward_per_gb_per_period: Amount::from_raw(1_000_000_000),
            min_allocated_gb: 1,
            max_allocated_gb: 16_384,
            challenge_response_timeout_ms: 60_000,
            slash_percentage: 10,
            min_stake: Amount::from_raw(1),
            stake_per_gb: Amount::from_raw(100),
            replication_factor: 3,
            chunk_size_bytes: 1 << 20,
            challenge_frequency_periods: periods / SEGMENTS,
            first_segment: 0,
            round_segments: SEGMENTS,
        }
    }
}

use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::challenge::Reason;
use massa_distributed_storage_worker::rewards;
use massa_distributed_storage_worker::rounds::settlement::{result_of, settled};
use massa_distributed_storage_worker::smart_contract::state::NodeRecord;
use massa_distributed_storage_worker::smart_contract::storage_registry::{Submission, ROOT_VOTES_MAX};
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RoundResult};
use massa_hash::Hash;
use massa_models::address::{Address, SCAddress, SCAddressV0, UserAddress, UserAddressV0};
use massa_models::amount::Amount;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use registry_model::Model;
use rounds_world::SEGMENTS;
use std::collections::{BTreeMap, BTreeSet};

const PERIODS: u64 = 30;
const NODES: usize = 8;
const SEEDS: u64 = 16;
const STEPS: usize = 2_000;
/// One answer of four that is wrong.
const WRONG: &[u8] = b"wrong";

fn address(number: usize) -> Address {
    let hash = Hash::compute_from(&number.to_le_bytes());
    Address::User(UserAddress::UserAddressV0(UserAddressV0(hash)))
}

fn registry() -> Address {
    Address::SC(SCAddress::SCAddressV0(SCAddressV0(Hash::compute_from(b"registry"))))
}

fn node_record(address: Address, stake: u64) -> NodeRecord {
    NodeRecord {
        address,
        placement_key: None,
        index: 0,
        registered_period: 0,
        stake: Amount::from_raw(stake),
        weight_now: 0,
        weight_next: 10,
        weight_from_round: 0,
        leave_round: None,
        last_counted_round: 0,
        lapsed_from: 0,
        lapsed_until: 0,
        filled_from: u64::MAX,
        filled_to: u64::MAX,
        entry_round: None,
        entry_stake: Amount::zero(),
        no_claim_before_round: 0,
        total_draws: 0,
        passed_draws: 0,
        last_challenged_period: 0,
        matured_rewards: Amount::zero(),
        retention_periods: 0,
        votes_round: None,
        voted_below_segment: 0,
        slots: [None, None, None],
        node_id: String::new(),
        listeners: Vec::new(),
    }
}

fn beacon_of(round: u64, is_true: bool) -> Digest {
    *blake3::hash(format!("beacon {round} {is_true}").as_bytes()).as_bytes()
}

fn root_of(segment: u64, is_true: bool) -> SegmentRoot {
    SegmentRoot::from_bytes(*blake3::hash(format!("root {segment} {is_true}").as_bytes()).as_bytes())
}

/// Answers to the draws of a claim, the last one wrong or not.
fn answers(passes: bool) -> Vec<(u8, Vec<u8>)> {
    let answer = |draw: u8| if passes || draw < 3 { Vec::new() } else { WRONG.to_vec() };
    (0..4).map(|draw| (draw, answer(draw))).collect()
}

/// What a node did since it registered, in order.
#[derive(Clone, Debug)]
struct History {
    registered: u64,
    stake: u64,
    /// It registered in the first phase.
    first_phase: bool,
    /// Number, round, whether it could be renewed.
    submissions: Vec<(usize, u64, bool)>,
    /// Stake with which a round was claimed.
    claims: BTreeMap<u64, u64>,
    /// Rounds that it passed, and those that were refuted after so many operations.
    passed: BTreeSet<u64>,
    refuted: BTreeMap<u64, usize>,
}

impl History {
    /// Its entry, from the beginning: the table of the registry's README, "Who decides".
    fn entry(&self) -> Option<(u64, u64)> {
        let mut stake = self.stake;
        let mut entry = self.first_phase.then_some(self.registered + 2);
        for (number, round, may_renew) in &self.submissions {
            let stays = |of: &&u64| self.refuted.get(of).map_or(true, |refuted| refuted > number);
            let proven = self.passed.range(..round).rev().find(stays);
            let newer = proven.filter(|proven| entry.map_or(true, |from| *proven + 1 > from));
            match (newer, entry) {
                (Some(proven), _) => (entry, stake) = (Some(proven + 1), self.claims[proven]),
                _ if !may_renew => {}
                (_, Some(from)) if from > *round => {}
                (_, Some(from)) if from + 7 >= *round => entry = Some(*round),
                _ => entry = Some(round + 2),
            }
        }
        entry.map(|from| (from, stake))
    }

    fn weight(&self, round: u64) -> u64 {
        match self.entry() {
            Some((from, stake)) if from <= round && round <= from + 7 => stake,
            _ => 0,
        }
    }
}

/// A registry, and everything that happened to it.
struct World {
    model: Model,
    period: u64,
    histories: BTreeMap<Address, History>,
    operations: usize,
    random: ChaCha20Rng,
}

/// What an operation may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Done {
    /// Weights: it is a submission.
    Submitted,
    /// None of this round and the next.
    Other,
    /// Time went on, or it was refused.
    Nothing,
}

impl World {
    fn new(seed: u64) -> Self {
        Self {
            model: Model::new(77, registry(), PERIODS, 1 << 50),
            period: 0,
            histories: BTreeMap::new(),
            operations: 0,
            random: ChaCha20Rng::seed_from_u64(seed),
        }
    }

    fn round(&self) -> u64 {
        self.period / PERIODS
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.random.gen_range(0..100) < percent
    }

    fn register(&mut self, node: Address, stake: u64) {
        let history = History {
            registered: self.round(),
            stake,
            first_phase: !self.model.electorate.is_proven,
            submissions: Vec::new(),
            claims: BTreeMap::new(),
            passed: BTreeSet::new(),
            refuted: BTreeMap::new(),
        };
        self.histories.insert(node, history);
        self.model.register(node_record(node, stake), self.period);
        // As if it had set its key, where it comes later.
        let record = self.model.nodes.get_mut(&node).unwrap();
        record.placement_key = record.placement_key.or(Some([1; 32]));
    }

    fn submit(&mut self, node: Address, what: &Submission) -> Done {
        let record = &self.model.nodes[&node];
        let may_renew = !self.model.electorate.is_proven && record.leave_round.is_none();
        let (stake_before, round) = (record.stake, self.round());
        let check = |_: &Digest, _: u64, answer: &[u8]| answer != WRONG;
        if self.model.submit(&node, what, &check, self.period).is_err() {
            return Done::Nothing;
        }
        let record = &self.model.nodes[&node];
        assert!(record.stake <= stake_before);
        let history = self.histories.get_mut(&node).unwrap();
        history.submissions.push((self.operations, round, may_renew));
        if what.claim.is_some() {
            history.claims.insert(round + 1, record.stake.to_raw());
        }
        Done::Submitted
    }

    /// Takes in what was settled: rounds that were passed.
    fn note_results(&mut self) {
        for ((node, round), result) in self.model.results() {
            if let Some(history) = self.histories.get_mut(&node) {
                let is_this = history.claims.contains_key(&round);
                if is_this && result.reason == Reason::Passed.code() {
                    history.passed.insert(round);
                }
            }
        }
    }

    fn random_submission(&mut self, node: &Address) -> Submission {
        let round = self.round();
        let is_open = self.model.nodes[node]
            .claim_of(round)
            .is_some_and(|claim| claim.state == ClaimState::Claimed);
        let in_window = (3..=PERIODS / 2).contains(&(self.period % PERIODS));
        let beacon = (is_open && in_window && self.chance(90)).then(|| {
            let (is_true, passes) = (self.chance(if round % 4 == 0 { 20 } else { 85 }), self.chance(85));
            (beacon_of(round, is_true), answers(passes))
        });
        let next = self.model.next_segment;
        let over = self.period / (PERIODS / SEGMENTS);
        let last = over.min(next + self.random.gen_range(0..4));
        let roots = (next..last).map(|segment| (segment, root_of(segment, self.chance(80))));
        let roots = roots.collect();
        let claim = self.chance(70).then(|| ([2; 32], self.random.gen_range(1..1 << 20)));
        Submission {
            round,
            beacon,
            roots,
            claim,
        }
    }

    /// One random operation, or time goes on.
    fn step(&mut self) -> Done {
        self.operations += 1;
        let node = address(self.random.gen_range(0..NODES));
        let stake = self.random.gen_range(100..5_000);
        if self.chance(30) {
            self.period += self.random.gen_range(1..PERIODS / 3);
            if self.chance(1) {
                self.period += self.random.gen_range(0..12 * PERIODS);
            }
            return Done::Nothing;
        }
        if !self.model.nodes.contains_key(&node) {
            if !self.chance(20) {
                return Done::Nothing;
            }
            self.register(node, stake);
            return Done::Other;
        }
        let period = self.period;
        match self.random.gen_range(0..100) {
            0..=1 => {
                let left = self.model.leave(&node, period).is_ok();
                if !self.model.nodes.contains_key(&node) {
                    self.histories.remove(&node);
                }
                return if left { Done::Other } else { Done::Nothing };
            }
            2..=4 => self.model.add_stake(&node, stake),
            5..=6 => self.model.take_stake(&node, stake),
            7..=9 => return self.refute(node),
            10..=14 => self.model.settle(&node, period),
            15..=17 => {
                return [Done::Nothing, Done::Other][usize::from(self.model.claim_rewards(&node, period).is_ok())]
            }
            _ => {
                let what = self.random_submission(&node);
                return self.submit(node, &what);
            }
        }
        Done::Other
    }

    fn refute(&mut self, node: Address) -> Done {
        let round = self.round();
        let Some(claimed) = self.model.nodes[&node].claim_of(round).filter(|claim| !claim.refuted) else {
            return Done::Nothing;
        };
        let claimed = claimed.round;
        self.model.refute(&node, claimed, self.period);
        self.note_results();
        let history = self.histories.get_mut(&node).unwrap();
        let refuted = self.model.nodes[&node]
            .slots
            .iter()
            .flatten()
            .filter(|claim| claim.refuted);
        for claim in refuted {
            history.refuted.entry(claim.round).or_insert(self.operations);
        }
        Done::Other
    }

    /// Weights of a round as history gives them.
    fn weights(&self, round: u64) -> BTreeMap<Address, u64> {
        let weights = self
            .histories
            .iter()
            .map(|(node, history)| (*node, history.weight(round)));
        weights.collect()
    }
}

/// Steps through random operations; `check` sees the world before and after each of them.
fn run(mut check: impl FnMut(&World, &World, Done)) {
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            let before = World {
                model: world.model.clone(),
                histories: world.histories.clone(),
                random: world.random.clone(),
                ..world
            };
            let done = world.step();
            world.note_results();
            check(&before, &world, done);
        }
        assert!(
            world.round() > 50 && world.model.next_segment > 0,
            "seed {seed} tests nothing"
        );
    }
}

#[test]
fn the_electorate_is_the_sum_of_all_weights_as_history_gives_them() {
    let mut weighed = 0;
    run(|_, world, _| {
        let now = world.round();
        for round in now..=now + 2 {
            let weights = world.weights(round);
            assert_eq!(
                world.model.electorate.of(round),
                weights.values().sum::<u64>(),
                "round {round} in {now}"
            );
            for (node, weight) in weights {
                assert_eq!(
                    world.model.vote_weight(&node, round),
                    weight,
                    "{node}, round {round} in {now}"
                );
                weighed += usize::from(weight > 0);
            }
        }
    });
    assert!(weighed > 10_000);
}

#[test]
fn the_votes_of_a_round_for_all_roots_of_a_segment_and_for_all_beacons_are_no_more_than_the_electorate() {
    let mut whole = 0;
    run(|_, world, _| {
        let round = world.round();
        let electorate: u64 = world.weights(round).values().sum();
        for (segment, votes) in world.model.root_tallies(round) {
            assert!(votes <= electorate, "segment {segment}: {votes} of {electorate}");
            whole += usize::from(votes == electorate && votes > 0);
        }
        let answered = world.model.answered_stake(round);
        assert!(answered <= electorate, "round {round}: {answered} of {electorate}");
    });
    assert!(whole > 10);
}

#[test]
fn stake_that_comes_grows_or_goes_changes_no_weight_of_its_round_and_the_next() {
    let (mut changes, mut forgotten) = (0, 0);
    run(|before, world, done| {
        if done != Done::Other {
            return;
        }
        let now = world.round();
        for round in [now, now + 1] {
            for (node, weight) in before.weights(round) {
                let is_there = world.model.nodes.contains_key(&node);
                assert_eq!(
                    world.model.vote_weight(&node, round),
                    weight,
                    "{node}, round {round} in {now}"
                );
                forgotten += usize::from(!is_there);
            }
            for node in world
                .model
                .nodes
                .keys()
                .filter(|node| !before.model.nodes.contains_key(node))
            {
                assert_eq!(world.model.vote_weight(node, round), 0, "{node} came in {now}");
            }
        }
        changes += 1;
    });
    assert!(changes > 1_000 && forgotten > 0, "{changes} {forgotten}");
}

/// Reason, credit and slash of a claim that is settled in `period`, of a node whose stake covers any slash.
fn result(node: &NodeRecord, claim: &RoundResult, world: &World, period: u64) -> (u8, u64, u64) {
    const STAKE: u64 = u64::MAX / 2;
    let mut alone = node.clone();
    alone.slots = [None, None, None];
    alone.slots[(claim.round % 3) as usize] = Some(claim.clone());
    (alone.matured_rewards, alone.stake) = (Amount::zero(), Amount::from_raw(STAKE));
    let after = settled(&alone, &world.model.rounds, period, PERIODS);
    let found = after.claim_of(claim.round).unwrap();
    let credit = found.credit.saturating_add(after.matured_rewards);
    (found.reason, credit.to_raw(), STAKE - after.stake.to_raw())
}

#[test]
fn a_result_depends_on_its_round_alone_however_late_it_is_settled_and_all_credit_is_owed() {
    let (mut expected, mut known) = (BTreeMap::new(), BTreeSet::new());
    let (mut compared, mut reasons) = (0, BTreeSet::new());
    run(|before, world, _| {
        let model = &world.model;
        if before.operations == 0 {
            (expected, known) = (BTreeMap::new(), BTreeSet::new());
        }
        let mut owed = 0;
        for node in model.nodes.values() {
            owed += node.matured_rewards.to_raw();
            for claim in node.slots.iter().flatten() {
                let record = &model.rounds[&claim.round];
                if claim.state == ClaimState::Settled || !record.closed {
                    owed += claim.credit.to_raw();
                    continue;
                }
                let rate = record.rate.to_raw();
                match result_of(claim, Some(record)) {
                    Reason::Passed | Reason::SomeMissed | Reason::Refuted => {
                        owed += rewards::credit(claim.leaves, PERIODS, rate, claim.passes, claim.draws);
                    }
                    _ => {}
                }
                // What it is now it is whenever it is settled, unless it is refuted before.
                for later in [0, 1, 7] {
                    let found = result(node, claim, world, world.period + later * PERIODS);
                    let key = (node.address, claim.round, claim.refuted);
                    assert_eq!(
                        *expected.entry(key).or_insert(found),
                        found,
                        "{key:?} in {}",
                        world.round()
                    );
                }
            }
        }
        assert_eq!(model.credited, owed, "in round {}", world.round());
        for ((node, round), result) in &model.results() {
            if !known.insert((*node, *round)) {
                continue;
            }
            let refuted = result.reason == Reason::Refuted.code();
            let Some((reason, credit, slash)) = expected.get(&(*node, *round, refuted)) else {
                continue;
            };
            let paid = if refuted { 0 } else { result.credit };
            assert_eq!((result.reason, paid), (*reason, *credit), "{node} in {round}");
            // What was there was enough for the slashes of all claims.
            if before.model.nodes[node].stake.to_raw() > 4 * slash {
                assert_eq!(result.slashed, *slash, "{node} in {round}");
            }
            reasons.insert(*reason);
            compared += 1;
        }
    });
    assert!(compared > 400 && reasons.len() >= 6, "{compared} {reasons:?}");
}

/// Rounds in which honest nodes do all, and others what they like, with so much of the stake in percent at most.
struct Contest {
    world: World,
    honest: Vec<Address>,
    others: Vec<Address>,
    /// Round in which a segment was accepted.
    accepted: BTreeMap<u64, u64>,
}

impl Contest {
    const ROUNDS: u64 = 60;

    /// `share` of the stake, as a fraction, is that of the others, or a little less.
    fn new(seed: u64, (part, of): (u64, u64)) -> Self {
        let mut world = World::new(seed);
        let nodes: Vec<Address> = (0..NODES).map(address).collect();
        let (honest, others) = nodes.split_at(NODES / 2);
        let stakes: Vec<u64> = honest.iter().map(|_| world.random.gen_range(2_000..6_000)).collect();
        let total: u64 = stakes.iter().sum::<u64>() * part / (of - part);
        honest
            .iter()
            .zip(&stakes)
            .for_each(|(node, stake)| world.register(*node, *stake));
        let each = total / others.len() as u64;
        others.iter().for_each(|node| world.register(*node, each));
        Self {
            honest: honest.to_vec(),
            others: others.to_vec(),
            accepted: BTreeMap::new(),
            world,
        }
    }

    /// What a node sends that does its part, with a true beacon and true roots or not.
    fn submission(&self, node: &Address, (true_beacon, true_roots): (bool, bool)) -> Submission {
        let world = &self.world;
        let (round, next) = (world.round(), world.model.next_segment);
        let claimed = world.model.nodes[node].claim_of(round).is_some();
        let over = world.period / (PERIODS / SEGMENTS);
        let segments = next..over.min(next + ROOT_VOTES_MAX as u64);
        let weighs = world.model.vote_weight(node, round) > 0 || round >= 2;
        let roots = segments
            .filter(|_| weighs)
            .map(|segment| (segment, root_of(segment, true_roots)));
        Submission {
            round,
            beacon: claimed.then(|| (beacon_of(round, true_beacon), answers(true))),
            roots: roots.collect(),
            // An allocation counts from the second round after the registration on.
            claim: (round >= 1).then_some(([2; 32], 1 << 10)),
        }
    }

    /// One round: everybody's operation in a random order, in the window. The others agree on what they lie about, or do what they like.
    fn play(&mut self, round: u64) {
        self.world.period = round * PERIODS + 4;
        let lie = (self.world.chance(50), self.world.chance(30));
        let mut left: Vec<Address> = self.honest.iter().chain(&self.others).copied().collect();
        while !left.is_empty() {
            let node = left.swap_remove(self.world.random.gen_range(0..left.len()));
            self.world.operations += 1;
            if self.honest.contains(&node) {
                let mut what = self.submission(&node, (true, true));
                if self.world.submit(node, &what) == Done::Nothing {
                    // Its stake weighs nothing yet, or any more.
                    what.roots.clear();
                    assert_eq!(self.world.submit(node, &what), Done::Submitted, "{what:?}");
                }
            } else if self.world.chance(80) {
                let together = self.world.chance(80);
                let what = match together {
                    true => self.submission(&node, lie),
                    false => self.world.random_submission(&node),
                };
                self.world.submit(node, &what);
            }
            self.note_accepted();
        }
        self.world.period = (round + 1) * PERIODS - 1;
        for node in self.honest.clone().iter().chain(&self.others.clone()) {
            self.world.model.settle(node, self.world.period);
        }
        self.world.note_results();
    }

    fn note_accepted(&mut self) {
        let round = self.world.round();
        for (segment, root) in &self.world.model.roots {
            self.accepted.entry(*segment).or_insert(round);
            assert_eq!(*root, root_of(*segment, true), "segment {segment} in round {round}");
        }
        let beacon = self.world.model.rounds.get(&round).and_then(|record| record.beacon);
        assert!(
            beacon.map_or(true, |beacon| beacon == beacon_of(round, true)),
            "round {round}"
        );
    }
}

/// Plays; no round is void, and the root of a segment is accepted at most so many rounds after the one in which it is voted for first.
/// Returns how many came later than that one.
fn play_without_void_rounds(share: (u64, u64), rounds_late: u64) -> usize {
    let mut late = 0;
    for seed in 0..SEEDS {
        let mut contest = Contest::new(seed, share);
        for round in 0..Contest::ROUNDS {
            contest.play(round);
            // Before, nothing weighs anything.
            if round < 2 {
                continue;
            }
            let record = &contest.world.model.rounds[&round];
            assert_eq!(
                record.beacon,
                Some(beacon_of(round, true)),
                "round {round}, seed {seed}"
            );
            let next = contest.world.model.next_segment;
            let due = (round - 2)
                .checked_sub(rounds_late)
                .map_or(0, |due| (due + 2) * SEGMENTS);
            assert!(next >= due, "round {round}, seed {seed}: {next} of {due}");
        }
        let voted = |segment: u64| (segment / SEGMENTS + 1).max(2);
        let accepted = contest.accepted.iter();
        late += accepted.filter(|(segment, round)| **round > voted(**segment)).count();
    }
    late
}

#[test]
fn less_than_a_third_voids_no_round_and_delays_no_root() {
    assert_eq!(play_without_void_rounds((33, 100), 0), 0);
}

#[test]
fn less_than_half_that_votes_against_delays_a_root_by_eight_rounds_at_most() {
    assert!(play_without_void_rounds((45, 100), 8) > 0, "nobody tried");
}

#[test]
fn half_or_less_makes_nothing_false_accepted() {
    for seed in 0..SEEDS {
        let mut contest = Contest::new(seed, (1, 2));
        (0..Contest::ROUNDS).for_each(|round| contest.play(round));
        assert!(contest.accepted.len() > 10, "seed {seed} tests nothing");
    }
}

/// The truth of some is slashed only where another beacon had more than two thirds.
#[test]
fn below_two_thirds_no_truthful_answer_is_slashed() {
    let (mut spared, mut slashed, mut known) = (0, 0, BTreeSet::new());
    run(|before, world, _| {
        if before.operations == 0 {
            known.clear();
        }
        for ((node, round), result) in world.model.results() {
            let record = &world.model.rounds[&round];
            let is_truthful =
                result.reason == Reason::Minority.code() && record.beacon == Some(beacon_of(round, false));
            if !known.insert((node, round)) || !is_truthful {
                continue;
            }
            let (for_it, electorate) = (record.beacon_stake.to_raw(), record.electorate.to_raw());
            assert!(
                result.slashed == 0 || 3 * for_it > 2 * electorate,
                "{node}, round {round}"
            );
            spared += usize::from(result.slashed == 0);
            slashed += usize::from(result.slashed > 0);
        }
    });
    assert!(spared > 0 && slashed > 0, "{spared} {slashed}");
}
