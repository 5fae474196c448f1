//! Rows as they are at one moment, each checked against its checksum.

use super::own::{decode, Row};
use super::{rows, Damage, SegmentStore, StoreError};
use crate::storage_backend::database::{family, Database};
use crate::storage_backend::keys::unseal;
use massa_db_exports::STORAGE_METADATA_CF;
use rocksdb::{DBPinnableSlice, Direction, IteratorMode, Snapshot, DB};
use std::sync::atomic::Ordering;

/// What the store holds at one moment: whatever is written meanwhile is not seen.
pub(crate) struct View<'a> {
    pub(crate) store: &'a SegmentStore,
    db: &'a DB,
    snapshot: Snapshot<'a>,
}

impl<'a> View<'a> {
    pub(crate) fn new(store: &'a SegmentStore, db: &'a DB) -> Self {
        Self {
            store,
            db,
            snapshot: db.snapshot(),
        }
    }

    /// RocksDB could not read: the table, if one is damaged, is noted, and set aside when the store is next opened.
    fn unreadable(&self, name: &'static str, error: &rocksdb::Error) -> StoreError {
        self.store.database.unreadable(error);
        Damage::new(name, error.to_string()).into()
    }

    fn count_row(&self) {
        self.store.rows_read.fetch_add(1, Ordering::Relaxed);
    }

    /// A row as it is, where RocksDB keeps it; `None` if there is none.
    pub(crate) fn raw(&self, name: &'static str, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>, StoreError> {
        self.count_row();
        let row = self.snapshot.get_pinned_cf(family(self.db, name)?, key);
        row.map_err(|error| self.unreadable(name, &error))
    }

    /// A row without its checksum; `at` says where it belongs, should it be damaged.
    pub(crate) fn sealed(
        &self,
        name: &'static str,
        key: &[u8],
        at: &dyn Fn(Damage) -> Damage,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.raw(name, key).map_err(|error| located(error, at))?;
        let Some(row) = row else { return Ok(None) };
        match unseal(key, &row) {
            Some(value) => Ok(Some(value.to_vec())),
            None => Err(at(Damage::new(name, "row does not match its checksum")).into()),
        }
    }

    /// A typed row; `None` if there is none.
    pub(crate) fn row<T: Row>(
        &self,
        name: &'static str,
        key: &[u8],
        at: &dyn Fn(Damage) -> Damage,
    ) -> Result<Option<T>, StoreError> {
        let Some(value) = self.sealed(name, key, at)? else {
            return Ok(None);
        };
        decode(&value)
            .map(Some)
            .map_err(|reason| at(Damage::new(name, reason)).into())
    }

    /// A typed row that every store has.
    pub(crate) fn required<T: Row>(&self, family: &'static str, key: &[u8], name: &str) -> Result<T, StoreError> {
        let at = |damage: Damage| Damage {
            reason: format!("{name}: {}", damage.reason),
            ..damage
        };
        let row = self.row(family, key, &at)?;
        row.ok_or_else(|| at(Damage::new(family, "row is missing")).into())
    }

    /// Calls `action` with each row from `start` on, until it returns false.
    pub(crate) fn scan(
        &self,
        name: &'static str,
        start: &[u8],
        mut action: impl FnMut(&[u8], &[u8]) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let mode = IteratorMode::From(start, Direction::Forward);
        for row in self.snapshot.iterator_cf(family(self.db, name)?, mode) {
            self.count_row();
            let (key, value) = row.map_err(|error| self.unreadable(name, &error))?;
            if !action(&key, &value)? {
                break;
            }
        }
        Ok(())
    }

    /// The first key from `start` on.
    pub(crate) fn first_key(&self, name: &'static str, start: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut found = None;
        self.scan(name, start, |key, _| {
            found = Some(key.to_vec());
            Ok(false)
        })?;
        Ok(found)
    }

    /// The last row that begins with nothing in particular: the last of the family.
    pub(crate) fn last_key(&self, name: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.count_row();
        let last = self
            .snapshot
            .iterator_cf(family(self.db, name)?, IteratorMode::End)
            .next();
        let last = last.transpose().map_err(|error| self.unreadable(name, &error))?;
        Ok(last.map(|(key, _)| key.to_vec()))
    }
}

fn located(error: StoreError, at: &dyn Fn(Damage) -> Damage) -> StoreError {
    match error {
        StoreError::Damaged(damage) => at(damage).into(),
        other => other,
    }
}

/// A row of metadata. Every store was made with all of them.
pub(crate) fn metadata(database: &Database, db: &DB, key: &[u8], name: &str) -> Result<Vec<u8>, StoreError> {
    let row = db.get_cf(family(db, STORAGE_METADATA_CF)?, key);
    let row = row.map_err(|error| {
        database.unreadable(&error);
        metadata_damage(name, error.as_ref())
    })?;
    let row = row.ok_or_else(|| metadata_damage(name, "is missing"))?;
    let value = unseal(key, &row).ok_or_else(|| metadata_damage(name, "does not match its checksum"))?;
    Ok(value.to_vec())
}

pub(crate) fn metadata_damage(name: &str, reason: &str) -> StoreError {
    Damage::new(STORAGE_METADATA_CF, format!("row {name} {reason}")).into()
}

impl View<'_> {
    /// The first segment that is not pruned.
    pub(crate) fn floor(&self) -> u64 {
        self.store.floor.segment()
    }

    /// Whether the segment of `segment` is pruned.
    pub(crate) fn check_floor(&self, segment: u64) -> Result<(), StoreError> {
        let floor = self.floor();
        if segment < floor {
            return Err(StoreError::Pruned { segment, floor });
        }
        Ok(())
    }
}

/// Where the rows of `segment` end.
pub(crate) fn after(segment: u64) -> Vec<u8> {
    rows::segment_key(segment + 1).to_vec()
}
