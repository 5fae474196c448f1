//! Whether all nodes have the same final state after the same slot.
//!
//! A node tells the hash of its last final slot only, and that slot moves on; so all are asked again and again, until they
//! told the hash of a slot that they have in common. Every such slot is compared.

use crate::client::NodeClient;
use crate::node::Node;
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

/// How often a node is asked.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(20);
/// How long nodes are asked before what they told is compared.
const SAMPLE_TIME: Duration = Duration::from_secs(2);

/// Hashes that one node told, by slot.
pub type Hashes = BTreeMap<Slot, String>;

/// What was compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateAgreement {
    /// Slots of which every node told the hash.
    pub slots: usize,
    /// The first one of which two nodes told different hashes.
    pub different: Option<Slot>,
}

impl StateAgreement {
    /// Whether there was something to compare, and all was the same.
    pub fn agrees(&self) -> bool {
        self.slots > 0 && self.different.is_none()
    }

    /// Compares what nodes told.
    pub fn of(nodes: &[Hashes]) -> Self {
        let Some((first, others)) = nodes.split_first() else {
            return Self::default();
        };
        let common = |(slot, _): &(&Slot, &String)| others.iter().all(|hashes| hashes.contains_key(slot));
        let common: Vec<(&Slot, &String)> = first.iter().filter(common).collect();
        let differs = |(slot, hash): &&(&Slot, &String)| others.iter().any(|hashes| hashes.get(slot) != Some(hash));
        Self {
            slots: common.len(),
            different: common.iter().find(differs).map(|(slot, _)| **slot),
        }
    }
}

/// Asks all nodes until they told the hash of a slot in common, or time is up.
pub fn compare_states(nodes: &[Node], deadline: Instant) -> StateAgreement {
    let mut told = vec![Hashes::new(); nodes.len()];
    loop {
        let until = Instant::now() + SAMPLE_TIME;
        thread::scope(|scope| {
            for (hashes, node) in told.iter_mut().zip(nodes) {
                scope.spawn(move || sample(node.client(), hashes, until));
            }
        });
        let agreement = StateAgreement::of(&told);
        if agreement.slots > 0 || Instant::now() >= deadline {
            return agreement;
        }
    }
}

fn sample(client: &NodeClient, hashes: &mut Hashes, until: Instant) {
    while Instant::now() < until {
        // A node that is busy is asked again.
        if let Ok(status) = client.status() {
            let stats = status.execution_stats;
            if !stats.final_state_hash.is_empty() {
                hashes.insert(stats.final_cursor, stats.final_state_hash);
            }
        }
        thread::sleep(SAMPLE_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashes(told: &[(u64, &str)]) -> Hashes {
        told.iter()
            .map(|(period, hash)| (Slot::new(*period, 0), hash.to_string()))
            .collect()
    }

    #[test]
    fn states_agree_when_every_common_slot_has_one_hash() {
        let agreement = StateAgreement::of(&[
            hashes(&[(1, "a"), (2, "b"), (3, "c")]),
            hashes(&[(2, "b"), (3, "c"), (4, "d")]),
        ]);
        assert!(agreement.agrees());
        assert_eq!(agreement.slots, 2);
    }

    #[test]
    fn one_different_hash_is_told_by_its_slot() {
        let agreement = StateAgreement::of(&[
            hashes(&[(1, "a"), (2, "b")]),
            hashes(&[(1, "a"), (2, "b")]),
            hashes(&[(1, "a"), (2, "x")]),
        ]);
        assert!(!agreement.agrees());
        assert_eq!(agreement.different, Some(Slot::new(2, 0)));
    }

    #[test]
    fn nothing_in_common_is_no_agreement() {
        assert!(!StateAgreement::of(&[hashes(&[(1, "a")]), hashes(&[(2, "b")])]).agrees());
        assert!(!StateAgreement::of(&[]).agrees());
    }
}
