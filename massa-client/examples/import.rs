//! How fast a file is imported into a store of segments, beside what bounds it: batch ed25519 on all cores, and plain RocksDB puts
//! of the same bytes, unsynced. All sides take turns in one run; ratios are of medians.
//!
//! `cargo run --release -p massa_client --example import [FILE.mblk[.zst]]`

use massa_client::archive::import::{import, ImportArguments};
use massa_client::archive::pipeline::Signatures;
use massa_client::mblk::{unpack, Reader};
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::verification::verify_block;
use massa_hash::Hash;
use massa_models::secure_share::{Id, SecureShare, SecureShareContent};
use massa_signature::{verify_signature_batch, PublicKey, Signature};
use massa_tests::generator::{Generator, GeneratorConfig};
use massa_tests::mblk::{write_mblk, MblkFile};
use rocksdb::{DBCompressionType, Options, WriteBatch, DB};
use std::fmt::Display;
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

const ROUNDS: usize = 5;
/// Periods of near-empty blocks.
const PERIODS: usize = 200;
/// Signatures of one batch: larger ones are hardly faster.
const BATCH: usize = 256;

type Signed = (Hash, Signature, PublicKey);

fn main() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    if let Some(file) = std::env::args_os().nth(1) {
        let plain = directory.path().join("file.mblk");
        let packed = File::open(&file).expect("the file opens");
        let mut input = unpack(packed).expect("the file unpacks");
        std::io::copy(&mut input, &mut File::create(&plain).expect("a file can be made")).expect("the file unpacks");
        measure("file", &plain, 10);
    }
    let plain = directory.path().join("near-empty.mblk");
    let mut generator = Generator::new(GeneratorConfig::near_empty());
    let mut file = MblkFile::new(generator.parameters().chain_id, generator.parameters().thread_count);
    for _ in 0..PERIODS {
        let period = generator.period();
        let slots = generator.next_period();
        file.push_period(period, &slots);
    }
    write_mblk(&plain, &file);
    measure("near-empty", &plain, 100);
}

fn measure(load: &str, file: &Path, segment_periods: u64) {
    let reader = Reader::new(File::open(file).expect("the file opens")).expect("it is an .mblk file");
    let (chain_id, threads) = (reader.chain_id(), reader.thread_count());
    let records: Vec<BlockRecord> = reader.map(|entry| entry.expect("it is whole").record).collect();
    let bytes: usize = records.iter().map(|record| record.as_bytes().len()).sum();
    let signed = signatures(&records, chain_id, threads);
    let mut times = [(); 4].map(|()| Vec::new());
    for round in 0..ROUNDS {
        for side in (0..4).map(|side| (side + round) % 4) {
            times[side].push(match side {
                0 => imported(file, segment_periods, Signatures::Checked),
                1 => ed25519(&signed),
                2 => imported(file, segment_periods, Signatures::Unchecked),
                _ => puts(&records),
            });
        }
    }
    let [checked, batches, unchecked, puts] = times.map(median);
    let rate = |seconds: f64| bytes as f64 / 1e6 / seconds;
    println!(
        "{load}: {bytes} bytes, {} blocks, {} signatures",
        records.len(),
        signed.len()
    );
    println!(
        "  checked   {:8.1} MB/s, ed25519 {:8.1} MB/s, ratio {:.2}",
        rate(checked),
        rate(batches),
        batches / checked
    );
    println!(
        "  unchecked {:8.1} MB/s, RocksDB {:8.1} MB/s, ratio {:.2}",
        rate(unchecked),
        rate(puts),
        puts / unchecked
    );
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn imported(file: &Path, segment_periods: u64, signatures: Signatures) -> Duration {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let options = ImportArguments {
        segment_periods: Some(segment_periods),
        no_verify_signatures: signatures == Signatures::Unchecked,
        complete: true,
        ..ImportArguments::new(file, directory.path())
    };
    let begin = Instant::now();
    let report = import(&options).expect("the file is imported");
    let time = begin.elapsed();
    black_box(report);
    time
}

fn signatures(records: &[BlockRecord], chain_id: u64, threads: u8) -> Vec<Signed> {
    let mut signed = Vec::new();
    for record in records {
        let block = verify_block(record, chain_id, threads).expect("the blocks are valid");
        signed.push(signed_hash(&block.block().content.header));
        signed.extend(block.operations().iter().map(signed_hash));
    }
    signed
}

fn signed_hash<T: SecureShareContent + Display, I: Id>(share: &SecureShare<T, I>) -> Signed {
    (
        share.compute_signed_hash(),
        share.signature,
        share.content_creator_pub_key,
    )
}

fn ed25519(signed: &[Signed]) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for part in signed.chunks(signed.len().div_ceil(cores).max(1)) {
            scope.spawn(move || {
                part.chunks(BATCH)
                    .for_each(|batch| drop(black_box(verify_signature_batch(batch))))
            });
        }
    });
    begin.elapsed()
}

/// A mebibyte in each batch, 64 KiB in each row.
fn puts(records: &[BlockRecord]) -> Duration {
    let bytes: Vec<u8> = records.iter().flat_map(|record| record.as_bytes()).copied().collect();
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(32 << 20);
    let db = DB::open(&options, directory.path()).expect("RocksDB opens");
    let begin = Instant::now();
    for (number, rows) in bytes.chunks(1 << 20).enumerate() {
        let mut batch = WriteBatch::default();
        for (page, row) in rows.chunks(PAGE_BYTES).enumerate() {
            batch.put(
                [(number as u64).to_be_bytes(), (page as u64).to_be_bytes()].concat(),
                row,
            );
        }
        db.write(batch).expect("RocksDB writes");
    }
    begin.elapsed()
}
