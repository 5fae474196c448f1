//! What is known about operations, shared by the two threads of the handler.

use massa_models::operation::OperationPrefixId;
use massa_protocol_exports::{PeerId, ProtocolConfig};
use parking_lot::RwLock;
use schnellru::{ByLength, LruMap};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Shared by the two threads, and by the connections, which forget what a peer knew when it connects anew.
pub type SharedOperationCache = Arc<RwLock<OperationCache>>;

type Prefixes = LruMap<OperationPrefixId, ()>;

/// Operations that were checked, and which peer knows which. Bounded, the least recently used are forgotten.
pub struct OperationCache {
    checked: Prefixes,
    known_by_peer: HashMap<PeerId, Prefixes>,
    max_node_known_ops: u32,
}

impl OperationCache {
    /// An empty cache.
    pub fn new(config: &ProtocolConfig) -> Self {
        Self {
            checked: LruMap::new(ByLength::new(limit(config.max_known_ops_size))),
            known_by_peer: HashMap::new(),
            max_node_known_ops: limit(config.max_node_known_ops_size),
        }
    }

    /// Notes an operation that is valid by itself.
    pub fn insert_checked(&mut self, prefix: OperationPrefixId) {
        self.checked.insert(prefix, ());
    }

    /// Whether the operation was checked before.
    pub fn is_checked(&self, prefix: &OperationPrefixId) -> bool {
        self.checked.peek(prefix).is_some()
    }

    /// Notes that a peer knows an operation.
    pub fn insert_known(&mut self, peer_id: &PeerId, prefix: OperationPrefixId) {
        let max = self.max_node_known_ops;
        self.known_by_peer
            .entry(*peer_id)
            .or_insert_with(|| LruMap::new(ByLength::new(max)))
            .insert(prefix, ());
    }

    /// Whether a peer knows an operation.
    pub fn is_known_by(&self, peer_id: &PeerId, prefix: &OperationPrefixId) -> bool {
        let known = self.known_by_peer.get(peer_id);
        known.is_some_and(|known| known.peek(prefix).is_some())
    }

    /// Forgets peers that are not connected.
    pub fn update_cache(&mut self, connected: &HashSet<PeerId>) {
        self.known_by_peer.retain(|peer_id, _| connected.contains(peer_id));
    }

    /// Forgets what a peer knows: what was on its way when a connection ended may not have arrived.
    pub fn forget_peer(&mut self, peer_id: &PeerId) {
        self.known_by_peer.remove(peer_id);
    }
}

fn limit(size: usize) -> u32 {
    u32::try_from(size).unwrap_or(u32::MAX)
}
