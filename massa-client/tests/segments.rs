//! The commands on segments that are easily got wrong: empty, near-empty, full, over every border, with lost periods. What they
//! must come out as was computed by another implementation (`segment-cases.json`).

mod common;

use common::TestDir;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::archive::rows::{Packing, SegmentRows};
use massa_distributed_storage_worker::chunking::objects::IndexedObjects;
use massa_distributed_storage_worker::chunking::segment::SegmentStream;
use massa_distributed_storage_worker::storage_backend::database::writer::Durability;
use massa_distributed_storage_worker::storage_backend::{
    JoinedPeriod, Keep, OpenRows, SegmentStore, SegmentStoreOptions,
};
use massa_models::slot::Slot;
use massa_tests::generator::{Generator, GeneratorConfig};
use massa_tests::mblk::MblkFile;
use massa_tests::segment_cases::{segment_cases, SegmentCase};
use serde_json::Value;

/// Bytes of a case beyond which it is only looked at, not read back block by block.
const READ_BACK_BYTES: u64 = 4 << 20;

/// A store with the segments of a case, every chunk held.
fn stored(case: &SegmentCase, parameters: &ArchiveParameters) -> TestDir {
    let directory = TestDir::new();
    let options = SegmentStoreOptions::new(directory.store());
    let store = SegmentStore::open_or_create(options, parameters).unwrap();
    let encoded: Vec<EncodedPeriod> = case.encoded(parameters);
    for answer in &case.segments {
        let periods = encoded
            .iter()
            .filter(|period| parameters.segment_of(period.period) == answer.segment);
        let mut stream = SegmentStream::new(parameters, answer.segment, IndexedObjects::All);
        for period in periods {
            let row = stream.push(period).unwrap().row;
            let joined = JoinedPeriod {
                period: period.period,
                entry: period.entry.clone(),
                length: row.length,
                root: row.root,
                operations: 0,
            };
            let rows = OpenRows {
                joined: vec![joined],
                ..OpenRows::default()
            };
            store.put_open(&rows, Durability::Buffered).unwrap();
        }
        let end = store.chain_end(answer.segment.wrapping_sub(1)).unwrap();
        let (previous, before) = end.map_or(([0; 32], 0), |(root, bytes)| (root.to_bytes(), bytes));
        let (table, chunks) = stream.finish(previous, before).unwrap();
        let chunks = chunks.into_iter().map(|chunk| (chunk, Keep::Holder)).collect();
        store.put_closing(&table, chunks, Packing::Packed).unwrap();
        SegmentRows::close(&store, &table).unwrap();
    }
    store.database().flush().unwrap();
    store.close();
    directory
}

fn assert_listed(case: &SegmentCase, directory: &TestDir) {
    let segments = directory.archive(&["list-segments", "--json"]).json();
    let segments = segments["segments"].as_array().unwrap();
    assert_eq!(segments.len(), case.segments.len(), "{}", case.name);
    for (listed, answer) in segments.iter().zip(&case.segments) {
        assert_eq!(listed["segment"], answer.segment);
        assert_eq!(listed["root"], answer.root.to_string(), "{}", case.name);
        assert_eq!(listed["bytes"], answer.body_length);
        assert_eq!(listed["chunks"], answer.chunks.len());
        assert_eq!(listed["chunks_held"], answer.chunks.len());
    }
    let periods = directory.archive(&["list-periods", "--json"]).json();
    let periods = periods["periods"].as_array().unwrap();
    let answers = case
        .segments
        .iter()
        .flat_map(|answer| answer.period_roots.iter().zip(&answer.period_lengths));
    assert_eq!(periods.len(), case.periods.len());
    for ((listed, input), (root, length)) in periods.iter().zip(&case.periods).zip(answers) {
        assert_eq!(listed["period"], input.period);
        assert_eq!(
            (&listed["root"], &listed["bytes"]),
            (&root.to_string().into(), &(*length).into()),
            "{}",
            case.name
        );
        assert_eq!(
            (&listed["lost"], &listed["blocks"]),
            (&input.lost.into(), &input.blocks.len().into())
        );
    }
}

/// Each block comes back with its bytes, wherever its borders are; a lost one by its id.
fn assert_read_back(case: &SegmentCase, directory: &TestDir) {
    for period in &case.periods {
        for (record, thread) in period.records().iter().zip(0..) {
            let slot = Slot::new(period.period, thread);
            let at = format!("{}:{thread}", period.period);
            let read = ["get-block", "--slot", &at, "--merkle-only"];
            let raw = [&read[..], &["--raw", "--with-operations"]].concat();
            match record {
                Some(_) if period.lost => {
                    common::assert_says(&directory.archive(&raw).failure(), &["is lost"]);
                }
                Some(record) => assert_eq!(
                    directory.archive(&raw).expect_success(),
                    record.objects().collect::<Vec<_>>().concat(),
                    "{}: {slot}",
                    case.name
                ),
                // One miss of each period is enough.
                None if thread == 31 => assert_eq!(directory.archive(&read).text(), format!("slot {at} was missed\n")),
                None => {}
            }
        }
    }
}

fn check(case: &SegmentCase) {
    let parameters = case.parameters();
    let directory = stored(case, &parameters);
    assert_listed(case, &directory);
    let stat = directory.archive(&["stat", "--json"]).json();
    assert_eq!(stat["segments"], case.segments.len());
    assert_eq!(stat["chunks_held"], stat["chunks"]);
    let bytes: u64 = case.segments.iter().map(|answer| answer.body_length).sum();
    if bytes <= READ_BACK_BYTES {
        assert_read_back(case, &directory);
    }
}

#[test]
fn every_case_is_listed_and_read_back_with_small_chunks() {
    let cases = segment_cases().cases;
    cases.iter().filter(|case| case.chunk_size == 64 << 10).for_each(check);
}

#[test]
fn every_case_is_listed_and_read_back_with_chunks_of_a_mebibyte() {
    let cases = segment_cases().cases;
    cases.iter().filter(|case| case.chunk_size == 1 << 20).for_each(check);
}

/// As today's chain is: many periods in one chunk.
#[test]
fn near_empty_segments_are_imported_listed_and_proven() {
    let directory = TestDir::new();
    let mut generator = Generator::new(GeneratorConfig::near_empty());
    let threads = generator.parameters().thread_count;
    let mut file = MblkFile::new(generator.parameters().chain_id, threads);
    let first = generator.period();
    for _ in 0..40 {
        file.push_period(generator.period(), &generator.next_period());
    }
    let path = directory.file("near-empty.mblk", &file.to_bytes());

    let options = ["--segment-periods", "10", "--complete", "--json"];
    let import = directory.import_with(&path, &options).json();

    let closed = import["segments_closed"].as_array().unwrap().len();
    assert!(closed >= 3, "{closed} segments are closed");
    let segments = directory.archive(&["list-segments", "--json"]).json();
    let of_ten = |segment: &&Value| segment["periods"] == 10 && segment["state"] == "closed";
    let whole: Vec<&Value> = segments["segments"].as_array().unwrap().iter().filter(of_ten).collect();
    assert!(
        whole.iter().all(|segment| segment["chunks"].as_u64().unwrap() < 10),
        "{whole:?}"
    );
    let periods = directory.archive(&["list-periods", "--json"]).json();
    assert_eq!(periods["periods"].as_array().unwrap().len(), 40);
    directory.archive(&["verify"]).expect_success();
    let root = whole[0]["root"].as_str().unwrap();
    let period = whole[0]["first_period"].as_u64().unwrap() + 3;
    assert!(period > first);
    let proof = directory
        .archive(&["get-period", &period.to_string(), "--proof"])
        .expect_success();
    let file = directory.file("proof.json", &proof);
    let proven = common::run(&[
        "archive",
        "check-proof",
        file.to_str().unwrap(),
        "--root",
        root,
        "--json",
    ])
    .json();
    assert_eq!(proven["period"], period);
}
