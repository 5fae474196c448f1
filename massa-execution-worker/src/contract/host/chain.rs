//! Host functions that tell of the chain and of the call, and those that move coins.

use super::calls::coins_of;
use super::{enter, Guest, Host, MASSA};
use crate::contract::context::{refused, Context, Failure};
use massa_models::address::Address;
use massa_models::amount::Amount;
use wasmtime::{Caller, Linker, Result};

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    add_call(linker)?;
    add_coins(linker)?;
    add_slot(linker)
}

/// Who calls whom.
fn add_call(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_caller_has_write_access",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 775)?;
            let stack = &caller.data_mut().context().stack;
            let element = stack.len().checked_sub(2).or(stack.len().checked_sub(1));
            let (Some(element), Some(top)) = (element.and_then(|index| stack.get(index)), stack.last()) else {
                return Ok(refused("the call stack is empty")?);
            };
            Ok(i32::from(element.owned_addresses.contains(&top.address)))
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_call_stack",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 1560)?;
            let stack = &caller.data_mut().context().stack;
            let text = address_list(stack.iter().map(|element| element.address));
            Guest(&mut caller).give_text(&text)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_owned_addresses",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 1560)?;
            let top = caller.data_mut().context().top()?;
            let text = address_list(top.owned_addresses.iter().copied());
            Guest(&mut caller).give_text(&text)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_origin_operation_id",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 785)?;
            let id = caller.data_mut().context().operation;
            let text = id.map(|id| id.to_string()).unwrap_or_default();
            Guest(&mut caller).give_text(&text)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_generate_event",
        |mut caller: Caller<'_, Host>, data: i32| {
            enter(&mut caller, 860)?;
            let data = Guest(&mut caller).text(data)?;
            Ok(caller.data_mut().context().emit(data)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_remaining_gas",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 580)?;
            Ok(caller.get_fuel()?.cast_signed())
        },
    )?;
    Ok(())
}

fn add_coins(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(MASSA, "assembly_script_get_balance", |mut caller: Caller<'_, Host>| {
        enter(&mut caller, 745)?;
        let context = caller.data_mut().context();
        balance(context, &context.current()?)
    })?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_balance_for",
        |mut caller: Caller<'_, Host>, address: i32| {
            enter(&mut caller, 900)?;
            let address = Guest(&mut caller).address(address)?;
            balance(caller.data_mut().context(), &address)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_call_coins",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 725)?;
            let coins: Amount = caller.data_mut().context().top()?.coins;
            Ok(coins.to_raw().cast_signed())
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_transfer_coins",
        |mut caller: Caller<'_, Host>, to: i32, amount: i64| {
            enter(&mut caller, 1045)?;
            let to = Guest(&mut caller).address(to)?;
            let context = caller.data_mut().context();
            let from = context.current()?;
            context.check_owned(&from)?;
            Ok(context.transfer(from, to, coins_of(amount)?)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_transfer_coins_for",
        |mut caller: Caller<'_, Host>, from: i32, to: i32, amount: i64| {
            enter(&mut caller, 1045)?;
            let (from, to) = (Guest(&mut caller).address(from)?, Guest(&mut caller).address(to)?);
            let context = caller.data_mut().context();
            context.check_owned(&from)?;
            Ok(context.transfer(from, to, coins_of(amount)?)?)
        },
    )?;
    Ok(())
}

/// When and where the execution happens.
fn add_slot(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_get_current_period",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 785)?;
            Ok(caller.data_mut().context().origin.slot.period.cast_signed())
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_current_thread",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 770)?;
            Ok(i32::from(caller.data_mut().context().origin.slot.thread))
        },
    )?;
    linker.func_wrap(MASSA, "assembly_script_get_time", |mut caller: Caller<'_, Host>| {
        enter(&mut caller, 750)?;
        Ok(caller.data_mut().context().origin.time_ms.cast_signed())
    })?;
    linker.func_wrap(MASSA, "assembly_script_chain_id", |mut caller: Caller<'_, Host>| {
        enter(&mut caller, 785)?;
        Ok(caller.data_mut().context().origin.chain_id.cast_signed())
    })?;
    linker.func_wrap(
        MASSA,
        "assembly_script_unsafe_random",
        |mut caller: Caller<'_, Host>| {
            enter(&mut caller, 790)?;
            Ok(caller.data_mut().context().draw().cast_signed())
        },
    )?;
    Ok(())
}

fn balance(context: &Context, address: &Address) -> Result<i64> {
    let balance = context.state.balance(address).map_err(Failure::from)?;
    Ok(balance.unwrap_or_default().to_raw().cast_signed())
}

/// A JSON array of addresses.
fn address_list(addresses: impl Iterator<Item = Address>) -> String {
    let addresses: Vec<String> = addresses.map(|address| format!("{:?}", address.to_string())).collect();
    format!("[{}]", addresses.join(","))
}
