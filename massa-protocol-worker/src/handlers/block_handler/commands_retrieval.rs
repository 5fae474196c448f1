//! What the thread that fetches blocks is told.

use massa_models::block_header::SecuredHeader;
use massa_models::block_id::BlockId;
use massa_models::prehash::{PreHashMap, PreHashSet};

/// A command to the thread that fetches blocks.
#[derive(Clone, Debug)]
pub enum BlockHandlerRetrievalCommand {
    /// End.
    Stop,
    /// What consensus needs changed.
    WishlistDelta {
        /// Needed from now on, with the header where it is there.
        new: PreHashMap<BlockId, Option<SecuredHeader>>,
        /// Not needed any more.
        remove: PreHashSet<BlockId>,
    },
}
