//! Every block that is known, by state.
//!
//! All changes go through [`BlocksState::insert`] and [`BlocksState::remove`], which keep the indexes: ids by state, the
//! order of arrival, who waits for whom, and for which ids it has to be asked again whether they are wanted from peers.

use massa_consensus_exports::block_status::{BlockStatus, DiscardReason, HeaderOrBlock, StorageOrBlock};
use massa_models::active_block::ActiveBlock;
use massa_models::address::Address;
use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::prehash::{PreHashMap, PreHashSet};
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of a discarded block.
pub(crate) struct DiscardedBlock {
    pub(crate) slot: Slot,
    pub(crate) creator: Address,
    pub(crate) parents: Vec<BlockId>,
    pub(crate) reason: DiscardReason,
}

/// All known blocks.
#[derive(Default)]
pub struct BlocksState {
    block_statuses: PreHashMap<BlockId, BlockStatus>,
    active: PreHashSet<BlockId>,
    waiting_for_slot: BTreeSet<(Slot, BlockId)>,
    /// By order of arrival.
    waiting_for_dependencies: BTreeMap<u64, BlockId>,
    /// By order of discarding.
    discarded: BTreeMap<u64, BlockId>,
    /// For each id that is waited for, who waits.
    dependents: PreHashMap<BlockId, PreHashSet<BlockId>>,
    /// Ids that may have become wanted, or are wanted no longer.
    touched: PreHashSet<BlockId>,
    sequence_counter: u64,
}

impl BlocksState {
    /// The state of a block.
    pub fn get(&self, id: &BlockId) -> Option<&BlockStatus> {
        self.block_statuses.get(id)
    }

    /// An active block.
    pub fn active_block(&self, id: &BlockId) -> Option<&ActiveBlock> {
        match self.block_statuses.get(id) {
            Some(BlockStatus::Active { a_block, .. }) => Some(a_block),
            _ => None,
        }
    }

    /// An active block and its content.
    pub(crate) fn active_mut(&mut self, id: &BlockId) -> Option<(&mut ActiveBlock, &mut StorageOrBlock)> {
        match self.block_statuses.get_mut(id) {
            Some(BlockStatus::Active {
                a_block,
                storage_or_block,
            }) => Some((a_block, storage_or_block)),
            _ => None,
        }
    }

    /// Ids of active blocks, final ones included, in no order.
    pub fn active_blocks(&self) -> &PreHashSet<BlockId> {
        &self.active
    }

    /// How many blocks wait for their slot.
    pub fn waiting_for_slot_count(&self) -> usize {
        self.waiting_for_slot.len()
    }

    /// How many blocks wait for others.
    pub fn waiting_for_dependencies_count(&self) -> usize {
        self.waiting_for_dependencies.len()
    }

    /// How many blocks are remembered as discarded.
    pub fn discarded_count(&self) -> usize {
        self.discarded.len()
    }

    /// Discarded blocks with their slots.
    pub(crate) fn discarded_blocks(&self) -> impl Iterator<Item = (BlockId, Slot)> + '_ {
        self.discarded.values().filter_map(|id| match self.get(id) {
            Some(BlockStatus::Discarded { slot, .. }) => Some((*id, *slot)),
            _ => None,
        })
    }

    /// Blocks whose slot is `current` or before.
    pub(crate) fn due_at(&self, current: Slot) -> BTreeSet<(Slot, BlockId)> {
        let due = self.waiting_for_slot.iter().take_while(|(slot, _)| *slot <= current);
        due.copied().collect()
    }

    /// Who waits for a block, in no order.
    pub(crate) fn dependents(&self, id: &BlockId) -> Vec<BlockId> {
        self.dependents
            .get(id)
            .map_or_else(Vec::new, |waiting| waiting.iter().copied().collect())
    }

    /// Blocks that wait for others, with what they are, in order of arrival.
    pub(crate) fn waiting_blocks(&self) -> impl Iterator<Item = (BlockId, &HeaderOrBlock)> + '_ {
        self.waiting_for_dependencies
            .values()
            .filter_map(|id| match self.get(id) {
                Some(BlockStatus::WaitingForDependencies { header_or_block, .. }) => Some((*id, header_or_block)),
                _ => None,
            })
    }

    /// Sets the state of a block that has none.
    fn insert(&mut self, id: BlockId, status: BlockStatus) {
        self.touched.insert(id);
        match &status {
            BlockStatus::Incoming(_) => {}
            BlockStatus::WaitingForSlot(content) => {
                self.waiting_for_slot.insert((slot_of(content), id));
            }
            BlockStatus::WaitingForDependencies {
                unsatisfied_dependencies,
                sequence_number,
                ..
            } => {
                self.waiting_for_dependencies.insert(*sequence_number, id);
                for dependency in unsatisfied_dependencies {
                    self.dependents.entry(*dependency).or_default().insert(id);
                    self.touched.insert(*dependency);
                }
            }
            BlockStatus::Active { .. } => {
                self.active.insert(id);
            }
            BlockStatus::Discarded { sequence_number, .. } => {
                self.discarded.insert(*sequence_number, id);
            }
        }
        let before = self.block_statuses.insert(id, status);
        debug_assert!(before.is_none(), "a state was overwritten");
    }

    /// Forgets a block.
    pub(crate) fn remove(&mut self, id: &BlockId) -> Option<BlockStatus> {
        let status = self.block_statuses.remove(id)?;
        self.touched.insert(*id);
        match &status {
            BlockStatus::Incoming(_) => {}
            BlockStatus::WaitingForSlot(content) => {
                self.waiting_for_slot.remove(&(slot_of(content), *id));
            }
            BlockStatus::WaitingForDependencies {
                unsatisfied_dependencies,
                sequence_number,
                ..
            } => {
                self.waiting_for_dependencies.remove(sequence_number);
                for dependency in unsatisfied_dependencies {
                    self.forget_dependent(dependency, id);
                }
            }
            BlockStatus::Active { .. } => {
                self.active.remove(id);
            }
            BlockStatus::Discarded { sequence_number, .. } => {
                self.discarded.remove(sequence_number);
            }
        }
        Some(status)
    }

    fn forget_dependent(&mut self, dependency: &BlockId, dependent: &BlockId) {
        self.touched.insert(*dependency);
        if let Some(waiting) = self.dependents.get_mut(dependency) {
            waiting.remove(dependent);
            if waiting.is_empty() {
                self.dependents.remove(dependency);
            }
        }
    }

    fn next_sequence_number(&mut self) -> u64 {
        self.sequence_counter += 1;
        self.sequence_counter
    }

    /// A block to be checked.
    pub(crate) fn set_incoming(&mut self, id: BlockId, content: HeaderOrBlock) {
        self.insert(id, BlockStatus::Incoming(content));
    }

    /// A block whose slot has not begun.
    pub(crate) fn set_waiting_for_slot(&mut self, id: BlockId, content: HeaderOrBlock) {
        self.insert(id, BlockStatus::WaitingForSlot(content));
    }

    /// A block that waits for others; a header waits for its own block too.
    pub(crate) fn set_waiting_for_dependencies(
        &mut self,
        id: BlockId,
        content: HeaderOrBlock,
        mut dependencies: PreHashSet<BlockId>,
    ) {
        if let HeaderOrBlock::Header(_) = content {
            dependencies.insert(id);
        }
        let status = BlockStatus::WaitingForDependencies {
            header_or_block: content,
            unsatisfied_dependencies: dependencies,
            sequence_number: self.next_sequence_number(),
        };
        self.insert(id, status);
    }

    /// A block of the graph.
    pub(crate) fn set_active(&mut self, a_block: ActiveBlock, storage_or_block: StorageOrBlock) {
        let (id, a_block) = (a_block.block_id, Box::new(a_block));
        self.insert(
            id,
            BlockStatus::Active {
                a_block,
                storage_or_block,
            },
        );
    }

    /// A block that is not taken again.
    pub(crate) fn set_discarded(&mut self, id: BlockId, block: DiscardedBlock) {
        let status = BlockStatus::Discarded {
            slot: block.slot,
            creator: block.creator,
            parents: block.parents,
            reason: block.reason,
            sequence_number: self.next_sequence_number(),
        };
        self.insert(id, status);
    }

    /// Takes out a block that is not decided yet.
    pub(crate) fn take_pending(&mut self, id: &BlockId) -> Option<HeaderOrBlock> {
        match self.get(id)? {
            BlockStatus::Active { .. } | BlockStatus::Discarded { .. } => return None,
            BlockStatus::Incoming(_) | BlockStatus::WaitingForSlot(_) | BlockStatus::WaitingForDependencies { .. } => {}
        }
        match self.remove(id)? {
            BlockStatus::Incoming(content) | BlockStatus::WaitingForSlot(content) => Some(content),
            BlockStatus::WaitingForDependencies { header_or_block, .. } => Some(header_or_block),
            BlockStatus::Active { .. } | BlockStatus::Discarded { .. } => None,
        }
    }

    /// Tells those that wait for `id` that it is active. Gives those that wait for nothing more, or only for their body.
    pub(crate) fn satisfy(&mut self, id: &BlockId) -> Vec<BlockId> {
        let mut ready = Vec::new();
        for dependent in self.dependents(id) {
            let Some(BlockStatus::WaitingForDependencies {
                unsatisfied_dependencies,
                ..
            }) = self.block_statuses.get_mut(&dependent)
            else {
                continue;
            };
            unsatisfied_dependencies.remove(id);
            if unsatisfied_dependencies.iter().all(|other| *other == dependent) {
                ready.push(dependent);
            }
            self.forget_dependent(id, &dependent);
        }
        ready
    }

    /// A discarded block came up again: it is remembered for longer. False if it is not discarded.
    pub(crate) fn refresh_discarded(&mut self, id: &BlockId) -> bool {
        let fresh = self.next_sequence_number();
        let Some(BlockStatus::Discarded { sequence_number, .. }) = self.block_statuses.get_mut(id) else {
            return false;
        };
        self.discarded.remove(sequence_number);
        *sequence_number = fresh;
        self.discarded.insert(fresh, *id);
        true
    }

    /// Forgets the blocks of the latest slots beyond `max`.
    pub(crate) fn limit_waiting_for_slot(&mut self, max: usize) {
        while self.waiting_for_slot.len() > max {
            let Some((_, id)) = self.waiting_for_slot.last().copied() else {
                return;
            };
            self.remove(&id);
        }
    }

    /// Forgets the waiting blocks that came first, beyond `max`.
    pub(crate) fn limit_waiting_for_dependencies(&mut self, max: usize) {
        while self.waiting_for_dependencies.len() > max {
            let Some(id) = self.waiting_for_dependencies.values().next().copied() else {
                return;
            };
            self.remove(&id);
        }
    }

    /// Forgets the blocks that were discarded first, beyond `max`.
    pub(crate) fn limit_discarded(&mut self, max: usize) {
        while self.discarded.len() > max {
            let Some(id) = self.discarded.values().next().copied() else {
                return;
            };
            self.remove(&id);
        }
    }

    /// Ids for which [`BlocksState::is_wanted`] may have another answer than before.
    pub(crate) fn take_touched(&mut self) -> PreHashSet<BlockId> {
        std::mem::take(&mut self.touched)
    }

    /// Whether peers should be asked for a block, and its header if that is known: somebody waits for it, and it is
    /// not here.
    pub(crate) fn is_wanted(&self, id: &BlockId) -> Option<Option<SecuredHeader>> {
        if !self.dependents.contains_key(id) {
            return None;
        }
        match self.get(id) {
            None => Some(None),
            Some(BlockStatus::WaitingForDependencies {
                header_or_block: HeaderOrBlock::Header(header),
                ..
            }) => Some(Some(header.clone())),
            Some(_) => None,
        }
    }
}

/// The slot of a block or header.
pub(crate) fn slot_of(content: &HeaderOrBlock) -> Slot {
    match content {
        HeaderOrBlock::Header(header) => header.content.slot,
        HeaderOrBlock::Block { slot, .. } => *slot,
    }
}
