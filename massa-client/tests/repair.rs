//! `archive import` over a store that is damaged, or lacks chunks: it has again what the file has.

mod common;

use common::{assert_says, first_blocks, upstream_path, TestDir, SEGMENTS, UPSTREAM};
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::storage_backend::{OwnChanges, SegmentStore, SegmentStoreOptions};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const SMALL_CHUNKS: [&str; 4] = ["--segment-periods", "2", "--chunk-size", "65536"];

fn imported() -> TestDir {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    directory
}

fn again(directory: &TestDir, options: &[&str]) -> Value {
    directory
        .import_with(&upstream_path(), &[options, &["--json"]].concat())
        .json()
}

fn tables(store: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    tables.sort();
    tables
}

fn flip(path: &Path, position: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
}

#[test]
fn chunks_that_were_let_go_are_cut_from_the_file_again() {
    let directory = TestDir::new();
    directory.import_with(&upstream_path(), &SMALL_CHUNKS).expect_success();
    let store = SegmentStore::open(SegmentStoreOptions::new(directory.store())).unwrap();
    for (segment, chunk) in [(0, 1), (1, 0), (1, 2)] {
        let position = ChunkPosition::new(segment, chunk).unwrap();
        assert!(store.drop_chunk(position, OwnChanges::default()).unwrap());
    }
    store.close();
    let error = directory.archive(&["get-block", "--slot", "2:0"]).failure();
    assert_says(&error, &["slot 2:0: chunk 0 of segment 1 is not held here"]);
    let segments = directory.archive(&["list-segments", "--json"]).json();
    let (held, all) = (
        &segments["segments"][1]["chunks_held"],
        &segments["segments"][1]["chunks"],
    );
    assert_eq!(held.as_u64().unwrap() + 2, all.as_u64().unwrap());

    let report = again(&directory, &SMALL_CHUNKS);

    assert_eq!(
        (
            &report["chunks_repaired"],
            &report["blocks_known"],
            &report["blocks_new"]
        ),
        (&3.into(), &125.into(), &0.into())
    );
    assert_eq!(directory.roots(), common::vector_roots(65_536));
    directory.archive(&["verify"]).expect_success();
    for (slot, record) in &UPSTREAM.blocks {
        let at = format!("{}:{}", slot.period, slot.thread);
        assert_eq!(
            directory
                .archive(&["get-block", "--slot", &at, "--raw"])
                .expect_success(),
            record.block()
        );
    }
}

/// A segment of which the file has not every period is left as it is.
#[test]
fn what_the_file_does_not_have_is_left_to_the_network() {
    let directory = imported();
    let store = SegmentStore::open(SegmentStoreOptions::new(directory.store())).unwrap();
    let position = ChunkPosition::new(1, 0).unwrap();
    assert!(store.drop_chunk(position, OwnChanges::default()).unwrap());
    store.close();
    let part = directory.file("part.mblk", &first_blocks(50).to_bytes());

    let report = directory
        .import_with(&part, &[&SEGMENTS[..], &["--json"]].concat())
        .json();

    assert_eq!(report["chunks_repaired"], 0);
    let error = directory.archive(&["get-block", "--slot", "3:1"]).failure();
    assert_says(&error, &["chunk 0 of segment 1 is not held here", "ask a node"]);
    assert_says(&again(&directory, &SEGMENTS)["chunks_repaired"].to_string(), &["1"]);
    directory.assert_whole();
}

/// Whichever table of the store is damaged or gone, importing the file again makes it whole. What the store was made with is told
/// again, in case that is what is gone.
#[test]
fn a_damaged_table_is_set_aside_and_its_rows_are_made_again() {
    let options = ["--segment-periods", "2", "--chunk-size", "1048576"];
    for (number, _) in tables(&imported().store()).iter().enumerate() {
        for at in [Some(20), Some(3), Some(2), None] {
            let directory = imported();
            let table = tables(&directory.store()).remove(number);
            match at {
                Some(part) => flip(&table, fs::metadata(&table).unwrap().len() / part),
                None => fs::remove_file(&table).unwrap(),
            }

            let report = again(&directory, &options);

            let name = table.file_name().unwrap().to_str().unwrap();
            let told = report["damaged_files"].to_string();
            assert!(told.contains(name), "{name}, {at:?}: {told}");
            directory.assert_whole();
            let raw = directory
                .archive(&["get-block", "--slot", "2:3", "--raw"])
                .expect_success();
            assert_eq!(
                raw,
                UPSTREAM.block(massa_models::slot::Slot::new(2, 3)).unwrap().block()
            );
        }
    }
}

/// Nobody guesses what a store was made with.
#[test]
fn a_store_that_does_not_tell_what_it_was_made_with_is_left_alone() {
    let directory = imported();
    let metadata = tables(&directory.store()).into_iter().find(|table| {
        let bytes = fs::read(table).unwrap();
        bytes.windows(10).any(|window| window == b"parameters")
    });
    let metadata = metadata.expect("a table has the metadata");
    flip(&metadata, 20);

    let error = directory.import_with(&upstream_path(), &[]).failure();

    assert_says(
        &error,
        &[
            "too damaged to tell",
            "--segment-periods and --chunk-size",
            "storage_metadata",
        ],
    );
    assert!(metadata.exists());
}

#[test]
fn what_was_damaged_is_said_in_words() {
    let directory = imported();
    let tables = tables(&directory.store());
    let pages = tables
        .iter()
        .max_by_key(|table| fs::metadata(table).unwrap().len())
        .unwrap();
    flip(pages, fs::metadata(pages).unwrap().len() / 2);

    let text = directory.import(&upstream_path()).text();

    assert_says(
        &text,
        &["DAMAGED", pages.file_name().unwrap().to_str().unwrap(), "repaired"],
    );
    directory.assert_whole();
}
