//! A chain of cheap blocks, and the segments that must come out of it.

use super::{Chain, Shape};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::chunking::objects::IndexedObjects;
use massa_distributed_storage_worker::chunking::segment::{FinishedChunk, SegmentStream};
use massa_models::slot::Slot;

pub const THREADS: u8 = 3;
pub const SEGMENT_PERIODS: u64 = 4;
pub const NO_LIMIT: u64 = u64::MAX;

/// A chain, and what its segments must be.
pub struct World {
    pub parameters: ArchiveParameters,
    pub blocks: Vec<BlockRecord>,
    pub periods: Vec<Vec<Option<BlockRecord>>>,
}

impl World {
    pub fn new(seed: u64, periods: u64, operation_bytes: usize) -> Self {
        let mut chain = Chain::new(THREADS, seed);
        let shape = Shape {
            miss_one_in: 4,
            operations: 2,
            operation_bytes,
        };
        let mut all: Vec<_> = (0..periods - 1).map(|_| chain.next_period(shape)).collect();
        // The last period has every block, so that all slots before it are settled.
        all.push(chain.next_period_missing(&[false; THREADS as usize], shape));
        Self {
            parameters: ArchiveParameters {
                segment_periods: SEGMENT_PERIODS,
                chunk_size: 1 << 16,
                ..chain.parameters.clone()
            },
            blocks: all.iter().flatten().flatten().cloned().collect(),
            periods: all,
        }
    }

    pub fn encoded(&self, period: u64) -> EncodedPeriod {
        let slots: Vec<_> = self.periods[period as usize].iter().map(Option::as_ref).collect();
        EncodedPeriod::whole(&self.parameters, period, &slots).unwrap()
    }

    pub fn lost_entry(&self, period: u64) -> PeriodEntry {
        let ids: Vec<_> = self.encoded(period).entry.ids().collect();
        PeriodEntry::lost(&ids).unwrap()
    }

    /// Tables and chunks of the first `count` segments, with some periods lost.
    pub fn segments(&self, count: u64, lost: &[u64]) -> Vec<(SegmentTable, Vec<FinishedChunk>)> {
        let (mut previous, mut before) = ([0; 32], 0);
        let mut segments = Vec::new();
        for segment in 0..count {
            let mut stream = SegmentStream::new(&self.parameters, segment, IndexedObjects::All);
            for period in segment * SEGMENT_PERIODS..(segment + 1) * SEGMENT_PERIODS {
                let encoded = match lost.contains(&period) {
                    true => EncodedPeriod::lost(period, self.lost_entry(period)),
                    false => self.encoded(period),
                };
                stream.push(&encoded).unwrap();
            }
            let (table, chunks) = stream.finish(previous, before).unwrap();
            (previous, before) = (table.root().to_bytes(), before + table.header().body_length);
            segments.push((table, chunks));
        }
        segments
    }

    pub fn tables(&self, count: u64) -> Vec<SegmentTable> {
        self.segments(count, &[]).into_iter().map(|(table, _)| table).collect()
    }

    pub fn block(&self, slot: Slot) -> &BlockRecord {
        self.periods[slot.period as usize][usize::from(slot.thread)]
            .as_ref()
            .unwrap()
    }

    /// A slot of a period that has a block.
    pub fn slot_in(&self, period: u64) -> Slot {
        let thread = self.periods[period as usize].iter().position(Option::is_some);
        Slot::new(period, thread.unwrap() as u8)
    }
}
