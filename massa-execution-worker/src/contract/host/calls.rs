//! Host functions that run or change contracts.

use super::{enter, Guest, Host, MASSA};
use crate::contract::context::{refused, Context, Failure};
use crate::contract::run::{call_from_contract, run, Invocation};
use massa_models::amount::Amount;
use wasmtime::{Caller, ExternType, Linker, Result};

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    add_calls(linker)?;
    add_bytecode(linker)
}

fn add_calls(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_call",
        |mut caller: Caller<'_, Host>, address: i32, function: i32, parameter: i32, coins: i64| {
            enter(&mut caller, 15_000)?;
            let address = Guest(&mut caller).address(address)?;
            let function = Guest(&mut caller).text(function)?;
            let parameter = Guest(&mut caller).bytes(parameter)?;
            let coins = coins_of(coins)?;
            let result = lend(&mut caller, |context| {
                call_from_contract(context, address, (&function, &parameter), coins)
            })?;
            Guest(&mut caller).give_bytes(&result)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_local_call",
        |mut caller: Caller<'_, Host>, address: i32, function: i32, parameter: i32| {
            enter(&mut caller, 15_000)?;
            let address = Guest(&mut caller).address(address)?;
            let bytecode = caller.data_mut().context().contract(&address)?;
            run_here(&mut caller, &bytecode, function, parameter)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_local_execution",
        |mut caller: Caller<'_, Host>, bytecode: i32, function: i32, parameter: i32| {
            enter(&mut caller, 15_000)?;
            let bytecode = Guest(&mut caller).bytes(bytecode)?;
            run_here(&mut caller, &bytecode, function, parameter)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_function_exists",
        |mut caller: Caller<'_, Host>, address: i32, function: i32| {
            enter(&mut caller, 2875)?;
            let address = Guest(&mut caller).address(address)?;
            let function = Guest(&mut caller).text(function)?;
            let context = caller.data_mut().context();
            let bytecode = context.contract(&address)?;
            let module = match context.engine.load(&bytecode) {
                Err(Failure::Refused(_)) => return Ok(0),
                module => module?,
            };
            let export = module.module().get_export(&function);
            Ok(i32::from(matches!(export, Some(ExternType::Func(_)))))
        },
    )?;
    Ok(())
}

fn add_bytecode(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_create_sc",
        |mut caller: Caller<'_, Host>, bytecode: i32| {
            enter(&mut caller, 745_000_000)?;
            let bytecode = Guest(&mut caller).bytes(bytecode)?;
            let address = caller.data_mut().context().create_contract(bytecode)?;
            Guest(&mut caller).give_text(&address.to_string())
        },
    )?;
    linker.func_wrap(MASSA, "assembly_script_get_bytecode", |mut caller: Caller<'_, Host>| {
        enter(&mut caller, 1040)?;
        let context = caller.data_mut().context();
        let bytecode = context.contract(&context.current()?)?;
        Guest(&mut caller).give_bytes(&bytecode)
    })?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_bytecode_for",
        |mut caller: Caller<'_, Host>, address: i32| {
            enter(&mut caller, 1040)?;
            let address = Guest(&mut caller).address(address)?;
            let bytecode = caller.data_mut().context().contract(&address)?;
            Guest(&mut caller).give_bytes(&bytecode)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_set_bytecode",
        |mut caller: Caller<'_, Host>, bytecode: i32| {
            enter(&mut caller, 940)?;
            let bytecode = Guest(&mut caller).bytes(bytecode)?;
            let context = caller.data_mut().context();
            Ok(context.set_bytecode(context.current()?, bytecode)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_set_bytecode_for",
        |mut caller: Caller<'_, Host>, address: i32, bytecode: i32| {
            enter(&mut caller, 940)?;
            let (address, bytecode) = (
                Guest(&mut caller).address(address)?,
                Guest(&mut caller).bytes(bytecode)?,
            );
            let context = caller.data_mut().context();
            context.check_owned(&address)?;
            Ok(context.set_bytecode(address, bytecode)?)
        },
    )?;
    Ok(())
}

/// Runs other code as the contract that runs.
fn run_here(caller: &mut Caller<'_, Host>, bytecode: &[u8], function: i32, parameter: i32) -> Result<i32> {
    let function = Guest(caller).text(function)?;
    let parameter = Guest(caller).bytes(parameter)?;
    let invocation = Invocation {
        bytecode,
        function: &function,
        parameter: &parameter,
    };
    let result = lend(caller, |context| run(context, &invocation))?;
    Guest(caller).give_bytes(&result)
}

/// Gives the context and the gas away for a call, and takes back what is left of them.
fn lend(
    caller: &mut Caller<'_, Host>,
    call: impl FnOnce(Box<Context>) -> (Box<Context>, std::result::Result<Vec<u8>, Failure>),
) -> Result<Vec<u8>> {
    let gas = caller.get_fuel()?;
    let context = caller.data_mut().context.take();
    let mut context = context.expect("no instance runs while its context is away");
    context.gas = gas;
    let (context, result) = call(context);
    caller.set_fuel(context.gas)?;
    caller.data_mut().context = Some(context);
    Ok(result?)
}

/// Coins as contracts write them: a negative number is not an amount.
pub(super) fn coins_of(coins: i64) -> std::result::Result<Amount, Failure> {
    match u64::try_from(coins) {
        Ok(coins) => Ok(Amount::from_raw(coins)),
        Err(_) => refused(format!("{coins} coins")),
    }
}
