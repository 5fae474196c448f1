//! The handle that the rest of the node has: reads the state, sends commands to the thread.

use crate::commands::ConsensusCommand;
use crate::state::ConsensusState;
use massa_channel::sender::MassaSender;
use massa_consensus_exports::{BlockGraphExport, ConsensusController, ConsensusError, ConsensusStats};
use massa_models::block::BlockGraphStatus;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::slot::Slot;
use massa_storage::Storage;
use parking_lot::RwLock;
use std::sync::Arc;
use std::time::Duration;
use tracing::warn;

/// How long a caller may be held up while the thread is busy. Long enough to slow down a node that catches up instead of
/// losing its blocks; limited, so that two modules which wait for each other go on.
const COMMAND_SEND_TIMEOUT: Duration = Duration::from_millis(500);

/// See [`ConsensusController`].
#[derive(Clone)]
pub(crate) struct ConsensusControllerImpl {
    pub(crate) command_sender: MassaSender<ConsensusCommand>,
    pub(crate) shared_state: Arc<RwLock<ConsensusState>>,
}

impl ConsensusControllerImpl {
    fn send(&self, block_id: &BlockId, command: ConsensusCommand) {
        if let Err(error) = self.command_sender.send_timeout(command, COMMAND_SEND_TIMEOUT) {
            let reason = if error.is_timeout() { "busy" } else { "stopped" };
            warn!(%block_id, reason, "consensus did not take a block");
        }
    }
}

impl ConsensusController for ConsensusControllerImpl {
    fn get_block_graph_status(
        &self,
        start_slot: Option<Slot>,
        end_slot: Option<Slot>,
    ) -> Result<BlockGraphExport, ConsensusError> {
        Ok(self.shared_state.read().extract_block_graph_part(start_slot, end_slot))
    }

    fn get_block_statuses(&self, ids: &[BlockId]) -> Vec<BlockGraphStatus> {
        let state = self.shared_state.read();
        ids.iter().map(|id| state.get_block_status(id)).collect()
    }

    fn get_cliques(&self) -> Vec<Clique> {
        self.shared_state.read().max_cliques.clone()
    }

    fn get_stats(&self) -> Result<ConsensusStats, ConsensusError> {
        Ok(self.shared_state.read().get_stats())
    }

    fn get_best_parents(&self) -> Vec<(BlockId, u64)> {
        self.shared_state.read().best_parents.clone()
    }

    fn get_latest_final_blocks_periods(&self) -> Vec<(BlockId, u64)> {
        self.shared_state.read().latest_final_blocks_periods.clone()
    }

    fn get_blockclique_block_at_slot(&self, slot: Slot) -> Option<BlockId> {
        self.shared_state.read().get_blockclique_block_at_slot(&slot)
    }

    fn get_latest_blockclique_block_at_slot(&self, slot: Slot) -> BlockId {
        self.shared_state.read().get_latest_blockclique_block_at_slot(&slot)
    }

    fn register_block(&self, block_id: BlockId, slot: Slot, block_storage: Storage, created: bool) {
        let command = ConsensusCommand::RegisterBlock(block_id, slot, block_storage, created);
        self.send(&block_id, command);
    }

    fn register_block_header(&self, block_id: BlockId, header: SecuredHeader) {
        self.send(&block_id, ConsensusCommand::RegisterBlockHeader(block_id, header));
    }

    fn mark_invalid_block(&self, block_id: BlockId, header: SecuredHeader) {
        self.send(&block_id, ConsensusCommand::MarkInvalidBlock(block_id, header));
    }

    fn clone_box(&self) -> Box<dyn ConsensusController> {
        Box::new(self.clone())
    }
}
