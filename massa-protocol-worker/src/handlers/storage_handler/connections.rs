//! Which connections stay open, so that every holder of a chunk can be reached.
//!
//! Pure: no socket, no clock. A node knows an address of every registered node ([`AddressTable`]), and opens a connection to a
//! holder when it wants something of it: one round trip for the connection, one for the handshake, one for the request. It
//! keeps connections for storage only while they are used. When one more is wanted than there may be, the least useful one
//! is closed: one that nothing is asked or served over, and of these the one that was used longest ago. Links over which
//! blocks are exchanged are not this planner's: it never closes them, and uses them if they are there.
//!
//! The same holds for connections that others open: a node that is full makes room for one more by closing the least
//! useful one, so that nobody can keep others out by staying connected.

mod addresses;

pub use addresses::{AddressTable, MAX_ADDRESSES, MAX_LEARNED, MAX_REGISTERED};

use massa_models::node::NodeId;
use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Nodes that wait for a connection.
pub const MAX_WAITING: usize = 1024;

/// Limits of [`ConnectionPlanner`].
#[derive(Clone, Copy, Debug)]
pub struct ConnectionLimits {
    /// Connections that this node opens for storage.
    pub dialed: usize,
    /// Connections that others open for storage.
    pub incoming: usize,
    /// How long an unused connection stays when nobody needs its place.
    pub idle: Duration,
    /// How long a new connection is not closed for another one: who opened it is about to ask.
    pub grace: Duration,
    /// How long a node that is dialed, or waits to be, is waited for.
    pub dial_timeout: Duration,
}

impl Default for ConnectionLimits {
    /// 32 each way hold ten windows of three holders at a time, and are few among the connections of a system.
    fn default() -> Self {
        Self {
            dialed: 32,
            incoming: 64,
            idle: Duration::from_secs(60),
            grace: Duration::from_secs(2),
            dial_timeout: Duration::from_secs(10),
        }
    }
}

/// Who opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// This node, for storage.
    Dialed,
    /// The peer, for storage.
    Incoming,
    /// Either, to exchange blocks: not to be closed.
    BlockLink,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionAction {
    /// Open a connection: these addresses, in order.
    Dial {
        /// To whom.
        node: NodeId,
        /// Where it may be.
        addresses: Vec<SocketAddr>,
    },
    /// Close a connection.
    Close {
        /// To whom.
        node: NodeId,
    },
    /// A wanted node cannot be reached: no address is known, or it did not answer in time.
    Unreachable {
        /// Who.
        node: NodeId,
    },
}

struct Connection {
    opened: Opened,
    since: Instant,
    used: Instant,
    /// Requests that are not answered, in either direction.
    open_requests: usize,
}

/// See the module.
pub struct ConnectionPlanner {
    limits: ConnectionLimits,
    /// Where nodes are.
    pub addresses: AddressTable,
    connections: HashMap<NodeId, Connection>,
    /// Until when each dialed node is waited for.
    dialing: HashMap<NodeId, Instant>,
    /// Nodes that are wanted while all connections are in use, and until when.
    waiting: VecDeque<(NodeId, Instant)>,
    actions: Vec<ConnectionAction>,
}

impl ConnectionPlanner {
    /// Nobody is connected, no address is known.
    pub fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            addresses: AddressTable::default(),
            connections: HashMap::new(),
            dialing: HashMap::new(),
            waiting: VecDeque::new(),
            actions: Vec::new(),
        }
    }

    /// Something is to be asked of a node.
    pub fn on_wanted(&mut self, node: NodeId, now: Instant) -> Vec<ConnectionAction> {
        if let Some(connection) = self.connections.get_mut(&node) {
            connection.used = now;
        } else if !self.is_awaited(&node) {
            if self.waiting.len() < MAX_WAITING {
                self.waiting.push_back((node, now + self.limits.dial_timeout));
            } else {
                self.actions.push(ConnectionAction::Unreachable { node });
            }
        }
        self.dial_waiting(now);
        std::mem::take(&mut self.actions)
    }

    /// Whether the node is dialed, or waits to be.
    pub fn is_awaited(&self, node: &NodeId) -> bool {
        self.dialing.contains_key(node) || self.waiting.iter().any(|(waiting, _)| waiting == node)
    }

    /// A connection is open. When there is no room for one that a peer opened, it is closed.
    pub fn on_connected(&mut self, node: NodeId, opened: Opened, now: Instant) -> Vec<ConnectionAction> {
        self.dialing.remove(&node);
        self.waiting.retain(|(waiting, _)| *waiting != node);
        let is_full = opened == Opened::Incoming && self.count(opened) >= self.limits.incoming;
        if is_full && !self.close_least_useful(opened, now) {
            self.actions.push(ConnectionAction::Close { node });
            return std::mem::take(&mut self.actions);
        }
        let connection = Connection {
            opened,
            since: now,
            used: now,
            open_requests: 0,
        };
        self.connections.insert(node, connection);
        std::mem::take(&mut self.actions)
    }

    /// A connection is gone.
    pub fn on_gone(&mut self, node: &NodeId, now: Instant) -> Vec<ConnectionAction> {
        self.connections.remove(node);
        self.dial_waiting(now);
        std::mem::take(&mut self.actions)
    }

    /// Requests between this node and a peer that are not answered changed in number.
    pub fn on_used(&mut self, node: &NodeId, open_requests: usize, now: Instant) -> Vec<ConnectionAction> {
        if let Some(connection) = self.connections.get_mut(node) {
            connection.used = now;
            connection.open_requests = open_requests;
        }
        if open_requests == 0 {
            self.dial_waiting(now);
        }
        std::mem::take(&mut self.actions)
    }

    /// Ends what took too long, and closes what nobody uses.
    pub fn on_tick(&mut self, now: Instant) -> Vec<ConnectionAction> {
        let late = self.dialing.iter().filter(|(_, until)| now >= **until);
        let mut late: Vec<NodeId> = late.map(|(node, _)| *node).collect();
        late.sort();
        self.dialing.retain(|_, until| now < *until);
        let waited = self.waiting.iter().filter(|(_, until)| now >= *until);
        late.extend(waited.map(|(node, _)| *node));
        self.waiting.retain(|(_, until)| now < *until);
        for node in late {
            self.actions.push(ConnectionAction::Unreachable { node });
        }
        self.close_idle(now);
        self.dial_waiting(now);
        std::mem::take(&mut self.actions)
    }

    /// Those that stay open without being used are told by nobody: only what this node opened is closed.
    fn close_idle(&mut self, now: Instant) {
        let idle = self.limits.idle;
        let is_idle = |connection: &Connection| {
            let is_unused = connection.open_requests == 0 && now >= connection.used + idle;
            connection.opened == Opened::Dialed && is_unused
        };
        let idle = self.connections.iter().filter(|(_, connection)| is_idle(connection));
        let mut idle: Vec<NodeId> = idle.map(|(node, _)| *node).collect();
        idle.sort();
        for node in idle {
            self.close(node);
        }
    }

    /// Dials those that wait, as far as there is room or can be made.
    fn dial_waiting(&mut self, now: Instant) {
        while let Some((node, _)) = self.waiting.front().copied() {
            let addresses = self.addresses.of(&node);
            if addresses.is_empty() {
                self.waiting.pop_front();
                self.actions.push(ConnectionAction::Unreachable { node });
                continue;
            }
            let is_full = self.count(Opened::Dialed) + self.dialing.len() >= self.limits.dialed;
            if is_full && !self.close_least_useful(Opened::Dialed, now) {
                return;
            }
            self.waiting.pop_front();
            self.dialing.insert(node, now + self.limits.dial_timeout);
            self.actions.push(ConnectionAction::Dial { node, addresses });
        }
    }

    /// Makes room for one more. Returns whether it could.
    fn close_least_useful(&mut self, opened: Opened, now: Instant) -> bool {
        let grace = self.limits.grace;
        let may_close = |connection: &&Connection| {
            let is_new = connection.used == connection.since && now < connection.since + grace;
            connection.opened == opened && connection.open_requests == 0 && !is_new
        };
        let candidates = self.connections.iter().filter(|(_, connection)| may_close(connection));
        let least = candidates.min_by_key(|(node, connection)| (connection.used, **node));
        match least.map(|(node, _)| *node) {
            Some(node) => {
                self.close(node);
                true
            }
            None => false,
        }
    }

    fn close(&mut self, node: NodeId) {
        self.connections.remove(&node);
        self.actions.push(ConnectionAction::Close { node });
    }

    fn count(&self, opened: Opened) -> usize {
        let connections = self.connections.values();
        connections.filter(|connection| connection.opened == opened).count()
    }

    /// Whether a connection to the node is open.
    pub fn is_connected(&self, node: &NodeId) -> bool {
        self.connections.contains_key(node)
    }

    /// The nodes that are connected.
    pub fn connected(&self) -> HashSet<NodeId> {
        self.connections.keys().copied().collect()
    }

    /// Connections open for storage, and dials under way: those of this node, those of others.
    pub fn open(&self) -> (usize, usize) {
        let dialed = self.count(Opened::Dialed) + self.dialing.len();
        (dialed, self.count(Opened::Incoming))
    }
}
