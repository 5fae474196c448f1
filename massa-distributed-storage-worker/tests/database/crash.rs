//! Killed at any instant, the database opens again, undamaged, with everything it acknowledged.

use crate::common::*;
use massa_distributed_storage_worker::storage_backend::database::files::STORE;
use massa_distributed_storage_worker::storage_backend::database::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::tempdir;

/// Directory of the child process.
const CHILD_DIRECTORY: &str = "DATABASE_CRASH_TEST_DIRECTORY";
const ROUNDS: u64 = 60;
const KILLS: u32 = 60;
const KILLS_WHILE_MADE: u32 = 40;
const PAGES_A_TABLE: u64 = 8;

/// The process that is killed: writes and prints what was acknowledged. Does nothing unless it is the child.
#[test]
fn child() {
    let Ok(directory) = std::env::var(CHILD_DIRECTORY) else {
        return;
    };
    let mut output = std::io::stdout();
    let database = Database::open(options(Path::new(&directory))).unwrap();
    assert_eq!(database.damages(), []);
    writeln!(output, "\nopened").unwrap();
    for round in 0..ROUNDS {
        put(&database, ROWS, round, 2000, SYNCED);
        writeln!(output, "\nrow {round}").unwrap();
        put(&database, PENDING, round, 20_000, BUFFERED);
        ingest_pages(&database, round * 100..round * 100 + PAGES_A_TABLE, 65_536);
        writeln!(output, "\npages {round}").unwrap();
        if round % 7 == 6 {
            database.flush().unwrap();
        }
    }
    database.close();
    writeln!(output, "\nfinished").unwrap();
}

#[derive(Default)]
struct Acknowledged {
    opened: bool,
    rows: Vec<u64>,
    pages: Vec<u64>,
    finished: bool,
}

fn run_and_kill(directory: &Path, life: Duration) -> Acknowledged {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(CHILD_DIRECTORY, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let output = child.stdout.take().unwrap();
    let killer = std::thread::spawn(move || {
        let deadline = Instant::now() + life;
        while Instant::now() < deadline && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(100));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    });
    let mut acknowledged = Acknowledged::default();
    // A line that was cut off acknowledges nothing.
    for line in BufReader::new(output).split(b'\n').map(Result::unwrap) {
        let line = String::from_utf8(line).unwrap();
        match line.split_once(' ') {
            Some(("row", number)) => acknowledged.rows.extend(number.parse::<u64>()),
            Some(("pages", number)) => acknowledged.pages.extend(number.parse::<u64>()),
            _ => {
                acknowledged.opened |= line == "opened";
                acknowledged.finished |= line == "finished";
            }
        }
    }
    killer.join().unwrap();
    acknowledged
}

fn assert_sound(directory: &Path, acknowledged: &Acknowledged) {
    if Database::exists(directory) {
        // First as `verify` does: it has to find nothing either.
        let reader = Database::open(reading(directory)).unwrap();
        assert_eq!(reader.damages(), []);
    } else {
        assert!(!acknowledged.opened);
    }
    let database = Database::open(options(directory)).unwrap();
    assert_eq!(database.damages(), []);
    assert!(acknowledged.rows.iter().all(|row| has(&database, ROWS, *row)));
    let first_and_last = |table: &u64| [table * 100, table * 100 + PAGES_A_TABLE - 1];
    let mut pages = acknowledged.pages.iter().flat_map(first_and_last);
    assert!(pages.all(|page| has(&database, PAGES, page)));
    // What was not acknowledged is there as a whole or not at all.
    (0..ROUNDS).for_each(|table| {
        let there: Vec<bool> = (0..PAGES_A_TABLE)
            .map(|page| has(&database, PAGES, table * 100 + page))
            .collect();
        assert!(there.iter().all(|page| *page == there[0]), "{table}: {there:?}");
    });
}

#[test]
fn nothing_acknowledged_is_lost_and_nothing_looks_damaged() {
    let undisturbed = tempdir().unwrap();
    let start = Instant::now();
    let whole = run_and_kill(undisturbed.path(), Duration::from_secs(120));
    let life_max = start.elapsed();
    assert!(whole.finished && whole.rows.len() as u64 == ROUNDS);
    assert_sound(undisturbed.path(), &whole);
    let mut rng = ChaCha20Rng::seed_from_u64(11);
    let mut directory = tempdir().unwrap();
    for _ in 0..KILLS {
        let acknowledged = run_and_kill(directory.path(), life_max.mul_f64(rng.gen_range(0.0..1.0)));
        assert_sound(directory.path(), &acknowledged);
        if acknowledged.finished || rng.gen_bool(0.2) {
            directory = tempdir().unwrap();
        }
    }
}

#[test]
fn killed_while_it_is_made_a_store_is_made_again() {
    let start = Instant::now();
    let probe = tempdir().unwrap();
    drop(Database::open(options(probe.path())).unwrap());
    let making = start.elapsed();
    let mut rng = ChaCha20Rng::seed_from_u64(12);
    let mut half_made = 0;
    let mut directory = tempdir().unwrap();
    for _ in 0..KILLS_WHILE_MADE {
        // A child needs some milliseconds before it begins.
        let life = Duration::from_millis(2) + making.mul_f64(rng.gen_range(0.0..3.0));
        let acknowledged = run_and_kill(directory.path(), life);
        let begun = std::fs::read_dir(directory.path()).unwrap().count() > 0;
        if begun && !directory.path().join(STORE).exists() {
            half_made += 1;
            assert!(!acknowledged.opened);
            // Every other one is killed again while it begins anew.
            if rng.gen_bool(0.5) {
                continue;
            }
        }
        assert_sound(directory.path(), &acknowledged);
        directory = tempdir().unwrap();
    }
    println!("{half_made} of {KILLS_WHILE_MADE} were half made");
}
