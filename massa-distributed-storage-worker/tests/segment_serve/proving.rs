//! Proofs from a store and from what was fetched.

use crate::reading::SMALL_CHUNKS;
use crate::world::*;
use massa_distributed_storage_exports::segment_proof::check::{check, TrustedRoot};
use massa_distributed_storage_exports::segment_proof::{ProofDocument, ProveError};
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::serve::period_read::ReadCheck;
use massa_distributed_storage_worker::serve::proofs::{prove_chunk, Evidence, ProofError};
use massa_distributed_storage_worker::storage_backend::IndexScopes;
use massa_models::slot::Slot;

fn assert_proves(document: &ProofDocument, root: &TrustedRoot, kind: &str) {
    let text = serde_json::to_string(document).unwrap();
    let read: ProofDocument = serde_json::from_str(&text).unwrap();
    assert_eq!(check(&read, root).unwrap().kind, kind);
}

fn root_of(world: &World, period: u64) -> TrustedRoot {
    TrustedRoot::Segment(world.archive.segment_of(period).table.root())
}

#[test]
fn what_was_fetched_is_proven_up_to_the_segment_root() {
    let world = World::new(SMALL_CHUNKS);
    let reader = world.archive_reader();
    let with_operations = |slot: &&Slot| world.archive.blocks[slot].operation_count() > 0;
    let slot = *world.archive.blocks.keys().find(with_operations).unwrap();
    let record = &world.archive.blocks[&slot];
    let root = root_of(&world, slot.period);
    let reading = reader.slot(slot, ReadCheck::Meaning).unwrap();
    let evidence = reading.evidence(reader.store()).unwrap();
    assert!(evidence.is_closed());
    assert_proves(&evidence.block(slot.thread, record, true).unwrap(), &root, "block");
    assert_proves(&evidence.block(slot.thread, record, false).unwrap(), &root, "block");
    assert_proves(&evidence.operation(slot.thread, record, 0).unwrap(), &root, "operation");
    assert_proves(&evidence.period().unwrap(), &root, "period");
    assert!(matches!(evidence.miss(slot.thread), Err(ProveError::NotThere { .. })));
    assert!(matches!(evidence.lost(slot.thread), Err(ProveError::NotThere { .. })));

    let lost_slot = Slot::new(LOST_PERIOD, slot.thread);
    let lost = reader
        .slot(lost_slot, ReadCheck::Meaning)
        .unwrap()
        .evidence(reader.store())
        .unwrap();
    let has_block = lost.entry.ids().position(|id| id.is_some()).unwrap() as u8;
    assert_proves(&lost.lost(has_block).unwrap(), &root_of(&world, LOST_PERIOD), "lost");
}

#[test]
fn a_miss_is_proven() {
    let world = World::new(SMALL_CHUNKS);
    let missed = world
        .archive
        .slots()
        .find(|slot| !world.archive.blocks.contains_key(slot));
    let Some(slot) = missed else {
        // In upstream's periods every slot has a block: the lost period's misses are those of period 4.
        let lost = world
            .archive_reader()
            .slot(Slot::new(LOST_PERIOD, 0), ReadCheck::Meaning)
            .unwrap();
        let evidence = lost.evidence(&world.reader.store).unwrap();
        assert!(matches!(evidence.miss(0), Err(ProveError::NotThere { .. })));
        return;
    };
    let reading = world.archive_reader().slot(slot, ReadCheck::Meaning).unwrap();
    let document = reading
        .evidence(&world.reader.store)
        .unwrap()
        .miss(slot.thread)
        .unwrap();
    assert_proves(&document, &root_of(&world, slot.period), "miss");
}

#[test]
fn a_chunk_is_proven_by_whoever_has_the_table() {
    let world = World::new(SMALL_CHUNKS);
    let position = ChunkPosition::new(1, 3).unwrap();
    let document = prove_chunk(&world.reader.store, position).unwrap();
    assert_proves(&document, &root_of(&world, 2), "chunk");
    let no_chunk = prove_chunk(&world.reader.store, ChunkPosition::new(1, 9_999).unwrap());
    assert!(matches!(no_chunk, Err(ProofError::Nothing(ProveError::NoChunk { .. }))));
    let open = prove_chunk(&world.reader.store, ChunkPosition::new(9, 0).unwrap());
    assert!(matches!(open, Err(ProofError::NotClosed { segment: 9 })));
}

#[test]
fn while_the_segment_is_open_a_proof_ends_at_the_period_root() {
    let world = World::new(SMALL_CHUNKS);
    let node = Node::empty(&world.archive, IndexScopes::default());
    let segment = &world.archive.segments[0];
    node.take_blocks(&world.archive, segment);
    let (slot, record) = world.archive.blocks.iter().next().unwrap();
    let period_root = TrustedRoot::Period(segment.table.period(1).unwrap().root);

    let evidence = Evidence::of_store(&node.store, 1).unwrap();
    let open = evidence.block(slot.thread, record, true).unwrap();
    assert!(!evidence.is_closed() && open.segment.is_none());
    assert_proves(&open, &period_root, "block");
    assert!(check(&open, &root_of(&world, 1)).is_err());

    node.store.finish_closing(&segment.table).unwrap();
    let closed = Evidence::of_store(&node.store, 1)
        .unwrap()
        .block(slot.thread, record, true)
        .unwrap();
    assert_proves(&closed, &root_of(&world, 1), "block");
}

#[test]
fn what_is_not_there_is_named() {
    let world = World::new(SMALL_CHUNKS);
    let not_held = Evidence::of_store(&world.reader.store, 2).unwrap_err();
    assert!(matches!(not_held, ProofError::NotHeld { period: 2 }), "{not_held}");
    let open = Evidence::of_store(&world.reader.store, 99).unwrap_err();
    assert!(matches!(open, ProofError::NotComplete { period: 99 }), "{open}");
}
