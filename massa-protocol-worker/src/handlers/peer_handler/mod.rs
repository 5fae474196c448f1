//! Peers: who they are, where they listen, who is banned; and what they tell of themselves, so that nodes can compare.

pub mod announcement;
pub mod handshake;
mod messages;
pub mod models;

pub use messages::{
    PeerListeners, PeerManagementMessage, PeerManagementMessageDeserializer, PeerManagementMessageDeserializerArgs,
    PeerManagementMessageSerializer, Report,
};

use crate::checks::contests::Contests;
use crate::checks::identity::{IdProof, Nonce};
use crate::checks::SharedChecks;
use crate::handlers::{end_handler_thread, spawn_handler_thread};
use crate::messages::{MessagesSerializer, PeerMessageTuple};
use crate::wrap_network::ActiveConnectionsTrait;
use crossbeam_channel::select;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_models::slot::Slot;
use massa_protocol_exports::{PeerId, ProtocolConfig, ProtocolError};
use massa_serialization::{DeserializeError, Deserializer};
use massa_signature::KeyPair;
use massa_time::MassaTime;
use models::SharedPeerDB;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, info, warn};

/// How often each peer is sent a list of peers. It also shows that this node is alive: see
/// [`IDLE_TIMEOUT`](crate::transport::IDLE_TIMEOUT).
const LIST_INTERVAL: Duration = Duration::from_secs(30);
/// How often each peer is told this node's time and final state: a clock that is set wrong is found within half a minute.
const REPORT_INTERVAL: Duration = Duration::from_secs(10);

/// A command to the peer handler.
#[derive(Clone, Debug)]
pub enum PeerManagementCmd {
    /// End the connections with these peers, and refuse new ones for a day.
    Ban(Vec<PeerId>),
    /// End bans.
    Unban(Vec<PeerId>),
    /// Send the list of peers to a peer that connected.
    Greet(PeerId),
    /// Compare this hash of the final state after a slot with that of peers.
    FinalState(Slot, [u8; 32]),
    /// End.
    Stop,
}

/// What the handler is connected to.
pub(crate) struct PeerHandlerParts {
    pub(crate) active_connections: Box<dyn ActiveConnectionsTrait>,
    pub(crate) receiver_network: MassaReceiver<PeerMessageTuple>,
    pub(crate) commands: (MassaSender<PeerManagementCmd>, MassaReceiver<PeerManagementCmd>),
    pub(crate) peer_db: SharedPeerDB,
    pub(crate) keypair: KeyPair,
    pub(crate) checks: SharedChecks,
    pub(crate) contests: Contests,
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
            own: PeerId::from_public_key(parts.keypair.get_public_key()),
            keypair: parts.keypair,
            checks: parts.checks,
            contests: parts.contests,
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
    own: PeerId,
    keypair: KeyPair,
    checks: SharedChecks,
    contests: Contests,
    serializer: MessagesSerializer,
    deserializer: PeerManagementMessageDeserializer,
    list_size: usize,
}

impl State {
    fn run(&mut self) {
        let (mut next_list, mut next_report) = (Instant::now() + LIST_INTERVAL, Instant::now() + REPORT_INTERVAL);
        loop {
            let next = next_list.min(next_report);
            select! {
                recv(self.receiver_network) -> message => {
                    self.receiver_network.update_metrics();
                    let Ok((peer_id, message)) = message else { return };
                    self.on_message(&peer_id, &message);
                }
                recv(self.commands) -> command => {
                    self.commands.update_metrics();
                    match command {
                        Ok(PeerManagementCmd::Stop) | Err(_) => return,
                        Ok(command) => self.on_command(command),
                    }
                }
                default(next.saturating_duration_since(Instant::now())) => {}
            }
            if Instant::now() >= next_list {
                next_list = Instant::now() + LIST_INTERVAL;
                self.send_lists();
            }
            if Instant::now() >= next_report {
                next_report = Instant::now() + REPORT_INTERVAL;
                self.checks.retain(&self.active_connections.get_peer_ids_connected());
                self.send_reports();
            }
        }
    }

    fn on_command(&mut self, command: PeerManagementCmd) {
        match command {
            PeerManagementCmd::Ban(peers) => self.ban(&peers),
            PeerManagementCmd::Unban(peers) => self.unban(&peers),
            PeerManagementCmd::Greet(peer_id) => self.send_list(&peer_id),
            PeerManagementCmd::FinalState(slot, hash) => {
                self.checks.lock().state.own_is(slot, hash);
                self.send_reports();
            }
            PeerManagementCmd::Stop => {}
        }
    }

    fn on_message(&mut self, peer_id: &PeerId, message: &[u8]) {
        match self.deserializer.deserialize::<DeserializeError>(message) {
            Ok(([], PeerManagementMessage::ListPeers(peers))) => self.peer_db.write().add_hearsay(&peers),
            Ok(([], PeerManagementMessage::NewPeerConnected(peer))) => self.peer_db.write().add_hearsay(&[peer]),
            Ok(([], PeerManagementMessage::Report(report))) => self.on_report(peer_id, &report),
            Ok(([], PeerManagementMessage::ProveId(nonce))) => self.prove_id(peer_id, nonce),
            Ok(([], PeerManagementMessage::IdProof(proof))) => self.on_id_proof(peer_id, proof),
            Ok((rest, _)) => warn!(peer = %peer_id, bytes = rest.len(), "peer message ignored: bytes follow it"),
            Err(error) => warn!(peer = %peer_id, %error, "peer message ignored"),
        }
    }

    fn on_report(&self, peer_id: &PeerId, report: &Report) {
        let mut checks = self.checks.lock();
        checks.clock.peer_told(peer_id, report.time, MassaTime::now());
        if let Some((slot, hash)) = report.state {
            checks.state.peer_told(peer_id, slot, hash);
        }
    }

    /// Shows that this process has its key, to a peer that met another one with it.
    fn prove_id(&self, peer_id: &PeerId, nonce: Nonce) {
        let (now, mut checks) = (Instant::now(), self.checks.lock());
        if !checks.identity.may_sign(peer_id, &nonce, now) {
            return debug!(peer = %peer_id, "nonce not signed: it is this process' own, or the peer asks too often");
        }
        let own = checks.identity.nonce(now);
        drop(checks);
        match IdProof::new(nonce, own, &self.keypair) {
            Ok(proof) => self.send(peer_id, PeerManagementMessage::IdProof(proof), true),
            Err(error) => warn!(%error, "nonce not signed"),
        }
    }

    /// Of this node's own nonce, it shows another process with its key; of another's, some connection waits for it.
    fn on_id_proof(&self, peer_id: &PeerId, proof: IdProof) {
        let mut checks = self.checks.lock();
        if !checks.identity.is_own(&proof.nonce) {
            drop(checks);
            return self.contests.answered(peer_id, proof);
        }
        let proven = checks.identity.on_proof(peer_id, &proof, &self.own, Instant::now());
        debug!(peer = %peer_id, proven, "proof of another process with the key of this node");
    }

    fn send_reports(&self) {
        let state = self.checks.lock().state.newest();
        for peer_id in self.active_connections.get_peer_ids_connected() {
            if self.active_connections.knows_checks(&peer_id) {
                let time = MassaTime::now();
                self.send(&peer_id, PeerManagementMessage::Report(Report { time, state }), true);
            }
        }
    }

    fn send_lists(&self) {
        self.peer_db.write().lift_bans(Instant::now());
        for peer_id in self.active_connections.get_peer_ids_connected() {
            self.send_list(&peer_id);
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
        self.send(peer_id, PeerManagementMessage::ListPeers(peers), false);
    }

    fn send(&self, peer_id: &PeerId, message: PeerManagementMessage, high_priority: bool) {
        let sent = self
            .active_connections
            .send_to_peer(peer_id, &self.serializer, message.into(), high_priority);
        if let Err(error) = sent {
            debug!(peer = %peer_id, %error, "peer message not sent");
        }
    }
}
