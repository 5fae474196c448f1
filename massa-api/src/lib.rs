//! The JSON-RPC servers.
//!
//! [`start_api`] starts a public and a private one, each on its own port, over HTTP. What a method answers is computed in
//! functions that know nothing of HTTP, one file for each subject. Everything a client can make the node do is bounded: bytes, connections, arguments, batches, and for the
//! archive, reads of each client ([`limiter`]), and executions that change nothing.

mod addresses;
mod api;
mod archive;
mod blocks;
mod config;
mod context;
mod contracts;
pub mod limiter;
mod operations;
mod read_only;
mod server;
mod status;
mod turns;

pub use api::{MassaApi, Side};
pub use config::{ApiConfig, ApiConfigError};
pub use context::ApiContext;
pub use server::{start_api, ApiHandle, StartApiError};
