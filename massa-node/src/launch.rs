//! The node: everything it consists of, started in order and stopped in the reverse of it.

use crate::alarms::{start_alarms, AlarmManager, AlarmParts};
use crate::causes::with_causes;
use crate::descriptors::Descriptors;
use crate::distributed_storage::api::{NodeStorageApi, NodeStorageApiParts};
use crate::distributed_storage::contract_host::{operation_limits, NodeContractHost};
use crate::distributed_storage::peers::{addresses_of, listeners_of, tell_listeners};
use crate::distributed_storage::{NodeStorage, StorageError};
use crate::genesis::Genesis;
use crate::memory::MemoryShares;
use crate::metrics::gauge;
use crate::settings::Settings;
use crate::sync::{start_sync, SyncManager, SyncParts};
use massa_api::{start_api, ApiConfig, ApiContext, ApiHandle};
use massa_api_exports::distributed_storage::{DisabledStorage, StorageApi};
use massa_consensus_exports::{
    BootstrapableGraph, ConsensusChannels, ConsensusConfig, ConsensusController, ConsensusManager, ExportActiveBlock,
};
use massa_consensus_worker::{create_genesis_block, start_consensus_worker};
use massa_distributed_storage_exports::contract::ContractHost;
use massa_distributed_storage_exports::network::StorageNetwork;
use massa_distributed_storage_exports::verification::{parse_secure_share_block, parse_secure_share_operation};
use massa_distributed_storage_exports::StorageArchiver;
use massa_distributed_storage_worker::smart_contract::client::{ClientHandle, OnNodes};
use massa_distributed_storage_worker::smart_contract::state::NodeRecord;
use massa_execution_exports::{ExecutionController, ExecutionManager, FinalBlock};
use massa_execution_worker::{start_execution_worker, ExecutionConfig, ExecutionHandles};
use massa_factory_worker::{start_factory_worker, FactoryChannels, FactoryConfig, FactoryManager};
use massa_models::block::SecureShareBlock;
use massa_models::block_id::BlockId;
use massa_models::node::NodeId;
use massa_models::prehash::PreHashMap;
use massa_pool_exports::PoolController;
use massa_pool_worker::{PoolConfig, PoolWorker};
use massa_pos_exports::{SelectorController, StakeSelector};
use massa_protocol_exports::{PeerAddress, PeerId, ProtocolConfig, ProtocolController, ProtocolManager};
use massa_protocol_worker::{
    create_protocol_controller, start_protocol_controller, ProtocolChannels, StorageHandlerNetwork,
};
use massa_signature::KeyPair;
use massa_storage::Storage;
use massa_wallet::{load_or_create_keypair, ApiToken, Wallet};
use parking_lot::RwLock;
use prometheus::IntGauge;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use tracing::{info, warn};

/// Consensus, seen from outside.
type Consensus = Box<dyn ConsensusController>;
/// The pool, seen from outside.
type Pool = Box<dyn PoolController>;
/// The protocol, seen from outside.
type Protocol = Box<dyn ProtocolController>;

/// Commands that may wait for consensus.
const CONSENSUS_CHANNEL_SIZE: usize = 10_000;

/// Why the node did not start.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {source}")]
pub struct LaunchError {
    /// The part that did not.
    part: &'static str,
    /// Why.
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// Names the part that an error is of.
fn part<E: Into<Box<dyn std::error::Error + Send + Sync>>>(part: &'static str) -> impl FnOnce(E) -> LaunchError {
    move |error| LaunchError {
        part,
        source: error.into(),
    }
}

/// A running node.
pub struct Node {
    api: Option<ApiHandle>,
    factory: Box<dyn FactoryManager>,
    alarms: AlarmManager,
    sync: SyncManager,
    protocol: Box<dyn ProtocolManager>,
    protocol_controller: Box<dyn ProtocolController>,
    consensus: Box<dyn ConsensusManager>,
    archive: Archive,
    execution: Box<dyn ExecutionManager>,
}

/// The archive of a node. A node whose archive, or a part of it, does not start goes on without it.
#[derive(Default)]
struct Archive {
    storage: Option<NodeStorage>,
    /// The client of the registry.
    contract: Option<ClientHandle>,
    /// Why it does not run although it should.
    problem: Option<String>,
    /// Parts that do not run, and why.
    stopped_parts: Vec<String>,
}

impl Archive {
    /// The archive does not start.
    fn fail(&mut self, error: &StorageError) {
        let problem = with_causes(error);
        match error {
            StorageError::Mismatch { .. } | StorageError::Mismatched(_) | StorageError::Registry(_) => warn!(
                %problem,
                "distributed storage does not start: it would archive what no other node agrees with"
            ),
            _ => warn!(%problem, "distributed storage does not start"),
        }
        self.contract = None;
        if let Some(mut storage) = self.storage.take() {
            storage.stop();
        }
        self.problem = Some(problem);
        self.measure();
    }

    /// A part of the archive does not start.
    fn fail_part(&mut self, part: &str, error: &StorageError) {
        let problem = with_causes(error);
        warn!(part, %problem, "a part of distributed storage does not start");
        self.stopped_parts.push(format!("{part}: {problem}"));
        self.measure();
    }

    /// Brings the metrics up to date.
    fn measure(&self) {
        RUNNING.set(i64::from(self.storage.is_some()));
        STOPPED_PARTS.set(self.stopped_parts.len() as i64);
    }
}

lazy_static::lazy_static! {
    static ref RUNNING: IntGauge = gauge("distributed_storage_running", "1 while the archive runs");
    static ref STOPPED_PARTS: IntGauge =
        gauge("distributed_storage_stopped_parts", "Parts of the archive that did not start");
}

/// What every part is started with.
struct Base {
    settings: Settings,
    descriptors: Descriptors,
    genesis: Genesis,
    genesis_id: [u8; 32],
    keypair: KeyPair,
    token: ApiToken,
    wallet: Arc<RwLock<Wallet>>,
    storage: Storage,
    selector: Box<dyn SelectorController>,
}

impl Base {
    fn new(settings: Settings) -> Result<Self, LaunchError> {
        let connections = ProtocolConfig {
            target_out_connections: settings.protocol.target_out_connections,
            max_in_connections: settings.protocol.max_in_connections,
            ..ProtocolConfig::default()
        };
        let descriptors = Descriptors::plan(settings.api.max_connections, &connections).map_err(part("descriptors"))?;
        let (genesis, genesis_id) = Genesis::load(&settings.network.genesis_file).map_err(part("genesis"))?;
        let keypair = load_or_create_keypair(&settings.network.keypair_file).map_err(part("node key"))?;
        let token = ApiToken::load_or_create(&settings.api.token_file).map_err(part("token of the private API"))?;
        let wallet = Wallet::new(settings.factory.staking_wallet_path.clone(), genesis.chain_id);
        let wallet = Arc::new(RwLock::new(wallet.map_err(part("staking wallet"))?));
        let seed = genesis.seed().map_err(part("genesis"))?;
        let selector = StakeSelector::new(seed, &genesis.rolls).map_err(part("genesis"))?;
        Ok(Self {
            settings,
            descriptors,
            genesis,
            genesis_id,
            keypair,
            token,
            wallet,
            storage: Storage::create_root(),
            selector: Box::new(selector),
        })
    }

    fn node_id(&self) -> NodeId {
        NodeId::new(self.keypair.get_public_key())
    }

    fn start_execution(&self) -> Result<ExecutionHandles, LaunchError> {
        let config = ExecutionConfig {
            path: self.settings.execution.ledger_path.clone(),
            chain_id: self.genesis.chain_id,
            thread_count: self.genesis.thread_count,
            genesis_id: self.genesis_id,
            genesis_ledger: self.genesis.balances.clone(),
            rolls: self.genesis.rolls.clone(),
            operation_validity_periods: self.genesis.operation_validity_periods,
            keep_final_blocks_periods: self.settings.consensus.force_keep_final_periods_without_ops + 1,
            block_reward: self.genesis.block_reward,
            t0: self.genesis.t0,
            genesis_timestamp: self.genesis.genesis_timestamp,
        };
        start_execution_worker(config).map_err(part("execution"))
    }

    fn pool(&self, execution: &dyn ExecutionController) -> Box<dyn PoolController> {
        let config = PoolConfig {
            operation_validity_periods: self.genesis.operation_validity_periods,
            max_operations_per_thread: self.settings.pool.max_operations_per_thread,
            max_bytes_per_thread: self.memory().pool_thread(self.genesis.thread_count),
            minimal_fees: self.settings.pool.minimal_fees,
            ..PoolConfig::new(self.genesis.thread_count)
        };
        Box::new(PoolWorker::new(config, &self.storage, execution.clone_box()))
    }

    fn protocol_config(&self, storage_enabled: bool) -> ProtocolConfig {
        let settings = &self.settings.protocol;
        let initial = settings.initial_peers.iter().map(|peer| PeerAddress {
            peer_id: peer.peer_id,
            address: peer.address,
        });
        let storage_nodes = self.genesis.storage.nodes.iter().flat_map(|node| {
            let peer_id = PeerId::from_public_key(node.node_id.get_public_key());
            node.listeners.iter().map(move |address| PeerAddress {
                peer_id,
                address: *address,
            })
        });
        let in_flight = settings.max_storage_bytes_in_flight as u64;
        ProtocolConfig {
            listeners: vec![settings.bind],
            routable_addresses: settings.routable_addresses.clone(),
            initial_peers: initial.chain(storage_nodes).collect(),
            chain_id: self.genesis.chain_id,
            thread_count: self.genesis.thread_count,
            t0: self.genesis.t0,
            genesis_timestamp: self.genesis.genesis_timestamp,
            target_out_connections: settings.target_out_connections,
            max_in_connections: self.descriptors.in_connections,
            max_pending_connections: self.descriptors.handshakes,
            max_in_connections_per_ip: settings.max_in_connections_per_ip,
            rate_limit: settings.rate_limit,
            message_timeout: settings.message_timeout,
            timeout_connection: settings.timeout_connection,
            try_connection_timer: settings.try_connection_timer,
            try_connection_timer_same_peer: settings.try_connection_timer_same_peer,
            ask_block_timeout: settings.ask_block_timeout,
            operation_announcement_interval: settings.operation_announcement_interval,
            storage_enabled,
            max_storage_messages_per_second: settings.max_storage_messages_per_second,
            max_chunk_size: settings.max_chunk_size,
            max_stored_chunks_per_node: settings.max_stored_chunks_per_node,
            storage_request_timeout: settings.storage_request_timeout,
            max_storage_bytes_in_flight_per_peer: settings.max_storage_bytes_in_flight_per_peer,
            max_storage_bytes_in_flight: in_flight.min(self.memory().in_flight) as usize,
            storage_quarantine: settings.storage_quarantine,
            ..ProtocolConfig::default()
        }
    }

    fn consensus_config(&self, archiver: Option<Arc<dyn StorageArchiver>>) -> ConsensusConfig {
        let settings = &self.settings.consensus;
        ConsensusConfig {
            genesis_timestamp: self.genesis.genesis_timestamp,
            t0: self.genesis.t0,
            thread_count: self.genesis.thread_count,
            genesis_key: self.genesis.genesis_key.clone(),
            max_discarded_blocks: settings.max_discarded_blocks,
            max_future_processing_blocks: settings.max_future_processing_blocks,
            max_dependency_blocks: settings.max_dependency_blocks,
            block_db_prune_interval: settings.block_db_prune_interval,
            delta_f0: self.genesis.delta_f0,
            operation_validity_periods: self.genesis.operation_validity_periods,
            periods_per_cycle: massa_models::config::PERIODS_PER_CYCLE,
            force_keep_final_periods: settings.force_keep_final_periods,
            force_keep_final_periods_without_ops: settings.force_keep_final_periods_without_ops,
            endorsement_count: 0,
            channel_size: CONSENSUS_CHANNEL_SIZE,
            chain_id: self.genesis.chain_id,
            storage_archiver: archiver,
        }
    }

    /// The blocks of period 0. They need no chain: a node that starts in the middle of it has them too.
    fn genesis_blocks(&self) -> Result<Vec<SecureShareBlock>, LaunchError> {
        let config = self.consensus_config(None);
        let blocks = (0..config.thread_count).map(|thread| create_genesis_block(&config, thread));
        blocks.collect::<Result<_, _>>().map_err(part("genesis"))
    }

    /// The graph to begin with; `None` to begin with the genesis blocks.
    fn init_graph(&self, execution: &dyn ExecutionController) -> Result<Option<BootstrapableGraph>, LaunchError> {
        let blocks = execution.get_final_blocks().map_err(part("ledger"))?;
        let threads = self.genesis.thread_count;
        graph_of(&blocks, self.genesis.chain_id, threads, &self.storage).map_err(part("ledger"))
    }
}

/// The final blocks of the last stop, with the periods of their parents and their operations, so that what was not archived
/// yet is archived now. `None` unless every thread has one.
fn graph_of(
    blocks: &[FinalBlock],
    chain_id: u64,
    thread_count: u8,
    storage: &Storage,
) -> Result<Option<BootstrapableGraph>, String> {
    let mut periods: PreHashMap<BlockId, u64> = PreHashMap::default();
    let mut content: PreHashMap<BlockId, Storage> = PreHashMap::default();
    let mut parsed = Vec::with_capacity(blocks.len());
    for kept in blocks {
        let block = parse_secure_share_block(&kept.block, chain_id, thread_count)?;
        let operations = kept
            .operations
            .iter()
            .map(|bytes| parse_secure_share_operation(bytes, chain_id));
        let mut own = storage.clone_without_refs();
        own.store_operations(operations.collect::<Result<_, _>>()?);
        own.store_block(block.clone());
        content.insert(block.id, own);
        periods.insert(block.id, block.content.header.content.slot.period);
        parsed.push(block);
    }
    let threads: std::collections::BTreeSet<u8> = parsed
        .iter()
        .map(|block| block.content.header.content.slot.thread)
        .collect();
    if threads.len() < usize::from(thread_count) {
        return Ok(None);
    }
    let final_blocks = parsed.into_iter().map(|block| {
        // A parent that is older than all that was kept is nobody's concern any more.
        let period_of = |id: &BlockId| (*id, periods.get(id).copied().unwrap_or(0));
        ExportActiveBlock {
            parents: block.content.header.content.parents.iter().map(period_of).collect(),
            block,
            is_final: true,
        }
    });
    Ok(Some(BootstrapableGraph {
        final_blocks: final_blocks.collect(),
        content,
    }))
}

/// What peers show to be wrong takes leave to produce: `synced` is what sync says, `may_produce` what the factory follows.
fn begin_alarms(
    protocol: &Protocol,
    execution: &dyn ExecutionController,
    (synced, may_produce): (&Arc<AtomicBool>, &Arc<AtomicBool>),
) -> Result<AlarmManager, LaunchError> {
    let started = start_alarms(AlarmParts {
        protocol: protocol.clone(),
        execution: execution.clone_box(),
        synced: Arc::clone(synced),
        may_produce: Arc::clone(may_produce),
    });
    started.map_err(part("alarms"))
}

impl Node {
    /// Starts everything. `stop` is called when the operator asks the node to stop through the API.
    ///
    /// # Errors
    /// [`LaunchError`], naming the part that did not start.
    pub fn start(settings: Settings, stop: Arc<dyn Fn() + Send + Sync>) -> Result<Self, LaunchError> {
        let base = Base::new(settings)?;
        info!(node_id = %base.node_id(), chain_id = base.genesis.chain_id, "node starts");
        let (execution, execution_controller) = base.start_execution()?;
        let pool = base.pool(&*execution_controller);
        let enabled = base.settings.distributed_storage.enabled;
        let (protocol_controller, protocol_channels) = create_protocol_controller(base.protocol_config(enabled));
        let network = protocol_channels.network();
        let host = base.contract_host(&*execution_controller, &pool, &protocol_controller);
        let mut archive = base.start_storage(host);
        let channels = ConsensusChannels {
            execution_controller: execution_controller.clone(),
            selector_controller: base.selector.clone(),
            pool_controller: pool.clone(),
            protocol_controller: protocol_controller.clone(),
        };
        let storage = archive.storage.as_ref();
        let (consensus_controller, consensus) = base.start_consensus(storage, channels)?;
        let protocol = base.start_protocol(storage, &consensus_controller, &pool, protocol_channels)?;
        let (synced, may_produce) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        base.start_archive_work(&mut archive, &network, &protocol_controller, &*execution_controller);
        let sync = base.start_sync(&consensus_controller, archive.storage.as_ref(), &network, &synced);
        let alarms = begin_alarms(&protocol_controller, &*execution_controller, (&synced, &may_produce))?;
        let factory = base.start_factory(&consensus_controller, &pool, &may_produce)?;
        let context = ApiContext {
            storage_api: base.storage_api(&archive, &consensus_controller, &protocol_controller, &synced),
            consensus_controller,
            execution_controller,
            pool_controller: pool,
            protocol_controller: protocol_controller.clone(),
            selector_controller: base.selector.clone(),
            storage: base.storage.clone_without_refs(),
            node_keypair: base.keypair.clone(),
            token: base.token.clone(),
            stop_node: stop,
        };
        let api = start_api(base.api_config(), context).map_err(part("API"))?;
        Ok(Self {
            api: Some(api),
            factory,
            alarms,
            sync,
            protocol,
            protocol_controller,
            consensus,
            archive,
            execution,
        })
    }

    /// Stops everything, in the reverse of the order in which it was started.
    pub fn stop(&mut self) {
        if let Some(api) = self.api.take() {
            api.stop();
        }
        self.factory.stop();
        self.alarms.stop();
        self.sync.stop();
        if let Some(storage) = &mut self.archive.storage {
            storage.stop_network();
        }
        self.protocol_controller.stop();
        self.protocol.stop();
        self.consensus.stop();
        if let Some(storage) = &mut self.archive.storage {
            storage.stop();
        }
        self.execution.stop();
        info!("node stopped");
    }
}

impl Base {
    /// Starts the extension.
    fn start_storage(&self, host: Arc<dyn ContractHost>) -> Archive {
        let mut archive = Archive::default();
        if !self.settings.distributed_storage.enabled {
            return archive;
        }
        let operator = self.wallet.read().get_addresses().into_iter().next();
        match NodeStorage::start(&self.settings, &self.genesis, (self.node_id(), operator), host) {
            Ok(storage) => archive.storage = Some(storage),
            Err(error) => archive.fail(&error),
        }
        archive.measure();
        archive
    }

    /// The chain behind the registry client.
    fn contract_host(
        &self,
        execution: &dyn ExecutionController,
        pool: &Pool,
        protocol: &Protocol,
    ) -> Arc<dyn ContractHost> {
        Arc::new(NodeContractHost {
            execution: execution.clone_box(),
            pool: pool.clone(),
            protocol: protocol.clone(),
            wallet: Arc::clone(&self.wallet),
            storage: self.storage.clone_without_refs(),
            genesis_timestamp: self.genesis.genesis_timestamp,
            t0: self.genesis.t0,
            thread_count: self.genesis.thread_count,
            limits: operation_limits(&self.genesis, self.settings.pool.minimal_fees),
        })
    }

    /// Consensus, from what the ledger kept, handing final blocks to the archive.
    fn start_consensus(
        &self,
        storage: Option<&NodeStorage>,
        channels: ConsensusChannels,
    ) -> Result<(Consensus, Box<dyn ConsensusManager>), LaunchError> {
        let archiver = storage.map(|storage| Arc::new(storage.archiver()) as Arc<dyn StorageArchiver>);
        let graph = self.init_graph(&*channels.execution_controller)?;
        if let Some(storage) = storage {
            storage.archive_genesis(&self.genesis_blocks()?);
        }
        let config = self.consensus_config(archiver);
        start_consensus_worker(config, channels, graph, self.storage.clone_without_refs()).map_err(part("consensus"))
    }

    /// Sockets and handlers.
    fn start_protocol(
        &self,
        storage: Option<&NodeStorage>,
        consensus: &Consensus,
        pool: &Pool,
        channels: ProtocolChannels,
    ) -> Result<Box<dyn ProtocolManager>, LaunchError> {
        let started = start_protocol_controller(
            self.protocol_config(storage.is_some()),
            self.keypair.clone(),
            self.selector.clone(),
            consensus.clone(),
            pool.clone(),
            self.storage.clone_without_refs(),
            channels,
            storage.map(NodeStorage::block_archive),
            storage.map(NodeStorage::protocol_parts),
        );
        started.map_err(part("protocol"))
    }

    /// What the archive does besides archiving: repair, audits, the registry's client, rounds. It archives and serves without
    /// those that do not start; only without the client it does not go on, because everything asks that.
    fn start_archive_work(
        &self,
        archive: &mut Archive,
        network: &StorageHandlerNetwork,
        protocol: &Protocol,
        execution: &dyn ExecutionController,
    ) {
        let Some(storage) = archive.storage.as_mut() else {
            return;
        };
        let nodes = self.genesis.storage.nodes.iter();
        tell_listeners(
            network,
            nodes.map(|node| (node.node_id, node.listeners.clone())).collect(),
        );
        let networked = storage.start_network(Arc::new(network.clone()));
        let client = match storage.start_contract(self.on_nodes(network, protocol)) {
            Ok(client) => client,
            Err(error) => return archive.fail(&error),
        };
        let rounds = storage.start_rounds(client.clone(), execution.clone_box());
        archive.contract = Some(client);
        if let Err(error) = networked {
            archive.fail_part("repair and audits", &error);
        }
        if let Err(error) = rounds {
            archive.fail_part("rounds", &error);
        }
    }

    /// Registered nodes are dialed: by the handler of peers to be connected at all, by the storage handler when something is
    /// asked of one of them.
    fn on_nodes(&self, network: &StorageHandlerNetwork, protocol: &Protocol) -> OnNodes {
        let (network, protocol, own) = (network.clone(), protocol.clone(), self.node_id());
        Box::new(move |nodes: &[NodeRecord]| {
            if let Err(error) = protocol.add_peer_addresses(addresses_of(nodes, &own)) {
                warn!(%error, "addresses of registered nodes not told to the peers' handler");
            }
            tell_listeners(&network, listeners_of(nodes));
        })
    }

    fn start_sync(
        &self,
        consensus: &Consensus,
        storage: Option<&NodeStorage>,
        network: &StorageHandlerNetwork,
        synced: &Arc<AtomicBool>,
    ) -> SyncManager {
        let network: Arc<dyn StorageNetwork> = Arc::new(network.clone());
        start_sync(SyncParts {
            genesis_timestamp: self.genesis.genesis_timestamp,
            t0: self.genesis.t0,
            thread_count: self.genesis.thread_count,
            chain_id: self.genesis.chain_id,
            consensus: consensus.clone(),
            storage: self.storage.clone_without_refs(),
            archive: storage.map(|storage| (storage.handle().reader(), network)),
            synced: Arc::clone(synced),
        })
    }

    fn start_factory(
        &self,
        consensus: &Consensus,
        pool: &Pool,
        may_produce: &Arc<AtomicBool>,
    ) -> Result<Box<dyn FactoryManager>, LaunchError> {
        let config = FactoryConfig {
            genesis_timestamp: self.genesis.genesis_timestamp,
            t0: self.genesis.t0,
            thread_count: self.genesis.thread_count,
            chain_id: self.genesis.chain_id,
        };
        let channels = FactoryChannels {
            selector: self.selector.clone(),
            consensus: consensus.clone(),
            pool: pool.clone(),
            storage: self.storage.clone_without_refs(),
        };
        start_factory_worker(config, Arc::clone(&self.wallet), channels, Arc::clone(may_produce))
            .map_err(part("factory"))
    }

    fn storage_api(
        &self,
        archive: &Archive,
        consensus: &Consensus,
        protocol: &Protocol,
        synced: &Arc<AtomicBool>,
    ) -> Arc<dyn StorageApi> {
        let Some((storage, contract)) = archive.storage.as_ref().zip(archive.contract.clone()) else {
            return Arc::new(DisabledStorage {
                node_id: self.node_id(),
                chain_id: self.genesis.chain_id,
                problem: archive.problem.clone(),
            });
        };
        Arc::new(NodeStorageApi::new(NodeStorageApiParts {
            extension: storage.handle(),
            contract,
            protocol: protocol.clone(),
            consensus: consensus.clone(),
            settings: self.settings.distributed_storage.clone(),
            operator: storage.operator(),
            stopped_parts: archive.stopped_parts.clone(),
            synced: Arc::clone(synced),
            t0: self.genesis.t0,
        }))
    }

    fn memory(&self) -> MemoryShares {
        MemoryShares::of(self.settings.memory.memory_limit_mb)
    }

    fn api_config(&self) -> ApiConfig {
        let settings = &self.settings.api;
        let routable = self.settings.protocol.routable_addresses.first();
        ApiConfig {
            bind_private: settings.bind_private,
            bind_public: settings.bind_public,
            allow_hosts: settings.allow_hosts.clone(),
            trusted_proxies: settings.trusted_proxies.clone(),
            max_connections: self.descriptors.api_requests,
            max_connections_per_ip: settings.max_connections_per_ip,
            max_request_body_size: settings.max_request_body_size,
            max_response_body_size: settings.max_response_body_size,
            batch_request_limit: settings.batch_request_limit,
            request_timeout: settings.request_timeout,
            idle_timeout: settings.idle_timeout,
            max_memory_size: usize::try_from(self.memory().api).unwrap_or(usize::MAX),
            node_ip: routable.map(std::net::SocketAddr::ip),
            chain_id: self.genesis.chain_id,
            genesis_timestamp: self.genesis.genesis_timestamp,
            t0: self.genesis.t0,
            thread_count: self.genesis.thread_count,
            delta_f0: self.genesis.delta_f0,
            operation_validity_periods: self.genesis.operation_validity_periods,
            minimal_fees: self.settings.pool.minimal_fees,
            block_reward: self.genesis.block_reward,
            rolls: self.genesis.rolls.clone(),
            ..ApiConfig::default()
        }
    }
}
