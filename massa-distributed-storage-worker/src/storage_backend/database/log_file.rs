//! Reads RocksDB's log files (write-ahead logs and the MANIFEST) without RocksDB, which takes some damages for the end.
//!
//! ```text
//! file:   blocks of 32 KiB; a record of n bytes is split over blocks where it does not fit
//! piece:  checksum u32 | length u16 | kind u8 (1 whole, 2 first, 3 middle, 4 last) | bytes
//!         checksum: CRC-32C of kind and bytes, rotated and shifted by a constant
//! ```
//! Up to 6 zeros fill a block in which no further header fits. Integers are little-endian. Source: `db/log_format.h` of
//! RocksDB 9.10; `tests/database/files.rs` compares with what the library writes.

use std::io::{self, Read};

const BLOCK_BYTES: usize = 32 << 10;
const HEADER_BYTES: usize = 7;
const WHOLE: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;
/// Disks write sectors of this size whole or not at all.
const SECTOR_BYTES: usize = 512;
/// A record is a write batch; larger ones are never written here.
const RECORD_BYTES_MAX: usize = 1 << 30;

/// How a log ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogEnd {
    /// After a whole record.
    Whole,
    /// Inside a record, or with space that was never written: what a killed process or a power cut leaves.
    Torn,
    /// With bytes that nobody wrote so.
    Damaged(String),
}

/// What a log holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogScan {
    /// Bytes up to the end of the last record before which everything is whole.
    pub whole_bytes: u64,
    /// What comes after them.
    pub end: LogEnd,
}

/// Reads a log from its beginning and gives each record to `take`, up to the first that is not whole.
///
/// # Errors
/// [`io::Error`] when it cannot be read.
pub fn scan_log(mut file: impl Read, mut take: impl FnMut(&[u8])) -> io::Result<LogScan> {
    let mut reader = LogReader::default();
    let mut block = vec![0; BLOCK_BYTES];
    loop {
        let length = read_full(&mut file, &mut block)?;
        if let Some(end) = reader.read_block(&block[..length], &mut take) {
            return reader.finish(end, file);
        }
        if length < BLOCK_BYTES {
            let inside = !reader.record.is_empty() || reader.in_record;
            let end = if inside { LogEnd::Torn } else { LogEnd::Whole };
            return Ok(reader.scanned(end));
        }
    }
}

/// Fills `block`, or as much of it as the file has.
fn read_full(file: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match file.read(&mut block[length..]) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

/// Why the pieces of a block do not go on.
enum Stop {
    /// The block ends inside a piece, and the file with it.
    Short,
    /// From here on: this is no piece. `zeros`: bytes at the end of the block that are zero, unless others follow.
    NotAPiece { what: String, zeros: Zeros },
}

/// Zeros at the end of a block.
#[derive(Clone, Copy)]
enum Zeros {
    /// All that is left of it.
    Everything,
    /// So many bytes.
    Last(usize),
}

impl Zeros {
    fn of(rest: &[u8]) -> Self {
        match rest.iter().rev().take_while(|byte| **byte == 0).count() {
            zeros if zeros == rest.len() => Zeros::Everything,
            zeros => Zeros::Last(zeros),
        }
    }

    /// Whether they, and `following` further ones, tell that what stands here was not written. A record may end in zeros by
    /// itself: one sector of them tells.
    fn are_an_end(self, following: usize) -> bool {
        match self {
            Zeros::Everything => true,
            Zeros::Last(zeros) => zeros + following >= SECTOR_BYTES,
        }
    }
}

#[derive(Default)]
struct LogReader {
    /// Start of the block that is read.
    block_start: u64,
    whole_bytes: u64,
    record: Vec<u8>,
    in_record: bool,
}

impl LogReader {
    fn scanned(&self, end: LogEnd) -> LogScan {
        LogScan {
            whole_bytes: self.whole_bytes,
            end,
        }
    }

    /// Reads a block; returns why the log ends in it.
    fn read_block(&mut self, block: &[u8], take: &mut impl FnMut(&[u8])) -> Option<Stop> {
        let mut at = 0;
        while at < block.len() {
            if BLOCK_BYTES - at < HEADER_BYTES {
                if block[at..].iter().all(|byte| *byte == 0) {
                    break;
                }
                return Some(Stop::NotAPiece {
                    what: "the filling of a block is not zero".to_string(),
                    zeros: Zeros::Last(0),
                });
            }
            match self.read_piece(block, at, take) {
                Ok(next) => at = next,
                Err(stop) => return Some(stop),
            }
        }
        self.block_start += block.len() as u64;
        None
    }

    /// Reads the piece at `at`; returns where the next begins.
    fn read_piece(&mut self, block: &[u8], at: usize, take: &mut impl FnMut(&[u8])) -> Result<usize, Stop> {
        let rest = &block[at..];
        if rest.len() < HEADER_BYTES {
            return Err(Stop::Short);
        }
        let (header, bytes) = rest.split_at(HEADER_BYTES);
        let length = usize::from(u16::from_le_bytes([header[4], header[5]]));
        let not_a_piece = |what: &str| {
            let position = self.block_start + at as u64;
            Stop::NotAPiece {
                what: format!("{what} at byte {position}"),
                zeros: Zeros::of(rest),
            }
        };
        if at + HEADER_BYTES + length > BLOCK_BYTES {
            return Err(not_a_piece("a length is out of range"));
        }
        if bytes.len() < length {
            return Err(Stop::Short);
        }
        let kind = header[6];
        let stored = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        if stored != masked(crc32c(crc32c(0, &[kind]), &bytes[..length])) {
            return Err(not_a_piece("a checksum is wrong"));
        }
        let begins = matches!(kind, WHOLE | FIRST);
        let known = begins || matches!(kind, MIDDLE | LAST);
        if !known || begins == self.in_record || self.record.len() + length > RECORD_BYTES_MAX {
            return Err(not_a_piece("a piece is out of order"));
        }
        let next = at + HEADER_BYTES + length;
        self.add_piece(kind, &bytes[..length], next, take);
        Ok(next)
    }

    fn add_piece(&mut self, kind: u8, bytes: &[u8], next: usize, take: &mut impl FnMut(&[u8])) {
        if kind == WHOLE {
            take(bytes);
        } else {
            self.record.extend_from_slice(bytes);
        }
        self.in_record = matches!(kind, FIRST | MIDDLE);
        if kind == LAST {
            take(&self.record);
            self.record.clear();
        }
        if !self.in_record {
            self.whole_bytes = self.block_start + next as u64;
        }
    }

    /// A log ends torn if nothing but zeros, or nothing at all, follows the last thing that was written.
    fn finish(self, stop: Stop, mut file: impl Read) -> io::Result<LogScan> {
        let mut zeros_follow = true;
        let mut following = 0;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let length = read_full(&mut file, &mut block)?;
            following += length;
            zeros_follow &= block[..length].iter().all(|byte| *byte == 0);
            if length < BLOCK_BYTES {
                break;
            }
        }
        let end = match stop {
            Stop::Short if following == 0 => LogEnd::Torn,
            Stop::Short => LogEnd::Damaged("a block is short".to_string()),
            Stop::NotAPiece { zeros, .. } if zeros_follow && zeros.are_an_end(following) => LogEnd::Torn,
            Stop::NotAPiece { what, .. } => LogEnd::Damaged(what),
        };
        Ok(self.scanned(end))
    }
}

/// Appends a record to a file of RocksDB's log format that has `at` bytes; returns the bytes to append.
pub fn encode_record(at: u64, record: &[u8]) -> Vec<u8> {
    let mut written = Vec::with_capacity(record.len() + HEADER_BYTES);
    let mut rest = record;
    let mut begun = false;
    loop {
        let in_block = (at as usize + written.len()) % BLOCK_BYTES;
        let room = BLOCK_BYTES - in_block;
        if room < HEADER_BYTES {
            written.resize(written.len() + room, 0);
            continue;
        }
        let (piece, later) = rest.split_at(rest.len().min(room - HEADER_BYTES));
        let kind = match (begun, later.is_empty()) {
            (false, true) => WHOLE,
            (false, false) => FIRST,
            (true, false) => MIDDLE,
            (true, true) => LAST,
        };
        let checksum = masked(crc32c(crc32c(0, &[kind]), piece));
        written.extend(checksum.to_le_bytes());
        written.extend((piece.len() as u16).to_le_bytes());
        written.push(kind);
        written.extend(piece);
        if later.is_empty() {
            return written;
        }
        (rest, begun) = (later, true);
    }
}

/// RocksDB stores checksums so, because a checksum of bytes that contain their checksum is weak.
fn masked(checksum: u32) -> u32 {
    checksum.rotate_right(15).wrapping_add(0xa282_ead8)
}

const CASTAGNOLI: u32 = 0x82f6_3b78;
const TABLES: [[u32; 256]; 8] = tables();

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                (value >> 1) ^ CASTAGNOLI
            } else {
                value >> 1
            };
            bit += 1;
        }
        tables[0][index] = value;
        index += 1;
    }
    let mut number = 1;
    while number < 8 {
        let mut index = 0;
        while index < 256 {
            let before = tables[number - 1][index];
            tables[number][index] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            index += 1;
        }
        number += 1;
    }
    tables
}

/// CRC-32C of `bytes`, going on from the checksum `so_far` of what comes before them. Eight bytes a step.
pub fn crc32c(so_far: u32, bytes: &[u8]) -> u32 {
    let mut value = !so_far;
    let mut chunks = bytes.chunks_exact(8);
    for chunk in &mut chunks {
        let low = value ^ u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        value = TABLES[7][(low & 0xff) as usize]
            ^ TABLES[6][(low >> 8 & 0xff) as usize]
            ^ TABLES[5][(low >> 16 & 0xff) as usize]
            ^ TABLES[4][(low >> 24) as usize]
            ^ TABLES[3][usize::from(chunk[4])]
            ^ TABLES[2][usize::from(chunk[5])]
            ^ TABLES[1][usize::from(chunk[6])]
            ^ TABLES[0][usize::from(chunk[7])];
    }
    for byte in chunks.remainder() {
        value = (value >> 8) ^ TABLES[0][((value ^ u32::from(*byte)) & 0xff) as usize];
    }
    !value
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// Source: RFC 3720, appendix B.4.
    #[test]
    fn checksums_are_castagnolis() {
        assert_eq!(crc32c(0, b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(0, &[0; 32]), 0x8a91_36aa);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(0, &ascending), 0x46dd_794e);
        assert_eq!(crc32c(crc32c(0, b"1234"), b"56789"), 0xe306_9283);
    }

    fn log_of(records: &[Vec<u8>]) -> (Vec<u8>, Vec<u64>) {
        let (mut log, mut ends) = (Vec::new(), Vec::new());
        for record in records {
            log.extend(encode_record(log.len() as u64, record));
            ends.push(log.len() as u64);
        }
        (log, ends)
    }

    fn read(log: &[u8]) -> (Vec<Vec<u8>>, LogScan) {
        let mut records = Vec::new();
        let scan = scan_log(log, |record| records.push(record.to_vec())).unwrap();
        (records, scan)
    }

    fn records() -> impl Strategy<Value = Vec<Vec<u8>>> {
        vec(
            prop_oneof![3 => vec(1u8.., 1..200), 1 => vec(1u8.., 30_000..70_000)],
            1..12,
        )
    }

    /// What was not written any more is zeros: a few at the end of a block, and the blocks behind it.
    #[test]
    fn a_cut_just_before_the_end_of_a_block_is_a_torn_end() {
        let (mut log, _) = log_of(&[vec![1; 2 * BLOCK_BYTES]]);
        log.truncate(BLOCK_BYTES - 10);
        log.resize(2 * BLOCK_BYTES, 0);
        let (records, scan) = read(&log);
        let torn = LogScan {
            whole_bytes: 0,
            end: LogEnd::Torn,
        };
        assert_eq!((records, scan), (Vec::new(), torn));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_was_written_is_read(records in records()) {
            let (log, _) = log_of(&records);
            let (read, scan) = read(&log);
            prop_assert_eq!(read, records);
            prop_assert_eq!(scan, LogScan { whole_bytes: log.len() as u64, end: LogEnd::Whole });
        }

        /// A cut is never damage, and loses only the record that it cuts.
        #[test]
        fn a_cut_is_a_torn_end(records in records(), at in any::<prop::sample::Index>(), zeros in 0usize..70_000) {
            let (mut log, ends) = log_of(&records);
            let cut = at.index(log.len());
            log.truncate(cut);
            log.resize(cut + zeros, 0);
            let whole = ends.iter().filter(|end| **end <= cut as u64).count();
            let (read, scan) = read(&log);
            prop_assert_eq!(&read[..], &records[..whole]);
            prop_assert_eq!(scan.whole_bytes, whole.checked_sub(1).map_or(0, |last| ends[last]));
            let inside = !matches!(scan.end, LogEnd::Damaged(_)) || (zeros > 0 && zeros < SECTOR_BYTES);
            prop_assert!(inside, "{:?}", scan);
        }

        /// A flipped bit is damage, and what comes before it is read; only a length may make the rest look torn.
        #[test]
        fn a_flipped_bit_is_no_end(records in records(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let (mut log, ends) = log_of(&records);
            let at = at.index(log.len());
            log[at] ^= 1 << bit;
            let whole = ends.iter().filter(|end| **end <= at as u64).count();
            let (read, scan) = read(&log);
            prop_assert_eq!(&read[..], &records[..whole]);
            prop_assert_ne!(scan.end, LogEnd::Whole);
        }
    }
}
