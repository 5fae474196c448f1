//! Tables that are written outside the database and taken in whole: pages of a closed segment.
//!
//! Their rows go to the disk once, without log, memory or compaction, if their keys lie beyond those of every other
//! table: then they are put into the last level and stay there.

use crate::storage_backend::database::error::{io_error, DatabaseError};
use crate::storage_backend::database::options::Family;
use crate::storage_backend::database::writer::{Durability, WriteFault};
use crate::storage_backend::database::Database;
use rocksdb::{IngestExternalFileOptions, SstFileWriter, DB};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// Where tables are written before they are taken in; emptied at each start.
pub(crate) const INCOMING: &str = "incoming";

/// Takes tables in, all or none.
pub trait TableIngest: Send + Sync {
    /// Moves the files at `paths` into a family.
    ///
    /// # Errors
    /// [`WriteFault`]: they may or may not have been taken in.
    fn ingest(&self, db: &DB, family: &'static str, paths: &[PathBuf]) -> Result<(), WriteFault>;
}

/// Takes tables in, in production.
#[derive(Clone, Copy, Debug, Default)]
pub struct RocksIngest;

impl TableIngest for RocksIngest {
    fn ingest(&self, db: &DB, family: &'static str, paths: &[PathBuf]) -> Result<(), WriteFault> {
        let handle = db
            .cf_handle(family)
            .ok_or_else(|| WriteFault::Failed(format!("there is no column family {family}")))?;
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let taken = db.ingest_external_file_cf_opts(handle, &options, paths.to_vec());
        taken.map_err(WriteFault::from)
    }
}

/// A table that was written and not yet taken in. Its file is deleted when it is dropped.
#[derive(Debug)]
pub struct Table {
    family: &'static str,
    path: PathBuf,
    bytes: u64,
}

impl Table {
    /// Its size on disk.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        // Gone already if it was taken in; what stays is deleted at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// Takes the rows of a table.
pub struct TableRows<'a> {
    writer: SstFileWriter<'a>,
}

impl TableRows<'_> {
    /// Adds a row. Keys ascend strictly.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`] when the disk refuses or the key does not ascend.
    pub fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), DatabaseError> {
        self.writer.put(key, value).map_err(refused)
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.writer.file_size()
    }
}

fn refused(error: rocksdb::Error) -> DatabaseError {
    DatabaseError::Refusing(error.into())
}

impl Database {
    /// Writes a table for `family`: `rows` puts its rows, at least one. Several may be written at a time.
    ///
    /// A failure leaves nothing behind and does not make the database refuse writes.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`] when the disk refuses; those of `rows`.
    pub fn write_table<E: From<DatabaseError>>(
        &self,
        family: &'static str,
        rows: impl FnOnce(&mut TableRows<'_>) -> Result<(), E>,
    ) -> Result<Table, E> {
        if self.read_only() {
            return Err(DatabaseError::ReadOnly.into());
        }
        let described = self.described(family)?;
        let directory = self.path().join(INCOMING);
        fs::create_dir_all(&directory).map_err(io_error("make", &directory))?;
        let number = self.tables_written.fetch_add(1, Ordering::Relaxed);
        let mut table = Table {
            family,
            path: directory.join(format!("{number}.table")),
            bytes: 0,
        };
        table.bytes = self.fill(described, &table.path, rows)?;
        Ok(table)
    }

    fn fill<E: From<DatabaseError>>(
        &self,
        family: &Family,
        path: &Path,
        rows: impl FnOnce(&mut TableRows<'_>) -> Result<(), E>,
    ) -> Result<u64, E> {
        let options = self.setup.family(family);
        let writer = SstFileWriter::create(&options);
        writer.open(path).map_err(refused)?;
        let mut table = TableRows { writer };
        rows(&mut table)?;
        table.writer.finish().map_err(refused)?;
        Ok(table.writer.file_size())
    }

    /// Takes tables in: they are there for readers, and survive a power cut, when this returns. All tables of one family
    /// come at once or not at all; the families follow each other.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`] when the disk refuses.
    pub fn ingest(&self, tables: Vec<Table>) -> Result<(), DatabaseError> {
        self.change(Durability::Synced, |db, io| {
            for family in self.setup.families() {
                let of_family = tables.iter().filter(|table| table.family == family.name);
                let paths: Vec<PathBuf> = of_family.map(|table| table.path.clone()).collect();
                if !paths.is_empty() {
                    io.ingest.ingest(db, family.name, &paths)?;
                }
            }
            let bytes = tables.iter().map(Table::bytes).sum();
            self.ingested_bytes.fetch_add(bytes, Ordering::Relaxed);
            Ok(bytes)
        })
    }
}

/// Deletes tables that an earlier process wrote and did not take in.
pub(crate) fn clear_incoming(path: &Path) -> Result<(), DatabaseError> {
    let directory = path.join(INCOMING);
    match fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("empty", &directory)(error)),
        _ => Ok(()),
    }
}
