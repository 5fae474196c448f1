//! What came of audits: results, and what they say about each node.
//!
//! The store keeps a row for each, under its number ([`rows`]); here are the newest of them in memory, at most
//! [`MAX_RESULTS`] and none older than [`MAX_AGE`]. Rates are those of the results that are kept.

pub mod rows;

use massa_distributed_storage_exports::types::ChallengeId;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::node::NodeId;
use massa_time::MassaTime;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Results that are kept: with one audit every few minutes, months. About 2 MB on disk and in memory.
pub const MAX_RESULTS: usize = 10_000;
/// Results older than that are dropped.
pub const MAX_AGE: MassaTime = MassaTime::from_millis(180 * 24 * 3_600_000);
/// Characters of a reason that are kept.
pub const MAX_REASON_CHARS: usize = 200;

/// What a challenged node did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditOutcome {
    /// It showed the leaves.
    Passed,
    /// It showed the leaves, but each time so late that it may have fetched them: see
    /// [`super::plan::AuditLimits::time_allowance`].
    Slow,
    /// It says that it does not hold the chunk.
    NotHeld,
    /// It sent something else than the leaves.
    Wrong(String),
    /// It did not answer, was not reached, or had too much to do, each time.
    Unanswered(String),
}

impl AuditOutcome {
    /// Whether the node showed that it has the chunk, or at least the bytes of it.
    pub fn is_proven(&self) -> bool {
        matches!(self, Self::Passed | Self::Slow)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Slow => "slow",
            Self::NotHeld => "not held",
            Self::Wrong(_) => "wrong",
            Self::Unanswered(_) => "unanswered",
        }
    }

    /// Why it failed, where there is more to say.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Wrong(reason) | Self::Unanswered(reason) => Some(reason),
            Self::Passed | Self::Slow | Self::NotHeld => None,
        }
    }
}

/// One audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditResult {
    /// The challenge, the first of them if it was asked again.
    pub challenge_id: ChallengeId,
    /// When it ended.
    pub at: MassaTime,
    /// Who was challenged.
    pub node: NodeId,
    /// Position of the chunk.
    pub position: ChunkPosition,
    /// The chunk.
    pub chunk_id: ChunkId,
    /// Whether an operator asked for it.
    pub by_hand: bool,
    /// Whether the chunk was assigned to the node. If not, not holding it is no failure.
    pub assigned: bool,
    /// What the node did.
    pub outcome: AuditOutcome,
    /// Time to the last proof, in milliseconds.
    pub elapsed_ms: Option<u32>,
    /// Time to the answer of a small request before it, in milliseconds.
    pub round_trip_ms: Option<u32>,
}

impl AuditResult {
    /// Whether it counts for or against the node.
    pub fn counts(&self) -> bool {
        self.assigned || self.outcome.is_proven() || matches!(self.outcome, AuditOutcome::Wrong(_))
    }

    /// Whether the node failed.
    pub fn has_failed(&self) -> bool {
        self.counts() && !self.outcome.is_proven()
    }
}

/// What audits say about a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAudits {
    /// The node.
    pub node: NodeId,
    /// Audits that count.
    pub counted: u64,
    /// Of those, the ones in which it showed the leaves.
    pub passed: u64,
    /// Of those, the ones in which it was slow each time.
    pub slow: u64,
    /// The last audit that counts was failed or slow.
    pub alarm: bool,
    /// When that was.
    pub last: MassaTime,
}

impl NodeAudits {
    /// Passed of 100, rounded down: 100 means that nothing failed.
    pub fn success_percent(&self) -> u64 {
        // Every entry counts at least one audit.
        self.passed * 100 / self.counted.max(1)
    }
}

/// Results in ascending order, each with the number that the store keeps it under.
#[derive(Clone, Debug, Default)]
pub struct AuditHistory {
    results: VecDeque<(u64, AuditResult)>,
    next: u64,
}

/// What a new result changes in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryChange {
    /// Number of the new result.
    pub number: u64,
    /// The new result.
    pub result: AuditResult,
    /// Results with these numbers are dropped.
    pub dropped: Range<u64>,
}

impl AuditHistory {
    /// What a store kept, in ascending order of the numbers.
    pub fn new(results: Vec<(u64, AuditResult)>) -> Self {
        let next = results.last().map_or(0, |(number, _)| number + 1);
        let results = VecDeque::from(results);
        Self { results, next }
    }

    /// Adds a result and drops what is too old, or too much, by its time.
    pub fn push(&mut self, result: AuditResult) -> HistoryChange {
        let number = self.next;
        self.next += 1;
        let first = self.results.front().map_or(number, |(number, _)| *number);
        let oldest = result.at.saturating_sub(MAX_AGE);
        self.results.push_back((number, result.clone()));
        let is_over = |results: &VecDeque<(u64, AuditResult)>| {
            let first = results.front();
            results.len() > MAX_RESULTS || first.is_some_and(|(_, first)| first.at < oldest)
        };
        while is_over(&self.results) {
            self.results.pop_front();
        }
        let keep_from = self.results.front().map_or(number, |(number, _)| *number);
        HistoryChange {
            number,
            result,
            dropped: first..keep_from,
        }
    }

    /// Results, the newest first.
    pub fn newest(&self) -> impl Iterator<Item = &AuditResult> {
        self.results.iter().rev().map(|(_, result)| result)
    }

    /// When an operator last had this node challenged.
    pub fn last_by_hand(&self, node: &NodeId) -> Option<MassaTime> {
        let by_hand = |result: &&AuditResult| result.by_hand && result.node == *node;
        self.newest().find(by_hand).map(|result| result.at)
    }

    /// What the results say about each node, in the order of their ids.
    pub fn nodes(&self) -> Vec<NodeAudits> {
        let mut nodes: BTreeMap<NodeId, NodeAudits> = BTreeMap::new();
        for (_, result) in self.results.iter().filter(|(_, result)| result.counts()) {
            let entry = nodes.entry(result.node).or_insert_with(|| NodeAudits {
                node: result.node,
                counted: 0,
                passed: 0,
                slow: 0,
                alarm: false,
                last: result.at,
            });
            entry.counted += 1;
            entry.passed += u64::from(result.outcome.is_proven());
            entry.slow += u64::from(result.outcome == AuditOutcome::Slow);
            entry.alarm = result.outcome != AuditOutcome::Passed;
            entry.last = result.at;
        }
        nodes.into_values().collect()
    }

    /// What the results say about one node.
    pub fn node(&self, node: &NodeId) -> Option<NodeAudits> {
        self.nodes().into_iter().find(|audits| audits.node == *node)
    }
}
