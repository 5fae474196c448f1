//! Import of a file.

use super::baseline::{ed25519_batches, rocksdb_puts, signatures};
use super::data::Periods;
use super::report::{Row, Target};
use super::timing::{medians, MEGA};
use massa_client::archive::import::{import, ImportArguments};
use massa_tests::mblk::write_mblk;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// Names and targets of both rows of a load: signatures checked, and unchecked.
struct Load {
    names: [&'static str; 2],
    targets: [Target; 2],
}

/// Everyday blocks are limited by their signatures, full ones, which have few for their bytes, by the disk.
pub fn rows(everyday: &Periods, full: &Periods) -> Vec<Row> {
    let of_everyday = Load {
        names: [
            "import, signatures checked, everyday blocks",
            "import, signatures unchecked, everyday blocks",
        ],
        targets: [Target::Ratio(0.9), Target::None],
    };
    let of_full = Load {
        names: [
            "import, signatures checked, full blocks",
            "import, signatures unchecked, full blocks",
        ],
        targets: [Target::None, Target::Ratio(0.8)],
    };
    let mut rows = of_load(everyday, &of_everyday);
    rows.extend(of_load(full, &of_full));
    rows
}

fn import_file(file: &Path, checked: bool, segment_periods: u64) -> Duration {
    let directory = tempdir().expect("a directory can be made");
    let arguments = ImportArguments {
        segment_periods: Some(segment_periods),
        no_operation_index: true,
        no_verify_signatures: !checked,
        complete: true,
        ..ImportArguments::new(file, directory.path().join("store"))
    };
    let begin = Instant::now();
    black_box(import(&arguments).expect("the file imports"));
    begin.elapsed()
}

fn of_load(periods: &Periods, load: &Load) -> Vec<Row> {
    let directory = tempdir().expect("a directory can be made");
    let file = directory.path().join("blocks.mblk");
    write_mblk(&file, &periods.file());
    let values: Vec<&[u8]> = periods.records().map(|record| record.as_bytes()).collect();
    let signed = signatures(periods, false);
    let segment_periods = periods.parameters.segment_periods;
    let megabytes = periods.bytes() as f64 / MEGA;
    let [checked, batches, unchecked, puts] = medians([
        Box::new(|| import_file(&file, true, segment_periods)),
        Box::new(|| ed25519_batches(&signed)),
        Box::new(|| import_file(&file, false, segment_periods)),
        Box::new(|| rocksdb_puts(&values, false)),
    ]);
    let limits = [
        ("batch ed25519, all cores", megabytes / batches),
        ("RocksDB puts, unsynced", megabytes / puts),
    ];
    let seconds = [checked, unchecked];
    (0..2)
        .map(|side| Row {
            name: load.names[side],
            value: megabytes / seconds[side],
            unit: "MB/s",
            limit: Some(limits[side]),
            target: load.targets[side],
        })
        .collect()
}
