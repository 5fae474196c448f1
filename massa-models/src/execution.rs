//! What events are asked for.

use crate::address::Address;
use crate::operation::OperationId;
use crate::slot::Slot;
use serde::{Deserialize, Serialize};

/// Which events; what is absent does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default)]
pub struct EventFilter {
    /// From this slot on.
    pub start: Option<Slot>,
    /// Before this slot.
    pub end: Option<Slot>,
    /// Of this address: the last one of the call stack.
    pub emitter_address: Option<Address>,
    /// Of a call by this address: the first one of the call stack.
    pub original_caller_address: Option<Address>,
    /// Of this operation.
    pub original_operation_id: Option<OperationId>,
    /// Final, or not.
    pub is_final: Option<bool>,
    /// Of a failure, or not.
    pub is_error: Option<bool>,
}
