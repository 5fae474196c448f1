//! `massa-localnet`: a network of node processes on this machine.

use std::process::ExitCode;

fn main() -> ExitCode {
    massa_localnet::run::main()
}
