//! Consensus, seen from outside.

use crate::{BlockGraphExport, ConsensusError, ConsensusStats};
use massa_models::block::BlockGraphStatus;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::slot::Slot;
use massa_storage::Storage;

/// Consensus.
pub trait ConsensusController: Send + Sync {
    /// The graph, with the active blocks from `start_slot` to `end_slot` (not included); all without them.
    ///
    /// # Errors
    /// [`ConsensusError`] when the graph contradicts itself.
    fn get_block_graph_status(
        &self,
        start_slot: Option<Slot>,
        end_slot: Option<Slot>,
    ) -> Result<BlockGraphExport, ConsensusError>;

    /// State of each block.
    fn get_block_statuses(&self, ids: &[BlockId]) -> Vec<BlockGraphStatus>;

    /// Largest sets of compatible blocks that are not final.
    fn get_cliques(&self) -> Vec<Clique>;

    /// Figures.
    ///
    /// # Errors
    /// None here; upstream's signature.
    fn get_stats(&self) -> Result<ConsensusStats, ConsensusError>;

    /// Best parents for a new block, with their periods, in the order of threads.
    fn get_best_parents(&self) -> Vec<(BlockId, u64)>;

    /// Last final block of each thread with its period.
    fn get_latest_final_blocks_periods(&self) -> Vec<(BlockId, u64)>;

    /// The block of the best clique at a slot, or the final one while the graph still has it.
    fn get_blockclique_block_at_slot(&self, slot: Slot) -> Option<BlockId>;

    /// The last block of the best clique in the thread of `slot`, at `slot` or before.
    fn get_latest_blockclique_block_at_slot(&self, slot: Slot) -> BlockId;

    /// Hands over a whole block, checked by itself. `block_storage` claims it and its operations.
    fn register_block(&self, block_id: BlockId, slot: Slot, block_storage: Storage, created: bool);

    /// Hands over a header, checked by itself.
    fn register_block_header(&self, block_id: BlockId, header: SecuredHeader);

    /// The operations of a block turned out to break a rule.
    fn mark_invalid_block(&self, block_id: BlockId, header: SecuredHeader);

    /// A second handle.
    fn clone_box(&self) -> Box<dyn ConsensusController>;
}

impl Clone for Box<dyn ConsensusController> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}

/// Stops consensus.
pub trait ConsensusManager: Send {
    /// Ends the thread.
    fn stop(&mut self);
}
