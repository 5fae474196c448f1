//! Messages about peers.
//!
//! type (varint u64) | peers; a peer is its id (33) | listeners, as [`listeners`](super::announcement) draws them

use super::announcement::{ListenersDeserializer, ListenersSerializer};
use massa_protocol_exports::{PeerId, PeerIdDeserializer, PeerIdSerializer, ProtocolConfig};
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::multi::length_count;
use nom::IResult;
use std::net::SocketAddr;
use std::ops::Bound::Included;

/// A peer and where it listens.
pub type PeerListeners = (PeerId, Vec<SocketAddr>);

/// A message about peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerManagementMessage {
    /// A peer connected to the sender.
    NewPeerConnected(PeerListeners),
    /// Peers that the sender knows.
    ListPeers(Vec<PeerListeners>),
}

/// Inner types of messages.
mod type_id {
    pub(super) const NEW_PEER_CONNECTED: u64 = 0;
    pub(super) const LIST_PEERS: u64 = 1;
}

/// Writes messages about peers.
#[derive(Clone, Default)]
pub struct PeerManagementMessageSerializer {
    id: U64VarIntSerializer,
    count: U64VarIntSerializer,
    peer_id: PeerIdSerializer,
    listeners: ListenersSerializer,
}

impl PeerManagementMessageSerializer {
    /// A serializer.
    pub fn new() -> Self {
        Self::default()
    }

    fn peer(&self, (peer_id, listeners): &PeerListeners, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.peer_id.serialize(peer_id, buffer)?;
        self.listeners.serialize(listeners, buffer)
    }
}

impl Serializer<PeerManagementMessage> for PeerManagementMessageSerializer {
    fn serialize(&self, value: &PeerManagementMessage, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        match value {
            PeerManagementMessage::NewPeerConnected(peer) => {
                self.id.serialize(&type_id::NEW_PEER_CONNECTED, buffer)?;
                self.peer(peer, buffer)
            }
            PeerManagementMessage::ListPeers(peers) => {
                self.id.serialize(&type_id::LIST_PEERS, buffer)?;
                self.count.serialize(&(peers.len() as u64), buffer)?;
                peers.iter().try_for_each(|peer| self.peer(peer, buffer))
            }
        }
    }
}

/// Limits of [`PeerManagementMessageDeserializer`].
#[derive(Clone, Copy, Debug)]
pub struct PeerManagementMessageDeserializerArgs {
    /// Listeners of a peer at most.
    pub max_listeners_per_peer: u64,
    /// Peers in a message at most.
    pub max_peers_per_announcement: u64,
}

impl From<&ProtocolConfig> for PeerManagementMessageDeserializerArgs {
    fn from(config: &ProtocolConfig) -> Self {
        Self {
            max_listeners_per_peer: config.max_size_listeners_per_peer,
            max_peers_per_announcement: config.max_size_peers_announcement,
        }
    }
}

/// Reads messages about peers.
pub struct PeerManagementMessageDeserializer {
    id: U64VarIntDeserializer,
    count: U64VarIntDeserializer,
    peer_id: PeerIdDeserializer,
    listeners: ListenersDeserializer,
}

impl PeerManagementMessageDeserializer {
    /// A deserializer with these limits.
    pub fn new(args: PeerManagementMessageDeserializerArgs) -> Self {
        Self {
            id: U64VarIntDeserializer::new(Included(0), Included(u64::MAX)),
            count: U64VarIntDeserializer::new(Included(0), Included(args.max_peers_per_announcement)),
            peer_id: PeerIdDeserializer::new(),
            listeners: ListenersDeserializer::new(args.max_listeners_per_peer),
        }
    }

    fn peer<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], PeerListeners, E> {
        let (rest, peer_id) = self.peer_id.deserialize(input)?;
        let (rest, listeners) = self.listeners.deserialize(rest)?;
        Ok((rest, (peer_id, listeners)))
    }
}

impl Deserializer<PeerManagementMessage> for PeerManagementMessageDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], PeerManagementMessage, E> {
        context("Failed PeerManagementMessage deserialization", |input: &'a [u8]| {
            let (rest, id) = self.id.deserialize(input)?;
            match id {
                type_id::NEW_PEER_CONNECTED => {
                    let (rest, peer) = self.peer(rest)?;
                    Ok((rest, PeerManagementMessage::NewPeerConnected(peer)))
                }
                type_id::LIST_PEERS => {
                    let count = |input| self.count.deserialize(input);
                    let (rest, peers) = length_count(count, |input| self.peer(input))(rest)?;
                    Ok((rest, PeerManagementMessage::ListPeers(peers)))
                }
                _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Tag))),
            }
        })(buffer)
    }
}
