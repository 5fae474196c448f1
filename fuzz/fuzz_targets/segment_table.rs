//! A segment's table from a peer.
#![no_main]

use libfuzzer_sys::fuzz_target;
use massa_distributed_storage_exports::segment_proof::check::{check, TrustedRoot};
use massa_distributed_storage_exports::segment_proof::ClosedSegment;
use massa_distributed_storage_exports::segment_table::{SegmentLeaf, SegmentTable, SegmentTree};

fuzz_target!(|bytes: &[u8]| {
    let header = SegmentTable::header_of(bytes);
    let Ok(table) = SegmentTable::from_bytes(bytes) else {
        return;
    };
    assert_eq!(header, Ok(*table.header()));
    assert_eq!(table.to_bytes(), bytes);
    assert_eq!(SegmentTable::length_of(table.header()), bytes.len());
    check_ranges(&table);
    let tree = table.tree();
    assert_eq!(tree.root(), table.root());
    check_paths(&table, &tree);
    check_proof(&table, &tree);
});

/// Periods, and chunks, make up the body without gaps.
fn check_ranges(table: &SegmentTable) {
    let header = table.header();
    let mut end = 0;
    for period in header.first_period..header.end_period() {
        let range = table.period_range(period).expect("a period of the segment");
        assert_eq!(range.start, end);
        assert_eq!(table.period_at(range.start), Some((period, range.start)));
        let chunks = table.chunks_of(&range);
        let (first, last) = (table.chunk_range(chunks.start), table.chunk_range(chunks.end - 1));
        assert!(first.contains(&range.start) && last.contains(&(range.end - 1)));
        end = range.end;
    }
    assert_eq!(end, header.body_length);
    assert_eq!(table.period_range(header.end_period()), None);
    let lengths: u64 = table.chunks().map(|chunk| u64::from(chunk.length)).sum();
    assert_eq!(lengths, header.body_length);
}

fn check_paths(table: &SegmentTable, tree: &SegmentTree) {
    let (header, root) = (table.header(), tree.root());
    let leaf = SegmentLeaf::Header(*header).hash();
    let path = tree.header_path();
    path.verify(leaf, root.as_bytes())
        .expect("the header is below the root");
    let period = header.end_period() - 1;
    let row = table.period(period).expect("the last period");
    let path = tree.period_path(period).expect("it has a path");
    path.verify(SegmentLeaf::Period { period, row }.hash(), root.as_bytes())
        .expect("the period is below the root");
    assert!(tree.period_path(header.end_period()).is_none());
    assert!(tree.chunk_path(header.chunk_count()).is_none());
}

fn check_proof(table: &SegmentTable, tree: &SegmentTree) {
    let closed = ClosedSegment { table, tree };
    let last = table.header().chunk_count() - 1;
    let document = closed.prove_chunk(last).expect("there is a last chunk");
    let proven = check(&document, &TrustedRoot::Segment(tree.root())).expect("what is proven can be checked");
    assert_eq!(proven.chunk, Some(last));
    assert!(closed.prove_chunk(last + 1).is_err());
}
