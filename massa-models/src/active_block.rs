//! What consensus keeps of a block in its graph.

use crate::address::Address;
use crate::block_id::BlockId;
use crate::prehash::{PreHashMap, PreHashSet};
use crate::slot::Slot;
use serde::{Deserialize, Serialize};

/// A block of the graph. Its content is elsewhere.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ActiveBlock {
    /// The address of the creator.
    pub creator_address: Address,
    /// The id.
    pub block_id: BlockId,
    /// One parent of each thread with its period, in the order of threads; none for genesis blocks.
    pub parents: Vec<(BlockId, u64)>,
    /// For each thread, the children with their periods.
    pub children: Vec<PreHashMap<BlockId, u64>>,
    /// All blocks that have this one among their ancestors.
    pub descendants: PreHashSet<BlockId>,
    /// Whether the block can no longer leave the chain.
    pub is_final: bool,
    /// Where the block belongs.
    pub slot: Slot,
    /// Weight of the block: one, and one for each endorsement.
    pub fitness: u64,
    /// The creator of the parent in the block's own thread.
    pub same_thread_parent_creator: Option<Address>,
}
