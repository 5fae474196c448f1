//! Networks of real node processes on one machine: for trying the archive out, and for tests.
//!
//! [`Network`] makes keys, a genesis file and a directory for each node, and starts, kills and restarts the processes.
//! [`load`] sends operations, [`survey`] asks all nodes who holds what, [`readback`] fetches and verifies every archived
//! slot, [`registry`] deploys the contract and registers the nodes, [`rounds`] watches its rounds with what [`sample`] reads, [`rewards`] and [`wallets`] check what
//! they paid, [`state`] compares ledgers, [`report`] judges, [`soak`] watches memory and disks over a long run. The binary
//! `massa-localnet` puts them together; `scripts/localnet` and `scripts/soak` build and run it.
//!
//! Processes never outlive whoever started them: each holds the end of a pipe, and stops when the pipe is closed, which
//! the operating system does even for a parent that was killed.

pub mod cli;
pub mod client;
pub mod genesis;
pub mod load;
pub mod network;
pub mod node;
pub mod readback;
pub mod registry;
pub mod report;
pub mod rewards;
pub mod rounds;
pub mod run;
pub mod sample;
pub mod soak;
pub mod state;
pub mod survey;
pub mod table;
pub mod wait;
pub mod wallets;
mod watch;

pub use client::NodeClient;
pub use network::{Network, NetworkError, NetworkOptions, Programs};
pub use node::Node;
