//! What goes into execution and what comes out.

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::datastore::Datastore;
use massa_models::output_event::SCOutputEvent;
use massa_models::slot::Slot;
use massa_storage::Storage;
use std::ops::Bound;

/// Nodes compare their final states once in so many periods: every two minutes where periods have 16 s.
pub const STATE_CHECKPOINT_PERIODS: u64 = 8;

/// What execution needs to know of a block beside its id.
#[derive(Clone)]
pub struct ExecutionBlockMetadata {
    /// The creator of the parent in the block's own thread.
    pub same_thread_parent_creator: Option<Address>,
    /// Claims the block and its operations. `None` when the block was handed over before.
    pub storage: Option<Storage>,
}

/// What execution knows of an address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionAddressInfo {
    /// Balance after the executed candidate slots.
    pub candidate_balance: Amount,
    /// Balance after the executed final slots.
    pub final_balance: Amount,
    /// Rolls after the executed candidate slots.
    pub candidate_roll_count: u64,
    /// Rolls after the executed final slots.
    pub final_roll_count: u64,
    /// Keys of the datastore after the executed candidate slots.
    pub candidate_datastore_keys: Vec<Vec<u8>>,
    /// Keys of the datastore after the executed final slots.
    pub final_datastore_keys: Vec<Vec<u8>>,
}

/// How far execution is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExecutionStats {
    /// The last slot executed, final or not.
    pub active_cursor: Slot,
    /// The last final slot executed.
    pub final_cursor: Slot,
}

/// A final block as the ledger's database keeps it for the next start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalBlock {
    /// Its slot.
    pub slot: Slot,
    /// `SecureShareBlock` bytes.
    pub block: Vec<u8>,
    /// `SecureShareOperation` bytes of its operations, in the block's order.
    pub operations: Vec<Vec<u8>>,
}

/// Someone in the call stack of an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecutionStackElement {
    /// Who.
    pub address: Address,
    /// Coins that came with the call.
    pub coins: Amount,
    /// Addresses whose balance and datastore it may change.
    pub owned_addresses: Vec<Address>,
    /// The datastore of the operation: at the bottom of `ExecuteSC` only.
    pub operation_datastore: Option<Datastore>,
}

/// What a read-only execution runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadOnlyExecutionTarget {
    /// The `main` function of a module.
    BytecodeExecution(Vec<u8>),
    /// A function of a contract.
    FunctionCall {
        /// The contract.
        target_addr: Address,
        /// The function.
        target_func: String,
        /// Its parameter.
        parameter: Vec<u8>,
    },
}

/// An execution on the candidate state, at the slot after it, that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOnlyExecutionRequest {
    /// Most gas it may use.
    pub max_gas: u64,
    /// Who calls whom. For a function call: the caller, then the contract.
    pub call_stack: Vec<ExecutionStackElement>,
    /// What is run.
    pub target: ReadOnlyExecutionTarget,
    /// Coins that the caller sends along. `None`: none, and its balance is not looked at.
    pub coins: Option<Amount>,
    /// Fee that the caller pays before. `None`: none.
    pub fee: Option<Amount>,
}

/// What a read-only execution did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOnlyExecutionOutput {
    /// The slot it was executed at.
    pub slot: Slot,
    /// Gas used, never below the least that loads a module.
    pub gas_cost: u64,
    /// What the function returned, or why it failed.
    pub call_result: Result<Vec<u8>, String>,
    /// What the contracts said.
    pub events: Vec<SCOutputEvent>,
}

/// Which keys of a datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatastoreKeysRequest {
    /// Whose.
    pub address: Address,
    /// After the final slots; else after the candidate slots.
    pub is_final: bool,
    /// What the keys begin with.
    pub prefix: Vec<u8>,
    /// Where to begin.
    pub start: Bound<Vec<u8>>,
    /// Where to end.
    pub end: Bound<Vec<u8>>,
    /// Most keys.
    pub count: usize,
}
