//! Ratio and speed of the ways in which a page could be stored: the figures behind decision 0032.
//!
//! ```sh
//! cargo bench --profile dev -p massa_tests --bench pages [-- --file FILE.mblk[.zst]] [--periods N]
//! ```
//!
//! Prints a table for the blocks of a file and one for each kind of generated near-empty chain. All runs on one core. "With
//! signatures" counts the leading signatures of blocks and operations, which are kept beside the pages, as they are, on both
//! sides.

#[path = "pages/codec.rs"]
mod codec;
#[path = "pages/source.rs"]
mod source;

use clap::Parser;
use codec::Codec;
use source::Source;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Measures stored forms of pages.
#[derive(Parser)]
struct Arguments {
    /// Blocks to measure with, besides generated ones.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Periods of each generated chain.
    #[arg(long, default_value_t = 120)]
    periods: usize,
    /// Passed by cargo; without meaning.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The shortest of so many runs counts.
const RUNS: usize = 3;

fn main() {
    let arguments = Arguments::parse();
    let file = arguments.file.unwrap_or_else(source::committed_file);
    print_table(&Source::read(&file));
    for source in source::near_empty(arguments.periods) {
        print_table(&source);
    }
}

fn print_table(source: &Source) {
    println!("\n{}\n", source.describe());
    println!("| stored form | stored/plain | with signatures | pack MB/s | unpack MB/s |");
    println!("|---|---|---|---|---|");
    for mut codec in codec::all(source) {
        let measured = measure(source, &mut codec);
        println!(
            "| {} | {:.3} | {:.3} | {:.0} | {:.0} |",
            codec.name(),
            measured.stored as f64 / source.plain_bytes() as f64,
            (measured.stored + source.signature_bytes()) as f64
                / (source.plain_bytes() + source.signature_bytes()) as f64,
            rate(source.plain_bytes(), measured.pack),
            rate(source.plain_bytes(), measured.unpack),
        );
    }
}

struct Measured {
    stored: usize,
    pack: Duration,
    unpack: Duration,
}

fn measure(source: &Source, codec: &mut Codec) -> Measured {
    let packed: Vec<Vec<Vec<u8>>> = source.chunks().map(|chunk| codec.pack(chunk)).collect();
    for (chunk, packed) in source.chunks().zip(&packed) {
        assert_eq!(codec.unpack(packed, chunk.len()), chunk, "{}", codec.name());
    }
    let pack = shortest(|| source.chunks().for_each(|chunk| drop(codec.pack(chunk))));
    let unpack = shortest(|| {
        for (chunk, packed) in source.chunks().zip(&packed) {
            codec.unpack(packed, chunk.len());
        }
    });
    Measured {
        stored: packed.iter().flatten().map(Vec::len).sum(),
        pack,
        unpack,
    }
}

fn shortest(mut run: impl FnMut()) -> Duration {
    let times = (0..RUNS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    times.min().expect("there is a run")
}

fn rate(bytes: usize, time: Duration) -> f64 {
    bytes as f64 / 1e6 / time.as_secs_f64()
}
