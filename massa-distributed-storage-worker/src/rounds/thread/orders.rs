//! What is decided, completed from the store and ordered from the registry client; and what became of it.

use super::notes::{describe, purpose, round_of};
use super::Worker;
use crate::challenge::segment_answer::path_bytes;
use crate::challenge::sums::Claim;
use crate::rounds::decide::{Action, ClaimPlan, Kind, Outcome, Sent, SubmissionPlan};
use crate::rounds::prover::answer_draw;
use crate::smart_contract::outbox::Outcome as Ended;
use crate::smart_contract::storage_registry::{self as registry, Call};
use massa_distributed_storage_exports::segment_table::SegmentLeaf;
use massa_models::address::Address;
use massa_models::amount::Amount;
use tracing::{info, warn};

/// Coins that go along with an operation, for the rows it may add to the registry; what is left comes back.
const STORAGE_COINS: Amount = Amount::from_raw(200_000_000);
/// Rounds of operations that are remembered.
const SENT_ROUNDS: u64 = 2;

/// An operation that was ordered.
pub(super) struct Ordered {
    pub(super) sent: Sent,
    /// The round in whose books it is.
    round: u64,
    /// What is claimed with it.
    claimed: Amount,
}

impl Worker {
    /// What became of the operations that were ordered.
    pub(super) fn take_outcomes(&mut self, fee: Amount) {
        for ordered in &mut self.ordered {
            let sent = &mut ordered.sent;
            if sent.outcome != Outcome::Pending {
                continue;
            }
            match self.parts.client.take_outcome(purpose(&sent.kind)) {
                Some(Ended::Done(id)) => {
                    sent.outcome = Outcome::Executed;
                    self.shared.earnings.lock().paid(ordered.round, fee, ordered.claimed);
                    info!(operation_id = %id, "{} is final", describe(&sent.kind));
                }
                Some(Ended::Refused(reason)) => {
                    sent.outcome = Outcome::Refused;
                    self.shared.earnings.lock().paid(ordered.round, fee, Amount::zero());
                    warn!(%reason, "{} was refused", describe(&sent.kind));
                }
                // No fee was paid: it may be ordered again.
                Some(Ended::TooLate(reason)) => {
                    sent.valid_until = 0;
                    warn!(%reason, "{} comes too late", describe(&sent.kind));
                }
                None => {}
            }
        }
    }

    pub(super) fn forget_ordered(&mut self, round: u64) {
        let oldest = round.saturating_sub(SENT_ROUNDS);
        self.ordered.retain(|ordered| ordered.round >= oldest);
    }

    /// Completes an action and orders it.
    pub(super) fn order(&mut self, node: &Address, action: Action, until: u64, open_round: u64) {
        let kind = action.kind();
        let mut claimed = Amount::zero();
        let call = match action {
            Action::Submit(plan) => match self.submission(node, &plan) {
                Some(call) => call,
                None => return,
            },
            Action::Close { period, .. } => registry::distribute_rewards(period),
            Action::SetPlacementKey { round } => registry::set_placement_key(node, round),
            Action::ClaimRewards { amount, .. } => {
                claimed = amount;
                registry::claim_rewards()
            }
            Action::Refute(refutation) => {
                let exhibit = refutation.exhibit.to_bytes();
                let witnesses = refutation.witnesses.iter();
                let witnesses: Vec<_> = witnesses.map(|(node, path)| (*node, path.to_bytes())).collect();
                registry::refute_claim(&refutation.node, refutation.round, &exhibit, &witnesses)
            }
            Action::AnchorEarlier { segment } => match self.earlier_root(segment) {
                Some(call) => call,
                None => return,
            },
        };
        // The key has its room in the node's row.
        let coins = match kind {
            Kind::SetPlacementKey { .. } => Amount::zero(),
            _ => STORAGE_COINS,
        };
        if self.parts.client.call(purpose(&kind), call, coins, until).is_ok() {
            let round = round_of(&kind, open_round);
            let sent = Sent {
                kind,
                valid_until: until,
                outcome: Outcome::Pending,
            };
            self.ordered.push(Ordered { sent, round, claimed });
        }
    }

    /// Shows the header of a segment, which has the root before it.
    fn earlier_root(&self, segment: u64) -> Option<Call> {
        let table = self.parts.store.table(segment).ok().flatten()?;
        let header = SegmentLeaf::Header(*table.header()).to_bytes();
        let path = path_bytes(&table.tree().header_path());
        Some(registry::anchor_earlier(segment, &header, &path))
    }

    fn submission(&mut self, node: &Address, plan: &SubmissionPlan) -> Option<Call> {
        let claim = plan.claim.and_then(|claim| self.new_claim(plan.round + 1, claim));
        let drawn_from = plan.vote.as_ref().map(|vote| vote.claim.root);
        let answer = |leaf: u64| self.answer(plan.round, &drawn_from?, leaf);
        let submission = plan.complete(answer, claim)?;
        let answers = submission.beacon.as_ref().map_or(0, |(_, answers)| answers.len());
        info!(
            "Round {}: {answers} answers, {} root votes, {} leaves claimed for the next round",
            plan.round,
            submission.roots.len(),
            submission.claim.map_or(0, |(_, leaves)| leaves)
        );
        Some(registry::submit_round(node, &submission))
    }

    /// The answer to a draw. A chunk that is missing or damaged is told to repair, and nothing of it is sent.
    fn answer(
        &self,
        round: u64,
        root: &massa_distributed_storage_exports::types::Digest,
        leaf: u64,
    ) -> Option<Vec<u8>> {
        match answer_draw(&self.parts.store, &self.shared.claims, root, leaf) {
            Ok(answer) => Some(answer.to_bytes()),
            Err(failure) => {
                warn!(round, leaf, %failure, "a drawn leaf cannot be shown: the draw is missed");
                if let Some(position) = failure.lacking() {
                    self.parts.store.note_damaged(position);
                }
                None
            }
        }
    }

    /// Keeps the claim for a round as it is now.
    fn new_claim(&mut self, round: u64, plan: ClaimPlan) -> Option<Claim> {
        let leaves = self.shared.claims.current().leaves;
        if self.keeper.is_incomplete() || leaves > plan.max_leaves {
            let most = plan.max_leaves;
            warn!(
                leaves,
                most, "the claim is not ready: nothing is claimed for round {round}"
            );
            return None;
        }
        match self.keeper.seal(round) {
            Ok(claim) => claim,
            Err(error) => {
                warn!(
                    error = &error as &dyn std::error::Error,
                    "the claim cannot be kept, so it is not sent"
                );
                None
            }
        }
    }
}
