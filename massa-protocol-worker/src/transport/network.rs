//! Listening, dialing, and the life of a connection.

use super::connection::{AdmitError, Connection};
use super::frame::{FrameLimits, FrameReader, FrameWriter, IDLE_TIMEOUT};
use super::noise::{open_channel, prologue, Role};
use super::threads::ThreadGroup;
use super::ActiveConnections;
use crate::checks::contests::Contests;
use crate::checks::SharedChecks;
use crate::handlers::peer_handler::handshake::{Handshake, HandshakeError, Introduction};
use crate::handlers::peer_handler::models::SharedPeerDB;
use crate::handlers::peer_handler::PeerManagementMessageSerializer;
use crate::messages::{MessagesHandler, MessagesSerializer};
use crate::transport::Channel;
use crate::wrap_network::ActiveConnectionsTrait;
use massa_protocol_exports::{PeerAddress, PeerConnectionType, PeerId, ProtocolConfig};
use massa_signature::KeyPair;
use massa_time::MassaTime;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// How long to wait after a failed accept, which may mean that the process has no file descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// How long a stop waits for the threads of connections.
const STOP_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How long a listener's own address may take to answer when it is woken.
const WAKE_TIMEOUT: Duration = Duration::from_millis(200);

/// Called with each peer that connected.
pub(crate) type OnConnected = Box<dyn Fn(&PeerId) + Send + Sync>;

/// The sockets of this node. A clone is another handle.
#[derive(Clone)]
pub(crate) struct Network {
    shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) config: ProtocolConfig,
    handshake: Handshake,
    prologue: Vec<u8>,
    limits: FrameLimits,
    pub(super) connections: ActiveConnections,
    peer_db: SharedPeerDB,
    messages_handler: MessagesHandler,
    on_connected: OnConnected,
    listening: Vec<SocketAddr>,
    threads: ThreadGroup,
    checks: SharedChecks,
    pub(super) contests: Contests,
    /// Of messages about peers.
    pub(super) serializer: MessagesSerializer,
}

/// What a network is made of.
pub(crate) struct NetworkParts {
    pub(crate) keypair: KeyPair,
    pub(crate) connections: ActiveConnections,
    pub(crate) peer_db: SharedPeerDB,
    pub(crate) messages_handler: MessagesHandler,
    pub(crate) on_connected: OnConnected,
    pub(crate) checks: SharedChecks,
    pub(crate) contests: Contests,
}

impl Network {
    /// Begins to listen.
    ///
    /// # Errors
    /// One of the listeners' addresses cannot be had.
    pub(crate) fn start(config: &ProtocolConfig, parts: NetworkParts) -> std::io::Result<Self> {
        let bind = |address: &SocketAddr| {
            TcpListener::bind(address)
                .map_err(|error| std::io::Error::new(error.kind(), format!("cannot listen on {address}: {error}")))
        };
        let listeners: Vec<_> = config.listeners.iter().map(bind).collect::<Result<_, _>>()?;
        let listening = listeners
            .iter()
            .map(TcpListener::local_addr)
            .collect::<Result<_, _>>()?;
        let network = Self {
            shared: Arc::new(Shared {
                handshake: Handshake::new(parts.keypair, config, parts.checks.clone()),
                prologue: prologue(config.chain_id, &config.version),
                limits: FrameLimits::from(config),
                config: config.clone(),
                connections: parts.connections,
                peer_db: parts.peer_db,
                messages_handler: parts.messages_handler,
                on_connected: parts.on_connected,
                listening,
                threads: ThreadGroup::default(),
                checks: parts.checks,
                contests: parts.contests,
                serializer: MessagesSerializer::new()
                    .with_peer_management_message_serializer(PeerManagementMessageSerializer::new()),
            }),
        };
        for listener in listeners {
            let shared = Arc::clone(&network.shared);
            let threads = shared.threads.clone();
            threads.spawn("p2p-listener", move || shared.accept(&listener));
        }
        Ok(network)
    }

    /// Opens a connection in the background, unless the address is being dialed already.
    pub(crate) fn dial(&self, peer: PeerAddress) {
        let shared = Arc::clone(&self.shared);
        if !shared.connections.begin_dial(peer.address) {
            return;
        }
        let threads = shared.threads.clone();
        let work = move || {
            let opened = shared.connect(&peer);
            shared.connections.end_dial(&peer.address);
            if let Some((connection, reader)) = opened {
                shared.read(&connection, reader);
            }
        };
        if !threads.spawn("p2p-out", work) {
            self.shared.connections.end_dial(&peer.address);
        }
    }

    /// Ends everything, within [`STOP_TIMEOUT`] and a little.
    pub(crate) fn stop(&self) {
        self.shared.connections.stop();
        for address in &self.shared.listening {
            // A thread that waits in accept wakes only for a connection.
            let _ = TcpStream::connect_timeout(&reachable(*address), WAKE_TIMEOUT);
        }
        if !self.shared.threads.wait(STOP_TIMEOUT) {
            warn!("threads of connections did not end in time");
        }
    }
}

/// An address at which a listener of this machine answers.
fn reachable(mut listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        listener.set_ip(match listener.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listener
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        loop {
            let accepted = listener.accept();
            if self.connections.is_stopping() {
                return;
            }
            match accepted {
                Ok((stream, address)) => self.welcome(stream, address),
                Err(error) => {
                    warn!(%error, "connection not accepted");
                    std::thread::sleep(ACCEPT_RETRY);
                }
            }
        }
    }

    fn welcome(self: &Arc<Self>, stream: TcpStream, address: SocketAddr) {
        let Some(pending) = self.connections.add_pending(&stream) else {
            debug!(%address, "connection dropped: too many handshakes at a time");
            return;
        };
        let shared = Arc::clone(self);
        let work = move || {
            if let Ok((connection, reader)) = shared.open(stream, (address, pending), None) {
                shared.read(&connection, reader);
            }
        };
        if !self.threads.spawn("p2p-in", work) {
            self.connections.remove_pending(pending);
        }
    }

    /// Connects to a peer.
    fn connect(self: &Arc<Self>, peer: &PeerAddress) -> Option<(Arc<Connection>, FrameReader)> {
        let stream = TcpStream::connect_timeout(&peer.address, self.config.timeout_connection.to_duration())
            .inspect_err(|error| debug!(peer = %peer.peer_id, address = %peer.address, %error, "peer not reached"))
            .ok()?;
        let pending = self.connections.add_pending(&stream)?;
        self.open(stream, (peer.address, pending), Some(peer.peer_id)).ok()
    }

    /// Handshake and admission. `expected` is who was dialed; none for a peer that dialed.
    fn open(
        self: &Arc<Self>,
        stream: TcpStream,
        (address, pending): (SocketAddr, u64),
        expected: Option<PeerId>,
    ) -> Result<(Arc<Connection>, FrameReader), HandshakeError> {
        let opened = self.shake_hands(stream, expected);
        let result = opened.and_then(|(stream, channel, introduction)| {
            self.take_in(stream, channel, introduction, (address, expected.is_some()))
        });
        self.connections.remove_pending(pending);
        result.inspect_err(|error| {
            if let HandshakeError::NoSlot(peers) = error {
                self.peer_db.write().add_hearsay(peers);
            }
            debug!(%address, %error, "no connection");
        })
    }

    fn shake_hands(
        &self,
        stream: TcpStream,
        expected: Option<PeerId>,
    ) -> Result<(TcpStream, Channel, Introduction), HandshakeError> {
        let role = if expected.is_some() {
            Role::Initiator
        } else {
            Role::Responder
        };
        let second = stream.try_clone().map_err(super::FrameError::Io)?;
        let mut channel = open_channel(stream, role, &self.prologue, self.limits.clone())?;
        if role == Role::Responder && !self.connections.has_slot() {
            let count = usize::try_from(self.config.max_size_peers_announcement).unwrap_or(usize::MAX);
            let peers = self.peer_db.read().some_peers(count, Instant::now());
            self.handshake.turn_away(&mut channel, peers)?;
            return Err(HandshakeError::Refused("no slot left"));
        }
        let admit = |peer_id: &PeerId| {
            if self.peer_db.read().is_banned(peer_id, Instant::now()) {
                return Err(HandshakeError::Refused("banned"));
            }
            Ok(())
        };
        let introduction = self.handshake.perform(&mut channel, expected, admit)?;
        Ok((second, channel, introduction))
    }

    fn take_in(
        self: &Arc<Self>,
        stream: TcpStream,
        mut channel: Channel,
        introduction: Introduction,
        (address, dialed): (SocketAddr, bool),
    ) -> Result<(Arc<Connection>, FrameReader), HandshakeError> {
        let direction = if dialed {
            PeerConnectionType::OUT
        } else {
            PeerConnectionType::IN
        };
        let peer_id = introduction.peer_id;
        let connection = Arc::new(Connection::new(
            (peer_id, introduction.capabilities),
            (address, direction),
            (stream, Arc::clone(&channel.link)),
            &self.config,
        ));
        if self.is_of_two_processes(&introduction, &mut channel) {
            return Err(HandshakeError::Refused("another process with its key is connected"));
        }
        if let Err(error) = self.connections.admit(&connection) {
            return Err(HandshakeError::Refused(admission(error)));
        }
        self.note(&introduction, &connection);
        (self.on_connected)(&peer_id);
        self.start_writer(&connection, channel.writer);
        Ok((connection, channel.reader))
    }

    /// Takes down what a peer that was taken in said of itself.
    fn note(&self, introduction: &Introduction, connection: &Connection) {
        let (peer_id, announcement) = (introduction.peer_id, &introduction.announcement);
        self.peer_db
            .write()
            .add_announced(&peer_id, &announcement.listeners, announcement.timestamp);
        let told = MassaTime::from_millis(announcement.timestamp);
        let mut checks = self.checks.lock();
        checks.clock.peer_told(&peer_id, told, introduction.received_at);
        drop(checks);
        let (address, direction) = (connection.address, connection.direction);
        let storage = introduction.capabilities.speaks_storage;
        info!(peer = %peer_id, %address, ?direction, storage, "peer connected");
    }

    fn start_writer(self: &Arc<Self>, connection: &Arc<Connection>, writer: FrameWriter) {
        let (shared, writing) = (Arc::clone(self), Arc::clone(connection));
        let work = move || shared.write(&writing, writer);
        if !self.threads.spawn("p2p-writer", work) {
            self.connections.remove(connection);
        }
    }

    /// The writer thread of a connection.
    fn write(&self, connection: &Arc<Connection>, mut writer: FrameWriter) {
        while let Some(mut message) = connection.queues.pop() {
            if let Err(error) = writer.write_behind(&mut message) {
                debug!(peer = %connection.peer_id, %error, "sending ended");
                break;
            }
        }
        self.connections.remove(connection);
    }

    /// The reader thread of a connection.
    fn read(&self, connection: &Arc<Connection>, mut reader: FrameReader) {
        let peer_id = connection.peer_id;
        loop {
            let frame = match reader.read(IDLE_TIMEOUT) {
                Ok(frame) => frame,
                Err(error) => {
                    debug!(peer = %peer_id, %error, "receiving ended");
                    break;
                }
            };
            if let Err(error) = self.messages_handler.handle(frame, &peer_id) {
                warn!(peer = %peer_id, %error, "connection ended");
                break;
            }
        }
        self.connections.remove(connection);
        info!(peer = %peer_id, connected = self.connections.get_peer_ids_connected().len(), "peer disconnected");
    }
}

fn admission(error: AdmitError) -> &'static str {
    match error {
        AdmitError::Duplicate => "connected to this peer already",
        AdmitError::NoSlot => "no slot left",
        AdmitError::TooManyFromAddress => "too many connections with this address",
        AdmitError::Stopping => "the node is stopping",
    }
}
