//! Any sequence of calls, compared with a model: each handle is a set of numbers, and what is stored is their union.

use super::*;
use crate::Storage;
use massa_models::prehash::PreHashSet;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

const OBJECTS: usize = 5;
const HANDLES: usize = 3;

static POOL: LazyLock<[SecureShareOperation; OBJECTS]> = LazyLock::new(operations);

type Numbers = BTreeSet<usize>;

/// Handles are given by their place in the list, modulo its length.
#[derive(Clone, Debug)]
enum Call {
    Store(usize, Numbers),
    Claim(usize, Numbers),
    GiveUp(usize, Numbers),
    Clone(usize),
    CloneWithoutRefs(usize),
    Drop(usize),
    Extend(usize, usize),
    SplitOff(usize, Numbers),
    ReplaceWith(usize, usize),
}

fn any_call() -> impl Strategy<Value = Call> {
    let handle = || 0..HANDLES;
    let numbers = || btree_set(0..OBJECTS, 0..OBJECTS);
    prop_oneof![
        (handle(), numbers()).prop_map(|(at, numbers)| Call::Store(at, numbers)),
        (handle(), numbers()).prop_map(|(at, numbers)| Call::Claim(at, numbers)),
        (handle(), numbers()).prop_map(|(at, numbers)| Call::GiveUp(at, numbers)),
        handle().prop_map(Call::Clone),
        handle().prop_map(Call::CloneWithoutRefs),
        handle().prop_map(Call::Drop),
        (handle(), handle()).prop_map(|(at, other)| Call::Extend(at, other)),
        (handle(), numbers()).prop_map(|(at, numbers)| Call::SplitOff(at, numbers)),
        (handle(), handle()).prop_map(|(at, other)| Call::ReplaceWith(at, other)),
    ]
}

/// The handles, each beside its model.
struct Both {
    root: Storage,
    handles: Vec<(Storage, Numbers)>,
}

impl Both {
    fn new() -> Self {
        let root = Storage::create_root();
        let handles = (0..HANDLES)
            .map(|_| (root.clone_without_refs(), Numbers::new()))
            .collect();
        Self { root, handles }
    }

    fn stored(&self) -> Numbers {
        self.handles.iter().flat_map(|(_, numbers)| numbers).copied().collect()
    }

    fn apply(&mut self, call: Call) {
        let stored = self.stored();
        match call {
            Call::Store(at, numbers) => {
                let (storage, model) = self.at(at);
                storage.store_operations(numbers.iter().map(|number| POOL[*number].clone()).collect());
                model.extend(numbers);
            }
            Call::Claim(at, numbers) => {
                let (storage, model) = self.at(at);
                let alive = numbers.intersection(&stored).copied().collect();
                assert_eq!(storage.claim_operation_refs(&ids(&numbers)), ids(&alive));
                model.extend(alive);
            }
            Call::GiveUp(at, numbers) => {
                let (storage, model) = self.at(at);
                storage.drop_operation_refs(&ids(&numbers));
                model.retain(|number| !numbers.contains(number));
            }
            Call::Clone(at) => {
                let clone = self.at(at).clone();
                self.handles.push(clone);
            }
            Call::CloneWithoutRefs(at) => {
                let clone = self.at(at).0.clone_without_refs();
                self.handles.push((clone, Numbers::new()));
            }
            Call::Drop(at) => drop(self.take(at)),
            Call::Extend(at, other) => {
                let (other_storage, other_model) = self.take(other);
                let (storage, model) = self.at(at);
                storage.extend(other_storage);
                model.extend(other_model);
            }
            Call::SplitOff(at, numbers) => {
                let (storage, model) = self.at(at);
                let moved: Numbers = numbers.intersection(model).copied().collect();
                let split = storage.split_off(&PreHashSet::default(), &ids(&moved), &PreHashSet::default());
                model.retain(|number| !moved.contains(number));
                self.handles.push((split, moved));
            }
            Call::ReplaceWith(at, other) => {
                let (other_storage, other_model) = self.take(other);
                let (storage, model) = self.at(at);
                storage.replace_with(&other_storage);
                model.clone_from(&other_model);
                self.handles.push((other_storage, other_model));
            }
        }
    }

    fn at(&mut self, at: usize) -> &mut (Storage, Numbers) {
        let count = self.handles.len();
        &mut self.handles[at % count]
    }

    /// Takes a handle out; one is always left for the next call.
    fn take(&mut self, at: usize) -> (Storage, Numbers) {
        if self.handles.len() == 1 {
            self.handles.push((self.root.clone_without_refs(), Numbers::new()));
        }
        let count = self.handles.len();
        self.handles.swap_remove(at % count)
    }

    fn check(&self) {
        for (storage, numbers) in &self.handles {
            assert_eq!(*storage.get_op_refs(), ids(numbers));
        }
        let stored = self.stored();
        let operations = self.root.read_operations();
        for (number, operation) in POOL.iter().enumerate() {
            assert_eq!(operations.contains(&operation.id), stored.contains(&number));
        }
        let by_creator = operations.get_operations_created_by(&address_of(&alice()));
        assert_eq!(by_creator.cloned().unwrap_or_default(), ids(&stored));
    }
}

fn ids(numbers: &Numbers) -> PreHashSet<OperationId> {
    numbers.iter().map(|number| POOL[*number].id).collect()
}

proptest! {
    #[test]
    fn exactly_what_some_handle_owns_is_stored(calls in vec(any_call(), 0..40)) {
        let mut both = Both::new();
        for call in calls {
            both.apply(call);
            both.check();
        }
        both.handles.clear();
        both.check();
    }
}
