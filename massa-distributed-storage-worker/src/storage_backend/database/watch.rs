//! Notes what the disk acknowledged, write by write, and keeps a copy of the MANIFEST.

use crate::storage_backend::database::error::{io_error, DatabaseError};
use crate::storage_backend::database::files::{
    current_manifest, file_kind, kept_manifest_name, logs_in, manifest_name, names_in, sync_directory, FileKind,
};
use crate::storage_backend::database::witness::{Extent, Note, Witness};
use crate::storage_backend::database::writer::WriteFault;
use rocksdb::DB;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// `ENOSPC` of every Unix.
const NO_SPACE: i32 = 28;

/// See the module. Its owner calls it after each write that was synced, one at a time.
pub struct Watch {
    store: PathBuf,
    witness: Witness,
    note: Note,
    kept: Kept,
}

impl Watch {
    /// Begins to watch a database that was just opened.
    ///
    /// # Errors
    /// [`DatabaseError::Io`], [`DatabaseError::Refusing`].
    pub fn begin(store: &Path, db: &DB) -> Result<Self, DatabaseError> {
        let before = Witness::read(store).map_err(io_error("read", store))?;
        let mut watch = Self {
            store: store.to_path_buf(),
            witness: Witness::open(store).map_err(io_error("write", &store.join(super::witness::WITNESS)))?,
            note: Note {
                count: before.map_or(0, |note| note.count),
                ..Note::default()
            },
            kept: Kept::default(),
        };
        watch.acknowledge(db).map_err(DatabaseError::Refusing)?;
        sync_directory(store)?;
        Ok(watch)
    }

    /// Notes that everything written so far reached the disk. Costs a listing of the logs' directory, which has one to
    /// four, a look at the MANIFEST, and a write in place: some 20 microseconds.
    ///
    /// # Errors
    /// [`WriteFault`]: what was written is not acknowledged.
    pub fn acknowledge(&mut self, db: &DB) -> Result<(), WriteFault> {
        let logs = logs_in(&self.store).map_err(|error| WriteFault::Failed(error.to_string()))?;
        let manifest = self.kept.follow(&self.store, self.note.manifest).map_err(fault)?;
        let extent = |(number, bytes)| Extent { number, bytes };
        let note = Note {
            count: self.note.count + 1,
            sequence: db.latest_sequence_number(),
            manifest,
            logs: logs.into_iter().map(extent).collect(),
        };
        self.witness.write(&note).map_err(fault)?;
        let numbers = |note: &Note| note.logs.iter().map(|log| log.number).collect::<Vec<_>>();
        if note.manifest != self.note.manifest || numbers(&note) != numbers(&self.note) {
            self.witness.sync().map_err(fault)?;
        }
        self.note = note;
        Ok(())
    }

    /// Notes what was written, and brings the note to the disk.
    ///
    /// # Errors
    /// [`WriteFault`].
    pub fn end(&mut self, db: &DB) -> Result<(), WriteFault> {
        self.acknowledge(db)?;
        self.witness.sync().map_err(fault)
    }
}

/// What an error of the operating system means for a write.
pub(crate) fn fault(error: io::Error) -> WriteFault {
    match error.raw_os_error() {
        Some(NO_SPACE) => WriteFault::NoSpace,
        _ => WriteFault::Failed(error.to_string()),
    }
}

/// The copy of the MANIFEST. It grows by what the MANIFEST grew: a few hundred bytes for each table. It is a help, no
/// condition: while the disk has no room for it, it is left out.
#[derive(Default)]
struct Kept {
    manifest: Option<File>,
    copy: Option<File>,
    /// How much of the MANIFEST is on the disk, and in the copy if there is one.
    extent: Extent,
}

impl Kept {
    /// Brings the copy up to date and returns how much of the MANIFEST is on the disk. `before` is what was so before.
    fn follow(&mut self, store: &Path, before: Extent) -> io::Result<Extent> {
        let number = self.extent.number;
        let length = |number| fs::metadata(store.join(manifest_name(number))).map(|metadata| metadata.len());
        if self.manifest.is_some() {
            match length(number) {
                Ok(bytes) if bytes == self.extent.bytes => return Ok(self.extent),
                Ok(bytes) if bytes > self.extent.bytes && self.copy.is_some() => return self.extend(bytes),
                // It became too long and RocksDB began another; or the copy has to begin again.
                _ => {}
            }
        }
        let Some(number) = current_manifest(store).map_err(io::Error::other)? else {
            return Ok(before);
        };
        self.manifest = Some(File::open(store.join(manifest_name(number)))?);
        self.copy = File::create(store.join(kept_manifest_name(number))).ok();
        self.extent = Extent { number, bytes: 0 };
        self.extend(length(number)?)?;
        if self.copy.is_some() {
            delete_older(store, number)?;
        }
        Ok(self.extent)
    }

    fn extend(&mut self, bytes: u64) -> io::Result<Extent> {
        let Some(manifest) = &self.manifest else {
            return Ok(self.extent);
        };
        let mut added = vec![0; bytes.saturating_sub(self.extent.bytes) as usize];
        manifest.read_exact_at(&mut added, self.extent.bytes)?;
        // RocksDB may just be writing there: what is noted as acknowledged has to be.
        manifest.sync_data()?;
        if let Some(copy) = &self.copy {
            let copied = copy
                .write_all_at(&added, self.extent.bytes)
                .and_then(|()| copy.sync_data());
            if copied.is_err() {
                self.copy = None;
            }
        }
        self.extent.bytes = bytes;
        Ok(self.extent)
    }
}

fn delete_older(store: &Path, number: u64) -> io::Result<()> {
    for name in names_in(store).map_err(io::Error::other)? {
        if matches!(file_kind(&name), FileKind::KeptManifest(other) if other != number) {
            fs::remove_file(store.join(name))?;
        }
    }
    Ok(())
}
