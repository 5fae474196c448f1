//! What is measured with.

use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_tests::generator::{Generator, GeneratorConfig};
use massa_tests::mblk::{read_mblk, MblkFile};
use std::path::Path;

const SEED: u64 = 1;

/// One period: index = thread.
pub type Places = Vec<Option<BlockRecord>>;

/// Periods in a row, from the first period of an archive on.
pub struct Periods {
    pub parameters: ArchiveParameters,
    pub periods: Vec<(u64, Places)>,
}

impl Periods {
    /// Every block, in archive order.
    pub fn records(&self) -> impl Iterator<Item = &BlockRecord> + Clone {
        self.periods.iter().flat_map(|(_, places)| places.iter().flatten())
    }

    /// Bytes of all blocks and operations, signatures included.
    pub fn bytes(&self) -> u64 {
        self.records().map(|record| record.as_bytes().len() as u64).sum()
    }

    /// The same as a file.
    pub fn file(&self) -> MblkFile {
        let mut file = MblkFile::new(self.parameters.chain_id, self.parameters.thread_count);
        self.periods
            .iter()
            .for_each(|(period, places)| file.push_period(*period, places));
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
    /// Makes both from a seed: about 115 MB and 30 MB.
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
            full: generate(full, 12),
            everyday: generate(everyday, 99),
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

fn generate(config: GeneratorConfig, periods: usize) -> Periods {
    let mut generator = Generator::new(config);
    let parameters = generator.parameters();
    let periods = (0..periods)
        .map(|_| (generator.period(), generator.next_period()))
        .collect();
    Periods { parameters, periods }
}

fn read(path: &Path) -> Periods {
    let file = read_mblk(path);
    let periods: Vec<(u64, Places)> = file.periods().into_iter().collect();
    let (first_period, places) = periods.first().expect("the file has a block");
    let first = places
        .iter()
        .flatten()
        .next()
        .expect("a period of the file has a block");
    let view = first
        .view(file.thread_count)
        .expect("blocks of the file are well-formed");
    let parameters = ArchiveParameters {
        first_period: *first_period,
        boundary: view.parents().collect(),
        ..ArchiveParameters::new(file.chain_id, file.thread_count)
    };
    Periods { parameters, periods }
}
