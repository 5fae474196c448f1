//! Settings of the extension: the `[distributed_storage]` section of the node's configuration.

use crate::types::{check_chunk_size, ParameterError, MAX_SEGMENT_PERIODS};
use massa_models::amount::Amount;
use massa_time::MassaTime;
use std::path::PathBuf;

/// Rounds that a retention shorter than "keep all" must cover: claims, refutations and root votes outlast three.
pub const MIN_RETENTION_ROUNDS: u64 = 4;
/// Segments of a round at most.
pub const MAX_ROUND_SEGMENTS: u64 = 64;
/// GB that a node offers at most: a pebibyte, so that sums over all nodes, in bytes too, are far from the end of the numbers.
pub const MAX_ALLOCATED_GB: u64 = 1 << 20;
/// Periods that retention counts at most: half a million years of periods of 16 s. Whoever means all writes 0.
pub const MAX_RETENTION_PERIODS: u64 = 1 << 40;
/// nanoMAS for each GB and period at most: 1000 MAS.
pub const REWARD_MAX: u64 = 1_000_000_000_000;

/// GB of 2³⁰ bytes in bytes.
pub fn gb_to_bytes(gb: u64) -> u64 {
    gb.saturating_mul(1 << 30)
}

/// Settings of the extension.
#[derive(Clone, Debug)]
pub struct DistributedStorageConfig {
    /// Whether the node archives at all.
    pub enabled: bool,
    /// Directory of the store.
    pub path: PathBuf,
    /// Disk space offered to the network, in GB of 2³⁰ bytes.
    pub allocated_storage_gb: u64,
    /// Periods kept; 0 keeps all.
    pub retention_periods: u64,
    /// Nodes that hold each chunk.
    pub replication_factor: u8,
    /// Bytes of a chunk.
    pub chunk_size: usize,
    /// Periods of a segment.
    pub challenge_frequency_periods: u64,
    /// Segments of a round.
    pub round_segments: u64,
    /// Reward for each GB and period.
    pub reward_per_gb_per_period: Amount,
    /// Least time between two manual challenges to one node.
    pub min_challenge_interval: MassaTime,
    /// Time that a challenged node has to answer.
    pub challenge_response_timeout: MassaTime,
    /// Address of the registry contract; empty deploys one.
    pub storage_registry_address: String,
    /// Blocks that may wait for the archive's thread; beyond that they are missing, and fetched from peers.
    pub queue_blocks: usize,
}

/// A setting out of its range.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A network parameter is out of its range.
    #[error(transparent)]
    Parameter(#[from] ParameterError),
    /// Nothing can be stored in no space, and nobody has so much.
    #[error("allocated_storage_gb: {0} is not between 1 and {MAX_ALLOCATED_GB}")]
    AllocatedStorage(u64),
    /// Too few periods for the claims that are drawn from.
    #[error("retention_periods: {periods} is neither 0 (keep all) nor between {min} and {MAX_RETENTION_PERIODS}")]
    Retention {
        /// The setting.
        periods: u64,
        /// The least allowed.
        min: u64,
    },
    /// A round has too many segments, or none.
    #[error("round_segments: {0} is not between 1 and {MAX_ROUND_SEGMENTS}")]
    RoundSegments(u64),
    /// A chunk needs a holder.
    #[error("replication_factor: must be at least 1")]
    ReplicationFactor,
    /// The hook needs a queue.
    #[error("queue_blocks: must be between 1 and 65536, found {0}")]
    Queue(usize),
}

impl Default for DistributedStorageConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            path: PathBuf::from("storage/distributed_storage"),
            allocated_storage_gb: 10,
            retention_periods: 0,
            replication_factor: 3,
            chunk_size: 1 << 20,
            challenge_frequency_periods: 100,
            round_segments: 4,
            reward_per_gb_per_period: Amount::from_raw(20_000),
            min_challenge_interval: MassaTime::from_millis(3_600_000),
            challenge_response_timeout: MassaTime::from_millis(60_000),
            storage_registry_address: String::new(),
            queue_blocks: 1024,
        }
    }
}

impl DistributedStorageConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn check(&self) -> Result<(), ConfigError> {
        check_chunk_size(self.chunk_size as u64)?;
        if !(1..=MAX_SEGMENT_PERIODS).contains(&self.challenge_frequency_periods) {
            return Err(ParameterError::SegmentPeriods(self.challenge_frequency_periods).into());
        }
        check_allocated(self.allocated_storage_gb)?;
        if self.replication_factor == 0 {
            return Err(ConfigError::ReplicationFactor);
        }
        if !(1..=1 << 16).contains(&self.queue_blocks) {
            return Err(ConfigError::Queue(self.queue_blocks));
        }
        if !(1..=MAX_ROUND_SEGMENTS).contains(&self.round_segments) {
            return Err(ConfigError::RoundSegments(self.round_segments));
        }
        check_retention(self.retention_periods, self.round_periods())
    }

    /// Periods of a round.
    pub fn round_periods(&self) -> u64 {
        self.challenge_frequency_periods.saturating_mul(self.round_segments)
    }

    /// [`DistributedStorageConfig::allocated_storage_gb`] in bytes.
    pub fn allocated_bytes(&self) -> u64 {
        gb_to_bytes(self.allocated_storage_gb)
    }
}

/// Checks that disk space is offered, and no more than [`MAX_ALLOCATED_GB`].
///
/// # Errors
/// [`ConfigError::AllocatedStorage`].
pub fn check_allocated(allocated_storage_gb: u64) -> Result<(), ConfigError> {
    if (1..=MAX_ALLOCATED_GB).contains(&allocated_storage_gb) {
        return Ok(());
    }
    Err(ConfigError::AllocatedStorage(allocated_storage_gb))
}

/// Checks that `retention_periods` keeps all (0) or covers the rounds that claims are drawn from. `round_periods`: those of a
/// round; whoever does not know how many segments it has gives those of one.
///
/// # Errors
/// [`ConfigError::Retention`].
pub fn check_retention(retention_periods: u64, round_periods: u64) -> Result<(), ConfigError> {
    let min = MIN_RETENTION_ROUNDS.saturating_mul(round_periods);
    if retention_periods != 0 && !(min..=MAX_RETENTION_PERIODS).contains(&retention_periods) {
        return Err(ConfigError::Retention {
            periods: retention_periods,
            min,
        });
    }
    Ok(())
}
