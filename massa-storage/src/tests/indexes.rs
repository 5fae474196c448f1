//! Every way to find an object, and that it ends with the object.

use super::*;
use crate::Storage;
use massa_models::prehash::PreHashSet;
use std::ops::Bound;

fn slot(period: u64, thread: u8) -> Slot {
    Slot { period, thread }
}

fn ids(blocks: &[&SecureShareBlock]) -> PreHashSet<BlockId> {
    blocks.iter().map(|block| block.id).collect()
}

#[test]
fn blocks_are_found_by_creator_slot_operation_and_endorsement() {
    let mut storage = Storage::create_root();
    let operation = operation(&bob(), 1);
    let endorsement = endorsement(&bob(), slot(1, 0));
    let block = block(&alice(), slot(1, 0), vec![operation.id], vec![endorsement.clone()]);
    storage.store_block(block.clone());

    let found = ids(&[&block]);
    let blocks = storage.read_blocks();
    assert_eq!(blocks.get_blocks_created_by(&address_of(&alice())), Some(&found));
    assert_eq!(blocks.get_blocks_created_by(&address_of(&bob())), None);
    assert_eq!(blocks.get_blocks_by_slot(&slot(1, 0)), Some(&found));
    assert_eq!(blocks.get_blocks_by_operation(&operation.id), Some(&found));
    assert_eq!(blocks.get_blocks_by_endorsement(&endorsement.id), Some(&found));
}

#[test]
fn a_freed_block_is_found_by_nothing() {
    let mut storage = Storage::create_root();
    let operation = operation(&bob(), 1);
    let endorsement = endorsement(&bob(), slot(1, 0));
    let block = block(&alice(), slot(1, 0), vec![operation.id], vec![endorsement.clone()]);
    storage.store_block(block.clone());
    storage.drop_block_refs(&ids(&[&block]));

    let blocks = storage.read_blocks();
    assert!(!blocks.contains(&block.id));
    assert_eq!(blocks.get_blocks_created_by(&address_of(&alice())), None);
    assert_eq!(blocks.get_blocks_by_slot(&slot(1, 0)), None);
    assert_eq!(blocks.get_blocks_by_operation(&operation.id), None);
    assert_eq!(blocks.get_blocks_by_endorsement(&endorsement.id), None);
}

#[test]
fn freeing_one_of_two_blocks_of_a_slot_leaves_the_other() {
    let mut storage = Storage::create_root();
    let (first, second) = (empty_block(&alice(), slot(1, 0)), empty_block(&bob(), slot(1, 0)));
    storage.store_block(first.clone());
    storage.store_block(second.clone());
    assert_eq!(
        storage.read_blocks().get_blocks_by_slot(&slot(1, 0)),
        Some(&ids(&[&first, &second]))
    );

    storage.drop_block_refs(&ids(&[&first]));
    assert_eq!(
        storage.read_blocks().get_blocks_by_slot(&slot(1, 0)),
        Some(&ids(&[&second]))
    );
}

#[test]
fn a_block_may_list_an_operation_twice() {
    let mut storage = Storage::create_root();
    let operation = operation(&bob(), 1);
    let block = block(&alice(), slot(1, 0), vec![operation.id; 2], Vec::new());
    storage.store_block(block.clone());
    assert_eq!(
        storage.read_blocks().get_blocks_by_operation(&operation.id),
        Some(&ids(&[&block]))
    );
    storage.drop_block_refs(&ids(&[&block]));
    assert_eq!(storage.read_blocks().get_blocks_by_operation(&operation.id), None);
}

#[test]
fn a_slot_range_honours_its_bounds() {
    let mut storage = Storage::create_root();
    let [a, b, c] = [slot(1, 0), slot(1, 31), slot(2, 0)].map(|slot| empty_block(&alice(), slot));
    for block in [&a, &b, &c] {
        storage.store_block(block.clone());
    }

    let blocks = storage.read_blocks();
    assert_eq!(blocks.aggregate_blocks_by_slot_range(..), ids(&[&a, &b, &c]));
    assert_eq!(
        blocks.aggregate_blocks_by_slot_range(slot(1, 0)..slot(2, 0)),
        ids(&[&a, &b])
    );
    assert_eq!(
        blocks.aggregate_blocks_by_slot_range(slot(1, 1)..=slot(2, 0)),
        ids(&[&b, &c])
    );
    assert_eq!(blocks.aggregate_blocks_by_slot_range(slot(2, 1)..), ids(&[]));
}

#[test]
fn a_slot_range_that_ends_before_it_begins_is_empty() {
    let mut storage = Storage::create_root();
    storage.store_block(empty_block(&alice(), slot(1, 0)));

    let blocks = storage.read_blocks();
    let excluded = Bound::Excluded(slot(1, 0));
    assert_eq!(blocks.aggregate_blocks_by_slot_range(slot(2, 0)..slot(1, 0)), ids(&[]));
    assert_eq!(blocks.aggregate_blocks_by_slot_range(slot(2, 0)..=slot(1, 0)), ids(&[]));
    assert_eq!(blocks.aggregate_blocks_by_slot_range((excluded, excluded)), ids(&[]));
}

#[test]
fn operations_are_found_by_creator_and_prefix_until_freed() {
    let mut storage = Storage::create_root();
    let [by_alice, by_bob] = [alice(), bob()].map(|creator| operation(&creator, 1));
    let of_alice: PreHashSet<OperationId> = [by_alice.id].into_iter().collect();
    storage.store_operations(vec![by_alice.clone(), by_bob.clone()]);

    let find = |storage: &Storage| {
        let operations = storage.read_operations();
        let by_creator = operations.get_operations_created_by(&address_of(&alice())).cloned();
        let by_prefix = operations.get_operations_by_prefix(&by_alice.id.prefix()).cloned();
        (by_creator, by_prefix)
    };
    assert_eq!(find(&storage), (Some(of_alice.clone()), Some(of_alice.clone())));
    storage.drop_operation_refs(&of_alice);
    assert_eq!(find(&storage), (None, None));
    assert!(storage.read_operations().contains(&by_bob.id));
}

#[test]
fn endorsements_are_found_by_creator_until_freed() {
    let mut storage = Storage::create_root();
    let endorsement = endorsement(&alice(), slot(1, 0));
    let found = [endorsement.id].into_iter().collect();
    storage.store_endorsements(vec![endorsement]);

    let alice = address_of(&alice());
    assert_eq!(
        storage.read_endorsements().get_endorsements_created_by(&alice),
        Some(&found)
    );
    storage.drop_endorsement_refs(&found);
    assert_eq!(storage.read_endorsements().get_endorsements_created_by(&alice), None);
}
