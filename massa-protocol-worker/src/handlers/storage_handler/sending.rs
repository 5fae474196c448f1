//! The connected peers that speak storage, and sending to them and to nobody else.

use super::messages::{StorageMessage, StorageMessageSerializer, MAX_PAGE_FRAME_BYTES};
use super::{node_id, peer_id};
use crate::messages::MessagesSerializer;
use crate::wrap_network::ActiveConnectionsTrait;
use massa_distributed_storage_exports::network::StorageHost;
use massa_models::node::NodeId;
use massa_protocol_exports::PeerConnectionType;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use tracing::debug;

/// The connected peers that speak storage.
#[derive(Clone)]
pub(super) struct StorageConnections {
    active_connections: Box<dyn ActiveConnectionsTrait>,
    host: Arc<dyn StorageHost>,
    serializer: MessagesSerializer,
}

impl StorageConnections {
    pub fn new(active_connections: Box<dyn ActiveConnectionsTrait>, host: Arc<dyn StorageHost>) -> Self {
        let serializer = MessagesSerializer::new().with_storage_message_serializer(StorageMessageSerializer::new());
        Self {
            active_connections,
            host,
            serializer,
        }
    }

    /// Who can be sent storage messages.
    pub fn peers(&self) -> HashSet<NodeId> {
        let connected = self.active_connections.get_peer_ids_connected();
        let nodes = connected.iter().map(node_id);
        nodes.filter(|node| self.host.speaks_storage(node)).collect()
    }

    /// Address and opener of each connection, also of those with peers that do not speak storage.
    pub fn links(&self) -> HashMap<NodeId, (SocketAddr, PeerConnectionType)> {
        let connected = self.active_connections.get_peers_connected().into_iter();
        let links = connected.map(|(peer, (address, direction, _))| (node_id(&peer), (address, direction)));
        links.collect()
    }

    /// Queues a message, with low priority. Returns whether it was queued: not when the peer's queue is full, when it
    /// is gone, or when it does not speak storage, because then the message would cost the connection.
    pub fn send(&self, to: &NodeId, message: StorageMessage) -> bool {
        if !self.host.speaks_storage(to) {
            return false;
        }
        let sent = self
            .active_connections
            .send_to_peer(&peer_id(to), &self.serializer, message.into(), false);
        if let Err(error) = &sent {
            debug!(peer = %to, %error, "storage message not sent");
        }
        sent.is_ok()
    }

    /// Whether a page more may wait for the peer's connection, where all that waits may have `bytes` bytes.
    pub fn has_room(&self, node: &NodeId, bytes: usize) -> bool {
        let waiting = self.host.unsent_messages(node);
        waiting == 0 || (waiting + 1) * MAX_PAGE_FRAME_BYTES <= bytes
    }

    /// Whether something waits for the peer's connection.
    pub fn has_unsent(&self, node: &NodeId) -> bool {
        self.host.unsent_messages(node) > 0
    }

    /// Where the host knows that a node listens, likeliest first.
    pub fn addresses(&self, node: &NodeId) -> Vec<SocketAddr> {
        self.host.addresses(node)
    }

    pub fn dial(&self, node: &NodeId, addresses: &[SocketAddr]) {
        self.host.dial_at(node, addresses);
    }

    pub fn close(&mut self, node: &NodeId) {
        self.active_connections.shutdown_connection(&peer_id(node));
    }

    pub fn speaks_storage(&self, node: &NodeId) -> bool {
        self.host.speaks_storage(node)
    }
}
