//! `archive verify`: every byte counts.

mod common;

use common::{assert_says, upstream_path, TestDir, UPSTREAM};
use serde_json::Value;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The largest table of a store: the one with the pages.
fn page_table(store: &Path) -> PathBuf {
    let tables = fs::read_dir(store).unwrap().map(|entry| entry.unwrap().path());
    let tables = tables.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    tables
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .expect("an import ends with tables")
}

fn flip(path: &Path, position: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], position).unwrap();
}

#[test]
fn a_flipped_byte_of_a_page_is_found_and_named() {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    let table = page_table(&directory.store());
    flip(&table, fs::metadata(&table).unwrap().len() / 2);

    let verify = directory.archive(&["verify", "--json"]);

    let report: Value = serde_json::from_slice(&verify.0.stdout).unwrap();
    assert_eq!(report["clean"], false);
    let damages = report["damages"].as_array().unwrap();
    let named = damages
        .iter()
        .find(|damage| damage["page"].is_u64())
        .expect("the page is named");
    let period = named["period"].as_u64().unwrap();
    assert!((1..=4).contains(&period) && named["chunk"] == 0);
    let threads = named["threads"].as_array().unwrap();
    assert!(
        !threads.is_empty() && threads.len() < 32,
        "the page's blocks are named: {named}"
    );
    assert_says(&verify.json_error(1), &["found in"]);
    let text = directory.archive(&["verify"]);
    let page = format!("damage: period {period}, chunk 0, page {}, threads", named["page"]);
    assert_says(&String::from_utf8(text.0.stdout.clone()).unwrap(), &[&page, "DAMAGED"]);
    assert_says(&text.error(1), &["the first: "]);

    // Nothing of the page is returned, everything else is.
    let damaged: Vec<u64> = threads.iter().map(|thread| thread.as_u64().unwrap()).collect();
    for (slot, record) in &UPSTREAM.blocks {
        let at = format!("{}:{}", slot.period, slot.thread);
        let read = directory.archive(&["get-block", "--slot", &at, "--raw"]);
        if slot.period == period && damaged.contains(&u64::from(slot.thread)) {
            assert_says(&read.failure(), &["damaged: period"]);
        } else {
            assert_eq!(read.expect_success(), record.block());
        }
    }
}

/// Wherever in the rows of a table a byte is changed, verification does not pass. (Behind the rows stand RocksDB's own
/// filter, index and footer. A damaged filter is ignored by RocksDB: nothing is lost but the speed of looking up.)
#[test]
fn no_flipped_byte_of_a_row_passes() {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    let table = page_table(&directory.store());
    let length = fs::metadata(&table).unwrap().len();
    let end_of_rows = length - 2048;
    for step in 0..40 {
        let position = step * (end_of_rows - 1) / 39;
        flip(&table, position);
        let verify = directory.archive(&["verify"]);
        flip(&table, position);

        verify.error(1);
    }
    directory.archive(&["verify"]).expect_success();
}

#[test]
fn threads_are_an_option() {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();

    for threads in ["1", "2", "16"] {
        assert_says(
            &directory.archive(&["verify", "--threads", threads]).text(),
            &["verified 4 periods"],
        );
    }
    assert_says(
        &directory.archive(&["verify", "--threads", "0"]).error(2),
        &["--threads"],
    );
}

#[test]
fn reading_changes_nothing() {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    let tables = || {
        let paths = fs::read_dir(directory.store())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let content = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
        let mut files: Vec<_> = paths
            .filter(|path| !path.file_name().unwrap().to_str().unwrap().starts_with("LOG"))
            .map(content)
            .collect();
        files.sort();
        files
    };
    let before = tables();

    for command in [
        &["stat"][..],
        &["list-periods"],
        &["verify"],
        &["get-period", "1"],
        &["get-block", "--slot", "1:0"],
    ] {
        directory.archive(command).expect_success();
    }

    assert!(before == tables());
}
