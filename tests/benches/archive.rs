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

/// Groups of rows, in the order in which they are measured.
const GROUPS: [&str; 8] = [
    "hook",
    "closing",
    "import",
    "reads",
    "proofs",
    "consensus",
    "transfer",
    "placement",
];

/// Measures the archive.
#[derive(Parser)]
struct Arguments {
    /// Measure with the blocks of this .mblk file instead of generated ones.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Where the rows are written; the last one given counts.
    #[arg(long, default_value = "target/bench.json", overrides_with = "output")]
    output: PathBuf,
    /// Measure this group of rows only; may be repeated.
    #[arg(long, value_parser = GROUPS)]
    only: Vec<String>,
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
    let wanted = |group: &&str| arguments.only.is_empty() || arguments.only.iter().any(|only| only == group);
    let rows: Vec<report::Row> = GROUPS
        .into_iter()
        .filter(wanted)
        .flat_map(|group| rows(group, &data))
        .collect();
    print!("{}", report::table(&rows));
    std::fs::write(&arguments.output, report::json(&rows)).expect("the output file can be written");
    println!("written to {}", arguments.output.display());
}

fn rows(group: &str, data: &data::Data) -> Vec<report::Row> {
    match group {
        "hook" => vec![hook::row(&data.everyday)],
        "closing" => closing::rows(&data.full),
        "import" => imports::rows(&data.everyday, &data.full),
        "reads" => reads::rows(&data.everyday),
        "proofs" => proofs::rows(&data.everyday),
        "consensus" => consensus::rows(),
        "transfer" => transfer::rows(data),
        "placement" => placement::rows(),
        _ => unreachable!("only groups are taken"),
    }
}
