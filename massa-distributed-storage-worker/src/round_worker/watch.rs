//! What others sent for the open round, read from final blocks: false claims that this node can see are refuted.
//!
//! A claim is a root; only the answers to its draws show chunks. So a false claim is seen when one of its false chunks is drawn.

use crate::challenge::refutation::{Bench, Refutation};
use crate::challenge::{Answer, Reason};
use crate::rounds::RoundTimes;
use crate::rounds::Snapshot;
use crate::smart_contract::state::NodeRecord;
use crate::smart_contract::storage_registry::parse_submission_answers;
use massa_distributed_storage_exports::verification::parse_secure_share_operation;
use massa_models::address::Address;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationType;
use std::collections::BTreeMap;

/// Answers of others that are remembered: those of the open round and the one before.
const ANSWERS_MAX: usize = 1 << 14;

/// A final block, as far as the rounds need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalContent {
    /// Its id.
    pub id: BlockId,
    /// `SecureShareOperation` bytes of its operations.
    pub operations: Vec<Vec<u8>>,
}

/// An answer that somebody gave.
#[derive(Clone, Debug)]
struct SeenAnswer {
    node: Address,
    round: u64,
    answer: Answer,
}

/// The answers of others.
#[derive(Debug, Default)]
pub struct Watch {
    /// Periods below it were read.
    next_period: u64,
    answers: Vec<SeenAnswer>,
}

impl Watch {
    /// The period to read next, if it is in a window of answers that still matters and final by `period`.
    pub fn wants(&mut self, period: u64, times: RoundTimes) -> Option<u64> {
        let first = RoundTimes {
            round: times.round.saturating_sub(1),
            ..times
        };
        self.next_period = self.next_period.max(first.window_opens());
        let of_next = RoundTimes::of_period(self.next_period, times.periods);
        if self.next_period < of_next.window_opens() {
            self.next_period = of_next.window_opens();
        } else if of_next.window_over(self.next_period) {
            self.next_period = of_next.next().window_opens();
        }
        (self.next_period <= period).then_some(self.next_period)
    }

    /// Takes in the blocks of the period that was asked for; `None` if they are not known any more.
    pub fn read(&mut self, blocks: Option<&[Option<FinalContent>]>, chain_id: u64, registry: &Address, own: &Address) {
        self.next_period += 1;
        for block in blocks.unwrap_or_default().iter().flatten() {
            for operation in &block.operations {
                let seen = answers_of(operation, chain_id, registry).unwrap_or_default();
                self.answers.extend(seen.into_iter().filter(|seen| seen.node != *own));
            }
        }
        let excess = self.answers.len().saturating_sub(ANSWERS_MAX);
        self.answers.drain(..excess);
    }

    /// The false claims that can be shown. One for each node and round: it forfeits everything at once.
    pub fn refutations(&mut self, snapshot: &Snapshot, nodes: &[NodeRecord], times: RoundTimes) -> Vec<Refutation> {
        let oldest = times.round.saturating_sub(1);
        self.answers.retain(|seen| seen.round >= oldest);
        let mut found: BTreeMap<(u64, Address), Refutation> = BTreeMap::new();
        for seen in &self.answers {
            if found.contains_key(&(seen.round, seen.node)) {
                continue;
            }
            if let Some(refutation) = refute(seen, snapshot, nodes, times.periods) {
                found.insert((seen.round, seen.node), refutation);
            }
        }
        found.into_values().collect()
    }

    /// Whether there is anything to look at.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

fn refute(seen: &SeenAnswer, snapshot: &Snapshot, nodes: &[NodeRecord], periods: u64) -> Option<Refutation> {
    let accused = nodes.iter().find(|node| node.address == seen.node)?;
    let claim = accused.claim_of(seen.round)?;
    // What the registry did not take as passed shows nothing.
    let passed = claim.draw_reasons.contains(&(Reason::Passed.code()));
    if claim.refuted || !passed {
        return None;
    }
    let bench = Bench {
        nodes,
        config: &snapshot.config,
        round: snapshot.rounds.get(&seen.round)?,
    };
    let refutation = Refutation::find(accused, seen.round, &seen.answer, bench)?;
    let root = snapshot.accepted_roots.get(&seen.answer.position.segment());
    refutation.check(bench, root, periods).ok()?;
    Some(refutation)
}

/// The answers in an operation; nothing if it is no submission to the registry by the node itself.
fn answers_of(operation: &[u8], chain_id: u64, registry: &Address) -> Option<Vec<SeenAnswer>> {
    let operation = parse_secure_share_operation(operation, chain_id).ok()?;
    let OperationType::CallSC {
        target_addr,
        target_func,
        param,
        ..
    } = &operation.content.op
    else {
        return None;
    };
    if target_addr != registry || target_func != "submitProof" {
        return None;
    }
    let (node, round, answers) = parse_submission_answers(param).ok()?;
    let answers = answers.into_iter().filter_map(|bytes| Answer::from_bytes(&bytes).ok());
    Some(answers.map(|answer| SeenAnswer { node, round, answer }).collect())
}
