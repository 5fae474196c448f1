//! Views of the graph.

use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;

/// An active block, without its operations.
#[derive(Clone, Debug)]
pub struct ExportCompiledBlock {
    /// Its header.
    pub header: SecuredHeader,
    /// For each thread, the ids of its children.
    pub children: Vec<Vec<BlockId>>,
    /// Whether it is final.
    pub is_final: bool,
}

/// The graph.
#[derive(Clone, Debug, Default)]
pub struct BlockGraphExport {
    /// Genesis blocks, in the order of threads.
    pub genesis_blocks: Vec<BlockId>,
    /// Active blocks of the slots asked for.
    pub active_blocks: PreHashMap<BlockId, ExportCompiledBlock>,
    /// Blocks that were discarded and are remembered, with their slots.
    pub discarded_blocks: PreHashMap<BlockId, Slot>,
    /// Best parents with their periods, in the order of threads.
    pub best_parents: Vec<(BlockId, u64)>,
    /// Last final block of each thread with its period.
    pub latest_final_blocks_periods: Vec<(BlockId, u64)>,
    /// Largest sets of compatible blocks that are not final.
    pub max_cliques: Vec<Clique>,
}

/// Figures since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsensusStats {
    /// Blocks that became final.
    pub final_block_count: u64,
    /// Blocks that became stale.
    pub stale_block_count: u64,
    /// Cliques.
    pub clique_count: u64,
}
