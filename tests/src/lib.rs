//! Scenarios that need more than one crate, and the chain that tests and benchmarks are fed with.
//!
//! Used by tests and benchmarks only: what cannot go on panics.

pub mod generator;
pub mod mblk;
pub mod period_bytes;
pub mod segment_cases;

pub use generator::{Generator, GeneratorConfig};
pub use mblk::{data_path, read_mblk, write_mblk, MblkFile};

/// Bytes that are neither all alike nor periodic in 256: byte i is (i·7 + ⌊i/251⌋) mod 256.
pub fn filler(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}
