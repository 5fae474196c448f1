//! `archive-vectors.json`: known answers for period archives and segments.
//!
//! Inputs are real blocks of the `.mblk` file. Where a body must have an exact length, one filler takes the place of the
//! block's operations: encoding looks at bytes, not at ids.

use crate::mblk::{data_path, read_mblk, MblkFile};
use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::ArchiveParameters;
use massa_distributed_storage_exports::{ChunkId, PeriodRoot, SegmentRoot};
use massa_models::slot::Slot;
use serde::Deserialize;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveVectors {
    /// What made the file.
    pub about: String,
    /// Name of the `.mblk` file that blocks come from.
    pub file: String,
    /// How filler operations are made.
    pub filler: String,
    /// Period archives.
    pub periods: Vec<PeriodVector>,
    /// Segments.
    pub segments: Vec<SegmentVector>,
}

/// One period archive.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodVector {
    /// What is particular about it.
    pub name: String,
    /// The period.
    pub period: u64,
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// Its blocks, by thread; all other places are misses.
    pub blocks: Vec<BlockInput>,
    /// Bytes of the body.
    pub body_length: usize,
    /// BLAKE3 of the body, hexadecimal.
    pub body_hash: String,
    /// BLAKE3 of the signatures beside it, hexadecimal.
    pub signatures_hash: String,
    /// Its chunks.
    pub chunks: Vec<ChunkVector>,
    /// BLAKE3 of the manifest, hexadecimal.
    pub manifest_hash: String,
    /// The period root.
    pub period_root: PeriodRoot,
}

/// One block of a period archive.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockInput {
    /// Its thread.
    pub thread: u8,
    /// Length of the one filler that stands for its operations, signature included; `None` for its own operations.
    pub filler_bytes: Option<usize>,
}

/// One chunk of a period archive.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkVector {
    /// Its bytes.
    pub length: u32,
    /// Its id.
    pub id: ChunkId,
}

/// One segment.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentVector {
    /// What is particular about it.
    pub name: String,
    /// The chain.
    pub chain_id: u64,
    /// Its number.
    pub segment: u64,
    /// Its first period.
    pub first_period: u64,
    /// Root of the segment before.
    pub previous: SegmentRoot,
    /// Roots of its periods.
    pub period_roots: Vec<PeriodRoot>,
    /// The segment root.
    pub root: SegmentRoot,
}

impl ArchiveVectors {
    /// Reads the file.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn read() -> Self {
        let text = std::fs::read(data_path("archive-vectors.json")).expect("the file can be read");
        serde_json::from_slice(&text).expect("the file is as this module says")
    }

    /// The blocks that the vectors are made of.
    pub fn blocks(&self) -> MblkFile {
        read_mblk(&data_path(&self.file))
    }
}

impl PeriodVector {
    /// The period's places: `places[thread]` is its block, or `None` for a miss.
    ///
    /// # Panics
    /// When `file` lacks one of the blocks.
    pub fn places(&self, file: &MblkFile) -> Vec<Option<BlockRecord>> {
        let mut places = vec![None; usize::from(file.thread_count)];
        for input in &self.blocks {
            let slot = Slot::new(self.period, input.thread);
            let own = file.block(slot).expect("the file has the block");
            places[usize::from(input.thread)] = Some(match input.filler_bytes {
                None => own.clone(),
                Some(length) => with_filler(own, length),
            });
        }
        places
    }

    /// Parameters under which the vector was made.
    pub fn parameters(&self, file: &MblkFile) -> ArchiveParameters {
        ArchiveParameters {
            chunk_size: self.chunk_size,
            ..ArchiveParameters::new(file.chain_id, file.thread_count)
        }
    }

    /// The chunks, as a manifest lists them.
    pub fn chunk_entries(&self) -> Vec<ChunkEntry> {
        let entry = |chunk: &ChunkVector| ChunkEntry {
            length: chunk.length,
            id: chunk.id,
        };
        self.chunks.iter().map(entry).collect()
    }
}

/// The block of `record` with one filler of `length` bytes in place of its operations.
///
/// # Panics
/// When a record cannot have such an operation.
pub fn with_filler(record: &BlockRecord, length: usize) -> BlockRecord {
    BlockRecord::new(record.block(), &[filler(length)]).expect("the filler fits a record")
}

/// Bytes that are neither all alike nor periodic in 256: byte i is (i·7 + ⌊i/251⌋) mod 256.
pub fn filler(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}
