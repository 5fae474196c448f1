//! The directory of a store, by a name that RocksDB takes.
//!
//! RocksDB wants UTF-8, and takes any other name for another directory. On Linux, where such names exist, an open directory has
//! a second name, under `/proc`, which is plain.

use crate::archive::ArchiveError;
use massa_distributed_storage_worker::storage_backend::database::DatabaseError;
use massa_distributed_storage_worker::storage_backend::{SegmentStore, StoreError};
use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// A directory and the name that it is opened by.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    opened_as: PathBuf,
    /// The other name lasts as long as this.
    _open: Option<File>,
}

impl Directory {
    /// Finds the name by which `dir` is opened. Where its own name will not do, the directory must exist.
    ///
    /// # Errors
    /// What the operating system says of a directory whose name is not UTF-8.
    pub fn new(dir: &Path) -> io::Result<Self> {
        let mut directory = Self {
            dir: dir.to_path_buf(),
            opened_as: dir.to_path_buf(),
            _open: None,
        };
        if dir.to_str().is_none() {
            let open = File::open(dir)?;
            let by_number = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
            // Where there is no /proc the store says what is wrong with the name.
            if by_number.is_dir() {
                directory.opened_as = by_number;
                directory._open = Some(open);
            }
        }
        Ok(directory)
    }

    /// The name that RocksDB takes.
    pub fn opened_as(&self) -> &Path {
        &self.opened_as
    }

    /// Says which directory is meant where an error names the other name.
    pub fn named(&self, error: StoreError) -> ArchiveError {
        if self.dir == self.opened_as {
            return error.into();
        }
        ArchiveError::Open {
            dir: self.dir.display().to_string(),
            opened_as: self.opened_as.display().to_string(),
            source: Box::new(error),
        }
    }
}

/// A store that is open for reading.
#[derive(Debug)]
pub struct OpenStore {
    store: SegmentStore,
    /// Outlives the store, which opens files by its name at any time.
    directory: Directory,
}

impl OpenStore {
    /// Opens the store in `dir`.
    ///
    /// # Errors
    /// [`ArchiveError::Store`], [`ArchiveError::Open`].
    pub fn open_read_only(dir: &Path) -> Result<Self, ArchiveError> {
        let directory = match Directory::new(dir) {
            Ok(directory) => directory,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = dir.to_path_buf();
                return Err(StoreError::from(DatabaseError::NotAStore { path }).into());
            }
            Err(source) => {
                return Err(ArchiveError::Directory {
                    dir: dir.display().to_string(),
                    source,
                })
            }
        };
        let store = SegmentStore::open_read_only(directory.opened_as());
        let store = store.map_err(|error| directory.named(error))?;
        Ok(Self { store, directory })
    }

    /// The directory as it was named.
    pub fn dir(&self) -> String {
        self.directory.dir.display().to_string()
    }
}

impl Deref for OpenStore {
    type Target = SegmentStore;

    fn deref(&self) -> &SegmentStore {
        &self.store
    }
}
