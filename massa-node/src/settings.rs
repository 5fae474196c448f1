//! Settings: what the base file says, overridden by a second file, overridden by the environment.
//!
//! Values are taken as they are written: a number in quotes is no number, and 1.5 is not 1. Errors name the key, and where it is.

use config::{Config, ConfigError as FileError, Environment, File, FileFormat, Value, ValueKind};
use massa_distributed_storage_exports::config::{ConfigError, REWARD_MAX};
use massa_distributed_storage_exports::types::{MAX_CHUNK_BYTES, PAGE_BYTES};
use massa_distributed_storage_exports::DistributedStorageConfig;
use massa_distributed_storage_worker::storage_backend::{IndexScope, IndexScopes};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::MAX_LISTENERS_PER_PEER;
use massa_protocol_exports::PeerId;
use massa_time::MassaTime;
use serde::Deserialize;
use serde_json::Value as Json;
use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
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
    /// A file is missing, or is no TOML.
    #[error("settings: {0}")]
    Read(#[from] FileError),
    /// A key is unknown, missing or of another type.
    #[error("settings: {origin}: {key}: {reason}")]
    Key {
        /// The file or the variable that has it.
        origin: String,
        /// The key, with its section.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value is out of its range.
    #[error("settings: {key}: {reason}")]
    Value {
        /// The key, with its section.
        key: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A value of the archive is out of its range.
    #[error("settings: distributed_storage.{0}")]
    Archive(#[from] ConfigError),
}

/// A key, its value, and the values that it may have.
type Ranged = (&'static str, u64, RangeInclusive<u64>);

/// Milliseconds in an hour.
const HOUR_MS: u64 = 3_600_000;
/// The longest time that something is put off: 30 days.
const LONG_MS: u64 = 720 * HOUR_MS;
/// nanoMAS of a coin.
const COIN: u64 = 1_000_000_000;
/// Nobody knows so many peers to begin with.
const INITIAL_PEERS_MAX: u64 = 10_000;
/// Hosts, and proxies, that are named.
const API_NAMES_MAX: u64 = 1_000;

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
        config.check()?;
        check_ranges(&self.ranged())?;
        not_empty("distributed_storage.path", &self.path)?;
        let most = Amount::from_raw(1_000_000_000 * COIN);
        at_most("distributed_storage.max_fees_per_day", self.max_fees_per_day, most)?;
        Ok(config)
    }

    /// Ranges of what is no part of [`DistributedStorageConfig::check`].
    fn ranged(&self) -> [Ranged; 8] {
        let ms = |time: MassaTime| time.as_millis();
        [
            (
                "distributed_storage.reward_per_gb_per_period",
                self.reward_per_gb_per_period,
                0..=REWARD_MAX,
            ),
            (
                "distributed_storage.auto_claim_fees",
                self.auto_claim_fees,
                0..=1_000_000,
            ),
            (
                "distributed_storage.min_challenge_interval",
                ms(self.min_challenge_interval),
                1_000..=LONG_MS,
            ),
            (
                "distributed_storage.challenge_response_timeout",
                ms(self.challenge_response_timeout),
                1_000..=HOUR_MS,
            ),
            (
                "distributed_storage.remote_read_timeout",
                ms(self.remote_read_timeout),
                100..=HOUR_MS,
            ),
            ("distributed_storage.repair_delay", ms(self.repair_delay), 100..=LONG_MS),
            (
                "distributed_storage.repair_patience",
                ms(self.repair_patience),
                100..=LONG_MS,
            ),
            (
                "distributed_storage.scrub_interval",
                ms(self.scrub_interval),
                10..=LONG_MS,
            ),
        ]
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
        Self::read_with(base, over, Environment::default())
    }

    fn read_with(base: &Path, over: &Path, environment: Environment) -> Result<Self, SettingsError> {
        let file = |path: &Path| File::from(path).format(FileFormat::Toml);
        let environment = environment.prefix_separator("__").separator("__");
        let files = Config::builder()
            .add_source(file(base))
            .add_source(file(over).required(false))
            .build()?;
        let all = Config::builder()
            .add_source(files.clone())
            .add_source(environment.prefix(ENVIRONMENT_PREFIX))
            .build()?;
        let json = as_written(&all.cache, Some(&files.cache));
        let settings: Self = serde_path_to_error::deserialize(json).map_err(|error| {
            let key = error.path().to_string();
            SettingsError::Key {
                origin: origin(&all.cache, &key).unwrap_or_else(|| base.display().to_string()),
                key,
                reason: error.into_inner().to_string(),
            }
        })?;
        settings.check()?;
        Ok(settings)
    }

    /// Checks every range but those of the archive: [`DistributedStorageSettings::to_config`].
    fn check(&self) -> Result<(), SettingsError> {
        check_ranges(&self.protocol.ranged())?;
        check_ranges(&self.consensus.ranged())?;
        check_ranges(&self.api.ranged())?;
        check_ranges(&[
            ("logging.level", self.logging.level as u64, 0..=4),
            ("memory.memory_limit_mb", self.memory.memory_limit_mb, 512..=1 << 24),
            (
                "pool.max_operations_per_thread",
                self.pool.max_operations_per_thread as u64,
                1..=10_000_000,
            ),
        ])?;
        at_most(
            "pool.minimal_fees",
            self.pool.minimal_fees,
            Amount::from_raw(1_000 * COIN),
        )?;
        not_empty("network.genesis_file", &self.network.genesis_file)?;
        not_empty("network.keypair_file", &self.network.keypair_file)?;
        not_empty("api.token_file", &self.api.token_file)?;
        not_empty("execution.ledger_path", &self.execution.ledger_path)?;
        not_empty("factory.staking_wallet_path", &self.factory.staking_wallet_path)
    }
}

impl ProtocolSettings {
    fn ranged(&self) -> Vec<Ranged> {
        [self.counts(), self.sizes(), self.times()].concat()
    }

    fn counts(&self) -> Vec<Ranged> {
        let (routable, peers) = (self.routable_addresses.len() as u64, self.initial_peers.len() as u64);
        let (targets, incoming) = (self.target_out_connections as u64, self.max_in_connections as u64);
        let same_ip = self.max_in_connections_per_ip as u64;
        let (messages, chunks) = (
            self.max_storage_messages_per_second as u64,
            self.max_stored_chunks_per_node as u64,
        );
        vec![
            ("protocol.routable_addresses", routable, 0..=MAX_LISTENERS_PER_PEER),
            ("protocol.initial_peers", peers, 0..=INITIAL_PEERS_MAX),
            ("protocol.target_out_connections", targets, 0..=1_000),
            ("protocol.max_in_connections", incoming, 0..=10_000),
            ("protocol.max_in_connections_per_ip", same_ip, 1..=10_000),
            ("protocol.max_storage_messages_per_second", messages, 1..=1_000_000),
            ("protocol.max_stored_chunks_per_node", chunks, 1..=1 << 30),
        ]
    }

    /// Bytes, and bytes a second.
    fn sizes(&self) -> Vec<Ranged> {
        let (page, chunk) = (PAGE_BYTES as u64, self.max_chunk_size as u64);
        let of_peer = self.max_storage_bytes_in_flight_per_peer as u64;
        let of_all = self.max_storage_bytes_in_flight as u64;
        vec![
            ("protocol.rate_limit", self.rate_limit, 65_536..=1 << 36),
            ("protocol.max_chunk_size", chunk, page..=MAX_CHUNK_BYTES.into()),
            ("protocol.max_storage_bytes_in_flight_per_peer", of_peer, page..=1 << 30),
            ("protocol.max_storage_bytes_in_flight", of_all, page..=1 << 34),
        ]
    }

    fn times(&self) -> Vec<Ranged> {
        let times = [
            ("protocol.message_timeout", self.message_timeout, 100..=HOUR_MS),
            ("protocol.timeout_connection", self.timeout_connection, 100..=HOUR_MS),
            ("protocol.try_connection_timer", self.try_connection_timer, 10..=HOUR_MS),
            (
                "protocol.try_connection_timer_same_peer",
                self.try_connection_timer_same_peer,
                100..=LONG_MS,
            ),
            ("protocol.ask_block_timeout", self.ask_block_timeout, 100..=HOUR_MS),
            (
                "protocol.operation_announcement_interval",
                self.operation_announcement_interval,
                10..=HOUR_MS,
            ),
            (
                "protocol.storage_request_timeout",
                self.storage_request_timeout,
                100..=HOUR_MS,
            ),
            ("protocol.storage_quarantine", self.storage_quarantine, 1_000..=LONG_MS),
        ];
        let in_ms = times.map(|(key, time, range)| (key, time.as_millis(), range));
        in_ms.into()
    }
}

impl ApiSettings {
    fn ranged(&self) -> [Ranged; 9] {
        [
            ("api.allow_hosts", self.allow_hosts.len() as u64, 0..=API_NAMES_MAX),
            (
                "api.trusted_proxies",
                self.trusted_proxies.len() as u64,
                0..=API_NAMES_MAX,
            ),
            ("api.max_connections", self.max_connections.into(), 1..=10_000),
            (
                "api.max_connections_per_ip",
                self.max_connections_per_ip.into(),
                1..=10_000,
            ),
            (
                "api.max_request_body_size",
                self.max_request_body_size.into(),
                1 << 16..=1 << 30,
            ),
            (
                "api.max_response_body_size",
                self.max_response_body_size.into(),
                1 << 16..=1 << 30,
            ),
            ("api.batch_request_limit", self.batch_request_limit.into(), 1..=10_000),
            ("api.request_timeout", self.request_timeout.as_millis(), 100..=HOUR_MS),
            ("api.idle_timeout", self.idle_timeout.as_millis(), 100..=HOUR_MS),
        ]
    }
}

impl ConsensusSettings {
    fn ranged(&self) -> [Ranged; 6] {
        let count = |count: usize| count as u64;
        [
            (
                "consensus.force_keep_final_periods",
                self.force_keep_final_periods,
                1..=10_000,
            ),
            (
                "consensus.force_keep_final_periods_without_ops",
                self.force_keep_final_periods_without_ops,
                1..=10_000,
            ),
            (
                "consensus.block_db_prune_interval",
                self.block_db_prune_interval.as_millis(),
                10..=HOUR_MS,
            ),
            (
                "consensus.max_discarded_blocks",
                count(self.max_discarded_blocks),
                1..=1_000_000,
            ),
            (
                "consensus.max_future_processing_blocks",
                count(self.max_future_processing_blocks),
                1..=1_000_000,
            ),
            (
                "consensus.max_dependency_blocks",
                count(self.max_dependency_blocks),
                1..=1_000_000,
            ),
        ]
    }
}

fn check_ranges(ranged: &[Ranged]) -> Result<(), SettingsError> {
    match ranged.iter().find(|(_, value, range)| !range.contains(value)) {
        None => Ok(()),
        Some((key, value, range)) => Err(SettingsError::Value {
            key,
            reason: format!("{value} is not between {} and {}", range.start(), range.end()),
        }),
    }
}

fn at_most<T: PartialOrd + Display>(key: &'static str, value: T, most: T) -> Result<(), SettingsError> {
    if value <= most {
        return Ok(());
    }
    let reason = format!("{value} is more than {most}");
    Err(SettingsError::Value { key, reason })
}

fn not_empty(key: &'static str, path: &Path) -> Result<(), SettingsError> {
    if !path.as_os_str().is_empty() {
        return Ok(());
    }
    let reason = "must name a file or directory".into();
    Err(SettingsError::Value { key, reason })
}

/// A value as it was written, without the conversions that [`config`] makes: a number in quotes stays a text. A variable of the
/// environment is always a text, so the value of the files in its place says what to take it for.
fn as_written(value: &Value, in_files: Option<&Value>) -> Json {
    match &value.kind {
        ValueKind::Boolean(value) => (*value).into(),
        ValueKind::I64(value) => (*value).into(),
        ValueKind::U64(value) => (*value).into(),
        // No key has numbers beyond 64 bits, or something that is no number.
        ValueKind::Nil | ValueKind::I128(_) | ValueKind::U128(_) => Json::Null,
        ValueKind::Float(value) => (*value).into(),
        ValueKind::String(text) => match in_files.map(|value| &value.kind) {
            Some(ValueKind::Boolean(_) | ValueKind::I64(_) | ValueKind::Array(_)) if is_variable(value) => {
                serde_json::from_str(text).unwrap_or_else(|_| text.clone().into())
            }
            _ => text.clone().into(),
        },
        ValueKind::Array(items) => items.iter().map(|item| as_written(item, None)).collect(),
        ValueKind::Table(table) => {
            let in_files = |key: &str| match in_files.map(|value| &value.kind) {
                Some(ValueKind::Table(table)) => table.get(key),
                _ => None,
            };
            let entries = table.iter();
            let entries = entries.map(|(key, value)| (key.clone(), as_written(value, in_files(key))));
            Json::Object(entries.collect())
        }
    }
}

/// Whether a value is from the environment.
fn is_variable(value: &Value) -> bool {
    value.origin().is_some_and(|origin| origin.contains("environment"))
}

/// The file that has a key, or the environment. `None` of a key that is missing.
fn origin(value: &Value, key: &str) -> Option<String> {
    let (first, rest) = key.split_once(['.', '[']).unwrap_or((key, ""));
    match &value.kind {
        ValueKind::Table(table) => origin(table.get(first)?, rest),
        _ => value.origin().map(str::to_string),
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

    /// Why a value is refused: when it is read, or by the archive when it starts.
    fn refused(section: &str, key: &str, value: &str) -> Option<String> {
        let settings = match with_override(&format!("[{section}]\n{key} = {value}\n")) {
            Ok(settings) => settings.distributed_storage,
            Err(error) => return Some(error.to_string()),
        };
        let refused = settings.to_config().err().or_else(|| settings.operator().err());
        refused.map(|error| error.to_string())
    }

    /// Least and largest values that are refused, of every key with a range.
    const OUT_OF_RANGE: [(&str, &[&str]); 60] = [
        ("logging.level", &["-1", "5"]),
        ("network.genesis_file", &["\"\""]),
        ("network.keypair_file", &["\"\""]),
        ("protocol.bind", &["\"\"", "\"127.0.0.1\"", "\"127.0.0.1:65536\""]),
        ("protocol.routable_addresses", &["[\"here\"]", "[1]"]),
        ("protocol.initial_peers", &["[\"nobody\"]", "[\"nobody@127.0.0.1:1\"]"]),
        ("protocol.target_out_connections", &["-1", "1001"]),
        ("protocol.max_in_connections", &["-1", "10001"]),
        ("protocol.max_in_connections_per_ip", &["0", "10001"]),
        ("protocol.rate_limit", &["65535", "9223372036854775807"]),
        ("protocol.message_timeout", &["0", "99", "3600001"]),
        ("protocol.timeout_connection", &["0", "3600001"]),
        ("protocol.try_connection_timer", &["0", "3600001"]),
        ("protocol.try_connection_timer_same_peer", &["0", "9223372036854775807"]),
        ("protocol.ask_block_timeout", &["0", "3600001"]),
        ("protocol.operation_announcement_interval", &["0", "3600001"]),
        ("protocol.max_storage_messages_per_second", &["0", "1000001"]),
        ("protocol.max_chunk_size", &["65535", "67108865"]),
        ("protocol.max_stored_chunks_per_node", &["0", "9223372036854775807"]),
        ("protocol.storage_request_timeout", &["0", "3600001"]),
        (
            "protocol.max_storage_bytes_in_flight_per_peer",
            &["65535", "1073741825"],
        ),
        ("protocol.max_storage_bytes_in_flight", &["65535", "17179869185"]),
        ("protocol.storage_quarantine", &["0", "9223372036854775807"]),
        ("consensus.force_keep_final_periods", &["0", "10001"]),
        ("consensus.force_keep_final_periods_without_ops", &["0", "10001"]),
        ("consensus.block_db_prune_interval", &["0", "3600001"]),
        ("consensus.max_discarded_blocks", &["0", "1000001"]),
        ("consensus.max_future_processing_blocks", &["0", "1000001"]),
        ("consensus.max_dependency_blocks", &["0", "1000001"]),
        ("execution.ledger_path", &["\"\""]),
        ("pool.max_operations_per_thread", &["0", "10000001"]),
        ("pool.minimal_fees", &["\"-1\"", "\"1000.000000001\"", "\"much\""]),
        ("factory.staking_wallet_path", &["\"\""]),
        ("api.bind_public", &["\"here\"", "\"127.0.0.1:65536\""]),
        ("api.bind_private", &["\"here\"", "\"127.0.0.1:65536\""]),
        ("api.allow_hosts", &["[1]"]),
        ("api.token_file", &["\"\""]),
        ("api.trusted_proxies", &["[\"here\"]"]),
        ("api.max_connections", &["0", "10001"]),
        ("api.max_connections_per_ip", &["0", "10001"]),
        ("api.max_request_body_size", &["65535", "1073741825"]),
        ("api.max_response_body_size", &["65535", "1073741825"]),
        ("api.batch_request_limit", &["0", "10001"]),
        ("api.request_timeout", &["0", "3600001"]),
        ("api.idle_timeout", &["0", "3600001"]),
        ("memory.memory_limit_mb", &["511", "9223372036854775807"]),
        ("distributed_storage.path", &["\"\""]),
        (
            "distributed_storage.allocated_storage_gb",
            &["0", "1048577", "17179869184"],
        ),
        (
            "distributed_storage.retention_periods",
            &["10", "1599", "9223372036854775807"],
        ),
        ("distributed_storage.replication_factor", &["0", "256"]),
        ("distributed_storage.chunk_size", &["0", "100000", "134217728"]),
        ("distributed_storage.challenge_frequency_periods", &["0", "257"]),
        ("distributed_storage.round_segments", &["0", "65"]),
        ("distributed_storage.reward_per_gb_per_period", &["-1", "1000000000001"]),
        ("distributed_storage.storage_registry_address", &["\"AU1\"", "\"here\""]),
        ("distributed_storage.operator_address", &["\"me\""]),
        ("distributed_storage.max_fees_per_day", &["\"-1\"", "\"1000000000.1\""]),
        ("distributed_storage.queue_blocks", &["0", "65537"]),
        (
            "distributed_storage.min_challenge_interval",
            &["0", "9223372036854775807"],
        ),
        ("distributed_storage.auto_claim_fees", &["-1", "1000001"]),
    ];

    /// The same of keys whose range is one of times.
    const TIMES_OUT_OF_RANGE: [&str; 5] = [
        "distributed_storage.challenge_response_timeout",
        "distributed_storage.remote_read_timeout",
        "distributed_storage.repair_delay",
        "distributed_storage.repair_patience",
        "distributed_storage.scrub_interval",
    ];

    /// Keys that are one of a few words: another type is all that can be wrong.
    const WITHOUT_RANGE: [&str; 7] = [
        "distributed_storage.enabled",
        "distributed_storage.deploy_registry",
        "distributed_storage.auto_claim",
        "distributed_storage.serve_remote_reads",
        "distributed_storage.block_index",
        "distributed_storage.operation_index",
        "distributed_storage.address_index",
    ];

    /// Every key of the base file with its value.
    fn every_key() -> Vec<(String, String, ValueKind)> {
        let files = Config::builder().add_source(File::from(base()).format(FileFormat::Toml));
        let sections = files.build().unwrap().cache.into_table().unwrap().into_iter();
        let keys = sections.flat_map(|(section, keys)| {
            let keys = keys.into_table().unwrap().into_iter();
            keys.map(move |(key, value)| (section.clone(), key, value.kind))
        });
        keys.collect()
    }

    #[test]
    fn a_value_of_another_type_is_refused_by_its_key_whatever_it_looks_like() {
        for (section, key, value) in every_key() {
            let wrong: &[&str] = match value {
                ValueKind::String(_) => &["1", "true", "1.5", "[]", "{ a = 1 }", "nan"],
                ValueKind::Boolean(_) => &["\"yes\"", "\"true\"", "1", "0", "[]", "nan"],
                ValueKind::I64(_) => &["\"1000\"", "1000.0", "1.5", "nan", "inf", "true", "[1000]", "-1"],
                ValueKind::Array(_) => &["1", "\"127.0.0.1:1\"", "true", "nan", "[1]", "[[]]"],
                other => panic!("{section}.{key} is {other:?}"),
            };
            for wrong in wrong {
                let error = with_override(&format!("[{section}]\n{key} = {wrong}\n")).err();
                let error = error.map_or_else(
                    || panic!("{section}.{key} = {wrong} is taken"),
                    |error| error.to_string(),
                );
                assert!(
                    error.contains(&format!("config.toml: {section}.{key}")),
                    "{wrong}: {error}"
                );
            }
        }
    }

    #[test]
    fn every_key_has_a_range_and_names_itself_outside_of_it() {
        let times = TIMES_OUT_OF_RANGE.map(|key| (key, ["0", "9223372036854775807"].as_slice()));
        let cases: Vec<(&str, &[&str])> = OUT_OF_RANGE.into_iter().chain(times).collect();
        for (section, key, _) in every_key() {
            let path = format!("{section}.{key}");
            let known = cases.iter().any(|(known, _)| *known == path) || WITHOUT_RANGE.contains(&path.as_str());
            assert!(known, "{path} is neither in OUT_OF_RANGE nor in WITHOUT_RANGE");
        }
        for (path, values) in cases {
            let (section, key) = path.split_once('.').unwrap();
            for value in values {
                let error = refused(section, key, value).unwrap_or_else(|| panic!("{path} = {value} is taken"));
                assert!(error.contains(path), "{path} = {value}: {error}");
            }
        }
    }

    #[test]
    fn a_variable_is_taken_for_what_its_key_is_and_named_when_it_is_wrong() {
        let read = |name: &str, text: &str| {
            let variable = (format!("{ENVIRONMENT_PREFIX}__{name}"), text.to_string());
            let environment = Environment::default().source(Some([variable].into()));
            Settings::read_with(&base(), Path::new("/nonexistent"), environment)
        };
        assert_eq!(
            read("MEMORY__MEMORY_LIMIT_MB", "512").unwrap().memory.memory_limit_mb,
            512
        );
        assert_eq!(
            read("POOL__MINIMAL_FEES", "1").unwrap().pool.minimal_fees.to_raw(),
            COIN
        );
        let archive = read("DISTRIBUTED_STORAGE__AUTO_CLAIM", "true").unwrap();
        assert!(archive.distributed_storage.auto_claim);
        let routable = read("PROTOCOL__ROUTABLE_ADDRESSES", "[\"127.0.0.1:1\"]").unwrap();
        assert_eq!(routable.protocol.routable_addresses.len(), 1);
        for (name, text, expected) in [
            (
                "MEMORY__MEMORY_LIMIT_MB",
                "many",
                "environment: memory.memory_limit_mb: ",
            ),
            ("DISTRIBUTED_STORAGE__ENABLED", "yes", "distributed_storage.enabled: "),
            ("API__PORT", "1", "environment: api.port: "),
        ] {
            let error = read(name, text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_file_that_is_missing_or_no_toml_is_named() {
        let error = Settings::read(Path::new("/nonexistent.toml"), &base())
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nonexistent.toml"), "{error}");
        let error = with_override("[api\n").unwrap_err().to_string();
        assert!(error.contains("config.toml"), "{error}");
        let twice = with_override("[api]\nbind_public = \"1\"\nbind_public = \"2\"\n");
        assert!(twice.unwrap_err().to_string().contains("duplicate"));
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
