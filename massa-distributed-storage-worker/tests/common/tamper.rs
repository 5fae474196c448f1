//! A writer that lets tests look at and change rows behind the store's back, and fail when they say.

// Each test program uses a part of it.
#![allow(dead_code)]

use massa_distributed_storage_worker::storage_backend::database::writer::{
    BatchWriter, Durability, RocksWriter, WriteFault,
};
use massa_distributed_storage_worker::storage_backend::{own, OwnChanges, OwnRow, SegmentStore};
use parking_lot::Mutex;
use rocksdb::{IteratorMode, WriteBatch, DB};
use std::sync::Arc;

/// A row: family, key, value.
pub type Row = (String, Vec<u8>, Vec<u8>);

/// Of which there never is a row: deleting it is a write that changes nothing.
#[derive(serde::Serialize, serde::Deserialize)]
struct Nothing;

impl own::Row for Nothing {
    const VERSION: u8 = 1;
}

impl OwnRow for Nothing {
    const KIND: &'static str = "nothing";
}

/// When a write fails, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Before anything is written.
    Before,
    /// After the batch was written: its fate is unknown to the store.
    After,
}

#[derive(Default)]
struct Plan {
    puts: Vec<Row>,
    deletes: Vec<(String, Vec<u8>)>,
    /// Set to look at all rows at the next write.
    look: bool,
    rows: Vec<Row>,
    writes: usize,
    /// Writes numbered from `0.0` on, `0.1` of them, fail.
    failing: Option<(usize, usize, Failure, WriteFault)>,
}

/// See the module.
#[derive(Clone, Default)]
pub struct Tamper(Arc<Mutex<Plan>>);

impl Tamper {
    /// Writes a row as it is at the next write of the store.
    pub fn put(&self, row: Row) {
        self.0.lock().puts.push(row);
    }

    /// Deletes a row at the next write of the store.
    pub fn delete(&self, family: &str, key: &[u8]) {
        self.0.lock().deletes.push((family.to_string(), key.to_vec()));
    }

    /// Looks at all rows at the next write of the store.
    pub fn look(&self) {
        self.0.lock().look = true;
    }

    /// All rows after the write that was looked at.
    pub fn rows(&self) -> Vec<Row> {
        self.0.lock().rows.clone()
    }

    /// Changes a byte of the first row of `family` whose key begins with `key`: at `at` from its end. The store writes with this.
    pub fn damage(&self, store: &SegmentStore, family: &str, key: &[u8], at: usize) {
        let write = || {
            let mut changes = OwnChanges::default();
            changes.delete::<Nothing>(&[]);
            store.change_own(changes, Durability::Synced).unwrap();
        };
        self.look();
        write();
        let rows = self.rows();
        let is_it = |(of, found, _): &&Row| of == family && found.starts_with(key);
        let (family, key, mut value) = rows.iter().find(is_it).unwrap().clone();
        let index = value.len() - at;
        value[index] ^= 1;
        self.put((family, key, value));
        write();
    }

    /// Writes so far.
    pub fn writes(&self) -> usize {
        self.0.lock().writes
    }

    /// Lets `count` writes fail, the first being write `first` of the store's life.
    pub fn fail(&self, first: usize, count: usize, failure: Failure, fault: WriteFault) {
        self.0.lock().failing = Some((first, count, failure, fault));
    }
}

fn dump(db: &DB) -> Vec<Row> {
    let families = DB::list_cf(&rocksdb::Options::default(), db.path()).unwrap();
    let mut rows = Vec::new();
    for family in families {
        let Some(handle) = db.cf_handle(&family) else { continue };
        for row in db.iterator_cf(handle, IteratorMode::Start) {
            let (key, value) = row.unwrap();
            rows.push((family.clone(), key.to_vec(), value.to_vec()));
        }
    }
    rows
}

impl BatchWriter for Tamper {
    fn write(&self, db: &DB, mut batch: WriteBatch, durability: Durability) -> Result<(), WriteFault> {
        let mut plan = self.0.lock();
        let number = plan.writes;
        plan.writes += 1;
        for (family, key, value) in std::mem::take(&mut plan.puts) {
            batch.put_cf(db.cf_handle(&family).unwrap(), key, value);
        }
        for (family, key) in std::mem::take(&mut plan.deletes) {
            batch.delete_cf(db.cf_handle(&family).unwrap(), key);
        }
        let failing = plan
            .failing
            .clone()
            .filter(|(first, count, _, _)| (*first..first + count).contains(&number));
        match failing {
            Some((_, _, Failure::Before, fault)) => return Err(fault),
            Some((_, _, Failure::After, fault)) => {
                RocksWriter.write(db, batch, durability)?;
                return Err(fault);
            }
            None => RocksWriter.write(db, batch, durability)?,
        }
        if std::mem::take(&mut plan.look) {
            plan.rows = dump(db);
        }
        Ok(())
    }
}
