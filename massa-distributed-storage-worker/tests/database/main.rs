//! The database: opening, writing, tables, faults, space.

mod common;
mod crash;
mod damage;
mod files;
mod full_disk;

use common::*;
use massa_distributed_storage_worker::storage_backend::database::files::STORE;
use massa_distributed_storage_worker::storage_backend::database::writer::WriteFault;
use massa_distributed_storage_worker::storage_backend::database::*;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tempfile::tempdir;

#[test]
fn rows_and_tables_are_there_after_a_restart() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    put(&database, ROWS, 1, 100, SYNCED);
    put(&database, INDEX, 2, 8, BUFFERED);
    ingest_pages(&database, 10..20, 65_536);
    database.close();
    assert!(matches!(get(&database, ROWS, 1), Err(DatabaseError::Closed)));
    for _ in 0..2 {
        let database = Database::open(options(directory.path())).unwrap();
        assert_eq!(database.damages(), []);
        assert!(has(&database, ROWS, 1) && has(&database, INDEX, 2));
        assert!((10..20).all(|number| has(&database, PAGES, number)));
        let format = database.read(|db| Ok::<_, DatabaseError>(db.get_cf(family(db, ROWS)?, b"format")?));
        assert_eq!(format.unwrap(), Some(b"2".to_vec()));
        database.flush().unwrap();
        database.close();
    }
}

#[test]
fn ingested_pages_lie_in_the_last_level_and_stay_there() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    for segment in 0..6 {
        ingest_pages(&database, segment * 100..segment * 100 + 30, 65_536);
        put(&database, ROWS, segment, 100, SYNCED);
        database.flush().unwrap();
    }
    let levels: Vec<(i32, usize)> = database
        .read(|db| {
            let tables = db.live_files()?.into_iter();
            let pages = tables.filter(|table| table.column_family_name == PAGES);
            Ok::<_, DatabaseError>(pages.map(|table| (table.level, table.size)).collect())
        })
        .unwrap();
    assert_eq!(levels.len(), 6);
    assert!(levels.iter().all(|(level, _)| *level == 6), "{levels:?}");
    assert!(levels.iter().all(|(_, size)| *size < 31 * 65_536), "{levels:?}");
}

#[test]
fn a_table_that_is_not_taken_in_leaves_nothing() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    let table = database.write_table(PAGES, |rows| rows.put(&key(1), b"page")).unwrap();
    let incoming = directory.path().join("incoming");
    assert_eq!(names_of(&incoming, ".table").len(), 1);
    drop(table);
    assert_eq!(names_of(&incoming, ".table").len(), 0);
    // Of a process that was killed.
    fs::write(incoming.join("7.table"), b"half").unwrap();
    // Keys that do not ascend are the caller's error, and no fault.
    let refused = database.write_table(PAGES, |rows| {
        rows.put(&key(2), b"page")?;
        rows.put(&key(1), b"page")
    });
    assert!(matches!(refused, Err(DatabaseError::Refusing(_))));
    assert_eq!(database.fault(), None);
    database.close();
    drop(Database::open(options(directory.path())).unwrap());
    assert!(!incoming.exists());
}

#[test]
fn one_writes_and_others_may_read() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    put(&database, ROWS, 1, 10, SYNCED);
    let second = Database::open(options(directory.path())).unwrap_err();
    assert!(matches!(second, DatabaseError::InUse { .. }), "{second}");
    let reader = Database::open(reading(directory.path())).unwrap();
    assert!(has(&reader, ROWS, 1));
    assert!(matches!(
        try_put(&reader, ROWS, 2, 10, SYNCED),
        Err(DatabaseError::ReadOnly)
    ));
    assert!(matches!(
        reader.write_table(PAGES, |_| Ok(())),
        Err(DatabaseError::ReadOnly)
    ));
    database.close();
    // The reader holds no lock.
    drop(Database::open(options(directory.path())).unwrap());
}

#[test]
fn reading_changes_nothing() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    put(&database, ROWS, 1, 10, SYNCED);
    database.close();
    let state = || -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let mut all = names_of(directory.path(), "");
        all.extend(names_of(&directory.path().join("logs"), ""));
        all.into_iter()
            .filter(|path| path.is_file())
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect()
    };
    let before = state();
    let reader = Database::open(reading(directory.path())).unwrap();
    assert!(has(&reader, ROWS, 1));
    reader.close();
    assert!(before == state());
}

#[test]
fn paths_that_cannot_be_are_refused_by_name() {
    let directory = tempdir().unwrap();
    let not_utf8 = directory.path().join(OsStr::from_bytes(b"st\xffore"));
    let refused = Database::open(options(&not_utf8)).unwrap_err();
    assert!(matches!(refused, DatabaseError::PathNotUtf8 { .. }));
    assert!(refused.to_string().contains("is not UTF-8: choose"), "{refused}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);

    let file = directory.path().join("file");
    fs::write(&file, b"here").unwrap();
    let refused = Database::open(options(&file)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "{} is not a directory: move it away or choose another path",
            file.display()
        )
    );
    let below = Database::open(options(&file.join("store"))).unwrap_err();
    assert!(below.to_string().contains("Not a directory"), "{below}");
    assert_eq!(fs::read(&file).unwrap(), b"here");

    let absent = directory.path().join("absent");
    let no_store = DatabaseOptions::new(&absent, families());
    assert!(matches!(Database::open(no_store), Err(DatabaseError::NotAStore { .. })));
    assert!(!absent.exists());
}

/// The superuser may do everything: there the child of another user has to try.
#[test]
fn a_directory_without_permission_is_named() {
    let directory = tempdir().unwrap();
    let closed = directory.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let refused = Database::open(options(&closed.join("store")));
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    match refused {
        Err(error) => {
            let text = error.to_string();
            assert!(
                text.contains("closed/store") && text.contains("Permission denied"),
                "{text}"
            );
        }
        Ok(_) => assert!(rustix::process::geteuid().is_root()),
    }
}

#[test]
fn another_format_and_other_databases_are_left_alone() {
    let directory = tempdir().unwrap();
    drop(Database::open(options(directory.path())).unwrap());
    fs::write(
        directory.path().join(STORE),
        "Massa distributed storage\nformat 3\ncreated 1\n",
    )
    .unwrap();
    let refused = Database::open(setting_aside(directory.path())).unwrap_err().to_string();
    assert!(
        refused.contains("has format 3, this version reads format 2"),
        "{refused}"
    );

    let foreign = tempdir().unwrap();
    drop(rocksdb::DB::open_default(foreign.path()).unwrap());
    let before = names_of(foreign.path(), "");
    let refused = Database::open(setting_aside(foreign.path())).unwrap_err();
    assert!(matches!(refused, DatabaseError::Foreign { .. }), "{refused}");
    assert!(refused.to_string().contains("choose another directory"));
    assert_eq!(names_of(foreign.path(), ""), before);

    // A store of ours with other families.
    let other = tempdir().unwrap();
    let mut with_more = options(other.path());
    with_more.families.push(Family::new("more", FamilyKind::Rows));
    drop(Database::open(with_more).unwrap());
    let refused = Database::open(setting_aside(other.path())).unwrap_err().to_string();
    assert!(refused.contains("column family more"), "{refused}");
}

#[test]
fn a_directory_with_other_files_may_become_a_store() {
    let directory = tempdir().unwrap();
    fs::create_dir(directory.path().join("lost+found")).unwrap();
    drop(Database::open(options(directory.path())).unwrap());
    assert!(Database::exists(directory.path()));
}

#[test]
fn a_failed_write_refuses_further_ones_until_one_succeeds_and_reads_go_on() {
    let directory = tempdir().unwrap();
    let writer = FailingWriter::default();
    let database = Database::open(DatabaseOptions {
        writer: Box::new(writer.clone()),
        ..options(directory.path())
    })
    .unwrap();
    put(&database, ROWS, 1, 10, SYNCED);
    writer.0.store(true, Ordering::Release);
    let refused = try_put(&database, ROWS, 2, 10, SYNCED).unwrap_err();
    assert!(matches!(refused, DatabaseError::Refusing(WriteFault::NoSpace)));
    assert_eq!(database.fault(), Some(WriteFault::NoSpace));
    let table = database.write_table(PAGES, |rows| rows.put(&key(1), b"page")).unwrap();
    assert!(matches!(database.ingest(vec![table]), Err(DatabaseError::Refusing(_))));
    // Any number of times, also past the moments at which RocksDB is opened again.
    let start = Instant::now();
    for seconds in 0..60 {
        let refused = database.recover_at(start + Duration::from_secs(seconds));
        assert!(matches!(refused, Err(DatabaseError::Refusing(WriteFault::NoSpace))));
        assert!(has(&database, ROWS, 1));
    }
    writer.0.store(false, Ordering::Release);
    database.recover().unwrap();
    assert_eq!(database.fault(), None);
    put(&database, ROWS, 3, 10, SYNCED);
    assert!(has(&database, ROWS, 1) && !has(&database, ROWS, 2) && has(&database, ROWS, 3));
}

#[test]
fn readers_are_never_turned_away_while_rocksdb_is_opened_again() {
    let directory = tempdir().unwrap();
    let writer = FailingWriter::default();
    let database = Database::open(DatabaseOptions {
        writer: Box::new(writer.clone()),
        ..options(directory.path())
    })
    .unwrap();
    (0..50).for_each(|number| put(&database, ROWS, number, 10_000, SYNCED));
    let done = AtomicBool::new(false);
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0;
            while !done.load(Ordering::Acquire) {
                assert!(has(&database, ROWS, reads % 50));
                reads += 1;
            }
            reads
        });
        writer.0.store(true, Ordering::Release);
        assert!(try_put(&database, ROWS, 99, 10, SYNCED).is_err());
        let mut now = Instant::now();
        for _ in 0..4 {
            now += Duration::from_secs(200);
            assert!(database.recover_at(now).is_err());
        }
        writer.0.store(false, Ordering::Release);
        database.recover_at(now + Duration::from_secs(200)).unwrap();
        done.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert!(reads > 0);
    put(&database, ROWS, 100, 10, SYNCED);
}

fn pages(start: u64, end: u64) -> KeyRange {
    KeyRange {
        family: PAGES,
        start: key(start).to_vec(),
        end: key(end).to_vec(),
    }
}

/// Bytes that RocksDB wrote again, by its own account.
fn rewritten(database: &Database) -> u64 {
    let statistics = database.statistics();
    statistics.compaction_bytes
}

/// Numbers below it are no longer wanted, nor are those in `dropped`.
fn without(dropped: std::ops::Range<u64>) -> Vec<Family> {
    let mut families = families();
    let pages = families.iter_mut().find(|family| family.name == PAGES).unwrap();
    pages.filter = Some(std::sync::Arc::new(move |key: &[u8], _: &[u8]| {
        !dropped.contains(&u64::from_be_bytes(key.try_into().unwrap()))
    }));
    families
}

#[test]
fn pruned_segments_are_gone_at_once_and_nothing_is_written_again() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    for segment in 0..8 {
        ingest_pages(&database, segment * 100..segment * 100 + 64, 65_536);
    }
    // A segment with one page begins right where the range ends.
    ingest_pages(&database, 900..901, 65_536);
    let full = database.disk_usage().unwrap();
    database.forget(&pages(0, 300)).unwrap();
    database.forget(&pages(700, 900)).unwrap();
    let pruned = database.disk_usage().unwrap();
    assert!(pruned < full - 4 * 63 * 65_536, "{full} {pruned}");
    assert!(!has(&database, PAGES, 263) && has(&database, PAGES, 300) && has(&database, PAGES, 663));
    assert!(!has(&database, PAGES, 700) && has(&database, PAGES, 900));
    assert_eq!(rewritten(&database), 0);
    database.close();
    let database = Database::open(options(directory.path())).unwrap();
    assert_eq!(database.damages(), []);
    assert!(!has(&database, PAGES, 0) && has(&database, PAGES, 300));
}

#[test]
fn a_table_is_written_again_when_a_third_of_it_was_dropped_and_no_other_is() {
    let directory = tempdir().unwrap();
    let database = Database::open(DatabaseOptions {
        families: without(300..332),
        ..options(directory.path())
    })
    .unwrap();
    for segment in 0..8 {
        ingest_pages(&database, segment * 100..segment * 100 + 64, 65_536);
    }
    let full = database.disk_usage().unwrap();
    database.note_dropped(&pages(300, 316), 16 * 65_536);
    assert_eq!(tidy(&database), 0);
    database.note_dropped(&pages(316, 332), 16 * 65_536);
    assert_eq!(tidy(&database), 1);
    let tidied = database.disk_usage().unwrap();
    assert!(tidied < full - 31 * 65_536, "{full} {tidied}");
    assert!(!has(&database, PAGES, 300) && !has(&database, PAGES, 331) && has(&database, PAGES, 332));
    assert!((0..8)
        .filter(|segment| *segment != 3)
        .all(|segment| has(&database, PAGES, segment * 100)));
    let rewritten = rewritten(&database);
    assert!(rewritten < 34 * 65_536, "{rewritten} bytes for {} dropped", 32 * 65_536);
    assert_eq!(tidy(&database), 0);
}

#[test]
fn small_tables_of_neighbouring_segments_become_one() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    (0..130).for_each(|segment| ingest_pages(&database, segment * 100..segment * 100 + 1, 5_000));
    assert_eq!(names_of(directory.path(), ".sst").len(), 130);
    assert_eq!(tidy(&database), 2);
    assert_eq!(names_of(directory.path(), ".sst").len(), 4);
    assert!((0..130).all(|segment| has(&database, PAGES, segment * 100)));
}

#[test]
fn deleted_rows_give_their_space_back() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    (0..400).for_each(|number| put(&database, PENDING, number, 20_000, BUFFERED));
    database.flush().unwrap();
    let full = database.disk_usage().unwrap();
    let range = KeyRange {
        family: PENDING,
        start: key(0).to_vec(),
        end: key(300).to_vec(),
    };
    database
        .update(SYNCED, |db, batch| {
            batch.delete_range_cf(family(db, PENDING)?, &range.start, &range.end);
            Ok::<_, DatabaseError>(())
        })
        .unwrap();
    assert_eq!(tidy(&database), 0);
    database.note_dropped(&range, 300 * 20_000);
    assert_eq!(tidy(&database), 1);
    let tidied = database.disk_usage().unwrap();
    assert!(tidied < full - 290 * 20_000, "{full} {tidied}");
    assert!(!has(&database, PENDING, 299) && has(&database, PENDING, 300));
}

#[test]
fn the_ceiling_is_kept_and_what_was_set_aside_goes_first() {
    const CAPACITY: u64 = 32 << 20;
    let directory = tempdir().unwrap();
    let aside = directory.path().join("damaged-17");
    let database = Database::open(DatabaseOptions {
        capacity_bytes: Some(CAPACITY),
        ..options(directory.path())
    })
    .unwrap();
    fs::create_dir(&aside).unwrap();
    fs::write(aside.join("000001.sst"), value(1, 8 << 20)).unwrap();
    let refused = (0..).find_map(|number| {
        let checked = database.check_space(1 << 20);
        if checked.is_ok() {
            ingest_pages(&database, number * 16..number * 16 + 16, 65_536);
        }
        checked.err()
    });
    assert!(matches!(refused, Some(DatabaseError::AllocationUsedUp { .. })));
    assert!(!aside.exists());
    let used = database.disk_usage().unwrap();
    assert!(used <= CAPACITY && used > CAPACITY / 2, "{used}");
    assert_eq!(database.fault(), None);
}

fn tidy(database: &Database) -> usize {
    database.tidy(&mut |_| Ok::<(), DatabaseError>(())).unwrap()
}
