//! Settings of the protocol.

use crate::PeerId;
use massa_models::version::Version;
use massa_time::MassaTime;
use std::net::SocketAddr;
use std::time::Duration;

/// Where a peer listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Who.
    pub peer_id: PeerId,
    /// Where.
    pub address: SocketAddr,
}

/// Faults of this node's links, for tests: TCP itself neither delays nor loses on one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LinkFaults {
    /// Added to the way of each message after the handshake.
    pub delay: Duration,
    /// One in so many storage messages of low priority is lost on the way; 0: none.
    pub loss_one_in: u32,
    /// Which ones follows from it, so that a run can be repeated.
    pub seed: u64,
}

/// Settings of the protocol. Fields with upstream's names have upstream's meaning; those that begin with `max_` bound
/// what a peer can make this node keep.
#[derive(Clone, Debug)]
pub struct ProtocolConfig {
    /// Where this node accepts connections.
    pub listeners: Vec<SocketAddr>,
    /// Where peers reach this node; none: it cannot be dialed.
    pub routable_addresses: Vec<SocketAddr>,
    /// Peers to begin with.
    pub initial_peers: Vec<PeerAddress>,
    /// Version told in the handshake.
    pub version: Version,
    /// The chain.
    pub chain_id: u64,
    /// Threads of the chain.
    pub thread_count: u8,
    /// Endorsers of a slot.
    pub endorsement_count: u32,
    /// Length of a period.
    pub t0: MassaTime,
    /// When the first slot began.
    pub genesis_timestamp: MassaTime,
    /// Connections that this node opens by itself.
    pub target_out_connections: usize,
    /// Connections that peers may open.
    pub max_in_connections: usize,
    /// Connections to and from one address of the internet, loopback excepted.
    pub max_in_connections_per_ip: usize,
    /// Connections from outside that have yet to show who they are.
    pub max_pending_connections: usize,
    /// Bytes per second, in each direction of each connection.
    pub rate_limit: u64,
    /// Bytes of one frame at most.
    pub max_message_size: usize,
    /// How long one frame may take.
    pub message_timeout: MassaTime,
    /// How long opening a connection may take.
    pub timeout_connection: MassaTime,
    /// How often connections are opened where some are missing.
    pub try_connection_timer: MassaTime,
    /// How long one address is left alone after an attempt.
    pub try_connection_timer_same_peer: MassaTime,
    /// How long to wait for a block before another peer is asked.
    pub ask_block_timeout: MassaTime,
    /// Blocks asked of one peer at a time.
    pub max_simultaneous_ask_blocks_per_node: usize,
    /// How often headers are announced to peers that do not know them yet.
    pub block_propagation_tick: MassaTime,
    /// How long a block is announced.
    pub max_block_propagation_time: MassaTime,
    /// Blocks kept for announcing.
    pub max_blocks_kept_for_propagation: usize,
    /// Headers remembered.
    pub max_known_blocks_size: usize,
    /// Headers that one peer is remembered to know.
    pub max_node_known_blocks_size: usize,
    /// Operations remembered.
    pub max_known_ops_size: usize,
    /// Operations that one peer is remembered to know.
    pub max_node_known_ops_size: usize,
    /// Operations in one message.
    pub max_operations_per_message: u64,
    /// Operations in a block.
    pub max_operations_per_block: u32,
    /// Bytes of a block's operations, taken together.
    pub max_serialized_operations_size_per_block: usize,
    /// How often operations are announced.
    pub operation_announcement_interval: MassaTime,
    /// Operations asked for at a time.
    pub asked_operations_buffer_capacity: usize,
    /// Listeners that one peer may announce.
    pub max_size_listeners_per_peer: u64,
    /// Peers in one list.
    pub max_size_peers_announcement: u64,
    /// Messages that may wait for a peer's connection, in each of its two queues.
    pub send_data_channel_size: usize,
    /// Commands that may wait for a thread of the protocol.
    pub max_size_channel_commands: usize,
    /// Messages of peers that may wait for a handler.
    pub max_size_channel_network_to_handler: usize,
    /// Faults of the links, for tests.
    pub link_faults: LinkFaults,

    /// Whether this node speaks storage: announces the capability, and starts the storage handler.
    pub storage_enabled: bool,
    /// Storage messages taken from one peer in a second; the rest is dropped. (Storage plan, 2.3.)
    pub max_storage_messages_per_second: usize,
    /// Bytes of a chunk that is asked for or served. (Storage plan, 2.3.)
    pub max_chunk_size: usize,
    /// Chunks that one peer may say it holds; more are not remembered. (Storage plan, 2.3.)
    pub max_stored_chunks_per_node: usize,
    /// Commands that may wait for the thread that fetches. (Storage plan, 2.3.)
    pub max_size_channel_commands_retrieval_storage: usize,
    /// Commands that may wait for the thread that announces. (Storage plan, 2.3.)
    pub max_size_channel_commands_propagation_storage: usize,
    /// Messages of peers that may wait for the storage handler. (Storage plan, 2.3.)
    pub max_size_channel_network_to_storage_handler: usize,
    /// How long to wait for an answer before another holder is asked, at most: of a peer that was heard of, less is waited for.
    pub storage_request_timeout: MassaTime,
    /// Bytes asked of one peer and not answered yet.
    pub max_storage_bytes_in_flight_per_peer: usize,
    /// Bytes asked of all peers and not answered yet.
    pub max_storage_bytes_in_flight: usize,
    /// How long a peer that sent provably wrong bytes is asked nothing.
    pub storage_quarantine: MassaTime,
}

impl Default for ProtocolConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            routable_addresses: Vec::new(),
            initial_peers: Vec::new(),
            version: *massa_models::config::VERSION,
            chain_id: *massa_models::config::CHAINID,
            thread_count: massa_models::config::THREAD_COUNT,
            endorsement_count: massa_models::config::ENDORSEMENT_COUNT,
            t0: massa_models::config::T0,
            genesis_timestamp: MassaTime::from_millis(0),
            target_out_connections: 10,
            max_in_connections: 250,
            max_in_connections_per_ip: 2,
            max_pending_connections: 128,
            rate_limit: 5 << 20,
            max_message_size: 16 << 20,
            message_timeout: MassaTime::from_millis(5_000),
            timeout_connection: MassaTime::from_millis(1_000),
            try_connection_timer: MassaTime::from_millis(250),
            try_connection_timer_same_peer: MassaTime::from_millis(10_000),
            ask_block_timeout: MassaTime::from_millis(10_000),
            max_simultaneous_ask_blocks_per_node: 128,
            block_propagation_tick: MassaTime::from_millis(1_000),
            max_block_propagation_time: MassaTime::from_millis(40_000),
            max_blocks_kept_for_propagation: 300,
            max_known_blocks_size: 1_024,
            max_node_known_blocks_size: 1_024,
            max_known_ops_size: 1_000_000,
            max_node_known_ops_size: 200_000,
            max_operations_per_message: u64::from(massa_models::config::MAX_OPERATIONS_PER_MESSAGE),
            max_operations_per_block: massa_models::config::MAX_OPERATIONS_PER_BLOCK,
            max_serialized_operations_size_per_block: massa_models::config::MAX_BLOCK_SIZE as usize,
            operation_announcement_interval: MassaTime::from_millis(150),
            asked_operations_buffer_capacity: 500_000,
            max_size_listeners_per_peer: massa_models::config::MAX_LISTENERS_PER_PEER,
            max_size_peers_announcement: 100,
            send_data_channel_size: 10_000,
            max_size_channel_commands: 10_000,
            max_size_channel_network_to_handler: 10_000,
            link_faults: LinkFaults::default(),
            storage_enabled: false,
            max_storage_messages_per_second: 1_000,
            max_chunk_size: 1 << 20,
            max_stored_chunks_per_node: 1 << 20,
            max_size_channel_commands_retrieval_storage: 10_000,
            max_size_channel_commands_propagation_storage: 10_000,
            max_size_channel_network_to_storage_handler: 10_000,
            storage_request_timeout: MassaTime::from_millis(10_000),
            max_storage_bytes_in_flight_per_peer: 1 << 20,
            max_storage_bytes_in_flight: 16 << 20,
            storage_quarantine: MassaTime::from_millis(600_000),
        }
    }
}
