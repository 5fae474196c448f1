//! Commands to the thread that announces.

use massa_distributed_storage_exports::network::AnnouncedChunk;
use massa_distributed_storage_exports::SegmentRoot;

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
    /// Ends the thread.
    Stop,
}
