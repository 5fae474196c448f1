//! Names of column families, in the crate where upstream and the storage plan keep them.
//!
//! The node's own database controller is not part of this slice: the archive has its own RocksDB directory, because the
//! node's database is deleted at every start and hashed into the consensus state.

mod constants;

pub use constants::*;
