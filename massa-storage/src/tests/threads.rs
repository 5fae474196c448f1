//! Handles of one store in many threads at once.

use super::*;
use crate::Storage;
use massa_models::prehash::PreHashSet;
use std::sync::{mpsc, Arc, Barrier};
use std::thread;
use std::time::Duration;

const THREADS: usize = 8;
const ROUNDS: usize = 300;
/// Longer than any healthy machine needs; reached only when threads wait for each other for ever.
const DEADLINE: Duration = Duration::from_secs(60);

/// Stores, clones, splits, merges and gives up the same few operations as all other threads do.
fn churn(mut storage: Storage, operations: &[SecureShareOperation]) {
    let all: PreHashSet<OperationId> = operations.iter().map(|operation| operation.id).collect();
    for round in 0..ROUNDS {
        storage.store_operations(operations.to_vec());
        let clone = storage.clone();
        storage.drop_operation_refs(&all);
        let alive = storage.claim_operation_refs(&all);
        assert_eq!(alive, all, "the clone keeps all of them alive");
        let one = [operations[round % operations.len()].id].into_iter().collect();
        let split = storage.split_off(&PreHashSet::default(), &one, &PreHashSet::default());
        storage.extend(clone);
        storage.replace_with(&split);
        assert_eq!(*storage.get_op_refs(), one);
        assert!(one.iter().all(|id| storage.read_operations().contains(id)));
        storage.drop_operation_refs(&all);
        assert!(storage.get_op_refs().is_empty());
    }
}

#[test]
fn threads_neither_lose_an_owned_object_nor_leave_one_behind() {
    let root = Storage::create_root();
    let operations: [SecureShareOperation; 4] = operations();
    let (finished, finish) = mpsc::channel();
    let start = Arc::new(Barrier::new(THREADS));
    for _ in 0..THREADS {
        let (storage, operations) = (root.clone_without_refs(), operations.clone());
        let (start, finished) = (Arc::clone(&start), finished.clone());
        thread::spawn(move || {
            start.wait();
            churn(storage, &operations);
            finished.send(()).unwrap();
        });
    }
    drop(finished);

    for _ in 0..THREADS {
        finish.recv_timeout(DEADLINE).expect("a thread failed or is stuck");
    }
    let stored = root.read_operations();
    assert!(operations.iter().all(|operation| !stored.contains(&operation.id)));
}
