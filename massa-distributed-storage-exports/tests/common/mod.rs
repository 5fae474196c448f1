//! What the test files share: upstream's blocks, and periods made of them.
// Each test file uses a part of it.
#![allow(dead_code)]

use massa_distributed_storage_exports::body::{BodyHeader, PeriodBody};
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest, PeriodHeader};
use massa_distributed_storage_exports::merkle::root_of_leaves;
use massa_distributed_storage_exports::record::BlockRecord;
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
