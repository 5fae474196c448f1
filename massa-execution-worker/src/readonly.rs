//! Executions that change nothing.

use crate::contract::{call_contract, execute_bytecode, Context, Failure, EXECUTION_STACK_BYTES, LOAD_GAS};
use crate::environment::EnvironmentError;
use crate::execute::Rules;
use crate::ledger::LedgerError;
use crate::state::Speculative;
use crate::view::SharedView;
use crate::worker::Shared;
use massa_execution_exports::{
    ExecutionError, ReadOnlyExecutionOutput, ReadOnlyExecutionRequest, ReadOnlyExecutionTarget,
};
use massa_models::amount::Amount;
use massa_models::config::{MAX_FUNCTION_NAME_LENGTH, MAX_GAS_PER_BLOCK, MAX_RECURSIVE_CALLS_DEPTH};
use massa_models::slot::Slot;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Read-only executions at a time: each keeps a core busy.
const EXECUTIONS_MAX: usize = 2;

/// How long a request waits for its turn.
const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// How often an execution is begun anew because the state was replaced under it.
const ATTEMPTS_MAX: usize = 5;

/// Gives read-only executions their turn.
#[derive(Default)]
pub(crate) struct ReadOnlyExecutor {
    running: Mutex<usize>,
    ended: Condvar,
}

/// A turn, until it is dropped.
struct Turn<'a>(&'a ReadOnlyExecutor);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.running.lock() -= 1;
        self.0.ended.notify_one();
    }
}

impl ReadOnlyExecutor {
    /// Executes on the candidate state, and waits for it.
    pub(crate) fn execute(
        &self,
        shared: &Arc<Shared>,
        rules: &Rules,
        request: ReadOnlyExecutionRequest,
    ) -> Result<ReadOnlyExecutionOutput, ExecutionError> {
        check(&request)?;
        let _turn = self.turn()?;
        let (shared, rules) = (Arc::clone(shared), rules.clone());
        // Nested calls need more stack than the threads that ask have.
        let thread = std::thread::Builder::new()
            .name("read-only execution".into())
            .stack_size(EXECUTION_STACK_BYTES)
            .spawn(move || execute(&shared, &rules, &request))
            .map_err(|error| ExecutionError::Shortage(format!("thread: {error}")))?;
        match thread.join() {
            Ok(output) => output,
            Err(_) => Err(ExecutionError::Thread("the read-only execution panicked".to_string())),
        }
    }

    fn turn(&self) -> Result<Turn<'_>, ExecutionError> {
        let deadline = Instant::now() + TURN_TIMEOUT;
        let mut running = self.running.lock();
        while *running >= EXECUTIONS_MAX {
            if self.ended.wait_until(&mut running, deadline).timed_out() {
                return bad("request", "too many read-only executions wait already");
            }
        }
        *running += 1;
        Ok(Turn(self))
    }
}

fn check(request: &ReadOnlyExecutionRequest) -> Result<(), ExecutionError> {
    if request.max_gas > MAX_GAS_PER_BLOCK {
        return bad("max_gas", format!("{} is above {MAX_GAS_PER_BLOCK}", request.max_gas));
    }
    if request.call_stack.is_empty() || request.call_stack.len() > usize::from(MAX_RECURSIVE_CALLS_DEPTH) {
        let length = request.call_stack.len();
        return bad(
            "call_stack",
            format!("{length} elements, not 1 to {MAX_RECURSIVE_CALLS_DEPTH}"),
        );
    }
    if let ReadOnlyExecutionTarget::FunctionCall {
        target_addr,
        target_func,
        ..
    } = &request.target
    {
        if target_func.len() > usize::from(MAX_FUNCTION_NAME_LENGTH) {
            return bad(
                "target_func",
                format!("{} bytes, above {MAX_FUNCTION_NAME_LENGTH}", target_func.len()),
            );
        }
        if request.call_stack.last().map(|top| top.address) != Some(*target_addr) {
            return bad("call_stack", "the last element is not the contract that is called");
        }
    }
    Ok(())
}

fn bad<T>(field: &'static str, reason: impl Into<String>) -> Result<T, ExecutionError> {
    let reason = reason.into();
    Err(ExecutionError::Request { field, reason })
}

fn execute(
    shared: &Arc<Shared>,
    rules: &Rules,
    request: &ReadOnlyExecutionRequest,
) -> Result<ReadOnlyExecutionOutput, ExecutionError> {
    for _ in 0..ATTEMPTS_MAX {
        match attempt(shared, rules, request) {
            Err(EnvironmentError::Ledger(LedgerError::Replaced)) => {}
            result => return Ok(result?),
        }
    }
    Err(LedgerError::Replaced.into())
}

fn attempt(
    shared: &Arc<Shared>,
    rules: &Rules,
    request: &ReadOnlyExecutionRequest,
) -> Result<ReadOnlyExecutionOutput, EnvironmentError> {
    let view = SharedView::candidate(shared);
    let slot = next_slot(shared, rules);
    let origin = rules.origin(slot, None);
    let mut context = Context::new(Arc::clone(&rules.engine), origin, Speculative::new(Arc::new(view)));
    context.begin(None, request.call_stack.clone(), request.max_gas);
    let (mut context, result) = match pay(&mut context, request) {
        Ok(()) => run(context, &request.target),
        Err(failure) => (context, Err(failure)),
    };
    let call_result = match result {
        Ok(result) => Ok(result),
        Err(Failure::Environment(error)) => return Err(error),
        Err(failure) => {
            let reason = failure.to_string();
            context.fail(&reason);
            Err(reason)
        }
    };
    Ok(ReadOnlyExecutionOutput {
        slot,
        gas_cost: request.max_gas.saturating_sub(context.gas).max(LOAD_GAS),
        call_result,
        events: std::mem::take(&mut context.events),
    })
}

/// The slot after the last one that is executed.
fn next_slot(shared: &Shared, rules: &Rules) -> Slot {
    let state = shared.state.read();
    let final_cursor = state.ledger.cursor();
    let last = state.candidates.last_slot().unwrap_or(final_cursor).max(final_cursor);
    last.get_next_slot(rules.thread_count).unwrap_or(last)
}

/// Takes the fee and moves the coins.
fn pay(context: &mut Context, request: &ReadOnlyExecutionRequest) -> Result<(), Failure> {
    let (Some(caller), Some(target)) = (request.call_stack.first(), request.call_stack.last()) else {
        return Ok(());
    };
    let fee = request.fee.unwrap_or(Amount::zero());
    let balance = context.state.balance(&caller.address)?.unwrap_or_default();
    match balance.checked_sub(fee) {
        Some(left) if !fee.is_zero() => context.state.set_balance(caller.address, left),
        Some(_) => {}
        None => {
            return Err(Failure::Refused(format!(
                "{} has {balance}, the fee is {fee}",
                caller.address
            )))
        }
    }
    let Some(coins) = request.coins.filter(|coins| !coins.is_zero()) else {
        return Ok(());
    };
    if let Some(top) = context.stack.last_mut() {
        top.coins = coins;
    }
    context.move_coins(caller.address, target.address, coins)
}

fn run(context: Box<Context>, target: &ReadOnlyExecutionTarget) -> (Box<Context>, Result<Vec<u8>, Failure>) {
    match target {
        ReadOnlyExecutionTarget::BytecodeExecution(bytecode) => execute_bytecode(context, bytecode),
        ReadOnlyExecutionTarget::FunctionCall {
            target_func, parameter, ..
        } => call_contract(context, target_func, parameter),
    }
}
