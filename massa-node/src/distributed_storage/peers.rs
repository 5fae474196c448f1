//! Where storage nodes are: for the handler of peers, and for the storage handler.

use massa_distributed_storage_worker::smart_contract::state::NodeRecord;
use massa_models::node::NodeId;
use massa_protocol_exports::{PeerAddress, PeerId};
use massa_protocol_worker::StorageHandlerNetwork;
use std::net::SocketAddr;
use tracing::warn;

/// Where registered nodes are dialed.
pub(crate) fn addresses_of(nodes: &[NodeRecord], own: &NodeId) -> Vec<PeerAddress> {
    let others = nodes.iter().filter_map(|node| Some((node.peer()?, node)));
    let others = others.filter(|(peer, _)| peer != own);
    let addresses = others.flat_map(|(peer, node)| {
        let peer_id = PeerId::from_public_key(peer.get_public_key());
        node.listeners.iter().map(move |address| PeerAddress {
            peer_id,
            address: *address,
        })
    });
    addresses.collect()
}

/// Tells the storage handler where nodes listen.
pub(crate) fn tell_listeners(network: &StorageHandlerNetwork, nodes: Vec<(NodeId, Vec<SocketAddr>)>) {
    if let Err(error) = network.set_registered(nodes) {
        warn!(%error, "addresses of storage nodes not told to the storage handler");
    }
}

/// Where registered nodes listen, for the storage handler.
pub(crate) fn listeners_of(nodes: &[NodeRecord]) -> Vec<(NodeId, Vec<SocketAddr>)> {
    let listeners = nodes
        .iter()
        .filter_map(|node| Some((node.peer()?, node.listeners.clone())));
    listeners.collect()
}
