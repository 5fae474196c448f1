//! Where the storage handler leaves what peers say, for repair.

use crate::repair::thread::RepairNews;
use massa_distributed_storage_exports::network::{AnnouncedChunk, Capabilities, StorageEvents};
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::node::NodeId;
use tracing::debug;

/// See the module.
pub(super) struct PeerNews(pub(super) RepairNews);

impl StorageEvents for PeerNews {
    fn chunks_announced(&self, from: NodeId, segment: u64, root: Option<SegmentRoot>, chunks: Vec<AnnouncedChunk>) {
        debug!(peer = %from, segment, closed = root.is_some(), chunks = chunks.len(), "chunks announced");
        self.0.announced(segment);
    }

    fn peer_changed(&self, node: NodeId, capabilities: Option<Capabilities>) {
        let newest = capabilities.and_then(|said| said.newest_segment);
        debug!(peer = %node, newest_segment = ?newest, "storage peer");
    }

    fn peer_gone(&self, node: NodeId) {
        debug!(peer = %node, "storage peer gone");
    }
}
