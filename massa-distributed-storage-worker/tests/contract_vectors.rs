//! Known answers of the registry contract: what it accepts and refuses, draws, ids, formulas. The other direction, what Rust
//! builds and the contract accepts, is in `contract_rust_vectors.rs`.

use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_distributed_storage_worker::challenge::answer::check_answer;
use massa_distributed_storage_worker::challenge::draw::founding_placement_key;
use massa_distributed_storage_worker::challenge::{
    Answer, AnswerRules, Claim, ClaimTree, HeldChunk, Position, Reason, RoundContext,
};
use massa_distributed_storage_worker::{replication, rewards};
use serde_json::Value;
use std::collections::BTreeMap;

fn read(name: &str) -> Value {
    let path = format!("{}/../tests/data/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    hex::decode(value.as_str().unwrap()).unwrap()
}

fn digest(value: &Value) -> Digest {
    bytes(value).try_into().unwrap()
}

/// Numbers of 64 bits are decimal texts.
fn number(value: &Value) -> u64 {
    value
        .as_u64()
        .unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn small(value: &Value) -> u8 {
    number(value).try_into().unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn claim_of(value: &Value) -> (ClaimTree, Claim) {
    let chunks = list(&value["chunks"]).iter().map(|chunk| HeldChunk {
        position: Position::from_number(number(&chunk["position"])).unwrap(),
        leaves: number(&chunk["leaves"]) as u32,
        id: ChunkId::from_bytes(digest(&chunk["chunk_id"])),
    });
    let stated = Claim {
        root: digest(&value["root"]),
        leaves: number(&value["sum"]),
    };
    (ClaimTree::new(chunks), stated)
}

struct Vectors {
    all: Value,
    rules: AnswerRules,
    roots: BTreeMap<u64, SegmentRoot>,
}

impl Vectors {
    fn read() -> Self {
        let all = read("contract-answer-vectors.json");
        let roots = list(&all["segment_roots"])
            .iter()
            .map(|root| (number(&root["segment"]), SegmentRoot::from_bytes(digest(&root["root"]))));
        Self {
            rules: AnswerRules {
                claim: claim_of(&all["claim"]).1,
                segment_periods: number(&all["periods_per_segment"]),
            },
            roots: roots.collect(),
            all,
        }
    }

    fn answers(&self) -> &[Value] {
        list(&self.all["answers"])
    }

    fn check(&self, answer: &[u8], drawn: u64) -> Reason {
        check_answer(answer, &self.rules, drawn, |segment| self.roots.get(&segment).copied())
    }

    fn context(&self) -> RoundContext {
        RoundContext {
            chain_id: number(&self.all["chain_id"]),
            registry: self.all["registry"].as_str().unwrap().to_string(),
            round: number(&self.all["round"]),
        }
    }
}

#[test]
fn every_answer_is_accepted_or_refused_with_the_contracts_reason() {
    let vectors = Vectors::read();
    for vector in vectors.answers() {
        let reason = vectors.check(&bytes(&vector["answer"]), number(&vector["drawn"]));

        assert_eq!(reason.code(), small(&vector["reason"]), "{}: {reason}", vector["name"]);
    }
}

#[test]
fn a_valid_answer_with_any_byte_changed_is_refused() {
    let vectors = Vectors::read();
    for vector in vectors.answers().iter().filter(|vector| small(&vector["reason"]) == 0) {
        let answer = bytes(&vector["answer"]);
        for at in 0..answer.len() {
            for change in [1 << (at % 8), 0xFF] {
                let mut changed = answer.clone();
                changed[at] ^= change;
                let reason = vectors.check(&changed, number(&vector["drawn"]));
                assert_ne!(reason, Reason::Passed, "{}, byte {at}", vector["name"]);
            }
        }
    }
}

#[test]
fn a_valid_answer_has_one_form() {
    for vector in Vectors::read()
        .answers()
        .iter()
        .filter(|vector| small(&vector["reason"]) == 0)
    {
        let answer = bytes(&vector["answer"]);
        assert_eq!(
            Answer::from_bytes(&answer).unwrap().to_bytes(),
            answer,
            "{}",
            vector["name"]
        );
    }
}

#[test]
fn claims_have_the_contracts_root_and_sum() {
    let all = Vectors::read().all;
    for name in ["claim", "other_claim"] {
        let (tree, stated) = claim_of(&all[name]);
        assert_eq!(tree.claim(), stated, "{name}");
    }
}

#[test]
fn the_sum_path_of_a_draw_is_the_one_in_the_answer() {
    let vectors = Vectors::read();
    let (tree, _) = claim_of(&vectors.all["claim"]);
    for vector in vectors.answers().iter().filter(|vector| small(&vector["reason"]) == 0) {
        let answer = Answer::from_bytes(&bytes(&vector["answer"])).unwrap();
        let (chunk, leaf) = tree.find(number(&vector["drawn"])).unwrap();

        assert_eq!(chunk, answer.held());
        assert_eq!(tree.path(chunk.position), Some(answer.sum_path.clone()));
        assert_eq!(answer.check_leaf(leaf), Ok(()));
    }
}

#[test]
fn draws_and_challenge_ids_are_the_contracts() {
    let vectors = Vectors::read();
    let (context, all) = (vectors.context(), &vectors.all);
    let node = all["node"].as_str().unwrap();
    let key = digest(&all["placement_key"]);
    let beacon = digest(&all["beacon"]);
    assert_eq!(founding_placement_key(node, &context.registry), key);
    for draw in list(&all["draws"]) {
        let d = small(&draw["d"]);
        let leaf = context.drawn_leaf(&key, &beacon, d, vectors.rules.claim.leaves);
        assert_eq!(leaf, number(&draw["leaf"]));
        assert_eq!(context.challenge_id(node, &beacon, d), draw["challenge_id"]);
    }
}

#[test]
fn counts_of_draws_and_credits_are_the_contracts() {
    let all = Vectors::read().all;
    for count in list(&all["draw_counts"]) {
        assert_eq!(rewards::draw_count(number(&count["leaves"])), small(&count["draws"]));
    }
    for row in list(&all["credits"]) {
        let of = |name: &str| number(&row[name]);
        let credit = rewards::credit(
            of("leaves"),
            of("periods"),
            of("rate"),
            small(&row["passes"]),
            small(&row["draws"]),
        );
        assert_eq!(credit, of("credit"));
    }
}

#[test]
fn scores_are_the_contracts() {
    let placement = read("placement-vectors.json");
    for row in list(&placement["logarithms"]) {
        assert_eq!(
            replication::negative_log2(number(&row["h"])),
            number(&row["negative_log2"])
        );
    }
    for row in list(&placement["scores"]) {
        let chunk = ChunkId::from_bytes(digest(&row["chunk_id"]));
        let score = replication::placement_score(&chunk, &digest(&row["placement_key"]), number(&row["weight"]));
        let expected = row["score"].as_str().map(|text| text.parse().unwrap());
        assert_eq!(score, expected);
    }
}
