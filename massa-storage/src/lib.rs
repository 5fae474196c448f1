//! The node's memory of blocks, operations and endorsements, shared by all of its threads.
//!
//! A [`Storage`] is a handle: it owns references to some objects of a common store. An object stays for as long as at
//! least one handle owns a reference to it, and is freed with the last one. Whoever passes objects on, passes on a
//! handle that owns them.
//!
//! Owning a block does not own its operations or endorsements: whoever needs them claims them too. Nothing is
//! persisted.
//!
//! Left out: upstream's gauges of the number of stored objects.

mod block_indexes;
mod endorsement_indexes;
mod operation_indexes;
mod owned_objects;
mod storage;

#[cfg(test)]
mod tests;

pub use block_indexes::BlockIndexes;
pub use endorsement_indexes::EndorsementIndexes;
pub use operation_indexes::OperationIndexes;
pub use storage::Storage;
