//! Segments on the repair thread: which root is voted for one with lost periods, and what is done about one whose accepted
//! root is not this node's.
//!
//! Reads the store and the board, lets [`crate::lost`] and [`crate::refetch`] decide; [`crate::repair_worker`] carries out
//! what comes of it.

use crate::ingest::OpenSegment;
use crate::lost::{candidate_root, segment_header, FinalSegments, LossPlan, LossView, PeriodIds, SegmentBoard};
use crate::refetch::{RefetchAction, RefetchPlan, RefetchView, Wanted};
use crate::repair::{HoldersOf, RepairPlan};
use crate::storage_backend::read::ReadError;
use crate::storage_backend::Store;
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::network::StoragePeer;
use massa_distributed_storage_exports::SegmentRoot;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// How often accepted roots are compared with this node's, and what is open is looked at.
const INTERVAL: Duration = Duration::from_millis(500);

/// What a tick looks at.
pub(crate) struct SegmentView<'a> {
    pub(crate) now: Instant,
    pub(crate) store: &'a Store,
    pub(crate) open: Option<&'a OpenSegment>,
    pub(crate) repair: &'a RepairPlan,
    pub(crate) peers: &'a [StoragePeer],
    pub(crate) holders_of: &'a HoldersOf<'a>,
}

/// The state.
pub(crate) struct SegmentRepair {
    board: Arc<SegmentBoard>,
    loss: LossPlan,
    pub(crate) refetch: RefetchPlan,
    wanted: Option<Wanted>,
    looked: Option<Instant>,
    /// Segments below it are as they are accepted, or pruned.
    checked: u64,
    /// What [`Store::replaced_count`] was then.
    replaced: u64,
    /// The candidate and the differing segment that were told.
    told_candidate: Option<(u64, SegmentRoot)>,
    told_wanted: Option<(u64, SegmentRoot)>,
    /// Periods of the candidate.
    lost: Vec<u64>,
}

impl SegmentRepair {
    pub(crate) fn new(board: Arc<SegmentBoard>, store: &Store, patience: Duration) -> Self {
        let parameters = store.parameters().clone();
        Self {
            board,
            loss: LossPlan::default(),
            checked: parameters.first_segment(),
            refetch: RefetchPlan::new(parameters, patience),
            wanted: None,
            looked: None,
            replaced: store.replaced_count(),
            told_candidate: None,
            told_wanted: None,
            lost: Vec::new(),
        }
    }

    /// Periods of which a root says that they are lost, while it is not accepted; and the segment that is fetched again.
    pub(crate) fn status(&self) -> (u64, Option<u64>) {
        (self.lost.len() as u64, self.refetch.segment())
    }

    /// Whether periods were replaced since this was last called: then their chunks are others.
    pub(crate) fn take_replaced(&mut self, store: &Store) -> bool {
        let replaced = store.replaced_count();
        // Odd: it is being done.
        let changed = replaced != self.replaced && replaced % 2 == 0;
        if changed {
            self.replaced = replaced;
            self.checked = store.parameters().first_segment();
        }
        changed
    }

    pub(crate) fn on_tick(&mut self, view: &SegmentView<'_>) -> Vec<RefetchAction> {
        let rests = |looked: Instant| view.now.duration_since(looked) < INTERVAL;
        if !self.looked.is_some_and(rests) {
            self.looked = Some(view.now);
            if let Some(final_segments) = self.board.final_segments() {
                if let Err(error) = self.look(&final_segments, view) {
                    debug!(error = &error as &dyn std::error::Error, "segments not looked at");
                }
            }
        }
        let segment = self.wanted.map(|wanted| wanted.header.segment);
        let open = view.open.filter(|open| Some(open.segment) == segment);
        let own_root = |period| view.store.period_root(period).ok().flatten();
        let own_manifest = |period| match view.store.manifest(period) {
            Ok(Some(manifest)) => Some(manifest),
            _ => lost_form(view.store, open?, period),
        };
        let refetch_view = RefetchView {
            now: view.now,
            peers: view.peers,
            holders_of: view.holders_of,
            own_root: &own_root,
            own_manifest: &own_manifest,
        };
        self.refetch.on_tick(self.wanted.as_ref(), &refetch_view)
    }

    fn look(&mut self, final_segments: &FinalSegments, view: &SegmentView<'_>) -> Result<(), ReadError> {
        self.wanted = self.first_differing(final_segments, view.store)?;
        self.tell_differing();
        let no_holder_since = |period, ids: &[_], since| view.repair.no_holder_since(period, ids, since, view.peers);
        let lost = self.loss.decide(&LossView {
            now: view.now,
            final_segments,
            open: view.open,
            no_holder_since: &no_holder_since,
        });
        let lost = lost.unwrap_or_default();
        let candidate = match view.open.filter(|_| !lost.is_empty()) {
            Some(open) => candidate_root(view.store, open.segment, &lost)?.map(|root| (open.segment, root)),
            None => None,
        };
        self.propose(candidate, &lost);
        Ok(())
    }

    fn propose(&mut self, candidate: Option<(u64, SegmentRoot)>, lost: &[PeriodIds]) {
        self.board.set_candidate(candidate);
        self.lost = match candidate {
            Some(_) => lost.iter().map(|(period, _)| *period).collect(),
            None => Vec::new(),
        };
        if let Some((segment, root)) = candidate.filter(|_| candidate != self.told_candidate) {
            self.told_candidate = candidate;
            warn!(
                segment, %root, periods = ?self.lost,
                "no peer has these periods whole: this node votes for a root that has them as lost"
            );
        }
    }

    /// The first segment whose accepted root is not this node's.
    fn first_differing(&mut self, segments: &FinalSegments, store: &Store) -> Result<Option<Wanted>, ReadError> {
        let parameters = store.parameters();
        for (segment, accepted) in segments.accepted.range(self.checked..) {
            let start = parameters.segment_start(*segment);
            let own = store.segment_root(*segment)?;
            let is_pruned = start < store.floor();
            if own == Some(*accepted) || is_pruned {
                self.checked = segment + 1;
                continue;
            }
            let header = segment_header(store, &segments.accepted, *segment)?;
            let accepted = *accepted;
            return Ok(header.map(|header| Wanted { header, accepted, own }));
        }
        Ok(None)
    }

    /// Says loudly, once, that a root differs, and that it does no longer.
    fn tell_differing(&mut self) {
        match &self.wanted {
            Some(Wanted {
                header,
                accepted,
                own: Some(own),
            }) => {
                let told = (header.segment, *accepted);
                if self.told_wanted != Some(told) {
                    self.told_wanted = Some(told);
                    let segment = header.segment;
                    warn!(segment, %own, %accepted, "this node's root is not the accepted one: the segment is fetched again");
                }
            }
            Some(_) => {}
            None => {
                if let Some((segment, accepted)) = self.told_wanted.take() {
                    info!(segment, %accepted, "this node's root is the accepted one now");
                }
            }
        }
    }
}

/// The manifest that an open period would have as a lost one, if all of its ids are known.
fn lost_form(store: &Store, open: &OpenSegment, period: u64) -> Option<Manifest> {
    let (_, ids) = open.periods.iter().find(|(of, _)| *of == period)?;
    let ids = ids.as_ref().filter(|ids| ids.iter().any(Option::is_some))?;
    Some(Manifest::lost(store.parameters(), period, ids))
}

/// Says what is being done.
pub(crate) fn tell(action: &RefetchAction) {
    match action {
        RefetchAction::Found { segment, lost, others } => warn!(
            segment,
            ?lost,
            ?others,
            "the list behind the accepted root is known: periods that differ here are entered as lost, or fetched"
        ),
        RefetchAction::NobodyHas { segment, wait } => warn!(
            segment,
            again_in_ms = wait.as_millis() as u64,
            "no peer has the list behind the accepted root: the segment stays unclaimed"
        ),
        _ => {}
    }
}
