//! A synthetic chain in a store, through the writer that a node would use.

use super::network::processor_seconds;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::archive::ingest::{Acknowledge, Ingest, IngestOptions, Keep, KeepChunk};
use massa_distributed_storage_worker::archive::rows::Packing;
use massa_distributed_storage_worker::storage_backend::{SegmentStore, SegmentStoreOptions};
use massa_tests::{Generator, GeneratorConfig};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{sync_channel, Receiver};
use std::sync::Arc;
use std::time::Instant;

/// Periods of a segment, as on the real chain.
pub const SEGMENT_PERIODS: u64 = 100;
/// One chunk of so many is held: a network of many nodes.
const HELD_ONE_IN: u64 = 8;
/// Periods that are generated ahead.
const AHEAD: usize = 32;

/// A block for each thread, or none.
type Slots = Vec<Option<BlockRecord>>;

/// What was taken in.
pub struct Taken {
    pub periods: u64,
    pub bytes: u64,
    pub seconds: f64,
    /// Of the writer's thread.
    pub processor_seconds: f64,
}

/// How long a start took, and the rows that it read.
#[derive(Clone, Copy)]
pub struct Opened {
    pub store_seconds: f64,
    pub writer_seconds: f64,
    pub rows: u64,
}

/// The chain so far, and its store.
pub struct History {
    pub parameters: ArchiveParameters,
    path: PathBuf,
    generated: Receiver<Slots>,
    ingest: Option<Ingest<SegmentStore>>,
    periods: u64,
    /// Bytes of all records, signatures included.
    pub record_bytes: u64,
}

/// Near-empty blocks whose signatures are random bytes: the writer checks ids, never signatures.
fn config() -> GeneratorConfig {
    GeneratorConfig {
        seed: 11,
        false_signatures: true,
        ..GeneratorConfig::near_empty()
    }
}

/// Which chunks are held: the same at every size.
fn keep() -> KeepChunk {
    Box::new(|position, _| match position.number() % HELD_ONE_IN {
        0 => Some(Keep::Holder),
        _ => None,
    })
}

impl History {
    /// No period yet. Generating goes on in a thread of its own until this value is dropped.
    pub fn new(path: &Path) -> Self {
        let mut generator = Generator::new(config());
        let parameters = generator.parameters();
        assert_eq!(parameters.segment_periods, SEGMENT_PERIODS);
        let (sender, generated) = sync_channel(AHEAD);
        std::thread::spawn(move || while sender.send(generator.next_period()).is_ok() {});
        let path = path.join("store");
        let (ingest, _) = open(&path, &parameters);
        Self {
            parameters,
            path,
            generated,
            ingest: Some(ingest),
            periods: 0,
            record_bytes: 0,
        }
    }

    fn ingest(&mut self) -> &mut Ingest<SegmentStore> {
        self.ingest.as_mut().expect("the store is open")
    }

    pub fn store(&self) -> &Arc<SegmentStore> {
        self.ingest.as_ref().expect("the store is open").store()
    }

    /// Takes blocks until the history has so many periods, a multiple of a segment's, and closes all its segments.
    pub fn grow_to(&mut self, periods: u64) -> Taken {
        let (begin, bytes, before) = (Instant::now(), self.record_bytes, self.periods);
        let processor_seconds = processor_seconds(|| self.archive_to(periods));
        Taken {
            periods: periods - before,
            bytes: self.record_bytes - bytes,
            seconds: begin.elapsed().as_secs_f64(),
            processor_seconds,
        }
    }

    fn archive_to(&mut self, periods: u64) {
        let taken = periods - self.periods;
        for _ in 0..taken {
            let slots = self.generated.recv().expect("the generator goes on");
            slots.into_iter().flatten().for_each(|record| self.take(record));
            self.periods += 1;
        }
        let end = self.parameters.first_period + self.periods;
        // Nobody knows what follows: the last empty slots are misses.
        let misses = end - SEGMENT_PERIODS..=end - 1;
        let progress = self.ingest().declare_misses(misses).expect("slots are misses");
        assert_eq!(progress.stalled, None);
        self.close_segments();
        self.ingest().finish().expect("the store can be written");
        let segments = self.store().counters().expect("counters are there").segments;
        assert_eq!(segments, self.periods / SEGMENT_PERIODS, "every segment is closed");
    }

    fn take(&mut self, record: BlockRecord) {
        self.record_bytes += record.as_bytes().len() as u64;
        let progress = self.ingest().add(record).expect("generated blocks are taken");
        assert_eq!(progress.stalled, None);
        self.close_segments();
    }

    fn close_segments(&mut self) {
        while self.ingest().is_closing() {
            let progress = self.ingest().close_slice().expect("a segment can be closed");
            assert_eq!(progress.stalled, None);
        }
    }

    /// Stops and starts, as a node does.
    pub fn reopen(&mut self) -> Opened {
        let ingest = self.ingest.take().expect("the store is open");
        ingest.store().close();
        drop(ingest);
        let (ingest, opened) = open(&self.path, &self.parameters);
        self.ingest = Some(ingest);
        opened
    }
}

fn open(path: &Path, parameters: &ArchiveParameters) -> (Ingest<SegmentStore>, Opened) {
    let begin = Instant::now();
    let store = SegmentStore::open_or_create(SegmentStoreOptions::new(path), parameters).expect("the store opens");
    let store_seconds = begin.elapsed().as_secs_f64();
    let options = IngestOptions {
        acknowledge: Acknowledge::AtFinish,
        keep: keep(),
        held_back_bytes_max: u64::MAX,
    };
    let begin = Instant::now();
    let store = Arc::new(store);
    let (mut ingest, _) = Ingest::open(Arc::clone(&store), options).expect("the writer starts");
    // As a node that keeps up.
    ingest.set_packing(Packing::Packed);
    let opened = Opened {
        store_seconds,
        writer_seconds: begin.elapsed().as_secs_f64(),
        rows: store.rows_read(),
    };
    (ingest, opened)
}
