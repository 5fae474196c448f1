//! Properties: the tree against a second implementation, encodings against damage.

mod common;

use common::*;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::merkle::{leaf_hash, path_in_hashes, root_of_hashes, MerkleProof, MerkleTree};
use massa_distributed_storage_exports::period::UnsignedRecord;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::Digest;
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
        prop_assert_eq!(path_in_hashes(leaves.clone(), index as u32), Some(path.clone()));
        prop_assert_eq!(path_in_hashes(leaves.clone(), leaves.len() as u32), None);
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
        let _ = UnsignedRecord::parse(&bytes).map(|record| record.view(threads).is_ok());
        let _ = SegmentTable::from_bytes(&bytes);
        let _ = PeriodEntry::from_bytes(&bytes, threads);
    }
}
