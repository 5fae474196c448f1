//! Random refutations against what the compiled contract said of each (`tests/data/contract-refutation-vectors.json`), and against
//! placement.

use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::challenge::jury::{Jury, Verdict};
use massa_distributed_storage_worker::challenge::refutation::{Bench, Refutation};
use massa_distributed_storage_worker::challenge::segment_answer::SegmentAnswer;
use massa_distributed_storage_worker::challenge::sums::SumPath;
use massa_distributed_storage_worker::replication::{search_of_segment, Candidate, NodesInForce};
use massa_distributed_storage_worker::smart_contract::node_set::set_of;
use massa_distributed_storage_worker::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use massa_distributed_storage_worker::smart_contract::views::decode_state;
use massa_models::address::Address;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What was refused for its retention, and what was taken, at least: the cases test nothing without them.
const LEAST_OF_A_KIND: usize = 10;

struct Vectors {
    json: Value,
    config: ConfigRecord,
    flags_from: Option<u64>,
    nodes: Vec<NodeRecord>,
    rounds: BTreeMap<u64, RoundRecord>,
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn address(text: &str) -> Address {
    text.parse().unwrap()
}

impl Vectors {
    fn load() -> Self {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../tests/data/contract-refutation-vectors.json"
        );
        let json: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let node = |node: &Value| NodeRecord::decode(address(node["address"].as_str().unwrap()), &bytes(&node["row"]));
        let round = |of: &Value| {
            (
                of["round"].as_u64().unwrap(),
                RoundRecord::decode(&bytes(&of["row"])).unwrap(),
            )
        };
        Self {
            config: ConfigRecord::decode(&bytes(&json["config"])).unwrap(),
            flags_from: decode_state(&bytes(&json["state"])).unwrap().flags_from_round,
            nodes: list(&json["nodes"]).iter().map(|of| node(of).unwrap()).collect(),
            rounds: list(&json["rounds"]).iter().map(round).collect(),
            json,
        }
    }

    fn root(&self, segment: u64) -> SegmentRoot {
        let root = bytes(&self.json["roots"][segment as usize]);
        SegmentRoot::from_bytes(root.try_into().unwrap())
    }

    fn bench(&self, round: u64) -> Bench<'_> {
        Bench {
            nodes: &self.nodes,
            config: &self.config,
            round: &self.rounds[&round],
        }
    }

    /// Each refutation, with what the contract said.
    fn cases(&self) -> impl Iterator<Item = (Refutation, Option<&str>)> {
        list(&self.json["cases"])
            .iter()
            .map(|case| (parsed(&bytes(&case["parameter"])), case["error"].as_str()))
    }

    /// Whether a node holds the shown chunk while `ended` is the last segment that ended.
    fn holds(&self, refutation: &Refutation, ended: u64) -> bool {
        let in_force = NodesInForce {
            nodes: Arc::new(set_of(&self.nodes, refutation.round, self.flags_from)),
            own: None,
            replication_factor: self.rounds[&refutation.round].factor as usize,
        };
        let (exhibit, periods) = (&refutation.exhibit, self.config.next.challenge_frequency_periods);
        let mut best: Vec<Candidate> = Vec::new();
        search_of_segment(&in_force, periods, exhibit.position.segment, ended).find(
            &exhibit.chunk.id,
            |_| false,
            &mut best,
        );
        let nodes = in_force.nodes.nodes();
        best.iter()
            .any(|candidate| nodes[candidate.index()].address == refutation.node)
    }
}

/// The arguments of `refuteClaim`.
fn parsed(mut parameter: &[u8]) -> Refutation {
    fn take<'a>(from: &mut &'a [u8], count: usize) -> &'a [u8] {
        let (taken, rest) = from.split_at(count);
        *from = rest;
        taken
    }
    fn sized<'a>(from: &mut &'a [u8]) -> &'a [u8] {
        let length = u32::from_le_bytes(take(from, 4).try_into().unwrap());
        take(from, length as usize)
    }
    let text = |bytes: &[u8]| address(std::str::from_utf8(bytes).unwrap());
    let node = text(sized(&mut parameter));
    let round = u64::from_le_bytes(take(&mut parameter, 8).try_into().unwrap());
    let exhibit = SegmentAnswer::from_bytes(sized(&mut parameter)).unwrap();
    let mut witnesses = Vec::new();
    while !parameter.is_empty() {
        let witness = text(sized(&mut parameter));
        witnesses.push((witness, SumPath::from_bytes(sized(&mut parameter)).unwrap()));
    }
    Refutation {
        node,
        round,
        exhibit,
        witnesses,
    }
}

#[test]
fn a_refutation_is_taken_or_refused_as_by_the_contract() {
    let vectors = Vectors::load();
    let (mut taken, mut retention) = (0, 0);
    for (number, (refutation, error)) in vectors.cases().enumerate() {
        let root = vectors.root(refutation.exhibit.position.segment);
        let found = refutation.check(vectors.bench(refutation.round), Some(&root)).err();
        let found = found.map(|error| error.to_string());
        assert_eq!(found.as_deref(), error, "case {number}");
        taken += usize::from(error.is_none());
        retention += usize::from(error.is_some_and(|error| error.starts_with("witness does not keep")));
    }
    assert!(taken >= LEAST_OF_A_KIND && retention >= LEAST_OF_A_KIND);
}

#[test]
fn the_contract_refutes_nobody_who_holds_by_placement_and_the_jury_finds_whom_it_does() {
    let vectors = Vectors::load();
    let segments = vectors.config.next.round_segments;
    let mut holders = 0;
    for (number, (refutation, error)) in vectors.cases().enumerate() {
        let round = refutation.round;
        let claimed_or_open = (round - 1) * segments - 1..(round + 1) * segments;
        let holds = claimed_or_open
            .into_iter()
            .any(|ended| vectors.holds(&refutation, ended));
        holders += usize::from(holds);
        if error.is_some() {
            continue;
        }
        assert!(!holds, "case {number}");
        let jury = Jury::new(vectors.bench(round), round);
        let chunk = (refutation.exhibit.position.segment, &refutation.exhibit.chunk.id);
        let verdict = jury.judge(&refutation.node, chunk, None, &mut 0);
        assert!(matches!(verdict, Verdict::Against(_)), "case {number}");
    }
    assert!(holders >= LEAST_OF_A_KIND);
}
