//! What answers are expected to weigh before they are there.
//!
//! An answer counts in flight as what is sent. What that is, only the answer tells; so the average of the last ones is
//! taken, which is never less than an eighth of the largest that a page can have: who sends small answers to be asked for
//! more than it should cannot get far.

use crate::handlers::storage_handler::messages::{
    MAX_CONTENT_BYTES, MAX_ENTRY_BYTES, MAX_PAGE_FRAME_BYTES, MAX_TABLE_BYTES,
};
use massa_distributed_storage_exports::network::{FetchTarget, MAX_HELD_BYTES, MAX_SUM_PATH_BYTES};
use massa_distributed_storage_exports::record::MAX_RECORD_BYTES;
use massa_distributed_storage_exports::types::PAGE_BYTES;

/// Bytes of a request or answer without content.
const EMPTY_FRAME_BYTES: usize = 128;

/// A moving average within bounds.
#[derive(Clone, Copy, Debug)]
struct Average {
    value: usize,
    least: usize,
    most: usize,
}

impl Average {
    fn new(value: usize, least: usize, most: usize) -> Self {
        Self { value, least, most }
    }

    /// An eighth of the way to `bytes`.
    fn add(&mut self, bytes: usize) {
        let value = (self.value * 7 + bytes).div_ceil(8);
        self.value = value.clamp(self.least, self.most);
    }
}

/// Expected bytes of a page, a table, an entry, a list of held chunks, a block.
pub(super) struct Costs {
    page: Average,
    table: Average,
    entry: Average,
    held: Average,
    block: Average,
}

impl Costs {
    /// Those of near-empty periods, packed.
    pub fn new() -> Self {
        Self {
            page: Average::new(PAGE_BYTES * 3 / 4, MAX_PAGE_FRAME_BYTES / 8, MAX_PAGE_FRAME_BYTES),
            table: Average::new(4 << 10, 118, MAX_TABLE_BYTES),
            entry: Average::new(1 << 10, 2, MAX_ENTRY_BYTES),
            held: Average::new(64, 1, MAX_HELD_BYTES),
            block: Average::new(4 << 10, 256, MAX_RECORD_BYTES),
        }
    }

    fn of(&mut self, target: &FetchTarget) -> Option<&mut Average> {
        match target {
            FetchTarget::Pages { .. } => Some(&mut self.page),
            FetchTarget::Tables { .. } => Some(&mut self.table),
            FetchTarget::Entries { .. } => Some(&mut self.entry),
            FetchTarget::Held { .. } => Some(&mut self.held),
            FetchTarget::Block { .. } => Some(&mut self.block),
            FetchTarget::Locate { .. } | FetchTarget::SumPath { .. } => None,
        }
    }

    /// One part of what `target` wants had `bytes` bytes.
    pub fn learn(&mut self, target: &FetchTarget, bytes: usize) {
        if let Some(average) = self.of(target) {
            average.add(bytes);
        }
    }

    /// Expected bytes of one part.
    pub fn part(&self, target: &FetchTarget) -> usize {
        match target {
            FetchTarget::Pages { .. } => self.page.value,
            FetchTarget::Tables { .. } => self.table.value,
            FetchTarget::Entries { .. } => self.entry.value,
            FetchTarget::Held { .. } => self.held.value,
            FetchTarget::Block { .. } => self.block.value.min(MAX_CONTENT_BYTES),
            FetchTarget::Locate { ids } => ids.len() * 16,
            FetchTarget::SumPath { .. } => MAX_SUM_PATH_BYTES,
        }
    }

    /// Parts that are expected to fit into one answer, if the answer is one frame.
    pub fn parts_in_a_frame(&self, target: &FetchTarget) -> usize {
        (MAX_CONTENT_BYTES / self.part(target).max(1)).max(1)
    }

    /// Expected bytes of an answer that is one frame with `parts` parts.
    pub fn frame(&self, target: &FetchTarget, parts: usize) -> usize {
        (self.part(target) * parts).min(MAX_CONTENT_BYTES) + EMPTY_FRAME_BYTES
    }

    /// Whether most tables are larger than a frame, or nearly.
    pub fn tables_are_large(&self) -> bool {
        self.table.value > MAX_CONTENT_BYTES / 2
    }
}
