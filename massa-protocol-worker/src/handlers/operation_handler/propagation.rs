//! Announces operations: those that came since the last time to everybody, those before to peers that connected since.

use super::cache::SharedOperationCache;
use super::commands_propagation::OperationHandlerPropagationCommand;
use super::messages::{OperationMessage, OperationMessageSerializer};
use crate::messages::MessagesSerializer;
use crate::wrap_network::ActiveConnectionsTrait;
use crossbeam_channel::RecvTimeoutError;
use massa_channel::receiver::MassaReceiver;
use massa_models::operation::{OperationId, OperationPrefixId, OperationPrefixIds};
use massa_protocol_exports::{PeerId, ProtocolConfig};
use massa_storage::Storage;
use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};
use tracing::debug;

/// Operations kept for those who ask, whatever the pool does with them. Upstream's number.
const MAX_OPERATIONS_KEPT: usize = 300_000;
/// How long they are kept.
const KEPT_FOR: Duration = Duration::from_secs(32);

/// What the thread is made of.
pub(super) struct PropagationThread {
    pub(super) active_connections: Box<dyn ActiveConnectionsTrait>,
    pub(super) commands: MassaReceiver<OperationHandlerPropagationCommand>,
    pub(super) cache: SharedOperationCache,
    pub(super) config: ProtocolConfig,
}

impl PropagationThread {
    /// Runs until it is told to stop.
    pub(super) fn run(self) {
        let mut state = State {
            serializer: MessagesSerializer::new().with_operation_message_serializer(OperationMessageSerializer::new()),
            parts: self,
            fresh: Vec::new(),
            kept: VecDeque::new(),
            kept_count: 0,
            greeted: HashSet::new(),
        };
        state.run();
    }
}

/// Operations that came together.
struct Batch {
    since: Instant,
    ids: Vec<OperationId>,
    /// Keeps them in the shared memory.
    _storage: Storage,
}

struct State {
    parts: PropagationThread,
    serializer: MessagesSerializer,
    /// Not announced yet.
    fresh: Vec<OperationPrefixId>,
    /// Oldest first.
    kept: VecDeque<Batch>,
    kept_count: usize,
    /// Peers to which all that was kept has been announced.
    greeted: HashSet<PeerId>,
}

impl State {
    fn run(&mut self) {
        let interval = self.parts.config.operation_announcement_interval.to_duration();
        let mut next = Instant::now() + interval;
        loop {
            match self.parts.commands.recv_deadline(next) {
                Ok(OperationHandlerPropagationCommand::PropagateOperations(storage)) => {
                    self.keep(storage, Instant::now());
                }
                Ok(OperationHandlerPropagationCommand::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    next = now + interval;
                    self.announce(now);
                }
            }
        }
    }

    fn keep(&mut self, storage: Storage, now: Instant) {
        let ids: Vec<OperationId> = storage.get_op_refs().iter().copied().collect();
        {
            // What this node made itself has not been through the retrieval thread.
            let mut cache = self.parts.cache.write();
            ids.iter().for_each(|id| cache.insert_checked(id.prefix()));
        }
        self.fresh.extend(ids.iter().map(OperationId::prefix));
        self.kept_count += ids.len();
        self.kept.push_back(Batch {
            since: now,
            ids,
            _storage: storage,
        });
        self.forget_old(now);
    }

    fn forget_old(&mut self, now: Instant) {
        while let Some(oldest) = self.kept.front() {
            let is_old = now.saturating_duration_since(oldest.since) > KEPT_FOR;
            if !is_old && self.kept_count <= MAX_OPERATIONS_KEPT {
                return;
            }
            self.kept_count -= oldest.ids.len();
            self.kept.pop_front();
        }
    }

    fn announce(&mut self, now: Instant) {
        self.forget_old(now);
        let connected = self.parts.active_connections.get_peer_ids_connected();
        self.parts.cache.write().update_cache(&connected);
        self.greeted.retain(|peer_id| connected.contains(peer_id));
        let fresh = std::mem::take(&mut self.fresh);
        for peer_id in &connected {
            if self.greeted.insert(*peer_id) {
                let all = self.kept.iter().flat_map(|batch| &batch.ids).map(OperationId::prefix);
                self.announce_to(peer_id, all);
            } else {
                self.announce_to(peer_id, fresh.iter().copied());
            }
        }
    }

    /// Announces to a peer what it does not know.
    fn announce_to(&self, peer_id: &PeerId, prefixes: impl Iterator<Item = OperationPrefixId>) {
        let unknown: Vec<_> = {
            let cache = self.parts.cache.read();
            prefixes.filter(|prefix| !cache.is_known_by(peer_id, prefix)).collect()
        };
        let per_message = usize::try_from(self.parts.config.max_operations_per_message).unwrap_or(usize::MAX);
        for some in unknown.chunks(per_message.max(1)) {
            let ids: OperationPrefixIds = some.iter().copied().collect();
            let message = OperationMessage::OperationsAnnouncement(ids).into();
            let sent = self
                .parts
                .active_connections
                .send_to_peer(peer_id, &self.serializer, message, false);
            if let Err(error) = sent {
                debug!(peer = %peer_id, %error, "operations not announced");
                return;
            }
            let mut cache = self.parts.cache.write();
            some.iter().for_each(|prefix| cache.insert_known(peer_id, *prefix));
        }
    }
}
