//! Whether another process has this node's key.
//!
//! A claim is not enough: anybody could silence a node with it. What counts is a signature by the node's own key that this process
//! did not make. Every process draws an *instance* when it starts, and makes nonces from it:
//!
//! ```text
//! nonce:     instance (16) | random (16), another one every minute
//! signature: of blake3("massa: another process has this key" | nonce)
//! ```
//! A process signs every nonce that it is shown but those of its own instance. So a signature of one of its newest two nonces by its
//! own key was made by another process, a minute or two ago at most:
//! - A node that comes back after a break is no duplicate: the process before it cannot sign the new one's nonces.
//! - A node that dials itself, by whatever address, meets its own instance.
//! - Nobody without the key can forge a signature, or make this process sign its own nonce. What was signed before is worth nothing
//!   for a process that started later, and two minutes later for none.
//!
//! Who asks for signatures: a peer that has a connection with an id and finds another instance of it in a handshake asks both, and
//! shows each the other's signature (`transport/contest.rs`). Or the two processes meet, and the handshake itself proves it.
//!
//! Both processes hear of it and both stop producing: which of them is meant to run, only the operator knows, and blocks of both for
//! one slot are worse than none.

use massa_hash::Hash;
use massa_protocol_exports::{IdentityAlarm, PeerId};
use massa_signature::{KeyPair, MassaSignatureError, Signature};
use rand::rngs::OsRng;
use rand::RngCore;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

/// How long a nonce is told. It is accepted for as long again.
const NONCE_LIFE: Duration = Duration::from_secs(60);
/// How long after the last signature the other process is taken for gone. A node that cannot connect tries again every few seconds, and
/// each time it is found; but a last signature can be shown for two lives of a nonce.
pub(crate) const GONE_AFTER: Duration = Duration::from_secs(180);
/// How often one peer may have something signed or checked: each costs some tenths of a millisecond.
const PEER_PAUSE: Duration = Duration::from_millis(50);
const INSTANCE_BYTES: usize = 16;
const CONTEXT: &[u8] = b"massa: another process has this key";

/// What one process has another sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Nonce([u8; Nonce::SIZE_BYTES]);

impl Nonce {
    /// Its length.
    pub const SIZE_BYTES: usize = 32;

    /// As it was received.
    pub fn from_bytes(bytes: [u8; Self::SIZE_BYTES]) -> Self {
        Self(bytes)
    }

    /// As it is sent.
    pub fn to_bytes(self) -> [u8; Self::SIZE_BYTES] {
        self.0
    }

    fn of_instance(instance: &[u8; INSTANCE_BYTES]) -> Self {
        let mut bytes = [0; Self::SIZE_BYTES];
        bytes[..INSTANCE_BYTES].copy_from_slice(instance);
        OsRng.fill_bytes(&mut bytes[INSTANCE_BYTES..]);
        Self(bytes)
    }

    /// Whether two nonces are of one process.
    pub fn is_same_instance(&self, other: &Self) -> bool {
        self.0[..INSTANCE_BYTES] == other.0[..INSTANCE_BYTES]
    }

    fn hash(&self) -> Hash {
        Hash::compute_from_concatenation(&[CONTEXT, &self.0])
    }
}

/// That whoever has a key lives, and is not the process of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdProof {
    /// What was to be signed.
    pub nonce: Nonce,
    /// Its signature.
    pub signature: Signature,
    /// The signer's own nonce at that time.
    pub signer: Nonce,
}

impl IdProof {
    /// Signs `nonce`. The caller looks first whether it is its own: `may_sign`.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn new(nonce: Nonce, signer: Nonce, keypair: &KeyPair) -> Result<Self, MassaSignatureError> {
        Ok(Self {
            nonce,
            signature: keypair.sign(&nonce.hash())?,
            signer,
        })
    }

    /// Whether the holder of this key made it.
    pub fn is_of(&self, peer_id: &PeerId) -> bool {
        peer_id.verify_signature(&self.nonce.hash(), &self.signature).is_ok()
    }
}

/// This process' nonces, and when another one with its key was heard of.
#[derive(Debug)]
pub(crate) struct IdentityCheck {
    instance: [u8; INSTANCE_BYTES],
    newest: (Nonce, Instant),
    before: Option<Nonce>,
    last_seen: Option<Instant>,
    /// When something was done for a peer last.
    served: HashMap<(PeerId, Service), Instant>,
}

/// What costs a signature or its check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Service {
    Sign,
    Check,
}

impl IdentityCheck {
    pub(crate) fn new(now: Instant) -> Self {
        let mut instance = [0; INSTANCE_BYTES];
        OsRng.fill_bytes(&mut instance);
        Self {
            instance,
            newest: (Nonce::of_instance(&instance), now),
            before: None,
            last_seen: None,
            served: HashMap::new(),
        }
    }

    /// What another process with this node's key has to sign.
    pub(crate) fn nonce(&mut self, now: Instant) -> Nonce {
        let age = now.saturating_duration_since(self.newest.1);
        if age >= NONCE_LIFE {
            self.before = (age < NONCE_LIFE * 2).then_some(self.newest.0);
            self.newest = (Nonce::of_instance(&self.instance), now);
        }
        self.newest.0
    }

    /// Whether a nonce is of this process.
    pub(crate) fn is_own(&self, nonce: &Nonce) -> bool {
        nonce.0[..INSTANCE_BYTES] == self.instance
    }

    /// Whether a peer's wish for a signature is followed: not for a nonce of this process, and not too often.
    pub(crate) fn may_sign(&mut self, peer_id: &PeerId, nonce: &Nonce, now: Instant) -> bool {
        !self.is_own(nonce) && self.may_serve(peer_id, Service::Sign, now)
    }

    /// Takes in what a peer shows. `own` is this node's id. False if it proves nothing, or the peer shows too much.
    pub(crate) fn on_proof(&mut self, peer_id: &PeerId, proof: &IdProof, own: &PeerId, now: Instant) -> bool {
        let newest = self.nonce(now);
        let is_fresh = proof.nonce == newest || Some(proof.nonce) == self.before;
        if !is_fresh || !self.may_serve(peer_id, Service::Check, now) || !proof.is_of(own) {
            return false;
        }
        self.seen(now);
        true
    }

    /// The other process was met: it proved this node's id in a handshake, as another instance.
    pub(crate) fn seen(&mut self, now: Instant) {
        self.last_seen = Some(now);
    }

    /// Forgets peers that are not connected.
    pub(crate) fn retain(&mut self, connected: &HashSet<PeerId>) {
        self.served.retain(|(peer_id, _), _| connected.contains(peer_id));
    }

    /// Whether another process has the key at `now`.
    pub(crate) fn alarm(&self, now: Instant) -> Option<IdentityAlarm> {
        let is_recent = |seen: Instant| now.saturating_duration_since(seen) < GONE_AFTER;
        self.last_seen.filter(|seen| is_recent(*seen)).map(|_| IdentityAlarm)
    }

    fn may_serve(&mut self, peer_id: &PeerId, service: Service, now: Instant) -> bool {
        let key = (*peer_id, service);
        let last = self.served.get(&key);
        if last.is_some_and(|last| now.saturating_duration_since(*last) < PEER_PAUSE) {
            return false;
        }
        self.served.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Process {
        keypair: KeyPair,
        id: PeerId,
        check: IdentityCheck,
    }

    impl Process {
        fn start(keypair: &KeyPair, now: Instant) -> Self {
            Self {
                keypair: keypair.clone(),
                id: PeerId::from_public_key(keypair.get_public_key()),
                check: IdentityCheck::new(now),
            }
        }

        /// What this process answers to a peer that asks for a signature.
        fn sign(&mut self, nonce: Nonce, now: Instant) -> Option<IdProof> {
            let may = self.check.may_sign(&peer(), &nonce, now);
            let signer = self.check.nonce(now);
            may.then(|| IdProof::new(nonce, signer, &self.keypair).unwrap())
        }

        fn shown(&mut self, proof: &IdProof, now: Instant) -> bool {
            let shown = self.check.on_proof(&peer(), proof, &self.id, now);
            assert_eq!(shown, self.check.alarm(now).is_some());
            shown
        }
    }

    fn key() -> KeyPair {
        KeyPair::generate(0).unwrap()
    }

    fn peer() -> PeerId {
        PeerId::from_public_key(key().get_public_key())
    }

    #[test]
    fn two_processes_with_one_key_prove_each_other() {
        let (keypair, now) = (key(), Instant::now());
        let mut processes = [Process::start(&keypair, now), Process::start(&keypair, now)];
        for (this, other) in [(0, 1), (1, 0)] {
            let nonce = processes[this].check.nonce(now);
            let proof = processes[other].sign(nonce, now).unwrap();
            assert!(processes[this].shown(&proof, now));
        }
    }

    #[test]
    fn a_process_does_not_sign_its_own_nonce_new_or_old() {
        let now = Instant::now();
        let mut process = Process::start(&key(), now);
        let old = process.check.nonce(now);
        let later = now + NONCE_LIFE;
        let new = process.check.nonce(later);
        assert_ne!(old, new);
        assert_eq!((process.sign(old, later), process.sign(new, later)), (None, None));
    }

    #[test]
    fn a_stranger_and_a_changed_proof_prove_nothing() {
        let (keypair, now) = (key(), Instant::now());
        let mut process = Process::start(&keypair, now);
        let nonce = process.check.nonce(now);
        let foreign = Process::start(&key(), now).sign(nonce, now).unwrap();
        assert!(!process.shown(&foreign, now));
        let of_another = Process::start(&keypair, now).sign(IdentityCheck::new(now).nonce(now), now);
        let moved = IdProof {
            nonce,
            ..of_another.unwrap()
        };
        assert!(!process.shown(&moved, now));
    }

    #[test]
    fn what_the_process_before_a_restart_signed_proves_nothing() {
        let (keypair, now) = (key(), Instant::now());
        let (mut before, mut other) = (Process::start(&keypair, now), Process::start(&keypair, now));
        let proof = other.sign(before.check.nonce(now), now).unwrap();
        let mut restarted = Process::start(&keypair, now);
        assert!(!restarted.shown(&proof, now));
    }

    #[test]
    fn a_signature_is_worth_nothing_two_lives_of_a_nonce_later() {
        let (keypair, now) = (key(), Instant::now());
        let mut other = Process::start(&keypair, now);
        for (age, counts) in [
            (NONCE_LIFE, true),
            (NONCE_LIFE * 2 - Duration::from_millis(1), true),
            (NONCE_LIFE * 2, false),
        ] {
            let mut process = Process::start(&keypair, now);
            let proof = other.sign(process.check.nonce(now), now).unwrap();
            assert_eq!(process.shown(&proof, now + age), counts, "after {age:?}");
        }
    }

    #[test]
    fn the_other_process_is_gone_when_it_was_not_seen_for_a_while() {
        let now = Instant::now();
        let mut check = IdentityCheck::new(now);
        assert_eq!(check.alarm(now), None);
        check.seen(now);
        let just_before = now + GONE_AFTER - Duration::from_millis(1);
        assert_eq!(check.alarm(just_before), Some(IdentityAlarm));
        assert_eq!(check.alarm(now + GONE_AFTER), None);
        check.seen(just_before);
        assert!(check.alarm(now + GONE_AFTER).is_some());
    }

    #[test]
    fn a_peer_that_asks_without_pause_is_not_served() {
        let (now, asking) = (Instant::now(), peer());
        let mut check = IdentityCheck::new(now);
        let foreign = IdentityCheck::new(now).nonce(now);
        assert!(check.may_sign(&asking, &foreign, now));
        assert!(!check.may_sign(&asking, &foreign, now));
        assert!(check.may_sign(&peer(), &foreign, now), "others are");
        assert!(check.may_sign(&asking, &foreign, now + PEER_PAUSE));
        check.retain(&HashSet::new());
        assert!(check.served.is_empty());
    }
}
