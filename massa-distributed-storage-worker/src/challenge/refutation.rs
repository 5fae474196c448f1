//! Refuting a claimed chunk that the node was not assigned.
//!
//! The registry never knows the whole assignment. It is shown one claimed chunk and R other nodes that come before the accused in its
//! placement: with lower scores, filled, with a retention that covers the segment until the round ends, and claiming the chunk
//! themselves. Then the accused is not among the R best filled nodes, nor ranked above the last of them. All are scored by what they had
//! declared when they claimed the round, so no change since, and no lack of room, makes an honest claim refutable.
//!
//! Claims can be seen only where trees are known: an answer to a draw carries the sum path of the drawn chunk, and a witness that is
//! asked shows its own ([`crate::rounds::witnesses`]). What `refuteClaim` is sent: [`crate::smart_contract::storage_registry::refute_claim`].

use crate::challenge::segment_answer::SegmentAnswer;
use crate::challenge::sums::{Claim, SumPath};
use crate::replication::placement_score;
use crate::smart_contract::state::{ConfigRecord, NodeRecord, RoundRecord};
use crate::smart_contract::views::RoundResult;
use massa_distributed_storage_exports::{ChunkId, SegmentRoot};
use massa_models::address::Address;

/// A node that claims a chunk, and its way from there to its claim.
pub type Witness = (Address, SumPath);

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
    pub witnesses: Vec<Witness>,
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
    /// It has no claim.
    #[error("witness claimed nothing for this round: {0}")]
    NoClaimOf(Address),
    /// It did not hold its share.
    #[error("witness is not filled: {0}")]
    NotFilled(Address),
    /// Its retention is too short.
    #[error("witness does not keep the segment until the end of the round: {0}")]
    Retention(Address),
    /// It does not score lower.
    #[error("witness has no lower score: {0}")]
    Score(Address),
    /// It does not claim the chunk.
    #[error("witness does not claim the chunk: {0}")]
    NotClaimed(Address),
}

impl RefutationError {
    /// The witness that is refused, if one is.
    pub fn witness(&self) -> Option<&Address> {
        match self {
            Self::Unknown(witness)
            | Self::NoClaimOf(witness)
            | Self::NotFilled(witness)
            | Self::Retention(witness)
            | Self::Score(witness)
            | Self::NotClaimed(witness) => Some(witness),
            _ => None,
        }
    }
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
    /// R, as the round has it.
    pub(super) fn witnesses(&self) -> usize {
        usize::try_from(self.round.factor).unwrap_or(usize::MAX)
    }

    fn node(&self, address: &Address) -> Result<&NodeRecord, RefutationError> {
        let node = self.nodes.iter().find(|node| node.address == *address);
        node.ok_or(RefutationError::Unknown(*address))
    }
}

impl Refutation {
    /// Finds the witnesses against a chunk that `accused` claimed for `round`; `None` if there are too few of them: the claim
    /// may be right. `sum_path` gives what is known of the claims of others to the chunk.
    ///
    /// `exhibit` is an answer of the accused node, or [`SegmentAnswer::exhibit`]; its leaf is dropped.
    pub fn find(
        accused: &NodeRecord,
        round: u64,
        exhibit: &SegmentAnswer,
        bench: Bench<'_>,
        sum_path: impl Fn(&Address) -> Option<SumPath>,
    ) -> Option<Self> {
        let mut found = Self {
            node: accused.address,
            round,
            exhibit: exhibit.without_leaf(),
            witnesses: Vec::new(),
        };
        let limit = score_of(accused, accused.claim_of(round)?, &exhibit.chunk.id)?;
        let against = bench.nodes.iter().filter_map(|node| {
            let witness = (node.address, sum_path(&node.address)?);
            let holds = found.check_witness(node, &witness.1, accused, bench, limit).is_ok();
            holds.then_some((node.address.to_string(), witness))
        });
        let mut witnesses: Vec<(String, Witness)> = against.take(bench.witnesses()).collect();
        if witnesses.len() < bench.witnesses() {
            return None;
        }
        witnesses.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        found.witnesses = witnesses.into_iter().map(|(_, witness)| witness).collect();
        Some(found)
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
        let texts: Vec<String> = self.witnesses.iter().map(|(address, _)| address.to_string()).collect();
        if !texts.windows(2).all(|pair| pair[0] < pair[1]) {
            return Err(RefutationError::Order);
        }
        // Without a key the accused has no claim.
        let slot = accused.claim_of(self.round).ok_or(RefutationError::NoClaim)?;
        let limit = score_of(accused, slot, &self.exhibit.chunk.id).ok_or(RefutationError::NoClaim)?;
        for (address, sum_path) in &self.witnesses {
            self.check_witness(bench.node(address)?, sum_path, accused, bench, limit)?;
        }
        Ok(())
    }

    fn check_witness(
        &self,
        witness: &NodeRecord,
        sum_path: &SumPath,
        accused: &NodeRecord,
        bench: Bench<'_>,
        limit: u64,
    ) -> Result<(), RefutationError> {
        let address = witness.address;
        if address == accused.address {
            return Err(RefutationError::Own);
        }
        let slot = witness
            .claim_of(self.round)
            .ok_or(RefutationError::NoClaimOf(address))?;
        if !slot.filled {
            return Err(RefutationError::NotFilled(address));
        }
        let position = self.exhibit.position;
        if !witness.covers(position.segment, self.round, &bench.config.next) {
            return Err(RefutationError::Retention(address));
        }
        let chunk = &self.exhibit.chunk;
        if score_of(witness, slot, &chunk.id).map_or(true, |score| score >= limit) {
            return Err(RefutationError::Score(address));
        }
        let claim = Claim {
            root: slot.root,
            leaves: slot.leaves,
        };
        if claim.has(position, (chunk.leaf_count(), &chunk.id), sum_path) {
            Ok(())
        } else {
            Err(RefutationError::NotClaimed(address))
        }
    }
}

/// By what a node had declared when it claimed the round.
fn score_of(node: &NodeRecord, claim: &RoundResult, chunk: &ChunkId) -> Option<u64> {
    placement_score(chunk, node.placement_key.as_ref()?, claim.weight)
}
