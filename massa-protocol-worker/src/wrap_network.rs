//! Sending to connected peers.
//!
//! Handlers know the network only as [`ActiveConnectionsTrait`], so that tests put something else there.

use crate::messages::{Message, MessagesSerializer};
use massa_protocol_exports::{PeerConnectionType, PeerId, ProtocolError};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// The connections of this node.
pub trait ActiveConnectionsTrait: Send + Sync {
    /// Queues a message. A message of high priority leaves before every one of low priority that waits.
    /// That it was queued does not mean that it arrives.
    ///
    /// # Errors
    /// - [`ProtocolError::PeerDisconnected`]: there is no connection to the peer.
    /// - [`ProtocolError::SendError`]: the peer's queue is full, the message cannot be encoded, or it is a storage
    ///   message for a peer that does not speak storage.
    fn send_to_peer(
        &self,
        peer_id: &PeerId,
        message_serializer: &MessagesSerializer,
        message: Message,
        high_priority: bool,
    ) -> Result<(), ProtocolError>;

    /// The peers with which a handshake succeeded.
    fn get_peer_ids_connected(&self) -> HashSet<PeerId>;

    /// Whether the peer said in the handshake that it knows the messages with which nodes compare themselves.
    fn knows_checks(&self, _peer_id: &PeerId) -> bool {
        false
    }

    /// The connected peers, their address, who opened the connection, and their category (always none here).
    fn get_peers_connected(&self) -> HashMap<PeerId, (SocketAddr, PeerConnectionType, Option<String>)>;

    /// Addresses that are being dialed.
    fn get_peer_ids_out_connection_queue(&self) -> HashSet<SocketAddr>;

    /// Connections that this node opened.
    fn get_nb_out_connections(&self) -> usize;

    /// Connections that peers opened.
    fn get_nb_in_connections(&self) -> usize;

    /// Ends the connection to a peer, if there is one.
    fn shutdown_connection(&mut self, peer_id: &PeerId);

    /// Bytes sent and received, by peer.
    fn get_peers_connections_bandwidth(&self) -> HashMap<String, (u64, u64)>;

    /// A second handle.
    fn clone_box(&self) -> Box<dyn ActiveConnectionsTrait>;
}

impl Clone for Box<dyn ActiveConnectionsTrait> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}
