//! What the tests of the database share: families, rows, and a writer that fails when it is told.

use massa_distributed_storage_worker::storage_backend::database::writer::{
    BatchWriter, Durability, RocksWriter, WriteFault,
};
use massa_distributed_storage_worker::storage_backend::database::*;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rocksdb::{WriteBatch, DB};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

pub const ROWS: &str = "rows";
pub const INDEX: &str = "index";
pub const PAGES: &str = "pages";
pub const PENDING: &str = "pending";
pub const SYNCED: Durability = Durability::Synced;
pub const BUFFERED: Durability = Durability::Buffered;

pub fn families() -> Vec<Family> {
    vec![
        Family::new(ROWS, FamilyKind::Rows),
        Family::new(INDEX, FamilyKind::Index),
        Family::new(PAGES, FamilyKind::Pages),
        Family::new(PENDING, FamilyKind::Pending),
    ]
}

/// Makes or opens; `FORMAT` is the first row.
pub fn options(path: &Path) -> DatabaseOptions {
    DatabaseOptions {
        create: true,
        first_rows: vec![FirstRow {
            family: ROWS,
            key: b"format".to_vec(),
            value: b"2".to_vec(),
        }],
        ..DatabaseOptions::new(path, families())
    }
}

pub fn setting_aside(path: &Path) -> DatabaseOptions {
    DatabaseOptions {
        on_damage: OnDamage::SetAside,
        ..options(path)
    }
}

pub fn reading(path: &Path) -> DatabaseOptions {
    DatabaseOptions {
        read_only: true,
        create: false,
        ..options(path)
    }
}

pub fn key(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

/// Bytes that follow from `number`.
pub fn value(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    ChaCha20Rng::seed_from_u64(number).fill_bytes(&mut bytes);
    bytes
}

pub fn put(database: &Database, name: &'static str, number: u64, length: usize, durability: Durability) {
    try_put(database, name, number, length, durability).unwrap();
}

pub fn try_put(
    database: &Database,
    name: &'static str,
    number: u64,
    length: usize,
    durability: Durability,
) -> Result<(), DatabaseError> {
    database.update(durability, |db, batch| {
        batch.put_cf(family(db, name)?, key(number), value(number, length));
        Ok(())
    })
}

pub fn get(database: &Database, name: &'static str, number: u64) -> Result<Option<Vec<u8>>, DatabaseError> {
    database.read(|db| Ok(db.get_cf(family(db, name)?, key(number))?))
}

/// Whether the row is there; a row that is there is whole.
pub fn has(database: &Database, name: &'static str, number: u64) -> bool {
    match get(database, name, number).unwrap() {
        None => false,
        Some(found) => {
            assert_eq!(found, value(number, found.len()));
            true
        }
    }
}

/// A table of pages `numbers`, taken in.
pub fn ingest_pages(database: &Database, numbers: std::ops::Range<u64>, length: usize) {
    let table = database.write_table(PAGES, |rows| {
        numbers
            .clone()
            .try_for_each(|number| rows.put(&key(number), &value(number, length)))
    });
    database.ingest(vec![table.unwrap()]).unwrap();
}

/// Files of a directory whose names end so, in order.
pub fn names_of(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(ending))
        .collect();
    found.sort();
    found
}

pub fn flip_bit(path: &Path, at: usize, bit: u8) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[at] ^= 1 << bit;
    std::fs::write(path, bytes).unwrap();
}

pub fn cut(path: &Path, length: u64) {
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

/// Copies a directory, so that one store can be damaged in many ways.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Fails while it is told to.
#[derive(Clone, Default)]
pub struct FailingWriter(pub Arc<AtomicBool>);

impl BatchWriter for FailingWriter {
    fn write(&self, db: &DB, batch: WriteBatch, durability: Durability) -> Result<(), WriteFault> {
        if self.0.load(Ordering::Acquire) {
            return Err(WriteFault::NoSpace);
        }
        RocksWriter.write(db, batch, durability)
    }
}
