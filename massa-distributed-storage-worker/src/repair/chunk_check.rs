//! A chunk that was obtained from others, checked where no tree covers it, in the form in which it is written.
//!
//! Its pages belong to the table's chunk, and the ids in its entry to the table's period: that was checked as they came. Not
//! covered are the signatures beside the pages and the offsets of the entry. So every block that lies whole in the chunk is
//! put together and verified, and of those that reach beyond it what is here (`borders`). Where the bytes at an offset are not
//! the block that the entry names, the offset is false: the bytes themselves are true. A signature beside the end of no object is
//! false as well: it would be kept and sent for nothing.
//!
//! Left out: objects of which a part is not here. Who reads them checks them.

mod borders;

use self::borders::Borders;
use super::chunks::download::ObtainedChunk;
use super::chunks::FalsePart;
use crate::storage_backend::{ChunkToStore, Keep, PageToStore, ReachingEntry};
use massa_distributed_storage_exports::bytes::Reader;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::leaves::leaf_hashes;
use massa_distributed_storage_exports::merkle::root_of_hashes;
use massa_distributed_storage_exports::network::VerifiedPage;
use massa_distributed_storage_exports::period::{Signature, TaggedSignature, UnsignedRecord};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::stored_page::{is_larger_by_a_tenth, StoredPage};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_exports::verification::verify_block;
use massa_models::block_id::BlockId;
use std::collections::BTreeMap;
use std::ops::Range;

/// Something of a chunk is false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FalseChunk {
    /// What.
    pub part: FalsePart,
    /// What is wrong with it.
    pub reason: String,
}

/// A chunk's bytes and the signatures of the objects that end in it.
struct Plain {
    /// Where it stands in the body.
    range: Range<u64>,
    bytes: Vec<u8>,
    /// By the first byte of the body after the object.
    signatures: BTreeMap<u64, Signature>,
}

impl Plain {
    fn new(table: &SegmentTable, chunk: &ObtainedChunk) -> Result<Self, FalseChunk> {
        let range = table.chunk_range(chunk.position.index.0);
        let mut signatures = BTreeMap::new();
        for (page, number) in chunk.pages.iter().zip(0u64..) {
            let start = range.start + number * PAGE_BYTES as u64;
            let tagged = TaggedSignature::read_list(page.signatures(), page.plain().len());
            let tagged = tagged.map_err(|error| signatures_false(error.to_string()))?;
            let ends = tagged.iter().map(|tagged| start + u64::from(tagged.last) + 1);
            signatures.extend(ends.zip(tagged.iter().map(|tagged| tagged.signature)));
        }
        let bytes = chunk.pages.iter().flat_map(|page| page.plain()).copied().collect();
        Ok(Self {
            range,
            bytes,
            signatures,
        })
    }

    /// Bytes of the body, as far as they lie in the chunk.
    fn part(&self, range: &Range<u64>) -> &[u8] {
        let at = |position: u64| position.clamp(self.range.start, self.range.end) - self.range.start;
        self.bytes
            .get(at(range.start) as usize..at(range.end) as usize)
            .unwrap_or_default()
    }

    fn holds(&self, range: &Range<u64>) -> bool {
        self.range.start <= range.start && range.end <= self.range.end
    }
}

fn signatures_false(reason: String) -> FalseChunk {
    FalseChunk {
        part: FalsePart::Signatures,
        reason,
    }
}

fn entry_false(reason: String) -> FalseChunk {
    FalseChunk {
        part: FalsePart::Entry,
        reason,
    }
}

/// Checks a chunk of `table` and gives it the form in which it is written. Costs a hash of each page and the signatures of
/// the objects that lie whole in it.
///
/// # Errors
/// [`FalseChunk`].
pub fn check_chunk(table: &SegmentTable, chunk: &ObtainedChunk) -> Result<ChunkToStore, FalseChunk> {
    let index = chunk.position.index.0;
    let plain = Plain::new(table, chunk)?;
    let reaching = table.period_reaching_into(index);
    let mut borders = Borders::new(&plain, table.header().chain_id, table.header().threads);
    let mut doubt = FalsePart::Signatures;
    for period in table.periods_of_chunk(index).unwrap_or_default() {
        let Some(range) = table.period_range(period) else {
            continue;
        };
        let entry = if reaching == Some(period) {
            chunk.entry.as_ref().map(|(_, entry)| entry.clone())
        } else {
            // One that ends in the next chunk cannot be read here, and no block of it begins here.
            PeriodEntry::read(&mut Reader::new(plain.part(&range)), table.header().threads).ok()
        };
        let Some(entry) = entry else { continue };
        let continued = check_blocks(table, &mut borders, &plain, (&range, &entry))?;
        if let Some(block) = continued {
            // The other blocks of its period fit their offsets.
            borders.continued(&block)?;
            doubt = FalsePart::SignaturesOrEntry;
        }
    }
    borders.finish(doubt)?;
    Ok(to_store(table, chunk, reaching))
}

/// Checks the blocks of a period that lie whole in the chunk or begin in it. Returns the range of the one that began before it
/// and reaches into it.
fn check_blocks(
    table: &SegmentTable,
    borders: &mut Borders<'_>,
    plain: &Plain,
    (period, entry): (&Range<u64>, &PeriodEntry),
) -> Result<Option<Range<u64>>, FalseChunk> {
    let length = (period.end - period.start) as u32;
    let mut continued = None;
    for (id, thread) in entry.ids().zip(0..) {
        let (Some(id), Some(range)) = (id, entry.block_range(thread, length)) else {
            continue;
        };
        let range = period.start + u64::from(range.start)..period.start + u64::from(range.end);
        if plain.holds(&range) {
            borders.count(check_block(table, plain, id, &range)?);
        } else if plain.range.contains(&range.start) {
            borders.begun(id, &range)?;
        } else if range.start < plain.range.start && range.end > plain.range.start {
            continued = Some(range);
        }
    }
    Ok(continued)
}

/// Returns the number of its signatures.
fn check_block(table: &SegmentTable, plain: &Plain, id: BlockId, range: &Range<u64>) -> Result<usize, FalseChunk> {
    let header = table.header();
    let other = |reason: String| entry_false(format!("block {id} is not where its entry says: {reason}"));
    let record = UnsignedRecord::parse(plain.part(range)).map_err(|error| other(error.to_string()))?;
    let view = record.view(header.threads).map_err(|error| other(error.to_string()))?;
    if view.block_id() != id {
        return Err(other(format!("block {} is there", view.block_id())));
    }
    let ends = record.object_ends().iter().map(|end| range.start + u64::from(*end));
    let signatures: Option<Vec<Signature>> = ends.map(|end| plain.signatures.get(&end).copied()).collect();
    let signatures = signatures.ok_or_else(|| signatures_false(format!("block {id} lacks a signature")))?;
    let record = record.signed(&signatures);
    let record = record.map_err(|error| signatures_false(error.to_string()))?;
    let verified = verify_block(&record, header.chain_id, header.threads);
    verified.map_err(|error| signatures_false(error.to_string()))?;
    Ok(signatures.len())
}

fn to_store(table: &SegmentTable, chunk: &ObtainedChunk, reaching: Option<u64>) -> ChunkToStore {
    let entry = reaching.zip(chunk.entry.as_ref());
    let reaching = entry.and_then(|(period, (_, entry))| {
        Some(ReachingEntry {
            period,
            start: table.period_range(period)?.start,
            entry: entry.clone(),
        })
    });
    // One who packs badly, or not at all, shall not cost everybody disk.
    let plain: Vec<&[u8]> = chunk.pages.iter().map(VerifiedPage::plain).collect();
    let own = StoredPage::pack_chunk(&plain.concat());
    let page = |(page, own): (&VerifiedPage, StoredPage)| {
        let received = page.stored();
        let stored = if is_larger_by_a_tenth(received.len(), own.as_bytes().len()) {
            own.into_bytes()
        } else {
            received.to_vec()
        };
        PageToStore {
            stored,
            signatures: page.signatures().to_vec(),
        }
    };
    let root = |page: &VerifiedPage| root_of_hashes(leaf_hashes(page.plain()));
    ChunkToStore {
        keep: Keep::Holder,
        position: chunk.position,
        page_roots: chunk.pages.iter().map(root).collect(),
        reaching,
        pages: chunk.pages.iter().zip(own).map(page).collect(),
    }
}
