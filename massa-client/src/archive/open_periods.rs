//! Periods that are not archived yet, and what they wait for.

use crate::output::{count, ranges};
use massa_distributed_storage_worker::places::{PlaceTracker, Settled};
use massa_distributed_storage_worker::storage_backend::read::ReadError;
use massa_distributed_storage_worker::Store;
use serde::Serialize;

/// A period of which some places are known and others awaited.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenPeriod {
    /// The period.
    pub period: u64,
    /// Blocks that are here.
    pub blocks: usize,
    /// Slots known to be missed.
    pub misses: usize,
    /// Threads of which no later block is here: block or miss, nothing tells.
    pub threads_without_later_block: Vec<u8>,
    /// Threads of which a later block is here, but not its parent.
    pub threads_with_missing_parent: Vec<u8>,
}

impl OpenPeriod {
    /// Awaited places.
    pub fn awaited(&self) -> usize {
        self.threads_without_later_block.len() + self.threads_with_missing_parent.len()
    }

    /// What is awaited, and why.
    pub fn text(&self) -> String {
        let mut reasons = Vec::new();
        let mut reason = |threads: &[u8], why: &str| {
            if !threads.is_empty() {
                let noun = if threads.len() == 1 { "thread" } else { "threads" };
                let list = ranges(threads.iter().map(|thread| u64::from(*thread)));
                reasons.push(format!("{noun} {list}: {why}"));
            }
        };
        reason(
            &self.threads_without_later_block,
            "no later block of the thread is here",
        );
        reason(
            &self.threads_with_missing_parent,
            "the parent of a later block is not here",
        );
        let awaited = count(self.awaited() as u64, "place", "places");
        format!("period {}: {awaited} awaited ({})", self.period, reasons.join("; "))
    }
}

/// The open periods, in order.
///
/// # Errors
/// [`ReadError`].
pub fn open_periods(store: &Store, tracker: &PlaceTracker) -> Result<Vec<OpenPeriod>, ReadError> {
    let mut periods: Vec<u64> = tracker.open_periods().map(|(period, _)| period).collect();
    let Some(first) = periods.first().copied() else {
        return Ok(Vec::new());
    };
    if store.last_period()?.is_some_and(|last| last > first) {
        periods.extend(store.archived_periods()?.into_iter().filter(|period| *period > first));
        periods.sort_unstable();
    }
    let mut open = Vec::new();
    let mut later_blocks = vec![false; usize::from(store.parameters().thread_count)];
    for period in periods.into_iter().rev() {
        match tracker.places(period) {
            Some(places) => open.push(open_period(period, places, &mut later_blocks)),
            None => note_archived_blocks(store, period, &mut later_blocks)?,
        }
    }
    open.reverse();
    Ok(open)
}

/// Notes the threads of an archived period that have a block.
fn note_archived_blocks(store: &Store, period: u64, later_blocks: &mut [bool]) -> Result<(), ReadError> {
    if later_blocks.iter().all(|known| *known) {
        return Ok(());
    }
    let manifest = store.archived_manifest(period)?;
    for (place, later) in manifest.places.iter().zip(later_blocks) {
        *later |= place.block_id().is_some();
    }
    Ok(())
}

/// `later_blocks[thread]` tells whether a block of the thread stands in a later period; it is brought up to this one.
fn open_period(period: u64, places: &[Option<Settled>], later_blocks: &mut [bool]) -> OpenPeriod {
    let mut open = OpenPeriod {
        period,
        blocks: 0,
        misses: 0,
        threads_without_later_block: Vec::new(),
        threads_with_missing_parent: Vec::new(),
    };
    for ((place, later), thread) in places.iter().zip(later_blocks).zip(0..) {
        match place {
            Some(Settled::Block(_)) => {
                open.blocks += 1;
                *later = true;
            }
            Some(Settled::Miss) => open.misses += 1,
            None if *later => open.threads_with_missing_parent.push(thread),
            None => open.threads_without_later_block.push(thread),
        }
    }
    open
}

/// The first few of a list of lines, and how many more there are.
pub fn first_lines(lines: impl ExactSizeIterator<Item = String>, limit: usize) -> Vec<String> {
    let more = lines.len().saturating_sub(limit);
    let mut shown: Vec<String> = lines.take(limit).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown
}
