//! The program `massa-cli`: see [`massa_client`].

use std::process::ExitCode;

fn main() -> ExitCode {
    massa_client::run(std::env::args_os())
}
