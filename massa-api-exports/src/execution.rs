//! Events of contracts.

use massa_models::address::Address;
use massa_models::block_id::BlockId;
use massa_models::operation::OperationId;
use massa_models::slot::Slot;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Which events; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct EventFilter {
    /// From this slot on.
    pub start: Option<Slot>,
    /// Before this slot.
    pub end: Option<Slot>,
    /// Of this address.
    pub emitter_address: Option<Address>,
    /// Of a call by this address.
    pub original_caller_address: Option<Address>,
    /// Of this operation.
    pub original_operation_id: Option<OperationId>,
    /// Final, or not.
    pub is_final: Option<bool>,
    /// Of a failure, or not.
    pub is_error: Option<bool>,
}

/// An event.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct SCOutputEvent {
    /// Where it happened.
    pub context: EventExecutionContext,
    /// What the contract said.
    pub data: String,
}

/// Where an event happened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct EventExecutionContext {
    /// The slot.
    pub slot: Slot,
    /// Its block, if there is one.
    pub block: Option<BlockId>,
    /// Nothing was changed.
    pub read_only: bool,
    /// Position among the events of the slot.
    pub index_in_slot: u64,
    /// Who called whom; the last one emitted the event.
    pub call_stack: VecDeque<Address>,
    /// The operation.
    pub origin_operation_id: Option<OperationId>,
    /// The slot is final.
    pub is_final: bool,
    /// The event tells a failure.
    pub is_error: bool,
    /// The deferred call.
    pub deferred_call_id: Option<String>,
    /// The asynchronous message.
    pub async_msg_id: Option<String>,
}
