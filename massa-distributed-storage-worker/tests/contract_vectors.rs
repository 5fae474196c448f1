//! Known answers of the registry contract: draws, ids, formulas. Answers are in `segment_answer.rs`; the other direction, what Rust
//! builds and the contract accepts, is in `contract_rust_vectors.rs`.

use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::challenge::draw::founding_placement_key;
use massa_distributed_storage_worker::challenge::RoundContext;
use massa_distributed_storage_worker::{replication, rewards};
use serde_json::Value;

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

#[test]
fn draws_and_challenge_ids_are_the_contracts() {
    let all = read("contract-formula-vectors.json");
    let context = RoundContext {
        chain_id: number(&all["chain_id"]),
        registry: all["registry"].as_str().unwrap().to_string(),
        round: number(&all["round"]),
    };
    let node = all["node"].as_str().unwrap();
    let key = digest(&all["placement_key"]);
    let beacon = digest(&all["beacon"]);
    assert_eq!(founding_placement_key(node, &context.registry), key);
    for draw in list(&all["draws"]) {
        let d = small(&draw["d"]);
        let leaf = context.drawn_leaf(&key, &beacon, d, number(&all["leaves"]));
        assert_eq!(leaf, number(&draw["leaf"]));
        assert_eq!(context.challenge_id(node, &beacon, d), draw["challenge_id"]);
    }
}

#[test]
fn counts_of_draws_and_credits_are_the_contracts() {
    let all = read("contract-formula-vectors.json");
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
