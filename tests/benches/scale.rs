//! What the archive of format 2 costs as history and network grow. Run by `scripts/bench-scale`; `docs/scale.md` tells how.
//!
//! A synthetic chain of near-empty blocks goes through the writer into a store. At a quarter, at half and at the whole of its
//! length the same requests are made. What must not grow is counted (rows, hashes), and the run fails if it does; times are
//! only reported: how long something takes depends on what else the machine does.

#[path = "scale/block_space.rs"]
mod block_space;
#[allow(dead_code)]
#[path = "../../massa-distributed-storage-worker/tests/common/claims.rs"]
mod claims;
#[path = "scale/disk.rs"]
mod disk;
#[path = "scale/growth.rs"]
mod growth;
#[path = "scale/history.rs"]
mod history;
#[path = "scale/network.rs"]
mod network;
#[path = "scale/report.rs"]
mod report;
#[path = "scale/requests.rs"]
mod requests;
#[path = "scale/simulations.rs"]
mod simulations;

use clap::Parser;
use growth::Costs;
use history::{History, SEGMENT_PERIODS};
use report::Row;
use std::path::PathBuf;
use std::process::ExitCode;

/// Measures how the archive grows.
#[derive(Parser)]
struct Arguments {
    /// Periods of the whole history, rounded up so that each size ends with a segment.
    #[arg(long, default_value_t = 300_000)]
    periods: u64,
    /// Only what is counted: small networks, no figure against a target that asks for a large one.
    #[arg(long)]
    smoke: bool,
    /// What the simulations of joining, watching and reaching printed.
    #[arg(long)]
    simulations: Option<PathBuf>,
    /// Where the rows are written; the last one given counts.
    #[arg(long, default_value = "target/bench-scale.json", overrides_with = "output")]
    output: PathBuf,
    /// Where the store is made and deleted again.
    #[arg(long, default_value = "target")]
    directory: PathBuf,
    /// Passed by cargo; without meaning.
    #[arg(long, hide = true)]
    bench: bool,
}

/// Segments of the smallest history: more than ten can be listed from any of the first three.
const SEGMENTS_MIN: u64 = 13;

/// A quarter, half and the whole of `periods`, in whole segments.
fn sizes(periods: u64) -> [u64; 3] {
    let quarter = periods.div_ceil(4 * SEGMENT_PERIODS).max(SEGMENTS_MIN) * SEGMENT_PERIODS;
    [quarter, 2 * quarter, 4 * quarter]
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sizes = sizes(arguments.periods);
    let mut costs = Costs::default();
    let mut rows = history_rows(&arguments, sizes, &mut costs);
    rows.extend(network::rows(!arguments.smoke, &mut costs));
    rows.extend(block_space::rows());
    rows.extend(simulations::rows(arguments.simulations.as_deref()));

    println!(
        "\nA history of {} periods of near-empty blocks in 32 threads.\n",
        sizes[2]
    );
    print!("{}", report::table(&rows));
    print!("\n{}", costs.table());
    std::fs::write(&arguments.output, report::json(&rows, &costs)).expect("the output file can be written");
    println!("\nwritten to {}", arguments.output.display());
    let growing = costs.growing();
    for cost in &growing {
        eprintln!("GROWS: {}", cost.line());
    }
    ExitCode::from(u8::from(!growing.is_empty()))
}

/// Makes the history and measures the store at each size.
fn history_rows(arguments: &Arguments, sizes: [u64; 3], costs: &mut Costs) -> Vec<Row> {
    let directory = tempfile::Builder::new()
        .prefix("bench-scale-")
        .tempdir_in(&arguments.directory)
        .expect("the directory can be written");
    let mut history = History::new(directory.path());
    let (mut at_size, mut amplification) = (Vec::new(), 0.0);
    for periods in sizes {
        let read_before = history.store().rows_read();
        let taken = history.grow_to(periods);
        let rows_read = history.store().rows_read() - read_before;
        costs.count(
            "rows read to archive a period, each thousand",
            1_000 * rows_read / taken.periods,
        );
        println!(
            "{periods} periods: {:.0} MB more in {:.1} s, {:.2} ms of processor time of the writer's thread a period",
            taken.bytes as f64 / 1e6,
            taken.seconds,
            1e3 * taken.processor_seconds / taken.periods as f64
        );
        let written = disk::bytes_written(history.store()) as f64;
        amplification = written / taken.bytes as f64;
        at_size.push(requests::measure(&mut history, costs));
    }
    let mut rows = disk::rows(sizes, &at_size, &history);
    rows.push(Row::only(
        "",
        "bytes written to the disk / bytes archived, one chunk of 8 held",
        amplification,
    ));
    rows.extend(requests::rows(sizes, &at_size));
    rows
}
