//! What the model of the registry is told of this network: segments of 4 periods, rounds of 5 segments.

use massa_distributed_storage_worker::smart_contract::storage_registry::StorageConfig;
use massa_models::amount::Amount;

#[allow(dead_code)]
pub const KEY_DOMAIN: &[u8] = b"";
pub const SEGMENTS: u64 = 5;

/// `periods` are those of a round.
pub fn config(periods: u64) -> StorageConfig {
    StorageConfig {
        reward_per_gb_per_period: Amount::from_raw(1_000_000_000),
        min_allocated_gb: 1,
        max_allocated_gb: 16_384,
        challenge_response_timeout_ms: 60_000,
        slash_percentage: 10,
        min_stake: Amount::from_raw(1_000_000_000),
        stake_per_gb: Amount::from_raw(1_000_000_000),
        replication_factor: 1,
        chunk_size_bytes: 1 << 16,
        challenge_frequency_periods: periods / SEGMENTS,
        first_segment: 0,
        round_segments: SEGMENTS,
    }
}
