//! `massa-cli wallet …` and `massa-cli send`.

use crate::node::{Node, NodeArguments, NodeCommandError};
use crate::operation::{open_wallet, Sent, Signer};
use crate::output::{name_value_lines, table, Output, Report};
use clap::{Args, Subcommand};
use massa_api_exports::rpc::MassaRpcClient;
use massa_models::address::Address;
use massa_models::amount::Amount;
use massa_models::config::CHAINID;
use massa_models::operation::{OperationId, OperationType};
use massa_wallet::Wallet;
use serde::Serialize;
use std::path::{Path, PathBuf};

/// The commands.
#[derive(Debug, Subcommand)]
pub enum WalletCommand {
    /// Make a key and print its address.
    Generate,
    /// Say how many coins an address has; without one, all addresses of the wallet.
    Balance(BalanceArguments),
}

/// Arguments of `wallet balance`.
#[derive(Debug, Args)]
pub struct BalanceArguments {
    /// The address: AU… or AS…
    pub address: Option<Address>,
}

/// Arguments of `send`.
#[derive(Debug, Args)]
pub struct SendArguments {
    /// Who sends; the wallet must have its key.
    pub from: Address,
    /// Who receives.
    pub to: Address,
    /// How many coins.
    pub amount: Amount,
    /// What the producer of the block gets; by default what the node takes at least.
    #[arg(long)]
    pub fee: Option<Amount>,
}

/// A new address.
#[derive(Clone, Debug, Serialize)]
pub struct GenerateReport {
    /// The address.
    pub address: Address,
    /// Folder of the wallet.
    pub wallet: PathBuf,
}

impl Report for GenerateReport {
    fn text(&self) -> String {
        self.address.to_string()
    }
}

/// Coins of addresses.
#[derive(Clone, Debug, Serialize)]
pub struct BalanceReport {
    /// The addresses.
    pub addresses: Vec<Balance>,
}

/// Coins of an address.
#[derive(Clone, Debug, Serialize)]
pub struct Balance {
    /// The address.
    pub address: Address,
    /// After the final blocks.
    pub final_balance: Amount,
    /// After all blocks.
    pub candidate_balance: Amount,
    /// Rolls after the final blocks.
    pub final_roll_count: u64,
}

impl Report for BalanceReport {
    fn text(&self) -> String {
        let headings = ["address", "final balance", "candidate balance", "rolls"];
        let row = |balance: &Balance| {
            vec![
                balance.address.to_string(),
                balance.final_balance.to_string(),
                balance.candidate_balance.to_string(),
                balance.final_roll_count.to_string(),
            ]
        };
        table(headings, self.addresses.iter().map(row))
    }
}

/// An operation that was sent.
#[derive(Clone, Debug, Serialize)]
pub struct SendReport {
    /// Its id.
    pub operation_id: OperationId,
    /// Who sends.
    pub from: Address,
    /// Who receives.
    pub to: Address,
    /// How many coins.
    pub amount: Amount,
    /// What the producer gets.
    pub fee: Amount,
    /// The last period whose blocks may include it.
    pub expire_period: u64,
}

impl Report for SendReport {
    fn text(&self) -> String {
        name_value_lines([
            ("operation", self.operation_id.to_string()),
            ("from", self.from.to_string()),
            ("to", self.to.to_string()),
            ("amount", self.amount.to_string()),
            ("fee", self.fee.to_string()),
            ("expires", format!("period {}", self.expire_period)),
        ])
    }
}

/// Runs a wallet command and prints its result.
///
/// # Errors
/// [`NodeCommandError`].
pub fn run(
    command: WalletCommand,
    node: &NodeArguments,
    wallet: PathBuf,
    output: Output,
) -> Result<(), NodeCommandError> {
    match command {
        WalletCommand::Generate => {
            // Keys belong to no chain; only operations do, and none is made here.
            let address = Wallet::new(wallet.clone(), *CHAINID)?.generate()?;
            Ok(output.print(&GenerateReport { address, wallet })?)
        }
        WalletCommand::Balance(arguments) => Ok(output.print(&balance(arguments.address, node, &wallet)?)?),
    }
}

fn balance(address: Option<Address>, node: &NodeArguments, wallet: &Path) -> Result<BalanceReport, NodeCommandError> {
    let addresses = match address {
        Some(address) => vec![address],
        None => open_wallet(wallet, None)?.get_addresses(),
    };
    let node = Node::public(node)?;
    let max_arguments = 128;
    let mut balances = Vec::with_capacity(addresses.len());
    for addresses in addresses.chunks(max_arguments) {
        let infos = node.call(|client| client.get_addresses(addresses.to_vec()))?;
        if !infos.iter().map(|info| &info.address).eq(addresses) {
            let found = format!("{} entries", infos.len());
            return Err(NodeCommandError::answer("addresses", "those asked for", found));
        }
        balances.extend(infos.into_iter().map(|info| Balance {
            address: info.address,
            final_balance: info.final_balance,
            candidate_balance: info.candidate_balance,
            final_roll_count: info.final_roll_count,
        }));
    }
    Ok(BalanceReport { addresses: balances })
}

/// Makes, signs and sends a transaction, and prints its id.
///
/// # Errors
/// [`NodeCommandError`].
pub fn send(
    arguments: &SendArguments,
    node: &NodeArguments,
    wallet: PathBuf,
    output: Output,
) -> Result<(), NodeCommandError> {
    if arguments.amount == Amount::zero() {
        let (field, reason) = ("AMOUNT", "must be more than 0".to_string());
        return Err(NodeCommandError::Argument { field, reason });
    }
    let node = Node::public(node)?;
    let signer = Signer::new(&node, &wallet, arguments.from)?;
    let operation = OperationType::Transaction {
        recipient_address: arguments.to,
        amount: arguments.amount,
    };
    let Sent { id, fee, expire_period } = signer.send(operation, signer.fee(arguments.fee)?)?;
    Ok(output.print(&SendReport {
        operation_id: id,
        from: arguments.from,
        to: arguments.to,
        amount: arguments.amount,
        fee,
        expire_period,
    })?)
}
