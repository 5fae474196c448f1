//! Reference counting, written once for the three kinds of objects.
//!
//! Lock order: owner counts, then objects. Every change of either happens while the owner counts are locked, so an id
//! has an owner count, of at least 1, exactly while its object is in the index.

use massa_models::prehash::{PreHashMap, PreHashSet, PreHashed};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::mem;
use std::sync::Arc;

/// All stored objects of one kind, and the ways to find them.
pub(crate) trait ObjectIndexes: Default {
    /// What names an object.
    type Id: Copy + Eq + Hash + PreHashed;
    /// What is stored.
    type Object;

    /// The name of `object`.
    fn id_of(object: &Self::Object) -> Self::Id;

    /// Adds an object that is not in the index.
    fn insert(&mut self, object: Self::Object);

    /// Takes an object out, if it is in the index.
    fn remove(&mut self, id: &Self::Id) -> Option<Self::Object>;
}

/// One handle's view of one kind of object: the shared store, and the references this handle owns.
pub(crate) struct OwnedObjects<I: ObjectIndexes> {
    owner_counts: Arc<Mutex<PreHashMap<I::Id, usize>>>,
    objects: Arc<RwLock<I>>,
    owned: PreHashSet<I::Id>,
}

impl<I: ObjectIndexes> OwnedObjects<I> {
    /// A new, empty store.
    pub(crate) fn create_root() -> Self {
        Self {
            owner_counts: Arc::default(),
            objects: Arc::default(),
            owned: PreHashSet::default(),
        }
    }

    /// A handle to the same store that owns nothing.
    pub(crate) fn clone_without_refs(&self) -> Self {
        Self {
            owner_counts: Arc::clone(&self.owner_counts),
            objects: Arc::clone(&self.objects),
            owned: PreHashSet::default(),
        }
    }

    /// The ids of the owned references.
    pub(crate) fn owned(&self) -> &PreHashSet<I::Id> {
        &self.owned
    }

    /// Everything stored, whoever owns it.
    pub(crate) fn read(&self) -> RwLockReadGuard<'_, I> {
        self.objects.read()
    }

    /// Stores what is not stored yet, and owns all of it.
    pub(crate) fn store(&mut self, objects: impl IntoIterator<Item = I::Object>) {
        let mut owner_counts = self.owner_counts.lock();
        let mut stored = self.objects.write();
        for object in objects {
            let id = I::id_of(&object);
            let is_new_here = self.owned.insert(id);
            match owner_counts.entry(id) {
                Entry::Occupied(mut count) => *count.get_mut() += usize::from(is_new_here),
                Entry::Vacant(count) => {
                    count.insert(1);
                    stored.insert(object);
                }
            }
        }
    }

    /// Owns those of `ids` that are stored; gives them back, those included that were owned before.
    pub(crate) fn claim(&mut self, ids: &PreHashSet<I::Id>) -> PreHashSet<I::Id> {
        let mut owner_counts = self.owner_counts.lock();
        let mut alive = PreHashSet::default();
        for id in ids {
            if let Some(count) = owner_counts.get_mut(id) {
                *count += usize::from(self.owned.insert(*id));
                alive.insert(*id);
            }
        }
        alive
    }

    /// Gives up those of `ids` that are owned. Objects that nobody owns any more are freed.
    pub(crate) fn drop_refs(&mut self, ids: &PreHashSet<I::Id>) {
        let given_up: Vec<I::Id> = ids.iter().copied().filter(|id| self.owned.remove(id)).collect();
        self.release(given_up);
    }

    /// Takes over the references of `other`, which is left with those that both owned.
    pub(crate) fn take_from(&mut self, other: &mut Self) {
        debug_assert!(self.shares_store_with(other), "handles of two different stores");
        let (moved, common) = mem::take(&mut other.owned)
            .into_iter()
            .partition::<PreHashSet<I::Id>, _>(|id| !self.owned.contains(id));
        self.owned.extend(moved);
        other.owned = common;
    }

    /// Moves the references `ids` into a new handle.
    ///
    /// # Panics
    /// When one of them is not owned; nothing has moved then.
    pub(crate) fn split_off(&mut self, ids: &PreHashSet<I::Id>) -> Self {
        assert!(ids.is_subset(&self.owned), "split_off of a reference that is not owned");
        self.owned.retain(|id| !ids.contains(id));
        let mut split = self.clone_without_refs();
        split.owned.clone_from(ids);
        split
    }

    /// Owns exactly what `other` owns.
    pub(crate) fn replace_with(&mut self, other: &Self) {
        debug_assert!(self.shares_store_with(other), "handles of two different stores");
        let surplus = self.owned.difference(&other.owned).copied().collect();
        self.claim(&other.owned);
        self.drop_refs(&surplus);
    }

    fn shares_store_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.objects, &other.objects)
    }

    /// Lowers the owner counts of `ids`, which are no longer in `owned`, and frees what nobody owns.
    fn release(&self, ids: impl IntoIterator<Item = I::Id>) {
        let mut owner_counts = self.owner_counts.lock();
        let orphans: Vec<I::Id> = ids
            .into_iter()
            .filter(|id| lower_count(&mut owner_counts, id))
            .collect();
        if orphans.is_empty() {
            return;
        }
        let mut stored = self.objects.write();
        let freed: Vec<I::Object> = orphans.iter().filter_map(|id| stored.remove(id)).collect();
        // Freeing the memory of large objects takes a while: nobody should wait for it.
        drop((stored, owner_counts));
        drop(freed);
    }
}

impl<I: ObjectIndexes> Clone for OwnedObjects<I> {
    fn clone(&self) -> Self {
        let mut clone = self.clone_without_refs();
        clone.claim(&self.owned);
        clone
    }
}

impl<I: ObjectIndexes> Drop for OwnedObjects<I> {
    fn drop(&mut self) {
        if !self.owned.is_empty() {
            let owned = mem::take(&mut self.owned);
            self.release(owned);
        }
    }
}

/// Takes one owner away from `id`; true if that was the last one.
fn lower_count<Id: Eq + Hash + PreHashed>(owner_counts: &mut PreHashMap<Id, usize>, id: &Id) -> bool {
    let count = owner_counts.get_mut(id).expect("an owned object has an owner count");
    *count -= 1;
    let is_orphan = *count == 0;
    if is_orphan {
        owner_counts.remove(id);
    }
    is_orphan
}

/// A map from a key to the objects that have it; keys without objects are not kept.
pub(crate) mod by_key {
    use super::{Hash, PreHashMap, PreHashSet, PreHashed};

    pub(crate) fn link<K, Id>(map: &mut PreHashMap<K, PreHashSet<Id>>, key: K, id: Id)
    where
        K: Eq + Hash + PreHashed,
        Id: Eq + Hash + PreHashed,
    {
        map.entry(key).or_default().insert(id);
    }

    pub(crate) fn unlink<K, Id>(map: &mut PreHashMap<K, PreHashSet<Id>>, key: &K, id: &Id)
    where
        K: Eq + Hash + PreHashed,
        Id: Eq + Hash + PreHashed,
    {
        if let Some(ids) = map.get_mut(key) {
            ids.remove(id);
            if ids.is_empty() {
                map.remove(key);
            }
        }
    }
}
