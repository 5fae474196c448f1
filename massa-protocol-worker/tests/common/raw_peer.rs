//! A peer written by hand from the documents of the crate: it can break every rule.

use super::{id_of, CHAIN_ID, DEADLINE};
use massa_hash::Hash;
use massa_models::version::Version;
use massa_protocol_exports::PeerId;
use massa_signature::{KeyPair, PublicKey, Signature};
use snow::{Builder, TransportState};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// How the first bytes of a connection end.
pub type RawResult<T> = Result<T, String>;

/// An open channel.
pub struct RawPeer {
    pub stream: TcpStream,
    pub noise: TransportState,
    pub hash: Vec<u8>,
}

pub fn prologue(chain_id: u64, network: &str) -> Vec<u8> {
    [b"massa", &chain_id.to_be_bytes()[..], network.as_bytes()].concat()
}

pub fn good_prologue() -> Vec<u8> {
    prologue(CHAIN_ID, "MAIN")
}

pub const STORAGE_CAPABILITY: &[u8] = b"MCAP\x01\x01";

impl RawPeer {
    /// Dials, and opens a channel.
    pub fn dial(address: SocketAddr, prologue: &[u8]) -> RawResult<Self> {
        let stream = TcpStream::connect(address).map_err(|error| error.to_string())?;
        Self::open(stream, prologue, true)
    }

    /// Waits for somebody who dials, and opens a channel.
    pub fn accept(listener: &TcpListener) -> RawResult<Self> {
        let (stream, _) = listener.accept().map_err(|error| error.to_string())?;
        Self::open(stream, &good_prologue(), false)
    }

    fn open(mut stream: TcpStream, prologue: &[u8], initiator: bool) -> RawResult<Self> {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let pattern = "Noise_XX_25519_ChaChaPoly_BLAKE2s";
        let key = Builder::new(pattern.parse().unwrap()).generate_keypair().unwrap();
        let builder = Builder::new(pattern.parse().unwrap())
            .prologue(prologue)
            .local_private_key(&key.private);
        let mut state = if initiator {
            builder.build_initiator()
        } else {
            builder.build_responder()
        }
        .unwrap();
        while !state.is_handshake_finished() {
            let mut message = [0; 1024];
            if state.is_my_turn() {
                let size = state.write_message(&[], &mut message).unwrap();
                let length = u16::try_from(size).unwrap().to_be_bytes();
                stream.write_all(&length).map_err(|error| error.to_string())?;
                stream.write_all(&message[..size]).map_err(|error| error.to_string())?;
            } else {
                let mut length = [0; 2];
                stream.read_exact(&mut length).map_err(|error| error.to_string())?;
                let length = usize::from(u16::from_be_bytes(length));
                stream
                    .read_exact(&mut message[..length])
                    .map_err(|error| error.to_string())?;
                state
                    .read_message(&message[..length], &mut [0; 1024])
                    .map_err(|error| error.to_string())?;
            }
        }
        let hash = state.get_handshake_hash().to_vec();
        let noise = state.into_transport_mode().unwrap();
        Ok(Self { stream, noise, hash })
    }

    /// The bytes of a frame.
    pub fn encrypt(&mut self, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        let mut rest = payload;
        loop {
            let (content, after) = rest.split_at(rest.len().min(65_518));
            rest = after;
            let plain = [&[u8::from(!rest.is_empty())], content].concat();
            let mut segment = vec![0; plain.len() + 16];
            let size = self.noise.write_message(&plain, &mut segment).unwrap();
            frame.extend(&segment[..size]);
            if rest.is_empty() {
                let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
                return [&length, &frame[..]].concat();
            }
        }
    }

    pub fn write(&mut self, payload: &[u8]) -> RawResult<()> {
        let frame = self.encrypt(payload);
        self.stream.write_all(&frame).map_err(|error| error.to_string())
    }

    /// Reads a frame of any number of segments.
    pub fn read(&mut self) -> RawResult<Vec<u8>> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).map_err(|error| error.to_string())?;
        let mut left = u32::from_be_bytes(length) as usize;
        let mut payload = Vec::new();
        while left > 0 {
            let mut segment = vec![0; left.min(65_535)];
            left -= segment.len();
            self.stream
                .read_exact(&mut segment)
                .map_err(|error| error.to_string())?;
            let mut plain = vec![0; segment.len()];
            let size = self
                .noise
                .read_message(&segment, &mut plain)
                .map_err(|error| error.to_string())?;
            assert_eq!(plain[0], u8::from(left > 0));
            payload.extend(&plain[1..size]);
        }
        Ok(payload)
    }

    /// Reads frames of messages until one of this type comes, other than the lists of peers.
    pub fn read_type(&mut self, message_type: u8) -> RawResult<Vec<u8>> {
        loop {
            let frame = self.read()?;
            if frame[0] == message_type {
                return Ok(frame);
            }
        }
    }

    /// Waits until the other side ends the connection; frames that come before are read.
    #[track_caller]
    pub fn expect_end(&mut self) {
        let start = Instant::now();
        while self.read().is_ok() {
            assert!(start.elapsed() < DEADLINE, "the connection lives on");
        }
        assert!(
            start.elapsed() < DEADLINE - Duration::from_secs(1),
            "the connection lives on"
        );
    }

    /// The whole handshake, as it should be.
    pub fn introduce(&mut self, keypair: &KeyPair, capabilities: &[u8]) -> RawResult<Vec<u8>> {
        self.write(&first_frame(keypair, &version(), &[], capabilities))?;
        let first = self.read()?;
        self.prove(keypair)?;
        Ok(first)
    }

    /// Frames 2 and 3, as they should be.
    pub fn prove(&mut self, keypair: &KeyPair) -> RawResult<()> {
        self.write(&[9; 32])?;
        let random = self.read()?;
        let hash = self.hash.clone();
        self.write(&sign(keypair, &random, &hash))?;
        let signature = Signature::from_bytes(&self.read()?).map_err(|error| error.to_string())?;
        let _ = signature;
        Ok(())
    }

    /// The whole handshake, and a check of what the other side says and signs.
    pub fn connect(address: SocketAddr, keypair: &KeyPair, capabilities: &[u8]) -> RawResult<(Self, Vec<u8>)> {
        let mut peer = Self::dial(address, &good_prologue())?;
        peer.write(&first_frame(keypair, &version(), &[], capabilities))?;
        let first = peer.read()?;
        peer.write(&[9; 32])?;
        let random = peer.read()?;
        let hash = peer.hash.clone();
        peer.write(&sign(keypair, &random, &hash))?;
        let signature = Signature::from_bytes(&peer.read()?).map_err(|error| error.to_string())?;
        let other = PublicKey::from_bytes(&first[..33]).map_err(|error| error.to_string())?;
        other
            .verify_signature(&challenge(&[9; 32], &peer.hash), &signature)
            .map_err(|error| error.to_string())?;
        Ok((peer, first))
    }
}

pub fn version() -> Version {
    "MAIN.5.0".parse().unwrap()
}

pub fn challenge(random: &[u8], hash: &[u8]) -> Hash {
    Hash::compute_from(&[random, hash].concat())
}

pub fn sign(keypair: &KeyPair, random: &[u8], hash: &[u8]) -> Vec<u8> {
    keypair.sign(&challenge(random, hash)).unwrap().to_bytes()
}

/// Peer id, version, code 0, announcement, capabilities.
pub fn first_frame(keypair: &KeyPair, version: &Version, listeners: &[SocketAddr], capabilities: &[u8]) -> Vec<u8> {
    let mut frame = keypair.get_public_key().to_bytes();
    let text = version.to_string();
    frame.extend(&text.as_bytes()[..4]);
    for number in text[5..].split('.') {
        frame.push(number.parse().unwrap());
    }
    frame.push(0);
    let mut announcement = vec![u8::try_from(listeners.len()).unwrap()];
    for listener in listeners {
        let SocketAddr::V4(listener) = listener else {
            panic!("only IPv4 here");
        };
        announcement.push(4);
        announcement.extend(listener.ip().octets());
        announcement.extend(listener.port().to_be_bytes());
        announcement.push(0);
    }
    announcement.extend(1_700_000_000_000u64.to_be_bytes());
    let signature = keypair.sign(&Hash::compute_from(&announcement)).unwrap();
    frame.extend(announcement);
    frame.extend(signature.to_bytes());
    frame.extend(capabilities);
    frame
}

pub fn peer_id(keypair: &KeyPair) -> PeerId {
    id_of(keypair)
}
