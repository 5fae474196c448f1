//! Scenarios that need more than one crate, and the chain that tests and benchmarks are fed with.
//!
//! Used by tests and benchmarks only: what cannot go on panics.

pub mod archive_vectors;
pub mod generator;
pub mod mblk;
pub mod period_bytes;
pub mod segment_cases;

pub use generator::{Generator, GeneratorConfig};
pub use mblk::{data_path, read_mblk, write_mblk, MblkFile};
