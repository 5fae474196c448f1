//! What the worker thread is told.

use crate::assignments::Assignments;
use crate::handover::KeepClaimed;
use crate::storage_backend::{Store, StoreError};
use crossbeam_channel::Sender;
use massa_distributed_storage_exports::manifest::{ChunkEntry, Manifest};
use massa_distributed_storage_exports::network::PageContent;
use massa_distributed_storage_exports::record::BlockRecord;
use massa_distributed_storage_exports::{ChunkIndex, PeriodRoot};
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::operation::SecureShareOperation;
use massa_models::slot::Slot;
use massa_storage::Storage;
use std::sync::Arc;

/// A command to the worker thread.
pub enum DistributedStorageCommand {
    /// A block became final and consensus lets go of it. `content` claims the block and its operations.
    ArchiveFinalizedBlock {
        /// Its slot.
        slot: Slot,
        /// Its id.
        block_id: BlockId,
        /// Its parent in its own thread; none for genesis blocks.
        parent: Option<BlockId>,
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
    /// Chunks that others hold now.
    DropChunks(ChunkDrop),
    /// A period is lost, as an accepted segment root says.
    EnterLost(Manifest),
    /// A period in place of what was known of it, as an accepted segment root says.
    TakePeriod {
        /// The period.
        period: u64,
        /// Its root.
        root: PeriodRoot,
        /// Its blocks, verified; index = thread.
        records: Vec<Option<BlockRecord>>,
    },
    /// End the thread.
    Stop,
}

/// Chunks that were handed over, with what is looked at once more before they are dropped.
pub struct ChunkDrop {
    /// In archive order.
    pub chunks: Vec<(u64, ChunkIndex)>,
    /// The placement under which others confirmed that they hold them: [`Assignments::epoch`].
    pub epoch: u64,
    /// Placement.
    pub assignments: Arc<Assignments>,
    /// What is kept although it is not assigned.
    pub keep: KeepClaimed,
    /// Gets what was dropped, if it has room. Its space is not returned yet: [`Store::return_space_of`].
    pub done: Sender<Vec<(u64, ChunkIndex)>>,
}

impl ChunkDrop {
    /// Deletes the chunks, unless they were placed anew or claimed meanwhile. Returns how many.
    ///
    /// # Errors
    /// [`StoreError`]; nothing is deleted then.
    pub fn execute(mut self, store: &Store) -> Result<usize, StoreError> {
        let (chunks, keep) = (&mut self.chunks, &self.keep);
        let deleted = self.assignments.while_in_force(self.epoch, || {
            chunks.retain(|(period, chunk)| !keep(*period, *chunk));
            store.delete_chunks(chunks)
        });
        if !matches!(deleted, Some(Ok(()))) {
            self.chunks.clear();
        }
        let count = self.chunks.len();
        // Whoever asked looks again if it is not told.
        let _ = self.done.try_send(self.chunks);
        deleted.unwrap_or(Ok(())).map(|()| count)
    }
}
