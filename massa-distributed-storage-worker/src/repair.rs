//! Obtaining from peers what this node lacks, and letting go of what others hold.
//!
//! Planners, all pure (what is here, peers, placement and time in; actions out): [`tables`] below the anchor, [`periods`] above it,
//! [`chunks`] that are assigned and not held, [`handover_segment`], [`refetch_segment`] of what is not as it was accepted,
//! [`lost_segment`], [`scrub`]. [`driver`] puts them together, [`thread`] runs it.

pub mod assigned;
pub mod checkpoint;
pub mod chunk_check;
pub mod chunks;
pub mod driver;
pub mod handover_segment;
pub mod lost_segment;
pub mod memory;
pub mod periods;
pub mod progress;
pub mod refetch_segment;
pub mod scrub;
pub mod tables;
pub mod thread;
pub mod writing;
