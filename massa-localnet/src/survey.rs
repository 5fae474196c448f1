//! Who archived what, and who holds which chunk: all nodes' answers side by side.

use crate::client::ClientError;
use crate::node::Node;
use massa_api_exports::distributed_storage::{StorageChunk, StoragePeriod};
use massa_distributed_storage_exports::{ChunkId, PeriodRoot};
use std::collections::BTreeMap;

/// Lines of one kind of problem that are told; the rest is counted.
const PROBLEMS_MAX: usize = 5;

/// What one node says of a range of periods.
#[derive(Clone, Debug, Default)]
pub struct NodeView {
    /// Its name.
    pub name: String,
    /// The periods that it archived.
    pub periods: BTreeMap<u64, StoragePeriod>,
    /// Their chunks, by period and position.
    pub chunks: BTreeMap<(u64, u32), StorageChunk>,
}

impl NodeView {
    /// Asks `node` for the periods from `first` to `last`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn fetch(node: &Node, first: u64, last: u64) -> Result<Self, ClientError> {
        let periods = node.client().periods(first, last)?;
        let chunks = node.client().chunks(first, last)?;
        Ok(Self {
            name: node.name().to_owned(),
            periods: periods.into_iter().map(|period| (period.period, period)).collect(),
            chunks: chunks
                .into_iter()
                .map(|chunk| ((chunk.period, chunk.chunk), chunk))
                .collect(),
        })
    }
}

/// What all nodes together say of a range of periods.
#[derive(Clone, Debug)]
pub struct Survey {
    /// The first period of the range.
    pub first: u64,
    /// The last one.
    pub last: u64,
    /// Names of the nodes.
    pub nodes: Vec<String>,
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
    /// Its blocks.
    pub blocks: u64,
    /// Its missed slots.
    pub misses: u64,
    /// Its operations, once somebody counted them.
    pub operations: Option<u64>,
    /// Bytes of its body.
    pub bytes: u64,
    /// Its chunks.
    pub chunks: Vec<ChunkSurvey>,
}

/// A chunk and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChunkSurvey {
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
            blocks: first.blocks,
            misses: first.misses,
            operations: None,
            bytes: first.bytes,
            chunks: chunks_of(period, views),
        };
        for other in told {
            survey.archived_by += 1;
            survey.roots_agree &= other.root == first.root;
        }
        Some(survey)
    }

    /// The fewest and the most nodes that hold a chunk of the period.
    pub fn replicas(&self) -> (usize, usize) {
        let held_by = || self.chunks.iter().map(|chunk| chunk.held_by.len());
        (held_by().min().unwrap_or(0), held_by().max().unwrap_or(0))
    }

    /// Chunks that node `node` holds.
    pub fn held_by(&self, node: usize) -> usize {
        self.chunks.iter().filter(|chunk| chunk.held_by.contains(&node)).count()
    }
}

/// The chunks of a period with their holders. A node that says another id at a position holds another chunk.
fn chunks_of(period: u64, views: &[NodeView]) -> Vec<ChunkSurvey> {
    let of_period = |view: &NodeView| -> Vec<(u32, ChunkId, bool)> {
        let range = view.chunks.range((period, 0)..=(period, u32::MAX));
        range
            .map(|((_, index), chunk)| (*index, chunk.chunk_id, chunk.held))
            .collect()
    };
    let mut chunks: BTreeMap<(u32, ChunkId), Vec<usize>> = BTreeMap::new();
    for (node, view) in views.iter().enumerate() {
        for (index, id, held) in of_period(view) {
            let held_by = chunks.entry((index, id)).or_default();
            if held {
                held_by.push(node);
            }
        }
    }
    let chunk = |((_, id), held_by)| ChunkSurvey { id, held_by };
    chunks.into_iter().map(chunk).collect()
}

impl Survey {
    /// Puts the answers side by side.
    pub fn new(views: &[NodeView], first: u64, last: u64) -> Self {
        let period = |period| Some((period, PeriodSurvey::new(period, views)?));
        let told = views.iter().flat_map(|view| view.periods.keys().copied());
        let told: std::collections::BTreeSet<u64> = told.filter(|period| (first..=last).contains(period)).collect();
        let not_held = |view: &NodeView| {
            let in_range = view.chunks.range((first, 0)..=(last, u32::MAX));
            in_range.filter(|(_, chunk)| chunk.assigned_here && !chunk.held).count() as u64
        };
        Self {
            first,
            last,
            nodes: views.iter().map(|view| view.name.clone()).collect(),
            periods: told.into_iter().filter_map(period).collect(),
            not_held: views.iter().map(not_held).collect(),
        }
    }

    /// Asks all these nodes.
    ///
    /// # Errors
    /// [`ClientError`] of the first that does not answer.
    pub fn fetch<'a>(nodes: impl IntoIterator<Item = &'a Node>, first: u64, last: u64) -> Result<Self, ClientError> {
        let views = nodes.into_iter().map(|node| NodeView::fetch(node, first, last));
        Ok(Self::new(&views.collect::<Result<Vec<_>, _>>()?, first, last))
    }

    /// Whether every node archived `period`.
    pub fn is_archived_everywhere(&self, period: u64) -> bool {
        let survey = self.periods.get(&period);
        survey.is_some_and(|survey| survey.archived_by == self.nodes.len())
    }

    /// Whether all nodes that archived a period computed the same root.
    pub fn roots_agree(&self) -> bool {
        self.periods.values().all(|period| period.roots_agree)
    }

    /// The fewest and the most nodes that hold a chunk; zeros where there is none.
    pub fn replicas(&self) -> (usize, usize) {
        let replicas = || self.periods.values().map(PeriodSurvey::replicas);
        let min = replicas().map(|(min, _)| min).min();
        let max = replicas().map(|(_, max)| max).max();
        (min.unwrap_or(0), max.unwrap_or(0))
    }

    /// Chunks that each node holds, by its name.
    pub fn chunks_per_node(&self) -> BTreeMap<String, u64> {
        let held = |node| self.periods.values().map(|period| period.held_by(node) as u64).sum();
        let nodes = self.nodes.iter().enumerate();
        nodes.map(|(node, name)| (name.clone(), held(node))).collect()
    }

    /// Sum of a figure over the periods.
    pub fn sum(&self, figure: impl Fn(&PeriodSurvey) -> u64) -> u64 {
        self.periods.values().map(figure).sum()
    }

    /// Why the range is not archived on all nodes with one root and at least `replicas` holders of each chunk. Empty if it
    /// is.
    pub fn problems(&self, replicas: usize) -> Vec<String> {
        let mut problems = Vec::new();
        push_some(
            &mut problems,
            (self.first..=self.last).filter_map(|period| self.unarchived(period)),
        );
        let differ = self.periods.iter().filter(|(_, survey)| !survey.roots_agree);
        push_some(
            &mut problems,
            differ.map(|(period, _)| format!("nodes have different roots of period {period}")),
        );
        let few = self.periods.iter().flat_map(|(period, survey)| {
            let chunks = survey.chunks.iter().enumerate();
            let few = chunks.filter(move |(_, chunk)| chunk.held_by.len() < replicas);
            few.map(move |(index, chunk)| {
                let held = chunk.held_by.len();
                format!("chunk {index} of period {period} is held by {held} nodes, {replicas} are needed")
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
    use massa_models::node::NodeId;
    use massa_signature::KeyPair;

    /// A view of a node that archived `periods`, each with the root byte given, and holds those of two chunks.
    pub(crate) fn view(name: &str, periods: &[(u64, u8)], held: [bool; 2]) -> NodeView {
        let node = NodeId::new(KeyPair::generate(0).unwrap().get_public_key());
        let period = |(period, root): &(u64, u8)| StoragePeriod {
            period: *period,
            root: PeriodRoot::from_bytes([*root; 32]),
            blocks: 3,
            misses: 1,
            chunks: 2,
            chunks_held: 0,
            bytes: 100_000,
            segment: 0,
            lost: false,
        };
        let chunk = |period: u64, index: u32| StorageChunk {
            period,
            chunk: index,
            chunk_id: ChunkId::from_bytes([index as u8; 32]),
            length: 50_000,
            held: held[index as usize],
            assigned_here: true,
            holders: vec![node],
        };
        let chunks = periods
            .iter()
            .flat_map(|(period, _)| [chunk(*period, 0), chunk(*period, 1)]);
        NodeView {
            name: name.into(),
            periods: periods.iter().map(|entry| (entry.0, period(entry))).collect(),
            chunks: chunks.map(|chunk| ((chunk.period, chunk.chunk), chunk)).collect(),
        }
    }

    #[test]
    fn a_range_that_all_nodes_archived_and_hold_has_no_problems() {
        let views = ["a", "b", "c"].map(|name| view(name, &[(1, 7), (2, 8)], [true, true]));
        let survey = Survey::new(&views, 1, 2);
        assert_eq!(survey.problems_of_assignment(3), [""; 0]);
        assert_eq!(survey.replicas(), (3, 3));
        assert_eq!(survey.chunks_per_node()["b"], 4);
        assert_eq!(survey.sum(|period| period.blocks), 6);
    }

    #[test]
    fn a_period_that_one_node_has_not_archived_yet_is_told() {
        let views = [view("a", &[(1, 7), (2, 8)], [true; 2]), view("b", &[(1, 7)], [true; 2])];
        let survey = Survey::new(&views, 1, 3);
        assert!(survey.is_archived_everywhere(1) && !survey.is_archived_everywhere(2));
        let problems = survey.problems(1);
        assert_eq!(
            problems,
            [
                "period 2 is archived by 1 of 2 nodes",
                "period 3 is archived by 0 of 2 nodes"
            ]
        );
    }

    #[test]
    fn different_roots_are_told() {
        let views = [view("a", &[(1, 7)], [true; 2]), view("b", &[(1, 8)], [true; 2])];
        let survey = Survey::new(&views, 1, 1);
        assert!(!survey.roots_agree());
        assert_eq!(survey.problems(2), ["nodes have different roots of period 1"]);
    }

    #[test]
    fn a_chunk_with_too_few_holders_is_told_and_so_is_who_lacks_it() {
        let views = [view("a", &[(1, 7)], [true, false]), view("b", &[(1, 7)], [true, true])];
        let survey = Survey::new(&views, 1, 1);
        assert_eq!(survey.replicas(), (1, 2));
        assert_eq!(
            survey.problems(2),
            ["chunk 1 of period 1 is held by 1 nodes, 2 are needed"]
        );
        let told = survey.problems_of_assignment(1);
        assert_eq!(told, ["a lacks 1 chunks that are assigned to it"]);
    }

    #[test]
    fn another_chunk_at_the_same_position_is_no_replica() {
        let mut other = view("b", &[(1, 7)], [true; 2]);
        other.chunks.get_mut(&(1, 0)).unwrap().chunk_id = ChunkId::from_bytes([9; 32]);
        let survey = Survey::new(&[view("a", &[(1, 7)], [true; 2]), other], 1, 1);
        assert_eq!(survey.replicas(), (1, 2));
    }

    #[test]
    fn a_long_list_of_problems_is_cut() {
        let survey = Survey::new(&[view("a", &[], [true; 2])], 0, 99);
        let problems = survey.problems(1);
        assert_eq!(problems.len(), PROBLEMS_MAX + 1);
        assert_eq!(problems.last().unwrap(), "and 95 more like it");
    }
}
