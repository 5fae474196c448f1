//! RocksDB in a directory of its own: opened with care, never given up, never taken for new when it is damaged.
//!
//! One thread writes at a time (others wait); any number read. What was written with [`Durability::Synced`] or taken in
//! by [`Database::ingest`] survives a power cut; anything else survives a killed process. What the disk acknowledged is
//! noted apart from RocksDB's files ([`witness`]) and compared with what is there when the database is opened
//! ([`inspect`]); what is damaged is named, and set aside where that is wanted ([`repair`]). When a write fails the
//! database refuses further ones until [`Database::recover`] has seen one succeed; reads go on all the time.
//!
//! ```text
//! STORE                     format, and when it was made; the last file that making a store writes
//! IN-USE                    locked by whoever writes
//! WITNESS                   how much of logs and MANIFEST was acknowledged
//! CURRENT MANIFEST-* *.sst  RocksDB's; its write-ahead logs are in logs/
//! kept-MANIFEST-*           copy of the MANIFEST as far as it was acknowledged
//! incoming/                 tables that are being written
//! damaged-<unix time>/      what was set aside: at most three, counted against the allocation, deleted for its sake
//! ```
//!
//! Left out: what rows mean, and obtaining what was lost.

pub mod damage;
pub mod error;
pub mod files;
pub mod gauge;
pub mod inspect;
pub mod log_file;
pub mod manifest;
pub mod open;
pub mod options;
pub mod recovery;
pub mod repair;
pub mod space;
pub mod tables;
pub mod watch;
pub mod witness;
pub mod writer;

pub use damage::{DamageReport, Loss};
pub use error::DatabaseError;
pub use options::{DatabaseOptions, Family, FamilyKind, FirstRow, OnDamage, RowFilter, Statistics};
pub use space::KeyRange;
pub use tables::{RocksIngest, Table, TableIngest, TableRows};

use crate::storage_backend::database::options::Setup;
use crate::storage_backend::database::recovery::Retry;
use crate::storage_backend::database::space::Space;
use crate::storage_backend::database::watch::Watch;
use crate::storage_backend::database::writer::{BatchWriter, Durability, WriteFault};
use parking_lot::{Mutex, RwLock};
use rocksdb::{ColumnFamily, WriteBatch, DB};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A handle of RocksDB.
pub(crate) struct Handle {
    db: DB,
    /// Whether it was opened for writing.
    writes: bool,
}

/// Where writes and tables go.
pub(crate) struct Io {
    writer: Box<dyn BatchWriter>,
    ingest: Box<dyn TableIngest>,
}

/// What writers need one at a time.
pub(crate) struct Writing {
    watch: Watch,
    retry: Retry,
    /// Unlocks the directory when it is dropped.
    _lock: File,
}

/// The database.
pub struct Database {
    path: PathBuf,
    setup: Setup,
    io: Io,
    /// `None` once closed.
    handle: RwLock<Option<Handle>>,
    /// `None` when it was opened for reading only, or closed. Locked before `handle`.
    writing: Mutex<Option<Writing>>,
    read_only: bool,
    on_damage: OnDamage,
    /// Why writes are refused.
    fault: Mutex<Option<WriteFault>>,
    space: Mutex<Space>,
    damages: Mutex<Vec<DamageReport>>,
    tables_written: AtomicU64,
    ingested_bytes: AtomicU64,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// The handle of a column family.
///
/// # Errors
/// [`DatabaseError::UnknownFamily`].
pub fn family<'a>(db: &'a DB, name: &'static str) -> Result<&'a ColumnFamily, DatabaseError> {
    db.cf_handle(name).ok_or(DatabaseError::UnknownFamily(name))
}

impl Database {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was opened for reading only.
    pub fn read_only(&self) -> bool {
        self.read_only
    }

    /// What was found damaged since it was opened, and what was done.
    pub fn damages(&self) -> Vec<DamageReport> {
        self.damages.lock().clone()
    }

    /// What was written since it was opened.
    pub fn statistics(&self) -> Statistics {
        self.setup.statistics(self.ingested_bytes.load(Ordering::Relaxed))
    }

    /// Why the database refuses writes, if it does.
    pub fn fault(&self) -> Option<WriteFault> {
        self.fault.lock().clone()
    }

    /// Runs `action` on RocksDB. It must not call the database again.
    ///
    /// # Errors
    /// [`DatabaseError::Closed`], and those of `action`.
    pub fn read<T, E: From<DatabaseError>>(&self, action: impl FnOnce(&DB) -> Result<T, E>) -> Result<T, E> {
        match self.handle.read().as_ref() {
            Some(handle) => action(&handle.db),
            None => Err(DatabaseError::Closed.into()),
        }
    }

    /// Writes `batch`, whole or not at all.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`]: it may or may not have been written, and further writes are refused until
    /// [`Database::recover`] succeeds.
    pub fn write(&self, batch: WriteBatch, durability: Durability) -> Result<(), DatabaseError> {
        self.change(durability, |db, io| {
            let bytes = batch.size_in_bytes() as u64;
            io.writer.write(db, batch, durability)?;
            Ok(bytes)
        })
    }

    /// Fills a batch with the help of `fill` and writes it, unless it stays empty.
    ///
    /// # Errors
    /// Those of `fill`, then nothing was written; and those of [`Database::write`].
    pub fn update<E: From<DatabaseError>>(
        &self,
        durability: Durability,
        fill: impl FnOnce(&DB, &mut WriteBatch) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut batch = WriteBatch::default();
        self.read(|db| fill(db, &mut batch))?;
        if batch.is_empty() {
            return Ok(());
        }
        Ok(self.write(batch, durability)?)
    }

    /// Makes every write so far survive a power cut.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`] when the disk refuses.
    pub fn sync(&self) -> Result<(), DatabaseError> {
        self.change(Durability::Synced, |db, _| {
            db.flush_wal(true)?;
            Ok(0)
        })
    }

    /// Moves everything from the write-ahead log into tables.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`] when the disk refuses.
    pub fn flush(&self) -> Result<(), DatabaseError> {
        self.change(Durability::Synced, |db, _| {
            let names = self.setup.families().iter().map(|family| family.name);
            let families: Vec<&ColumnFamily> = names.filter_map(|name| db.cf_handle(name)).collect();
            db.flush_wal(true)?;
            db.flush_cfs_opt(&families, &rocksdb::FlushOptions::default())?;
            Ok(0)
        })
    }

    /// Releases the directory and its lock, once all readers are done. Later calls return [`DatabaseError::Closed`].
    pub fn close(&self) {
        let mut writing = self.writing.lock();
        if let (Some(writing), Some(handle)) = (writing.as_mut(), self.handle.read().as_ref()) {
            if handle.writes && self.fault().is_none() && handle.db.flush_wal(true).is_ok() {
                // What cannot be noted is compared with an older note.
                let _ = writing.watch.end(&handle.db);
            }
        }
        self.handle.write().take();
        writing.take();
    }

    /// Changes the database: refuses while there is a fault, notes one, and notes what was acknowledged. `action` returns
    /// the bytes that it wrote.
    fn change(
        &self,
        durability: Durability,
        action: impl FnOnce(&DB, &Io) -> Result<u64, WriteFault>,
    ) -> Result<(), DatabaseError> {
        if self.read_only {
            return Err(DatabaseError::ReadOnly);
        }
        let mut writing = self.writing.lock();
        let writing = writing.as_mut().ok_or(DatabaseError::Closed)?;
        if let Some(fault) = self.fault() {
            return Err(DatabaseError::Refusing(fault));
        }
        self.read(|db| {
            let mut changed = action(db, &self.io);
            if let (Ok(_), Durability::Synced) = (&changed, durability) {
                changed = changed.and_then(|bytes| writing.watch.acknowledge(db).map(|()| bytes));
            }
            match changed {
                Ok(bytes) => {
                    self.space.lock().wrote(bytes);
                    Ok(())
                }
                Err(fault) => Err(self.refuse(fault)),
            }
        })
    }

    fn refuse(&self, fault: WriteFault) -> DatabaseError {
        match &fault {
            // Merging tables failed because one is damaged.
            WriteFault::Failed(what) if what.starts_with("Corruption") => drop(self.suspect(what)),
            _ => {}
        }
        *self.fault.lock() = Some(fault.clone());
        DatabaseError::Refusing(fault)
    }

    /// How a family was described when the database was opened.
    fn described(&self, name: &'static str) -> Result<&Family, DatabaseError> {
        let mut families = self.setup.families().iter();
        families
            .find(|family| family.name == name)
            .ok_or(DatabaseError::UnknownFamily(name))
    }
}
