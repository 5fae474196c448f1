//! What the test files share: upstream's blocks, and periods made of them.
// Each test file uses a part of it.
#![allow(dead_code)]

pub mod segments;

use massa_distributed_storage_exports::merkle::{root_of_leaves, MerkleProof};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::TableChunk;
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::ChunkId;
use massa_tests::{data_path, read_mblk, MblkFile};
use std::sync::OnceLock;

/// Chain of the data files.
pub const CHAIN_ID: u64 = 77_658_377;
/// Threads of the data files.
pub const THREADS: u8 = 32;

/// 125 blocks of four periods, written by upstream's serializers.
pub fn upstream() -> &'static MblkFile {
    static FILE: OnceLock<MblkFile> = OnceLock::new();
    FILE.get_or_init(|| read_mblk(&data_path("upstream-blocks-4-periods.mblk")))
}

/// One of [`upstream`]'s blocks with at least two operations.
pub fn block_with_operations() -> &'static BlockRecord {
    let mut records = upstream().blocks.iter().map(|(_, record)| record);
    records.find(|record| record.operation_count() >= 2).unwrap()
}

/// Slots of one of [`upstream`]'s periods.
pub fn slots_of(period: u64) -> Vec<Option<BlockRecord>> {
    upstream().periods()[&period].clone()
}

/// Periods of [`upstream`].
pub fn periods() -> Vec<u64> {
    upstream().periods().into_keys().collect()
}

/// Length and id of a chunk.
pub fn chunk_entry(bytes: &[u8]) -> TableChunk {
    TableChunk {
        length: bytes.len() as u32,
        id: ChunkId::from_bytes(root_of_leaves(bytes.chunks(LEAF_BYTES))),
    }
}

/// A period root, block id or sibling that only has to differ from others.
pub fn digest(number: u8) -> Digest {
    [number; 32]
}

/// `bytes` with one bit of byte `offset` changed.
pub fn damaged(bytes: &[u8], offset: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[offset] ^= 1 << (offset % 8);
    bytes
}

/// Every path that differs from `path` in one bit, one direction or one sibling.
pub fn changed_paths(path: &MerkleProof) -> Vec<MerkleProof> {
    let mut changed = Vec::new();
    let mut push = |change: &dyn Fn(&mut MerkleProof)| {
        let mut copy = path.clone();
        change(&mut copy);
        changed.push(copy);
    };
    for bit in 0..16 {
        push(&|path| path.directions ^= 1 << bit);
    }
    for sibling in 0..path.siblings.len() {
        for offset in 0..32 {
            push(&|path| path.siblings[sibling][offset] ^= 1 << (offset % 8));
        }
        push(&|path| {
            path.siblings.remove(sibling);
        });
    }
    for place in 0..=path.siblings.len() {
        push(&|path| path.siblings.insert(place, digest(7)));
    }
    changed
}

/// Every hash that differs from `hash` in one bit of one byte.
pub fn changed_digests(hash: &Digest) -> Vec<Digest> {
    let change = |offset| damaged(hash, offset).try_into().unwrap();
    (0..hash.len()).map(change).collect()
}
