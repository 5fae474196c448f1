//! Damaged files: each is named, none is taken for the end of a log or for a new store, and what is whole is kept.

use crate::common::*;
use massa_distributed_storage_worker::storage_backend::database::files::{
    current_manifest, kept_manifest_name, manifest_name, CURRENT, STORE, STORE_BEING_MADE,
};
use massa_distributed_storage_worker::storage_backend::database::log_file::scan_log;
use massa_distributed_storage_worker::storage_backend::database::repair::set_aside;
use massa_distributed_storage_worker::storage_backend::database::witness::{Witness, WITNESS};
use massa_distributed_storage_worker::storage_backend::database::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::{tempdir, TempDir};

const SYNCED_ROWS: u64 = 40;
const FLUSHED: u64 = 10_000;
const PAGE: u64 = 20_000;
/// Tables of rows, and of pages: fewer than RocksDB merges.
const TABLES: u64 = 3;

/// A store with rows in tables, ingested pages, and rows in its log; closed.
fn store() -> TempDir {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    for table in 0..TABLES {
        put(&database, ROWS, FLUSHED + table, 3000, SYNCED);
        ingest_pages(&database, PAGE + 100 * table..PAGE + 100 * table + 4, 65_536);
        database.flush().unwrap();
    }
    (0..SYNCED_ROWS).for_each(|number| put(&database, ROWS, number, 700, SYNCED));
    database.close();
    directory
}

/// A copy of a store, to be damaged.
fn another(store: &TempDir) -> TempDir {
    let directory = tempdir().unwrap();
    copy(store.path(), directory.path());
    directory
}

fn newest_log(store: &Path) -> PathBuf {
    names_of(&store.join("logs"), ".log").pop().unwrap()
}

fn in_tables_is_whole(database: &Database) -> bool {
    (0..TABLES).all(|table| has(database, ROWS, FLUSHED + table) && has(database, PAGES, PAGE + 100 * table))
}

/// How many of the rows in the log are there; they are the first ones.
fn rows_in_log(database: &Database) -> u64 {
    let there: Vec<bool> = (0..SYNCED_ROWS).map(|number| has(database, ROWS, number)).collect();
    let count = there.iter().filter(|there| **there).count();
    assert!(there[..count].iter().all(|there| *there), "a hole: {there:?}");
    count as u64
}

/// Refusing and reading name the file; afterwards nothing has changed.
fn assert_named(store: &Path, file: &str) {
    let refused = Database::open(options(store)).unwrap_err();
    let text = refused.to_string();
    assert!(matches!(refused, DatabaseError::Damaged { .. }), "{text}");
    assert!(text.contains(file) && text.contains("start the node"), "{text}");
    let damages = match Database::open(reading(store)) {
        Ok(reader) => reader.damages(),
        Err(DatabaseError::Damaged { damages, .. }) => damages,
        Err(error) => panic!("{error}"),
    };
    assert!(damages.iter().any(|damage| damage.file == file), "{damages:?}");
    assert_eq!(set_aside(store).unwrap(), Vec::<String>::new());
}

/// Opens as the node does, and again: the second time nothing is damaged.
fn set_right(store: &Path) -> (Database, Vec<DamageReport>) {
    let database = Database::open(setting_aside(store)).unwrap();
    let damages = database.damages();
    put(&database, ROWS, 77_777, 10, SYNCED);
    database.close();
    let database = Database::open(options(store)).unwrap();
    assert_eq!(database.damages(), []);
    assert!(has(&database, ROWS, 77_777));
    (database, damages)
}

fn name_of(store: &Path, file: &Path) -> String {
    file.strip_prefix(store).unwrap().to_str().unwrap().to_string()
}

/// Seen before: one flipped bit in the log of a stopped node, 22 of 23 periods gone, "nothing is damaged".
#[test]
fn a_flipped_bit_anywhere_in_a_log_is_damage_and_what_is_before_it_is_kept() {
    let store = store();
    let length = fs::metadata(newest_log(store.path())).unwrap().len() as usize;
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    let mut positions: Vec<usize> = (0..12).map(|_| rng.gen_range(0..length)).collect();
    positions.extend([0, 4, 6, length - 1]);
    for at in positions {
        let damaged = another(&store);
        let log = newest_log(damaged.path());
        flip_bit(&log, at, rng.gen_range(0..8));
        let name = name_of(damaged.path(), &log);
        assert_named(damaged.path(), &name);
        let (database, damages) = set_right(damaged.path());
        assert_eq!(
            (&damages[0].file, damages[0].loss),
            (&name, Loss::Recent),
            "{damages:?}"
        );
        assert!(
            damages[0].done.as_ref().unwrap().contains("set aside in damaged-"),
            "{damages:?}"
        );
        assert!(in_tables_is_whole(&database));
        let kept = rows_in_log(&database);
        let before = (at as u64 * SYNCED_ROWS / length as u64).saturating_sub(1);
        assert!(
            kept >= before.saturating_sub(1) && kept < SYNCED_ROWS,
            "byte {at}: {kept} rows"
        );
        let aside = set_aside(damaged.path()).unwrap();
        assert_eq!(names_of(&damaged.path().join(&aside[0]), ".log").len(), 1);
    }
}

/// RocksDB alone takes it for a killed process.
#[test]
fn a_log_shorter_than_what_was_acknowledged_is_damage() {
    let store = store();
    let log = newest_log(store.path());
    let length = fs::metadata(&log).unwrap().len();
    let mut first_record = None;
    scan_log(fs::File::open(&log).unwrap(), |record| {
        first_record.get_or_insert(record.len() as u64 + 7);
    })
    .unwrap();
    for shorter in [0, 3, first_record.unwrap(), length / 2, length - 1] {
        let damaged = another(&store);
        let log = newest_log(damaged.path());
        cut(&log, shorter);
        assert_named(damaged.path(), &name_of(damaged.path(), &log));
        let (database, damages) = set_right(damaged.path());
        assert!(
            damages[0].what.contains(&format!("{length} were written")),
            "{damages:?}"
        );
        assert!(in_tables_is_whole(&database));
        assert!(rows_in_log(&database) < SYNCED_ROWS);
    }
    let damaged = another(&store);
    let log = newest_log(damaged.path());
    fs::remove_file(&log).unwrap();
    assert_named(damaged.path(), &name_of(damaged.path(), &log));
    let (database, damages) = set_right(damaged.path());
    assert!(damages[0].what.contains("it is missing"), "{damages:?}");
    assert!(in_tables_is_whole(&database) && rows_in_log(&database) == 0);
}

/// A power cut takes what was not synced, in whole or in part, and leaves zeros where space was set aside.
#[test]
fn a_torn_end_behind_what_was_acknowledged_is_no_damage() {
    let directory = tempdir().unwrap();
    let database = Database::open(options(directory.path())).unwrap();
    (0..10).for_each(|number| put(&database, ROWS, number, 700, SYNCED));
    let acknowledged = fs::metadata(newest_log(directory.path())).unwrap().len();
    (10..30).for_each(|number| put(&database, ROWS, number, 700, BUFFERED));
    let written = fs::metadata(newest_log(directory.path())).unwrap().len();
    assert!(written > acknowledged + 10_000);
    for (cut_at, zeros) in [
        (written, 0),
        (acknowledged, 0),
        (acknowledged + 5, 0),
        ((acknowledged + written) / 2, 0),
        (written - 1, 0),
        ((acknowledged + written) / 2, 50_000),
        (written, 50_000),
    ] {
        let killed = tempdir().unwrap();
        copy(directory.path(), killed.path());
        let log = newest_log(killed.path());
        cut(&log, cut_at);
        cut(&log, cut_at + zeros);
        assert_eq!(Database::open(reading(killed.path())).unwrap().damages(), []);
        let reopened = Database::open(options(killed.path())).unwrap();
        assert_eq!(reopened.damages(), []);
        assert!((0..10).all(|number| has(&reopened, ROWS, number)));
        put(&reopened, ROWS, 100, 10, SYNCED);
    }
    // A bit that flips there is damage all the same.
    let killed = tempdir().unwrap();
    copy(directory.path(), killed.path());
    let log = newest_log(killed.path());
    flip_bit(&log, (acknowledged + 300) as usize, 1);
    assert_named(killed.path(), &name_of(killed.path(), &log));
}

/// Seen before: a MANIFEST cut to 5 %, and a new store over 70 MB of tables.
#[test]
fn a_damaged_manifest_is_made_again_from_its_copy_and_nothing_is_lost() {
    let store = store();
    let number = current_manifest(store.path()).unwrap().unwrap();
    let length = fs::metadata(store.path().join(manifest_name(number))).unwrap().len();
    let damage = |damaged: &Path, how: u64| {
        let path = damaged.join(manifest_name(number));
        match how {
            0..=99 => cut(&path, length * how / 100),
            100 => flip_bit(&path, length as usize / 2, 3),
            101 => flip_bit(&path, 5, 7),
            102 => fs::write(&path, vec![0x5a; length as usize]).unwrap(),
            _ => fs::remove_file(&path).unwrap(),
        }
    };
    for how in [0, 5, 20, 50, 90, 99, 100, 101, 102, 103] {
        let damaged = another(&store);
        damage(damaged.path(), how);
        assert_named(damaged.path(), &manifest_name(number));
        let (database, damages) = set_right(damaged.path());
        assert_eq!(damages.len(), 1, "{damages:?}");
        assert_eq!(damages[0].loss, Loss::Nothing, "{damages:?}");
        assert!(
            in_tables_is_whole(&database) && rows_in_log(&database) == SYNCED_ROWS,
            "{how}"
        );
    }
}

#[test]
fn a_missing_or_nonsense_current_is_written_again() {
    let store = store();
    let write = |damaged: &Path, content: &str| fs::write(damaged.join(CURRENT), content).unwrap();
    for content in [
        "",
        "nonsense",
        "MANIFEST-000001\n",
        "MANIFEST-999999\n",
        "../../etc/passwd\n",
    ] {
        let damaged = another(&store);
        write(damaged.path(), content);
        let refused = Database::open(options(damaged.path())).unwrap_err();
        assert!(
            matches!(refused, DatabaseError::Damaged { .. }),
            "{content:?}: {refused}"
        );
        let (database, damages) = set_right(damaged.path());
        assert_eq!(damages[0].loss, Loss::Nothing, "{damages:?}");
        assert!(in_tables_is_whole(&database) && rows_in_log(&database) == SYNCED_ROWS);
    }
    let damaged = another(&store);
    fs::remove_file(damaged.path().join(CURRENT)).unwrap();
    assert_named(damaged.path(), CURRENT);
    let (database, _) = set_right(damaged.path());
    assert!(in_tables_is_whole(&database) && rows_in_log(&database) == SYNCED_ROWS);
}

#[test]
fn without_any_metadata_everything_is_set_aside_and_nothing_is_deleted() {
    let store = store();
    let number = current_manifest(store.path()).unwrap().unwrap();
    let damaged = another(&store);
    cut(&damaged.path().join(manifest_name(number)), 20);
    cut(&damaged.path().join(kept_manifest_name(number)), 20);
    assert_named(damaged.path(), &manifest_name(number));
    let tables = names_of(damaged.path(), ".sst").len();
    let (database, damages) = set_right(damaged.path());
    assert_eq!(damages[0].loss, Loss::All);
    let done = damages[0].done.clone().unwrap();
    assert!(
        done.contains("everything, ") && done.contains("a new store was begun"),
        "{done}"
    );
    assert_eq!(rows_in_log(&database), 0);
    let format = database.read(|db| Ok::<_, DatabaseError>(db.get_cf(family(db, ROWS)?, b"format")?));
    assert_eq!(format.unwrap(), Some(b"2".to_vec()));
    let aside = set_aside(damaged.path()).unwrap();
    assert_eq!(names_of(&damaged.path().join(&aside[0]), ".sst").len(), tables);
    assert!(database.disk_usage().unwrap() > TABLES * 4 * 65_536, "it counts");
}

#[test]
fn the_store_opens_without_a_damaged_table_and_keeps_the_others() {
    let store = store();
    let tables = names_of(store.path(), ".sst");
    assert_eq!(tables.len() as u64, 2 * TABLES);
    for table in &tables {
        for how in ["missing", "empty", "short", "long"] {
            let damaged = another(&store);
            let path = damaged.path().join(table.file_name().unwrap());
            let length = fs::metadata(&path).unwrap().len();
            match how {
                "missing" => fs::remove_file(&path).unwrap(),
                "empty" => cut(&path, 0),
                "short" => cut(&path, length - 1),
                _ => cut(&path, length + 1),
            }
            let name = name_of(damaged.path(), &path);
            assert_named(damaged.path(), &name);
            let (database, damages) = set_right(damaged.path());
            assert_eq!(damages.len(), 1, "{damages:?}");
            assert_eq!((&damages[0].file, damages[0].loss), (&name, Loss::Rows));
            let there = (0..TABLES).map(|table| has(&database, ROWS, FLUSHED + table));
            let pages = (0..TABLES).map(|table| has(&database, PAGES, PAGE + 100 * table + 3));
            assert_eq!(there.chain(pages).filter(|there| !there).count(), 1, "{name} {how}");
            assert_eq!(rows_in_log(&database), SYNCED_ROWS);
        }
    }
}

/// It shows when the block is read.
#[test]
fn a_flipped_bit_in_a_table_is_reported_by_the_read_and_set_aside_at_the_next_start() {
    let store = store();
    let pages = names_of(store.path(), ".sst").into_iter().find(|path| {
        let length = fs::metadata(path).unwrap().len();
        length > 4 * 65_536
    });
    flip_bit(pages.as_ref().unwrap(), 70_000, 2);
    let name = name_of(store.path(), pages.as_ref().unwrap());
    let database = Database::open(setting_aside(store.path())).unwrap();
    assert_eq!(database.damages(), []);
    let errors: Vec<DatabaseError> = (0..TABLES)
        .flat_map(|table| (0..4).map(move |page| PAGE + 100 * table + page))
        .filter_map(|number| get(&database, PAGES, number).err())
        .collect();
    let [DatabaseError::Read(error)] = &errors[..] else {
        panic!("{errors:?}")
    };
    let report = database.unreadable(error).unwrap();
    assert_eq!((&report.file, report.loss), (&name, Loss::Rows));
    database.unreadable(error);
    assert_eq!(database.damages(), [report]);
    database.close();
    assert_named(store.path(), &name);
    let (database, damages) = set_right(store.path());
    assert_eq!(damages[0].file, name);
    let there = (0..TABLES)
        .filter(|table| has(&database, PAGES, PAGE + 100 * table))
        .count();
    assert_eq!(there as u64, TABLES - 1);
}

#[test]
fn a_missing_or_nonsense_marker_or_witness_is_written_again() {
    let store = store();
    for name in [STORE, WITNESS] {
        for missing in [true, false] {
            let damaged = another(&store);
            let path = damaged.path().join(name);
            if missing {
                fs::remove_file(&path).unwrap();
            } else {
                fs::write(&path, b"nonsense").unwrap();
            }
            assert_named(damaged.path(), name);
            let (database, damages) = set_right(damaged.path());
            assert_eq!(damages.len(), 1, "{damages:?}");
            assert_eq!(damages[0].loss, Loss::Nothing);
            assert!(in_tables_is_whole(&database) && rows_in_log(&database) == SYNCED_ROWS);
            assert!(Witness::read(damaged.path()).unwrap().is_some());
        }
    }
}

/// Whatever single file is gone: the store is never taken for new, and nothing but the file is lost.
#[test]
fn no_missing_file_makes_a_store_new() {
    let store = store();
    let mut names: Vec<PathBuf> = names_of(store.path(), "")
        .into_iter()
        .filter(|path| path.is_file())
        .collect();
    names.extend(names_of(&store.path().join("logs"), ".log"));
    for name in names {
        let damaged = another(&store);
        let file = name.strip_prefix(store.path()).unwrap();
        fs::remove_file(damaged.path().join(file)).unwrap();
        let (database, damages) = set_right(damaged.path());
        let whole = in_tables_is_whole(&database) && rows_in_log(&database) == SYNCED_ROWS;
        let named = damages.iter().any(|damage| Path::new(&damage.file) == file);
        assert!(whole || named, "{}: {damages:?}", file.display());
        assert!(damages.iter().all(|damage| damage.loss < Loss::All), "{damages:?}");
    }
}

#[test]
fn at_most_three_directories_of_damaged_files_are_kept() {
    let store = store();
    for number in 0..5 {
        fs::write(store.path().join(CURRENT), "nonsense").unwrap();
        fs::create_dir(store.path().join(format!("damaged-{number}"))).unwrap();
        drop(Database::open(setting_aside(store.path())).unwrap());
        assert!(set_aside(store.path()).unwrap().len() <= 3);
    }
    assert!(!store.path().join("damaged-0").exists());
}

#[test]
fn a_store_that_was_being_made_is_made_again() {
    let finished = tempdir().unwrap();
    drop(Database::open(options(finished.path())).unwrap());
    let mut names: Vec<PathBuf> = names_of(finished.path(), "")
        .into_iter()
        .filter(|path| path.is_file())
        .collect();
    names.retain(|path| !path.ends_with(STORE));
    // Whatever had been written when it was killed.
    for left_out in 0..=names.len() {
        let killed = tempdir().unwrap();
        copy(finished.path(), killed.path());
        fs::rename(killed.path().join(STORE), killed.path().join(STORE_BEING_MADE)).unwrap();
        for name in &names[..left_out] {
            fs::remove_file(killed.path().join(name.file_name().unwrap())).unwrap();
        }
        assert!(!Database::exists(killed.path()));
        assert!(matches!(
            Database::open(reading(killed.path())),
            Err(DatabaseError::NotAStore { .. })
        ));
        let database = Database::open(options(killed.path())).unwrap();
        assert_eq!(database.damages(), []);
        put(&database, ROWS, 1, 10, SYNCED);
        let format = database.read(|db| Ok::<_, DatabaseError>(db.get_cf(family(db, ROWS)?, b"format")?));
        assert_eq!(format.unwrap(), Some(b"2".to_vec()));
    }
}
