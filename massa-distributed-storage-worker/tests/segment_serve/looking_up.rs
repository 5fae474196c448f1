//! From ids to slots.

use crate::network::{Asked, Lie};
use crate::reading::SMALL_CHUNKS;
use crate::world::*;
use massa_distributed_storage_exports::network::{LocateId, Located};
use massa_distributed_storage_worker::serve::lookup::{ById, Found};
use massa_distributed_storage_worker::serve::period_read::ReadCheck;
use massa_distributed_storage_worker::serve::to_readers::ReadContent;
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use std::time::{Duration, Instant};

const NO_LIMIT: usize = usize::MAX;

fn unknown_id(number: u64) -> BlockId {
    BlockId::new(Hash::compute_from(&number.to_le_bytes()))
}

fn ids_of_period(world: &World, period: u64) -> Vec<(LocateId, Slot)> {
    let blocks = world
        .archive
        .blocks
        .range(Slot::new(period, 0)..Slot::new(period + 1, 0));
    blocks
        .map(|(slot, record)| (LocateId::Block(id_of(record)), *slot))
        .collect()
}

fn an_operation(world: &World) -> (OperationId, Slot, u32) {
    let (slot, record) = world
        .archive
        .blocks
        .iter()
        .find(|(_, record)| record.operation_count() > 1)
        .unwrap();
    let id = record.view(THREADS).unwrap().operation_ids().nth(1).unwrap();
    (id, *slot, 1)
}

#[test]
fn a_block_is_read_by_its_id_through_a_provider() {
    let world = World::with_providers(SMALL_CHUNKS);
    let lookup = world.lookup();
    for (slot, record) in world.archive.blocks.iter().step_by(7) {
        let before = lookup.reader().costs();
        let read = lookup
            .block(id_of(record), ReadCheck::Meaning, NO_LIMIT, Instant::now())
            .unwrap();
        let ById::Read(read) = read else {
            panic!("slot {slot} is found")
        };
        assert!(read.slot == *slot && read.content == ReadContent::Block(record.clone()));
        let trips = lookup.reader().costs().round_trips - before.round_trips;
        assert_eq!(trips, 3, "the slot, the entry, the pages");
    }
}

#[test]
fn an_operation_is_read_by_its_id_through_a_provider() {
    let world = World::with_providers(SMALL_CHUNKS);
    let (id, slot, index) = an_operation(&world);
    let read = world
        .lookup()
        .operation(id, ReadCheck::Meaning, NO_LIMIT, Instant::now())
        .unwrap();
    let ById::Read(read) = read else { panic!("it is found") };
    assert_eq!((read.block.slot, read.index), (slot, index));
}

#[test]
fn ids_are_batched_and_two_providers_asked_at_the_same_time() {
    let world = World::with_providers(SMALL_CHUNKS);
    let wanted = ids_of_period(&world, 2);
    let ids: Vec<LocateId> = wanted.iter().map(|(id, _)| *id).collect();
    let lookup = world.lookup();
    let found = lookup.find(&ids, NO_LIMIT, Instant::now()).unwrap();
    for (found, (_, slot)) in found.iter().zip(&wanted) {
        assert!(matches!(found, Found::At { located: Located { slot: at, .. }, by: Some(_) } if at == slot));
        assert!(found.read_archive());
    }
    let asked = world.network.take_asked();
    assert_eq!(
        (asked.locates, asked.entries, asked.pages),
        (2, 1, 0),
        "one entry tells of all of them"
    );
    assert_eq!(lookup.reader().costs().round_trips, 2);
}

#[test]
fn what_this_node_indexes_is_found_without_asking() {
    let world = World::with_providers(SMALL_CHUNKS);
    world.reader.take_chunks(&world.archive.segments[0], |_| true);
    world.reader.take_blocks(&world.archive, &world.archive.segments[1]);
    for period in [1, 2] {
        let (id, slot) = ids_of_period(&world, period)[0];
        let found = world.lookup().find(&[id], NO_LIMIT, Instant::now()).unwrap();
        let located = Located { slot, index: 0 };
        assert_eq!(found, [Found::At { located, by: None }]);
    }
    assert_eq!(world.network.take_asked(), Asked::default());
}

#[test]
fn an_id_that_nobody_knows_costs_no_read_of_the_archive() {
    let world = World::with_providers(SMALL_CHUNKS);
    let lookup = world.lookup();
    let id = LocateId::Block(unknown_id(1));
    let now = Instant::now();
    let rows = || -> Vec<u64> {
        let stores = world.holders.iter().chain([&world.reader]);
        stores.map(|node| node.store.rows_read()).collect()
    };
    // What peers say of themselves is known.
    assert!(world.holders.iter().all(|node| !node.server.refresh(usize::MAX)));
    let before = rows();
    let found = lookup.find(&[id], NO_LIMIT, now).unwrap();
    assert_eq!(found, [Found::UnknownTo(2)]);
    assert!(!found[0].read_archive(), "it need not count against a client's limit");
    let asked = world.network.take_asked();
    assert_eq!((asked.locates, asked.entries, asked.pages, asked.blocks), (2, 0, 0, 0));
    let own_rows = rows()[4] - before[4];
    assert_eq!(own_rows, 1, "a row of the index");

    let before = rows();
    let soon = lookup.find(&[id], NO_LIMIT, now + Duration::from_secs(5)).unwrap();
    assert_eq!(soon, [Found::UnknownTo(2)]);
    assert_eq!(rows(), before, "remembered: not even that");
    assert_eq!(world.network.take_asked(), Asked::default());

    let later = lookup.find(&[id], NO_LIMIT, now + Duration::from_secs(30)).unwrap();
    assert_eq!(later, [Found::UnknownTo(2)]);
    assert_eq!(world.network.take_asked().locates, 2, "asked again");
}

#[test]
fn without_a_provider_an_answer_says_so() {
    let world = World::new(SMALL_CHUNKS);
    let (id, _) = ids_of_period(&world, 1)[0];
    let found = world.lookup().find(&[id], NO_LIMIT, Instant::now()).unwrap();
    assert_eq!(found, [Found::NoProvider]);
    assert_eq!(world.network.take_asked().locates, 0, "who indexes a part is not asked");
}

#[test]
fn providers_that_do_not_answer_know_nothing_and_deny_nothing() {
    let world = World::with_providers(SMALL_CHUNKS);
    world.network.all_lie(Lie::Silent);
    let id = LocateId::Block(unknown_id(2));
    let now = Instant::now();
    let lookup = world.lookup();
    assert_eq!(lookup.find(&[id], NO_LIMIT, now).unwrap(), [Found::Unanswered(2)]);
    world.network.nobody_lies();
    assert_eq!(
        lookup.find(&[id], NO_LIMIT, now).unwrap(),
        [Found::UnknownTo(2)],
        "nothing was remembered"
    );
}

#[test]
fn a_client_asks_others_for_no_more_ids_than_its_limit() {
    let world = World::with_providers(SMALL_CHUNKS);
    let ids: Vec<LocateId> = (0..70).map(|number| LocateId::Block(unknown_id(number))).collect();
    let found = world.lookup().find(&ids, 66, Instant::now()).unwrap();
    assert!(found[..66].iter().all(|found| *found == Found::UnknownTo(2)));
    assert!(found[66..].iter().all(|found| *found == Found::OverLimit));
    assert_eq!(world.network.take_asked().locates, 4, "64 ids in a request");
}

#[test]
fn a_false_slot_is_found_out_before_any_page_is_read_and_the_other_provider_believed() {
    let world = World::with_providers(SMALL_CHUNKS);
    let liar = world.holders[0].id;
    world.network.lie(liar, Lie::Locate);
    let (slot, record) = world.archive.blocks.iter().next().unwrap();
    let lookup = world.lookup();
    let found = lookup
        .find(&[LocateId::Block(id_of(record))], NO_LIMIT, Instant::now())
        .unwrap();
    assert!(matches!(&found[0], Found::At { located, .. } if located.slot == *slot));
    assert!(world.network.quarantined().contains_key(&liar));
    assert_eq!(world.network.take_asked().pages, 0);

    world.network.nobody_lies();
    world.network.all_lie(Lie::Locate);
    let found = lookup
        .find(&[LocateId::Block(id_of(record))], NO_LIMIT, Instant::now())
        .unwrap();
    assert_eq!(found, [Found::Unanswered(2)], "two liars deny nothing");
    assert_eq!(world.network.quarantined().len(), 2);
}

#[test]
fn a_slot_of_which_nothing_is_known_is_not_believed() {
    let world = World::with_providers(SMALL_CHUNKS);
    world.network.all_lie(Lie::LocateFuture);
    let (id, _) = ids_of_period(&world, 1)[0];
    let found = world.lookup().find(&[id], NO_LIMIT, Instant::now()).unwrap();
    assert_eq!(found, [Found::Unanswered(2)]);
    let asked = world.network.take_asked();
    assert_eq!((asked.entries, asked.pages), (0, 0));
}

#[test]
fn who_names_a_block_without_the_operation_lied() {
    let world = World::with_providers(SMALL_CHUNKS);
    world.network.all_lie(Lie::Locate);
    let operations = |slot: &Slot| {
        world
            .archive
            .blocks
            .get(slot)
            .map_or(0, |record| record.operation_count())
    };
    let next = |slot: &Slot| Slot::new(slot.period, (slot.thread + 1) % THREADS);
    let both = |slot: &&Slot| operations(slot) > 0 && operations(&next(slot)) > 0;
    let slot = world.archive.blocks.keys().find(both).unwrap();
    let id = world.archive.blocks[slot]
        .view(THREADS)
        .unwrap()
        .operation_ids()
        .next()
        .unwrap();
    let read = world
        .lookup()
        .operation(id, ReadCheck::Meaning, NO_LIMIT, Instant::now())
        .unwrap();
    assert_eq!(read, ById::NotFound(Found::Unanswered(1)));
    assert_eq!(world.network.quarantined().len(), 1);
}
