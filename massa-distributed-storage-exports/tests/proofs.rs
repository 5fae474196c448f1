//! Proofs: they show what is archived, and with anything in them changed they show nothing.

mod common;

use common::*;
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, PeriodLeaf};
use massa_distributed_storage_exports::merkle::{leaf_hash, MerkleProof, MerkleTree};
use massa_distributed_storage_exports::proof::{ArchivePath, ChunkLeafProof};
use massa_distributed_storage_exports::segment::{SegmentHeader, SegmentTree};
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, PeriodRoot, SegmentRoot};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_tests::archive_vectors::filler;
use proptest::prelude::*;

/// A segment in which `manifest` is one of the periods.
#[derive(Debug)]
struct Segment {
    header: SegmentHeader,
    roots: Vec<PeriodRoot>,
}

impl Segment {
    fn around(manifest: &Manifest, periods: usize, position: usize) -> Self {
        let mut roots: Vec<PeriodRoot> = (0..periods).map(|i| PeriodRoot::from_bytes(digest(i as u8))).collect();
        roots[position] = manifest.root();
        let header = SegmentHeader {
            chain_id: manifest.header.chain_id,
            segment: 3,
            first_period: manifest.header.period - position as u64,
            periods: periods as u32,
            previous: digest(0),
        };
        Self { header, roots }
    }

    fn tree(&self) -> SegmentTree {
        SegmentTree::new(self.header, &self.roots)
    }

    fn prove(&self, period: u64, (leaf, period_path): (PeriodLeaf, MerkleProof)) -> (PeriodLeaf, ArchivePath) {
        let segment_path = self.tree().path(period).unwrap();
        let path = ArchivePath {
            period,
            period_path,
            segment_path,
        };
        (leaf, path)
    }
}

/// A manifest in a segment.
fn archived() -> impl Strategy<Value = (Manifest, Segment)> {
    (manifest(), 1usize..=100, any::<prop::sample::Index>()).prop_map(|(mut manifest, periods, position)| {
        let position = position.index(periods);
        manifest.header.period = manifest.header.period.clamp(position as u64, u64::MAX - 100);
        let segment = Segment::around(&manifest, periods, position);
        (manifest, segment)
    })
}

/// Every leaf that differs from `leaf` in one field, or in one bit of one byte of its id.
fn changed_leaves(leaf: &PeriodLeaf) -> Vec<PeriodLeaf> {
    let changed_ids = |hash: &Digest| changed_digests(hash);
    match *leaf {
        PeriodLeaf::Header(_) => Vec::new(),
        PeriodLeaf::Place { thread, block } => {
            let elsewhere = (0..8).map(|bit| PeriodLeaf::Place {
                thread: thread ^ (1 << bit),
                block,
            });
            let hash = block.map_or(digest(0), |id| *id.get_hash().to_bytes());
            let mut blocks: Vec<Option<BlockId>> = changed_ids(&hash)
                .iter()
                .map(|hash| Some(BlockId::new(Hash::from_bytes(hash))))
                .collect();
            blocks.extend(block.is_some().then_some(None));
            let other = blocks.into_iter().map(|block| PeriodLeaf::Place { thread, block });
            elsewhere.chain(other).collect()
        }
        PeriodLeaf::Chunk { index, entry } => {
            let ids = changed_ids(entry.id.as_bytes()).into_iter().map(ChunkId::from_bytes);
            let other = ids.map(|id| (index, ChunkEntry { id, ..entry }));
            let bits = 0..32;
            let elsewhere = bits.clone().map(|bit| (ChunkIndex(index.0 ^ (1 << bit)), entry));
            let lengths = bits.map(|bit| entry.length ^ (1 << bit));
            let longer = lengths.map(|length| (index, ChunkEntry { length, ..entry }));
            let all = other.chain(elsewhere).chain(longer);
            all.map(|(index, entry)| PeriodLeaf::Chunk { index, entry }).collect()
        }
    }
}

/// Checks that a proof holds, and that with anything in it changed it does not.
fn assert_proves_only(leaf: &PeriodLeaf, path: &ArchivePath, root: &SegmentRoot) {
    assert_eq!(path.verify(leaf, root), Ok(()));
    for changed in changed_leaves(leaf) {
        assert!(path.verify(&changed, root).is_err(), "{changed:?}");
    }
    for changed in changed_digests(root.as_bytes()) {
        assert!(path.verify(leaf, &SegmentRoot::from_bytes(changed)).is_err());
    }
    for bit in 0..64 {
        let mut changed = path.clone();
        changed.period ^= 1 << bit;
        assert!(changed.verify(leaf, root).is_err(), "period {}", changed.period);
    }
    for period_path in changed_paths(&path.period_path) {
        let changed = ArchivePath {
            period_path,
            ..path.clone()
        };
        assert!(changed.verify(leaf, root).is_err(), "{:?}", changed.period_path);
    }
    for segment_path in changed_paths(&path.segment_path) {
        let changed = ArchivePath {
            segment_path,
            ..path.clone()
        };
        assert!(changed.verify(leaf, root).is_err(), "{:?}", changed.segment_path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_place_of_a_block_and_a_miss_are_proven(
        (manifest, segment) in archived(),
        thread in any::<prop::sample::Index>(),
    ) {
        let thread = thread.index(manifest.places.len());
        let proof = manifest.prove_place(thread as u8).unwrap();
        let (leaf, path) = segment.prove(manifest.header.period, proof);

        let block = manifest.places[thread].block_id();
        prop_assert_eq!(leaf, PeriodLeaf::Place { thread: thread as u8, block });
        prop_assert_eq!(path.period_root(&leaf), Ok(manifest.root()));
        assert_proves_only(&leaf, &path, &segment.tree().root());
    }

    #[test]
    fn a_chunk_is_proven(
        (manifest, segment) in archived(),
        index in any::<prop::sample::Index>(),
    ) {
        let index = index.index(manifest.chunks.len());
        let entry = manifest.chunks[index];
        let index = ChunkIndex(index as u32);
        let proof = manifest.prove_chunk(index).unwrap();
        let (leaf, path) = segment.prove(manifest.header.period, proof);

        prop_assert_eq!(leaf, PeriodLeaf::Chunk { index, entry });
        assert_proves_only(&leaf, &path, &segment.tree().root());
    }

    #[test]
    fn what_is_not_there_has_no_path((manifest, segment) in archived()) {
        let end = segment.header.first_period + u64::from(segment.header.periods);
        let outside = [segment.header.first_period.checked_sub(1), Some(end), Some(u64::MAX)];

        prop_assert!(outside.into_iter().flatten().all(|period| segment.tree().path(period).is_none()));
        prop_assert!(manifest.prove_place(manifest.header.threads).is_none());
        prop_assert!(manifest.prove_chunk(ChunkIndex(manifest.header.chunks)).is_none());
    }
}

/// A chunk of `length` bytes with the proofs of some of its leaves.
fn chunk_proofs(length: usize, count: usize) -> (ChunkEntry, Vec<ChunkLeafProof>) {
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

fn assert_leaf_proves_only(proof: &ChunkLeafProof, entry: &ChunkEntry) {
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
        assert!(proof.verify(&ChunkEntry { id, ..*entry }).is_err());
    }
    for change in [-1, 1] {
        let mut bytes = proof.bytes.clone();
        bytes.resize((bytes.len() as i32 + change) as usize, 0);
        assert!(ChunkLeafProof { bytes, ..proof.clone() }.verify(entry).is_err());
    }
}
