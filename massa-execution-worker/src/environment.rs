//! What keeps this node from executing.

use crate::ledger::LedgerError;
use massa_execution_exports::ExecutionError;

/// This node cannot execute now. It says nothing about the block or the operation: another node, or this one later, can.
/// So it is never an outcome, or nodes would disagree on the state.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum EnvironmentError {
    #[error("ledger: {0}")]
    Ledger(#[from] LedgerError),
    /// The system refused memory, a descriptor or a thread, or the engine failed in a way that no module explains.
    #[error("this node lacks what it needs to execute: {0}")]
    Shortage(String),
}

impl From<EnvironmentError> for ExecutionError {
    fn from(error: EnvironmentError) -> Self {
        match error {
            EnvironmentError::Ledger(error) => error.into(),
            EnvironmentError::Shortage(reason) => ExecutionError::Shortage(reason),
        }
    }
}
