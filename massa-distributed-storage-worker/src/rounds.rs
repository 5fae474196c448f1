//! A node's part in the rounds of proofs: what it sends to the registry, and when.
//!
//! [`decide::decide`] looks at the registry's final state ([`Snapshot`]), at what this node derived itself ([`Local`]) and at
//! what it sent before ([`Sent`]), and says what to send now. It does no I/O and knows no clock: the caller reads state,
//! builds answers from the store ([`prover`]), signs and sends, and asks again when another period is
//! final.
//!
//! ```text
//! round r−1   claims for r ride on the operation of r−1
//! period O+2  its final blocks give the beacon
//! O+3 … O+P/2 the one operation of the round: beacon vote, answers, pending root votes, claim for r+1
//! O+P/2+1 …   whatever is sent next closes the round; if nothing is by the next window's end, the claimants in turn do
//! to r+1's end false claims for r can be refuted: nodes ask each other for witnesses, and send in turns
//! round r+2   credit of r matures
//! any time    the root before the first accepted one, by turns
//! ```
//!
//! Left out: audits, manual challenges.

pub mod claims;
pub mod decide;
pub mod detection;
pub mod earnings;
pub mod prover;
pub mod segment_watch;
pub mod settlement;
pub mod snapshot;
pub mod thread;
pub mod timing;
pub mod watch;
pub mod witnesses;

pub use decide::{
    decide, Action, ClaimPlan, Decision, EarlierHistory, FoundRefutation, Kind, Local, Note, Outcome, Sent, Settings,
    Snapshot, SubmissionPlan, VotePlan,
};
pub use timing::{closing_rank, RoundTimes};
