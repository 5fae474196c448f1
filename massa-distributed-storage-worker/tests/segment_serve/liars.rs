//! One liar of each kind: the true block comes all the same, and the liar is found out.

use crate::network::{false_entry, Lie};
use crate::reading::{assert_all_read, LARGE_CHUNKS, SMALL_CHUNKS};
use crate::world::*;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_worker::serve::lookup::ById;
use massa_distributed_storage_worker::serve::period_read::{Ask, PeriodRead, ReadCheck, Step, QUIET_PERIOD_BYTES};
use massa_distributed_storage_worker::serve::to_readers::ReadContent;
use massa_distributed_storage_worker::storage_backend::IndexScopes;
use massa_models::slot::Slot;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reads everything while one holder lies, one after the other; why those that are found out are in quarantine.
fn with_one_liar(chunk_size: u32, lie: Lie) -> Vec<String> {
    let world = World::new(chunk_size);
    let mut reasons = Vec::new();
    for liar in &world.holders {
        world.network.nobody_lies();
        world.network.lie(liar.id, lie);
        assert_all_read(&world, &world.archive_reader(), ReadCheck::Meaning);
        let mut quarantined = world.network.quarantined();
        reasons.extend(quarantined.remove(&liar.id));
        assert!(
            quarantined.is_empty(),
            "{lie:?}: nobody else is blamed: {quarantined:?}"
        );
    }
    assert!(!reasons.is_empty(), "{lie:?} is found out");
    reasons
}

#[test]
fn a_false_page_is_found_out() {
    for chunk_size in [SMALL_CHUNKS, LARGE_CHUNKS] {
        assert!(with_one_liar(chunk_size, Lie::Page).len() >= 3);
    }
}

#[test]
fn a_false_path_is_found_out() {
    for chunk_size in [SMALL_CHUNKS, LARGE_CHUNKS] {
        assert!(with_one_liar(chunk_size, Lie::Path).len() >= 3);
    }
}

#[test]
fn a_false_signature_is_found_out() {
    for lie in [Lie::Signature, Lie::NoSignatures] {
        let reasons = with_one_liar(LARGE_CHUNKS, lie);
        assert!(reasons.iter().all(|reason| reason.contains("signature")), "{reasons:?}");
    }
}

/// Who holds the last part of a block alone cannot check its signature.
#[test]
fn a_false_signature_of_a_block_over_the_border_of_chunks_is_no_lie() {
    let world = World::new(SMALL_CHUNKS);
    let over = |slot: &&Slot| world.archive.pages_of(**slot) > 1;
    let reader = world.archive_reader();
    let mut avoided = 0;
    for liar in &world.holders {
        for slot in world.archive.blocks.keys().filter(over) {
            world.network.nobody_lies();
            world.network.lie(liar.id, Lie::Signature);
            let read = reader.slot(*slot, ReadCheck::Meaning).unwrap();
            assert!(
                read.content == ReadContent::Block(world.archive.blocks[slot].clone()),
                "slot {slot}"
            );
            let has_operations = world.archive.blocks[slot].operation_count() > 0;
            if !has_operations {
                assert!(world.network.quarantined().is_empty(), "slot {slot}");
                avoided += 1;
            }
        }
    }
    assert!(avoided > 0);
}

#[test]
fn the_faster_mode_takes_signatures_as_they_come() {
    let world = World::new(SMALL_CHUNKS);
    world.network.all_lie(Lie::Signature);
    let (slot, record) = world.archive.blocks.iter().next().unwrap();
    let ReadContent::Block(read) = world.archive_reader().slot(*slot, ReadCheck::Merkle).unwrap().content else {
        panic!("a block");
    };
    assert_eq!(id_of(&read), id_of(record));
    assert!(read != *record, "its signature is false, and nobody looked");
    assert!(world.archive_reader().slot(*slot, ReadCheck::Meaning).is_err());
}

#[test]
fn false_offsets_of_an_entry_are_the_fault_of_its_sender() {
    for lie in [Lie::EntryOffset, Lie::EntryNext, Lie::EntryFar, Lie::EntryBeyond] {
        let reasons = with_one_liar(SMALL_CHUNKS, lie);
        assert!(reasons.iter().all(|reason| reason.contains("offsets")), "{reasons:?}");
    }
}

/// Where another block stands, only the id in the entry tells.
#[test]
fn offsets_that_lead_to_another_block_are_found_out() {
    let world = World::new(SMALL_CHUNKS);
    let reader = world.archive_reader();
    let mut found_out = 0;
    for (slot, record) in &world.archive.blocks {
        world.network.nobody_lies();
        world.network.all_lie(Lie::EntryNext);
        let read = reader.slot(*slot, ReadCheck::Meaning).unwrap();
        assert!(read.content == ReadContent::Block(record.clone()), "slot {slot}");
        found_out += world.network.quarantined().len();
    }
    assert!(found_out > 20, "{found_out} lies");
}

#[test]
fn false_offsets_of_everybody_cost_a_read_of_the_entry_in_the_body() {
    let world = World::new(SMALL_CHUNKS);
    world.network.all_lie(Lie::EntryOffset);
    let is_full = |slot: &&Slot| {
        let range = world
            .archive
            .segment_of(slot.period)
            .table
            .period_range(slot.period)
            .unwrap();
        range.end - range.start > QUIET_PERIOD_BYTES
    };
    let slot = world.archive.blocks.keys().filter(is_full).nth(5).unwrap();
    let reader = world.archive_reader();
    let read = reader.slot(*slot, ReadCheck::Meaning).unwrap();
    assert!(read.content == ReadContent::Block(world.archive.blocks[slot].clone()));
    assert_eq!(
        world.network.quarantined().len(),
        1,
        "only who was asked is known to lie"
    );
    assert!(reader.costs().round_trips <= 4);
}

#[test]
fn an_entry_with_another_root_is_found_out() {
    let reasons = with_one_liar(SMALL_CHUNKS, Lie::EntryMiss);
    assert!(
        reasons.iter().all(|reason| reason.contains("another root")),
        "{reasons:?}"
    );
}

#[test]
fn a_false_table_is_found_out() {
    let world = World::new(SMALL_CHUNKS);
    world.network.lie(world.holders[0].id, Lie::Table);
    let joiner = Node::empty(&world.archive, IndexScopes::default());
    let reader = world.reader_of(&joiner, Duration::from_secs(20));
    assert_all_read(&world, &reader, ReadCheck::Meaning);
    let quarantined = world.network.quarantined();
    assert_eq!(quarantined.len(), 1);
    assert!(
        quarantined.values().all(|reason| reason.contains("table of segment")),
        "{quarantined:?}"
    );
}

/// With the table of one segment, the root of the one before is known.
#[test]
fn a_table_is_led_to_by_the_segment_after() {
    let world = World::new(SMALL_CHUNKS);
    let joiner = Node::empty(&world.archive, IndexScopes::default());
    let newest = &world.archive.segments[1].table;
    joiner.store.put_tables(&[(newest.clone(), newest.root())]).unwrap();
    let others = crate::reading::without_roots(&world, &joiner);
    let reader = massa_distributed_storage_worker::serve::to_readers::ArchiveReader::new(
        joiner.store.clone(),
        Some(others),
        Duration::from_secs(20),
    );
    world.network.lie(world.holders[0].id, Lie::Table);
    let (slot, record) = world.archive.blocks.iter().next().unwrap();
    let read = reader.slot(*slot, ReadCheck::Meaning).unwrap();
    assert!(read.content == ReadContent::Block(record.clone()));
    assert!(
        reader.slot(Slot::new(4, 0), ReadCheck::Meaning).is_err(),
        "no root of segment 2 is known"
    );
}

/// Offsets are 32 bits of which a root says nothing: whatever they are, no more is asked for than a block may have.
#[test]
fn false_offsets_do_not_make_a_read_large() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    for segment in &archive.segments[..2] {
        for period in &segment.periods {
            let bytes = segment.table.period_range(period.period).unwrap();
            for lie in [Lie::EntryOffset, Lie::EntryNext, Lie::EntryFar, Lie::EntryBeyond] {
                let entry =
                    PeriodEntry::from_bytes(&false_entry(&period.entry.to_bytes(), THREADS, Some(lie)), THREADS);
                let table = Arc::new(segment.table.clone());
                // Of the last block an offset beyond the period would be seen without looking at its end.
                let threads = (0..8).collect();
                let mut read = PeriodRead::new(table, period.period, threads, ReadCheck::Meaning).unwrap();
                read.on_entry(some_node(), entry.unwrap());
                let Step::Ask(asks) = read.next_step() else {
                    panic!("something is asked for")
                };
                let mut pages = 0;
                for ask in asks {
                    let Ask::Pages {
                        position,
                        chunk,
                        pages: range,
                    } = ask
                    else {
                        panic!("{ask:?}")
                    };
                    assert_eq!(segment.table.chunk(position.index.0), Some(chunk));
                    assert!(range.end <= chunk.page_count());
                    let start = segment.table.chunk_range(position.index.0).start;
                    assert!(
                        start < bytes.end,
                        "{lie:?}: chunk {position} has nothing of period {}",
                        period.period
                    );
                    pages += range.len();
                }
                assert!(pages <= period.bytes.len() / (64 << 10) + 2, "{pages} pages");
                if lie == Lie::EntryBeyond {
                    assert!(pages <= 2, "the entry in the body is looked at first");
                }
            }
        }
    }
}

/// The entry that was fetched to check a slot is used to read it: its sender is known.
#[test]
fn false_offsets_are_found_out_in_a_read_by_id_too() {
    let world = World::with_providers(SMALL_CHUNKS);
    world.network.all_lie(Lie::EntryOffset);
    let lookup = world.lookup();
    for (slot, record) in world.archive.blocks.iter().skip(3).step_by(31) {
        let read = lookup
            .block(id_of(record), ReadCheck::Meaning, usize::MAX, Instant::now())
            .unwrap();
        let ById::Read(read) = read else {
            panic!("slot {slot} is found")
        };
        assert!(read.content == ReadContent::Block(record.clone()), "slot {slot}");
        assert_eq!(world.network.quarantined().len(), 1, "slot {slot}");
        world.network.nobody_lies();
        world.network.all_lie(Lie::EntryOffset);
    }
}
