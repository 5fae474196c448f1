//! What others answered, and who of them claims a chunk that is not theirs.
//!
//! A claim is a root; only the answers to its draws show chunks. So a false claim is seen when one of its false chunks is drawn. Every
//! answer is scored once ([`Jury`]), within a number of hashes for each tick; what waits is bounded. Pure: blocks are read, and
//! witnesses asked ([`crate::rounds::witnesses`]), by others.

use crate::challenge::jury::{Jury, Verdict};
use crate::challenge::segment_answer::SegmentAnswer;
use crate::rounds::witnesses::Suspicion;
use massa_distributed_storage_exports::merkle::MAX_PATH_SIBLINGS;
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
    /// Whether a node claimed what an answer shows, and that is in the archive: anybody can put an answer in its name into a block.
    /// Costs [`CLAIM_HASHES`].
    pub is_claimed: &'a dyn Fn(&Address, u64, &SegmentAnswer) -> bool,
}

/// Hashes that follow a sum path to its claim, and a chunk to the root of its segment.
pub const CLAIM_HASHES: u64 = 41 + MAX_PATH_SIBLINGS as u64;

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
    found: Vec<Suspicion>,
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

    /// Scores answers until `hashes_max` hashes are spent, or none waits. The last one may spend two hashes for each juror more.
    pub fn score(&mut self, court: &Court<'_>, hashes_max: u64) -> Scored {
        let mut scored = Scored::default();
        while scored.hashes < hashes_max {
            let Some(seen) = self.waiting.pop_front() else { break };
            scored.answers += 1;
            if let Some(suspicion) = judge(seen, court, &mut scored.hashes) {
                self.found.push(suspicion);
            }
        }
        scored
    }

    /// The claims that were found to be false, as far as scores tell, since this was asked last.
    pub fn take_found(&mut self) -> Vec<Suspicion> {
        std::mem::take(&mut self.found)
    }

    /// Answers that wait to be scored.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Answers that were dropped because too many waited, since the start.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

fn judge(seen: Seen, court: &Court<'_>, hashes: &mut u64) -> Option<Suspicion> {
    let jury = court.juries.get(&seen.round)?;
    let chunk = (seen.exhibit.position.segment, &seen.exhibit.chunk.id);
    let worst_holder = (court.worst_holder)(seen.round, seen.exhibit.position, chunk.1);
    if jury.judge(&seen.node, chunk, worst_holder, hashes) == Verdict::NotRefuted {
        return None;
    }
    *hashes += CLAIM_HASHES;
    if !(court.is_claimed)(&seen.node, seen.round, &seen.exhibit) {
        return None;
    }
    Some(Suspicion {
        candidates: jury.candidates(&seen.node, chunk, hashes),
        witnesses: jury.factor(),
        node: seen.node,
        round: seen.round,
        exhibit: seen.exhibit,
    })
}
