//! `massa-cli archive stat`: what a store has.

use crate::archive::import::Segment;
use crate::archive::open_periods::{first_lines, open_periods, OpenPeriod};
use crate::output::{count, name_value_lines, progress_bar, ranges, Report};
use indicatif::{HumanBytes, ProgressBar};
use massa_distributed_storage_exports::manifest::Manifest;
use massa_distributed_storage_exports::SegmentRoot;
use massa_distributed_storage_worker::ingest::restore;
use massa_distributed_storage_worker::storage_backend::read::ReadError;
use massa_distributed_storage_worker::Store;
use serde::Serialize;

/// Lines of each list in the text form.
const LISTED: usize = 5;

/// What a store has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StatReport {
    /// The store.
    pub dir: String,
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
    /// Periods below it were pruned; 0 if none was.
    pub pruned_below: u64,
    /// Whether operations can be found by id.
    pub operation_index: bool,
    /// Archived periods.
    pub periods: u64,
    /// The oldest of them.
    pub first_archived: Option<u64>,
    /// The newest of them.
    pub last_archived: Option<u64>,
    /// Runs of periods before the newest that are not archived: first and last of each.
    pub gaps: Vec<(u64, u64)>,
    /// Periods that are not complete.
    pub open_periods: Vec<OpenPeriod>,
    /// Archived periods that are lost: ids without blocks.
    pub lost_periods: Vec<u64>,
    /// Blocks of archived periods.
    pub blocks: u64,
    /// Missed slots of archived periods.
    pub misses: u64,
    /// Bytes of their bodies, kept on this node or not.
    pub body_bytes: u64,
    /// Chunks of archived periods.
    pub chunks: u64,
    /// Those that this node keeps.
    pub chunks_kept: u64,
    /// Complete segments.
    pub segments: Vec<Segment>,
    /// The segment that is not complete yet, if its first period is archived.
    pub open_segment: Option<OpenSegment>,
    /// Bytes of the directory on disk.
    pub disk_bytes: u64,
}

/// A segment that is not complete.
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
    /// Root over those that are archived.
    pub root: SegmentRoot,
}

impl Report for StatReport {
    fn text(&self) -> String {
        let mut lines = self.parameter_lines();
        lines.extend(self.period_lines());
        lines.extend(self.segment_lines());
        lines.push((
            "disk",
            format!("{} ({} bytes)", HumanBytes(self.disk_bytes), self.disk_bytes),
        ));
        name_value_lines(lines)
    }
}

impl StatReport {
    fn parameter_lines(&self) -> Vec<(&'static str, String)> {
        let index = if self.operation_index { "yes" } else { "no" };
        let pruned = (self.pruned_below > 0).then(|| ("pruned", format!("periods below {}", self.pruned_below)));
        let lines = [
            ("store", self.dir.clone()),
            ("chain id", self.chain_id.to_string()),
            ("threads", self.thread_count.to_string()),
            ("chunk size", format!("{} bytes", self.chunk_size)),
            ("segment", count(self.segment_periods, "period", "periods")),
            ("first period", self.first_period.to_string()),
            ("operation index", index.to_string()),
        ];
        lines.into_iter().chain(pruned).collect()
    }

    fn period_lines(&self) -> Vec<(&'static str, String)> {
        let span = match (self.first_archived, self.last_archived) {
            (Some(first), Some(last)) => format!(", {first} to {last}"),
            _ => String::new(),
        };
        let mut lines = vec![(
            "archived",
            format!("{}{span}", count(self.periods, "period", "periods")),
        )];
        let lost = self.lost_periods.iter().map(|period| format!("period {period}"));
        lines.extend(first_lines(lost, LISTED).into_iter().map(|period| ("LOST", period)));
        let gaps = self.gaps.iter().map(|(first, last)| ranges(*first..=*last));
        lines.extend(first_lines(gaps, LISTED).into_iter().map(|gap| ("not archived", gap)));
        let open = self.open_periods.iter().map(OpenPeriod::text);
        lines.extend(first_lines(open, LISTED).into_iter().map(|period| ("open", period)));
        let body = format!("{} ({} bytes)", HumanBytes(self.body_bytes), self.body_bytes);
        lines.extend([
            ("blocks", self.blocks.to_string()),
            ("missed slots", self.misses.to_string()),
            ("bodies", body),
            ("chunks", format!("{}, {} kept here", self.chunks, self.chunks_kept)),
        ]);
        lines
    }

    fn segment_lines(&self) -> Vec<(&'static str, String)> {
        let newest = self.segments.iter().rev();
        let complete = newest.map(|segment| format!("{}, root {}", segment.segment, segment.root));
        let mut lines: Vec<_> = first_lines(complete, LISTED)
            .into_iter()
            .map(|segment| ("complete segment", segment))
            .collect();
        lines.extend(self.open_segment.as_ref().map(|open| {
            let progress = format!("{} of {} periods so far", open.periods, open.periods_expected);
            (
                "open segment",
                format!("{}, {progress}, root {}", open.segment, open.root),
            )
        }));
        lines
    }
}

/// Looks at a store: reads every manifest.
///
/// # Errors
/// [`ReadError`].
pub fn stat(store: &Store) -> Result<StatReport, ReadError> {
    let parameters = store.parameters();
    let periods = store.archived_periods()?;
    let (segments, open_segment) = segments(store)?;
    let mut report = StatReport {
        dir: store.path().display().to_string(),
        chain_id: parameters.chain_id,
        thread_count: parameters.thread_count,
        chunk_size: parameters.chunk_size,
        segment_periods: parameters.segment_periods,
        first_period: parameters.first_period,
        pruned_below: store.floor(),
        operation_index: store.has_operation_index(),
        periods: periods.len() as u64,
        first_archived: periods.first().copied(),
        last_archived: periods.last().copied(),
        gaps: gaps(parameters.first_period.max(store.floor()), &periods),
        open_periods: open_periods(store, &restore(store)?)?,
        lost_periods: Vec::new(),
        blocks: 0,
        misses: 0,
        body_bytes: 0,
        chunks: 0,
        chunks_kept: 0,
        segments,
        open_segment,
        disk_bytes: store.disk_usage()?,
    };
    let bar = bar(periods.len());
    for period in periods {
        add_manifest(store, &store.archived_manifest(period)?, &mut report)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    Ok(report)
}

fn bar(periods: usize) -> ProgressBar {
    progress_bar(periods as u64, "period {pos}/{len} [{wide_bar}] {eta} left")
}

fn add_manifest(store: &Store, manifest: &Manifest, report: &mut StatReport) -> Result<(), ReadError> {
    let blocks = manifest
        .places
        .iter()
        .filter(|place| place.block_id().is_some())
        .count();
    if manifest.is_lost() {
        report.lost_periods.push(manifest.header.period);
    }
    report.blocks += blocks as u64;
    report.misses += (manifest.places.len() - blocks) as u64;
    report.body_bytes += manifest.header.body_length;
    report.chunks += manifest.chunks.len() as u64;
    report.chunks_kept += chunks_kept(store, manifest)?.iter().filter(|kept| **kept).count() as u64;
    Ok(())
}

/// Which chunks of a period this node keeps.
///
/// # Errors
/// [`ReadError`].
pub fn chunks_kept(store: &Store, manifest: &Manifest) -> Result<Vec<bool>, ReadError> {
    let chunks = manifest.chunks.iter().zip(0..);
    chunks
        .map(|(entry, index)| Ok(store.chunk(manifest.header.period, index, *entry)?.is_some()))
        .collect()
}

/// Runs of periods from `first` on that are missing before or between those of `periods`, which are in order.
fn gaps(first: u64, periods: &[u64]) -> Vec<(u64, u64)> {
    let expected = std::iter::once(first).chain(periods.iter().map(|period| period + 1));
    let pairs = expected.zip(periods);
    pairs
        .filter(|(expected, found)| expected < *found)
        .map(|(expected, found)| (expected, found - 1))
        .collect()
}

/// The complete segments, and the one after them.
fn segments(store: &Store) -> Result<(Vec<Segment>, Option<OpenSegment>), ReadError> {
    let parameters = store.parameters();
    let mut complete = Vec::new();
    let mut segment = parameters.first_segment();
    while let Some(root) = store.segment_root(segment)? {
        complete.push(Segment { segment, root });
        segment += 1;
    }
    let open = store.segment_state(segment)?.map(|state| OpenSegment {
        segment,
        first_period: state.header.first_period,
        periods: state.header.periods,
        periods_expected: parameters.segment_length(segment),
        root: state.tree.root(),
    });
    Ok((complete, open))
}
