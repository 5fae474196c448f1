//! Blocks that reach beyond their chunk, checked as far as their bytes are here.
//!
//! Of a block that begins in the chunk everything up to the border is known. Of one that began before it, only where its objects
//! end is told, by the signatures beside the pages: from the first end on, object has to follow object. That a signature before
//! the first one was left out cannot be seen, nor always that the second one was.

use super::{entry_false, signatures_false, FalseChunk, Plain};
use crate::repair::chunks::FalsePart;
use massa_distributed_storage_exports::record::BlockView;
use massa_distributed_storage_exports::verification::LooseSignatures;
use massa_models::block_id::BlockId;
use massa_models::config::MAX_OPERATIONS_PER_BLOCK;
use std::ops::Range;

/// Bytes of a length, or of a count.
const NUMBER_BYTES: u64 = 4;

/// The objects of such blocks, their signatures collected to be checked together.
pub(super) struct Borders<'a> {
    plain: &'a Plain,
    chain_id: u64,
    threads: u8,
    loose: LooseSignatures,
    /// Signatures that belong to an object.
    used: usize,
}

impl<'a> Borders<'a> {
    pub(super) fn new(plain: &'a Plain, chain_id: u64, threads: u8) -> Self {
        Self {
            plain,
            chain_id,
            threads,
            loose: LooseSignatures::default(),
            used: 0,
        }
    }

    /// So many signatures belong to objects that were checked elsewhere.
    pub(super) fn count(&mut self, used: usize) {
        self.used += used;
    }

    /// A block that begins in the chunk and ends behind it.
    pub(super) fn begun(&mut self, id: BlockId, range: &Range<u64>) -> Result<(), FalseChunk> {
        let Some(block) = self.object(range.start, range.end)? else {
            return Ok(());
        };
        let other = |reason: String| entry_false(format!("block {id} is not where its entry says: {reason}"));
        let view = BlockView::parse(self.plain.part(&block), self.threads).map_err(|error| other(error.to_string()))?;
        if view.block_id() != id {
            return Err(other(format!("block {} is there", view.block_id())));
        }
        let signature = self.signature(block.end)?;
        let signed = (&signature[..], self.plain.part(&block));
        let added = self.loose.add_block(signed, self.chain_id, self.threads);
        added.map_err(|reason| signatures_false(format!("block {id}: {reason}")))?;
        let mut at = block.end + NUMBER_BYTES;
        for _ in view.operation_ids() {
            let Some(operation) = self.object(at, range.end)? else {
                break;
            };
            self.operation(&operation)?;
            at = operation.end;
        }
        Ok(())
    }

    /// A block that begins before the chunk. Where it ends the entry says, whose offsets may be false, too.
    pub(super) fn continued(&mut self, range: &Range<u64>) -> Result<(), FalseChunk> {
        let checked = self.chain(range);
        checked.map_err(|found| FalseChunk {
            part: FalsePart::SignaturesOrEntry,
            ..found
        })
    }

    fn chain(&mut self, range: &Range<u64>) -> Result<(), FalseChunk> {
        let known = range.start.max(self.plain.range.start)..range.end.min(self.plain.range.end);
        let ends: Vec<u64> = self
            .plain
            .signatures
            .range(known.start + 1..=known.end)
            .map(|(end, _)| *end)
            .collect();
        for (pair, number) in ends.windows(2).zip(0..) {
            let operation = self.ends_at(pair[0], pair[1], number == 0);
            let operation = operation.ok_or_else(|| signatures_false(no_object(pair[0], pair[1])))?;
            self.operation(&operation)?;
        }
        // The first one cannot be checked: where its object begins is not known.
        self.used += usize::from(!ends.is_empty());
        let last = ends.last().copied().unwrap_or(known.start);
        let is_whole = if range.end <= known.end {
            // A block without operations ends with their number.
            last + NUMBER_BYTES >= range.end
        } else {
            ends.is_empty() || self.reaches_beyond(last, ends.len() == 1)
        };
        is_whole.then_some(()).ok_or_else(|| {
            signatures_false(format!(
                "an object behind byte {last} of the segment lacks its signature"
            ))
        })
    }

    /// Where the length of the object may stand that follows one which ended at `after`: there, or behind a number of operations
    /// if that one was the block itself. Only the first object that ends in the chunk can be.
    fn next_lengths(&self, after: u64, is_first: bool) -> impl Iterator<Item = u64> {
        let may_be_block = is_first
            && self
                .number(after)
                .is_some_and(|count| count <= MAX_OPERATIONS_PER_BLOCK);
        std::iter::once(after).chain(may_be_block.then_some(after + NUMBER_BYTES))
    }

    /// The operation that follows an object and ends at `end`.
    fn ends_at(&self, after: u64, end: u64, is_first: bool) -> Option<Range<u64>> {
        let mut lengths = self.next_lengths(after, is_first);
        let fits = |at: &u64| {
            let length = self.number(*at);
            length.is_some_and(|length| at + NUMBER_BYTES + u64::from(length) == end)
        };
        lengths.find(fits).map(|at| at + NUMBER_BYTES..end)
    }

    /// Whether what follows an object may end behind the chunk.
    fn reaches_beyond(&self, after: u64, is_first: bool) -> bool {
        let chunk_end = self.plain.range.end;
        self.next_lengths(after, is_first).any(|at| {
            let length = self.number(at);
            length.map_or(true, |length| at + NUMBER_BYTES + u64::from(length) > chunk_end)
        })
    }

    /// The bytes of the object whose length stands at `at`, if all of them are here.
    fn object(&self, at: u64, block_end: u64) -> Result<Option<Range<u64>>, FalseChunk> {
        let Some(length) = self.number(at) else {
            return Ok(None);
        };
        let start = at + NUMBER_BYTES;
        let end = start + u64::from(length);
        if end > block_end {
            let reason =
                format!("an object at byte {at} of the segment has {length} bytes, its block ends at {block_end}");
            return Err(entry_false(reason));
        }
        Ok((end <= self.plain.range.end).then_some(start..end))
    }

    fn number(&self, at: u64) -> Option<u32> {
        let bytes = self.plain.part(&(at..at + NUMBER_BYTES));
        Some(u32::from_le_bytes(bytes.try_into().ok()?))
    }

    fn signature(&mut self, end: u64) -> Result<[u8; 65], FalseChunk> {
        let found = self.plain.signatures.get(&end).copied();
        let lacks = || {
            signatures_false(format!(
                "the object that ends at byte {end} of the segment lacks its signature"
            ))
        };
        self.used += usize::from(found.is_some());
        found.ok_or_else(lacks)
    }

    fn operation(&mut self, range: &Range<u64>) -> Result<(), FalseChunk> {
        let signature = self.signature(range.end)?;
        let signed = (&signature[..], self.plain.part(range));
        let added = self.loose.add_operation(signed, self.chain_id);
        added.map_err(|reason| signatures_false(format!("operation at byte {} of the segment: {reason}", range.start)))
    }

    /// All blocks of the chunk were looked at. `doubt` says what is false if there are signatures without an object.
    pub(super) fn finish(self, doubt: FalsePart) -> Result<(), FalseChunk> {
        let (used, given) = (self.used, self.plain.signatures.len());
        if used != given {
            return Err(FalseChunk {
                part: doubt,
                reason: format!("{given} signatures for {used} objects"),
            });
        }
        match self.loose.verify() {
            true => Ok(()),
            false => Err(signatures_false(
                "a signature of a block that reaches beyond the chunk is invalid".into(),
            )),
        }
    }
}

fn no_object(from: u64, to: u64) -> String {
    format!("no object ends at byte {to} of the segment after one that ends at {from}")
}
