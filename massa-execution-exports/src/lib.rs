//! What the node asks of execution and its ledger.

mod controller_traits;
mod error;
mod types;

pub use controller_traits::{
    ExecutionController, ExecutionManager, FilteredEvents, FinalAndCandidateBytes, FinalPeriod,
};
pub use error::ExecutionError;
pub use types::{
    DatastoreKeysRequest, ExecutionAddressInfo, ExecutionBlockMetadata, ExecutionStackElement, ExecutionStats,
    FinalBlock, ReadOnlyExecutionOutput, ReadOnlyExecutionRequest, ReadOnlyExecutionTarget, STATE_CHECKPOINT_PERIODS,
};
