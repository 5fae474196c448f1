//! The graph of active blocks: adding one, and what follows from it for all others.

use super::blocks_state::DiscardedBlock;
use super::cliques;
use super::verifications::HeaderFacts;
use super::ConsensusState;
use massa_consensus_exports::block_status::{BlockStatus, DiscardReason, StorageOrBlock};
use massa_consensus_exports::ConsensusError;
use massa_models::active_block::ActiveBlock;
use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_storage::Storage;
use std::cmp::Reverse;
use tracing::{debug, info};

impl ConsensusState {
    /// Adds a block that was checked, with what the check found, and draws all conclusions.
    pub(crate) fn add_block_to_graph(
        &mut self,
        id: BlockId,
        facts: HeaderFacts,
        storage: Storage,
        parents: Vec<(BlockId, u64)>,
        incompatibilities: PreHashSet<BlockId>,
    ) -> Result<(), ConsensusError> {
        self.to_propagate.insert(id, storage.clone());
        self.insert_active(id, &facts, storage, parents);
        for other in &incompatibilities {
            self.gi_head.entry(*other).or_default().insert(id);
        }
        self.gi_head.insert(id, incompatibilities);
        let blocks_state = &self.blocks_state;
        cliques::add_block(&mut self.max_cliques, id, &self.gi_head, |id| {
            fitness_of(blocks_state, id)
        });
        self.draw_conclusions()
    }

    /// Links the block with its parents and ancestors.
    fn insert_active(&mut self, id: BlockId, facts: &HeaderFacts, storage: Storage, parents: Vec<(BlockId, u64)>) {
        let thread = usize::from(facts.slot.thread);
        for (parent, _) in &parents {
            if let Some((parent, _)) = self.blocks_state.active_mut(parent) {
                parent.children[thread].insert(id, facts.slot.period);
            }
        }
        self.add_to_ancestors(id, facts.fitness, &parents);
        self.descendants_fitness.insert(id, 0);
        self.nonfinal_active_blocks_per_slot
            .entry(facts.slot)
            .or_default()
            .insert(id);
        let same_thread_parent = self.blocks_state.active_block(&parents[thread].0);
        let a_block = ActiveBlock {
            creator_address: facts.creator,
            block_id: id,
            children: vec![PreHashMap::default(); parents.len()],
            descendants: PreHashSet::default(),
            is_final: false,
            slot: facts.slot,
            fitness: facts.fitness,
            same_thread_parent_creator: same_thread_parent.map(|parent| parent.creator_address),
            parents,
        };
        self.blocks_state.set_active(a_block, StorageOrBlock::Storage(storage));
    }

    /// Makes the block a descendant of its ancestors that are not final. Costs a look at each block that is not final.
    fn add_to_ancestors(&mut self, id: BlockId, fitness: u64, parents: &[(BlockId, u64)]) {
        let mut parents: Vec<&ActiveBlock> = parents
            .iter()
            .filter_map(|(parent, _)| self.blocks_state.active_block(parent))
            .filter(|parent| !parent.is_final)
            .collect();
        // The latest parents have the most ancestors: asked first, they answer most questions.
        parents.sort_unstable_by_key(|parent| Reverse(parent.slot));
        let parents: Vec<BlockId> = parents.iter().map(|parent| parent.block_id).collect();
        for ancestor in self.gi_head.keys() {
            let Some((block, _)) = self.blocks_state.active_mut(ancestor) else {
                continue;
            };
            let is_ancestor = |parent| ancestor == parent || block.descendants.contains(parent);
            if parents.iter().any(is_ancestor) {
                block.descendants.insert(id);
                *self.descendants_fitness.entry(*ancestor).or_default() += fitness;
            }
        }
    }

    /// After a change of the cliques: the best one, stale blocks, final blocks, best parents.
    fn draw_conclusions(&mut self) -> Result<(), ConsensusError> {
        let were_dropped = cliques::choose_blockclique(&mut self.max_cliques);
        let stale = self.list_stale_blocks(were_dropped);
        if !stale.is_empty() {
            self.discard_stale_blocks(&stale)?;
            cliques::choose_blockclique(&mut self.max_cliques);
        }
        let final_blocks = self.list_final_blocks();
        if !final_blocks.is_empty() {
            self.mark_final_blocks(&final_blocks)?;
        }
        self.update_best_parents();
        Ok(())
    }

    /// The clique with the greatest fitness.
    ///
    /// # Panics
    /// Never: there is always a clique, at least an empty one.
    pub fn blockclique(&self) -> &Clique {
        let best = self.max_cliques.iter().find(|clique| clique.is_blockclique);
        best.expect("one of the cliques is always marked as the best one")
    }

    /// Cliques that are not too far behind the best one.
    fn viable_cliques(&self) -> impl Iterator<Item = &Clique> {
        let least = self.blockclique().fitness.saturating_sub(self.config.delta_f0);
        self.max_cliques.iter().filter(move |clique| clique.fitness >= least)
    }

    /// Blocks that are in no viable clique.
    fn list_stale_blocks(&self, were_dropped: bool) -> PreHashSet<BlockId> {
        if !were_dropped && self.viable_cliques().count() == self.max_cliques.len() {
            return PreHashSet::default();
        }
        let ids = self.gi_head.keys();
        ids.filter(|id| !self.viable_cliques().any(|clique| clique.block_ids.contains(id)))
            .copied()
            .collect()
    }

    /// Takes stale blocks out of the graph. With a block, all that descend from it are stale.
    fn discard_stale_blocks(&mut self, stale: &PreHashSet<BlockId>) -> Result<(), ConsensusError> {
        for id in stale {
            for other in self.gi_head.remove(id).unwrap_or_default() {
                if let Some(against) = self.gi_head.get_mut(&other) {
                    against.remove(id);
                }
            }
        }
        let blocks_state = &self.blocks_state;
        cliques::remove_blocks(&mut self.max_cliques, stale, &self.gi_head, |id| {
            fitness_of(blocks_state, id)
        });
        for id in stale {
            self.discard_stale_block(id)?;
        }
        Ok(())
    }

    fn discard_stale_block(&mut self, id: &BlockId) -> Result<(), ConsensusError> {
        let Some(BlockStatus::Active { a_block, .. }) = self.blocks_state.remove(id) else {
            return Err(ConsensusError::MissingBlock(*id));
        };
        info!(block_id = %id, slot = %a_block.slot, "block is stale");
        self.descendants_fitness.remove(id);
        for ancestor in self.gi_head.keys() {
            if let Some((block, _)) = self.blocks_state.active_mut(ancestor) {
                if block.descendants.remove(id) {
                    *self.descendants_fitness.entry(*ancestor).or_default() -= a_block.fitness;
                }
            }
        }
        self.unlink_from_parents(&a_block);
        self.forget_nonfinal_at_slot(&a_block);
        self.to_propagate.remove(id);
        self.new_stale_blocks
            .insert(*id, (a_block.creator_address, a_block.slot));
        self.discard_with_dependents(*id, discarded(&a_block, DiscardReason::Stale));
        Ok(())
    }

    /// Removes the block from the children of its parents.
    pub(super) fn unlink_from_parents(&mut self, a_block: &ActiveBlock) {
        let thread = usize::from(a_block.slot.thread);
        for (parent, _) in &a_block.parents {
            if let Some((parent, _)) = self.blocks_state.active_mut(parent) {
                parent.children[thread].remove(&a_block.block_id);
            }
        }
    }

    fn forget_nonfinal_at_slot(&mut self, a_block: &ActiveBlock) {
        if let Some(ids) = self.nonfinal_active_blocks_per_slot.get_mut(&a_block.slot) {
            ids.remove(&a_block.block_id);
            if ids.is_empty() {
                self.nonfinal_active_blocks_per_slot.remove(&a_block.slot);
            }
        }
    }

    /// Blocks that can no longer leave the chain: in every viable clique, and in some clique of more than `delta_f0`
    /// followed by descendants of more than `delta_f0`. In the order of slots.
    fn list_final_blocks(&self) -> Vec<BlockId> {
        let delta_f0 = self.config.delta_f0;
        let viable: Vec<&Clique> = self.viable_cliques().collect();
        // All descendants together are a bound for those in one clique, and known without counting.
        let bound = self.descendants_fitness.iter().filter(|(_, bound)| **bound > delta_f0);
        let candidates = bound
            .map(|(id, _)| id)
            .filter(|id| viable.iter().all(|clique| clique.block_ids.contains(id)));
        let is_final_in = |block: &ActiveBlock, clique: &Clique| {
            clique.fitness > delta_f0 && self.descendants_fitness_in(block, clique) > delta_f0
        };
        let mut found: Vec<&ActiveBlock> = candidates
            .filter_map(|id| self.blocks_state.active_block(id))
            .filter(|block| viable.iter().any(|clique| is_final_in(block, clique)))
            .collect();
        found.sort_unstable_by_key(|block| block.slot);
        found.iter().map(|block| block.block_id).collect()
    }

    fn descendants_fitness_in(&self, block: &ActiveBlock, clique: &Clique) -> u64 {
        let inside = block.descendants.iter().filter(|id| clique.block_ids.contains(id));
        inside.map(|id| fitness_of(&self.blocks_state, id)).sum()
    }

    fn mark_final_blocks(&mut self, ids: &[BlockId]) -> Result<(), ConsensusError> {
        for id in ids {
            let Some((block, _)) = self.blocks_state.active_mut(id) else {
                return Err(ConsensusError::MissingBlock(*id));
            };
            block.is_final = true;
            block.descendants = PreHashSet::default();
            let block = block.clone();
            for clique in &mut self.max_cliques {
                if clique.block_ids.remove(id) {
                    clique.fitness -= block.fitness;
                }
            }
            // A block that contradicts it would have a viable clique without it.
            if self.gi_head.remove(id).is_some_and(|against| !against.is_empty()) {
                return Err(ConsensusError::ContainerInconsistency(format!(
                    "final block {id} contradicts a block that is not stale"
                )));
            }
            self.descendants_fitness.remove(id);
            self.forget_nonfinal_at_slot(&block);
            let latest = &mut self.latest_final_blocks_periods[usize::from(block.slot.thread)];
            if block.slot.period > latest.1 {
                *latest = (*id, block.slot.period);
            }
            self.new_final_blocks.insert(*id);
            self.final_block_count += 1;
            debug!(block_id = %id, slot = %block.slot, "block is final");
        }
        Ok(())
    }

    /// The latest block of each thread in the best clique, or the latest final one.
    fn update_best_parents(&mut self) {
        let mut best = self.latest_final_blocks_periods.clone();
        for id in &self.blockclique().block_ids {
            if let Some(block) = self.blocks_state.active_block(id) {
                let parent = &mut best[usize::from(block.slot.thread)];
                if block.slot.period > parent.1 {
                    *parent = (*id, block.slot.period);
                }
            }
        }
        self.best_parents = best;
    }
}

/// What is remembered of an active block that is discarded.
pub(super) fn discarded(a_block: &ActiveBlock, reason: DiscardReason) -> DiscardedBlock {
    DiscardedBlock {
        slot: a_block.slot,
        creator: a_block.creator_address,
        parents: a_block.parents.iter().map(|(id, _)| *id).collect(),
        reason,
    }
}

fn fitness_of(blocks_state: &super::BlocksState, id: &BlockId) -> u64 {
    blocks_state.active_block(id).map_or(0, |block| block.fitness)
}
