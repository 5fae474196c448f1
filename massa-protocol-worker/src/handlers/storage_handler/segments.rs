//! The storage handler of the segment archive (archive format 2): what travels, what is asked of whom, what is served, and
//! which connections stay open.
//!
//! What decides is pure, without thread, socket or clock: [`audits`], [`connections`], [`messages`], [`retrieval`],
//! [`serving`]. The two threads that [`handler`] starts drive it.

pub mod audits;
pub mod cache;
pub mod commands_propagation;
pub mod commands_retrieval;
pub mod connections;
pub mod handler;
pub mod messages;
mod propagation_thread;
mod reach;
pub mod retrieval;
mod retrieval_thread;
mod sending;
pub mod serving;
