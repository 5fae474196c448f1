//! Room: how many copies of everything fit, and what a node keeps that is full by chance. Pure.
//!
//! Placement gives a node chunks in proportion to its allocation and looks at nobody's free space. So that it fits, the factor
//! in force for all chunks is lowered while the network is small for its archive (design, section 6, room; `docs/decisions/0037`).

use super::table::OwnChunk;
use massa_distributed_storage_exports::types::ChunkPosition;

/// Copies of everything take at most this share of the allocations: the rest is for signatures, indexes and compaction.
const ROOM_SHARE: (u128, u128) = (9, 10);

/// What decides in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundRoom {
    /// Bytes of all segments.
    pub total_bytes: u64,
    /// GB that nodes offer for all of history.
    pub lasting_gb: u64,
}

impl RoundRoom {
    /// The largest factor for which all copies take at most 9/10 of what is offered. Without bytes: no limit.
    fn largest_factor(&self) -> u64 {
        let (share, of) = ROOM_SHARE;
        match u128::from(self.total_bytes) {
            0 => u64::MAX,
            total => u64::try_from((u128::from(self.lasting_gb) << 30) * share / of / total).unwrap_or(u64::MAX),
        }
    }
}

/// The factor in force: the largest one up to the configured that fitted in each of the last rounds.
///
/// So it is lowered at once, and raised when there was room in all of them; it does not swing with every node that comes and goes.
/// It never is 0: where not even one copy fits, each node keeps what it can ([`KeepLimit`]). Without rounds it is the configured.
pub fn factor_in_force(configured: u64, rounds: &[RoundRoom]) -> u64 {
    let fits = rounds.iter().map(RoundRoom::largest_factor).min();
    fits.unwrap_or(configured).min(configured).max(1)
}

/// Which of its chunks a node keeps that has not room for all: those where its rank among the holders is best, then those
/// where its score is lowest.
///
/// So what it does not keep has the most holders that rank above it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepLimit {
    /// There is room for all.
    All,
    /// Up to this chunk, in the order of (rank, score, position).
    UpTo(u16, u64, ChunkPosition),
    /// There is room for none.
    Nothing,
}

impl KeepLimit {
    /// As many of these chunks, in that order, as `room_bytes` takes; the first that does not fit and all after it are not kept.
    pub fn new(mine: impl Iterator<Item = OwnChunk>, room_bytes: u64) -> Self {
        let mut order: Vec<((u16, u64, ChunkPosition), u64)> = mine.map(|own| (keep_order(&own), own.bytes)).collect();
        let total: u128 = order.iter().map(|(_, bytes)| u128::from(*bytes)).sum();
        if total <= u128::from(room_bytes) {
            return Self::All;
        }
        order.sort_unstable();
        let mut left = room_bytes;
        let mut limit = Self::Nothing;
        for ((rank, score, position), bytes) in order {
            let Some(rest) = left.checked_sub(bytes) else { break };
            left = rest;
            limit = Self::UpTo(rank, score, position);
        }
        limit
    }

    /// Whether a chunk is kept.
    pub fn keeps(&self, own: &OwnChunk) -> bool {
        match *self {
            Self::All => true,
            Self::UpTo(rank, score, position) => keep_order(own) <= (rank, score, position),
            Self::Nothing => false,
        }
    }
}

fn keep_order(own: &OwnChunk) -> (u16, u64, ChunkPosition) {
    (own.rank, own.rounded_score, own.position)
}
