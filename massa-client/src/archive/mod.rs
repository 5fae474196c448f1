//! `massa-cli archive …`: commands on a store directory.
//!
//! [`import`] is the only one that writes. The others open the store read-only: they take no lock, so they may run beside
//! each other, beside an import and beside a node, and see what was there when they began.

pub mod check_proof;
mod directory;
pub mod import;
pub mod list_periods;
pub mod list_segments;
pub mod open_periods;
pub mod period;
pub mod pipeline;
mod proofs;
mod repair;
pub mod show;
pub mod stat;
pub mod verify;

pub use directory::{Directory, OpenStore};

use crate::output::Output;
use clap::{Args, Subcommand};
use massa_distributed_storage_exports::verification::VerifyBlockError;
use massa_distributed_storage_worker::serve::proofs::ProofError;
use massa_distributed_storage_worker::storage_backend::StoreError;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::io;
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum DistributedStorageCommand {
    /// Read the blocks of an .mblk file (packed with zstd or not) into a store.
    ///
    /// Blocks that the store has are skipped, so an import that was interrupted is taken up by the same command. What is
    /// damaged in the store, or let go, is made again from the file as far as the file has it.
    Import(import::ImportArguments),
    /// Say what a store has: parameters, totals, open segments, size.
    Stat(StoreArguments),
    /// List the segments of a store.
    ListSegments(list_segments::ListSegmentsArguments),
    /// List the archived periods of a store.
    ListPeriods(list_periods::ListPeriodsArguments),
    /// List the periods that are not archived yet, and what they wait for.
    OpenPeriods(open_periods::OpenPeriodsArguments),
    /// Check every byte, path, id and signature of a store.
    Verify(verify::VerifyArguments),
    /// Show a block.
    GetBlock(show::GetBlockArguments),
    /// Show an operation.
    GetOperation(show::GetOperationArguments),
    /// Show a period: its slots and chunks.
    GetPeriod(period::GetPeriodArguments),
    /// Check a proof that get-block, get-operation or get-period wrote. No store is needed.
    CheckProof(check_proof::CheckProofArguments),
}

/// Where the store is.
#[derive(Debug, Args)]
pub struct StoreArguments {
    /// Directory of the store.
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

impl StoreArguments {
    /// Opens the store for reading.
    ///
    /// # Errors
    /// [`ArchiveError::Store`], [`ArchiveError::Open`].
    pub fn open(&self) -> Result<OpenStore, ArchiveError> {
        OpenStore::open_read_only(&self.dir)
    }
}

/// Which part of a list is printed.
#[derive(Clone, Copy, Debug, Args)]
pub struct PartArguments {
    /// First number to list.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub from: u64,
    /// Last number to list.
    #[arg(long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    pub to: u64,
    /// Lines at most [default: all]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
}

impl PartArguments {
    /// Lines at most.
    pub fn limit(&self) -> usize {
        self.limit
            .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
    }
}

/// Why a command failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store could not be opened or read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store whose name RocksDB cannot take was opened by another one, which the cause names.
    #[error("{dir}, opened as {opened_as}")]
    Open {
        /// The directory.
        dir: String,
        /// Its other name.
        opened_as: String,
        /// Why it could not be opened.
        source: Box<StoreError>,
    },
    /// The directory could not be opened.
    #[error("could not open {dir}")]
    Directory {
        /// The directory.
        dir: String,
        /// Why.
        source: io::Error,
    },
    /// There is nothing to prove.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// The file could not be imported.
    #[error(transparent)]
    Import(#[from] import::ImportError),
    /// A proof does not prove what it says.
    #[error(transparent)]
    CheckProof(#[from] check_proof::CheckProofError),
    /// A block of the archive is not valid: it was imported without checking signatures.
    #[error(transparent)]
    Block(#[from] VerifyBlockError),
    /// Verification found damage.
    #[error("{count} found in {dir}, the first: {first}")]
    Damaged {
        /// How many, in words.
        count: String,
        /// The store.
        dir: String,
        /// The first of them.
        first: String,
    },
    /// The thread does not exist.
    #[error("slot {}:{}: the archive has threads 0 to {}", slot.period, slot.thread, thread_count - 1)]
    NoSuchThread {
        /// What was asked for.
        slot: Slot,
        /// Threads of the chain.
        thread_count: u8,
    },
    /// Nothing of the period is here.
    #[error("period {period} is not archived: nothing of it is here")]
    NotArchived {
        /// The period.
        period: u64,
    },
    /// The slot is not settled here.
    #[error(
        "slot {}:{} is missing: its period is not complete here (archive open-periods says more)",
        slot.period,
        slot.thread
    )]
    Missing {
        /// The slot.
        slot: Slot,
    },
    /// Chunks that are needed are kept by others.
    #[error(
        "{what}: {chunks} of segment {segment} {verb} not held here: ask a node that holds it (storage get-block)"
    )]
    NotHeld {
        /// What was asked for.
        what: String,
        /// The chunks, in words.
        chunks: String,
        /// "is" or "are".
        verb: &'static str,
        /// Their segment.
        segment: u64,
    },
    /// Only the id of the block is known, by anybody.
    #[error("block {id} of slot {}:{} is lost with its period: only its id is known, --proof proves it", slot.period, slot.thread)]
    Lost {
        /// The block.
        id: BlockId,
        /// Its slot.
        slot: Slot,
    },
    /// The segment was let go.
    #[error("period {period} was pruned: this archive keeps periods from {floor} on")]
    Pruned {
        /// The period.
        period: u64,
        /// The first period that is kept.
        floor: u64,
    },
    /// No index has the id.
    #[error("{0} is not in this archive")]
    NotFound(String),
    /// The store was made without the index that is needed.
    #[error("{what}: the store has no index of {of}: ask by slot")]
    NoIndex {
        /// What was looked for.
        what: String,
        /// What would be indexed.
        of: &'static str,
    },
    /// The index and the archive do not agree.
    #[error("damaged: the index has {what} at slot {}:{}, it is not there (archive verify says more)", slot.period, slot.thread)]
    Misplaced {
        /// What was looked for.
        what: String,
        /// Where the index has it.
        slot: Slot,
    },
    /// Verified bytes that cannot be shown.
    #[error("{what} cannot be shown: {reason}")]
    Unreadable {
        /// The object.
        what: String,
        /// What the deserializer said.
        reason: String,
    },
    /// A missed slot has no bytes.
    #[error("slot {}:{} was missed: there is no block", slot.period, slot.thread)]
    Missed {
        /// The slot.
        slot: Slot,
    },
    /// The result could not be written.
    #[error("could not write the output")]
    Output(#[from] io::Error),
}

/// Runs a command and prints its result.
///
/// # Errors
/// [`ArchiveError`].
pub fn run(command: DistributedStorageCommand, output: Output) -> Result<(), ArchiveError> {
    match command {
        DistributedStorageCommand::Import(arguments) => Ok(output.print(&import::import(&arguments)?)?),
        DistributedStorageCommand::Stat(arguments) => Ok(output.print(&stat::stat(&arguments.open()?)?)?),
        DistributedStorageCommand::ListSegments(arguments) => {
            Ok(output.print(&list_segments::list_segments(&arguments)?)?)
        }
        DistributedStorageCommand::ListPeriods(arguments) => {
            Ok(output.print(&list_periods::list_periods(&arguments)?)?)
        }
        DistributedStorageCommand::OpenPeriods(arguments) => Ok(output.print(&open_periods::list(&arguments)?)?),
        DistributedStorageCommand::Verify(arguments) => verify::run(&arguments, output),
        DistributedStorageCommand::GetBlock(arguments) => show::get_block(&arguments, output),
        DistributedStorageCommand::GetOperation(arguments) => show::get_operation(&arguments, output),
        DistributedStorageCommand::GetPeriod(arguments) => period::run(&arguments, output),
        DistributedStorageCommand::CheckProof(arguments) => Ok(output.print(&check_proof::check_proof(&arguments)?)?),
    }
}

/// How a slot is written.
pub(crate) fn slot_text(slot: Slot) -> String {
    format!("{}:{}", slot.period, slot.thread)
}

/// Reads `PERIOD:THREAD`.
pub(crate) fn parse_slot(text: &str) -> Result<Slot, String> {
    let slot = text.split_once(':').and_then(|(period, thread)| {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        (digits(period) && digits(thread)).then_some(())?;
        Some(Slot::new(period.parse().ok()?, thread.parse().ok()?))
    });
    slot.ok_or_else(|| "expected PERIOD:THREAD, two numbers".to_string())
}
