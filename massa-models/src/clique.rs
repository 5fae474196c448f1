//! Cliques: sets of blocks that do not contradict each other.

use crate::block_id::BlockId;
use crate::prehash::PreHashSet;
use serde::{Deserialize, Serialize};

/// A largest possible set of compatible blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clique {
    /// The blocks.
    pub block_ids: PreHashSet<BlockId>,
    /// The sum of the blocks' fitness.
    pub fitness: u64,
    /// Whether this is the best clique.
    pub is_blockclique: bool,
}
