//! The state that blocks are executed on, and the changes on the way to the next one.
//!
//! A [`Speculative`] state is a [`StateView`] with changes on top. Each change notes how to undo it, so that a failed
//! operation goes back to where it began at the cost of what it changed.

use crate::execute::Outcome;
use crate::ledger::LedgerError;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::operation::OperationId;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;

/// A value of a datastore, or bytecode: shared, because the same ones are in candidates, caches and answers.
pub(crate) type Bytes = Arc<[u8]>;

/// A range of keys.
pub(crate) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Where an entry of a datastore is.
pub(crate) type EntryKey = (Address, Vec<u8>);

/// The state before a slot.
pub(crate) trait StateView: Send + Sync {
    /// The balance of an address; `None` where there is no such address.
    fn balance(&self, address: &Address) -> Result<Option<Amount>, LedgerError>;

    /// An entry of a datastore.
    fn entry(&self, address: &Address, key: &[u8]) -> Result<Option<Bytes>, LedgerError>;

    /// The first `count` keys of a datastore in a range.
    fn keys(&self, address: &Address, range: &KeyRange, count: usize) -> Result<BTreeSet<Vec<u8>>, LedgerError>;

    /// The bytecode of a contract.
    fn bytecode(&self, address: &Address) -> Result<Option<Bytes>, LedgerError>;

    /// How an operation ended, if it was executed.
    fn outcome(&self, operation: &OperationId) -> Option<Outcome>;

    /// All coins there are: balances, and what storage and accounts cost. No sum of balances is ever above it.
    fn supply(&self) -> Amount;
}

/// What changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    /// New balances.
    pub(crate) balances: BTreeMap<Address, Amount>,
    /// New entries of datastores; `None` where the entry was deleted.
    pub(crate) entries: BTreeMap<EntryKey, Option<Bytes>>,
    /// New bytecode.
    pub(crate) bytecode: BTreeMap<Address, Bytes>,
}

/// What is put back when a change is undone: what the changes had there before.
enum Undo {
    Balance(Address, Option<Amount>),
    Entry(EntryKey, Option<Option<Bytes>>),
    Bytecode(Address, Option<Bytes>),
}

/// A state with changes on top.
pub(crate) struct Speculative {
    view: Arc<dyn StateView>,
    changes: Changes,
    undo: Vec<Undo>,
}

/// A moment that a speculative state can go back to.
#[derive(Clone, Copy)]
pub(crate) struct Snapshot(usize);

impl Speculative {
    pub(crate) fn new(view: Arc<dyn StateView>) -> Self {
        Self {
            view,
            changes: Changes::default(),
            undo: Vec::new(),
        }
    }

    pub(crate) fn view(&self) -> &dyn StateView {
        &*self.view
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot(self.undo.len())
    }

    /// Undoes all changes since the snapshot.
    pub(crate) fn revert(&mut self, snapshot: Snapshot) {
        while self.undo.len() > snapshot.0 {
            match self.undo.pop().expect("there are more than none") {
                Undo::Balance(address, before) => put_back(&mut self.changes.balances, address, before),
                Undo::Entry(key, before) => put_back(&mut self.changes.entries, key, before),
                Undo::Bytecode(address, before) => put_back(&mut self.changes.bytecode, address, before),
            }
        }
    }

    pub(crate) fn balance(&self, address: &Address) -> Result<Option<Amount>, LedgerError> {
        match self.changes.balances.get(address) {
            Some(balance) => Ok(Some(*balance)),
            None => self.view.balance(address),
        }
    }

    pub(crate) fn set_balance(&mut self, address: Address, balance: Amount) {
        let before = self.changes.balances.insert(address, balance);
        self.undo.push(Undo::Balance(address, before));
    }

    pub(crate) fn entry(&self, address: &Address, key: &[u8]) -> Result<Option<Bytes>, LedgerError> {
        match self.changes.entries.get(&(*address, key.to_vec())) {
            Some(entry) => Ok(entry.clone()),
            None => self.view.entry(address, key),
        }
    }

    pub(crate) fn set_entry(&mut self, address: Address, key: Vec<u8>, entry: Option<Bytes>) {
        let key = (address, key);
        let before = self.changes.entries.insert(key.clone(), entry);
        self.undo.push(Undo::Entry(key, before));
    }

    pub(crate) fn keys(
        &self,
        address: &Address,
        range: &KeyRange,
        count: usize,
    ) -> Result<BTreeSet<Vec<u8>>, LedgerError> {
        let changed = entries_in(&self.changes.entries, address, range);
        let changed: Vec<_> = changed.map(|(key, entry)| (key, entry.is_some())).collect();
        overlaid_keys(&changed, count, |count| self.view.keys(address, range, count))
    }

    pub(crate) fn bytecode(&self, address: &Address) -> Result<Option<Bytes>, LedgerError> {
        match self.changes.bytecode.get(address) {
            Some(bytecode) => Ok(Some(Arc::clone(bytecode))),
            None => self.view.bytecode(address),
        }
    }

    pub(crate) fn set_bytecode(&mut self, address: Address, bytecode: Bytes) {
        let before = self.changes.bytecode.insert(address, bytecode);
        self.undo.push(Undo::Bytecode(address, before));
    }
}

fn put_back<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, before: Option<V>) {
    match before {
        Some(before) => map.insert(key, before),
        None => map.remove(&key),
    };
}

/// The entries of one address in a range of keys.
pub(crate) fn entries_in<'a, V>(
    entries: &'a BTreeMap<EntryKey, V>,
    address: &Address,
    range: &'a KeyRange,
) -> impl Iterator<Item = (&'a Vec<u8>, &'a V)> + 'a {
    let address = *address;
    let start = match &range.0 {
        Bound::Included(key) | Bound::Excluded(key) => key.clone(),
        Bound::Unbounded => Vec::new(),
    };
    entries
        .range((address, start)..)
        .take_while(move |((of, key), _)| *of == address && !is_after(key, &range.1))
        .filter(|((_, key), _)| range.contains(key))
        .map(|((_, key), value)| (key, value))
}

fn is_after(key: &[u8], end: &Bound<Vec<u8>>) -> bool {
    match end {
        Bound::Included(end) => key > &end[..],
        Bound::Excluded(end) => key >= &end[..],
        Bound::Unbounded => false,
    }
}

/// The first `count` keys of a base with changes on top: (key, whether it is there now).
///
/// As many more keys are taken from the base as the changes may take away, so that what is left are the first ones.
pub(crate) fn overlaid_keys(
    changed: &[(&Vec<u8>, bool)],
    count: usize,
    base: impl FnOnce(usize) -> Result<BTreeSet<Vec<u8>>, LedgerError>,
) -> Result<BTreeSet<Vec<u8>>, LedgerError> {
    let deleted = changed.iter().filter(|(_, is_there)| !is_there).count();
    let mut keys = base(count.saturating_add(deleted))?;
    for (key, is_there) in changed {
        if !is_there {
            keys.remove(*key);
        } else if !keys.contains(*key) {
            keys.insert((*key).clone());
        }
    }
    while keys.len() > count {
        keys.pop_last();
    }
    Ok(keys)
}
