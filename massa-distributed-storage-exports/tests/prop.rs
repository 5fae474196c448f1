//! Properties: the tree against a second implementation, encodings against damage.

mod common;

use common::*;
use massa_distributed_storage_exports::body::{objects_ending_by, signature_range, BodyEntry, BodyHeader, PeriodBody};
use massa_distributed_storage_exports::manifest::{Manifest, PeriodLeaf, Place};
use massa_distributed_storage_exports::merkle::{leaf_hash, root_of_hashes, MerkleProof, MerkleTree};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::{Digest, SIGNATURE_BYTES};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkIndex};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_tests::{Generator, GeneratorConfig};
use proptest::collection::vec;
use proptest::prelude::*;

/// Node hash and split of RFC 6962, section 2.1, as they are written there.
mod rfc6962 {
    use super::Digest;

    fn split(leaves: &[Digest]) -> (&[Digest], &[Digest]) {
        let largest_power_of_two_below = 1 << (leaves.len() - 1).ilog2();
        leaves.split_at(largest_power_of_two_below)
    }

    pub fn root(leaves: &[Digest]) -> Digest {
        if let [leaf] = leaves {
            return *leaf;
        }
        let (left, right) = split(leaves);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[1]).update(&root(left)).update(&root(right));
        *hasher.finalize().as_bytes()
    }

    /// Siblings from the leaf up, and whether each stands on the left.
    pub fn path(leaves: &[Digest], index: usize) -> Vec<(Digest, bool)> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let (left, right) = split(leaves);
        if index < left.len() {
            let mut siblings = path(left, index);
            siblings.push((root(right), false));
            siblings
        } else {
            let mut siblings = path(right, index - left.len());
            siblings.push((root(left), true));
            siblings
        }
    }
}

fn reference_path(leaves: &[Digest], index: usize) -> MerkleProof {
    let path = rfc6962::path(leaves, index);
    let left = |(level, (_, left)): (usize, &(Digest, bool))| u16::from(*left) << level;
    MerkleProof {
        directions: path.iter().enumerate().map(left).sum(),
        siblings: path.iter().map(|(sibling, _)| *sibling).collect(),
    }
}

/// Leaves and the position of one.
fn leaves_and_index(max: usize) -> impl Strategy<Value = (Vec<Digest>, usize)> {
    vec(any::<Digest>(), 1..=max).prop_flat_map(|leaves| {
        let count = leaves.len();
        (Just(leaves), 0..count)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_tree_is_that_of_rfc_6962((leaves, index) in leaves_and_index(300)) {
        let tree = MerkleTree::new(&leaves);
        let root = rfc6962::root(&leaves);

        prop_assert_eq!(tree.root(), root);
        prop_assert_eq!(root_of_hashes(leaves.clone()), root);
        let path = tree.path(index as u32).unwrap();
        prop_assert_eq!(&path, &reference_path(&leaves, index));
        path.verify(leaves[index], &root).unwrap();
        path.verify_at(leaves[index], index as u32, leaves.len() as u32, &root).unwrap();
    }

    #[test]
    fn a_path_proves_no_other_leaf_position_or_root((leaves, index) in leaves_and_index(70)) {
        let (leaf, count) = (leaves[index], leaves.len() as u32);
        let tree = MerkleTree::new(&leaves);
        let (path, root) = (tree.path(index as u32).unwrap(), tree.root());

        for changed in changed_paths(&path) {
            prop_assert!(changed.verify_at(leaf, index as u32, count, &root).is_err());
            prop_assert!(changed.verify(leaf, &root).is_err());
        }
        for changed in changed_digests(&leaf) {
            prop_assert!(path.verify_at(changed, index as u32, count, &root).is_err());
        }
        for changed in changed_digests(&root) {
            prop_assert!(path.verify_at(leaf, index as u32, count, &changed).is_err());
        }
        for other in (0..=count).filter(|other| *other != index as u32) {
            prop_assert!(path.verify_at(leaf, other, count, &root).is_err());
        }
    }

    /// The root does not commit to the number of leaves. What a path does show is its own shape, so a wrong number is
    /// noticed exactly where the path of the leaf would have another one.
    #[test]
    fn a_path_fits_only_trees_in_which_its_leaf_has_that_shape(
        (leaves, index) in leaves_and_index(70),
        other in 1u32..100,
    ) {
        let tree = MerkleTree::new(&leaves);
        let path = tree.path(index as u32).unwrap();

        let result = path.verify_at(leaves[index], index as u32, other, &tree.root());

        let other_path = (index < other as usize)
            .then(|| reference_path(&vec![digest(0); other as usize], index));
        let fits = other_path.is_some_and(|other| {
            other.directions == path.directions && other.siblings.len() == path.siblings.len()
        });
        prop_assert_eq!(result.is_ok(), fits);
    }
}

#[test]
fn every_leaf_of_every_small_tree_has_its_path_and_no_other_leaf_has_one() {
    for count in 1..=130u8 {
        let leaves: Vec<Digest> = (0..count).map(|number| leaf_hash(&[number])).collect();
        let tree = MerkleTree::new(&leaves);
        for index in 0..usize::from(count) {
            assert_eq!(tree.path(index as u32), Some(reference_path(&leaves, index)));
        }
        assert_eq!(tree.path(u32::from(count)), None);
        assert_eq!(tree.path(u32::MAX), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_manifest_is_read_as_it_was_written(manifest in manifest()) {
        prop_assert_eq!(Manifest::from_bytes(&manifest.to_bytes()), Ok(manifest));
    }

    #[test]
    fn a_truncated_manifest_is_an_error(manifest in manifest()) {
        let bytes = manifest.to_bytes();
        for length in 0..bytes.len() {
            prop_assert!(Manifest::from_bytes(&bytes[..length]).is_err(), "{} bytes", length);
        }
    }

    #[test]
    fn a_changed_manifest_has_another_root_or_only_other_offsets(manifest in manifest(), bit in 0u8..8) {
        let bytes = manifest.to_bytes();
        for offset in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[offset] ^= 1 << bit;
            let Ok(changed) = Manifest::from_bytes(&changed) else { continue };
            let only_offsets = changed.leaves().eq(manifest.leaves()) && changed.places != manifest.places;
            prop_assert!(changed.root() != manifest.root() || only_offsets, "byte {}", offset);
        }
    }
}

/// A manifest of a lost period with at least one block.
fn lost_manifest() -> impl Strategy<Value = Manifest> {
    let ids = vec(proptest::option::of(any::<u8>()), 1..40);
    (ids, any::<u64>()).prop_filter_map("no block", |(ids, period)| {
        ids.iter().any(Option::is_some).then(|| {
            let id = |number: &Option<u8>| number.map(|number| BlockId::new(Hash::from_bytes(&digest(number))));
            let ids: Vec<Option<BlockId>> = ids.iter().map(id).collect();
            let parameters = ArchiveParameters::new(77, ids.len() as u8);
            Manifest::lost(&parameters, period, &ids)
        })
    })
}

proptest! {
    #[test]
    fn a_lost_manifest_is_read_as_it_was_written(manifest in lost_manifest()) {
        let bytes = manifest.to_bytes();
        let has_body = manifest.places.iter().any(|place| matches!(place, Place::Block { .. }));
        prop_assert!(manifest.is_lost() && !has_body);
        for length in 0..bytes.len() {
            prop_assert!(Manifest::from_bytes(&bytes[..length]).is_err(), "{} bytes", length);
        }
        prop_assert_eq!(Manifest::from_bytes(&bytes), Ok(manifest));
    }

    /// No offsets: the root commits to every bit. And no change of one bit makes an ordinary period of a lost one.
    #[test]
    fn a_changed_lost_manifest_has_another_root_and_stays_lost(manifest in lost_manifest(), bit in 0u8..8) {
        let bytes = manifest.to_bytes();
        for offset in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[offset] ^= 1 << bit;
            let Ok(changed) = Manifest::from_bytes(&changed) else { continue };
            prop_assert!(changed.root() != manifest.root() && changed.is_lost(), "byte {}", offset);
        }
    }

    #[test]
    fn the_ids_of_a_lost_period_are_proven(manifest in lost_manifest()) {
        let header = PeriodLeaf::Header(manifest.header);
        manifest.tree().path(0).unwrap().verify(header.hash(), manifest.root().as_bytes()).unwrap();
        for thread in 0..manifest.header.threads {
            let (leaf, path) = manifest.prove_place(thread).unwrap();
            path.verify(leaf.hash(), manifest.root().as_bytes()).unwrap();
            prop_assert_eq!(manifest.block_range(thread), None);
        }
        prop_assert_eq!(manifest.prove_chunk(ChunkIndex(0)), None);
    }
}

/// A record that is not a block: encoding and splitting look at lengths only.
fn objects() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 98..300), 1..6)
}

fn record_of(objects: &[Vec<u8>]) -> BlockRecord {
    BlockRecord::new(&objects[0], &objects[1..]).unwrap()
}

proptest! {
    #[test]
    fn a_record_gives_back_its_objects(objects in objects()) {
        let record = record_of(&objects);

        prop_assert!(record.objects().eq(objects.iter()));
        prop_assert!(record.operations().eq(objects[1..].iter()));
        prop_assert_eq!(record.block(), &objects[0]);
        prop_assert_eq!(record.operation_count(), objects.len() - 1);
        prop_assert_eq!(BlockRecord::from_bytes(record.as_bytes().to_vec()), Ok(record));
    }

    #[test]
    fn a_truncated_or_extended_record_is_an_error(objects in objects(), surplus in 1usize..9) {
        let record = record_of(&objects);
        let bytes = record.as_bytes();
        for length in 0..bytes.len() {
            prop_assert!(BlockRecord::from_bytes(bytes[..length].to_vec()).is_err());
        }
        let extended = [bytes, &vec![0; surplus]].concat();
        prop_assert!(BlockRecord::from_bytes(extended).is_err());
    }

    #[test]
    fn what_is_read_as_a_record_is_written_alike(objects in objects(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = record_of(&objects).as_bytes().to_vec();
        let offset = at.index(bytes.len());
        bytes[offset] = byte;
        if let Ok(record) = BlockRecord::from_bytes(bytes.clone()) {
            let operations: Vec<Vec<u8>> = record.operations().map(<[u8]>::to_vec).collect();
            prop_assert_eq!(record.as_bytes(), &bytes);
            prop_assert_eq!(BlockRecord::new(record.block(), &operations), Ok(record));
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_without_panic(bytes in vec(any::<u8>(), 0..400), threads: u8) {
        let _ = BlockRecord::from_bytes(bytes.clone());
        let _ = PeriodBody::decode(&bytes, threads);
        let _ = Manifest::from_bytes(&bytes);
        let _ = BodyEntry::parse(&bytes).map(|entry| entry.view(threads).is_ok());
    }
}

#[test]
fn a_period_of_upstream_blocks_is_read_as_it_was_written() {
    for period in periods() {
        let places = places_of(period);
        let body = encode(period, &places);

        let decoded = PeriodBody::decode(&body.bytes, THREADS).unwrap();
        assert_eq!(decoded.header, header_of(period));
        assert_eq!(decoded.records(&body.signatures), Ok(places));
    }
}

#[test]
fn a_block_is_read_from_the_range_that_the_manifest_names() {
    for period in periods() {
        let places = places_of(period);
        let body = encode(period, &places);
        let manifest = manifest_of(&body, 1 << 16);
        for (thread, place) in places.iter().enumerate() {
            let range = manifest.block_range(thread as u8);
            assert_eq!(range.is_some(), place.is_some());
            let Some(range) = range else { continue };
            let entry = BodyEntry::parse(&body.bytes[range.start as usize..range.end as usize]).unwrap();
            let first = objects_ending_by(&body.object_ends, range.start);
            let signatures = &body.signatures[first * SIGNATURE_BYTES..][..entry.object_count() * SIGNATURE_BYTES];
            assert_eq!(entry.record(signatures).ok(), *place);
            assert_eq!(body.places[thread], manifest.places[thread]);
            let Place::Block { objects_before, .. } = manifest.places[thread] else {
                panic!("a block has a range")
            };
            assert_eq!(objects_before as usize, first);
        }
        assert_eq!(manifest.block_range(THREADS), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_generated_period_is_read_as_it_was_written(seed: u64, thread_count in 1u8..9, miss_rate in 0.0..1.0) {
        let mut generator = Generator::new(GeneratorConfig {
            seed,
            thread_count,
            miss_rate,
            endorsements_per_block: 1,
            ..GeneratorConfig::default()
        });
        let ArchiveParameters { chain_id, first_period, .. } = generator.parameters();
        let places = generator.next_period();
        let header = BodyHeader {
            chain_id,
            period: first_period,
            threads: thread_count,
        };

        let records: Vec<_> = places.iter().map(Option::as_ref).collect();
        let body = PeriodBody::encode(header, &records).unwrap();

        let decoded = PeriodBody::decode(&body.bytes, thread_count).unwrap();
        prop_assert_eq!(decoded.header, header);
        prop_assert_eq!(decoded.records(&body.signatures), Ok(places));
    }
}

/// Two blocks, so that damage can also hit the border between them.
fn small_body() -> PeriodBody {
    let period = periods()[0];
    let blocks = places_of(period).into_iter().enumerate();
    let mut blocks = blocks.filter(|(_, place)| place.is_some());
    let mut places = vec![None; usize::from(THREADS)];
    for (thread, block) in blocks.by_ref().take(2) {
        places[thread] = block;
    }
    encode(period, &places)
}

#[test]
fn a_truncated_body_is_an_error() {
    let body = small_body();
    for length in 0..body.bytes.len() {
        assert!(
            PeriodBody::decode(&body.bytes[..length], THREADS).is_err(),
            "{length} bytes"
        );
    }
}

#[test]
fn whatever_is_read_as_a_body_is_written_alike() {
    let body = small_body();
    for offset in 0..body.bytes.len() {
        let bytes = damaged(&body.bytes, offset);
        let Ok(decoded) = PeriodBody::decode(&bytes, THREADS) else {
            continue;
        };
        let places = decoded.records(&body.signatures).unwrap();
        let records: Vec<_> = places.iter().map(Option::as_ref).collect();
        let again = PeriodBody::encode(decoded.header, &records).unwrap();
        assert_eq!(again.bytes, bytes, "byte {offset}");
    }
}

proptest! {
    /// Each signature travels with the chunk in which its object ends: wherever a body is cut, every signature goes
    /// with exactly one piece.
    #[test]
    fn signatures_are_shared_out_among_the_pieces_of_a_body(cuts in vec(0u64..200_000, 0..6)) {
        let period = periods()[0];
        let body = encode(period, &places_of(period));
        let mut borders = [cuts, vec![0, body.bytes.len() as u64]].concat();
        borders.sort_unstable();

        let pieces = borders.windows(2).map(|border| signature_range(&body.object_ends, border[0]..border[1]));
        let shared_out: Vec<u8> = pieces.flat_map(|range| body.signatures[range].to_vec()).collect();

        let end = *borders.last().unwrap();
        let all = objects_ending_by(&body.object_ends, end) * SIGNATURE_BYTES;
        prop_assert_eq!(all, body.signatures.len());
        prop_assert_eq!(shared_out, body.signatures);
    }
}
