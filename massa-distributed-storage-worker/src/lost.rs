//! When a period that nobody can complete is taken for lost, and what the threads tell each other about it.
//!
//! The rounds know final state: which round is open, which segment roots are accepted. Repair knows what is missing and
//! whom it asked. So both meet at a [`SegmentBoard`]. A period is only a *candidate* until a root that has it as lost is
//! accepted: nothing is deleted, and repair goes on. See `docs/decisions/0030-lost-periods.md`.

use crate::ingest::OpenSegment;
use crate::rounds::RoundTimes;
use crate::storage_backend::read::ReadError;
use crate::storage_backend::Store;
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::segment::{SegmentHeader, SegmentTree};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{PeriodRoot, SegmentRoot};
use massa_models::block_id::BlockId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// What final state says of segments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalSegments {
    /// The last final period.
    pub period: u64,
    /// Periods of a round.
    pub round_periods: u64,
    /// Accepted segment roots.
    pub accepted: Arc<BTreeMap<u64, SegmentRoot>>,
}

/// Where the rounds tell what final state says, and repair tells which root it would give a segment with lost periods.
#[derive(Debug, Default)]
pub struct SegmentBoard {
    final_segments: Mutex<Option<FinalSegments>>,
    candidate: Mutex<Option<(u64, SegmentRoot)>>,
}

impl SegmentBoard {
    /// Tells what final state says.
    pub fn tell(&self, final_segments: FinalSegments) {
        *self.final_segments.lock() = Some(final_segments);
    }

    /// What final state says; `None` where no registry is followed.
    pub fn final_segments(&self) -> Option<FinalSegments> {
        self.final_segments.lock().clone()
    }

    /// Tells the root of a segment with lost periods, to be voted for.
    pub fn set_candidate(&self, candidate: Option<(u64, SegmentRoot)>) {
        *self.candidate.lock() = candidate;
    }

    /// The root of a segment with lost periods, to be voted for.
    pub fn candidate(&self) -> Option<(u64, SegmentRoot)> {
        *self.candidate.lock()
    }
}

/// Tells whether nobody has a period with these ids, as asked since a moment.
pub type NoHolderSince<'a> = dyn Fn(u64, &[Option<BlockId>], Instant) -> bool + 'a;

/// What the decision looks at.
pub struct LossView<'a> {
    /// Now.
    pub now: Instant,
    /// Final state.
    pub final_segments: &'a FinalSegments,
    /// The first segment without a root.
    pub open: Option<&'a OpenSegment>,
    /// Whether every connected peer was asked for a period with these ids since a moment, and none has it.
    pub no_holder_since: &'a NoHolderSince<'a>,
}

/// Why nothing is taken for lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLost {
    /// No segment is open for long.
    NothingOpen,
    /// Answers of the round after the segment's are still taken.
    WindowOpen,
    /// A root is accepted: what it covers is the truth, and fetched.
    Accepted,
    /// Not every id of this period is known here.
    IdsUnknown(u64),
    /// Not every peer was asked for this period yet, or one of them has it.
    NotAsked(u64),
}

/// A period with the ids of its places, `None` for a miss.
pub type PeriodIds = (u64, Vec<Option<BlockId>>);

/// Decides what is taken for lost. Pure: what is open, whom repair asked, final state and time in.
#[derive(Debug, Default)]
pub struct LossPlan {
    /// The open segment, and when its time was first seen to be over.
    over: Option<(u64, Instant)>,
}

impl LossPlan {
    /// The periods of the first segment without a root that are taken for lost: every one that is still open.
    ///
    /// # Errors
    /// [`NotLost`].
    pub fn decide(&mut self, view: &LossView<'_>) -> Result<Vec<PeriodIds>, NotLost> {
        let Some(open) = view.open.filter(|open| !open.periods.is_empty()) else {
            self.over = None;
            return Err(NotLost::NothingOpen);
        };
        let round_after = RoundTimes {
            round: open.segment.saturating_add(1),
            periods: view.final_segments.round_periods.max(1),
        };
        if !round_after.window_over(view.final_segments.period) {
            self.over = None;
            return Err(NotLost::WindowOpen);
        }
        if view.final_segments.accepted.contains_key(&open.segment) {
            self.over = None;
            return Err(NotLost::Accepted);
        }
        let since = match self.over {
            Some((segment, since)) if segment == open.segment => since,
            _ => view.now,
        };
        self.over = Some((open.segment, since));
        let mut lost = Vec::new();
        for (period, ids) in &open.periods {
            let ids = ids.as_ref().ok_or(NotLost::IdsUnknown(*period))?;
            if !(view.no_holder_since)(*period, ids, since) {
                return Err(NotLost::NotAsked(*period));
            }
            lost.push((*period, ids.clone()));
        }
        Ok(lost)
    }
}

/// The shape of a whole segment whose previous root is known: from the accepted ones, else from the store.
///
/// # Errors
/// [`ReadError`].
pub fn segment_header(
    store: &Store,
    accepted: &BTreeMap<u64, SegmentRoot>,
    segment: u64,
) -> Result<Option<SegmentHeader>, ReadError> {
    let parameters = store.parameters();
    let before = segment.checked_sub(1);
    let previous: Option<Digest> = match before.and_then(|before| accepted.get(&before)) {
        Some(root) => Some(root.to_bytes()),
        None if segment == parameters.first_segment() => Some([0; 32]),
        None => match before {
            Some(before) => store.segment_root(before)?.map(|root| root.to_bytes()),
            None => None,
        },
    };
    Ok(previous.map(|previous| SegmentHeader {
        chain_id: parameters.chain_id,
        segment,
        first_period: parameters.segment_start(segment),
        periods: parameters.segment_length(segment) as u32,
        previous,
    }))
}

/// The root of a segment whose periods have these roots.
pub fn segment_root_of(header: SegmentHeader, roots: &[PeriodRoot]) -> SegmentRoot {
    SegmentTree::new(header, roots).root()
}

/// The root of a segment of which these periods are lost and all others are archived here; `None` if one is not.
///
/// # Errors
/// [`ReadError`].
pub fn candidate_root(store: &Store, segment: u64, lost: &[PeriodIds]) -> Result<Option<SegmentRoot>, ReadError> {
    let Some(header) = segment_header(store, &BTreeMap::new(), segment)? else {
        return Ok(None);
    };
    let lost: BTreeMap<u64, PeriodRoot> = lost
        .iter()
        .map(|(period, ids)| (*period, Manifest::lost(store.parameters(), *period, ids).root()))
        .collect();
    let mut roots = Vec::with_capacity(header.periods as usize);
    for period in header.first_period..header.first_period + u64::from(header.periods) {
        let root = match lost.get(&period) {
            Some(root) => Some(*root),
            None => store.period_root(period)?,
        };
        match root {
            Some(root) => roots.push(root),
            None => return Ok(None),
        }
    }
    Ok(Some(segment_root_of(header, &roots)))
}
