//! What the disk has acknowledged, kept apart from RocksDB's files: so that what should be there can be compared with
//! what is.
//!
//! A log that was cut looks like one whose writer was killed, and RocksDB takes either for its end. After each write
//! that reached the disk the store therefore notes how long its logs and its MANIFEST are, in a file of its own. On
//! start, a file that is shorter than that, or not whole up to there, is damaged; what lies beyond was never
//! acknowledged.
//!
//! A note is written after what it tells of reached the disk, so it never tells too much. It is itself brought to the disk
//! when a log or the MANIFEST begins or grows by a table, and at the end; in between it may be older than the log after a
//! power cut (never after a killed process), by as long as the system holds writes back. Then a cut in what the log got
//! since is not told from the cut of the power; to have that too costs as much as each write itself.
//!
//! ```text
//! file:  two slots of 4096 bytes, written in turn: a note that a power cut tears leaves the one before
//! slot:  "MSWITNES" | count u64 | sequence u64 | manifest u64, bytes u64 | logs u64 | logs × (number u64, bytes u64)
//!        zeros | CRC-32C u32 at byte 508, then nothing: a note is one sector, which is written whole or not at all
//! ```
//! Integers are little-endian. The slots have one place and length for ever, so that the file system allocates nothing:
//! that is why they are drawn here instead of coming from a library.

use crate::storage_backend::database::log_file::crc32c;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Its name in the store's directory.
pub const WITNESS: &str = "WITNESS";
const MAGIC: &[u8; 8] = b"MSWITNES";
const SLOT_BYTES: usize = 4096;
const NOTE_BYTES: usize = 512;
const CHECKSUM_AT: usize = NOTE_BYTES - 4;
const LOGS_AT: usize = 48;
/// Logs that a note has room for; of more the newest are noted.
const LOGS_MAX: usize = (CHECKSUM_AT - LOGS_AT) / 16;

/// A numbered file of RocksDB and how much of it reached the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Number in the file's name.
    pub number: u64,
    /// Its length.
    pub bytes: u64,
}

/// What was acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Counts the notes of a store.
    pub count: u64,
    /// RocksDB's number of the newest change.
    pub sequence: u64,
    /// The MANIFEST.
    pub manifest: Extent,
    /// Write-ahead logs, oldest first.
    pub logs: Vec<Extent>,
}

impl Note {
    fn encode(&self) -> [u8; NOTE_BYTES] {
        let newest = &self.logs[self.logs.len().saturating_sub(LOGS_MAX)..];
        let head = [
            self.count,
            self.sequence,
            self.manifest.number,
            self.manifest.bytes,
            newest.len() as u64,
        ];
        let logs = newest.iter().flat_map(|log| [log.number, log.bytes]);
        let mut slot = [0; NOTE_BYTES];
        slot[..8].copy_from_slice(MAGIC);
        for (number, at) in head.into_iter().chain(logs).zip((8..).step_by(8)) {
            slot[at..at + 8].copy_from_slice(&number.to_le_bytes());
        }
        let checksum = crc32c(0, &slot[..CHECKSUM_AT]);
        slot[CHECKSUM_AT..].copy_from_slice(&checksum.to_le_bytes());
        slot
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_le_bytes(slot.get(at..at + 8)?.try_into().ok()?));
        let checksum = slot.get(CHECKSUM_AT..NOTE_BYTES)?;
        let whole = slot.get(..8)? == MAGIC && checksum == crc32c(0, &slot[..CHECKSUM_AT]).to_le_bytes();
        let logs = number(40).filter(|logs| whole && *logs <= LOGS_MAX as u64)? as usize;
        let extent = |at| {
            Some(Extent {
                number: number(at)?,
                bytes: number(at + 8)?,
            })
        };
        Some(Self {
            count: number(8)?,
            sequence: number(16)?,
            manifest: extent(24)?,
            logs: (0..logs).map(|log| extent(LOGS_AT + 16 * log)).collect::<Option<_>>()?,
        })
    }
}

/// The file that notes are written to.
#[derive(Debug)]
pub struct Witness {
    file: File,
}

impl Witness {
    /// Opens or makes it in `directory`; its name is on the disk once the directory was synced.
    ///
    /// # Errors
    /// [`io::Error`].
    pub fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(WITNESS);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        if file.metadata()?.len() != 2 * SLOT_BYTES as u64 {
            file.set_len(0)?;
            file.write_all_at(&[0; 2 * SLOT_BYTES], 0)?;
            file.sync_all()?;
        }
        Ok(Self { file })
    }

    /// Writes a note. `note.count` is larger by one than that of the note before.
    ///
    /// # Errors
    /// [`io::Error`]: the note before is still there.
    pub fn write(&self, note: &Note) -> io::Result<()> {
        let at = (note.count % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&note.encode(), at)
    }

    /// Brings the newest note to the disk.
    ///
    /// # Errors
    /// [`io::Error`].
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// The newest note in `directory`; `None` if there is no whole one.
    ///
    /// # Errors
    /// [`io::Error`] when the file is there and cannot be read.
    pub fn read(directory: &Path) -> io::Result<Option<Note>> {
        let file = match std::fs::read(directory.join(WITNESS)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let notes = file.chunks(SLOT_BYTES).take(2).filter_map(Note::decode);
        Ok(notes.max_by_key(|note| note.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use tempfile::tempdir;

    fn note(count: u64) -> Note {
        Note {
            count,
            sequence: 77,
            manifest: Extent { number: 5, bytes: 300 },
            logs: vec![
                Extent { number: 4, bytes: 900 },
                Extent {
                    number: 9,
                    bytes: 1 << 40,
                },
            ],
        }
    }

    #[test]
    fn the_newest_whole_note_is_read() {
        let directory = tempdir().unwrap();
        assert_eq!(Witness::read(directory.path()).unwrap(), None);
        let witness = Witness::open(directory.path()).unwrap();
        assert_eq!(Witness::read(directory.path()).unwrap(), None);
        for count in 1..=3 {
            witness.write(&note(count)).unwrap();
            assert_eq!(Witness::read(directory.path()).unwrap(), Some(note(count)));
        }
        drop(Witness::open(directory.path()).unwrap());
        assert_eq!(Witness::read(directory.path()).unwrap(), Some(note(3)));
        // Torn while the third was written: slot 1 is half new.
        let path = directory.path().join(WITNESS);
        let mut file = std::fs::read(&path).unwrap();
        file[SLOT_BYTES + 20] ^= 1;
        std::fs::write(&path, file).unwrap();
        assert_eq!(Witness::read(directory.path()).unwrap(), Some(note(2)));
    }

    proptest! {
        #[test]
        fn a_note_is_read_as_it_was_written(
            (count, sequence, number, bytes) in any::<(u64, u64, u64, u64)>(),
            logs in vec(any::<(u64, u64)>(), 0..LOGS_MAX + 20),
        ) {
            let logs: Vec<Extent> = logs.into_iter().map(|(number, bytes)| Extent { number, bytes }).collect();
            let note = Note { count, sequence, manifest: Extent { number, bytes }, logs };
            let newest = note.logs[note.logs.len().saturating_sub(LOGS_MAX)..].to_vec();
            prop_assert_eq!(Note::decode(&note.encode()), Some(Note { logs: newest, ..note }));
        }

        #[test]
        fn noise_is_no_note(at in 0..NOTE_BYTES, bit in 0u8..8) {
            let mut slot = note(1).encode();
            slot[at] ^= 1 << bit;
            prop_assert_eq!(Note::decode(&slot), None);
        }
    }
}
