//! Proofs of storage: what a node claims, which leaves are drawn from its claim, and how an answer is checked.
//!
//! A node commits to what it holds with the root of a tree over positions ([`claim`]). The blocks of one period give a
//! beacon, the beacon gives draws ([`draw`]); each draw names one claimed leaf, which the node shows with its paths to the
//! claim and to the anchored segment root ([`answer`], built from the store by [`prover`]). A claimed chunk that was not
//! assigned to the node can be shown to the registry ([`refutation`]). What carries all of it to the contract is in
//! [`crate::smart_contract`].
//!
//! Format 2 of the archive, beside: [`sums`], [`segment_claim`] (kept up to date by segment, provable while a claim is out),
//! [`segment_answer`] (one path less), [`jury`] (scores an answer of others once).
//!
//! Everything here is a plain function over values, except [`prover`], which reads the store. The registry contract has the
//! same rules (`massa-storage-sc/assembly/internals/`); formats are drawn in `massa-storage-sc/README.md`, and shared vectors
//! hold the two together (`tests/data/contract-answer-vectors.json`, `contract-rust-vectors.json`).

pub mod answer;
pub mod claim;
pub mod draw;
pub mod jury;
pub mod position;
pub mod prover;
pub mod reason;
pub mod refutation;
pub mod segment_answer;
pub mod segment_claim;
pub mod sums;

pub use answer::{Answer, AnswerRules};
pub use claim::{Claim, ClaimTree, HeldChunk};
pub use draw::RoundContext;
pub use position::Position;
pub use reason::Reason;
