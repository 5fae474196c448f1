//! Signatures that connections wait for, of peers whose id came a second time.

use super::identity::{IdProof, Nonce};
use crossbeam_channel::{bounded, Receiver, Sender};
use massa_protocol_exports::PeerId;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

type Waiting = HashMap<(PeerId, Nonce), Sender<IdProof>>;

/// Who waits for what. Bounded by the handshakes at a time: each waits for one.
#[derive(Clone, Default)]
pub(crate) struct Contests(Arc<Mutex<Waiting>>);

/// Waits for a signature of a nonce; forgotten when it is dropped.
pub(crate) struct Contest {
    contests: Contests,
    key: (PeerId, Nonce),
    pub(crate) answer: Receiver<IdProof>,
}

impl Contests {
    /// Begins to wait.
    pub(crate) fn open(&self, peer_id: PeerId, nonce: Nonce) -> Contest {
        let (sender, answer) = bounded(1);
        let key = (peer_id, nonce);
        self.0.lock().insert(key, sender);
        Contest {
            contests: self.clone(),
            key,
            answer,
        }
    }

    /// A peer answered; what nobody waits for, or is not signed by it, is dropped.
    pub(crate) fn answered(&self, peer_id: &PeerId, proof: IdProof) {
        let waiting = self.0.lock().get(&(*peer_id, proof.nonce)).cloned();
        if let Some(waiting) = waiting.filter(|_| proof.is_of(peer_id)) {
            // A second answer has no room.
            let _ = waiting.try_send(proof);
        }
    }
}

impl Drop for Contest {
    fn drop(&mut self) {
        self.contests.0.lock().remove(&self.key);
    }
}
