//! `massa-cli archive list-segments`.

use crate::archive::{ArchiveError, PartArguments, StoreArguments};
use crate::output::{table, Report};
use clap::Args;
use massa_distributed_storage_exports::{ArchiveParameters, SegmentRoot};
use massa_distributed_storage_worker::storage_backend::{SegmentInfo, SegmentState, SegmentStore, StoreError};
use serde::Serialize;

/// Segments that are read at a time.
const READ_SEGMENTS: usize = 1000;

/// Arguments of `archive list-segments`.
#[derive(Debug, Args)]
pub struct ListSegmentsArguments {
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Which segments.
    #[command(flatten)]
    pub part: PartArguments,
}

/// The segments of a store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListSegmentsReport {
    /// The segments.
    pub segments: Vec<ListedSegment>,
}

/// Whether a segment is finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListedState {
    /// Its blocks are rows; it has no root yet.
    Open,
    /// Its table is here.
    Closed,
}

/// A segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedSegment {
    /// Its number.
    pub segment: u64,
    /// Whether it is finished.
    pub state: ListedState,
    /// Whether this node derived it from its blocks; else only its table came here, and what was fetched.
    pub derived: bool,
    /// Its first period.
    pub first_period: u64,
    /// Its last period.
    pub last_period: u64,
    /// Its periods; while it is open, those that are archived.
    pub periods: u32,
    /// Periods that it has when it is closed.
    pub periods_expected: u64,
    /// Those of them that are lost, where this node derived it.
    pub lost_periods: u32,
    /// Bytes of its body, or of what is archived so far.
    pub bytes: u64,
    /// Its chunks; while it is open, those that are full.
    pub chunks: u32,
    /// Those that are held here.
    pub chunks_held: u32,
    /// Its blocks, where this node derived it or it is open.
    pub blocks: u32,
    /// Its operations, where this node derived it.
    pub operations: u64,
    /// Its root, once it is closed.
    pub root: Option<SegmentRoot>,
}

impl ListedSegment {
    fn new(info: &SegmentInfo, parameters: &ArchiveParameters) -> Self {
        let expected = parameters.segment_length(info.segment);
        Self {
            segment: info.segment,
            state: match info.state {
                SegmentState::Open => ListedState::Open,
                SegmentState::Closed | SegmentState::TableOnly => ListedState::Closed,
            },
            derived: info.state == SegmentState::Closed,
            first_period: info.first_period,
            last_period: info.first_period + expected.saturating_sub(1),
            periods: info.periods,
            periods_expected: expected,
            lost_periods: info.lost_periods,
            bytes: info.body_bytes,
            chunks: info.chunks,
            chunks_held: info.chunks_held,
            blocks: info.blocks,
            operations: info.operations,
            root: info.root,
        }
    }

    fn row(&self) -> Vec<String> {
        let periods = match self.state {
            ListedState::Open => format!("{} of {}", self.periods, self.periods_expected),
            ListedState::Closed if self.lost_periods > 0 => format!("{}, {} lost", self.periods, self.lost_periods),
            ListedState::Closed => self.periods.to_string(),
        };
        let state = match (self.state, self.derived) {
            (ListedState::Open, _) => "open",
            (ListedState::Closed, true) => "closed",
            (ListedState::Closed, false) => "closed, by its table",
        };
        vec![
            self.segment.to_string(),
            format!("{}-{}", self.first_period, self.last_period),
            periods,
            self.bytes.to_string(),
            self.chunks.to_string(),
            self.chunks_held.to_string(),
            state.to_string(),
            self.root.map_or_else(|| "-".to_string(), |root| root.to_string()),
        ]
    }
}

impl Report for ListSegmentsReport {
    fn text(&self) -> String {
        let headings = [
            "segment", "spans", "periods", "bytes", "chunks", "held", "state", "root",
        ];
        table(headings, self.segments.iter().map(ListedSegment::row))
    }
}

/// Calls `action` with each segment from `from` on, in order, until it returns false. Reads two rows for each.
///
/// # Errors
/// [`StoreError`], those of `action`.
pub(super) fn for_each_segment<E: From<StoreError>>(
    store: &SegmentStore,
    from: u64,
    mut action: impl FnMut(&SegmentInfo) -> Result<bool, E>,
) -> Result<(), E> {
    let mut next = from;
    loop {
        let segments = store.segments(next, READ_SEGMENTS)?;
        for info in &segments {
            if !action(info)? {
                return Ok(());
            }
        }
        match segments.last() {
            Some(last) if segments.len() == READ_SEGMENTS => next = last.segment + 1,
            _ => return Ok(()),
        }
    }
}

/// Lists the segments of a store. Reads two rows for each, whatever it has.
///
/// # Errors
/// [`ArchiveError`].
pub fn list_segments(arguments: &ListSegmentsArguments) -> Result<ListSegmentsReport, ArchiveError> {
    let store = arguments.store.open()?;
    let part = arguments.part;
    let mut segments = Vec::new();
    for_each_segment(&store, part.from, |info| {
        let wanted = info.segment <= part.to && segments.len() < part.limit();
        if wanted {
            segments.push(ListedSegment::new(info, store.parameters()));
        }
        Ok::<_, ArchiveError>(wanted)
    })?;
    Ok(ListSegmentsReport { segments })
}
