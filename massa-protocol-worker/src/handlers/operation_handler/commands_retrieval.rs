//! What the thread that fetches operations is told.

/// A command to the thread that fetches operations.
#[derive(Clone, Copy, Debug)]
pub enum OperationHandlerRetrievalCommand {
    /// End.
    Stop,
}
