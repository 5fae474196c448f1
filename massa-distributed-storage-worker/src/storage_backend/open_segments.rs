//! Segments whose blocks are rows: open ones, and the one that was closed last.
//!
//! A block row is written as the block arrives. When a period joins the stream of its segment a row says so, with entry,
//! length and root; a chunk that the stream has filled leaves a row with its page roots. So after a restart the stream goes
//! on with the blocks of the last, unfinished chunk alone. Ids and lengths of all rows are in memory: what exists is known
//! without asking the disk, and only that is deleted.
//!
//! Block rows of a closed segment stay until the next one is closed, so that holders can still get them.

use super::index::{IndexScope, Indexed};
use super::open_memory::{JoinedInfo, OpenMemory};
use super::rows::{self, JoinedRow, SlotRow, StreamChunkRow};
use super::{counters, Counters, Damage, RowBatch, SegmentStore, StoreError, View};
use crate::storage_backend::database::writer::Durability;
use crate::storage_backend::keys::unseal;
use massa_db_exports::{STORAGE_MISSING_CF, STORAGE_PENDING_CF, STORAGE_STREAM_CF};
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::record::{block_id_bytes, BlockRecord};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, PeriodRoot};
use massa_hash::Hash;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::ops::Range;

/// Bytes of records that are read for them when the store is opened.
const OPERATIONS_READ_BYTES: u64 = 32 << 20;

/// A period that joined the stream of its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedPeriod {
    /// The period.
    pub period: u64,
    /// Its entry.
    pub entry: PeriodEntry,
    /// Its bytes, entry included.
    pub length: u32,
    /// Its root.
    pub root: PeriodRoot,
    /// Operations of its blocks.
    pub operations: u32,
}

/// A chunk that the stream of an open segment has filled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamChunk {
    /// Its position.
    pub position: ChunkPosition,
    /// Content address.
    pub id: ChunkId,
    /// Root of each page.
    pub page_roots: Vec<Digest>,
}

/// Rows that are written as blocks arrive and periods join: all of them or none.
#[derive(Clone, Debug, Default)]
pub struct OpenRows<'a> {
    /// Blocks, each checked against its slot by the caller.
    pub blocks: Vec<(Slot, &'a BlockRecord)>,
    /// Slots without a block.
    pub misses: Vec<Slot>,
    /// (thread, parent that is not known, period of the child).
    pub links: Vec<(u8, BlockId, u64)>,
    /// Links that were answered.
    pub resolved_links: Vec<(u8, BlockId)>,
    /// Slots whose block is missing, with its id where that is known.
    pub missing: Vec<(Slot, Option<BlockId>)>,
    /// Periods that join the stream, in order.
    pub joined: Vec<JoinedPeriod>,
    /// Chunks that the stream has filled.
    pub chunks: Vec<StreamChunk>,
}

/// An open segment, or the one that was closed last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenSegment {
    /// The segment.
    pub segment: u64,
    /// Its blocks that are rows.
    pub blocks: u32,
    /// Bytes of their records.
    pub record_bytes: u64,
    /// Slots known to have no block.
    pub misses: u32,
    /// Periods in the stream.
    pub joined_periods: u32,
    /// Bytes of the stream.
    pub stream_bytes: u64,
}

/// What a batch of open rows changes in memory, once it is written.
struct Prepared {
    slots: Vec<(Slot, SlotRow, Vec<OperationId>)>,
    joined: Vec<(u64, JoinedInfo)>,
}

impl OpenMemory {
    fn apply(&mut self, prepared: &Prepared) {
        for (slot, row, operations) in &prepared.slots {
            self.set(*slot, *row);
            self.operations.add(*slot, operations.iter().copied());
        }
        self.joined.extend(prepared.joined.iter().copied());
    }
}

fn info_of(row: &JoinedRow, entry: &PeriodEntry) -> JoinedInfo {
    JoinedInfo {
        length: row.length,
        root: row.root,
        operations: row.operations,
        blocks: entry.block_count() as u32,
        lost: entry.is_lost(),
    }
}

impl SegmentStore {
    /// Writes rows of open segments in one batch. A row that is there already is written again, and counted once.
    ///
    /// # Errors
    /// [`StoreError::Record`] for a record that is no block of its slot; [`StoreError::Database`], also when the allocation has no
    /// room for blocks.
    pub fn put_open(&self, rows: &OpenRows<'_>, durability: Durability) -> Result<(), StoreError> {
        let records = rows.blocks.iter().map(|(_, record)| record.as_bytes().len() as u64);
        if !rows.blocks.is_empty() {
            self.check_block_space(records.sum())?;
        }
        let prepare = |view: &View<'_>, batch: &mut RowBatch, counters: &mut Counters| {
            let mut prepared = Prepared {
                slots: Vec::with_capacity(rows.blocks.len() + rows.misses.len()),
                joined: Vec::new(),
            };
            for (slot, record) in &rows.blocks {
                self.put_block(batch, *slot, record, &mut prepared)?;
                view.settle(batch, counters, *slot)?;
            }
            for slot in &rows.misses {
                prepared.slots.push((*slot, SlotRow::Miss, Vec::new()));
                view.settle(batch, counters, *slot)?;
            }
            self.put_slots(batch, counters, &prepared)?;
            view.put_missing(batch, counters, rows)?;
            self.put_joined(batch, counters, &rows.joined, &mut prepared)?;
            put_stream_chunks(batch, &rows.chunks)?;
            Ok(prepared)
        };
        self.change_open(durability, prepare, OpenMemory::apply)?;
        Ok(())
    }

    fn put_block(
        &self,
        batch: &mut RowBatch,
        slot: Slot,
        record: &BlockRecord,
        prepared: &mut Prepared,
    ) -> Result<(), StoreError> {
        let threads = self.parameters.thread_count;
        let view = record.view(threads).map_err(StoreError::record(slot))?;
        let row = SlotRow::Block {
            id: *view.block_id().get_hash().to_bytes(),
            length: record.as_bytes().len() as u32,
            operations: record.operation_count() as u32,
        };
        let key = slot.to_bytes_key().to_vec();
        batch.put_sealed(STORAGE_PENDING_CF, key, record.as_bytes().to_vec());
        Indexed::of_record(record, threads, &self.indexes, IndexScope::All)
            .map_err(StoreError::record(slot))?
            .put(batch, slot);
        let in_memory = self.indexes.operations == IndexScope::Held;
        let operations = if in_memory {
            view.operation_ids().collect()
        } else {
            Vec::new()
        };
        prepared.slots.push((slot, row, operations));
        Ok(())
    }

    /// Rows and counters of slots, against what is known of them.
    fn put_slots(&self, batch: &mut RowBatch, counters: &mut Counters, prepared: &Prepared) -> Result<(), StoreError> {
        let open = self.open.read();
        for (slot, row, _) in &prepared.slots {
            if let Some(SlotRow::Block { length, .. }) = open.slots.get(slot) {
                counters::take(&mut counters.pending_blocks, 1);
                counters::take(&mut counters.pending_bytes, u64::from(*length));
                if *row == SlotRow::Miss {
                    batch.delete(STORAGE_PENDING_CF, slot.to_bytes_key().to_vec());
                }
            }
            if let SlotRow::Block { length, .. } = row {
                counters.pending_blocks += 1;
                counters.pending_bytes += u64::from(*length);
            }
            batch.put_row(STORAGE_STREAM_CF, rows::slot_key(*slot).to_vec(), row)?;
        }
        Ok(())
    }

    fn put_joined(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        joined: &[JoinedPeriod],
        prepared: &mut Prepared,
    ) -> Result<(), StoreError> {
        let open = self.open.read();
        for period in joined {
            let row = JoinedRow {
                length: period.length,
                root: period.root.to_bytes(),
                operations: period.operations,
                entry: period.entry.to_bytes(),
            };
            batch.put_row(STORAGE_STREAM_CF, rows::joined_key(period.period).to_vec(), &row)?;
            counters.joined_periods += u64::from(!open.joined.contains_key(&period.period));
            prepared.joined.push((period.period, info_of(&row, &period.entry)));
        }
        Ok(())
    }

    /// Reads into memory what is known of open segments: costs their rows, without the blocks but for the newest. Damaged rows
    /// are left out; returns how many there are.
    pub(crate) fn load_open(&self) -> Result<u64, StoreError> {
        let threads = self.parameters.thread_count;
        let (memory, damaged) = self.view(|view| {
            let (mut memory, mut damaged) = (OpenMemory::default(), 0);
            view.scan(STORAGE_STREAM_CF, &[rows::JOINED], |key, row| {
                let Some(period) = joined_period(key) else {
                    return Ok(false);
                };
                match parse_joined(period, key, row, threads) {
                    Ok((row, entry)) => drop(memory.joined.insert(period, info_of(&row, &entry))),
                    Err(_) => damaged += 1,
                }
                Ok(true)
            })?;
            view.scan(STORAGE_STREAM_CF, &[rows::SLOT], |key, row| {
                let Some(slot) = rows::parse_slot_key(key) else {
                    return Ok(false);
                };
                match parse_stream(key, row, &|damage| damage.at(slot)) {
                    Ok(row) => memory.set(slot, row),
                    Err(_) => damaged += 1,
                }
                Ok(true)
            })?;
            view.load_operations(&mut memory)?;
            Ok((memory, damaged))
        })?;
        *self.open.write() = memory;
        Ok(damaged)
    }

    /// What is open, in order, without reading a row. The segment that was closed last is listed while its blocks are rows.
    pub fn open_segments(&self) -> Vec<OpenSegment> {
        let open = self.open.read();
        let segments = open.segments(self.parameters.segment_periods);
        segments
            .into_iter()
            .map(|segment| self.open_segment(&open, segment))
            .collect()
    }

    fn open_segment(&self, open: &OpenMemory, segment: u64) -> OpenSegment {
        let periods = self.periods_of(segment);
        let mut found = OpenSegment {
            segment,
            ..OpenSegment::default()
        };
        for (_, row) in open.slots_of(&periods) {
            match row {
                SlotRow::Miss => found.misses += 1,
                SlotRow::Block { length, .. } => {
                    found.blocks += 1;
                    found.record_bytes += u64::from(length);
                }
            }
        }
        for (_, info) in open.joined.range(periods) {
            found.joined_periods += 1;
            found.stream_bytes += u64::from(info.length);
        }
        found
    }

    /// The archived periods of a segment.
    pub fn periods_of(&self, segment: u64) -> Range<u64> {
        let start = self.parameters.segment_start(segment);
        start..start + self.parameters.segment_length(segment)
    }

    /// What is known of the slots of `periods`, from memory: `None` is a miss.
    pub fn open_slots(&self, periods: Range<u64>) -> Vec<(Slot, Option<BlockId>)> {
        let open = self.open.read();
        let slots = open.slots_of(&periods);
        slots.map(|(slot, row)| (slot, block_of(&row))).collect()
    }

    /// The slot of a block whose record is a row, from memory.
    pub fn find_open_block(&self, id: &BlockId) -> Option<Slot> {
        self.open.read().ids.get(id.get_hash().to_bytes()).copied()
    }

    /// Where an operation of an open segment may be, from memory; its block is still to be compared.
    pub(crate) fn find_open_operation(&self, id: &OperationId) -> Option<(Slot, u32)> {
        let open = self.open.read();
        open.operations.find(id)
    }

    /// The record of a block whose segment is open or was closed last; `None` if it is no row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn open_block(&self, slot: Slot) -> Result<Option<BlockRecord>, StoreError> {
        self.view(|view| view.open_block(slot))
    }

    /// A joined period whose segment is open or was closed last; `None` if it is no row.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn joined_period(&self, period: u64) -> Result<Option<JoinedPeriod>, StoreError> {
        self.view(|view| view.joined_period(period))
    }

    /// Chunks that the stream of an open segment has filled, in order.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn stream_chunks(&self, segment: u64) -> Result<Vec<StreamChunk>, StoreError> {
        self.view(|view| view.stream_chunks(segment))
    }

    /// Links that wait for a parent: (thread, parent, period of the child).
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn links(&self) -> Result<Vec<(u8, BlockId, u64)>, StoreError> {
        let mut links = Vec::new();
        self.view(|view| {
            view.scan(STORAGE_MISSING_CF, &[1], |key, row| {
                let damage = || Damage::new(STORAGE_MISSING_CF, "link is malformed");
                let value = unseal(key, row).ok_or_else(damage)?;
                let (thread, parent) = rows::parse_link_key(key).ok_or_else(damage)?;
                let period = value.try_into().map(u64::from_le_bytes).map_err(|_| damage())?;
                links.push((thread, parent, period));
                Ok(true)
            })
        })?;
        Ok(links)
    }

    /// Slots whose block is missing, with its id where that is known.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub fn missing_slots(&self) -> Result<Vec<(Slot, Option<BlockId>)>, StoreError> {
        let mut missing = Vec::new();
        self.view(|view| {
            view.scan(STORAGE_MISSING_CF, &[0], |key, row| {
                let damage = || Damage::new(STORAGE_MISSING_CF, "row is malformed");
                let [0, slot @ ..] = key else { return Ok(false) };
                let slot = Slot::from_bytes_key(slot.try_into().map_err(|_| damage())?);
                let value = unseal(key, row).ok_or_else(|| damage().at(slot))?;
                missing.push((slot, rows::parse_block_id(value)));
                Ok(true)
            })
        })?;
        Ok(missing)
    }
}

fn block_of(row: &SlotRow) -> Option<BlockId> {
    match row {
        SlotRow::Miss => None,
        SlotRow::Block { id, .. } => Some(BlockId::new(Hash::from_bytes(id))),
    }
}

fn put_stream_chunks(batch: &mut RowBatch, chunks: &[StreamChunk]) -> Result<(), StoreError> {
    for chunk in chunks {
        let row = StreamChunkRow {
            id: chunk.id.to_bytes(),
            page_roots: chunk.page_roots.clone(),
        };
        let key = rows::stream_chunk_key(chunk.position).to_vec();
        batch.put_row(STORAGE_STREAM_CF, key, &row)?;
    }
    Ok(())
}

fn joined_period(key: &[u8]) -> Option<u64> {
    let [rows::JOINED, period @ ..] = key else { return None };
    rows::parse_segment_key(period)
}

fn parse_stream<T: super::Row>(key: &[u8], row: &[u8], at: &dyn Fn(Damage) -> Damage) -> Result<T, StoreError> {
    let damage = |reason: String| at(Damage::new(STORAGE_STREAM_CF, reason));
    let value = unseal(key, row).ok_or_else(|| damage("row does not match its checksum".into()))?;
    Ok(super::own::decode(value).map_err(damage)?)
}

fn parse_joined(period: u64, key: &[u8], row: &[u8], threads: u8) -> Result<(JoinedRow, PeriodEntry), StoreError> {
    let at = |damage: Damage| damage.in_period(period);
    let row: JoinedRow = parse_stream(key, row, &at)?;
    let entry = PeriodEntry::from_bytes(&row.entry, threads);
    let entry = entry.map_err(|error| at(Damage::new(STORAGE_STREAM_CF, error.to_string())))?;
    Ok((row, entry))
}

impl View<'_> {
    /// A slot is settled: it is no longer missing.
    fn settle(&self, batch: &mut RowBatch, counters: &mut Counters, slot: Slot) -> Result<(), StoreError> {
        let key = rows::missing_key(slot);
        if self.raw(STORAGE_MISSING_CF, &key)?.is_some() {
            batch.delete(STORAGE_MISSING_CF, key.to_vec());
            counters::take(&mut counters.missing_slots, 1);
        }
        Ok(())
    }

    fn put_missing(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        rows: &OpenRows<'_>,
    ) -> Result<(), StoreError> {
        for (thread, parent, period) in &rows.links {
            let key = rows::link_key(*thread, parent).to_vec();
            batch.put_sealed(STORAGE_MISSING_CF, key, period.to_le_bytes().to_vec());
        }
        for (thread, parent) in &rows.resolved_links {
            let key = rows::link_key(*thread, parent);
            if self.raw(STORAGE_MISSING_CF, &key)?.is_some() {
                batch.delete(STORAGE_MISSING_CF, key.to_vec());
            }
        }
        let missing: BTreeMap<Slot, Option<BlockId>> = rows.missing.iter().copied().collect();
        for (slot, id) in &missing {
            let key = rows::missing_key(*slot).to_vec();
            counters.missing_slots += u64::from(self.raw(STORAGE_MISSING_CF, &key)?.is_none());
            let value = id.map_or_else(Vec::new, |id| block_id_bytes(&id).to_vec());
            batch.put_sealed(STORAGE_MISSING_CF, key, value);
        }
        Ok(())
    }

    /// The newest operations, as far as memory and a bounded number of reads go.
    fn load_operations(&self, memory: &mut OpenMemory) -> Result<(), StoreError> {
        if self.store.indexes.operations != IndexScope::Held {
            return Ok(());
        }
        let mut bytes = 0;
        let mut newest = Vec::new();
        for (slot, row) in memory.slots.iter().rev() {
            let SlotRow::Block { length, operations, .. } = row else {
                continue;
            };
            bytes += u64::from(*length);
            if bytes > OPERATIONS_READ_BYTES {
                break;
            }
            if *operations > 0 {
                newest.push(*slot);
            }
        }
        for slot in newest.into_iter().rev() {
            // A damaged record is found by whoever reads it; here it is only one that cannot be looked up.
            let Ok(Some(record)) = self.open_block(slot) else {
                continue;
            };
            if let Ok(view) = record.view(self.store.parameters.thread_count) {
                memory.operations.add(slot, view.operation_ids());
            }
        }
        Ok(())
    }

    pub(crate) fn open_block(&self, slot: Slot) -> Result<Option<BlockRecord>, StoreError> {
        let at = |damage: Damage| damage.at(slot);
        let Some(value) = self.sealed(STORAGE_PENDING_CF, &slot.to_bytes_key(), &at)? else {
            return Ok(None);
        };
        let record = BlockRecord::from_bytes(value);
        let record = record.map_err(|error| at(Damage::new(STORAGE_PENDING_CF, error.to_string())))?;
        Ok(Some(record))
    }

    pub(crate) fn slot_row(&self, slot: Slot) -> Result<Option<SlotRow>, StoreError> {
        self.row(STORAGE_STREAM_CF, &rows::slot_key(slot), &|damage| damage.at(slot))
    }

    pub(crate) fn joined_period(&self, period: u64) -> Result<Option<JoinedPeriod>, StoreError> {
        let key = rows::joined_key(period);
        let Some(row) = self.raw(STORAGE_STREAM_CF, &key)? else {
            return Ok(None);
        };
        let (row, entry) = parse_joined(period, &key, &row, self.store.parameters.thread_count)?;
        Ok(Some(JoinedPeriod {
            period,
            entry,
            length: row.length,
            root: PeriodRoot::from_bytes(row.root),
            operations: row.operations,
        }))
    }

    fn stream_chunks(&self, segment: u64) -> Result<Vec<StreamChunk>, StoreError> {
        let mut chunks = Vec::new();
        self.for_each_stream_chunk(segment, |position, key, row| {
            let row: StreamChunkRow = parse_stream(key, row, &|damage| damage.in_chunk(position))?;
            chunks.push(StreamChunk {
                position,
                id: ChunkId::from_bytes(row.id),
                page_roots: row.page_roots,
            });
            Ok(())
        })?;
        Ok(chunks)
    }

    fn for_each_stream_chunk(
        &self,
        segment: u64,
        mut action: impl FnMut(ChunkPosition, &[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut start = vec![rows::STREAM_CHUNK];
        start.extend(rows::segment_key(segment));
        self.scan(STORAGE_STREAM_CF, &start, |key, row| {
            let position = key.get(1..).and_then(rows::parse_chunk_key);
            match position.filter(|position| position.segment == segment) {
                Some(position) => action(position, key, row).map(|()| true),
                None => Ok(false),
            }
        })
    }

    /// Deletes every row that a segment had while it was open.
    pub(crate) fn delete_open_rows(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        segment: u64,
    ) -> Result<(), StoreError> {
        let periods = self.store.periods_of(segment);
        let open = self.store.open.read();
        for (slot, row) in open.slots_of(&periods) {
            batch.delete(STORAGE_STREAM_CF, rows::slot_key(slot).to_vec());
            if let SlotRow::Block { length, .. } = row {
                batch.delete(STORAGE_PENDING_CF, slot.to_bytes_key().to_vec());
                counters::take(&mut counters.pending_blocks, 1);
                counters::take(&mut counters.pending_bytes, u64::from(length));
            }
        }
        for (period, _) in open.joined.range(periods.clone()) {
            batch.delete(STORAGE_STREAM_CF, rows::joined_key(*period).to_vec());
            counters::take(&mut counters.joined_periods, 1);
        }
        self.for_each_stream_chunk(segment, |_, key, _| {
            batch.delete(STORAGE_STREAM_CF, key.to_vec());
            Ok(())
        })?;
        self.delete_missing(batch, counters, &periods)
    }

    fn delete_missing(
        &self,
        batch: &mut RowBatch,
        counters: &mut Counters,
        periods: &Range<u64>,
    ) -> Result<(), StoreError> {
        let start = rows::missing_key(Slot::new(periods.start, 0));
        let end = rows::missing_key(Slot::new(periods.end, 0));
        self.scan(STORAGE_MISSING_CF, &start, |key, _| {
            if key >= &end[..] {
                return Ok(false);
            }
            batch.delete(STORAGE_MISSING_CF, key.to_vec());
            counters::take(&mut counters.missing_slots, 1);
            Ok(true)
        })
    }
}

/// Where an operation stands in a record, if it is there.
pub(crate) fn operation_in(record: &BlockRecord, threads: u8, id: &OperationId) -> Option<u32> {
    let view = record.view(threads).ok()?;
    let position = view.operation_ids().position(|listed| listed == *id)?;
    Some(position as u32)
}
