//! Segment tables: every node keeps every one, whatever it holds.

use super::closing::check_root;
use super::rows::{self, ClosedState, SegmentRow};
use super::{Counters, Damage, RowBatch, SegmentStore, StoreError, View, RECENT_TABLES};
use crate::storage_backend::database::writer::Durability;
use massa_db_exports::{STORAGE_MERKLE_ROOTS_PREFIX, STORAGE_TABLES_CF};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::SegmentRoot;
use std::sync::Arc;

/// The row of a segment with this table. What a table does not tell is 0.
pub(crate) fn segment_row(table: &SegmentTable, root: SegmentRoot, state: ClosedState) -> SegmentRow {
    let header = table.header();
    SegmentRow {
        state,
        root: root.to_bytes(),
        first_period: header.first_period,
        periods: header.periods,
        body_bytes: header.body_length,
        bytes_before: header.bytes_before,
        chunks: header.chunk_count(),
        blocks: 0,
        operations: 0,
        lost_periods: 0,
    }
}

impl View<'_> {
    /// The row of a segment; `None` while it is open or unknown.
    pub(crate) fn segment_row(&self, segment: u64) -> Result<Option<SegmentRow>, StoreError> {
        let at = |damage: Damage| damage.in_segment(segment);
        self.row(STORAGE_MERKLE_ROOTS_PREFIX, &rows::segment_key(segment), &at)
    }

    /// The table of a segment; `None` while it is open or unknown. Reads the segment's row, and the table unless it was read
    /// lately.
    pub(crate) fn table(&self, segment: u64) -> Result<Option<Arc<SegmentTable>>, StoreError> {
        let Some(row) = self.segment_row(segment)? else {
            return Ok(None);
        };
        let root = SegmentRoot::from_bytes(row.root);
        let recent = self.store.recent.lock();
        if let Some((_, _, table)) = recent.iter().find(|(found, of, _)| *found == segment && *of == root) {
            return Ok(Some(Arc::clone(table)));
        }
        drop(recent);
        let table = Arc::new(self.read_table(segment, &row)?);
        let mut recent = self.store.recent.lock();
        recent.push_back((segment, root, Arc::clone(&table)));
        if recent.len() > RECENT_TABLES {
            recent.pop_front();
        }
        Ok(Some(table))
    }

    /// Reads a table. Its checksum says that it is what was written; [`SegmentStore::verify`] computes the root again.
    fn read_table(&self, segment: u64, row: &SegmentRow) -> Result<SegmentTable, StoreError> {
        let at = |damage: Damage| damage.in_segment(segment);
        let damage = |reason: String| StoreError::from(at(Damage::new(STORAGE_TABLES_CF, reason)));
        let value = self.sealed(STORAGE_TABLES_CF, &rows::segment_key(segment), &at)?;
        let value = value.ok_or_else(|| damage("table is missing".into()))?;
        let table = SegmentTable::from_bytes(&value).map_err(|error| damage(error.to_string()))?;
        let header = table.header();
        let fits = header.segment == segment && header.periods == row.periods && header.body_length == row.body_bytes;
        if fits {
            Ok(table)
        } else {
            Err(damage("the table is not the one of the segment's row".into()))
        }
    }

    pub(crate) fn put_table(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        table: &SegmentTable,
        row: &SegmentRow,
    ) -> Result<(), StoreError> {
        let segment = table.header().segment;
        batch.touched.push(segment);
        let key = rows::segment_key(segment).to_vec();
        batch.put_sealed(STORAGE_TABLES_CF, key.clone(), table.to_bytes());
        counters.add_segment(row);
        batch.put_row(STORAGE_MERKLE_ROOTS_PREFIX, key, row)
    }
}

impl SegmentStore {
    /// Keeps tables of segments that this node did not derive: one batch. The caller has led each to a root that it trusts.
    /// Returns how many are new. Tables that are here already are left as they are, unless
    /// they are damaged; block rows of an open segment stay until
    /// the next one is closed, or [`SegmentStore::drop_open_rows`].
    ///
    /// # Errors
    /// [`StoreError::OtherRoot`]: such a segment has to be replaced, and nothing is written. [`StoreError::Table`] for a table
    /// of another network. [`StoreError::Database`].
    pub fn put_tables(&self, tables: &[(SegmentTable, SegmentRoot)]) -> Result<usize, StoreError> {
        tables.iter().try_for_each(|(table, _)| self.check_table(table))?;
        let bytes = tables
            .iter()
            .map(|(table, _)| SegmentTable::length_of(table.header()) as u64)
            .sum();
        self.database.check_space(bytes)?;
        self.change(Durability::Buffered, |view, batch, counters| {
            let mut new = std::collections::BTreeMap::new();
            for (table, root) in tables {
                let segment = table.header().segment;
                let row = segment_row(table, *root, ClosedState::TableOnly);
                match (view.segment_row(segment)?, new.get(&segment)) {
                    (Some(stored), _) => {
                        check_root(segment, &stored, *root)?;
                        if let Err(StoreError::Damaged(_)) = view.table(segment) {
                            let key = rows::segment_key(segment).to_vec();
                            batch.put_sealed(STORAGE_TABLES_CF, key, table.to_bytes());
                        }
                    }
                    (None, Some(listed)) => check_root(segment, listed, *root)?,
                    (None, None) => {
                        view.put_table(batch, counters, table, &row)?;
                        new.insert(segment, row);
                    }
                }
            }
            Ok(new.len())
        })
    }

    /// The table of a closed segment; `None` while it is open or unknown.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn table(&self, segment: u64) -> Result<Option<Arc<SegmentTable>>, StoreError> {
        self.view(|view| view.table(segment))
    }

    /// The root of a closed segment. Reads one row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn segment_root(&self, segment: u64) -> Result<Option<SegmentRoot>, StoreError> {
        let row = self.view(|view| view.segment_row(segment))?;
        Ok(row.map(|row| SegmentRoot::from_bytes(row.root)))
    }

    /// The first segment from `from` on whose table is not here. Reads a few rows where the tables that are here have no gap
    /// between them, which is the rule; else one for each segment from `from` up to the gap.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn first_without_table(&self, from: u64) -> Result<u64, StoreError> {
        self.view(|view| {
            let Some(last) = view
                .last_key(STORAGE_MERKLE_ROOTS_PREFIX)?
                .and_then(|key| rows::parse_segment_key(&key))
            else {
                return Ok(from);
            };
            let first = view.first_key(STORAGE_MERKLE_ROOTS_PREFIX, &[])?;
            let first = first.and_then(|key| rows::parse_segment_key(&key)).unwrap_or(last);
            let without_gap = last - first + 1 == view.counters()?.segments;
            if from < first || from > last {
                return Ok(from);
            }
            if without_gap {
                return Ok(last + 1);
            }
            let mut next = from;
            view.scan(STORAGE_MERKLE_ROOTS_PREFIX, &rows::segment_key(from), |key, _| {
                let here = rows::parse_segment_key(key) == Some(next);
                next += u64::from(here);
                Ok(here)
            })?;
            Ok(next)
        })
    }

    /// Root and body bytes up to the end of a closed segment: what the next one's header continues. Reads one row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn chain_end(&self, segment: u64) -> Result<Option<(SegmentRoot, u64)>, StoreError> {
        let row = self.view(|view| view.segment_row(segment))?;
        Ok(row.map(|row| (SegmentRoot::from_bytes(row.root), row.bytes_before + row.body_bytes)))
    }

    /// The newest segment whose table is here. Reads one row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn last_segment(&self) -> Result<Option<u64>, StoreError> {
        self.view(|view| {
            let key = view.last_key(STORAGE_MERKLE_ROOTS_PREFIX)?;
            Ok(key.and_then(|key| rows::parse_segment_key(&key)))
        })
    }
}
