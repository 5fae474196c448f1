//! Maximal cliques of the compatibility graph: largest sets of blocks that do not contradict each other.
//!
//! The graph is given by its complement: for each block, the blocks that it is incompatible with. The list of cliques is
//! kept complete while blocks come and go, so it depends on the set of blocks alone, not on the order in which they
//! came; only beyond [`MAX_CLIQUES`] the lightest are dropped.

use massa_models::block_id::BlockId;
use massa_models::clique::Clique;
use massa_models::prehash::{PreHashMap, PreHashSet};
use std::cmp::Ordering;

/// Cliques that are kept. `n` forks at once that know nothing of each other make `2^n`; a fork takes a producer who signs
/// two blocks for one slot, or blocks that were late. Bounds the work of adding a block.
pub(crate) const MAX_CLIQUES: usize = 256;

/// For each block that is not final, those that it is incompatible with.
pub(crate) type Incompatibilities = PreHashMap<BlockId, PreHashSet<BlockId>>;

/// The cliques of an empty graph: one, empty.
pub(crate) fn initial_cliques() -> Vec<Clique> {
    vec![Clique {
        block_ids: PreHashSet::default(),
        fitness: 0,
        is_blockclique: true,
    }]
}

/// Adds a block, which is in `incompatibilities` already.
pub(crate) fn add_block(
    cliques: &mut Vec<Clique>,
    id: BlockId,
    incompatibilities: &Incompatibilities,
    fitness_of: impl Fn(&BlockId) -> u64,
) {
    let none = PreHashSet::default();
    let against = incompatibilities.get(&id).unwrap_or(&none);
    let fitness = fitness_of(&id);
    let mut remainders: Vec<PreHashSet<BlockId>> = Vec::new();
    for clique in cliques.iter_mut() {
        if against.is_disjoint(&clique.block_ids) {
            clique.block_ids.insert(id);
            clique.fitness += fitness;
        } else {
            // The clique stays; what of it is compatible with the new block may be a clique together with that block.
            let mut remainder = &clique.block_ids - against;
            remainder.insert(id);
            remainders.push(remainder);
        }
    }
    let largest = remainders.iter().max_by_key(|remainder| remainder.len()).cloned();
    cliques.extend(new_cliques(remainders, incompatibilities, &fitness_of));
    // Where cliques were dropped, what the block continues may be among them: its clique is made anew.
    if !cliques.iter().any(|clique| clique.block_ids.contains(&id)) {
        let completed = largest.map(|remainder| complete(remainder, incompatibilities));
        cliques.extend(new_cliques(Vec::from_iter(completed), incompatibilities, fitness_of));
    }
}

/// Takes blocks out that are no longer in `incompatibilities`.
pub(crate) fn remove_blocks(
    cliques: &mut Vec<Clique>,
    gone: &PreHashSet<BlockId>,
    incompatibilities: &Incompatibilities,
    fitness_of: impl Fn(&BlockId) -> u64,
) {
    let (changed, unchanged): (Vec<_>, Vec<_>) = std::mem::take(cliques)
        .into_iter()
        .partition(|clique| !clique.block_ids.is_disjoint(gone));
    *cliques = unchanged;
    let remainders = changed.iter().map(|clique| &clique.block_ids - gone).collect();
    cliques.extend(new_cliques(remainders, incompatibilities, fitness_of));
    if cliques.is_empty() {
        *cliques = initial_cliques();
    }
}

/// The maximal ones among sets of compatible blocks, each once.
fn new_cliques(
    sets: Vec<PreHashSet<BlockId>>,
    incompatibilities: &Incompatibilities,
    fitness_of: impl Fn(&BlockId) -> u64,
) -> Vec<Clique> {
    let mut kept: Vec<Clique> = Vec::new();
    for block_ids in sets {
        if is_maximal(&block_ids, incompatibilities) && kept.iter().all(|clique| clique.block_ids != block_ids) {
            kept.push(Clique {
                fitness: block_ids.iter().map(&fitness_of).sum(),
                block_ids,
                is_blockclique: false,
            });
        }
    }
    kept
}

/// Marks the best clique, and drops the lightest beyond [`MAX_CLIQUES`]. True if some were dropped.
pub(crate) fn choose_blockclique(cliques: &mut Vec<Clique>) -> bool {
    let too_many = cliques.len() > MAX_CLIQUES;
    if too_many {
        cliques.sort_by(preference);
        cliques.truncate(MAX_CLIQUES);
    }
    let best = (0..cliques.len()).min_by(|a, b| preference(&cliques[*a], &cliques[*b]));
    for (index, clique) in cliques.iter_mut().enumerate() {
        clique.is_blockclique = Some(index) == best;
    }
    too_many
}

/// Orders the better clique first: the heavier one; of equals, the one with the smallest id that the other lacks. What
/// both contain does not matter, so two nodes agree even if one of them holds more common blocks to be final.
fn preference(a: &Clique, b: &Clique) -> Ordering {
    b.fitness.cmp(&a.fitness).then_with(|| {
        let only = |of: &Clique, not: &Clique| of.block_ids.difference(&not.block_ids).min().copied();
        match (only(a, b), only(b, a)) {
            (Some(a), Some(b)) => a.cmp(&b),
            // Two maximal cliques never contain one another.
            (a, b) => b.is_some().cmp(&a.is_some()),
        }
    })
}

/// Whether no block outside could be added.
fn is_maximal(block_ids: &PreHashSet<BlockId>, incompatibilities: &Incompatibilities) -> bool {
    let is_compatible = |against: &PreHashSet<BlockId>| against.iter().all(|other| !block_ids.contains(other));
    !incompatibilities
        .iter()
        .any(|(id, against)| !block_ids.contains(id) && is_compatible(against))
}

/// Adds what can be added, in the order of ids.
fn complete(mut block_ids: PreHashSet<BlockId>, incompatibilities: &Incompatibilities) -> PreHashSet<BlockId> {
    let mut others: Vec<_> = incompatibilities.iter().collect();
    others.sort_unstable_by_key(|(id, _)| **id);
    for (id, against) in others {
        if against.is_disjoint(&block_ids) {
            block_ids.insert(*id);
        }
    }
    block_ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_hash::Hash;
    use massa_models::secure_share::Id;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const BLOCKS: usize = 9;

    fn id(index: usize) -> BlockId {
        BlockId::new(Hash::compute_from(&[index as u8]))
    }

    fn fitness(_: &BlockId) -> u64 {
        2
    }

    /// Maximal cliques by trying all sets.
    fn by_definition(incompatibilities: &Incompatibilities) -> BTreeSet<BTreeSet<BlockId>> {
        let ids: Vec<BlockId> = incompatibilities.keys().copied().collect();
        let subset = |bits: u32| -> PreHashSet<BlockId> {
            let chosen = ids.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
            chosen.map(|(_, id)| *id).collect()
        };
        let is_clique = |set: &PreHashSet<BlockId>| set.iter().all(|id| incompatibilities[id].is_disjoint(set));
        let is_largest = |set: &PreHashSet<BlockId>| {
            let others = ids.iter().filter(|id| !set.contains(id));
            let mut others = others.filter(|id| incompatibilities[id].is_disjoint(set));
            others.next().is_none()
        };
        let sets = (0..1u32 << ids.len()).map(subset);
        let cliques = sets.filter(|set| is_clique(set) && is_largest(set));
        cliques.map(|set| set.into_iter().collect()).collect()
    }

    fn listed(cliques: &[Clique]) -> BTreeSet<BTreeSet<BlockId>> {
        let sets = cliques.iter().map(|clique| clique.block_ids.iter().copied().collect());
        let listed: BTreeSet<_> = sets.collect();
        assert_eq!(listed.len(), cliques.len(), "a clique is listed twice");
        listed
    }

    proptest! {
        #[test]
        fn the_list_is_complete_after_each_block_that_comes_or_goes(
            edges in proptest::collection::vec(proptest::bool::weighted(0.3), BLOCKS * BLOCKS),
            gone in proptest::collection::vec((0..BLOCKS, 0..BLOCKS), 0..5),
        ) {
            let mut incompatibilities = Incompatibilities::default();
            let mut cliques = initial_cliques();
            let check = |cliques: &[Clique], incompatibilities: &Incompatibilities| {
                assert_eq!(listed(cliques), by_definition(incompatibilities));
                assert!(cliques.iter().all(|clique| clique.fitness == 2 * clique.block_ids.len() as u64));
            };
            for new in 0..BLOCKS {
                let against: PreHashSet<BlockId> = (0..new).filter(|old| edges[new * BLOCKS + old]).map(id).collect();
                for other in &against {
                    incompatibilities.get_mut(other).unwrap().insert(id(new));
                }
                incompatibilities.insert(id(new), against);
                add_block(&mut cliques, id(new), &incompatibilities, fitness);
                check(&cliques, &incompatibilities);
            }
            for (first, second) in gone {
                let gone = PreHashSet::from_iter([id(first), id(second)]);
                incompatibilities.retain(|id, _| !gone.contains(id));
                incompatibilities.values_mut().for_each(|against| against.retain(|id| !gone.contains(id)));
                remove_blocks(&mut cliques, &gone, &incompatibilities, fitness);
                check(&cliques, &incompatibilities);
            }
        }
    }
}
