//! Who can be shown against a false claim of one round: every answer of others is scored once, and no further than needed.
//!
//! A claimed chunk is refuted by R nodes that score lower for it and claim it themselves (see [`crate::challenge::refutation`]). Which nodes may be shown
//! is decided once for each state of the registry, without hashing. Then an answer costs one hash for its sender's score, and
//! nothing more where placement knows the worst score that still holds the chunk: who scores at most that is assigned. Where it does
//! not know, jurors are scored until R are found, or until the rest cannot make R any more.

use crate::challenge::refutation::Bench;
use crate::replication::placement_score;
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;
use massa_models::address::Address;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Nodes beyond 2 R that are asked about a chunk: with a small R, those away at a time are many for it.
const SPARE_CANDIDATES: usize = 8;

/// The nodes of a round, as far as refutations need them.
#[derive(Clone, Debug)]
pub struct Jury {
    /// R.
    factor: usize,
    /// Who claimed the round: what it is scored by, and whether it is a juror.
    nodes: BTreeMap<Address, (Keyed, bool)>,
    /// Who may be shown, heaviest first: those score lowest on average, so R are found soonest.
    jurors: Vec<(Address, Keyed)>,
}

#[derive(Clone, Copy, Debug)]
struct Keyed {
    key: Digest,
    weight: u64,
    /// Its retention covers segments from this one on until the round ends.
    first_segment: u64,
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
        let (mut nodes, mut jurors) = (BTreeMap::new(), Vec::new());
        let config = &bench.config.next;
        let end = round.saturating_add(1).saturating_mul(config.round_segments);
        for node in bench.nodes {
            let (Some(claim), Some(key)) = (node.claim_of(round), node.placement_key) else {
                continue;
            };
            if claim.weight == 0 {
                continue;
            }
            let kept = node.retention_periods / config.challenge_frequency_periods.max(1);
            let keyed = Keyed {
                key,
                weight: claim.weight,
                first_segment: if node.retention_periods == 0 {
                    0
                } else {
                    end.saturating_sub(kept)
                },
            };
            nodes.insert(node.address, (keyed, claim.filled));
            if claim.filled {
                jurors.push((node.address, keyed));
            }
        }
        jurors.sort_unstable_by_key(|(address, keyed)| (Reverse(keyed.weight), *address));
        Self {
            factor: bench.witnesses().max(1),
            nodes,
            jurors,
        }
    }

    /// Judges the claim of `accused` to hold a chunk of a segment. `worst_holder` is the worst score that still holds it in this round, where
    /// placement knows it. Adds what it costs to `hashes`.
    pub fn judge(
        &self,
        accused: &Address,
        (segment, chunk): (u64, &ChunkId),
        worst_holder: Option<u64>,
        hashes: &mut u64,
    ) -> Verdict {
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
            if keyed.first_segment > segment {
                continue;
            }
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

    /// Who may be shown against `accused`, the lowest score first: these are assigned the chunk, so they claim it most likely. No more than
    /// [`Jury::asked_max`]. Costs a hash for each juror, so only what [`Jury::judge`] found is worth it.
    pub fn candidates(&self, accused: &Address, (segment, chunk): (u64, &ChunkId), hashes: &mut u64) -> Vec<Address> {
        let Some((keyed, _)) = self.nodes.get(accused) else {
            return Vec::new();
        };
        let limit = placement_score(chunk, &keyed.key, keyed.weight);
        *hashes += 1;
        let mut scored = Vec::new();
        for (address, keyed) in self.jurors.iter().filter(|(address, _)| address != accused) {
            if keyed.first_segment > segment {
                continue;
            }
            *hashes += 1;
            let score = placement_score(chunk, &keyed.key, keyed.weight);
            if score.zip(limit).is_some_and(|(score, limit)| score < limit) {
                scored.push((score, *address));
            }
        }
        scored.sort_unstable();
        scored.truncate(self.asked_max());
        scored.into_iter().map(|(_, address)| address).collect()
    }

    /// R.
    pub fn factor(&self) -> usize {
        self.factor
    }

    /// Nodes that are asked at most about one chunk. Whoever scores lower than the accused may be shown, but who is not among the first few
    /// claims the chunk only while the set of nodes changes.
    pub fn asked_max(&self) -> usize {
        2 * self.factor + SPARE_CANDIDATES
    }

    /// Number of nodes that may be shown.
    pub fn jurors(&self) -> usize {
        self.jurors.len()
    }
}
