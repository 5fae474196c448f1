//! Where nodes are: as many as are registered, and a bounded number of others.

use massa_models::node::NodeId;
use schnellru::{ByLength, LruMap};
use std::collections::HashMap;
use std::net::SocketAddr;

/// Registered nodes whose addresses are kept: 65 536 with four addresses each take 12 MB.
pub const MAX_REGISTERED: usize = 1 << 16;
/// Addresses of one node.
pub const MAX_ADDRESSES: usize = 4;
/// Nodes that are not registered, whose addresses were learned otherwise.
pub const MAX_LEARNED: u32 = 4096;

/// Addresses of nodes.
pub struct AddressTable {
    registered: HashMap<NodeId, Vec<SocketAddr>>,
    learned: LruMap<NodeId, Vec<SocketAddr>, ByLength>,
}

impl Default for AddressTable {
    fn default() -> Self {
        Self {
            registered: HashMap::new(),
            learned: LruMap::new(ByLength::new(MAX_LEARNED)),
        }
    }
}

impl AddressTable {
    /// Takes over what the registry says. Nodes beyond [`MAX_REGISTERED`] are left out.
    pub fn set_registered(&mut self, nodes: impl IntoIterator<Item = (NodeId, Vec<SocketAddr>)>) {
        let nodes = nodes.into_iter().take(MAX_REGISTERED);
        self.registered = nodes.map(|(node, addresses)| (node, bounded(addresses))).collect();
    }

    /// Where a node was reached, or says that it is: tried first, because the registry may be older.
    pub fn learn(&mut self, node: NodeId, address: SocketAddr) {
        let mut addresses = self.learned.get(&node).cloned().unwrap_or_default();
        addresses.retain(|known| *known != address);
        addresses.insert(0, address);
        self.learned.insert(node, bounded(addresses));
    }

    /// Where a node may be, likeliest first; empty if it is not known.
    pub fn of(&self, node: &NodeId) -> Vec<SocketAddr> {
        let learned = self.learned.peek(node).into_iter().flatten();
        let mut addresses: Vec<SocketAddr> = Vec::new();
        for address in learned.chain(self.registered.get(node).into_iter().flatten()) {
            if !addresses.contains(address) {
                addresses.push(*address);
            }
        }
        addresses
    }

    /// Registered nodes whose address is known.
    pub fn registered(&self) -> usize {
        self.registered.len()
    }
}

fn bounded(mut addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    addresses.truncate(MAX_ADDRESSES);
    addresses
}
