//! The table of connections.

use super::frame::{LinkState, MORE_BYTES};
use super::send_queue::SendQueues;
use crate::checks::identity::Nonce;
use crate::handlers::peer_handler::handshake::Capabilities;
use crate::messages::{Message, MessageTypeId, MessagesSerializer};
use crate::wrap_network::ActiveConnectionsTrait;
use massa_protocol_exports::{LinkFaults, PeerConnectionType, PeerId, ProtocolConfig, ProtocolError};
use massa_serialization::Serializer;
use parking_lot::{Mutex, RwLock};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Instant;
use tracing::trace;

/// Sockets in the handshake at a time, of one address of the internet: one machine must not take all places.
const MAX_PENDING_PER_IP: usize = 8;

/// One connection, after the handshake.
pub(crate) struct Connection {
    pub(crate) peer_id: PeerId,
    pub(crate) address: SocketAddr,
    pub(crate) direction: PeerConnectionType,
    pub(crate) capabilities: Capabilities,
    pub(crate) queues: SendQueues,
    pub(crate) link: Arc<LinkState>,
    stream: TcpStream,
    faults: LinkFaults,
    dice: Mutex<ChaCha20Rng>,
}

impl Connection {
    pub(crate) fn new(
        (peer_id, capabilities): (PeerId, Capabilities),
        (address, direction): (SocketAddr, PeerConnectionType),
        (stream, link): (TcpStream, Arc<LinkState>),
        config: &ProtocolConfig,
    ) -> Self {
        Self {
            peer_id,
            address,
            direction,
            capabilities,
            queues: SendQueues::new(config.send_data_channel_size, config.link_faults),
            link,
            stream,
            faults: config.link_faults,
            dice: Mutex::new(ChaCha20Rng::seed_from_u64(config.link_faults.seed)),
        }
    }

    /// Ends both threads of the connection.
    pub(crate) fn close(&self) {
        self.link.close();
        self.queues.close();
        // It may be closed already, by the peer.
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn is_lost(&self) -> bool {
        self.faults.loss_one_in > 0 && self.dice.lock().gen_ratio(1, self.faults.loss_one_in)
    }
}

/// Why a connection was not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AdmitError {
    #[error("connected to this peer already")]
    Duplicate,
    #[error("no slot left")]
    NoSlot,
    #[error("too many connections with this address")]
    TooManyFromAddress,
    #[error("the node is stopping")]
    Stopping,
}

#[derive(Default)]
struct Table {
    connections: HashMap<PeerId, Arc<Connection>>,
    dialing: HashSet<SocketAddr>,
    /// Sockets in the handshake, by an own number: a stop ends them too.
    pending: HashMap<u64, (IpAddr, TcpStream)>,
    next_pending: u64,
    stopping: bool,
}

impl Table {
    fn count(&self, direction: PeerConnectionType) -> usize {
        let connections = self.connections.values();
        connections
            .filter(|connection| connection.direction == direction)
            .count()
    }

    fn count_with(&self, ip: IpAddr) -> usize {
        let connections = self.connections.values();
        connections.filter(|connection| connection.address.ip() == ip).count()
    }
}

/// All connections of this node. A clone is another handle of the same table.
#[derive(Clone)]
pub struct ActiveConnections {
    own_id: PeerId,
    max_in: usize,
    /// Sockets in the handshake at a time. Each costs a thread and some kilobytes until its deadline.
    max_pending: usize,
    max_per_ip: usize,
    max_message_size: usize,
    table: Arc<RwLock<Table>>,
}

impl ActiveConnections {
    pub(crate) fn new(own_id: PeerId, config: &ProtocolConfig) -> Self {
        Self {
            own_id,
            max_in: config.max_in_connections,
            max_pending: config.max_pending_connections,
            max_per_ip: config.max_in_connections_per_ip,
            max_message_size: config.max_message_size,
            table: Arc::default(),
        }
    }

    /// Messages of low priority that wait for a peer's connection; 0 if there is none.
    pub fn unsent_messages(&self, peer_id: &PeerId) -> usize {
        let table = self.table.read();
        table
            .connections
            .get(peer_id)
            .map_or(0, |connection| connection.queues.low_priority_len())
    }

    /// Whether the peer said in the handshake that it understands storage messages.
    pub fn speaks_storage(&self, peer_id: &PeerId) -> bool {
        let table = self.table.read();
        table
            .connections
            .get(peer_id)
            .is_some_and(|connection| connection.capabilities.speaks_storage)
    }

    /// The connection with this peer, if it is one of another process than `nonce` is of.
    pub(crate) fn of_another_process(&self, peer_id: &PeerId, nonce: &Nonce) -> Option<Arc<Connection>> {
        let table = self.table.read();
        let existing = table.connections.get(peer_id)?;
        let is_other = existing
            .capabilities
            .nonce
            .is_some_and(|other| !other.is_same_instance(nonce));
        is_other.then(|| Arc::clone(existing))
    }

    /// Whether there is a connection with the peer.
    pub fn is_connected(&self, peer_id: &PeerId) -> bool {
        self.table.read().connections.contains_key(peer_id)
    }

    /// Whether one more connection from outside would be taken in.
    pub(crate) fn has_slot(&self) -> bool {
        self.table.read().count(PeerConnectionType::IN) < self.max_in
    }

    /// Takes a connection in. Of two connections with one peer, [one](survivor) stays.
    pub(crate) fn admit(&self, connection: &Arc<Connection>) -> Result<(), AdmitError> {
        let mut table = self.table.write();
        if table.stopping {
            return Err(AdmitError::Stopping);
        }
        let existing = table.connections.get(&connection.peer_id);
        if let Some(existing) = existing {
            let directions = (existing.direction, connection.direction);
            if survivor(&self.own_id, &connection.peer_id, directions) == Survivor::Old {
                return Err(AdmitError::Duplicate);
            }
        } else {
            self.check_limits(&table, connection)?;
        }
        let replaced = table.connections.insert(connection.peer_id, Arc::clone(connection));
        drop(table);
        if let Some(replaced) = replaced {
            replaced.close();
        }
        Ok(())
    }

    fn check_limits(&self, table: &Table, connection: &Connection) -> Result<(), AdmitError> {
        if connection.direction == PeerConnectionType::IN && table.count(PeerConnectionType::IN) >= self.max_in {
            return Err(AdmitError::NoSlot);
        }
        let ip = connection.address.ip();
        if !ip.is_loopback() && table.count_with(ip) >= self.max_per_ip {
            return Err(AdmitError::TooManyFromAddress);
        }
        Ok(())
    }

    /// Ends a connection and takes it out, unless another one with the same peer took its place.
    pub(crate) fn remove(&self, connection: &Arc<Connection>) {
        connection.close();
        let mut table = self.table.write();
        let current = table.connections.get(&connection.peer_id);
        if current.is_some_and(|current| Arc::ptr_eq(current, connection)) {
            table.connections.remove(&connection.peer_id);
        }
    }

    /// Notes a socket that has yet to show who it is. None if there are too many, or the node stops.
    pub(crate) fn add_pending(&self, stream: &TcpStream) -> Option<u64> {
        let ip = stream.peer_addr().ok()?.ip();
        let stream = stream.try_clone().ok()?;
        let mut table = self.table.write();
        let same_ip = table.pending.values().filter(|(pending, _)| *pending == ip).count();
        let too_many = table.pending.len() >= self.max_pending || (!ip.is_loopback() && same_ip >= MAX_PENDING_PER_IP);
        if table.stopping || too_many {
            return None;
        }
        let number = table.next_pending;
        table.next_pending += 1;
        table.pending.insert(number, (ip, stream));
        Some(number)
    }

    pub(crate) fn remove_pending(&self, number: u64) {
        self.table.write().pending.remove(&number);
    }

    /// Notes that an address is being dialed. False if it is already.
    pub(crate) fn begin_dial(&self, address: SocketAddr) -> bool {
        let mut table = self.table.write();
        !table.stopping && table.dialing.insert(address)
    }

    pub(crate) fn end_dial(&self, address: &SocketAddr) {
        self.table.write().dialing.remove(address);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.table.read().stopping
    }

    /// Ends all connections, and takes in no more.
    pub(crate) fn stop(&self) {
        let mut table = self.table.write();
        table.stopping = true;
        for (_, stream) in table.pending.values() {
            // It may be closed already.
            let _ = stream.shutdown(Shutdown::Both);
        }
        let connections = std::mem::take(&mut table.connections);
        drop(table);
        for connection in connections.values() {
            connection.close();
        }
    }
}

/// Which of two connections with one peer stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Survivor {
    Old,
    New,
}

/// When two nodes dial each other at once, both must keep the same connection: it is the one that the smaller id dialed.
/// Of two that the same side dialed, the older one stays: nobody can push out a connection by connecting again.
fn survivor(own: &PeerId, peer: &PeerId, (old, new): (PeerConnectionType, PeerConnectionType)) -> Survivor {
    let dialed_by_smaller = |direction| (direction == PeerConnectionType::OUT) == (own < peer);
    if old != new && dialed_by_smaller(new) {
        Survivor::New
    } else {
        Survivor::Old
    }
}

impl ActiveConnectionsTrait for ActiveConnections {
    fn send_to_peer(
        &self,
        peer_id: &PeerId,
        message_serializer: &MessagesSerializer,
        message: Message,
        high_priority: bool,
    ) -> Result<(), ProtocolError> {
        let connection = self.table.read().connections.get(peer_id).cloned();
        let connection = connection.ok_or_else(|| ProtocolError::PeerDisconnected(peer_id.to_string()))?;
        let is_storage = MessageTypeId::from(&message) == MessageTypeId::Storage;
        if is_storage && !connection.capabilities.speaks_storage {
            let reason = format!("peer {peer_id} does not speak storage");
            return Err(ProtocolError::SendError(reason));
        }
        // The writer needs the room.
        let mut bytes = vec![0; MORE_BYTES];
        message_serializer
            .serialize(&message, &mut bytes)
            .map_err(|error| ProtocolError::SendError(error.to_string()))?;
        let length = bytes.len() - MORE_BYTES;
        if length > self.max_message_size {
            let reason = format!("message of {length} bytes, at most {} fit", self.max_message_size);
            return Err(ProtocolError::SendError(reason));
        }
        if is_storage && !high_priority && connection.is_lost() {
            trace!(peer = %peer_id, "storage message lost by an injected fault");
            return Ok(());
        }
        connection
            .queues
            .push(bytes, high_priority, Instant::now())
            .map_err(|error| ProtocolError::SendError(format!("peer {peer_id}: {error}")))
    }

    fn get_peer_ids_connected(&self) -> HashSet<PeerId> {
        self.table.read().connections.keys().copied().collect()
    }

    fn knows_checks(&self, peer_id: &PeerId) -> bool {
        let table = self.table.read();
        let connection = table.connections.get(peer_id);
        connection.is_some_and(|connection| connection.capabilities.nonce.is_some())
    }

    fn get_peers_connected(&self) -> HashMap<PeerId, (SocketAddr, PeerConnectionType, Option<String>)> {
        let table = self.table.read();
        let entry = |connection: &Arc<Connection>| {
            let (address, direction) = (connection.address, connection.direction);
            (connection.peer_id, (address, direction, None))
        };
        table.connections.values().map(entry).collect()
    }

    fn get_peer_ids_out_connection_queue(&self) -> HashSet<SocketAddr> {
        self.table.read().dialing.clone()
    }

    fn get_nb_out_connections(&self) -> usize {
        self.table.read().count(PeerConnectionType::OUT)
    }

    fn get_nb_in_connections(&self) -> usize {
        self.table.read().count(PeerConnectionType::IN)
    }

    fn shutdown_connection(&mut self, peer_id: &PeerId) {
        let connection = self.table.read().connections.get(peer_id).cloned();
        if let Some(connection) = connection {
            self.remove(&connection);
        }
    }

    fn get_peers_connections_bandwidth(&self) -> HashMap<String, (u64, u64)> {
        let table = self.table.read();
        let entry = |(peer_id, connection): (&PeerId, &Arc<Connection>)| {
            let sent = connection.link.bytes_sent.load(Ordering::Relaxed);
            let received = connection.link.bytes_received.load(Ordering::Relaxed);
            (peer_id.to_string(), (sent, received))
        };
        table.connections.iter().map(entry).collect()
    }

    fn clone_box(&self) -> Box<dyn ActiveConnectionsTrait> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::operation_handler::{OperationMessage, OperationMessageSerializer};
    use crate::handlers::storage_handler::messages::{StorageMessage, StorageMessageSerializer};
    use massa_models::operation::OperationPrefixId;
    use massa_signature::KeyPair;
    use PeerConnectionType::{IN, OUT};

    fn id() -> PeerId {
        PeerId::from_public_key(KeyPair::generate(0).unwrap().get_public_key())
    }

    fn config() -> ProtocolConfig {
        ProtocolConfig {
            max_in_connections: 2,
            max_in_connections_per_ip: 1,
            max_message_size: 100,
            ..ProtocolConfig::default()
        }
    }

    /// A connection over a real socket, as if it were with a peer at `ip`.
    fn connection(peer_id: PeerId, ip: [u8; 4], direction: PeerConnectionType, storage: bool) -> Arc<Connection> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let address = (SocketAddr::from((ip, 1)), direction);
        let socket = (stream, Arc::default());
        let capabilities = Capabilities {
            speaks_storage: storage,
            nonce: None,
        };
        Arc::new(Connection::new((peer_id, capabilities), address, socket, &config()))
    }

    fn storage_message() -> Message {
        Message::from(StorageMessage::ChunkAnnouncement {
            segment: 1,
            root: None,
            chunks: Vec::new(),
        })
    }

    fn serializer() -> MessagesSerializer {
        MessagesSerializer::new()
            .with_storage_message_serializer(StorageMessageSerializer::new())
            .with_operation_message_serializer(OperationMessageSerializer::new())
    }

    #[test]
    fn a_storage_message_is_not_sent_to_a_peer_without_the_capability() {
        let connections = ActiveConnections::new(id(), &config());
        let (old, new, stranger) = (id(), id(), id());
        connections.admit(&connection(old, [127, 0, 0, 1], OUT, false)).unwrap();
        connections.admit(&connection(new, [127, 0, 0, 1], OUT, true)).unwrap();
        let send = |peer_id| connections.send_to_peer(peer_id, &serializer(), storage_message(), false);
        assert!(matches!(send(&old), Err(ProtocolError::SendError(_))));
        send(&new).unwrap();
        assert!(matches!(send(&stranger), Err(ProtocolError::PeerDisconnected(_))));
        assert!(connections.speaks_storage(&new) && !connections.speaks_storage(&old));
    }

    #[test]
    fn a_message_that_does_not_fit_a_frame_or_has_no_serializer_is_refused() {
        let connections = ActiveConnections::new(id(), &config());
        let peer_id = id();
        connections
            .admit(&connection(peer_id, [127, 0, 0, 1], OUT, true))
            .unwrap();
        let prefixes = |count: u8| {
            (0..count)
                .map(|number| OperationPrefixId::from(&[number; 17]))
                .collect()
        };
        let send = |serializer: &MessagesSerializer, count| {
            let message = OperationMessage::OperationsAnnouncement(prefixes(count)).into();
            connections.send_to_peer(&peer_id, serializer, message, true)
        };
        send(&serializer(), 5).unwrap();
        assert!(matches!(send(&serializer(), 6), Err(ProtocolError::SendError(_))));
        assert!(matches!(
            send(&MessagesSerializer::new(), 1),
            Err(ProtocolError::SendError(_))
        ));
    }

    #[test]
    fn connections_from_outside_are_bounded_and_those_of_one_address_too() {
        let connections = ActiveConnections::new(id(), &config());
        let admit = |ip, direction| connections.admit(&connection(id(), ip, direction, false));
        admit([8, 8, 8, 8], IN).unwrap();
        assert_eq!(admit([8, 8, 8, 8], IN), Err(AdmitError::TooManyFromAddress));
        assert_eq!(admit([8, 8, 8, 8], OUT), Err(AdmitError::TooManyFromAddress));
        admit([127, 0, 0, 1], IN).unwrap();
        assert!(!connections.has_slot());
        assert_eq!(admit([127, 0, 0, 1], IN), Err(AdmitError::NoSlot));
        admit([127, 0, 0, 1], OUT).unwrap();
        assert_eq!(
            (
                connections.get_nb_in_connections(),
                connections.get_nb_out_connections()
            ),
            (2, 1)
        );
        connections.stop();
        assert_eq!(admit([9, 9, 9, 9], OUT), Err(AdmitError::Stopping));
    }

    #[test]
    fn the_end_of_a_replaced_connection_does_not_take_out_the_one_that_replaced_it() {
        let (own, peer_id) = (id(), id());
        let connections = ActiveConnections::new(own, &config());
        let (loser, winner) = if own < peer_id { (IN, OUT) } else { (OUT, IN) };
        let old = connection(peer_id, [127, 0, 0, 1], loser, false);
        let new = connection(peer_id, [127, 0, 0, 1], winner, false);
        connections.admit(&old).unwrap();
        connections.admit(&new).unwrap();
        assert!(old.link.is_closed() && !new.link.is_closed());
        connections.remove(&old);
        assert!(connections.is_connected(&peer_id));
        assert_eq!(connections.admit(&old), Err(AdmitError::Duplicate));
        connections.remove(&new);
        assert!(!connections.is_connected(&peer_id));
    }

    #[test]
    fn unknown_peers_of_one_machine_cannot_take_all_places_in_the_handshake() {
        let connections = ActiveConnections::new(id(), &config());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let taken: Vec<_> = (0..connections.max_pending + 5)
            .filter_map(|_| connections.add_pending(&stream))
            .collect();
        assert_eq!(taken.len(), connections.max_pending);
        connections.remove_pending(taken[0]);
        assert!(connections.add_pending(&stream).is_some());
    }

    #[test]
    fn both_nodes_keep_the_same_one_of_two_connections_in_any_order() {
        let (a, b) = (id(), id());
        let (small, large) = (a.min(b), a.max(b));
        // The connection that the smaller id dialed is OUT there and IN at the other.
        assert_eq!(survivor(&small, &large, (IN, OUT)), Survivor::New);
        assert_eq!(survivor(&small, &large, (OUT, IN)), Survivor::Old);
        assert_eq!(survivor(&large, &small, (OUT, IN)), Survivor::New);
        assert_eq!(survivor(&large, &small, (IN, OUT)), Survivor::Old);
    }

    #[test]
    fn connecting_again_does_not_push_out_a_connection() {
        let (a, b) = (id(), id());
        for (own, peer) in [(a, b), (b, a)] {
            assert_eq!(survivor(&own, &peer, (IN, IN)), Survivor::Old);
            assert_eq!(survivor(&own, &peer, (OUT, OUT)), Survivor::Old);
        }
    }
}
