//! The report of a run, and what is judged by it.

use crate::readback::{Failure, ReadBack};
use crate::registry::RegistryView;
use crate::state::StateAgreement;
use crate::survey::Survey;
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
    /// Periods that all nodes archived, among those that were asked for.
    pub periods_archived: u64,
    /// The first of the periods that were asked for.
    pub first_period: u64,
    /// The last one.
    pub last_period: u64,
    /// Their blocks.
    pub blocks: u64,
    /// Operations of the blocks that were read back.
    pub operations: u64,
    /// Missed slots.
    pub misses: u64,
    /// Bytes of the period bodies.
    pub archive_bytes: u64,
    /// Chunks.
    pub chunks: u64,
    /// Whether all nodes computed the same root of each period.
    pub roots_agree: bool,
    /// The fewest nodes that hold a chunk.
    pub replicas_min: usize,
    /// The most nodes that hold a chunk.
    pub replicas_max: usize,
    /// Chunks that each node holds.
    pub chunks_per_node: BTreeMap<String, u64>,
    /// Blocks fetched over RPC and verified down to signatures.
    pub blocks_read_back: u64,
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
}

/// What nodes say of the chain's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChainView {
    /// Of the registry.
    pub registry: RegistryView,
    /// Of the whole state.
    pub states: StateAgreement,
}

impl Report {
    /// The report of a network, of what its nodes say, and of what was read back.
    pub fn new(genesis: &Genesis, survey: &Survey, read: &ReadBack, chain: &ChainView) -> Self {
        let everywhere = |period: &u64| survey.is_archived_everywhere(*period);
        let (replicas_min, replicas_max) = survey.replicas();
        Self {
            nodes: survey.nodes.len(),
            threads: genesis.thread_count,
            t0_ms: genesis.t0.as_millis(),
            replication_factor: genesis.storage.replication_factor,
            periods_archived: (survey.first..=survey.last).filter(everywhere).count() as u64,
            first_period: survey.first,
            last_period: survey.last,
            blocks: survey.sum(|period| period.blocks),
            operations: read.operations,
            misses: survey.sum(|period| period.misses),
            archive_bytes: survey.sum(|period| period.bytes),
            chunks: survey.sum(|period| period.chunks.len() as u64),
            roots_agree: survey.roots_agree(),
            replicas_min,
            replicas_max,
            chunks_per_node: survey.chunks_per_node(),
            blocks_read_back: read.blocks,
            blocks_failed: read.failures.len() as u64,
            registry_address: chain.registry.address,
            registered_nodes: chain.registry.registered_nodes,
            state_hash_agrees: chain.states.agrees(),
            state_slots_compared: chain.states.slots,
        }
    }

    /// Why the run failed. Empty if all is archived with one root, replicated, and was read back and verified.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let asked = self.last_period - self.first_period + 1;
        if self.periods_archived < asked {
            problems.push(format!(
                "{} of {asked} periods are archived on all nodes",
                self.periods_archived
            ));
        }
        if !self.roots_agree {
            problems.push("nodes computed different roots".into());
        }
        let needed = usize::from(self.replication_factor);
        if self.replicas_min < needed {
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
        problems.extend(self.chain_problems());
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
            periods_archived: 12,
            first_period: 0,
            last_period: 11,
            blocks: 380,
            operations: 1_000,
            misses: 4,
            archive_bytes: 5_000_000,
            chunks: 80,
            roots_agree: true,
            replicas_min: 3,
            replicas_max: 3,
            chunks_per_node: BTreeMap::from([("node1".into(), 60)]),
            blocks_read_back: 380,
            blocks_failed: 0,
            registry_address: Some("AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy".parse().unwrap()),
            registered_nodes: 4,
            state_hash_agrees: true,
            state_slots_compared: 9,
        }
    }

    #[test]
    fn a_run_in_which_everything_is_archived_replicated_and_verified_has_no_problems() {
        assert_eq!(good().problems(), [""; 0]);
    }

    #[test]
    fn each_condition_of_a_good_run_is_judged() {
        type Change = fn(&mut Report);
        let worse: [(&str, Change); 8] = [
            ("11 of 12 periods", |report| report.periods_archived = 11),
            ("different roots", |report| report.roots_agree = false),
            ("2 replicas, 3 are needed", |report| report.replicas_min = 2),
            ("1 blocks or misses", |report| report.blocks_failed = 1),
            ("379 of 380 blocks", |report| report.blocks_read_back = 379),
            ("follow one registry", |report| report.registry_address = None),
            ("3 of 4 nodes are registered", |report| report.registered_nodes = 3),
            ("different final states", |report| report.state_hash_agrees = false),
        ];
        for (text, change) in worse {
            let mut report = good();
            change(&mut report);
            let problems = report.problems();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].contains(text), "{problems:?}");
        }
    }

    #[test]
    fn the_file_has_the_fields_that_were_promised_in_their_order() {
        let text = serde_json::to_string(&good()).unwrap();
        let names = text.split('"').skip(1).step_by(2).collect::<Vec<_>>();
        assert_eq!(
            names,
            [
                "nodes",
                "threads",
                "t0_ms",
                "replication_factor",
                "periods_archived",
                "first_period",
                "last_period",
                "blocks",
                "operations",
                "misses",
                "archive_bytes",
                "chunks",
                "roots_agree",
                "replicas_min",
                "replicas_max",
                "chunks_per_node",
                "node1",
                "blocks_read_back",
                "blocks_failed",
                "registry_address",
                "AS12UMSUxgpRBB6ArZDJ19arHoxNkkpdfofQGekAiAJqsuE6PEFJy",
                "registered_nodes",
                "state_hash_agrees",
                "state_slots_compared"
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
