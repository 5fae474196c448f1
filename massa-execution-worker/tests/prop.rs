//! Whatever blocks contain, coins come from the genesis file and from rewards only.

mod common;

use common::*;
use massa_models::operation::{OperationType, SecureShareOperation};
use massa_signature::KeyPair;
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};

const PERIODS: u64 = 6;

/// An operation: sender, recipient, amount, fee, periods until it expires, whether it is a transaction.
type Draft = (usize, usize, u64, u64, u64, bool);

/// A slot: its producer and operations, if it has a block.
type SlotDraft = Option<(usize, Vec<Draft>)>;

fn draft() -> impl Strategy<Value = Draft> {
    let amount = prop_oneof![0u64..2_000, Just(u64::MAX), Just(0)];
    let fee = prop_oneof![0u64..300, 0u64..3_000, Just(u64::MAX)];
    (0usize..5, 0usize..5, amount, fee, 0u64..14, prop::bool::weighted(0.9))
}

fn slots() -> impl Strategy<Value = Vec<SlotDraft>> {
    let block = (0usize..5, prop::collection::vec(draft(), 0..8));
    prop::collection::vec(prop::option::weighted(0.8, block), 2 * PERIODS as usize)
}

/// Three accounts have coins at first, and two have none.
fn accounts() -> Vec<KeyPair> {
    (0..5).map(|number| key(number as u8 % THREADS, number)).collect()
}

fn genesis(accounts: &[KeyPair]) -> [(&KeyPair, u64); 3] {
    [(&accounts[0], 5_000), (&accounts[1], 1_000), (&accounts[2], 700)]
}

fn sign(accounts: &[KeyPair], period: u64, draft: Draft) -> SecureShareOperation {
    let (sender, recipient, amount, fee, lifetime, is_transaction) = draft;
    let expire_period = period + lifetime;
    if is_transaction {
        return transfer(&accounts[sender], &accounts[recipient], amount, fee, expire_period);
    }
    let op = OperationType::RollBuy { roll_count: amount };
    operation(&accounts[sender], fee, expire_period, op)
}

/// The drafted blocks, and one at the end of each thread so that everything before is settled.
fn blocks(accounts: &[KeyPair], slots: &[SlotDraft]) -> Vec<Made> {
    let mut chain = Chain::new();
    let mut blocks = Vec::new();
    for (index, draft) in slots.iter().enumerate() {
        let slot = (1 + index as u64 / 2, (index % 2) as u8);
        if let Some((producer, operations)) = draft {
            let operations: Vec<_> = operations.iter().map(|draft| sign(accounts, slot.0, *draft)).collect();
            blocks.push(chain.block(slot, &accounts[*producer], &operations));
        }
    }
    for thread in 0..THREADS {
        blocks.push(chain.block((PERIODS + 1, thread), &accounts[0], &[]));
    }
    blocks
}

/// The rules once more, as short as they can be: balances and executed operations.
fn model(accounts: &[KeyPair], blocks: &[Made]) -> BTreeMap<usize, u64> {
    let mut balances: BTreeMap<usize, u64> = BTreeMap::from([(0, 5_000), (1, 1_000), (2, 700)]);
    let mut executed = HashMap::new();
    let index_of = |address| accounts.iter().position(|key| common::address(key) == address).unwrap();
    for made in blocks {
        let stored = made.storage.read_blocks();
        let block = stored.get(&made.id).unwrap();
        let operations = made.storage.read_operations();
        let mut fees = 0;
        for id in &block.content.operations {
            let operation = operations.get(id).unwrap();
            let sender = index_of(operation.content_creator_address);
            let fee = operation.content.fee.to_raw();
            let is_due = operation.get_validity_range(VALIDITY).contains(&made.slot.period)
                && operation.content_creator_address.get_thread(THREADS) == made.slot.thread;
            let can_pay = balances.get(&sender).is_some_and(|balance| *balance >= fee);
            if !is_due || !can_pay || executed.insert(*id, ()).is_some() {
                continue;
            }
            *balances.get_mut(&sender).unwrap() -= fee;
            fees += fee;
            if let OperationType::Transaction {
                recipient_address,
                amount,
            } = &operation.content.op
            {
                let amount = amount.to_raw();
                if amount > 0 && balances[&sender] >= amount {
                    *balances.get_mut(&sender).unwrap() -= amount;
                    *balances.entry(index_of(*recipient_address)).or_default() += amount;
                }
            }
        }
        let producer = index_of(block.content_creator_address);
        *balances.entry(producer).or_default() += fees + REWARD.to_raw();
    }
    balances
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn balances_are_genesis_and_rewards_moved_by_the_rules(slots in slots(), split in 0usize..14) {
        let accounts = accounts();
        let blocks = blocks(&accounts, &slots);
        let all: Vec<&Made> = blocks.iter().collect();
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [plain, speculative] = directories
            .each_ref()
            .map(|directory| Executor::start(config(directory.path(), &genesis(&accounts))));
        plain.run_to(&all, (PERIODS + 1, 1));

        // The other one executes everything as candidates, and the first part as final, before the rest is final.
        let split = split.min(all.len());
        speculative.set_clique(&all);
        speculative.finalize(&all[..split]);
        speculative.wait_candidate((PERIODS + 1, 1));
        for key in &accounts {
            prop_assert_eq!(speculative.candidate_balance(key), plain.balance(key));
        }
        speculative.run_to(&all[split..], (PERIODS + 1, 1));
        prop_assert_eq!(plain.hash(), speculative.hash());

        let balances: Vec<Option<u64>> = accounts.iter().map(|key| plain.balance(key)).collect();
        let expected = model(&accounts, &blocks);
        let expected: Vec<Option<u64>> = (0..5).map(|index| expected.get(&index).copied()).collect();
        prop_assert_eq!(&balances, &expected);
        let supply: u64 = balances.iter().flatten().sum();
        prop_assert_eq!(supply, 6_700 + REWARD.to_raw() * blocks.len() as u64);
    }
}
