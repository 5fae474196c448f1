//! The archive of a node: chunking, proofs, store and worker thread.
//!
//! Consensus hands final blocks to [`worker`]; [`ingest`] settles their places ([`places`]), encodes complete periods
//! ([`chunking`]) and stores them ([`storage_backend`]). `docs/architecture.md` has the picture.

pub mod chunking;
pub mod commands;
pub mod ingest;
pub mod places;
pub mod storage_backend;
pub mod worker;

pub use commands::DistributedStorageCommand;
pub use ingest::{Acknowledge, Ingest, IngestError, Progress};
pub use storage_backend::{Store, StoreError, StoreOptions};
pub use worker::{start_distributed_storage_worker, ArchiverHandle, DistributedStorageManager};
