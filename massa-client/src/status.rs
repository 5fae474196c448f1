//! `massa-cli status`.

use crate::archive::slot_text;
use crate::node::{Node, NodeArguments, NodeCommandError};
use crate::output::{name_value_lines, unbroken, Output, Report};
use massa_api_exports::node::NodeStatus;
use massa_api_exports::rpc::MassaRpcClient;

impl Report for NodeStatus {
    fn text(&self) -> String {
        let slot = self.last_slot.map_or_else(|| "before the first".to_string(), slot_text);
        let (network, consensus) = (&self.network_stats, &self.consensus_stats);
        let peers = format!(
            "{} connected ({} in, {} out), {} known, {} banned",
            network.active_node_count,
            network.in_connection_count,
            network.out_connection_count,
            network.known_peer_count,
            network.banned_peer_count
        );
        let blocks = format!(
            "{} final, {} stale since the start; {} cliques",
            consensus.final_block_count, consensus.stale_block_count, consensus.clique_count
        );
        let execution = format!(
            "at slot {}, final at slot {} with state {}",
            slot_text(self.execution_stats.active_cursor),
            slot_text(self.execution_stats.final_cursor),
            short(&self.execution_stats.final_state_hash)
        );
        let chain = format!(
            "{}, {} threads, periods of {} ms",
            self.chain_id,
            self.config.thread_count,
            self.config.t0.as_millis()
        );
        let mut lines = vec![("node", self.node_id.to_string())];
        lines.extend(self.alarms.iter().map(|alarm| ("ALARM", unbroken(alarm))));
        lines.extend([
            ("version", self.version.to_string()),
            ("chain id", chain),
            ("genesis", self.config.genesis_timestamp.format_instant()),
            ("time", self.current_time.format_instant()),
            ("slot", format!("{slot}, cycle {}", self.current_cycle)),
            ("blocks", blocks),
            ("execution", execution),
            ("pool", format!("{} operations", self.pool_stats.0)),
            ("minimal fee", self.minimal_fees.to_string()),
            ("peers", peers),
        ]);
        name_value_lines(lines)
    }
}

/// Enough of a hash to compare it by eye.
fn short(hash: &str) -> String {
    match hash.char_indices().nth(12) {
        Some((end, _)) => format!("{}…", &hash[..end]),
        None => "unknown".to_string(),
    }
}

/// Prints the state of a node.
///
/// # Errors
/// [`NodeCommandError`].
pub fn run(node: &NodeArguments, output: Output) -> Result<(), NodeCommandError> {
    let status = Node::public(node)?.call(|client| client.get_status())?;
    Ok(output.print(&status)?)
}
