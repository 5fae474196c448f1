//! Who the other side of a channel is.
//!
//! Three frames each way, inside the encrypted channel; both sides send each without waiting for the other's:
//!
//! ```text
//! 1: peer id (33) | version | 0 | announcement | capabilities
//!    peer id (33) | version | 1 | list of peers (as ListPeers, without type)   "no slot for you, try these"
//! 2: random (32)
//! 3: signature (65) of blake3(the other side's random | channel hash)
//!
//! capabilities: "MCAP" | version of this part (u8) = 1 | flags (u8): bit 0 = storage, bit 1 = checks | nonce (32) if checks
//! ```
//! What follows the announcement is this project's extension; older nodes ignore it. Absent or unknown bytes mean no
//! capability, and more bytes after these are ignored. *Checks* are the messages with which nodes compare themselves with each
//! other; the nonce tells one process with a key from another ([`identity`](crate::checks::identity)).
//!
//! The channel hash is in the third signature because the channel's own keys prove nothing: without it, somebody in the
//! middle could open one channel to each of two nodes, hand their random bytes and signatures across, and read and
//! change everything that follows. The two channels have different hashes, so a signature made in one is worth nothing
//! in the other.

use super::announcement::{Announcement, AnnouncementDeserializer, AnnouncementSerializer};
use super::messages::{PeerListeners, PeerManagementMessage, PeerManagementMessageDeserializer};
use super::messages::{PeerManagementMessageDeserializerArgs, PeerManagementMessageSerializer};
use crate::checks::identity::Nonce;
use crate::checks::SharedChecks;
use crate::transport::{Channel, ChannelHash, FrameError};
use massa_hash::Hash;
use massa_models::error::ModelsError;
use massa_models::version::{Version, VersionDeserializer, VersionSerializer};
use massa_protocol_exports::{PeerId, PeerIdDeserializer, PeerIdSerializer, ProtocolConfig};
use massa_serialization::{DeserializeError, Deserializer, SerializeError, Serializer};
use massa_signature::{KeyPair, MassaSignatureError, SignatureDeserializer};
use massa_time::MassaTime;
use rand::{rngs::OsRng, RngCore};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const CODE_WELCOME: u8 = 0;
const CODE_NO_SLOT: u8 = 1;
const CAPABILITY_MAGIC: [u8; 4] = *b"MCAP";
const CAPABILITY_VERSION: u8 = 1;
const FLAG_STORAGE: u8 = 1;
const FLAG_CHECKS: u8 = 2;
const RANDOM_BYTES: usize = 32;

/// Why a connection did not come about.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The channel failed: another network, another protocol, too slow, or closed.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame of the handshake is not well formed.
    #[error("{0} is malformed")]
    Malformed(&'static str),
    /// This node reached itself.
    #[error("the peer has this node's own id")]
    OwnId,
    /// Another process has this node's key: it proved that.
    #[error("the peer is another process with this node's own key")]
    OwnIdElsewhere,
    /// Somebody else answers at this address.
    #[error("the peer is {found}, expected {expected}")]
    OtherPeer {
        /// Who was dialed.
        expected: Box<PeerId>,
        /// Who answered.
        found: Box<PeerId>,
    },
    /// The peer's software does not fit this node's.
    #[error("version {found} is not compatible with {own}")]
    Version {
        /// This node's.
        own: Version,
        /// The peer's.
        found: Version,
    },
    /// The peer's list of listeners is not signed by it.
    #[error("the announcement is not signed by the peer")]
    AnnouncementSignature,
    /// The peer does not have the key of its id, or somebody relays the handshake of another.
    #[error("the peer did not prove its id")]
    Signature,
    /// The peer takes no more connections; it names others.
    #[error("the peer has no slot")]
    NoSlot(Vec<PeerListeners>),
    /// This node does not want the connection.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// This node could not make its own part.
    #[error("could not make a frame: {0}")]
    Own(#[from] ModelsError),
}

impl From<SerializeError> for HandshakeError {
    fn from(error: SerializeError) -> Self {
        Self::Own(error.into())
    }
}

impl From<MassaSignatureError> for HandshakeError {
    fn from(error: MassaSignatureError) -> Self {
        Self::Own(error.into())
    }
}

/// What a peer said of itself, proven to come from it.
#[derive(Clone, Debug)]
pub struct Introduction {
    /// Who it is.
    pub peer_id: PeerId,
    /// Where it listens.
    pub announcement: Announcement,
    /// When the announcement, which has the peer's time, was received by this node's clock.
    pub received_at: MassaTime,
    /// What it said that it can do.
    pub capabilities: Capabilities,
}

/// What a peer can do besides what all can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it understands storage messages.
    pub speaks_storage: bool,
    /// A nonce of its process, if it understands the messages of checks.
    pub nonce: Option<Nonce>,
}

/// What this node says of itself, and its limits.
#[derive(Clone)]
pub(crate) struct Handshake {
    pub(crate) keypair: KeyPair,
    pub(crate) peer_id: PeerId,
    version: Version,
    listeners: Vec<SocketAddr>,
    speaks_storage: bool,
    max_listeners_per_peer: u64,
    max_peers_per_announcement: u64,
    message_timeout: Duration,
    checks: SharedChecks,
}

/// The first frame, read.
enum FirstFrame {
    Welcome(Box<Introduction>),
    NoSlot(Vec<PeerListeners>),
}

impl Handshake {
    pub(crate) fn new(keypair: KeyPair, config: &ProtocolConfig, checks: SharedChecks) -> Self {
        Self {
            peer_id: PeerId::from_public_key(keypair.get_public_key()),
            keypair,
            version: config.version,
            listeners: config.routable_addresses.clone(),
            speaks_storage: config.storage_enabled,
            max_listeners_per_peer: config.max_size_listeners_per_peer,
            max_peers_per_announcement: config.max_size_peers_announcement,
            message_timeout: config.message_timeout.to_duration(),
            checks,
        }
    }

    /// Learns who the other side is. `expected` is who was dialed; `admit` may refuse a peer by its id before anything is
    /// signed.
    ///
    /// # Errors
    /// [`HandshakeError`]; the channel is to be closed.
    pub(crate) fn perform(
        &self,
        channel: &mut Channel,
        expected: Option<PeerId>,
        admit: impl FnOnce(&PeerId) -> Result<(), HandshakeError>,
    ) -> Result<Introduction, HandshakeError> {
        channel.writer.write(&self.welcome()?)?;
        let first = channel.reader.read(self.message_timeout)?;
        let introduction = match self.read_first(first, expected)? {
            FirstFrame::Welcome(introduction) => *introduction,
            FirstFrame::NoSlot(peers) => return Err(HandshakeError::NoSlot(peers)),
        };
        if introduction.peer_id == self.peer_id {
            return Err(self.meet_own_id(channel, &introduction.capabilities));
        }
        admit(&introduction.peer_id)?;
        self.prove(channel, &introduction.peer_id)?;
        Ok(introduction)
    }

    /// Somebody says that it has this node's id. If it is another process with its key, it can prove that; the channel's hash in what
    /// is signed keeps anybody between from showing this node its own signature.
    fn meet_own_id(&self, channel: &mut Channel, capabilities: &Capabilities) -> HandshakeError {
        let is_other = |nonce: Nonce| !self.checks.lock().identity.is_own(&nonce);
        if !capabilities.nonce.is_some_and(is_other) || self.prove(channel, &self.peer_id).is_err() {
            return HandshakeError::OwnId;
        }
        self.checks.lock().identity.seen(Instant::now());
        HandshakeError::OwnIdElsewhere
    }

    /// Tells the other side that there is no slot for it, and who else there is.
    pub(crate) fn turn_away(&self, channel: &mut Channel, peers: Vec<PeerListeners>) -> Result<(), HandshakeError> {
        let mut frame = self.first_part(CODE_NO_SLOT)?;
        let message = PeerManagementMessage::ListPeers(peers);
        PeerManagementMessageSerializer::new().serialize(&message, &mut frame)?;
        channel.writer.write(&frame)?;
        // Its first frame is read before the socket is closed: unread bytes would reset the connection, and with it
        // take away what was just sent.
        channel.reader.read(self.message_timeout)?;
        Ok(())
    }

    fn first_part(&self, code: u8) -> Result<Vec<u8>, HandshakeError> {
        let mut frame = Vec::new();
        PeerIdSerializer::new().serialize(&self.peer_id, &mut frame)?;
        VersionSerializer::new().serialize(&self.version, &mut frame)?;
        frame.push(code);
        Ok(frame)
    }

    fn welcome(&self) -> Result<Vec<u8>, HandshakeError> {
        let mut frame = self.first_part(CODE_WELCOME)?;
        let now = MassaTime::now().as_millis();
        let announcement = Announcement::new(self.listeners.clone(), now, &self.keypair)?;
        AnnouncementSerializer.serialize(&announcement, &mut frame)?;
        frame.extend(CAPABILITY_MAGIC);
        let storage = if self.speaks_storage { FLAG_STORAGE } else { 0 };
        frame.extend([CAPABILITY_VERSION, storage | FLAG_CHECKS]);
        frame.extend(self.checks.lock().identity.nonce(Instant::now()).to_bytes());
        Ok(frame)
    }

    fn read_first(&self, frame: &[u8], expected: Option<PeerId>) -> Result<FirstFrame, HandshakeError> {
        let malformed = |_| HandshakeError::Malformed("peer id");
        let (rest, peer_id) = PeerIdDeserializer::new()
            .deserialize::<DeserializeError>(frame)
            .map_err(malformed)?;
        let (rest, found) = VersionDeserializer::new()
            .deserialize::<DeserializeError>(rest)
            .map_err(|_| HandshakeError::Malformed("version"))?;
        self.check_identity(peer_id, expected)?;
        if !self.version.is_compatible(&found) {
            let own = self.version;
            return Err(HandshakeError::Version { own, found });
        }
        match rest.split_first() {
            Some((&CODE_WELCOME, rest)) => Ok(FirstFrame::Welcome(Box::new(self.read_welcome(peer_id, rest)?))),
            Some((&CODE_NO_SLOT, rest)) => Ok(FirstFrame::NoSlot(self.read_peers(rest)?)),
            _ => Err(HandshakeError::Malformed("code")),
        }
    }

    /// Whether the one that was dialed answers, or somebody with this node's id: [`Handshake::meet_own_id`].
    fn check_identity(&self, found: PeerId, expected: Option<PeerId>) -> Result<(), HandshakeError> {
        match expected {
            Some(expected) if expected != found && found != self.peer_id => Err(HandshakeError::OtherPeer {
                expected: Box::new(expected),
                found: Box::new(found),
            }),
            _ => Ok(()),
        }
    }

    fn read_welcome(&self, peer_id: PeerId, bytes: &[u8]) -> Result<Introduction, HandshakeError> {
        let received_at = MassaTime::now();
        let (rest, announcement) = AnnouncementDeserializer::new(self.max_listeners_per_peer)
            .deserialize::<DeserializeError>(bytes)
            .map_err(|_| HandshakeError::Malformed("announcement"))?;
        if !announcement.is_signed_by(&peer_id) {
            return Err(HandshakeError::AnnouncementSignature);
        }
        Ok(Introduction {
            peer_id,
            announcement,
            received_at,
            capabilities: read_capabilities(rest),
        })
    }

    fn read_peers(&self, bytes: &[u8]) -> Result<Vec<PeerListeners>, HandshakeError> {
        let deserializer = PeerManagementMessageDeserializer::new(PeerManagementMessageDeserializerArgs {
            max_listeners_per_peer: self.max_listeners_per_peer,
            max_peers_per_announcement: self.max_peers_per_announcement,
        });
        match deserializer.deserialize::<DeserializeError>(bytes) {
            Ok((_, PeerManagementMessage::ListPeers(peers))) => Ok(peers),
            _ => Err(HandshakeError::Malformed("list of peers")),
        }
    }

    /// Frames 2 and 3.
    fn prove(&self, channel: &mut Channel, peer_id: &PeerId) -> Result<(), HandshakeError> {
        let mut own_random = [0; RANDOM_BYTES];
        OsRng.fill_bytes(&mut own_random);
        channel.writer.write(&own_random)?;
        let their_random = channel.reader.read(self.message_timeout)?;
        if their_random.len() != RANDOM_BYTES {
            return Err(HandshakeError::Malformed("random"));
        }
        let signature = self.keypair.sign(&challenge(their_random, &channel.hash))?;
        channel.writer.write(&signature.to_bytes())?;

        let frame = channel.reader.read(self.message_timeout)?;
        let (_, signature) = SignatureDeserializer::new()
            .deserialize::<DeserializeError>(frame)
            .map_err(|_| HandshakeError::Malformed("signature"))?;
        peer_id
            .verify_signature(&challenge(&own_random, &channel.hash), &signature)
            .map_err(|_| HandshakeError::Signature)
    }
}

/// What the peer that was sent `random` has to sign.
fn challenge(random: &[u8], channel_hash: &ChannelHash) -> Hash {
    Hash::compute_from_concatenation(&[random, channel_hash])
}

/// What the bytes after the announcement say that the peer can do.
fn read_capabilities(bytes: &[u8]) -> Capabilities {
    let Some((magic, [CAPABILITY_VERSION, flags, rest @ ..])) = bytes.split_first_chunk() else {
        return Capabilities::default();
    };
    if *magic != CAPABILITY_MAGIC {
        return Capabilities::default();
    }
    let nonce = rest.first_chunk().filter(|_| flags & FLAG_CHECKS != 0);
    Capabilities {
        speaks_storage: flags & FLAG_STORAGE != 0,
        nonce: nonce.map(|nonce| Nonce::from_bytes(*nonce)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_spoken_only_where_the_capability_bytes_say_so() {
        let says_storage = |bytes: &[u8]| read_capabilities(bytes).speaks_storage;
        assert!(says_storage(b"MCAP\x01\x01"));
        assert!(says_storage(b"MCAP\x01\x03and what later versions add"));
        for other in [
            &b""[..],
            b"MCAP",
            b"MCAP\x01",
            b"MCAP\x01\x02",
            b"MCAP\x02\x01",
            b"mcap\x01\x01",
        ] {
            assert!(!says_storage(other), "{other:?}");
        }
    }

    #[test]
    fn a_nonce_is_read_only_whole_and_where_the_flag_says_so() {
        let with = |flags: u8, bytes: usize| [&b"MCAP\x01"[..], &[flags], &vec![7; bytes]].concat();
        let nonce = Some(Nonce::from_bytes([7; 32]));
        assert_eq!(read_capabilities(&with(2, 32)).nonce, nonce);
        assert_eq!(read_capabilities(&with(3, 40)).nonce, nonce);
        assert_eq!(read_capabilities(&with(1, 32)).nonce, None);
        assert_eq!(read_capabilities(&with(2, 31)).nonce, None);
    }
}
