//! Segments that are in memory until they are closed ([`Acknowledge::AtClose`]): for blocks that can be read again, in their order.
//!
//! Of such a segment nothing is written before all of it has joined: then its chunks, as they were cut while it grew, the rows of
//! its periods and its table. A process that is killed before that finds nothing of it, and reads its blocks again. What does not
//! fit into memory, and what is open at [`Ingest::finish`], becomes rows like any other open segment.

use super::{Acknowledge, HeldBlocks, Ingest, Keep, Outcome, Unwritten, HELD_BYTES_MAX};
use crate::archive::rows::{JoinedPeriod, OpenRows, SegmentRows, StreamChunk};
use crate::chunking::segment::FinishedChunk;
use crate::storage_backend::database::writer::Durability;
use massa_distributed_storage_exports::record::{BlockRecord, RecordError};
use massa_distributed_storage_exports::verification::{verify_blocks, VerifyBlockError};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::collections::VecDeque;

/// Records of segments that are in memory; their chunks take as much again. Ten segments of today's chain; a full segment does not
/// fit and becomes rows.
const MEMORY_BYTES_MAX: usize = 192 << 20;
/// Bytes of records that become rows in one batch.
const SPILLED_BYTES: usize = 8 << 20;

/// A block whose ids were checked: its operations are those that its header commits to. Its signatures may not have been.
#[derive(Clone, Debug)]
pub struct CheckedBlock {
    pub(super) record: BlockRecord,
    pub(super) slot: Slot,
    pub(super) id: BlockId,
    pub(super) parent: Option<BlockId>,
}

impl CheckedBlock {
    /// Checks the ids of a block. Costs a hash of its header and of each operation.
    ///
    /// # Errors
    /// [`RecordError`].
    pub fn new(record: BlockRecord, parameters: &ArchiveParameters) -> Result<Self, RecordError> {
        record.check_ids(parameters.chain_id, parameters.thread_count)?;
        Self::of_checked(record, parameters)
    }

    /// Checks ids and signatures of blocks, the latter in one batch. Those before the first one that is not valid, its position
    /// and why it is not.
    pub fn verify(
        mut records: Vec<BlockRecord>,
        parameters: &ArchiveParameters,
    ) -> (Vec<Self>, Option<(usize, VerifyBlockError)>) {
        let verified = verify_blocks(&records, parameters.chain_id, parameters.thread_count);
        let mut fault = verified.err();
        records.truncate(fault.as_ref().map_or(usize::MAX, |(position, _)| *position));
        let mut blocks = Vec::with_capacity(records.len());
        for record in records {
            match Self::of_checked(record, parameters) {
                Ok(block) => blocks.push(block),
                Err(error) => {
                    fault = Some((blocks.len(), error.into()));
                    break;
                }
            }
        }
        (blocks, fault)
    }

    fn of_checked(record: BlockRecord, parameters: &ArchiveParameters) -> Result<Self, RecordError> {
        let view = record.view(parameters.thread_count)?;
        let (slot, id, parent) = (view.slot, view.block_id(), view.same_thread_parent());
        Ok(Self {
            record,
            slot,
            id,
            parent,
        })
    }

    /// Its slot.
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Its id.
    pub fn id(&self) -> BlockId {
        self.id
    }

    /// Its record.
    pub fn record(&self) -> &BlockRecord {
        &self.record
    }
}

/// What has joined a segment that is in memory.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) joined: Vec<JoinedPeriod>,
    /// The full chunks, but for those that were written.
    pub(super) chunks: VecDeque<FinishedChunk>,
}

impl Kept {
    /// The next chunks that are wanted, `bytes` or a little more; none when all were taken.
    pub(super) fn take_slice(&mut self, bytes: u64, keep: &[Option<Keep>]) -> Vec<(FinishedChunk, Keep)> {
        let (mut slice, mut taken) = (Vec::new(), 0);
        while taken < bytes {
            let Some(chunk) = self.chunks.pop_front() else { break };
            if let Some(keep) = keep[chunk.index as usize] {
                taken += u64::from(chunk.row.length);
                slice.push((chunk, keep));
            }
        }
        slice
    }
}

impl Unwritten {
    /// Takes out what belongs to periods that `wanted` selects, and answered links.
    fn take(&mut self, wanted: impl Fn(u64) -> bool) -> Self {
        let of_slot = |slot: &Slot| wanted(slot.period);
        let (blocks, others) = std::mem::take(&mut self.blocks).into_iter().partition(of_slot);
        self.blocks = others;
        let (misses, others) = std::mem::take(&mut self.misses).into_iter().partition(of_slot);
        self.misses = others;
        let links = std::mem::take(&mut self.links).into_iter();
        let (links, others) = links.partition(|(_, child)| wanted(*child));
        self.links = others;
        let missing = std::mem::take(&mut self.missing).into_iter();
        let (missing, others) = missing.partition(|(slot, _)| wanted(slot.period));
        self.missing = others;
        Self {
            blocks,
            misses,
            links,
            resolved_links: std::mem::take(&mut self.resolved_links),
            missing,
        }
    }

    /// Takes out blocks of at least `bytes`, or all that are left.
    fn take_blocks(&mut self, held: &HeldBlocks, bytes: usize) -> Self {
        let (mut part, mut taken) = (Self::default(), 0);
        while taken < bytes {
            let Some(slot) = self.blocks.pop_first() else { break };
            taken += held.records[&slot].as_bytes().len();
            part.blocks.insert(slot);
        }
        part
    }
}

impl<S: SegmentRows> Ingest<S> {
    /// Whether nothing of this open segment is written before it is closed.
    pub(super) fn is_in_memory(&self, segment: u64) -> bool {
        self.options.acknowledge == Acknowledge::AtClose && !self.rows_of.contains(&segment)
    }

    /// Writes what belongs to segments whose blocks are rows, blocks first: a joined period has its blocks.
    pub(super) fn write_rows(&mut self) -> Outcome<S, ()> {
        if self.rows_of.is_empty() {
            return Ok(());
        }
        let (parameters, rows_of) = (self.store.parameters(), &self.rows_of);
        let mut rows = self
            .unwritten
            .take(|period| rows_of.contains(&parameters.segment_of(period)));
        while !rows.is_empty() {
            let mut part = rows.take_blocks(&self.held, SPILLED_BYTES);
            if rows.blocks.is_empty() {
                let blocks = std::mem::take(&mut part.blocks);
                part = std::mem::take(&mut rows);
                part.blocks = blocks;
            }
            if let Err(error) = self.store.put_open(&part.rows(&self.held), self.durability()) {
                return self.forget_unwritten(error);
            }
        }
        Ok(())
    }

    /// Keeps memory within its bounds.
    pub(super) fn limit_held(&mut self) -> Outcome<S, ()> {
        if self.options.acknowledge != Acknowledge::AtClose {
            if self.held.bytes > HELD_BYTES_MAX {
                self.held.clear();
            }
            return Ok(());
        }
        if self.held.bytes > MEMORY_BYTES_MAX {
            self.spill()?;
        }
        Ok(())
    }

    /// Makes rows of everything that is in memory.
    pub(super) fn spill(&mut self) -> Outcome<S, ()> {
        if self.options.acknowledge != Acknowledge::AtClose {
            return Ok(());
        }
        while self.closing.is_some() {
            self.close_slice()?;
        }
        let parameters = self.store.parameters();
        let periods = self.unwritten.blocks.iter().chain(&self.unwritten.misses);
        let segments = periods.map(|slot| parameters.segment_of(slot.period));
        self.rows_of.extend(segments.chain(self.segments.keys().copied()));
        self.write_rows()?;
        let kept: Vec<(u64, Kept)> = self
            .segments
            .iter_mut()
            .filter_map(|(segment, state)| Some((*segment, state.kept.take()?)))
            .collect();
        for (segment, kept) in kept {
            self.write_kept(segment, kept)?;
        }
        self.held.clear();
        Ok(())
    }

    fn write_kept(&mut self, segment: u64, kept: Kept) -> Outcome<S, ()> {
        let chunks = kept.chunks.into_iter().map(|chunk| StreamChunk {
            position: ChunkPosition::new(segment, chunk.index).expect("parameters bound positions"),
            id: chunk.row.id,
            page_roots: chunk.page_roots,
        });
        let rows = OpenRows {
            joined: kept.joined,
            chunks: chunks.collect(),
            ..OpenRows::default()
        };
        match self.store.put_open(&rows, Durability::Buffered) {
            Ok(()) => Ok(()),
            Err(error) => self.forget_unwritten(error),
        }
    }

    /// Writes the rows of the periods of a segment whose chunks are all written.
    pub(super) fn write_joined(&mut self, kept: &Kept) -> Outcome<S, ()> {
        let rows = OpenRows {
            joined: kept.joined.clone(),
            ..OpenRows::default()
        };
        match self.store.put_open(&rows, Durability::Buffered) {
            Ok(()) => Ok(()),
            Err(error) => self.forget_unwritten(error),
        }
    }

    /// Forgets what was not written of a segment that is closed now.
    pub(super) fn forget_segment(&mut self, segment: u64) {
        if !self.is_in_memory(segment) {
            return;
        }
        let periods = self.segment_periods(segment);
        periods.clone().for_each(|period| self.held.remove_period(period));
        let resolved = std::mem::take(&mut self.unwritten.resolved_links);
        self.unwritten.take(|period| periods.contains(&period));
        self.unwritten.resolved_links = resolved;
    }
}
