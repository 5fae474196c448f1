//! The thread that fetches and serves: moves messages, requests and answers; decides nothing.

use super::audits::{ChallengeAction, Challenges};
use super::cache::SharedStorageCache;
use super::commands_retrieval::StorageHandlerRetrievalCommand;
use super::fetching::{Retrieval, RetrievalAction, RetrievalLimits};
use super::limiter::{MessageLimiter, Verdict};
use super::messages::{StorageMessage, StorageMessageDeserializer, StorageMessageTypeId};
use super::reach::Reach;
use super::sending::StorageConnections;
use super::serving::{Accepted, Serving, ServingLimits};
use super::{node_id, StorageHandlerParts};
use crate::messages::PeerMessageTuple;
use crossbeam_channel::{select, Sender, TrySendError};
use massa_channel::receiver::MassaReceiver;
use massa_distributed_storage_exports::network::{AnnouncedChunk, Capabilities, FetchEvent};
use massa_distributed_storage_exports::SegmentRoot;
use massa_models::node::NodeId;
use massa_protocol_exports::ProtocolConfig;
use massa_serialization::{DeserializeError, Deserializer};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

const THREAD_NAME: &str = "psh-retrieval";
/// The system cuts longer names.
const _: () = assert!(THREAD_NAME.len() < 16);
/// How often connections and deadlines are looked at.
const TICK: Duration = Duration::from_millis(50);
/// How long to wait before looking again whether a peer's connection took what was queued.
const SERVE_RETRY: Duration = Duration::from_millis(5);

/// Messages of peers, and commands.
type Inputs = (
    MassaReceiver<PeerMessageTuple>,
    MassaReceiver<StorageHandlerRetrievalCommand>,
);

struct RetrievalThread {
    connections: StorageConnections,
    parts: StorageHandlerParts,
    shared: SharedStorageCache,
    deserializer: StorageMessageDeserializer,
    limiter: MessageLimiter,
    retrieval: Retrieval,
    challenges: Challenges,
    serving: Serving,
    reach: Reach,
    serving_bytes_per_peer: usize,
    connected: HashSet<NodeId>,
    next_tick: Instant,
}

/// Starts the thread.
pub(super) fn start_retrieval_thread(
    connections: StorageConnections,
    parts: StorageHandlerParts,
    inputs: Inputs,
    shared: SharedStorageCache,
    config: &ProtocolConfig,
) -> std::io::Result<JoinHandle<()>> {
    let limits = RetrievalLimits::new(config, parts.parameters.clone());
    let serving = ServingLimits {
        bytes_per_peer: config.max_storage_bytes_in_flight_per_peer,
        max_chunk_size: config.max_chunk_size,
    };
    let now = Instant::now();
    let mut thread = RetrievalThread {
        reach: Reach::new(connections.clone(), config, limits.dial_timeout),
        connections,
        limiter: MessageLimiter::new(config.max_storage_messages_per_second, shared.counters.clone()),
        parts,
        shared,
        deserializer: StorageMessageDeserializer::new(),
        retrieval: Retrieval::new(limits, now),
        challenges: Challenges::new(),
        serving: Serving::new(serving),
        serving_bytes_per_peer: config.max_storage_bytes_in_flight_per_peer,
        connected: HashSet::new(),
        next_tick: now,
    };
    std::thread::Builder::new()
        .name(THREAD_NAME.into())
        .spawn(move || thread.run(&inputs))
}

impl RetrievalThread {
    fn run(&mut self, (network, commands): &Inputs) {
        loop {
            let patience = self.patience();
            select! {
                recv(network) -> message => match message {
                    Ok((peer, message)) => {
                        network.update_metrics();
                        self.on_message(node_id(&peer), &message, Instant::now());
                    }
                    // The network is gone: so will this thread.
                    Err(_) => return,
                },
                recv(commands) -> command => {
                    commands.update_metrics();
                    match command {
                        Ok(StorageHandlerRetrievalCommand::Stop) | Err(_) => return,
                        Ok(command) => self.on_command(command, Instant::now()),
                    }
                }
                default(patience) => {}
            }
            self.serve();
            let now = Instant::now();
            if now >= self.next_tick {
                self.next_tick = now + TICK;
                self.on_tick(now);
            }
        }
    }

    fn patience(&self) -> Duration {
        let until_tick = self.next_tick.saturating_duration_since(Instant::now());
        if !self.serving.has_waiting() {
            until_tick
        } else if self.serving.can_serve(|node| self.can_send(node)) {
            Duration::ZERO
        } else {
            until_tick.min(SERVE_RETRY)
        }
    }

    fn can_send(&self, node: &NodeId) -> bool {
        self.connections.has_room(node, self.serving_bytes_per_peer)
    }

    fn on_command(&mut self, command: StorageHandlerRetrievalCommand, now: Instant) {
        let actions = match command {
            StorageHandlerRetrievalCommand::Challenge(challenge) => {
                let is_connected = self.connected.contains(&challenge.node);
                let actions = self.challenges.on_challenge(*challenge, is_connected, now);
                return self.carry_out_challenges(actions, now);
            }
            StorageHandlerRetrievalCommand::Addresses(nodes) => return self.reach.set_registered(nodes),
            StorageHandlerRetrievalCommand::Fetch(fetch) => self.retrieval.on_fetch(*fetch, now),
            StorageHandlerRetrievalCommand::Quarantine { node, reason } => {
                self.retrieval.on_quarantine(*node, reason, now)
            }
            StorageHandlerRetrievalCommand::Stop => Vec::new(),
        };
        self.carry_out(actions, now);
    }

    fn on_tick(&mut self, now: Instant) {
        self.look_at_connections(now);
        self.limiter.forget_idle(|node| self.connected.contains(node), now);
        let actions = self.retrieval.on_tick(now);
        self.carry_out(actions, now);
        let actions = self.challenges.on_tick(now);
        self.carry_out_challenges(actions, now);
        let is_busy = is_busy(&self.connections, &self.retrieval, &self.challenges, &self.serving);
        self.reach.on_tick(is_busy, now);
    }

    /// Something is to be asked of a node that is not connected.
    fn want(&mut self, node: NodeId, now: Instant) {
        let is_busy = is_busy(&self.connections, &self.retrieval, &self.challenges, &self.serving);
        self.reach.want(node, is_busy, now);
    }

    fn look_at_connections(&mut self, now: Instant) {
        let connected = self.connections.peers();
        if connected == self.connected {
            return;
        }
        let before = std::mem::replace(&mut self.connected, connected);
        for node in before.difference(&self.connected) {
            self.shared.cache.write().remove_peer(node);
            self.parts.events.peer_gone(*node);
        }
        for node in self.connected.difference(&before) {
            self.shared.cache.write().insert_peer(*node);
            self.parts.events.peer_changed(*node, None);
        }
        self.serving.retain(|node| self.connected.contains(node));
        self.reach.on_peers(&self.connected, now);
        let actions = self.retrieval.on_peers(&self.connected, now);
        self.carry_out(actions, now);
        let actions = self.challenges.on_peers(&self.connected, now);
        self.carry_out_challenges(actions, now);
    }

    fn on_message(&mut self, from: NodeId, message: &[u8], now: Instant) {
        if !self.connected.contains(&from) {
            if !self.connections.speaks_storage(&from) {
                self.shared.counters.not_spoken.fetch_add(1, Ordering::Relaxed);
                return;
            }
            self.look_at_connections(now);
            if !self.connected.contains(&from) {
                return;
            }
        }
        let Some((message_type, request_id)) = self.deserializer.peek(message) else {
            return self.on_stray(from, now);
        };
        let is_open = |id| self.retrieval.is_open(&from, id) || self.challenges.is_open(&from, id);
        let is_answer = message_type.is_answer() && request_id.is_some_and(is_open);
        let verdict = self.limiter.judge(from, is_answer, now);
        match (verdict, request_id) {
            (Verdict::Accept, _) => self.read(from, message, request_id.filter(|_| is_answer), now),
            (Verdict::Refuse, Some(request_id)) if message_type.is_request() => {
                self.connections.send(&from, StorageMessage::Busy { request_id });
            }
            _ => debug!(peer = %from, ?message_type, "storage message dropped: too many"),
        }
    }

    /// Reads a message; `answered` is the open request that it answers.
    fn read(&mut self, from: NodeId, message: &[u8], answered: Option<u64>, now: Instant) {
        let read = self.deserializer.deserialize::<DeserializeError>(message);
        let reason = match read {
            Ok(([], message)) => return self.on_read(from, message, answered, now),
            Ok((rest, _)) => format!("{} bytes after the message", rest.len()),
            // The error prints its input: too much for a log.
            Err(_) => "malformed message".to_string(),
        };
        if let Some(request_id) = answered {
            let actions = self.challenges.on_malformed(&from, request_id);
            self.carry_out_challenges(actions, now);
            let actions = self.retrieval.on_malformed(from, reason, now);
            self.carry_out(actions, now);
        } else {
            debug!(peer = %from, reason, "storage message ignored");
            self.on_stray(from, now);
        }
    }

    fn on_read(&mut self, from: NodeId, message: StorageMessage, answered: Option<u64>, now: Instant) {
        match StorageMessageTypeId::from(&message) {
            id if id.is_answer() && answered.is_some_and(|id| self.challenges.is_open(&from, id)) => {
                let actions = self.challenges.on_message(from, message, now);
                self.carry_out_challenges(actions, now);
            }
            id if id.is_answer() => {
                let actions = self.retrieval.on_message(from, message, now);
                self.carry_out(actions, now);
            }
            id if id.is_request() => self.on_request(from, &message, now),
            _ => self.on_news(from, message),
        }
    }

    fn on_request(&mut self, from: NodeId, message: &StorageMessage, now: Instant) {
        if let Accepted::Refused(refusal) = self.serving.on_request(from, message, now) {
            self.shared.counters.refused.fetch_add(1, Ordering::Relaxed);
            self.connections.send(&from, refusal);
        }
        self.reach.on_used(from);
    }

    fn on_news(&mut self, from: NodeId, message: StorageMessage) {
        match message {
            StorageMessage::ChunkAnnouncement { segment, root, chunks } => {
                self.on_announcement(from, (segment, root), chunks);
            }
            StorageMessage::StorageCapabilities { capabilities } => self.on_capabilities(from, capabilities),
            _ => {}
        }
    }

    fn on_announcement(
        &mut self,
        from: NodeId,
        (segment, root): (u64, Option<SegmentRoot>),
        chunks: Vec<AnnouncedChunk>,
    ) {
        let news = self.shared.cache.write().announce(&from, segment, chunks);
        if !news.is_empty() {
            self.parts.events.chunks_announced(from, segment, root, news);
        }
    }

    fn on_capabilities(&mut self, from: NodeId, capabilities: Capabilities) {
        let is_news = self.shared.cache.write().set_capabilities(&from, capabilities.clone());
        if is_news {
            self.parts.events.peer_changed(from, Some(capabilities));
        }
    }

    fn on_stray(&mut self, from: NodeId, now: Instant) {
        if self.limiter.stray(from, now) {
            warn!(peer = %from, "peer floods with storage messages: it is not listened to for a while");
        }
    }

    fn serve(&mut self) {
        let (connections, bytes) = (&self.connections, self.serving_bytes_per_peer);
        let can_send = |node: &NodeId| connections.has_room(node, bytes);
        let Some((node, message)) = self.serving.next(&*self.parts.server, can_send) else {
            return;
        };
        let is_page = matches!(message, StorageMessage::ChunkResponse { .. });
        if self.connections.send(&node, message) && is_page {
            self.shared.counters.pages_sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn carry_out(&mut self, actions: Vec<RetrievalAction>, now: Instant) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                RetrievalAction::Send {
                    to,
                    request_id,
                    message,
                } => {
                    self.reach.on_used(to);
                    if !self.connections.send(&to, message) {
                        actions.extend(self.retrieval.on_not_sent(request_id, now));
                    }
                }
                RetrievalAction::Dial { node } => self.want(node, now),
                RetrievalAction::Reply { fetch, to, event } => {
                    if !self.reply(&to, event) {
                        actions.extend(self.retrieval.on_abandoned(fetch));
                    }
                }
                RetrievalAction::Quarantine { node, until, reason } => self.quarantine(node, until, &reason),
                RetrievalAction::Stray { node } => self.on_stray(node, now),
                RetrievalAction::Ended { priority } => self.shared.close_fetch(priority),
            }
        }
    }

    fn carry_out_challenges(&mut self, actions: Vec<ChallengeAction>, now: Instant) {
        let mut actions = VecDeque::from(actions);
        while let Some(action) = actions.pop_front() {
            match action {
                ChallengeAction::Send {
                    to,
                    request_id,
                    message,
                } => {
                    self.reach.on_used(to);
                    if !self.connections.send(&to, message) {
                        actions.extend(self.challenges.on_not_sent(&to, request_id));
                    }
                }
                ChallengeAction::Dial { node } => self.want(node, now),
                ChallengeAction::Reply { to, event } => {
                    if to.try_send(event).is_err() {
                        debug!("the outcome of a challenge is lost: nobody takes it");
                    }
                }
            }
        }
    }

    /// Returns whether somebody waits for answers.
    fn reply(&self, to: &Sender<FetchEvent>, event: FetchEvent) -> bool {
        if matches!(event, FetchEvent::Page { .. }) {
            self.shared.counters.pages_received.fetch_add(1, Ordering::Relaxed);
        }
        match to.try_send(event) {
            Ok(()) => true,
            Err(TrySendError::Full(_)) => {
                warn!("an answer of the network is lost: the asker does not keep up");
                true
            }
            Err(TrySendError::Disconnected(_)) => false,
        }
    }

    fn quarantine(&self, node: NodeId, until: Instant, reason: &str) {
        warn!(peer = %node, reason, "peer put in quarantine");
        self.shared.counters.quarantined.fetch_add(1, Ordering::Relaxed);
        self.shared.cache.write().set_quarantine(node, until);
    }
}

/// Whether something is under way over the connection with a peer, in either direction.
fn is_busy<'a>(
    connections: &'a StorageConnections,
    retrieval: &'a Retrieval,
    challenges: &'a Challenges,
    serving: &'a Serving,
) -> impl Fn(&NodeId) -> bool + 'a {
    move |node| {
        let is_asked = retrieval.in_flight(node) > 0 || challenges.is_asked(node);
        is_asked || serving.waiting_bytes(node) > 0 || connections.has_unsent(node)
    }
}
