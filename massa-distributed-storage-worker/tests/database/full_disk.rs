//! A disk that is full for a while: reads go on, writes are refused, and go on by themselves when there is space.
//!
//! On a small file system in memory, where mounting is permitted. Where it is not, the same is told by a writer that fails.

use crate::common::*;
use massa_distributed_storage_worker::storage_backend::database::writer::WriteFault;
use massa_distributed_storage_worker::storage_backend::database::*;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tempfile::{tempdir, TempDir};

const MIB: u64 = 1 << 20;
/// RocksDB looks every 5 s; the store opens it again after 12 s at the earliest.
const PATIENCE: Duration = Duration::from_secs(60);

/// A file system of its own.
struct SmallDisk {
    directory: TempDir,
}

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn mount(megabytes: u64) -> Option<Self> {
        let directory = tempdir().unwrap();
        let size = format!("size={megabytes}m");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(directory.path())
            .output();
        let mounted = mounted.is_ok_and(|output| output.status.success());
        mounted.then_some(Self { directory })
    }

    fn store(&self) -> PathBuf {
        self.directory.path().join("store")
    }

    /// Fills the disk to the last byte.
    fn fill(&self) {
        let path = self.directory.path().join("ballast");
        let mut file = fs::File::create(path).unwrap();
        for block in [1 << 16, 1 << 10, 1] {
            let bytes = vec![1; block];
            while std::io::Write::write_all(&mut file, &bytes).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.directory.path().join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("-l").arg(self.directory.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

/// Asks again and again, as if it were `later` now.
fn wait_for_recovery(database: &Database, later: Duration) -> Duration {
    let start = Instant::now();
    while database.recover_at(Instant::now() + later).is_err() {
        assert!(start.elapsed() < PATIENCE, "{:?}", database.fault());
        assert!(has(database, ROWS, 0));
        // As the worker does between two of its rounds.
        std::thread::park_timeout(Duration::from_millis(200));
    }
    start.elapsed()
}

fn write_until_refused(database: &Database, from: u64, length: usize) -> u64 {
    (from..from + 10_000)
        .find(|number| match try_put(database, ROWS, *number, length, SYNCED) {
            Ok(()) => false,
            Err(DatabaseError::Refusing(_)) => true,
            Err(error) => panic!("{error}"),
        })
        .unwrap()
}

/// What was acknowledged is there after a kill, and after a clean end.
fn assert_rows(store: &Path, database: Database, acknowledged: impl Iterator<Item = u64> + Clone) {
    // A directory cannot be copied while tables are merged in the background; that too goes on by itself after it failed for
    // want of space.
    let start = Instant::now();
    let mut patience = rocksdb::WaitForCompactOptions::default();
    patience.set_timeout(PATIENCE.as_micros() as u64);
    let settled = || database.read(|db| Ok::<_, DatabaseError>(db.wait_for_compact(&patience)?));
    while settled().is_err() {
        assert!(start.elapsed() < PATIENCE, "{:?}", settled());
        database.recover().unwrap();
        std::thread::park_timeout(Duration::from_millis(200));
    }
    let killed = tempdir().unwrap();
    copy(store, killed.path());
    assert_rows_after_opening(killed.path(), acknowledged.clone());
    assert_rows_after_a_clean_end(store, database, acknowledged);
}

fn assert_rows_after_a_clean_end(store: &Path, database: Database, acknowledged: impl Iterator<Item = u64> + Clone) {
    assert!(acknowledged.clone().all(|number| has(&database, ROWS, number)));
    database.close();
    assert_rows_after_opening(store, acknowledged);
}

fn assert_rows_after_opening(store: &Path, mut acknowledged: impl Iterator<Item = u64>) {
    let reopened = Database::open(options(store)).unwrap();
    assert_eq!(reopened.damages(), []);
    assert!(acknowledged.all(|number| has(&reopened, ROWS, number)));
}

/// Seen before: full for three seconds, and "the store is closed" until the node was started again.
#[test]
fn a_store_on_a_full_disk_reads_on_and_writes_again_without_a_restart() {
    let Some(disk) = SmallDisk::mount(64) else {
        println!("mounting is not permitted here: a failing writer stands in for the full disk");
        return a_failing_writer_stands_in();
    };
    let store = disk.store();
    let database = Database::open(options(&store)).unwrap();
    (0..20).for_each(|number| put(&database, ROWS, number, 10_000, SYNCED));
    ingest_pages(&database, 0..16, 65_536);
    let mut acknowledged: Vec<u64> = (0..20).collect();
    // Three times, each with another amount in memory: also so that tables cannot be written.
    for (round, length) in [(1, 1000), (2, 200_000), (3, 50_000)] {
        disk.fill();
        let first = round * 100_000;
        let refused = write_until_refused(&database, first, length);
        acknowledged.extend(first..refused);
        assert_eq!(database.fault(), Some(WriteFault::NoSpace));
        let table = database.write_table(PAGES, |rows| {
            (0..64).try_for_each(|page| rows.put(&key(page), &value(page, 65_536)))
        });
        assert!(
            matches!(table, Err(DatabaseError::Refusing(WriteFault::NoSpace))),
            "{table:?}"
        );
        // Past every moment at which RocksDB would be opened again.
        let now = Instant::now();
        for seconds in (0..600).step_by(20) {
            assert!(database.recover_at(now + Duration::from_secs(seconds)).is_err());
            assert!(acknowledged.iter().all(|number| has(&database, ROWS, *number)));
            assert!(has(&database, PAGES, 3));
        }
        disk.free();
        let took = wait_for_recovery(&database, Duration::from_secs(600));
        println!("round {round}: writes again {took:?} after there was space");
        put(&database, ROWS, first + 50_000, 1000, SYNCED);
        acknowledged.push(first + 50_000);
    }
    assert_rows(&store, database, acknowledged.into_iter());
}

/// The disk fills while RocksDB writes in the background, and nobody calls `recover` until long after.
#[test]
fn a_disk_that_fills_by_itself_is_recovered_too() {
    let Some(disk) = SmallDisk::mount(96) else {
        println!("mounting is not permitted here: a failing writer stands in for the full disk");
        return a_failing_writer_stands_in();
    };
    let store = disk.store();
    let database = Database::open(options(&store)).unwrap();
    put(&database, ROWS, 0, 100, SYNCED);
    fs::write(disk.directory.path().join("ballast"), vec![1; 64 * MIB as usize]).unwrap();
    let refused = write_until_refused(&database, 1, 300_000);
    assert!(has(&database, ROWS, refused - 1));
    disk.free();
    wait_for_recovery(&database, Duration::ZERO);
    put(&database, ROWS, 100_000, 1000, SYNCED);
    // What was written nearly fills the disk: tables cannot be merged, and nothing waits for that.
    assert_rows_after_a_clean_end(&store, database, (0..refused).chain([100_000]));
}

fn a_failing_writer_stands_in() {
    let directory = tempdir().unwrap();
    let writer = FailingWriter::default();
    let database = Database::open(DatabaseOptions {
        writer: Box::new(writer.clone()),
        ..options(directory.path())
    })
    .unwrap();
    (0..20).for_each(|number| put(&database, ROWS, number, 10_000, SYNCED));
    writer.0.store(true, Ordering::Release);
    assert_eq!(write_until_refused(&database, 100, 1000), 100);
    let now = Instant::now();
    for seconds in (0..600).step_by(20) {
        assert!(database.recover_at(now + Duration::from_secs(seconds)).is_err());
        assert!((0..20).all(|number| has(&database, ROWS, number)));
    }
    writer.0.store(false, Ordering::Release);
    wait_for_recovery(&database, Duration::from_secs(600));
    put(&database, ROWS, 200, 1000, SYNCED);
    assert_rows(directory.path(), database, (0..20).chain([200]));
}
