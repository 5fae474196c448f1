//! Asks for operations that peers announce, takes them in, and serves those that peers ask for.

use super::asked::AskedOperations;
use super::cache::SharedOperationCache;
use super::commands_propagation::OperationHandlerPropagationCommand;
use super::commands_retrieval::OperationHandlerRetrievalCommand;
use super::messages::OperationMessageSerializer;
use super::messages::{OperationMessage, OperationMessageDeserializer, OperationMessageDeserializerArgs};
use crate::handlers::peer_handler::PeerManagementCmd;
use crate::messages::{MessagesSerializer, PeerMessageTuple};
use crate::wrap_network::ActiveConnectionsTrait;
use crossbeam_channel::select;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_models::operation::{OperationPrefixId, OperationPrefixIds, SecureShareOperation};
use massa_pool_exports::PoolController;
use massa_protocol_exports::{PeerId, ProtocolConfig};
use massa_serialization::{DeserializeError, Deserializer};
use massa_signature::verify_signature_batch;
use massa_storage::Storage;
use std::collections::HashMap;
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// Bytes of operations in one message. A header waits at most for one message that is being written.
const MESSAGE_BYTES: usize = 256 << 10;
/// How often late answers are looked for.
const TICK: Duration = Duration::from_millis(500);

/// What the thread is made of.
pub(super) struct RetrievalThread {
    pub(super) active_connections: Box<dyn ActiveConnectionsTrait>,
    pub(super) pool: Box<dyn PoolController>,
    pub(super) storage: Storage,
    pub(super) receiver_network: MassaReceiver<PeerMessageTuple>,
    pub(super) commands: MassaReceiver<OperationHandlerRetrievalCommand>,
    pub(super) propagation: MassaSender<OperationHandlerPropagationCommand>,
    pub(super) peer_cmd_sender: MassaSender<PeerManagementCmd>,
    pub(super) cache: SharedOperationCache,
    pub(super) config: ProtocolConfig,
}

impl RetrievalThread {
    /// Runs until it is told to stop.
    pub(super) fn run(self) {
        let timeout = self.config.message_timeout.to_duration();
        let mut state = State {
            deserializer: OperationMessageDeserializer::new(OperationMessageDeserializerArgs::from(&self.config)),
            serializer: MessagesSerializer::new().with_operation_message_serializer(OperationMessageSerializer::new()),
            asked: AskedOperations::new(timeout, self.config.asked_operations_buffer_capacity),
            parts: self,
        };
        state.run();
    }
}

struct State {
    parts: RetrievalThread,
    deserializer: OperationMessageDeserializer,
    serializer: MessagesSerializer,
    asked: AskedOperations,
}

impl State {
    fn run(&mut self) {
        let mut next_tick = Instant::now() + TICK;
        loop {
            select! {
                recv(self.parts.receiver_network) -> message => {
                    self.parts.receiver_network.update_metrics();
                    let Ok((peer_id, message)) = message else { return };
                    self.on_message(&peer_id, &message);
                }
                recv(self.parts.commands) -> command => {
                    self.parts.commands.update_metrics();
                    let (Ok(OperationHandlerRetrievalCommand::Stop) | Err(_)) = command;
                    return;
                }
                default(next_tick.saturating_duration_since(Instant::now())) => {}
            }
            let now = Instant::now();
            if now >= next_tick {
                next_tick = now + TICK;
                self.ask_others(now);
            }
        }
    }

    fn on_message(&mut self, peer_id: &PeerId, message: &[u8]) {
        match self.deserializer.deserialize::<DeserializeError>(message) {
            Ok(([], OperationMessage::OperationsAnnouncement(prefixes))) => self.on_announcement(peer_id, &prefixes),
            Ok(([], OperationMessage::AskForOperations(prefixes))) => self.serve(peer_id, &prefixes),
            Ok(([], OperationMessage::Operations(operations))) => self.on_operations(peer_id, operations),
            Ok((rest, _)) => warn!(peer = %peer_id, bytes = rest.len(), "operation message ignored: bytes follow it"),
            Err(error) => warn!(peer = %peer_id, %error, "operation message ignored"),
        }
    }

    fn on_announcement(&mut self, peer_id: &PeerId, prefixes: &OperationPrefixIds) {
        let now = Instant::now();
        let mut wanted = OperationPrefixIds::default();
        {
            let mut cache = self.parts.cache.write();
            for prefix in prefixes {
                cache.insert_known(peer_id, *prefix);
                if !cache.is_checked(prefix) && self.asked.announced(*prefix, *peer_id, now) {
                    wanted.insert(*prefix);
                }
            }
        }
        self.ask(peer_id, wanted);
    }

    fn ask(&self, peer_id: &PeerId, prefixes: OperationPrefixIds) {
        if !prefixes.is_empty() {
            self.send(peer_id, OperationMessage::AskForOperations(prefixes));
        }
    }

    fn ask_others(&mut self, now: Instant) {
        let mut by_peer: HashMap<PeerId, OperationPrefixIds> = HashMap::new();
        for (peer_id, prefix) in self.asked.late(now) {
            by_peer.entry(peer_id).or_default().insert(prefix);
        }
        let per_message = usize::try_from(self.parts.config.max_operations_per_message).unwrap_or(usize::MAX);
        for (peer_id, prefixes) in by_peer {
            let prefixes: Vec<OperationPrefixId> = prefixes.into_iter().collect();
            for some in prefixes.chunks(per_message.max(1)) {
                self.ask(&peer_id, some.iter().copied().collect());
            }
        }
    }

    fn send(&self, peer_id: &PeerId, message: OperationMessage) -> bool {
        let sent = self
            .parts
            .active_connections
            .send_to_peer(peer_id, &self.serializer, message.into(), false);
        if let Err(error) = &sent {
            debug!(peer = %peer_id, %error, "operation message not sent");
        }
        sent.is_ok()
    }

    /// Sends those of the operations that are in the shared memory.
    fn serve(&self, peer_id: &PeerId, prefixes: &OperationPrefixIds) {
        let found: Vec<SecureShareOperation> = {
            let stored = self.parts.storage.read_operations();
            let ids = prefixes
                .iter()
                .filter_map(|prefix| stored.get_operations_by_prefix(prefix));
            ids.flatten().filter_map(|id| stored.get(id)).cloned().collect()
        };
        let max_count = usize::try_from(self.parts.config.max_operations_per_message).unwrap_or(usize::MAX);
        let mut message = Vec::new();
        let mut bytes = 0;
        for operation in found {
            let size = operation.serialized_size();
            let is_full = bytes + size > MESSAGE_BYTES || message.len() >= max_count;
            if is_full && !message.is_empty() {
                let full = std::mem::take(&mut message);
                if !self.send(peer_id, OperationMessage::Operations(full)) {
                    return;
                }
                bytes = 0;
            }
            bytes += size;
            message.push(operation);
        }
        if !message.is_empty() {
            self.send(peer_id, OperationMessage::Operations(message));
        }
    }

    fn on_operations(&mut self, peer_id: &PeerId, operations: Vec<SecureShareOperation>) {
        let fresh = self.not_seen(peer_id, operations);
        if fresh.is_empty() {
            return;
        }
        let signed = fresh.iter().map(|operation| {
            (
                operation.compute_signed_hash(),
                operation.signature,
                operation.content_creator_pub_key,
            )
        });
        if verify_signature_batch(&signed.collect::<Vec<_>>()).is_err() {
            warn!(peer = %peer_id, "peer is banned: it sent an operation with an invalid signature");
            if let Err(error) = self
                .parts
                .peer_cmd_sender
                .try_send(PeerManagementCmd::Ban(vec![*peer_id]))
            {
                warn!(peer = %peer_id, %error, "peer not banned");
            }
            return;
        }
        self.take_in(fresh);
    }

    /// Those that were not checked before, that a block can hold, each once.
    fn not_seen(&self, peer_id: &PeerId, operations: Vec<SecureShareOperation>) -> Vec<SecureShareOperation> {
        let max_bytes = self.parts.config.max_serialized_operations_size_per_block;
        let mut cache = self.parts.cache.write();
        let mut seen = OperationPrefixIds::default();
        let mut fresh = Vec::new();
        for operation in operations {
            let prefix = operation.id.prefix();
            cache.insert_known(peer_id, prefix);
            let is_new = !cache.is_checked(&prefix) && seen.insert(prefix);
            if is_new && operation.serialized_size() <= max_bytes {
                fresh.push(operation);
            }
        }
        fresh
    }

    /// Hands valid operations to the pool, and on to other peers.
    fn take_in(&mut self, operations: Vec<SecureShareOperation>) {
        {
            let mut cache = self.parts.cache.write();
            for operation in &operations {
                let prefix = operation.id.prefix();
                cache.insert_checked(prefix);
                self.asked.received(&prefix);
            }
        }
        let mut storage = self.parts.storage.clone_without_refs();
        storage.store_operations(operations);
        if let Err(error) = self.parts.pool.add_operations(storage.clone()) {
            warn!(%error, "operations not added to the pool");
        }
        let command = OperationHandlerPropagationCommand::PropagateOperations(storage);
        if let Err(error) = self.parts.propagation.try_send(command) {
            debug!(%error, "operations not announced");
        }
    }
}
