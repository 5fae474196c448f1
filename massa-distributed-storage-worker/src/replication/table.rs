//! Who holds which chunk of the whole archive, kept up to date by what changes.
//!
//! Called by everything that must know what this node is assigned: repair, hand-over, claims, status. Holders are a function of
//! chunk id, node set, factor and retention alone; nothing depends on the order in which segments or changes came. No clock,
//! no database: chunk ids are read through [`ChunkIds`], rows are saved by the caller ([`super::checkpoint`]).
//!
//! # Two answers
//!
//! - *Who holds this chunk*, under the newest set: at once and for any chunk, from its id ([`SegmentPlacement::holders`]); for
//!   the set of an older round, [`super::search_of_segment`].
//! - *What is this node's*, of all chunks: from what was placed so far. Each segment is placed for one set as a whole,
//!   its basis; a change of the set becomes true segment by segment. [`SegmentPlacement::is_settled`] tells of which it is.
//!
//! # What a change costs
//!
//! A node that joins, or changes its weight, costs a hash for each chunk; one that leaves costs none, but chunks that it held,
//! or where it got worse, are ranked in full. A node that becomes unfilled leaves those who count, one that becomes filled joins
//! them; unfilled nodes cost hashes for chunks of this node only. A higher factor ranks everything in full. Work goes round the
//! segments from the newest down; a further change does not begin again: each segment goes from what it is placed for to what
//! is newest then.
//!
//! Memory: for each chunk 8 bytes times the factor, 12 more where this node holds it, and about 100 bytes a segment.

use super::change::Change;
use super::hashing::PlacingCosts;
use super::ids::{ChunkIds, Unreadable};
use super::placed_segment::{Basis, PlacedSegment, Work};
use super::placed_set::{NodesInForce, PlacedSet, SetName};
use super::ranked::{Rounding, SCORE_BITS};
use super::standing::Standings;
use super::HolderSearch;
use massa_distributed_storage_exports::types::{ChunkPosition, MAX_SEGMENTS, MAX_SEGMENT_LEAVES};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

/// Node sets that segments are placed for, at most; a newer one waits until every segment has reached the one before.
pub(super) const MAX_SETS: usize = 8;
/// Differences between two sets that are remembered.
const MAX_CHANGES: usize = 8;
/// Segments that ended since they were last looked at one by one; if there are more, all segments are looked at.
const MAX_ENDED_STEP: u64 = 64;

/// What does not change in a network's archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementRules {
    /// Bytes of a chunk.
    pub chunk_bytes: u32,
    /// Periods of a segment.
    pub segment_periods: u64,
    /// Leading bits of a score that are kept, at most `SCORE_BITS`. Fewer change no result, they cost hashes.
    pub score_bits: u32,
}

impl PlacementRules {
    /// The usual precision.
    pub fn new(chunk_bytes: u32, segment_periods: u64) -> Self {
        Self {
            chunk_bytes: chunk_bytes.max(1),
            segment_periods: segment_periods.max(1),
            score_bits: SCORE_BITS,
        }
    }
}

/// A segment that cannot be placed: whoever named it is at fault.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutSegmentError {
    /// The number of a segment has 24 bits.
    #[error("segment {0} is not below {MAX_SEGMENTS}")]
    Number(u64),
    /// The position of a chunk in its segment has 16 bits.
    #[error("segment {segment} of {body_bytes} bytes has more than {MAX_SEGMENT_LEAVES} chunks of {chunk_bytes}")]
    Chunks {
        /// Its number.
        segment: u64,
        /// Its length.
        body_bytes: u64,
        /// Bytes of a chunk.
        chunk_bytes: u32,
    },
}

/// How far placing is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlacingProgress {
    /// Segments that are not placed for the newest set.
    pub segments_left: usize,
    /// Of them, segments whose chunk ids could not be read; tried again after the next change, or
    /// [`SegmentPlacement::try_again`].
    pub unreadable: usize,
}

impl PlacingProgress {
    /// Whether another slice would change nothing.
    pub fn is_done(&self) -> bool {
        self.segments_left == self.unreadable
    }
}

/// A chunk that is assigned to this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnChunk {
    /// Where it is.
    pub position: ChunkPosition,
    /// Holders that rank above this node.
    pub rank: u16,
    /// This node's score, rounded: in the order of scores.
    pub rounded_score: u64,
    /// Its length.
    pub bytes: u64,
}

/// See the module.
#[derive(Debug)]
pub struct SegmentPlacement {
    pub(super) rules: PlacementRules,
    rounding: Rounding,
    newest: NodesInForce,
    newest_set: Arc<PlacedSet>,
    /// What segments are brought to: the newest set, unless too many are in use.
    pub(super) target: Arc<PlacedSet>,
    ended: Option<u64>,
    pub(super) segments: BTreeMap<u64, PlacedSegment>,
    /// Segments that may not be what they should be.
    to_do: BTreeSet<u64>,
    unreadable: BTreeSet<u64>,
    /// The last segment that was looked at.
    cursor: u64,
    work: Option<Work>,
    changes: VecDeque<(Option<Basis>, Basis, Arc<Change>)>,
    own_chunks: usize,
    own_bytes: u64,
    costs: PlacingCosts,
    /// Segments where other chunks are this node's than when they were last taken.
    changed: BTreeSet<u64>,
    pub(super) unsaved: BTreeSet<u64>,
    /// Sets that the saved header lists.
    pub(super) saved_sets: Vec<Arc<PlacedSet>>,
}

impl SegmentPlacement {
    /// Nothing to place yet.
    pub fn new(rules: PlacementRules, in_force: NodesInForce) -> Self {
        let set = Arc::new(PlacedSet::new(&in_force, rules.segment_periods));
        Self {
            rules,
            rounding: Rounding::new(rules.score_bits),
            newest: in_force,
            newest_set: Arc::clone(&set),
            target: set,
            ended: None,
            segments: BTreeMap::new(),
            to_do: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            cursor: 0,
            work: None,
            changes: VecDeque::new(),
            own_chunks: 0,
            own_bytes: 0,
            costs: PlacingCosts::default(),
            changed: BTreeSet::new(),
            unsaved: BTreeSet::new(),
            saved_sets: Vec::new(),
        }
    }

    /// The nodes that count from now on.
    ///
    /// Costs a pass over the nodes and over the segments, no hash.
    pub fn set_nodes(&mut self, in_force: NodesInForce) {
        let set = PlacedSet::new(&in_force, self.rules.segment_periods);
        self.newest = in_force;
        if set.name == self.newest_set.name {
            return;
        }
        // A set that came back is the one that segments are still placed for.
        let known = self.sets_in_use().into_iter().find(|known| known.name == set.name);
        self.newest_set = known.unwrap_or_else(|| Arc::new(set));
        if self.sets_in_use().len() < MAX_SETS {
            self.aim_at_newest();
        }
    }

    /// Adds a closed segment, or replaces one whose chunks are others now. It has ended: see
    /// [`SegmentPlacement::end_segment`].
    ///
    /// What was saved of a segment that is replaced must be gone from disk with the chunks that it was about.
    ///
    /// # Errors
    /// [`PutSegmentError`]: no number of a segment, or too many chunks.
    pub fn put_segment(&mut self, segment: u64, body_bytes: u64) -> Result<(), PutSegmentError> {
        let new = self.unplaced(segment, body_bytes)?;
        self.install(segment, new);
        self.to_do.insert(segment);
        self.end_segment(segment);
        Ok(())
    }

    pub(super) fn unplaced(&self, segment: u64, body_bytes: u64) -> Result<PlacedSegment, PutSegmentError> {
        if segment >= MAX_SEGMENTS {
            return Err(PutSegmentError::Number(segment));
        }
        let chunk_bytes = self.rules.chunk_bytes;
        if body_bytes.div_ceil(u64::from(chunk_bytes)) > u64::from(MAX_SEGMENT_LEAVES) {
            return Err(PutSegmentError::Chunks {
                segment,
                body_bytes,
                chunk_bytes,
            });
        }
        Ok(PlacedSegment::new(body_bytes))
    }

    /// A segment ended: retention is counted from the last one that did. Earlier ones change nothing.
    ///
    /// Each distinct retention makes one old segment be placed again. Who adds many segments tells the last one first.
    pub fn end_segment(&mut self, segment: u64) {
        if self.ended >= Some(segment) {
            return;
        }
        let before = self.ended.replace(segment);
        if before.map_or(true, |before| segment - before > MAX_ENDED_STEP) {
            if self.target.retentions().next().is_some() {
                self.look_at_all();
            }
            return;
        }
        let before = before.unwrap_or(segment);
        let leaving = |kept: u64| segment.checked_sub(kept).map(|last| before.saturating_sub(kept)..=last);
        let ranges: Vec<RangeInclusive<u64>> = self.target.retentions().filter_map(leaving).collect();
        for range in ranges {
            let known = self.segments.range(range).map(|(segment, _)| *segment);
            self.to_do.extend(known);
        }
    }

    /// Forgets the segments below `floor`, which are pruned.
    pub fn forget_below(&mut self, floor: u64) {
        let kept = self.segments.split_off(&floor);
        let forgotten = std::mem::replace(&mut self.segments, kept);
        for segment in forgotten.values() {
            self.own_chunks -= segment.mine.len();
            self.own_bytes -= segment.mine_bytes(self.rules.chunk_bytes);
        }
        for list in [
            &mut self.to_do,
            &mut self.unreadable,
            &mut self.changed,
            &mut self.unsaved,
        ] {
            *list = list.split_off(&floor);
        }
        self.work = self.work.take().filter(|work| work.segment >= floor);
    }

    /// Segments whose chunk ids could not be read are tried again.
    pub fn try_again(&mut self) {
        self.to_do.append(&mut self.unreadable);
    }

    /// Goes on placing, until `budget` hashes, chunks and reads of ids were spent. It ends at a whole group of 16 chunks, so it
    /// places one group at least and spends up to one too much.
    pub fn step(&mut self, budget: usize, ids: &dyn ChunkIds) -> PlacingProgress {
        let end = self.costs.work().saturating_add(budget as u64);
        while let Some(work) = self.work.take().or_else(|| self.next_work()) {
            self.go_on(work, end, ids);
            if self.costs.work() >= end {
                break;
            }
        }
        self.progress()
    }

    /// How far placing is.
    pub fn progress(&self) -> PlacingProgress {
        let unreadable = self.unreadable.difference(&self.to_do).count();
        let is_waiting = self.target.name != self.newest_set.name;
        let waiting = if is_waiting {
            self.segments.len() - unreadable
        } else {
            self.to_do.len()
        };
        PlacingProgress {
            segments_left: waiting + unreadable,
            unreadable,
        }
    }

    /// The next segment that is not what it should be.
    fn next_work(&mut self) -> Option<Work> {
        loop {
            let Some(segment) = self.next_to_do() else {
                if self.target.name == self.newest_set.name {
                    return None;
                }
                self.aim_at_newest();
                continue;
            };
            self.cursor = segment;
            let Some(placed) = self.segments.get(&segment) else {
                self.to_do.remove(&segment);
                continue;
            };
            let basis = self.wanted(segment);
            if placed.basis.as_ref() == Some(&basis) {
                self.to_do.remove(&segment);
                continue;
            }
            let chunks = placed.chunk_count(self.rules.chunk_bytes);
            let change = self.change(placed.basis.clone(), &basis);
            return Some(Work::new(segment, chunks, basis, change));
        }
    }

    /// Round the segments, from the newest down.
    fn next_to_do(&self) -> Option<u64> {
        let below = self.to_do.range(..self.cursor).next_back();
        below.or_else(|| self.to_do.last()).copied()
    }

    fn wanted(&self, segment: u64) -> Basis {
        Basis {
            set: Arc::clone(&self.target),
            reach: self.target.reach(segment, self.ended),
        }
    }

    fn change(&mut self, from: Option<Basis>, to: &Basis) -> Arc<Change> {
        let known =
            |(known_from, known_to, _): &&(Option<Basis>, Basis, Arc<Change>)| *known_from == from && known_to == to;
        if let Some((_, _, change)) = self.changes.iter().find(known) {
            return Arc::clone(change);
        }
        let change = Change::new(from.as_ref().map(Basis::reaching), Basis::reaching(to), self.rounding);
        let change = Arc::new(change);
        self.changes.push_front((from, to.clone(), Arc::clone(&change)));
        self.changes.truncate(MAX_CHANGES);
        change
    }

    /// Works on a segment until it is whole or the budget is used up.
    fn go_on(&mut self, mut work: Work, end: u64, ids: &dyn ChunkIds) {
        let segment = work.segment;
        let Some(known) = self.segments.get(&segment) else {
            return;
        };
        while !work.is_done() {
            if let Err(Unreadable) = work.place_group(known, ids, &mut self.costs) {
                self.to_do.remove(&segment);
                self.unreadable.insert(segment);
                return;
            }
            if self.costs.work() >= end && !work.is_done() {
                self.work = Some(work);
                return;
            }
        }
        let placed = work.finish(known.body_bytes);
        if placed.basis.as_ref() == Some(&self.wanted(segment)) {
            self.to_do.remove(&segment);
        }
        self.install(segment, placed);
    }

    /// Puts a segment in the place of what it was.
    pub(super) fn install(&mut self, segment: u64, placed: PlacedSegment) {
        self.work = self.work.take().filter(|work| work.segment != segment);
        self.unreadable.remove(&segment);
        self.own_chunks += placed.mine.len();
        self.own_bytes += placed.mine_bytes(self.rules.chunk_bytes);
        let before = self.segments.get(&segment);
        let mine_stays = before.map_or(placed.mine.is_empty(), |before| before.has_same_mine(&placed));
        if let Some(before) = self.segments.insert(segment, placed) {
            self.own_chunks -= before.mine.len();
            self.own_bytes -= before.mine_bytes(self.rules.chunk_bytes);
        }
        if !mine_stays {
            self.changed.insert(segment);
        }
        self.unsaved.insert(segment);
    }

    /// As [`SegmentPlacement::install`], for what is on disk already.
    pub(super) fn install_saved(&mut self, segment: u64, placed: PlacedSegment) {
        self.install(segment, placed);
        self.unsaved.remove(&segment);
        self.to_do.insert(segment);
        self.end_segment(segment);
    }

    fn aim_at_newest(&mut self) {
        if self.sets_in_use().len() >= MAX_SETS {
            // What cannot be read cannot follow. It must not hold on to its sets for ever.
            for segment in std::mem::take(&mut self.unreadable) {
                let bytes = self.segments.get(&segment).map(|placed| placed.body_bytes);
                bytes
                    .into_iter()
                    .for_each(|bytes| self.install(segment, PlacedSegment::new(bytes)));
            }
        }
        self.target = Arc::clone(&self.newest_set);
        let target = self.target.name;
        self.changes.retain(|(_, to, _)| to.set.name == target);
        self.look_at_all();
    }

    fn look_at_all(&mut self) {
        self.unreadable.clear();
        self.to_do = self.segments.keys().copied().collect();
    }

    /// The sets that segments are placed for, and the one that they are brought to.
    pub(super) fn sets_in_use(&self) -> Vec<Arc<PlacedSet>> {
        let mut sets = vec![Arc::clone(&self.target)];
        for basis in self.segments.values().filter_map(|segment| segment.basis.as_ref()) {
            if !sets.iter().any(|set| set.name == basis.set.name) {
                sets.push(Arc::clone(&basis.set));
            }
        }
        sets
    }
}

/// What is placed.
impl SegmentPlacement {
    /// The newest nodes, to which the indexes of answers belong.
    pub fn nodes(&self) -> &NodesInForce {
        &self.newest
    }

    /// The last segment that ended, as far as was told.
    pub fn ended(&self) -> Option<u64> {
        self.ended
    }

    /// Indexes of the nodes that hold a chunk under the newest set, best first.
    ///
    /// Costs no hash where the segment is settled and has no extras, else one for each node.
    pub fn holders(&self, position: ChunkPosition, chunk_id: &ChunkId) -> Vec<usize> {
        let set = &self.newest_set;
        let reach = set.reach(position.segment, self.ended);
        if !set.has_extras(reach) {
            if let Some(counting) = self.counting_holders(position) {
                return counting;
            }
        }
        let mut best = Vec::new();
        self.search(position.segment).find(chunk_id, |_| false, &mut best);
        best.iter().map(|candidate| candidate.index()).collect()
    }

    /// Indexes of the holders of a chunk that count: the filled ones, or all while fewer than the factor are filled. They are
    /// who has to confirm a chunk. Best first, from memory; `None` unless the segment is settled.
    pub fn counting_holders(&self, position: ChunkPosition) -> Option<Vec<usize>> {
        let segment = self.settled(position.segment)?;
        let chunk = position.index.0 as usize;
        if chunk >= segment.chunk_count(self.rules.chunk_bytes) {
            return None;
        }
        let row = segment.row(chunk);
        Some(row.iter().map(|ranked| usize::from(ranked.index())).collect())
    }

    /// Prepares to find the holders of many chunks of a segment under the newest set: as [`SegmentPlacement::holders`], with
    /// nobody skipped.
    pub fn search(&self, segment: u64) -> HolderSearch {
        self.newest_set.search(self.newest_set.reach(segment, self.ended))
    }

    /// Prepares to ask which chunks of a segment that closes this node keeps, and who else does, under the newest set.
    pub fn standings(&self, segment: u64) -> Standings {
        let reach = self.newest_set.reach(segment, self.ended.max(Some(segment)));
        Standings::new(&self.newest_set, reach)
    }

    fn settled(&self, segment: u64) -> Option<&PlacedSegment> {
        let placed = self.segments.get(&segment)?;
        let newest = Basis {
            set: Arc::clone(&self.newest_set),
            reach: self.newest_set.reach(segment, self.ended),
        };
        (placed.basis.as_ref() == Some(&newest)).then_some(placed)
    }

    /// Whether a segment is placed for the newest set, and the last segment that ended.
    pub fn is_settled(&self, segment: u64) -> bool {
        self.settled(segment).is_some()
    }

    /// Length of a segment, if it was told.
    pub fn body_bytes(&self, segment: u64) -> Option<u64> {
        self.segments.get(&segment).map(|placed| placed.body_bytes)
    }

    /// What a segment is placed for: another value whenever its placement may be another. `None` while it is not placed.
    pub fn placed_for(&self, segment: u64) -> Option<(SetName, u64)> {
        let basis = self.segments.get(&segment)?.basis.as_ref()?;
        Some((basis.set.name, basis.reach))
    }

    /// Whether a chunk is assigned to this node, as its segment is placed; `None` while that is not placed, or
    /// has no such chunk.
    pub fn is_mine(&self, position: ChunkPosition) -> Option<bool> {
        let segment = self.segments.get(&position.segment)?;
        segment.basis.as_ref()?;
        let is_there = (position.index.0 as usize) < segment.chunk_count(self.rules.chunk_bytes);
        is_there.then(|| segment.own(position.index.0 as u16).is_some())
    }

    /// The chunks of a segment that are assigned to this node, in order.
    pub fn mine_of(&self, segment: u64) -> impl Iterator<Item = OwnChunk> + '_ {
        let placed = self.segments.get(&segment).map(|placed| (segment, placed));
        placed.into_iter().flat_map(|placed| self.own_of(placed))
    }

    /// All chunks that are assigned to this node from a segment on, in archive order.
    pub fn mine(&self, from_segment: u64) -> impl Iterator<Item = OwnChunk> + '_ {
        let segments = self.segments.range(from_segment..);
        segments.flat_map(|(segment, placed)| self.own_of((*segment, placed)))
    }

    fn own_of<'a>(&'a self, (segment, placed): (u64, &'a PlacedSegment)) -> impl Iterator<Item = OwnChunk> + 'a {
        placed.mine.iter().map(move |mine| OwnChunk {
            position: ChunkPosition {
                segment,
                index: ChunkIndex(u32::from(mine.chunk)),
            },
            rank: mine.rank,
            rounded_score: mine.own().rounded,
            bytes: placed.chunk_length(mine.chunk, self.rules.chunk_bytes),
        })
    }

    /// Chunks that are assigned to this node, and their bytes.
    pub fn own_share(&self) -> (usize, u64) {
        (self.own_chunks, self.own_bytes)
    }

    /// At most so many of the segments where other chunks are this node's than when they were taken last.
    pub fn take_changed(&mut self, max: usize) -> Vec<u64> {
        let taken: Vec<u64> = self.changed.iter().take(max).copied().collect();
        for segment in &taken {
            self.changed.remove(segment);
        }
        taken
    }

    /// What placing has cost so far.
    pub fn costs(&self) -> PlacingCosts {
        self.costs
    }

    /// Bytes of memory that placed segments take, without what an allocator adds.
    pub fn memory_bytes(&self) -> usize {
        let of_segment = |segment: &PlacedSegment| {
            std::mem::size_of::<(u64, PlacedSegment)>()
                + std::mem::size_of_val(&*segment.rows)
                + std::mem::size_of_val(&*segment.mine)
        };
        self.segments.values().map(of_segment).sum()
    }
}
