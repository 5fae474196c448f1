//! How blocks are found.

use crate::owned_objects::by_key::{link, unlink};
use crate::owned_objects::ObjectIndexes;
use massa_models::address::Address;
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::endorsement::EndorsementId;
use massa_models::operation::OperationId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use std::collections::BTreeMap;
use std::ops::{Bound, RangeBounds};

/// All stored blocks, by id, creator, slot and content.
#[derive(Default)]
pub struct BlockIndexes {
    blocks: PreHashMap<BlockId, SecureShareBlock>,
    by_creator: PreHashMap<Address, PreHashSet<BlockId>>,
    by_slot: BTreeMap<Slot, PreHashSet<BlockId>>,
    by_operation: PreHashMap<OperationId, PreHashSet<BlockId>>,
    by_endorsement: PreHashMap<EndorsementId, PreHashSet<BlockId>>,
}

impl BlockIndexes {
    /// The block of that id.
    pub fn get(&self, id: &BlockId) -> Option<&SecureShareBlock> {
        self.blocks.get(id)
    }

    /// Whether the block is stored.
    pub fn contains(&self, id: &BlockId) -> bool {
        self.blocks.contains_key(id)
    }

    /// The blocks of one creator; `None` if there are none.
    pub fn get_blocks_created_by(&self, address: &Address) -> Option<&PreHashSet<BlockId>> {
        self.by_creator.get(address)
    }

    /// The blocks of one slot; `None` if there are none. More than one while forks compete.
    pub fn get_blocks_by_slot(&self, slot: &Slot) -> Option<&PreHashSet<BlockId>> {
        self.by_slot.get(slot)
    }

    /// The blocks of all slots of a range. Costs a walk over the stored slots of the range.
    pub fn aggregate_blocks_by_slot_range(&self, range: impl RangeBounds<Slot>) -> PreHashSet<BlockId> {
        if is_backwards(&range) {
            return PreHashSet::default();
        }
        self.by_slot.range(range).flat_map(|(_, ids)| ids).copied().collect()
    }

    /// The blocks that contain an operation; `None` if there are none.
    pub fn get_blocks_by_operation(&self, id: &OperationId) -> Option<&PreHashSet<BlockId>> {
        self.by_operation.get(id)
    }

    /// The blocks that contain an endorsement; `None` if there are none.
    pub fn get_blocks_by_endorsement(&self, id: &EndorsementId) -> Option<&PreHashSet<BlockId>> {
        self.by_endorsement.get(id)
    }

    fn link_content(&mut self, block: &SecureShareBlock) {
        link(&mut self.by_creator, block.content_creator_address, block.id);
        self.by_slot
            .entry(block.content.header.content.slot)
            .or_default()
            .insert(block.id);
        for operation in &block.content.operations {
            link(&mut self.by_operation, *operation, block.id);
        }
        for endorsement in &block.content.header.content.endorsements {
            link(&mut self.by_endorsement, endorsement.id, block.id);
        }
    }

    fn unlink_content(&mut self, block: &SecureShareBlock) {
        unlink(&mut self.by_creator, &block.content_creator_address, &block.id);
        let slot = block.content.header.content.slot;
        if let Some(ids) = self.by_slot.get_mut(&slot) {
            ids.remove(&block.id);
            if ids.is_empty() {
                self.by_slot.remove(&slot);
            }
        }
        for operation in &block.content.operations {
            unlink(&mut self.by_operation, operation, &block.id);
        }
        for endorsement in &block.content.header.content.endorsements {
            unlink(&mut self.by_endorsement, &endorsement.id, &block.id);
        }
    }
}

impl ObjectIndexes for BlockIndexes {
    type Id = BlockId;
    type Object = SecureShareBlock;

    fn id_of(block: &SecureShareBlock) -> BlockId {
        block.id
    }

    fn insert(&mut self, block: SecureShareBlock) {
        self.link_content(&block);
        self.blocks.insert(block.id, block);
    }

    fn remove(&mut self, id: &BlockId) -> Option<SecureShareBlock> {
        let block = self.blocks.remove(id)?;
        self.unlink_content(&block);
        Some(block)
    }
}

/// A range that ends before it begins holds no slot; the standard map would panic on it.
fn is_backwards(range: &impl RangeBounds<Slot>) -> bool {
    use Bound::{Excluded, Included, Unbounded};
    match (range.start_bound(), range.end_bound()) {
        (Unbounded, _) | (_, Unbounded) => false,
        (Excluded(start), Excluded(end)) => start >= end,
        (Included(start) | Excluded(start), Included(end) | Excluded(end)) => start > end,
    }
}
