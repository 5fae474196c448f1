//! Ids of peers.

use massa_hash::Hash;
use massa_serialization::{Deserializer, SerializeError, Serializer};
use massa_signature::{MassaSignatureError, PublicKey, PublicKeyDeserializer, Signature};
use nom::error::{ContextError, ParseError};
use nom::{IResult, Parser};
use serde_with::{DeserializeFromStr, SerializeDisplay};
use std::fmt;
use std::str::FromStr;

/// The public key with which a peer proves who it is; [`NodeId`](massa_models::node::NodeId) wraps the same key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, SerializeDisplay, DeserializeFromStr)]
pub struct PeerId {
    public_key: PublicKey,
}

impl PeerId {
    /// The id of the peer that has this key.
    pub fn from_public_key(public_key: PublicKey) -> PeerId {
        PeerId { public_key }
    }

    /// The key of the peer.
    pub fn get_public_key(&self) -> PublicKey {
        self.public_key
    }

    /// Checks that the peer signed `data`.
    ///
    /// # Errors
    /// When it did not.
    pub fn verify_signature(&self, data: &Hash, signature: &Signature) -> Result<(), MassaSignatureError> {
        self.public_key.verify_signature(data, signature)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.public_key.fmt(f)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PeerId {
    type Err = MassaSignatureError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        PublicKey::from_str(text).map(Self::from_public_key)
    }
}

/// Writes the 33 bytes of the key.
#[derive(Clone, Debug, Default)]
pub struct PeerIdSerializer;

impl PeerIdSerializer {
    /// A serializer.
    pub const fn new() -> Self {
        Self
    }
}

impl Serializer<PeerId> for PeerIdSerializer {
    fn serialize(&self, value: &PeerId, buffer: &mut Vec<u8>) -> Result<(), SerializeError> {
        buffer.extend(value.public_key.to_bytes());
        Ok(())
    }
}

/// Reads the 33 bytes of the key.
#[derive(Clone, Debug, Default)]
pub struct PeerIdDeserializer {
    public_key: PublicKeyDeserializer,
}

impl PeerIdDeserializer {
    /// A deserializer.
    pub fn new() -> Self {
        Self {
            public_key: PublicKeyDeserializer::new(),
        }
    }
}

impl Deserializer<PeerId> for PeerIdDeserializer {
    fn deserialize<'a, E: ParseError<&'a [u8]> + ContextError<&'a [u8]>>(
        &self,
        buffer: &'a [u8],
    ) -> IResult<&'a [u8], PeerId, E> {
        let parse = |input| self.public_key.deserialize(input);
        nom::error::context("Failed PeerId deserialization", parse)
            .map(PeerId::from_public_key)
            .parse(buffer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::node::NodeId;
    use massa_serialization::DeserializeError;
    use massa_signature::KeyPair;

    #[test]
    fn a_peer_id_is_read_back_from_text_and_bytes() {
        let key = KeyPair::generate(0).unwrap().get_public_key();
        let id = PeerId::from_public_key(key);
        assert_eq!(id.to_string().parse::<PeerId>().unwrap(), id);
        assert_eq!(NodeId::new(key).get_public_key(), id.get_public_key());

        let mut bytes = Vec::new();
        PeerIdSerializer::new().serialize(&id, &mut bytes).unwrap();
        assert_eq!(bytes.len(), 33);
        let (rest, read) = PeerIdDeserializer::new()
            .deserialize::<DeserializeError>(&bytes)
            .unwrap();
        assert_eq!((rest, read), (&[][..], id));
        for length in 0..bytes.len() {
            PeerIdDeserializer::new()
                .deserialize::<DeserializeError>(&bytes[..length])
                .unwrap_err();
        }
    }
}
