//! Looks at a store's files before RocksDB does, and names what is damaged. Changes nothing.
//!
//! RocksDB by itself takes a damaged log for one that ends there, and a directory whose metadata is gone for an empty one.
//! Costs a look at each table and one reading of the logs, which are at most a few buffers long.

use crate::storage_backend::database::damage::{DamageReport, Loss};
use crate::storage_backend::database::error::{io_error, DatabaseError};
use crate::storage_backend::database::files::{
    current_manifest, file_kind, log_name, logs_in, manifest_name, names_in, table_name, FileKind, CURRENT, STORE,
    STORE_BEING_MADE, SUSPECTS,
};
use crate::storage_backend::database::log_file::{scan_log, LogEnd, LogScan};
use crate::storage_backend::database::manifest::{Manifest, TableEntry};
use crate::storage_backend::database::witness::{Note, Witness, WITNESS};
use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::Path;

/// Format of the store that this version reads and writes.
pub const STORE_FORMAT: u32 = 2;

/// What a directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Nothing was ever stored in it.
    New,
    /// A store was being made in it, and nothing was ever stored.
    BeingMade,
    /// A store.
    Store,
    /// A store whose [`STORE`] cannot be read, or is missing.
    Unmarked(String),
    /// A store of another format.
    OtherFormat(u32),
    /// A database that is not ours.
    Foreign(String),
}

/// Tells what the directory is: by the files that are there, never by those that are not.
///
/// # Errors
/// [`DatabaseError::Io`].
pub fn state_of(store: &Path) -> Result<State, DatabaseError> {
    let names = names_in(store)?;
    let has = |name: &str| names.iter().any(|other| other == name);
    if has(STORE) {
        let path = store.join(STORE);
        let marker = fs::read(&path).map_err(io_error("read", &path))?;
        return Ok(match marked_format(&marker) {
            Some(STORE_FORMAT) => State::Store,
            Some(other) => State::OtherFormat(other),
            None => State::Unmarked(format!("{STORE} cannot be understood")),
        });
    }
    if has(STORE_BEING_MADE) {
        return Ok(State::BeingMade);
    }
    let ours = has(WITNESS)
        || names
            .iter()
            .any(|name| matches!(file_kind(name), FileKind::KeptManifest(_)));
    let of_rocksdb = names
        .iter()
        .find(|name| !matches!(file_kind(name), FileKind::Other | FileKind::KeptManifest(_)));
    Ok(match (ours, of_rocksdb) {
        (true, _) => State::Unmarked(format!("{STORE} is missing")),
        (false, Some(name)) => State::Foreign(format!("{name} without {STORE}")),
        (false, None) => State::New,
    })
}

/// What [`STORE`] holds: a line that tells a reader what this is, and the format.
pub(crate) fn marker(unix_seconds: u64) -> String {
    format!("Massa distributed storage\nformat {STORE_FORMAT}\ncreated {unix_seconds}\n")
}

fn marked_format(marker: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(marker).ok()?;
    let mut lines = text.lines();
    lines.next().filter(|line| *line == "Massa distributed storage")?;
    lines.next()?.strip_prefix("format ")?.parse().ok()
}

/// One damage, with what is needed to put it right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    Marker(String),
    Witness(String),
    Current(String),
    Manifest {
        number: u64,
        what: String,
    },
    Table {
        number: u64,
        entry: TableEntry,
        what: String,
    },
    Log {
        number: u64,
        whole_bytes: u64,
        what: String,
    },
}

impl Finding {
    pub(crate) fn report(&self) -> DamageReport {
        match self {
            Finding::Marker(what) => DamageReport::new(STORE, what, Loss::Nothing),
            Finding::Witness(what) => DamageReport::new(WITNESS, what, Loss::Nothing),
            Finding::Current(what) => DamageReport::new(CURRENT, what, Loss::All),
            Finding::Manifest { number, what } => DamageReport::new(manifest_name(*number), what, Loss::All),
            Finding::Table { number, what, .. } => DamageReport::new(table_name(*number), what, Loss::Rows),
            Finding::Log { number, what, .. } => DamageReport::new(log_name(*number), what, Loss::Recent),
        }
    }
}

/// What an inspection found.
#[derive(Debug, Default)]
pub(crate) struct Inspection {
    /// Number and content of the MANIFEST, if it can be read and understood.
    pub(crate) manifest: Option<(u64, Manifest)>,
    /// Its length as far as it is whole.
    pub(crate) manifest_bytes: u64,
    pub(crate) note: Option<Note>,
    pub(crate) findings: Vec<Finding>,
}

/// Inspects a store.
pub(crate) fn inspect(store: &Path) -> Result<Inspection, DatabaseError> {
    let note = Witness::read(store).map_err(io_error("read", &store.join(WITNESS)))?;
    let mut inspection = Inspection {
        note,
        ..Inspection::default()
    };
    if inspection.note.is_none() {
        let what = "it is missing or damaged, so what the disk acknowledged last is not known";
        inspection.findings.push(Finding::Witness(what.to_string()));
    }
    inspect_manifest(store, &mut inspection)?;
    if inspection.manifest.is_some() {
        inspect_tables(store, &mut inspection)?;
        inspect_logs(store, &mut inspection)?;
    }
    Ok(inspection)
}

fn inspect_manifest(store: &Path, inspection: &mut Inspection) -> Result<(), DatabaseError> {
    let Some(number) = current_manifest(store)? else {
        let what = if store.join(CURRENT).exists() {
            "it does not name a MANIFEST"
        } else {
            "it is missing"
        };
        inspection.findings.push(Finding::Current(what.to_string()));
        return Ok(());
    };
    match read_manifest(store, &manifest_name(number), number, inspection.note.as_ref())? {
        Read::Whole(manifest, bytes) => {
            inspection.manifest = Some((number, manifest));
            inspection.manifest_bytes = bytes;
        }
        // Written by a newer RocksDB: what it says is left to RocksDB.
        Read::NotUnderstood => {}
        Read::Damaged(what) => inspection.findings.push(Finding::Manifest { number, what }),
    }
    Ok(())
}

/// How reading a MANIFEST or its copy went.
pub(crate) enum Read {
    Whole(Manifest, u64),
    NotUnderstood,
    Damaged(String),
}

/// Reads the MANIFEST `number` from the file `name`, and compares it with what was acknowledged.
pub(crate) fn read_manifest(store: &Path, name: &str, number: u64, note: Option<&Note>) -> Result<Read, DatabaseError> {
    let path = store.join(name);
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Read::Damaged("it is missing".to_string()));
        }
        file => file.map_err(io_error("read", &path))?,
    };
    let (manifest, scan) = Manifest::read(BufReader::new(file)).map_err(io_error("read", &path))?;
    if let Some(what) = manifest_damage(number, &scan, note) {
        return Ok(Read::Damaged(what));
    }
    Ok(match manifest {
        Some(manifest) if manifest.families.is_empty() => Read::Damaged("it is empty".to_string()),
        Some(manifest) => Read::Whole(manifest, scan.whole_bytes),
        None => Read::NotUnderstood,
    })
}

fn manifest_damage(number: u64, scan: &LogScan, note: Option<&Note>) -> Option<String> {
    if let LogEnd::Damaged(what) = &scan.end {
        return Some(what.clone());
    }
    let acknowledged = note?.manifest;
    if number < acknowledged.number {
        return Some(format!("it is older than {}", manifest_name(acknowledged.number)));
    }
    let short = number == acknowledged.number && scan.whole_bytes < acknowledged.bytes;
    short.then(|| cut(scan.whole_bytes, acknowledged.bytes))
}

fn cut(whole: u64, acknowledged: u64) -> String {
    format!("{whole} bytes are whole, {acknowledged} were written")
}

fn inspect_tables(store: &Path, inspection: &mut Inspection) -> Result<(), DatabaseError> {
    let Some((_, manifest)) = &inspection.manifest else {
        return Ok(());
    };
    let suspects = suspects(store)?;
    for (number, entry) in &manifest.tables {
        let what = match fs::metadata(store.join(table_name(*number))) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Some("it is missing".to_string()),
            Err(error) => return Err(io_error("read", &store.join(table_name(*number)))(error)),
            Ok(metadata) if metadata.len() != entry.bytes => {
                Some(format!("it has {} bytes, {} were written", metadata.len(), entry.bytes))
            }
            Ok(_) if suspects.contains(number) => Some("a read of it failed its checksum".to_string()),
            Ok(_) => None,
        };
        if let Some(what) = what {
            inspection.findings.push(Finding::Table {
                number: *number,
                entry: *entry,
                what,
            });
        }
    }
    Ok(())
}

/// Tables that could not be read while the store was open.
pub(crate) fn suspects(store: &Path) -> Result<Vec<u64>, DatabaseError> {
    let path = store.join(SUSPECTS);
    match fs::read_to_string(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        text => {
            let text = text.map_err(io_error("read", &path))?;
            Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
        }
    }
}

fn inspect_logs(store: &Path, inspection: &mut Inspection) -> Result<(), DatabaseError> {
    let Some((_, manifest)) = &inspection.manifest else {
        return Ok(());
    };
    let first = manifest.first_log();
    let logs: Vec<(u64, u64)> = logs_in(store)?
        .into_iter()
        .filter(|(number, _)| *number >= first)
        .collect();
    let acknowledged = |number: u64| {
        let logs = inspection.note.iter().flat_map(|note| &note.logs);
        logs.filter(|log| log.number == number)
            .map(|log| log.bytes)
            .max()
            .unwrap_or(0)
    };
    let mut found = Vec::new();
    for (position, (number, _)) in logs.iter().enumerate() {
        let later = logs[position + 1..].iter().any(|(_, bytes)| *bytes > 0);
        let scan = read_log(store, *number)?;
        if let Some(what) = log_damage(&scan, acknowledged(*number), later) {
            found.push(Finding::Log {
                number: *number,
                whole_bytes: scan.whole_bytes,
                what,
            });
        }
    }
    let noted = inspection.note.iter().flat_map(|note| &note.logs);
    let gone = noted.filter(|log| log.number >= first && log.bytes > 0);
    for log in gone.filter(|log| logs.iter().all(|(number, _)| *number != log.number)) {
        found.push(Finding::Log {
            number: log.number,
            whole_bytes: 0,
            what: format!("it is missing, {} bytes were written", log.bytes),
        });
    }
    inspection.findings.extend(found);
    Ok(())
}

fn read_log(store: &Path, number: u64) -> Result<LogScan, DatabaseError> {
    let path = store.join(log_name(number));
    let scanned = File::open(&path).and_then(|file| scan_log(file, |_| {}));
    scanned.map_err(io_error("read", &path))
}

/// What is wrong with a log of which `acknowledged` bytes had reached the disk. `later`: whether a later one has records.
fn log_damage(scan: &LogScan, acknowledged: u64, later: bool) -> Option<String> {
    match &scan.end {
        LogEnd::Damaged(what) => Some(what.clone()),
        _ if scan.whole_bytes < acknowledged => Some(cut(scan.whole_bytes, acknowledged)),
        LogEnd::Torn if later => Some("it ends inside a record, and a later log goes on".to_string()),
        LogEnd::Torn | LogEnd::Whole => None,
    }
}
