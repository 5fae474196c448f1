//! `massa-cli archive stat`: what a store has, by its counters.

use crate::archive::open_periods::{first_lines, open_periods};
use crate::archive::{ArchiveError, OpenStore};
use crate::output::{count, name_value_lines, Report};
use indicatif::HumanBytes;
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::storage_backend::database::DatabaseError;
use massa_distributed_storage_worker::storage_backend::{Counters, IndexScope, SegmentStore, StoreError};
use serde::Serialize;

/// Lines of each list in the text form.
const LISTED: usize = 5;

/// What a store has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatReport {
    /// The store.
    pub dir: String,
    /// What all nodes of the network agree on.
    #[serde(flatten)]
    pub parameters: StoreParameters,
    /// Periods below it were pruned; 0 if none was.
    pub pruned_below: u64,
    /// What the store counts as it changes: it is not walked.
    #[serde(flatten)]
    pub counters: Counters,
    /// The oldest segment whose table is here.
    pub first_segment: Option<u64>,
    /// The newest one.
    pub last_segment: Option<u64>,
    /// Its root.
    pub last_root: Option<SegmentRoot>,
    /// Segments that are not closed.
    pub open_segments: Vec<OpenSegment>,
    /// Periods of them, up to the newest, that did not join: `archive open-periods` says what each waits for.
    pub waiting_periods: u64,
    /// Damaged files, and what to do.
    pub damaged_files: Vec<String>,
    /// Bytes of the directory on disk.
    pub disk_bytes: u64,
}

/// What a store was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct StoreParameters {
    /// The chain.
    pub chain_id: u64,
    /// Its threads.
    pub thread_count: u8,
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// Periods of a segment.
    pub segment_periods: u64,
    /// The first period that this archive can have.
    pub first_period: u64,
    /// What can be found by block id.
    pub block_index: IndexScope,
    /// What can be found by operation id.
    pub operation_index: IndexScope,
    /// What can be found by address.
    pub address_index: IndexScope,
}

/// A segment that is not closed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenSegment {
    /// Its number.
    pub segment: u64,
    /// Its first period.
    pub first_period: u64,
    /// Periods archived without a gap from the first on.
    pub periods: u32,
    /// Periods that it will have.
    pub periods_expected: u64,
    /// Blocks that are here.
    pub blocks: u32,
    /// Bytes of the archived periods.
    pub bytes: u64,
}

impl Report for StatReport {
    fn text(&self) -> String {
        let mut lines = self.parameter_lines();
        lines.extend(self.segment_lines());
        lines.extend(self.content_lines());
        lines.extend(self.damaged_files.iter().map(|file| ("DAMAGED", file.clone())));
        lines.push(("disk", bytes_text(self.disk_bytes)));
        name_value_lines(lines)
    }
}

fn bytes_text(bytes: u64) -> String {
    format!("{} ({bytes} bytes)", HumanBytes(bytes))
}

impl StatReport {
    fn parameter_lines(&self) -> Vec<(&'static str, String)> {
        let parameters = &self.parameters;
        let indexes = format!(
            "blocks {}, operations {}, addresses {}",
            parameters.block_index, parameters.operation_index, parameters.address_index
        );
        let pruned = (self.pruned_below > 0).then(|| ("pruned", format!("periods below {}", self.pruned_below)));
        let lines = [
            ("store", self.dir.clone()),
            ("chain id", parameters.chain_id.to_string()),
            ("threads", parameters.thread_count.to_string()),
            ("chunk size", format!("{} bytes", parameters.chunk_size)),
            ("segment size", count(parameters.segment_periods, "period", "periods")),
            ("first period", parameters.first_period.to_string()),
            ("indexes", indexes),
        ];
        lines.into_iter().chain(pruned).collect()
    }

    fn segment_lines(&self) -> Vec<(&'static str, String)> {
        let counters = &self.counters;
        let span = match (self.first_segment, self.last_segment) {
            (Some(first), Some(last)) => format!(", {first} to {last}"),
            _ => String::new(),
        };
        let by_table = match counters.segments - counters.derived_segments.min(counters.segments) {
            0 => String::new(),
            tables => format!(", {tables} of them by their table"),
        };
        let mut lines = vec![(
            "closed",
            format!("{}{span}{by_table}", count(counters.segments, "segment", "segments")),
        )];
        lines.extend(self.last_root.map(|root| ("last root", root.to_string())));
        let open = self.open_segments.iter().map(|open| {
            format!(
                "segment {}, {} of {} periods so far, {}",
                open.segment,
                open.periods,
                open.periods_expected,
                count(open.blocks.into(), "block", "blocks")
            )
        });
        lines.extend(first_lines(open, LISTED).into_iter().map(|segment| ("open", segment)));
        lines
    }

    /// By what keeps segments open, not by what was noted of it.
    fn missing(&self) -> String {
        let noted = self.counters.missing_slots;
        let noted = (noted > 0).then(|| count(noted, "slot was let go", "slots were let go"));
        let waiting = self.waiting_periods;
        let waiting = (waiting > 0).then(|| {
            let periods = count(waiting, "period waits", "periods wait");
            format!("{periods} (open-periods says for what)")
        });
        let parts: Vec<String> = waiting.into_iter().chain(noted).collect();
        if parts.is_empty() {
            return "nothing".to_string();
        }
        parts.join("; ")
    }

    fn content_lines(&self) -> Vec<(&'static str, String)> {
        let counters = &self.counters;
        let mut lines = vec![("periods", format!("{} of closed segments", counters.periods))];
        if counters.lost_periods > 0 {
            let lost = count(counters.lost_periods, "period", "periods");
            lines.push(("LOST", format!("{lost}: ids without blocks (list-periods says which)")));
        }
        let held = format!(
            "{}, {} held here: {}, stored as {}",
            counters.chunks,
            counters.chunks_held,
            HumanBytes(counters.bytes_held),
            HumanBytes(counters.bytes_stored)
        );
        let pending = format!(
            "{}, {}",
            count(counters.pending_blocks, "block", "blocks"),
            HumanBytes(counters.pending_bytes)
        );
        lines.extend([
            ("blocks", counters.blocks.to_string()),
            ("operations", counters.operations.to_string()),
            ("bodies", bytes_text(counters.body_bytes)),
            ("chunks", held),
            ("block rows", pending),
            ("missing", self.missing()),
        ]);
        lines
    }
}

/// Looks at a store: reads its counters, a few rows, and what is open.
///
/// # Errors
/// [`ArchiveError`].
pub fn stat(store: &OpenStore) -> Result<StatReport, ArchiveError> {
    let last_segment = store.last_segment()?;
    let last_root = last_segment.map(|segment| store.segment_root(segment)).transpose()?;
    let database = store.database();
    let open = open_periods(store)?;
    let absent = open.absent.iter().map(|(first, last)| last - first + 1).sum::<u64>();
    Ok(StatReport {
        dir: store.dir(),
        parameters: parameters(store),
        pruned_below: match store.floor() {
            0 => 0,
            floor => store.parameters().segment_start(floor),
        },
        counters: store.counters()?,
        first_segment: first_closed(store)?,
        last_segment,
        last_root: last_root.flatten(),
        open_segments: open_segments(store)?,
        waiting_periods: open.open_periods.len() as u64 + absent,
        damaged_files: database.damages().iter().map(ToString::to_string).collect(),
        disk_bytes: database
            .disk_usage()
            .map_err(|error: DatabaseError| StoreError::from(error))?,
    })
}

fn parameters(store: &SegmentStore) -> StoreParameters {
    let (parameters, indexes) = (store.parameters(), store.indexes());
    StoreParameters {
        chain_id: parameters.chain_id,
        thread_count: parameters.thread_count,
        chunk_size: parameters.chunk_size,
        segment_periods: parameters.segment_periods,
        first_period: parameters.first_period,
        block_index: indexes.blocks,
        operation_index: indexes.operations,
        address_index: indexes.addresses,
    }
}

fn first_closed(store: &SegmentStore) -> Result<Option<u64>, StoreError> {
    let first = store.segments(0, 1)?;
    let first = first.first().filter(|first| first.root.is_some());
    Ok(first.map(|first| first.segment))
}

fn open_segments(store: &SegmentStore) -> Result<Vec<OpenSegment>, StoreError> {
    let mut open = Vec::new();
    for found in store.open_segments() {
        if store.segment_root(found.segment)?.is_some() {
            continue;
        }
        open.push(OpenSegment {
            segment: found.segment,
            first_period: store.parameters().segment_start(found.segment),
            periods: found.joined_periods,
            periods_expected: store.parameters().segment_length(found.segment),
            blocks: found.blocks,
            bytes: found.stream_bytes,
        });
    }
    Ok(open)
}
