//! Import of an `.mblk` file into a store of segments.
//!
//! Blocks go through the store's one writer. A segment is in memory until it is whole, then its chunks, rows and table are written
//! ([`Acknowledge::AtClose`]); what is open at the end of the file becomes block rows. Whatever ends the import, the same call
//! takes it up again and ends in the same roots.
//!
//! A block of a segment that is closed is known, but what the store has of it may be damaged or let go: the chunks of each closed
//! segment of which the file has every period are checked once ([`SegmentStore::check_chunk`]), and those that are damaged or
//! missing are cut from the file again, if its periods lead to the root of the table.

use crate::archive::segment_pipeline::{for_each_block, CheckedEntry, Checks, InvalidBlock, Signatures, Stop};
use crate::archive::segment_repair::SegmentRepair;
use crate::mblk::{unpack, Entry, MblkError, Position, Reader};
use massa_distributed_storage_exports::record::RecordError;
use massa_distributed_storage_exports::types::DEFAULT_CHUNK_BYTES;
use massa_distributed_storage_exports::{ArchiveParameters, SegmentRoot};
use massa_distributed_storage_worker::archive::ingest::{
    keep_all, Acknowledge, Ingest, IngestError, IngestOptions, Progress,
};
use massa_distributed_storage_worker::segment_store::{SegmentStore, SegmentStoreOptions, StoreError};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;

/// Periods of a segment unless another number is asked for.
const DEFAULT_SEGMENT_PERIODS: u64 = 100;

/// What is imported, and how.
#[derive(Clone, Debug)]
pub struct SegmentImport {
    /// The file: .mblk, packed with zstd or not.
    pub file: PathBuf,
    /// Periods of a segment, in a new store; `None`: 100.
    pub segment_periods: Option<u64>,
    /// Bytes of a chunk, in a new store; `None`: 1 MiB.
    pub chunk_size: Option<u32>,
    /// Whether signatures are checked. Ids and operation roots always are.
    pub signatures: Signatures,
    /// The file is complete to its end: slots of its last periods without a block were missed.
    pub complete: bool,
}

/// Why an import failed. What came before is archived.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SegmentImportError {
    /// The file could not be opened.
    #[error("could not read {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged, or something else.
    #[error(transparent)]
    File(Box<MblkError>),
    /// A block of the file is not valid: the file is at fault.
    #[error(transparent)]
    Invalid(Box<InvalidBlock>),
    /// The ids of the first block are wrong: the file is at fault.
    #[error("{at}")]
    First {
        /// The block.
        at: Position,
        /// What is wrong.
        source: RecordError,
    },
    /// A block contradicts the store, or could not be written.
    #[error("{at}")]
    NotTaken {
        /// The block.
        at: Position,
        /// Why.
        source: Box<IngestError<StoreError>>,
    },
    /// A new store takes its parameters from the first block, and there is none.
    #[error("{path}: the file has no block")]
    NoBlock {
        /// The file.
        path: PathBuf,
    },
    /// The writer could not start or end.
    #[error(transparent)]
    Ingest(Box<IngestError<StoreError>>),
    /// A complete period could not join, or a segment not close.
    #[error("{0}")]
    Stalled(String),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<Stop> for SegmentImportError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::File(error) => Self::File(error),
            Stop::Block(error) => Self::Invalid(error),
        }
    }
}

impl From<IngestError<StoreError>> for SegmentImportError {
    fn from(error: IngestError<StoreError>) -> Self {
        Self::Ingest(Box::new(error))
    }
}

/// What an import did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentImportReport {
    /// Blocks of the file.
    pub blocks_read: u64,
    /// Blocks that the store did not have.
    pub blocks_new: u64,
    /// Blocks that it had.
    pub blocks_known: u64,
    /// Operations of the file.
    pub operations: u64,
    /// Bytes of its blocks.
    pub bytes: u64,
    /// Periods that joined their segment.
    pub periods_archived: u64,
    /// Segments that were closed, with their roots.
    pub segments_closed: Vec<(u64, SegmentRoot)>,
    /// Chunks of segments that were closed before that were damaged or missing and are held again.
    pub chunks_repaired: u64,
}

/// Reads the parameters of a new store from a file: its first block is the first of the archive.
///
/// # Errors
/// [`SegmentImportError`].
pub fn parameters_of(import: &SegmentImport) -> Result<ArchiveParameters, SegmentImportError> {
    let mut reader = open_file(import)?;
    let (chain_id, thread_count) = (reader.chain_id(), reader.thread_count());
    let first = reader.next().transpose().map_err(Box::new);
    let first = first.map_err(SegmentImportError::File)?;
    let first = first.ok_or_else(|| SegmentImportError::NoBlock {
        path: import.file.clone(),
    })?;
    let Entry { at, slot, record } = first;
    let view = record.check_ids(chain_id, thread_count);
    let view = view.map_err(|source| SegmentImportError::First { at, source })?;
    Ok(ArchiveParameters {
        chain_id,
        thread_count,
        chunk_size: import.chunk_size.unwrap_or(DEFAULT_CHUNK_BYTES),
        segment_periods: import.segment_periods.unwrap_or(DEFAULT_SEGMENT_PERIODS),
        first_period: slot.period,
        // No block of the file comes before the first, so all of its parents come before the archive.
        boundary: view.parents().collect(),
    })
}

/// Imports a file into the store of `options`, which is made if there is none.
///
/// # Errors
/// [`SegmentImportError`]. What was read before an error stays in the store.
pub fn import(import: &SegmentImport, options: SegmentStoreOptions) -> Result<SegmentImportReport, SegmentImportError> {
    let store = Arc::new(SegmentStore::open_or_create(options, &parameters_of(import)?)?);
    let imported = import_into(import, &store);
    store.close();
    imported
}

/// Imports a file into an open store.
///
/// # Errors
/// [`SegmentImportError`]. What was read before an error stays in the store.
pub fn import_into(
    import: &SegmentImport,
    store: &Arc<SegmentStore>,
) -> Result<SegmentImportReport, SegmentImportError> {
    let reader = open_file(import)?;
    let mut running = Running::begin(store)?;
    let checks = Checks {
        parameters: store.parameters(),
        signatures: import.signatures,
        threads: crate::archive::import::cores(),
    };
    let imported = for_each_block(reader, checks, |entry| running.add(entry));
    // What came before an error is kept.
    running.end(import.complete && imported.is_ok())?;
    imported.map(|()| running.report)
}

fn open_file(import: &SegmentImport) -> Result<Reader<Box<dyn Read + Send>>, SegmentImportError> {
    let unreadable = |source| SegmentImportError::Open {
        path: import.file.clone(),
        source,
    };
    let file = File::open(&import.file).map_err(unreadable)?;
    let input = unpack(file).map_err(unreadable)?;
    Reader::new(input).map_err(|error| SegmentImportError::File(Box::new(error)))
}

/// Blocks on their way into the store.
struct Running {
    ingest: Ingest<SegmentStore>,
    repair: SegmentRepair,
    /// First and last period of the file.
    periods: Option<(u64, u64)>,
    report: SegmentImportReport,
}

impl Running {
    fn begin(store: &Arc<SegmentStore>) -> Result<Self, SegmentImportError> {
        let options = IngestOptions {
            acknowledge: Acknowledge::AtClose,
            keep: keep_all(),
            held_back_bytes_max: u64::MAX,
        };
        let (ingest, progress) = Ingest::open(Arc::clone(store), options)?;
        let mut running = Self {
            repair: SegmentRepair::new(Arc::clone(store), ingest.next_segment()),
            ingest,
            periods: None,
            report: SegmentImportReport::default(),
        };
        running.note(progress)?;
        Ok(running)
    }

    fn add(&mut self, entry: CheckedEntry) -> Result<(), SegmentImportError> {
        let CheckedEntry { at, block } = entry;
        let slot = block.slot();
        self.report.blocks_read += 1;
        self.report.bytes += block.record().as_bytes().len() as u64;
        self.report.operations += block.record().operation_count() as u64;
        let first = self.periods.map_or(slot.period, |(first, _)| first);
        self.periods = Some((first, slot.period));
        self.report.chunks_repaired += self.repair.add(&block)?;
        let taken = self.ingest.add_checked(block);
        let progress = taken.map_err(|error| SegmentImportError::NotTaken {
            at,
            source: Box::new(error),
        })?;
        self.report.blocks_known += u64::from(progress.known);
        self.report.blocks_new += u64::from(!progress.known);
        self.note(progress)
    }

    /// Counts what happened, and closes what can be closed.
    fn note(&mut self, progress: Progress) -> Result<(), SegmentImportError> {
        self.count(progress)?;
        while self.ingest.is_closing() {
            let progress = self.ingest.close_slice()?;
            self.count(progress)?;
        }
        Ok(())
    }

    fn count(&mut self, progress: Progress) -> Result<(), SegmentImportError> {
        self.report.periods_archived += progress.archived.len() as u64;
        let closed = progress.closed.into_iter().map(|closed| (closed.segment, closed.root));
        self.report.segments_closed.extend(closed);
        progress
            .stalled
            .map_or(Ok(()), |why| Err(SegmentImportError::Stalled(why)))
    }

    /// Writes what is in memory.
    fn end(&mut self, complete: bool) -> Result<(), SegmentImportError> {
        self.report.chunks_repaired += self.repair.end()?;
        if complete {
            let open = self.ingest.tracker().first_open();
            if let Some((first, last)) = self.periods.filter(|(_, last)| *last >= open) {
                let progress = self.ingest.declare_misses(first.max(open)..=last)?;
                self.note(progress)?;
            }
        }
        Ok(self.ingest.finish()?)
    }
}
