//! Settings: what the base file says, overridden by a second file, overridden by the environment.

use massa_distributed_storage_exports::DistributedStorageConfig;
use massa_distributed_storage_worker::storage_backend::{IndexScope, IndexScopes};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_protocol_exports::PeerId;
use massa_time::MassaTime;
use serde::Deserialize;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Names the base file, if it is not `base_config/config.toml`.
pub const CONFIG_PATH_VARIABLE: &str = "MASSA_CONFIG_PATH";
/// Names the second file, if it is not `config/config.toml`.
pub const OVERRIDE_PATH_VARIABLE: &str = "MASSA_CONFIG_OVERRIDE_PATH";
/// Environment variables that begin so override settings: `MASSA_NODE__API__BIND_PUBLIC`.
const ENVIRONMENT_PREFIX: &str = "MASSA_NODE";

/// Why settings cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file is missing, or is no TOML, or a key is unknown, missing or of another type.
    #[error("settings: {0}")]
    Read(#[from] config::ConfigError),
    /// A value is out of its range.
    #[error("settings: {key}: {reason}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

/// 5 MAS: many times what one operation in each round costs, if a round has 400 periods of 16 s.
const DEFAULT_FEES_PER_DAY: u64 = 5_000_000_000;

/// All settings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What is logged.
    pub logging: LoggingSettings,
    /// Which network, and who this node is in it.
    pub network: NetworkSettings,
    /// Peers.
    pub protocol: ProtocolSettings,
    /// The block graph.
    pub consensus: ConsensusSettings,
    /// The ledger.
    pub execution: ExecutionSettings,
    /// Waiting operations.
    pub pool: PoolSettings,
    /// Production of blocks.
    pub factory: FactorySettings,
    /// JSON-RPC.
    pub api: ApiSettings,
    /// Memory.
    pub memory: MemorySettings,
    /// The archive. (Storage plan, 6.1.)
    #[serde(default)]
    pub distributed_storage: DistributedStorageSettings,
}

/// `[logging]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoggingSettings {
    /// 0 error … 4 trace.
    pub level: usize,
}

/// `[network]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetworkSettings {
    /// The genesis file.
    pub genesis_file: PathBuf,
    /// The node's key.
    pub keypair_file: PathBuf,
}

/// `[protocol]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // Each key is explained in base_config/config.toml.
pub struct ProtocolSettings {
    pub bind: SocketAddr,
    pub routable_addresses: Vec<SocketAddr>,
    pub initial_peers: Vec<InitialPeer>,
    pub target_out_connections: usize,
    pub max_in_connections: usize,
    pub max_in_connections_per_ip: usize,
    pub rate_limit: u64,
    pub message_timeout: MassaTime,
    pub timeout_connection: MassaTime,
    pub try_connection_timer: MassaTime,
    pub try_connection_timer_same_peer: MassaTime,
    pub ask_block_timeout: MassaTime,
    pub operation_announcement_interval: MassaTime,
    pub max_storage_messages_per_second: usize,
    pub max_chunk_size: usize,
    pub max_stored_chunks_per_node: usize,
    pub storage_request_timeout: MassaTime,
    pub max_storage_bytes_in_flight_per_peer: usize,
    pub max_storage_bytes_in_flight: usize,
    pub storage_quarantine: MassaTime,
}

/// A peer to begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde_with::DeserializeFromStr)]
pub struct InitialPeer {
    /// Who.
    pub peer_id: PeerId,
    /// Where.
    pub address: SocketAddr,
}

impl FromStr for InitialPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (id, address) = text
            .split_once('@')
            .ok_or_else(|| format!("expected \"<peer id>@<address>\", found {text:?}"))?;
        Ok(Self {
            peer_id: id.parse().map_err(|error| format!("peer id {id:?}: {error}"))?,
            address: address
                .parse()
                .map_err(|error| format!("address {address:?}: {error}"))?,
        })
    }
}

/// `[consensus]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ConsensusSettings {
    pub force_keep_final_periods: u64,
    pub force_keep_final_periods_without_ops: u64,
    pub block_db_prune_interval: MassaTime,
    pub max_discarded_blocks: usize,
    pub max_future_processing_blocks: usize,
    pub max_dependency_blocks: usize,
}

/// `[execution]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ExecutionSettings {
    pub ledger_path: PathBuf,
}

/// `[pool]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct PoolSettings {
    pub max_operations_per_thread: usize,
    pub minimal_fees: Amount,
}

/// `[factory]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct FactorySettings {
    pub staking_wallet_path: PathBuf,
}

/// `[api]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct ApiSettings {
    pub bind_public: SocketAddr,
    pub bind_private: SocketAddr,
    pub allow_hosts: Vec<String>,
    pub token_file: PathBuf,
    pub trusted_proxies: Vec<IpAddr>,
    pub max_connections: u32,
    pub max_connections_per_ip: u32,
    pub max_request_body_size: u32,
    pub max_response_body_size: u32,
    pub batch_request_limit: u32,
    pub request_timeout: MassaTime,
    pub idle_timeout: MassaTime,
}

/// `[memory]`
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)]
pub struct MemorySettings {
    pub memory_limit_mb: u64,
}

/// `[distributed_storage]` (storage plan, 6.1)
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[allow(missing_docs)]
pub struct DistributedStorageSettings {
    pub enabled: bool,
    pub path: PathBuf,
    pub allocated_storage_gb: u64,
    pub retention_periods: u64,
    pub replication_factor: u8,
    pub chunk_size: usize,
    pub challenge_frequency_periods: u64,
    pub round_segments: u64,
    /// Claims matured rewards on its own.
    pub auto_claim: bool,
    /// Then: once they are this many least fees.
    pub auto_claim_fees: u64,
    /// nanoMAS
    pub reward_per_gb_per_period: u64,
    pub storage_registry_address: String,
    pub deploy_registry: bool,
    pub min_challenge_interval: MassaTime,
    pub challenge_response_timeout: MassaTime,
    pub operator_address: String,
    /// MAS; zero for no limit.
    pub max_fees_per_day: Amount,
    pub serve_remote_reads: bool,
    pub remote_read_timeout: MassaTime,
    pub block_index: IndexScope,
    pub operation_index: IndexScope,
    pub address_index: IndexScope,
    pub queue_blocks: usize,
    pub repair_delay: MassaTime,
    pub repair_patience: MassaTime,
    pub scrub_interval: MassaTime,
}

impl Default for DistributedStorageSettings {
    fn default() -> Self {
        let config = DistributedStorageConfig::default();
        let indexes = IndexScopes::default();
        Self {
            enabled: config.enabled,
            path: config.path,
            allocated_storage_gb: config.allocated_storage_gb,
            retention_periods: config.retention_periods,
            replication_factor: config.replication_factor,
            chunk_size: config.chunk_size,
            challenge_frequency_periods: config.challenge_frequency_periods,
            round_segments: config.round_segments,
            reward_per_gb_per_period: config.reward_per_gb_per_period.to_raw(),
            storage_registry_address: config.storage_registry_address,
            deploy_registry: false,
            auto_claim: false,
            auto_claim_fees: 50,
            min_challenge_interval: config.min_challenge_interval,
            challenge_response_timeout: config.challenge_response_timeout,
            operator_address: String::new(),
            max_fees_per_day: Amount::from_raw(DEFAULT_FEES_PER_DAY),
            serve_remote_reads: true,
            remote_read_timeout: MassaTime::from_millis(10_000),
            block_index: indexes.blocks,
            operation_index: indexes.operations,
            address_index: indexes.addresses,
            queue_blocks: config.queue_blocks,
            repair_delay: MassaTime::from_millis(30_000),
            repair_patience: MassaTime::from_millis(20_000),
            scrub_interval: MassaTime::from_millis(1_000),
        }
    }
}

impl DistributedStorageSettings {
    /// The extension's own form of these settings. Values out of their range keep the extension from starting, not the node.
    ///
    /// # Errors
    /// [`SettingsError::Value`], naming the key.
    pub fn to_config(&self) -> Result<DistributedStorageConfig, SettingsError> {
        let config = DistributedStorageConfig {
            enabled: self.enabled,
            path: self.path.clone(),
            allocated_storage_gb: self.allocated_storage_gb,
            retention_periods: self.retention_periods,
            replication_factor: self.replication_factor,
            chunk_size: self.chunk_size,
            challenge_frequency_periods: self.challenge_frequency_periods,
            round_segments: self.round_segments,
            reward_per_gb_per_period: Amount::from_raw(self.reward_per_gb_per_period),
            min_challenge_interval: self.min_challenge_interval,
            challenge_response_timeout: self.challenge_response_timeout,
            storage_registry_address: self.storage_registry_address.clone(),
            queue_blocks: self.queue_blocks,
        };
        self.registry_address()?;
        config.check().map_err(|error| SettingsError::Value {
            key: "distributed_storage",
            reason: error.to_string(),
        })?;
        Ok(config)
    }

    /// What is indexed.
    pub fn indexes(&self) -> IndexScopes {
        IndexScopes {
            blocks: self.block_index,
            operations: self.operation_index,
            addresses: self.address_index,
        }
    }

    /// The operator that is configured; `None` if none is.
    ///
    /// # Errors
    /// [`SettingsError::Value`] unless it is an address, or empty.
    pub fn operator(&self) -> Result<Option<Address>, SettingsError> {
        let text = &self.operator_address;
        if text.is_empty() {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| SettingsError::Value {
            key: "distributed_storage.operator_address",
            reason: format!("{text:?} is not an address"),
        })
    }

    /// The registry that is configured.
    ///
    /// # Errors
    /// [`SettingsError::Value`] unless it is the address of a contract, or empty.
    pub fn registry_address(&self) -> Result<Option<Address>, SettingsError> {
        let text = &self.storage_registry_address;
        if text.is_empty() {
            return Ok(None);
        }
        match text.parse() {
            Ok(address @ Address::SC(_)) => Ok(Some(address)),
            _ => Err(SettingsError::Value {
                key: "distributed_storage.storage_registry_address",
                reason: format!("{text:?} is not the address of a contract"),
            }),
        }
    }
}

impl Settings {
    /// Reads the files that the environment names, or those at the usual places.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn load() -> Result<Self, SettingsError> {
        let path_of = |variable: &str, usual: &str| {
            std::env::var_os(variable).map_or_else(|| PathBuf::from(usual), PathBuf::from)
        };
        let base = path_of(CONFIG_PATH_VARIABLE, "base_config/config.toml");
        let over = path_of(OVERRIDE_PATH_VARIABLE, "config/config.toml");
        Self::read(&base, &over)
    }

    /// Reads `base`, then `over` if there is such a file, then the environment.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn read(base: &Path, over: &Path) -> Result<Self, SettingsError> {
        let environment = config::Environment::with_prefix(ENVIRONMENT_PREFIX)
            .prefix_separator("__")
            .separator("__")
            .try_parsing(true);
        let settings: Self = config::Config::builder()
            .add_source(config::File::from(base).format(config::FileFormat::Toml))
            .add_source(
                config::File::from(over)
                    .format(config::FileFormat::Toml)
                    .required(false),
            )
            .add_source(environment)
            .build()?
            .try_deserialize()?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> Result<(), SettingsError> {
        let bad = |key, reason: &str| {
            Err(SettingsError::Value {
                key,
                reason: reason.into(),
            })
        };
        if self.logging.level > 4 {
            return bad("logging.level", "must be between 0 and 4");
        }
        if self.memory.memory_limit_mb < 256 {
            return bad("memory.memory_limit_mb", "must be at least 256");
        }
        if self.protocol.rate_limit < 65_536 {
            return bad("protocol.rate_limit", "must be at least 65536 bytes a second");
        }
        if self.pool.max_operations_per_thread == 0 {
            return bad("pool.max_operations_per_thread", "must be at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn base() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("base_config/config.toml")
    }

    fn with_override(text: &str) -> Result<Settings, SettingsError> {
        let directory = tempfile::tempdir().unwrap();
        let over = directory.path().join("config.toml");
        fs::write(&over, text).unwrap();
        Settings::read(&base(), &over)
    }

    #[test]
    fn the_base_file_says_what_the_code_takes_for_granted() {
        let settings = Settings::read(&base(), Path::new("/nonexistent")).unwrap();
        assert_eq!(settings.distributed_storage, DistributedStorageSettings::default());
        let config = massa_protocol_exports::ProtocolConfig::default();
        assert_eq!(settings.protocol.rate_limit, config.rate_limit);
        assert_eq!(
            settings.protocol.storage_request_timeout,
            config.storage_request_timeout
        );
        assert_eq!(settings.protocol.max_chunk_size, config.max_chunk_size);
        assert_eq!(
            settings.protocol.max_storage_bytes_in_flight,
            config.max_storage_bytes_in_flight
        );
    }

    #[test]
    fn the_base_file_has_the_default_limits_of_the_api() {
        let settings = Settings::read(&base(), Path::new("/nonexistent")).unwrap().api;
        let config = massa_api::ApiConfig::default();
        assert_eq!(settings.allow_hosts, config.allow_hosts);
        assert_eq!(settings.token_file, Path::new(massa_wallet::ApiToken::DEFAULT_PATH));
        assert_eq!(settings.trusted_proxies, config.trusted_proxies);
        assert_eq!(settings.max_connections, config.max_connections);
        assert_eq!(settings.max_connections_per_ip, config.max_connections_per_ip);
        assert_eq!(settings.max_request_body_size, config.max_request_body_size);
        assert_eq!(settings.max_response_body_size, config.max_response_body_size);
        assert_eq!(settings.batch_request_limit, config.batch_request_limit);
        assert_eq!(settings.request_timeout, config.request_timeout);
        assert_eq!(settings.idle_timeout, config.idle_timeout);
    }

    #[test]
    fn a_second_file_overrides_single_keys() {
        let settings = with_override("[distributed_storage]\nenabled = true\n").unwrap();
        assert!(settings.distributed_storage.enabled);
        assert_eq!(settings.distributed_storage.allocated_storage_gb, 10);
    }

    #[test]
    fn an_unknown_key_is_refused_by_its_name() {
        let error = with_override("[distributed_storage]\nallocated_storage_tb = 1\n").unwrap_err();
        assert!(error.to_string().contains("allocated_storage_tb"), "{error}");
        let error = with_override("[distributed_stroage]\nenabled = true\n").unwrap_err();
        assert!(error.to_string().contains("distributed_stroage"), "{error}");
    }

    #[test]
    fn a_value_out_of_range_is_refused_by_its_key() {
        for (text, key) in [
            ("[logging]\nlevel = 9\n", "logging.level"),
            ("[memory]\nmemory_limit_mb = 1\n", "memory_limit_mb"),
            ("[protocol]\ninitial_peers = [\"nobody\"]\n", "peer id"),
            ("[api]\nbind_public = \"here\"\n", "bind_public"),
        ] {
            let error = with_override(text).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    #[test]
    fn a_value_of_the_archive_out_of_range_is_named_and_does_not_stop_the_node() {
        for (text, key) in [
            ("retention_periods = 10", "retention_periods"),
            ("chunk_size = 100000", "chunk_size"),
            ("allocated_storage_gb = 0", "allocated_storage_gb"),
            ("round_segments = 0", "round_segments"),
            ("round_segments = 65", "round_segments"),
            ("storage_registry_address = \"AU1\"", "storage_registry_address"),
        ] {
            let settings = with_override(&format!("[distributed_storage]\n{text}\n")).unwrap();
            let error = settings.distributed_storage.to_config().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
        let settings = with_override("[distributed_storage]\noperator_address = \"me\"\n").unwrap();
        let error = settings.distributed_storage.operator().unwrap_err().to_string();
        assert!(error.contains("operator_address"), "{error}");
    }

    #[test]
    fn an_index_has_everything_what_is_held_or_nothing() {
        let indexes = |text: &str| {
            let settings = with_override(&format!("[distributed_storage]\n{text}\n"))?;
            Ok::<_, SettingsError>(settings.distributed_storage.indexes())
        };
        assert_eq!(indexes("").unwrap(), IndexScopes::default());
        let found = indexes("block_index = \"all\"\noperation_index = \"none\"\naddress_index = \"held\"");
        let expected = IndexScopes {
            blocks: IndexScope::All,
            operations: IndexScope::None,
            addresses: IndexScope::Held,
        };
        assert_eq!(found.unwrap(), expected);
        let error = indexes("block_index = \"some\"").unwrap_err().to_string();
        assert!(error.contains("some"), "{error}");
    }

    #[test]
    fn retention_covers_four_rounds_whatever_their_length() {
        let kept = |text: &str| {
            let settings = with_override(&format!("[distributed_storage]\n{text}\n")).unwrap();
            settings
                .distributed_storage
                .to_config()
                .map(|config| config.retention_periods)
        };
        assert_eq!(kept("retention_periods = 1600").unwrap(), 1600);
        assert!(kept("retention_periods = 1599").is_err());
        assert_eq!(kept("retention_periods = 400\nround_segments = 1").unwrap(), 400);
    }

    #[test]
    fn a_peer_to_begin_with_is_an_id_and_an_address() {
        let id = massa_signature::KeyPair::generate(0).unwrap().get_public_key();
        let peer: InitialPeer = format!("{id}@127.0.0.1:31244").parse().unwrap();
        assert_eq!(peer.address.port(), 31244);
        for bad in ["", "@", "127.0.0.1:1", &format!("{id}@"), &format!("{id}@host")] {
            assert!(bad.parse::<InitialPeer>().is_err(), "{bad}");
        }
    }
}
