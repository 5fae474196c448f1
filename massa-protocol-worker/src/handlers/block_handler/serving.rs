//! What peers are answered about blocks.

use super::messages::{AskForBlockInfo, BlockInfoReply};
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::operation::{OperationId, SecureShareOperation};
use massa_models::prehash::PreHashMap;
use massa_protocol_exports::BlockArchive;
use massa_storage::Storage;
use schnellru::{ByLength, LruMap};
use std::sync::Arc;

/// Blocks of the archive kept between the questions about one block: its header, ids and operations are asked one after
/// the other, and several nodes that are behind ask for the same ones.
const ARCHIVED_BLOCKS_KEPT: u32 = 8;

/// A block from the archive.
struct Archived {
    block: SecureShareBlock,
    operations: PreHashMap<OperationId, SecureShareOperation>,
}

/// Where blocks come from: the shared memory, else the archive.
pub(super) struct BlockSource {
    storage: Storage,
    archive: Option<Arc<dyn BlockArchive>>,
    recent: LruMap<BlockId, Arc<Archived>>,
    max_reply_bytes: usize,
}

impl BlockSource {
    /// `max_reply_bytes` bounds the operations in one answer.
    pub(super) fn new(storage: &Storage, archive: Option<Arc<dyn BlockArchive>>, max_reply_bytes: usize) -> Self {
        Self {
            storage: storage.clone_without_refs(),
            archive,
            recent: LruMap::new(ByLength::new(ARCHIVED_BLOCKS_KEPT)),
            max_reply_bytes,
        }
    }

    /// The answer to a question. Operations that are nowhere, or do not fit, are left out.
    pub(super) fn answer(&mut self, block_id: &BlockId, info: AskForBlockInfo) -> BlockInfoReply {
        let reply = match info {
            AskForBlockInfo::Header => self
                .take_from_block(block_id, |block| block.content.header.clone())
                .map(|header| BlockInfoReply::Header(Box::new(header))),
            AskForBlockInfo::OperationIds => self
                .take_from_block(block_id, |block| block.content.operations.clone())
                .map(BlockInfoReply::OperationIds),
            AskForBlockInfo::Operations(ids) => self.operations(block_id, &ids),
        };
        reply.unwrap_or(BlockInfoReply::NotFound)
    }

    fn take_from_block<T>(&mut self, block_id: &BlockId, take: impl Fn(&SecureShareBlock) -> T) -> Option<T> {
        let stored = self.storage.read_blocks().get(block_id).map(&take);
        stored.or_else(|| self.archived(block_id).map(|archived| take(&archived.block)))
    }

    fn operations(&mut self, block_id: &BlockId, ids: &[OperationId]) -> Option<BlockInfoReply> {
        let is_complete = {
            let stored = self.storage.read_operations();
            ids.iter().all(|id| stored.contains(id))
        };
        let archived = if is_complete { None } else { self.archived(block_id) };
        let stored = self.storage.read_operations();
        let find = |id| {
            let in_archive = || archived.as_ref().and_then(|block| block.operations.get(id));
            stored.get(id).or_else(in_archive)
        };
        let mut bytes = 0;
        let fits = |operation: &&SecureShareOperation| {
            bytes += operation.serialized_size();
            bytes <= self.max_reply_bytes
        };
        let found: Vec<_> = ids.iter().filter_map(find).take_while(fits).cloned().collect();
        (!found.is_empty()).then_some(BlockInfoReply::Operations(found))
    }

    fn archived(&mut self, block_id: &BlockId) -> Option<Arc<Archived>> {
        if let Some(archived) = self.recent.get(block_id) {
            return Some(Arc::clone(archived));
        }
        let (block, operations) = self.archive.as_ref()?.block(block_id)?;
        let operations = operations.into_iter().map(|operation| (operation.id, operation));
        let archived = Arc::new(Archived {
            block,
            operations: operations.collect(),
        });
        self.recent.insert(*block_id, Arc::clone(&archived));
        Some(archived)
    }
}
