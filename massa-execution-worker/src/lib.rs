//! The ledger and the execution of blocks.
//!
//! One thread executes. Final slots are executed strictly in slot order, each one exactly once, misses included, and
//! each is one write batch: a process killed at any instant reopens with a whole number of final slots executed. The
//! blocks of the best clique are executed on top, in memory only (*candidate*).
//!
//! What blocks do here: transactions move coins; every operation pays its fee; the producer of a block gets the fees of
//! its operations and the block reward after the last operation. An operation is executed once at most. Purchases and
//! sales of rolls, bytecode and calls of contracts pay their fee and fail as *not supported*: contracts come later.
//!
//! Left out: gas, storage costs, rolls that change, slashing, denunciations, asynchronous messages. Signatures,
//! producers and the shape of blocks were checked before a block gets here, and are not checked again.

mod block;
mod candidates;
mod config;
mod controller;
mod execute;
mod ledger;
mod rows;
mod worker;

pub use config::ExecutionConfig;
pub use controller::{start_execution_worker, ExecutionHandles};
