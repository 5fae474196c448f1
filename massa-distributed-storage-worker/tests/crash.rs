//! Killed at any instant, the store reopens: nothing acknowledged is lost, no period is half stored.

mod common;

use common::*;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_worker::storage_backend::read::{Check, PlaceContent, ReadError};
use massa_distributed_storage_worker::{Acknowledge, Ingest, Store};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::tempdir;

const KILLS: u64 = 200;
const PERIODS: usize = 24;
const THREAD_COUNT: u8 = 4;
const SHAPE: Shape = Shape {
    miss_one_in: 5,
    operations: 8,
    operation_bytes: 3000,
};
/// Directory and mode of the child process.
const CHILD_DIRECTORY: &str = "CRASH_TEST_DIRECTORY";
const CHILD_ACKNOWLEDGES_BLOCKS: &str = "CRASH_TEST_ACKNOWLEDGES_BLOCKS";

fn chain() -> (Chain, Vec<BlockRecord>) {
    let mut chain = Chain::new(THREAD_COUNT, 1);
    chain.parameters.segment_periods = 7;
    let blocks = chain.blocks(PERIODS, SHAPE);
    (chain, blocks)
}

/// The process that is killed: takes all blocks and prints what it acknowledges. Does nothing unless it is the child.
#[test]
fn child() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else {
        return;
    };
    let acknowledges_blocks = std::env::var(CHILD_ACKNOWLEDGES_BLOCKS).is_ok();
    let (chain, blocks) = chain();
    let store = open_store(Path::new(&directory), &chain.parameters);
    let acknowledge = if acknowledges_blocks {
        Acknowledge::EachBlock
    } else {
        Acknowledge::EachPeriod
    };
    let mut ingest = Ingest::open(store, acknowledge, keep_all()).unwrap().0;
    let mut output = std::io::stdout();
    for (number, record) in blocks.into_iter().enumerate() {
        let progress = ingest.add(record).unwrap();
        if acknowledges_blocks {
            writeln!(output, "\nblock {number}").unwrap();
        }
        for archived in progress.archived {
            writeln!(output, "\nperiod {}", archived.period).unwrap();
        }
    }
    ingest.finish().unwrap();
    writeln!(output, "\nfinished").unwrap();
}

/// What a child acknowledged before it was killed after `life`.
struct Acknowledged {
    blocks: Vec<usize>,
    periods: Vec<u64>,
    finished: bool,
}

fn run_and_kill(directory: &Path, acknowledges_blocks: bool, life: Duration) -> Acknowledged {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]);
    command
        .env(CHILD_DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    if acknowledges_blocks {
        command.env(CHILD_ACKNOWLEDGES_BLOCKS, "1");
    }
    let mut child = command.spawn().unwrap();
    let output = child.stdout.take().unwrap();
    let killer = std::thread::spawn(move || {
        let deadline = Instant::now() + life;
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut acknowledged = Acknowledged {
        blocks: Vec::new(),
        periods: Vec::new(),
        finished: false,
    };
    // A line that was cut off acknowledges nothing.
    for line in BufReader::new(output).split(b'\n').map(Result::unwrap) {
        let line = String::from_utf8(line).unwrap();
        match line.split_once(' ') {
            Some(("block", number)) => acknowledged.blocks.extend(number.parse::<usize>()),
            Some(("period", number)) => acknowledged.periods.extend(number.parse::<u64>()),
            _ => acknowledged.finished |= line == "finished",
        }
    }
    killer.join().unwrap();
    acknowledged
}

/// Everything acknowledged is there, every archived period is whole, everything else is absent or pending.
fn assert_sound(directory: &Path, blocks: &[BlockRecord], acknowledged: &Acknowledged) {
    if !Store::exists(directory) {
        assert!(acknowledged.blocks.is_empty() && acknowledged.periods.is_empty());
        return;
    }
    let (chain, _) = (Chain::new(THREAD_COUNT, 1), ());
    let mut parameters = chain.parameters;
    parameters.segment_periods = 7;
    let store = open_store(directory, &parameters);
    let ingest = Ingest::open(Arc::clone(&store), Acknowledge::EachBlock, keep_all())
        .unwrap()
        .0;
    let archived = store.archived_periods().unwrap();
    assert!(acknowledged.periods.iter().all(|period| archived.contains(period)));
    for number in &acknowledged.blocks {
        assert_holds(&store, &blocks[*number], Check::Merkle);
    }
    for record in blocks {
        let slot = slot_of(record, THREAD_COUNT);
        match store.place(slot, Check::Merkle) {
            Ok(content) => assert_eq!(content, PlaceContent::Block(record.clone())),
            Err(ReadError::NotArchived { .. }) => assert!(!archived.contains(&slot.period)),
            Err(error) => panic!("{slot}: {error}"),
        }
    }
    drop(ingest);
    store.close();
}

fn roots(directory: &Path) -> Vec<String> {
    let store = Store::open_read_only(directory).unwrap();
    let periods = store.archived_periods().unwrap();
    let period_roots = periods
        .iter()
        .map(|period| store.period_root(*period).unwrap().unwrap().to_string());
    let segments = (0..PERIODS as u64 / 7).map(|segment| store.segment_root(segment).unwrap().unwrap().to_string());
    period_roots.chain(segments).collect()
}

#[test]
fn killed_at_any_instant_the_store_reopens_sound_and_ends_the_same() {
    let (_, blocks) = chain();
    let undisturbed = tempdir().unwrap();
    let start = Instant::now();
    let whole = run_and_kill(undisturbed.path(), true, Duration::from_secs(120));
    let life_max = start.elapsed();
    assert!(whole.finished && whole.periods.len() > PERIODS / 2);
    assert_sound(undisturbed.path(), &blocks, &whole);
    let expected = roots(undisturbed.path());

    let mut directory = tempdir().unwrap();
    let (mut kills, mut runs) = (0, 0);
    let mut rng = ChaCha20Rng::seed_from_u64(7);
    while kills < KILLS {
        let life = life_max.mul_f64(rng.gen_range(0.0..1.0));
        let acknowledged = run_and_kill(directory.path(), rng.gen_bool(0.5), life);
        assert_sound(directory.path(), &blocks, &acknowledged);
        kills += u64::from(!acknowledged.finished);
        // A run that came to its end, after any number of kills, ends like the undisturbed one.
        if acknowledged.finished {
            runs += 1;
            assert_eq!(roots(directory.path()), expected);
            directory = tempdir().unwrap();
        }
    }
    let last = run_and_kill(directory.path(), false, Duration::from_secs(120));
    assert!(last.finished);
    assert_eq!(roots(directory.path()), expected);
    println!("{kills} kills, {runs} runs to the end in between");
}
