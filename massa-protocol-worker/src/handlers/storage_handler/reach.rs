//! Keeps holders in reach: tells the [`ConnectionPlanner`] what is wanted, connected and used, and carries out what it says.
//!
//! A connection does not say what it was opened for. The first `target_out_connections` of each direction count as links for
//! blocks, which are never closed here; so does what this node opened without being told to by the planner. Beyond them, a
//! connection that was asked for is [`Opened::Dialed`], and one that a peer opened is [`Opened::Incoming`].

use super::connections::{ConnectionAction, ConnectionLimits, ConnectionPlanner, Opened};
use super::sending::StorageConnections;
use massa_models::node::NodeId;
use massa_protocol_exports::{PeerConnectionType, ProtocolConfig};
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tracing::debug;

/// One in so many of the connections that the transport takes from outside stays free, so that one more is let in and the
/// least useful one can be closed for it: a transport that is full refuses before anybody is asked.
const FREE_SHARE: usize = 8;

/// See the module.
pub(super) struct Reach {
    connections: StorageConnections,
    planner: ConnectionPlanner,
    block_links_max: usize,
    /// Links for blocks with peers that speak storage, and who opened them.
    block_links: HashMap<NodeId, PeerConnectionType>,
    /// Peers over whose connection something was asked or served and that are not known to be idle.
    used: HashSet<NodeId>,
}

impl Reach {
    /// Nobody is connected. A dialed node is waited for `dial_timeout`.
    pub fn new(connections: StorageConnections, config: &ProtocolConfig, dial_timeout: Duration) -> Self {
        Self {
            connections,
            planner: ConnectionPlanner::new(limits(config, dial_timeout)),
            block_links_max: config.target_out_connections,
            block_links: HashMap::new(),
            used: HashSet::new(),
        }
    }

    /// Takes over where the registered nodes listen.
    pub fn set_registered(&mut self, nodes: Vec<(NodeId, Vec<SocketAddr>)>) {
        self.planner.addresses.set_registered(nodes);
    }

    /// Takes over which peers that speak storage are connected.
    pub fn on_peers(&mut self, connected: &HashSet<NodeId>, now: Instant) {
        let known = self.planner.connected();
        for node in known.difference(connected) {
            self.block_links.remove(node);
            self.used.remove(node);
            let actions = self.planner.on_gone(node, now);
            self.carry_out(actions);
        }
        let links = self.connections.links();
        for node in connected.difference(&known) {
            // Without an entry it is gone again, and the next look tells.
            if let Some((address, direction)) = links.get(node) {
                self.on_connected(*node, *address, *direction, now);
            }
        }
    }

    fn on_connected(&mut self, node: NodeId, address: SocketAddr, direction: PeerConnectionType, now: Instant) {
        if direction == PeerConnectionType::OUT {
            self.planner.addresses.learn(node, address);
        }
        let links = self.block_links.values().filter(|opened| **opened == direction);
        let has_links = links.count() >= self.block_links_max;
        let opened = opened(direction, self.planner.is_awaited(&node), has_links);
        if opened == Opened::BlockLink {
            self.block_links.insert(node, direction);
        }
        let actions = self.planner.on_connected(node, opened, now);
        self.carry_out(actions);
    }

    /// Something is to be asked of a node. `is_busy` tells over whose connection something is under way.
    pub fn want(&mut self, node: NodeId, is_busy: impl Fn(&NodeId) -> bool, now: Instant) {
        // What is used is known first: one of the others makes room.
        self.settle(is_busy, now);
        if !self.planner.is_connected(&node) {
            // The last one learned is tried first.
            for address in self.connections.addresses(&node).into_iter().rev() {
                self.planner.addresses.learn(node, address);
            }
        }
        let actions = self.planner.on_wanted(node, now);
        self.carry_out(actions);
    }

    /// Something is asked or served over the connection with a peer.
    pub fn on_used(&mut self, node: NodeId) {
        self.used.insert(node);
    }

    /// Ends what took too long, closes what is idle.
    pub fn on_tick(&mut self, is_busy: impl Fn(&NodeId) -> bool, now: Instant) {
        self.settle(is_busy, now);
        let actions = self.planner.on_tick(now);
        self.carry_out(actions);
    }

    /// Tells the planner what is under way: busy ones first, because one of the idle ones may be closed at once.
    fn settle(&mut self, is_busy: impl Fn(&NodeId) -> bool, now: Instant) {
        let used = std::mem::take(&mut self.used);
        let (busy, idle): (HashSet<NodeId>, HashSet<NodeId>) = used.into_iter().partition(|node| is_busy(node));
        for (nodes, open_requests) in [(&busy, 1), (&idle, 0)] {
            for node in nodes {
                let actions = self.planner.on_used(node, open_requests, now);
                self.carry_out(actions);
            }
        }
        self.used = busy;
    }

    fn carry_out(&mut self, actions: Vec<ConnectionAction>) {
        for action in actions {
            match action {
                ConnectionAction::Dial { node, addresses } => self.connections.dial(&node, &addresses),
                ConnectionAction::Close { node } => {
                    debug!(peer = %node, "storage connection closed: idle, or its place is needed");
                    self.connections.close(&node);
                }
                // Whoever wants it waits no longer than for a dial, and asks others meanwhile.
                ConnectionAction::Unreachable { node } => debug!(peer = %node, "node cannot be reached"),
            }
        }
    }
}

/// As many connections as [`ConnectionLimits`] has, or as few as the transport takes.
fn limits(config: &ProtocolConfig, dial_timeout: Duration) -> ConnectionLimits {
    let default = ConnectionLimits::default();
    let reserved = config.max_in_connections / FREE_SHARE + config.target_out_connections;
    ConnectionLimits {
        incoming: default.incoming.min(config.max_in_connections.saturating_sub(reserved)),
        dial_timeout,
        ..default
    }
}

/// What a new connection is for; `has_links`: there are as many links for blocks of its direction as there should be.
fn opened(direction: PeerConnectionType, is_awaited: bool, has_links: bool) -> Opened {
    match direction {
        _ if !has_links => Opened::BlockLink,
        PeerConnectionType::OUT if is_awaited => Opened::Dialed,
        PeerConnectionType::OUT => Opened::BlockLink,
        PeerConnectionType::IN => Opened::Incoming,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_connection_is_for_follows_from_who_opened_it_and_how_many_there_are() {
        use PeerConnectionType::{IN, OUT};
        let cases = [
            ((IN, false, false), Opened::BlockLink),
            ((OUT, true, false), Opened::BlockLink),
            ((IN, false, true), Opened::Incoming),
            ((OUT, true, true), Opened::Dialed),
            ((OUT, false, true), Opened::BlockLink),
        ];
        for ((direction, is_awaited, has_links), expected) in cases {
            assert_eq!(opened(direction, is_awaited, has_links), expected);
        }
    }

    #[test]
    fn connections_from_outside_leave_room_for_blocks_and_for_one_more() {
        let incoming = |max_in_connections| {
            let config = ProtocolConfig {
                max_in_connections,
                target_out_connections: 10,
                ..ProtocolConfig::default()
            };
            limits(&config, Duration::from_secs(1)).incoming
        };
        assert_eq!([8, 40, 80, 250].map(incoming), [0, 25, 60, 64]);
    }
}
