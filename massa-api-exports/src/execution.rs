//! Events of contracts.

pub use massa_models::execution::EventFilter;
pub use massa_models::output_event::{EventExecutionContext, SCOutputEvent};
