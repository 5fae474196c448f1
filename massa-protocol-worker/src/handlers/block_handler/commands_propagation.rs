//! What the thread that announces blocks is told.

use massa_models::block_id::BlockId;
use massa_storage::Storage;

/// A command to the thread that announces blocks.
#[derive(Clone, Debug)]
pub enum BlockHandlerPropagationCommand {
    /// End.
    Stop,
    /// A block went into the graph.
    IntegratedBlock {
        /// Its id.
        block_id: BlockId,
        /// Claims the block and its operations.
        storage: Storage,
    },
    /// A block is an attack.
    AttackBlockDetected(BlockId),
}
