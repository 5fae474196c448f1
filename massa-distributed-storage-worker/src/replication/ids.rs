//! Chunk ids, which a placement does not keep: they stand in the segment tables, on disk.

use super::hashing::PlacingCosts;
use massa_distributed_storage_exports::ChunkId;

/// Where the chunk ids of a segment are read.
pub trait ChunkIds {
    /// Ids of all chunks of a segment, in order; `None` if they cannot be read now.
    fn chunk_ids(&self, segment: u64) -> Option<Vec<ChunkId>>;
}

impl<F: Fn(u64) -> Option<Vec<ChunkId>>> ChunkIds for F {
    fn chunk_ids(&self, segment: u64) -> Option<Vec<ChunkId>> {
        self(segment)
    }
}

/// A segment's chunk ids are not there, or are not as many as its bytes make.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unreadable;

/// The ids of one segment, read when one is needed: most segments of a change need none.
#[derive(Debug)]
pub(super) struct LazyIds {
    segment: u64,
    count: usize,
    read: Option<Vec<ChunkId>>,
}

impl LazyIds {
    pub(super) fn new(segment: u64, count: usize) -> Self {
        Self {
            segment,
            count,
            read: None,
        }
    }

    pub(super) fn get(&mut self, source: &dyn ChunkIds, costs: &mut PlacingCosts) -> Result<&[ChunkId], Unreadable> {
        if self.read.is_none() {
            costs.segments_read += 1;
            self.read = source.chunk_ids(self.segment).filter(|ids| ids.len() == self.count);
        }
        self.read.as_deref().ok_or(Unreadable)
    }
}
