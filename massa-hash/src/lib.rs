//! BLAKE3-256 hashes with upstream's text form (base58check, no prefix letter) and byte form (32 raw bytes).
//!
//! Plain BLAKE3, without key and without context. The extendable-output hashes that upstream uses for its database
//! are left out: nothing in this workspace hashes a database into the consensus state.

mod error;
mod hash;

pub use error::MassaHashError;
pub use hash::{Hash, HashDeserializer, HashSerializer};

/// Length of a hash.
pub const HASH_SIZE_BYTES: usize = 32;
