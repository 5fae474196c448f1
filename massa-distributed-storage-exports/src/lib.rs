//! Types, traits, formats and proof checks of the distributed archive.
//!
//! Used by the storage worker, by the storage handler of the protocol worker, by consensus (for the hook) and by whoever checks a
//! proof. No thread, no network, no database. Formats are drawn in `docs/formats.md`.

pub mod archiver;
pub mod bytes;
pub mod config;
pub mod contract;
pub mod entry;
pub mod leaf_proof;
pub mod leaves;
pub mod merkle;
pub mod network;
pub mod period;
pub mod record;
pub mod registry;
pub mod segment_proof;
pub mod segment_table;
pub mod stored_page;
pub mod types;
pub mod verification;

pub use archiver::StorageArchiver;
pub use config::DistributedStorageConfig;
pub use merkle::{MerkleProof, ProofError};
pub use types::{ArchiveParameters, ChunkId, ChunkIndex, ChunkPosition, DataChunk, PeriodRoot, SegmentRoot};
