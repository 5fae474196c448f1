//! Damage is found by `verify` and never returned by a read.

mod common;

use common::tamper::{Row, Tamper};
use common::*;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_worker::storage_backend::read::{Check, PlaceContent, ReadError};
use massa_distributed_storage_worker::storage_backend::verify::VerifyReport;
use massa_distributed_storage_worker::storage_backend::writer::Durability;
use massa_distributed_storage_worker::storage_backend::PendingRows;
use massa_distributed_storage_worker::{Store, StoreOptions};
use massa_models::slot::Slot;
use std::collections::BTreeSet;
use std::sync::Arc;
use tempfile::{tempdir, TempDir};

/// A store with periods 1 and 2 of upstream's blocks archived and a part of period 3 pending.
struct Fixture {
    _directory: TempDir,
    store: Arc<Store>,
    tamper: Tamper,
    blocks: Vec<BlockRecord>,
}

impl Fixture {
    fn new() -> Self {
        let mut blocks = upstream_blocks();
        // Its parent in period 3 is missing: a link.
        let last = blocks.pop().unwrap();
        blocks.truncate(31 + 32 + 5);
        blocks.push(last);
        let directory = tempdir().unwrap();
        let tamper = Tamper::default();
        let options = StoreOptions {
            writer: Box::new(tamper.clone()),
            ..StoreOptions::new(directory.path())
        };
        let mut parameters = parameters_from(&blocks[0]);
        parameters.segment_periods = 2;
        let store = Arc::new(Store::open(options, parameters).unwrap());
        let mut ingest = ingest(&store);
        add_all(&mut ingest, &blocks).unwrap();
        ingest.finish().unwrap();
        let fixture = Self {
            _directory: directory,
            store,
            tamper,
            blocks,
        };
        assert_eq!(fixture.store.archived_periods().unwrap(), [1, 2]);
        assert!(fixture.verify().is_clean(), "{:?}", fixture.verify().damages);
        fixture
    }

    /// Carries out what the tamperer was told: any write will do.
    fn write(&self) {
        let rows = PendingRows {
            awaited: vec![(Slot::new(9, 9), None)],
            ..PendingRows::default()
        };
        self.store.put_pending(&rows, Durability::Buffered).unwrap();
    }

    fn rows(&self) -> Vec<Row> {
        self.tamper.look();
        self.write();
        self.tamper.rows()
    }

    fn put(&self, row: &Row) {
        self.tamper.put(row.clone());
        self.write();
    }

    fn verify(&self) -> VerifyReport {
        self.store.verify(1, &|_, _| {}).unwrap()
    }

    /// Every read returns what was written, or an error.
    fn assert_reads_are_honest(&self, case: &str) {
        for record in &self.blocks {
            let found = self.store.find_block(&id_of(record, THREADS));
            let slots = [Some(slot_of(record, THREADS)), found.ok()];
            for slot in slots.into_iter().flatten() {
                match self.store.place(slot, Check::Merkle) {
                    Ok(PlaceContent::Block(read)) => assert_eq!(read, *record, "{case}"),
                    Ok(PlaceContent::Miss) => panic!("{case}: {slot} is read as a miss"),
                    Err(
                        ReadError::Damaged(_)
                        | ReadError::NotFound(_)
                        | ReadError::NotArchived { .. }
                        | ReadError::NotKept { .. },
                    ) => {}
                    Err(error) => panic!("{case}: {error}"),
                }
            }
        }
    }
}

/// Bytes of a value that are flipped: all of a small one, a sample of a large one, always its ends.
fn positions(length: usize) -> impl Iterator<Item = usize> {
    let step = (length / 8).max(1);
    (0..length).step_by(step).chain(length.checked_sub(1))
}

#[test]
fn a_flipped_byte_in_any_row_is_found_and_never_read() {
    let fixture = Fixture::new();
    let mut families = BTreeSet::new();
    // One row in so many of the families that have one for each block and operation.
    let mut skipped = 0;
    for row in fixture.rows() {
        let many = row.0.ends_with("_index");
        skipped += 1;
        if row.0 == "storage_awaited" && row.1.ends_with(&Slot::new(9, 9).to_bytes_key()) || many && skipped % 40 != 0 {
            continue;
        }
        families.insert(row.0.clone());
        for position in positions(row.2.len()) {
            let mut flipped = row.clone();
            flipped.2[position] ^= 1 << (position % 8);
            let case = format!("{} {:02x?} byte {position}", row.0, row.1);
            fixture.put(&flipped);
            assert!(!fixture.verify().is_clean(), "{case} was not found");
            fixture.assert_reads_are_honest(&case);
        }
        fixture.put(&row);
    }
    assert!(fixture.verify().is_clean());
    let expected = [
        "merkle_roots",
        "storage_awaited",
        "storage_block_index",
        "storage_chunks",
        "storage_manifests",
        "storage_metadata",
        "storage_operation_index",
        "storage_pages",
        "storage_pending",
    ];
    assert_eq!(families, expected.map(String::from).into());
}

#[test]
fn a_missing_row_is_found_and_never_read_as_something_else() {
    let fixture = Fixture::new();
    let mut skipped = 0;
    for row in fixture.rows() {
        let many = row.0.ends_with("_index");
        skipped += 1;
        // A pending or awaited row that is gone is a place that is awaited; metadata was read when the store was opened.
        let harmless = ["storage_pending", "storage_awaited", "storage_metadata"].contains(&row.0.as_str());
        if harmless || many && skipped % 40 != 0 {
            continue;
        }
        let case = format!("{} {:02x?} deleted", row.0, row.1);
        fixture.tamper.delete(&row.0, &row.1);
        fixture.write();
        // Without its row a chunk counts as kept by others; its pages then belong to nothing.
        let report = fixture.verify();
        assert!(!report.is_clean() || row.0 == "storage_chunks", "{case} was not found");
        fixture.assert_reads_are_honest(&case);
        fixture.put(&row);
    }
}

#[test]
fn a_row_under_another_key_is_found_and_never_read() {
    let fixture = Fixture::new();
    let mut skipped = 0;
    for row in fixture.rows() {
        skipped += 1;
        let many = row.0.ends_with("_index") || row.0 == "storage_pending";
        if row.0 == "storage_awaited" || many && skipped % 40 != 0 {
            continue;
        }
        let mut moved = row.clone();
        *moved.1.last_mut().unwrap() ^= 1;
        let replaced = fixture
            .rows()
            .into_iter()
            .find(|other| (&other.0, &other.1) == (&moved.0, &moved.1));
        fixture.tamper.delete(&row.0, &row.1);
        fixture.put(&moved);
        let case = format!("{} {:02x?} moved", row.0, row.1);
        assert!(!fixture.verify().is_clean(), "{case} was not found");
        fixture.assert_reads_are_honest(&case);
        fixture.tamper.delete(&moved.0, &moved.1);
        fixture.put(&row);
        replaced.iter().for_each(|row| fixture.put(row));
    }
    assert!(fixture.verify().is_clean());
}

#[test]
fn damage_is_named_exactly() {
    let fixture = Fixture::new();
    let rows = fixture.rows();
    let row = |family: &str, key: &[u8]| rows.iter().find(|row| row.0 == family && row.1 == key).unwrap().clone();
    let page_1_of_period_2 = [0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 1];
    let mut page = row("storage_pages", &page_1_of_period_2);
    page.2[5000] ^= 0x10;
    fixture.put(&page);
    let report = fixture.verify();
    assert_eq!(report.damage_count, 1, "{:?}", report.damages);
    let damage = &report.damages[0];
    assert_eq!((damage.period, damage.chunk, damage.page), (Some(2), Some(0), Some(1)));
    assert_eq!(
        damage.to_string(),
        "period 2, chunk 0, page 1, storage_pages: page does not match its root"
    );
}

#[test]
fn a_flipped_byte_in_a_table_file_is_found_and_never_read() {
    let blocks = upstream_blocks();
    let directory = tempdir().unwrap();
    let parameters = parameters_from(&blocks[0]);
    {
        let store = open_store(directory.path(), &parameters);
        let mut ingest = ingest(&store);
        add_all(&mut ingest, &blocks).unwrap();
        ingest.finish().unwrap();
    }
    // Opening again turns the log into tables.
    drop(open_store(directory.path(), &parameters));
    let tables: Vec<_> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sst"))
        .collect();
    let pages = tables.iter().max_by_key(|path| path.metadata().unwrap().len()).unwrap();
    let intact = std::fs::read(pages).unwrap();
    for position in (1..8).map(|part| intact.len() / 10 * part) {
        let mut flipped = intact.clone();
        flipped[position] ^= 4;
        std::fs::write(pages, &flipped).unwrap();
        let store = Store::open_read_only(directory.path()).unwrap();
        let report = store.verify(1, &|_, _| {}).unwrap();
        assert!(
            report.damages.iter().any(|damage| damage.period.is_some()),
            "{position}: {:?}",
            report.damages
        );
        for record in &blocks {
            match store.place(slot_of(record, THREADS), Check::Merkle) {
                Ok(read) => assert_eq!(read, PlaceContent::Block(record.clone())),
                Err(error) => assert!(matches!(error, ReadError::Damaged(_)), "{error}"),
            }
        }
    }
}
