//! Two processes with the key of one peer: each is shown that the other lives.

use super::network::Shared;
use super::Channel;
use crate::checks::identity::{IdProof, Nonce};
use crate::handlers::peer_handler::handshake::{HandshakeError, Introduction};
use crate::handlers::peer_handler::{
    PeerManagementMessage, PeerManagementMessageDeserializer, PeerManagementMessageDeserializerArgs,
};
use crate::messages::read_peer_message;
use crate::wrap_network::ActiveConnectionsTrait;
use massa_protocol_exports::PeerId;
use massa_serialization::Serializer;
use std::time::{Duration, Instant};
use tracing::debug;

/// How long each of two processes with one key may take to show that it lives.
const CONTEST_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a wait looks whether the node stops.
const CONTEST_TICK: Duration = Duration::from_millis(50);

impl Shared {
    /// Whether a peer that comes a second time is another process with its key, and the first one lives. A first one that does not
    /// answer is gone, and its connection is ended: its machine lost power, and the peer starts anew.
    pub(super) fn is_of_two_processes(&self, introduction: &Introduction, channel: &mut Channel) -> bool {
        let (peer_id, nonce) = (introduction.peer_id, introduction.capabilities.nonce);
        let Some(nonce) = nonce else { return false };
        let Some(first) = self.connections.of_another_process(&peer_id, &nonce) else {
            return false;
        };
        if self.contest(&peer_id, nonce, channel) {
            debug!(peer = %peer_id, "two processes have the key of this peer");
            return true;
        }
        self.connections.remove(&first);
        false
    }

    /// Has the connected process with this id sign the nonce of the one in `channel`, and that one the nonce of the connected one; shows
    /// each the other's signature. False if the connected one does not answer.
    fn contest(&self, peer_id: &PeerId, nonce: Nonce, channel: &mut Channel) -> bool {
        let contest = self.contests.open(*peer_id, nonce);
        self.tell(peer_id, PeerManagementMessage::ProveId(nonce));
        let deadline = Instant::now() + CONTEST_TIMEOUT;
        let of_connected = loop {
            match contest.answer.recv_timeout(CONTEST_TICK) {
                Ok(proof) => break proof,
                // A process that ended closes its connection.
                Err(_) if Instant::now() < deadline && self.connections.is_connected(peer_id) => {}
                Err(_) => return false,
            }
        };
        match self.ask_in_channel(peer_id, of_connected, channel) {
            Ok(of_other) => self.tell(peer_id, PeerManagementMessage::IdProof(of_other)),
            Err(error) => debug!(peer = %peer_id, %error, "no signature of the second process"),
        }
        true
    }

    /// Sends a message to a connected peer, before all that waits.
    fn tell(&self, peer_id: &PeerId, message: PeerManagementMessage) {
        let sent = self
            .connections
            .send_to_peer(peer_id, &self.serializer, message.into(), true);
        if let Err(error) = sent {
            debug!(peer = %peer_id, %error, "message not sent");
        }
    }

    /// Shows a proof to the process in `channel`, and has it sign the nonce of whoever made that.
    fn ask_in_channel(
        &self,
        peer_id: &PeerId,
        proof: IdProof,
        channel: &mut Channel,
    ) -> Result<IdProof, HandshakeError> {
        let nonce = proof.signer;
        for message in [
            PeerManagementMessage::IdProof(proof),
            PeerManagementMessage::ProveId(nonce),
        ] {
            let mut frame = Vec::new();
            self.serializer.serialize(&message.into(), &mut frame)?;
            channel.writer.write(&frame)?;
        }
        let args = PeerManagementMessageDeserializerArgs::from(&self.config);
        let deserializer = PeerManagementMessageDeserializer::new(args);
        let deadline = Instant::now() + CONTEST_TIMEOUT;
        // It takes itself for connected, and says other things, too.
        loop {
            let frame = channel
                .reader
                .read(deadline.saturating_duration_since(Instant::now()))?;
            match read_peer_message(frame, &deserializer) {
                Some(PeerManagementMessage::IdProof(proof)) if proof.nonce == nonce && proof.is_of(peer_id) => {
                    return Ok(proof);
                }
                _ => {}
            }
        }
    }
}
