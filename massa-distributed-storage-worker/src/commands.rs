//! What the thread that writes the archive is told.

use crate::archive::ingest::{IngestError, TablesTaken};
use crate::repair::handover_segment::KeepClaimed;
use crate::repair::writing::{WriteJob, WriteRules, Written};
use crate::storage_backend::{ChunkToStore, StoreError};
use crossbeam_channel::Sender;
use massa_distributed_storage_exports::entry::PeriodEntry;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::segment_table::SegmentTable;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_storage::Storage;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Why something was not taken.
pub type ArchiveError = IngestError<StoreError>;

/// Gets what became of a command, if it has room. Without it a failure is a warning in the log.
pub type Reply<T> = Option<Sender<Result<T, ArchiveError>>>;

/// Calls the action, unless chunks were placed anew since whoever asks for it looked; and keeps them from being placed anew
/// meanwhile. Tells whether it called it.
pub type WhilePlaced = Arc<dyn Fn(&mut dyn FnMut()) -> bool + Send + Sync>;

/// A command to the thread.
pub enum DistributedStorageCommand {
    /// A block became final and consensus lets go of it. `content` claims the block and its operations.
    FinalBlock {
        /// What is known of it in any case.
        header: FinalHeader,
        /// The block and its operations.
        content: Storage,
    },
    /// Blocks that were obtained from peers or a file: believed because of their links, and verified.
    Blocks {
        /// The blocks with their operations.
        records: Vec<BlockRecord>,
        /// Gets what became of them.
        reply: Reply<BlocksTaken>,
    },
    /// Tables that accepted roots lead to.
    Tables {
        /// In any order.
        tables: Vec<SegmentTable>,
        /// Gets what became of them.
        reply: Reply<TablesTaken>,
    },
    /// Entries of closed periods, to find the borders of the open segments.
    Entries {
        /// Period and entry.
        entries: Vec<(u64, PeriodEntry)>,
        /// Told when they are taken.
        reply: Reply<()>,
    },
    /// A chunk of a closed segment that was obtained from peers.
    Chunk {
        /// The chunk.
        chunk: Box<ChunkToStore>,
        /// Gets whether it is new here.
        reply: Reply<bool>,
    },
    /// Chunks that others hold now.
    Drop(ChunkDrop),
    /// A table in the place of the one that is here, as an accepted root says; later segments are chained anew.
    Replace {
        /// The table.
        table: Box<SegmentTable>,
        /// Told when it is done.
        reply: Reply<()>,
    },
    /// Periods are lost, as an accepted root says.
    EnterLost {
        /// Period and entry.
        entries: Vec<(u64, PeriodEntry)>,
        /// Told when it is done.
        reply: Reply<()>,
    },
    /// Asks for the table that the first open segment would have if these periods were lost.
    TableWithLost {
        /// Their entries.
        lost: BTreeMap<u64, PeriodEntry>,
        /// Gets it; `None` unless all other periods are complete.
        reply: Sender<Result<Option<SegmentTable>, ArchiveError>>,
    },
    /// What the repair thread has written.
    Repair(Box<RepairJob>),
    /// End the thread.
    Stop,
}

/// A job of the repair thread. Chunks that others hold are dropped by [`DistributedStorageCommand::Drop`], in slices.
pub struct RepairJob {
    /// What is written.
    pub job: WriteJob,
    /// What the writer needs for it.
    pub rules: WriteRules,
    /// Gets what became of it. What closed is told by [`crate::worker::AfterClose`].
    pub told: Sender<Vec<Written>>,
}

/// What is known of a final block without its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FinalHeader {
    /// Its slot.
    pub slot: Slot,
    /// Its id.
    pub block_id: BlockId,
    /// Its parent in its own thread; none for genesis blocks.
    pub parent: Option<BlockId>,
}

/// What became of blocks.
#[derive(Debug, Default)]
pub struct BlocksTaken {
    /// How many are new.
    pub new: usize,
    /// How many were here already, or are of a segment that is closed.
    pub known: usize,
    /// How many are of a segment that is taken by its table.
    pub by_table: usize,
    /// Number of each that was not taken, and why.
    pub failed: Vec<(usize, ArchiveError)>,
}

/// Chunks that were handed over, with what is looked at once more before they are dropped.
pub struct ChunkDrop {
    /// In archive order.
    pub chunks: Vec<ChunkPosition>,
    /// The placement under which others confirmed that they hold them.
    pub while_placed: WhilePlaced,
    /// What is kept although it is not assigned.
    pub keep: KeepClaimed,
    /// Gets what was dropped, when all were looked at.
    pub reply: Reply<Vec<ChunkPosition>>,
}
