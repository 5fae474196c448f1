//! Segment roots: computed as soon as a segment and all before it are archived.

use super::{put_sealed, rows, Store, StoreError};
use crate::storage_backend::read::{Damage, ReadError};
use crate::storage_backend::writer::Durability;
use massa_db_exports::STORAGE_MERKLE_ROOTS_PREFIX;
use massa_distributed_storage_exports::segment::{SegmentHeader, SegmentTree};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};
use rocksdb::WriteBatch;
use std::sync::Arc;

/// Trees of segments that are kept in memory, about 20 KB each.
const RECENT_SEGMENTS: usize = 16;

/// The periods of a segment that are archived without a gap from its first one on.
pub struct SegmentState {
    /// Shape of what is archived so far.
    pub header: SegmentHeader,
    /// Whether that is the whole segment.
    pub complete: bool,
    /// The tree over it.
    pub tree: SegmentTree,
}

impl Store {
    /// Root of a complete segment; `None` while it or one before it is not complete.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn segment_root(&self, segment: u64) -> Result<Option<SegmentRoot>, ReadError> {
        let key = rows::segment_root_key(segment);
        let row = self.sealed(STORAGE_MERKLE_ROOTS_PREFIX, &key, None)?;
        Ok(row.and_then(|value| digest(&value)).map(SegmentRoot::from_bytes))
    }

    /// Root of an archived period.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn period_root(&self, period: u64) -> Result<Option<PeriodRoot>, ReadError> {
        let key = rows::period_root_key(period);
        let row = self.sealed(STORAGE_MERKLE_ROOTS_PREFIX, &key, Some(period))?;
        Ok(row.and_then(|value| digest(&value)).map(PeriodRoot::from_bytes))
    }

    /// The tree of a segment over what is archived of it. `None` if its first period or the segment before is missing.
    ///
    /// An incomplete segment has a root too: its header says how many periods it covers.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn segment_state(&self, segment: u64) -> Result<Option<SegmentState>, ReadError> {
        let parameters = self.parameters();
        let previous: Digest = if segment == parameters.first_segment() {
            [0; 32]
        } else {
            match segment
                .checked_sub(1)
                .map(|before| self.segment_root(before))
                .transpose()?
                .flatten()
            {
                Some(root) => root.to_bytes(),
                None => return Ok(None),
            }
        };
        let (first_period, length) = (parameters.segment_start(segment), parameters.segment_length(segment));
        let roots = self.period_roots(first_period, length)?;
        if roots.is_empty() {
            return Ok(None);
        }
        let header = SegmentHeader {
            chain_id: parameters.chain_id,
            segment,
            first_period,
            periods: roots.len() as u32,
            previous,
        };
        Ok(Some(SegmentState {
            header,
            complete: roots.len() as u64 == length,
            tree: SegmentTree::new(header, &roots),
        }))
    }

    /// As [`Store::segment_state`], from memory if the segment is complete and was asked for lately.
    pub(crate) fn recent_segment(&self, segment: u64) -> Result<Option<Arc<SegmentState>>, ReadError> {
        let recent = self
            .segments
            .lock()
            .iter()
            .find(|state| state.header.segment == segment)
            .cloned();
        if recent.is_some() {
            return Ok(recent);
        }
        let replaced = self.replaced_count();
        let Some(state) = self.segment_state(segment)?.map(Arc::new) else {
            return Ok(None);
        };
        if state.complete {
            let mut recent = self.segments.lock();
            // A period may have been replaced meanwhile.
            if self.replaced_count() == replaced && replaced % 2 == 0 {
                recent.truncate(RECENT_SEGMENTS - 1);
                recent.push_front(Arc::clone(&state));
            }
        }
        Ok(Some(state))
    }

    /// Roots of the periods from `first` on that are archived without a gap, at most `count`.
    fn period_roots(&self, first: u64, count: u64) -> Result<Vec<PeriodRoot>, ReadError> {
        let mut roots = Vec::new();
        self.for_each_row(
            STORAGE_MERKLE_ROOTS_PREFIX,
            &rows::period_root_key(first),
            |key, row| {
                let period = first + roots.len() as u64;
                if roots.len() as u64 == count || key != rows::period_root_key(period) {
                    return Ok(false);
                }
                let damage =
                    || Damage::new(STORAGE_MERKLE_ROOTS_PREFIX, "row does not match its checksum").in_period(period);
                let root = rows::unseal(key, row).and_then(digest).ok_or_else(damage)?;
                roots.push(PeriodRoot::from_bytes(root));
                Ok(true)
            },
        )?;
        Ok(roots)
    }

    /// Stores the roots of segments that became complete, from `segment` on. Returns them.
    ///
    /// # Errors
    /// [`ReadError`] when a root cannot be read or written.
    pub fn update_segments(&self, mut segment: u64) -> Result<Vec<(u64, SegmentRoot)>, ReadError> {
        let mut stored = Vec::new();
        while self.segment_root(segment)?.is_none() {
            let Some(state) = self.segment_state(segment)?.filter(|state| state.complete) else {
                break;
            };
            let root = state.tree.root();
            self.with_db(|db| -> Result<(), StoreError> {
                let mut batch = WriteBatch::default();
                let key = rows::segment_root_key(segment);
                put_sealed(
                    db,
                    &mut batch,
                    STORAGE_MERKLE_ROOTS_PREFIX,
                    &key,
                    root.to_bytes().to_vec(),
                )?;
                // It can be computed again from the period roots.
                self.write(db, batch, Durability::Buffered)
            })?;
            stored.push((segment, root));
            segment += 1;
        }
        Ok(stored)
    }
}

fn digest(value: &[u8]) -> Option<Digest> {
    value.try_into().ok()
}
