//! Claims in the store: rows of this node's own.
//!
//! ```text
//! claim        segment                what is claimed of it, for the next round
//! claim saved  version | segment      the same as a claim that was sent has it
//! claim sent   version                a claim that was sent
//! claim now    (no key)               root and sum over all rows `claim`
//! ```

use crate::challenge::segment_claim::{ClaimBatch, ClaimStore, RowRead, SegmentRow, SentClaim};
use crate::challenge::sums::Claim;
use crate::storage_backend::{OwnChanges, OwnRow, Row, SegmentStore, StoreError};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

impl Row for SegmentRow {
    const VERSION: u8 = SegmentRow::VERSION;
}

impl OwnRow for SegmentRow {
    const KIND: &'static str = "claim";
}

/// [`ClaimBatch::saved`].
#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedRow(SegmentRow);

impl Row for SavedRow {
    const VERSION: u8 = SegmentRow::VERSION;
}

impl OwnRow for SavedRow {
    const KIND: &'static str = "claim saved";
}

impl Row for SentClaim {
    const VERSION: u8 = SentClaim::VERSION;
}

impl OwnRow for SentClaim {
    const KIND: &'static str = "claim sent";
}

/// [`ClaimBatch::current`].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct CurrentClaim(Claim);

impl Row for CurrentClaim {
    const VERSION: u8 = 1;
}

impl OwnRow for CurrentClaim {
    const KIND: &'static str = "claim now";
}

fn saved_key(version: u64, segment: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&version.to_be_bytes());
    key[8..].copy_from_slice(&segment.to_be_bytes());
    key
}

fn number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.try_into().ok()?))
}

/// A damaged row is told as such, not as a failure.
fn read<T>(
    row: Result<Option<T>, StoreError>,
    segment_row: impl FnOnce(T) -> SegmentRow,
) -> Result<RowRead, StoreError> {
    match row {
        Ok(None) => Ok(RowRead::Missing),
        Ok(Some(row)) => Ok(RowRead::Row(segment_row(row))),
        Err(StoreError::Damaged(_)) => Ok(RowRead::Damaged),
        Err(error) => Err(error),
    }
}

/// What a change of claims writes.
///
/// # Errors
/// [`StoreError::Encode`].
pub fn changes(batch: &ClaimBatch) -> Result<OwnChanges, StoreError> {
    let mut changes = OwnChanges::default();
    for (version, segment, row) in &batch.saved {
        changes.put(&saved_key(*version, *segment), &SavedRow(row.clone()))?;
    }
    for (segment, row) in &batch.rows {
        match row {
            Some(row) => changes.put(&segment.to_be_bytes(), row)?,
            None => changes.delete::<SegmentRow>(&segment.to_be_bytes()),
        }
    }
    if let Some(sent) = &batch.sent {
        changes.put(&sent.version.to_be_bytes(), sent)?;
    }
    for version in &batch.forgotten {
        changes.delete::<SentClaim>(&version.to_be_bytes());
        let (from, to) = (saved_key(*version, 0), saved_key(version.saturating_add(1), 0));
        changes.delete_range::<SavedRow>(&from, &to);
    }
    if let Some(current) = batch.current {
        changes.put(&[], &CurrentClaim(current))?;
    }
    Ok(changes)
}

impl ClaimStore for SegmentStore {
    type Error = StoreError;

    fn row(&self, segment: u64) -> Result<RowRead, StoreError> {
        read(self.own::<SegmentRow>(&segment.to_be_bytes()), |row| row)
    }

    fn saved_row(&self, version: u64, segment: u64) -> Result<RowRead, StoreError> {
        read(self.own::<SavedRow>(&saved_key(version, segment)), |row| row.0)
    }

    fn each_row(&self, visit: &mut dyn FnMut(u64, RowRead)) -> Result<(), StoreError> {
        self.visit_own::<SegmentRow>(&[], &mut |key, row| {
            if let Some(segment) = number(key) {
                visit(segment, row.map_or(RowRead::Damaged, RowRead::Row));
            }
            true
        })
    }

    fn each_saved(&self, version: u64, visit: &mut dyn FnMut(u64, RowRead)) -> Result<(), StoreError> {
        self.visit_own::<SavedRow>(&version.to_be_bytes(), &mut |key, row| {
            let Some(segment) = key.strip_prefix(&version.to_be_bytes()).and_then(number) else {
                return false;
            };
            visit(segment, row.map_or(RowRead::Damaged, |row| RowRead::Row(row.0)));
            true
        })
    }

    fn sent(&self) -> Result<Vec<SentClaim>, StoreError> {
        let mut sent = Vec::new();
        self.visit_own::<SentClaim>(&[], &mut |_, row| {
            match row {
                Ok(claim) => sent.push(claim),
                Err(reason) => {
                    tracing::warn!(%reason, "the row of a claim that was sent is damaged: its draws are missed")
                }
            }
            true
        })?;
        Ok(sent)
    }

    fn current(&self) -> Result<Option<Claim>, StoreError> {
        match self.own::<CurrentClaim>(&[]) {
            Ok(row) => Ok(row.map(|row| row.0)),
            // Nothing has this root: all rows are looked at.
            Err(StoreError::Damaged(_)) => Ok(Some(Claim {
                root: [u8::MAX; 32],
                leaves: 0,
            })),
            Err(error) => Err(error),
        }
    }

    fn table(&self, segment: u64) -> Result<Option<Arc<SegmentTable>>, StoreError> {
        SegmentStore::table(self, segment)
    }
}
