//! When a period that nobody can complete is taken for lost.
//!
//! Pure: what is open, whom repair asked, final state and time in. A segment is looked at once the answer window of the round
//! after its own is over in final state; from then on every connected peer has to say that it does not have what is missing.
//! Then the root with all open periods as lost is this node's *candidate*, voted for in the round after that. A candidate is in
//! memory only: nothing is deleted, repair goes on, and when a block turns up the ordinary root takes its place. See
//! `docs/decisions/0030-lost-periods.md`, which has the reasons; the unit is the segment now, and a round has several.

use crate::rounds::RoundTimes;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::{ArchiveParameters, SegmentRoot};
use massa_models::block_id::BlockId;
use std::collections::BTreeMap;
use std::time::Instant;

/// The ids of a period's slots, `None` for a miss.
pub type SlotIds = Vec<Option<BlockId>>;

/// The first segment that is over and cannot close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockedSegment {
    /// The segment.
    pub segment: u64,
    /// Its periods with slots that are not settled, in order; for each the ids of its slots, unless one is not known.
    pub periods: Vec<(u64, Option<SlotIds>)>,
}

/// What final state says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalRounds<'a> {
    /// The last final period.
    pub period: u64,
    /// Periods of a round.
    pub round_periods: u64,
    /// Accepted segment roots.
    pub accepted: &'a BTreeMap<u64, SegmentRoot>,
}

/// Tells whether nobody has a period with these ids, as asked since a moment.
pub type NoHolderSince<'a> = dyn Fn(u64, &[Option<BlockId>], Instant) -> bool + 'a;

/// What the decision looks at.
pub struct LossView<'a> {
    /// Now.
    pub now: Instant,
    /// Final state.
    pub rounds: FinalRounds<'a>,
    /// What is blocked.
    pub blocked: Option<&'a BlockedSegment>,
    /// Whether every connected peer was asked for a period with these ids since a moment, and none has it.
    pub no_holder_since: &'a NoHolderSince<'a>,
}

/// A segment with its lost periods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LossCandidate {
    /// The segment.
    pub segment: u64,
    /// The entries of its lost periods, in order; all others are whole here.
    pub lost: Vec<(u64, PeriodEntry)>,
    /// The first round whose operations vote for it.
    pub vote_from_round: u64,
}

/// Why nothing is taken for lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLost {
    /// No segment is blocked.
    NothingBlocked,
    /// Answers of the round after the segment's are still taken.
    WindowOpen,
    /// A root is accepted: what it covers is the truth, and fetched.
    Accepted,
    /// Not every id of this period is known here.
    IdsUnknown(u64),
    /// This period has no block at all: nothing of it can be lost, its misses settle by links.
    NothingLost(u64),
    /// Not every peer was asked for this period yet, or one of them has it.
    NotAsked(u64),
}

/// Decides what is taken for lost.
#[derive(Debug)]
pub struct LossPlan {
    segment_periods: u64,
    /// The blocked segment, and when its time was first seen to be over.
    over: Option<(u64, Instant)>,
}

impl LossPlan {
    /// Nothing blocked yet.
    pub fn new(parameters: &ArchiveParameters) -> Self {
        Self {
            segment_periods: parameters.segment_periods,
            over: None,
        }
    }

    /// The blocked segment with every open period of it as lost.
    ///
    /// # Errors
    /// [`NotLost`].
    pub fn decide(&mut self, view: &LossView<'_>) -> Result<LossCandidate, NotLost> {
        let over = self.over.take();
        let blocked = view.blocked.filter(|blocked| !blocked.periods.is_empty());
        let blocked = blocked.ok_or(NotLost::NothingBlocked)?;
        let start = blocked.segment.saturating_mul(self.segment_periods);
        let round_after = RoundTimes::of_period(start, view.rounds.round_periods.max(1)).next();
        if !round_after.window_over(view.rounds.period) {
            return Err(NotLost::WindowOpen);
        }
        if view.rounds.accepted.contains_key(&blocked.segment) {
            return Err(NotLost::Accepted);
        }
        let since = match over {
            Some((segment, since)) if segment == blocked.segment => since,
            _ => view.now,
        };
        self.over = Some((blocked.segment, since));
        let mut lost = Vec::with_capacity(blocked.periods.len());
        for (period, ids) in &blocked.periods {
            let ids = ids.as_ref().ok_or(NotLost::IdsUnknown(*period))?;
            let entry = PeriodEntry::lost(ids).ok_or(NotLost::NothingLost(*period))?;
            if !(view.no_holder_since)(*period, ids, since) {
                return Err(NotLost::NotAsked(*period));
            }
            lost.push((*period, entry));
        }
        Ok(LossCandidate {
            segment: blocked.segment,
            lost,
            vote_from_round: round_after.next().round,
        })
    }
}
