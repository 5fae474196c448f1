//! `massa-cli archive …`: commands on a store directory.
//!
//! [`import`] is the only one that writes. The others open the store read-only: they take no lock, so they may run beside
//! each other and beside an import, and see what was there when they began.

pub mod check_proof;
pub mod import;
pub mod list_periods;
pub mod open_periods;
pub mod period;
mod pipeline;
pub mod segment_import;
pub mod segment_pipeline;
mod segment_repair;
pub mod show;
pub mod stat;
pub mod verify;

use crate::output::Output;
use clap::{Args, Subcommand};
use massa_distributed_storage_worker::storage_backend::read::ReadError;
use massa_distributed_storage_worker::{Store, StoreError};
use massa_models::slot::Slot;
use std::io;
use std::path::PathBuf;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum ArchiveCommand {
    /// Read the blocks of an .mblk file (packed with zstd or not) into a store.
    ///
    /// Blocks that the store has are skipped, so an import that was interrupted is taken up by the same command.
    Import(import::ImportArguments),
    /// Say what a store has: parameters, periods, segments, size.
    Stat(StoreArguments),
    /// List the periods of a store.
    ListPeriods(list_periods::ListPeriodsArguments),
    /// Check every byte, path, id and signature of a store.
    Verify(verify::VerifyArguments),
    /// Show a block.
    GetBlock(show::GetBlockArguments),
    /// Show an operation.
    GetOperation(show::GetOperationArguments),
    /// Show a period: its places and chunks.
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
    /// [`StoreError`].
    pub fn open(&self) -> Result<Store, StoreError> {
        Store::open_read_only(&self.dir)
    }
}

/// Why a command failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The store could not be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was asked for could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file could not be imported.
    #[error(transparent)]
    Import(#[from] import::ImportError),
    /// A proof does not prove what it says.
    #[error(transparent)]
    CheckProof(#[from] check_proof::CheckProofError),
    /// Verification found damage.
    #[error("{count} found in {dir}, the first: {first}")]
    Damaged {
        /// How many, in words.
        count: String,
        /// The store.
        dir: PathBuf,
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
pub fn run(command: ArchiveCommand, output: Output) -> Result<(), ArchiveError> {
    match command {
        ArchiveCommand::Import(arguments) => Ok(output.print(&import::import(&arguments)?)?),
        ArchiveCommand::Stat(arguments) => Ok(output.print(&stat::stat(&arguments.open()?)?)?),
        ArchiveCommand::ListPeriods(arguments) => Ok(output.print(&list_periods::list_periods(&arguments)?)?),
        ArchiveCommand::Verify(arguments) => verify::run(&arguments, output),
        ArchiveCommand::GetBlock(arguments) => show::get_block(&arguments, output),
        ArchiveCommand::GetOperation(arguments) => show::get_operation(&arguments, output),
        ArchiveCommand::GetPeriod(arguments) => period::run(&arguments, output),
        ArchiveCommand::CheckProof(arguments) => Ok(output.print(&check_proof::check_proof(&arguments)?)?),
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
