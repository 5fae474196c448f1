//! Room: how many copies of everything fit, and what a node keeps that is full by chance. Pure.
//!
//! Placement gives a node chunks in proportion to its allocation and looks at nobody's free space. So that it fits, the factor
//! in force for all chunks is lowered while the network is small for its archive (design, section 6, room).

use super::table::OwnChunk;
use massa_distributed_storage_exports::registry::NodeSet;
use massa_distributed_storage_exports::types::ChunkPosition;
use std::collections::VecDeque;

/// Copies of everything take at most this share of the allocations: the rest is for signatures, indexes and compaction.
const ROOM_SHARE: (u128, u128) = (9, 10);
/// And at most this, for the factor to be raised.
const RAISE_SHARE: (u128, u128) = (8, 10);
/// Rounds in a row for which that must hold.
pub const RAISE_ROUNDS: usize = 8;

/// Bytes that the nodes of a set offer for the whole archive. Those with retention keep only its end: their allocation does not
/// count.
pub fn lasting_bytes(nodes: &NodeSet) -> u128 {
    let lasting = nodes.nodes().iter().filter(|node| node.retention_periods == 0);
    lasting.map(|node| u128::from(node.allocated_storage_gb) << 30).sum()
}

/// The largest factor for which all copies take at most this share of what is allocated. Without bytes: no limit.
fn largest_factor(total_bytes: u64, allocated_bytes: u128, (share, of): (u128, u128)) -> u64 {
    match u128::from(total_bytes) {
        0 => u64::MAX,
        total => u64::try_from(allocated_bytes * share / of / total).unwrap_or(u64::MAX),
    }
}

/// What decides about a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RoundRoom {
    /// The factor that the network's config asks for in this round.
    pub configured: u64,
    /// Bytes of all segments up to the newest one that was accepted in the second round before, or earlier; 0 if none was.
    pub total_bytes: u64,
    /// [`lasting_bytes`] of the node set of the round's first segment.
    pub allocated_bytes: u128,
}

/// The factor in force, round after round.
///
/// It is the largest one up to the configured that fits 9/10 of the allocations. It is lowered at once, and raised only to
/// what fitted 8/10 in each of the last eight rounds; so it does not swing with every node that comes and goes. It never is 0:
/// where not even one copy fits, each node keeps what it can ([`KeepLimit`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactorHistory {
    factor: Option<u64>,
    /// The largest factor that fits 8/10, in the last rounds.
    roomy: VecDeque<u64>,
}

impl FactorHistory {
    /// Before the first round: that one's factor is what fits.
    pub fn new() -> Self {
        Self {
            factor: None,
            roomy: VecDeque::new(),
        }
    }

    /// Goes on from a round whose factor is known, from the registry's record of it; what fitted before is not, so it is not
    /// raised for eight rounds, unless a later record says so.
    pub fn of_record(factor: u64) -> Self {
        Self {
            factor: Some(factor.max(1)),
            roomy: VecDeque::new(),
        }
    }

    /// The factor in force in the next round.
    pub fn next_round(&mut self, room: RoundRoom) -> u64 {
        let configured = room.configured.max(1);
        let fits = largest_factor(room.total_bytes, room.allocated_bytes, ROOM_SHARE).clamp(1, configured);
        self.roomy
            .push_back(largest_factor(room.total_bytes, room.allocated_bytes, RAISE_SHARE));
        if self.roomy.len() > RAISE_ROUNDS {
            self.roomy.pop_front();
        }
        let is_long = self.roomy.len() == RAISE_ROUNDS;
        let always = self.roomy.iter().copied().min().filter(|_| is_long).unwrap_or(0);
        let factor = match self.factor {
            None => fits,
            Some(before) => before.max(always).min(fits),
        };
        self.factor = Some(factor);
        factor
    }

    /// The factor of the last round that was decided.
    pub fn factor(&self) -> Option<u64> {
        self.factor
    }
}

impl Default for FactorHistory {
    fn default() -> Self {
        Self::new()
    }
}

/// The factor in force in the last of these rounds, which follow each other from the first round on.
pub fn factor_in_force(rounds: &[RoundRoom]) -> Option<u64> {
    let mut history = FactorHistory::new();
    rounds.iter().map(|round| history.next_round(*round)).last()
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
