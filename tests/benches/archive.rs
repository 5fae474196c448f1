//! Speed of the archive, as ratios against a limit measured in the same run. Run by `scripts/bench`.
//!
//! Prints a table and writes `target/bench.json`. Everything is made from a seed, or read from an `.mblk` file. Both sides of
//! a ratio run alternately, several times; the median counts.

#[path = "archive/baseline.rs"]
mod baseline;
#[allow(dead_code)]
#[path = "../../massa-distributed-storage-worker/tests/common/claims.rs"]
mod claims;
#[path = "archive/closing.rs"]
mod closing;
#[path = "archive/consensus.rs"]
mod consensus;
#[path = "archive/data.rs"]
mod data;
#[path = "archive/hook.rs"]
mod hook;
#[path = "archive/imports.rs"]
mod imports;
#[path = "archive/placement.rs"]
mod placement;
#[path = "archive/proofs.rs"]
mod proofs;
#[path = "archive/reads.rs"]
mod reads;
#[path = "archive/report.rs"]
mod report;
#[path = "archive/timing.rs"]
mod timing;
#[path = "archive/transfer.rs"]
mod transfer;

use clap::Parser;
use std::path::PathBuf;

/// Measures the archive.
#[derive(Parser)]
struct Arguments {
    /// Measure with the blocks of this .mblk file instead of generated ones.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Where the rows are written; the last one given counts.
    #[arg(long, default_value = "target/bench.json", overrides_with = "output")]
    output: PathBuf,
    /// Passed by cargo; without meaning.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let data = match &arguments.file {
        Some(path) => data::Data::read(path),
        None => data::Data::generate(),
    };
    let mut rows = vec![hook::row(&data.everyday)];
    rows.extend(closing::rows(&data.full));
    rows.extend(imports::rows(&data.everyday, &data.full));
    rows.extend(reads::rows(&data.everyday));
    rows.extend(proofs::rows(&data.everyday));
    rows.extend(consensus::rows());
    rows.extend(transfer::rows(&data));
    rows.extend(placement::rows());
    print!("{}", report::table(&rows));
    std::fs::write(&arguments.output, report::json(&rows)).expect("the output file can be written");
    println!("written to {}", arguments.output.display());
}
