//! Which segments changed since somebody looked: what is kept beside the store, like claims, follows from it. And which chunks were
//! found damaged: repair drops and fetches them.

use super::SegmentStore;
use massa_distributed_storage_exports::ChunkPosition;
use std::collections::BTreeSet;

/// Segments that are remembered one by one.
const REMEMBERED: usize = 1 << 16;
/// Chunks that are remembered as damaged.
const DAMAGED_MAX: usize = 1 << 10;

/// Segments that changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangedSegments {
    /// So many changed that they are not listed one by one.
    pub all: bool,
    /// Those that are listed.
    pub segments: BTreeSet<u64>,
}

impl ChangedSegments {
    /// Adds a segment.
    pub fn note(&mut self, segment: u64) {
        if self.segments.len() < REMEMBERED {
            self.segments.insert(segment);
        } else if !self.segments.contains(&segment) {
            self.all = true;
        }
    }
}

impl SegmentStore {
    /// Segments of which chunks came or went, or whose table is new or another, since the last call: whoever follows them takes
    /// them. In memory: after a start, everything may have changed.
    pub fn take_changed(&self) -> ChangedSegments {
        std::mem::take(&mut *self.changed.lock())
    }

    /// Whoever read a chunk found it damaged. What does not fit is found again, by the next read or the scrub.
    pub fn note_damaged(&self, position: ChunkPosition) {
        let mut damaged = self.damaged.lock();
        if damaged.len() < DAMAGED_MAX {
            damaged.insert(position);
        }
    }

    /// Chunks that were found damaged since the last call.
    pub fn take_damaged(&self) -> BTreeSet<ChunkPosition> {
        std::mem::take(&mut *self.damaged.lock())
    }
}
