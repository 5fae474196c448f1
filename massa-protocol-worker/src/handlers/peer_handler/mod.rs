//! Peers: who they are, where they listen, who is banned.

pub mod announcement;
pub mod handshake;
mod messages;
pub mod models;

pub use messages::{
    PeerListeners, PeerManagementMessage, PeerManagementMessageDeserializer, PeerManagementMessageDeserializerArgs,
    PeerManagementMessageSerializer,
};

use crate::handlers::{end_handler_thread, spawn_handler_thread};
use crate::messages::{MessagesSerializer, PeerMessageTuple};
use crate::wrap_network::ActiveConnectionsTrait;
use crossbeam_channel::select;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_protocol_exports::{PeerId, ProtocolConfig, ProtocolError};
use massa_serialization::{DeserializeError, Deserializer};
use models::SharedPeerDB;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// How often each peer is sent a list of peers. It also shows that this node is alive: see
/// [`IDLE_TIMEOUT`](crate::transport::IDLE_TIMEOUT).
const LIST_INTERVAL: Duration = Duration::from_secs(30);

/// A command to the peer handler.
#[derive(Clone, Debug)]
pub enum PeerManagementCmd {
    /// End the connections with these peers, and refuse new ones for a day.
    Ban(Vec<PeerId>),
    /// End bans.
    Unban(Vec<PeerId>),
    /// Send the list of peers to a peer that connected.
    Greet(PeerId),
    /// End.
    Stop,
}

/// What the handler is connected to.
pub(crate) struct PeerHandlerParts {
    pub(crate) active_connections: Box<dyn ActiveConnectionsTrait>,
    pub(crate) receiver_network: MassaReceiver<PeerMessageTuple>,
    pub(crate) commands: (MassaSender<PeerManagementCmd>, MassaReceiver<PeerManagementCmd>),
    pub(crate) peer_db: SharedPeerDB,
}

/// The thread of this handler.
pub struct PeerManagementHandler {
    thread: Option<(MassaSender<PeerManagementCmd>, JoinHandle<()>)>,
}

impl PeerManagementHandler {
    /// Starts the thread.
    pub(crate) fn new(config: &ProtocolConfig, parts: PeerHandlerParts) -> Result<Self, ProtocolError> {
        let mut state = State {
            active_connections: parts.active_connections,
            receiver_network: parts.receiver_network,
            commands: parts.commands.1,
            peer_db: parts.peer_db,
            serializer: MessagesSerializer::new()
                .with_peer_management_message_serializer(PeerManagementMessageSerializer::new()),
            deserializer: PeerManagementMessageDeserializer::new(PeerManagementMessageDeserializerArgs::from(config)),
            list_size: usize::try_from(config.max_size_peers_announcement).unwrap_or(usize::MAX),
        };
        let thread = spawn_handler_thread("peer-handler", move || state.run())?;
        Ok(Self {
            thread: Some((parts.commands.0, thread)),
        })
    }

    /// Ends the thread.
    pub fn stop(&mut self) {
        if let Some((sender, thread)) = self.thread.take() {
            end_handler_thread(&sender, PeerManagementCmd::Stop, thread);
        }
    }
}

struct State {
    active_connections: Box<dyn ActiveConnectionsTrait>,
    receiver_network: MassaReceiver<PeerMessageTuple>,
    commands: MassaReceiver<PeerManagementCmd>,
    peer_db: SharedPeerDB,
    serializer: MessagesSerializer,
    deserializer: PeerManagementMessageDeserializer,
    list_size: usize,
}

impl State {
    fn run(&mut self) {
        let mut next_list = Instant::now() + LIST_INTERVAL;
        loop {
            select! {
                recv(self.receiver_network) -> message => {
                    self.receiver_network.update_metrics();
                    let Ok((peer_id, message)) = message else { return };
                    self.on_message(&peer_id, &message);
                }
                recv(self.commands) -> command => {
                    self.commands.update_metrics();
                    match command {
                        Ok(PeerManagementCmd::Ban(peers)) => self.ban(&peers),
                        Ok(PeerManagementCmd::Unban(peers)) => self.unban(&peers),
                        Ok(PeerManagementCmd::Greet(peer_id)) => self.send_list(&peer_id),
                        Ok(PeerManagementCmd::Stop) | Err(_) => return,
                    }
                }
                default(next_list.saturating_duration_since(Instant::now())) => {}
            }
            if Instant::now() >= next_list {
                next_list = Instant::now() + LIST_INTERVAL;
                self.peer_db.write().lift_bans(Instant::now());
                for peer_id in self.active_connections.get_peer_ids_connected() {
                    self.send_list(&peer_id);
                }
            }
        }
    }

    fn on_message(&mut self, peer_id: &PeerId, message: &[u8]) {
        match self.deserializer.deserialize::<DeserializeError>(message) {
            Ok(([], PeerManagementMessage::ListPeers(peers))) => self.peer_db.write().add_hearsay(&peers),
            Ok(([], PeerManagementMessage::NewPeerConnected(peer))) => self.peer_db.write().add_hearsay(&[peer]),
            Ok((rest, _)) => warn!(peer = %peer_id, bytes = rest.len(), "peer message ignored: bytes follow it"),
            Err(error) => warn!(peer = %peer_id, %error, "peer message ignored"),
        }
    }

    fn ban(&mut self, peers: &[PeerId]) {
        for peer_id in peers {
            info!(peer = %peer_id, "peer banned");
            self.peer_db.write().ban(peer_id, Instant::now());
            self.active_connections.shutdown_connection(peer_id);
        }
    }

    fn unban(&mut self, peers: &[PeerId]) {
        for peer_id in peers {
            info!(peer = %peer_id, "peer unbanned");
            self.peer_db.write().unban(peer_id);
        }
    }

    fn send_list(&self, peer_id: &PeerId) {
        let peers = self.peer_db.read().some_peers(self.list_size, Instant::now());
        let message = PeerManagementMessage::ListPeers(peers).into();
        if let Err(error) = self
            .active_connections
            .send_to_peer(peer_id, &self.serializer, message, false)
        {
            debug!(peer = %peer_id, %error, "list of peers not sent");
        }
    }
}
