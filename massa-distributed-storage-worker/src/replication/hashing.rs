//! Hashes of one node with many chunks, side by side; [`super::for_each_hash`] is one chunk with many nodes. And what it all
//! costs, counted.

use super::{first_word, AFTER_DOMAIN, CHUNK_END, LANES, ROOT};
use blake3::platform::Platform;
use blake3::IncrementCounter;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;

/// Chunks that are placed together.
pub(super) const GROUP_CHUNKS: usize = LANES;

/// What placing has cost since the placement was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlacingCosts {
    /// Hashes of a chunk with a node.
    pub hashes: u64,
    /// Chunks whose candidates were all ranked; their hashes are among `hashes`.
    pub ranked_in_full: u64,
    /// Chunks that were looked at.
    pub chunks: u64,
    /// How often the chunk ids of a segment were read, or could not be.
    pub segments_read: u64,
}

impl PlacingCosts {
    /// What counts against the budget of a slice.
    pub(super) fn work(&self) -> u64 {
        self.hashes + self.chunks + self.segments_read
    }
}

/// Hash of a node with each of up to [`GROUP_CHUNKS`] chunks.
pub(super) fn hash_group(key: &Digest, chunks: &[ChunkId]) -> [u64; GROUP_CHUNKS] {
    let mut blocks = [[0u8; 64]; LANES];
    for (block, chunk) in blocks.iter_mut().zip(chunks) {
        block[..32].copy_from_slice(chunk.as_bytes());
        block[32..].copy_from_slice(key);
    }
    let inputs: [&[u8; 64]; LANES] = std::array::from_fn(|lane| &blocks[lane]);
    let count = chunks.len().min(LANES);
    let mut bytes = [0u8; LANES * 32];
    let (inputs, out) = (&inputs[..count], &mut bytes[..count * 32]);
    Platform::detect().hash_many(
        inputs,
        &AFTER_DOMAIN,
        0,
        IncrementCounter::No,
        0,
        0,
        CHUNK_END | ROOT,
        out,
    );
    let mut hashes = [0; GROUP_CHUNKS];
    for (hash, bytes) in hashes.iter_mut().zip(out.chunks_exact(32)) {
        *hash = first_word(bytes);
    }
    hashes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::{negative_log2, placement_score, SCORE_SHIFT};

    #[test]
    fn hashes_side_by_side_give_the_scores_of_the_plain_hash() {
        let chunks: Vec<ChunkId> = (0..LANES as u8)
            .map(|number| ChunkId::from_bytes([number; 32]))
            .collect();
        for count in 0..=LANES {
            let hashes = hash_group(&[7; 32], &chunks[..count]);
            for (h, chunk) in hashes.iter().zip(&chunks[..count]) {
                let score = (negative_log2(*h) << SCORE_SHIFT) / 5;
                assert_eq!(Some(score), placement_score(chunk, &[7; 32], 5));
            }
        }
    }
}
