//! What the thread that announces operations is told.

use massa_storage::Storage;

/// A command to the thread that announces operations.
#[derive(Clone, Debug)]
pub enum OperationHandlerPropagationCommand {
    /// End.
    Stop,
    /// Announce the operations that the storage claims.
    PropagateOperations(Storage),
}
