//! After a fault: tries until writes succeed again, and never gives up a handle that reads before there is another.
//!
//! RocksDB goes on by itself after most faults, a full disk among them. Where it does not it has to be opened again, which
//! its lock allows only once the old handle is gone. A handle for reading needs no lock: it is opened first and takes over
//! the readers, and stays until a handle for writing could be opened.

use crate::storage_backend::database::error::DatabaseError;
use crate::storage_backend::database::open::{open_rocksdb, open_rocksdb_for_reading, set_suspects_aside};
use crate::storage_backend::database::options::OnDamage;
use crate::storage_backend::database::watch::Watch;
use crate::storage_backend::database::writer::{background_fault, Durability, WriteFault};
use crate::storage_backend::database::{Database, Family, FamilyKind, Handle, Writing};
use rocksdb::WriteBatch;
use std::time::{Duration, Instant};

/// RocksDB looks every 5 s whether a full disk has space again.
const FIRST_WAIT: Duration = Duration::from_secs(12);
/// Between two attempts to open it again.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// Of the family that every RocksDB has and the store does not use.
const PROBE_KEY: &[u8] = b"probe";

/// When RocksDB is opened again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Retry {
    next: Option<(Instant, Duration)>,
}

impl Retry {
    /// Whether an attempt is due. The first waits for RocksDB's own after [`WriteFault::NoSpace`]; each later one waits
    /// twice as long as the one before.
    fn is_due(&mut self, fault: &WriteFault, now: Instant) -> bool {
        match self.next {
            None if *fault == WriteFault::NoSpace => {
                self.next = Some((now + FIRST_WAIT, FIRST_WAIT));
                false
            }
            Some((next, _)) if now < next => false,
            before => {
                let wait = before.map_or(FIRST_WAIT, |(_, wait)| (2 * wait).min(WAIT_MAX));
                self.next = Some((now + wait, wait));
                true
            }
        }
    }
}

impl Database {
    /// Tries whether writes succeed again. May be called any number of times, by any thread; a failure changes nothing,
    /// and reads go on meanwhile. To be called from time to time also while there is no fault: then it sees to it that
    /// tables are merged again if RocksDB gave up doing so.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`] while writes do not succeed.
    pub fn recover(&self) -> Result<(), DatabaseError> {
        self.recover_at(Instant::now())
    }

    /// The same, at the time `now`.
    ///
    /// # Errors
    /// [`DatabaseError::Refusing`].
    pub fn recover_at(&self, now: Instant) -> Result<(), DatabaseError> {
        let mut writing = self.writing.lock();
        let Some(fault) = self.fault() else {
            return match writing.as_mut() {
                Some(writing) => self.go_on_in_background(writing, now),
                None => Ok(()),
            };
        };
        let writing = writing.as_mut().ok_or(DatabaseError::Closed)?;
        let mut recovered = self.probe(writing);
        if let Err(fault) = &recovered {
            if writing.retry.is_due(fault, now) {
                recovered = self.reopen(writing).and_then(|()| self.probe(writing));
            }
        }
        if let Err(fault) = recovered {
            return Err(self.refuse(fault));
        }
        tracing::info!(path = %self.path.display(), %fault, "the store takes writes again");
        writing.retry = Retry::default();
        *self.fault.lock() = None;
        Ok(())
    }

    /// RocksDB may take writes and no longer merge tables, for want of space once; after a while it would take no writes.
    fn go_on_in_background(&self, writing: &mut Writing, now: Instant) -> Result<(), DatabaseError> {
        match self.read(|db| Ok::<_, DatabaseError>(background_fault(db)))? {
            None => writing.retry = Retry::default(),
            Some(fault) if writing.retry.is_due(&fault, now) => {
                tracing::warn!(path = %self.path.display(), %fault, "tables are no longer merged: opening the store again");
                self.reopen(writing).map_err(|fault| self.refuse(fault))?;
            }
            Some(_) => {}
        }
        Ok(())
    }

    /// Writes a row durably.
    fn probe(&self, writing: &mut Writing) -> Result<(), WriteFault> {
        let handle = self.handle.read();
        let handle = handle.as_ref().ok_or_else(closed)?;
        if !handle.writes {
            return Err(self.fault().unwrap_or_else(closed));
        }
        let mut batch = WriteBatch::default();
        batch.put(PROBE_KEY, []);
        self.io.writer.write(&handle.db, batch, Durability::Synced)?;
        writing.watch.acknowledge(&handle.db)
    }

    fn reopen(&self, writing: &mut Writing) -> Result<(), WriteFault> {
        let writes = self.handle.read().as_ref().ok_or_else(closed)?.writes;
        if writes {
            let db = open_rocksdb_for_reading(&self.path, &self.setup.database(), &self.setup).map_err(fault_of)?;
            self.put_in_place(Handle { db, writes: false });
        }
        if self.on_damage == OnDamage::SetAside {
            let reports = set_suspects_aside(&self.path).map_err(fault_of)?;
            let mut damages = self.damages.lock();
            damages.retain(|known| reports.iter().all(|report| report.file != known.file));
            damages.extend(reports);
        }
        // Tables that the reading handle knows must not be merged away before it is gone.
        let db = open_rocksdb(&self.path, &self.setup.database(), &self.setup, false).map_err(fault_of)?;
        let watch = Watch::begin(&self.path, &db).map_err(fault_of)?;
        self.put_in_place(Handle { db, writes: true });
        writing.watch = watch;
        self.read(|db| {
            let merged = |family: &&Family| family.kind != FamilyKind::Pages;
            for family in self.setup.families().iter().filter(merged) {
                let handle = super::family(db, family.name)?;
                db.set_options_cf(handle, &[("disable_auto_compactions", "false")])?;
            }
            Ok(())
        })
        .map_err(fault_of)
    }

    /// Lets readers use `handle` from now on; the one before is closed when they are done with it.
    fn put_in_place(&self, handle: Handle) {
        let before = self.handle.write().replace(handle);
        drop(before);
    }
}

fn closed() -> WriteFault {
    WriteFault::Failed("the store is closed".to_string())
}

fn fault_of(error: DatabaseError) -> WriteFault {
    match error {
        DatabaseError::Refusing(fault) => fault,
        DatabaseError::Open { source, .. } | DatabaseError::Read(source) => source.into(),
        error => WriteFault::Failed(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_left_to_rocksdb_first_and_then_tried_ever_more_rarely() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut retry = Retry::default();
        let due: Vec<u64> = (0..400)
            .filter(|seconds| retry.is_due(&WriteFault::NoSpace, at(*seconds)))
            .collect();
        assert_eq!(due, [12, 36, 84, 144, 204, 264, 324, 384]);
    }

    #[test]
    fn other_faults_are_tried_at_once() {
        let fault = WriteFault::Failed("input/output error".to_string());
        let mut retry = Retry::default();
        assert!(retry.is_due(&fault, Instant::now()));
    }
}
