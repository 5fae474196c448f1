//! Who can be shown against a false claim of one round: every answer of others is scored once, and no further than needed.
//!
//! A claimed chunk is refuted by R nodes that score lower for it (see [`crate::challenge::refutation`]). Which nodes may be shown
//! is decided once for each state of the registry, without hashing. Then an answer costs one hash for its sender's score, and
//! nothing more where placement knows the worst score that still holds the chunk: who scores at most that is assigned. Where it does
//! not know, jurors are scored until R are found, or until the rest cannot make R any more.

use crate::challenge::refutation::{accused_weight, has_room, is_steady, Bench};
use crate::replication::placement_score;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;
use massa_models::address::Address;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// The nodes of a round, as far as refutations need them.
#[derive(Clone, Debug)]
pub struct Jury {
    /// R.
    factor: usize,
    /// Every node with a placement key: what it is scored by when it is accused, and whether it is a juror.
    nodes: BTreeMap<Address, (Keyed, bool)>,
    /// Who may be shown, heaviest first: those score lowest on average, so R are found soonest. Empty while claims fill the
    /// network and nobody may be shown.
    jurors: Vec<(Address, Keyed)>,
}

#[derive(Clone, Copy, Debug)]
struct Keyed {
    key: Digest,
    weight: u64,
}

/// What an answer was found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The chunk is assigned to the node, or it cannot be shown that it is not.
    NotRefuted,
    /// R nodes that score lower, in ascending order of their texts.
    Against(Vec<Address>),
}

impl Jury {
    /// Prepares the nodes for the claims of `round`. Costs no hash.
    pub fn new(bench: Bench<'_>, round: u64) -> Self {
        let room = bench.network_has_room();
        let (mut nodes, mut jurors) = (BTreeMap::new(), Vec::new());
        for node in bench.nodes {
            let keyed = |weight: u64| {
                let key = node.placement_key.filter(|_| weight > 0)?;
                Some(Keyed { key, weight })
            };
            let may_be_shown = room && is_steady(node, round) && has_room(node, round);
            let juror = keyed(node.declared_at(round)).filter(|_| may_be_shown);
            if let Some(accused) = keyed(accused_weight(node)) {
                nodes.insert(node.address, (accused, juror.is_some()));
            }
            jurors.extend(juror.map(|keyed| (node.address, keyed)));
        }
        jurors.sort_unstable_by_key(|(address, keyed)| (Reverse(keyed.weight), *address));
        Self {
            factor: bench.witnesses().max(1),
            nodes,
            jurors,
        }
    }

    /// Judges the claim of `accused` to hold a chunk. `worst_holder` is the worst score that still holds it in this round, where
    /// placement knows it. Adds what it costs to `hashes`.
    pub fn judge(&self, accused: &Address, chunk: &ChunkId, worst_holder: Option<u64>, hashes: &mut u64) -> Verdict {
        let score = |keyed: &Keyed, hashes: &mut u64| {
            *hashes += 1;
            placement_score(chunk, &keyed.key, keyed.weight)
        };
        let Some((keyed, is_juror)) = self.nodes.get(accused) else {
            return Verdict::NotRefuted;
        };
        let mut missing = self.factor;
        let mut others = self.jurors.len() - usize::from(*is_juror);
        if others < missing {
            return Verdict::NotRefuted;
        }
        let Some(limit) = score(keyed, hashes).filter(|own| worst_holder.map_or(true, |worst| *own > worst)) else {
            return Verdict::NotRefuted;
        };
        let mut found = Vec::with_capacity(self.factor);
        for (address, keyed) in self.jurors.iter().filter(|(address, _)| address != accused) {
            if others < missing {
                return Verdict::NotRefuted;
            }
            others -= 1;
            if score(keyed, hashes).is_some_and(|score| score < limit) {
                found.push((address.to_string(), *address));
                missing -= 1;
            }
            if missing == 0 {
                found.sort_unstable();
                return Verdict::Against(found.into_iter().map(|(_, address)| address).collect());
            }
        }
        Verdict::NotRefuted
    }

    /// Number of nodes that may be shown.
    pub fn jurors(&self) -> usize {
        self.jurors.len()
    }
}
