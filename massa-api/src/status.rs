//! The state of the node.

use crate::api::Node;
use crate::operations::POOL_TIMEOUT;
use massa_api_exports::config::CompactConfig;
use massa_api_exports::node::{ConsensusStats, ExecutionStats, NetworkStats, NodeStatus};
use massa_api_exports::ApiError;
use massa_models::node::NodeId;
use massa_models::slot::Slot;
use massa_models::timeslots::{get_block_slot_timestamp, get_latest_block_slot_at_timestamp};
use massa_protocol_exports::PeerConnectionType;
use massa_time::MassaTime;

impl Node {
    /// The state of the node at `now`.
    pub fn status(&self, now: MassaTime) -> Result<NodeStatus, ApiError> {
        let (config, context) = (&self.config, &self.context);
        let (threads, t0, genesis) = (config.thread_count, config.t0, config.genesis_timestamp);
        let last_slot = get_latest_block_slot_at_timestamp(threads, t0, genesis, now)?;
        let next_slot = match last_slot {
            Some(slot) => slot.get_next_slot(threads)?,
            None => Slot::new(0, 0),
        };
        let current_cycle = last_slot.map_or(0, |slot| slot.get_cycle(config.periods_per_cycle));
        let begin_of = |cycle| -> Result<MassaTime, ApiError> {
            let first = Slot::new_first_of_cycle(cycle, config.periods_per_cycle)?;
            Ok(get_block_slot_timestamp(threads, t0, genesis, first)?)
        };
        let (network_stats, connected_nodes) = self.network()?;
        let operations = context.pool_controller.get_operation_count(Some(POOL_TIMEOUT))?;
        Ok(NodeStatus {
            node_id: context.node_id(),
            node_ip: config.node_ip,
            version: config.version,
            current_time: now,
            current_cycle,
            current_cycle_time: begin_of(current_cycle)?,
            next_cycle_time: begin_of(current_cycle.saturating_add(1))?,
            connected_nodes,
            last_slot,
            next_slot,
            consensus_stats: self.consensus_stats(now)?,
            pool_stats: (operations, 0),
            network_stats,
            execution_stats: self.execution_stats(now),
            config: self.compact_config(),
            chain_id: config.chain_id,
            minimal_fees: config.minimal_fees,
            current_mip_version: 0,
            alarms: context.protocol_controller.get_alarms().lines(),
        })
    }

    fn consensus_stats(&self, now: MassaTime) -> Result<ConsensusStats, ApiError> {
        let stats = self.context.consensus_controller.get_stats()?;
        Ok(ConsensusStats {
            start_timespan: self.started,
            end_timespan: now,
            final_block_count: stats.final_block_count,
            stale_block_count: stats.stale_block_count,
            clique_count: stats.clique_count,
        })
    }

    fn execution_stats(&self, now: MassaTime) -> ExecutionStats {
        // Before the statistics, so that no final slot is after the last one executed.
        let (final_cursor, final_state_hash) = self.context.execution_controller.get_final_state_hash();
        let stats = self.context.execution_controller.get_stats();
        ExecutionStats {
            time_window_start: self.started,
            time_window_end: now,
            final_block_count: 0,
            final_executed_operations_count: 0,
            active_cursor: stats.active_cursor,
            final_cursor,
            final_state_hash: hex::encode(final_state_hash),
        }
    }

    fn network(&self) -> Result<(NetworkStats, ConnectedNodes), ApiError> {
        let (stats, peers) = self.context.protocol_controller.get_stats()?;
        let network = NetworkStats {
            in_connection_count: stats.in_connection_count,
            out_connection_count: stats.out_connection_count,
            known_peer_count: stats.known_peer_count,
            banned_peer_count: stats.banned_peer_count,
            active_node_count: peers.len() as u64,
        };
        let connected = peers.into_iter().map(|(peer, (address, direction))| {
            let node = NodeId::new(peer.get_public_key());
            (node, (address.ip(), direction == PeerConnectionType::OUT))
        });
        Ok((network, connected.collect()))
    }

    fn compact_config(&self) -> CompactConfig {
        let config = &self.config;
        CompactConfig {
            genesis_timestamp: config.genesis_timestamp,
            end_timestamp: None,
            thread_count: config.thread_count,
            t0: config.t0,
            delta_f0: config.delta_f0,
            operation_validity_periods: config.operation_validity_periods,
            periods_per_cycle: config.periods_per_cycle,
            block_reward: config.block_reward,
            roll_price: config.roll_price,
            max_block_size: config.max_block_size,
        }
    }
}

type ConnectedNodes = std::collections::BTreeMap<NodeId, (std::net::IpAddr, bool)>;
