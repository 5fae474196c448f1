//! Placement on disk: rows of this node's own, so that a restart hashes nothing that was placed.
//!
//! ```text
//! "placement"           header of [`crate::replication::checkpoint`]
//! "placement segment"   by segment u64, big-endian: its row there, and the root of the segment that it is about
//! ```
//!
//! The root makes the row of a segment that was replaced one of no segment: it is not taken, and the segment is placed anew.
//! Rows are written in slices by the repair thread; what was not written before the process ended is placed again.

use super::assigned::SharedAssigned;
use crate::replication::checkpoint::SavedSets;
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::{
    rows::parse_segment_key, rows::segment_key, OwnChanges, OwnRow, Row, SegmentStore, StoreError,
};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tracing::{debug, info, warn};

/// Segments that are read or written at once.
const SLICE: usize = 1024;

#[derive(Serialize, Deserialize)]
struct HeaderRow(Vec<u8>);

impl Row for HeaderRow {
    const VERSION: u8 = 1;
}

impl OwnRow for HeaderRow {
    const KIND: &'static str = "placement";
}

#[derive(Serialize, Deserialize)]
struct SegmentRow {
    root: [u8; 32],
    row: Vec<u8>,
}

impl Row for SegmentRow {
    const VERSION: u8 = 1;
}

impl OwnRow for SegmentRow {
    const KIND: &'static str = "placement segment";
}

/// What came of [`restore`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Segments that are placed as they were saved.
    pub placed: usize,
    /// Segments that are to be placed anew.
    pub anew: usize,
}

/// Takes up placement where it was saved, and tells it of all closed segments. What cannot be read is placed anew, and said.
pub fn restore(store: &SegmentStore, assigned: &SharedAssigned) -> Restored {
    let mut restored = Restored::default();
    let sets = read_sets(store, assigned);
    if let Ok(Some(last)) = store.last_segment() {
        // First: each segment is placed for the last one that ended.
        assigned.write().placement_mut().end_segment(last);
    }
    let mut from = store.floor().max(store.parameters().first_segment());
    loop {
        match restore_slice(store, assigned, (&sets, from), &mut restored) {
            Ok(Some(next)) => from = next,
            Ok(None) => break,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "placement is not restored from segment {from} on"
                );
                break;
            }
        }
    }
    if restored != Restored::default() {
        info!(placed = restored.placed, anew = restored.anew, "placement restored");
    }
    restored
}

fn read_sets(store: &SegmentStore, assigned: &SharedAssigned) -> Option<SavedSets> {
    let header = match store.own::<HeaderRow>(&[]) {
        Ok(header) => header?,
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "placement is done anew");
            return None;
        }
    };
    let read = assigned.write().placement_mut().read_header(&header.0);
    match read {
        Ok(sets) => Some(sets),
        Err(error) => {
            warn!(error = &error as &dyn std::error::Error, "placement is done anew");
            None
        }
    }
}

/// Restores some segments. Returns where to go on.
fn restore_slice(
    store: &SegmentStore,
    assigned: &SharedAssigned,
    (sets, from): (&Option<SavedSets>, u64),
    restored: &mut Restored,
) -> Result<Option<u64>, StoreError> {
    let infos = store.segments(from, SLICE)?;
    let Some(last) = infos.last().map(|info| info.segment) else {
        return Ok(None);
    };
    let saved = saved_rows(store, from, last)?;
    let mut assigned = assigned.write();
    let placement = assigned.placement_mut();
    for info in &infos {
        let Some(root) = info.root else { continue };
        let row = saved.get(&info.segment).filter(|row| row.root == *root.as_bytes());
        let taken = sets
            .as_ref()
            .zip(row)
            .map(|(sets, row)| placement.restore_segment(sets, info.segment, info.body_bytes, &row.row));
        if let Some(Ok(())) = taken {
            restored.placed += 1;
            continue;
        }
        if let Some(Err(error)) = taken {
            debug!(
                segment = info.segment,
                error = &error as &dyn std::error::Error,
                "placed anew"
            );
        }
        restored.anew += 1;
        if let Err(error) = placement.put_segment(info.segment, info.body_bytes) {
            warn!(
                segment = info.segment,
                error = &error as &dyn std::error::Error,
                "a segment cannot be placed"
            );
        }
    }
    Ok(Some(last + 1))
}

fn saved_rows(store: &SegmentStore, from: u64, last: u64) -> Result<BTreeMap<u64, SegmentRow>, StoreError> {
    let mut saved = BTreeMap::new();
    store.visit_own::<SegmentRow>(&segment_key(from), &mut |key, row| {
        let Some(segment) = parse_segment_key(key).filter(|segment| *segment <= last) else {
            return false;
        };
        // A damaged row is as good as none.
        saved.extend(row.ok().map(|row| (segment, row)));
        true
    })?;
    Ok(saved)
}

/// Writes what changed of placement, some segments at most. Whether something is left.
///
/// # Errors
/// [`StoreError`]: it is written next time.
pub fn save(store: &SegmentStore, assigned: &SharedAssigned) -> Result<bool, StoreError> {
    let rows = assigned.write().placement_mut().take_rows(SLICE);
    if rows.header.is_none() && rows.segments.is_empty() {
        return Ok(false);
    }
    let written = write(store, &rows);
    if written.is_err() {
        assigned.write().placement_mut().not_written(&rows);
    }
    written.map(|()| rows.segments.len() == SLICE)
}

fn write(store: &SegmentStore, rows: &crate::replication::checkpoint::PlacementRows) -> Result<(), StoreError> {
    let mut changes = OwnChanges::default();
    if let Some(header) = &rows.header {
        changes.put(&[], &HeaderRow(header.clone()))?;
    }
    for (segment, row) in &rows.segments {
        let root = store.segment_root(*segment)?;
        match row.as_ref().zip(root) {
            Some((row, root)) => changes.put(
                &segment_key(*segment),
                &SegmentRow {
                    root: *root.as_bytes(),
                    row: row.clone(),
                },
            )?,
            None => changes.delete::<SegmentRow>(&segment_key(*segment)),
        }
    }
    // What is lost with the power is placed again.
    store.change_own(changes, Durability::Buffered)
}

/// Forgets what is pruned, in placement and on disk.
///
/// # Errors
/// [`StoreError`].
pub fn forget_below(
    store: &SegmentStore,
    assigned: &SharedAssigned,
    pruned: std::ops::Range<u64>,
) -> Result<(), StoreError> {
    assigned.write().placement_mut().forget_below(pruned.end);
    let mut changes = OwnChanges::default();
    for segment in pruned {
        changes.delete::<SegmentRow>(&segment_key(segment));
    }
    store.change_own(changes, Durability::Buffered)
}
