//! What a slot does to the ledger: a plain function of the state before it.

use crate::block::{Action, ExecutableBlock, ExecutableOperation};
use crate::ledger::LedgerError;
use crate::rows::{block_id_bytes, operation_id_bytes};
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use std::collections::BTreeMap;

/// The state before a slot.
pub(crate) trait StateView {
    /// The balance of an address; `None` where there is no such address.
    fn balance(&self, address: &Address) -> Result<Option<Amount>, LedgerError>;

    /// How an operation ended, if it was executed.
    fn outcome(&self, operation: &OperationId) -> Option<Outcome>;

    /// The sum of all balances.
    fn supply(&self) -> Amount;
}

/// How an operation ended. The codes are written to disk and hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It did what it says.
    Success = 1,
    /// Only the fee was taken: the sender does not have the amount.
    InsufficientBalance = 2,
    /// Only the fee was taken: this node cannot execute the type of the operation.
    NotSupported = 3,
    /// Only the fee was taken: the recipient cannot hold the amount.
    Overflow = 4,
}

impl Outcome {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [
            Self::Success,
            Self::InsufficientBalance,
            Self::NotSupported,
            Self::Overflow,
        ]
        .into_iter()
        .find(|outcome| *outcome as u8 == code)
    }

    pub(crate) fn is_success(self) -> bool {
        self == Self::Success
    }
}

/// An operation that was executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ExecutedOperation {
    pub(crate) id: OperationId,
    pub(crate) expire_period: u64,
    pub(crate) outcome: Outcome,
}

/// What a slot changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SlotOutput {
    pub(crate) slot: Slot,
    /// The block; `None` for a miss, which changes nothing.
    pub(crate) block: Option<BlockId>,
    /// New balances of the addresses that the slot touched.
    pub(crate) balances: BTreeMap<Address, Amount>,
    /// In the order of execution.
    pub(crate) executed: Vec<ExecutedOperation>,
    /// The sum of all balances afterwards.
    pub(crate) supply: Amount,
}

/// The network's numbers that execution needs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    pub(crate) thread_count: u8,
    pub(crate) block_reward: Amount,
}

/// The output of a slot without a block.
pub(crate) fn execute_miss(view: &impl StateView, slot: Slot) -> SlotOutput {
    SlotOutput {
        slot,
        block: None,
        balances: BTreeMap::new(),
        executed: Vec::new(),
        supply: view.supply(),
    }
}

/// Executes a block.
///
/// # Errors
/// The ledger cannot be read.
pub(crate) fn execute_block(
    view: &impl StateView,
    rules: Rules,
    slot: Slot,
    block: &ExecutableBlock,
) -> Result<SlotOutput, LedgerError> {
    let mut run = Run {
        view,
        balances: BTreeMap::new(),
        outcomes: PreHashMap::default(),
        executed: Vec::new(),
        fees: Amount::zero(),
    };
    for operation in &block.operations {
        if run.is_includable(rules, slot, operation) {
            run.execute(operation)?;
        }
    }
    let (reward, supply) = create(rules.block_reward, view.supply());
    let income = run.fees.saturating_add(reward);
    if !income.is_zero() {
        // The sum of all balances fits an amount, so a part of it does.
        run.credit(block.producer, income)?;
    }
    Ok(SlotOutput {
        slot,
        block: Some(block.id),
        balances: run.balances,
        executed: run.executed,
        supply,
    })
}

/// The reward that can be created, and the sum of all balances with it. Nothing is created beyond what an amount can
/// hold, so that no sum of balances ever overflows.
fn create(reward: Amount, supply: Amount) -> (Amount, Amount) {
    let reward = reward.min(Amount::MAX.saturating_sub(supply));
    (reward, supply.saturating_add(reward))
}

/// A block on its way through.
struct Run<'a, V> {
    view: &'a V,
    balances: BTreeMap<Address, Amount>,
    outcomes: PreHashMap<OperationId, Outcome>,
    executed: Vec<ExecutedOperation>,
    fees: Amount,
}

impl<V: StateView> Run<'_, V> {
    /// Whether the operation may be executed in this slot: in its sender's thread, while valid, and not twice.
    fn is_includable(&self, rules: Rules, slot: Slot, operation: &ExecutableOperation) -> bool {
        operation.sender.get_thread(rules.thread_count) == slot.thread
            && (operation.first_period..=operation.expire_period).contains(&slot.period)
            && !self.outcomes.contains_key(&operation.id)
            && self.view.outcome(&operation.id).is_none()
    }

    /// Takes the fee and does what the operation says. Without the fee, it is as if the operation were not there.
    fn execute(&mut self, operation: &ExecutableOperation) -> Result<(), LedgerError> {
        let Some(balance) = self.balance(&operation.sender)? else {
            return Ok(());
        };
        let Some(left) = balance.checked_sub(operation.fee) else {
            return Ok(());
        };
        let Some(fees) = self.fees.checked_add(operation.fee) else {
            return Ok(());
        };
        self.fees = fees;
        self.balances.insert(operation.sender, left);
        let outcome = match operation.action {
            Action::Transfer { recipient, amount } => self.transfer(operation.sender, recipient, amount)?,
            Action::NotSupported => Outcome::NotSupported,
        };
        self.outcomes.insert(operation.id, outcome);
        self.executed.push(ExecutedOperation {
            id: operation.id,
            expire_period: operation.expire_period,
            outcome,
        });
        Ok(())
    }

    fn transfer(&mut self, sender: Address, recipient: Address, amount: Amount) -> Result<Outcome, LedgerError> {
        let before = self.balance(&sender)?.unwrap_or_default();
        let Some(left) = before.checked_sub(amount) else {
            return Ok(Outcome::InsufficientBalance);
        };
        if amount.is_zero() {
            return Ok(Outcome::Success);
        }
        self.balances.insert(sender, left);
        if self.credit(recipient, amount)? {
            return Ok(Outcome::Success);
        }
        self.balances.insert(sender, before);
        Ok(Outcome::Overflow)
    }

    /// Adds to a balance; an address that is not there comes to be. `false`, and no change, when it would overflow.
    fn credit(&mut self, address: Address, amount: Amount) -> Result<bool, LedgerError> {
        let before = self.balance(&address)?.unwrap_or_default();
        let after = before.checked_add(amount);
        self.balances.extend(after.map(|after| (address, after)));
        Ok(after.is_some())
    }

    fn balance(&self, address: &Address) -> Result<Option<Amount>, LedgerError> {
        match self.balances.get(address) {
            Some(balance) => Ok(Some(*balance)),
            None => self.view.balance(address),
        }
    }
}

/// The hash of the state before the first slot: H(domain ‖ genesis id ‖ (address ‖ balance) in the order of addresses).
pub(crate) fn genesis_hash(genesis_id: &[u8; 32], ledger: &BTreeMap<Address, Amount>) -> [u8; 32] {
    let mut input = b"massa-archive genesis state".to_vec();
    input.extend_from_slice(genesis_id);
    write_balances(ledger, &mut input);
    Hash::compute_from(&input).into_bytes()
}

/// The hash of the state after a slot, from the one before it:
/// H(hash before ‖ slot (9) ‖ 00, or 01 and the block id (33) ‖ number of balances (u32), each: address (34), balance
/// (u64), in the order of addresses ‖ number of operations (u32), each: id (33), outcome (u8), in the order of
/// execution). Integers are little-endian.
pub(crate) fn state_hash(before: &[u8; 32], output: &SlotOutput) -> [u8; 32] {
    let mut input = before.to_vec();
    input.extend_from_slice(&output.slot.to_bytes_key());
    match &output.block {
        None => input.push(0),
        Some(id) => {
            input.push(1);
            input.extend_from_slice(&block_id_bytes(id));
        }
    }
    write_balances(&output.balances, &mut input);
    input.extend_from_slice(&count(output.executed.len()));
    for operation in &output.executed {
        input.extend_from_slice(&operation_id_bytes(&operation.id));
        input.push(operation.outcome as u8);
    }
    Hash::compute_from(&input).into_bytes()
}

fn write_balances(balances: &BTreeMap<Address, Amount>, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&count(balances.len()));
    for (address, balance) in balances {
        buffer.extend_from_slice(&address.to_prefixed_bytes());
        buffer.extend_from_slice(&balance.to_raw().to_le_bytes());
    }
}

fn count(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("a block has a bounded number of operations and a genesis file a bounded number of addresses")
        .to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use massa_models::secure_share::Id;

    #[test]
    fn the_state_hash_is_frozen() {
        let hash = Hash::from_bytes(&[4; 32]);
        let address = massa_models::address::UserAddress::UserAddressV0(massa_models::address::UserAddressV0(hash));
        let output = SlotOutput {
            slot: Slot::new(5, 3),
            block: Some(BlockId::new(hash)),
            balances: BTreeMap::from([(Address::User(address), Amount::from_raw(9))]),
            executed: vec![ExecutedOperation {
                id: OperationId::new(hash),
                expire_period: 6,
                outcome: Outcome::Success,
            }],
            supply: Amount::from_raw(9),
        };
        let id = [&[0][..], &[4; 32]].concat();
        let input = [
            &[1; 32][..],
            &[0, 0, 0, 0, 0, 0, 0, 5, 3],
            &[1],
            &id,
            &[1, 0, 0, 0],
            &[0],
            &id,
            &[9, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0],
            &id,
            &[1],
        ]
        .concat();
        assert_eq!(state_hash(&[1; 32], &output), Hash::compute_from(&input).into_bytes());

        let miss = SlotOutput {
            block: None,
            balances: BTreeMap::new(),
            executed: Vec::new(),
            ..output
        };
        let input = [&[1; 32][..], &[0, 0, 0, 0, 0, 0, 0, 5, 3], &[0; 9]].concat();
        assert_eq!(state_hash(&[1; 32], &miss), Hash::compute_from(&input).into_bytes());
    }
}
