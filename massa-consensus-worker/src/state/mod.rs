//! The state of consensus: all known blocks and what follows from them.
//!
//! Changes come in through [`ConsensusState::register_block`], [`ConsensusState::register_block_header`],
//! [`ConsensusState::mark_invalid_block`], [`ConsensusState::slot_tick`] and [`ConsensusState::prune`]; all but the last
//! tell the other modules what changed before they return.

mod blocks_state;
mod cliques;
mod graph;
mod notify;
mod process;
mod prune;
mod start;
mod verifications;
mod views;

pub use blocks_state::BlocksState;

use massa_consensus_exports::{ConsensusChannels, ConsensusConfig};
use massa_models::address::Address;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_storage::Storage;
use std::collections::HashMap;

/// The state of consensus.
pub struct ConsensusState {
    /// Settings.
    pub config: ConsensusConfig,
    /// The other modules.
    pub channels: ConsensusChannels,
    /// The node's store.
    pub storage: Storage,
    /// Genesis blocks, in the order of threads.
    pub genesis_hashes: Vec<BlockId>,
    /// For each active block that is not final, the active blocks that contradict it. Its keys are these blocks.
    pub gi_head: PreHashMap<BlockId, PreHashSet<BlockId>>,
    /// Maximal sets of blocks that are not final and do not contradict each other; one is marked as the best.
    pub max_cliques: Vec<Clique>,
    /// Active blocks whose operations were taken.
    pub active_index_without_ops: PreHashSet<BlockId>,
    /// What the pool was told last.
    pub save_final_periods: Vec<u64>,
    /// The last final block of each thread with its period.
    pub latest_final_blocks_periods: Vec<(BlockId, u64)>,
    /// All known blocks.
    pub blocks_state: BlocksState,
    /// Parents for a new block with their periods, in the order of threads.
    pub best_parents: Vec<(BlockId, u64)>,
    /// Blocks that went into the graph since the last notification.
    pub to_propagate: PreHashMap<BlockId, Storage>,
    /// Blocks that broke a rule since the last notification.
    pub attack_attempts: Vec<BlockId>,
    /// Blocks that became final since the last notification.
    pub new_final_blocks: PreHashSet<BlockId>,
    /// Blocks that became stale since the last notification.
    pub new_stale_blocks: PreHashMap<BlockId, (Address, Slot)>,
    /// What peers are asked for, with the header where it is known.
    pub wishlist: PreHashMap<BlockId, Option<SecuredHeader>>,
    /// The best clique that execution was told last.
    pub prev_blockclique: PreHashMap<BlockId, Slot>,
    /// Active blocks that are not final, by slot.
    pub nonfinal_active_blocks_per_slot: HashMap<Slot, PreHashSet<BlockId>>,
    /// For each active block that is not final, the fitness of all its descendants.
    descendants_fitness: PreHashMap<BlockId, u64>,
    final_block_count: u64,
    stale_block_count: u64,
}
