//! Constants of the chain, as the status tells them.

use massa_models::amount::Amount;
use massa_time::MassaTime;
use serde::{Deserialize, Serialize};

/// Constants of the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct CompactConfig {
    /// When the first slot began.
    pub genesis_timestamp: MassaTime,
    /// When the chain ends, if it does.
    pub end_timestamp: Option<MassaTime>,
    /// Threads.
    pub thread_count: u8,
    /// Length of a period.
    pub t0: MassaTime,
    /// Fitness of descendants that makes a block final.
    pub delta_f0: u64,
    /// Periods during which an operation may be included.
    pub operation_validity_periods: u64,
    /// Periods of a cycle.
    pub periods_per_cycle: u64,
    /// Created with each block.
    pub block_reward: Amount,
    /// Price of a roll.
    pub roll_price: Amount,
    /// Bytes of a block's operations, at most.
    pub max_block_size: u32,
}
