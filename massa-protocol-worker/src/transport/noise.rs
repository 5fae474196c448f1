//! The encrypted channel: Noise XX with keys made for this run.
//!
//! Noise keeps out whoever listens or changes bytes; it does not tell who the other side is, since its static keys are
//! new in every run. The handshake frames inside the channel tell that: each side signs the channel's own hash
//! ([`handshake`](crate::handlers::peer_handler::handshake)).
//!
//! ```text
//! each of the three messages: length (u16, big-endian) | Noise handshake message without payload
//! prologue: "massa" | chain id (u64, big-endian) | 4 letters of the version
//! ```
//! With another chain, or another network's letters, the second message does not decrypt.

use super::frame::{read_by, write_by, FrameError, FrameLimits, FrameReader, FrameWriter, LinkState};
use massa_models::version::Version;
use snow::params::NoiseParams;
use snow::{Builder, HandshakeState};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Instant;

const PATTERN: &str = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
/// The longest of the three messages: ephemeral key, encrypted static key, tags, no payload.
const MESSAGE_BYTES_MAX: usize = 96;
/// Letters of a version that name the network.
const NETWORK_LETTERS: usize = 4;

/// A hash of everything that was said to open the channel: two channels never have the same.
pub(crate) type ChannelHash = [u8; 32];

/// Who speaks first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Initiator,
    Responder,
}

/// A channel that both sides have opened.
pub(crate) struct Channel {
    pub(crate) reader: FrameReader,
    pub(crate) writer: FrameWriter,
    pub(crate) hash: ChannelHash,
    pub(crate) link: Arc<LinkState>,
}

/// What the two ends of a channel must have in common.
pub(crate) fn prologue(chain_id: u64, version: &Version) -> Vec<u8> {
    let mut bytes = b"massa".to_vec();
    bytes.extend(chain_id.to_be_bytes());
    bytes.extend(version.to_string().bytes().take(NETWORK_LETTERS));
    bytes
}

/// Opens a channel on a connected socket.
///
/// # Errors
/// [`FrameError`]: the other side is of another network, does not speak this protocol, or is too slow.
pub(crate) fn open_channel(
    stream: TcpStream,
    role: Role,
    prologue: &[u8],
    limits: FrameLimits,
) -> Result<Channel, FrameError> {
    stream.set_nodelay(true)?;
    let mut state = new_state(role, prologue)?;
    let deadline = Instant::now() + limits.message_timeout;
    while !state.is_handshake_finished() {
        if state.is_my_turn() {
            send(&stream, &mut state, deadline)?;
        } else {
            receive(&stream, &mut state, deadline)?;
        }
    }
    let hash = state.get_handshake_hash().try_into().expect("BLAKE2s gives 32 bytes");
    let noise = Arc::new(state.into_stateless_transport_mode()?);
    let link = Arc::new(LinkState::default());
    let second = stream.try_clone()?;
    Ok(Channel {
        reader: FrameReader::new(stream, Arc::clone(&noise), limits.clone(), Arc::clone(&link)),
        writer: FrameWriter::new(second, noise, limits, Arc::clone(&link)),
        hash,
        link,
    })
}

fn new_state(role: Role, prologue: &[u8]) -> Result<HandshakeState, FrameError> {
    let parameters: NoiseParams = PATTERN.parse().expect("the constant is a pattern");
    let key = Builder::new(parameters.clone()).generate_keypair()?;
    let builder = Builder::new(parameters)
        .prologue(prologue)
        .local_private_key(&key.private);
    Ok(match role {
        Role::Initiator => builder.build_initiator()?,
        Role::Responder => builder.build_responder()?,
    })
}

fn send(stream: &TcpStream, state: &mut HandshakeState, deadline: Instant) -> Result<(), FrameError> {
    let mut message = [0; 2 + MESSAGE_BYTES_MAX];
    let size = state.write_message(&[], &mut message[2..])?;
    let length = u16::try_from(size).expect("a handshake message is short");
    message[..2].copy_from_slice(&length.to_be_bytes());
    write_by(stream, &message[..2 + size], deadline)
}

fn receive(stream: &TcpStream, state: &mut HandshakeState, deadline: Instant) -> Result<(), FrameError> {
    let mut length = [0; 2];
    read_by(stream, &mut length, deadline, "noise handshake")?;
    let length = usize::from(u16::from_be_bytes(length));
    let mut message = [0; MESSAGE_BYTES_MAX];
    let message = message.get_mut(..length).ok_or(FrameError::TooLarge {
        length,
        max: MESSAGE_BYTES_MAX,
    })?;
    read_by(stream, message, deadline, "noise handshake")?;
    let payload = state.read_message(message, &mut [0; MESSAGE_BYTES_MAX])?;
    (payload == 0)
        .then_some(())
        .ok_or(FrameError::Malformed("noise handshake with payload"))
}
