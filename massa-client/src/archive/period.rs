//! `massa-cli archive get-period`.

use crate::archive::stat::chunks_kept;
use crate::archive::{ArchiveError, StoreArguments};
use crate::output::{name_value_lines, table, Output, Report};
use clap::Args;
use massa_distributed_storage_exports::manifest::{Manifest, Place};
use massa_distributed_storage_exports::{ChunkId, PeriodRoot};
use massa_distributed_storage_worker::ingest::restore;
use massa_distributed_storage_worker::places::Settled;
use massa_distributed_storage_worker::proofs::prove_period;
use massa_distributed_storage_worker::storage_backend::read::ReadError;
use massa_distributed_storage_worker::Store;
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
    /// Write a proof, for check-proof: places and chunks of the period, and its path to the segment root.
    #[arg(long)]
    pub proof: bool,
}

/// A period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PeriodReport {
    /// The period.
    pub period: u64,
    /// Whether it is archived; if not, places are awaited.
    pub archived: bool,
    /// Its places, in thread order.
    pub places: Vec<PlaceLine>,
    /// What only an archived period has.
    #[serde(flatten)]
    pub archive: Option<ArchivePart>,
}

/// What only an archived period has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ArchivePart {
    /// Its root.
    pub root: PeriodRoot,
    /// Bytes of its body.
    pub body_bytes: u64,
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// Its chunks, in body order.
    pub chunks: Vec<ChunkLine>,
}

/// A place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PlaceLine {
    /// Thread.
    pub thread: u8,
    /// What is there.
    pub state: PlaceState,
    /// The block.
    pub block_id: Option<BlockId>,
}

/// What is at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PlaceState {
    /// A block.
    Block,
    /// A block of which only the id is known: the period is lost.
    Lost,
    /// Nothing: the slot was missed.
    Miss,
    /// Not known yet.
    Awaited,
}

/// A chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ChunkLine {
    /// Position in the body.
    pub index: u32,
    /// Its bytes.
    pub length: u32,
    /// Its id.
    pub id: ChunkId,
    /// Whether this node keeps it.
    pub kept: bool,
}

impl PlaceLine {
    fn new(thread: u8, settled: Option<Settled>) -> Self {
        let (state, block_id) = match settled {
            Some(Settled::Block(id)) => (PlaceState::Block, Some(id)),
            Some(Settled::Miss) => (PlaceState::Miss, None),
            None => (PlaceState::Awaited, None),
        };
        Self {
            thread,
            state,
            block_id,
        }
    }

    fn row(&self) -> Vec<String> {
        let content = match (self.state, self.block_id) {
            (PlaceState::Awaited, _) => "awaited".to_string(),
            (PlaceState::Lost, Some(id)) => format!("{id} (lost)"),
            (_, Some(id)) => id.to_string(),
            (_, None) => "missed".to_string(),
        };
        vec![self.thread.to_string(), content]
    }
}

impl Report for PeriodReport {
    fn text(&self) -> String {
        let places = table(["thread", "block"], self.places.iter().map(PlaceLine::row));
        let Some(archive) = &self.archive else {
            return format!("period {}: not complete\n{places}", self.period);
        };
        let lines = name_value_lines([
            ("period", self.period.to_string()),
            ("root", archive.root.to_string()),
            (
                "body",
                if archive.chunks.is_empty() {
                    "lost: nobody had all blocks when the segment was anchored".to_string()
                } else {
                    format!("{} bytes", archive.body_bytes)
                },
            ),
        ]);
        let row = |chunk: &ChunkLine| {
            let kept = if chunk.kept { "yes" } else { "no" };
            vec![
                chunk.index.to_string(),
                chunk.length.to_string(),
                kept.to_string(),
                chunk.id.to_string(),
            ]
        };
        let chunks = table(["chunk", "bytes", "kept", "id"], archive.chunks.iter().map(row));
        format!("{lines}\n{places}\n{chunks}")
    }
}

/// Prints a period or a proof of it.
///
/// # Errors
/// [`ArchiveError`].
pub fn run(arguments: &GetPeriodArguments, output: Output) -> Result<(), ArchiveError> {
    let store = arguments.store.open()?;
    if arguments.proof {
        return Ok(output.print_document(&prove_period(&store, arguments.period)?)?);
    }
    Ok(output.print(&report(&store, arguments.period)?)?)
}

fn report(store: &Store, period: u64) -> Result<PeriodReport, ReadError> {
    match store.archived_manifest(period) {
        Ok(manifest) => archived(store, &manifest),
        Err(error @ ReadError::NotArchived { .. }) => open(store, period)?.ok_or(error),
        Err(error) => Err(error),
    }
}

fn archived(store: &Store, manifest: &Manifest) -> Result<PeriodReport, ReadError> {
    Ok(PeriodReport::new(manifest, &chunks_kept(store, manifest)?))
}

impl PeriodReport {
    /// What is shown of an archived period; `kept` has a value for each chunk.
    pub(crate) fn new(manifest: &Manifest, kept: &[bool]) -> Self {
        let chunks = manifest
            .chunks
            .iter()
            .zip(kept)
            .zip(0..)
            .map(|((entry, kept), index)| ChunkLine {
                index,
                length: entry.length,
                id: entry.id,
                kept: *kept,
            });
        let places = manifest.places.iter().zip(0..).map(|(place, thread)| {
            let settled = place.block_id().map_or(Settled::Miss, Settled::Block);
            let line = PlaceLine::new(thread, Some(settled));
            match place {
                Place::Lost { .. } => PlaceLine {
                    state: PlaceState::Lost,
                    ..line
                },
                Place::Block { .. } | Place::Miss => line,
            }
        });
        Self {
            period: manifest.header.period,
            archived: true,
            places: places.collect(),
            archive: Some(ArchivePart {
                root: manifest.root(),
                body_bytes: manifest.header.body_length,
                chunk_size: manifest.header.chunk_size,
                chunks: chunks.collect(),
            }),
        }
    }
}

/// A period of which something is known; `None` if nothing is.
fn open(store: &Store, period: u64) -> Result<Option<PeriodReport>, ReadError> {
    let tracker = restore(store)?;
    let places = tracker.places(period).map(|places| {
        let lines = places.iter().zip(0..);
        lines.map(|(place, thread)| PlaceLine::new(thread, *place)).collect()
    });
    Ok(places.map(|places| PeriodReport {
        period,
        archived: false,
        places,
        archive: None,
    }))
}
