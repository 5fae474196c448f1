//! What goes into execution and what comes out.

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::slot::Slot;
use massa_storage::Storage;

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
