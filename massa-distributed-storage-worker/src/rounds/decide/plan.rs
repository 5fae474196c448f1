//! What a decision looks at, and what it says.

use crate::challenge::refutation::Refutation;
use crate::challenge::sums::Claim;
use crate::rounds::claims::keeper::Differing;
use crate::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use crate::smart_contract::storage_registry::Submission;
use crate::smart_contract::views::RegistryState;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::address::Address;
use massa_models::amount::Amount;
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Matured rewards are claimed on their own once they are this many fees; `None`: never.
    pub auto_claim_fees: Option<u64>,
    /// The least fee of an operation.
    pub fee: Amount,
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
    /// Records of the rounds around the open one, and of those that this node has claims of.
    pub rounds: BTreeMap<u64, RoundRecord>,
    /// While this node has no placement key: the round that gives it, the first with an accepted beacon that opened after it registered.
    pub key_round: Option<u64>,
    /// Accepted segment roots, without a gap between the first and the last.
    pub accepted_roots: Arc<BTreeMap<u64, SegmentRoot>>,
}

/// What this node knows itself.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Roots of segments that it derived or linked itself, of those from the first one without an accepted root on; one of a
    /// segment with accepted root is of no use.
    pub own_roots: BTreeMap<u64, SegmentRoot>,
    /// What it would vote for a segment that nobody can complete.
    pub candidate: Option<(u64, SegmentRoot)>,
    /// The newest segment that is closed here.
    pub last_closed: Option<u64>,
    /// What it can claim.
    pub claimable: Claimable,
    /// The first segment whose root here is not the accepted one.
    pub differing: Option<Differing>,
    /// Beacon of the open round; `None` while its period is not final here, or not known.
    pub beacon: Option<Digest>,
    /// How many claimants come before this node in closing a round ([`crate::rounds::timing::closing_rank`]), by round.
    pub closing_ranks: BTreeMap<u64, u64>,
    /// False claims that this node can show.
    pub refutations: Vec<FoundRefutation>,
    /// History before the first accepted root that this node can have accepted, in its turn.
    pub earlier: Option<EarlierHistory>,
}

/// A false claim that can be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRefutation {
    /// What shows it.
    pub refutation: Refutation,
    /// The final period in which this node could show it first.
    pub since: u64,
    /// How many others come before this node in showing it ([`crate::rounds::timing::refuting_rank`]).
    pub rank: u64,
}

/// Segments before the first accepted root, of which this node has the tables of the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EarlierHistory {
    /// The first segment with an accepted root: its header has the root before it.
    pub segment: u64,
    /// Segments of the archive before it.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The last period of this node's turn.
    pub until: u64,
}

/// The claim for the next round, as it is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claimable {
    /// Leaves of it.
    pub leaves: u64,
    /// Whether everything that changed is in it.
    pub is_settled: bool,
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
    /// Has the root before that of a segment accepted.
    AnchorEarlier {
        /// The segment.
        segment: u64,
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
    /// `anchorEarlier`, with the header of this segment.
    AnchorEarlier {
        /// The segment.
        segment: u64,
    },
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
            Action::AnchorEarlier { segment } => Kind::AnchorEarlier { segment: *segment },
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
    /// The claim that is drawn from.
    pub claim: Claim,
    /// The claimed leaf of each draw, in order.
    pub draws: Vec<u64>,
}

/// What may be claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClaimPlan {
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
    /// It waits for the last segment of the round before to be closed here, to vote for it.
    SegmentOpen {
        /// The segment.
        segment: u64,
        /// The final period from which on it waits no more.
        until: u64,
    },
    /// It waits until everything that changed is in its claim.
    ClaimUnsettled {
        /// The final period from which on it waits no more.
        until: u64,
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
    /// No claim: the pool and the configured rate pay nothing for this round.
    NothingPaid {
        /// The round.
        round: u64,
    },
    /// This node's root is not the accepted one: the segment is not claimed, and must be fetched again.
    RootDiffers(Differing),
    /// Matured rewards are not claimed yet, because the fee would be too large a part of them.
    RewardsTooSmall {
        /// The matured rewards.
        amount: Amount,
        /// They are claimed from here on.
        from: Amount,
    },
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
    pub(super) fn note(&mut self, note: Note) {
        self.notes.push(note);
    }
}
