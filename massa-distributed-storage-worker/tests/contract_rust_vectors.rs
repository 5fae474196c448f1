//! What Rust builds from a real store, for the compiled contract to accept: `tests/data/contract-rust-vectors.json`, which
//! `massa-storage-sc/tests/vectors.test.mjs` plays. The other direction is in `contract_vectors.rs`.
//!
//! `WRITE_VECTORS=1 cargo test -p massa_distributed_storage_worker --test contract_rust_vectors` writes the file.

mod common;

use common::{add_all, ingest, open_store, Chain, Shape, CHAIN_ID};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ChunkIndex, SegmentRoot};
use massa_distributed_storage_worker::challenge::answer::{check_answer, manual_leaf};
use massa_distributed_storage_worker::challenge::draw::{founding_placement_key, BEACON_PERIOD};
use massa_distributed_storage_worker::challenge::prover::{answer_draw, answer_manual, exhibit, held_chunks};
use massa_distributed_storage_worker::challenge::refutation::{Bench, Refutation, RefutationError};
use massa_distributed_storage_worker::challenge::{
    Answer, AnswerRules, Claim, ClaimTree, HeldChunk, Position, Reason, RoundContext,
};
use massa_distributed_storage_worker::rewards;
use massa_distributed_storage_worker::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use massa_distributed_storage_worker::smart_contract::storage_registry as registry;
use massa_distributed_storage_worker::smart_contract::storage_registry::{
    Call, ClaimState, RoundResult, StorageConfig, Submission,
};
use massa_distributed_storage_worker::Store;
use massa_hash::Hash;
use massa_models::address::{Address, SCAddress, SCAddressV0};
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{json, Value};
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/contract-rust-vectors.json");
const SEGMENT_PERIODS: u64 = 8;
const THREADS: u8 = 2;
/// Users of `massa-storage-sc/tests/host.mjs`: the SHA-256 of their names are the seeds of their keys.
const USERS: [(&str, &str); 3] = [
    (
        "ann",
        "49915e0d7d4b402e3017d010bc1c0e83cac6c797d6c16e66340fe3268693a6a1",
    ),
    (
        "bob",
        "81b637d8fcd2c6da6359e6963113a1170de795e4b725b84d1e0b4cfd9ec58ce9",
    ),
    (
        "cat",
        "77af778b51abd4a3c51c5ddd97204a9c3ae614ebccb75a606c3b6865aed6744e",
    ),
];
const ALLOCATED_GB: u64 = 10;
const STAKE: u64 = 100_000_000_000;

/// A store with three segments of eight periods: one leaf, short last leaves, several chunks of a period.
struct Sample {
    _directory: TempDir,
    store: Arc<Store>,
    blocks: Vec<Vec<Option<BlockId>>>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(Sample::new);

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(THREADS, 5);
        chain.parameters.segment_periods = SEGMENT_PERIODS;
        chain.parameters.chunk_size = 1 << 16;
        let store = open_store(directory.path(), &chain.parameters);
        let mut ingest = ingest(&store);
        for period in 0..3 * SEGMENT_PERIODS {
            let shape = Shape {
                miss_one_in: 4,
                operations: if period == 3 { 30 } else { 1 },
                operation_bytes: if period % 3 == 0 { 2_500 } else { 150 },
            };
            let places = chain.next_period(shape);
            add_all(&mut ingest, places.iter().flatten()).unwrap();
        }
        // What follows a miss settles it.
        let shape = Shape {
            miss_one_in: 0,
            operations: 0,
            operation_bytes: 0,
        };
        add_all(&mut ingest, chain.next_period(shape).iter().flatten()).unwrap();
        let blocks = (0..3 * SEGMENT_PERIODS).map(|period| {
            let manifest = store.archived_manifest(period).unwrap();
            manifest.places.iter().map(|place| place.block_id()).collect()
        });
        Self {
            blocks: blocks.collect(),
            store,
            _directory: directory,
        }
    }

    fn root(&self, segment: u64) -> Option<SegmentRoot> {
        self.store.segment_root(segment).unwrap()
    }

    fn tree(&self, segments: u64) -> ClaimTree {
        ClaimTree::new(held_chunks(&self.store, |segment| segment < segments).unwrap())
    }
}

fn key_pair(name: &str) -> KeyPair {
    let (_, seed) = USERS.iter().find(|(user, _)| *user == name).unwrap();
    let bytes = [vec![0], hex::decode(seed).unwrap()].concat();
    KeyPair::from_bytes(&bytes).unwrap()
}

fn address(name: &str) -> Address {
    Address::from_public_key(&key_pair(name).get_public_key())
}

fn contract() -> Address {
    Address::SC(SCAddress::SCAddressV0(SCAddressV0(Hash::compute_from(b"registry"))))
}

fn context(round: u64) -> RoundContext {
    RoundContext {
        chain_id: CHAIN_ID,
        registry: contract().to_string(),
        round,
    }
}

fn placement_key(name: &str) -> Digest {
    founding_placement_key(&address(name).to_string(), &contract().to_string())
}

fn beacon(round: u64) -> Digest {
    context(round).beacon(&SAMPLE.blocks[(round * SEGMENT_PERIODS + BEACON_PERIOD) as usize])
}

fn drawn(name: &str, round: u64, claim: &Claim) -> Vec<u64> {
    context(round).drawn_leaves(&placement_key(name), &beacon(round), claim)
}

/// The round's vote of a node that holds everything of segment 0.
fn vote(name: &str, round: u64) -> (Digest, Vec<(u8, Vec<u8>)>) {
    let tree = SAMPLE.tree(1);
    let leaves = drawn(name, round, &tree.claim());
    let answers = leaves.iter().zip(0..);
    let answers = answers.map(|(leaf, draw)| (draw, answer_draw(&SAMPLE.store, &tree, *leaf).unwrap().to_bytes()));
    (beacon(round), answers.collect())
}

fn signature(name: &str, text: &str) -> Vec<u8> {
    let pair = key_pair(name);
    let signature = pair.sign(&Hash::compute_from(text.as_bytes())).unwrap();
    [pair.get_public_key().to_string(), signature.to_string()]
        .iter()
        .flat_map(|text| [&(text.len() as u32).to_le_bytes(), text.as_bytes()].concat())
        .collect()
}

/// `submitProof` from somebody else, with the node's signature.
fn relayed(id: &str, proof: &[u8], signature: &[u8]) -> Vec<u8> {
    let sized = |bytes: &[u8]| [&(bytes.len() as u32).to_le_bytes(), bytes].concat();
    [sized(id.as_bytes()), sized(proof), sized(signature)].concat()
}

fn operation(period: u64, from: &str, call: Call, events: Vec<String>) -> Value {
    json!({ "period": period, "from": from, "function": call.function, "arguments": hex::encode(call.parameter), "events": events })
}

fn submitted(name: &str, submission: Submission) -> Call {
    registry::submit_round(&address(name), &submission)
}

fn passed(name: &str, round: u64) -> Vec<String> {
    let node = address(name).to_string();
    let ids = (0..4).map(|draw| context(round).challenge_id(&node, &beacon(round), draw));
    ids.map(|id| format!("CHALLENGE_PASSED:{id},{node}")).collect()
}

fn root_vote(round: u64, segment: u64) -> Submission {
    Submission {
        round,
        roots: vec![(segment, SAMPLE.root(segment).unwrap())],
        ..Submission::default()
    }
}

fn claiming(round: u64, claim: Claim) -> Submission {
    Submission {
        round,
        claim: Some((claim.root, claim.leaves)),
        ..Submission::default()
    }
}

/// Rounds 1 and 2: anchored, claimed, answered (bob's by a relayer), closed, settled.
fn counted_round() -> Vec<Value> {
    let names = USERS.map(|(name, _)| name);
    let claim = SAMPLE.tree(1).claim();
    let mut operations = Vec::new();
    let root = SAMPLE.root(0).unwrap();
    for name in names {
        let anchored = (name == "cat").then(|| format!("SEGMENT_ROOT_ACCEPTED:0,{root}"));
        operations.push(operation(
            12,
            name,
            submitted(name, root_vote(1, 0)),
            anchored.into_iter().collect(),
        ));
    }
    for name in names {
        let event = format!("STORAGE_CLAIMED:{},2,{}", address(name), claim.leaves);
        operations.push(operation(13, name, submitted(name, claiming(1, claim)), vec![event]));
    }
    for name in names {
        let submission = Submission {
            beacon: Some(vote(name, 2)),
            ..root_vote(2, 1)
        };
        let mut call = submitted(name, submission.clone());
        let from = if name == "bob" { "ann" } else { name };
        if from != name {
            let content = submission.to_bytes(&address(name));
            let text = registry::submission_message(CHAIN_ID, &contract(), &content);
            call.parameter = relayed("2", &content, &signature(name, &text));
        }
        operations.push(operation(19, from, call, passed(name, 2)));
    }
    let accepted = operations.last_mut().unwrap()["events"].as_array_mut().unwrap();
    accepted.push(json!(format!("BEACON_ACCEPTED:2,{}", hex::encode(beacon(2)))));
    let paid = 3 * earned();
    let event = format!("REWARDS_DISTRIBUTED:16,{paid},3");
    operations.push(operation(22, "bob", registry::distribute_rewards(17), vec![event]));
    let nodes: Vec<String> = names.iter().map(|name| address(name).to_string()).collect();
    let settled = registry::resolve_expired_challenges(&nodes);
    operations.push(operation(22, "bob", settled, Vec::new()));
    operations
}

/// What each node earns in round 2, at a rate that the pool can pay.
fn earned() -> u64 {
    rewards::credit(SAMPLE.tree(1).claim().leaves, SEGMENT_PERIODS, 1_000_000, 4, 4)
}

fn config() -> StorageConfig {
    StorageConfig {
        reward_per_gb_per_period: Amount::from_raw(1_000_000),
        min_allocated_gb: 1,
        max_allocated_gb: 16_384,
        challenge_response_timeout_ms: 60_000,
        slash_percentage: 10,
        min_stake: Amount::from_raw(STAKE),
        stake_per_gb: Amount::from_raw(1_000_000_000),
        replication_factor: 1,
        chunk_size_bytes: 1 << 16,
        challenge_frequency_periods: SEGMENT_PERIODS,
        first_segment: 0,
    }
}

/// A node as the contract has it in round 8.
fn record(name: &str, claim: Option<Claim>) -> NodeRecord {
    let slot = claim.map(|claim| RoundResult {
        round: 8,
        leaves: claim.leaves,
        stake: Amount::from_raw(STAKE),
        weight: ALLOCATED_GB,
        root: claim.root,
        beacon: [0; 32],
        credit: Amount::from_raw(0),
        state: ClaimState::Claimed,
        draws: 4,
        passes: 0,
        reason: 0,
        refuted: false,
        draw_reasons: Vec::new(),
    });
    NodeRecord {
        address: address(name),
        active: true,
        placement_key: Some(placement_key(name)),
        index: 0,
        registered_period: 5,
        stake: Amount::from_raw(STAKE),
        weight_now: 0,
        weight_next: ALLOCATED_GB,
        weight_from_segment: 2,
        leave_segment: None,
        last_counted_round: 2,
        lapsed_from: 0,
        lapsed_until: 0,
        filled_from: 4,
        filled_to: u64::MAX,
        last_seen_round: 7,
        no_claim_before_round: 0,
        total_draws: 4,
        passed_draws: 4,
        last_challenged_period: 0,
        matured_rewards: Amount::from_raw(0),
        retention_periods: 0,
        votes_round: None,
        voted_below_segment: 0,
        slots: [None, None, slot],
        node_id: String::new(),
        listeners: Vec::new(),
    }
}

/// The registry in round 8, where ann and cat claimed everything of segments 0 and 1.
struct Trial {
    tree: ClaimTree,
    nodes: Vec<NodeRecord>,
    config: ConfigRecord,
    round: RoundRecord,
}

impl Trial {
    fn new() -> Self {
        let tree = SAMPLE.tree(2);
        let claim = Some(tree.claim());
        let leaves = tree.claim().leaves;
        Self {
            tree,
            nodes: vec![record("ann", claim), record("bob", None), record("cat", claim)],
            config: ConfigRecord {
                now: config(),
                next: config(),
                next_round: 0,
            },
            round: RoundRecord {
                claims: 2,
                claim_stake: Amount::from_raw(2 * STAKE),
                leaves: 2 * leaves,
                claim_weight: 2 * ALLOCATED_GB,
                draws_expected: 8,
                draws_passed: 0,
                answers: 0,
                rate: Amount::from_raw(0),
                reserve: Amount::from_raw(0),
                slash_percentage: 0,
                credit_sum: Amount::from_raw(0),
                node_count: 0,
                previous_accepted_round: None,
                frozen: false,
                closed: false,
                paused: false,
                beacon: None,
            },
        }
    }

    fn bench(&self) -> Bench<'_> {
        Bench {
            nodes: &self.nodes,
            config: &self.config,
            round: &self.round,
        }
    }

    fn exhibit(&self, chunk: &HeldChunk) -> Answer {
        exhibit(&SAMPLE.store, chunk.position, self.tree.path(chunk.position).unwrap()).unwrap()
    }

    /// The first chunk that cat claimed though ann scores lower.
    fn refutation(&self) -> Refutation {
        let mut chunks = self.tree.chunks().iter();
        let found = chunks.find_map(|chunk| Refutation::find(&self.nodes[2], 8, &self.exhibit(chunk), self.bench()));
        found.unwrap()
    }

    fn check(&self, refutation: &Refutation) -> Result<(), RefutationError> {
        let root = SAMPLE.root(refutation.exhibit.position.segment());
        refutation.check(self.bench(), root.as_ref(), SEGMENT_PERIODS)
    }
}

/// Round 8: a claim is refuted, by bob.
fn refuted_claim() -> Vec<Value> {
    let trial = Trial::new();
    let claim = trial.tree.claim();
    let mut operations: Vec<Value> = ["ann", "cat"]
        .map(|name| operation(58, name, submitted(name, claiming(7, claim)), Vec::new()))
        .into();
    let refutation = trial.refutation();
    let answer = refutation.exhibit.to_bytes();
    let call = registry::refute_claim(&address("cat"), 8, &answer, &refutation.witnesses);
    let event = format!("CLAIM_REFUTED:{},8,{}", address("cat"), address("bob"));
    operations.push(operation(66, "bob", call, vec![event]));
    operations
}

/// Manual challenges, answered by the node and through a relayer.
fn manual_challenges() -> Vec<Value> {
    let admin = |call| operation(66, "admin", call, Vec::new());
    let mut operations = Vec::new();
    for (number, from) in ["ann", "cat"].into_iter().enumerate() {
        let (id, nonce) = ([number as u8; 32], u64::MAX - number as u64);
        let chunk = SAMPLE.store.archived_manifest(3).unwrap().chunks[1];
        operations.push(admin(registry::issue_challenge(&id, &address("ann"), &chunk.id, nonce)));
        let answer = answer_manual(&SAMPLE.store, 3, ChunkIndex(1), nonce).unwrap();
        assert_eq!(
            answer.check_manual(&chunk.id, nonce, SAMPLE.root(0).as_ref(), SEGMENT_PERIODS),
            Ok(())
        );
        let answer = answer.to_bytes();
        let text = hex::encode(id);
        let content = [text.as_bytes(), &answer].concat();
        let message = registry::submission_message(CHAIN_ID, &contract(), &content);
        let mut call = registry::submit_proof(&id, &answer, &[]);
        if from != "ann" {
            call = registry::submit_proof(&id, &answer, &signature("ann", &message));
        }
        let event = format!("CHALLENGE_PASSED:{text},{}", address("ann"));
        operations.push(operation(66, from, call, vec![event]));
    }
    operations
}

/// One answer for each chunk, at its last leaf, and what becomes of it when a byte is changed.
fn answers() -> Vec<Value> {
    let tree = SAMPLE.tree(3);
    let rules = AnswerRules {
        claim: tree.claim(),
        segment_periods: SEGMENT_PERIODS,
    };
    let mut chunks: Vec<HeldChunk> = tree.chunks().to_vec();
    chunks.sort_by_key(|chunk| (chunk.leaves, chunk.position));
    // The shortest, the longest and some between them; every segment.
    let picked = [0, chunks.len() / 3, chunks.len() / 2, chunks.len() - 1];
    let rows = picked.map(|at| {
        let before = tree.path(chunks[at].position).unwrap().claim(&chunks[at]).unwrap().1;
        let drawn = before + u64::from(chunks[at].leaves) - 1;
        let answer = answer_draw(&SAMPLE.store, &tree, drawn).unwrap();
        let segment = answer.position.segment();
        let root = SAMPLE.root(segment).unwrap();
        let bytes = answer.to_bytes();
        let check = |bytes: &[u8]| check_answer(bytes, &rules, drawn, |other| (other == segment).then_some(root));
        assert_eq!(check(&bytes), Reason::Passed);
        let changed: String = (0..bytes.len())
            .map(|at| {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << (at % 8);
                char::from(b'0' + check(&changed).code())
            })
            .collect();
        json!({
            "position": answer.position.to_string(), "drawn": drawn.to_string(), "segment": segment,
            "segment_root": root.to_string(), "answer": hex::encode(&bytes), "changed": changed,
        })
    });
    rows.into()
}

fn draws() -> Vec<Value> {
    let mut random = ChaCha20Rng::seed_from_u64(11);
    let nodes = ["AU1", "AU12x4Y"];
    let rows = (0..12u8).map(|at| {
        let mut hash = || {
            let mut hash = [0; 32];
            random.fill_bytes(&mut hash);
            hash
        };
        let (key, beacon) = (hash(), hash());
        let context = RoundContext {
            chain_id: random.next_u64(),
            registry: "AS".repeat(usize::from(at) + 1),
            round: random.gen_range(0..1 << 24),
        };
        let (leaves, node) = (random.next_u64() >> (at * 5), nodes[usize::from(at) % 2]);
        json!({
            "chain_id": context.chain_id.to_string(), "registry": context.registry, "round": context.round,
            "placement_key": hex::encode(key), "beacon": hex::encode(beacon), "draw": at, "leaves": leaves.to_string(),
            "leaf": context.drawn_leaf(&key, &beacon, at, leaves).to_string(),
            "node": node, "challenge_id": context.challenge_id(node, &beacon, at),
        })
    });
    rows.collect()
}

/// Arguments and result of each formula, within the registry's bounds and at them.
fn formulas() -> Vec<Value> {
    let mut random = ChaCha20Rng::seed_from_u64(13);
    let mut rows = Vec::new();
    for at in 0..200u32 {
        let mut below = |limit: u64| {
            if at == 0 {
                limit
            } else {
                random.gen_range(0..=limit) >> (at % 29)
            }
        };
        let (leaves, periods, rate) = (below(1 << 44), below(256).max(1), below(1_000_000_000_000));
        let (pool, stake, percent) = (below(u64::MAX), below(1_000_000_000_000_000_000), below(100));
        let draws = rewards::draw_count(leaves);
        let passes = below(u64::from(draws)) as u8;
        let text = |numbers: &[u64]| numbers.iter().map(u64::to_string).collect::<Vec<_>>();
        let mut row = |name: &str, arguments: &[u64], results: &[u64]| {
            rows.push(json!({ "formula": name, "arguments": text(arguments), "results": text(results) }));
        };
        row("drawCount", &[leaves], &[u64::from(draws)]);
        let credit = rewards::credit(leaves, periods, rate, passes, draws);
        row(
            "credit",
            &[leaves, periods, rate, u64::from(passes), u64::from(draws)],
            &[credit],
        );
        let paid = rewards::round_rate(rate, pool, leaves, periods);
        row(
            "round",
            &[rate, pool, leaves, periods],
            &[paid, rewards::round_reserve(leaves, periods, paid)],
        );
        let slash = rewards::slash_amount(stake, percent, draws - passes, draws);
        row(
            "slash",
            &[stake, percent, u64::from(draws - passes), u64::from(draws)],
            &[slash],
        );
        row(
            "divide",
            &[pool, stake, rate.max(1)],
            &[rewards::mul_div(pool, stake, rate.max(1))],
        );
    }
    rows
}

fn vectors() -> Value {
    let names = USERS.map(|(name, _)| name);
    let claim = SAMPLE.tree(3).claim();
    let operations = [counted_round(), refuted_claim(), manual_challenges()].concat();
    json!({
        "about": "What Rust builds from a store: see massa-distributed-storage-worker/tests/contract_rust_vectors.rs. `changed` has the \
                  reason for each byte of an answer, with bit (byte mod 8) of it flipped. Numbers of 64 bits are decimal texts.",
        "chain_id": CHAIN_ID.to_string(), "registry": contract().to_string(), "segment_periods": SEGMENT_PERIODS,
        "nodes": names.map(|name| json!({ "name": name, "address": address(name).to_string(), "placement_key": hex::encode(placement_key(name)) })),
        "claim": { "root": hex::encode(claim.root), "sum": claim.leaves.to_string() },
        "answers": answers(), "draws": draws(), "formulas": formulas(),
        "operations": operations,
        "credit": earned().to_string(),
    })
}

#[test]
fn the_committed_vectors_are_what_this_code_gives() {
    let text = format!("{}\n", serde_json::to_string_pretty(&vectors()).unwrap());
    if std::env::var_os("WRITE_VECTORS").is_some() {
        std::fs::write(FILE, &text).unwrap();
    }
    assert!(std::fs::read_to_string(FILE).unwrap() == text, "{FILE} is out of date");
}

#[test]
fn the_sample_has_short_leaves_and_several_chunks() {
    let tree = SAMPLE.tree(3);
    let lengths = |period: u64| -> Vec<u32> {
        let chunks = SAMPLE.store.archived_manifest(period).unwrap().chunks;
        chunks.iter().map(|chunk| chunk.length).collect()
    };
    assert!(tree.chunks().iter().any(|chunk| chunk.leaves == 1));
    assert!(lengths(3).len() > 1 && lengths(3)[1] % 1024 != 0, "{:?}", lengths(3));
    assert!((0..3).all(|segment| SAMPLE.root(segment).is_some()));
    let missed = |blocks: &Vec<Option<BlockId>>| blocks.contains(&None);
    assert!(SAMPLE.blocks.iter().any(missed));
    assert!(SAMPLE
        .store
        .place(
            Slot::new(1, 0),
            massa_distributed_storage_worker::storage_backend::read::Check::Merkle
        )
        .is_ok());
}

#[test]
fn a_store_claims_what_it_holds_and_nothing_it_dropped() {
    let directory = tempfile::tempdir().unwrap();
    let mut chain = Chain::new(THREADS, 5);
    chain.parameters.segment_periods = SEGMENT_PERIODS;
    let store = open_store(directory.path(), &chain.parameters);
    let shape = Shape {
        miss_one_in: 0,
        operations: 1,
        operation_bytes: 3_000,
    };
    add_all(&mut ingest(&store), &chain.blocks(2 * SEGMENT_PERIODS as usize, shape)).unwrap();
    let all = held_chunks(&store, |_| true).unwrap();
    assert_eq!(all.len() as u64, 2 * SEGMENT_PERIODS);
    assert!(held_chunks(&store, |segment| segment == 1)
        .unwrap()
        .iter()
        .all(|chunk| chunk.position.segment() == 1));

    store.drop_chunk(9, ChunkIndex(0)).unwrap();
    let left = held_chunks(&store, |_| true).unwrap();
    let dropped = Position::of_chunk(9, ChunkIndex(0), SEGMENT_PERIODS).unwrap();
    assert_eq!(
        left,
        all.iter()
            .copied()
            .filter(|chunk| chunk.position != dropped)
            .collect::<Vec<_>>()
    );
    // A claim that still lists it cannot be answered.
    let stale = ClaimTree::new(all);
    let before = stale
        .path(dropped)
        .unwrap()
        .claim(&stale.chunk(dropped).unwrap())
        .unwrap()
        .1;
    assert!(answer_draw(&store, &stale, before).is_err());
}

#[test]
fn a_manual_challenge_is_answered_for_the_asked_leaf_only() {
    let chunk = SAMPLE.store.archived_manifest(3).unwrap().chunks[1];
    let other = SAMPLE.store.archived_manifest(3).unwrap().chunks[0];
    let root = SAMPLE.root(0);
    let answer = answer_manual(&SAMPLE.store, 3, ChunkIndex(1), 1).unwrap();
    let check = |answer: &Answer, nonce| answer.check_manual(&chunk.id, nonce, root.as_ref(), SEGMENT_PERIODS);

    assert_ne!(manual_leaf(1, &chunk), manual_leaf(2, &chunk));
    assert_eq!(check(&answer, 1), Ok(()));
    assert_eq!(check(&answer, 1 + u64::from(chunk.leaf_count())), Ok(()));
    assert_eq!(check(&answer, 2), Err(Reason::LeafPath));
    assert_eq!(
        answer.check_manual(&other.id, 1, root.as_ref(), SEGMENT_PERIODS),
        Err(Reason::NotDrawn)
    );
    assert_eq!(
        answer.check_manual(&chunk.id, 1, None, SEGMENT_PERIODS),
        Err(Reason::SegmentUnknown)
    );
    assert_eq!(
        answer.check_manual(&chunk.id, 1, SAMPLE.root(1).as_ref(), SEGMENT_PERIODS),
        Err(Reason::ArchivePath)
    );
    let with_sums = Answer {
        sum_path: SAMPLE.tree(1).path(answer.position).unwrap(),
        ..answer
    };
    assert_eq!(check(&with_sums, 1), Err(Reason::Malformed));
}

#[test]
fn a_refutation_holds_only_with_all_its_evidence() {
    let trial = Trial::new();
    let good = trial.refutation();
    assert_eq!(trial.check(&good), Ok(()));

    let changed = |change: &dyn Fn(&mut Refutation)| {
        let mut refutation = good.clone();
        change(&mut refutation);
        trial.check(&refutation)
    };
    let (ann, bob, cat) = (address("ann"), address("bob"), address("cat"));
    assert_eq!(
        changed(&|r| r.witnesses.clear()),
        Err(RefutationError::Count { found: 0, expected: 1 })
    );
    assert_eq!(changed(&|r| r.witnesses = vec![cat]), Err(RefutationError::Own));
    assert_eq!(changed(&|r| r.witnesses = vec![bob]), Err(RefutationError::Full(bob)));
    assert_eq!(
        changed(&|r| r.witnesses = vec![contract()]),
        Err(RefutationError::Unknown(contract()))
    );
    assert_eq!(changed(&|r| r.round = 9), Err(RefutationError::NoClaim));
    assert_eq!(changed(&|r| r.node = bob), Err(RefutationError::NoClaim));
    assert_eq!(changed(&|r| r.exhibit.leaf.push(1)), Err(RefutationError::Leaf));
    assert_eq!(changed(&|r| r.exhibit.sum_path.mask = 0), Err(RefutationError::SumPath));
    assert_eq!(
        changed(&|r| r.exhibit.period_path.siblings[0] = [0; 32]),
        Err(RefutationError::ArchivePath)
    );
    assert_eq!(
        good.check(trial.bench(), None, SEGMENT_PERIODS),
        Err(RefutationError::SegmentUnknown)
    );

    let among = |change: &dyn Fn(&mut NodeRecord)| {
        let mut trial = Trial::new();
        change(&mut trial.nodes[0]);
        trial.check(&good)
    };
    assert_eq!(among(&|ann| ann.filled_from = 6), Err(RefutationError::NotSteady(ann)));
    assert_eq!(among(&|ann| ann.filled_to = 8), Err(RefutationError::NotSteady(ann)));
    assert_eq!(
        among(&|ann| ann.weight_from_segment = 6),
        Err(RefutationError::NotSteady(ann))
    );
    assert_eq!(
        among(&|ann| (ann.lapsed_from, ann.lapsed_until) = (5, 6)),
        Err(RefutationError::NotSteady(ann))
    );
    assert_eq!(
        among(&|ann| ann.leave_segment = Some(8)),
        Err(RefutationError::NotSteady(ann))
    );
    assert_eq!(among(&|ann| ann.slots[2].as_mut().unwrap().leaves = 8 << 20), Ok(()));
    assert_eq!(
        among(&|ann| ann.slots[2].as_mut().unwrap().leaves = (8 << 20) + 1),
        Err(RefutationError::Full(ann))
    );
    assert_eq!(
        among(&|ann| (ann.weight_now, ann.weight_next) = (1, 1)),
        Err(RefutationError::Score(ann))
    );
    let mut full = Trial::new();
    full.round.leaves = (16 << 20) + 1;
    assert_eq!(full.check(&good), Err(RefutationError::NetworkFull));
    let mut refuted = Trial::new();
    refuted.nodes[2].slots[2].as_mut().unwrap().refuted = true;
    assert_eq!(refuted.check(&good), Err(RefutationError::Refuted));
}

#[test]
fn a_chunk_that_was_assigned_cannot_be_refuted() {
    let trial = Trial::new();
    let nodes: Vec<&NodeRecord> = trial.nodes.iter().collect();
    for chunk in trial.tree.chunks() {
        let exhibit = trial.exhibit(chunk);
        let refuted = |accused: &NodeRecord| Refutation::find(accused, 8, &exhibit, trial.bench()).is_some();
        // Of two filled nodes and one factor, exactly one is not assigned.
        assert_ne!(refuted(nodes[0]), refuted(nodes[2]), "{}", chunk.position);
    }
}
