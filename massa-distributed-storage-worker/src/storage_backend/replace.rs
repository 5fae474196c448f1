//! What is archived because an accepted segment root says so: lost periods, and periods that replace others.
//!
//! Everything that was known of the period goes in the same write batch, with the segment roots that named it: a killed
//! process leaves the period as it was, or as it is accepted. Segment roots are computed again by
//! [`Store::update_segments`].

use super::read::ReadError;
use super::writer::Durability;
use super::{
    add_manifest, add_pending_rows, family_of, rows, ArchivedPeriod, PendingRows, Store, StoreError, INDEX_FAMILIES,
};
use crate::chunking::EncodedPeriod;
use massa_db_exports::{STORAGE_CHUNKS_PREFIX, STORAGE_MERKLE_ROOTS_PREFIX, STORAGE_PAGES_CF};
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::PeriodRoot;
use rocksdb::WriteBatch;
use std::sync::atomic::Ordering;

impl Store {
    /// Enters a period as lost: its manifest, root and ids; whatever else was stored of it is deleted. One write batch.
    ///
    /// `rows` are rows of other periods.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then, unless the disk failed while writing.
    pub fn enter_lost(
        &self,
        manifest: &Manifest,
        rows: &PendingRows<'_>,
        durability: Durability,
    ) -> Result<PeriodRoot, StoreError> {
        let period = manifest.header.period;
        let (mut batch, was_archived) = self.without_period(period)?;
        self.replacing(period, was_archived, || {
            self.with_db(|db| {
                add_pending_rows(db, &mut batch, rows)?;
                let root = add_manifest(db, &mut batch, manifest)?;
                self.delete_pending(db, &mut batch, period)?;
                self.write(db, batch, durability)?;
                Ok(root)
            })
        })
    }

    /// Stores a period as [`Store::put_period`] does, in place of whatever was stored of it. One write batch.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is changed then, unless the disk failed while writing.
    pub fn replace_period(
        &self,
        encoded: &EncodedPeriod,
        records: &[Option<&BlockRecord>],
        keep: &[bool],
        rows: &PendingRows<'_>,
        durability: Durability,
    ) -> Result<ArchivedPeriod, StoreError> {
        let period = encoded.manifest.header.period;
        let (batch, was_archived) = self.without_period(period)?;
        self.replacing(period, was_archived, || {
            self.put_period_in(batch, encoded, records, keep, rows, durability)
        })
    }

    /// Changes before and after an archived period is replaced, and is odd meanwhile: for whoever remembers period roots or
    /// segment roots.
    pub fn replaced_count(&self) -> u64 {
        self.replaced.load(Ordering::Acquire)
    }

    /// A batch that deletes what the archive has of a period, and the segment roots that follow from it; and whether it has
    /// anything of it.
    ///
    /// Rows of the indexes name their period only in their value, so that all of them are looked at: seconds on a large
    /// archive, for what happens once in a blue moon.
    fn without_period(&self, period: u64) -> Result<(WriteBatch, bool), StoreError> {
        let mut batch = WriteBatch::default();
        let key = rows::period_root_key(period);
        if self.raw(STORAGE_MERKLE_ROOTS_PREFIX, &key)?.is_none() {
            return Ok((batch, false));
        }
        let mut indexed = Vec::new();
        for family in INDEX_FAMILIES {
            self.for_each_row(family, &[], |key, value| {
                if value.get(..8).and_then(rows::parse_u64) == Some(period) {
                    indexed.push((family, key.to_vec()));
                }
                Ok(true)
            })
            .map_err(into_store_error)?;
        }
        self.with_db(|db| {
            for (family, key) in indexed {
                batch.delete_cf(family_of(db, family)?, key);
            }
            for family in [STORAGE_CHUNKS_PREFIX, STORAGE_PAGES_CF] {
                let (start, end) = (rows::period_key(period), rows::period_key(period.saturating_add(1)));
                batch.delete_range_cf(family_of(db, family)?, start, end);
            }
            let segment = self.parameters().segment_of(period);
            let (start, end) = (rows::segment_root_key(segment), rows::segment_root_key(u64::MAX));
            batch.delete_range_cf(family_of(db, STORAGE_MERKLE_ROOTS_PREFIX)?, start, end);
            Ok((batch, true))
        })
    }

    /// Runs `write`. Even if it fails it may have been carried out.
    fn replacing<T>(
        &self,
        period: u64,
        was_archived: bool,
        write: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if !was_archived {
            return write();
        }
        self.replaced.fetch_add(1, Ordering::AcqRel);
        let written = write();
        let segment = self.parameters().segment_of(period);
        let mut segments = self.segments.lock();
        // Under the lock, so that nobody puts back a tree that was read before.
        self.replaced.fetch_add(1, Ordering::AcqRel);
        segments.retain(|state| state.header.segment < segment);
        drop(segments);
        self.held_changes.note(period);
        written
    }
}

fn into_store_error(error: ReadError) -> StoreError {
    match error {
        ReadError::Store(error) => error,
        // Only RocksDB itself can find damage while rows are listed.
        error => StoreError::Unreadable(error.to_string()),
    }
}
