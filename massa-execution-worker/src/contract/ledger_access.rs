//! What contracts and operations do to the state, and what storage costs.
//!
//! Storage is paid by the address that runs, whoever's datastore it is, and comes back to the address that runs when
//! the entry goes. The coins are taken out of balances meanwhile.

use super::context::{refused, Context, Failure};
use crate::state::{Bytes, KeyRange};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::{
    LEDGER_COST_PER_BYTE, LEDGER_ENTRY_BASE_COST, LEDGER_ENTRY_DATASTORE_BASE_SIZE, MAX_BYTECODE_LENGTH,
    MAX_DATASTORE_KEY_LENGTH, MAX_DATASTORE_VALUE_LENGTH,
};
use massa_models::datastore::get_prefix_bounds;
use std::collections::BTreeSet;
use std::sync::Arc;

/// Keys that one look-up of keys can give.
const KEYS_MAX: usize = 100_000;

impl Context {
    /// An address that the running contract may write to.
    pub(super) fn check_owned(&self, address: &Address) -> Result<(), Failure> {
        if self.top()?.owned_addresses.contains(address) {
            return Ok(());
        }
        refused(format!("no write access to {address}"))
    }

    /// Moves coins between addresses that both exist already.
    pub(crate) fn move_coins(&mut self, from: Address, to: Address, amount: Amount) -> Result<(), Failure> {
        self.take(from, amount)?;
        let Some(before) = self.state.balance(&to)? else {
            return refused(format!("there is no address {to}"));
        };
        self.give(to, before, amount)
    }

    /// Moves coins; a user's address that is not there is made, for its price.
    pub(super) fn transfer(&mut self, from: Address, to: Address, amount: Amount) -> Result<(), Failure> {
        if self.state.balance(&to)?.is_some() {
            return self.move_coins(from, to, amount);
        }
        if matches!(to, Address::SC(_)) {
            return refused(format!("there is no contract {to}"));
        }
        self.take(from, amount)?;
        let Some(left) = amount.checked_sub(LEDGER_ENTRY_BASE_COST) else {
            return refused(format!(
                "{amount} does not pay for the new address {to}, which costs {LEDGER_ENTRY_BASE_COST}"
            ));
        };
        self.state.set_balance(to, left);
        Ok(())
    }

    fn take(&mut self, from: Address, amount: Amount) -> Result<(), Failure> {
        let balance = self.state.balance(&from)?.unwrap_or_default();
        let Some(left) = balance.checked_sub(amount) else {
            return refused(format!("{from} has {balance}, and {amount} is needed"));
        };
        if !amount.is_zero() {
            self.state.set_balance(from, left);
        }
        Ok(())
    }

    fn give(&mut self, to: Address, before: Amount, amount: Amount) -> Result<(), Failure> {
        match before.checked_add(amount) {
            Some(after) if !amount.is_zero() => self.state.set_balance(to, after),
            Some(_) => {}
            None => return refused(format!("{to} cannot hold {amount} more")),
        }
        Ok(())
    }

    /// Charges the running address for storage that grows from `before` to `after` bytes, or pays it back.
    fn charge_storage(&mut self, before: usize, after: usize) -> Result<(), Failure> {
        let payer = self.current()?;
        let cost = |bytes: usize| match LEDGER_COST_PER_BYTE.checked_mul_u64(bytes as u64) {
            Some(cost) => Ok(cost),
            None => refused(format!("the price of {bytes} bytes is too large")),
        };
        if after >= before {
            return self.take(payer, cost(after - before)?);
        }
        let Some(balance) = self.state.balance(&payer)? else {
            return refused(format!("there is no address {payer}"));
        };
        self.give(payer, balance, cost(before - after)?)
    }

    /// Writes an entry of a datastore.
    pub(super) fn set_data(&mut self, address: Address, key: Vec<u8>, value: Vec<u8>) -> Result<(), Failure> {
        check_key(&key)?;
        if value.len() as u64 > MAX_DATASTORE_VALUE_LENGTH {
            return refused(format!(
                "a value of {} bytes, above {MAX_DATASTORE_VALUE_LENGTH}",
                value.len()
            ));
        }
        if self.state.balance(&address)?.is_none() {
            return refused(format!("there is no address {address}"));
        }
        let before = self.state.entry(&address, &key)?;
        let before = before.map_or(0, |value| entry_bytes(&key, &value));
        self.charge_storage(before, entry_bytes(&key, &value))?;
        self.state.set_entry(address, key, Some(value.into()));
        Ok(())
    }

    /// Writes behind the end of an entry.
    pub(super) fn append_data(&mut self, address: Address, key: Vec<u8>, value: &[u8]) -> Result<(), Failure> {
        let before = self.data(&address, &key)?;
        self.set_data(address, key, [&before[..], value].concat())
    }

    pub(super) fn delete_data(&mut self, address: Address, key: Vec<u8>) -> Result<(), Failure> {
        let before = self.data(&address, &key)?;
        self.charge_storage(entry_bytes(&key, &before), 0)?;
        self.state.set_entry(address, key, None);
        Ok(())
    }

    /// An entry that must be there.
    pub(super) fn data(&self, address: &Address, key: &[u8]) -> Result<Bytes, Failure> {
        check_key(key)?;
        match self.state.entry(address, key)? {
            Some(value) => Ok(value),
            None => refused(format!("{address} has no entry {}", hex(key))),
        }
    }

    /// All keys that begin with `prefix`.
    pub(super) fn data_keys(&self, address: &Address, prefix: &[u8]) -> Result<BTreeSet<Vec<u8>>, Failure> {
        let range: KeyRange = get_prefix_bounds(prefix);
        let keys = self.state.keys(address, &range, KEYS_MAX + 1)?;
        if keys.len() > KEYS_MAX {
            return refused(format!("more than {KEYS_MAX} keys"));
        }
        Ok(keys)
    }

    /// The bytecode of a contract that must be there.
    pub(super) fn contract(&self, address: &Address) -> Result<Bytes, Failure> {
        match self.state.bytecode(address)? {
            Some(bytecode) => Ok(bytecode),
            None => refused(format!("there is no contract {address}")),
        }
    }

    /// Makes a contract, which the running contract owns from now on.
    pub(super) fn create_contract(&mut self, bytecode: Vec<u8>) -> Result<Address, Failure> {
        check_bytecode(&bytecode)?;
        let payer = self.current()?;
        self.take(payer, LEDGER_ENTRY_BASE_COST)?;
        self.charge_storage(0, bytecode.len())?;
        let mut address = self.next_contract_address();
        while self.state.balance(&address)?.is_some() {
            address = self.next_contract_address();
        }
        self.state.set_balance(address, Amount::zero());
        self.state.set_bytecode(address, bytecode.into());
        if let Some(top) = self.stack.last_mut() {
            top.owned_addresses.push(address);
        }
        Ok(address)
    }

    pub(super) fn set_bytecode(&mut self, address: Address, bytecode: Vec<u8>) -> Result<(), Failure> {
        check_bytecode(&bytecode)?;
        let before = self.contract(&address)?.len();
        self.charge_storage(before, bytecode.len())?;
        self.state.set_bytecode(address, Arc::from(bytecode));
        Ok(())
    }
}

/// Bytes that an entry is charged for.
fn entry_bytes(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + LEDGER_ENTRY_DATASTORE_BASE_SIZE
}

fn check_key(key: &[u8]) -> Result<(), Failure> {
    if key.is_empty() || key.len() > usize::from(MAX_DATASTORE_KEY_LENGTH) {
        return refused(format!(
            "a key of {} bytes, not of 1 to {MAX_DATASTORE_KEY_LENGTH}",
            key.len()
        ));
    }
    Ok(())
}

fn check_bytecode(bytecode: &[u8]) -> Result<(), Failure> {
    if bytecode.len() as u64 > MAX_BYTECODE_LENGTH {
        return refused(format!(
            "bytecode of {} bytes, above {MAX_BYTECODE_LENGTH}",
            bytecode.len()
        ));
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
