//! Proofs of single leaves: they show what is archived, and with anything in them changed they show nothing.

mod common;

use common::*;
use massa_distributed_storage_exports::leaf_proof::ChunkLeafProof;
use massa_distributed_storage_exports::merkle::{leaf_hash, MerkleTree};
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::ChunkId;
use massa_tests::filler;

/// A chunk of `length` bytes with the proofs of some of its leaves.
fn chunk_proofs(length: usize, count: usize) -> (TableChunk, Vec<ChunkLeafProof>) {
    let bytes = filler(length);
    let leaves: Vec<&[u8]> = bytes.chunks(LEAF_BYTES).collect();
    let hashes: Vec<Digest> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    let tree = MerkleTree::new(&hashes);
    let step = leaves.len().div_ceil(count);
    let indexes = (0..leaves.len()).step_by(step).chain([leaves.len() - 1]);
    let proof = |index: usize| ChunkLeafProof {
        index: index as u32,
        bytes: leaves[index].to_vec(),
        path: tree.path(index as u32).unwrap(),
    };
    (chunk_entry(&bytes), indexes.map(proof).collect())
}

#[test]
fn a_chunk_leaf_is_proven_and_no_other_leaf_position_or_chunk() {
    for length in [1, 1023, 1024, 1025, 3 * 1024, 65 * 1024 + 7, 130_000] {
        let (entry, proofs) = chunk_proofs(length, 3);
        for proof in &proofs {
            assert_eq!(proof.verify(&entry), Ok(()));
            assert_leaf_proves_only(proof, &entry);
        }
    }
}

fn assert_leaf_proves_only(proof: &ChunkLeafProof, entry: &TableChunk) {
    for offset in 0..proof.bytes.len() {
        let bytes = damaged(&proof.bytes, offset);
        assert!(ChunkLeafProof { bytes, ..proof.clone() }.verify(entry).is_err());
    }
    for path in changed_paths(&proof.path) {
        assert!(ChunkLeafProof { path, ..proof.clone() }.verify(entry).is_err());
    }
    for index in (0..=entry.leaf_count()).filter(|index| *index != proof.index) {
        assert!(ChunkLeafProof { index, ..proof.clone() }.verify(entry).is_err());
    }
    for id in changed_digests(entry.id.as_bytes()) {
        let id = ChunkId::from_bytes(id);
        assert!(proof.verify(&TableChunk { id, ..*entry }).is_err());
    }
    for change in [-1, 1] {
        let mut bytes = proof.bytes.clone();
        bytes.resize((bytes.len() as i32 + change) as usize, 0);
        assert!(ChunkLeafProof { bytes, ..proof.clone() }.verify(entry).is_err());
    }
}
