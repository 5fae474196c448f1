//! The handle that the node's modules pass around.

use crate::owned_objects::OwnedObjects;
use crate::{BlockIndexes, EndorsementIndexes, OperationIndexes};
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::endorsement::{EndorsementId, SecureShareEndorsement};
use massa_models::operation::{OperationId, SecureShareOperation};
use massa_models::prehash::PreHashSet;
use parking_lot::RwLockReadGuard;
use std::fmt;

/// A handle to the shared store that owns references to some of its objects.
///
/// A clone owns the same references once more; dropping a handle gives up all of its references.
///
/// A guard given by a `read_…` method must be dropped before the same thread stores, claims or gives up anything, or
/// drops or clones a handle: those wait for the guard.
// The fields are dropped in this order: blocks first, so that no stored block outlives what it was stored with.
#[derive(Clone)]
pub struct Storage {
    blocks: OwnedObjects<BlockIndexes>,
    operations: OwnedObjects<OperationIndexes>,
    endorsements: OwnedObjects<EndorsementIndexes>,
}

impl Storage {
    /// A new, empty store, and its first handle. Handles of two stores share nothing: a node calls this once.
    pub fn create_root() -> Storage {
        Storage {
            blocks: OwnedObjects::create_root(),
            operations: OwnedObjects::create_root(),
            endorsements: OwnedObjects::create_root(),
        }
    }

    /// A handle to the same store that owns nothing yet.
    pub fn clone_without_refs(&self) -> Self {
        Self {
            blocks: self.blocks.clone_without_refs(),
            operations: self.operations.clone_without_refs(),
            endorsements: self.endorsements.clone_without_refs(),
        }
    }

    /// Moves all references of `other`, a handle of the same store, into this handle.
    pub fn extend(&mut self, mut other: Storage) {
        self.blocks.take_from(&mut other.blocks);
        self.operations.take_from(&mut other.operations);
        self.endorsements.take_from(&mut other.endorsements);
    }

    /// Moves these references into a new handle.
    ///
    /// # Panics
    /// When this handle does not own one of them.
    pub fn split_off(
        &mut self,
        blocks: &PreHashSet<BlockId>,
        operations: &PreHashSet<OperationId>,
        endorsements: &PreHashSet<EndorsementId>,
    ) -> Storage {
        Storage {
            blocks: self.blocks.split_off(blocks),
            operations: self.operations.split_off(operations),
            endorsements: self.endorsements.split_off(endorsements),
        }
    }

    /// Makes this handle own exactly what `other`, a handle of the same store, owns.
    pub fn replace_with(&mut self, other: &Storage) {
        self.blocks.replace_with(&other.blocks);
        self.operations.replace_with(&other.operations);
        self.endorsements.replace_with(&other.endorsements);
    }
}

/// Blocks.
impl Storage {
    /// Stores a block, unless its id is stored already, and owns it.
    pub fn store_block(&mut self, block: SecureShareBlock) {
        self.blocks.store([block]);
    }

    /// Owns those of `ids` that are stored; gives them back, those included that were owned before.
    pub fn claim_block_refs(&mut self, ids: &PreHashSet<BlockId>) -> PreHashSet<BlockId> {
        self.blocks.claim(ids)
    }

    /// Gives up those of `ids` that this handle owns. Blocks that nobody owns any more are freed.
    pub fn drop_block_refs(&mut self, ids: &PreHashSet<BlockId>) {
        self.blocks.drop_refs(ids);
    }

    /// The blocks this handle owns.
    pub fn get_block_refs(&self) -> &PreHashSet<BlockId> {
        self.blocks.owned()
    }

    /// All stored blocks, whoever owns them.
    pub fn read_blocks(&self) -> RwLockReadGuard<'_, BlockIndexes> {
        self.blocks.read()
    }
}

/// Operations.
impl Storage {
    /// Stores those operations whose ids are not stored already, and owns all of them.
    pub fn store_operations(&mut self, operations: Vec<SecureShareOperation>) {
        self.operations.store(operations);
    }

    /// Owns those of `ids` that are stored; gives them back, those included that were owned before.
    pub fn claim_operation_refs(&mut self, ids: &PreHashSet<OperationId>) -> PreHashSet<OperationId> {
        self.operations.claim(ids)
    }

    /// Gives up those of `ids` that this handle owns. Operations that nobody owns any more are freed.
    pub fn drop_operation_refs(&mut self, ids: &PreHashSet<OperationId>) {
        self.operations.drop_refs(ids);
    }

    /// The operations this handle owns.
    pub fn get_op_refs(&self) -> &PreHashSet<OperationId> {
        self.operations.owned()
    }

    /// All stored operations, whoever owns them.
    pub fn read_operations(&self) -> RwLockReadGuard<'_, OperationIndexes> {
        self.operations.read()
    }
}

/// Endorsements.
impl Storage {
    /// Stores those endorsements whose ids are not stored already, and owns all of them.
    pub fn store_endorsements(&mut self, endorsements: Vec<SecureShareEndorsement>) {
        self.endorsements.store(endorsements);
    }

    /// Owns those of `ids` that are stored; gives them back, those included that were owned before.
    pub fn claim_endorsement_refs(&mut self, ids: &PreHashSet<EndorsementId>) -> PreHashSet<EndorsementId> {
        self.endorsements.claim(ids)
    }

    /// Gives up those of `ids` that this handle owns. Endorsements that nobody owns any more are freed.
    pub fn drop_endorsement_refs(&mut self, ids: &PreHashSet<EndorsementId>) {
        self.endorsements.drop_refs(ids);
    }

    /// The endorsements this handle owns.
    pub fn get_endorsement_refs(&self) -> &PreHashSet<EndorsementId> {
        self.endorsements.owned()
    }

    /// All stored endorsements, whoever owns them.
    pub fn read_endorsements(&self) -> RwLockReadGuard<'_, EndorsementIndexes> {
        self.endorsements.read()
    }
}

/// Prints no content: a handle can own thousands of objects.
impl fmt::Debug for Storage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Storage").finish_non_exhaustive()
    }
}
