//! Keeps connections open: dials where some are missing, and whom the storage handler asks for.

use crate::handlers::block_handler::BlockHandler;
use crate::handlers::operation_handler::OperationHandler;
use crate::handlers::peer_handler::models::SharedPeerDB;
use crate::handlers::peer_handler::PeerManagementHandler;
use crate::handlers::storage_handler::StorageHandler;
use crate::transport::{ActiveConnections, Network};
use crate::wrap_network::ActiveConnectionsTrait;
use crossbeam_channel::{RecvTimeoutError, Sender};
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_distributed_storage_exports::network::StorageHost;
use massa_models::node::NodeId;
use massa_protocol_exports::{NetworkStats, PeerAddress, PeerConnectionType, PeerId, ProtocolConfig};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;
use tracing::debug;

/// Connections that are opened because somebody asked for a peer, on top of `target_out_connections`. Chunks are spread
/// over all nodes; each connection costs two threads.
pub const MAX_NAMED_CONNECTIONS: usize = 64;
/// Addresses dialed at a time: each attempt costs a thread until its deadline.
pub const MAX_SIMULTANEOUS_DIALS: usize = 16;

/// Figures about connections, and the connected peers.
pub type Stats = (NetworkStats, HashMap<PeerId, (SocketAddr, PeerConnectionType)>);

/// A command to the connectivity thread.
#[derive(Clone, Debug)]
pub enum ConnectivityCommand {
    /// End the protocol.
    Stop,
    /// Tell figures.
    GetStats {
        /// Where to.
        responder: Sender<Stats>,
    },
    /// Open a connection with this peer now, if an address is known.
    ConnectTo {
        /// With whom.
        peer_id: PeerId,
        /// Where it may listen, likeliest first, besides the addresses known here.
        addresses: Vec<SocketAddr>,
    },
    /// Remember where peers listen.
    AddAddresses(Vec<PeerAddress>),
}

/// Ends in this order.
pub(crate) struct Handlers {
    pub(crate) storage: Option<StorageHandler>,
    pub(crate) operations: OperationHandler,
    pub(crate) blocks: BlockHandler,
    pub(crate) peers: PeerManagementHandler,
}

/// What the thread is made of.
pub(crate) struct ConnectivityThread {
    pub(crate) config: ProtocolConfig,
    pub(crate) commands: MassaReceiver<ConnectivityCommand>,
    pub(crate) network: Network,
    pub(crate) connections: ActiveConnections,
    pub(crate) peer_db: SharedPeerDB,
    pub(crate) handlers: Handlers,
}

impl ConnectivityThread {
    /// Runs until it is told to stop; then ends connections first, handlers after them.
    pub(crate) fn run(mut self) {
        let interval = self.config.try_connection_timer.to_duration();
        let mut next = Instant::now();
        loop {
            match self.commands.recv_deadline(next) {
                Ok(ConnectivityCommand::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(ConnectivityCommand::GetStats { responder }) => {
                    // Whoever asked may have given up.
                    let _ = responder.try_send(self.stats());
                }
                Ok(ConnectivityCommand::ConnectTo { peer_id, addresses }) => self.connect_to(&peer_id, &addresses),
                Ok(ConnectivityCommand::AddAddresses(addresses)) => self.peer_db.write().add_configured(&addresses),
                Err(RecvTimeoutError::Timeout) => {
                    next = Instant::now() + interval;
                    self.try_connect();
                }
            }
        }
        self.network.stop();
        if let Some(storage) = &mut self.handlers.storage {
            storage.stop();
        }
        self.handlers.operations.stop();
        self.handlers.blocks.stop();
        self.handlers.peers.stop();
    }

    /// Dials where connections are missing.
    fn try_connect(&self) {
        let dialing = self.connections.get_peer_ids_out_connection_queue().len();
        let open = self.connections.get_nb_out_connections() + dialing;
        let missing = self.config.target_out_connections.saturating_sub(open);
        let count = missing.min(MAX_SIMULTANEOUS_DIALS.saturating_sub(dialing));
        if count == 0 {
            return;
        }
        let pause = self.config.try_connection_timer_same_peer.to_duration();
        let is_connected = |peer_id: &PeerId| self.connections.is_connected(peer_id);
        let peers = self.peer_db.write().to_dial(count, pause, Instant::now(), is_connected);
        for peer in peers {
            self.network.dial(peer);
        }
    }

    fn connect_to(&self, peer_id: &PeerId, addresses: &[SocketAddr]) {
        if self.connections.is_connected(peer_id) {
            return;
        }
        let dialing = self.connections.get_peer_ids_out_connection_queue().len();
        let max_open = self.config.target_out_connections + MAX_NAMED_CONNECTIONS;
        if dialing >= MAX_SIMULTANEOUS_DIALS || self.connections.get_nb_out_connections() + dialing >= max_open {
            debug!(peer = %peer_id, dialing, "peer not dialed: too many connections");
            return;
        }
        let known = self.peer_db.write().to_dial_by_id(peer_id, addresses, Instant::now());
        match known {
            Some(peer) => self.network.dial(peer),
            None => debug!(peer = %peer_id, "peer not dialed: address unknown, banned, or tried a moment ago"),
        }
    }

    fn stats(&self) -> Stats {
        let peer_db = self.peer_db.read();
        let stats = NetworkStats {
            in_connection_count: self.connections.get_nb_in_connections() as u64,
            out_connection_count: self.connections.get_nb_out_connections() as u64,
            known_peer_count: peer_db.len() as u64,
            banned_peer_count: peer_db.banned_count(Instant::now()) as u64,
        };
        let peers = self.connections.get_peers_connected().into_iter();
        let peers = peers.map(|(peer_id, (address, direction, _))| (peer_id, (address, direction)));
        (stats, peers.collect())
    }
}

/// What the storage handler needs of this crate.
pub(crate) struct ProtocolStorageHost {
    pub(crate) connections: ActiveConnections,
    pub(crate) connectivity: MassaSender<ConnectivityCommand>,
    pub(crate) peer_db: SharedPeerDB,
}

impl StorageHost for ProtocolStorageHost {
    fn speaks_storage(&self, node: &NodeId) -> bool {
        let peer_id = PeerId::from_public_key(node.get_public_key());
        self.connections.speaks_storage(&peer_id)
    }

    fn unsent_messages(&self, node: &NodeId) -> usize {
        let peer_id = PeerId::from_public_key(node.get_public_key());
        self.connections.unsent_messages(&peer_id)
    }

    fn dial(&self, node: &NodeId) {
        self.dial_at(node, &[]);
    }

    fn addresses(&self, node: &NodeId) -> Vec<SocketAddr> {
        let peer_id = PeerId::from_public_key(node.get_public_key());
        self.peer_db.read().addresses(&peer_id)
    }

    /// What is told here is not remembered: the storage handler has a table of all registered nodes, and hearsay does not
    /// become trusted because it is tried.
    fn dial_at(&self, node: &NodeId, addresses: &[SocketAddr]) {
        let peer_id = PeerId::from_public_key(node.get_public_key());
        let addresses = addresses.to_vec();
        let command = ConnectivityCommand::ConnectTo { peer_id, addresses };
        if let Err(error) = self.connectivity.try_send(command) {
            debug!(peer = %peer_id, %error, "peer not dialed");
        }
    }
}
