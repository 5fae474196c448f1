//! Repairs that nodes announce before a beacon, so that they are served what they lost while its answers are taken: pure.
//!
//! In the window of answers nobody serves a claimant what it claims ([`super::guard`]). A node that lost a chunk between its
//! claim and the beacon would miss the draws of it, though it has time to fetch it. So it says which chunks it repairs before
//! anybody can know what will be drawn. That is also what a cheater can do, so it is little ([`repairs_max`]), holds for one
//! round, and shows to every peer what the node lacks. Decision 0031.

use crate::rounds::timing::next_beacon;
use crate::rounds::RoundTimes;
use massa_distributed_storage_exports::network::MAX_ANNOUNCED_REPAIRS;
use massa_distributed_storage_exports::ChunkPosition;
use massa_models::node::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Chunks that any claimant may announce: what a few bad sectors, or a file of a database, take. Of a claim so small that
/// this is much of it, 8 MiB are not worth cheating for.
const REPAIRS_MIN: u64 = 8;
/// Of larger claims, one chunk of so many. A node that keeps back 1 % for good, and announces it in every round, saves 1 % of
/// its disk, tells all peers so, and fails every audit of it.
const REPAIRS_SHARE: u64 = 100;
/// Announcements of one node for one round that name more than those before: what it lost first, and what it found out later.
pub const ANNOUNCEMENTS_MAX: u32 = 4;
/// Announced chunks that are remembered of all nodes: 1.5 MB. Beyond that announcements are let go.
pub const REPAIRS_TOTAL: usize = 1 << 16;

/// How many chunks a node may announce that claimed so many leaves; full chunks have `chunk_leaves`.
pub fn repairs_max(claimed_leaves: u64, chunk_leaves: u64) -> usize {
    let chunks = claimed_leaves / chunk_leaves.max(1);
    let most = (chunks / REPAIRS_SHARE).max(REPAIRS_MIN);
    usize::try_from(most)
        .unwrap_or(MAX_ANNOUNCED_REPAIRS)
        .min(MAX_ANNOUNCED_REPAIRS)
}

/// What became of an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// It counts. So many of its chunks were not announced before.
    Taken {
        /// Of its chunks.
        new: usize,
    },
    /// It is not for the round whose beacon comes next.
    OtherRound {
        /// That round.
        next: u64,
    },
    /// The node announced often enough for this round.
    TooOften,
    /// Too much is remembered already.
    Full,
}

#[derive(Debug)]
struct OfNode {
    announcements: u32,
    chunks: Vec<ChunkPosition>,
}

/// What nodes announced, of the round whose answers are taken, and of the next.
#[derive(Debug)]
pub struct Repairs {
    periods: u64,
    rounds: BTreeMap<u64, BTreeMap<NodeId, OfNode>>,
    total: usize,
}

impl Repairs {
    /// Nothing is announced. Rounds have `periods` periods, at least 1.
    pub fn new(periods: u64) -> Self {
        Self {
            periods,
            rounds: BTreeMap::new(),
            total: 0,
        }
    }

    /// Takes what a storage node announced itself. `chunks` are at most [`MAX_ANNOUNCED_REPAIRS`]; they are added to what it
    /// announced for this round before.
    pub fn on_announced(
        &mut self,
        from: NodeId,
        round: u64,
        chunks: &[ChunkPosition],
        current_period: u64,
    ) -> Announced {
        let next = next_beacon(current_period, self.periods).round;
        if round != next {
            return Announced::OtherRound { next };
        }
        self.forget_below(next.saturating_sub(1));
        let of_round = self.rounds.entry(round).or_default();
        let is_known = of_round.contains_key(&from);
        let before = of_round.get(&from).map_or(&[][..], |of_node| &of_node.chunks);
        let known: BTreeSet<&ChunkPosition> = before.iter().collect();
        let room = MAX_ANNOUNCED_REPAIRS.saturating_sub(before.len());
        let new: Vec<ChunkPosition> = chunks.iter().filter(|chunk| !known.contains(chunk)).copied().collect();
        let new = &new[..new.len().min(room)];
        // Told again, because the connection was lost.
        if is_known && new.is_empty() {
            return Announced::Taken { new: 0 };
        }
        // An entry takes memory, too.
        if self.total + new.len() + usize::from(!is_known) > REPAIRS_TOTAL {
            return Announced::Full;
        }
        let of_node = of_round.entry(from).or_insert_with(|| OfNode {
            announcements: 0,
            chunks: Vec::new(),
        });
        if of_node.announcements >= ANNOUNCEMENTS_MAX {
            return Announced::TooOften;
        }
        of_node.announcements += 1;
        of_node.chunks.extend(new);
        self.total += new.len() + usize::from(!is_known);
        Announced::Taken { new: new.len() }
    }

    /// Whether a node announced a chunk for a round, among the first `most`.
    pub fn covers(&self, node: &NodeId, round: u64, chunk: ChunkPosition, most: usize) -> bool {
        let of_node = self.rounds.get(&round).and_then(|of_round| of_round.get(node));
        of_node.is_some_and(|of_node| of_node.chunks.iter().take(most).any(|of| *of == chunk))
    }

    /// Forgets the rounds that are over: all before the one whose answers are taken, or else before the next.
    pub fn forget_before(&mut self, open: Option<RoundTimes>, current_period: u64) {
        self.forget_below(open.unwrap_or_else(|| next_beacon(current_period, self.periods)).round);
    }

    fn forget_below(&mut self, oldest: u64) {
        self.rounds.retain(|round, _| *round >= oldest);
        let entries =
            |of_round: &BTreeMap<NodeId, OfNode>| of_round.values().map(|of| 1 + of.chunks.len()).sum::<usize>();
        self.total = self.rounds.values().map(entries).sum();
    }

    /// Nodes and chunks that are remembered, together.
    pub fn total(&self) -> usize {
        self.total
    }
}

/// What this node announces: of the chunks that it lacks those that its claim for the round covers, the newest first, as many
/// as it may.
pub fn to_announce(
    lacking: &[ChunkPosition],
    claimed_leaves: u64,
    chunk_leaves: u64,
    covers: impl Fn(&ChunkPosition) -> bool,
) -> Vec<ChunkPosition> {
    let ascending: BTreeSet<ChunkPosition> = lacking.iter().copied().collect();
    let most = repairs_max(claimed_leaves, chunk_leaves);
    let newest = ascending.into_iter().rev().filter(covers).take(most);
    let mut chosen: Vec<ChunkPosition> = newest.collect();
    chosen.sort_unstable();
    chosen
}
