//! What is known of the peers that speak storage, shared between the handler's threads and the worker.

use massa_distributed_storage_exports::network::{AnnouncedChunk, Capabilities, FetchPriority, StoragePeer};
use massa_distributed_storage_exports::{ChunkId, ChunkPosition};
use massa_models::node::NodeId;
use parking_lot::RwLock;
use schnellru::{ByLength, LruMap};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::Arc;
use std::time::Instant;

/// Announced chunks remembered of all peers together: about 64 MB. Beyond that, the peer that announced most loses its
/// oldest.
pub const MAX_ANNOUNCED_TOTAL: usize = 1 << 20;
/// Quarantined peers remembered. Who lied and was forgotten has to lie again.
pub const MAX_QUARANTINED: u32 = 1024;
/// Fetches of one priority under way.
pub const MAX_OPEN_FETCHES: usize = 256;

/// Figures that only grow.
#[derive(Clone, Debug, Default)]
pub struct StorageCounters(Arc<StorageCountersInner>);

/// See [`StorageCounters`].
#[derive(Debug, Default)]
pub struct StorageCountersInner {
    /// Messages dropped because a peer sent too many.
    pub dropped: AtomicU64,
    /// Messages that answered nothing that was asked, or could not be read.
    pub stray: AtomicU64,
    /// Messages of peers that do not speak storage.
    pub not_spoken: AtomicU64,
    /// Peers put in quarantine.
    pub quarantined: AtomicU64,
    /// Requests refused because the peer has too many waiting.
    pub refused: AtomicU64,
    /// Pages sent.
    pub pages_sent: AtomicU64,
    /// Pages received and found right.
    pub pages_received: AtomicU64,
}

impl std::ops::Deref for StorageCounters {
    type Target = StorageCountersInner;

    fn deref(&self) -> &StorageCountersInner {
        &self.0
    }
}

/// An announced chunk: the id alone does not do, because it is provisional while its segment is not anchored.
type Announced = (ChunkPosition, ChunkId);

/// A connected peer that speaks storage.
struct PeerRecord {
    capabilities: Option<Capabilities>,
    announced: LruMap<Announced, (), ByLength>,
}

/// What is known of the peers that speak storage.
pub struct StorageCache {
    peers: HashMap<NodeId, PeerRecord>,
    quarantined: LruMap<NodeId, Instant, ByLength>,
    max_stored_chunks_per_node: u32,
    announced_total: usize,
    max_announced_total: usize,
}

impl StorageCache {
    /// A cache that remembers at most `max_stored_chunks_per_node` announced chunks of each peer.
    pub fn new(max_stored_chunks_per_node: usize) -> Self {
        Self {
            peers: HashMap::new(),
            quarantined: LruMap::new(ByLength::new(MAX_QUARANTINED)),
            max_stored_chunks_per_node: u32::try_from(max_stored_chunks_per_node).unwrap_or(u32::MAX),
            announced_total: 0,
            max_announced_total: MAX_ANNOUNCED_TOTAL,
        }
    }

    /// A cache with another limit for all peers together.
    pub fn with_announced_total(mut self, max_announced_total: usize) -> Self {
        self.max_announced_total = max_announced_total;
        self
    }

    /// A peer that speaks storage connected.
    pub fn insert_peer(&mut self, node: NodeId) {
        let limit = ByLength::new(self.max_stored_chunks_per_node);
        self.peers.entry(node).or_insert_with(|| PeerRecord {
            capabilities: None,
            announced: LruMap::new(limit),
        });
    }

    /// A peer is gone: all that it said is forgotten. Its quarantine is not.
    pub fn remove_peer(&mut self, node: &NodeId) {
        if let Some(peer) = self.peers.remove(node) {
            self.announced_total -= peer.announced.len();
        }
    }

    /// What a peer says of itself. Returns whether it is news.
    pub fn set_capabilities(&mut self, node: &NodeId, capabilities: Capabilities) -> bool {
        let Some(peer) = self.peers.get_mut(node) else {
            return false;
        };
        let is_news = peer.capabilities.as_ref() != Some(&capabilities);
        peer.capabilities = Some(capabilities);
        is_news
    }

    /// Remembers what a peer announced of a segment; returns the chunks that it had not announced before. Of one peer the last
    /// `max_stored_chunks_per_node` are remembered, and no more are taken from one message.
    pub fn announce(&mut self, node: &NodeId, segment: u64, mut chunks: Vec<AnnouncedChunk>) -> Vec<AnnouncedChunk> {
        chunks.truncate(self.max_stored_chunks_per_node as usize);
        let Some(peer) = self.peers.get_mut(node) else {
            return Vec::new();
        };
        let before = peer.announced.len();
        chunks.retain(|chunk| {
            let index = chunk.index;
            let announced = (ChunkPosition { segment, index }, chunk.id);
            let is_news = peer.announced.get(&announced).is_none();
            if is_news {
                peer.announced.insert(announced, ());
            }
            is_news
        });
        self.announced_total += peer.announced.len() - before;
        self.forget_beyond_total();
        chunks
    }

    fn forget_beyond_total(&mut self) {
        while self.announced_total > self.max_announced_total {
            let largest = self.peers.values_mut().max_by_key(|peer| peer.announced.len());
            let excess = self.announced_total - self.max_announced_total;
            let Some(largest) = largest else { return };
            // A peer has at least its share of the total, so this loop ends after a few rounds.
            for _ in 0..excess.min(largest.announced.len()) {
                largest.announced.pop_oldest();
                self.announced_total -= 1;
            }
        }
    }

    /// Announced chunks remembered of all peers.
    pub fn announced_total(&self) -> usize {
        self.announced_total
    }

    /// The peer is asked nothing until then.
    pub fn set_quarantine(&mut self, node: NodeId, until: Instant) {
        self.quarantined.insert(node, until);
    }

    /// The connected peers that speak storage.
    pub fn storage_peers(&self, now: Instant) -> Vec<StoragePeer> {
        let quarantined = |node| self.quarantined.peek(node).is_some_and(|until| now < *until);
        let peers = self.peers.iter().map(|(node, peer)| StoragePeer {
            node: *node,
            capabilities: peer.capabilities.clone(),
            quarantined: quarantined(node),
        });
        peers.collect()
    }
}

/// The cache, shared, with figures and the number of fetches under way.
#[derive(Clone)]
pub struct SharedStorageCache {
    /// The cache.
    pub cache: Arc<RwLock<StorageCache>>,
    /// Figures.
    pub counters: StorageCounters,
    open_fetches: Arc<[AtomicUsize; 2]>,
}

impl SharedStorageCache {
    /// A cache that remembers at most `max_stored_chunks_per_node` announced chunks of each peer.
    pub fn new(max_stored_chunks_per_node: usize) -> Self {
        Self {
            cache: Arc::new(RwLock::new(StorageCache::new(max_stored_chunks_per_node))),
            counters: StorageCounters::default(),
            open_fetches: Arc::default(),
        }
    }

    /// Counts one more fetch, if one more fits.
    pub(super) fn open_fetch(&self, priority: FetchPriority) -> bool {
        let add = |open: usize| (open < MAX_OPEN_FETCHES).then_some(open + 1);
        self.open_fetches[priority as usize]
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, add)
            .is_ok()
    }

    /// A fetch is over.
    pub(super) fn close_fetch(&self, priority: FetchPriority) {
        self.open_fetches[priority as usize].fetch_sub(1, Ordering::AcqRel);
    }
}
