//! `massa-cli archive import`: the blocks of an `.mblk` file into a store.
//!
//! Blocks go through the store's one writer, period by period, so whatever ends the import, the store has whole periods
//! and the blocks of open ones, and the same command takes it up again. A block that the store has is skipped; one that
//! contradicts it ends the import.
//!
//! A store is made under a marker file that is removed when its parameters are written. A directory with the marker is an
//! unfinished store and may be finished; any other directory that is not empty is left alone.

use crate::archive::open_periods::{first_lines, open_periods, OpenPeriod};
use crate::archive::pipeline::{for_each_block, Stop};
use crate::mblk::{unpack, Entry, MblkError, Position, Reader};
use crate::output::{name_value_lines, progress_bar, Report};
use clap::Args;
use indicatif::{HumanBytes, ProgressBar};
use massa_distributed_storage_exports::types::{check_chunk_size, DEFAULT_CHUNK_BYTES, MAX_SEGMENT_PERIODS};
use massa_distributed_storage_exports::verification::VerifyBlockError;
use massa_distributed_storage_exports::{ArchiveParameters, SegmentRoot};
use massa_distributed_storage_worker::storage_backend::read::ReadError;
use massa_distributed_storage_worker::{Acknowledge, Ingest, IngestError, Progress, Store, StoreError, StoreOptions};
use massa_models::slot::Slot;
use serde::Serialize;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// Periods of a segment unless another number is asked for.
const DEFAULT_SEGMENT_PERIODS: u64 = 100;
/// File in a directory in which a store is being made.
const MARKER: &str = "store-is-being-made";
/// Open periods that the text form names.
const OPEN_PERIODS_SHOWN: usize = 5;

/// Arguments of `archive import`.
#[derive(Debug, Args)]
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

fn parse_chunk_size(text: &str) -> Result<u32, String> {
    let bytes: u32 = text.parse().map_err(|error| format!("{error}"))?;
    check_chunk_size(u64::from(bytes)).map_err(|error| error.to_string())?;
    Ok(bytes)
}

/// A block of the file that was refused.
#[derive(Debug, thiserror::Error)]
#[error("{at} (slot {}:{})", slot.period, slot.thread)]
pub struct RefusedBlock {
    /// Where it begins.
    pub at: Position,
    /// Its slot.
    pub slot: Slot,
    /// What is wrong with it.
    #[source]
    pub fault: BlockFault,
}

/// What is wrong with a block of the file.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum BlockFault {
    /// It is not valid.
    #[error(transparent)]
    Invalid(#[from] VerifyBlockError),
    /// The archive did not take it.
    #[error(transparent)]
    NotTaken(#[from] IngestError),
}

/// Why an import failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file could not be opened.
    #[error("could not read {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged, or something else.
    #[error("{path}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: Box<MblkError>,
    },
    /// A new store takes its parameters from the first block, and there is none.
    #[error("{path}: the file has no block")]
    NoBlock {
        /// The file.
        path: PathBuf,
    },
    /// A block of the file is not valid or contradicts the store. What came before it is archived.
    #[error("{path}")]
    Block {
        /// The file.
        path: PathBuf,
        /// The block.
        source: Box<RefusedBlock>,
    },
    /// The directory could not be made or looked at.
    #[error("could not use {dir}")]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The directory holds something else.
    #[error("{dir} is neither empty nor a distributed storage directory")]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
    },
    /// The file or an option does not fit the store.
    #[error("{name}: the store in {dir} has {stored}, {given_by} {given}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// The store.
        dir: PathBuf,
        /// Value of the store.
        stored: u64,
        /// What gives the other value.
        given_by: &'static str,
        /// The other value.
        given: u64,
    },
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The store could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The archive could not be written.
    #[error(transparent)]
    Ingest(#[from] IngestError),
}

impl ImportError {
    fn file(path: &Path, error: MblkError) -> Self {
        ImportError::File {
            path: path.to_path_buf(),
            source: Box::new(error),
        }
    }
}

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
    /// Operations of the file.
    pub operations: u64,
    /// Periods that were archived.
    pub periods_archived: u64,
    /// Periods that the store has now.
    pub periods_in_store: u64,
    /// Periods that are not complete.
    pub open_periods: Vec<OpenPeriod>,
    /// Segments that were completed.
    pub segments_completed: Vec<Segment>,
    /// Bytes of the blocks and operations of the file.
    pub bytes: u64,
    /// How long it took.
    pub seconds: f64,
    /// Bytes over seconds, in millions.
    pub megabytes_per_second: f64,
}

/// A complete segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Segment {
    /// Its number.
    pub segment: u64,
    /// Its root.
    pub root: SegmentRoot,
}

impl Report for ImportReport {
    fn text(&self) -> String {
        let mut lines = self.count_lines();
        lines.extend(self.segments_completed.iter().map(|segment| {
            let complete = format!("{} complete, root {}", segment.segment, segment.root);
            ("segment", complete)
        }));
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
        vec![
            ("file", self.file.clone()),
            ("store", format!("{}{made}", self.dir)),
            ("signatures", format!("{not}checked")),
            ("blocks", format!("{read} read, {new} new, {known} known")),
            ("operations", self.operations.to_string()),
            ("periods", format!("{archived} archived now, {all} in the store")),
        ]
    }

    fn open_lines(&self) -> Vec<(&'static str, String)> {
        let open = self.open_periods.iter().map(OpenPeriod::text);
        let lines = first_lines(open, OPEN_PERIODS_SHOWN).into_iter();
        let mut lines: Vec<_> = lines.map(|line| ("open", line)).collect();
        let at_end = |period: &OpenPeriod| !period.threads_without_later_block.is_empty();
        if self.open_periods.iter().any(at_end) {
            let hint = "import a later file, or this one with --complete if it ends with whole periods";
            lines.push(("", hint.to_string()));
        }
        lines
    }
}

/// Imports a file.
///
/// # Errors
/// [`ImportError`]. What was read before an error stays in the store.
pub fn import(arguments: &ImportArguments) -> Result<ImportReport, ImportError> {
    let begun = Instant::now();
    let bar = progress_bar(
        0,
        "{bytes}/{total_bytes} [{wide_bar}] {binary_bytes_per_sec}, {eta} left",
    );
    let mut reader = open_file(&arguments.file, &bar)?;
    let file_error = |error| ImportError::file(&arguments.file, error);
    let first = reader.next().transpose().map_err(file_error)?;
    let (store, created) = open_store(arguments, &reader, first.as_ref())?;
    let check_threads = if arguments.no_verify_signatures { 0 } else { cores() };
    let mut import = Import::begin(arguments, store)?;
    import.report.created = created;
    let entries = first.map(Ok).into_iter().chain(reader);
    let store = Arc::clone(import.ingest.store());
    let stopped = for_each_block(entries, &store, check_threads, |entry| import.add(entry));
    let report = import.end(stopped)?;
    bar.finish_and_clear();
    Ok(timed(report, begun))
}

/// Threads that may compute at once.
pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn timed(mut report: ImportReport, begun: Instant) -> ImportReport {
    report.seconds = begun.elapsed().as_secs_f64();
    report.megabytes_per_second = report.bytes as f64 / 1e6 / report.seconds.max(1e-9);
    report
}

/// Blocks on their way into the store.
struct Import<'a> {
    arguments: &'a ImportArguments,
    ingest: Ingest,
    /// First and last period of the file.
    periods: Option<(u64, u64)>,
    report: ImportReport,
}

impl<'a> Import<'a> {
    fn begin(arguments: &'a ImportArguments, store: Arc<Store>) -> Result<Self, ImportError> {
        let (ingest, progress) = Ingest::open(
            store,
            Acknowledge::EachPeriod,
            massa_distributed_storage_worker::ingest::keep_all(),
        )?;
        let mut import = Self {
            arguments,
            ingest,
            periods: None,
            report: ImportReport {
                file: arguments.file.display().to_string(),
                dir: arguments.dir.display().to_string(),
                signatures_checked: !arguments.no_verify_signatures,
                ..ImportReport::default()
            },
        };
        import.note(progress);
        Ok(import)
    }

    fn add(&mut self, entry: Entry) -> Result<(), Stop> {
        let Entry { at, slot, record } = entry;
        let (bytes, operations) = (record.as_bytes().len(), record.operation_count());
        let taken = self.ingest.add(record);
        let refused = |error: IngestError| {
            let fault = error.into();
            Stop::Block(Box::new(RefusedBlock { at, slot, fault }))
        };
        let progress = taken.map_err(refused)?;
        self.report.blocks_read += 1;
        self.report.blocks_known += u64::from(progress.known);
        self.report.blocks_new += u64::from(!progress.known);
        self.report.bytes += bytes as u64;
        self.report.operations += operations as u64;
        let first = self.periods.map_or(slot.period, |(first, _)| first);
        self.periods = Some((first, slot.period));
        self.note(progress);
        Ok(())
    }

    fn note(&mut self, progress: Progress) {
        self.report.periods_archived += progress.archived.len() as u64;
        let segments = progress.segments.into_iter();
        let completed = segments.map(|(segment, root)| Segment { segment, root });
        self.report.segments_completed.extend(completed);
    }

    /// Writes what is still in memory, also when the import failed: what came before is kept.
    fn end(mut self, stopped: Result<(), Stop>) -> Result<ImportReport, ImportError> {
        if stopped.is_ok() && self.arguments.complete {
            self.declare_misses()?;
        }
        let finished = self.keep_all();
        stopped.map_err(|stop| self.stopped(stop))?;
        finished?;
        let store = self.ingest.store();
        self.report.periods_in_store = store.archived_periods()?.len() as u64;
        self.report.open_periods = open_periods(store, self.ingest.tracker())?;
        Ok(self.report)
    }

    /// Brings everything to the disk. Tables come first: then there is little left of the log to be synced.
    fn keep_all(&mut self) -> Result<(), ImportError> {
        self.ingest.store().flush()?;
        self.ingest.finish()?;
        Ok(self.ingest.store().flush()?)
    }

    /// Takes the awaited places of the file's periods as misses.
    fn declare_misses(&mut self) -> Result<(), ImportError> {
        let open = self.ingest.tracker().open_periods().next();
        if let (Some((first, last)), Some((open, _))) = (self.periods, open) {
            let progress = self.ingest.declare_misses(first.max(open)..=last)?;
            self.note(progress);
        }
        Ok(())
    }

    fn stopped(&self, stop: Stop) -> ImportError {
        let path = self.arguments.file.clone();
        match stop {
            Stop::File(source) => ImportError::File { path, source },
            Stop::Block(source) => ImportError::Block { path, source },
        }
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
    Reader::new(input).map_err(|error| ImportError::file(path, error))
}

/// Opens the store of the arguments, or makes it with the parameters that the file and the options give. Also returns
/// whether it was made.
fn open_store<R: Read>(
    arguments: &ImportArguments,
    reader: &Reader<R>,
    first: Option<&Entry>,
) -> Result<(Arc<Store>, bool), ImportError> {
    let existing = open_existing(&arguments.dir)?;
    if let Some(store) = existing {
        check_parameters(arguments, reader, &store)?;
        return Ok((Arc::new(store), false));
    }
    let first = first.ok_or_else(|| ImportError::NoBlock {
        path: arguments.file.clone(),
    })?;
    let parameters = parameters(arguments, reader, first)?;
    Ok((Arc::new(create_store(arguments, parameters)?), true))
}

/// Parameters of a new store. The first block is checked before they are believed: its ids depend on them.
fn parameters<R: Read>(
    arguments: &ImportArguments,
    reader: &Reader<R>,
    first: &Entry,
) -> Result<ArchiveParameters, ImportError> {
    let (chain_id, thread_count) = (reader.chain_id(), reader.thread_count());
    let view = first.record.check_ids(chain_id, thread_count);
    let view = view.map_err(|error| ImportError::Block {
        path: arguments.file.clone(),
        source: Box::new(RefusedBlock {
            at: first.at,
            slot: first.slot,
            fault: BlockFault::Invalid(error.into()),
        }),
    })?;
    Ok(ArchiveParameters {
        chain_id,
        thread_count,
        chunk_size: arguments.chunk_size.unwrap_or(DEFAULT_CHUNK_BYTES),
        segment_periods: arguments.segment_periods.unwrap_or(DEFAULT_SEGMENT_PERIODS),
        first_period: first.slot.period,
        // No block of the file comes before the first, so all of its parents come before the archive.
        boundary: view.parents().collect(),
    })
}

/// Opens the store in `dir`; `None` if there is none and one may be made.
fn open_existing(dir: &Path) -> Result<Option<Store>, ImportError> {
    let unfinished = dir.join(MARKER).exists();
    if Store::exists(dir) {
        let opened = Store::open_existing(StoreOptions::new(dir));
        return match opened {
            Ok(store) => finished(dir).map(|()| Some(store)),
            Err(_) if unfinished => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
    let unusable = |source| ImportError::Directory {
        dir: dir.to_path_buf(),
        source,
    };
    let empty = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        files => files.map_err(unusable)?.next().is_none(),
    };
    if empty || unfinished {
        return Ok(None);
    }
    Err(ImportError::NotEmpty { dir: dir.to_path_buf() })
}

fn create_store(arguments: &ImportArguments, parameters: ArchiveParameters) -> Result<Store, ImportError> {
    let dir = &arguments.dir;
    let unusable = |source| ImportError::Directory {
        dir: dir.clone(),
        source,
    };
    fs::create_dir_all(dir).map_err(unusable)?;
    fs::write(dir.join(MARKER), b"").map_err(unusable)?;
    // The marker must be there after a power cut if anything of the store is.
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(unusable)?;
    let mut options = StoreOptions::new(dir);
    options.operation_index = !arguments.no_operation_index;
    let store = Store::open(options, parameters)?;
    finished(dir)?;
    Ok(store)
}

/// Removes the marker of an unfinished store, if there is one.
fn finished(dir: &Path) -> Result<(), ImportError> {
    match fs::remove_file(dir.join(MARKER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ImportError::Directory {
            dir: dir.to_path_buf(),
            source: error,
        }),
        _ => Ok(()),
    }
}

/// Checks that the file and the options fit a store that exists.
fn check_parameters<R: Read>(
    arguments: &ImportArguments,
    reader: &Reader<R>,
    store: &Store,
) -> Result<(), ImportError> {
    let stored = store.parameters();
    let check = |name, stored: u64, given_by, given: Option<u64>| match given.filter(|given| *given != stored) {
        None => Ok(()),
        Some(given) => Err(ImportError::Parameter {
            name,
            dir: arguments.dir.clone(),
            stored,
            given_by,
            given,
        }),
    };
    let file = "the file has";
    check("chain_id", stored.chain_id, file, Some(reader.chain_id()))?;
    let thread_count = u64::from(reader.thread_count());
    check("thread_count", stored.thread_count.into(), file, Some(thread_count))?;
    let given = arguments.segment_periods;
    check(
        "segment_periods",
        stored.segment_periods,
        "--segment-periods says",
        given,
    )?;
    let given = arguments.chunk_size.map(u64::from);
    check("chunk_size", stored.chunk_size.into(), "--chunk-size says", given)?;
    let (has_index, given) = (store.has_operation_index(), arguments.no_operation_index.then_some(0));
    check("operation_index", has_index.into(), "--no-operation-index says", given)
}
