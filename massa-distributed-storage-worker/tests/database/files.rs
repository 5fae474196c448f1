//! What the store reads of RocksDB's files by itself agrees with what RocksDB says of them.

use crate::common::*;
use massa_distributed_storage_worker::storage_backend::database::files::{
    current_manifest, kept_manifest_name, logs_in, manifest_name,
};
use massa_distributed_storage_worker::storage_backend::database::log_file::{scan_log, LogEnd};
use massa_distributed_storage_worker::storage_backend::database::manifest::Manifest;
use massa_distributed_storage_worker::storage_backend::database::witness::Witness;
use massa_distributed_storage_worker::storage_backend::database::*;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use tempfile::tempdir;

type Entry = (String, u64, u64, u64);

fn as_rocksdb_says(database: &Database) -> BTreeSet<Entry> {
    let entry = |table: rocksdb::LiveFile| {
        let number = table
            .name
            .trim_start_matches('/')
            .trim_end_matches(".sst")
            .parse()
            .unwrap();
        (table.column_family_name, number, table.level as u64, table.size as u64)
    };
    database
        .read(|db| Ok::<_, DatabaseError>(db.live_files()?.into_iter().map(entry).collect()))
        .unwrap()
}

fn as_the_manifest_says(store: &Path, name: &str) -> BTreeSet<Entry> {
    let (manifest, scan) = Manifest::read(File::open(store.join(name)).unwrap()).unwrap();
    let manifest = manifest.unwrap();
    assert_ne!(scan.end, LogEnd::Torn);
    let entry = |(number, entry): (&u64, &manifest::TableEntry)| {
        (
            manifest.families[&entry.family].clone(),
            *number,
            entry.level,
            entry.bytes,
        )
    };
    manifest.tables.iter().map(entry).collect()
}

#[test]
fn tables_families_and_logs_are_those_that_rocksdb_has() {
    let directory = tempdir().unwrap();
    let store = directory.path();
    for run in 0..3 {
        let database = Database::open(options(store)).unwrap();
        for round in 0..6 {
            (0..20).for_each(|row| put(&database, ROWS, 1000 * run + row, 500 + round, SYNCED));
            put(&database, INDEX, 10 * run + round as u64, 8, SYNCED);
            ingest_pages(
                &database,
                10_000 * run + 100 * round as u64..10_000 * run + 100 * round as u64 + 3,
                65_536,
            );
            database.flush().unwrap();
            // Tables are merged in the background.
            let settled = rocksdb::WaitForCompactOptions::default();
            database
                .read(|db| Ok::<_, DatabaseError>(db.wait_for_compact(&settled)?))
                .unwrap();
            let number = current_manifest(store).unwrap().unwrap();
            let expected = as_rocksdb_says(&database);
            assert!(!expected.is_empty());
            assert_eq!(as_the_manifest_says(store, &manifest_name(number)), expected);
        }
        let range = KeyRange {
            family: PAGES,
            start: key(10_000 * run).to_vec(),
            end: key(10_000 * run + 150).to_vec(),
        };
        database.forget(&range).unwrap();
        database
            .read(|db| {
                db.compact_range_cf(family(db, ROWS)?, None::<&[u8]>, None::<&[u8]>);
                Ok::<_, DatabaseError>(())
            })
            .unwrap();
        put(&database, ROWS, 5, 10, SYNCED);
        let number = current_manifest(store).unwrap().unwrap();
        let expected = as_rocksdb_says(&database);
        assert_eq!(as_the_manifest_says(store, &manifest_name(number)), expected);
        assert_eq!(as_the_manifest_says(store, &kept_manifest_name(number)), expected);
        let kept = fs::read(store.join(kept_manifest_name(number))).unwrap();
        assert_eq!(kept, fs::read(store.join(manifest_name(number))).unwrap());
    }
}

/// The witness tells exactly how long the files are after each synced write, across changes of the log.
#[test]
fn the_witness_tells_what_was_acknowledged() {
    let directory = tempdir().unwrap();
    let store = directory.path();
    let database = Database::open(options(store)).unwrap();
    let mut count = 0;
    for round in 0..30 {
        put(&database, ROWS, round, 40_000, SYNCED);
        if round % 10 == 9 {
            database.flush().unwrap();
        }
        let note = Witness::read(store).unwrap().unwrap();
        assert!(note.count > count);
        count = note.count;
        let logs: Vec<(u64, u64)> = note.logs.iter().map(|log| (log.number, log.bytes)).collect();
        assert_eq!(logs, logs_in(store).unwrap());
        assert_eq!(note.manifest.number, current_manifest(store).unwrap().unwrap());
        let sequence = database
            .read(|db| Ok::<_, DatabaseError>(db.latest_sequence_number()))
            .unwrap();
        assert_eq!(note.sequence, sequence);
        // What is buffered is not acknowledged.
        put(&database, ROWS, round, 100, BUFFERED);
        assert_eq!(Witness::read(store).unwrap().unwrap(), note);
    }
    database.sync().unwrap();
    assert!(Witness::read(store).unwrap().unwrap().count > count);
}

/// Each record of a log is a batch: number of its first change u64, number of changes u32.
#[test]
fn records_of_a_log_are_batches_without_a_gap() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    (0..50).for_each(|row| put(&database, ROWS, row, 10_000, SYNCED));
    let (number, bytes) = *logs_in(directory.path()).unwrap().last().unwrap();
    let log = File::open(directory.path().join(files::log_name(number))).unwrap();
    let mut next = None;
    let scan = scan_log(log, |record| {
        let first = u64::from_le_bytes(record[..8].try_into().unwrap());
        let changes = u32::from_le_bytes(record[8..12].try_into().unwrap());
        assert_eq!(*next.get_or_insert(first), first);
        next = Some(first + u64::from(changes));
    })
    .unwrap();
    assert_eq!((scan.whole_bytes, scan.end), (bytes, LogEnd::Whole));
    let sequence = database
        .read(|db| Ok::<_, DatabaseError>(db.latest_sequence_number()))
        .unwrap();
    assert_eq!(next, Some(sequence + 1));
}
