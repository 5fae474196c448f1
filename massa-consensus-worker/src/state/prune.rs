//! Letting go of what is old.
//!
//! [`ConsensusState::prune_active`] is where final blocks lose their operations, and where the archive takes them over.

use super::blocks_state::slot_of;
use super::graph::discarded;
use super::ConsensusState;
use massa_consensus_exports::block_status::{BlockStatus, DiscardReason, StorageOrBlock};
use massa_consensus_exports::ConsensusError;
use massa_distributed_storage_exports::StorageArchiver;
use massa_models::active_block::ActiveBlock;
use massa_models::block_id::BlockId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_storage::Storage;
use std::sync::Arc;
use tracing::debug;

impl ConsensusState {
    /// Lets go of old final blocks, of blocks that wait in vain, and of old memories.
    ///
    /// # Errors
    /// [`ConsensusError`] when the graph contradicts itself.
    pub fn prune(&mut self) -> Result<(), ConsensusError> {
        self.prune_active()?;
        self.prune_waiting_for_dependencies();
        self.limit_waiting_blocks();
        self.prune_nonfinal_blocks_per_slot();
        Ok(())
    }

    /// Takes the operations of final blocks older than `force_keep_final_periods`, and final blocks older than
    /// `force_keep_final_periods_without_ops` that nothing needs any more. Ages are counted from the last final block
    /// of the block's own thread. Gives the blocks taken out.
    ///
    /// The content of each final block moves to the archiver exactly once: here, when it is taken.
    ///
    /// # Errors
    /// [`ConsensusError`] when the graph contradicts itself.
    pub fn prune_active(&mut self) -> Result<PreHashMap<BlockId, ActiveBlock>, ConsensusError> {
        let mut retain_active = self.list_required_active_blocks();
        for id in self.active_blocks_in_slot_order() {
            self.prune_content(&id, &mut retain_active);
        }
        let mut discarded_finals = PreHashMap::default();
        for id in self.active_blocks_in_slot_order() {
            if !retain_active.contains(&id) {
                discarded_finals.insert(id, self.discard_final_block(&id)?);
            }
        }
        Ok(discarded_finals)
    }

    /// Retains the block if it is young enough, and takes its operations if it is old enough.
    fn prune_content(&mut self, id: &BlockId, retain_active: &mut PreHashSet<BlockId>) {
        let Some((a_block, storage_or_block)) = self.blocks_state.active_mut(id) else {
            return;
        };
        let period = a_block.slot.period;
        let latest = self.latest_final_blocks_periods[usize::from(a_block.slot.thread)].1;
        if period < latest.saturating_sub(self.config.force_keep_final_periods_without_ops) {
            // What still needs this block keeps it; its content goes when it does.
            self.active_index_without_ops.remove(id);
            return;
        }
        retain_active.insert(*id);
        let is_old = period < latest.saturating_sub(self.config.force_keep_final_periods);
        if is_old && a_block.is_final && self.active_index_without_ops.insert(*id) {
            a_block.descendants = PreHashSet::default();
            if let Some(content) = storage_or_block.strip_to_block(id) {
                archive(&self.config.storage_archiver, a_block, content);
            }
        }
    }

    /// Takes a final block out of the graph.
    fn discard_final_block(&mut self, id: &BlockId) -> Result<ActiveBlock, ConsensusError> {
        let Some(BlockStatus::Active {
            a_block,
            storage_or_block,
        }) = self.blocks_state.remove(id)
        else {
            return Err(ConsensusError::MissingBlock(*id));
        };
        debug_assert!(a_block.is_final, "blocks that are not final are always required");
        // After a jump ahead a block comes here without having been stripped.
        if let StorageOrBlock::Storage(content) = storage_or_block {
            archive(&self.config.storage_archiver, &a_block, content);
        }
        self.unlink_from_parents(&a_block);
        self.blocks_state
            .set_discarded(*id, discarded(&a_block, DiscardReason::Final));
        Ok(*a_block)
    }

    /// So that the archive is given blocks in an order that spares it gaps.
    fn active_blocks_in_slot_order(&self) -> Vec<BlockId> {
        let ids = self.blocks_state.active_blocks().iter();
        let blocks = ids.filter_map(|id| self.blocks_state.active_block(id));
        let mut ids: Vec<_> = blocks.map(|block| (block.slot, block.block_id)).collect();
        ids.sort_unstable();
        ids.into_iter().map(|(_, id)| id).collect()
    }

    /// The blocks without which the graph could not go on: the last final ones, all after them, their parents and the
    /// parents of those, without gaps in any thread.
    pub(crate) fn list_required_active_blocks(&self) -> PreHashSet<BlockId> {
        let mut required: PreHashSet<BlockId> = self.latest_final_blocks_periods.iter().map(|(id, _)| *id).collect();
        required.extend(self.gi_head.keys().copied());
        for _ in 0..2 {
            self.add_parents(&mut required);
            self.fill_holes(&mut required);
        }
        required
    }

    fn add_parents(&self, required: &mut PreHashSet<BlockId>) {
        let blocks = required.iter().filter_map(|id| self.blocks_state.active_block(id));
        let parents = blocks.flat_map(|block| block.parents.iter().map(|(id, _)| *id));
        let active: Vec<BlockId> = parents
            .filter(|id| self.blocks_state.active_block(id).is_some())
            .collect();
        required.extend(active);
    }

    /// Adds what lies after the oldest required block of each thread.
    fn fill_holes(&self, required: &mut PreHashSet<BlockId>) {
        let mut oldest = vec![u64::MAX; usize::from(self.config.thread_count)];
        for block in required.iter().filter_map(|id| self.blocks_state.active_block(id)) {
            let oldest = &mut oldest[usize::from(block.slot.thread)];
            *oldest = block.slot.period.min(*oldest);
        }
        let active = self.blocks_state.active_blocks().iter();
        let blocks = active.filter_map(|id| self.blocks_state.active_block(id));
        let after = blocks.filter(|block| block.slot.period >= oldest[usize::from(block.slot.thread)]);
        required.extend(after.map(|block| block.block_id));
    }

    /// Discards blocks whose place is decided while they wait.
    fn prune_waiting_for_dependencies(&mut self) {
        let is_late = |state: &Self, slot: Slot| {
            let latest = state.latest_final_blocks_periods.get(usize::from(slot.thread));
            latest.is_some_and(|(_, period)| slot.period <= *period)
        };
        let waiting = self.blocks_state.waiting_blocks();
        let late: Vec<BlockId> = waiting
            .filter(|(_, content)| is_late(self, slot_of(content)))
            .map(|(id, _)| id)
            .collect();
        for id in late {
            // It may be gone with another one that it waited for.
            self.discard_pending(id, DiscardReason::Stale);
        }
    }

    /// Forgets what is beyond the limits.
    pub(super) fn limit_waiting_blocks(&mut self) {
        let config = &self.config;
        self.blocks_state
            .limit_waiting_for_slot(config.max_future_processing_blocks);
        self.blocks_state
            .limit_waiting_for_dependencies(config.max_dependency_blocks);
        self.blocks_state.limit_discarded(config.max_discarded_blocks);
    }

    fn prune_nonfinal_blocks_per_slot(&mut self) {
        let latest = &self.latest_final_blocks_periods;
        self.nonfinal_active_blocks_per_slot
            .retain(|slot, _| slot.period > latest[usize::from(slot.thread)].1);
    }
}

/// Never fails and never waits: it runs under the write lock of consensus.
fn archive(archiver: &Option<Arc<dyn StorageArchiver>>, a_block: &ActiveBlock, content: Storage) {
    if let Some(archiver) = archiver {
        debug!(block_id = %a_block.block_id, slot = %a_block.slot, "content handed to the archive");
        archiver.archive_finalized_block(a_block.slot.period, &a_block.block_id, a_block, content);
    }
}
