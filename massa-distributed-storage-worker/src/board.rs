//! What the rounds and repair tell each other. No thread, nothing on disk, no lock held longer than a copy takes.
//!
//! The rounds know final state: which period is final, which segment roots are accepted. Repair knows what is missing, and which
//! root it would give a segment that nobody can complete. And whoever changes what is assigned to this node says of which segment:
//! the claim for the next round follows ([`crate::rounds::claims`]).

use crate::repair::driver::HeldWatch;
use crate::storage_backend::ChangedSegments;
use massa_distributed_storage_exports::SegmentRoot;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What final state says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FinalRounds {
    /// The last final period.
    pub period: u64,
    /// Periods of a round.
    pub round_periods: u64,
    /// Accepted segment roots.
    pub accepted: Arc<BTreeMap<u64, SegmentRoot>>,
}

/// See the module.
#[derive(Debug, Default)]
pub struct SegmentBoard {
    final_rounds: Mutex<Option<FinalRounds>>,
    candidate: Mutex<Option<(u64, SegmentRoot)>>,
    changed: Mutex<ChangedSegments>,
}

impl SegmentBoard {
    /// Tells what final state says.
    pub fn set_final(&self, final_rounds: FinalRounds) {
        *self.final_rounds.lock() = Some(final_rounds);
    }

    /// Accepted segment roots; empty where no registry is followed.
    pub fn accepted(&self) -> Arc<BTreeMap<u64, SegmentRoot>> {
        let told = self.final_rounds.lock();
        told.as_ref().map(|told| Arc::clone(&told.accepted)).unwrap_or_default()
    }

    /// The last final period, and the periods of a round; `None` where no registry is followed.
    pub fn final_rounds(&self) -> Option<(u64, u64)> {
        let told = self.final_rounds.lock();
        told.as_ref().map(|told| (told.period, told.round_periods))
    }

    /// Tells the root of a segment with lost periods, to be voted for; `None` takes it back.
    pub fn set_candidate(&self, candidate: Option<(u64, SegmentRoot)>) {
        *self.candidate.lock() = candidate;
    }

    /// The root of a segment with lost periods, to be voted for.
    pub fn candidate(&self) -> Option<(u64, SegmentRoot)> {
        *self.candidate.lock()
    }

    /// Tells that other chunks of a segment are assigned to this node than before. What came or went the store tells itself.
    pub fn note_changed(&self, segment: u64) {
        self.changed.lock().note(segment);
    }

    /// Segments that changed since the last call.
    pub fn take_changed(&self) -> ChangedSegments {
        std::mem::take(&mut *self.changed.lock())
    }
}

impl HeldWatch for SegmentBoard {
    /// Placement tells of each segment where it changes what is this node's.
    fn assignment_changed(&self) {}

    fn held_changed(&self, segment: u64) {
        self.note_changed(segment);
    }
}

/// Several who must know which chunks are held and assigned: the server of peers, and the board.
pub struct HeldWatches(pub Vec<Arc<dyn HeldWatch>>);

impl HeldWatch for HeldWatches {
    fn assignment_changed(&self) {
        self.0.iter().for_each(|watch| watch.assignment_changed());
    }

    fn held_changed(&self, segment: u64) {
        self.0.iter().for_each(|watch| watch.held_changed(segment));
    }
}
