//! `massa-cli archive verify`: every byte, path, id and signature.

use crate::archive::{ArchiveError, StoreArguments};
use crate::output::{count, progress_bar, Output, Report};
use clap::Args;
use indicatif::HumanBytes;
use massa_db_exports::{
    STORAGE_BLOCK_INDEX_CF, STORAGE_CHUNKS_PREFIX, STORAGE_MERKLE_ROOTS_PREFIX, STORAGE_OPERATION_INDEX_CF,
    STORAGE_PAGES_CF, STORAGE_PAGES_PASSING_CF, STORAGE_PENDING_CF, STORAGE_TABLES_CF,
};
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_worker::storage_backend::database::DamageReport as FileDamage;
use massa_distributed_storage_worker::storage_backend::{Damage, SegmentStore, VerifyReport as StoreReport};
use serde::Serialize;
use std::time::Instant;

/// Arguments of `archive verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
}

/// What verification found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The store.
    pub dir: String,
    /// Whether nothing is wrong.
    pub clean: bool,
    /// Segments whose table is here.
    pub segments: u64,
    /// Periods of which, as far as this node derived them, only ids are known. That is what the network agreed on, so it is not
    /// damage.
    pub lost_periods: u64,
    /// Chunks held here.
    pub chunks: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks that were put together from held chunks.
    pub blocks: u64,
    /// Their operations, and those of blocks of open segments.
    pub operations: u64,
    /// Blocks of open segments.
    pub open_blocks: u64,
    /// Endorsements that the chain included although their signature is not valid. Block ids commit to them as they are,
    /// so this is not damage.
    pub invalid_endorsements: u64,
    /// Number of rows and files that are wrong.
    pub damage_count: u64,
    /// Damaged files.
    pub damaged_files: Vec<FileReport>,
    /// Damaged rows, the first thousand.
    pub damages: Vec<DamageReport>,
    /// How long it took.
    pub seconds: f64,
}

/// A file that is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileReport {
    /// Its name in the directory.
    pub file: String,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub advice: &'static str,
}

/// A row that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamageReport {
    /// Its column family.
    pub family: &'static str,
    /// Segment, where the row belongs to one.
    pub segment: Option<u64>,
    /// Period, where the row is of one.
    pub period: Option<u64>,
    /// Thread, where the row is of one slot.
    pub thread: Option<u8>,
    /// Chunk, where the row is of one.
    pub chunk: Option<u32>,
    /// Page of the chunk, where the row is one page.
    pub page: Option<u32>,
    /// First and last period whose bytes are affected, where that can be told.
    pub affected_periods: Option<(u64, u64)>,
    /// What is wrong.
    pub reason: String,
    /// What to do.
    pub advice: &'static str,
}

impl FileReport {
    fn new(damage: &FileDamage) -> Self {
        Self {
            file: damage.file.clone(),
            reason: damage.what.clone(),
            advice: damage.advice(),
        }
    }

    fn text(&self) -> String {
        format!("file {}: {} ({})", self.file, self.reason, self.advice)
    }
}

impl DamageReport {
    fn new(store: &SegmentStore, damage: &Damage) -> Self {
        Self {
            family: damage.family,
            segment: damage.segment,
            period: damage.period,
            thread: damage.thread,
            chunk: damage.chunk,
            page: damage.page,
            affected_periods: affected_periods(store, damage),
            reason: damage.reason.clone(),
            advice: advice(damage),
        }
    }

    fn text(&self) -> String {
        let numbers = [
            ("segment", self.segment),
            ("period", self.period),
            ("thread", self.thread.map(u64::from)),
            ("chunk", self.chunk.map(u64::from)),
            ("page", self.page.map(u64::from)),
        ];
        let mut parts: Vec<String> = Vec::new();
        parts.extend(
            numbers
                .iter()
                .filter_map(|(name, value)| Some(format!("{name} {}", (*value)?))),
        );
        parts.extend(self.affected_periods.map(|(first, last)| match first == last {
            true => format!("bytes of period {first}"),
            false => format!("bytes of periods {first} to {last}"),
        }));
        parts.push(format!("{}: {} ({})", self.family, self.reason, self.advice));
        parts.join(", ")
    }
}

/// What the operator should do about a row.
fn advice(damage: &Damage) -> &'static str {
    match damage.family {
        STORAGE_PAGES_CF | STORAGE_PAGES_PASSING_CF | STORAGE_CHUNKS_PREFIX => {
            "import the file with these blocks again, or start the node, which fetches the chunk from peers"
        }
        STORAGE_TABLES_CF | STORAGE_MERKLE_ROOTS_PREFIX => {
            "import the file with this segment again, or start the node, which fetches the table from peers"
        }
        STORAGE_PENDING_CF => "import the file with this block again, or start the node, which asks peers for it",
        STORAGE_BLOCK_INDEX_CF | STORAGE_OPERATION_INDEX_CF => "read by slot; the index row is written with its chunk",
        _ => "start the node, which works it out again from the other rows",
    }
}

impl Report for VerifyReport {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self
            .damaged_files
            .iter()
            .map(|damage| format!("damage: {}", damage.text()))
            .collect();
        lines.extend(self.damages.iter().map(|damage| format!("damage: {}", damage.text())));
        let listed = (self.damages.len() + self.damaged_files.len()) as u64;
        let unlisted = self.damage_count.saturating_sub(listed);
        lines.extend((unlisted > 0).then(|| format!("and {}", count(unlisted, "more damage", "more damages"))));
        let result = if self.clean { "nothing is damaged" } else { "DAMAGED" };
        lines.push(format!(
            "verified {}: {}, {}, {}, {}, {} of open segments, in {:.3} s: {result}",
            count(self.segments, "segment", "segments"),
            count(self.chunks, "chunk", "chunks"),
            HumanBytes(self.bytes),
            count(self.blocks, "block", "blocks"),
            count(self.operations, "operation", "operations"),
            count(self.open_blocks, "block", "blocks"),
            self.seconds,
        ));
        if self.lost_periods > 0 {
            let lost = count(self.lost_periods, "period is", "periods are");
            lines.push(format!("{lost} lost: their ids are known, their blocks are nowhere"));
        }
        if self.invalid_endorsements > 0 {
            let noun = count(self.invalid_endorsements, "endorsement", "endorsements");
            lines.push(format!(
                "{noun} of the chain's blocks have no valid signature; the archive has them as they are"
            ));
        }
        lines.join("\n")
    }
}

impl VerifyReport {
    fn first(&self) -> Option<String> {
        let file = self.damaged_files.first().map(FileReport::text);
        file.or_else(|| self.damages.first().map(DamageReport::text))
    }
}

/// Verifies a store and prints what was found.
///
/// # Errors
/// [`ArchiveError::Damaged`] when anything is wrong.
pub fn run(arguments: &VerifyArguments, output: Output) -> Result<(), ArchiveError> {
    let store = arguments.store.open()?;
    let begun = Instant::now();
    let found = verify(&store)?;
    let report = report(&store, store.dir(), &found, begun.elapsed().as_secs_f64());
    output.print(&report)?;
    match report.first() {
        None => Ok(()),
        Some(first) => Err(ArchiveError::Damaged {
            count: count(report.damage_count, "damage", "damages"),
            dir: report.dir,
            first,
        }),
    }
}

fn verify(store: &SegmentStore) -> Result<StoreReport, ArchiveError> {
    let bar = progress_bar(0, "segment {pos}/{len} [{wide_bar}] {eta} left");
    let progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let report = store.verify(&progress)?;
    bar.finish_and_clear();
    Ok(report)
}

fn report(store: &SegmentStore, dir: String, found: &StoreReport, seconds: f64) -> VerifyReport {
    let files = store.database().damages();
    let damages = found.damages.iter();
    VerifyReport {
        dir,
        clean: found.is_clean() && files.is_empty(),
        segments: found.segments,
        lost_periods: store.counters().map_or(0, |counters| counters.lost_periods),
        chunks: found.chunks,
        bytes: found.bytes,
        blocks: found.blocks,
        operations: found.operations,
        open_blocks: found.open_blocks,
        invalid_endorsements: found.invalid_endorsements,
        damage_count: found.damage_count + files.len() as u64,
        damaged_files: files.iter().map(FileReport::new).collect(),
        damages: damages.map(|damage| DamageReport::new(store, damage)).collect(),
        seconds,
    }
}

/// First and last period whose bytes are in the damaged page or chunk.
fn affected_periods(store: &SegmentStore, damage: &Damage) -> Option<(u64, u64)> {
    // A damaged table is damage of its own; it says nothing about periods.
    let table = store.table(damage.segment?).ok()??;
    let chunk = table.chunk_range(damage.chunk?);
    let bytes = match damage.page {
        None => chunk,
        Some(page) => {
            let start = chunk.start + u64::from(page) * PAGE_BYTES as u64;
            start..(start + PAGE_BYTES as u64).min(chunk.end)
        }
    };
    let (first, _) = table.period_at(bytes.start)?;
    let (last, _) = table.period_at(bytes.end.checked_sub(1)?)?;
    Some((first, last))
}
