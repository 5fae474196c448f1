//! Known answers: the tree and its paths.

use massa_distributed_storage_exports::merkle::{leaf_hash, root_of_leaves, MerkleTree};
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_tests::{data_path, filler};
use serde::Deserialize;

#[derive(Deserialize)]
struct MerkleVectors {
    vectors: Vec<MerkleVector>,
}

#[derive(Deserialize)]
struct MerkleVector {
    bytes: usize,
    leaves: usize,
    root: String,
    paths: Vec<PathVector>,
}

#[derive(Deserialize)]
struct PathVector {
    leaf: u32,
    siblings: Vec<String>,
}

fn merkle_vectors() -> Vec<MerkleVector> {
    let text = std::fs::read(data_path("merkle-vectors.json")).unwrap();
    let file: MerkleVectors = serde_json::from_slice(&text).unwrap();
    assert!(!file.vectors.is_empty());
    file.vectors
}

fn leaf_hashes(content: &[u8]) -> Vec<Digest> {
    content.chunks(LEAF_BYTES).map(leaf_hash).collect()
}

#[test]
fn roots_are_those_of_the_independent_implementation() {
    for vector in merkle_vectors() {
        let content = filler(vector.bytes);
        let hashes = leaf_hashes(&content);

        assert_eq!(hashes.len(), vector.leaves);
        assert_eq!(hex::encode(MerkleTree::new(&hashes).root()), vector.root);
        let root = root_of_leaves(content.chunks(LEAF_BYTES));
        assert_eq!(hex::encode(root), vector.root);
    }
}

#[test]
fn paths_are_those_of_the_independent_implementation() {
    for vector in merkle_vectors() {
        let hashes = leaf_hashes(&filler(vector.bytes));
        let tree = MerkleTree::new(&hashes);
        for expected in &vector.paths {
            let path = tree.path(expected.leaf).unwrap();
            let siblings: Vec<String> = path.siblings.iter().map(hex::encode).collect();

            assert_eq!(siblings, expected.siblings);
            let leaf = hashes[expected.leaf as usize];
            path.verify_at(leaf, expected.leaf, vector.leaves as u32, &tree.root())
                .unwrap();
        }
    }
}
