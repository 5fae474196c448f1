//! Host functions for datastores, that of the operation included.

use super::{enter, Guest, Host, MASSA};
use crate::contract::context::{refused, Context, Failure};
use massa_models::address::Address;
use massa_models::datastore::Datastore;
use wasmtime::{Caller, Linker, Result};

pub(super) fn add(linker: &mut Linker<Host>) -> Result<()> {
    add_own(linker)?;
    add_foreign(linker)?;
    add_operation(linker)
}

/// The datastore of the contract that runs.
fn add_own(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_set_data",
        |mut caller: Caller<'_, Host>, key: i32, value: i32| {
            enter(&mut caller, 940)?;
            let (key, value) = (Guest(&mut caller).bytes(key)?, Guest(&mut caller).bytes(value)?);
            let context = caller.data_mut().context();
            Ok(context.set_data(context.current()?, key, value)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_append_data",
        |mut caller: Caller<'_, Host>, key: i32, value: i32| {
            enter(&mut caller, 940)?;
            let (key, value) = (Guest(&mut caller).bytes(key)?, Guest(&mut caller).bytes(value)?);
            let context = caller.data_mut().context();
            Ok(context.append_data(context.current()?, key, &value)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_data",
        |mut caller: Caller<'_, Host>, key: i32| {
            enter(&mut caller, 1040)?;
            let key = Guest(&mut caller).bytes(key)?;
            let context = caller.data_mut().context();
            let value = context.data(&context.current()?, &key)?;
            Guest(&mut caller).give_bytes(&value)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_has_data",
        |mut caller: Caller<'_, Host>, key: i32| {
            enter(&mut caller, 845)?;
            let key = Guest(&mut caller).bytes(key)?;
            let context = caller.data_mut().context();
            has_data(context, context.current()?, &key)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_delete_data",
        |mut caller: Caller<'_, Host>, key: i32| {
            enter(&mut caller, 980)?;
            let key = Guest(&mut caller).bytes(key)?;
            let context = caller.data_mut().context();
            Ok(context.delete_data(context.current()?, key)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_keys",
        |mut caller: Caller<'_, Host>, prefix: i32| {
            enter(&mut caller, 1000)?;
            let prefix = Guest(&mut caller).bytes(prefix)?;
            let context = caller.data_mut().context();
            let keys = context.data_keys(&context.current()?, &prefix)?;
            Guest(&mut caller).give_bytes(&key_list(&keys))
        },
    )?;
    Ok(())
}

/// The datastore of any address; writing needs access to it.
fn add_foreign(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_set_data_for",
        |mut caller: Caller<'_, Host>, address: i32, key: i32, value: i32| {
            enter(&mut caller, 940)?;
            let address = Guest(&mut caller).address(address)?;
            let (key, value) = (Guest(&mut caller).bytes(key)?, Guest(&mut caller).bytes(value)?);
            let context = caller.data_mut().context();
            context.check_owned(&address)?;
            Ok(context.set_data(address, key, value)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_append_data_for",
        |mut caller: Caller<'_, Host>, address: i32, key: i32, value: i32| {
            enter(&mut caller, 940)?;
            let address = Guest(&mut caller).address(address)?;
            let (key, value) = (Guest(&mut caller).bytes(key)?, Guest(&mut caller).bytes(value)?);
            let context = caller.data_mut().context();
            context.check_owned(&address)?;
            Ok(context.append_data(address, key, &value)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_data_for",
        |mut caller: Caller<'_, Host>, address: i32, key: i32| {
            enter(&mut caller, 1040)?;
            let (address, key) = (Guest(&mut caller).address(address)?, Guest(&mut caller).bytes(key)?);
            let value = caller.data_mut().context().data(&address, &key)?;
            Guest(&mut caller).give_bytes(&value)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_has_data_for",
        |mut caller: Caller<'_, Host>, address: i32, key: i32| {
            enter(&mut caller, 845)?;
            let (address, key) = (Guest(&mut caller).address(address)?, Guest(&mut caller).bytes(key)?);
            has_data(caller.data_mut().context(), address, &key)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_delete_data_for",
        |mut caller: Caller<'_, Host>, address: i32, key: i32| {
            enter(&mut caller, 980)?;
            let (address, key) = (Guest(&mut caller).address(address)?, Guest(&mut caller).bytes(key)?);
            let context = caller.data_mut().context();
            context.check_owned(&address)?;
            Ok(context.delete_data(address, key)?)
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_keys_for",
        |mut caller: Caller<'_, Host>, address: i32, prefix: i32| {
            enter(&mut caller, 1000)?;
            let (address, prefix) = (Guest(&mut caller).address(address)?, Guest(&mut caller).bytes(prefix)?);
            let keys = caller.data_mut().context().data_keys(&address, &prefix)?;
            Guest(&mut caller).give_bytes(&key_list(&keys))
        },
    )?;
    Ok(())
}

/// The datastore of the operation.
fn add_operation(linker: &mut Linker<Host>) -> Result<()> {
    linker.func_wrap(
        MASSA,
        "assembly_script_has_op_key",
        |mut caller: Caller<'_, Host>, key: i32| {
            enter(&mut caller, 1455)?;
            let key = Guest(&mut caller).bytes(key)?;
            let has = operation_datastore(caller.data_mut().context())?.contains_key(&key);
            Guest(&mut caller).give_bytes(&[u8::from(has)])
        },
    )?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_op_data",
        |mut caller: Caller<'_, Host>, key: i32| {
            enter(&mut caller, 50_000)?;
            let key = Guest(&mut caller).bytes(key)?;
            let value = operation_datastore(caller.data_mut().context())?.get(&key).cloned();
            match value {
                Some(value) => Guest(&mut caller).give_bytes(&value),
                None => Ok(refused(format!("the operation has no entry {key:02x?}"))?),
            }
        },
    )?;
    linker.func_wrap(MASSA, "assembly_script_get_op_keys", |mut caller: Caller<'_, Host>| {
        enter(&mut caller, 1400)?;
        let keys = key_list(operation_datastore(caller.data_mut().context())?.keys());
        Guest(&mut caller).give_bytes(&keys)
    })?;
    linker.func_wrap(
        MASSA,
        "assembly_script_get_op_keys_prefix",
        |mut caller: Caller<'_, Host>, prefix: i32| {
            enter(&mut caller, 1400)?;
            let prefix = Guest(&mut caller).bytes(prefix)?;
            let datastore = operation_datastore(caller.data_mut().context())?;
            let keys = key_list(datastore.keys().filter(|key| key.starts_with(&prefix)));
            Guest(&mut caller).give_bytes(&keys)
        },
    )?;
    Ok(())
}

fn has_data(context: &Context, address: Address, key: &[u8]) -> Result<i32> {
    let entry = context.state.entry(&address, key).map_err(Failure::from)?;
    Ok(i32::from(entry.is_some()))
}

fn operation_datastore(context: &Context) -> std::result::Result<&Datastore, Failure> {
    match &context.top()?.operation_datastore {
        Some(datastore) => Ok(datastore),
        None => refused("No datastore in stack"),
    }
}

/// number of keys (u32) | each: length (u8), key. Without keys: nothing.
fn key_list<'a>(keys: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let (mut count, mut list) = (0u32, vec![0; 4]);
    for key in keys {
        count += 1;
        list.push(u8::try_from(key.len()).expect("keys have at most 255 bytes"));
        list.extend_from_slice(key);
    }
    if count == 0 {
        return Vec::new();
    }
    list[..4].copy_from_slice(&count.to_le_bytes());
    list
}
