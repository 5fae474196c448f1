//! A lean Massa node with an archive: settings, genesis file, start and stop.
//!
//! Every part is a crate of its own; here they are put together. The binary reads the settings, starts the node and waits
//! for a signal.

mod alarms;
pub mod causes;
mod descriptors;
pub mod distributed_storage;
pub mod genesis;
pub mod launch;
mod memory;
mod metrics;
pub mod settings;
pub mod sync;
