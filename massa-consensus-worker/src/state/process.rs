//! What comes in: headers, blocks, slots.

use super::blocks_state::{slot_of, DiscardedBlock};
use super::verifications::{HeaderCheckOutcome, HeaderFacts};
use super::ConsensusState;
use massa_consensus_exports::block_status::{BlockStatus, DiscardReason, HeaderOrBlock};
use massa_consensus_exports::ConsensusError;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_storage::Storage;
use std::collections::BTreeSet;
use tracing::{debug, info, warn};

/// Blocks to look at, in the order of slots, so that the outcome does not depend on the order of a hash map.
type ToCheck = BTreeSet<(Slot, BlockId)>;

impl ConsensusState {
    /// Takes in a header that was checked by itself. `current_slot`: the slot of the clock, `None` before the first.
    ///
    /// # Errors
    /// [`ConsensusError`] when the graph contradicts itself.
    pub fn register_block_header(
        &mut self,
        id: BlockId,
        header: SecuredHeader,
        current_slot: Option<Slot>,
    ) -> Result<(), ConsensusError> {
        if self.blocks_state.get(&id).is_some() {
            self.blocks_state.refresh_discarded(&id);
        } else {
            let slot = header.content.slot;
            self.blocks_state.set_incoming(id, HeaderOrBlock::Header(header));
            self.process(ToCheck::from([(slot, id)]), current_slot)?;
        }
        self.block_db_changed()
    }

    /// Takes in a block that was checked by itself; `storage` claims it and its operations. `created`: by this node.
    ///
    /// # Errors
    /// [`ConsensusError::MissingBlock`]: `storage` does not claim the block; the state is unchanged. Others when the
    /// graph contradicts itself.
    pub fn register_block(
        &mut self,
        id: BlockId,
        slot: Slot,
        current_slot: Option<Slot>,
        storage: Storage,
        created: bool,
    ) -> Result<(), ConsensusError> {
        if !storage.get_block_refs().contains(&id) {
            return Err(ConsensusError::MissingBlock(id));
        }
        if self.blocks_state.refresh_discarded(&id) || self.blocks_state.active_block(&id).is_some() {
            return self.block_db_changed();
        }
        debug!(block_id = %id, %slot, created, "block registered");
        // A header may have been here first.
        self.blocks_state.take_pending(&id);
        self.blocks_state
            .set_incoming(id, HeaderOrBlock::Block { id, slot, storage });
        self.process(ToCheck::from([(slot, id)]), current_slot)?;
        self.block_db_changed()
    }

    /// The operations of a block that is not in the graph break a rule.
    ///
    /// # Errors
    /// [`ConsensusError`] when the graph contradicts itself.
    pub fn mark_invalid_block(&mut self, id: &BlockId, header: &SecuredHeader) -> Result<(), ConsensusError> {
        if self.blocks_state.active_block(id).is_some() {
            warn!(block_id = %id, "a block of the graph cannot be marked as invalid");
            return Ok(());
        }
        if !self.blocks_state.refresh_discarded(id) {
            self.blocks_state.take_pending(id);
            let reason = DiscardReason::Invalid("its operations break a rule".into());
            self.discard(*id, &HeaderFacts::of_header(header), reason);
        }
        self.block_db_changed()
    }

    /// A slot began.
    ///
    /// # Errors
    /// [`ConsensusError`] when the graph contradicts itself.
    pub fn slot_tick(&mut self, current_slot: Option<Slot>) -> Result<(), ConsensusError> {
        if let Some(current) = current_slot {
            let due = self.blocks_state.due_at(current);
            self.process(due, current_slot)?;
        }
        self.block_db_changed()
    }

    /// Checks blocks, and those that waited for them, until nothing more follows.
    fn process(&mut self, mut to_check: ToCheck, current_slot: Option<Slot>) -> Result<(), ConsensusError> {
        while let Some((_, id)) = to_check.pop_first() {
            for ready in self.process_one(id, current_slot)? {
                if let Some(slot) = self.pending_slot(&ready) {
                    to_check.insert((slot, ready));
                }
            }
        }
        // Peers can fill these: they are limited at once, not only when the graph is pruned.
        self.limit_waiting_blocks();
        Ok(())
    }

    fn pending_slot(&self, id: &BlockId) -> Option<Slot> {
        match self.blocks_state.get(id)? {
            BlockStatus::WaitingForDependencies { header_or_block, .. } => Some(slot_of(header_or_block)),
            _ => None,
        }
    }

    /// Checks a block. Gives those that waited for it and now wait for nothing more.
    fn process_one(&mut self, id: BlockId, current_slot: Option<Slot>) -> Result<Vec<BlockId>, ConsensusError> {
        let Some(content) = self.blocks_state.take_pending(&id) else {
            return Ok(Vec::new());
        };
        let Some(facts) = HeaderFacts::of(&content) else {
            return Err(ConsensusError::MissingBlock(id));
        };
        match self.check_header(&facts, current_slot) {
            HeaderCheckOutcome::WaitForSlot => self.blocks_state.set_waiting_for_slot(id, content),
            HeaderCheckOutcome::WaitForDependencies(dependencies) => {
                self.blocks_state
                    .set_waiting_for_dependencies(id, content, dependencies);
            }
            HeaderCheckOutcome::Discard(reason) => self.discard(id, &facts, reason),
            HeaderCheckOutcome::Forget => {}
            HeaderCheckOutcome::Proceed {
                parents,
                incompatibilities,
            } => match content {
                // The header is fine: now its own block is missing.
                HeaderOrBlock::Header(_) => {
                    self.blocks_state
                        .set_waiting_for_dependencies(id, content, Default::default());
                }
                HeaderOrBlock::Block { storage, .. } => {
                    self.add_block_to_graph(id, facts, storage, parents, incompatibilities)?;
                    return Ok(self.blocks_state.satisfy(&id));
                }
            },
        }
        Ok(Vec::new())
    }

    /// Discards a block that is not decided yet, if it is still there.
    pub(super) fn discard_pending(&mut self, id: BlockId, reason: DiscardReason) {
        let content = self.blocks_state.take_pending(&id);
        if let Some(facts) = content.as_ref().and_then(HeaderFacts::of) {
            self.discard(id, &facts, reason);
        }
    }

    fn discard(&mut self, id: BlockId, facts: &HeaderFacts, reason: DiscardReason) {
        let block = DiscardedBlock {
            slot: facts.slot,
            creator: facts.creator,
            parents: facts.parents.clone(),
            reason,
        };
        self.discard_with_dependents(id, block);
    }

    /// Remembers a block as discarded, and all that waited for it, for the same reason.
    pub(super) fn discard_with_dependents(&mut self, id: BlockId, block: DiscardedBlock) {
        let reason = block.reason.clone();
        let mut to_discard = vec![(id, block)];
        while let Some((id, block)) = to_discard.pop() {
            self.note_discarded(&id, &block);
            self.blocks_state.set_discarded(id, block);
            for dependent in self.blocks_state.dependents(&id) {
                let Some(content) = self.blocks_state.take_pending(&dependent) else {
                    continue;
                };
                if let Some(facts) = HeaderFacts::of(&content) {
                    let block = DiscardedBlock {
                        slot: facts.slot,
                        creator: facts.creator,
                        parents: facts.parents,
                        reason: reason.clone(),
                    };
                    to_discard.push((dependent, block));
                }
            }
        }
    }

    fn note_discarded(&mut self, id: &BlockId, block: &DiscardedBlock) {
        match &block.reason {
            DiscardReason::Invalid(reason) => {
                info!(block_id = %id, slot = %block.slot, creator = %block.creator, %reason, "block is invalid");
                self.attack_attempts.push(*id);
            }
            DiscardReason::Stale => {
                debug!(block_id = %id, slot = %block.slot, "block came too late");
                self.new_stale_blocks.insert(*id, (block.creator, block.slot));
            }
            DiscardReason::Final => {}
        }
    }
}
