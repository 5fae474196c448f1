//! Blocks: from the graph while it has them, then from the archive.

use crate::answer::{Answer, ID_BYTES};
use crate::api::{Asker, Node};
use crate::operations::unless_known;
use massa_api_exports::block::{BlockInfo, BlockInfoContent, BlockSummary};
use massa_api_exports::distributed_storage::ArchivedBlock;
use massa_api_exports::page::TimeInterval;
use massa_api_exports::ApiError;
use massa_models::block::{Block, BlockGraphStatus};
use massa_models::block_id::BlockId;
use massa_models::prehash::PreHashMap;
use massa_models::slot::Slot;
use massa_models::timeslots::time_range_to_slot_range;

impl Node {
    /// The blocks that are known, in the order of `ids`.
    ///
    /// A final block that the graph forgot may still be in memory, on its way into the archive: the archive tells then.
    /// What is in memory is told even when the archive fails or refuses.
    pub fn blocks(&self, asker: &Asker, ids: &[BlockId]) -> Result<Vec<BlockInfo>, ApiError> {
        self.check_arguments("ids", ids.len())?;
        let statuses = self.context.consensus_controller.get_block_statuses(ids);
        let mut answer = self.answer(asker);
        let mut found: PreHashMap<BlockId, BlockInfo> = PreHashMap::default();
        let mut forgotten = Vec::new();
        for (id, status) in ids.iter().zip(statuses) {
            let block = self.stored_block(id);
            if block.is_none() || matches!(status, BlockGraphStatus::NotFound | BlockGraphStatus::Discarded) {
                forgotten.push(*id);
            }
            if let Some(block) = block {
                answer.add_object(block_bytes(&block))?;
                found.insert(*id, block_info(*id, block, status));
            }
        }
        forgotten.sort_unstable();
        forgotten.dedup();
        let archived = self.archived_blocks(asker, &mut answer, &forgotten);
        for block in unless_known(archived, found.is_empty())?.into_iter().flatten() {
            let content = block.verified().block().content.clone();
            answer.add_object(block_bytes(&content))?;
            found.insert(block.id(), block_info(block.id(), content, BlockGraphStatus::Final));
        }
        Ok(ids.iter().filter_map(|id| found.get(id).cloned()).collect())
    }

    fn archived_blocks(
        &self,
        asker: &Asker,
        answer: &mut Answer,
        ids: &[BlockId],
    ) -> Result<Vec<Option<ArchivedBlock>>, ApiError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.read_archive(asker, answer, ids.len(), |archive, budget| archive.blocks(ids, budget))
    }

    fn stored_block(&self, id: &BlockId) -> Option<Block> {
        let blocks = self.context.storage.read_blocks();
        blocks.get(id).map(|block| block.content.clone())
    }

    /// The block of the best clique at a slot.
    pub fn blockclique_block(&self, slot: Slot) -> Result<Option<Block>, ApiError> {
        self.check_thread(slot)?;
        let id = self.context.consensus_controller.get_blockclique_block_at_slot(slot);
        Ok(id.and_then(|id| self.stored_block(&id)))
    }

    /// Blocks of the graph whose slots begin in an interval, in slot order.
    pub fn graph_interval(&self, interval: TimeInterval) -> Result<Vec<BlockSummary>, ApiError> {
        let (config, consensus) = (&self.config, &self.context.consensus_controller);
        if let (Some(start), Some(end)) = (interval.start, interval.end) {
            if end < start {
                return Err(ApiError::BadRequest(format!("end: {end} is before start, {start}")));
            }
        }
        let (start, end) = time_range_to_slot_range(
            config.thread_count,
            config.t0,
            config.genesis_timestamp,
            interval.start,
            interval.end,
        )?;
        let graph = consensus.get_block_graph_status(start, end)?;
        let best = graph.max_cliques.iter().find(|clique| clique.is_blockclique);
        let summary = |(id, block): (&BlockId, &massa_consensus_exports::ExportCompiledBlock)| BlockSummary {
            id: *id,
            is_final: block.is_final,
            is_stale: false,
            is_in_blockclique: best.is_some_and(|clique| clique.block_ids.contains(id)),
            slot: block.header.content.slot,
            creator: block.header.content_creator_address,
            parents: block.header.content.parents.clone(),
        };
        let mut summaries: Vec<BlockSummary> = graph.active_blocks.iter().map(summary).collect();
        summaries.sort_by_key(|summary| (summary.slot, summary.id));
        Ok(summaries)
    }
}

/// What a block tells: ids of operations, and a header with the ids of its parents.
fn block_bytes(block: &Block) -> usize {
    let ids = block.operations.len() + block.header.content.parents.len();
    ids * ID_BYTES
}

fn block_info(id: BlockId, block: Block, status: BlockGraphStatus) -> BlockInfo {
    let is_in_blockclique = status == BlockGraphStatus::ActiveInBlockclique;
    BlockInfo {
        id,
        content: Some(BlockInfoContent {
            is_final: status == BlockGraphStatus::Final,
            is_in_blockclique,
            is_candidate: is_in_blockclique || status == BlockGraphStatus::ActiveInAlternativeCliques,
            is_discarded: status == BlockGraphStatus::Discarded,
            block,
        }),
    }
}
