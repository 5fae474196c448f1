//! Puts the protocol together.

use crate::checks::contests::Contests;
use crate::checks::SharedChecks;
use crate::connectivity::{ConnectivityCommand, ConnectivityThread, Handlers, ProtocolStorageHost};
use crate::controller::ProtocolControllerImpl;
use crate::handlers::block_handler::cache::{BlockCache, SharedBlockCache};
use crate::handlers::block_handler::commands_propagation::BlockHandlerPropagationCommand;
use crate::handlers::block_handler::commands_retrieval::BlockHandlerRetrievalCommand;
use crate::handlers::block_handler::{BlockHandler, BlockHandlerParts};
use crate::handlers::operation_handler::cache::{OperationCache, SharedOperationCache};
use crate::handlers::operation_handler::commands_propagation::OperationHandlerPropagationCommand;
use crate::handlers::operation_handler::commands_retrieval::OperationHandlerRetrievalCommand;
use crate::handlers::operation_handler::{OperationHandler, OperationHandlerParts};
use crate::handlers::peer_handler::models::{PeerDB, SharedPeerDB};
use crate::handlers::peer_handler::{PeerHandlerParts, PeerManagementCmd, PeerManagementHandler};
use crate::handlers::spawn_handler_thread;
use crate::handlers::storage_handler::{
    StorageHandler, StorageHandlerChannels, StorageHandlerNetwork, StorageHandlerParts,
};
use crate::manager::ProtocolManagerImpl;
use crate::messages::{MessagesHandler, PeerMessageTuple};
use crate::transport::{ActiveConnections, Network, NetworkParts, OnConnected};
use crate::wrap_network::ActiveConnectionsTrait;
use massa_channel::receiver::MassaReceiver;
use massa_channel::sender::MassaSender;
use massa_channel::MassaChannel;
use massa_consensus_exports::ConsensusController;
use massa_distributed_storage_exports::network::{ArchiveServer, StorageEvents};
use massa_distributed_storage_exports::ArchiveParameters;
use massa_pool_exports::PoolController;
use massa_pos_exports::SelectorController;
use massa_protocol_exports::{
    BlockArchive, PeerId, ProtocolConfig, ProtocolController, ProtocolError, ProtocolManager,
};
use massa_signature::KeyPair;
use massa_storage::Storage;
use parking_lot::RwLock;
use std::sync::Arc;

/// Both ends of a channel.
pub type ChannelEnds<T> = (MassaSender<T>, MassaReceiver<T>);

/// The channels to the threads of the protocol. They exist before the threads do.
pub struct ProtocolChannels {
    /// To the thread that fetches operations.
    pub operation_handler_retrieval: ChannelEnds<OperationHandlerRetrievalCommand>,
    /// To the thread that announces operations.
    pub operation_handler_propagation: ChannelEnds<OperationHandlerPropagationCommand>,
    /// To the thread that fetches blocks.
    pub block_handler_retrieval: ChannelEnds<BlockHandlerRetrievalCommand>,
    /// To the thread that announces blocks.
    pub block_handler_propagation: ChannelEnds<BlockHandlerPropagationCommand>,
    /// To the thread that dials.
    pub connectivity_thread: ChannelEnds<ConnectivityCommand>,
    /// To the thread of the peer handler.
    pub peer_management_handler: ChannelEnds<PeerManagementCmd>,
    /// To the storage handler.
    pub storage_handler: StorageHandlerChannels,
    /// What peers show to be wrong with this node.
    pub checks: SharedChecks,
}

impl ProtocolChannels {
    /// What the worker asks peers with. It can be given to the worker before there is a storage handler: what is asked until then
    /// waits in the channels.
    pub fn network(&self) -> StorageHandlerNetwork {
        self.storage_handler.network()
    }
}

/// The worker's side of storage traffic.
#[derive(Clone)]
pub struct StorageParts {
    /// What this node serves.
    pub server: Arc<dyn ArchiveServer>,
    /// Who is told what peers say.
    pub events: Arc<dyn StorageEvents>,
    /// What the network's archive looks like.
    pub parameters: ArchiveParameters,
}

/// Makes the controller and its channels. Consensus needs the controller, and the protocol needs consensus: so this comes
/// first, and commands wait in the channels until [`start_protocol_controller`].
pub fn create_protocol_controller(config: ProtocolConfig) -> (Box<dyn ProtocolController>, ProtocolChannels) {
    fn channel<T>(name: &str, config: &ProtocolConfig) -> ChannelEnds<T> {
        MassaChannel::new(name.into(), Some(config.max_size_channel_commands))
    }
    let channels = ProtocolChannels {
        operation_handler_retrieval: channel("operation_handler_retrieval", &config),
        operation_handler_propagation: channel("operation_handler_propagation", &config),
        block_handler_retrieval: channel("block_handler_retrieval", &config),
        block_handler_propagation: channel("block_handler_propagation", &config),
        connectivity_thread: channel("connectivity_thread", &config),
        peer_management_handler: channel("peer_management_handler", &config),
        storage_handler: StorageHandlerChannels::new(&config),
        checks: SharedChecks::new(&config),
    };
    let controller = ProtocolControllerImpl::new(
        channels.block_handler_retrieval.0.clone(),
        channels.block_handler_propagation.0.clone(),
        channels.operation_handler_propagation.0.clone(),
        channels.connectivity_thread.0.clone(),
        channels.peer_management_handler.0.clone(),
        channels.checks.clone(),
    );
    (Box::new(controller), channels)
}

/// Opens the sockets and starts all threads.
///
/// `keypair` is the node's identity. `block_archive` answers for blocks that are not in `storage` any more.
/// `storage_parts` are needed exactly if `config.storage_enabled`; what the worker asks of the network then goes through
/// [`ProtocolChannels::network`].
///
/// # Errors
/// [`ProtocolError`]: a setting is not usable, or a listener's address cannot be had.
#[allow(clippy::too_many_arguments)] // Upstream's parameters, and two more.
pub fn start_protocol_controller(
    config: ProtocolConfig,
    keypair: KeyPair,
    selector: Box<dyn SelectorController>,
    consensus: Box<dyn ConsensusController>,
    pool: Box<dyn PoolController>,
    storage: Storage,
    protocol_channels: ProtocolChannels,
    block_archive: Option<Arc<dyn BlockArchive>>,
    storage_parts: Option<StorageParts>,
) -> Result<Box<dyn ProtocolManager>, ProtocolError> {
    check_config(&config, storage_parts.is_some())?;
    let peer_id = PeerId::from_public_key(keypair.get_public_key());
    let shared = SharedState {
        keypair,
        checks: protocol_channels.checks.clone(),
        contests: Contests::default(),
        connections: ActiveConnections::new(peer_id, &config),
        peer_db: Arc::new(RwLock::new(PeerDB::new(peer_id, &config.initial_peers))),
        block_cache: Arc::new(RwLock::new(BlockCache::new(&config))),
        operation_cache: Arc::new(RwLock::new(OperationCache::new(&config))),
        storage,
    };
    let modules = Modules {
        selector,
        consensus,
        pool,
        block_archive,
        storage_parts,
    };
    start(config, shared, (protocol_channels, modules))
}

fn start(
    config: ProtocolConfig,
    shared: SharedState,
    (protocol_channels, modules): (ProtocolChannels, Modules),
) -> Result<Box<dyn ProtocolManager>, ProtocolError> {
    let network_channels = NetworkChannels::new(&config);
    let parts = NetworkParts {
        keypair: shared.keypair.clone(),
        connections: shared.connections.clone(),
        peer_db: Arc::clone(&shared.peer_db),
        messages_handler: network_channels.messages_handler(config.storage_enabled),
        on_connected: on_connected(&shared, &protocol_channels),
        checks: shared.checks.clone(),
        contests: shared.contests.clone(),
    };
    // The sockets come first: if an address cannot be had, no thread is left behind.
    let network = Network::start(&config, parts)?;
    let (connectivity, commands) = protocol_channels.connectivity_thread.clone();
    let handlers = start_handlers(&config, &shared, modules, (protocol_channels, network_channels));
    let handlers = handlers.inspect_err(|_| network.stop())?;
    let thread = ConnectivityThread {
        config,
        commands,
        network,
        connections: shared.connections,
        peer_db: shared.peer_db,
        handlers,
    };
    let thread = spawn_handler_thread("connectivity", || thread.run())?;
    let manager = ProtocolManagerImpl::new((connectivity, thread));
    Ok(Box::new(manager))
}

/// What several threads use.
struct SharedState {
    keypair: KeyPair,
    checks: SharedChecks,
    contests: Contests,
    connections: ActiveConnections,
    peer_db: SharedPeerDB,
    block_cache: SharedBlockCache,
    operation_cache: SharedOperationCache,
    storage: Storage,
}

/// The node's other modules.
struct Modules {
    selector: Box<dyn SelectorController>,
    consensus: Box<dyn ConsensusController>,
    pool: Box<dyn PoolController>,
    block_archive: Option<Arc<dyn BlockArchive>>,
    storage_parts: Option<StorageParts>,
}

/// A peer that connected is told everything, and who else there is.
fn on_connected(shared: &SharedState, channels: &ProtocolChannels) -> OnConnected {
    let (blocks, operations) = (Arc::clone(&shared.block_cache), Arc::clone(&shared.operation_cache));
    let greet = channels.peer_management_handler.0.clone();
    Box::new(move |peer_id| {
        blocks.write().forget_peer(peer_id);
        operations.write().forget_peer(peer_id);
        // Without room the peer gets the next list.
        let _ = greet.try_send(PeerManagementCmd::Greet(*peer_id));
    })
}

fn start_handlers(
    config: &ProtocolConfig,
    shared: &SharedState,
    modules: Modules,
    (channels, network): (ProtocolChannels, NetworkChannels),
) -> Result<Handlers, ProtocolError> {
    let peer_cmd_sender = channels.peer_management_handler.0.clone();
    let operation_parts = OperationHandlerParts {
        active_connections: shared.connections.clone_box(),
        pool: modules.pool,
        receiver_network: network.operations.1,
        retrieval: channels.operation_handler_retrieval,
        propagation: channels.operation_handler_propagation,
        peer_cmd_sender: peer_cmd_sender.clone(),
        cache: Arc::clone(&shared.operation_cache),
        storage: shared.storage.clone_without_refs(),
    };
    let block_parts = BlockHandlerParts {
        active_connections: shared.connections.clone_box(),
        selector: modules.selector,
        consensus: modules.consensus,
        receiver_network: network.blocks.1,
        retrieval: channels.block_handler_retrieval,
        propagation: channels.block_handler_propagation,
        peer_cmd_sender,
        cache: Arc::clone(&shared.block_cache),
        storage: shared.storage.clone_without_refs(),
        block_archive: modules.block_archive,
        checks: shared.checks.clone(),
    };
    let peer_parts = PeerHandlerParts {
        active_connections: shared.connections.clone_box(),
        receiver_network: network.peers.1,
        commands: channels.peer_management_handler,
        peer_db: Arc::clone(&shared.peer_db),
        keypair: shared.keypair.clone(),
        checks: shared.checks.clone(),
        contests: shared.contests.clone(),
    };
    let host = ProtocolStorageHost {
        connections: shared.connections.clone(),
        connectivity: channels.connectivity_thread.0,
        peer_db: Arc::clone(&shared.peer_db),
    };
    let storage_channels = (channels.storage_handler, network.storage.1);
    let start = |parts| start_storage(config, host, parts, storage_channels);
    Ok(Handlers {
        storage: modules.storage_parts.map(start).transpose()?,
        operations: OperationHandler::new(config, operation_parts)?,
        blocks: BlockHandler::new(config, block_parts)?,
        peers: PeerManagementHandler::new(config, peer_parts)?,
    })
}

fn start_storage(
    config: &ProtocolConfig,
    host: ProtocolStorageHost,
    parts: StorageParts,
    (channels, messages): (StorageHandlerChannels, MassaReceiver<PeerMessageTuple>),
) -> Result<StorageHandler, ProtocolError> {
    let connections = host.connections.clone_box();
    let parts = StorageHandlerParts {
        host: Arc::new(host),
        server: parts.server,
        events: parts.events,
        parameters: parts.parameters,
    };
    let handler = StorageHandler::new(connections, parts, messages, channels, config.clone())?;
    Ok(handler)
}

/// From the connections to the handlers.
struct NetworkChannels {
    blocks: ChannelEnds<PeerMessageTuple>,
    operations: ChannelEnds<PeerMessageTuple>,
    peers: ChannelEnds<PeerMessageTuple>,
    storage: ChannelEnds<PeerMessageTuple>,
}

impl NetworkChannels {
    fn new(config: &ProtocolConfig) -> Self {
        let channel = |name: &str, size| MassaChannel::new(name.into(), Some(size));
        let size = config.max_size_channel_network_to_handler;
        Self {
            blocks: channel("network_to_block_handler", size),
            operations: channel("network_to_operation_handler", size),
            peers: channel("network_to_peer_handler", size),
            storage: channel(
                "network_to_storage_handler",
                config.max_size_channel_network_to_storage_handler,
            ),
        }
    }

    fn messages_handler(&self, storage_enabled: bool) -> MessagesHandler {
        MessagesHandler::new(
            self.blocks.0.clone(),
            self.operations.0.clone(),
            self.peers.0.clone(),
            storage_enabled.then(|| self.storage.0.clone()),
        )
    }
}

fn check_config(config: &ProtocolConfig, has_storage_parts: bool) -> Result<(), ProtocolError> {
    let refuse = |reason: String| Err(ProtocolError::InvalidConfig(reason));
    if config.storage_enabled != has_storage_parts {
        let enabled = config.storage_enabled;
        return refuse(format!(
            "storage_enabled is {enabled}, but storage parts are given: {has_storage_parts}"
        ));
    }
    let durations = [
        ("message_timeout", config.message_timeout),
        ("timeout_connection", config.timeout_connection),
        ("try_connection_timer", config.try_connection_timer),
        ("ask_block_timeout", config.ask_block_timeout),
        ("block_propagation_tick", config.block_propagation_tick),
        (
            "operation_announcement_interval",
            config.operation_announcement_interval,
        ),
    ];
    for (name, value) in durations {
        if value.as_millis() == 0 {
            return refuse(format!("{name} is 0"));
        }
    }
    let sizes = [
        ("max_message_size", config.max_message_size),
        ("send_data_channel_size", config.send_data_channel_size),
        ("max_size_channel_commands", config.max_size_channel_commands),
        (
            "max_size_channel_network_to_handler",
            config.max_size_channel_network_to_handler,
        ),
        ("max_known_blocks_size", config.max_known_blocks_size),
        ("max_node_known_blocks_size", config.max_node_known_blocks_size),
    ];
    for (name, value) in sizes {
        if value == 0 {
            return refuse(format!("{name} is 0"));
        }
    }
    if config.rate_limit == 0 {
        return refuse("rate_limit is 0".into());
    }
    Ok(())
}
