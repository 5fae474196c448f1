//! The state of a node, and what its operator asks of it.

use crate::config::CompactConfig;
use massa_models::amount::Amount;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_models::version::Version;
use massa_signature::{PublicKey, Signature};
use massa_time::MassaTime;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The state of a node.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct NodeStatus {
    /// Who it is.
    pub node_id: NodeId,
    /// Where others reach it.
    pub node_ip: Option<IpAddr>,
    /// Of the software.
    pub version: Version,
    /// Its clock.
    pub current_time: MassaTime,
    /// The cycle of the last slot.
    pub current_cycle: u64,
    /// When that cycle began.
    pub current_cycle_time: MassaTime,
    /// When the next cycle begins.
    pub next_cycle_time: MassaTime,
    /// The peers it is connected to: their address, and whether this node opened the connection.
    pub connected_nodes: BTreeMap<NodeId, (IpAddr, bool)>,
    /// The slot that began last; none before the first.
    pub last_slot: Option<Slot>,
    /// The slot that begins next.
    pub next_slot: Slot,
    /// Of consensus.
    pub consensus_stats: ConsensusStats,
    /// Operations and endorsements in the pool.
    pub pool_stats: (usize, usize),
    /// Of the connections.
    pub network_stats: NetworkStats,
    /// Of execution.
    pub execution_stats: ExecutionStats,
    /// Constants of the chain.
    pub config: CompactConfig,
    /// The chain.
    pub chain_id: u64,
    /// The least fee of an operation that the node takes.
    pub minimal_fees: Amount,
    /// The version of the rules in force.
    pub current_mip_version: u32,
    /// What peers show to be wrong with this node: clock, identity, final state. In words for its operator; absent while nothing is,
    /// as from upstream's node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<String>,
}

/// Figures of consensus.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ConsensusStats {
    /// From when on the figures count: the start of the node.
    pub start_timespan: MassaTime,
    /// Until when they count.
    pub end_timespan: MassaTime,
    /// Blocks that became final.
    pub final_block_count: u64,
    /// Blocks that became stale.
    pub stale_block_count: u64,
    /// Cliques.
    pub clique_count: u64,
}

/// Figures of the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct NetworkStats {
    /// Connections that peers opened.
    pub in_connection_count: u64,
    /// Connections that the node opened.
    pub out_connection_count: u64,
    /// Peers known.
    pub known_peer_count: u64,
    /// Peers banned.
    pub banned_peer_count: u64,
    /// Peers connected.
    pub active_node_count: u64,
}

/// Figures of execution. The counts of blocks and operations are not kept by this node: 0.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct ExecutionStats {
    /// From when on the figures count.
    pub time_window_start: MassaTime,
    /// Until when they count.
    pub time_window_end: MassaTime,
    /// Final blocks executed.
    pub final_block_count: usize,
    /// Their operations.
    pub final_executed_operations_count: usize,
    /// The last slot executed, final or not.
    pub active_cursor: Slot,
    /// The last final slot executed.
    pub final_cursor: Slot,
    /// Hash of the final state after that slot, the same on every node: 64 hexadecimal digits. Empty where it is not told,
    /// as by upstream's node.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub final_state_hash: String,
}

/// A signature with the key that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct PubkeySig {
    /// The key.
    pub public_key: PublicKey,
    /// The signature of the message's hash.
    pub signature: Signature,
}
