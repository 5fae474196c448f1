//! The JSON-RPC servers.
//!
//! [`start_api`] starts a public and a private one, each on its own port, over HTTP. What a method answers is computed in
//! functions that know nothing of HTTP, one file for each subject. Before a request gets there, it is checked who may ask
//! (`access`), whether there is a place for it (`places`), time (`connection`) and memory (`memory`), all of them together
//! and for each client. What calls can make the node do is bounded too: arguments, batches, reads of the archive
//! ([`limiter`]), executions that change nothing, and the size of answers while they are collected (`answer`).

mod access;
mod addresses;
mod answer;
mod api;
mod archive;
mod blocks;
mod config;
mod connection;
mod context;
mod contracts;
pub mod limiter;
mod memory;
mod operations;
mod places;
mod read_only;
mod request;
mod rpc;
mod server;
mod status;
mod turns;

pub use api::{MassaApi, Side};
pub use config::{ApiConfig, ApiConfigError};
pub use context::ApiContext;
pub use places::CONNECTIONS_PER_REQUEST;
pub use server::{start_api, ApiHandle, StartApiError};
