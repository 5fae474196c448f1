//! What a node sends, and when. See the module above.

use crate::challenge::claim::Claim;
use crate::challenge::draw::RoundContext;
use crate::challenge::refutation::Refutation;
use crate::rewards::claimable_leaves;
use crate::rounds::settlement::settled;
use crate::rounds::timing::{RoundTimes, LAPSE_ROUNDS};
use crate::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use crate::smart_contract::storage_registry::{ClaimState, RegistryState, Submission, ROOT_VOTES_MAX};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::address::Address;
use massa_models::amount::Amount;
use std::collections::{BTreeMap, BTreeSet};

/// The same operation is not sent again in a round after it was refused so often: its fee would be paid for nothing.
const MAX_REFUSALS: usize = 3;
/// What all claims of a round come to at most.
const MAX_ROUND_LEAVES: u64 = 1 << 55;

/// What is the same for the whole run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The chain.
    pub chain_id: u64,
    /// The registry.
    pub registry: Address,
    /// The operator of this node.
    pub node: Address,
    /// Periods that usually pass at most between the state that a decision is made on, which is final, and the execution of
    /// what was sent.
    pub lead_periods: u64,
    /// Periods that an operation stays valid at most.
    pub validity_periods: u64,
    /// Whether matured rewards are claimed on their own.
    pub auto_claim: bool,
    /// What claiming rewards costs.
    pub claim_fee: Amount,
}

/// The registry's final state, as far as this node's part needs it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The last final period, whose state this is.
    pub period: u64,
    /// Configuration.
    pub config: ConfigRecord,
    /// Money and counters.
    pub state: RegistryState,
    /// This node's record; `None` if it is not registered.
    pub node: Option<NodeRecord>,
    /// Records of the round before, of the open one and of the next. While this node has no placement key, also those that
    /// [`Note::NeedsRound`] asks for.
    pub rounds: BTreeMap<u64, RoundRecord>,
    /// Accepted segment roots.
    pub accepted_roots: BTreeMap<u64, SegmentRoot>,
    /// Whether all active stake decides on segment roots in the open round because it did so at an earlier vote.
    pub all_stake_voted: bool,
}

/// What this node knows itself.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Roots of complete segments that it derived or linked itself.
    pub own_roots: BTreeMap<u64, SegmentRoot>,
    /// Beacon of the open round; `None` while its period is not final here, or not known.
    pub beacon: Option<Digest>,
    /// How many claimants come before this node in closing a round ([`crate::rounds::timing::closing_rank`]), by round.
    pub closing_ranks: BTreeMap<u64, u64>,
    /// False claims that this node can show.
    pub refutations: Vec<Refutation>,
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not known to be executed.
    Pending,
    /// Executed, and final.
    Executed,
    /// Executed and refused by the registry, and final.
    Refused,
}

/// An operation that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What it does.
    pub kind: Kind,
    /// The last period in which it can be executed.
    pub valid_until: u64,
    /// What became of it.
    pub outcome: Outcome,
}

/// What an operation does: not sent twice at a time.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The operation of a round.
    Submit {
        /// The round.
        round: u64,
    },
    /// Closes a round.
    Close {
        /// The round.
        round: u64,
    },
    /// Sets this node's placement key.
    SetPlacementKey {
        /// From the beacon of this round.
        round: u64,
    },
    /// Takes matured rewards.
    ClaimRewards {
        /// In this round.
        round: u64,
    },
    /// Refutes a claim.
    Refute {
        /// Of this node.
        node: Address,
        /// For this round.
        round: u64,
    },
}

/// Something to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `submitProof`, after the plan is completed with answers and claim.
    Submit(SubmissionPlan),
    /// `distributeRewards` with the round's first period.
    Close {
        /// The round.
        round: u64,
        /// Its first period.
        period: u64,
    },
    /// `setPlacementKey` of this node.
    SetPlacementKey {
        /// The round whose beacon gives the key.
        round: u64,
    },
    /// `claimRewards`.
    ClaimRewards {
        /// In this round.
        round: u64,
        /// What it pays.
        amount: Amount,
    },
    /// `refuteClaim`.
    Refute(Refutation),
}

impl Action {
    /// What it does.
    pub fn kind(&self) -> Kind {
        match self {
            Action::Submit(plan) => Kind::Submit { round: plan.round },
            Action::Close { round, .. } => Kind::Close { round: *round },
            Action::SetPlacementKey { round } => Kind::SetPlacementKey { round: *round },
            Action::ClaimRewards { round, .. } => Kind::ClaimRewards { round: *round },
            Action::Refute(refutation) => Kind::Refute {
                node: refutation.node,
                round: refutation.round,
            },
        }
    }
}

/// The operation of a round, before the store is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubmissionPlan {
    /// The round.
    pub round: u64,
    /// Beacon vote and what it draws, if the round was claimed.
    pub vote: Option<VotePlan>,
    /// Votes for pending segment roots, ascending.
    pub roots: Vec<(u64, SegmentRoot)>,
    /// What may be claimed for the next round.
    pub claim: Option<ClaimPlan>,
}

/// Answers to give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VotePlan {
    /// The beacon that this node computed.
    pub beacon: Digest,
    /// The claim that is drawn from: the caller keeps its tree.
    pub claim: Claim,
    /// The claimed leaf of each draw, in order.
    pub draws: Vec<u64>,
}

/// What may be claimed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimPlan {
    /// Segments whose accepted root is this node's own.
    pub segments: BTreeSet<u64>,
    /// Leaves at most: more would be refused, and the answers with it.
    pub max_leaves: u64,
}

impl SubmissionPlan {
    /// The operation. `answer` gives the answer for a claimed leaf, or nothing if its chunk cannot be read: that draw is
    /// missed, which costs less than staying silent. `claim` is what was built for [`SubmissionPlan::claim`]; left out if it is
    /// empty or too large. `None` if there is nothing to send.
    pub fn complete(&self, mut answer: impl FnMut(u64) -> Option<Vec<u8>>, claim: Option<Claim>) -> Option<Submission> {
        let beacon = self.vote.as_ref().map(|vote| {
            let answers = vote.draws.iter().zip(0..);
            let answers = answers.filter_map(|(leaf, draw)| Some((draw, answer(*leaf)?)));
            (vote.beacon, answers.collect())
        });
        let max_leaves = self.claim.as_ref().map_or(0, |plan| plan.max_leaves);
        let claim = claim.filter(|claim| claim.leaves > 0 && claim.leaves <= max_leaves);
        let submission = Submission {
            round: self.round,
            beacon,
            roots: self.roots.clone(),
            claim: claim.map(|claim| (claim.root, claim.leaves)),
        };
        let empty = submission.beacon.is_none() && submission.roots.is_empty() && submission.claim.is_none();
        (!empty).then_some(submission)
    }
}

/// Why something is not done, or what the operator should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// This node is not registered.
    NotRegistered,
    /// The registry is paused.
    Paused,
    /// It is sent, and may still be executed.
    InFlight(Kind),
    /// The registry refused it too often in this round.
    GaveUp(Kind),
    /// Its turn in the window has not come.
    NotItsTurn {
        /// The final period from which on it has.
        from: u64,
    },
    /// The beacon's period is not final here.
    NoBeacon {
        /// The period.
        period: u64,
    },
    /// A claimed round was not answered in time.
    WindowMissed {
        /// The round.
        round: u64,
    },
    /// Everything of this round is done.
    RoundDone,
    /// The round is about to end: what is sent now would come too late.
    RoundEnding,
    /// No placement key yet.
    NoPlacementKey,
    /// The record of this round is needed to find the one that gives the placement key.
    NeedsRound(u64),
    /// No claim: the node is leaving.
    Leaving,
    /// No claim: the node was silent, or in the minority.
    SitsOut {
        /// It may claim this round again.
        until: u64,
    },
    /// No claim: the allocation does not count yet, or the stake is gone.
    NothingAllowed,
    /// No claim: no accepted segment has this node's own root.
    NothingAnchored,
    /// This node's root is not the accepted one: the segment is not claimed, and must be fetched again.
    RootDiffers {
        /// The segment.
        segment: u64,
        /// What this node derived.
        own: SegmentRoot,
        /// What was accepted.
        accepted: SegmentRoot,
    },
    /// Matured rewards are worth less than claiming them costs.
    RewardsBelowFee(Amount),
}

/// What to do now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// To send, each valid until the period beside it.
    pub actions: Vec<(Action, u64)>,
    /// Why not more.
    pub notes: Vec<Note>,
}

impl Decision {
    fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}

/// Decides what to send, on final state. `sent` is what was sent in this round and the one before.
pub fn decide(settings: &Settings, snapshot: &Snapshot, local: &Local, sent: &[Sent]) -> Decision {
    let mut decision = Decision::default();
    let Some(node) = &snapshot.node else {
        decision.note(Note::NotRegistered);
        return decision;
    };
    if snapshot.state.paused {
        decision.note(Note::Paused);
        return decision;
    }
    let view = View::new(settings, snapshot, local, node, sent);
    view.placement_key(&mut decision);
    view.submission(&mut decision);
    view.closing(&mut decision);
    view.rewards(&mut decision);
    view.refutations(&mut decision);
    view.differing_roots(&mut decision);
    decision
}

/// Everything a decision looks at.
struct View<'a> {
    settings: &'a Settings,
    snapshot: &'a Snapshot,
    local: &'a Local,
    sent: &'a [Sent],
    /// As it is.
    node: &'a NodeRecord,
    /// As it will be when the operation is executed.
    settled: NodeRecord,
    /// The round that is open when an operation sent now is executed.
    times: RoundTimes,
}

impl<'a> View<'a> {
    fn new(
        settings: &'a Settings,
        snapshot: &'a Snapshot,
        local: &'a Local,
        node: &'a NodeRecord,
        sent: &'a [Sent],
    ) -> Self {
        let periods = snapshot.config.next.challenge_frequency_periods.max(1);
        let times = RoundTimes::of_period(snapshot.period, periods);
        let slash_percentage = snapshot.config.at(times.round).slash_percentage;
        Self {
            settings,
            snapshot,
            local,
            sent,
            node,
            settled: settled(node, &snapshot.rounds, snapshot.period, periods, slash_percentage),
            times,
        }
    }

    /// Whether such an operation was sent and may still be executed.
    fn is_in_flight(&self, kind: &Kind) -> bool {
        let mut of_kind = self.sent.iter().filter(|sent| sent.kind == *kind);
        of_kind.any(|sent| sent.outcome == Outcome::Pending && sent.valid_until >= self.snapshot.period)
    }

    /// Adds `action` unless it is in flight or was refused too often.
    fn send(&self, decision: &mut Decision, action: Action, last_period: u64) {
        let kind = action.kind();
        let of_kind = || self.sent.iter().filter(|sent| sent.kind == kind);
        // Nothing is of use twice: what it did shows in a state that is final later.
        if of_kind().any(|sent| sent.outcome == Outcome::Executed) {
            return;
        }
        if self.is_in_flight(&kind) {
            return decision.note(Note::InFlight(kind));
        }
        if of_kind().filter(|sent| sent.outcome == Outcome::Refused).count() >= MAX_REFUSALS {
            return decision.note(Note::GaveUp(kind));
        }
        let validity = match kind {
            // What is not executed in the usual time expires, so that it can be sent again while the window is open.
            Kind::Submit { .. } => self.settings.lead_periods.min(self.settings.validity_periods),
            _ => self.settings.validity_periods,
        };
        let valid_until = self.snapshot.period.saturating_add(validity).min(last_period);
        decision.actions.push((action, valid_until));
    }

    /// Whether what is sent now is executed by `period`.
    fn in_time_for(&self, period: u64) -> bool {
        self.snapshot.period.saturating_add(self.settings.lead_periods) <= period
    }

    fn submission(&self, decision: &mut Decision) {
        let round = self.times.round;
        let kind = Kind::Submit { round };
        let executed = |sent: &&Sent| sent.kind == kind && sent.outcome == Outcome::Executed;
        if self.sent.iter().any(|sent| executed(&sent)) {
            return decision.note(Note::RoundDone);
        }
        let turn = self.times.turn(&self.settings.node, self.settings.lead_periods);
        if self.snapshot.period < turn {
            return decision.note(Note::NotItsTurn { from: turn });
        }
        // It may have been executed in time, in a state that is not final yet.
        if self.is_in_flight(&kind) {
            return decision.note(Note::InFlight(kind));
        }
        let (vote, last_period) = match self.vote(decision) {
            Ok(Some(vote)) => (Some(vote), self.times.window_ends()),
            Ok(None) => (None, self.times.last_period()),
            Err(note) => return decision.note(note),
        };
        if !self.in_time_for(last_period) {
            return decision.note(Note::RoundEnding);
        }
        let claim = match self.claim() {
            Ok(claim) => Some(claim),
            Err(note) => {
                decision.note(note);
                None
            }
        };
        let plan = SubmissionPlan {
            round,
            roots: self.root_votes(vote.is_some() || claim.is_some()),
            vote,
            claim,
        };
        if plan.vote.is_some() || plan.claim.is_some() || !plan.roots.is_empty() {
            self.send(decision, Action::Submit(plan), last_period);
        }
    }

    /// The answers that this round still needs; `None` if none. An error if the operation must wait for them.
    fn vote(&self, decision: &mut Decision) -> Result<Option<VotePlan>, Note> {
        let round = self.times.round;
        let open = |claim: &&crate::smart_contract::storage_registry::RoundResult| claim.state == ClaimState::Claimed;
        let Some(claim) = self.node.claim_of(round).filter(open) else {
            return Ok(None);
        };
        if !self.in_time_for(self.times.window_ends()) {
            decision.note(Note::WindowMissed { round });
            // Until the window is over for certain, settling is not predictable, and claiming would be refused.
            let over = self.times.window_over(self.snapshot.period);
            return if over { Ok(None) } else { Err(Note::RoundEnding) };
        }
        let beacon = self.local.beacon.ok_or(Note::NoBeacon {
            period: self.times.beacon_period(),
        })?;
        let key = self.node.placement_key.as_ref().ok_or(Note::NoPlacementKey)?;
        let context = RoundContext {
            chain_id: self.settings.chain_id,
            registry: self.settings.registry.to_string(),
            round,
        };
        let leaves = claim.leaves;
        let draws = (0..claim.draws).map(|draw| context.drawn_leaf(key, &beacon, draw, leaves));
        Ok(Some(VotePlan {
            beacon,
            claim: Claim {
                root: claim.root,
                leaves,
            },
            draws: draws.collect(),
        }))
    }

    /// What may be claimed for the next round. Everything that the registry would refuse is left out here: a refused claim
    /// takes the answers with it.
    fn claim(&self) -> Result<ClaimPlan, Note> {
        let node = &self.settled;
        let next = self.times.round + 1;
        if node.leave_segment.is_some() {
            return Err(Note::Leaving);
        }
        if node.placement_key.is_none() {
            return Err(Note::NoPlacementKey);
        }
        if next < node.no_claim_before_round {
            return Err(Note::SitsOut {
                until: node.no_claim_before_round,
            });
        }
        if node.claim_of(next).is_some() {
            return Err(Note::RoundDone);
        }
        let stake_per_gb = self.snapshot.config.at(next).stake_per_gb.to_raw();
        let max_leaves = claimable_leaves(node.declared_at(next), node.stake.to_raw(), stake_per_gb);
        let claimed = self.snapshot.rounds.get(&next).map_or(0, |record| record.leaves);
        let max_leaves = max_leaves.min(MAX_ROUND_LEAVES.saturating_sub(claimed));
        if max_leaves == 0 {
            return Err(Note::NothingAllowed);
        }
        let own = |(segment, accepted): (&u64, &SegmentRoot)| {
            (self.local.own_roots.get(segment) == Some(accepted)).then_some(*segment)
        };
        let segments: BTreeSet<u64> = self.snapshot.accepted_roots.iter().filter_map(own).collect();
        if segments.is_empty() {
            return Err(Note::NothingAnchored);
        }
        Ok(ClaimPlan { segments, max_leaves })
    }

    /// Whether all active stake decides on segment roots, and not only what claimed the round: while less than half of it did, and
    /// then until the round ends.
    fn all_stake_votes(&self, round: u64) -> bool {
        let claimed = self.snapshot.rounds.get(&round).filter(|record| record.claims > 0);
        let stake = claimed.map_or(0, |record| record.claim_stake.to_raw());
        let active = self.snapshot.state.active_stake.to_raw();
        self.snapshot.all_stake_voted || claimed.is_none() || u128::from(stake) * 2 < u128::from(active)
    }

    /// Pending roots that this node derived itself and may vote for.
    ///
    /// They ride along; an operation only for them is sent where all active stake decides: a new network anchors its first
    /// segments that way.
    fn root_votes(&self, rides_along: bool) -> Vec<(u64, SegmentRoot)> {
        let round = self.times.round;
        let may_vote = if self.all_stake_votes(round) {
            self.settled.stake > Amount::from_raw(0)
        } else {
            rides_along
                && self
                    .node
                    .claim_of(round)
                    .is_some_and(|claim| claim.stake > Amount::from_raw(0))
        };
        if !may_vote {
            return Vec::new();
        }
        let voted = self.node.votes_round == Some(round);
        let voted_below = if voted { self.node.voted_below_segment } else { 0 };
        let first = self.snapshot.state.next_segment;
        let over = |segment: u64| {
            RoundTimes {
                round: segment,
                ..self.times
            }
            .last_period()
                < self.snapshot.period
        };
        (first..first.saturating_add(ROOT_VOTES_MAX as u64))
            .filter(|segment| *segment >= voted_below && over(*segment))
            // In order: a gap could not be accepted, and what comes after it names another root before it.
            .map_while(|segment| Some((segment, *self.local.own_roots.get(&segment)?)))
            .collect()
    }

    /// Closes rounds that this node claimed, unless somebody did.
    fn closing(&self, decision: &mut Decision) {
        for round in self.times.round.saturating_sub(1)..=self.times.round {
            let times = RoundTimes { round, ..self.times };
            let open = self
                .snapshot
                .rounds
                .get(&round)
                .is_some_and(|record| record.claims > 0 && !record.closed);
            let claimed = self.node.claim_of(round).is_some();
            let rank = self.local.closing_ranks.get(&round).copied().unwrap_or(0);
            let turn = times.closing_turn(rank, self.settings.lead_periods);
            if open && claimed && self.snapshot.period >= turn {
                let period = times.opens();
                self.send(decision, Action::Close { round, period }, u64::MAX);
            }
        }
    }

    /// Sets the placement key from the first accepted round that opened after this node registered.
    fn placement_key(&self, decision: &mut Decision) {
        if self.node.placement_key.is_some() {
            return;
        }
        let Some(last) = self.snapshot.state.last_accepted_round else {
            return decision.note(Note::NoPlacementKey);
        };
        let registered = self.node.registered_period;
        let after = |round: u64| RoundTimes { round, ..self.times }.opens() > registered;
        if !after(last) {
            // Where nothing was accepted for long, no such round could come: then the last one serves.
            let starts_anew = self.times.round > last.saturating_add(LAPSE_ROUNDS);
            return if starts_anew {
                self.send(decision, Action::SetPlacementKey { round: last }, u64::MAX);
            } else {
                decision.note(Note::NoPlacementKey);
            };
        }
        let mut round = last;
        loop {
            let Some(record) = self.snapshot.rounds.get(&round) else {
                return decision.note(Note::NeedsRound(round));
            };
            match record
                .previous_accepted_round
                .filter(|previous| *previous < round && after(*previous))
            {
                Some(previous) => round = previous,
                None => return self.send(decision, Action::SetPlacementKey { round }, u64::MAX),
            }
        }
    }

    fn rewards(&self, decision: &mut Decision) {
        let amount = self.settled.matured_rewards;
        if !self.settings.auto_claim || amount == Amount::from_raw(0) {
            return;
        }
        if amount <= self.settings.claim_fee {
            return decision.note(Note::RewardsBelowFee(amount));
        }
        let round = self.times.round;
        self.send(decision, Action::ClaimRewards { round, amount }, u64::MAX);
    }

    fn refutations(&self, decision: &mut Decision) {
        for refutation in &self.local.refutations {
            // A claim can be refuted until the end of the round after it.
            let deadline = RoundTimes {
                round: refutation.round,
                ..self.times
            }
            .next()
            .last_period();
            if refutation.round <= self.times.round && self.in_time_for(deadline) {
                self.send(decision, Action::Refute(refutation.clone()), deadline);
            }
        }
    }

    fn differing_roots(&self, decision: &mut Decision) {
        for (segment, accepted) in &self.snapshot.accepted_roots {
            let own = self.local.own_roots.get(segment);
            if let Some(own) = own.filter(|own| *own != accepted) {
                // Those after it differ because they name it: the first one says all.
                return decision.note(Note::RootDiffers {
                    segment: *segment,
                    own: *own,
                    accepted: *accepted,
                });
            }
        }
    }
}
