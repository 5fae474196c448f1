//! Hashes of many 1 KiB leaves, or of many inner nodes, at once.
//!
//! BLAKE3 is fast on long inputs because it hashes many of their 1024-byte parts side by side. A leaf, `00` and 1024 bytes, is
//! one byte too long for one part, so hashing leaf after leaf uses none of that: about 1 GB/s for each core, which would
//! make hashing the slowest step of archiving, verifying and reading. Here the same parts of 16 leaves are hashed side by
//! side: three to four times as fast, with the same result.
//!
//! An inner node, `01` and two hashes, is 65 bytes: two blocks, of which the first is hashed side by side. The second has
//! another key in each node, which the library takes one by one.
//!
//! This uses `blake3::platform`, which is public but undocumented, and safe because upstream pins `blake3 =1.5`. If another
//! version lacks it, [`leaf_hashes`] may call [`leaf_hash`] for each leaf, and `hash_pairs`
//! [`node_hash`](crate::merkle::node_hash) for each pair: the tests below hold them equal.

use crate::merkle::leaf_hash;
use crate::types::{Digest, LEAF_BYTES};
use blake3::platform::Platform;
use blake3::IncrementCounter;
use std::sync::LazyLock;

/// Leaves that are hashed side by side: as many as the widest registers take.
const LANES: usize = 16;

// Constants of the hash function. Source: the BLAKE3 paper, tables 1 and 3.
const INITIAL_VALUE: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const PARENT: u8 = 4;
const ROOT: u8 = 8;

/// Chaining values of the second part of a leaf, which is its last byte alone.
static LAST_BYTE: LazyLock<[Digest; 256]> = LazyLock::new(|| {
    let platform = Platform::detect();
    std::array::from_fn(|byte| {
        let mut block = [0; 64];
        block[0] = byte as u8;
        let mut value = INITIAL_VALUE;
        platform.compress_in_place(&mut value, &block, 1, 1, CHUNK_START | CHUNK_END);
        bytes_of(&value)
    })
});

/// Hash of each leaf of `bytes`: a page, a chunk, a body. The last leaf may be shorter than 1 KiB.
pub fn leaf_hashes(bytes: &[u8]) -> Vec<Digest> {
    let whole = bytes.chunks_exact(LEAF_BYTES);
    let last = whole.remainder();
    let mut hashes = Vec::with_capacity(bytes.len().div_ceil(LEAF_BYTES));
    // Where 00 stands in front of each leaf; cleared once, not for each round.
    let mut first = [[0u8; LEAF_BYTES]; LANES];
    for leaves in bytes[..bytes.len() - last.len()].chunks(LANES * LEAF_BYTES) {
        push_whole_leaves(leaves, &mut first, &mut hashes);
    }
    if !last.is_empty() {
        hashes.push(leaf_hash(last));
    }
    hashes
}

/// Hashes 1 to 16 whole leaves. `first` is room for their first parts, each of which begins with 00.
fn push_whole_leaves(leaves: &[u8], first: &mut [[u8; LEAF_BYTES]; LANES], hashes: &mut Vec<Digest>) {
    let platform = Platform::detect();
    let count = leaves.len() / LEAF_BYTES;
    // The first part: 00 and all bytes of the leaf but the last.
    for (part, leaf) in first.iter_mut().zip(leaves.chunks_exact(LEAF_BYTES)) {
        part[1..].copy_from_slice(&leaf[..LEAF_BYTES - 1]);
    }
    let mut values = [0u8; LANES * 32];
    let inputs: [&[u8; LEAF_BYTES]; LANES] = std::array::from_fn(|lane| &first[lane]);
    let unkeyed = &INITIAL_VALUE;
    let (inputs, out) = (&inputs[..count], &mut values[..count * 32]);
    platform.hash_many(inputs, unkeyed, 0, IncrementCounter::No, 0, CHUNK_START, CHUNK_END, out);
    // The root over both parts.
    let mut parents = [[0u8; 64]; LANES];
    for (lane, parent) in parents.iter_mut().enumerate().take(count) {
        parent[..32].copy_from_slice(&values[lane * 32..][..32]);
        parent[32..].copy_from_slice(&LAST_BYTE[usize::from(leaves[(lane + 1) * LEAF_BYTES - 1])]);
    }
    let inputs: [&[u8; 64]; LANES] = std::array::from_fn(|lane| &parents[lane]);
    let (inputs, out) = (&inputs[..count], &mut values[..count * 32]);
    platform.hash_many(inputs, unkeyed, 0, IncrementCounter::No, PARENT | ROOT, 0, 0, out);
    hashes.extend(
        out.chunks_exact(32)
            .map(|hash| -> Digest { hash.try_into().expect("32 bytes") }),
    );
}

/// Hash of the inner node over each pair of `hashes`, written over the first half. An odd last hash stays where it is.
pub(crate) fn hash_pairs(hashes: &mut [Digest]) {
    let pairs = hashes.len() / 2;
    for begin in (0..pairs).step_by(LANES) {
        hash_some_pairs(hashes, begin, LANES.min(pairs - begin));
    }
}

/// Hashes 1 to 16 pairs, beginning with pair `begin`: what is written over was read before.
fn hash_some_pairs(hashes: &mut [Digest], begin: usize, count: usize) {
    let platform = Platform::detect();
    // The first block: 01, the left hash, and all bytes of the right one but the last.
    let mut first = [[1u8; 64]; LANES];
    for (block, pair) in first.iter_mut().zip(hashes[2 * begin..].chunks_exact(2)).take(count) {
        block[1..33].copy_from_slice(&pair[0]);
        block[33..].copy_from_slice(&pair[1][..31]);
    }
    let mut values = [0u8; LANES * 32];
    let inputs: [&[u8; 64]; LANES] = std::array::from_fn(|lane| &first[lane]);
    let (inputs, out) = (&inputs[..count], &mut values[..count * 32]);
    platform.hash_many(inputs, &INITIAL_VALUE, 0, IncrementCounter::No, 0, CHUNK_START, 0, out);
    // The second block: the last byte.
    for (lane, value) in out.chunks_exact(32).enumerate() {
        let mut block = [0; 64];
        block[0] = hashes[2 * (begin + lane) + 1][31];
        let mut value = words_of(value);
        platform.compress_in_place(&mut value, &block, 1, 0, CHUNK_END | ROOT);
        hashes[begin + lane] = bytes_of(&value);
    }
}

fn words_of(bytes: &[u8]) -> [u32; 8] {
    std::array::from_fn(|word| u32::from_le_bytes(bytes[word * 4..][..4].try_into().expect("4 bytes")))
}

fn bytes_of(words: &[u32; 8]) -> Digest {
    let mut bytes = [0; 32];
    for (word, bytes) in words.iter().zip(bytes.chunks_exact_mut(4)) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::merkle::node_hash;
    use proptest::prelude::*;

    fn one_by_one(bytes: &[u8]) -> Vec<Digest> {
        bytes.chunks(LEAF_BYTES).map(leaf_hash).collect()
    }

    #[test]
    fn every_number_of_leaves_up_to_three_rounds_is_hashed_alike() {
        let bytes: Vec<u8> = (0..3 * LANES * LEAF_BYTES + 1)
            .map(|at| (at * 7 + at / 251) as u8)
            .collect();
        for leaves in 0..=3 * LANES {
            for length in [
                leaves * LEAF_BYTES,
                (leaves * LEAF_BYTES).saturating_sub(1),
                leaves * LEAF_BYTES + 1,
            ] {
                assert_eq!(
                    leaf_hashes(&bytes[..length]),
                    one_by_one(&bytes[..length]),
                    "{length} bytes"
                );
            }
        }
    }

    #[test]
    fn every_last_byte_is_hashed_alike() {
        for byte in 0..=u8::MAX {
            let mut leaf = vec![0x5A; LEAF_BYTES];
            leaf[LEAF_BYTES - 1] = byte;
            assert_eq!(leaf_hashes(&leaf), one_by_one(&leaf));
        }
    }

    #[test]
    fn every_number_of_pairs_up_to_three_rounds_is_hashed_alike() {
        let all: Vec<Digest> = (0..6 * LANES as u32 + 3)
            .map(|at| *blake3::hash(&at.to_le_bytes()).as_bytes())
            .collect();
        for count in 0..all.len() {
            let mut hashes = all[..count].to_vec();
            hash_pairs(&mut hashes);
            let expected: Vec<Digest> = all[..count]
                .chunks_exact(2)
                .map(|pair| node_hash(&pair[0], &pair[1]))
                .collect();
            assert_eq!(hashes[..count / 2], expected, "{count} hashes");
            assert_eq!(hashes[count / 2 * 2..], all[count / 2 * 2..count], "{count} hashes");
        }
    }

    proptest! {
        #[test]
        fn leaves_side_by_side_hash_as_one_by_one(bytes in proptest::collection::vec(any::<u8>(), 0..40_000)) {
            prop_assert_eq!(leaf_hashes(&bytes), one_by_one(&bytes));
        }
    }
}
