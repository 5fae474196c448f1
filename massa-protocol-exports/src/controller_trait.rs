//! The protocol, seen from the rest of the node.

use crate::{Alarms, PeerAddress, PeerId, ProtocolError};
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_storage::Storage;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerConnectionType {
    /// The peer.
    IN,
    /// This node.
    OUT,
}

/// Figures about connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkStats {
    /// Connections that peers opened.
    pub in_connection_count: u64,
    /// Connections that this node opened.
    pub out_connection_count: u64,
    /// Peers known.
    pub known_peer_count: u64,
    /// Peers banned.
    pub banned_peer_count: u64,
}

/// The protocol.
pub trait ProtocolController: Send + Sync {
    /// Lets go of the channels to the protocol's threads.
    fn stop(&mut self);

    /// A block went into the graph: peers are told. Its storage is kept for a while, to serve them.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    fn integrated_block(&self, block_id: BlockId, storage: Storage) -> Result<(), ProtocolError>;

    /// A block is an attack: whoever sent it is banned.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    fn notify_block_attack(&self, block_id: BlockId) -> Result<(), ProtocolError>;

    /// Blocks that consensus needs, with their header where it has it, and blocks that it needs no longer.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    fn send_wishlist_delta(
        &self,
        new: PreHashMap<BlockId, Option<SecuredHeader>>,
        remove: PreHashSet<BlockId>,
    ) -> Result<(), ProtocolError>;

    /// Announces the operations that `operations` claims.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    fn propagate_operations(&self, operations: Storage) -> Result<(), ProtocolError>;

    /// Figures, and the connected peers.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    #[allow(clippy::type_complexity)] // Upstream's signature.
    fn get_stats(&self) -> Result<(NetworkStats, HashMap<PeerId, (SocketAddr, PeerConnectionType)>), ProtocolError>;

    /// Ends the connections to these peers and opens none for a day.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    fn ban_peers(&self, peer_ids: Vec<PeerId>) -> Result<(), ProtocolError>;

    /// Ends bans.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    fn unban_peers(&self, peer_ids: Vec<PeerId>) -> Result<(), ProtocolError>;

    /// Tells where peers can be dialed, for instance from the registry. By default this is forgotten: a test double has no
    /// sockets.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    fn add_peer_addresses(&self, _addresses: Vec<PeerAddress>) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// Tells the hash of this node's final state after a slot: it is compared with what peers tell, and told to them.
    ///
    /// # Errors
    /// [`ProtocolError::ChannelError`].
    fn tell_final_state(&self, _slot: Slot, _hash: [u8; 32]) -> Result<(), ProtocolError> {
        Ok(())
    }

    /// What peers show to be wrong with this node.
    fn get_alarms(&self) -> Alarms {
        Alarms::default()
    }

    /// A second handle.
    fn clone_box(&self) -> Box<dyn ProtocolController>;
}

impl Clone for Box<dyn ProtocolController> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}

/// Stops the protocol.
pub trait ProtocolManager: Send {
    /// Ends all connections and threads.
    fn stop(&mut self);
}
