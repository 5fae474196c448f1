//! `segment-cases.json`: known answers for segments that are easily got wrong, made by `make-segment-vectors`.
//!
//! Inputs are blocks of the `.mblk` file in which the period and, where a length matters, the operations are replaced: encoding
//! looks at bytes, not at ids.

use crate::filler;
use crate::mblk::{data_path, read_mblk, MblkFile};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::SIGNATURE_BYTES;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId, PeriodRoot, SegmentRoot};
use massa_models::slot::Slot;
use serde::Deserialize;
use std::sync::OnceLock;

/// The whole file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentCases {
    /// What made the file.
    pub about: String,
    /// Name of the `.mblk` file that blocks come from.
    pub file: String,
    /// Which block of the file stands for which.
    pub blocks: String,
    /// How filler operations are made.
    pub filler: String,
    /// The cases.
    pub cases: Vec<SegmentCase>,
}

/// Periods without a gap, and the segments they make.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentCase {
    /// What is particular about it.
    pub name: String,
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// Periods of a segment.
    pub segment_periods: u64,
    /// The periods; the archive begins with the first.
    pub periods: Vec<PeriodInput>,
    /// Their segments.
    pub segments: Vec<SegmentAnswer>,
}

/// A period.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodInput {
    /// Its number.
    pub period: u64,
    /// Whether it is lost.
    pub lost: bool,
    /// Its blocks, by thread; all other slots were missed.
    pub blocks: Vec<BlockInput>,
}

/// A block.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockInput {
    /// Its thread.
    pub thread: u8,
    /// Length of the one filler that stands for its operations, signature included; 0 for a block without operations, `None`
    /// for its own.
    pub filler_bytes: Option<usize>,
}

/// What a segment must come out as.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentAnswer {
    /// Its number.
    pub segment: u64,
    /// Root of each period.
    pub period_roots: Vec<PeriodRoot>,
    /// Bytes of each period.
    pub period_lengths: Vec<u32>,
    /// Bytes of the body.
    pub body_length: u64,
    /// BLAKE3 of the body, hexadecimal.
    pub body_hash: String,
    /// Bytes of all segments before.
    pub bytes_before: u64,
    /// Its chunks.
    pub chunks: Vec<ChunkAnswer>,
    /// Its root.
    pub root: SegmentRoot,
}

/// What a chunk must come out as.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChunkAnswer {
    /// Its bytes.
    pub length: u32,
    /// Its id.
    pub id: ChunkId,
    /// Objects that end in it.
    pub signatures: usize,
    /// BLAKE3 of their signatures, each after its tag, hexadecimal.
    pub signatures_hash: String,
    /// The period that begins before it and reaches in.
    pub reaching_in: Option<u64>,
}

/// Reads the file.
///
/// # Panics
/// When the file is not as described.
pub fn segment_cases() -> SegmentCases {
    let text = std::fs::read(data_path("segment-cases.json")).expect("the vectors are committed");
    serde_json::from_slice(&text).expect("the vectors are as make-segment-vectors writes them")
}

fn upstream() -> &'static MblkFile {
    static FILE: OnceLock<MblkFile> = OnceLock::new();
    FILE.get_or_init(|| read_mblk(&data_path("upstream-blocks-4-periods.mblk")))
}

impl SegmentCase {
    /// The parameters of its archive.
    pub fn parameters(&self) -> ArchiveParameters {
        ArchiveParameters {
            chunk_size: self.chunk_size,
            segment_periods: self.segment_periods,
            first_period: self.periods[0].period,
            ..ArchiveParameters::new(upstream().chain_id, upstream().thread_count)
        }
    }

    /// Its periods.
    ///
    /// # Panics
    /// When a period cannot be encoded.
    pub fn encoded(&self, parameters: &ArchiveParameters) -> Vec<EncodedPeriod> {
        self.periods.iter().map(|period| period.encoded(parameters)).collect()
    }
}

impl PeriodInput {
    /// Its blocks; index = thread.
    pub fn records(&self) -> Vec<Option<BlockRecord>> {
        let mut records = vec![None; usize::from(upstream().thread_count)];
        for block in &self.blocks {
            records[usize::from(block.thread)] = Some(block.record(self.period));
        }
        records
    }

    fn encoded(&self, parameters: &ArchiveParameters) -> EncodedPeriod {
        let records = self.records();
        let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
        let whole = EncodedPeriod::whole(parameters, self.period, &slots).expect("blocks of the case fit");
        if !self.lost {
            return whole;
        }
        let ids: Vec<_> = whole.entry.ids().collect();
        EncodedPeriod::lost(self.period, PeriodEntry::lost(&ids).expect("a lost period has a block"))
    }
}

impl BlockInput {
    fn record(&self, period: u64) -> BlockRecord {
        let slot = Slot::new(1 + period % 4, self.thread);
        let own = upstream().block(slot).expect("the file has the block");
        let operations: Vec<Vec<u8>> = match self.filler_bytes {
            None => own.operations().map(<[u8]>::to_vec).collect(),
            Some(_) => Vec::new(),
        };
        let record = BlockRecord::new(&in_period(own, period), &operations).expect("the block fits a record");
        match self.filler_bytes {
            None | Some(0) => record,
            Some(length) => with_filler(&record, length),
        }
    }
}

/// The block with another period, below 128 as its own is: one byte of the header.
fn in_period(record: &BlockRecord, period: u64) -> Vec<u8> {
    let mut block = record.block().to_vec();
    let mut at = SIGNATURE_BYTES + 33;
    skip_varint(&block, &mut at);
    at += 1;
    if block[at - 1] == b'1' {
        skip_varint(&block, &mut at);
    }
    assert!(block[at] < 128 && period < 128);
    block[at] = period as u8;
    block
}

fn skip_varint(bytes: &[u8], at: &mut usize) {
    while bytes[*at] >= 128 {
        *at += 1;
    }
    *at += 1;
}

/// The block of `record` with one filler of `length` bytes in place of its operations.
///
/// # Panics
/// When a record cannot have such an operation.
pub fn with_filler(record: &BlockRecord, length: usize) -> BlockRecord {
    BlockRecord::new(record.block(), &[filler(length)]).expect("the filler fits a record")
}
