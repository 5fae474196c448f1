//! Messages between peers: which handler gets what.
//!
//! One message is one frame of the transport: type (varint u64) | message. Type 1, endorsements, is read and ignored:
//! this network has none. An unknown type ends the connection, as upstream; so a type that older peers do not know may
//! only be sent to peers that said in the handshake that they know it.

use crate::handlers::block_handler::{BlockMessage, BlockMessageSerializer};
use crate::handlers::operation_handler::{OperationMessage, OperationMessageSerializer};
use crate::handlers::peer_handler::{
    PeerManagementMessage, PeerManagementMessageDeserializer, PeerManagementMessageSerializer,
};
use crate::handlers::storage_handler::messages::{StorageMessage, StorageMessageSerializer};
use massa_channel::sender::MassaSender;
use massa_protocol_exports::{PeerId, ProtocolError};
use massa_serialization::{
    DeserializeError, Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer,
};
use std::ops::Bound::Included;
use std::time::{Duration, Instant};
use tracing::debug;

/// Who sent a message, and the message without its outer type.
pub type PeerMessageTuple = (PeerId, Vec<u8>);

/// A message has room in a handler's channel if that many of its size would take at most so many bytes. Since the n-th
/// message of a channel then has at most 1/n of this, a channel of 10 000 messages holds less than ten times as much,
/// whatever its peers send; and with it 10 000 messages of 3 kB, more than a header takes, still fit.
const CHANNEL_BYTES: usize = 32 << 20;
/// How often it is looked whether the block handler has room again.
const ROOM_INTERVAL: Duration = Duration::from_millis(5);
/// How long a block message waits for room. A handler that needs longer does not work any more.
const ROOM_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether a message has room where so many wait.
fn has_room(waiting: usize, bytes: usize) -> bool {
    waiting.saturating_mul(bytes) <= CHANNEL_BYTES
}

/// A message to a peer.
#[derive(Clone, Debug)]
pub enum Message {
    /// About blocks.
    Block(Box<BlockMessage>),
    /// About operations.
    Operation(OperationMessage),
    /// About peers.
    PeerManagement(Box<PeerManagementMessage>),
    /// About the archive; only for peers that speak storage.
    Storage(Box<StorageMessage>),
}

/// The outer type of a message.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageTypeId {
    /// [`Message::Block`].
    Block = 0,
    /// Ignored: this network has no endorsements.
    Endorsement = 1,
    /// [`Message::Operation`].
    Operation = 2,
    /// [`Message::PeerManagement`].
    PeerManagement = 3,
    /// [`Message::Storage`].
    Storage = 4,
}

impl From<&Message> for MessageTypeId {
    fn from(message: &Message) -> Self {
        match message {
            Message::Block(_) => Self::Block,
            Message::Operation(_) => Self::Operation,
            Message::PeerManagement(_) => Self::PeerManagement,
            Message::Storage(_) => Self::Storage,
        }
    }
}

impl TryFrom<u64> for MessageTypeId {
    type Error = u64;

    fn try_from(id: u64) -> Result<Self, u64> {
        match id {
            0 => Ok(Self::Block),
            1 => Ok(Self::Endorsement),
            2 => Ok(Self::Operation),
            3 => Ok(Self::PeerManagement),
            4 => Ok(Self::Storage),
            unknown => Err(unknown),
        }
    }
}

impl From<BlockMessage> for Message {
    fn from(message: BlockMessage) -> Self {
        Self::Block(Box::new(message))
    }
}

impl From<OperationMessage> for Message {
    fn from(message: OperationMessage) -> Self {
        Self::Operation(message)
    }
}

impl From<PeerManagementMessage> for Message {
    fn from(message: PeerManagementMessage) -> Self {
        Self::PeerManagement(Box::new(message))
    }
}

impl From<StorageMessage> for Message {
    fn from(message: StorageMessage) -> Self {
        Self::Storage(Box::new(message))
    }
}

/// Writes messages. A handler enables the types that it sends.
#[derive(Clone, Default)]
pub struct MessagesSerializer {
    id_serializer: U64VarIntSerializer,
    block_message_serializer: Option<BlockMessageSerializer>,
    operation_message_serializer: Option<OperationMessageSerializer>,
    peer_management_message_serializer: Option<PeerManagementMessageSerializer>,
    storage_message_serializer: Option<StorageMessageSerializer>,
}

impl MessagesSerializer {
    /// A serializer of no type.
    pub fn new() -> Self {
        Self::default()
    }

    /// Enables messages about blocks.
    pub fn with_block_message_serializer(mut self, serializer: BlockMessageSerializer) -> Self {
        self.block_message_serializer = Some(serializer);
        self
    }

    /// Enables messages about operations.
    pub fn with_operation_message_serializer(mut self, serializer: OperationMessageSerializer) -> Self {
        self.operation_message_serializer = Some(serializer);
        self
    }

    /// Enables messages about peers.
    pub fn with_peer_management_message_serializer(mut self, serializer: PeerManagementMessageSerializer) -> Self {
        self.peer_management_message_serializer = Some(serializer);
        self
    }

    /// Enables messages about the archive.
    pub fn with_storage_message_serializer(mut self, serializer: StorageMessageSerializer) -> Self {
        self.storage_message_serializer = Some(serializer);
        self
    }
}

impl Serializer<Message> for MessagesSerializer {
    fn serialize(&self, value: &Message, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.id_serializer
            .serialize(&(MessageTypeId::from(value) as u64), buffer)?;
        match value {
            Message::Block(message) => write(self.block_message_serializer.as_ref(), &**message, buffer),
            Message::Operation(message) => write(self.operation_message_serializer.as_ref(), message, buffer),
            Message::PeerManagement(message) => {
                write(self.peer_management_message_serializer.as_ref(), &**message, buffer)
            }
            Message::Storage(message) => write(self.storage_message_serializer.as_ref(), &**message, buffer),
        }
    }
}

fn write<T>(serializer: Option<&impl Serializer<T>>, value: &T, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
    let disabled = || SerializeError::GeneralError("messages of this type are not enabled".into());
    serializer.ok_or_else(disabled)?.serialize(value, buffer)
}

/// The message about peers in a frame; none if it is of another type, or malformed.
pub(crate) fn read_peer_message(
    frame: &[u8],
    deserializer: &PeerManagementMessageDeserializer,
) -> Option<PeerManagementMessage> {
    let id = U64VarIntDeserializer::new(Included(0), Included(u64::MAX));
    let (message, id) = id.deserialize::<DeserializeError>(frame).ok()?;
    if id != MessageTypeId::PeerManagement as u64 {
        return None;
    }
    match deserializer.deserialize::<DeserializeError>(message) {
        Ok(([], message)) => Some(message),
        _ => None,
    }
}

/// Hands what peers send to the handlers. Runs on the reader thread of each connection.
#[derive(Clone)]
pub struct MessagesHandler {
    id_deserializer: U64VarIntDeserializer,
    /// To the block handler.
    pub sender_blocks: MassaSender<PeerMessageTuple>,
    /// To the operation handler.
    pub sender_operations: MassaSender<PeerMessageTuple>,
    /// To the peer handler.
    pub sender_peers: MassaSender<PeerMessageTuple>,
    /// To the storage handler; none where this node does not speak storage.
    pub sender_storage: Option<MassaSender<PeerMessageTuple>>,
}

impl MessagesHandler {
    /// A handler that hands over to these channels.
    pub fn new(
        sender_blocks: MassaSender<PeerMessageTuple>,
        sender_operations: MassaSender<PeerMessageTuple>,
        sender_peers: MassaSender<PeerMessageTuple>,
        sender_storage: Option<MassaSender<PeerMessageTuple>>,
    ) -> Self {
        Self {
            id_deserializer: U64VarIntDeserializer::new(Included(0), Included(u64::MAX)),
            sender_blocks,
            sender_operations,
            sender_peers,
            sender_storage,
        }
    }

    fn wait_for_block_handler(&self, message: PeerMessageTuple) -> Result<(), ProtocolError> {
        let deadline = Instant::now() + ROOM_TIMEOUT;
        while !has_room(self.sender_blocks.len(), message.1.len()) && Instant::now() < deadline {
            std::thread::sleep(ROOM_INTERVAL);
        }
        self.sender_blocks
            .send_deadline(message, deadline)
            .map_err(|error| ProtocolError::HandlerError(format!("the block handler takes nothing: {error}")))
    }

    /// Hands over one message.
    ///
    /// Waits for the block handler, which slows down a peer that sends too many blocks; the other handlers lose what
    /// they have no room for, so that their traffic never delays blocks.
    ///
    /// # Errors
    /// [`ProtocolError::HandlerError`]: the type is unknown or malformed, or the node is stopping. The connection is to
    /// be ended.
    pub fn handle(&self, data: &[u8], peer_id: &PeerId) -> Result<(), ProtocolError> {
        let (payload, id) = self
            .id_deserializer
            .deserialize::<DeserializeError>(data)
            .map_err(|error| ProtocolError::HandlerError(format!("message type: {error}")))?;
        let id = MessageTypeId::try_from(id)
            .map_err(|id| ProtocolError::HandlerError(format!("unknown message type {id}")))?;
        let message = (*peer_id, payload.to_vec());
        match id {
            MessageTypeId::Block => self.wait_for_block_handler(message)?,
            MessageTypeId::Endorsement => {}
            MessageTypeId::Operation => offer(&self.sender_operations, message, id),
            MessageTypeId::PeerManagement => offer(&self.sender_peers, message, id),
            MessageTypeId::Storage => {
                if let Some(sender) = &self.sender_storage {
                    offer(sender, message, id);
                }
            }
        }
        Ok(())
    }
}

fn offer(sender: &MassaSender<PeerMessageTuple>, message: PeerMessageTuple, id: MessageTypeId) {
    let peer_id = message.0;
    if !has_room(sender.len(), message.1.len()) || sender.try_send(message).is_err() {
        debug!(peer = %peer_id, message_type = ?id, "message dropped: the handler does not keep up");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_channel::receiver::MassaReceiver;
    use massa_channel::MassaChannel;
    use massa_signature::KeyPair;

    type Ends = (MassaSender<PeerMessageTuple>, MassaReceiver<PeerMessageTuple>);

    fn channel(size: usize) -> Ends {
        MassaChannel::new("messages_test".into(), Some(size))
    }

    fn peer() -> PeerId {
        PeerId::from_public_key(KeyPair::generate(0).unwrap().get_public_key())
    }

    #[test]
    fn each_type_goes_to_its_handler_without_its_type() {
        let [blocks, operations, peers, storage]: [Ends; 4] = std::array::from_fn(|_| channel(10));
        let handler = MessagesHandler::new(blocks.0, operations.0, peers.0, Some(storage.0));
        let peer_id = peer();
        for message_type in 0..5 {
            handler.handle(&[message_type, 100 + message_type], &peer_id).unwrap();
        }
        assert_eq!(blocks.1.try_recv().unwrap(), (peer_id, vec![100]));
        assert_eq!(operations.1.try_recv().unwrap(), (peer_id, vec![102]));
        assert_eq!(peers.1.try_recv().unwrap(), (peer_id, vec![103]));
        assert_eq!(storage.1.try_recv().unwrap(), (peer_id, vec![104]));
        assert!([blocks.1, operations.1, peers.1, storage.1]
            .iter()
            .all(|end| end.is_empty()));
    }

    #[test]
    fn an_unknown_or_malformed_type_is_an_error() {
        let handler = MessagesHandler::new(channel(1).0, channel(1).0, channel(1).0, None);
        for message in [&[5][..], &[0xff, 0x01], &[], &[0x80]] {
            assert!(handler.handle(message, &peer()).is_err(), "{message:?}");
        }
    }

    #[test]
    fn what_a_busy_handler_has_no_room_for_is_dropped_except_blocks() {
        let (operations, _end) = channel(1);
        let handler = MessagesHandler::new(channel(1).0, operations, channel(1).0, None);
        handler.handle(&[2, 1], &peer()).unwrap();
        handler.handle(&[2, 2], &peer()).unwrap();
        // The other end of the block channel is gone: that is the only thing that makes it fail at once.
        assert!(handler.handle(&[0, 1], &peer()).is_err());
    }

    #[test]
    fn a_channel_does_not_hold_many_large_messages() {
        let (sender, receiver) = channel(10_000);
        let message = || (peer(), vec![0; 8 << 20]);
        for _ in 0..20 {
            offer(&sender, message(), MessageTypeId::Storage);
        }
        assert_eq!(receiver.len(), 5);
        assert!(has_room(9_999, 3_000));
    }
}
