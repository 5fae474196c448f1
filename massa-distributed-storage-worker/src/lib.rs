//! The archive of a node: chunking, proofs, store and worker thread.
//!
//! Consensus hands final blocks to [`worker`]; [`ingest`] settles their places ([`places`]), encodes complete periods
//! ([`chunking`]) and stores them ([`storage_backend`]). `docs/architecture.md` has the picture.

pub mod archive;
pub mod assembly;
pub mod assignments;
pub mod audit;
pub mod audit_worker;
pub mod challenge;
pub mod chunk_repair;
pub mod chunking;
pub mod commands;
pub mod fetch;
pub mod handover;
pub mod ingest;
pub mod lost;
pub mod period_set;
pub mod places;
pub mod proofs;
pub mod reader;
pub mod refetch;
pub mod repair;
pub mod repair_worker;
pub mod replication;
pub mod rewards;
pub mod round_worker;
pub mod rounds;
mod segment_repair;
pub mod segment_store;
pub mod serve;
pub mod server;
pub mod smart_contract;
pub mod storage_backend;
pub mod worker;

pub use commands::DistributedStorageCommand;
pub use ingest::{Acknowledge, Ingest, IngestError, Progress};
pub use storage_backend::{Store, StoreError, StoreOptions};
pub use worker::{
    start_distributed_storage_worker, ArchiverHandle, DistributedStorageManager, WorkerOptions, WorkerStatus,
};
