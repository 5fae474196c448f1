//! Why the database cannot be opened, read or written.

use crate::storage_backend::database::damage::DamageReport;
use crate::storage_backend::database::writer::WriteFault;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Errors of the database.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// RocksDB takes its paths as UTF-8: another name would silently become another directory.
    #[error("the path {} is not UTF-8: choose a directory whose name is", path.display())]
    PathNotUtf8 {
        /// The path.
        path: PathBuf,
    },
    /// There is a file where the directory should be.
    #[error("{} is not a directory: move it away or choose another path", path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refuses.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// There is no store, and none was to be made.
    #[error("{} is not a distributed storage directory", path.display())]
    NotAStore {
        /// The directory.
        path: PathBuf,
    },
    /// Written by another version.
    #[error("the store in {} has format {found}, this version reads format {expected}: use the version that wrote it, or another directory", path.display())]
    Format {
        /// The directory.
        path: PathBuf,
        /// Format found.
        found: u32,
        /// Format of this version.
        expected: u32,
    },
    /// The directory holds a database of something else: it is left alone.
    #[error("{} holds a database that is not a store of this version ({what}): choose another directory", path.display())]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What tells so.
        what: String,
    },
    /// Another process, or another part of this one, has the store open.
    #[error("the store in {} is in use", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Files are damaged and nothing may be set aside.
    #[error("the store in {} is damaged: {}", path.display(), Listed(damages))]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// Each damaged file.
        damages: Vec<DamageReport>,
    },
    /// RocksDB could not open the directory.
    #[error("could not open the store in {}: {source}", path.display())]
    Open {
        /// The directory.
        path: PathBuf,
        /// What RocksDB said.
        source: rocksdb::Error,
    },
    /// A write failed; until [`super::Database::recover`] succeeds all writes are refused.
    #[error("the store refuses writes: {0}")]
    Refusing(WriteFault),
    /// The directory would outgrow its allocation.
    #[error("allocated storage is used up: {used} bytes used, {needed} needed, {capacity} allocated")]
    AllocationUsedUp {
        /// Bytes on disk now.
        used: u64,
        /// Bytes that the write might lead to.
        needed: u64,
        /// The ceiling.
        capacity: u64,
    },
    /// RocksDB could not read.
    #[error("could not read the store: {0}")]
    Read(#[from] rocksdb::Error),
    /// The caller named a family that it did not open: a bug.
    #[error("the store has no column family {0}")]
    UnknownFamily(&'static str),
    /// The database was opened for reading only.
    #[error("the store is open for reading only")]
    ReadOnly,
    /// The database was closed.
    #[error("the store is closed")]
    Closed,
}

struct Listed<'a>(&'a [DamageReport]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, damage) in self.0.iter().enumerate() {
            let separator = if number == 0 { "" } else { "; " };
            write!(f, "{separator}{damage}")?;
        }
        Ok(())
    }
}

/// Names action and path of an error of the operating system.
pub(crate) fn io_error<'a>(action: &'static str, path: &'a Path) -> impl FnOnce(io::Error) -> DatabaseError + 'a {
    move |source| DatabaseError::Io {
        action,
        path: path.to_path_buf(),
        source,
    }
}
