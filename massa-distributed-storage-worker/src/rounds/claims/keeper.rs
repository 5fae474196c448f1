//! Keeps the claim for the next round up to date, in slices.
//!
//! Segments that changed are looked at first: what the store tells, what placement tells ([`crate::board`]), and what was accepted
//! since. Beside that it goes round all segments: at once after a start, then a few in each tick, so that nothing that was not told
//! stays unnoticed. A segment whose claim is what it should be costs three rows and the hashes of one.

use super::{Claims, ClaimsError};
use crate::challenge::segment_claim::{ChunkSet, ClaimError};
use crate::challenge::sums::{Claim, SumHasher};
use crate::repair::assigned::SharedAssigned;
use crate::replication::room::KeepLimit;
use crate::replication::OwnChunk;
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::{ChangedSegments, SegmentStore, StoreError};
use massa_distributed_storage_exports::types::LEAF_BYTES;
use massa_distributed_storage_exports::SegmentRoot;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tracing::{info, warn};

/// Hashes that a tick may cost; the last segments may cost what they take more.
const HASHES: u64 = 50_000;
/// Segments that are written in one batch.
const SEGMENTS_AT_ONCE: usize = 32;
/// Segments that a tick looks at on its way round all of them: the first time after a start, and later.
const FIRST_ROUND: u64 = 512;
const LATER_ROUNDS: u64 = 16;
/// Segments with other roots than accepted that are looked at again in each tick.
const DIFFERING_LOOKED_AT: usize = 8;
/// Of what may be claimed so much is used where not all is: the rest is for what comes before the next look.
const ROOM_PERCENT: u64 = 97;

/// A root that is not the accepted one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Differing {
    /// The segment.
    pub segment: u64,
    /// What this node has.
    pub own: SegmentRoot,
    /// What was accepted.
    pub accepted: SegmentRoot,
}

/// See the module.
pub struct ClaimKeeper {
    claims: Arc<Claims>,
    store: Arc<SegmentStore>,
    assigned: SharedAssigned,
    accepted: Arc<BTreeMap<u64, SegmentRoot>>,
    /// To be looked at.
    dirty: BTreeSet<u64>,
    /// Where it is on its way round; everything below was looked at, or is dirty.
    walk: u64,
    /// It was everywhere since the start, or since everything changed.
    was_everywhere: bool,
    /// Rows are to be read once more when it was.
    read_again: bool,
    is_incomplete: bool,
    limit: KeepLimit,
    /// What the limit was made for, in bytes.
    limited_to: u64,
    /// What is before it is pruned before a claim for the next round is over.
    claim_from: u64,
    differing: BTreeMap<u64, (SegmentRoot, SegmentRoot)>,
    /// Accepted and held in part, and not closed here.
    closing: BTreeSet<u64>,
}

impl ClaimKeeper {
    /// Nothing looked at yet. Everything counts as changed.
    pub fn new(
        store: Arc<SegmentStore>,
        assigned: SharedAssigned,
        (claims, found): (Arc<Claims>, super::Found),
    ) -> Self {
        Self {
            claims,
            assigned,
            accepted: Arc::default(),
            dirty: BTreeSet::new(),
            walk: store.parameters().first_segment(),
            was_everywhere: false,
            read_again: found.is_damaged || found.is_incomplete,
            is_incomplete: found.is_incomplete,
            limit: KeepLimit::All,
            limited_to: u64::MAX,
            claim_from: 0,
            differing: BTreeMap::new(),
            closing: BTreeSet::new(),
            store,
        }
    }

    /// Takes in what changed.
    pub fn note(&mut self, changed: ChangedSegments) {
        self.dirty.extend(changed.segments);
        if changed.all {
            self.begin_again();
        }
    }

    /// Takes in which roots are accepted. Roots are only ever added, after the last and before the first.
    pub fn set_accepted(&mut self, accepted: &Arc<BTreeMap<u64, SegmentRoot>>) {
        if Arc::ptr_eq(accepted, &self.accepted) {
            return;
        }
        let first = self.accepted.first_key_value().map_or(0, |(first, _)| *first);
        let known = self.accepted.last_key_value().map_or(0, |(last, _)| last + 1);
        let added = accepted.range(..first).chain(accepted.range(known..));
        self.dirty.extend(added.map(|(segment, _)| *segment));
        self.accepted = Arc::clone(accepted);
    }

    /// Takes in the last segment that ends before a claim for the next round is over: what retention does not keep until then is
    /// not claimed.
    pub fn set_last_needed(&mut self, segment: u64) {
        let claim_from = self.store.retained_from(segment).unwrap_or(0);
        if claim_from > self.claim_from {
            let known = self.claim_from.max(self.store.parameters().first_segment());
            self.dirty.extend(known..claim_from);
            self.claim_from = claim_from;
        }
    }

    /// Takes in how many leaves may be claimed: where it is less than this node has, it is those chunks that fewest others rank
    /// above it for.
    pub fn set_max_leaves(&mut self, max_leaves: u64) {
        let room = max_leaves.saturating_mul(LEAF_BYTES as u64);
        let is_over = self.claims.current().leaves > max_leaves;
        let has_grown = self.limit != KeepLimit::All && room / 105 > self.limited_to / 100;
        if !self.is_settled() || !(is_over || has_grown) {
            return;
        }
        let in_leaves = |own: OwnChunk| OwnChunk {
            bytes: own.bytes.div_ceil(LEAF_BYTES as u64) * LEAF_BYTES as u64,
            ..own
        };
        let limit = {
            let assigned = self.assigned.read();
            let mine = assigned.placement().mine(0).map(in_leaves);
            KeepLimit::new(mine, room / 100 * ROOM_PERCENT)
        };
        self.limited_to = room;
        if limit != self.limit {
            info!(max_leaves, ?limit, "not everything that is assigned may be claimed");
            self.limit = limit;
            self.begin_again();
        }
    }

    fn begin_again(&mut self) {
        self.walk = self.store.parameters().first_segment();
        self.was_everywhere = false;
    }

    /// Whether the claim is what it should be, as far as is known: then it may be sent.
    pub fn is_settled(&self) -> bool {
        self.was_everywhere && self.dirty.is_empty()
    }

    /// Whether rows are missing, so that the claim must not be sent.
    pub fn is_incomplete(&self) -> bool {
        self.is_incomplete
    }

    /// The first segment whose root here is not the accepted one.
    pub fn differing(&self) -> Option<Differing> {
        let (segment, (own, accepted)) = self.differing.first_key_value()?;
        Some(Differing {
            segment: *segment,
            own: *own,
            accepted: *accepted,
        })
    }

    /// Goes on by one slice. Returns what it cost in hashes.
    ///
    /// # Errors
    /// [`ClaimsError`]: what was not written is tried again.
    pub fn step(&mut self) -> Result<u64, ClaimsError> {
        self.note(self.store.take_changed());
        let differing = self.differing.keys().take(DIFFERING_LOOKED_AT);
        self.dirty.extend(differing);
        self.dirty.append(&mut self.closing);
        let mut hasher = SumHasher::default();
        self.settle_dirty(&mut hasher)?;
        if self.dirty.is_empty() {
            self.go_round(&mut hasher)?;
        }
        Ok(hasher.hashes)
    }

    fn settle_dirty(&mut self, hasher: &mut SumHasher) -> Result<(), ClaimsError> {
        while hasher.hashes < HASHES && !self.dirty.is_empty() {
            let segments: Vec<u64> = self.dirty.iter().take(SEGMENTS_AT_ONCE).copied().collect();
            self.settle(&segments, hasher)?;
            for segment in segments {
                self.dirty.remove(&segment);
            }
        }
        Ok(())
    }

    fn go_round(&mut self, hasher: &mut SumHasher) -> Result<(), ClaimsError> {
        let end = self.store.last_segment()?.map_or(0, |last| last + 1);
        let most = if self.was_everywhere { LATER_ROUNDS } else { FIRST_ROUND };
        let stop = self.walk.saturating_add(most).min(end);
        while self.walk < stop && hasher.hashes < HASHES {
            let next = stop.min(self.walk + SEGMENTS_AT_ONCE as u64);
            let segments: Vec<u64> = (self.walk..next).collect();
            self.settle(&segments, hasher)?;
            self.walk = next;
        }
        if self.walk < end {
            return Ok(());
        }
        self.walk = self.store.parameters().first_segment();
        self.was_everywhere = true;
        if std::mem::take(&mut self.read_again) {
            let found = self.claims.read()?;
            self.is_incomplete = found.is_incomplete;
        }
        Ok(())
    }

    /// Makes the claim of some segments what it should be. One whose table is damaged is left as it is until that is repaired.
    fn settle(&mut self, segments: &[u64], hasher: &mut SumHasher) -> Result<(), ClaimsError> {
        match (self.settle_all(segments, hasher), segments) {
            (Err(ClaimsError::Claim(error)), [segment]) if is_damage(&error) => {
                warn!(
                    segment,
                    error = &error as &dyn std::error::Error,
                    "the claim of a segment cannot be changed"
                );
                Ok(())
            }
            (Err(ClaimsError::Claim(error)), [_, _, ..]) if is_damage(&error) => segments
                .iter()
                .try_for_each(|segment| self.settle(std::slice::from_ref(segment), hasher)),
            (result, _) => result,
        }
    }

    fn settle_all(&mut self, segments: &[u64], hasher: &mut SumHasher) -> Result<(), ClaimsError> {
        let mut wanted = BTreeMap::new();
        for segment in segments {
            // What nobody has a table of cannot be claimed, and never was.
            if let Some(chunks) = self.wanted_of(*segment)? {
                wanted.insert(*segment, chunks);
            }
        }
        let book = self.claims.book.lock().clone();
        let change = book.prepare(&*self.store, &wanted, hasher)?;
        if !change.batch.rows.is_empty() {
            if !change.rebuilt.is_empty() {
                warn!(segments = ?change.rebuilt, "rows of the claim were damaged and are built anew");
            }
            self.claims.write(change, Durability::Buffered)?;
        }
        Ok(())
    }

    /// What should be claimed of a segment; `None` if its table is not here. Chunk numbers first, so that no lock is held while
    /// the claim is changed.
    fn wanted_of(&mut self, segment: u64) -> Result<Option<ChunkSet>, StoreError> {
        let own = unless_damaged(self.store.segment_root(segment))?.flatten();
        let accepted = self.accepted.get(&segment).copied();
        self.differing.remove(&segment);
        let held = unless_damaged(self.store.held(segment))?.unwrap_or_default();
        match (own, accepted) {
            (None, Some(_)) if held.chunks > 0 => {
                // Its chunks are written before its table.
                self.closing.insert(segment);
                return Ok(None);
            }
            (None, _) => return Ok(None),
            (Some(own), Some(accepted)) if own != accepted => {
                self.differing.insert(segment, (own, accepted));
                return Ok(Some(ChunkSet::default()));
            }
            (Some(_), None) => return Ok(Some(ChunkSet::default())),
            (Some(_), Some(_)) if segment < self.claim_from => return Ok(Some(ChunkSet::default())),
            (Some(_), Some(_)) => {}
        }
        let assigned = self.assigned.read();
        let mine = assigned.placement().mine_of(segment);
        let chunks = mine.filter(|own| held.contains(own.position.index.0) && self.limit.keeps(own));
        Ok(Some(chunks.map(|own| own.position.index.0).collect()))
    }

    /// Keeps the claim before it is sent for a round. `None` if there is nothing to claim.
    ///
    /// # Errors
    /// [`ClaimsError`]: then it must not be sent.
    pub fn seal(&mut self, round: u64) -> Result<Option<Claim>, ClaimsError> {
        self.claims.seal(round)
    }
}

/// What is damaged is not held, and not claimed.
fn unless_damaged<T>(read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match read {
        Ok(value) => Ok(Some(value)),
        Err(StoreError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_damage(error: &ClaimError<StoreError>) -> bool {
    !matches!(error, ClaimError::Store(error) if !matches!(error, StoreError::Damaged(_)))
}
