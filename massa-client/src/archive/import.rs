//! `massa-cli archive import`: the blocks of an `.mblk` file into a store.
//!
//! Blocks go through the store's one writer. A segment is in memory until it is whole, then its chunks, rows and table are written
//! ([`Acknowledge::AtClose`]); what is open at the end of the file becomes block rows. Whatever ends the import, the same command
//! takes it up again and ends in the same roots. A block that contradicts the store ends the import.
//!
//! A block of a segment that is closed is known, but what the store has of it may be damaged or let go: see `super::repair`. Files
//! of the store that are damaged are set aside; what is found only while the file is read is put right by reading it once more.

mod error;
mod report;
mod store;

pub use error::{BlockFault, ImportError, RefusedBlock};
pub use report::{ImportReport, Segment};

use crate::archive::open_periods::open_periods;
use crate::archive::pipeline::{for_each_block, CheckedEntry, Checks, Signatures, Stop};
use crate::archive::repair::{KnownBlocks, SegmentRepair};
use crate::mblk::{unpack, Entry, MblkError, Reader};
use crate::output::progress_bar;
use clap::Args;
use indicatif::ProgressBar;
use massa_distributed_storage_exports::types::{check_chunk_size, MAX_SEGMENT_PERIODS};
use massa_distributed_storage_worker::archive::ingest::{keep_all, Acknowledge, Ingest, IngestOptions, Progress};
use massa_distributed_storage_worker::archive::rows::Packing;
use massa_distributed_storage_worker::storage_backend::{SegmentStore, StoreError};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use store::open_store;

/// How often a file is read at most: each time but the first puts right what was found damaged the time before.
const PASSES_MAX: u32 = 8;
/// Arguments of `archive import`.
#[derive(Clone, Debug, Args)]
pub struct ImportArguments {
    /// The file: .mblk, packed with zstd or not.
    pub file: PathBuf,
    /// Directory of the store, made if there is none.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
    /// Periods of a segment, in a new store [default: 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MAX_SEGMENT_PERIODS))]
    pub segment_periods: Option<u64>,
    /// Bytes of a chunk, in a new store: a power-of-two number of 65536 [default: 1048576]
    #[arg(long, value_name = "BYTES", value_parser = parse_chunk_size)]
    pub chunk_size: Option<u32>,
    /// Make a new store without an index of operation ids.
    #[arg(long)]
    pub no_operation_index: bool,
    /// Do not check signatures. Ids and operation roots are always checked.
    #[arg(long)]
    pub no_verify_signatures: bool,
    /// The file is complete to its end: slots of its last periods without a block were missed.
    #[arg(long)]
    pub complete: bool,
}

impl ImportArguments {
    /// Everything by default.
    pub fn new(file: impl Into<PathBuf>, dir: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            dir: dir.into(),
            segment_periods: None,
            chunk_size: None,
            no_operation_index: false,
            no_verify_signatures: false,
            complete: false,
        }
    }
}

fn parse_chunk_size(text: &str) -> Result<u32, String> {
    let bytes: u32 = text.parse().map_err(|error| format!("{error}"))?;
    check_chunk_size(u64::from(bytes)).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// Imports a file.
///
/// # Errors
/// [`ImportError`]. What was read before an error stays in the store.
pub fn import(arguments: &ImportArguments) -> Result<ImportReport, ImportError> {
    let begun = Instant::now();
    let mut report = ImportReport {
        file: arguments.file.display().to_string(),
        dir: arguments.dir.display().to_string(),
        signatures_checked: !arguments.no_verify_signatures,
        ..ImportReport::default()
    };
    let mut unindexed = BTreeSet::new();
    for pass in 1..=PASSES_MAX {
        let imported = import_once(arguments, &mut report, &mut unindexed);
        let again = match &imported {
            Ok(again) => *again,
            Err(error) => error.is_damage(),
        };
        if !again || pass == PASSES_MAX || !arguments.file.is_file() {
            imported?;
            break;
        }
    }
    // What the last pass found known may be new since the first.
    report.blocks_known = report
        .blocks_read
        .saturating_sub(report.blocks_new + report.blocks_left_out);
    report.seconds = begun.elapsed().as_secs_f64();
    report.megabytes_per_second = report.bytes as f64 / 1e6 / report.seconds.max(1e-9);
    Ok(report)
}

/// Threads that may compute at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Reads the file once. Returns whether something was found damaged that another time puts right. `unindexed`: closed segments that
/// an index lacks something of; they are indexed again the next time.
fn import_once(
    arguments: &ImportArguments,
    report: &mut ImportReport,
    unindexed: &mut BTreeSet<u64>,
) -> Result<bool, ImportError> {
    let bar = progress_bar(
        0,
        "{bytes}/{total_bytes} [{wide_bar}] {binary_bytes_per_sec}, {eta} left",
    );
    let mut reader = open_file(&arguments.file, &bar)?;
    let first = reader
        .next()
        .transpose()
        .map_err(|error| file_error(arguments, error))?;
    let (store, _directory) = open_store(arguments, &reader, first.as_ref(), report)?;
    let repair = SegmentRepair::new(Arc::clone(&store), std::mem::take(unindexed));
    let entries = first.map(Ok).into_iter().chain(reader);
    let imported = import_into(arguments, repair, entries, (report, unindexed));
    let found = store.database().damages();
    let again = found.iter().any(|damage| damage.done.is_none());
    for damage in found.iter().map(ToString::to_string) {
        if !report.damaged_files.contains(&damage) {
            report.damaged_files.push(damage);
        }
    }
    store.close();
    bar.finish_and_clear();
    imported.map(|()| again || !unindexed.is_empty())
}

/// Imports blocks into an open store.
fn import_into(
    arguments: &ImportArguments,
    repair: SegmentRepair,
    entries: impl Iterator<Item = Result<Entry, MblkError>> + Send,
    (report, unindexed): (&mut ImportReport, &mut BTreeSet<u64>),
) -> Result<(), ImportError> {
    let store = Arc::clone(repair.store());
    let mut import = Import::begin(arguments, repair, report)?;
    let checks = Checks {
        parameters: store.parameters(),
        signatures: if arguments.no_verify_signatures {
            Signatures::Unchecked
        } else {
            Signatures::Checked
        },
        threads: cores(),
    };
    let imported = for_each_block(entries, checks, |entry| import.add(entry));
    // What came before an error is kept.
    let ended = import.end(imported.is_ok());
    unindexed.extend(import.known.unindexed());
    imported.map_err(|failure| failure.told(&arguments.file))?;
    ended?;
    report.open = open_periods(&store)?;
    report.periods_in_store = periods_in(&store)?;
    Ok(())
}

/// Archived periods: those of all tables, and those that joined an open segment.
fn periods_in(store: &SegmentStore) -> Result<u64, StoreError> {
    let mut periods = store.counters()?.periods;
    for open in store.open_segments() {
        if store.segment_root(open.segment)?.is_none() {
            periods += u64::from(open.joined_periods);
        }
    }
    Ok(periods)
}

/// Why no more blocks are taken.
enum Failure {
    Stop(Stop),
    Block(Box<RefusedBlock>),
    Other(ImportError),
}

impl From<Stop> for Failure {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        Self::Other(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Other(error.into())
    }
}

impl Failure {
    fn told(self, file: &Path) -> ImportError {
        let path = file.to_path_buf();
        match self {
            Self::Stop(Stop::File(source)) => ImportError::File { path, source },
            Self::Stop(Stop::Block(source)) => ImportError::Invalid { path, source },
            Self::Block(source) => ImportError::Block { path, source },
            Self::Other(error) => error,
        }
    }
}

/// Blocks on their way into the store.
struct Import<'a> {
    arguments: &'a ImportArguments,
    ingest: Ingest<SegmentStore>,
    known: KnownBlocks,
    repair: SegmentRepair,
    /// First and last period of the file.
    periods: Option<(u64, u64)>,
    report: &'a mut ImportReport,
}

impl<'a> Import<'a> {
    fn begin(
        arguments: &'a ImportArguments,
        repair: SegmentRepair,
        report: &'a mut ImportReport,
    ) -> Result<Self, ImportError> {
        let store = Arc::clone(repair.store());
        let options = IngestOptions {
            acknowledge: Acknowledge::AtClose,
            keep: keep_all(),
            held_back_bytes_max: u64::MAX,
        };
        let (mut ingest, progress) = Ingest::open(Arc::clone(&store), options)?;
        if !arguments.no_verify_signatures {
            // A fiftieth of what checking the signatures of near-empty blocks costs.
            ingest.set_packing(Packing::Packed);
        }
        // Each pass counts the file anew; what was archived and repaired adds up.
        (
            report.blocks_read,
            report.bytes,
            report.operations,
            report.blocks_left_out,
        ) = (0, 0, 0, 0);
        let mut import = Self {
            arguments,
            ingest,
            known: KnownBlocks::new(store),
            repair,
            periods: None,
            report,
        };
        import.note(progress)?;
        Ok(import)
    }

    fn add(&mut self, entry: CheckedEntry) -> Result<(), Failure> {
        let CheckedEntry { at, block } = entry;
        let slot = block.slot();
        let refused = |fault: BlockFault| Failure::Block(Box::new(RefusedBlock { at, slot, fault }));
        self.report.blocks_read += 1;
        self.report.bytes += block.record().as_bytes().len() as u64;
        self.report.operations += block.record().operation_count() as u64;
        let first = self.periods.map_or(slot.period, |(first, _)| first);
        self.periods = Some((first, slot.period));
        self.known.check(&block)?.map_err(refused)?;
        self.report.chunks_repaired += self.repair.add(&block)?;
        let taken = self.ingest.add_checked(block);
        let progress = taken.map_err(|error| refused(Box::new(error).into()))?;
        self.report.blocks_left_out += u64::from(progress.refused);
        self.report.blocks_new += u64::from(!progress.known && !progress.refused);
        Ok(self.note(progress)?)
    }

    /// Counts what happened, and goes on with closing: a slice for each block that comes.
    fn note(&mut self, progress: Progress) -> Result<(), ImportError> {
        self.count(progress)?;
        let progress = self.ingest.close_slice()?;
        self.count(progress)
    }

    /// Closes what can be closed.
    fn close_all(&mut self) -> Result<(), ImportError> {
        while self.ingest.is_closing() {
            let progress = self.ingest.close_slice()?;
            self.count(progress)?;
        }
        Ok(())
    }

    fn count(&mut self, progress: Progress) -> Result<(), ImportError> {
        self.report.periods_archived += progress.archived.len() as u64;
        let closed = progress.closed.into_iter().map(|closed| Segment {
            segment: closed.segment,
            root: closed.root,
        });
        self.report.segments_closed.extend(closed);
        progress.stalled.map_or(Ok(()), |why| Err(ImportError::Stalled(why)))
    }

    /// Writes what is still in memory, also when the import failed: what came before is kept.
    fn end(&mut self, succeeded: bool) -> Result<(), ImportError> {
        self.report.chunks_repaired += self.repair.end()?;
        if succeeded && self.arguments.complete {
            self.declare_misses()?;
        }
        self.close_all()?;
        self.ingest.finish()?;
        // Tables last longer than logs: little is left of these to be read when the store is opened.
        Ok(self.ingest.store().database().flush()?)
    }

    /// Takes the missing slots of the file's periods as misses.
    fn declare_misses(&mut self) -> Result<(), ImportError> {
        let open = self.ingest.tracker().first_open();
        if let Some((first, last)) = self.periods.filter(|(_, last)| *last >= open) {
            let progress = self.ingest.declare_misses(first.max(open)..=last)?;
            self.note(progress)?;
        }
        Ok(())
    }
}

fn file_error(arguments: &ImportArguments, error: MblkError) -> ImportError {
    ImportError::File {
        path: arguments.file.clone(),
        source: Box::new(error),
    }
}

fn open_file(path: &Path, bar: &ProgressBar) -> Result<Reader<Box<dyn Read + Send>>, ImportError> {
    let unreadable = |source| ImportError::Open {
        path: path.to_path_buf(),
        source,
    };
    let file = File::open(path).map_err(unreadable)?;
    bar.set_length(file.metadata().map_err(unreadable)?.len());
    let input = unpack(bar.wrap_read(file)).map_err(unreadable)?;
    Reader::new(input).map_err(|error| ImportError::File {
        path: path.to_path_buf(),
        source: Box::new(error),
    })
}
