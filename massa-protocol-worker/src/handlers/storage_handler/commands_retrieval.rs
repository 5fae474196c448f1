//! Commands to the thread that fetches and serves.

use massa_distributed_storage_exports::network::{Challenge, Fetch};
use massa_models::node::NodeId;
use std::net::SocketAddr;

/// A command to the thread that fetches and serves.
#[derive(Clone, Debug)]
pub enum StorageHandlerRetrievalCommand {
    /// Asks the network.
    Fetch(Box<Fetch>),
    /// Puts a challenge to a node.
    Challenge(Box<Challenge>),
    /// What the node sent was proven wrong later on: it is asked nothing for a while.
    Quarantine {
        /// The node.
        node: Box<NodeId>,
        /// What was wrong.
        reason: String,
    },
    /// Where the registered nodes listen, all of them: replaces what was said before.
    Addresses(Vec<(NodeId, Vec<SocketAddr>)>),
    /// Ends the thread.
    Stop,
}
