//! The bytes of a period: its entry, then its blocks with their operations. Segments are made of them, in period order.
//!
//! ```text
//! entry                                             see `entry`
//! for each block, in thread order:
//!   length u32 | SecureShareBlock without its signature
//!   operation count u32
//!   each operation, in the block's order: length u32 | SecureShareOperation without its signature
//! ```
//!
//! No id covers the leading signature of a block or an operation, and a signer can make many valid ones. Two nodes may hold
//! different ones, so they stay out of these bytes and travel beside them: [`TaggedSignature`].

use crate::bytes::{Reader, Truncated};
use crate::entry::PeriodEntry;
use crate::record::{push_prefixed, BlockRecord, BlockView, RecordError};
use crate::types::{ArchiveParameters, PAGE_BYTES, SIGNATURE_BYTES};
use massa_models::block_id::BlockId;
use massa_models::config::MAX_OPERATIONS_PER_BLOCK;
use massa_models::slot::Slot;

/// The leading signature of a block or an operation.
pub type Signature = [u8; SIGNATURE_BYTES];

/// Why blocks do not make up a period.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeriodError {
    /// Not one slot for each thread.
    #[error("period {period}: {found} slots for {threads} threads")]
    Slots {
        /// The period.
        period: u64,
        /// Slots given.
        found: usize,
        /// Threads of the chain.
        threads: u8,
    },
    /// A record cannot be read as a block.
    #[error("period {period}, thread {thread}: {source}")]
    Block {
        /// The period.
        period: u64,
        /// Thread of the block.
        thread: u8,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A block of another slot.
    #[error("a block of slot {found} was given for slot {expected}")]
    Slot {
        /// The slot that it was given for.
        expected: Slot,
        /// The slot of the block.
        found: Slot,
    },
}

/// A period ready to join the stream of its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedPeriod {
    /// The period.
    pub period: u64,
    /// Which slots have a block, and where.
    pub entry: PeriodEntry,
    /// The period's bytes, entry included.
    pub bytes: Vec<u8>,
    /// The leading signature of each block and operation, in the order of the bytes, with where its object ends in them.
    pub signatures: Vec<ObjectSignature>,
}

/// The leading signature of an object, and where the object ends in the period's bytes: the first byte after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectSignature {
    /// First byte after the object, counted from the beginning of the period.
    pub end: u32,
    /// The signature.
    pub signature: Signature,
}

impl EncodedPeriod {
    /// Encodes a complete period: `slots[thread]` is its block, or `None` for a miss.
    ///
    /// Costs one copy of the bytes and one hash of each header.
    ///
    /// # Errors
    /// [`PeriodError`] when a record is not a block of its slot.
    pub fn whole(
        parameters: &ArchiveParameters,
        period: u64,
        slots: &[Option<&BlockRecord>],
    ) -> Result<Self, PeriodError> {
        let threads = parameters.thread_count;
        if slots.len() != usize::from(threads) {
            return Err(PeriodError::Slots {
                period,
                found: slots.len(),
                threads,
            });
        }
        let mut blocks = Vec::with_capacity(slots.len());
        for (record, thread) in slots.iter().zip(0..) {
            let block = match record {
                None => None,
                Some(record) => Some((
                    id_of(record, Slot::new(period, thread), threads)?,
                    unsigned_length(record),
                )),
            };
            blocks.push(block);
        }
        let entry = PeriodEntry::whole(&blocks);
        let blocks_length: u32 = blocks.iter().flatten().map(|(_, length)| length).sum();
        let mut bytes = Vec::with_capacity((entry.length() + blocks_length) as usize);
        entry.write(&mut bytes);
        let mut signatures = Vec::new();
        for record in slots.iter().flatten() {
            push_record(record, &mut bytes, &mut signatures);
        }
        Ok(Self {
            period,
            entry,
            bytes,
            signatures,
        })
    }

    /// A lost period: its entry is all of it.
    pub fn lost(period: u64, entry: PeriodEntry) -> Self {
        Self {
            period,
            bytes: entry.to_bytes(),
            entry,
            signatures: Vec::new(),
        }
    }
}

/// The id of a record that must be the block of `slot`.
fn id_of(record: &BlockRecord, slot: Slot, threads: u8) -> Result<BlockId, PeriodError> {
    let view = record.view(threads).map_err(|source| PeriodError::Block {
        period: slot.period,
        thread: slot.thread,
        source,
    })?;
    if view.slot != slot {
        return Err(PeriodError::Slot {
            expected: slot,
            found: view.slot,
        });
    }
    Ok(view.block_id())
}

/// Bytes that a record takes in the period's bytes. A record has at most 2 MiB.
fn unsigned_length(record: &BlockRecord) -> u32 {
    (record.as_bytes().len() - record.objects().len() * SIGNATURE_BYTES) as u32
}

fn push_record(record: &BlockRecord, bytes: &mut Vec<u8>, signatures: &mut Vec<ObjectSignature>) {
    for (index, object) in record.objects().enumerate() {
        let (signature, unsigned) = object.split_at(SIGNATURE_BYTES);
        push_prefixed(bytes, unsigned);
        signatures.push(ObjectSignature {
            end: bytes.len() as u32,
            signature: signature.try_into().expect("an object begins with a signature"),
        });
        if index == 0 {
            bytes.extend((record.operation_count() as u32).to_le_bytes());
        }
    }
}

/// One block with its operations, as it stands in the period's bytes: without signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsignedRecord<'a> {
    /// The block, then its operations.
    objects: Vec<&'a [u8]>,
    /// Where each object ends, counted from the beginning of the record.
    ends: Vec<u32>,
}

impl<'a> UnsignedRecord<'a> {
    /// Reads the record that `bytes` are, and nothing else.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let mut record = Self {
            objects: Vec::new(),
            ends: Vec::new(),
        };
        record.read_object(&mut reader, bytes.len(), "block")?;
        let count = reader.u32("operation count")?;
        if count > MAX_OPERATIONS_PER_BLOCK {
            return Err(RecordError::TooLarge {
                field: "operation count",
                value: u64::from(count),
                max: u64::from(MAX_OPERATIONS_PER_BLOCK),
            });
        }
        for _ in 0..count {
            record.read_object(&mut reader, bytes.len(), "operation")?;
        }
        match reader.remaining() {
            0 => Ok(record),
            rest => Err(RecordError::TrailingBytes(rest)),
        }
    }

    fn read_object(&mut self, reader: &mut Reader<'a>, total: usize, field: &'static str) -> Result<(), Truncated> {
        self.objects.push(reader.prefixed(field)?);
        self.ends.push((total - reader.remaining()) as u32);
        Ok(())
    }

    /// The block, then its operations, without signatures.
    pub fn objects(&self) -> &[&'a [u8]] {
        &self.objects
    }

    /// Where each object ends, counted from the beginning of the record.
    pub fn object_ends(&self) -> &[u32] {
        &self.ends
    }

    /// The block's fields.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn view(&self, thread_count: u8) -> Result<BlockView<'a>, RecordError> {
        BlockView::parse(self.objects[0], thread_count)
    }

    /// Puts the signatures back, one for the block and one for each operation.
    ///
    /// # Errors
    /// [`RecordError::Malformed`] unless there is one signature for each object; [`RecordError::TooLarge`].
    pub fn signed(&self, signatures: &[Signature]) -> Result<BlockRecord, RecordError> {
        if signatures.len() != self.objects.len() {
            return Err(RecordError::Malformed { field: "signatures" });
        }
        let signed = |object: &&[u8]| object.len() + SIGNATURE_BYTES + 4;
        let mut bytes = Vec::with_capacity(self.objects.iter().map(signed).sum::<usize>() + 4);
        for (index, (object, signature)) in self.objects.iter().zip(signatures).enumerate() {
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

/// A leading signature as it is kept and sent beside the page in which its object ends.
///
/// ```text
/// last u16 | signature (65)
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaggedSignature {
    /// Position of the object's last byte in its page: 0 to 65 535. (Its end is one more, which 16 bits cannot say of an object
    /// that ends with its page.)
    pub last: u16,
    /// The signature.
    pub signature: Signature,
}

impl TaggedSignature {
    /// Bytes of the binary form.
    pub const SIZE_BYTES: usize = 2 + SIGNATURE_BYTES;

    /// Of the object that ends at byte `end` of the segment body (the first byte after it, at least 1).
    pub fn of_object(end: u64, signature: Signature) -> Self {
        let last = (end - 1) % PAGE_BYTES as u64;
        Self {
            last: last as u16,
            signature,
        }
    }

    /// Appends the binary form.
    pub fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.last.to_le_bytes());
        bytes.extend(self.signature);
    }

    /// Reads the list of signatures beside a page of `page_length` bytes: ascending, each inside the page.
    ///
    /// # Errors
    /// [`RecordError::Malformed`].
    pub fn read_list(bytes: &[u8], page_length: usize) -> Result<Vec<Self>, RecordError> {
        let malformed = || RecordError::Malformed {
            field: "page signatures",
        };
        if bytes.len() % Self::SIZE_BYTES != 0 {
            return Err(malformed());
        }
        let mut list: Vec<Self> = Vec::with_capacity(bytes.len() / Self::SIZE_BYTES);
        for item in bytes.chunks_exact(Self::SIZE_BYTES) {
            let (last, signature) = item.split_at(2);
            let tagged = Self {
                last: u16::from_le_bytes(last.try_into().expect("two bytes")),
                signature: signature.try_into().expect("65 bytes"),
            };
            let ascends = list.last().map_or(true, |before| before.last < tagged.last);
            if !ascends || usize::from(tagged.last) >= page_length {
                return Err(malformed());
            }
            list.push(tagged);
        }
        Ok(list)
    }
}
