//! The commands, and what becomes of their results.

use crate::archive::{self, ArchiveCommand};
use crate::output::{one_line, unbroken, Output};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::process::ExitCode;

/// Exit status when a command failed.
const FAILED: u8 = 1;
/// Exit status when the arguments are not a command.
const MISUSED: u8 = 2;

/// The distributed archive of the Massa blockchain.
///
/// A failure is one line on standard error, with --json an object {"error": …}, and exit status 1; status 2 means that the
/// arguments were wrong.
#[derive(Debug, Parser)]
#[command(name = "massa-cli", version, arg_required_else_help = false)]
pub struct Cli {
    /// Print JSON: one document on one line.
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What massa-cli can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Work on a store directory; no node is needed.
    #[command(subcommand, arg_required_else_help = false)]
    Archive(ArchiveCommand),
}

/// Runs massa-cli with the arguments of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match Cli::try_parse_from(&arguments) {
        Ok(cli) => cli,
        Err(error) => return refuse_arguments(&error, &arguments),
    };
    let output = Output { json: cli.json };
    let result = match cli.command {
        Command::Archive(command) => archive::run(command, output),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            output.fail(&one_line(&error));
            ExitCode::from(FAILED)
        }
    }
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
    let first = text.split("\n\n").next().unwrap_or_default();
    let message = first.strip_prefix("error: ").unwrap_or(first);
    output.fail(&format!("{} (--help says more)", unbroken(message)));
    ExitCode::from(MISUSED)
}
