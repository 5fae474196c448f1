//! Values that all nodes of a network share.

pub mod constants;

pub use constants::*;
