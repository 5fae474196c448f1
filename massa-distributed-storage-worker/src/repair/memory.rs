//! What of the memory for repair each planner gets.

use super::chunks::ChunkLimits;
use super::periods::PeriodLimits;
use super::refetch_segment::RefetchLimits;
use super::tables::TableLimits;

/// Limits of all planners that keep what they fetch.
#[derive(Clone, Copy, Debug, Default)]
pub struct FetchLimits {
    /// Of segment tables.
    pub tables: TableLimits,
    /// Of blocks of open periods.
    pub periods: PeriodLimits,
    /// Of chunks.
    pub chunks: ChunkLimits,
    /// Of a segment that is fetched again.
    pub refetch: RefetchLimits,
}

impl FetchLimits {
    /// Shares `bytes` of memory among the planners: half for chunks, which are most of what there is to fetch, a quarter for
    /// blocks, an eighth each for tables and for a segment that is replaced.
    pub fn with_memory(mut self, bytes: u64) -> Self {
        self.chunks.bytes = bytes / 2;
        self.periods.bytes = bytes / 4;
        self.tables.ahead_bytes = bytes / 8;
        self.refetch.bytes = bytes / 8;
        self
    }
}
