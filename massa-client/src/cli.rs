//! The commands, and what becomes of their results.

use crate::archive::{self, DistributedStorageCommand};
use crate::node::{NodeArguments, NodeCommandError, NodeError};
use crate::operator::{self, OperatorCommand};
use crate::output::{one_line, unbroken, Output};
use crate::sc::{self, ScCommand};
use crate::status;
use crate::storage::{self, StorageCommand};
use crate::wallet::{self, SendArguments, WalletCommand};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::error::Error;
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit status when a command failed.
const FAILED: u8 = 1;
/// Exit status when the arguments are not a command.
const MISUSED: u8 = 2;

/// The Massa blockchain and its distributed archive.
///
/// A failure is one line on standard error, with --json an object {"error": …, "code": …}, and exit status 1; status 2 means that the
/// arguments were wrong.
#[derive(Debug, Parser)]
#[command(name = "massa-cli", version, arg_required_else_help = false)]
pub struct Cli {
    /// Print JSON: one document on one line.
    #[arg(long, global = true)]
    pub json: bool,
    /// Where the node is.
    #[command(flatten)]
    pub node: NodeArguments,
    /// Folder of the wallet.
    #[arg(long, value_name = "DIR", default_value = "wallets", global = true)]
    pub wallet: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What massa-cli can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Work on a store directory; no node is needed.
    #[command(subcommand, arg_required_else_help = false)]
    Archive(DistributedStorageCommand),
    /// Ask a node about the archive, read from it, and take part in it.
    #[command(subcommand, arg_required_else_help = false)]
    Storage(StorageCommand),
    /// Contracts: call one, make the registry.
    #[command(subcommand, arg_required_else_help = false)]
    Sc(ScCommand),
    /// Keys and coins.
    #[command(subcommand, arg_required_else_help = false)]
    Wallet(WalletCommand),
    /// Send coins from an address of the wallet.
    Send(SendArguments),
    /// Say how the node is.
    Status,
    /// Rule a node: needs its private port.
    #[command(subcommand, arg_required_else_help = false)]
    Node(OperatorCommand),
}

/// Runs massa-cli with the arguments of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error, &arguments),
    };
    let output = Output { json: cli.json };
    match execute(cli, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.fail(&one_line(error.as_ref()), code_of(error.as_ref()));
            ExitCode::from(FAILED)
        }
    }
}

fn execute(cli: Cli, output: Output) -> Result<(), Box<dyn Error>> {
    let Cli { node, wallet, .. } = cli;
    let result: Result<(), NodeCommandError> = match cli.command {
        Command::Archive(command) => return Ok(archive::run(command, output)?),
        Command::Sc(command) => sc::run(command, &node, &wallet, output),
        Command::Storage(command) => storage::run(command, &node, &wallet, output),
        Command::Wallet(command) => wallet::run(command, &node, wallet, output),
        Command::Send(arguments) => wallet::send(&arguments, &node, wallet, output),
        Command::Status => status::run(&node, output),
        Command::Node(command) => operator::run(command, &node, output),
    };
    Ok(result?)
}

/// Prints help where it was asked for, and otherwise what is wrong with the arguments.
fn refuse_arguments(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        // Nobody to tell if it cannot be written.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let output = Output {
        json: arguments.iter().any(|argument| argument == "--json"),
    };
    let text = error.to_string();
    let mut parts = text.split("\n\n");
    let first = parts.next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first);
    // What may have been meant.
    let tip = parts.map(str::trim).find_map(|part| part.strip_prefix("tip: "));
    let tip = tip.map_or(String::new(), |tip| format!("; {}", unbroken(tip)));
    output.fail(&format!("{}{tip} (--help says more)", unbroken(message)), None);
    ExitCode::from(MISUSED)
}

/// The code of a node's error.
fn code_of(error: &(dyn Error + 'static)) -> Option<i32> {
    match error.downcast_ref() {
        Some(NodeCommandError::Node(NodeError::Call { code, .. })) => Some(*code),
        _ => None,
    }
}
