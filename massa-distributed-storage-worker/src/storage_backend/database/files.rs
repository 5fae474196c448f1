//! Names of the files in a store's directory, and how files are written so that they survive a power cut.

use crate::storage_backend::database::error::{io_error, DatabaseError};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Written last when a store is made: who finds it knows that everything else was there once.
pub const STORE: &str = "STORE";
/// Its name while the store is made: who finds this one knows that nothing was ever stored.
pub const STORE_BEING_MADE: &str = "STORE.being-made";
/// Locked by whoever has the store open for writing.
pub const IN_USE: &str = "IN-USE";
/// Names the MANIFEST.
pub const CURRENT: &str = "CURRENT";
/// Directory of the write-ahead logs.
pub const LOGS: &str = "logs";
/// How directories of damaged files begin.
pub const SET_ASIDE: &str = "damaged-";
/// Tables that could not be read, one number a line; the next start sets them aside.
pub const SUSPECTS: &str = "SUSPECT-TABLES";
const MANIFEST: &str = "MANIFEST-";
const KEPT_MANIFEST: &str = "kept-MANIFEST-";

/// Name of a MANIFEST.
pub fn manifest_name(number: u64) -> String {
    format!("{MANIFEST}{number:06}")
}

/// Name of the store's own copy of a MANIFEST.
pub fn kept_manifest_name(number: u64) -> String {
    format!("{KEPT_MANIFEST}{number:06}")
}

/// Name of a table.
pub fn table_name(number: u64) -> String {
    format!("{number:06}.sst")
}

/// Name of a log, seen from the store's directory.
pub fn log_name(number: u64) -> String {
    format!("{LOGS}/{number:06}.log")
}

/// What a file is, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A MANIFEST and its number.
    Manifest(u64),
    /// A copy of one.
    KeptManifest(u64),
    /// A table.
    Table(u64),
    /// A write-ahead log.
    Log(u64),
    /// Anything else of RocksDB.
    OtherOfRocksDb,
    /// Not of RocksDB.
    Other,
}

/// Tells what a file is.
pub fn file_kind(name: &str) -> FileKind {
    let numbered = |prefix: &str, suffix: &str| {
        let digits = name.strip_prefix(prefix)?.strip_suffix(suffix)?;
        let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        all_digits.then(|| digits.parse().ok())?
    };
    if let Some(number) = numbered(MANIFEST, "") {
        FileKind::Manifest(number)
    } else if let Some(number) = numbered(KEPT_MANIFEST, "") {
        FileKind::KeptManifest(number)
    } else if let Some(number) = numbered("", ".sst") {
        FileKind::Table(number)
    } else if let Some(number) = numbered("", ".log") {
        FileKind::Log(number)
    } else if is_other_of_rocksdb(name) || numbered("", ".blob").is_some() || numbered("", ".dbtmp").is_some() {
        FileKind::OtherOfRocksDb
    } else {
        FileKind::Other
    }
}

fn is_other_of_rocksdb(name: &str) -> bool {
    let beginnings = ["OPTIONS-", "LOG.old."];
    ["CURRENT", "IDENTITY", "LOCK", "LOG"].contains(&name)
        || beginnings.iter().any(|beginning| name.starts_with(beginning))
}

/// Names of the files in a directory; none if there is no directory.
pub fn names_in(directory: &Path) -> Result<Vec<String>, DatabaseError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(io_error("list", directory))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(io_error("list", directory))?;
        // What is not UTF-8 is not ours.
        names.extend(entry.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Numbers and lengths of the write-ahead logs, oldest first.
pub fn logs_in(store: &Path) -> Result<Vec<(u64, u64)>, DatabaseError> {
    let directory = store.join(LOGS);
    let mut logs = Vec::new();
    for name in names_in(&directory)? {
        if let FileKind::Log(number) = file_kind(&name) {
            match fs::metadata(directory.join(&name)) {
                // RocksDB deletes logs in the background.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                metadata => logs.push((
                    number,
                    metadata.map_err(io_error("read", &directory.join(&name)))?.len(),
                )),
            }
        }
    }
    logs.sort_unstable();
    Ok(logs)
}

/// The MANIFEST that CURRENT names; `None` if it is missing or nonsense.
pub fn current_manifest(store: &Path) -> Result<Option<u64>, DatabaseError> {
    let path = store.join(CURRENT);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        bytes => bytes.map_err(io_error("read", &path))?,
    };
    let name = String::from_utf8(bytes).unwrap_or_default();
    match name.strip_suffix('\n').map(file_kind) {
        Some(FileKind::Manifest(number)) => Ok(Some(number)),
        _ => Ok(None),
    }
}

/// Writes a file whole or not at all, durably.
pub fn write_file(directory: &Path, name: &str, bytes: &[u8]) -> Result<(), DatabaseError> {
    let (path, draft) = (directory.join(name), directory.join(format!("{name}.draft")));
    let write = || -> io::Result<()> {
        let mut file = File::create(&draft)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&draft, &path)
    };
    write().map_err(io_error("write", &path))?;
    sync_directory(directory)
}

/// Makes the names in a directory survive a power cut.
pub fn sync_directory(directory: &Path) -> Result<(), DatabaseError> {
    let synced = File::open(directory).and_then(|opened| opened.sync_all());
    synced.map_err(io_error("sync", directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_names() {
        let cases = [
            ("MANIFEST-000012", FileKind::Manifest(12)),
            ("kept-MANIFEST-000012", FileKind::KeptManifest(12)),
            ("000007.sst", FileKind::Table(7)),
            ("1234567.sst", FileKind::Table(1_234_567)),
            ("000008.log", FileKind::Log(8)),
            ("CURRENT", FileKind::OtherOfRocksDb),
            ("000009.dbtmp", FileKind::OtherOfRocksDb),
            ("OPTIONS-000011", FileKind::OtherOfRocksDb),
            ("LOG.old.17", FileKind::OtherOfRocksDb),
            ("MANIFEST-", FileKind::Other),
            ("+12.sst", FileKind::Other),
            ("STORE", FileKind::Other),
            ("lost+found", FileKind::Other),
        ];
        for (name, kind) in cases {
            assert_eq!(file_kind(name), kind, "{name}");
        }
        assert_eq!(file_kind(&manifest_name(3)), FileKind::Manifest(3));
        assert_eq!(file_kind(&table_name(3)), FileKind::Table(3));
        assert_eq!(file_kind(&kept_manifest_name(3)), FileKind::KeptManifest(3));
    }
}
