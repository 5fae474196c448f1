//! Blocks.

use massa_models::address::Address;
use massa_models::block::Block;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use serde::{Deserialize, Serialize};

/// A block and its state.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BlockInfo {
    /// Its id.
    pub id: BlockId,
    /// What is known of it.
    pub content: Option<BlockInfoContent>,
}

/// What is known of a block.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct BlockInfoContent {
    /// It is part of the chain for ever.
    pub is_final: bool,
    /// It is in the best clique.
    pub is_in_blockclique: bool,
    /// It is in some clique.
    pub is_candidate: bool,
    /// It was refused, or final blocks contradict it.
    pub is_discarded: bool,
    /// The block.
    pub block: Block,
}

/// A block of the graph, in short.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct BlockSummary {
    /// Its id.
    pub id: BlockId,
    /// It is part of the chain for ever.
    pub is_final: bool,
    /// Final blocks contradict it.
    pub is_stale: bool,
    /// It is in the best clique.
    pub is_in_blockclique: bool,
    /// Its slot.
    pub slot: Slot,
    /// Its creator.
    pub creator: Address,
    /// Its parents, in the order of threads.
    pub parents: Vec<BlockId>,
}
