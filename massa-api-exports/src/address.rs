//! Addresses.

use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::block_id::BlockId;
use massa_models::endorsement::EndorsementId;
use massa_models::operation::OperationId;
use massa_models::slot::{IndexedSlot, Slot};
use serde::{Deserialize, Serialize};

/// What is known of an address.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct AddressInfo {
    /// The address.
    pub address: Address,
    /// The thread whose blocks take its operations.
    pub thread: u8,
    /// Balance after the executed final slots.
    pub final_balance: Amount,
    /// Rolls after the executed final slots.
    pub final_roll_count: u64,
    /// Keys of its datastore after the executed final slots.
    pub final_datastore_keys: Vec<Vec<u8>>,
    /// Balance after the executed slots.
    pub candidate_balance: Amount,
    /// Rolls after the executed slots.
    pub candidate_roll_count: u64,
    /// Keys of its datastore after the executed slots.
    pub candidate_datastore_keys: Vec<Vec<u8>>,
    /// Coins that it gets later. None here.
    pub deferred_credits: Vec<DeferredCredit>,
    /// The next slots whose block it may produce.
    pub next_block_draws: Vec<Slot>,
    /// The next slots that it may endorse.
    pub next_endorsement_draws: Vec<IndexedSlot>,
    /// Blocks that it produced and the node still has.
    pub created_blocks: Vec<BlockId>,
    /// Operations that it sent and the node still has.
    pub created_operations: Vec<OperationId>,
    /// Endorsements that it made and the node still has.
    pub created_endorsements: Vec<EndorsementId>,
    /// How it produced in the last cycles. Not kept here.
    pub cycle_infos: Vec<AddressCycleInfo>,
}

/// Coins that an address gets at a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct DeferredCredit {
    /// The slot.
    pub slot: Slot,
    /// How many.
    pub amount: Amount,
}

/// How an address produced in a cycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AddressCycleInfo {
    /// The cycle.
    pub cycle: u64,
    /// Its slots are final.
    pub is_final: bool,
    /// Slots with a block.
    pub ok_count: u64,
    /// Slots without one.
    pub nok_count: u64,
    /// Rolls that the draws were made with.
    pub active_rolls: Option<u64>,
}

/// An address, after which slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct AddressFilter {
    /// The address.
    pub address: Address,
    /// After the executed final slots; else after the executed slots.
    pub is_final: bool,
}
