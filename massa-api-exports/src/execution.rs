//! Events of contracts, and executions that change nothing.

pub use massa_models::execution::EventFilter;
pub use massa_models::output_event::{EventExecutionContext, SCOutputEvent};

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::slot::Slot;
use serde::{Deserialize, Serialize};

/// A module whose `main` function is run.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReadOnlyBytecodeExecution {
    /// Most gas it may use.
    pub max_gas: u64,
    /// The module.
    pub bytecode: Vec<u8>,
    /// Who runs it; absent: somebody without coins.
    #[serde(default)]
    pub address: Option<Address>,
    /// The datastore of the operation, as it stands in one.
    #[serde(default)]
    pub operation_datastore: Option<Vec<u8>>,
    /// The fee that is paid before; absent: none.
    #[serde(default)]
    pub fee: Option<Amount>,
}

/// A function of a contract that is called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReadOnlyCall {
    /// Most gas it may use.
    pub max_gas: u64,
    /// The contract.
    pub target_address: Address,
    /// The function.
    pub target_function: String,
    /// Its parameter.
    pub parameter: Vec<u8>,
    /// Who calls; absent: somebody without coins.
    #[serde(default)]
    pub caller_address: Option<Address>,
    /// Coins that go with the call; absent: none, and the caller's balance is not looked at.
    #[serde(default)]
    pub coins: Option<Amount>,
    /// The fee that is paid before; absent: none.
    #[serde(default)]
    pub fee: Option<Amount>,
}

/// What an execution that changes nothing did.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ExecuteReadOnlyResponse {
    /// The slot at which it was executed.
    pub executed_at: Slot,
    /// What came out.
    pub result: ReadOnlyResult,
    /// What the contracts said.
    pub output_events: Vec<SCOutputEvent>,
    /// Gas that it used.
    pub gas_cost: u64,
    /// What it would have changed: not told by this node. An object without fields, since massa-web3 looks into it.
    pub state_changes: StateChanges,
}

/// How an execution ended.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ReadOnlyResult {
    /// It failed; why.
    Error(String),
    /// What the function returned.
    Ok(Vec<u8>),
}

/// See [`ExecuteReadOnlyResponse::state_changes`]. What upstream's node has in it is read over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub struct StateChanges {}
