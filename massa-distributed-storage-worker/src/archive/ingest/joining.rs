//! From complete periods to the streams of their segments, and back from the rows after a start.

use super::in_memory::Kept;
use super::{Ingest, IngestError, Outcome, Progress};
use crate::archive::missing::is_unknown;
use crate::archive::rows::{JoinedPeriod, OpenRows, SegmentRows, StreamChunk, WriterRow};
use crate::archive::slots::{first_borders, Border, Settled, SlotTracker};
use crate::chunking::objects::IndexedObjects;
use crate::chunking::segment::{first_unfinished, Joined, SegmentStream};
use crate::storage_backend::database::writer::Durability;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::period::EncodedPeriod;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::TablePeriod;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Streams in memory, with up to a chunk of bytes each. More segments than this are open only behind several gaps; a stream that
/// was let go is taken up from its rows.
const STREAMS_MAX: usize = 4;

/// A period that joined the stream of its segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchivedPeriod {
    /// The period.
    pub period: u64,
    /// Its segment.
    pub segment: u64,
    /// Its blocks, those of which only the id is known included.
    pub blocks: usize,
    /// Their operations.
    pub operations: usize,
    /// Bytes of the period.
    pub bytes: u32,
    /// Chunks of the segment that these touch.
    pub chunks: Range<u32>,
    /// The chunk that they end in, if it is not full.
    pub filling: Option<u32>,
    /// Chunks that they filled: number and id.
    pub finished: Vec<(u32, ChunkId)>,
    /// An accepted root says that its blocks are lost.
    pub lost: bool,
}

/// An open segment of which something is here.
#[derive(Default)]
pub(super) struct OpenState {
    /// Periods in its stream.
    pub(super) joined: u32,
    /// The stream, unless it was let go.
    pub(super) stream: Option<SegmentStream>,
    /// Bytes of records in rows, for each period that has not joined.
    waiting: BTreeMap<u64, u64>,
    /// Bytes of the records of joined periods.
    joined_bytes: u64,
    /// What was joined and cut, if nothing of the segment is written before it is closed.
    pub(super) kept: Option<Kept>,
}

impl OpenState {
    /// Bytes of its records.
    pub(super) fn bytes(&self) -> u64 {
        self.joined_bytes + self.waiting_bytes()
    }

    /// Bytes of the records of periods that have not joined.
    pub(super) fn waiting_bytes(&self) -> u64 {
        self.waiting.values().sum()
    }
}

impl<S: SegmentRows> Ingest<S> {
    pub(super) fn segment_periods(&self, segment: u64) -> Range<u64> {
        let parameters = self.store.parameters();
        let start = parameters.segment_start(segment);
        start..start + parameters.segment_length(segment)
    }

    pub(super) fn is_joined(&self, segment: u64) -> bool {
        let length = self.store.parameters().segment_length(segment);
        self.segments
            .get(&segment)
            .is_some_and(|state| u64::from(state.joined) == length)
    }

    pub(super) fn count_block(&mut self, slot: Slot, bytes: usize) {
        let segment = self.store.parameters().segment_of(slot.period);
        let first = self.segment_periods(segment).start;
        let state = self.segments.entry(segment).or_default();
        if slot.period < first + u64::from(state.joined) {
            return;
        }
        *state.waiting.entry(slot.period).or_default() += bytes as u64;
    }

    /// Joins what can join, segment by segment, and begins to close the first open one if it is whole.
    pub(super) fn advance_into(&mut self, progress: &mut Progress) -> Outcome<S, ()> {
        let parameters = self.store.parameters();
        let segments: BTreeSet<u64> = self.ready.iter().map(|period| parameters.segment_of(*period)).collect();
        for segment in segments {
            while let Some(period) = self.next_to_join(segment) {
                let archived = self.join(segment, period)?;
                progress.archived.push(archived);
            }
            self.forget_ready(segment);
            self.limit_streams(segment);
        }
        self.begin_closing()
    }

    /// The next period of a segment, if it is complete.
    fn next_to_join(&mut self, segment: u64) -> Option<u64> {
        let periods = self.segment_periods(segment);
        let state = self.segments.entry(segment).or_default();
        let next = periods.start + u64::from(state.joined);
        (next < periods.end && self.ready.contains(&next)).then_some(next)
    }

    /// A period that had joined may have lost a block, and be complete again.
    fn forget_ready(&mut self, segment: u64) {
        let first = self.segment_periods(segment).start;
        let next = first + u64::from(self.segments[&segment].joined);
        self.ready.retain(|period| !(first..next).contains(period));
    }

    fn join(&mut self, segment: u64, period: u64) -> Outcome<S, ArchivedPeriod> {
        let encoded = self.encode(period)?;
        let operations = encoded.signatures.len() - blocks_with_bytes(&encoded.entry);
        self.take_up_stream(segment)?;
        let in_memory = self.is_in_memory(segment);
        let state = self.segments.get_mut(&segment).expect("the stream was taken up");
        let stream = state.stream.as_mut().expect("the stream was taken up");
        let joined = stream.push(&encoded)?;
        let filled = stream.take_finished();
        let row = joined_row(&encoded, joined.row, operations);
        if in_memory {
            let kept = state.kept.get_or_insert_with(Kept::default);
            kept.joined.push(row);
            kept.chunks.extend(filled);
            self.count_joined(segment, period);
            return Ok(archived(segment, &encoded, &joined, operations));
        }
        let chunks = filled.into_iter().map(|chunk| StreamChunk {
            position: ChunkPosition::new(segment, chunk.index).expect("parameters bound positions"),
            id: chunk.row.id,
            page_roots: chunk.page_roots,
        });
        let rows = OpenRows {
            joined: vec![row],
            chunks: chunks.collect(),
            ..OpenRows::default()
        };
        // The blocks are acknowledged already; what follows from them can be computed again.
        if let Err(error) = self.store.put_open(&rows, Durability::Buffered) {
            state.stream = None;
            return Err(IngestError::Store(error));
        }
        self.count_joined(segment, period);
        self.held.remove_period(period);
        Ok(archived(segment, &encoded, &joined, operations))
    }

    fn count_joined(&mut self, segment: u64, period: u64) {
        let state = self.segments.entry(segment).or_default();
        state.joined += 1;
        state.joined_bytes += state.waiting.remove(&period).unwrap_or(0);
        self.ready.remove(&period);
    }

    /// A complete period, from memory or from its rows.
    pub(super) fn encode(&mut self, period: u64) -> Outcome<S, EncodedPeriod> {
        if let Some(slot) = self.tracker.first_missing(period) {
            return Err(IngestError::BlockRow { slot });
        }
        let slots = self.tracker.slots(period).unwrap_or_default().to_vec();
        if self.tracker.is_lost(period) {
            let ids: Vec<_> = slots.iter().map(|settled| block_of(*settled)).collect();
            let entry = PeriodEntry::lost(&ids).expect("a lost period has a block");
            return Ok(EncodedPeriod::lost(period, entry));
        }
        let mut read = Vec::new();
        for (settled, thread) in slots.iter().zip(0..) {
            let slot = Slot::new(period, thread);
            if block_of(*settled).is_some() && !self.held.records.contains_key(&slot) {
                read.push((thread, self.read_block(slot)?));
            }
        }
        let mut records: Vec<Option<&BlockRecord>> = vec![None; slots.len()];
        for (thread, record) in &read {
            records[usize::from(*thread)] = Some(record);
        }
        for (slot, record) in self
            .held
            .records
            .range(Slot::new(period, 0)..=Slot::new(period, u8::MAX))
        {
            records[usize::from(slot.thread)] = Some(record);
        }
        Ok(EncodedPeriod::whole(self.store.parameters(), period, &records)?)
    }

    /// The record of a settled block from its row. Without it the block is missing, and its period not complete.
    fn read_block(&mut self, slot: Slot) -> Outcome<S, BlockRecord> {
        match self.store.open_block(slot) {
            Ok(Some(record)) => return Ok(record),
            Ok(None) => {}
            Err(error) if self.store.is_damage(&error) => {}
            Err(error) => return Err(IngestError::Store(error)),
        }
        if let Some(id) = self.tracker.lose_block(slot) {
            self.ready.remove(&slot.period);
            self.note_missing(slot, Some(id));
            self.write_open()?;
        }
        Err(IngestError::BlockRow { slot })
    }

    /// Takes the stream of a segment up from its rows, unless it is in memory.
    pub(super) fn take_up_stream(&mut self, segment: u64) -> Outcome<S, ()> {
        if self.segments.entry(segment).or_default().stream.is_some() {
            return Ok(());
        }
        let mut stream = SegmentStream::new(self.store.parameters(), segment, IndexedObjects::None);
        let joined = self.segments[&segment].joined;
        if joined > 0 {
            let (rows, ids) = self.stream_rows(segment, joined)?;
            let (first, _) = first_unfinished(self.store.parameters().chunk_size, &rows);
            let start = self.segment_periods(segment).start;
            let periods = start + first as u64..start + u64::from(joined);
            let unfinished: Vec<EncodedPeriod> = periods.map(|period| self.encode(period)).collect::<Result<_, _>>()?;
            stream = stream.resume(rows, ids, &unfinished)?;
        }
        self.segments.entry(segment).or_default().stream = Some(stream);
        Ok(())
    }

    /// Lengths and roots of the joined periods of a segment, ids of its full chunks.
    pub(super) fn stream_rows(&self, segment: u64, joined: u32) -> Outcome<S, (Vec<TablePeriod>, Vec<ChunkId>)> {
        let start = self.segment_periods(segment).start;
        let mut rows = Vec::with_capacity(joined as usize);
        for period in start..start + u64::from(joined) {
            let row = self.store.joined_period(period).map_err(IngestError::Store)?;
            rows.extend(row.map(|row| TablePeriod {
                length: row.length,
                root: row.root,
            }));
        }
        let bytes: u64 = rows.iter().map(|row| u64::from(row.length)).sum();
        let full = bytes / u64::from(self.store.parameters().chunk_size);
        let chunks = self.store.stream_chunks(segment).map_err(IngestError::Store)?;
        // A write that was reported as failed may have been carried out: it is made again.
        let ids = chunks.into_iter().map(|chunk| chunk.id).take(full as usize);
        Ok((rows, ids.collect()))
    }

    /// Lets streams go when there are too many: those of whole segments, then the newest.
    fn limit_streams(&mut self, in_use: u64) {
        let live = |state: &OpenState| state.stream.is_some();
        let streams = self.segments.values().filter(|state| live(state)).count();
        let mut more = streams.saturating_sub(STREAMS_MAX);
        let next = self.next_segment;
        for (segment, state) in self.segments.iter_mut().rev() {
            // What is in memory only cannot be taken up from rows.
            let has_rows = state.kept.is_none();
            if more > 0 && state.stream.is_some() && has_rows && *segment != in_use && *segment != next {
                state.stream = None;
                more -= 1;
            }
        }
    }

    /// Goes back to what the store has.
    pub(super) fn restore(&mut self) -> Outcome<S, ()> {
        let first_segment = self.store.parameters().first_segment();
        let next_segment = self
            .store
            .first_without_table(first_segment)
            .map_err(IngestError::Store)?;
        let row = self.store.writer_row().map_err(IngestError::Store)?;
        let parameters = self.store.parameters();
        let first_open = parameters.segment_start(next_segment);
        let borders = borders_of(&row, next_segment, parameters);
        self.next_segment = next_segment;
        self.by_table = row
            .by_table
            .into_iter()
            .filter(|segment| *segment >= next_segment)
            .collect();
        self.tracker = SlotTracker::new(parameters.first_period, first_open, borders);
        self.held.clear();
        self.unwritten = super::Unwritten::default();
        self.segments.clear();
        self.ready.clear();
        self.missing.clear();
        self.stop_closing();
        self.rows_of.clear();
        self.border_looked_at = first_open;
        let open = self.store.open_segments();
        for segment in open.into_iter().filter(|segment| *segment >= next_segment) {
            self.restore_segment(segment)?;
        }
        self.restore_links(first_open)?;
        if self.tracker.borders().iter().any(is_unknown) {
            self.look_for_borders()?;
        }
        Ok(())
    }

    fn restore_segment(&mut self, segment: u64) -> Outcome<S, ()> {
        let is_closed = self.store.chain_end(segment + 1).map_err(IngestError::Store)?.is_some();
        if is_closed || self.by_table.contains(&segment) {
            return Ok(());
        }
        let periods = self.segment_periods(segment);
        let mut state = OpenState::default();
        for open in self.store.open_slots(periods.clone()) {
            let settled = open.block.map_or(Settled::Miss, |(id, _)| Settled::Block(id));
            self.tracker.restore_slot(open.slot, settled);
            self.rows_of.insert(segment);
            if let Some((_, bytes)) = open.block {
                *state.waiting.entry(open.slot.period).or_default() += u64::from(bytes);
            }
        }
        for period in periods.clone() {
            let Some(joined) = self.store.joined_period(period).map_err(IngestError::Store)? else {
                break;
            };
            // Of a segment that was in memory the joined rows are written last: without its table they say nothing.
            if !joined.entry.is_lost() && self.tracker.slots(period).is_none() {
                break;
            }
            if joined.entry.is_lost() {
                let ids: Vec<_> = joined.entry.ids().collect();
                self.tracker.enter_lost(period, &ids);
            }
            state.joined += 1;
            state.joined_bytes += state.waiting.remove(&period).unwrap_or(0);
        }
        let waiting = periods.start + u64::from(state.joined)..periods.end;
        self.ready
            .extend(waiting.filter(|period| self.tracker.is_complete(*period)));
        self.segments.insert(segment, state);
        Ok(())
    }

    fn restore_links(&mut self, first_open: u64) -> Outcome<S, ()> {
        for (thread, parent, child) in self.store.links().map_err(IngestError::Store)? {
            if child >= first_open {
                self.tracker.restore_link(thread, parent, child);
            }
        }
        let missing = self.store.missing_slots().map_err(IngestError::Store)?;
        let open = missing
            .into_iter()
            .filter(|(slot, _)| slot.period >= first_open && !self.is_given_up(slot.period));
        for (slot, id) in open.take(super::MISSING_MAX).collect::<Vec<_>>() {
            self.missing.insert(slot, id);
            if let Some(id) = id {
                self.tracker.restore_header(slot, id);
            }
        }
        Ok(())
    }
}

fn borders_of(
    row: &WriterRow,
    segment: u64,
    parameters: &massa_distributed_storage_exports::ArchiveParameters,
) -> Vec<Border> {
    match &row.borders {
        Some((above, blocks)) if *above == segment => blocks
            .iter()
            .map(|block| block.map_or(Border::Genesis, Border::Block))
            .collect(),
        _ if segment == parameters.first_segment() => first_borders(parameters.thread_count, &parameters.boundary),
        _ => vec![Border::Unknown; usize::from(parameters.thread_count)],
    }
}

fn block_of(settled: Option<Settled>) -> Option<massa_models::block_id::BlockId> {
    match settled {
        Some(Settled::Block(id)) => Some(id),
        Some(Settled::Miss) | None => None,
    }
}

/// Blocks of the entry whose bytes follow it.
fn blocks_with_bytes(entry: &PeriodEntry) -> usize {
    if entry.is_lost() {
        0
    } else {
        entry.block_count()
    }
}

fn joined_row(encoded: &EncodedPeriod, row: TablePeriod, operations: usize) -> JoinedPeriod {
    JoinedPeriod {
        period: encoded.period,
        entry: encoded.entry.clone(),
        length: row.length,
        root: row.root,
        operations: operations as u32,
    }
}

fn archived(segment: u64, encoded: &EncodedPeriod, joined: &Joined, operations: usize) -> ArchivedPeriod {
    ArchivedPeriod {
        period: encoded.period,
        segment,
        blocks: encoded.entry.block_count(),
        operations,
        bytes: joined.row.length,
        chunks: joined.chunks.clone(),
        filling: joined.filling(),
        finished: (joined.first_finished..).zip(joined.finished.iter().copied()).collect(),
        lost: encoded.entry.is_lost(),
    }
}
