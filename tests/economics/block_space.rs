//! The block space that rounds take: one operation for each node and round.

use massa_distributed_storage_exports::types::LEAF_BYTES;
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::smart_contract::storage_registry::{Submission, ROOT_VOTES_MAX};
use massa_models::address::Address;
use massa_models::config::{MAX_BLOCK_SIZE, THREAD_COUNT};

/// Of the usual length.
const NODE: &str = "AU1guC8pAVyy3qV3YKsvdZJsrqsHyTCEngZ8HZ7GMKCKUEhVoZqL";
const DRAWS: u8 = 4;
/// Siblings of a path of the claim's tree: those of a million held chunks; the others are empty.
const SUM_SIBLINGS: usize = 20;
/// Siblings from a leaf to the chunk, and from there to the root of a segment of a full chain.
const LEAF_SIBLINGS: usize = 10;
const CHUNK_SIBLINGS: usize = 11;
/// Signature, key, fee, expiry, addresses and coins of the operation, the function's name and the number of the round.
const OPERATION_BYTES: usize = 250;

/// An answer, as the contract's README draws it.
fn answer_bytes() -> usize {
    let claim = 8 + 4 + 32 + 8 + SUM_SIBLINGS * 40;
    let path = |siblings: usize| 3 + 32 * siblings;
    claim + 2 + LEAF_BYTES + path(LEAF_SIBLINGS) + path(CHUNK_SIBLINGS)
}

/// Bytes of the operation of a node and round: four answers, as many root votes as it may carry, and a claim.
pub fn operation_bytes() -> usize {
    let answers = (0..DRAWS).map(|draw| (draw, vec![0; answer_bytes()]));
    let root = |segment| (segment, SegmentRoot::from_bytes([0; 32]));
    let submission = Submission {
        round: 0,
        beacon: Some(([0; 32], answers.collect())),
        roots: (0..ROOT_VOTES_MAX as u64).map(root).collect(),
        claim: Some(([0; 32], 0)),
    };
    let node: Address = NODE.parse().expect("an address");
    OPERATION_BYTES + submission.to_bytes(&node).len()
}

/// What part of the blocks of a round of `periods` these operations take, in percent.
pub fn share_percent(nodes: u64, periods: u64) -> f64 {
    let room = u64::from(THREAD_COUNT) * periods * u64::from(MAX_BLOCK_SIZE);
    100.0 * (nodes * operation_bytes() as u64) as f64 / room as f64
}
