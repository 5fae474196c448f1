//! What others sent for the open round, read from final blocks: false claims that this node can see are refuted.
//!
//! Each answer is scored once ([`SegmentWatch`]), so many in a tick. For what is found false, other nodes are asked to show that they
//! claim the chunk ([`Witnesses`]). Whether the registry would take the refutation is looked at when it is to be sent.

use crate::challenge::jury::Jury;
use crate::challenge::refutation::{Bench, Refutation};
use crate::challenge::segment_answer::SegmentAnswer;
use crate::challenge::sums::{Claim, SumPath};
use crate::repair::assigned::SharedAssigned;
use crate::replication::placement_score;
use crate::rounds::decide::{FoundRefutation, Snapshot};
use crate::rounds::segment_watch::{Court, Scored, SegmentWatch};
use crate::rounds::timing::refuting_rank;
use crate::rounds::witnesses::{Heard, PathAnswer, PathRequest, Witnesses};
use crate::rounds::RoundTimes;
use crate::smart_contract::state::NodeRecord;
use crate::smart_contract::storage_registry::parse_submission_answers;
use massa_distributed_storage_exports::verification::parse_secure_share_operation;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, SegmentRoot};
use massa_models::address::Address;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::operation::OperationType;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Hashes that scoring may cost in a tick: 5 ms.
const HASHES: u64 = 25_000;

/// Ways to claims that are kept of a round, of about 0.5 kB each.
const PATHS_MAX: usize = 1 << 14;

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
    witnesses: Witnesses,
    juries: BTreeMap<u64, Jury>,
    /// What nodes claimed for the rounds of the juries.
    claims: BTreeMap<(u64, Address), Claim>,
    /// Who they are in the network of peers.
    peers: BTreeMap<Address, NodeId>,
    accepted: Arc<BTreeMap<u64, SegmentRoot>>,
    /// Ways from chunks to the claims of others that were seen, by round: bounded by what their blocks had room for.
    paths: BTreeMap<u64, BTreeMap<(ChunkPosition, Address), SumPath>>,
    /// The final period in which the claim of a round and node could be shown to be false first.
    shown_since: BTreeMap<(u64, Address), u64>,
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
                    let paths = self.paths.entry(round).or_default();
                    if paths.len() < PATHS_MAX {
                        paths.insert((answer.position, node), answer.sum_path);
                    }
                }
            }
        }
    }

    /// Whether there is nothing to score and nothing to look into.
    pub fn is_idle(&self) -> bool {
        self.seen.waiting() == 0 && self.witnesses.is_empty()
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
        let peers = nodes.iter().filter_map(|node| Some((node.address, node.peer()?)));
        self.peers = peers.collect();
        self.accepted = Arc::clone(&snapshot.accepted_roots);
        self.paths.retain(|round, _| rounds.contains(round));
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
        let (claims, accepted) = (&self.claims, &self.accepted);
        let is_claimed = |node: &Address, round: u64, answer: &SegmentAnswer| {
            let (claim, root) = (claims.get(&(round, *node)), accepted.get(&answer.position.segment));
            let is_in_claim = claim.is_some_and(|claim| answer.before_under(claim).is_some());
            is_in_claim && root.is_some_and(|root| answer.is_under(root))
        };
        let court = Court {
            juries: &self.juries,
            worst_holder: &worst_holder,
            is_claimed: &is_claimed,
        };
        let scored = self.seen.score(&court, HASHES);
        for suspicion in self.seen.take_found() {
            let (round, position) = (suspicion.round, suspicion.exhibit.position);
            let seen = |node: &Address| self.paths.get(&round)?.get(&(position, *node)).cloned();
            let claim = |node: &Address| self.claims.get(&(round, *node)).copied();
            self.witnesses.open(suspicion, seen, claim);
        }
        scored
    }

    /// Which ways to claims to ask for now. `lead` periods pass between the final state and the execution of what is sent.
    pub fn requests(&mut self, now: Instant, (period, lead): (u64, u64), times: RoundTimes) -> Vec<PathRequest> {
        let is_in_time = |round: u64| period.saturating_add(lead) <= refuted_until(round, times);
        self.witnesses.requests(now, is_in_time)
    }

    /// What came of a request.
    pub fn on_answer(&mut self, id: u64, answer: PathAnswer, now: Instant) -> Heard {
        let claim = |node: &Address, round: u64| self.claims.get(&(round, *node)).copied();
        self.witnesses.on_answer(id, answer, claim, now)
    }

    /// Who a registered node is in the network of peers, if it said so.
    pub fn peer(&self, node: &Address) -> Option<NodeId> {
        self.peers.get(node).copied()
    }

    /// The false claims that can be shown to the registry in the state of `snapshot`, one for each claim: it forfeits everything at
    /// once. What it would refuse is left out, and looked at anew without what it refused. `own` is this node.
    pub fn refutations(
        &mut self,
        snapshot: &Snapshot,
        nodes: &[NodeRecord],
        own: &Address,
        times: RoundTimes,
    ) -> Vec<FoundRefutation> {
        let is_open = |round: u64, node: &Address| {
            let node = nodes.iter().find(|of| of.address == *node);
            let claim = node.and_then(|node| node.claim_of(round));
            claim.is_some_and(|claim| !claim.refuted)
        };
        self.witnesses.retain(times.round.saturating_sub(1), is_open);
        let mut shown = BTreeMap::new();
        for refutation in self.witnesses.refutations() {
            let Some(bench) = bench(snapshot, nodes, refutation.round) else {
                continue;
            };
            let root = snapshot.accepted_roots.get(&refutation.exhibit.position.segment);
            match refutation.check(bench, root) {
                Ok(()) => {
                    shown.entry((refutation.round, refutation.node)).or_insert(refutation);
                }
                Err(error) => match error.witness() {
                    Some(witness) => self.witnesses.exclude(&refutation, witness),
                    None => self.witnesses.close(&refutation),
                },
            }
        }
        self.in_line(shown.into_values(), snapshot.period, nodes, own)
    }

    /// Each with this node's place among those who can show it: who claimed the round sees its answers, too.
    fn in_line(
        &mut self,
        shown: impl Iterator<Item = Refutation>,
        period: u64,
        nodes: &[NodeRecord],
        own: &Address,
    ) -> Vec<FoundRefutation> {
        let known = std::mem::take(&mut self.shown_since);
        let found = shown.map(|refutation| {
            let (round, accused) = (refutation.round, refutation.node);
            let claimants = nodes.iter().filter(|node| node.claim_of(round).is_some());
            let claimants: Vec<Address> = claimants.map(|node| node.address).collect();
            let since = known.get(&(round, accused)).copied().unwrap_or(period);
            self.shown_since.insert((round, accused), since);
            FoundRefutation {
                rank: refuting_rank(own, round, &accused, &claimants),
                since,
                refutation,
            }
        });
        found.collect()
    }
}

/// The last period in which a claim for `round` can be refuted.
pub fn refuted_until(round: u64, times: RoundTimes) -> u64 {
    RoundTimes { round, ..times }.next().last_period()
}

fn bench<'a>(snapshot: &'a Snapshot, nodes: &'a [NodeRecord], round: u64) -> Option<Bench<'a>> {
    Some(Bench {
        nodes,
        config: &snapshot.config,
        round: snapshot.rounds.get(&round)?,
    })
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
