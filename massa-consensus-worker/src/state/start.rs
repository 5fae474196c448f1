//! The state at the start: genesis blocks, or final blocks of an earlier run.

use super::{cliques, BlocksState, ConsensusState};
use crate::create_genesis_block;
use massa_consensus_exports::block_status::StorageOrBlock;
use massa_consensus_exports::{BootstrapableGraph, ConsensusChannels, ConsensusConfig, ConsensusError};
use massa_models::active_block::ActiveBlock;
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use massa_storage::Storage;
use std::collections::{BTreeMap, BTreeSet, HashMap};

impl ConsensusState {
    /// Starts from `init_graph`, or from the genesis blocks without one.
    ///
    /// # Errors
    /// - [`ConsensusError::Config`]: a setting is not usable.
    /// - [`ConsensusError::ContainerInconsistency`]: `init_graph` has a block that is not final, of a thread that does
    ///   not exist, two blocks for one slot, a wrong number of parents, or no block of some thread.
    pub fn new(
        config: ConsensusConfig,
        channels: ConsensusChannels,
        init_graph: Option<BootstrapableGraph>,
        storage: Storage,
    ) -> Result<Self, ConsensusError> {
        config.check()?;
        let genesis = (0..config.thread_count).map(|thread| create_genesis_block(&config, thread));
        let genesis: Vec<SecureShareBlock> = genesis.collect::<Result<_, _>>()?;
        let genesis_hashes: Vec<BlockId> = genesis.iter().map(|block| block.id).collect();
        let start_blocks = match init_graph {
            Some(graph) => restored_blocks(&config, graph)?,
            None => {
                let threads = config.thread_count;
                let genesis = genesis.into_iter();
                genesis.map(|block| genesis_block(&storage, block, threads)).collect()
            }
        };
        let mut state = Self {
            config,
            channels,
            storage,
            genesis_hashes,
            gi_head: PreHashMap::default(),
            max_cliques: cliques::initial_cliques(),
            active_index_without_ops: PreHashSet::default(),
            save_final_periods: Vec::new(),
            latest_final_blocks_periods: Vec::new(),
            blocks_state: BlocksState::default(),
            best_parents: Vec::new(),
            to_propagate: PreHashMap::default(),
            attack_attempts: Vec::new(),
            new_final_blocks: PreHashSet::default(),
            new_stale_blocks: PreHashMap::default(),
            wishlist: PreHashMap::default(),
            prev_blockclique: PreHashMap::default(),
            nonfinal_active_blocks_per_slot: HashMap::new(),
            descendants_fitness: PreHashMap::default(),
            final_block_count: 0,
            stale_block_count: 0,
        };
        state.insert_start_blocks(start_blocks)?;
        Ok(state)
    }

    fn insert_start_blocks(&mut self, blocks: Vec<(ActiveBlock, StorageOrBlock)>) -> Result<(), ConsensusError> {
        let mut latest: BTreeMap<u8, (BlockId, u64)> = BTreeMap::new();
        for (block, _) in &blocks {
            let (id, slot) = (block.block_id, block.slot);
            let newest = latest.entry(slot.thread).or_insert((id, slot.period));
            if slot.period > newest.1 {
                *newest = (id, slot.period);
            }
        }
        if latest.len() != usize::from(self.config.thread_count) {
            let (found, threads) = (latest.len(), self.config.thread_count);
            return inconsistent(format!("final blocks of {found} threads out of {threads}"));
        }
        self.latest_final_blocks_periods = latest.into_values().collect();
        self.best_parents.clone_from(&self.latest_final_blocks_periods);
        let mut links = Vec::with_capacity(blocks.len());
        for (block, content) in blocks {
            links.push((block.block_id, block.slot, block.parents.clone()));
            self.new_final_blocks.insert(block.block_id);
            match &content {
                // Peers that stopped earlier need them. Genesis blocks everybody has.
                StorageOrBlock::Storage(storage) if block.slot.period > 0 => {
                    self.to_propagate.insert(block.block_id, storage.clone());
                }
                StorageOrBlock::Storage(_) | StorageOrBlock::Block(_) => {}
            }
            self.blocks_state.set_active(block, content);
        }
        for (id, slot, parents) in links {
            self.link_start_block(id, slot, &parents);
        }
        Ok(())
    }

    /// Older parents may be missing.
    fn link_start_block(&mut self, id: BlockId, slot: Slot, parents: &[(BlockId, u64)]) {
        let thread = usize::from(slot.thread);
        for (parent, _) in parents {
            if let Some((parent, _)) = self.blocks_state.active_mut(parent) {
                parent.children[thread].insert(id, slot.period);
            }
        }
        let same_thread_parent = parents.get(thread).map(|(parent, _)| *parent);
        let creator = same_thread_parent
            .and_then(|parent| self.blocks_state.active_block(&parent))
            .map(|parent| parent.creator_address);
        if let Some((block, _)) = self.blocks_state.active_mut(&id) {
            block.same_thread_parent_creator = creator;
        }
    }
}

fn inconsistent<T>(what: String) -> Result<T, ConsensusError> {
    Err(ConsensusError::ContainerInconsistency(what))
}

fn final_block(block: &SecureShareBlock, parents: Vec<(BlockId, u64)>, thread_count: u8) -> ActiveBlock {
    ActiveBlock {
        creator_address: block.content_creator_address,
        block_id: block.id,
        parents,
        children: vec![PreHashMap::default(); usize::from(thread_count)],
        descendants: PreHashSet::default(),
        is_final: true,
        slot: block.content.header.content.slot,
        fitness: block.get_fitness(),
        same_thread_parent_creator: None,
    }
}

/// A genesis block with its content.
fn genesis_block(storage: &Storage, block: SecureShareBlock, thread_count: u8) -> (ActiveBlock, StorageOrBlock) {
    let active = final_block(&block, Vec::new(), thread_count);
    let mut content = storage.clone_without_refs();
    content.store_block(block);
    (active, StorageOrBlock::Storage(content))
}

/// The blocks of an earlier run, with their content where it is still there.
fn restored_blocks(
    config: &ConsensusConfig,
    mut graph: BootstrapableGraph,
) -> Result<Vec<(ActiveBlock, StorageOrBlock)>, ConsensusError> {
    let mut slots = BTreeSet::new();
    let mut blocks = Vec::with_capacity(graph.final_blocks.len());
    for export in std::mem::take(&mut graph.final_blocks) {
        let (id, slot) = (export.block.id, export.block.content.header.content.slot);
        if !export.is_final {
            return inconsistent(format!("block {id} of the start graph is not final"));
        }
        if slot.thread >= config.thread_count {
            return inconsistent(format!("block {id} at {slot}, beyond {} threads", config.thread_count));
        }
        let parents = export.parents.len();
        let expected = if slot.period == 0 {
            0
        } else {
            usize::from(config.thread_count)
        };
        if parents != expected {
            return inconsistent(format!("block {id} at {slot} with {parents} parents"));
        }
        if !slots.insert(slot) {
            return inconsistent(format!("two final blocks at {slot}"));
        }
        let active = final_block(&export.block, export.parents, config.thread_count);
        let content = graph.content.remove(&id).map(StorageOrBlock::Storage);
        blocks.push((
            active,
            content.unwrap_or_else(|| StorageOrBlock::Block(Box::new(export.block))),
        ));
    }
    Ok(blocks)
}
