//! What the test files share: upstream's blocks, and periods made of them.
// Each test file uses a part of it.
#![allow(dead_code)]

pub mod segments;

use massa_distributed_storage_exports::body::{BodyHeader, PeriodBody};
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, PeriodHeader, Place};
use massa_distributed_storage_exports::merkle::{root_of_leaves, MerkleProof};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::{Digest, LEAF_BYTES};
use massa_distributed_storage_exports::ChunkId;
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::secure_share::Id;
use massa_tests::{data_path, read_mblk, MblkFile};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
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

/// Places of one of [`upstream`]'s periods.
pub fn places_of(period: u64) -> Vec<Option<BlockRecord>> {
    upstream().periods()[&period].clone()
}

/// Periods of [`upstream`].
pub fn periods() -> Vec<u64> {
    upstream().periods().into_keys().collect()
}

pub fn header_of(period: u64) -> BodyHeader {
    BodyHeader {
        chain_id: CHAIN_ID,
        period,
        threads: THREADS,
    }
}

/// The body of a period.
pub fn encode(period: u64, places: &[Option<BlockRecord>]) -> PeriodBody {
    let places: Vec<_> = places.iter().map(Option::as_ref).collect();
    PeriodBody::encode(header_of(period), &places).unwrap()
}

/// The manifest of a body, without the worker's chunking.
pub fn manifest_of(body: &PeriodBody, chunk_size: u32) -> Manifest {
    let chunks = body.bytes.chunks(chunk_size as usize).map(chunk_entry);
    let chunks: Vec<ChunkEntry> = chunks.collect();
    Manifest {
        header: PeriodHeader {
            chain_id: body.header.chain_id,
            period: body.header.period,
            threads: body.header.threads,
            chunk_size,
            body_length: body.bytes.len() as u64,
            chunks: chunks.len() as u32,
        },
        places: body.places.clone(),
        chunks,
    }
}

/// Length and id of a chunk.
pub fn chunk_entry(bytes: &[u8]) -> ChunkEntry {
    ChunkEntry {
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

fn block_id() -> impl Strategy<Value = BlockId> {
    any::<Digest>().prop_map(|hash| BlockId::new(Hash::from_bytes(&hash)))
}

/// A manifest whose fields fit each other.
pub fn manifest() -> impl Strategy<Value = Manifest> {
    let ids = vec(option::of(block_id()), 1..=40);
    let chunks = vec(any::<Digest>(), 1..=20);
    (ids, chunks, 0u32..4, any::<[u64; 2]>(), any::<u16>()).prop_map(|(ids, chunks, pages, numbers, surplus)| {
        let chunk_size = 1 << (16 + pages);
        let [chain_id, period] = numbers;
        let last = 2_000 + u32::from(surplus) % (chunk_size - 2_000) + 1;
        let body_length = (chunks.len() as u64 - 1) * u64::from(chunk_size) + u64::from(last);
        let length = |index: usize| if index + 1 == chunks.len() { last } else { chunk_size };
        let entry = |(index, id): (usize, &Digest)| ChunkEntry {
            length: length(index),
            id: ChunkId::from_bytes(*id),
        };
        Manifest {
            header: PeriodHeader {
                chain_id,
                period,
                threads: ids.len() as u8,
                chunk_size,
                body_length,
                chunks: chunks.len() as u32,
            },
            places: places(&ids),
            chunks: chunks.iter().enumerate().map(entry).collect(),
        }
    })
}

/// Blocks of 40 bytes and two objects each.
fn places(ids: &[Option<BlockId>]) -> Vec<Place> {
    let mut blocks = 0;
    let mut place = |id: &Option<BlockId>| match *id {
        None => Place::Miss,
        Some(id) => {
            blocks += 1;
            Place::Block {
                id,
                offset: 19 + (blocks - 1) * 40,
                objects_before: (blocks - 1) * 2,
            }
        }
    };
    ids.iter().map(&mut place).collect()
}
