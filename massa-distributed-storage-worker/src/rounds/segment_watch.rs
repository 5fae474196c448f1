//! What others answered, and who of them claims a chunk that is not theirs.
//!
//! A claim is a root; only the answers to its draws show chunks. So a false claim is seen when one of its false chunks is drawn. Every
//! answer is scored once ([`Jury`]), within a number of hashes for each tick; what waits is bounded. Pure: blocks are read, and
//! refutations sent, by others.

use crate::challenge::jury::{Jury, Verdict};
use crate::challenge::refutation::Refutation;
use crate::challenge::segment_answer::SegmentAnswer;
use massa_distributed_storage_exports::types::ChunkPosition;
use massa_distributed_storage_exports::ChunkId;
use massa_models::address::Address;
use std::collections::{BTreeMap, VecDeque};

/// Answers that wait to be scored, of about 1.2 kB each. Where placement knows the holders, thousands are scored in a tick.
const WAITING_MAX: usize = 1 << 14;

/// An answer that somebody gave.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    node: Address,
    round: u64,
    /// Without its leaf.
    exhibit: SegmentAnswer,
}

/// What answers are scored against: made anew when the registry's rows or the placement changed.
pub struct Court<'a> {
    /// By round; an answer of another round is dropped.
    pub juries: &'a BTreeMap<u64, Jury>,
    /// The worst score that still holds a chunk in a round, where placement knows it.
    pub worst_holder: &'a dyn Fn(u64, ChunkPosition, &ChunkId) -> Option<u64>,
    /// Whether a node claimed what an answer shows: anybody can put an answer in its name into a block, so that a false one in
    /// its name would hide the node's own. Costs [`CLAIM_HASHES`].
    pub is_claimed: &'a dyn Fn(&Address, u64, &SegmentAnswer) -> bool,
}

/// Hashes that follow a sum path to its claim.
pub const CLAIM_HASHES: u64 = 41;

/// What a tick did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scored {
    /// Answers that were scored.
    pub answers: u64,
    /// Hashes that it took.
    pub hashes: u64,
}

/// The answers of others.
#[derive(Debug, Default)]
pub struct SegmentWatch {
    waiting: VecDeque<Seen>,
    found: BTreeMap<(u64, Address), Refutation>,
    dropped: u64,
}

impl SegmentWatch {
    /// Takes in an answer of `node` for `round`, of a final block. When too many wait, the oldest is dropped.
    pub fn saw(&mut self, node: Address, round: u64, answer: &SegmentAnswer) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.dropped += 1;
        }
        self.waiting.push_back(Seen {
            node,
            round,
            exhibit: answer.without_leaf(),
        });
    }

    /// Scores answers until `hashes_max` hashes are spent, or none waits. The last one may spend one hash for each juror more.
    pub fn score(&mut self, court: &Court<'_>, hashes_max: u64) -> Scored {
        let mut scored = Scored::default();
        while scored.hashes < hashes_max {
            let Some(seen) = self.waiting.pop_front() else { break };
            scored.answers += 1;
            // One refutation for each node and round: it forfeits everything at once.
            let Some(jury) = court.juries.get(&seen.round).filter(|_| !self.is_found(&seen)) else {
                continue;
            };
            let chunk = seen.exhibit.chunk.id;
            let worst_holder = (court.worst_holder)(seen.round, seen.exhibit.position, &chunk);
            let verdict = jury.judge(&seen.node, &chunk, worst_holder, &mut scored.hashes);
            if let Verdict::Against(witnesses) = verdict {
                scored.hashes += CLAIM_HASHES;
                if !(court.is_claimed)(&seen.node, seen.round, &seen.exhibit) {
                    continue;
                }
                let refutation = Refutation {
                    node: seen.node,
                    round: seen.round,
                    exhibit: seen.exhibit,
                    witnesses,
                };
                self.found.insert((seen.round, seen.node), refutation);
            }
        }
        scored
    }

    /// The false claims that were found, of rounds from `oldest` on. Whether the registry took the answer as passed, and whether
    /// somebody was faster, is asked before one is sent: [`Refutation::check`].
    pub fn refutations(&mut self, oldest: u64) -> impl Iterator<Item = &Refutation> {
        self.found.retain(|(round, _), _| *round >= oldest);
        self.found.values()
    }

    /// Forgets a refutation: it was sent, or is refused.
    pub fn settle(&mut self, round: u64, node: Address) {
        self.found.remove(&(round, node));
    }

    /// Answers that wait to be scored.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Answers that were dropped because too many waited, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    fn is_found(&self, seen: &Seen) -> bool {
        self.found.contains_key(&(seen.round, seen.node))
    }
}
