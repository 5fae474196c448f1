//! Blocks that the node has, but not in its shared memory any more.

use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::operation::SecureShareOperation;

/// Where the protocol looks for a block that a peer asks for and that the graph has let go of. Called on a thread of the
/// protocol that also takes blocks in: a look at the local disk is fine, a question to the network is not.
pub trait BlockArchive: Send + Sync {
    /// The block and its operations, in order; none if they are not on this machine.
    fn block(&self, id: &BlockId) -> Option<(SecureShareBlock, Vec<SecureShareOperation>)>;
}
