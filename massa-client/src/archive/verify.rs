//! `massa-cli archive verify`: every byte, path, id and signature.

use crate::archive::import::cores;
use crate::archive::{ArchiveError, StoreArguments};
use crate::output::{count, progress_bar, ranges, Output, Report};
use clap::Args;
use indicatif::HumanBytes;
use massa_distributed_storage_exports::types::PAGE_BYTES;
use massa_distributed_storage_worker::storage_backend::read::Damage;
use massa_distributed_storage_worker::storage_backend::verify::VerifyReport as StoreReport;
use massa_distributed_storage_worker::Store;
use serde::Serialize;
use std::num::NonZeroUsize;
use std::time::Instant;

/// Arguments of `archive verify`.
#[derive(Debug, Args)]
pub struct VerifyArguments {
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Threads that check [default: one for each core]
    #[arg(long, value_name = "N")]
    pub threads: Option<NonZeroUsize>,
}

/// What verification found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VerifyReport {
    /// The store.
    pub dir: String,
    /// Whether nothing is wrong.
    pub clean: bool,
    /// Archived periods.
    pub periods: u64,
    /// Those of them that are lost: ids without blocks. That is what the network agreed on, so it is not damage.
    pub lost_periods: u64,
    /// Blocks in them.
    pub blocks: u64,
    /// Operations in them.
    pub operations: u64,
    /// Bytes of their bodies kept on this node.
    pub body_bytes: u64,
    /// Blocks of periods that are not complete.
    pub pending_blocks: u64,
    /// Endorsements that the chain included although their signature is not valid. Block ids commit to them as they are,
    /// so this is not damage.
    pub invalid_endorsements: u64,
    /// Number of things that are wrong.
    pub damage_count: u64,
    /// The first thousand of them.
    pub damages: Vec<DamageReport>,
    /// How long it took.
    pub seconds: f64,
}

/// Something that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DamageReport {
    /// Column family of the row.
    pub family: &'static str,
    /// Period, where the row belongs to one.
    pub period: Option<u64>,
    /// Chunk, where the row is of one chunk.
    pub chunk: Option<u32>,
    /// Page of the chunk, where the row is one page.
    pub page: Option<u32>,
    /// Threads of the places whose blocks are affected, where that can be told.
    pub threads: Vec<u8>,
    /// What is wrong.
    pub reason: String,
}

impl DamageReport {
    fn new(store: &Store, damage: &Damage) -> Self {
        Self {
            family: damage.family,
            period: damage.period,
            chunk: damage.chunk,
            page: damage.page,
            threads: affected_threads(store, damage),
            reason: damage.reason.clone(),
        }
    }

    fn text(&self) -> String {
        let mut parts = Vec::new();
        parts.extend(self.period.map(|period| format!("period {period}")));
        parts.extend(self.chunk.map(|chunk| format!("chunk {chunk}")));
        parts.extend(self.page.map(|page| format!("page {page}")));
        if !self.threads.is_empty() {
            let noun = if self.threads.len() == 1 { "thread" } else { "threads" };
            let threads = ranges(self.threads.iter().map(|thread| u64::from(*thread)));
            parts.push(format!("{noun} {threads}"));
        }
        parts.push(format!("{}: {}", self.family, self.reason));
        parts.join(", ")
    }
}

impl Report for VerifyReport {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self
            .damages
            .iter()
            .map(|damage| format!("damage: {}", damage.text()))
            .collect();
        let unlisted = self.damage_count - self.damages.len() as u64;
        lines.extend((unlisted > 0).then(|| format!("and {}", count(unlisted, "more damage", "more damages"))));
        let result = if self.clean { "nothing is damaged" } else { "DAMAGED" };
        lines.push(format!(
            "verified {}: {}, {}, {}, {} pending, in {:.3} s: {result}",
            count(self.periods, "period", "periods"),
            count(self.blocks, "block", "blocks"),
            count(self.operations, "operation", "operations"),
            HumanBytes(self.body_bytes),
            count(self.pending_blocks, "block", "blocks"),
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

/// Verifies a store and prints what was found.
///
/// # Errors
/// [`ArchiveError::Damaged`] when anything is wrong.
pub fn run(arguments: &VerifyArguments, output: Output) -> Result<(), ArchiveError> {
    let store = arguments.store.open()?;
    let begun = Instant::now();
    let found = verify(&store, arguments.threads.map_or_else(cores, usize::from))?;
    let report = report(&store, &found, begun.elapsed().as_secs_f64());
    output.print(&report)?;
    match report.damages.first() {
        None => Ok(()),
        Some(first) => Err(ArchiveError::Damaged {
            count: count(report.damage_count, "damage", "damages"),
            dir: arguments.store.dir.clone(),
            first: first.text(),
        }),
    }
}

fn verify(store: &Store, threads: usize) -> Result<StoreReport, ArchiveError> {
    let bar = progress_bar(0, "period {pos}/{len} [{wide_bar}] {eta} left");
    let progress = |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    };
    let report = store.verify(threads, &progress)?;
    bar.finish_and_clear();
    Ok(report)
}

fn report(store: &Store, found: &StoreReport, seconds: f64) -> VerifyReport {
    VerifyReport {
        dir: store.path().display().to_string(),
        clean: found.is_clean(),
        periods: found.periods,
        lost_periods: found.lost_periods,
        blocks: found.blocks,
        operations: found.operations,
        body_bytes: found.body_bytes,
        pending_blocks: found.pending_blocks,
        invalid_endorsements: found.invalid_endorsements,
        damage_count: found.damage_count,
        damages: found
            .damages
            .iter()
            .map(|damage| DamageReport::new(store, damage))
            .collect(),
        seconds,
    }
}

/// Threads of the blocks that touch the damaged page or chunk.
fn affected_threads(store: &Store, damage: &Damage) -> Vec<u8> {
    if let Some(thread) = damage.thread {
        return vec![thread];
    }
    let (Some(period), Some(chunk)) = (damage.period, damage.chunk) else {
        return Vec::new();
    };
    // A damaged manifest is damage of its own; it says nothing about places.
    let Ok(Some(manifest)) = store.manifest(period) else {
        return Vec::new();
    };
    let chunk_size = u64::from(manifest.header.chunk_size);
    let chunk_start = u64::from(chunk) * chunk_size;
    let (start, length) = match damage.page {
        Some(page) => (chunk_start + u64::from(page) * PAGE_BYTES as u64, PAGE_BYTES as u64),
        None => (chunk_start, chunk_size),
    };
    let touched = |thread: &u8| {
        let range = manifest.block_range(*thread);
        range.is_some_and(|range| range.start < start + length && start < range.end)
    };
    (0..manifest.header.threads).filter(touched).collect()
}
