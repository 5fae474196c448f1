//! Blocks on their way into a closed segment.

use super::baseline::{blake3_leaves, rocksdb_puts, sequential_write};
use super::data::Periods;
use super::report::{Row, Target};
use super::timing::{medians, microseconds, MEGA};
use massa_distributed_storage_exports::stored_page::StoredPage;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::archive::ingest::{keep_all, Acknowledge, Ingest, IngestOptions, Progress};
use massa_distributed_storage_worker::archive::rows::Packing;
use massa_distributed_storage_worker::storage_backend::database::writer::Durability;
use massa_distributed_storage_worker::storage_backend::{
    IndexScope, IndexScopes, OpenRows, SegmentStore, SegmentStoreOptions,
};
use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::{tempdir, TempDir};

/// Pages whose packing is timed.
const PACKED_PAGES: usize = 256;

/// Closing segments of full blocks against plain RocksDB and the disk, and what is besides.
pub fn rows(periods: &Periods) -> Vec<Row> {
    let mut rows = closing(periods);
    rows.push(block_row(periods));
    rows.push(packing(periods));
    rows
}

pub fn all_indexed() -> IndexScopes {
    IndexScopes {
        blocks: IndexScope::All,
        operations: IndexScope::All,
        addresses: IndexScope::None,
    }
}

pub fn open(path: &Path, parameters: &ArchiveParameters, indexes: IndexScopes) -> Arc<SegmentStore> {
    let options = SegmentStoreOptions {
        indexes,
        ..SegmentStoreOptions::new(path)
    };
    Arc::new(SegmentStore::open_or_create(options, parameters).expect("the store opens"))
}

fn check(progress: &Progress) {
    assert_eq!(progress.stalled, None, "generated blocks are taken");
}

/// Takes all blocks in and closes all segments.
pub fn archive_into(store: &Arc<SegmentStore>, periods: &Periods, acknowledge: Acknowledge) {
    take_in(store, periods, acknowledge, None);
}

/// The same; pages are packed as `packing` says, or as is usual for `acknowledge`.
fn take_in(store: &Arc<SegmentStore>, periods: &Periods, acknowledge: Acknowledge, packing: Option<Packing>) {
    let options = IngestOptions {
        acknowledge,
        keep: keep_all(),
        held_back_bytes_max: u64::MAX,
    };
    let (mut ingest, _) = Ingest::open(Arc::clone(store), options).expect("the store opens");
    if let Some(packing) = packing {
        ingest.set_packing(packing);
    }
    for record in periods.records() {
        check(&ingest.add(record.clone()).expect("the blocks are valid"));
        close(&mut ingest);
    }
    let open = ingest.tracker().first_open();
    let last = periods.last_period();
    if open <= last {
        check(&ingest.declare_misses(open..=last).expect("nothing else is known"));
    }
    close(&mut ingest);
    ingest.finish().expect("the disk takes it");
    store.sync().expect("the disk takes it");
    let segments = store.counters().expect("the store reads").segments;
    assert_eq!(segments, periods.segments(), "every whole segment is closed");
}

fn close(ingest: &mut Ingest<SegmentStore>) {
    while ingest.is_closing() {
        check(&ingest.close_slice().expect("the store writes"));
    }
}

/// A store with `periods` in closed segments, their pages packed as those of a node that follows the chain.
pub fn stored_packed(periods: &Periods) -> (TempDir, Arc<SegmentStore>) {
    let directory = tempdir().expect("a directory can be made");
    let store = open(&directory.path().join("store"), &periods.parameters, all_indexed());
    take_in(&store, periods, Acknowledge::AtClose, Some(Packing::Packed));
    (directory, store)
}

/// A store with `periods` in closed segments, their pages as they are.
pub fn stored(periods: &Periods) -> (TempDir, Arc<SegmentStore>) {
    let directory = tempdir().expect("a directory can be made");
    let store = open(&directory.path().join("store"), &periods.parameters, all_indexed());
    archive_into(&store, periods, Acknowledge::AtClose);
    (directory, store)
}

fn archive(periods: &Periods, acknowledge: Acknowledge, indexes: IndexScopes) -> Duration {
    let directory = tempdir().expect("a directory can be made");
    let store = open(&directory.path().join("store"), &periods.parameters, indexes);
    let begin = Instant::now();
    archive_into(&store, periods, acknowledge);
    let time = begin.elapsed();
    store.close();
    time
}

/// Nothing but chunks and tables.
const NOT_INDEXED: IndexScopes = IndexScopes {
    blocks: IndexScope::None,
    operations: IndexScope::None,
    addresses: IndexScope::None,
};

fn closing(periods: &Periods) -> Vec<Row> {
    let bodies = periods.bodies();
    let values: Vec<&[u8]> = bodies.iter().map(Vec::as_slice).collect();
    let megabytes = values.iter().map(|value| value.len()).sum::<usize>() as f64 / MEGA;
    let [closed, indexed, each_block, puts, sequential, hashed] = medians([
        Box::new(|| archive(periods, Acknowledge::AtClose, NOT_INDEXED)),
        Box::new(|| archive(periods, Acknowledge::AtClose, IndexScopes::default())),
        Box::new(|| archive(periods, Acknowledge::EachBlock, IndexScopes::default())),
        Box::new(|| rocksdb_puts(&values, true)),
        Box::new(|| sequential_write(&values)),
        Box::new(|| blake3_leaves(&values)),
    ]);
    let row = |name, seconds: f64, limit: (&'static str, f64), target| Row {
        name,
        value: megabytes / seconds,
        unit: "MB/s",
        limit: Some((limit.0, megabytes / limit.1)),
        target,
    };
    let puts = ("RocksDB puts, synced", puts);
    let closing = "closing a segment: encode, hash, trees, store plain pages";
    vec![
        row(closing, closed, puts, Target::Ratio(0.8)),
        row(
            closing,
            closed,
            ("sequential write with fdatasync", sequential),
            Target::Ratio(0.5),
        ),
        row(
            closing,
            closed,
            ("BLAKE3 of 1 KiB leaves, one core", hashed),
            Target::None,
        ),
        row(
            "closing a segment, with the default indexes",
            indexed,
            puts,
            Target::None,
        ),
        row(
            "closing a segment, with a synced row for each block before",
            each_block,
            puts,
            Target::None,
        ),
    ]
}

/// The synced row of each block as it arrives.
fn block_row(periods: &Periods) -> Row {
    let directory = tempdir().expect("a directory can be made");
    let store = open(&directory.path().join("store"), &periods.parameters, NOT_INDEXED);
    let times = periods.slots().map(|(slot, record)| {
        let rows = OpenRows {
            blocks: vec![(slot, record)],
            ..OpenRows::default()
        };
        let begin = Instant::now();
        store.put_open(&rows, Durability::Synced).expect("the store writes");
        begin.elapsed()
    });
    let value = microseconds(times.collect());
    store.close();
    Row {
        name: "row of a full block, synced",
        value,
        unit: "µs",
        limit: None,
        target: Target::None,
    }
}

/// Packing pages, which follows when there is time.
fn packing(periods: &Periods) -> Row {
    let body = periods.bodies().concat();
    let pages: Vec<&[u8]> = body.chunks(PAGE_BYTES).take(PACKED_PAGES).collect();
    let megabytes = pages.iter().map(|page| page.len()).sum::<usize>() as f64 / MEGA;
    let [packed] = medians([Box::new(|| {
        let begin = Instant::now();
        for page in &pages {
            black_box(StoredPage::pack(page));
        }
        begin.elapsed()
    })]);
    Row {
        name: "packing pages of full blocks, one core",
        value: megabytes / packed,
        unit: "MB/s",
        limit: None,
        target: Target::None,
    }
}
