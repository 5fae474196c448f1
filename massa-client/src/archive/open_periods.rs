//! `massa-cli archive open-periods`: periods that are not archived yet, and what they wait for.

use crate::archive::list_segments::for_each_segment;
use crate::archive::{ArchiveError, StoreArguments};
use crate::output::{count, ranges, Report};
use clap::Args;
use massa_distributed_storage_worker::storage_backend::{JoinedPeriod, SegmentState, SegmentStore, StoreError};
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Arguments of `archive open-periods`.
#[derive(Debug, Args)]
pub struct OpenPeriodsArguments {
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Periods at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

/// What is not archived yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OpenPeriodsReport {
    /// The first segment that is not closed: later ones close after it.
    pub first_open_segment: u64,
    /// The newest period of an open segment of which anything is here.
    pub newest: Option<u64>,
    /// Periods of which something is here and something missing, or that wait for one before them.
    pub open_periods: Vec<OpenPeriod>,
    /// Runs of periods up to the newest of which nothing is here: first and last of each.
    pub absent: Vec<(u64, u64)>,
}

/// A period of an open segment that did not join it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OpenPeriod {
    /// The period.
    pub period: u64,
    /// Its segment.
    pub segment: u64,
    /// Blocks that are here.
    pub blocks: usize,
    /// Slots known to be missed.
    pub misses: usize,
    /// Threads of which no later block is here: block or miss, nothing tells.
    pub threads_without_later_block: Vec<u8>,
    /// Threads of which a later block is here, but not its parent.
    pub threads_with_missing_parent: Vec<u8>,
    /// Missing blocks whose id is known.
    pub missing_blocks: Vec<MissingBlock>,
}

/// A block that was final and is not here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MissingBlock {
    /// Its thread.
    pub thread: u8,
    /// Its id.
    pub block_id: BlockId,
}

impl OpenPeriod {
    /// Slots that are missing.
    pub fn missing(&self) -> usize {
        self.threads_without_later_block.len() + self.threads_with_missing_parent.len()
    }

    /// What is missing, and why.
    pub fn text(&self) -> String {
        if self.missing() == 0 {
            return format!("period {}: complete, waits for a period before it", self.period);
        }
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
        let missing = count(self.missing() as u64, "slot", "slots");
        format!("period {}: {missing} missing ({})", self.period, reasons.join("; "))
    }
}

impl Report for OpenPeriodsReport {
    fn text(&self) -> String {
        let mut lines: Vec<String> = self.open_periods.iter().map(OpenPeriod::text).collect();
        lines.extend(self.absent.iter().map(|(first, last)| match first == last {
            true => format!("period {first}: nothing of it is here"),
            false => format!("periods {first} to {last}: nothing of them is here"),
        }));
        let ids = self
            .open_periods
            .iter()
            .flat_map(|open| open.missing_blocks.iter().map(move |block| (open.period, block)));
        lines.extend(ids.map(|(period, block)| format!("block {} of slot {period}:{}", block.block_id, block.thread)));
        let segment = self.first_open_segment;
        lines.push(if lines.is_empty() {
            format!("segment {segment} is open, and no period waits")
        } else {
            format!("segment {segment} is the first that is open; later ones close after it")
        });
        lines.join("\n")
    }
}

/// Lists the periods of open segments that did not join them. Costs what is open.
///
/// # Errors
/// [`ArchiveError`].
pub fn list(arguments: &OpenPeriodsArguments) -> Result<OpenPeriodsReport, ArchiveError> {
    let store = arguments.store.open()?;
    let mut report = open_periods(&store)?;
    if let Some(limit) = arguments.limit {
        report
            .open_periods
            .truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    Ok(report)
}

/// What is known of the slots of a period; `None` entries are missing.
type Slots = Vec<Option<Option<BlockId>>>;

/// The periods of open segments that did not join them.
///
/// # Errors
/// [`StoreError`].
pub fn open_periods(store: &SegmentStore) -> Result<OpenPeriodsReport, StoreError> {
    let parameters = store.parameters();
    let first_open_segment = store.first_without_table(parameters.first_segment())?;
    let first_open = parameters.segment_start(first_open_segment);
    let (mut known, mut joined, mut here) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    for_each_segment(store, first_open_segment, |info| {
        let periods = store.periods_of(info.segment);
        if info.state == SegmentState::Open {
            joined.extend(joined_periods(store, info.segment)?.iter().map(|joined| joined.period));
            known.extend(slots_of(store, periods));
        } else {
            here.push(periods);
        }
        Ok::<_, StoreError>(true)
    })?;
    let newest = known.keys().next_back().copied().max(joined.last().copied());
    here.extend(known.keys().chain(&joined).map(|period| *period..period + 1));
    let absent = gaps(first_open, newest, here);
    let mut open = judged(known, &joined, parameters.thread_count);
    for period in &mut open {
        period.segment = parameters.segment_of(period.period);
    }
    note_ids(store, &mut open)?;
    Ok(OpenPeriodsReport {
        first_open_segment,
        newest,
        open_periods: open,
        absent,
    })
}

/// The periods in the stream of an open segment, in order. A joined row whose blocks are not here says nothing: its process was
/// killed before it wrote the table.
///
/// # Errors
/// [`StoreError`].
pub(super) fn joined_periods(store: &SegmentStore, segment: u64) -> Result<Vec<JoinedPeriod>, StoreError> {
    let mut joined = Vec::new();
    for period in store.periods_of(segment) {
        let Some(row) = store.joined_period(period)? else { break };
        if !row.entry.is_lost() && store.open_slots(period..period + 1).is_empty() {
            break;
        }
        joined.push(row);
    }
    Ok(joined)
}

fn slots_of(store: &SegmentStore, periods: Range<u64>) -> BTreeMap<u64, Slots> {
    let threads = usize::from(store.parameters().thread_count);
    let mut known: BTreeMap<u64, Slots> = BTreeMap::new();
    for (Slot { period, thread }, block) in store.open_slots(periods) {
        let slots = known.entry(period).or_insert_with(|| vec![None; threads]);
        if let Some(slot) = slots.get_mut(usize::from(thread)) {
            *slot = Some(block);
        }
    }
    known
}

/// From the newest period down, so that of each thread it is known whether a later block is here.
fn judged(known: BTreeMap<u64, Slots>, joined: &BTreeSet<u64>, threads: u8) -> Vec<OpenPeriod> {
    let mut later_blocks = vec![false; usize::from(threads)];
    let mut open = Vec::new();
    for (period, slots) in known.into_iter().rev() {
        let found = judge(period, &slots, &mut later_blocks);
        if !joined.contains(&period) {
            open.push(found);
        }
    }
    open.reverse();
    open
}

/// `later_blocks[thread]` tells whether a block of the thread stands in a later period; it is brought up to this one.
fn judge(period: u64, slots: &Slots, later_blocks: &mut [bool]) -> OpenPeriod {
    let mut open = OpenPeriod {
        period,
        segment: 0,
        blocks: 0,
        misses: 0,
        threads_without_later_block: Vec::new(),
        threads_with_missing_parent: Vec::new(),
        missing_blocks: Vec::new(),
    };
    for ((slot, later), thread) in slots.iter().zip(later_blocks).zip(0..) {
        match slot {
            Some(Some(_)) => {
                open.blocks += 1;
                *later = true;
            }
            Some(None) => open.misses += 1,
            None if *later => open.threads_with_missing_parent.push(thread),
            None => open.threads_without_later_block.push(thread),
        }
    }
    open
}

fn note_ids(store: &SegmentStore, open: &mut [OpenPeriod]) -> Result<(), StoreError> {
    for (slot, id) in store.missing_slots()? {
        let (Some(block_id), Ok(index)) = (id, open.binary_search_by_key(&slot.period, |open| open.period)) else {
            continue;
        };
        let thread = slot.thread;
        open[index].missing_blocks.push(MissingBlock { thread, block_id });
    }
    Ok(())
}

/// Runs of periods from `first` to `newest` that are in none of the ranges: first and last of each.
fn gaps(first: u64, newest: Option<u64>, mut here: Vec<Range<u64>>) -> Vec<(u64, u64)> {
    here.sort_unstable_by_key(|periods| periods.start);
    let (mut gaps, mut next) = (Vec::new(), first);
    for periods in here {
        if newest.map_or(true, |newest| periods.start > newest) {
            break;
        }
        if periods.start > next {
            gaps.push((next, periods.start - 1));
        }
        next = next.max(periods.end);
    }
    gaps
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_what_is_in_no_range_up_to_the_newest() {
        assert_eq!(gaps(3, None, vec![]), []);
        assert_eq!(gaps(3, Some(9), vec![9..10, 5..6, 6..7]), [(3, 4), (7, 8)]);
        assert_eq!(gaps(3, Some(4), vec![3..4, 4..5, 100..200]), []);
        assert_eq!(
            gaps(0, Some(250), vec![100..200, 150..160, 250..251]),
            [(0, 99), (200, 249)]
        );
    }
}
