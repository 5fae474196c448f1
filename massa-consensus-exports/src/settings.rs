//! Settings of consensus.

use crate::ConsensusError;
use massa_distributed_storage_exports::StorageArchiver;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Settings of consensus. Fields have upstream's names and meaning.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct ConsensusConfig {
    /// When the first slot began.
    pub genesis_timestamp: MassaTime,
    /// Length of a period.
    pub t0: MassaTime,
    /// Threads; divides `t0`.
    pub thread_count: u8,
    /// The key that signs the genesis blocks.
    pub genesis_key: KeyPair,
    /// Discarded blocks that are remembered.
    pub max_discarded_blocks: usize,
    /// Blocks of future slots that are kept.
    pub max_future_processing_blocks: usize,
    /// Blocks that wait for others.
    pub max_dependency_blocks: usize,
    /// How often the graph is pruned.
    pub block_db_prune_interval: MassaTime,
    /// Fitness of descendants that makes a block final.
    pub delta_f0: u64,
    /// Periods during which an operation may be included.
    pub operation_validity_periods: u64,
    /// Periods of a cycle.
    pub periods_per_cycle: u64,
    /// Periods for which final blocks keep their operations.
    pub force_keep_final_periods: u64,
    /// Periods for which final blocks stay in the graph without their operations.
    pub force_keep_final_periods_without_ops: u64,
    /// Endorsers of a slot.
    pub endorsement_count: u32,
    /// Commands that may wait for the consensus thread.
    pub channel_size: usize,
    /// The chain.
    pub chain_id: u64,
    /// Receives every final block that is about to be forgotten. (Storage plan, phase 3.)
    #[serde(skip)]
    pub storage_archiver: Option<Arc<dyn StorageArchiver>>,
}

impl ConsensusConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`ConsensusError::Config`], naming the field.
    pub fn check(&self) -> Result<(), ConsensusError> {
        let bad = |field, reason: String| Err(ConsensusError::Config { field, reason });
        if self.thread_count == 0 {
            return bad("thread_count", "must be at least 1".into());
        }
        let t0 = self.t0.as_millis();
        if t0 == 0 || t0 % u64::from(self.thread_count) != 0 {
            let threads = self.thread_count;
            return bad(
                "t0",
                format!("{t0} ms cannot be divided into {threads} slots of whole milliseconds"),
            );
        }
        if self.force_keep_final_periods_without_ops < self.force_keep_final_periods {
            let (without, with) = (self.force_keep_final_periods_without_ops, self.force_keep_final_periods);
            let reason = format!("{without} is less than force_keep_final_periods, {with}");
            return bad("force_keep_final_periods_without_ops", reason);
        }
        if self.channel_size == 0 {
            return bad("channel_size", "must be at least 1".into());
        }
        Ok(())
    }
}
