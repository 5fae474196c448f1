//! Whether this node's final state is that of its peers.
//!
//! Every node tells the hash of its final state after the same slots. Hashes are compared at the newest slot of which enough peers
//! told one. An alarm needs a majority of those peers, all with the same other hash: a lone liar raises none, and neither do liars
//! that do not agree. Whoever has most of a node's connections can raise it; it is for the operator, and stops nothing.
//!
//! What peers tell is counted once per peer and slot, and the few newest slots of each are kept: a peer whose state differs changes
//! its own votes and nothing else.

use massa_models::slot::Slot;
use massa_protocol_exports::{PeerId, StateAlarm};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Peers at least that told a hash.
const MIN_PEERS: usize = 2;
/// Slots kept of each peer.
const SLOTS_PER_PEER: usize = 4;
/// Own slots kept: peers may be ahead, and told theirs before this node gets there.
const OWN_SLOTS: usize = 16;

/// The hash of a final state.
pub(crate) type StateHash = [u8; 32];

/// Hashes that were told, and what follows from them.
#[derive(Debug, Default)]
pub(crate) struct StateCheck {
    own: BTreeMap<Slot, StateHash>,
    peers: HashMap<PeerId, BTreeMap<Slot, StateHash>>,
    /// Of the newest slot that was decided.
    decided: Option<(Slot, Option<StateAlarm>)>,
}

impl StateCheck {
    /// This node's own hash.
    pub(crate) fn own_is(&mut self, slot: Slot, hash: StateHash) {
        insert(&mut self.own, slot, hash, OWN_SLOTS);
        self.decide();
    }

    /// What a connected peer told.
    pub(crate) fn peer_told(&mut self, peer_id: &PeerId, slot: Slot, hash: StateHash) {
        insert(self.peers.entry(*peer_id).or_default(), slot, hash, SLOTS_PER_PEER);
        self.decide();
    }

    /// The newest own hash, to tell others.
    pub(crate) fn newest(&self) -> Option<(Slot, StateHash)> {
        self.own.last_key_value().map(|(slot, hash)| (*slot, *hash))
    }

    /// Forgets peers that are not connected. What was decided stays until a later slot is.
    pub(crate) fn retain(&mut self, connected: &HashSet<PeerId>) {
        self.peers.retain(|peer_id, _| connected.contains(peer_id));
    }

    /// What is wrong with this node's state.
    pub(crate) fn alarm(&self) -> Option<StateAlarm> {
        self.decided.and_then(|(_, alarm)| alarm)
    }

    /// Decides by the newest slot that can be. An older one than was decided before is not looked at again: peers come and go.
    fn decide(&mut self) {
        let newest = self.decided.map_or(Slot::min(), |(slot, _)| slot);
        let slots = self.own.range(newest..).rev();
        let decided = slots.filter_map(|(slot, own)| Some((*slot, judge(*slot, own, &self.told_at(slot))?)));
        if let Some(decided) = decided.into_iter().next() {
            self.decided = Some(decided);
        }
    }

    fn told_at(&self, slot: &Slot) -> Vec<StateHash> {
        let told = self.peers.values().filter_map(|hashes| hashes.get(slot));
        told.copied().collect()
    }
}

/// Keeps the newest `max` slots. What was told first counts.
fn insert(hashes: &mut BTreeMap<Slot, StateHash>, slot: Slot, hash: StateHash, max: usize) {
    hashes.entry(slot).or_insert(hash);
    if hashes.len() > max {
        hashes.pop_first();
    }
}

/// Whether this node differs at a slot; none where too few told their hash to say.
fn judge(slot: Slot, own: &StateHash, told: &[StateHash]) -> Option<Option<StateAlarm>> {
    if told.len() < MIN_PEERS {
        return None;
    }
    let mut votes: HashMap<&StateHash, usize> = HashMap::new();
    for hash in told {
        *votes.entry(hash).or_default() += 1;
    }
    votes.remove(own);
    let differing = votes.into_values().max().unwrap_or(0);
    let alarm = StateAlarm {
        slot,
        differing,
        told: told.len(),
    };
    Some((differing * 2 > told.len()).then_some(alarm))
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_signature::KeyPair;

    const OWN: StateHash = [1; 32];
    const OTHER: StateHash = [2; 32];
    const THIRD: StateHash = [3; 32];
    const SLOT: Slot = Slot::new(8, 7);
    const LATER: Slot = Slot::new(16, 7);

    fn peer() -> PeerId {
        PeerId::from_public_key(KeyPair::generate(0).unwrap().get_public_key())
    }

    fn told(hashes: &[StateHash]) -> StateCheck {
        let mut check = StateCheck::default();
        check.own_is(SLOT, OWN);
        for hash in hashes {
            check.peer_told(&peer(), SLOT, *hash);
        }
        check
    }

    #[test]
    fn a_majority_of_peers_with_one_other_hash_is_an_alarm() {
        let alarm = |differing, told| {
            Some(StateAlarm {
                slot: SLOT,
                differing,
                told,
            })
        };
        assert_eq!(told(&[OTHER, OTHER]).alarm(), alarm(2, 2));
        assert_eq!(told(&[OTHER, OTHER, OWN]).alarm(), alarm(2, 3));
        assert_eq!(told(&[OTHER, OTHER, THIRD]).alarm(), alarm(2, 3));
    }

    #[test]
    fn a_lone_liar_half_of_the_peers_or_liars_that_do_not_agree_raise_none() {
        for hashes in [
            &[][..],
            &[OTHER],
            &[OTHER, OWN],
            &[OTHER, OWN, OWN],
            &[OTHER, OTHER, OWN, OWN],
            &[OTHER, THIRD],
        ] {
            assert_eq!(told(hashes).alarm(), None, "{hashes:?}");
        }
    }

    #[test]
    fn a_peer_counts_once_however_often_it_tells() {
        let mut check = told(&[OWN]);
        let liar = peer();
        for _ in 0..10 {
            check.peer_told(&liar, SLOT, OTHER);
        }
        assert_eq!(check.alarm(), None);
    }

    #[test]
    fn what_peers_that_are_ahead_told_counts_when_this_node_gets_there() {
        let mut check = StateCheck::default();
        for _ in 0..2 {
            check.peer_told(&peer(), SLOT, OTHER);
        }
        assert_eq!(check.alarm(), None);
        check.own_is(SLOT, OWN);
        assert!(check.alarm().is_some());
    }

    #[test]
    fn an_alarm_stays_when_peers_go_and_ends_when_a_later_slot_agrees() {
        let mut check = told(&[OTHER, OTHER]);
        check.retain(&HashSet::new());
        check.own_is(LATER, OWN);
        assert!(check.alarm().is_some());
        let peers = [peer(), peer()];
        peers.iter().for_each(|peer| check.peer_told(peer, LATER, OWN));
        assert_eq!(check.alarm(), None);
        // Told late, of a slot that is decided by a later one.
        peers.iter().for_each(|peer| check.peer_told(peer, SLOT, OTHER));
        assert_eq!(check.alarm(), None);
    }

    #[test]
    fn what_is_kept_of_a_peer_and_of_this_node_is_bounded() {
        let mut check = StateCheck::default();
        let peer = peer();
        for period in 0..1_000 {
            check.peer_told(&peer, Slot::new(period, 7), OTHER);
            check.own_is(Slot::new(period, 7), OWN);
        }
        assert_eq!((check.own.len(), check.peers[&peer].len()), (OWN_SLOTS, SLOTS_PER_PEER));
        check.retain(&HashSet::new());
        assert!(check.peers.is_empty());
    }
}
