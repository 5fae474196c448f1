//! The one way by which rows reach the disk: where faults enter in tests.

use rocksdb::{ErrorKind, WriteBatch, WriteOptions, DB};

/// Whether a write must have reached the disk when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut.
    Synced,
    /// Survives a killed process; [`crate::storage_backend::Store::sync`] makes it survive a power cut.
    Buffered,
}

/// Why a batch may not have been written.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteFault {
    /// The disk is full.
    #[error("no space left on the disk")]
    NoSpace,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl From<rocksdb::Error> for WriteFault {
    fn from(error: rocksdb::Error) -> Self {
        let text = error.to_string();
        let full = error.kind() == ErrorKind::IOError && text.contains("No space left");
        if full {
            WriteFault::NoSpace
        } else {
            WriteFault::Failed(text)
        }
    }
}

/// Writes batches, whole or not at all.
pub trait BatchWriter: Send + Sync {
    /// Writes `batch` into `db`.
    ///
    /// # Errors
    /// [`WriteFault`]: the batch may or may not have been written; the store then refuses until it was probed.
    fn write(&self, db: &DB, batch: WriteBatch, durability: Durability) -> Result<(), WriteFault>;
}

/// The writer of production.
#[derive(Clone, Copy, Debug, Default)]
pub struct RocksWriter;

impl BatchWriter for RocksWriter {
    fn write(&self, db: &DB, batch: WriteBatch, durability: Durability) -> Result<(), WriteFault> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        db.write_opt(batch, &options).map_err(WriteFault::from)
    }
}
