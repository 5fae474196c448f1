//! Pages of a segment's body that have arrived, wherever they came from, and the blocks put together from them.
//!
//! Every page is known to belong to its chunk, and its chunk to the table. The signatures beside it are covered by nothing:
//! who sent them is remembered.

use massa_distributed_storage_exports::bytes::Reader;
use massa_distributed_storage_exports::entry::{EntryError, PeriodEntry};
use massa_distributed_storage_exports::period::{Signature, TaggedSignature, UnsignedRecord};
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

/// Pages of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PagesWanted {
    pub(super) chunk: u32,
    pub(super) pages: Range<u32>,
}

/// A block, and where an entry says that its bytes stand in the body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlockBytes {
    pub(super) slot: Slot,
    pub(super) id: BlockId,
    pub(super) range: Range<u64>,
}

struct Page {
    /// `None`: this node's own.
    from: Option<NodeId>,
    plain: Vec<u8>,
    signatures: Vec<u8>,
}

/// Why a block cannot be put together.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BlockFault {
    /// What stands there is another block or none: the entry that gave the range is false, or the archive.
    Bytes(String),
    /// The signature of an object is missing beside the page that it ends in.
    Signature(SignatureAt),
}

/// Where the signature of an object is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SignatureAt {
    /// Number of the page in the body.
    pub(super) page: u64,
    /// Whether the object lies in one chunk: who holds that chunk alone could have checked its signature.
    pub(super) in_one_chunk: bool,
}

/// See the module.
pub(super) struct BodyPages {
    table: Arc<SegmentTable>,
    /// By their number in the body.
    pages: BTreeMap<u64, Page>,
}

fn pages_of(range: &Range<u64>) -> Range<u64> {
    range.start / PAGE_BYTES as u64..range.end.div_ceil(PAGE_BYTES as u64)
}

impl BodyPages {
    pub(super) fn new(table: Arc<SegmentTable>) -> Self {
        Self {
            table,
            pages: BTreeMap::new(),
        }
    }

    pub(super) fn table(&self) -> &SegmentTable {
        &self.table
    }

    fn pages_per_chunk(&self) -> u64 {
        u64::from(self.table.header().chunk_size) / PAGE_BYTES as u64
    }

    /// Number in the body of a page of a chunk.
    pub(super) fn number(&self, chunk: u32, page: u32) -> u64 {
        u64::from(chunk) * self.pages_per_chunk() + u64::from(page)
    }

    /// Pages that these bytes need and that are not here, chunk by chunk, each once.
    pub(super) fn wanted<'r>(&self, ranges: impl IntoIterator<Item = &'r Range<u64>>) -> Vec<PagesWanted> {
        let pages = ranges.into_iter().flat_map(pages_of);
        let missing: BTreeSet<u64> = pages.filter(|page| !self.pages.contains_key(page)).collect();
        let mut wanted: Vec<PagesWanted> = Vec::new();
        for number in missing {
            let chunk = (number / self.pages_per_chunk()) as u32;
            let page = (number % self.pages_per_chunk()) as u32;
            match wanted.last_mut() {
                Some(last) if last.chunk == chunk && last.pages.end == page => last.pages.end += 1,
                _ => wanted.push(PagesWanted {
                    chunk,
                    pages: page..page + 1,
                }),
            }
        }
        wanted
    }

    /// Takes a page that is led to its chunk's id; the first one to come stays.
    pub(super) fn insert(&mut self, number: u64, from: Option<NodeId>, plain: Vec<u8>, signatures: Vec<u8>) {
        let page = || Page {
            from,
            plain,
            signatures,
        };
        self.pages.entry(number).or_insert_with(page);
    }

    /// Forgets a page, so that it is wanted again; returns who sent it.
    pub(super) fn forget(&mut self, number: u64) -> Option<NodeId> {
        self.pages.remove(&number)?.from
    }

    fn bytes(&self, range: &Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::with_capacity((range.end - range.start) as usize);
        for number in pages_of(range) {
            let Some(page) = self.pages.get(&number) else { break };
            let start = number * PAGE_BYTES as u64;
            let from = range.start.saturating_sub(start) as usize;
            let to = (range.end - start).min(page.plain.len() as u64) as usize;
            bytes.extend(page.plain.get(from..to).unwrap_or_default());
        }
        bytes
    }

    /// The entry that the bytes in `range` begin with, all of which are here.
    pub(super) fn entry(&self, range: &Range<u64>) -> Result<PeriodEntry, EntryError> {
        PeriodEntry::read(&mut Reader::new(&self.bytes(range)), self.table.header().threads)
    }

    /// A block, all of whose bytes are here. Its id is checked, the signatures are put back as they came.
    pub(super) fn record(&self, block: &BlockBytes) -> Result<BlockRecord, BlockFault> {
        let bytes = self.bytes(&block.range);
        let fault = |error: RecordError| BlockFault::Bytes(error.to_string());
        let record = UnsignedRecord::parse(&bytes).map_err(fault)?;
        let view = record.view(self.table.header().threads).map_err(fault)?;
        if view.block_id() != block.id || view.slot != block.slot {
            let (slot, found) = (view.slot, view.block_id());
            return Err(BlockFault::Bytes(format!(
                "expected block {}, found {found} of slot {slot}",
                block.id
            )));
        }
        let mut signatures = Vec::with_capacity(record.objects().len());
        for index in 0..record.objects().len() {
            let at = signature_at(self, block, record.object_ends(), index);
            let end = block.range.start + u64::from(record.object_ends()[index]);
            let signature = self.signature(at.page, end);
            signatures.push(signature.ok_or(BlockFault::Signature(at))?);
        }
        record.signed(&signatures).map_err(fault)
    }

    fn signature(&self, number: u64, end: u64) -> Option<Signature> {
        let page = self.pages.get(&number)?;
        let last = ((end - 1) % PAGE_BYTES as u64) as u16;
        let tagged = TaggedSignature::read_list(&page.signatures, page.plain.len()).ok()?;
        let found = tagged.into_iter().find(|tagged| tagged.last == last)?;
        Some(found.signature)
    }

    /// Where the signature of object `index` of a block is kept: 0 is the block itself, its operations follow.
    pub(super) fn signature_of(&self, block: &BlockBytes, index: usize) -> Option<SignatureAt> {
        let bytes = self.bytes(&block.range);
        let record = UnsignedRecord::parse(&bytes).ok()?;
        (index < record.object_ends().len()).then(|| signature_at(self, block, record.object_ends(), index))
    }
}

fn signature_at(pages: &BodyPages, block: &BlockBytes, ends: &[u32], index: usize) -> SignatureAt {
    let begins = match index.checked_sub(1) {
        None => block.range.start,
        Some(before) => block.range.start + u64::from(ends[before]),
    };
    let last = block.range.start + u64::from(ends[index]) - 1;
    let chunk_size = u64::from(pages.table.header().chunk_size);
    SignatureAt {
        page: last / PAGE_BYTES as u64,
        in_one_chunk: begins / chunk_size == last / chunk_size,
    }
}
