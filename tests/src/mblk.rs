//! The `.mblk` container of blocks with their operations, and the data files of this folder.
//!
//! ```text
//! 4d 42 4c 4b 31 00 | chain id u64 | thread count u8
//! each block, ordered by (period, thread), none for a missed slot:
//!     period u64 | thread u8 | block record, as `BlockRecord` takes it
//! ```
//!
//! Integers are little-endian.

use massa_distributed_storage_exports::record::BlockRecord;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MAGIC: &[u8] = b"MBLK1\0";

/// The content of a `.mblk` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MblkFile {
    /// The chain.
    pub chain_id: u64,
    /// Its threads.
    pub thread_count: u8,
    /// The blocks, ordered by slot.
    pub blocks: Vec<(Slot, BlockRecord)>,
}

impl MblkFile {
    /// A file without blocks.
    pub fn new(chain_id: u64, thread_count: u8) -> Self {
        Self {
            chain_id,
            thread_count,
            blocks: Vec::new(),
        }
    }

    /// Appends the blocks of a period: `places[thread]` is its block, or `None` for a miss.
    pub fn push_period(&mut self, period: u64, places: &[Option<BlockRecord>]) {
        for (place, thread) in places.iter().zip(0..) {
            let block = place.iter().cloned();
            self.blocks
                .extend(block.map(|record| (Slot::new(period, thread), record)));
        }
    }

    /// The block of a slot; `None` if it was missed.
    pub fn block(&self, slot: Slot) -> Option<&BlockRecord> {
        let index = self.blocks.binary_search_by_key(&slot, |(slot, _)| *slot);
        index.ok().map(|index| &self.blocks[index].1)
    }

    /// The blocks by period and thread.
    pub fn periods(&self) -> BTreeMap<u64, Vec<Option<BlockRecord>>> {
        let mut periods = BTreeMap::new();
        for (slot, record) in &self.blocks {
            let places = periods
                .entry(slot.period)
                .or_insert_with(|| vec![None; usize::from(self.thread_count)]);
            places[usize::from(slot.thread)] = Some(record.clone());
        }
        periods
    }

    /// The bytes of the file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.chain_id.to_le_bytes());
        bytes.push(self.thread_count);
        for (slot, record) in &self.blocks {
            bytes.extend(slot.period.to_le_bytes());
            bytes.push(slot.thread);
            bytes.extend(record.as_bytes());
        }
        bytes
    }

    /// Takes the bytes of a file apart.
    ///
    /// # Panics
    /// When they are not a whole `.mblk` file.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut cursor = Cursor { rest: bytes };
        assert_eq!(cursor.take(MAGIC.len()), MAGIC, "not a .mblk file");
        let mut file = Self::new(cursor.u64(), cursor.u8());
        while !cursor.rest.is_empty() {
            let slot = Slot::new(cursor.u64(), cursor.u8());
            file.blocks.push((slot, cursor.record()));
        }
        file
    }
}

/// Reads a `.mblk` file.
///
/// # Panics
/// When it cannot be read.
pub fn read_mblk(path: &Path) -> MblkFile {
    MblkFile::from_bytes(&std::fs::read(path).expect("the .mblk file can be read"))
}

/// Writes a `.mblk` file.
///
/// # Panics
/// When it cannot be written.
pub fn write_mblk(path: &Path, file: &MblkFile) {
    std::fs::write(path, file.to_bytes()).expect("the .mblk file can be written");
}

/// A file of this crate's `data` folder.
pub fn data_path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data").join(name)
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().expect("4 bytes were taken"))
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take(8).try_into().expect("8 bytes were taken"))
    }

    fn record(&mut self) -> BlockRecord {
        let start = self.rest;
        self.skip_object();
        for _ in 0..self.u32() {
            self.skip_object();
        }
        let bytes = &start[..start.len() - self.rest.len()];
        BlockRecord::from_bytes(bytes.to_vec()).expect("the file holds block records")
    }

    fn skip_object(&mut self) {
        let length = self.u32();
        self.take(length as usize);
    }
}
