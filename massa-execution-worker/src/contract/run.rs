//! Runs functions of modules.

use super::context::{refused, shortage, Context, Failure};
use super::engine::STACK_BYTES_MAX;
use super::gas::{LAUNCH_GAS, LOAD_GAS};
use super::host::{Guest, Host};
use massa_execution_exports::ExecutionStackElement;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::MAX_RECURSIVE_CALLS_DEPTH;
use wasmtime::{Func, InstancePre, Store, Trap, Val, ValType};

/// Stack of a thread that executes: an instance at every depth, each with as much again for the host, and the compiler.
pub(crate) const EXECUTION_STACK_BYTES: usize =
    2 * STACK_BYTES_MAX * (MAX_RECURSIVE_CALLS_DEPTH as usize + 2) + (8 << 20);

/// Function that bytecode of an operation is entered at. What it returns is not looked at.
const MAIN: &str = "main";

/// What is run.
pub(super) struct Invocation<'a> {
    pub(super) bytecode: &'a [u8],
    pub(super) function: &'a str,
    pub(super) parameter: &'a [u8],
}

/// Runs the bytecode of an operation or of a read-only request.
pub(crate) fn execute_bytecode(context: Box<Context>, bytecode: &[u8]) -> (Box<Context>, Result<Vec<u8>, Failure>) {
    let invocation = Invocation {
        bytecode,
        function: MAIN,
        parameter: &[],
    };
    run(context, &invocation)
}

/// Calls a function of the contract at the top of the stack.
pub(crate) fn call_contract(
    context: Box<Context>,
    function: &str,
    parameter: &[u8],
) -> (Box<Context>, Result<Vec<u8>, Failure>) {
    let bytecode = context.current().and_then(|address| context.contract(&address));
    let bytecode = match (bytecode, function) {
        (Err(failure), _) => return (context, Err(failure)),
        (Ok(_), "") => return (context, refused("no function is named")),
        (Ok(bytecode), _) => bytecode,
    };
    let invocation = Invocation {
        bytecode: &bytecode,
        function,
        parameter,
    };
    run(context, &invocation)
}

/// A contract calls another one: coins move, then the call stack grows by one until the call ends.
pub(super) fn call_from_contract(
    mut context: Box<Context>,
    target: Address,
    (function, parameter): (&str, &[u8]),
    coins: Amount,
) -> (Box<Context>, Result<Vec<u8>, Failure>) {
    let entered = context.enter(target, coins);
    if let Err(failure) = entered {
        return (context, Err(failure));
    }
    let (mut context, result) = call_contract(context, function, parameter);
    context.stack.pop();
    (context, result)
}

impl Context {
    fn enter(&mut self, target: Address, coins: Amount) -> Result<(), Failure> {
        self.contract(&target)?;
        let caller = self.current()?;
        self.move_coins(caller, target, coins)?;
        self.stack.push(ExecutionStackElement {
            address: target,
            coins,
            owned_addresses: vec![target],
            operation_datastore: None,
        });
        Ok(())
    }
}

/// Runs a function in a fresh instance.
pub(super) fn run(mut context: Box<Context>, invocation: &Invocation<'_>) -> (Box<Context>, Result<Vec<u8>, Failure>) {
    let module = match load(&mut context, invocation) {
        Ok(module) => module,
        Err(failure) => return (context, Err(failure)),
    };
    let (engine, gas) = (context.engine.engine().clone(), context.gas);
    context.depth += 1;
    let mut store = Store::new(&engine, Host::new(context));
    store.limiter(|host| &mut host.limits);
    let result = store
        .set_fuel(gas)
        .and_then(|()| invoke(&mut store, &module, invocation));
    // Nothing is left after a trap that came from the fuel; otherwise what was not used.
    let left = store.get_fuel().unwrap_or(0);
    let mut context = store.into_data().into_context();
    context.depth -= 1;
    context.gas = left;
    (context, result.map_err(failure_of))
}

/// The module, once it is clear that it can be run.
fn load(context: &mut Context, invocation: &Invocation<'_>) -> Result<std::sync::Arc<InstancePre<Host>>, Failure> {
    if context.depth > MAX_RECURSIVE_CALLS_DEPTH {
        return refused(format!("calls are nested deeper than {MAX_RECURSIVE_CALLS_DEPTH}"));
    }
    if context.gas < LOAD_GAS {
        return Err(Failure::OutOfGas);
    }
    let module = context.engine.load(invocation.bytecode)?;
    context.gas -= LAUNCH_GAS;
    Ok(module)
}

fn invoke(
    store: &mut Store<Host>,
    module: &InstancePre<Host>,
    invocation: &Invocation<'_>,
) -> Result<Vec<u8>, wasmtime::Error> {
    let instance = module.instantiate(&mut *store)?;
    let memory = instance.get_memory(&mut *store, "memory");
    let new = instance.get_typed_func(&mut *store, "__new").ok();
    let pin = instance.get_typed_func(&mut *store, "__pin").ok();
    store.data_mut().start(memory, new, pin);
    let name = invocation.function;
    let Some(function) = instance.get_func(&mut *store, name) else {
        return Ok(refused(format!("there is no function {name}"))?);
    };
    enter_function(store, &function, invocation)
}

fn enter_function(
    store: &mut Store<Host>,
    function: &Func,
    invocation: &Invocation<'_>,
) -> Result<Vec<u8>, wasmtime::Error> {
    let ty = function.ty(&*store);
    let takes: Vec<ValType> = ty.params().collect();
    let gives: Vec<ValType> = ty.results().collect();
    let parameters = match &takes[..] {
        [] => Vec::new(),
        [ValType::I32] => vec![Val::I32(Guest(store).give_bytes(invocation.parameter)?)],
        _ => {
            return Ok(refused(format!(
                "Unexpected number of parameters of {}",
                invocation.function
            ))?)
        }
    };
    let mut results = vec![Val::I32(0); gives.len()];
    function.call(&mut *store, &parameters, &mut results)?;
    match (&gives[..], &results[..]) {
        _ if invocation.function == MAIN => Ok(Vec::new()),
        ([], _) => Ok(Vec::new()),
        ([ValType::I32], [Val::I32(pointer)]) => Ok(Guest(store).bytes(*pointer)?),
        _ => Ok(refused(format!(
            "{} returns something else than a buffer",
            invocation.function
        ))?),
    }
}

/// What ended a run, in the terms of this crate.
///
/// What a module does ends in a [`Failure`] of a host function or in a [`Trap`], the same one on every machine. All that
/// could make instantiation fail by rule is refused before a module is compiled. So whatever else comes is about this
/// machine, and no outcome.
fn failure_of(error: wasmtime::Error) -> Failure {
    let error = match error.downcast::<Failure>() {
        Ok(failure) => return failure,
        Err(error) => error,
    };
    match error.downcast_ref::<Trap>() {
        Some(Trap::OutOfFuel) => Failure::OutOfGas,
        Some(trap) => Failure::Refused(trap.to_string()),
        None => shortage(error),
    }
}
