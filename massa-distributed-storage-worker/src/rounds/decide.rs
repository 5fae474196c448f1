//! What a node sends, and when. See the module above.

mod plan;

pub use plan::{
    Action, ClaimPlan, Claimable, Decision, EarlierHistory, FoundRefutation, Kind, Local, Note, Outcome, Sent,
    Settings, Snapshot, SubmissionPlan, VotePlan,
};

use crate::challenge::draw::RoundContext;
use crate::challenge::sums::Claim;
use crate::challenge::Reason;
use crate::rewards::{claimable_leaves, credit, round_rate};
use crate::rounds::settlement::settled;
use crate::rounds::timing::{refuting_turn, RoundTimes};
use crate::rounds::watch::refuted_until;
use crate::smart_contract::electorate::{counts, seasoned, Seasoned};
use crate::smart_contract::state::NodeRecord;
use crate::smart_contract::storage_registry::ROOT_VOTES_MAX;
use crate::smart_contract::views::ClaimState;
use massa_distributed_storage_exports::types::LEAF_BYTES;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::amount::Amount;

/// The same operation is not sent again in a round after it was refused so often: its fee would be paid for nothing.
const MAX_REFUSALS: usize = 3;
/// A round that pays nothing is claimed only if its number is a multiple of this, which is the same for all nodes: the electorate must
/// prove what it holds within eight rounds, or nobody could vote for roots any more until the pool is filled again.
const UNPAID_CLAIM_ROUNDS: u64 = 4;
/// Rounds after its own in which a segment with lost periods is voted for first.
const LOST_VOTE_ROUNDS: u64 = 2;
/// What the storage of an accepted root costs: 60 bytes of key and row.
const ROOT_DEPOSIT: Amount = Amount::from_raw(6_000_000);
/// Rounds in which the copies of an earlier segment must earn what it costs to have its root accepted: about a month.
const EARLIER_REPAID_ROUNDS: u64 = 400;

/// Leaves that this node may claim for the next round; `None` if it may claim nothing.
pub fn claimable_now(settings: &Settings, snapshot: &Snapshot) -> Option<u64> {
    let local = Local::default();
    let node = snapshot.node.as_ref()?;
    let plan = View::new(settings, snapshot, &local, node, &[]).allowed().ok()?;
    Some(plan.max_leaves)
}

/// Decides what to send, on final state. `sent` is what was sent in this round and the one before.
pub fn decide(settings: &Settings, snapshot: &Snapshot, local: &Local, sent: &[Sent]) -> Decision {
    let mut decision = Decision::default();
    let Some(node) = &snapshot.node else {
        decision.note(Note::NotRegistered);
        return decision;
    };
    if snapshot.state.is_paused(snapshot.period) {
        decision.note(Note::Paused);
        return decision;
    }
    let view = View::new(settings, snapshot, local, node, sent);
    view.placement_key(&mut decision);
    view.submission(&mut decision);
    view.closing(&mut decision);
    view.rewards(&mut decision);
    view.refutations(&mut decision);
    view.earlier(&mut decision);
    if let Some(differing) = local.differing {
        decision.note(Note::RootDiffers(differing));
    }
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
        let periods = snapshot.config.round_periods();
        let times = RoundTimes::of_period(snapshot.period, periods);
        Self {
            settings,
            snapshot,
            local,
            sent,
            node,
            settled: settled(node, &snapshot.rounds, snapshot.period, periods),
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
        if let Some(note) = self.waits() {
            return decision.note(note);
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
            roots: self.root_votes(),
            vote,
            claim,
        };
        if plan.vote.is_some() || plan.claim.is_some() || !plan.roots.is_empty() || self.returns() {
            self.send(decision, Action::Submit(plan), last_period);
        }
    }

    /// Why the operation of the round waits though its turn has come: at most to the middle of the window, so that the other half
    /// is left for sending it again.
    fn waits(&self) -> Option<Note> {
        let until = self.times.last_turn(self.settings.lead_periods);
        if self.snapshot.period >= until {
            return None;
        }
        if !self.local.claimable.is_settled && self.allowed().is_ok() {
            return Some(Note::ClaimUnsettled { until });
        }
        let config = &self.snapshot.config.next;
        let segment = self.times.opens() / config.challenge_frequency_periods.max(1);
        let segment = segment.checked_sub(1).filter(|last| *last >= config.first_segment)?;
        let is_there = self.local.last_closed >= Some(segment) || segment < self.snapshot.state.next_segment;
        (!is_there).then_some(Note::SegmentOpen { segment, until })
    }

    /// The answers that this round still needs; `None` if none. An error if the operation must wait for them.
    fn vote(&self, decision: &mut Decision) -> Result<Option<VotePlan>, Note> {
        let round = self.times.round;
        let open = |claim: &&crate::smart_contract::views::RoundResult| claim.state == ClaimState::Claimed;
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

    /// What may be claimed for the next round. What the registry would refuse is left out here.
    fn claim(&self) -> Result<ClaimPlan, Note> {
        let plan = self.allowed()?;
        if self.local.claimable.leaves == 0 {
            return Err(Note::NothingAnchored);
        }
        let next = self.times.round + 1;
        if self.expected_rate(next) == 0 && next % UNPAID_CLAIM_ROUNDS != 0 {
            return Err(Note::NothingPaid { round: next });
        }
        Ok(plan)
    }

    /// What a round will pay for each GB and period if its claims are those of now and this node's, and the pool stays as it is.
    fn expected_rate(&self, round: u64) -> u64 {
        let Snapshot { config, state, .. } = self.snapshot;
        let claimed = self.snapshot.rounds.get(&round).map_or(0, |record| record.leaves);
        let leaves = claimed.saturating_add(self.local.claimable.leaves);
        let configured = config.at(round).reward_per_gb_per_period.to_raw();
        round_rate(configured, state.pool.to_raw(), leaves, self.times.periods)
    }

    /// The same, whatever this node has.
    fn allowed(&self) -> Result<ClaimPlan, Note> {
        let node = &self.settled;
        let next = self.times.round + 1;
        if node.leave_round.is_some() {
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
        let of_round = self.snapshot.config.next.round_leaves_max();
        let max_leaves = max_leaves.min(of_round.saturating_sub(claimed));
        if max_leaves == 0 {
            return Err(Note::NothingAllowed);
        }
        Ok(ClaimPlan { max_leaves })
    }

    /// The first round in which its entry in the electorate counts when its operation is executed.
    fn entry_round(&self) -> Option<u64> {
        let round = self.times.round;
        let proven = self.settled.slots.iter().flatten().filter(|claim| {
            let passed = claim.state == ClaimState::Settled && claim.reason == Reason::Passed.code();
            passed && claim.round < round
        });
        let proven = proven.map(|claim| claim.round).max();
        let may_renew = !self.snapshot.state.proven && self.node.leave_round.is_none();
        match seasoned(self.node.entry_round, proven, may_renew, round) {
            Seasoned::Proven(from) | Seasoned::Renewed(from) => Some(from),
            Seasoned::Unchanged => self.node.entry_round,
        }
    }

    /// Whether an operation that carries nothing is of use: in the first phase it brings back an entry that lapsed, and a key.
    fn returns(&self) -> bool {
        let round = self.times.round;
        let stands = |from: u64| from > round || counts(from, round);
        let lapsed = !self.node.entry_round.is_some_and(stands);
        !self.snapshot.state.proven && self.node.leave_round.is_none() && (lapsed || self.node.placement_key.is_none())
    }

    /// Pending roots that this node derived itself and may vote for. Its stake must have seasoned.
    fn root_votes(&self) -> Vec<(u64, SegmentRoot)> {
        let round = self.times.round;
        if !self.entry_round().is_some_and(|from| counts(from, round)) {
            return Vec::new();
        }
        let voted = self.node.votes_round == Some(round);
        let voted_below = if voted { self.node.voted_below_segment } else { 0 };
        let first = self.snapshot.state.next_segment;
        let segment_periods = self.snapshot.config.next.challenge_frequency_periods;
        let over = |segment: u64| (segment + 1).saturating_mul(segment_periods) <= self.snapshot.period;
        (first..first.saturating_add(ROOT_VOTES_MAX as u64))
            .filter(|segment| *segment >= voted_below && over(*segment))
            // In order: a gap could not be accepted, and what comes after it names another root before it.
            .map_while(|segment| Some((segment, self.own_root(segment)?)))
            .collect()
    }

    /// The root that this node votes for. That of a segment with lost periods only once the answer window of the round after its
    /// own is over, a round later: so every node that has what is missing had time to say so.
    fn own_root(&self, segment: u64) -> Option<SegmentRoot> {
        if let Some(root) = self.local.own_roots.get(&segment) {
            return Some(*root);
        }
        let start = segment.saturating_mul(self.snapshot.config.next.challenge_frequency_periods);
        let of_segment = RoundTimes::of_period(start, self.times.periods);
        let (of, root) = self.local.candidate?;
        (of == segment && self.times.round >= of_segment.round + LOST_VOTE_ROUNDS).then_some(root)
    }

    /// Closes the round before the open one if this node claimed it and nothing else did: whatever is sent to the registry after a
    /// round's window closes it, in a network that runs an answer or a claim of the next round.
    fn closing(&self, decision: &mut Decision) {
        let Some(round) = self.times.round.checked_sub(1) else {
            return;
        };
        let times = RoundTimes { round, ..self.times };
        let record = self.snapshot.rounds.get(&round);
        let is_open = record.is_some_and(|record| record.claims > 0 && !record.closed);
        let claimed = self.node.claim_of(round).is_some();
        let rank = self.local.closing_ranks.get(&round).copied().unwrap_or(0);
        let turn = times.closing_turn(rank, self.settings.lead_periods);
        // Its own operation of the open round closes it, too.
        let own = Kind::Submit {
            round: self.times.round,
        };
        let is_sent = self.is_in_flight(&own) || decision.actions.iter().any(|(action, _)| action.kind() == own);
        if is_open && claimed && self.snapshot.period >= turn && !is_sent {
            let period = times.opens();
            self.send(decision, Action::Close { round, period }, u64::MAX);
        }
    }

    /// Sets the placement key from the first accepted round that opened after this node registered.
    fn placement_key(&self, decision: &mut Decision) {
        if self.node.placement_key.is_some() {
            return;
        }
        match self.snapshot.key_round {
            Some(round) => self.send(decision, Action::SetPlacementKey { round }, u64::MAX),
            None => decision.note(Note::NoPlacementKey),
        }
    }

    fn rewards(&self, decision: &mut Decision) {
        let amount = self.settled.matured_rewards;
        let Some(fees) = self.settings.auto_claim_fees.filter(|_| amount > Amount::zero()) else {
            return;
        };
        let from = self.settings.fee.saturating_mul_u64(fees);
        if amount <= from {
            return decision.note(Note::RewardsTooSmall { amount, from });
        }
        let round = self.times.round;
        self.send(decision, Action::ClaimRewards { round, amount }, u64::MAX);
    }

    /// Shows false claims. Only the first who shows one is paid, so each waits for those before it in line.
    fn refutations(&self, decision: &mut Decision) {
        let lead = self.settings.lead_periods;
        for found in &self.local.refutations {
            let refutation = &found.refutation;
            let deadline = refuted_until(refutation.round, self.times);
            let turn = refuting_turn(found, deadline, lead);
            if refutation.round <= self.times.round && self.snapshot.period >= turn && self.in_time_for(deadline) {
                self.send(decision, Action::Refute(refutation.clone()), deadline);
            }
        }
    }

    /// Has the root before the first accepted one accepted, in this node's turn, where the copies of such a segment earn that back: by
    /// turns every node pays for its part of what all are paid for.
    fn earlier(&self, decision: &mut Decision) {
        let Some(earlier) = self.local.earlier else { return };
        let is_due = earlier.segments > 0 && self.node.leave_round.is_none() && self.in_time_for(earlier.until);
        if !is_due {
            return;
        }
        let next = self.times.round + 1;
        let leaves = earlier.bytes / earlier.segments / LEAF_BYTES as u64;
        let copies = self.snapshot.config.at(next).replication_factor;
        let periods = self.times.periods.saturating_mul(EARLIER_REPAID_ROUNDS);
        let earned = credit(leaves.saturating_mul(copies), periods, self.expected_rate(next), 1, 1);
        let cost = self.settings.fee.saturating_add(ROOT_DEPOSIT);
        if Amount::from_raw(earned) > cost {
            let segment = earlier.segment;
            self.send(decision, Action::AnchorEarlier { segment }, earlier.until);
        }
    }
}
