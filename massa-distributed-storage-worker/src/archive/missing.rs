//! What this node lacks of the archive, as its writer tells repair.

use crate::archive::slots::Border;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// What the store lacks of the open segments, and of the border below them. Chunks are counted elsewhere: which ones are lacking
/// follows from placement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// The first segment without a table: segments close in order.
    pub first_open_segment: u64,
    /// Blocks known to be final and not here.
    pub wanted: Vec<WantedBlock>,
    /// Periods of which a slot is missing: those of the first open segment first, oldest first, then the others, newest first.
    pub periods: Vec<MissingPeriod>,
    /// How many more there are.
    pub more_periods: u64,
    /// Open segments whose rows were given up: their table is taken once it is accepted.
    pub by_table: Vec<u64>,
    /// Closed periods whose entries say which block of each thread is the last there. Without it the first open segment cannot be
    /// completed by links.
    pub entries: Option<RangeInclusive<u64>>,
    /// What keeps the first open segment from joining its next period, once a later block is here.
    pub blocked: Option<Blocked>,
}

/// A block that is believed to be final: a block of its thread that is here names it as its parent, or consensus told its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WantedBlock {
    /// Its thread.
    pub thread: u8,
    /// Its id.
    pub id: BlockId,
    /// Its period, if it is known; it is below `before` in any case.
    pub period: Option<u64>,
    /// The period of the block that names it, or one after its own.
    pub before: u64,
}

/// A period of which a slot is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingPeriod {
    /// The period.
    pub period: u64,
    /// Threads whose slot is settled here.
    pub here: BTreeSet<u8>,
}

/// What keeps a segment open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// The segment.
    pub segment: u64,
    /// The first slot that is missing.
    pub slot: Slot,
    /// Complete segments that wait for it.
    pub waiting: u64,
}

/// An open segment, as those who decide about lost periods look at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenSegment {
    /// The segment.
    pub segment: u64,
    /// Its periods that are not complete, in order; for each the ids of its slots (`None` for a miss), unless one is not known.
    pub periods: Vec<(u64, Option<Vec<Option<BlockId>>>)>,
}

/// Whether the border of a thread must be looked for.
pub(crate) fn is_unknown(border: &Border) -> bool {
    *border == Border::Unknown
}
