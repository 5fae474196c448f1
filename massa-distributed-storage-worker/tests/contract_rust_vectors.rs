//! What Rust builds from a real store, for the compiled contract to accept: `tests/data/contract-rust-vectors.json`, which
//! `massa-storage-sc/tests/vectors.test.mjs` plays. The other direction is in `contract_vectors.rs`.
//!
//! `WRITE_VECTORS=1 cargo test -p massa_distributed_storage_worker --test contract_rust_vectors` writes the file.

mod common;

#[allow(dead_code)]
#[path = "common/claims.rs"]
mod claims;

use claims::{wanted, MemoryClaims};
use common::{id_of, Chain, Shape, CHAIN_ID};
use massa_distributed_storage_exports::segment_table::{SegmentLeaf, SegmentTable, TableChunk};
use massa_distributed_storage_exports::types::{ChunkPosition, Digest};
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::archive::ingest::{keep_all, Acknowledge, Ingest, IngestOptions};
use massa_distributed_storage_worker::challenge::draw::{founding_placement_key, BEACON_PERIOD};
use massa_distributed_storage_worker::challenge::refutation::{Bench, Refutation, RefutationError};
use massa_distributed_storage_worker::challenge::segment_answer::{
    check_answer, manual_leaf, page_of, path_bytes, Archived, SegmentAnswer, ShownPage,
};
use massa_distributed_storage_worker::challenge::segment_claim::{ClaimBook, Drawn};
use massa_distributed_storage_worker::challenge::sums::{Claim, SumHasher};
use massa_distributed_storage_worker::challenge::{Reason, RoundContext};
use massa_distributed_storage_worker::rewards;
use massa_distributed_storage_worker::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use massa_distributed_storage_worker::smart_contract::storage_registry as registry;
use massa_distributed_storage_worker::smart_contract::storage_registry::{Call, StorageConfig, Submission};
use massa_distributed_storage_worker::smart_contract::views::{ClaimState, RoundResult};
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions, SlotRead};
use massa_hash::Hash;
use massa_models::address::{Address, SCAddress, SCAddressV0};
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_signature::KeyPair;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde_json::{json, Value};
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/contract-rust-vectors.json");
const SEGMENT_PERIODS: u64 = 4;
const ROUND_SEGMENTS: u64 = 2;
/// P.
const PERIODS: u64 = ROUND_SEGMENTS * SEGMENT_PERIODS;
/// Segments of the sample.
const SEGMENTS: u64 = 6;
/// Segments that are claimed in round 1, and voted for in round 2.
const ANCHORED: u64 = 3;
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

/// A store with six segments of four periods: one of a single leaf, short last leaves, several chunks of a segment.
struct Sample {
    _directory: TempDir,
    store: Arc<SegmentStore>,
    blocks: Vec<Vec<Option<BlockId>>>,
}

static SAMPLE: LazyLock<Sample> = LazyLock::new(Sample::new);

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut chain = Chain::new(THREADS, 5);
        chain.parameters.segment_periods = SEGMENT_PERIODS;
        chain.parameters.chunk_size = 1 << 16;
        let options = SegmentStoreOptions::new(directory.path());
        let store = Arc::new(SegmentStore::open_or_create(options, &chain.parameters).unwrap());
        let options = IngestOptions {
            acknowledge: Acknowledge::AtClose,
            keep: keep_all(),
            held_back_bytes_max: u64::MAX,
        };
        let (mut ingest, _) = Ingest::open(Arc::clone(&store), options).unwrap();
        let mut blocks = Vec::new();
        // One period more than is archived: what follows a miss settles it.
        for period in 0..=SEGMENTS * SEGMENT_PERIODS {
            let slots = next_period(&mut chain, period);
            blocks.push(slots.iter().map(|slot| Some(id_of(slot.as_ref()?, THREADS))).collect());
            for record in slots.into_iter().flatten() {
                assert_eq!(ingest.add(record).unwrap().stalled, None);
            }
            while ingest.is_closing() {
                assert_eq!(ingest.close_slice().unwrap().stalled, None);
            }
        }
        Self {
            blocks,
            store,
            _directory: directory,
        }
    }

    fn table(&self, segment: u64) -> Arc<SegmentTable> {
        self.store.table(segment).unwrap().unwrap()
    }

    fn root(&self, segment: u64) -> Option<SegmentRoot> {
        self.store.segment_root(segment).unwrap()
    }

    /// Shows a page of a chunk, with the segment that it is in.
    fn shown<T>(&self, position: ChunkPosition, page: u32, show: impl FnOnce(Archived<'_>, ShownPage<'_>) -> T) -> T {
        let read = self.store.page(position, page).unwrap().unwrap();
        let table = self.table(position.segment);
        let archived = Archived {
            table: &table,
            tree: &table.tree(),
        };
        let page = ShownPage {
            number: page,
            bytes: &read.plain,
            roots: &read.page_roots,
        };
        show(archived, page)
    }

    fn manual(&self, position: ChunkPosition, nonce: u64) -> SegmentAnswer {
        let leaf = manual_leaf(nonce, &chunk_at(position));
        self.shown(position, page_of(leaf), |archived, page| {
            SegmentAnswer::to_manual(position, nonce, archived, page).unwrap()
        })
    }
}

/// The second segment has one block only; a period of the first has large blocks; elsewhere a quarter of the slots is missed.
fn next_period(chain: &mut Chain, period: u64) -> Vec<Option<massa_distributed_storage_exports::record::BlockRecord>> {
    let shape = Shape {
        miss_one_in: 4,
        operations: if period == 3 { 30 } else { 1 },
        operation_bytes: if period % 3 == 0 { 2_500 } else { 150 },
    };
    match period {
        4..=6 => chain.next_period_missing(&[true; THREADS as usize], shape),
        7 => chain.next_period_missing(&[false, true], shape),
        _ if period == SEGMENTS * SEGMENT_PERIODS => chain.next_period_missing(&[false; THREADS as usize], shape),
        _ => chain.next_period(shape),
    }
}

fn chunk_at(position: ChunkPosition) -> TableChunk {
    SAMPLE.table(position.segment).chunk(position.index.0).unwrap()
}

/// A chunk of a claim: where it stands, and its first claimed leaf.
type Listed = (ChunkPosition, u64);

/// What a node claims that holds everything of some segments.
struct Holder {
    rows: MemoryClaims,
    book: ClaimBook,
    claim: Claim,
    chunks: Vec<Listed>,
}

impl Holder {
    fn of(segments: Range<u64>) -> Self {
        let tables: Vec<Arc<SegmentTable>> = segments.map(|segment| SAMPLE.table(segment)).collect();
        let mut rows = MemoryClaims::with_tables(tables.iter().map(|table| (**table).clone()));
        let (mut positions, mut chunks, mut before) = (Vec::new(), Vec::new(), 0);
        for table in &tables {
            let segment = table.header().segment;
            for (index, chunk) in (0..).zip(table.chunks()) {
                positions.push((segment, index));
                chunks.push((ChunkPosition::new(segment, index).unwrap(), before));
                before += u64::from(chunk.leaf_count());
            }
        }
        let mut book = ClaimBook::default();
        rows.claim(&mut book, &wanted(positions));
        let claim = rows.seal(&mut book, 1);
        assert_eq!(claim.leaves, before);
        Self {
            rows,
            book,
            claim,
            chunks,
        }
    }

    fn draw(&self, leaf: u64) -> Drawn {
        let mut hasher = SumHasher::default();
        let drawn = self.book.draw(&self.rows, &self.claim.root, leaf, &mut hasher);
        drawn.unwrap()
    }

    fn answer(&self, leaf: u64) -> SegmentAnswer {
        let drawn = self.draw(leaf);
        SAMPLE.shown(drawn.chunk.position, page_of(drawn.leaf), |archived, page| {
            SegmentAnswer::to_draw(&drawn, archived, page).unwrap()
        })
    }

    fn exhibit(&self, (position, first): Listed) -> SegmentAnswer {
        let path = self.draw(first).path;
        let table = SAMPLE.table(position.segment);
        let archived = Archived {
            table: &table,
            tree: &table.tree(),
        };
        SegmentAnswer::exhibit(position, path, archived).unwrap()
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
    context(round).beacon(&SAMPLE.blocks[(round * PERIODS + BEACON_PERIOD) as usize])
}

fn drawn(name: &str, round: u64, claim: &Claim) -> Vec<u64> {
    context(round).drawn_leaves(&placement_key(name), &beacon(round), claim)
}

/// The round's vote of a node that holds everything of the anchored segments.
fn vote(name: &str, round: u64) -> (Digest, Vec<(u8, Vec<u8>)>) {
    let holder = Holder::of(0..ANCHORED);
    let leaves = drawn(name, round, &holder.claim);
    let answers = leaves.iter().zip(0..);
    let answers = answers.map(|(leaf, draw)| (draw, holder.answer(*leaf).to_bytes()));
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

fn root_votes(round: u64, segments: Range<u64>) -> Submission {
    Submission {
        round,
        roots: segments
            .map(|segment| (segment, SAMPLE.root(segment).unwrap()))
            .collect(),
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

/// Rounds 1 and 2: segments claimed, anchored, answered (bob's by a relayer), closed, settled.
fn counted_round() -> Vec<Value> {
    let names = USERS.map(|(name, _)| name);
    let claim = Holder::of(0..ANCHORED).claim;
    let mut operations = Vec::new();
    let accepted =
        (0..ANCHORED).map(|segment| format!("SEGMENT_ROOT_ACCEPTED:{segment},{}", SAMPLE.root(segment).unwrap()));
    let accepted: Vec<String> = accepted.collect();
    for name in names {
        let event = format!("ROUND_SUBMITTED:{},1,-,-,{}", address(name), claim.leaves);
        operations.push(operation(13, name, submitted(name, claiming(1, claim)), vec![event]));
    }
    // Their stake weighs from the second round after their registration on. Two of three are two thirds.
    for name in names {
        let events = if name == "bob" { accepted.clone() } else { Vec::new() };
        let call = submitted(name, root_votes(2, 0..ANCHORED));
        operations.push(operation(16, name, call, events));
    }
    for name in names {
        let submission = Submission {
            beacon: Some(vote(name, 2)),
            ..root_votes(2, ANCHORED..ANCHORED + 1)
        };
        let mut call = submitted(name, submission.clone());
        let from = if name == "bob" { "ann" } else { name };
        if from != name {
            let content = submission.to_bytes(&address(name));
            let text = registry::submission_message(CHAIN_ID, &contract(), &content);
            call.parameter = relayed("2", &content, &signature(name, &text));
        }
        let votes = u8::from(name != "cat");
        let mut events = vec![format!(
            "ROUND_SUBMITTED:{},2,answered,{votes},-,0,0,0,0",
            address(name)
        )];
        if name == "bob" {
            events.push(format!("BEACON_ACCEPTED:2,{}", hex::encode(beacon(2))));
        }
        operations.push(operation(19, from, call, events));
    }
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
    rewards::credit(Holder::of(0..ANCHORED).claim.leaves, PERIODS, 1_000_000, 4, 4)
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
        round_segments: ROUND_SEGMENTS,
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
        filled: true,
        draw_reasons: Vec::new(),
    });
    NodeRecord {
        address: address(name),
        placement_key: Some(placement_key(name)),
        index: 0,
        registered_period: 5,
        stake: Amount::from_raw(STAKE),
        weight_now: 0,
        weight_next: ALLOCATED_GB,
        weight_from_round: 2,
        leave_round: None,
        last_counted_round: 2,
        lapsed_from: 0,
        lapsed_until: 0,
        filled_from: 4,
        filled_to: u64::MAX,
        entry_round: Some(3),
        entry_stake: Amount::from_raw(STAKE),
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

/// The registry in round 8, where ann and cat claimed everything that is anchored by then.
struct Trial {
    holder: Holder,
    nodes: Vec<NodeRecord>,
    config: ConfigRecord,
    round: RoundRecord,
}

impl Trial {
    fn new() -> Self {
        let holder = Holder::of(0..ANCHORED + 1);
        let claim = Some(holder.claim);
        let leaves = holder.claim.leaves;
        Self {
            holder,
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
                factor: 1,
                draws_expected: 8,
                ..RoundRecord::default()
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

    /// The first chunk that cat claimed though ann scores lower.
    fn refutation(&self) -> Refutation {
        let exhibits = self.holder.chunks.iter().map(|listed| self.holder.exhibit(*listed));
        let mut found = exhibits.filter_map(|exhibit| self.find(&self.nodes[2], &exhibit));
        found.next().unwrap()
    }

    /// Both claim the same, so the accused shows the way of the witness, too.
    fn find(&self, accused: &NodeRecord, exhibit: &SegmentAnswer) -> Option<Refutation> {
        let sum_path = |_: &Address| Some(exhibit.sum_path.clone());
        Refutation::find(accused, 8, exhibit, self.bench(), sum_path)
    }

    fn check(&self, refutation: &Refutation) -> Result<(), RefutationError> {
        let root = SAMPLE.root(refutation.exhibit.position.segment);
        refutation.check(self.bench(), root.as_ref())
    }
}

/// Round 8: a claim is refuted, by bob.
fn refuted_claim() -> Vec<Value> {
    let trial = Trial::new();
    let claim = trial.holder.claim;
    let mut operations: Vec<Value> = ["ann", "cat"]
        .map(|name| operation(58, name, submitted(name, claiming(7, claim)), Vec::new()))
        .into();
    let refutation = trial.refutation();
    let answer = refutation.exhibit.to_bytes();
    let witnesses = refutation.witnesses.iter();
    let witnesses: Vec<_> = witnesses.map(|(node, path)| (*node, path.to_bytes())).collect();
    let call = registry::refute_claim(&address("cat"), 8, &answer, &witnesses);
    let event = format!("CLAIM_REFUTED:{},8,{}", address("cat"), address("bob"));
    operations.push(operation(66, "bob", call, vec![event]));
    operations
}

/// Manual challenges, answered by the node and through a relayer.
fn manual_challenges() -> Vec<Value> {
    let admin = |call| operation(66, "admin", call, Vec::new());
    let mut operations = Vec::new();
    for (number, from) in ["ann", "cat"].into_iter().enumerate() {
        let (id, nonce) = (format!("challenge {number} by hand"), u64::MAX - number as u64);
        let position = ChunkPosition::new(0, 1).unwrap();
        let chunk = chunk_at(position);
        operations.push(admin(registry::issue_challenge(&id, &address("ann"), &chunk.id, nonce)));
        let answer = SAMPLE.manual(position, nonce);
        assert_eq!(answer.check_manual(&chunk.id, nonce, SAMPLE.root(0).as_ref()), Ok(()));
        let answer = answer.to_bytes();
        let message = registry::manual_proof_message(CHAIN_ID, &contract(), &id, &answer);
        let mut call = registry::submit_proof(&id, &answer, &[]);
        if from != "ann" {
            call = registry::submit_proof(&id, &answer, &signature("ann", &message));
        }
        let event = format!("CHALLENGE_PASSED:{id},{}", address("ann"));
        operations.push(operation(66, from, call, vec![event]));
    }
    operations
}

/// One answer for some chunks, at the last leaf, and what becomes of it when a byte is changed.
fn answers() -> Vec<Value> {
    let holder = Holder::of(0..SEGMENTS);
    let mut chunks = holder.chunks.clone();
    chunks.sort_by_key(|(position, _)| (chunk_at(*position).leaf_count(), *position));
    // The shortest, the longest and some between them.
    let picked = [0, chunks.len() / 3, chunks.len() / 2, chunks.len() - 1];
    let rows = picked.map(|at| {
        let (position, first) = chunks[at];
        let drawn = first + u64::from(chunk_at(position).leaf_count()) - 1;
        let answer = holder.answer(drawn);
        let segment = answer.position.segment;
        let root = SAMPLE.root(segment).unwrap();
        let bytes = answer.to_bytes();
        let check =
            |bytes: &[u8]| check_answer(bytes, &holder.claim, drawn, |other| (other == segment).then_some(root));
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
        let (leaves, periods, rate) = (below(1 << 44), below(16_384).max(1), below(1_000_000_000_000));
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

/// A segment whose header has the root before it.
fn earlier_root() -> Value {
    let table = SAMPLE.table(SEGMENTS - 1);
    let header = SegmentLeaf::Header(*table.header()).to_bytes();
    let call = registry::anchor_earlier(SEGMENTS - 1, &header, &path_bytes(&table.tree().header_path()));
    json!({
        "segment": SEGMENTS - 1, "root": table.root().to_string(), "previous": SAMPLE.root(SEGMENTS - 2).unwrap().to_string(),
        "arguments": hex::encode(call.parameter),
    })
}

fn vectors() -> Value {
    let names = USERS.map(|(name, _)| name);
    let claim = Holder::of(0..SEGMENTS).claim;
    let operations = [counted_round(), refuted_claim(), manual_challenges()].concat();
    json!({
        "about": "What Rust builds from a store: see massa-distributed-storage-worker/tests/contract_rust_vectors.rs. `changed` has the \
                  reason for each byte of an answer, with bit (byte mod 8) of it flipped. Numbers of 64 bits are decimal texts.",
        "chain_id": CHAIN_ID.to_string(), "registry": contract().to_string(), "segment_periods": SEGMENT_PERIODS, "round_segments": ROUND_SEGMENTS,
        "nodes": names.map(|name| json!({ "name": name, "address": address(name).to_string(), "placement_key": hex::encode(placement_key(name)) })),
        "claim": { "root": hex::encode(claim.root), "sum": claim.leaves.to_string() },
        "answers": answers(), "draws": draws(), "formulas": formulas(),
        "operations": operations,
        "earlier": earlier_root(),
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
    let lengths = |segment: u64| -> Vec<u32> { SAMPLE.table(segment).chunks().map(|chunk| chunk.length).collect() };
    assert_eq!(chunk_at(ChunkPosition::new(1, 0).unwrap()).leaf_count(), 1);
    let first = lengths(0);
    assert!(first.len() > 1 && first.last().unwrap() % 1024 != 0, "{first:?}");
    assert!((0..SEGMENTS).all(|segment| SAMPLE.root(segment).is_some()));
    let missed = |blocks: &Vec<Option<BlockId>>| blocks.contains(&None);
    assert!(SAMPLE.blocks.iter().any(missed));
    assert_eq!(SAMPLE.store.slot(Slot::new(4, 0)).unwrap(), SlotRead::Miss);
    assert!(matches!(
        SAMPLE.store.slot(Slot::new(7, 0)).unwrap(),
        SlotRead::Block(_)
    ));
}

#[test]
fn a_manual_challenge_is_answered_for_the_asked_leaf_only() {
    let position = ChunkPosition::new(0, 1).unwrap();
    let (chunk, other) = (chunk_at(position), chunk_at(ChunkPosition::new(0, 0).unwrap()));
    let root = SAMPLE.root(0);
    let answer = SAMPLE.manual(position, 1);
    let check = |answer: &SegmentAnswer, nonce| answer.check_manual(&chunk.id, nonce, root.as_ref());

    assert_ne!(manual_leaf(1, &chunk), manual_leaf(2, &chunk));
    assert_eq!(check(&answer, 1), Ok(()));
    assert_eq!(check(&answer, 1 + u64::from(chunk.leaf_count())), Ok(()));
    assert_eq!(check(&answer, 2), Err(Reason::LeafPath));
    assert_eq!(answer.check_manual(&other.id, 1, root.as_ref()), Err(Reason::NotDrawn));
    assert_eq!(answer.check_manual(&chunk.id, 1, None), Err(Reason::SegmentUnknown));
    assert_eq!(
        answer.check_manual(&chunk.id, 1, SAMPLE.root(1).as_ref()),
        Err(Reason::ArchivePath)
    );
    let with_sums = SegmentAnswer {
        sum_path: Holder::of(0..1).draw(0).path,
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
    let path = good.witnesses[0].1.clone();
    let by = |node: Address| changed(&|r| r.witnesses = vec![(node, path.clone())]);
    assert_eq!(
        changed(&|r| r.witnesses.clear()),
        Err(RefutationError::Count { found: 0, expected: 1 })
    );
    assert_eq!(by(cat), Err(RefutationError::Own));
    assert_eq!(by(bob), Err(RefutationError::NoClaimOf(bob)));
    assert_eq!(by(contract()), Err(RefutationError::Unknown(contract())));
    assert_eq!(
        changed(&|r| r.witnesses[0].1.mask ^= 1),
        Err(RefutationError::NotClaimed(ann))
    );
    assert_eq!(changed(&|r| r.round = 9), Err(RefutationError::NoClaim));
    assert_eq!(changed(&|r| r.node = bob), Err(RefutationError::NoClaim));
    assert_eq!(changed(&|r| r.exhibit.leaf.push(1)), Err(RefutationError::Leaf));
    assert_eq!(changed(&|r| r.exhibit.sum_path.mask = 0), Err(RefutationError::SumPath));
    assert_eq!(
        changed(&|r| r.exhibit.segment_path.siblings[0] = [0; 32]),
        Err(RefutationError::ArchivePath)
    );
    assert_eq!(good.check(trial.bench(), None), Err(RefutationError::SegmentUnknown));

    let among = |change: &dyn Fn(&mut NodeRecord)| {
        let mut trial = Trial::new();
        change(&mut trial.nodes[0]);
        trial.check(&good)
    };
    let slot = |ann: &mut NodeRecord, change: &dyn Fn(&mut RoundResult)| change(ann.slots[2].as_mut().unwrap());
    assert_eq!(
        among(&|ann| slot(ann, &|claim| claim.filled = false)),
        Err(RefutationError::NotFilled(ann))
    );
    assert_eq!(
        among(&|ann| slot(ann, &|claim| claim.weight = 1)),
        Err(RefutationError::Score(ann))
    );
    assert_eq!(
        among(&|ann| slot(ann, &|claim| claim.leaves += 1)),
        Err(RefutationError::NotClaimed(ann))
    );
    // What was declared since, or is known of it now, is no matter.
    assert_eq!(among(&|ann| (ann.weight_now, ann.weight_next) = (1, 1)), Ok(()));
    assert_eq!(among(&|ann| (ann.lapsed_from, ann.lapsed_until) = (5, 9)), Ok(()));
    // Rounds of two segments: round 8 ends with segment 17.
    let segment = good.exhibit.position.segment;
    assert_eq!(
        among(&|ann| ann.retention_periods = (18 - segment) * SEGMENT_PERIODS),
        Ok(())
    );
    assert_eq!(
        among(&|ann| ann.retention_periods = (18 - segment) * SEGMENT_PERIODS - 1),
        Err(RefutationError::Retention(ann))
    );
    let mut refuted = Trial::new();
    refuted.nodes[2].slots[2].as_mut().unwrap().refuted = true;
    assert_eq!(refuted.check(&good), Err(RefutationError::Refuted));
}

#[test]
fn a_chunk_that_was_assigned_cannot_be_refuted() {
    let trial = Trial::new();
    let nodes: Vec<&NodeRecord> = trial.nodes.iter().collect();
    for listed in &trial.holder.chunks {
        let exhibit = trial.holder.exhibit(*listed);
        let refuted = |accused: &NodeRecord| trial.find(accused, &exhibit).is_some();
        // Of two filled nodes and one factor, exactly one is not assigned.
        assert_ne!(refuted(nodes[0]), refuted(nodes[2]), "{}", listed.0);
    }
}
