//! States of a block in the graph.

use massa_models::active_block::ActiveBlock;
use massa_models::address::Address;
use massa_models::block::SecureShareBlock;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::prehash::PreHashSet;
use massa_models::slot::Slot;
use massa_storage::Storage;

/// A block, or only its header.
#[derive(Clone)]
#[allow(clippy::large_enum_variant)] // Upstream's type; few of them exist at a time.
pub enum HeaderOrBlock {
    /// The header, as announced.
    Header(SecuredHeader),
    /// The whole block.
    Block {
        /// Its id.
        id: BlockId,
        /// Its slot.
        slot: Slot,
        /// Claims the block and its operations.
        storage: Storage,
    },
}

/// What the graph still has of an active block.
#[derive(Clone)]
pub enum StorageOrBlock {
    /// The block and its operations, claimed.
    Storage(Storage),
    /// The header and the ids of the operations.
    Block(Box<SecureShareBlock>),
}

impl StorageOrBlock {
    /// The block.
    ///
    /// # Panics
    /// When the storage does not claim `block_id`.
    pub fn clone_block(&self, block_id: &BlockId) -> SecureShareBlock {
        match self {
            StorageOrBlock::Block(block) => (**block).clone(),
            StorageOrBlock::Storage(storage) => storage
                .read_blocks()
                .get(block_id)
                .expect("storage of an active block claims the block")
                .clone(),
        }
    }

    /// Forgets the operations. Returns the storage that claimed them, if they were still there.
    ///
    /// # Panics
    /// When the storage does not claim `block_id`.
    pub fn strip_to_block(&mut self, block_id: &BlockId) -> Option<Storage> {
        if let StorageOrBlock::Block(_) = self {
            return None;
        }
        let block = StorageOrBlock::Block(Box::new(self.clone_block(block_id)));
        match std::mem::replace(self, block) {
            StorageOrBlock::Storage(storage) => Some(storage),
            StorageOrBlock::Block(_) => None,
        }
    }
}

/// Why a block left the graph, or did not get in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DiscardReason {
    /// It breaks a rule.
    Invalid(String),
    /// Another block of its thread is final in its place.
    Stale,
    /// It is final and old.
    Final,
}

/// State of a block.
#[derive(Clone)]
pub enum BlockStatus {
    /// About to be checked.
    Incoming(HeaderOrBlock),
    /// Its slot has not begun.
    WaitingForSlot(HeaderOrBlock),
    /// Others must come first.
    WaitingForDependencies {
        /// The block.
        header_or_block: HeaderOrBlock,
        /// What it waits for; its own id when only the header is here.
        unsatisfied_dependencies: PreHashSet<BlockId>,
        /// Order of arrival: the newest are kept.
        sequence_number: u64,
    },
    /// In the graph.
    Active {
        /// Place in the graph.
        a_block: Box<ActiveBlock>,
        /// Content.
        storage_or_block: StorageOrBlock,
    },
    /// Remembered, so that it is not taken again.
    Discarded {
        /// Its slot.
        slot: Slot,
        /// Its creator.
        creator: Address,
        /// Its parents.
        parents: Vec<BlockId>,
        /// Why.
        reason: DiscardReason,
        /// Order of discarding: the newest are kept.
        sequence_number: u64,
    },
}
