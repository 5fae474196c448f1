//! Opens a store, makes one, or says why not.

use crate::storage_backend::database::damage::{DamageReport, Loss};
use crate::storage_backend::database::error::{io_error, DatabaseError};
use crate::storage_backend::database::files::{
    file_kind, names_in, sync_directory, write_file, FileKind, IN_USE, LOGS, STORE, STORE_BEING_MADE, SUSPECTS,
};
use crate::storage_backend::database::inspect::STORE_FORMAT;
use crate::storage_backend::database::inspect::{inspect, marker, state_of, suspects, Finding, Inspection, State};
use crate::storage_backend::database::options::{DatabaseOptions, OnDamage, Setup};
use crate::storage_backend::database::recovery::Retry;
use crate::storage_backend::database::repair::{put_right, set_all_aside};
use crate::storage_backend::database::space::Space;
use crate::storage_backend::database::tables::clear_incoming;
use crate::storage_backend::database::watch::Watch;
use crate::storage_backend::database::witness::WITNESS;
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::database::{family, Database, Handle, Io, Writing};
use parking_lot::{Mutex, RwLock};
use rocksdb::{DBRecoveryMode, ErrorKind, Options, WriteBatch, DB};
use rustix::fs::{flock, FlockOperation};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often a store that is being written is tried to be opened for reading, and how long between two attempts.
const ATTEMPTS_BESIDE_A_WRITER: usize = 20;
const PAUSE_BESIDE_A_WRITER: Duration = Duration::from_millis(10);

/// A reader that looks at the files, or the process that just ended, may hold the lock for a moment.
const LOCK_TRIES: u32 = 25;
const LOCK_WAIT: Duration = Duration::from_millis(40);
/// Tables that RocksDB may refuse one after the other, before everything is set aside.
const REFUSED_TABLES_MAX: usize = 64;

/// A database that was opened for writing.
struct Opened {
    db: DB,
    watch: Watch,
    lock: File,
    damages: Vec<DamageReport>,
}

impl Database {
    /// Opens the database in `options.path`, or makes one there.
    ///
    /// Damages that were set aside, or that a read-only database has, are told by [`Database::damages`].
    ///
    /// # Errors
    /// [`DatabaseError`]: names the file or directory and what to do.
    pub fn open(options: DatabaseOptions) -> Result<Self, DatabaseError> {
        check_path(&options.path)?;
        let setup = Setup::new(&options.families, options.capacity_bytes, &options.path);
        if options.read_only {
            let (db, damages) = open_read_only(&options, &setup)?;
            let handle = Handle { db, writes: false };
            return Ok(Self::assemble(options, setup, handle, None, damages));
        }
        let opened = open_writing(&options, &setup)?;
        let writing = Writing {
            watch: opened.watch,
            retry: Retry::default(),
            _lock: opened.lock,
        };
        let handle = Handle {
            db: opened.db,
            writes: true,
        };
        Ok(Self::assemble(options, setup, handle, Some(writing), opened.damages))
    }

    /// Whether there is a store in `path`, be it damaged.
    pub fn exists(path: &Path) -> bool {
        matches!(
            state_of(path),
            Ok(State::Store | State::Unmarked(_) | State::OtherFormat(_))
        )
    }

    fn assemble(
        options: DatabaseOptions,
        setup: Setup,
        handle: Handle,
        writing: Option<Writing>,
        damages: Vec<DamageReport>,
    ) -> Self {
        for damage in &damages {
            tracing::warn!(path = %options.path.display(), %damage, "the store is damaged");
        }
        Self {
            path: options.path,
            setup,
            io: Io {
                writer: options.writer,
                ingest: options.ingest,
            },
            handle: RwLock::new(Some(handle)),
            writing: Mutex::new(writing),
            read_only: options.read_only,
            on_damage: options.on_damage,
            fault: Mutex::new(None),
            space: Mutex::new(Space::new(options.capacity_bytes)),
            damages: Mutex::new(damages),
            tables_written: AtomicU64::new(0),
            ingested_bytes: AtomicU64::new(0),
        }
    }

    /// Tells that RocksDB failed to read: if a table is damaged it is reported, and set aside when the database is next
    /// opened, or recovers, under [`OnDamage::SetAside`]. Returns the report.
    pub fn unreadable(&self, error: &rocksdb::Error) -> Option<DamageReport> {
        if error.kind() != ErrorKind::Corruption {
            return None;
        }
        self.suspect(error.as_ref())
    }

    pub(crate) fn suspect(&self, what: &str) -> Option<DamageReport> {
        let number = table_in(what)?;
        let report = DamageReport::new(super::files::table_name(number), what, Loss::Rows);
        let mut damages = self.damages.lock();
        if damages.iter().all(|known| known.file != report.file) {
            tracing::warn!(path = %self.path.display(), damage = %report, "the store is damaged");
            damages.push(report.clone());
            if !self.read_only {
                // If it cannot be noted it is found again by the next read.
                let _ = note_suspect(&self.path, number);
            }
        }
        Some(report)
    }
}

fn note_suspect(store: &Path, number: u64) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(store.join(SUSPECTS))?;
    writeln!(file, "{number}")?;
    file.sync_all()
}

/// The number of the table that an error of RocksDB names.
pub(crate) fn table_in(error: &str) -> Option<u64> {
    let (before, _) = error.rsplit_once(".sst")?;
    let digits = before.rsplit(|character: char| !character.is_ascii_digit()).next()?;
    digits.parse().ok()
}

fn check_path(path: &Path) -> Result<(), DatabaseError> {
    if path.to_str().is_none() {
        return Err(DatabaseError::PathNotUtf8 {
            path: path.to_path_buf(),
        });
    }
    match fs::metadata(path) {
        Ok(metadata) if !metadata.is_dir() => Err(DatabaseError::NotADirectory {
            path: path.to_path_buf(),
        }),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error("open", path)(error)),
        _ => Ok(()),
    }
}

/// The state of a directory that may be opened.
fn openable_state(options: &DatabaseOptions) -> Result<State, DatabaseError> {
    let path = options.path.clone();
    match state_of(&path)? {
        State::OtherFormat(found) => Err(DatabaseError::Format {
            path,
            found,
            expected: STORE_FORMAT,
        }),
        State::Foreign(what) => Err(DatabaseError::Foreign { path, what }),
        State::New | State::BeingMade if !options.create || options.read_only => Err(DatabaseError::NotAStore { path }),
        state => Ok(state),
    }
}

fn open_writing(options: &DatabaseOptions, setup: &Setup) -> Result<Opened, DatabaseError> {
    openable_state(options)?;
    fs::create_dir_all(&options.path).map_err(io_error("make", &options.path))?;
    let lock = lock(&options.path)?;
    let unmarked = match openable_state(options)? {
        State::New | State::BeingMade => {
            let (db, watch) = make(options, setup)?;
            return Ok(Opened {
                db,
                watch,
                lock,
                damages: Vec::new(),
            });
        }
        State::Unmarked(what) => Some(what),
        _ => None,
    };
    let (db, damages) = open_store(options, setup, unmarked)?;
    let (db, watch) = match db {
        Some(db) => {
            let watch = Watch::begin(&options.path, &db)?;
            (db, watch)
        }
        None => make(options, setup)?,
    };
    clear_incoming(&options.path)?;
    Ok(Opened {
        db,
        watch,
        lock,
        damages,
    })
}

fn lock(store: &Path) -> Result<File, DatabaseError> {
    let path = store.join(IN_USE);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(io_error("write", &path))?;
    for _ in 0..LOCK_TRIES {
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            return Ok(file);
        }
        sleep(LOCK_WAIT);
    }
    Err(DatabaseError::InUse {
        path: store.to_path_buf(),
    })
}

fn unix_seconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

/// Makes a store. Its marker gets its name last; before that nothing can have been stored, and a start begins anew.
fn make(options: &DatabaseOptions, setup: &Setup) -> Result<(DB, Watch), DatabaseError> {
    let store = &options.path;
    let text = marker(unix_seconds());
    write_file(store, STORE_BEING_MADE, text.as_bytes())?;
    for name in names_in(store)? {
        let kept = matches!(file_kind(&name), FileKind::KeptManifest(_));
        if kept || file_kind(&name) != FileKind::Other || name == WITNESS {
            fs::remove_file(store.join(&name)).map_err(io_error("delete", &store.join(&name)))?;
        }
    }
    let logs = store.join(LOGS);
    if let Err(error) = fs::remove_dir_all(&logs) {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(io_error("delete", &logs)(error));
        }
    }
    fs::create_dir(&logs).map_err(io_error("make", &logs))?;
    sync_directory(store)?;
    let mut database = setup.database();
    database.create_if_missing(true);
    let db = open_rocksdb(store, &database, setup, true)?;
    let mut batch = WriteBatch::default();
    for row in &options.first_rows {
        batch.put_cf(family(&db, row.family)?, &row.key, &row.value);
    }
    let written = options.writer.write(&db, batch, Durability::Synced);
    written.map_err(DatabaseError::Refusing)?;
    let watch = Watch::begin(store, &db)?;
    let (from, to) = (store.join(STORE_BEING_MADE), store.join(STORE));
    fs::rename(&from, &to).map_err(io_error("write", &to))?;
    sync_directory(store)?;
    Ok((db, watch))
}

/// Opens a store that exists; `None` if everything had to be set aside.
fn open_store(
    options: &DatabaseOptions,
    setup: &Setup,
    unmarked: Option<String>,
) -> Result<(Option<DB>, Vec<DamageReport>), DatabaseError> {
    let store = &options.path;
    let mut inspection = inspect(store)?;
    inspection.findings.extend(unmarked.map(Finding::Marker));
    check_families(options, &inspection)?;
    let mut damages = Vec::new();
    for _ in 0..REFUSED_TABLES_MAX {
        if !inspection.findings.is_empty() {
            refuse_damage(options, &inspection.findings)?;
            let right = put_right(store, inspection, unix_seconds())?;
            damages.extend(right.reports);
            if right.empty {
                return Ok((None, damages));
            }
        }
        let error = match open_rocksdb(store, &setup.database(), setup, true) {
            Ok(db) => return Ok((Some(db), damages)),
            Err(error) => error,
        };
        inspection = inspect_refusal(store, error)?;
    }
    let report = set_all_aside(store, "*.sst", "many tables are damaged", unix_seconds())?;
    damages.push(report);
    Ok((None, damages))
}

fn refuse_damage(options: &DatabaseOptions, findings: &[Finding]) -> Result<(), DatabaseError> {
    if options.on_damage == OnDamage::SetAside {
        return Ok(());
    }
    Err(DatabaseError::Damaged {
        path: options.path.clone(),
        damages: findings.iter().map(Finding::report).collect(),
    })
}

/// What is damaged when RocksDB refuses to open what looked whole.
fn inspect_refusal(store: &Path, error: DatabaseError) -> Result<Inspection, DatabaseError> {
    let DatabaseError::Open { source, .. } = &error else {
        return Err(error);
    };
    if source.kind() != ErrorKind::Corruption {
        // No space, no descriptors, no permission: nothing is damaged.
        return Err(error);
    }
    let mut inspection = inspect(store)?;
    inspection
        .findings
        .retain(|finding| !matches!(finding, Finding::Witness(_)));
    let what = source.to_string();
    let table = table_in(&what);
    let entry = inspection.manifest.as_ref().and_then(|(_, manifest)| {
        let number = table?;
        Some((number, *manifest.tables.get(&number)?))
    });
    match (entry, &inspection.manifest) {
        (Some((number, entry)), _) => inspection.findings.push(Finding::Table { number, entry, what }),
        (None, Some((number, _))) => inspection.findings.push(Finding::Manifest { number: *number, what }),
        (None, None) => inspection.findings.push(Finding::Current(what)),
    }
    Ok(inspection)
}

/// A database with families that are not ours is somebody else's.
fn check_families(options: &DatabaseOptions, inspection: &Inspection) -> Result<(), DatabaseError> {
    let Some((_, manifest)) = &inspection.manifest else {
        return Ok(());
    };
    let known = |name: &String| {
        name == rocksdb::DEFAULT_COLUMN_FAMILY_NAME || options.families.iter().any(|family| family.name == name)
    };
    match manifest.families.values().find(|name| !known(name)) {
        None => Ok(()),
        Some(name) => Err(DatabaseError::Foreign {
            path: options.path.clone(),
            what: format!("column family {name}"),
        }),
    }
}

/// Opens RocksDB for writing.
pub(crate) fn open_rocksdb(
    store: &Path,
    options: &Options,
    setup: &Setup,
    compacting: bool,
) -> Result<DB, DatabaseError> {
    let mut options = options.clone();
    options.create_missing_column_families(true);
    let opened = DB::open_cf_descriptors(&options, store, setup.descriptors(compacting));
    opened.map_err(|source| DatabaseError::Open {
        path: store.to_path_buf(),
        source,
    })
}

/// Opens RocksDB for reading, beside a handle that writes or instead of one.
pub(crate) fn open_rocksdb_for_reading(store: &Path, options: &Options, setup: &Setup) -> Result<DB, DatabaseError> {
    let opened = DB::open_cf_descriptors_read_only(options, store, setup.descriptors(false), false);
    opened.map_err(|source| DatabaseError::Open {
        path: store.to_path_buf(),
        source,
    })
}

fn open_read_only(options: &DatabaseOptions, setup: &Setup) -> Result<(DB, Vec<DamageReport>), DatabaseError> {
    let state = openable_state(options)?;
    let mut findings = Vec::new();
    let lock = lock_for_reading(&options.path)?;
    if lock.is_some() {
        let inspection = inspect(&options.path)?;
        check_families(options, &inspection)?;
        findings = inspection.findings;
    }
    if let State::Unmarked(what) = state {
        findings.push(Finding::Marker(what));
    }
    let damages: Vec<DamageReport> = findings.iter().map(Finding::report).collect();
    let mut database = setup.database();
    if findings.iter().any(|finding| matches!(finding, Finding::Log { .. })) {
        database.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    }
    if findings.iter().any(|finding| matches!(finding, Finding::Table { .. })) {
        database.set_paranoid_checks(false);
    }
    let opened = match lock {
        Some(_) => open_rocksdb_for_reading(&options.path, &database, setup),
        None => open_beside_a_writer(&options.path, &database, setup),
    };
    match opened {
        Ok(db) => Ok((db, damages)),
        Err(error) if damages.is_empty() => Err(error),
        Err(_) => Err(DatabaseError::Damaged {
            path: options.path.clone(),
            damages,
        }),
    }
}

/// A table may be gone between the moment at which its name is read and the one at which it is opened: then the list is read anew.
fn open_beside_a_writer(store: &Path, options: &Options, setup: &Setup) -> Result<DB, DatabaseError> {
    for _ in 1..ATTEMPTS_BESIDE_A_WRITER {
        match open_rocksdb_for_reading(store, options, setup) {
            Ok(db) => return Ok(db),
            Err(_) => std::thread::park_timeout(PAUSE_BESIDE_A_WRITER),
        }
    }
    open_rocksdb_for_reading(store, options, setup)
}

/// Keeps writers out while the files are looked at; `None` while one is there: then it knows what is damaged, and files
/// come and go.
fn lock_for_reading(store: &Path) -> Result<Option<File>, DatabaseError> {
    let path = store.join(IN_USE);
    let file = match File::open(&path) {
        // Nobody can have it open for writing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return File::open(store).map(Some).map_err(io_error("open", store));
        }
        file => file.map_err(io_error("read", &path))?,
    };
    Ok(flock(&file, FlockOperation::NonBlockingLockShared)
        .is_ok()
        .then_some(file))
}

/// Takes tables out of a store that could not be read while it was open.
pub(crate) fn set_suspects_aside(store: &Path) -> Result<Vec<DamageReport>, DatabaseError> {
    if suspects(store)?.is_empty() {
        return Ok(Vec::new());
    }
    let mut inspection = inspect(store)?;
    inspection
        .findings
        .retain(|finding| matches!(finding, Finding::Table { .. }));
    Ok(put_right(store, inspection, unix_seconds())?.reports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_rocksdb_name_a_table() {
        let checksum =
            "Corruption: block checksum mismatch: stored = 1, computed = 2  in /a/7.sst.d/000011.sst offset 0";
        assert_eq!(
            table_in("Corruption: Sst file size mismatch: /a/000123.sst. Size 4"),
            Some(123)
        );
        assert_eq!(table_in(checksum), Some(11));
        assert_eq!(table_in("Corruption: CURRENT file does not end with newline"), None);
    }
}
