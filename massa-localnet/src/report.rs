//! The report of a run, and what is judged by it.

use crate::readback::{Failure, ReadBack};
use crate::registry::RegistryView;
use crate::rounds::RoundTotals;
use crate::soak::{NodeUsage, Soak};
use crate::state::StateAgreement;
use crate::survey::{SegmentSurvey, Survey};
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::address::Address;
use massa_node::genesis::Genesis;
use serde::Serialize;
use std::collections::BTreeMap;

/// Failures that are told one by one.
const FAILURES_TOLD: usize = 5;

/// What a run archived. The field names are those of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nodes of the network.
    pub nodes: usize,
    /// Threads.
    pub threads: u8,
    /// Milliseconds of a period.
    pub t0_ms: u64,
    /// Nodes that each chunk is assigned to.
    pub replication_factor: u8,
    /// Periods of a segment.
    pub segment_periods: u64,
    /// Segments of a round.
    pub round_segments: u64,
    /// Periods that all nodes archived, among those that were asked for.
    pub periods_archived: u64,
    /// The first of the periods that were asked for.
    pub first_period: u64,
    /// The last one.
    pub last_period: u64,
    /// Their blocks, as proofs say.
    pub blocks: u64,
    /// Operations of the blocks that were read back.
    pub operations: u64,
    /// Missed slots.
    pub misses: u64,
    /// Bytes of the periods.
    pub archive_bytes: u64,
    /// Segments of which all periods were asked for.
    pub segments_over: u64,
    /// Those of them that all nodes closed.
    pub segments_closed: u64,
    /// Chunks of closed segments.
    pub chunks: u64,
    /// Whether all nodes computed the same root of each period and each segment.
    pub roots_agree: bool,
    /// The fewest nodes that hold a chunk of a closed segment.
    pub replicas_min: usize,
    /// The most nodes that hold one.
    pub replicas_max: usize,
    /// Chunks of closed segments that each node holds.
    pub chunks_per_node: BTreeMap<String, u64>,
    /// Each segment that has one of the periods.
    pub segments: Vec<SegmentReport>,
    /// Blocks fetched over RPC and verified down to signatures.
    pub blocks_read_back: u64,
    /// Those of them that were fetched from a node that does not hold the chunk in which they begin.
    pub blocks_not_held: u64,
    /// Blocks and missed slots that could not be fetched or verified.
    pub blocks_failed: u64,
    /// The registry that all nodes follow.
    pub registry_address: Option<Address>,
    /// Nodes that are registered, as every node sees it.
    pub registered_nodes: u64,
    /// Whether all nodes have the same final state after every slot that was compared.
    pub state_hash_agrees: bool,
    /// Slots that were compared.
    pub state_slots_compared: usize,
    /// What the rounds of proofs came to.
    #[serde(flatten)]
    pub rounds: RoundsReport,
}

/// A segment. The field names are those of the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SegmentReport {
    /// Its number.
    pub segment: u64,
    /// Its first period.
    pub first_period: u64,
    /// Its periods; of an open one, those that are complete.
    pub periods: u64,
    /// `open`, `closing` (on some nodes), `closed` or `anchored` (on all).
    pub state: &'static str,
    /// Its root, once a node closed it.
    pub root: Option<SegmentRoot>,
    /// Bytes of its body.
    pub bytes: u64,
    /// Its chunks; 0 while a node has it open.
    pub chunks: usize,
    /// The fewest nodes that hold a chunk.
    pub replicas_min: usize,
    /// The most nodes that hold one.
    pub replicas_max: usize,
}

impl SegmentReport {
    fn new(segment: u64, surveyed: &SegmentSurvey, nodes: usize) -> Self {
        let (replicas_min, replicas_max) = surveyed.replicas();
        Self {
            segment,
            first_period: surveyed.first_period,
            periods: surveyed.periods,
            state: surveyed.state(nodes),
            root: surveyed.root,
            bytes: surveyed.bytes,
            chunks: surveyed.chunks.len(),
            replicas_min,
            replicas_max,
        }
    }
}

/// What the rounds of proofs came to, of those that are settled. The field names are those of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RoundsReport {
    /// Segments with an accepted root.
    pub segments_anchored: u64,
    /// Rounds with an accepted beacon.
    pub rounds_counted: u64,
    /// Rounds without.
    pub rounds_void: u64,
    /// Draws of all claims.
    pub draws: u64,
    /// Draws answered correctly.
    pub draws_passed: u64,
    /// The others: missing, late or refused.
    pub draws_failed: u64,
    /// Draws that were answered, and refused.
    pub answers_refused: u64,
    /// What the registry credited.
    pub rewards_credited_nano: u64,
    /// What it had to credit, computed from claims, rate and pool.
    pub rewards_expected_nano: u64,
    /// What nodes took out.
    pub claimed_nano: i128,
    /// Whether every operator's coins changed by what it claimed less fees and deposits.
    pub wallet_deltas_match: bool,
    /// What is wrong in detail.
    #[serde(skip)]
    pub details: Vec<String>,
}

impl RoundsReport {
    /// From what the rounds came to, and what of the wallets is not explained.
    pub fn new(totals: RoundTotals, unexplained: Vec<String>) -> Self {
        let wallet_deltas_match = unexplained.is_empty();
        Self {
            segments_anchored: totals.segments_anchored,
            rounds_counted: totals.rounds_counted,
            rounds_void: totals.rounds_void,
            draws: totals.draws,
            draws_passed: totals.draws_passed,
            draws_failed: totals.draws - totals.draws_passed.min(totals.draws),
            answers_refused: totals.answers_refused,
            rewards_credited_nano: totals.rewards_credited_nano,
            rewards_expected_nano: totals.rewards_expected_nano,
            claimed_nano: totals.claimed_nano,
            wallet_deltas_match,
            details: totals.problems.into_iter().chain(unexplained).collect(),
        }
    }

    /// Why the rounds of an honest network are not good, one line for each check. `rounds_needed` have to count.
    pub fn problems(&self, rounds_needed: u64) -> Vec<String> {
        let (credited, expected) = (self.rewards_credited_nano, self.rewards_expected_nano);
        let checks = [
            (
                self.rounds_counted < rounds_needed,
                format!("{} of {rounds_needed} rounds counted", self.rounds_counted),
            ),
            (self.rounds_void > 0, format!("{} rounds are void", self.rounds_void)),
            (
                self.draws_failed > 0,
                format!("{} of {} draws failed", self.draws_failed, self.draws),
            ),
            (
                self.answers_refused > 0,
                format!("{} answers were refused", self.answers_refused),
            ),
            (
                credited != expected,
                format!("{credited} nano were credited, expected are {expected}"),
            ),
            (
                rounds_needed > 0 && self.claimed_nano <= 0,
                "no rewards were claimed".to_owned(),
            ),
            (
                !self.wallet_deltas_match,
                "coins of operators did not change by what they claimed less fees and deposits".to_owned(),
            ),
        ];
        let failed = checks.into_iter().filter_map(|(failed, line)| failed.then_some(line));
        failed.chain(self.details.iter().take(FAILURES_TOLD).cloned()).collect()
    }
}

/// The report of a long run. The field names are those of the file.
#[derive(Clone, Debug, Serialize)]
pub struct SoakReport {
    /// Minutes that it took.
    pub minutes: u64,
    /// Threads.
    pub threads: u8,
    /// Milliseconds of a period.
    pub t0_ms: u64,
    /// What the rounds of proofs came to.
    #[serde(flatten)]
    pub rounds: RoundsReport,
    /// Memory and disks.
    pub nodes: Vec<NodeUsage>,
}

impl SoakReport {
    /// The report of a network of this genesis.
    pub fn new(minutes: u64, genesis: &Genesis, rounds: RoundsReport, soak: &Soak) -> Self {
        Self {
            minutes,
            threads: genesis.thread_count,
            t0_ms: genesis.t0.as_millis(),
            rounds,
            nodes: soak.nodes().to_vec(),
        }
    }
}

/// What nodes say of the chain's state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChainView {
    /// Of the registry.
    pub registry: RegistryView,
    /// Of the whole state.
    pub states: StateAgreement,
    /// Of the rounds.
    pub rounds: RoundsReport,
}

impl Report {
    /// The report of a network, of what its nodes say, and of what was read back.
    pub fn new(genesis: &Genesis, survey: &Survey, read: &ReadBack, chain: &ChainView) -> Self {
        let everywhere = |period: &u64| survey.is_archived_everywhere(*period);
        let (replicas_min, replicas_max) = survey.replicas();
        let nodes = survey.nodes.len();
        let over = || survey.span.whole_segments();
        let closed = over().filter(|segment| survey.is_closed_everywhere(*segment));
        let segment = |(segment, surveyed): (&u64, &SegmentSurvey)| SegmentReport::new(*segment, surveyed, nodes);
        Self {
            nodes,
            threads: genesis.thread_count,
            t0_ms: genesis.t0.as_millis(),
            replication_factor: genesis.storage.replication_factor,
            segment_periods: genesis.storage.challenge_frequency_periods,
            round_segments: genesis.storage.round_segments,
            periods_archived: (survey.span.first..=survey.span.last).filter(everywhere).count() as u64,
            first_period: survey.span.first,
            last_period: survey.span.last,
            blocks: read.blocks_proven,
            operations: read.operations,
            misses: read.misses_proven,
            archive_bytes: survey.bytes(),
            segments_over: over().count() as u64,
            segments_closed: closed.count() as u64,
            chunks: survey.chunks(),
            roots_agree: survey.roots_agree(),
            replicas_min,
            replicas_max,
            chunks_per_node: survey.chunks_per_node(),
            segments: survey.segments.iter().map(segment).collect(),
            blocks_read_back: read.blocks,
            blocks_not_held: read.fetched,
            blocks_failed: read.failures.len() as u64,
            registry_address: chain.registry.address,
            registered_nodes: chain.registry.registered_nodes,
            state_hash_agrees: chain.states.agrees(),
            state_slots_compared: chain.states.slots,
            rounds: chain.rounds.clone(),
        }
    }

    /// Why the run failed. Empty if all is archived with one root, segments that are over are closed and replicated, all was read
    /// back and verified, and `rounds_needed` rounds at least were counted and paid as they had to be.
    pub fn problems(&self, rounds_needed: u64) -> Vec<String> {
        let mut problems = Vec::new();
        let asked = self.last_period - self.first_period + 1;
        if self.periods_archived < asked {
            problems.push(format!(
                "{} of {asked} periods are archived on all nodes",
                self.periods_archived
            ));
        }
        if self.segments_closed < self.segments_over {
            let (closed, over) = (self.segments_closed, self.segments_over);
            problems.push(format!("{closed} of {over} segments are closed on all nodes"));
        }
        if !self.roots_agree {
            problems.push("nodes computed different roots".into());
        }
        let needed = usize::from(self.replication_factor);
        if self.chunks > 0 && self.replicas_min < needed {
            problems.push(format!(
                "a chunk has {} replicas, {needed} are needed",
                self.replicas_min
            ));
        }
        if self.blocks_failed > 0 {
            problems.push(format!(
                "{} blocks or misses could not be read or verified",
                self.blocks_failed
            ));
        }
        if self.blocks_read_back != self.blocks && self.blocks_failed == 0 {
            problems.push(format!(
                "{} of {} blocks were read back",
                self.blocks_read_back, self.blocks
            ));
        }
        if self.nodes > needed && self.segments_closed > 1 && self.blocks_not_held == 0 {
            problems.push("no block was read back from a node that does not hold it".into());
        }
        problems.extend(self.chain_problems());
        problems.extend(self.rounds.problems(rounds_needed));
        problems
    }

    fn chain_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.registry_address.is_none() {
            problems.push("the nodes do not follow one registry".into());
        }
        if self.registered_nodes < self.nodes as u64 {
            problems.push(format!(
                "{} of {} nodes are registered",
                self.registered_nodes, self.nodes
            ));
        }
        if !self.state_hash_agrees {
            problems.push(match self.state_slots_compared {
                0 => "nodes told the hash of no final state in common".into(),
                _ => "nodes have different final states".into(),
            });
        }
        problems
    }
}

/// What could not be read, in some lines.
pub fn failure_lines(failures: &[Failure]) -> Vec<String> {
    let line = |failure: &Failure| format!("slot {} from {}: {}", failure.slot, failure.node, failure.reason);
    let mut lines: Vec<String> = failures.iter().take(FAILURES_TOLD).map(line).collect();
    if failures.len() > FAILURES_TOLD {
        lines.push(format!("and {} more", failures.len() - FAILURES_TOLD));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::slot::Slot;

    fn good() -> Report {
        Report {
            nodes: 4,
            threads: 32,
            t0_ms: 1_920,
            replication_factor: 3,
            segment_periods: 4,
            round_segments: 5,
            periods_archived: 12,
            first_period: 0,
            last_period: 11,
            blocks: 380,
            operations: 1_000,
            misses: 4,
            archive_bytes: 5_000_000,
            segments_over: 3,
            segments_closed: 3,
            chunks: 80,
            roots_agree: true,
            replicas_min: 3,
            replicas_max: 3,
            chunks_per_node: BTreeMap::from([("node1".into(), 60)]),
            segments: vec![SegmentReport {
                segment: 0,
                first_period: 0,
                periods: 4,
                state: "anchored",
                root: Some(SegmentRoot::from_bytes([1; 32])),
                bytes: 1_700_000,
                chunks: 26,
                replicas_min: 3,
                replicas_max: 3,
            }],
            blocks_read_back: 380,
            blocks_not_held: 90,
            blocks_failed: 0,
            registry_address: Some("AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy".parse().unwrap()),
            registered_nodes: 4,
            state_hash_agrees: true,
            state_slots_compared: 9,
            rounds: RoundsReport {
                segments_anchored: 4,
                rounds_counted: 2,
                draws: 32,
                draws_passed: 32,
                rewards_credited_nano: 7,
                rewards_expected_nano: 7,
                claimed_nano: 7,
                wallet_deltas_match: true,
                ..RoundsReport::default()
            },
        }
    }

    #[test]
    fn a_run_in_which_everything_is_archived_replicated_and_verified_has_no_problems() {
        assert_eq!(good().problems(2), [""; 0]);
    }

    #[test]
    fn each_condition_of_a_good_run_is_judged() {
        type Change = fn(&mut Report);
        let worse: [(&str, Change); 17] = [
            ("11 of 12 periods", |report| report.periods_archived = 11),
            ("2 of 3 segments are closed", |report| report.segments_closed = 2),
            ("different roots", |report| report.roots_agree = false),
            ("2 replicas, 3 are needed", |report| report.replicas_min = 2),
            ("1 blocks or misses", |report| report.blocks_failed = 1),
            ("379 of 380 blocks", |report| report.blocks_read_back = 379),
            ("does not hold it", |report| report.blocks_not_held = 0),
            ("follow one registry", |report| report.registry_address = None),
            ("3 of 4 nodes are registered", |report| report.registered_nodes = 3),
            ("different final states", |report| report.state_hash_agrees = false),
            ("1 of 2 rounds counted", |report| report.rounds.rounds_counted = 1),
            ("1 rounds are void", |report| report.rounds.rounds_void = 1),
            ("3 of 32 draws failed", |report| report.rounds.draws_failed = 3),
            ("1 answers were refused", |report| report.rounds.answers_refused = 1),
            ("6 nano were credited, expected are 7", |report| {
                report.rounds.rewards_credited_nano = 6
            }),
            ("no rewards were claimed", |report| report.rounds.claimed_nano = 0),
            ("coins of operators", |report| report.rounds.wallet_deltas_match = false),
        ];
        for (text, change) in worse {
            let mut report = good();
            change(&mut report);
            let problems = report.problems(2);
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(text), "{problems:?}");
        }
    }

    #[test]
    fn the_file_has_the_fields_that_were_promised_in_their_order() {
        let text = serde_json::to_string(&good()).unwrap();
        let root = "01".repeat(32);
        let names = text.split('"').skip(1).step_by(2).collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                "nodes",
                "threads",
                "t0_ms",
                "replication_factor",
                "segment_periods",
                "round_segments",
                "periods_archived",
                "first_period",
                "last_period",
                "blocks",
                "operations",
                "misses",
                "archive_bytes",
                "segments_over",
                "segments_closed",
                "chunks",
                "roots_agree",
                "replicas_min",
                "replicas_max",
                "chunks_per_node",
                "node1",
                "segments",
                "segment",
                "first_period",
                "periods",
                "state",
                "anchored",
                "root",
                &root,
                "bytes",
                "chunks",
                "replicas_min",
                "replicas_max",
                "blocks_read_back",
                "blocks_not_held",
                "blocks_failed",
                "registry_address",
                "AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy",
                "registered_nodes",
                "state_hash_agrees",
                "state_slots_compared",
                "segments_anchored",
                "rounds_counted",
                "rounds_void",
                "draws",
                "draws_passed",
                "draws_failed",
                "answers_refused",
                "rewards_credited_nano",
                "rewards_expected_nano",
                "claimed_nano",
                "wallet_deltas_match"
            ]
        );
    }

    #[test]
    fn only_the_first_failures_are_told() {
        let failure = Failure {
            slot: Slot::new(1, 2),
            node: "node1".into(),
            reason: "gone".into(),
        };
        let lines = failure_lines(&vec![failure; 7]);
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[5], "and 2 more");
    }
}
