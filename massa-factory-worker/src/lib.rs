//! Produces blocks in the slots that are drawn for the node's keys.
//!
//! One thread sleeps until the next slot begins, asks who was drawn for it, and if that is one of the wallet's addresses
//! builds a block on consensus' best parents with the pool's operations, signs it and hands it to consensus.
//!
//! Two blocks for one slot are never made: slots are taken in ascending order, and a node that starts takes the first
//! one that has not begun.
//!
//! Left out: endorsements, denunciations, and versions other than 0.

mod block;
mod error;
mod schedule;
mod worker;

pub use error::FactoryError;
pub use worker::{start_factory_worker, FactoryChannels, FactoryConfig, FactoryManager};

#[cfg(test)]
mod tests;
