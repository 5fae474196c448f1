//! The hook through which consensus hands over final blocks.

use massa_models::active_block::ActiveBlock;
use massa_models::block_id::BlockId;
use massa_storage::Storage;
use std::fmt::Debug;

/// Receives every final block that consensus is about to forget.
///
/// Called on the consensus thread, under the consensus write lock: an implementation never fails, never waits and copies
/// no block bytes. What it cannot take at once it records as missing and obtains from peers later.
pub trait StorageArchiver: Debug + Send + Sync {
    /// Takes over a final block.
    ///
    /// `content` is the block's own storage, moved out of the graph: it claims the block and its operations. Called
    /// exactly once for each final block of a consensus run; a restarted node may hand over a block again.
    fn archive_finalized_block(&self, period: u64, block_id: &BlockId, active_block: &ActiveBlock, content: Storage);
}
