//! What is known of open segments without reading a row.

use super::rows::SlotRow;
use massa_distributed_storage_exports::types::Digest;
use massa_models::operation::OperationId;
use massa_models::secure_share::Id;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

/// Operations of open segments that are kept in memory, 32 bytes each: those of the newest blocks. It takes a full chain to
/// have more.
const OPEN_OPERATIONS_MAX: usize = 1 << 19;
/// What memory keeps of a joined period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct JoinedInfo {
    pub(crate) length: u32,
    pub(crate) root: Digest,
    pub(crate) operations: u32,
    pub(crate) blocks: u32,
    pub(crate) lost: bool,
}

/// What is known of open segments without reading a row.
#[derive(Debug, Default)]
pub(crate) struct OpenMemory {
    pub(crate) slots: BTreeMap<Slot, SlotRow>,
    pub(crate) joined: BTreeMap<u64, JoinedInfo>,
    pub(crate) ids: HashMap<Digest, Slot>,
    pub(crate) operations: OpenOperations,
}

/// Where the operations of the newest blocks are, by the first eight bytes of their id: whoever looks one up compares the
/// whole id with the block's.
#[derive(Debug, Default)]
pub(crate) struct OpenOperations {
    found: HashMap<u64, (Slot, u32)>,
    by_slot: BTreeMap<Slot, Vec<u64>>,
}

impl OpenOperations {
    pub(crate) fn add(&mut self, slot: Slot, ids: impl Iterator<Item = OperationId>) {
        self.remove(slot);
        let mut keys = Vec::new();
        for (id, index) in ids.zip(0..) {
            let key = operation_prefix(&id);
            self.found.insert(key, (slot, index));
            keys.push(key);
        }
        if !keys.is_empty() {
            self.by_slot.insert(slot, keys);
        }
        while self.found.len() > OPEN_OPERATIONS_MAX {
            let Some(oldest) = self.by_slot.keys().next().copied() else {
                break;
            };
            self.remove(oldest);
        }
    }

    /// Where an operation may be.
    pub(crate) fn find(&self, id: &OperationId) -> Option<(Slot, u32)> {
        self.found.get(&operation_prefix(id)).copied()
    }

    fn remove(&mut self, slot: Slot) {
        for key in self.by_slot.remove(&slot).unwrap_or_default() {
            if self.found.get(&key).is_some_and(|(found, _)| *found == slot) {
                self.found.remove(&key);
            }
        }
    }
}

fn operation_prefix(id: &OperationId) -> u64 {
    let mut prefix = [0; 8];
    prefix.copy_from_slice(&id.get_hash().to_bytes()[..8]);
    u64::from_le_bytes(prefix)
}

impl OpenMemory {
    pub(crate) fn set(&mut self, slot: Slot, row: SlotRow) {
        self.remove(slot);
        if let SlotRow::Block { id, .. } = row {
            self.ids.insert(id, slot);
        }
        self.slots.insert(slot, row);
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        if let Some(SlotRow::Block { id, .. }) = self.slots.remove(&slot) {
            self.ids.remove(&id);
            self.operations.remove(slot);
        }
    }

    /// Forgets the periods of a segment.
    pub(crate) fn remove_periods(&mut self, periods: Range<u64>) {
        let slots: Vec<Slot> = self.slots_of(&periods).map(|(slot, _)| slot).collect();
        slots.into_iter().for_each(|slot| self.remove(slot));
        let joined: Vec<u64> = self.joined.range(periods).map(|(period, _)| *period).collect();
        for period in joined {
            self.joined.remove(&period);
        }
    }

    pub(crate) fn slots_of(&self, periods: &Range<u64>) -> impl Iterator<Item = (Slot, SlotRow)> + '_ {
        let range = Slot::new(periods.start, 0)..Slot::new(periods.end, 0);
        self.slots.range(range).map(|(slot, row)| (*slot, *row))
    }

    /// Segments of which there is a row.
    pub(crate) fn segments(&self, segment_periods: u64) -> BTreeSet<u64> {
        let slots = self.slots.keys().map(|slot| slot.period);
        let periods = slots.chain(self.joined.keys().copied());
        periods.map(|period| period / segment_periods).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_hash::Hash;

    fn id(number: u64) -> OperationId {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        OperationId::new(Hash::from_bytes(&bytes))
    }

    #[test]
    fn operations_of_the_oldest_blocks_give_way() {
        let mut operations = OpenOperations::default();
        let half = OPEN_OPERATIONS_MAX as u64 / 2;
        for block in 0..3 {
            operations.add(Slot::new(block, 0), (0..half).map(|number| id(block * half + number)));
        }
        assert_eq!(operations.found.len(), OPEN_OPERATIONS_MAX);
        assert_eq!(operations.found.get(&operation_prefix(&id(0))), None);
        assert_eq!(
            operations.found.get(&operation_prefix(&id(3 * half - 1))),
            Some(&(Slot::new(2, 0), half as u32 - 1))
        );
    }
}
