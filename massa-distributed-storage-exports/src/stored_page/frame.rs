//! What a zstd frame from outside says of itself, read before anything is decoded.
//!
//! The decoder of the library takes more than the archive allows: several frames in a row, skippable ones between them, formats
//! older than 1.0 where another crate of the build asks for them, windows of gigabytes. So the frame's header and the
//! headers of its blocks are read here, and the library only gets what is one frame from the first byte to the last.
//!
//! Source: RFC 8878, sections 3.1.1 (frames, blocks) and 3.1.2 (skippable frames).

use super::StoredPageError;
use crate::bytes::Reader;
use crate::types::PAGE_BYTES;

/// First four bytes of a frame, little-endian.
const MAGIC: u32 = 0xFD2F_B528;
/// First four bytes of a skippable frame; the last four bits are free.
const SKIPPABLE_MAGIC: u32 = 0x184D_2A50;
const SKIPPABLE_MAGIC_MASK: u32 = 0xFFFF_FFF0;

const SINGLE_SEGMENT: u8 = 1 << 5;
const RESERVED: u8 = 1 << 3;
const CHECKSUM: u8 = 1 << 2;
const DICTIONARY_ID: u8 = 0b11;

/// Checks that `frame` is one frame that may be decoded into a buffer of `page_length` bytes. Reads headers only: costs one
/// step for each block, of which every one takes at least three bytes of the input.
pub(super) fn check(frame: &[u8], page_length: usize) -> Result<(), StoredPageError> {
    let mut reader = Reader::new(frame);
    check_magic(reader.u32("frame magic")?)?;
    let descriptor = reader.u8("frame descriptor")?;
    check_flags(descriptor)?;
    if descriptor & SINGLE_SEGMENT == 0 {
        check_window(reader.u8("window descriptor")?)?;
    }
    if let Some(declared) = content_size(descriptor, &mut reader)? {
        if declared != page_length as u64 {
            return Err(StoredPageError::ContentSize {
                declared,
                expected: page_length,
            });
        }
    }
    while !is_last_block(&mut reader)? {}
    match reader.remaining() {
        0 => Ok(()),
        left_over => Err(StoredPageError::TrailingBytes(left_over)),
    }
}

fn check_magic(magic: u32) -> Result<(), StoredPageError> {
    if magic & SKIPPABLE_MAGIC_MASK == SKIPPABLE_MAGIC {
        return Err(StoredPageError::SkippableFrame);
    }
    if magic != MAGIC {
        return Err(StoredPageError::NotAFrame { magic });
    }
    Ok(())
}

fn check_flags(descriptor: u8) -> Result<(), StoredPageError> {
    if descriptor & RESERVED != 0 {
        return Err(StoredPageError::Reserved { field: "frame flag" });
    }
    if descriptor & CHECKSUM != 0 {
        return Err(StoredPageError::Checksum);
    }
    if descriptor & DICTIONARY_ID != 0 {
        return Err(StoredPageError::DictionaryId);
    }
    Ok(())
}

/// Exponent in the upper five bits, eighths of it in the lower three. A frame without this byte has its content as window.
fn check_window(descriptor: u8) -> Result<(), StoredPageError> {
    let base = 1u64 << (10 + (descriptor >> 3));
    let window_bytes = base + base / 8 * u64::from(descriptor & 0b111);
    if window_bytes > PAGE_BYTES as u64 {
        return Err(StoredPageError::Window { window_bytes });
    }
    Ok(())
}

/// The size that the frame declares, if it does.
fn content_size(descriptor: u8, reader: &mut Reader<'_>) -> Result<Option<u64>, StoredPageError> {
    const FIELD: &str = "frame content size";
    Ok(match descriptor >> 6 {
        0 if descriptor & SINGLE_SEGMENT == 0 => None,
        0 => Some(u64::from(reader.u8(FIELD)?)),
        1 => Some(u64::from(reader.u16(FIELD)?) + 256),
        2 => Some(u64::from(reader.u32(FIELD)?)),
        _ => Some(reader.u64(FIELD)?),
    })
}

/// Reads one block and tells whether it is the last.
fn is_last_block(reader: &mut Reader<'_>) -> Result<bool, StoredPageError> {
    let [low, middle, high] = reader.array("block header")?;
    let header = u32::from_le_bytes([low, middle, high, 0]);
    let size = (header >> 3) as usize;
    let stored = match header >> 1 & 0b11 {
        // One byte, repeated `size` times: the decoder refuses what does not fit the page.
        1 => 1,
        3 => return Err(StoredPageError::Reserved { field: "block type" }),
        _ => size,
    };
    reader.bytes(stored, "block")?;
    Ok(header & 1 != 0)
}
