//! Who keeps an object alive.

use super::*;
use crate::Storage;
use massa_models::prehash::PreHashSet;

const SLOT: Slot = Slot { period: 3, thread: 4 };

fn set(ids: &[OperationId]) -> PreHashSet<OperationId> {
    ids.iter().copied().collect()
}

fn is_stored(storage: &Storage, id: &OperationId) -> bool {
    storage.read_operations().contains(id)
}

#[test]
fn what_one_handle_stores_every_handle_can_read() {
    let mut storage = Storage::create_root();
    let other = storage.clone_without_refs();
    let (block, operation, endorsement) = (
        empty_block(&alice(), SLOT),
        operation(&alice(), 1),
        endorsement(&alice(), SLOT),
    );
    storage.store_block(block.clone());
    storage.store_operations(vec![operation.clone()]);
    storage.store_endorsements(vec![endorsement.clone()]);

    let blocks = other.read_blocks();
    let stored_block = blocks.get(&block.id).unwrap();
    assert_eq!(stored_block.serialized_data, block.serialized_data);
    assert_eq!(other.read_operations().get(&operation.id), Some(&operation));
    assert_eq!(other.read_endorsements().get(&endorsement.id), Some(&endorsement));
}

#[test]
fn only_the_handle_that_stored_owns() {
    let mut storage = Storage::create_root();
    let other = storage.clone_without_refs();
    let [operation] = operations();
    storage.store_operations(vec![operation.clone()]);

    assert_eq!(*storage.get_op_refs(), set(&[operation.id]));
    assert!(other.get_op_refs().is_empty());
}

#[test]
fn dropping_the_last_owner_frees_all_three_kinds() {
    let root = Storage::create_root();
    let mut owner = root.clone_without_refs();
    let (block, operation, endorsement) = (
        empty_block(&alice(), SLOT),
        operation(&alice(), 1),
        endorsement(&alice(), SLOT),
    );
    owner.store_block(block.clone());
    owner.store_operations(vec![operation.clone()]);
    owner.store_endorsements(vec![endorsement.clone()]);
    drop(owner);

    assert!(!root.read_blocks().contains(&block.id));
    assert!(!root.read_operations().contains(&operation.id));
    assert!(!root.read_endorsements().contains(&endorsement.id));
}

#[test]
fn all_three_kinds_can_be_claimed_and_given_up() {
    let mut owner = Storage::create_root();
    let mut second = owner.clone_without_refs();
    let (block, operation, endorsement) = (
        empty_block(&alice(), SLOT),
        operation(&alice(), 1),
        endorsement(&alice(), SLOT),
    );
    let (blocks, operations, endorsements) = (
        [block.id].into_iter().collect(),
        set(&[operation.id]),
        [endorsement.id].into_iter().collect(),
    );
    owner.store_block(block);
    owner.store_operations(vec![operation]);
    owner.store_endorsements(vec![endorsement]);

    assert_eq!(second.claim_block_refs(&blocks), blocks);
    assert_eq!(second.claim_operation_refs(&operations), operations);
    assert_eq!(second.claim_endorsement_refs(&endorsements), endorsements);
    assert_eq!((second.get_block_refs(), second.get_op_refs()), (&blocks, &operations));
    assert_eq!(second.get_endorsement_refs(), &endorsements);

    second.drop_block_refs(&blocks);
    second.drop_operation_refs(&operations);
    second.drop_endorsement_refs(&endorsements);
    assert!(second.get_block_refs().is_empty() && second.get_op_refs().is_empty());
    assert!(second.get_endorsement_refs().is_empty());
}

#[test]
fn an_object_lives_until_its_last_owner_gives_it_up() {
    let mut first = Storage::create_root();
    let [operation] = operations();
    first.store_operations(vec![operation.clone()]);
    let mut second = first.clone();

    first.drop_operation_refs(&set(&[operation.id]));
    assert!(is_stored(&first, &operation.id));
    second.drop_operation_refs(&set(&[operation.id]));
    assert!(!is_stored(&first, &operation.id));
}

#[test]
fn of_two_objects_with_one_id_the_first_stays() {
    let mut storage = Storage::create_root();
    let [first, other] = operations();
    let mut second = first.clone();
    second.signature = other.signature;
    storage.store_operations(vec![first.clone(), second]);

    assert_eq!(
        storage.read_operations().get(&first.id).unwrap().signature,
        first.signature
    );
}

#[test]
fn storing_twice_owns_once() {
    let mut storage = Storage::create_root();
    let [operation] = operations();
    storage.store_operations(vec![operation.clone(), operation.clone()]);
    storage.store_operations(vec![operation.clone()]);
    storage.drop_operation_refs(&set(&[operation.id]));
    assert!(!is_stored(&storage, &operation.id));
}

#[test]
fn claiming_gives_what_is_alive_and_owns_once() {
    let mut owner = Storage::create_root();
    let [known, unknown] = operations();
    owner.store_operations(vec![known.clone()]);
    let mut second = owner.clone_without_refs();

    let wanted = set(&[known.id, unknown.id]);
    assert_eq!(second.claim_operation_refs(&wanted), set(&[known.id]));
    assert_eq!(second.claim_operation_refs(&wanted), set(&[known.id]));
    drop(owner);
    second.drop_operation_refs(&wanted);
    assert!(!is_stored(&second, &known.id));
}

#[test]
fn giving_up_what_is_not_owned_takes_nothing_from_the_owner() {
    let mut owner = Storage::create_root();
    let [operation] = operations();
    owner.store_operations(vec![operation.clone()]);
    let mut second = owner.clone_without_refs();

    second.drop_operation_refs(&set(&[operation.id]));
    assert!(is_stored(&owner, &operation.id));
}

#[test]
fn extend_moves_references_and_merges_common_ones() {
    let mut first = Storage::create_root();
    let [common, moved] = operations();
    first.store_operations(vec![common.clone()]);
    let mut second = first.clone();
    second.store_operations(vec![moved.clone()]);

    first.extend(second);
    assert_eq!(*first.get_op_refs(), set(&[common.id, moved.id]));
    first.drop_operation_refs(&set(&[common.id, moved.id]));
    assert!(!is_stored(&first, &common.id) && !is_stored(&first, &moved.id));
}

#[test]
fn split_off_moves_references_to_the_new_handle() {
    let mut storage = Storage::create_root();
    let [kept, moved] = operations();
    let block = empty_block(&alice(), SLOT);
    storage.store_block(block.clone());
    storage.store_operations(vec![kept.clone(), moved.clone()]);

    let split = storage.split_off(
        &[block.id].into_iter().collect(),
        &set(&[moved.id]),
        &PreHashSet::default(),
    );
    assert_eq!(*storage.get_op_refs(), set(&[kept.id]));
    assert_eq!(*split.get_op_refs(), set(&[moved.id]));
    assert!(storage.get_block_refs().is_empty() && split.get_block_refs().contains(&block.id));
    drop(split);
    assert!(is_stored(&storage, &kept.id) && !is_stored(&storage, &moved.id));
}

#[test]
#[should_panic(expected = "split_off of a reference that is not owned")]
fn splitting_off_what_is_not_owned_is_a_bug() {
    let mut storage = Storage::create_root();
    let [operation] = operations();
    let none = PreHashSet::default();
    storage.split_off(&PreHashSet::default(), &set(&[operation.id]), &none);
}

#[test]
fn replace_with_owns_exactly_what_the_other_owns() {
    let mut first = Storage::create_root();
    let [old, common, new] = operations();
    first.store_operations(vec![old.clone(), common.clone()]);
    let mut second = first.clone_without_refs();
    second.store_operations(vec![common.clone(), new.clone()]);

    first.replace_with(&second);
    assert_eq!(first.get_op_refs(), second.get_op_refs());
    assert!(!is_stored(&first, &old.id));
    drop(second);
    assert!(is_stored(&first, &common.id) && is_stored(&first, &new.id));
}

#[test]
fn owning_a_block_does_not_own_its_operations() {
    let mut storage = Storage::create_root();
    let [operation] = operations();
    storage.store_operations(vec![operation.clone()]);
    let mut second = storage.clone_without_refs();
    second.store_block(block(&alice(), SLOT, vec![operation.id], Vec::new()));
    drop(storage);
    assert!(!is_stored(&second, &operation.id));
}

#[test]
fn two_roots_share_nothing() {
    let (mut first, second) = (Storage::create_root(), Storage::create_root());
    let [operation] = operations();
    first.store_operations(vec![operation.clone()]);
    assert!(!is_stored(&second, &operation.id));
}

#[test]
fn debug_text_does_not_grow_with_the_content() {
    let mut storage = Storage::create_root();
    let empty = format!("{storage:?}");
    storage.store_operations(operations::<3>().into());
    assert_eq!(format!("{storage:?}"), empty);
}
