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

fn imported() -> TestDir {
    let directory = TestDir::new();
    directory.import(&upstream_path()).expect_success();
    directory
}

#[test]
fn a_flipped_byte_of_a_page_is_found_and_named() {
    let directory = imported();
    let table = page_table(&directory.store());
    flip(&table, fs::metadata(&table).unwrap().len() / 2);

    let verify = directory.archive(&["verify", "--json"]);

    let report: Value = serde_json::from_slice(&verify.0.stdout).unwrap();
    assert_eq!(report["clean"], false);
    let file = &report["damaged_files"][0];
    assert_eq!(file["file"], table.file_name().unwrap().to_str().unwrap());
    assert_says(file["advice"].as_str().unwrap(), &["start the node"]);
    let damages = report["damages"].as_array().unwrap();
    let named = damages
        .iter()
        .find(|damage| damage["page"].is_u64())
        .expect("the page is named");
    let segment = named["segment"].as_u64().unwrap();
    assert!(segment < 2 && named["chunk"] == 0);
    let affected = named["affected_periods"].as_array().unwrap();
    assert!(
        affected
            .iter()
            .all(|period| (1..=3).contains(&period.as_u64().unwrap())),
        "{named}"
    );
    assert_says(named["advice"].as_str().unwrap(), &["import", "start the node"]);
    assert_says(&verify.json_error(1), &["found in"]);
    let text = directory.archive(&["verify"]);
    let page = format!(
        "damage: segment {segment}, chunk 0, page {}, bytes of period",
        named["page"]
    );
    assert_says(&String::from_utf8(text.0.stdout.clone()).unwrap(), &[&page, "DAMAGED"]);
    assert_says(&text.error(1), &["the first: "]);

    // Nothing of the page is returned, everything else is.
    let mut refused = 0;
    for (slot, record) in &UPSTREAM.blocks {
        let at = format!("{}:{}", slot.period, slot.thread);
        let read = directory.archive(&["get-block", "--slot", &at, "--raw"]);
        if read.0.status.success() {
            assert_eq!(read.expect_success(), record.block());
        } else {
            refused += 1;
            assert_says(&read.failure(), &["damaged: "]);
        }
    }
    assert!((1..125).contains(&refused), "{refused} blocks are refused");
}

/// Wherever in the rows of a table a byte is changed, verification does not pass. (Behind the rows stand RocksDB's own
/// filter, index and footer. A damaged filter is ignored by RocksDB: nothing is lost but the speed of looking up.)
#[test]
fn no_flipped_byte_of_a_row_passes() {
    let directory = imported();
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
fn a_table_that_is_gone_is_named_with_what_to_do() {
    let directory = imported();
    let table = page_table(&directory.store());
    fs::remove_file(&table).unwrap();

    let verify = directory.archive(&["verify"]);

    let name = table.file_name().unwrap().to_str().unwrap().to_string();
    assert_says(&verify.error(1), &[&name, "it is missing", "start the node"]);
}

#[test]
fn reading_changes_nothing() {
    let directory = imported();
    let tables = || {
        let paths = fs::read_dir(directory.store())
            .unwrap()
            .map(|entry| entry.unwrap().path());
        let content = |path: PathBuf| (path.clone(), fs::read(path).unwrap());
        let mut files: Vec<_> = paths
            .filter(|path| path.is_file() && !path.file_name().unwrap().to_str().unwrap().starts_with("LOG"))
            .map(content)
            .collect();
        files.sort();
        files
    };
    let before = tables();

    for command in [
        &["stat"][..],
        &["list-segments"],
        &["list-periods"],
        &["open-periods"],
        &["verify"],
        &["get-period", "1"],
        &["get-block", "--slot", "1:0"],
    ] {
        directory.archive(command).expect_success();
    }

    assert!(before == tables());
}
