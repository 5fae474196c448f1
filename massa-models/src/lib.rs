//! Slots, amounts, addresses, operations, endorsements, headers and blocks, with upstream's exact bytes.
//!
//! Modules, names and encodings are those of upstream's crate of the same name; what the archive and a lean node do not
//! need is left out (asynchronous messages, deferred calls, bootstrap cursors, statistics, gRPC mapping).
//!
//! Two kinds of functions do not check everything a name may suggest. Parsing a signed object ([`secure_share`])
//! recomputes its id but verifies no signature. Parsing a block checks its shape, not its operation root.

pub mod active_block;
pub mod address;
pub mod amount;
pub mod block;
pub mod block_header;
pub mod block_id;
pub mod clique;
pub mod config;
pub mod datastore;
pub mod denunciation;
pub mod endorsement;
pub mod error;
pub mod execution;
mod id;
pub mod node;
pub mod operation;
pub mod output_event;
pub mod prehash;
pub mod secure_share;
pub mod serialization;
pub mod slot;
pub mod timeslots;
pub mod version;
