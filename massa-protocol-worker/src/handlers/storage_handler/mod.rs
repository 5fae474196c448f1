//! The storage handler: asks peers for what is archived, checks what arrives, serves what this node holds, announces, and keeps
//! holders in reach.
//!
//! Two threads as in the other handlers. Retrieval (`psh-retrieval`, [`retrieval`]) takes messages and requests of the worker:
//! what is asked of whom is decided in [`fetching`], what is served to whom and when in [`serving`], how a peer is challenged in
//! [`audits`], which connections stay open in [`connections`], without threads, sockets or clocks. Propagation
//! (`psh-propagation`, [`propagation`]) announces. The worker knows the handler as [`StorageNetwork`], the handler knows the
//! worker as [`ArchiveServer`] and [`StorageEvents`], and what it needs of its host beyond upstream's interfaces is in
//! [`StorageHost`].
//!
//! Storage messages leave with low priority, one page in a frame, and are sent to peers only that said in the handshake that
//! they understand them. No message of a peer ends its connection here: a peer that sends what is provably wrong is asked
//! nothing for a while, one that sends too much is not listened to for a while. Only connections that were opened for
//! storage and that nothing is asked or served over are closed.

pub mod audits;
pub mod cache;
pub mod commands_propagation;
pub mod commands_retrieval;
pub mod connections;
pub mod fetching;
pub mod limiter;
pub mod messages;
pub mod propagation;
mod reach;
pub mod retrieval;
mod sending;
pub mod serving;

use crate::messages::PeerMessageTuple;
use crate::wrap_network::ActiveConnectionsTrait;
use cache::SharedStorageCache;
use commands_propagation::StorageHandlerPropagationCommand;
use commands_retrieval::StorageHandlerRetrievalCommand;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_channel::MassaChannel;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, ArchiveServer, Challenge, Fetch, NetworkBusy, StorageEvents, StorageHost, StorageNetwork,
    StoragePeer,
};
use massa_distributed_storage_exports::{ArchiveParameters, SegmentRoot};
use massa_models::node::NodeId;
use massa_protocol_exports::{PeerId, ProtocolConfig};
use propagation::start_propagation_thread;
use retrieval::start_retrieval_thread;
use sending::StorageConnections;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;
use tracing::warn;

/// Both ends of a channel for commands.
pub type CommandChannel<T> = (MassaSender<T>, MassaReceiver<T>);

/// The channels into the handler, and what its threads share. Exists before the handler, so that the worker can be
/// given its [`StorageHandlerNetwork`] first.
#[derive(Clone)]
pub struct StorageHandlerChannels {
    /// To the thread that fetches and serves.
    pub retrieval: CommandChannel<StorageHandlerRetrievalCommand>,
    /// To the thread that announces.
    pub propagation: CommandChannel<StorageHandlerPropagationCommand>,
    /// What is known of peers.
    pub cache: SharedStorageCache,
}

impl StorageHandlerChannels {
    /// Channels of the sizes that `config` says.
    pub fn new(config: &ProtocolConfig) -> Self {
        let retrieval = config.max_size_channel_commands_retrieval_storage;
        let propagation = config.max_size_channel_commands_propagation_storage;
        Self {
            retrieval: MassaChannel::new("storage_handler_retrieval".into(), Some(retrieval)),
            propagation: MassaChannel::new("storage_handler_propagation".into(), Some(propagation)),
            cache: SharedStorageCache::new(config.max_stored_chunks_per_node),
        }
    }

    /// What the worker asks.
    pub fn network(&self) -> StorageHandlerNetwork {
        StorageHandlerNetwork {
            retrieval: self.retrieval.0.clone(),
            propagation: self.propagation.0.clone(),
            cache: self.cache.clone(),
        }
    }
}

/// What the handler works with.
#[derive(Clone)]
pub struct StorageHandlerParts {
    /// What upstream's interfaces do not offer.
    pub host: Arc<dyn StorageHost>,
    /// What is served.
    pub server: Arc<dyn ArchiveServer>,
    /// Who is told what peers say.
    pub events: Arc<dyn StorageEvents>,
    /// What the network's archive looks like.
    pub parameters: ArchiveParameters,
}

/// The two threads.
pub struct StorageHandler {
    retrieval: Option<(MassaSender<StorageHandlerRetrievalCommand>, JoinHandle<()>)>,
    propagation: Option<(MassaSender<StorageHandlerPropagationCommand>, JoinHandle<()>)>,
}

impl StorageHandler {
    /// Starts the threads. `receiver_network` gives the messages of peers; it is to be filled without waiting.
    ///
    /// # Errors
    /// The system starts no more threads.
    pub fn new(
        active_connections: Box<dyn ActiveConnectionsTrait>,
        parts: StorageHandlerParts,
        receiver_network: MassaReceiver<PeerMessageTuple>,
        channels: StorageHandlerChannels,
        config: ProtocolConfig,
    ) -> std::io::Result<Self> {
        let StorageHandlerChannels {
            retrieval: (retrieval, retrieval_commands),
            propagation: (propagation, propagation_commands),
            cache,
        } = channels;
        if (config.max_chunk_size as u64) < u64::from(parts.parameters.chunk_size) {
            let (max_chunk_size, chunk_size) = (config.max_chunk_size, parts.parameters.chunk_size);
            warn!(
                max_chunk_size,
                chunk_size, "max_chunk_size is less than a chunk: full chunks are neither asked for nor served"
            );
        }
        let mut handler = Self {
            retrieval: None,
            propagation: None,
        };
        let connections = StorageConnections::new(active_connections, Arc::clone(&parts.host));
        let thread = start_propagation_thread(connections.clone(), Arc::clone(&parts.server), propagation_commands)?;
        handler.propagation = Some((propagation, thread));
        let inputs = (receiver_network, retrieval_commands);
        let thread = start_retrieval_thread(connections, parts, inputs, cache, &config)?;
        handler.retrieval = Some((retrieval, thread));
        Ok(handler)
    }

    /// Ends the threads. Fetches and challenges that are open get no answer.
    pub fn stop(&mut self) {
        if let Some((sender, thread)) = self.retrieval.take() {
            end(sender, StorageHandlerRetrievalCommand::Stop, thread);
        }
        if let Some((sender, thread)) = self.propagation.take() {
            end(sender, StorageHandlerPropagationCommand::Stop, thread);
        }
    }
}

impl Drop for StorageHandler {
    fn drop(&mut self) {
        self.stop();
    }
}

fn end<T>(sender: MassaSender<T>, stop: T, thread: JoinHandle<()>) {
    // There is no receiver when the thread is gone already. A full queue is emptied by the thread: this waits briefly.
    let _ = sender.send(stop);
    drop(sender);
    if thread.join().is_err() {
        warn!("a thread of the storage handler panicked");
    }
}

/// The handler, as the worker sees it.
#[derive(Clone)]
pub struct StorageHandlerNetwork {
    retrieval: MassaSender<StorageHandlerRetrievalCommand>,
    propagation: MassaSender<StorageHandlerPropagationCommand>,
    cache: SharedStorageCache,
}

impl StorageHandlerNetwork {
    /// Tells where the registered nodes listen, all of them: so that each can be dialed when something is asked of it.
    ///
    /// # Errors
    /// [`NetworkBusy`].
    pub fn set_registered(&self, nodes: Vec<(NodeId, Vec<SocketAddr>)>) -> Result<(), NetworkBusy> {
        let command = StorageHandlerRetrievalCommand::Addresses(nodes);
        self.retrieval.try_send(command).map_err(|_| NetworkBusy)
    }
}

impl StorageNetwork for StorageHandlerNetwork {
    fn fetch(&self, fetch: Fetch) -> Result<(), NetworkBusy> {
        let priority = fetch.priority;
        if !self.cache.open_fetch(priority) {
            return Err(NetworkBusy);
        }
        let command = StorageHandlerRetrievalCommand::Fetch(Box::new(fetch));
        self.retrieval.try_send(command).map_err(|_| {
            self.cache.close_fetch(priority);
            NetworkBusy
        })
    }

    fn announce(
        &self,
        segment: u64,
        root: Option<SegmentRoot>,
        chunks: Vec<AnnouncedChunk>,
    ) -> Result<(), NetworkBusy> {
        let command = StorageHandlerPropagationCommand::Announce { segment, root, chunks };
        self.propagation.try_send(command).map_err(|_| NetworkBusy)
    }

    fn challenge(&self, challenge: Challenge) -> Result<(), NetworkBusy> {
        let command = StorageHandlerRetrievalCommand::Challenge(Box::new(challenge));
        self.retrieval.try_send(command).map_err(|_| NetworkBusy)
    }

    fn quarantine(&self, node: NodeId, reason: &str) {
        let command = StorageHandlerRetrievalCommand::Quarantine {
            node: Box::new(node),
            reason: reason.to_string(),
        };
        if self.retrieval.try_send(command).is_err() {
            warn!(peer = %node, reason, "not put in quarantine: the storage handler does not take commands");
        }
    }

    fn peers(&self) -> Vec<StoragePeer> {
        self.cache.cache.read().storage_peers(Instant::now())
    }
}

fn node_id(peer: &PeerId) -> NodeId {
    NodeId::new(peer.get_public_key())
}

fn peer_id(node: &NodeId) -> PeerId {
    PeerId::from_public_key(node.get_public_key())
}
