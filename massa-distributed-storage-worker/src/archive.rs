//! From final blocks to closed segments.
//!
//! Consensus hands blocks to the thread of [`crate::worker`], which drives [`ingest`], the store's one writer: it settles slots ([`slots`]), joins
//! complete periods to the stream of their segment ([`crate::chunking::segment`]) and closes segments. What cannot be settled
//! here, repair is told ([`missing`]); what repair obtained comes back as [`crate::commands`].

mod content;
pub mod ingest;
pub mod lines;
pub mod missing;
pub mod rows;
pub mod slots;
pub mod status;
pub mod upkeep;
pub(crate) mod writing;

pub(crate) use writing::forget_backups;
