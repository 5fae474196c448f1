//! `massa-cli sc deploy`: makes a registry contract.
//!
//! One operation runs our own deployer with the contract in its datastore, laid out as massa-web3 lays it out.

use super::call::{parse_parameter, Parameter};
use super::views::config_lines;
use crate::contract::{execute_bytecode, SendingArguments};
use crate::node::{Node, NodeCommandError};
use crate::operation::Signer;
use crate::output::{name_value_lines, Report};
use clap::Args;
use massa_api_exports::rpc::MassaRpcClient;
use massa_distributed_storage_worker::smart_contract::deploy::{deployed_address, deployment, NewContract};
use massa_distributed_storage_worker::smart_contract::storage_registry::{constructor_parameter, StorageConfig};
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::operation::OperationId;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The deployer of this project: reads the operation's datastore and makes the contracts in it.
static DEPLOYER: &[u8] = include_bytes!("../../../massa-storage-sc/build/deployer.wasm");
/// The registry of this project.
static REGISTRY: &[u8] = include_bytes!("../../../massa-storage-sc/build/storage-registry.wasm");

/// Arguments of `sc deploy`.
#[derive(Debug, Args)]
pub struct DeployArguments {
    /// Who deploys; the wallet must have its key.
    pub from: Address,
    /// Another contract than the registry of this program.
    #[arg(long, value_name = "FILE")]
    pub wasm: Option<PathBuf>,
    /// The whole parameter of its constructor, as hexadecimal digits.
    #[arg(long, value_name = "HEX", requires = "wasm", value_parser = parse_parameter)]
    pub param_hex: Option<Parameter>,
    /// Coins for the constructor: they pay for its storage, and the rest fills the pool that pays rewards.
    #[arg(long, value_name = "MAS", default_value = "1")]
    pub coins: Amount,
    /// Its configuration.
    #[command(flatten)]
    pub config: RegistryConfigArguments,
    /// What it may cost and take.
    #[command(flatten)]
    pub sending: SendingArguments,
}

/// The configuration of a registry. What nodes must agree on is by default what the node has.
#[derive(Clone, Debug, Args)]
pub struct RegistryConfigArguments {
    /// Who may change the configuration; by default who deploys.
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<Address>,
    /// What is paid for each GB and period.
    #[arg(long, value_name = "MAS", default_value = "0.00002")]
    pub reward_per_gb_per_period: Amount,
    /// Least allocation.
    #[arg(long, value_name = "GB", default_value_t = 1)]
    pub min_allocated_gb: u64,
    /// Largest allocation.
    #[arg(long, value_name = "GB", default_value_t = 16_384)]
    pub max_allocated_gb: u64,
    /// Time to answer a manual challenge.
    #[arg(long, value_name = "MS", default_value_t = 600_000)]
    pub challenge_response_timeout: u64,
    /// How much of the stake is lost when all draws of a round are missed.
    #[arg(long, value_name = "PERCENT", default_value_t = 10)]
    pub slash_percentage: u64,
    /// Least stake of a node.
    #[arg(long, value_name = "MAS", default_value = "100")]
    pub min_stake: Amount,
    /// Least stake for each GB.
    #[arg(long, value_name = "MAS", default_value = "1")]
    pub stake_per_gb: Amount,
    /// Nodes that hold each chunk; by default as the node has it.
    #[arg(long, value_name = "N")]
    pub replication_factor: Option<u64>,
    /// Bytes of a chunk; by default as the node has it.
    #[arg(long, value_name = "BYTES")]
    pub chunk_size_bytes: Option<u64>,
    /// Periods of a segment; by default as the node has it. Never changes.
    #[arg(long, value_name = "PERIODS")]
    pub challenge_frequency_periods: Option<u64>,
    /// Segments of a round; by default as the node has it. Never changes.
    #[arg(long, value_name = "SEGMENTS")]
    pub round_segments: Option<u64>,
    /// The first segment that is anchored, the first of a round; by default that of the open round: what came before would be
    /// decided by whoever registers first. Never changes.
    #[arg(long, value_name = "SEGMENT")]
    pub first_segment: Option<u64>,
}

impl RegistryConfigArguments {
    /// The configuration, with the node's values where none are given.
    ///
    /// # Errors
    /// [`NodeCommandError::Node`].
    pub fn config(&self, node: &Node) -> Result<StorageConfig, NodeCommandError> {
        let status = node.call(|client| client.get_storage_status())?;
        let periods = self.challenge_frequency_periods.unwrap_or(status.segment_periods);
        let segments = self.round_segments.unwrap_or(status.round_segments);
        let open = status.last_period_final.unwrap_or(0).checked_div(periods).unwrap_or(0);
        let first_of_round = open - open.checked_rem(segments).unwrap_or(0);
        Ok(StorageConfig {
            reward_per_gb_per_period: self.reward_per_gb_per_period,
            min_allocated_gb: self.min_allocated_gb,
            max_allocated_gb: self.max_allocated_gb,
            challenge_response_timeout_ms: self.challenge_response_timeout,
            slash_percentage: self.slash_percentage,
            min_stake: self.min_stake,
            stake_per_gb: self.stake_per_gb,
            replication_factor: self.replication_factor.unwrap_or(status.replication_factor),
            chunk_size_bytes: self.chunk_size_bytes.unwrap_or(status.chunk_size),
            challenge_frequency_periods: periods,
            first_segment: self.first_segment.unwrap_or(first_of_round),
            round_segments: segments,
        })
    }
}

/// A contract that was made.
#[derive(Clone, Debug, Serialize)]
pub struct DeployReport {
    /// The operation.
    pub operation_id: OperationId,
    /// Who signed it.
    pub from: Address,
    /// Who may change the configuration; absent for another contract.
    pub admin: Option<Address>,
    /// The configuration; absent for another contract.
    pub config: Option<StorageConfig>,
    /// Coins that it took beside the fee.
    pub cost: Amount,
    /// Of those, the constructor's.
    pub coins: Amount,
    /// What the producer got.
    pub fee: Amount,
    /// Limit of gas.
    pub max_gas: u64,
    /// What contracts said.
    pub events: Vec<String>,
    /// Where the contract is.
    pub address: Address,
}

impl Report for DeployReport {
    fn text(&self) -> String {
        let mut lines = vec![
            ("operation", format!("{}, final", self.operation_id)),
            ("from", self.from.to_string()),
        ];
        lines.extend(self.admin.map(|admin| ("admin", admin.to_string())));
        lines.extend(self.config.iter().flat_map(config_lines));
        lines.push((
            "cost",
            format!(
                "{} MAS: {} for the constructor, the rest for the bytecode",
                self.cost, self.coins
            ),
        ));
        lines.push(("fee", format!("{} MAS, at most {} gas", self.fee, self.max_gas)));
        format!("{}\n{}", name_value_lines(lines), self.address)
    }
}

pub(super) fn run(arguments: &DeployArguments, node: &Node, wallet: &Path) -> Result<DeployReport, NodeCommandError> {
    let signer = Signer::new(node, wallet, arguments.from)?;
    let bytecode = arguments.wasm.as_deref().map(read_file).transpose()?;
    if let Some(Parameter(parameter)) = &arguments.param_hex {
        let contract = NewContract {
            bytecode: bytecode.unwrap_or_else(|| REGISTRY.to_vec()),
            parameter: parameter.clone(),
            coins: arguments.coins,
        };
        return deploy(&signer, &contract, arguments.sending);
    }
    let config = arguments.config.config(node)?;
    let admin = arguments.config.admin.unwrap_or(arguments.from);
    deploy_as(&signer, bytecode, (admin, config), arguments.coins, arguments.sending)
}

fn read_file(path: &Path) -> Result<Vec<u8>, NodeCommandError> {
    std::fs::read(path).map_err(|source| NodeCommandError::File {
        path: path.display().to_string(),
        source,
    })
}

/// Makes the registry of this project, and waits until it is final. The signer is its admin.
///
/// # Errors
/// [`NodeCommandError`].
pub fn deploy_registry(
    signer: &Signer<'_>,
    config: StorageConfig,
    coins: Amount,
) -> Result<DeployReport, NodeCommandError> {
    deploy_as(
        signer,
        None,
        (signer.from(), config),
        coins,
        SendingArguments::default(),
    )
}

fn deploy_as(
    signer: &Signer<'_>,
    bytecode: Option<Vec<u8>>,
    (admin, config): (Address, StorageConfig),
    coins: Amount,
    sending: SendingArguments,
) -> Result<DeployReport, NodeCommandError> {
    let contract = NewContract {
        bytecode: bytecode.unwrap_or_else(|| REGISTRY.to_vec()),
        parameter: constructor_parameter(&admin, &config),
        coins,
    };
    let report = deploy(signer, &contract, sending)?;
    Ok(DeployReport {
        admin: Some(admin),
        config: Some(config),
        ..report
    })
}

fn deploy(
    signer: &Signer<'_>,
    contract: &NewContract,
    sending: SendingArguments,
) -> Result<DeployReport, NodeCommandError> {
    let make = |max_gas| deployment(DEPLOYER.to_vec(), contract, max_gas);
    let (operation_id, fee, max_gas, events) = execute_bytecode(signer, make, sending)?;
    let address = deployed_address(events.iter().map(String::as_str));
    let found = || NodeCommandError::answer("events", "the address of the contract", format!("{events:?}"));
    let address = address.ok_or_else(found)?;
    Ok(DeployReport {
        operation_id,
        from: signer.from(),
        admin: None,
        config: None,
        cost: contract.cost(),
        coins: contract.coins,
        fee,
        max_gas,
        events,
        address,
    })
}
