//! Errors of production.

use massa_models::error::ModelsError;

/// Why production did not start.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum FactoryError {
    /// No slot can be computed from the thread count, the period and the time of the genesis.
    #[error("slots cannot be computed: {0}")]
    Slots(#[from] ModelsError),
    /// The system did not start the thread.
    #[error("could not start the factory thread")]
    Thread(#[source] std::io::Error),
}
