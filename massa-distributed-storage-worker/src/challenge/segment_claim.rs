//! The claim over chunks of segments, kept up to date as they come and go.
//!
//! A claim is a Merkle-sum tree of depth 40 over positions (`segment 24 bits | chunk 16`), almost all of them empty: see
//! [`crate::challenge::sums`]. It is never built from nothing. Each segment of which something is claimed has a row ([`row`])
//! beside its held bitmap; the 24 levels above the segments are kept in memory ([`upper`]) and computed from the rows when the
//! node starts. A change of one segment costs the hashes of the groups of 256 chunks that it touches, eight levels above them, and
//! 24 more. Chunk ids are not kept a second time: they are in the segment's table.
//!
//! A claim that was sent must be provable until its round is over, while chunks come and go ([`book`]): the upper levels share
//! what did not change, and a row is copied aside the first time it changes after a claim. What a claim keeps is what changed
//! since, never the whole.
//!
//! Everything here is pure: rows are read through [`ClaimStore`] and written by whoever owns the store, in the batch of the change
//! itself.

pub mod book;
pub mod chunk_set;
pub mod row;
pub mod upper;

pub use book::{
    Change, ClaimBatch, ClaimBook, ClaimError, ClaimStore, Drawn, Opened, RowRead, SealError, SentClaim, StaleChange,
};
pub use chunk_set::ChunkSet;
pub use row::{RowError, SegmentRow};
pub use upper::UpperTree;

use massa_distributed_storage_exports::types::ChunkPosition;
use massa_distributed_storage_exports::ChunkId;

/// A chunk that is held, where it stands in a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldChunk {
    /// Where it stands.
    pub position: ChunkPosition,
    /// Its leaves, at least 1.
    pub leaves: u32,
    /// Its content address.
    pub id: ChunkId,
}
