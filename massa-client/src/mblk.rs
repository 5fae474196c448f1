//! The `.mblk` container: blocks with their operations, ordered by slot.
//!
//! ```text
//! 4d 42 4c 4b 31 00 | chain id u64 | thread count u8
//! each block, ordered by (period, thread), none for a missed slot:
//!     period u64 | thread u8
//!     length u32 | SecureShareBlock
//!     operation count u32
//!     each operation, in the block's order: length u32 | SecureShareOperation
//! ```
//!
//! Integers are little-endian. From its first length on, an entry is a [`BlockRecord`] as it is kept elsewhere.
//!
//! [`Reader`] streams: it holds one entry and reads ahead a mebibyte, whatever the lengths in the file say. It checks the
//! container and that each block is of the slot it is filed under; ids and signatures are left to whoever takes the
//! blocks. Errors name the record (counted from 1) and the byte of the unpacked file.

use massa_distributed_storage_exports::record::{BlockRecord, RecordError, MAX_RECORD_BYTES};
use massa_models::config::MAX_OPERATIONS_PER_BLOCK;
use massa_models::slot::Slot;
use std::fmt;
use std::io::{self, BufReader, Cursor, Read};

/// What every file begins with: `MBLK1` and a zero.
pub const MAGIC: [u8; 6] = *b"MBLK1\0";
/// What a zstd frame begins with. Packed files are recognised by it, not by their name.
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Magic, chain id, thread count.
const HEADER_BYTES: usize = 15;
/// Period and thread before each record.
const SLOT_BYTES: usize = 9;
/// Read from the file at a time: large, so that system calls do not count.
const READ_BYTES: usize = 1 << 20;

/// Where in the unpacked file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Record, counted from 1; 0 is the file's header.
    pub record: u64,
    /// Byte, counted from 0.
    pub offset: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            0 => write!(f, "header, byte {}", self.offset),
            record => write!(f, "record {record}, byte {}", self.offset),
        }
    }
}

/// Why a file cannot be read on. The file is at fault, except for [`MblkError::Read`].
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum MblkError {
    /// The file is something else.
    #[error("not an .mblk file: it begins with {found:?}")]
    Magic {
        /// The first bytes, in hexadecimal.
        found: String,
    },
    /// The file ends too early.
    #[error("{at}: the file ends inside {field}")]
    Truncated {
        /// Where it ends.
        at: Position,
        /// The field that is cut.
        field: &'static str,
    },
    /// A chain has at least one thread.
    #[error("header: thread count is 0")]
    ThreadCount,
    /// A thread that the chain does not have.
    #[error("{at}: thread {thread} of {thread_count}")]
    Thread {
        /// The record.
        at: Position,
        /// Thread that it names.
        thread: u8,
        /// Threads of the chain.
        thread_count: u8,
    },
    /// A record that does not come after the one before it.
    #[error("{at}: slot {}:{} does not follow slot {}:{}", slot.period, slot.thread, last.period, last.thread)]
    Order {
        /// The record.
        at: Position,
        /// Its slot.
        slot: Slot,
        /// Slot of the record before.
        last: Slot,
    },
    /// A length beyond what a block can have.
    #[error("{at}: {field} is {value}, at most {max} is allowed")]
    TooLarge {
        /// The length.
        at: Position,
        /// What it is the length of.
        field: &'static str,
        /// Its value.
        value: u64,
        /// Its limit.
        max: u64,
    },
    /// A record that is no block with its operations.
    #[error("{at} (slot {}:{}): not a block", slot.period, slot.thread)]
    Record {
        /// The record.
        at: Position,
        /// Slot that it is filed under.
        slot: Slot,
        /// What is wrong.
        source: RecordError,
    },
    /// A block filed under another slot than its own.
    #[error("{at}: filed under slot {}:{}, the block is of slot {}:{}", filed.period, filed.thread, found.period, found.thread)]
    Slot {
        /// The record.
        at: Position,
        /// Slot that it is filed under.
        filed: Slot,
        /// Slot in the block's header.
        found: Slot,
    },
    /// The file could not be read or unpacked: the disk or the packed file is at fault.
    #[error("{at}: could not read the file")]
    Read {
        /// How far it was read.
        at: Position,
        /// Why.
        source: io::Error,
    },
}

/// A block of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it begins.
    pub at: Position,
    /// Its slot.
    pub slot: Slot,
    /// The block with its operations.
    pub record: BlockRecord,
}

/// Reads a file block by block: an iterator that ends after the first error.
pub struct Reader<R> {
    input: ReadAhead<R>,
    chain_id: u64,
    thread_count: u8,
    /// Records begun.
    records: u64,
    last: Option<Slot>,
    failed: bool,
}

impl<R: Read> Reader<R> {
    /// Reads the file's header from `input`, which need not be buffered.
    ///
    /// # Errors
    /// [`MblkError::Magic`], [`MblkError::Truncated`], [`MblkError::ThreadCount`], [`MblkError::Read`].
    pub fn new(input: R) -> Result<Self, MblkError> {
        let mut reader = Self {
            input: ReadAhead::new(input),
            chain_id: 0,
            thread_count: 0,
            records: 0,
            last: None,
            failed: false,
        };
        reader.read_header()?;
        Ok(reader)
    }

    /// The chain that the blocks are of.
    pub fn chain_id(&self) -> u64 {
        self.chain_id
    }

    /// Its threads.
    pub fn thread_count(&self) -> u8 {
        self.thread_count
    }

    fn read_header(&mut self) -> Result<(), MblkError> {
        let found = self.fetch(HEADER_BYTES)?;
        let compared = found.len().min(MAGIC.len());
        if found.is_empty() || found[..compared] != MAGIC[..compared] {
            return Err(MblkError::Magic {
                found: hex::encode(&found[..compared]),
            });
        }
        let field = match found.len() {
            0..=5 => "magic",
            6..=13 => "chain id",
            _ => "thread count",
        };
        let header = self.need(HEADER_BYTES, field)?;
        let (chain_id, thread_count) = (u64_at(header, MAGIC.len()), header[HEADER_BYTES - 1]);
        if thread_count == 0 {
            return Err(MblkError::ThreadCount);
        }
        self.input.consume(HEADER_BYTES);
        (self.chain_id, self.thread_count) = (chain_id, thread_count);
        Ok(())
    }

    /// The next block, or `None` where the file ends between two records.
    fn read_entry(&mut self) -> Result<Option<Entry>, MblkError> {
        if self.fetch(1)?.is_empty() {
            return Ok(None);
        }
        self.records += 1;
        let at = self.position_ahead(0);
        let slot = self.read_slot(at)?;
        let end = self.record_end()?;
        let bytes = self.need(end, "record")?[SLOT_BYTES..end].to_vec();
        let not_a_block = |source| MblkError::Record { at, slot, source };
        let record = BlockRecord::from_bytes(bytes).map_err(not_a_block)?;
        let found = record.view(self.thread_count).map_err(not_a_block)?.slot;
        if found != slot {
            return Err(MblkError::Slot { at, filed: slot, found });
        }
        self.input.consume(end);
        self.last = Some(slot);
        Ok(Some(Entry { at, slot, record }))
    }

    fn read_slot(&mut self, at: Position) -> Result<Slot, MblkError> {
        let field = if self.fetch(SLOT_BYTES)?.len() < 8 {
            "period"
        } else {
            "thread"
        };
        let bytes = self.need(SLOT_BYTES, field)?;
        let slot = Slot::new(u64_at(bytes, 0), bytes[SLOT_BYTES - 1]);
        if slot.thread >= self.thread_count {
            return Err(MblkError::Thread {
                at,
                thread: slot.thread,
                thread_count: self.thread_count,
            });
        }
        match self.last {
            Some(last) if slot <= last => Err(MblkError::Order { at, slot, last }),
            _ => Ok(slot),
        }
    }

    /// Follows the lengths of a record to its end, counted from the record's slot. Each is checked before the bytes that
    /// it promises are waited for.
    fn record_end(&mut self) -> Result<usize, MblkError> {
        let after_block = self.object_end(SLOT_BYTES, "block")?;
        let count = u32_at(self.need(after_block + 4, "operation count")?, after_block);
        self.check_max(
            after_block,
            "operation count",
            count as usize,
            MAX_OPERATIONS_PER_BLOCK as usize,
        )?;
        let mut end = after_block + 4;
        for _ in 0..count {
            end = self.object_end(end, "operation")?;
        }
        Ok(end)
    }

    /// End of the length-prefixed object that begins at `start`, once it is there.
    fn object_end(&mut self, start: usize, field: &'static str) -> Result<usize, MblkError> {
        let length = u32_at(self.need(start + 4, field)?, start) as usize;
        // What is left for this object when the record is as large as it may be.
        let max = (SLOT_BYTES + MAX_RECORD_BYTES).saturating_sub(start + 4);
        self.check_max(start, field, length, max)?;
        let end = start + 4 + length;
        self.need(end, field)?;
        Ok(end)
    }

    fn check_max(&self, start: usize, field: &'static str, value: usize, max: usize) -> Result<(), MblkError> {
        if value <= max {
            return Ok(());
        }
        Err(MblkError::TooLarge {
            at: self.position_ahead(start),
            field,
            value: value as u64,
            max: max as u64,
        })
    }

    /// The position `ahead` bytes after the last byte taken.
    fn position_ahead(&self, ahead: usize) -> Position {
        Position {
            record: self.records,
            offset: self.input.offset + ahead as u64,
        }
    }

    /// The next `count` bytes, or fewer where the file ends.
    fn fetch(&mut self, count: usize) -> Result<&[u8], MblkError> {
        if let Err(source) = self.input.fill(count) {
            return Err(MblkError::Read {
                at: self.position_ahead(self.input.ahead().len()),
                source,
            });
        }
        Ok(self.input.ahead())
    }

    /// The next `count` bytes at least.
    fn need(&mut self, count: usize, field: &'static str) -> Result<&[u8], MblkError> {
        let found = self.fetch(count)?.len();
        if found < count {
            return Err(MblkError::Truncated {
                at: self.position_ahead(found),
                field,
            });
        }
        Ok(self.input.ahead())
    }
}

impl<R: Read> Iterator for Reader<R> {
    type Item = Result<Entry, MblkError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let entry = self.read_entry().transpose();
        self.failed = matches!(entry, Some(Err(_)));
        entry
    }
}

/// Unpacks `input` if it is a zstd file, and passes it on as it is otherwise.
///
/// # Errors
/// [`io::Error`] when its first bytes cannot be read.
pub fn unpack<'a>(mut input: impl Read + Send + 'a) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut start = Vec::with_capacity(ZSTD_MAGIC.len());
    input.by_ref().take(ZSTD_MAGIC.len() as u64).read_to_end(&mut start)?;
    let packed = start == ZSTD_MAGIC;
    let whole = Cursor::new(start).chain(input);
    if !packed {
        return Ok(Box::new(whole));
    }
    let buffered = BufReader::with_capacity(READ_BYTES / 4, whole);
    Ok(Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?))
}

/// Input with a buffer that shows what comes next.
///
/// A record can be looked at as a whole before it is taken, so it is copied once.
struct ReadAhead<R> {
    input: R,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    /// Position of `start` in the file.
    offset: u64,
}

impl<R: Read> ReadAhead<R> {
    fn new(input: R) -> Self {
        Self {
            input,
            buffer: vec![0; READ_BYTES],
            start: 0,
            end: 0,
            offset: 0,
        }
    }

    /// What was read and not taken.
    fn ahead(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    fn consume(&mut self, count: usize) {
        self.start += count;
        self.offset += count as u64;
    }

    /// Reads until `count` bytes are ahead or the file ends.
    fn fill(&mut self, count: usize) -> io::Result<()> {
        if self.end - self.start >= count {
            return Ok(());
        }
        if self.start + count > self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            // A record has a limit, so the buffer has one.
            let missing = count.saturating_sub(self.buffer.len());
            self.buffer.resize(self.buffer.len() + missing, 0);
        }
        while self.end - self.start < count {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn u32_at(bytes: &[u8], start: usize) -> u32 {
    u32::from_le_bytes(bytes[start..start + 4].try_into().expect("4 bytes were asked for"))
}

fn u64_at(bytes: &[u8], start: usize) -> u64 {
    u64::from_le_bytes(bytes[start..start + 8].try_into().expect("8 bytes were asked for"))
}
