//! Announces blocks.
//!
//! A header goes out at once when its block is in the graph: slots of a local network are 60 ms apart. Every
//! `block_propagation_tick` it goes to the peers that connected since.

use super::cache::{KnownBy, SharedBlockCache};
use super::commands_propagation::BlockHandlerPropagationCommand;
use super::messages::{BlockMessage, BlockMessageSerializer};
use crate::handlers::peer_handler::PeerManagementCmd;
use crate::messages::MessagesSerializer;
use crate::wrap_network::ActiveConnectionsTrait;
use crossbeam_channel::RecvTimeoutError;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_protocol_exports::{PeerId, ProtocolConfig};
use massa_storage::Storage;
use std::collections::{HashSet, VecDeque};
use std::time::Instant;
use tracing::{debug, warn};

/// A block that is announced.
struct Announced {
    since: Instant,
    header: SecuredHeader,
    /// Keeps the block and its operations in the shared memory, to serve them to those who were told.
    _storage: Storage,
}

/// What the thread is made of.
pub(super) struct PropagationThread {
    pub(super) active_connections: Box<dyn ActiveConnectionsTrait>,
    pub(super) commands: MassaReceiver<BlockHandlerPropagationCommand>,
    pub(super) peer_cmd_sender: MassaSender<PeerManagementCmd>,
    pub(super) cache: SharedBlockCache,
    pub(super) config: ProtocolConfig,
}

impl PropagationThread {
    /// Runs until it is told to stop.
    pub(super) fn run(self) {
        let serializer = MessagesSerializer::new().with_block_message_serializer(BlockMessageSerializer::new());
        let mut state = State {
            parts: self,
            serializer,
            announced: VecDeque::new(),
        };
        state.run();
    }
}

struct State {
    parts: PropagationThread,
    serializer: MessagesSerializer,
    /// Oldest first.
    announced: VecDeque<Announced>,
}

impl State {
    fn run(&mut self) {
        let tick = self.parts.config.block_propagation_tick.to_duration();
        let mut next_tick = Instant::now() + tick;
        loop {
            match self.parts.commands.recv_deadline(next_tick) {
                Ok(BlockHandlerPropagationCommand::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(BlockHandlerPropagationCommand::IntegratedBlock { block_id, storage }) => {
                    self.integrated(&block_id, storage, Instant::now());
                }
                Ok(BlockHandlerPropagationCommand::AttackBlockDetected(block_id)) => self.attack(&block_id),
                Err(RecvTimeoutError::Timeout) => {
                    let now = Instant::now();
                    next_tick = now + tick;
                    self.tick(now);
                }
            }
        }
    }

    fn integrated(&mut self, block_id: &BlockId, storage: Storage, now: Instant) {
        let header = storage
            .read_blocks()
            .get(block_id)
            .map(|block| block.content.header.clone());
        let Some(header) = header else {
            warn!(%block_id, "block not announced: its storage does not have it");
            return;
        };
        let connected = self.parts.active_connections.get_peer_ids_connected();
        self.announce(&header, &connected);
        self.announced.push_back(Announced {
            since: now,
            header,
            _storage: storage,
        });
        while self.announced.len() > self.parts.config.max_blocks_kept_for_propagation {
            self.announced.pop_front();
        }
    }

    fn tick(&mut self, now: Instant) {
        let longest = self.parts.config.max_block_propagation_time.to_duration();
        let is_over = |block: &Announced| now.saturating_duration_since(block.since) > longest;
        while self.announced.front().is_some_and(is_over) {
            self.announced.pop_front();
        }
        let connected = self.parts.active_connections.get_peer_ids_connected();
        self.parts.cache.write().update_cache(&connected);
        for block in &self.announced {
            self.announce(&block.header, &connected);
        }
    }

    /// Sends a header to those that do not know it.
    fn announce(&self, header: &SecuredHeader, connected: &HashSet<PeerId>) {
        for peer_id in connected {
            if self.parts.cache.read().known_by(peer_id, &header.id).is_some() {
                continue;
            }
            let message = BlockMessage::Header(Box::new(header.clone())).into();
            match self
                .parts
                .active_connections
                .send_to_peer(peer_id, &self.serializer, message, true)
            {
                Ok(()) => self
                    .parts
                    .cache
                    .write()
                    .insert_known(peer_id, header.id, KnownBy::WeTold),
                Err(error) => debug!(peer = %peer_id, block_id = %header.id, %error, "header not sent"),
            }
        }
    }

    fn attack(&mut self, block_id: &BlockId) {
        self.announced.retain(|block| block.header.id != *block_id);
        let culprits = self.parts.cache.read().told_by(block_id);
        warn!(%block_id, peers = ?culprits, "block is an attack: peers that sent it are banned");
        if let Err(error) = self.parts.peer_cmd_sender.try_send(PeerManagementCmd::Ban(culprits)) {
            warn!(%error, "peers not banned");
        }
    }
}
