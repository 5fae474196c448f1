//! The driver of a cheater: it decides when as honest nodes do, and sends something else.

use super::claims::{ForeignArchive, Tree};
use super::world::World;
use super::{is_dropped, Expected, Role, Trick, CONSPIRATORS, HONEST, LEAD_PERIODS, ROLES};
use crate::common::THREADS;
use crate::remote::{Caller, Outcome, Remote};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::challenge::sums::Claim;
use massa_distributed_storage_worker::challenge::{Reason, RoundContext};
use massa_distributed_storage_worker::rounds::decide::{
    decide, Action, Claimable, Kind, Local, Outcome as Became, Sent, Settings, Snapshot, SubmissionPlan, VotePlan,
};
use massa_distributed_storage_worker::rounds::snapshot::SnapshotReader;
use massa_distributed_storage_worker::rounds::RoundTimes;
use massa_distributed_storage_worker::smart_contract::electorate::counts;
use massa_distributed_storage_worker::smart_contract::storage_registry::{submit_round, DrawAnswers, Submission};
use massa_localnet::genesis::{CHAIN_ID, ROUND_PERIODS, SEGMENT_PERIODS};
use massa_localnet::{Network, Node};
use massa_models::address::Address;
use massa_models::amount::Amount;
use std::collections::{BTreeMap, BTreeSet};

/// Periods at the end of the window in which the foreign root is voted: honest nodes had their turn, and what is over since then
/// is theirs in the next round only.
const FOREIGN_VOTE_PERIODS: u64 = 2;

/// The driver of a cheater.
pub struct Cheater {
    pub role: Role,
    pub caller: Caller,
    remote: Remote,
    reader: SnapshotReader,
    trees: Vec<(Trick, Tree)>,
    sent: Vec<Sent>,
    answered: BTreeSet<Trick>,
    pub expected: BTreeMap<u64, Expected>,
    pub foreign: Option<ForeignArchive>,
    /// What is sent beside the rounds, and what becomes of it.
    pub beside: Vec<(&'static str, Outcome)>,
    old_submission: Option<Submission>,
}

impl Cheater {
    /// The cheaters of a network: its last nodes, each in its role.
    pub fn all(network: &Network, registry: Address) -> Vec<Self> {
        let cheater = |(node, role): (&Node, Role)| Self {
            role,
            caller: Caller {
                wallet: node.wallet_path(),
                from: node.operator(),
                registry,
            },
            remote: Remote::new(node, network.clock()),
            reader: SnapshotReader::new(registry, node.operator()),
            trees: Vec::new(),
            sent: Vec::new(),
            answered: BTreeSet::new(),
            expected: BTreeMap::new(),
            foreign: None,
            beside: Vec::new(),
            old_submission: None,
        };
        network.nodes()[HONEST..].iter().zip(ROLES).map(cheater).collect()
    }

    pub fn tick(&mut self, world: &mut World) {
        let (registry, node) = (world.registry, self.caller.from);
        let Some(snapshot) = self.remote.snapshot(&mut self.reader, THREADS) else {
            return;
        };
        let times = RoundTimes::of_period(snapshot.period, ROUND_PERIODS);
        self.beside(&snapshot, times);
        let settings = Settings {
            chain_id: CHAIN_ID,
            registry,
            node,
            lead_periods: LEAD_PERIODS,
            validity_periods: ROUND_PERIODS,
            auto_claim_fees: None,
            fee: Amount::zero(),
        };
        let local = Local {
            own_roots: world.roots.clone(),
            last_closed: world.roots.last_key_value().map(|(segment, _)| *segment),
            // What is claimed is decided later: here only whether there may be something.
            claimable: Claimable {
                leaves: snapshot.accepted_roots.len() as u64,
                is_settled: true,
            },
            beacon: self.beacon(&snapshot, times),
            ..Local::default()
        };
        for (action, until) in decide(&settings, &snapshot, &local, &self.sent).actions {
            if let Action::Submit(plan) = action {
                self.submit(plan, until, &snapshot, world);
            }
        }
    }

    fn beacon(&self, snapshot: &Snapshot, times: RoundTimes) -> Option<Digest> {
        if snapshot.period < times.beacon_period() {
            return None;
        }
        let context = RoundContext {
            chain_id: CHAIN_ID,
            registry: self.caller.registry.to_string(),
            round: times.round,
        };
        Some(context.beacon(&self.remote.final_blocks(times.beacon_period())?))
    }

    /// What is to be refused as a whole.
    fn beside(&mut self, snapshot: &Snapshot, times: RoundTimes) {
        if self.role == Role::Forger && self.foreign.is_none() && is_time_for_a_foreign_root(snapshot, times) {
            let foreign = ForeignArchive::new(newest_over(snapshot), THREADS);
            self.vote(times.round, (foreign.segment, foreign.root()), "foreign root");
            self.foreign = Some(foreign);
        }
        let voted = snapshot.node.as_ref().and_then(|node| node.votes_round);
        let once = self.foreign.as_ref().filter(|_| self.beside.len() == 1);
        if let Some(segment) = once
            .map(|foreign| foreign.segment)
            .filter(|_| voted == Some(times.round))
        {
            let other = SegmentRoot::from_bytes([7; 32]);
            self.vote(times.round, (segment, other), "second vote");
        }
        if let Some(old) = self.old_submission.take_if(|old| old.round < times.round) {
            let call = submit_round(&self.caller.from, &old);
            self.beside.push(("replay", self.remote.start(&self.caller, &call)));
        }
    }

    fn vote(&mut self, round: u64, vote: (u64, SegmentRoot), what: &'static str) {
        let submission = Submission {
            round,
            roots: vec![vote],
            ..Submission::default()
        };
        let call = submit_round(&self.caller.from, &submission);
        self.beside.push((what, self.remote.start(&self.caller, &call)));
    }

    fn submit(&mut self, mut plan: SubmissionPlan, until: u64, snapshot: &Snapshot, world: &mut World) {
        let round = plan.round;
        match self.role {
            Role::Idler => plan.claim = None,
            Role::Forger => plan.roots.clear(),
            Role::Liar | Role::Dropper | Role::Fetcher => {}
        }
        let answers = match plan.vote.clone() {
            Some(vote) => match self.answers(round, &vote, world) {
                Some(answers) => Some(answers),
                None => return,
            },
            // It is silent until the round is over.
            None if self.is_conspirator() && self.role != Role::Fetcher && world.void_round() == Some(round) => return,
            None => None,
        };
        let max_leaves = plan.claim.as_ref().map(|claim| claim.max_leaves);
        let claim = max_leaves.and_then(|max_leaves| self.claim(round + 1, max_leaves, snapshot, world));
        let submission = Submission {
            round,
            beacon: answers,
            roots: plan.roots.clone(),
            claim: claim.map(|claim| (claim.root, claim.leaves)),
        };
        if submission.beacon.is_none() && submission.roots.is_empty() && submission.claim.is_none() {
            return;
        }
        let call = submit_round(&self.caller.from, &submission);
        if self.remote.send(&self.caller, &call, until).is_ok() {
            self.sent.push(Sent {
                kind: Kind::Submit { round },
                valid_until: until,
                outcome: Became::Pending,
            });
            let first = self
                .expected
                .get(&round)
                .is_some_and(|expected| expected.trick == Trick::NoBytes);
            if first && self.beside.is_empty() {
                self.old_submission = Some(submission);
            }
        }
    }

    fn is_conspirator(&self) -> bool {
        CONSPIRATORS.contains(&self.role)
    }

    /// Beacon and answers for a claim, as its trick has it; nothing to be silent.
    fn answers(&mut self, round: u64, vote: &VotePlan, world: &mut World) -> Option<(Digest, DrawAnswers)> {
        let claimed = |(_, tree): &&(Trick, Tree)| tree.claim() == vote.claim;
        let (trick, tree) = self.trees.iter().rev().find(claimed)?.clone();
        let mut beacon = vote.beacon;
        if self.is_conspirator() && world.is_conspired(round) {
            let expected = Expected {
                trick,
                reason: Reason::Void,
                draws: None,
            };
            self.expected.insert(round, expected);
            // Who answers may claim the next round.
            beacon[0] ^= 1;
            return (self.role == Role::Fetcher).then_some((beacon, DrawAnswers::new()));
        }
        let (mut draws, mut reasons) = (DrawAnswers::new(), Vec::new());
        for (leaf, draw) in vote.draws.iter().zip(0..) {
            let (answer, reason) = self.answer((trick, &tree), *leaf, usize::from(draw), world);
            reasons.push(reason.code());
            draws.extend(answer.map(|answer| (draw, answer)));
        }
        let failed = reasons.iter().any(|reason| *reason != Reason::Passed.code());
        let (reason, reasons) = match trick {
            Trick::FalseBeacon => {
                beacon[0] ^= 1;
                (Reason::Minority, None)
            }
            Trick::Unassigned => (Reason::Refuted, Some(reasons)),
            _ if failed => (Reason::SomeMissed, Some(reasons)),
            _ => (Reason::Passed, Some(reasons)),
        };
        let expected = Expected {
            trick,
            reason,
            draws: reasons,
        };
        self.expected.insert(round, expected);
        self.answered.insert(trick);
        Some((beacon, draws))
    }

    fn answer(
        &self,
        (trick, tree): (Trick, &Tree),
        leaf: u64,
        draw: usize,
        world: &World,
    ) -> (Option<Vec<u8>>, Reason) {
        let is_own = |node: usize| ROLES.get(node.wrapping_sub(HONEST)) == Some(&self.role);
        let drops = || tree.draw(leaf).is_some_and(|drawn| is_dropped(&drawn.chunk));
        let found = match trick {
            Trick::ForeignRoot => {
                let foreign = self.foreign.as_ref().unwrap();
                return (Some(foreign.answer(tree, leaf).to_bytes()), Reason::ArchivePath);
            }
            Trick::FalseProofs => {
                let made = world.false_proof(tree, leaf, draw);
                return made.unwrap_or((None, Reason::Missing));
            }
            Trick::NoBytes => None,
            Trick::Dropped if drops() => None,
            Trick::Fetched => world.answer(tree, leaf, |node| !is_own(node)),
            Trick::Dropped | Trick::Silence | Trick::Unassigned | Trick::FalseBeacon => {
                world.answer(tree, leaf, |_| true)
            }
        };
        let reason = found.as_ref().map_or(Reason::Missing, |_| Reason::Passed);
        (found, reason)
    }

    fn claim(&mut self, round: u64, max_leaves: u64, snapshot: &Snapshot, world: &mut World) -> Option<Claim> {
        let trick = self.trick(round, world)?;
        let tree = if trick == Trick::ForeignRoot {
            let foreign = self.foreign.as_ref()?;
            if !snapshot.accepted_roots.contains_key(&foreign.segment) {
                return None;
            }
            foreign.tree()
        } else {
            let anchored = snapshot.accepted_roots.iter();
            let own = anchored.filter(|(segment, root)| world.roots.get(segment) == Some(root));
            let tables = world.tables(own.map(|(segment, _)| *segment));
            let chunks = world.claimable(&self.caller.from, &tables, trick != Trick::Unassigned);
            Tree::new(&chunks, &tables)
        };
        let claim = tree.claim();
        if claim.leaves == 0 || claim.leaves > max_leaves {
            return None;
        }
        if !self.trees.iter().any(|(_, known)| known.claim() == claim) {
            self.trees.push((trick, tree));
        }
        Some(claim)
    }

    /// What the claim for `round` is for.
    fn trick(&self, round: u64, world: &mut World) -> Option<Trick> {
        let first = match self.role {
            Role::Liar => Trick::NoBytes,
            Role::Forger => Trick::ForeignRoot,
            Role::Dropper => Trick::Dropped,
            Role::Idler => return None,
            Role::Fetcher => Trick::Fetched,
        };
        if !self.answered.contains(&first) {
            return Some(first);
        }
        if world.void_round().map_or(true, |void| void >= round) {
            world.conspiracies.entry(round).or_default().insert(self.role);
            return Some(match self.role {
                Role::Dropper | Role::Fetcher => first,
                _ => Trick::Silence,
            });
        }
        Some(match self.role {
            Role::Liar if !self.answered.contains(&Trick::FalseProofs) => Trick::FalseProofs,
            Role::Liar => Trick::Unassigned,
            Role::Forger => Trick::FalseBeacon,
            Role::Dropper | Role::Fetcher => first,
            Role::Idler => return None,
        })
    }
}

/// The newest segment that is over: it ended when honest nodes had sent what they send in this round, so none of them voted for it.
fn newest_over(snapshot: &Snapshot) -> u64 {
    let over = snapshot.period / SEGMENT_PERIODS;
    over.saturating_sub(1).max(snapshot.state.next_segment)
}

/// A segment is over that is not accepted, nobody else votes before the next round, and a second vote fits into this one.
fn is_time_for_a_foreign_root(snapshot: &Snapshot, times: RoundTimes) -> bool {
    let is_over = (snapshot.state.next_segment + 1) * SEGMENT_PERIODS <= snapshot.period;
    let turns_are_over = snapshot.period + FOREIGN_VOTE_PERIODS >= times.window_ends();
    let left = times.last_period().saturating_sub(snapshot.period);
    let entry = snapshot.node.as_ref().and_then(|node| node.entry_round);
    let weighs = entry.is_some_and(|from| counts(from, times.round));
    weighs && is_over && turns_are_over && left >= 2 * LEAD_PERIODS
}
