//! The period body: what is cut into chunks.
//!
//! ```text
//! header   format u8 | chain id u64 | period u64 | threads u8 | blocks u8
//! then for each block, in thread order:
//!          length u32 | SecureShareBlock without its signature
//!          operation count u32
//!          each operation, in the block's order: length u32 | SecureShareOperation without its signature
//! ```
//!
//! No id covers the leading signature of a block or an operation, and a signer can make many valid ones. Two nodes may
//! hold different ones, so they stay out of the body and travel beside it, 65 bytes for each object, in the same order.

use crate::bytes::{Reader, Truncated};
use crate::manifest::{Place, ARCHIVE_FORMAT};
use crate::record::{push_prefixed, BlockRecord, BlockView, RecordError};
use crate::types::SIGNATURE_BYTES;
use massa_models::config::MAX_OPERATIONS_PER_BLOCK;
use std::ops::Range;

/// Bytes of the body header.
pub const BODY_HEADER_BYTES: usize = 19;

/// Why bytes are not a period body.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The bytes end too early.
    #[error(transparent)]
    Truncated(#[from] Truncated),
    /// A format that this version does not know.
    #[error("archive format {0} is unknown, this version reads format {ARCHIVE_FORMAT}")]
    Format(u8),
    /// A header field is not the expected one.
    #[error("{field}: expected {expected}, found {found}")]
    Header {
        /// The field.
        field: &'static str,
        /// What it must be.
        expected: u64,
        /// What it is.
        found: u64,
    },
    /// A block cannot be read.
    #[error("block {index} of the period: {source}")]
    Block {
        /// Position among the blocks of the body.
        index: usize,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A block belongs elsewhere: another period, or not in thread order.
    #[error("block {index} has slot {slot}, which does not fit period {period} after thread {last_thread:?}")]
    Slot {
        /// Position among the blocks of the body.
        index: usize,
        /// Its slot.
        slot: massa_models::slot::Slot,
        /// The period of the body.
        period: u64,
        /// Thread of the block before.
        last_thread: Option<u8>,
    },
    /// Bytes are left over.
    #[error("{0} bytes follow the last block")]
    TrailingBytes(usize),
    /// Not one signature for each object.
    #[error("{found} bytes of signatures for {objects} objects")]
    Signatures {
        /// Blocks and operations in the body.
        objects: usize,
        /// Bytes of signatures.
        found: usize,
    },
    /// The body is longer than an offset can say.
    #[error("body of {0} bytes is too long")]
    TooLong(usize),
}

/// What identifies a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BodyHeader {
    /// The chain.
    pub chain_id: u64,
    /// The period.
    pub period: u64,
    /// Places of the period.
    pub threads: u8,
}

/// An encoded period body with what is derived on the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeriodBody {
    /// The period.
    pub header: BodyHeader,
    /// The body.
    pub bytes: Vec<u8>,
    /// 65 bytes for each object, in body order.
    pub signatures: Vec<u8>,
    /// Where each object ends in `bytes`, in body order.
    pub object_ends: Vec<u32>,
    /// One for each thread.
    pub places: Vec<Place>,
}

impl PeriodBody {
    /// Encodes a complete period: `places[thread]` is its block, or `None` for a miss.
    ///
    /// Costs one copy of the bytes and one hash of each header.
    ///
    /// # Errors
    /// [`BodyError::Block`] or [`BodyError::Slot`] when a record is not a block of its place; [`BodyError::TooLong`].
    pub fn encode(header: BodyHeader, places: &[Option<&BlockRecord>]) -> Result<Self, BodyError> {
        if places.len() != usize::from(header.threads) {
            return Err(BodyError::Header {
                field: "threads",
                expected: u64::from(header.threads),
                found: places.len() as u64,
            });
        }
        let records = places.iter().flatten();
        let total: usize = records.clone().map(|record| record.as_bytes().len()).sum();
        let objects: usize = records.clone().map(|record| record.operation_count() + 1).sum();
        u32::try_from(BODY_HEADER_BYTES + total).map_err(|_| BodyError::TooLong(total))?;
        let mut body = Self {
            header,
            bytes: Vec::with_capacity(BODY_HEADER_BYTES + total),
            signatures: Vec::with_capacity(objects * SIGNATURE_BYTES),
            object_ends: Vec::with_capacity(objects),
            places: Vec::with_capacity(places.len()),
        };
        body.write_header(records.count() as u8);
        for (place, thread) in places.iter().zip(0..) {
            body.push_place(*place, thread)?;
        }
        Ok(body)
    }

    fn write_header(&mut self, blocks: u8) {
        self.bytes.push(ARCHIVE_FORMAT);
        self.bytes.extend(self.header.chain_id.to_le_bytes());
        self.bytes.extend(self.header.period.to_le_bytes());
        self.bytes.extend([self.header.threads, blocks]);
    }

    fn push_place(&mut self, place: Option<&BlockRecord>, thread: u8) -> Result<(), BodyError> {
        let Some(record) = place else {
            self.places.push(Place::Miss);
            return Ok(());
        };
        let index = self.places.iter().filter(|place| **place != Place::Miss).count();
        let view = record
            .view(self.header.threads)
            .map_err(|source| BodyError::Block { index, source })?;
        if view.slot.period != self.header.period || view.slot.thread != thread {
            return Err(BodyError::Slot {
                index,
                slot: view.slot,
                period: self.header.period,
                last_thread: thread.checked_sub(1),
            });
        }
        self.places.push(Place::Block {
            id: view.block_id(),
            offset: self.bytes.len() as u32,
            objects_before: self.object_ends.len() as u32,
        });
        self.push_record(record);
        Ok(())
    }

    fn push_record(&mut self, record: &BlockRecord) {
        self.push_object(record.block());
        self.bytes.extend((record.operation_count() as u32).to_le_bytes());
        for operation in record.operations() {
            self.push_object(operation);
        }
    }

    fn push_object(&mut self, object: &[u8]) {
        let (signature, unsigned) = object.split_at(SIGNATURE_BYTES);
        push_prefixed(&mut self.bytes, unsigned);
        self.signatures.extend(signature);
        self.object_ends.push(self.bytes.len() as u32);
    }

    /// Takes a body apart. Every length, the order of the blocks and their period are checked; ids of operations are
    /// not ([`BlockRecord::check_ids`]).
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(bytes: &[u8], threads: u8) -> Result<DecodedBody<'_>, BodyError> {
        let mut reader = Reader::new(bytes);
        let (header, blocks) = read_header(&mut reader, threads)?;
        let mut entries = Vec::with_capacity(usize::from(blocks));
        let mut last_thread = None;
        for index in 0..usize::from(blocks) {
            let start = bytes.len() - reader.remaining();
            let entry = BodyEntry::read(&mut reader).map_err(|source| BodyError::Block { index, source })?;
            let view = entry
                .view(threads)
                .map_err(|source| BodyError::Block { index, source })?;
            if view.slot.period != header.period || last_thread >= Some(view.slot.thread) {
                return Err(BodyError::Slot {
                    index,
                    slot: view.slot,
                    period: header.period,
                    last_thread,
                });
            }
            last_thread = Some(view.slot.thread);
            entries.push((start, view, entry));
        }
        if !reader.is_empty() {
            return Err(BodyError::TrailingBytes(reader.remaining()));
        }
        Ok(DecodedBody { header, entries })
    }
}

fn read_header(reader: &mut Reader<'_>, threads: u8) -> Result<(BodyHeader, u8), BodyError> {
    let format = reader.u8("format")?;
    if format != ARCHIVE_FORMAT {
        return Err(BodyError::Format(format));
    }
    let header = BodyHeader {
        chain_id: reader.u64("chain id")?,
        period: reader.u64("period")?,
        threads: reader.u8("threads")?,
    };
    if header.threads != threads {
        return Err(BodyError::Header {
            field: "threads",
            expected: u64::from(threads),
            found: u64::from(header.threads),
        });
    }
    let blocks = reader.u8("blocks")?;
    Ok((header, blocks))
}

/// A period body taken apart.
#[derive(Clone, Debug)]
pub struct DecodedBody<'a> {
    /// What the body is of.
    pub header: BodyHeader,
    /// Offset, fields and bytes of each block, in thread order.
    pub entries: Vec<(usize, BlockView<'a>, BodyEntry<'a>)>,
}

impl DecodedBody<'_> {
    /// Puts the signatures back: `places[thread]` is the block's record, or `None` for a miss.
    ///
    /// # Errors
    /// [`BodyError::Signatures`] unless there is one signature for each object.
    pub fn records(&self, signatures: &[u8]) -> Result<Vec<Option<BlockRecord>>, BodyError> {
        let objects: usize = self.entries.iter().map(|(_, _, entry)| entry.objects.len()).sum();
        if signatures.len() != objects * SIGNATURE_BYTES {
            return Err(BodyError::Signatures {
                objects,
                found: signatures.len(),
            });
        }
        let mut places: Vec<Option<BlockRecord>> = vec![None; usize::from(self.header.threads)];
        let mut rest = signatures;
        for (index, (_, view, entry)) in self.entries.iter().enumerate() {
            let (own, after) = rest.split_at(entry.objects.len() * SIGNATURE_BYTES);
            rest = after;
            let record = entry.record(own).map_err(|source| BodyError::Block { index, source })?;
            places[usize::from(view.slot.thread)] = Some(record);
        }
        Ok(places)
    }
}

/// One block with its operations, as it stands in a body: without signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BodyEntry<'a> {
    /// The block, then its operations.
    objects: Vec<&'a [u8]>,
}

impl<'a> BodyEntry<'a> {
    /// Reads the entry that `bytes` begins with; what follows is ignored.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        Self::read(&mut Reader::new(bytes))
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, RecordError> {
        let block = reader.prefixed("block")?;
        let count = reader.u32("operation count")?;
        if count > MAX_OPERATIONS_PER_BLOCK {
            return Err(RecordError::TooLarge {
                field: "operation count",
                value: u64::from(count),
                max: u64::from(MAX_OPERATIONS_PER_BLOCK),
            });
        }
        let mut objects = vec![block];
        for _ in 0..count {
            objects.push(reader.prefixed("operation")?);
        }
        Ok(Self { objects })
    }

    /// Number of blocks and operations: 1 and the operations.
    pub fn object_count(&self) -> usize {
        self.objects.len()
    }

    /// The block's fields.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn view(&self, thread_count: u8) -> Result<BlockView<'a>, RecordError> {
        BlockView::parse(self.objects[0], thread_count)
    }

    /// Puts the signatures back: 65 bytes for the block and each operation.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] unless there is one signature for each object; [`RecordError::TooLarge`].
    pub fn record(&self, signatures: &[u8]) -> Result<BlockRecord, RecordError> {
        if signatures.len() != self.objects.len() * SIGNATURE_BYTES {
            return Err(RecordError::Malformed { field: "signatures" });
        }
        let total: usize = self
            .objects
            .iter()
            .map(|object| object.len() + SIGNATURE_BYTES + 4)
            .sum();
        let mut bytes = Vec::with_capacity(total + 4);
        let signed = self.objects.iter().zip(signatures.chunks_exact(SIGNATURE_BYTES));
        for (index, (object, signature)) in signed.enumerate() {
            bytes.extend(((object.len() + SIGNATURE_BYTES) as u32).to_le_bytes());
            bytes.extend(signature);
            bytes.extend(*object);
            if index == 0 {
                bytes.extend(((self.objects.len() - 1) as u32).to_le_bytes());
            }
        }
        BlockRecord::from_bytes(bytes)
    }
}

/// Number of objects that end at or before byte `offset` of the body.
pub fn objects_ending_by(object_ends: &[u32], offset: u64) -> usize {
    object_ends.partition_point(|end| u64::from(*end) <= offset)
}

/// Signatures of the objects that end inside `range` of the body, as they stand in `signatures`.
pub fn signature_range(object_ends: &[u32], range: Range<u64>) -> Range<usize> {
    let first = objects_ending_by(object_ends, range.start);
    let last = objects_ending_by(object_ends, range.end);
    first * SIGNATURE_BYTES..last * SIGNATURE_BYTES
}
