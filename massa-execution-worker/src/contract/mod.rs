//! Execution of contracts: WebAssembly modules on wasmtime, with upstream's host functions.
//!
//! A call gets a fresh instance. What contracts change is in the [`Context`], which wanders from a call to the calls
//! that it makes and back. All limits are here or in `massa-models`; all of them end a call with an error, and with the
//! call the operation.

mod context;
mod engine;
mod gas;
mod host;
mod ledger_access;
mod limits;
mod run;
#[cfg(test)]
mod tests;

pub(crate) use context::{Context, Failure, Origin};
pub(crate) use engine::{prepare_thread, Engine};
pub(crate) use gas::{COMPILATION_GAS, LOAD_GAS};
pub(crate) use run::{call_contract, execute_bytecode, EXECUTION_STACK_BYTES};
