//! Placement on disk: frozen bytes, and what is refused.

use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::ChunkId;
use massa_distributed_storage_worker::replication::checkpoint::{CheckpointError, SavedSets};
use massa_distributed_storage_worker::replication::{NodesInForce, PlacementRules, PutSegmentError, SegmentPlacement};
use massa_models::address::Address;
use massa_signature::KeyPair;
use std::sync::Arc;

const RULES: PlacementRules = PlacementRules {
    chunk_bytes: 1000,
    segment_periods: 10,
    score_bits: 43,
};
/// Two chunks.
const BODY_BYTES: u64 = 1500;
const SEGMENT: u64 = 7;

fn node(name: u8, retention_periods: u64) -> StorageNode {
    StorageNode {
        node_id: None,
        address: Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key()),
        placement_key: [name; 32],
        allocated_storage_gb: u64::from(name),
        filled: name != 2,
        retention_periods,
        listeners: Vec::new(),
    }
}

/// Three nodes, the first is this one, the last has retention.
fn in_force() -> NodesInForce {
    NodesInForce {
        nodes: Arc::new(NodeSet::new(vec![node(1, 0), node(2, 0), node(3, 45)])),
        own: Some(0),
        replication_factor: 2,
    }
}

fn ids(_: u64) -> Option<Vec<ChunkId>> {
    Some(vec![ChunkId::from_bytes([4; 32]), ChunkId::from_bytes([5; 32])])
}

fn saved() -> (Vec<u8>, Vec<u8>) {
    let mut placement = SegmentPlacement::new(RULES, in_force());
    placement.put_segment(SEGMENT, BODY_BYTES).unwrap();
    placement.step(usize::MAX, &ids);
    let mut rows = placement.take_rows(1);
    (rows.header.unwrap(), rows.segments.pop().unwrap().1.unwrap())
}

fn empty() -> (SegmentPlacement, SavedSets) {
    let mut placement = SegmentPlacement::new(RULES, in_force());
    let sets = placement.read_header(&saved().0).unwrap();
    (placement, sets)
}

fn restored(row: &[u8]) -> Result<(), CheckpointError> {
    let (mut placement, sets) = empty();
    let result = placement.restore_segment(&sets, SEGMENT, BODY_BYTES, row);
    assert_eq!(placement.placed_for(SEGMENT).is_some(), result.is_ok());
    result
}

fn read_header(bytes: &[u8]) -> Result<(), CheckpointError> {
    let mut placement = SegmentPlacement::new(RULES, in_force());
    placement.read_header(bytes).map(drop)
}

#[test]
fn the_bytes_on_disk_are_frozen() {
    let (header, row) = saved();
    let keys = ["01", "02", "03"].map(|name| name.repeat(32));
    let all = "f".repeat(16);
    let expected = [
        // Version, bits, sets; factor, own, nodes.
        "012b01",
        "020000000000000003000000",
        &keys[0],
        "0100000000000000",
        &all,
        "01",
        &keys[1],
        "0200000000000000",
        &all,
        "00",
        &keys[2],
        "0300000000000000",
        "0400000000000000",
        "01",
    ];
    assert_eq!(hex::encode(header), expected.concat());
    let expected = [
        // Version, set, reach, bytes, own chunks.
        "01",
        "d247064385e68aaf8cbab8e06e586ee3",
        "0400000000000000",
        "dc05000000000000",
        "02000000",
        // Holders of each chunk that count: the node named 3 before this one; this one before that.
        "020000203bff785e",
        "000000c899ef0a76",
        "0000000092ebf746",
        "020055653f6f346e",
        // Own chunks: the node named 2 is unfilled and ranks above this one both times.
        "0000020000c899ef0a76",
        "01000100000092ebf746",
    ];
    assert_eq!(hex::encode(row), expected.concat());
}

#[test]
fn what_was_saved_comes_back() {
    let (mut placement, sets) = empty();
    let (_, row) = saved();
    placement.restore_segment(&sets, SEGMENT, BODY_BYTES, &row).unwrap();
    assert!(placement.is_settled(SEGMENT));
    // Nothing is to be written, nothing to be placed.
    assert_eq!(placement.take_rows(10).segments, []);
    placement.step(usize::MAX, &|_| None);
    assert_eq!((placement.costs().hashes, placement.costs().segments_read), (0, 0));
}

#[test]
fn a_header_that_ends_early_or_late_is_refused() {
    let (header, _) = saved();
    for end in 0..header.len() {
        assert_eq!(
            read_header(&header[..end]),
            Err(CheckpointError::Length("header")),
            "{end}"
        );
    }
    let longer = [&header[..], &[0]].concat();
    assert_eq!(read_header(&longer), Err(CheckpointError::Length("header")));
}

#[test]
fn a_row_that_ends_early_or_late_is_refused() {
    let (_, row) = saved();
    for end in 0..row.len() {
        assert_eq!(restored(&row[..end]), Err(CheckpointError::Length("segment")), "{end}");
    }
    let longer = [&row[..], &[0]].concat();
    assert_eq!(restored(&longer), Err(CheckpointError::Length("segment")));
    assert_eq!(restored(&row), Ok(()));
}

fn with(bytes: &[u8], at: usize, value: u8) -> Vec<u8> {
    let mut changed = bytes.to_vec();
    changed[at] = value;
    changed
}

fn range(field: &'static str, value: u64) -> Result<(), CheckpointError> {
    Err(CheckpointError::Range { field, value })
}

#[test]
fn what_another_version_wrote_is_refused() {
    let (header, row) = saved();
    assert_eq!(read_header(&with(&header, 0, 2)), Err(CheckpointError::Version(2)));
    assert_eq!(restored(&with(&row, 0, 2)), Err(CheckpointError::Version(2)));
    let bits = CheckpointError::ScoreBits {
        found: 42,
        expected: 43,
    };
    assert_eq!(read_header(&with(&header, 1, 42)), Err(bits));
}

#[test]
fn numbers_of_a_header_out_of_range_are_refused_before_anything_is_allocated() {
    let (header, _) = saved();
    assert_eq!(read_header(&with(&header, 2, 255)), range("number of sets", 255));
    assert_eq!(read_header(&with(&header, 3, 0)), range("replication factor", 0));
    assert_eq!(read_header(&with(&header, 7, 3)), range("index of this node", 3));
    assert_eq!(
        read_header(&with(&header, 14, 1)),
        range("number of nodes", (1 << 24) + 3)
    );
    // The second node has the key of the first.
    let first = header[15..47].to_vec();
    let mut same = header.clone();
    same[64..96].copy_from_slice(&first);
    assert_eq!(read_header(&same), range("order of a node", 1));
}

#[test]
fn numbers_of_a_row_out_of_range_are_refused() {
    let (_, row) = saved();
    // Version, name, reach, bytes; then the number of own chunks, and two holders of each of two chunks.
    assert_eq!(restored(&with(&row, 33, 3)), Err(CheckpointError::Length("segment")));
    assert_eq!(restored(&with(&row, 37, 3)), range("index of a holder", 3));
    let own = 37 + 4 * 8;
    assert_eq!(restored(&with(&row, own, 2)), range("own chunk", 2));
}

#[test]
fn a_row_of_an_unknown_set_or_of_another_segment_is_refused() {
    let (_, row) = saved();
    assert!(matches!(
        restored(&with(&row, 1, row[1] ^ 1)),
        Err(CheckpointError::UnknownSet { segment: SEGMENT, .. })
    ));
    let (mut placement, sets) = empty();
    let other = CheckpointError::OtherSegment {
        segment: SEGMENT,
        found: BODY_BYTES,
        expected: BODY_BYTES + 1,
    };
    let refused = placement.restore_segment(&sets, SEGMENT, BODY_BYTES + 1, &row);
    assert_eq!(refused, Err(other));
    let refused = placement.restore_segment(&sets, 1 << 24, BODY_BYTES, &row);
    assert_eq!(refused, Err(PutSegmentError::Number(1 << 24).into()));
}
