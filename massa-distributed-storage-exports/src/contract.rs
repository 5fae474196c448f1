//! What the extension asks of its host to read a contract's final state and to send operations.
//!
//! Called by the client of the registry contract (`massa-distributed-storage-worker/src/smart_contract/client.rs`); implemented
//! by the node, from its execution controller, wallet, pool and protocol. Signing stays with the host: no key comes in here.

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::operation::{Operation, OperationId, OperationType};
use massa_models::slot::Slot;
use std::fmt::Debug;

/// What became of an operation. `Some(true)`: executed with success; `Some(false)`: executed and failed, its fee paid; `None`:
/// not executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationStatus {
    /// In the candidate state.
    pub candidate: Option<bool>,
    /// In the final state: this does not change any more.
    pub final_status: Option<bool>,
}

/// What contracts said while an operation was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OperationEvent {
    /// The text.
    pub data: String,
    /// Whether it tells why the operation failed.
    pub is_error: bool,
}

/// Bounds of the operations that this node accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OperationLimits {
    /// The chain, for texts that are signed.
    pub chain_id: u64,
    /// Periods during which an operation may be included.
    pub validity_periods: u64,
    /// The least fee.
    pub minimal_fee: Amount,
    /// The most gas of an operation.
    pub max_gas: u64,
}

/// Why an operation was not sent, or would fail.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContractError {
    /// The contract refuses: asking again makes sense only when its state has changed.
    #[error("{0}")]
    Refused(String),
    /// This node cannot do it now.
    #[error("{0}")]
    Unavailable(String),
    /// The wallet of this node has no key of the address.
    #[error("the wallet of this node has no key of {0}")]
    MissingKey(Address),
}

/// A chain with contracts. Every function returns at once, or after the time that one execution takes.
pub trait ContractHost: Send + Sync + Debug {
    /// The last slot of the final state.
    fn final_slot(&self) -> Slot;

    /// The period that the clock says is on.
    fn current_period(&self) -> u64;

    /// Bounds of operations.
    fn limits(&self) -> OperationLimits;

    /// Values of a contract's datastore, in the order of `keys`, all of one final state. `None` where there is no entry.
    fn final_entries(&self, contract: &Address, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>>;

    /// Keys of a contract's datastore in final state that begin with `prefix`, ascending, after `after`, at most `count`.
    fn final_keys(&self, contract: &Address, prefix: &[u8], after: Option<&[u8]>, count: usize) -> Vec<Vec<u8>>;

    /// Coins of an address in final state; `None` if it is unknown.
    fn final_balance(&self, address: &Address) -> Option<Amount>;

    /// What became of an operation.
    fn operation_status(&self, id: &OperationId) -> OperationStatus;

    /// What contracts said in an operation, while the node remembers.
    fn operation_events(&self, id: &OperationId) -> Vec<OperationEvent>;

    /// Gas that an operation of `from` would take on the candidate state. Its own gas limit does not matter.
    ///
    /// # Errors
    /// [`ContractError::Refused`] with the contract's text; [`ContractError::Unavailable`].
    fn estimate_gas(&self, from: &Address, operation: &OperationType) -> Result<u64, ContractError>;

    /// Signs an operation in the name of `from`, tells it to the peers and keeps it until it is included.
    ///
    /// # Errors
    /// [`ContractError::MissingKey`], [`ContractError::Unavailable`].
    fn send(&self, from: &Address, operation: Operation) -> Result<OperationId, ContractError>;
}
