//! Who archived what, and who holds which chunk: all nodes' answers side by side.
//!
//! A segment is *closed* here once it is on every node: only then each knows its chunks. Until then its blocks are on all nodes,
//! and there are no replicas to count.

use crate::client::ClientError;
use crate::node::Node;
use massa_api_exports::distributed_storage::{SegmentState, StorageChunk, StoragePeriod, StorageSegment};
use massa_distributed_storage_exports::{ChunkId, PeriodRoot, SegmentRoot};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Lines of one kind of problem that are told; the rest is counted.
const PROBLEMS_MAX: usize = 5;

/// Periods that are looked at, in an archive that begins with period 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The first one.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Periods of a segment.
    pub segment_periods: u64,
}

impl Span {
    /// Segments that have a period of the span.
    pub fn segments(&self) -> RangeInclusive<u64> {
        self.first / self.segment_periods..=self.last / self.segment_periods
    }

    /// Segments of which every period is in the span: these are over, and have to be closed.
    pub fn whole_segments(&self) -> impl Iterator<Item = u64> + '_ {
        self.segments().filter(|segment| {
            let (first, last) = self.periods_of(*segment);
            self.first <= first && last <= self.last
        })
    }

    /// First and last period of a segment.
    pub fn periods_of(&self, segment: u64) -> (u64, u64) {
        let first = segment * self.segment_periods;
        (first, first + self.segment_periods - 1)
    }
}

/// What one node says of a span.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// The segments that it knows.
    pub segments: BTreeMap<u64, StorageSegment>,
    /// The periods that it archived.
    pub periods: BTreeMap<u64, StoragePeriod>,
    /// Chunks of the segments, by segment and position.
    pub chunks: BTreeMap<(u64, u32), StorageChunk>,
}

impl NodeView {
    /// Asks `node`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn fetch(node: &Node, span: &Span) -> Result<Self, ClientError> {
        let client = node.client();
        let segments = client.segments(span.segments())?;
        let periods = client.periods(span.first, span.last)?;
        let chunks = client.chunks(span.segments())?;
        Ok(Self {
            name: node.name().to_owned(),
            segments: segments.into_iter().map(|segment| (segment.segment, segment)).collect(),
            periods: periods.into_iter().map(|period| (period.period, period)).collect(),
            chunks: chunks
                .into_iter()
                .map(|chunk| ((chunk.segment, chunk.chunk), chunk))
                .collect(),
        })
    }
}

/// What all nodes together say of a span.
#[derive(Clone, Debug)]
pub struct Survey {
    /// What was looked at.
    pub span: Span,
    /// Names of the nodes.
    pub nodes: Vec<String>,
    /// The segments that at least one node knows.
    pub segments: BTreeMap<u64, SegmentSurvey>,
    /// The periods that at least one node archived.
    pub periods: BTreeMap<u64, PeriodSurvey>,
    /// For each node, chunks that are assigned to it and that it does not hold.
    pub not_held: Vec<u64>,
}

/// What all nodes together say of a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodSurvey {
    /// Its root, as the first node that archived it says.
    pub root: PeriodRoot,
    /// Whether the others say the same.
    pub roots_agree: bool,
    /// Nodes that archived it.
    pub archived_by: usize,
    /// The segment that it is in.
    pub segment: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Chunks of the segment that its bytes touch.
    pub chunks: RangeInclusive<u32>,
    /// What it has, while a node still tells.
    pub counted: Option<Counted>,
}

/// What a period has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Blocks.
    pub blocks: u64,
    /// Missed slots.
    pub misses: u64,
    /// Operations of its blocks.
    pub operations: u64,
}

impl Counted {
    fn of(period: &StoragePeriod) -> Option<Self> {
        Some(Self {
            blocks: period.blocks?,
            misses: period.misses?,
            operations: period.operations?,
        })
    }
}

/// What all nodes together say of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentSurvey {
    /// Its first period.
    pub first_period: u64,
    /// Its periods; of an open one, those that joined it on the node that has most.
    pub periods: u64,
    /// Its root, as the first node that closed it says.
    pub root: Option<SegmentRoot>,
    /// Whether the others say the same.
    pub roots_agree: bool,
    /// Nodes that closed it.
    pub closed_by: usize,
    /// Nodes on which it is anchored.
    pub anchored_by: usize,
    /// Bytes of its body, so far.
    pub bytes: u64,
    /// Its chunks, if every node closed it.
    pub chunks: Vec<ChunkSurvey>,
}

/// A chunk and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSurvey {
    /// Its number in the segment.
    pub index: u32,
    /// Its id.
    pub id: ChunkId,
    /// Positions of the nodes that hold it.
    pub held_by: Vec<usize>,
}

impl PeriodSurvey {
    fn new(period: u64, views: &[NodeView]) -> Option<Self> {
        let mut told = views.iter().filter_map(|view| view.periods.get(&period));
        let first = told.next()?;
        let mut survey = Self {
            root: first.root,
            roots_agree: true,
            archived_by: 1,
            segment: first.segment,
            bytes: u64::from(first.bytes),
            chunks: first.first_chunk..=first.last_chunk,
            counted: Counted::of(first),
        };
        for other in told {
            survey.archived_by += 1;
            survey.roots_agree &= other.root == first.root;
            survey.counted = survey.counted.or(Counted::of(other));
        }
        Some(survey)
    }
}

impl SegmentSurvey {
    fn new(segment: u64, views: &[NodeView], span: &Span) -> Option<Self> {
        let told = || views.iter().filter_map(|view| view.segments.get(&segment));
        let roots: Vec<SegmentRoot> = told().filter_map(|segment| segment.root).collect();
        let largest = told().max_by_key(|segment| segment.bytes)?;
        let is_anchored = |segment: &&StorageSegment| segment.state == SegmentState::Anchored;
        let is_closed = roots.len() == views.len();
        Some(Self {
            first_period: span.periods_of(segment).0,
            periods: u64::from(largest.periods),
            root: roots.first().copied(),
            roots_agree: roots.iter().all(|root| Some(root) == roots.first()),
            closed_by: roots.len(),
            anchored_by: told().filter(is_anchored).count(),
            bytes: largest.bytes,
            chunks: if is_closed {
                chunks_of(segment, views)
            } else {
                Vec::new()
            },
        })
    }

    /// Whether all of `nodes` nodes closed it.
    pub fn is_closed(&self, nodes: usize) -> bool {
        self.closed_by == nodes
    }

    /// The fewest and the most nodes that hold a chunk.
    pub fn replicas(&self) -> (usize, usize) {
        let held_by = || self.chunks.iter().map(|chunk| chunk.held_by.len());
        (held_by().min().unwrap_or(0), held_by().max().unwrap_or(0))
    }

    /// Positions of the nodes that hold a chunk; `None` unless every node closed the segment.
    pub fn holders(&self, index: u32) -> Option<&[usize]> {
        let chunk = self.chunks.iter().find(|chunk| chunk.index == index)?;
        Some(&chunk.held_by)
    }

    /// Chunks that node `node` holds.
    pub fn held_by(&self, node: usize) -> usize {
        self.chunks.iter().filter(|chunk| chunk.held_by.contains(&node)).count()
    }

    /// In a word: how far it is on `nodes` nodes.
    pub fn state(&self, nodes: usize) -> &'static str {
        match self {
            _ if self.anchored_by == nodes => "anchored",
            _ if self.closed_by == nodes => "closed",
            _ if self.closed_by > 0 => "closing",
            _ => "open",
        }
    }
}

/// The chunks of a segment with their holders. A node that says another id at a position holds another chunk.
fn chunks_of(segment: u64, views: &[NodeView]) -> Vec<ChunkSurvey> {
    let mut chunks: BTreeMap<(u32, ChunkId), Vec<usize>> = BTreeMap::new();
    for (node, view) in views.iter().enumerate() {
        for ((_, index), chunk) in view.chunks.range((segment, 0)..=(segment, u32::MAX)) {
            // A chunk that is being filled has no id, and is not in a segment that is closed.
            let Some(id) = chunk.chunk_id else { continue };
            let held_by = chunks.entry((*index, id)).or_default();
            if chunk.held {
                held_by.push(node);
            }
        }
    }
    let chunk = |((index, id), held_by)| ChunkSurvey { index, id, held_by };
    chunks.into_iter().map(chunk).collect()
}

impl Survey {
    /// Puts the answers side by side.
    pub fn new(views: &[NodeView], span: Span) -> Self {
        let periods: BTreeSet<u64> = views.iter().flat_map(|view| view.periods.keys().copied()).collect();
        let periods = periods.range(span.first..=span.last);
        let period = |period: &u64| Some((*period, PeriodSurvey::new(*period, views)?));
        let segment = |segment| Some((segment, SegmentSurvey::new(segment, views, &span)?));
        let segments: BTreeMap<u64, SegmentSurvey> = span.segments().filter_map(segment).collect();
        let closed = |segment: &u64| {
            segments
                .get(segment)
                .is_some_and(|survey| survey.is_closed(views.len()))
        };
        let not_held = |view: &NodeView| {
            let lacks = |chunk: &&StorageChunk| closed(&chunk.segment) && chunk.assigned_here && !chunk.held;
            view.chunks.values().filter(lacks).count() as u64
        };
        Self {
            span,
            nodes: views.iter().map(|view| view.name.clone()).collect(),
            periods: periods.filter_map(period).collect(),
            not_held: views.iter().map(not_held).collect(),
            segments,
        }
    }

    /// Asks all these nodes.
    ///
    /// # Errors
    /// [`ClientError`] of the first that does not answer.
    pub fn fetch<'a>(nodes: impl IntoIterator<Item = &'a Node>, span: Span) -> Result<Self, ClientError> {
        let views = nodes.into_iter().map(|node| NodeView::fetch(node, &span));
        Ok(Self::new(&views.collect::<Result<Vec<_>, _>>()?, span))
    }

    /// Whether every node archived `period`.
    pub fn is_archived_everywhere(&self, period: u64) -> bool {
        let survey = self.periods.get(&period);
        survey.is_some_and(|survey| survey.archived_by == self.nodes.len())
    }

    /// Whether every node closed `segment`.
    pub fn is_closed_everywhere(&self, segment: u64) -> bool {
        let survey = self.segments.get(&segment);
        survey.is_some_and(|survey| survey.is_closed(self.nodes.len()))
    }

    /// The segments that every node closed.
    pub fn closed(&self) -> impl Iterator<Item = (&u64, &SegmentSurvey)> {
        let nodes = self.nodes.len();
        self.segments.iter().filter(move |(_, survey)| survey.is_closed(nodes))
    }

    /// Whether all nodes computed the same roots of the periods that they archived and the segments that they closed.
    pub fn roots_agree(&self) -> bool {
        let periods = self.periods.values().all(|period| period.roots_agree);
        periods && self.segments.values().all(|segment| segment.roots_agree)
    }

    /// The fewest and the most nodes that hold a chunk of a closed segment; zeros where there is none.
    pub fn replicas(&self) -> (usize, usize) {
        let replicas = || self.closed().map(|(_, segment)| segment.replicas());
        let min = replicas().map(|(min, _)| min).min();
        let max = replicas().map(|(_, max)| max).max();
        (min.unwrap_or(0), max.unwrap_or(0))
    }

    /// Chunks of closed segments that each node holds, by its name.
    pub fn chunks_per_node(&self) -> BTreeMap<String, u64> {
        let held = |node| self.closed().map(|(_, segment)| segment.held_by(node) as u64).sum();
        let nodes = self.nodes.iter().enumerate();
        nodes.map(|(node, name)| (name.clone(), held(node))).collect()
    }

    /// Whether a node holds not all chunks of closed segments: what it does not hold it has to fetch when it is read.
    pub fn is_spread(&self) -> bool {
        let nodes = self.nodes.len();
        let is_spared = |chunk: &ChunkSurvey| chunk.held_by.len() < nodes;
        self.closed().any(|(_, segment)| segment.chunks.iter().any(is_spared))
    }

    /// Chunks of closed segments.
    pub fn chunks(&self) -> u64 {
        self.closed().map(|(_, segment)| segment.chunks.len() as u64).sum()
    }

    /// Bytes of the periods.
    pub fn bytes(&self) -> u64 {
        self.periods.values().map(|period| period.bytes).sum()
    }

    /// Why the span is not archived on all nodes with one root, its segments closed, and every chunk of these held by at least
    /// `replicas` nodes. Empty if it is.
    pub fn problems(&self, replicas: usize) -> Vec<String> {
        let mut problems = Vec::new();
        let periods = self.span.first..=self.span.last;
        push_some(&mut problems, periods.filter_map(|period| self.unarchived(period)));
        let segments = self.span.whole_segments();
        push_some(&mut problems, segments.filter_map(|segment| self.unclosed(segment)));
        let differ = self.periods.iter().filter(|(_, survey)| !survey.roots_agree);
        push_some(
            &mut problems,
            differ.map(|(period, _)| format!("nodes have different roots of period {period}")),
        );
        let differ = self.segments.iter().filter(|(_, survey)| !survey.roots_agree);
        push_some(
            &mut problems,
            differ.map(|(segment, _)| format!("nodes have different roots of segment {segment}")),
        );
        let few = self.closed().flat_map(|(segment, survey)| {
            let few = survey.chunks.iter().filter(|chunk| chunk.held_by.len() < replicas);
            few.map(move |chunk| {
                let (index, held) = (chunk.index, chunk.held_by.len());
                format!("chunk {index} of segment {segment} is held by {held} nodes, {replicas} are needed")
            })
        });
        push_some(&mut problems, few);
        problems
    }

    fn unarchived(&self, period: u64) -> Option<String> {
        let by = self.periods.get(&period).map_or(0, |survey| survey.archived_by);
        let all = self.nodes.len();
        (by < all).then(|| format!("period {period} is archived by {by} of {all} nodes"))
    }

    fn unclosed(&self, segment: u64) -> Option<String> {
        let by = self.segments.get(&segment).map_or(0, |survey| survey.closed_by);
        let all = self.nodes.len();
        (by < all).then(|| format!("segment {segment} is closed by {by} of {all} nodes"))
    }

    /// As [`Survey::problems`], and also what a node does not hold although it is assigned to it.
    pub fn problems_of_assignment(&self, replicas: usize) -> Vec<String> {
        let mut problems = self.problems(replicas);
        let lacking = self.nodes.iter().zip(&self.not_held).filter(|(_, count)| **count > 0);
        problems.extend(lacking.map(|(name, count)| format!("{name} lacks {count} chunks that are assigned to it")));
        problems
    }
}

/// Adds the first lines and the number of the others.
fn push_some(problems: &mut Vec<String>, lines: impl Iterator<Item = String>) {
    let mut lines = lines.peekable();
    problems.extend(lines.by_ref().take(PROBLEMS_MAX));
    if lines.peek().is_some() {
        problems.push(format!("and {} more like it", lines.count()));
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use massa_api_exports::distributed_storage::{ChunkState, PeriodState};
    use massa_models::node::NodeId;
    use massa_signature::KeyPair;

    /// Segments of two periods.
    pub(crate) fn span(first: u64, last: u64) -> Span {
        Span {
            first,
            last,
            segment_periods: 2,
        }
    }

    /// A view of a node that archived `periods`, each with the root byte given. A segment of which it has both is closed, with the
    /// second one's root byte, and has two chunks; it holds those of `held`.
    pub(crate) fn view(name: &str, periods: &[(u64, u8)], held: [bool; 2]) -> NodeView {
        let node = NodeId::new(KeyPair::generate(0).unwrap().get_public_key());
        let periods: BTreeMap<u64, u8> = periods.iter().copied().collect();
        let root = |segment: u64| Some(*periods.get(&(2 * segment)).and(periods.get(&(2 * segment + 1)))?);
        let mut view = NodeView {
            name: name.into(),
            ..NodeView::default()
        };
        for (period, byte) in &periods {
            let segment = period / 2;
            view.periods.insert(*period, period_of(*period, *byte, root(segment)));
            view.segments.insert(segment, segment_of(segment, root(segment)));
            for index in root(segment).into_iter().flat_map(|_| 0..2) {
                let chunk = chunk_of((segment, index), held[index as usize], node);
                view.chunks.insert((segment, index), chunk);
            }
        }
        view
    }

    fn period_of(period: u64, root: u8, closed: Option<u8>) -> StoragePeriod {
        StoragePeriod {
            period,
            segment: period / 2,
            state: closed.map_or(PeriodState::Open, |_| PeriodState::Closed),
            root: PeriodRoot::from_bytes([root; 32]),
            bytes: 100_000,
            first_chunk: (period % 2) as u32,
            last_chunk: 1,
            blocks: Some(3),
            misses: Some(1),
            operations: Some(9),
        }
    }

    fn segment_of(segment: u64, root: Option<u8>) -> StorageSegment {
        let closed = u32::from(root.is_some());
        StorageSegment {
            segment,
            first_period: 2 * segment,
            periods: 1 + closed,
            lost_periods: 0,
            bytes: 100_000 * u64::from(1 + closed),
            chunks: 2 * closed,
            chunks_held: 0,
            chunks_assigned: 2 * closed,
            state: root.map_or(SegmentState::Open, |_| SegmentState::Closed),
            root: root.map(|byte| SegmentRoot::from_bytes([byte; 32])),
            accepted_root: None,
        }
    }

    fn chunk_of((segment, chunk): (u64, u32), held: bool, node: NodeId) -> StorageChunk {
        StorageChunk {
            segment,
            chunk,
            chunk_id: Some(ChunkId::from_bytes([chunk as u8; 32])),
            length: 50_000,
            first_period: 2 * segment,
            last_period: 2 * segment + 1,
            state: ChunkState::Closed,
            held,
            assigned_here: true,
            holders: vec![node],
        }
    }

    #[test]
    fn a_span_knows_its_segments_and_which_of_them_are_over() {
        let span = span(1, 6);
        assert_eq!(span.segments(), 0..=3);
        assert_eq!(span.whole_segments().collect::<Vec<_>>(), [1, 2]);
        assert_eq!(span.periods_of(2), (4, 5));
    }

    #[test]
    fn a_span_that_all_nodes_archived_closed_and_hold_has_no_problems() {
        let views = ["a", "b", "c"].map(|name| view(name, &[(2, 7), (3, 8), (4, 9)], [true, true]));
        let survey = Survey::new(&views, span(2, 4));
        assert_eq!(survey.problems_of_assignment(3), [""; 0]);
        assert_eq!(survey.replicas(), (3, 3));
        assert!(!survey.is_spread());
        assert_eq!(survey.chunks_per_node()["b"], 2);
        assert_eq!((survey.chunks(), survey.bytes()), (2, 300_000));
        assert_eq!(survey.segments[&1].state(3), "closed");
        assert_eq!(survey.segments[&2].state(3), "open");
    }

    #[test]
    fn a_period_that_one_node_has_not_archived_yet_is_told() {
        let views = [view("a", &[(0, 7), (1, 8)], [true; 2]), view("b", &[(0, 7)], [true; 2])];
        let survey = Survey::new(&views, span(0, 2));
        assert!(survey.is_archived_everywhere(0) && !survey.is_archived_everywhere(1));
        assert_eq!(survey.segments[&0].state(2), "closing");
        assert_eq!(
            survey.problems(1),
            [
                "period 1 is archived by 1 of 2 nodes",
                "period 2 is archived by 0 of 2 nodes",
                "segment 0 is closed by 1 of 2 nodes"
            ]
        );
    }

    #[test]
    fn different_roots_are_told() {
        let of = |name, byte| view(name, &[(0, 7), (1, byte)], [true; 2]);
        let survey = Survey::new(&[of("a", 7), of("b", 8)], span(0, 1));
        assert!(!survey.roots_agree());
        assert_eq!(
            survey.problems(2),
            [
                "nodes have different roots of period 1",
                "nodes have different roots of segment 0"
            ]
        );
    }

    #[test]
    fn a_chunk_with_too_few_holders_is_told_and_so_is_who_lacks_it() {
        let of = |name, held| view(name, &[(0, 7), (1, 7)], held);
        let survey = Survey::new(&[of("a", [true, false]), of("b", [true, true])], span(0, 1));
        assert_eq!(survey.replicas(), (1, 2));
        assert!(survey.is_spread());
        assert_eq!(
            survey.problems(2),
            ["chunk 1 of segment 0 is held by 1 nodes, 2 are needed"]
        );
        let told = survey.problems_of_assignment(1);
        assert_eq!(told, ["a lacks 1 chunks that are assigned to it"]);
    }

    #[test]
    fn chunks_of_a_segment_that_one_node_did_not_close_have_no_replicas_yet() {
        let views = [view("a", &[(0, 7), (1, 7)], [true; 2]), view("b", &[(0, 7)], [true; 2])];
        let survey = Survey::new(&views, span(0, 0));
        assert_eq!(survey.problems_of_assignment(2), [""; 0]);
        assert_eq!((survey.chunks(), survey.replicas()), (0, (0, 0)));
    }

    #[test]
    fn another_chunk_at_the_same_position_is_no_replica() {
        let mut other = view("b", &[(0, 7), (1, 7)], [true; 2]);
        other.chunks.get_mut(&(0, 0)).unwrap().chunk_id = Some(ChunkId::from_bytes([9; 32]));
        let survey = Survey::new(&[view("a", &[(0, 7), (1, 7)], [true; 2]), other], span(0, 1));
        assert_eq!(survey.replicas(), (1, 2));
    }

    #[test]
    fn a_long_list_of_problems_is_cut() {
        let survey = Survey::new(&[view("a", &[], [true; 2])], span(0, 98));
        let problems = survey.problems(1);
        // 99 periods and 49 segments.
        assert_eq!(problems.len(), 2 * (PROBLEMS_MAX + 1));
        assert_eq!(problems[PROBLEMS_MAX], "and 94 more like it");
        assert_eq!(problems.last().unwrap(), "and 44 more like it");
    }
}
