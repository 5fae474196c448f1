//! The genesis file: what all nodes of a network share.

use massa_distributed_storage_exports::config::{check_allocated, MAX_ROUND_SEGMENTS, REWARD_MAX};
use massa_distributed_storage_exports::registry::{NodeSet, StorageNode};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_distributed_storage_worker::replication::genesis_placement_key;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::MAX_LISTENERS_PER_PEER;
use massa_models::node::NodeId;
use massa_signature::KeyPair;
use massa_time::MassaTime;
use serde::{Deserialize, Serialize};
use serde_with::rust::maps_duplicate_key_is_error;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// The last moment that a chain may begin at: the end of the year 2099.
const GENESIS_TIMESTAMP_MAX_MS: u64 = 4_102_444_799_999;
/// Length of a period at most: an hour.
const T0_MAX_MS: u64 = 3_600_000;
/// Fitness that finality may need: thousands of times what upstream asks for.
const DELTA_F0_MAX: u64 = 1_000_000;
/// Periods during which an operation may be included, at most: each thread remembers what was executed for so long.
const VALIDITY_PERIODS_MAX: u64 = 1_000;
/// Coins that a block may create: a million MAS.
const BLOCK_REWARD_MAX: Amount = Amount::from_raw(1_000_000_000_000_000);
/// Rolls of all addresses together at most: the draws multiply them.
const ROLLS_MAX: u64 = 1 << 48;

/// Why a genesis file cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// The file cannot be read.
    #[error("genesis file {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is no JSON, or a field is unknown, missing or of another type.
    #[error("genesis file {}: {source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where, and what is wrong.
        source: serde_path_to_error::Error<serde_json::Error>,
    },
    /// A value is out of its range.
    #[error("genesis file {}: {source}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Which.
        source: FieldError,
    },
}

/// A value of a genesis that is out of its range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The field, as a path from the top.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Refuses a field.
fn refuse<T>(field: impl Into<String>, reason: impl Into<String>) -> Result<T, FieldError> {
    Err(FieldError {
        field: field.into(),
        reason: reason.into(),
    })
}

fn check_range(field: impl Into<String>, value: u64, range: RangeInclusive<u64>) -> Result<(), FieldError> {
    if range.contains(&value) {
        return Ok(());
    }
    let (least, most) = range.into_inner();
    refuse(field, format!("{value} is not between {least} and {most}"))
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
    #[serde(with = "maps_duplicate_key_is_error")]
    pub rolls: BTreeMap<Address, u64>,
    /// Balances at the start.
    #[serde(with = "maps_duplicate_key_is_error")]
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
        let mut json = serde_json::Deserializer::from_slice(&bytes);
        let parsed = serde_path_to_error::deserialize(&mut json);
        let genesis: Self = parsed.map_err(|source| GenesisError::Parse {
            path: path.to_path_buf(),
            source,
        })?;
        // Nothing comes after it.
        let end = json.end().map_err(|error| FieldError {
            field: "end of the file".into(),
            reason: error.to_string(),
        });
        end.and_then(|()| genesis.check())
            .map_err(|source| GenesisError::Value {
                path: path.to_path_buf(),
                source,
            })?;
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
    /// [`FieldError`].
    pub fn check(&self) -> Result<(), FieldError> {
        let timestamp = self.genesis_timestamp.as_millis();
        check_range("genesis_timestamp", timestamp, 0..=GENESIS_TIMESTAMP_MAX_MS)?;
        if !self.thread_count.is_power_of_two() {
            return refuse("thread_count", format!("{} is not a power of two", self.thread_count));
        }
        let t0 = self.t0.as_millis();
        check_range("t0", t0, 1..=T0_MAX_MS)?;
        if t0 % u64::from(self.thread_count) != 0 {
            let reason = format!("{t0} ms is not divisible by thread_count, {}", self.thread_count);
            return refuse("t0", reason);
        }
        check_range("delta_f0", self.delta_f0, 1..=DELTA_F0_MAX)?;
        let validity = self.operation_validity_periods;
        check_range("operation_validity_periods", validity, 1..=VALIDITY_PERIODS_MAX)?;
        if self.block_reward > BLOCK_REWARD_MAX {
            let reason = format!("{} is more than {BLOCK_REWARD_MAX}", self.block_reward);
            return refuse("block_reward", reason);
        }
        self.seed()?;
        let rolls = self
            .rolls
            .values()
            .fold(0, |all: u64, rolls| all.saturating_add(*rolls));
        check_range("rolls", rolls, 1..=ROLLS_MAX)?;
        let mut balances = self.balances.values();
        if balances
            .try_fold(Amount::zero(), |all, more| all.checked_add(*more))
            .is_none()
        {
            return refuse("balances", format!("are more than {} together", Amount::MAX));
        }
        self.storage.check()?;
        let parameters = self.archive_parameters();
        let checked = parameters.check().and_then(|()| parameters.check_segment());
        checked.or_else(|error| in_storage(&error.to_string()))
    }

    /// [`Genesis::seed`] as bytes.
    ///
    /// # Errors
    /// [`FieldError`] unless it is 64 hexadecimal digits.
    pub fn seed(&self) -> Result<[u8; 32], FieldError> {
        let mut seed = [0; 32];
        match hex::decode_to_slice(&self.seed, &mut seed) {
            Ok(()) => Ok(seed),
            Err(error) => refuse("seed", format!("expected 64 hexadecimal digits: {error}")),
        }
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

impl GenesisStorage {
    fn check(&self) -> Result<(), FieldError> {
        check_range("storage.replication_factor", self.replication_factor.into(), 1..=255)?;
        check_range("storage.round_segments", self.round_segments, 1..=MAX_ROUND_SEGMENTS)?;
        check_range(
            "storage.reward_per_gb_per_period",
            self.reward_per_gb_per_period,
            0..=REWARD_MAX,
        )?;
        let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
        for (index, node) in self.nodes.iter().enumerate() {
            let at = |field: &str| format!("storage.nodes[{index}].{field}");
            if !ids.insert(node.node_id) {
                return refuse(at("node_id"), format!("{} is listed twice", node.node_id));
            }
            if !addresses.insert(node.address) {
                return refuse(at("address"), format!("{} is listed twice", node.address));
            }
            if let Err(error) = check_allocated(node.allocated_storage_gb) {
                return in_storage(&format!("nodes[{index}].{error}"));
            }
            check_range(at("listeners"), node.listeners.len() as u64, 0..=MAX_LISTENERS_PER_PEER)?;
        }
        Ok(())
    }
}

/// What the archive says of a parameter, which begins with its name.
fn in_storage(error: &str) -> Result<(), FieldError> {
    let (field, reason) = error.split_once(": ").unwrap_or(("", error));
    refuse(format!("storage.{field}"), reason)
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

    fn refusal(change: fn(&mut Genesis)) -> String {
        let mut genesis = genesis();
        change(&mut genesis);
        genesis.check().unwrap_err().to_string()
    }

    /// Why a file with this text is refused.
    fn refused_text(text: &str) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("genesis.json");
        std::fs::write(&path, text).unwrap();
        let error = Genesis::load(&path).unwrap_err().to_string();
        let reason = error.strip_prefix(&format!("genesis file {}: ", path.display()));
        reason.unwrap_or_else(|| panic!("{error}")).to_string()
    }

    fn node(port: u16) -> GenesisStorageNode {
        let key = KeyPair::generate(0).unwrap().get_public_key();
        GenesisStorageNode {
            node_id: NodeId::new(key),
            address: Address::from_public_key(&key),
            allocated_storage_gb: 1,
            listeners: vec![SocketAddr::from(([127, 0, 0, 1], port))],
        }
    }

    #[test]
    fn every_field_of_another_type_is_refused_by_its_path() {
        let mut genesis = genesis();
        genesis.storage.nodes = vec![node(1), node(2)];
        let address = genesis.storage.nodes[0].address;
        genesis.balances = BTreeMap::from([(address, Amount::from_raw(1))]);
        let json = serde_json::to_value(&genesis).unwrap();
        refused_text("{}").find("missing field").unwrap();
        let mut leaves = Vec::new();
        pointers(&json, String::new(), &mut leaves);
        assert!(leaves.len() > 24, "{leaves:?}");
        for pointer in leaves {
            // The path as the error has it: a.b[1].c
            let path = pointer[1..]
                .split('/')
                .fold(String::new(), |path, part| match part.parse::<usize>() {
                    Ok(index) => format!("{path}[{index}]"),
                    Err(_) if path.is_empty() => part.to_string(),
                    Err(_) => format!("{path}.{part}"),
                });
            for wrong in [
                serde_json::json!({"a": 1}),
                serde_json::json!(1.5),
                serde_json::json!(true),
                (-1).into(),
            ] {
                let mut changed = json.clone();
                *changed.pointer_mut(&pointer).unwrap() = wrong.clone();
                let error = refused_text(&changed.to_string());
                assert!(error.starts_with(&format!("{path}: ")), "{path} = {wrong}: {error}");
            }
        }
    }

    /// JSON pointers of all values that have no others in them.
    fn pointers(value: &serde_json::Value, at: String, found: &mut Vec<String>) {
        match value {
            serde_json::Value::Object(fields) => {
                for (name, inner) in fields {
                    pointers(inner, format!("{at}/{name}"), found);
                }
            }
            serde_json::Value::Array(items) => {
                for (index, inner) in items.iter().enumerate() {
                    pointers(inner, format!("{at}/{index}"), found);
                }
            }
            _ => found.push(at),
        }
    }

    #[test]
    fn every_value_out_of_its_range_is_refused_by_its_path() {
        genesis().check().unwrap();
        type Change = fn(&mut Genesis);
        let cases: [(&str, Change); 29] = [
            ("genesis_timestamp", |of| of.genesis_timestamp = MassaTime::max()),
            ("thread_count", |of| of.thread_count = 0),
            ("thread_count", |of| of.thread_count = 3),
            ("t0", |of| of.t0 = MassaTime::from_millis(0)),
            ("t0", |of| of.t0 = MassaTime::from_millis(16_001)),
            ("t0", |of| of.t0 = MassaTime::from_millis(1 << 40)),
            ("delta_f0", |of| of.delta_f0 = 0),
            ("delta_f0", |of| of.delta_f0 = u64::MAX),
            ("operation_validity_periods", |of| of.operation_validity_periods = 0),
            ("operation_validity_periods", |of| {
                of.operation_validity_periods = u64::MAX
            }),
            ("block_reward", |of| of.block_reward = Amount::MAX),
            ("seed", |of| of.seed = "00".repeat(31)),
            ("seed", |of| of.seed = "g".repeat(64)),
            ("rolls", |of| of.rolls.clear()),
            ("rolls", |of| of.rolls.values_mut().for_each(|rolls| *rolls = 0)),
            ("rolls", |of| of.rolls.values_mut().for_each(|rolls| *rolls = u64::MAX)),
            ("balances", |of| {
                of.balances = [node(1), node(2)].map(|node| (node.address, Amount::MAX)).into();
            }),
            ("storage.chunk_size", |of| of.storage.chunk_size = 100_000),
            ("storage.chunk_size", |of| of.storage.chunk_size = 1 << 31),
            ("storage.replication_factor", |of| of.storage.replication_factor = 0),
            ("storage.challenge_frequency_periods", |of| {
                of.storage.challenge_frequency_periods = 0;
            }),
            ("storage.challenge_frequency_periods", |of| {
                of.storage.challenge_frequency_periods = 257;
            }),
            ("storage.round_segments", |of| of.storage.round_segments = 0),
            ("storage.round_segments", |of| of.storage.round_segments = 65),
            ("storage.reward_per_gb_per_period", |of| {
                of.storage.reward_per_gb_per_period = u64::MAX;
            }),
            ("storage.nodes[1].node_id", |of| {
                let (first, mut second) = (node(1), node(2));
                second.node_id = first.node_id;
                of.storage.nodes = vec![first, second];
            }),
            ("storage.nodes[1].address", |of| {
                let (first, mut second) = (node(1), node(2));
                second.address = first.address;
                of.storage.nodes = vec![first, second];
            }),
            ("storage.nodes[0].allocated_storage_gb", |of| {
                of.storage.nodes = vec![node(1)];
                of.storage.nodes[0].allocated_storage_gb = u64::MAX >> 30;
            }),
            ("storage.nodes[0].listeners", |of| {
                of.storage.nodes = vec![node(1)];
                of.storage.nodes[0].listeners = vec![SocketAddr::from(([127, 0, 0, 1], 1)); 101];
            }),
        ];
        for (field, change) in cases {
            let error = refusal(change);
            assert!(error.starts_with(&format!("{field}: ")), "{field}: {error}");
        }
    }

    #[test]
    fn what_is_listed_twice_or_comes_after_the_end_is_refused() {
        let text = serde_json::to_string(&genesis()).unwrap();
        let address = *genesis().rolls.first_key_value().unwrap().0;
        let mut twice = genesis();
        twice.rolls = BTreeMap::from([(address, 1)]);
        let rolls = format!("\"rolls\":{{\"{address}\":1");
        let twice = serde_json::to_string(&twice).unwrap();
        assert!(twice.contains(&rolls), "{twice}");
        let twice = twice.replace(&rolls, &format!("{rolls},\"{address}\":1"));
        let error = refused_text(&twice);
        assert!(error.starts_with("rolls"), "{error}");
        let error = refused_text(&format!("{text} {{}}"));
        assert!(error.starts_with("end of the file"), "{error}");
        let error = refused_text("{\"chain\": 1}");
        assert!(error.contains("unknown field `chain`"), "{error}");
    }

    #[test]
    fn a_round_has_four_segments_where_the_file_does_not_say() {
        let mut text = serde_json::to_value(genesis()).unwrap();
        text["storage"].as_object_mut().unwrap().remove("round_segments");
        let read: Genesis = serde_json::from_value(text).unwrap();
        assert_eq!(read.storage.round_segments, 4);
    }

    #[test]
    fn a_segment_of_full_blocks_must_fit_its_tree() {
        let error = refusal(|of| of.storage.chunk_size = 1 << 16);
        assert!(
            error.contains("challenge_frequency_periods") && error.contains("chunk_size"),
            "{error}"
        );
    }
}
