//! Settings of the servers.

use crate::access::AllowedHost;
use crate::limiter::ArchiveLimits;
use crate::server::connection_bytes;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::{
    BLOCK_REWARD, CHAINID, DELTA_F0, GENESIS_TIMESTAMP, MAX_BLOCK_SIZE, MAX_GAS_PER_BLOCK, OPERATION_VALIDITY_PERIODS,
    PERIODS_PER_CYCLE, ROLL_PRICE, T0, THREAD_COUNT, VERSION,
};
use massa_models::version::Version;
use massa_time::MassaTime;
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Each has a thread while it runs.
const MAX_CONNECTIONS: u32 = 10_000;

/// Settings of the servers, and the constants of the chain that they tell. Fields with upstream's names have upstream's
/// meaning and values.
#[derive(Clone, Debug)]
pub struct ApiConfig {
    /// Where the private server listens. Who reaches it rules the node.
    pub bind_private: SocketAddr,
    /// Where the public server listens.
    pub bind_public: SocketAddr,
    /// Hosts under which the public server is asked, if there are any here, and those under which the private server is
    /// asked beside its own address and loopback names; pages of these ask it too. `name`, `name:port` or `name:*`.
    pub allow_hosts: Vec<String>,
    /// Proxies whose word counts for whom they ask.
    pub trusted_proxies: Vec<IpAddr>,
    /// Requests that the public server works on at a time; more are refused. Four times as many connections may be open.
    pub max_connections: u32,
    /// Those of one client: of an IPv4 address or an IPv6 network.
    pub max_connections_per_ip: u32,
    /// How long a request may take to arrive, all of it.
    pub request_timeout: MassaTime,
    /// Bytes of requests that arrive, answers that are collected or sent, and buffers of connections, all of them together.
    pub max_memory_size: usize,
    /// Bytes of a request.
    pub max_request_body_size: u32,
    /// Bytes of an answer.
    pub max_response_body_size: u32,
    /// Calls in one request.
    pub batch_request_limit: u32,
    /// Entries of a list given as argument.
    pub max_arguments: usize,
    /// Requests for keys of datastores in one call.
    pub max_datastore_keys_queries: usize,
    /// Keys of a datastore told at once.
    pub max_datastore_keys: usize,
    /// Gas of an execution that changes nothing.
    pub max_read_only_gas: u64,
    /// Calls at a time whose executions run: each takes all of a processor.
    pub read_only_at_once: usize,
    /// Calls that wait for that; more are refused.
    pub read_only_waiting: usize,
    /// How long the executions of one call may wait and take, but for the last of them.
    pub read_only_deadline: MassaTime,
    /// Periods ahead for which draws are told.
    pub draw_lookahead_period_count: u64,
    /// How long a client may take to receive an answer and to ask again. The connection is closed then.
    pub idle_timeout: MassaTime,
    /// How long one call may read from the archive.
    pub archive_deadline: MassaTime,
    /// What one client, and all of them, may read from the archive.
    pub archive_limits: ArchiveLimits,
    /// Where others reach this node.
    pub node_ip: Option<IpAddr>,
    /// Of the software.
    pub version: Version,
    /// The chain.
    pub chain_id: u64,
    /// When the first slot began.
    pub genesis_timestamp: MassaTime,
    /// Length of a period.
    pub t0: MassaTime,
    /// Threads.
    pub thread_count: u8,
    /// Periods of a cycle.
    pub periods_per_cycle: u64,
    /// Fitness of descendants that makes a block final.
    pub delta_f0: u64,
    /// Periods during which an operation may be included.
    pub operation_validity_periods: u64,
    /// The least fee of an operation that is taken.
    pub minimal_fees: Amount,
    /// Created with each block.
    pub block_reward: Amount,
    /// Price of a roll.
    pub roll_price: Amount,
    /// Bytes of a block's operations.
    pub max_block_size: u32,
    /// Rolls of each address: they do not change here.
    pub rolls: BTreeMap<Address, u64>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            bind_private: SocketAddr::from((Ipv4Addr::LOCALHOST, 33034)),
            bind_public: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 33035)),
            allow_hosts: Vec::new(),
            trusted_proxies: Vec::new(),
            max_connections: 100,
            max_connections_per_ip: 50,
            request_timeout: MassaTime::from_millis(20_000),
            max_memory_size: 512 << 20,
            max_request_body_size: 50 << 20,
            max_response_body_size: 50 << 20,
            batch_request_limit: 16,
            max_arguments: 128,
            max_datastore_keys_queries: 50,
            max_datastore_keys: 500,
            max_read_only_gas: MAX_GAS_PER_BLOCK,
            read_only_at_once: 2,
            read_only_waiting: 16,
            read_only_deadline: MassaTime::from_millis(30_000),
            draw_lookahead_period_count: 10,
            idle_timeout: MassaTime::from_millis(60_000),
            archive_deadline: MassaTime::from_millis(30_000),
            archive_limits: ArchiveLimits::default(),
            node_ip: None,
            version: *VERSION,
            chain_id: *CHAINID,
            genesis_timestamp: *GENESIS_TIMESTAMP,
            t0: T0,
            thread_count: THREAD_COUNT,
            periods_per_cycle: PERIODS_PER_CYCLE,
            delta_f0: DELTA_F0,
            operation_validity_periods: OPERATION_VALIDITY_PERIODS,
            minimal_fees: Amount::const_init(1, 2),
            block_reward: BLOCK_REWARD,
            roll_price: ROLL_PRICE,
            max_block_size: MAX_BLOCK_SIZE,
            rolls: BTreeMap::new(),
        }
    }
}

/// A setting that is not usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct ApiConfigError {
    /// The setting.
    pub field: &'static str,
    /// What is wrong with it.
    pub reason: String,
}

fn refused(field: &'static str, reason: String) -> Result<(), ApiConfigError> {
    Err(ApiConfigError { field, reason })
}

impl ApiConfig {
    /// Checks every range.
    ///
    /// # Errors
    /// [`ApiConfigError`], naming the setting.
    pub fn check(&self) -> Result<(), ApiConfigError> {
        if let Some((field, _)) = self.counts().into_iter().find(|(_, count)| *count == 0) {
            return refused(field, "must be at least 1".to_string());
        }
        let (burst, arguments) = (self.archive_limits.burst, self.max_arguments);
        if (burst as usize) < arguments {
            let reason =
                format!("{burst} is less than max_arguments, {arguments}: the largest call could never be answered");
            return refused("archive_limits.burst", reason);
        }
        if let Some(host) = self.allow_hosts.iter().find(|host| AllowedHost::parse(host).is_none()) {
            return refused("allow_hosts", format!("{host:?} is not a host, nor one with a port"));
        }
        self.check_connections()
    }

    /// What is refused if it is 0.
    fn counts(&self) -> [(&'static str, u64); 17] {
        let archive = &self.archive_limits;
        [
            ("max_connections", self.max_connections.into()),
            ("max_connections_per_ip", self.max_connections_per_ip.into()),
            ("request_timeout", self.request_timeout.as_millis()),
            ("idle_timeout", self.idle_timeout.as_millis()),
            ("max_request_body_size", self.max_request_body_size.into()),
            ("max_response_body_size", self.max_response_body_size.into()),
            ("batch_request_limit", self.batch_request_limit.into()),
            ("max_arguments", self.max_arguments as u64),
            ("max_datastore_keys_queries", self.max_datastore_keys_queries as u64),
            ("max_datastore_keys", self.max_datastore_keys as u64),
            ("read_only_at_once", self.read_only_at_once as u64),
            ("archive_limits.reads_at_once", archive.reads_at_once as u64),
            ("archive_limits.reads_per_second", archive.reads_per_second.into()),
            ("archive_limits.all_reads_at_once", archive.all_reads_at_once as u64),
            ("archive_limits.clients_max", archive.clients_max as u64),
            ("thread_count", self.thread_count.into()),
            ("periods_per_cycle", self.periods_per_cycle),
        ]
    }

    fn check_connections(&self) -> Result<(), ApiConfigError> {
        let count = self.max_connections;
        if count > MAX_CONNECTIONS {
            return refused("max_connections", format!("must be at most {MAX_CONNECTIONS}"));
        }
        let (taken, share) = (connection_bytes(count as usize), self.max_memory_size / 2);
        if taken > share {
            let reason = format!(
                "{count} take {} MiB for the buffers of their connections, more than the {} MiB for that: raise \
                 memory.memory_limit_mb",
                taken >> 20,
                share >> 20
            );
            return refused("max_connections", reason);
        }
        Ok(())
    }

    /// [`ApiConfig::allow_hosts`], those that are hosts.
    pub(crate) fn allowed_hosts(&self) -> Vec<AllowedHost> {
        self.allow_hosts
            .iter()
            .filter_map(|host| AllowedHost::parse(host))
            .collect()
    }
}
