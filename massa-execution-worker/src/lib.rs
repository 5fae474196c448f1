//! The ledger and the execution of blocks.
//!
//! One thread executes. Final slots are executed strictly in slot order, each one exactly once, misses included, and
//! each is one write batch: a process killed at any instant reopens with a whole number of final slots executed. The
//! blocks of the best clique are executed on top, in memory only (*candidate*).
//!
//! What blocks do here: transactions move coins; bytecode and calls of contracts run on wasmtime, with upstream's host
//! functions, gas and storage costs (`contract`); every operation pays its fee; the producer of a block gets the fees of
//! its operations and the block reward after the last operation. An operation is executed once at most, and only if the
//! gas it asks for is left in its block. If it fails, nothing but its fee and its outcome remains, and an event that
//! tells why. Purchases and sales of rolls pay their fee and fail as *not supported*.
//!
//! The state is balances, datastores and bytecode. A hash per final slot covers all that changed. Events are kept in
//! memory only: those of candidates and of the last final slots.
//!
//! Left out: rolls that change, slashing, denunciations, asynchronous messages, deferred calls. Signatures, producers
//! and the shape of blocks were checked before a block gets here, and are not checked again.

mod block;
mod candidates;
mod config;
mod contract;
mod controller;
mod environment;
mod events;
mod execute;
mod ledger;
mod readonly;
mod rows;
mod state;
mod view;
mod worker;

pub use config::ExecutionConfig;
pub use controller::{start_execution_worker, ExecutionHandles};
