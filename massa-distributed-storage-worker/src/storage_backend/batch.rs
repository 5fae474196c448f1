//! Rows that are written together or not at all.

use super::database::{family, KeyRange};
use super::own::{encode, Row};
use super::rows::HeldRow;
use super::{OwnChanges, StoreError};
use crate::storage_backend::keys::seal;
use rocksdb::{WriteBatch, DB};

enum Change {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    DeleteRange(Vec<u8>, Vec<u8>),
}

/// Changes of rows, in order: a later one of the same key wins.
#[derive(Default)]
pub(crate) struct RowBatch {
    changes: Vec<(&'static str, Change)>,
    /// Held rows among them: filters of pages follow.
    pub(crate) held: Vec<(u64, HeldRow)>,
    /// Pages that are no longer wanted once it is written, and their bytes.
    pub(crate) dropped: Vec<(KeyRange, u64)>,
    /// Segments that change without a held row among the changes.
    pub(crate) touched: Vec<u64>,
}

impl RowBatch {
    /// Writes a row as it is.
    pub(crate) fn put(&mut self, family: &'static str, key: Vec<u8>, value: Vec<u8>) {
        self.changes.push((family, Change::Put(key, value)));
    }

    /// Writes a row and its checksum.
    pub(crate) fn put_sealed(&mut self, family: &'static str, key: Vec<u8>, value: Vec<u8>) {
        let value = seal(&key, value);
        self.put(family, key, value);
    }

    /// Writes a typed row.
    pub(crate) fn put_row<T: Row>(&mut self, family: &'static str, key: Vec<u8>, row: &T) -> Result<(), StoreError> {
        self.put_sealed(family, key, encode(row)?);
        Ok(())
    }

    /// Deletes a row. The caller knows that there is one: a delete of nothing is a row, too, until it is compacted away.
    pub(crate) fn delete(&mut self, family: &'static str, key: Vec<u8>) {
        self.changes.push((family, Change::Delete(key)));
    }

    /// Deletes the rows from one key up to, not including, another.
    pub(crate) fn delete_range(&mut self, family: &'static str, from: Vec<u8>, to: Vec<u8>) {
        self.changes.push((family, Change::DeleteRange(from, to)));
    }

    /// Takes in changes of own rows.
    pub(crate) fn append(&mut self, own: OwnChanges) {
        self.changes.extend(own.0.changes);
    }

    pub(crate) fn fill(&self, db: &DB, batch: &mut WriteBatch) -> Result<(), StoreError> {
        for (name, change) in &self.changes {
            let handle = family(db, name)?;
            match change {
                Change::Put(key, value) => batch.put_cf(handle, key, value),
                Change::Delete(key) => batch.delete_cf(handle, key),
                Change::DeleteRange(from, to) => batch.delete_range_cf(handle, from, to),
            }
        }
        Ok(())
    }
}
