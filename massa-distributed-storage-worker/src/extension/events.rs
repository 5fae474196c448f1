//! Where the storage handler leaves what peers say: announced repairs for the rounds, all else for repair.

use super::shared::Shared;
use crate::repair::thread::RepairNews;
use massa_distributed_storage_exports::network::{AnnouncedChunk, Capabilities, StorageEvents};
use massa_distributed_storage_exports::{ChunkPosition, SegmentRoot};
use massa_models::node::NodeId;
use std::sync::Arc;
use tracing::debug;

/// See the module.
pub(super) struct PeerNews {
    repair: RepairNews,
    shared: Arc<Shared>,
}

impl PeerNews {
    /// News for repair, and for the rounds once they are started.
    pub(super) fn new(repair: RepairNews, shared: Arc<Shared>) -> Self {
        Self { repair, shared }
    }
}

impl StorageEvents for PeerNews {
    fn chunks_announced(&self, from: NodeId, segment: u64, root: Option<SegmentRoot>, chunks: Vec<AnnouncedChunk>) {
        debug!(peer = %from, segment, closed = root.is_some(), chunks = chunks.len(), "chunks announced");
        self.repair.announced(segment);
    }

    fn repairs_announced(&self, from: NodeId, round: u64, chunks: Vec<ChunkPosition>) {
        // Before they are started nothing is guarded: who announces again when it connects, or in the next round, is heard.
        if let Some(rounds) = self.shared.rounds() {
            rounds.repairs_announced(from, round, &chunks);
        }
    }

    fn peer_changed(&self, node: NodeId, capabilities: Option<Capabilities>) {
        let newest = capabilities.and_then(|said| said.newest_segment);
        debug!(peer = %node, newest_segment = ?newest, "storage peer");
    }

    fn peer_gone(&self, node: NodeId) {
        debug!(peer = %node, "storage peer gone");
    }
}
