//! Replication manager: which nodes hold which chunk. Weighted rendezvous hashing, in integers.
//!
//! Called by everything that must know who holds a chunk: what is kept, whom to ask, what is repaired. Plain calculations
//! over a [`NodeSet`] and the chunks of the archive; no clock, no database. Every node that knows the same nodes and the
//! same chunks computes the same holders.
//!
//! # Score
//!
//! Each node has a score for each chunk; the lowest scores hold it. All numbers are unsigned integers.
//!
//! ```text
//! h      first 8 bytes, little-endian, of H(domain (64) | chunk id (32) | placement key (32))
//! L      −log2((h + 1) / 2⁶⁴) in units of 2⁻³², see below; 0 … 2³⁸
//! score  ⌊L · 2²⁴ / weight⌋, weight in GB; a node of weight 0 has no score and holds nothing
//! ```
//!
//! `domain` is [`PLACEMENT_DOMAIN`]. L follows from h bit by bit, by squaring:
//!
//! ```text
//! if h = 2⁶⁴ − 1:  L = 0
//! n = h + 1;  z = leading zero bits of n;  x = n · 2ᶻ;  f = 0
//! 32 times:  (hi, lo) = the upper and lower 64 bits of x · x
//!            if the top bit of hi is set:  f = 2f + 1;  x = hi
//!            else:                         f = 2f;      x = 2 · hi + top bit of lo
//! L = (z + 1) · 2³² − f
//! ```
//!
//! Equal scores are ordered by placement key. −log2(u)/weight is exponentially distributed at a rate in proportion to the
//! weight, so the least of them falls to each node in proportion to its weight, and a node that joins or leaves changes
//! nothing between the others. Committed answers: `tests/data/placement-vectors.json`. Why: decision 0014.

mod change;
pub mod checkpoint;
mod hashing;
mod ids;
mod placed_segment;
mod placed_set;
mod ranked;
pub mod room;
mod standing;
pub mod table;

pub use hashing::PlacingCosts;
pub use ids::ChunkIds;
pub use placed_set::{own_index, search_of_segment, NodesInForce, SetName};
pub use standing::{Standing, Standings};
pub use table::{OwnChunk, PlacementRules, PlacingProgress, PutSegmentError, SegmentPlacement};

use blake3::platform::Platform;
use blake3::IncrementCounter;
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::types::Digest;
use massa_distributed_storage_exports::ChunkId;
use massa_models::node::NodeId;
use std::fmt::Write;
use std::sync::LazyLock;

/// What the input of a placement hash begins with: one whole block of BLAKE3, so that chunk id and key fill the next one.
pub const PLACEMENT_DOMAIN: [u8; 64] = padded(b"massa distributed storage: placement of a chunk");
/// What the input of the hash begins with that gives a node of the genesis file its placement key.
pub const GENESIS_KEY_DOMAIN: [u8; 64] = padded(b"massa distributed storage: placement key, genesis file");
/// Nodes that placement looks at: the first in the order of the set. Indexes are remembered in 16 bits.
pub const MAX_PLACEMENT_NODES: usize = u16::MAX as usize;
/// Nodes named in [`log_line`].
const LOGGED_NODES: usize = 20;
/// Characters of a node id in [`log_line`].
const LOGGED_ID_CHARS: usize = 12;
/// Fractional bits of a logarithm.
const LOG_BITS: u32 = 32;
/// A logarithm is shifted by this before it is divided by the weight: 2³⁸ · 2²⁴ still fits 64 bits.
const SCORE_SHIFT: u32 = 24;

const fn padded(text: &[u8]) -> [u8; 64] {
    let mut block = [0; 64];
    let mut at = 0;
    while at < text.len() {
        block[at] = text[at];
        at += 1;
    }
    block
}

/// Score of a node for a chunk, in integers; the lowest hold it. `None` for weight 0.
///
/// Costs two blocks of BLAKE3 and 32 squarings. See the module for the formula.
pub fn placement_score(chunk_id: &ChunkId, placement_key: &Digest, weight: u64) -> Option<u64> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&PLACEMENT_DOMAIN);
    hasher.update(chunk_id.as_bytes());
    hasher.update(placement_key);
    let h = first_word(hasher.finalize().as_bytes());
    (negative_log2(h) << SCORE_SHIFT).checked_div(weight)
}

/// −log2((h + 1) / 2⁶⁴) in units of 2⁻³²: at most 2³⁸.
pub fn negative_log2(h: u64) -> u64 {
    let Some(n) = h.checked_add(1) else { return 0 };
    let zeros = n.leading_zeros();
    let mut x = n << zeros;
    let mut fraction = 0u64;
    for _ in 0..LOG_BITS {
        let square = u128::from(x) * u128::from(x);
        let carry = (square >> 127) as u64;
        fraction = fraction << 1 | carry;
        x = (square >> (63 + carry)) as u64;
    }
    ((u64::from(zeros) + 1) << LOG_BITS) - fraction
}

/// At most [`negative_log2`], in two multiplications less than thirty: enough to see that most nodes are not among the
/// best.
///
/// The first term is log2(e) · (1 − u) ≤ −log2(u), close where u is close to 1, which is where winners are. The second
/// counts leading zeros.
fn negative_log2_at_least(h: u64) -> u64 {
    /// ⌊log2(e) · 2³²⌋
    const LOG2_E: u128 = 6_196_328_018;
    let linear = ((u128::from(!h) * LOG2_E) >> 64) as u64;
    linear.max(u64::from(h.leading_zeros()) << LOG_BITS)
}

/// Placement key of a node of the genesis file: `H(domain (64) | public key (33))`.
pub fn genesis_placement_key(node_id: &NodeId) -> Digest {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&GENESIS_KEY_DOMAIN);
    hasher.update(&node_id.get_public_key().to_bytes());
    *hasher.finalize().as_bytes()
}

/// Indexes of all nodes that have a weight, best first, whether they are filled or not.
pub fn rank(chunk_id: &ChunkId, nodes: &NodeSet) -> Vec<usize> {
    let nodes = nodes.nodes().iter().enumerate().take(MAX_PLACEMENT_NODES);
    let scored = nodes.filter_map(|(index, node)| {
        let score = placement_score(chunk_id, &node.placement_key, node.allocated_storage_gb)?;
        Some((score, index))
    });
    let mut scored: Vec<(u64, usize)> = scored.collect();
    scored.sort_unstable();
    scored.into_iter().map(|(_, index)| index).collect()
}

/// Indexes of the nodes that hold a chunk, best first.
///
/// Of the nodes that have a weight and are not `skipped`: the `replication_factor` best filled ones, and every unfilled one
/// that ranks above the last of them. While fewer nodes than the factor are filled, all count as filled; if there are fewer
/// nodes than the factor, all hold.
///
/// For one chunk. Who asks for many makes a [`HolderSearch`] once.
pub fn holders(
    chunk_id: &ChunkId,
    nodes: &NodeSet,
    replication_factor: usize,
    skipped: &dyn Fn(usize) -> bool,
) -> Vec<usize> {
    let mut best = Vec::new();
    HolderSearch::new(nodes, replication_factor).find(chunk_id, skipped, &mut best);
    best.iter().map(Candidate::index).collect()
}

/// A node set prepared for finding the holders of many chunks.
#[derive(Clone, Debug)]
pub struct HolderSearch {
    replication_factor: usize,
    filled: Vec<Contender>,
    unfilled: Vec<Contender>,
}

#[derive(Clone, Debug)]
struct Contender {
    key: Digest,
    weight: u64,
    index: u16,
}

/// A node with its score. Nodes of a set are in the order of their keys, so equal scores are ordered by key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    score: u64,
    index: u16,
}

impl Candidate {
    /// Index of the node in its set.
    pub fn index(&self) -> usize {
        usize::from(self.index)
    }
}

impl HolderSearch {
    /// Prepares a set. A replication factor of 0 counts as 1.
    pub fn new(nodes: &NodeSet, replication_factor: usize) -> Self {
        let mut search = Self {
            replication_factor: replication_factor.max(1),
            filled: Vec::new(),
            unfilled: Vec::new(),
        };
        for (node, index) in nodes.nodes().iter().zip(0..u16::MAX) {
            let group = match (node.allocated_storage_gb, node.filled) {
                (0, _) => continue,
                (_, true) => &mut search.filled,
                (_, false) => &mut search.unfilled,
            };
            group.push(Contender {
                key: node.placement_key,
                weight: node.allocated_storage_gb,
                index,
            });
        }
        search
    }

    /// Writes the holders of a chunk into `best`, best first: see [`holders`].
    ///
    /// Costs one block of BLAKE3 for each node, 16 of them side by side, and a few logarithms. `skipped` is only asked
    /// about nodes that would hold.
    pub fn find(&self, chunk_id: &ChunkId, skipped: impl Fn(usize) -> bool, best: &mut Vec<Candidate>) {
        best.clear();
        let may_hold = |contender: &Contender| !skipped(usize::from(contender.index));
        let keep_best = |best: &mut Vec<Candidate>, contenders: &[Contender]| {
            for_each_hash(chunk_id, contenders, |h, contender| {
                let limit = best.get(self.replication_factor - 1).copied();
                if let Some(candidate) = contender.beats(h, limit).filter(|_| may_hold(contender)) {
                    best.truncate(self.replication_factor - 1);
                    best.insert(best.partition_point(|other| *other < candidate), candidate);
                }
            });
        };
        keep_best(best, &self.filled);
        if best.len() < self.replication_factor {
            return keep_best(best, &self.unfilled);
        }
        let last = best.last().copied();
        for_each_hash(chunk_id, &self.unfilled, |h, contender| {
            let candidate = contender.beats(h, last).filter(|_| may_hold(contender));
            best.extend(candidate);
        });
        best.sort_unstable();
    }
}

impl Contender {
    /// This node with its score, if that is better than `limit`.
    fn beats(&self, h: u64, limit: Option<Candidate>) -> Option<Candidate> {
        if let Some(limit) = limit {
            let least = u128::from(negative_log2_at_least(h)) << SCORE_SHIFT;
            if least >= (u128::from(limit.score) + 1) * u128::from(self.weight) {
                return None;
            }
        }
        let candidate = Candidate {
            score: (negative_log2(h) << SCORE_SHIFT) / self.weight,
            index: self.index,
        };
        limit.map_or(true, |limit| candidate < limit).then_some(candidate)
    }
}

// Side by side: as `leaves.rs` of the exports crate, with the undocumented `blake3::platform` of the pinned version. Without
// it, `for_each_hash` becomes a loop over the plain hash: a test holds the two equal.

/// Hashes computed side by side: as many as the widest registers take.
const LANES: usize = 16;
// Constants of the hash function. Source: the BLAKE3 paper, tables 1 and 3.
const INITIAL_VALUE: [u32; 8] = [
    0x6A09_E667,
    0xBB67_AE85,
    0x3C6E_F372,
    0xA54F_F53A,
    0x510E_527F,
    0x9B05_688C,
    0x1F83_D9AB,
    0x5BE0_CD19,
];
const CHUNK_START: u8 = 1;
const CHUNK_END: u8 = 2;
const ROOT: u8 = 8;

/// The hash function's state after [`PLACEMENT_DOMAIN`].
static AFTER_DOMAIN: LazyLock<[u32; 8]> = LazyLock::new(|| {
    let mut value = INITIAL_VALUE;
    Platform::detect().compress_in_place(&mut value, &PLACEMENT_DOMAIN, 64, 0, CHUNK_START);
    value
});

/// Calls `visit` with `h` of each contender, in order.
fn for_each_hash<'a>(chunk_id: &ChunkId, contenders: &'a [Contender], mut visit: impl FnMut(u64, &'a Contender)) {
    let platform = Platform::detect();
    let key = &*AFTER_DOMAIN;
    let mut blocks = [[0u8; 64]; LANES];
    for block in &mut blocks {
        block[..32].copy_from_slice(chunk_id.as_bytes());
    }
    let mut hashes = [0u8; LANES * 32];
    for group in contenders.chunks(LANES) {
        for (block, contender) in blocks.iter_mut().zip(group) {
            block[32..].copy_from_slice(&contender.key);
        }
        let inputs: [&[u8; 64]; LANES] = std::array::from_fn(|lane| &blocks[lane]);
        let (inputs, out) = (&inputs[..group.len()], &mut hashes[..group.len() * 32]);
        platform.hash_many(inputs, key, 0, IncrementCounter::No, 0, 0, CHUNK_END | ROOT, out);
        for (hash, contender) in out.chunks_exact(32).zip(group) {
            visit(first_word(hash), contender);
        }
    }
}

fn first_word(hash: &[u8]) -> u64 {
    u64::from_le_bytes(hash[..8].try_into().expect("8 of 32 bytes"))
}

/// `Chunks assigned to nodes: node_A[5], node_B[5], node_C[5]`: how many of the placed chunks each node holds.
///
/// Nodes are named by the first characters of their ids, or of their operators' addresses if they have none, in the order of the ids; after 20 of them the others are counted.
///
/// Source: storage plan, phase 1.2, "Replication Manager".
pub fn log_line(nodes: &[StorageNode], placed: &[Vec<usize>]) -> String {
    let mut counts = vec![0u32; nodes.len()];
    for index in placed.iter().flatten() {
        counts[*index] += 1;
    }
    let assigned = nodes.iter().zip(counts).filter(|(_, count)| *count > 0);
    let mut assigned: Vec<(String, u32)> = assigned.map(|(node, count)| (name_of(node), count)).collect();
    assigned.sort_unstable();
    let mut line = "Chunks assigned to nodes: ".to_string();
    if assigned.is_empty() {
        line.push_str("none");
    }
    for (position, (id, count)) in assigned.iter().take(LOGGED_NODES).enumerate() {
        let separator = if position == 0 { "" } else { ", " };
        let id: String = id.chars().take(LOGGED_ID_CHARS).collect();
        write!(line, "{separator}{id}[{count}]").expect("a string takes all");
    }
    if let Some(more) = assigned.len().checked_sub(LOGGED_NODES).filter(|more| *more > 0) {
        write!(line, " … and {more} more").expect("a string takes all");
    }
    line
}

fn name_of(node: &StorageNode) -> String {
    node.node_id
        .map_or_else(|| node.address.to_string(), |node_id| node_id.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// A bound above the logarithm would leave out nodes that hold.
        #[test]
        fn the_cheap_bound_is_never_above_the_logarithm(h in any::<u64>(), shift in 0u32..64) {
            for h in [h, h >> shift, !(h >> shift), u64::MAX - 1, u64::MAX, 0, 1, 1 << shift, (1 << shift) - 1] {
                prop_assert!(negative_log2_at_least(h) <= negative_log2(h), "h {}", h);
            }
        }
    }
}
