//! Final blocks from which a graph starts again.

use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::prehash::PreHashMap;
use massa_storage::Storage;

/// A block of the graph without its operations.
#[derive(Clone, Debug)]
pub struct ExportActiveBlock {
    /// Header and ids of operations.
    pub block: SecureShareBlock,
    /// Parents with their periods, in the order of threads; empty for a genesis block.
    pub parents: Vec<(BlockId, u64)>,
    /// Whether the block is final.
    pub is_final: bool,
}

/// The graph at the last stop: final blocks, of which each thread has at least one.
///
/// Parents of a block may be missing where they are older than all blocks of their thread that are here.
#[derive(Clone, Default)]
pub struct BootstrapableGraph {
    /// The blocks, in any order.
    pub final_blocks: Vec<ExportActiveBlock>,
    /// Content of the blocks whose operations are still here: each storage claims its block and the operations. They are
    /// handed to the archiver like any other final block.
    pub content: PreHashMap<BlockId, Storage>,
}
