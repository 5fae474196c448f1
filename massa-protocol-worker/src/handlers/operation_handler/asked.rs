//! Which operations were asked of whom: decisions only, no sockets and no clock.

use massa_models::operation::OperationPrefixId;
use massa_models::prehash::PreHashMap;
use massa_protocol_exports::PeerId;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Other peers remembered for an operation that was asked of one.
const MAX_OTHERS: usize = 3;

struct Asked {
    /// Peers that announced it too, in the order in which they are asked if the one before stays silent.
    others: Vec<PeerId>,
}

/// Operations that were asked for and have not come.
pub(super) struct AskedOperations {
    asked: PreHashMap<OperationPrefixId, Asked>,
    /// When each question is over. An operation that came has an entry here until then, but none in `asked`.
    deadlines: VecDeque<(Instant, OperationPrefixId)>,
    timeout: Duration,
    capacity: usize,
}

impl AskedOperations {
    /// Nothing is asked. At most `capacity` questions are open.
    pub(super) fn new(timeout: Duration, capacity: usize) -> Self {
        Self {
            asked: PreHashMap::default(),
            deadlines: VecDeque::new(),
            timeout,
            capacity,
        }
    }

    /// A peer has an operation that this node does not have. True if the peer is to be asked for it.
    pub(super) fn announced(&mut self, prefix: OperationPrefixId, peer_id: PeerId, now: Instant) -> bool {
        if let Some(asked) = self.asked.get_mut(&prefix) {
            if asked.others.len() < MAX_OTHERS && !asked.others.contains(&peer_id) {
                asked.others.push(peer_id);
            }
            return false;
        }
        if self.deadlines.len() >= self.capacity {
            return false;
        }
        self.ask(prefix, Vec::new(), now);
        true
    }

    /// The operation is here.
    pub(super) fn received(&mut self, prefix: &OperationPrefixId) {
        self.asked.remove(prefix);
    }

    /// Operations that did not come in time, with the next peer to ask.
    pub(super) fn late(&mut self, now: Instant) -> Vec<(PeerId, OperationPrefixId)> {
        let mut again = Vec::new();
        while self.deadlines.front().is_some_and(|(deadline, _)| now >= *deadline) {
            let Some((_, prefix)) = self.deadlines.pop_front() else {
                break;
            };
            let Some(mut asked) = self.asked.remove(&prefix) else {
                continue;
            };
            if !asked.others.is_empty() {
                let next = asked.others.remove(0);
                self.ask(prefix, asked.others, now);
                again.push((next, prefix));
            }
        }
        again
    }

    fn ask(&mut self, prefix: OperationPrefixId, others: Vec<PeerId>, now: Instant) {
        self.asked.insert(prefix, Asked { others });
        self.deadlines.push_back((now + self.timeout, prefix));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_signature::KeyPair;

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn prefix(byte: u8) -> OperationPrefixId {
        OperationPrefixId::from(&[byte; 17])
    }

    fn peer() -> PeerId {
        PeerId::from_public_key(KeyPair::generate(0).unwrap().get_public_key())
    }

    #[test]
    fn an_operation_is_asked_of_one_peer_and_of_the_next_when_it_stays_silent() {
        let (mut asked, start) = (AskedOperations::new(TIMEOUT, 10), Instant::now());
        let (alice, bob) = (peer(), peer());
        assert!(asked.announced(prefix(1), alice, start));
        assert!(!asked.announced(prefix(1), bob, start));
        assert_eq!(asked.late(start + TIMEOUT / 2), []);
        assert_eq!(asked.late(start + TIMEOUT), [(bob, prefix(1))]);
        assert_eq!(asked.late(start + TIMEOUT * 2), []);
        // Nobody is left: whoever announces it next is asked.
        assert!(asked.announced(prefix(1), alice, start + TIMEOUT * 2));
    }

    #[test]
    fn an_operation_that_came_is_not_asked_again() {
        let (mut asked, start) = (AskedOperations::new(TIMEOUT, 10), Instant::now());
        asked.announced(prefix(1), peer(), start);
        asked.announced(prefix(1), peer(), start);
        asked.received(&prefix(1));
        assert_eq!(asked.late(start + TIMEOUT), []);
    }

    #[test]
    fn open_questions_are_bounded() {
        let (mut asked, start) = (AskedOperations::new(TIMEOUT, 2), Instant::now());
        let flooder = peer();
        assert!(asked.announced(prefix(1), flooder, start));
        assert!(asked.announced(prefix(2), flooder, start));
        assert!(!asked.announced(prefix(3), flooder, start));
        asked.late(start + TIMEOUT);
        assert!(asked.announced(prefix(3), flooder, start + TIMEOUT));
    }
}
