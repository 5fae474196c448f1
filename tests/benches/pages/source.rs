//! Chunks to measure with.

use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::DEFAULT_CHUNK_BYTES;
use massa_tests::period_bytes::{period_bytes, signature_bytes};
use massa_tests::{data_path, Generator, GeneratorConfig, MblkFile};
use std::io::Read;
use std::path::{Path, PathBuf};

const CHUNK_BYTES: usize = DEFAULT_CHUNK_BYTES as usize;

/// Whole chunks of a segment body. The first half of them is for training, the second is measured.
pub struct Source {
    name: String,
    training: Vec<u8>,
    /// Chunks of the same kind of chain with other keys.
    foreign: Option<Vec<u8>>,
    measured: Vec<u8>,
    signature_bytes: usize,
}

impl Source {
    /// The blocks of an `.mblk` file, packed with zstd or not.
    pub fn read(path: &Path) -> Self {
        let mut bytes = std::fs::read(path).expect("the file can be read");
        if path.extension().is_some_and(|extension| extension == "zst") {
            let mut plain = Vec::new();
            let mut decoder = zstd::stream::read::Decoder::new(&bytes[..]).expect("the file is packed with zstd");
            decoder.read_to_end(&mut plain).expect("the file is whole");
            bytes = plain;
        }
        let file = MblkFile::from_bytes(&bytes);
        let name = path.file_name().expect("a file has a name").to_string_lossy();
        let periods: Vec<_> = file.periods().into_values().collect();
        Self::new(name.into_owned(), &periods, None)
    }

    fn new(name: String, periods: &[Vec<Option<BlockRecord>>], foreign: Option<Vec<u8>>) -> Self {
        let (body, signatures) = body(periods);
        // A short file is one chunk and a bit: then its pages are split, not its chunks.
        let unit = if body.len() < 4 * CHUNK_BYTES {
            CHUNK_BYTES / 4
        } else {
            CHUNK_BYTES
        };
        let middle = body.len() / 2 / unit * unit;
        let (training, measured) = body.split_at(middle);
        Self {
            name,
            training: training.to_vec(),
            foreign,
            signature_bytes: signatures * measured.len() / body.len(),
            measured: measured.to_vec(),
        }
    }

    pub fn describe(&self) -> String {
        format!("**{}** ({:.1} MB measured)", self.name, self.plain_bytes() as f64 / 1e6)
    }

    pub fn plain_bytes(&self) -> usize {
        self.measured.len()
    }

    /// Share of the measured chunks in the leading signatures.
    pub fn signature_bytes(&self) -> usize {
        self.signature_bytes
    }

    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.measured.chunks(CHUNK_BYTES)
    }

    pub fn training(&self) -> &[u8] {
        &self.training
    }

    pub fn foreign(&self) -> Option<&[u8]> {
        self.foreign.as_deref()
    }
}

fn body(periods: &[Vec<Option<BlockRecord>>]) -> (Vec<u8>, usize) {
    let body: Vec<u8> = periods.iter().flat_map(|slots| period_bytes(slots)).collect();
    (body, periods.iter().map(|slots| signature_bytes(slots)).sum())
}

/// The blocks that are part of this repository.
pub fn committed_file() -> PathBuf {
    data_path("upstream-blocks-4-periods.mblk")
}

/// Near-empty chains that differ in how often a key returns.
pub fn near_empty(periods: usize) -> impl Iterator<Item = Source> {
    let kinds = [(300, 0.0), (1_000, 1.0), (1_000, 0.7), (1_000, 0.0), (3_000, 0.0)];
    kinds.into_iter().map(move |(stakers, stake_skew)| {
        let config = GeneratorConfig {
            stakers,
            stake_skew,
            ..GeneratorConfig::near_empty()
        };
        let name = format!("near-empty, {stakers} stakers, skew {stake_skew}");
        let foreign = GeneratorConfig {
            seed: 1,
            ..config.clone()
        };
        Source::new(
            name,
            &generate(config, periods),
            Some(body(&generate(foreign, periods / 2)).0),
        )
    })
}

fn generate(config: GeneratorConfig, periods: usize) -> Vec<Vec<Option<BlockRecord>>> {
    let mut generator = Generator::new(config);
    (0..periods).map(|_| generator.next_period()).collect()
}
