//! Settings of execution.

use massa_execution_exports::ExecutionError;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_time::MassaTime;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Settings of execution. All but the path are the network's: two nodes that differ in one disagree on balances.
#[derive(Clone, Debug)]
pub struct ExecutionConfig {
    /// Directory of the ledger, created if it is not there. Nothing else may be in it.
    pub path: PathBuf,
    /// The network.
    pub chain_id: u64,
    /// Threads; a power of two.
    pub thread_count: u8,
    /// Hash of the genesis file: a ledger made with another one is refused.
    pub genesis_id: [u8; 32],
    /// Balances before the first slot.
    pub genesis_ledger: BTreeMap<Address, Amount>,
    /// Rolls of each address. They do not change.
    pub rolls: BTreeMap<Address, u64>,
    /// Periods before its last one in which an operation may be included.
    pub operation_validity_periods: u64,
    /// Periods for which final blocks are kept for the next start. The last one of each thread is kept in any case.
    pub keep_final_blocks_periods: u64,
    /// Created with each block, for its producer.
    pub block_reward: Amount,
    /// Length of a period.
    pub t0: MassaTime,
    /// When the first slot begins: contracts are told the time of their slot.
    pub genesis_timestamp: MassaTime,
}

impl ExecutionConfig {
    /// Checks every range. Returns the sum of all balances.
    pub(crate) fn check(&self) -> Result<Amount, ExecutionError> {
        if !self.thread_count.is_power_of_two() {
            return Err(ExecutionError::Config {
                field: "thread_count",
                reason: format!("{} is not a power of two", self.thread_count),
            });
        }
        let sum = |sum: Amount, balance: &Amount| sum.checked_add(*balance);
        let supply = self.genesis_ledger.values().try_fold(Amount::zero(), sum);
        supply.ok_or_else(|| ExecutionError::Config {
            field: "genesis_ledger",
            reason: format!("the sum of all balances is above {}", Amount::MAX),
        })
    }
}
