//! Maps and sets whose keys are hashes already, so that hashing them again would be wasted time.
//!
//! The hasher keeps the last eight bytes it was given. This is safe for keys whose last bytes nobody can choose
//! cheaply: digests. Iteration order is arbitrary but does not differ between runs.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::marker::PhantomData;

/// Types whose derived `Hash` ends by writing at least eight bytes of a digest.
pub trait PreHashed {}

impl PreHashed for massa_hash::Hash {}

/// The hasher that keeps the last eight bytes written.
pub struct HashMapper<T> {
    state: u64,
    key: PhantomData<T>,
}

impl<T> Default for HashMapper<T> {
    fn default() -> Self {
        Self {
            state: 0,
            key: PhantomData,
        }
    }
}

impl<T: PreHashed> Hasher for HashMapper<T> {
    fn finish(&self) -> u64 {
        self.state
    }

    /// Each write replaces the state. What comes before the digest (a discriminant, a length) is thereby ignored.
    fn write(&mut self, bytes: &[u8]) {
        self.state = match bytes.last_chunk::<8>() {
            Some(last) => u64::from_ne_bytes(*last),
            None => bytes.iter().fold(0, |state, byte| (state << 8) | u64::from(*byte)),
        };
    }
}

/// Makes [`HashMapper`]s.
pub type BuildHashMapper<T> = BuildHasherDefault<HashMapper<T>>;

/// A map from hashed keys.
pub type PreHashMap<K, V> = HashMap<K, V, BuildHashMapper<K>>;

/// A set of hashed keys.
pub type PreHashSet<T> = HashSet<T, BuildHashMapper<T>>;

/// `with_capacity` for the maps and sets of this module, which the standard library has only for its own hasher.
pub trait CapacityAllocator {
    /// An empty collection with room for `capacity` keys.
    fn with_capacity(capacity: usize) -> Self;
}

impl<K: PreHashed + Eq + Hash, V> CapacityAllocator for PreHashMap<K, V> {
    fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, BuildHashMapper::default())
    }
}

impl<T: PreHashed + Eq + Hash> CapacityAllocator for PreHashSet<T> {
    fn with_capacity(capacity: usize) -> Self {
        Self::with_capacity_and_hasher(capacity, BuildHashMapper::default())
    }
}
