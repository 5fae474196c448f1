//! Messages about peers.
//!
//! ```text
//! 0 new peer   peer
//! 1 peers      count (varint u64) | per peer: peer
//! 2 report     time (u64, big-endian, ms since 1970) | 0, or 1 | slot (period u64, big-endian | thread u8) | state hash (32)
//! 3 prove id   nonce (32)
//! 4 id proof   nonce (32) | signature (65) of it | the signer's own nonce (32)
//!
//! peer: peer id (33) | listeners, as [`listeners`](super::announcement) draws them
//! ```
//! Each begins with its type (varint u64). Types 2 to 4 are this project's; they go only to peers that said in the handshake that they
//! know them.

use super::announcement::{ListenersDeserializer, ListenersSerializer};
use crate::checks::identity::{IdProof, Nonce};
use massa_hash::HASH_SIZE_BYTES;
use massa_models::slot::{Slot, SLOT_KEY_SIZE};
use massa_protocol_exports::{PeerId, PeerIdDeserializer, PeerIdSerializer, ProtocolConfig};
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use massa_signature::SignatureDeserializer;
use massa_time::MassaTime;
use nom::bytes::complete::take;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::multi::length_count;
use nom::number::complete::{be_u64, u8};
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
    /// What the sender's clock and final state are.
    Report(Report),
    /// The receiver is to sign a nonce.
    ProveId(Nonce),
    /// Somebody signed a nonce.
    IdProof(IdProof),
}

/// What nodes tell each other now and then, so that each can compare itself with the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// The sender's clock.
    pub time: MassaTime,
    /// The hash of its final state after the newest slot that all compare at.
    pub state: Option<(Slot, [u8; HASH_SIZE_BYTES])>,
}

/// Inner types of messages.
mod type_id {
    pub(super) const NEW_PEER_CONNECTED: u64 = 0;
    pub(super) const LIST_PEERS: u64 = 1;
    pub(super) const REPORT: u64 = 2;
    pub(super) const PROVE_ID: u64 = 3;
    pub(super) const ID_PROOF: u64 = 4;
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
            PeerManagementMessage::Report(report) => {
                self.id.serialize(&type_id::REPORT, buffer)?;
                write_report(report, buffer);
                Ok(())
            }
            PeerManagementMessage::ProveId(nonce) => {
                self.id.serialize(&type_id::PROVE_ID, buffer)?;
                buffer.extend(nonce.to_bytes());
                Ok(())
            }
            PeerManagementMessage::IdProof(proof) => {
                self.id.serialize(&type_id::ID_PROOF, buffer)?;
                buffer.extend(proof.nonce.to_bytes());
                buffer.extend(proof.signature.to_bytes());
                buffer.extend(proof.signer.to_bytes());
                Ok(())
            }
        }
    }
}

fn write_report(report: &Report, buffer: &mut Vec<u8>) {
    buffer.extend(report.time.as_millis().to_be_bytes());
    buffer.push(u8::from(report.state.is_some()));
    if let Some((slot, hash)) = &report.state {
        buffer.extend(slot.to_bytes_key());
        buffer.extend(hash);
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
    signature: SignatureDeserializer,
}

impl PeerManagementMessageDeserializer {
    /// A deserializer with these limits.
    pub fn new(args: PeerManagementMessageDeserializerArgs) -> Self {
        Self {
            id: U64VarIntDeserializer::new(Included(0), Included(u64::MAX)),
            count: U64VarIntDeserializer::new(Included(0), Included(args.max_peers_per_announcement)),
            peer_id: PeerIdDeserializer::new(),
            listeners: ListenersDeserializer::new(args.max_listeners_per_peer),
            signature: SignatureDeserializer::new(),
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

    fn id_proof<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        input: &'a [u8],
    ) -> IResult<&'a [u8], IdProof, E> {
        let (rest, nonce) = nonce(input)?;
        let (rest, signature) = self.signature.deserialize(rest)?;
        let (rest, signer) = self::nonce(rest)?;
        let proof = IdProof {
            nonce,
            signature,
            signer,
        };
        Ok((rest, proof))
    }
}

/// Exactly `N` bytes.
fn array<'a, const N: usize, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> IResult<&'a [u8], [u8; N], E> {
    let (rest, bytes) = take(N)(input)?;
    Ok((rest, bytes.try_into().expect("take gives N bytes")))
}

fn nonce<'a, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> IResult<&'a [u8], Nonce, E> {
    let (rest, bytes) = array(input)?;
    Ok((rest, Nonce::from_bytes(bytes)))
}

fn report<'a, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> IResult<&'a [u8], Report, E> {
    let (at_state, time) = be_u64(input)?;
    let time = MassaTime::from_millis(time);
    let (rest, state) = match u8(at_state)? {
        (rest, 0) => (rest, None),
        (rest, 1) => {
            let (rest, slot) = array::<SLOT_KEY_SIZE, E>(rest)?;
            let (rest, hash) = array(rest)?;
            (rest, Some((Slot::from_bytes_key(&slot), hash)))
        }
        _ => return Err(nom::Err::Error(E::from_error_kind(at_state, ErrorKind::Switch))),
    };
    Ok((rest, Report { time, state }))
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
                type_id::REPORT => report(rest).map(|(rest, report)| (rest, PeerManagementMessage::Report(report))),
                type_id::PROVE_ID => nonce(rest).map(|(rest, nonce)| (rest, PeerManagementMessage::ProveId(nonce))),
                type_id::ID_PROOF => {
                    let (rest, proof) = self.id_proof(rest)?;
                    Ok((rest, PeerManagementMessage::IdProof(proof)))
                }
                _ => Err(nom::Err::Error(E::from_error_kind(input, ErrorKind::Tag))),
            }
        })(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_serialization::DeserializeError;
    use massa_signature::KeyPair;

    fn messages() -> Vec<PeerManagementMessage> {
        let report = |state| {
            PeerManagementMessage::Report(Report {
                time: MassaTime::from_millis(0x0102_0304_0506_0708),
                state,
            })
        };
        let nonces = [1, 2].map(|byte| Nonce::from_bytes([byte; Nonce::SIZE_BYTES]));
        let proof = IdProof::new(nonces[0], nonces[1], &KeyPair::generate(0).unwrap()).unwrap();
        vec![
            report(None),
            report(Some((Slot::new(8, 31), [7; 32]))),
            PeerManagementMessage::ProveId(nonces[0]),
            PeerManagementMessage::IdProof(proof),
        ]
    }

    fn bytes(message: &PeerManagementMessage) -> Vec<u8> {
        let mut bytes = Vec::new();
        PeerManagementMessageSerializer::new()
            .serialize(message, &mut bytes)
            .unwrap();
        bytes
    }

    fn read(bytes: &[u8]) -> Option<PeerManagementMessage> {
        let deserializer = PeerManagementMessageDeserializer::new(PeerManagementMessageDeserializerArgs {
            max_listeners_per_peer: 4,
            max_peers_per_announcement: 4,
        });
        let (rest, message) = deserializer.deserialize::<DeserializeError>(bytes).ok()?;
        assert_eq!(rest, []);
        Some(message)
    }

    #[test]
    fn messages_that_compare_nodes_are_read_back_and_cut_anywhere_they_are_none() {
        for (message, length) in messages().into_iter().zip([10, 51, 33, 130]) {
            let bytes = bytes(&message);
            assert_eq!(bytes.len(), length, "{message:?}");
            for cut in 0..bytes.len() {
                assert_eq!(read(&bytes[..cut]), None, "{message:?} cut at {cut}");
            }
            assert_eq!(read(&bytes), Some(message));
        }
    }

    #[test]
    fn the_bytes_of_a_report_are_frozen() {
        let [_, with_state, ..] = &messages()[..] else {
            panic!("there are four");
        };
        let expected = [
            &[2, 1, 2, 3, 4, 5, 6, 7, 8, 1][..],
            &[0, 0, 0, 0, 0, 0, 0, 8, 31],
            &[7; 32],
        ];
        assert_eq!(bytes(with_state), expected.concat());
        let mut wrong = bytes(with_state);
        wrong[9] = 2;
        assert_eq!(read(&wrong), None);
    }
}
