//! Reading blocks back, and verifying the whole store.

use super::baseline::{ed25519_batches, signatures};
use super::closing::{all_indexed, open, stored};
use super::data::Periods;
use super::report::{Row, Target};
use super::timing::{medians, microseconds, MEGA};
use massa_distributed_storage_exports::merkle::leaf_hash;
use massa_distributed_storage_exports::types::{LEAF_BYTES, PAGE_BYTES};
use massa_distributed_storage_worker::serve::lookup::{ById, Lookup};
use massa_distributed_storage_worker::serve::period_read::ReadCheck;
use massa_distributed_storage_worker::serve::to_readers::ArchiveReader;
use massa_distributed_storage_worker::storage_backend::SegmentStore;
use massa_models::block_id::BlockId;
use rand::seq::SliceRandom;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Reads of which the median is taken.
const READS: usize = 2000;

/// Verifying, then blocks by id: warm, with signatures, and from a store that was just opened.
pub fn rows(periods: &Periods) -> Vec<Row> {
    let (directory, store) = stored(periods);
    let verified = whole_verify(&store, periods);
    let ids = shuffled_ids(periods);
    let warm = read_blocks(&store, &ids, ReadCheck::Merkle, READS);
    let warm = read_blocks(&store, &ids, ReadCheck::Merkle, READS).min(warm);
    let meaning = read_blocks(&store, &ids, ReadCheck::Meaning, READS / 10);
    store.close();
    drop(store);
    let dropped = std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
    let store = open(&directory.path().join("store"), &periods.parameters, all_indexed());
    let cold = read_blocks(&store, &ids, ReadCheck::Merkle, ids.len().min(200));
    store.close();
    let cold_name = if dropped {
        "block by id, cold"
    } else {
        "block by id, store just opened (caches of the system warm)"
    };
    let row = |name, value, limit, target| Row {
        name,
        value,
        unit: "µs",
        limit,
        target,
    };
    let limit = Some(("hash of one page", page_hash()));
    vec![
        verified,
        row("block by id, warm, Merkle-checked", warm, limit, Target::AtMost(300.0)),
        row("block by id, warm, signatures too", meaning, None, Target::None),
        row(cold_name, cold, None, Target::None),
    ]
}

fn whole_verify(store: &SegmentStore, periods: &Periods) -> Row {
    let signed = signatures(periods, true);
    let megabytes = periods.bytes() as f64 / MEGA;
    let [verified, batches] = medians([
        Box::new(|| {
            let begin = Instant::now();
            let report = store.verify(&|_, _| {}).expect("the store reads");
            assert!(report.is_clean(), "{:?}", report.damages);
            begin.elapsed()
        }),
        Box::new(|| ed25519_batches(&signed)),
    ]);
    Row {
        name: "verify everything",
        value: megabytes / verified,
        unit: "MB/s",
        limit: Some(("batch ed25519 with endorsements, all cores", megabytes / batches)),
        target: Target::None,
    }
}

fn shuffled_ids(periods: &Periods) -> Vec<BlockId> {
    let threads = periods.parameters.thread_count;
    let id = |record: &massa_distributed_storage_exports::record::BlockRecord| {
        record.view(threads).expect("the block is well-formed").block_id()
    };
    let mut ids: Vec<BlockId> = periods.records().map(id).collect();
    ids.shuffle(&mut ChaCha20Rng::seed_from_u64(2));
    ids
}

/// Time of hashing one page in microseconds.
fn page_hash() -> f64 {
    let page = vec![7; PAGE_BYTES];
    let hash = |page: &[u8]| -> Vec<[u8; 32]> { page.chunks(LEAF_BYTES).map(leaf_hash).collect() };
    let begin = Instant::now();
    for _ in 0..100 {
        black_box(hash(black_box(&page)));
    }
    begin.elapsed().as_secs_f64() * MEGA / 100.0
}

/// Median time of a read in microseconds.
fn read_blocks(store: &Arc<SegmentStore>, ids: &[BlockId], check: ReadCheck, count: usize) -> f64 {
    let reader = ArchiveReader::new(Arc::clone(store), None, Duration::from_secs(10));
    let lookup = Lookup::new(Arc::new(reader));
    let times = ids.iter().cycle().take(count).map(|id| {
        let begin = Instant::now();
        let read = lookup.block(*id, check, 0, begin).expect("the block is read");
        assert!(matches!(read, ById::Read(_)), "the block is archived");
        black_box(read);
        begin.elapsed()
    });
    microseconds(times.collect())
}
