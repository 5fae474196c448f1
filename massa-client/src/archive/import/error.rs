//! Why an import fails, and whether that is damage of the store.

use crate::archive::pipeline::InvalidBlock;
use crate::mblk::{MblkError, Position};
use massa_distributed_storage_exports::record::RecordError;
use massa_distributed_storage_worker::archive::ingest::IngestError;
use massa_distributed_storage_worker::archive::slots::SlotError;
use massa_distributed_storage_worker::storage_backend::database::DatabaseError;
use massa_distributed_storage_worker::storage_backend::StoreError;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use std::io;
use std::path::PathBuf;

/// A block of the file that the archive refuses.
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

/// Why the archive refuses a block.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum BlockFault {
    /// Its bytes are no block of the file's chain.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It cannot be final beside what the store has, or could not be written.
    #[error(transparent)]
    NotTaken(#[from] Box<IngestError<StoreError>>),
    /// Its slot has something else in a segment that is closed.
    #[error("block {id} contradicts what is known of slot {}:{}: {}", slot.period, slot.thread, known.map_or_else(|| "it was missed".to_string(), |known| format!("it has block {known}")))]
    Contradicts {
        /// The block.
        id: BlockId,
        /// Its slot.
        slot: Slot,
        /// The block that the store has there.
        known: Option<BlockId>,
    },
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
    /// A block of the file is not valid. What came before it is archived.
    #[error("{path}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// The block.
        source: Box<InvalidBlock>,
    },
    /// A block of the file contradicts the store. What came before it is archived.
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
        stored: String,
        /// What gives the other value.
        given_by: &'static str,
        /// The other value.
        given: String,
    },
    /// Nothing tells what the store was made with, and a guess could make it worse.
    #[error("the store in {dir} is too damaged to tell what it was made with: name it with --segment-periods and --chunk-size")]
    Undetermined {
        /// The directory.
        dir: PathBuf,
        /// What is damaged.
        source: Box<StoreError>,
    },
    /// The writer could not start or end.
    #[error(transparent)]
    Ingest(Box<IngestError<StoreError>>),
    /// A complete period could not join its segment, or a segment not close.
    #[error("the archive cannot go on: {0}")]
    Stalled(String),
    /// The store could not be opened, read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A store whose name RocksDB cannot take was opened by another one.
    #[error("{dir}, opened as {opened_as}")]
    OpenedAs {
        /// The directory.
        dir: PathBuf,
        /// Its other name, which the cause names.
        opened_as: PathBuf,
        /// Why it could not be opened.
        source: Box<StoreError>,
    },
}

impl From<IngestError<StoreError>> for ImportError {
    fn from(error: IngestError<StoreError>) -> Self {
        Self::Ingest(Box::new(error))
    }
}

impl From<DatabaseError> for ImportError {
    fn from(error: DatabaseError) -> Self {
        Self::Store(error.into())
    }
}

impl ImportError {
    /// Whether the store is damaged: what was found is set aside when it is opened the next time.
    pub(super) fn is_damage(&self) -> bool {
        match self {
            Self::Store(error) => of_damage(error),
            Self::Ingest(error) => ingest_damage(error),
            Self::Block { source, .. } => matches!(&source.fault, BlockFault::NotTaken(error) if ingest_damage(error)),
            _ => false,
        }
    }
}

fn ingest_damage(error: &IngestError<StoreError>) -> bool {
    match error {
        IngestError::Store(error) | IngestError::Slot(SlotError::Archive(error)) => of_damage(error),
        IngestError::BlockRow { .. } => true,
        _ => false,
    }
}

pub(super) fn of_damage(error: &StoreError) -> bool {
    match error {
        StoreError::Damaged(_) | StoreError::Database(DatabaseError::Damaged { .. }) => true,
        // A table that cannot be read is found by reading it, and by merging it with others.
        StoreError::Database(error @ (DatabaseError::Open { .. } | DatabaseError::Refusing(_))) => {
            error.to_string().contains("Corruption")
        }
        _ => false,
    }
}
