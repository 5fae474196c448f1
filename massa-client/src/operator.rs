//! `massa-cli node …`: what the operator asks of the node, through its private API.

use crate::node::{Node, NodeArguments, NodeCommandError};
use crate::output::{Output, Report};
use clap::{Args, Subcommand};
use massa_api_exports::rpc::MassaRpcClient;
use massa_models::node::NodeId;
use serde::Serialize;

/// The commands.
#[derive(Debug, Subcommand)]
pub enum OperatorCommand {
    /// End the node.
    Stop,
    /// End the connections to nodes, and accept none of theirs.
    Ban(NodeIds),
    /// End bans.
    Unban(NodeIds),
}

/// Which nodes.
#[derive(Debug, Args)]
pub struct NodeIds {
    /// Ids of the nodes: N…
    #[arg(required = true, num_args = 1..=128)]
    pub ids: Vec<NodeId>,
}

/// What was done.
#[derive(Clone, Debug, Serialize)]
pub struct DoneReport {
    /// In words.
    pub done: String,
}

impl Report for DoneReport {
    fn text(&self) -> String {
        self.done.clone()
    }
}

/// Runs a command and prints its result.
///
/// # Errors
/// [`NodeCommandError`].
pub fn run(command: OperatorCommand, node: &NodeArguments, output: Output) -> Result<(), NodeCommandError> {
    let node = Node::private(node)?;
    let done = match command {
        OperatorCommand::Stop => {
            node.call(|client| client.stop_node())?;
            "the node is stopping".to_string()
        }
        OperatorCommand::Ban(NodeIds { ids }) => {
            let count = ids.len();
            node.call(|client| client.node_ban_by_id(ids))?;
            format!("{} banned", crate::output::count(count as u64, "node", "nodes"))
        }
        OperatorCommand::Unban(NodeIds { ids }) => {
            let count = ids.len();
            node.call(|client| client.node_unban_by_id(ids))?;
            format!(
                "{} no longer banned",
                crate::output::count(count as u64, "node", "nodes")
            )
        }
    };
    Ok(output.print(&DoneReport { done })?)
}
