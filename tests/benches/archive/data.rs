//! What is measured with.

use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_models::slot::Slot;
use massa_tests::generator::{Generator, GeneratorConfig};
use massa_tests::mblk::{read_mblk, MblkFile};
use std::path::Path;

const SEED: u64 = 1;
/// Periods of a segment on the real chain.
const SEGMENT_PERIODS_MAX: u64 = 100;

/// One period: index = thread.
pub type Slots = Vec<Option<BlockRecord>>;

/// Periods in a row, from the first period of an archive on.
pub struct Periods {
    pub parameters: ArchiveParameters,
    pub periods: Vec<(u64, Slots)>,
}

impl Periods {
    /// Every block, in archive order.
    pub fn records(&self) -> impl Iterator<Item = &BlockRecord> + Clone {
        self.periods.iter().flat_map(|(_, slots)| slots.iter().flatten())
    }

    /// Bytes of all blocks and operations, signatures included.
    pub fn bytes(&self) -> u64 {
        self.records().map(|record| record.as_bytes().len() as u64).sum()
    }

    /// Every block with its slot, in archive order.
    pub fn slots(&self) -> impl Iterator<Item = (Slot, &BlockRecord)> + Clone {
        self.periods.iter().flat_map(|(period, slots)| {
            let threads = slots.iter().zip(0..);
            threads.filter_map(|(record, thread)| Some((Slot::new(*period, thread), record.as_ref()?)))
        })
    }

    /// The last period.
    pub fn last_period(&self) -> u64 {
        self.periods[self.periods.len() - 1].0
    }

    /// Segments that are whole.
    pub fn segments(&self) -> u64 {
        let parameters = &self.parameters;
        parameters.segment_of(self.last_period() + 1) - parameters.segment_of(self.periods[0].0)
    }

    /// The bytes of each period, with the signatures beside them: what plain RocksDB is given.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        let of_period = |(period, slots): &(u64, Slots)| {
            let slots: Vec<Option<&BlockRecord>> = slots.iter().map(Option::as_ref).collect();
            let encoded = EncodedPeriod::whole(&self.parameters, *period, &slots).expect("the period encodes");
            let mut bytes = encoded.bytes;
            encoded
                .signatures
                .iter()
                .for_each(|signature| bytes.extend(signature.signature));
            bytes
        };
        self.periods.iter().map(of_period).collect()
    }

    /// The same as a file.
    pub fn file(&self) -> MblkFile {
        let mut file = MblkFile::new(self.parameters.chain_id, self.parameters.thread_count);
        self.periods
            .iter()
            .for_each(|(period, slots)| file.push_period(*period, slots));
        file
    }
}

/// The two loads of the measurements.
pub struct Data {
    /// Periods as full as upstream lets them be: 300 kB of operations in each block.
    pub full: Periods,
    /// Everyday blocks: mostly transactions.
    pub everyday: Periods,
}

impl Data {
    /// Makes both from a seed: about 335 MB in three segments, so that one is written while the next one is read, and 180 MB in four.
    pub fn generate() -> Self {
        let full = GeneratorConfig {
            seed: SEED,
            miss_rate: 0.0,
            operations: 60..=60,
            payload_share: 1.0,
            payload_bytes: 4_500..=5_000,
            ..GeneratorConfig::default()
        };
        let everyday = GeneratorConfig {
            seed: SEED,
            operations: 0..=60,
            ..GeneratorConfig::default()
        };
        Self {
            full: generate(full, 35, 12),
            everyday: generate(everyday, 399, 100),
        }
    }

    /// Uses the blocks of a file for both.
    pub fn read(path: &Path) -> Self {
        Self {
            full: read(path),
            everyday: read(path),
        }
    }
}

/// Near-empty blocks, as they are the rule on today's chain: segments of [`SEGMENT_PERIODS_MAX`] periods. Nobody looks at
/// their signatures.
pub fn near_empty(periods: usize) -> Periods {
    let config = GeneratorConfig {
        seed: SEED,
        false_signatures: true,
        ..GeneratorConfig::near_empty()
    };
    generate(config, periods, SEGMENT_PERIODS_MAX)
}

/// Periods of the largest segment at whose end these periods end, so that all of them are in closed segments.
fn segment_periods(periods: &[(u64, Slots)]) -> u64 {
    let end = periods.last().map_or(1, |(last, _)| last + 1);
    let divides = (1..=SEGMENT_PERIODS_MAX).rev().find(|length| end % length == 0);
    divides.expect("1 divides every number")
}

fn generate(config: GeneratorConfig, periods: usize, segment_periods: u64) -> Periods {
    let mut generator = Generator::new(config);
    let parameters = generator.parameters();
    let periods: Vec<(u64, Slots)> = (0..periods)
        .map(|_| (generator.period(), generator.next_period()))
        .collect();
    let parameters = ArchiveParameters {
        segment_periods,
        ..parameters
    };
    Periods { parameters, periods }
}

fn read(path: &Path) -> Periods {
    let file = read_mblk(path);
    let periods: Vec<(u64, Slots)> = file.periods().into_iter().collect();
    let (first_period, slots) = periods.first().expect("the file has a block");
    let first = slots.iter().flatten().next().expect("a period of the file has a block");
    let view = first
        .view(file.thread_count)
        .expect("blocks of the file are well-formed");
    let parameters = ArchiveParameters {
        first_period: *first_period,
        boundary: view.parents().collect(),
        segment_periods: segment_periods(&periods),
        ..ArchiveParameters::new(file.chain_id, file.thread_count)
    };
    Periods { parameters, periods }
}
