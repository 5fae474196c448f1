//! What the worker thread is told.

use massa_distributed_storage_exports::manifest::ChunkEntry;
use massa_distributed_storage_exports::network::PageContent;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::ChunkIndex;
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::operation::SecureShareOperation;
use massa_models::slot::Slot;
use massa_storage::Storage;

/// A command to the worker thread.
pub enum DistributedStorageCommand {
    /// A block became final and consensus lets go of it. `content` claims the block and its operations.
    ArchiveFinalizedBlock {
        /// Its slot.
        slot: Slot,
        /// Its id.
        block_id: BlockId,
        /// The block and its operations.
        content: Storage,
    },
    /// Final blocks of one period with their operations, from a peer or a file. Slots without a block are settled by
    /// the links of later blocks, as ever.
    ArchivePeriod {
        /// The period.
        period: u64,
        /// Its blocks.
        blocks: Vec<SecureShareBlock>,
        /// Operations of these blocks, in any order.
        operations: Vec<SecureShareOperation>,
    },
    /// A block that was obtained from peers: believed because of its links, and verified.
    ArchiveBlock {
        /// Its slot.
        slot: Slot,
        /// The block and its operations.
        record: BlockRecord,
    },
    /// A chunk of an archived period that was obtained from peers; each page is known to belong to it.
    PutChunk {
        /// Its period.
        period: u64,
        /// Its position.
        chunk: ChunkIndex,
        /// Its length and id.
        entry: ChunkEntry,
        /// All of its pages, in order.
        pages: Vec<PageContent>,
    },
    /// End the thread.
    Stop,
}
