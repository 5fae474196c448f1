//! Known answers: the tree, the leaves, bodies, manifests and roots of format 1. A change here is a new format version.

mod common;

use common::*;
use massa_distributed_storage_exports::body::PeriodBody;
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, PeriodHeader, PeriodLeaf, Place};
use massa_distributed_storage_exports::merkle::{leaf_hash, root_of_leaves, MerkleTree};
use massa_distributed_storage_exports::segment::{SegmentHeader, SegmentLeaf, SegmentTree};
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, ChunkIndex, PeriodRoot};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_tests::archive_vectors::{filler, ArchiveVectors, PeriodVector, SegmentVector};
use massa_tests::data_path;
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

fn shape() -> PeriodHeader {
    PeriodHeader {
        chain_id: 0x0102_0304_0506_0708,
        period: 9,
        threads: 2,
        chunk_size: 0x0002_0000,
        body_length: 0x0002_0001,
        chunks: 2,
    }
}

fn block_id(number: u8) -> BlockId {
    BlockId::new(Hash::from_bytes(&digest(number)))
}

/// Ends a line of hexadecimal digits with the digits of a hash made of one byte.
fn with_digest(start: &str, number: u8) -> String {
    format!("{start}{}", hex::encode(digest(number)))
}

#[test]
fn leaves_of_a_period_are_frozen() {
    let place = |thread, block| PeriodLeaf::Place { thread, block };
    let entry = ChunkEntry {
        length: 1,
        id: ChunkId::from_bytes(digest(0xbb)),
    };
    let index = ChunkIndex(0x0a0b_0c0d);
    let hex_of = |leaf: PeriodLeaf| hex::encode(leaf.to_bytes());

    assert_eq!(
        hex_of(PeriodLeaf::Header(shape())),
        "01010807060504030201090000000000000002000002000100020000000000\
         02000000"
    );
    assert_eq!(hex_of(place(5, None)), "020500");
    assert_eq!(hex_of(place(5, Some(block_id(0xaa)))), with_digest("02050100", 0xaa));
    assert_eq!(
        hex_of(PeriodLeaf::Chunk { index, entry }),
        with_digest("030d0c0b0a01000000", 0xbb)
    );
}

#[test]
fn leaves_of_a_segment_are_frozen() {
    let header = SegmentHeader {
        chain_id: 1,
        segment: 2,
        first_period: 3,
        periods: 4,
        previous: digest(0xcc),
    };
    let root = PeriodRoot::from_bytes(digest(0xdd));

    assert_eq!(
        hex::encode(SegmentLeaf::Header(header).to_bytes()),
        with_digest("0401000000000000000200000000000000030000000000000004000000", 0xcc)
    );
    assert_eq!(
        hex::encode(SegmentLeaf::Period { period: 6, root }.to_bytes()),
        with_digest("050600000000000000", 0xdd)
    );
}

#[test]
fn the_manifest_is_frozen() {
    let length_and_id = |length, number| ChunkEntry {
        length,
        id: ChunkId::from_bytes(digest(number)),
    };
    let block = Place::Block {
        id: block_id(0xaa),
        offset: 19,
        objects_before: 0,
    };
    let manifest = Manifest {
        header: shape(),
        places: vec![Place::Miss, block],
        chunks: vec![length_and_id(0x0002_0000, 0xbb), length_and_id(1, 0xcc)],
    };

    let expected = [
        "01080706050403020109000000000000000200000200010002000000000002000000".to_string(),
        "00".to_string(),
        with_digest("0100", 0xaa) + "1300000000000000",
        with_digest("00000200", 0xbb),
        with_digest("01000000", 0xcc),
    ];
    assert_eq!(hex::encode(manifest.to_bytes()), expected.concat());
    assert_eq!(Manifest::from_bytes(&manifest.to_bytes()), Ok(manifest));
}

fn lost_period() -> Manifest {
    let parameters = ArchiveParameters {
        chunk_size: 0x0002_0000,
        ..ArchiveParameters::new(0x0102_0304_0506_0708, 2)
    };
    Manifest::lost(&parameters, 9, &[None, Some(block_id(0xaa))])
}

#[test]
fn the_manifest_of_a_lost_period_is_frozen() {
    let expected = [
        "81080706050403020109000000000000000200000200000000000000000000000000".to_string(),
        "00".to_string(),
        with_digest("0100", 0xaa),
    ];
    assert_eq!(hex::encode(lost_period().to_bytes()), expected.concat());
    assert_eq!(Manifest::from_bytes(&lost_period().to_bytes()), Ok(lost_period()));
}

/// The flag is in the header leaf, so the root commits to it.
#[test]
fn the_root_of_a_lost_period_is_frozen() {
    let leaves = [
        "0181080706050403020109000000000000000200000200000000000000000000000000".to_string(),
        "020000".to_string(),
        with_digest("02010100", 0xaa),
    ];
    let [header, miss, block] =
        leaves.map(|leaf| *blake3::hash(&[&[0], &hex::decode(leaf).unwrap()[..]].concat()).as_bytes());
    let node = |left: Digest, right: Digest| *blake3::hash(&[&[1], &left[..], &right[..]].concat()).as_bytes();

    assert_eq!(
        lost_period().root(),
        PeriodRoot::from_bytes(node(node(header, miss), block))
    );
    assert_eq!(
        hex::encode(lost_period().root().as_bytes()),
        "0aca5d509e0a8750307342cbd1f4ec3c411ee36aef132215bdfc0b56183b4214"
    );
}

#[test]
fn period_archives_are_those_of_the_independent_implementation() {
    let vectors = ArchiveVectors::read();
    assert_eq!(vectors.periods.len(), 12);
    for vector in &vectors.periods {
        let body = encode(vector.period, &vector.places(&vectors.blocks()));
        check_body(&body, vector);
        check_manifest(&manifest_of(&body, vector.chunk_size), vector);
    }
}

fn check_body(body: &PeriodBody, vector: &PeriodVector) {
    let hash_of = |bytes: &[u8]| blake3::hash(bytes).to_hex().to_string();
    assert_eq!(body.bytes.len(), vector.body_length, "{}", vector.name);
    assert_eq!(hash_of(&body.bytes), vector.body_hash, "{}", vector.name);
    assert_eq!(hash_of(&body.signatures), vector.signatures_hash, "{}", vector.name);
}

fn check_manifest(manifest: &Manifest, vector: &PeriodVector) {
    let hash = blake3::hash(&manifest.to_bytes()).to_hex().to_string();
    assert_eq!(manifest.chunks, vector.chunk_entries(), "{}", vector.name);
    assert_eq!(hash, vector.manifest_hash, "{}", vector.name);
    assert_eq!(manifest.root(), vector.period_root, "{}", vector.name);
}

fn segment_header(vector: &SegmentVector) -> SegmentHeader {
    SegmentHeader {
        chain_id: vector.chain_id,
        segment: vector.segment,
        first_period: vector.first_period,
        periods: vector.period_roots.len() as u32,
        previous: vector.previous.to_bytes(),
    }
}

#[test]
fn segments_are_those_of_the_independent_implementation() {
    let vectors = ArchiveVectors::read();
    assert_eq!(vectors.segments.len(), 2);
    for vector in &vectors.segments {
        let tree = SegmentTree::new(segment_header(vector), &vector.period_roots);

        assert_eq!(tree.root(), vector.root, "{}", vector.name);
    }
}
