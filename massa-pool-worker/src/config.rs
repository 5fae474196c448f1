//! Settings of the pool.

use massa_models::amount::Amount;
use massa_models::config::{MAX_BLOCK_SIZE, MAX_GAS_PER_BLOCK, MAX_OPERATIONS_PER_BLOCK, OPERATION_VALIDITY_PERIODS};

/// Settings of the pool.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Threads; a power of two.
    pub thread_count: u8,
    /// Periods before its last one in which an operation may be included.
    pub operation_validity_periods: u64,
    /// Operations kept for each thread.
    pub max_operations_per_thread: usize,
    /// Bytes of these operations, taken together.
    pub max_bytes_per_thread: u64,
    /// Bytes of a block's operations, taken together.
    pub max_block_size: u32,
    /// Gas that the operations of a block may take.
    pub max_gas_per_block: u64,
    /// Operations of a block.
    pub max_operations_per_block: u32,
    /// Operations that pay less are not taken.
    pub minimal_fees: Amount,
}

impl PoolConfig {
    /// The main network's limits of operations and blocks, ten thousand operations and 4 MiB per thread, and no least
    /// fee.
    pub fn new(thread_count: u8) -> Self {
        Self {
            thread_count,
            operation_validity_periods: OPERATION_VALIDITY_PERIODS,
            max_operations_per_thread: 10_000,
            max_bytes_per_thread: 4 << 20,
            max_block_size: MAX_BLOCK_SIZE,
            max_gas_per_block: MAX_GAS_PER_BLOCK,
            max_operations_per_block: MAX_OPERATIONS_PER_BLOCK,
            minimal_fees: Amount::zero(),
        }
    }
}
