//! Sizes, positions, content addresses and the chunk itself.

use crate::merkle::{MerkleProof, MAX_PATH_SIBLINGS};
use crate::record::MAX_RECORD_BYTES;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A BLAKE3-256 hash.
pub type Digest = [u8; 32];

/// What a storage proof reveals: 1 KiB. The last leaf of a chunk may be shorter.
pub const LEAF_BYTES: usize = 1024;
/// Leaves of a page.
pub const PAGE_LEAVES: usize = 64;
/// What is read from disk and sent in one frame: 64 KiB. The last page of a chunk may be shorter.
pub const PAGE_BYTES: usize = LEAF_BYTES * PAGE_LEAVES;
/// Default chunk size: 1 MiB.
pub const DEFAULT_CHUNK_BYTES: u32 = 1 << 20;
/// Largest chunk size: 64 MiB, so that the path of a leaf has at most [`MAX_PATH_SIBLINGS`] siblings.
pub const MAX_CHUNK_BYTES: u32 = (LEAF_BYTES as u32) << MAX_PATH_SIBLINGS;
/// Periods of one segment at most.
pub const MAX_SEGMENT_PERIODS: u64 = 256;
/// Segments that positions can name: 24 bits.
pub const MAX_SEGMENTS: u64 = 1 << 24;
/// Leaves of a segment's tree at most, header, periods and chunks together: a path has at most [`MAX_PATH_SIBLINGS`] siblings,
/// and the position of a chunk in its segment has 16 bits.
pub const MAX_SEGMENT_LEAVES: u32 = 1 << 16;
/// Version byte and 64 bytes of ed25519.
pub const SIGNATURE_BYTES: usize = 65;

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Digest);

        impl $name {
            /// Bytes of the binary form.
            pub const SIZE_BYTES: usize = 32;

            /// From the binary form.
            pub const fn from_bytes(bytes: Digest) -> Self {
                Self(bytes)
            }

            /// The binary form.
            pub const fn to_bytes(self) -> Digest {
                self.0
            }

            /// The binary form, borrowed.
            pub const fn as_bytes(&self) -> &Digest {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = ParseDigestError;

            fn from_str(text: &str) -> Result<Self, ParseDigestError> {
                parse_digest(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

digest_type! {
    /// Content address of a chunk: the Merkle root over its 1 KiB leaves.
    ChunkId
}
digest_type! {
    /// Merkle root of a period archive: its shape, its places and its chunks.
    PeriodRoot
}
digest_type! {
    /// Merkle root of a segment: its periods and the root of the segment before.
    SegmentRoot
}
digest_type! {
    /// Id of a challenge between two peers: follows from both of them, the chunk and the nonce.
    ChallengeId
}

/// A text that is not the 64 hexadecimal digits of a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 64 hexadecimal digits, found {found:?}")]
pub struct ParseDigestError {
    /// The text, shortened.
    pub found: String,
}

/// Parses the 64 hexadecimal digits of a hash.
fn parse_digest(text: &str) -> Result<Digest, ParseDigestError> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| ParseDigestError {
        found: text.chars().take(80).collect(),
    })?;
    Ok(bytes)
}

/// Hexadecimal text form of lists of hashes, for serde.
pub(crate) mod hex_digests {
    use super::{parse_digest, Digest};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(digests: &[Digest], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(digests.iter().map(hex::encode))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Digest>, D::Error> {
        let texts = Vec::<String>::deserialize(deserializer)?;
        let digests = texts.iter().map(|text| parse_digest(text));
        digests.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
    }
}

/// Position of a chunk in its period archive, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkIndex(pub u32);

impl fmt::Display for ChunkIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a chunk stands in the archive: the segment whose body it is cut from, and its number there.
///
/// Ordered as the archive is. Every chunk has one position, so nothing that counts positions counts a chunk twice; equal
/// segments may share chunk ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkPosition {
    /// The segment, below [`MAX_SEGMENTS`].
    pub segment: u64,
    /// Number of the chunk in its segment, below [`MAX_SEGMENT_LEAVES`].
    pub index: ChunkIndex,
}

impl ChunkPosition {
    /// Bits of [`ChunkPosition::number`]: segment 24, chunk 16.
    pub const BITS: u32 = 40;

    /// A position; `None` beyond what 40 bits can name, which takes 800 years of segments.
    pub fn new(segment: u64, index: u32) -> Option<Self> {
        let fits = segment < MAX_SEGMENTS && index < MAX_SEGMENT_LEAVES;
        fits.then_some(Self {
            segment,
            index: ChunkIndex(index),
        })
    }

    /// Its number: `segment (24 bits) | chunk (16 bits)`.
    pub fn number(self) -> u64 {
        self.segment << 16 | u64::from(self.index.0)
    }

    /// From its number; `None` above 40 bits.
    pub fn from_number(number: u64) -> Option<Self> {
        Self::new(number >> 16, (number & 0xFFFF) as u32)
    }
}

impl fmt::Display for ChunkPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.segment, self.index)
    }
}

/// A piece of a period archive, with the proof that it belongs there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChunk {
    /// Content address of `data`.
    pub chunk_id: ChunkId,
    /// The period whose archive this is a piece of.
    pub period: u64,
    /// At most `chunk_size` bytes.
    pub data: Vec<u8>,
    /// From the chunk's leaf to the period root.
    pub merkle_proof: MerkleProof,
}

/// What all nodes of a network must agree on to compute the same roots.
///
/// Written into the store when it is created and compared whenever it is opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveParameters {
    /// Chain that the archive is of; operation ids depend on it.
    pub chain_id: u64,
    /// Threads of the block graph.
    pub thread_count: u8,
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// Periods of a segment.
    pub segment_periods: u64,
    /// The first period that is archived: the genesis period of a network, a later one for an imported archive.
    pub first_period: u64,
    /// Ids of each thread's last block before `first_period`, trusted; empty when the chain itself starts there.
    pub boundary: Vec<massa_models::block_id::BlockId>,
}

/// A parameter out of its range.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// There is no block graph without threads.
    #[error("thread_count: must be at least 1")]
    ThreadCount,
    /// Pages are subtrees of the chunk's tree, so a chunk has a power-of-two number of them.
    #[error(
        "chunk_size: {0} is not a power-of-two number of {PAGE_BYTES}-byte pages, at most {MAX_CHUNK_BYTES} bytes"
    )]
    ChunkSize(u64),
    /// The position of a period in its segment has 8 bits.
    #[error("challenge_frequency_periods: {0} is not between 1 and {MAX_SEGMENT_PERIODS}")]
    SegmentPeriods(u64),
    /// The tree of a segment would have more leaves than a path or a position can name.
    #[error(
        "challenge_frequency_periods: a segment of {periods} periods of {thread_count} threads may have {leaves} leaves with chunk_size {chunk_size}, at most {MAX_SEGMENT_LEAVES} fit: use fewer periods or larger chunks"
    )]
    SegmentLeaves {
        /// Periods of a segment.
        periods: u64,
        /// Threads of the chain.
        thread_count: u8,
        /// Bytes of a chunk.
        chunk_size: u32,
        /// Leaves that a segment of full blocks has.
        leaves: u64,
    },
    /// One id for each thread, or none at all.
    #[error("boundary: {found} block ids for {thread_count} threads")]
    Boundary {
        /// Ids given.
        found: usize,
        /// Threads of the chain.
        thread_count: u8,
    },
}

impl ArchiveParameters {
    /// Parameters with the default chunk and segment size, from the genesis period 0 on.
    pub fn new(chain_id: u64, thread_count: u8) -> Self {
        Self {
            chain_id,
            thread_count,
            chunk_size: DEFAULT_CHUNK_BYTES,
            segment_periods: 100,
            first_period: 0,
            boundary: Vec::new(),
        }
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`ParameterError`], naming the parameter.
    pub fn check(&self) -> Result<(), ParameterError> {
        if self.thread_count == 0 {
            return Err(ParameterError::ThreadCount);
        }
        check_chunk_size(u64::from(self.chunk_size))?;
        if !(1..=MAX_SEGMENT_PERIODS).contains(&self.segment_periods) {
            return Err(ParameterError::SegmentPeriods(self.segment_periods));
        }
        if !self.boundary.is_empty() && self.boundary.len() != usize::from(self.thread_count) {
            return Err(ParameterError::Boundary {
                found: self.boundary.len(),
                thread_count: self.thread_count,
            });
        }
        Ok(())
    }

    /// Checks that the tree of a segment of full blocks has at most [`MAX_SEGMENT_LEAVES`] leaves: a header, one for each
    /// period, one for each chunk.
    ///
    /// # Errors
    /// [`ParameterError::SegmentLeaves`].
    pub fn check_segment(&self) -> Result<(), ParameterError> {
        let period_bytes = u64::from(self.thread_count) * MAX_RECORD_BYTES as u64;
        let chunks = period_bytes
            .saturating_mul(self.segment_periods)
            .div_ceil(u64::from(self.chunk_size.max(1)));
        let leaves = chunks.saturating_add(self.segment_periods).saturating_add(1);
        if leaves > u64::from(MAX_SEGMENT_LEAVES) {
            return Err(ParameterError::SegmentLeaves {
                periods: self.segment_periods,
                thread_count: self.thread_count,
                chunk_size: self.chunk_size,
                leaves,
            });
        }
        Ok(())
    }

    /// Segment that `period` belongs to.
    pub fn segment_of(&self, period: u64) -> u64 {
        period / self.segment_periods
    }

    /// First archived period of `segment`.
    pub fn segment_start(&self, segment: u64) -> u64 {
        segment.saturating_mul(self.segment_periods).max(self.first_period)
    }

    /// Number of archived periods of `segment`: fewer than `segment_periods` where the archive starts inside it.
    pub fn segment_length(&self, segment: u64) -> u64 {
        let end = segment.saturating_add(1).saturating_mul(self.segment_periods);
        end.saturating_sub(self.segment_start(segment))
    }

    /// The first segment of this archive.
    pub fn first_segment(&self) -> u64 {
        self.segment_of(self.first_period)
    }
}

/// Checks that `bytes` is a power-of-two number of pages, at most [`MAX_CHUNK_BYTES`].
///
/// # Errors
/// [`ParameterError::ChunkSize`].
pub fn check_chunk_size(bytes: u64) -> Result<(), ParameterError> {
    let range = PAGE_BYTES as u64..=u64::from(MAX_CHUNK_BYTES);
    let valid = bytes.is_power_of_two() && range.contains(&bytes);
    if valid {
        Ok(())
    } else {
        Err(ParameterError::ChunkSize(bytes))
    }
}
