//! A load of signed operations of all types and many sizes.

use crate::client::NodeClient;
use crate::genesis::Clock;
use massa_api_exports::operation::OperationInput;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::operation::{Operation, OperationType, SecureShareOperation};
use massa_time::MassaTime;
use massa_wallet::Wallet;
use rand::seq::SliceRandom;
use rand::{Rng, RngCore, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{channel, RecvTimeoutError, Sender};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Seed of all choices: sizes, types and accounts are the same in every run. (Keys are not.)
const SEED: u64 = 3;
/// How often operations are sent, in a period: often enough that every block finds some.
const BATCHES_PER_PERIOD: u64 = 16;
/// Bytes of a payload: bytecode, or parameters of a call.
const PAYLOAD_BYTES: std::ops::RangeInclusive<usize> = 500..=20_000;
/// The fee of each operation: the least that nodes take by default.
const FEE: Amount = Amount::from_raw(10_000_000);
/// Gas of each call: a block has room for hundreds.
const GAS: u64 = 5_000_000;
/// Periods that an operation stays valid short of what is possible: clocks and queues differ.
const EXPIRY_MARGIN_PERIODS: u64 = 2;

/// What is sent, by whom and to whom.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// The nodes, in turn. Those that do not answer are passed over.
    pub clients: Vec<NodeClient>,
    /// The accounts.
    pub wallet: Wallet,
    /// When periods begin.
    pub clock: Clock,
    /// Periods during which an operation may be included.
    pub operation_validity_periods: u64,
    /// Bytes of operations, about.
    pub bytes_per_period: u64,
}

/// Operations that are being sent. Stops when dropped.
#[derive(Debug)]
pub struct Load {
    counts: Arc<Counts>,
    /// Dropped to tell the thread to stop.
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    refused: AtomicU64,
}

impl Load {
    /// Starts sending.
    pub fn start(plan: LoadPlan) -> Self {
        let counts = Arc::new(Counts::default());
        let (stop, stopped) = channel::<()>();
        let thread_counts = Arc::clone(&counts);
        let pause = Duration::from_millis((plan.clock.t0.as_millis() / BATCHES_PER_PERIOD).max(1));
        let mut sender = LoadSender::new(plan, thread_counts);
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                sender.send_due(Instant::now());
            }
        });
        Self {
            counts,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// Operations that a node accepted.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Operations that no node accepted.
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }

    /// Stops sending and waits until the last batch is sent.
    pub fn stop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            thread.join().expect("sending operations does not panic");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread is no reason for another one here.
            let _ = thread.join();
        }
    }
}

/// The thread's state.
struct LoadSender {
    plan: LoadPlan,
    counts: Arc<Counts>,
    maker: OperationMaker,
    budget: Budget,
    turn: usize,
}

impl LoadSender {
    fn new(plan: LoadPlan, counts: Arc<Counts>) -> Self {
        let maker = OperationMaker::new(plan.wallet.get_addresses(), ChaCha20Rng::seed_from_u64(SEED));
        let budget = Budget::new(plan.bytes_per_period, plan.clock.t0, Instant::now());
        Self {
            plan,
            counts,
            maker,
            budget,
            turn: 0,
        }
    }

    fn send_due(&mut self, now: Instant) {
        let clock_now = MassaTime::now();
        if clock_now < self.plan.clock.genesis_timestamp {
            self.budget.restart(now);
            return;
        }
        let period = self.plan.clock.period_at(clock_now);
        let expire_period = period
            + self
                .plan
                .operation_validity_periods
                .saturating_sub(EXPIRY_MARGIN_PERIODS);
        let mut batch = Vec::new();
        while self.budget.is_due(now) {
            let operation = self.next_operation(expire_period);
            self.budget.spend(operation.serialized_data.len());
            batch.push(input(operation));
        }
        if !batch.is_empty() {
            self.send(batch);
        }
    }

    fn next_operation(&mut self, expire_period: u64) -> SecureShareOperation {
        let (creator, op) = self.maker.next();
        let content = Operation {
            fee: FEE,
            expire_period,
            op,
        };
        let signed = self.plan.wallet.create_operation(content, creator);
        signed.expect("the creator is an account of the wallet")
    }

    /// Sends a batch to the next node that takes it.
    fn send(&mut self, batch: Vec<OperationInput>) {
        let count = batch.len() as u64;
        for _ in 0..self.plan.clients.len() {
            let client = &self.plan.clients[self.turn % self.plan.clients.len()];
            self.turn += 1;
            if client.send_operations(batch.clone()).is_ok() {
                self.counts.accepted.fetch_add(count, Ordering::Relaxed);
                return;
            }
        }
        self.counts.refused.fetch_add(count, Ordering::Relaxed);
    }
}

fn input(operation: SecureShareOperation) -> OperationInput {
    OperationInput {
        creator_public_key: operation.content_creator_pub_key,
        signature: operation.signature,
        serialized_content: operation.serialized_data,
    }
}

/// How many bytes may be sent by when. What could not be sent for a whole period is not caught up with.
#[derive(Debug)]
struct Budget {
    bytes_per_period: u64,
    period: Duration,
    start: Instant,
    spent: u64,
}

impl Budget {
    fn new(bytes_per_period: u64, t0: MassaTime, start: Instant) -> Self {
        Self {
            bytes_per_period,
            period: t0.to_duration(),
            start,
            spent: 0,
        }
    }

    fn restart(&mut self, now: Instant) {
        self.start = now;
        self.spent = 0;
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let elapsed = now.saturating_duration_since(self.start).as_secs_f64() / self.period.as_secs_f64();
        let allowed = (elapsed * self.bytes_per_period as f64) as u64;
        if allowed > self.spent + self.bytes_per_period {
            self.spent = allowed - self.bytes_per_period;
        }
        self.spent < allowed
    }

    fn spend(&mut self, bytes: usize) {
        self.spent += bytes as u64;
    }
}

/// Makes operations: half of them small, half with a payload. Whether they succeed does not matter to the archive.
#[derive(Debug)]
struct OperationMaker {
    accounts: Vec<Address>,
    turn: usize,
    random: ChaCha20Rng,
}

impl OperationMaker {
    /// `accounts` has at least one.
    fn new(accounts: Vec<Address>, random: ChaCha20Rng) -> Self {
        Self {
            accounts,
            turn: 0,
            random,
        }
    }

    /// The creator and what it does. Accounts take turns, so every thread's blocks have operations.
    fn next(&mut self) -> (Address, OperationType) {
        let creator = self.accounts[self.turn % self.accounts.len()];
        self.turn += 1;
        let op = match self.random.gen_range(0..20) {
            0..=8 => OperationType::Transaction {
                recipient_address: self.account(),
                amount: Amount::from_raw(self.random.gen_range(1..1_000_000_000)),
            },
            // One operation cannot be told from another but by what it says, so roll counts differ.
            9 => OperationType::RollBuy {
                roll_count: self.random.gen_range(1..20),
            },
            10 => OperationType::RollSell {
                roll_count: self.random.gen_range(1..20),
            },
            11..=15 => OperationType::ExecuteSC {
                data: self.payload(),
                max_gas: GAS,
                max_coins: Amount::zero(),
                datastore: BTreeMap::new(),
            },
            _ => OperationType::CallSC {
                target_addr: self.account(),
                target_func: "store".into(),
                param: self.payload(),
                max_gas: GAS,
                coins: Amount::zero(),
            },
        };
        (creator, op)
    }

    fn account(&mut self) -> Address {
        *self.accounts.choose(&mut self.random).expect("there are accounts")
    }

    /// Random bytes: no store can make them smaller.
    fn payload(&mut self) -> Vec<u8> {
        let mut bytes = vec![0; self.random.gen_range(PAYLOAD_BYTES)];
        self.random.fill_bytes(&mut bytes);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_signature::KeyPair;
    use std::collections::BTreeSet;

    fn accounts(count: usize) -> Vec<Address> {
        let account = |_| Address::from_public_key(&KeyPair::generate(0).unwrap().get_public_key());
        (0..count).map(account).collect()
    }

    fn made(count: usize) -> Vec<(Address, OperationType)> {
        let mut maker = OperationMaker::new(accounts(8), ChaCha20Rng::seed_from_u64(1));
        (0..count).map(|_| maker.next()).collect()
    }

    #[test]
    fn a_load_has_operations_of_every_type() {
        let kinds: BTreeSet<_> = made(200)
            .iter()
            .map(|(_, op)| match op {
                OperationType::Transaction { .. } => "transaction",
                OperationType::RollBuy { .. } => "roll buy",
                OperationType::RollSell { .. } => "roll sell",
                OperationType::ExecuteSC { .. } => "execute",
                OperationType::CallSC { .. } => "call",
            })
            .collect();
        assert_eq!(kinds.len(), 5);
    }

    #[test]
    fn payloads_are_of_many_sizes_within_their_range() {
        let sizes: BTreeSet<usize> = made(500)
            .into_iter()
            .filter_map(|(_, op)| match op {
                OperationType::ExecuteSC { data, .. } => Some(data.len()),
                OperationType::CallSC { param, .. } => Some(param.len()),
                _ => None,
            })
            .collect();
        assert!(sizes.len() > 100);
        assert!(sizes.iter().all(|size| PAYLOAD_BYTES.contains(size)));
    }

    #[test]
    fn every_account_has_its_turn() {
        let creators: BTreeSet<Address> = made(8).into_iter().map(|(creator, _)| creator).collect();
        assert_eq!(creators.len(), 8);
    }

    #[test]
    fn a_period_gets_its_bytes_and_what_was_missed_is_not_caught_up_with() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut budget = Budget::new(1_000, MassaTime::from_millis(1_000), start);
        let mut sent_at = |now| {
            let mut sent = 0;
            while budget.is_due(now) {
                budget.spend(100);
                sent += 100;
            }
            sent
        };
        assert_eq!(sent_at(start), 0);
        assert_eq!(sent_at(start + second / 2), 500);
        assert_eq!(sent_at(start + second), 500);
        assert_eq!(sent_at(start + 60 * second), 1_000);
        assert_eq!(sent_at(start + 60 * second), 0);
    }
}
