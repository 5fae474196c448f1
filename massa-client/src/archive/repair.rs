//! Segments that are closed already, while a file is imported that has their blocks.
//!
//! [`KnownBlocks`] compares the file with what the archive says of their slots, and finds what an index lacks. [`SegmentRepair`] cuts
//! chunks that are damaged or
//! missing from the file again. The table decides: a period of the file counts when its root is the one that the table lists, and a
//! chunk is only held when it is the one that the table lists. A segment of which the file has not every period is left to the
//! network.

use crate::archive::import::BlockFault;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::{SegmentTable, TablePeriod};
use massa_distributed_storage_exports::{ArchiveParameters, ChunkPosition, SegmentRoot};
use massa_distributed_storage_worker::archive::ingest::CheckedBlock;
use massa_distributed_storage_worker::archive::rows::{Packing, SegmentRows};
use massa_distributed_storage_worker::chunking::objects::IndexedObjects;
use massa_distributed_storage_worker::chunking::segment::SegmentStream;
use massa_distributed_storage_worker::storage_backend::{
    EntryRead, IndexScope, Keep, OwnChanges, SegmentStore, SlotRead, StoreError,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Compares blocks of a file with what is known of them in closed segments.
pub(super) struct KnownBlocks {
    store: Arc<SegmentStore>,
    /// The period that was read last, with its entry if it is closed and its entry held.
    period: Option<(u64, Option<PeriodEntry>)>,
    unindexed: BTreeSet<u64>,
}

impl KnownBlocks {
    pub(super) fn new(store: Arc<SegmentStore>) -> Self {
        Self {
            store,
            period: None,
            unindexed: BTreeSet::new(),
        }
    }

    /// Closed segments of which an index lacks something that it should have.
    pub(super) fn unindexed(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.unindexed)
    }

    /// Whether the block is the one that its slot has, as far as that is known here. Costs reading an entry for each period of a
    /// closed segment, and the index rows of the block.
    ///
    /// # Errors
    /// [`StoreError`], not of damage; inside of it, [`BlockFault::Contradicts`].
    pub(super) fn check(&mut self, block: &CheckedBlock) -> Result<Result<(), BlockFault>, StoreError> {
        let slot = block.slot();
        if self.period.as_ref().map_or(true, |(period, _)| *period != slot.period) {
            self.period = Some((slot.period, self.entry(slot.period)?));
        }
        let Some((_, Some(entry))) = &self.period else {
            return Ok(Ok(()));
        };
        let known = entry.slots().get(usize::from(slot.thread)).copied().flatten();
        let (known, is_lost) = (known.map(|known| known.id), entry.is_lost());
        if known != Some(block.id()) {
            let id = block.id();
            return Ok(Err(BlockFault::Contradicts { id, slot, known }));
        }
        if !is_lost && !self.is_indexed(block)? {
            self.unindexed.insert(self.store.parameters().segment_of(slot.period));
        }
        Ok(Ok(()))
    }

    /// Whether the block is found by what the indexes should have of it. What is not held need not be indexed.
    fn is_indexed(&self, block: &CheckedBlock) -> Result<bool, StoreError> {
        let (scopes, slot) = (self.store.indexes(), block.slot());
        let by_id = scopes.blocks == IndexScope::None || undamaged(self.store.find_block(&block.id()))? == Some(slot);
        let operations = || -> Result<bool, StoreError> {
            let Ok(view) = block.record().view(self.store.parameters().thread_count) else {
                return Ok(true);
            };
            for id in view.operation_ids() {
                if undamaged(self.store.find_operation(&id))?.is_none() {
                    return Ok(false);
                }
            }
            Ok(true)
        };
        let indexed = by_id && (scopes.operations == IndexScope::None || operations()?);
        Ok(indexed || !matches!(self.store.slot(slot), Ok(SlotRead::Block(_))))
    }

    fn entry(&self, period: u64) -> Result<Option<PeriodEntry>, StoreError> {
        let parameters = self.store.parameters();
        if period < parameters.first_period {
            return Ok(None);
        }
        let read = match self.store.segment_root(parameters.segment_of(period)) {
            Ok(Some(_)) => self.store.entry(period),
            Ok(None) => return Ok(None),
            Err(error) => Err(error),
        };
        match read {
            Ok(EntryRead::Found(entry)) => Ok(Some(entry)),
            Ok(_) | Err(StoreError::Damaged(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// `None` also for what is damaged.
fn undamaged<T>(found: Result<Option<T>, StoreError>) -> Result<Option<T>, StoreError> {
    match found {
        Err(StoreError::Damaged(_)) => Ok(None),
        found => found,
    }
}

/// A segment whose chunks are cut again.
struct Cutting {
    segment: u64,
    root: SegmentRoot,
    /// Its table; `None` if that is damaged, and made again from the file.
    table: Option<Arc<SegmentTable>>,
    /// Chunks that are damaged or missing.
    wanted: BTreeSet<u32>,
    stream: SegmentStream,
    /// Blocks of the period that joins next: index = thread.
    slots: Vec<Option<BlockRecord>>,
}

/// Goes along with the blocks of a file, in their order.
pub(super) struct SegmentRepair {
    store: Arc<SegmentStore>,
    /// Segments that are indexed again, with their chunks.
    unindexed: BTreeSet<u64>,
    /// The segment that was looked at last.
    looked_at: Option<u64>,
    cutting: Option<Cutting>,
}

impl SegmentRepair {
    pub(super) fn new(store: Arc<SegmentStore>, unindexed: BTreeSet<u64>) -> Self {
        Self {
            store,
            unindexed,
            looked_at: None,
            cutting: None,
        }
    }

    pub(super) fn store(&self) -> &Arc<SegmentStore> {
        &self.store
    }

    /// The next block of the file. Returns the chunks that are held again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn add(&mut self, block: &CheckedBlock) -> Result<u64, StoreError> {
        let slot = block.slot();
        let segment = self.store.parameters().segment_of(slot.period);
        let mut repaired = 0;
        if self.looked_at != Some(segment) {
            repaired += self.end()?;
            self.looked_at = Some(segment);
            self.cutting = self.look_at(segment)?;
        }
        let Some(mut cutting) = self.cutting.take() else {
            return Ok(repaired);
        };
        if cutting.advance(self.store.parameters(), slot.period) {
            if let Some(place) = cutting.slots.get_mut(usize::from(slot.thread)) {
                *place = Some(block.record().clone());
            }
            self.cutting = Some(cutting);
        }
        Ok(repaired)
    }

    /// The file ends, or another segment begins: what was cut is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub(super) fn end(&mut self) -> Result<u64, StoreError> {
        let Some(mut cutting) = self.cutting.take() else {
            return Ok(0);
        };
        let end = self.store.periods_of(cutting.segment).end;
        if !cutting.advance(self.store.parameters(), end) {
            return Ok(0);
        }
        let Cutting {
            segment,
            root,
            table,
            mut wanted,
            stream,
            ..
        } = cutting;
        let Some(before) = SegmentRows::chain_end(&*self.store, segment)? else {
            return Ok(0);
        };
        let Ok((cut, chunks)) = stream.finish(before.previous, before.bytes_before) else {
            return Ok(0);
        };
        if cut.root() != root {
            return Ok(0);
        }
        if table.is_none() {
            self.store.put_tables(&[(cut.clone(), root)])?;
            wanted = self.unusable_chunks(&cut)?;
        }
        for position in wanted.iter().filter_map(|index| ChunkPosition::new(segment, *index)) {
            self.store.drop_chunk(position, OwnChanges::default())?;
        }
        let chunks = chunks.into_iter().map(|chunk| (chunk, Keep::Holder)).collect();
        self.store.put_closing(&cut, chunks, Packing::Packed)?;
        Ok(wanted.len() as u64)
    }

    /// Reads every chunk of a closed segment: what is not as the table says is wanted.
    fn look_at(&mut self, segment: u64) -> Result<Option<Cutting>, StoreError> {
        let Some(root) = self.store.segment_root(segment)? else {
            return Ok(None);
        };
        let table = undamaged(SegmentStore::table(&self.store, segment))?;
        let wanted = match &table {
            Some(table) if self.unindexed.contains(&segment) => (0..table.header().chunk_count()).collect(),
            Some(table) => self.unusable_chunks(table)?,
            None => BTreeSet::new(),
        };
        let parameters = self.store.parameters();
        Ok((table.is_none() || !wanted.is_empty()).then(|| Cutting {
            segment,
            root,
            table,
            wanted,
            stream: SegmentStream::new(parameters, segment, IndexedObjects::None),
            slots: vec![None; usize::from(parameters.thread_count)],
        }))
    }

    /// Chunks that are damaged or not held.
    fn unusable_chunks(&self, table: &SegmentTable) -> Result<BTreeSet<u32>, StoreError> {
        let header = table.header();
        let mut unusable = BTreeSet::new();
        for position in (0..header.chunk_count()).filter_map(|index| ChunkPosition::new(header.segment, index)) {
            match self.store.check_chunk(position) {
                Ok(true) => {}
                Ok(false) | Err(StoreError::Damaged(_)) => drop(unusable.insert(position.index.0)),
                Err(error) => return Err(error),
            }
        }
        Ok(unusable)
    }
}

impl Cutting {
    /// Joins what is whole: every period before `period`. `false`: a period of the file is not the one of the table.
    fn advance(&mut self, parameters: &ArchiveParameters, period: u64) -> bool {
        while self.stream.next_period() < period {
            let next = self.stream.next_period();
            let listed = self.table.as_ref().map(|table| table.period(next));
            let Some(encoded) = self.encode(parameters, next, listed) else {
                return false;
            };
            match (self.stream.push(&encoded), listed) {
                (Ok(joined), Some(listed)) if Some(joined.row) == listed => {}
                (Ok(_), None) => {}
                _ => return false,
            }
            self.slots.iter_mut().for_each(|slot| *slot = None);
        }
        true
    }

    /// The period that joins next: whole, or lost with the same ids, whichever the table lists. Without a table it is taken to be
    /// whole, and the root of the segment decides.
    fn encode(
        &self,
        parameters: &ArchiveParameters,
        period: u64,
        listed: Option<Option<TablePeriod>>,
    ) -> Option<EncodedPeriod> {
        let records: Vec<Option<&BlockRecord>> = self.slots.iter().map(Option::as_ref).collect();
        let whole = EncodedPeriod::whole(parameters, period, &records).ok()?;
        let Some(listed) = listed else {
            return Some(whole);
        };
        let root = listed?.root;
        if whole.entry.root(parameters.chain_id, period) == root {
            return Some(whole);
        }
        let ids: Vec<_> = whole.entry.ids().collect();
        let lost = PeriodEntry::lost(&ids).filter(|lost| lost.root(parameters.chain_id, period) == root)?;
        Some(EncodedPeriod::lost(period, lost))
    }
}
