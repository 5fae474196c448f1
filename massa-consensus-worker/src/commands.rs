//! What the controller asks of the thread.

use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::slot::Slot;
use massa_storage::Storage;

/// A request to the consensus thread.
#[allow(clippy::large_enum_variant)] // Moved once into a bounded channel; a box would cost more than it saves.
pub(crate) enum ConsensusCommand {
    /// A whole block arrived.
    RegisterBlock(BlockId, Slot, Storage, bool),
    /// A header arrived.
    RegisterBlockHeader(BlockId, SecuredHeader),
    /// The operations of a block break a rule.
    MarkInvalidBlock(BlockId, SecuredHeader),
    /// The thread shall end.
    Stop,
}
