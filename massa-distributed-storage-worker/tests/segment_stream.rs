//! The stream of a segment: known answers of an independent implementation, a second implementation compared on random segments,
//! and a stream that is taken up at any point.

mod common;

use common::second_segment::{self, Network, PeriodInput, SegmentKept};
use common::{Chain, Shape};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::merkle::root_of_leaves;
use massa_distributed_storage_exports::period::{EncodedPeriod, UnsignedRecord};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::{LEAF_BYTES, PAGE_BYTES};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::chunking::objects::{IndexedObjects, ObjectId};
use massa_distributed_storage_worker::chunking::segment::{
    first_unfinished, prove_leaf, FinishedChunk, SegmentStream, StreamError,
};
use massa_models::slot::Slot;
use massa_tests::filler;
use massa_tests::segment_cases::{segment_cases, SegmentCase};
use massa_tests::{data_path, read_mblk};
use proptest::prelude::*;
use serde::Deserialize;

const ALL: IndexedObjects = IndexedObjects::All;

/// A whole segment: its table and every chunk.
fn close(
    parameters: &ArchiveParameters,
    segment: u64,
    periods: &[EncodedPeriod],
) -> (SegmentTable, Vec<FinishedChunk>) {
    close_after(parameters, segment, periods, ([0; 32], 0))
}

fn close_after(
    parameters: &ArchiveParameters,
    segment: u64,
    periods: &[EncodedPeriod],
    (previous, before): ([u8; 32], u64),
) -> (SegmentTable, Vec<FinishedChunk>) {
    let mut stream = SegmentStream::new(parameters, segment, ALL);
    let mut chunks = Vec::new();
    for period in periods {
        stream.push(period).unwrap();
        chunks.extend(stream.take_finished());
    }
    let (table, last) = stream.finish(previous, before).unwrap();
    assert!(last.len() <= 1, "only the last chunk is left");
    chunks.extend(last);
    (table, chunks)
}

fn whole(parameters: &ArchiveParameters, period: u64, records: &[Option<BlockRecord>]) -> EncodedPeriod {
    let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
    EncodedPeriod::whole(parameters, period, &slots).unwrap()
}

/// The same period, with its blocks lost.
fn lost(period: &EncodedPeriod) -> EncodedPeriod {
    let ids: Vec<_> = period.entry.ids().collect();
    EncodedPeriod::lost(period.period, PeriodEntry::lost(&ids).unwrap())
}

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
    periods: Vec<NumberedPeriod>,
    bytes_before: u64,
    previous_root: String,
    chunks: Vec<ChunkVector>,
    root: String,
}

#[derive(Deserialize)]
struct NumberedPeriod {
    period: u64,
}

#[derive(Deserialize)]
struct ChunkVector {
    length: u32,
    id: String,
}

/// Periods 1 to 4 are upstream's; 5 is a lost period with the ids of period 4; in 6 and 7 every slot was missed.
#[test]
fn segments_of_upstreams_blocks_are_those_of_the_independent_implementation() {
    let text = std::fs::read(data_path("segment-vectors.json")).unwrap();
    let vectors: Vectors = serde_json::from_slice(&text).unwrap();
    let upstream = read_mblk(&data_path("upstream-blocks-4-periods.mblk"));
    assert_eq!(vectors.sets.len(), 2);
    for set in &vectors.sets {
        let parameters = ArchiveParameters {
            chunk_size: set.chunk_size,
            segment_periods: vectors.segment_periods,
            first_period: 1,
            ..ArchiveParameters::new(vectors.chain_id, vectors.threads)
        };
        let encoded = |period: u64| match period {
            1..=4 => whole(&parameters, period, &upstream.periods()[&period]),
            5 => EncodedPeriod {
                period,
                ..lost(&whole(&parameters, 4, &upstream.periods()[&4]))
            },
            _ => whole(&parameters, period, &vec![None; usize::from(vectors.threads)]),
        };
        for vector in &set.segments {
            let periods: Vec<_> = vector.periods.iter().map(|of| encoded(of.period)).collect();
            let previous = hex::decode(&vector.previous_root).unwrap().try_into().unwrap();
            let (table, chunks) = close_after(&parameters, vector.segment, &periods, (previous, vector.bytes_before));
            assert_eq!(table.root().to_string(), vector.root);
            let found: Vec<_> = chunks
                .iter()
                .map(|chunk| (chunk.row.length, chunk.row.id.to_string()))
                .collect();
            let expected: Vec<_> = vector
                .chunks
                .iter()
                .map(|chunk| (chunk.length, chunk.id.clone()))
                .collect();
            assert_eq!(found, expected);
        }
    }
}

#[test]
fn border_cases_are_those_of_the_independent_implementation() {
    let cases = segment_cases();
    assert!(cases.cases.len() >= 40);
    for case in &cases.cases {
        check_case(case);
    }
}

fn check_case(case: &SegmentCase) {
    let parameters = case.parameters();
    let periods = case.encoded(&parameters);
    let (mut previous, mut before) = ([0; 32], 0);
    for vector in &case.segments {
        let name = format!(
            "{}, chunks of {}, segment {}",
            case.name, case.chunk_size, vector.segment
        );
        let own: Vec<_> = periods
            .iter()
            .filter(|period| parameters.segment_of(period.period) == vector.segment)
            .cloned()
            .collect();
        assert_eq!(before, vector.bytes_before, "{name}");
        let (table, chunks) = close_after(&parameters, vector.segment, &own, (previous, before));
        let rows = table.periods();
        assert!(
            rows.iter().map(|row| row.root).eq(vector.period_roots.iter().copied()),
            "{name}"
        );
        assert!(
            rows.iter()
                .map(|row| row.length)
                .eq(vector.period_lengths.iter().copied()),
            "{name}"
        );
        assert_eq!(table.header().body_length, vector.body_length, "{name}");
        let body: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.pages.concat()).collect();
        assert_eq!(blake3::hash(&body).to_hex().to_string(), vector.body_hash, "{name}");
        assert_eq!(chunks.len(), vector.chunks.len(), "{name}");
        for (chunk, expected) in chunks.iter().zip(&vector.chunks) {
            let name = format!("{name}, chunk {}", chunk.index);
            assert_eq!(
                (chunk.row.length, chunk.row.id),
                (expected.length, expected.id),
                "{name}"
            );
            let mut beside = Vec::new();
            let signatures = chunk.signatures.iter().flatten();
            signatures.clone().for_each(|signature| signature.write(&mut beside));
            assert_eq!(signatures.count(), expected.signatures, "{name}");
            assert_eq!(
                blake3::hash(&beside).to_hex().to_string(),
                expected.signatures_hash,
                "{name}"
            );
            let reaching_in = chunk.reaching_in.as_ref().map(|reaching| reaching.period);
            assert_eq!(reaching_in, expected.reaching_in, "{name}");
        }
        assert_eq!(table.root(), vector.root, "{name}");
        (previous, before) = (table.root().to_bytes(), before + vector.body_length);
    }
}

/// What the cases are called for really happens in them.
#[test]
fn the_cases_hit_the_borders_that_they_name() {
    for case in &segment_cases().cases {
        let first = &case.segments[0];
        let rows = &first.chunks;
        match case.name.as_str() {
            "empty" => assert_eq!((first.body_length, rows.len()), (4 * 33, 1)),
            "near-empty" => assert!(case.segments.iter().all(|segment| segment.body_length < 1 << 20)),
            "full" => assert!(first.body_length > 18_000_000),
            "lost in the middle" => assert!(case.periods[1].lost),
            "begins inside the chain and a segment" => {
                assert_eq!((first.segment, first.period_roots.len(), first.bytes_before), (1, 2, 0));
                assert_eq!(case.segments.len(), 3);
            }
            "begins inside the chain with its last period" => assert_eq!(first.period_roots.len(), 1),
            name if name.starts_with("a period ends on") => {
                let border = u64::from(first.period_lengths[0]);
                assert_eq!(border % PAGE_BYTES as u64, 0);
                let chunk = border / u64::from(case.chunk_size);
                if border % u64::from(case.chunk_size) == 0 {
                    assert_eq!(rows[chunk as usize].reaching_in, None);
                }
            }
            _ => {}
        }
    }
}

/// A period of random blocks, as the product and as the second implementation take it.
struct RandomSegment {
    parameters: ArchiveParameters,
    segment: u64,
    inputs: Vec<PeriodInput>,
    encoded: Vec<EncodedPeriod>,
}

fn random_segment(seed: u64, threads: u8, periods: u64, operation_bytes: usize, lost_mask: u8) -> RandomSegment {
    let mut chain = Chain::new(threads, seed);
    let shape = Shape {
        miss_one_in: 3,
        operations: (seed % 4) as usize,
        operation_bytes: 100 + operation_bytes,
    };
    let parameters = ArchiveParameters {
        chunk_size: PAGE_BYTES as u32 * if seed % 2 == 0 { 1 } else { 2 },
        segment_periods: periods,
        ..chain.parameters.clone()
    };
    (0..periods).for_each(|_| drop(chain.next_period(shape)));
    let (mut inputs, mut encoded) = (Vec::new(), Vec::new());
    for period in periods..2 * periods {
        let records = chain.next_period(shape);
        let made = whole(&parameters, period, &records);
        let is_lost = lost_mask >> (period % 8) & 1 == 1 && made.entry.block_count() > 0;
        encoded.push(if is_lost { lost(&made) } else { made });
        let blocks = records.iter().zip(0..).filter_map(|(record, thread)| {
            let objects = record.as_ref()?.objects().map(<[u8]>::to_vec).collect();
            Some((thread, objects))
        });
        inputs.push(PeriodInput {
            period,
            lost: is_lost,
            blocks: blocks.collect(),
        });
    }
    RandomSegment {
        parameters,
        segment: 1,
        inputs,
        encoded,
    }
}

fn second(random: &RandomSegment, before: u64, previous: [u8; 32]) -> SegmentKept {
    let network = Network {
        chain_id: random.parameters.chain_id,
        threads: random.parameters.thread_count,
        chunk_size: random.parameters.chunk_size as usize,
    };
    second_segment::segment(network, &random.inputs, (random.segment, before, previous))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn a_second_implementation_agrees_on_random_segments(
        seed in any::<u64>(),
        threads in 1u8..6,
        periods in 1u64..7,
        operation_bytes in prop_oneof![0usize..2_000, 10_000usize..70_000],
        lost_mask in any::<u8>(),
        before in 0u64..1 << 40,
        previous in any::<[u8; 32]>(),
    ) {
        let random = random_segment(seed, threads, periods, operation_bytes, lost_mask);
        let expected = second(&random, before, previous);
        let (table, chunks) = close_after(&random.parameters, random.segment, &random.encoded, (previous, before));

        prop_assert_eq!(table.root().to_bytes(), expected.root);
        prop_assert_eq!(table.header().body_length, expected.body_length);
        let rows: Vec<_> = table.periods().iter().map(|row| (row.length, row.root.to_bytes())).collect();
        prop_assert_eq!(rows, expected.period_rows);
        prop_assert_eq!(chunks.len(), expected.chunks.len());
        for (chunk, expected) in chunks.iter().zip(&expected.chunks) {
            prop_assert_eq!(&kept(chunk), expected);
            prop_assert_eq!(table.chunk(chunk.index), Some(chunk.row));
            prop_assert_eq!(table.period_reaching_into(chunk.index), chunk.reaching_in.as_ref().map(|into| into.period));
        }
    }

    #[test]
    fn a_stream_that_is_taken_up_anywhere_ends_in_the_same_root(
        seed in any::<u64>(),
        periods in 1u64..7,
        operation_bytes in prop_oneof![0usize..2_000, 10_000usize..70_000],
        lost_mask in any::<u8>(),
    ) {
        let random = random_segment(seed, 3, periods, operation_bytes, lost_mask);
        let (parameters, encoded) = (&random.parameters, &random.encoded);
        let (table, chunks) = close(parameters, 1, encoded);
        for joined in 0..=encoded.len() {
            let rows = table.periods()[..joined].to_vec();
            let (first, start) = first_unfinished(parameters.chunk_size, &rows);
            let length: u64 = rows.iter().map(|row| u64::from(row.length)).sum();
            let full = (length / u64::from(parameters.chunk_size)) as usize;
            prop_assert!(start <= length);
            let stream = SegmentStream::new(parameters, 1, ALL);
            let ids = table.chunk_ids()[..full].to_vec();
            let mut stream = stream.resume(rows, ids, &encoded[first..joined]).unwrap();
            prop_assert_eq!(stream.length(), length);
            for period in &encoded[joined..] {
                stream.push(period).unwrap();
            }
            let (again, rest) = stream.finish([0; 32], 0).unwrap();
            prop_assert_eq!(&again, &table);
            prop_assert_eq!(&rest[..], &chunks[full..]);
        }
    }

    #[test]
    fn every_leaf_is_proven_from_its_page_and_the_page_roots(seed in any::<u64>(), operation_bytes in 0usize..60_000) {
        let random = random_segment(seed, 3, 3, operation_bytes, 0);
        let (_, chunks) = close(&random.parameters, 1, &random.encoded);
        for chunk in &chunks {
            let bytes = chunk.pages.concat();
            for (leaf, index) in bytes.chunks(LEAF_BYTES).zip(0..) {
                let page = &chunk.pages[index as usize * LEAF_BYTES / PAGE_BYTES];
                let proof = prove_leaf(&chunk.page_roots, page, index).unwrap();
                prop_assert_eq!(&proof.bytes[..], leaf);
                prop_assert_eq!(proof.verify(&chunk.row), Ok(()));
            }
            let beyond = chunk.row.leaf_count();
            prop_assert_eq!(prove_leaf(&chunk.page_roots, chunk.pages.last().unwrap(), beyond), None);
        }
    }
}

fn kept(chunk: &FinishedChunk) -> second_segment::ChunkKept {
    let signatures = chunk.signatures.iter().map(|page| {
        let of_page = page.iter().map(|tagged| (tagged.last, tagged.signature.to_vec()));
        of_page.collect()
    });
    let reaching_in = chunk.reaching_in.as_ref();
    second_segment::ChunkKept {
        bytes: chunk.pages.concat(),
        id: chunk.row.id.to_bytes(),
        signatures: signatures.collect(),
        reaching_in: reaching_in.map(|into| (into.period, into.start, into.entry.to_bytes())),
    }
}

/// Two segments of four periods with blocks of 40 kB, chunks of one page.
fn example() -> RandomSegment {
    random_segment(2, 3, 4, 20_000, 0)
}

#[test]
fn pages_are_whole_but_the_last_and_their_roots_lead_to_the_chunk_id() {
    let random = random_segment(3, 4, 4, 60_000, 0);
    let (table, chunks) = close(&random.parameters, 1, &random.encoded);
    assert!(chunks.len() > 3);
    for chunk in &chunks {
        let bytes = chunk.pages.concat();
        assert!(chunk
            .pages
            .iter()
            .map(Vec::len)
            .eq(bytes.chunks(PAGE_BYTES).map(<[u8]>::len)));
        let all_leaves = root_of_leaves(bytes.chunks(LEAF_BYTES));
        assert_eq!(chunk.row.id.to_bytes(), all_leaves);
        let pages = bytes
            .chunks(PAGE_BYTES)
            .map(|page| root_of_leaves(page.chunks(LEAF_BYTES)));
        assert!(chunk.page_roots.iter().copied().eq(pages));
    }
    let body: Vec<u8> = random.encoded.iter().flat_map(|period| period.bytes.clone()).collect();
    assert_eq!(
        chunks.iter().flat_map(|chunk| chunk.pages.concat()).collect::<Vec<_>>(),
        body
    );
    assert_eq!(table.header().body_length, body.len() as u64);
}

#[test]
fn a_period_tells_which_chunks_it_touches_finishes_and_fills() {
    let random = example();
    let size = u64::from(random.parameters.chunk_size);
    let mut stream = SegmentStream::new(&random.parameters, 1, IndexedObjects::None);
    let (mut start, mut ids) = (0, Vec::new());
    for period in &random.encoded {
        let joined = stream.push(period).unwrap();
        let end = start + period.bytes.len() as u64;
        assert_eq!(joined.chunks, (start / size) as u32..end.div_ceil(size) as u32);
        assert_eq!(joined.first_finished as usize, ids.len());
        ids.extend(joined.finished.clone());
        assert_eq!(ids.len() as u64, end / size);
        let filling = (end % size != 0).then_some((end / size) as u32);
        assert_eq!(joined.filling(), filling);
        start = end;
    }
    assert_eq!(stream.chunk_ids(), ids);
    let handed_out = stream.take_finished();
    assert!(handed_out.iter().map(|chunk| chunk.row.id).eq(ids.iter().copied()));
    assert!(
        handed_out.iter().all(|chunk| chunk.objects.is_empty()),
        "no index was asked for"
    );
    assert!(stream.take_finished().is_empty());
}

/// A period ends where a chunk ends: nothing is filling, and no period reaches into the next chunk.
#[test]
fn a_period_that_ends_with_its_chunk_leaves_nothing_filling() {
    let cases = segment_cases();
    let named = |case: &&SegmentCase| case.name == "a period ends on the border of a chunk of 1 MiB";
    for case in cases.cases.iter().filter(named) {
        let parameters = case.parameters();
        let periods = case.encoded(&parameters);
        let mut stream = SegmentStream::new(&parameters, 2, ALL);
        let joined = stream.push(&periods[0]).unwrap();
        assert_eq!(joined.filling(), None);
        assert_eq!(joined.chunks.len(), joined.finished.len());
        let joined = stream.push(&periods[1]).unwrap();
        assert!(joined.filling().is_some());
        for period in &periods[2..] {
            stream.push(period).unwrap();
        }
        let chunks = stream.finish([0; 32], 0).unwrap().1;
        assert_eq!(chunks[joined.chunks.start as usize].reaching_in, None);
    }
}

#[test]
fn objects_are_named_with_the_chunk_that_has_their_first_byte() {
    let random = example();
    let (_, chunks) = close(&random.parameters, 1, &random.encoded);
    let body: Vec<u8> = random.encoded.iter().flat_map(|period| period.bytes.clone()).collect();
    let mut found = Vec::new();
    for chunk in &chunks {
        let start = u64::from(chunk.index) * u64::from(random.parameters.chunk_size);
        for object in &chunk.objects {
            assert!((start..start + u64::from(chunk.row.length)).contains(&object.start));
            found.push(*object);
        }
    }
    let mut expected = Vec::new();
    for input in &random.inputs {
        for (thread, objects) in &input.blocks {
            for (number, object) in objects.iter().enumerate() {
                expected.push((Slot::new(input.period, *thread), number, object[65..].to_vec()));
            }
        }
    }
    assert_eq!(found.len(), expected.len());
    assert!(found.len() > 20 && chunks.len() > 4);
    for (object, (slot, number, unsigned)) in found.iter().zip(&expected) {
        let at = object.start as usize;
        let length = u32::from_le_bytes(body[at..at + 4].try_into().unwrap()) as usize;
        assert_eq!(&body[at + 4..at + 4 + length], unsigned);
        assert_eq!((object.slot, &object.creator[..]), (*slot, &unsigned[..33]));
        match object.id {
            ObjectId::Block(id) => {
                assert_eq!(*number, 0);
                let entry = &random.encoded[(slot.period - 4) as usize].entry;
                assert_eq!(entry.slots()[usize::from(slot.thread)].unwrap().id, id);
            }
            ObjectId::Operation { id, index } => {
                assert_eq!(index as usize + 1, *number);
                let expected =
                    massa_distributed_storage_exports::record::operation_id(unsigned, random.parameters.chain_id);
                assert_eq!(id, expected);
            }
        }
    }
}

#[test]
fn a_block_is_read_back_from_the_pages_and_signatures_of_its_chunks() {
    let random = example();
    let (table, chunks) = close(&random.parameters, 1, &random.encoded);
    let body: Vec<u8> = chunks.iter().flat_map(|chunk| chunk.pages.concat()).collect();
    let mut signatures = chunks.iter().flat_map(|chunk| chunk.signatures.iter().flatten());
    for (input, encoded) in random.inputs.iter().zip(&random.encoded) {
        let range = table.period_range(input.period).unwrap();
        for (thread, objects) in &input.blocks {
            let own = encoded.entry.block_range(*thread, encoded.bytes.len() as u32).unwrap();
            let bytes =
                &body[(range.start + u64::from(own.start)) as usize..(range.start + u64::from(own.end)) as usize];
            let unsigned = UnsignedRecord::parse(bytes).unwrap();
            let signed: Vec<_> = signatures
                .by_ref()
                .take(objects.len())
                .map(|tagged| tagged.signature)
                .collect();
            let record = unsigned.signed(&signed).unwrap();
            assert!(record.objects().eq(objects.iter().map(Vec::as_slice)));
        }
    }
    assert!(signatures.next().is_none());
}

#[test]
fn periods_join_in_order_each_once() {
    let random = example();
    let mut stream = SegmentStream::new(&random.parameters, 1, ALL);
    let order = |expected, found| {
        Err(StreamError::Order {
            segment: 1,
            expected,
            found,
        })
    };
    assert_eq!(stream.push(&random.encoded[1]), order(4, 5));
    stream.push(&random.encoded[0]).unwrap();
    assert_eq!(stream.push(&random.encoded[0]), order(5, 4));
    let unfinished = SegmentStream::new(&random.parameters, 1, ALL).finish([0; 32], 0);
    assert_eq!(unfinished, Err(StreamError::Unfinished { segment: 1, next: 4 }));
    for period in &random.encoded[1..] {
        stream.push(period).unwrap();
    }
    assert!(stream.is_complete());
    let full = StreamError::Full {
        segment: 1,
        end: 8,
        found: 7,
    };
    assert_eq!(stream.push(&random.encoded[3]), Err(full));
}

#[test]
fn a_stream_is_not_taken_up_with_what_does_not_belong_together() {
    let random = example();
    let (parameters, encoded) = (&random.parameters, &random.encoded);
    let (table, _) = close(parameters, 1, encoded);
    let rows = table.periods()[..3].to_vec();
    let (first, _) = first_unfinished(parameters.chunk_size, &rows);
    let length: u64 = rows.iter().map(|row| u64::from(row.length)).sum();
    let full = (length / u64::from(parameters.chunk_size)) as usize;
    let ids = table.chunk_ids()[..full].to_vec();
    let resume = |rows: &[_], ids: &[_], periods: &[_]| {
        let stream = SegmentStream::new(parameters, 1, ALL).resume(rows.to_vec(), ids.to_vec(), periods);
        stream.err()
    };
    assert_eq!(resume(&rows, &ids, &encoded[first..3]), None);
    let error = resume(&rows, &ids[1..], &encoded[first..3]);
    let (expected, found) = (full as u64, full - 1);
    assert_eq!(
        error,
        Some(StreamError::ChunkIds {
            segment: 1,
            expected,
            found
        })
    );
    let error = resume(&rows, &ids, &encoded[first..2]);
    assert_eq!(error, Some(StreamError::Unfinished { segment: 1, next: 6 }));
    let other = lost(&encoded[2]);
    let replaced: Vec<_> = encoded[first..2].iter().cloned().chain([other]).collect();
    assert!(matches!(
        resume(&rows, &ids, &replaced),
        Some(StreamError::OtherPeriod { period: 6, .. })
    ));
    let too_many = [table.periods(), table.periods()].concat();
    assert!(matches!(
        resume(&too_many, &ids, &[]),
        Some(StreamError::Full { end: 8, .. })
    ));
}

/// Large periods are hashed on two threads, small ones on one; pages that become whole with a later period are hashed then.
#[test]
fn the_cut_into_periods_does_not_change_the_chunks() {
    let parameters = ArchiveParameters {
        segment_periods: 2,
        ..ArchiveParameters::new(common::CHAIN_ID, 1)
    };
    let block = Chain::new(1, 0).next_period(Shape {
        miss_one_in: 0,
        operations: 0,
        operation_bytes: 0,
    });
    let block = block[0].as_ref().unwrap();
    for length in [100, 60_000, 65_000, 500_000, 524_288, 1_048_000, 1_500_000] {
        let record = BlockRecord::new(block.block(), &[filler(length)]).unwrap();
        let mut first = whole(&parameters, 0, &[Some(record)]);
        let mut second = whole(&parameters, 1, &[None]);
        let (one, chunks) = close(&parameters, 0, &[first.clone(), second.clone()]);
        // The same bytes, cut elsewhere: roots of periods differ, chunks do not.
        second.bytes = [first.bytes.split_off(first.bytes.len() - 50), second.bytes].concat();
        first.signatures.clear();
        let (other, again) = {
            let mut stream = SegmentStream::new(&parameters, 0, IndexedObjects::None);
            stream.push(&first).unwrap();
            stream.push(&second).unwrap();
            stream.finish([0; 32], 0).unwrap()
        };
        assert_eq!(one.chunk_ids(), other.chunk_ids());
        for (chunk, again) in chunks.iter().zip(&again) {
            assert_eq!((&chunk.pages, &chunk.page_roots), (&again.pages, &again.page_roots));
        }
    }
}
