//! The pool of operations: those that wait for a block, best paid first.
//!
//! Per thread, because a block takes only operations whose sender belongs to its thread. Every thread has a limit;
//! beyond it, first go the operations that could not be executed anyway, then the worst paid ones.
//!
//! The pool owns its operations in the store. It lets go of them when they expire, when they turn out to be executed in
//! a final block, and when it is full.

mod config;
mod pool;
mod worker;

pub use config::PoolConfig;
pub use worker::PoolWorker;
