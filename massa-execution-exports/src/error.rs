//! Errors of execution.

/// Why execution did not start, or does not answer.
#[non_exhaustive]
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExecutionError {
    /// The ledger's database failed.
    #[error("ledger: {0}")]
    Ledger(String),
    /// The ledger in the directory belongs to another network.
    #[error("the ledger in {path} was made with {name} {stored}, this node is configured with {configured}")]
    Mismatch {
        /// The directory.
        path: String,
        /// What differs.
        name: &'static str,
        /// Value in the ledger.
        stored: String,
        /// Value configured.
        configured: String,
    },
    /// A setting is not usable.
    #[error("{field}: {reason}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A request is not acceptable.
    #[error("{field}: {reason}")]
    Request {
        /// The part of the request.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// This node lacks memory, a descriptor or a thread. The request is not to blame; later, or elsewhere, it can end
    /// otherwise.
    #[error("this node lacks what it needs to execute, the request is not to blame: {0}")]
    Shortage(String),
    /// The system did not start the thread.
    #[error("could not start the execution thread: {0}")]
    Thread(String),
}
