//! Which chunks of a segment are claimed: one bit each.

use massa_distributed_storage_exports::types::MAX_SEGMENT_LEAVES;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Bytes for every chunk that a segment may have.
const MAX_BYTES: usize = MAX_SEGMENT_LEAVES as usize / 8;

/// A set of chunk numbers of one segment.
///
/// Bit k mod 8 of byte ⌊k / 8⌋ is chunk k; no zero bytes at the end, so one set has one form.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct ChunkSet {
    bits: Vec<u8>,
}

/// More bits than a segment has chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} bytes of bits, a segment has at most {MAX_SEGMENT_LEAVES} chunks")]
pub struct TooManyChunks(pub usize);

impl TryFrom<Vec<u8>> for ChunkSet {
    type Error = TooManyChunks;

    fn try_from(bits: Vec<u8>) -> Result<Self, TooManyChunks> {
        if bits.len() > MAX_BYTES {
            return Err(TooManyChunks(bits.len()));
        }
        let mut set = Self { bits };
        set.trim();
        Ok(set)
    }
}

impl From<ChunkSet> for Vec<u8> {
    fn from(set: ChunkSet) -> Self {
        set.bits
    }
}

impl FromIterator<u32> for ChunkSet {
    /// Numbers that no chunk has are left out.
    fn from_iter<I: IntoIterator<Item = u32>>(chunks: I) -> Self {
        let mut set = Self::default();
        for chunk in chunks {
            set.insert(chunk);
        }
        set
    }
}

impl ChunkSet {
    /// The bits, without zero bytes at the end.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty()
    }

    /// Number of chunks.
    pub fn len(&self) -> u32 {
        self.bits.iter().map(|byte| byte.count_ones()).sum()
    }

    /// Whether a chunk is in it.
    pub fn contains(&self, chunk: u32) -> bool {
        let byte = self.bits.get(chunk as usize / 8);
        byte.is_some_and(|byte| byte >> (chunk % 8) & 1 == 1)
    }

    /// Adds a chunk; false if it was there, or no chunk has this number.
    pub fn insert(&mut self, chunk: u32) -> bool {
        if chunk >= MAX_SEGMENT_LEAVES || self.contains(chunk) {
            return false;
        }
        let byte = chunk as usize / 8;
        if byte >= self.bits.len() {
            self.bits.resize(byte + 1, 0);
        }
        self.bits[byte] |= 1 << (chunk % 8);
        true
    }

    /// Removes a chunk; false if it was not there.
    pub fn remove(&mut self, chunk: u32) -> bool {
        let was_there = self.contains(chunk);
        if was_there {
            self.bits[chunk as usize / 8] &= !(1 << (chunk % 8));
            self.trim();
        }
        was_there
    }

    /// Every chunk, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        self.within(0..MAX_SEGMENT_LEAVES)
    }

    /// The chunks in a range, ascending. Looks at the bits of the range only.
    pub fn within(&self, range: Range<u32>) -> impl Iterator<Item = u32> + '_ {
        let end = range.end.min(self.bits.len() as u32 * 8);
        (range.start..end).filter(|chunk| self.contains(*chunk))
    }

    /// The bytes of a range of chunks that begins and ends at a multiple of 8.
    pub(super) fn bytes_within(&self, range: &Range<u32>) -> &[u8] {
        let clip = |chunk: u32| (chunk as usize / 8).min(self.bits.len());
        let bytes = &self.bits[clip(range.start)..clip(range.end)];
        let trailing = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        &bytes[..bytes.len() - trailing]
    }

    fn trim(&mut self) {
        while self.bits.last() == Some(&0) {
            self.bits.pop();
        }
    }
}
