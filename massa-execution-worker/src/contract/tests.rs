//! Gas, counted by hand.

use super::gas::{LAUNCH_GAS, LOAD_GAS};
use super::*;
use crate::execute::Outcome;
use crate::ledger::LedgerError;
use crate::state::{Bytes, KeyRange, Speculative, StateView};
use massa_execution_exports::ExecutionStackElement;
use massa_hash::Hash;
use massa_models::address::{Address, SCAddress, SCAddressV0};
use massa_models::amount::Amount;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use std::collections::BTreeSet;
use std::sync::Arc;

/// There is one contract, with some coins.
struct OneContract(Bytes);

impl StateView for OneContract {
    fn balance(&self, _: &Address) -> Result<Option<Amount>, LedgerError> {
        Ok(Some(Amount::from_raw(1 << 50)))
    }

    fn entry(&self, _: &Address, _: &[u8]) -> Result<Option<Bytes>, LedgerError> {
        Ok(None)
    }

    fn keys(&self, _: &Address, _: &KeyRange, _: usize) -> Result<BTreeSet<Vec<u8>>, LedgerError> {
        Ok(BTreeSet::new())
    }

    fn bytecode(&self, _: &Address) -> Result<Option<Bytes>, LedgerError> {
        Ok(Some(Arc::clone(&self.0)))
    }

    fn outcome(&self, _: &OperationId) -> Option<Outcome> {
        None
    }

    fn supply(&self) -> Amount {
        Amount::MAX
    }
}

const GAS: u64 = 10_000_000;

fn context(bytecode: Vec<u8>, gas: u64) -> Box<Context> {
    let origin = Origin {
        chain_id: 77,
        slot: Slot::new(500, 0),
        time_ms: 1_000_000,
        block: None,
        read_only: true,
    };
    let view = Arc::new(OneContract(bytecode.into()));
    let mut context = Context::new(Arc::new(Engine::new().unwrap()), origin, Speculative::new(view));
    let address = Address::SC(SCAddress::SCAddressV0(SCAddressV0(Hash::from_bytes(&[3; 32]))));
    let element = ExecutionStackElement {
        address,
        coins: Amount::zero(),
        owned_addresses: vec![address],
        operation_datastore: None,
    };
    context.begin(None, vec![element], gas);
    context
}

/// Gas that a function of a module uses.
fn gas_of(module: &str, function: &str) -> u64 {
    let (context, result) = call_contract(context(wat::parse_str(module).unwrap(), GAS), function, &[]);
    result.unwrap();
    GAS - context.gas
}

const MODULE: &str = r#"(module
    (import "massa" "assembly_script_get_current_thread" (func $thread (result i32)))
    (memory (export "memory") 1)
    (func (export "nothing"))
    (func (export "five") i32.const 1 i32.const 2 i32.add drop)
    (func (export "host") call $thread drop)
    (func (export "fill") i32.const 0 i32.const 1 i32.const 1000 memory.fill)
    (func (export "loop") (local $i i32)
        (loop $again
            (local.set $i (i32.add (local.get $i) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $i) (i32.const 100))))))"#;

/// What the compiler takes for entering a function.
const ENTRY: u64 = 1;

#[test]
fn every_operator_costs_the_same_and_a_host_function_its_price_beside() {
    let base = LAUNCH_GAS + ENTRY;
    assert_eq!(gas_of(MODULE, "nothing"), base + 23);
    assert_eq!(gas_of(MODULE, "five"), base + 5 * 23);
    assert_eq!(gas_of(MODULE, "host"), base + 3 * 23 + 770);
    assert_eq!(gas_of(MODULE, "fill"), base + 5 * 23 + 1000);
    // loop, a hundred times eight operators, two ends.
    assert_eq!(gas_of(MODULE, "loop"), base + (1 + 100 * 8 + 2) * 23);
}

#[test]
fn a_module_is_loaded_with_enough_gas_only_and_what_is_used_up_is_gone() {
    let bytecode = wat::parse_str(r#"(module (func (export "f") (loop $again (br $again))))"#).unwrap();
    let (context_left, result) = call_contract(context(bytecode.clone(), LOAD_GAS - 1), "f", &[]);
    assert!(matches!(result, Err(Failure::OutOfGas)));
    assert_eq!(context_left.gas, LOAD_GAS - 1);
    let (context_left, result) = call_contract(context(bytecode, GAS), "f", &[]);
    assert!(matches!(result, Err(Failure::OutOfGas)));
    assert_eq!(context_left.gas, 0);
}
