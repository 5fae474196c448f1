//! The block graph: compatibility, cliques, finality, pruning.
//!
//! One thread owns the decisions: it takes commands of the controller and the ticks of the clock, and changes the
//! [`ConsensusState`](state::ConsensusState) under its write lock. Everybody else reads that state through the
//! controller. The state itself has no clock and no thread: time comes in as the current slot.
//!
//! Nodes that are given the same blocks finalise the same ones, whatever the order of arrival, as long as no fork gathers
//! more fitness than `delta_f0`: compatibility depends on the blocks alone, and so does the choice among cliques. Where a
//! fork that is heavier than that exists, what arrived first decides, as upstream.
//!
//! Left out: upstream's statistics beside plain counts, detection of desynchronisation, broadcasts, and the bootstrap
//! stream.

mod commands;
mod controller;
mod manager;
pub mod state;
mod worker;

pub use worker::{create_genesis_block, start_consensus_worker};
