//! What is measured.

use super::baseline::{blake3_leaves, ed25519_batches, rocksdb_puts, signatures};
use super::data::{Data, Periods, Places};
use super::report::{Row, Target};
use massa_client::archive::import::{import, ImportArguments};
use massa_distributed_storage_exports::merkle::leaf_hash;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::{LEAF_BYTES, PAGE_BYTES};
use massa_distributed_storage_exports::verification::verify_block;
use massa_distributed_storage_exports::{ArchiveParameters, ChunkIndex, StorageArchiver};
use massa_distributed_storage_worker::chunking::EncodedPeriod;
use massa_distributed_storage_worker::storage_backend::read::Check;
use massa_distributed_storage_worker::storage_backend::writer::Durability;
use massa_distributed_storage_worker::storage_backend::PendingRows;
use massa_distributed_storage_worker::{
    start_distributed_storage_worker, Acknowledge, Ingest, Store, StoreOptions, WorkerOptions,
};
use massa_models::active_block::ActiveBlock;
use massa_models::block_id::BlockId;
use massa_models::prehash::PreHashSet;
use massa_models::slot::Slot;
use massa_storage::Storage;
use massa_tests::mblk::write_mblk;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::{tempdir, TempDir};

/// Times that both sides of a ratio are measured.
const ROUNDS: usize = 5;
/// Reads of which the median is taken.
const READS: usize = 2000;
const MEGA: f64 = 1e6;

/// Measures everything.
pub fn all(data: &Data) -> Vec<Row> {
    let mut rows = archiving(&data.full);
    rows.push(pending_rows(&data.full));
    rows.extend(imports(&data.everyday, "everyday blocks"));
    rows.extend(imports(&data.full, "full blocks"));
    let (directory, store) = stored(&data.everyday);
    rows.push(whole_verify(&store, &data.everyday));
    rows.extend(reads(&store, &data.everyday, directory.path()));
    rows.extend(proofs(&store));
    rows.push(hook(&data.everyday));
    rows
}

/// Runs all of `sides` alternately, each round beginning with another one; the median time of each.
pub fn medians<const N: usize>(mut sides: [Box<dyn FnMut() -> Duration + '_>; N]) -> [f64; N] {
    let mut times = [(); N].map(|()| Vec::new());
    for round in 0..ROUNDS {
        for side in (0..N).map(|side| (side + round) % N) {
            settle();
            times[side].push(sides[side]());
        }
    }
    times.map(|times| median(times).as_secs_f64())
}

/// Lets the disk finish what the side before left behind.
fn settle() {
    let synced = Command::new("sync").status().expect("the system has sync");
    assert!(synced.success());
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn open(path: &Path, parameters: &ArchiveParameters, operation_index: bool) -> Arc<Store> {
    let options = StoreOptions {
        operation_index,
        ..StoreOptions::new(path)
    };
    Arc::new(Store::open(options, parameters.clone()).expect("the store opens"))
}

fn borrowed(places: &Places) -> Vec<Option<&BlockRecord>> {
    places.iter().map(Option::as_ref).collect()
}

/// Encoding, hashing, trees and durable storing of complete periods.
fn archive(periods: &Periods, operation_index: bool) -> Duration {
    let directory = tempdir().expect("a directory can be made");
    let store = open(directory.path(), &periods.parameters, operation_index);
    let begin = Instant::now();
    for (period, places) in &periods.periods {
        let places = borrowed(places);
        let encoded = EncodedPeriod::new(&periods.parameters, *period, &places).expect("the period encodes");
        store
            .put_period(
                &encoded,
                &places,
                &vec![true; encoded.chunks.len()],
                &PendingRows::default(),
                Durability::Synced,
            )
            .expect("the store writes");
    }
    begin.elapsed()
}

fn archiving(periods: &Periods) -> Vec<Row> {
    let encoded: Vec<EncodedPeriod> = periods
        .periods
        .iter()
        .map(|(period, places)| {
            EncodedPeriod::new(&periods.parameters, *period, &borrowed(places)).expect("it encodes")
        })
        .collect();
    let values: Vec<Vec<u8>> = encoded
        .iter()
        .map(|period| [&period.body.bytes[..], &period.body.signatures].concat())
        .collect();
    let bodies: Vec<&[u8]> = encoded.iter().map(|period| &period.body.bytes[..]).collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let megabytes = values.iter().map(|value| value.len()).sum::<usize>() as f64 / MEGA;
    let [archived, indexed, puts, hashed] = medians([
        Box::new(|| archive(periods, false)),
        Box::new(|| archive(periods, true)),
        Box::new(|| rocksdb_puts(&values, true)),
        Box::new(|| blake3_leaves(&bodies)),
    ]);
    let puts = ("RocksDB puts, synced", megabytes / puts);
    let row = |name, seconds: f64, limit, target| Row {
        name,
        value: megabytes / seconds,
        unit: "MB/s",
        limit: Some(limit),
        target,
    };
    vec![
        row("archive complete periods", archived, puts, Target::Ratio(0.8)),
        row(
            "archive complete periods, with operation index",
            indexed,
            puts,
            Target::None,
        ),
        row(
            "archive complete periods",
            archived,
            ("BLAKE3 of 1 KiB leaves, one core", megabytes / hashed),
            Target::None,
        ),
    ]
}

/// The synced row of each block as it arrives.
fn pending_rows(periods: &Periods) -> Row {
    let directory = tempdir().expect("a directory can be made");
    let store = open(directory.path(), &periods.parameters, true);
    let times = periods.periods.iter().flat_map(|(period, places)| {
        let store = &store;
        places.iter().flatten().zip(0..).map(move |(record, thread)| {
            let rows = PendingRows {
                blocks: vec![(Slot::new(*period, thread), record)],
                ..PendingRows::default()
            };
            let begin = Instant::now();
            store.put_pending(&rows, Durability::Synced).expect("the store writes");
            begin.elapsed()
        })
    });
    let value = median(times.collect()).as_secs_f64() * MEGA;
    Row {
        name: "pending row of a full block, synced",
        value,
        unit: "µs",
        limit: None,
        target: Target::None,
    }
}

fn import_file(file: &Path, checked: bool) -> Duration {
    let directory = tempdir().expect("a directory can be made");
    let arguments = ImportArguments {
        file: file.to_path_buf(),
        dir: directory.path().join("store"),
        segment_periods: None,
        chunk_size: None,
        no_operation_index: true,
        no_verify_signatures: !checked,
        complete: true,
    };
    let begin = Instant::now();
    black_box(import(&arguments).expect("the file imports"));
    begin.elapsed()
}

fn imports(periods: &Periods, load: &str) -> Vec<Row> {
    let directory = tempdir().expect("a directory can be made");
    let file = directory.path().join("blocks.mblk");
    write_mblk(&file, &periods.file());
    let values: Vec<Vec<u8>> = periods
        .periods
        .iter()
        .map(|(_, places)| {
            places
                .iter()
                .flatten()
                .flat_map(|record| record.as_bytes())
                .copied()
                .collect()
        })
        .collect();
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    let signed = signatures(periods, false);
    let megabytes = periods.bytes() as f64 / MEGA;
    let [checked, batches, unchecked, puts] = medians([
        Box::new(|| import_file(&file, true)),
        Box::new(|| ed25519_batches(&signed)),
        Box::new(|| import_file(&file, false)),
        Box::new(|| rocksdb_puts(&values, false)),
    ]);
    let everyday = load == "everyday blocks";
    let names = if everyday {
        [
            "import, signatures checked, everyday blocks",
            "import, signatures unchecked, everyday blocks",
        ]
    } else {
        [
            "import, signatures checked, full blocks",
            "import, signatures unchecked, full blocks",
        ]
    };
    let limits = [
        ("batch ed25519, all cores", megabytes / batches),
        ("RocksDB puts, unsynced", megabytes / puts),
    ];
    // Full blocks have few signatures for their bytes: there the disk is the limit of both.
    let targets = if everyday {
        [Target::Ratio(0.9), Target::None]
    } else {
        [Target::None, Target::Ratio(0.8)]
    };
    let seconds = [checked, unchecked];
    (0..2)
        .map(|side| Row {
            name: names[side],
            value: megabytes / seconds[side],
            unit: "MB/s",
            limit: Some(limits[side]),
            target: targets[side],
        })
        .collect()
}

/// A store with `periods` archived, all in tables.
fn stored(periods: &Periods) -> (TempDir, Arc<Store>) {
    let directory = tempdir().expect("a directory can be made");
    let store = open(directory.path(), &periods.parameters, true);
    let (mut ingest, _) = Ingest::open(
        Arc::clone(&store),
        Acknowledge::EachPeriod,
        massa_distributed_storage_worker::ingest::keep_all(),
    )
    .expect("the store opens");
    for record in periods.records() {
        ingest.add(record.clone()).expect("the block is taken");
    }
    let (first, last) = (periods.periods[0].0, periods.periods[periods.periods.len() - 1].0);
    ingest.declare_misses(first..=last).expect("the periods are taken");
    ingest.finish().expect("the store writes");
    drop(ingest);
    store.close();
    // Opening moves what is in the log into tables.
    let store = open(directory.path(), &periods.parameters, true);
    (directory, store)
}

fn whole_verify(store: &Store, periods: &Periods) -> Row {
    let signed = signatures(periods, true);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let megabytes = periods.bytes() as f64 / MEGA;
    let [verified, batches] = medians([
        Box::new(|| {
            let begin = Instant::now();
            let report = store.verify(cores, &|_, _| {}).expect("the store reads");
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

fn reads(store: &Store, periods: &Periods, path: &Path) -> Vec<Row> {
    let threads = periods.parameters.thread_count;
    let mut ids: Vec<BlockId> = periods
        .records()
        .map(|record| record.view(threads).expect("the block is well-formed").block_id())
        .collect();
    ids.shuffle(&mut ChaCha20Rng::seed_from_u64(2));
    let warm = read_blocks(store, &ids, Check::Merkle, READS);
    let warm = read_blocks(store, &ids, Check::Merkle, READS).min(warm);
    let meaning = read_blocks(store, &ids, Check::Meaning, READS / 10);
    let page = vec![7; PAGE_BYTES];
    let begin = Instant::now();
    for _ in 0..100 {
        black_box(hash_page(black_box(&page)));
    }
    let page_hash = begin.elapsed().as_secs_f64() * MEGA / 100.0;
    let cold = cold_read(store, &ids, path, &periods.parameters);
    let row = |name, value, limit, target| Row {
        name,
        value,
        unit: "µs",
        limit,
        target,
    };
    vec![
        row(
            "block by id, warm, Merkle-checked",
            warm,
            Some(("hash of one page", page_hash)),
            Target::AtMost(300.0),
        ),
        row("block by id, warm, signatures too", meaning, None, Target::None),
        row(cold.0, cold.1, None, Target::None),
    ]
}

fn hash_page(page: &[u8]) -> Vec<[u8; 32]> {
    page.chunks(LEAF_BYTES).map(leaf_hash).collect()
}

/// Median time of a read in microseconds.
fn read_blocks(store: &Store, ids: &[BlockId], check: Check, count: usize) -> f64 {
    let times = ids.iter().cycle().take(count).map(|id| {
        let begin = Instant::now();
        let slot = store.find_block(id).expect("the block is archived");
        black_box(store.place(slot, check).expect("the block is read"));
        begin.elapsed()
    });
    median(times.collect()).as_secs_f64() * MEGA
}

/// Reads from a store that was just opened, with the system's caches dropped where that is permitted.
fn cold_read(store: &Store, ids: &[BlockId], path: &Path, parameters: &ArchiveParameters) -> (&'static str, f64) {
    store.close();
    let dropped = std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
    let store = open(path, parameters, true);
    let time = read_blocks(&store, ids, Check::Merkle, ids.len().min(200));
    store.close();
    let name = if dropped {
        "block by id, cold"
    } else {
        "block by id, store just opened (caches of the system warm)"
    };
    (name, time)
}

/// Four draws over what is archived: construction and check, against reading and hashing four pages.
fn proofs(closed: &Store) -> Vec<Row> {
    let store = open(closed.path(), closed.parameters(), true);
    let mut random = ChaCha20Rng::seed_from_u64(3);
    let periods = store.archived_periods().expect("the store reads");
    let draws: Vec<(u64, u32)> = (0..4 * READS / 10)
        .map(|_| {
            let period = *periods.choose(&mut random).expect("a period is archived");
            let manifest = store.archived_manifest(period).expect("the period is archived");
            (period, random.gen_range(0..manifest.chunks[0].leaf_count()))
        })
        .collect();
    let (mut built, mut checked) = (Vec::new(), Vec::new());
    for four in draws.chunks_exact(4) {
        let begin = Instant::now();
        let proofs: Vec<_> = four
            .iter()
            .map(|(period, leaf)| {
                let leaf = store
                    .prove_leaf(*period, ChunkIndex(0), *leaf)
                    .expect("the leaf is kept");
                (
                    leaf,
                    store
                        .prove_chunk(*period, ChunkIndex(0))
                        .expect("the chunk is archived"),
                )
            })
            .collect();
        built.push(begin.elapsed());
        let begin = Instant::now();
        for ((entry, leaf), chunk) in &proofs {
            leaf.verify(entry).expect("the leaf is proven");
            chunk
                .path
                .verify(&chunk.leaf, &chunk.segment_root)
                .expect("the chunk is proven");
        }
        checked.push(begin.elapsed());
    }
    let limit = page_reads(&store, &draws);
    let microseconds = |times| median(times).as_secs_f64() * MEGA;
    let row = |name, value, limit, target| Row {
        name,
        value,
        unit: "µs",
        limit,
        target,
    };
    let limit = Some(("four page reads with 64 leaf hashes each", limit));
    vec![
        row(
            "proof of 4 draws, warm",
            microseconds(built),
            limit,
            Target::AtMost(1000.0),
        ),
        row(
            "check of a proof of 4 draws",
            microseconds(checked),
            None,
            Target::AtMost(100.0),
        ),
    ]
}

/// Median time of reading and hashing the pages of four draws, in microseconds.
fn page_reads(store: &Store, draws: &[(u64, u32)]) -> f64 {
    let times = draws.chunks_exact(4).map(|four| {
        let begin = Instant::now();
        for (period, leaf) in four {
            let manifest = store.archived_manifest(*period).expect("the period is archived");
            let pages = store
                .chunk(*period, 0, manifest.chunks[0])
                .expect("the store reads")
                .expect("the chunk is kept");
            black_box(store.page(*period, 0, &pages, leaf / 64).expect("the page is read"));
        }
        begin.elapsed()
    });
    median(times.collect()).as_secs_f64() * MEGA
}

/// Handing a final block over, on the caller's thread.
fn hook(periods: &Periods) -> Row {
    let directory = tempdir().expect("a directory can be made");
    let store = open(directory.path(), &periods.parameters, true);
    let root = Storage::create_root();
    let blocks: Vec<(ActiveBlock, Storage)> = periods
        .records()
        .take(1024)
        .map(|record| handed_over(periods, &root, record))
        .collect();
    let count = blocks.len();
    let (mut manager, handle) = start_distributed_storage_worker(
        store,
        WorkerOptions::new(count, massa_distributed_storage_worker::ingest::keep_all()),
    )
    .expect("the worker starts");
    let times = blocks.into_iter().map(|(active, content)| {
        let begin = Instant::now();
        handle.archive_finalized_block(active.slot.period, &active.block_id, &active, content);
        begin.elapsed()
    });
    let value = median(times.collect()).as_secs_f64() * MEGA;
    manager.stop();
    let row_limit = channel_send(&root, count);
    Row {
        name: "hook, for each final block",
        value,
        unit: "µs",
        limit: Some(("a move and a channel send", row_limit)),
        target: Target::AtMost(2.0),
    }
}

/// Median time of sending a storage through a bounded channel, in microseconds.
fn channel_send(root: &Storage, count: usize) -> f64 {
    let (sender, receiver) = crossbeam_channel::bounded(count);
    let contents: Vec<Storage> = (0..count).map(|_| root.clone_without_refs()).collect();
    let times = contents.into_iter().map(|content| {
        let begin = Instant::now();
        assert!(sender.try_send(content).is_ok());
        begin.elapsed()
    });
    let value = median(times.collect()).as_secs_f64() * MEGA;
    drop(receiver);
    value
}

/// A block as consensus lets go of it.
fn handed_over(periods: &Periods, root: &Storage, record: &BlockRecord) -> (ActiveBlock, Storage) {
    let parameters = &periods.parameters;
    let block = verify_block(record, parameters.chain_id, parameters.thread_count).expect("the block is valid");
    let mut content = root.clone_without_refs();
    content.store_block(block.block().clone());
    content.store_operations(block.operations().to_vec());
    let header = &block.block().content.header;
    let active = ActiveBlock {
        creator_address: header.content_creator_address,
        block_id: header.id,
        parents: Vec::new(),
        children: Vec::new(),
        descendants: PreHashSet::default(),
        is_final: true,
        slot: header.content.slot,
        fitness: 1,
        same_thread_parent_creator: None,
    };
    (active, content)
}
