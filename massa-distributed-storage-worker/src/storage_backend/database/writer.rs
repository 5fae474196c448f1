//! The one way by which rows reach the disk: where faults enter in tests.

use rocksdb::{ErrorKind, WaitForCompactOptions, WriteBatch, WriteOptions, DB};
use std::time::{Duration, Instant};

/// How long tables that are written in the background may keep a batch waiting.
const STALL_MAX: Duration = Duration::from_secs(60);
/// Between two attempts meanwhile.
const STALL_PAUSE: Duration = Duration::from_millis(5);

/// Whether a write must have reached the disk when it returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Survives a power cut.
    Synced,
    /// Survives a killed process; [`super::Database::sync`] makes it survive a power cut.
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
    /// RocksDB stops writes while it has no room in memory, and by itself would wait for as long as a full disk keeps it from
    /// making room. So it is told not to wait, and waiting happens here: it ends when there is a fault.
    fn write(&self, db: &DB, batch: WriteBatch, durability: Durability) -> Result<(), WriteFault> {
        let mut options = WriteOptions::default();
        options.set_sync(durability == Durability::Synced);
        options.set_no_slowdown(true);
        let start = Instant::now();
        loop {
            // RocksDB consumes a batch, also one that it did not write.
            match db.write_opt(WriteBatch::from_data(batch.data()), &options) {
                Err(error) if error.kind() == ErrorKind::Incomplete => wait_for_room(db, start)?,
                written => return written.map_err(WriteFault::from),
            }
        }
    }
}

fn wait_for_room(db: &DB, start: Instant) -> Result<(), WriteFault> {
    if let Some(fault) = background_fault(db) {
        return Err(fault);
    }
    if start.elapsed() > STALL_MAX {
        let text = format!(
            "no batch was taken for {} s, and RocksDB names no fault",
            STALL_MAX.as_secs()
        );
        return Err(WriteFault::Failed(text));
    }
    std::thread::park_timeout(STALL_PAUSE);
    Ok(())
}

/// Why RocksDB does nothing in the background, if so: waiting for it, for no time, tells.
pub(crate) fn background_fault(db: &DB) -> Option<WriteFault> {
    let mut no_time = WaitForCompactOptions::default();
    no_time.set_timeout(1);
    let error = db.wait_for_compact(&no_time).err()?;
    matches!(error.kind(), ErrorKind::IOError | ErrorKind::Corruption).then(|| error.into())
}

/// Writes are taken or not, never slowed down: [`RocksWriter`] does not wait inside of RocksDB.
pub(crate) fn never_slow_down(options: &mut rocksdb::Options) {
    options.set_level_zero_slowdown_writes_trigger(-1);
    options.set_soft_pending_compaction_bytes_limit(0);
}
