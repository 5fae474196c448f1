//! `massa-cli archive get-period`.

use crate::archive::list_periods::stream_chunks;
use crate::archive::list_segments::ListedState;
use crate::archive::open_periods::joined_periods;
use crate::archive::proofs::print_proof;
use crate::archive::{ArchiveError, StoreArguments};
use crate::output::{name_value_lines, table, Output, Report};
use clap::Args;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::{ChunkId, PeriodRoot};
use massa_distributed_storage_worker::storage_backend::{EntryRead, SegmentStore, StoreError};
use massa_models::block_id::BlockId;
use serde::Serialize;

/// Arguments of `archive get-period`.
#[derive(Debug, Args)]
pub struct GetPeriodArguments {
    /// The period.
    pub period: u64,
    /// The store.
    #[command(flatten)]
    pub store: StoreArguments,
    /// Write a proof, for check-proof: the slots of the period, and its path to the segment root.
    #[arg(long)]
    pub proof: bool,
}

/// A period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeriodReport {
    /// The period.
    pub period: u64,
    /// Its segment.
    pub segment: u64,
    /// Whether it is archived; if not, slots are missing, or periods before it in its segment.
    pub archived: bool,
    /// Its slots, in thread order.
    pub slots: Vec<SlotLine>,
    /// What only an archived period has.
    #[serde(flatten)]
    pub archive: Option<ArchivePart>,
}

/// What only an archived period has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchivePart {
    /// Whether its segment is finished.
    pub state: ListedState,
    /// Its root.
    pub root: PeriodRoot,
    /// Whether it is lost: ids without blocks.
    pub lost: bool,
    /// Its bytes, entry included.
    pub bytes: u32,
    /// The chunks that it touches.
    pub chunks: Vec<ChunkLine>,
}

/// A slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct SlotLine {
    /// Thread.
    pub thread: u8,
    /// What is there.
    pub state: SlotState,
    /// The block.
    pub block_id: Option<BlockId>,
}

/// What is at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotState {
    /// A block.
    Block,
    /// A block of which only the id is known: the period is lost.
    Lost,
    /// Nothing: the slot was missed.
    Miss,
    /// Not known yet.
    Missing,
}

/// A chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChunkLine {
    /// Its number in the segment.
    pub chunk: u32,
    /// Its bytes; nothing while it is filling, and where a node does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// Its id, once it is full or its segment closed; a node does not tell it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chunk_id: Option<ChunkId>,
    /// Whether this node holds it.
    pub held: bool,
}

impl SlotLine {
    fn row(&self) -> Vec<String> {
        let content = match (self.state, self.block_id) {
            (SlotState::Missing, _) => "missing".to_string(),
            (SlotState::Lost, Some(id)) => format!("{id} (lost)"),
            (_, Some(id)) => id.to_string(),
            (_, None) => "missed".to_string(),
        };
        vec![self.thread.to_string(), content]
    }
}

impl ChunkLine {
    fn row(&self) -> Vec<String> {
        vec![
            self.chunk.to_string(),
            self.length.map_or_else(|| "-".to_string(), |length| length.to_string()),
            if self.held { "yes" } else { "no" }.to_string(),
            self.chunk_id.map_or_else(|| "-".to_string(), |id| id.to_string()),
        ]
    }
}

/// The slots that an entry lists.
pub(crate) fn slots_of_entry(entry: &PeriodEntry) -> Vec<SlotLine> {
    let line = |(id, thread): (Option<BlockId>, u8)| SlotLine {
        thread,
        state: match id {
            None => SlotState::Miss,
            Some(_) if entry.is_lost() => SlotState::Lost,
            Some(_) => SlotState::Block,
        },
        block_id: id,
    };
    entry.ids().zip(0..).map(line).collect()
}

impl Report for PeriodReport {
    fn text(&self) -> String {
        let slots = table(["thread", "block"], self.slots.iter().map(SlotLine::row));
        let Some(archive) = &self.archive else {
            return format!(
                "period {} of segment {}: not archived yet\n{slots}",
                self.period, self.segment
            );
        };
        let state = match archive.state {
            ListedState::Open => "open: the segment has no root yet",
            ListedState::Closed => "closed",
        };
        let content = if archive.lost {
            "lost: nobody had all of its blocks".to_string()
        } else {
            format!("{} bytes", archive.bytes)
        };
        let lines = name_value_lines([
            ("period", self.period.to_string()),
            ("root", archive.root.to_string()),
            ("segment", format!("{}, {state}", self.segment)),
            ("content", content),
        ]);
        let chunks = table(
            ["chunk", "bytes", "held", "id"],
            archive.chunks.iter().map(ChunkLine::row),
        );
        format!("{lines}\n{slots}\n{chunks}")
    }
}

/// Prints a period or a proof of it.
///
/// # Errors
/// [`ArchiveError`].
pub fn run(arguments: &GetPeriodArguments, output: Output) -> Result<(), ArchiveError> {
    let store = arguments.store.open()?;
    let report = report(&store, arguments.period)?;
    if arguments.proof {
        return print_proof(&store, arguments.period, output, |evidence| evidence.period());
    }
    Ok(output.print(&report)?)
}

fn report(store: &SegmentStore, period: u64) -> Result<PeriodReport, ArchiveError> {
    let parameters = store.parameters();
    let not_archived = ArchiveError::NotArchived { period };
    if period < parameters.first_period {
        return Err(not_archived);
    }
    let segment = parameters.segment_of(period);
    if store.segment_root(segment)?.is_some() {
        return closed(store, segment, period);
    }
    match open(store, segment, period)? {
        Some(report) => Ok(report),
        None => pending(store, segment, period).ok_or(not_archived),
    }
}

fn closed(store: &SegmentStore, segment: u64, period: u64) -> Result<PeriodReport, ArchiveError> {
    let not_archived = || ArchiveError::NotArchived { period };
    let (table, held) = store.table_and_held(segment)?.ok_or_else(not_archived)?;
    let row = table.period(period).ok_or_else(not_archived)?;
    let range = table.period_range(period).ok_or_else(not_archived)?;
    let entry = match store.entry(period)? {
        EntryRead::Found(entry) => entry,
        EntryRead::NotHeld { chunks } => return Err(not_held(format!("period {period}"), segment, &chunks)),
        EntryRead::Missing => return Err(not_archived()),
        EntryRead::Pruned => return Err(pruned(store, period)),
    };
    let chunks = table.chunks_of(&range).map(|chunk| ChunkLine {
        chunk,
        length: Some(table.header().chunk_length(chunk)),
        chunk_id: table.chunk(chunk).map(|row| row.id),
        held: held.contains(chunk),
    });
    Ok(PeriodReport {
        period,
        segment,
        archived: true,
        slots: slots_of_entry(&entry),
        archive: Some(ArchivePart {
            state: ListedState::Closed,
            root: row.root,
            lost: entry.is_lost(),
            bytes: row.length,
            chunks: chunks.collect(),
        }),
    })
}

/// A period in the stream of an open segment; `None` if it is not.
fn open(store: &SegmentStore, segment: u64, period: u64) -> Result<Option<PeriodReport>, StoreError> {
    let joined = joined_periods(store, segment)?;
    let Some(index) = joined.iter().position(|joined| joined.period == period) else {
        return Ok(None);
    };
    let start: u64 = joined[..index].iter().map(|joined| u64::from(joined.length)).sum();
    let found = &joined[index];
    let chunk_size = store.parameters().chunk_size;
    let touched = stream_chunks(&(start..start + u64::from(found.length)), chunk_size);
    let filled = store.stream_chunks(segment)?;
    let chunks = touched.map(|chunk| {
        let full = filled.iter().find(|full| full.position.index.0 == chunk);
        ChunkLine {
            chunk,
            length: full.map(|_| chunk_size),
            chunk_id: full.map(|full| full.id),
            held: false,
        }
    });
    Ok(Some(PeriodReport {
        period,
        segment,
        archived: true,
        slots: slots_of_entry(&found.entry),
        archive: Some(ArchivePart {
            state: ListedState::Open,
            root: found.root,
            lost: found.entry.is_lost(),
            bytes: found.length,
            chunks: chunks.collect(),
        }),
    }))
}

/// A period of which something is known; `None` if nothing is.
fn pending(store: &SegmentStore, segment: u64, period: u64) -> Option<PeriodReport> {
    let mut slots: Vec<SlotLine> = (0..store.parameters().thread_count)
        .map(|thread| SlotLine {
            thread,
            state: SlotState::Missing,
            block_id: None,
        })
        .collect();
    let known = store.open_slots(period..period.checked_add(1)?);
    if known.is_empty() {
        return None;
    }
    for (slot, block_id) in known {
        if let Some(line) = slots.get_mut(usize::from(slot.thread)) {
            line.state = if block_id.is_some() {
                SlotState::Block
            } else {
                SlotState::Miss
            };
            line.block_id = block_id;
        }
    }
    Some(PeriodReport {
        period,
        segment,
        archived: false,
        slots,
        archive: None,
    })
}

/// Chunks that are kept by others.
pub(super) fn not_held(what: String, segment: u64, chunks: &[u32]) -> ArchiveError {
    let noun = if chunks.len() == 1 { "chunk" } else { "chunks" };
    let verb = if chunks.len() == 1 { "is" } else { "are" };
    let list = crate::output::ranges(chunks.iter().map(|chunk| u64::from(*chunk)));
    ArchiveError::NotHeld {
        what,
        chunks: format!("{noun} {list}"),
        verb,
        segment,
    }
}

/// The segment of a period was let go.
pub(super) fn pruned(store: &SegmentStore, period: u64) -> ArchiveError {
    ArchiveError::Pruned {
        period,
        floor: store.parameters().segment_start(store.floor()),
    }
}
