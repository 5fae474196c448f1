//! Events of contracts.

use crate::address::Address;
use crate::block_id::BlockId;
use crate::operation::OperationId;
use crate::slot::Slot;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

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
