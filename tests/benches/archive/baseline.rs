//! The limits: what the machine does without the archive.

use super::data::Periods;
use massa_distributed_storage_exports::merkle::leaf_hash;
use massa_distributed_storage_exports::types::{LEAF_BYTES, PAGE_BYTES};
use massa_distributed_storage_exports::verification::verify_block;
use massa_hash::Hash;
use massa_models::secure_share::{Id, SecureShare, SecureShareContent};
use massa_signature::{verify_signature_batch, PublicKey, Signature};
use rocksdb::{DBCompressionType, Options, WriteBatch, WriteOptions, DB};
use std::fmt::Display;
use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::time::{Duration, Instant};

/// A signed hash with its signature and key.
pub type Signed = (Hash, Signature, PublicKey);

/// Signatures of one batch: larger ones are hardly faster.
const BATCH: usize = 256;

/// Time of storing `values` in plain RocksDB, in 64 KiB puts, one batch for each value.
pub fn rocksdb_puts(values: &[&[u8]], sync: bool) -> Duration {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut options = Options::default();
    options.create_if_missing(true);
    // As the store's pages are kept, so that the ratio is of the archive alone.
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(32 << 20);
    let db = DB::open(&options, directory.path()).expect("RocksDB opens");
    let mut write = WriteOptions::default();
    write.set_sync(sync);
    let begin = Instant::now();
    for (number, value) in values.iter().enumerate() {
        let mut batch = WriteBatch::default();
        for (page, bytes) in value.chunks(PAGE_BYTES).enumerate() {
            batch.put(
                [(number as u64).to_be_bytes(), (page as u64).to_be_bytes()].concat(),
                bytes,
            );
        }
        db.write_opt(batch, &write).expect("RocksDB writes");
    }
    begin.elapsed()
}

/// Time of writing `values` to one file, one after the other, and of waiting for the disk.
pub fn sequential_write(values: &[&[u8]]) -> Duration {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let mut file = File::create(directory.path().join("values")).expect("a file can be made");
    let begin = Instant::now();
    for value in values {
        file.write_all(value).expect("the disk takes it");
    }
    file.sync_data().expect("the disk takes it");
    begin.elapsed()
}

/// Time of hashing `values` in leaves on one core.
pub fn blake3_leaves(values: &[&[u8]]) -> Duration {
    let begin = Instant::now();
    for leaf in values.iter().flat_map(|value| value.chunks(LEAF_BYTES)) {
        black_box(leaf_hash(leaf));
    }
    begin.elapsed()
}

/// What the signatures of `periods` sign: headers and operations, and endorsements if asked for.
pub fn signatures(periods: &Periods, endorsements: bool) -> Vec<Signed> {
    let mut signed = Vec::new();
    for record in periods.records() {
        let block = verify_block(record, periods.parameters.chain_id, periods.parameters.thread_count)
            .expect("the blocks measured with are valid");
        let header = &block.block().content.header;
        signed.push(signed_hash(header));
        if endorsements {
            signed.extend(header.content.endorsements.iter().map(signed_hash));
        }
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

/// Time of checking `signed` in batches on all cores; keys are decompressed beforehand.
pub fn ed25519_batches(signed: &[Signed]) -> Duration {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let begin = Instant::now();
    std::thread::scope(|scope| {
        for part in signed.chunks(signed.len().div_ceil(cores).max(1)) {
            scope.spawn(move || {
                for batch in part.chunks(BATCH) {
                    black_box(verify_signature_batch(batch).is_ok());
                }
            });
        }
    });
    begin.elapsed()
}
