//! `massa-cli archive list-periods`.

use crate::archive::list_segments::{for_each_segment, ListedState};
use crate::archive::open_periods::joined_periods;
use crate::archive::{ArchiveError, PartArguments, StoreArguments};
use crate::output::{table, Report};
use clap::Args;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::PeriodRoot;
use massa_distributed_storage_worker::storage_backend::{EntryRead, HeldRow, SegmentStore, StoreError};
use serde::Serialize;
use std::ops::Range;

/// Arguments of `archive list-periods`.
#[derive(Debug, Args)]
pub struct ListPeriodsArguments {
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Which periods.
    #[command(flatten)]
    pub part: PartArguments,
}

/// The archived periods of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListPeriodsReport {
    /// The periods.
    pub periods: Vec<ListedPeriod>,
}

/// An archived period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedPeriod {
    /// The period.
    pub period: u64,
    /// Its segment.
    pub segment: u64,
    /// Whether that is finished.
    pub state: ListedState,
    /// Its blocks; nothing if its entry is in chunks that are kept by others.
    pub blocks: Option<usize>,
    /// Its missed slots; nothing likewise.
    pub misses: Option<usize>,
    /// Whether it is lost: ids without blocks; nothing likewise.
    pub lost: Option<bool>,
    /// Its bytes, entry included.
    pub bytes: u32,
    /// The first chunk of its segment that it touches.
    pub first_chunk: u32,
    /// The last one.
    pub last_chunk: u32,
    /// Those of them that are held here.
    pub chunks_held: u32,
    /// Its root.
    pub root: PeriodRoot,
}

impl Report for ListPeriodsReport {
    fn text(&self) -> String {
        let headings = [
            "period", "segment", "state", "blocks", "missed", "bytes", "chunks", "held", "root",
        ];
        table(headings, self.periods.iter().map(ListedPeriod::row))
    }
}

impl ListedPeriod {
    fn row(&self) -> Vec<String> {
        let number = |number: Option<usize>| number.map_or_else(|| "?".to_string(), |number| number.to_string());
        let chunks = if self.first_chunk == self.last_chunk {
            self.first_chunk.to_string()
        } else {
            format!("{}-{}", self.first_chunk, self.last_chunk)
        };
        let state = match self.state {
            ListedState::Open => "open",
            ListedState::Closed => "closed",
        };
        vec![
            self.period.to_string(),
            self.segment.to_string(),
            state.to_string(),
            number(self.blocks),
            number(self.misses),
            if self.lost == Some(true) {
                "lost".to_string()
            } else {
                self.bytes.to_string()
            },
            chunks,
            self.chunks_held.to_string(),
            self.root.to_string(),
        ]
    }

    fn count(&mut self, entry: &PeriodEntry) {
        let blocks = entry.block_count();
        self.blocks = Some(blocks);
        self.misses = Some(entry.slots().len() - blocks);
        self.lost = Some(entry.is_lost());
    }
}

/// Lists the archived periods of a store: reads the tables of their segments, and their entries where they are held.
///
/// # Errors
/// [`ArchiveError`].
pub fn list_periods(arguments: &ListPeriodsArguments) -> Result<ListPeriodsReport, ArchiveError> {
    let store = arguments.store.open()?;
    let part = arguments.part;
    let (first, limit) = (part.from.max(store.parameters().first_period), part.limit());
    let mut periods: Vec<ListedPeriod> = Vec::new();
    for_each_segment(&store, store.parameters().segment_of(first), |info| {
        if info.first_period > part.to || periods.len() >= limit {
            return Ok(false);
        }
        let left = limit - periods.len();
        let wanted = |period: u64| (first..=part.to).contains(&period);
        periods.extend(of_segment(&store, info.segment, wanted, left)?);
        Ok::<_, ArchiveError>(true)
    })?;
    Ok(ListPeriodsReport { periods })
}

fn of_segment(
    store: &SegmentStore,
    segment: u64,
    wanted: impl Fn(u64) -> bool,
    limit: usize,
) -> Result<Vec<ListedPeriod>, StoreError> {
    let Some((table, held)) = store.table_and_held(segment)? else {
        return of_open(store, segment, wanted, limit);
    };
    let periods = store.periods_of(segment).filter(|period| wanted(*period));
    let closed = periods.take(limit).filter_map(|period| {
        let listed = of_table(period, &table, &held)?;
        Some(with_entry(store, listed))
    });
    closed.collect()
}

fn of_table(period: u64, table: &SegmentTable, held: &HeldRow) -> Option<ListedPeriod> {
    let row = table.period(period)?;
    let chunks = table.chunks_of(&table.period_range(period)?);
    Some(ListedPeriod {
        period,
        segment: table.header().segment,
        state: ListedState::Closed,
        blocks: None,
        misses: None,
        lost: None,
        bytes: row.length,
        first_chunk: chunks.start,
        last_chunk: chunks.end.saturating_sub(1),
        chunks_held: chunks.filter(|chunk| held.contains(*chunk)).count() as u32,
        root: row.root,
    })
}

fn with_entry(store: &SegmentStore, mut listed: ListedPeriod) -> Result<ListedPeriod, StoreError> {
    if let EntryRead::Found(entry) = store.entry(listed.period)? {
        listed.count(&entry);
    }
    Ok(listed)
}

/// The periods in the stream of an open segment.
fn of_open(
    store: &SegmentStore,
    segment: u64,
    wanted: impl Fn(u64) -> bool,
    limit: usize,
) -> Result<Vec<ListedPeriod>, StoreError> {
    let chunk_size = store.parameters().chunk_size;
    let (mut listed, mut start) = (Vec::new(), 0);
    for joined in joined_periods(store, segment)? {
        if listed.len() == limit {
            break;
        }
        let period = joined.period;
        let end = start + u64::from(joined.length);
        let chunks = stream_chunks(&(start..end), chunk_size);
        start = end;
        if !wanted(period) {
            continue;
        }
        let mut line = ListedPeriod {
            period,
            segment,
            state: ListedState::Open,
            blocks: None,
            misses: None,
            lost: None,
            bytes: joined.length,
            first_chunk: chunks.start,
            last_chunk: chunks.end.saturating_sub(1),
            chunks_held: 0,
            root: joined.root,
        };
        line.count(&joined.entry);
        listed.push(line);
    }
    Ok(listed)
}

/// The chunks that bytes of a segment's stream touch.
pub(super) fn stream_chunks(bytes: &Range<u64>, chunk_size: u32) -> Range<u32> {
    let size = u64::from(chunk_size);
    (bytes.start / size) as u32..bytes.end.div_ceil(size) as u32
}
