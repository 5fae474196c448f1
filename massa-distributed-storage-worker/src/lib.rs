//! The archive of a node, and everything that keeps, proves and serves it.
//!
//! A host starts it through one door, [`extension`]. Consensus hands final blocks to the thread of [`worker`]; periods join the
//! stream of their segment ([`chunking`]), segments are closed into the store ([`storage_backend`]). `docs/architecture.md` has the
//! picture.

pub mod archive;
pub mod audit;
pub mod board;
pub mod challenge;
pub mod chunking;
pub mod commands;
pub mod extension;
pub mod fetch;
pub mod period_set;
pub mod repair;
pub mod replication;
pub mod rewards;
pub mod rounds;
pub mod serve;
pub mod smart_contract;
pub mod storage_backend;
pub mod worker;

pub use commands::DistributedStorageCommand;
pub use worker::{start_distributed_storage_worker, ArchiverHandle, DistributedStorageManager};
