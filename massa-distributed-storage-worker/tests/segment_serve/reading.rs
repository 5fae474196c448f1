//! Reading from a node that holds nothing, a part, or a damaged copy.

use crate::network::{Asked, Lie};
use crate::world::*;
use massa_distributed_storage_exports::network::FetchFailure;
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::serve::asking::AskingCosts;
use massa_distributed_storage_worker::serve::period_read::{ReadCheck, ReadFailure, QUIET_PERIOD_BYTES};
use massa_distributed_storage_worker::serve::to_readers::{ArchiveReader, ReadContent, ReaderError};
use massa_distributed_storage_worker::storage_backend::{IndexScopes, OwnChanges};
use massa_models::slot::Slot;
use std::collections::BTreeSet;
use std::time::Duration;

pub const SMALL_CHUNKS: u32 = 64 << 10;
pub const LARGE_CHUNKS: u32 = 256 << 10;

/// Every slot of the chain is read, and is what it is.
pub fn assert_all_read(world: &World, reader: &ArchiveReader, check: ReadCheck) {
    for slot in world.archive.slots() {
        let read = reader.slot(slot, check).unwrap();
        let expected = world.archive.blocks.get(&slot).cloned();
        let expected = expected.map_or(ReadContent::Miss, ReadContent::Block);
        assert!(read.content == expected, "slot {slot}: not what the chain has");
    }
}

fn costs_since(reader: &ArchiveReader, before: AskingCosts) -> AskingCosts {
    let now = reader.costs();
    AskingCosts {
        requests: now.requests - before.requests,
        round_trips: now.round_trips - before.round_trips,
        pages: now.pages - before.pages,
    }
}

#[test]
fn every_block_is_read_from_a_node_that_holds_nothing_and_each_costs_two_round_trips_at_most() {
    for chunk_size in [SMALL_CHUNKS, LARGE_CHUNKS] {
        let world = World::new(chunk_size);
        let reader = world.archive_reader();
        let (mut quiet, mut full) = (0, 0);
        for slot in world.archive.slots() {
            let before = reader.costs();
            let read = reader.slot(slot, ReadCheck::Meaning).unwrap();
            let cost = costs_since(&reader, before);
            let segment = world.archive.segment_of(slot.period);
            let period = segment.table.period_range(slot.period).unwrap();
            let pages_of_period = (period.end - 1) / (64 << 10) - period.start / (64 << 10) + 1;
            if period.end - period.start <= QUIET_PERIOD_BYTES {
                quiet += 1;
                assert_eq!((cost.round_trips, cost.pages), (1, pages_of_period), "slot {slot}");
            } else if let Some(record) = world.archive.blocks.get(&slot) {
                full += 1;
                let pages = world.archive.pages_of(slot);
                assert_eq!((cost.round_trips, cost.pages), (2, pages), "slot {slot}");
                assert!(read.content == ReadContent::Block(record.clone()), "slot {slot}");
            } else {
                assert_eq!(
                    (cost.round_trips, cost.pages),
                    (1, 0),
                    "the entry tells that slot {slot} was missed"
                );
                assert_eq!(read.content, ReadContent::Miss);
            }
            assert!(read.is_fetched());
        }
        assert!(
            quiet > 0 && full >= 30,
            "{quiet} quiet slots, {full} blocks of full periods"
        );
        assert!(world.network.quarantined().is_empty());
        assert_all_read(&world, &reader, ReadCheck::Merkle);
    }
}

#[test]
fn what_a_node_holds_is_read_without_the_network() {
    let world = World::new(SMALL_CHUNKS);
    for segment in &world.archive.segments {
        world.reader.take_chunks(segment, |_| true);
    }
    let reader = world.archive_reader();
    assert_all_read(&world, &reader, ReadCheck::Meaning);
    assert_eq!(reader.costs(), AskingCosts::default());
}

#[test]
fn only_pages_that_a_node_does_not_hold_are_fetched() {
    let world = World::new(SMALL_CHUNKS);
    for segment in &world.archive.segments {
        world.reader.take_chunks(segment, |chunk| chunk % 2 == 0);
    }
    let reader = world.archive_reader();
    assert_all_read(&world, &reader, ReadCheck::Meaning);
    let pages = world
        .archive
        .blocks
        .keys()
        .map(|slot| world.archive.pages_of(*slot))
        .sum::<u64>();
    let fetched = reader.costs().pages;
    assert!(fetched > 0 && fetched < pages * 2 / 3, "{fetched} of {pages} pages");
}

#[test]
fn a_damaged_copy_is_read_from_others() {
    let world = World::new(SMALL_CHUNKS);
    for segment in &world.archive.segments {
        // Another block's signatures are kept beside the page: nothing hashed covers them.
        for chunk in &segment.chunks {
            let mut chunk = chunk.clone();
            for page in &mut chunk.pages {
                page.signatures
                    .chunks_exact_mut(67)
                    .for_each(|signature| signature[20] ^= 1);
            }
            world.reader.store.put_chunk(&chunk, OwnChanges::default()).unwrap();
        }
    }
    let alone = ArchiveReader::new(world.reader.store.clone(), None, Duration::from_secs(1));
    let slot = *world.archive.blocks.keys().next().unwrap();
    let refused = alone.slot(slot, ReadCheck::Meaning).unwrap_err();
    assert!(matches!(refused, ReaderError::Invalid { .. }), "{refused}");
    assert!(
        alone.slot(slot, ReadCheck::Merkle).is_ok(),
        "the faster mode does not look at signatures"
    );

    let reader = world.archive_reader();
    assert_all_read(&world, &reader, ReadCheck::Meaning);
    assert!(reader.costs().pages > 0);
    assert!(world.network.quarantined().is_empty(), "nobody else is to blame");
}

#[test]
fn a_damaged_page_a_damaged_row_and_a_damaged_table_are_read_from_others() {
    let world = World::new(SMALL_CHUNKS);
    let node = &world.reader;
    node.take_chunks(&world.archive.segments[1], |_| true);
    node.take_chunks(&world.archive.segments[2], |_| true);
    node.damage("storage_pages", &1u64.to_be_bytes(), 20_000);
    node.damage("storage_chunks", &2u64.to_be_bytes(), 30);
    node.damage("storage_tables", &0u64.to_be_bytes(), 30);
    let reader = world.archive_reader();
    assert_all_read(&world, &reader, ReadCheck::Meaning);
    let asked = world.network.take_asked();
    assert!(asked.pages > 0 && asked.tables == 1);
    let damaged: BTreeSet<u64> = node.store.take_damaged().iter().map(|at| at.segment).collect();
    assert_eq!(damaged, BTreeSet::from([1, 2]), "repair hears of it");
}

#[test]
fn a_damaged_row_of_an_open_segment_is_read_from_others() {
    let world = World::new(SMALL_CHUNKS);
    let archive = &world.archive;
    let (node, other) = (
        Node::empty(archive, IndexScopes::default()),
        Node::empty(archive, IndexScopes::default()),
    );
    node.take_blocks(archive, &archive.segments[0]);
    other.take_blocks(archive, &archive.segments[0]);
    world.network.disconnect_all();
    world.network.connect(other.id, other.server.clone());
    let (slot, record) = archive.blocks.iter().next().unwrap();
    node.damage("storage_pending", &slot.to_bytes_key(), 30);
    let others = without_roots(&world, &node);
    let reader = ArchiveReader::new(node.store.clone(), Some(others), Duration::from_secs(20));
    let read = reader.slot(*slot, ReadCheck::Meaning).unwrap();
    assert!(read.content == ReadContent::Block(record.clone()));
    for lie in [Lie::Block, Lie::Miss] {
        world.network.nobody_lies();
        world.network.lie(other.id, lie);
        assert!(reader.slot(*slot, ReadCheck::Meaning).is_err());
        assert!(world.network.quarantined().contains_key(&other.id), "{lie:?}");
    }
}

#[test]
fn a_block_of_a_lost_period_is_told_from_a_miss() {
    let world = World::new(SMALL_CHUNKS);
    let reader = world.archive_reader();
    for thread in 0..THREADS {
        let of_period_4 = world.archive.blocks.get(&Slot::new(4, thread)).map(id_of);
        let expected = of_period_4.map_or(ReadContent::Miss, ReadContent::Lost);
        let read = reader.slot(Slot::new(LOST_PERIOD, thread), ReadCheck::Meaning).unwrap();
        assert_eq!(read.content, expected);
    }
    let refused = reader.period_blocks(LOST_PERIOD).unwrap_err();
    assert!(
        matches!(refused, ReaderError::Lost { period: LOST_PERIOD }),
        "{refused}"
    );
}

#[test]
fn whole_periods_are_read_for_a_node_that_catches_up() {
    let world = World::new(SMALL_CHUNKS);
    let joiner = Node::empty(&world.archive, IndexScopes::default());
    let reader = world.reader_of(&joiner, Duration::from_secs(20));
    for period in 1..=4 {
        let blocks = reader.period_blocks(period).unwrap();
        let expected = world
            .archive
            .blocks
            .range(Slot::new(period, 0)..Slot::new(period + 1, 0));
        assert!(blocks.iter().eq(expected.map(|(_, record)| record)), "period {period}");
    }
    assert_eq!(
        world.network.take_asked().tables,
        3,
        "one for each segment, then they are kept"
    );
}

#[test]
fn a_period_of_an_open_segment_comes_from_peers_that_have_all_of_it() {
    let world = World::new(SMALL_CHUNKS);
    let archive = &world.archive;
    let (follower, joiner) = (
        Node::empty(archive, IndexScopes::default()),
        Node::empty(archive, IndexScopes::default()),
    );
    follower.take_blocks(archive, &archive.segments[0]);
    world.network.disconnect_all();
    world.network.connect(follower.id, follower.server.clone());
    let others = world.reader_of(&joiner, Duration::from_secs(20));
    // No root of it is known anywhere.
    let reader = ArchiveReader::new(
        joiner.store.clone(),
        Some(without_roots(&world, &joiner)),
        Duration::from_secs(20),
    );
    let blocks = reader.period_blocks(1).unwrap();
    let expected = archive.blocks.range(Slot::new(1, 0)..Slot::new(2, 0));
    assert!(blocks.iter().eq(expected.map(|(_, record)| record)));
    assert!(
        matches!(reader.period_blocks(2), Err(ReaderError::Read { .. })),
        "nobody has it whole"
    );
    assert!(matches!(
        reader.slot(Slot::new(1, 0), ReadCheck::Meaning),
        Err(ReaderError::NotArchived { .. })
    ));
    drop(others);

    world.network.lie(follower.id, Lie::Block);
    assert!(matches!(reader.period_blocks(1), Err(ReaderError::Read { .. })));
    assert!(world.network.quarantined().contains_key(&follower.id));
}

pub fn without_roots(world: &World, node: &Node) -> massa_distributed_storage_worker::serve::to_readers::OtherNodes {
    massa_distributed_storage_worker::serve::to_readers::OtherNodes {
        network: world.network.clone(),
        own: node.id,
        placement: std::sync::Arc::new(world.placement.clone()),
        roots: std::sync::Arc::new(|_| None),
    }
}

/// The holders of a segment that was closed a moment ago may not have its chunks yet, and every node has its blocks.
#[test]
fn blocks_of_the_newest_closed_segment_come_as_such_where_nobody_has_its_chunks() {
    let world = World::new(SMALL_CHUNKS);
    let archive = &world.archive;
    let node = Node::empty(archive, IndexScopes::default());
    for segment in &archive.segments[..2] {
        node.take_blocks(archive, segment);
        node.store.finish_closing(&segment.table).unwrap();
    }
    world.network.disconnect_all();
    world.network.connect(node.id, node.server.clone());
    let reader = world.archive_reader();
    for (slot, record) in archive.blocks.range(Slot::new(2, 0)..Slot::new(4, 0)) {
        let read = reader.slot(*slot, ReadCheck::Meaning).unwrap();
        assert!(read.content == ReadContent::Block(record.clone()), "slot {slot}");
    }
    let asked = world.network.take_asked();
    assert!(asked.blocks > 0 && asked.pages > 0);
    let blocks = reader.period_blocks(3).unwrap();
    assert_eq!(
        blocks.len(),
        archive.blocks.range(Slot::new(3, 0)..Slot::new(4, 0)).count()
    );

    let slot = *archive.blocks.keys().find(|slot| slot.period == 2).unwrap();
    let lies = [
        (Lie::Block, ReadCheck::Meaning),
        (Lie::OtherBlock, ReadCheck::Merkle),
        (Lie::Miss, ReadCheck::Merkle),
    ];
    for (lie, check) in lies {
        world.network.nobody_lies();
        world.network.lie(node.id, lie);
        assert!(reader.slot(slot, check).is_err(), "{lie:?}");
        assert!(world.network.quarantined().contains_key(&node.id), "{lie:?}");
    }
}

#[test]
fn a_silent_holder_is_followed_by_the_next_one() {
    let world = World::new(SMALL_CHUNKS);
    world.network.lie(world.holders[0].id, Lie::Silent);
    world.network.lie(world.holders[2].id, Lie::Silent);
    assert_all_read(&world, &world.archive_reader(), ReadCheck::Meaning);
    assert!(world.network.quarantined().is_empty());
}

#[test]
fn a_read_ends_at_its_deadline_and_names_what_happened() {
    let world = World::new(SMALL_CHUNKS);
    world.network.all_lie(Lie::Stuck);
    let reader = world.reader_of(&world.reader, Duration::from_millis(20));
    let slot = *world.archive.blocks.keys().next().unwrap();
    let refused = reader.slot(slot, ReadCheck::Meaning).unwrap_err();
    assert!(
        matches!(
            &refused,
            ReaderError::Read {
                source: ReadFailure::NotObtained(_),
                ..
            }
        ),
        "{refused}"
    );

    world.network.nobody_lies();
    world.network.all_lie(Lie::Silent);
    let refused = world.archive_reader().slot(slot, ReadCheck::Meaning).unwrap_err();
    assert!(
        refused.to_string().contains(&format!("{:?}", FetchFailure::Timeout)),
        "{refused}"
    );
}

#[test]
fn a_slot_that_the_chain_cannot_have_is_refused_before_anything_is_read() {
    let world = World::new(SMALL_CHUNKS);
    let reader = world.archive_reader();
    let rows = world.reader.store.rows_read();
    let refused = reader.slot(Slot::new(1, THREADS), ReadCheck::Meaning).unwrap_err();
    assert!(matches!(refused, ReaderError::NoSuchSlot { threads: THREADS, .. }));
    assert_eq!(world.reader.store.rows_read(), rows);
    assert_eq!(world.network.take_asked(), Asked::default());
}

#[test]
fn pages_of_a_pruned_segment_are_read_from_others() {
    let world = World::new(SMALL_CHUNKS);
    for segment in &world.archive.segments {
        world.reader.take_chunks(segment, |_| true);
    }
    world.reader.store.prune(2).unwrap();
    let reader = world.archive_reader();
    assert_all_read(&world, &reader, ReadCheck::Meaning);
    assert!(reader.costs().pages > 0);
    assert_eq!(
        world
            .reader
            .store
            .next_held(ChunkPosition::new(0, 0).unwrap())
            .unwrap()
            .map(|held| held.segment),
        Some(2)
    );
}
