//! Known answers of archive format 2, from an independent implementation (`tests/data/segment-vectors.json`), and the same rules
//! written a second time below, compared on random segments.

mod common;

use common::segments::{period, table_of};
use common::*;
use massa_distributed_storage_exports::entry::{EntryError, PeriodEntry, PeriodState};
use massa_distributed_storage_exports::period::{EncodedPeriod, UnsignedRecord};
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, TableError};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_tests::data_path;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vectors {
    chain_id: u64,
    threads: u8,
    segment_periods: u64,
    sets: Vec<VectorSet>,
}

#[derive(Deserialize)]
struct VectorSet {
    chunk_size: u32,
    segments: Vec<SegmentVector>,
}

#[derive(Deserialize)]
struct SegmentVector {
    segment: u64,
    first_period: u64,
    periods: Vec<PeriodVector>,
    body_length: u64,
    body_blake3: String,
    bytes_before: u64,
    previous_root: String,
    chunks: Vec<ChunkVector>,
    leaves: usize,
    root: String,
}

#[derive(Deserialize)]
struct PeriodVector {
    period: u64,
    length: u32,
    bytes_blake3: String,
    root: String,
}

#[derive(Deserialize)]
struct ChunkVector {
    index: u32,
    length: u32,
    id: String,
}

fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[test]
fn segments_are_those_of_the_independent_implementation() {
    let text = std::fs::read(data_path("segment-vectors.json")).unwrap();
    let vectors: Vectors = serde_json::from_slice(&text).unwrap();
    assert_eq!(vectors.sets.len(), 2);
    for set in &vectors.sets {
        let parameters = ArchiveParameters {
            chunk_size: set.chunk_size,
            segment_periods: vectors.segment_periods,
            first_period: 1,
            ..ArchiveParameters::new(vectors.chain_id, vectors.threads)
        };
        parameters.check_segment().unwrap();
        assert_eq!(set.segments.len(), 4);
        for vector in &set.segments {
            check_segment(&parameters, vector);
        }
    }
}

fn check_segment(parameters: &ArchiveParameters, vector: &SegmentVector) {
    let periods: Vec<EncodedPeriod> = vector.periods.iter().map(|of| period(parameters, of.period)).collect();
    for (encoded, expected) in periods.iter().zip(&vector.periods) {
        assert_eq!(encoded.bytes.len() as u32, expected.length);
        assert_eq!(hash_of(&encoded.bytes), expected.bytes_blake3);
        let root = encoded.entry.root(parameters.chain_id, encoded.period);
        assert_eq!(root.to_string(), expected.root);
    }
    let previous = hex::decode(&vector.previous_root).unwrap().try_into().unwrap();
    let table = table_of(parameters, &periods, vector.bytes_before, previous);
    assert_eq!(table.header().segment, vector.segment);
    assert_eq!(table.header().first_period, vector.first_period);
    assert_eq!(table.header().body_length, vector.body_length);
    let body: Vec<u8> = periods.iter().flat_map(|period| period.bytes.clone()).collect();
    assert_eq!(hash_of(&body), vector.body_blake3);
    assert_eq!(table.chunk_ids().len(), vector.chunks.len());
    for (chunk, expected) in table.chunks().zip(&vector.chunks) {
        assert_eq!(
            (chunk.length, chunk.id.to_string()),
            (expected.length, expected.id.clone()),
            "{}",
            expected.index
        );
    }
    assert_eq!(1 + table.periods().len() + table.chunk_ids().len(), vector.leaves);
    assert_eq!(table.root().to_string(), vector.root);
    table.check_network(parameters, vector.segment).unwrap();
    check_paths(&table);
    assert_eq!(SegmentTable::from_bytes(&table.to_bytes()), Ok(table));
}

fn check_paths(table: &SegmentTable) {
    use massa_distributed_storage_exports::segment_table::SegmentLeaf;
    let (tree, root) = (table.tree(), table.root());
    let header = SegmentLeaf::Header(*table.header());
    tree.header_path().verify(header.hash(), root.as_bytes()).unwrap();
    for (row, index) in table.chunks().zip(0..) {
        let path = tree.chunk_path(index).unwrap();
        path.verify(SegmentLeaf::Chunk { index, row }.hash(), root.as_bytes())
            .unwrap();
        let moved = SegmentLeaf::Chunk { index: index + 1, row };
        assert!(path.verify(moved.hash(), root.as_bytes()).is_err());
    }
    for (row, period) in table.periods().iter().zip(table.header().first_period..) {
        let path = tree.period_path(period).unwrap();
        let leaf = SegmentLeaf::Period { period, row: *row };
        path.verify(leaf.hash(), root.as_bytes()).unwrap();
    }
    assert!(tree.period_path(table.header().end_period()).is_none());
    assert!(tree.chunk_path(table.header().chunk_count()).is_none());
}

#[test]
fn every_block_is_found_through_the_entry_and_gets_its_signatures_back() {
    let parameters = ArchiveParameters::new(CHAIN_ID, THREADS);
    for number in periods() {
        let records = slots_of(number);
        let encoded = period(&parameters, number);
        let entry = PeriodEntry::read(
            &mut massa_distributed_storage_exports::bytes::Reader::new(&encoded.bytes),
            THREADS,
        );
        assert_eq!(entry.as_ref(), Ok(&encoded.entry));
        let mut signatures = encoded.signatures.iter();
        for (record, thread) in records.iter().zip(0..) {
            let range = encoded.entry.block_range(thread, encoded.bytes.len() as u32);
            let Some(record) = record else {
                assert_eq!(range, None);
                continue;
            };
            let range = range.unwrap();
            let unsigned = UnsignedRecord::parse(&encoded.bytes[range.start as usize..range.end as usize]).unwrap();
            let own: Vec<_> = signatures.by_ref().take(unsigned.objects().len()).collect();
            let ends: Vec<u32> = unsigned.object_ends().iter().map(|end| range.start + end).collect();
            assert_eq!(own.iter().map(|signature| signature.end).collect::<Vec<_>>(), ends);
            let signed: Vec<_> = own.iter().map(|signature| signature.signature).collect();
            assert_eq!(unsigned.signed(&signed).unwrap(), *record);
            assert_eq!(
                unsigned.view(THREADS).unwrap().block_id(),
                record.view(THREADS).unwrap().block_id()
            );
        }
        assert_eq!(signatures.next(), None);
    }
}

#[test]
fn an_entry_says_whose_bytes_begin_where_and_nothing_else() {
    let parameters = ArchiveParameters::new(CHAIN_ID, THREADS);
    let entry = period(&parameters, 1).entry;
    let bytes = entry.to_bytes();
    assert_eq!(PeriodEntry::from_bytes(&bytes, THREADS), Ok(entry.clone()));
    for end in 0..bytes.len() {
        assert!(matches!(
            PeriodEntry::from_bytes(&bytes[..end], THREADS),
            Err(EntryError::Truncated(_))
        ));
    }
    assert_eq!(
        PeriodEntry::from_bytes(&[&bytes[..], &[0]].concat(), THREADS),
        Err(EntryError::TrailingBytes(1))
    );
    let state = |state| [&[state], &bytes[1..]].concat();
    assert_eq!(PeriodEntry::from_bytes(&state(2), THREADS), Err(EntryError::State(2)));
    // Every changed bit changes the root, or is refused; offsets are refused unless they still ascend.
    let root = entry.root(CHAIN_ID, 1);
    for offset in 0..bytes.len() {
        if let Ok(other) = PeriodEntry::from_bytes(&damaged(&bytes, offset), THREADS) {
            let same_ids = other.state() == PeriodState::Whole && other.ids().eq(entry.ids());
            assert_eq!(other.root(CHAIN_ID, 1) == root, same_ids);
            assert_ne!(other, entry);
        }
    }
    assert_ne!(entry.root(CHAIN_ID, 2), root);
    assert_ne!(entry.root(CHAIN_ID + 1, 1), root);
}

#[test]
fn a_slot_is_proven_by_its_path_to_the_period_root() {
    let parameters = ArchiveParameters::new(CHAIN_ID, THREADS);
    for number in 1..=6 {
        let entry = period(&parameters, number).entry;
        let root = entry.root(CHAIN_ID, number);
        for thread in 0..THREADS {
            let (leaf, path) = entry.prove_slot(CHAIN_ID, number, thread).unwrap();
            path.verify(leaf.hash(), root.as_bytes()).unwrap();
            let miss = massa_distributed_storage_exports::entry::SlotLeaf { thread, block: None };
            assert_eq!(path.verify(miss.hash(), root.as_bytes()).is_ok(), leaf.block.is_none());
        }
        assert!(entry.prove_slot(CHAIN_ID, number, THREADS).is_none());
    }
}

#[test]
fn a_lost_period_has_ids_and_no_bytes() {
    assert_eq!(PeriodEntry::lost(&[None, None]), None);
    let parameters = ArchiveParameters::new(CHAIN_ID, THREADS);
    let lost = period(&parameters, 5);
    assert_eq!(PeriodEntry::from_bytes(&lost.bytes, THREADS), Ok(lost.entry.clone()));
    assert_eq!(lost.entry.block_range(0, lost.bytes.len() as u32), None);
    // The same ids in a whole period have another root.
    assert_ne!(
        lost.entry.root(CHAIN_ID, 4),
        period(&parameters, 4).entry.root(CHAIN_ID, 4)
    );
    let nothing = [&[1u8][..], &[0; THREADS as usize]].concat();
    assert_eq!(PeriodEntry::from_bytes(&nothing, THREADS), Err(EntryError::NothingLost));
}

#[test]
fn a_table_whose_fields_do_not_fit_is_refused() {
    let parameters = ArchiveParameters {
        chunk_size: 1 << 16,
        segment_periods: 2,
        first_period: 1,
        ..ArchiveParameters::new(CHAIN_ID, THREADS)
    };
    let table = table_of(
        &parameters,
        &[period(&parameters, 2), period(&parameters, 3)],
        7,
        [9; 32],
    );
    let bytes = table.to_bytes();
    assert_eq!(bytes.len(), SegmentTable::length_of(table.header()));
    for end in 0..bytes.len() {
        assert!(SegmentTable::from_bytes(&bytes[..end]).is_err(), "{end}");
    }
    assert_eq!(
        SegmentTable::from_bytes(&[&bytes[..], &[0]].concat()),
        Err(TableError::TrailingBytes(1))
    );
    let root = table.root();
    for offset in 0..bytes.len() {
        if let Ok(other) = SegmentTable::from_bytes(&damaged(&bytes, offset)) {
            assert_ne!(other.root(), root, "byte {offset} is not under the root");
        }
    }
    assert!(matches!(SegmentTable::from_bytes(&[1]), Err(TableError::Format(1))));
    let refuse = |change: &dyn Fn(&mut SegmentHeader)| {
        let mut header = *table.header();
        change(&mut header);
        SegmentTable::new(header, table.periods().to_vec(), table.chunk_ids().to_vec()).unwrap_err()
    };
    assert_eq!(refuse(&|header| header.periods = 0), TableError::Shape("periods"));
    assert_eq!(
        refuse(&|header| header.periods = u32::MAX),
        TableError::Shape("periods")
    );
    assert_eq!(refuse(&|header| header.threads = 0), TableError::Shape("threads"));
    assert_eq!(refuse(&|header| header.chunk_size = 3), TableError::Shape("chunk size"));
    assert_eq!(refuse(&|header| header.segment = 1 << 24), TableError::Shape("segment"));
    assert_eq!(
        refuse(&|header| header.first_period = u64::MAX),
        TableError::Shape("first period")
    );
    assert_eq!(
        refuse(&|header| header.bytes_before = u64::MAX),
        TableError::Shape("bytes before")
    );
    assert_eq!(
        refuse(&|header| header.body_length = u64::MAX),
        TableError::Shape("periods")
    );
    assert!(matches!(
        refuse(&|header| header.body_length += 1),
        TableError::Lengths { .. }
    ));
    for (field, error) in [
        ("segment", table.check_network(&parameters, 2)),
        (
            "chain_id",
            table.check_network(
                &ArchiveParameters {
                    chain_id: 1,
                    ..parameters.clone()
                },
                1,
            ),
        ),
        (
            "periods",
            table.check_network(
                &ArchiveParameters {
                    first_period: 3,
                    ..parameters.clone()
                },
                1,
            ),
        ),
    ] {
        assert!(error.unwrap_err().to_string().contains(match field {
            "periods" => "first_period",
            other => other,
        }));
    }
}

#[test]
fn positions_in_the_body_are_sums_of_lengths() {
    let parameters = ArchiveParameters {
        chunk_size: 1 << 16,
        segment_periods: 4,
        ..ArchiveParameters::new(CHAIN_ID, THREADS)
    };
    let periods: Vec<EncodedPeriod> = (4..8).map(|number| period(&parameters, number)).collect();
    let table = table_of(&parameters, &periods, 0, [0; 32]);
    let mut start = 0;
    for encoded in &periods {
        let range = table.period_range(encoded.period).unwrap();
        assert_eq!(range, start..start + encoded.bytes.len() as u64);
        assert_eq!(table.period_at(range.start), Some((encoded.period, start)));
        assert_eq!(table.period_at(range.end - 1), Some((encoded.period, start)));
        for chunk in table.chunks_of(&range) {
            assert!(table.periods_of_chunk(chunk).unwrap().contains(&encoded.period));
        }
        start = range.end;
    }
    assert_eq!(table.period_at(start), None);
    assert_eq!(table.period_range(8), None);
    assert_eq!(table.period_reaching_into(0), None);
    assert_eq!(table.period_reaching_into(1), Some(4));
}

#[test]
fn parameters_whose_segments_could_outgrow_their_tree_are_refused() {
    let parameters = ArchiveParameters::new(CHAIN_ID, THREADS);
    parameters.check_segment().unwrap();
    // 32 threads · 2 MiB · periods / 64 KiB chunks + periods + 1 ≤ 65 536
    let small = |segment_periods| ArchiveParameters {
        chunk_size: 1 << 16,
        segment_periods,
        ..parameters.clone()
    };
    small(63).check_segment().unwrap();
    assert!(small(64)
        .check_segment()
        .unwrap_err()
        .to_string()
        .contains("challenge_frequency_periods"));
}
