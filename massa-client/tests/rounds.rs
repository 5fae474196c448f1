//! `massa-cli storage challenges` against a real server with the rows of a registry: what it computes, and what it finds out.

mod common;
#[path = "common/node.rs"]
#[allow(dead_code)]
mod node;

use common::{assert_says, ROOTS, STORE, UPSTREAM};
use massa_api_exports::execution::{ReadOnlyCall, ReadOnlyResult};
use massa_distributed_storage_worker::challenge::RoundContext;
use massa_distributed_storage_worker::storage_backend::{EntryRead, SegmentStore};
use massa_models::address::Address;
use massa_signature::KeyPair;
use node::TestNode;
use serde_json::Value;

const REGISTRY: &str = "AS12GP598CrdcxTUoXZxfmZqavkx9skqH1TN1kYpSP43SChUnjQ8L";
/// As the store of the upstream file has it, so that the beacon's period, 2, is in segment 1.
const SEGMENT_PERIODS: u64 = 2;
const ROUND_SEGMENTS: u64 = 50;
const LEAVES: u64 = 3000;
const KEY: [u8; 32] = [9; 32];
const NEVER: u64 = u64::MAX;

/// How far a claim is: the byte in its slot.
const CLAIMED: u8 = 1;
const SETTLED: u8 = 3;

/// A registry in which one node claimed round 0, whose beacon comes from period 2 of the upstream file.
struct Registry {
    node: TestNode,
    operator: Address,
}

/// The slot of a claim, with its result.
struct Slot {
    beacon: [u8; 32],
    state: u8,
    draws: u8,
    passes: u8,
    reason: u8,
    draw_reasons: [u8; 16],
}

impl Slot {
    fn passed(beacon: [u8; 32]) -> Self {
        Self {
            beacon,
            state: SETTLED,
            draws: 4,
            passes: 4,
            reason: 0,
            draw_reasons: [0; 16],
        }
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes: Vec<u8> = [0, LEAVES, 1_000_000, 10]
            .iter()
            .flat_map(|number: &u64| number.to_le_bytes())
            .collect();
        bytes.extend([5; 32]);
        bytes.extend(self.beacon);
        bytes.extend(0u64.to_le_bytes());
        bytes.extend([self.state, self.draws, self.passes, self.reason, 0, 0, 0, 0]);
        bytes.extend(self.draw_reasons);
        bytes
    }
}

fn context() -> RoundContext {
    RoundContext {
        chain_id: UPSTREAM.chain_id,
        registry: REGISTRY.to_string(),
        round: 0,
    }
}

fn true_beacon() -> [u8; 32] {
    let store = SegmentStore::open_read_only(STORE.store()).unwrap();
    let EntryRead::Found(entry) = store.entry(2).unwrap() else {
        panic!()
    };
    context().beacon(&entry.ids().collect::<Vec<_>>())
}

fn numbers(numbers: &[u64]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn node_row(slot: &Slot) -> Vec<u8> {
    let mut row = vec![1, 1, 0, 1, 0, 0, 0, 0];
    row.extend(numbers(&[0; 21]));
    row.extend(KEY);
    row.extend(slot.to_bytes());
    for _ in 0..2 {
        row.extend(NEVER.to_le_bytes());
        row.extend([0; 96]);
        row.push(SETTLED);
        row.extend([0; 23]);
    }
    row.extend(numbers(&[1_000_000]));
    row.extend([0; 4]);
    row
}

fn round_row(claims: u64, accepted: Option<[u8; 32]>) -> Vec<u8> {
    let mut row = numbers(&[
        claims,
        1_000_000,
        LEAVES * claims,
        10,
        4,
        4,
        1,
        1_000_000,
        5,
        10,
        5,
        1,
        NEVER,
    ]);
    row.extend([1, u8::from(accepted.is_some()), 1, 0, 3, 20, 0, 0]);
    row.extend(accepted.unwrap_or_default());
    row.extend(numbers(&[100, 1_000_000, LEAVES, 10, 10]));
    row
}

fn config_row() -> Vec<u8> {
    let config = numbers(&[
        1,
        1,
        100,
        1,
        10,
        1000,
        1,
        3,
        1 << 20,
        SEGMENT_PERIODS,
        0,
        ROUND_SEGMENTS,
    ]);
    [&config[..], &config, &numbers(&[0])].concat()
}

impl Registry {
    fn start(slot: &Slot, claims: u64, accepted: Option<[u8; 32]>) -> Self {
        let node = TestNode::start();
        let operator = Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key());
        {
            let mut world = node.world.lock().unwrap();
            world.registry = Some(REGISTRY.parse().unwrap());
            let root: Vec<u8> = hex::decode(&ROOTS[1]).unwrap();
            let rows = [
                (b"config".to_vec(), config_row()),
                (b"total_nodes".to_vec(), numbers(&[1])),
                (b"index_0".to_vec(), operator.to_string().into_bytes()),
                (format!("node_{operator}").into_bytes(), node_row(slot)),
                (b"period_0".to_vec(), round_row(claims, accepted)),
                (b"segment_1".to_vec(), [&root[..], &numbers(&[1])].concat()),
            ];
            world.rows.extend(rows);
            world.contract = Some(Box::new(move |call| draws_view(&operator, call)));
        }
        Self { node, operator }
    }

    fn challenges(&self, options: &[&str]) -> std::process::Output {
        let command = ["storage", "challenges", "--round", "0"];
        self.node.cli(&[&command, options].concat()).0
    }
}

/// What the registry's view answers.
fn draws_view(operator: &Address, call: &ReadOnlyCall) -> ReadOnlyResult {
    assert_eq!(call.target_function, "getDraws");
    let beacon: [u8; 32] = call.parameter[call.parameter.len() - 32..].try_into().unwrap();
    let mut bytes = Vec::new();
    for draw in 0..4 {
        bytes.extend(context().drawn_leaf(&KEY, &beacon, draw, LEAVES).to_le_bytes());
        let id = context().challenge_id(&operator.to_string(), &beacon, draw);
        bytes.extend((id.len() as u32).to_le_bytes());
        bytes.extend(id.as_bytes());
    }
    ReadOnlyResult::Ok(bytes)
}

#[track_caller]
fn parts(output: &std::process::Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_true_round_is_confirmed_from_the_archive_and_the_rows() {
    let beacon = true_beacon();
    let registry = Registry::start(&Slot::passed(beacon), 1, Some(beacon));
    let (status, text, errors) = parts(&registry.challenges(&["--verify"]));
    assert_eq!((status, errors.as_str()), (Some(0), ""));
    let leaf = context().drawn_leaf(&KEY, &beacon, 3, LEAVES).to_string();
    let id = context().challenge_id(&registry.operator.to_string(), &beacon, 3);
    let says = [
        &hex::encode(beacon),
        "proven up to the anchored segment root; nothing differs",
        "0, periods 0 to 99",
        "2.9 MiB",
        &leaf,
        &id,
        "passed",
    ];
    assert_says(&text, &says);

    let (_, json, _) = parts(&registry.challenges(&["--verify", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["nodes"][0]["draws"].as_array().unwrap().len(), 4);
    assert_eq!(json["verified"]["beacon"], json["accepted_beacon"]);
    assert_eq!(json["verified"]["differences"], serde_json::json!([]));
}

/// The report, and one line with status 1.
#[track_caller]
fn assert_differs(registry: &Registry, says: &[&str]) {
    let (status, text, errors) = parts(&registry.challenges(&["--verify"]));
    assert_eq!((status, errors.lines().count()), (Some(1), 1), "{errors}");
    assert_says(&text, &["difference"]);
    assert_says(&errors, &["round 0 is not as it should be"]);
    assert_says(&errors, says);
    // Who does not verify is told what the registry says.
    assert_eq!(parts(&registry.challenges(&[])).0, Some(0));
}

#[test]
fn a_false_beacon_that_was_accepted_is_found() {
    let false_beacon = [7; 32];
    let registry = Registry::start(&Slot::passed(false_beacon), 1, Some(false_beacon));
    assert_differs(
        &registry,
        &["the registry accepted beacon 0707", &hex::encode(true_beacon())],
    );
}

#[test]
fn fewer_draws_than_the_claim_gives_are_found() {
    let beacon = true_beacon();
    let slot = Slot {
        draws: 3,
        passes: 3,
        ..Slot::passed(beacon)
    };
    let registry = Registry::start(&slot, 1, Some(beacon));
    assert_differs(&registry, &["3000 leaves give 4 draws, the registry has 3"]);
}

#[test]
fn passes_that_the_reasons_contradict_are_found() {
    let beacon = true_beacon();
    let mut slot = Slot::passed(beacon);
    slot.draw_reasons[1] = 5;
    let registry = Registry::start(&slot, 1, Some(beacon));
    assert_differs(&registry, &["3 draws have no reason against them, 4 are counted"]);
}

#[test]
fn a_result_that_does_not_follow_is_found() {
    let beacon = true_beacon();
    let slot = Slot {
        reason: 17,
        ..Slot::passed(beacon)
    };
    let registry = Registry::start(&slot, 1, Some(beacon));
    assert_differs(
        &registry,
        &["its result should be \"passed\", and is \"minority beacon\""],
    );
}

#[test]
fn a_view_that_draws_other_leaves_is_found() {
    let beacon = true_beacon();
    let registry = Registry::start(&Slot::passed(beacon), 1, Some(beacon));
    let other = registry.operator;
    registry.node.world.lock().unwrap().contract = Some(Box::new(move |call| {
        let mut call = call.clone();
        *call.parameter.last_mut().unwrap() ^= 1;
        draws_view(&other, &call)
    }));
    assert_differs(&registry, &["the registry draws other leaves"]);
}

#[test]
fn an_anchored_root_that_the_archive_does_not_lead_to_is_refused() {
    let beacon = true_beacon();
    let registry = Registry::start(&Slot::passed(beacon), 1, Some(beacon));
    let root = [&[8; 32][..], &numbers(&[1])].concat();
    registry
        .node
        .world
        .lock()
        .unwrap()
        .rows
        .insert(b"segment_1".to_vec(), root);
    let (status, _, errors) = parts(&registry.challenges(&["--verify"]));
    assert_eq!(status, Some(1));
    assert_says(&errors, &["the node's proof was refused"]);
}

#[test]
fn a_segment_that_is_not_anchored_rests_on_the_nodes_word() {
    let beacon = true_beacon();
    let registry = Registry::start(&Slot::passed(beacon), 1, Some(beacon));
    registry.node.world.lock().unwrap().rows.remove(&b"segment_1"[..]);
    let (status, text, _) = parts(&registry.challenges(&["--verify"]));
    assert_eq!(status, Some(0));
    assert_says(&text, &["the block ids are the node's word"]);
}

#[test]
fn a_silent_claim_missed_every_draw_of_the_accepted_beacon() {
    let beacon = true_beacon();
    let slot = Slot {
        state: CLAIMED,
        passes: 0,
        beacon: [0; 32],
        ..Slot::passed(beacon)
    };
    let registry = Registry::start(&slot, 1, Some(beacon));
    let (status, text, _) = parts(&registry.challenges(&["--verify"]));
    assert_eq!(status, Some(0));
    assert_says(&text, &["silent"]);
    assert_eq!(text.matches("missing").count(), 4, "{text}");
}

#[test]
fn claims_that_later_ones_replaced_are_said_to_be_gone() {
    let beacon = true_beacon();
    let registry = Registry::start(&Slot::passed(beacon), 3, Some(beacon));
    let (_, text, _) = parts(&registry.challenges(&[]));
    assert_says(&text, &["2 no longer known: a node's record has room for three"]);
}

/// A round spans several segments: any of them names it.
#[test]
fn a_round_is_named_by_each_of_its_segments() {
    let beacon = true_beacon();
    let registry = Registry::start(&Slot::passed(beacon), 1, Some(beacon));
    for segment in ["0", "1", "49"] {
        let command = ["storage", "challenges", "--segment", segment, "--json"];
        let json = registry.node.cli(&command).json();
        assert_eq!((&json["round"], &json["last_period"]), (&0.into(), &99.into()));
    }
    let error = registry
        .node
        .cli(&["storage", "challenges", "--segment", "50"])
        .failure();
    assert_eq!(error, "the registry has no round 1: nobody claimed it");
    for wrong in [&[][..], &["--round", "0", "--segment", "0"]] {
        registry
            .node
            .cli(&[&["storage", "challenges"], wrong].concat())
            .error(2);
    }
}

#[test]
fn a_round_that_nobody_claimed_is_said_to_be_absent() {
    let beacon = true_beacon();
    let registry = Registry::start(&Slot::passed(beacon), 1, Some(beacon));
    let error = registry.node.cli(&["storage", "challenges", "--round", "4"]).failure();
    assert_eq!(error, "the registry has no round 4: nobody claimed it");
}
