//! Who holds which chunk: known answers, and the properties that placement is chosen for.

use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::replication::{
    genesis_placement_key, holders, log_line, negative_log2, placement_score, rank, HolderSearch, PLACEMENT_DOMAIN,
};
use massa_models::address::Address;
use massa_models::node::NodeId;
use massa_signature::{KeyPair, PublicKey};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

static OWNER: LazyLock<PublicKey> = LazyLock::new(|| KeyPair::generate(0).unwrap().get_public_key());

fn node(placement_key: Digest, weight: u64, filled: bool) -> StorageNode {
    StorageNode {
        node_id: Some(NodeId::new(*OWNER)),
        address: Address::from_public_key(&OWNER),
        placement_key,
        allocated_storage_gb: weight,
        filled,
        retention_periods: 0,
        listeners: Vec::new(),
    }
}

fn key(name: u64) -> Digest {
    *blake3::hash(&name.to_le_bytes()).as_bytes()
}

fn chunk_id(number: u64) -> ChunkId {
    ChunkId::from_bytes(*blake3::hash(format!("chunk {number}").as_bytes()).as_bytes())
}

/// Filled nodes with these weights, named by their position.
fn set(weights: &[u64]) -> NodeSet {
    NodeSet::new(
        weights
            .iter()
            .zip(0..)
            .map(|(weight, name)| node(key(name), *weight, true))
            .collect(),
    )
}

/// The same without one node.
fn without(nodes: &NodeSet, index: usize) -> NodeSet {
    let mut rest = nodes.nodes().to_vec();
    rest.remove(index);
    NodeSet::new(rest)
}

fn nobody(_: usize) -> bool {
    false
}

/// Placement keys of the holders.
fn held_by(nodes: &NodeSet, chunk: u64, factor: usize) -> BTreeSet<Digest> {
    let found = holders(&chunk_id(chunk), nodes, factor, &nobody);
    found
        .into_iter()
        .map(|index| nodes.nodes()[index].placement_key)
        .collect()
}

/// Holders as the design says it, from the rank alone.
fn holders_of_model(chunk: &ChunkId, nodes: &NodeSet, factor: usize, skipped: &dyn Fn(usize) -> bool) -> Vec<usize> {
    let order: Vec<usize> = rank(chunk, nodes)
        .into_iter()
        .filter(|index| !skipped(*index))
        .collect();
    let is_filled = |index: &&usize| nodes.nodes()[**index].filled;
    let filled = order.iter().filter(is_filled).count();
    if filled < factor {
        return order.into_iter().take(factor).collect();
    }
    let last = *order.iter().filter(is_filled).nth(factor - 1).unwrap();
    let end = order.iter().position(|index| *index == last).unwrap();
    order[..=end].to_vec()
}

fn read_vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/placement-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rows<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap().parse().unwrap()
}

fn digest(value: &Value) -> Digest {
    let id: ChunkId = value.as_str().unwrap().parse().unwrap();
    id.to_bytes()
}

fn indexes(value: &Value) -> Vec<usize> {
    let list = value.as_array().unwrap();
    list.iter().map(|index| index.as_u64().unwrap() as usize).collect()
}

fn nodes_of(case: &Value) -> NodeSet {
    let nodes = rows(case, "nodes").iter().map(|row| {
        let filled = row["filled"].as_bool().unwrap();
        node(digest(&row["placement_key"]), number(&row["weight"]), filled)
    });
    NodeSet::new(nodes.collect())
}

#[test]
fn logarithms_and_scores_are_those_of_the_independent_implementation() {
    let vectors = read_vectors();
    let domain: String = PLACEMENT_DOMAIN.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(vectors["domain"], domain);
    for row in rows(&vectors, "logarithms") {
        assert_eq!(negative_log2(number(&row["h"])), number(&row["negative_log2"]), "{row}");
    }
    for row in rows(&vectors, "scores") {
        let id = ChunkId::from_bytes(digest(&row["chunk_id"]));
        let score = placement_score(&id, &digest(&row["placement_key"]), number(&row["weight"]));
        let expected = (!row["score"].is_null()).then(|| number(&row["score"]));
        assert_eq!(score, expected, "{row}");
    }
}

#[test]
fn placement_keys_of_the_genesis_file_are_those_of_the_independent_implementation() {
    for row in rows(&read_vectors(), "genesis_keys") {
        let text = row["public_key"].as_str().unwrap();
        let bytes: Vec<u8> = (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let node_id = NodeId::new(PublicKey::from_bytes(&bytes).unwrap());
        assert_eq!(genesis_placement_key(&node_id), digest(&row["placement_key"]));
    }
}

#[test]
fn holders_are_those_of_the_independent_implementation() {
    for case in rows(&read_vectors(), "holders") {
        let nodes = nodes_of(case);
        let factor = case["replication_factor"].as_u64().unwrap() as usize;
        let skipped = indexes(&case["skipped"]);
        for row in rows(case, "chunks") {
            let id = ChunkId::from_bytes(digest(&row["chunk_id"]));
            let found = holders(&id, &nodes, factor, &|index| skipped.contains(&index));
            assert_eq!(found, indexes(&row["holders"]), "{}: {row}", case["name"]);
        }
    }
}

proptest! {
    /// The search hashes side by side and leaves out most logarithms; the model ranks everybody with the plain hash.
    #[test]
    fn the_search_finds_what_the_rule_says(
        nodes in proptest::collection::vec((0u64..40, prop::bool::weighted(0.8), prop::bool::weighted(0.1)), 0..50),
        factor in 1usize..6,
        first in any::<u32>(),
    ) {
        let list = nodes.iter().zip(0..).map(|((weight, filled, _), name)| node(key(name), *weight, *filled));
        let set = NodeSet::new(list.collect());
        let skipped = |index: usize| nodes[index].2;
        for number in u64::from(first)..u64::from(first) + 8 {
            let id = chunk_id(number);
            prop_assert_eq!(
                holders(&id, &set, factor, &skipped),
                holders_of_model(&id, &set, factor, &skipped)
            );
        }
    }

    #[test]
    fn the_order_in_which_nodes_are_named_does_not_matter(
        order in Just((0..12).collect::<Vec<u64>>()).prop_shuffle(),
        number in any::<u64>(),
    ) {
        let shuffled = order.iter().map(|name| node(key(*name), name % 4, true)).collect();
        let sorted = (0..12).map(|name| node(key(name), name % 4, true)).collect();
        prop_assert_eq!(
            held_by(&NodeSet::new(shuffled), number, 3),
            held_by(&NodeSet::new(sorted), number, 3)
        );
    }

    #[test]
    fn a_join_gives_copies_to_the_newcomer_only_and_a_leave_moves_only_what_the_leaver_had(
        weights in proptest::collection::vec(1u64..100, 1..20),
        position in any::<prop::sample::Index>(),
        first in any::<u32>(),
    ) {
        const FACTOR: usize = 3;
        let large = set(&weights);
        let index = position.index(weights.len());
        let (mover, small) = (large.nodes()[index].placement_key, without(&large, index));
        for number in u64::from(first)..u64::from(first) + 20 {
            let (before, after) = (held_by(&small, number, FACTOR), held_by(&large, number, FACTOR));
            let gained: Vec<&Digest> = after.difference(&before).collect();
            let lost = before.difference(&after).count();
            if after.contains(&mover) {
                prop_assert_eq!(gained, [&mover]);
                prop_assert_eq!(lost, usize::from(before.len() == FACTOR));
            } else {
                prop_assert_eq!((gained.len(), lost), (0, 0));
            }
        }
    }

    #[test]
    fn an_unfilled_node_displaces_nobody(
        weights in proptest::collection::vec(1u64..100, 4..20),
        position in any::<prop::sample::Index>(),
        number in any::<u64>(),
    ) {
        const FACTOR: usize = 3;
        let filled = set(&weights);
        let index = position.index(weights.len());
        let mut nodes = filled.nodes().to_vec();
        nodes[index].filled = false;
        let newcomer = nodes[index].placement_key;
        let with_unfilled = held_by(&NodeSet::new(nodes), number, FACTOR);

        let mut expected = held_by(&without(&filled, index), number, FACTOR);
        if held_by(&filled, number, FACTOR).contains(&newcomer) {
            expected.insert(newcomer);
        }
        prop_assert_eq!(with_unfilled, expected);
    }

    /// What makes placement fast cannot change it: nobody is left out who might be among the best.
    #[test]
    fn logarithms_are_exact_to_one_unit(h in any::<u64>(), shift in 0u32..64) {
        for h in [h, h >> shift, !(h >> shift)] {
            // f64 has 53 bits: enough for large logarithms; small ones are taken from the distance to 1.
            let missing = !h as f64 / 2f64.powi(64);
            let exact = if missing < 0.5 { -(-missing).ln_1p() } else { -((h as f64 + 1.0) / 2f64.powi(64)).ln() };
            let exact = exact / std::f64::consts::LN_2 * 2f64.powi(32);
            let found = negative_log2(h) as f64;
            prop_assert!((found - exact).abs() <= 1.0 + exact * 1e-13, "h {}: {} against {}", h, found, exact);
        }
    }
}

#[test]
fn nodes_without_weight_hold_nothing_and_an_empty_set_has_no_holders() {
    let nodes = set(&[0, 5, 0]);
    let only = nodes
        .nodes()
        .iter()
        .position(|node| node.allocated_storage_gb == 5)
        .unwrap();
    assert_eq!(holders(&chunk_id(1), &nodes, 3, &nobody), [only]);
    assert!(holders(&chunk_id(1), &set(&[]), 3, &nobody).is_empty());
    assert_eq!(placement_score(&chunk_id(1), &key(1), 0), None);
}

#[test]
fn while_fewer_nodes_than_the_factor_are_filled_everybody_counts_as_filled() {
    let mut nodes = set(&[10; 8]).nodes().to_vec();
    let everybody = NodeSet::new(nodes.clone());
    for filled in 0..3 {
        nodes
            .iter_mut()
            .zip(0..)
            .for_each(|(node, index)| node.filled = index < filled);
        let set = NodeSet::new(nodes.clone());
        for number in 0..100 {
            assert_eq!(held_by(&set, number, 3), held_by(&everybody, number, 3));
        }
    }
}

/// Each count is binomial: within five standard deviations of its mean, which fails once in some 100 000 keys; the keys are
/// fixed.
#[test]
fn chunks_fall_to_nodes_in_proportion_to_their_weights() {
    const CHUNKS: u64 = 50_000;
    let weights: Vec<u64> = (1..=20).collect();
    let nodes = set(&weights);
    let search = HolderSearch::new(&nodes, 1);
    let mut counts = vec![0u64; weights.len()];
    let mut best = Vec::new();
    for number in 0..CHUNKS {
        search.find(&chunk_id(number), nobody, &mut best);
        counts[best[0].index()] += 1;
    }
    let total: u64 = weights.iter().sum();
    for (node, count) in nodes.nodes().iter().zip(counts) {
        let share = node.allocated_storage_gb as f64 / total as f64;
        let (mean, deviation) = (CHUNKS as f64 * share, (CHUNKS as f64 * share * (1.0 - share)).sqrt());
        let off = (count as f64 - mean).abs() / deviation;
        assert!(
            off < 5.0,
            "weight {}: {count}, expected {mean:.0}",
            node.allocated_storage_gb
        );
    }
}

/// Copies that move when one of `nodes` joins or leaves, as a share of all copies; and the unavoidable share.
#[test]
fn a_join_moves_hardly_more_than_the_unavoidable_share() {
    const CHUNKS: u64 = 20_000;
    const FACTOR: usize = 3;
    for count in [5, 20, 50] {
        let large = set(&vec![10; count]);
        let small = without(&large, 0);
        let moved: usize = (0..CHUNKS)
            .map(|number| {
                let (before, after) = (held_by(&small, number, FACTOR), held_by(&large, number, FACTOR));
                after.difference(&before).count()
            })
            .sum();
        let share = moved as f64 / (CHUNKS as f64 * FACTOR as f64);
        let unavoidable = 1.0 / count as f64;
        assert!(
            share <= 1.1 * unavoidable,
            "{count} nodes: {share:.4} of the copies moved"
        );
        assert!(
            share >= 0.9 * unavoidable,
            "{count} nodes: the newcomer gets only {share:.4}"
        );
    }
}

#[test]
fn more_weight_takes_chunks_and_gives_none_away() {
    let before = set(&[10; 12]);
    let mut nodes = before.nodes().to_vec();
    nodes[4].allocated_storage_gb = 25;
    let (grown, after) = (nodes[4].placement_key, NodeSet::new(nodes));
    let mut taken = 0;
    for number in 0..2000 {
        let (held_before, held_after) = (held_by(&before, number, 3), held_by(&after, number, 3));
        let gained: Vec<&Digest> = held_after.difference(&held_before).collect();
        assert!(gained.is_empty() || gained == [&grown]);
        taken += gained.len();
    }
    assert!(taken > 0);
}

#[test]
fn the_log_line_names_nodes_in_the_order_of_their_ids_and_counts_the_rest() {
    let nodes: Vec<StorageNode> = (0..25)
        .map(|name| {
            let owner = KeyPair::generate(0).unwrap().get_public_key();
            StorageNode {
                node_id: Some(NodeId::new(owner)),
                ..node(key(name), 1, true)
            }
        })
        .collect();
    let short = |index: usize| nodes[index].node_id.unwrap().to_string()[..12].to_string();

    let three = log_line(&nodes, &[vec![0, 2], vec![2, 1], vec![2]]);
    let mut named = [(short(0), 1), (short(1), 1), (short(2), 3)];
    named.sort();
    let expected: Vec<String> = named.iter().map(|(id, count)| format!("{id}[{count}]")).collect();
    assert_eq!(three, format!("Chunks assigned to nodes: {}", expected.join(", ")));

    let all = log_line(&nodes, &[(0..25).collect()]);
    assert_eq!(all.matches("[1]").count(), 20);
    assert!(all.ends_with(" … and 5 more"), "{all}");
    assert_eq!(log_line(&nodes, &[]), "Chunks assigned to nodes: none");
}
