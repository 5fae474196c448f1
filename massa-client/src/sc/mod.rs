//! `massa-cli sc …`: contracts. The registry's views answer with their fields, other functions with bytes.

mod call;
mod deploy;
mod typed;
mod views;

use crate::node::{Node, NodeArguments, NodeCommandError};
use crate::output::Output;
use clap::{Args, Subcommand};
use massa_api_exports::rpc::MassaRpcClient;
use massa_models::address::Address;
use std::path::Path;
use std::str::FromStr;

pub use call::{CallArguments, CallReport};
pub use deploy::{deploy_registry, DeployArguments, DeployReport, RegistryConfigArguments};
pub use views::Answer;

/// What the registry is called on the command line.
const REGISTRY: &str = "storage_registry";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum ScCommand {
    /// Call a function of a contract; read-only unless --send is there.
    #[command(after_help = format!("Views of {REGISTRY}: {}.\nArguments of other functions: {}", views::names(), typed::KINDS))]
    Call(CallArguments),
    /// Make a registry contract; its address is the last line.
    Deploy(DeployArguments),
}

/// Where the registry is.
#[derive(Clone, Copy, Debug, Default, Args)]
pub struct RegistryArguments {
    /// Address of the registry: AS…; by default the one that the node follows.
    #[arg(long, value_name = "ADDRESS")]
    pub registry: Option<Address>,
}

impl RegistryArguments {
    /// The address given, or else the one that the node follows.
    ///
    /// # Errors
    /// [`NodeCommandError::NoRegistry`], [`NodeCommandError::Node`].
    pub fn find(&self, node: &Node) -> Result<Address, NodeCommandError> {
        if let Some(address) = self.registry {
            return Ok(address);
        }
        let status = node.call(|client| client.get_storage_status())?;
        status.registry.address.ok_or(NodeCommandError::NoRegistry)
    }
}

/// A contract on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractName {
    /// The registry of storage nodes.
    Registry,
    /// Any other.
    Address(Address),
}

impl FromStr for ContractName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == REGISTRY {
            return Ok(Self::Registry);
        }
        let address = text
            .parse::<Address>()
            .map_err(|error| format!("neither {REGISTRY} nor an address: {error}"))?;
        match address {
            Address::SC(_) => Ok(Self::Address(address)),
            Address::User(_) => Err("the address of a user, not of a contract (AS…)".to_string()),
        }
    }
}

/// Runs a command and prints its result.
///
/// # Errors
/// [`NodeCommandError`].
pub fn run(command: ScCommand, node: &NodeArguments, wallet: &Path, output: Output) -> Result<(), NodeCommandError> {
    let node = Node::public(node)?;
    match command {
        ScCommand::Call(arguments) => call::run(&arguments, &node, wallet, output),
        ScCommand::Deploy(arguments) => Ok(output.print(&deploy::run(&arguments, &node, wallet)?)?),
    }
}
