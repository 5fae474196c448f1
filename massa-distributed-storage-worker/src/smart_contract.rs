//! The registry contract, seen from the node: the only place that knows its calls and its state.
//!
//! [`storage_registry`] has its entry points, [`views`] what its views answer, [`state`] the rows of its datastore, [`args`] the bytes both are
//! written in, [`deploy`] the operation that makes one, [`electorate`] whose votes weigh what. [`client`] reads the node set from final state and sends calls of the operator.

pub mod args;
pub mod client;
pub mod deploy;
pub mod electorate;
pub mod fees;
pub mod node_set;
pub mod outbox;
pub mod room;
mod slot_answer;
pub mod state;
pub mod storage_registry;
pub mod views;
