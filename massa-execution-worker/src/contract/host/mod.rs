//! The functions that contracts import.
//!
//! Each takes its price first. Strings are UTF-16 and buffers are bytes, both with their length in the four bytes
//! before them. Left out, so that a module that imports them is refused: messages, deferred calls, Ethereum's signatures.

mod calls;
mod chain;
mod datastore;
mod environment;
mod hashes;
mod memory;

pub(super) use memory::Guest;

use super::context::{Context, Failure};
use super::gas::price;
use super::limits::Limits;
use massa_models::address::Address;
use std::str::FromStr;
use wasmtime::{AsContextMut, Caller, Linker, Memory, TypedFunc};

/// The module that upstream's functions are imported from, and what their names begin with.
const MASSA: &str = "massa";

/// What an instance carries.
pub(crate) struct Host {
    /// Away while an instance called from this one runs.
    context: Option<Box<Context>>,
    memory: Option<Memory>,
    new: Option<TypedFunc<(i32, i32), i32>>,
    pin: Option<TypedFunc<i32, i32>>,
    is_started: bool,
    pub(super) limits: Limits,
}

impl Host {
    pub(super) fn new(context: Box<Context>) -> Self {
        Self {
            context: Some(context),
            ..Self::idle()
        }
    }

    /// For a store in which nothing runs.
    pub(super) fn idle() -> Self {
        Self {
            context: None,
            memory: None,
            new: None,
            pin: None,
            is_started: false,
            limits: Limits,
        }
    }

    /// From now on host functions may be called.
    pub(super) fn start(
        &mut self,
        memory: Option<Memory>,
        new: Option<TypedFunc<(i32, i32), i32>>,
        pin: Option<TypedFunc<i32, i32>>,
    ) {
        (self.memory, self.new, self.pin) = (memory, new, pin);
        self.is_started = true;
    }

    pub(super) fn into_context(self) -> Box<Context> {
        self.context.expect("a context comes back before its instance ends")
    }

    fn context(&mut self) -> &mut Context {
        self.context
            .as_mut()
            .expect("no instance runs while its context is away")
    }
}

/// All host functions.
pub(super) fn linker(engine: &wasmtime::Engine) -> Result<Linker<Host>, wasmtime::Error> {
    let mut linker = Linker::new(engine);
    calls::add(&mut linker)?;
    chain::add(&mut linker)?;
    datastore::add(&mut linker)?;
    environment::add(&mut linker)?;
    hashes::add(&mut linker)?;
    Ok(linker)
}

/// Takes the price of a host function.
fn enter(caller: &mut Caller<'_, Host>, table_price: u64) -> Result<(), wasmtime::Error> {
    if !caller.data().is_started {
        let reason = "host functions are not available during instantiation";
        return Err(Failure::Refused(reason.to_string()).into());
    }
    take_gas(caller, price(table_price))
}

fn take_gas(store: &mut impl AsContextMut<Data = Host>, gas: u64) -> Result<(), wasmtime::Error> {
    let mut store = store.as_context_mut();
    match store.get_fuel()?.checked_sub(gas) {
        Some(left) => store.set_fuel(left),
        None => {
            store.set_fuel(0)?;
            Err(Failure::OutOfGas.into())
        }
    }
}

fn parse_address(text: &str) -> Result<Address, Failure> {
    Address::from_str(text).map_err(|error| Failure::Refused(format!("address {text:?}: {error}")))
}
