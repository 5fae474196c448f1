//! What this node gives away: to peers ([`to_peers`]), and to its own API and to a node that catches up ([`to_readers`]).
//!
//! A read of a slot takes it from this node's rows or chunks, else from others: [`period_read`] decides what is asked for and
//! who is to blame, [`asking`] asks. An id is led to its slot by [`lookup`]. What was read is proven by [`proofs`].
//!
//! Nothing here writes to the store.

pub mod asking;
mod body_pages;
mod complete;
pub mod lookup;
pub mod period_read;
pub mod proofs;
pub mod to_peers;
pub mod to_readers;
