//! Connections without sockets: what the handler sends arrives in a channel.

use super::{node, parameters, peer, TestServer, DEADLINE};
use crossbeam_channel::{unbounded, Receiver, Sender};
use massa_channel::sender::MassaSender;
use massa_channel::MassaChannel;
use massa_distributed_storage_exports::network::{
    AnnouncedChunk, ArchiveServer, Capabilities, FetchEvent, StorageEvents, StorageHost,
};
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::node::NodeId;
use massa_protocol_exports::{PeerConnectionType, PeerId, ProtocolConfig, ProtocolError};
use massa_protocol_worker::handlers::storage_handler::cache::SharedStorageCache;
use massa_protocol_worker::handlers::storage_handler::messages::{
    StorageMessage, StorageMessageDeserializer, StorageMessageSerializer,
};
use massa_protocol_worker::handlers::storage_handler::serving::{Accepted, Serving, ServingLimits};
use massa_protocol_worker::handlers::storage_handler::{
    StorageHandler, StorageHandlerChannels, StorageHandlerNetwork, StorageHandlerParts,
};
use massa_protocol_worker::messages::{Message, MessagesSerializer, PeerMessageTuple};
use massa_protocol_worker::wrap_network::ActiveConnectionsTrait;
use massa_serialization::{DeserializeError, Deserializer, Serializer};
use parking_lot::Mutex;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Default)]
struct State {
    /// Whether they speak storage.
    connected: HashMap<PeerId, bool>,
    dialed: Vec<NodeId>,
    unsent: HashMap<NodeId, usize>,
}

/// Where everybody is.
const ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// A storage message as it was sent: to whom, and with which priority.
pub type SentMessage = (NodeId, StorageMessage, bool);

#[derive(Clone)]
pub struct DoubleConnections {
    state: Arc<Mutex<State>>,
    sent: Sender<SentMessage>,
}

impl DoubleConnections {
    pub fn new() -> (Self, Receiver<SentMessage>) {
        let (sent, receiver) = unbounded();
        let state = Arc::default();
        (Self { state, sent }, receiver)
    }

    pub fn connect(&self, peer: PeerId, speaks_storage: bool) {
        self.state.lock().connected.insert(peer, speaks_storage);
    }

    pub fn disconnect(&self, peer: PeerId) {
        self.state.lock().connected.remove(&peer);
    }

    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.state.lock().connected.contains_key(peer)
    }

    pub fn dialed(&self) -> Vec<NodeId> {
        self.state.lock().dialed.clone()
    }

    /// What is sent to the peer stays in its queue: as many messages are there already.
    pub fn set_unsent(&self, node: NodeId, messages: usize) {
        self.state.lock().unsent.insert(node, messages);
    }
}

pub fn read(bytes: &[u8]) -> StorageMessage {
    let deserializer = StorageMessageDeserializer::new();
    let (rest, message) = deserializer.deserialize::<DeserializeError>(bytes).unwrap();
    assert_eq!(rest, b"");
    message
}

pub fn write(message: &StorageMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    StorageMessageSerializer::new().serialize(message, &mut bytes).unwrap();
    bytes
}

/// The right answers to a request.
pub fn right_answers(server: &dyn ArchiveServer, request: &StorageMessage) -> Vec<StorageMessage> {
    let mut serving = Serving::new(ServingLimits {
        bytes_per_peer: 1 << 20,
        max_chunk_size: 1 << 20,
    });
    if serving.on_request(node(1), request, Instant::now()) != Accepted::Waits {
        return Vec::new();
    }
    std::iter::from_fn(|| serving.next(server, |_| true))
        .map(|(_, answer)| answer)
        .collect()
}

impl ActiveConnectionsTrait for DoubleConnections {
    fn send_to_peer(
        &self,
        peer_id: &PeerId,
        message_serializer: &MessagesSerializer,
        message: Message,
        high_priority: bool,
    ) -> Result<(), ProtocolError> {
        let speaks = self.state.lock().connected.get(peer_id).copied();
        let speaks = speaks.ok_or(ProtocolError::PeerDisconnected(peer_id.to_string()))?;
        let mut bytes = Vec::new();
        message_serializer.serialize(&message, &mut bytes).unwrap();
        assert_eq!(bytes[0], 4, "the storage handler sends messages of type 4 only");
        assert!(
            speaks,
            "a message of type 4 costs the connection to a peer that does not speak storage"
        );
        let to = NodeId::new(peer_id.get_public_key());
        self.sent.send((to, read(&bytes[1..]), high_priority)).unwrap();
        Ok(())
    }

    fn get_peer_ids_connected(&self) -> HashSet<PeerId> {
        self.state.lock().connected.keys().copied().collect()
    }

    fn get_peers_connected(&self) -> HashMap<PeerId, (SocketAddr, PeerConnectionType, Option<String>)> {
        let peers = self.get_peer_ids_connected().into_iter();
        peers
            .map(|peer| (peer, (ADDRESS, PeerConnectionType::IN, None)))
            .collect()
    }

    fn get_peer_ids_out_connection_queue(&self) -> HashSet<SocketAddr> {
        HashSet::new()
    }

    fn get_nb_out_connections(&self) -> usize {
        0
    }

    fn get_nb_in_connections(&self) -> usize {
        self.state.lock().connected.len()
    }

    fn shutdown_connection(&mut self, peer_id: &PeerId) {
        panic!("the storage handler ended the connection with {peer_id}");
    }

    fn get_peers_connections_bandwidth(&self) -> HashMap<String, (u64, u64)> {
        HashMap::new()
    }

    fn clone_box(&self) -> Box<dyn ActiveConnectionsTrait> {
        Box::new(self.clone())
    }
}

impl StorageHost for DoubleConnections {
    fn speaks_storage(&self, node: &NodeId) -> bool {
        let peer = PeerId::from_public_key(node.get_public_key());
        self.state.lock().connected.get(&peer) == Some(&true)
    }

    fn unsent_messages(&self, node: &NodeId) -> usize {
        self.state.lock().unsent.get(node).copied().unwrap_or_default()
    }

    fn dial(&self, node: &NodeId) {
        self.state.lock().dialed.push(*node);
    }

    fn addresses(&self, _: &NodeId) -> Vec<SocketAddr> {
        vec![ADDRESS]
    }
}

/// What the worker was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Announced(NodeId, u64, Option<SegmentRoot>, Vec<AnnouncedChunk>),
    Changed(NodeId, Option<Capabilities>),
    Gone(NodeId),
}

pub struct DoubleEvents(Sender<Told>);

impl DoubleEvents {
    pub fn new(told: Sender<Told>) -> Self {
        Self(told)
    }
}

impl StorageEvents for DoubleEvents {
    fn chunks_announced(&self, from: NodeId, segment: u64, root: Option<SegmentRoot>, chunks: Vec<AnnouncedChunk>) {
        self.0.send(Told::Announced(from, segment, root, chunks)).unwrap();
    }

    fn peer_changed(&self, node: NodeId, capabilities: Option<Capabilities>) {
        self.0.send(Told::Changed(node, capabilities)).unwrap();
    }

    fn peer_gone(&self, node: NodeId) {
        self.0.send(Told::Gone(node)).unwrap();
    }
}

/// A storage handler with its threads, and everything around it a test double.
pub struct HandlerBench {
    pub handler: StorageHandler,
    pub connections: DoubleConnections,
    pub sent: Receiver<SentMessage>,
    pub told: Receiver<Told>,
    pub network: StorageHandlerNetwork,
    pub shared: SharedStorageCache,
    from_peers: MassaSender<PeerMessageTuple>,
}

impl HandlerBench {
    pub fn new(server: Arc<dyn ArchiveServer>, config: ProtocolConfig) -> Self {
        let (connections, sent) = DoubleConnections::new();
        let (told_sender, told) = unbounded();
        let (from_peers, receiver_network) = MassaChannel::new("test_storage_network".into(), None);
        let channels = StorageHandlerChannels::new(&config);
        let (network, shared) = (channels.network(), channels.cache.clone());
        let parts = StorageHandlerParts {
            host: Arc::new(connections.clone()),
            server,
            events: Arc::new(DoubleEvents::new(told_sender)),
            parameters: parameters(),
        };
        let active_connections = Box::new(connections.clone());
        let handler = StorageHandler::new(active_connections, parts, receiver_network, channels, config).unwrap();
        Self {
            handler,
            connections,
            sent,
            told,
            network,
            shared,
            from_peers,
        }
    }

    /// Connects a peer that speaks storage, and waits until the handler knows it.
    pub fn connect(&self, number: u32) {
        self.connections.connect(peer(number), true);
        let connected = Told::Changed(node(number), None);
        self.wait_for_told(|told| *told == connected);
    }

    pub fn receive(&self, from: u32, message: &StorageMessage) {
        self.receive_bytes(from, write(message));
    }

    pub fn receive_bytes(&self, from: u32, bytes: Vec<u8>) {
        self.from_peers.send((peer(from), bytes)).unwrap();
    }

    /// Whether the handler has taken all messages that peers sent.
    pub fn has_taken_all(&self) -> bool {
        self.from_peers.is_empty()
    }

    /// The next message that is sent to a peer, capabilities left out.
    pub fn next_sent(&self) -> (NodeId, StorageMessage) {
        let (to, message, high_priority) = self.next_sent_where(|message| !is_capabilities(message));
        assert!(!high_priority, "storage messages never go before blocks");
        (to, message)
    }

    pub fn next_sent_where(&self, wanted: impl Fn(&StorageMessage) -> bool) -> SentMessage {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let sent = self.sent.recv_deadline(deadline).expect("nothing was sent in time");
            if wanted(&sent.1) {
                return sent;
            }
        }
    }

    /// Collects what is sent until `is_done`.
    pub fn sent_until(&self, is_done: impl Fn(&[StorageMessage]) -> bool) -> Vec<StorageMessage> {
        let deadline = Instant::now() + DEADLINE;
        let mut sent = Vec::new();
        while !is_done(&sent) {
            assert!(Instant::now() < deadline, "it did not happen in time");
            let next = self.sent.recv_timeout(Duration::from_millis(1));
            let next = next.into_iter().map(|(_, message, _)| message);
            sent.extend(next.filter(|message| !is_capabilities(message)));
        }
        sent
    }

    /// Lets `from` answer rightly what it is asked, until the fetch is over: all its events.
    pub fn answer_all(&self, from: u32, server: &TestServer, answers: &Receiver<FetchEvent>) -> Vec<FetchEvent> {
        let deadline = Instant::now() + DEADLINE;
        let mut events = Vec::new();
        loop {
            assert!(Instant::now() < deadline, "the fetch did not end in time: {events:?}");
            for (to, message, _) in self.sent.try_iter() {
                let answers = right_answers(server, &message).into_iter();
                answers
                    .filter(|_| to == node(from))
                    .for_each(|answer| self.receive(from, &answer));
            }
            match answers.recv_timeout(Duration::from_millis(1)) {
                Ok(event @ (FetchEvent::Complete { .. } | FetchEvent::Failed { .. })) => {
                    events.push(event);
                    return events;
                }
                Ok(event) => events.push(event),
                Err(_) => {}
            }
        }
    }

    pub fn wait_for_told(&self, wanted: impl Fn(&Told) -> bool) -> Told {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let told = self
                .told
                .recv_deadline(deadline)
                .expect("the worker was not told in time");
            if wanted(&told) {
                return told;
            }
        }
    }

    pub fn wait_until(&self, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !condition() {
            assert!(Instant::now() < deadline, "it did not happen in time");
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

pub fn is_capabilities(message: &StorageMessage) -> bool {
    matches!(message, StorageMessage::StorageCapabilities { .. })
}
