//! What consensus, protocol, production and API ask of the draws.

use crate::PosResult;
use massa_models::address::Address;
use massa_models::slot::Slot;

/// Who was drawn for a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Endorsers; empty where a network has none.
    pub endorsements: Vec<Address>,
    /// The producer.
    pub producer: Address,
}

/// Draws for slots.
pub trait SelectorController: Send + Sync {
    /// Who was drawn for `slot`.
    ///
    /// # Errors
    /// [`PosError`](crate::PosError) when nobody can be drawn.
    fn get_selection(&self, slot: Slot) -> PosResult<Selection>;

    /// Who produces the block of `slot`.
    ///
    /// # Errors
    /// As [`SelectorController::get_selection`].
    fn get_producer(&self, slot: Slot) -> PosResult<Address>;

    /// A second handle.
    fn clone_box(&self) -> Box<dyn SelectorController>;
}

impl Clone for Box<dyn SelectorController> {
    fn clone(&self) -> Self {
        self.clone_box()
    }
}
