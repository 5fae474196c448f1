//! Chunks of closed segments that are damaged or missing, cut from a file again.
//!
//! The table decides: a period of the file counts when its root is the one that the table lists, and a chunk is only held when it
//! is the one that the table lists. A segment of which the file has not every period is left to the network.

use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::ChunkPosition;
use massa_distributed_storage_worker::archive::ingest::CheckedBlock;
use massa_distributed_storage_worker::archive::rows::SegmentRows;
use massa_distributed_storage_worker::chunking::objects::IndexedObjects;
use massa_distributed_storage_worker::chunking::segment::SegmentStream;
use massa_distributed_storage_worker::segment_store::{OwnChanges, SegmentStore, StoreError};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A segment whose chunks are cut again.
struct Cutting {
    table: Arc<SegmentTable>,
    /// Chunks that are damaged or missing.
    wanted: BTreeSet<u32>,
    stream: SegmentStream,
    /// Blocks of the period that joins next: index = thread.
    slots: Vec<Option<BlockRecord>>,
}

/// Goes along with the blocks of a file, in their order.
pub struct SegmentRepair {
    store: Arc<SegmentStore>,
    /// The first segment that was open when the import began: those before are looked after here.
    first_open: u64,
    /// The segment that was looked at last.
    looked_at: Option<u64>,
    cutting: Option<Cutting>,
}

impl SegmentRepair {
    /// Looks after the segments before `first_open`.
    pub fn new(store: Arc<SegmentStore>, first_open: u64) -> Self {
        Self {
            store,
            first_open,
            looked_at: None,
            cutting: None,
        }
    }

    /// The next block of the file. Returns the chunks that are held again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn add(&mut self, block: &CheckedBlock) -> Result<u64, StoreError> {
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
        if self.advance(&mut cutting, slot.period) {
            cutting.slots[usize::from(slot.thread)] = Some(block.record().clone());
            self.cutting = Some(cutting);
        }
        Ok(repaired)
    }

    /// The file ends, or another segment begins: what was cut is held.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn end(&mut self) -> Result<u64, StoreError> {
        let Some(mut cutting) = self.cutting.take() else {
            return Ok(0);
        };
        let end = cutting.table.header().end_period();
        if !self.advance(&mut cutting, end) {
            return Ok(0);
        }
        let Cutting {
            table, wanted, stream, ..
        } = cutting;
        let header = *table.header();
        let Ok((cut, chunks)) = stream.finish(header.previous, header.bytes_before) else {
            return Ok(0);
        };
        if cut.root() != table.root() {
            return Ok(0);
        }
        for index in &wanted {
            let position = ChunkPosition::new(header.segment, *index).expect("the table was checked");
            self.store.drop_chunk(position, OwnChanges::default())?;
        }
        self.store.put_closing(&table, chunks)?;
        Ok(wanted.len() as u64)
    }

    /// Reads every chunk of a closed segment: what is not as the table says is wanted.
    fn look_at(&self, segment: u64) -> Result<Option<Cutting>, StoreError> {
        if segment >= self.first_open {
            return Ok(None);
        }
        let Some(table) = SegmentStore::table(&self.store, segment)? else {
            return Ok(None);
        };
        let mut wanted = BTreeSet::new();
        for index in 0..table.header().chunk_count() {
            let position = ChunkPosition::new(segment, index).expect("the table was checked");
            match self.store.check_chunk(position) {
                Ok(true) => {}
                Ok(false) | Err(StoreError::Damaged(_)) => drop(wanted.insert(index)),
                Err(error) => return Err(error),
            }
        }
        let parameters = self.store.parameters();
        Ok((!wanted.is_empty()).then(|| Cutting {
            stream: SegmentStream::new(parameters, segment, IndexedObjects::None),
            slots: vec![None; usize::from(parameters.thread_count)],
            table,
            wanted,
        }))
    }

    /// Joins what is whole: every period before `period`. `false`: a period of the file is not the one of the table.
    fn advance(&self, cutting: &mut Cutting, period: u64) -> bool {
        while cutting.stream.next_period() < period {
            let next = cutting.stream.next_period();
            let records: Vec<Option<&BlockRecord>> = cutting.slots.iter().map(Option::as_ref).collect();
            let Ok(encoded) = EncodedPeriod::whole(self.store.parameters(), next, &records) else {
                return false;
            };
            let Ok(joined) = cutting.stream.push(&encoded) else {
                return false;
            };
            if cutting.table.period(next) != Some(joined.row) {
                return false;
            }
            cutting.slots.iter_mut().for_each(|slot| *slot = None);
        }
        true
    }
}
