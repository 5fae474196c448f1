//! Measures how pages of closed segments are best stored: the figures of `docs/decisions/0034-how-pages-are-stored.md`.
//!
//! `cargo run --release -p massa_distributed_storage_worker --example page_storage -- DIRECTORY [MEGABYTES]`

use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use rocksdb::statistics::Ticker;
use rocksdb::{
    BlockBasedOptions, Cache, IngestExternalFileOptions, Options, SstFileWriter, WaitForCompactOptions, WriteBatch,
    WriteOptions, DB,
};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

const PAGE_BYTES: usize = 64 << 10;
const PAGES_A_CHUNK: u16 = 16;
const BUFFER_BYTES: usize = 8 << 20;
const TABLE_BYTES: u64 = 64 << 20;
const READS: usize = 2000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Puts,
    PutsSynced,
    Blobs,
    Tables,
}

type Error = Box<dyn std::error::Error>;

fn key(segment: u64, chunk: u16, page: u16) -> [u8; 12] {
    let mut key = [0; 12];
    key[..8].copy_from_slice(&segment.to_be_bytes());
    key[8..10].copy_from_slice(&chunk.to_be_bytes());
    key[10..].copy_from_slice(&page.to_be_bytes());
    key
}

/// Chunks of each segment, until there are enough bytes.
fn segments(megabytes: u64) -> Vec<u16> {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let (mut chunks, mut all) = (Vec::new(), 0);
    while all < megabytes {
        // Many small ones and a few large ones, as a share of a chain with bursts.
        let count = if rng.gen_ratio(1, 4) {
            rng.gen_range(60..=200)
        } else {
            rng.gen_range(5..60)
        };
        chunks.push(count);
        all += u64::from(count);
    }
    chunks
}

fn options(way: Way) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.enable_statistics();
    options.set_write_buffer_size(BUFFER_BYTES);
    options.set_max_bytes_for_level_base(4 * BUFFER_BYTES as u64);
    options.set_target_file_size_base(TABLE_BYTES);
    options.set_compression_type(rocksdb::DBCompressionType::None);
    options.set_level_compaction_dynamic_level_bytes(true);
    let mut tables = BlockBasedOptions::default();
    tables.set_block_cache(&Cache::new_lru_cache(8 << 20));
    options.set_block_based_table_factory(&tables);
    if way == Way::Blobs {
        options.set_enable_blob_files(true);
        options.set_min_blob_size(4096);
        options.set_blob_file_size(TABLE_BYTES);
        options.set_enable_blob_gc(true);
        options.set_blob_gc_age_cutoff(0.5);
        options.set_blob_gc_force_threshold(0.3);
    }
    options
}

fn disk(path: &Path) -> Result<u64, Error> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(path)? {
        bytes += entry?.metadata()?.blocks() * 512;
    }
    Ok(bytes)
}

struct Bench {
    db: DB,
    options: Options,
    way: Way,
    path: PathBuf,
    rng: ChaCha20Rng,
    ingested: u64,
}

impl Bench {
    fn write_segment(&mut self, segment: u64, chunks: u16) -> Result<(), Error> {
        if self.way == Way::Tables {
            return self.write_tables(segment, chunks);
        }
        let mut write = WriteOptions::default();
        write.set_sync(self.way != Way::Puts);
        let mut page_bytes = vec![0; PAGE_BYTES];
        for chunk in 0..chunks {
            let mut batch = WriteBatch::default();
            for page in 0..PAGES_A_CHUNK {
                self.rng.fill_bytes(&mut page_bytes);
                batch.put(key(segment, chunk, page), &page_bytes);
            }
            self.db.write_opt(batch, &write)?;
        }
        Ok(())
    }

    fn write_tables(&mut self, segment: u64, chunks: u16) -> Result<(), Error> {
        let mut paths = Vec::new();
        let mut page_bytes = vec![0; PAGE_BYTES];
        let chunks_a_table = (TABLE_BYTES >> 20) as u16;
        for first in (0..chunks).step_by(usize::from(chunks_a_table)) {
            let path = self.path.join(format!("{segment}-{first}.table"));
            let mut writer = SstFileWriter::create(&self.options);
            writer.open(&path)?;
            for chunk in first..chunks.min(first + chunks_a_table) {
                for page in 0..PAGES_A_CHUNK {
                    self.rng.fill_bytes(&mut page_bytes);
                    writer.put(key(segment, chunk, page), &page_bytes)?;
                }
            }
            writer.finish()?;
            self.ingested += std::fs::metadata(&path)?.len();
            paths.push(path);
        }
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        Ok(self.db.ingest_external_file_opts(&ingest, paths)?)
    }

    /// Bytes that RocksDB wrote so far, by what wrote them: log, flush, compaction, blobs, taken in.
    fn written(&self) -> [u64; 5] {
        let ticker = |ticker| self.options.get_ticker_count(ticker);
        [
            ticker(Ticker::WalFileBytes),
            ticker(Ticker::FlushWriteBytes),
            ticker(Ticker::CompactWriteBytes),
            ticker(Ticker::BlobDbBlobFileBytesWritten),
            self.ingested,
        ]
    }

    fn settle(&self) -> Result<(), Error> {
        self.db.flush()?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn read_pages(&mut self, segments: &[u16]) -> Result<(), Error> {
        let mut took = Vec::with_capacity(READS);
        for _ in 0..READS {
            let segment = self.rng.gen_range(0..segments.len());
            let (chunk, page) = (
                self.rng.gen_range(0..segments[segment]),
                self.rng.gen_range(0..PAGES_A_CHUNK),
            );
            let start = Instant::now();
            let found = self.db.get_pinned(key(segment as u64, chunk, page))?;
            took.push(start.elapsed().as_micros());
            assert_eq!(found.map(|page| page.len()), Some(PAGE_BYTES));
        }
        took.sort_unstable();
        println!(
            "  read a page: median {} us, 99 % {} us",
            took[READS / 2],
            took[READS * 99 / 100]
        );
        Ok(())
    }

    /// One chunk of five of each segment but the first half is dropped, then the first half is pruned.
    fn delete(&mut self, segments: &[u16]) -> Result<(), Error> {
        let half = segments.len() / 2;
        let (before, start, written) = (disk(&self.path)?, Instant::now(), self.written());
        let (first, end) = (key(0, 0, 0), key(half as u64, 0, 0));
        let mut batch = WriteBatch::default();
        batch.delete_range(first, end);
        self.db.write(batch)?;
        self.db.flush()?;
        self.db.delete_file_in_range(first, end)?;
        let at_once = before.saturating_sub(disk(&self.path)?);
        self.db.compact_range(Some(first), Some(end));
        self.settle()?;
        let after = disk(&self.path)?;
        let pruned: u64 = segments[..half].iter().map(|chunks| u64::from(*chunks) << 20).sum();
        println!(
            "  prune {} MB: {:.2} s, returned {} MB at once, {} MB in all, rewrote {} MB",
            pruned >> 20,
            start.elapsed().as_secs_f64(),
            at_once >> 20,
            before.saturating_sub(after) >> 20,
            rewritten(&written, &self.written()) >> 20,
        );
        let (start, written) = (Instant::now(), self.written());
        let mut dropped = 0;
        for (segment, chunks) in segments.iter().enumerate().skip(half) {
            for chunk in (0..*chunks).step_by(5) {
                let mut batch = WriteBatch::default();
                batch.delete_range(key(segment as u64, chunk, 0), key(segment as u64, chunk, PAGES_A_CHUNK));
                self.db.write(batch)?;
                dropped += 1;
            }
        }
        self.db.compact_range(Some(end), None::<&[u8]>);
        self.settle()?;
        println!(
            "  drop {dropped} chunks of 1 MB: {:.2} s, returned {} MB, rewrote {} MB",
            start.elapsed().as_secs_f64(),
            after.saturating_sub(disk(&self.path)?) >> 20,
            rewritten(&written, &self.written()) >> 20,
        );
        Ok(())
    }
}

fn rewritten(before: &[u64; 5], after: &[u64; 5]) -> u64 {
    after[1..3].iter().sum::<u64>() - before[1..3].iter().sum::<u64>()
}

fn measure(way: Way, directory: &Path, megabytes: u64) -> Result<(), Error> {
    let path = directory.join(format!("{way:?}"));
    let _ = std::fs::remove_dir_all(&path);
    let options = options(way);
    let db = DB::open(&options, &path)?;
    let rng = ChaCha20Rng::seed_from_u64(2);
    let (segments, ingested) = (segments(megabytes), 0);
    let mut bench = Bench {
        db,
        options,
        way,
        path,
        rng,
        ingested,
    };
    let payload: u64 = segments.iter().map(|chunks| u64::from(*chunks) << 20).sum();
    let start = Instant::now();
    for (segment, chunks) in segments.iter().enumerate() {
        bench.write_segment(segment as u64, *chunks)?;
    }
    let wrote = start.elapsed().as_secs_f64();
    bench.settle()?;
    let settled = start.elapsed().as_secs_f64();
    let written = bench.written();
    // What a flush writes includes the blobs.
    let all = written[0] + written[1] + written[2] + written[4];
    println!("{way:?}: {} segments, {} MB", segments.len(), payload >> 20);
    println!(
        "  {:.0} MB/s, {:.0} MB/s until settled; write amplification {:.2} (log {}, flush {}, compaction {}, blobs {}, taken in {} MB)",
        payload as f64 / wrote / 1e6,
        payload as f64 / settled / 1e6,
        all as f64 / payload as f64,
        written[0] >> 20,
        written[1] >> 20,
        written[2] >> 20,
        written[3] >> 20,
        written[4] >> 20,
    );
    bench.read_pages(&segments)?;
    bench.delete(&segments)?;
    let path = bench.path.clone();
    drop(bench);
    Ok(std::fs::remove_dir_all(path)?)
}

fn main() -> Result<(), Error> {
    let mut arguments = std::env::args().skip(1);
    let directory = PathBuf::from(arguments.next().ok_or("give a directory")?);
    let megabytes = arguments.next().map_or(Ok(1000), |argument| argument.parse())?;
    std::fs::create_dir_all(&directory)?;
    for way in [Way::Puts, Way::PutsSynced, Way::Blobs, Way::Tables] {
        measure(way, &directory, megabytes)?;
    }
    Ok(())
}
