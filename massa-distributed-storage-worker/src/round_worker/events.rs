//! Where the storage handler leaves what peers say: announced repairs for the rounds, all else for repair.

use super::RoundHandle;
use crate::repair_worker::RepairNews;
use massa_distributed_storage_exports::network::{Capabilities, StorageEvents};
use massa_distributed_storage_exports::{ChunkId, ChunkIndex, PeriodRoot};
use massa_models::node::NodeId;
use std::sync::{Arc, OnceLock};

/// See the module.
#[derive(Clone)]
pub struct PeerNews {
    repair: RepairNews,
    /// Set once this node's part in the rounds is started, which is after the sockets are open.
    rounds: Arc<OnceLock<RoundHandle>>,
}

impl PeerNews {
    /// News for repair, and for the rounds once they are started.
    pub fn new(repair: RepairNews, rounds: Arc<OnceLock<RoundHandle>>) -> Self {
        Self { repair, rounds }
    }
}

impl StorageEvents for PeerNews {
    fn chunks_announced(&self, from: NodeId, period: u64, root: PeriodRoot, chunk_ids: Vec<ChunkId>) {
        self.repair.chunks_announced(from, period, root, chunk_ids);
    }

    fn repairs_announced(&self, from: NodeId, round: u64, chunks: Vec<(u64, ChunkIndex)>) {
        // Before they are started nothing is guarded: who announces again when it connects, or in the next round, is heard.
        if let Some(rounds) = self.rounds.get() {
            rounds.repairs_announced(from, round, &chunks);
        }
    }

    fn peer_changed(&self, node: NodeId, capabilities: Option<Capabilities>) {
        self.repair.peer_changed(node, capabilities);
    }

    fn peer_gone(&self, node: NodeId) {
        self.repair.peer_gone(node);
    }
}
