//! The store as the writer sees it, in memory: it counts what it is asked, and fails at a write that a test chooses.

use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::archive::rows::{
    ChainEnd, JoinedPeriod, OpenRows, OpenSlot, Packing, SegmentRows, StreamChunk, WriterRow,
};
use massa_distributed_storage_worker::chunking::segment::FinishedChunk;
use massa_distributed_storage_worker::storage_backend::database::writer::Durability;
use massa_distributed_storage_worker::storage_backend::Keep;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Why the memory store failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryError {
    #[error("no space left on the disk")]
    Full,
    #[error("row of slot {0} is damaged")]
    Damaged(Slot),
}

/// Whether the write that fails was carried out all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failing {
    NotWritten,
    Written,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub slots: BTreeMap<Slot, Option<(BlockId, u32)>>,
    pub blocks: BTreeMap<Slot, BlockRecord>,
    pub joined: BTreeMap<u64, JoinedPeriod>,
    pub stream: BTreeMap<(u64, u32), StreamChunk>,
    pub links: BTreeMap<(u8, BlockId), u64>,
    pub missing: BTreeMap<Slot, Option<BlockId>>,
    pub writer: WriterRow,
    pub tables: BTreeMap<u64, SegmentTable>,
    pub chunks: BTreeMap<(u64, u32), FinishedChunk>,
    /// What each of them is kept as.
    pub keeps: BTreeMap<(u64, u32), Keep>,
}

/// See the module.
pub struct MemoryRows {
    parameters: ArchiveParameters,
    state: Mutex<State>,
    pub damaged: Mutex<BTreeSet<Slot>>,
    failing: Mutex<Option<(u64, Failing)>>,
    pub reads: AtomicU64,
    pub writes: AtomicU64,
}

impl MemoryRows {
    pub fn new(parameters: &ArchiveParameters) -> Self {
        Self {
            parameters: parameters.clone(),
            state: Mutex::default(),
            damaged: Mutex::default(),
            failing: Mutex::default(),
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
        }
    }

    /// The write after `writes` more fails.
    pub fn fail_after(&self, writes: u64, how: Failing) {
        *self.failing.lock().unwrap() = Some((writes, how));
    }

    pub fn state(&self) -> State {
        self.state.lock().unwrap().clone()
    }

    fn read(&self) -> MutexGuard<'_, State> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.state.lock().unwrap()
    }

    fn write(&self, change: impl FnOnce(&mut State)) -> Result<(), MemoryError> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        let mut failing = self.failing.lock().unwrap();
        let mut state = self.state.lock().unwrap();
        match failing.take() {
            Some((0, Failing::NotWritten)) => return Err(MemoryError::Full),
            Some((0, Failing::Written)) => {
                change(&mut state);
                return Err(MemoryError::Full);
            }
            Some((writes, how)) => *failing = Some((writes - 1, how)),
            None => {}
        }
        change(&mut state);
        Ok(())
    }

    fn periods_of(&self, segment: u64) -> Range<u64> {
        let start = self.parameters.segment_start(segment);
        start..start + self.parameters.segment_length(segment)
    }

    fn end_rows(&self, state: &mut State, segment: u64) {
        let periods = self.periods_of(segment);
        state.slots.retain(|slot, _| !periods.contains(&slot.period));
        state.blocks.retain(|slot, _| !periods.contains(&slot.period));
        state.joined.retain(|period, _| !periods.contains(period));
        state.stream.retain(|(of, _), _| *of != segment);
    }
}

impl SegmentRows for MemoryRows {
    type Error = MemoryError;

    fn parameters(&self) -> &ArchiveParameters {
        &self.parameters
    }

    fn is_damage(&self, error: &MemoryError) -> bool {
        matches!(error, MemoryError::Damaged(_))
    }

    fn first_without_table(&self, from: u64) -> Result<u64, MemoryError> {
        let state = self.read();
        Ok((from..).find(|segment| !state.tables.contains_key(segment)).unwrap())
    }

    fn table(&self, segment: u64) -> Result<Option<SegmentTable>, MemoryError> {
        Ok(self.read().tables.get(&segment).cloned())
    }

    fn chain_end(&self, segment: u64) -> Result<Option<ChainEnd>, MemoryError> {
        if segment == self.parameters.first_segment() {
            return Ok(Some(ChainEnd {
                previous: [0; 32],
                bytes_before: 0,
            }));
        }
        let state = self.read();
        Ok(state.tables.get(&(segment - 1)).map(|table| ChainEnd {
            previous: table.root().to_bytes(),
            bytes_before: table.header().bytes_before + table.header().body_length,
        }))
    }

    fn open_segments(&self) -> Vec<u64> {
        let state = self.state.lock().unwrap();
        let periods = state
            .slots
            .keys()
            .map(|slot| slot.period)
            .chain(state.joined.keys().copied());
        let segments: BTreeSet<u64> = periods.map(|period| self.parameters.segment_of(period)).collect();
        segments.into_iter().collect()
    }

    fn open_slots(&self, periods: Range<u64>) -> Vec<OpenSlot> {
        let state = self.state.lock().unwrap();
        let range = Slot::new(periods.start, 0)..Slot::new(periods.end, 0);
        let slots = state.slots.range(range);
        slots
            .map(|(slot, block)| OpenSlot {
                slot: *slot,
                block: *block,
            })
            .collect()
    }

    fn open_block(&self, slot: Slot) -> Result<Option<BlockRecord>, MemoryError> {
        if self.damaged.lock().unwrap().contains(&slot) {
            return Err(MemoryError::Damaged(slot));
        }
        Ok(self.read().blocks.get(&slot).cloned())
    }

    fn joined_period(&self, period: u64) -> Result<Option<JoinedPeriod>, MemoryError> {
        Ok(self.read().joined.get(&period).cloned())
    }

    fn stream_chunks(&self, segment: u64) -> Result<Vec<StreamChunk>, MemoryError> {
        let state = self.read();
        let chunks = state.stream.range((segment, 0)..(segment + 1, 0));
        Ok(chunks.map(|(_, chunk)| chunk.clone()).collect())
    }

    fn links(&self) -> Result<Vec<(u8, BlockId, u64)>, MemoryError> {
        let state = self.read();
        Ok(state
            .links
            .iter()
            .map(|((thread, id), child)| (*thread, *id, *child))
            .collect())
    }

    fn missing_slots(&self) -> Result<Vec<(Slot, Option<BlockId>)>, MemoryError> {
        Ok(self.read().missing.iter().map(|(slot, id)| (*slot, *id)).collect())
    }

    fn writer_row(&self) -> Result<WriterRow, MemoryError> {
        Ok(self.read().writer.clone())
    }

    fn put_writer_row(&self, row: &WriterRow) -> Result<(), MemoryError> {
        self.write(|state| state.writer = row.clone())
    }

    fn put_open(&self, rows: &OpenRows<'_>, _durability: Durability) -> Result<(), MemoryError> {
        let threads = self.parameters.thread_count;
        self.write(|state| {
            for (slot, record) in &rows.blocks {
                let id = record.view(threads).unwrap().block_id();
                state.slots.insert(*slot, Some((id, record.as_bytes().len() as u32)));
                state.blocks.insert(*slot, (*record).clone());
                state.missing.remove(slot);
                self.damaged.lock().unwrap().remove(slot);
            }
            for slot in &rows.misses {
                state.slots.insert(*slot, None);
                state.blocks.remove(slot);
                state.missing.remove(slot);
            }
            let links = rows.links.iter().map(|(thread, id, child)| ((*thread, *id), *child));
            state.links.extend(links);
            for link in &rows.resolved_links {
                state.links.remove(link);
            }
            state.missing.extend(rows.missing.iter().copied());
            let joined = rows.joined.iter().map(|joined| (joined.period, joined.clone()));
            state.joined.extend(joined);
            for chunk in &rows.chunks {
                let key = (chunk.position.segment, chunk.position.index.0);
                state.stream.insert(key, chunk.clone());
            }
        })
    }

    fn put_closing(
        &self,
        table: &SegmentTable,
        chunks: Vec<(FinishedChunk, Keep)>,
        _: Packing,
    ) -> Result<(), MemoryError> {
        let segment = table.header().segment;
        self.write(|state| {
            for (chunk, keep) in chunks {
                assert_eq!(table.chunk(chunk.index), Some(chunk.row));
                state.keeps.insert((segment, chunk.index), keep);
                state.chunks.insert((segment, chunk.index), chunk);
            }
        })
    }

    fn close(&self, table: &SegmentTable) -> Result<u32, MemoryError> {
        let segment = table.header().segment;
        self.write(|state| {
            let joined = self.periods_of(segment).zip(table.periods());
            for (period, row) in joined {
                assert_eq!(
                    (state.joined[&period].length, state.joined[&period].root),
                    (row.length, row.root)
                );
            }
            state.tables.insert(segment, table.clone());
            if let Some(before) = segment.checked_sub(1) {
                self.end_rows(state, before);
            }
        })?;
        let held = self.state.lock().unwrap();
        let held = held.chunks.range((segment, 0)..(segment + 1, 0)).count();
        Ok(held as u32)
    }

    fn put_tables(&self, tables: &[SegmentTable]) -> Result<(), MemoryError> {
        self.write(|state| {
            for table in tables {
                let segment = table.header().segment;
                assert!(state.tables.insert(segment, table.clone()).is_none());
                self.end_rows(state, segment);
            }
        })
    }

    fn replace_tables(&self, table: &SegmentTable, chained: &[SegmentTable]) -> Result<(), MemoryError> {
        self.write(|state| {
            let segment = table.header().segment;
            state
                .chunks
                .retain(|(of, index), chunk| *of != segment || table.chunk(*index) == Some(chunk.row));
            self.end_rows(state, segment);
            for table in std::iter::once(table).chain(chained) {
                assert!(state.tables.insert(table.header().segment, table.clone()).is_some());
            }
        })
    }

    fn drop_open(&self, segment: u64) -> Result<(), MemoryError> {
        self.write(|state| self.end_rows(state, segment))
    }

    fn sync(&self) -> Result<(), MemoryError> {
        Ok(())
    }
}
