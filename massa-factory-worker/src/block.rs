//! What a new block is made of.

use massa_models::block::{Block, BlockSerializer, SecureShareBlock};
use massa_models::block_header::{BlockHeader, BlockHeaderSerializer};
use massa_models::block_id::BlockId;
use massa_models::error::ModelsError;
use massa_models::operation::{compute_operations_hash, OperationId, OperationIdSerializer};
use massa_models::secure_share::SecureShareContent;
use massa_models::slot::Slot;
use massa_signature::KeyPair;

/// Why a slot goes by without a block although its producer is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Skip {
    #[error("consensus has parents in {found} of {expected} threads")]
    ThreadCount { expected: u8, found: usize },
    #[error("the best parent {id} is at {slot}, which is not before this slot")]
    LateParent { id: BlockId, slot: Slot },
}

/// The parents of a block at `slot`: consensus' best ones, if all of them come before the slot.
pub(crate) fn choose_parents(
    slot: Slot,
    thread_count: u8,
    best_parents: &[(BlockId, u64)],
) -> Result<Vec<BlockId>, Skip> {
    if best_parents.len() != usize::from(thread_count) {
        return Err(Skip::ThreadCount {
            expected: thread_count,
            found: best_parents.len(),
        });
    }
    let parents = (0..thread_count).zip(best_parents).map(|(thread, (id, period))| {
        let parent = Slot::new(*period, thread);
        if parent >= slot {
            return Err(Skip::LateParent { id: *id, slot: parent });
        }
        Ok(*id)
    });
    parents.collect()
}

/// Makes and signs a block.
pub(crate) fn build_block(
    keypair: &KeyPair,
    chain_id: u64,
    slot: Slot,
    parents: Vec<BlockId>,
    operations: Vec<OperationId>,
) -> Result<SecureShareBlock, ModelsError> {
    let header = BlockHeader {
        current_version: 0,
        announced_version: None,
        slot,
        parents,
        operation_merkle_root: compute_operations_hash(&operations, &OperationIdSerializer::new()),
        endorsements: Vec::new(),
        denunciations: Vec::new(),
    };
    let header = BlockHeader::new_verifiable(header, BlockHeaderSerializer::new(), keypair, chain_id)?;
    let content = Block { header, operations };
    Block::new_verifiable(content, BlockSerializer::new(), keypair, chain_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_hash::Hash;
    use massa_models::secure_share::Id;

    fn parents(periods: [u64; 3]) -> Vec<(BlockId, u64)> {
        let id = |thread: u8| BlockId::new(Hash::compute_from(&[thread]));
        (0..3)
            .zip(periods)
            .map(|(thread, period)| (id(thread), period))
            .collect()
    }

    #[test]
    fn parents_are_the_best_ones_in_the_order_of_threads() {
        let best = parents([5, 4, 4]);
        let ids: Vec<BlockId> = best.iter().map(|(id, _)| *id).collect();
        assert_eq!(choose_parents(Slot::new(5, 1), 3, &best), Ok(ids));
    }

    #[test]
    fn every_parent_comes_before_the_slot() {
        let slot = Slot::new(5, 1);
        for (periods, thread) in [([5, 5, 4], 1), ([6, 4, 4], 0), ([5, 4, 5], 2)] {
            let best = parents(periods);
            let late = Skip::LateParent {
                id: best[thread].0,
                slot: Slot::new(periods[thread], thread as u8),
            };
            assert_eq!(choose_parents(slot, 3, &best), Err(late));
        }
    }

    #[test]
    fn there_is_a_parent_in_every_thread() {
        let missing = Skip::ThreadCount { expected: 4, found: 3 };
        assert_eq!(choose_parents(Slot::new(9, 0), 4, &parents([1, 1, 1])), Err(missing));
    }
}
