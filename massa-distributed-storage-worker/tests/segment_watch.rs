//! Watching what others answer: honest nodes are never accused, a false claim is found when it is drawn, every answer is scored once,
//! and what it costs is counted in hashes.

use massa_distributed_storage_exports::merkle::MerkleProof;
use massa_distributed_storage_exports::segment_table::{SegmentLeaf, TableChunk};
use massa_distributed_storage_exports::types::ChunkPosition;
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_distributed_storage_worker::challenge::jury::{Jury, Verdict};
use massa_distributed_storage_worker::challenge::refutation::{Bench, Refutation, RefutationError};
use massa_distributed_storage_worker::challenge::segment_answer::SegmentAnswer;
use massa_distributed_storage_worker::challenge::sums::{Claim, SumNode, SumPath};
use massa_distributed_storage_worker::repair::assigned::Assigned;
use massa_distributed_storage_worker::replication::{placement_score, PlacementRules};
use massa_distributed_storage_worker::rounds::decide::Snapshot;
use massa_distributed_storage_worker::rounds::segment_watch::{Court, Scored, SegmentWatch};
use massa_distributed_storage_worker::rounds::watch::{FinalContent, Watch, Watched};
use massa_distributed_storage_worker::rounds::witnesses::Witnesses;
use massa_distributed_storage_worker::rounds::RoundTimes;
use massa_distributed_storage_worker::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use massa_distributed_storage_worker::smart_contract::storage_registry::{submit_round, StorageConfig, Submission};
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RegistryState, RoundResult};
use massa_hash::Hash;
use massa_models::address::{Address, SCAddress, SCAddressV0, UserAddress, UserAddressV0};
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::{Operation, OperationSerializer, OperationType, SecureShareOperation};
use massa_models::secure_share::{Id, SecureShareContent, SecureShareSerializer};
use massa_serialization::Serializer;
use massa_signature::KeyPair;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

const ROUND: u64 = 20;
const FACTOR: u64 = 3;
const GB: u64 = 10;
const SEGMENT_PERIODS: u64 = 100;
const HASHES_MAX: u64 = 8_192;

fn address(number: usize) -> Address {
    let hash = Hash::compute_from(&number.to_le_bytes());
    Address::User(UserAddress::UserAddressV0(UserAddressV0(hash)))
}

fn chunk(number: u64) -> ChunkId {
    ChunkId::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// Filled and unchanged for long, with a claim of `root` for the round.
fn node(number: usize, claim: Claim) -> NodeRecord {
    let slot = RoundResult {
        round: ROUND,
        leaves: claim.leaves,
        stake: Amount::from_raw(0),
        weight: GB,
        root: claim.root,
        beacon: [0; 32],
        credit: Amount::from_raw(0),
        state: ClaimState::Claimed,
        draws: 4,
        passes: 0,
        reason: 0,
        refuted: false,
        filled: true,
        draw_reasons: Vec::new(),
    };
    let mut slots = [None, None, None];
    slots[(ROUND % 3) as usize] = Some(slot);
    NodeRecord {
        address: address(number),
        placement_key: Some(*blake3::hash(&(number as u32).to_le_bytes()).as_bytes()),
        index: 0,
        registered_period: 0,
        stake: Amount::from_raw(0),
        weight_now: GB,
        weight_next: GB,
        weight_from_round: 2,
        leave_round: None,
        last_counted_round: ROUND - 1,
        lapsed_from: 0,
        lapsed_until: 0,
        filled_from: 4,
        filled_to: u64::MAX,
        entry_round: Some(ROUND),
        entry_stake: Amount::from_raw(0),
        no_claim_before_round: 0,
        total_draws: 0,
        passed_draws: 0,
        last_challenged_period: 0,
        matured_rewards: Amount::from_raw(0),
        retention_periods: 0,
        votes_round: None,
        voted_below_segment: 0,
        slots,
        node_id: String::new(),
        listeners: Vec::new(),
    }
}

fn config() -> ConfigRecord {
    let config = StorageConfig {
        reward_per_gb_per_period: Amount::from_raw(1),
        min_allocated_gb: 1,
        max_allocated_gb: 16_384,
        challenge_response_timeout_ms: 60_000,
        slash_percentage: 10,
        min_stake: Amount::from_raw(0),
        stake_per_gb: Amount::from_raw(0),
        replication_factor: FACTOR,
        chunk_size_bytes: 1 << 20,
        challenge_frequency_periods: SEGMENT_PERIODS,
        first_segment: 0,
        round_segments: 1,
    };
    ConfigRecord {
        now: config.clone(),
        next: config,
        next_round: 0,
    }
}

fn round_record(nodes: usize) -> RoundRecord {
    RoundRecord {
        claims: nodes as u64,
        leaves: 1_000,
        factor: FACTOR,
        ..RoundRecord::default()
    }
}

/// A registry, and nodes that each claim one chunk alone: what else they claim does not matter to a refutation.
struct Network {
    nodes: Vec<NodeRecord>,
    config: ConfigRecord,
    round: RoundRecord,
}

impl Network {
    fn new(count: usize) -> Self {
        let claim = Claim {
            root: [1; 32],
            leaves: 100,
        };
        Self {
            nodes: (0..count).map(|number| node(number, claim)).collect(),
            config: config(),
            round: round_record(count),
        }
    }

    fn bench(&self) -> Bench<'_> {
        Bench {
            nodes: &self.nodes,
            config: &self.config,
            round: &self.round,
        }
    }

    fn jury(&self) -> Jury {
        Jury::new(self.bench(), ROUND)
    }

    fn scores(&self, chunk: &ChunkId) -> Vec<(u64, usize)> {
        let score = |node: &NodeRecord| placement_score(chunk, &node.placement_key.unwrap(), GB).unwrap();
        let mut scores: Vec<_> = self.nodes.iter().map(score).zip(0..).collect();
        scores.sort_unstable();
        scores
    }

    /// The worst score that still holds a chunk, as placement gives it.
    fn worst_holder(&self, chunk: &ChunkId) -> u64 {
        self.scores(chunk)[FACTOR as usize - 1].0
    }

    /// So do all others.
    fn all_claim(&mut self, accused: usize, number: u64) -> (SegmentAnswer, SegmentRoot) {
        for other in 0..self.nodes.len() {
            self.claims(other, number);
        }
        self.claims(accused, number)
    }

    /// `accused` claims one chunk alone, at a position of a segment of one chunk.
    fn claims(&mut self, accused: usize, number: u64) -> (SegmentAnswer, SegmentRoot) {
        let position = ChunkPosition::new(number, 3).unwrap();
        let row = TableChunk {
            length: 5_000,
            id: chunk(number),
        };
        let leaf = SegmentLeaf::Chunk { index: 3, row }.hash();
        let sum_path = SumPath::default();
        let node = SumNode::chunk(position.number(), row.leaf_count(), &row.id);
        let (claim, _) = sum_path.follow(position.number(), node).unwrap();
        let slot = self.nodes[accused].slots[(ROUND % 3) as usize].as_mut().unwrap();
        (slot.root, slot.leaves) = (claim.root, claim.leaves);
        let nothing = MerkleProof {
            directions: 0,
            siblings: Vec::new(),
        };
        let answer = SegmentAnswer {
            position,
            chunk: row,
            sum_path,
            leaf: vec![7; 1024],
            leaf_path: nothing.clone(),
            segment_path: nothing,
        };
        (answer, SegmentRoot::from_bytes(leaf))
    }
}

fn answer_to(number: u64) -> SegmentAnswer {
    Network::new(1).claims(0, number).0
}

#[test]
fn a_false_claim_is_refuted_with_evidence_that_the_registry_takes() {
    let mut network = Network::new(50);
    let accused = network.scores(&chunk(5))[30].1;
    // All claim this chunk alone, so every sum path is the same.
    let (answer, root) = network.all_claim(accused, 5);
    let juries = BTreeMap::from([(ROUND, network.jury())]);
    let worst = network.worst_holder(&chunk(5));
    let claimed = network
        .bench()
        .nodes
        .iter()
        .find(|node| node.address == address(accused));
    let claimed = claimed.unwrap().claim_of(ROUND).unwrap();
    let claim = Claim {
        root: claimed.root,
        leaves: claimed.leaves,
    };
    let court = Court {
        juries: &juries,
        worst_holder: &|_, _, _| Some(worst),
        is_claimed: &|_, _, answer| answer.before_under(&claim).is_some(),
    };
    let mut watch = SegmentWatch::default();
    // An answer in its name that it did not give hides nothing.
    let forged = SegmentAnswer {
        position: ChunkPosition::new(5, 9).unwrap(),
        ..answer.clone()
    };
    watch.saw(address(accused), ROUND, &forged);
    watch.saw(address(accused), ROUND, &answer);
    watch.saw(address(accused), ROUND, &answer);
    watch.score(&court, HASHES_MAX);

    let found = watch.take_found();
    assert_eq!(
        found.len(),
        2,
        "each answer is scored; which are the same chunk is seen by who looks into them"
    );
    assert_eq!(found[0], found[1]);
    let suspicion = &found[0];
    assert_eq!(suspicion.witnesses, FACTOR as usize);
    let best: Vec<Address> = network
        .scores(&chunk(5))
        .iter()
        .map(|(_, node)| address(*node))
        .collect();
    assert_eq!(
        suspicion.candidates,
        best[..2 * FACTOR as usize + 8],
        "the lowest scores first"
    );
    let mut witnesses = Witnesses::default();
    for suspicion in found.iter().cloned() {
        witnesses.open(suspicion, |_| Some(SumPath::default()), |_| Some(claim));
    }
    let refutations = witnesses.refutations();
    assert_eq!(refutations.len(), 1);
    let refutation = &refutations[0];
    assert_eq!(refutation.exhibit, answer.without_leaf());
    assert_eq!(refutation.check(network.bench(), Some(&root)), Ok(()));
    assert_eq!(
        refutation.check(network.bench(), None),
        Err(RefutationError::SegmentUnknown)
    );
    let elsewhere = SegmentRoot::from_bytes([0; 32]);
    assert_eq!(
        refutation.check(network.bench(), Some(&elsewhere)),
        Err(RefutationError::ArchivePath)
    );
    let mut moved = refutation.clone();
    moved.exhibit.position = ChunkPosition::new(5, 4).unwrap();
    assert_eq!(moved.check(network.bench(), Some(&root)), Err(RefutationError::SumPath));
    let with_leaf = Refutation {
        exhibit: answer,
        ..refutation.clone()
    };
    assert_eq!(
        with_leaf.check(network.bench(), Some(&root)),
        Err(RefutationError::Leaf)
    );
    witnesses.close(refutation);
    assert!(witnesses.is_empty());
}

/// With and without what placement knows, and also by the search that scores everybody.
#[test]
fn a_jury_finds_somebody_guilty_exactly_when_enough_others_score_lower() {
    let mut network = Network::new(40);
    for number in 0..60 {
        let (rank, accused) = (
            number as usize % 40,
            network.scores(&chunk(number))[number as usize % 40].1,
        );
        let (answer, root) = network.all_claim(accused, number);
        let jury = network.jury();
        let worst = Some(network.worst_holder(&chunk(number)));
        let mut hashes = 0;
        let verdicts =
            [None, worst].map(|worst| jury.judge(&address(accused), (number, &chunk(number)), worst, &mut hashes));
        let guilty = rank >= FACTOR as usize;
        for verdict in &verdicts {
            assert_eq!(*verdict != Verdict::NotRefuted, guilty, "rank {rank}");
        }
        let whole = Refutation::find(&network.nodes[accused], ROUND, &answer, network.bench(), |_| {
            Some(SumPath::default())
        });
        assert_eq!(whole.is_some(), guilty, "rank {rank}");
        let Verdict::Against(witnesses) = &verdicts[0] else {
            continue;
        };
        let refutation = Refutation {
            node: address(accused),
            round: ROUND,
            exhibit: answer.without_leaf(),
            witnesses: witnesses.iter().map(|node| (*node, SumPath::default())).collect(),
        };
        assert_eq!(refutation.check(network.bench(), Some(&root)), Ok(()));
    }
}

#[test]
fn who_is_assigned_costs_one_hash_and_who_is_not_no_more_than_shows_it() {
    let network = Network::new(1_000);
    let jury = network.jury();
    assert_eq!(jury.jurors(), 1_000);
    let cost = |rank: usize, number: u64, known: bool| {
        let worst = known.then(|| network.worst_holder(&chunk(number)));
        let accused = address(network.scores(&chunk(number))[rank].1);
        let mut hashes = 0;
        jury.judge(&accused, (number, &chunk(number)), worst, &mut hashes);
        hashes
    };
    assert_eq!(cost(0, 1, true), 1);
    assert_eq!(cost(2, 1, true), 1);
    // Nobody scores lower, which is sure when three are missing and two are left.
    assert_eq!(cost(0, 1, false), 1 + 999 - 2);
    // Nearly everybody scores lower than the worst.
    let worst: u64 = (0..50).map(|number| cost(999, number, true)).max().unwrap();
    assert_eq!(worst, 1 + FACTOR);
    let middle: u64 = (0..50).map(|number| cost(500, number, false)).sum();
    assert!(middle <= 50 * 12, "about 1 + 2 · {FACTOR} each, {middle} in all");
}

#[test]
fn without_enough_others_nothing_is_hashed() {
    let mut few = Network::new(FACTOR as usize);
    let mut hashes = 0;
    let verdict = few.jury().judge(&address(0), (1, &chunk(1)), None, &mut hashes);
    assert_eq!((verdict, hashes), (Verdict::NotRefuted, 0));
    few.nodes.push(node(
        99,
        Claim {
            root: [1; 32],
            leaves: 1,
        },
    ));
    few.jury().judge(&address(0), (1, &chunk(1)), None, &mut hashes);
    assert!(hashes > 0);

    let refuses = |change: &dyn Fn(&mut Network)| {
        let mut network = Network::new(20);
        let accused = address(network.scores(&chunk(1))[19].1);
        change(&mut network);
        let mut hashes = 0;
        network.jury().judge(&accused, (1, &chunk(1)), None, &mut hashes) == Verdict::NotRefuted && hashes == 0
    };
    assert!(!refuses(&|_| ()));
    let unfilled = |node: &mut NodeRecord| node.slots[(ROUND % 3) as usize].as_mut().unwrap().filled = false;
    assert!(refuses(&|network| network.nodes.iter_mut().for_each(unfilled)));
    assert!(refuses(&|network| network
        .nodes
        .iter_mut()
        .for_each(|node| node.placement_key = None)));
    let silent = |node: &mut NodeRecord| node.slots = [None, None, None];
    assert!(refuses(&|network| network.nodes.iter_mut().for_each(silent)));
}

#[test]
fn an_answer_of_another_round_or_of_nobody_is_dropped() {
    let network = Network::new(20);
    let juries = BTreeMap::from([(ROUND, network.jury())]);
    let court = Court {
        juries: &juries,
        worst_holder: &|_, _, _| None,
        is_claimed: &|_, _, _| true,
    };
    let mut watch = SegmentWatch::default();
    watch.saw(address(1), ROUND - 5, &answer_to(1));
    watch.saw(address(777), ROUND, &answer_to(1));
    assert_eq!(watch.score(&court, HASHES_MAX), Scored { answers: 2, hashes: 0 });
    assert_eq!(watch.waiting(), 0);
}

#[test]
fn what_waits_is_bounded() {
    let mut watch = SegmentWatch::default();
    let answer = answer_to(1);
    for number in 0..(1 << 14) + 10 {
        watch.saw(address(number % 7), ROUND, &answer);
    }
    assert_eq!((watch.waiting(), watch.dropped()), (1 << 14, 10));
}

/// Four answers of each of 1 000 nodes, all honest.
fn watch_a_round(known: bool) -> (Vec<Scored>, Duration) {
    let network = Network::new(1_000);
    let numbers: Vec<(u64, usize, u64)> = (0..4_000)
        .map(|number| {
            let scores = network.scores(&chunk(number));
            (
                number,
                scores[(number % FACTOR) as usize].1,
                scores[FACTOR as usize - 1].0,
            )
        })
        .collect();
    let juries = BTreeMap::from([(ROUND, network.jury())]);
    let limits: BTreeMap<ChunkId, u64> = numbers
        .iter()
        .map(|(number, _, worst)| (chunk(*number), *worst))
        .collect();
    let court = Court {
        juries: &juries,
        worst_holder: &|_, _, chunk| limits.get(chunk).copied().filter(|_| known),
        is_claimed: &|_, _, _| true,
    };
    let mut watch = SegmentWatch::default();
    for (number, node, _) in &numbers {
        watch.saw(address(*node), ROUND, &answer_to(*number));
    }
    let mut ticks = Vec::new();
    let mut longest = Duration::ZERO;
    while watch.waiting() > 0 {
        let begin = Instant::now();
        ticks.push(watch.score(&court, HASHES_MAX));
        longest = longest.max(begin.elapsed());
    }
    assert_eq!(watch.take_found(), [], "nobody is accused who holds what is his");
    (ticks, longest)
}

#[test]
fn watching_a_thousand_nodes_is_bounded_in_each_tick_and_scores_each_answer_once() {
    for known in [true, false] {
        let (ticks, longest) = watch_a_round(known);
        let answers: u64 = ticks.iter().map(|tick| tick.answers).sum();
        let hashes: u64 = ticks.iter().map(|tick| tick.hashes).sum();
        println!(
            "holders known: {known}; {} ticks, {hashes} hashes, the longest tick {longest:?}",
            ticks.len()
        );
        assert_eq!(answers, 4_000);
        assert!(ticks.iter().all(|tick| tick.hashes < HASHES_MAX + 1_000));
        if known {
            assert_eq!((ticks.len(), hashes), (1, 4_000), "one hash for each answer");
        } else {
            assert!(hashes <= 4_000 * 1_000);
        }
        assert!(
            longest < Duration::from_millis(100),
            "{longest:?}: the target is 5 ms on an idle machine"
        );
    }
}

const CHAIN_ID: u64 = 77;

fn registry() -> Address {
    Address::SC(SCAddress::SCAddressV0(SCAddressV0(Hash::compute_from(b"registry"))))
}

/// A block with the operation of a round of `node`, sent by whoever.
fn block_with(target: Address, node: Address, answer: &SegmentAnswer) -> FinalContent {
    let submission = Submission {
        round: ROUND,
        beacon: Some(([1; 32], vec![(0, answer.to_bytes())])),
        roots: Vec::new(),
        claim: None,
    };
    let call = submit_round(&node, &submission);
    let operation = Operation {
        fee: Amount::from_raw(0),
        expire_period: 1,
        op: OperationType::CallSC {
            target_addr: target,
            target_func: call.function.to_string(),
            param: call.parameter,
            max_gas: 0,
            coins: Amount::from_raw(0),
        },
    };
    let keypair = KeyPair::generate(0).unwrap();
    let signed: SecureShareOperation = operation
        .new_verifiable(OperationSerializer::new(), &keypair, CHAIN_ID)
        .unwrap();
    let mut bytes = Vec::new();
    SecureShareSerializer::new().serialize(&signed, &mut bytes).unwrap();
    FinalContent {
        id: BlockId::new(Hash::compute_from(&bytes)),
        operations: vec![vec![1, 2, 3], bytes],
    }
}

#[test]
fn what_final_blocks_of_the_window_show_is_scored_once_and_refuted_while_the_registry_would_take_it() {
    let mut network = Network::new(50);
    let ranked: Vec<usize> = network.scores(&chunk(5)).iter().map(|(_, node)| *node).collect();
    let (accused, honest) = (ranked[FACTOR as usize], ranked[30]);
    let (answer, root) = network.all_claim(accused, 5);
    let times = RoundTimes {
        round: ROUND,
        periods: SEGMENT_PERIODS,
    };
    let mut snapshot = Snapshot {
        period: times.window_opens() + 2,
        config: network.config.clone(),
        state: RegistryState {
            stakes: Amount::from_raw(0),
            credited: Amount::from_raw(0),
            reserves: Amount::from_raw(0),
            pool: Amount::from_raw(0),
            to_burn: Amount::from_raw(0),
            burned: Amount::from_raw(0),
            keyed_nodes: 0,
            next_segment: 6,
            last_accepted_round: None,
            proven: true,
            pause_from: 0,
            pause_until: 0,
            flags_from_round: None,
            entries: Vec::new(),
        },
        node: None,
        rounds: BTreeMap::from([(ROUND, network.round.clone())]),
        key_round: None,
        accepted_roots: Arc::new(BTreeMap::from([(5, root)])),
    };
    let watched = Watched {
        chain_id: CHAIN_ID,
        registry: registry(),
        own: address(honest),
    };
    let nobody = NodeId::new(KeyPair::generate(0).unwrap().get_public_key());
    let rules = PlacementRules::new(1 << 20, SEGMENT_PERIODS);
    let assigned = Assigned::new(rules, nobody, None).shared();
    let mut watch = Watch::default();
    let mut periods = Vec::new();
    while let Some(period) = watch.wants(snapshot.period, times) {
        // To another contract; of this node itself; and the false one.
        let mut blocks = vec![
            Some(block_with(address(3), address(accused), &answer)),
            None,
            Some(block_with(registry(), address(honest), &answer)),
            Some(block_with(registry(), address(accused), &answer)),
        ];
        // Who holds the chunk shows it, too.
        let holders = ranked[..FACTOR as usize].iter();
        blocks.extend(holders.map(|node| Some(block_with(registry(), address(*node), &answer))));
        watch.read(Some(&blocks[..]).filter(|_| period == snapshot.period), &watched);
        periods.push(period);
    }
    let window = times.window_opens()..=snapshot.period;
    let before = RoundTimes {
        round: ROUND - 1,
        ..times
    };
    let expected: Vec<u64> = (before.window_opens()..=before.window_ends()).chain(window).collect();
    assert_eq!(periods, expected, "each once, and only while answers are taken");
    assert_eq!(watch.waiting(), 1 + FACTOR as usize);

    watch.set_nodes(&snapshot, &network.nodes, times);
    assert_eq!(watch.score(&assigned).answers, 1 + FACTOR);
    assert_eq!(watch.waiting(), 0);
    let found = watch.refutations(&snapshot, &network.nodes, &address(honest), times);
    assert_eq!(found.len(), 1);
    let refuted = (found[0].refutation.node, found[0].refutation.round);
    assert_eq!(refuted, (address(accused), ROUND));
    assert_eq!(found[0].since, snapshot.period);
    assert!(!watch.is_idle());
    // One after the other in a line without the accused.
    let claimants = network.nodes.iter().map(|node| node.address);
    let others: Vec<Address> = claimants.filter(|node| *node != address(accused)).collect();
    let mut ranks = Vec::new();
    snapshot.period += 1;
    for own in &others {
        let again = watch.refutations(&snapshot, &network.nodes, own, times);
        assert_eq!(again[0].since, found[0].since, "until it is settled");
        ranks.push(again[0].rank);
    }
    ranks.sort_unstable();
    assert_eq!(ranks, (0..others.len() as u64).collect::<Vec<_>>());
    // Somebody was faster.
    let slot = network.nodes[accused].slots[(ROUND % 3) as usize].as_mut().unwrap();
    slot.refuted = true;
    assert_eq!(
        watch.refutations(&snapshot, &network.nodes, &address(honest), times),
        []
    );
    assert!(watch.is_idle());
}
