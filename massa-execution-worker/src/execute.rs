//! What a slot does to the ledger: a plain function of the state before it.

use crate::block::{Action, Call, ExecutableBlock, ExecutableOperation};
use crate::contract::{call_contract, execute_bytecode, Context, Engine, Failure, Origin};
use crate::environment::EnvironmentError;
use crate::rows::{block_id_bytes, operation_id_bytes};
use crate::state::{Bytes, Changes, EntryKey, Speculative, StateView};
use massa_execution_exports::ExecutionStackElement;
use massa_hash::Hash;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::config::MAX_GAS_PER_BLOCK;
use massa_models::datastore::Datastore;
use massa_models::operation::OperationId;
use massa_models::output_event::SCOutputEvent;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use massa_models::timeslots::get_block_slot_timestamp;
use massa_time::MassaTime;
use std::collections::BTreeMap;
use std::sync::Arc;

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
    /// Only the fee was taken: bytecode or a contract failed.
    Failed = 5,
}

impl Outcome {
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        [
            Self::Success,
            Self::InsufficientBalance,
            Self::NotSupported,
            Self::Overflow,
            Self::Failed,
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
    pub(crate) changes: Changes,
    /// In the order of execution.
    pub(crate) executed: Vec<ExecutedOperation>,
    /// What contracts said. Not a part of the state.
    pub(crate) events: Vec<SCOutputEvent>,
    /// All coins afterwards, see [`StateView::supply`].
    pub(crate) supply: Amount,
}

/// What execution needs to know of the network, and what runs contracts.
#[derive(Clone)]
pub(crate) struct Rules {
    pub(crate) chain_id: u64,
    pub(crate) thread_count: u8,
    pub(crate) block_reward: Amount,
    pub(crate) t0: MassaTime,
    pub(crate) genesis_timestamp: MassaTime,
    pub(crate) engine: Arc<Engine>,
}

impl Rules {
    /// What contracts see of a slot.
    pub(crate) fn origin(&self, slot: Slot, block: Option<BlockId>) -> Origin {
        let time = get_block_slot_timestamp(self.thread_count, self.t0, self.genesis_timestamp, slot);
        Origin {
            chain_id: self.chain_id,
            slot,
            time_ms: time.map_or(u64::MAX, |time| time.as_millis()),
            block,
            read_only: block.is_none(),
        }
    }
}

/// The output of a slot without a block.
pub(crate) fn execute_miss(view: &impl StateView, slot: Slot) -> SlotOutput {
    SlotOutput {
        slot,
        block: None,
        changes: Changes::default(),
        executed: Vec::new(),
        events: Vec::new(),
        supply: view.supply(),
    }
}

/// Executes a block.
///
/// # Errors
/// This node cannot execute the block now.
pub(crate) fn execute_block(
    view: Arc<dyn StateView>,
    rules: &Rules,
    slot: Slot,
    block: &ExecutableBlock,
) -> Result<SlotOutput, EnvironmentError> {
    let (reward, supply) = create(rules.block_reward, view.supply());
    let origin = rules.origin(slot, Some(block.id));
    let context = Context::new(Arc::clone(&rules.engine), origin, Speculative::new(view));
    let mut run = Run {
        context: Some(context),
        outcomes: PreHashMap::default(),
        executed: Vec::new(),
        fees: Amount::zero(),
        gas: MAX_GAS_PER_BLOCK,
    };
    for operation in &block.operations {
        if run.is_includable(rules, slot, operation) {
            run.execute(operation)?;
        }
    }
    let income = run.fees.saturating_add(reward);
    if !income.is_zero() {
        // The sum of all balances fits an amount, so a part of it does.
        run.credit(block.producer, income)?;
    }
    let context = run.context.expect(CONTEXT_IS_BACK);
    Ok(SlotOutput {
        slot,
        block: Some(block.id),
        changes: context.state.into_changes(),
        executed: run.executed,
        events: context.events,
        supply,
    })
}

/// The reward that can be created, and all coins with it. Nothing is created beyond what an amount can hold, so that no
/// sum of balances ever overflows.
fn create(reward: Amount, supply: Amount) -> (Amount, Amount) {
    let reward = reward.min(Amount::MAX.saturating_sub(supply));
    (reward, supply.saturating_add(reward))
}

const CONTEXT_IS_BACK: &str = "an execution gives the context back";

/// A block on its way through.
struct Run {
    /// Away while a contract runs.
    context: Option<Box<Context>>,
    outcomes: PreHashMap<OperationId, Outcome>,
    executed: Vec<ExecutedOperation>,
    fees: Amount,
    /// Left for the operations that follow.
    gas: u64,
}

impl Run {
    fn context(&mut self) -> &mut Context {
        self.context.as_mut().expect(CONTEXT_IS_BACK)
    }

    /// Whether the operation may be executed in this slot: in its sender's thread, while valid, and not twice.
    fn is_includable(&mut self, rules: &Rules, slot: Slot, operation: &ExecutableOperation) -> bool {
        operation.sender.get_thread(rules.thread_count) == slot.thread
            && (operation.first_period..=operation.expire_period).contains(&slot.period)
            && !self.outcomes.contains_key(&operation.id)
            && self.context().state.view().outcome(&operation.id).is_none()
    }

    /// Takes the fee and does what the operation says. Without the fee, or without the gas in the block, it is as if
    /// the operation were not there.
    fn execute(&mut self, operation: &ExecutableOperation) -> Result<(), EnvironmentError> {
        let Some(gas) = self.gas.checked_sub(operation.gas_usage) else {
            return Ok(());
        };
        let Some(balance) = self.context().state.balance(&operation.sender)? else {
            return Ok(());
        };
        let (Some(left), Some(fees)) = (balance.checked_sub(operation.fee), self.fees.checked_add(operation.fee))
        else {
            return Ok(());
        };
        (self.gas, self.fees) = (gas, fees);
        self.context().state.set_balance(operation.sender, left);
        let outcome = self.act(operation)?;
        self.outcomes.insert(operation.id, outcome);
        self.executed.push(ExecutedOperation {
            id: operation.id,
            expire_period: operation.expire_period,
            outcome,
        });
        Ok(())
    }

    fn act(&mut self, operation: &ExecutableOperation) -> Result<Outcome, EnvironmentError> {
        let sender = operation.sender;
        match &operation.action {
            Action::Transfer { recipient, amount } => self.transfer(sender, *recipient, *amount),
            Action::Execute {
                bytecode,
                max_gas,
                max_coins,
                datastore,
            } => self.attempt(operation, *max_gas, *max_coins, |run| {
                run.execute_bytecode(sender, bytecode, datastore)
            }),
            Action::Call(call) => self.attempt(operation, call.max_gas, call.coins, |run| run.call(sender, call)),
            Action::NotSupported => Ok(Outcome::NotSupported),
        }
    }

    /// Does something that contracts take part in. If it fails, or costs the sender more than `spending_max`, nothing
    /// of it is left but an event that tells why.
    fn attempt(
        &mut self,
        operation: &ExecutableOperation,
        gas: u64,
        spending_max: Amount,
        action: impl FnOnce(&mut Self) -> Result<(), Failure>,
    ) -> Result<Outcome, EnvironmentError> {
        let sender = operation.sender;
        let stack = vec![stack_element(sender, Amount::zero())];
        self.context().begin(Some(operation.id), stack, gas);
        let snapshot = self.context().state.snapshot();
        let before = self.context().state.balance(&sender)?.unwrap_or_default();
        let result = action(self);
        let result = result.and_then(|()| self.check_spending(sender, before, spending_max));
        match result {
            Ok(()) => Ok(Outcome::Success),
            Err(Failure::Environment(error)) => Err(error),
            Err(failure) => {
                let context = self.context();
                context.state.revert(snapshot);
                context.fail(&failure.to_string());
                Ok(Outcome::Failed)
            }
        }
    }

    fn check_spending(&mut self, sender: Address, before: Amount, max: Amount) -> Result<(), Failure> {
        let after = self.context().state.balance(&sender)?.unwrap_or_default();
        let spent = before.saturating_sub(after);
        if spent > max {
            let reason = format!("{sender} spent {spent}, above the {max} that the operation allows");
            return Err(Failure::Refused(reason));
        }
        Ok(())
    }

    fn execute_bytecode(&mut self, sender: Address, bytecode: &Bytes, datastore: &Datastore) -> Result<(), Failure> {
        let mut context = self.context.take().expect(CONTEXT_IS_BACK);
        context.stack = vec![ExecutionStackElement {
            operation_datastore: Some(datastore.clone()),
            ..stack_element(sender, Amount::zero())
        }];
        let (context, result) = execute_bytecode(context, bytecode);
        self.context = Some(context);
        result.map(|_| ())
    }

    fn call(&mut self, sender: Address, call: &Call) -> Result<(), Failure> {
        let mut context = self.context.take().expect(CONTEXT_IS_BACK);
        context.stack.push(stack_element(call.target, call.coins));
        let moved = context.move_coins(sender, call.target, call.coins);
        let (context, result) = match moved {
            Ok(()) => call_contract(context, &call.function, &call.parameter),
            Err(failure) => (context, Err(failure)),
        };
        self.context = Some(context);
        result.map(|_| ())
    }

    fn transfer(&mut self, sender: Address, recipient: Address, amount: Amount) -> Result<Outcome, EnvironmentError> {
        let before = self.context().state.balance(&sender)?.unwrap_or_default();
        let Some(left) = before.checked_sub(amount) else {
            return Ok(Outcome::InsufficientBalance);
        };
        if amount.is_zero() {
            return Ok(Outcome::Success);
        }
        if matches!(recipient, Address::SC(_)) && self.context().state.balance(&recipient)?.is_none() {
            // Only the creation of a contract makes its address.
            return Ok(Outcome::Failed);
        }
        let snapshot = self.context().state.snapshot();
        self.context().state.set_balance(sender, left);
        if self.credit(recipient, amount)? {
            return Ok(Outcome::Success);
        }
        self.context().state.revert(snapshot);
        Ok(Outcome::Overflow)
    }

    /// Adds to a balance; an address that is not there comes to be. `false`, and no change, when it would overflow.
    fn credit(&mut self, address: Address, amount: Amount) -> Result<bool, EnvironmentError> {
        let state = &mut self.context().state;
        let before = state.balance(&address)?.unwrap_or_default();
        let Some(after) = before.checked_add(amount) else {
            return Ok(false);
        };
        state.set_balance(address, after);
        Ok(true)
    }
}

fn stack_element(address: Address, coins: Amount) -> ExecutionStackElement {
    ExecutionStackElement {
        address,
        coins,
        owned_addresses: vec![address],
        operation_datastore: None,
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
/// (u64), in the order of addresses ‖ number of entries (u32), each: address (34), key length (u8), key, 00 if it is gone,
/// or 01, value length (u32), value, in the order of addresses and keys ‖ number of bytecodes (u32), each: address (34),
/// length (u32), bytecode, in the order of addresses ‖ number of operations (u32), each: id (33), outcome (u8), in the
/// order of execution). Integers are little-endian. Events are not in it.
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
    write_balances(&output.changes.balances, &mut input);
    write_entries(&output.changes.entries, &mut input);
    input.extend_from_slice(&count(output.changes.bytecode.len()));
    for (address, bytecode) in &output.changes.bytecode {
        input.extend_from_slice(&address.to_prefixed_bytes());
        write_bytes(bytecode, &mut input);
    }
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

fn write_entries(entries: &BTreeMap<EntryKey, Option<Bytes>>, buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&count(entries.len()));
    for ((address, key), entry) in entries {
        buffer.extend_from_slice(&address.to_prefixed_bytes());
        buffer.push(u8::try_from(key.len()).expect("keys have at most 255 bytes"));
        buffer.extend_from_slice(key);
        match entry {
            None => buffer.push(0),
            Some(value) => {
                buffer.push(1);
                write_bytes(value, buffer);
            }
        }
    }
}

fn write_bytes(bytes: &[u8], buffer: &mut Vec<u8>) {
    buffer.extend_from_slice(&count(bytes.len()));
    buffer.extend_from_slice(bytes);
}

fn count(length: usize) -> [u8; 4] {
    u32::try_from(length)
        .expect("what a block can change is bounded by its gas, and a genesis file has a bounded number of addresses")
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
            changes: Changes {
                balances: BTreeMap::from([(Address::User(address), Amount::from_raw(9))]),
                entries: BTreeMap::from([
                    ((Address::User(address), vec![1, 2]), Some(Bytes::from([3, 4, 5]))),
                    ((Address::User(address), vec![6]), None),
                ]),
                bytecode: BTreeMap::from([(Address::User(address), Bytes::from([7]))]),
            },
            events: Vec::new(),
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
            &[2, 0, 0, 0],
            &[0],
            &id,
            &[2, 1, 2, 1, 3, 0, 0, 0, 3, 4, 5],
            &[0],
            &id,
            &[1, 6, 0],
            &[1, 0, 0, 0],
            &[0],
            &id,
            &[1, 0, 0, 0, 7],
            &[1, 0, 0, 0],
            &id,
            &[1],
        ]
        .concat();
        assert_eq!(state_hash(&[1; 32], &output), Hash::compute_from(&input).into_bytes());

        let miss = SlotOutput {
            block: None,
            changes: Changes::default(),
            executed: Vec::new(),
            ..output
        };
        let input = [&[1; 32][..], &[0, 0, 0, 0, 0, 0, 0, 5, 3], &[0; 17]].concat();
        assert_eq!(state_hash(&[1; 32], &miss), Hash::compute_from(&input).into_bytes());
    }
}
