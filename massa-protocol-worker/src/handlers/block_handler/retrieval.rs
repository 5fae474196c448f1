//! Fetches blocks, takes headers in, and serves what peers ask for.

use super::cache::{KnownBy, SharedBlockCache};
use super::commands_retrieval::BlockHandlerRetrievalCommand;
use super::header_check::{begin_of, check_future_header, check_header, HeaderError};
use super::messages::{AskForBlockInfo, BlockInfoReply, BlockMessage, BlockMessageDeserializer};
use super::messages::{BlockMessageDeserializerArgs, BlockMessageSerializer};
use super::serving::BlockSource;
use super::wishlist::{Reaction, Wishlist};
use crate::checks::SharedChecks;
use crate::handlers::peer_handler::PeerManagementCmd;
use crate::messages::{MessagesSerializer, PeerMessageTuple};
use crate::wrap_network::ActiveConnectionsTrait;
use crossbeam_channel::select;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_consensus_exports::ConsensusController;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_pos_exports::SelectorController;
use massa_protocol_exports::{PeerId, ProtocolConfig};
use massa_serialization::{DeserializeError, Deserializer};
use massa_time::MassaTime;
use schnellru::{ByLength, LruMap};
use std::time::{Duration, Instant};
use tracing::{debug, warn};

/// How often deadlines of questions are looked at.
const TICK: Duration = Duration::from_millis(50);
/// Headers of the future that are remembered.
const FUTURE_HEADERS: u32 = 256;

/// What the thread is made of.
pub(super) struct RetrievalThread {
    pub(super) active_connections: Box<dyn ActiveConnectionsTrait>,
    pub(super) selector: Box<dyn SelectorController>,
    pub(super) consensus: Box<dyn ConsensusController>,
    pub(super) receiver_network: MassaReceiver<PeerMessageTuple>,
    pub(super) commands: MassaReceiver<BlockHandlerRetrievalCommand>,
    pub(super) peer_cmd_sender: MassaSender<PeerManagementCmd>,
    pub(super) cache: SharedBlockCache,
    pub(super) source: BlockSource,
    pub(super) wishlist: Wishlist,
    pub(super) checks: SharedChecks,
    pub(super) config: ProtocolConfig,
}

impl RetrievalThread {
    /// Runs until it is told to stop.
    pub(super) fn run(self) {
        let mut state = State {
            deserializer: BlockMessageDeserializer::new(BlockMessageDeserializerArgs::from(&self.config)),
            serializer: MessagesSerializer::new().with_block_message_serializer(BlockMessageSerializer::new()),
            future_headers: LruMap::new(ByLength::new(FUTURE_HEADERS)),
            parts: self,
        };
        state.run();
    }
}

struct State {
    parts: RetrievalThread,
    /// Headers of the future that were looked at.
    future_headers: LruMap<BlockId, ()>,
    deserializer: BlockMessageDeserializer,
    serializer: MessagesSerializer,
}

impl State {
    fn run(&mut self) {
        loop {
            select! {
                recv(self.parts.receiver_network) -> message => {
                    self.parts.receiver_network.update_metrics();
                    let Ok((peer_id, message)) = message else { return };
                    self.on_message(&peer_id, &message);
                }
                recv(self.parts.commands) -> command => {
                    self.parts.commands.update_metrics();
                    match command {
                        Ok(BlockHandlerRetrievalCommand::WishlistDelta { new, remove }) => {
                            new.into_iter().for_each(|(id, header)| self.want(id, header));
                            remove.iter().for_each(|id| self.parts.wishlist.remove(id));
                        }
                        Ok(BlockHandlerRetrievalCommand::Stop) | Err(_) => return,
                    }
                }
                default(TICK) => {}
            }
            self.ask();
        }
    }

    fn want(&mut self, block_id: BlockId, header: Option<SecuredHeader>) {
        let header = header.or_else(|| self.parts.cache.read().header(&block_id).cloned());
        self.parts.wishlist.want(block_id, header);
    }

    fn ask(&mut self) {
        if self.parts.wishlist.is_empty() {
            return;
        }
        let now = Instant::now();
        let connected = self.parts.active_connections.get_peer_ids_connected();
        let cache = self.parts.cache.read();
        let announced_by = |peer: &PeerId, id: &BlockId| cache.known_by(peer, id) == Some(KnownBy::ToldUs);
        let questions = self.parts.wishlist.questions(now, &connected, announced_by);
        drop(cache);
        for question in questions {
            let message = BlockMessage::DataRequest {
                block_id: question.block_id,
                block_info: question.info.clone(),
            };
            if !self.send(&question.peer_id, message) {
                self.parts.wishlist.not_sent(&question, now);
            }
        }
    }

    fn send(&self, peer_id: &PeerId, message: BlockMessage) -> bool {
        let sent = self
            .parts
            .active_connections
            .send_to_peer(peer_id, &self.serializer, message.into(), true);
        if let Err(error) = &sent {
            debug!(peer = %peer_id, %error, "block message not sent");
        }
        sent.is_ok()
    }

    fn on_message(&mut self, peer_id: &PeerId, message: &[u8]) {
        match self.deserializer.deserialize::<DeserializeError>(message) {
            Ok(([], BlockMessage::Header(header))) => self.on_header(peer_id, &header),
            Ok(([], BlockMessage::DataRequest { block_id, block_info })) => {
                self.on_request(peer_id, block_id, block_info);
            }
            Ok(([], BlockMessage::DataResponse { block_id, block_info })) => {
                self.on_reply(peer_id, &block_id, block_info);
            }
            Ok((rest, _)) => warn!(peer = %peer_id, bytes = rest.len(), "block message ignored: bytes follow it"),
            Err(error) => warn!(peer = %peer_id, %error, "block message ignored"),
        }
    }

    /// A header that a peer announced.
    fn on_header(&mut self, peer_id: &PeerId, header: &SecuredHeader) {
        let is_new = !self.parts.cache.read().is_checked(&header.id);
        if self.take_header(peer_id, header) {
            self.parts
                .cache
                .write()
                .insert_known(peer_id, header.id, KnownBy::ToldUs);
            self.parts.wishlist.announced(&header.id, peer_id);
            if is_new {
                self.compare_clocks(header);
            }
        }
    }

    /// The time of a header that came for the first time is compared with its slot.
    fn compare_clocks(&self, header: &SecuredHeader) {
        if let Ok(begin) = begin_of(header.content.slot, &self.parts.config) {
            let (producer, now) = (&header.content_creator_address, MassaTime::now());
            self.parts.checks.lock().clock.header_came(producer, begin, now);
        }
    }

    /// Checks a header, unless that was done before, and hands it to consensus. False if it is not valid.
    fn take_header(&mut self, peer_id: &PeerId, header: &SecuredHeader) -> bool {
        let is_checked = self.parts.cache.read().is_checked(&header.id);
        if is_checked {
            self.parts.wishlist.header_checked(header);
            return true;
        }
        let selector = &*self.parts.selector;
        if let Err(error) = check_header(header, selector, &self.parts.config, MassaTime::now()) {
            let error = self.look_at_future(header, error);
            self.refuse_header(peer_id, header, error);
            return false;
        }
        self.parts.cache.write().insert_checked(header.clone());
        self.parts.wishlist.header_checked(header);
        self.parts.consensus.register_block_header(header.id, header.clone());
        true
    }

    /// A header of the future is refused; if it is genuine, it tells something of the clocks. Each is looked at once: its signature
    /// costs more than the refusal.
    fn look_at_future(&mut self, header: &SecuredHeader, error: HeaderError) -> HeaderError {
        let is_future = matches!(error, HeaderError::Future(_));
        if !is_future || self.future_headers.peek(&header.id).is_some() {
            return error;
        }
        self.future_headers.insert(header.id, ());
        match check_future_header(header, &*self.parts.selector) {
            Ok(()) => self.compare_clocks(header),
            Err(fault) if fault.proves_fault() => return fault,
            Err(_) => {}
        }
        error
    }

    fn refuse_header(&mut self, peer_id: &PeerId, header: &SecuredHeader, error: HeaderError) {
        debug!(peer = %peer_id, block_id = %header.id, %error, "header refused");
        self.parts.wishlist.refuse(&header.id, peer_id, Instant::now());
        if error.proves_fault() {
            self.ban(peer_id, "header with an invalid signature");
        }
    }

    fn ban(&self, peer_id: &PeerId, reason: &str) {
        warn!(peer = %peer_id, reason, "peer is banned");
        if let Err(error) = self
            .parts
            .peer_cmd_sender
            .try_send(PeerManagementCmd::Ban(vec![*peer_id]))
        {
            warn!(peer = %peer_id, %error, "peer not banned");
        }
    }

    fn on_request(&mut self, peer_id: &PeerId, block_id: BlockId, info: AskForBlockInfo) {
        let block_info = self.parts.source.answer(&block_id, info);
        self.send(peer_id, BlockMessage::DataResponse { block_id, block_info });
    }

    fn on_reply(&mut self, peer_id: &PeerId, block_id: &BlockId, reply: BlockInfoReply) {
        match self.parts.wishlist.on_reply(peer_id, block_id, reply, Instant::now()) {
            Reaction::None => {}
            Reaction::CheckHeader(header) => {
                self.take_header(peer_id, &header);
            }
            Reaction::Complete(header, storage) => {
                self.parts
                    .cache
                    .write()
                    .insert_known(peer_id, header.id, KnownBy::ToldUs);
                let slot = header.content.slot;
                self.parts.consensus.register_block(header.id, slot, storage, false);
            }
            Reaction::InvalidBlock(header, reason) => {
                warn!(block_id = %header.id, reason, "block is invalid");
                self.parts.consensus.mark_invalid_block(header.id, *header);
            }
            Reaction::PeerAtFault(reason) => {
                self.parts.wishlist.refuse(block_id, peer_id, Instant::now());
                self.ban(peer_id, reason);
            }
        }
    }
}
