//! Whether a block may enter the graph, and what it contradicts there.
//!
//! Two blocks contradict each other
//! - in one thread, when both continue the same block of it (thread incompatibility);
//! - in two threads, when neither knows what the other continues: each one's parent in the other's thread is older than
//!   the block that the other one continues there (grandpa incompatibility);
//! - when an ancestor of one contradicts the other one or an ancestor of it.
//!
//! All of this depends on the blocks alone. Nothing here changes the state.

use super::ConsensusState;
use massa_consensus_exports::block_status::{BlockStatus, DiscardReason, HeaderOrBlock};
use massa_models::active_block::ActiveBlock;
use massa_models::address::Address;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::prehash::PreHashSet;
use massa_models::slot::Slot;
use std::cmp::Ordering;
use tracing::warn;

/// What consensus looks at in a header.
pub(crate) struct HeaderFacts {
    pub(crate) slot: Slot,
    pub(crate) creator: Address,
    pub(crate) parents: Vec<BlockId>,
    pub(crate) fitness: u64,
}

impl HeaderFacts {
    pub(crate) fn of_header(header: &SecuredHeader) -> Self {
        Self {
            slot: header.content.slot,
            creator: header.content_creator_address,
            parents: header.content.parents.clone(),
            fitness: header.get_fitness(),
        }
    }

    /// `None` when the storage does not have the block: it was not claimed.
    pub(crate) fn of(content: &HeaderOrBlock) -> Option<Self> {
        match content {
            HeaderOrBlock::Header(header) => Some(Self::of_header(header)),
            HeaderOrBlock::Block { id, storage, .. } => {
                let blocks = storage.read_blocks();
                blocks.get(id).map(|block| Self::of_header(&block.content.header))
            }
        }
    }

    fn thread(&self) -> usize {
        usize::from(self.slot.thread)
    }
}

/// What to do with a block.
#[derive(Debug)]
pub(crate) enum HeaderCheckOutcome {
    /// It goes into the graph.
    Proceed {
        /// Its parents with their periods.
        parents: Vec<(BlockId, u64)>,
        /// The blocks that it contradicts.
        incompatibilities: PreHashSet<BlockId>,
    },
    /// Its slot has not begun.
    WaitForSlot,
    /// These must come first.
    WaitForDependencies(PreHashSet<BlockId>),
    /// It is refused for good.
    Discard(DiscardReason),
    /// It cannot be judged.
    Forget,
}

type Refused = HeaderCheckOutcome;

fn invalid<T>(reason: String) -> Result<T, Refused> {
    Err(HeaderCheckOutcome::Discard(DiscardReason::Invalid(reason)))
}

fn stale<T>() -> Result<T, Refused> {
    Err(HeaderCheckOutcome::Discard(DiscardReason::Stale))
}

impl ConsensusState {
    /// Judges a block that is not in the graph. `current_slot`: the slot of the clock, `None` before the first.
    pub(crate) fn check_header(&self, facts: &HeaderFacts, current_slot: Option<Slot>) -> HeaderCheckOutcome {
        let check = || {
            self.check_alone(facts)?;
            if current_slot.map_or(true, |current| facts.slot > current) {
                return Err(HeaderCheckOutcome::WaitForSlot);
            }
            let parents = self.check_parents(facts)?;
            let incompatibilities = self.find_incompatibilities(facts, &parents)?;
            let parents = facts.parents.iter().zip(&parents);
            Ok(HeaderCheckOutcome::Proceed {
                parents: parents.map(|(id, parent)| (*id, parent.slot.period)).collect(),
                incompatibilities,
            })
        };
        check().unwrap_or_else(|refused| refused)
    }

    /// What needs no other block.
    fn check_alone(&self, facts: &HeaderFacts) -> Result<(), Refused> {
        let (slot, threads) = (facts.slot, self.config.thread_count);
        if slot.thread >= threads || slot.period == 0 {
            return invalid(format!("slot {slot} is not one of {threads} threads after genesis"));
        }
        if facts.parents.len() != usize::from(threads) {
            let parents = facts.parents.len();
            return invalid(format!("{parents} parents instead of {threads}"));
        }
        if slot.period <= self.latest_final_blocks_periods[facts.thread()].1 {
            return stale();
        }
        match self.channels.selector_controller.get_producer(slot) {
            Ok(producer) if producer == facts.creator => Ok(()),
            Ok(producer) => invalid(format!("slot {slot} is {producer}'s, not {}'s", facts.creator)),
            Err(error) => {
                warn!(%slot, error = &error as &dyn std::error::Error, "no producer drawn");
                Err(HeaderCheckOutcome::Forget)
            }
        }
    }

    /// The parents, when all of them are in the graph and fit together in time.
    fn check_parents(&self, facts: &HeaderFacts) -> Result<Vec<&ActiveBlock>, Refused> {
        let mut parents = Vec::with_capacity(facts.parents.len());
        let mut missing = PreHashSet::default();
        let mut is_stale = false;
        for id in &facts.parents {
            match self.blocks_state.get(id) {
                Some(BlockStatus::Active { a_block, .. }) => parents.push(a_block.as_ref()),
                Some(BlockStatus::Discarded { reason, .. }) => match reason {
                    DiscardReason::Invalid(_) => return invalid(format!("parent {id} is invalid")),
                    // A final block that was forgotten: this one comes much too late.
                    DiscardReason::Stale | DiscardReason::Final => is_stale = true,
                },
                _ => {
                    missing.insert(*id);
                }
            }
        }
        if is_stale {
            return stale();
        }
        if !missing.is_empty() {
            return Err(HeaderCheckOutcome::WaitForDependencies(missing));
        }
        for (thread, parent) in parents.iter().enumerate() {
            if usize::from(parent.slot.thread) != thread || parent.slot >= facts.slot {
                let (id, slot) = (parent.block_id, parent.slot);
                return invalid(format!("parent {id} of {slot} cannot be parent number {thread}"));
            }
        }
        check_parents_of_parents(&parents)?;
        Ok(parents)
    }

    /// The blocks that contradict a block with these parents: none of them is final.
    fn find_incompatibilities(
        &self,
        facts: &HeaderFacts,
        parents: &[&ActiveBlock],
    ) -> Result<PreHashSet<BlockId>, Refused> {
        let mut found = PreHashSet::default();
        for parent in parents {
            if let Some(inherited) = self.gi_head.get(&parent.block_id) {
                found.extend(inherited.iter().copied());
            }
        }
        if let Some(parent) = facts.parents.iter().find(|parent| found.contains(parent)) {
            return invalid(format!("parent {parent} is incompatible with another parent"));
        }
        for root in self.thread_incompatible(facts, parents) {
            self.add_with_descendants(root, &mut found)?;
        }
        for root in self.grandpa_incompatible(facts, parents) {
            self.add_with_descendants(root, &mut found)?;
        }
        Ok(found)
    }

    /// Who contradicts a final block comes too late.
    fn add_with_descendants(&self, root: &ActiveBlock, found: &mut PreHashSet<BlockId>) -> Result<(), Refused> {
        if root.is_final {
            return stale();
        }
        found.insert(root.block_id);
        found.extend(root.descendants.iter().copied());
        Ok(())
    }

    /// Blocks that continue what this one continues.
    fn thread_incompatible(&self, facts: &HeaderFacts, parents: &[&ActiveBlock]) -> Vec<&ActiveBlock> {
        let thread = facts.thread();
        let siblings = parents[thread].children[thread].keys();
        siblings.filter_map(|id| self.blocks_state.active_block(id)).collect()
    }

    /// The first blocks of each other thread that neither know what this one continues nor continue what it knows. Their
    /// descendants contradict this block too.
    fn grandpa_incompatible<'a>(&'a self, facts: &HeaderFacts, parents: &[&'a ActiveBlock]) -> Vec<&'a ActiveBlock> {
        let own = facts.thread();
        let continued = parents[own].slot.period;
        let is_unaware = |block: &&ActiveBlock| block.parents.get(own).is_some_and(|(_, period)| *period < continued);
        let mut found = Vec::new();
        for (thread, parent) in parents.iter().enumerate().filter(|(thread, _)| *thread != own) {
            // Children continue the parent, which this block knows. If a grandchild is aware, so is all that follows it.
            for child in self.children_in(parent, thread) {
                found.extend(self.children_in(child, thread).filter(is_unaware));
            }
        }
        found
    }

    fn children_in<'a>(&'a self, block: &'a ActiveBlock, thread: usize) -> impl Iterator<Item = &'a ActiveBlock> {
        let children = block.children[thread].keys();
        children.filter_map(|id| self.blocks_state.active_block(id))
    }
}

/// No parent may know a later block of a thread than the block itself takes for its parent there.
fn check_parents_of_parents(parents: &[&ActiveBlock]) -> Result<(), Refused> {
    for parent in parents {
        for (known, own) in parent.parents.iter().zip(parents) {
            if known.1.cmp(&own.slot.period) == Ordering::Greater {
                let (id, known, own) = (parent.block_id, known.0, own.block_id);
                return invalid(format!("parent {id} has {known} as parent, which is later than {own}"));
            }
        }
    }
    Ok(())
}
