//! Closing a segment, in slices.
//!
//! Its table is known as soon as its periods have joined and the segment before is closed. What is kept of it is then cut from its
//! block rows once more, chunk by chunk, and only as far as it is kept; last comes the table. A slice that was written is written
//! again after a start: that changes nothing.

use super::in_memory::Kept;
use super::slice_writer::Slice;
use super::{Ingest, IngestError, Keep, Outcome, Progress};
use crate::archive::rows::{ChainEnd, Packing, SegmentRows, WriterRow};
use crate::archive::slots::Border;
use crate::chunking::objects::IndexedObjects;
use crate::chunking::segment::{FinishedChunk, SegmentStream};
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::{ChunkId, ChunkPosition, SegmentRoot};
use std::sync::Arc;

/// Bytes of chunks that are cut and written in one slice: a tenth of a second of work, and the most that is in memory.
const SLICE_BYTES: u64 = 16 << 20;

/// A segment that is closed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClosedSegment {
    /// The segment.
    pub segment: u64,
    /// Its root.
    pub root: SegmentRoot,
    /// Its chunks.
    pub chunks: u32,
    /// Those of them that this node keeps, as holder or until the holders promised.
    pub kept: u32,
    /// Its blocks were all here: this node derived the root itself. Otherwise an accepted root led to its table.
    pub derived: bool,
    /// Chunks that only its end finished, number and id: the last one, unless the last period filled it. None where the table
    /// came from elsewhere.
    pub finished: Vec<(u32, ChunkId)>,
}

/// A segment that is being closed.
pub(super) struct Closing {
    table: Arc<SegmentTable>,
    /// For each chunk what it is kept as; the others are not cut.
    keep: Vec<Option<Keep>>,
    /// Chunks that were full when the last period had joined, or ended with it: number and id.
    finished: Vec<(u32, ChunkId)>,
    next_chunk: u32,
    /// Where cutting stands, if the next chunk follows on the last one.
    cutter: Option<SegmentStream>,
    /// What was joined and cut already, in memory: nothing is cut again.
    kept: Option<Kept>,
}

impl<S: SegmentRows> Ingest<S> {
    /// Whether a segment is being closed: [`Ingest::close_slice`] goes on with it.
    pub fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// How pages of chunks that are closed from now on are stored. At the start: packed, if each block is acknowledged; whoever
    /// reads blocks again and again from a file has no time for it.
    pub fn set_packing(&mut self, packing: Packing) {
        self.packing = packing;
    }

    /// Gives up closing; what was written is written over.
    pub(super) fn stop_closing(&mut self) {
        self.closing = None;
        // Nothing counts on these slices any more.
        let _ = self.slices.wait();
    }

    /// Begins to close the first open segment if all its periods have joined.
    pub(super) fn begin_closing(&mut self) -> Outcome<S, ()> {
        let segment = self.next_segment;
        if self.closing.is_some() || !self.is_joined(segment) {
            return Ok(());
        }
        let end = self.store.chain_end(segment).map_err(IngestError::Store)?;
        let Some(ChainEnd { previous, bytes_before }) = end else {
            return Err(IngestError::NoTable { segment: segment - 1 });
        };
        self.take_up_stream(segment)?;
        let state = self.segments.get_mut(&segment).expect("the stream was taken up");
        let stream = state.stream.take().expect("the stream was taken up");
        let mut kept = state.kept.take();
        let (table, last) = stream.finish(previous, bytes_before)?;
        let finished = last.iter().map(|chunk| (chunk.index, chunk.row.id)).collect();
        if let Some(kept) = &mut kept {
            kept.chunks.extend(last);
        }
        let keep = &mut self.options.keep;
        let keep = table.chunks().zip(0..).map(|(chunk, index)| {
            let position = ChunkPosition::new(segment, index).expect("parameters bound positions");
            keep(position, &chunk)
        });
        let keep = keep.collect();
        if kept.is_some() {
            // All that is kept of them is in the chunks.
            self.segment_periods(segment)
                .for_each(|period| self.held.remove_period(period));
        }
        self.closing = Some(Closing {
            keep,
            finished,
            table: Arc::new(table),
            next_chunk: 0,
            cutter: None,
            kept,
        });
        Ok(())
    }

    /// Goes on with closing: writes one slice of chunks, or the table when all are written. Does nothing while no segment is
    /// being closed.
    ///
    /// # Errors
    /// [`IngestError`]: the slice is written again next time.
    pub fn close_slice(&mut self) -> Outcome<S, Progress> {
        let Some(mut closing) = self.closing.take() else {
            return Ok(Progress::default());
        };
        let begun = closing.next_chunk;
        match self.cut_slice(&mut closing) {
            Ok(chunks) if chunks.is_empty() => match self.slices.wait() {
                Ok(()) => self.close(closing),
                Err(error) => self.forget_unwritten(error),
            },
            Ok(chunks) if closing.kept.is_some() => {
                let slice = Slice {
                    table: Arc::clone(&closing.table),
                    chunks,
                    packing: self.packing,
                };
                match self.slices.write(&self.store, slice) {
                    Ok(()) => {
                        self.closing = Some(closing);
                        Ok(Progress::default())
                    }
                    Err(error) => self.forget_unwritten(error),
                }
            }
            Ok(chunks) => {
                let written = self.store.put_closing(&closing.table, chunks, self.packing);
                if written.is_err() {
                    closing.next_chunk = begun;
                    closing.cutter = None;
                }
                self.closing = Some(closing);
                written.map_err(IngestError::Store)?;
                Ok(Progress::default())
            }
            Err(error) => {
                closing.next_chunk = begun;
                closing.cutter = None;
                self.closing = Some(closing);
                Err(error)
            }
        }
    }

    /// The next chunks that are wanted, up to a slice; none when all are written.
    fn cut_slice(&mut self, closing: &mut Closing) -> Outcome<S, Vec<(FinishedChunk, Keep)>> {
        if let Some(kept) = &mut closing.kept {
            return Ok(kept.take_slice(SLICE_BYTES, &closing.keep));
        }
        let (mut chunks, mut bytes) = (Vec::new(), 0);
        let count = closing.keep.len() as u32;
        while closing.next_chunk < count && bytes < SLICE_BYTES {
            if closing.keep[closing.next_chunk as usize].is_none() {
                closing.next_chunk += 1;
                closing.cutter = None;
                continue;
            }
            let cut = self.cut(closing)?;
            let first = closing.next_chunk;
            bytes += cut.iter().map(|chunk| u64::from(chunk.row.length)).sum::<u64>();
            closing.next_chunk += cut.len() as u32;
            let later = cut.into_iter().filter(|chunk| chunk.index >= first);
            chunks.extend(later.filter_map(|chunk| {
                let keep = closing.keep[chunk.index as usize]?;
                Some((chunk, keep))
            }));
        }
        Ok(chunks)
    }

    /// At least the next chunk: joins periods to the cutter until it has one.
    fn cut(&mut self, closing: &mut Closing) -> Outcome<S, Vec<FinishedChunk>> {
        let segment = closing.table.header().segment;
        let mut cutter = match closing.cutter.take() {
            Some(cutter) => cutter,
            None => SegmentStream::new(self.store.parameters(), segment, IndexedObjects::All)
                .begin_at(&closing.table, closing.next_chunk)?,
        };
        loop {
            if cutter.is_complete() {
                let header = closing.table.header();
                return Ok(cutter.finish(header.previous, header.bytes_before)?.1);
            }
            let period = self.encode(cutter.next_period())?;
            cutter.push(&period)?;
            let cut = cutter.take_finished();
            if !cut.is_empty() {
                closing.cutter = Some(cutter);
                return Ok(cut);
            }
        }
    }

    /// Every chunk is written: writes the table, and forgets the rows of the segment.
    fn close(&mut self, closing: Closing) -> Outcome<S, Progress> {
        let table = &closing.table;
        let header = *table.header();
        let (segment, root) = (header.segment, table.root());
        let borders = self.tracker.borders_at(header.end_period());
        if let Some(kept) = &closing.kept {
            self.write_joined(kept)?;
        }
        let kept = self.write_borders(segment + 1, &borders).and_then(|()| {
            let kept = self.store.close(table);
            kept.map_err(IngestError::Store)
        });
        let kept = match kept {
            Ok(kept) => kept,
            Err(error) => {
                self.closing = Some(closing);
                return Err(error);
            }
        };
        self.forget_segment(segment);
        self.segments.remove(&segment);
        self.tracker.close(header.end_period());
        self.set_next_segment(segment + 1);
        let closed = ClosedSegment {
            segment,
            root,
            chunks: header.chunk_count(),
            kept,
            derived: true,
            finished: closing.finished,
        };
        let mut progress = Progress {
            closed: vec![closed],
            ..Progress::default()
        };
        progress.append(self.advance_or_stall());
        Ok(progress)
    }

    /// The open segments begin with this one now.
    pub(super) fn set_next_segment(&mut self, segment: u64) {
        let first_open = self.store.parameters().segment_start(segment);
        self.next_segment = segment;
        self.border_looked_at = first_open;
        self.by_table.retain(|by_table| *by_table >= segment);
        self.ready.retain(|period| *period >= first_open);
        self.missing.retain(|slot, _| slot.period >= first_open);
        self.segments.retain(|open, _| *open >= segment);
        self.rows_of.retain(|open| *open >= segment);
    }

    /// Keeps the borders below `segment`, if all are known, and which segments are taken by their table.
    pub(super) fn write_borders(&self, segment: u64, borders: &[Border]) -> Outcome<S, ()> {
        let known = !borders.contains(&Border::Unknown);
        let block = |border: &Border| match border {
            Border::Block(id) => Some(*id),
            Border::Genesis | Border::Unknown => None,
        };
        let row = WriterRow {
            borders: known.then(|| (segment, borders.iter().map(block).collect())),
            by_table: self.by_table.iter().copied().collect(),
        };
        self.store.put_writer_row(&row).map_err(IngestError::Store)
    }
}
