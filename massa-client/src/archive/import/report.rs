//! What an import says that it did.

use crate::archive::open_periods::{first_lines, OpenPeriod, OpenPeriodsReport};
use crate::output::{count, name_value_lines, Report};
use indicatif::HumanBytes;
use massa_distributed_storage_exports::SegmentRoot;
use serde::Serialize;

/// Open periods that the text form names.
const OPEN_PERIODS_SHOWN: usize = 5;

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ImportReport {
    /// The file.
    pub file: String,
    /// The store.
    pub dir: String,
    /// Whether the store was made.
    pub created: bool,
    /// Whether signatures were checked.
    pub signatures_checked: bool,
    /// Blocks of the file.
    pub blocks_read: u64,
    /// Blocks that the store did not have.
    pub blocks_new: u64,
    /// Blocks that it had.
    pub blocks_known: u64,
    /// Blocks of segments that this node takes by their table: they are left out.
    pub blocks_left_out: u64,
    /// Operations of the file.
    pub operations: u64,
    /// Periods that were archived.
    pub periods_archived: u64,
    /// Archived periods that the store has now.
    pub periods_in_store: u64,
    /// What is not archived yet.
    #[serde(flatten)]
    pub open: OpenPeriodsReport,
    /// Segments that were closed.
    pub segments_closed: Vec<Segment>,
    /// Chunks of segments that were closed before that were damaged or missing and are held again.
    pub chunks_repaired: u64,
    /// Damaged files of the store, and what was done about each.
    pub damaged_files: Vec<String>,
    /// Bytes of the blocks and operations of the file.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Bytes over seconds, in millions.
    pub megabytes_per_second: f64,
}

/// A closed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its number.
    pub segment: u64,
    /// Its root.
    pub root: SegmentRoot,
}

impl Report for ImportReport {
    fn text(&self) -> String {
        let mut lines = self.count_lines();
        lines.extend(self.segments_closed.iter().map(|segment| {
            let closed = format!("{} closed, root {}", segment.segment, segment.root);
            ("segment", closed)
        }));
        lines.extend(self.repair_lines());
        lines.extend(self.open_lines());
        let (bytes, rate) = (HumanBytes(self.bytes), self.megabytes_per_second);
        lines.push(("took", format!("{:.3} s, {bytes} at {rate:.1} MB/s", self.seconds)));
        name_value_lines(lines)
    }
}

impl ImportReport {
    fn count_lines(&self) -> Vec<(&'static str, String)> {
        let (read, new, known) = (self.blocks_read, self.blocks_new, self.blocks_known);
        let (archived, all) = (self.periods_archived, self.periods_in_store);
        let made = if self.created { " (new)" } else { "" };
        let not = if self.signatures_checked { "" } else { "not " };
        let left_out = match self.blocks_left_out {
            0 => String::new(),
            blocks => format!(", {blocks} left out: their segment is taken by its table"),
        };
        vec![
            ("file", self.file.clone()),
            ("store", format!("{}{made}", self.dir)),
            ("signatures", format!("{not}checked")),
            ("blocks", format!("{read} read, {new} new, {known} known{left_out}")),
            ("operations", self.operations.to_string()),
            ("periods", format!("{archived} archived now, {all} in the store")),
        ]
    }

    fn repair_lines(&self) -> Vec<(&'static str, String)> {
        let files = self.damaged_files.iter().map(|file| ("DAMAGED", file.clone()));
        let chunks = (self.chunks_repaired > 0).then(|| {
            let chunks = count(self.chunks_repaired, "chunk", "chunks");
            ("repaired", format!("{chunks} that were damaged or missing"))
        });
        files.chain(chunks).collect()
    }

    fn open_lines(&self) -> Vec<(&'static str, String)> {
        let periods = &self.open.open_periods;
        let lines = first_lines(periods.iter().map(OpenPeriod::text), OPEN_PERIODS_SHOWN);
        let mut lines: Vec<_> = lines.into_iter().map(|line| ("open", line)).collect();
        let at_end = |period: &OpenPeriod| !period.threads_without_later_block.is_empty();
        if periods.iter().any(at_end) {
            let hint = "import a later file, or this one with --complete if it ends with whole periods";
            lines.push(("", hint.to_string()));
        }
        lines
    }
}
