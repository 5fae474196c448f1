//! Which operations there are, and in which order. No locks, no store, no time.

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::{BASE_OPERATION_GAS_COST, ROLL_PRICE};
use massa_models::operation::{OperationId, SecureShareOperation};
use massa_models::prehash::{PreHashMap, PreHashSet};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// Fees are compared per byte, with this many bits after the point.
const FEE_FRACTION_BITS: u32 = 32;

/// Gas that execution takes from the block for compiling the bytecode of an operation.
const COMPILATION_GAS_COST: u64 = 314_000_000;

/// What the pool needs to know of an operation.
#[derive(Clone, Debug)]
pub(crate) struct PooledOperation {
    pub(crate) id: OperationId,
    pub(crate) sender: Address,
    pub(crate) bytes: u64,
    pub(crate) gas: u64,
    pub(crate) fee: Amount,
    pub(crate) max_spending: Amount,
    pub(crate) validity: RangeInclusive<u64>,
}

/// Place in a thread: the best paid first, then by id.
type Rank = (Reverse<u128>, OperationId);

impl PooledOperation {
    pub(crate) fn new(operation: &SecureShareOperation, validity_periods: u64) -> Self {
        Self {
            id: operation.id,
            sender: operation.content_creator_address,
            bytes: operation.serialized_size() as u64,
            gas: operation.get_gas_usage(BASE_OPERATION_GAS_COST, COMPILATION_GAS_COST),
            fee: operation.content.fee,
            max_spending: operation.get_max_spending(ROLL_PRICE),
            validity: operation.get_validity_range(validity_periods),
        }
    }

    fn rank(&self) -> Rank {
        let fee = u128::from(self.fee.to_raw()) << FEE_FRACTION_BITS;
        (Reverse(fee / u128::from(self.bytes.max(1))), self.id)
    }
}

/// The operations of one thread.
#[derive(Default)]
struct ThreadPool {
    by_rank: BTreeMap<Rank, PooledOperation>,
    by_expiry: BTreeSet<(u64, OperationId)>,
    /// Of all these operations.
    bytes: u64,
    final_period: u64,
}

/// The operations of all threads.
pub(crate) struct Pool {
    threads: Vec<ThreadPool>,
    places: PreHashMap<OperationId, (u8, Rank)>,
}

impl Pool {
    pub(crate) fn new(thread_count: u8) -> Self {
        Self {
            threads: (0..thread_count).map(|_| ThreadPool::default()).collect(),
            places: PreHashMap::default(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn contains(&self, id: &OperationId) -> bool {
        self.places.contains_key(id)
    }

    /// Whether a thread has more than it may.
    pub(crate) fn is_over(&self, thread: u8, limits: ThreadLimits) -> bool {
        let over = |pool: &ThreadPool| pool.by_rank.len() > limits.operations || pool.bytes > limits.bytes;
        self.thread(thread).is_some_and(over)
    }

    /// Adds an operation, unless it is there or no later block of its thread could include it.
    pub(crate) fn insert(&mut self, thread: u8, operation: PooledOperation) -> bool {
        let Some(pool) = self.threads.get_mut(usize::from(thread)) else {
            return false;
        };
        if *operation.validity.end() <= pool.final_period || self.places.contains_key(&operation.id) {
            return false;
        }
        let rank = operation.rank();
        self.places.insert(operation.id, (thread, rank));
        pool.by_expiry.insert((*operation.validity.end(), operation.id));
        pool.bytes += operation.bytes;
        pool.by_rank.insert(rank, operation);
        true
    }

    /// Removes an operation, if it is there.
    pub(crate) fn remove(&mut self, id: &OperationId) -> bool {
        let Some((thread, rank)) = self.places.remove(id) else {
            return false;
        };
        let pool = &mut self.threads[usize::from(thread)];
        if let Some(operation) = pool.by_rank.remove(&rank) {
            pool.by_expiry.remove(&(*operation.validity.end(), *id));
            pool.bytes -= operation.bytes;
        }
        true
    }

    /// Operations of a thread, the best paid first.
    pub(crate) fn of_thread(&self, thread: u8) -> impl Iterator<Item = &PooledOperation> {
        self.thread(thread).into_iter().flat_map(|pool| pool.by_rank.values())
    }

    /// Takes note of a thread's latest final period. Removes and returns what can no longer be included.
    pub(crate) fn set_final_period(&mut self, thread: u8, period: u64) -> Vec<OperationId> {
        let Some(pool) = self.threads.get_mut(usize::from(thread)) else {
            return Vec::new();
        };
        pool.final_period = pool.final_period.max(period);
        let final_period = pool.final_period;
        let expired = pool.by_expiry.iter().take_while(|(last, _)| *last <= final_period);
        let expired: Vec<OperationId> = expired.map(|(_, id)| *id).collect();
        for id in &expired {
            self.remove(id);
        }
        expired
    }

    /// The latest final period of a thread.
    pub(crate) fn final_period(&self, thread: u8) -> u64 {
        self.thread(thread).map_or(0, |pool| pool.final_period)
    }

    /// The latest final period of all threads: where the network is, however long a single thread has no blocks.
    pub(crate) fn latest_final_period(&self) -> u64 {
        self.threads.iter().map(|pool| pool.final_period).max().unwrap_or(0)
    }

    fn thread(&self, thread: u8) -> Option<&ThreadPool> {
        self.threads.get(usize::from(thread))
    }
}

/// What a block can hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockLimits {
    pub(crate) bytes: u64,
    pub(crate) gas: u64,
    pub(crate) operations: usize,
}

/// The operations that fit into a block and that their senders can pay, in the order given. `balances`: what each
/// sender has; a sender who is not in it has nothing.
pub(crate) fn fit_into_block(
    operations: &[PooledOperation],
    mut balances: PreHashMap<Address, Amount>,
    limits: BlockLimits,
) -> Vec<OperationId> {
    let mut chosen = Vec::new();
    let (mut bytes_left, mut gas_left) = (limits.bytes, limits.gas);
    for operation in operations {
        if chosen.len() >= limits.operations {
            break;
        }
        let (Some(bytes), Some(gas)) = (
            bytes_left.checked_sub(operation.bytes),
            gas_left.checked_sub(operation.gas),
        ) else {
            continue;
        };
        if pay(&mut balances, operation) {
            (bytes_left, gas_left) = (bytes, gas);
            chosen.push(operation.id);
        }
    }
    chosen
}

/// What a thread can hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadLimits {
    pub(crate) operations: usize,
    pub(crate) bytes: u64,
}

/// What a full thread lets go of: first all that could not be executed, because its sender cannot pay it beside better
/// paid operations or because it becomes valid only after `horizon`; then the worst paid, until the others are within `limits`.
pub(crate) fn surplus<'a>(
    operations: impl Iterator<Item = &'a PooledOperation>,
    mut balances: PreHashMap<Address, Amount>,
    horizon: u64,
    limits: ThreadLimits,
) -> PreHashSet<OperationId> {
    let (mut operations_left, mut bytes_left) = (limits.operations, limits.bytes);
    let goes = operations.filter(|operation| {
        let fits = operations_left > 0 && operation.bytes <= bytes_left;
        let stays = fits && *operation.validity.start() <= horizon && pay(&mut balances, operation);
        if stays {
            operations_left -= 1;
            bytes_left -= operation.bytes;
        }
        !stays
    });
    goes.map(|operation| operation.id).collect()
}

/// Takes what an operation can cost from its sender, who must have it.
fn pay(balances: &mut PreHashMap<Address, Amount>, operation: &PooledOperation) -> bool {
    let Some(balance) = balances.get_mut(&operation.sender) else {
        return false;
    };
    let left = balance.checked_sub(operation.max_spending);
    *balance = left.unwrap_or(*balance);
    left.is_some()
}
