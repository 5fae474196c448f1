//! What others read from the state.

use super::ConsensusState;
use massa_consensus_exports::block_status::{BlockStatus, StorageOrBlock};
use massa_consensus_exports::{BlockGraphExport, ConsensusStats, ExportCompiledBlock};
use massa_models::active_block::ActiveBlock;
use massa_models::block::BlockGraphStatus;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;

impl ConsensusState {
    /// The graph, with the active blocks from `start_slot` to `end_slot` (not included).
    pub fn extract_block_graph_part(&self, start_slot: Option<Slot>, end_slot: Option<Slot>) -> BlockGraphExport {
        let is_inside =
            |slot: Slot| start_slot.map_or(true, |start| slot >= start) && end_slot.map_or(true, |end| slot < end);
        let mut active_blocks = PreHashMap::default();
        for id in self.blocks_state.active_blocks() {
            if let Some(BlockStatus::Active {
                a_block,
                storage_or_block,
            }) = self.blocks_state.get(id)
            {
                if is_inside(a_block.slot) {
                    active_blocks.insert(*id, export_block(a_block, storage_or_block));
                }
            }
        }
        BlockGraphExport {
            genesis_blocks: self.genesis_hashes.clone(),
            active_blocks,
            discarded_blocks: self.blocks_state.discarded_blocks().collect(),
            best_parents: self.best_parents.clone(),
            latest_final_blocks_periods: self.latest_final_blocks_periods.clone(),
            max_cliques: self.max_cliques.clone(),
        }
    }

    /// The state of a block.
    pub fn get_block_status(&self, id: &BlockId) -> BlockGraphStatus {
        match self.blocks_state.get(id) {
            None => BlockGraphStatus::NotFound,
            Some(BlockStatus::Incoming(_)) => BlockGraphStatus::Incoming,
            Some(BlockStatus::WaitingForSlot(_)) => BlockGraphStatus::WaitingForSlot,
            Some(BlockStatus::WaitingForDependencies { .. }) => BlockGraphStatus::WaitingForDependencies,
            Some(BlockStatus::Discarded { .. }) => BlockGraphStatus::Discarded,
            Some(BlockStatus::Active { a_block, .. }) if a_block.is_final => BlockGraphStatus::Final,
            Some(BlockStatus::Active { .. }) if self.blockclique().block_ids.contains(id) => {
                BlockGraphStatus::ActiveInBlockclique
            }
            Some(BlockStatus::Active { .. }) => BlockGraphStatus::ActiveInAlternativeCliques,
        }
    }

    /// Figures since the start.
    pub fn get_stats(&self) -> ConsensusStats {
        ConsensusStats {
            final_block_count: self.final_block_count,
            stale_block_count: self.stale_block_count,
            clique_count: self.max_cliques.len() as u64,
        }
    }

    /// The block of the best clique at `slot`, or the final one while the graph still has it.
    pub fn get_blockclique_block_at_slot(&self, slot: &Slot) -> Option<BlockId> {
        let (id, period) = self.last_in_chain_until(slot)?;
        (period == slot.period && self.blocks_state.active_block(&id).is_some()).then_some(id)
    }

    /// The last block of the best clique in the thread of `slot`, at `slot` or before; the genesis block of the thread
    /// when the graph does not reach back that far.
    ///
    /// # Panics
    /// When there is no such thread.
    pub fn get_latest_blockclique_block_at_slot(&self, slot: &Slot) -> BlockId {
        let last = self.last_in_chain_until(slot);
        last.map_or_else(|| self.genesis_hashes[usize::from(slot.thread)], |(id, _)| id)
    }

    /// Follows the chain of a thread back from its best parent until `slot`.
    fn last_in_chain_until(&self, slot: &Slot) -> Option<(BlockId, u64)> {
        let thread = usize::from(slot.thread);
        let mut link = *self.best_parents.get(thread)?;
        while link.1 > slot.period {
            link = *self.blocks_state.active_block(&link.0)?.parents.get(thread)?;
        }
        Some(link)
    }
}

fn export_block(a_block: &ActiveBlock, storage_or_block: &StorageOrBlock) -> ExportCompiledBlock {
    let children = a_block.children.iter();
    ExportCompiledBlock {
        header: header_of(&a_block.block_id, storage_or_block),
        children: children.map(|children| children.keys().copied().collect()).collect(),
        is_final: a_block.is_final,
    }
}

fn header_of(id: &BlockId, storage_or_block: &StorageOrBlock) -> SecuredHeader {
    match storage_or_block {
        StorageOrBlock::Block(block) => block.content.header.clone(),
        StorageOrBlock::Storage(_) => storage_or_block.clone_block(id).content.header,
    }
}
