//! Messages between peers: which handler gets what.
//!
//! One message is one frame of the transport: type (varint u64) | message. Type 1, endorsements, is read and ignored:
//! this network has none. An unknown type ends the connection, as upstream; so a type that older peers do not know may
//! only be sent to peers that said in the handshake that they know it.

use crate::handlers::block_handler::{BlockMessage, BlockMessageSerializer};
use crate::handlers::operation_handler::{OperationMessage, OperationMessageSerializer};
use crate::handlers::peer_handler::{PeerManagementMessage, PeerManagementMessageSerializer};
use crate::handlers::storage_handler::messages::{StorageMessage, StorageMessageSerializer};
use massa_channel::sender::MassaSender;
use massa_protocol_exports::{PeerId, ProtocolError};
use massa_serialization::{
    DeserializeError, Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer,
};
use std::ops::Bound::Included;
use tracing::debug;

/// Who sent a message, and the message without its outer type.
pub type PeerMessageTuple = (PeerId, Vec<u8>);

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
            MessageTypeId::Block => self
                .sender_blocks
                .send(message)
                .map_err(|_| ProtocolError::HandlerError("the block handler has stopped".into()))?,
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
    if let Err(error) = sender.try_send(message) {
        let (peer, _) = match &error {
            crossbeam_channel::TrySendError::Full(message) | crossbeam_channel::TrySendError::Disconnected(message) => {
                message
            }
        };
        debug!(%peer, message_type = ?id, "message dropped: the handler does not keep up");
    }
}
