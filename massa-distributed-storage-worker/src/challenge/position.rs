//! Canonical positions: each chunk of the archive has one, so a claim cannot count it twice.

use massa_distributed_storage_exports::types::{MAX_CHUNKS_PER_PERIOD, MAX_SEGMENT_PERIODS};
use massa_distributed_storage_exports::ChunkIndex;
use std::fmt;

/// Bits of a position: segment 24, period in segment 8, chunk 8.
pub const POSITION_BITS: u32 = 40;
/// Segments that positions can name.
pub const MAX_SEGMENTS: u64 = 1 << 24;

/// Where a chunk stands in the archive: `segment (24 bits) | period in segment (8) | chunk (8)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// Position of a chunk; `None` if it is beyond what positions can name, which takes 800 years of segments.
    ///
    /// Segments have `segment_periods` periods: segment s begins at period s · `segment_periods`, also in an archive that
    /// begins inside it.
    pub fn of_chunk(period: u64, chunk: ChunkIndex, segment_periods: u64) -> Option<Self> {
        let segment = period.checked_div(segment_periods)?;
        let in_segment = period % segment_periods;
        let fits = segment < MAX_SEGMENTS && in_segment < MAX_SEGMENT_PERIODS && chunk.0 < MAX_CHUNKS_PER_PERIOD;
        fits.then(|| Self(segment << 16 | in_segment << 8 | u64::from(chunk.0)))
    }

    /// From its number; `None` above 40 bits.
    pub fn from_number(number: u64) -> Option<Self> {
        (number >> POSITION_BITS == 0).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The segment.
    pub fn segment(self) -> u64 {
        self.0 >> 16
    }

    /// Number of the period in its segment.
    pub fn period_in_segment(self) -> u64 {
        self.0 >> 8 & 0xFF
    }

    /// Number of the chunk in its period.
    pub fn chunk(self) -> ChunkIndex {
        ChunkIndex((self.0 & 0xFF) as u32)
    }

    /// The period, where segments have `segment_periods` periods.
    pub fn period(self, segment_periods: u64) -> u64 {
        self.segment()
            .saturating_mul(segment_periods)
            .saturating_add(self.period_in_segment())
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.segment(), self.period_in_segment(), self.chunk())
    }
}
