//! Proofs of storage: what a node claims, which leaves are drawn from its claim, and how an answer is checked.
//!
//! A node commits to what it holds with the root of a tree over positions ([`sums`], kept up to date by segment in
//! [`segment_claim`]). The blocks of one period give a beacon, the beacon gives draws ([`draw`]); each draw names one claimed leaf,
//! which the node shows with its paths to the claim and to the anchored segment root ([`segment_answer`]). A claimed chunk that was
//! not assigned to the node can be shown to the registry ([`refutation`], found by [`jury`]). What carries all of it to the contract
//! is in [`crate::smart_contract`].
//!
//! Everything here is a plain function over values. The registry contract has the same rules
//! (`massa-storage-sc/assembly/internals/`); formats are drawn in `massa-storage-sc/README.md`, and shared vectors hold the two
//! together (`tests/data/segment-answer-vectors.json`, `contract-formula-vectors.json`, `contract-rust-vectors.json`).

pub mod draw;
pub mod jury;
pub mod reason;
pub mod refutation;
pub mod segment_answer;
pub mod segment_claim;
pub mod sums;

pub use draw::RoundContext;
pub use reason::Reason;
