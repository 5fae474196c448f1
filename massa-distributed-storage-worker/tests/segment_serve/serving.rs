//! What one node answers.

use crate::cut::cut;
use crate::reading::{LARGE_CHUNKS, SMALL_CHUNKS};
use crate::world::*;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::network::{
    Answer, ArchiveServer, HeldRange, IndexScope, LocateId, SlotContent, VerifiedPage,
};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_distributed_storage_worker::storage_backend::IndexScopes;
use massa_models::slot::Slot;
use std::collections::BTreeSet;

const FRAME: usize = 64 << 10;

/// A node that holds every second chunk, and is assigned every fourth.
fn half(archive: &Archive) -> Node {
    let node = Node::with_assigned(archive, IndexScopes::default(), |_| (0..1000).step_by(4).collect());
    node.take_tables(archive);
    for segment in &archive.segments {
        node.take_chunks(segment, |chunk| chunk % 2 == 0);
    }
    node
}

fn position(segment: u64, chunk: u32) -> ChunkPosition {
    ChunkPosition::new(segment, chunk).unwrap()
}

#[test]
fn tables_are_served_several_in_an_answer_as_many_as_fit() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = half(&archive);
    let Answer::Found(tables) = node.server.tables(0, 64, FRAME) else {
        panic!("they are there")
    };
    let roots = tables
        .iter()
        .map(|bytes| SegmentTable::from_bytes(bytes).unwrap().root());
    assert!(roots.eq(archive.segments.iter().map(|segment| segment.table.root())));

    let two = tables[0].len() + tables[1].len();
    let count = |count, bytes| match node.server.tables(0, count, bytes) {
        Answer::Found(tables) => tables.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(count(64, two), 2);
    assert_eq!(count(64, two - 1), 1);
    assert_eq!(count(64, 1), 1, "one at least");
    assert_eq!(count(2, FRAME), 2);
    assert_eq!(node.server.tables(LAST_SEGMENT + 1, 64, FRAME), Answer::NotYet);
    assert_eq!(node.server.tables(0, 0, FRAME), Answer::NotYet);

    node.store.prune(2).unwrap();
    assert_eq!(count(64, FRAME), 3, "tables are never pruned");
}

#[test]
fn a_request_for_tables_reads_a_row_for_each() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = half(&archive);
    let before = node.store.rows_read();
    drop(node.server.tables(0, u32::MAX, usize::MAX));
    assert_eq!(node.store.rows_read() - before, 4, "three, and that there is no fourth");
}

#[test]
fn entries_are_served_from_chunks_and_from_rows() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let held = Node::empty(&archive, IndexScopes::default());
    held.take_tables(&archive);
    archive
        .segments
        .iter()
        .for_each(|segment| held.take_chunks(segment, |_| true));
    let open = Node::empty(&archive, IndexScopes::default());
    archive
        .segments
        .iter()
        .for_each(|segment| open.take_blocks(&archive, segment));
    for node in [&held, &open] {
        let Answer::Found(entries) = node.server.entries(1, 256, FRAME) else {
            panic!("they are there")
        };
        assert_eq!(entries.len(), 5);
        for (bytes, period) in entries.iter().zip(1..) {
            let entry = PeriodEntry::from_bytes(bytes, THREADS).unwrap();
            let row = archive.segment_of(period).table.period(period).unwrap();
            assert_eq!(entry.root(CHAIN_ID, period), row.root);
        }
        assert_eq!(node.server.entries(0, 9, FRAME), Answer::NotHeld, "before the archive");
        assert_eq!(node.server.entries(6, 9, FRAME), Answer::NotYet);
    }
    held.store.prune(1).unwrap();
    assert_eq!(held.server.entries(1, 9, FRAME), Answer::Pruned);
    let tables_only = Node::empty(&archive, IndexScopes::default());
    tables_only.take_tables(&archive);
    assert_eq!(tables_only.server.entries(1, 9, FRAME), Answer::NotHeld);
}

#[test]
fn a_block_is_served_while_its_segment_is_open_when_it_was_just_closed_and_from_chunks() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = Node::empty(&archive, IndexScopes::default());
    let (slot, record) = archive.blocks.iter().next().unwrap();
    let (slot, bytes) = (*slot, record.as_bytes().to_vec());
    let found = Answer::Found(SlotContent::Block(bytes));
    assert_eq!(node.server.block(&slot), Answer::NotYet);
    node.take_blocks(&archive, &archive.segments[0]);
    assert!(node.server.block(&slot) == found, "open");
    node.store.finish_closing(&archive.segments[0].table).unwrap();
    assert!(node.server.block(&slot) == found, "just closed");
    node.store.drop_open_rows(0).unwrap();
    assert_eq!(node.server.block(&slot), Answer::NotHeld);
    node.take_chunks(&archive.segments[0], |_| true);
    assert!(node.server.block(&slot) == found, "held");
    node.store.prune(1).unwrap();
    assert_eq!(node.server.block(&slot), Answer::Pruned);
    assert_eq!(
        node.server.block(&Slot::new(1, THREADS)),
        Answer::NotHeld,
        "no such thread"
    );
    assert_eq!(
        node.server.block(&Slot::new(0, 0)),
        Answer::NotHeld,
        "before the archive"
    );
}

#[test]
fn a_lost_block_is_not_held() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = Node::empty(&archive, IndexScopes::default());
    node.take_tables(&archive);
    node.take_chunks(&archive.segments[2], |_| true);
    let thread = archive.blocks.keys().find(|slot| slot.period == 4).unwrap().thread;
    assert_eq!(node.server.block(&Slot::new(LOST_PERIOD, thread)), Answer::NotHeld);
}

#[test]
fn pages_are_served_as_stored_with_path_and_signatures_and_page_0_makes_the_others_readable() {
    let archive = Archive::of_upstream(LARGE_CHUNKS);
    let node = half(&archive);
    let (mut after_first, mut alone) = (0, 0);
    for segment in &archive.segments {
        for chunk in segment.chunks.iter().step_by(2) {
            let row = segment.table.chunk(chunk.position.index.0).unwrap();
            let mut first_page = Vec::new();
            for page in 0..row.page_count() {
                let Answer::Found(content) = node.server.page(chunk.position, &row.id, page) else {
                    panic!("page {page} of {} is held", chunk.position)
                };
                assert!(content.stored == chunk.pages[page as usize].stored);
                assert!(content.signatures == chunk.pages[page as usize].signatures);
                *if content.needs_first_page() {
                    &mut after_first
                } else {
                    &mut alone
                } += 1;
                let verified = VerifiedPage::check(&row, page, content, &first_page).unwrap();
                if page == 0 {
                    first_page = verified.plain().to_vec();
                }
            }
        }
    }
    assert!(
        after_first > 0 && alone > 0,
        "{after_first} after the first page, {alone} alone"
    );
}

#[test]
fn a_page_that_is_not_there_is_told_from_one_that_is_not_yet_there_and_from_a_pruned_one() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = half(&archive);
    let table = &archive.segments[1].table;
    let id = table.chunk_ids()[2];
    assert!(matches!(node.server.page(position(1, 2), &id, 0), Answer::Found(_)));
    assert_eq!(
        node.server.page(position(1, 2), &ChunkId::from_bytes([7; 32]), 0),
        Answer::NotHeld
    );
    assert_eq!(
        node.server.page(position(1, 2), &id, 1),
        Answer::NotHeld,
        "no such page"
    );
    assert_eq!(
        node.server.page(position(1, 3), &table.chunk_ids()[3], 0),
        Answer::NotHeld
    );
    assert_eq!(node.server.page(position(9, 0), &id, 0), Answer::NotYet);
    node.store.prune(2).unwrap();
    assert_eq!(node.server.page(position(1, 2), &id, 0), Answer::Pruned);
}

#[test]
fn held_tells_only_what_is_assigned_to_this_node() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = half(&archive);
    let held = node.server.held(0, 1024, FRAME);
    assert_eq!(held.len(), 3, "nothing is said of segments that are not closed here");
    for (bits, segment) in held.iter().zip(&archive.segments) {
        for chunk in 0..bits.len() as u32 * 8 {
            let is_told = bits[chunk as usize / 8] >> (chunk % 8) & 1 == 1;
            let expected = chunk % 4 == 0 && (chunk as usize) < segment.chunks.len();
            assert_eq!(
                is_told, expected,
                "chunk {chunk}: others may drop their copies because of it"
            );
        }
        assert_ne!(bits.last(), Some(&0));
    }
    assert_eq!(node.server.held(9, 4, FRAME), [Vec::<u8>::new()]);
    assert_eq!(node.server.held(0, 1024, 1).len(), 1, "one at least");
}

#[test]
fn an_open_segment_is_not_said_to_be_held() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = Node::empty(&archive, IndexScopes::default());
    let segment = &archive.segments[0];
    node.take_blocks(&archive, segment);
    // The one after is known by its table.
    let next = &archive.segments[1].table;
    node.store.put_tables(&[(next.clone(), next.root())]).unwrap();
    node.store
        .close_chunks(&segment.table, cut(&segment.table, &segment.chunks[..1]))
        .unwrap();
    assert_eq!(node.server.held(0, 1, FRAME), [Vec::<u8>::new()], "it is being closed");
    node.store.finish_closing(&segment.table).unwrap();
    assert_eq!(node.server.held(0, 1, FRAME), [vec![1]]);
}

#[test]
fn ids_are_located_from_memory_and_from_the_index() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = Node::empty(&archive, IndexScopes::default());
    node.take_tables(&archive);
    node.take_chunks(&archive.segments[0], |_| true);
    let block = |period| archive.blocks.range(Slot::new(period, 0)..).next().unwrap();
    let ((held, of_held), (_, not_held)) = (block(1), block(3));
    let ids = [of_held, not_held].map(|record| LocateId::Block(id_of(record)));
    let located = node.server.locate(&ids);
    assert_eq!(located[0].map(|located| located.slot), Some(*held));
    assert_eq!(located[1], None);
    let many = vec![ids[0]; 100];
    let before = node.store.rows_read();
    assert_eq!(node.server.locate(&many).len(), 100);
    assert!(
        node.store.rows_read() - before <= 64,
        "no more than a request may ask for"
    );
}

#[test]
fn a_node_says_what_it_has() {
    let archive = Archive::of_upstream(SMALL_CHUNKS);
    let node = half(&archive);
    let said = node.server.capabilities();
    assert_eq!((said.allocated_storage_gb, said.floor), (10, 1));
    assert_eq!((said.newest_segment, said.newest_period), (Some(2), Some(5)));
    assert_eq!(
        (said.indexes.block, said.indexes.address),
        (IndexScope::Held, IndexScope::None)
    );
    // Chunks up to 1000 are assigned, so that nothing is whole.
    assert_eq!(said.ranges, []);

    let whole = Node::with_assigned(&archive, IndexScopes::default(), |_| vec![0]);
    whole.take_tables(&archive);
    whole.take_chunks(&archive.segments[0], |chunk| chunk == 0);
    whole.take_chunks(&archive.segments[2], |chunk| chunk == 0);
    let range = |first_segment, last_segment| HeldRange {
        first_segment,
        last_segment,
    };
    assert_eq!(whole.server.capabilities().ranges, [range(0, 0), range(2, 2)]);
    whole.take_chunks(&archive.segments[1], |chunk| chunk == 0);
    whole.server.held_changed(1);
    assert_eq!(whole.server.capabilities().ranges, [range(0, 2)]);
    whole.store.prune(2).unwrap();
    let said = whole.server.capabilities();
    assert_eq!((said.ranges, said.floor), (vec![range(2, 2)], 4));

    let open = Node::empty(&archive, IndexScopes::default());
    open.take_blocks(&archive, &archive.segments[0]);
    open.take_blocks(&archive, &archive.segments[2]);
    let said = open.server.capabilities();
    assert_eq!(
        (said.newest_segment, said.newest_period),
        (None, Some(1)),
        "a gap ends it"
    );
    open.take_blocks(&archive, &archive.segments[1]);
    assert_eq!(open.server.capabilities().newest_period, Some(5));
}

#[test]
fn what_is_damaged_is_not_served_and_told_to_repair() {
    let archive = Archive::of_upstream(LARGE_CHUNKS);
    let node = Node::empty(&archive, IndexScopes::default());
    node.take_tables(&archive);
    let segment = &archive.segments[1];
    node.take_chunks(segment, |_| true);
    let chunk = &segment.chunks[0];
    let id = segment.table.chunk_ids()[0];
    let needs_first = |page: u32| chunk.pages[page as usize].stored[0] == 2;
    let page = (1..4).find(|page| needs_first(*page)).unwrap();
    assert!(matches!(node.server.page(chunk.position, &id, page), Answer::Found(_)));

    let mut key = chunk.position.segment.to_be_bytes().to_vec();
    key.extend([0, 0, 0, 0]);
    node.damage("storage_pages", &key, 20_000);
    for _ in 0..3 {
        assert_eq!(node.server.page(chunk.position, &id, 0), Answer::NotHeld);
        assert_eq!(
            node.server.page(chunk.position, &id, page),
            Answer::NotHeld,
            "nobody could unpack it"
        );
    }
    assert_eq!(node.store.take_damaged(), BTreeSet::from([chunk.position]));
    assert!(node.store.take_damaged().is_empty());

    let first = Slot::new(2, archive.blocks.keys().find(|slot| slot.period == 2).unwrap().thread);
    assert_eq!(node.server.block(&first), Answer::NotHeld);
    assert_eq!(node.server.entries(2, 1, FRAME), Answer::NotHeld);
    node.damage("storage_tables", &1u64.to_be_bytes(), 50);
    assert_eq!(node.server.tables(1, 1, FRAME), Answer::NotHeld);
    let Answer::Found(before) = node.server.tables(0, 3, FRAME) else {
        panic!("the one before is there")
    };
    assert_eq!(before.len(), 1);
}
