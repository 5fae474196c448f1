//! What is known about blocks, shared by the two threads of the handler.

use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_protocol_exports::{PeerId, ProtocolConfig};
use parking_lot::RwLock;
use schnellru::{ByLength, LruMap};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Shared by the two threads, and by the connections, which forget what a peer knew when it connects anew.
pub type SharedBlockCache = Arc<RwLock<BlockCache>>;

/// How this node knows that a peer has a block's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownBy {
    /// The peer sent it: it should have the whole block.
    ToldUs,
    /// This node sent it.
    WeTold,
}

/// Headers that were checked, and which peer knows which block. Bounded, the least recently used are forgotten.
pub struct BlockCache {
    checked_headers: LruMap<BlockId, SecuredHeader>,
    known_by_peer: HashMap<PeerId, LruMap<BlockId, KnownBy>>,
    max_node_known_blocks: u32,
}

impl BlockCache {
    /// An empty cache.
    pub fn new(config: &ProtocolConfig) -> Self {
        Self {
            checked_headers: LruMap::new(ByLength::new(limit(config.max_known_blocks_size))),
            known_by_peer: HashMap::new(),
            max_node_known_blocks: limit(config.max_node_known_blocks_size),
        }
    }

    /// Notes a header that is valid by itself.
    pub fn insert_checked(&mut self, header: SecuredHeader) {
        self.checked_headers.insert(header.id, header);
    }

    /// Whether the header was checked before.
    pub fn is_checked(&self, id: &BlockId) -> bool {
        self.checked_headers.peek(id).is_some()
    }

    /// The header, if it was checked before.
    pub fn header(&self, id: &BlockId) -> Option<&SecuredHeader> {
        self.checked_headers.peek(id)
    }

    /// Notes that a peer knows a block.
    pub fn insert_known(&mut self, peer_id: &PeerId, id: BlockId, how: KnownBy) {
        let max = self.max_node_known_blocks;
        let known = self
            .known_by_peer
            .entry(*peer_id)
            .or_insert_with(|| LruMap::new(ByLength::new(max)));
        // What the peer said counts for more than what it was told.
        if how == KnownBy::ToldUs || known.peek(&id).is_none() {
            known.insert(id, how);
        }
    }

    /// Whether a peer knows a block, and how this node knows.
    pub fn known_by(&self, peer_id: &PeerId, id: &BlockId) -> Option<KnownBy> {
        self.known_by_peer.get(peer_id)?.peek(id).copied()
    }

    /// The peers that sent this block's header.
    pub fn told_by(&self, id: &BlockId) -> Vec<PeerId> {
        let told = |known: &LruMap<BlockId, KnownBy>| known.peek(id) == Some(&KnownBy::ToldUs);
        let peers = self.known_by_peer.iter().filter(|(_, known)| told(known));
        peers.map(|(peer_id, _)| *peer_id).collect()
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
