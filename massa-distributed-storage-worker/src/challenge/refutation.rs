//! Refuting a claimed chunk that the node was not assigned.
//!
//! The registry never knows the whole assignment. It is shown one claimed chunk and R other nodes that score lower for it:
//! filled and unchanged in weight over the last three rounds, and surely with room. Then the accused is not among the R best
//! filled nodes, nor ranked above the last of them.
//!
//! A false claim can be seen only where the accused node's tree is known: an answer to a draw carries the sum path of the
//! drawn chunk. What `refuteClaim` is sent: [`crate::smart_contract::storage_registry::refute_claim`].

use crate::challenge::segment_answer::SegmentAnswer;
use crate::challenge::sums::Claim;
use crate::replication::placement_score;
use crate::rewards::LEAVES_PER_GB;
use crate::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_models::address::Address;

/// Rounds in which a witness has been filled and unchanged, so that the accused had time to hand over.
pub const STEADY_ROUNDS: u64 = 3;
/// A witness that claimed more than so many tenths of its allocation may have been skipped as full: no proof.
pub const WITNESS_TENTHS: u128 = 8;

/// A claimed chunk, and the nodes that score lower for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refutation {
    /// The accused node.
    pub node: Address,
    /// The round that was claimed.
    pub round: u64,
    /// The chunk, without a leaf.
    pub exhibit: SegmentAnswer,
    /// R nodes, in ascending order of their texts.
    pub witnesses: Vec<Address>,
}

/// Why a refutation is refused. Messages are the registry's, where it has one.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefutationError {
    /// No claim to refute.
    #[error("nothing was claimed for this round")]
    NoClaim,
    /// It is refuted.
    #[error("this claim is refuted already")]
    Refuted,
    /// It shows a leaf.
    #[error("a refutation shows no leaf")]
    Leaf,
    /// The chunk is not claimed.
    #[error("sum path does not end in the claim")]
    SumPath,
    /// The segment has no accepted root.
    #[error("segment is not anchored")]
    SegmentUnknown,
    /// The chunk is not in the archive.
    #[error("archive path does not end in the segment root")]
    ArchivePath,
    /// Fewer or more witnesses than the replication factor.
    #[error("{found} witnesses, expected {expected}")]
    Count {
        /// Given.
        found: usize,
        /// The replication factor.
        expected: usize,
    },
    /// Not in ascending order.
    #[error("witnesses must be different, in ascending order")]
    Order,
    /// The accused is listed.
    #[error("a node is not its own witness")]
    Own,
    /// Not a node.
    #[error("not a storage node: {0}")]
    Unknown(Address),
    /// Not steady.
    #[error("witness is not filled and unchanged for three rounds: {0}")]
    NotSteady(Address),
    /// It may have been full.
    #[error("witness may have been full: {0}")]
    Full(Address),
    /// It does not score lower.
    #[error("witness has no lower score: {0}")]
    Score(Address),
    /// Nobody can be shown to have had room.
    #[error("claims fill the network: a node may have been skipped as full")]
    NetworkFull,
}

/// What a refutation is found in and checked against: registered nodes and configuration.
#[derive(Clone, Copy, Debug)]
pub struct Bench<'a> {
    /// The registered nodes.
    pub nodes: &'a [NodeRecord],
    /// The configuration.
    pub config: &'a ConfigRecord,
    /// The round that was claimed.
    pub round: &'a RoundRecord,
}

impl Bench<'_> {
    /// R: the larger of the two factors while one follows the other.
    pub(super) fn witnesses(&self) -> usize {
        let factor = self
            .config
            .now
            .replication_factor
            .max(self.config.next.replication_factor);
        usize::try_from(factor).unwrap_or(usize::MAX)
    }

    /// Who is skipped as full follows from what is assigned, and a witness may claim less than that: so all claims together
    /// must leave room.
    pub(super) fn network_has_room(&self) -> bool {
        leaves_room(self.round.leaves, self.round.claim_weight)
    }

    fn node(&self, address: &Address) -> Result<&NodeRecord, RefutationError> {
        let node = self.nodes.iter().find(|node| node.address == *address);
        node.ok_or(RefutationError::Unknown(*address))
    }
}

impl Refutation {
    /// Finds the witnesses against a chunk that `accused` claimed for `round`; `None` if there are too few of them: the claim
    /// may be right.
    ///
    /// `exhibit` is an answer of the accused node, or [`SegmentAnswer::exhibit`]; its leaf is dropped.
    pub fn find(accused: &NodeRecord, round: u64, exhibit: &SegmentAnswer, bench: Bench<'_>) -> Option<Self> {
        let chunk = exhibit.chunk.id;
        let limit = score_of_accused(accused, &chunk)?;
        let against = |node: &&NodeRecord| check_witness(node, accused, round, &chunk, limit).is_ok();
        let mut witnesses: Vec<(String, Address)> = bench
            .nodes
            .iter()
            .filter(against)
            .map(|node| (node.address.to_string(), node.address))
            .collect();
        witnesses.sort_unstable();
        if witnesses.len() < bench.witnesses() || !bench.network_has_room() {
            return None;
        }
        Some(Self {
            node: accused.address,
            round,
            exhibit: exhibit.without_leaf(),
            witnesses: witnesses
                .into_iter()
                .take(bench.witnesses())
                .map(|(_, address)| address)
                .collect(),
        })
    }

    /// Checks the evidence as the registry does. Until when a claim can be refuted is the registry's own business.
    ///
    /// # Errors
    /// [`RefutationError`].
    pub fn check(&self, bench: Bench<'_>, segment_root: Option<&SegmentRoot>) -> Result<(), RefutationError> {
        let accused = bench.node(&self.node)?;
        let slot = accused.claim_of(self.round).ok_or(RefutationError::NoClaim)?;
        if slot.refuted {
            return Err(RefutationError::Refuted);
        }
        if self.exhibit.shows_leaf() {
            return Err(RefutationError::Leaf);
        }
        let claim = Claim {
            root: slot.root,
            leaves: slot.leaves,
        };
        if self.exhibit.before_under(&claim).is_none() {
            return Err(RefutationError::SumPath);
        }
        let root = segment_root.ok_or(RefutationError::SegmentUnknown)?;
        if !self.exhibit.is_under(root) {
            return Err(RefutationError::ArchivePath);
        }
        self.check_witnesses(accused, bench)
    }

    fn check_witnesses(&self, accused: &NodeRecord, bench: Bench<'_>) -> Result<(), RefutationError> {
        let (found, expected) = (self.witnesses.len(), bench.witnesses());
        if found != expected {
            return Err(RefutationError::Count { found, expected });
        }
        let texts: Vec<String> = self.witnesses.iter().map(Address::to_string).collect();
        if !texts.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(RefutationError::Order);
        }
        let chunk = self.exhibit.chunk.id;
        // Without a key the accused has no claim; without any weight nobody could score lower.
        let limit = score_of_accused(accused, &chunk).ok_or(RefutationError::NoClaim)?;
        for address in &self.witnesses {
            check_witness(bench.node(address)?, accused, self.round, &chunk, limit)?;
        }
        if !bench.network_has_room() {
            return Err(RefutationError::NetworkFull);
        }
        Ok(())
    }
}

/// The larger of its two weights, so that a change cannot be held against it.
pub(super) fn accused_weight(accused: &NodeRecord) -> u64 {
    accused.weight_now.max(accused.weight_next)
}

fn score_of_accused(accused: &NodeRecord, chunk: &ChunkId) -> Option<u64> {
    placement_score(chunk, accused.placement_key.as_ref()?, accused_weight(accused))
}

fn check_witness(
    witness: &NodeRecord,
    accused: &NodeRecord,
    round: u64,
    chunk: &ChunkId,
    limit: u64,
) -> Result<(), RefutationError> {
    let address = witness.address;
    if address == accused.address {
        return Err(RefutationError::Own);
    }
    if !is_steady(witness, round) {
        return Err(RefutationError::NotSteady(address));
    }
    if !has_room(witness, round) {
        return Err(RefutationError::Full(address));
    }
    let key = witness.placement_key.as_ref();
    let score = key.and_then(|key| placement_score(chunk, key, witness.declared_at(round)));
    if score.map_or(true, |score| score >= limit) {
        return Err(RefutationError::Score(address));
    }
    Ok(())
}

/// Whether a node was filled and unchanged in weight over the three rounds before `round`, and in it.
pub(super) fn is_steady(witness: &NodeRecord, round: u64) -> bool {
    let Some(since) = round.checked_sub(STEADY_ROUNDS) else {
        return false;
    };
    let weighs = witness.weight_at(since) > 0 && witness.weight_at(round) > 0;
    let unlapsed = witness.lapsed_until <= since || witness.lapsed_from > round;
    let filled = witness.filled_from <= since && witness.filled_to > round;
    let unchanged = witness.weight_from_round <= since || witness.weight_from_round > round;
    weighs && unlapsed && filled && unchanged
}

/// Whether a node surely was not skipped as full.
pub(super) fn has_room(witness: &NodeRecord, round: u64) -> bool {
    let claim = witness.claim_of(round);
    claim.is_some_and(|claim| leaves_room(claim.leaves, claim.weight))
}

/// Whether `leaves` are at most 8/10 of `gb`.
fn leaves_room(leaves: u64, gb: u64) -> bool {
    u128::from(gb) * u128::from(LEAVES_PER_GB) * WITNESS_TENTHS >= u128::from(leaves) * 10
}
