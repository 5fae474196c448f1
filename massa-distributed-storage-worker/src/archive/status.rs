//! What the thread that writes the archive tells of itself.

use crate::archive::missing::{Missing, OpenSegment};
use crate::storage_backend::database::DamageReport;
use crate::storage_backend::Counters;
use std::collections::BTreeMap;

/// What the writer has done since it was started, and what it has and lacks as of a moment ago.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveStatus {
    /// Totals of the store.
    pub counters: Counters,
    /// Periods that joined their segment since the start.
    pub archived_periods: u64,
    /// The newest of them.
    pub last_period: Option<u64>,
    /// The last period that joined without a gap before it.
    pub newest_joined: Option<u64>,
    /// The first segment that is not closed.
    pub first_open_segment: u64,
    /// Whether that one is being closed.
    pub is_closing: bool,
    /// Segments closed since the start.
    pub closed_segments: u64,
    /// The first segment that is not pruned.
    pub floor: u64,
    /// Blocks taken.
    pub blocks: u64,
    /// Blocks that were not taken.
    pub refused_blocks: u64,
    /// Chunks taken from peers.
    pub chunks_repaired: u64,
    /// Chunks dropped because others hold them now.
    pub chunks_handed_over: u64,
    /// What is missing; what blocks the first open segment is [`Missing::blocked`].
    pub missing: Missing,
    /// Slots whose block was final but is not here.
    pub missing_slots: MissingSlots,
    /// Bytes of rows that wait behind a gap.
    pub held_back_bytes: u64,
    /// The first segment without a root, once the chain is well past it.
    pub open_segment: Option<OpenSegment>,
    /// Why the archive does not go on, if it does not: the store refuses, or something in it is damaged.
    pub store_error: Option<String>,
    /// Files of the store that were found damaged, and what was done.
    pub damages: Vec<DamageReport>,
}

/// Slots that are missing because their block was let go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MissingSlots {
    /// How many.
    pub slots: usize,
    /// Period of the oldest.
    pub oldest_period: Option<u64>,
    /// How many blocks were let go since the start, for each reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

impl MissingSlots {
    pub(super) fn count(&mut self, reason: &'static str) {
        *self.reasons.entry(reason).or_default() += 1;
    }
}
