//! Telling the other modules what changed.

use super::ConsensusState;
use massa_consensus_exports::block_status::{BlockStatus, StorageOrBlock};
use massa_consensus_exports::ConsensusError;
use massa_execution_exports::ExecutionBlockMetadata;
use massa_models::block_id::BlockId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_protocol_exports::ProtocolError;
use std::collections::HashMap;
use tracing::warn;

impl ConsensusState {
    /// Tells protocol, execution and pool what changed since the last call. To be called after each change.
    ///
    /// # Errors
    /// [`ConsensusError::MissingBlock`] when the graph contradicts itself. A module that does not listen is no error.
    pub fn block_db_changed(&mut self) -> Result<(), ConsensusError> {
        self.notify_protocol();
        self.notify_execution()?;
        self.notify_wishlist();
        self.notify_pool();
        self.stale_block_count += self.new_stale_blocks.len() as u64;
        self.new_stale_blocks.clear();
        Ok(())
    }

    fn notify_protocol(&mut self) {
        for (id, storage) in std::mem::take(&mut self.to_propagate) {
            warn_if_failed(self.channels.protocol_controller.integrated_block(id, storage));
        }
        for id in self.attack_attempts.drain(..) {
            warn_if_failed(self.channels.protocol_controller.notify_block_attack(id));
        }
    }

    fn notify_execution(&mut self) -> Result<(), ConsensusError> {
        let new_final_blocks = std::mem::take(&mut self.new_final_blocks);
        let is_changed = self.is_blockclique_changed();
        if new_final_blocks.is_empty() && !is_changed {
            return Ok(());
        }
        let mut block_storage = PreHashMap::default();
        let mut finalized_blocks = HashMap::with_capacity(new_final_blocks.len());
        for id in new_final_blocks {
            let (slot, metadata) = self.execution_block(&id)?;
            finalized_blocks.insert(slot, id);
            block_storage.insert(id, metadata);
        }
        let mut new_blockclique = None;
        if is_changed {
            let blockclique = self.blockclique_slots()?;
            for id in blockclique.keys().filter(|id| !self.prev_blockclique.contains_key(id)) {
                block_storage.insert(*id, self.execution_block(id)?.1);
            }
            new_blockclique = Some(blockclique.iter().map(|(id, slot)| (*slot, *id)).collect());
            self.prev_blockclique = blockclique;
        }
        let execution = &self.channels.execution_controller;
        execution.update_blockclique_status(finalized_blocks, new_blockclique, block_storage);
        Ok(())
    }

    fn is_blockclique_changed(&self) -> bool {
        let current = &self.blockclique().block_ids;
        current.len() != self.prev_blockclique.len() || !current.iter().all(|id| self.prev_blockclique.contains_key(id))
    }

    fn blockclique_slots(&self) -> Result<PreHashMap<BlockId, Slot>, ConsensusError> {
        let slot = |id: &BlockId| match self.blocks_state.active_block(id) {
            Some(block) => Ok((*id, block.slot)),
            None => Err(ConsensusError::MissingBlock(*id)),
        };
        self.blockclique().block_ids.iter().map(slot).collect()
    }

    /// What execution is told of a block; with the content unless it has that from the best clique before.
    fn execution_block(&self, id: &BlockId) -> Result<(Slot, ExecutionBlockMetadata), ConsensusError> {
        let Some(BlockStatus::Active {
            a_block,
            storage_or_block,
        }) = self.blocks_state.get(id)
        else {
            return Err(ConsensusError::MissingBlock(*id));
        };
        let storage = match storage_or_block {
            StorageOrBlock::Storage(storage) if !self.prev_blockclique.contains_key(id) => Some(storage.clone()),
            // Known already, or restored from what execution itself kept.
            StorageOrBlock::Storage(_) | StorageOrBlock::Block(_) => None,
        };
        let metadata = ExecutionBlockMetadata {
            same_thread_parent_creator: a_block.same_thread_parent_creator,
            storage,
        };
        Ok((a_block.slot, metadata))
    }

    fn notify_wishlist(&mut self) {
        let mut new = PreHashMap::default();
        let mut remove = PreHashSet::default();
        for id in self.blocks_state.take_touched() {
            let before = self.wishlist.get(&id);
            match self.blocks_state.is_wanted(&id) {
                Some(header) if before.map(Option::is_some) != Some(header.is_some()) => {
                    self.wishlist.insert(id, header.clone());
                    new.insert(id, header);
                }
                None if before.is_some() => {
                    self.wishlist.remove(&id);
                    remove.insert(id);
                }
                _ => {}
            }
        }
        if !new.is_empty() || !remove.is_empty() {
            warn_if_failed(self.channels.protocol_controller.send_wishlist_delta(new, remove));
        }
    }

    fn notify_pool(&mut self) {
        let latest = &self.latest_final_blocks_periods;
        let periods: Vec<u64> = latest.iter().map(|(_, period)| *period).collect();
        if periods != self.save_final_periods {
            self.channels.pool_controller.notify_final_cs_periods(&periods);
            self.save_final_periods = periods;
        }
    }
}

/// Consensus does not depend on anybody listening.
fn warn_if_failed(result: Result<(), ProtocolError>) {
    if let Err(error) = result {
        warn!(error = &error as &dyn std::error::Error, "protocol not notified");
    }
}
