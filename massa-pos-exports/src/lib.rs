//! Who may produce a block.
//!
//! Weights come from the genesis file and do not change: rolls are not bought or sold here. The draws need no history, so
//! that a node can check a header as soon as it knows the genesis file.

mod controller_traits;
mod error;
mod selector;

pub use controller_traits::{Selection, SelectorController};
pub use error::{PosError, PosResult};
pub use selector::StakeSelector;
