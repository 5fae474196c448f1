//! Where a peer says it listens.
//!
//! ```text
//! listeners:    count (varint u64) | per listener: 4 or 6 | ip (4 or 16) | port (u16, big-endian) | transport (u8)
//! announcement: listeners | timestamp (u64, big-endian, ms) | signature (65) of blake3(listeners | timestamp)
//! ```
//! Transport 0 is TCP, 1 is QUIC. Listeners of QUIC are read and left out: this node does not speak it.

use massa_hash::Hash;
use massa_models::error::ModelsError;
use massa_protocol_exports::PeerId;
use massa_serialization::{Deserializer, SerializeError, Serializer, U64VarIntDeserializer, U64VarIntSerializer};
use massa_signature::{KeyPair, Signature, SignatureDeserializer};
use nom::bytes::complete::take;
use nom::error::{context, ContextError, ErrorKind, ParseError};
use nom::multi::length_count;
use nom::number::complete::{be_u16, be_u64, u8};
use nom::IResult;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::Bound::Included;

const IP_V4: u8 = 4;
const IP_V6: u8 = 6;
const TRANSPORT_TCP: u8 = 0;
const TRANSPORT_QUIC: u8 = 1;

/// Writes listeners, all of TCP.
#[derive(Clone, Default)]
pub struct ListenersSerializer {
    count: U64VarIntSerializer,
}

impl Serializer<Vec<SocketAddr>> for ListenersSerializer {
    fn serialize(&self, value: &Vec<SocketAddr>, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        self.count.serialize(&(value.len() as u64), buffer)?;
        for listener in value {
            match listener.ip() {
                IpAddr::V4(ip) => {
                    buffer.push(IP_V4);
                    buffer.extend(ip.octets());
                }
                IpAddr::V6(ip) => {
                    buffer.push(IP_V6);
                    buffer.extend(ip.octets());
                }
            }
            buffer.extend(listener.port().to_be_bytes());
            buffer.push(TRANSPORT_TCP);
        }
        Ok(())
    }
}

/// Reads listeners; gives those of TCP.
pub struct ListenersDeserializer {
    count: U64VarIntDeserializer,
}

impl ListenersDeserializer {
    /// A deserializer of at most `max_listeners`.
    pub fn new(max_listeners: u64) -> Self {
        Self {
            count: U64VarIntDeserializer::new(Included(0), Included(max_listeners)),
        }
    }
}

impl Deserializer<Vec<SocketAddr>> for ListenersDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Vec<SocketAddr>, E> {
        context("Failed listeners deserialization", |input: &'a [u8]| {
            let (rest, listeners) = length_count(|input| self.count.deserialize(input), listener)(input)?;
            Ok((rest, listeners.into_iter().flatten().collect()))
        })(buffer)
    }
}

/// One listener; none if it is not of TCP.
fn listener<'a, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> IResult<&'a [u8], Option<SocketAddr>, E> {
    let refuse = |at: &'a [u8]| nom::Err::Error(E::from_error_kind(at, ErrorKind::Switch));
    let (rest, family) = u8(input)?;
    let (rest, ip) = match family {
        IP_V4 => ip_octets::<4, E>(rest).map(|(rest, octets)| (rest, IpAddr::V4(Ipv4Addr::from(octets))))?,
        IP_V6 => ip_octets::<16, E>(rest).map(|(rest, octets)| (rest, IpAddr::V6(Ipv6Addr::from(octets))))?,
        _ => return Err(refuse(input)),
    };
    let (at_transport, port) = be_u16(rest)?;
    match u8(at_transport)? {
        (rest, TRANSPORT_TCP) => Ok((rest, Some(SocketAddr::new(ip, port)))),
        (rest, TRANSPORT_QUIC) => Ok((rest, None)),
        _ => Err(refuse(at_transport)),
    }
}

fn ip_octets<'a, const N: usize, E: ParseError<&'a [u8]>>(input: &'a [u8]) -> IResult<&'a [u8], [u8; N], E> {
    let (rest, octets) = take(N)(input)?;
    Ok((rest, octets.try_into().expect("take gives N bytes")))
}

/// Where a peer listens, signed by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announcement {
    /// Addresses.
    pub listeners: Vec<SocketAddr>,
    /// When it was made, in milliseconds since 1970.
    pub timestamp: u64,
    /// Hash of listeners and timestamp as they were received.
    hash: Hash,
    /// Signature of the hash.
    signature: Signature,
}

impl Announcement {
    /// Signs `listeners`.
    ///
    /// # Errors
    /// [`ModelsError`]: the key cannot sign.
    pub fn new(listeners: Vec<SocketAddr>, timestamp: u64, keypair: &KeyPair) -> Result<Self, ModelsError> {
        let hash = Hash::compute_from(&signed_bytes(&listeners, timestamp)?);
        Ok(Self {
            listeners,
            timestamp,
            hash,
            signature: keypair.sign(&hash)?,
        })
    }

    /// Whether `peer_id` signed it.
    pub fn is_signed_by(&self, peer_id: &PeerId) -> bool {
        peer_id.verify_signature(&self.hash, &self.signature).is_ok()
    }
}

fn signed_bytes(listeners: &Vec<SocketAddr>, timestamp: u64) -> Result<Vec<u8>, SerializeError> {
    let mut bytes = Vec::new();
    ListenersSerializer::default().serialize(listeners, &mut bytes)?;
    bytes.extend(timestamp.to_be_bytes());
    Ok(bytes)
}

/// Writes announcements.
#[derive(Clone, Default)]
pub struct AnnouncementSerializer;

impl Serializer<Announcement> for AnnouncementSerializer {
    fn serialize(&self, value: &Announcement, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        buffer.extend(signed_bytes(&value.listeners, value.timestamp)?);
        buffer.extend(value.signature.to_bytes());
        Ok(())
    }
}

/// Reads announcements, without checking the signature.
pub struct AnnouncementDeserializer {
    listeners: ListenersDeserializer,
    signature: SignatureDeserializer,
}

impl AnnouncementDeserializer {
    /// A deserializer of at most `max_listeners`.
    pub fn new(max_listeners: u64) -> Self {
        Self {
            listeners: ListenersDeserializer::new(max_listeners),
            signature: SignatureDeserializer::new(),
        }
    }
}

impl Deserializer<Announcement> for AnnouncementDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], Announcement, E> {
        context("Failed Announcement deserialization", |input: &'a [u8]| {
            let (rest, listeners) = self.listeners.deserialize(input)?;
            let (after_signed, timestamp) = be_u64(rest)?;
            let signed = &input[..input.len() - after_signed.len()];
            let (rest, signature) = self.signature.deserialize(after_signed)?;
            let announcement = Announcement {
                listeners,
                timestamp,
                hash: Hash::compute_from(signed),
                signature,
            };
            Ok((rest, announcement))
        })(buffer)
    }
}
