//! What others sent for the open round, read from final blocks: false claims that this node can see are refuted.
//!
//! Each answer is scored once ([`SegmentWatch`]), so many in a tick. Whether the registry took it as passed, and whether the claim
//! is refuted already, is looked at when one is to be sent.

use crate::challenge::jury::Jury;
use crate::challenge::refutation::{Bench, Refutation};
use crate::challenge::segment_answer::SegmentAnswer;
use crate::challenge::sums::Claim;
use crate::challenge::Reason;
use crate::repair::assigned::SharedAssigned;
use crate::replication::placement_score;
use crate::rounds::decide::Snapshot;
use crate::rounds::segment_watch::{Court, Scored, SegmentWatch};
use crate::rounds::RoundTimes;
use crate::smart_contract::state::NodeRecord;
use crate::smart_contract::storage_registry::parse_submission_answers;
use massa_distributed_storage_exports::verification::parse_secure_share_operation;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::address::Address;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationType;
use std::collections::BTreeMap;

/// Hashes that scoring may cost in a tick: 5 ms.
const HASHES: u64 = 25_000;

/// A final block, as far as the rounds need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalContent {
    /// Its id.
    pub id: BlockId,
    /// `SecureShareOperation` bytes of its operations.
    pub operations: Vec<Vec<u8>>,
}

/// Whose answers in which blocks are read.
#[derive(Clone, Copy, Debug)]
pub struct Watched {
    /// The chain.
    pub chain_id: u64,
    /// The registry.
    pub registry: Address,
    /// This node's answers are left out.
    pub own: Address,
}

/// The answers of others.
#[derive(Debug, Default)]
pub struct Watch {
    /// Periods below it were read.
    next_period: u64,
    seen: SegmentWatch,
    juries: BTreeMap<u64, Jury>,
    /// What nodes claimed for the rounds of the juries.
    claims: BTreeMap<(u64, Address), Claim>,
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
    pub fn read(&mut self, blocks: Option<&[Option<FinalContent>]>, watched: &Watched) {
        self.next_period += 1;
        for block in blocks.unwrap_or_default().iter().flatten() {
            for operation in &block.operations {
                let Some((node, round, answers)) = answers_of(operation, watched) else {
                    continue;
                };
                for answer in answers.iter().filter_map(|bytes| SegmentAnswer::from_bytes(bytes).ok()) {
                    self.seen.saw(node, round, &answer);
                }
            }
        }
    }

    /// Whether there is nothing to score and nothing to send.
    pub fn is_idle(&mut self, times: RoundTimes) -> bool {
        let oldest = times.round.saturating_sub(1);
        self.seen.waiting() == 0 && self.seen.refutations(oldest).next().is_none()
    }

    /// Answers that wait to be scored.
    pub fn waiting(&self) -> usize {
        self.seen.waiting()
    }

    /// Takes in the nodes as they are in a final state: who may be shown against a claim.
    pub fn set_nodes(&mut self, snapshot: &Snapshot, nodes: &[NodeRecord], times: RoundTimes) {
        let rounds = times.round.saturating_sub(1)..=times.round;
        let claimed = rounds.clone().flat_map(|round| {
            let claims = nodes
                .iter()
                .filter_map(move |node| Some((node.address, node.claim_of(round)?)));
            claims.map(move |(node, claim)| {
                let (root, leaves) = (claim.root, claim.leaves);
                ((round, node), Claim { root, leaves })
            })
        });
        self.claims = claimed.collect();
        let juries = rounds.filter_map(|round| Some((round, Jury::new(bench(snapshot, nodes, round)?, round))));
        self.juries = juries.collect();
    }

    /// Scores answers, as many as a tick may.
    pub fn score(&mut self, assigned: &SharedAssigned) -> Scored {
        let assigned = assigned.read();
        let placement = assigned.placement();
        let nodes = placement.nodes().nodes.nodes();
        // The worst of those that count holds the chunk under the set of now. Where that was another one in the round of the answer
        // a false claim may go unseen; nobody is accused by it.
        let worst_holder = |_: u64, position: ChunkPosition, chunk: &ChunkId| {
            let worst = *placement.counting_holders(position)?.last()?;
            let node = nodes.get(worst)?;
            placement_score(chunk, &node.placement_key, node.allocated_storage_gb)
        };
        let claims = &self.claims;
        let is_claimed = |node: &Address, round: u64, answer: &SegmentAnswer| {
            let claim = claims.get(&(round, *node));
            claim.is_some_and(|claim| answer.before_under(claim).is_some())
        };
        let court = Court {
            juries: &self.juries,
            worst_holder: &worst_holder,
            is_claimed: &is_claimed,
        };
        self.seen.score(&court, HASHES)
    }

    /// The false claims that can be shown to the registry in the state of `snapshot`. What it would refuse is forgotten.
    pub fn refutations(&mut self, snapshot: &Snapshot, nodes: &[NodeRecord], times: RoundTimes) -> Vec<Refutation> {
        let oldest = times.round.saturating_sub(1);
        let found: Vec<Refutation> = self.seen.refutations(oldest).cloned().collect();
        let (shown, refused): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|refutation| is_shown(refutation, snapshot, nodes));
        for refutation in refused {
            self.seen.settle(refutation.round, refutation.node);
        }
        shown
    }
}

fn bench<'a>(snapshot: &'a Snapshot, nodes: &'a [NodeRecord], round: u64) -> Option<Bench<'a>> {
    Some(Bench {
        nodes,
        config: &snapshot.config,
        round: snapshot.rounds.get(&round)?,
    })
}

/// Whether the registry would take a refutation, and the answer it is made from passed: what did not shows nothing.
fn is_shown(refutation: &Refutation, snapshot: &Snapshot, nodes: &[NodeRecord]) -> bool {
    let Some(bench) = bench(snapshot, nodes, refutation.round) else {
        return false;
    };
    let accused = nodes.iter().find(|node| node.address == refutation.node);
    let claim = accused.and_then(|accused| accused.claim_of(refutation.round));
    let passed = claim.is_some_and(|claim| claim.draw_reasons.contains(&Reason::Passed.code()));
    let root = snapshot.accepted_roots.get(&refutation.exhibit.position.segment);
    passed && refutation.check(bench, root).is_ok()
}

/// Node, round and answers in an operation; nothing if it is no submission of somebody else to the registry.
fn answers_of(operation: &[u8], watched: &Watched) -> Option<(Address, u64, Vec<Vec<u8>>)> {
    let operation = parse_secure_share_operation(operation, watched.chain_id).ok()?;
    let OperationType::CallSC {
        target_addr,
        target_func,
        param,
        ..
    } = &operation.content.op
    else {
        return None;
    };
    if *target_addr != watched.registry || target_func != "submitProof" {
        return None;
    }
    let answers = parse_submission_answers(param).ok()?;
    (answers.0 != watched.own).then_some(answers)
}
