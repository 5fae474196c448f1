//! Blocks for whole nodes: a small chain of a few segments.

use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::slot::Slot;
use massa_tests::generator::{Generator, GeneratorConfig};
use std::collections::BTreeMap;

pub const THREADS: u8 = 4;
pub const SEGMENT_PERIODS: u64 = 4;

/// Real blocks of a chain, from period 1 on.
pub struct Chain {
    pub parameters: ArchiveParameters,
    pub periods: BTreeMap<u64, Vec<BlockRecord>>,
}

impl Chain {
    /// As many whole segments, and what settles them.
    pub fn new(seed: u64, segments: u64) -> Self {
        let mut generator = Generator::new(GeneratorConfig {
            seed,
            thread_count: THREADS,
            miss_rate: 0.1,
            operations: 2..=4,
            payload_share: 1.0,
            payload_bytes: 3_000..=9_000,
            endorsements_per_block: 0,
            stakers: 4,
            ..GeneratorConfig::default()
        });
        let parameters = ArchiveParameters {
            chunk_size: 64 << 10,
            segment_periods: SEGMENT_PERIODS,
            ..generator.parameters()
        };
        let mut periods = BTreeMap::new();
        loop {
            let period = generator.period();
            let slots = generator.next_period();
            let is_full = slots.iter().all(Option::is_some);
            periods.insert(period, slots.into_iter().flatten().collect());
            if period >= segments * SEGMENT_PERIODS && is_full {
                return Self { parameters, periods };
            }
        }
    }
}

/// Where a block stands.
pub fn slot_of(record: &BlockRecord) -> Slot {
    record.view(THREADS).unwrap().slot
}
