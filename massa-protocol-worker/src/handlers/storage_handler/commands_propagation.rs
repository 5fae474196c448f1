//! Commands to the thread that announces.

use massa_distributed_storage_exports::{ChunkId, PeriodRoot};

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
    /// Ends the thread.
    Stop,
}
