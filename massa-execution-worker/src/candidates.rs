//! The executed blocks of the best clique, on top of the final ledger.

use crate::execute::{Outcome, SlotOutput};
use crate::state::{entries_in, Bytes, EntryKey, KeyRange};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Outputs of candidate blocks, in slot order. Each is valid on top of the final ledger and those before it.
///
/// Beside the outputs, their changes are indexed by address and operation, so that a look-up costs the same however
/// many blocks are not final. In each index the values are oldest first: one for each output that touched the place.
#[derive(Clone, Default)]
pub(crate) struct Candidates {
    outputs: VecDeque<Arc<SlotOutput>>,
    balances: PreHashMap<Address, VecDeque<Amount>>,
    entries: BTreeMap<EntryKey, VecDeque<Option<Bytes>>>,
    bytecode: PreHashMap<Address, VecDeque<Bytes>>,
    outcomes: PreHashMap<OperationId, Outcome>,
}

impl Candidates {
    /// The slots and blocks that are executed.
    pub(crate) fn blocks(&self) -> impl Iterator<Item = (Slot, BlockId)> + '_ {
        self.outputs
            .iter()
            .filter_map(|output| Some((output.slot, output.block?)))
    }

    /// The last slot that is executed.
    pub(crate) fn last_slot(&self) -> Option<Slot> {
        self.outputs.back().map(|output| output.slot)
    }

    /// How many outputs there are.
    pub(crate) fn len(&self) -> usize {
        self.outputs.len()
    }

    /// The outputs, in slot order.
    pub(crate) fn outputs(&self) -> impl DoubleEndedIterator<Item = &SlotOutput> {
        self.outputs.iter().map(|output| &**output)
    }

    /// The last balance of an address, if candidates changed it.
    pub(crate) fn balance(&self, address: &Address) -> Option<Amount> {
        self.balances.get(address)?.back().copied()
    }

    /// The last state of an entry, if candidates changed it.
    pub(crate) fn entry(&self, address: &Address, key: &[u8]) -> Option<Option<Bytes>> {
        self.entries.get(&(*address, key.to_vec()))?.back().cloned()
    }

    /// The keys in a range that candidates changed, and whether they are there now.
    pub(crate) fn keys<'a>(&'a self, address: &Address, range: &'a KeyRange) -> Vec<(&'a Vec<u8>, bool)> {
        let entries = entries_in(&self.entries, address, range);
        entries
            .map(|(key, versions)| (key, versions.back().is_some_and(Option::is_some)))
            .collect()
    }

    /// The last bytecode of an address, if candidates changed it.
    pub(crate) fn bytecode(&self, address: &Address) -> Option<Bytes> {
        self.bytecode.get(address)?.back().cloned()
    }

    /// How an operation ended in a candidate.
    pub(crate) fn outcome(&self, operation: &OperationId) -> Option<Outcome> {
        self.outcomes.get(operation).copied()
    }

    /// Adds the output of a later slot.
    pub(crate) fn push(&mut self, output: SlotOutput) {
        for (address, balance) in &output.changes.balances {
            self.balances.entry(*address).or_default().push_back(*balance);
        }
        for (key, entry) in &output.changes.entries {
            let versions = self.entries.entry(key.clone()).or_default();
            versions.push_back(entry.clone());
        }
        for (address, bytecode) in &output.changes.bytecode {
            let versions = self.bytecode.entry(*address).or_default();
            versions.push_back(Arc::clone(bytecode));
        }
        let outcomes = output
            .executed
            .iter()
            .map(|operation| (operation.id, operation.outcome));
        self.outcomes.extend(outcomes);
        self.outputs.push_back(Arc::new(output));
    }

    /// Forgets all but the first `kept` outputs.
    pub(crate) fn truncate(&mut self, kept: usize) {
        while self.outputs.len() > kept {
            if let Some(output) = self.outputs.pop_back() {
                self.unindex(&output, End::Newest);
            }
        }
    }

    /// Takes out what final `slot` turned out to be, if that is what was executed here. Whatever was executed on top
    /// of something else is forgotten.
    pub(crate) fn take_final(&mut self, slot: Slot, block: Option<BlockId>) -> Option<Arc<SlotOutput>> {
        let first = self.outputs.front()?;
        if block.is_none() && first.slot > slot {
            return None;
        }
        if block.is_none() || (first.slot, first.block) != (slot, block) {
            self.truncate(0);
            return None;
        }
        let output = self.outputs.pop_front()?;
        self.unindex(&output, End::Oldest);
        Some(output)
    }

    fn unindex(&mut self, output: &SlotOutput, end: End) {
        for address in output.changes.balances.keys() {
            drop_version(&mut self.balances, address, end);
        }
        for address in output.changes.bytecode.keys() {
            drop_version(&mut self.bytecode, address, end);
        }
        for key in output.changes.entries.keys() {
            if self
                .entries
                .get_mut(key)
                .is_some_and(|versions| end.drop_from(versions))
            {
                self.entries.remove(key);
            }
        }
        for operation in &output.executed {
            self.outcomes.remove(&operation.id);
        }
    }
}

/// Which output goes.
#[derive(Clone, Copy)]
enum End {
    Oldest,
    Newest,
}

impl End {
    /// Whether none is left.
    fn drop_from<T>(self, versions: &mut VecDeque<T>) -> bool {
        match self {
            Self::Oldest => versions.pop_front(),
            Self::Newest => versions.pop_back(),
        };
        versions.is_empty()
    }
}

fn drop_version<K: Eq + Hash, V, S: BuildHasher>(index: &mut HashMap<K, VecDeque<V>, S>, key: &K, end: End) {
    if index.get_mut(key).is_some_and(|versions| end.drop_from(versions)) {
        index.remove(key);
    }
}
