//! Periods and segments of archive format 2, made of upstream's blocks without the worker's chunking.

use super::slots_of;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::merkle::root_of_leaves;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::{SegmentHeader, SegmentTable, TablePeriod};
use massa_distributed_storage_exports::types::LEAF_BYTES;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkId};

/// Periods 1 to 4 are upstream's; 5 is a lost period with the ids of period 4; in 6 and 7 every slot was missed.
pub fn period(parameters: &ArchiveParameters, period: u64) -> EncodedPeriod {
    let whole = |records: &[Option<BlockRecord>]| {
        let slots: Vec<_> = records.iter().map(Option::as_ref).collect();
        EncodedPeriod::whole(parameters, period, &slots).unwrap()
    };
    match period {
        1..=4 => whole(&slots_of(period)),
        5 => {
            let of_4 = self::period(parameters, 4);
            let ids: Vec<_> = of_4.entry.ids().collect();
            EncodedPeriod::lost(period, PeriodEntry::lost(&ids).unwrap())
        }
        _ => whole(&vec![None; usize::from(parameters.thread_count)]),
    }
}

/// The table of a segment, without the worker's chunking.
pub fn table_of(
    parameters: &ArchiveParameters,
    periods: &[EncodedPeriod],
    before: u64,
    previous: [u8; 32],
) -> SegmentTable {
    let body: Vec<u8> = periods.iter().flat_map(|period| period.bytes.clone()).collect();
    let first_period = periods[0].period;
    let header = SegmentHeader {
        chain_id: parameters.chain_id,
        segment: parameters.segment_of(first_period),
        first_period,
        periods: periods.len() as u32,
        threads: parameters.thread_count,
        chunk_size: parameters.chunk_size,
        body_length: body.len() as u64,
        bytes_before: before,
        previous,
    };
    let rows = periods.iter().map(|period| TablePeriod {
        length: period.bytes.len() as u32,
        root: period.entry.root(parameters.chain_id, period.period),
    });
    let ids = body
        .chunks(parameters.chunk_size as usize)
        .map(|chunk| ChunkId::from_bytes(root_of_leaves(chunk.chunks(LEAF_BYTES))));
    SegmentTable::new(header, rows.collect(), ids.collect()).unwrap()
}
