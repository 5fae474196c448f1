//! What the operator sets, as plain values.

use crate::storage_backend::IndexScopes;
use massa_distributed_storage_exports::config::{check_allocated, check_retention, gb_to_bytes, ConfigError};
use std::path::PathBuf;
use std::time::Duration;

/// Settings of the extension.
#[derive(Clone, Debug)]
pub struct ExtensionSettings {
    /// Directory of the store.
    pub path: PathBuf,
    /// Disk space offered to the network, in GB of 2³⁰ bytes: the ceiling of the directory's size.
    pub allocated_storage_gb: u64,
    /// Periods whose chunks are kept; 0 keeps all.
    pub retention_periods: u64,
    /// Nodes that hold each chunk, where no registry says so.
    pub replication_factor: usize,
    /// What is indexed.
    pub indexes: IndexScopes,
    /// Blocks that may wait for the archive's thread.
    pub queue_blocks: usize,
    /// Longest pause between two held chunks that are looked at for damage; shorter where many are held, so that each is looked
    /// at once a month.
    pub scrub_interval: Duration,
    /// How long a period of an open segment may be incomplete before its blocks are asked from peers.
    pub repair_delay: Duration,
    /// How long hand-over and repair wait before something that did not come is asked for again.
    pub repair_patience: Duration,
    /// A read from other nodes ends after this time.
    pub remote_read_timeout: Duration,
    /// Memory that repair may use for what it fetches, in bytes.
    pub memory_bytes: u64,
    /// Matured rewards are claimed on their own once they are this many least fees; `None`: never.
    pub auto_claim_fees: Option<u64>,
    /// Audits of peers.
    pub audits: AuditSettings,
}

/// How peers are audited.
#[derive(Clone, Copy, Debug)]
pub struct AuditSettings {
    /// Time that a challenged node has, asking again included.
    pub response_timeout: Duration,
    /// Least time between two challenges by hand to one node.
    pub min_challenge_interval: Duration,
    /// What is drawn follows from it. Random, and nobody else may know it.
    pub seed: [u8; 32],
}

impl ExtensionSettings {
    /// Settings for `path`, with the usual values.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            allocated_storage_gb: 10,
            retention_periods: 0,
            replication_factor: 3,
            indexes: IndexScopes::default(),
            queue_blocks: 1024,
            scrub_interval: Duration::from_secs(1),
            repair_delay: Duration::from_secs(30),
            repair_patience: Duration::from_secs(20),
            remote_read_timeout: Duration::from_secs(10),
            memory_bytes: 64 << 20,
            auto_claim_fees: None,
            audits: AuditSettings::default(),
        }
    }

    /// [`ExtensionSettings::allocated_storage_gb`] in bytes.
    pub fn allocated_bytes(&self) -> u64 {
        gb_to_bytes(self.allocated_storage_gb)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`ConfigError`], naming the key.
    pub fn check(&self, segment_periods: u64) -> Result<(), ConfigError> {
        check_allocated(self.allocated_storage_gb)?;
        if self.replication_factor == 0 {
            return Err(ConfigError::ReplicationFactor);
        }
        if !(1..=1 << 16).contains(&self.queue_blocks) {
            return Err(ConfigError::Queue(self.queue_blocks));
        }
        check_retention(self.retention_periods, segment_periods)
    }
}

impl Default for AuditSettings {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(60),
            min_challenge_interval: Duration::from_secs(3600),
            seed: [0; 32],
        }
    }
}
