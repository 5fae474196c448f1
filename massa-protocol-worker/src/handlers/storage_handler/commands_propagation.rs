//! Commands to the thread that announces.

use massa_distributed_storage_exports::network::AnnouncedChunk;
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};

/// A command to the thread that announces.
#[derive(Clone, Debug)]
pub enum StorageHandlerPropagationCommand {
    /// Tells all peers that speak storage which chunks of a segment this node holds.
    Announce {
        /// The segment.
        segment: u64,
        /// Its root, once it is closed.
        root: Option<SegmentRoot>,
        /// The chunks, any number of them.
        chunks: Vec<AnnouncedChunk>,
    },
    /// Tells all peers that speak storage, also those that connect later, which chunks this node repairs.
    AnnounceRepairs {
        /// The round in which it asks to be served them.
        round: u64,
        /// Their positions; none: nothing is told any more.
        chunks: Vec<ChunkPosition>,
    },
    /// Ends the thread.
    Stop,
}
