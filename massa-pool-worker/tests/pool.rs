//! Which operations the pool takes, gives and lets go of.

use massa_execution_exports::{
    ExecutionAddressInfo, ExecutionBlockMetadata, ExecutionController, ExecutionError, ExecutionStats, FinalBlock,
};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::operation::{Operation, OperationId, OperationSerializer, OperationType, SecureShareOperation};
use massa_models::prehash::PreHashMap;
use massa_models::secure_share::SecureShareContent;
use massa_models::slot::Slot;
use massa_pool_exports::PoolController;
use massa_pool_worker::{PoolConfig, PoolWorker};
use massa_signature::KeyPair;
use massa_storage::Storage;
use proptest::prelude::*;
use std::collections::HashMap;
use std::sync::{mpsc, Arc, Mutex};

const CHAIN_ID: u64 = 77;
const THREADS: u8 = 2;
const VALIDITY: u64 = 10;
const RICH: u64 = 1 << 60;

type ExecStatus = (Option<bool>, Option<bool>);

/// Execution as the pool sees it.
#[derive(Clone, Default)]
struct Ledger {
    balances: Arc<Mutex<HashMap<Address, u64>>>,
    executed: Arc<Mutex<HashMap<OperationId, ExecStatus>>>,
    /// When set, the next question for balances announces itself and waits for the answer to be allowed.
    gate: Arc<Mutex<Option<Gate>>>,
}

type Gate = (mpsc::Sender<()>, mpsc::Receiver<()>);

impl Ledger {
    fn set(&self, key: &KeyPair, balance: u64) {
        self.balances.lock().unwrap().insert(address(key), balance);
    }

    fn executed(&self, operation: &SecureShareOperation, status: ExecStatus) {
        self.executed.lock().unwrap().insert(operation.id, status);
    }
}

impl ExecutionController for Ledger {
    fn update_blockclique_status(
        &self,
        _: HashMap<Slot, BlockId>,
        _: Option<HashMap<Slot, BlockId>>,
        _: PreHashMap<BlockId, ExecutionBlockMetadata>,
    ) {
    }

    fn get_final_and_candidate_balance(&self, addresses: &[Address]) -> Vec<(Option<Amount>, Option<Amount>)> {
        if let Some((asked, allowed)) = self.gate.lock().unwrap().take() {
            asked.send(()).unwrap();
            allowed.recv().unwrap();
        }
        let balances = self.balances.lock().unwrap();
        let candidate = |address| balances.get(address).map(|raw| Amount::from_raw(*raw));
        addresses.iter().map(|address| (None, candidate(address))).collect()
    }

    fn read_data_entries(
        &self,
        _: &[(Address, Vec<u8>)],
        _: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        Vec::new()
    }

    fn get_datastore_keys(&self, _: &massa_execution_exports::DatastoreKeysRequest) -> Vec<Vec<u8>> {
        Vec::new()
    }

    fn read_bytecodes(
        &self,
        _: &[Address],
        _: &mut dyn FnMut(&[u8]) -> bool,
    ) -> Vec<(Option<Vec<u8>>, Option<Vec<u8>>)> {
        Vec::new()
    }

    fn read_events(
        &self,
        _: &massa_models::execution::EventFilter,
        _: &mut dyn FnMut(&massa_models::output_event::SCOutputEvent) -> bool,
    ) -> massa_execution_exports::FilteredEvents {
        massa_execution_exports::FilteredEvents::default()
    }

    fn execute_readonly_request(
        &self,
        _: massa_execution_exports::ReadOnlyExecutionRequest,
    ) -> Result<massa_execution_exports::ReadOnlyExecutionOutput, massa_execution_exports::ExecutionError> {
        unreachable!("these tests run no contract")
    }

    fn get_addresses_infos(&self, _: &[Address]) -> Vec<ExecutionAddressInfo> {
        Vec::new()
    }

    fn get_ops_exec_status(&self, batch: &[OperationId]) -> Vec<ExecStatus> {
        let executed = self.executed.lock().unwrap();
        batch
            .iter()
            .map(|id| executed.get(id).copied().unwrap_or_default())
            .collect()
    }

    fn get_stats(&self) -> ExecutionStats {
        let slot = Slot::new(0, 1);
        ExecutionStats {
            active_cursor: slot,
            final_cursor: slot,
        }
    }

    fn get_final_state_hash(&self) -> (Slot, [u8; 32]) {
        (Slot::new(0, 1), [0; 32])
    }

    fn get_final_blocks(&self) -> Result<Vec<FinalBlock>, ExecutionError> {
        Ok(Vec::new())
    }

    fn clone_box(&self) -> Box<dyn ExecutionController> {
        Box::new(self.clone())
    }
}

/// The `number`-th key whose operations go into `thread`.
fn key(thread: u8, number: usize) -> KeyPair {
    let keys = (0u16..).map(|seed| {
        let mut bytes = [7; 33];
        bytes[0] = 0;
        bytes[1..3].copy_from_slice(&seed.to_le_bytes());
        KeyPair::from_bytes(&bytes).unwrap()
    });
    let mut in_thread = keys.filter(|key| address(key).get_thread(THREADS) == thread);
    in_thread.nth(number).unwrap()
}

fn address(key: &KeyPair) -> Address {
    Address::from_public_key(&key.get_public_key())
}

fn operation(sender: &KeyPair, fee: u64, expire_period: u64, op: OperationType) -> SecureShareOperation {
    let content = Operation {
        fee: Amount::from_raw(fee),
        expire_period,
        op,
    };
    Operation::new_verifiable(content, OperationSerializer::new(), sender, CHAIN_ID).unwrap()
}

fn transfer(sender: &KeyPair, amount: u64, fee: u64, expire_period: u64) -> SecureShareOperation {
    let op = OperationType::Transaction {
        recipient_address: address(&key(1, 9)),
        amount: Amount::from_raw(amount),
    };
    operation(sender, fee, expire_period, op)
}

/// An operation of about `size` bytes.
fn sized(sender: &KeyPair, size: usize, fee: u64) -> SecureShareOperation {
    operation(sender, fee, 5, execution(size))
}

fn execution(size: usize) -> OperationType {
    OperationType::ExecuteSC {
        data: vec![1; size],
        max_gas: 1,
        max_coins: Amount::zero(),
        datastore: Default::default(),
    }
}

struct Setup {
    ledger: Ledger,
    root: Storage,
    pool: PoolWorker,
}

fn config() -> PoolConfig {
    PoolConfig {
        operation_validity_periods: VALIDITY,
        ..PoolConfig::new(THREADS)
    }
}

/// A pool whose first ten senders of each thread are rich.
fn setup(config: PoolConfig) -> Setup {
    let ledger = Ledger::default();
    for thread in 0..THREADS {
        (0..10).for_each(|number| ledger.set(&key(thread, number), RICH));
    }
    let root = Storage::create_root();
    let pool = PoolWorker::new(config, &root, Box::new(ledger.clone()));
    Setup { ledger, root, pool }
}

impl Setup {
    /// Offers operations; the offer's own claims end with it.
    fn add(&mut self, operations: &[&SecureShareOperation]) {
        let mut storage = self.root.clone_without_refs();
        storage.store_operations(operations.iter().copied().cloned().collect());
        self.pool.add_operations(storage).unwrap();
    }

    fn get(&self, period: u64, thread: u8) -> Vec<OperationId> {
        self.pool.get_block_operations(&Slot::new(period, thread)).0
    }

    fn count(&self) -> usize {
        self.pool.get_operation_count(None).unwrap()
    }

    fn is_stored(&self, operation: &SecureShareOperation) -> bool {
        self.root.read_operations().contains(&operation.id)
    }
}

fn ids<const N: usize>(operations: [&SecureShareOperation; N]) -> [OperationId; N] {
    operations.map(|operation| operation.id)
}

#[test]
fn the_best_paid_byte_comes_first_and_equals_are_ordered_by_id() {
    let mut s = setup(config());
    let sender = key(0, 0);
    let large = sized(&sender, 1_000, 2_000);
    let small = sized(&sender, 10, 1_000);
    let cheap = transfer(&sender, 1, 1, 5);
    let mut equal = [transfer(&sender, 7, 500, 5), transfer(&sender, 8, 500, 5)];
    equal.sort_by_key(|operation| operation.id);
    s.add(&[&cheap, &equal[1], &large, &equal[0], &small]);
    assert_eq!(s.get(1, 0), ids([&small, &equal[0], &equal[1], &large, &cheap]));
}

#[test]
fn a_block_gets_operations_of_its_own_thread_only() {
    let mut s = setup(config());
    let (here, there) = (transfer(&key(0, 0), 1, 1, 5), transfer(&key(1, 0), 1, 1, 5));
    s.add(&[&here, &there]);
    assert_eq!(s.get(1, 0), ids([&here]));
    assert_eq!(s.get(1, 1), ids([&there]));
}

#[test]
fn a_block_gets_operations_that_are_valid_in_its_period_only() {
    let mut s = setup(config());
    let operation = transfer(&key(0, 0), 1, 1, 25);
    s.add(&[&operation]);
    for (period, expected) in [(14, 0), (15, 1), (25, 1), (26, 0)] {
        assert_eq!(s.get(period, 0).len(), expected, "period {period}");
    }
}

#[test]
fn a_block_gets_what_fits_and_an_operation_too_large_makes_room_for_smaller_ones() {
    let large = sized(&key(0, 0), 500, 90_000);
    let middle = sized(&key(0, 0), 400, 20_000);
    let small = sized(&key(0, 0), 10, 1);
    let large_and_small = (large.serialized_size() + small.serialized_size()) as u32;
    let below_middle = middle.serialized_size() as u32 - 1;
    for (max_block_size, expected) in [
        (large_and_small, vec![large.id, small.id]),
        (large_and_small - 1, vec![large.id]),
        (below_middle, vec![small.id]),
    ] {
        let mut s = setup(PoolConfig {
            max_block_size,
            ..config()
        });
        s.add(&[&large, &middle, &small]);
        assert_eq!(s.get(1, 0), expected, "{max_block_size} bytes");
    }
}

#[test]
fn a_block_gets_operations_with_as_much_gas_as_it_has() {
    let call = |fee: u64, max_gas: u64| {
        let op = OperationType::CallSC {
            target_addr: address(&key(1, 0)),
            target_func: "f".to_string(),
            param: Vec::new(),
            max_gas,
            coins: Amount::zero(),
        };
        operation(&key(0, 0), fee, 5, op)
    };
    let (best, second, third) = (
        call(30_000, 1_000_000),
        call(20_000, 1_000_001),
        call(10_000, 1_000_000),
    );
    // Each takes 800 000 beside its own.
    for (max_gas_per_block, expected) in [
        (3_600_000, vec![best.id, third.id]),
        (3_600_001, vec![best.id, second.id]),
        (1_799_999, vec![]),
    ] {
        let mut s = setup(PoolConfig {
            max_gas_per_block,
            ..config()
        });
        s.add(&[&best, &second, &third]);
        assert_eq!(s.get(1, 0), expected, "{max_gas_per_block} gas");
    }
}

#[test]
fn a_block_gets_a_limited_number_of_operations() {
    let mut s = setup(PoolConfig {
        max_operations_per_block: 2,
        ..config()
    });
    let operations = [1, 2, 3].map(|fee| transfer(&key(0, 0), 1, fee * 1_000, 5));
    s.add(&operations.each_ref());
    assert_eq!(s.get(1, 0), ids([&operations[2], &operations[1]]));
}

#[test]
fn what_is_executed_in_candidate_or_final_slots_is_not_given_again() {
    let mut s = setup(config());
    let [open, candidate, done] = [1, 2, 3].map(|fee| transfer(&key(0, 0), 1, fee, 5));
    s.add(&[&open, &candidate, &done]);
    s.ledger.executed(&candidate, (Some(false), None));
    s.ledger.executed(&done, (Some(true), Some(true)));
    assert_eq!(s.get(1, 0), ids([&open]));
    // A candidate may come to nothing; what is final will not be undone.
    assert!(s.is_stored(&candidate));
    assert!(!s.is_stored(&done));
    assert_eq!(s.count(), 2);
}

#[test]
fn senders_get_only_as_much_into_a_block_as_they_can_pay() {
    let mut s = setup(config());
    let (sender, nobody) = (key(0, 0), key(0, 50));
    s.ledger.set(&sender, 1_000);
    let first = transfer(&sender, 500, 100, 5);
    let too_much = transfer(&sender, 400, 50, 5);
    let still_fits = transfer(&sender, 370, 30, 5);
    let unknown = transfer(&nobody, 0, 0, 5);
    s.add(&[&first, &too_much, &still_fits, &unknown]);
    assert_eq!(s.get(1, 0), ids([&first, &still_fits]));
}

#[test]
fn the_given_storage_claims_the_given_operations() {
    let mut s = setup(config());
    let operation = transfer(&key(0, 0), 1, 1, 5);
    s.add(&[&operation]);
    let (given, storage) = s.pool.get_block_operations(&Slot::new(1, 0));
    assert_eq!(given, ids([&operation]));
    s.pool.notify_final_cs_periods(&[5, 5]);
    assert!(s.is_stored(&operation));
    drop(storage);
    assert!(!s.is_stored(&operation));
}

#[test]
fn an_operation_that_leaves_the_pool_meanwhile_is_not_given() {
    let mut s = setup(config());
    let operation = transfer(&key(0, 0), 1, 1, 5);
    s.add(&[&operation]);
    let (asked, is_asked) = mpsc::channel();
    let (allow, allowed) = mpsc::channel();
    *s.ledger.gate.lock().unwrap() = Some((asked, allowed));
    let pool = s.pool.clone();
    let giving = std::thread::spawn(move || pool.get_block_operations(&Slot::new(1, 0)).0);
    is_asked.recv().unwrap();
    // Would wait for ever if the pool were locked while it asks execution.
    s.pool.notify_final_cs_periods(&[5, 5]);
    allow.send(()).unwrap();
    assert_eq!(giving.join().unwrap(), []);
}

#[test]
fn operations_expire_with_the_final_periods_of_their_thread() {
    let mut s = setup(config());
    let (here, there) = (transfer(&key(0, 0), 1, 1, 5), transfer(&key(1, 0), 1, 1, 5));
    s.add(&[&here, &there]);
    s.pool.notify_final_cs_periods(&[4, 5]);
    assert_eq!(
        s.pool.contains_operations(&ids([&here, &there]), None),
        Ok(vec![true, false])
    );
    assert!(s.is_stored(&here));
    assert!(!s.is_stored(&there));
    // What could go into no later block is not taken.
    s.add(&[&there]);
    assert_eq!(s.count(), 1);
}

#[test]
fn executed_operations_leave_a_pool_that_makes_no_block() {
    let mut s = setup(config());
    let (done, candidate, open) = (
        transfer(&key(0, 0), 1, 1, 9),
        transfer(&key(0, 1), 1, 1, 9),
        transfer(&key(0, 2), 1, 1, 9),
    );
    let all = ids([&done, &candidate, &open]);
    s.add(&[&done, &candidate, &open]);
    s.ledger.executed(&done, (Some(false), None));
    s.ledger.executed(&candidate, (Some(true), None));
    // Whoever asks is told that they do not wait, and they are kept: the candidate slot may be undone.
    assert_eq!(s.pool.contains_operations(&all, None), Ok(vec![false, false, true]));
    s.pool.notify_final_cs_periods(&[1, 1]);
    assert_eq!(s.count(), 3);

    s.ledger.executed(&done, (Some(false), Some(false)));
    s.pool.notify_final_cs_periods(&[2, 1]);
    assert_eq!(s.count(), 2);
    assert!(!s.is_stored(&done) && s.is_stored(&candidate) && s.is_stored(&open));
    s.ledger.executed(&candidate, (None, None));
    assert_eq!(s.pool.contains_operations(&all, None), Ok(vec![false, true, true]));
}

#[test]
fn a_final_period_never_goes_back() {
    let mut s = setup(config());
    s.pool.notify_final_cs_periods(&[5, 5]);
    s.pool.notify_final_cs_periods(&[1, 1]);
    s.add(&[&transfer(&key(0, 0), 1, 1, 5)]);
    assert_eq!(s.count(), 0);
}

#[test]
fn an_operation_below_the_least_fee_is_not_taken() {
    let mut s = setup(PoolConfig {
        minimal_fees: Amount::from_raw(10),
        ..config()
    });
    let (below, enough) = (transfer(&key(0, 0), 1, 9, 5), transfer(&key(0, 0), 1, 10, 5));
    s.add(&[&below, &enough]);
    assert_eq!(
        s.pool.contains_operations(&ids([&below, &enough]), None),
        Ok(vec![false, true])
    );
}

#[test]
fn an_operation_offered_twice_is_there_once() {
    let mut s = setup(config());
    let operation = transfer(&key(0, 0), 1, 1, 5);
    s.add(&[&operation]);
    s.add(&[&operation]);
    assert_eq!((s.count(), s.get(1, 0).len()), (1, 1));
    s.pool.notify_final_cs_periods(&[5, 5]);
    assert!(!s.is_stored(&operation));
}

#[test]
fn a_full_thread_lets_go_of_the_worst_paid_and_other_threads_are_untouched() {
    let mut s = setup(PoolConfig {
        max_operations_per_thread: 2,
        ..config()
    });
    let operations = [1, 2, 3, 4].map(|fee| transfer(&key(0, 0), 1, fee * 1_000, 5));
    let other = transfer(&key(1, 0), 1, 1, 5);
    s.add(&[&other]);
    s.add(&operations.each_ref());
    assert_eq!(s.get(1, 0), ids([&operations[3], &operations[2]]));
    assert_eq!(s.get(1, 1), ids([&other]));
    assert!(!s.is_stored(&operations[0]));
}

#[test]
fn a_thread_is_full_by_bytes_too() {
    let mut s = setup(PoolConfig {
        max_bytes_per_thread: 3_000,
        ..config()
    });
    let operations = [1, 2, 3, 4].map(|fee| sized(&key(0, 0), 1_200, fee * 1_000));
    let small = transfer(&key(0, 0), 1, 1_000, 5);
    s.add(&operations.each_ref());
    assert_eq!(s.get(1, 0), ids([&operations[3], &operations[2]]));
    assert!(!s.is_stored(&operations[1]));
    s.add(&[&small]);
    assert_eq!(s.count(), 3, "there is room for a small one");
    s.add(&operations.each_ref());
    assert_eq!(s.count(), 3);
    s.pool.notify_final_cs_periods(&[5, 5]);
    s.add(&[&operation(&key(0, 0), 1_000, 9, execution(2_700))]);
    assert_eq!(s.count(), 1, "what expired takes no room");
}

#[test]
fn a_full_thread_lets_go_of_what_cannot_be_executed_before_what_can() {
    let mut s = setup(PoolConfig {
        max_operations_per_thread: 2,
        ..config()
    });
    let unpayable = transfer(&key(0, 50), 1, 9_000_000, 5);
    let far_future = transfer(&key(0, 0), 1, 9_000_000, 3 * VALIDITY);
    let good = [1, 2].map(|fee| transfer(&key(0, 0), 1, fee * 1_000, 5));
    s.add(&[&unpayable, &far_future, &good[0], &good[1]]);
    assert_eq!(s.get(1, 0), ids([&good[1], &good[0]]));
    assert_eq!(s.count(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_block_is_within_its_limits_and_payable(
        drafts in prop::collection::vec((0usize..3, 0u64..300, 0u64..100, 1u64..20), 0..40),
        balances in prop::array::uniform3(0u64..2_000),
        max_block_size in 0u32..4_000,
        max_operations_per_block in 0u32..12,
        max_operations_per_thread in 1usize..40,
        period in 0u64..20,
    ) {
        let mut s = setup(PoolConfig { max_block_size, max_operations_per_block, max_operations_per_thread, ..config() });
        for (number, balance) in balances.iter().enumerate() {
            s.ledger.set(&key(0, number), *balance);
        }
        let operations: Vec<SecureShareOperation> = drafts
            .iter()
            .map(|(sender, amount, fee, expire)| transfer(&key(0, *sender), *amount, *fee, *expire))
            .collect();
        s.add(&operations.iter().collect::<Vec<_>>());
        prop_assert!(s.count() <= max_operations_per_thread);

        let (given, storage) = s.pool.get_block_operations(&Slot::new(period, 0));
        prop_assert!(given.len() <= max_operations_per_block as usize);
        let stored = storage.read_operations();
        let given: Vec<_> = given.iter().map(|id| stored.get(id).unwrap()).collect();
        let bytes: usize = given.iter().map(|operation| operation.serialized_size()).sum();
        prop_assert!(bytes <= max_block_size as usize);
        for (number, balance) in balances.iter().enumerate() {
            let sender = address(&key(0, number));
            let of_sender = given.iter().filter(|operation| operation.content_creator_address == sender);
            let spent: u64 = of_sender.map(|operation| operation.get_max_spending(Amount::zero()).to_raw()).sum();
            prop_assert!(spent <= *balance);
        }
        let per_byte = |operation: &SecureShareOperation| {
            operation.content.fee.to_raw() as f64 / operation.serialized_size() as f64
        };
        prop_assert!(given.windows(2).all(|pair| per_byte(pair[0]) >= per_byte(pair[1]) - 1e-9));
        prop_assert!(given.iter().all(|operation| operation.get_validity_range(VALIDITY).contains(&period)));
    }
}
