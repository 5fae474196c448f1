//! Commands to the thread that announces.

use massa_distributed_storage_exports::{ChunkId, ChunkIndex, PeriodRoot};

/// A command to the thread that announces.
#[derive(Clone, Debug)]
pub enum StorageHandlerPropagationCommand {
    /// Tells all peers that speak storage which chunks of a period this node holds.
    Announce {
        /// The period.
        period: u64,
        /// Its root.
        root: PeriodRoot,
        /// The chunks.
        chunk_ids: Vec<ChunkId>,
    },
    /// Tells all peers that speak storage, also those that connect later, which chunks this node repairs.
    AnnounceRepairs {
        /// The round in which it asks to be served them.
        round: u64,
        /// Period and position of each; none: nothing is told any more.
        chunks: Vec<(u64, ChunkIndex)>,
    },
    /// Ends the thread.
    Stop,
}
