//! The genesis file: what all nodes of a network share.

use massa_distributed_storage_exports::config::{ConfigError, MAX_ROUND_SEGMENTS};
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::replication::genesis_placement_key;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// Why a genesis file cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The file cannot be read.
    #[error("genesis file {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no JSON, or a field is unknown, missing or of another type.
    #[error("genesis file {path}: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A value is out of its range.
    #[error("genesis file: {field}: {reason}")]
    Value {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// What all nodes of a network share.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Genesis {
    /// The chain.
    pub chain_id: u64,
    /// When the first slot begins, in milliseconds since 1970.
    pub genesis_timestamp: MassaTime,
    /// Length of a period in milliseconds; divisible by `thread_count`.
    pub t0: MassaTime,
    /// Threads of the block graph: a power of two.
    pub thread_count: u8,
    /// Fitness of descendants that makes a block final. Without endorsements each block counts 1.
    pub delta_f0: u64,
    /// Periods during which an operation may be included.
    pub operation_validity_periods: u64,
    /// Created with each block.
    pub block_reward: Amount,
    /// Seed of the producer draws: 64 hexadecimal digits.
    pub seed: String,
    /// The key that signs the genesis blocks. Everybody may know it.
    pub genesis_key: KeyPair,
    /// Weights in the producer draws.
    pub rolls: BTreeMap<Address, u64>,
    /// Balances at the start.
    pub balances: BTreeMap<Address, Amount>,
    /// Parameters of the archive.
    pub storage: GenesisStorage,
}

/// Parameters of the archive, and the nodes that store until a registry says otherwise.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisStorage {
    /// Bytes of a chunk.
    pub chunk_size: u32,
    /// Nodes that hold each chunk.
    pub replication_factor: u8,
    /// Periods of a segment.
    pub challenge_frequency_periods: u64,
    /// Segments of a round: what is claimed, drawn and paid together.
    #[serde(default = "default_round_segments")]
    pub round_segments: u64,
    /// nanoMAS for each GB and period.
    pub reward_per_gb_per_period: u64,
    /// The nodes.
    pub nodes: Vec<GenesisStorageNode>,
}

fn default_round_segments() -> u64 {
    4
}

/// A node that stores from the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisStorageNode {
    /// Who it is in the network of peers.
    pub node_id: NodeId,
    /// Its operator.
    pub address: Address,
    /// Disk space it offers, in GB of 2³⁰ bytes.
    pub allocated_storage_gb: u64,
    /// Where peers reach it.
    pub listeners: Vec<SocketAddr>,
}

impl Genesis {
    /// Reads and checks a genesis file.
    ///
    /// # Errors
    /// [`GenesisError`].
    pub fn load(path: &Path) -> Result<(Self, [u8; 32]), GenesisError> {
        let bytes = std::fs::read(path).map_err(|source| GenesisError::Read {
            path: path.to_path_buf(),
            source,
        })?;
        let genesis: Self = serde_json::from_slice(&bytes).map_err(|source| GenesisError::Parse {
            path: path.to_path_buf(),
            source,
        })?;
        genesis.check()?;
        let id = genesis.id();
        Ok((genesis, id))
    }

    /// Hash of what the file says, however it is laid out.
    pub fn id(&self) -> [u8; 32] {
        let text = serde_json::to_vec(self).expect("the genesis file can be written");
        *massa_hash::Hash::compute_from(&text).to_bytes()
    }

    /// Checks every range.
    ///
    /// # Errors
    /// [`GenesisError::Value`], naming the field.
    pub fn check(&self) -> Result<(), GenesisError> {
        let bad = |field, reason: String| Err(GenesisError::Value { field, reason });
        if !self.thread_count.is_power_of_two() {
            return bad("thread_count", format!("{} is not a power of two", self.thread_count));
        }
        let t0 = self.t0.as_millis();
        if t0 == 0 || t0 % u64::from(self.thread_count) != 0 {
            let reason = format!("{t0} ms is not divisible by thread_count, {}", self.thread_count);
            return bad("t0", reason);
        }
        if self.delta_f0 == 0 {
            return bad("delta_f0", "must be at least 1".into());
        }
        if self.operation_validity_periods == 0 {
            return bad("operation_validity_periods", "must be at least 1".into());
        }
        self.seed()?;
        if self.rolls.values().all(|rolls| *rolls == 0) {
            return bad("rolls", "nobody has any".into());
        }
        if self.storage.replication_factor == 0 {
            return bad("storage.replication_factor", "must be at least 1".into());
        }
        self.check_archive()
    }

    fn check_archive(&self) -> Result<(), GenesisError> {
        let refuse = |reason: String| GenesisError::Value {
            field: "storage",
            reason,
        };
        let segments = self.storage.round_segments;
        if !(1..=MAX_ROUND_SEGMENTS).contains(&segments) {
            return Err(refuse(ConfigError::RoundSegments(segments).to_string()));
        }
        let parameters = self.archive_parameters();
        let checked = parameters.check().and_then(|()| parameters.check_segment());
        checked.map_err(|error| refuse(error.to_string()))
    }

    /// [`Genesis::seed`] as bytes.
    ///
    /// # Errors
    /// [`GenesisError::Value`] unless it is 64 hexadecimal digits.
    pub fn seed(&self) -> Result<[u8; 32], GenesisError> {
        let mut seed = [0; 32];
        hex::decode_to_slice(&self.seed, &mut seed).map_err(|error| GenesisError::Value {
            field: "seed",
            reason: format!("expected 64 hexadecimal digits: {error}"),
        })?;
        Ok(seed)
    }

    /// Parameters of the archive.
    pub fn archive_parameters(&self) -> ArchiveParameters {
        ArchiveParameters {
            chunk_size: self.storage.chunk_size,
            segment_periods: self.storage.challenge_frequency_periods,
            ..ArchiveParameters::new(self.chain_id, self.thread_count)
        }
    }

    /// The nodes that store.
    pub fn node_set(&self) -> NodeSet {
        let node = |node: &GenesisStorageNode| StorageNode {
            node_id: Some(node.node_id),
            address: node.address,
            placement_key: genesis_placement_key(&node.node_id),
            allocated_storage_gb: node.allocated_storage_gb,
            filled: false,
            retention_periods: 0,
            listeners: node.listeners.clone(),
        };
        NodeSet::new(self.storage.nodes.iter().map(node).collect())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn genesis() -> Genesis {
        let key = KeyPair::generate(0).unwrap();
        let address = Address::from_public_key(&key.get_public_key());
        Genesis {
            chain_id: 77,
            genesis_timestamp: MassaTime::from_millis(0),
            t0: MassaTime::from_millis(16_000),
            thread_count: 32,
            delta_f0: 64,
            operation_validity_periods: 10,
            block_reward: Amount::zero(),
            seed: "00".repeat(32),
            genesis_key: key,
            rolls: BTreeMap::from([(address, 1)]),
            balances: BTreeMap::new(),
            storage: GenesisStorage {
                chunk_size: 1 << 20,
                replication_factor: 3,
                challenge_frequency_periods: 100,
                round_segments: 4,
                reward_per_gb_per_period: 1,
                nodes: Vec::new(),
            },
        }
    }

    fn refusal(change: fn(&mut GenesisStorage)) -> String {
        let mut genesis = genesis();
        change(&mut genesis.storage);
        genesis.check().unwrap_err().to_string()
    }

    #[test]
    fn a_round_has_a_bounded_number_of_segments_and_four_where_the_file_does_not_say() {
        genesis().check().unwrap();
        assert!(refusal(|of| of.round_segments = 0).contains("round_segments"));
        assert!(refusal(|of| of.round_segments = 65).contains("round_segments"));
        let mut text = serde_json::to_value(genesis()).unwrap();
        text["storage"].as_object_mut().unwrap().remove("round_segments");
        let read: Genesis = serde_json::from_value(text).unwrap();
        assert_eq!(read.storage.round_segments, 4);
    }

    #[test]
    fn a_segment_of_full_blocks_must_fit_its_tree() {
        let error = refusal(|of| of.chunk_size = 1 << 16);
        assert!(
            error.contains("challenge_frequency_periods") && error.contains("chunk_size"),
            "{error}"
        );
    }
}
